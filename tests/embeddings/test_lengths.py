"""Texts longer than a model's limit: truncated, in bounded memory."""

import json
import logging
import pickle
import subprocess
import sys

import numpy as np
import pytest
import tokenizers

from retrieval_store import MiniLMEmbedding, OpenAIEmbeddingFunction, WordLlamaEmbedding
from retrieval_store.embeddings import max_tokens_of
from tests.helpers import models, steps
from tests.helpers.circumstances import as_a_new_process
from tests.helpers.models import TokenCounter, numbers_of_tokens, wordllama_model

LINE = "2026-11-22 12:00:01 ERROR the pressure of the boiler is too low\n"
PEAK = """
import json, resource, sys, time
import retrieval_store
line = {line!r}
with retrieval_store.Client() as client:
    texts = client.create_collection("texts")
    texts.add("short", documents="a word")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    texts.add("log", documents=line * (10_000_000 // len(line)))
    texts.query(query_texts=line * (5_000_000 // len(line)))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps(after - before))
"""


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    as_a_new_process(monkeypatch)


@pytest.fixture(scope="module")
def embed():
    return WordLlamaEmbedding()


def test_of_a_long_text_the_first_256_tokens_count(embed):
    tokenizer = wordllama_model().tokenizer
    text = LINE * 100
    ids = tokenizer.encode(text, add_special_tokens=False).ids[:256]
    mean = wordllama_model().embedding[ids].astype(np.float32).mean(axis=0)
    (vector,) = embed([text])
    assert np.allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)
    assert np.array_equal(embed([text + "something else altogether"])[0], vector)


def test_that_a_text_is_longer_is_logged_once(embed, caplog):
    with caplog.at_level(logging.WARNING, "retrieval_store"):
        embed([LINE])
        assert not caplog.records
        for _ in range(3):
            embed([LINE * 100, LINE * 100_000])
    (record,) = caplog.records
    assert "longer than the 256 tokens that wordllama reads" in record.getMessage()
    assert "boiler" not in record.getMessage()


def words_as_tokens(texts):
    return [len(text.split()) for text in texts]


def test_only_texts_that_may_be_too_long_are_tokenized():
    queries = []

    def count(texts):
        queries.append(texts)
        return words_as_tokens(texts)

    texts = ["a b", "abc de fgh", "a" * 10, "b " * 100, "é é é", "c" * 100 + " d"]
    found = numbers_of_tokens(texts, 5, count)
    assert found.tolist() == [0, 3, 1, 20, 3, 2]  # of the fourth the beginning
    # A word may be longer than what is looked at first: then all of it is.
    assert queries == [
        ["abc de fgh", "a" * 10, "b " * 20, "é é é", "c" * 40],
        ["c" * 100 + " d"],
    ]
    assert numbers_of_tokens(["a"], 5, count).tolist() == [0]
    assert numbers_of_tokens(texts, 5, None).tolist() == [0] * 6
    assert numbers_of_tokens(texts, 5, lambda texts: 1 / 0).tolist() == [0] * 6


def test_texts_without_a_token_counter_are_measured_by_their_characters(caplog):
    uncounted = np.zeros(2, np.int64)
    models.warn_of_truncation("some", 2, ["a" * 128, "b" * 128], uncounted)
    assert not caplog.records
    models.warn_of_truncation("some", 2, ["a" * 128, "b" * 129], uncounted)
    assert "1 of 2 texts are longer than the 2 tokens that some reads" in caplog.text


@pytest.mark.models
@pytest.mark.parametrize("function", [WordLlamaEmbedding, MiniLMEmbedding])
def test_functions_count_the_tokens_that_they_read(function, caplog):
    embed = function()
    (marks,) = embed.count_tokens([""])
    longest = " ".join(["cat"] * (embed.max_tokens - marks))
    assert embed.count_tokens([longest, f"{longest} cat"]) == [
        embed.max_tokens,
        embed.max_tokens + 1,
    ]
    embed([longest])
    assert not caplog.records
    embed([f"{longest} cat cat"])
    assert "1 of 1 texts are longer than the 256 tokens" in caplog.text


def test_a_tokenizer_that_counts_is_a_copy_which_cuts_nothing():
    own = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    own.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    own.enable_truncation(2)
    own.enable_padding(length=8)
    counter = TokenCounter()
    count = counter.of(own)
    assert list(count(["a b c d", "a", ""])) == [4, 1, 0]
    assert (own.truncation["max_length"], own.padding["length"]) == (2, 8)
    assert counter.of(own) is count
    for other in (None, "a tokenizer", object()):
        assert counter.of(other) is None


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units there")
def test_a_document_of_10_megabytes_and_a_query_of_5_take_little_memory():
    done = subprocess.run(
        [sys.executable, "-c", PEAK.format(line=LINE)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) < 200_000  # kilobytes; it were 5.8 million


def test_a_plausible_token_limit_of_a_function_is_used(embed):
    class Says:
        def __init__(self, value):
            self.value = value

        @property
        def max_tokens(self):
            if isinstance(self.value, Exception):
                raise self.value
            return self.value

    assert max_tokens_of(embed) == WordLlamaEmbedding(64).max_tokens == 256
    assert max_tokens_of(Says(np.int64(77))) == 77
    for value in (None, 0, -1, True, 12.0, "512", int(1e30), ImportError("no package"), len):
        assert max_tokens_of(Says(value)) is None
    for other in (None, len, lambda input: input, WordLlamaEmbedding):
        assert max_tokens_of(other) is None


def test_requests_to_servers_have_no_more_bytes_than_these_take_tokens(monkeypatch):
    queries = []

    def answer(function, body):
        queries.append(json.loads(body)["input"])
        return {"data": [{"index": i, "embedding": [1.0]} for i in range(len(queries[-1]))]}

    steps.replace(monkeypatch, "ask_openai", answer)
    texts = ["a" * 300_000, "b" * 150_000, "c", "d" * 900_000, "e"]
    assert len(OpenAIEmbeddingFunction(batch_size=2)(texts)) == 5
    assert [["".join(sorted({*text})) for text in one] for one in queries] == [
        ["a"],
        ["b", "c"],
        ["d"],
        ["e"],
    ]
    assert len(OpenAIEmbeddingFunction(batch_size=2)(["x"] * 5)) == 5
    assert [len(one) for one in queries[4:]] == [2, 2, 1]
    OpenAIEmbeddingFunction(batch_size=128)(["海" * 3_000] * 128)
    assert [len(one) for one in queries[7:]] == [33, 33, 33, 29]


def test_a_model_is_read_once_however_many_collections_use_it():
    embed = WordLlamaEmbedding(128)
    assert wordllama_model() is wordllama_model()
    copied = pickle.loads(pickle.dumps(embed))
    assert np.array_equal(copied(["a text"]), embed(["a text"]))
    assert len(pickle.dumps(embed)) < 1_000
