"""Exit codes and messages for what doesn't exist, exists already, or has no meaning."""

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from PIL import Image

import retrieval_store
from retrieval_store.cli.main import _ARGUMENT, _as_option
from retrieval_store.cli.maintain import _report_damaged
from retrieval_store.cli.shared import names_completed
from retrieval_store.qdrant import QdrantClient, models
from retrieval_store.query.types import FileReport
from tests.helpers.circumstances import register_only
from tests.helpers.terminals import brought, environment, on_terminal, run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with a collection of three points, and one with named vectors."""
    store = tmp_path_factory.mktemp("made") / "store"
    with retrieval_store.Client(store) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(["a", "b", "c"], [[i, 0] for i in range(3)], [{"n": i} for i in range(3)])
    with QdrantClient(path=str(store)) as theirs:
        vectors = {
            "long": models.VectorParams(size=3, distance="Cosine"),
            "short": models.VectorParams(size=2, distance="Dot"),
        }
        theirs.create_collection("named", vectors)
        theirs.upsert("named", [models.PointStruct(id=1, vector={"short": [1, 2]})])
    return store


@pytest.fixture
def folder(made, tmp_path):
    """A folder with a copy of that store."""
    shutil.copytree(made, tmp_path / "store")
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ("info",), ("count",), ("peek",), ("get",), ("query", "--vector", "[1, 2]"),
        ("evaluate", "asked.jsonl"), ("delete", "--yes", "x"), ("drop", "--yes"),
        ("rename", "other"), brought(("export", "out.jsonl")), ("optimize",),
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_a_missing_collection_gives_exit_code_one(folder, words):
    for name in ("nope", "fa", "no/name", "-"):
        done = run(words[0], "store", name, *words[1:], cwd=folder)
        assert done.returncode == 1, done.stderr
        text = f"there is no collection '{name}'; there are 'named', 'things'"
        assert text in done.stderr.decode()


@pytest.mark.parametrize(
    "words",
    [
        ("info",), ("count",), ("get",), ("query", "--vector", "[1]"), ("drop", "--yes"),
        ("rename", "other"), brought(("add", "a.jsonl")),
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_bytes_that_are_no_text_are_refused(folder, words):
    (folder / "a.jsonl").write_text('{"id": "x", "embedding": [1, 2]}\n')
    for odd in ("\udcff", "things\udc80"):
        done = run(words[0], "store", odd, *words[1:], cwd=folder)
        assert done.returncode == 2
        assert b"isn't valid UTF-8" in done.stderr
    for more in (("--where", "{\udcff}"), ("--where", '{"n": "\udcff"}'), ("\udcff",)):
        done = run("get", "store", "things", *more, cwd=folder)
        assert done.returncode == 2
    command = [sys.executable, "-m", "retrieval_store", "info", b"\xff"]
    done = subprocess.run(command, cwd=folder, env=environment(folder / "bin"), capture_output=True)
    assert done.returncode == 1 and b"Traceback" not in done.stderr
    os.rename(folder / "store", os.fsencode(folder) + b"/\xff")
    for one in ("info", "list", "verify"):
        done = run(one, "\udcff", "--json", cwd=folder)
        assert done.returncode == 0, done.stderr


def test_existing_names_end_with_one_and_invalid_snapshots_with_two(folder):
    (folder / "there.jsonl").write_text("x")
    (folder / "full").mkdir()
    (folder / "full" / "file").write_text("x")
    assert run("snapshot", "store", "whole.zip", cwd=folder).returncode == 0
    for words in (
        ("snapshot", "store", "there.jsonl"),
        ("rename", "store", "things", "named"),
        ("restore", "whole.zip", "full"),
    ):
        done = run(*words, cwd=folder)
        assert (done.returncode, b"already" in done.stderr) == (1, True), done.stderr
    for source in ("there.jsonl", "nowhere.zip", "full"):
        done = run("restore", source, "new", cwd=folder)
        assert (done.returncode, b"no snapshot" in done.stderr) == (2, True)
        assert not (folder / "new").exists()
    done = run("restore", "whole.zip", "http://localhost:1", cwd=folder)
    assert (done.returncode, b"a snapshot becomes a directory" in done.stderr) == (2, True)
    (folder / "cut.zip").write_bytes((folder / "whole.zip").read_bytes()[:2_000])
    assert run("restore", "cut.zip", "new", cwd=folder).returncode == 3


def test_missing_ids_are_reported(folder):
    done = run("get", "store", "things", "a", "x", "--json", cwd=folder)
    assert (done.returncode, done.stderr) == (0, b"no point has the id 'x'\n")
    done = run("get", "store", "things", "x", cwd=folder)
    assert (done.returncode, done.stderr) == (1, b"no point has the id 'x'\n")
    done = run("delete", "store", "things", "x", cwd=folder)
    assert (done.returncode, done.stdout) == (0, b"deleted 0 points\n")
    assert done.stderr == b"no point has the id 'x'\n"
    done = run("get", "store", "things", "a", "--order-by", "nope", cwd=folder)
    assert (done.returncode, done.stderr) == (0, b"")  # it is there, but has no such value
    ordered = on_terminal(
        "retrieval-store get store things --order-by nope", folder, folder / "bin"
    )
    assert "nothing matches: no record has a value under order_by='nope'" in ordered
    nothing = "retrieval-store get store things --where '{\"n\": 9}'"
    assert on_terminal(nothing, folder, folder / "bin") == "no points\n"


def test_no_answer_is_no(folder):
    for answer in ("", "n\n"):
        done = run("drop", "store", "things", cwd=folder, stdin=answer)
        assert done.returncode == 1 and b"nothing was deleted" in done.stderr
    assert run("count", "store", "things", cwd=folder).stdout == b"3\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("query", "store", "things", "--vector", "[1, 2]", "-k", "0"), b"--limit"),
        (("query", "store", "things", ""), b"TEXT is empty"),
        (("query", "store", "things", "x"), b"--model"),
        (("query", "store", "things", "x", "--model", "nope"), b"there is no model 'nope'"),
        (("query", "store", "things", "--image", "photo.png"), b"embeds no images"),
        brought(("export", "store", "things", "out"), b"name a --format"),
        brought(
            ("export", "store", "things", "o.csv", "--embeddings", "base64"),
            b"isn't possible in csv",
        ),
        brought(
            ("export", "store", "things", "o/", "--embeddings", "none"), b"isn't possible in arrays"
        ),
        (("get", "store", "things", "--descending"), b"descending needs --order-by"),
        brought(("export", "store", "things", "-", "--format", "parquet"), b"isn't printed"),
        (("list", "."), b"there is no store at ."),
    ],
)
def test_messages_name_options(folder, words, message):
    Image.new("RGB", (2, 2)).save(folder / "photo.png")
    done = run(*words, cwd=folder)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert b"=" not in done.stderr.replace(b">=", b"")


def test_arguments_of_python_are_options_but_not_in_quotes():
    text = "resume=True, kind='texts' or n_results is 0; 'id_column' and \"where_document\" aren't"
    reported = _ARGUMENT.sub(_as_option, text)
    assert reported.startswith("--resume, --kind texts or --limit is 0; 'id_column' and")


def test_a_query_is_embedded_by_the_model_that_is_named(folder, monkeypatch):
    class Ones:
        def __call__(self, input):
            return [[1.0, 0.0] for _ in input]

        def settings(self):
            return {}

    class Others(Ones):
        pass

    class Fails(Ones):
        def __call__(self, input):
            raise RuntimeError("no such operator")

    register_only(monkeypatch, ones=Ones, others=Others, fails=Fails)
    words = ("query", "store", "things", "x", "--json", "-k", "1")
    done = run(*words, "--model", "ones", cwd=folder)
    assert json.loads(done.stdout)["id"] == "b", done.stderr
    done = run(*words, "--model", "fails", cwd=folder)
    assert (done.returncode, done.stderr) == (1, b"error: RuntimeError: no such operator\n")
    with retrieval_store.Client(folder / "store") as client:
        client.create_collection("of-ones", embedding_function=Ones()).add(["a"], documents=["x"])
        client.create_collection("own", embedding_function=lambda texts: [[1, 0]] * len(texts)).add(
            ["a"], documents=["x"]
        )
    words = ("query", "store", "of-ones", "x", "--model")
    assert run(*words, "ones", cwd=folder).returncode == 0
    done = run(*words, "others", cwd=folder)
    assert done.returncode == 2 and b"model ones, not of others" in done.stderr
    register_only(monkeypatch, others=Others)
    assert run(*words, "others", cwd=folder).returncode == 0
    assert run("query", "store", "own", "x", "--model", "others", cwd=folder).returncode == 0


def test_json_on_a_terminal_is_printable(folder):
    evil = "\x1b]0;\x7f\x9b\u202e\U000e0001é"
    with retrieval_store.Client(folder / "store") as client:
        client.get_collection("things", embedding_function=None).update("a", metadatas={"k": evil})
    drawn = on_terminal("retrieval-store get store things a --json", folder, folder / "bin")
    assert drawn.removesuffix("\n").isprintable() and "é" in drawn
    assert json.loads(drawn)["metadata"]["k"] == evil


def test_completion_calls_no_cluster_and_names_nothing_hidden(folder):
    context = SimpleNamespace(params={"store": "http://127.0.0.1:1"})
    assert names_completed(context, None, "") == []
    with QdrantClient(path=str(folder / "store")) as theirs:
        theirs.create_collection("odd\u202ename", models.VectorParams(size=2, distance="Dot"))
    context.params = {"store": str(folder / "store")}
    assert [one.value for one in names_completed(context, None, "")] == ["named", "things"]


def test_collections_with_named_vectors_are_stored_too(folder):
    data = json.loads(run("info", "store", "named", "--json", cwd=folder).stdout)
    assert {
        name: (one["kind"], one["metric"], one["dimension"])
        for name, one in data["vectors"].items()
    } == {"long": ("dense", "cosine", 3), "short": ("dense", "ip", 2)}
    assert run("optimize", "store", cwd=folder).returncode == 0
    assert run("optimize", "store", "named", "--rebuild", cwd=folder).returncode == 0
    assert run("snapshot", "store", "one.zip", "--collection", "named", cwd=folder).returncode == 0
    done = run("restore", "one.zip", "other", cwd=folder)
    assert done.returncode == 0 or b"holds one collection" in done.stderr


def test_derived_files_are_rebuilt(folder, capsys):
    root = folder / "store"
    folders = [one.parent for one in root.glob("*/points.sqlite")]
    damaged = [FileReport(one / "derived" / "codes.1", 1, "it is damaged") for one in folders]
    _report_damaged(str(root), root, damaged)
    printed = capsys.readouterr()
    assert "optimize --rebuild" in printed.err and "snapshot" not in printed.err
    assert {"things", "named"} == {line.split("\t")[0] for line in printed.out.splitlines()[1:]}


def test_verify_suggests_what_to_do(folder):
    (points,) = [
        one for one in (folder / "store").glob("*/points.sqlite")
        if one.parent.name == json.loads(run("info", "store", "things", "--json", cwd=folder).stdout)["id"]
    ]  # fmt: skip
    spoiled = bytearray(points.read_bytes())
    for at in range(4096 + 100, len(spoiled), 512):
        spoiled[at] ^= 0x55
    points.write_bytes(spoiled)
    done = run("verify", "store", cwd=folder)
    assert done.returncode == 3
    assert f"things\t{points.relative_to(folder / 'store')}\t" in done.stdout.decode()
    assert b"restore a snapshot" in done.stderr and b"--rebuild" not in done.stderr
