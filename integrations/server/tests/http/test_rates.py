"""How many operations a minute strict mode allows, over HTTP and gRPC."""

import pickle

import grpc
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import UnexpectedResponse

from retrieval_store_server import running
from retrieval_store_server.http.refusals import RateLimited
from tests.helpers import PATIENCE
from tests.helpers.clocks import set_clock

PLANE = models.VectorParams(size=2, distance=models.Distance.DOT)
FILTERED = models.Filter(must=[models.FieldCondition(key="n", match=models.MatchValue(value=1))])
TOO_MANY = (ResourceExhaustedResponse, UnexpectedResponse, grpc.RpcError)


@pytest.fixture(params=[False, True], ids=["HTTP", "gRPC"])
def qdrant(request, tmp_path):
    with running(tmp_path / "store", durability="relaxed", grpc_port=0) as url:
        port = url.grpc_port
        client = QdrantClient(
            url=url,
            grpc_port=port,
            prefer_grpc=request.param,
            timeout=PATIENCE,
            check_compatibility=False,
        )
        client.create_collection("c", PLANE)
        yield client
        client.close()


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that moves only by hand."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    set_clock(monkeypatch, "rates of requests", clock)
    return clock


def put(qdrant, payloads):
    points = [
        models.PointStruct(id=i, vector=[1.0, float(i)], payload=payload)
        for i, payload in payloads.items()
    ]
    qdrant.upsert("c", points)


def strict(qdrant, **limits):
    config = models.StrictModeConfig(enabled=True, **limits)
    qdrant.update_collection("c", strict_mode_config=config)


def refused(call):
    with pytest.raises(TOO_MANY) as caught:
        call()
    error = caught.value
    if isinstance(error, UnexpectedResponse):
        assert error.status_code == 429
    elif isinstance(error, grpc.RpcError):
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return error


def test_reads_are_so_many_a_minute(qdrant, clock):
    put(qdrant, {1: {"n": 1}})
    strict(qdrant, read_rate_limit=3)
    for _ in range(3):
        qdrant.count("c")
    error = refused(lambda: qdrant.count("c"))
    assert isinstance(error, ResourceExhaustedResponse) and error.retry_after_s == 20
    put(qdrant, {2: None})  # writes have their own
    clock.now += 20.0
    qdrant.scroll("c")
    refused(lambda: qdrant.scroll("c"))
    clock.now += 600.0  # the bucket holds no more than a minute's
    qdrant.scroll("c", FILTERED)  # counts for the condition, too
    qdrant.retrieve("c", [1])
    refused(lambda: qdrant.retrieve("c", [1]))
    qdrant.create_collection("other", PLANE)
    assert qdrant.count("other").count == 0


def test_a_query_costs_a_token_for_each_example_also_in_prefetches(qdrant, clock):
    put(qdrant, {i: {"n": 1} for i in range(4)})
    strict(qdrant, read_rate_limit=6)
    ways = [models.Prefetch(query=[1.0, 2.0], filter=FILTERED), models.Prefetch(query=[1.0, 0.0])]
    several = models.RecommendQuery(recommend=models.RecommendInput(positive=[1, 2], negative=[3]))
    qdrant.query_points("c", prefetch=ways, query=models.FusionQuery(fusion=models.Fusion.RRF))
    qdrant.query_points("c", query=several)
    refused(lambda: qdrant.query_points("c", query=[1.0, 2.0]))
    clock.now += 60.0
    one = models.QueryRequest(query=[1.0, 2.0], limit=1)
    qdrant.query_batch_points("c", [one] * 6)
    refused(lambda: qdrant.query_batch_points("c", [one]))


def test_writes_are_so_many_points_a_minute(qdrant, clock):
    put(qdrant, {i: {"n": 1} for i in range(3)})
    strict(qdrant, write_rate_limit=4)
    refused(lambda: put(qdrant, dict.fromkeys(range(5))))  # could never be
    put(qdrant, {7: None, 8: None})
    refused(lambda: qdrant.delete("c", FILTERED))  # three points
    assert qdrant.count("c").count == 5
    qdrant.delete("c", [7, 8])
    refused(lambda: qdrant.set_payload("c", {"a": 1}, [1]))
    clock.now += 60.0
    qdrant.delete("c", FILTERED)
    assert qdrant.count("c").count == 0
    strict(qdrant, write_rate_limit=9)  # another limit is another bucket
    qdrant.upsert("c", models.Batch(ids=[*range(5)], vectors=[[1.0, 2.0]] * 5))
    vectors = [models.PointVectors(id=i, vector=[0.0, 1.0]) for i in range(3)]
    qdrant.update_vectors("c", vectors)
    qdrant.clear_payload("c", [1])
    refused(lambda: qdrant.overwrite_payload("c", {}, [1]))


def test_the_error_is_pickled_with_when_to_try_again():
    again = pickle.loads(pickle.dumps(RateLimited("too many", 20)))
    assert (again.status_code, again.retry_after_s) == (429, 20)
