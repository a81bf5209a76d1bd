"""A collection of LangChain's or LlamaIndex's knows the embedding that it was filled with."""

import logging

import pytest
from langchain_core.embeddings import Embeddings
from langchain_retrieval_store import RetrievalStore
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery
from llama_index.vector_stores.retrieval_store import RetrievalStoreVectorStore

from retrieval_store.errors import ConflictError, InvalidTypeError


class Flat(Embeddings):
    """An embedding that tells no model."""

    vector = (1.0, 0.0, 0.5)

    def embed_documents(self, texts):
        return [list(self.vector) for _ in texts]

    def embed_query(self, text):
        return list(self.vector)


class Steep(Flat):
    vector = (0.0, 1.0, 0.5)


class Longer(Flat):
    vector = (1.0, 0.0, 0.5, 0.5)


class SameVectors(Flat):
    pass


class Chaotic(Flat):
    """Another vector each time, as LangChain's FakeEmbeddings."""

    count = 0

    def embed_documents(self, texts):
        self.count += 1
        return [[1.0, float((-3) ** self.count), 0.0] for _ in texts]


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


@pytest.mark.parametrize("use", [filled, found])
def test_another_embedding_that_tells_no_model_is_refused(tmp_path, use):
    filled(tmp_path, Flat())
    with pytest.raises(ConflictError, match=r"vectors of one text have the cosine .* check_model"):
        use(tmp_path, Steep())
    with pytest.raises(ConflictError, match="vectors of one text have 4 and 3 numbers"):
        use(tmp_path, Longer())
    assert found(tmp_path, Flat()) == ["1"]
    assert found(tmp_path, Steep(), check_model=False) == ["1"]


def test_a_class_of_another_name_with_the_same_vectors_is_logged_and_used(tmp_path, caplog):
    filled(tmp_path, Flat())
    caplog.set_level(logging.WARNING)
    assert found(tmp_path, SameVectors()) == ["1"]
    (said,) = [one.getMessage() for one in caplog.records]
    assert "FromLangChain(Flat)" in said
    assert "FromLangChain(SameVectors)" in said


def test_an_embedding_whose_vectors_are_never_the_same_is_taken_as_it_is(tmp_path):
    filled(tmp_path, Chaotic())
    assert found(tmp_path, Chaotic()) == ["1"]


def test_an_emptied_collection_takes_another_embedding_and_remembers_it(tmp_path):
    filled(tmp_path, Flat())
    with RetrievalStore(Flat(), path=tmp_path) as store:
        store.delete(["1"])
    filled(tmp_path, Steep())
    assert found(tmp_path, Steep()) == ["1"]
    with pytest.raises(ConflictError):
        found(tmp_path, Flat())


async def test_the_async_methods_compare_too(tmp_path):
    filled(tmp_path, Flat())
    with RetrievalStore(Steep(), path=tmp_path) as store, pytest.raises(ConflictError):
        await store.aadd_texts(["two"])
    with RetrievalStore(Steep(), path=tmp_path) as store, pytest.raises(ConflictError):
        await store.asimilarity_search("two")
    assert found(tmp_path, Flat()) == ["1"]


def nodes():
    return [TextNode(id_="1", text="one", embedding=[1.0, 0.0])]


def test_a_store_of_llama_index_knows_the_model_that_it_is_told(tmp_path):
    one, other = OfIndex(model_name="maker/one"), OfIndex(model_name="maker/other")
    with RetrievalStoreVectorStore(path=tmp_path, embed_model=one) as store:
        store.add(nodes())
        remembered = store.client.configuration["embedding_function"]
    assert (remembered["custom"], remembered["model"]) == ("FromLlamaIndex(OfIndex)", "maker/one")
    with pytest.raises(ConflictError, match="of the model 'maker/other'"):
        RetrievalStoreVectorStore(path=tmp_path, embed_model=other)
    with RetrievalStoreVectorStore(path=tmp_path, embed_model=other, check_model=False) as store:
        assert store.query(VectorStoreQuery(query_embedding=[1.0, 0.0])).ids == ["1"]


def test_a_model_of_llama_index_without_a_name_is_known_by_a_vector(tmp_path):
    with RetrievalStoreVectorStore(path=tmp_path, embed_model=OfIndex()) as store:
        store.add(nodes())
    other = OfIndex(vector=(0.0, 1.0))
    with (
        RetrievalStoreVectorStore(path=tmp_path, embed_model=other) as store,
        pytest.raises(ConflictError, match="check_model=False"),
    ):
        store.query(VectorStoreQuery(query_embedding=[1.0, 0.0]))
    with RetrievalStoreVectorStore(path=tmp_path) as store:  # nothing is said, nothing is refused
        assert store.query(VectorStoreQuery(query_embedding=[1.0, 0.0])).ids == ["1"]


def test_an_embed_model_that_is_none_is_refused():
    with pytest.raises(InvalidTypeError, match="embed_model is 'minilm'"):
        RetrievalStoreVectorStore(embed_model="minilm")
