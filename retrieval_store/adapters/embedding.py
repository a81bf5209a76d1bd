"""Embedding functions as frameworks call them: whatever they return becomes lists of floats."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def embedded(function: Any, inputs: Sequence[Any]) -> list[list[float]]:
    """A vector for each input; the function sees a list, and of texts plain strings."""
    plain = [str.__str__(one) if isinstance(one, str) else one for one in inputs]
    vectors: list[list[float]] = np.asarray(function(plain), np.float64).tolist()
    return vectors


def query_embedded(function: Any, text: str) -> list[float]:
    """The vector of a query; some functions embed queries in another way than documents."""
    return embedded(getattr(function, "embed_query", function), [text])[0]
