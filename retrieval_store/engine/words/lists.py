"""Inverted lists: for each term the rows that have it, as arrays.

A term is a word, a trigram of bytes, or an index of a sparse vector; what a row has of it is a
weight.
All kinds are kept current as `layers` and ranked by the same code (`ranked.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from retrieval_store.base.analysis import Analyzer
from retrieval_store.base.arrays import Bools, Ints, Matrix, distinct, own_bytes, stable_order
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.engine.state.layers import Layers, outside

LOOKED_FOR = 1_000  # characters
Term: TypeAlias = str | int
Rows32: TypeAlias = npt.NDArray[np.int32]
Whole: TypeAlias = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Lists:
    """The lists of some rows.

    rows: (n,) ascending; sizes: (n,) float32, the number of words of each; codes: term → its number
    c, for words; terms: (t,) ascending int64, for other terms, whose number is their place;
    owners[offsets[c]:offsets[c + 1]] are the rows that have term c, ascending, int32, and
    weights[…], float32, what they have of it; none for trigrams. from_file: whether they were read
    from a file; if so, there may be words among them that no document has any more.
    """

    rows: Ints
    sizes: Matrix
    codes: Mapping[str, int] | None
    terms: Ints
    offsets: Ints
    owners: Rows32
    weights: Matrix
    from_file: bool = False
    is_empty: ClassVar[bool] = False  # there are few kinds of lists

    @property
    def nbytes(self) -> int:
        """Bytes of memory in its arrays, without those in a mapped file; of words, a guess."""
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
    layers: Layers[Lists], term: Term, above: list[Ints | None], alive: Bools, some_dead: bool
) -> tuple[Rows32, Matrix]:
    """The living rows that have the term by the segment that counts for them, and their weights.
    above: see `Layers.above`; some_dead: whether any row is dead; where none is, looking at each
    would take most of the time."""
    rows, weights = [np.empty(0, np.int32)], [np.empty(0, np.float32)]
    for segment, over in zip(layers.segments, above, strict=True):
        found, held = segment.find(term)
        if len(found) and int(found[-1]) >= len(alive):  # built for a later state
            found = found[: np.searchsorted(found, len(alive))]
            held = held[: len(found)]
        if some_dead or over is not None:
            good = alive[found]
            if over is not None:
                good &= outside(found, over)
            if not good.all():
                found, held = found[good], held[good] if len(held) else held
        rows.append(found)
        weights.append(held)
    if len(rows) == 2:
        return rows[1], weights[1]
    return np.concatenate(rows), np.concatenate(weights)


def combined(parts: Sequence[Lists]) -> Lists:
    """The lists of several parts, whose rows follow one another, as one."""
    if len(parts) == 1:
        return parts[0]
    terms, codes = _common_terms(parts)
    numbers = np.concatenate(
        [np.repeat(own, np.diff(part.offsets)) for own, part in zip(codes, parts, strict=True)]
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
    """All terms, numbered, and for each part the numbers of its own."""
    if any(part.codes is not None for part in parts):
        numbers: dict[str, int] = {}
        own = [
            [numbers.setdefault(word, len(numbers)) for word in part.codes or ()] for part in parts
        ]
        return numbers, [np.array(codes, np.int64) for codes in own]
    terms = distinct(np.concatenate([part.terms for part in parts]))
    return terms, [np.searchsorted(terms, part.terms) for part in parts]


def of_words(rows: Ints, documents: Sequence[str | None], analyzer: Analyzer) -> Lists:
    """Lists of the words of some documents, one for each row; weights are how often."""
    words = analyzer.words([document or "" for document in documents])
    sizes = np.bincount(words.owners, minlength=len(rows)).astype(np.float32)
    codes, owners, counts = _counted(words.codes, words.owners)
    offsets = np.searchsorted(codes, np.arange(len(words.vocabulary) + 1))
    numbers = {word: code for code, word in enumerate(words.vocabulary)}
    none = np.empty(0, np.int64)
    return Lists(rows, sizes, numbers, none, offsets, rows.astype(np.int32)[owners], counts)


def of_trigrams(rows: Ints, documents: Sequence[str | None]) -> Lists:
    """Lists of the three-byte pieces of some documents in UTF-8."""
    # Not a method of the document's own: what is none is a TypeError, as everywhere.
    blobs = [str.encode(document or "") for document in documents]
    lengths = np.array([len(blob) for blob in blobs], np.int64)
    data = np.frombuffer(b"".join(blobs), np.uint8).astype(np.int32)
    pieces = data[:-2] | data[1:-1] << 8 | data[2:] << 16
    owners = np.repeat(np.arange(len(blobs), dtype=np.int32), lengths)[: len(pieces)]
    inside = np.arange(len(pieces)) + 3 <= np.cumsum(lengths)[owners]
    found, holders, _ = _counted(pieces[inside], owners[inside])
    starts = np.flatnonzero(np.diff(found, prepend=-1))
    offsets = np.append(starts, len(found))
    empty, its_rows = np.empty(0, np.float32), rows.astype(np.int32)[holders]
    return Lists(rows, empty, None, found[starts].astype(np.int64), offsets, its_rows, empty)


def of_sparse(rows: Ints, holders: Ints, indices: Ints, values: Matrix, lengths: Ints) -> Lists:
    """Lists of the sparse vectors of `holders`, which are some of the rows, ascending; indices and
    values of one stand behind those of the one before; lengths: how many each has."""
    owners = np.repeat(holders.astype(np.int32), lengths)
    order = stable_order(indices)
    indices = indices[order]
    starts = np.flatnonzero(np.diff(indices, prepend=-1))
    offsets = np.append(starts, len(order))
    sizes = np.zeros(len(rows), np.float32)
    sizes[np.searchsorted(rows, holders)] = lengths
    return Lists(rows, sizes, None, indices[starts], offsets, owners[order], values[order])


def trigrams_of(text: str) -> list[int]:
    """Distinct three-byte pieces of a text in UTF-8; none of one that is shorter. Those of its
    beginning: a document that contains the text has these, and few others do."""
    data = text[:LOOKED_FOR].encode()
    return list({data[i] | data[i + 1] << 8 | data[i + 2] << 16 for i in range(len(data) - 2)})


def _counted(codes: Whole, owners: Whole) -> tuple[Whole, Whole, Matrix]:
    """The distinct pairs of code and owner, by code and then owner, and how often each is there;
    owners ascend."""
    order = stable_order(codes)
    codes, owners = codes[order], owners[order]
    changes = (np.diff(codes, prepend=-1) != 0) | (np.diff(owners, prepend=-1) != 0)
    firsts = np.flatnonzero(changes)
    counts = np.diff(firsts, append=len(codes)).astype(np.float32)
    return codes[firsts], owners[firsts], counts
