"""The threads of a server: its queue, stopped calls, and the memory that they keep."""

import asyncio
import contextlib
import gc
import threading
import weakref

import pytest
from qdrant_client import models

from retrieval_store.errors import ClientClosedError
from retrieval_store_server.http.pool import (
    MAX_KINDS,
    BusyError,
    GoneBeforeBegunError,
    Pool,
    WaitedTooLongError,
    Workers,
)
from retrieval_store_server.http.shapes import cost_class_of
from tests.helpers import PATIENCE, inside


async def never():
    await asyncio.Event().wait()


async def at_once():
    return None


@pytest.fixture
def pool():
    """One thread, and room for two queued calls."""
    pools = Pool(1, 2)
    yield pools
    pools.close()


@contextlib.asynccontextmanager
async def busy(pool):
    """While the body runs, the thread is busy; yields the queued task, and the function that frees
    the thread."""
    begun, end = threading.Event(), threading.Event()

    def call():
        begun.set()
        assert end.wait(PATIENCE)

    task = asyncio.ensure_future(pool.run(call, never, PATIENCE))
    assert await asyncio.to_thread(begun.wait, PATIENCE)
    try:
        yield task, end
    finally:
        end.set()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Body:
    """An object that a call holds."""

    def __call__(self):
        raise AssertionError("it isn't begun")


@pytest.mark.parametrize(
    ("gone", "seconds", "error"),
    [(at_once, PATIENCE, GoneBeforeBegunError), (never, 0.01, WaitedTooLongError)],
    ids=["client gone", "waited too long"],
)
def test_a_cancelled_call_leaves_nothing_in_memory(pool, gone, seconds, error):
    async def main():
        async with busy(pool):
            for _ in range(2):
                body = Body()
                kept = weakref.ref(body)
                with pytest.raises(error):
                    await pool.run(body, gone, seconds)
                del body
                gc.collect()
                assert kept() is None

    asyncio.run(main())


def test_a_call_that_is_not_awaited_any_more_counts_until_it_is_done(pool):
    async def main():
        async with busy(pool) as (task, end):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            waiting = [asyncio.ensure_future(pool.run(int, never, PATIENCE)) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(BusyError):
                await pool.run(int, never, PATIENCE)
            end.set()
            assert await asyncio.gather(*waiting) == [0, 0]
        assert await pool.run(int, never, PATIENCE) == 0

    asyncio.run(main())


@contextlib.contextmanager
def workers():
    """Workers whose reads have no limits."""
    some = Workers(2, 4, PATIENCE, 1 << 30, 1 << 30, 1 << 30)
    try:
        yield some
    finally:
        some.close()


async def becomes_quick(some, kind):
    """Read until a read of this kind runs on the loop."""
    async with asyncio.timeout(PATIENCE):
        while await some.read(threading.get_ident, never, PATIENCE, None, kind=kind) != HERE:
            pass


HERE = threading.get_ident()


def read_by(some, call=threading.get_ident, **options):
    return some.read(call, never, PATIENCE, None, **options)


def test_reads_of_a_quick_kind_need_no_thread():
    async def main():
        with workers() as some:
            assert await read_by(some, kind="a") != HERE
            await becomes_quick(some, "a")
            assert await read_by(some, kind="b") != HERE  # others say nothing about it
            assert await read_by(some) != HERE

    asyncio.run(main())


def test_after_a_write_and_during_it_no_kind_is_quick():
    async def main():
        with workers() as some:
            await becomes_quick(some, "a")
            begun, end = threading.Event(), threading.Event()

            def write():
                begun.set()
                assert end.wait(PATIENCE)

            writing = asyncio.ensure_future(some.run(write, never, PATIENCE))
            assert await asyncio.to_thread(begun.wait, PATIENCE)
            assert await read_by(some, kind="a") != HERE
            end.set()
            await writing
            assert await read_by(some, kind="a") != HERE
            await becomes_quick(some, "a")

    asyncio.run(main())


def test_a_read_that_turns_out_to_be_large_continues_in_a_thread():
    at = []

    def large():
        at.append(threading.get_ident())
        inside.taking.take(2_000_000, "hits")
        return threading.get_ident()

    async def main():
        with workers() as some:
            await becomes_quick(some, "a")
            at.clear()
            assert await read_by(some, large, kind="a") != HERE
            assert at[0] == HERE
            assert len(at) == 2
            at.clear()
            assert await read_by(some, large, kind="a") != HERE
            assert len(at) == 1  # it isn't tried again

    asyncio.run(main())


def test_a_quick_read_raises_its_error_and_is_refused_after_the_end():
    def wrong():
        raise LookupError("none")

    async def main():
        with workers() as some:
            await becomes_quick(some, "a")
            with pytest.raises(LookupError, match="none"):
                await read_by(some, wrong, kind="a")
            await becomes_quick(some, "a")
            some.close()
            with pytest.raises(ClientClosedError):
                await read_by(some, kind="a")

    asyncio.run(main())


def test_kinds_without_end_are_forgotten():
    async def main():
        with workers() as some:
            await becomes_quick(some, "a")
            for i in range(2 * MAX_KINDS):  # long ones aren't recorded
                await read_by(some, kind=i)
            assert await read_by(some, kind="a") != HERE  # it must prove itself again
            await becomes_quick(some, "a")

    asyncio.run(main())


def test_the_shape_of_a_read_decides_its_cost():
    def shape(limit=10, size=100, **given):
        return cost_class_of(models.QueryRequest(limit=limit, **given), size)

    def match(key, value):
        condition = models.FieldCondition(key=key, match=models.MatchValue(value=value))
        return models.Filter(must=[condition])

    assert shape(query=[1.0, 2.0]) == shape(query=[3.0, 4.0], limit=100)
    assert shape(filter=match("a", 1)) == shape(filter=match("a", 2))
    assert shape(filter=match("a", 1)) != shape(filter=match("b", 1))
    nested = models.Nested(key="l", filter=match("a", 1))
    within = models.Filter(must=[models.NestedCondition(nested=nested)])
    assert shape(filter=within) != shape(filter=match("a", 1))
    assert shape(size=100) != shape(size=10_000)
    assert shape(limit=101) is None
    assert shape(prefetch=models.Prefetch(limit=5)) is None
    assert cost_class_of(None, 0) == ()
