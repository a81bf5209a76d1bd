"""Under each limit of strict mode, and under all of them, results are the same as without."""

from contextlib import closing, contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from qdrant_client import models

import retrieval_store
from retrieval_store import errors
from retrieval_store.filters.expression import And, DocumentContains, Exists, Not
from tests.helpers.filter_strategies import held_by, records_and_expressions
from tests.helpers.qdrant_server import Server

LIMITS = {
    "max_query_limit": 7,
    "upsert_max_batchsize": 9,
    "search_max_batchsize": 10,
    "search_max_hnsw_ef": 8,
    "search_allow_exact": False,
    "filter_max_conditions": 20,
    "condition_max_size": 5,
    "max_payload_index_count": 3,
}
MANY = 120
IDS = [f"p{i}" for i in range(MANY)]
VECTORS = np.random.default_rng(0).standard_normal((MANY, 4)).astype(np.float32)
OF_EACH = [{"n": i, "t": f"t{i % 30}", "g": i % 9, f"k{i}": i} for i in range(MANY)]
TEXTS = [f"river {'bank ' * (i % 5)}{i}" for i in range(MANY)]
CHOICES = {
    "$or of many keys": {"$or": [{f"k{i}": i} for i in range(60)]},
    "$or of ranges": {"$or": [{"n": {"$gt": i, "$lt": i + 2}} for i in range(0, 90, 2)]},
    "$and": {"$and": [{"n": {"$ne": i}} for i in range(60)]},
    "$in of strings": {"t": {"$in": [f"t{i}" for i in range(25)]}},
    "$nin of strings": {"t": {"$nin": [f"t{i}" for i in range(25)]}},
    "$in of numbers": {"n": {"$in": list(range(0, 120, 3))}},
    "$nin of numbers": {"n": {"$nin": list(range(0, 120, 3))}},
}


def filled(store):
    things = store.create_collection("things", embedding_function=None)
    things.add(IDS, VECTORS, OF_EACH, TEXTS)
    return things


def limited(qdrant, **limits):
    """The collection, on a client that has read the limits before everything else."""
    strict = models.StrictModeConfig(enabled=True, **limits)
    qdrant.update_collection("things", strict_mode_config=strict)
    return retrieval_store.Client(qdrant_client=qdrant).get_collection("things")


@pytest.fixture
def server():
    with closing(Server()) as server:
        yield server


@pytest.fixture
def qdrant(server):
    with closing(server.client()) as client:
        filled(retrieval_store.Client(qdrant_client=client))
        yield client


@pytest.fixture(scope="module")
def truth():
    with retrieval_store.Client() as client:
        yield filled(client)


# All of them, and in turn some of each kind.
SETS = [
    {**LIMITS, "unindexed_filtering_retrieve": False},
    {"max_query_limit": 7, "upsert_max_batchsize": 9},
    {"search_max_batchsize": 10, "search_max_hnsw_ef": 8, "condition_max_size": 5},
    {"search_allow_exact": False, "filter_max_conditions": 20},
    {"max_payload_index_count": 3, "unindexed_filtering_retrieve": False},
]


@pytest.mark.parametrize("limits", SETS, ids=lambda one: "-".join(one)[:40])
def test_answers_are_the_same_under_limits(truth, qdrant, limits):
    query = {"query_texts": ["bank"] * 3, "query_embeddings": VECTORS[:3], "mode": "hybrid"}
    unlimited = retrieval_store.Client(qdrant_client=qdrant).get_collection("things")
    before = unlimited.query(**query, n_results=20)
    things = limited(qdrant, **limits)
    found = things.query(**query, n_results=20)
    assert found["ids"] == before["ids"]
    np.testing.assert_allclose(found["distances"], before["distances"], rtol=1e-5, atol=1e-6)
    groups = {"query_embeddings": VECTORS[:3], "group_by": "g", "n_results": 6}
    assert things.query(**groups)["ids"] == truth.query(**groups)["ids"]
    assert things.count() == MANY
    assert things.get(limit=11, offset=70)["ids"] == IDS[70:81]
    queries = VECTORS[:40] + 0.25
    for where in (None, *CHOICES.values()):
        assert things.get(where=where)["ids"] == truth.get(where=where)["ids"]
        query = {"query_embeddings": queries if where is None else queries[:3], "n_results": 10}
        expected = truth.query(**query, where=where)["ids"]
        assert things.query(**query, where=where)["ids"] == expected
        for key in ("t", "g", "n"):
            assert things.facet(key, where=where) == truth.facet(key, where=where)
    words = {"query_texts": ["bank 7"] * 12, "mode": "text", "n_results": 1}
    assert things.query(**words)["ids"] == truth.query(**words)["ids"]


def test_hybrid_queries_read_no_ids_where_points_are_not_counted_exactly(qdrant, monkeypatch):
    things = limited(qdrant, search_allow_exact=False, max_query_limit=10)
    query = {"query_texts": "bank", "query_embeddings": VECTORS[:1], "mode": "hybrid"}
    before = things.query(**query, n_results=1)
    monkeypatch.setattr(qdrant, "scroll", None)
    assert things.query(**query, n_results=1) == before


def test_writes_and_deletes_keep_to_limits(truth, qdrant):
    things = limited(qdrant, **LIMITS, unindexed_filtering_retrieve=False)
    things.update(IDS, metadatas=[{"seen": True}] * MANY)
    things.upsert([f"q{i}" for i in range(30)], VECTORS[:30] * 2, documents=TEXTS[:30])
    assert things.count() == MANY + 30
    where = CHOICES["$or of many keys"]
    assert things.delete(where=where) == {"deleted": 60}
    assert things.get(where={"seen": True})["ids"] == IDS[60:]


def test_limits_that_are_set_later_are_respected(qdrant):
    things = retrieval_store.Client(qdrant_client=qdrant).get_collection("things")
    queries = VECTORS[:40]
    before = things.query(query_embeddings=queries, n_results=10)
    for name, most in LIMITS.items():
        strict = models.StrictModeConfig(enabled=True, **{name: most})
        qdrant.update_collection("things", strict_mode_config=strict)
        assert things.query(query_embeddings=queries, n_results=10)["ids"] == before["ids"]
        assert len(things.get(where=CHOICES["$or of many keys"])["ids"]) == 60
        assert things.count() == MANY
        things.update(IDS, metadatas=OF_EACH)


def test_impossible_requests_under_limits_are_refused_by_name(qdrant, caplog):
    things = limited(
        qdrant,
        search_allow_exact=False,
        unindexed_filtering_retrieve=False,
        max_payload_index_count=1,
        sparse_config={"words": models.StrictModeSparse(max_length=3)},
    )
    with pytest.raises(errors.ClusterError, match="no searches without an index"):
        things.query(query_embeddings=VECTORS[:1], exact=True)
    with pytest.raises(errors.ClusterError, match='no payload index of kind integer.*"n"'):
        things.create_index("n")
    with pytest.raises(errors.ClusterError, match="the point 'y' has 4 different words"):
        things.upsert(["x", "y"], VECTORS[:2], documents=["one", "two three four five"])
    assert things.get(["x", "y"])["ids"] == []
    with caplog.at_level("WARNING", "retrieval_store"):
        for _ in range(2):
            assert things.get(where={"t": "t3"})["ids"] == IDS[3::30]
    assert [r.getMessage() for r in caplog.records] == [
        'the server allows 1 payload indexes: filters by other keys, as "t", read more'
    ]


@contextmanager
def tightly_limited(found):
    """A collection of these records on a server with very low limits."""
    most = {"max_query_limit": 3, "filter_max_conditions": 3, "condition_max_size": 2}
    with closing(Server()) as server, closing(server.client()) as qdrant:
        held_by(retrieval_store.Client(qdrant_client=qdrant), found)
        strict = models.StrictModeConfig(enabled=True, **{**LIMITS, **most})
        qdrant.update_collection("records", strict_mode_config=strict)
        yield retrieval_store.Client(qdrant_client=qdrant).get_collection("records")


@settings(max_examples=10)
@given(records_and_expressions)
def test_expressions_mean_the_same_under_all_limits(both):
    found, expressions = both
    with tightly_limited(found) as there:
        truth, _ = held_by(retrieval_store.Client(), found)
        for expression in expressions:
            expected = truth.get(where=expression)["ids"]
            assert there.get(where=expression)["ids"] == expected
            near = {"query_embeddings": [0.0], "n_results": 4, "where": expression}
            try:
                reported = there.query(**near)["ids"]
            except errors.ClusterError as error:  # not fewer than there are
                assert "returns at most 9 points" in str(error)
                continue
            assert reported == truth.query(**near)["ids"]


def test_hits_beyond_the_reach_of_a_limit_are_never_omitted_silently():
    """The filter has no room beside the points that it excludes, so all ten are read."""
    found = [(None, "_" if i in (4, 9) else None) for i in range(10)]
    both = And((Not(Exists(("a",))), DocumentContains("_")))
    with tightly_limited(found) as there:
        with pytest.raises(errors.ClusterError, match="returns at most 9 points"):
            there.query(query_embeddings=[0.0], n_results=4, where=both)
        assert there.query(query_embeddings=[0.0], n_results=1, where=both)["ids"] == [["r4"]]
