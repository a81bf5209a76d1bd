"""One collection for LlamaIndex, LangChain and the direct API: which of them reads whose
records."""

import json
import uuid

import pytest
from llama_index.core.schema import (
    Document,
    ImageNode,
    IndexNode,
    MediaResource,
    Node,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode
from llama_index.vector_stores.retrieval_store import RetrievalStoreVectorStore
from qdrant_client import models

import retrieval_store
from retrieval_store.errors import DamagedError
from retrieval_store.qdrant import QdrantClient

SOURCE = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="book")}


def found_by(store, **query):
    query.setdefault("similarity_top_k", 9)
    return store.query(VectorStoreQuery(**query)).nodes


def every_way(store, node_id):
    """The node by each method that returns it."""
    yield next(n for n in store.get_nodes() if n.node_id == node_id)
    yield store.get_nodes([node_id])[0]
    for query in (
        {"query_embedding": [1.0, 0.0]},
        {},
        {"mode": VectorStoreQueryMode.MMR, "query_embedding": [1.0, 0.0]},
    ):
        yield next(n for n in found_by(store, **query) if n.node_id == node_id)


def test_points_of_the_direct_api_are_nodes(client):
    collection = client.create_collection("both", embedding_function=None)
    collection.add(
        ["a", "b", "c"],
        [[1, 0], [0, 1], [1, 1]],
        metadatas=[{"n": 1, "deep": {"k": [1, None]}}, None, {"_ref_doc_id": "book"}],
        documents=["whales swim", None, "dogs"],
    )
    store = RetrievalStoreVectorStore(collection=collection)
    expected = TextNode(id_="a", text="whales swim", metadata={"n": 1, "deep": {"k": [1, None]}})
    for node in every_way(store, "a"):
        assert node.model_copy(update={"embedding": None}) == expected
    assert store.get_nodes(["b"]) == [TextNode(id_="b", text="", embedding=[0.0, 1.0])]
    assert store.get_nodes(["b"], include=[]) == [TextNode(id_="b", text="")]
    assert store.get_nodes(["c"])[0].ref_doc_id == "book"
    words = found_by(store, query_str="whales", mode=VectorStoreQueryMode.TEXT_SEARCH)
    assert [node.node_id for node in words] == ["a"]
    store.delete("book")
    store.delete_nodes(["a"])
    assert [node.node_id for node in store.get_nodes()] == ["b"]


@pytest.mark.parametrize(
    ("uri", "path", "url"),
    [
        ("pictures/red.png", "pictures/red.png", None),
        ("/tmp/a b.png", "/tmp/a b.png", None),
        ("C:\\red.png", "C:\\red.png", None),
        ("file:///tmp/a%20b.png", "/tmp/a b.png", None),
        ("file://localhost/tmp/a.png", "/tmp/a.png", None),
        ("FILE:/tmp/a.png", "/tmp/a.png", None),
        ("https://example.org/red.png", None, "https://example.org/red.png"),
        ("s3://bucket/red.png", None, "s3://bucket/red.png"),
        ("data:image/png;base64,aGk=", None, "data:image/png;base64,aGk="),
    ],
)
def test_a_point_with_a_uri_and_no_text_is_an_image(uri, path, url):
    with retrieval_store.Client() as client:
        collection = client.create_collection("images", embedding_function=None)
        collection.add("a", [[1, 0]], {"n": 1}, uris=uri)
        store = RetrievalStoreVectorStore(collection=collection)
        for node in every_way(store, "a"):
            assert type(node) is ImageNode
            assert (node.image_path, node.image_url, node.text) == (path, url, "")
            assert (node.node_id, node.metadata) == ("a", {"n": 1})
        collection.update("a", [[1, 0]], documents="a caption", uris=uri)
        (node,) = store.get_nodes()
        assert type(node) is ImageNode and node.text == "a caption"
        assert (node.image_path, node.image_url) == (path, url)
        collection.update("a", [[1, 0]], documents="a text", uris="https://example.org/page.html")
        assert type(store.get_nodes()[0]) is TextNode


def test_points_of_qdrant_client_are_nodes_with_vectors_and_without(tmp_path):
    one, two = str(uuid.uuid4()), 7
    client = QdrantClient(path=str(tmp_path))
    client.create_collection(
        "llama_index", models.VectorParams(size=2, distance=models.Distance.COSINE)
    )
    client.upsert(
        "llama_index",
        [
            models.PointStruct(id=one, vector=[1, 0], payload={"body": "whales", "n": 1}),
            models.PointStruct(id=two, vector={}, payload={"body": 5}),
        ],
    )
    client.close()
    with RetrievalStoreVectorStore(path=tmp_path, text_key="body") as store:
        first, second = store.get_nodes()
        assert first == TextNode(id_=one, text="whales", metadata={"n": 1}, embedding=[1.0, 0.0])
        assert second == TextNode(id_="7", text="", metadata={"body": 5})
        (found,) = found_by(store, query_embedding=[1.0, 0.5])
        assert found.get_content() == "whales"
        assert len(found_by(store)) == 2
        store.delete_nodes(["7"])
        assert store.client.count() == 1
    with RetrievalStoreVectorStore(path=tmp_path) as store:
        (node,) = store.get_nodes(include=["metadatas"])
        assert node == TextNode(id_=one, metadata={"body": "whales", "n": 1})


NODES = [
    TextNode(id_="1", text="the text", relationships=SOURCE, embedding=[1.0, 0.0]),
    ImageNode(id_="2", text="the text", image_path="x.png", embedding=[1.0, 0.0]),
    IndexNode(id_="3", text="the text", index_id="other", embedding=[1.0, 0.0]),
    Document(id_="4", text="the text", embedding=[1.0, 0.0]),
    Node(
        id_="5",
        text_resource=MediaResource(text="the text", mimetype="text/x"),
        embedding=[1.0, 0.0],
    ),
]


def written(count=5):
    """The nodes, with ids that Qdrant accepts."""
    return [
        node.model_copy(update={"id_": str(uuid.UUID(int=i)), "metadata": {"n": i}})
        for i, node in enumerate(NODES[:count])
    ]


@pytest.mark.parametrize("kind", ["chroma", "qdrant"])
def test_nodes_written_here_by_llama_indexes_other_stores_are_unchanged(tmp_path, kind):
    nodes = written(4)
    theirs = pytest.importorskip(f"llama_index.vector_stores.{kind}")
    if kind == "chroma":
        with retrieval_store.Client(tmp_path) as client:
            collection = client.create_collection("theirs", embedding_function=None)
            theirs.ChromaVectorStore(chroma_collection=collection).add(nodes)
    else:
        client = QdrantClient(path=str(tmp_path))
        theirs.QdrantVectorStore("theirs", client=client).add(nodes)
        client.close()
    with RetrievalStoreVectorStore(path=tmp_path, collection_name="theirs") as store:
        for given, node in zip(nodes, store.get_nodes(), strict=True):
            assert node == given
        found = store.query(VectorStoreQuery([1.0, 0.0], 9, doc_ids=["book"]))
        assert found.ids == [nodes[0].node_id]
        store.client.update(nodes[1].node_id, [[1, 0]], {"n": 7}, "changed")
        (changed,) = store.get_nodes([nodes[1].node_id])
        assert (type(changed), changed.get_content(), changed.metadata) == (
            ImageNode,
            "changed",
            {"n": 7},
        )
        store.delete("book")
        store.add(nodes[3:])
        assert len(store.get_nodes()) == 3
        store.client.update(nodes[1].node_id, metadatas={"_node_content": "{"})
        with pytest.raises(DamagedError, match="isn't a node of LlamaIndex"):
            store.get_nodes()


def test_a_class_that_other_stores_knew_is_a_text_node_and_ref_doc_id_alone_is_metadata():
    content = json.dumps({"id_": "a", "text": "t", "image_path": "/dev/stdin"})
    with RetrievalStoreVectorStore() as store:
        store.client.add("a", [[1, 0]], {"_node_content": content, "_node_type": "OwnNode"})
        assert store.get_nodes(include=[]) == [TextNode(id_="a", text="t")]
        store.client.add("b", [[1, 0]], {"ref_doc_id": "book", "doc_id": 5})
        assert store.get_nodes(["b"])[0].metadata == {"ref_doc_id": "book", "doc_id": 5}
        store.delete("book")
        assert len(store.get_nodes()) == 2


def test_the_text_is_stored_once_and_changed_with_the_document(client):
    store = RetrievalStoreVectorStore(client=client)
    store.add(NODES)
    for metadata, given, node in zip(
        store.client.get()["metadatas"], NODES, store.get_nodes(), strict=True
    ):
        assert "the text" not in metadata["_node"]
        assert node == given
    ids = [node.node_id for node in NODES]
    store.client.update(ids, embeddings=[[1, 0]] * 5, documents=["changed"] * 5)
    for given, node in zip(NODES, store.get_nodes(), strict=True):
        assert (type(node), node.get_content()) == (type(given), "changed")
        assert node.ref_doc_id == given.ref_doc_id
    assert store.get_nodes(["5"])[0].text_resource.mimetype == "text/x"


def test_nodes_without_text_stay_without():
    nodes = [
        Node(id_="1", image_resource=MediaResource(url="https://a.org/x"), embedding=[1.0]),
        Node(id_="2", text_resource=MediaResource(text=""), embedding=[1.0]),
        ImageNode(id_="3", image_path="x.png", embedding=[1.0]),
    ]
    with RetrievalStoreVectorStore() as store:
        store.add(nodes)
        for given, node in zip(nodes, store.get_nodes(), strict=True):
            assert node == given


@pytest.mark.parametrize("kind", ["TextNode", "Document", "Node"])
@pytest.mark.parametrize(
    ("document", "expected"),
    [("as written", "as written"), ("newer", "newer"), (None, "as written")],
)
def test_stores_of_older_versions_with_the_text_in_the_json_are_read(kind, document, expected):
    text = (
        {"text": "as written"} if kind == "TextNode" else {"text_resource": {"text": "as written"}}
    )
    content = json.dumps({"class": kind, "fields": {"id_": "a", **text}})
    with RetrievalStoreVectorStore() as store:
        store.client.upsert("a", [[1, 0]], {"_node": content, "n": 1}, document)
        for node in every_way(store, "a"):
            assert (node.class_name(), node.get_content()) == (kind, expected)
            assert node.metadata == {"n": 1}


def test_embeddings_are_returned_on_request():
    with RetrievalStoreVectorStore(distance="l2") as store:
        store.add([TextNode(id_="a", text="x", embedding=[1.0, 2.0])])
        store.client.add("b", [[3, 4]], documents="x")
        got = store.get_nodes(include=["embeddings", "documents"])
        assert [node.embedding for node in got] == [[1.0, 2.0], [3.0, 4.0]]
        for query in (
            VectorStoreQuery([1.0, 2.0]),
            VectorStoreQuery(),
            VectorStoreQuery([1.0, 2.0], mode=VectorStoreQueryMode.MMR),
            VectorStoreQuery(query_str="x", mode=VectorStoreQueryMode.TEXT_SEARCH),
        ):
            assert store.query(query, include=["embeddings"]).nodes[0].embedding == [1.0, 2.0]
            assert store.query(query).nodes[0].embedding is None
    with RetrievalStoreVectorStore() as store:
        assert store.get_nodes(include="embeddings") == []
