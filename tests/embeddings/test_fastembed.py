"""Models of fastembed, replaced by a stand-in, because its models must be downloaded."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tokenizers

import retrieval_store
from retrieval_store import FastEmbedEmbeddingFunction
from retrieval_store.embeddings import max_tokens_of
from retrieval_store.errors import (
    EmbeddingFunctionError,
    InvalidArgumentError,
    InvalidTypeError,
    MissingDependencyError,
)
from tests.helpers import models
from tests.helpers.circumstances import as_a_new_process, forget_given

BGE = "BAAI/bge-small-en-v1.5"
NOMIC = "nomic-ai/nomic-embed-text-v1.5"


class TextEmbedding:
    """The used part of fastembed's class: vectors of lengths, of documents or of queries."""

    made: list = []  # noqa: RUF012 - of each test its own
    failure: Exception | None = None
    truncation: object = {"max_length": 512, "direction": "right"}

    @classmethod
    def list_supported_models(cls):
        return [{"model": BGE, "dim": 2}, {"model": NOMIC, "dim": 2}]

    def __init__(self, model_name, **given):
        if self.failure is not None:
            raise self.failure
        self.given, self.asked = {"model_name": model_name, **given}, []
        self.model = SimpleNamespace(tokenizer=SimpleNamespace(truncation=self.truncation))
        self.made.append(self)

    def passage_embed(self, texts, **kwargs):
        self.asked.append((list(texts), kwargs))
        yield from (np.array([len(text), 1.0]) for text in texts)

    def query_embed(self, query, **kwargs):
        self.asked.append((list(query), kwargs))
        yield from (np.array([len(text), 2.0]) for text in query)


@pytest.fixture
def fastembed(monkeypatch):
    """A class in place of fastembed's, in a state like a new process."""
    kind = type("TextEmbedding", (TextEmbedding,), {"made": []})
    monkeypatch.setitem(sys.modules, "fastembed", SimpleNamespace(TextEmbedding=kind))
    as_a_new_process(monkeypatch)
    return kind


def test_documents_and_queries_are_embedded_each_in_its_way(fastembed):
    embed = FastEmbedEmbeddingFunction(batch_size=8, threads=2, cache_dir="models")
    assert fastembed.made == []  # until it is used
    vectors = embed(["a", "bb"])
    assert (vectors.dtype, vectors.tolist()) == (np.float32, [[1, 1], [2, 1]])
    assert embed.embed_query(["ccc"]).tolist() == [[3, 2]]
    (model,) = fastembed.made
    assert model.given == {"model_name": BGE, "threads": 2, "cache_dir": "models"}
    assert model.asked == [(["a", "bb"], {"batch_size": 8}), (["ccc"], {"batch_size": 8})]
    assert embed([]).shape == (0, 0)


def test_models_that_were_trained_with_prefixes_get_them(fastembed):
    embed = FastEmbedEmbeddingFunction(NOMIC)
    embed(["a"])
    embed.embed_query(["b"])
    plain = FastEmbedEmbeddingFunction(NOMIC, query_prefix="", document_prefix="")
    plain(["a"])
    assert [texts for model in fastembed.made for texts, _ in model.asked] == [
        ["search_document: a"],
        ["search_query: b"],
        ["a"],
    ]


def test_a_released_model_is_loaded_again(fastembed):
    embed = FastEmbedEmbeddingFunction()
    before = embed(["a"])
    embed.close()
    embed.close()
    assert np.array_equal(embed(["a"]), before)
    assert len(fastembed.made) == 2


@pytest.mark.parametrize(
    ("truncation", "tokens"),
    [({"max_length": 512}, 512), ({}, None), (None, None), ({"max_length": int(1e30)}, None)],
)
def test_the_tokenizer_counts_tokens(fastembed, truncation, tokens):
    fastembed.truncation = truncation
    embed = FastEmbedEmbeddingFunction()
    assert (embed.max_tokens, max_tokens_of(embed)) == (tokens, tokens)
    embed(["x " * 1_000_000])
    (text,) = fastembed.made[0].asked[0][0]
    assert len(text) == (2_000_000 if tokens is None else tokens * 64)


def test_a_collection_remembers_the_model_and_loads_none_that_only_a_store_names(
    fastembed, tmp_path
):
    folder = tmp_path / "model"
    folder.mkdir()
    embed = FastEmbedEmbeddingFunction(specific_model_path=folder, threads=1, cache_dir=tmp_path)
    with retrieval_store.Client(tmp_path / "store") as client:
        things = client.create_collection("things", embedding_function=embed)
        things.add(ids=["a", "b"], documents=["one", "three"])
        assert things.configuration["embedding_function"] == {
            "name": "fastembed",
            "settings": {
                "model_name": BGE,
                "specific_model_path": str(folder),
                "query_prefix": "",
                "document_prefix": "",
            },
        }
    assert fastembed.made[0].given["specific_model_path"] == str(folder)
    forget_given()  # as in another process
    with retrieval_store.Client(tmp_path / "store") as client:
        things = client.get_collection("things")
        with pytest.raises(EmbeddingFunctionError, match="'fastembed'.*trust=True"):
            things.query(query_texts="one")
        assert len(fastembed.made) == 1
        things = client.get_collection("things", embedding_function=embed)
        assert things.query(query_texts="one", n_results=1)["ids"] == [["a"]]
    with retrieval_store.Client(tmp_path / "store", trust=True) as client:
        assert client.get_collection("things").query(query_texts="one")["ids"]
    assert len(fastembed.made) == 2


def test_an_error_about_an_unavailable_model_says_what_can_be_done(
    fastembed, tmp_path, monkeypatch
):
    fastembed.failure = ValueError("Could not load model from any source.")
    with pytest.raises(
        EmbeddingFunctionError,
        match=f"load the model '{BGE}': Could not.*specific_model_path=.*HF_HUB_OFFLINE=1",
    ):
        FastEmbedEmbeddingFunction()(["a"])
    assert max_tokens_of(FastEmbedEmbeddingFunction()) is None
    with pytest.raises(
        EmbeddingFunctionError, match=f"source. Are all of its files in '{tmp_path}"
    ):
        FastEmbedEmbeddingFunction(specific_model_path=tmp_path)(["a"])
    with pytest.raises(EmbeddingFunctionError, match="no model 'me/mine'.*list_supported_models"):
        FastEmbedEmbeddingFunction("me/mine")(["a"])
    with pytest.raises(
        EmbeddingFunctionError, match="specific_model_path '.*none' is no directory"
    ):
        FastEmbedEmbeddingFunction(specific_model_path=tmp_path / "none")(["a"])
    monkeypatch.setitem(sys.modules, "fastembed", None)
    with pytest.raises(MissingDependencyError, match=r"retrieval-store\[fastembed\]"):
        FastEmbedEmbeddingFunction()(["a"])


def test_arguments_that_fastembed_could_not_use_are_refused():
    for wrong in ({"batch_size": 0}, {"threads": 1.5}, {"model_name": ""}):
        (name,) = wrong
        with pytest.raises(InvalidArgumentError, match=f"^{name} is"):
            FastEmbedEmbeddingFunction(**wrong)
    with pytest.raises(InvalidTypeError, match="query_prefix is 3"):
        FastEmbedEmbeddingFunction(query_prefix=3)
    with pytest.raises(InvalidTypeError, match=r"input\[0\] is of type int"):
        FastEmbedEmbeddingFunction()([1])


def test_texts_that_a_model_does_not_read_to_the_end_are_warned_of(fastembed, monkeypatch, caplog):
    as_a_new_process(monkeypatch)
    own = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    own.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    own.enable_truncation(30)
    embed = FastEmbedEmbeddingFunction(NOMIC)  # with two tokens before each text
    models.fastembed_in(embed).model.tokenizer = own
    embed(["", "a " * 28])
    assert not caplog.records
    embed(["", "a " * 29])
    assert f"1 of 2 texts are longer than the 30 tokens that {NOMIC} reads" in caplog.text
