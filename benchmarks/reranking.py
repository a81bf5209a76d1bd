"""How much re-ranking improves search: a small model's hits, re-ranked by a better model.

    python benchmarks/reranking.py [--questions 100] [--wordnet FOLDER] [--output FOLDER]

Documents are embedded by wordllama. Its hits are re-ranked by the cosines of MiniLM's vectors,
computed for only 20 or 50 documents per question. For comparison, MiniLM embeds all documents. The
tasks are those of `quality.py`. Prints a line for each setting, and saves JSON.
"""

import argparse
from pathlib import Path
from typing import Any

from quality import SYNSETS, second_half
from runs import save
from tasks import Task, of_python, of_wordnet

import retrieval_store
from retrieval_store import Rerank
from retrieval_store.rerankers import SimilarityReranker

DEPTHS = (20, 50)
MODES: dict[str, dict[str, Any]] = {"dense": {"mode": "dense"}, "hybrid": {"mode": "hybrid"}}


def measured(task: Task, embed: Any, rerankers: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """nDCG@10 of each mode, with its interval, by each way of re-ranking."""
    rows = []
    with retrieval_store.Client() as client:
        things = client.create_collection("things", embedding_function=embed)
        things.add([str(i) for i in range(len(task.documents))], documents=task.documents)
        for mode, how in MODES.items():
            for name, more in rerankers.items():
                evaluation = retrieval_store.evaluate(
                    things, task.questions, modes=(), settings={"it": {**how, **more}}
                )
                of = evaluation["it"].estimates["ndcg"]
                values = [round(number, 4) for number in (of.mean, of.low, of.high)]
                rows.append({"mode": mode, "reranked": name, "ndcg": values})
                print(mode, name, values, flush=True)
    return rows


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"))
    chosen = parser.parse_args()
    small, better = retrieval_store.WordLlamaEmbedding(), retrieval_store.MiniLMEmbedding()
    reader = SimilarityReranker(better)
    ways: dict[str, dict[str, Any]] = {"": {}}
    ways |= {f"{depth}": {"rerank": Rerank(reader, depth)} for depth in DEPTHS}
    tasks = {"Python": of_python()}
    if chosen.wordnet.is_dir():
        tasks["WordNet"] = of_wordnet(chosen.wordnet, SYNSETS, 0)
    rows = []
    for name, task in tasks.items():
        some = second_half(task.some(2 * chosen.questions, 0))
        of_it = {"task": name, "questions": len(some.questions)}
        rows += [{**of_it, "model": "wordllama", **one} for one in measured(some, small, ways)]
        rows += [{**of_it, "model": "minilm", **one} for one in measured(some, better, {"": {}})]
    save(chosen.output, "reranking", rows, ["wordllama", "onnxruntime"])


if __name__ == "__main__":
    main()
