"""What `retrieval_store.frameworks` offers to adapters, without a framework."""

import pytest

from retrieval_store import Groups, Hybrid, Rerank
from retrieval_store.errors import (
    EmbeddingFunctionError,
    InvalidArgumentError,
    InvalidFilterError,
    InvalidTypeError,
)
from retrieval_store.filters.expression import Candidate, HasId, Not, OneOf, Range, fulfils
from retrieval_store.frameworks import (
    WrappedFunction,
    diversify,
    items_of,
    parse_filters,
    query_options,
    refuse_unknown,
    sparse_vectors,
    store_path,
)
from retrieval_store.qdrant import models


def test_a_filter_that_cannot_be_is_named():
    with pytest.raises(InvalidTypeError, match="theirs is 7"):
        parse_filters({"filter": {"n": 1}, "theirs": 7})
    with pytest.raises(InvalidFilterError, match="path of OneOf"):
        parse_filters({"filter": OneOf("n", (1,))})


def test_options_become_arguments_of_a_query():
    parts = {"mode": "hybrid", "alpha": 0.2, "depth": None, "group_by": "n", "group_size": 2}
    reranked = {"rerank": "similarity", "rerank_from": 7, "ef": None}
    assert query_options({**parts, **reranked}) == {
        "mode": Hybrid(alpha=0.2),
        "group_by": Groups("n", 2),
        "rerank": Rerank("similarity", 7),
    }
    params = models.SearchParams(hnsw_ef=99, exact=True)
    assert query_options({"search_params": params, "ef": 99}) == {"ef": 99, "exact": True}
    assert query_options({"search_params": {"hnsw_ef": 9}, "offset": 1}) == {"ef": 9, "offset": 1}
    assert query_options({}) == {}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"search_params": {"hnsw_ef": 9}, "ef": 8}, InvalidArgumentError, "ef is 8 .*say 9"),
        ({"search_params": {"indexed_only": True}}, InvalidTypeError, "indexed_only"),
        ({"search_params": 7}, InvalidTypeError, "search_params is 7"),
        ({"group_size": 2}, InvalidArgumentError, "group_size goes into group_by"),
        ({"alpha": 0.5}, InvalidArgumentError, "alpha goes into mode"),
        ({"rerank": "none of that name", "rerank_from": 2}, InvalidArgumentError, "no.* of that"),
    ],
)
def test_options_that_cannot_be_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        query_options(options)


def test_a_wrapped_function_gives_lists_of_floats():
    named = WrappedFunction("wordllama")
    assert named.embed(["a", "b"])[0] == named.embed_query("a")
    assert len(named.embed_query("a")) == 256 and type(named.embed_query("a")[0]) is float

    class Function:
        def __call__(self, texts):
            return [[len(text)] for text in texts]

        def embed_query(self, texts):
            return [[-len(text)] for text in texts]

    own = WrappedFunction(Function())
    assert (own.embed(("a", "bc")), own.embed_query("bc")) == ([[1.0], [2.0]], [-2.0])
    with pytest.raises(InvalidArgumentError, match="embed_with is 'nobody'"):
        WrappedFunction("nobody", "embed_with")


def test_sparse_models_of_all_kinds_are_supported():
    vectors = [{"indices": [1], "values": [2.0]}, {"indices": [3], "values": [4.0]}]

    def columns(texts):
        return [[1], [3]], [[2.0], [4.0]]

    assert sparse_vectors(columns, ["a", "b"]) == vectors
    assert sparse_vectors(lambda texts: vectors, ["a", "b"], queries=True) == vectors
    with pytest.raises(EmbeddingFunctionError, match="2 vectors for 1 texts"):
        sparse_vectors(columns, ["a"])


def test_places_and_lists_are_named_where_they_are_wrong(tmp_path):
    assert store_path(":memory:") is None and store_path(None) is None
    assert store_path(tmp_path / "a") == tmp_path / "a"
    with pytest.raises(InvalidArgumentError, match="persist_dir is 'http://"):
        store_path("http://there", "persist_dir")
    assert items_of(iter("ab"), "ids", str) == ["a", "b"]
    for value, message in (("ab", "ids is the str 'ab'"), (["a", 1], r"ids\[1\] is 1"), (1, "1")):
        with pytest.raises(InvalidTypeError, match=message):
            items_of(value, "ids", str)
    refuse_unknown({"k": 1}, ("k", "filter"), "search")
    with pytest.raises(InvalidTypeError, match="no argument 'n'; search takes k, filter"):
        refuse_unknown({"k": 1, "n": 1}, ("k", "filter"), "search")


def test_diverse_hits_are_near_and_unlike_earlier_ones():
    vectors = [[1.0, 0.0], [1.0, 0.01], [0.7, 0.7]]
    assert diversify([1.0, 0.0], vectors, 2, 1.0) == [0, 1]
    assert diversify([1.0, 0.0], vectors, 2, 0.3) == [0, 2]
    assert diversify([1.0, 0.0], [], 2, 0.5) == []


def test_a_record_that_is_in_no_store_fulfils_a_filter_or_does_not():
    record = Candidate("a", {"n": 2}, "a text")
    assert fulfils(record, Range(("n",), gt=1)) and fulfils(record, None)
    assert not fulfils(record, Not(HasId(("a",))))
