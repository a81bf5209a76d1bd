"""`explain` reports how a query was answered, for any query."""

import pytest

from retrieval_store.errors import InvalidArgumentError
from retrieval_store.qdrant import QdrantClient, explain, models

EVEN = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(lt=20))])
A = {"query": [1.0, 0.0], "using": "a"}


@pytest.fixture
def qdrant():
    with QdrantClient(":memory:") as client:
        params = models.VectorParams(size=2, distance=models.Distance.DOT)
        sparse = {"s": models.SparseVectorParams()}
        client.create_collection("things", {"a": params, "b": params}, sparse)
        client.create_payload_index("things", "n", models.PayloadSchemaType.INTEGER)
        points = [
            models.PointStruct(
                id=i,
                vector={
                    "a": [1.0, i],
                    "b": [i, 1.0],
                    "s": models.SparseVector(indices=[i % 3], values=[1.0 + i]),
                },
                payload={"n": i, "kind": i % 2},
            )
            for i in range(40)
        ]
        client.upsert("things", points)
        yield client


def test_legs_are_named_by_vectors_and_by_what_they_are_prefetches_of(qdrant):
    sparse = models.SparseVector(indices=[1], values=[1.0])
    inner = [models.Prefetch(**A, limit=9), models.Prefetch(**A, limit=4)]
    fusion = models.FusionQuery(fusion=models.Fusion.RRF)
    explanation = explain(
        qdrant,
        "things",
        query=fusion,
        prefetch=[
            models.Prefetch(query=fusion, prefetch=inner, limit=7),
            models.Prefetch(query=sparse, using="s", limit=5, filter=EVEN),
        ],
    )
    assert explanation["legs"] == {"fused/a": [9], "fused/a 2": [4], "fused": [7], "s": [5]}
    assert (explanation["points"], explanation["matching"]) == (40, 40)
    assert [plan["method"] for plan in explanation["plans"]] == ["exact", "exact"]


def test_orders_groups_and_queries_without_vectors_are_explained_too(qdrant):
    order = models.OrderByQuery(order_by=models.OrderBy(key="n"))
    for query in (None, order, models.SampleQuery(sample=models.Sample.RANDOM)):
        assert explain(qdrant, "things", query=query, query_filter=EVEN)["matching"] == 20
    fusion = {
        "query": models.FusionQuery(fusion=models.Fusion.RRF),
        "prefetch": [models.Prefetch(**A, limit=5)],
        "query_filter": EVEN,
    }
    explanation = explain(qdrant, "things", group_by="kind", group_size=3, limit=2, **fusion)
    assert explanation["matching"] == 20
    assert explanation["legs"]["a"][0] >= 6
    assert len(qdrant.query_points_groups("things", "kind", **fusion).groups) == 2
    assert len(qdrant.query_points("things", **fusion).points) == 5


def test_refused_queries_are_refused_and_a_server_reveals_nothing(qdrant):
    with pytest.raises(ValueError, match="nothing"):
        explain(qdrant, "things", query=[1.0, 0.0], using="nothing")
    remote = QdrantClient(url="http://localhost:1", check_compatibility=False)
    with remote, pytest.raises(InvalidArgumentError, match="client is that of a server"):
        explain(remote, "things", query=[1.0])


def test_mmr_without_candidates_has_no_hits(qdrant):
    for nearest, using in (
        ([1.0, 0.0], "a"),
        (models.SparseVector(indices=[1], values=[1.0]), "s"),
    ):
        mmr = models.NearestQuery(nearest=nearest, mmr=models.Mmr(candidates_limit=0))
        assert qdrant.query_points("things", query=mmr, using=using).points == []
