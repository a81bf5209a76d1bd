"""Writes to a cluster in many requests are sent in order, each while the next is prepared."""

import threading
from contextlib import closing

import numpy as np
import pytest

import retrieval_store
from retrieval_store.errors import NotFoundError, UnavailableError
from retrieval_store.extension import PointBatch, Vectors
from retrieval_store_cluster.copying import pages as copying
from retrieval_store_cluster.write import AHEAD, Sending
from tests.helpers import PATIENCE, inside
from tests.helpers.qdrant_server import Server
from tests.helpers.tuned import tuned

PAGE, MANY = 20, 200
IDS = [f"p{i}" for i in range(MANY)]


@pytest.fixture
def server(monkeypatch):
    tuned(monkeypatch, cluster_pauses=(0, 0, 0), copied_pages=PAGE)
    with closing(Server(shards=2, seed=3)) as server:
        yield server


@pytest.fixture
def target(server):
    with closing(server.client()) as qdrant:
        yield retrieval_store.Client(qdrant_client=qdrant)


def source():
    store = retrieval_store.Client()
    things = store.create_collection("things", embedding_function=None)
    things.add(IDS, np.arange(MANY)[:, None], documents=[f"river {i}" for i in range(MANY)])
    return store


def failing(server, first):
    """Writes fail from the n-th on."""
    writes = []

    def fault(number, method, path):
        if path.endswith("/points/batch"):
            writes.append(number)
        return "500" if path.endswith("/points/batch") and len(writes) >= first else None

    server.faults = fault


def test_requests_are_prepared_while_another_is_sent_and_sent_in_order():
    sent, begun, may_go_on = [], threading.Event(), threading.Event()

    def send(request):
        begun.set()
        assert may_go_on.wait(PATIENCE)
        sent.append(request)

    with Sending(send) as sending:
        given = [sending.add(i) for i in range(AHEAD)]
        assert begun.wait(PATIENCE)
        assert sent == []
        assert not given[0].done()
        may_go_on.set()
        given += [sending.add(i) for i in range(AHEAD, 9)]
        given[-1].result(PATIENCE)
    assert sent == list(range(9))


@pytest.mark.parametrize("first", [1, 2, 5])
def test_an_interrupted_copy_has_the_first_points_and_is_resumed_in_order(
    server, target, tmp_path, first
):
    with retrieval_store.Client(tmp_path) as kept:
        source().copy_to(kept)
        failing(server, first)
        with pytest.raises(UnavailableError):
            kept.copy_to(target)
        server.faults = None
        there = target.get_collection("things", embedding_function=None)
        assert there.get()["ids"] == IDS[: PAGE * (first - 1)]
        kept.copy_to(target)
        assert there.get()["ids"] == IDS
        assert there.get(IDS)["documents"] == [f"river {i}" for i in range(MANY)]


def test_batches_are_reported_in_order_once_durable(server, target):
    made = target.create_collection("things", embedding_function=None)
    points = inside.named(target, "things")
    rows = np.arange(MANY, dtype=np.float32)[:, None]
    batches = [
        PointBatch(IDS[i : i + PAGE], {"": Vectors(rows[i : i + PAGE], None)}, None, None, None)
        for i in range(0, MANY, PAGE)
    ]
    reported = 0
    for result in points.put_each(batches, copying.WHOLE):
        reported += result.inserted
        assert made.get(include=[])["ids"][:reported] == IDS[:reported]
    assert reported == MANY
    again = [result.updated for result in points.put_each(batches, copying.WHOLE)]
    assert again == [PAGE] * len(batches)
    assert made.get(include=[])["ids"] == IDS


def test_a_collection_replaced_meanwhile_accepts_no_more_writes(server, target):
    target.create_collection("things", embedding_function=None)
    points = inside.named(target, "things")

    def batches():
        for i in range(0, MANY, PAGE):
            if i == 5 * PAGE:
                target.delete_collection("things")
                target.create_collection("things", embedding_function=None)
            yield PointBatch([IDS[i]], {"": Vectors(np.ones((1, 1), np.float32), None)})

    with pytest.raises(NotFoundError):
        list(points.put_each(batches(), copying.WHOLE))
    assert target.get_collection("things", embedding_function=None).count() == 0
