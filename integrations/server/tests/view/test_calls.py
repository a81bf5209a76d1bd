"""The page's calls return what `Collection` returns, in every kind of store."""

import numpy as np
import pytest

import retrieval_store
from integrations.server.tests.view.looking import asked, filled
from retrieval_store import Hybrid
from retrieval_store.errors import InvalidArgumentError, NotFoundError
from retrieval_store.extension import session_of
from retrieval_store_server.view.live import Views
from tests.helpers.indexed import with_codes
from tests.helpers.tuned import eager_signs


@pytest.fixture
def things(client):
    """Views of a store, and a collection in it with its vectors."""
    collection, matrix = filled(client)
    return Views(session_of(client)), collection, matrix


def test_a_store_lists_its_collections(client, things):
    views, collection, _ = things
    client.create_collection("empty", embedding_function=None)
    answer = asked(views, "store")
    assert [one["name"] for one in answer["collections"]] == ["empty", "things"]
    shown = answer["collections"][1]
    assert (shown["collection"], shown["points"]) == (str(collection.id), 60)
    assert shown["problem"] is None
    assert answer["read_only"] is False and answer["place"] == session_of(client).place


def test_a_collection_reports_the_possible_queries(things):
    views, collection, _ = things
    answer = asked(views, "collection", collection=str(collection.id))
    assert (answer["name"], answer["points"], answer["made_by"]) == ("things", 60, "Collection")
    assert answer["function"]["usable"] is False and "none" in answer["function"]["why"]
    assert answer["words"] and not answer["images"] and not answer["loader"]
    (space,) = answer["spaces"]
    assert (space["name"], space["kind"], space["metric"]) == ("", "dense", "l2")
    keys = {one["key"]: one for one in answer["keys"]}
    assert keys["n"]["kinds"] == ["number"]
    assert keys["kind"]["examples"] == ["poem", "letter", "map"]
    assert keys["author.name"] == {
        "key": "author.name",
        "kinds": ["string"],
        "examples": ["bob", "ann"],
    }


@pytest.mark.embedded
@with_codes
def test_a_collection_reports_its_recall(client, things, monkeypatch):
    views, collection, _ = things
    (space,) = asked(views, "collection", collection=str(collection.id))["spaces"]
    assert space["exact"] is True and space["recall"] is None
    eager_signs(monkeypatch)
    large = client.create_collection("large", {"recall": 0.9}, embedding_function=None)
    large.add(ids=[str(i) for i in range(3_000)], embeddings=np.eye(3_000, 24, 1) + 0.1)
    large.optimize()
    (space,) = asked(views, "collection", collection=str(large.id))["spaces"]
    assert space["exact"] is False and space["recall"]["target"] == 0.9
    assert space["recall"] == {**large.stats()["spaces"][""]["recall"], "usual": 0.98}


def test_matching_records_are_returned_in_pages(things):
    views, collection, _ = things
    where = {"kind": "map", "n": {"$lt": 30}}
    wanted = collection.get(where=where, where_document={"$contains": "number"})
    found = []
    for offset in range(0, 12, 4):
        page = asked(
            views,
            "records",
            collection=str(collection.id),
            where=where,
            where_document={"$contains": "number"},
            offset=offset,
            limit=4,
        )
        found += page["records"]
        assert page["more"] is (offset + 4 < len(wanted["ids"]))
    assert [one["id"] for one in found] == wanted["ids"]
    assert [one["metadata"] for one in found] == wanted["metadatas"]
    assert [one["document"] for one in found] == wanted["documents"]
    assert found[0]["key"] == f"s:{found[0]['id']}" and found[0]["uri"] is None


def test_records_are_counted(things):
    views, collection, _ = things
    at = {"collection": str(collection.id), "whole": False}
    assert asked(views, "count", **at) == {"count": 60, "whole": True}
    where = {"kind": "map"}
    assert asked(views, "count", where=where, **at) == {"count": 20, "whole": True}
    document = {"$contains": "wolf"}
    assert asked(views, "count", where_document=document, **at) == {"count": 10, "whole": True}


def test_a_record_is_returned_with_its_vector_and_neighbours(things):
    views, collection, matrix = things
    answer = asked(views, "record", collection=str(collection.id), key="s:p7", neighbours=3)
    record = answer["record"]
    assert (record["id"], record["document"], record["cut"]) == ("p7", "running number 7", False)
    vector = record["vectors"][""]
    assert vector["kind"] == "dense" and vector["dimension"] == 4
    assert vector["first"] == pytest.approx(matrix[7].tolist())
    assert vector["length"] == pytest.approx(float(np.linalg.norm(matrix[7])))
    distances = ((matrix - matrix[7]) ** 2).sum(axis=1)
    near = [f"p{i}" for i in np.argsort(distances)[1:4].tolist()]
    assert [one["id"] for one in answer["neighbours"]] == near
    assert answer["neighbours"][0]["distance"] == pytest.approx(np.sort(distances)[1], rel=1e-5)


def test_long_documents_are_cut_where_they_are_shown(client):
    collection = client.create_collection("long", embedding_function=None)
    document = "x\0é" * 50_000
    collection.add(ids="a", embeddings=[[1, 2]], documents=document)
    views, at = Views(session_of(client)), {"collection": str(collection.id)}
    (shown,) = asked(views, "records", **at)["records"]
    assert (shown["document"], shown["length"]) == (document[:2_000], 150_000)
    record = asked(views, "record", key="s:a", **at)["record"]
    assert (record["document"], record["cut"]) == (document[:100_000], True)
    (hit,) = asked(views, "query", vector=[1, 2], **at)["hits"]
    assert (hit["document"], hit["length"]) == (document[:2_000], 150_000)


def test_a_query_finds_what_a_collection_finds(things):
    views, collection, matrix = things
    at = {"collection": str(collection.id), "k": 5}
    vector = matrix[3].tolist()
    for body, arguments in (
        ({"vector": vector}, {"query_embeddings": vector}),
        ({"vector": vector, "where": {"kind": "map"}}, {"where": {"kind": "map"}}),
        ({"vector": vector, "offset": 2, "exact": True}, {"offset": 2, "exact": True}),
        ({"vector": vector, "max_distance": 40.0}, {"max_distance": 40.0}),
        ({"vector": vector, "group_by": "kind"}, {"group_by": "kind"}),
        ({"mode": "text", "text": "wolf 8"}, {"mode": "text", "query_texts": "wolf 8"}),
        (
            {"mode": "text", "text": "wolf 8", "min_score": 1.5},
            {"mode": "text", "query_texts": "wolf 8", "min_score": 1.5},
        ),
        (
            {"mode": "hybrid", "text": "wolf 8", "vector": vector},
            {"mode": "hybrid", "query_texts": "wolf 8", "query_embeddings": vector},
        ),
        (
            {"mode": "hybrid", "text": "wolf", "vector": vector, "alpha": 0.3, "fusion": "rrf"},
            {"mode": Hybrid("rrf", 0.3), "query_texts": "wolf", "query_embeddings": vector},
        ),
    ):
        if "vector" in body and "mode" not in body:
            arguments = {"query_embeddings": vector, **arguments}
        answer = asked(views, "query", **at, **body)
        wanted = collection.query(n_results=5, include=["documents", "distances"], **arguments)
        assert [one["id"] for one in answer["hits"]] == wanted["ids"][0], body
        assert [one["score"] for one in answer["hits"]] == pytest.approx(wanted["scores"][0])
        distances = wanted["distances"][0] or [None] * len(answer["hits"])
        assert [one["distance"] for one in answer["hits"]] == pytest.approx(distances)
        assert answer["explain"]["points"] == 60 and answer["milliseconds"] > 0


def test_words_of_the_question_are_marked(client):
    collection = client.create_collection(
        "stemmed", embedding_function=None, configuration={"text": {"language": "english"}}
    )
    documents = ["Running\0wolves, E\u0301CLAIR", "nothing", None]
    collection.add(ids=["a", "b", "c"], embeddings=np.eye(3), documents=documents)
    answer = asked(
        Views(session_of(client)),
        "query",
        collection=str(collection.id),
        mode="hybrid",
        text="runs wolf eclairs",
        vector=[1, 0, 0],
    )
    assert answer["words"] == ["run", "wolf", "eclair"]
    marks = {one["id"]: one["marks"] for one in answer["hits"]}
    assert marks == {"a": [[0, 7], [16, 23]], "b": [], "c": []}
    text = documents[0]
    assert [text[a:b] for a, b in marks["a"]] == ["Running", "E\u0301CLAIR"]


IMPOSSIBLE = [
    ("records", {}, "collection is missing"),
    ("records", {"colection": "c"}, "colection"),
    ("records", {"collection": 1}, "collection is 1"),
    ("records", {"collection": "c", "limit": 1001}, "limit is 1001"),
    ("records", {"collection": "c", "limit": True}, "limit is True"),
    ("records", {"collection": "c", "offset": -1}, "offset is -1"),
    ("records", {"collection": "c", "where": []}, "where is []"),
    ("record", {"collection": "c", "key": "a"}, "key is 'a'"),
    ("record", {"collection": "c", "key": "i:-1"}, "key is 'i:-1'"),
    ("record", {"collection": "c", "key": f"i:{2**64}"}, "key is"),
    ("thumbnail", {"collection": "c", "key": "s:a", "size": 1_025}, "size is 1025"),
    ("query", {"collection": "c", "k": 0}, "k is 0"),
    ("query", {"collection": "c", "k": 1001}, "k is 1001"),
    ("query", {"collection": "c", "mode": "best"}, "mode is 'best'"),
    ("query", {"collection": "c", "alpha": 2}, "alpha is 2"),
    ("query", {"collection": "c", "vector": ["a"]}, "vector"),
    ("query", {"collection": "c", "vector": []}, "vector"),
    ("query", {"collection": "c", "sparse": [1]}, "sparse is [1]"),
    ("query", {"collection": "c", "image": "no base64!"}, "image is"),
    ("query", {"collection": "c", "text": 1}, "text is 1"),
    ("map", {"collection": "c", "sample": 200_001}, "sample is 200001"),
    ("place", {"collection": "c", "keys": "s:a", "axes": ""}, "keys is 's:a'"),
    ("place", {"collection": "c", "keys": ["a"], "axes": ""}, "keys[0] is 'a'"),
    ("live", {"collections": 1}, "collections"),
    ("store", {"x": 1}, "'x'"),
]


def test_invalid_values_are_refused_by_their_field():
    with retrieval_store.Client() as client:
        views = Views(session_of(client))
        for name, body, message in IMPOSSIBLE:
            with pytest.raises(InvalidArgumentError) as refused:
                asked(views, name, **body)
            assert message in str(refused.value)


def test_contradictory_arguments_are_refused(things):
    views, collection, _ = things
    at = {"collection": str(collection.id)}
    for body in (
        {},
        {"text": "a", "vector": [1, 2, 3, 4]},
        {"mode": "text", "vector": [1, 2, 3, 4]},
        {"mode": "sparse", "text": "a"},
        {"mode": "hybrid", "vector": [1, 2, 3, 4]},
        {"mode": "hybrid", "text": "a", "vector": [1, 2, 3, 4], "record": "s:p1"},
        {"vector": [[1, 2, 3, 4], [1, 2, 3, 4]]},
        {"vector": [1, 2]},
        {"vector": [1, 2, 3, 4], "space": "other"},
        {"mode": "sparse", "sparse": {"indices": [1], "values": [1]}},
        {"mode": "text", "text": "a", "max_distance": 1},
        {"vector": [1, 2, 3, 4], "min_score": 1},
        {"vector": [1, 2, 3, 4], "group_size": 2},
        {"vector": [1, 2, 3, 4], "where": {"n": {"$near": 1}}},
        {"vector": [1, 2, 3, 4], "where_document": {"$regex": "("}},
    ):
        with pytest.raises(InvalidArgumentError):
            asked(views, "query", **at, **body)
    for name, body in (("record", {"key": "s:none"}), ("query", {"record": "i:7"})):
        with pytest.raises(NotFoundError, match="no record"):
            asked(views, name, **at, **body)
    with pytest.raises(NotFoundError):
        asked(views, "records", collection="../things")


def test_hits_in_text_without_spaces_are_marked(client):
    collection = client.create_collection("foreign", embedding_function=None)
    documents = [
        "床前明月光，低头思故乡",
        "ﾃﾞｰﾀのPython本",
        "Donau\xaddampf\xad\nschiff, dan-\ngerous",
    ]
    collection.add(ids=["a", "b", "c"], embeddings=np.eye(3), documents=documents)
    views = Views(session_of(client))
    for text, marked in (
        ("明月光", {"a": ["明月光"]}),
        ("乡", {"a": ["乡"]}),
        ("データ python", {"b": ["ﾃﾞｰﾀ", "Python"]}),
        ("donaudampfschiff", {"c": ["Donau\xaddampf\xad\nschiff"]}),
        ("dangerous", {"c": ["dan-\ngerous"]}),
        ("gerous", {"c": ["dan-\ngerous"]}),
    ):
        answer = asked(views, "query", collection=str(collection.id), mode="text", text=text)
        found = {
            one["id"]: [documents["abc".index(one["id"])][a:b] for a, b in one["marks"]]
            for one in answer["hits"]
        }
        assert found == marked, text


@pytest.mark.embedded
def test_records_come_in_the_order_of_a_key(things):
    views, collection, _ = things
    page = asked(
        views, "records", collection=str(collection.id), order_by="n", descending=True, limit=2
    )
    assert [one["id"] for one in page["records"]] == ["p59", "p58"]
