"""Filters compared with a Python predicate, on random records and random nested filters."""

from hypothesis import given, settings
from hypothesis import strategies as st

import retrieval_store
from retrieval_store.filters.leaves import Candidate, fulfils
from tests.helpers import oracle
from tests.helpers.filter_strategies import (
    KEYS,
    held_by,
    records,
    records_and_expressions,
    records_and_wheres,
    thorough,
    where_documents,
    wheres,
)


def filled(found):
    return held_by(retrieval_store.Client(), found)


@thorough
@given(records_and_wheres)
def test_where_matches_like_the_predicate(both):
    found, filters = both
    collection, held = filled(found)
    for where in filters:
        expected = [i for i, (metadata, _) in held.items() if oracle.matches(metadata, where)]
        assert collection.get(where=where)["ids"] == expected
        result = collection.query(query_embeddings=[0.0], n_results=99, where=where)
        assert result["ids"] == [expected]


@thorough
@given(records_and_wheres, st.sampled_from(KEYS), st.sampled_from([None, 1, 3]))
def test_a_facet_counts_as_one_by_one(both, key, limit):
    found, (where, *_) = both
    collection, held = filled(found)
    counted = oracle.facet([metadata for metadata, _ in found], key)
    assert collection.facet(key, limit=limit) == counted[:limit]
    matching = [m for m, _ in held.values() if oracle.matches(m, where)]
    assert collection.facet(key, where, limit=limit) == oracle.facet(matching, key)[:limit]
    collection.update("r0", metadatas={"a": [1, True, "x", 1.0]})
    metadatas = collection.get()["metadatas"]
    assert collection.facet("a", limit=None) == oracle.facet(metadatas, "a")


@thorough
@given(records, where_documents, wheres)
def test_where_document_matches_like_the_predicate(found, where_document, where):
    collection, held = filled(found)
    matching = [
        i for i, (_, document) in held.items() if oracle.document_matches(document, where_document)
    ]
    assert collection.get(where_document=where_document)["ids"] == matching
    both = [i for i in matching if oracle.matches(held[i][0], where)]
    assert collection.get(where=where, where_document=where_document)["ids"] == both


def test_random_filters_match_some_but_not_all_random_records():
    """Otherwise the tests here would prove nothing."""
    separating = []

    @settings(max_examples=30, derandomize=True, database=None)
    @given(records_and_wheres)
    def draw(both):
        found, filters = both
        matching = {oracle.matches(metadata, filters[0]) for metadata, _ in found}
        separating.append(len(matching) == 2 or len(found) == 1)

    draw()
    assert sum(separating) > 0.2 * len(separating)  # some half of them do; drawn apart, one of 20


@thorough
@given(records_and_expressions)
def test_expressions_match_like_the_predicate(both):
    found, expressions = both
    collection, held = filled(found)
    candidates = [Candidate(i, metadata, text) for i, (metadata, text) in held.items()]
    for expression in expressions:
        expected = [one.id for one in candidates if fulfils(one, expression)]
        assert collection.get(where=expression)["ids"] == expected
