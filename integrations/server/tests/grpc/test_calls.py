"""What calls over gRPC give that no recording has: requests of older clients, vectors as older
clients send them, snapshots, texts, ids of any text. What is asked over HTTP says what is right."""

import httpx
import pytest
import qdrant_client
from qdrant_client import grpc as q

import retrieval_store
from integrations.server.tests.grpc.calling import (
    calls,
    code,
    count,
    dense,
    make_collection,
    point,
    refusal,
    upsert,
)

VECTORS = {1: (1, 0), 2: (0.8, 0.6), 3: (0, 1), 4: (-1, 0)}
WITH_ALL = {
    "with_payload": q.WithPayloadSelector(enable=True),
    "with_vectors": q.WithVectorsSelector(enable=True),
}


@pytest.fixture(scope="module")
def calling():
    with calls() as found:
        make_collection(found)
        points = [point(i, one, g="ab"[i % 2]) for i, one in VECTORS.items()]
        found.points.Upsert(upsert(*points))
        found.points.CreateFieldIndex(
            q.CreateFieldIndexCollection(
                collection_name="c", field_name="g", field_type=q.FieldType.FieldTypeKeyword
            )
        )
        with httpx.Client(base_url=found.url) as found.http:
            yield found


def over_http(calling, path, body):
    answer = calling.http.post(f"/collections/c{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def shown(hits):
    """Hits as they are shown over HTTP."""
    return [
        {
            "id": one.id.num,
            "score": pytest.approx(one.score),
            "payload": {name: value.string_value for name, value in one.payload.items()},
            "vector": pytest.approx(list(one.vectors.vector.dense.data)),
            "version": one.version,
        }
        for one in hits
    ]


def ids(numbers):
    return [q.PointId(num=one) for one in numbers]


def example(given):
    if isinstance(given, int):
        return q.VectorExample(id=q.PointId(num=given))
    return q.VectorExample(vector=q.Vector(dense=q.DenseVector(data=given)))


ALSO = {"with_payload": True, "with_vector": True}
FILTER = q.Filter(must=[{"field": {"key": "g", "match": {"keyword": "a"}}}])
FILTERED = {"must": [{"key": "g", "match": {"value": "a"}}]}
SEARCHES = [
    ({"vector": [1, 0], "limit": 3}, {"vector": [1, 0], "limit": 3}),
    ({"vector": [1, 0], "limit": 9, "offset": 1, "filter": FILTER},
     {"vector": [1, 0], "limit": 9, "offset": 1, "filter": FILTERED}),
    ({"vector": [1, 0], "limit": 9, "score_threshold": 0.5},
     {"vector": [1, 0], "limit": 9, "score_threshold": 0.5}),
]  # fmt: skip
RECOMMENDED = [
    ({"positive": ids([1]), "limit": 9}, {"positive": [1], "limit": 9}),
    ({"positive": ids([1]), "negative": ids([4]), "limit": 2,
      "strategy": q.RecommendStrategy.BestScore},
     {"positive": [1], "negative": [4], "limit": 2, "strategy": "best_score"}),
    ({"positive_vectors": [q.Vector(data=[0, 1])], "limit": 2},
     {"positive": [[0, 1]], "limit": 2}),
]  # fmt: skip
PAIR = q.ContextExamplePair(positive=example(1), negative=example(4))
DISCOVERED = [
    ({"target": q.TargetVector(single=example(2)), "limit": 3}, {"target": 2, "limit": 3}),
    ({"target": q.TargetVector(single=example((0, 1))), "context": [PAIR], "limit": 3},
     {"target": [0, 1], "context": [{"positive": 1, "negative": 4}], "limit": 3}),
    ({"context": [PAIR], "limit": 3},
     {"context": [{"positive": 1, "negative": 4}], "limit": 3}),
]  # fmt: skip
OLDER = [
    *(("Search", q.SearchPoints, "/points/search", *one) for one in SEARCHES),
    *(("Recommend", q.RecommendPoints, "/points/recommend", *one) for one in RECOMMENDED),
    *(("Discover", q.DiscoverPoints, "/points/discover", *one) for one in DISCOVERED),
]


@pytest.mark.parametrize(("rpc", "kind", "path", "asked", "body"), OLDER)
def test_requests_of_older_clients_are_answered_as_over_http(calling, rpc, kind, path, asked, body):
    sent = kind(collection_name="c", **WITH_ALL, **asked)
    answer = getattr(calling.points, rpc)(sent)
    assert shown(answer.result) == over_http(calling, path, {**body, **ALSO})
    assert answer.time > 0
    batch = {
        "SearchBatch": lambda: q.SearchBatchPoints(collection_name="c", search_points=[sent, sent]),
        "RecommendBatch": lambda: q.RecommendBatchPoints(
            collection_name="c", recommend_points=[sent, sent]
        ),
        "DiscoverBatch": lambda: q.DiscoverBatchPoints(
            collection_name="c", discover_points=[sent, sent]
        ),
    }[f"{rpc}Batch"]()
    found = getattr(calling.points, f"{rpc}Batch")(batch).result
    assert [list(one.result) for one in found] == [list(answer.result)] * 2


@pytest.mark.parametrize(
    ("rpc", "kind", "asked", "body"),
    [
        ("SearchGroups", q.SearchPointGroups, {"vector": [1, 0]}, {"vector": [1, 0]}),
        ("RecommendGroups", q.RecommendPointGroups, {"positive": ids([1])}, {"positive": [1]}),
    ],
)
def test_so_are_their_groups(calling, rpc, kind, asked, body):
    grouped = {"group_by": "g", "limit": 2, "group_size": 2}
    answer = getattr(calling.points, rpc)(kind(collection_name="c", **WITH_ALL, **grouped, **asked))
    path = f"/points/{rpc.removesuffix('Groups').lower()}/groups"
    expected = over_http(calling, path, {**body, **grouped, **ALSO})["groups"]
    found = [(one.id.string_value, shown(one.hits)) for one in answer.result.groups]
    assert found == [(one["id"], one["hits"]) for one in expected]


def test_a_query_of_nothing_is_a_page(calling):
    answer = calling.points.Query(q.QueryPoints(collection_name="c", limit=2))
    assert [one.id.num for one in answer.result] == [1, 2]
    assert not answer.result[0].payload and not answer.result[0].HasField("vectors")


@pytest.fixture
def empty():
    with calls() as found:
        yield found


def test_vectors_as_older_clients_send_them(empty):
    vectors = {
        name: q.VectorParams(size=2, distance=q.Distance.Dot, multivector_config=config)
        for name, config in (("d", None), ("m", q.MultiVectorConfig()))
    }
    empty.collections.Create(
        q.CreateCollection(
            collection_name="c",
            vectors_config=q.VectorsConfig(params_map=q.VectorParamsMap(map=vectors)),
            sparse_vectors_config=q.SparseVectorConfig(map={"s": q.SparseVectorParams()}),
        )
    )
    named = {
        "d": q.Vector(data=[1, 2]),
        "m": q.Vector(data=[1, 2, 3, 4], vectors_count=2),
        "s": q.Vector(data=[0.5, 2], indices=q.SparseIndices(data=[7, 3])),
    }
    vectors = q.Vectors(vectors=q.NamedVectors(vectors=named))
    empty.points.Upsert(upsert(q.PointStruct(id=q.PointId(num=1), vectors=vectors)))
    asked = q.GetPoints(collection_name="c", ids=ids([1]), **WITH_ALL)
    found = empty.points.Get(asked).result[0].vectors.vectors.vectors
    assert list(found["d"].dense.data) == [1, 2]
    assert [list(one.data) for one in found["m"].multi_dense.vectors] == [[1, 2], [3, 4]]
    sparse = found["s"].sparse
    assert dict(zip(sparse.indices, sparse.values, strict=True)) == {7: 0.5, 3: 2}
    named["m"].vectors_count = 3
    wrong = q.PointStruct(
        id=q.PointId(num=2), vectors=q.Vectors(vectors=q.NamedVectors(vectors=named))
    )
    assert code(empty.points.Upsert, upsert(wrong)) == "INVALID_ARGUMENT"
    assert count(empty) == 1

    def refused(name, **vector):
        named = q.NamedVectors(vectors={name: q.Vector(**vector)})
        vectors = q.Vectors(vectors=named)
        sent = q.PointStruct(id=q.PointId(num=2), vectors=vectors)
        return refusal(empty.points.Upsert, upsert(sent))[1]

    said = "Validation error: invalid dense vector length for vectors count"
    assert said in refused("m", data=[1, 2, 3], vectors_count=2)
    assert "vectors count must be greater than 0" in refused("m", data=[1, 2], vectors_count=0)
    sparse = q.SparseIndices(data=[7])
    assert refused("s", data=[0.5, 2], indices=sparse) == (
        "Validation error in body: [points[0].vectors.vectors_options.vectors.[].values: "
        "Validation error: must be the same length as indices [{}]]"
    )
    search = q.SearchPoints(
        collection_name="c", vector=[1, 2], sparse_indices=sparse, vector_name="s", limit=1
    )
    found = refusal(empty.points.Search, search)[1]
    assert "Sparse indices does not match sparse vector conditions: values: Validation" in found


def test_each_request_of_a_batch_names_a_collection_as_a_server_has_it(calling):
    one = q.RecommendPoints(positive=[q.PointId(num=1)], limit=1)
    batch = q.RecommendBatchPoints(collection_name="c", recommend_points=[one])
    said = refusal(calling.points.RecommendBatch, batch)
    assert said[0] == "INVALID_ARGUMENT"
    assert said[1].startswith("Validation error in body: [recommend_points[0].collection_name")


def test_a_recommendation_without_a_limit_has_none(calling):
    asked = {"positive": [q.PointId(num=1)]}
    assert not calling.points.Recommend(q.RecommendPoints(collection_name="c", **asked)).result
    missing = q.RecommendPoints(collection_name="none", **asked)
    assert code(calling.points.Recommend, missing) == "NOT_FOUND"


def test_a_point_may_have_no_vector(empty):
    make_collection(empty)
    nothing = q.Vectors(vectors=q.NamedVectors())
    payload = {"a": q.Value(bool_value=True)}
    alone = q.PointStruct(id=q.PointId(num=1), payload=payload, vectors=nothing)
    assert code(empty.points.Upsert, upsert(alone)) == "OK"
    got = empty.points.Get(q.GetPoints(collection_name="c", ids=ids([1]), **WITH_ALL)).result[0]
    assert got.payload["a"].bool_value


def test_payloads_come_back_as_they_went(empty):
    make_collection(empty)
    values = {
        "null": q.Value(null_value=0),
        "nothing": q.Value(),
        "integer": q.Value(integer_value=-(2**63)),
        "number": q.Value(double_value=0.1),
        "nan": q.Value(double_value=float("nan")),
        "text": q.Value(string_value="ü😀\0"),
        "list": q.Value(list_value=q.ListValue(values=[q.Value(bool_value=False), q.Value()])),
        "object": q.Value(struct_value=q.Struct(fields={"": q.Value(string_value="")})),
    }
    sent = q.PointStruct(id=q.PointId(num=1), vectors=dense([1, 2]), payload=values)
    empty.points.Upsert(upsert(sent))
    asked = q.GetPoints(collection_name="c", ids=ids([1]), **WITH_ALL)
    found = dict(empty.points.Get(asked).result[0].payload)
    null = q.Value(null_value=0)
    values |= {"nothing": null, "nan": null}  # JSON has no other
    values["list"].list_value.values[1].CopyFrom(null)
    assert found == values


@pytest.mark.parametrize("value", [2**63, 2**64 - 1, -(2**63) - 1])
def test_integers_that_a_message_cannot_hold_are_floats(empty, value):
    from retrieval_store_server.grpc.write import field_of

    assert q.Value(**field_of(value)).double_value == float(value)


def test_whether_a_write_is_waited_for_is_told(empty):
    make_collection(empty)
    for wait, status in ((True, q.UpdateStatus.Completed), (False, q.UpdateStatus.Acknowledged)):
        sent = q.UpsertPoints(collection_name="c", wait=wait, points=[point()])
        assert empty.points.Upsert(sent).result.status == status
    assert count(empty) == 1


def test_snapshots_are_taken_listed_and_deleted(tmp_path):
    with calls(tmp_path / "s") as calling:
        make_collection(calling)
        snapshots = calling.snapshots
        made = snapshots.Create(q.CreateSnapshotRequest(collection_name="c"))
        name = made.snapshot_description.name
        assert made.snapshot_description.size > 0
        assert made.snapshot_description.creation_time.seconds > 1_600_000_000
        asked = q.ListSnapshotsRequest(collection_name="c")
        listed = snapshots.List(asked).snapshot_descriptions
        assert [one.name for one in listed] == [name]
        gone = q.DeleteSnapshotRequest(collection_name="c", snapshot_name=name)
        assert code(snapshots.Delete, gone) == "OK"
        assert code(snapshots.Delete, gone) == "NOT_FOUND"
        other = q.DeleteSnapshotRequest(collection_name="c", snapshot_name="../catalog.sqlite")
        assert code(snapshots.Delete, other) in ("NOT_FOUND", "INVALID_ARGUMENT")
        whole = snapshots.CreateFull(q.CreateFullSnapshotRequest()).snapshot_description.name
        listed = snapshots.ListFull(q.ListFullSnapshotsRequest()).snapshot_descriptions
        assert [one.name for one in listed] == [whole]
        snapshots.DeleteFull(q.DeleteFullSnapshotRequest(snapshot_name=whole))
        assert not snapshots.ListFull(q.ListFullSnapshotsRequest()).snapshot_descriptions


def text(said, model="wordllama"):
    return q.Document(text=said, model=model)


def test_texts_are_embedded_as_over_http(empty):
    make_collection(empty, size=256)
    vectors = q.Vectors(vector=q.Vector(document=text("The cat sleeps.")))
    empty.points.Upsert(upsert(q.PointStruct(id=q.PointId(num=1), vectors=vectors)))
    vectors.vector.document.text = "Banks lend money."
    update = q.PointsUpdateOperation(upsert={"points": [{"id": {"num": 2}, "vectors": vectors}]})
    empty.points.UpdateBatch(q.UpdateBatchPoints(collection_name="c", operations=[update]))
    for said, nearest in (("kitten", 1), ("finance", 2)):
        query = q.Query(nearest=q.VectorInput(document=text(said)))
        asked = q.QueryPoints(collection_name="c", query=query, limit=1)
        assert [one.id.num for one in empty.points.Query(asked).result] == [nearest]
    for model in ("openai", "os:system", "no/such"):
        query = q.Query(nearest=q.VectorInput(document=text("a", model)))
        asked = q.QueryPoints(collection_name="c", query=query)
        assert code(empty.points.Query, asked) == "INVALID_ARGUMENT"
    image = q.Image(image=q.Value(string_value="/etc/passwd"), model="wordllama")
    query = q.Query(nearest=q.VectorInput(image=image))
    asked = q.QueryPoints(collection_name="c", query=query)
    assert code(empty.points.Query, asked) == "INVALID_ARGUMENT"


@pytest.fixture
def strings(tmp_path):
    """A collection that Collection has written, with ids of any text."""
    with retrieval_store.Client(tmp_path / "store") as client:
        notes = client.create_collection("ccc", embedding_function=None)
        notes.add(ids=["cat", "dog", "7"], embeddings=[[1, 0], [0, 1], [1, 1]])
    with calls(tmp_path / "store") as calling:
        yield calling


def everything(calling):
    return calling.points.Scroll(q.ScrollPoints(collection_name="ccc")).result


def test_ids_of_any_text_are_read_and_not_made(strings):
    cat, none = q.PointId(uuid="cat"), q.PointId(uuid="none")
    points = strings.points
    scrolled = points.Scroll(q.ScrollPoints(collection_name="ccc", limit=1))
    assert [one.id.uuid for one in scrolled.result] == ["7"]
    assert scrolled.next_page_offset.uuid == "cat"
    assert points.Get(q.GetPoints(collection_name="ccc", ids=[cat])).result[0].id == cat
    query = q.Query(nearest=q.VectorInput(id=cat))
    found = points.Query(q.QueryPoints(collection_name="ccc", query=query)).result
    assert found[0].id.uuid == "7"
    told = refusal(points.Get, q.GetPoints(collection_name="ccc", ids=[none]))
    assert told[0] == "INVALID_ARGUMENT" and "none" in told[1]
    selector = q.PointsSelector(points=q.PointsIdsList(ids=[q.PointId(uuid="dog"), none]))
    gone = q.DeletePoints(collection_name="ccc", points=selector)
    assert code(points.Delete, gone) == "INVALID_ARGUMENT"
    new = q.PointStruct(id=none, vectors=dense([1, 2]))
    assert (
        code(points.Upsert, q.UpsertPoints(collection_name="ccc", points=[new]))
        == "INVALID_ARGUMENT"
    )
    assert len(everything(strings)) == 3
    del selector.points.ids[1]
    assert code(points.Delete, q.DeletePoints(collection_name="ccc", points=selector)) == "OK"
    assert len(everything(strings)) == 2


def test_uuids_are_read_in_all_of_their_forms(empty):
    make_collection(empty)
    canonical = "5c56c793-69f3-4fbf-87e6-c4bf54c28c26"
    for form in (canonical, canonical.upper(), canonical.replace("-", ""), f"urn:uuid:{canonical}"):
        sent = q.PointStruct(id=q.PointId(uuid=form), vectors=dense([1, 2]))
        assert code(empty.points.Upsert, upsert(sent)) == "OK"
    scrolled = empty.points.Scroll(q.ScrollPoints(collection_name="c"))
    assert [one.id.uuid for one in scrolled.result] == [canonical]


def test_a_collection_is_copied_by_the_client_that_uploads_in_parallel(empty):
    options = {"grpc_port": empty.url.grpc_port, "prefer_grpc": True}
    client = qdrant_client.QdrantClient(url=empty.url, **options)
    make_collection(empty)
    points = [qdrant_client.models.PointStruct(id=i, vector=[i, 1]) for i in range(2_500)]
    client.upload_points("c", points, batch_size=500, wait=True)
    assert client.count("c").count == 2_500
    client.close()
