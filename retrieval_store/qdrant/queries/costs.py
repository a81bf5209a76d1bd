"""For how many operations a read counts where strict mode bounds their rate: one, and one for each
condition of its filter; a query that compares with examples for each of them."""

from collections.abc import Sequence
from typing import Any

from qdrant_client import models

from retrieval_store.qdrant.collections.strict import conditions_in


def cost_of_filter(given: Any) -> int:
    """Of what asks for the points that a filter lets through."""
    return 1 + len(conditions_in(given))


def cost_of_query(given: Any) -> int:
    """Of a query: of its prefetches, which look for points; where there are none, its own."""
    cost, pending = 0, [given]
    while pending:
        one = pending.pop()
        sources = one.prefetch or []
        pending.extend(sources if isinstance(sources, Sequence) else [sources])
        if not sources:
            cost += _examples(one.query) + len(conditions_in(one.filter))
    return cost


def _examples(query: Any) -> int:
    match query:
        case models.RecommendQuery(recommend=asked):
            return max(1, len(asked.positive or ()) + len(asked.negative or ()))
        case models.DiscoverQuery(discover=asked):
            return 1 + _sides(asked.context)
        case models.ContextQuery(context=context):
            return max(1, _sides(context))
    return 1


def _sides(pairs: Any) -> int:
    return 2 * (len(pairs) if isinstance(pairs, Sequence) else int(pairs is not None))
