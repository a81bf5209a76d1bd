"""`get(order_by=)` compared with sorting in Python: the first page and any other."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrieval_store
from tests.helpers.tuned import tuned

DATES = ["2020-01-01", "2021-05-05"]
VALUES = st.one_of(
    st.none(),
    st.integers(-3, 3),
    st.sampled_from([*DATES, "no date"]),
    st.lists(st.integers(-3, 3), min_size=1, max_size=4),
    st.lists(st.sampled_from([*DATES, "no date"]), min_size=1, max_size=2),
)


def _expected(values, descending):
    """The positions of the values in their order: numbers, then dates; for several values, the
    first one."""
    placed = []
    for place, value in enumerate(values):
        several = value if isinstance(value, list) else [value]
        ordered = sorted(
            (isinstance(each, str), each)
            for each in several
            if isinstance(each, int) or each in DATES
        )
        if ordered:
            placed.append((ordered[-1 if descending else 0], place))
    return [str(place) for _, place in sorted(placed, reverse=descending)]


@given(
    values=st.lists(VALUES, min_size=1, max_size=30),
    changes=st.lists(st.tuples(st.integers(0, 29), VALUES), max_size=5),
    limit=st.one_of(st.none(), st.integers(1, 12)),
    offset=st.integers(0, 12),
    descending=st.booleans(),
)
@settings(max_examples=10)
def test_any_page_of_an_order(values, changes, limit, offset, descending):
    held = dict(enumerate(values))
    with pytest.MonkeyPatch.context() as patch, retrieval_store.Client() as client:
        tuned(patch, pairs_at_once=2)
        things = client.create_collection("things", embedding_function=None)
        for place, value in held.items():
            metadata = {} if value is None else {"k": value}
            things.add(ids=str(place), embeddings=[[1]], metadatas=[{"other": 1, **metadata}])
        for place, value in changes:
            things.get(order_by="k", limit=1)  # so that the column is there, and gets segments
            if place in held:
                things.update(ids=str(place), metadatas={"k": value})
                held[place] = value
        got = things.get(order_by="k", descending=descending, limit=limit, offset=offset)["ids"]
    stop = None if limit is None else offset + limit
    assert got == _expected(held.values(), descending)[offset:stop]
