"""The cost of expensive requests to a server: seconds, memory during and after, and the response.

    python benchmarks/asked_much.py [--only NAME ...] [--output FOLDER]

Each request goes to a new server with 5,000 points of 32 numbers (the last one: 50,000), with a
read-only key. `peak` and `after` are MB above the memory before the request; `after` is measured
one second later. `gone`: a client closes its connection after a second, and the figure is the
server's CPU seconds in the next three. `mixed`: of 200 simultaneous connections, 45 send plain
queries and five write points, while the others send all expensive requests. Prints JSON, and saves
it.
"""

import argparse
import http.client
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from runs import save

import retrieval_store

POINTS, MANY, DIMENSION, PATIENCE = 5_000, 50_000, 32, 120.0
VECTOR = [0.1] * DIMENSION
QUERY, MATRIX = "/collections/things/points/query", "/collections/things/points/search/matrix/pairs"
BATCH = f"{QUERY}/batch"


def formula() -> bytes:
    terms = [{"mult": [0.5, f"n{i % 5}"]} for i in range(50_000)]
    query = {"formula": {"sum": terms}, "defaults": {f"n{i}": 1.0 for i in range(5)}}
    return body({"prefetch": {"query": VECTOR, "limit": POINTS}, "query": query})


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


def absent_keys() -> bytes:
    conditions = [{"key": f"k{i}", "match": {"value": 1}} for i in range(100_000)]
    return body({"query": VECTOR, "filter": {"should": conditions}})


def as_vector(text: bytes) -> bytes:
    return b'{"query": [%b]}' % (text * (31_000_000 // len(text)) + text.rstrip(b","))


REQUESTS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "matrix 2,000 x 2,000": (MATRIX, lambda: body({"sample": 2_000, "limit": 2_000})),
    "matrix 10^9": (MATRIX, lambda: body({"sample": 10**9, "limit": 10**9})),
    "batch of 1,000, limit 5,000": (
        BATCH,
        lambda: body({"searches": [{"query": VECTOR, "limit": 5_000}] * 1_000}),
    ),
    "batch of 1,000 that differ, limit 5,000": (
        BATCH,
        lambda: body(
            {"searches": [{"query": [i / 1e3, *VECTOR[1:]], "limit": 5_000} for i in range(1_000)]}
        ),
    ),
    "batch of 100,000 empty": (BATCH, lambda: body({"searches": [{}] * 100_000})),
    "batch of 250, limit 5,000": (
        BATCH,
        lambda: body({"searches": [{"query": VECTOR, "limit": 5_000}] * 250}),
    ),
    "matrix 750 x 750": (MATRIX, lambda: body({"sample": 750, "limit": 750})),
    "formula of 100,000 terms": (QUERY, formula),
    "filter of 100,000 absent keys": (QUERY, absent_keys),
    "31 MB of []": (QUERY, lambda: as_vector(b"[],")),
    "31 MB of {}": (QUERY, lambda: as_vector(b"{},")),
    "31 MB of [0]": (QUERY, lambda: as_vector(b"[0],")),
    "matrix 5,000 x 5,000 of 50,000": (MATRIX, lambda: body({"sample": 5_000, "limit": 5_000})),
}


def make(folder: Path, points: int) -> None:
    """A store with one collection."""
    with retrieval_store.Client(folder) as client:
        things = client.create_collection("things", embedding_function=None)
        rows = np.random.default_rng(0).normal(size=(points, DIMENSION)).astype(np.float32)
        for start in range(0, points, 5_000):
            some = range(start, min(start + 5_000, points))
            things.add(
                ids=[str(i) for i in some],
                embeddings=rows[start : some.stop],
                metadatas=[{f"n{j}": i % (j + 2) for j in range(5)} for i in some],
            )


class Asked:
    """A client of the server under load."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(
        self,
        path: str,
        content: bytes,
        seconds: float = PATIENCE,
        method: str = "POST",
        key: str = "reader",
    ) -> tuple[int, bytes]:
        """The status and the body of the server's response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        headers = {"api-key": key, "content-type": "application/json"}
        try:
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


class Server(Asked):
    """A server of a store, with figures of its process."""

    def __init__(self, store: Path, keys: Path) -> None:
        arguments = ["serve", str(store), "--port", "0", "--grpc-port", "0"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "retrieval_store", *arguments, "--api-key-file", str(keys)],
            stderr=subprocess.STDOUT,
            stdout=subprocess.PIPE,
            text=True,
        )
        super().__init__(0)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.search(r"http://[^:]+:(\d+)", line):
                self.port = int(found[1])
                break

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def memory(self) -> float:
        """The memory of the process in MB."""
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    @property
    def cpu(self) -> float:
        """CPU seconds of the process so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(server: Server, path: str, content: bytes) -> dict[str, Any]:
    """Send one request; returns its figures."""
    server.ask(QUERY, body({"query": VECTOR}))
    before, highest, done = server.memory, 0.0, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.01):
            highest = max(highest, server.memory)

    watching = threading.Thread(target=watch)
    watching.start()
    start = time.perf_counter()
    try:
        status, answer = server.ask(path, content)
    except (OSError, http.client.HTTPException) as error:
        status, answer = 0, str(error).encode()
    seconds = time.perf_counter() - start
    time.sleep(1)
    done.set()
    watching.join()
    said = answer[:200].decode("utf-8", "replace") if status != 200 else f"{len(answer):,} bytes"
    return {
        "seconds": round(seconds, 2),
        "peak": round(highest - before),
        "after": round(server.memory - before),
        "status": status,
        "answer": said,
    }


def gone(server: Server, path: str, content: bytes) -> float:
    """CPU seconds that a server uses in the three seconds after a client has disconnected."""
    try:
        server.ask(path, content, 1.0)
    except OSError:
        before = server.cpu
        time.sleep(3)
        return round(server.cpu - before, 2)
    return 0.0


def ask_for_much(port: int, until: float, connections: int) -> None:
    """Send all expensive requests again and again, over this many connections."""
    server = Asked(port)
    made = [(path, content()) for path, content in REQUESTS.values()]

    def ask(first: int) -> None:
        for place in range(first, 1 << 30):
            if time.time() > until:
                return
            try:
                server.ask(*made[place % len(made)], 20.0)
            except (OSError, http.client.HTTPException):
                continue

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(connections)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


def ask_as_usual(port: int, until: float, connections: int, results: Any) -> None:
    """Send plain queries, and write points one by one, over this many connections. Reports the
    seconds of each query, and the ids of points whose writes were acknowledged."""
    server = Asked(port)
    seconds: list[float] = []
    written: list[int] = []

    def query() -> None:
        while time.time() < until:
            start = time.perf_counter()
            status, _ = server.ask(QUERY, body({"query": VECTOR}), 60.0)
            seconds.append(time.perf_counter() - start if status == 200 else 60.0)
            time.sleep(0.05)

    def write(place: int) -> None:
        for number in range(place, 1 << 40, 1_000):
            if time.time() > until:
                return
            point = {"id": 10**6 + number, "vector": VECTOR}
            path = "/collections/things/points?wait=true"
            if server.ask(path, body({"points": [point]}), 60.0, "PUT", "writer")[0] == 200:
                written.append(10**6 + number)
            time.sleep(0.2)

    threads = [threading.Thread(target=query) for _ in range(connections)]
    threads += [threading.Thread(target=write, args=(i,)) for i in range(5)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    results.put((seconds, written))


def mixed(store: Path, keys: Path, seconds: float, connections: int = 200) -> dict[str, Any]:
    """Plain queries and writes beside all expensive requests, for a minute."""
    with Server(store, keys) as server:
        until, results = time.time() + seconds, multiprocessing.Queue()
        usual = connections // 4
        others = multiprocessing.Process(
            target=ask_for_much, args=(server.port, until, connections - usual)
        )
        asking = multiprocessing.Process(
            target=ask_as_usual, args=(server.port, until, usual - 5, results)
        )
        others.start()
        asking.start()
        times, written = results.get()
        asking.join()
        others.kill()
        memory = server.memory
        left = server.ask(
            "/collections/things/points", body({"ids": written, "with_payload": False})
        )
        there = len(json.loads(left[1])["result"])
    return {
        "queries": len(times),
        "ms, 50 % / 99 % / all": [
            round(1e3 * float(np.quantile(times, q))) for q in (0.5, 0.99, 1)
        ],
        "acknowledged": len(written),
        "lost": len(written) - there,
        "MB": round(memory),
    }


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=[], help="Beginnings of names.")
    parser.add_argument("--mixed", type=float, default=60.0, help="Seconds; 0 for none.")
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"))
    given = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        keys = place / "keys"
        keys.write_text("writer\nread-only reader\n")
        make(place / "few", POINTS)
        make(place / "many", MANY)
        for name, (path, content) in REQUESTS.items():
            if given.only and not name.startswith(tuple(given.only)):
                continue
            store = place / ("many" if name.endswith("50,000") else "few")
            made = content()
            with Server(store, keys) as server:
                found[name] = measured(server, path, made)
            with Server(store, keys) as server:
                found[name]["CPU after it has gone"] = gone(server, path, made)
            print(json.dumps({name: found[name]}), flush=True)
        if given.mixed:
            found["mixed"] = mixed(place / "few", keys, given.mixed)
            print(json.dumps({"mixed": found["mixed"]}))
    save(given.output, "asked_much", found, ["orjson", "uvicorn"])


if __name__ == "__main__":
    main()
