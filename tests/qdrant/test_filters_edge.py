"""Filters match the same points as in today's Qdrant engine, with and without payload indexes."""

from contextlib import closing, contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import models

from retrieval_store.filters.leaves import Candidate, fulfils
from retrieval_store.qdrant.filter_parser import parse_filter
from retrieval_store.qdrant.payload_indexes import by_path
from tests.helpers.filter_strategies import EXAMPLES
from tests.qdrant import strategies
from tests.qdrant.edge import Edge
from tests.qdrant.store import IDS, Payloads

compared = settings(max_examples=max(8, EXAMPLES // 6))  # that engine takes 50 ms to begin
compared_by_kinds = settings(max_examples=8)  # and three or four of them an example


@contextmanager
def both(payloads, indexes):
    """The same payloads in that engine and in ours."""
    with closing(Edge(payloads, indexes)) as edge, closing(Payloads()) as ours:
        if payloads:
            ours.put(payloads)
        for key, schema in indexes.items():
            ours.index(key, schema)
        yield edge, ours


def found_one_by_one(payloads, asked, indexes):
    """The ids of the payloads that match a filter, by a predicate on each payload."""
    expression = parse_filter(asked, by_path(indexes))
    return [i for i, p in payloads.items() if fulfils(Candidate(i, p, None), expression)]


def each_way(condition):
    return models.Filter(must=[condition]), models.Filter(must_not=[condition])


@compared
@given(
    strategies.points,
    st.lists(strategies.conditions, min_size=1, max_size=20),
    strategies.indexes,
)
def test_a_condition_matches_as_in_that_engine(payloads, conditions, indexes):
    with both(payloads, indexes) as (edge, ours):
        for condition in conditions:
            for query in each_way(condition):
                assert ours.found(query) == edge.found(query), query


@compared
@given(strategies.points, st.lists(strategies.filters, min_size=1, max_size=10), strategies.indexes)
def test_a_filter_finds_what_that_engine_finds(payloads, filters, indexes):
    with both(payloads, indexes) as (edge, ours):
        for query in filters:
            assert ours.found(query) == edge.found(query), query


@pytest.mark.others
@compared
@given(strategies.points, strategies.points, st.lists(strategies.filters, max_size=10))
def test_later_writes_are_found_like_everything_else(before, after, filters):
    with both(before, {}) as (_, ours), closing(Edge({**before, **after}, {})) as edge:
        for query in filters:
            ours.found(query)  # so that columns are there, and must follow
        if after:
            ours.put(after)
        for query in filters:
            assert ours.found(query) == edge.found(query), query


@pytest.mark.others
@compared
@given(strategies.points, st.lists(strategies.filters_of_texts, max_size=10), strategies.indexes)
def test_points_evaluated_one_by_one_give_the_same(payloads, filters, indexes):
    with closing(Payloads()) as ours:
        ours.indexes = indexes
        if payloads:
            ours.put(payloads)
        for query in filters:
            found = found_one_by_one(payloads, query, indexes)
            assert found == ours.found(query), query
            expression = parse_filter(query, by_path(indexes))
            named = ours.points.get([*payloads], expression, None, 0, IDS)
            assert found == named.ids, query


@pytest.mark.others
@compared_by_kinds
@given(strategies.points, strategies.points, st.sampled_from(["v", "w", "v[].x", "v.x"]))
def test_values_are_counted_as_that_engine_counts_them(before, after, key):
    for kind in ("keyword", "integer", "bool", "uuid"):
        indexes = {key: models.PayloadSchemaType(kind)}
        with (
            both(before, indexes) as (_, ours),
            closing(Edge({**before, **after}, indexes)) as edge,
        ):
            ours.facet(key)
            if after:
                ours.put(after)
            assert ours.facet(key) == edge.facet(key)


@pytest.mark.others
@compared_by_kinds
@given(strategies.points, strategies.points, st.booleans())
def test_points_come_in_the_order_in_which_that_engine_has_them(before, after, descending):
    direction = models.Direction.DESC if descending else models.Direction.ASC
    for kind in ("integer", "float", "datetime"):
        indexes = {"v": models.PayloadSchemaType(kind)}
        with (
            both(before, indexes) as (_, ours),
            closing(Edge({**before, **after}, indexes)) as edge,
        ):
            ours.list_in_order("v")
            if after:
                ours.put(after)
            _, values = ours.list_in_order(models.OrderBy(key="v", direction=direction), None)
            assert values == edge.values_in_order("v", descending)


@pytest.mark.parametrize("kind", [None, "integer", "float"])
def test_two_bounds_on_a_side_both_apply_with_and_without_index(kind):
    """The engine ignores one of them when it looks a range up in an index."""
    payloads = {i: {"v": i} for i in range(6)}
    indexes = {} if kind is None else {"v": models.PayloadSchemaType(kind)}
    with both(payloads, indexes) as (_, ours):
        for bounds, expected in (
            ({"lt": 5, "lte": 2}, [0, 1, 2]),
            ({"lt": 2, "lte": 5}, [0, 1]),
            ({"gt": 0, "gte": 4}, [4, 5]),
            ({"gt": 4, "gte": 0}, [5]),
        ):
            field = models.FieldCondition(key="v", range=models.Range(**bounds))
            assert ours.found(models.Filter(must=[field])) == expected
