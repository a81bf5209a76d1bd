"""The cost of looking into a large store: the requests of the page of `view`, and `why`.

    python benchmarks/looking.py [--points N] [--store FOLDER] [--output FOLDER]

If the folder has no store, a collection is created: clustered vectors of 384 numbers, with short
documents and two keys. Each request of the page is made in this process once, then three times
more. Shows milliseconds of the first call, which loads data into memory, and the median of the
others. Prints JSON, and saves it.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from runs import save

from retrieval_store import Client, Collection
from retrieval_store.backends import open_path
from retrieval_store_server.view.calls import CALLS
from retrieval_store_server.view.live import Views

DIMENSION, CLOUDS, BATCH, AGAIN = 384, 200, 25_000, 3
WORDS = ["sea", "wind", "ship", "storm", "island", "light", "morning", "river", "wolf", "harbour"]


def fill(folder: str, points: int) -> None:
    """Make the collection."""
    rng = np.random.default_rng(7)
    centers = rng.normal(size=(CLOUDS, DIMENSION)).astype(np.float32)
    with Client(folder, durability="relaxed") as client:
        collection = client.create_collection(
            "large", {"hnsw": {"space": "cosine"}}, embedding_function=None
        )
        for start in range(0, points, BATCH):
            count = min(BATCH, points - start)
            cloud = rng.integers(0, CLOUDS, count)
            noise = rng.normal(scale=0.5, size=(count, DIMENSION)).astype(np.float32)
            words = rng.integers(0, len(WORDS), (count, 8)).tolist()
            collection.add(
                ids=[f"p{i}" for i in range(start, start + count)],
                embeddings=centers[cloud] + noise,
                documents=[" ".join(WORDS[j] for j in row) for row in words],
                metadatas=[{"cloud": int(one), "year": 1500 + int(one) % 500} for one in cloud],
            )


def timed(call: Callable[[], object]) -> dict[str, float]:
    """Milliseconds of the first call, and the median of later calls."""
    took = []
    for _ in range(1 + AGAIN):
        began = time.perf_counter()
        call()
        took.append((time.perf_counter() - began) * 1e3)
    return {"first": round(took[0], 1), "again": round(statistics.median(took[1:]), 1)}


def asked_of(views: Views) -> Mapping[str, Callable[[], object]]:
    """The requests of the page, in the order in which a user makes them."""
    (summary,) = CALLS["store"](views, {})["collections"]
    large = {"collection": summary["collection"]}
    years = iter(range(1600, 2000))

    def ask(name: str, **body: Any) -> Callable[[], object]:
        return lambda: CALLS[name](views, {**large, **body})

    def counted() -> object:
        where = {"year": {"$gte": next(years)}}  # a filter that wasn't asked before
        return CALLS["count"](views, {**large, "where": where})

    return {
        "first view: collections": lambda: CALLS["store"](views, {}),
        "a collection": ask("collection"),
        "a page of records": ask("records", limit=50),
        "count of a new filter": counted,
        "query by words": ask("query", mode="text", text="storm at the harbour"),
        "query by a record": ask("query", record="s:p1"),
        "map of 200,000": ask("map"),
        "map, coloured by a key": ask("map", color="year"),
    }


def why_of(collection: Collection) -> Mapping[str, Callable[[], object]]:
    """The times of `why`, by each search method."""
    vector = collection.get(ids="p1", include=["embeddings"])["embeddings"][0]
    text = "storm at the harbour"
    records = ["p2", "p3", "p4"]
    return {
        "why, dense": lambda: collection.why(query_embeddings=vector, records=records),
        "why, text": lambda: collection.why(query_texts=text, mode="text", records=records),
        "why, hybrid": lambda: collection.why(
            query_texts=text, query_embeddings=vector, mode="hybrid", records=records
        ),
    }


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--store")
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.store or f"{temporary}/store"
        if not (Path(folder) / "catalog.sqlite").exists():
            fill(folder, given.points)
        session = open_path(Path(folder), "read-only", rebuild=False)
        try:
            found = {name: timed(call) for name, call in asked_of(Views(session)).items()}
        finally:
            session.close()
        with Client(folder, read_only=True) as client:
            collection = client.get_collection("large", embedding_function=None)
            found |= {name: timed(call) for name, call in why_of(collection).items()}
    save(given.output, "looking", found, (), points=given.points, dimension=DIMENSION)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
