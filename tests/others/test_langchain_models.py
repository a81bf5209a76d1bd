"""What a vector store reports about the model of its collection."""

import pytest
from langchain_core.embeddings import Embeddings
from langchain_retrieval_store import AsLangChain, RetrievalStore

import retrieval_store
from retrieval_store import EmbeddingFunction
from retrieval_store.errors import ConflictError
from tests.api.test_models import space_of


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


def test_vector_stores_work_with_what_nothing_is_known_of(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        client.create_collection("empty")
        client.create_collection("full").add(ids="a", embeddings=[1.0, 1.0])
    for name in ("empty", "full"):
        for embedding in (OfLangChain(None), AsLangChain(AsLangChain(lambda x: [[1.0, 1.0]]))):
            RetrievalStore(embedding, path=tmp_path, collection_name=name).close()
    RetrievalStore(OfLangChain("small"), path=tmp_path, collection_name="empty").close()
    with pytest.raises(ConflictError):
        RetrievalStore(OfLangChain("small"), path=tmp_path, collection_name="full")
    only_l2 = type("OnlyL2", (EmbeddingFunction,), {"supported_spaces": lambda self: ["l2"]})
    with RetrievalStore(AsLangChain(only_l2()), collection_name="new") as store:
        assert space_of(store.collection) == "l2"
