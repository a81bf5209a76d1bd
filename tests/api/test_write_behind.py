"""Batches that are written while the next one is embedded."""

import sqlite3

import pytest

import retrieval_store
from retrieval_store.errors import IDAlreadyExistsError

BATCH = 4


def records(count):
    return [{"id": f"r{i}", "document": f"text {i}"} for i in range(count)]


class Calls:
    """An embedding function that makes a call of the test before its n-th batch."""

    def __init__(self):
        self.number, self.before = 0, {}

    def __call__(self, texts):
        self.before.get(self.number, lambda: None)()
        self.number += 1
        return [[float(len(text)), 1.0] for text in texts]


@pytest.fixture
def calls():
    return Calls()


@pytest.fixture
def notes(tmp_path, calls):
    with retrieval_store.Client(tmp_path / "store") as client:
        yield client.create_collection("notes", embedding_function=calls)


@pytest.mark.parametrize("upsert", [False, True])
def test_a_batch_is_written_while_the_next_is_embedded(notes, calls, tmp_path, upsert):
    """Another process holds the write lock until the second batch is embedded. Without concurrency,
    the first write would wait in vain."""
    notes.add(["first"], documents=["text"])
    (file,) = tmp_path.glob("store/**/points.sqlite")
    other = sqlite3.connect(file, isolation_level=None)
    calls.before = {
        1: lambda: other.execute("BEGIN IMMEDIATE"),
        2: lambda: other.execute("COMMIT"),
    }
    assert notes.add_from(records(2 * BATCH), BATCH, upsert=upsert) == 2 * BATCH
    assert not other.in_transaction
    other.close()
    assert notes.get()["ids"] == ["first", *(f"r{i}" for i in range(2 * BATCH))]


def test_earlier_batches_exist_if_a_batch_cannot_be_written(notes, calls):
    notes.add([f"r{BATCH}"], documents=["text"])
    with pytest.raises(IDAlreadyExistsError, match=f"r{BATCH}"):
        notes.add_from(records(5 * BATCH), BATCH)
    assert set(notes.get()["ids"]) == {f"r{i}" for i in range(BATCH + 1)}
    assert calls.number == 4  # the record before, two batches, and one that was made meanwhile


def test_the_last_batch_that_cannot_be_written_raises(notes):
    notes.add(["r0"], documents=["text"])
    with pytest.raises(IDAlreadyExistsError, match="r0"):
        notes.add_from(records(BATCH), BATCH)


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_where_embedding_fails_the_batches_before_are_written(notes, calls, error):
    def fail():
        raise error("no more")

    calls.before = {2: fail}
    with pytest.raises(error, match="no more"):
        notes.add_from(records(5 * BATCH), BATCH)
    assert len(notes) == 2 * BATCH


def test_a_write_error_precedes_a_later_embedding_error(notes, calls):
    """Both fail: the error is about the first missing batch."""

    def fail():
        raise OSError("no more")

    notes.add(["r0"], documents=["text"])
    calls.before = {2: fail}
    with pytest.raises(IDAlreadyExistsError, match="r0"):
        notes.add_from(records(5 * BATCH), BATCH)
