"""One store, two interfaces: points of QdrantClient, read and written through Collection, and the
reverse.
"""

import math

import numpy as np
import pytest

import retrieval_store
from retrieval_store.errors import IDAlreadyExistsError, InvalidArgumentError
from retrieval_store.qdrant import QdrantClient, Refused, models

UUID = "00000000-0000-0000-0000-00000000000a"
VECTORS = [[3.0, 4.0], [1.0, 0.0], [0.0, 2.0]]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def qdrant(path):
    with QdrantClient(path=path) as qdrant:
        yield qdrant


@pytest.fixture
def ours(path):
    with retrieval_store.Client(path) as ours:
        yield ours


def point(point_id, payload, vector):
    return models.PointStruct(id=point_id, vector=vector, payload=payload)


def filled(qdrant, distance):
    qdrant.create_collection("things", models.VectorParams(size=2, distance=distance))
    qdrant.upsert(
        "things",
        [
            point(7, {"n": 1, "_document": "seven seas"}, VECTORS[0]),
            point(UUID, {"n": 2, "_uri": "file:///a"}, VECTORS[1]),
            point(9, {"n": 3, "deep": {"x": [1, 2]}}, VECTORS[2]),
        ],
    )


def matching(key, **match):
    return models.Filter(must=[models.FieldCondition(key=key, **match)])


def ids(qdrant, scroll_filter=None):
    return [one.id for one in qdrant.scroll("things", scroll_filter, limit=100)[0]]


# What QdrantClient has made

DISTANCES = {
    models.Distance.COSINE: (["7", "9", UUID], [0.0, 0.2, 0.4]),
    models.Distance.EUCLID: (["7", "9", UUID], [0.0, 13.0, 20.0]),
    models.Distance.DOT: (["7", "9", UUID], [-24.0, -7.0, -2.0]),
}


@pytest.mark.parametrize("distance", DISTANCES)
def test_collection_reads_collections_of_qdrant_client(qdrant, ours, distance):
    filled(qdrant, distance)
    collection = ours.get_collection("things", embedding_function=None)
    got = collection.get(include=["metadatas", "documents", "uris", "embeddings"])
    assert got["ids"] == ["7", UUID, "9"]
    assert got["metadatas"] == [{"n": 1}, {"n": 2}, {"n": 3, "deep": {"x": [1, 2]}}]
    assert got["documents"] == ["seven seas", None, None]
    assert got["uris"] == [None, "file:///a", None]
    assert got["embeddings"].tolist() == VECTORS
    assert collection.get(ids=[UUID])["metadatas"] == [{"n": 2}]
    assert collection.get(where={"n": {"$gte": 2}})["ids"] == [UUID, "9"]
    assert collection.get(where_document={"$contains": "seas"})["ids"] == ["7"]
    found = collection.query(query_embeddings=[VECTORS[0]], n_results=3)
    expected = DISTANCES[distance]
    assert found["ids"] == [expected[0]]
    assert found["distances"][0] == pytest.approx(expected[1], abs=1e-6)
    words = collection.query(query_texts=["seas"], mode="text")
    assert words["ids"] == [["7"]]


def test_collection_writes_into_collections_of_qdrant_client(qdrant, ours):
    filled(qdrant, models.Distance.COSINE)
    qdrant.create_payload_index("things", "n", models.PayloadSchemaType.INTEGER)
    collection = ours.get_collection("things", embedding_function=None)
    collection.add(ids=["any string"], embeddings=[[0, 5]], metadatas=[{"n": 9}], documents=["d"])
    collection.update(ids=[UUID], metadatas=[{"n": 20}])
    collection.delete(where={"n": 3})
    assert ids(qdrant) == [7, UUID, "any string"]
    assert ids(qdrant, matching("n", range=models.Range(gte=9))) == [UUID, "any string"]
    (one,) = qdrant.retrieve("things", ["any string"], with_vectors=True)
    assert (one.payload, one.vector) == ({"n": 9, "_document": "d"}, [0.0, 1.0])
    assert qdrant.get_collection("things").points_count == 3
    found = qdrant.query_points("things", [0.0, 1.0]).points
    assert [one.id for one in found] == ["any string", 7, UUID]


def test_collection_names_integer_ids_as_it_shows_them(qdrant, ours):
    filled(qdrant, models.Distance.EUCLID)
    collection = ours.get_collection("things", embedding_function=None)
    assert collection.get(ids=["9", "7", "07", "8"])["ids"] == ["9", "7"]
    assert collection.query(query_embeddings=[VECTORS[0]], ids=["9"])["ids"] == [["9"]]
    assert collection.query(like="7", n_results=2)["ids"] == [["9", UUID]]
    collection.update(ids=["7"], metadatas=[{"n": 70}])
    collection.upsert(ids=["9", "10"], embeddings=[[5, 5], [6, 6]], metadatas=[{"n": 90}, {}])
    with pytest.raises(IDAlreadyExistsError, match=r"exist \(1\): 7"):
        collection.add(ids=["7", "11"], embeddings=[[0, 0]] * 2)
    with pytest.raises(IDAlreadyExistsError, match=r"exist \(2\): '10', 7;"):
        collection.add(ids=["7", "11", "10"], embeddings=[[0, 0]] * 3)
    assert ids(qdrant) == [7, 9, UUID, "10"]
    assert [one.payload["n"] for one in qdrant.retrieve("things", [7, 9])] == [70, 90]
    qdrant.upsert("things", [point(10, {"n": 1}, [0, 0])])  # "10" is a point of its own
    assert collection.get(ids=["10"])["metadatas"] == [{}]
    assert collection.delete(ids=["7", "10"])["deleted"] == 2
    assert ids(qdrant) == [9, 10, UUID] and collection.get(ids=["10"])["metadatas"] == [{"n": 1}]


def test_a_displayed_id_is_looked_up_each_time(qdrant, ours):
    filled(qdrant, models.Distance.EUCLID)
    collection = ours.get_collection("things", embedding_function=None)
    collection.add(ids=["70"], embeddings=[[5, 5]])
    qdrant.upsert("things", [point(70, {}, [6, 6])])
    for _ in range(2):
        found = collection.query(query_embeddings=[[0, 0]], ids=["70"], include=["embeddings"])
        assert np.array(found["embeddings"]).ravel().tolist() == [5, 5]
    collection.delete(ids=["70"])
    found = collection.query(query_embeddings=[[0, 0]], ids=["70"], include=["embeddings"])
    assert np.array(found["embeddings"]).ravel().tolist() == [6, 6]
    assert collection.query(like=["7"], unlike=["70"])["ids"] == [["9", UUID]]


def test_to_qdrant_client_a_string_of_digits_is_no_integer(qdrant):
    filled(qdrant, models.Distance.EUCLID)
    assert [one.id for one in qdrant.retrieve("things", [7, "7"])] == [7]
    qdrant.delete("things", ["7", 9, "9"])
    assert qdrant.count("things").count == 2 and ids(qdrant) == [7, UUID]


def test_a_collection_with_other_vectors_besides_is_worked_with_by_its_unnamed_ones(qdrant, ours):
    qdrant.create_collection(
        "things",
        {
            "": models.VectorParams(size=2, distance=models.Distance.DOT),
            "more": models.VectorParams(size=3, distance=models.Distance.DOT),
        },
        {"words": models.SparseVectorParams()},
    )
    qdrant.upsert("things", [point(1, {}, {"": [1, 2], "more": [1, 2, 3]})])
    collection = ours.get_collection("things", embedding_function=None)
    collection.upsert(ids=[UUID], embeddings=[[3, 4]])
    assert collection.query(query_embeddings=[[1, 1]])["ids"] == [[UUID, "1"]]
    shown = {one.id: one.vector for one in qdrant.scroll("things", with_vectors=True)[0]}
    assert shown == {1: {"": [1.0, 2.0], "more": [1.0, 2.0, 3.0]}, UUID: [3.0, 4.0]}


OTHERS = {
    "named": {"a": models.VectorParams(size=2, distance=models.Distance.DOT)},
    "bytes": models.VectorParams(
        size=2, distance=models.Distance.DOT, datatype=models.Datatype.UINT8
    ),
    "manhattan": models.VectorParams(size=2, distance=models.Distance.MANHATTAN),
    "many": models.VectorParams(
        size=2,
        distance=models.Distance.DOT,
        multivector_config=models.MultiVectorConfig(comparator="max_sim"),
    ),
    "none": None,
}


@pytest.fixture
def others(qdrant):
    for name, vectors in OTHERS.items():
        qdrant.create_collection(name, vectors)
    vectors = {"named": {"a": [1, 2]}, "bytes": [1, 2], "manhattan": [1, 2], "many": [[1, 2]]}
    for name in OTHERS:
        payload = {"_document": "some text", "n": 1}
        qdrant.upsert(name, [point(i, payload, vectors.get(name, {})) for i in range(50)])
        qdrant.delete(name, [*range(0, 50, 2)])
    return qdrant


@pytest.mark.parametrize("name", OTHERS)
def test_other_collections_are_refused_with_the_reason(others, ours, name):
    for call in (ours.get_collection, ours.get_or_create_collection):
        with pytest.raises(InvalidArgumentError, match="one unnamed dense float32") as caught:
            call(name, embedding_function=None)
        assert name in str(caught.value) and "QdrantClient" in str(caught.value)
    assert others.count(name).count == 25


def test_such_collections_are_listed_with_the_reason_why_they_are_unusable(others, ours, tmp_path):
    listed = {one.name: one for one in ours.list_collections()}
    assert sorted(OTHERS) == sorted(listed)
    assert all(name in ours._repr_html_() for name in OTHERS)
    for one in listed.values():
        assert one.metadata is None and one._repr_html_() is None
        assert (
            one.name in repr(one) and one == ours.list_collections()[sorted(OTHERS).index(one.name)]
        )
        for use in (
            one.count,
            one.get,
            one.peek,
            one.stats,
            lambda one=one: one.add("a", [[1.0]]),
            lambda one=one: one.query([[1.0]]),
            lambda one=one: one.delete("a"),
            lambda one=one: one.modify(name="another"),
            lambda one=one: one.fork("another"),
            lambda one=one: list(one.iterate()),
            lambda one=one: one.configuration,
        ):
            with pytest.raises(InvalidArgumentError, match="one unnamed dense float32"):
                use()
    ours.delete_collection(min(OTHERS))
    assert ours.count_collections() == len(OTHERS) - 1


def test_a_store_with_such_collections_is_listed_verified_and_optimized(others, ours):
    ours.create_collection("an-own", embedding_function=None).add(["a"], [[1, 2]])
    others.create_collection("xyz", models.VectorParams(size=2, distance=models.Distance.DOT))
    names = sorted([*OTHERS, "an-own", "xyz"])
    assert [one.name for one in ours.list_collections()] == names
    assert [one.name for one in ours.list_collections(limit=1, offset=1)] == names[1:2]
    assert ours.list_collections(limit=0) == [] and ours.count_collections() == len(names)
    assert [one.name for one in others.get_collections().collections] == names
    for one in ours.list_collections():
        one.optimize()
    for name in OTHERS:
        assert others.count(name).count == 25
        assert others.retrieve(name, [1])[0].payload == {"_document": "some text", "n": 1}
    reports = ours.verify()
    assert len(reports) > len(OTHERS) and not [one for one in reports if one.problem]


def test_such_collections_are_deleted_by_name_and_by_reset(others, path):
    with retrieval_store.Client(path, allow_reset=True) as ours:
        ours.delete_collection("named")
        assert not others.collection_exists("named")
        ours.reset()
    assert others.get_collections().collections == []


# What Collection has made


@pytest.fixture
def collection(ours):
    collection = ours.create_collection(
        "things",
        configuration={"hnsw": {"space": "cosine", "max_neighbors": 33, "ef_search": 77}},
        metadata={"by": "us"},
        embedding_function=None,
    )
    collection.add(
        ids=["a", "7", UUID, "zz"],
        embeddings=[*VECTORS, [-1.0, -1.0]],
        metadatas=[{"n": 1}, {"n": 2, "a.b": "dotted"}, {"n": 3, "a": {"b": "nested"}}, None],
        documents=["gold and iron", "gold", None, "zinc"],
        uris=[None, "u7", None, None],
    )
    return collection


def test_qdrant_client_reads_what_collection_has_written(qdrant, collection):
    found = qdrant.scroll("things", with_vectors=True)[0]
    assert [one.id for one in found] == [UUID, "7", "a", "zz"]
    assert [one.payload for one in found] == [
        {"n": 3, "a": {"b": "nested"}},
        {"n": 2, "a.b": "dotted", "_document": "gold", "_uri": "u7"},
        {"n": 1, "_document": "gold and iron"},
        {"_document": "zinc"},
    ]
    half = 1 / math.sqrt(2)
    expected = [[0.0, 1.0], [1.0, 0.0], [0.6, 0.8], [-half, -half]]
    assert np.allclose([one.vector for one in found], expected, atol=1e-6)
    assert [one.id for one in qdrant.retrieve("things", ["zz", "a", UUID.upper()])] == [
        "zz",
        "a",
        UUID,
    ]
    best = qdrant.query_points("things", [3.0, 4.0], limit=2).points
    assert [one.id for one in best] == ["a", UUID] and best[0].score == pytest.approx(1)
    near = qdrant.query_points("things", "7", limit=1).points
    assert [one.id for one in near] == ["a"]
    info = qdrant.get_collection("things")
    assert info.points_count == 4 and info.config.metadata == {"by": "us"}
    assert info.config.params.vectors == models.VectorParams(
        size=2, distance=models.Distance.COSINE
    )


def test_string_ids_are_found_and_paged_by(qdrant, collection):
    pages, offset = [], None
    while True:
        page, offset = qdrant.scroll("things", limit=1, offset=offset)
        pages += [one.id for one in page]
        if offset is None:
            break
    assert pages == [UUID, "7", "a", "zz"]
    named = models.Filter(must=[models.HasIdCondition(has_id=["a", UUID, "none"])])
    assert ids(qdrant, named) == [UUID, "a"]


def test_qdrant_client_writes_into_collections_of_collection(qdrant, collection):
    qdrant.set_payload("things", {"_document": "silver", "m": 1}, ["a"])
    qdrant.set_payload("things", {"_uri": "u"}, ["zz"])
    qdrant.delete_payload("things", ["_document"], ["zz"])
    qdrant.overwrite_payload("things", {"only": True}, ["7"])
    qdrant.update_vectors("things", [models.PointVectors(id=UUID, vector=[5.0, 0.0])])
    got = collection.get(include=["metadatas", "documents", "uris", "embeddings"])
    assert got["ids"] == ["a", "7", UUID, "zz"]
    assert got["metadatas"][:3] == [
        {"n": 1, "m": 1},
        {"only": True},
        {"n": 3, "a": {"b": "nested"}},
    ]
    assert got["documents"] == ["silver", None, None, None]
    assert got["uris"] == [None, None, None, "u"]
    assert got["embeddings"][2].tolist() == [5.0, 0.0]
    assert collection.query(query_texts=["silver"], mode="text")["ids"] == [["a"]]
    assert collection.query(query_texts=["gold"], mode="text")["ids"] == [[]]
    qdrant.clear_payload("things", ["a"])
    assert collection.get(ids=["a"])["documents"] == [None]
    qdrant.upsert("things", [point(5, {"n": 5, "_document": "tin"}, [1.0, 1.0])])
    qdrant.delete("things", ["zz"])
    assert collection.get(where={"n": 5})["documents"] == ["tin"]
    assert collection.count() == 4


@pytest.mark.parametrize("point_id", ["a", "1", "zz"])
def test_written_ids_are_integers_or_uuids(qdrant, collection, point_id):
    with pytest.raises(Refused, match="neither an unsigned integer nor a UUID"):
        qdrant.upsert("things", [point(point_id, {}, [1.0, 1.0])])
    assert collection.count() == 4


def test_the_configuration_of_a_collection_survives_changes_through_qdrant_client(
    qdrant, ours, collection
):
    before = collection.configuration
    qdrant.create_payload_index("things", "n", models.PayloadSchemaType.INTEGER)
    qdrant.create_vector_name(
        "things",
        "extra",
        models.DenseVectorNameConfig(
            dense=models.DenseVectorConfig(size=3, distance=models.Distance.DOT)
        ),
    )
    qdrant.update_collection("things", metadata={"more": 1})
    qdrant.delete_payload_index("things", "n")
    again = ours.get_collection("things", embedding_function=None)
    assert again.configuration == before
    assert again.metadata == {"by": "us", "more": 1}
    assert again.query(query_embeddings=[[3, 4]], n_results=1)["ids"] == [["a"]]
    again.modify(configuration={"hnsw": {"ef_search": 99}}, metadata={"new": True})
    info = qdrant.get_collection("things")
    assert set(info.config.params.vectors) == {"", "extra"}
    assert info.config.metadata == {"new": True}


def test_dropping_the_unnamed_vectors_takes_the_collection_from_the_other_front(
    qdrant, ours, collection
):
    qdrant.delete_vector_name("things", "")
    with pytest.raises(InvalidArgumentError, match="QdrantClient"):
        ours.get_collection("things")
    assert ids(qdrant) == [UUID, "7", "a", "zz"]
    (listed,) = ours.list_collections()
    with pytest.raises(InvalidArgumentError, match="QdrantClient"):
        listed.count()


# Documents and uris in filters


def test_filters_see_documents_and_uris_as_the_keys_as_which_they_show(qdrant, collection):
    gold = matching("_document", match=models.MatchValue(value="gold"))
    text = matching("_document", match=models.MatchText(text="gold"))
    assert ids(qdrant, gold) == ["7"] and ids(qdrant, text) == ["7", "a"]
    assert ids(qdrant, matching("_uri", match=models.MatchAny(any=["u7", "x"]))) == ["7"]

    def empty(key):
        return models.Filter(must=[models.IsEmptyCondition(is_empty={"key": key})])

    assert ids(qdrant, empty("_document")) == [UUID]
    assert ids(qdrant, empty("_document.x")) == [UUID, "7", "a", "zz"]
    assert ids(qdrant, empty("_uri")) == [UUID, "a", "zz"]
    assert ids(qdrant, models.Filter(must_not=gold.must)) == [UUID, "a", "zz"]
    best = qdrant.query_points("things", [3.0, 4.0], query_filter=gold).points
    assert [one.id for one in best] == ["7"]
    groups = qdrant.query_points_groups("things", "_uri", [1.0, 0.0]).groups
    assert [(one.id, [hit.id for hit in one.hits]) for one in groups] == [("u7", ["7"])]


@pytest.mark.parametrize("indexed", [False, True])
def test_cached_filters_on_documents_reflect_writes_of_both_fronts(qdrant, collection, indexed):
    if indexed:
        qdrant.create_payload_index("things", "_document", models.PayloadSchemaType.TEXT)
        qdrant.create_payload_index("things", "_uri", models.PayloadSchemaType.KEYWORD)
        schema = qdrant.get_collection("things").payload_schema
        assert (schema["_document"].points, schema["_uri"].points) == (3, 1)
        assert [hit.value for hit in qdrant.facet("things", "_uri").hits] == ["u7"]

    def found():
        gold = matching("_document", match=models.MatchText(text="gold"))
        uri = matching("_uri", match=models.MatchValue(value="u7"))
        return ids(qdrant, gold), ids(qdrant, uri)

    many = [str(i) for i in range(1000, 1600)]  # so that columns are kept, rather than points read
    collection.add(ids=many, embeddings=[[1, 1]] * len(many))
    for _ in range(5):
        assert found() == (["7", "a"], ["7"])
    collection.update(ids=["zz"], embeddings=[[1, 1]], documents=["more gold"])
    assert found() == (["7", "a", "zz"], ["7"])
    collection.update(ids=["1000"], embeddings=[[1, 1]], uris=["u7"])
    assert found() == (["7", "a", "zz"], ["1000", "7"])
    qdrant.set_payload("things", {"_document": "lead"}, ["7"])
    qdrant.delete_payload("things", ["_uri"], ["7"])
    assert found() == (["a", "zz"], ["1000"])
    collection.delete(ids=["a"])
    qdrant.batch_update_points(
        "things",
        [
            models.SetPayloadOperation(
                set_payload=models.SetPayload(
                    payload={"_document": "gold again"},
                    filter=matching("_uri", match=models.MatchValue(value="u7")),
                )
            ),
            models.OverwritePayloadOperation(
                overwrite_payload=models.SetPayload(
                    payload={"was": "gold"},
                    filter=matching("_document", match=models.MatchText(text="more")),
                )
            ),
        ],
    )
    assert found() == (["1000"], ["1000"])
    assert qdrant.count("things", matching("was", match=models.MatchValue(value="gold"))).count == 1


@pytest.mark.parametrize("indexed", [False, True])
def test_the_first_vector_decides_of_how_many_numbers_they_are(qdrant, ours, indexed):
    collection = ours.create_collection("things", embedding_function=None)
    if indexed:
        qdrant.create_payload_index("things", "n", models.PayloadSchemaType.INTEGER)
    assert qdrant.get_collection("things").config.params.vectors.size == 0 and ids(qdrant) == []
    likes = models.RecommendQuery(recommend=models.RecommendInput(positive=[[1.0, 2.0]]))
    for query in ([1.0, 2.0], likes):
        assert qdrant.query_points("things", query).points == []
    collection.add(ids=["a"], embeddings=[[1, 2, 3]])
    assert qdrant.get_collection("things").config.params.vectors.size == 3
    with pytest.raises(Refused, match="expected dim: 3, got 2"):
        qdrant.upsert("things", [point(1, {}, [1.0, 2.0])])
    assert [one.id for one in qdrant.query_points("things", [1.0, 2.0, 3.0]).points] == ["a"]
