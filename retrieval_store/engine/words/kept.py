"""Inverted lists that are kept: built when they are needed, brought up to date, loaded from files.

Of each kind (the words of documents as an analyzer finds them, their trigrams, the vectors of a
sparse space) there is one, for all states that number their rows alike.
"""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

from retrieval_store.base.arrays import Ints
from retrieval_store.engine.state.layers import Layers, current
from retrieval_store.engine.state.saved import saved
from retrieval_store.engine.state.state import AnyView
from retrieval_store.engine.storage.non_dense import read_blobs
from retrieval_store.engine.storage.records import read_records
from retrieval_store.engine.words import list_files, lists
from retrieval_store.engine.words.cache import ListKey, ListView, file_key
from retrieval_store.engine.words.lists import Lists

LISTS_WORTH = 20_000  # points; the lists of fewer are made anew in a moment
ROWS_A_PIECE, BYTES_A_PIECE = 20_000, 8_000_000
GoingOn: TypeAlias = Callable[[], object]


def lists_for(view: ListView, key: ListKey) -> Layers[Lists]:
    """The lists of a kind: of all documents' words, as an analyzer finds them, of their trigrams,
    or of the vectors of a sparse space."""

    def build(rows: Ints) -> Lists:
        if len(rows) >= LISTS_WORTH:
            view.kept.unsaved.add(key)
        return lists.combined(list(in_pieces(view, key, rows)))

    seq, alive = view.state.head.seq, view.state.alive
    return current(view.kept.lists, key, seq, alive, build, lambda: _saved(view, key))


def pure(view: ListView, key: ListKey) -> Layers[Lists] | None:
    """The lists of a kind as they are held, if nothing in them is of what was deleted or replaced.
    So it is in one segment that was made here: what changes later is in another one."""
    layers: Layers[Lists] = view.kept.lists.at(key, view.state.head.seq, len(view.state.pks))
    one = len(layers.segments) == 1 and not len(layers.stale)
    return layers if one and not layers.segments[0].from_file else None


def renewed(view: ListView, key: ListKey, going_on: GoingOn) -> Layers[Lists]:
    """The lists of a kind made anew, of living points alone, in one piece, and kept instead of what
    there was: nothing in them is of what was deleted or replaced. going_on: called now and then; it
    may raise."""
    pieces = []
    for piece in in_pieces(view, key, np.flatnonzero(view.state.alive)):
        pieces.append(piece)
        going_on()
    layers = Layers((lists.combined(pieces),), np.empty(0, np.int64))
    view.kept.lists.keep(key, view.state.head.seq, layers)
    return layers


def in_pieces(view: AnyView, key: ListKey, rows: Ints) -> Iterator[Lists]:
    """The lists of some rows, part by part, so that what building needs of memory is bounded."""
    _, what = key
    for start in range(0, max(1, len(rows)), ROWS_A_PIECE):
        some = rows[start : start + ROWS_A_PIECE]
        if isinstance(what, int):
            yield _sparse_lists(view, what, some)
            continue
        for few in _by_size(view, some):
            documents = documents_of(view, few)
            if what is None:
                yield lists.of_trigrams(few, documents)
            else:
                yield lists.of_words(few, documents, what)


def _by_size(view: AnyView, rows: Ints) -> Iterator[Ints]:
    """The rows, as many at a time as have so many bytes of documents, which are not read for it."""
    found = read_records(view.connection, "octet_length(document)", view.state.pks[rows])
    ends = np.cumsum([size or 0 for piece in found for (size,) in piece]) // BYTES_A_PIECE
    yield from np.split(rows, np.flatnonzero(np.diff(ends)) + 1)


def _saved(view: ListView, key: ListKey) -> Layers[Lists] | None:
    """What a process saved, if it is of use."""
    return saved(
        view,
        file_key(key),
        "lists of words",
        lambda path, found: list_files.read(path, view, found.seq, found.covered),
        lambda: view.kept.lists.demand.reject(key),
    )


def _sparse_lists(view: AnyView, number: int, rows: Ints) -> Lists:
    pks = view.state.pks[rows]
    (space,) = (one for one in view.state.non_dense.values() if one.number == number)
    found = list(read_blobs(view.connection, space, pks))
    holders = rows[np.searchsorted(pks, np.array([pk for pk, _ in found], np.int64))]
    halves = [len(blob) // 2 for _, blob in found]
    indices = b"".join([blob[:half] for (_, blob), half in zip(found, halves, strict=True)])
    values = b"".join([blob[half:] for (_, blob), half in zip(found, halves, strict=True)])
    lengths = np.array(halves, np.int64) // 4
    return lists.of_sparse(
        rows,
        holders,
        np.frombuffer(indices, "<u4").astype(np.int64),
        np.frombuffer(values, "<f4"),
        lengths,
    )


def documents_of(view: AnyView, rows: Ints) -> list[str | None]:
    """The documents of some rows."""
    pieces = read_records(view.connection, "document", view.state.pks[rows])
    return [document for piece in pieces for (document,) in piece]
