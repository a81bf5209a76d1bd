"""Values in payloads that SQLite extracts without parsing in Python."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_store.filters.expression import And, OneOf, value_at
from retrieval_store.query.types import PointBatch
from tests.helpers import inside, steps
from tests.helpers.batches import ADD, points_of
from tests.helpers.filter_strategies import EXAMPLES, scalars, values

SIGNS = [
    "a",
    "b",
    "A",
    "0",
    ".",
    '"',
    "\\",
    "'",
    "$",
    "[",
    "]",
    "{",
    " ",
    "\n",
    "\0",
    "é",
    "🎈",
    "/",
]
keys = st.one_of(st.text(st.sampled_from(SIGNS), max_size=3), st.sampled_from(["a", "b"]))
nested = st.recursive(
    st.one_of(values, scalars),
    lambda inner: st.one_of(st.dictionaries(keys, inner, max_size=3), st.lists(inner, max_size=2)),
    max_leaves=4,
)
payloads = st.lists(
    st.one_of(st.none(), st.dictionaries(keys, nested, max_size=4)), min_size=1, max_size=5
)
paths = st.lists(st.lists(keys, max_size=3).map(tuple), min_size=1, max_size=4)


def exactly(value):
    """Distinguishes 1 from 1.0 and from true."""
    return repr(value)


def read(points, paths):
    return points.access.read(lambda view: inside.payload_values(view, paths))


@settings(max_examples=EXAMPLES)
@given(payloads, paths)
def test_values_extracted_from_payloads_equal_parsed_ones(held, wanted):
    points = points_of(inside.opened(None))
    points.put(PointBatch(list(range(len(held))), {}, held), ADD)
    expected = [[value_at(payload, path) for payload in held] for path in wanted]
    assert exactly(read(points, wanted)) == exactly(expected)
    for path, values_there in zip(wanted, expected, strict=True):
        assert exactly(read(points, [path])) == exactly([values_there])


@pytest.mark.parametrize("key", ["plain", "a.b", 'with "quotes"', "back\\slash", "", "$", "[0]"])
def test_payloads_are_not_parsed_whole(monkeypatch, key):
    steps.fail(monkeypatch, "parse_payloads")
    points = points_of(inside.opened(None))
    points.put(PointBatch([1, 2], {}, [{"other": 1, key: "x"}, None]), ADD)
    assert read(points, [(key,)]) == [["x", None]]
    assert read(points, [(key,), ("other",)]) == [["x", None], [1, None]]


def test_a_filter_of_few_keys_parses_no_payloads(monkeypatch):
    steps.fail(monkeypatch, "parse_payloads")
    points = points_of(inside.opened(None))
    points.put(PointBatch([1, 2], {}, [{"a": 1, "b": 2}, None]), ADD)
    assert points.number(And((OneOf(("a",), (1,)), OneOf(("b",), (2,))))) == 1


def test_a_key_that_ends_in_u0000_is_another_key():
    points = points_of(inside.opened(None))
    points.put(PointBatch([1, 2], {}, [{"a\0b": 1}, {"a\0": 2, "a": 3}]), ADD)
    assert read(points, [("a",), ("a\0b",)]) == [[None, 3], [1, None]]


def test_more_points_and_keys_than_are_read_at_once():
    points = points_of(inside.opened(None))
    count = inside.ROWS_AT_ONCE + 1
    points.put(PointBatch(list(range(count)), {}, [{"n": i} for i in range(count)]), ADD)
    assert read(points, [("n",)]) == [[*range(count)]]
    wanted = [(f"none {i}",) for i in range(inside.PATHS_AT_ONCE)]
    assert read(points, [*wanted, ("n",)])[-1] == [*range(count)]


def test_keys_that_no_payload_can_have_match_nothing():
    points = points_of(inside.opened(None))
    points.put(PointBatch([1], {}, [{"1": 1, "a": 2}]), ADD)
    assert read(points, [("\ud800",), (1,), ("a",)]) == [[None], [None], [2]]


def test_no_points_have_no_values():
    assert read(points_of(inside.opened(None)), [("a",), ("b",)]) == [[], []]
