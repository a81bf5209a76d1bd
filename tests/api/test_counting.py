"""Texts that are longer than the embedding function reads are told once, and counted."""

import logging
import multiprocessing
import threading

import numpy as np
import pytest

import retrieval_store
from retrieval_store.errors import IDAlreadyExistsError, LockTimeoutError, StorageFullError
from retrieval_store_files import add_file, add_folder, passages_of
from tests.helpers import inside, models, steps
from tests.helpers.circumstances import as_a_new_process, register_only
from tests.helpers.models import Cut, tell_of_cut

LONG = "the pressure of the boiler is far too low for this time of the year " * 30
SHORT = "a kitten sleeps on the sofa"
IDS, TEXTS = ["a", "b", "c", "d", "e"], [LONG, SHORT, LONG + "today", SHORT + "s", LONG + "now"]


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    as_a_new_process(monkeypatch)


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.WARNING, "retrieval_store")
    return lambda: [record.getMessage() for record in caplog.records]


def cut_in(path):
    with retrieval_store.Client(path, read_only=True) as client:
        return client.get_collection("notes").stats()["texts_cut"]


@pytest.mark.embedded
def test_what_was_cut_is_counted_and_told_once(client, warnings):
    notes = client.create_collection("notes")
    assert notes.stats()["texts_cut"] == 0
    notes.add("x", documents=SHORT)
    assert (notes.stats()["texts_cut"], warnings()) == (0, [])
    notes.add(IDS, documents=TEXTS)
    assert notes.stats()["texts_cut"] == 3
    (line,) = warnings()
    assert line.startswith(
        "collection 'notes': 3 of 5 texts embedded have more than the 256 tokens that wordllama "
        "reads of each: about "
    )
    notes.add("f", documents=LONG)
    client.get_collection("notes").upsert("g", documents=LONG)
    assert notes.stats()["texts_cut"] == 5
    assert warnings() == [line]
    other = client.create_collection("others")
    other.add("a", documents=LONG)
    assert "collection 'others': 1 of 1 texts" in warnings()[1]


@pytest.mark.embedded
def test_the_share_that_is_told_is_that_of_tokens_which_are_not_read(client, warnings):
    embed = retrieval_store.WordLlamaEmbedding()
    with models.collect_cuts() as cuts:
        embed([SHORT, *TEXTS])
    (cut,) = cuts
    tokenizer = models.wordllama_model().tokenizer
    tokens = sum(
        sum(tokenizer.encode(text, add_special_tokens=False).attention_mask)
        for text in TEXTS
        if text.startswith(LONG)
    )
    assert (cut.texts, cut.read, cut.tokens) == (3, 3 * 256, tokens)
    notes = client.create_collection("notes")
    notes.add(IDS, documents=TEXTS)
    assert f"about {100 * (1 - 768 / tokens):.0f} % of the tokens of such texts" in warnings()[0]
    assert "retrieval_store_files.passages_of(text, function=…)" in warnings()[0]
    passages = [one for text in TEXTS for one in passages_of(text, function=embed)]
    cut_up = client.create_collection("passages")
    cut_up.add([str(i) for i in range(len(passages))], documents=passages)
    assert cut_up.stats()["texts_cut"] == 0


def test_the_count_is_there_after_reopening_and_for_others(tmp_path):
    with retrieval_store.Client(tmp_path) as client, retrieval_store.Client(tmp_path) as second:
        client.create_collection("notes").add(IDS, documents=TEXTS)
        notes = second.get_collection("notes")
        assert notes.stats()["texts_cut"] == 3
        notes.add("f", documents=LONG)
        notes.modify(name="renamed", metadata={"a": 1})
        notes.modify(name="notes", configuration={"hnsw": {"ef_search": 50}})
        assert client.get_collection("notes").stats()["texts_cut"] == 4
        assert "texts_cut" not in str(notes.configuration)
        assert notes.fork("forked").stats()["texts_cut"] == 4
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(cut_in, (tmp_path,)) == 4


@pytest.mark.embedded
def test_it_counts_writes_and_forgets_none(client):
    notes = client.create_collection("notes")
    notes.add(IDS, documents=TEXTS)
    notes.upsert("a", documents=LONG)
    notes.update("b", documents=LONG)
    assert notes.stats()["texts_cut"] == 5
    notes.update("b", documents=SHORT)
    notes.delete(["a", "b"])
    assert notes.stats()["texts_cut"] == 5
    notes.add("g", documents=LONG, embeddings=np.ones((1, 256)))
    notes.update("c", metadatas={"n": 1})
    assert notes.stats()["texts_cut"] == 5  # nothing was embedded


@pytest.mark.embedded
def test_a_write_that_fails_counts_nothing_and_tells_nothing(client, warnings):
    notes = client.create_collection("notes")
    notes.add("a", documents=SHORT)
    with pytest.raises(IDAlreadyExistsError):
        notes.add(IDS, documents=TEXTS)
    assert (notes.stats()["texts_cut"], warnings()) == (0, [])


@pytest.mark.embedded
def test_queries_are_not_counted(client, warnings):
    notes = client.create_collection("notes")
    notes.add("a", documents=SHORT)
    notes.query(query_texts=[LONG, LONG])
    notes.query(query_texts=LONG)
    assert notes.stats()["texts_cut"] == 0
    (line,) = warnings()
    assert "longer than the 256 tokens that wordllama reads" in line


@pytest.mark.embedded
@pytest.mark.parametrize("error", [StorageFullError, LockTimeoutError])
def test_a_count_that_cannot_be_kept_is_logged(client, warnings, monkeypatch, error):
    notes = client.create_collection("notes")

    with monkeypatch.context() as patch:
        steps.fail(patch, "change_record", error("no room"))
        notes.add(IDS, documents=TEXTS)
    assert notes.count() == 5
    assert warnings()[0] == "that 3 texts were cut couldn't be counted: no room"
    notes.add("f", documents=LONG)
    assert notes.stats()["texts_cut"] == 1


def test_many_threads_lose_no_count(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        notes = client.create_collection("notes")

        def add(number):
            mine = client.get_collection("notes")
            for i in range(5):
                mine.add([f"{number}-{i}", f"{number}-{i}-short"], documents=[LONG, SHORT])

        threads = [threading.Thread(target=add, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert notes.stats()["texts_cut"] == 20


class Mine:
    """A function of a user's own, which reads ten characters."""

    def __init__(self, tells=False):
        self.tells = tells

    def __call__(self, input):
        longer = [len(text) for text in input if len(text) > 10]
        if self.tells and longer:
            tell_of_cut(Cut("mine", 10, len(longer), sum(longer), 10 * len(longer)))
        return [[float(len(text)), 1.0] for text in input]


@pytest.mark.embedded
def test_of_a_function_that_does_not_tell_nothing_is_known(client, warnings):
    notes = client.create_collection("notes", embedding_function=Mine())
    notes.add(IDS, documents=TEXTS)
    assert (notes.stats()["texts_cut"], warnings()) == (None, [])
    notes = client.get_collection("notes", embedding_function=Mine(tells=True))
    assert notes.stats()["texts_cut"] is None
    notes.upsert(IDS, documents=TEXTS)
    assert notes.stats()["texts_cut"] == 5
    assert "5 of 5 texts embedded have more than the 10 tokens that mine reads" in warnings()[0]
    none = client.create_collection("none", embedding_function=None)
    assert none.stats()["texts_cut"] is None


@pytest.mark.embedded
def test_a_registered_function_that_says_it_tells_begins_at_0(client, monkeypatch):
    register_only(monkeypatch)
    kinds = {}
    for name, told in (("tells", True), ("silent", False), ("odd", "yes")):
        kinds[name] = type(
            name, (Mine,), {"settings": lambda self: {"tells": self.tells}, "tells_of_cuts": told}
        )
        retrieval_store.register_embedding_function(name)(kinds[name])
    for name, expected in (("tells", 0), ("silent", None), ("odd", None)):
        things = client.create_collection(name, embedding_function=kinds[name]())
        assert things.stats()["texts_cut"] == expected


def test_a_cluster_keeps_no_count_but_what_was_cut_is_told(cluster, warnings):
    notes = cluster.create_collection("notes")
    notes.add(IDS, documents=TEXTS)
    assert notes.stats()["texts_cut"] is None
    (line,) = warnings()
    assert line.startswith("collection 'notes': 3 of 5 texts")


@pytest.mark.embedded
@pytest.mark.parametrize("told", ["3", -1, True, 2.5, 10**18, [], None])
def test_a_count_that_is_none_is_taken_for_none(client, told):
    notes = client.create_collection("notes")

    def damage(record):
        record.settings["texts_cut"] = told
        return record

    inside.backend(notes).change(damage)
    assert notes.stats()["texts_cut"] == 0
    notes.add("a", documents=LONG)
    assert notes.stats()["texts_cut"] == 1


@pytest.mark.embedded
def test_batches_of_one_call_are_told_of_together(client, warnings, tmp_path):
    records = [{"id": str(i), "document": LONG if i % 3 else SHORT} for i in range(12)]
    client.create_collection("streamed").add_from(iter(records), batch=2)
    for i in range(12):
        (tmp_path / "texts").mkdir(exist_ok=True)
        (tmp_path / "texts" / f"{i}.txt").write_text(records[i]["document"])
    add_folder(client.create_collection("folder"), tmp_path / "texts", batch=2)
    (tmp_path / "some.csv").write_text(
        "id,document\n" + "".join(f"{one['id']},{one['document']}\n" for one in records)
    )
    add_file(client.create_collection("file"), tmp_path / "some.csv", batch=2)
    assert [line.partition(" texts")[0] for line in warnings()] == [
        "collection 'streamed': 8 of 12",
        "collection 'folder': 8 of 12",
        "collection 'file': 8 of 12",
    ]
    for name in ("streamed", "folder", "file"):
        assert client.get_collection(name).stats()["texts_cut"] == 8


@pytest.mark.embedded
def test_what_was_written_before_an_error_is_told_and_counted(client, warnings):
    def broken():
        yield {"id": "a", "document": LONG}
        yield {"id": "b", "document": SHORT}
        raise OSError("the disk is gone")

    notes = client.create_collection("notes")
    with pytest.raises(OSError, match="the disk is gone"):
        notes.add_from(broken(), batch=1)
    assert notes.stats()["texts_cut"] == 1
    assert warnings()[0].startswith("collection 'notes': 1 of ")
