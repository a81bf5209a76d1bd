"""How long `AsyncCollection` blocks an event loop, and how many queries a loop completes.

    python benchmarks/ticking.py [--output FOLDER] [--holders]

A task wakes every millisecond. Figures are the longest times between two wake-ups, in milliseconds:
idle; while 100,000 records of 384 numbers with documents and metadata are added to a new directory,
in one call and in batches of 1,000; while all are read by one `get` and by `iterate`; and while
hnswlib builds an index of 10,000. --holders prints what other threads did when a wake-up was late.

Queries per second of 1, 16 and 256 tasks, each of which awaits one query after another, on 10,000
records; and of threads that use the synchronous client, as many as tasks but at most 16. Figures
are the best of five alternating runs, and their ratio. Prints JSON, and saves it.
"""

import argparse
import asyncio
import gc
import json
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from runs import save
from served import served

from retrieval_store import AsyncClient, AsyncCollection, Client, Collection
from retrieval_store.engine.search import index_lifecycle

RECORDS, DIMENSION, BATCH, HELD = 100_000, 384, 1_000, 10_000
TASKS, THREADS, SECONDS, ROUNDS = (1, 16, 256), 16, 2.0, 5
LATE = 0.015  # seconds, after which it is printed who made a turn wait


class Ticks:
    """A task that wakes every millisecond. longest: the longest time between two wake-ups, in
    seconds."""

    def __init__(self, tells: bool) -> None:
        self.longest = 0.0
        self._tells = tells

    async def run(self) -> None:
        """Run until cancelled."""
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            self.longest = max(self.longest, now - last)
            if self._tells and now - last > LATE:
                _print_holders(now - last)
                now = time.perf_counter()
            last = now


def _print_holders(late: float) -> None:
    own, frames = threading.get_ident(), sys._current_frames()
    for ident, frame in frames.items():
        places = traceback.extract_stack(frame)
        if ident != own and any("retrieval_store" in one.filename for one in places):
            said = [f"{Path(one.filename).name}:{one.lineno} {one.name}" for one in places[-5:]]
            print(f"{late * 1e3:.0f} ms", " < ".join(reversed(said)), file=sys.stderr)


@asynccontextmanager
async def ticking(tells: bool) -> AsyncIterator[Ticks]:
    """Ticks while the caller's block runs."""
    ticks = Ticks(tells)
    task = asyncio.create_task(ticks.run())
    await asyncio.sleep(0.01)
    ticks.longest = 0.0
    try:
        yield ticks
    finally:
        task.cancel()


def records(count: int) -> dict[str, Any]:
    """The records to add."""
    rng = np.random.default_rng(1)
    return {
        "ids": [f"p{i}" for i in range(count)],
        "embeddings": rng.normal(size=(count, DIMENSION)).astype(np.float32),
        "documents": [
            f"The thing {i} has a text of its own, of {i % 97} words." for i in range(count)
        ],
        "metadatas": [{"n": i, "kind": "abc"[i % 3]} for i in range(count)],
    }


async def filled(
    client: AsyncClient, given: dict[str, Any], batch: int, index: str = "codes"
) -> AsyncCollection:
    """A collection with these records, added in batches."""
    settings = {"index": index}
    things = await client.create_collection("things", settings, embedding_function=None)
    for start in range(0, len(given["ids"]), batch):
        await things.add(**{name: one[start : start + batch] for name, one in given.items()})
    return things


async def iterated(things: AsyncCollection) -> None:
    """Read all records, a thousand at once."""
    async for _ in things.iterate():
        pass


async def run(given: dict[str, Any], tells: bool) -> dict[str, float]:
    """The longest gaps of one run, in milliseconds."""
    found: dict[str, float] = {}

    async def measured(what: str, call: Awaitable[object]) -> Any:
        async with ticking(tells) as ticks:
            result = await call
            found[what] = max(found.get(what, 0.0), ticks.longest * 1e3)
        return result

    await measured("idle", asyncio.sleep(SECONDS))
    for what, batch in (("added in one call", RECORDS), ("added in batches", BATCH)):
        with tempfile.TemporaryDirectory() as folder:
            async with AsyncClient(folder) as client:
                things = await measured(what, filled(client, given, batch))
                if batch == BATCH:
                    await measured("read by get", things.get())
                    await measured("read by iterate", iterated(things))
    with patch.multiple(index_lifecycle, WORTH_CELLS=1, index_pays_off=lambda *_: True):
        async with AsyncClient() as client:
            first = {name: one[:HELD] for name, one in given.items()}
            things = await filled(client, first, HELD, "hnsw")
            await measured("index of hnswlib", things.optimize())
            assert (await things.stats())["spaces"][""]["indexed_slots"] == HELD
    return found


async def gaps(tells: bool) -> dict[str, float]:
    """The least gap of several runs, since other programs can only make it longer."""
    given = records(RECORDS)
    gc.freeze()  # so that what this program holds isn't looked at again and again
    runs = [await run(given, tells) for _ in range(ROUNDS)]
    print(runs, file=sys.stderr)
    return {name: round(min(one[name] for one in runs), 1) for name in runs[0]}


async def awaited(things: AsyncCollection, tasks: int) -> float:
    """Queries per second of this many tasks."""
    ends, vectors = time.perf_counter() + SECONDS, _queries()

    async def ask(first: int) -> int:
        done = 0
        while time.perf_counter() < ends:
            await things.query(query_embeddings=vectors[(first + done) % len(vectors)])
            done += 1
        return done

    began = time.perf_counter()
    done = sum(await asyncio.gather(*map(ask, range(tasks))))
    return done / (time.perf_counter() - began)


def threaded(things: Collection, threads: int) -> float:
    """Queries per second of this many threads."""
    ends, vectors, done = time.perf_counter() + SECONDS, _queries(), [0] * threads

    def ask(own: int) -> None:
        while time.perf_counter() < ends:
            things.query(query_embeddings=vectors[(own + done[own]) % len(vectors)])
            done[own] += 1

    began = time.perf_counter()
    running = [threading.Thread(target=ask, args=(own,)) for own in range(threads)]
    for one in running:
        one.start()
    for one in running:
        one.join()
    return sum(done) / (time.perf_counter() - began)


def _queries() -> Any:
    return np.random.default_rng(2).normal(size=(512, DIMENSION)).astype(np.float32)


async def rates(client: AsyncClient, other: Client) -> dict[str, Any]:
    """The query rates of one kind of store."""
    things = await client.get_collection("things", None)
    twin = other.get_collection("things", None)
    found = {}
    for tasks in TASKS:
        runs = []
        for _ in range(ROUNDS):
            sync = await asyncio.to_thread(threaded, twin, min(tasks, THREADS))
            runs.append((await awaited(things, tasks), sync))
        own, sync = map(max, zip(*runs, strict=True))
        found[str(tasks)] = {
            "awaited": round(own),
            "threads": round(sync),
            "ratio": round(own / sync, 2),
        }
    return found


async def throughput() -> dict[str, Any]:
    """The query rates of each kind of store."""
    given, found = records(HELD), {}
    for kind in ("memory", "disk", "served"):
        with tempfile.TemporaryDirectory() as folder:
            if kind == "memory":
                async with AsyncClient() as client:
                    await filled(client, given, HELD)
                    found[kind] = await rates(client, client._calls.client)  # type: ignore[arg-type]
                continue
            async with AsyncClient(folder) as client:
                await filled(client, given, HELD)
                if kind == "disk":
                    with Client(folder) as other:
                        found[kind] = await rates(client, other)
                    continue
            with served(folder) as url, Client(url=url) as other:
                async with AsyncClient(url=url) as client:
                    found[kind] = await rates(client, other)
        print(kind, found, file=sys.stderr)
    return found


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, help="keeps the run in this folder")
    parser.add_argument("--holders", action="store_true", help="prints who makes turns late")
    parser.add_argument("--only", choices=["gaps", "queries"], help="measures one of both alone")
    asked = parser.parse_args()
    parts: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
        "gaps": lambda: gaps(asked.holders),
        "queries": throughput,
    }
    wanted = [asked.only] if asked.only else [*parts]
    results = {name: asyncio.run(parts[name]()) for name in wanted}
    print(json.dumps(results, indent=1))
    if asked.output is not None:
        save(asked.output, "ticking", results, ["hnswlib"], records=RECORDS, held=HELD)


if __name__ == "__main__":
    main()
