"""The limits over gRPC; slow, large or abandoned calls don't block others."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from qdrant_client import grpc as q

import grpc
from integrations.server.tests.grpc.calling import (
    UNLIMITED,
    Calls,
    calls,
    code,
    count,
    make_collection,
    point,
    refusal,
    upsert,
    within,
)
from retrieval_store_server.http.settings import ServerLimits
from tests.helpers import PATIENCE

MUST, FILTER = 2, 4  # numbers of fields; a request has its filter in the second, too
FEW = ServerLimits(
    body=100_000, bodies=250_000, body_seconds=0.4, threads=2, queue=2, queue_seconds=5.0
)


@contextmanager
def calling(**limits):
    with calls(limits=replace(FEW, **limits)) as found:
        make_collection(found)
        yield found


@pytest.fixture
def few():
    with calling() as found:
        yield found


@contextmanager
def held_up(few):
    """While the body runs, calls to count points wait for it; `begun` counts them."""
    go_on, begun = threading.Event(), threading.Semaphore(0)
    embedded = few.application.served.embedded
    counted = embedded.count

    def slow(*args, **kwargs):
        begun.release()
        assert go_on.wait(30)
        return counted(*args, **kwargs)

    embedded.count = slow
    try:
        yield begun, go_on
    finally:
        go_on.set()
        del embedded.count


def counting(few, **more):
    return few.points.Count.future(q.CountPoints(collection_name="c"), **more)


def test_a_message_that_is_too_large_is_refused_and_nothing_written(few):
    large = upsert(point(text="a" * 100_000))
    assert code(few.points.Upsert, large) == "RESOURCE_EXHAUSTED"
    assert code(few.points.Upsert, upsert(point(text="a" * 90_000))) == "OK"
    assert count(few) == 1


def test_so_is_one_that_inflates_beyond_the_limit(few):
    address = f"127.0.0.1:{few.url.grpc_port}"
    gzip = grpc.Compression.Gzip
    with grpc.insecure_channel(address, options=UNLIMITED, compression=gzip) as channel:
        packed = Calls(channel)
        assert code(packed.points.Upsert, upsert(point(text="a" * 90_000))) == "OK"
        bomb = upsert(point(2, text="a" * 50_000_000))
        assert code(packed.points.Upsert, bomb) == "RESOURCE_EXHAUSTED"
    assert count(few) == 1


def test_a_large_message_may_declare_its_time_limit():
    with calling(request_seconds=1e-6) as few:
        some = [q.PointId(num=i) for i in range(13_500)]
        condition = q.Condition(has_id=q.HasIdCondition(has_id=some))
        for timeout, expected in ((None, "DEADLINE_EXCEEDED"), (60, "OK")):
            sent = q.CountPoints(
                collection_name="c", filter=q.Filter(must=[condition]), timeout=timeout
            )
            assert len(sent.SerializeToString()) > 64 * 1024
            assert code(few.points.Count, sent) == expected


def test_a_message_that_does_not_arrive_times_out_and_blocks_no_other(few):
    silent = threading.Event()

    def nothing():
        silent.wait(PATIENCE)
        yield from ()

    with ThreadPoolExecutor(8) as threads:
        slow = few.channel.stream_unary("/qdrant.Points/Count")
        # The number that is read at once, plus one.
        reports = [threads.submit(refusal, slow, nothing(), timeout=PATIENCE) for _ in range(3)]
        assert few.qdrant.HealthCheck(q.HealthCheckRequest(), timeout=PATIENCE).title
        assert {one.result()[0] for one in reports} == {"DEADLINE_EXCEEDED"}
        silent.set()
    assert count(few) == 0


def test_calls_without_a_key_hold_up_none_with_one():
    """Health needs no key; incomplete health messages take no resources from other calls."""
    silent = threading.Event()

    def nothing():
        silent.wait(PATIENCE)
        yield from ()

    with calls(limits=replace(FEW, body_seconds=30.0), keys=("secret",)) as few:
        names = ("/qdrant.Qdrant/HealthCheck", "/grpc.health.v1.Health/Check")
        slow = [few.channel.stream_unary(name) for name in names]
        with ThreadPoolExecutor(24) as threads:
            reports = [threads.submit(refusal, one, nothing(), timeout=20) for one in slow * 12]
            time.sleep(0.3)
            known = Calls(few.channel, api_key="secret")
            began = time.monotonic()
            assert code(known, "Collections/List", timeout=5) == "OK"
            assert code(HealthStub(few.channel).Check, HealthCheckRequest(), timeout=5) == "OK"
            assert time.monotonic() - began < 3
            silent.set()
            codes = {one.result()[0] for one in reports}
    # All arrive at once then, and some may be too many for the short queue.
    assert "OK" in codes <= {"OK", "RESOURCE_EXHAUSTED"}


def test_one_that_waits_is_answered_in_its_turn_and_too_many_are_refused(few):
    with held_up(few) as (begun, go_on):
        waiting = [counting(few) for _ in range(4)]
        assert begun.acquire(timeout=PATIENCE)
        time.sleep(0.2)  # until all four have come
        with pytest.raises(grpc.RpcError) as refused:
            few.points.Count(q.CountPoints(collection_name="c"))
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert ("retry-after", "1") in [tuple(one) for one in refused.value.trailing_metadata()]
        assert few.qdrant.HealthCheck(q.HealthCheckRequest(), timeout=PATIENCE).title
        go_on.set()
        assert [one.result().result.count for one in waiting] == [0] * 4


def test_calls_that_wait_too_long_are_not_started(few):
    with held_up(few) as (begun, go_on):
        busy = [counting(few) for _ in range(2)]
        assert begun.acquire(timeout=PATIENCE) and begun.acquire(timeout=PATIENCE)
        request = q.CountPoints(collection_name="c", timeout=1)
        message = refusal(few.points.Count, request, timeout=PATIENCE)
        assert message == ("DEADLINE_EXCEEDED", "no thread became free in time; nothing was done")
        go_on.set()
        assert [one.result().result.count for one in busy] == [0, 0]
        assert not begun.acquire(blocking=False)


@pytest.mark.parametrize("how", ["deadline", "cancelled"])
def test_waiting_calls_of_disconnected_clients_are_not_started(few, how):
    with held_up(few) as (begun, go_on):
        busy = [counting(few) for _ in range(2)]
        assert begun.acquire(timeout=PATIENCE) and begun.acquire(timeout=PATIENCE)
        sent = upsert(point())
        write = few.points.Upsert.future(sent, timeout=0.5 if how == "deadline" else PATIENCE)
        time.sleep(0.2)
        if how == "cancelled":
            write.cancel()
        else:
            with pytest.raises(grpc.RpcError) as late:
                write.result()
            assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        time.sleep(0.3)  # until the server has noticed it
        go_on.set()
        assert [one.result().result.count for one in busy] == [0, 0]
    assert count(few) == 0
    (counted,) = (
        number
        for name, number, _ in few.application.served.rpc_monitor.counts()
        if name == "/qdrant.Points/Upsert"
    )
    assert counted == grpc.StatusCode.CANCELLED.value[0]


def test_calls_under_way_are_answered_before_the_end():
    with ThreadPoolExecutor(1) as threads, calling() as few, held_up(few) as (begun, go_on):
        waiting = counting(few)
        assert begun.acquire(timeout=PATIENCE)
        few.application.begin_end()
        time.sleep(0.3)
        assert code(few.points.Count, q.CountPoints(collection_name="c")) == "UNAVAILABLE"
        threads.submit(lambda: (time.sleep(0.2), go_on.set()))
        assert waiting.result(timeout=PATIENCE).result.count == 0


@pytest.mark.parametrize(
    ("depth", "answer"),
    [(20, "OK"), (40, "OK"), (60, "INVALID_ARGUMENT"), (10_000, "INVALID_ARGUMENT")],
)
def test_depth_is_bounded(few, depth, answer):
    filter_ = q.Filter(must=[{"has_id": {"has_id": [{"num": 1}]}}]).SerializeToString()
    for _ in range(depth):  # no message can be made that is as deep
        filter_ = within(MUST, within(FILTER, filter_))
    query = q.CountPoints(collection_name="c").SerializeToString() + within(MUST, filter_)
    assert code(few, "Points/Count", query) == answer


def test_the_message_of_a_refusal_fits_into_a_header(few):
    name = "ü😀" * 100
    request = q.CountPoints(collection_name=name)
    assert code(few.points.Count, request) == "NOT_FOUND"
    request = q.ScrollPoints(collection_name="c", offset=q.PointId(uuid="😀" * 20_000))
    assert code(few.points.Scroll, request) == "INVALID_ARGUMENT"
