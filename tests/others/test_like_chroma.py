"""Behaviour that code written for Chroma relies on, compared with chromadb itself."""

import chromadb
import numpy as np
import pytest

import retrieval_store
from retrieval_store.errors import InvalidArgumentError, InvalidMetadataError, NotFoundError

TEXTS = ["the cat sleeps", "a dog barks", "cats and dogs"]
VECTORS = [[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]]


def filled(client, name="things"):
    collection = client.create_collection(name, embedding_function=None)
    metadatas = [{"n": 1}, {"n": 2}, {"n": 3}]
    collection.add(ids=["a", "b", "c"], embeddings=VECTORS, documents=TEXTS, metadatas=metadatas)
    return collection


@pytest.fixture
def theirs():
    client = chromadb.EphemeralClient(chromadb.Settings(anonymized_telemetry=False))
    yield filled(client, "like-chroma")
    client.delete_collection("like-chroma")


@pytest.mark.parametrize(
    "where",
    [
        {"#document": {"$contains": "cat"}},
        {"#document": {"$not_contains": "cat"}},
        {"$or": [{"#document": {"$contains": "barks"}}, {"n": {"$gt": 2}}]},
        {"$and": [{"#document": {"$contains": "s"}}, {"n": {"$lt": 3}}]},
    ],
)
def test_a_document_condition_may_be_part_of_where(client, theirs, where):
    ours = filled(client)
    assert ours.get(where=where)["ids"] == theirs.get(where=where)["ids"] != []


def test_the_documents_key_is_no_key_of_metadata(client, theirs):
    ours = filled(client)
    for collection, error in ((ours, InvalidMetadataError), (theirs, Exception)):
        with pytest.raises(error, match="metadata"):
            collection.add(ids=["m"], embeddings=[[1, 1]], metadatas=[{"#document": "x"}])
        with pytest.raises((InvalidArgumentError, Exception), match=r"#document"):
            collection.get(where={"#document": "x"})


def test_embeddings_are_arrays(client, theirs):
    ours = filled(client)
    query = {"query_embeddings": [[1, 2], [5, 6]], "n_results": 2, "include": ["embeddings"]}
    found, expected = ours.query(**query)["embeddings"], theirs.query(**query)["embeddings"]
    assert isinstance(found, list) and len(found) == 2
    for mine, other in zip(found, expected, strict=True):
        assert isinstance(mine, np.ndarray) and isinstance(other, np.ndarray)
        assert mine.shape == (2, 2) and mine.dtype == np.float32
        np.testing.assert_allclose(mine, other)


@pytest.mark.parametrize("count", [0, -1])
def test_a_limit_below_1_is_refused(client, theirs, count):
    with pytest.raises(InvalidArgumentError, match=f"n_results is {count}, expected at least 1"):
        filled(client).query(query_embeddings=[[1, 2]], n_results=count)
    with pytest.raises(TypeError, match=f"results {count}"):
        theirs.query(query_embeddings=[[1, 2]], n_results=count)


def test_invalid_numbers_are_refused_and_not_lost(client):
    with pytest.raises(InvalidMetadataError, match=r"metadatas\[0\]\['v'\] is nan"):
        filled(client).add(ids=["n"], embeddings=[[1, 1]], metadatas=[{"v": float("nan")}])


@pytest.mark.embedded
def test_a_handle_of_a_deleted_collection_raises(tmp_path):
    for path in (None, tmp_path):
        with retrieval_store.Client(path) as client:
            things = filled(client)
            client.delete_collection("things")
            for call in (
                lambda things=things: things.metadata,
                lambda things=things: things.configuration,
                lambda things=things: things.modify(name="others"),
                things.count,
                things.get,
                lambda things=things: things.add(ids="x", embeddings=[1, 2]),
                lambda things=things: things.query(query_embeddings=[1, 2]),
            ):
                with pytest.raises(NotFoundError, match="does not exist"):
                    call()
            assert repr(things).startswith("<Collection 'things', id ")
