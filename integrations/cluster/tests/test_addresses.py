"""Several addresses of one cluster: nodes that are down, restart, or aren't ready."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_retrieval_store import RetrievalStore as ForLangChain
from llama_index.vector_stores.retrieval_store import RetrievalStoreVectorStore as ForLlamaIndex
from qdrant_client import QdrantClient

import retrieval_store
from retrieval_store import errors
from retrieval_store.__main__ import main
from retrieval_store_cluster.client import PAUSES, Cluster
from tests.helpers import steps
from tests.helpers.clocks import noted_pauses

NAMES = ("a", "b", "c")
URLS = [f"http://{name}.example:6333" for name in NAMES]
VERSION = {"title": "qdrant", "version": "1.20.0"}
COUNTED = {"time": 0.0, "status": "ok", "result": {"count": 7}}
DONE = {"time": 0.0, "status": "ok", "result": {"operation_id": 0, "status": "completed"}}
REFUSED = httpx.ConnectError("[Errno 111] Connection refused")
BROKEN = httpx.RemoteProtocolError("Server disconnected without sending a response.")


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """The pauses between attempts, which aren't made."""
    return noted_pauses(monkeypatch, "retries on a cluster")


class Three:
    """Three nodes; each answers, or fails in the way that `failing` names for it."""

    def __init__(self):
        self.failing, self.asked = {}, []
        self.before = lambda name: None

    def __call__(self, request):
        name = request.url.host.partition(".")[0]
        self.asked.append(name)
        self.before(name)
        failure = self.failing.get(name)
        if isinstance(failure, Exception):
            raise failure
        if failure is not None:
            return failure
        if request.url.path == "/":
            return httpx.Response(200, json=VERSION)
        return httpx.Response(200, json=COUNTED if "count" in request.url.path else DONE)

    def cluster(self):
        return Cluster.at(URLS, {"transport": httpx.MockTransport(self)})


def count(cluster):
    return cluster.call("count", "things", exact=True).count


@pytest.fixture
def nodes():
    return Three()


@pytest.fixture
def cluster(nodes):
    """A cluster with one earlier call, so its version is known."""
    made = nodes.cluster()
    assert count(made) == 7 and set(nodes.asked) == {"a"}
    nodes.asked.clear()
    return made


LATE = httpx.ConnectTimeout("late"), httpx.ReadTimeout("late")


def test_if_a_node_is_down_the_next_is_called_at_once_and_from_then_on(nodes, cluster, pauses):
    down = "a"
    for failure in (REFUSED, BROKEN, *LATE, httpx.Response(503)):
        nodes.failing = {down: failure}
        nodes.asked.clear()
        assert count(cluster) == count(cluster) == 7
        following = NAMES[(NAMES.index(down) + 1) % 3]
        assert nodes.asked == [down, following, following]
        down = following
    assert sum(pauses) == 0


def test_an_uncertain_write_is_repeated_with_the_next(nodes, cluster):
    nodes.failing["a"] = BROKEN
    cluster.call("delete", "things", points_selector=[1], wait=True)
    assert nodes.asked == ["a", "b"]


def test_where_all_are_down_each_is_tried_four_times_and_the_last_is_named(nodes, cluster, pauses):
    nodes.failing = dict.fromkeys(NAMES, REFUSED)
    with pytest.raises(errors.UnavailableError, match=r"\(one of 3 addresses\) can't be reached"):
        count(cluster)
    assert nodes.asked == [*NAMES] * (1 + len(PAUSES))
    assert [pause for pause in pauses if pause] == [*PAUSES]


def test_a_refused_request_is_not_sent_to_another_node(nodes, cluster):
    refusal = {"status": {"error": "Wrong input: no"}, "time": 0.0}
    nodes.failing["a"] = httpx.Response(400, json=refusal)
    with pytest.raises(errors.ClusterError, match=r"a\.example:6333 \(one of 3 addresses\) refuse"):
        count(cluster)
    assert nodes.asked == ["a"]


def test_a_pause_requested_by_a_node_applies_to_this_node(nodes, cluster, pauses):
    """The pause concerns the collection, not the node."""
    nodes.failing["a"] = httpx.Response(429, json=DONE, headers={"retry-after": "2"})
    with pytest.raises(errors.UnavailableError):
        count(cluster)
    assert set(nodes.asked) == {"a"} and set(pauses) == {2}


def test_threads_that_fail_at_once_leave_a_node_once(nodes, cluster):
    number = 8
    together = threading.Barrier(number)
    nodes.before = lambda name: together.wait() if name == "a" else None
    nodes.failing["a"] = REFUSED
    with ThreadPoolExecutor(number) as pool:
        assert list(pool.map(lambda _: count(cluster), range(number))) == [7] * number
    assert sorted(nodes.asked) == ["a"] * number + ["b"] * number


LISTED = ["http://127.0.0.1:1", "http://127.0.0.1:2"]


def test_a_client_takes_a_list_and_refuses_what_is_none():
    with (
        retrieval_store.Client(url=LISTED) as client,
        pytest.raises(errors.UnavailableError, match="one of 2 addresses"),
    ):
        client.list_collections()
    with pytest.raises(errors.InvalidArgumentError, match="url has no address"):
        retrieval_store.Client(url=[])
    with pytest.raises(errors.InvalidTypeError, match=r"url is 7 \(int\), expected the URL"):
        retrieval_store.Client(url=[LISTED[0], 7])


def test_adapters_and_commands_take_several(capsys, monkeypatch):
    with pytest.raises(errors.UnavailableError, match="one of 2 addresses"):
        ForLangChain(DeterministicFakeEmbedding(size=3), url=LISTED)
    with pytest.raises(errors.UnavailableError, match="one of 2 addresses"):
        ForLlamaIndex(url=LISTED)
    monkeypatch.setattr(sys, "argv", ["retrieval-store", "list", ",".join(LISTED)])
    assert main() == 1
    assert "one of 2 addresses" in capsys.readouterr().err


def test_a_forked_process_has_connections_of_its_own(monkeypatch):
    made = []

    def connect(**options):
        made.append(QdrantClient(**options))
        return made[-1]

    steps.replace(monkeypatch, "connect_to_cluster", connect)
    nodes = Three()
    cluster = Cluster.at(URLS, {"transport": httpx.MockTransport(nodes)})
    assert cluster.call("count", "things").count == 7 and len(made) == 3
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    for _ in range(2):
        assert cluster.call("count", "things").count == 7
    assert len(made) == 6 and len(set(map(id, made))) == 6
    cluster.close()
