"""Collections behave the same on all supported servers. Other servers are refused by their version,
and so are collections of older releases."""

from contextlib import closing

import numpy as np
import pytest

import retrieval_store
from retrieval_store import errors
from tests.helpers import inside
from tests.helpers.qdrant_server import Server

SERVED = ["1.18.3", "1.20.0", "1.21.0-dev"]


@pytest.fixture(params=SERVED)
def qdrant(request):
    server = Server(version=request.param)
    with closing(server.client()) as client:
        yield client
    server.close()


def test_a_collection_lives_its_life_on_each_version(qdrant):
    client = retrieval_store.Client(qdrant_client=qdrant)
    things = client.create_collection("things", {"hnsw": {"space": "ip"}}, embedding_function=None)
    other = retrieval_store.Client(qdrant_client=qdrant).get_collection("things")
    assert other.count() == 0
    assert other.get()["ids"] == []
    assert other.query(query_embeddings=[1.0, 0.0])["ids"] == [[]]
    things.add(
        ids=["a", "b", "c"],
        embeddings=[[1, 0], [0, 1], [1, 1]],
        documents=["the river bank", "a riverbank", None],
        metadatas=[{"t": "xyz", "n": 1}, {"t": "y"}, None],
    )
    assert other.count() == 3
    assert other.get(where_document={"$contains": "er b"})["ids"] == ["a"]
    assert other.get(where_document={"$not_contains": "riverb"})["ids"] == ["a", "c"]
    assert other.get(where={"n": {"$gte": 1}})["ids"] == ["a"]
    near = other.query(query_embeddings=[[2, 1]], n_results=2, include=["embeddings"])
    assert near["ids"] == [["c", "a"]]
    assert np.array_equal(near["embeddings"][0], [[1, 1], [1, 0]])
    assert other.query(query_texts="river", mode="text")["ids"] == [["a"]]
    with pytest.raises(errors.DimensionMismatchError):
        other.add(ids="d", embeddings=[[1, 2, 3]])
    other.update("c", embeddings=[[1, 1]], documents="new")
    things.modify(name="renamed")
    again = retrieval_store.Client(qdrant_client=qdrant).get_collection("renamed")
    assert again.get("c")["documents"] == ["new"]
    assert again.delete(where={"t": "y"}) == {"deleted": 1}
    client.delete_collection("renamed")
    assert qdrant.get_collections().collections == []
    assert client.list_collections() == []


OLDER = [
    {"order": "us", "apart": "0-points"},  # the points in a Qdrant collection of their own
    {"order": "ns"},  # in an order of nanoseconds …
    {"order": None},  # … which wasn't named at first
]


@pytest.mark.parametrize("kept", OLDER)
def test_a_collection_of_an_older_release_is_refused_by_name(cluster, kept):
    qdrant = inside.qdrant_client(cluster)
    held = cluster.create_collection("held", embedding_function=None)
    cluster.create_collection("things", embedding_function=None)
    metadata = qdrant.get_collection("things").config.metadata
    metadata["retrieval_store"] |= kept
    qdrant.update_collection("things", metadata=metadata)
    requests = [
        lambda one: one.get_collection("things"),
        lambda one: one.get_or_create_collection("things"),
        lambda one: one.create_collection("things"),
        lambda one: one.delete_collection("things"),
        lambda one: one.list_collections(),
        lambda one: one.count_collections(),
    ]
    for request in requests:
        other = retrieval_store.Client(qdrant_client=qdrant)
        with pytest.raises(errors.FormatError, match=r"'things'.*made by a release before 0\.2"):
            request(other)
    other = retrieval_store.Client(qdrant_client=qdrant)
    assert other.get_collection("held").count() == 0
    held.add(ids=["a"], embeddings=[[1.0]])  # others are as they were
    assert qdrant.collection_exists("things")


def test_a_collection_whose_maker_was_broken_off_is_completed(qdrant):
    client = retrieval_store.Client(qdrant_client=qdrant)
    client.create_collection("things", embedding_function=None)
    qdrant.delete_payload_index("things", "_retrieval_store.order")
    things = retrieval_store.Client(qdrant_client=qdrant).get_collection(
        "things", embedding_function=None
    )
    assert things.get()["ids"] == []
    things.add(ids=["a", "b"], embeddings=[[1], [2]])
    assert things.get()["ids"] == ["a", "b"]


@pytest.mark.parametrize("version", ["1.18.0", "1.20.0"])
def test_an_index_created_before_the_first_write_exists_after_it(version):
    server = Server(version=version, strict=True)
    with closing(server), closing(server.client()) as one:
        things = retrieval_store.Client(qdrant_client=one).create_collection(
            "things", embedding_function=None
        )
        things.create_index("k", "keyword")
        things.add(ids=["a", "b"], embeddings=[[1], [2]], metadatas=[{"k": "x"}, {"k": "y"}])
        server.requests.clear()
        fresh = retrieval_store.Client(qdrant_client=one).get_collection("things")
        assert fresh.get(where={"k": "x"})["ids"] == ["a"]
        assert not [path for _, path in server.requests if path.endswith("/index")]
        held = [one.get_collection(c.name) for c in one.get_collections().collections]
        assert [h.payload_schema["k"].data_type for h in held if h.points_count] == ["keyword"]
