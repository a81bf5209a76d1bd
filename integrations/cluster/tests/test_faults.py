"""A server that dies, stalls, answers in part or fails at each call in turn. Nothing is lost
silently or stored twice, and every read is correct or an error."""

from contextlib import closing

import httpx
import numpy as np
import pytest
from qdrant_client import QdrantClient

import retrieval_store
from retrieval_store import errors
from tests.helpers.qdrant_server import Server
from tests.helpers.tuned import tuned

FAULTS = ["refuse", "stall", "lose", "half", "500", "500 after"]
IDS = [f"p{i:02}" for i in range(40)]


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch):
    tuned(monkeypatch, cluster_pauses=(0.0, 0.0, 0.0), cluster_request_bytes=5_000, cluster_page=16)


class User:
    """A user who fills, changes and reads a collection, and repeats failed calls as the error says:
    by upsert instead of add."""

    def __init__(self, qdrant):
        self.client = retrieval_store.Client(qdrant_client=qdrant)
        self.truth = {}  # id → number
        self.failures = 0

    def again(self, do):
        while True:
            try:
                return do()
            except errors.ClusterError as error:
                assert "Tonic" not in str(error)
                self.failures += 1

    def lives(self):
        self.things = self.again(
            lambda: self.client.get_or_create_collection("things", embedding_function=None)
        )
        self.write(IDS, range(40))
        self.write(IDS[30:], range(100, 110))
        self.again(lambda: self.things.update(IDS[0], metadatas={"n": 77}))
        self.truth[IDS[0]] = 77
        self.check()
        self.again(lambda: self.things.delete(where={"n": {"$gte": 90}}))
        self.truth = {one: n for one, n in self.truth.items() if n < 90}
        self.check()

    def write(self, ids, numbers):
        numbers = list(numbers)
        self.again(
            lambda: self.things.upsert(
                ids=ids,
                embeddings=np.array(numbers, float)[:, None],
                metadatas=[{"n": n} for n in numbers],
            )
        )
        self.truth.update(zip(ids, numbers, strict=True))

    def check(self):
        found = self.again(lambda: self.things.get(include=["metadatas"]))
        numbers = [metadata["n"] for metadata in found["metadatas"]]
        assert dict(zip(found["ids"], numbers, strict=True)) == self.truth
        assert found["ids"] == sorted(self.truth)
        assert self.again(self.things.count) == len(self.truth)
        some = self.again(lambda: self.things.get(where={"n": {"$lt": 10}}, include=[]))
        assert some["ids"] == [one for one in sorted(self.truth) if self.truth[one] < 10]
        near = self.again(lambda: self.things.query(query_embeddings=[[3.0]], n_results=3))
        assert near["ids"][0][0] == "p03"


def lived(faults):
    """How often a user got an error, and how many requests there were."""
    server = Server(shards=2, seed=7)
    server.faults = faults
    with closing(server), closing(server.client()) as qdrant:
        user = User(qdrant)
        user.lives()
        return user.failures, len(server.requests)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_single_failure_of_any_call_is_invisible(fault):
    _, requests = lived(None)
    for nth in range(1, requests + 1, 6):
        failures, _ = lived(lambda number, method, path, nth=nth: fault if number == nth else None)
        assert failures == 0


@pytest.mark.parametrize("fault", FAULTS)
def test_many_failures_are_reported_and_failed_calls_can_be_repeated(fault):
    _, requests = lived(None)
    for nth in range(1, requests + 1, 8):
        failures, _ = lived(
            lambda number, method, path, nth=nth: fault if nth <= number < nth + 9 else None
        )
        assert failures > 0


def behind(server, times):
    """A client of a node that learns of new vectors `times` requests for points late."""
    left = {"times": times}

    def answered(request):
        asks = request.url.path.endswith(("/query/batch", "/points/batch", "/scroll", "/points"))
        if asks and b'"embedding"' in request.content and left["times"] > 0:
            left["times"] -= 1
            error = "Wrong input: Not existing vector name error: embedding"
            return httpx.Response(400, json={"status": {"error": error}, "time": 0.0})
        return server.transport().handler(request)

    return QdrantClient(url="http://qdrant", transport=httpx.MockTransport(answered))


@pytest.mark.parametrize("times", [1, 2])
def test_a_node_that_has_not_heard_of_the_first_write_has_nothing_to_find(times):
    server = Server()
    with closing(server), closing(server.client()) as qdrant:
        here = retrieval_store.Client(qdrant_client=qdrant).create_collection(
            "things", embedding_function=None
        )
        here.add(ids=["a"], embeddings=[[1.0]], documents=["a river"])
        for read in (
            lambda there: there.query(query_embeddings=[[1.0]])["ids"] == [[]],
            lambda there: there.get(include=["embeddings"])["ids"] == ["a"],
            lambda there: there.get("a", include=["embeddings"])["ids"] == ["a"],
            lambda there: (
                there.query(query_texts="river", mode="text", include=["embeddings"])["ids"]
                == [["a"]]
            ),
        ):
            with closing(behind(server, 1)) as late:
                there = retrieval_store.Client(qdrant_client=late).get_collection("things")
                assert read(there)
        with closing(behind(server, times)) as late:
            there = retrieval_store.Client(qdrant_client=late).get_collection("things")
            there.add(ids=["b"], embeddings=[[2.0]])
        assert here.get(include=[])["ids"] == ["a", "b"]
        here.delete(ids=["b"])


def test_an_add_without_a_response_suggests_what_to_do():
    server = Server()
    with closing(server), closing(server.client()) as qdrant:
        things = retrieval_store.Client(qdrant_client=qdrant).create_collection(
            "things", embedding_function=None
        )
        server.faults = lambda number, method, path: "lose" if "/points/batch" in path else None
        with pytest.raises(errors.ClusterTimeoutError, match="upsert, where it was add"):
            things.add(ids=IDS, embeddings=np.zeros((40, 1)))
        server.faults = None
        with pytest.raises(errors.IDAlreadyExistsError):
            things.add(ids=IDS, embeddings=np.zeros((40, 1)))
        things.upsert(ids=IDS, embeddings=np.zeros((40, 1)))
        assert things.get(include=[])["ids"] == IDS
