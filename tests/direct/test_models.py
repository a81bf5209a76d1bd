"""Which model the vectors of a collection come from: what it is remembered by, the distance that it
is made for, and that no other takes its place."""

import math

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from langchain_retrieval_store import AsLangChain, RetrievalStore

import retrieval_store
from retrieval_store import EmbeddingFunction, WordLlamaEmbedding, plugins
from retrieval_store.errors import (
    ConflictError,
    EmbeddingFunctionError,
    InvalidArgumentError,
    InvalidTypeError,
)


class Waves(EmbeddingFunction[list[str]]):
    """As users of Chroma write theirs."""

    self_contained = True

    def __init__(self, period: float = 1.0) -> None:
        self.period = period

    def __call__(self, input):
        return [[math.sin(len(text) / self.period), math.cos(len(text))] for text in input]

    @staticmethod
    def name():
        return "waves"

    def get_config(self):
        return {"period": self.period}

    @staticmethod
    def build_from_config(config):
        return Waves(**config)

    def default_space(self):
        return "cosine"

    def supported_spaces(self):
        return ["cosine", "ip"]


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(plugins, "_registered", {})
    return retrieval_store.register_embedding_function(Waves)


def space_of(collection):
    return collection.configuration["hnsw"]["space"]


def test_a_class_in_chromas_way_is_remembered_by_its_name_and_configuration(tmp_path, registered):
    assert registered is Waves
    with retrieval_store.Client(tmp_path) as client:
        made = client.create_collection("things", embedding_function=Waves(2.0))
        made.add(ids=["a", "b"], documents=["one", "seventeen"])
        remembered = {"name": "waves", "settings": {"period": 2.0}}
        assert made.configuration["embedding_function"] == remembered
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things")
        assert things.query(query_texts="seventeen", n_results=1)["ids"] == [["b"]]
        expected = Waves(2.0)(["one", "seventeen"])
        np.testing.assert_allclose(things.get(include=["embeddings"])["embeddings"], expected)
        with pytest.raises(ConflictError, match=r"period.*2\.0.*period.*3\.0.*check_model=False"):
            client.get_collection("things", embedding_function=Waves(3.0))
        other = client.get_collection("things", embedding_function=Waves(3.0), check_model=False)
        assert len(other.query(query_texts="three")["ids"][0]) == 2


def test_what_is_not_registered_is_not_made(tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "_registered", {})
    with retrieval_store.Client(tmp_path) as client:
        client.create_collection("things", embedding_function=Waves())
    with (
        retrieval_store.Client(tmp_path, trust=True) as client,
        pytest.raises(EmbeddingFunctionError, match="'Waves', which isn't registered"),
    ):
        client.get_collection("things").add(ids="a", documents="x")


@pytest.mark.parametrize("given", [Waves(), 7, int, type("NoName", (Waves,), {"name": None})])
def test_what_can_not_be_registered_is_refused(given, monkeypatch):
    monkeypatch.setattr(plugins, "_registered", {})
    with pytest.raises(InvalidTypeError, match="name is|expected a class"):
        retrieval_store.register_embedding_function(given)


def test_results_become_arrays_and_queries_are_embedded_as_documents_are():
    (vector,) = Waves()(["three"])
    assert isinstance(vector, np.ndarray) and vector.dtype == np.float32
    assert np.array_equal(Waves().embed_query(["three"]), [vector])
    with pytest.raises(NotImplementedError, match="Nothing has no __call__"):
        type("Nothing", (EmbeddingFunction,), {})()(["x"])


def test_the_distance_that_a_function_is_made_for_is_taken(client):
    own = client.create_collection("own", embedding_function=Waves())
    given = client.create_collection("given", {"hnsw": {"space": "ip"}}, embedding_function=Waves())
    assert (space_of(own), space_of(given)) == ("cosine", "ip")
    assert space_of(client.get_or_create_collection("own", embedding_function=Waves())) == "cosine"
    for arguments in (
        {"configuration": {"hnsw": {"space": "l2"}}},
        {"metadata": {"hnsw:space": "l2"}},
    ):
        with pytest.raises(InvalidArgumentError, match="'l2', but .* supports 'cosine', 'ip'"):
            client.create_collection("refused", **arguments, embedding_function=Waves())
    odd = type("Odd", (Waves,), {"default_space": lambda self: "far", "supported_spaces": None})
    with pytest.raises(InvalidArgumentError, match=r"default_space\(\) is 'far'"):
        client.create_collection("refused", embedding_function=odd())
    assert client.count_collections() == 2


class Named:
    """A function that isn't registered, and says what model it runs."""

    def __init__(self, model):
        self.model_name = model

    def __call__(self, input):
        return [[float(len(text)), 1.0] for text in input]


def test_another_model_of_as_many_numbers_is_refused(client):
    client.create_collection("things", embedding_function=Named("who/Small-v2"))
    client.get_collection("things", embedding_function=Named("small-v2"))
    client.get_collection("things", embedding_function=lambda texts: [[1.0, 2.0]] * len(texts))
    with pytest.raises(ConflictError, match="'Named' of the model 'who/Small-v2', but .*'large'"):
        client.get_collection("things", embedding_function=Named("large"))
    with pytest.raises(ConflictError):
        client.get_or_create_collection("things", embedding_function=Named("large"))
    client.get_or_create_collection(
        "things", embedding_function=Named("large"), check_model=False
    ).add(ids="a", documents="x")


class OfLangChain(Embeddings):
    def __init__(self, model):
        self.model = model

    def embed_documents(self, texts):
        return [[float(len(text)), 1.0] for text in texts]

    def embed_query(self, text):
        return self.embed_documents([text])[0]


def test_a_vector_store_is_refused_another_model_too(tmp_path):
    with RetrievalStore(OfLangChain("small"), path=tmp_path) as store:
        store.add_texts(["a", "bb"])
    with pytest.raises(ConflictError, match=r"FromLangChain\(OfLangChain\).*'small'.*'large'"):
        RetrievalStore(OfLangChain("large"), path=tmp_path)
    with RetrievalStore(OfLangChain("large"), path=tmp_path, check_model=False) as store:
        assert store.similarity_search("x", k=1)[0].page_content == "a"
    with RetrievalStore(path=tmp_path) as store:
        assert store.collection.count() == 2


def test_a_function_inside_a_vector_store_is_known_by_itself(tmp_path):
    pytest.importorskip("wordllama")
    with RetrievalStore(AsLangChain(WordLlamaEmbedding()), path=tmp_path) as store:
        store.add_texts(["the cat sleeps", "interest rates"])
    with retrieval_store.Client(tmp_path) as client:
        texts = client.get_collection("langchain")
        assert texts.query(query_texts="kitten", n_results=1)["documents"] == [["the cat sleeps"]]
