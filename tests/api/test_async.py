"""`AsyncClient` and `AsyncCollection`: the results equal those of the synchronous classes, on every
kind of store, and the event loop isn't blocked.
"""

import asyncio
import copy
import gc
import inspect
import os
import pickle
import random
import re
import threading
import time
from contextlib import aclosing, asynccontextmanager, suppress

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient

import retrieval_store
from retrieval_store import AsyncClient, AsyncCollection, Client, Collection
from retrieval_store.base.threads import WAITING, WORKING
from retrieval_store.errors import (
    ClientClosedError,
    InvalidArgumentError,
    InvalidTypeError,
    NotFoundError,
    RetrievalStoreError,
    UnavailableError,
)
from tests.helpers import PATIENCE, inside
from tests.helpers.forks import in_child
from tests.helpers.qdrant_server import Server
from tests.helpers.qdrant_server.socket import serving
from tests.helpers.tuned import tuned
from tests.package.test_watching import provided

HERE, ELSEWHERE = ("memory", "disk"), ("served", "cluster", "given")
THREADS = "retrieval-store-calls"  # how the names of a client's threads begin
COUNT = 12


class Place:
    """A store, and the arguments of its clients: asynchronous and synchronous ones."""

    def __init__(self, kind, made, others):
        self.kind, self._made, self.others = kind, made, others

    def client(self, **options):
        return AsyncClient(**self._made(), **options)

    @asynccontextmanager
    async def both(self, **options):
        """An asynchronous and a synchronous client of the same store."""
        async with self.client(**options) as client:
            if self.kind == "memory":
                yield client, inside.calls(client).client
            else:
                with Client(**self.others) as other:
                    yield client, other


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from retrieval_store_server import running

    path = tmp_path_factory.mktemp("served")
    with running(str(path / "store"), durability="relaxed") as url:
        yield url


@pytest.fixture(scope="module")
def cluster_url():
    with serving() as url:
        yield url


def kinds_of(names):
    """Remote stores need the packages around the core."""
    marks = pytest.mark.others
    return [pytest.param(x, marks=marks) if x in ELSEWHERE else x for x in names]


@pytest.fixture(params=kinds_of([*HERE, *ELSEWHERE]))
def place(request, tmp_path):
    """An empty store of each kind. "given": a cluster, reached by the caller's own client."""
    kind = request.param
    if kind in HERE:
        given = {"path": None if kind == "memory" else tmp_path / "store"}
        yield Place(kind, lambda: given, given)
        return
    url = request.getfixturevalue("server" if kind == "served" else "cluster_url")
    yield Place(kind, lambda: _of_callers(url) if kind == "given" else {"url": url}, {"url": url})
    with Client(url=url, allow_reset=True) as client:
        client.reset()


def _of_callers(url):
    return {"qdrant_client": AsyncQdrantClient(url=url, check_compatibility=False)}


def only(*kinds):
    return pytest.mark.parametrize("place", kinds_of(kinds), indirect=True)


async def filled(client, count=COUNT, **options):
    things = await client.create_collection("things", embedding_function=None, **options)
    await things.add(
        [f"i{n}" for n in range(count)],
        embeddings=[[n, 1.0] for n in range(count)],
        metadatas=[{"n": n, "even": n % 2 == 0} for n in range(count)],
        documents=[f"a river of {n} miles" for n in range(count)],
    )
    return things


def without_place(error):
    return re.sub(r"at http://[\d.:]*\d|behind qdrant_client", "there", str(error))


def asking(one, other):
    """Calls two objects in the same way, and compares the results or the errors."""

    async def ask(name, *args, **named):
        try:
            expected = getattr(other, name)(*args, **named)
        except RetrievalStoreError as error:
            with pytest.raises(type(error)) as caught:
                await getattr(one, name)(*args, **named)
            assert without_place(caught.value) == without_place(error)
            return
        found = await getattr(one, name)(*args, **named)
        assert repr(found).replace("Async", "") == repr(expected)

    return ask


PUBLIC = [
    (cls, other, name)
    for cls, other in ((AsyncCollection, Collection), (AsyncClient, Client))
    for name in vars(other)
    if not name.startswith("_") and name != "write_behind"  # tasks write beside each other
]


@pytest.mark.parametrize(("cls", "other", "name"), PUBLIC)
def test_each_public_name_exists_with_the_same_parameters(cls, other, name):
    theirs, ours = getattr(other, name), getattr(cls, name)
    if isinstance(theirs, property):
        assert isinstance(ours, property) or inspect.iscoroutinefunction(ours)
        assert ours.__doc__
        return
    assert inspect.iscoroutinefunction(ours) or inspect.isasyncgenfunction(ours)
    assert inspect.signature(ours).parameters == inspect.signature(theirs).parameters
    assert ours.__qualname__ == f"{cls.__name__}.{name}"
    assert ours.__doc__ == theirs.__doc__ or name == "close"


def test_clients_take_the_same_arguments():
    for ours, theirs in (
        (AsyncClient, Client),
        (retrieval_store.AsyncHttpClient, retrieval_store.HttpClient),
    ):
        parameters = dict(inspect.signature(ours).parameters)
        assert parameters.pop("threads").default is None
        assert parameters == dict(inspect.signature(theirs).parameters)


@pytest.mark.elsewhere
@only(*HERE, *ELSEWHERE)
async def test_a_collection_answers_as_the_other_does(place):
    async with place.both() as (client, other):
        things = await filled(client)
        twin = other.get_collection("things", None)
        ask = asking(things, twin)
        assert things.name == "things" and things.id == twin.id
        assert await things.metadata() is None
        assert await things.configuration() == await things.configuration_json()
        assert await things.configuration() == twin.configuration
        assert await things.embedding_function() is twin.embedding_function is None
        await ask("count")
        await ask("count", {"n": {"$lt": 5}})
        await ask("get", ids=["i3", "i1"], include=["embeddings", "uris"])
        await ask("get", order_by="n", descending=True, limit=2)
        await ask("peek", 2)
        await ask("sample", 100, {"n": {"$lt": 5}})
        await ask("unknown_keys", {"nn": 5})
        await ask("facet", "even", {"n": {"$lt": 5}}, limit=1)
        await ask("query", query_embeddings=[[3, 1], [9, 1]], n_results=3, where={"even": True})
        await ask("query", query_texts="river 3", mode="text", n_results=2)
        await ask("query", query_texts="no function")
        await ask("query", query_embeddings=[[1]], n_results=0)
        await ask("why", query_embeddings=[[3, 1]], records=["i9"])
        await ask("create_index", "n", "float")
        await ask("create_index", "", None)
        assert (await things.explain(query_embeddings=[[3, 1]]))["points"] == COUNT
        assert (await things.stats())["points"] == COUNT
        assert "milliseconds" in await things.warm(["n"], text=True)
        assert "y" not in (await things.get())["ids"]
        rows = [{"id": "z", "embedding": [7, 7]}, {"id": "y", "embedding": [8, 7]}]
        assert await things.add_from(rows) == 2
        await things.upsert("z", [[1, 1]], documents="sea")
        await things.update("y", metadatas={"n": 3})
        reported = await things.update(where={"n": 3}, metadatas={"even": None})
        assert reported == {"left_out": [], "updated": 2}
        assert await things.delete(["i0", "i1", "nothing"]) == {"deleted": 2}
        assert (await things.get(["z", "y"]))["documents"] == ["sea", None]
        await ask("get")
        await ask("add", ids="z", embeddings=[[1, 2]])
        reported = await things.replace_own({"n": 3}, ["z", "new"], [[1, 2], [3, 4]])
        assert reported == {"left_out": [], "others": ["z"]} and things.data_loader is None
        await ask("delete")
        await things.modify(name="others", metadata={"a": 1})
        assert things.name == "others"
        assert await things.metadata() == {"a": 1}
        await things.optimize()
        if place.kind in ELSEWHERE:
            assert (await things.map(library="plotly")) is not None
        assert repr(things) == f"<AsyncCollection 'others', id {things.id}>"
        await client.delete_collection("others")
        with pytest.raises(NotFoundError):
            await things.count()


async def check_copies(client, things):
    async with AsyncClient() as copied:
        (reported,) = await client.copy_to(copied)
        assert reported.points == COUNT
        there = await copied.get_collection("things", None)
        assert await there.get() == await things.get()
    with Client() as copied:
        await client.copy_to(copied, "things")
        assert copied.count_collections() == 1


@pytest.mark.elsewhere
@only(*HERE, "served", "cluster")
async def test_a_client_answers_as_the_other_does(place, tmp_path):
    async with place.both(allow_reset=True) as (client, other):
        things = await filled(client, metadata={"a": 1})
        ask = asking(client, other)
        await ask("list_collections")
        await ask("list_collections", limit=0)
        await ask("count_collections")
        await ask("collection_names")
        await ask("get_collection", "things", None)
        await ask("get_or_create_collection", "things", embedding_function=None)
        await ask("get_collection_by_id", str(things.id), None)
        await ask("get_collection", "thongs")
        await ask("create_collection", "things", embedding_function=None)
        await ask("get_version")
        await ask("get_max_batch_size")
        assert (await client.stats())["points"] == COUNT
        assert all(one.problem is None for one in await client.verify())
        assert await client.heartbeat() > 0
        assert (await client.get_settings()).allow_reset
        assert client.path == other.path
        assert (client.tenant, client.database) == (other.tenant, other.database)
        if place.kind in ELSEWHERE:
            await check_copies(client, things)
        if place.kind != "cluster":
            await things.snapshot(tmp_path / "one.zip")
            await client.snapshot(tmp_path / "all.zip")
            retrieval_store.restore(tmp_path / "all.zip", tmp_path / "restored")
            async with AsyncClient(tmp_path / "restored", create=False) as restored:
                assert await restored.count_collections() == 1
            forked = await things.fork("forked")
            assert await forked.query([[3.0, 1.0]]) == await things.query([[3.0, 1.0]])
            assert await forked.get() == await things.get()
        await client.reset()
        await ask("count_collections")


@only("memory", "disk", "served", "cluster")
async def test_records_are_iterated(place):
    async with place.both() as (client, other):
        things = await filled(client)
        twin = other.get_collection("things", None)
        for batch in (5, 100):
            expected = [*twin.iterate(batch, where={"even": True})]
            assert [row async for row in things.iterate(batch, where={"even": True})] == expected
        with pytest.raises(InvalidArgumentError, match="batch"):
            await anext(things.iterate(batch=0))
        async with aclosing(things.iterate(batch=5)) as rows:
            first = await anext(rows)
            await things.delete(["i5"])  # which a copy still has, or what was read of a cluster
            assert len([first] + [row async for row in rows]) == COUNT


def hidden(path):
    return [one for one in os.listdir(path) if one.startswith(".")]


async def test_copies_go_when_iterators_do(tmp_path):
    async with AsyncClient(tmp_path) as client:
        things = await filled(client)
        before = hidden(tmp_path)
        rows, others = things.iterate(batch=5), things.iterate(batch=5)
        await anext(rows)
        await anext(others)
        assert len(hidden(tmp_path)) == len(before) + 2
        await rows.aclose()
        assert len(hidden(tmp_path)) == len(before) + 1
        del others
        await until(lambda: gc.collect() is not None and hidden(tmp_path) == before)
        last = things.iterate(batch=5)
        await anext(last)
    with pytest.raises(ClientClosedError):
        [row async for row in last]
    assert hidden(tmp_path) == before


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


async def test_nothing_is_opened_before_the_first_call(tmp_path, monkeypatch):
    client = AsyncClient(tmp_path / "store")
    assert client.path == tmp_path / "store" and not client.path.exists()
    assert repr(client) == "<AsyncClient, not open yet>"
    counts = await asyncio.gather(*(client.count_collections() for _ in range(20)))
    assert counts == [0] * 20
    assert repr(client) == f"<AsyncClient of the store at {client.path}>"
    await client.close()
    await client.close()
    with pytest.raises(ClientClosedError, match="store at"):
        await client.count_collections()
    unused = AsyncClient(tmp_path / "unused")
    await unused.close()
    with pytest.raises(ClientClosedError):
        await unused.heartbeat()
    assert not unused.path.exists()


async def test_errors_of_opening_come_with_the_first_call_and_then_it_is_tried_again(tmp_path):
    missing = AsyncClient(tmp_path / "store", create=False)
    with pytest.raises(NotFoundError):
        await missing.count_collections()
    with pytest.raises(NotFoundError):
        async with missing:
            pass
    late = AsyncClient(tmp_path / "store", create=False)
    with pytest.raises(NotFoundError):
        await late.count_collections()
    Client(tmp_path / "store").close()
    assert await late.count_collections() == 0
    await late.close()
    with pytest.raises(InvalidArgumentError, match="expected one of"):
        await AsyncClient(tmp_path, url="http://127.0.0.1").heartbeat()
    with pytest.raises(InvalidArgumentError, match="threads is 0"):
        AsyncClient(threads=0)


@pytest.mark.others
async def test_an_unreachable_server_is_reported_by_the_first_call(monkeypatch):
    tuned(monkeypatch, server_patience=0.0)
    client = AsyncClient(url="http://127.0.0.1:9")
    with pytest.raises(UnavailableError):
        await client.count_collections()
    await client.close()


@only("memory")
async def test_collections_are_equal_when_their_ids_are(place):
    async with place.client() as client:
        one, other = await filled(client), await client.get_collection("things", None)
        await client.create_collection("others", embedding_function=None)
        assert one == other and len({one, other}) == 1
        assert one != await client.get_collection("others", None)
        assert one
        for thing in (one, client):
            for duplicate in (copy.copy, pickle.dumps):
                with pytest.raises(InvalidTypeError, match="can't be copied, pickled"):
                    duplicate(thing)


@only("disk", "served", "cluster")
async def test_embedding_and_loading_wait_outside_of_the_loop(place):
    """Both wait for the loop, which runs only while they wait."""
    request, answered = threading.Event(), threading.Event()

    def embed(inputs):
        request.set()
        assert answered.wait(PATIENCE)
        return [[float(len(one)), 1.0] for one in inputs]

    async def answering():
        await until(request.is_set)
        answered.set()
        request.clear()

    async def beside(call):
        answered.clear()
        result, _ = await asyncio.gather(call, answering())
        return result

    async with place.client() as client:
        things = await client.create_collection(
            "things", embedding_function=embed, data_loader=load
        )
        await beside(things.add(["a"], documents=["four"]))
        await beside(things.upsert(["b"], uris=["memory:x"]))
        found = await beside(things.query(query_texts="five5", n_results=1))
        assert found["ids"] == [["a"]]

        def longest(query, documents):
            return [length for length, _ in embed(documents)]

        given = {"query_embeddings": [[4.0, 1.0]], "n_results": 1}
        rerank = retrieval_store.Rerank(longest, query="five5")
        found = await beside(things.query(**given, rerank=rerank))
        assert found["scores"] == [[4.0]]


def load(uris):
    return [None if uri is None else uri * 3 for uri in uris]


@only("disk", "served", "cluster")
async def test_reads_never_wait_for_writers(place):
    go_on = threading.Event()

    def embed(texts):
        assert go_on.wait(PATIENCE)
        return [[1.0, 2.0] for _ in texts]

    async with place.client(threads=2) as client:
        things = await client.create_collection("things", embedding_function=embed)
        writers = [asyncio.create_task(things.add(f"{n}", documents="x")) for n in range(6)]
        async with asyncio.timeout(PATIENCE):
            assert await asyncio.gather(*(things.count() for _ in range(6))) == [0] * 6
        go_on.set()
        await asyncio.gather(*writers)
        assert await things.count() == 6


@only("memory", "disk", "served", "cluster")
async def test_a_call_that_is_cancelled_is_done_as_a_whole_or_not_at_all(place):
    chance, size, batches = random.Random(5), 20, 8
    async with place.client(threads=3) as client:
        things = await client.create_collection("things", embedding_function=None)
        for n in range(batches):
            given = [f"{n}.{i}" for i in range(size)]
            call = asyncio.create_task(things.add(given, embeddings=np.ones((size, 8))))
            read = asyncio.create_task(things.get(limit=3))
            for _ in range(chance.randrange(40)):
                await asyncio.sleep(chance.choice((0, 0, 0.0003)))
            call.cancel()
            read.cancel()
            with suppress(asyncio.CancelledError):
                await call
                await read
        await things.add("last", embeddings=np.ones((1, 8)))
        await inside.calls(client).threads.settle()
        await until_same(things.count)
        there = set((await things.get(include=[]))["ids"])
        assert "last" in there
        whole = {one.partition(".")[0] for one in there - {"last"}}
        assert there == {f"{n}.{i}" for n in whole for i in range(size)} | {"last"}
        assert len(asyncio.all_tasks()) == 1
    await until(no_threads)


def no_threads():
    """Whether no client has threads, except those that another test has left behind."""
    gc.collect()
    return not [one for one in threading.enumerate() if one.name.startswith(THREADS)]


async def until_same(count):
    """A server may complete a cancelled call a little later."""
    before, same = -1, 0
    async with asyncio.timeout(PATIENCE):
        while same < 5:
            found = await count()
            same = same + 1 if found == before else 0
            before = found
            await asyncio.sleep(0.01)


async def test_a_cancelled_call_that_waits_for_a_thread_never_runs(tmp_path):
    go_on, made = threading.Event(), []

    def embed(texts):
        made.extend(texts)
        assert go_on.wait(PATIENCE)
        return [[1.0, 2.0] for _ in texts]

    client = AsyncClient(tmp_path, threads=2)
    things = await client.create_collection("things", embedding_function=embed)
    calls = [asyncio.create_task(things.add(f"{n}", documents=f"text {n}")) for n in range(3)]
    await until(lambda: made)
    for one in calls:
        one.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    closing = asyncio.create_task(client.close())
    await asyncio.sleep(0)
    assert not closing.done()  # it waits for the one that has begun
    go_on.set()
    await closing
    with Client(tmp_path) as other:
        assert other.get_collection("things", None).get()["ids"] == ["0"]
    assert "text 1" not in made


@only("served", "cluster", "given")
async def test_a_running_call_of_a_remote_store_completes_after_cancellation(place):
    begun, go_on = threading.Event(), threading.Event()

    def embed(texts):
        begun.set()
        assert go_on.wait(PATIENCE)
        return [[1.0, 2.0] for _ in texts]

    async with place.client() as client:
        things = await client.create_collection("things", embedding_function=embed)
        call = asyncio.create_task(things.add("a", documents="x"))
        await until(begun.is_set)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        go_on.set()
        await inside.calls(client).threads.settle()
        assert await things.count() == 1


@pytest.mark.parametrize(
    ("place", "bound"),
    [("memory", WORKING), pytest.param("served", WAITING, marks=pytest.mark.others)],
    indirect=["place"],
)
async def test_a_limited_number_of_calls_runs_at_once_and_others_wait(place, bound):
    running, go_on = set(), threading.Event()

    def embed(texts):
        running.update(texts)
        assert go_on.wait(PATIENCE)
        return [[1.0, 2.0] for _ in texts]

    async with place.client() as client:
        things = await client.create_collection("things", embedding_function=embed)
        await things.add("a", embeddings=[[1.0, 2.0]])
        queries = [asyncio.create_task(things.query(query_texts=f"{n}")) for n in range(bound + 3)]
        await until(lambda: len(running) == bound)
        await asyncio.sleep(0.05)
        assert len(running) == bound
        go_on.set()
        assert len(await asyncio.gather(*queries)) == bound + 3


@only("disk", "served", "cluster")
# What the first loop held can't be closed any more.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_client_works_in_a_second_loop(place):
    client = place.client()
    asyncio.run(filled(client))

    async def again():
        things = await client.get_collection("things", None)
        return await asyncio.gather(*(things.count() for _ in range(5)))

    for _ in range(2):
        assert asyncio.run(again()) == [COUNT] * 5
    asyncio.run(client.close())
    gc.collect()  # which warns here, where that is expected


@only("disk", "served")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_forked_child_works_independently(place):
    client = place.client()
    things = asyncio.run(filled(client))

    def write():
        assert asyncio.run(_written(things, "child")) == COUNT + 1

    assert in_child(write) == 0
    assert asyncio.run(_written(things, "parent")) == COUNT + 2
    asyncio.run(client.close())
    gc.collect()


async def _written(things, name):
    await things.add(name, embeddings=[[1.0, 2.0]])
    return await things.count()


@only("disk", "served", "cluster")
async def test_spans_of_calls_are_below_the_applications(place, monkeypatch):
    spans, provider = provided(monkeypatch)
    async with place.client() as client:
        things = await filled(client)
        spans.clear()
        with provider.get_tracer("application").start_as_current_span("request"):
            await asyncio.gather(*(things.query(query_embeddings=[[n, 1]]) for n in range(3)))
    request = spans.one("request")
    parents = [span.parent and span.parent.span_id for span in spans.named("query things")]
    assert parents.count(request.context.span_id) == 3  # others are a server's in this process


@pytest.mark.others
async def test_the_pause_before_another_attempt_is_awaited(monkeypatch):
    """The server is back only if the loop runs meanwhile."""
    loops, sleep = threading.get_ident(), time.sleep
    monkeypatch.setattr(
        "time.sleep", lambda s: sleep(s) if threading.get_ident() != loops else 1 / 0
    )
    with serving(server := Server()) as url:
        async with AsyncClient(url=url) as client:
            things = await filled(client)
            away = True
            server.faults = lambda number, method, path: "lose" if away else None

            async def mended():
                nonlocal away
                away = False

            counted = asyncio.create_task(things.count())
            await until(lambda: server.requests[-1:] != [])
            await asyncio.sleep(0.05)
            await mended()
            assert await counted == COUNT
    server.close()


@pytest.mark.others
async def test_a_passed_synchronous_client_is_called_in_threads():
    with serving() as url:
        given = QdrantClient(url=url, check_compatibility=False)
        async with AsyncClient(qdrant_client=given) as client:
            things = await filled(client)
            assert await things.count() == COUNT
        given.close()
        with pytest.raises(InvalidTypeError, match="expected a QdrantClient"):
            await AsyncClient(qdrant_client=7).heartbeat()


@pytest.mark.others
async def test_a_client_that_was_given_stays_open():
    with serving() as url:
        given = AsyncQdrantClient(url=url, check_compatibility=False)
        async with AsyncClient(qdrant_client=given) as client:
            await filled(client)
        assert len((await given.get_collections()).collections) == 1
        await given.close()


@pytest.mark.others
async def test_a_client_that_is_not_closed_ends_with_its_threads(tmp_path):
    client = AsyncClient(tmp_path)
    await filled(client)
    assert [one for one in threading.enumerate() if one.name.startswith(THREADS)]
    del client
    await until(no_threads)


@only("memory", "served")
async def test_a_function_that_raises_stop_iteration_is_an_error(place):
    def embed(texts):
        return [next(iter(())) for _ in texts]

    async with place.client() as client:
        things = await client.create_collection("things", embedding_function=embed)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await asyncio.wait_for(things.add("a", documents="a"), PATIENCE)


def test_a_misspelled_argument_is_refused_at_once():
    with pytest.raises(InvalidTypeError, match="'thread' is no argument of AsyncClient"):
        retrieval_store.AsyncClient(thread=3)
