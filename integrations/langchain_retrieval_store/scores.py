"""What the scores of a search mean, and which of them become a relevance in which way.

A search by vectors alone gives distances. One by words, or by both, gives negative scores, so that
smaller is better in every mode. `how` are the arguments of a search, with the defaults of `search`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from retrieval_store.base.ranking import RRF_K


def by_distance(how: Mapping[str, Any]) -> bool:
    """Whether scores are distances: with all weight on the vectors, words decide nothing."""
    mode, alpha = _mode_and_alpha(how)
    return mode == "dense" or (mode == "hybrid" and alpha == 1)


def needs_vector(how: Mapping[str, Any]) -> bool:
    """Whether the query must be embedded."""
    mode, alpha = _mode_and_alpha(how)
    return mode == "dense" or (mode == "hybrid" and alpha != 0)


def relevance_of_words(how: Mapping[str, Any]) -> Callable[[float], float]:
    """How scores that aren't distances become a relevance from 0 to 1, 1 best."""
    mode, alpha = _mode_and_alpha(how)
    if mode == "text" or alpha == 0:
        return _of_bm25
    return _of_weighted if how.get("fusion") == "weighted" else _of_rrf


def _mode_and_alpha(how: Mapping[str, Any]) -> tuple[str, float]:
    return how.get("search_mode", "dense"), how.get("alpha", 0.5)


def _of_bm25(score: float) -> float:
    """BM25 has no bound: s / (1 + s)."""
    return -score / (1.0 - score)


def _of_rrf(score: float) -> float:
    """The first of both rankings has 1 / (k + 1)."""
    return -score * (RRF_K + 1)


def _of_weighted(score: float) -> float:
    return -score
