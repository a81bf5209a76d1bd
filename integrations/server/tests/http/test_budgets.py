"""The budget of a request: estimated before it runs, and stopped once nobody waits for it."""

import asyncio
import threading
import time

import numpy as np
import pytest

from integrations.server.tests.http.asked import Asking
from retrieval_store.errors import (
    RequestStoppedError,
    RequestTimeoutError,
    RequestTooLargeError,
    UnavailableError,
)
from retrieval_store.extension import Budget, LargeRequestError, RequestMemory
from retrieval_store_server import Application
from retrieval_store_server.http.pool import Pool, Turns
from retrieval_store_server.http.receiving import whole_body
from retrieval_store_server.http.settings import ServerLimits, ServerSettings
from tests.helpers import PATIENCE, inside

POINTS, DIMENSION, WIDE = 300, 4, 200
QUERY, MATRIX = "/collections/c/points/query", "/collections/c/points/search/matrix/pairs"
VECTOR = [1.0, 0.5, 0.25, 0.1]
WIDE_QUERY, WIDE_VECTOR = "/collections/wide/points/query", [0.5] * WIDE


def asking(**limits):
    ask = Asking(Application(":memory:", ServerSettings(limits=ServerLimits(**limits))))
    for name, size in (("c", DIMENSION), ("wide", WIDE)):
        ask("PUT", f"/collections/{name}", {"vectors": {"size": size, "distance": "Dot"}})
        rows = np.random.default_rng(0).normal(size=(POINTS, size)).tolist()
        points = [
            {"id": i, "vector": row, "payload": {"n": i, "note": "[{" * 20}}
            for i, row in enumerate(rows)
        ]
        assert ask("PUT", f"/collections/{name}/points?wait=true", {"points": points}).status == 200
    return ask


@pytest.fixture
def ask():
    """A server whose requests may need a megabyte each."""
    asks = asking(request_memory=1_000_000)
    yield asks
    asks.close()


def refusal(answer):
    assert answer.status == 400
    return answer.json["status"]["error"]


def test_pairs_are_counted_before_they_are_created(ask):
    message = refusal(ask("POST", MATRIX, {"sample": 300, "limit": 299}))
    assert message.startswith(
        "the request needs 89,700 pairs, of which a request may have some 1,17"
    )
    found = ask("POST", MATRIX, {"sample": 20, "limit": 10}).json["result"]["pairs"]
    assert len(found) == 200


def test_comparisons_are_counted_before_they_run(ask):
    def recommended(examples):
        recommend = {"positive": [VECTOR] * examples, "strategy": "best_score"}
        return ask("POST", QUERY, {"query": {"recommend": recommend}, "limit": 3})

    assert len(recommended(100).json["result"]["points"]) == 3
    message = refusal(recommended(500))
    assert message.startswith("the request needs 150,000 comparisons, of which a request may have")


def test_hits_are_counted_with_what_they_carry(ask):
    search = {"query": VECTOR, "limit": 300}
    several = {"searches": [search] * 10}
    message = refusal(ask("POST", f"{QUERY}/batch", several))
    assert message.startswith("the request needs 3,000 hits, of which a request may have some 2,")
    whole = {**search, "with_payload": True, "with_vector": True}
    assert len(ask("POST", QUERY, whole).json["result"]["points"]) == 300
    message = refusal(ask("POST", WIDE_QUERY, {**whole, "query": WIDE_VECTOR}))
    assert message.startswith("the request needs 300 vectors, of which a request may have some ")
    assert len(ask("POST", QUERY, search).json["result"]["points"]) == 300
    # With fewer hits than the limit, the actual number counts.
    near = {"query": VECTOR, "limit": 10**6, "filter": {"must": [{"has_id": [1, 2]}]}}
    found = ask("POST", f"{QUERY}/batch", {"searches": [near] * 10}).json["result"]
    assert [len(one["points"]) for one in found] == [2] * 10
    assert refusal(ask("POST", f"{QUERY}/batch", {"searches": [{}] * 101}))


def test_points_that_are_read_are_counted_with_what_they_carry(ask):
    for path, body in (
        (
            "/collections/wide/points/scroll",
            {"limit": 300, "with_payload": True, "with_vector": True},
        ),
        (
            "/collections/wide/points",
            {"ids": [*range(300)], "with_payload": True, "with_vector": True},
        ),
    ):
        message = refusal(ask("POST", path, body))
        assert (
            message.startswith("the request needs 30") and " vectors, of which a request" in message
        )
        body |= {"with_payload": False, "with_vector": False}
        assert ask("POST", path, body).status == 200


def test_a_filter_of_a_write_is_counted_and_nothing_is_written():
    ask = asking(request_steps=30_000)
    keys = [{"key": f"k{i}", "match": {"value": 1}} for i in range(200)]
    changes = {
        "/collections/c/points/delete": {"filter": {"should": keys}},
        "/collections/c/points/payload": {"filter": {"should": keys}, "payload": {"new": 1}},
    }
    for path, body in changes.items():
        message = refusal(ask("POST", f"{path}?wait=true", body))
        assert message.startswith("the request needs 200 keys in a filter, of which a request may")
    narrow = {"filter": {"must": [{"key": "n", "match": {"value": 7}}]}}
    assert ask("POST", "/collections/c/points/delete?wait=true", narrow).status == 200
    found = ask("POST", "/collections/c/points/count", {"exact": True}).json["result"]
    assert found == {"count": POINTS - 1}
    ask.close()


def test_keys_that_take_minutes_to_read_are_refused():
    ask = asking(request_steps=30_000)

    def filtered(keys, name="k"):
        conditions = [{"key": f"{name}{i}", "match": {"value": 1}} for i in range(keys)]
        return ask("POST", QUERY, {"query": VECTOR, "filter": {"should": conditions}})

    assert filtered(100).json["result"]["points"] == []
    message = refusal(filtered(200, "other"))
    assert message == (
        "the request needs 200 keys in a filter, of which a request may have some 100 here"
    )
    assert filtered(60, "third").status == 200  # so few are always allowed
    ask.close()


def test_lists_and_objects_of_a_read_are_counted_outside_of_texts(ask):
    sent = b'{"query": [%b[]]}' % (b"[]," * 100_000)
    answer = ask("POST", QUERY, raw=sent)
    assert answer.status == 413 and "more than 100,000 lists" in answer.json["status"]["error"]
    text = '\\"[{' * 60_000
    sent = '{"filter": {"must": [{"key": "note", "match": {"value": "' + text + '"}}]}}'
    assert ask("POST", QUERY, raw=sent.encode()).json["result"]["points"] == []


@pytest.mark.parametrize("text", [b'\\"', b"\\", b'\\"x', b'"\\'])
def test_a_text_without_an_end_is_scanned_once(ask, text):
    """In quadratic time this would never end."""
    sent = b'{"query": "' + text * 1_000_000 + b"[" * 200_000
    answer = ask("POST", QUERY, raw=sent)
    assert answer.status in (400, 413) and b"JSON" in answer.body


def test_the_time_of_a_read_ends_and_that_of_a_write_does_not():
    ask = asking(request_seconds=1e-6)
    for method, path, body in (("POST", QUERY, {"query": VECTOR}), ("POST", MATRIX, {})):
        answer = ask(method, path, body)
        assert answer.status == 408
        assert answer.json["status"]["error"] == (
            "Timeout: Timeout error: Operation 'Search' timed out after 1e-06 seconds"
        )
        assert ask(method, f"{path}?timeout=60", body).status == 200
    ask.close()


def test_requests_share_the_memory_of_all():
    ask = asking(memory=1_000_000)
    answer = ask("POST", MATRIX, {"sample": 300, "limit": 299})
    assert answer.status == 503 and "try again" in answer.json["status"]["error"]
    together = RequestMemory(100)
    with Budget(PATIENCE, 1_000, together):
        inside.taking.take(80, "things")
        with pytest.raises(UnavailableError):
            together.take(30)
    together.take(100)
    ask.close()


def test_large_reads_that_block_others_restart_elsewhere():
    waiting = True
    with Budget(PATIENCE, 1 << 40, RequestMemory(1 << 40), lambda: waiting):
        inside.taking.take(1_000_000, "things")
        with pytest.raises(LargeRequestError):
            inside.taking.take(30_000_000, "things")
        waiting = False
        inside.taking.take(30_000_000, "things")


def test_large_requests_that_wait_for_each_other_are_answered():
    ask = asking(threads=1)
    body = b'{"searches": [%b]}' % b",".join([b'{"query": [1, 1, 1, 1], "limit": 300}'] * 300)

    async def together():
        queries = [ask.ask("POST", f"{QUERY}/batch", body, {}) for _ in range(4)]
        return await asyncio.gather(*queries)

    answers = ask.loop.run_until_complete(together())
    assert {one.status for one in answers} == {200}
    assert len({str(one.json["result"]) for one in answers}) == 1
    ask.close()


class Waits:
    """A call that runs until it is stopped."""

    def __init__(self):
        self.began, self.ended = threading.Event(), []

    def __call__(self):
        self.began.set()
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                inside.taking.check()
            except (RequestStoppedError, RequestTimeoutError) as error:
                self.ended.append(type(error))
                raise
            time.sleep(0.001)


def test_a_call_of_a_disconnected_client_is_cancelled():
    pool, call = Pool(1, 2), Waits()

    async def leave():
        gone = asyncio.Event()
        given = Budget(PATIENCE, 1_000, RequestMemory(1_000))
        task = asyncio.ensure_future(pool.run(call, gone.wait, PATIENCE, given))
        await asyncio.to_thread(call.began.wait, PATIENCE)
        gone.set()
        with pytest.raises(RequestStoppedError):
            await task

    asyncio.run(leave())
    assert call.ended == [RequestStoppedError]
    pool.close()


def test_a_call_that_nobody_awaits_is_cancelled():
    """As gRPC cancels the calls of disconnected clients."""
    pool, call = Pool(1, 2), Waits()

    async def cancel():
        given = Budget(PATIENCE, 1_000, RequestMemory(1_000))
        task = asyncio.ensure_future(pool.run(call, asyncio.Event().wait, PATIENCE, given))
        await asyncio.to_thread(call.began.wait, PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    pool.close()
    assert call.ended == [RequestStoppedError]


def test_a_failed_read_leaves_nothing_in_memory(ask):
    """Errors in reference cycles would keep the request's memory until a garbage collection."""
    import gc

    body = {"query": WIDE_VECTOR, "limit": 300, "with_payload": True, "with_vector": True}
    refusal(ask("POST", WIDE_QUERY, body))
    gc.collect()
    gc.disable()
    try:
        refusal(ask("POST", WIDE_QUERY, body))
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        kept = [one for one in gc.garbage if isinstance(one, RequestTooLargeError)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not kept


def test_few_large_bodies_are_received_at_once():
    async def received():
        turns, sizes = Turns(1), []
        parts = [{"type": "http.request", "body": b"x" * (1 << 20), "more_body": True}] * 2
        last = {"type": "http.request", "body": b"", "more_body": False}

        async def body(turn):
            come = [*parts, last]

            async def receive():
                return come.pop(0)

            found = await whole_body(receive, {}, 1 << 24, PATIENCE, lambda size: None, turn)
            sizes.append(len(found))

        with turns.turn() as turn:
            await body(turn)
            with turns.turn() as other:
                waits = asyncio.ensure_future(body(other))
                await asyncio.sleep(0.01)
                assert not waits.done()
                await body(None)  # a write doesn't wait
        assert sizes == [2 << 20] * 2
        waits.cancel()
        async with asyncio.timeout(PATIENCE):
            with turns.turn() as turn:
                await body(turn)

    asyncio.run(received())
