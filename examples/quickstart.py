"""Index text that every Python has, and ask it questions in plain English.

    python examples/quickstart.py [--ask QUESTION] [FOLDER OF THE STORE]

The language reference behind `help()` is split into passages, and the docstrings of the standard
library are read from its source files. All of it goes into one collection in one atomic write; run
again, the store is there and only the questions are asked.
"""

import argparse
import ast
import platform
import sysconfig
import textwrap
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from pydoc_data.topics import topics

import retrieval_store
from retrieval_store.exchange import passages_of

COLLECTION = "python-docs"
FUNCTIONS = {"kind": "function", "words": {"$gte": 10}}
OF_FILES = {"source": "docstring", "module": {"$in": ["tempfile", "shutil", "pathlib"]}}
QUESTIONS = [
    {"query_texts": "catch several exceptions", "where": {"source": "reference"}},
    {"query_texts": "run a command in a subprocess and capture its output", "where": FUNCTIONS},
    {"query_texts": "create a temporary file", "where": OF_FILES},
    {"query_texts": "wait for several tasks at once", "where_document": {"$contains": "timeout"}},
]


def reference() -> Iterator[tuple[str, str, dict]]:
    """(id, text, metadata) for each passage of the language reference."""
    for topic, text in topics.items():
        for number, passage in enumerate(passages_of(text)):
            metadata = {"source": "reference", "topic": topic, "words": len(passage.split())}
            yield f"reference/{topic}/{number}", passage, metadata


def docstrings() -> Iterator[tuple[str, str, dict]]:
    """(id, text, metadata) for each docstring of the standard library's public names."""
    library = Path(sysconfig.get_path("stdlib"))
    files = [*library.glob("*.py"), *library.glob("[a-z]*/*.py")]
    skipped = {"site-packages", "test", "tests", "idlelib", "lib2to3", "distutils", "encodings"}
    for file in sorted(files):
        parts = file.relative_to(library).with_suffix("").parts
        if skipped.isdisjoint(parts) and not parts[-1].startswith(("_", "test_", "windows")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            yield from docstrings_below(tree, ".".join(parts), ".".join(parts))


def docstrings_below(node: ast.AST, module: str, name: str) -> Iterator[tuple[str, str, dict]]:
    """The docstring of a module, class or function, and those of public names defined in it."""
    text = ast.get_docstring(node)
    if text:
        kind = {ast.Module: "module", ast.ClassDef: "class"}.get(type(node), "function")
        words = len(text.split())
        metadata = {"source": "docstring", "module": module, "kind": kind, "words": words}
        yield name, f"{name}: {text}", metadata
    if isinstance(node, ast.Module | ast.ClassDef):
        for child in node.body:
            named = isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            if named and not child.name.startswith("_"):
                yield from docstrings_below(child, module, f"{name}.{child.name}")


def index(collection: retrieval_store.Collection) -> None:
    """Add everything in one atomic write, unless this Python's texts are there."""
    if (collection.metadata or {}).get("python") == platform.python_version():
        print(f"Reusing {collection.count():,} passages of an earlier run.")
        return
    start = time.perf_counter()
    every = chain(reference(), docstrings())
    records = {identity: (identity, text, metadata) for identity, text, metadata in every}
    print(f"Read {len(records):,} passages in {time.perf_counter() - start:.1f} s.")
    start = time.perf_counter()
    ids, texts, metadatas = map(list, zip(*records.values(), strict=True))
    collection.upsert(ids=ids, documents=texts, metadatas=metadatas, show_progress=True)
    collection.modify(metadata={"python": platform.python_version()})
    print(f"Embedded and stored them in {time.perf_counter() - start:.1f} s.")


def ask(collection: retrieval_store.Collection, questions: list[dict]) -> None:
    """Ask each question and print the three best passages, with their cosine similarity."""
    for question in questions:
        filters = {name: value for name, value in question.items() if name != "query_texts"}
        print(f"? {question['query_texts']}")
        if filters:
            print(f"  filters: {filters}")
        start = time.perf_counter()
        result = collection.query(n_results=3, **question)
        milliseconds = (time.perf_counter() - start) * 1e3
        hits = zip(result["ids"][0], result["distances"][0], result["documents"][0], strict=True)
        for rank, (identity, distance, document) in enumerate(hits, start=1):
            print(f"  {rank}. similarity {1 - distance:.3f}  {identity}")
            print(f"       {textwrap.shorten(document, 88)}")
        print(f"  answered in {milliseconds:.1f} ms\n")


def main() -> None:
    """Open or make the store, and ask."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default="quickstart_store", help="where the store is")
    parser.add_argument("--ask", metavar="QUESTION", help="a question of your own")
    options = parser.parse_args()
    folder = Path(options.folder).absolute()
    start = time.perf_counter()
    with retrieval_store.Client(folder) as client:
        collection = client.get_or_create_collection(COLLECTION)
        print(f"Store: {folder} (opened in {(time.perf_counter() - start) * 1e3:.0f} ms)")
        index(collection)
        collection.query(query_texts="warm up", n_results=1)  # loads the model and the vectors
        ask(collection, [{"query_texts": options.ask}] if options.ask else QUESTIONS)


if __name__ == "__main__":
    main()
