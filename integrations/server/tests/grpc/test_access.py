"""Who may make which call: by keys, or without keys anyone except a page."""

import logging

import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from qdrant_client import grpc as q
from qdrant_client.grpc import (
    collections_service_pb2,
    points_service_pb2,
    qdrant_pb2,
    snapshots_service_pb2,
)

import grpc
from integrations.server.tests.grpc.calling import Calls, calls, code, refusal
from retrieval_store.qdrant import QdrantClient, models
from retrieval_store_server.grpc.table import PROCEDURES
from retrieval_store_server.http.routes import ROUTES

FULL, LOOK = "secret", "look"
RPCS = {route.rpc: route for route in ROUTES if route.rpc}
SERVICES = (points_service_pb2, collections_service_pb2, snapshots_service_pb2, qdrant_pb2)
NO_KEY = "Must provide an API key or an Authorization bearer token"
WRITES = {"write", "manage"}


@pytest.fixture(scope="module")
def locked():
    with calls(keys=(FULL, "next"), reader_keys=(LOOK,)) as found:
        yield found


def with_headers(calling, **headers):
    return Calls(calling.channel, **headers)


def test_every_procedure_of_qdrant_is_another_name_of_one_route():
    known = {
        f"{service.name}/{method.name}"
        for one in SERVICES
        for service in one.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert known == set(RPCS) == set(PROCEDURES)
    assert len(RPCS) == sum(bool(route.rpc) for route in ROUTES) == len(known)


@pytest.mark.parametrize("rpc", sorted(RPCS))
def test_each_procedure_is_for_those_keys_that_its_route_is_for(locked, rpc):
    access = RPCS[rpc].access
    if access == "open":
        assert code(locked, rpc) == "OK"
        return
    assert refusal(locked, rpc) == ("UNAUTHENTICATED", NO_KEY)
    assert code(with_headers(locked, api_key="wrong"), rpc) == "UNAUTHENTICATED"
    assert code(with_headers(locked, api_key=""), rpc) == "UNAUTHENTICATED"
    for headers in ({"api_key": FULL}, {"api_key": "next"}, {"authorization": f"Bearer {FULL}"}):
        assert code(with_headers(locked, **headers), rpc, filled(rpc)) not in {
            "UNAUTHENTICATED", "PERMISSION_DENIED", "INTERNAL", "UNKNOWN",
        }  # fmt: skip
    reader = code(with_headers(locked, api_key=LOOK), rpc, filled(rpc))
    assert (reader == "PERMISSION_DENIED") == (access in WRITES)


def filled(rpc):
    """A readable message about a collection that doesn't exist."""
    message = PROCEDURES[rpc].message()
    fields = message.DESCRIPTOR.fields_by_name
    for name in ("collection_name", "field_name", "vector_name", "snapshot_name"):
        if name in fields:
            setattr(message, name, "nothing")
    point = q.PointId(num=1)
    for name in ("points", "points_selector"):
        if name in fields and fields[name].message_type.name == "PointsSelector":
            getattr(message, name).points.ids.append(point)
    match rpc:
        case "Points/CreateVectorName":
            message.sparse_config.SetInParent()
        case "Points/UpdateBatch":
            message.operations.add().delete_points.points.points.ids.append(point)
        case "Points/Discover":
            message.target.single.id.num = 1
    return message


def test_an_unreadable_message_is_refused_before_a_missing_permission(locked):
    reader = with_headers(locked, api_key=LOOK)
    assert code(reader, "Points/Upsert", b"\xff") == "INVALID_ARGUMENT"


def test_unknown_procedures(locked):
    assert code(with_headers(locked, api_key=FULL), "Points/Nothing") == "UNIMPLEMENTED"
    assert refusal(locked, "Points/Nothing") == ("UNAUTHENTICATED", NO_KEY)
    assert code(locked, "PointsInternal/Upsert") == "UNAUTHENTICATED"


def test_nothing_is_written_to_a_store_that_is_served_read_only(tmp_path):
    with QdrantClient(path=tmp_path / "s") as client:
        client.create_collection("c", models.VectorParams(size=2, distance="Dot"))
    with calls(tmp_path / "s", read_only=True) as calling:
        for rpc, route in RPCS.items():
            refused = code(calling, rpc, filled(rpc)) == "PERMISSION_DENIED"
            assert refused == (route.access in WRITES), rpc


def test_other_pages_are_refused_except_for_allowed_ones():
    with calls(cors=("https://page.example",)) as calling:
        assert code(calling, "Collections/List") == "OK"
        allowed = with_headers(calling, origin="https://page.example")
        assert code(allowed, "Collections/List") == "OK"
        other = with_headers(calling, origin="https://other.example")
        message = refusal(other, "Collections/List")
        assert message[0] == "PERMISSION_DENIED" and message[1].startswith(
            "Forbidden: pages of other"
        )
        assert code(other, "Points/Nothing") == "PERMISSION_DENIED"


def test_health_needs_no_key_but_to_watch_it_does(locked):
    stub = HealthStub(locked.channel)
    serving = health_pb2.HealthCheckResponse.SERVING
    for service in ("", "qdrant.Points"):
        request = health_pb2.HealthCheckRequest(service=service)
        assert stub.Check(request).status == serving
    unknown = health_pb2.HealthCheckRequest(service="none")
    assert code(stub.Check, unknown) == "NOT_FOUND"
    with pytest.raises(grpc.RpcError) as refused:
        next(stub.Watch(health_pb2.HealthCheckRequest(), timeout=10))
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    watching = stub.Watch(health_pb2.HealthCheckRequest(), metadata=[("api-key", LOOK)], timeout=10)
    assert next(watching).status == serving
    watching.cancel()


def test_keys_are_never_logged(caplog):
    with caplog.at_level(logging.INFO, "retrieval_store"):
        with calls(keys=(FULL,), access_log=True) as calling:
            code(with_headers(calling, api_key="wrong"), "Collections/List")
            code(with_headers(calling, api_key=FULL), "Collections/List")
        lines = [one.getMessage() for one in caplog.records if one.name.endswith("access")]
    assert [line.rpartition(" ms")[0].rpartition(" ")[0] for line in lines] == [
        "gRPC /qdrant.Collections/List UNAUTHENTICATED",
        "gRPC /qdrant.Collections/List OK",
    ]
    assert FULL not in caplog.text


def test_calls_and_requests_are_counted():
    import httpx

    with calls() as calling:
        calling("Collections/List")
        calling("Collections/List")
        code(calling, "Points/Count", q.CountPoints(collection_name="none"))
        with httpx.Client(base_url=calling.url) as client:
            metrics = client.get("/metrics").text
            reported = client.get("/telemetry").json()["result"]["requests"]["grpc"]["responses"]
    assert 'grpc_responses_total{endpoint="/qdrant.Collections/List",status="0"} 2\n' in metrics
    assert 'grpc_responses_total{endpoint="/qdrant.Points/Count",status="5"} 1\n' in metrics
    assert 'rest_responses_total{method="GET"' not in metrics  # none was answered before
    assert reported["/qdrant.Collections/List"]["0"]["count"] == 2
