"""The results of `evaluate` for collections in every kind of store, and its queries."""

import html
import json

import numpy as np
import pytest

import retrieval_store
from retrieval_store.errors import (
    EmbeddingFunctionError,
    InvalidArgumentError,
    InvalidFilterError,
    InvalidTypeError,
)
from retrieval_store.evaluation.measures import MEASURES

WORDS = ("red", "green", "blue", "soup")


class Counting:
    """An embedding function by the words of a text; counts its texts."""

    def __init__(self):
        self.calls = []

    def __call__(self, input):
        self.calls.append(list(input))
        return [[text.count(word) + 0.1 for word in WORDS] for text in input]


def filled(client, embed):
    things = client.create_collection(
        "things", {"hnsw": {"space": "cosine"}}, embedding_function=embed
    )
    things.add(
        ids=["r", "g", "b", "rg"],
        documents=["red", "green thing", "blue thing", "red green"],
        metadatas=[{"n": i} for i in range(4)],
    )
    return things


@pytest.fixture
def embed():
    return Counting()


@pytest.fixture
def things(client, embed):
    return filled(client, embed)


@pytest.fixture
def in_memory(embed):
    with retrieval_store.Client() as client:
        yield filled(client, embed)


ASKED = [
    {"query": "red", "ids": {"r": 2, "rg": 1}},
    {"query": "thing", "ids": ["g", "b"]},
    {"query": "blue", "ids": ["b"]},
]


def test_each_mode_is_measured_as_query_finds(things):
    result = retrieval_store.evaluate(things, ASKED, k=2)
    assert list(result.settings) == ["dense", "text", "hybrid"]
    texts = [one["query"] for one in ASKED]
    for mode, one in result.settings.items():
        found = things.query(query_texts=texts, n_results=2, mode=mode, include=[])["ids"]
        assert [list(ids) for ids in one.found] == found
    text = result["text"]
    assert text.values["recall"].tolist() == [1, 1, 1]
    assert text.values["mrr"].tolist() == [1, 1, 1]
    assert text.estimates["ndcg"].mean == pytest.approx(text.values["ndcg"].mean())
    assert result.missing == ()


def test_settings_are_measured_by_their_names_with_their_arguments(in_memory):
    settings = {
        "few": {"mode": "dense", "where": {"n": {"$lt": 2}}, "exact": True},
        "near": {"max_distance": 0.01},
        "more words": {"mode": retrieval_store.Hybrid("weighted", 0.1, (50, 50))},
        "text": {"mode": "text", "where_document": {"$contains": "thing"}},
    }
    result = retrieval_store.evaluate(in_memory, ASKED, modes=["text"], settings=settings)
    assert sorted(result.settings) == sorted(settings)
    assert {one for ids in result["few"].found for one in ids} == {"r", "g"}
    assert result["near"].found[2] == ("b",)
    assert result["text"].found[0] == ()
    assert result["more words"].values["mrr"].tolist() == [1, 1, 1]


def test_filters_hold_for_all_settings_that_have_none(in_memory):
    settings = {"all": {"where": None, "mode": "dense"}, "three": {"mode": "text"}}
    result = retrieval_store.evaluate(in_memory, ASKED, settings=settings, where={"n": {"$lt": 3}})
    assert all("rg" in ids for ids in result["all"].found)
    for name in ("dense", "text", "hybrid", "three"):
        assert all("rg" not in ids for ids in result[name].found)


def test_questions_are_embedded_once_for_all_settings(in_memory, embed):
    embed.calls.clear()
    settings = {f"{a}": {"mode": retrieval_store.Hybrid(alpha=a)} for a in (0.2, 0.4, 0.6)}
    many = [{"query": f"red {i}", "ids": ["r"]} for i in range(30)]
    retrieval_store.evaluate(in_memory, many, settings=settings)
    texts = [text for call in embed.calls for text in call if text.startswith("red")]
    assert texts == [one["query"] for one in many]
    assert len(embed.calls) <= 2  # the second is the probe, by which functions are told apart


def test_words_alone_need_no_vectors(in_memory, embed):
    embed.calls.clear()
    retrieval_store.evaluate(in_memory, ASKED, modes="text")
    assert embed.calls == []


def test_more_questions_than_one_call_takes_are_all_sent(in_memory):
    many = [{"query": WORDS[i % 3], "ids": ["rgb"[i % 3]]} for i in range(2_500)]
    result = retrieval_store.evaluate(in_memory, many, k=1, modes=["text"])
    expected = [[1, 1, 1], [0, 1, 1]]  # of equals the first, and "red" has a longer rival
    values = result["text"].values["mrr"]
    assert len(values) == 2_500
    assert values[:3].tolist() in expected
    np.testing.assert_array_equal(values[3:], values[:-3])


def test_a_collection_without_function_is_queried_by_vectors(collection):
    collection.add(ids=["a", "b"], embeddings=[[0, 1], [1, 0]])
    queries = [
        {"query": "up", "ids": ["a"], "embedding": [0, 1]},
        {"query": "right", "ids": ["b"], "embedding": np.array([1.0, 0.0])},
    ]
    result = retrieval_store.evaluate(collection, queries)
    assert list(result.settings) == ["dense"]
    assert result["dense"].values["mrr"].tolist() == [1, 1]


def test_vectors_of_questions_go_before_those_of_the_function(in_memory):
    own = {"query": "red", "ids": ["b"], "embedding": [0, 0, 1, 0]}
    result = retrieval_store.evaluate(in_memory, [ASKED[2], own, ASKED[0]], k=1, modes="dense")
    assert result["dense"].found == (("b",), ("b",), ("r",))
    with pytest.raises(EmbeddingFunctionError, match="vectors of 4 numbers.*some of 2"):
        retrieval_store.evaluate(in_memory, [ASKED[0], {**own, "embedding": [1, 2]}])


def test_a_collection_that_cannot_answer_gives_the_reason(collection):
    collection.add(ids=["a"], embeddings=[[0, 1]])
    with pytest.raises(InvalidArgumentError, match="can answer no question: it has no embedding"):
        retrieval_store.evaluate(collection, ASKED)
    with pytest.raises(EmbeddingFunctionError, match="'red' has no 'embedding'"):
        retrieval_store.evaluate(collection, ASKED, modes=["dense"])


def test_without_vectors_words_are_measured(client):
    notes = client.create_collection("notes", embedding_function=None)
    notes.add(ids=["a"], embeddings=[[1, 2]], documents=["a red thing"])
    result = retrieval_store.evaluate(notes, [{"query": "red", "ids": ["a"]}])
    assert list(result.settings) == ["text"]
    assert result["text"].estimates["recall"] == retrieval_store.evaluation.Estimate(1, 1, 1)


def test_ids_that_no_point_has_are_reported_and_count_as_not_found(things, caplog):
    queries = [{"query": "red", "ids": ["r", "gone"]}, {"query": "blue", "ids": ["gone", "lost"]}]
    result = retrieval_store.evaluate(things, queries, modes=["dense"])
    assert result.missing == ("gone", "lost")
    assert result["dense"].values["recall"].tolist() == [0.5, 0]
    text = "2 ids that should be found can't be"
    assert text in str(result) and text in html.unescape(result._repr_html_())
    assert [text in record.getMessage() for record in caplog.records] == [True]


def test_an_evaluation_prints_its_figures(in_memory):
    printed = str(retrieval_store.evaluate(in_memory, ASKED, k=3, modes=["text", "dense"]))
    lines = printed.splitlines()
    assert lines[0].split() == [
        "setting",
        "recall@3",
        "95",
        "%",
        "MRR@3",
        "95",
        "%",
        "nDCG@3",
        "95",
        "%",
    ]
    assert lines[1].split()[:2] == ["text", "1.000"]
    assert lines[3] == "3 questions"
    shown = retrieval_store.evaluate(in_memory, ASKED, modes="text", confidence=0.9)
    assert "<th>90 %</th>" in shown._repr_html_()


def test_a_comparison_reports_changes_by_question(in_memory):
    result = retrieval_store.evaluate(in_memory, ASKED, k=1)
    compared = result.compare("text", "dense", measure="mrr")
    first, second = result["text"].values["mrr"], result["dense"].values["mrr"]
    assert compared.difference.mean == pytest.approx((second - first).mean())
    assert [one.difference for one in compared.changes] == (second - first).tolist()
    parts = (*compared.worse, *compared.better, *compared.same)
    assert sorted(one.number for one in parts) == [0, 1, 2]
    (worse,) = compared.worse
    assert (worse.question.query, worse.first, worse.second) == ("thing", 1, 0)
    assert worse.found_by_first[0] in ("g", "b") and worse.found_by_second[0] not in ("g", "b")
    assert compared.summary.startswith("MRR@1: dense - text = -0.333 (95 %: ")
    assert "0 better, 1 worse, 2 the same" in str(compared)
    assert "-1.000  1.000  0.000  thing" in str(compared)
    assert f"<td>{worse.found_by_second[0]}</td>" in compared._repr_html_()


def test_the_greatest_changes_come_first_in_both_directions(in_memory):
    words = (*WORDS, "thing")
    many = [{"query": word, "ids": [one]} for word in words for one in ("r", "g", "b", "rg")]
    result = retrieval_store.evaluate(in_memory, many, k=3)
    forth, back = result.compare("text", "dense"), result.compare("dense", "text")
    assert forth.better and forth.worse
    for part in (forth.better, forth.worse):
        sizes = [abs(one.difference) for one in part]
        assert sizes == sorted(sizes, reverse=True)
    assert [one.number for one in forth.better] == [one.number for one in back.worse]
    assert forth.difference.mean == pytest.approx(-back.difference.mean)
    assert forth.difference.low == pytest.approx(-back.difference.high, abs=0.02)


def test_a_setting_differs_from_itself_in_nothing(in_memory):
    compared = retrieval_store.evaluate(in_memory, ASKED).compare("dense", "dense")
    assert compared.difference == retrieval_store.evaluation.Estimate(0, 0, 0)
    assert len(compared.same) == 3
    assert str(compared) == compared.summary


def test_the_same_seed_gives_the_same_intervals(in_memory):
    def estimates(**given):
        result = retrieval_store.evaluate(in_memory, ASKED * 5, k=1, **given)
        return [one.estimates for one in result.settings.values()]

    assert estimates() == estimates()
    assert estimates(confidence=0.5) != estimates()


def test_data_frames_have_a_row_for_each_question(in_memory):
    result = retrieval_store.evaluate(in_memory, ASKED)
    frame = result.to_pandas()
    assert len(frame) == 9
    means = frame.groupby("setting")[list(MEASURES)].mean()
    for name, one in result.settings.items():
        for measure in MEASURES:
            assert means.loc[name, measure] == pytest.approx(one.estimates[measure].mean)
    row = frame[(frame["setting"] == "text") & (frame["query"] == "blue")].iloc[0]
    assert (row["ids"], row["found"]) == (["b"], ["b"])
    compared = result.compare("text", "dense").to_pandas()
    assert compared["query"].tolist() == ["red", "thing", "blue"]
    assert compared["difference"].tolist() == (compared["second"] - compared["first"]).tolist()


def test_questions_do_not_control_a_terminal_or_a_browser(in_memory):
    queries = [{"query": "thing \x1b[31m<b>", "ids": ["g"]}, ASKED[0]]
    compared = retrieval_store.evaluate(in_memory, queries, k=1).compare("text", "dense")
    assert compared.worse
    assert "\x1b" not in str(compared)
    assert "<b>" not in compared._repr_html_().replace("<p><b>", "")


def test_a_file_is_evaluated_as_a_list_is(in_memory, tmp_path):
    file = tmp_path / "asked.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in ASKED))
    results = [retrieval_store.evaluate(in_memory, given) for given in (ASKED, file, str(file))]
    assert len({str(one) for one in results}) == 1


@pytest.mark.parametrize(
    ("given", "message", "kind"),
    [
        ({"k": 0}, "k is 0, expected at least 1", InvalidArgumentError),
        ({"modes": ["sparse"]}, "modes has 'sparse'", InvalidArgumentError),
        ({"modes": 3}, "modes is 3", InvalidTypeError),
        ({"modes": [["text"]]}, "modes has ['text']", InvalidArgumentError),
        ({"modes": ()}, "modes is empty", InvalidArgumentError),
        ({"settings": ["a"]}, "settings is ['a']", InvalidTypeError),
        ({"settings": {"a": 1}}, "settings['a'] is 1", InvalidTypeError),
        ({"settings": {"": {}}}, "settings has the name ''", InvalidArgumentError),
        ({"settings": {"a": {"n_results": 3}}}, "settings['a'] has the key 'n_results'", InvalidArgumentError),
        ({"settings": {"a": {"mode": "sparse"}}}, "settings['a']: mode is 'sparse'", InvalidArgumentError),
        ({"settings": {"a": {"where": {"n": {"$no": 1}}}}}, "settings['a']: where", InvalidFilterError),
        ({"where": {"n": {"$no": 1}}}, "where", InvalidFilterError),
        ({"confidence": 1}, "confidence is 1.0", InvalidArgumentError),
        ({"confidence": 95}, "confidence is 95", InvalidArgumentError),
        ({"seed": -1}, "seed is -1", InvalidArgumentError),
        ({"collection": "things"}, "collection is 'things'", InvalidTypeError),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)  # fmt: skip
def test_invalid_arguments_are_refused_by_name(in_memory, given, message, kind):
    with pytest.raises(kind) as error:
        retrieval_store.evaluate(**{"collection": in_memory, "questions": ASKED, **given})
    assert str(error.value).startswith(message)


def test_unknown_settings_and_measures_are_refused(in_memory):
    result = retrieval_store.evaluate(in_memory, ASKED)
    with pytest.raises(InvalidArgumentError, match="no setting 'stems'.*'dense', 'text', 'hybrid'"):
        result.compare("dense", "stems")
    with pytest.raises(InvalidArgumentError, match="no setting .*'text'"):
        result.compare("dense", ["text"])
    with pytest.raises(InvalidArgumentError, match="measure is 'map'"):
        result.compare("dense", "text", measure="map")
