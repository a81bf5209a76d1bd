"""How well text, dense and hybrid queries find what they should, on two tasks made from real text.

    python benchmarks/quality.py [--documents 20000] [--wordnet FOLDER] [--output FOLDER]

WordNet: a document is what stands for a synset without its definition, its words and the examples
of their use; a query is the definition, without the synset's own words. Python: a document is a
function's name and its docstring without the first line, which is the query. alpha is chosen on 500
queries by nDCG@10, and the figures are those of 1,000 others. Prints JSON, and writes it.
"""

import argparse
import ast
import json
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from runs import save

import retrieval_store
from retrieval_store.embeddings.wordllama import WordLlamaEmbedding

CHOOSING, REPORTED, K = 500, 1_000, 10
ALPHAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def of_wordnet(folder: Path) -> Iterator[tuple[str, str]]:
    """(document, query) of each synset that has examples and a definition."""
    for part in ("noun", "verb", "adj", "adv"):
        for line in (folder / f"data.{part}").read_text(encoding="latin-1").splitlines():
            if line.startswith(" "):
                continue
            head, _, gloss = line.partition(" | ")
            fields = head.split()
            count = int(fields[3], 16)
            words = [fields[4 + 2 * i].replace("_", " ") for i in range(count)]
            words = [re.sub(r"\(\w+\)$", "", word) for word in words]
            examples = re.findall(r'"([^"]+)"', gloss)
            definition = gloss.partition('"')[0].strip(" ;")
            own = {piece.lower() for word in words for piece in re.findall(r"\w+", word)}
            kept = [w for w in re.findall(r"\w+", definition) if w.lower() not in own]
            if examples and len(kept) >= 4:
                yield f"{', '.join(words)}: {'; '.join(examples)}", " ".join(kept)


def of_python() -> Iterator[tuple[str, str]]:
    """(document, query) of each function of the standard library with a docstring of more lines."""
    for file in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if {"site-packages", "test", "tests", "idlelib"} & set(file.parts):
            continue
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            text = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
            first, _, rest = (text or "").partition("\n")
            if len(first.split()) >= 4 and len(rest.split()) >= 8:
                yield f"{file.stem}.{node.name}: {rest.strip()}", first


def gain(ids: list[str], right: str) -> float:
    """nDCG@10 with one right answer: 1 / log2(1 + its rank)."""
    return 1 / float(np.log2(2 + ids.index(right))) if right in ids else 0.0


def measure(pairs: list[tuple[str, str]], text: dict[str, object]) -> dict[str, float]:
    """nDCG@10 of one task by mode, with these settings for words."""
    documents, queries = [document for document, _ in pairs], [query for _, query in pairs]
    embed = WordLlamaEmbedding()
    starts = range(0, len(documents), 1_000)
    vectors = np.concatenate([embed(documents[start : start + 1_000]) for start in starts])
    asked = CHOOSING + REPORTED
    query_vectors = embed(queries[:asked])
    with retrieval_store.Client() as client:
        settings = {"hnsw": {"space": "cosine"}, "text": text}
        things = client.create_collection("things", settings, embedding_function=None)
        ids = [str(i) for i in range(len(documents))]
        things.add(ids=ids, documents=documents, embeddings=vectors)

        def gains(span: range, mode: str, **how: object) -> float:
            given: dict[str, object] = {}
            if mode != "dense":
                given["query_texts"] = queries[span.start : span.stop]
            if mode != "text":
                given["query_embeddings"] = query_vectors[span.start : span.stop]
            found = things.query(**given, mode=mode, n_results=K, include=[], exact=True, **how)
            pairs = zip(found["ids"], span, strict=True)
            return float(np.mean([gain(hits, str(i)) for hits, i in pairs]))

        choosing, reported = range(CHOOSING), range(CHOOSING, asked)
        figures = {mode: gains(reported, mode) for mode in ("text", "dense")}
        for fusion in ("rrf", "weighted"):
            tried = {a: gains(choosing, "hybrid", fusion=fusion, alpha=a) for a in ALPHAS}
            best = max(tried, key=tried.__getitem__)
            figures[f"hybrid, {fusion}"] = gains(reported, "hybrid", fusion=fusion, alpha=best)
            figures[f"hybrid, {fusion}: alpha"] = best
    return figures


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"))
    chosen = parser.parse_args()
    tasks = {"Python": list(of_python())}
    if chosen.wordnet.is_dir():
        tasks["WordNet"] = list(of_wordnet(chosen.wordnet))
    found = {}
    for task, pairs in tasks.items():
        order = np.random.default_rng(0).permutation(len(pairs))[: chosen.documents]
        for label, text in {
            "English stems, no stopwords": {"language": "english", "stopwords": True},
            "plain words": {},
        }.items():
            found[f"{task}, {label}"] = measure([pairs[i] for i in order], text)
    print(json.dumps(found, indent=1))
    save(chosen.output, "quality", found, ["wordllama"], documents=chosen.documents)


if __name__ == "__main__":
    main()
