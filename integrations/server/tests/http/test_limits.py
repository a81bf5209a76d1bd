"""The limits of a server; slow, large or abandoned requests don't block others."""

import asyncio
import gzip
import json
import threading
import zlib
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import quote

import pytest

from integrations.server.tests.http.asked import Asking, scope_of
from retrieval_store_server import Application
from retrieval_store_server.http.settings import ServerLimits, ServerSettings
from tests.helpers import inside

POINTS = "/collections/c/points?wait=true"
COUNT = "/collections/c/points/count"
FEW = ServerLimits(
    body=100_000, bodies=250_000, body_seconds=0.2, threads=2, queue=2, queue_seconds=5.0
)


def asking(store=":memory:", **limits):
    ask = Asking(Application(store, ServerSettings(limits=replace(FEW, **limits))))
    assert ask("PUT", "/collections/c", {"vectors": {"size": 2, "distance": "Dot"}}).status == 200
    return ask


@pytest.fixture
def ask():
    asks = asking()
    yield asks
    asks.close()


def point(i=1, **more):
    return {"points": [{"id": i, "vector": [1, 2], **more}]}


def count(ask):
    return ask("POST", "/collections/c/points/count", {}).json["result"]["count"]


@contextmanager
def held_up(ask, times=1):
    """While the body runs, calls to count points wait for it; `begun` counts them."""
    go_on, begun = threading.Event(), threading.Semaphore(0)
    counted = ask.application.served.embedded.count

    def slow(*args, **kwargs):
        begun.release()
        assert go_on.wait(30)
        return counted(*args, **kwargs)

    ask.application.served.embedded.count = slow
    try:
        yield begun, go_on
    finally:
        go_on.set()
        del ask.application.served.embedded.count


async def counting(ask):
    return await ask.ask("POST", "/collections/c/points/count", b"{}", {})


def test_a_body_that_is_too_large_is_refused_and_nothing_written(ask):
    assert ask("PUT", POINTS, point(text="a" * 100_000)).status == 413
    assert ask("PUT", POINTS, point(payload={"text": "a" * 90_000})).status == 200
    assert count(ask) == 1


@pytest.mark.parametrize(
    ("encoding", "deflate"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_compressed_bodies_are_accepted(ask, encoding, deflate):
    sent = deflate(json.dumps(point()).encode())
    assert ask("PUT", POINTS, raw=sent, content_encoding=encoding).status == 200
    assert count(ask) == 1


def test_bodies_that_inflate_beyond_the_limit_are_refused(ask):
    sent = gzip.compress(json.dumps(point(payload={"text": "a" * 50_000_000})).encode())
    assert len(sent) < 100_000
    assert ask("PUT", POINTS, raw=sent, content_encoding="gzip").status == 413
    assert count(ask) == 0


@pytest.mark.parametrize("size", [100, 40_000])
def test_all_streams_of_a_body_are_read(ask, size):
    sent = json.dumps(point(payload={"text": "a" * 50_000})).encode()
    parts = [gzip.compress(sent[i : i + size]) for i in range(0, len(sent), size)]
    assert ask("PUT", POINTS, raw=b"".join(parts), content_encoding="gzip").status == 200
    assert count(ask) == 1


GZIP = gzip.compress(b"{}" * 1000, mtime=0)


@pytest.mark.parametrize(
    "sent",
    [b"not gzip", GZIP[:20], GZIP + b"more", GZIP + b"\0" * 100, GZIP + GZIP[:20]],
    ids=["other", "cut off", "other behind", "zeros behind", "cut off behind"],
)
def test_invalid_compressed_bodies_are_refused(ask, sent):
    assert ask("PUT", POINTS, raw=sent, content_encoding="gzip").status == 400
    assert ask("PUT", POINTS, raw=sent, content_encoding="zork").status == 415


NUMBERED = [
    ("GET", "/collections/c/points/N"),
    ("POST", "/collections/c/points/count?timeout=N", {}),
    ("POST", "/collections/c/points/count?consistency=N", {}),
    ("PUT", "/collections/c/points?timeout=N", {"points": [{"id": 1, "vector": [1, 2]}]}),
    ("GET", "/telemetry?details_level=N"),
]


def test_numbers_in_urls_are_of_64_bits(ask):
    for method, path, *body in NUMBERED:
        for number in (str(2**64), "9" * 5_000, "0" * 5_000, "-1", "1.0", "\u0661"):
            answer = ask(method, path.replace("N", quote(number)), *body)
            assert answer.status == 400, number
        assert ask(method, path.replace("N", str(2**64 - 1)), *body).status in (200, 404)


@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")])
def test_depth_is_bounded(ask, brackets):
    opening, closing = brackets
    for depth in (200, 5_000, 40_000 // len(opening)):
        deep = opening * depth + "1" + closing * depth
        sent = '{"points":[{"id":1,"vector":[1,2],"payload":{"a":' + deep + "}}]}"
        answer = ask("PUT", POINTS, raw=sent.encode())
        assert answer.status in (200, 400, 413, 422)
        filtered = '{"filter":' + '{"must":[' * depth + "]}" * depth + "}"
        assert ask("POST", "/collections/c/points/count", raw=filtered.encode()).status in (
            200, 400, 413, 422,
        )  # fmt: skip


def test_a_body_that_does_not_come_is_given_up(ask):
    come, went = [{"type": "http.request", "body": b"{", "more_body": True}], []

    async def receive():
        return come.pop() if come else await asyncio.Event().wait()

    async def send(message):
        went.append(message)

    scope = scope_of("PUT", POINTS, {"host": "localhost"})
    ask.loop.run_until_complete(ask.application(scope, receive, send))
    assert went[0]["status"] == 408


def test_one_that_waits_for_a_thread_is_answered_in_its_turn_and_too_many_are_refused(ask):
    async def all_at_once():
        with held_up(ask) as (begun, go_on):
            tasks = [asyncio.ensure_future(counting(ask)) for _ in range(5)]
            done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            (refused,) = done
            assert refused.result().status == 429
            assert int(refused.result().headers["retry-after"]) >= 1
            assert begun.acquire(timeout=5)
            go_on.set()
            return [one.status for one in await asyncio.gather(*waiting)]

    assert ask.loop.run_until_complete(all_at_once()) == [200] * 4


def test_health_is_answered_while_all_threads_are_busy(ask):
    async def look():
        with held_up(ask) as (_, go_on):
            busy = [asyncio.ensure_future(counting(ask)) for _ in range(4)]
            await asyncio.sleep(0)
            found = await asyncio.wait_for(ask.ask("GET", "/healthz", b"", {}), 5)
            go_on.set()
            await asyncio.gather(*busy)
            return found.status

    assert ask.loop.run_until_complete(look()) == 200


def test_a_queued_request_of_a_disconnected_client_is_not_started(ask):
    async def leave():
        with held_up(ask) as (begun, go_on):
            busy = [asyncio.ensure_future(counting(ask)) for _ in range(2)]
            while not begun.acquire(blocking=False):
                await asyncio.sleep(0.01)
            await ask.ask(
                "PUT", POINTS, json.dumps(point()).encode(), {}, leaves=True
            )  # which returns, unanswered
            go_on.set()
            await asyncio.gather(*busy)

    ask.loop.run_until_complete(leave())
    assert count(ask) == 0


@pytest.mark.parametrize(("limit", "path"), [(0.1, POINTS), (30.0, f"{POINTS}&timeout=1")])
def test_a_request_that_waited_too_long_is_not_started(limit, path):
    ask = asking(queue_seconds=limit)

    async def wait():
        with held_up(ask) as (begun, go_on):
            busy = [asyncio.ensure_future(counting(ask)) for _ in range(2)]
            while not begun.acquire(blocking=False):
                await asyncio.sleep(0.01)
            found = await ask.ask("PUT", path, json.dumps(point()).encode(), {})
            go_on.set()
            await asyncio.gather(*busy)
            return found.status

    assert ask.loop.run_until_complete(wait()) == 408
    assert count(ask) == 0
    ask.close()


def test_bodies_under_way_are_bounded_together(ask):
    async def all_at_once():
        large = json.dumps({"filter": {"should": [{"has_id": [*range(7_500)]}] * 2}}).encode()
        length = {"content_length": str(len(large))}

        def asked():
            return asyncio.ensure_future(
                ask.ask("POST", "/collections/c/points/count", large, length)
            )

        with held_up(ask) as (_, go_on):
            tasks = [asked() for _ in range(3)]
            done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            go_on.set()
            return [one.result().status for one in done], [
                one.status for one in await asyncio.gather(*waiting)
            ]

    assert ask.loop.run_until_complete(all_at_once()) == ([429], [200, 200])
    assert count(ask) == 0


def test_the_inflated_size_of_a_body_counts(ask):
    asking = inside.bodies(ask.application)
    with asking.account() as take:
        take(FEW.bodies - 50_000)
        compressed = gzip.compress(b"{}" + b" " * 60_000)
        assert ask("POST", COUNT, raw=compressed, content_encoding="gzip").status == 429
        assert ask("POST", COUNT, raw=b"{}" + b" " * 40_000).status == 200
        assert ask("POST", COUNT, raw=b"{}" + b" " * 60_000).status == 429
    assert ask("POST", COUNT, raw=compressed, content_encoding="gzip").status == 200


def test_a_closed_mounted_application_reports_it(ask):
    ask.application.close()
    for method, path in (("GET", "/collections"), ("GET", "/readyz"), ("PUT", POINTS)):
        assert ask(method, path, point() if method == "PUT" else None).status == 503
    assert ask("GET", "/healthz").status == 200


def test_streams_without_end_are_refused():
    sent = gzip.compress(b"") * 60_000
    ask = asking(body=2_000_000, bodies=2_000_000_000)
    assert ask("PUT", POINTS, raw=sent, content_encoding="gzip").status == 400
    large = gzip.compress(b" " * 1_500_000) * 2
    assert ask("PUT", POINTS, raw=large, content_encoding="gzip").status == 413
    ask.close()
