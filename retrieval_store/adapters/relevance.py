"""Distances as relevance, as frameworks want it: from 0 to 1, 1 best."""

import math
from collections.abc import Callable


def relevance_of(distance: str) -> Callable[[float], float]:
    """Distances as relevance from 0 to 1, 1 best, in the same order and without clamping: cosine
    1 - d / 2, squared L2 1 / (1 + d), inner product the logistic function of the product."""
    return _RELEVANCE[distance]


def _of_product(distance: float) -> float:
    product = 1.0 - distance
    if product >= 0:
        return 1.0 / (1.0 + math.exp(-product))
    grown = math.exp(product)
    return grown / (1.0 + grown)


_RELEVANCE: dict[str, Callable[[float], float]] = {
    # Rounding may leave a cosine distance a hair outside of 0 … 2.
    "cosine": lambda d: 1.0 - min(max(d, 0.0), 2.0) / 2.0,
    "l2": lambda d: 1.0 / (1.0 + d),
    "ip": _of_product,
}
