"""Searches by words, compared with a simple oracle."""

import dataclasses
import sys
import traceback

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import retrieval_store
from retrieval_store.base.analysis import Analyzer
from retrieval_store.errors import InvalidArgumentError, MissingDependencyError
from tests.helpers import inside
from tests.helpers.circumstances import forget_stemmers
from tests.helpers.indexed import until
from tests.helpers.listed import DOCUMENTS
from tests.helpers.oracle import bm25, expected
from tests.helpers.steps import counted
from tests.helpers.tuned import tuned

pytestmark = pytest.mark.embedded


def test_documents_with_any_of_the_words_come_best_first(texts):
    found = texts.query(query_texts="river bank", mode="text")
    assert found["ids"] == [["3", "2", "4"]]
    scores = bm25(DOCUMENTS, "river bank")
    assert np.allclose(found["scores"][0], sorted(scores, reverse=True)[:3], rtol=1e-6)
    assert found["distances"] == [None]
    assert found["documents"][0][0] == DOCUMENTS[3]


def test_case_and_diacritics_are_folded_and_user_text_is_only_text(texts):
    assert texts.query(query_texts="ECLAIRS", mode="text")["ids"] == [["4"]]
    assert texts.query(query_texts="cafe\u0301", mode="text")["ids"] == [["4"]]
    for odd in (
        '"cat" OR NOT *',
        "cat AND (",
        "cat:mat -sat ~2 ^",
        "cat\0mat",
        "' ; DROP TABLE points",
    ):
        found = texts.query(query_texts=odd, mode="text")["ids"][0]
        assert found == expected([str(i) for i in range(6)], bm25(DOCUMENTS, odd), 10)
    assert texts.query(query_texts=["...", "nowhere"], mode="text")["ids"] == [[], []]


FOREIGN = {
    "zh": "床前明月光，疑是地上霜。低头思故乡",
    "ja": "日本語の契約書はこちらです。データベースのPython本",
    "th": "ภาษาไทยไม่มีช่องว่างระหว่างคำ",
    "km": "ភាសាខ្មែរ",
    "de": "Die Donau\xaddampf\u200bschiff\xad\nfahrt ist dan-\ngerous",
}


def test_words_are_found_without_spaces_around_them_and_with_what_hides_in_them(client):
    things = client.create_collection("things", embedding_function=None)
    things.add([*FOREIGN], np.eye(5), documents=[*FOREIGN.values()])
    for query, found in [
        ("故乡", ["zh"]),
        ("霜", ["zh"]),
        ("契約書", ["ja"]),
        ("python", ["ja"]),
        ("ﾃﾞｰﾀﾍﾞｰｽ", ["ja"]),
        ("ช่องว่าง", ["th"]),
        ("ខ្មែរ", ["km"]),
        ("Donaudampfschifffahrt", ["de"]),
        ("dangerous", ["de"]),
        ("乡故", []),
        ("故事", []),
        ("จะ", []),
    ]:
        assert things.query(query_texts=query, mode="text")["ids"] == [found]
        request = {"query_texts": query, "query_embeddings": np.ones(5), "mode": "hybrid"}
        assert things.query(**request, n_results=1)["ids"][0] == (found or ["zh"])
        (reason,) = things.why(query_texts=query, mode="text", records=found or ["zh"])
        assert reason.found == bool(found) and bool(reason.shared_words) == bool(found)
        shown = {*reason.shared_words, *reason.missing_words}
        assert shown and all(word in query for word in shown)


def test_texts_are_read_again_only_where_they_have_changed(texts, monkeypatch):
    before = texts.query(query_texts="river bank", mode="text")
    reads = counted(monkeypatch, "read_texts", lambda view, rows: len(rows))
    ids = [str(i) for i in range(len(DOCUMENTS))]
    texts.update(ids=ids, metadatas=[{"even": False, "more": 1}] * len(ids))
    texts.upsert(ids=ids, documents=DOCUMENTS, embeddings=np.eye(len(ids)) + 1)
    assert texts.query(query_texts="river bank", mode="text")["scores"] == before["scores"]
    assert sum(reads) == 0
    texts.upsert(ids=ids, documents=[*DOCUMENTS[:-1], "a river"], embeddings=np.eye(len(ids)))
    assert ids[-1] in texts.query(query_texts="river bank", mode="text")["ids"][0]
    assert sum(reads) == len(ids)  # of one write


words = st.sampled_from(["ant", "bee", "cat", "dog", "eel", "fox"])
documents = st.lists(words, max_size=8).map(" ".join)
steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "delete"]),
        st.lists(st.integers(0, 30), min_size=1, max_size=20),
        documents,
    ),
    min_size=1,
    max_size=8,
)


def test_a_missing_stemmer_is_the_only_error(client, monkeypatch):
    monkeypatch.setitem(sys.modules, "Stemmer", None)
    forget_stemmers()
    with pytest.raises(MissingDependencyError, match="retrieval-store\\[text\\]") as raised:
        client.get_or_create_collection("things", configuration={"text": {"language": "english"}})
    assert "NotFoundError" not in "".join(traceback.format_exception(raised.value))


def test_stemming_and_stopwords_go_by_language(client):
    things = client.create_collection(
        "texts", {"text": {"language": "english", "stopwords": True}}, embedding_function=None
    )
    things.add(
        ids=["a", "b"], documents=["She was running", "the house of the dog"], embeddings=[[1], [2]]
    )
    assert things.query(query_texts="runs houses", mode="text")["ids"] == [["a", "b"]]
    assert things.query(query_texts="the was of", mode="text")["ids"] == [[]]
    things.modify(configuration={"text": {"stopwords": ["dog"]}})
    assert things.query(query_texts=["dog", "the", "houses"], mode="text")["ids"] == [
        [],
        ["b"],
        ["b"],
    ]
    assert things.configuration["text"] == {
        "language": "english",
        "stemming": True,
        "stopwords": ["dog"],
    }
    again = client.get_or_create_collection("texts", {"text": {"language": "german"}})
    assert again.configuration["text"]["language"] == "english"  # what can be changed stays


def test_settings_for_words_that_cannot_be_are_refused(client):
    for text, message in [
        ({"language": "klingon"}, "'klingon', expected one of"),
        ({"language": 3}, "language.* is 3"),
        ({"stopwords": "the"}, "stopwords.* is 'the'"),
        ({"language": "german", "stopwords": True}, "no stopwords for the language 'german'"),
        ({"stemmer": True}, "unknown key 'stemmer'"),
        (7, "is 7"),
    ]:
        with pytest.raises(InvalidArgumentError, match=message):
            client.create_collection("texts", {"text": text})


@pytest.mark.parametrize(
    ("language", "document", "query"),
    [
        ("russian", "новый дом", "новая"),
        ("french", "il a mangé", "mangée"),
        ("english", "NAÏVE", "naive"),
    ],
)
def test_stemmers_see_diacritics_and_searchers_need_not(client, language, document, query):
    things = client.create_collection(
        "things", {"text": {"language": language}}, embedding_function=None
    )
    things.add(ids=["a"], documents=[document], embeddings=[[1]])
    assert things.query(query_texts=query, mode="text")["ids"] == [["a"]]


def test_variation_selectors_are_no_words(client):
    things = client.create_collection("things", embedding_function=None)
    documents = ["I \u2764\ufe0f you", "step 1\ufe0f\u20e3 first"]
    things.add(ids=["1", "2"], documents=documents, embeddings=[[1], [1]])
    assert things.query(query_texts=["\u2600\ufe0f", "1", "you"], mode="text")["ids"] == [
        [],
        ["2"],
        ["1"],
    ]


texts_written = st.lists(st.dictionaries(st.integers(0, 9), documents, max_size=6), max_size=5)


@given(texts_written, st.sets(st.integers(0, 9)), st.booleans())
def test_lists_that_are_merged_are_those_of_the_texts_that_are_left(writes, dead, trigrams):
    analyzer, alive, held = Analyzer(), np.ones(9, np.bool_), {}
    alive[[row for row in dead if row < 9]] = False
    segments = []
    for write in writes:
        held |= write
        rows = np.array(sorted(write), np.int64)
        texts = [write[row] for row in rows.tolist()]
        segments.append(
            inside.lists_of_trigrams(rows, texts)
            if trigrams
            else inside.lists_of_words(rows, texts, analyzer)
        )
    if not segments:
        return
    left = {row: text for row, text in sorted(held.items()) if row < 9 and alive[row]}
    rows = np.array([*left], np.int64)
    made = inside.lists_of_trigrams(rows, [*left.values()]) if trigrams else None
    anew = inside.lists_of_words(rows, [*left.values()], analyzer) if made is None else made
    merged = inside.merge_lists(segments, alive)
    assert merged.rows.tolist() == rows.tolist()
    assert merged.sizes.tolist() == anew.sizes.tolist()
    terms = [*anew.codes] if anew.codes is not None else anew.terms.tolist()
    assert sorted(merged.codes if merged.codes is not None else merged.terms) == sorted(terms)
    for term in terms:
        for one, other in zip(merged.find(term), anew.find(term), strict=True):
            assert one.tolist() == other.tolist()


def test_lists_of_a_file_stay_such_when_they_are_merged():
    made, alive = inside.lists_of_words(np.arange(2), ["a", "b"], Analyzer()), np.ones(3, np.bool_)
    read = dataclasses.replace(made, from_file=True)
    more = inside.lists_of_words(np.arange(2, 3), ["c"], Analyzer())
    assert inside.merge_lists([read, more], alive).from_file  # so a rebuild makes them anew
    assert not inside.merge_lists([made, more], alive).from_file


def test_lists_that_are_merged_between_two_questions_are_measured_again(tmp_path, monkeypatch):
    inside.without_background(monkeypatch)
    tuned(monkeypatch, lists_worth=1, errors_read_again_after=())
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        ids = [str(i) for i in range(40)]
        things.add(ids=ids, documents=["a cat"] * 40, embeddings=np.eye(40, 2))
        query = {"query_texts": "cat", "mode": "text", "n_results": 50}
        assert things.query(**query)["ids"] == [ids]
        things.add(ids="last", documents="a cat", embeddings=[[1, 1]])
        found = things.query(**query)
        inside.save_lists(inside.access(things), lambda: None)  # as one
        assert things.query(**query) == found
        assert found["ids"] == [[*ids, "last"]]


def test_lists_are_updated_before_a_query_needs_them(tmp_path, monkeypatch):
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        ids = [str(i) for i in range(600)]
        things.add(ids=ids, documents=["a cat"] * 600, embeddings=np.eye(600, 2))
        assert things.query(query_texts="cat", mode="text", n_results=1)["ids"] == [["0"]]
        reads = counted(monkeypatch, "read_texts", lambda view, rows: len(rows))
        vectors = np.eye(600, 2)
        things.update(ids=ids[1:400], documents=["a dog"] * 399, embeddings=vectors[1:400])
        until(lambda: sum(reads) >= 399, "the lists didn't follow")
        eels = ["an eel"] * 200
        things.update(
            ids=ids[400:], documents=eels, embeddings=vectors[400:]
        )  # few: for a query to read
        found = things.query(query_texts="dog eel cat", mode="text", n_results=600)["ids"][0]
        assert sorted(found) == sorted(ids)
        assert sum(reads) == 599


def test_lists_are_rebuilt_by_short_reads_between_which_others_write(client, monkeypatch):
    """In memory, readers and writers wait for the end of each step."""
    inside.without_background(monkeypatch)  # only what follows here
    tuned(monkeypatch, rows_of_text_in_a_step=20, rows_of_text_at_once=60, dead_rows_tolerated=0)
    things = client.create_collection("things", embedding_function=None)
    texts = {str(i): f"a cat {i % 7}" for i in range(400)}
    things.add(ids=[*texts], documents=[*texts.values()], embeddings=np.eye(400, 2))
    assert things.query(query_texts="cat", mode="text", n_results=1)["ids"] == [["0"]]
    access = inside.access(things)
    inside.follow_with_lists(access, lambda: None)  # they are in use
    things.delete(ids=[str(i) for i in range(250)])  # so many that rows are numbered anew …
    texts = {one: text for one, text in texts.items() if int(one) >= 250} | {"last": "a cat"}
    assert len(things.get(include=())["ids"]) == 150
    things.add(ids="last", documents="a cat", embeddings=[1, 0])  # … with the next step
    texts = {one: f"{text}, again" for one, text in texts.items()}
    things.update(ids=[*texts], documents=[*texts.values()], embeddings=np.eye(151, 2))
    reads, steps = counted(monkeypatch, "read_texts", lambda _, rows: len(rows)), []

    def between():
        step = len(steps)
        steps.append(step)
        changed, gone, more = str(250 + 15 * step), str(399 - 15 * step), f"more {step}"
        things.update(ids=changed, documents="a dog", embeddings=[1, 0])
        things.add(ids=more, documents="an eel", embeddings=[1, 0])
        things.delete(ids=gone)
        texts.update({changed: "a dog", more: "an eel"})
        texts.pop(gone)

    inside.follow_with_lists(access, between)
    assert 150 <= sum(reads) < 250 and max(reads) <= 40 and len(steps) == 8
    before = len(reads)
    for words in ("cat", "dog", "eel", "cat 3"):
        found = things.query(query_texts=words, mode="text", n_results=400)["ids"][0]
        scores = bm25([*texts.values()], words)
        assert sorted(found) == sorted(expected([*texts], scores, 400))
    assert len(reads) == before


def test_lists_stay_where_vectors_are_compacted(tmp_path, monkeypatch):
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        ids = [str(i) for i in range(100)]
        things.add(ids=ids, documents=["a cat"] * 100, embeddings=np.ones((100, 2)))
        things.query(query_texts="cat", mode="text")
        reads = counted(monkeypatch, "read_texts", lambda view, rows: len(rows))
        things.update(ids=ids, embeddings=np.eye(100, 2))
        things.optimize()
        assert things.query(query_texts="cat", mode="text", n_results=100)["ids"][0] == ids
        assert things.query(query_embeddings=[1, 0], n_results=1)["ids"] == [["0"]]
        assert sum(reads) == 0
        things.delete(ids=ids[:50])
        things.optimize()
        assert things.query(query_texts="cat", mode="text", n_results=100)["ids"][0] == ids[50:]
        assert sum(reads) == 0
