"""Filters by a node's document, compared with LlamaIndex's own store."""

import asyncio
from importlib.metadata import version

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from llama_index.core.vector_stores.utils import node_to_metadata_dict
from llama_index.vector_stores.retrieval_store import RetrievalStoreVectorStore

from retrieval_store.errors import InvalidFilterError

KEYS = ("doc_id", "ref_doc_id", "document_id")
DOCUMENTS = "book", "Book two", "letter", "None", "é"
ALL = 99
OF_TEXTS = (FilterOperator.TEXT_MATCH, FilterOperator.TEXT_MATCH_INSENSITIVE)
# The store of LlamaIndex 0.13 doesn't know the first of these, and mistakes the second for it.
UNLIKE = OF_TEXTS if version("llama-index-core").startswith("0.13.") else ()
ONE_TEXT = (
    *(FilterOperator.EQ, FilterOperator.NE, FilterOperator.GT, FilterOperator.GTE),
    *(FilterOperator.LT, FilterOperator.LTE, FilterOperator.CONTAINS),
    *(operator for operator in OF_TEXTS if operator not in UNLIKE),
)
SEVERAL = FilterOperator.IN, FilterOperator.NIN, FilterOperator.ANY, FilterOperator.ALL


def node(name, document, metadata=None):
    relationships = {}
    if document is not None:
        relationships = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=document)}
    return TextNode(
        id_=name,
        text=name,
        embedding=[1.0, 0.0],
        metadata=metadata or {},
        relationships=relationships,
    )


NODES = [
    *(node(f"of {document!r}", document, {"n": 1}) for document in DOCUMENTS),
    node("second of book", "book", {"n": 2}),
    node("own keys", "letter", {"doc_id": "mine", "ref_doc_id": 7, "document_id": ["book"]}),
    node("of none", None, {"n": 2}),
    node("of none either", None),
]
values = st.sampled_from([*DOCUMENTS, "", "mine", "on", "BOOK", "2024-01-01"])


def leaf_of(key, operator, value):
    return MetadataFilter(key=key, operator=operator, value=value)


leaves = st.one_of(
    st.builds(leaf_of, st.sampled_from(KEYS), st.sampled_from(ONE_TEXT), values),
    st.builds(leaf_of, st.sampled_from(KEYS), st.sampled_from(SEVERAL), st.lists(values)),
    st.builds(leaf_of, st.sampled_from(KEYS), st.just(FilterOperator.IS_EMPTY), st.none()),
    st.builds(
        leaf_of,
        st.just("n"),
        # Nor does it consider a node without the key different.
        st.sampled_from([FilterOperator.EQ] if UNLIKE else [FilterOperator.EQ, FilterOperator.NE]),
        st.sampled_from([1, 2]),
    ),
)
trees = st.recursive(
    leaves,
    lambda below: st.builds(
        lambda filters, condition: MetadataFilters(filters=filters, condition=condition),
        st.lists(below, min_size=1, max_size=3),
        st.sampled_from(list(FilterCondition)),
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def theirs():
    store = SimpleVectorStore()
    store.add(NODES)
    return store


@pytest.fixture(scope="module")
def ours():
    """The nodes, half of them as LlamaIndex's other stores write them."""
    with RetrievalStoreVectorStore() as store:
        store.add(NODES[::2])
        for other in NODES[1::2]:
            store.client.add(
                other.node_id, [other.embedding], node_to_metadata_dict(other), other.text
            )
        yield store


def query_of(filters):
    return VectorStoreQuery(query_embedding=[1.0, 0.0], similarity_top_k=ALL, filters=filters)


def expected(store, tree):
    """The results of LlamaIndex's own store for each comparison, combined by sets, since it has no
    nested groups."""
    if isinstance(tree, MetadataFilter):
        return set(store.query(query_of(MetadataFilters(filters=[tree]))).ids)
    parts = [expected(store, below) for below in tree.filters]
    if tree.condition == FilterCondition.AND:
        return set.intersection(*parts)
    if tree.condition == FilterCondition.OR:
        return set.union(*parts)
    return {one.node_id for one in NODES}.difference(*parts)


def filters_of(tree):
    return tree if isinstance(tree, MetadataFilters) else MetadataFilters(filters=[tree])


@settings(deadline=None, max_examples=200)
@given(tree=trees)
def test_filters_by_document_find_what_llama_indexes_own_store_finds(ours, theirs, tree):
    filters = filters_of(tree)
    wanted = expected(theirs, tree)
    assert set(ours.query(query_of(filters)).ids) == wanted
    assert {one.node_id for one in ours.get_nodes(filters=filters)} == wanted


@pytest.mark.parametrize("key", KEYS)
def test_nodes_are_deleted_by_their_document(key):
    item = leaf_of(key, FilterOperator.NIN, ["book", "letter"])
    for is_awaited in (False, True):
        with RetrievalStoreVectorStore() as store:
            store.add(NODES)
            call = store.adelete_nodes if is_awaited else store.delete_nodes
            done = call(filters=filters_of(item))
            asyncio.run(done) if is_awaited else None
            left = {one.node_id for one in store.get_nodes()}
            assert left == {"of 'book'", "second of book", "of 'letter'", "own keys"}


def test_modes_without_vectors_are_restricted_by_document_too(ours):
    filters = filters_of(leaf_of("doc_id", FilterOperator.EQ, "book"))
    query = VectorStoreQuery(
        query_str="of book second",
        mode=VectorStoreQueryMode.TEXT_SEARCH,
        similarity_top_k=ALL,
        filters=filters,
    )
    assert set(ours.query(query).ids) == {"of 'book'", "second of book"}


def test_a_nodes_own_metadata_with_a_reserved_name_are_kept_and_found_by_where(ours):
    (own,) = ours.get_nodes(["own keys"], where={"doc_id": "mine"})
    assert own.metadata == NODES[6].metadata


def test_records_of_other_writers_match_by_their_metadata_at_the_key():
    with RetrievalStoreVectorStore() as store:
        store.client.add(
            ["a", "b", "c"],
            [[1, 0]] * 3,
            [{"doc_id": "book"}, {"doc_id": ["x", "book"]}, {"n": 1}],
        )
        store.add([node("own", None, {"doc_id": "book"})])
        for operator, wanted in (
            (FilterOperator.EQ, ["a", "own"]),
            (FilterOperator.CONTAINS, ["a", "b", "own"]),
            (FilterOperator.NE, ["b", "c"]),
        ):
            found = store.get_nodes(filters=filters_of(leaf_of("doc_id", operator, "book")))
            assert sorted(one.node_id for one in found) == wanted


def test_a_value_that_an_operator_cannot_use_is_refused_by_the_name_of_the_key(ours):
    filters = filters_of(leaf_of("doc_id", FilterOperator.TEXT_MATCH, 5))
    with pytest.raises(InvalidFilterError, match="the filter 'doc_id' text_match has the value 5"):
        ours.get_nodes(filters=filters)


def test_a_document_is_compared_in_deep_groups():
    for levels in (1, 190):
        filters = leaf_of("doc_id", FilterOperator.EQ, "book")
        for _ in range(levels):
            filters = MetadataFilters(filters=[filters], condition=FilterCondition.AND)
        with RetrievalStoreVectorStore() as store:
            store.add(NODES)
            assert len(store.get_nodes(filters=filters)) == 2
