"""Lists of words in files: when they are written, and what of them is."""

import pytest

import retrieval_store
from retrieval_store.engine.upkeep import background as upkeep
from retrieval_store.engine.upkeep import saving
from retrieval_store.engine.upkeep.turns import as_only_process
from retrieval_store.engine.words import kept as words
from tests.helpers.indexed import until
from tests.helpers.listed import texts_of, use_trigrams

pytestmark = pytest.mark.embedded


@pytest.fixture(autouse=True)
def _lists_of_few_are_worth_a_file(monkeypatch):
    use_trigrams(monkeypatch)


@pytest.fixture
def in_background(monkeypatch):
    """Nothing is done in the background until the test says so."""
    monkeypatch.setattr(upkeep._upkeep, "_stopping", True)


@pytest.fixture
def documents_read(monkeypatch):
    counts, documents_of = [], words.documents_of

    def reading(view, rows):
        counts.append(len(rows))
        return documents_of(view, rows)

    monkeypatch.setattr(words, "documents_of", reading)
    return counts


def files(folder):
    return sorted(folder.glob("*/derived/*"))


def save(things, going_on=lambda: None):
    points = things._backend.points
    as_only_process(points, 0, lambda alone: saving.save_lists(points, going_on))


def test_lists_are_saved_soon_after_they_were_made(tmp_path, documents_read):
    with retrieval_store.Client(tmp_path) as client:
        things = texts_of(client)
        things.query(query_texts="w5", mode="text")
        until(lambda: files(tmp_path), "no lists were saved")
        assert documents_read == [things.count()], "the documents were read again for the file"
        assert all(report.problem is None for report in client.verify())


@pytest.mark.usefixtures("in_background")
def test_closing_leaves_to_the_next_process_what_takes_long(tmp_path, monkeypatch, documents_read):
    monkeypatch.setattr(saving, "CLOSING_BYTES", 1)
    with retrieval_store.Client(tmp_path) as client:
        things = texts_of(client)
        expected = things.query(query_texts="w5", mode="text")["ids"]
    assert files(tmp_path) == []
    monkeypatch.setattr(saving, "CLOSING_BYTES", 1 << 20)
    for _ in range(2):
        with retrieval_store.Client(tmp_path) as client:
            things = client.get_collection("texts", embedding_function=None)
            assert things.query(query_texts="w5", mode="text")["ids"] == expected
    assert len(files(tmp_path)) == 1
    assert len(documents_read) == 2, "the lists were not used that the first of the two has saved"


@pytest.mark.usefixtures("in_background")
def test_saving_ends_when_it_is_told_to_and_leaves_nothing(tmp_path):
    class StopError(Exception):
        pass

    def stop():
        raise StopError

    with retrieval_store.Client(tmp_path) as client:
        things = texts_of(client)
        things.query(query_texts="w5", mode="text")
        with pytest.raises(StopError):
            save(things, stop)
        assert files(tmp_path) == []
        things.update(ids="1", documents="changed", embeddings=[[1, 1]])
        things.query(query_texts="w5", mode="text")
        with pytest.raises(StopError):  # while documents are read again
            save(things, stop)
        save(things)
        assert len(files(tmp_path)) == 1


@pytest.mark.usefixtures("in_background")
def test_words_of_deleted_documents_are_not_saved_again(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        things = texts_of(client)
        things.add(ids=["a", "b"], documents=["zzdeleted", "zzreplaced"], embeddings=[[1, 1]] * 2)
        things.query(query_texts="w5", mode="text")
        save(things)
        assert b"zzdeleted" in files(tmp_path)[0].read_bytes()
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("texts", embedding_function=None)
        things.delete(ids="a")
        things.update(ids="b", documents="another", embeddings=[[1, 1]])
        more = [f"more {i}" for i in range(things.count())]
        things.add(ids=more, documents=more, embeddings=[[1, 1]] * len(more))
        things.query(query_texts="w5", mode="text")
        save(things)
        (file,) = files(tmp_path)
        assert b"another" in file.read_bytes()
        assert b"zz" not in file.read_bytes()
