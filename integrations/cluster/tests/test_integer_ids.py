"""Points with integer ids, as QdrantClient makes them, are named by their displayed ids, on a
cluster as in a directory."""

import pytest
from qdrant_client import models

import retrieval_store
from retrieval_store.errors import IDAlreadyExistsError
from retrieval_store.qdrant import QdrantClient

VECTORS = {7: [1.0, 0.0], 8: [0.8, 0.6], 9: [0.0, 1.0]}


@pytest.fixture
def both(cluster, tmp_path):
    """The same collection in a directory and on a cluster, the second copied from the first."""
    with QdrantClient(path=tmp_path) as qdrant:
        plane = models.VectorParams(size=2, distance=models.Distance.COSINE)
        qdrant.create_collection("numbers", plane)
        qdrant.upsert(
            "numbers",
            [models.PointStruct(id=i, vector=v, payload={"n": i}) for i, v in VECTORS.items()],
        )
    with retrieval_store.Client(tmp_path) as here:
        here.copy_to(cluster)
        yield [client.get_collection("numbers") for client in (here, cluster)]


def on_both(both, ask):
    here, there = map(ask, both)
    assert here == there
    return here


def test_ids_are_read_found_and_excluded_in_their_displayed_form(both):
    names = ["9", "x", "7", "07"]
    assert on_both(both, lambda numbers: numbers.get(names)["ids"]) == ["9", "7"]
    nearest = [1.0, 0.0]
    ids = on_both(both, lambda numbers: numbers.query(nearest, ids=["8", "9", "6"])["ids"])
    assert ids == [["8", "9"]]
    assert on_both(both, lambda numbers: numbers.query(like="7")["ids"]) == [["8", "9"]]
    assert on_both(both, lambda numbers: numbers.count(where={"n": {"$gt": 7}})) == 2
    found = on_both(both, lambda numbers: str(numbers.why(nearest, records="8"))[:20])
    assert found.startswith("8: found")


def test_records_are_changed_and_deleted_and_none_appears_twice(both):
    def change(numbers):
        numbers.update("7", metadatas={"n": 70})
        numbers.upsert(["8", "10"], [[0.6, 0.8], [1.0, 1.0]], [{"n": 80}, {"n": 100}])
        with pytest.raises(IDAlreadyExistsError, match="'9'|9"):
            numbers.add("9", [[1.0, 1.0]])
        numbers.delete(["9", "11"])
        left = numbers.get()
        return left["ids"], left["metadatas"]

    ids, metadatas = on_both(both, change)
    assert ids == ["7", "8", "10"]
    assert metadatas == [{"n": 70}, {"n": 80}, {"n": 100}]
