"""Filters find what today's Qdrant engine finds, without and with indexes of payloads."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import models

from tests.qdrant import strategies
from tests.qdrant.edge import Edge
from tests.qdrant.store import Payloads


@contextlib.contextmanager
def both(payloads, indexes):
    """The same payloads in that engine and in ours."""
    with contextlib.closing(Edge(payloads, indexes)) as edge:
        with contextlib.closing(Payloads()) as ours:
            if payloads:
                ours.put(payloads)
            for key, schema in indexes.items():
                ours.index(key, schema)
            yield edge, ours


@given(
    strategies.points, st.lists(strategies.conditions, min_size=1, max_size=20), strategies.indexes
)
def test_each_condition_finds_what_that_engine_finds(payloads, conditions, indexes):
    with both(payloads, indexes) as (edge, ours):
        for condition in conditions:
            for asked in (models.Filter(must=[condition]), models.Filter(must_not=[condition])):
                assert ours.found(asked) == edge.found(asked), asked
