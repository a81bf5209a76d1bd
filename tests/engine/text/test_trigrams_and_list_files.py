"""Substring filters by trigrams, and the files of lists of words and trigrams."""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrieval_store
from tests.helpers import derived_files, inside, steps
from tests.helpers.listed import filled, ready
from tests.helpers.tuned import use_trigrams


@pytest.fixture(autouse=True)
def eager_lists(monkeypatch):
    use_trigrams(monkeypatch)


texts = st.text(alphabet="abé中\0\U0001f600 ", max_size=12)
moves = st.lists(
    st.tuples(st.integers(0, 25), st.one_of(st.none(), texts)), min_size=1, max_size=25
)


@settings(max_examples=10)
@given(before=moves, after=moves, needles=st.lists(texts.filter(bool), min_size=1, max_size=4))
def test_substrings_are_found_exactly_after_any_writes(before, after, needles):
    with pytest.MonkeyPatch.context() as patch, retrieval_store.Client() as client:
        use_trigrams(patch)
        things = client.create_collection("things", embedding_function=None)
        held = {"first": "abc"}
        things.add(ids="first", documents="abc", embeddings=[[0]])
        for changes in (before, after):
            for number, text in changes:
                if text is None:
                    things.delete(ids=str(number))
                    held.pop(str(number), None)
                else:
                    things.upsert(ids=str(number), documents=text, embeddings=[[number]])
                    held[str(number)] = text
            ready(things)
            for needle in needles:
                for where, matches in (
                    ({"$contains": needle}, lambda text, n=needle: n in text),
                    ({"$not_contains": needle}, lambda text, n=needle: n not in text),
                ):
                    found = things.get(where_document=where, include=[])["ids"]
                    assert found == [i for i, text in held.items() if matches(text)]


def answers(things, words):
    found = things.query(query_texts=words, mode="text", n_results=20)
    held = [things.get(where_document={"$contains": word}, include=[])["ids"] for word in words]
    return found["ids"], np.round(np.concatenate(found["scores"]), 5).tolist(), held


def test_explain_reports_the_use_of_trigrams(tmp_path):
    client, things, documents = filled(tmp_path)
    with client:
        ready(things)
        word = max(documents[3].split(), key=len)
        explanation = things.explain(query_embeddings=[0, 0], where_document={"$contains": word})
        assert f"{word!r}: " in explanation["remarks"][0]
        assert explanation["remarks"][0].endswith("candidates by trigrams")
        assert explanation["matching"] == sum(word in document for document in documents)
        assert things.stats()["memory"]["words"] > 0


def test_saved_lists_are_loaded_and_caught_up(tmp_path, monkeypatch):
    client, things, documents = filled(tmp_path)
    words = sorted({word for document in documents[:9] for word in document.split()})[:12]
    with client:
        ready(things)
        things.query(query_texts="x", mode="text")
        things.optimize()
        names = sorted(file.name.split(".")[0] for file in tmp_path.glob("*/derived/*"))
        assert names == ["trigrams", "words"]
        things.update(ids=["1", "2"], documents=[words[0]] * 2, embeddings=[[1, 1]] * 2)
        things.delete(ids=["3", "4"])
        things.add(ids="new", documents=f"{words[0]} {words[1]}", embeddings=[[1, 1]])
        expected = answers(things, words)
    read = steps.counted(monkeypatch, "list_words", lambda rows, *_: len(rows))
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things", embedding_function=None)
        assert answers(things, words) == expected
    assert sum(read) <= 10, "the documents were all read again"


def test_lists_of_words_that_were_split_differently_are_rebuilt(tmp_path, caplog):
    client, things, documents = filled(tmp_path)
    word = max(documents[5].split(), key=len)
    with client:
        expected = things.query(query_texts=word, mode="text")["ids"]
        things.optimize()
    (file,) = tmp_path.glob("*/derived/words*")
    data = b"RSlists2" + file.read_bytes()[8:].replace(word.encode(), b"z" * len(word))
    file.write_bytes(data)
    connection = inside.database_of_points(file.parent.parent / "points.sqlite")
    query = "UPDATE derived SET checksum = ? WHERE file = ?"
    connection.execute(query, (zlib.crc32(data), file.name))
    connection.close()
    with retrieval_store.Client(tmp_path) as client:
        assert all(report.problem is None for report in client.verify())
        things = client.get_collection("things", embedding_function=None)
        assert things.query(query_texts=word, mode="text")["ids"] == expected
        things.optimize()
        (again,) = tmp_path.glob("*/derived/words*")
        assert again.read_bytes()[:8] == derived_files.LISTS
    assert caplog.messages == []


def damages(file):
    data = file.read_bytes()
    yield "truncated", data[: len(data) // 2]
    yield "flipped", bytes([*data[:200], data[200] ^ 1, *data[201:]])
    yield "empty", b""
    yield "something else", derived_files.LISTS + bytes(len(data) - 8)
    yield "missing", None


@pytest.mark.parametrize("kind", ["truncated", "flipped", "empty", "something else", "missing"])
def test_damaged_lists_are_rebuilt(tmp_path, kind):
    client, things, documents = filled(tmp_path)
    words = documents[5].split()
    with client:
        ready(things)
        expected = answers(things, words)
        things.optimize()
    for file in list(tmp_path.glob("*/derived/*")):
        data = dict(damages(file))[kind]
        file.unlink()
        if data is not None:
            file.write_bytes(data)
    with retrieval_store.Client(tmp_path) as client:
        problems = [report for report in client.verify() if report.problem]
        assert len(problems) == 2
        things = client.get_collection("things", embedding_function=None)
        assert answers(things, words) == expected


def test_maintenance_in_memory_saves_no_lists_and_has_no_trouble(caplog):
    with retrieval_store.Client() as client:
        things = client.create_collection("things", embedding_function=None)
        for start in (0, 3_000):
            rows = range(start, start + 3_000)
            things.add(
                ids=[str(i) for i in rows],
                documents=[f"word{i % 7} number{i}" for i in rows],
                embeddings=[[float(i)] for i in rows],
            )
            things.query(query_texts="word3", mode="text")
        things.optimize()
        assert things.query(query_texts="number4000", mode="text")["ids"][0] == ["4000"]
    assert not caplog.records
