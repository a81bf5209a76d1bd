"""Lets the server count the values under a key, if the server's counts mean the same as counts by
the client.

Qdrant counts only values in an index: a keyword index contains only strings, and numbers in a float
index aren't counted. So the server counts only points without a list under the key. Each of these
points has one value, so the sum of the counts is compared with the number of these points. The
client reads points with values of other kinds, or with lists.

The server may be unable to count by an index of numbers. If there are only a few distinct numbers,
the client queries for one number after the other, and counts the points with each number.
"""

from collections import Counter
from dataclasses import replace
from typing import Any, TypeAlias

from qdrant_client import models

from retrieval_store.filters.expression import PayloadPath, Scalar, value_at
from retrieval_store_cluster.client import FacetIndexMissing
from retrieval_store_cluster.filters import Bound, all_of, any_of, as_filter, fits, is_list, none_of
from retrieval_store_cluster.payload import payload_wanted, survives_rounding
from retrieval_store_cluster.schema import is_plain, quote_path
from retrieval_store_cluster.space import ListedPoint, Listing, QdrantCollection

MOST_VALUES = 1_000_000  # requested from a server, which leaves out some only if there are more
MOST_NAMED = 1_000  # values that a filter excludes
MOST_NUMBERS = 64  # queried one by one
SAMPLED = 100  # points that show whether there are more
ValueCounts: TypeAlias = Counter[tuple[bool, Scalar]]


def count_by_server(
    collection: QdrantCollection, path: PayloadPath, bound: Bound, presence: Bound
) -> tuple[ValueCounts, Bound]:
    """Let the server count the values at a path, for the points that match a condition (`bound`).
    Also returns the condition for the points whose values the server did not count. presence: the
    condition that a point has a value at the path."""
    if bound is False or not _can_be_counted(collection, path):
        return Counter(), bound
    has_list = is_list(path[0], collection.indexes)
    if has_list is None:
        return Counter(), bound
    if not fits(all_of([bound, has_list, presence, _is_number(path, 0)]), collection.limits):
        return Counter(), bound
    scalars, lists = bound, all_of([bound, has_list])
    if collection.number(lists):
        scalars = all_of([bound, none_of(has_list)])
    else:
        lists = False
    is_counted = collection.indexes.counts(path)
    count = _facet if is_counted else _count_numbers
    counts = count(collection, path, scalars)
    if counts is None:
        return Counter(), bound
    if counts.total() == collection.number(scalars):
        return counts, lists
    with_value = all_of([scalars, presence])
    if counts.total() == collection.number(with_value):
        return counts, lists
    others = all_of([with_value, none_of(_has_any(path, counts, is_counted))])
    if len(counts) > MOST_NAMED or not fits(others, collection.limits):
        return Counter(), bound
    return counts, any_of([lists, others])


def _can_be_counted(collection: QdrantCollection, path: PayloadPath) -> bool:
    indexes = collection.indexes
    return is_plain(path) and (indexes.counts(path) or indexes.orders(path))


def _facet(collection: QdrantCollection, path: PayloadPath, condition: Bound) -> ValueCounts | None:
    """The most frequent values of the points that fulfil a condition. None if the server is not
    allowed to count exactly, or cannot use an index yet. An index that is created while the server
    optimizes becomes usable after the optimization."""
    key, where, limits = quote_path(path), as_filter(condition), collection.limits
    if not limits.exact:
        return None
    most = min(MOST_VALUES, limits.query or MOST_VALUES)
    try:
        answer = collection.call("facet", key=key, facet_filter=where, limit=most, exact=True)
    except FacetIndexMissing:
        return None
    return Counter({(isinstance(hit.value, bool), hit.value): hit.count for hit in answer.hits})


def _count_numbers(
    collection: QdrantCollection, path: PayloadPath, condition: Bound
) -> ValueCounts | None:
    """The distinct numbers of the points and their counts, ascending. None if there are too many
    numbers, or if a server cannot distinguish two of them."""
    payload = payload_wanted(path, False, False)
    listing = Listing(collection, as_filter(condition), payload=payload)
    if len({_value(listed, path) for listed in listing.sample(SAMPLED)}) > SAMPLED // 3:
        return None
    counts: ValueCounts = Counter()
    above: models.FieldCondition | None = None
    while len(counts) < MOST_NUMBERS:
        left = condition if above is None else all_of([condition, above])
        first = replace(listing, condition=as_filter(left)).by_value(quote_path(path), False, 1)
        if not first:
            return counts
        value = _value(first[0], path)
        if isinstance(value, bool | str) or not survives_rounding(value):
            return None
        counts[False, value] = collection.number(all_of([condition, _is_number(path, value)]))
        above = models.FieldCondition(key=quote_path(path), range=models.Range(gt=value))
    return None


def _value(listed: ListedPoint, path: PayloadPath) -> Any:
    value = value_at(listed.point.payload, path)
    return repr(value) if isinstance(value, dict | list) else value


def _is_number(path: PayloadPath, value: float) -> Bound:
    return models.FieldCondition(key=quote_path(path), range=models.Range(gte=value, lte=value))


def _has_any(path: PayloadPath, counts: ValueCounts, is_counted: bool) -> Bound:
    """The condition that a point has one of the counted values. All counted values must be of one
    kind. is_counted: whether the server has counted the values itself (`_facet`)."""
    if not is_counted:
        return any_of([_is_number(path, float(value)) for _, value in counts])
    values: list[Any] = [value for _, value in counts]
    if any(is_bool for is_bool, _ in counts):
        truths = [models.MatchValue(value=value) for value in values]
        return any_of(
            [models.FieldCondition(key=quote_path(path), match=match) for match in truths]
        )
    if not values:
        return False
    return models.FieldCondition(key=quote_path(path), match=models.MatchAny(any=values))
