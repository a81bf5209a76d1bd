"""Collections made by QdrantClient, with several vector spaces of each kind; and collections with a
stored embedding function."""

import base64
import subprocess
import sys
import uuid

import numpy as np
import pytest
from qdrant_client import models

import retrieval_store
from integrations.server.tests.view.looking import asked, picture
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.extension import session_of
from retrieval_store.qdrant import QdrantClient
from retrieval_store_server.view.live import Views

UUID = str(uuid.UUID(int=7))


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    """A collection with a dense, a multivector and a sparse space, and one without any."""
    path = tmp_path_factory.mktemp("several") / "store"
    dense = {
        "d": models.VectorParams(size=2, distance=models.Distance.COSINE),
        "m": models.VectorParams(
            size=2,
            distance=models.Distance.DOT,
            multivector_config=models.MultiVectorConfig(
                comparator=models.MultiVectorComparator.MAX_SIM
            ),
        ),
    }
    qdrant = QdrantClient(path=path)
    qdrant.create_collection("several", dense, {"s": models.SparseVectorParams()})
    qdrant.create_collection("none", {})
    points = [
        models.PointStruct(
            id=i if i else UUID,
            vector={
                "d": [1, i],
                "m": [[1, 0], [0, i]],
                "s": models.SparseVector(indices=[i, 50], values=[1, i + 1]),
            },
            payload={"n": i, "big": 2**60 + i},
        )
        for i in range(6)
    ]
    qdrant.upsert("several", [*points, models.PointStruct(id=99, vector={}, payload={"n": 99})])
    qdrant.upsert("none", [models.PointStruct(id=1, vector={}, payload={"n": 1})])
    qdrant.close()
    with retrieval_store.Client(path) as client:
        yield Views(session_of(client))


@pytest.fixture(scope="module")
def several(views):
    found = {one["name"]: one["collection"] for one in asked(views, "store")["collections"]}
    return {"collection": found["several"]}


def test_all_vector_spaces_are_reported(views, several):
    answer = asked(views, "collection", **several)
    assert answer["made_by"] == "QdrantClient" and answer["points"] == 7
    assert not answer["words"] and answer["function"]["name"] is None
    spaces = {one["name"]: (one["kind"], one["vectors"]) for one in answer["spaces"]}
    assert spaces == {"d": ("dense", 6), "m": ("multi", 6), "s": ("sparse", 6)}


def test_integers_are_distinguished_from_texts_and_large_ones_are_exact(views, several):
    records = asked(views, "records", **several)["records"]
    assert [one["key"] for one in records][:2] == [f"s:{UUID}", "i:1"]
    assert records[1]["id"] == "1" and records[1]["metadata"]["big"] == 2**60 + 1


def test_a_record_has_a_vector_of_each_kind_and_is_like_others_in_each(views, several):
    for space, field, near in (("d", "first", "4"), ("m", "first", "5"), ("s", "indices", "5")):
        answer = asked(views, "record", key="i:3", space=space, neighbours=1, **several)
        vectors = answer["record"]["vectors"]
        assert set(vectors) == {"d", "m", "s"} and field in vectors[space]
        assert [one["id"] for one in answer["neighbours"]] == [near], space
    assert vectors["m"]["number"] == 2 and vectors["s"]["indices"] == [3, 50]
    without = asked(views, "record", key="i:99", **several)
    assert without["record"]["vectors"] == {} and without["neighbours"] == []


def test_each_space_can_be_queried(views, several):
    def ids(**body):
        return [one["id"] for one in asked(views, "query", k=2, **several, **body)["hits"]]

    sparse = {"indices": [4], "values": [1.0]}
    assert ids(vector=[0, 1]) == ["5", "4"]
    assert ids(vector=[1, 0], space="d") == [UUID, "1"]
    assert ids(vector=[[0, 1], [1, 1]], space="m") == ["5", "4"]
    assert ids(mode="sparse", sparse=sparse) == ["4"]
    assert ids(mode="sparse", record="i:4", sparse_space="s") == ["5", "3"]
    assert ids(mode="hybrid", sparse=sparse, vector=[0, 1]) == ["4", "5"]
    assert ids(mode="hybrid", sparse=sparse, vector=[[0, 1]], space="m") == ["4", "5"]
    assert ids(vector=[0, 1], where={"n": {"$lte": 2}}) == ["2", "1"]


def test_the_error_about_an_unknown_space_lists_the_spaces(views, several):
    with pytest.raises(InvalidArgumentError, match="space is 's'.*'d', 'm'"):
        asked(views, "query", vector=[1, 0], space="s", **several)
    with pytest.raises(InvalidArgumentError, match="no dense or multi vector space"):
        none = next(c for c in asked(views, "store")["collections"] if c["name"] == "none")
        asked(views, "query", vector=[1, 0], collection=none["collection"])


@pytest.mark.parametrize("space", ["m", "s"])
def test_only_dense_vectors_are_drawn(views, several, space):
    with pytest.raises(InvalidArgumentError, match="only dense ones"):
        asked(views, "map", space=space, **several)


@retrieval_store.register_embedding_function("tests-of-views")
class Seen:
    """Embeds texts by their length, and pictures by their height."""

    self_contained = True
    embeds_images = True

    def __call__(self, input):
        return [[float(len(one)), 1.0] for one in input]

    def settings(self):
        return {}


@retrieval_store.register_embedding_function("tests-of-views-reaching")
class Reaching(Seen):
    made = 0

    def __init__(self, host="localhost"):
        type(self).made += 1
        self._host = host

    def settings(self):
        return {"host": self._host}


def test_a_remembered_function_embeds_texts_and_pictures(client):
    collection = client.create_collection("seen", embedding_function=Seen())
    collection.add(ids=["short", "long"], documents=["ab", "abcdefgh"])
    views, at = Views(session_of(client)), {"collection": str(collection.id)}
    answer = asked(views, "collection", **at)
    assert answer["function"] == {"name": "tests-of-views", "usable": True, "why": None}
    assert answer["images"] is True
    assert asked(views, "query", text="abc", **at)["hits"][0]["id"] == "short"
    image = base64.b64encode(picture((5, 9))).decode()
    found = asked(views, "query", image=image, **at)
    assert found["hits"][0]["id"] == "long" and found["words"] == []
    assert asked(views, "query", mode="hybrid", text="ab", **at)["hits"][0]["id"] == "short"


@pytest.mark.embedded
def test_a_stored_host_is_used_only_if_the_store_is_trusted(tmp_path):
    """In a process that didn't get the function as an argument."""
    code = """
import sys, retrieval_store
from retrieval_store.extension import session_of
from integrations.server.tests.view.test_kinds_of_collections import Reaching, Views, asked
with retrieval_store.Client(sys.argv[1], read_only=True) as client:
    (collection,) = asked(Views(session_of(client)), "store")["collections"]
    at = {"collection": collection["collection"]}
    function = asked(Views(session_of(client)), "collection", **at)["function"]
    assert not function["usable"] and "--trust" in function["why"], function
    try:
        asked(Views(session_of(client)), "query", text="abc", **at)
        sys.exit("it was made")
    except retrieval_store.errors.EmbeddingFunctionError:
        assert Reaching.made == 0
    views = Views(session_of(client), trust=True)
    assert asked(views, "collection", **at)["function"]["usable"]
    assert asked(views, "query", text="abc", **at)["hits"] and Reaching.made == 1
"""
    with retrieval_store.Client(tmp_path) as client:
        collection = client.create_collection("reaching", embedding_function=Reaching("elsewhere"))
        collection.add(ids="a", embeddings=[[1, 2]])
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120)


def test_a_function_of_a_program_cannot_be_created(client):
    collection = client.create_collection(
        "own", embedding_function=lambda input: np.ones((len(input), 2))
    )
    collection.add(ids="a", documents="a")
    reported = asked(Views(session_of(client)), "collection", collection=str(collection.id))[
        "function"
    ]
    assert not reported["usable"] and "program" in reported["why"]
