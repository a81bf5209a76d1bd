"""How adapters handle None, [] and both as arguments that select points: the table of the docs, row
by row.
"""

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_retrieval_store import RetrievalStore
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import (
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from llama_index.vector_stores.retrieval_store import RetrievalStoreVectorStore
from qdrant_client import models

from retrieval_store.qdrant import QdrantClient, Refused

IDS = ["a", "b", "c"]
YEARS = {"a": 1, "b": 1, "c": 2}  # the filter is for 1, the ids that are given are b and c
ALL, NONE, FILTERED, BOTH = IDS, [], ["a", "b"], ["b"]
WHERE = {"year": 1}
FILTERS = MetadataFilters(filters=[MetadataFilter(key="year", value=1)])
VECTORS = np.eye(3, dtype=np.float32)


def embed(texts):
    return VECTORS[[IDS.index(text) for text in texts]]


@pytest.fixture
def langchain():
    with RetrievalStore(embed) as store:
        store.add_documents([Document(i, metadata={"year": YEARS[i]}, id=i) for i in IDS])
        yield store


@pytest.fixture
def llama():
    with RetrievalStoreVectorStore() as store:
        vectors = VECTORS.tolist()
        pairs = zip(IDS, vectors, strict=True)
        store.add(
            [
                TextNode(text=i, id_=i, embedding=vector, metadata={"year": YEARS[i]})
                for i, vector in pairs
            ]
        )
        yield store


@pytest.mark.parametrize(
    ("ids", "where", "expected"),
    [
        (None, None, ALL),
        ([], None, NONE),
        ([], WHERE, NONE),
        (None, WHERE, FILTERED),
        (["b", "c"], WHERE, BOTH),
    ],
)
class TestReads:
    def test_get_of_langchain(self, langchain, ids, where, expected):
        assert langchain.get(ids, where)["ids"] == expected

    def test_get_nodes_of_llama_index(self, llama, ids, where, expected):
        nodes = llama.get_nodes(ids, where and FILTERS)
        assert [node.node_id for node in nodes] == expected

    def test_query_of_llama_index_isn_t_restricted_by_empty_lists(
        self, llama, ids, where, expected
    ):
        query = VectorStoreQuery(
            [1.0, 0.0, 0.0], 3, node_ids=ids, doc_ids=ids and None, filters=where and FILTERS
        )
        if ids == []:
            expected = FILTERED if where else ALL
        assert sorted(llama.query(query).ids) == expected


@pytest.mark.parametrize(
    ("ids", "where", "deleted"),
    [([], None, NONE), ([], WHERE, NONE), (None, WHERE, FILTERED), (["b", "c"], WHERE, BOTH)],
)
class TestDeletions:
    def test_delete_of_langchain(self, langchain, ids, where, deleted):
        langchain.delete(ids, **({"filter": where} if where else {}))
        assert langchain.get()["ids"] == [i for i in IDS if i not in deleted]

    def test_delete_nodes_of_llama_index(self, llama, ids, where, deleted):
        llama.delete_nodes(ids, where and FILTERS)
        left = [node.node_id for node in llama.get_nodes()]
        assert left == [i for i in IDS if i not in deleted]


def test_deletions_without_anything(langchain, llama):
    llama.delete_nodes()
    assert len(llama.get_nodes()) == 3
    langchain.delete()
    assert langchain.get()["ids"] == []


def test_empty_lists_in_the_qdrant_front():
    client = QdrantClient(":memory:")
    client.create_collection("points", models.VectorParams(size=3, distance="Dot"))
    client.upsert("points", [models.PointStruct(id=1, vector=[1, 0, 0])])
    for nothing in (None, [], models.PointIdsList(points=[])):
        with pytest.raises(Refused):
            client.delete("points", nothing)
    client.delete("points", models.Filter(must=[models.HasIdCondition(has_id=[])]))
    assert client.count("points").count == 1
    assert client.retrieve("points", []) == []
    client.close()
