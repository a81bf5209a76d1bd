"""The kinds of stores in a rehearsal: a directory, memory, a server of two processes over HTTP or
gRPC, and a cluster, for which a test server with Qdrant's engine stands.
"""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import retrieval_store
from integrations.server.tests.http.serving import served
from tests.helpers import PATIENCE


@dataclass(repr=False)
class Place:
    """client, qdrant: create another client of the store, of each interface. path: the directory,
    if this process may open it. url: the URL, if it is served. processes: the server's processes.
    lines: their standard error."""

    name: str
    client: Callable[[], retrieval_store.Client]
    qdrant: Callable[[], Any]
    path: Path | None = None
    url: str | None = None
    processes: list[int] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def _qdrant(**options: Any) -> Any:
    from retrieval_store.qdrant import QdrantClient

    return QdrantClient(timeout=PATIENCE, **options)


@contextmanager
def on_disk(folder: Path) -> Iterator[Place]:
    path = folder / "store"
    yield Place(
        "disk", lambda: retrieval_store.Client(path), lambda: _qdrant(path=str(path)), path=path
    )


@contextmanager
def in_memory(folder: Path) -> Iterator[Place]:
    """One client of each interface; each has its own store."""
    with retrieval_store.Client() as client:
        points = _qdrant(location=":memory:")
        try:
            yield Place("memory", lambda: client, lambda: points)
        finally:
            points.close()


@contextmanager
def _server(folder: Path, name: str) -> Iterator[tuple[Place, int]]:
    words = folder / "served", "--workers", 2, "--grpc-port", "any"
    with served(*words, cwd=folder) as (process, url):
        place = Place(name, lambda: retrieval_store.Client(url=url), lambda: None, url=url)
        place.processes.append(process.pid)
        reader = threading.Thread(target=place.lines.extend, args=[process.stderr], daemon=True)
        reader.start()
        port = re.search(r":(\d+)\s*$", process.stdout.readline())
        assert port, place.lines
        try:
            yield place, int(port[1])
        finally:
            process.terminate()
            process.wait(PATIENCE)
            reader.join(PATIENCE)


@contextmanager
def over_http(folder: Path) -> Iterator[Place]:
    with _server(folder, "served") as (place, _):
        place.qdrant = lambda: _qdrant(url=place.url)
        yield place


@contextmanager
def over_grpc(folder: Path) -> Iterator[Place]:
    with _server(folder, "grpc") as (place, port):
        place.qdrant = lambda: _qdrant(url=place.url, grpc_port=port, prefer_grpc=True)
        yield place


@contextmanager
def on_cluster(folder: Path) -> Iterator[Place]:
    from tests.helpers.qdrant_server import Server

    server = Server()
    qdrant = server.client()
    try:
        yield Place("cluster", lambda: retrieval_store.Client(qdrant_client=qdrant), lambda: qdrant)
    finally:
        qdrant.close()
        server.close()


PLACES = {
    "disk": on_disk,
    "memory": in_memory,
    "served": over_http,
    "grpc": over_grpc,
    "cluster": on_cluster,
}
EMBEDDED = frozenset({"disk", "memory"})
SERVED = frozenset({"served", "grpc"})
COLLECTIONS = frozenset({"disk", "memory", "served", "cluster"})  # where Collection's steps run
POINTS = frozenset({"disk", "memory", "served", "grpc"})  # where QdrantClient's do
