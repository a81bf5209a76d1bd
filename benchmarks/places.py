"""The cost of the same program on each kind of store.

    python benchmarks/places.py POINTS NAME=ADDRESS [NAME=ADDRESS …] [--indexes] [--keep]
        [--output FOLDER]

An address is a directory or a URL; the nodes of a cluster are separated by commas. The name
`client` stands for a Qdrant server on which qdrant-client does the same, either on the collection
kept there, or on its own, whose payload indexes are created before the points are loaded. Each
place gets the same points: 256 numbers, a sentence, and five values. Figures are medians in
milliseconds, except for rates per second. Prints JSON, and adds the figures to a run. With
`--indexes`, our collections on clusters get payload indexes before they are loaded, too. With
`--keep`, collections stay there, and an existing one is measured as it is.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models
from runs import save

import retrieval_store

DIMENSION, BATCH, RUNS, NAME = 256, 1_000, 60, "places"
LONGEST = 10.0  # seconds for the runs of one call
WORDS = [f"w{i}" for i in range(2_000)]
INDEXES = {"tenth": "keyword", "fiftieth": "keyword", "year": "float", "price": "float"}
Calls = dict[str, Callable[[], object]]


def centres_of_points() -> Any:
    """The centres of the clusters of points and questions."""
    return np.random.default_rng(2).normal(size=(200, DIMENSION)).astype(np.float32)


def batches(points: int) -> Iterator[dict[str, Any]]:
    """All points, from a mixture of clusters, in batches."""
    rng, centres = np.random.default_rng(0), centres_of_points()
    for start in range(0, points, BATCH):
        numbers = range(start, min(start + BATCH, points))
        near = centres[rng.integers(0, len(centres), len(numbers))]
        words = rng.zipf(1.3, (len(numbers), 12)) % len(WORDS)
        yield {
            "ids": [f"r{i}" for i in numbers],
            "embeddings": near + rng.normal(size=near.shape).astype(np.float32),
            "documents": [" ".join(WORDS[j] for j in row) for row in words.tolist()],
            "metadatas": [
                {
                    "tenth": f"k{i % 10}",
                    "fiftieth": f"k{i % 50}",
                    "year": 1990 + i % 30,
                    "price": round(i * 0.37 % 100, 2),
                    "tag": "t",
                }
                for i in numbers
            ],
        }


def questions() -> Iterator[Any]:
    """Yields query vectors, none of which is stored."""
    rng, centres = np.random.default_rng(1), centres_of_points()
    while True:
        near = centres[rng.integers(0, len(centres))]
        yield near + rng.normal(size=DIMENSION).astype(np.float32)


def in_collection(things: retrieval_store.Collection, points: int) -> Calls:
    """The calls of a Collection."""
    asked, numbers = questions(), count()
    return {
        "query": lambda: things.query([next(asked)]),
        "query, a tenth": lambda: things.query([next(asked)], where={"tenth": "k3"}),
        "query, a range of a tenth": lambda: things.query(
            [next(asked)], where={"year": {"$gte": 2000, "$lt": 2003}}
        ),
        "words": lambda: things.query(query_texts=f"w7 w90 w{next(numbers) % 999}", mode="text"),
        "hybrid": lambda: things.query([next(asked)], f"w7 w{next(numbers) % 999}", mode="hybrid"),
        "count, a tenth": lambda: things.count(where={"tenth": "k3"}),
        "facet of ten": lambda: things.facet("tenth"),
        "first ten by price": lambda: things.get(order_by="price", limit=10),
        "get of 100 by ids": lambda: things.get(
            [f"r{next(numbers) * 7 % points}" for _ in range(100)]
        ),
        "update of a tenth": lambda: things.update(
            where={"tenth": "k3"}, metadatas={"tag": f"t{next(numbers)}"}
        ),
        "deletion of a fiftieth": lambda: things.delete(
            where={"fiftieth": f"k{next(numbers) % 25}"}
        ),
    }


def by_client(client: QdrantClient) -> Calls:
    """The same calls by qdrant-client, on any collection with these points."""
    asked, numbers = questions(), count()
    tenth = models.FieldCondition(key="tenth", match=models.MatchValue(value="k3"))
    others = models.Filter(
        must=[models.FieldCondition(key="tenth", match=models.MatchValue(value="k4"))]
    )
    some = models.FieldCondition(key="year", range=models.Range(gte=2000, lt=2003))
    is_ours = isinstance(client.get_collection(NAME).config.params.vectors, dict)
    using = "embedding" if is_ours else None
    ids = [record.id for record in client.scroll(NAME, limit=1_000, with_payload=False)[0]]

    def query(condition: models.FieldCondition | None) -> Callable[[], object]:
        where = None if condition is None else models.Filter(must=[condition])
        return lambda: client.query_points(
            NAME, next(asked).tolist(), using=using, query_filter=where
        )

    return {
        "query": query(None),
        "query, a tenth": query(tenth),
        "query, a range of a tenth": query(some),
        "count, a tenth": lambda: client.count(NAME, models.Filter(must=[tenth])),
        "facet of ten": lambda: client.facet(NAME, "tenth", exact=True),
        "first ten by price": lambda: client.scroll(NAME, limit=10, order_by="price"),
        "get of 100 by ids": lambda: client.retrieve(
            NAME, [ids[next(numbers) * 7 % len(ids)] for _ in range(100)]
        ),
        "update of a tenth": lambda: client.set_payload(
            NAME,
            {"tag": f"t{next(numbers)}"},
            others,  # which no call has changed before
        ),
        "deletion of a fiftieth": lambda: client.delete(
            NAME, models.FilterSelector(filter=fiftieth(25 + next(numbers) % 25))
        ),
    }


def fiftieth(number: int) -> models.Filter:
    """A filter for a fiftieth of the points."""
    match = models.MatchValue(value=f"k{number}")
    return models.Filter(must=[models.FieldCondition(key="fiftieth", match=match)])


def timed(calls: Calls, is_at_rest: Callable[[], bool]) -> dict[str, float]:
    """Median milliseconds of each call, and the first one's if it took much longer. Changes begin
    when the store is idle; a server is busy for a while after other changes."""
    took = {}
    for name, call in calls.items():
        times: list[float] = []
        changes = name.startswith(("update", "deletion"))
        runs = 5 if changes else RUNS
        if changes:
            until(is_at_rest)
        while len(times) < runs and sum(times) < LONGEST * 1e3:
            began = time.perf_counter()
            call()
            times.append((time.perf_counter() - began) * 1e3)
        took[name] = round(statistics.median(times[1:] or times), 3)
        if times[0] > 5 * took[name] and times[0] > 50:
            took[f"{name}, the first time"] = round(times[0], 1)
        print(f"  {name}: {took[name]} (first {times[0]:.1f})", file=sys.stderr, flush=True)
    return took


def loaded(put: Callable[[dict[str, Any]], object], points: int) -> float:
    """Points per second, written batch by batch."""
    began = time.perf_counter()
    for batch in batches(points):
        put(batch)
    return round(points / (time.perf_counter() - began))


def until(is_ready: Callable[[], bool]) -> float:
    """Seconds until the condition holds."""
    began = time.perf_counter()
    while not is_ready():
        time.sleep(0.2)
    return round(time.perf_counter() - began, 1)


def loaded_by_client(client: QdrantClient, points: int) -> dict[str, float]:
    """Load the points into a collection with payload indexes."""
    size = models.VectorParams(size=DIMENSION, distance=models.Distance.EUCLID)
    client.delete_collection(NAME)
    client.create_collection(NAME, vectors_config=size)
    for key, kind in INDEXES.items():
        client.create_payload_index(NAME, key, models.PayloadSchemaType(kind), wait=True)
    numbers = count()

    def put(batch: dict[str, Any]) -> None:
        texts = zip(batch["metadatas"], batch["documents"], strict=True)
        payloads = [{**metadata, "document": text} for metadata, text in texts]
        ids = [next(numbers) for _ in payloads]
        client.upload_collection(
            NAME, batch["embeddings"], payloads, ids, batch_size=BATCH, wait=True
        )

    speed = loaded(put, points)
    green = models.CollectionStatus.GREEN
    waited = until(lambda: client.get_collection(NAME).status == green)
    return {"loaded a second": speed, "seconds until indexed": waited}


def measured_by_client(url: str, points: int, keep: bool) -> dict[str, float]:
    """The figures of qdrant-client."""
    client = QdrantClient(url=url, timeout=600, check_compatibility=False)
    figures: dict[str, float] = {}
    if not (keep and client.collection_exists(NAME)):
        figures |= loaded_by_client(client, points)
    figures |= timed(
        by_client(client),
        lambda: client.get_collection(NAME).status == models.CollectionStatus.GREEN,
    )
    if not keep:
        client.delete_collection(NAME)
    client.close()
    return figures


def loaded_anew(
    client: retrieval_store.Client, points: int, nodes: int, indexed: bool
) -> dict[str, float]:
    """Load the points into a new collection. On several nodes, it has two replicas."""
    if NAME in [collection.name for collection in client.list_collections()]:
        client.delete_collection(NAME)
    settings: dict[str, Any] = {"indexes": INDEXES} if indexed else {}
    if nodes > 1:
        settings |= {"shard_number": nodes, "replication_factor": 2}
    configuration: Any = {"qdrant": settings} if settings else None
    things = client.create_collection(NAME, configuration, embedding_function=None)
    speed = loaded(lambda batch: things.add(**batch), points)
    began = time.perf_counter()
    things.optimize()
    until(lambda: things.stats().get("status", "green") == "green")
    waited = round(time.perf_counter() - began, 1)
    return {"loaded a second": speed, "seconds until indexed": waited}


def measured(address: str, points: int, keep: bool, indexed: bool = False) -> dict[str, float]:
    """The figures of a Collection at an address."""
    nodes = address.split(",")
    place: Any = {"url": nodes if len(nodes) > 1 else address}
    if "://" not in address:
        place = {"path": address}
    figures: dict[str, float] = {}
    with retrieval_store.Client(**place) as client:
        names = [collection.name for collection in client.list_collections()]
        if not (keep and NAME in names):
            figures |= loaded_anew(client, points, len(nodes), indexed)
        things = client.get_collection(NAME, embedding_function=None)
        figures |= timed(
            in_collection(things, points),
            lambda: things.stats().get("status", "green") == "green",
        )
        began = time.perf_counter()
        number = sum(1 for _ in things.iterate(include=["metadatas", "documents", "embeddings"]))
        figures["iterated a second"] = round(number / (time.perf_counter() - began))
        if not keep:
            client.delete_collection(NAME)
    return figures


def main() -> None:
    """Measure each place, and add the figures to the run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("points", type=int)
    parser.add_argument("places", nargs="+")
    parser.add_argument("--indexes", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"))
    chosen = parser.parse_args()
    file = chosen.output / "places.json"
    results = json.loads(file.read_text())["results"] if file.exists() else {}
    for place in chosen.places:
        name, _, address = place.partition("=")
        print(name, file=sys.stderr)
        if name == "client":
            figures = measured_by_client(address, chosen.points, chosen.keep)
        else:
            figures = measured(address, chosen.points, chosen.keep, chosen.indexes)
        results.setdefault(str(chosen.points), {})[name] = figures
        save(chosen.output, "places", results, ["qdrant-client", "hnswlib"])
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
