"""Counts the values under a key as a server counts them, as far as that is what we count.

Qdrant counts the values in an index: of a keyword index strings alone, and of numbers none that a
float index has. So its counts are taken of points without a list under the key, and compared with
how many these are: each has one value. If there are values of other kinds, the points that have
them are left to be read, as those with lists are.
"""

from collections import Counter
from typing import Any, TypeAlias

from qdrant_client import models

from retrieval_store.filters.expression import PayloadPath, Scalar, dotted
from retrieval_store_cluster.filters import Bound, all_of, any_of, fits, is_list, none_of
from retrieval_store_cluster.schema import is_written, written
from retrieval_store_cluster.space import QdrantCollection

MOST_VALUES = 1_000_000  # that a server is asked for: it leaves out some only if there are more
MOST_NAMED = 1_000  # values that a filter leaves out
ValueCounts: TypeAlias = Counter[tuple[bool, Scalar]]


def count_by_server(
    collection: QdrantCollection, path: PayloadPath, bound: Bound
) -> tuple[ValueCounts, Bound]:
    """The values at the path among the points within a bound, all of which have one, and the bound
    of those points whose values aren't counted yet."""
    if bound is False or not _can_be_counted(collection, path):
        return Counter(), bound
    has_list = is_list(path[0], collection.indexes)
    if has_list is None:
        return Counter(), bound
    with_scalar = all_of([bound, none_of(has_list)])
    if not fits(with_scalar, collection.limits):
        return Counter(), bound
    counts = _facet(collection, path, with_scalar)
    rest = all_of([bound, has_list])
    if counts.total() == collection.number(with_scalar):
        return counts, rest
    others = all_of([with_scalar, none_of(_has_any(path, counts))])
    if len(counts) > MOST_NAMED or not fits(others, collection.limits):
        return Counter(), bound
    return counts, any_of([rest, others])


def _can_be_counted(collection: QdrantCollection, path: PayloadPath) -> bool:
    is_plain = len(path) == 1 and dotted(path) is None and is_written(path)
    return is_plain and collection.indexes.counts(path)


def _facet(collection: QdrantCollection, path: PayloadPath, condition: Bound) -> ValueCounts:
    answer = collection.call(
        "facet", key=written(path), facet_filter=condition, limit=MOST_VALUES, exact=True
    )
    return Counter({(isinstance(hit.value, bool), hit.value): hit.count for hit in answer.hits})


def _has_any(path: PayloadPath, counts: ValueCounts) -> Bound:
    """That a point has one of the values that were counted, all of which are of one kind."""
    values: list[Any] = [value for _, value in counts]
    if any(is_bool for is_bool, _ in counts):
        truths = [models.MatchValue(value=value) for value in values]
        return any_of([models.FieldCondition(key=written(path), match=match) for match in truths])
    if not values:
        return False
    return models.FieldCondition(key=written(path), match=models.MatchAny(any=values))
