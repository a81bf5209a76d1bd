"""A collection for each tenant, or one collection with a filter: the cost of each design.

    python benchmarks/tenants.py [--tenants 1000] [--points 100] [--dimension 256] [--output FOLDER]

--tenants tenants with --points points each, in two stores with the same data. A query searches one
tenant's points. Shows medians over tenants: of a tenant's first query in a process, and of a
repeated one. Prints a table in Markdown.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from compare import table
from many import resident
from runs import save

import retrieval_store

ASKED = 200  # tenants


def timed(work: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def median(works: Iterable[Callable[[], object]]) -> float:
    """Median milliseconds of a call."""
    return statistics.median(map(timed, works))


def apart(client: retrieval_store.Client, vectors: np.ndarray) -> tuple[float, float]:
    """One collection per tenant: milliseconds of creating one, and of its first add."""
    making, adding = [], []
    for tenant, some in enumerate(vectors):
        name, ids = f"tenant-{tenant:05}", [str(i) for i in range(len(some))]
        making.append(
            timed(lambda name=name: client.create_collection(name, embedding_function=None))
        )
        things = client.get_collection(name, None)
        adding.append(timed(lambda t=things, i=ids, e=some: t.add(ids=i, embeddings=e)))
    return statistics.median(making), statistics.median(adding)


def together(client: retrieval_store.Client, vectors: np.ndarray) -> tuple[float, float]:
    """One collection for all tenants: milliseconds of creating it, and of adding one tenant."""
    adding = []
    making = timed(lambda: client.create_collection("all", embedding_function=None))
    things = client.get_collection("all", None)
    for tenant, some in enumerate(vectors):
        ids = [f"{tenant}-{i}" for i in range(len(some))]
        metadatas = [{"tenant": tenant}] * len(some)
        adding.append(
            timed(lambda i=ids, e=some, m=metadatas: things.add(ids=i, embeddings=e, metadatas=m))
        )
    return making, statistics.median(adding)


def queries(client: retrieval_store.Client, vectors: np.ndarray, is_apart: bool) -> list[float]:
    """Milliseconds of a tenant's first query, and of a repeated one."""
    tenants = np.linspace(0, len(vectors) - 1, ASKED).astype(int).tolist()

    def ask(tenant: int) -> Callable[[], object]:
        query = vectors[tenant][0]
        if is_apart:
            things = client.get_collection(f"tenant-{tenant:05}", None)
            return lambda: things.query(query_embeddings=query)
        things = client.get_collection("all", None)
        return lambda: things.query(query_embeddings=query, where={"tenant": tenant})

    ask(tenants[0])()  # loads what a first query loads
    return [median(map(ask, tenants)) for _ in range(3)][:2]


def measured(folder: Path, vectors: np.ndarray, is_apart: bool) -> dict[str, float]:
    """The figures of one of the two designs."""
    with retrieval_store.Client(folder) as client:
        making, adding = (apart if is_apart else together)(client, vectors)
        snapshot = timed(lambda: client.snapshot(folder.with_suffix(".zip")))
    before = resident()
    with retrieval_store.Client(folder) as client:
        first, again = queries(client, vectors, is_apart)
        grown = resident() - before
    return {
        "make a collection, ms": making,
        "add a tenant's points, ms": adding,
        "query, a tenant's first, ms": first,
        "query, again, ms": again,
        "snapshot of all, s": snapshot / 1e3,
        "disk MB": sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6,
        f"memory MB, {ASKED} tenants asked for": grown,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=1_000)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    shape = chosen.tenants, chosen.points, chosen.dimension
    vectors = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as temporary:
        folder = Path(temporary)
        results = {
            "a collection each": measured(folder / "apart", vectors, True),
            "one, with a filter": measured(folder / "together", vectors, False),
        }
    print(table(results))
    if chosen.output is not None:
        save(chosen.output, "tenants", results, [], tenants=chosen.tenants, points=chosen.points)


if __name__ == "__main__":
    main()
