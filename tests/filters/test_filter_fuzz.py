"""Filters made of any values: each is evaluated or refused by an InvalidArgumentError.

FILTER_EXAMPLES is the number of examples; the time of each test grows with it.
"""

import os
import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrieval_store
from retrieval_store.errors import InvalidArgumentError, InvalidFilterError
from retrieval_store.filters.expression import Expression
from retrieval_store.filters.leaves import compile_pattern
from retrieval_store.filters.where import (
    DOCUMENT_OPERATORS,
    OPERATORS,
    parse_where,
    parse_where_document,
)

EXAMPLES = int(os.environ.get("FILTER_EXAMPLES", 10))
fuzzed = settings(max_examples=EXAMPLES)

WORDS = [*OPERATORS.split(), *DOCUMENT_OPERATORS.split(), "$", "$foo", "n", "text", "", "eq"]
keys = st.one_of(st.sampled_from(WORDS), st.text(max_size=4))
odd_keys = st.one_of(keys, st.integers(), st.none(), st.booleans(), st.tuples(st.text(max_size=2)))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, -(2**63) - 1, 2**64, 10**400, -(10**400)]),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["\ud800", "\0", "(", "a{1001}", "[", "\\", "(?P<a>", "x" * 20_000]),
    st.binary(max_size=3),
    st.sampled_from([np.float32(0.5), np.int64(-3), np.bool_(True), np.array([1, 2]), object()]),
)
garbage = st.recursive(
    scalars,
    lambda inside: st.one_of(
        st.lists(inside, max_size=4),
        st.lists(inside, max_size=2).map(tuple),
        st.dictionaries(odd_keys, inside, max_size=3),
        st.dictionaries(st.sampled_from(WORDS), inside, min_size=1, max_size=3),
        st.lists(inside, min_size=1, max_size=3).map(lambda items: {"$or": items}),
    ),
    max_leaves=12,
)
# Nearly patterns: of what has a meaning in one, put together anyhow.
SIGNS = [*"()[]{}|*+?^$.\\-,:=!<>", "(?", "(?P<n>", "(?i)", "[^", r"\Q", r"\E", r"\pL", r"\b", "[:"]
patterns = st.one_of(
    st.text(),
    st.text(string.printable),
    st.lists(
        st.one_of(st.sampled_from(SIGNS), st.integers(0, 1_500).map(str), st.text(max_size=2)),
        max_size=30,
    ).map("".join),
    st.builds(lambda sign, times: sign * times, st.sampled_from(SIGNS), st.integers(0, 11_000)),
)


@pytest.fixture(scope="module")
def things():
    with retrieval_store.Client() as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(
            ids=["a", "b", "c"],
            embeddings=np.eye(3),
            metadatas=[{"n": 1, "text": "x"}, {"n": [1, "x"]}, None],
            documents=["text", "", None],
        )
        yield things


@fuzzed
@given(garbage)
def test_anything_as_where_is_an_expression_or_refused(anything):
    try:
        assert isinstance(parse_where(anything), Expression)
    except InvalidFilterError as error:
        assert str(error)


@fuzzed
@given(garbage)
def test_anything_as_where_document_is_an_expression_or_refused(anything):
    try:
        assert isinstance(parse_where_document(anything), Expression)
    except InvalidFilterError as error:
        assert str(error)


@fuzzed
@given(garbage, garbage)
def test_valid_filters_are_evaluated(things, where, where_document):
    for arguments in ({"where": where}, {"where_document": where_document}):
        try:
            found = things.get(**arguments)["ids"]
        except InvalidArgumentError:
            continue
        assert set(found) <= {"a", "b", "c"}
        nearest = things.query(query_embeddings=[1, 0, 0], **arguments)["ids"][0]
        assert sorted(nearest) == sorted(found)


@fuzzed
@given(patterns, st.text(max_size=20))
def test_any_text_as_a_pattern_is_compiled_or_refused(pattern, text):
    try:
        found = compile_pattern(pattern).search(text)
    except InvalidFilterError as error:
        assert len(str(error)) < 500
    except UnicodeEncodeError:  # of the text, which a document can't be
        assert any("\ud800" <= letter <= "\udfff" for letter in text)
    else:
        assert found is None or found.group() in text


@fuzzed
@given(patterns)
def test_a_pattern_that_is_compiled_is_answered_through_a_collection(things, pattern):
    try:
        matching = things.get(where_document={"$regex": pattern})["ids"]
        others = things.get(where_document={"$not_regex": pattern})["ids"]
    except InvalidArgumentError:
        return
    assert sorted([*matching, *others]) == ["a", "b", "c"]
    assert "c" in others
