"""How fast collections are copied: between directories, through memory, and to a server.

    python benchmarks/copying.py [--points 100000] [--dimension 384] [--url http://localhost:6333]

Each point has a vector, a text of 200 characters and four keys of metadata. Without --url, the
server is the tests' server: it runs in this process, in Python, with Qdrant's engine, behind a real
socket. It gets a twentieth of the points, and its own speed is part of the figure. For comparison,
the minimal work is measured too: reading all points, and adding them to a new collection in batches
of 1,000.
"""

import argparse
import json
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np

import retrieval_store

FIELDS = ["documents", "metadatas", "embeddings"]


def fill(collection, points, dimension, text="text {i} "):
    """Add points with a vector, four keys of metadata, and a text of 200 characters that begins
    with `text`."""
    rng = np.random.default_rng(0)
    for start in range(0, points, 10_000):
        rows = range(start, min(start + 10_000, points))
        collection.add(
            [f"point {i}" for i in rows],
            rng.standard_normal((len(rows), dimension), np.float32),
            [{"n": i, "kind": f"k{i % 7}", "share": i / points, "even": i % 2 == 0} for i in rows],
            [text.format(i=i).ljust(200, "x") for i in rows],
        )


def rate(points, work):
    """Points per second."""
    start = time.perf_counter()
    work()
    return round(points / (time.perf_counter() - start))


def add_again(source, target):
    things = source.get_collection("things", embedding_function=None)
    again = target.create_collection("again", embedding_function=None)
    again.add_from(things.iterate(include=FIELDS))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--points", type=int, default=100_000)
    arguments.add_argument("--dimension", type=int, default=384)
    arguments.add_argument("--url")
    asked = arguments.parse_args()
    few = asked.points // 20 if asked.url is None else asked.points
    figures = {"points": asked.points, "dimension": asked.dimension}
    with tempfile.TemporaryDirectory() as folder:
        source = retrieval_store.Client(Path(folder) / "source")
        things = source.create_collection("things", embedding_function=None)
        fill(things, asked.points, asked.dimension)
        target = retrieval_store.Client(Path(folder) / "target")
        memory, back = retrieval_store.Client(), retrieval_store.Client(Path(folder) / "back")
        figures["reading all, points/s"] = rate(
            asked.points, lambda: sum(1 for _ in things.iterate(include=FIELDS))
        )
        figures["adding all, points/s"] = rate(asked.points, lambda: add_again(source, target))
        target.delete_collection("again")
        for name, one, other in (
            ("directory to directory", source, target),
            ("directory to memory", source, memory),
            ("memory to directory", memory, back),
        ):
            figures[f"{name}, points/s"] = rate(asked.points, lambda a=one, b=other: a.copy_to(b))
        with served(asked.url) as url:
            server = retrieval_store.Client(url=url)
            fill(source.create_collection("few", embedding_function=None), few, asked.dimension)
            figures["directory to server, points/s"] = rate(
                few, lambda: source.copy_to(server, "few")
            )
            figures["server to memory, points/s"] = rate(
                few, lambda: server.copy_to(retrieval_store.Client(), "few")
            )
            server.delete_collection("few")
    print(json.dumps(figures, indent=2))


def served(url):
    """The URL of a server."""
    if url is not None:
        return nullcontext(url)
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.helpers.qdrant_server.socket import serving

    return serving()


if __name__ == "__main__":
    main()
