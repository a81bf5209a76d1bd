"""What `Client(url=…)` of a served store costs, beside the same calls on a directory.

    python benchmarks/served.py [--output FOLDER]

The server runs in its own process and is reached by loopback. Each call alternates between the
directory, opened by this process, and the URL, on stores with equal contents. Figures are medians
in milliseconds. Prints JSON, and saves it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from runs import save

import retrieval_store
from retrieval_store import Client, Collection

POINTS, DIMENSION, BATCH, RECORDS = 5_000, 384, 1_000, 10_000
ROUNDS, ADDS, GETS = 600, 10, 10
EVERYTHING = ["documents", "metadatas", "embeddings"]


@contextmanager
def served(folder: str) -> Iterator[str]:
    """Start a server of a directory; yields its URL."""
    command = [sys.executable, "-m", "retrieval_store", "serve", folder, "--port", "0"]
    command += ["--grpc-port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split(" at ")[1].split(",")[0].strip()
    finally:
        process.terminate()
        process.wait()


def records(start: int, count: int, rng: Any) -> dict[str, Any]:
    """Records as a user adds them."""
    return {
        "ids": [f"p{i}" for i in range(start, start + count)],
        "embeddings": rng.normal(size=(count, DIMENSION)).astype(np.float32),
        "documents": [
            f"The thing with the number {i} has a text of its own." for i in range(count)
        ],
        "metadatas": [{"n": i, "kind": "abc"[i % 3]} for i in range(count)],
    }


def in_turns(
    calls: Mapping[str, Callable[[], object]], rounds: int, warm: int = 2
) -> dict[str, float]:
    """Medians of alternating calls. Each call is repeated once right before it is measured, as in a
    program that makes it again and again."""
    took: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(rounds + warm):
        for name, call in calls.items():
            call()
            began = time.perf_counter()
            call()
            if i >= warm:
                took[name].append(time.perf_counter() - began)
    return {name: round(statistics.median(one) * 1e3, 3) for name, one in took.items()}


def adds(places: Mapping[str, Client], rng: Any) -> dict[str, float]:
    """Medians of adding a batch."""
    took: dict[str, list[float]] = {name: [] for name in places}
    made = {
        name: client.create_collection(f"added-{i}", embedding_function=None)
        for i, (name, client) in enumerate(places.items())
    }
    for i in range(ADDS + 2):
        batch = records(i * BATCH, BATCH, rng)
        for name, collection in made.items():
            began = time.perf_counter()
            collection.add(**batch)
            if i > 1:
                took[name].append(time.perf_counter() - began)
    return {name: round(statistics.median(one) * 1e3, 2) for name, one in took.items()}


def filled(client: Client, name: str, batch: dict[str, Any]) -> Collection:
    """A collection of these records."""
    collection = client.create_collection(
        name, {"hnsw": {"space": "cosine"}}, embedding_function=None
    )
    collection.add(**batch)
    collection.warm()
    return collection


def measured(places: Mapping[str, Client]) -> dict[str, dict[str, float]]:
    """All figures."""
    rng = np.random.default_rng(0)
    some, many = records(0, POINTS, rng), records(0, RECORDS, rng)
    query = rng.normal(size=(1, DIMENSION)).astype(np.float32)
    here, there = places["directory"], places["URL"]
    for client in (here, there):
        filled(client, "things", some)
        filled(client, "many", many)
    things = {name: client.get_collection("things") for name, client in places.items()}
    larger = {name: client.get_collection("many") for name, client in places.items()}

    def each(call: Callable[[Collection], object], of: Any) -> dict[str, Callable[[], object]]:
        return {name: lambda one=one: call(one) for name, one in of.items()}

    where = {"kind": "a"}
    return {
        "query, 10 of 5,000 x 384": in_turns(
            each(lambda c: c.query(query_embeddings=query), things), ROUNDS
        ),
        "the same with a filter": in_turns(
            each(lambda c: c.query(query_embeddings=query, where=where), things), ROUNDS
        ),
        "count": in_turns(each(lambda c: c.count(), things), ROUNDS),
        "get of one id": in_turns(each(lambda c: c.get(ids="p7"), things), ROUNDS),
        "add of 1,000 x 384": adds(places, rng),
        "get of 10,000 records": in_turns(each(lambda c: c.get(), larger), GETS),
        "the same with embeddings": in_turns(
            each(lambda c: c.get(include=EVERYTHING), larger), GETS
        ),
    }


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"))
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        here = stack.enter_context(retrieval_store.Client(f"{folder}/here"))
        url = stack.enter_context(served(f"{folder}/there"))
        there = stack.enter_context(retrieval_store.Client(url=url))
        found = measured({"directory": here, "URL": there})
    print(json.dumps(found, indent=2))
    save(given.output, "served", found, ["uvicorn", "uvloop"])


if __name__ == "__main__":
    main()
