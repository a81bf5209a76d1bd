"""The Qdrant stores of LangChain and LlamaIndex, on our client and, by network, on a server."""

from uuid import UUID

import pytest
import qdrant_client
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_qdrant import FastEmbedSparse, QdrantVectorStore, RetrievalMode
from langchain_qdrant.sparse_embeddings import SparseEmbeddings, SparseVector
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import (
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from llama_index.core.vector_stores.types import VectorStoreQueryMode
from llama_index.vector_stores.qdrant import QdrantVectorStore as LlamaQdrant
from qdrant_client.http.exceptions import UnexpectedResponse

from retrieval_store.embeddings.wordllama import WordLlamaEmbedding
from retrieval_store.qdrant import AsyncQdrantClient, QdrantClient, models
from retrieval_store.qdrant.inference import bm25_vectors
from retrieval_store_server import running

TEXTS = {
    "Cats sleep most of the day.": "animals",
    "Dogs bark at the postman.": "animals",
    "The stock market fell again.": "money",
    "Banks raise their interest rates.": "money",
    "A recipe for onion soup.": "food",
}

pytest_plugins = ["retrieval_store_server.pytest_plugin"]


class Words(Embeddings):
    def __init__(self):
        self._function = WordLlamaEmbedding()

    def embed_documents(self, texts):
        return self._function(texts).tolist()

    def embed_query(self, text):
        return self._function([text])[0].tolist()


class Bm25(SparseEmbeddings):
    def embed_documents(self, texts):
        return [_sparse(v) for v in bm25_vectors(texts, {}, is_query=False)]

    def embed_query(self, text):
        return _sparse(bm25_vectors([text], {}, is_query=True)[0])


def _sparse(vector):
    return SparseVector(indices=vector.indices, values=vector.values)


@pytest.fixture(params=["memory", "directory", "server", "gRPC"])
def qdrant(request, tmp_path):
    if request.param == "gRPC":
        with running(tmp_path / "store", durability="relaxed", grpc_port=0) as url:
            client = qdrant_client.QdrantClient(url, grpc_port=url.grpc_port, prefer_grpc=True)
            yield client
            client.close()
        return
    if request.param == "server":
        client = qdrant_client.QdrantClient(url=request.getfixturevalue("qdrant_url"))
        yield client
        client.close()
        return
    where = {"location": ":memory:"} if request.param == "memory" else {"path": tmp_path / "store"}
    with QdrantClient(**where) as client:
        yield client


@pytest.fixture(params=["directory", "server"])
async def both(request, tmp_path):
    """A client of each kind, on the same store."""
    if request.param == "server":
        url = request.getfixturevalue("qdrant_url")
        client, asynchronous = qdrant_client.QdrantClient(url), qdrant_client.AsyncQdrantClient(url)
    else:
        client, asynchronous = QdrantClient(path=tmp_path), AsyncQdrantClient(path=tmp_path)
    yield client, asynchronous
    await asynchronous.close()
    client.close()


@pytest.mark.parametrize("mode", list(RetrievalMode))
def test_langchain(qdrant, mode):
    client, words = qdrant, Words()
    dense = {"": models.VectorParams(size=len(words.embed_query("x")), distance="Cosine")}
    sparse = {"langchain-sparse": models.SparseVectorParams(modifier="idf")}
    client.create_collection("texts", dense, sparse_vectors_config=sparse)
    store = QdrantVectorStore(
        client=client,
        collection_name="texts",
        embedding=words,
        sparse_embedding=Bm25(),
        retrieval_mode=mode,
    )
    documents = [Document(text, metadata={"kind": kind}) for text, kind in TEXTS.items()]
    ids = store.add_documents(documents)
    assert [d.page_content for d in store.get_by_ids(ids[:2])] == list(TEXTS)[:2]
    found = store.similarity_search("interest rates of banks", k=2)
    assert found[0].page_content == "Banks raise their interest rates."
    only = models.Filter(
        must=[models.FieldCondition(key="metadata.kind", match=models.MatchValue(value="animals"))]
    )
    found = store.similarity_search_with_score("the market", k=5, filter=only)
    assert {d.metadata["kind"] for d, _ in found} <= {"animals"}
    if mode != RetrievalMode.SPARSE:
        diverse = store.max_marginal_relevance_search("a pet", k=3)
        assert len({d.page_content for d in diverse}) == 3
    assert store.delete(ids[:1])
    assert client.count("texts").count == len(TEXTS) - 1
    assert FastEmbedSparse is not None


@pytest.mark.parametrize("mode", list(RetrievalMode))
async def test_langchain_makes_its_collection_at_a_url(qdrant_url, mode):
    options = {"collection_name": "texts", "retrieval_mode": mode, "url": qdrant_url}
    options |= {"embedding": Words(), "sparse_embedding": Bm25()}
    metadatas = [{"kind": kind} for kind in TEXTS.values()]
    made = await QdrantVectorStore.afrom_texts(list(TEXTS), metadatas=metadatas, **options)
    store = QdrantVectorStore.from_existing_collection(**options)
    found = await store.asimilarity_search("interest rates of banks", k=1)
    assert [d.page_content for d in found] == ["Banks raise their interest rates."]
    (found,) = await made.aadd_documents([Document("Coins are of metal.", metadata={"kind": 1})])
    only = models.Filter(
        must=[models.FieldCondition(key="metadata.kind", match=models.MatchValue(value=1))]
    )
    (coins,) = store.similarity_search("coins", filter=only)
    assert (coins.page_content, coins.metadata["_id"]) == ("Coins are of metal.", str(UUID(found)))
    assert await store.adelete([found])
    assert store.similarity_search("coins", filter=only) == []
    made.client.close()
    store.client.close()


def _nodes():
    words = Words()
    return [
        TextNode(
            text=text,
            metadata={"kind": kind},
            embedding=words.embed_query(text),
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=kind)},
        )
        for text, kind in TEXTS.items()
    ]


def _function(is_query):
    def vectors(texts):
        found = bm25_vectors(texts, {}, is_query)
        return [v.indices for v in found], [v.values for v in found]

    return vectors


@pytest.mark.parametrize("hybrid", [False, True])
async def test_llama_index(both, hybrid):
    client, asynchronous = both
    options = {"enable_hybrid": True} if hybrid else {}
    if hybrid:
        options["sparse_doc_fn"] = _function(is_query=False)
        options["sparse_query_fn"] = _function(is_query=True)
    store = LlamaQdrant("texts", client=client, aclient=asynchronous, **options)
    nodes = _nodes()
    store.add(nodes)
    question = "interest rates of banks"
    query = VectorStoreQuery(
        query_embedding=Words().embed_query(question),
        query_str=question,
        similarity_top_k=2,
        sparse_top_k=3,
        mode=VectorStoreQueryMode.HYBRID if hybrid else VectorStoreQueryMode.DEFAULT,
    )
    assert store.query(query).nodes[0].get_content() == "Banks raise their interest rates."
    assert (await store.aquery(query)).ids == store.query(query).ids
    query.filters = MetadataFilters(
        filters=[MetadataFilter(key="kind", value=["food"], operator=FilterOperator.IN)]
    )
    assert [n.metadata["kind"] for n in store.query(query).nodes] == ["food"]
    assert len(store.get_nodes([nodes[0].node_id])) == 1
    await store.adelete("money")
    assert client.count("texts").count == 3


def test_the_first_steps_of_a_program_run_by_changing_one_import():
    with QdrantClient(":memory:") as client:
        client.create_collection(
            "docs",
            {"dense": models.VectorParams(size=256, distance=models.Distance.COSINE)},
            sparse_vectors_config={"words": models.SparseVectorParams(modifier="idf")},
        )
        client.upsert(
            "docs",
            [
                models.PointStruct(
                    id=i,
                    vector={
                        "dense": models.Document(text=text, model="wordllama"),
                        "words": models.Document(text=text, model="Qdrant/bm25"),
                    },
                    payload={"text": text, "kind": kind},
                )
                for i, (text, kind) in enumerate(TEXTS.items())
            ],
        )
        question = "a soup of onions"
        found = client.query_points(
            "docs",
            prefetch=[
                models.Prefetch(
                    query=models.Document(text=question, model="wordllama"), using="dense"
                ),
                models.Prefetch(
                    query=models.Document(text=question, model="Qdrant/bm25"), using="words"
                ),
            ],
            query=models.FusionQuery(fusion=models.Fusion.RRF),
            limit=2,
        )
        assert found.points[0].payload["kind"] == "food"


@pytest.mark.parametrize("text", ["", " \n", "\u00ad"])
def test_an_empty_text_that_a_model_embeds_as_zeros_is_no_point(text):
    with QdrantClient(":memory:") as client:
        client.create_collection("docs", models.VectorParams(size=256, distance="Cosine"))
        texts = [models.Document(text=one, model="wordllama") for one in ("a zebra", "")]
        with pytest.raises(UnexpectedResponse, match="has nothing in it to embed"):
            client.upsert("docs", models.Batch(ids=[1, 2], vectors=texts))
        assert client.count("docs").count == 0
