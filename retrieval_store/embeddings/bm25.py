"""BM25 as sparse vectors, without a model: words are hashed to indices.

The format is that of Qdrant's model "Qdrant/bm25". The index of a word is the absolute value of its
32-bit MurmurHash3. In a document, the value of a word is the part of BM25 that doesn't depend on
other documents; in a query the value is 1. The store multiplies by the idf, which should be
switched on for the vector space.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from retrieval_store.base.analysis import K1, B, Words, analyzer, is_identifier
from retrieval_store.base.arrays import Floats, SparseVector, plain_scalar
from retrieval_store.base.fusion import FIRST, RARITY_POWER, contained_share
from retrieval_store.base.system import needing
from retrieval_store.base.validation import quote
from retrieval_store.errors import InvalidArgumentError

# With these, all that is computed is far inside of float32.
LIMITS = {"k": (0, 1_000), "b": (0, 1), "average_length": (1e-3, 1e9)}


class BM25Embedding:
    """Sparse vectors of texts for ranking by BM25."""

    self_contained = True

    def __init__(
        self,
        language: str | None = "english",
        stopwords: bool | Sequence[str] = True,
        k: float = K1,
        b: float = B,
        average_length: float = 256.0,
        stemming: bool = True,
    ) -> None:
        """Set how words are counted and weighted.

        Args:
            language: the language of the stemmer, None for no stemming.
            stopwords: True for the stopwords of the language, False for none, or a list.
            k: BM25's parameter for how much the frequency of a word counts.
            b: BM25's parameter for how much the length of a document counts.
            average_length: the assumed average number of words in a document; it isn't computed
                from the documents.
            stemming: False to use the language only for the stopwords.

        Raises:
            MissingDependencyError: mmh3 isn't installed.
        """
        k, b = _number("k", k), _number("b", b)
        average_length = _number("average_length", average_length)
        _check_words(language, stopwords, stemming)
        if isinstance(stopwords, set | frozenset):  # whose order is another in each process
            stopwords = sorted(stopwords)
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
        """A sparse vector for each document, with an index for each word. The value of a word is f
        (k + 1) / (f + k (1 - b + b |d| / average length)), where f is the frequency of the word,
        and |d| the number of words of the document."""
        words = self._analyzer.words(list(input))
        damping = self._damping(words, len(input))
        return [
            SparseVector(indices, (often * (self._k + 1) / (often + damping[i])).astype(np.float32))
            for i, (indices, often) in enumerate(self._count_words(words, len(input)))
        ]

    def embed_query(self, input: Sequence[str], identifiers: float = 1.0) -> list[SparseVector]:
        """A sparse vector for each query, with the value 1 for each distinct word. Words that look
        like the name of a single thing (`base.analysis.is_identifier`) have the value `identifiers`
        instead."""
        words = self._analyzer.words(list(input), is_query=True)
        named = [self._index(word) for word in words.vocabulary if is_identifier(word)]
        return [
            SparseVector(
                indices, np.where(np.isin(indices, named), identifiers, 1.0).astype(np.float32)
            )
            for indices, _ in self._count_words(words, len(input))
        ]

    def contained_share(
        self, query: SparseVector, documents: Sequence[str], scores: Floats, count: int
    ) -> float:
        """The greatest share of a query that any of the best documents contains; see
        `base.fusion.contained_share`. It is estimated from the scores that a server with idf
        returned, for a collection of `count` documents. The idf of each word is fitted to the
        scores by least squares. A word that none of these documents contains counts as if no
        document in the collection contained it."""
        documents, scores = documents[:FIRST], scores[:FIRST]
        if not (len(documents) and len(query.indices)):
            return 0.0
        values = self._values_in(documents, query)
        is_known, greatest_idf = values.any(axis=0), float(np.log1p((count - 0.5) / 1.5))
        found_idf = np.maximum(np.linalg.lstsq(values, scores, rcond=None)[0], 0.0)
        rarity = np.where(is_known, found_idf, greatest_idf * query.values) ** RARITY_POWER
        shared = float(((values > 0) @ rarity).max())
        return contained_share(shared, float(rarity.sum()), greatest_idf)

    def _values_in(self, documents: Sequence[str], query: SparseVector) -> Floats:
        """(documents, words): the values of the query's words in each document."""
        words = self._analyzer.words(list(documents))
        hashed = np.array([self._index(word) for word in words.vocabulary], np.uint32)
        places = np.searchsorted(query.indices, hashed).clip(max=len(query.indices) - 1)
        is_asked = (query.indices[places] == hashed)[words.codes]
        often: Floats = np.zeros((len(documents), len(query.indices)))
        owners, codes = words.owners[is_asked], words.codes[is_asked]
        np.add.at(often, (owners, places[codes]), 1)
        damped = often + self._damping(words, len(documents))[:, None]
        np.divide(often * (self._k + 1), damped, out=often, where=often > 0)
        return often.astype(np.float32).astype(np.float64)

    def _damping(self, words: Words, texts: int) -> Floats:
        """(texts,): the term in BM25's denominator that is added to the frequency of a word, for
        each text."""
        sizes = np.bincount(words.owners, minlength=texts)
        return np.asarray(self._k * (1 - self._b + self._b * sizes / self._average), np.float64)

    def _index(self, word: str) -> int:
        return abs(int(self._hash(word)))

    def _count_words(self, words: Words, texts: int) -> Any:
        """For each text the indices of its words, ascending, and the number of occurrences of each
        word."""
        hashed = np.array([self._index(word) for word in words.vocabulary], np.uint64)
        # The number of the text above the index, so that one sort serves all texts.
        keys = np.array(words.owners, np.uint64) << np.uint64(32) | hashed[words.codes]
        pairs, often = np.unique(keys, return_counts=True)
        indices = (pairs & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        starts = np.searchsorted(pairs >> np.uint64(32), np.arange(texts + 1, dtype=np.uint64))
        for start, stop in pairwise(starts):
            yield indices[start:stop], often[start:stop]


def _number(name: str, value: Any) -> float:
    """A parameter of BM25; raises an error if it is not a number within its limits."""
    least, most = LIMITS[name]
    number: Any = plain_scalar(value)
    whole_or_not = isinstance(number, int | float) and not isinstance(number, bool)
    if not whole_or_not or not least <= number <= most:
        raise InvalidArgumentError(
            f"{name} is {quote(value)}, expected a number from {least:g} to {most:g}"
        )
    return number  # type: ignore[no-any-return]


def _check_words(language: Any, stopwords: Any, stemming: Any) -> None:
    listed = isinstance(stopwords, Sequence | set | frozenset) and not isinstance(stopwords, str)
    if language is not None and not isinstance(language, str):
        raise InvalidArgumentError(f"language is {quote(language)}, expected a str or None")
    if not isinstance(stopwords, bool) and not (
        listed and all(isinstance(word, str) for word in stopwords)
    ):
        raise InvalidArgumentError(
            f"stopwords is {quote(stopwords)}, expected True, False or a list of str"
        )
    if not isinstance(stemming, bool):
        raise InvalidArgumentError(f"stemming is {quote(stemming)}, expected True or False")


def _hash_function() -> Any:
    with needing("BM25Embedding", "mmh3", "[text]"):
        import mmh3
    return mmh3.hash
