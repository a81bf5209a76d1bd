"""Tasks made from real text: documents, and questions with the documents that answer them.

Python: a document is a function's name and its docstring without the first line, which is the
question. Names: a document is a whole docstring; the question is the words of the function's name.
Codes: each of these docstrings ends with a unique code. The question is "what is ref00012 about",
the code alone, or a long sentence with the code in it. WordNet: a document is the words of a synset
and the examples of their use; the question is the definition, without the synset's own words.
Cranfield: abstracts on aerodynamics, and researchers' questions.
"""

import ast
import gzip
import json
import re
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PARTS = ("noun", "verb", "adj", "adv")
OTHERS = {"site-packages", "test", "tests", "idlelib"}  # folders beside the standard library's own


@dataclass(frozen=True)
class Task:
    """Documents and questions. documents: a document's id is its position, as a string; questions:
    as in `evaluate`."""

    documents: list[str]
    questions: list[dict[str, object]]

    def some(self, count: int, seed: int) -> "Task":
        """The same documents, and this many of the questions."""
        order = np.random.default_rng(seed).permutation(len(self.questions))[:count]
        return Task(self.documents, [self.questions[i] for i in order])


def of_pairs(pairs: list[tuple[str, str]]) -> Task:
    """A task of documents, each with the one question that should find it."""
    asked = [{"query": question, "ids": [str(i)]} for i, (_, question) in enumerate(pairs)]
    return Task([document for document, _ in pairs], asked)


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Each module of the standard library that can be parsed, by its file's name."""
    for file in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if OTHERS & set(file.parts):
            continue
        try:
            yield file.stem, ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):
            continue


def docstrings() -> Iterator[tuple[str, str, str]]:
    """The module and name, the first line, and the rest of each docstring in the standard library
    that has several lines."""
    for module, tree in modules():
        for node in ast.walk(tree):
            text = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
            first, _, rest = (text or "").partition("\n")
            if len(first.split()) >= 4 and len(rest.split()) >= 8:
                yield f"{module}.{node.name}", first, rest.strip()


def of_python() -> Task:
    """Docstrings, queried by their first lines."""
    return of_pairs([(f"{name}: {rest}", first) for name, first, rest in docstrings()])


def of_names() -> Task:
    """Docstrings, queried by the words of the function's name. Only unique names with at least two
    words are used."""
    documents, named = [], {}
    for i, (name, first, rest) in enumerate(docstrings()):
        documents.append(f"{first}\n{rest}")
        words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name.partition(".")[2])
        named.setdefault(" ".join(words).lower(), []).append(str(i))
    asked = [(words, ids) for words, ids in named.items() if " " in words and len(ids) == 1]
    return Task(documents, [{"query": words, "ids": ids} for words, ids in asked])


def of_codes(asked: str) -> Callable[[], Task]:
    """Docstrings that end with a code. Questions contain this code."""

    def task() -> Task:
        codes = [f"ref{i:05d}" for i, _ in enumerate(docstrings())]
        texts = [f"{first}\n{rest}" for _, first, rest in docstrings()]
        documents = [f"{text}\n{code}" for text, code in zip(texts, codes, strict=True)]
        questions = [{"query": asked.format(code), "ids": [str(i)]} for i, code in enumerate(codes)]
        return Task(documents, questions)

    return task


def of_wordnet(folder: Path, count: int, seed: int) -> Task:
    """`count` synsets that have examples and a definition."""
    pairs = list(_synsets(folder))
    order = np.random.default_rng(seed).permutation(len(pairs))[:count]
    return of_pairs([pairs[i] for i in order])


def _synsets(folder: Path) -> Iterator[tuple[str, str]]:
    for part in PARTS:
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


def of_cranfield(file: Path) -> Task:
    """The whole collection; relevant documents count equally."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        parsed = [json.loads(line) for line in lines]
    documents = {one["document"]: one["text"] for one in parsed if "document" in one}
    places = {name: str(i) for i, name in enumerate(documents)}
    questions = [
        {"query": one["text"], "ids": [places[name] for name in one["relevant"]]}
        for one in parsed
        if "query" in one and one["relevant"]
    ]
    return Task(list(documents.values()), questions)
