"""Lists of words that are built before the first query."""

import numpy as np
import pytest

import retrieval_store
from tests.helpers import inside
from tests.helpers.oracle import bm25, expected
from tests.helpers.steps import counted
from tests.helpers.tuned import tuned

EVERY = 1_000  # hits, more than there are documents


def add(things, numbers, text="a cat"):
    ids = [str(i) for i in numbers]
    texts = [f"{text} {i % 7}" for i in numbers]
    things.upsert(ids=ids, documents=texts, embeddings=np.ones((len(ids), 2)))
    return dict(zip(ids, texts, strict=True))


def assert_found(things, texts, words="cat 3"):
    found = things.query(query_texts=words, mode="text", n_results=EVERY)["ids"][0]
    assert sorted(found) == sorted(expected([*texts], bm25([*texts.values()], words), EVERY))


def files_of_words(path):
    return [*path.glob("*/derived/words*")]


@pytest.fixture
def eager(monkeypatch):
    """Lists are built ahead for few documents already, while nobody writes, when the test starts
    it."""
    inside.without_background(monkeypatch)
    tuned(
        monkeypatch, lists_worth=50, rows_listed_ahead=10, seconds_until_quiet=0, lists_pause=0
    )  # fmt: skip


@pytest.fixture
def things(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        yield client.create_collection("things", embedding_function=None)


def test_the_first_query_after_a_load_finds_lists_in_a_file(things, tmp_path, eager, monkeypatch):
    texts = add(things, range(200))
    inside.maintain(inside.access(things))
    assert len(files_of_words(tmp_path)) == 1
    reads = counted(monkeypatch, "read_texts", lambda view, rows: len(rows))
    assert_found(things, texts)
    assert sum(reads) == 0


def test_unused_lists_take_no_memory(things, eager):
    add(things, range(200))
    inside.maintain(inside.access(things))
    things.query(query_embeddings=[1, 0])
    assert things.stats()["memory"]["words"] == 0


def test_lists_are_updated_after_another_load_before_the_first_query(
    things, tmp_path, eager, monkeypatch
):
    texts = add(things, range(200))
    inside.maintain(inside.access(things))
    texts |= add(things, range(150, 300), "a dog")
    inside.maintain(inside.access(things))
    reads = counted(monkeypatch, "read_texts", lambda view, rows: len(rows))
    assert_found(things, texts, "dog 3")
    assert sum(reads) == 0
    assert len(files_of_words(tmp_path)) == 1


def test_optimize_makes_them_at_once(things, tmp_path, monkeypatch):
    inside.without_background(monkeypatch)
    tuned(monkeypatch, lists_worth=50, rows_listed_ahead=10)
    texts = add(things, range(200))
    things.optimize()
    assert len(files_of_words(tmp_path)) == 1
    assert_found(things, texts)


def test_some_lists_are_built_during_writes_and_no_file_is_written(things, tmp_path, monkeypatch):
    inside.without_background(monkeypatch)
    tuned(
        monkeypatch, lists_worth=50, rows_listed_ahead=10, rows_listed_beside_writers=60,
        seconds_until_quiet=60, rows_of_text_in_a_step=20, longest_pause_beside_writers=0,
        seconds_listed_beside_writers=0,
    )  # fmt: skip
    texts = add(things, range(200))
    reads = counted(monkeypatch, "read_texts", lambda view, rows: len(rows))
    assert inside.maintain(inside.access(things)), "nothing was left for later"
    assert sum(reads) == 60
    assert not files_of_words(tmp_path)
    assert_found(things, texts)
    assert sum(reads) == 200  # only the others


@pytest.mark.parametrize("documents", [None, "long"])
def test_missing_or_too_large_documents_have_no_files_of_words(
    things, tmp_path, eager, monkeypatch, documents
):
    if documents:
        tuned(monkeypatch, memory_budget=1_000)
    texts = None if documents is None else ["a word and others"] * 200
    things.add(ids=[str(i) for i in range(200)], documents=texts, embeddings=np.ones((200, 2)))
    inside.maintain(inside.access(things))
    assert not files_of_words(tmp_path)


def test_lists_are_built_with_the_last_changed_settings(things, eager, monkeypatch):
    things.modify(configuration={"text": {"stopwords": ["cat"]}})
    texts = add(things, range(200))
    inside.maintain(inside.access(things))
    reads = counted(monkeypatch, "read_texts", lambda view, rows: len(rows))
    assert things.query(query_texts="cat", mode="text")["ids"] == [[]]
    assert_found(things, texts, "3")
    assert sum(reads) == 0


def test_lists_requested_meanwhile_are_built_once_and_stay(things, eager, monkeypatch):
    tuned(monkeypatch, rows_of_text_in_a_step=20, rows_of_text_at_once=60)
    texts = add(things, range(200))
    reads = counted(monkeypatch, "read_texts", lambda view, rows: len(rows))
    queries = []

    def ask(*_):
        if sum(reads) >= 100 and not queries:
            queries.append(sum(reads))
            assert_found(things, texts)

    inside.run.run_once(inside.access(things), ask)
    assert queries == [100] and sum(reads) <= 240  # of one piece what was begun is made again
    inside.maintain(inside.access(things))
    assert things.stats()["memory"]["words"] > 0
