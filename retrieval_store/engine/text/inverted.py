"""Inverted lists: for each term the rows that have it, as arrays in memory and in files.

A term is a word, a trigram of bytes, or an index of a sparse vector; each posting has a weight.
Lists of all kinds are updated as `caches.Layers` and ranked by the same code (`bm25`). `KeptLists`
are the lists that are kept between calls. A collection without words has no lists, so this module
imports no other module of this package.

Arrays in files are mapped. Row numbers can differ between processes. So a file contains the pks of
the rows, and its owners are positions among these pks. If no points were deleted since, the
reader's rows have the same numbers, and the owners are used directly. Reading a file returns layers
in which all rows written after the file are stale. The header names the contents of the lists
(`key_as_json`), so that a process that never used them can rebuild them for the file. A fault that
the checksum doesn't reveal causes a ValueError in this module or an IndexError when the file is
used.

`Vocabulary` finds a word of a file without reading all words. The words are one after the other in
an array of bytes, and are found by bisection of their sort order. A lookup takes microseconds;
building a dict of a few hundred thousand words would take a tenth of a second.
"""

from bisect import bisect_left
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from retrieval_store.base.arrays import (
    Bools,
    Bytes,
    CowArray,
    Ints,
    Matrix,
    distinct,
    own_bytes,
    stable_order,
)
from retrieval_store.engine.state import mapped_files
from retrieval_store.engine.state.caches import LayerCache, Layers, outside
from retrieval_store.engine.state.mapped_files import Array, CheckCancelled
from retrieval_store.engine.state.state import ChangedRows, State, View, rows_of

if TYPE_CHECKING:
    from retrieval_store.base.analysis import Analyzer

MAX_TRIGRAM_PREFIX = 1_000  # characters at the beginning of a text from which trigrams are taken
NO_ROWS: Ints = np.empty(0, np.int64)
Term: TypeAlias = str | int
Rows32: TypeAlias = npt.NDArray[np.int32]
Whole: TypeAlias = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Lists:
    """The inverted lists of some rows.

    rows: (n,) ascending. sizes: (n,) float32, the number of words of each row. codes: if terms are
    words, the number c of each word. terms: if terms aren't words, (t,) ascending int64; the number
    of a term is its position. owners[offsets[c]:offsets[c + 1]]: the rows that have term c,
    ascending, int32. weights[…]: for these rows, the count or value of the term, float32; empty for
    trigrams. from_file: whether the lists were read from a file. has_unused: whether there may be
    terms without rows.
    """

    rows: Ints
    sizes: Matrix
    codes: Mapping[str, int] | None
    terms: Ints
    offsets: Ints
    owners: Rows32
    weights: Matrix
    from_file: bool = False
    has_unused: bool = False
    is_empty: ClassVar[bool] = False  # there are few kinds of lists

    @property
    def nbytes(self) -> int:
        """The size of the arrays in bytes, without arrays in a mapped file, and with an estimate
        for the words."""
        arrays = (self.rows, self.sizes, self.terms, self.offsets, self.owners, self.weights)
        words = len(self.codes) if isinstance(self.codes, dict) else 0
        return own_bytes(*arrays) + 100 * words

    def find(self, term: Term) -> tuple[Rows32, Matrix]:
        """The rows that have the term, and their weights."""
        code = self._number_of(term)
        if code is None:
            return self.owners[:0], self.weights[:0]
        chosen = slice(int(self.offsets[code]), int(self.offsets[code + 1]))
        return self.owners[chosen], self.weights[chosen]

    def _number_of(self, term: Term) -> int | None:
        if self.codes is not None:
            return self.codes.get(str(term))
        place = int(np.searchsorted(self.terms, term))
        return place if place < len(self.terms) and self.terms[place] == term else None


def find_in(
    layers: Layers[Lists], term: Term, above: list[Ints | None], alive: Bools, has_dead_rows: bool
) -> tuple[Rows32, Matrix]:
    """The rows of existing points that have the term, and their weights. If several segments
    contain a row, the uppermost segment is valid for it. above: see `Layers.above`. has_dead_rows:
    whether any row is dead; if not, the test for dead rows is skipped, which would take most of the
    time."""
    rows, weights = [np.empty(0, np.int32)], [np.empty(0, np.float32)]
    for segment, rows_above in zip(layers.segments, above, strict=True):
        term_rows, values = segment.find(term)
        # The lists were built for a later state.
        if len(term_rows) and int(term_rows[-1]) >= len(alive):
            term_rows = term_rows[: np.searchsorted(term_rows, len(alive))]
            values = values[: len(term_rows)]
        if has_dead_rows or rows_above is not None:
            good = alive[term_rows]
            if rows_above is not None:
                good &= outside(term_rows, rows_above)
            if not good.all():
                term_rows, values = term_rows[good], values[good] if len(values) else values
        rows.append(term_rows)
        weights.append(values)
    if len(rows) == 2:
        return rows[1], weights[1]
    return np.concatenate(rows), np.concatenate(weights)


def combine_lists(parts: Sequence[Lists]) -> Lists:
    """Combine several `Lists` into one. They must be in the order of their rows."""
    if len(parts) == 1:
        return parts[0]
    terms, codes = _common_terms(parts)
    numbers = np.concatenate(
        [
            np.repeat(part_numbers, np.diff(part.offsets))
            for part_numbers, part in zip(codes, parts, strict=True)
        ]
    )
    order = stable_order(numbers)
    weights = np.concatenate([part.weights for part in parts])
    count = int(numbers.max(initial=-1)) + 1
    return Lists(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.sizes for part in parts]),
        terms if isinstance(terms, dict) else None,
        np.empty(0, np.int64) if isinstance(terms, dict) else terms,
        np.searchsorted(numbers[order], np.arange(count + 1)),
        np.concatenate([part.owners for part in parts])[order],
        weights[order] if len(weights) else weights,
    )


def _common_terms(parts: Sequence[Lists]) -> tuple[dict[str, int] | Ints, list[Ints]]:
    """All terms of the parts, numbered anew. Also returns, for each part, the new numbers of its
    terms."""
    if any(part.codes is not None for part in parts):
        numbers: dict[str, int] = {}
        numbers_of_parts = [
            [numbers.setdefault(word, len(numbers)) for word in part.codes or ()] for part in parts
        ]
        return numbers, [np.array(codes, np.int64) for codes in numbers_of_parts]
    terms = distinct(np.concatenate([part.terms for part in parts]))
    return terms, [np.searchsorted(terms, part.terms) for part in parts]


def merge_lists(segments: Sequence[Lists], alive: Bools) -> Lists:
    """Merge the lists of several segments, ordered from the lowest to the uppermost. For each row
    with an existing point, the uppermost segment that contains the row is valid. Terms that no row
    has any more are left out."""
    above = Layers((*segments,), NO_ROWS).above()
    parts = [
        _living_part(part, rows_above, alive)
        for part, rows_above in zip(segments, above, strict=True)
    ]
    terms, codes = _common_terms([part for part, _ in parts])
    numbers = np.concatenate(
        [
            part_numbers[term_places]
            for part_numbers, (_, term_places) in zip(codes, parts, strict=True)
        ]
    )
    owners = np.concatenate([part.owners for part, _ in parts])
    order = stable_order(owners)
    order = order[stable_order(numbers[order])]
    numbers, weights = numbers[order], np.concatenate([part.weights for part, _ in parts])
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    used_terms, words = numbers[starts], None
    if isinstance(terms, dict):
        all_words = [*terms]
        words = {all_words[number]: place for place, number in enumerate(used_terms.tolist())}
    rows = np.concatenate([part.rows for part, _ in parts])
    in_order, sizes = np.argsort(rows), np.concatenate([part.sizes for part, _ in parts])
    return Lists(
        rows[in_order],
        sizes[in_order] if len(sizes) else sizes,
        words,
        NO_ROWS if isinstance(terms, dict) else terms[used_terms],
        np.append(starts, len(numbers)),
        owners[order],
        weights[order] if len(weights) else weights,
        any(segment.from_file for segment in segments),
    )


def _living_part(part: Lists, rows_above: Ints | None, alive: Bools) -> tuple[Lists, Ints]:
    """The lists of a segment, restricted to the rows that have an existing point and aren't in the
    segments above it. part: the lists; rows_above: the rows of the segments above. Also returns the
    number of the term of each of the restricted `owners`."""
    good = part.rows < len(alive)
    good[good] = alive[part.rows[good]]
    if rows_above is not None:
        good &= outside(part.rows, rows_above)
    is_kept = np.zeros(int(part.rows[-1]) + 1 if len(part.rows) else 0, np.bool_)
    is_kept[part.rows[good]] = True
    chosen = is_kept[part.owners]
    numbers = np.repeat(np.arange(len(part.offsets) - 1), np.diff(part.offsets))[chosen]
    kept = replace(
        part,
        rows=part.rows[good],
        sizes=part.sizes[good] if len(part.sizes) else part.sizes,
        owners=part.owners[chosen],
        weights=part.weights[chosen] if len(part.weights) else part.weights,
    )
    return kept, numbers


def renumber_lists(lists: Lists, new_rows: Ints) -> Lists:
    """The lists after rows were renumbered. new_rows: (n,), the new number of each row, ascending;
    -1 for a deleted row. Rows from n on are deleted too."""
    rows, owners = lists.rows, lists.owners
    in_range = rows < len(new_rows)
    rows_now = np.full(len(rows), -1, np.int64)
    rows_now[in_range] = new_rows[rows[in_range]]
    place_of_row = np.full(int(rows[-1]) + 1 if len(rows) else 0, -1, np.int32)
    place_of_row[rows] = rows_now
    return _renumber(lists, rows_now, place_of_row[owners])


def _renumber(lists: Lists, rows: Ints, owners: Rows32) -> Lists:
    """The lists with these rows and owners instead. Rows and owners that are -1 are removed."""
    living, is_alive = rows >= 0, owners >= 0
    if living.all():
        return replace(lists, rows=rows, owners=owners)
    return replace(
        lists,
        rows=rows[living],
        sizes=lists.sizes[living] if len(lists.sizes) else lists.sizes,
        offsets=np.append(0, np.cumsum(is_alive))[lists.offsets],
        owners=owners[is_alive],
        weights=lists.weights[is_alive] if len(lists.weights) else lists.weights,
        has_unused=True,
    )


def list_words(rows: Ints, documents: Sequence[str | None], analyzer: "Analyzer") -> Lists:
    """Build the lists of the words of some documents, one document for each row. A weight is how
    often the word occurs."""
    words = analyzer.words([document or "" for document in documents])
    sizes = np.bincount(words.owners, minlength=len(rows)).astype(np.float32)
    codes, owners, counts = _count_pairs(words.codes, words.owners)
    offsets = np.searchsorted(codes, np.arange(len(words.vocabulary) + 1))
    numbers = {word: code for code, word in enumerate(words.vocabulary)}
    none = np.empty(0, np.int64)
    return Lists(rows, sizes, numbers, none, offsets, rows.astype(np.int32)[owners], counts)


def list_trigrams(rows: Ints, documents: Sequence[str | None]) -> Lists:
    """Build the lists of the trigrams of some documents. Trigrams are all sequences of three bytes
    in UTF-8."""
    # str.encode, because anything that isn't a document must raise TypeError
    blobs = [str.encode(document or "") for document in documents]
    lengths = np.array([len(blob) for blob in blobs], np.int64)
    data = np.frombuffer(b"".join(blobs), np.uint8).astype(np.int32)
    pieces = data[:-2] | data[1:-1] << 8 | data[2:] << 16
    owners = np.repeat(np.arange(len(blobs), dtype=np.int32), lengths)[: len(pieces)]
    inside = np.arange(len(pieces)) + 3 <= np.cumsum(lengths)[owners]
    trigrams, holders, _ = _count_pairs(pieces[inside], owners[inside])
    starts = np.flatnonzero(np.diff(trigrams, prepend=-1))
    offsets = np.append(starts, len(trigrams))
    empty, rows_of_trigrams = np.empty(0, np.float32), rows.astype(np.int32)[holders]
    return Lists(
        rows, empty, None, trigrams[starts].astype(np.int64), offsets, rows_of_trigrams, empty
    )


def list_sparse(rows: Ints, holders: Ints, indices: Ints, values: Matrix, lengths: Ints) -> Lists:
    """Build the lists of sparse vectors. holders: the rows that have a vector, ascending. indices,
    values: those of all vectors, concatenated. lengths: the number of indices of each vector."""
    owners = np.repeat(holders.astype(np.int32), lengths)
    order = stable_order(indices)
    indices = indices[order]
    starts = np.flatnonzero(np.diff(indices, prepend=-1))
    offsets = np.append(starts, len(order))
    sizes = np.zeros(len(rows), np.float32)
    sizes[np.searchsorted(rows, holders)] = lengths
    return Lists(rows, sizes, None, indices[starts], offsets, owners[order], values[order])


def trigrams_of(text: str) -> list[int]:
    """The distinct trigrams at the beginning of a text in UTF-8. There are none for a text of less
    than three bytes. A document that contains the text has all these trigrams, and few other
    documents do."""
    data = text[:MAX_TRIGRAM_PREFIX].encode()
    return list({data[i] | data[i + 1] << 8 | data[i + 2] << 16 for i in range(len(data) - 2)})


def _count_pairs(codes: Whole, owners: Whole) -> tuple[Whole, Whole, Matrix]:
    """The distinct pairs of code and owner, with their counts. The pairs are sorted by code and
    then by owner. The input owners must ascend."""
    order = stable_order(codes)
    codes, owners = codes[order], owners[order]
    changes = (np.diff(codes, prepend=-1) != 0) | (np.diff(owners, prepend=-1) != 0)
    firsts = np.flatnonzero(changes)
    counts = np.diff(firsts, append=len(codes)).astype(np.float32)
    return codes[firsts], owners[firsts], counts


# Up to this many changed rows, sizes are updated row by row; otherwise for all rows.
FOLLOWED = 1_024
# The key of lists of words, of trigrams, or of a sparse space.
ListKey: TypeAlias = "tuple[str, Analyzer | int | None]"
TRIGRAMS: ListKey = ("trigrams", None)
OF_DOCUMENTS, OF_VECTORS = frozenset(["documents"]), frozenset(["vectors"])


def is_sparse(key: ListKey) -> bool:
    """Whether the lists index sparse vectors."""
    return isinstance(key[1], int)


def source_of_lists(key: ListKey) -> frozenset[str]:
    """The part of points from which lists are built, by its name in the change log."""
    return OF_VECTORS if is_sparse(key) else OF_DOCUMENTS


def file_key(key: ListKey) -> str:
    """The key under which the file of these lists is recorded."""
    kind, source = key
    if source is None:
        return kind
    if isinstance(source, int):
        return f"{kind}.{source}"
    import hashlib  # imported here, because it takes 3 ms and few callers need a file

    description = repr((source.language, sorted(source.stopwords)))
    return f"{kind}.{hashlib.sha256(description.encode()).hexdigest()[:16]}"


def key_as_json(key: ListKey) -> list[object]:
    """The key of lists as JSON, which is stored in their file."""
    kind, source = key
    if source is None or isinstance(source, int):
        return [kind, source]
    return [kind, [source.language, sorted(source.stopwords)]]


def parse_key(description: Any) -> ListKey:
    """The key from the JSON of a file. The name of a language isn't checked here; an invalid name
    causes an error when the lists are built."""
    from retrieval_store.base.analysis import Analyzer

    kind, source = description
    if kind == "words":
        language, stopwords = source
        are_strings = set(map(type, stopwords)) <= {str}
        if are_strings and (language is None or type(language) is str):
            return kind, Analyzer(language, frozenset(stopwords))
    elif (kind == "sparse" and type(source) is int) or description == [*TRIGRAMS]:
        return kind, source
    raise ValueError(f"it has lists of {kind!r}")


@dataclass(frozen=True, slots=True)
class Measures:
    """The sizes of all rows, and their sum, for ranking. segments: the lists from which the sizes
    were computed. above: see `Layers.above`. sizes: for each row, the number of its words, or of
    its sparse vector's numbers, with spare room at the end. holders: how many rows have words or
    numbers. total: the sum of all sizes. changed: the rows whose size must be computed again."""

    segments: "tuple[Lists, ...]"
    above: list[Ints | None]
    sizes: CowArray
    holders: int
    total: int
    changed: Ints

    @property
    def average(self) -> float:
        """The average size of the rows that have words or numbers."""
        return self.total / max(1, self.holders)


MeasuresByKey = dict[Hashable, Measures]


def measures_still_valid(
    measures_by_key: Mapping[Hashable, Measures], changed_rows: Ints
) -> MeasuresByKey:
    """The measures that remain valid after the lists of these rows have changed."""
    # A copy, because a reader of the previous state may add entries meanwhile.
    entries = list(measures_by_key.items())
    updated = [
        (key, measures, np.concatenate([measures.changed, changed_rows]))
        for key, measures in entries
    ]
    return {
        key: replace(measures, changed=changed)
        for key, measures, changed in updated
        if len(changed) <= FOLLOWED
    }


@dataclass(frozen=True, slots=True)
class KeptLists:
    """The cached inverted lists, and data derived from them. lists: the lists by key, for all
    states with the same row numbers. measures: the `Measures` of the lists of each key, for one
    state. unsaved: keys of lists that were built recently and may be worth saving in a file."""

    lists: LayerCache
    measures: MeasuresByKey
    unsaved: set[Hashable] = field(default_factory=set, kw_only=True)


ListView: TypeAlias = View[KeptLists]


def renumber_cached_lists(
    lists: LayerCache, before: State, now: State, changed: ChangedRows
) -> LayerCache:
    """The lists for a state in which rows are numbered differently than in the state `before`.
    Lists that this process built are kept, because rebuilding them takes a minute for a million
    sentences. Lists in files are read again. changed: rows that differ between the states."""
    new_rows, seq = rows_of(now.pks, before.pks), before.head.seq
    renumbered = LayerCache(seq - 1, source_of_lists)
    stale = {OF_DOCUMENTS: [changed.documents], OF_VECTORS: [changed.non_dense]}
    for key in lists.nonempty_keys():
        layers: Layers[Lists] | None = lists.find(key, seq, len(before.pks))
        if layers is None or any(segment.from_file for segment in layers.segments):
            continue
        segments = tuple(renumber_lists(segment, new_rows) for segment in layers.segments)
        renumbered.keep(key, seq - 1, Layers(segments, NO_ROWS))
        stale[source_of_lists(key)].append(new_rows[layers.stale])
    stale_rows = {parts: distinct(np.concatenate(rows)) for parts, rows in stale.items()}
    renumbered.note(now.head.seq, {parts: rows[rows >= 0] for parts, rows in stale_rows.items()})
    return renumbered


class Vocabulary(Mapping[str, int]):
    """Maps words to their numbers. spelt: the words in UTF-8, concatenated in the order of their
    numbers. starts: (n + 1,) the position in `spelt` at which each word begins. order: (n,) the
    numbers of the words, sorted by the words' bytes."""

    def __init__(self, spelt: Bytes, starts: Ints, order: Array) -> None:
        self._spelt, self._starts, self._order = spelt, starts, order

    @classmethod
    def arrays_of(cls, words: Sequence[str]) -> tuple[Bytes, Ints, Array]:
        """The arrays of a vocabulary of these distinct words, in the order of their numbers."""
        spelt = [word.encode() for word in words]
        starts = np.zeros(len(spelt) + 1, np.int64)
        np.cumsum([*map(len, spelt)], out=starts[1:])
        order = sorted(range(len(spelt)), key=spelt.__getitem__)
        return np.frombuffer(b"".join(spelt), np.uint8), starts, np.array(order, np.int32)

    def refuse_disorder(self) -> None:
        """Raise ValueError unless the words are distinct and sorted, because words are found by
        bisection."""
        spelt = [self._bytes_of(number) for number in range(len(self))]
        in_order = [spelt[number] for number in self._order.tolist()]
        if any(word >= next_word for word, next_word in pairwise(in_order)):
            raise ValueError("its words are out of order")

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[str]:
        return (self._bytes_of(number).decode() for number in range(len(self)))

    def __getitem__(self, word: str) -> int:
        sought = word.encode(errors="surrogatepass")  # a query may contain any characters
        place = bisect_left(self._order, sought, key=self._bytes_of)
        if place < len(self._order) and self._bytes_of(self._order[place]) == sought:
            return int(self._order[place])
        raise KeyError(word)

    def _bytes_of(self, number: int) -> bytes:
        return self._spelt[self._starts[number] : self._starts[number + 1]].tobytes()


MAGIC = b"RSlists4"
# First bytes of earlier formats: not mapped; scripts without spaces not split into pairs; strokes,
# and marks of Arabic and Hebrew, not folded.
MAGICS_BEFORE = b"RSlists1", b"RSlists2", b"RSlists3"
# For each segment: pks, sizes, terms, offsets, owners, weights, and, for words, the vocabulary.
_TYPES = ("<i8", "<f4", "<i8", "<i8", "<i4", "<f4", "|u1", "<i8", "<i4")


def write(
    path: Path, key: ListKey, layers: Layers[Lists], state: State, check_cancelled: CheckCancelled
) -> int:
    """Write the layers of this key, which must have no stale rows, to a file. Returns the first pk
    that they don't cover. check_cancelled: called before each array; it can raise."""
    arrays = [array for segment in layers.segments for array in _arrays(segment, state)]
    header = [key_as_json(key), [segment.codes is not None for segment in layers.segments]]
    mapped_files.write_arrays(path, mapped_files.pieces(MAGIC, header, arrays), check_cancelled)
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
    """The key of the lists in a file, from its header."""
    return parse_key(mapped_files.read_arrays(path, MAGIC, MAGICS_BEFORE).header[0])


def read_lists(path: Path, key: ListKey, pks: Ints, stale: Ints) -> Layers[Lists]:
    """Read the lists that `write` wrote. pks: the pks of all rows of the present state. stale: the
    rows that were written after the file."""
    content = mapped_files.read_arrays(path, MAGIC, MAGICS_BEFORE)
    key_of_file, have_words = content.header
    if key_of_file != key_as_json(key):
        raise ValueError("it has lists of something else")
    arrays = content.unpack(*_TYPES * len(have_words))
    segments = []
    for i, has_words in enumerate(have_words):
        segment_arrays = arrays[i * len(_TYPES) : (i + 1) * len(_TYPES)]
        segments.append(_segment(pks, has_words is True, *segment_arrays))
    return Layers(tuple(segments), stale, content.memory)


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
        raise ValueError("the numbers of lists and of terms differ")
    rows = rows_of(all_pks, pks)
    lists = Lists(rows, sizes, codes, terms, offsets, owners, weights, True, True)
    if not len(rows) or (int(rows.min()) == 0 and int(rows[-1]) == len(rows) - 1):
        return lists  # rows are numbered as in the file
    return _renumber(lists, rows, rows[owners].astype(np.int32))


def _vocabulary(spelt: Array, starts: Array, order: Array) -> Vocabulary:
    if len(starts) != len(order) + 1:
        raise ValueError("the numbers of words and of their places differ")
    if len(order) and not 0 <= int(order.min()) <= int(order.max()) < len(order):
        raise ValueError("it has words that aren't there")
    return Vocabulary(spelt, starts, order)


def _refuse_disorder(pks: Ints, sizes: Array, offsets: Ints, owners: Array, weights: Array) -> None:
    if (pks[1:] <= pks[:-1]).any() or len(sizes) not in (0, len(pks)):
        raise ValueError("its rows are out of order")
    if len(owners) and not 0 <= int(owners.min()) <= int(owners.max()) < len(pks):
        raise ValueError("it has rows that aren't there")
    # The float64 sum of float32 numbers is finite exactly if all of them are finite.
    if not np.isfinite(weights.sum(dtype=np.float64)) or not (sizes >= 0).all():
        raise ValueError("it has weights that are no numbers")
    if len(weights) not in (0, len(owners)):
        raise ValueError("the numbers of weights and of postings differ")
    follow = len(offsets) > 0 and offsets[0] == 0 and offsets[-1] == len(owners)
    if not follow or (offsets[1:] < offsets[:-1]).any():
        raise ValueError("its lists don't follow one another")
