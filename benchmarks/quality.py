"""How well text, dense and hybrid queries work, on tasks made from real text.

    python benchmarks/quality.py [--models wordllama minilm] [--seeds 0 1] [--cranfield FILE]
                                 [--wordnet FOLDER] [--output FOLDER]

`tasks.py` describes the tasks. Questions are split in halves by their texts: the constants of
adaptive fusion were found on the first half, and the figures are for the second. A seed chooses
2,000 questions, and 3,000 documents of WordNet. Each task is measured with plain words, and with
English stems without stopwords. Prints a line for each, and saves JSON.
"""

import argparse
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from runs import save
from tasks import Task, of_codes, of_cranfield, of_names, of_python, of_wordnet

import retrieval_store
from retrieval_store.api.embedding_functions import build_function

QUESTIONS, SYNSETS, BATCH = 2_000, 3_000, 512
SETTINGS: dict[str, dict[str, Any]] = {
    "text": {"mode": "text"},
    "dense": {"mode": "dense", "exact": True},
    "hybrid": {"mode": "hybrid", "exact": True},
    "rrf": {"mode": retrieval_store.Hybrid("rrf"), "exact": True},
}
WORDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "English": {"language": "english", "stopwords": True},
}


def second_half(task: Task) -> Task:
    """The documents, and the half of the questions that the figures are about."""
    asked = [one for one in task.questions if zlib.crc32(str(one["query"]).encode()) % 2]
    return Task(task.documents, asked)


def tasks_of(seed: int, chosen: argparse.Namespace) -> dict[str, Task]:
    """All tasks whose texts are available."""
    found = {
        "Python": of_python(),
        "names": of_names(),
        "codes": of_codes("what is {} about")(),
        "codes alone": of_codes("{}")(),
        "codes in long questions": of_codes(
            "can you tell me which function the note {} that we talked about in the meeting "
            "belongs to"
        )(),
    }
    if chosen.wordnet.is_dir():
        found["WordNet"] = of_wordnet(chosen.wordnet, SYNSETS, seed)
    if chosen.cranfield.is_file():
        found["Cranfield"] = of_cranfield(chosen.cranfield)
    return {name: second_half(task.some(QUESTIONS, seed)) for name, task in found.items()}


class Embedded:
    """A model, and the vectors of documents."""

    def __init__(self, name: str) -> None:
        self.name = name
        kind, _, precision = name.partition(" ")
        self._function: Any = build_function(kind, {"precision": precision} if precision else {})
        self._function(["a text, so that the model is loaded"])
        self._made: dict[int, tuple[Any, float]] = {}

    def of(self, documents: list[str]) -> tuple[Any, float]:
        """The documents' vectors, and documents embedded per second."""
        key = hash(tuple(documents))
        if key not in self._made:
            start = time.perf_counter()
            vectors = self._all(documents, self._function)
            self._made[key] = vectors, len(documents) / (time.perf_counter() - start)
        return self._made[key]

    def of_queries(self, texts: list[str]) -> Any:
        """The vectors of the questions."""
        return self._all(texts, getattr(self._function, "embed_query", self._function))

    def _all(self, texts: list[str], embed: Any) -> Any:
        return np.concatenate([embed(texts[i : i + BATCH]) for i in range(0, len(texts), BATCH)])


def measured(task: Task, words: dict[str, Any], model: Embedded) -> dict[str, Any]:
    """nDCG@10 by setting, with its interval, and the ratio of hybrid to the better of its two
    rankings."""
    vectors, speed = model.of(task.documents)
    asked = model.of_queries([str(one["query"]) for one in task.questions])
    questions = [
        {**one, "embedding": vector} for one, vector in zip(task.questions, asked, strict=True)
    ]
    with retrieval_store.Client() as client:
        how = {"hnsw": {"space": "cosine"}, "text": words}
        things = client.create_collection("things", how, embedding_function=None)
        ids = [str(i) for i in range(len(task.documents))]
        things.add(ids=ids, documents=task.documents, embeddings=vectors)
        result = retrieval_store.evaluate(things, questions, modes=(), settings=SETTINGS)
    found: dict[str, Any] = {"documents/s": round(speed), "questions": len(questions)}
    for name in SETTINGS:
        of = result[name].estimates["ndcg"]
        found[name] = [round(number, 4) for number in (of.mean, of.low, of.high)]
    found["ratio"] = round(found["hybrid"][0] / max(found["text"][0], found["dense"][0]), 3)
    return found


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["wordllama", "minilm int8"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--cranfield", type=Path, default=Path("cranfield.jsonl.gz"))
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"))
    chosen = parser.parse_args()
    rows = []
    for model in map(Embedded, chosen.models):
        for seed in chosen.seeds:
            for task, of in tasks_of(seed, chosen).items():
                for words, settings in WORDS.items():
                    asked = {"task": task, "model": model.name, "words": words, "seed": seed}
                    rows.append({**asked, **measured(of, settings, model)})
                    print(*rows[-1].values(), flush=True)
    save(chosen.output, "quality", rows, ["wordllama", "onnxruntime"])


if __name__ == "__main__":
    main()
