"""Conditions of all readings in one expression. The result equals the sets of points of each
condition alone, combined, whether rows or points are evaluated, and however they are found.
"""

from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_store.filters.expression import (
    And,
    AtLeast,
    Exists,
    HasId,
    HasLength,
    ListHas,
    Not,
    OneOf,
    Or,
    Range,
    TextIn,
    TextRange,
)
from retrieval_store.filters.leaves import Candidate, fulfils
from retrieval_store.qdrant.filter_parser import parse_filter
from retrieval_store.qdrant.payload_indexes import by_path
from tests.helpers.filter_strategies import EXAMPLES
from tests.helpers.tuned import tuned
from tests.qdrant import strategies
from tests.qdrant.store import IDS, Payloads

paths = st.sampled_from([("v",), ("w",), ("v", "x"), ("v.x",)])
some = st.sampled_from([True, *strategies.TEXTS, *strategies.INTEGERS, 1.0, 1.5])
loose = st.one_of(
    st.builds(OneOf, paths, st.lists(some, min_size=1, max_size=3).map(tuple)),
    st.builds(ListHas, paths, st.lists(some, min_size=1, max_size=3).map(tuple)),
    st.builds(Range, paths, gte=strategies.bounds, lt=strategies.bounds),
    st.builds(TextIn, paths, strategies.texts, st.booleans()),
    st.builds(TextRange, paths, gte=strategies.texts),
    st.builds(HasLength, paths, st.integers(0, 3)),
    st.builds(Exists, paths),
    st.builds(HasId, st.lists(st.integers(0, 12), max_size=4).map(tuple)),
)
# Deferred, since what describes these would be long.
exact = st.deferred(
    lambda: st.builds(parse_filter, strategies.filters_of_texts, strategies.indexes.map(by_path))
)


def combined(inside):
    """Expressions with these as their terms."""
    several = st.lists(inside, max_size=3).map(tuple)
    return st.one_of(
        st.builds(And, several),
        st.builds(Or, several),
        st.builds(Not, inside),
        st.builds(AtLeast, several, st.integers(1, 3)),
    )


trees = st.recursive(loose | exact, combined, max_leaves=8)


def alone(expression, every, found):
    """The points that fulfil an expression, from the points of each of its conditions."""
    match expression:
        case And(terms):
            return every.intersection(*(alone(term, every, found) for term in terms))
        case Or(terms):
            return set().union(*(alone(term, every, found) for term in terms))
        case Not(term):
            return every - alone(term, every, found)
        case AtLeast(terms, count):
            parts = [alone(term, every, found) for term in terms]
            return {one for one in every if sum(one in part for part in parts) >= count}
    return found(expression)


WAYS = st.fixed_dictionaries(
    {
        "cost_of_beginning": st.sampled_from([0, 3, 100]),
        "cost_of_looking": st.sampled_from([0.0, 0.4, 9.0]),
        "looked_up_at_once": st.sampled_from([0.1, 500]),
    }
)


@settings(max_examples=EXAMPLES)
@given(strategies.points, strategies.points, st.lists(trees, min_size=1, max_size=3), WAYS)
def test_expressions_of_all_readings_match_the_sets_of_their_leaves(before, after, asked, ways):
    with closing(Payloads()) as ours, pytest.MonkeyPatch.context() as patch:
        tuned(patch, **ways)
        held = {}
        for payloads in (before, after):
            if payloads:
                ours.put(payloads)
            held |= payloads

            def found(leaf):
                return set(ours.points.get(None, leaf, None, 0, IDS).ids)

            for expression in asked:
                expected = alone(expression, set(held), found)
                assert found(expression) == expected
                assert set(ours.points.get([*held], expression, None, 0, IDS).ids) == expected
                message = {
                    i
                    for i, payload in held.items()
                    if fulfils(Candidate(i, payload, None), expression)
                }
                assert message == expected
