"""Ranking by inverted lists: BM25 over documents, dot products of sparse vectors.

Filters act inside: only allowed rows are ranked, with document frequencies of the whole collection.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from retrieval_store.arrays import Bools, Floats, Ints, Matrix, SparseVector
from retrieval_store.engine import list_files, lists
from retrieval_store.engine.derived import find, path_of, refuse_damaged
from retrieval_store.engine.fetch import read_records
from retrieval_store.engine.layers import Layers, current
from retrieval_store.engine.lists import Lists, Rows32
from retrieval_store.engine.special import read_blobs
from retrieval_store.engine.state import View
from retrieval_store.engine.types import Space
from retrieval_store.errors import DamagedError
from retrieval_store.ranking import Ranking
from retrieval_store.words import Analyzer

K1, B = 1.2, 0.75
ROWS_A_PIECE, CHARACTERS_A_PIECE = 20_000, 8_000_000
RAREST = 6  # trigrams of a text that are looked at; the document decides anyway
Part: TypeAlias = tuple[Rows32, Matrix, float]  # rows, each once; what they get, times a number
ListKey: TypeAlias = tuple[str, Analyzer | str | None]  # of words, trigrams or a sparse space
TRIGRAMS: ListKey = ("trigrams", None)
_log = logging.getLogger("retrieval_store")


@dataclass(frozen=True, slots=True)
class _Collection:
    """What BM25 wants to know of all documents. layers: the lists it was worked out from; counting:
    see `Layers.counting`; documents: how many have words; damping: (rows,) k1 · (1 - b + b · words
    / words on average)."""

    layers: Layers[Lists]
    counting: list[Bools | None]
    documents: int
    damping: Matrix


def lists_for(view: View, key: ListKey) -> Layers[Lists]:
    """The lists of a kind: of all documents' words, as an analyzer finds them, of their trigrams,
    or of the vectors of a sparse space."""

    def build(rows: Ints) -> Lists:
        return lists.combined(list(in_pieces(view, key, rows)))

    return current(view, view.state.lists, key, build, lambda: _saved(view, key))


def renewed(view: View, key: ListKey) -> Layers[Lists]:
    """The lists of a kind made anew, of living points alone, in one piece, and kept instead of what
    there was: nothing in them is of what was deleted or replaced."""
    segment = lists.combined(list(in_pieces(view, key, np.flatnonzero(view.state.alive))))
    layers = Layers((segment,), np.empty(0, np.int64))
    view.state.lists.keep(key, view.state.head.seq, layers)
    return layers


def in_pieces(view: View, key: ListKey, rows: Ints) -> Iterator[Lists]:
    """The lists of some rows, part by part, so that what building needs of memory is bounded."""
    _, what = key
    for start in range(0, max(1, len(rows)), ROWS_A_PIECE):
        some = rows[start : start + ROWS_A_PIECE]
        if isinstance(what, str):
            yield _sparse_lists(view, view.state.special[what], some)
            continue
        documents = documents_of(view, some)
        ends = np.cumsum([len(document or "") for document in documents]) // CHARACTERS_A_PIECE
        cuts = [0, *(np.flatnonzero(np.diff(ends)) + 1).tolist(), len(documents)]
        for first, stop in pairwise(cuts):
            chosen = documents[first:stop]
            if what is None:
                yield lists.of_trigrams(some[first:stop], chosen)
            else:
                yield lists.of_words(some[first:stop], chosen, what)


def file_key(key: ListKey) -> str:
    """Under which key the file of these lists is recorded."""
    kind, what = key
    if what is None:
        return kind
    told = what if isinstance(what, str) else repr((what.language, sorted(what.stopwords)))
    return f"{kind}.{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def _saved(view: View, key: ListKey) -> Layers[Lists] | None:
    """What a process saved, if it is of use."""
    found = None if view.directory is None else find(view.connection, file_key(key))
    if found is None or view.directory is None:
        return None
    try:
        path = path_of(view.directory, found)
        refuse_damaged(path, found)
        return list_files.read(path, view, found.seq, found.covered)
    except (DamagedError, ValueError, LookupError, TypeError, OSError) as error:
        _log.warning("lists of words can't be used and will be made again: %s", error)
        view.state.lists.reject(key)
        return None


def _sparse_lists(view: View, space: Space, rows: Ints) -> Lists:
    pks = view.state.pks[rows]
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


def documents_of(view: View, rows: Ints) -> list[str | None]:
    """The documents of some rows."""
    pieces = read_records(view.connection, "document", view.state.pks[rows])
    return [document for piece in pieces for (document,) in piece]


def rank_texts(
    view: View, analyzer: Analyzer, texts: Sequence[str], k: int, mask: Bools | None
) -> list[Ranking]:
    """For each text the k documents that it describes best, by BM25: those with any of its words.

    score = Σ idf(w) · f · (k1 + 1) / (f + k1 · (1 - b + b · |d| / avg|d|)) over the words w of the
    text, as often as it has them; f: how often w stands in d; idf(w) = ln(1 + (N - n + ½) / (n +
    ½)) for N documents, n of them with w. Robertson and Zaragoza, "The probabilistic relevance
    framework" (2009); the idf, which is never negative, is Lucene's. k1 = 1.2, b = 0.75.
    """
    key: ListKey = ("words", analyzer)
    layers = lists_for(view, key)
    known, living = _collection(view, layers, key), (view.state.alive, view.state.some_dead)

    def rank(text: str) -> Ranking:
        words = analyzer.words([text])
        times = Counter(words.vocabulary[code] for code in words.codes.tolist())
        parts = []
        for word, count in times.items():
            rows, often = lists.find_in(layers, word, known.counting, *living)
            scale = count * _idf(known.documents, len(rows)) * (K1 + 1)
            parts.append((rows, often / (often + known.damping[rows]), scale))
        return _best(parts, k, mask, len(view.state.pks))

    return [rank(text) for text in texts]


def _collection(view: View, layers: Layers[Lists], key: Hashable) -> _Collection:
    known: _Collection | None = view.state.facts.get(key)
    if known is None or known.layers is not layers:  # lists of one state may be layered anew
        height = len(view.state.pks)
        counting, sizes = layers.counting(height), np.zeros(height, np.float32)
        for segment, counts in zip(layers.segments, counting, strict=True):
            decides = _living(segment.rows, counts, view.state.alive)
            sizes[segment.rows[: len(decides)][decides]] = segment.sizes[: len(decides)][decides]
        documents = int(np.count_nonzero(sizes))
        average = float(sizes.sum(dtype=np.float64)) / max(1, documents)
        damping = (K1 * (1 - B + B * sizes / max(average, 1e-9))).astype(np.float32)
        known = view.state.facts[key] = _Collection(layers, counting, documents, damping)
    return known


def _idf(documents: int, holders: int) -> float:
    return float(np.log1p((documents - holders + 0.5) / (holders + 0.5)))


def _best(parts: Sequence[Part], k: int, mask: Bools | None, height: int) -> Ranking:
    """The k rows with the greatest sums over the parts, in each of which a row stands once; ties in
    the order of rows."""
    rows, shares = _side_by_side(parts)
    if len(rows) * 8 < height:
        found, places = np.unique(rows, return_inverse=True)
        totals = _sums(places, shares, len(found))
        if mask is not None:
            found, totals = found[mask[found]], totals[mask[found]]
        chosen = _greatest(totals, k)
    else:
        # Adding part by part to an array of all rows was slower than counting them all at once.
        totals = _sums(rows, shares, height)
        found = np.arange(height) if mask is None else np.flatnonzero(mask)
        totals = totals if mask is None else totals[found]
        chosen = _greatest(totals, k)
        # There may be rows without any part among them, whose total is 0.
        if not (totals[chosen] > 0).all():
            touched = np.zeros(height, np.bool_)
            touched[rows] = True
            found, totals = found[touched[found]], totals[touched[found]]
            chosen = _greatest(totals, k)
    found, totals = found[chosen], totals[chosen]
    order = np.argsort(-totals, kind="stable")[:k]
    return found[order], totals[order]


def _sums(places: Ints, shares: Floats, count: int) -> Floats:
    totals: Floats = np.bincount(places, shares, count).astype(np.float64, copy=False)
    return totals


def _greatest(totals: Floats, k: int) -> Ints:
    """Where the k greatest are, and all that equal the least of them; ascending."""
    if len(totals) <= k:
        return np.arange(len(totals))
    return np.flatnonzero(totals >= np.partition(totals, len(totals) - k)[len(totals) - k])


def _side_by_side(parts: Sequence[Part]) -> tuple[Ints, Floats]:
    """The rows of all parts, and what they get, in the types that numpy counts in."""
    ends = np.cumsum([0, *(len(rows) for rows, _, _ in parts)]).tolist()
    every, shares = np.empty(ends[-1], np.int64), np.empty(ends[-1], np.float64)
    for (rows, weights, scale), start, stop in zip(parts, ends, ends[1:], strict=False):
        every[start:stop] = rows
        np.multiply(weights, scale, out=shares[start:stop])
    return every, shares


def rows_with_all(view: View, trigrams: Sequence[int]) -> Bools:
    """(rows,) whether a row's document has these trigrams, or at least the rarest of them."""
    layers = lists_for(view, TRIGRAMS)
    height = len(view.state.pks)
    counting = layers.counting(height)
    living = view.state.alive, view.state.some_dead
    holders = [lists.find_in(layers, t, counting, *living)[0] for t in trigrams]
    mask = np.zeros(height, np.bool_)
    holders.sort(key=len)
    mask[holders[0]] = True
    for rows in holders[1:RAREST]:
        having = np.zeros(height, np.bool_)
        having[rows] = True
        mask &= having
    return mask


def rank_sparse(
    view: View, space: Space, queries: Sequence[SparseVector], k: int, mask: Bools | None
) -> list[Ranking]:
    """For each query vector the k rows with the greatest dot products, of those that share an index
    with it. With the setting "idf", values are multiplied by the idf of their index."""
    key: ListKey = ("sparse", space.name)
    layers = lists_for(view, key)
    known, living = _collection(view, layers, key), (view.state.alive, view.state.some_dead)
    by_idf = space.index.get("idf") is True

    def rank(query: SparseVector) -> Ranking:
        parts = []
        for index, value in zip(query.indices.tolist(), query.values.tolist(), strict=True):
            rows, held = lists.find_in(layers, index, known.counting, *living)
            scale = value * (_idf(known.documents, len(rows)) if by_idf else 1.0)
            parts.append((rows, held, scale))
        return _best(parts, k, mask, len(view.state.pks))

    return [rank(query) for query in queries]


def _living(rows: Ints, counts: Bools | None, alive: Bools) -> Bools:
    """For the rows of a segment that the reader has whether they live and the segment counts."""
    rows = rows[rows < len(alive)]
    living: Bools = alive[rows] if counts is None else alive[rows] & counts[rows]
    return living
