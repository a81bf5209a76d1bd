"""Texts longer than the embedding function reads: the log reports it once per collection."""

import logging

import numpy as np
import pytest

import retrieval_store
from tests.helpers.circumstances import as_a_new_process

LONG = "the pressure of the boiler is far too low for this time of the year " * 30
SHORT = "a kitten sleeps on the sofa"
IDS, TEXTS = ["a", "b", "c", "d", "e"], [LONG, SHORT, LONG + "today", SHORT + "s", LONG + "now"]


@pytest.fixture(autouse=True)
def nothing_logged_before(monkeypatch):
    as_a_new_process(monkeypatch)


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.WARNING, "retrieval_store")
    return lambda: [record.getMessage() for record in caplog.records]


def test_each_collection_is_warned_of_once(client, warnings):
    notes = client.create_collection("notes")
    notes.add("x", documents=SHORT)
    notes.add("y", documents=LONG, embeddings=np.ones((1, 256)))  # nothing is embedded
    assert warnings() == []
    notes.add(IDS, documents=TEXTS)
    (line,) = warnings()
    assert line.startswith(
        "collection 'notes': 3 of 5 texts are longer than the 256 tokens that wordllama reads of "
        "each; what follows these doesn't count for the vectors. "
    )
    assert "retrieval_store_files.passages_of(text, function=…)" in line and "boiler" not in line
    notes.add("f", documents=LONG)
    client.get_collection("notes").upsert("g", documents=LONG)
    notes.query(query_texts=LONG)
    assert warnings() == [line]
    client.create_collection("others").add("a", documents=LONG)
    assert warnings()[1].startswith("collection 'others': 1 of 1 texts")
    client.delete_collection("notes")
    client.create_collection("notes").add("a", documents=LONG)  # another one of the name
    assert warnings()[2].startswith("collection 'notes': 1 of 1 texts")


@pytest.mark.embedded
def test_a_query_that_is_too_long_is_warned_of_too(client, warnings):
    notes = client.create_collection("notes")
    notes.add("a", documents=SHORT)
    notes.query(query_texts=[LONG, SHORT])
    (line,) = warnings()
    assert line.startswith("collection 'notes': 1 of 2 texts are longer")


@pytest.mark.others
@pytest.mark.embedded
def test_passages_of_as_many_tokens_as_the_function_reads_are_not_warned_of(client, warnings):
    from retrieval_store_files import passages_of

    embed = retrieval_store.WordLlamaEmbedding()
    passages = [one for text in TEXTS for one in passages_of(text, function=embed)]
    notes = client.create_collection("notes")
    notes.add([str(i) for i in range(len(passages))], documents=passages)
    assert warnings() == []


@pytest.mark.others
@pytest.mark.embedded
def test_calls_of_several_batches_are_warned_of_once(client, warnings, tmp_path):
    from retrieval_store_files import add_file, add_folder

    records = [{"id": str(i), "document": LONG if i % 3 else SHORT} for i in range(12)]
    client.create_collection("streamed").add_from(iter(records), batch=2)
    (tmp_path / "texts").mkdir()
    for i in range(12):
        (tmp_path / "texts" / f"{i}.txt").write_text(records[i]["document"])
    add_folder(client.create_collection("folder"), tmp_path / "texts", batch=2)
    (tmp_path / "some.csv").write_text(
        "id,document\n" + "".join(f"{one['id']},{one['document']}\n" for one in records)
    )
    add_file(client.create_collection("file"), tmp_path / "some.csv", batch=2)
    assert [line.partition(":")[0] for line in warnings()] == [
        "collection 'streamed'",
        "collection 'folder'",
        "collection 'file'",
    ]
