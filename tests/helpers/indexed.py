"""Collections with an index: their vectors, and the state of the index."""

import threading
import time

import numpy as np
import pytest

from retrieval_store.indexes.native import kernel
from tests.helpers import PATIENCE, inside, steps

DIMENSION = 8
with_codes = pytest.mark.skipif(
    kernel() is None, reason="there are no codes without the compiled part"
)
SMALL = {"index": "hnsw", "hnsw": {"ef_search": 20, "max_neighbors": 8, "ef_construction": 40}}


def until(condition, what):
    """Wait until the background has made the condition true."""
    over = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < over, what
        threading.Event().wait(0.01)


def cloud(count, seed=0, dimension=DIMENSION):
    numbers = np.random.default_rng(seed)
    return numbers.standard_normal((count, dimension)).astype(np.float32)


def populated(client, count=1_000, configuration=SMALL):
    things = client.create_collection("things", configuration, embedding_function=None)
    things.add(
        ids=[str(i) for i in range(count)],
        embeddings=cloud(count),
        metadatas=[{"n": i, "tenth": i % 10} for i in range(count)],
    )
    return things


def once_compacted(patch, things, count, look):
    """The result of `look` when a compaction has ended, after this many records were deleted,
    before anything else is built."""
    things.optimize()
    inside.without_background(patch)  # only what follows here
    things.delete(ids=[str(i) for i in range(count)])
    reports = []
    steps.replace(patch, "make_codes", lambda *_: reports.append(look(things)))
    things.optimize()
    return reports


def space_of(collection):
    return collection.stats()["spaces"][""]


def load_index(collection):
    """Load the saved index now, as the background does after the first query. Returns how many
    vectors it has."""
    inside.load_index(inside.access(collection))
    return indexed_at_hand(collection)


def indexed_at_hand(collection):
    """How many vectors the index in memory has."""
    stats = collection.stats()
    return stats["spaces"][""]["indexed_slots"] if stats["memory"]["indexes"] else 0


def index_file(store):
    (file,) = store.glob("*/derived/*")
    return file
