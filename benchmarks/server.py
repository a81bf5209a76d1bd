"""The cost of a store served over HTTP and gRPC, beside calls in process and Qdrant Edge.

    python benchmarks/server.py [--seconds 3] [--output FOLDER]

A server of one worker, then one of two, serves the directory that this process has open too.
Requests are prepared bytes on plain sockets. So the figures include the server, the system's
sockets and the wake-ups of two processes, but no client library. Calls in process and requests
alternate in one run. Figures are medians in microseconds unless stated otherwise. k = 10, with
payloads. Prints JSON, and saves it.

Calls over gRPC use gRPC's own stub for Python with prepared messages, so they include that client
library's cost. In addition, qdrant-client sends a query over both protocols.

The stages of a request are measured by requests that stop early: /healthz is answered on the event
loop; /readyz also uses a thread and reads from the store; a count also parses a body; a query does
everything.
"""

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import orjson
from compare import embedded, texts
from qdrant_client import QdrantClient as RemoteClient
from qdrant_client import grpc as q
from qdrant_client import models as m
from runs import save

from retrieval_store.qdrant import QdrantClient

NAME, PARTS = "things", 1_000
QUERIES, ROUNDS, UPLOADS = 50, 600, 8
CONNECTIONS = (1, 4, 16)
QUERY = f"/collections/{NAME}/points/query"


class Connection:
    """A persistent connection with minimal HTTP."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> bytes:
        """The body of the response."""
        self._socket.sendall(request)
        found = self._socket.recv(1 << 20)
        while b"\r\n\r\n" not in found:
            found += self._socket.recv(1 << 20)
        head, _, body = found.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(body) < length:
            body += self._socket.recv(1 << 20)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{head!r} {body[:200]!r}")
        return body

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def request(method: str, path: str, body: Any = None) -> bytes:
    """The bytes of a request."""
    sent = b"" if body is None else orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(sent)}\r\n\r\n"
    return head.encode() + sent


@contextmanager
def served(folder: str, workers: int) -> Iterator[tuple[int, int]]:
    """Start a server of a directory; yields its ports for HTTP and gRPC."""
    command = [sys.executable, "-m", "retrieval_store", "serve", folder, "--port", "0"]
    process = subprocess.Popen(
        [*command, "--grpc-port", "any", "--workers", str(workers)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        port, grpc_port = (int(process.stdout.readline().rpartition(":")[2]) for _ in range(2))
        _wait_for(port)
        yield port, grpc_port
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int) -> None:
    for _ in range(200):
        try:
            Connection(port).ask(request("GET", "/healthz"))
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the server didn't start")


def timed(call: Callable[[], object]) -> float:
    """Microseconds of a call."""
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1e6


class Calls:
    """Calls over gRPC, with prepared messages."""

    def __init__(self, port: int) -> None:
        options = [("grpc.max_send_message_length", -1)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)
        self.points, self.server = q.PointsStub(self._channel), q.QdrantStub(self._channel)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()


def query_message(vector: list[float]) -> Any:
    """The gRPC message of a query."""
    nearest = q.Query(nearest=q.VectorInput(dense=q.DenseVector(data=vector)))
    shown = q.WithPayloadSelector(enable=True)
    return q.QueryPoints(collection_name=NAME, query=nearest, limit=10, with_payload=shown)


def stages(
    ports: tuple[int, int], in_process: QdrantClient, edge: Any, queries: list[Any]
) -> dict[str, float]:
    """Medians of alternating requests."""
    port, grpc_port = ports
    connection, rpc = Connection(port), Calls(grpc_port)
    where = {"url": f"http://127.0.0.1:{port}", "grpc_port": grpc_port, "timeout": 60}
    by_http = RemoteClient(**where)
    by_grpc = RemoteClient(**where, prefer_grpc=True)
    no_message, counted = q.HealthCheckRequest(), q.CountPoints(collection_name=NAME)
    messages = [query_message(vector) for vector in queries]
    health, ready = request("GET", "/healthz"), request("GET", "/readyz")
    count = request("POST", f"/collections/{NAME}/points/count", {})
    asked = [request("POST", QUERY, {"query": q, "with_payload": True}) for q in queries]
    took: dict[str, list[float]] = {}
    for i in range(ROUNDS):
        query, sent, message = queries[i % QUERIES], asked[i % QUERIES], messages[i % QUERIES]
        calls = {
            "health": lambda: connection.ask(health),
            "readiness": lambda: connection.ask(ready),
            "count": lambda: connection.ask(count),
            "query": lambda sent=sent: connection.ask(sent),
            "gRPC health": lambda: rpc.server.HealthCheck(no_message),
            "gRPC count": lambda: rpc.points.Count(counted),
            "gRPC query": lambda message=message: rpc.points.Query(message),
            "query by qdrant-client": lambda query=query: by_http.query_points(NAME, query),
            "gRPC query by qdrant-client": lambda query=query: by_grpc.query_points(NAME, query),
            "count in process": lambda: in_process.count(NAME),
            "query in process": lambda query=query: in_process.query_points(NAME, query),
            "Edge's query in process": lambda query=query: edge(query),
        }
        for name, call in calls.items():
            call()  # so that each is measured as who asks it again and again finds it
            took.setdefault(name, []).append(timed(call))
    for one in (connection, rpc, by_http, by_grpc):
        one.close()
    return {name: round(statistics.median(one[50:])) for name, one in took.items()}


def rates(port: int, queries: list[Any], seconds: float) -> dict[str, int]:
    """Queries per second, over one connection and over several at once, each in its own thread."""
    asked = [request("POST", QUERY, {"query": q, "with_payload": True}) for q in queries]
    found = {}
    for connections in CONNECTIONS:
        counts = [0] * connections
        ends = time.perf_counter() + seconds

        def work(i: int, ends: float = ends, counts: list[int] = counts) -> None:
            connection = Connection(port)
            while time.perf_counter() < ends:
                connection.ask(asked[counts[i] % QUERIES])
                counts[i] += 1
            connection.close()

        _in_threads(work, connections)
        found[str(connections)] = round(sum(counts) / seconds)
    return found


def _in_threads(work: Callable[[int], object], count: int) -> None:
    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def points_message(ids: Any, vectors: Any) -> Any:
    """The gRPC message of an upsert."""
    points = [
        {
            "id": {"num": one},
            "vectors": {"vector": {"dense": {"data": row}}},
            "payload": {
                "n": {"integer_value": one},
                "text": {"string_value": payload_of(one)["text"]},
            },
        }
        for one, row in zip(ids, vectors.tolist(), strict=True)
    ]
    return q.UpsertPoints(collection_name=NAME, wait=True, points=points)


def uploads(
    ports: tuple[int, int], in_process: QdrantClient, rng: Any, dimension: int
) -> dict[str, float]:
    """Milliseconds of a batch of a thousand points, by HTTP, gRPC and in process, in turns."""
    connection, calls = Connection(ports[0]), Calls(ports[1])
    by_http: list[float] = []
    by_grpc: list[float] = []
    with_path: list[float] = []
    for i in range(UPLOADS):
        vectors = rng.normal(size=(PARTS, dimension)).astype(np.float32)
        ids = range(1_000_000 + i * PARTS, 1_000_000 + (i + 1) * PARTS)
        points = [
            {"id": one, "vector": row, "payload": payload_of(one)}
            for one, row in zip(ids, vectors, strict=True)
        ]
        sent = request("PUT", f"/collections/{NAME}/points?wait=true", {"points": points})
        models = [m.PointStruct(id=p["id"], vector=p["vector"].tolist(), payload=p["payload"])
                  for p in points]  # fmt: skip
        message = points_message(ids, vectors)
        by_http.append(timed(lambda sent=sent: connection.ask(sent)))
        by_grpc.append(timed(lambda message=message: calls.points.Upsert(message)))
        with_path.append(timed(lambda models=models: in_process.upsert(NAME, models)))
    connection.close()
    calls.close()
    http, path = statistics.median(by_http) / 1e3, statistics.median(with_path) / 1e3
    return {
        "HTTP ms": round(http, 1),
        "gRPC ms": round(statistics.median(by_grpc) / 1e3, 1),
        "path= ms": round(path, 1),
        "ratio": round(path / http, 2),
    }


def health_under_load(port: int, queries: list[Any], dimension: int, seconds: float) -> float:
    """The 99th percentile of requests for /healthz in milliseconds, while eight connections upload
    and eight query."""
    asked = [request("POST", QUERY, {"query": q, "with_payload": True}) for q in queries]
    rng, ends, took = np.random.default_rng(1), time.perf_counter() + seconds, []
    points = [
        {"id": i, "vector": rng.normal(size=dimension).astype(np.float32)} for i in range(100)
    ]
    upload = request("PUT", f"/collections/{NAME}/points?wait=true", {"points": points})

    def work(i: int) -> None:
        connection = Connection(port)
        while time.perf_counter() < ends:
            connection.ask(upload if i % 2 else asked[i])
        connection.close()

    def look() -> None:
        connection, health = Connection(port), request("GET", "/healthz")
        while time.perf_counter() < ends:
            took.append(timed(lambda: connection.ask(health)))
            time.sleep(0.01)
        connection.close()

    looking = threading.Thread(target=look)
    looking.start()
    _in_threads(work, 16)
    looking.join()
    return round(float(np.percentile(took, 99)) / 1e3, 1)


def payload_of(i: int) -> dict[str, Any]:
    """The payload of a point."""
    return {"n": i, "text": f"The thing with the number {i} has a text of its own."}


def fill(client: QdrantClient, vectors: Any) -> None:
    """A collection of these vectors."""
    params = m.VectorParams(size=vectors.shape[1], distance=m.Distance.COSINE)
    client.create_collection(NAME, params)
    for at in range(0, len(vectors), PARTS):
        ids = list(range(at, min(at + PARTS, len(vectors))))
        payloads = [payload_of(i) for i in ids]
        client.upsert(NAME, m.Batch(ids=ids, vectors=vectors[ids].tolist(), payloads=payloads))


def edge_query(folder: Path, vectors: Any) -> Callable[[Any], object]:
    """A function that runs the same query in Qdrant Edge, in process, on the same points."""
    import qdrant_edge as e  # of the extra bench

    params = e.EdgeVectorParams(size=vectors.shape[1], distance=e.Distance.Cosine)
    shard = e.EdgeShard.create(str(folder), e.EdgeConfig(vectors={"": params}))
    for at in range(0, len(vectors), PARTS):
        points = [
            e.Point(i, vectors[i].tolist(), payload_of(i))
            for i in range(at, min(at + PARTS, len(vectors)))
        ]
        shard.update(e.UpdateOperation.upsert_points(points))
    shard.optimize()

    def ask(query: Any) -> object:
        return shard.query(
            e.QueryRequest(query=e.Query.Nearest(query), limit=10, with_payload=True)
        )

    return ask


def measured(vectors: Any, queries: list[Any], seconds: float) -> dict[str, Any]:
    """All figures of one collection."""
    found: dict[str, Any] = {"points": len(vectors), "dimension": vectors.shape[1]}
    dimension, rng = vectors.shape[1], np.random.default_rng(2)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        client = QdrantClient(path=folder)
        fill(client, vectors)
        edge = edge_query(Path(other), vectors)
        with served(folder, 1) as (port, grpc_port):
            found["us"] = stages((port, grpc_port), client, edge, queries)
            found["one worker, a second"] = rates(port, queries, seconds)
        with served(folder, 2) as (port, _):
            found["two workers, a second"] = rates(port, queries, seconds)
            load = health_under_load(port, queries, dimension, seconds)
            found["health under load, p99 ms"] = load
        with served(folder, 1) as ports:
            found["upload"] = uploads(ports, client, rng, dimension)
        client.close()
    return found


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each count of queries")
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"))
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(5_000, 384)).astype(np.float32)
    queries = rng.normal(size=(QUERIES, 384)).astype(np.float32).tolist()
    glosses = embedded(texts(50_000 + QUERIES), 256)
    found = {
        "5,000 x 384, random": measured(vectors, queries, given.seconds),
        "50,000 x 256, glosses": measured(
            glosses[QUERIES:], glosses[:QUERIES].tolist(), given.seconds
        ),
    }
    print(json.dumps(found, indent=2))
    save(
        given.output,
        "server",
        found,
        ["grpcio", "qdrant-client", "qdrant-edge-py", "uvicorn", "uvloop", "pysimdjson"],
    )


if __name__ == "__main__":
    main()
