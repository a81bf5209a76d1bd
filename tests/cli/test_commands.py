"""Commands have the documented effects and exit codes, and break nothing."""

import json
import re
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta

import numpy as np
import pytest
from PIL import Image

import retrieval_store
from retrieval_store.base.system import printable
from retrieval_store.cli.shared import format_cell, size, widths
from retrieval_store.errors import MissingDependencyError
from tests.helpers import PATIENCE, ROOT
from tests.helpers.indexed import until
from tests.helpers.qdrant_server.socket import serving
from tests.helpers.sqlite_pages import Pages
from tests.helpers.terminals import COLUMNS, brought, environment, on_terminal, run

READING = (
    ("info", "store"),
    ("info", "store", "things"),
    ("list", "store"),
    ("count", "store", "things"),
    ("peek", "store", "things"),
    ("get", "store", "things", "p1"),
    ("query", "store", "things", "--vector", "[1, 2]"),
    ("evaluate", "store", "things", "asked.jsonl"),
    ("verify", "store"),
    brought(("export", "store", "things", "out.jsonl")),
    ("snapshot", "store", "out.zip"),
    brought(("copy", "store", "other")),
)
WRITING = (
    ("delete", "store", "things", "p1"),
    ("rename", "store", "things", "others"),
    ("drop", "store", "things", "--yes"),
    ("optimize", "store"),
    brought(("add", "store", "things", "records.jsonl")),
)
ASKED = (
    {"query": "number 3", "ids": ["p3"], "embedding": [3, 0]},
    {"query": "number 4", "ids": ["p9", "p4"], "embedding": [9, 0]},
)
ids = " ".join


@pytest.fixture
def folder(tmp_path):
    """A folder with a store of thirty points, and a file of records."""
    with retrieval_store.Client(tmp_path / "store") as client:
        filled(client)
    (tmp_path / "records.jsonl").write_text('{"id": "new", "embedding": [1, 2]}\n')
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(one) + "\n" for one in ASKED))
    return tmp_path


def filled(client, name="things"):
    things = client.create_collection(name, {"hnsw": {"space": "l2"}}, embedding_function=None)
    things.add(
        [f"p{i}" for i in range(30)],
        [[i, 0] for i in range(30)],
        [{"n": i, "even": i % 2 == 0} for i in range(30)],
        [f"text number {i}" for i in range(30)],
    )
    return things


def held(folder):
    with retrieval_store.Client(folder / "store") as client:
        return client.get_collection("things", embedding_function=None).get()


def files(folder):
    return {
        one.relative_to(folder): one.read_bytes()
        for one in folder.rglob("*")
        if one.is_file() and not one.name.endswith(("-wal", "-shm"))
    }


@pytest.mark.parametrize("command", [*READING, *WRITING[:-1]], ids=ids)
def test_a_missing_store_is_reported_and_not_created(tmp_path, command):
    done = run(*command, cwd=tmp_path)
    assert done.returncode == 1
    assert b"there is no store at store" in done.stderr
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("command", READING, ids=ids)
def test_reading_commands_change_nothing(folder, command):
    before = files(folder)
    done = run(*command, cwd=folder)
    assert done.returncode == 0, done.stderr
    after = files(folder)
    assert {one: after[one] for one in before} == before


@pytest.mark.parametrize("command", READING, ids=ids)
def test_reading_commands_work_without_write_permission(folder, command):
    for one in [folder / "store", *(folder / "store").rglob("*")]:
        one.chmod(0o555 if one.is_dir() else 0o444)
    done = run(*command, cwd=folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [*READING, *WRITING], ids=ids)
def test_a_damaged_store_ends_with_three(folder, command):
    (points,) = (folder / "store").glob("*/points.sqlite")
    spoiled = bytearray(points.read_bytes())
    for at in range(4096 + 100, len(spoiled), 512):
        spoiled[at] ^= 0x55
    points.write_bytes(spoiled)
    done = run(*command, cwd=folder)
    if command[:2] == ("info", "store") and len(command) == 2:
        assert b"damaged" in done.stdout
    elif command[0] in ("drop", "rename"):  # for which its points needn't be whole
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 3, (done.stdout, done.stderr)
        assert b"damaged" in done.stderr + done.stdout
    assert command[0] == "drop" or points.read_bytes() == spoiled


@pytest.mark.parametrize("command", [*READING, *WRITING], ids=ids)
def test_a_store_of_a_newer_format_is_refused(folder, command):
    file = folder / "store" / "catalog.sqlite"
    with Pages(file) as pages:
        pages.pages[0][60:64] = (99).to_bytes(4, "big")
    done = run(*command, cwd=folder)
    assert done.returncode == 1, done.stdout
    assert b"99" in done.stderr + done.stdout


def test_evaluate_reports_how_often_the_right_points_are_found(folder):
    done = run("evaluate", "store", "things", "asked.jsonl", "-k", 1, cwd=folder)
    names, *rows = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert names == ["setting", "recall@1", "95 %", "MRR@1", "95 %", "nDCG@1", "95 %"]
    assert [row[0] for row in rows] == ["dense", "text", "hybrid"]
    assert [float(one) for one in rows[0][1::2]] == [0.75, 1, 1]
    assert rows[0][2] == "0.500 … 1.000"


def test_evaluate_compares_two_modes_question_by_question(folder):
    words = ("evaluate", "store", "things", "asked.jsonl", "-k", 1, "--compare", "dense", "text")
    filtered = (*words, "--where", '{"n": {"$gte": 4}}')
    lines = run(*filtered, cwd=folder).stdout.decode().splitlines()
    assert lines[4].startswith("nDCG@1: text - dense = +0.000 (95 %: ")
    assert lines[4].endswith("0 better, 0 worse, 2 the same")
    data = json.loads(run(*words, "--measure", "recall", "--json", cwd=folder).stdout)
    assert data["settings"]["dense"]["mrr"] == {"mean": 1, "low": 1, "high": 1}
    changes = data["comparison"]["changes"]
    assert [one["query"] for one in changes] == ["number 3", "number 4"]
    assert [one["first"] for one in changes] == [1, 0.5]
    assert changes[1]["found_by_first"] == ["p9"]


def test_evaluate_reports_missing_ids(folder):
    text = '{"query": "number", "ids": ["p1", "gone"]}\n'
    (folder / "asked.jsonl").write_text(text)
    words = ("evaluate", "store", "things", "asked.jsonl", "--json")
    assert json.loads(run(*words, cwd=folder).stdout)["missing"] == ["gone"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("evaluate", "store", "things", "nope.jsonl"), b"nope.jsonl': No such file"),
        (
            ("evaluate", "store", "things", "records.jsonl"),
            b"line 1 of records.jsonl has the unknown",
        ),
        (("evaluate", "store", "things", "asked.jsonl", "--mode", "sparse"), b"--mode"),
        (
            (
                "evaluate",
                "store",
                "things",
                "asked.jsonl",
                "--mode",
                "text",
                "--compare",
                "text",
                "dense",
            ),
            b"--compare wants two",
        ),
        (("query", "store", "things"), b"expected one of TEXT"),
        (("query", "store", "things", "x", "--vector", "[1]"), b"expected one of TEXT"),
        (("query", "store", "things", "--vector", "[1]", "--model", "x"), b"--model is given"),
        (("query", "store", "things", "x", "--mode", "text", "--model", "x"), b"--model is given"),
        (("query", "store", "things", "--vector", "nonsense"), b"no JSON"),
        (("query", "store", "things", "--vector", "{}"), b"not a list of numbers"),
        (("query", "store", "things", "--vector", '["a"]'), b"numbers"),
        (("count", "store", "things", "--where", "[1]"), b"not an object"),
        (("count", "store", "things", "--where", '{"n": {"$nope": 1}}'), b"$nope"),
        (("count", "store", "things", "--where", "@missing.json"), b"No such file"),
        (("delete", "store", "things"), b"`drop` deletes all"),
        brought(("export", "store", "things", "out.xls"), b"name a --format"),
        (("get", "store", "things", "-n", "many"), b"not a valid integer"),
        (("nothing",), b"No such command"),
    ],
)
def test_invalid_arguments_end_with_exit_code_two(folder, words, message):
    done = run(*words, cwd=folder)
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr


def test_points_and_hits_are_lines_of_json(folder):
    got = run("get", "store", "things", "p2", "p1", "--json", cwd=folder).stdout.splitlines()
    assert [json.loads(line) for line in got] == [
        {"id": f"p{i}", "document": f"text number {i}", "metadata": {"n": i, "even": i % 2 == 0}}
        for i in (2, 1)
    ]
    words = ("query", "store", "things", "--vector", "-", "-k", "2", "--json", "--embeddings")
    done = run(*words, "--where", '{"even": true}', cwd=folder, stdin="[5.1, 0]")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["id"] for one in found] == ["p6", "p4"]
    assert found[0]["embedding"] == [6.0, 0.0]
    assert found[0]["distance"] == pytest.approx(0.81)
    data = json.loads(run(*words, "--explain", cwd=folder, stdin="[1, 2]").stdout)
    assert (data["points"], data["plans"][0]["method"]) == (30, "exact")
    both = (
        "query",
        "store",
        "things",
        "number 7",
        "--vector",
        "[3, 0]",
        "--mode",
        "hybrid",
        "--json",
    )
    for how, first in (((), "p7"), (("--alpha", "1"), "p3"), (("--fusion", "rrf"), "p3")):
        found = run(*both, *how, cwd=folder).stdout.splitlines()
        assert json.loads(found[0])["id"] == first
    assert json.loads(run("count", "store", "things", "--json", cwd=folder).stdout) == {"count": 30}
    assert json.loads(run("list", "store", "--json", cwd=folder).stdout)[0]["points"] == 30
    data = json.loads(run("info", "store", "things", "--json", cwd=folder).stdout)
    assert data["vectors"][""]["dimension"] == 2
    verified = json.loads(run("verify", "store", "--json", cwd=folder).stdout)
    assert (verified["damaged"], verified["files"] > 2) == ([], True)


def test_orders_and_pages(folder):
    words = (
        "get",
        "store",
        "things",
        "--order-by",
        "n",
        "--descending",
        "-n",
        "2",
        "--offset",
        "1",
    )
    lines = run(*words, "--json", cwd=folder).stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["p28", "p27"]


@pytest.mark.others
def test_a_package_that_cannot_be_used_is_named_where_its_command_is(tmp_path, monkeypatch):
    def load(group, name):
        raise MissingDependencyError(f"retrieval-store-files 0.1 wants another core for {name}")

    monkeypatch.setattr("retrieval_store.plugins.load", load)
    shown = run("--help", cwd=tmp_path)
    assert shown.returncode == 0 and b"  sync " in shown.stdout
    assert shown.stdout.count(b"retrieval-store-files 0.1 wants") > 1
    for words in (("sync", "store", "notes", "folder", "--watch"), ("sync", "--help")):
        done = run(*words, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr == b"error: retrieval-store-files 0.1 wants another core for sync\n"


def test_stored_text_cannot_control_a_terminal(folder):
    evil = "\x1b]0;owned\x07 \x1b[2J \u202egnp.exe \x9b31m \r over"
    with retrieval_store.Client(folder / "store") as client:
        client.get_collection("things", embedding_function=None).update(
            "p1", documents=evil, metadatas={evil: evil}, embeddings=[1, 0]
        )
    plain = run("get", "store", "things", "p1", cwd=folder).stdout.decode()
    drawn = on_terminal("retrieval-store get store things p1", folder, folder / "bin")
    for printed in (plain, drawn):
        assert not set(printed) & set("\x1b\x07\x9b\u202e\r")
        assert "\\x1b]0;owned" in printed
    assert (
        evil
        == json.loads(run("get", "store", "things", "p1", "--json", cwd=folder).stdout)["document"]
    )


@pytest.mark.others
def test_hits_are_read_on_a_terminal_and_parsed_from_a_pipe(tmp_path):
    evil = "\x1b[2J"
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "tea.md").write_text(
        f"# Tea {evil}\n\n" + "Steep it at 70 degrees. " * 40
    )
    run("sync", "store", "notes", "notes", "--no-chunk", cwd=tmp_path)
    (tmp_path / "bin").mkdir()
    command = "retrieval-store query store notes 'how hot?'"
    drawn = on_terminal(command, tmp_path, tmp_path / "bin")
    first, cited, *message = drawn.rstrip().splitlines()
    assert re.fullmatch(r"1\. tea\.md(#0)?  distance [\d.]+, score [\d.]+", first)
    assert cited == r"   Tea \x1b[2J (tea.md)"
    assert len(message) == 4
    assert message[-1].endswith("…")
    assert max(map(len, drawn.splitlines())) <= COLUMNS
    assert "text_hash" not in drawn
    assert "\x1b[2J" not in drawn
    piped = run("query", "store", "notes", "how hot?", cwd=tmp_path).stdout.decode()
    assert piped.splitlines()[:2] == [first, cited]
    assert "text_hash" not in piped


def test_the_reader_of_a_pipe_may_stop(folder):
    with retrieval_store.Client(folder / "store") as client:
        client.get_collection("things", embedding_function=None).add(
            [f"q{i}" for i in range(5_000)], np.ones((5_000, 2))
        )
    command = "retrieval-store get store things --json | head -n 1; echo ${PIPESTATUS[0]}"
    lines = on_terminal(command, folder, folder / "bin").splitlines()
    assert json.loads(lines[0])["id"] == "p0"
    assert lines[1:] == ["0"]


def test_another_process_that_has_the_store_open_is_named(folder):
    script = "import retrieval_store, sys; c = retrieval_store.Client('store'); print('open', flush=True); sys.stdin.read()"
    (folder / "ingest.py").write_text(script)
    begun = datetime.now().astimezone().replace(microsecond=0)
    with subprocess.Popen(
        [sys.executable, "-W", "default", "ingest.py", "--all"],
        cwd=folder,
        env=environment(folder / "bin"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        other.stdout.readline()
        data = json.loads(run("info", "store", "--json", cwd=folder).stdout)
        (process,) = data["open_in"]
        assert (process["pid"], process["script"]) == (other.pid, "ingest.py")
        assert process["command"].endswith("ingest.py --all")
        assert abs(datetime.fromisoformat(process["started"]) - begun) < timedelta(minutes=1)
        shown = run("info", "store", cwd=folder).stdout.decode()
        assert f"open in      {other.pid} (ingest.py, since {begun:%Y-}" in shown
        other.stdin.close()
    assert json.loads(run("info", "store", "--json", cwd=folder).stdout)["open_in"] == []


def test_dropping_asks_for_confirmation(folder):
    done = run("drop", "store", "things", cwd=folder, stdin="n\n")
    assert done.returncode == 1
    assert b"with 30 points? [y/N]" in done.stdout and b"nothing was deleted" in done.stderr
    assert len(held(folder)["ids"]) == 30
    done = run("delete", "store", "things", "--where", '{"even": true}', cwd=folder, stdin="y\n")
    assert b"deleted 15 points" in done.stdout
    assert run("drop", "store", "things", cwd=folder, stdin="y\n").returncode == 0
    assert run("count", "store", "things", cwd=folder).returncode == 1


@pytest.mark.others
def test_files_without_records_create_no_collection(folder):
    (folder / "bad.jsonl").write_text(
        '{"id": "a", "embedding": [1]}\n{"id": "b", "embedding": [NaN]}\n'
    )
    done = run("add", "store", "fresh", "bad.jsonl", cwd=folder)
    assert done.returncode == 2
    assert b"bad.jsonl, line 2" in done.stderr
    done = run("add", "new", "fresh", "bad.jsonl", cwd=folder)
    assert done.returncode == 2
    assert b"fresh" not in run("list", "store", cwd=folder).stdout
    assert b"IDAlreadyExists" not in done.stderr
    assert not (folder / "new").exists()
    done = run("add", "store", "things", "records.jsonl", "--resume", "--upsert", cwd=folder)
    assert done.returncode == 2


@pytest.mark.others
def test_images_are_added_from_a_folder_by_no_model_with_a_clear_word(folder):
    (folder / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "photos" / "a.png")
    done = run("add", "store", "photos", "photos", "--model", "none", cwd=folder)
    assert done.returncode in (1, 2)
    assert b"--model none" in done.stderr
    done = run("query", "store", "things", "--image", "photos/a.png", cwd=folder)
    assert done.returncode in (1, 2)
    assert done.stderr


@pytest.mark.others
@pytest.mark.kills
def test_ctrl_c_leaves_whole_batches_and_the_rest_can_be_resumed(folder):
    lines = [json.dumps({"id": f"r{i}", "embedding": [i, 1]}) for i in range(40_000)]
    (folder / "many.jsonl").write_text("\n".join(lines))
    words = [sys.executable, "-m", "retrieval_store", "add", "store", "things", "many.jsonl"]
    with subprocess.Popen(
        [*words, "--batch", "100"],
        cwd=folder,
        env=environment(folder / "bin"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        with retrieval_store.Client(folder / "store") as client:
            things = client.get_collection("things", embedding_function=None)
            end = time.monotonic() + PATIENCE
            while things.count() < 1_000 and time.monotonic() < end:
                pass
        process.send_signal(signal.SIGINT)
        complaint = process.stderr.read()
    assert process.returncode == 130
    assert b"interrupted" in complaint and b"Traceback" not in complaint
    count = len(held(folder)["ids"]) - 30
    assert 0 < count < 40_000 and count % 100 == 0
    done = run("add", "store", "things", "many.jsonl", "--resume", cwd=folder)
    assert f"added {40_000 - count:,}, left out {count:,}".encode() in done.stdout
    assert len(held(folder)["ids"]) == 40_030


def test_collections_are_completed(folder):
    words = {
        "_RETRIEVAL_STORE_COMPLETE": "bash_complete",
        "COMP_WORDS": "x count store t",
        "COMP_CWORD": "3",
    }
    done = subprocess.run(
        [environment(folder / "bin")["PATH"].split(":")[0] + "/retrieval-store"],
        cwd=folder,
        env=environment(folder / "bin") | words,
        capture_output=True,
        timeout=PATIENCE,
    )
    assert done.stdout.decode().split() == ["plain,things"]
    for shell in ("bash", "zsh", "fish"):
        assert b"_RETRIEVAL_STORE_COMPLETE" in run("completion", shell, cwd=folder).stdout


def test_the_command_line_loads_nothing_heavy_before_it_opens_a_store():
    script = (
        "import sys; from retrieval_store.cli import main;"
        "print(sorted({'numpy', 'rich', 'apsw', 'qdrant_client', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.others
def test_stores_of_others_are_imported_and_pickles_only_when_trusted(folder):
    import chromadb
    from qdrant_client import QdrantClient, models

    settings = chromadb.Settings(anonymized_telemetry=False)
    theirs = chromadb.PersistentClient(str(folder / "chroma"), settings)
    theirs.create_collection("notes").add(["a"], [[1.0, 2.0]], [{"n": 1}], ["text"])
    local = QdrantClient(path=str(folder / "local"))
    local.create_collection("points", models.VectorParams(size=2, distance="Dot"))
    local.upsert("points", [models.PointStruct(id=1, vector=[1, 2], payload={"k": 1})])
    local.close()
    done = run("import", "chroma", "chroma", "imported", cwd=folder)
    assert (done.returncode, b"notes" in done.stdout) == (0, True), done.stderr
    done = run("import", "qdrant-local", "local", "imported", cwd=folder)
    assert done.returncode == 2 and b"--trust" in done.stderr
    done = run("import", "qdrant-local", "local", "imported", "--trust", cwd=folder)
    assert done.returncode == 0, done.stderr
    listed = run("list", "imported", "--json", cwd=folder).stdout
    assert [one["collection"] for one in json.loads(listed)] == ["notes", "points"]


@pytest.mark.others
@pytest.mark.filterwarnings("ignore:Local mode")
def test_local_mode_gets_a_copy(folder):
    from qdrant_client import QdrantClient

    done = run("copy", "store", "local", "--to-local-mode", cwd=folder)
    assert done.stdout == b"things: 30 points; 30 compared, all equal\n", done.stderr
    local = QdrantClient(path=str(folder / "local"))
    assert local.count("things").count == 30
    local.close()


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (True, "yes"), (1234, "1,234"), (0.123456, "0.1235"), ({"a": 1}, '{"a":1}')],
)
def test_values_in_cells(value, text):
    assert format_cell(value) == text


def test_characters_that_command_are_numbers():
    assert printable("a\nb\tc\x1b\u2028é漢") == "a b c\\x1b\\u2028é漢"
    assert printable("\u202eabc\u2066\ufeff") == "\\u202eabc\\u2066\\ufeff"
    assert printable("a\u3000b\u00a0c\u200dd") == "a\u3000b\u00a0c\u200dd"


def test_sizes():
    assert [size(n) for n in (0, 999, 1_000, 1_499_999, 2 * 10**9)] == [
        "0 B",
        "999 B",
        "1 kB",
        "1.5 MB",
        "2.0 GB",
    ]


def test_long_columns_share_what_short_ones_leave():
    assert widths([["id"], ["x" * 200], ["y" * 30]], 100) == [2, 68, 30]
    assert widths([["x" * 200], ["y" * 200]], 101) == [50, 51]


@pytest.mark.others
@pytest.mark.kills
def test_a_copy_to_a_server_is_resumed_from_the_command_line(folder):
    with retrieval_store.Client(folder / "store") as client:
        client.get_collection("things", embedding_function=None).add(
            [f"q{i}" for i in range(3_000)], np.ones((3_000, 2))
        )
    with serving() as url:
        with subprocess.Popen(
            [sys.executable, "-m", "retrieval_store", "copy", "store", url],
            cwd=folder,
            env=environment(folder / "bin"),
            stderr=subprocess.PIPE,
        ) as process:
            with retrieval_store.Client(url=url) as there:
                until(
                    lambda: there.count_collections() and there.list_collections()[0].count(),
                    "nothing is copied",
                )
            process.send_signal(signal.SIGINT)
            complaint = process.stderr.read()
        assert (process.returncode, b"the same command resumes the copy" in complaint) == (
            130,
            True,
        )
        assert list((folder / "store").glob("*.journal"))
        done = run("copy", "store", url, cwd=folder)
        assert done.stdout.startswith(b"things: 3,030 points; "), done.stderr
        done = run("copy", "store", url, cwd=folder)
        assert done.stdout.startswith(b"things: 3,030 points, level already; "), done.stderr
        done = run("copy", "store", url, "--fail-if-exists", cwd=folder)
        assert (done.returncode, b"exists already" in done.stderr) == (1, True)


@pytest.mark.others
def test_copying_a_missing_collection_creates_no_target(folder):
    done = run("copy", "store", "new", "--collection", "missing", cwd=folder)
    assert (done.returncode, (folder / "new").exists()) == (1, False)
    assert b"'missing'" in done.stderr


def test_commands_need_nothing_of_click_that_it_does_not_import_itself():
    """The modules that click imports differ between versions."""
    program = (
        "import sys, click; vars(click).pop('shell_completion', None)\n"
        "sys.modules.pop('click.shell_completion', None)\n"
        "import retrieval_store.cli.shared, retrieval_store.cli.main"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
