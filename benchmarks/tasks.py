"""Tasks made of real text: documents, and questions with the documents that should be found.

Python: a document is a function's name and its docstring without the first line, which is asked.
Names: a document is a whole docstring; asked are the words of the function's name. Codes: each of
these docstrings ends with a code of its own, and asked is "what is ref00012 about", the code alone,
or a long sentence with the code in it. WordNet: a document is what stands for a synset without its
definition, its words and the examples of their use; asked is the definition, without the synset's
own words. Cranfield: abstracts on aerodynamics, and the questions of researchers.
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
    """documents: their ids are their places, as strings; questions: as of `evaluate`."""

    documents: list[str]
    questions: list[dict[str, object]]

    def some(self, count: int, seed: int) -> "Task":
        """The same documents, and so many of the questions."""
        order = np.random.default_rng(seed).permutation(len(self.questions))[:count]
        return Task(self.documents, [self.questions[i] for i in order])


def of_pairs(pairs: list[tuple[str, str]]) -> Task:
    """Of documents and the one question that each should be found by."""
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
    """The module and name, the first line, and the rest, of each docstring of more lines in the
    standard library."""
    for module, tree in modules():
        for node in ast.walk(tree):
            text = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
            first, _, rest = (text or "").partition("\n")
            if len(first.split()) >= 4 and len(rest.split()) >= 8:
                yield f"{module}.{node.name}", first, rest.strip()


def of_python() -> Task:
    """Docstrings by their first lines."""
    return of_pairs([(f"{name}: {rest}", first) for name, first, rest in docstrings()])


def of_names() -> Task:
    """Docstrings by the words of the function's name, where there are two at least, and no other
    function has the same."""
    documents, named = [], {}
    for i, (name, first, rest) in enumerate(docstrings()):
        documents.append(f"{first}\n{rest}")
        words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name.partition(".")[2])
        named.setdefault(" ".join(words).lower(), []).append(str(i))
    asked = [(words, ids) for words, ids in named.items() if " " in words and len(ids) == 1]
    return Task(documents, [{"query": words, "ids": ids} for words, ids in asked])


def of_codes(asked: str) -> Callable[[], Task]:
    """Docstrings that end with a code, which stands in what is asked."""

    def task() -> Task:
        codes = [f"ref{i:05d}" for i, _ in enumerate(docstrings())]
        texts = [f"{first}\n{rest}" for _, first, rest in docstrings()]
        documents = [f"{text}\n{code}" for text, code in zip(texts, codes, strict=True)]
        questions = [{"query": asked.format(code), "ids": [str(i)]} for i, code in enumerate(codes)]
        return Task(documents, questions)

    return task


def of_wordnet(folder: Path, count: int, seed: int) -> Task:
    """So many of the synsets that have examples and a definition."""
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
    """All of it; each document that is relevant counts alike."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        told = [json.loads(line) for line in lines]
    documents = {one["document"]: one["text"] for one in told if "document" in one}
    places = {name: str(i) for i, name in enumerate(documents)}
    questions = [
        {"query": one["text"], "ids": [places[name] for name in one["relevant"]]}
        for one in told
        if "query" in one and one["relevant"]
    ]
    return Task(list(documents.values()), questions)
