"""How the cost of every operation grows: with points, collections, filter keys, threads, writes.

    python benchmarks/growth.py [--most 1000000] [--output docs/benchmarks]

Prints a table for each of these, in median milliseconds of one call. A cliff is marked: a step that
costs more than three times the step before. For operations that read all points, the limit is three
times the growth of the number of points. Saves the tables as JSON and as a plot.
"""

import argparse
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, cycle
from pathlib import Path
from typing import Any

import numpy as np
from runs import processor, save

import retrieval_store
from retrieval_store import Client, Collection

DIMENSION = 64
WORDS = 3_000
COLLECTIONS, KEYS, THREADS = (1, 16, 17, 200), (1, 64, 65, 500), (1, 2, 8)
WARM = 5  # times that a filter is used before it has a column, at most
STEP = 3.0  # that costs no more than so many times the one before is no cliff
READS_ALL = {  # operations that have to look at all points, or at a share of them
    "first filter on a key, all points",
    "query",
    "query, 27 %",
    "query, new filter",
    "query, text",
    "query, hybrid",
    "get, $regex",
    "get, $contains",
    "open and first query",
}
Call = Callable[[], object]
Table = dict[str, dict[str, float]]  # operation → column → milliseconds


def milliseconds(call: Call) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def median(call: Call, before: Call | None = None, seconds: float = 0.6) -> float:
    """The median over as many calls as fit into this many seconds, at least 5. before: runs before
    each call, and isn't measured."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or (time.perf_counter() < end and len(times) < 300):
        if before is not None:
            before()
        times.append(milliseconds(call))
    return float(np.median(times))


def fill(things: Collection, points: int, keys: int, batch: int = 10_000) -> None:
    """Add points with this many keys besides two others."""
    random = np.random.default_rng(0)
    for at in range(0, points, batch):
        some = range(at, min(at + batch, points))
        words = random.integers(0, WORDS, (len(some), 6)).tolist()
        things.add(
            ids=[str(i) for i in some],
            embeddings=random.standard_normal((len(some), DIMENSION)).astype(np.float32),
            metadatas=[
                {"share": i % 100, "rare": i // 5}
                | {f"key{j}": i * (j + 1) % 97 for j in range(keys)}
                for i in some
            ],
            documents=[
                " ".join(f"w{word}" for word in row) + f" n{i}"
                for row, i in zip(words, some, strict=True)
            ],
        )


class Work:
    """The operations of a collection; each call gets other arguments."""

    def __init__(self, things: Collection, points: int) -> None:
        self.things, self.points = things, points
        self._random = np.random.default_rng(points)
        self._next = 10**9
        self._written = count(0, 7)
        self._deleted = count(points - 1, -1)

    def _vector(self) -> np.ndarray:
        return self._random.standard_normal(DIMENSION).astype(np.float32)

    def _id(self) -> str:
        return str(self._random.integers(self.points))

    def _word(self) -> str:
        return f"w{self._random.integers(WORDS)}"

    def _query(self, **arguments: Any) -> object:
        return self.things.query(query_embeddings=self._vector(), n_results=10, **arguments)

    def reads(self) -> dict[str, Call]:
        """The operations that change nothing."""
        get, rare = self.things.get, lambda: {"rare": int(self._random.integers(self.points // 5))}
        return {
            "get by id": lambda: get(ids=[self._id()]),
            "get, limit 10": lambda: get(limit=10),
            "get, a page in the middle": lambda: get(limit=10, offset=self.points // 2),
            "get, rare value": lambda: get(where=rare()),
            "get, page of a filter": lambda: get(where={"share": 7}, limit=10, offset=5),
            "get, $regex": lambda: get(where_document={"$regex": f"n{self._id()}$"}, limit=3),
            "get, the same $regex": lambda: get(where_document={"$regex": "n.*77$"}, limit=3),
            "get, $contains": lambda: get(where_document={"$contains": f"n{self._id()}"}, limit=3),
            "count": self.things.count,
            "query": self._query,
            "query, 27 %": lambda: self._query(where={"share": {"$lt": 27}}),
            "query, rare value": lambda: self._query(where=rare()),
            "query, new filter": lambda: self._query(
                where={"rare": {"$lt": float(self._random.random() * self.points / 5)}}
            ),
            "query, text": lambda: self.things.query(query_texts=self._word(), mode="text"),
        }

    def writes(self) -> dict[str, Call]:
        """The operations that change one point."""
        return {
            "add": self.add,
            "upsert": self.upsert,
            "update metadata": self.update,
            "delete": lambda: self.things.delete(ids=[str(next(self._deleted))]),
        }

    def add(self) -> None:
        """Add a new point."""
        self._next += 1
        self.things.add(ids=[str(self._next)], embeddings=[self._vector()], documents=["new"])

    def upsert(self, points: int = 1) -> None:
        """Replace the vectors and documents of existing points."""
        ids = [str(next(self._written) % self.points) for _ in range(points)]
        vectors, texts = [self._vector()] * len(ids), ["changed"] * len(ids)
        self.things.upsert(ids=ids, embeddings=vectors, documents=texts)

    def update(self) -> None:
        """Replace the metadata of one point."""
        self.things.update(ids=[self._id()], metadatas=[{"share": 7}])


def created(client: Client, name: str, points: int, keys: int = 6) -> Work:
    """A filled collection, without an index, which would take minutes to build."""
    things = client.create_collection(name, {"index": "exact"}, embedding_function=None)
    fill(things, points, keys)
    things.optimize()
    return Work(things, points)


def by_points(folder: Path, sizes: list[int]) -> Iterator[tuple[str, str, float]]:
    """All operations, in collections of several sizes."""
    for size in sizes:
        path, column = folder / str(size), f"{size:,}"
        with Client(path) as client:
            work = created(client, "things", size)
        with Client(path) as client:
            work.things = client.get_collection("things", embedding_function=None)
            get = work.things.get
            filters = [partial(get, where={f"key{i}": 5}, limit=5) for i in range(5)]
            yield "first filter on a key", column, median(_in_turn(filters), seconds=0)
            every = partial(get, where={"rare": {"$lt": 5}}, include=[])
            yield "first filter on a key, all points", column, milliseconds(every)
            one = partial(get, ids=["5"], where={"key5": 5})
            yield "first filter on a key, one id", column, milliseconds(one)
            for name, call in work.reads().items():
                call()
                yield name, column, median(call)
            for name, call in work.writes().items():
                yield name, column, median(call)
            closing = milliseconds(client.close)
        yield "close", column, closing


def after_writes(folder: Path, points: int) -> Iterator[tuple[str, str, float]]:
    """Reads after no write, after a write of one point, and after a write of a thousand."""
    with Client(folder) as client:
        work = created(client, "things", points)
        befores: dict[str, Call | None] = {
            "nothing": None,
            "an update of metadata": work.update,
            "an upsert": work.upsert,
            "1,000 upserts": lambda: work.upsert(1_000),
        }
        for name, call in work.reads().items():
            call()
            for column, before in befores.items():
                yield name, column, median(call, before)


def by_collections(folder: Path) -> Iterator[tuple[str, str, float]]:
    """Reads of this many collections of 5,000 points in turn."""
    with Client(folder) as client:
        works = [created(client, f"things{i}", 5_000) for i in range(max(COLLECTIONS))]
        yield from _many_collections(client, works)


def _many_collections(client: Client, works: list[Work]) -> Iterator[tuple[str, str, float]]:
    for some in COLLECTIONS:
        calls = [work.reads() for work in works[:some]]
        for name in calls[0]:
            for mine in calls * WARM:
                mine[name]()
            yield name, str(some), median(_in_turn([mine[name] for mine in calls]))
        get = partial(client.get_collection, embedding_function=None)
        gets = [partial(get, f"things{i}") for i in range(some)]
        yield "get_collection", str(some), median(_in_turn(gets))
    create = partial(client.create_collection, embedding_function=None)
    creates = [partial(create, f"new{i}") for i in range(300)]
    yield "create_collection", str(max(COLLECTIONS)), median(_in_turn(creates))


def _in_turn(calls: list[Call]) -> Call:
    """A function that makes one of the calls each time, in turn."""
    turns = cycle(calls)

    def call() -> object:
        return next(turns)()

    return call


def by_keys(folder: Path) -> Iterator[tuple[str, str, float]]:
    """Filters on this many keys in turn, in 10,000 points that have all keys."""
    with Client(folder) as client:
        work = created(client, "things", 10_000, max(KEYS))
        for keys in KEYS:
            filters = [{f"key{i}": 5} for i in range(keys)]
            calls = [partial(work.things.get, where=where, limit=5) for where in filters]
            for call in calls * WARM:
                call()
            yield "get, a filter", str(keys), median(_in_turn(calls), seconds=1)


def by_threads(folder: Path) -> Iterator[tuple[str, str, float]]:
    """Milliseconds of one call with several threads: the elapsed time divided by the number of
    calls."""
    with Client(folder) as client:
        few, many = created(client, "few", 7_000), created(client, "many", 100_000)
        for where, work in (("7,000 points: ", few), ("100,000 points: ", many)):
            for name in ("get by id", "query", "query, 27 %", "query, text"):
                for threads in THREADS:
                    yield where + name, str(threads), _together(work, name, threads)


def _together(work: Work, name: str, threads: int, seconds: float = 1.5) -> float:
    counts = [0] * threads
    end = time.perf_counter() + seconds

    def run(i: int) -> None:
        call = Work(work.things, work.points).reads()[name]
        while time.perf_counter() < end:
            call()
            counts[i] += 1

    started = [threading.Thread(target=run, args=(i,)) for i in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return seconds * 1e3 / sum(counts)


def tabled(found: Iterator[tuple[str, str, float]]) -> Table:
    """The results by operation and column, printed as they come."""
    table: Table = {}
    for name, column, value in found:
        table.setdefault(name, {})[column] = value
        print(f"  {name}, {column}: {value:.3f} ms", file=sys.stderr, flush=True)
    return table


def is_cliff(name: str, table: str, before: str, column: str, ratio: float) -> bool:
    """Whether a step costs much more than the amount of work explains."""
    grows = table == "points" and name in READS_ALL
    work = float(column.replace(",", "")) / float(before.replace(",", "")) if grows else 1.0
    return ratio > STEP * work


def shown(title: str, table: Table) -> str:
    """A table for people; ! marks a cliff."""
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    lines = [f"| {title} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in table.items():
        cells, before = [], None
        for column in columns:
            value = row.get(column)
            cell = "" if value is None else f"{value:.3g}"
            if value is not None and before is not None and row[before] > 0:
                cell += " !" if is_cliff(name, title, before, column, value / row[before]) else ""
            cells.append(cell)
            before = column if value is not None else before
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(tables: dict[str, Table], file: Path) -> None:
    """Plot one picture for each table, with a line for each operation."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(tables), figsize=(5.5 * len(tables), 9), squeeze=False)
    colours = pyplot.get_cmap("tab20").colors  # type: ignore[attr-defined]
    for axis, (title, table) in zip(axes[0], tables.items(), strict=True):
        axis.set_prop_cycle(color=colours)
        columns = list(dict.fromkeys(column for row in table.values() for column in row))
        for name, row in table.items():
            places = [i for i, column in enumerate(columns) if column in row]
            axis.plot(places, [row[columns[i]] for i in places], marker="o", label=name)
        axis.set(title=title, yscale="log", ylabel="milliseconds", ylim=(0.01, 3_000))
        axis.set_xticks(range(len(columns)), columns, rotation=20)
        axis.legend(fontsize=7, ncol=2, loc="upper center", bbox_to_anchor=(0.5, -0.16))
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def main() -> None:
    """Run, print the tables and write the files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--most", type=int, default=1_000_000, help="points")
    parser.add_argument("--only", nargs="+", help="of points, writes, collections, keys, threads")
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"))
    chosen = parser.parse_args()
    sizes = [size for size in (1_000, 10_000, 100_000, 1_000_000) if size <= chosen.most]
    tables: dict[str, Table] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measures = {
            "points": lambda: by_points(folder / "points", sizes),
            "writes": lambda: after_writes(folder / "writes", max(sizes)),
            "collections": lambda: by_collections(folder / "collections"),
            "keys": lambda: by_keys(folder / "keys"),
            "threads": lambda: by_threads(folder / "threads"),
        }
        for title, measure in measures.items():
            if chosen.only is None or title in chosen.only:
                (folder / title).mkdir()
                tables[title] = tabled(measure())
                shutil.rmtree(folder / title)
    save(chosen.output, "growth", tables, [])
    plot(tables, chosen.output / "growth.png")
    print(processor(), retrieval_store.__version__)
    for title, table in tables.items():
        print("\n" + shown(title, table))


if __name__ == "__main__":
    main()
