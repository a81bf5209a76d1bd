"""`AsyncHttpClient`: the same answers, and a loop that goes on meanwhile."""

import asyncio
import gc
import inspect

import numpy as np
import pytest

import retrieval_store
from retrieval_store.errors import (
    ClientClosedError,
    IDAlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from retrieval_store.served.asynchronous import AsyncConnection
from retrieval_store.server import running


def parts_of(client):
    """Host and port of a served store."""
    address = client._session.store.address
    return {"host": address.host, "port": address.port}


async def test_what_is_asked_is_answered_as_by_a_client(served):
    async with await retrieval_store.AsyncHttpClient(**parts_of(served)) as client:
        things = await client.create_collection("things", embedding_function=None)
        result = await things.add(
            ["a", "b", "c"],
            embeddings=np.eye(3),
            documents=["a river", "b", None],
            metadatas=[{"n": i} for i in range(3)],
        )
        assert result == {"left_out": []}
        await things.upsert("d", [[1, 1, 1]], documents="rivers")
        await things.update(ids="a", metadatas={"n": 7})
        here = served.get_collection("things", embedding_function=None)
        assert await things.get() == here.get()
        assert await things.get(order_by="n", limit=2) == here.get(order_by="n", limit=2)
        query = {"query_embeddings": np.eye(3), "n_results": 2, "where": {"n": {"$gte": 1}}}
        assert await things.query(**query) == here.query(**query)
        assert await things.count({"n": 7}) == 1
        assert (await things.peek(1))["ids"] == ["a"]
        assert await things.delete(ids=["a", "zz"]) == {"deleted": 1}
        assert here.count() == await things.count() == 3
        with pytest.raises(IDAlreadyExistsError):
            await things.add(ids="b", embeddings=[[1, 2, 3]])
        assert [one.name for one in await client.list_collections()] == ["things"]
        assert await client.count_collections() == 1
        await client.delete_collection("things")
        with pytest.raises(NotFoundError):
            await things.count()
        assert await client.heartbeat() > 0
    with pytest.raises(ClientClosedError):
        await things.count()


async def test_texts_are_embedded_by_the_caller(served):
    async with await retrieval_store.AsyncHttpClient(**parts_of(served)) as client:
        notes = await client.get_or_create_collection("notes", embedding_function=letters)
        await notes.add(ids=["a", "z"], documents=["aaaa", "zzzz"])
        assert (await notes.query(query_texts="aza", n_results=1))["ids"] == [["a"]]


def letters(texts):
    """Where the letters of texts lie in the alphabet."""
    return np.array([[text.count("a"), text.count("z")] for text in texts], np.float32)


async def test_calls_go_on_beside_each_other_and_beside_the_loop(served):
    things = served.create_collection("things", embedding_function=None)
    things.add(ids=[str(i) for i in range(500)], embeddings=np.ones((500, 4)))
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async with await retrieval_store.AsyncHttpClient(**parts_of(served)) as client:
        there = await client.get_collection("things")
        ticking = asyncio.create_task(tick())
        found = await asyncio.gather(*(there.get(ids=[str(i)]) for i in range(100)))
        ticking.cancel()
    assert [one["ids"] for one in found] == [[str(i)] for i in range(100)]
    assert ticks > 10


async def test_a_call_that_is_cancelled_leaves_the_client_as_it_was(served):
    served.create_collection("things", embedding_function=None)
    async with await retrieval_store.AsyncHttpClient(**parts_of(served)) as client:
        there = await client.get_collection("things")
        for delay in (0, 0, 0.001, 0.002):
            call = asyncio.create_task(there.get())
            await asyncio.sleep(delay)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            assert await there.count() == 0


async def test_where_the_server_gives_no_connection_of_our_own_httpx_is_taken(served, monkeypatch):
    things = served.create_collection("things", embedding_function=None)
    things.add(ids=["a"], embeddings=[[1, 2]])
    used = []
    by_http = AsyncConnection._by_http

    async def noted(self, request):
        used.append(request)
        return await by_http(self, request)

    async def refused(*_):
        return False

    monkeypatch.setattr(AsyncConnection, "_by_http", noted)
    monkeypatch.setattr(AsyncConnection, "_agreed", refused)
    async with await retrieval_store.AsyncHttpClient(**parts_of(served)) as client:
        there = await client.get_collection("things")
        assert (await there.get())["ids"] == ["a"]
        with pytest.raises(IDAlreadyExistsError):
            await there.add(ids="a", embeddings=[[1, 2]])
    assert len(used) == 2


async def test_a_cluster_is_refused(monkeypatch):
    with pytest.raises(UnavailableError):
        monkeypatch.setattr("retrieval_store.served.attempts.PATIENCE", 0.0)
        await retrieval_store.AsyncHttpClient(port=9)
    with pytest.raises(InvalidArgumentError, match="port"):
        await retrieval_store.AsyncHttpClient(port=0)


def test_methods_have_the_parameters_of_the_others():
    for one, other in (
        (retrieval_store.AsyncCollection, retrieval_store.Collection),
        (retrieval_store.AsyncClient, retrieval_store.Client),
    ):
        for name, method in vars(one).items():
            if inspect.iscoroutinefunction(method) and not name.startswith("_") and name != "close":
                expected = inspect.signature(getattr(other, name)).parameters
                assert inspect.signature(method).parameters == expected, name
                assert method.__doc__ == getattr(other, name).__doc__


async def test_over_ipv6_it_has_connections_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("retrieval_store.served.asynchronous._httpx", lambda: 1 / 0)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with running(tmp_path / "store", host="::1") as url:
        port = int(url.rpartition(":")[2])
        async with await retrieval_store.AsyncHttpClient("::1", port) as client:
            assert await client.count_collections() == 0


async def _made(served):
    return await retrieval_store.AsyncHttpClient(**parts_of(served))


# What the first loop held can't be closed any more.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_client_goes_on_in_a_second_loop(served):
    made = asyncio.run(_made(served))
    for _ in range(2):
        assert asyncio.run(made.count_collections()) == 0
    del made
    gc.collect()  # which warns here, where that is expected
