"""How performance grows with processors: queries, threads, expensive calls, and embedding.

    python benchmarks/cores.py [--cores 2 16] [--parts soon threads ...]
                               [--points 1000000] [--output FOLDER]

Each part runs in its own process, limited to the given number of processors. All settings are the
defaults, also the threads of BLAS. Vectors have 256 numbers, of which the first vary most, as in
rotated embeddings of texts. A number in the metadata serves for filters.

- soon: points are added (with up to four processors, a third of them). Then queries run one after
  another, with and without a filter, until maintenance is done. Shows the median of each second,
  and the share of CPU that maintenance used.
- threads: queries per second of one process with several threads, and of several processes; with a
  fifth of the points, then with all.
- calls: seconds of calls that read all points, and how many processors they used.
- embedding: texts per second by a model of MiniLM's shape with random weights, on a GPU if there is
  one; by the model alone, and by `add`.

Prints JSON, and saves it.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from runs import save

from retrieval_store import Client, Collection

DIMENSION, BATCH, K = 256, 5_000, 10
FILTER = {"share": {"$lt": 0.12}}
MOST_SECONDS = 120.0  # until nothing is left to make
Call = Callable[[], object]


def vectors(count: int, seed: int) -> np.ndarray:
    """`count` vectors; none is near another by chance alone."""
    draw = np.random.default_rng(seed)
    topics = np.random.default_rng(0).standard_normal((500, DIMENSION), np.float32)
    made = topics[draw.integers(0, len(topics), count)]
    made = made + draw.standard_normal((count, DIMENSION), np.float32)
    found: np.ndarray = (made / np.arange(1, DIMENSION + 1) ** 0.25).astype(np.float32)
    return found


def fill(client: Client, points: int) -> Collection:
    """A collection of this many points."""
    things = client.create_collection(
        "things", {"hnsw": {"space": "cosine"}}, embedding_function=None
    )
    shares = np.random.default_rng(1).random(points).tolist()
    for at in range(0, points, BATCH):
        some = range(at, min(at + BATCH, points))
        things.add(
            ids=[str(i) for i in some],
            embeddings=vectors(len(some), at),
            metadatas=[{"share": shares[i], "other": i % 1_000} for i in some],
        )
    return things


def asking(things: Collection, where: Any = None, seed: int = 7) -> Iterator[float]:
    """Yields the seconds of one query after another."""
    asked = vectors(500, seed)
    while True:
        for vector in asked:
            start = time.perf_counter()
            things.query(query_embeddings=vector, n_results=K, where=where, include=["distances"])
            yield time.perf_counter() - start


class Upkeep:
    """Measures the CPU seconds of maintenance threads."""

    def __init__(self) -> None:
        self._of: dict[int | None, float] = {}

    def seconds(self) -> float:
        """The CPU seconds so far."""
        for thread in threading.enumerate():
            if thread.name == "retrieval-store-maintenance":
                fields = Path(f"/proc/self/task/{thread.native_id}/stat").read_text()
                used = sum(map(int, fields.rpartition(")")[2].split()[11:13]))
                self._of[thread.native_id] = used / os.sysconf("SC_CLK_TCK")
        return sum(self._of.values())


def soon(points: int, cores: int) -> dict[str, Any]:
    """Queries right after an ingest."""
    points = points if cores > 4 else points // 3
    with tempfile.TemporaryDirectory() as folder, Client(folder) as client:
        start = time.perf_counter()
        things = fill(client, points)
        added = time.perf_counter() - start
        print(f"added in {added:.1f} s", file=sys.stderr, flush=True)
        plain, filtered, seconds = asking(things), asking(things, FILTER), []
        start, quiet, upkeep, at_first = time.perf_counter(), 0, Upkeep(), time.process_time()
        while quiet < 3 and time.perf_counter() - start < MOST_SECONDS:
            ends, used = time.perf_counter() + 1, upkeep.seconds()
            times: list[list[float]] = [[], []]
            while time.perf_counter() < ends:
                times[0].append(next(plain))
                times[1].append(next(filtered))
            doing = things.stats()["maintenance"]
            quiet = quiet + 1 if doing is None else 0
            medians = [round(float(np.median(one)) * 1e3, 2) for one in times]
            seconds.append([*medians, round(upkeep.seconds() - used, 2)])
            print(*seconds[-1], doing, file=sys.stderr, flush=True)
        lasted, in_all = time.perf_counter() - start, time.process_time() - at_first
    return {
        "points": points,
        "added s": round(added, 1),
        "made after s": round(lasted - quiet, 1),
        "CPU s of maintenance's thread": round(upkeep.seconds(), 1),
        "CPU s in all": round(in_all, 1),
        "ms, plain and filtered, and CPU s of maintenance, by second": seconds,
        "ms, plain and filtered, at last": seconds[-1][:2],
    }


def rate(things: Collection, threads: int, where: Any, seconds: float = 2.0) -> int:
    """Queries per second by this many threads."""
    begin, counts = threading.Barrier(threads + 1), [0] * threads

    def ask(which: int) -> None:
        queries = asking(things, where, which)
        next(queries)
        begin.wait()
        ends = time.perf_counter() + seconds
        while time.perf_counter() < ends:
            next(queries)
            counts[which] += 1

    started = [threading.Thread(target=ask, args=(i,)) for i in range(threads)]
    for one in started:
        one.start()
    begin.wait()
    start = time.perf_counter()
    for one in started:
        one.join()
    return round(sum(counts) / (time.perf_counter() - start))


def in_process(folder: str, where: Any, ready: Any, found: Any) -> None:
    """One of several querying processes."""
    with Client(folder) as client:
        things = client.get_collection("things", embedding_function=None)
        queries = asking(things, where, os.getpid())
        for _ in range(20):
            next(queries)
        ready.wait()
        found.put(rate(things, 1, where))


def by_processes(folder: str, processes: int, where: Any) -> int:
    """Queries per second by this many processes."""
    spawn = multiprocessing.get_context("spawn")
    ready, found = spawn.Barrier(processes), spawn.Queue()
    started = [
        spawn.Process(target=in_process, args=(folder, where, ready, found))
        for _ in range(processes)
    ]
    for one in started:
        one.start()
    rates = [found.get(timeout=300) for _ in started]
    for one in started:
        one.join()
    return sum(rates)


def by_threads(points: int, cores: int) -> dict[str, Any]:
    """Queries per second by threads and by processes."""
    results: dict[str, Any] = {"points": points}
    with tempfile.TemporaryDirectory() as folder:
        with Client(folder) as client:
            things = fill(client, points)
            things.optimize()
            for name, where in (("all", None), ("12 %", FILTER)):
                results[name] = {f"{n} threads": rate(things, n, where) for n in (1, 2, 4, 16)}
        for name, where in (("all", None), ("12 %", FILTER)):
            results[name][f"{cores} processes"] = by_processes(folder, cores, where)
    return results


def threads(points: int, cores: int) -> dict[str, Any]:
    """The part `threads`, with a fifth of the points."""
    return by_threads(points // 5, cores)


def timed(call: Call) -> dict[str, float]:
    """The seconds of a call, and how many processors it used."""
    start, used = time.perf_counter(), time.process_time()
    call()
    taken, used = time.perf_counter() - start, time.process_time() - used
    return {"s": round(taken, 4), "processors": round(used / taken, 1)}


def calls(points: int, cores: int) -> dict[str, Any]:
    """Calls that read all points, or have large results."""
    points = points if cores > 4 else points // 3
    asked = vectors(500, 3)
    with tempfile.TemporaryDirectory() as folder, Client(Path(folder, "store")) as client:
        things = fill(client, points)
        found: dict[str, Any] = {"points": points, "optimize": timed(things.optimize)}
        every: dict[str, Call] = {
            "query": lambda: things.query(asked[:1], n_results=K),
            "query, again": lambda: things.query(asked[1:2], n_results=K),
            "500 queries at once": lambda: things.query(asked, n_results=K),
            "500 queries at once, 12 %": lambda: things.query(asked, n_results=K, where=FILTER),
            "exact=True": lambda: things.query(asked[:1], n_results=K, exact=True),
            "exact=True, 12 %": lambda: things.query(asked[:1], where=FILTER, exact=True),
            "the first filter on a key": lambda: things.get(where={"other": 5}, include=[]),
            "verify": client.verify,
            "snapshot": lambda: client.snapshot(Path(folder, "copy")),
        }
        for name, call in every.items():
            found[name] = timed(call)
            print(name, found[name], file=sys.stderr, flush=True)
    return found


def model_at(folder: Path, texts: list[str]) -> str:
    """A model of MiniLM's shape with random weights, and a vocabulary of the texts."""
    from sentence_transformers import SentenceTransformer, models
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    learned = BertWordPieceTokenizer()
    learned.train_from_iterator(texts, vocab_size=20_000, show_progress=False)
    learned.save_model(str(folder))
    bert = folder / "bert"
    shape = BertConfig(
        vocab_size=20_000,
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1_536,
    )
    BertModel(shape).save_pretrained(bert)
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(bert)
    words = models.Transformer(str(bert), max_seq_length=256)
    pooling = models.Pooling(384, pooling_mode="mean")
    SentenceTransformer(modules=[words, pooling]).save(str(folder / "model"))
    return str(folder / "model")


def embedding(points: int, cores: int) -> dict[str, Any]:
    """Embedded texts per second."""
    import torch
    from embedding import chunks_of

    from retrieval_store.embeddings.sentence_transformers import (
        SentenceTransformerEmbeddingFunction,
    )

    on_gpu = torch.cuda.is_available()
    texts = chunks_of(points // 200 if on_gpu else points // 2_500, 120)
    found: dict[str, Any] = {
        "texts": len(texts),
        "on": torch.cuda.get_device_name() if on_gpu else "processors",
    }
    with tempfile.TemporaryDirectory() as place, Client(Path(place, "store")) as client:
        name = model_at(Path(place), texts[:2_000])
        for size in (None, 32):
            settings = {} if size is None else {"batch_size": size}
            embed = SentenceTransformerEmbeddingFunction(name, **settings)
            embed(texts[:200])
            things = client.create_collection(f"texts-{size}", embedding_function=embed)
            encode = partial(embed._load_once().encode, batch_size=size or 256)
            encode(texts)
            ids = [str(i) for i in range(len(texts))]
            seconds = {
                "the model alone": timed(partial(encode, texts))["s"],
                "add": timed(partial(things.add, ids, documents=texts))["s"],
            }
            label = "by default" if size is None else f"{size} a batch"
            found[label] = {name: round(len(texts) / taken) for name, taken in seconds.items()}
            print(label, found[label], file=sys.stderr, flush=True)
    return found


PARTS: dict[str, Callable[[int, int], dict[str, Any]]] = {
    "soon": soon,
    "threads": threads,
    "threads of all": by_threads,
    "calls": calls,
    "embedding": embedding,
}


def alone(part: str, points: int, cores: int) -> dict[str, Any]:
    """The result of a part, run in its own process with this many processors."""
    usable = sorted(os.sched_getaffinity(0))[:cores]
    asked = [sys.executable, __file__, "--part", part, "--points", str(points)]
    done = subprocess.run(
        [*asked, "--cores", str(cores)],
        stdout=subprocess.PIPE,
        check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, usable),
    )
    if done.returncode:
        return {"failed": done.returncode}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure, print and save."""
    there = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cores", type=int, nargs="+", default=sorted({2, there}))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"))
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part:
        print(json.dumps(PARTS[asked.part](asked.points, asked.cores[0])))
        return
    found: dict[str, Any] = {}
    for cores in asked.cores:
        for part in asked.parts:
            start = time.perf_counter()
            results = alone(part, asked.points, cores)
            found.setdefault(f"{cores} processors", {})[part] = results
            print(cores, part, f"{time.perf_counter() - start:.0f} s", json.dumps(results))
            sys.stdout.flush()
            packages = ["sentence-transformers", "torch"]
            save(asked.output, "cores", found, packages, points=asked.points)


if __name__ == "__main__":
    main()
