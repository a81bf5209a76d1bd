"""What a filter reads: single points if there are few, only documents without a cached result, and
no more than a limit needs. The results are the same in any case.
"""

import numpy as np
import pytest

import retrieval_store
from retrieval_store.filters.expression import (
    And,
    DocumentContains,
    DocumentMatches,
    Not,
    OneOf,
    Or,
    Range,
)
from retrieval_store.query.types import Fields, PointBatch
from tests.helpers import inside, steps
from tests.helpers.batches import ADD, UPSERT, points_of
from tests.helpers.tuned import tuned

COUNT = 9000


def payload(i):
    return {"n": i, "few": i % 600, "new": i % 7, "other": i % 5}


@pytest.fixture
def points(store):
    points = points_of(store)
    each = list(range(COUNT))
    texts = [f"number {i}" for i in each]
    points.put(PointBatch(each, {}, [payload(i) for i in each], texts), ADD)
    return points


@pytest.fixture
def payloads_read(monkeypatch):
    """How many payloads each call read."""
    return steps.counted(monkeypatch, "read_payloads", lambda connection, pks, *_: len(pks))


@pytest.fixture
def documents_read(monkeypatch):
    """How many documents each call read."""
    return steps.counted(monkeypatch, "read_documents", lambda connection, names, pks, *_: len(pks))


def got(points, expression, ids=None, limit=None, offset=0):
    return points.get(ids, expression, limit, offset, Fields()).ids


def test_of_points_that_are_named_only_these_are_read(points, payloads_read, documents_read):
    assert got(points, OneOf(("new",), (2,)), ids=[9, 10, 2]) == [9, 2]
    assert got(points, DocumentMatches("r 9$"), ids=[9, 10, 2]) == [9]
    both = And((Range(("other",), lt=3), DocumentContains("2")))
    assert got(points, both, ids=[12, 2, 9]) == [12, 2]
    assert payloads_read == [3, 3]
    assert documents_read == [3, 2]


def test_of_the_few_that_the_rest_of_a_filter_leaves_only_these_are_read(points, payloads_read):
    few = OneOf(("few",), (5,))
    expected = [i for i in range(COUNT) if i % 600 == 5]
    assert got(points, few) == expected
    both = And((Range(("new",), gte=3), few, Not(OneOf(("other",), (1,)))))
    assert got(points, both) == [i for i in expected if i % 7 >= 3 and i % 5 != 1]
    either = Or((Not(few), OneOf(("new",), (3,))))
    assert len(got(points, either)) == COUNT - len([i for i in expected if i % 7 != 3])
    assert payloads_read == [COUNT, 15, 15]


def test_a_repeatedly_used_key_gets_its_column(points, payloads_read):
    for _ in range(40):
        assert got(points, OneOf(("new",), (2,)), ids=[9, 10, 2]) == [9, 2]
    assert payloads_read.count(COUNT) == 1
    assert payloads_read[-1] == COUNT
    assert 4 * sum(payloads_read[:-1]) < COUNT


def test_explain_reports_points_that_were_read(client_on_disk):
    collection = client_on_disk
    collection.get(where={"few": 5})
    explanation = collection.explain(query_embeddings=[0.0], where={"few": 5, "new": {"$gt": 2}})
    assert explanation["remarks"] == [
        "15 points were read for 'new': the values of all points aren't cached yet"
    ]


@pytest.fixture
def client_on_disk(tmp_path):
    with retrieval_store.Client(tmp_path / "store") as client:
        collection = client.create_collection("things", embedding_function=None)
        collection.add(
            ids=[str(i) for i in range(COUNT)],
            embeddings=np.zeros((COUNT, 1)),
            metadatas=[payload(i) for i in range(COUNT)],
        )
        yield collection


def test_a_condition_on_documents_is_evaluated_again_only_for_changes(points, documents_read):
    matches = DocumentMatches("r 1*$")
    expected = [1, 11, 111, 1111]
    for _ in range(3):
        assert got(points, matches) == expected
        points.put(PointBatch([5, COUNT], {}, documents=["other 1", None]), UPSERT)
        expected = [1, 5, 11, 111, 1111]
        points.delete([11], None, None)
        expected.remove(11)
        points.put(PointBatch([11], {}, documents=["number 11"]), UPSERT)
        expected = [1, 5, 111, 1111, 11]
    assert documents_read[0] == COUNT
    assert max(documents_read[1:]) <= 3


def test_a_limit_ends_the_reading(points, documents_read, payloads_read):
    assert got(points, DocumentMatches("5$"), limit=3) == [5, 15, 25]
    assert got(points, Range(("new",), gte=6), limit=3) == [6, 13, 20]
    assert sum(documents_read) == sum(payloads_read) == inside.FIRST_LOOK
    assert points.delete(None, DocumentMatches("6$"), 2) == 2
    assert sum(documents_read) == 2 * inside.FIRST_LOOK
    assert got(points, DocumentMatches("^number .6?$"), limit=10)[-2:] == [9, 26]


def test_pages_read_each_document_once(points, documents_read):
    matches = DocumentMatches("[05]$")
    found = got(points, matches, limit=100)
    del documents_read[:]
    for page in range(1, 19):
        found += got(points, matches, limit=100, offset=100 * page)
    assert found == list(range(0, COUNT, 5))
    assert sum(documents_read) == COUNT
    assert got(points, matches, limit=100, offset=COUNT) == []


def test_a_filter_is_not_evaluated_again_for_the_next_page(points, monkeypatch):
    expression = Range(("new",), gte=3)
    expected = got(points, expression)
    steps.fail(monkeypatch, "evaluate_any_filter")
    pages = [got(points, expression, limit=1000, offset=start) for start in range(0, COUNT, 1000)]
    assert [i for page in pages for i in page] == expected
    assert got(points, expression, ids=[3, 2, 4]) == [3, 4]


def test_pages_of_all_points_leave_out_deleted_ones(points, monkeypatch):
    tuned(monkeypatch, counted_at_least=100)
    assert got(points, None, limit=3, offset=COUNT - 2) == [COUNT - 2, COUNT - 1]
    points.delete(None, Range(("n",), gte=50, lt=350), None)
    left = [*range(50), *range(350, COUNT)]
    for offset in (0, 49, 50, 99, 5000, COUNT):
        assert got(points, None, limit=170, offset=offset) == left[offset : offset + 170]
    assert got(points, None, limit=0) == got(points, Range(("n",), lt=9), limit=0) == []
