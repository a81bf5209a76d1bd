"""How an event loop reaches a server: over connections of our own, by httpx, or by threads."""

import asyncio

import numpy as np
import pytest

import retrieval_store
from retrieval_store import AsyncClient
from retrieval_store.errors import (
    IDAlreadyExistsError,
    InvalidArgumentError,
    UnavailableError,
)
from retrieval_store.served.asynchronous import AsyncConnection
from retrieval_store.server import running


def parts_of(client):
    """Host and port of a served store."""
    address = client._session.store.address
    return {"host": address.host, "port": address.port}


@pytest.fixture
def by_http(monkeypatch):
    """What is asked by HTTP, since the server gives no connections of our own."""
    used = []
    by_http = AsyncConnection._by_http

    async def noted(self, request):
        used.append(request)
        return await by_http(self, request)

    async def refused(*_):
        return False

    monkeypatch.setattr(AsyncConnection, "_by_http", noted)
    monkeypatch.setattr(AsyncConnection, "_agreed", refused)
    return used


@pytest.mark.parametrize("has_httpx", [True, False])
async def test_by_http_all_is_as_over_connections_of_our_own(
    served, by_http, monkeypatch, has_httpx
):
    if not has_httpx:
        monkeypatch.setattr("retrieval_store.served.asynchronous._httpx", lambda: None)
    things = served.create_collection("things", embedding_function=None)
    things.add(ids=["a"], embeddings=[[1, 2]])
    async with await retrieval_store.AsyncHttpClient(**parts_of(served)) as client:
        there = await client.get_collection("things", None)
        counts = await asyncio.gather(*(there.count() for _ in range(20)))
        assert counts == [1] * 20
        assert (await there.get())["ids"] == ["a"]
        with pytest.raises(IDAlreadyExistsError):
            await there.add(ids="a", embeddings=[[1, 2]])
    assert len(by_http) == 23


async def test_what_is_large_or_takes_long_needs_no_httpx(served, monkeypatch):
    monkeypatch.setattr("retrieval_store.served.asynchronous._httpx", lambda: None)
    async with AsyncClient(url=served._session.store.address.url) as client:
        things = await client.create_collection("things", embedding_function=None)
        vectors = np.random.default_rng(1).normal(size=(5_000, 1_000)).astype(np.float32)
        await things.add([str(i) for i in range(len(vectors))], embeddings=vectors)
        found = await things.get(include=["embeddings"])
        assert np.array_equal(found["embeddings"], vectors)
        assert "milliseconds" in await things.warm()
        await things.fork("forked")


async def test_an_address_where_nothing_is_or_can_be(monkeypatch):
    monkeypatch.setattr("retrieval_store.served.attempts.PATIENCE", 0.0)
    with pytest.raises(UnavailableError):
        await retrieval_store.AsyncHttpClient(port=9)
    with pytest.raises(InvalidArgumentError, match="port"):
        await retrieval_store.AsyncHttpClient(port=0)


async def test_over_ipv6_it_has_connections_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("retrieval_store.served.asynchronous._httpx", lambda: 1 / 0)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with running(tmp_path / "store", host="::1") as url:
        port = int(url.rpartition(":")[2])
        async with await retrieval_store.AsyncHttpClient("::1", port) as client:
            assert await client.count_collections() == 0
