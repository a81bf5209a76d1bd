"""Using a server from an event loop."""

import asyncio
import contextlib
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import retrieval_store
from retrieval_store import AsyncClient
from retrieval_store.errors import IDAlreadyExistsError, InvalidArgumentError, UnavailableError
from retrieval_store_server import running
from tests.helpers import PATIENCE, inside
from tests.helpers.tuned import tuned


def parts_of(client):
    """Host and port of a served store."""
    address = inside.store(client).address
    return {"host": address.host, "port": address.port}


async def test_many_calls_wait_at_once(served):
    things = served.create_collection("things", embedding_function=None)
    things.add(ids=["a"], embeddings=[[1, 2]])
    async with await retrieval_store.AsyncHttpClient(**parts_of(served)) as client:
        there = await client.get_collection("things", None)
        counts = await asyncio.gather(*(there.count() for _ in range(100)))
        assert counts == [1] * 100
        assert (await there.get())["ids"] == ["a"]
        with pytest.raises(IDAlreadyExistsError):
            await there.add(ids="a", embeddings=[[1, 2]])


async def test_large_and_slow_responses_are_awaited(served):
    async with AsyncClient(url=inside.store(served).address.url) as client:
        things = await client.create_collection("things", embedding_function=None)
        vectors = np.random.default_rng(1).normal(size=(5_000, 1_000)).astype(np.float32)
        await things.add([str(i) for i in range(len(vectors))], embeddings=vectors)
        found = await things.get(include=["embeddings"])
        assert np.array_equal(found["embeddings"], vectors)
        assert found["embeddings"].flags.writeable
        assert "milliseconds" in await things.warm()
        await things.fork("forked")


class Proxy(BaseHTTPRequestHandler):
    """Forwards requests, and frames the responses differently."""

    protocol_version = "HTTP/1.1"

    def passed_on(self):
        with contextlib.closing(HTTPConnection(*self.server.behind, timeout=PATIENCE)) as there:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            there.request(self.command, self.path, body, dict(self.headers))
            answer = there.getresponse()
            body = answer.read()
        if not self.server.in_chunks:
            self.wfile.write(b"HTTP/1.0 %d Passed on\r\n\r\n" % answer.status + body)
            self.close_connection = True
            return
        self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
        self.wfile.write(b"HTTP/1.1 %d OK\r\nTransfer-Encoding: chunked\r\n\r\n" % answer.status)
        for i in range(0, len(body), 1_000):
            piece = body[i : i + 1_000]
            self.wfile.write(b"%X;x=y\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\nTrailer: x\r\n\r\n")

    do_GET = do_POST = passed_on  # noqa: N815

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def proxy(behind, in_chunks):
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        server.daemon_threads, server.block_on_close = True, False
        server.behind, server.in_chunks = behind, in_chunks
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("in_chunks", [True, False], ids=["in chunks", "up to the end"])
async def test_a_proxy_may_frame_answers_as_it_likes(served, tmp_path, in_chunks):
    things = served.create_collection("things", embedding_function=None)
    ids = [f"p{i}" for i in range(100)]
    things.add(ids=ids, embeddings=[[i, 1] for i in range(100)], documents=["long " * 50] * 100)
    with proxy(tuple(parts_of(served).values()), in_chunks) as url:
        with retrieval_store.Client(url=url) as client:
            there = client.get_collection("things", embedding_function=None)
            assert there.get() == things.get()
            assert len(list(there.iterate(batch=30))) == 100
            there.snapshot(tmp_path / "s.zip")
        retrieval_store.restore(tmp_path / "s.zip", tmp_path / "again")
        async with AsyncClient(url=url) as client:
            there = await client.get_collection("things", None)
            assert await there.get() == things.get()
            with pytest.raises(IDAlreadyExistsError):
                await there.add(ids="p1", embeddings=[[1, 2]])
            assert await asyncio.gather(*(there.count() for _ in range(10))) == [100] * 10


async def test_an_address_where_nothing_is_or_can_be(monkeypatch):
    tuned(monkeypatch, server_patience=0.0)
    with pytest.raises(UnavailableError):
        await retrieval_store.AsyncHttpClient(port=9)
    with pytest.raises(InvalidArgumentError, match="port"):
        await retrieval_store.AsyncHttpClient(port=0)


async def test_a_proxy_of_the_environment_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with running(tmp_path / "store", host="::1") as url:
        port = int(url.rpartition(":")[2])
        async with await retrieval_store.AsyncHttpClient("::1", port) as client:
            assert await client.count_collections() == 0
