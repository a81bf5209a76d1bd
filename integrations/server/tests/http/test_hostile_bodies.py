"""Every body is answered, in time, and never with an internal error; a refused body has written
nothing."""

import asyncio
import json
import time
from contextlib import closing
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from integrations.server.tests.http.asked import Answered, Asking
from integrations.server.tests.http.schemas_drawn import drawn
from retrieval_store_server import app
from retrieval_store_server.http.routes import MESSAGE, OBJECT, ROUTES, UPLOAD, Route
from tests.helpers import PATIENCE

SLOWEST = 5.0  # seconds of the processor, for any body here
OTHERS = (None, UPLOAD, MESSAGE, OBJECT)
WITH_BODIES = tuple(route for route in ROUTES if route.body not in OTHERS)
SCHEMAS = {route.name: TypeAdapter(route.body).json_schema() for route in WITH_BODIES}
POINTS = [
    {
        "id": i,
        "vector": {"d": [i, 1], "m": [[1, i]], "s": {"indices": [i, 99], "values": [1, 2]}},
        "payload": {"n": i, "t": f"word{i} b", "l": [{"x": i}, {"x": "y"}], "at": "2024-01-01"},
    }
    for i in range(1, 8)
]
LEVELS = (99, 199, 255, 1020)  # around what stops at some
EVERYTHING = {"limit": 10_000, "with_payload": True, "with_vector": True}


class Hostile:
    """Sends requests, and checks the invariants of every response."""

    def __init__(self, asking: Asking) -> None:
        self.asking = asking

    def __call__(self, method: str, path: str, raw: bytes = b"", collection: str = "") -> Answered:
        before = self.state(collection)
        began = time.process_time()
        answer = self.asking.ask(method, path, raw, {})
        answered = self.asking.loop.run_until_complete(asyncio.wait_for(answer, PATIENCE))
        assert time.process_time() - began < SLOWEST
        assert answered.status < 500, answered.body
        if answered.status >= 400:
            assert self.state(collection) == before, answered.body
        if answered.type == "application/json":
            assert isinstance(answered.json, dict)
        return answered

    def state(self, collection: str) -> Any:
        """The content of the store, and everything in one collection."""
        at = f"/collections/{collection}"
        info = self._result("GET", at) or {}
        return (
            self._result("GET", "/aliases"),
            self._result("GET", "/collections"),
            {name: info.get(name) for name in ("config", "payload_schema")},
            self._result("POST", f"{at}/points/scroll", EVERYTHING),
        )

    def _result(self, *request: Any) -> Any:
        answered = self.asking(*request)
        return answered.json["result"] if answered.status == 200 else None


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    with closing(Asking(app(tmp_path_factory.mktemp("store"), durability="relaxed"))) as asking:
        filled(asking)
        yield Hostile(asking)


def filled(asking: Asking) -> None:
    """With the collection in its initial state."""
    vectors = {"size": 2, "distance": "Cosine"}
    multi = {**vectors, "multivector_config": {"comparator": "max_sim"}}
    for name in ("c", "new"):
        asking("DELETE", f"/collections/{name}")
    config = {"vectors": {"d": vectors, "m": multi}, "sparse_vectors": {"s": {}}}
    asking("PUT", "/collections/c", config)
    for field, kind in (("n", "integer"), ("t", "text"), ("at", "datetime")):
        asking("PUT", "/collections/c/index", {"field_name": field, "field_schema": kind})
    assert asking("PUT", "/collections/c/points", {"points": POINTS}).status == 200


@settings(max_examples=120)
@given(route=st.sampled_from(WITH_BODIES), draw=st.randoms(use_true_random=False))
def test_requests_of_the_forms_of_the_api(route, draw, hostile):
    schema = SCHEMAS[route.name]
    body = json.dumps(drawn(schema, schema.get("$defs"), draw)).encode()
    answered = hostile(route.method, path_of(route), body, "c")
    if answered.status == 200 and route.access != "read":
        filled(hostile.asking)


def path_of(route: Route) -> str:
    """The path of a route, to the collection, or to a new name where one is created."""
    collection = "new" if route.name == "PUT /collections/{collection_name}" else "c"
    given = {"{collection_name}": collection, "{shard_id}": "0", "{vector_name}": "new"}
    path = route.path
    for name, value in given.items():
        path = path.replace(name, value)
    return f"{path}?wait=true"


PARTS = st.one_of(
    st.sampled_from(("collections", "c", "points", "1", "query", "snapshots", "..", ".", "", "*")),
    st.text().map(lambda text: quote(text.encode("utf-8", "surrogatepass"), safe="")),
    st.binary(max_size=8).map(lambda data: "".join(f"%{one:02x}" for one in data)),
    st.sampled_from(("%", "%2", "%zz", "a" * 300, "%2e%2e", "%2F", "%00", "c%3F", "{id}")),
)
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(("wait", "timeout", "consistency", "ordering", "", "x", "%ff", "checksum")),
        st.sampled_from(
            ("true", "false", "", "0", "-1", "1e3", "9" * 30, "%ff", "%00", "all", "é")
        ),
    ).map("=".join),
    max_size=3,
).map("&".join)


@settings(max_examples=120)
@given(
    method=st.sampled_from(("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE")),
    parts=st.lists(PARTS, max_size=6),
    query=QUERIES,
    raw=st.sampled_from((b"", b"{}", b"[]", b"null", b"\xff", b'{"points": []}')),
)
def test_unknown_paths_and_parameters(method, parts, query, raw, hostile):
    answered = hostile(method, f"/{'/'.join(parts)}?{quote(query, safe='%=&')}", raw, "c")
    if answered.status == 200 and method in ("PUT", "PATCH", "DELETE", "POST"):
        filled(hostile.asking)


def nested(opening: str, inner: str, closing: str, levels: int) -> str:
    return opening * levels + inner + closing * levels


@pytest.mark.parametrize("levels", LEVELS)
def test_nesting_is_answered_however_deep(levels, hostile):
    lists, objects = nested("[", "1", "]", levels), nested('{"a":', "1", "}", levels)
    filters = [
        nested('{"must":[', "", "]}", levels),
        nested('{"min_should":{"min_count":1,"conditions":[', "", "]}}", levels),
        nested('{"must_not":{"nested":{"key":"l","filter":', "{}", "}}}", levels),
    ]
    formulas = [nested('{"neg":', '"n"', "}", levels), nested('{"sum":[1,', "[]", "]}", levels)]
    queries = [
        nested(
            '{"prefetch":', '{"query":[1,1],"using":"d"}', ',"query":[1,2],"using":"d"}', levels
        ),
        *(f'{{"prefetch":{{}},"query":{{"formula":{one}}}}}' for one in formulas),
        *(f'{{"query":{one},"using":"d"}}' for one in (lists, objects)),
    ]
    for one in filters:
        hostile("POST", "/collections/c/points/scroll", f'{{"filter":{one}}}'.encode(), "c")
    for one in queries:
        hostile("POST", "/collections/c/points/query", one.encode(), "c")
    for one in (lists, objects):
        for body in (
            f'{{"points":[{{"id":1,"vector":{{}},"payload":{{"deep":{one}}}}}]}}',
            f'{{"points":[{{"id":1,"vector":{one}}}]}}',
            f'{{"points":[{{"id":{one},"vector":{{}}}}]}}',
            one,
        ):
            hostile("PUT", "/collections/c/points?wait=true", body.encode(), "c")
        hostile("PATCH", "/collections/c", f'{{"metadata":{{"deep":{one}}}}}'.encode(), "c")
    # Everything that was accepted can be read.
    assert hostile.state("c")[-1]["points"]
    path = ".".join("a" * levels)
    body = json.dumps({"points": [2], "payload": {"b": 1}, "key": path}).encode()
    hostile("POST", "/collections/c/points/payload?wait=true", body, "c")
    assert hostile.state("c")[-1]["points"]
    filled(hostile.asking)


@pytest.mark.parametrize(
    ("path", "opening", "one", "closing"),
    [
        ("query", '{"query":{"formula":{"sum":[', "[]", "]}}}"),
        ("query", '{"query":{"recommend":{"positive":[', "{}", "]}}}"),
        ("query", '{"prefetch":[', '{"query":{}}', "]}"),
        ("query", '{"query":[', '"x"', "]}"),
        ("query/batch", '{"searches":[', '{"query":{}}', "]}"),
        ("recommend", '{"limit":1,"positive":[', "{}", "]}"),
        ("search/batch", '{"searches":[', "{}", "]}"),
        ("scroll", '{"filter":{"must":[', '{"key":1}', "]}}"),
        ("batch", '{"operations":[', "{}", "]}"),
        ("delete", '{"points":[', "{}", "]}"),
    ],
)
def test_many_mistakes_take_no_longer_than_one(path, opening, one, closing, hostile):
    body = f"{opening}{','.join([one] * (60_000 // (len(one) + 1)))}{closing}".encode()
    asking = hostile.asking
    asking("POST", f"/collections/c/points/{path}", raw=body)  # which loads its modules

    def seconds():
        began = time.process_time()
        assert asking("POST", f"/collections/c/points/{path}", raw=body).status in (400, 422)
        return time.process_time() - began

    # The loop, and all requests, would wait for these; other threads may run meanwhile.
    assert min(seconds() for _ in range(5)) < 0.3
