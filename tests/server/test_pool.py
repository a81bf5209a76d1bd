"""The threads of a server: what waits for them, what is given up, and what is kept of it."""

import asyncio
import contextlib
import gc
import threading
import weakref

import pytest

from retrieval_store.server.limits import BusyError, GoneError, Pool, WaitedTooLongError
from tests.helpers import PATIENCE


async def never():
    await asyncio.Event().wait()


async def at_once():
    return None


@pytest.fixture
def pool():
    """One thread, and room for two calls that wait."""
    pools = Pool(1, 2)
    yield pools
    pools.close()


@contextlib.asynccontextmanager
async def busy(pool):
    """While the body runs, the thread is busy; gives the task that waits for it, and what ends
    it."""
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
    """What a call holds."""

    def __call__(self):
        raise AssertionError("it isn't begun")


@pytest.mark.parametrize(
    ("gone", "seconds", "error"),
    [(at_once, PATIENCE, GoneError), (never, 0.01, WaitedTooLongError)],
    ids=["client gone", "waited too long"],
)
def test_nothing_is_kept_of_a_call_that_is_given_up(pool, gone, seconds, error):
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


def test_a_call_that_is_not_awaited_any_more_and_waits_is_not_begun(pool):
    async def main():
        async with busy(pool):
            for _ in range(5):
                task = asyncio.ensure_future(pool.run(Body(), never, PATIENCE))
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
        assert await pool.run(int, never, PATIENCE) == 0

    asyncio.run(main())


def test_it_may_be_used_on_several_loops_at_once():
    pool = Pool(2, 1_000)

    def asks():
        async def main():
            return await asyncio.gather(*(pool.run(int, never, PATIENCE) for _ in range(100)))

        assert asyncio.run(main()) == [0] * 100

    threads = [threading.Thread(target=asks) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(PATIENCE)

    async def fills():
        async with busy(pool):  # as many as there may be: none was forgotten
            calls = [pool.run(int, never, PATIENCE) for _ in range(1_001)]
            return await asyncio.gather(*calls)

    assert asyncio.run(fills()) == [0] * 1_001
    pool.close()
