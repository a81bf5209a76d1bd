"""Whether the promised recall is held for hard questions.

    python benchmarks/recall.py made | drift | FILE.npy [--questions 200] [--recall 0.98]
                                [--points 50000] [--at-once] [--seed 0] [--folder FOLDER]
                                [--peers qdrant-edge,zvec,lancedb,hnswlib] [--json FILE.json]

The vectors (rows of a file, or generated around centres) are in a collection with default settings
and the distance "cosine". Each has a `category`, the nearest of forty vectors (for generated
vectors: their centre), a `fifth` of the categories, a random `part` of a hundred, and a `region`:
whether its first number is among the greatest fifth. "drift" is 160,000 vectors, after which all
maintenance is done, and then 38,000 around other centres.

Queries ask for the ten nearest, and one kind for a hundred: near a stored vector, between stored
vectors, in random directions, and near a stored vector with filters that are nearly independent of
it. For each kind it shows the mean recall, the worst recall of a question, and the median and 95th
percentile in milliseconds, Python included. A time is the best of three calls, made one after
another, which return ids and distances. A hit counts if it is at most 1e-6 farther than the last
true hit by brute force in float64. "method" is what `explain` shows for the first five questions.

--at-once queries right after the ingest, too; --points uses only the first vectors; --peers runs
the same in other systems, with their defaults and a stronger setting.
"""

import argparse
import operator
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from runs import processor, save

import retrieval_store

K, MANY, TRIES, TOLD, BATCH, CHUNK = 10, 100, 3, 5, 1_000, 16_384
CATEGORIES, FIFTHS, PARTS = 40, 5, 100
MADE, CENTRES = (260_000, 256), 400
DRIFT, BEFORE, AFTER = (160_000, 38_000), 300, 40  # vectors and centres, before and after
COMPARE = {"eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "gte": operator.ge}
KEYS = ("category", "fifth", "part", "region")
Vectors = NDArray[np.float32]
Condition = tuple[str, str, int]  # a key, one of COMPARE, a value


@dataclass(frozen=True, slots=True)
class Records:
    """The stored records. vectors: (n, dimension) of length 1; columns: (n,) by key; known: how
    many records there are when maintenance is done for the first time."""

    vectors: Vectors
    columns: dict[str, NDArray[np.int64]]
    known: int

    def allowed(self, condition: Condition, rows: Any) -> NDArray[np.bool_]:
        """Which of the rows (a slice or row numbers) fulfil the condition."""
        key, name, value = condition
        mask: NDArray[np.bool_] = COMPARE[name](self.columns[key][rows], value)
        return mask


@dataclass(frozen=True, slots=True)
class QuestionKind:
    """Questions of one kind: (questions, dimension) vectors, k, and one filter for each question;
    filters are None if no question is filtered."""

    name: str
    vectors: Vectors
    filters: Sequence[Condition] | None = None
    k: int = K

    @property
    def conditions(self) -> list[Condition | None]:
        """The condition of each question."""
        return [None] * len(self.vectors) if self.filters is None else list(self.filters)


def unit(vectors: NDArray[Any]) -> Vectors:
    """The vectors, scaled to length 1."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / lengths, np.float32)


def precise(vectors: Vectors) -> NDArray[np.float64]:
    """The vectors in float64, scaled to length 1."""
    double = vectors.astype(np.float64)
    double /= np.linalg.norm(double, axis=1, keepdims=True)
    return double


def around(centres: Vectors, owners: NDArray[np.int64], spread: float, random: Any) -> Vectors:
    """A vector around each owner's centre. owners: for each vector, the number of its centre."""
    noise = random.standard_normal((len(owners), centres.shape[1]), np.float32)
    return unit(centres[owners] + np.float32(spread) * noise)


def made(random: np.random.Generator) -> tuple[Vectors, NDArray[np.int64]]:
    """Vectors around centres, and the centre of each."""
    count, dimension = MADE
    centres = random.standard_normal((CENTRES, dimension), np.float32)
    owners = random.integers(0, CENTRES, count)
    return around(centres, owners, 0.6, random), owners


def drift(random: np.random.Generator) -> tuple[Vectors, NDArray[np.int64]]:
    """Vectors around centres, then others around other centres with a wider spread; and the centre
    of each."""
    first = random.standard_normal((BEFORE, 64), np.float32)
    other = 3 + 2 * random.standard_normal((AFTER, 64), np.float32)
    before, after = DRIFT
    owners = [random.integers(0, BEFORE, before), BEFORE + random.integers(0, AFTER, after)]
    every = np.concatenate(owners)
    return around(np.concatenate([first, other]), every, 0.5, random), every


def nearest_of(vectors: Vectors, centres: Vectors) -> NDArray[np.int64]:
    """The number of the nearest centre of each vector."""
    starts = range(0, len(vectors), CHUNK)
    return np.concatenate([np.argmax(vectors[at : at + CHUNK] @ centres.T, 1) for at in starts])


def records_of(source: str, points: int | None, seed: int) -> Records:
    """The records that a name or a file stands for."""
    random = np.random.default_rng(seed)
    if source in ("made", "drift"):
        vectors, category = (made if source == "made" else drift)(random)
        vectors, category = vectors[:points], category[:points]
    else:
        vectors = unit(np.load(source)[:points])
        category = nearest_of(vectors, vectors[random.choice(len(vectors), CATEGORIES, False)])
    count, first = len(vectors), vectors[:, 0]
    columns = {
        "category": category,
        "fifth": category * FIFTHS // (int(category.max()) + 1),
        "part": random.integers(0, PARTS, count),
        "region": (first > np.quantile(first, 0.8)).astype(np.int64),
    }
    return Records(vectors, columns, min(count, DRIFT[0]) if source == "drift" else count)


def kinds_of(records: Records, count: int, seed: int) -> list[QuestionKind]:
    """All kinds of questions, this many of each."""
    stored, random = records.vectors, np.random.default_rng(seed + 1)
    total, dimension = stored.shape

    def near(rows: NDArray[np.int64]) -> Vectors:
        spread = 0.02 * float(np.abs(stored[rows]).mean())
        return around(stored, rows, spread, random)

    def between(first: int, chosen: int) -> Vectors:
        return unit(stored[random.integers(first, total, (count, chosen))].mean(axis=1))

    rows = random.integers(0, total, count)
    asked = near(rows)
    kinds = [
        QuestionKind("near a stored one", asked),
        QuestionKind(f"near a stored one, k {MANY}", asked, k=MANY),
        QuestionKind("half way between two", between(0, 2)),
        QuestionKind("mean of five", between(0, 5)),
        QuestionKind("any direction", unit(random.standard_normal((count, dimension)))),
        *filtered(asked, records.columns["category"], rows),
    ]
    if records.known < total:
        kinds.append(
            QuestionKind("near a new one", near(random.integers(records.known, total, count)))
        )
        kinds.append(QuestionKind("half way between two new ones", between(records.known, 2)))
    return kinds


def filtered(
    asked: Vectors, category: NDArray[np.int64], rows: NDArray[np.int64]
) -> list[QuestionKind]:
    """Kinds of questions near these rows, with filters."""
    own: list[int] = category[rows].tolist()
    middle = int(np.median(np.unique(category)))
    return [
        QuestionKind("not its own category", asked, [("category", "ne", one) for one in own]),
        QuestionKind(
            "the other half of the categories",
            asked,
            [("category", "gte" if one < middle else "lt", middle) for one in own],
        ),
        QuestionKind("a fifth of the categories", asked, [("fifth", "eq", 0)] * len(own)),
        QuestionKind("a region", asked, [("region", "eq", 1)] * len(own)),
        QuestionKind(
            "one per cent at random", asked, [("part", "eq", i % PARTS) for i in range(len(own))]
        ),
    ]


class System:
    """A store in a folder. settings: the query settings, by name."""

    packages: ClassVar[tuple[str, ...]] = ()
    settings: ClassVar[dict[str, dict[str, Any]]] = {}

    def __init__(self, folder: Path, records: Records) -> None:
        raise NotImplementedError

    def add(self, first: int, vectors: Vectors, rows: list[dict[str, int]]) -> None:
        """Store vectors with metadata; their ids start at `first`."""
        raise NotImplementedError

    def build(self) -> None:
        """Do all maintenance, or build the indexes that queries need."""

    def where(self, condition: Condition | None) -> Any:
        """The condition in the form that queries take."""
        raise NotImplementedError

    def query(self, vector: Vectors, k: int, where: Any, **setting: Any) -> list[int]:
        """The ids of the nearest points."""
        raise NotImplementedError

    def method(self, vector: Vectors, k: int, where: Any, **setting: Any) -> str:
        """The method that such a query uses, if it is known."""
        return ""

    def close(self) -> None:
        """Close the store."""


class Ours(System):
    """retrieval-store."""

    settings: ClassVar[dict[str, dict[str, Any]]] = {"defaults": {}}

    def __init__(self, folder: Path, records: Records) -> None:
        self._client = retrieval_store.Client(folder)
        self._things = self._client.create_collection(
            "things", {"hnsw": {"space": "cosine"}}, embedding_function=None
        )

    def add(self, first: int, vectors: Vectors, rows: list[dict[str, int]]) -> None:
        ids = [str(i) for i in range(first, first + len(rows))]
        self._things.add(ids=ids, embeddings=vectors, metadatas=rows)

    def build(self) -> None:
        self._things.optimize()

    def where(self, condition: Condition | None) -> Any:
        return condition and {condition[0]: {f"${condition[1]}": condition[2]}}

    def query(self, vector: Vectors, k: int, where: Any, **setting: Any) -> list[int]:
        found = self._things.query(
            query_embeddings=vector, n_results=k, where=where, include=["distances"], **setting
        )
        return [int(one) for one in found["ids"][0]]

    def method(self, vector: Vectors, k: int, where: Any, **setting: Any) -> str:
        report: Any = self._things.explain(
            query_embeddings=vector, n_results=k, where=where, **setting
        )
        return "+".join(plan["method"] for plan in report["plans"])

    def close(self) -> None:
        self._client.close()


class QdrantEdge(System):
    """qdrant-edge-py, with an index on each key."""

    packages = ("qdrant-edge-py",)
    settings: ClassVar[dict[str, dict[str, Any]]] = {"defaults": {}, "ef 512": {"ef": 512}}

    def __init__(self, folder: Path, records: Records) -> None:
        self._edge: Any = import_module("qdrant_edge")
        edge = self._edge
        folder.mkdir()
        vector = edge.EdgeVectorParams(size=records.vectors.shape[1], distance=edge.Distance.Cosine)
        self._shard = edge.EdgeShard.create(str(folder), edge.EdgeConfig(vectors={"": vector}))
        for key in KEYS:
            kind = edge.PayloadSchemaType.Integer
            self._shard.update(edge.UpdateOperation.create_field_index(key, kind))

    def add(self, first: int, vectors: Vectors, rows: list[dict[str, int]]) -> None:
        numbered = enumerate(zip(vectors.tolist(), rows, strict=True), first)
        points = [self._edge.Point(i, vector, row) for i, (vector, row) in numbered]
        self._shard.update(self._edge.UpdateOperation.upsert_points(points))

    def build(self) -> None:
        self._shard.optimize()
        self._shard.flush()

    def where(self, condition: Condition | None) -> Any:
        if condition is None:
            return None
        edge, (key, name, value) = self._edge, condition
        if name in ("eq", "ne"):
            match = edge.FieldCondition(key, match=edge.MatchValue(value))
            return edge.Filter(must=[match]) if name == "eq" else edge.Filter(must_not=[match])
        bounds = edge.RangeFloat(**{name: value})
        return edge.Filter(must=[edge.FieldCondition(key, range=bounds)])

    def query(self, vector: Vectors, k: int, where: Any, **setting: Any) -> list[int]:
        edge = self._edge
        request = edge.QueryRequest(
            limit=k,
            query=edge.Query.Nearest(vector.tolist()),
            filter=where,
            params=edge.SearchParams(hnsw_ef=setting.get("ef")),
        )
        return [point.id for point in self._shard.query(request)]

    def close(self) -> None:
        self._shard.close()


class Zvec(System):
    """zvec with its graph, whose ef is 300 by default, and inverted indexes."""

    packages = ("zvec",)
    settings: ClassVar[dict[str, dict[str, Any]]] = {"defaults": {}, "ef 600": {"ef": 600}}

    def __init__(self, folder: Path, records: Records) -> None:
        self._zvec: Any = import_module("zvec")
        zvec, kinds = self._zvec, self._zvec.DataType
        graph = zvec.HnswIndexParam(metric_type=zvec.MetricType.COSINE)
        size = records.vectors.shape[1]
        vector = zvec.VectorSchema("v", kinds.VECTOR_FP32, size, index_param=graph)
        index = zvec.InvertIndexParam(enable_range_optimization=True)
        fields = [zvec.FieldSchema(key, kinds.INT64, index_param=index) for key in KEYS]
        schema = zvec.CollectionSchema(name="things", vectors=vector, fields=fields)
        self._things = zvec.create_and_open(path=str(folder), schema=schema)

    def add(self, first: int, vectors: Vectors, rows: list[dict[str, int]]) -> None:
        numbered = enumerate(zip(vectors.tolist(), rows, strict=True), first)
        self._things.insert(
            [
                self._zvec.Doc(id=str(i), vectors={"v": vector}, fields=row)
                for i, (vector, row) in numbered
            ]
        )

    def build(self) -> None:
        self._things.optimize()

    def where(self, condition: Condition | None) -> Any:
        return in_sql(condition)

    def query(self, vector: Vectors, k: int, where: Any, **setting: Any) -> list[int]:
        param = self._zvec.HnswQueryParam(**setting)
        query = self._zvec.Query("v", vector=vector.tolist(), param=param)
        found = self._things.query(query, topk=k, filter=where, output_fields=[])
        return [int(one.id) for one in found]


class LanceDB(System):
    """lancedb, with its IVF-HNSW index and scalar indexes."""

    packages = ("lancedb", "pyarrow")
    settings: ClassVar[dict[str, dict[str, Any]]] = {
        "defaults": {},
        "100 probes, refined": {"probes": 100, "factor": 10},
    }

    def __init__(self, folder: Path, records: Records) -> None:
        self._database: Any = import_module("lancedb").connect(str(folder))
        self._table: Any = None
        self._indexed = False

    def add(self, first: int, vectors: Vectors, rows: list[dict[str, int]]) -> None:
        arrow: Any = import_module("pyarrow")
        flat = arrow.FixedSizeListArray.from_arrays(vectors.ravel(), vectors.shape[1])
        columns = {key: [row[key] for row in rows] for key in KEYS}
        table = arrow.table({"id": range(first, first + len(rows)), "vector": flat, **columns})
        if self._table is None:
            self._table = self._database.create_table("things", table)
        else:
            self._table.add(table)

    def build(self) -> None:
        self._table.optimize()
        if not self._indexed:
            self._table.create_index(metric="cosine", index_type="IVF_HNSW_SQ")
            for key in KEYS:
                self._table.create_scalar_index(key, index_type="BTREE")
            self._indexed = True

    def where(self, condition: Condition | None) -> Any:
        return in_sql(condition)

    def query(self, vector: Vectors, k: int, where: Any, **setting: Any) -> list[int]:
        search = (
            self._table.search(vector).distance_type("cosine").limit(k).select(["id", "_distance"])
        )
        if where is not None:
            search = search.where(where, prefilter=True)
        if setting:
            search = search.nprobes(setting["probes"]).refine_factor(setting["factor"])
        found: list[int] = search.to_arrow()["id"].to_pylist()
        return found


class HNSWLib(System):
    """hnswlib alone: ids and distances. Filters are a function that is called for each record. If
    fewer than k records match, it finds nothing."""

    packages = ("hnswlib",)
    settings: ClassVar[dict[str, dict[str, Any]]] = {"ef 140": {"ef": 140}, "ef 512": {"ef": 512}}

    def __init__(self, folder: Path, records: Records) -> None:
        self._records = records
        self._index: Any = import_module("hnswlib").Index("cosine", records.vectors.shape[1])
        self._index.init_index(len(records.vectors), M=16, ef_construction=200)

    def add(self, first: int, vectors: Vectors, rows: list[dict[str, int]]) -> None:
        ids = np.arange(first, first + len(rows))
        self._index.add_items(vectors, ids, num_threads=os.cpu_count())

    def where(self, condition: Condition | None) -> Any:
        if condition is None:
            return None
        return self._records.allowed(condition, slice(None)).tolist().__getitem__

    def query(self, vector: Vectors, k: int, where: Any, **setting: Any) -> list[int]:
        self._index.set_ef(setting.get("ef", K))
        try:
            found, _ = self._index.knn_query(vector, k, num_threads=1, filter=where)
        except RuntimeError:
            return []
        numbers: list[int] = found[0].tolist()
        return numbers


def in_sql(condition: Condition | None) -> str | None:
    """The condition in SQL."""
    if condition is None:
        return None
    key, name, value = condition
    signs = {"eq": "=", "ne": "!=", "lt": "<", "gte": ">="}
    return f"{key} {signs[name]} {value}"


OWN = "retrieval-store"
SYSTEMS: dict[str, type[System]] = {
    OWN: Ours,
    "qdrant-edge": QdrantEdge,
    "zvec": Zvec,
    "lancedb": LanceDB,
    "hnswlib": HNSWLib,
}


def last_scores(records: Records, kind: QuestionKind) -> NDArray[np.float64]:
    """The cosines of the true nearest points of each question, ascending: (questions, k). Minus
    infinity if fewer records match."""
    asked = precise(kind.vectors)
    best = np.full((len(asked), kind.k), -np.inf)
    for at in range(0, len(records.vectors), CHUNK):
        rows = slice(at, at + CHUNK)
        scores = asked @ precise(records.vectors[rows]).T
        for of_one, condition in zip(scores, kind.conditions, strict=True):
            if condition is not None:
                of_one[~records.allowed(condition, rows)] = -np.inf
        both = np.concatenate([best, scores], axis=1)
        best = np.partition(both, -kind.k, axis=1)[:, -kind.k :]
    return np.sort(best, axis=1)


def share_found(
    records: Records,
    asked: NDArray[np.float64],
    condition: Condition | None,
    found: Sequence[int],
    best: NDArray[np.float64],
) -> float:
    """The recall of one question. best: the scores of its true hits; ties count."""
    true = best[np.isfinite(best)]
    rows = np.unique(np.asarray(found, np.int64))
    if condition is not None:
        rows = rows[records.allowed(condition, rows)]
    if not len(true):
        return 1.0
    hits = np.count_nonzero(precise(records.vectors[rows]) @ asked >= true[0] - 1e-6)
    return min(1.0, hits / len(true))


def measured(
    system: System,
    setting: dict[str, Any],
    records: Records,
    kind: QuestionKind,
    best: NDArray[np.float64],
) -> dict[str, Any]:
    """The figures of one kind of questions."""
    shares, times, methods = [], [], dict[str, None]()
    asked = precise(kind.vectors)
    for i, (vector, condition) in enumerate(zip(kind.vectors, kind.conditions, strict=True)):
        where, spent = system.where(condition), []
        for _ in range(TRIES):
            start = time.perf_counter()
            found = system.query(vector, kind.k, where, **setting)
            spent.append(time.perf_counter() - start)
        times.append(1e3 * min(spent))
        shares.append(share_found(records, asked[i], condition, found, best[i]))
        if i < TOLD:
            methods[system.method(vector, kind.k, where, **setting)] = None
    return {
        "recall": round(float(np.mean(shares)), 4),
        "least": round(min(shares), 4),
        "median ms": round(float(np.median(times)), 3),
        "95 % ms": round(float(np.quantile(times, 0.95)), 3),
        "method": ", ".join(methods),
    }


def add_all(system: System, records: Records, rows: range) -> None:
    """Add these rows with their metadata."""
    for at in rows[::BATCH]:
        some = slice(at, min(at + BATCH, rows.stop))
        columns = (records.columns[key][some].tolist() for key in KEYS)
        metadatas = [dict(zip(KEYS, values, strict=True)) for values in zip(*columns, strict=True)]
        system.add(at, records.vectors[some], metadatas)


def print_row(name: str, cells: Sequence[str]) -> None:
    """One line of a table."""
    *numbers, last = cells
    line = f"  {name:34}" + "".join(f"{cell:>11}" for cell in numbers) + f"  {last}"
    print(line.rstrip(), flush=True)


class Run:
    """Records and questions, with the true hits and the results."""

    def __init__(self, records: Records, kinds: Sequence[QuestionKind], at_once: bool) -> None:
        self._records, self._kinds, self._at_once = records, kinds, at_once
        self._best = [last_scores(records, kind) for kind in kinds]
        self.rows: list[dict[str, Any]] = []

    def of(self, name: str, settings: dict[str, dict[str, Any]], folder: Path) -> None:
        """Fill a system, and run the questions with each of the settings."""
        records, total = self._records, len(self._records.vectors)
        system, started = SYSTEMS[name](folder, records), time.perf_counter()
        add_all(system, records, range(records.known))
        self._build(system, settings, records.known < total)
        add_all(system, records, range(records.known, total))
        spent = {"ingest s": round(time.perf_counter() - started, 1)}
        if self._at_once:
            self._ask(system, name, settings, "at once", spent)
        started = time.perf_counter()
        self._build(system, settings, True)
        spent["build s"] = round(time.perf_counter() - started, 1)
        self._ask(system, name, settings, "built", spent)
        system.close()

    def _build(self, system: System, settings: dict[str, dict[str, Any]], wanted: bool) -> None:
        """Wait until maintenance is done. A query runs first, so that the store knows what will be
        queried."""
        if wanted:
            for setting in settings.values():
                system.query(self._records.vectors[0], K, None, **setting)
            system.build()

    def _ask(
        self,
        system: System,
        name: str,
        settings: dict[str, dict[str, Any]],
        when: str,
        spent: dict[str, float],
    ) -> None:
        for label, setting in settings.items():
            seconds = ", ".join(f"{key} {value}" for key, value in spent.items())
            print(f"\n{name}, {label}, {when} ({seconds})")
            print_row("", ["recall", "least", "median ms", "95 % ms", "method"])
            found = {}
            for kind, best in zip(self._kinds, self._best, strict=True):
                one = measured(system, setting, self._records, kind, best)
                numbers = [f"{one['recall']:.3f}", f"{one['least']:.2f}"]
                numbers += [f"{one['median ms']:.2f}", f"{one['95 % ms']:.2f}"]
                print_row(kind.name, [*numbers, one["method"]])
                found[kind.name] = one
            row = {"system": name, "settings": label, "when": when, **spent, "questions": found}
            self.rows.append(row)


def instructions() -> str:
    """The processor's instruction set that this store uses."""
    with retrieval_store.Client() as client:
        report: Any = client.create_collection("things", embedding_function=None).stats()
    return str(report["compiled"]["instructions"])


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("source", help="made, drift, or a file of vectors")
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--recall", type=float, help="what queries of this store ask for")
    parser.add_argument("--points", type=int, help="the first so many vectors alone")
    parser.add_argument("--at-once", action="store_true", help="ask before optimize, too")
    parser.add_argument("--peers", default="", help="others, with commas between them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the stores are made")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    peers = [name for name in asked.peers.split(",") if name]
    if unknown := [name for name in peers if name not in SYSTEMS]:
        parser.error(f"--peers: {unknown[0]!r} is none of {', '.join(SYSTEMS)}")
    records = records_of(asked.source, asked.points, asked.seed)
    kinds = kinds_of(records, asked.questions, asked.seed)
    count, dimension = records.vectors.shape
    print(
        f"{asked.source}: {count:,} x {dimension}, {asked.questions} questions of each kind\n"
        f"{processor()}, {instructions()}",
        flush=True,
    )
    run, own = Run(records, kinds, asked.at_once), Ours.settings
    if asked.recall is not None:
        own = {f"recall={asked.recall}": {"recall": asked.recall}}
    for name in [OWN, *peers]:
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            run.of(name, own if name == OWN else SYSTEMS[name].settings, Path(folder) / "store")
    if asked.json is not None:
        packages = [package for name in peers for package in SYSTEMS[name].packages]
        save(
            asked.json.parent,
            asked.json.stem,
            run.rows,
            packages,
            source=asked.source,
            points=count,
            dimension=dimension,
            questions=asked.questions,
            instructions=instructions(),
        )


if __name__ == "__main__":
    main()
