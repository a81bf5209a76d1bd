"""How fast a collection is copied to a Qdrant server, beside qdrant-client's own uploads.

    python benchmarks/uploading.py [--points 20000] [--dimension 128] [--url http://localhost:6333]

Each point has a vector, a text of 200 characters and four keys of metadata. The copy is compared
with `upload_collection` of the vectors alone (the minimal work) and `upload_points` of everything
the copy writes: vectors, sparse vectors of words, and payloads. Each runs three times, alternating,
and the best counts. Without --url, the server is the tests' server, in its own process.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from copying import fill
from qdrant_client import QdrantClient, models

import retrieval_store

ROUNDS = 3
TEXTS = (
    "the river bank of a city where boats lie and people walk along the water in the evening {i} "
)


def copied(source, url):
    """Seconds of a copy; the copied collection stays."""
    with retrieval_store.Client(url=url) as target:
        start = time.perf_counter()
        source.copy_to(target)
        return time.perf_counter() - start


def uploaded(qdrant, dimension, words, upload):
    """Seconds of `upload` into a new collection."""
    qdrant.create_collection(
        "uploaded",
        {"embedding": models.VectorParams(size=dimension, distance="Cosine")},
        {"words": models.SparseVectorParams(modifier="idf")} if words else None,
    )
    start = time.perf_counter()
    upload()
    taken = time.perf_counter() - start
    qdrant.delete_collection("uploaded")
    return taken


def all_points(qdrant):
    """The points of the copy, as stored on the server."""
    found, offset = [], None
    while True:
        page, offset = qdrant.scroll("things", None, 1000, offset=offset, with_vectors=True)
        found += page
        if offset is None:
            return [models.PointStruct(id=p.id, vector=p.vector, payload=p.payload) for p in found]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--points", type=int, default=20_000)
    arguments.add_argument("--dimension", type=int, default=128)
    arguments.add_argument("--url")
    asked = arguments.parse_args()
    vectors = np.random.default_rng(0).standard_normal((asked.points, asked.dimension), np.float32)
    seconds = {"copy_to": [], "upload_collection, vectors alone": [], "upload_points, the same": []}
    with tempfile.TemporaryDirectory() as folder, served(asked.url) as url:
        source = retrieval_store.Client(Path(folder) / "source")
        fill(
            source.create_collection("things", embedding_function=None),
            asked.points,
            asked.dimension,
            TEXTS,
        )
        qdrant = QdrantClient(url=url, timeout=60)

        def upload_vectors():
            qdrant.upload_collection("uploaded", {"embedding": vectors}, wait=True)

        def upload_all():
            qdrant.upload_points("uploaded", points, wait=True)

        for _ in range(ROUNDS):
            seconds["copy_to"].append(copied(source, url))
            points = all_points(qdrant)
            qdrant.delete_collection("things")
            for name, words, upload in (
                ("upload_collection, vectors alone", False, upload_vectors),
                ("upload_points, the same", True, upload_all),
            ):
                seconds[name].append(uploaded(qdrant, asked.dimension, words, upload))
    figures = {"points": asked.points, "dimension": asked.dimension}
    for name, taken in seconds.items():
        figures[f"{name}, points/s"] = [round(asked.points / one) for one in taken]
    best = {name: min(taken) for name, taken in seconds.items()}
    for name in [*best][1:]:
        figures[f"copy_to / {name}"] = round(best[name] / best["copy_to"], 2)
    print(json.dumps(figures, indent=2))


@contextmanager
def served(url):
    """The URL of a server."""
    if url is not None:
        yield url
        return
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,))
    process.start()
    try:
        yield here.recv()
    finally:
        here.send(None)
        process.join()


def _serve(pipe):
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.helpers.qdrant_server import faults
    from tests.helpers.qdrant_server.socket import serving

    # Reading each float by its digits, as Qdrant does, takes the most part of this server's time.
    faults.as_read = float
    with serving() as url:
        pipe.send(url)
        pipe.recv()


if __name__ == "__main__":
    main()
