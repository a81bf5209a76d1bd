"""Which strings are times, and which times they mean, compared with today's Qdrant engine."""

from calendar import monthrange
from contextlib import closing
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import models

from retrieval_store.filters.dates import micros_in, micros_of, time_in
from retrieval_store.filters.values import TextOrder, TextRange
from tests.qdrant.edge import Edge

YEARS = ("2024", "1969", "0001", "99", "+2024", "-0005", "12024", "+12024", "1900")
CLOCKS = (
    "10:00", "10:00:00", "10:00:00.123456", "1:2:3", "23:59:59.999999999", "23:59:60", "24:00:00",
    "10:60:00",
)  # fmt: skip
ZONES = (
    "", "", "Z", "+02:00", "-05:99", "-0330", "+02", "+2", "-00:00", "+24:00", " +02:00", " UTC",
)  # fmt: skip
days = st.builds(
    "{}-{}-{}".format,
    st.sampled_from(YEARS),
    st.sampled_from(["1", "02", "12", "13", "0"]),
    st.sampled_from(["1", "29", "30", "31", "32"]),
)
times = st.builds(
    "".join,
    st.tuples(days, st.sampled_from("T "), st.sampled_from(CLOCKS), st.sampled_from(ZONES)),
)
strings = days | times | times.map(str.lower) | st.text(max_size=10)


@given(st.lists(strings, min_size=1, max_size=60, unique=True))
def test_a_string_means_the_same_time_as_in_that_engine(texts):
    payloads = {i: {"v": text} for i, text in enumerate(texts)}
    with closing(Edge(payloads, {"v": models.PayloadSchemaType.DATETIME})) as edge:
        found = edge.values_in_order("v", descending=False)
    assert found == sorted(micros for text in texts if (micros := micros_in(text)) is not None)


@pytest.mark.parametrize(
    "text",
    [
        *("", "2024", "2024-05", "20240501", "+ 2024-05-01", f"+{'9' * 5000}-01-01", "2024-02-30"),
        *("2024-05-01T10", "2024-05-01 ", "2024-05-01T10:00Z", "+262143-01-01"),
        *(f"2023-{month:02}-{monthrange(2023, month)[1] + 1}" for month in range(1, 13)),
    ],
)
def test_strings_that_are_no_times(text):
    assert micros_in(text) is None


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3, minutes=-30))])))
def test_a_datetime_is_the_time_that_it_writes(time):
    assert micros_of(time) == micros_in(time.isoformat())
    assert micros_of(time.date()) == micros_in(time.date().isoformat())


@pytest.mark.parametrize("time", [datetime(2024, 5, 1, 10), date(2024, 5, 1)])
def test_without_a_zone_it_is_utc(time):
    assert micros_of(time) == micros_in(f"{time.isoformat()}" + "Z" * isinstance(time, datetime))


@given(strings)
def test_a_year_of_four_digits_is_a_time_in_comparisons(text):
    is_usual = text.lstrip(" ")[:5].rstrip("-").isdigit() and text.lstrip(" ")[4:5] == "-"
    assert time_in(text) == (micros_in(text) if is_usual else None)


sides = st.sampled_from(["gt", "gte", "lt", "lte"])


@given(st.lists(strings, unique=True), st.dictionaries(sides, strings), st.booleans())
def test_a_range_matches_among_many_values_like_the_predicate(texts, bounds, times):
    bounds = {side: text for side, text in bounds.items() if not times or time_in(text) is not None}
    condition = TextRange(("k",), **bounds, times=times)
    assert TextOrder(texts).among(condition).tolist() == [condition.holds(text) for text in texts]
