"""A check for continuous integration: do queries find enough?

    python examples/evaluate_in_ci.py [FOLDER --questions FILE] [--least 0.6] [--mode hybrid]

The program reads a folder into a store in memory, runs questions with known right files, and prints
the measures of each mode. It lists the questions without a right file among the first five hits.
The exit code is 1 if the mean reciprocal rank of --mode is below --least. The file has one question
per line, in JSON:

    {"query": "does a write survive a power cut?", "files": ["durability.md"]}

Without FOLDER, ten questions about this project's documentation are used. A step of GitHub Actions:

    - run: python examples/evaluate_in_ci.py handbook --questions handbook.jsonl --least 0.7

Needs: pip install . ./integrations/files
"""

import argparse
import json
import sys
from pathlib import Path

import retrieval_store
from retrieval_store_files import sync_folder

DOCS = Path(__file__).resolve().parents[1] / "docs"
FIRST = 5  # hits that count
QUESTIONS = [
    ("does an acknowledged write survive a power cut?", ["durability.md"]),
    ("where_document $contains and regular expressions", ["filters.md"]),
    ("let a language model use the store as a tool", ["agents.md"]),
    ("BM25 together with embeddings", ["words.md"]),
    ("import a directory of Chroma", ["chroma.md", "exchange.md"]),
    ("uvicorn with several workers", ["processes.md"]),
    ("move the data to Qdrant with shards and replicas", ["cluster.md"]),
    ("search photos by text with CLIP", ["multimodal.md"]),
    ("why is a record not among the hits?", ["why.md"]),
    ("api keys and TLS of the server", ["serve.md"]),
]


def questions_of(file: Path | None) -> list[tuple[str, list[str]]]:
    """The questions, each with its right files."""
    if file is None:
        return QUESTIONS
    lines = (json.loads(line) for line in file.read_text("utf-8").splitlines() if line.strip())
    return [(line["query"], line["files"]) for line in lines]


def with_ids(
    collection: retrieval_store.Collection, questions: list[tuple[str, list[str]]]
) -> list[dict]:
    """The questions in the form for `evaluate`: every passage of a right file is right."""
    asked = []
    for query, files in questions:
        ids = collection.get(where={"path": {"$in": files}}, include=[])["ids"]
        if not ids:
            sys.exit(f"no passage of {files}, which should answer {query!r}: is the name right?")
        asked.append({"query": query, "ids": ids})
    return asked


def missed(
    collection: retrieval_store.Collection, questions: list[tuple[str, list[str]]], mode: str
) -> list[str]:
    """For each question without a right file among the first hits, the files that were found
    instead."""
    texts = [query for query, _ in questions]
    found = collection.query(query_texts=texts, n_results=FIRST, mode=mode, include=["metadatas"])[
        "metadatas"
    ]
    lines = []
    for (query, files), hits in zip(questions, found, strict=True):
        paths = list(dict.fromkeys(hit["path"] for hit in hits))
        if not set(paths) & set(files):
            lines.append(f"{query}\n    wanted {', '.join(files)}; found {', '.join(paths)}")
    return lines


def main() -> None:
    """Index the folder, run the questions, and compare the result with --least."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, help="of files; these docs if left out")
    parser.add_argument("--questions", type=Path, help="JSON lines")
    parser.add_argument("--least", type=float, default=0.6, help="from 0 to 1")
    parser.add_argument("--mode", choices=["dense", "text", "hybrid"], default="hybrid")
    chosen = parser.parse_args()
    if (chosen.folder is None) != (chosen.questions is None):
        parser.error("FOLDER and --questions need each other")
    with retrieval_store.Client() as client:
        files = client.create_collection("files", embedding_function="wordllama")
        sync_folder(files, chosen.folder or DOCS, kind="texts")
        questions = questions_of(chosen.questions)
        result = retrieval_store.evaluate(files, with_ids(files, questions), k=FIRST)
        for mode, measured in result.settings.items():
            rank = measured.estimates["mrr"]
            print(
                f"{mode:6}  MRR@{FIRST} {rank.mean:.3f} (95 %: {rank.low:.3f} to {rank.high:.3f})"
            )
        for line in missed(files, questions, chosen.mode):
            print(f"\nmissed: {line}")
        reached = result[chosen.mode].estimates["mrr"].mean
        print(f"\n{chosen.mode}: MRR@{FIRST} {reached:.3f}, wanted at least {chosen.least}")
        sys.exit(reached < chosen.least)


if __name__ == "__main__":
    main()
