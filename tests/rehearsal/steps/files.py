"""Folders of files of all kinds, synced with a collection, and pictures."""

import csv
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import retrieval_store
import retrieval_store_files
from integrations.files.tests.readers.files import pdf
from retrieval_store import ImageLoader
from retrieval_store.errors import DataLoaderError
from tests.helpers import PATIENCE, ROOT
from tests.rehearsal.places import EMBEDDED
from tests.rehearsal.scenario import EVERYTHING, Scenario, compare
from tests.rehearsal.shapes import Records
from tests.rehearsal.steps import step
from tests.rehearsal.steps.commands import run, started
from tests.rehearsal.truth import Truth, check_hits

DISK = frozenset({"disk"})
SENTENCES = (
    "the harbour master writes down which ships come in and what they carry while the tide turns "
    "and gulls cry over the quay where ropes and barrels lie in the morning light"
)
FILLER = SENTENCES.split()


@dataclass(repr=False)
class Texts:
    """The content of a file: one unique word at the beginning, one at the end, and others."""

    first: str
    last: str
    random: np.random.Generator
    long: bool

    def words(self, count: int) -> str:
        return " ".join(FILLER[i] for i in self.random.integers(0, len(FILLER), count))

    def paragraphs(self) -> list[str]:
        count = int(self.random.integers(12, 30)) if self.long else 2
        middle = [f"{self.words(int(self.random.integers(20, 60)))}." for _ in range(count)]
        return [f"It begins with {self.first}.", *middle, f"It ends with {self.last}."]

    def rows(self) -> list[tuple[str, str, int]]:
        count = 90 if self.long else 5
        middle = [(f"ship {i}", self.words(4), i) for i in range(count)]
        return [(self.first, "first", 0), *middle, (self.last, "last", count)]


def plain(texts: Texts) -> bytes:
    return "\n\n".join(texts.paragraphs()).encode()


def markdown(texts: Texts) -> bytes:
    first, *middle, last = texts.paragraphs()
    parts = ["# Notes", first, "## Middle", *middle, f"## Part {texts.last}", last]
    return "\n\n".join(parts).encode()


def restructured(texts: Texts) -> bytes:
    first, *middle, last = texts.paragraphs()
    parts = ["Notes\n=====", first, "Middle\n------", *middle, "End\n---", last]
    return "\n\n".join(parts).encode()


def page(texts: Texts) -> bytes:
    first, *middle, last = (f"<p>{one}</p>" for one in texts.paragraphs())
    body = f"<h1>Notes</h1>{first}<h2>Middle</h2>{''.join(middle)}<h2>End</h2>{last}"
    return f"<!doctype html><html><body><main>{body}</main></body></html>".encode()


def comma_separated(texts: Texts) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows([("name", "cargo", "number"), *texts.rows()])
    return out.getvalue().encode()


def tab_separated(texts: Texts) -> bytes:
    rows = [("name", "cargo", "number"), *texts.rows()]
    return "".join("\t".join(map(str, row)) + "\n" for row in rows).encode()


def objects(texts: Texts) -> list[dict[str, Any]]:
    return [{"name": a, "cargo": {"what": b}, "number": n} for a, b, n in texts.rows()]


def json_list(texts: Texts) -> bytes:
    return json.dumps(objects(texts)).encode()


def json_lines(texts: Texts) -> bytes:
    return "".join(json.dumps(one) + "\n" for one in objects(texts)).encode()


def program(texts: Texts) -> bytes:
    first, *middle, last = texts.paragraphs()
    functions = [f'def f{i}():\n    """{one}"""\n' for i, one in enumerate([*middle, last])]
    return "\n\n".join([f'"""{first}"""', *functions]).encode()


def settings(texts: Texts) -> bytes:
    return "".join(f"key{n}: {a} {b}\n" for a, b, n in texts.rows()).encode()


def notebook(texts: Texts) -> bytes:
    first, *middle, last = texts.paragraphs()
    cells = [
        {"cell_type": "markdown", "source": ["# Notes\n", first]},
        *({"cell_type": "markdown", "source": [one]} for one in middle),
        {"cell_type": "code", "source": "1 + 1", "outputs": [{"data": {"text/plain": last}}]},
    ]
    return json.dumps({"cells": cells, "metadata": {}}).encode()


def mail(texts: Texts) -> bytes:
    head = "Subject: Notes\nFrom: Jane <jane@example.com>\nMIME-Version: 1.0\n"
    return f"{head}Content-Type: text/plain\n\n{chr(10).join(texts.paragraphs())}\n".encode()


def pages(texts: Texts) -> bytes:
    return pdf(*(one.rstrip(".") for one in texts.paragraphs()))


def saved(document: Any) -> bytes:
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def office_text(texts: Texts) -> bytes:
    import docx

    document = docx.Document()
    document.add_heading("Notes", 1)
    for one in texts.paragraphs():
        document.add_paragraph(one)
    return saved(document)


def slides(texts: Texts) -> bytes:
    import pptx

    show = pptx.Presentation()
    for one in (*texts.paragraphs()[:: 5 if texts.long else 1], texts.last):
        slide = show.slides.add_slide(show.slide_layouts[1])
        slide.shapes.title.text = "Wind"
        slide.placeholders[1].text = one
    return saved(show)


def sheets(texts: Texts) -> bytes:
    import openpyxl

    book = openpyxl.Workbook()
    for row in [("name", "cargo", "number"), *texts.rows()]:
        book.active.append(row)
    return saved(book)


# Endings, what makes such a file, and how many of twenty-five are such files.
KINDS: dict[str, tuple[Callable[[Texts], bytes], int]] = {
    "txt": (plain, 4),
    "md": (markdown, 5),
    "rst": (restructured, 1),
    "html": (page, 2),
    "csv": (comma_separated, 1),
    "tsv": (tab_separated, 1),
    "json": (json_list, 1),
    "jsonl": (json_lines, 1),
    "py": (program, 2),
    "yaml": (settings, 1),
    "ipynb": (notebook, 1),
    "eml": (mail, 1),
    "pdf": (pages, 1),
    "docx": (office_text, 1),
    "pptx": (slides, 1),
    "xlsx": (sheets, 1),
}
NAMES = (
    "plain {0}",
    "spaced  name {0}",
    "ümläut-{0}-漢字",
    "a.b.c.{0}",
    "#{0} 100%",
    "UPPER{0}",
    'it\'s "{0}"',
    "[{0}]{{x}}",
    f"{'long-' * 30}{{0}}",
)


def word_of(number: int, version: int, place: int) -> str:
    """A unique word of letters."""
    number = (number * 10 + version) * 2 + place
    letters = ""
    while number:
        number, rest = divmod(number, 20)
        letters += "bcdfghjklmnprstvwxyz"[rest]
    return f"qa{letters}qa"


@dataclass(repr=False)
class Folder:
    """A folder of many files: their paths and versions."""

    root: Path
    seed: int = 0
    versions: dict[str, tuple[int, int]] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)
    numbers: int = 0  # that were given, each to one file

    def fill(self, size: int) -> None:
        endings = [ending for ending, (_, count) in KINDS.items() for _ in range(count)]
        self.numbers = size
        for number in range(size):
            ending = endings[number % len(endings)]
            place = ("", "guides/", "guides/deep/er/", "Maps & co/", "x/")[number // 3 % 5]
            name = NAMES[number % len(NAMES)].format(number)
            self.write(f"{place}{name}.{ending}", number, 0)
        for number in range(max(1, size // 100)):
            for name, content in (
                (f"empty {number}.txt", b""),
                (f"guides/blank {number}.md", b" \n\n \t\n"),
                (f"x/program {number}.exe", b"\x7fELF\0"),
                (f".hidden {number}.txt", b"hidden"),
                (f"ignored/some {number}.txt", b"ignored"),
                (f"x/{number}.log", b"logged"),
            ):
                self.put(name, content)
                self.left_out.add("ignored" if name.startswith("ignored/") else name)
        self.put(".gitignore", b"ignored/\n*.log\n")
        self.left_out.add(".gitignore")

    def put(self, path: str, content: bytes) -> None:
        at = self.root / path
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_bytes(content)

    def write(self, path: str, number: int, version: int) -> None:
        """The same number and version always give the same content."""
        random = np.random.default_rng([self.seed, number])
        words = [word_of(number, version, place) for place in (0, 1)]
        texts = Texts(words[0], words[1], random, number % 5 == 0)
        self.put(path, KINDS[path.rpartition(".")[2]][0](texts))
        self.versions[path] = number, version

    def words(self, path: str) -> tuple[str, str]:
        number, version = self.versions[path]
        return word_of(number, version, 0), word_of(number, version, 1)

    def change(self, random: np.random.Generator) -> dict[str, set[str]]:
        """Change a third, delete a tenth, move a tenth, and add some; returns the report that a
        sync should give."""
        paths = list(self.versions)
        random.shuffle(paths)
        third, tenth = len(paths) // 3, len(paths) // 10
        changed, deleted = paths[:third], paths[third : third + tenth]
        moved = paths[third + tenth : third + 2 * tenth]
        for path in changed:
            number, version = self.versions[path]
            self.write(path, number, version + 1)
        for path in deleted:
            (self.root / path).unlink()
            del self.versions[path]
        there = set()
        for path in moved:
            target = f"moved/{path}"
            (self.root / target).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).rename(self.root / target)
            self.versions[target] = self.versions.pop(path)
            there.add(target)
        self.numbers += tenth
        for number in range(self.numbers - tenth, self.numbers):
            self.write(f"new/fresh {number}.md", number, 0)
            there.add(f"new/fresh {number}.md")
        return {"changed": set(changed), "deleted": {*deleted, *moved}, "added": there}


class Lengths:
    """Embeds a text by its length and letters; counts its texts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, input: list[str]) -> list[list[float]]:
        self.count += len(input)
        return [[len(one), *(float(one.count(c)) for c in "aeiounr")] for one in input]


@contextmanager
def synced(scenario: Scenario, name: str = "folder") -> Iterator[tuple[Any, Folder, Lengths]]:
    """A collection and a filled folder."""
    embed, folder = Lengths(), Folder(scenario.new_path("folder"))
    folder.fill(scenario.size)
    collection = scenario.client.create_collection(name, embedding_function=embed)
    try:
        yield collection, folder, embed
    finally:
        scenario.client.delete_collection(name)


def paths_of(collection: Any) -> set[str]:
    return {row["path"] for row in collection.get(include=["metadatas"])["metadatas"]}


def check_words(collection: Any, folder: Folder, gone: set[str] = frozenset()) -> None:
    """Check that each word finds only its file, with a line that contains it, and that old words
    find none."""
    compare(sorted(paths_of(collection)), sorted(folder.versions), "files")
    for path in list(folder.versions)[:: max(1, len(folder.versions) // 1000)]:
        for word in folder.words(path):
            got = collection.query(query_texts=word, mode="text", n_results=3)
            found = {row["path"] for row in got["metadatas"][0]}
            assert found == {path}, f"{word} is found in {found}, not in {path}"
            document, metadata = got["documents"][0][0], got["metadatas"][0][0]
            assert word in document
            check_place(path, word == folder.words(path)[0], document, metadata)
    for word in sorted(gone)[:100]:
        assert collection.query(query_texts=word, mode="text")["ids"] == [[]], word


def check_place(path: str, is_first: bool, document: str, metadata: dict[str, Any]) -> None:
    """Check that a hit names its place in the file."""
    citation = retrieval_store_files.cite(metadata)
    assert " ".join(path.split())[:20] in citation, citation
    assert metadata["place"] < metadata["places"]
    assert is_first or metadata["place"] >= 0
    if path.endswith(".pdf"):
        assert (metadata["page"] == 1) == is_first
    if path.endswith(".md"):
        part = metadata.get("headings") or [""]
        assert is_first or part[-1].startswith("Part ") or "Part " in document


def old_words(folder: Folder, paths: set[str]) -> set[str]:
    return {word for path in paths for word in folder.words(path)}


@step("folder", places=EMBEDDED | {"served"})
def folders_are_kept_in_step(scenario: Scenario) -> None:
    """New, changed, moved and deleted files, twice; then a sync without changes."""
    with synced(scenario) as (collection, folder, embed):
        report = retrieval_store_files.sync_folder(collection, folder.root, gitignore=True)
        compare(sorted(report.added), sorted(folder.versions), "added")
        left = {Path(one.path).relative_to(folder.root).as_posix() for one in report.left_out}
        compare(sorted(left), sorted(folder.left_out), "left out")
        assert not report.unreadable
        assert report.embedded == embed.count == collection.count()
        check_words(collection, folder)
        for _ in range(scenario.times(1, 1, 3)):
            nothing_is_done(scenario, collection, folder, embed)
            before, words = embed.count, old_words(folder, set(folder.versions))
            right = folder.change(scenario.random)
            reported = retrieval_store_files.sync_folder(
                collection, folder.root, gitignore=True, dry_run=True
            )
            report = retrieval_store_files.sync_folder(collection, folder.root, gitignore=True)
            for kind, paths in right.items():
                compare(sorted(getattr(report, kind)), sorted(paths), kind)
                compare(sorted(getattr(reported, kind)), sorted(paths), f"{kind}, in a dry run")
            touched = right["changed"] | {p for p in right["added"] if p.startswith("new/")}
            rows = collection.get(include=["metadatas"])["metadatas"]
            assert report.embedded == embed.count - before
            assert report.embedded <= sum(row["path"] in touched for row in rows)
            now = old_words(folder, set(folder.versions))
            check_words(collection, folder, words - now)


def nothing_is_done(scenario: Scenario, collection: Any, folder: Folder, embed: Lengths) -> None:
    def writes() -> int:
        return scenario.client.stats()["by_collection"][collection.name]["seq"]

    count, before = embed.count, writes()
    report = retrieval_store_files.sync_folder(collection, folder.root, gitignore=True)
    assert report.unchanged == len(folder.versions)
    assert not (report.added or report.changed or report.deleted or report.embedded)
    assert (embed.count, writes()) == (count, before)


@step("folder", places=DISK | {"served"})
def folders_by_the_command(scenario: Scenario) -> None:
    """The same by the command `sync`, killed and repeated; the result is as without a kill."""
    store = str(scenario.place.path or scenario.place.url)
    folder = Folder(scenario.new_path("folder"), seed=1)
    folder.fill(scenario.size // scenario.times(2, 4, 4))
    command = ["sync", store, "killed", str(folder.root), "--gitignore", "--batch", "10"]
    try:
        for _ in range(scenario.times(1, 2, 5)):
            kill_while_it_works(scenario, command)
        data = json.loads(run(*command, "--json", "-q"))
        partly = len(data["changed"])
        assert data["unreadable"] == [] and partly <= 1
        assert len(data["added"]) + partly + data["unchanged"] == len(folder.versions)
        fresh = ["sync", store, "whole", str(folder.root), "--gitignore", "-q"]
        data = json.loads(run(*fresh, "--json"))
        compare(sorted(data["added"]), sorted(folder.versions), "added")
        compare_collections(scenario, "killed", "whole")
        right = folder.change(scenario.random)
        data = json.loads(run(*fresh, "--json"))
        for kind, paths in right.items():
            compare(sorted(data[kind]), sorted(paths), kind)
        collection = scenario.client.get_collection("whole", embedding_function=None)
        check_words(collection, folder)
        rest = [path for path in folder.versions if path.endswith(".md") and "guides" not in path]
        run(*fresh, "--include", "*.md", "--exclude", "guides/")
        compare(sorted(paths_of(collection)), sorted(rest), "those that are included")
    finally:
        for name in {one.name for one in scenario.client.list_collections()} & {"killed", "whole"}:
            scenario.client.delete_collection(name)


@step("folder", places=DISK | {"served"}, least="first")
def folders_are_watched(scenario: Scenario) -> None:
    """`sync --watch` finds changes in a folder, until Ctrl-C."""
    folder = Folder(scenario.new_path("folder"), seed=3)
    folder.fill(min(scenario.size, 400))
    store = str(scenario.place.path or scenario.place.url)
    command = ("sync", store, "watched", folder.root, "--gitignore", "-q")
    run(*command, "--model", "wordllama")
    collection = scenario.client.get_collection("watched", embedding_function=None)
    try:
        with started(*command, "--watch") as process:
            for _ in range(scenario.times(1, 3, 10)):
                wait_for_step(collection, folder, process)
                folder.change(scenario.random)
            wait_for_step(collection, folder, process)
        check_words(collection, folder)
    finally:
        scenario.client.delete_collection("watched")


def wait_for_step(collection: Any, folder: Folder, process: subprocess.Popen) -> None:
    """Wait until a collection equals its folder, and a word of each file finds it."""
    until = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, "the command has ended"
        got = collection.get(include=["documents", "metadatas"])
        texts: dict[str, str] = {}
        for row, document in zip(got["metadatas"], got["documents"], strict=True):
            texts[row["path"]] = texts.get(row["path"], "") + document
        late = [
            path
            for path in folder.versions
            if not all(word in texts.get(path, "") for word in folder.words(path))
        ]
        if not late and set(texts) == set(folder.versions):
            return
        assert time.monotonic() < until, f"{len(late)} files are late: {late[:3]}"
        time.sleep(0.3)  # a look reads everything, beside the command


def kill_while_it_works(scenario: Scenario, command: list[str]) -> None:
    """Kill the command once there are some more records."""
    before = records_of(scenario, "killed")
    process = subprocess.Popen(
        [sys.executable, "-m", "retrieval_store", *command, "-q"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + PATIENCE
    while records_of(scenario, "killed") < before + 20 and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    process.kill()
    process.wait(PATIENCE)


def records_of(scenario: Scenario, name: str) -> int:
    if name not in {one.name for one in scenario.client.list_collections()}:
        return 0
    return scenario.client.get_collection(name, embedding_function=None).count()


def compare_collections(scenario: Scenario, one: str, other: str) -> None:
    rows = []
    for name in (one, other):
        collection = scenario.client.get_collection(name, embedding_function=None)
        got = collection.get(include=EVERYTHING)
        columns = got["ids"], got["documents"], got["metadatas"], got["embeddings"].tolist()
        rows.append(sorted(zip(*columns, strict=True), key=lambda row: row[0]))
    compare([row[0] for row in rows[0]], [row[0] for row in rows[1]], "ids")
    for mine, theirs in zip(*rows, strict=True):
        assert mine == theirs, mine[0]


@step("folder", places=EMBEDDED | {"served"})
def folders_in_one_collection(scenario: Scenario) -> None:
    """Two folders and other records in one collection; a missing folder is refused; a named folder
    can be moved."""
    with synced(scenario, "several") as (collection, folder, embed):
        other = Folder(scenario.new_path("other"), seed=2)
        other.fill(max(20, scenario.size // 10))
        collection.add(ids=["own"], documents=["mine"], metadatas=[{"path": "own"}])
        how = {"gitignore": True, "include": ["*.md", "*.csv", "*.txt"]}
        retrieval_store_files.sync_folder(collection, folder.root, name="one", **how)
        retrieval_store_files.sync_folder(
            collection, other.root, name="two", prefix="other/", **how
        )
        chosen = {p for p in folder.versions if p.endswith((".md", ".csv", ".txt"))}
        rows = collection.get(where={"source": "one"}, include=["metadatas"])["metadatas"]
        compare(sorted({row["path"] for row in rows}), sorted(chosen), "files of one")
        count = collection.count(where={"source": "two"})
        assert all(i.startswith("other/") for i in collection.get(where={"source": "two"})["ids"])
        before, target = embed.count, scenario.new_path("elsewhere")
        folder.root.rename(target)
        with pytest.raises(retrieval_store.errors.RetrievalStoreError):
            retrieval_store_files.sync_folder(collection, folder.root, name="one", **how)
        report = retrieval_store_files.sync_folder(collection, target, name="one", **how)
        assert (report.unchanged, embed.count) == (len(chosen), before)
        for path in target.rglob("*"):
            if path.is_file():
                path.unlink()
        retrieval_store_files.sync_folder(collection, target, name="one", allow_empty=True, **how)
        assert collection.count() == count + 1
        assert collection.get(ids="own")["documents"] == ["mine"]


# Pictures

SIDE, GRID = 16, 4


class Colours:
    """The mean colours of a grid of four by four; a text names a picture by its number."""

    def __init__(self, seed: int = 3) -> None:
        self.seed = seed

    def picture(self, number: int) -> np.ndarray:
        random = np.random.default_rng([self.seed, number])
        coarse = random.integers(0, 256, (GRID, GRID, 3))
        fine = coarse.repeat(SIDE // GRID, 0).repeat(SIDE // GRID, 1)
        return np.clip(fine + random.integers(-20, 21, fine.shape), 0, 255).astype(np.uint8)

    def vector(self, picture: np.ndarray) -> np.ndarray:
        step = SIDE // GRID
        cells = picture.astype(np.float64).reshape(GRID, step, GRID, step, 3)
        return (cells.mean((1, 3)).ravel() / 255).astype(np.float32)

    def __call__(self, input: list[Any]) -> list[np.ndarray]:
        return [
            self.vector(self.picture(int(one.split()[-1])) if isinstance(one, str) else one)
            for one in input
        ]


def paint(path: Path, picture: np.ndarray) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


@contextmanager
def gallery(scenario: Scenario) -> Iterator[tuple[Any, Truth, Colours, Path]]:
    """A collection of pictures, added by their uris, and their folder."""
    colours, folder, size = Colours(), scenario.new_path("pictures"), scenario.size
    records = Records([], np.zeros((size, GRID * GRID * 3), np.float32), [])
    for number in range(size):
        picture = colours.picture(number)
        paint(folder / uri_of(number), picture)
        records.ids.append(f"picture-{number}")
        records.vectors[number] = colours.vector(picture)
        records.metadatas.append({"number": number, "even": number % 2 == 0})
    collection = scenario.client.create_collection(
        "gallery",
        {"hnsw": {"space": "l2"}},
        embedding_function=colours,
        data_loader=ImageLoader(root=folder),
    )
    try:
        for first in range(0, size, 500):
            part = records.part(first, first + 500)
            uris = [uri_of(first + i) for i in range(len(part))]
            collection.add(part.ids, uris=uris, metadatas=part.metadatas)
        yield collection, Truth("l2", records), colours, folder
    finally:
        scenario.client.delete_collection("gallery")


def uri_of(number: int) -> str:
    return f"{number % 7}/picture {number}.png"


@step("pictures", places=EMBEDDED | {"served"})
def pictures_are_found(scenario: Scenario) -> None:
    """Queries by pictures, uris, names and filters; each picture is as painted."""
    with gallery(scenario) as (collection, truth, colours, _):
        got = collection.get(include=["embeddings", "metadatas", "documents", "uris"])
        compare(got["ids"], truth.ids, "pictures")
        scenario.check_records(got, truth)
        assert got["uris"] == [uri_of(i) for i in range(len(truth))]
        drawn = scenario.random.integers(0, len(truth), scenario.times(20, 100, 300)).tolist()
        seen = collection.get(ids=[f"picture-{i}" for i in set(drawn)], include=["data", "uris"])
        for one, picture in zip(seen["ids"], seen["data"], strict=True):
            assert np.array_equal(picture, colours.picture(int(one.split("-")[1]))), one
        for number in drawn:
            picture = colours.picture(number)
            near = np.clip(picture.astype(int) + 7, 0, 255).astype(np.uint8)
            for query, shown in (
                ({"query_images": [near]}, near),
                ({"query_uris": uri_of(number)}, picture),
                ({"query_texts": f"picture {number}"}, picture),
            ):
                where = {"even": True} if number % 3 == 0 else None
                got = collection.query(
                    **query, n_results=10, where=where, include=["distances", "uris"]
                )
                allowed = None if where is None else truth.matching(where)
                hits = got["ids"][0], got["distances"][0]
                assert check_hits(truth, colours.vector(shown), *hits, 10, allowed) == 1
                assert got["uris"][0] == [uri_of(int(one.split("-")[1])) for one in got["ids"][0]]


@step("pictures", places=EMBEDDED | {"served"})
def pictures_change(scenario: Scenario) -> None:
    """New uris, arrays and captions; missing and broken files, of which nothing is written."""
    with gallery(scenario) as (collection, truth, colours, folder):
        count = min(len(truth), scenario.times(30, 300, 1000))
        numbers = scenario.random.choice(len(truth), count, replace=False)
        ids = [f"picture-{number}" for number in numbers]
        paint_new = [colours.picture(10_000_000 + number) for number in numbers]
        for number, picture in zip(numbers, paint_new, strict=True):
            paint(folder / f"new/{number}.png", picture)
        uris = [f"new/{number}.png" for number in numbers]
        collection.update(ids, uris=uris)
        truth.move(ids, np.asarray(colours(paint_new)))
        for bad in ("none.png", "broken.png", "../outside.png"):
            (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
            with pytest.raises(DataLoaderError):
                collection.add(["good", "bad"], uris=[uri_of(0), bad])
            with pytest.raises(DataLoaderError):
                collection.update([ids[0], ids[1]], uris=[uri_of(0), bad])
            assert collection.count() == len(truth)
        scenario.check_records(collection.get(include=EVERYTHING), truth)
        half = ids[: len(ids) // 2]
        captions = [f"a caption of {one}" for one in half]
        collection.update(half, documents=captions, embed="uris")
        for one, caption in zip(half, captions, strict=True):
            truth.records[one].document = caption
        got = collection.get(ids=half, include=["uris"])["uris"]
        compare(got, uris[: len(half)], "uris")
        arrays = [colours.picture(20_000_000 + i) for i in range(len(half))]
        collection.update(half, images=arrays)
        truth.move(half, np.asarray(colours(arrays)))
        for one in half:
            truth.records[one].document = None
        scenario.check_records(collection.get(include=EVERYTHING), truth)
        assert collection.get(ids=half, include=["uris"])["uris"] == [None] * len(half)
        os.unlink(folder / uris[-1])
        with pytest.raises(DataLoaderError):
            collection.get(ids=ids[-1], include=["data"])
        skipping = scenario.client.get_collection(
            "gallery",
            embedding_function=colours,
            data_loader=ImageLoader(root=folder, on_error="skip"),
        )
        done = skipping.add(["good", "bad"], uris=[uri_of(0), "none.png"])
        assert done == {"left_out": ["bad"]}
        assert collection.count() == len(truth) + 1
