"""How a LlamaIndex store handles unchecked arguments, and filters that restrict nothing."""

import copy
import json
import pickle

import pytest
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict
from llama_index.vector_stores.retrieval_store import RetrievalStoreVectorStore
from qdrant_client import models

import retrieval_store
from retrieval_store.errors import (
    InvalidArgumentError,
    InvalidFilterError,
    InvalidTypeError,
    StorageError,
)
from retrieval_store.filters.expression import And, Not, Or


def nodes():
    return [
        TextNode(id_=str(i), text="whales", metadata={"n": i}, embedding=[1.0, i]) for i in range(3)
    ]


@pytest.fixture
def store():
    with RetrievalStoreVectorStore() as made:
        made.add(nodes())
        yield made


def ask(store, **query):
    return store.query(VectorStoreQuery(**{"query_embedding": [1.0, 0.0], **query})).ids


def unchecked(**fields):
    """A filter from `model_construct`."""
    return MetadataFilters(filters=[MetadataFilter.model_construct(**fields)])


def test_nodes_of_an_iterator_are_written():
    with RetrievalStoreVectorStore(batch_size=2) as store:
        assert store.add(iter(nodes())) == ["0", "1", "2"]
        assert len(store.get_nodes()) == 3
        assert store.get_nodes(iter("02"))[1].node_id == "2"
        store.delete_nodes(iter("02"))
        assert [node.node_id for node in store.get_nodes()] == ["1"]


def test_a_store_that_cant_be_reopened_refuses_to_become_a_dict(store):
    with retrieval_store.Client() as client:
        collection = client.create_collection("given", embedding_function=None)
        given = RetrievalStoreVectorStore(client=client)
        for made in (store, given, RetrievalStoreVectorStore(collection=collection)):
            copies = [lambda made=made, to=to: to(made) for to in (copy.copy, pickle.dumps)]
            for other in (made.to_dict, made.to_json, *copies):
                with pytest.raises(StorageError, match="only a store that was made with path="):
                    other()


def test_a_path_from_home_is_one_path_for_copies_too(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    with RetrievalStoreVectorStore(path="~/kept") as store:
        assert store.path == str(tmp_path / "kept")
        store.add(nodes())
        with copy.copy(store) as other:
            assert len(other.get_nodes()) == 3


@pytest.mark.parametrize("own", [{}, {"doc_id": "mine"}, {"document_id": 7, "ref_doc_id": None}])
def test_metadata_that_other_stores_write_over_are_the_nodes_own(own):
    given = TextNode(
        id_="a",
        text="t",
        metadata={**own, "n": 1},
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id="book")},
    )
    written = node_to_metadata_dict(given)
    with RetrievalStoreVectorStore() as store:
        store.client.add("a", [[1, 0]], written)
        (node,) = store.get_nodes(include=[])
        assert node == given == metadata_dict_to_node(written)
        assert list(node.metadata) == list(given.metadata)
        store.client.update("a", metadatas={"_node_content": json.dumps({"metadata": 5})})
        assert store.get_nodes()[0].metadata == {"n": 1}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"key": "n", "value": 1, "operator": "~"}, "the operator '~'.*expected any of ==, "),
        ({"key": "n", "value": 1, "operator": [1]}, "the operator .1"),
        ({"key": "n", "value": 1, "operator": None}, "the operator None"),
        ({"key": 5, "value": 1}, "key of a MetadataFilter is 5"),
        ({"value": 1}, "has no key"),
        ({"key": "n"}, "has no value"),
        ({"key": "n", "value": [[1]], "operator": "nin"}, "'n' nin has the value.*or numbers"),
        ({"key": "n", "value": object(), "operator": "any"}, "'n' any has the value"),
    ],
)
def test_unchecked_filters_are_refused(store, fields, message):
    for query in (store.get_nodes, store.delete_nodes):
        with pytest.raises(InvalidArgumentError, match=message):
            query(filters=unchecked(**fields))
    assert len(store.get_nodes()) == 3


def test_filters_of_no_list_and_of_no_filters_are_refused(store):
    for filters in (5, None, "n"):
        with pytest.raises(InvalidTypeError, match="filters of MetadataFilters is"):
            store.get_nodes(filters=MetadataFilters.model_construct(filters=filters))
    with pytest.raises(InvalidTypeError, match="filters has 5"):
        store.get_nodes(filters=MetadataFilters.model_construct(filters=[5]))
    model = MetadataFilters.model_construct(filters=unchecked(key="n").filters, condition="xor")
    with pytest.raises(InvalidFilterError, match="condition is 'xor'.*and, or, not"):
        store.get_nodes(filters=model)


def test_operators_and_conditions_may_be_plain_strings(store):
    for operator in FilterOperator:
        value = "1" if operator.value.startswith("text") else 1
        plain, whole = (
            store.get_nodes(filters=unchecked(key="n", value=value, operator=message))
            for message in (operator.value, operator)
        )
        assert plain == whole
    two = [MetadataFilter(key="n", value=i) for i in (0, 2)]
    found = store.get_nodes(filters=MetadataFilters.model_construct(filters=two, condition="or"))
    assert [node.node_id for node in found] == ["0", "2"]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"path": 5}, "path is 5"),
        ({"persist_dir": []}, "persist_dir is "),
        ({"path": "here", "collection_kwargs": 5}, "collection_kwargs is 5"),
        ({"path": "here", "collection_kwargs": []}, "collection_kwargs is "),
        ({"host": "there", "port": [1]}, "port is "),
    ],
)
def test_from_params_refuses_other_types_by_name(kwargs, message):
    with pytest.raises(InvalidTypeError, match=message):
        RetrievalStoreVectorStore.from_params("mine", **kwargs)


def test_no_nodes_are_refused_by_that_name_in_every_mode(store):
    text = "similarity_top_k is 0, expected at least 1"
    for kwargs in ({}, {"offset": 1}, {"mmr_prefetch_factor": 2}):
        query = VectorStoreQuery([1.0, 0.0], 0, mode=VectorStoreQueryMode.MMR)
        with pytest.raises(InvalidArgumentError, match=text):
            store.query(query, **kwargs)
    for mode in ("default", "sparse", "hybrid", "text_search"):
        with pytest.raises(InvalidArgumentError, match=text):
            ask(store, similarity_top_k=0, mode=mode, query_str="whales")
        with pytest.raises(InvalidTypeError, match="sparse_top_k is 'a'"):
            ask(store, sparse_top_k="a", mode=mode, query_str="whales")


@pytest.mark.parametrize("ids", [5, 0, "a", [5], [[5]], {"a": 1}])
def test_ids_that_arent_strings_are_refused_by_name(store, ids):
    for query in (store.get_nodes, store.delete_nodes):
        with pytest.raises(InvalidTypeError, match="^node_ids"):
            query(ids)
    for name in ("node_ids", "doc_ids"):
        with pytest.raises(InvalidTypeError, match=f"^{name}"):
            ask(store, **{name: ids})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda store: store.add(5), "nodes is 5"),
        (lambda store: store.add(None), "nodes is None"),
        (lambda store: store.add([5]), r"nodes\[0\] is 5"),
        (lambda store: store.add([TextNode.model_construct(id_=[5])]), "a node has the id"),
        (
            lambda store: store.add([nodes()[0].model_copy(update={"metadata": None})]),
            "node '0' has the metadata None",
        ),
        (lambda store: store.delete(["a"]), "ref_doc_id"),
        (lambda store: store.query("whales"), "query is 'whales'.*a VectorStoreQuery"),
        (lambda store: store.explain(5), "query is 5"),
        (lambda _: RetrievalStoreVectorStore(sparse_model=5), "sparse_model is 5"),
        (
            lambda _: RetrievalStoreVectorStore(sparse_doc_fn=len, sparse_query_fn=5),
            "sparse_query_fn is 5",
        ),
        (lambda _: RetrievalStoreVectorStore(sparse_model=dict), "sparse_model is "),
    ],
)
def test_other_types_are_refused_by_name(store, call, message):
    with pytest.raises(InvalidTypeError, match=message):
        call(store)
    assert len(store.get_nodes()) == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"a": object()}},
        {"text": "\ud800"},
        {"relationships": {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="\ud800")}},
        {"start_char_idx": 2**70},
    ],
)
def test_nodes_that_cannot_be_stored_are_refused(store, fields):
    node = TextNode(**{"text": "t", "embedding": [1.0, 0.0], **fields})
    with pytest.raises(InvalidArgumentError):
        store.add([node])
    assert len(store.get_nodes()) == 3


def saying(operator, value, **kwargs):
    one = MetadataFilter(key="n", operator=operator, value=value)
    return {"filters": MetadataFilters(filters=[one], **kwargs)}


@pytest.mark.parametrize(
    "restrictions",
    [
        {"where": And(())},
        {"filter": Not(Or(()))},
        {"qdrant_filters": models.Filter(should=[models.Filter()])},
        saying("all", []),
        saying("nin", []),
        saying("any", [], condition="not"),
        {**saying("all", []), "filter": And(())},
    ],
)
def test_empty_filters_delete_nothing_and_find_all(store, restrictions):
    store.delete_nodes(**restrictions)
    assert len(store.get_nodes(**restrictions)) == 3
    filters = restrictions.get("filters")
    rest = {name: value for name, value in restrictions.items() if name != "filters"}
    found = store.query(VectorStoreQuery([1.0, 0.0], 9, filters=filters), **rest)
    assert len(found.ids) == 3
    store.delete_nodes(["1"], **restrictions)
    assert [node.node_id for node in store.get_nodes()] == ["0", "2"]


@pytest.mark.parametrize(
    "restrictions",
    [saying("in", []), saying("any", []), saying("all", [], condition="not"), {"where": Or(())}],
)
def test_filters_that_match_nothing_delete_nothing_and_find_nothing(store, restrictions):
    store.delete_nodes(**restrictions)
    store.delete_nodes(["1"], **restrictions)
    assert store.get_nodes(**restrictions) == []
    assert len(store.get_nodes()) == 3


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("persist_dir", "path"),
        ("embedding_function", "embed_model"),
        ("chroma_collection", "collection"),
    ],
)
def test_arguments_of_another_store_are_reported_with_our_names(theirs, ours):
    with pytest.raises(TypeError, match=f"{theirs!r} is no argument of .*: here it is {ours}$"):
        RetrievalStoreVectorStore(**{theirs: "x"})
