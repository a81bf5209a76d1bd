"""A server with the part of Qdrant's REST interface that collections need, answered by
qdrant-client's local mode: what a client sends and gets goes through real requests and real JSON.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pydantic import TypeAdapter
from qdrant_client import QdrantClient, models
from qdrant_client.http.models import (
    ChangeAliasesOperation,
    CountRequest,
    CreateCollection,
    CreateFieldIndex,
    PointRequest,
    QueryRequestBatch,
    ScrollRequest,
    UpdateCollection,
    UpdateOperations,
)

DONE = {"operation_id": 0, "status": "completed"}


def collection(client: QdrantClient, name: str, body: Any) -> Any:
    return client.get_collection(name)


def create(client: QdrantClient, name: str, body: Any) -> Any:
    made = CreateCollection(**body)
    return client.create_collection(
        name,
        vectors_config=made.vectors or {},
        sparse_vectors_config=made.sparse_vectors,
        hnsw_config=made.hnsw_config,
        metadata=made.metadata,
    )


def update(client: QdrantClient, name: str, body: Any) -> Any:
    return client.update_collection(name, metadata=UpdateCollection(**body).metadata)


def delete(client: QdrantClient, name: str, body: Any) -> Any:
    client.get_collection(name)
    return client.delete_collection(name)


def create_vector(client: QdrantClient, name: str, body: Any, vector: str) -> Any:
    config = TypeAdapter(models.VectorNameConfig).validate_python(body)
    client.create_vector_name(name, vector, config)
    return DONE


def create_index(client: QdrantClient, name: str, body: Any) -> Any:
    CreateFieldIndex(**body)
    client.get_collection(name)
    return DONE


def retrieve(client: QdrantClient, name: str, body: Any) -> Any:
    asked = PointRequest(**body)
    return client.retrieve(name, asked.ids, asked.with_payload, asked.with_vector or False)


def scroll(client: QdrantClient, name: str, body: Any) -> Any:
    asked = ScrollRequest(**body)
    points, after = client.scroll(
        name,
        asked.filter,
        asked.limit or 10,
        asked.order_by,
        asked.offset,
        asked.with_payload,
        asked.with_vector or False,
    )
    return {"points": points, "next_page_offset": after}


def query(client: QdrantClient, name: str, body: Any) -> Any:
    return client.query_batch_points(name, QueryRequestBatch(**body).searches)


def count(client: QdrantClient, name: str, body: Any) -> Any:
    return client.count(name, CountRequest(**body).filter)


def batch(client: QdrantClient, name: str, body: Any) -> Any:
    return client.batch_update_points(name, UpdateOperations(**body).operations)


def delete_points(client: QdrantClient, name: str, body: Any) -> Any:
    client.delete(name, TypeAdapter(models.PointsSelector).validate_python(body))
    return DONE


NAME, VECTOR = r"/collections/(?P<name>[^/]+)", r"/vectors/(?P<vector>[^/]+)"
ROUTES: list[tuple[str, str, Any]] = [
    ("GET", NAME, collection),
    ("PUT", NAME, create),
    ("PATCH", NAME, update),
    ("DELETE", NAME, delete),
    ("PUT", NAME + VECTOR, create_vector),
    ("PUT", NAME + "/index", create_index),
    ("POST", NAME + "/points", retrieve),
    ("POST", NAME + "/points/scroll", scroll),
    ("POST", NAME + "/points/query/batch", query),
    ("POST", NAME + "/points/count", count),
    ("POST", NAME + "/points/batch", batch),
    ("POST", NAME + "/points/delete", delete_points),
]


def answered(client: QdrantClient, method: str, path: str, body: Any) -> Any:
    """The result of a request; ValueError as local mode raises it."""
    if (method, path) == ("GET", "/collections"):
        return client.get_collections()
    if (method, path) == ("GET", "/aliases"):
        return client.get_aliases()
    if (method, path) == ("POST", "/collections/aliases"):
        return client.update_collection_aliases(ChangeAliasesOperation(**body).actions)
    for verb, pattern, answer in ROUTES:
        if verb == method and (found := re.fullmatch(pattern, path)):
            return answer(client, body=body, **found.groupdict())
    if path.startswith("/elsewhere"):
        raise LookupError(path)
    raise NotImplementedError(f"{method} {path}")


def status_of(error: Exception) -> int:
    """As Qdrant says it."""
    if isinstance(error, NotImplementedError):
        return 501
    missing, taken = "not found" in str(error), "already exists" in str(error)
    return 404 if missing else 409 if taken else 400


class Handler(BaseHTTPRequestHandler):
    """Requests one at a time, since local mode can't bear more."""

    client: QdrantClient
    turn: threading.Lock

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or "null")
        try:
            with self.turn:
                result = answered(self.client, self.command, self.path.partition("?")[0], body)
            said = TypeAdapter(Any).dump_json(
                {"time": 0.0, "status": "ok", "result": result}, exclude_none=True
            )
            status = 200
        except LookupError:
            said, status = b"nothing here", 404
        except Exception as error:
            said = json.dumps({"time": 0.0, "status": {"error": str(error)}}).encode()
            status = status_of(error)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


@contextmanager
def serving() -> Iterator[str]:
    """A server on a free port of this machine; yields its URL."""
    client = QdrantClient(":memory:", force_disable_check_same_thread=True)
    attributes = {"client": client, "turn": threading.Lock()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Serving", (Handler,), attributes))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        client.close()
