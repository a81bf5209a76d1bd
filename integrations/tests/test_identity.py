"""A collection of LangChain's or LlamaIndex's stores identifies the embedding that filled it."""

import logging

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_retrieval_store import RetrievalStore
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery
from llama_index.vector_stores.retrieval_store import RetrievalStoreVectorStore

from retrieval_store.errors import (
    ConflictError,
    DimensionMismatchError,
    InvalidArgumentError,
    InvalidTypeError,
)


class Flat(Embeddings):
    """An embedding that doesn't report its model."""

    vector = (1.0, 0.0, 0.5)

    def embed_documents(self, texts):
        return [list(self.vector) for _ in texts]

    def embed_query(self, text):
        return list(self.vector)


class Longer(Flat):
    vector = (1.0, 0.0, 0.5, 0.5)


class SameVectors(Flat):
    pass


class OfIndex(BaseEmbedding):
    vector: tuple[float, ...] = (1.0, 0.0)

    def _get_text_embedding(self, text):
        return list(self.vector)

    _get_query_embedding = _get_text_embedding

    async def _aget_query_embedding(self, query):
        return list(self.vector)


def filled(path, embedding, **how):
    with RetrievalStore(embedding, path=path, **how) as store:
        store.add_texts(["one"], ids=["1"])


def found(path, embedding, **how):
    with RetrievalStore(embedding, path=path, **how) as store:
        return [one.id for one in store.similarity_search("one")]


def test_an_embedding_of_another_dimension_is_refused(tmp_path):
    filled(tmp_path, Flat())
    for use in (filled, found):
        with pytest.raises(DimensionMismatchError):
            use(tmp_path, Longer())
    assert found(tmp_path, Flat()) == ["1"]


def test_a_class_of_another_name_with_the_same_vectors_is_logged_and_used(tmp_path, caplog):
    filled(tmp_path, Flat())
    caplog.set_level(logging.WARNING)
    assert found(tmp_path, SameVectors()) == ["1"]
    (message,) = [one.getMessage() for one in caplog.records]
    assert "FromLangChain(Flat)" in message
    assert "FromLangChain(SameVectors)" in message


class Counted(Flat):
    """Records the texts that each of its methods receives."""

    def __init__(self):
        self.asked = []

    def embed_documents(self, texts):
        self.asked.append(texts)
        return super().embed_documents(texts)

    def embed_query(self, text):
        self.asked.append(text)
        return super().embed_query(text)

    async def aembed_documents(self, texts):
        self.asked.append(("async", texts))
        return super().embed_documents(texts)

    async def aembed_query(self, text):
        self.asked.append(("async", text))
        return super().embed_query(text)


async def test_no_text_is_embedded_that_nobody_wrote(tmp_path):
    embedding = Counted()
    with RetrievalStore(embedding, path=tmp_path) as store:
        store.add_texts(["one"], ids=["1"])
    with RetrievalStore(embedding, path=tmp_path) as store:
        store.similarity_search("two")
        store.add_texts(["three"])
        await store.aadd_texts(["four"])
        await store.asimilarity_search("five")
        await store.amax_marginal_relevance_search("six")
    with RetrievalStore.from_existing_collection("langchain", embedding, path=tmp_path) as store:
        store.update_document("1", Document(page_content="seven"))
    awaited = [("async", ["four"]), ("async", "five"), ("async", "six")]
    assert embedding.asked == [["one"], "two", ["three"], *awaited, ["seven"]]


def nodes():
    return [TextNode(id_="1", text="one", embedding=[1.0, 0.0])]


def test_a_store_of_llama_index_remembers_the_model_that_was_passed(tmp_path):
    one, other = OfIndex(model_name="maker/one"), OfIndex(model_name="maker/other")
    with RetrievalStoreVectorStore(path=tmp_path, embed_model=one) as store:
        store.add(nodes())
        remembered = store.client.configuration["embedding_function"]
    assert (remembered["custom"], remembered["model"]) == ("FromLlamaIndex(OfIndex)", "maker/one")
    with pytest.raises(ConflictError, match="of the model 'maker/other'"):
        RetrievalStoreVectorStore(path=tmp_path, embed_model=other)
    with RetrievalStoreVectorStore(path=tmp_path, embed_model=other, check_model=False) as store:
        assert store.query(VectorStoreQuery(query_embedding=[1.0, 0.0])).ids == ["1"]


def test_an_embed_model_that_is_none_is_refused():
    with pytest.raises(InvalidTypeError, match="embed_model is 'minilm'"):
        RetrievalStoreVectorStore(embed_model="minilm")


async def test_a_text_with_nothing_in_it_is_no_hit_of_everything(tmp_path):
    with RetrievalStore("wordllama", path=tmp_path) as store:
        for write in (store.add_texts, store.aadd_texts):
            with pytest.raises(
                InvalidArgumentError, match="the text of id '2' is '' .*nothing in it"
            ):
                done = write(["a zebra", ""], ids=["1", "2"])
                await done if write == store.aadd_texts else None
        assert store.get_by_ids(["1", "2"]) == []
        store.add_texts(["a zebra"], ids=["1"])
        with pytest.raises(InvalidArgumentError, match="the text of id '1' is '' .*nothing in it"):
            store.update_document("1", Document(""))
        assert store.get_by_ids(["1"])[0].page_content == "a zebra"
    with RetrievalStore(Flat(), path=tmp_path / "flat") as store:
        store.add_texts([""], ids=["2"])  # of which the embedding makes something
        assert [one.id for one in store.similarity_search("x")] == ["2"]
