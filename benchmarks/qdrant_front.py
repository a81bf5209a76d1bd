"""Qdrant's client on our engine, beside its own local mode and our other interfaces.

    python benchmarks/qdrant_front.py [--points 20000] [--dimension 128] [--folder PATH]
                                      [--output FOLDER] [--doors]

The same points and calls go to our QdrantClient and to qdrant_client's, both with `path=`. Some
calls also go to Collection and to the engine, on the same files. Compared calls alternate in one
run; short calls are made several times in each turn. Figures are medians. Each filter has a new
value, so that no cache helps, except for those named repeated. Prints JSON, and saves it. With
--doors, only our own interfaces are compared, which takes seconds, and nothing is saved.
"""

import argparse
import gc
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_client
from qdrant_client import models as m
from runs import save

import retrieval_store
from retrieval_store.qdrant import QdrantClient
from retrieval_store.query.query import NearestDense, Query, QueryStep
from retrieval_store.query.types import Fields

NAME, BATCH, WORDS = "things", 1_000, 100
SLOW_ROUNDS, TIMES = 5, 5  # of what takes long; of what doesn't, in each round
Call = Callable[[int], object]  # of a round
INDEXES = {
    "n": m.PayloadSchemaType.INTEGER,
    "w": m.PayloadSchemaType.KEYWORD,
    "tags": m.PayloadSchemaType.KEYWORD,
}
FILTERS: dict[str, Callable[[int], m.Filter]] = {
    "range, 25 %": lambda i: _of(m.FieldCondition(key="n", range=m.Range(lt=0.25 + i * 1e-9))),
    "word, 1 %": lambda i: _of(m.FieldCondition(key="w", match=m.MatchValue(value=_word(i)))),
    "tags and range, 4 %": lambda i: _of(
        m.FieldCondition(key="tags", match=m.MatchAny(any=[_word(i), _word(i + 1)])),
        m.FieldCondition(key="n", range=m.Range(gte=0.3 + i * 1e-9)),
    ),
}


def _of(*conditions: Any) -> m.Filter:
    for one in conditions:
        if one.key == "n":  # shares of all numbers
            bounds = {k: v * 1_000_000 for k, v in one.range.model_dump().items() if v is not None}
            one.range = m.Range(**bounds)
    return m.Filter(must=list(conditions))


def _word(i: int) -> str:
    return f"w{i % WORDS}"


def payload_of(i: int) -> dict[str, Any]:
    """The payload of a point."""
    words = [_word(i * step) for step in (3, 7, 11)]
    text = f"The {words[0]} was seen with the {words[1]} at a place that has number {i}."
    return {"n": i * 7_919 % 1_000_000, "w": _word(i), "tags": words, "text": text}


def in_turns(
    calls: Mapping[str, Call], rounds: int, slow: Sequence[str] = (), times: int = TIMES
) -> dict[str, float]:
    """Median microseconds of each call, after a warm-up round. In each round every call is made
    several times; slow calls are made once, and only in a few rounds."""
    took: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(rounds + 1):
        for name, call in calls.items():
            few = name in slow
            for j in range(0 if few and i > SLOW_ROUNDS else 1 if few else times):
                start = time.perf_counter()
                call(i * times + j)
                if i:
                    took[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) * 1e6 for name, each in took.items()}


def beside(
    ours: Call,
    others: Mapping[str, Call],
    rounds: int,
    slow: Sequence[str] = ("local mode",),
    times: int = TIMES,
) -> dict[str, float]:
    """Microseconds of our call and of the others, and the ratio of each to ours."""
    took = in_turns({"ours": ours, **others}, rounds, slow, times)
    times = {f"{name} / ours": took[name] / took["ours"] for name in others}
    return {**{f"{name}, us": value for name, value in took.items()}, **times}


class Bench:
    """The clients, with the same points."""

    def __init__(self, folder: Path, points: int, dimension: int, rounds: int) -> None:
        self.rounds = rounds
        random = np.random.default_rng(0)
        self.vectors = random.standard_normal((points, dimension), dtype=np.float32)
        self.queries = random.standard_normal((1_024, dimension), dtype=np.float32)
        self.lists = [vector.tolist() for vector in self.queries]
        self.front = QdrantClient(path=str(folder / "ours"))
        self.local = qdrant_client.QdrantClient(path=str(folder / "local"))
        size = m.VectorParams(size=dimension, distance=m.Distance.COSINE)
        for client in (self.front, self.local):
            client.create_collection(NAME, size)
        self.client = retrieval_store.Client(folder / "ours")

    def close(self) -> None:
        """Close the clients."""
        for one in (self.client, self.front, self.local):
            one.close()

    def ingest(self) -> dict[str, float]:
        """Add all points in batches, alternating between the clients."""
        batches = [
            [
                m.PointStruct(id=i, vector=self.vectors[i].tolist(), payload=payload_of(i))
                for i in range(start, min(start + BATCH, len(self.vectors)))
            ]
            for start in range(0, len(self.vectors), BATCH)
        ]
        calls: dict[str, Call] = {
            "local mode": lambda i: self.local.upsert(NAME, batches[i]),
        }
        return {
            name.replace("us", "us a batch of 1,000"): took
            for name, took in beside(
                lambda i: self.front.upsert(NAME, batches[i]), calls, len(batches) - 1, (), 1
            ).items()
        }

    def fill(self) -> None:
        """Add all points to our client only."""
        for start in range(0, len(self.vectors), BATCH):
            ids = list(range(start, min(start + BATCH, len(self.vectors))))
            payloads = [payload_of(i) for i in ids]
            vectors = self.vectors[ids].tolist()
            self.front.upsert(NAME, m.Batch(ids=ids, vectors=vectors, payloads=payloads))

    def compare(self, call: Callable[[Any, int], object]) -> dict[str, float]:
        """Compare one call of both clients."""
        others: dict[str, Call] = {"local mode": lambda i: call(self.local, i)}
        return beside(lambda i: call(self.front, i), others, self.rounds)

    def reading(self) -> dict[str, Any]:
        """Scroll, count, retrieve."""
        found: dict[str, Any] = {}
        for name, made in FILTERS.items():
            found[f"scroll, {name}"] = self.compare(
                lambda client, i, made=made: client.scroll(NAME, made(i), limit=100)
            )
            found[f"count, {name}"] = self.compare(
                lambda client, i, made=made: client.count(NAME, made(i))
            )
        points = len(self.vectors)
        found["retrieve of ten"] = self.compare(
            lambda client, i: client.retrieve(NAME, [(i * 97 + j * 13) % points for j in range(10)])
        )
        return found

    def filtered(self) -> dict[str, Any]:
        """query_points under filters."""
        found: dict[str, Any] = {}
        for name, made in FILTERS.items():
            found[f"query, {name}"] = self.compare(
                lambda client, i, made=made: client.query_points(
                    NAME, self.lists[i], query_filter=made(i)
                )
            )
        found["query, range, 25 %, repeated"] = self.compare(
            lambda client, i: client.query_points(
                NAME, self.lists[i], query_filter=FILTERS["range, 25 %"](0)
            )
        )
        return found

    def plain(self, i: int) -> object:
        """The plain query, to which others are compared."""
        return self.front.query_points(NAME, self.lists[i])

    def layers(self) -> dict[str, Any]:
        """The same query through three interfaces, and 64 queries at once."""
        things = self.client.get_collection(NAME)
        points = things._backend.points
        fields = Fields(payload=True, document=True, uri=False)
        where = {"w": "w7"}
        condition = m.FieldCondition(key="w", match=m.MatchValue(value="w7"))

        def engine(i: int) -> object:
            step = QueryStep(NearestDense("", self.queries[i][None]), 10)
            return points.ask(Query((step,), fields))

        ask: dict[str, Call] = {
            "Collection.query": lambda i: things.query(query_embeddings=self.lists[i]),
            "engine": engine,
        }
        filtered: dict[str, Call] = {
            "Collection.query": lambda i: things.query(query_embeddings=self.lists[i], where=where)
        }
        batch: dict[str, Call] = {
            "Collection.query": lambda i: things.query(query_embeddings=self.lists[i : i + 64])
        }
        return {
            "query": inverted(beside(self.plain, ask, 2 * self.rounds)),
            "query, repeated filter": inverted(
                beside(
                    lambda i: self.front.query_points(
                        NAME, self.lists[i], query_filter=m.Filter(must=[condition])
                    ),
                    filtered,
                    2 * self.rounds,
                )
            ),
            "batch of 64": inverted(
                beside(
                    lambda i: self.front.query_batch_points(
                        NAME,
                        [
                            m.QueryRequest(query=one, limit=10, with_payload=True)
                            for one in self.lists[i : i + 64]
                        ],
                    ),
                    batch,
                    self.rounds,
                )
            ),
        }

    def short_calls(self) -> dict[str, Any]:
        """Short calls of our two fronts, whose time is mostly the front's own."""
        things, front, points = self.client.get_collection(NAME), self.front, len(self.vectors)
        everything: Any = ["metadatas", "documents", "embeddings"]

        def ten(i: int) -> list[int]:
            return [(i * 97 + j * 13) % points for j in range(10)]

        def texts(i: int) -> list[str]:
            return [str(one) for one in ten(i)]

        def point(i: int) -> list[m.PointStruct]:
            return [m.PointStruct(id=i, vector=self.lists[i], payload={"n": i})]

        calls: dict[str, tuple[Call, str, Call]] = {
            "retrieve of ten": (
                lambda i: front.retrieve(NAME, ten(i)),
                "Collection.get",
                lambda i: things.get(ids=texts(i)),
            ),
            "retrieve of ten, with vectors": (
                lambda i: front.retrieve(NAME, ten(i), with_vectors=True),
                "Collection.get",
                lambda i: things.get(ids=texts(i), include=everything),
            ),
            "scroll of ten": (
                lambda i: front.scroll(NAME, limit=10),
                "Collection.get",
                lambda i: things.get(limit=10),
            ),
            "count": (lambda i: front.count(NAME), "Collection.count", lambda i: things.count()),
            "upsert of one": (
                lambda i: front.upsert(NAME, point(i)),
                "Collection.upsert",
                lambda i: things.upsert(
                    ids=[str(i)], embeddings=[self.lists[i]], metadatas=[{"n": i}]
                ),
            ),
            "payload of one": (
                lambda i: front.set_payload(NAME, {"n": i}, points=[i]),
                "Collection.update",
                lambda i: things.update(ids=[str(i)], metadatas=[{"n": i}]),
            ),
        }
        return {
            name: inverted(beside(ours, {other: theirs}, 2 * self.rounds))
            for name, (ours, other, theirs) in calls.items()
        }

    def kinds(self) -> dict[str, Any]:
        """Every other kind of query beside a plain one."""
        return {
            name: inverted(beside(call, {"plain query": self.plain}, self.rounds))
            for name, call in self._kinds().items()
        }

    def _kinds(self) -> dict[str, Call]:
        def ask(query: Any, **others: Any) -> object:
            return self.front.query_points(NAME, query, **others)

        def recommended(strategy: m.RecommendStrategy) -> Call:
            return lambda i: ask(
                m.RecommendQuery(
                    recommend=m.RecommendInput(
                        positive=[i, i + 1], negative=[i + 2], strategy=strategy
                    )
                )
            )

        def discovered(i: int) -> object:
            pair = m.ContextPair(positive=i, negative=i + 1)
            target = self.lists[i]
            return ask(m.DiscoverQuery(discover=m.DiscoverInput(target=target, context=[pair])))

        def diverse(i: int) -> object:
            mmr = m.Mmr(diversity=0.5, candidates_limit=100)
            return ask(m.NearestQuery(nearest=self.lists[i], mmr=mmr))

        def fused(i: int) -> object:
            prefetch = [m.Prefetch(query=one, limit=20) for one in self.lists[i : i + 2]]
            return ask(m.FusionQuery(fusion=m.Fusion.RRF), prefetch=prefetch)

        strategies = {
            f"recommend, {one.value}": recommended(one)
            for one in (
                m.RecommendStrategy.AVERAGE_VECTOR,
                m.RecommendStrategy.BEST_SCORE,
                m.RecommendStrategy.SUM_SCORES,
            )
        }
        return {
            "groups by word": lambda i: self.front.query_points_groups(NAME, "w", self.lists[i]),
            "groups by tag": lambda i: self.front.query_points_groups(NAME, "tags", self.lists[i]),
            **strategies,
            "discover": discovered,
            "MMR of 100": diverse,
            "RRF of two prefetches": fused,
        }


def inverted(figures: Mapping[str, float]) -> dict[str, float]:
    """The same comparison, with the ratio of the others to ours."""
    times = {
        f"ours / {name.removesuffix(' / ours')}": 1 / value
        for name, value in figures.items()
        if name.endswith(" / ours")
    }
    return {**{k: v for k, v in figures.items() if not k.endswith(" / ours")}, **times}


def late_interaction(points: int, rounds: int) -> dict[str, float]:
    """Points of 4 × 64 numbers, queried with three vectors. The first query reads all of them."""
    random = np.random.default_rng(1)
    vectors = random.standard_normal((points, 4, 64), dtype=np.float32)
    several = m.MultiVectorConfig(comparator=m.MultiVectorComparator.MAX_SIM)
    config = m.VectorParams(size=64, distance=m.Distance.COSINE, multivector_config=several)
    with tempfile.TemporaryDirectory() as folder, QdrantClient(path=folder) as client:
        client.create_collection(NAME, config)
        for start in range(0, points, BATCH):
            ids = list(range(start, min(start + BATCH, points)))
            client.upsert(NAME, m.Batch(ids=ids, vectors=vectors[ids].tolist()))
        queries = random.standard_normal((TIMES * (rounds + 1), 3, 64), dtype=np.float32).tolist()
        start_at = time.perf_counter()
        client.query_points(NAME, queries[0])
        first = time.perf_counter() - start_at
        took = in_turns({"query": lambda i: client.query_points(NAME, queries[i])}, rounds)
    return {"first query, ms": first * 1e3, "query, ms": took["query"] / 1e3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--folder", help="where the stores are made (default: a temporary folder)")
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"))
    parser.add_argument("--doors", action="store_true", help="compare only our own ways to ask")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # local mode says that it is for few points
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        bench = Bench(Path(folder), options.points, options.dimension, options.rounds)
        if options.doors:
            bench.fill()
            print(json.dumps(bench.layers() | bench.short_calls(), indent=1))
            bench.close()
            return
        figures["upsert"] = bench.ingest()
        gc.collect()
        gc.freeze()  # what local mode holds in memory is no burden of ours
        figures["without payload indexes"] = bench.reading() | bench.filtered()
        for key, kind in INDEXES.items():
            bench.front.create_payload_index(NAME, key, kind)
        figures["with payload indexes"] = bench.reading() | bench.filtered()
        figures["by three doors"] = bench.layers()
        figures["beside a plain query"] = bench.kinds()
        figures["by three doors"] |= bench.short_calls()  # the last, since some of them write
        bench.close()
    figures["late interaction"] = late_interaction(options.points, options.rounds)
    print(json.dumps(figures, indent=1))
    size = {"points": options.points, "dimension": options.dimension}
    save(options.output, "qdrant_front", figures, ["qdrant-client"], **size)


if __name__ == "__main__":
    main()
