"""Inverted lists after failures, and beside writers."""

import random
import threading

import pytest

import retrieval_store
from tests.helpers import inside
from tests.helpers.indexed import until
from tests.helpers.listed import texts_of
from tests.helpers.tuned import tuned, use_trigrams

pytestmark = [pytest.mark.embedded, pytest.mark.usefixtures("eager")]


def test_text_queries_and_optimize_during_writes_raise_nothing(tmp_path, monkeypatch):
    use_trigrams(monkeypatch)
    errors, stop = [], threading.Event()
    with retrieval_store.Client(tmp_path) as client:
        things = texts_of(client)

        def run(work):
            try:
                while not stop.is_set():
                    work()
            except Exception as error:
                errors.append(error)

        moves = random.Random(3)

        def ask():
            i = moves.randrange(200)
            where = {"$or": [{"$regex": f"w{i % 7}|x{i}"}, {"$contains": f"number {i}"}]}
            things.query(query_texts="words w5", mode="text", where_document=where)

        def write():
            point_id = str(moves.randrange(400))
            things.upsert(ids=point_id, documents=f"w5 {point_id} text", embeddings=[[1, 1]])
            things.query(query_texts="w5", mode="text")

        threads = [threading.Thread(target=run, args=(work,)) for work in (ask, ask, ask, write)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            things.optimize()
        stop.set()
        for thread in threads:
            thread.join()
        assert errors == []
        assert all(report.problem is None for report in client.verify())


def test_after_optimize_no_deleted_word_is_left_in_any_file(tmp_path, monkeypatch):
    use_trigrams(monkeypatch)

    def left(*words):
        data = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
        return [word for word in words if word.encode() in data]

    with retrieval_store.Client(tmp_path) as client:
        things = texts_of(client)
        things.update(
            ids=["7", "8"], documents=["zzsecret text", "qqreplaced text"], embeddings=[[1, 1]] * 2
        )
        things.query(query_texts="zzsecret", mode="text")
        things.get(where_document={"$contains": "zzsecret"})
        things.optimize()
        assert left("zzsecret", "qqreplaced") == ["zzsecret", "qqreplaced"]
        things.delete(ids="7")
        things.update(ids="8", documents="changed", embeddings=[[1, 1]])
        things.optimize()
        assert left("zzsecret", "qqreplaced") == []
        assert things.query(query_texts="changed", mode="text")["ids"] == [["8"]]
        things.update(ids="9", documents="zzsecret again", embeddings=[[1, 1]])
        things.query(query_texts="zzsecret", mode="text")
        things.optimize()
        things.delete(ids="9")
    with retrieval_store.Client(tmp_path) as client:  # which never asked for a word
        client.get_collection("texts", embedding_function=None).optimize()
    assert left("zzsecret") == []


def test_lists_of_a_former_analyzer_and_damaged_ones_do_not_stay(tmp_path, monkeypatch):
    use_trigrams(monkeypatch)
    with retrieval_store.Client(tmp_path) as client:
        things = texts_of(client)
        for stopwords in (["a"], ["b"], ["c"]):
            things.modify(configuration={"text": {"stopwords": stopwords}})
            things.query(query_texts="words", mode="text")
            things.optimize()
            assert len(list(tmp_path.glob("*/derived/words*"))) == 1
    (file,) = tmp_path.glob("*/derived/words*")
    file.write_bytes(b"something else" + file.read_bytes()[14:])
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("texts", embedding_function=None)
        assert things.query(query_texts="w5", mode="text")["ids"][0]
        things.optimize()
        assert all(report.problem is None for report in client.verify())


def test_saved_trigrams_are_used_at_once(tmp_path, monkeypatch):
    use_trigrams(monkeypatch)
    with retrieval_store.Client(tmp_path) as client:
        things = texts_of(client)
        things.get(where_document={"$contains": "number 7"})
        until(lambda: things.stats()["memory"]["words"] > 0, "no trigrams were built")
        things.optimize()
    tuned(monkeypatch, wanted_after=1_000)
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("texts", embedding_function=None)
        explanation = things.explain([[0, 0]], where_document={"$contains": "number 77"})
        assert "by trigrams" in explanation["remarks"][0]


def test_lists_too_old_to_be_updated_are_rebuilt_without_a_warning(tmp_path, monkeypatch, caplog):
    use_trigrams(monkeypatch)
    with retrieval_store.Client(tmp_path) as client:
        things = texts_of(client)
        things.query(query_texts="w5", mode="text")
        things.optimize()
    assert list(tmp_path.glob("*/derived/words.*"))
    tuned(monkeypatch, log_writes=2, trim_every=1)
    inside.without_background(monkeypatch)  # nobody saves them anew
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("texts", embedding_function=None)
        for i in range(8):
            things.update(ids="7", documents=f"changed {i}", embeddings=[[1, 1]])
    with retrieval_store.Client(tmp_path, read_only=True) as client:
        things = client.get_collection("texts", embedding_function=None)
        assert things.query(query_texts="changed", mode="text")["ids"] == [["7"]]
    assert caplog.messages == []
