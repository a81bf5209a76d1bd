"""BM25 as sparse vectors, without a model: words are hashed to indices.

The form is that of Qdrant's model "Qdrant/bm25": the index of a word is the absolute value of its
32-bit MurmurHash3; a document's value is the part of BM25 that doesn't depend on other documents, a
query's is 1. The idf is the store's to multiply by, so the space should have it switched on.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from retrieval_store.arrays import SparseVector
from retrieval_store.errors import InvalidArgumentError, MissingDependencyError
from retrieval_store.words import Words, analyzer


class BM25Embedding:
    """Sparse vectors of texts for ranking by BM25.

    language: of the stemmer, None for no stemming; stopwords: True for the language's own, or a
    list; k, b: the parameters of BM25; average_length: how many words a document has on average,
    which is assumed rather than counted; stemming: whether there is any, where the language is only
    for the stopwords. Raises MissingDependencyError without mmh3.
    """

    def __init__(
        self,
        language: str | None = "english",
        stopwords: bool | Sequence[str] = True,
        k: float = 1.2,
        b: float = 0.75,
        average_length: float = 256.0,
        stemming: bool = True,
    ) -> None:
        if k < 0 or not 0 <= b <= 1 or average_length <= 0:
            raise InvalidArgumentError(
                f"k is {k}, b {b}, average_length {average_length}; expected k at least 0, b from "
                "0 to 1, and a length above 0"
            )
        self._settings: dict[str, Any] = {
            "language": language,
            "stopwords": stopwords if isinstance(stopwords, bool) else list(stopwords),
            "k": k,
            "b": b,
            "average_length": average_length,
            "stemming": stemming,
        }
        self._analyzer = analyzer(language, stemming, stopwords)
        self._k, self._b, self._average = k, b, average_length
        self._hash = _hash_function()

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return self._settings

    def __call__(self, input: Sequence[str]) -> list[SparseVector]:
        """For each document its words, with k1 and b applied: f (k + 1) / (f + k (1 - b + b |d| /
        average length))."""
        words = self._analyzer.words(list(input))
        sizes = np.bincount(words.owners, minlength=len(input))
        damping = self._k * (1 - self._b + self._b * sizes / self._average)
        return [
            SparseVector(indices, (often * (self._k + 1) / (often + damping[i])).astype(np.float32))
            for i, (indices, often) in enumerate(self._counted(words, len(input)))
        ]

    def embed_query(self, input: Sequence[str]) -> list[SparseVector]:
        """For each query its distinct words, with 1 for each."""
        words = self._analyzer.words(list(input))
        return [
            SparseVector(indices, np.ones(len(indices), np.float32))
            for indices, _ in self._counted(words, len(input))
        ]

    def _counted(self, words: Words, texts: int) -> Any:
        """For each text the indices of its words, ascending, and how often it has them."""
        hashed = np.array([abs(self._hash(word)) for word in words.vocabulary], np.uint32)
        starts = np.searchsorted(words.owners, np.arange(texts + 1))
        for start, stop in pairwise(starts):
            yield np.unique(hashed[words.codes[start:stop]], return_counts=True)


def _hash_function() -> Any:
    try:
        import mmh3
    except ImportError as error:
        raise MissingDependencyError(
            'BM25Embedding needs mmh3: pip install "retrieval-store[text]"'
        ) from error
    return mmh3.hash
