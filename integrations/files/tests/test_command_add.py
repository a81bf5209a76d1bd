"""`add` creates the requested collection, or the one that the file describes, or none."""

import json
from pathlib import Path

import pytest
from PIL import Image

import retrieval_store
from integrations.files.tests.readers.files import PICTURE, encrypted_pdf, pdf
from retrieval_store import plugins
from retrieval_store_files import export_arrays, export_parquet
from tests.helpers.circumstances import register_only
from tests.helpers.terminals import on_terminal, run


class Lengths:
    """An embedding function in this program."""

    self_contained = True

    def __call__(self, input):
        return [[len(one) if isinstance(one, str) else 0.0, 1.0] for one in input]

    def settings(self):
        return {}


class Reaching(Lengths):
    self_contained = False


class Broken(Lengths):
    def __call__(self, input):
        raise RuntimeError("no such operator")


class Unmakeable(Lengths):
    def __init__(self):
        raise RuntimeError("no licence")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a store and files; and the models of this module."""
    register_only(monkeypatch)
    for name, kind in {
        "lengths": Lengths, "reaching": Reaching, "broken": Broken, "unmakeable": Unmakeable
    }.items():  # fmt: skip
        plugins.register_embedding_function(name)(kind)
    (tmp_path / "texts.jsonl").write_text('{"id": "t", "document": "abc"}\n')
    (tmp_path / "vectors.jsonl").write_text('{"id": "v", "embedding": [1, 2]}\n')
    with retrieval_store.Client(tmp_path / "store") as client:
        client.create_collection("plain", embedding_function=None).add(["a"], [[1, 2]])
        client.create_collection("modelled", embedding_function=Lengths()).add(
            ["a"], documents=["x"]
        )
    return tmp_path


def counts(folder):
    """How many records each collection has."""
    with retrieval_store.Client(folder / "store") as client:
        names = sorted(one.name for one in client.list_collections())
        return {one: client.get_collection(one, embedding_function=None).count() for one in names}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("plain", "vectors.jsonl", "--distance", "cosine"), b"measures by l2; --distance"),
        (("plain", "vectors.jsonl", "--model", "lengths"), b"has no model; --model is for a new"),
        (("modelled", "texts.jsonl", "--model", "none"), b"has the model lengths; --model"),
        (("modelled", "texts.jsonl", "--model", "reaching"), b"of the model lengths, not of"),
        (("modelled", "texts.jsonl", "--model", "nope"), b"there is no model 'nope'"),
        (("modelled", "texts.jsonl", "--resume", "--upsert"), b"--resume and --upsert"),
        (("modelled", "nowhere.jsonl"), b"there is no file or folder nowhere.jsonl"),
    ],
)
def test_other_settings_than_the_collections_are_refused(folder, words, message):
    done = run("add", "store", *words, cwd=folder)
    assert done.returncode == 2
    assert message in done.stderr.replace(b"\n", b" ")
    assert counts(folder) == {"modelled": 1, "plain": 1}


def test_the_settings_of_an_existing_collection_may_be_given(folder):
    done = run("add", "store", "plain", "vectors.jsonl", "--distance", "l2", "--model", "none",
               cwd=folder)  # fmt: skip
    assert done.stdout == b"added 1\n", done.stderr
    done = run("add", "store", "modelled", "texts.jsonl", "--model", "lengths", cwd=folder)
    assert done.stdout == b"added 1\n", done.stderr


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("news", ("texts.jsonl", "--model", "nope"), b"there is no model 'nope'"),
        ("news", ("texts.jsonl", "--model", "unmakeable"), b"can't be made: no licence"),
        ("news", ("texts.jsonl", "--model", "broken"), b"can't embed: no such operator"),
        ("news", ("texts.jsonl", "--model", "none"), b"--model none"),
        ("n", ("vectors.jsonl",), b"3 to 512 characters"),
        ("news", ("empty",), b"no texts or images"),
        ("news", ("photos", "--model", "wordllama"), b"the model wordllama embeds no images"),
        ("news", ("photos", "--model", "none"), b"--model none"),
        ("news", ("photos", "--kind", "texts"), b"no texts"),
        ("news", ("vectors.jsonl", "--kind", "texts"), b"--kind is for folders"),
        ("news", ("photos", "--format", "jsonl"), b"--format is for files of records"),
        ("news", ("photos", "--id-column", "key"), b"--id-column is for files of records"),
        ("news", ("photos", "--document-column", "t"), b"--document-column is for files"),
    ],
)
def test_a_failed_command_creates_nothing(folder, name, words, message):
    for one in ("empty", "photos"):
        (folder / one).mkdir()
    Image.new("RGB", (8, 8)).save(folder / "photos" / "a.png")
    for store in ("store", "fresh"):
        done = run("add", store, name, *words, cwd=folder)
        assert done.returncode in (1, 2)
        assert message in done.stderr.replace(b"\n", b" "), done.stderr
    assert counts(folder) == {"modelled": 1, "plain": 1}
    assert not (folder / "fresh").exists()


def test_tables_with_tabs_may_have_any_name(folder):
    (folder / "table.txt").write_text("id\tdocument\na\tone, two\n")
    words = ("table.txt", "--format", "tsv", "--model", "lengths")
    done = run("add", "store", "tabs", *words, cwd=folder)
    assert done.stdout.endswith(b"added 1\n"), done.stderr


def test_images_of_a_folder_are_loaded_and_other_files_counted(folder):
    (folder / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "photos" / "a.png")
    (folder / "photos" / "a.txt").write_text("a text")
    (folder / "photos" / "a.exe").write_text("no text")
    done = run("add", "store", "photos", "photos", "--model", "lengths", cwd=folder)
    assert b"added 2, left out 1 (1 no reader for .exe)" in done.stdout, done.stderr
    words = ("photos", "--model", "lengths", "--kind", "images")
    done = run("add", "store", "images", *words, cwd=folder)
    assert b"added 1, left out 2 (2 no image)" in done.stdout, done.stderr
    done = run("add", "store", "images", "photos", "--resume", "--kind", "images", cwd=folder)
    assert b"added 0, left out 1 that were there" in done.stdout, done.stderr


@pytest.mark.parametrize("export", [export_arrays, export_parquet])
def test_an_export_gives_the_same_collection_again(folder, export):
    configuration = {
        "hnsw": {"space": "cosine", "max_neighbors": 24},
        "vectors": {"datatype": "float16"},
        "sparse": {"idf": True},
        "text": {"language": "german"},
    }
    with retrieval_store.Client(folder / "store") as client:
        collection = client.create_collection("told", configuration, {"by": "us"}, Lengths())
        collection.add(["a", "b"], documents=["x", "yy"])
        export(collection, folder / "out.parquet" if export is export_parquet else folder / "out")
        wanted = collection.configuration
    source = "out.parquet" if export is export_parquet else "out"
    done = run("add", "fresh", "again", source, cwd=folder)
    assert done.stdout == b"made again: distance cosine, model lengths\nadded 2\n", done.stderr
    done = run("add", "fresh", "other", source, "--distance", "l2", "--model", "none", cwd=folder)
    assert b"made other: distance l2, no model\n" in done.stdout, done.stderr
    with retrieval_store.Client(folder / "fresh") as client:
        again = client.get_collection("again", embedding_function=None)
        assert (again.configuration, again.metadata) == (wanted, {"by": "us"})
        other = client.get_collection("other", embedding_function=None)
        assert other.configuration["hnsw"]["max_neighbors"] == 24


def test_a_model_that_a_file_names_reaches_nothing_unless_it_is_trusted(folder):
    with retrieval_store.Client(folder / "store") as client:
        reaching = client.create_collection("reaching", embedding_function=Reaching())
        reaching.add(["a"], documents=["x"])
        export_arrays(reaching, folder / "out")
    done = run("add", "fresh", "lines", "vectors.jsonl", cwd=folder)
    assert b"no model; --distance and --model say otherwise\n" in done.stdout
    done = run("add", "fresh", "one", "out", cwd=folder)
    assert b"no model (the file names reaching: use --model, or --trust)" in done.stdout
    assert b"model reaching" in run("add", "fresh", "two", "out", "--trust", cwd=folder).stdout
    words = ("--model", "reaching")
    assert b"model reaching" in run("add", "fresh", "three", "out", *words, cwd=folder).stdout


@pytest.mark.parametrize(
    "message", ["[]", '{"configuration": 1}', '{"configuration": {"hnsw": {"space": "near"}}}',
             '{"metadata": []}', "x", '{"configuration": {"nonsense": {}}}']
)  # fmt: skip
def test_a_description_that_is_none_is_refused(folder, message):
    with retrieval_store.Client(folder / "store") as client:
        export_arrays(client.get_collection("plain"), folder / "out")
    (folder / "out" / "collection.json").write_text(message)
    done = run("add", "fresh", "one", "out", cwd=folder)
    assert done.returncode == 2, done.stderr
    assert not (folder / "fresh").exists()


def test_columns_of_a_file_may_have_other_names(folder):
    (folder / "a.csv").write_text("key,text,year\n1,abc,2020\n")
    words = ("--id-column", "key", "--document-column", "text", "--model", "lengths")
    done = run("add", "fresh", "one", "a.csv", *words, "--distance", "ip", cwd=folder)
    assert done.stdout == b"made one: distance ip, model lengths\nadded 1\n", done.stderr
    done = run("import", "csv", "a.csv", "fresh", "one", cwd=folder)
    assert done.returncode == 2
    assert b"`retrieval-store add STORE COLLECTION FILE` adds records of a file" in done.stderr


def test_hits_are_added_and_the_standard_input_is_called_so(folder):
    words = ("query", "store", "plain", "--vector", "[1, 2]", "--json", "--embeddings")
    hits = run(*words, cwd=folder).stdout.decode()
    assert '"distance"' in hits and '"score"' in hits
    done = run("add", "store", "copied", "-", cwd=folder, stdin=hits)
    assert b"added 1\n" in done.stdout, done.stderr
    done = run("add", "store", "copied", "-", cwd=folder, stdin='{"id": "a", "rank": 1}')
    assert b"stdin, line 1: it has the unknown key 'rank'" in done.stderr


@pytest.mark.parametrize(
    ("name", "text", "words", "message"),
    [
        ("a.csv", ",id,text\n0,a,b\n", (), "column 1 has no name; pandas"),
        ("a.csv", "id;text\na;b\n", ("--document-column", "body"), "has no column 'body' among"),
        ("a.csv", "id,text\na,b\n", ("--document-column", "body"), "has no column 'body' among"),
        ("a.csv", "id,text\na,b\n", ("--id-column", "key"), "--id-column names that of the ids"),
        (
            "a.jsonl",
            '{"id": 1, "embedding": [1]}',
            (),
            'line 1: id is 1 (int), expected text: "id": "1"',
        ),
        ("a.jsonl", '[{"id": "a"},\n{"id": "b"}]', (), "one record a line, rather than an array"),
        ("a.jsonl", '{"id": "a", "uri": "x.png"}', ("--model", "lengths"), "add the folder with"),
    ],
)
def test_errors_about_a_file_state_what_would_be_right(folder, name, text, words, message):
    (folder / name).write_text(text)
    done = run("add", "fresh", "things", name, *words, cwd=folder)
    assert (done.returncode, message in done.stderr.decode()) == (2, True), done.stderr
    assert not (folder / "fresh").exists()


def test_tables_may_be_numbered_and_get_names(folder):
    import lancedb

    there = lancedb.connect(str(folder / "lance"))
    there.create_table("t", [{"vector": [1.0, 2.0], "text": "a"}])
    done = run("import", "lancedb", "lance", "fresh", "--id-column", "", cwd=folder)
    assert done.returncode == 2 and b"--table and --name give it another name" in done.stderr
    words = ("--table", "t", "--name", "things")
    done = run("import", "lancedb", "lance", "fresh", *words, cwd=folder)
    assert done.returncode == 2 and b'or "" to number the rows' in done.stderr
    done = run("import", "lancedb", "lance", "fresh", "--id-column", "", *words, cwd=folder)
    assert b"things: 1 record" in done.stdout, done.stderr


def test_imported_collections_get_other_names(folder):
    import chromadb

    settings = chromadb.Settings(anonymized_telemetry=False)
    theirs = chromadb.PersistentClient(str(folder / "chroma"), settings)
    for name in ("one", "two", "three"):
        theirs.create_collection(name).add(["a"], [[1.0, 2.0]])
    words = ("--collection", "one", "--name", "two=second")
    done = run("import", "chroma", "chroma", "fresh", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    listed = json.loads(run("list", "fresh", "--json", cwd=folder).stdout)
    assert [one["collection"] for one in listed] == ["one", "second"]
    done = run("import", "chroma", "chroma", "fresh", "--name", "three", cwd=folder)
    assert done.returncode == 2 and b"expected OLD=NEW" in done.stderr
    done = run("import", "chroma", "nowhere", "fresh", cwd=folder)
    assert done.returncode == 2 and b"does not exist" in done.stderr


def test_existing_settings_win_over_metadata_that_names_settings(folder):
    with retrieval_store.Client(folder / "store") as client:
        collection = client.create_collection(
            "told", metadata={"hnsw:space": "ip", "hnsw:search_ef": 50}, embedding_function=None
        )
        collection.add(["a"], [[1, 2]])
        collection.modify(configuration={"hnsw": {"ef_search": 70}})
        export_arrays(collection, folder / "out")
    assert run("add", "fresh", "again", "out", cwd=folder).returncode == 0
    assert run("add", "fresh", "near", "out", "--distance", "l2", cwd=folder).returncode == 0
    with retrieval_store.Client(folder / "fresh") as client:
        for name, space in (("again", "ip"), ("near", "l2")):
            made = client.get_collection(name, embedding_function=None)
            assert made.metadata == {"hnsw:space": space, "hnsw:search_ef": 70}
            assert made.configuration["hnsw"]["space"] == space


def test_pictures_come_with_their_captions(folder):
    (folder / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "photos" / "a.png")
    (folder / "photos" / "a.txt").write_text("a rose")
    words = ("photos", "photos", "--model", "lengths", "--captions")
    done = run("add", "store", *words, cwd=folder)
    assert done.stdout.endswith(b"added 1\n"), done.stderr
    found = json.loads(run("query", "store", "photos", "rose", "--mode", "text", "--json",
                           cwd=folder).stdout)  # fmt: skip
    assert found["id"] == "a.png" and found["document"] == "a rose"
    done = run("add", "store", "photos", "photos", "--captions", "--kind", "texts", cwd=folder)
    assert done.returncode == 2 and b"--captions is for images" in done.stderr
    (folder / "photos" / "them.jsonl").write_text('{"id": "b", "uri": "a.png", "document": "x"}\n')
    words = ("store", "listed", "photos/them.jsonl", "--model", "lengths")
    done = run("add", *words, cwd=folder)
    assert done.returncode == 2 and b"choose with --embed documents or --embed uris" in done.stderr
    assert b"added 1" in run("add", *words, "--embed", "uris", cwd=folder).stdout
    (folder / "photos" / "out.jsonl").write_text('{"id": "c", "uri": "../a.png", "document": "x"}')
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    words = ("store", "listed", "photos/out.jsonl", "--embed", "uris")
    done = run("add", *words, cwd=folder)
    assert done.returncode == 1 and b"a.png" in done.stderr


def test_a_folder_is_synced(folder):
    (folder / "notes").mkdir()
    (folder / "notes" / "a.md").write_text("# A\n\none")
    Image.new("RGB", (8, 8)).save(folder / "notes" / "b.png")
    (folder / "notes" / "b.txt").write_text("a rose")
    words = ("store", "synced", "notes", "--captions", "--name", "mine")
    done = run("sync", *words, "--model", "lengths", "--dry-run", cwd=folder)
    assert done.stdout.decode().splitlines()[:2] == ["added  a.md", "added  b.png"], done.stderr
    assert b"synced" not in run("list", "store", cwd=folder).stdout
    assert b"2 added" in run("sync", *words, "--model", "lengths", cwd=folder).stdout
    found = run("get", "store", "synced", "a.md#0", "b.png", "--json", cwd=folder).stdout
    assert [json.loads(one)["document"] for one in found.splitlines()] == ["A: one", "a rose"]
    (folder / "notes" / "a.md").unlink()
    done = run("sync", *words, "--json", cwd=folder)
    data = json.loads(done.stdout)
    assert (data["deleted"], data["unchanged"], data["name"]) == (["a.md"], 1, "mine")
    (folder / "notes").rename(folder / "elsewhere")
    done = run("sync", *words, cwd=folder)
    assert done.returncode == 2 and b"--allow-empty does that" in done.stderr
    words = ("store", "synced", "elsewhere", "--captions", "--name", "mine", "--no-chunk")
    assert b"1 changed, 0 deleted" in run("sync", *words, cwd=folder).stdout
    done = run("sync", "fresh", "new", "nowhere", cwd=folder)
    assert done.returncode == 2 and not (folder / "fresh").exists()
    done = run("sync", "store", "plain", "elsewhere", cwd=folder)
    assert done.returncode == 2 and b"give --model" in done.stderr


def test_a_folder_is_synced_according_to_its_options(folder):
    guides = folder / "guides"
    (guides / "drafts").mkdir(parents=True)
    (guides / "a.md").write_text("# Guide\n\n" + "A sentence of some words. " * 200)
    (guides / "drafts" / "b.md").write_text("draft")
    (guides / "c.pdf").write_bytes(pdf("The sea.", PICTURE))
    (guides / "d.log").write_text("log")
    (guides / ".gitignore").write_text("*.log\n")
    sync = ("sync", "store", "guides", "guides")
    options = ("--model", "lengths", "--exclude", "drafts", "--gitignore", "--overlap", "20")
    report = json.loads(run(*sync, *options, "--json", cwd=folder).stdout)
    assert report["added"] == ["a.md", "c.pdf"]
    assert {Path(one["path"]).name: one["why"] for one in report["left_out"]} == {
        "drafts": "in exclude",
        ".gitignore": "its name begins with a dot",
        "d.log": "in .gitignore",
    }
    assert report["gaps"][0]["why"].startswith("page 2 is a picture")
    done = run(*sync, "--include", "*.md", "--dry-run", cwd=folder)
    assert b"deleted  c.pdf" in done.stdout and b"added  drafts/b.md" in done.stdout
    done = run(*sync, "--watch", "--dry-run", cwd=folder)
    assert done.returncode == 2 and b"--watch and --dry-run" in done.stderr


@pytest.mark.models
def test_pictures_that_the_model_of_a_synchronised_folder_cannot_embed_are_left_out(folder):
    (folder / "papers").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "papers" / "a.png")
    sync = ("sync", "fresh", "papers", "papers")
    for model in ((), ("--model", "wordllama")):
        done = run(*sync, *model, cwd=folder)
        assert done.returncode == 2 and not (folder / "fresh").exists()
        assert b"papers' has no texts in it (1 left out: 1 an image" in done.stderr
        assert b"deleted" not in done.stderr
    (folder / "papers" / "b.md").write_text("a rose")
    done = run(*sync, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert b"1 added" in done.stdout and b"1 left out (1 an image" in done.stdout
    done = run(*sync, "--kind", "images", cwd=folder)
    assert done.returncode == 2 and b"wordllama embeds no images" in done.stderr
    done = run("sync", "fresh", "papers", "nowhere", cwd=folder)
    assert done.returncode == 2 and b"nowhere' isn't there\n" in done.stderr


def test_the_output_for_a_synced_folder_is_readable(folder):
    (folder / "notes").mkdir()
    (folder / "notes" / "a.md").write_text("# Garden\n\n## Flowers\n\nOf the rose.")
    with (folder / "notes" / "b.pdf").open("wb") as file:
        file.write(pdf("The sea.", "The sky.", title="Views"))
    assert run("sync", "store", "notes", "notes", "--model", "lengths", cwd=folder).returncode == 0
    own = ("recipe", "hash", "text_hash", "places")

    piped = run("query", "store", "notes", "sky", "-k", "3", "--mode", "text", cwd=folder).stdout
    first, cited, passage = piped.decode().splitlines()
    assert first.startswith("1. b.pdf#1  score ")
    assert cited.strip() == "Views (b.pdf), page 2"
    assert passage.strip().endswith("The sky.")
    listing, peeking = ("get", "store", "notes"), ("peek", "store", "notes")
    for words in (listing, peeking, ("query", "store", "notes", "x")):
        printed = [run(*words, cwd=folder).stdout.decode()]
        if words == listing:
            command = f"retrieval-store {' '.join(words)}"
            printed.append(on_terminal(command, folder, folder / "bin"))
        for text in printed:
            assert "a.md" in text and not any(f'"{key}"' in text for key in own)
        whole = [json.loads(line) for line in run(*words, "--json", cwd=folder).stdout.splitlines()]
        assert all({*own} <= {*one["metadata"]} for one in whole)


def test_unread_files_of_a_folder_are_reported_once_per_kind(folder):
    papers = folder / "papers"
    papers.mkdir()
    for i in range(20):
        (papers / f"{i:02}.html").write_text(
            f"<nav><a href=x>{'a ' * (i + 1)}</a></nav><p>Sea {i}."
        )
    (papers / "scan.pdf").write_bytes(pdf("The sea.", PICTURE))
    (papers / "locked.pdf").write_bytes(encrypted_pdf("A hidden heron."))
    (folder / "secrets.txt").write_text("other\nsecret\n")
    done = run(
        "sync", "store", "papers", "papers", "--model", "lengths", "--passwords", "secrets.txt",
        cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0 and b"22 added" in done.stdout
    assert done.stderr.decode().splitlines()[-3:] == [
        "not all of it: papers/00.html: 1 word of navigation",
        "not all of it: papers/01.html: 2 words of navigation, and the like of 18 other files",
        "not all of it: papers/scan.pdf: page 2 is a picture without text",
    ]
    heron = run("query", "store", "papers", "heron", "--mode", "text", cwd=folder).stdout
    assert b"A hidden heron." in heron


def test_a_synced_folder_is_searched_by_words_and_meaning(folder):
    (folder / "notes").mkdir()
    (folder / "notes" / "a.md").write_text("Of the rose and of all other flowers of the garden.")
    (folder / "notes" / "b.md").write_text("Ships.")
    assert run("sync", "store", "notes", "notes", "--model", "lengths", cwd=folder).returncode == 0

    def first(*words):
        done = run("query", "store", *words, "--json", cwd=folder)
        return json.loads(done.stdout.splitlines()[0])["id"]

    assert first("notes", "flowers") == "a.md#0"  # by its words; its length is the other's
    assert first("notes", "flowers", "--mode", "dense") == "b.md#0"
    assert first("notes", "flowers", "--max-distance", "1") == "b.md#0"
    why = run("why", "store", "notes", "flowers", "--record", "a.md#0", cwd=folder)
    assert (
        run("why", "store", "notes", "flowers", "--id", "a.md#0", cwd=folder).stdout == why.stdout
    )
    assert b"at place 1" in why.stdout
    with retrieval_store.Client(folder / "store") as client:
        notes = client.create_collection("mine", embedding_function=Lengths())
        notes.add(["long", "short"], documents=["all flowers of the garden", "ships"])
    assert first("mine", "flowers") == "short"  # as the collection itself answers
