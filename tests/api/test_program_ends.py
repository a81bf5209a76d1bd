"""Programs that end without closing their client: they print nothing, and lose nothing."""

import subprocess
import sys
from itertools import cycle
from pathlib import Path

import pytest

import retrieval_store

COUNT = 20_500  # so that lists of words and codes are worth a file
MAKE = """
import numpy as np
import retrieval_store
with retrieval_store.Client(sys.argv[1]) as client:
    notes = client.create_collection(
        "notes", embedding_function=None, configuration={"expires": "until"}
    )
    generator = np.random.default_rng(5)
    notes.add(
        [f"n{i}" for i in range(COUNT)], generator.normal(size=(COUNT, 64)).astype("f4"),
        documents=[f"boat {i} of harbour {i % 7}" for i in range(COUNT)],
        metadatas=[{"n": i % 50, "until": 4e9} for i in range(COUNT)],
    )
"""
OPEN = """
import retrieval_store
client = retrieval_store.Client(PLACE)
notes = client.get_collection("notes")
"""
# What leaves something for the end: lists of words, columns, codes, expired records, new vectors.
WORKS = {
    "words": 'assert notes.query(query_texts="harbour", mode="text", n_results=3)["ids"][0]',
    "columns": 'assert notes.get(where={"n": 3}, limit=2)["ids"]',
    "vectors": "assert notes.query(query_embeddings=[.1] * 64)['ids'][0]",
    "expiry": "notes.update([f'n{i}' for i in range(0, COUNT, 9)],"
    " metadatas=[{'until': 1}] * (1 + (COUNT - 1) // 9)); assert notes.count() < COUNT",
    "write": "notes.upsert(ids=['new'], embeddings=[[.5] * 64], documents=['a new boat'])",
    "several": "notes.add([f'm{i}' for i in range(3000)], [[.5] * 64] * 3000);"
    " notes.query(query_texts='boat', mode='text'); notes.query(query_embeddings=[.2] * 64)",
    "optimize": "notes.delete(where={'n': {'$lt': 40}}); notes.optimize()",
    "verify": "assert not any(report.problem for report in client.verify())",
    "snapshot": "client.snapshot(sys.argv[1] + '.zip')",
    "many": "list(notes.query(query_embeddings=[[.1] * 64] * 20, recall=.8)['ids'])",
}
# Where the work is done; `work` does it, with a client that is never closed.
WAYS = {
    "at the top": OPEN + "work()",
    "in a function": "def main():\n    import retrieval_store\n    global client, notes\n"
    "    client = retrieval_store.Client(PLACE)\n    notes = client.get_collection('notes')\n"
    "    work()\nmain()",
    "at exit": OPEN + "import atexit; atexit.register(work)",
    "at exit, registered first": "import atexit; atexit.register(lambda: work())\n" + OPEN,
    "in a thread that outlives the main one": OPEN
    + "import threading, time\nmain = threading.main_thread()\n"
    "threading.Thread(target=lambda: (main.join(), work())).start()",
    "in a forked child": OPEN + "import os\nchild = os.fork()\n"
    "work() if child == 0 else sys.exit(os.waitpid(child, 0)[1])",
}


def run(
    program: str, place: str, work: str = "", count: int = COUNT
) -> subprocess.CompletedProcess:
    """The output of a program whose argument is the path of a store."""
    text = f"import sys\nPLACE, COUNT = sys.argv[1], {count}\nif '://' in PLACE:\n"
    text += "    sys.argv[1] = ''\n"
    text += f"def work():\n    {work or 'pass'}\n{program}\n"
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore", "-c", text, place],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def assert_silent(done: subprocess.CompletedProcess) -> None:
    """It exited with success and without output."""
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ends") / "store"
    assert_silent(run(MAKE, str(path)))
    return path


@pytest.fixture
def place(made: Path, tmp_path: Path) -> str:
    import shutil

    return str(shutil.copytree(made, tmp_path / "store"))


@pytest.mark.parametrize(("work", "way"), [*zip(WORKS, cycle(WAYS), strict=False)])
def test_a_program_that_never_closes_its_client_ends_without_a_word(place, way, work):
    assert_silent(run(WAYS[way], place, WORKS[work]))
    if work == "words":
        assert files_of_lists(place)
    with retrieval_store.Client(place) as client:
        notes = client.get_collection("notes")
        if work == "write":
            assert notes.get("new")["documents"] == ["a new boat"]
        if work == "several":
            assert notes.count() == COUNT + 3_000
        if work == "expiry":
            assert notes.count() < COUNT
        assert not any(report.problem for report in client.verify())


def files_of_lists(place: str) -> list[Path]:
    return [*Path(place).glob("*/derived/words*")]


@pytest.mark.parametrize("way", ["in a function", "at exit"])
def test_lists_of_words_that_a_query_built_are_saved_at_closing(place, way):
    assert not files_of_lists(place)
    assert_silent(run(WAYS[way], place, WORKS["words"]))
    assert files_of_lists(place)


def test_a_folder_that_is_removed_at_the_end_is_no_warning():
    program = (
        "import logging, tempfile; logging.basicConfig()\nimport retrieval_store\n"
        "folder = tempfile.TemporaryDirectory()\nclient = retrieval_store.Client(folder.name)\n"
        "notes = client.create_collection('notes', embedding_function=None)\n"
        "notes.add([f'{i}' for i in range(COUNT)], [[.5, 1]] * COUNT, documents=['a boat'] * COUNT)\n"
        "notes.query(query_texts='boat', mode='text')\n"
    )
    assert_silent(run(program, ""))


SERVED = {
    "served": "import retrieval_store\nclient = retrieval_store.Client(url=PLACE)\n",
    "cluster": "import qdrant_client, retrieval_store\nqdrant = qdrant_client.QdrantClient(url=PLACE)\n"
    "client = retrieval_store.Client(qdrant_client=qdrant)\n",
}  # fmt: skip
LIST = "notes = client.get_or_create_collection(kind_name, embedding_function=None)\n"
SEND = "notes.upsert(['a', 'b'], [[1, 2], [3, 4]], documents=['a boat', 'a car'])"
READ = "assert notes.get('b')['documents'] == ['a car'], client.list_collections()"


@pytest.mark.others
@pytest.mark.parametrize("way", ["at the top", "at exit, registered first",
                                 "in a thread that outlives the main one"])  # fmt: skip
@pytest.mark.parametrize("kind", SERVED)
@pytest.mark.usefixtures("served")  # which is emptied at the end
def test_requests_to_a_server_at_the_end_arrive_silently(kind, way, _served_url):
    opening = SERVED[kind] + LIST.replace("kind_name", repr(kind))
    assert_silent(run(WAYS[way].replace(OPEN, opening), _served_url, f"{SEND}; {READ}"))
