"""`retrieval_store.qdrant.why`: why a query finds or misses a point."""

import pytest

from retrieval_store.errors import InvalidArgumentError
from retrieval_store.qdrant import QdrantClient, models, why

F, M = models.FieldCondition, models.MatchValue


@pytest.fixture
def things():
    with QdrantClient(":memory:") as client:
        client.create_collection(
            "things",
            {
                "image": models.VectorParams(size=2, distance="Euclid"),
                "text": models.VectorParams(size=2, distance="Dot"),
            },
            sparse_vectors_config={"words": models.SparseVectorParams()},
        )
        client.upsert(
            "things",
            [
                models.PointStruct(
                    id=i,
                    vector={
                        "image": [float(i), 0.0],
                        "text": [0.0, float(i)],
                        **({"words": models.SparseVector(indices=[i], values=[1.0])} if i else {}),
                    },
                    payload={"n": i, "nested": {"tags": ["a", str(i)]}},
                )
                for i in range(6)
            ],
        )
        yield client


def test_distances_that_grow_are_ranked_as_a_server_ranks_them(things):
    reasons = why(things, "things", query=[0.0, 0.0], using="image", limit=2, ids=[0, 3, 99])
    assert [(one.id, one.rank, one.found) for one in reasons] == [
        (0, 1, True),
        (3, 4, False),
        (99, None, False),
    ]
    assert reasons[1].ahead == [0, 1, 2] and reasons[1].legs["image"].score == 3.0
    assert "limit=4 would show it" in reasons[1].advice[0]


def test_the_smallest_excluding_conditions_of_a_filter_are_reported(things):
    condition = models.Filter(
        must=[F(key="n", range=models.Range(gte=2)), F(key="nested.tags[]", match=M(value="a"))],
        must_not=[F(key="n", match=M(value=1))],
        should=[F(key="n", match=M(value=4)), models.HasIdCondition(has_id=[5])],
    )
    (reason,) = why(
        things, "things", query=[0.0, 1.0], using="text", query_filter=condition, records=[1]
    )
    assert reason.rank is None and not reason.found
    assert [(one.condition, one.met) for one in reason.excluded_by] == [
        ({"key": "n", "range": {"gte": 2.0}}, 1),
        ({"must_not": {"key": "n", "match": {"value": 1}}}, 1),
        ({"key": "n", "match": {"value": 4}}, 1),
        ({"has_id": [5]}, 1),
    ]


def test_explain_of_a_fusion_reports_each_prefetch(things):
    low = models.Filter(must=[F(key="n", range=models.Range(lt=2))])
    prefetch = [
        models.Prefetch(query=[0.0, 0.0], using="image", limit=3, filter=low),
        models.Prefetch(
            query=models.SparseVector(indices=[4], values=[1.0]), using="words", filter=low
        ),
    ]
    query = {"query": models.FusionQuery(fusion=models.Fusion.RRF), "prefetch": prefetch}
    inside, outside = why(things, "things", **query, records=[1, 4])  # the older name of ids
    with pytest.raises(InvalidArgumentError, match="an older name of ids"):
        why(things, "things", **query, ids=1, records=4)
    assert inside.found and inside.legs["image"].rank == 2 and inside.legs["words"].rank is None
    assert [one.argument for one in outside.excluded_by] == [
        "prefetch[0].filter",
        "prefetch[1].filter",
    ]
    assert outside.legs["words"].score == 1.0 and outside.legs["image"].rank == 3


def test_a_query_by_a_point_does_not_find_that_point(things):
    (reason,) = why(things, "things", query=3, using="text", records=[3])
    assert [(one.argument, one.condition) for one in reason.excluded_by] == [("query", [3])]


def test_why_refuses_a_client_of_a_server(things):
    server = QdrantClient(url="http://localhost:1", check_compatibility=False)
    with pytest.raises(InvalidArgumentError, match="client is that of a server"):
        why(server, "things", query=[0.0], records=[1])


def test_a_threshold_that_leaves_a_point_out_is_named(things):
    (reason,) = why(
        things, "things", query=[0.0, 1.0], using="text", score_threshold=10, limit=3, records=[5]
    )
    assert reason.rank == 1 and reason.advice == [
        "score_threshold=10 leaves it out: its score is 5"
    ]
    far = models.Prefetch(query=[0.0, 0.0], using="image", score_threshold=2.5)
    (reason,) = why(
        things,
        "things",
        query=models.FusionQuery(fusion=models.Fusion.RRF),
        prefetch=[far],
        records=[3],
    )
    assert reason.advice == ["the threshold of image leaves it out there: its score is 3"]


def test_a_threshold_that_is_just_the_score_of_a_point_leaves_it_out(things):
    (reason,) = why(things, "things", query=[0.0, 1.0], using="text", score_threshold=5, records=5)
    assert reason.advice == ["score_threshold=5 leaves it out: its score is 5, which is no better"]


def test_conditions_that_fail_only_together_are_reported_as_one(things):
    either = [F(key="n", match=M(value=i)) for i in (1, 5)]
    both = models.Filter(min_should=models.MinShould(conditions=either, min_count=2))
    (reason,) = why(
        things, "things", query=[0.0, 1.0], using="text", query_filter=both, records=[5]
    )
    assert [one.condition for one in reason.excluded_by] == [{"key": "n", "match": {"value": 1}}]
    three = models.Filter(min_should=models.MinShould(conditions=either[1:] * 2, min_count=3))
    (reason,) = why(
        things, "things", query=[0.0, 1.0], using="text", query_filter=three, records=[5]
    )
    assert reason.excluded_by[0].condition["min_should"]["min_count"] == 3


def test_filters_of_prefetches_of_prefetches_are_reported(things):
    low = models.Filter(must=[F(key="n", range=models.Range(lt=2))])
    inner = models.Prefetch(query=[0.0, 0.0], using="image", filter=low)
    outer = models.Prefetch(query=[0.0, 1.0], using="text", prefetch=[inner])
    (reason,) = why(
        things, "things", query=[1.0, 1.0], using="image", prefetch=[outer], records=[4]
    )
    assert [(one.argument, one.met) for one in reason.excluded_by] == [
        ("prefetch[0].prefetch[0].filter", 4)
    ]


def test_nothing_excludes_what_a_query_finds(things):
    """A server combines the `should` conditions of a query with those of its prefetches."""
    prefetch = models.Prefetch(
        query=[0.0, 1.0],
        using="text",
        filter=models.Filter(should=[models.HasIdCondition(has_id=[4, 5])]),
    )
    condition = models.Filter(should=[F(key="n", match=M(value=2))])
    query = {
        "query": [0.0, 1.0],
        "using": "text",
        "prefetch": [prefetch],
        "query_filter": condition,
    }
    found = [one.id for one in things.query_points("things", **query).points]
    for reason in why(things, "things", **query, records=[2, 4, 5]):
        assert reason.found == (reason.id in found)
        assert reason.found and not reason.excluded_by and reason.rank
    without = models.Filter(must_not=[models.HasIdCondition(has_id=[5])])
    (reason,) = why(
        things, "things", query=[0.0, 1.0], using="text", query_filter=without, records=5
    )
    assert [one.argument for one in reason.excluded_by] == ["query_filter"]
