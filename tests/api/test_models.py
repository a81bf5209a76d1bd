"""The model of a collection's vectors: how it is stored, the distance that it needs, and that no
other model replaces it.
"""

import math
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest

import retrieval_store
from retrieval_store import EmbeddingFunction
from retrieval_store.errors import (
    ConflictError,
    EmbeddingFunctionError,
    InvalidArgumentError,
    InvalidTypeError,
)
from tests.helpers.circumstances import register_only


class Waves(EmbeddingFunction[list[str]]):
    """A function as users of Chroma write it."""

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
    register_only(monkeypatch)
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


def test_unregistered_functions_are_not_created(tmp_path, monkeypatch):
    register_only(monkeypatch)
    with retrieval_store.Client(tmp_path) as client:
        client.create_collection("things", embedding_function=Waves())
    with (
        retrieval_store.Client(tmp_path, trust=True) as client,
        pytest.raises(EmbeddingFunctionError, match="'Waves'.* which isn't registered"),
    ):
        client.get_collection("things").add(ids="a", documents="x")


@pytest.mark.parametrize("given", [Waves(), 7, int, type("NoName", (Waves,), {"name": None})])
def test_invalid_registrations_are_refused(given, monkeypatch):
    register_only(monkeypatch)
    with pytest.raises(InvalidTypeError, match="name is|expected a class"):
        retrieval_store.register_embedding_function(given)


def test_results_become_arrays_and_queries_are_embedded_as_documents_are():
    (vector,) = Waves()(["three"])
    assert isinstance(vector, np.ndarray) and vector.dtype == np.float32
    assert np.array_equal(Waves().embed_query(["three"]), [vector])
    with pytest.raises(NotImplementedError, match="Nothing has no __call__"):
        type("Nothing", (EmbeddingFunction,), {})()(["x"])


def test_the_default_distance_of_a_function_is_used(client):
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
    """A function that isn't registered, and reports its model."""

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


class Odd:
    """A function whose members don't match their names."""

    model_name = property(lambda self: 1 / 0)

    def __init__(self):
        self.settings = {"a": 1}

    def __call__(self, input):
        return [[float(len(text)), 1.0] for text in input]


def test_members_of_other_meanings_are_left_alone(client, monkeypatch):
    register_only(monkeypatch)
    made = client.create_collection("odd", embedding_function=Odd())
    made.add(ids="a", documents="x")
    mock = MagicMock(side_effect=lambda texts: [[1.0, 2.0]] * len(texts))
    client.create_collection("mock", embedding_function=mock).add(ids="a", documents="x")
    surrogate = client.create_collection("surrogate", embedding_function=Named("m\udcff"))
    assert "model" not in surrogate.configuration["embedding_function"]
    path = client.create_collection("path", embedding_function=Named(Path("/models/small/")))
    assert path.configuration["embedding_function"]["model"] == "/models/small"
    with pytest.raises(ConflictError):
        client.get_collection("path", embedding_function=Named("/models/large/"))
    client.get_collection("path", embedding_function=Named("C:\\models\\Small:latest"))


def test_only_distances_that_a_function_supports_are_used(client):
    only = type("Only", (EmbeddingFunction,), {"supported_spaces": lambda self: ["cosine"]})
    assert space_of(client.create_collection("only", embedding_function=only())) == "cosine"
    base = {"default_space": lambda self: "l2", "supported_spaces": lambda self: ["ip", "cosine"]}
    other = type("Other", (EmbeddingFunction,), base)
    assert space_of(client.create_collection("other", embedding_function=other())) == "ip"
    none = type("Nothing", (EmbeddingFunction,), {"supported_spaces": lambda self: None})
    with pytest.raises(EmbeddingFunctionError, match=r"supported_spaces\(\) .* is None"):
        client.create_collection("none", embedding_function=none())


@pytest.mark.parametrize("result", [None, [["a"]], [[1.0], [1.0, 2.0]], 7])
def test_an_invalid_vector_is_an_error_of_the_function(client, result):
    kind = type("Bad", (EmbeddingFunction,), {"__call__": lambda self, input: result})
    bad = client.create_collection("bad", embedding_function=kind())
    with pytest.raises(EmbeddingFunctionError):
        bad.add(ids=["a", "b"], documents=["x", "y"])
    more = {
        "__call__": lambda self, texts, prompt="": [[float(len(prompt + one))] for one in texts]
    }
    assert type("More", (EmbeddingFunction,), more)()(texts=["a"], prompt="bc")[0].tolist() == [3.0]


@pytest.mark.parametrize("made", [KeyError("model"), AssertionError(), OSError("no file"), None])
def test_a_class_may_fail_on_a_stored_configuration(tmp_path, monkeypatch, made):
    register_only(monkeypatch)

    class Fails(Waves):
        self_contained = True

        @staticmethod
        def build_from_config(config):
            if isinstance(made, Exception):
                raise made
            return made

    retrieval_store.register_embedding_function(Fails)
    with retrieval_store.Client(tmp_path) as client:
        client.create_collection("things", embedding_function=Fails())
        plugins_given = client.get_collection("things")
        with pytest.raises(EmbeddingFunctionError, match="can't be made"):
            plugins_given.query(query_texts="x")


def test_unregistered_functions_are_distinguished_by_their_own_names(tmp_path, monkeypatch):
    register_only(monkeypatch)
    other = type("Other", (Waves,), {"name": staticmethod(lambda: "tides")})
    with retrieval_store.Client(tmp_path) as client:
        client.create_collection("things", embedding_function=Waves())
        client.get_collection("things", embedding_function=Waves(2.0))
        with pytest.raises(ConflictError, match="'waves'.*'tides'"):
            client.get_collection("things", embedding_function=other())
        retrieval_store.register_embedding_function(Waves)
        client.get_collection("things", embedding_function=Waves())  # whoever registers it later
        client.create_collection("more", embedding_function=Waves())
        register_only(monkeypatch)
        client.get_collection("more", embedding_function=Waves())
