"""Re-rankers: what reads a query together with documents that were found, and puts these in a
better order.

A re-ranker is any callable of a query and a list of documents that returns as many numbers,
greater for a better document; or an object with `predict`, as cross-encoders of
sentence-transformers have it, or `score`, as LangChain's, which take pairs of both. In come texts,
out come numbers, by `scorer_of`. Classes that are registered as plugins are named instead of
given. `cross_encoder` runs models of sentence-transformers, `similarity` goes by the vectors of an
embedding function. It may use `embeddings`, `base` and `errors`.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from retrieval_store.base.arrays import Floats
from retrieval_store.base.validation import shown
from retrieval_store.errors import InvalidTypeError, RerankerError, RetrievalStoreError


class Reranker(Protocol):
    """Says how well documents answer a query."""

    def __call__(self, query: str, documents: Sequence[str], /) -> Any:
        """(n,) numbers for n documents, greater for a better one."""


Scorer: TypeAlias = Callable[[str, list[str]], Floats]


def scorer_of(reranker: Any, argument: str) -> Scorer:
    """What scores documents by a re-ranker of any kind, checked: (n,) float64, finite.

    argument: what it was given as, for the message. InvalidTypeError for what is none. Its calls
    raise RerankerError where the re-ranker fails, or returns anything but as many numbers.
    """
    method = _called(reranker)
    if method is None:
        raise InvalidTypeError(
            f"{argument} is {shown(reranker)}, expected the name of a re-ranker, a callable of a "
            "query and documents, or an object with predict(pairs) or score(pairs)"
        )

    def score(query: str, documents: list[str]) -> Floats:
        try:
            made = method(query, documents)
        except RetrievalStoreError:
            raise
        except Exception as error:  # whatever a model raises
            raise RerankerError(f"{argument} has failed: {error}") from error
        return _checked(made, len(documents), argument)

    return score


def _called(reranker: Any) -> Callable[[str, list[str]], Any] | None:
    """What calls it. A class isn't called: that would make one."""
    if isinstance(reranker, type):
        return None
    for name in ("predict", "score"):
        of_pairs = getattr(reranker, name, None)
        if callable(of_pairs):
            return lambda query, documents: of_pairs([(query, one) for one in documents])
    return reranker if callable(reranker) else None


def _checked(made: Any, count: int, argument: str) -> Floats:
    try:
        scores = np.asarray(made)
        scores = np.empty(0) if np.iscomplexobj(scores) else scores.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        scores = np.empty(0)
    if scores.shape == (count, 1):  # of a model with one label
        scores = scores[:, 0]
    if scores.shape != (count,):
        raise RerankerError(
            f"{argument} returned {shown(made)} for {count} documents, expected as many numbers"
        )
    if not np.isfinite(scores).all():
        raise RerankerError(f"{argument} returned numbers that aren't finite")
    return scores
