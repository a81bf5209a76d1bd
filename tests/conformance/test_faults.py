"""The conformance tests for stores and plugins detect faults."""

import numpy as np
import pytest

import retrieval_store
from retrieval_store import Hybrid
from retrieval_store.conformance import (
    DataLoaderTests,
    EmbeddingFunctionTests,
    IndexTests,
    StoreTests,
)
from retrieval_store.conformance.stores import DOCUMENTS, IDS, METADATAS, VECTORS
from retrieval_store.indexes.hnsw import HNSWIndex


class Faulty:
    """A collection in which one method is replaced."""

    def __init__(self, collection, name, method):
        self.collection, self.name, self.method = collection, name, method

    def __getattr__(self, name):
        return self.method if name == self.name else getattr(self.collection, name)


def without(function, drop):
    """The function; `drop` changes its result."""

    def changed(*args, **kwargs):
        result = function(*args, **kwargs)
        drop(result)
        return result

    return changed


def last_id(result):
    result["ids"] = result["ids"][:-1]


def nearest(result):
    result["ids"] = [ids[::-1] for ids in result["ids"]]


def not_where(function):
    """The method, ignoring filters."""
    return lambda *args, **kwargs: function(*args, **{**kwargs, "where": None})


def each_word_once(function):
    """The method, counting a repeated word of a text once."""

    def changed(*args, query_texts, **kwargs):
        texts = [query_texts] if isinstance(query_texts, str) else query_texts
        texts = [" ".join(dict.fromkeys(text.split())) for text in texts]
        return function(*args, query_texts=texts, **kwargs)

    return changed


def in_mode(mode):
    """A decorator that sets the mode of queries."""
    return lambda function: lambda *args, **kwargs: function(*args, **{**kwargs, "mode": mode})


FAULTS = {
    "a record is lost": (
        "get",
        lambda f: without(f, last_id),
        "records_are_read_as_they_were_added",
    ),
    "a page is too short": ("get", lambda f: without(f, last_id), "records_are_read_by_ids"),
    "the farthest comes first": ("query", lambda f: without(f, nearest), "filters_mean_the_same"),
    "get ignores filters": ("get", not_where, "filters_mean_the_same"),
    "query ignores filters": ("query", not_where, "filters_mean_the_same"),
    "the worst words come first": ("query", lambda f: without(f, nearest), "words_rank_by_how"),
    "a repeated word counts once": ("query", each_word_once, "a_word_that_is_repeated"),
    "words count for nothing": ("query", in_mode(Hybrid(alpha=1.0)), "a_hybrid_with_a_weight"),
    "vectors count for nothing": ("query", in_mode(Hybrid(alpha=0.0)), "a_hybrid_with_a_weight"),
    "words have one weight": ("query", in_mode(Hybrid("weighted", 0.5)), "a_hybrid_weights_words"),
    "a count is off by one": ("count", lambda f: lambda *a: f(*a) + 1, "filters_mean_the_same"),
    "nothing is deleted": (
        "delete",
        lambda f: lambda *a, **k: None,
        "deleted_records_are_not_found",
    ),
    "nothing is updated": ("update", lambda f: lambda *a, **k: None, "records_are_updated"),
    "ids are overwritten": ("add", lambda f: f.__self__.upsert, "an_existing_id_is_refused"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_store_is_detected(fault):
    method, break_it, name = FAULTS[fault]
    (test,) = [one for one in dir(StoreTests) if one.startswith(f"test_{name}")]
    with retrieval_store.Client() as client:
        configuration = {"hnsw": {"space": "cosine"}}
        filled = client.create_collection("faulty", configuration, embedding_function=None)
        filled.add(IDS, VECTORS, METADATAS, DOCUMENTS)
        run = getattr(StoreTests(), test)
        run(filled)
        filled.delete(filled.get()["ids"])
        filled.add(IDS, VECTORS, METADATAS, DOCUMENTS)
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            run(Faulty(filled, method, break_it(getattr(filled, method))))


@pytest.mark.parametrize(
    ("function", "test"),
    [
        (lambda texts: [[1.0, 2.0]] * (len(texts) - 1), "each_input_has_a_vector_of_one_length"),
        (lambda texts: [[0.0, 0.0]] * len(texts), "each_input_has_a_vector_of_one_length"),
        (lambda texts: [[len(texts), 1.0]] * len(texts), "a_vector_does_not_depend_on"),
        (lambda texts: [[1.0, 2.0]] * len(texts), "a_collection_finds_embedded_inputs"),
    ],
)
def test_a_faulty_function_is_detected(function, test):
    (name,) = [one for one in dir(EmbeddingFunctionTests) if one.startswith(f"test_{test}")]
    texts = ["a ship", "some bread", "a violin", "the moon"]
    with pytest.raises(AssertionError):
        getattr(EmbeddingFunctionTests(), name)(function, texts)


def test_a_loader_that_changes_the_order_is_detected():
    with pytest.raises(AssertionError):
        DataLoaderTests().test_each_uri_has_an_item_at_its_position(
            lambda uris: [np.array([hash(uri)]) for uri in reversed(uris)], ["a", "b"]
        )


class Unsorted(HNSWIndex):
    def search(self, queries, count):
        numbers, distances = super().search(queries, count)
        return numbers[:, ::-1], distances[:, ::-1]


class WrongDistances(HNSWIndex):
    def search(self, queries, count):
        numbers, distances = super().search(queries, count)
        return numbers, distances + 1


@pytest.mark.parametrize("kind", [Unsorted, WrongDistances])
def test_a_faulty_index_is_detected(kind):
    class Tests(IndexTests):
        index_class = kind

    rows = np.random.default_rng(3).standard_normal((1_000, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with pytest.raises(AssertionError):
        Tests().test_it_finds_the_nearest_with_their_distances(rows)
