"""Why an expected record isn't found, as the page explains it."""

import pytest

from integrations.server.tests.view.looking import asked, filled
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.extension import session_of
from retrieval_store_server.view.live import Views


@pytest.fixture
def ask(client):
    """Explains results of a collection, and that collection."""
    collection, matrix = filled(client)
    views = Views(session_of(client))

    def why(**body):
        query = {"vector": matrix[0].tolist(), "k": 5, **body}
        return asked(views, "why", collection=str(collection.id), **query)

    return why, collection, matrix


def test_it_equals_the_collections_own_result(ask):
    why, collection, matrix = ask
    where = {"n": {"$lt": 30}, "kind": "map"}
    reasons = why(where=where, ids=["p5", "p31", "nobody"])
    plain = collection.why(
        query_embeddings=matrix[:1], n_results=5, where=where, records=["p5", "p31", "nobody"]
    )
    for one, other in zip(reasons["reasons"], plain, strict=True):
        assert (one["id"], one["rank"], one["found"]) == (other.id, other.rank, other.found)
        assert one["ahead"] == other.ahead
        assert [(x["condition"], x["met"]) for x in one["excluded_by"]] == [
            (x.condition, x.met) for x in other.excluded_by
        ]
    assert [one["key"] for one in reasons["reasons"]] == ["s:p5", "s:p31", None]
    assert reasons["reasons"][1]["excluded_by"] == [
        {"argument": "where", "condition": {"n": {"$lt": 30}}, "met": 31},
        {"argument": "where", "condition": {"kind": "map"}, "met": "letter"},
    ]


def test_a_passage_is_searched_literally_and_otherwise_by_its_words(ask):
    why, _, _ = ask
    reasons = why(containing="number 33")
    assert [one["id"] for one in reasons["reasons"]] == ["p33"] and reasons["note"] is None
    like = why(containing="33, of   number")
    assert like["reasons"][0]["id"] == "p33" and "most like it" in like["note"]
    none = why(containing="xylophone")
    assert none["reasons"] == [] and "none has a word" in none["note"]


def test_a_question_by_a_record_leaves_that_record_out(ask):
    why, _, _ = ask
    reasons = why(vector=None, record="s:p3", records=["s:p3"])
    (reason,) = reasons["reasons"]
    assert reason["excluded_by"][0]["argument"] == "record" and reason["rank"] is None


def test_records_are_named_in_one_way(ask):
    why, _, _ = ask
    for body in ({}, {"ids": ["p1"], "containing": "x"}, {"containing": ""}):
        with pytest.raises(InvalidArgumentError):
            why(**body)
