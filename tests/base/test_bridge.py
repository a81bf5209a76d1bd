"""How an event loop waits for code that isn't asynchronous."""

import asyncio
import contextvars
import gc
import threading
from contextlib import suppress

import pytest

from retrieval_store.base import bridge
from retrieval_store.base.threads import Threads
from tests.helpers import PATIENCE

told = contextvars.ContextVar("told", default="nothing")


@pytest.fixture
async def threads():
    assert bridge.is_available()
    made = Threads(4)
    yield made
    await made.settle()
    made.end()


def test_elsewhere_aside_is_a_plain_call():
    assert bridge.aside(threading.get_ident) == threading.get_ident()
    assert bridge.made_aside(lambda one, *, by: one * by)(3, by=4) == 12
    assert not bridge.is_on_loop()


async def test_what_is_awaited_comes_back_whatever_it_is(threads):
    async def given(value):
        await asyncio.sleep(0)
        if isinstance(value, Exception):
            raise value
        return value

    def call():
        for value in (1, (), (1,), (1, 2), None):
            assert bridge.wait_for(given(value)) == value
        with pytest.raises(ValueError, match="no"):
            bridge.wait_for(given(ValueError("no")))
        assert bridge.is_on_loop()
        aside = bridge.aside(lambda: (threading.get_ident(), bridge.is_on_loop()))
        assert aside[0] != threading.get_ident() and aside[1] is False
        return ()

    assert await bridge.run(call, threads) == ()
    with pytest.raises(ZeroDivisionError):
        await bridge.run(lambda: 1 / 0, threads)


async def test_both_sides_share_one_context(threads):
    async def seen():
        return told.get()

    def call():
        assert told.get() == "by the task"
        token = told.set("by the call")
        assert bridge.wait_for(seen()) == bridge.aside(told.get) == "by the call"
        bridge.sleep(0)
        told.reset(token)

    told.set("by the task")
    await asyncio.gather(*(bridge.run(call, threads) for _ in range(5)))
    assert told.get() == "by the task"


async def test_a_cancelled_call_unwinds_from_where_it_waits(threads):
    done = []

    def call():
        try:
            bridge.sleep(PATIENCE)
        finally:
            bridge.sleep(0)  # what it lets go of may have to be waited for, too
            done.append("let go")

    task = asyncio.create_task(bridge.run(call, threads))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["let go"]


def test_a_call_whose_loop_has_ended_unwinds():
    assert bridge.is_available()
    done = []

    def call():
        try:
            bridge.sleep(PATIENCE)
        finally:
            done.append("let go")
            bridge.sleep(PATIENCE)

    running = bridge.run(call, Threads(1))

    async def begin():
        running.send(None)

    asyncio.run(begin())
    running.close()
    assert done == ["let go"]


async def test_long_calls_have_half_of_the_threads_and_go_in_turn(threads):
    go_on, begun = threading.Event(), []

    def long(number):
        begun.append(number)
        assert go_on.wait(PATIENCE)
        return number

    tasks = [
        asyncio.create_task(threads.run(lambda number=n: long(number), is_long=True))
        for n in range(7)
    ]
    async with asyncio.timeout(PATIENCE):
        while len(begun) < 2:
            await asyncio.sleep(0)
        assert (
            await asyncio.gather(*(threads.run(lambda: "short") for _ in range(9))) == ["short"] * 9
        )
    assert sorted(begun) == [0, 1]
    tasks[3].cancel()
    await asyncio.sleep(0)
    go_on.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[3], asyncio.CancelledError) and 3 not in begun
    assert [one for i, one in enumerate(found) if i != 3] == [0, 1, 2, 4, 5, 6]
    assert await threads.run(lambda: "once more", is_long=True) == "once more"


async def test_errors_of_long_calls_are_kept_by_nobody(threads):
    class Error(Exception):
        pass

    def fail():
        raise Error

    gc.collect()
    gc.disable()
    try:
        for is_long in (True, False):
            with suppress(Error):
                await threads.run(fail, is_long=is_long)
        async with asyncio.timeout(PATIENCE):
            while any(type(one) is Error for one in gc.get_objects()):
                await asyncio.sleep(0)  # a thread may not have let go of what it has just done
    finally:
        gc.enable()
