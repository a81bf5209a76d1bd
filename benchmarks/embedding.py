"""Time and memory of embedding by model, and the time of a process's first query.

    python benchmarks/embedding.py [--chunks 10000] [--words 200] [--models wordllama "minilm int8"]
                                   [--output FOLDER]

Chunks are runs of --words words of Python's documentation. Each model runs in its own process. It
first creates a store of ten chunks, then embeds all chunks. Another process opens that store and
runs one query. `sentence-transformers` is the same MiniLM by torch, from the directory --minilm.
Prints JSON, and saves it.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from runs import save

MODELS = ("wordllama", "minilm int8", "minilm float32")


def chunks_of(count: int, words: int) -> list[str]:
    """`count` texts; no two are equal."""
    from pydoc_data.topics import topics

    said = cycle(word for text in topics.values() for word in text.split())
    return [" ".join(islice(said, words)) for _ in range(count)]


def made(model: str, folder: str) -> Any:
    """The embedding function of a model. folder: the model's directory, for
    sentence-transformers."""
    from retrieval_store.api.embedding_functions import build_function

    kind, _, precision = model.partition(" ")
    settings: dict[str, Any] = {"precision": precision} if precision else {}
    if kind == "sentence-transformers":
        settings = {"model_name": folder}
    return build_function(kind, settings)


def embedded(model: str, store: str, folder: str, chunks: list[str]) -> dict[str, float]:
    """Seconds and memory of embedding all chunks, in this process."""
    import retrieval_store

    function = made(model, folder)
    with retrieval_store.Client(store) as client:
        things = client.create_collection("things", embedding_function=function)
        things.add([str(i) for i in range(10)], documents=chunks[:10])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    for i in range(0, len(chunks), 512):
        function(chunks[i : i + 512])
    taken = time.perf_counter() - start
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "chunks/s": round(len(chunks) / taken, 1),
        "seconds": round(taken, 1),
        "peak MB": round(most / 1024),
        "MB more than after ten": round((most - before) / 1024),
    }


def first_query(model: str, store: str, folder: str) -> dict[str, float]:
    """Milliseconds of each step, from the start of the program to the response."""
    start = time.perf_counter()
    import retrieval_store

    function = made(model, folder)
    with retrieval_store.Client(store) as client:
        things = client.get_collection("things", embedding_function=function)
        opened = time.perf_counter()
        things.query(query_texts="how is a class defined?", n_results=3)
        first = time.perf_counter()
        for _ in range(20):
            things.query(query_texts="how is a class defined?", n_results=3)
        usual = (time.perf_counter() - first) / 20
    return {
        "open, ms": round((opened - start) * 1e3),
        "first query, ms": round((first - opened) * 1e3),
        "later queries, ms": round(usual * 1e3, 1),
    }


def alone(step: str, *words: str) -> dict[str, float]:
    """The result of a step, run in its own process."""
    asked = [sys.executable, __file__, "--step", step, *words]
    found: dict[str, float] = json.loads(subprocess.check_output(asked).splitlines()[-1])
    return found


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=10_000)
    parser.add_argument("--words", type=int, default=200)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--minilm", default="")
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"))
    parser.add_argument("--step", choices=("embed", "query"), help=argparse.SUPPRESS)
    parser.add_argument("--store", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step == "embed":
        chunks = chunks_of(asked.chunks, asked.words)
        print(json.dumps(embedded(asked.models[0], asked.store, asked.minilm, chunks)))
    elif asked.step == "query":
        print(json.dumps(first_query(asked.models[0], asked.store, asked.minilm)))
    else:
        found = {}
        for model in asked.models:
            with tempfile.TemporaryDirectory() as store:
                words = ("--models", model, "--store", store, "--minilm", asked.minilm)
                sizes = ("--chunks", str(asked.chunks), "--words", str(asked.words))
                found[model] = alone("embed", *words, *sizes) | alone("query", *words)
            print(model, json.dumps(found[model]), flush=True)
        packages = ["wordllama", "onnxruntime", "sentence-transformers", "torch"]
        save(asked.output, "embedding", found, packages, chunks=asked.chunks, words=asked.words)


if __name__ == "__main__":
    main()
