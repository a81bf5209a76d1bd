"""What the scores of a search mean, and which of them become a relevance in which way.

A search by vectors alone gives distances, smaller being nearer, as Chroma's store does. One by
words, or by both, gives scores, greater being better, as Qdrant's store and `Collection.query` do.
"""

from collections.abc import Callable

from retrieval_store.base.arrays import RRF_K


def relevance_of_words(mode: str, fusion: str) -> Callable[[float], float]:
    """How scores that aren't distances become a relevance from 0 to 1, 1 best."""
    if mode == "text":
        return _of_bm25
    if mode == "sparse":
        return _of_product
    return _of_rrf if fusion == "rrf" else _of_weighted


def _of_bm25(score: float) -> float:
    """BM25 has no bound: s / (1 + s)."""
    return score / (1.0 + score)


def _of_product(score: float) -> float:
    """Nor has a dot product, which may be negative: (1 + s / (1 + |s|)) / 2."""
    return (1.0 + score / (1.0 + abs(score))) / 2.0


def _of_rrf(score: float) -> float:
    """The first of both rankings has 1 / (k + 1)."""
    return score * (RRF_K + 1)


def _of_weighted(score: float) -> float:
    return score
