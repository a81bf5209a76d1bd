"""Models of sparse vectors in the LlamaIndex store, which replace BM25."""

import pytest
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import (
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from llama_index.vector_stores.retrieval_store import RetrievalStoreVectorStore

import retrieval_store
from integrations.llama_index.tests.test_llama_index_queries import by_sparse_scores
from retrieval_store.embeddings.bm25 import BM25Embedding
from retrieval_store.errors import (
    ConflictError,
    EmbeddingFunctionError,
    InvalidArgumentError,
)

SPARSE, HYBRID = VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.HYBRID
TEXTS = {"a": "the river", "b": "the sea, the sea", "c": "mountains"}
WATERS = {"river": 1.0, "sea": 2.0, "water": 3.0}


def encoded(texts):
    """A sparse encoder in the form that Qdrant's store calls; all of these words mean water, more
    or less."""
    found = [{7: sum(w for word, w in WATERS.items() if word in text), 9: 0.1} for text in texts]
    return [list(one) for one in found], [list(one.values()) for one in found]


def filled(store):
    store.add(
        [
            TextNode(id_=key, text=text, metadata={"key": key}, embedding=[1.0, i])
            for i, (key, text) in enumerate(TEXTS.items())
        ]
    )
    return store


def ask(store, mode, text, **more):
    kwargs = more.pop("kwargs", {})
    query = {"query_embedding": [1.0, 0.0], "similarity_top_k": 3, **more}
    return store.query(VectorStoreQuery(query_str=text, mode=mode, **query), **kwargs)


def test_functions_take_the_place_of_words(client):
    store = filled(
        RetrievalStoreVectorStore(client=client, sparse_doc_fn=encoded, sparse_query_fn=encoded)
    )
    result = ask(store, SPARSE, "water", query_embedding=None)
    assert result.ids == ["b", "a", "c"]
    assert result.similarities == pytest.approx([6.01, 3.01, 0.01], rel=1e-3)
    assert ask(store, SPARSE, "water", sparse_top_k=1).ids == ["b"]
    assert ask(store, SPARSE, "water", kwargs={"where": {"key": "a"}}).ids == ["a"]
    assert ask(store, VectorStoreQueryMode.TEXT_SEARCH, "water").ids == []
    assert ask(store, VectorStoreQueryMode.TEXT_SEARCH, "river").ids == ["a"]
    assert ask(store, HYBRID, "water", alpha=0.0).ids == ["b", "a", "c"]
    assert ask(store, HYBRID, "water", alpha=0.0, query_embedding=None).ids == ["b", "a", "c"]
    assert ask(store, HYBRID, "water", alpha=1.0).ids == ["a", "b", "c"]
    assert ask(store, HYBRID, "water", alpha=0.1).ids[0] == "b"
    fused = ask(store, HYBRID, "water", alpha=0.1, kwargs={"fusion": by_sparse_scores})
    assert fused.ids[0] == "b"


def test_our_sparse_model_finds_what_words_find_and_requires_idf(client):
    store = filled(RetrievalStoreVectorStore(client=client, sparse_model=BM25Embedding()))
    assert store.client.configuration["sparse"] == {"idf": True}
    assert ask(store, SPARSE, "seas").ids == ["b"]
    assert ask(store, HYBRID, "mountain", hybrid_top_k=1, alpha=0.2).ids == ["c"]
    changed = TextNode(id_="b", text="hills", embedding=[1.0, 1.0])
    store.add([changed], batch_size=1)
    assert ask(store, SPARSE, "seas").ids == []
    assert ask(store, SPARSE, "hill").ids == ["b"]


def test_an_index_writes_and_queries_sparse_vectors_of_embedded_texts(tmp_path):
    seen = []

    def noted(texts):
        seen.extend(texts)
        return encoded(texts)

    with RetrievalStoreVectorStore(
        path=tmp_path, sparse_doc_fn=noted, sparse_query_fn=encoded, enable_hybrid=True
    ) as store:
        VectorStoreIndex(
            [TextNode(id_=k, text=t, metadata={"key": k}) for k, t in TEXTS.items()],
            storage_context=StorageContext.from_defaults(vector_store=store),
            embed_model=MockEmbedding(embed_dim=2),
        )
        assert "key: a\n\nthe river" in seen
        assert store.client.configuration["sparse"] == {"idf": False}
    with RetrievalStoreVectorStore(path=tmp_path, sparse_model=encoded) as store:
        index = VectorStoreIndex.from_vector_store(store, embed_model=MockEmbedding(embed_dim=2))
        filters = MetadataFilters(filters=[MetadataFilter(key="key", value="c", operator="!=")])
        for mode in ("sparse", "hybrid"):
            found = index.as_retriever(
                vector_store_query_mode=mode, similarity_top_k=1, alpha=0.3, filters=filters
            ).retrieve("water")
            assert [one.node.node_id for one in found] == ["b"]


def test_without_a_model_words_replace_it_even_with_sparse_vectors():
    with retrieval_store.Client() as client:
        filled(RetrievalStoreVectorStore(client=client, sparse_model=encoded))
        plain = RetrievalStoreVectorStore(client=client)
        assert ask(plain, SPARSE, "water").ids == []
        assert ask(plain, SPARSE, "river").ids == ["a"]


def test_explain_of_sparse_queries():
    with RetrievalStoreVectorStore(sparse_model=encoded) as store:
        filled(store)
        query = VectorStoreQuery([1.0, 0.0], 2, query_str="water", mode=HYBRID)
        assert store.explain(query)["points"] == 3
        query.mode = SPARSE
        assert store.explain(query)["points"] == 3


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"sparse_doc_fn": encoded}, "sparse_query_fn is missing"),
        ({"sparse_query_fn": encoded}, "sparse_doc_fn is missing"),
        ({"sparse_model": encoded, "enable_hybrid": False}, "sparse_model goes with enable_hybrid"),
    ],
)
def test_models_that_cannot_be_are_refused(kwargs, message):
    with pytest.raises(InvalidArgumentError, match=message):
        RetrievalStoreVectorStore(**kwargs)


def test_a_collection_without_a_sparse_space_is_reported(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        collection = client.create_collection("llama_index", embedding_function=None)
        for kwargs in ({"collection": collection}, {"client": client}):
            with pytest.raises(ConflictError, match="'llama_index' was made without room"):
                RetrievalStoreVectorStore(**kwargs, sparse_model=encoded)
    with pytest.raises(ConflictError, match="'llama_index' was made without room"):
        RetrievalStoreVectorStore(path=tmp_path, sparse_model=encoded)


def test_a_model_that_gives_too_few_vectors_writes_nothing():
    with RetrievalStoreVectorStore(sparse_model=lambda texts: ([[1]], [[1.0]])) as store:
        with pytest.raises(EmbeddingFunctionError, match="1 vectors for 3 texts"):
            filled(store)
        assert store.get_nodes() == []
