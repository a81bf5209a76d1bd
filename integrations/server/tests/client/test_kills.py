"""The server is killed repeatedly while clients write and read. Nothing that was acknowledged is
lost, nothing is stored twice or in part, and readers notice nothing."""

import random
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

import retrieval_store
from integrations.server.tests.http.serving import served
from retrieval_store.errors import UnavailableError
from tests.helpers import PATIENCE, free_port
from tests.helpers.tuned import tuned

pytestmark = pytest.mark.kills
EACH, DIMENSION = 3, 8


class Server:
    """A server that is killed and restarted, at one port."""

    def __init__(self, store, folder):
        self.store, self.folder = store, folder
        self.port = free_port()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def started(self):
        with served(self.store, "--port", self.port, cwd=self.folder) as (process, _):
            yield process

    def be_killed(self, times, draw):
        """Serve, and be killed `times` times, each at another moment."""
        for _ in range(times):
            with self.started() as process:
                time.sleep(draw.uniform(0.3, 2.0))
                process.kill()
                process.wait(PATIENCE)


class Writer(threading.Thread):
    """Adds batches of three points, and looks for those whose outcome is unknown."""

    def __init__(self, number, url, over):
        super().__init__()
        self.number, self.url, self.over = number, url, over
        self.acknowledged, self.unknown, self.wrong = [], 0, []

    def run(self):
        try:
            with retrieval_store.Client(url=self.url) as client:
                things = client.get_collection("things", embedding_function=None)
                batch = 0
                while not self.over.is_set():
                    self.write(things, batch)
                    batch += 1
        except Exception as error:
            self.wrong.append(error)

    def write(self, things, batch):
        ids = [f"{self.number}-{batch}-{i}" for i in range(EACH)]
        vectors = np.full((EACH, DIMENSION), batch, np.float32)
        try:
            things.add(ids=ids, embeddings=vectors, documents=ids)
        except UnavailableError as error:
            there = things.get(ids=ids)["ids"]
            if "nothing was written" in str(error):
                assert there == []
            assert there in ([], ids)
            self.unknown += 1
            if not there:
                return
        self.acknowledged += ids


class Reader(threading.Thread):
    """Sees ever more points, and no error."""

    def __init__(self, url, over):
        super().__init__()
        self.url, self.over = url, over
        self.counts, self.wrong = [0], []

    def run(self):
        try:
            with retrieval_store.Client(url=self.url) as client:
                things = client.get_collection("things", embedding_function=None)
                while not self.over.is_set():
                    self.counts.append(things.count())
                    assert self.counts[-1] >= self.counts[-2]
                    found = things.query(query_embeddings=np.zeros((1, DIMENSION)), n_results=3)
                    assert len(found["ids"][0]) == min(3, self.counts[-1]) or self.counts[-1] < 3
        except Exception as error:
            self.wrong.append(error)


def test_nothing_acknowledged_is_lost_and_nothing_exists_twice(tmp_path, monkeypatch):
    tuned(monkeypatch, server_patience=PATIENCE / 2)  # a busy machine is slow to start one
    server = Server(tmp_path / "store", tmp_path)
    with retrieval_store.Client(server.store) as client:
        client.create_collection("things", embedding_function=None)
    with server.started():
        over = threading.Event()
        writers = [Writer(i, server.url, over) for i in range(4)]
        reader = Reader(server.url, over)
        for thread in (*writers, reader):
            thread.start()
    server.be_killed(3, random.Random(0))
    with server.started():  # for those that wait for it
        over.set()
        for thread in (*writers, reader):
            thread.join(PATIENCE)
        assert [error for thread in (*writers, reader) for error in thread.wrong] == []
    acknowledged = sorted(one for writer in writers for one in writer.acknowledged)
    assert len(acknowledged) > EACH * len(writers)
    with retrieval_store.Client(server.store) as client:
        things = client.get_collection("things", embedding_function=None)
        assert sorted(things.get()["ids"]) == acknowledged
        assert all(one.problem is None for one in client.verify())
