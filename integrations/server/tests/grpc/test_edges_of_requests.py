"""Messages in which fields are unset, empty or at their edge, as programs in Go or C# make them."""

import math

import pytest
from qdrant_client import grpc as q

from integrations.server.tests.grpc.calling import (
    calls,
    code,
    count,
    make_collection,
    point,
    refusal,
    upsert,
)

WRONG = "INVALID_ARGUMENT"
FIRST = q.PointId(num=1)
ANYTHING = q.Condition()
NO_POINT = q.Condition(has_id=q.HasIdCondition(has_id=[]))


@pytest.fixture
def calling():
    with calls() as calling:
        make_collection(calling)
        calling.points.Upsert(upsert(*(point(i, (i, 0), w="x") for i in (1, 2, 3))))
        yield calling


def named(kind, **fields):
    """A message about the collection."""
    return kind(collection_name="c", **fields)


def test_a_point_without_vectors_is_refused_but_not_one_with_an_empty_map_of_them(calling):
    for vectors in (None, q.Vectors()):
        sent = upsert(q.PointStruct(id=q.PointId(num=9), vectors=vectors))
        kind, words = refusal(calling.points.Upsert, sent)
        assert kind == WRONG and "Expected vectors" in words
    batch = q.PointsUpdateOperation(
        upsert=q.PointsUpdateOperation.PointStructList(points=[q.PointStruct(id=FIRST)])
    )
    assert code(calling.points.UpdateBatch, named(q.UpdateBatchPoints, operations=[batch])) == WRONG
    vectors = named(q.UpdatePointVectors, points=[q.PointVectors(id=FIRST)])
    assert code(calling.points.UpdateVectors, vectors) == WRONG
    none = q.Vectors(vectors=q.NamedVectors())
    calling.points.Upsert(upsert(q.PointStruct(id=q.PointId(num=9), vectors=none)))
    assert count(calling) == 4


def test_no_numbers_are_no_number_of_vectors(calling):
    """Of each of which a list would be made, while nobody else is answered."""
    vector = q.Vector(vectors_count=2**32 - 1)
    sent = named(q.RecommendPoints, positive_vectors=[vector], limit=1)
    kind, words = refusal(calling.points.Recommend, sent)
    assert kind == WRONG and "0 numbers, 4294967295 vectors" in words
    sent = upsert(q.PointStruct(id=FIRST, vectors=q.Vectors(vector=vector)))
    assert code(calling.points.Upsert, sent) == WRONG


def test_what_is_no_start_of_an_order_is_said_without_a_word_of_python(calling):
    order = q.OrderBy(key="n", start_from=q.StartFrom(datetime="soon"))
    kind, words = refusal(calling.points.Scroll, named(q.ScrollPoints, order_by=order))
    assert kind == WRONG
    assert words.startswith("Format error in body at start_from")
    assert "expected a valid datetime" in words


def test_deleting_vectors_of_no_name_does_nothing(calling):
    first = q.PointsSelector(points=q.PointsIdsList(ids=[FIRST]))
    sent = named(q.DeletePointVectors, points_selector=first, vectors=q.VectorsSelector())
    assert calling.points.DeleteVectors(sent).result.status == q.UpdateStatus.Acknowledged
    operation = q.PointsUpdateOperation(
        delete_vectors=q.PointsUpdateOperation.DeleteVectors(
            points_selector=first, vectors=q.VectorsSelector()
        )
    )
    calling.points.UpdateBatch(named(q.UpdateBatchPoints, operations=[operation]))
    everything = q.WithVectorsSelector(enable=True)
    (record,) = calling.points.Get(named(q.GetPoints, ids=[FIRST], with_vectors=everything)).result
    assert list(record.vectors.vector.dense.data) == [1, 0]
    assert code(calling.points.DeleteVectors, named(q.DeletePointVectors)) == WRONG


def test_points_are_got_without_payloads_unless_these_are_asked_for(calling):
    (record,) = calling.points.Get(named(q.GetPoints, ids=[FIRST])).result
    assert not record.payload
    everything = q.WithPayloadSelector(enable=True)
    (record,) = calling.points.Get(named(q.GetPoints, ids=[FIRST], with_payload=everything)).result
    assert record.payload["w"].string_value == "x"


def test_a_condition_in_which_nothing_is_set_restricts_nothing(calling):
    def counted(**lists):
        return calling.points.Count(named(q.CountPoints, filter=q.Filter(**lists))).result.count

    assert counted(must=[ANYTHING]) == counted(should=[ANYTHING]) == counted() == 3
    assert counted(must_not=[ANYTHING]) == 3
    assert counted(must=[ANYTHING, NO_POINT]) == counted(should=[ANYTHING, NO_POINT]) == 0


def test_a_selector_of_vectors_in_which_nothing_is_set_is_as_unset(calling):
    unset, nothing = q.WithVectorsSelector(), q.WithVectorsSelector(include=q.VectorsSelector())
    get = calling.points.Get
    (record,) = get(named(q.GetPoints, ids=[FIRST], with_vectors=unset)).result
    assert not record.HasField("vectors")
    (record,) = get(named(q.GetPoints, ids=[FIRST], with_vectors=nothing)).result
    assert record.vectors.WhichOneof("vectors_options") == "vectors"
    assert code(get, named(q.GetPoints, ids=[FIRST], with_payload=q.WithPayloadSelector())) == WRONG


@pytest.mark.parametrize(
    ("consistency", "expected"),
    [
        (q.ReadConsistency(), WRONG),
        (q.ReadConsistency(factor=0), WRONG),
        (q.ReadConsistency(type=9), WRONG),
        (q.ReadConsistency(factor=3), "OK"),
        (q.ReadConsistency(type=q.ReadConsistencyType.Quorum), "OK"),
    ],
)
def test_consistencies_are_known_ones(calling, consistency, expected):
    sent = named(q.CountPoints, read_consistency=consistency)
    assert code(calling.points.Count, sent) == expected


def test_orderings_are_known_ones(calling):
    for kind, expected in ((2, "OK"), (9, WRONG)):
        sent = upsert(point(7), ordering=q.WriteOrdering(type=kind))
        assert code(calling.points.Upsert, sent) == expected


def test_what_a_limit_of_0_means_is_for_each_call_to_say(calling):
    points = calling.points
    target = q.TargetVector(single=q.VectorExample(id=FIRST))
    search = named(q.SearchPoints, vector=[1, 0])
    discover = named(q.DiscoverPoints, target=target)
    recommend = named(q.RecommendPoints, positive=[FIRST])
    assert code(points.Search, search) == code(points.Discover, discover) == WRONG
    assert code(points.SearchBatch, named(q.SearchBatchPoints, search_points=[search])) == WRONG
    batch = named(q.DiscoverBatchPoints, discover_points=[discover])
    assert code(points.DiscoverBatch, batch) == WRONG
    assert list(points.Recommend(recommend).result) == []
    two = named(q.RecommendPoints, positive=[FIRST], limit=2)
    batch = named(q.RecommendBatchPoints, recommend_points=[recommend, two])
    assert [len(answer.result) for answer in points.RecommendBatch(batch).result] == [0, 2]
    assert list(points.Facet(named(q.FacetCounts, key="w", limit=0)).hits) == []
    assert code(points.Facet, named(q.FacetCounts, key="w")) == WRONG  # which has no index
    groups = named(q.QueryPointGroups, group_by="w", query=nearest([1, 0]))
    assert len(points.QueryGroups(groups).result.groups) == 1
    for name in ("limit", "group_size"):
        sent = q.QueryPointGroups()
        sent.CopyFrom(groups)
        setattr(sent, name, 0)
        assert code(points.QueryGroups, sent) == WRONG
    for name in ("sample", "limit"):
        assert code(points.SearchMatrixPairs, named(q.SearchMatrixPoints, **{name: 0})) == WRONG


def test_and_its_filter_is_read_all_the_same(calling):
    broken = q.Filter(min_should=q.MinShould(conditions=[NO_POINT]))
    for call, sent in (
        (calling.points.Recommend, named(q.RecommendPoints, positive=[FIRST], filter=broken)),
        (calling.points.Facet, named(q.FacetCounts, key="w", limit=0, filter=broken)),
    ):
        assert code(call, sent) == WRONG


def nearest(numbers):
    return q.Query(nearest=q.VectorInput(dense=q.DenseVector(data=numbers)))


@pytest.mark.parametrize(
    ("threshold", "expected"), [(2.0, 1), (math.nan, 0), (math.inf, 0), (-math.inf, 3)]
)
def test_a_threshold_may_be_infinite_and_nothing_is_as_good_as_none(calling, threshold, expected):
    sent = named(q.QueryPoints, query=nearest([1, 0]), score_threshold=threshold)
    assert len(calling.points.Query(sent).result) == expected


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"lt": math.inf}, 1),
        ({"gt": -math.inf, "lte": 5}, 1),
        ({"gte": math.inf}, 0),
        ({"lt": -math.inf}, 0),
        ({"gte": 0, "lt": math.nan}, 0),
    ],
)
def test_bounds_may_be_infinite_and_nothing_is_within_none(calling, bounds, expected):
    points = q.PointsSelector(points=q.PointsIdsList(ids=[FIRST]))
    payload = {"n": q.Value(integer_value=5)}
    calling.points.SetPayload(
        named(q.SetPayloadPoints, wait=True, payload=payload, points_selector=points)
    )
    condition = q.Condition(field=q.FieldCondition(key="n", range=q.Range(**bounds)))
    sent = named(q.CountPoints, filter=q.Filter(must=[condition]))
    assert calling.points.Count(sent).result.count == expected


def test_overwriting_a_payload_heeds_no_key(calling):
    points = q.PointsSelector(points=q.PointsIdsList(ids=[FIRST]))
    payload = {"z": q.Value(integer_value=5)}
    sent = named(q.SetPayloadPoints, payload=payload, points_selector=points, key="w", wait=True)
    calling.points.OverwritePayload(sent)
    everything = q.WithPayloadSelector(enable=True)
    (record,) = calling.points.Get(named(q.GetPoints, ids=[FIRST], with_payload=everything)).result
    assert set(record.payload) == {"z"}
