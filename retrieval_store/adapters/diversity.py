"""Maximal marginal relevance over what a collection returned."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from retrieval_store.base.fusion import maximal_marginal_relevance


def diverse(query: Any, vectors: Sequence[Any], k: int, lambda_mult: float) -> list[int]:
    """Places of k of the vectors, near the query and unlike each other, in the order in which they
    are chosen; lambda_mult 1 is nearness alone. None of no vectors."""
    if len(vectors) == 0:
        return []
    chosen = maximal_marginal_relevance(
        np.asarray(query, np.float32), np.stack(vectors), k, lambda_mult
    )
    places: list[int] = chosen.tolist()
    return places
