"""Tokens of texts are those of today's Qdrant engine, for any parameters of a text index."""

import gc
import weakref
from contextlib import closing

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from qdrant_client import models

from retrieval_store.base.budget import Budget, RequestMemory
from retrieval_store.errors import InvalidArgumentError, RequestTooLargeError
from retrieval_store.qdrant.tokenizers import Tokens, tokens_of
from tests.helpers import PATIENCE
from tests.qdrant.edge import Edge
from tests.qdrant.test_filters_edge import both, found_one_by_one

TEXTS = [
    "The quick brown fox",
    "don't stop",
    "foo_bar baz-qux",
    "a1 b2.c3",
    "Löwen Straße ÀÉÎ",
    "İstanbul ISTANBUL",
    "ﬁne x½",
    "हिन्दी भाषा",
    "naïve café",
    "x\u0301y",
    "ΑΣ ας",
    "get_userName HTTPServer parseJSON2",
    "🙂 emoji",
    "1.5 2,000 a.b@c.de",
    "“quoted” text",
    "Привет мир, ёлка",
    "שלום עולם",
    "한국어 텍스트",
    "running runs quickly",
    "aaa" * 30,
    ["lazy fox", "brown dog"],
    ["quick", "fox"],
    5,
]
ASKED = [
    *("fox", "FOX", "quick fox", "lazy dog", "the", "The quick", "don", "don't", "foo_bar", "bar"),
    *("c3", "löwen", "lowen", "strasse", "straße", "aei", "istanbul", "i̇stanbul", "fine", "ﬁne"),
    *("हिन्दी", "naive", "x\u0301y", "ας", "ΑΣ", "user", "username", "get_username", "http"),
    *("server", "json2", "emoji", "a.b@c.de", "quoted", "привет", "שלום", "텍스트", "run"),
    *("quickly running", "aaa", "", "dog lazy", "brown fox", "елка"),
]
TOKENIZERS = ["word", "whitespace", "prefix", "code", "multilingual"]
PLAIN = models.TextIndexParams(type="text", phrase_matching=True)
OPTIONS = [
    {},
    {"lowercase": False},
    {"ascii_folding": True},
    {"min_token_len": 2, "max_token_len": 4},
    {"phrase_matching": True, "stopwords": models.Language.ENGLISH},
    {"stopwords": models.StopwordsSet(languages=["english"], custom=["FOX", "über"])},
    {"stemmer": models.SnowballParams(type="snowball", language="english")},
    {"stemmer": models.DisabledStemmerParams(type="none"), "phrase_matching": True},
]


def asked_for(text):
    matches = (
        models.MatchText(text=text),
        models.MatchTextAny(text_any=text),
        models.MatchPhrase(phrase=text),
    )
    for match in matches:
        yield models.Filter(must=[models.FieldCondition(key="t", match=match)])


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "plain")
def test_a_text_index_matches_as_in_that_engine(tokenizer, options):
    index = models.TextIndexParams(type="text", tokenizer=tokenizer, **options)
    payloads = {i: {"t": text} for i, text in enumerate(TEXTS)}
    with both(payloads, {"t": index}) as (edge, ours):
        for text in ASKED:
            for query in asked_for(text):
                assert ours.found(query) == edge.found(query), query


def test_every_character_divides_words_or_is_in_them_as_in_that_engine():
    every = [chr(code) for code in range(0x40000) if not 0xD800 <= code < 0xE000]
    characters = every[::8]
    payloads = {i: {"t": f"a{character}b"} for i, character in enumerate(characters)}
    alone = models.Filter(must=[models.FieldCondition(key="t", match=models.MatchText(text="a"))])
    with both(payloads, {"t": PLAIN}) as (edge, ours):
        assert [
            hex(ord(characters[i])) for i in set(ours.found(alone)) ^ set(edge.found(alone))
        ] == []


@given(st.lists(st.text(max_size=8), min_size=1, max_size=8))
def test_any_text_is_split_as_that_engine_splits_it(texts):
    payloads = {i: {"t": text} for i, text in enumerate(texts)}
    with both(payloads, {"t": PLAIN}) as (edge, ours):
        for text in texts:
            for query in asked_for(text):
                assert ours.found(query) == edge.found(query), query


@settings(max_examples=10)
@given(st.lists(st.text(max_size=6), min_size=1, max_size=8))
@example(["\0", "a \0", "\0 \x01", "\0\0", "a\0"])
def test_any_text_is_folded_as_that_engine_folds_it(texts):
    index = models.TextIndexParams(type="text", tokenizer="whitespace", ascii_folding=True)
    payloads = {i: {"t": text} for i, text in enumerate(texts)}
    with both(payloads, {"t": index}) as (edge, ours):
        for text in texts:
            for query in asked_for(text):
                assert ours.found(query) == edge.found(query), query


def test_texts_evaluated_one_by_one_give_the_engines_result():
    payloads = {i: {"t": text} for i, text in enumerate(TEXTS)}
    with closing(Edge(payloads, {"t": PLAIN})) as edge:
        for text in ASKED:
            for query in asked_for(text):
                found = found_one_by_one(payloads, query, {"t": PLAIN})
                assert found == edge.found(query), query


def test_languages_without_a_list_of_stopwords_are_refused_by_name():
    index = models.TextIndexParams(type="text", stopwords=models.Language.JAPANESE)
    with pytest.raises(InvalidArgumentError, match="japanese"):
        tokens_of(index)


def test_prefixes_of_many_words_are_counted_before_they_are_created():
    tokens, text = Tokens(tokenizer="prefix"), " ".join(["x" * 1_000] * 30)
    with Budget(PATIENCE, 10_000_000, RequestMemory(10_000_000)):
        assert len(tokens.tokenize_text("word " * 1_000)) == 4_000
        assert len(Tokens(tokenizer="prefix", most=5).tokenize_text(text)) == 150
        for tokenize in (tokens.tokenize_text, tokens.tokenize_phrase):
            with pytest.raises(RequestTooLargeError, match="30,000 beginnings of words"):
                tokenize(text)


class Word(str):
    """A string that can have a weak reference."""

    __slots__ = ("__weakref__",)


@pytest.mark.parametrize(("count", "letters"), [(3_000, 0), (20, 3_000)])
def test_at_most_one_long_list_of_stopwords_is_cached(count, letters):
    def kept(number):
        words = tuple(Word(f"{number}w{i}{'x' * letters * (i != 7)}") for i in range(count))
        assert Tokens(stopwords=words).tokenize_text(f"a {number}W7 b") == ["a", "b"]
        return weakref.ref(words[0])

    references = [kept(number) for number in range(5)]
    gc.collect()
    assert [reference() is not None for reference in references] == [False] * 4 + [True]
