"""The original qdrant-client with `prefer_grpc=True`: the server answers as a real one did, and
refuses with the same codes."""

import gzip
import json
import math
from functools import cache
from typing import Any

import pytest
import qdrant_client
from google.protobuf.json_format import MessageToDict, ParseDict
from qdrant_client import grpc as messages

import grpc
from integrations.server.tests.grpc.calling import calls
from retrieval_store_server import running
from tests.helpers import PATIENCE, ROOT
from tests.helpers.recorded import agree, plain, revived

RECORDED = ROOT / "tests" / "data" / "qdrant_grpc"
COUNTS = {"a": 3516, "b": 2422}
# By their lines, with the reason.
INFINITE = "an infinite number is refused, and so isn't there later"
UNHEARD = "what can write nothing is refused, as over HTTP"
DIFFERENT: dict[str, dict[int, str]] = {
    "a": {
        40: "is_null of a key without index finds [null] here, as it does there over HTTP",
        670: "the same",
        671: "the same",
        1727: "an index of texts counts a point without a word there, also over HTTP",
        2949: INFINITE,
        3004: "float16 keeps what it can't hold as infinite there",
        3044: "the commit of the server's sources",
        3045: "the number of the server's node",
    },
    "b": {
        65: "equal ranks of a fusion, in another order",
        1552: UNHEARD,
        1564: UNHEARD,
        1576: UNHEARD,
        1582: INFINITE,
        1583: INFINITE,
        1584: INFINITE,
    },
}


STALE = "an index keeps a value there whose parent was deleted from the payload"
EDGES_DIFFERENT = {546: STALE, 583: STALE, 616: STALE}
FOUND_BY_SCORE = ("Search", "Query", "Recommend", "Discover")  # how calls begin whose hits have one


@cache
def calls_of(recording: str) -> list[tuple[int, Any]]:
    with gzip.open(RECORDED / f"{recording}.jsonl.gz", "rt") as lines:
        calls = [(i, json.loads(line)) for i, line in enumerate(lines, 1)]
    return [(i, call) for i, call in calls if "client" not in call.get("error", ())]


def finite(value: Any) -> Any:
    """A response with infinite numbers as null, as in JSON."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [finite(one) for one in value]
    return {k: finite(v) for k, v in value.items()} if isinstance(value, dict) else value


def answered(client: Any, call: Any) -> dict[str, Any]:
    try:
        return {"answer": finite(plain(getattr(client, call["call"])(**revived(call["args"]))))}
    except grpc.RpcError as error:
        return {"error": {"status": error.code().name}}


def is_as(got: Any, call: Any) -> bool:
    expected = {key: call[key] for key in ("answer", "error") if key in call}
    return bool(got == expected if "error" in got else agree(got, expected))


@pytest.fixture
def url(tmp_path):
    with running(tmp_path / "store", durability="relaxed", grpc_port=0) as url:
        yield url


def options(url: Any) -> dict[str, Any]:
    # With `cloud_inference` the client sends texts unchanged, otherwise vectors that it has
    # computed.
    named = {"url": url, "grpc_port": url.grpc_port, "timeout": PATIENCE}
    return {**named, "prefer_grpc": True, "cloud_inference": True}


@pytest.mark.parametrize("recording", ["b"])
def test_the_responses_are_those_of_a_real_server(recording, url):
    calls = calls_of(recording)
    client = qdrant_client.QdrantClient(**options(url))
    different = {i for i, call in calls if not is_as(answered(client, call), call)}
    client.close()
    assert len(calls) == COUNTS[recording]
    assert different <= DIFFERENT[recording].keys()


def answered_message(calling: Any, row: Any) -> dict[str, Any]:
    """The response to a message, in the recorded form."""
    message = ParseDict(row["message"], getattr(messages, row["type"])())
    try:
        answer = getattr(getattr(calling, row["service"].lower()), row["call"])(message)
    except grpc.RpcError as error:
        return {"error": error.code().name}
    return {"answer": MessageToDict(answer, preserving_proto_field_name=True)}


def comparable(value: Any, with_scores: bool) -> Any:
    """A response in protobuf's JSON, without values that each server generates, and with the zero
    scores that protobuf omits."""
    if isinstance(value, list):
        return [comparable(part, with_scores) for part in value]
    if not isinstance(value, dict):
        return value
    parts = {name: comparable(part, with_scores) for name, part in value.items() if name != "usage"}
    if isinstance(parts.get("order_value"), dict):
        (order,) = parts["order_value"].values()
        parts["order_value"] = float(order)
    return {"score": 0.0, **parts} if with_scores and "id" in parts else parts


def test_fields_omitted_by_clients_of_other_languages_mean_the_same_as_on_a_real_server():
    with gzip.open(RECORDED / "edges.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    different = set()
    with calls() as calling:
        for i, row in enumerate(rows, 1):
            with_scores = row["call"].startswith(FOUND_BY_SCORE)
            got = comparable(answered_message(calling, row), with_scores)
            expected = {name: row[name] for name in ("answer", "error") if name in row}
            if not agree(got, comparable(expected, with_scores)):
                different.add(i)
    assert len(rows) == 624
    assert different == EDGES_DIFFERENT.keys()
