"""Responses have the form that Qdrant's OpenAPI defines; qdrant-client's models are made from
it."""

import ast
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import pytest
import qdrant_client.http.api
from pydantic import TypeAdapter
from qdrant_client.http import models

from integrations.server.tests.http.asked import Answered, Asking
from retrieval_store_server import app
from retrieval_store_server.http.routes import EVERY, ROUTES

# Among the JSON routes, the ones that a single node refuses.
OF_CLUSTERS = {
    ("GET", "/cluster/telemetry"),
    ("POST", "/cluster/recover"),
    ("DELETE", "/cluster/peer/{peer_id}"),
    ("POST", "/collections/{collection_name}/cluster"),
    ("PUT", "/collections/{collection_name}/shards"),
    ("POST", "/collections/{collection_name}/shards/delete"),
}
OURS = {("GET", "/"): ("retrieval-store",)}  # fields that tell of this server


def _schemas() -> dict[tuple[str, str], Any]:
    """The responses of each route, by its method and path: a model, or the name of a format other
    than JSON."""
    found = {}
    for path in Path(qdrant_client.http.api.__file__).parent.glob("*_api.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("client.request"):
                given = {one.arg: one.value for one in node.keywords}
                module, _, name = ast.unparse(given["type_"]).rpartition(".")
                kind = getattr(models, name) if module == "m" else name
                found[ast.literal_eval(given["method"]), ast.literal_eval(given["url"])] = kind
    return found


SCHEMAS = _schemas()
OF_MODELS = {route: kind for route, kind in SCHEMAS.items() if isinstance(kind, type)}


@pytest.fixture
def ask(tmp_path):
    asking = Asking(app(tmp_path / "store", durability="relaxed"))
    yield Checked(asking)
    asking.close()


def same(answered: Any, understood: Any) -> bool:
    """Whether a model has parsed the whole response, with the same values."""
    if isinstance(answered, dict):
        return (
            isinstance(understood, dict)
            and answered.keys() == understood.keys()
            and all(same(one, understood[key]) for key, one in answered.items())
        )
    if isinstance(answered, list):
        return (
            isinstance(understood, list)
            and len(answered) == len(understood)
            and all(map(same, answered, understood))
        )
    if isinstance(answered, bool) or not isinstance(answered, int | float):
        return type(answered) is type(understood) and answered == understood
    return isinstance(understood, int | float) and math.isclose(answered, understood)


def misunderstood(route: tuple[str, str], body: bytes) -> str | None:
    """How a response deviates from the route's model, if it does: it can't be parsed, or has fields
    or types that the model doesn't have."""
    answered = json.loads(body)
    for name in OURS.get(route, ()):
        del answered[name]
    adapter = TypeAdapter(OF_MODELS[route])
    try:
        model = adapter.validate_json(json.dumps(answered), strict=True)
    except ValueError as error:
        return str(error)
    understood = adapter.dump_python(model, mode="json", by_alias=True, exclude_unset=True)
    return None if same(answered, understood) else f"{answered!r} became {understood!r}"


class Checked:
    """Sends requests, validates the responses, and counts them by route."""

    def __init__(self, asking: Asking) -> None:
        self.asking = asking
        self.seen = Counter()

    def __call__(
        self, method: str, path: str, body: Any = None, raw: bytes | None = None, **headers: str
    ) -> Answered:
        answered = self.asking(method, path, body, raw=raw, **headers)
        route = route_of(method, path)
        if answered.status == 200 and route in OF_MODELS:
            self.seen[route] += 1
            assert misunderstood(route, answered.body) is None, (method, path, body or raw)
        return answered


def route_of(method: str, path: str) -> tuple[str, str] | None:
    parts = [unquote(part) for part in path.partition("?")[0].split("/")[1:]]
    route = EVERY.find(method, parts)
    return None if route is None else (method, route[0].path)


def test_all_routes_of_the_api_exist():
    assert SCHEMAS.keys() <= {(route.method, route.path) for route in ROUTES}


def test_every_route_answers_in_its_form(ask):
    c = "/collections/c"
    vectors = {"d": {"size": 2, "distance": "Cosine"}, "m": {"size": 2, "distance": "Dot"}}
    sparse = {"s": {"modifier": "idf"}}
    multi = {"comparator": "max_sim"}
    vectors["m"]["multivector_config"] = multi
    ask("PUT", c, {"vectors": vectors, "sparse_vectors": sparse, "metadata": {"a": [1]}})
    ask("PATCH", c, {"params": {"on_disk_payload": True}})
    points = [
        {
            "id": i if i % 2 else str(UUID(int=i)),
            "vector": {
                "d": [1, i],
                "m": [[1, 2]] * i,
                "s": {"indices": [i, 9], "values": [0.5, 1]},
            },
            "payload": {"n": i, "t": "a b", "l": [{"x": None}, [1.5]]},
        }
        for i in range(1, 6)
    ]
    ask("PUT", f"{c}/points?wait=true", {"points": points})
    ask("PUT", f"{c}/points", {"points": points})
    for kind in ("integer", {"type": "float", "on_disk": True}):
        ask("PUT", f"{c}/index?wait=true", {"field_name": "n", "field_schema": kind})
    ask("PUT", f"{c}/index", {"field_name": "t", "field_schema": {"type": "text"}})
    ask("DELETE", f"{c}/index/t")
    ask("PUT", f"{c}/vectors/e", {"dense": {"size": 3, "distance": "Dot"}})
    ask("GET", c)
    ask("DELETE", f"{c}/vectors/e")
    ask("PUT", f"{c}/points/vectors", {"points": [{"id": 1, "vector": {"d": [3, 4]}}]})
    ask("POST", f"{c}/points/vectors/delete", {"points": [3], "vector": ["m"]})
    ask("POST", f"{c}/points/payload", {"points": [3], "payload": {"k": {}}, "key": "l[0]"})
    ask("PUT", f"{c}/points/payload", {"points": [3], "payload": {"k": {}}})
    ask("POST", f"{c}/points/payload/delete", {"points": [3], "keys": ["k"]})
    ask("POST", f"{c}/points/payload/clear", {"points": [3]})
    ask("POST", f"{c}/points/delete", {"points": [5]})
    ask("POST", f"{c}/points/batch", {"operations": [{"delete": {"points": [7]}}]})
    ask("GET", f"{c}/points/1")
    shown = {"with_payload": True, "with_vector": True}
    ask("POST", f"{c}/points", {"ids": [1, 3], **shown})
    ask("POST", f"{c}/points/scroll", {"limit": 2, **shown})
    ask("POST", f"{c}/points/scroll", {"order_by": "n", **shown})
    ask("POST", f"{c}/points/count", {"filter": {"must": {"key": "n", "range": {"gt": 2}}}})
    ask("PUT", f"{c}/index", {"field_name": "n", "field_schema": "integer"})
    ask("POST", f"{c}/facet", {"key": "n"})
    near = {"query": [1, 0], "using": "d", **shown}
    for query in (near, {"query": {"order_by": "n"}, **shown}, {}):
        ask("POST", f"{c}/points/query", query)
    ask("POST", f"{c}/points/query/batch", {"searches": [near, {}]})
    grouped = {**near, "group_by": "n", "with_lookup": {"collection": "c", "with_payload": True}}
    ask("POST", f"{c}/points/query/groups", grouped)
    for form in ("pairs", "offsets"):
        ask("POST", f"{c}/points/search/matrix/{form}", {"using": "d", "sample": 4})
    actions = [{"create_alias": {"collection_name": "c", "alias_name": "other"}}]
    ask("POST", "/collections/aliases", {"actions": actions})
    for path in ("/", "/aliases", "/collections", "/cluster", "/quotas", "/telemetry", "/issues"):
        ask("GET", path)
    for path in ("aliases", "cluster", "exists", "optimizations", "shards"):
        ask("GET", f"{c}/{path}")
    ask("GET", "/telemetry?details_level=10")
    ask("PUT", "/quotas", {})
    ask("DELETE", "/issues")
    _snapshots(ask, c)
    _snapshots(ask, f"{c}/shards/0")
    name = ask("POST", "/snapshots").json["result"]["name"]
    ask("GET", "/snapshots")
    ask("DELETE", f"/snapshots/{name}")
    ask("DELETE", c)
    assert ask.seen.keys() == OF_MODELS.keys() - OF_CLUSTERS


def _snapshots(ask: Checked, at: str) -> None:
    name = ask("POST", f"{at}/snapshots").json["result"]["name"]
    ask("GET", f"{at}/snapshots")
    file = ask("GET", f"{at}/snapshots/{name}").body
    ask("PUT", f"{at}/snapshots/recover", {"location": name})
    part = (
        b'--b\r\nContent-Disposition: form-data; name="snapshot"\r\n\r\n' + file + b"\r\n--b--\r\n"
    )
    kind = "multipart/form-data; boundary=b"
    ask("POST", f"{at}/snapshots/upload", raw=part, content_type=kind)
    ask("DELETE", f"{at}/snapshots/{name}")
