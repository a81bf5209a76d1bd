"""The words of lists in a file, found without reading all of them: one after the other in an array
of bytes, with their order, in which a word is looked for by halves. A few hundred thousand words
would take a tenth of a second to make a dict of; to find one of them here takes microseconds."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from retrieval_store.base.arrays import Bytes, Ints
from retrieval_store.engine.state.array_files import Array


class Vocabulary(Mapping[str, int]):
    """The number of each word. spelt: the words in UTF-8, by number; starts: (n + 1,) where each
    begins in that; order: (n,) their numbers in the order of their bytes."""

    def __init__(self, spelt: Bytes, starts: Ints, order: Array) -> None:
        self._spelt, self._starts, self._order = spelt, starts, order

    @classmethod
    def arrays_of(cls, words: Sequence[str]) -> tuple[Bytes, Ints, Array]:
        """What makes the vocabulary of these words, each there once, by their numbers."""
        spelt = [word.encode() for word in words]
        starts = np.zeros(len(spelt) + 1, np.int64)
        np.cumsum([*map(len, spelt)], out=starts[1:])
        order = sorted(range(len(spelt)), key=spelt.__getitem__)
        return np.frombuffer(b"".join(spelt), np.uint8), starts, np.array(order, np.int32)

    def refuse_disorder(self) -> None:
        """Raise ValueError where words would not be found by their order, or twice."""
        spelt = [self._bytes_of(number) for number in range(len(self))]
        in_order = [spelt[number] for number in self._order.tolist()]
        if any(one >= other for one, other in pairwise(in_order)):
            raise ValueError("its words are out of order")

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[str]:
        return (self._bytes_of(number).decode() for number in range(len(self)))

    def __getitem__(self, word: str) -> int:
        wanted = word.encode(errors="surrogatepass")  # of a query, which may have any
        place = bisect_left(self._order, wanted, key=self._bytes_of)
        if place < len(self._order) and self._bytes_of(self._order[place]) == wanted:
            return int(self._order[place])
        raise KeyError(word)

    def _bytes_of(self, number: int) -> bytes:
        return self._spelt[self._starts[number] : self._starts[number + 1]].tobytes()
