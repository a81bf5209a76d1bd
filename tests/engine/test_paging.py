"""Points in the order of their ids: integers, then strings by their bytes."""

import itertools
import uuid

import numpy as np
import pytest

from retrieval_store.filters.expression import (
    And,
    DocumentContains,
    DocumentMatches,
    Not,
    OneOf,
    Range,
)
from retrieval_store.query.types import Fields, PointBatch
from tests.helpers import inside, steps
from tests.helpers.batches import ADD, UPSERT, batch, points_of
from tests.helpers.tuned import tuned

COUNT = 3_000
STRINGS = ["", "\0", "a", "a\0", "a\0b", "ab", "b", "é", "中", "\U0001f600", "Z", "z"]
EXPRESSIONS = {
    "all": None,
    "none": Range(("n",), lt=0),
    "few": OneOf(("n",), (3, 77, 2_500)),
    "a tenth": OneOf(("part",), (4,)),
    "most": Not(OneOf(("part",), (4,))),
    "words": DocumentContains("text 7"),
    "a pattern": DocumentMatches("text (1|2)*$"),
    "both": And((Range(("n",), gte=1_500), DocumentContains("9"))),
}


def order(point_id):
    """The order in which a server scrolls."""
    return isinstance(point_id, str), point_id.encode() if isinstance(point_id, str) else point_id


@pytest.fixture
def points(store):
    random = np.random.default_rng(4)
    numbers = [int(n) for n in random.integers(0, 2**64, COUNT, dtype=np.uint64)]
    ids = [n if i % 2 else str(uuid.UUID(int=n)) for i, n in enumerate(numbers)]
    ids[: len(STRINGS)], ids[20:24] = STRINGS, [0, 1, 2**63, 2**64 - 1]
    points = points_of(store, v="l2")
    payloads = [{"n": n, "part": n % 10} for n in range(COUNT)]
    texts = [f"text {n}" for n in range(COUNT)]
    points.put(PointBatch(ids, {}, payloads, texts), ADD)
    points.delete(ids[100:200], None, None)
    return points


@pytest.mark.parametrize(
    ("name", "limit"), [*zip(EXPRESSIONS, itertools.cycle([700, 10, 2**64, 1, None]), strict=False)]
)
def test_pages_one_after_another_are_all_that_match_in_the_order_of_ids(points, name, limit):
    expression = EXPRESSIONS[name]
    wanted = points.get(None, expression, None, 0, Fields()).ids
    found, start = [], None
    for _ in range(4 if limit in (1, 10) else COUNT):
        page = points.page(expression, start, limit, Fields()).ids
        fresh = page if start is None else page[1:]
        assert start is None or page[0] == start
        if not fresh:
            break
        found += fresh
        start = fresh[-1]
    assert found == sorted(wanted, key=order)[: len(found)]
    assert len(found) == len(wanted) or limit in (1, 10)


@pytest.mark.parametrize("cost", [0.0, 1e9])
@pytest.mark.parametrize("name", ["none", "few", "a tenth", "most"])
def test_walking_along_the_index_and_sorting_find_the_same(points, monkeypatch, cost, name):
    tuned(monkeypatch, cost_of_a_read=cost)
    expression = EXPRESSIONS[name]
    every = sorted(points.get(None, expression, None, 0, Fields()).ids, key=order)
    for start in (None, 5, 2**63, 2**64 - 1, "", "a\0", "zz", "\U0010ffff"):
        rest = [i for i in every if start is None or order(i) >= order(start)]
        for limit in (1, 40, None):
            assert points.page(expression, start, limit, Fields()).ids == rest[:limit]
            assert points.number(expression) == len(every)


def test_a_page_has_the_requested_fields(points):
    points.put(batch([7], v=[[3]]), UPSERT)
    got = points.page(None, 0, 4, Fields(payload=True, document=True, vectors=("v",), version=True))
    assert got.ids[:2] == [0, 1]
    at = got.ids.index(7)
    assert got.vectors["v"][at].tolist() == [3]
    assert got.versions[at] == points.operation
    assert got.documents[0] == f"text {got.payloads[0]['n']}"
    assert points.page(None, None, 0, Fields()).ids == []


def test_no_more_documents_are_read_than_a_page_needs(points, monkeypatch):
    counted = steps.counted(monkeypatch, "ask_documents", lambda view, leaf, rows: len(rows))
    points.page(DocumentContains("text"), None, 10, Fields())
    assert sum(counted) <= inside.FIRST_STEPS
