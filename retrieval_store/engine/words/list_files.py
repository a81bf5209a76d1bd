"""Inverted lists in files, as arrays that are mapped.

Rows mean nothing to another process, so a file has the pks of the rows, and owners by their place
among them; where the reader numbers its rows alike, as it does unless points were deleted since,
owners are used as they lie in the file. Reading gives layers with everything stale that was written
since. The header says of what the lists are (`cache.told_of`), so that they can be made again for
the file by a process that never used them. Whatever is wrong with a file, and isn't found by its
checksum, is a ValueError here or an IndexError when it is used.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from retrieval_store.base.arrays import Ints
from retrieval_store.engine.state import array_files
from retrieval_store.engine.state.array_files import Array
from retrieval_store.engine.state.layers import Layers
from retrieval_store.engine.state.saved import stale_since
from retrieval_store.engine.state.state import AnyView, State, rows_of
from retrieval_store.engine.storage.schema import LISTED
from retrieval_store.engine.words.cache import ListKey, key_told, told_of
from retrieval_store.engine.words.lists import Lists
from retrieval_store.engine.words.vocabulary import Vocabulary

MAGIC = b"RSlists2"
MAGICS_BEFORE = (b"RSlists1",)  # of lists as they were before they were mapped
# Of each segment: pks, sizes, terms, offsets, owners, weights, and of words the vocabulary.
_TYPES = ("<i8", "<f4", "<i8", "<i8", "<i4", "<f4", "|u1", "<i8", "<i4")


def write(
    path: Path,
    key: ListKey,
    layers: Layers[Lists],
    state: State,
    going_on: Callable[[], object] = lambda: None,
) -> int:
    """Write layers of this key without stale rows; returns the pk that is the first not to be in
    them. going_on: called before each array; it may raise."""
    arrays = [array for segment in layers.segments for array in _arrays(segment, state)]
    header = [told_of(key), [segment.codes is not None for segment in layers.segments]]
    array_files.write(path, array_files.pieces(MAGIC, header, arrays), going_on)
    return state.head.next_pk


def _arrays(segment: Lists, state: State) -> Iterator[Array]:
    yield state.pks[segment.rows]
    yield segment.sizes
    yield segment.terms
    yield segment.offsets
    yield np.searchsorted(segment.rows, segment.owners).astype(np.int32)
    yield segment.weights
    yield from Vocabulary.arrays_of([*(segment.codes or ())])


def key_in(path: Path) -> ListKey:
    """Of what the lists in a file are, as it says."""
    return key_told(array_files.read(path, MAGIC, MAGICS_BEFORE).header[0])


def read(path: Path, view: AnyView, seq: int, covered: int) -> Layers[Lists]:
    """What `write` wrote at the write `seq`, when `covered` was the next pk, for this state."""
    found = array_files.read(path, MAGIC, MAGICS_BEFORE)
    _, have_words = found.header
    arrays = found.of_types(*_TYPES * len(have_words))
    segments = []
    for i, has_words in enumerate(have_words):
        its = arrays[i * len(_TYPES) : (i + 1) * len(_TYPES)]
        segments.append(_segment(view.state.pks, has_words is True, *its))
    return Layers(tuple(segments), stale_since(view, seq, covered, LISTED), found.memory)


def _segment(
    all_pks: Ints,
    has_words: bool,
    pks: Ints,
    sizes: Array,
    terms: Ints,
    offsets: Ints,
    owners: Array,
    weights: Array,
    *words: Array,
) -> Lists:
    codes = _vocabulary(*words) if has_words else None
    _refuse_disorder(pks, sizes, offsets, owners, weights)
    if len(offsets) != len(terms if codes is None else codes) + 1:
        raise ValueError("it has other lists than terms")
    rows = rows_of(all_pks, pks)
    living = rows >= 0
    if not living.all():  # others were deleted since
        owners = rows[owners].astype(np.int32)
        kept = owners >= 0
        offsets, owners = np.append(0, np.cumsum(kept))[offsets], owners[kept]
        weights = weights[kept] if len(weights) else weights
        sizes = sizes[living] if len(sizes) else sizes
        rows = rows[living]
    elif len(rows) and int(rows[-1]) != len(rows) - 1:
        owners = rows[owners].astype(np.int32)
    return Lists(rows, sizes, codes, terms, offsets, owners, weights, True)


def _vocabulary(spelt: Array, starts: Array, order: Array) -> Vocabulary:
    if len(starts) != len(order) + 1:
        raise ValueError("it has other words than it counts")
    if len(order) and not 0 <= int(order.min()) <= int(order.max()) < len(order):
        raise ValueError("it has words that aren't there")
    return Vocabulary(spelt, starts, order)


def _refuse_disorder(pks: Ints, sizes: Array, offsets: Ints, owners: Array, weights: Array) -> None:
    if (pks[1:] <= pks[:-1]).any() or len(sizes) not in (0, len(pks)):
        raise ValueError("its rows are out of order")
    if len(owners) and not 0 <= int(owners.min()) <= int(owners.max()) < len(pks):
        raise ValueError("it has rows that aren't there")
    # The sum of numbers of float32 is one in float64, whatever they are, if all of them are.
    if not np.isfinite(weights.sum(dtype=np.float64)) or not (sizes >= 0).all():
        raise ValueError("it has weights that are no numbers")
    if len(weights) not in (0, len(owners)):
        raise ValueError("it has other weights than postings")
    follow = len(offsets) > 0 and offsets[0] == 0 and offsets[-1] == len(owners)
    if not follow or (offsets[1:] < offsets[:-1]).any():
        raise ValueError("its lists don't follow one another")
