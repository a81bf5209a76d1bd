"""The keywords of queries to the LlamaIndex store, as its retrievers pass them on."""

import asyncio
from datetime import date

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from llama_index.vector_stores.retrieval_store import RetrievalStoreVectorStore
from qdrant_client import models

from retrieval_store.errors import (
    InvalidArgumentError,
    InvalidFilterError,
    InvalidTypeError,
    RetrievalStoreError,
)
from retrieval_store.filters.expression import OneOf

TEXTS = {"a": "cats and whales", "b": "dogs bark", "c": "a whale swims", "d": "dogs swim"}
VECTORS = {"a": [1.0, 0.0], "b": [0.9, 0.1], "c": [0.2, 1.0], "d": [0.0, 1.0]}
METADATAS = {
    "a": {"n": 1, "lang": "en", "day": "2024-01-01"},
    "b": {"n": 2, "lang": "de", "day": "2024-06-01"},
    "c": {"n": 3, "lang": "en", "day": "2025-01-01"},
    "d": {"n": 4, "lang": "de"},
}
MMR, HYBRID = VectorStoreQueryMode.MMR, VectorStoreQueryMode.HYBRID
SPARSE, TEXT = VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.TEXT_SEARCH


def filled(**kwargs):
    store = RetrievalStoreVectorStore(**kwargs)
    nodes = [
        TextNode(
            id_=key,
            text=text,
            metadata=METADATAS[key],
            embedding=VECTORS[key],
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"doc {key in 'ab'}")},
        )
        for key, text in TEXTS.items()
    ]
    store.add(nodes)
    return store


@pytest.fixture(scope="module")
def store():
    with filled() as store:
        yield store


def vector_query(**query):
    return VectorStoreQuery(**{"query_embedding": [1.0, 0.0], "similarity_top_k": 9, **query})


def qdrant(key, value):
    return models.Filter(
        must=[models.FieldCondition(key=key, match=models.MatchValue(value=value))]
    )


def by_sparse_scores(dense_result, sparse_result, alpha, top_k):
    """A fusion in the form that Qdrant's store calls: the second side's hits first."""
    found = dict(zip(dense_result.ids, dense_result.nodes, strict=True))
    found = {**dict(zip(sparse_result.ids, sparse_result.nodes, strict=True)), **found}
    scores = dict(zip(sparse_result.ids, sparse_result.similarities, strict=True))
    ids = sorted(found, key=lambda one: -scores.get(one, 0.0))[:top_k]
    return VectorStoreQueryResult(
        nodes=[found[one] for one in ids],
        similarities=[scores.get(one, 0.0) for one in ids],
        ids=ids,
    )


RESTRICTIONS = [
    ({"where": {"n": {"$gte": 2}}}, "bcd"),
    ({"where": {}}, "abcd"),
    ({"where": {"day": {"$gt": date(2024, 2, 1)}}}, "bc"),
    ({"where_document": {"$contains": "whale"}}, "ac"),
    ({"filter": {"lang": "de"}}, "bd"),
    ({"filter": OneOf(("lang",), ("de",))}, "bd"),
    ({"filter": qdrant("lang", "de")}, "bd"),
    ({"qdrant_filters": qdrant("n", 3)}, "c"),
    ({"qdrant_filters": models.Filter(must_not=[models.HasIdCondition(has_id=["a"])])}, "bcd"),
    ({"where": {"lang": "en"}, "qdrant_filters": qdrant("n", 3)}, "c"),
    ({"where": {"n": {"$lt": 4}}, "where_document": {"$contains": "dogs"}}, "b"),
]


@pytest.mark.parametrize(("restriction", "expected"), RESTRICTIONS)
def test_restrictions_of_every_dialect_hold_in_queries_and_in_get_nodes(
    store, restriction, expected
):
    for query in (
        vector_query(),
        vector_query(query_embedding=None),
        vector_query(mode=MMR),
        vector_query(mode=HYBRID, query_str="dogs whale whales swims swim"),
        vector_query(mode=TEXT, query_str="dogs whale whales swims swim"),
    ):
        assert "".join(sorted(store.query(query, **restriction).ids)) == expected
    assert "".join(n.node_id for n in store.get_nodes(**restriction)) == expected


def test_restrictions_hold_on_every_kind_of_store_and_when_deleting(client):
    store = filled(client=client)
    both = {"where": {"n": {"$lt": 4}}, "qdrant_filters": qdrant("lang", "de")}
    assert store.query(vector_query(), **both).ids == ["b"]
    store.delete_nodes(**both)
    assert [n.node_id for n in store.get_nodes()] == ["a", "c", "d"]
    store.delete_nodes(["a", "d"], where_document={"$contains": "dogs"})
    assert [n.node_id for n in store.get_nodes()] == ["a", "c"]
    store.delete_nodes([], where={"n": 1})
    store.delete_nodes(where={}, filter=None, where_document={})
    for empty in (models.Filter(), models.Filter(must=[models.Filter(must=[])])):
        store.delete_nodes(qdrant_filters=empty)
        assert len(store.query(vector_query(), filter=empty).ids) == 2
    assert [n.node_id for n in store.get_nodes()] == ["a", "c"]
    store.delete_nodes(filter=OneOf(("n",), (1, 2)))
    assert [n.node_id for n in store.get_nodes()] == ["c"]


def test_all_restrictions_hold_together(store):
    filters = MetadataFilters(filters=[MetadataFilter(key="lang", value="en")])
    query = vector_query(filters=filters, doc_ids=["doc True"], node_ids=["a", "b", "c"])
    assert store.query(query).ids == ["a"]
    assert store.query(query, where={"n": {"$lt": 9}}, filter=qdrant("n", 1)).ids == ["a"]
    assert store.query(query, where={"n": 2}).ids == []
    got = store.get_nodes(["c", "a"], filters, where={"n": {"$gt": 1}})
    assert [n.node_id for n in got] == ["c"]


def test_modes_may_be_named_and_ids_come_in_lists(store):
    assert store.query(vector_query(mode="text_search", query_str="bark")).ids == ["b"]
    with pytest.raises(InvalidArgumentError, match="mode is 'best'.*use default, mmr, sparse"):
        store.query(vector_query(mode="best"))
    with pytest.raises(InvalidTypeError, match="similarity_top_k is 2.5"):
        store.query(vector_query(similarity_top_k=2.5, mode="mmr"))
    assert store.query(vector_query(node_ids=["a", "c", "a"])).ids == ["a", "c"]
    for name in ("doc_ids", "node_ids"):
        with pytest.raises(InvalidTypeError, match=f"{name} is the str 'doc'"):
            store.query(vector_query(**{name: "doc"}))


def test_retrievers_pass_keywords_on(store):
    index = VectorStoreIndex.from_vector_store(store, embed_model=MockEmbedding(embed_dim=2))

    def retrieve(mode="default", **kwargs):
        retriever = index.as_retriever(
            similarity_top_k=9, vector_store_query_mode=mode, vector_store_kwargs=kwargs
        )
        return "".join(sorted(found.node.node_id for found in retriever.retrieve("swim")))

    assert retrieve() == "abcd"
    assert retrieve(where={"lang": "de"}, exact=True) == "bd"
    assert retrieve("hybrid", fusion="rrf", where_document={"$contains": "a"}) == "abc"
    assert retrieve("mmr", mmr_threshold=0.3, mmr_prefetch_k=9) == "abcd"
    with pytest.raises(InvalidArgumentError, match="there is no argument 'top'"):
        retrieve(top=3)


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({"offset": 1}, "bcd"),
        ({"max_distance": 0.1}, "ab"),
        ({"group_by": "lang"}, "ab"),
        ({"group_by": "lang", "group_size": 2}, "abcd"),
        ({"search_params": {"hnsw_ef": 64, "exact": True}}, "abcd"),
        ({"search_params": models.SearchParams(hnsw_ef=64), "ef": 64}, "abcd"),
        ({"exact": True, "ef": 10, "include": ["embeddings", "distances"]}, "abcd"),
        ({"exact": None, "where": None, "search_params": None, "fusion": None}, "abcd"),
    ],
)
def test_the_search_method_can_be_chosen(store, kwargs, expected):
    assert "".join(store.query(vector_query(), **kwargs).ids) == expected
    explained = store.explain(vector_query(), **kwargs)
    assert explained["points"] == 4


def test_pages_of_lists_texts_hybrids_and_mmr(store):
    every = [
        vector_query(query_embedding=None),
        vector_query(mode=TEXT, query_str="dogs swim whale"),
        vector_query(mode=HYBRID, query_str="dogs swim whale"),
        vector_query(mode=MMR),
    ]
    for query in every:
        whole = store.query(query).ids
        query.similarity_top_k = 2
        assert store.query(query, offset=1, **_prefetch(query)).ids == whole[1:3]
    assert [n.node_id for n in store.get_nodes(limit=2, offset=1)] == ["b", "c"]
    assert [n.node_id for n in store.get_nodes(None, None, 1)] == ["a"]
    assert store.get_nodes(limit=0) == []


def _prefetch(query):
    return {"mmr_prefetch_k": 9} if query.mode == MMR else {}


REFUSED = [
    ({"limit": 3}, "no argument 'limit'; query takes where, where_document, filter"),
    ({"shard_identifier": "x"}, "no argument 'shard_identifier'"),
    ({"search_params": {"indexed_only": True}}, "'indexed_only'; search_params takes hnsw_ef"),
    ({"search_params": models.SearchParams(indexed_only=True)}, "'indexed_only'"),
    ({"search_params": 5}, r"search_params is 5 \(int\), expected a dict"),
    ({"search_params": {"hnsw_ef": 8}, "ef": 9}, "ef is 9.*search_params say 8"),
    ({"include": ["vectors"]}, "include has 'vectors' .*expected any of embeddings"),
    ({"include": 5}, "include is 5"),
    ({"where": "n = 1"}, "where is 'n = 1'"),
    ({"filter": qdrant("n", 1).must[0]}, "filter is .*expected a Filter"),
    ({"where": {"n": {"$like": 1}}}, "unknown operator '\\$like'"),
    ({"where_document": "whale"}, "where_document is 'whale'"),
    ({"ef": 0}, "ef is 0"),
    ({"offset": -1}, "offset is -1"),
    ({"max_distance": "near"}, "max_distance is 'near'"),
    ({"fusion": "rrf"}, "fusion goes with mode 'hybrid', not 'default'"),
    ({"mmr_threshold": 0.5}, "mmr_threshold goes with mode 'mmr', not 'default'"),
]


@pytest.mark.parametrize(("kwargs", "message"), REFUSED)
def test_unsupported_arguments_of_a_query_are_refused_by_name(store, kwargs, message):
    for ask in (store.query, store.explain):
        with pytest.raises(RetrievalStoreError, match=message):
            ask(vector_query(), **kwargs)


@pytest.mark.parametrize("field", [{"embedding_field": "title"}, {"output_fields": ["n"]}])
def test_fields_that_a_store_has_no_choice_of_are_refused(store, field):
    with pytest.raises(InvalidArgumentError, match=f"{min(field)} is .*leave it out"):
        store.query(vector_query(**field))


@pytest.mark.parametrize("threshold", [1.5, -0.1, float("nan"), "a", True, [0.5]])
def test_a_threshold_of_mmr_is_from_0_to_1_wherever_it_is_given(store, threshold):
    with pytest.raises(InvalidArgumentError, match="mmr_threshold is .*a number from 0 to 1"):
        store.query(vector_query(mode=MMR), mmr_threshold=threshold)
    with pytest.raises(InvalidArgumentError, match="mmr_threshold is .*a number from 0 to 1"):
        store.query(vector_query(mode=MMR, mmr_threshold=threshold))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"mmr_prefetch_k": 4, "mmr_prefetch_factor": 2}, "mmr_prefetch_k or .*not both"),
        ({"mmr_prefetch_k": 0}, "mmr_prefetch_k is 0, expected at least 1"),
        ({"mmr_prefetch_k": 2.5}, "mmr_prefetch_k is 2.5"),
        ({"mmr_prefetch_factor": 0}, "mmr_prefetch_factor is 0"),
        ({"mmr_prefetch_factor": float("nan")}, "mmr_prefetch_factor is nan"),
        ({"mmr_prefetch_factor": "4"}, "mmr_prefetch_factor is '4'"),
        ({"mmr_prefetch_factor": 1e308}, "mmr_prefetch_factor is 1e"),
    ],
)
def test_how_many_mmr_chooses_from_is_checked(store, kwargs, message):
    with pytest.raises(InvalidArgumentError, match=message):
        store.query(vector_query(mode=MMR), **kwargs)


@pytest.mark.parametrize("alpha", [1.5, float("nan"), "x", True])
def test_alpha_is_from_0_to_1(store, alpha):
    with pytest.raises(InvalidArgumentError, match="alpha is .*a number from 0 to 1"):
        store.query(vector_query(mode=HYBRID, query_str="dogs", alpha=alpha))


def test_other_calls_refuse_what_they_do_not_know_and_change_nothing(store):
    node = TextNode(id_="new", text="x", embedding=[1.0, 0.0])
    calls = {
        "add": lambda: store.add([node], batch=3),
        "delete": lambda: store.delete("doc True", shard_identifier="x"),
        "delete_nodes": lambda: store.delete_nodes(["a"], wher={"n": 1}),
        "get_nodes": lambda: store.get_nodes(["a"], shard_identifier="x"),
    }
    for name, call in calls.items():
        with pytest.raises(InvalidArgumentError, match=f"there is no argument .*; {name} takes "):
            call()
    for call in (
        lambda: store.delete_nodes(where={"n": {"$like": 1}}),
        lambda: store.delete_nodes(qdrant_filters="n"),
        lambda: store.get_nodes(where="n"),
        lambda: store.get_nodes(filters={"n": 1}),
        lambda: store.delete_nodes(filters=[MetadataFilter(key="n", value=1)]),
    ):
        with pytest.raises((InvalidFilterError, InvalidTypeError)):
            call()
    assert len(store.get_nodes()) == 4


def test_ways_of_fusion(store):
    query = vector_query(mode=HYBRID, query_str="swims whale", alpha=0.1, similarity_top_k=4)
    weighted = store.query(query)
    assert store.query(query, fusion="weighted") == weighted
    by_ranks = store.query(query, fusion="rrf")
    assert set(by_ranks.ids) == set(weighted.ids)
    assert by_ranks.similarities != weighted.similarities
    fused = store.query(query, fusion=by_sparse_scores)
    assert fused.ids[0] == "c"
    assert fused.similarities == sorted(fused.similarities, reverse=True)
    with pytest.raises(InvalidArgumentError, match="fusion is 'best' .*'rrf', 'weighted'"):
        store.query(query, fusion="best")
    query.alpha = None
    assert store.query(query) == store.query(query, fusion="adaptive")
    assert store.query(query).similarities != store.query(query, fusion="weighted").similarities


def test_a_fusion_function_gets_both_results_and_its_result_is_returned():
    seen = []

    def fuse(dense_result, sparse_result, alpha, top_k):
        seen.append((dense_result.ids, sparse_result.ids, alpha, top_k))
        return VectorStoreQueryResult(nodes=sparse_result.nodes[:1], similarities=[7.0], ids=["c"])

    with filled(hybrid_fusion_fn=fuse) as store:
        query = vector_query(mode=HYBRID, query_str="swims", similarity_top_k=2, alpha=0.3)
        assert store.query(query, where={"lang": "en"}).similarities == [7.0]
        query.sparse_top_k, query.hybrid_top_k = 1, 5
        store.query(query)
        store.query(vector_query(mode=HYBRID, query_embedding=None, query_str="swims", alpha=0))
        assert seen == [
            (["a", "c"], ["c"], 0.3, 2),
            (["a", "b"], ["c"], 0.3, 5),
            ([], ["c"], 0, 9),
        ]
        assert len(store.query(query, fusion="rrf").ids) > 1
        for kwargs, message in (({"offset": 1}, "offset goes"), ({"max_distance": 1}, "max_dist")):
            with pytest.raises(InvalidArgumentError, match=message):
                store.query(query, **kwargs)
        with pytest.raises(InvalidArgumentError, match="explain those"):
            store.explain(query)
        with pytest.raises(InvalidTypeError, match="fusion function returned None"):
            store.query(query, fusion=lambda *results, **rest: None)
    with pytest.raises(InvalidArgumentError, match="hybrid_fusion_fn is 5"):
        RetrievalStoreVectorStore(hybrid_fusion_fn=5)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("default", "plans"), ("mmr", "plans"), ("text_search", "points"), ("sparse", "points")],
)
def test_explain_reports_how_a_query_is_answered(store, mode, expected):
    query = vector_query(mode=VectorStoreQueryMode(mode), query_str="dogs")
    explained = store.explain(query, where={"lang": "de"})
    assert (explained["points"], explained["matching"]) == (4, 2)
    assert explained[expected]


def test_explain_of_hybrids_and_of_what_has_none(client):
    store = filled(client=client)
    hybrid = vector_query(mode=HYBRID, query_str="dogs")
    assert store.explain(hybrid)["legs"] == {"dense": [4], "text": [2]}
    assert asyncio.run(store.aexplain(hybrid))["legs"] == {"dense": [4], "text": [2]}
    with pytest.raises(InvalidArgumentError, match="nothing to explain"):
        store.explain(vector_query(query_embedding=None))
    with pytest.raises(InvalidArgumentError, match="isn't supported; use default, mmr, sparse"):
        store.explain(vector_query(mode=VectorStoreQueryMode.SVM))
    for name in ("max_distance", "group_by", "group_size"):
        with pytest.raises(InvalidArgumentError, match=f"{name} needs query_embedding"):
            store.query(vector_query(query_embedding=None), **{name: 1})


def test_new_arguments_go_to_the_async_methods_too(beside_the_loop):
    store = filled()

    async def main():
        beside_the_loop()
        found = await store.aquery(vector_query(), where={"lang": "de"}, include=["embeddings"])
        assert found.nodes[0].embedding is not None
        got = await store.aget_nodes(None, None, 2, offset=1, where={"n": {"$gt": 1}})
        assert [n.node_id for n in got] == ["c", "d"]
        await store.adelete_nodes(where_document={"$contains": "dogs"})
        await store.async_add([TextNode(id_="e", embedding=[1.0, 1.0])], batch_size=1)
        assert [n.node_id for n in await store.aget_nodes()] == ["a", "c", "e"]

    asyncio.run(main())
    store.close()


def longest(query, documents):
    """A re-ranker that records its input."""
    assert query == "swim"
    return [len(one) for one in documents]


def test_a_reranker_orders_nodes(store):
    for query in (
        vector_query(query_str="swim"),
        vector_query(mode=TEXT, query_str="swim"),
        vector_query(mode=HYBRID, query_str="swim"),
    ):
        found = store.query(query, rerank=longest)
        assert found.similarities == sorted(found.similarities, reverse=True)
        assert found.similarities == [len(TEXTS[one]) for one in found.ids]
    assert (
        store.query(vector_query(query_str="other"), rerank=longest, rerank_query="swim").ids[0]
        == "a"
    )
    assert store.query(vector_query(query_str="swim"), rerank=longest, min_score=13).ids == [
        "a",
        "c",
    ]
    assert (
        store.explain(vector_query(query_str="swim"), rerank=longest)["reranked"][0][0]["id"] == "a"
    )
    retriever = VectorStoreIndex.from_vector_store(store, MockEmbedding(2)).as_retriever(
        similarity_top_k=1, vector_store_kwargs={"rerank": longest, "rerank_from": 4}
    )
    assert [one.node_id for one in retriever.retrieve("swim")] == ["a"]
    for query, kwargs, message in (
        (vector_query(), {}, "rerank needs texts"),
        (vector_query(mode=MMR, query_str="swim"), {}, "rerank doesn't go with mode 'mmr'"),
        (vector_query(query_embedding=None), {}, "rerank needs query_embedding"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            store.query(query, rerank=longest, **kwargs)


def test_postprocessors_of_llama_index_work_on_top(store):
    from llama_index.core.postprocessor.types import BaseNodePostprocessor

    class Longest(BaseNodePostprocessor):
        def _postprocess_nodes(self, nodes, query_bundle=None):
            return sorted(nodes, key=lambda one: -len(one.node.text))

    index = VectorStoreIndex.from_vector_store(store, MockEmbedding(2))
    nodes = index.as_retriever(similarity_top_k=4).retrieve("swim")
    ordered = Longest().postprocess_nodes(nodes)
    reranked = store.query(vector_query(query_str="swim"), rerank=longest)
    assert [one.node_id for one in ordered] == reranked.ids
