"""The LlamaIndex adapter: everything that the base class declares, and mistakes that its users met
in other stores."""

import asyncio
import copy
import json
import os
import pickle
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding, SimilarityMode, similarity
from llama_index.core.embeddings.multi_modal_base import MultiModalEmbedding
from llama_index.core.indices import MultiModalVectorStoreIndex
from llama_index.core.schema import (
    Document,
    ImageDocument,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from llama_index.vector_stores.retrieval_store import RetrievalStoreVectorStore
from PIL import Image

import retrieval_store
from retrieval_store.errors import (
    DamagedError,
    InvalidArgumentError,
    InvalidFilterError,
    InvalidTypeError,
)
from tests.helpers import steps


@pytest.fixture(params=["memory", "disk", "client", "collection", "served", "cluster"])
def make(request, tmp_path):
    stores, client = [], retrieval_store.Client(tmp_path / "given")
    is_elsewhere = request.param in ("served", "cluster")
    elsewhere = request.getfixturevalue(request.param) if is_elsewhere else None

    def made(**kwargs):
        if request.param == "disk":
            kwargs["path"] = tmp_path / "store"
        elif request.param == "client" or is_elsewhere:
            kwargs["client"] = elsewhere or client
        elif request.param == "collection":
            settings = {"hnsw": {"space": kwargs.get("distance", "cosine")}}
            kwargs["collection"] = client.get_or_create_collection(
                kwargs.pop("collection_name", "given"), settings, embedding_function=None
            )
        stores.append(RetrievalStoreVectorStore(**kwargs))
        return stores[-1]

    yield made
    for store in stores:
        store.close()
    client.close()


METADATAS = {
    "a": {
        "n": 1,
        "lang": "en",
        "tags": ["x", "y"],
        "title": "The Whale",
        "rate": 0.5,
        "day": "2024-01-05",
    },
    "b": {
        "n": 2,
        "lang": "de",
        "tags": ["y"],
        "title": "the whaler",
        "empty": [],
        "day": "2024-02-05",
    },
    "c": {
        "n": 3,
        "lang": "en",
        "tags": [],
        "empty": "",
        "deep": {"k": [1, None]},
        "nothing": None,
        "day": "2024-02-01",
    },
    "d": {"n": 4, "tags": ["z", "x"]},
}
TEXTS = {"a": "cats and whales", "b": "dogs bark", "c": "a whale swims", "d": "nothing here"}
VECTORS = {"a": [1, 0, 0], "b": [0.9, 0.1, 0], "c": [0, 1, 0.2], "d": [0, 0, 1]}


def node(point_id, ref="doc1"):
    relationships = {} if ref is None else {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=ref)}
    return TextNode(
        id_=point_id,
        text=TEXTS[point_id],
        metadata=METADATAS[point_id],
        embedding=[float(x) for x in VECTORS[point_id]],
        relationships=relationships,
    )


def fill(store):
    nodes = [node("a"), node("b"), node("c", "doc2"), node("d", None)]
    assert store.add(nodes) == ["a", "b", "c", "d"]
    return store


@pytest.fixture
def filled():
    with RetrievalStoreVectorStore() as store:
        yield fill(store)


def ask(store, **query):
    query.setdefault("query_embedding", [1.0, 0, 0])
    query.setdefault("similarity_top_k", 10)
    return store.query(VectorStoreQuery(**query))


def single(key, operator, value):
    return MetadataFilters(filters=[MetadataFilter(key=key, operator=operator, value=value)])


OPERATORS = [
    ("n", FilterOperator.EQ, 2, "b"),
    ("n", FilterOperator.NE, 2, "acd"),
    ("lang", FilterOperator.NE, "en", "bd"),
    ("n", FilterOperator.GT, 2, "cd"),
    ("n", FilterOperator.GTE, 2, "bcd"),
    ("n", FilterOperator.LT, 2, "a"),
    ("rate", FilterOperator.LTE, 0.5, "a"),
    ("day", FilterOperator.GT, "2024-02-01", "b"),
    ("day", FilterOperator.GTE, "2024-02-01T00:00:00Z", "bc"),
    ("day", FilterOperator.LT, "2024-02-01T01:00:00+01:00", "a"),
    ("day", FilterOperator.LTE, "2024-02-01", "ac"),
    ("title", FilterOperator.GTE, "the", "b"),
    ("lang", FilterOperator.LT, "en", "b"),
    ("n", FilterOperator.GT, "1", ""),
    ("n", FilterOperator.IN, [1, 3, 9], "ac"),
    ("lang", FilterOperator.IN, ["de"], "b"),
    ("lang", FilterOperator.NIN, ["de"], "acd"),
    ("tags", FilterOperator.ANY, ["y", "z"], "abd"),
    ("tags", FilterOperator.ALL, ["x", "z"], "d"),
    ("tags", FilterOperator.CONTAINS, "y", "ab"),
    ("title", FilterOperator.TEXT_MATCH, "Whale", "a"),
    ("title", FilterOperator.TEXT_MATCH_INSENSITIVE, "WHALE", "ab"),
    ("empty", FilterOperator.IS_EMPTY, None, "abcd"),
    ("tags", FilterOperator.IS_EMPTY, None, "c"),
    ("nothing", FilterOperator.IS_EMPTY, None, "abcd"),
    ("deep", FilterOperator.IS_EMPTY, None, "abd"),
]


def test_every_operator_in_queries_and_in_get_nodes_of_every_kind_of_store(make):
    assert {row[1] for row in OPERATORS} == set(FilterOperator)
    store = fill(make())
    for key, operator, value, expected in OPERATORS:
        filters = single(key, operator, value)
        assert "".join(sorted(ask(store, filters=filters).ids)) == expected, (key, operator)
        assert "".join(n.node_id for n in store.get_nodes(filters=filters)) == expected
        listed = ask(store, query_embedding=None, filters=filters)
        assert "".join(listed.ids) == expected


def test_conditions_nest(filled):
    first, second = single("n", FilterOperator.EQ, 1), single("n", FilterOperator.EQ, 2)
    either = MetadataFilters(filters=[first, second], condition=FilterCondition.OR)
    neither = MetadataFilters(filters=[first, second], condition=FilterCondition.NOT)
    both = MetadataFilters(filters=[either, single("lang", FilterOperator.EQ, "de")])
    for filters, expected in ((either, "ab"), (neither, "cd"), (both, "b")):
        assert "".join(sorted(ask(filled, filters=filters).ids)) == expected
    assert len(ask(filled, filters=MetadataFilters(filters=[])).ids) == 4


def test_nodes_are_returned_whole_with_similarities(filled):
    result = ask(filled, similarity_top_k=2)
    assert result.ids == ["a", "b"]
    cosine = 0.9 / np.linalg.norm([0.9, 0.1])
    assert result.similarities == pytest.approx([1.0, cosine], rel=1e-5)
    assert result.nodes[0].metadata == METADATAS["a"]
    assert result.nodes[0].ref_doc_id == "doc1"
    assert result.nodes[0].get_content() == TEXTS["a"]


def test_doc_ids_and_node_ids_restrict_and_empty_lists_do_not(filled):
    assert sorted(ask(filled, doc_ids=["doc1"]).ids) == ["a", "b"]
    assert ask(filled, node_ids=["d", "c"]).ids == ["c", "d"]
    assert ask(filled, node_ids=["a", "c"], doc_ids=["doc2"]).ids == ["c"]
    assert len(ask(filled, node_ids=[], doc_ids=[]).ids) == 4


def test_adding_again_replaces_and_all_or_none_are_added(filled):
    changed = node("a")
    changed.text, changed.metadata = "changed", {"only": 1}
    filled.add([changed])
    (found,) = filled.get_nodes(["a"])
    assert (found.get_content(), found.metadata) == ("changed", {"only": 1})
    good, bad = node("b"), TextNode(id_="bad", text="x")
    with pytest.raises(InvalidArgumentError, match="'bad' has no embedding"):
        filled.add([good, bad])
    worse = TextNode(id_="worse", text="x", metadata={"m": object()}, embedding=[1, 2, 3])
    with pytest.raises(Exception, match=r"metadata|serializ"):
        filled.add([TextNode(id_="new", text="x", embedding=[1, 2, 3]), worse])
    assert len(filled.get_nodes()) == 4
    assert filled.add([]) == []


def test_deleting_by_document_by_ids_by_filters_and_everything(make):
    filled = fill(make())
    filled.delete("doc1")
    assert [n.node_id for n in filled.get_nodes()] == ["c", "d"]
    filled.delete("no such document")
    filled.delete_nodes()
    filled.delete_nodes(node_ids=[])
    assert len(filled.get_nodes()) == 2
    filled.delete_nodes(node_ids=["c", "zz"], filters=single("n", FilterOperator.EQ, 9))
    assert len(filled.get_nodes()) == 2
    filled.delete_nodes(filters=single("n", FilterOperator.EQ, 3))
    assert [n.node_id for n in filled.get_nodes()] == ["d"]
    filled.delete_nodes(node_ids=["d", "zz", "d"])
    assert filled.get_nodes() == []
    filled.add([node("a")])
    filled.clear()
    filled.clear()
    for mode in ("default", "mmr", "text_search", "hybrid"):
        result = ask(filled, mode=VectorStoreQueryMode(mode), query_str="whale")
        assert (result.ids, list(result.nodes)) == ([], [])


def test_everything_is_deleted_by_one_call_that_reads_no_ids(filled, monkeypatch):
    steps.fail(monkeypatch, "get_records")
    deletes = steps.noted(monkeypatch, "delete_records")
    filled.clear()
    assert len(deletes) == 1 and filled.client.count() == 0


def test_get_nodes_has_no_cap(make):
    store = make()
    nodes = [TextNode(id_=str(i), text=str(i), embedding=[float(i), 1.0]) for i in range(1_500)]
    store.add(nodes)
    assert len(store.get_nodes()) == 1_500
    assert len(store.get_nodes(filters=MetadataFilters(filters=[]))) == 1_500


def test_text_modes_rank_by_words(make):
    filled = fill(make())
    for mode in (VectorStoreQueryMode.TEXT_SEARCH, VectorStoreQueryMode.SPARSE):
        result = ask(filled, mode=mode, query_str="whale swims whales", query_embedding=None)
        assert result.ids == ["c", "a"]
        assert result.similarities == sorted(result.similarities, reverse=True)
        few = ask(filled, mode=mode, query_str="whale whales", sparse_top_k=1)
        assert len(few.ids) == 1
        en = single("n", FilterOperator.EQ, 1)
        assert ask(filled, mode=mode, query_str="whale whales", filters=en).ids == ["a"]


def test_hybrid_of_vectors_alone_gives_the_same_similarities(make):
    store = make(distance="l2")
    store.add([node("a"), node("b"), node("c")])
    alone = ask(store, query_embedding=[3.0, 0, 0])
    mode = {"mode": VectorStoreQueryMode.HYBRID, "alpha": 1.0, "query_embedding": [3.0, 0, 0]}
    hybrid = ask(store, **mode, query_str="swims")
    assert (hybrid.ids, hybrid.similarities) == (alone.ids, alone.similarities)
    assert ask(store, **mode).ids == alone.ids  # no words are wanted
    with pytest.raises(InvalidArgumentError, match="similarity_top_k is 0"):
        half = {**mode, "alpha": 0.5, "similarity_top_k": 0, "hybrid_top_k": 5, "sparse_top_k": 5}
        ask(store, **half, query_str="swims")


def test_hybrid_shifts_from_words_to_vectors_with_alpha(filled):
    def hybrid(**more):
        return ask(filled, mode=VectorStoreQueryMode.HYBRID, query_str="swims", **more)

    assert hybrid(alpha=1.0).ids == ask(filled).ids
    assert hybrid(alpha=0.0).ids == ["c"]
    assert hybrid(alpha=0.0, query_embedding=None).ids == ["c"]
    assert set(hybrid().ids) == {"a", "b", "c", "d"}
    assert hybrid(alpha=0.1).ids[0] == "c"
    assert len(hybrid(hybrid_top_k=2, similarity_top_k=3).ids) == 2
    assert set(hybrid(similarity_top_k=1, hybrid_top_k=9, sparse_top_k=1).ids) == {"a", "c"}
    with pytest.raises(InvalidArgumentError, match="needs query_embedding"):
        hybrid(query_embedding=None)
    with pytest.raises(InvalidArgumentError, match="needs query_str"):
        ask(filled, mode=VectorStoreQueryMode.HYBRID)


def test_mmr_takes_its_threshold_from_the_query_or_the_call(make):
    filled = fill(make())
    filled.add([TextNode(id_="a2", text="twin", embedding=[1.0, 0.01, 0.0])])
    query = VectorStoreQuery([1.0, 0, 0], similarity_top_k=2, mode=VectorStoreQueryMode.MMR)
    assert filled.query(query, mmr_threshold=1.0).ids == ["a", "a2"]
    assert filled.query(query, mmr_threshold=0.1).ids[0] == "a"
    assert filled.query(query, mmr_threshold=0.1).ids[1] not in ("a2", "b")
    query.mmr_threshold = 1.0
    assert filled.query(query).ids == ["a", "a2"]
    assert filled.query(query, mmr_prefetch_factor=1).ids == ["a", "a2"]


def test_other_modes_are_refused_rather_than_silently_dense(filled):
    for mode in ("semantic_hybrid", "svm", "logistic_regression", "linear_regression"):
        with pytest.raises(InvalidArgumentError, match=f"'{mode}' isn't supported"):
            ask(filled, mode=VectorStoreQueryMode(mode))


def test_nodes_of_every_class_survive(make):
    store = make()
    related = {
        NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc", metadata={"m": [1]}),
        NodeRelationship.CHILD: [RelatedNodeInfo(node_id="x"), RelatedNodeInfo(node_id="y")],
    }
    common = {
        "metadata": {"k": {"deep": [None, 1]}},
        "relationships": related,
        "embedding": [1.0, 2.0],
    }
    nodes = [
        TextNode(id_="1", text="t", start_char_idx=3, excluded_llm_metadata_keys=["k"], **common),
        ImageNode(id_="2", text="caption", image="aGk=", **common),
        IndexNode(id_="3", text="i", index_id="other", **common),
        Document(id_="4", text="document", **common),
        ImageDocument(id_="5", image=b"aGk=", **common),
        Node(id_="6", text_resource=MediaResource(text="node text"), **common),
    ]
    store.add(nodes)
    for original, found in zip(nodes, store.get_nodes([n.node_id for n in nodes]), strict=True):
        assert type(found) is type(original)
        assert found.model_dump() == original.model_dump()
    with pytest.raises(InvalidArgumentError, match="'_node', which is reserved"):
        store.add([TextNode(id_="7", metadata={"_node": 1}, embedding=[1.0, 2.0])])


def test_similarities_are_those_of_llama_indexes_own_helper(make):
    modes = SimilarityMode.DEFAULT, SimilarityMode.EUCLIDEAN, SimilarityMode.DOT_PRODUCT
    for distance, mode in zip(("cosine", "l2", "ip"), modes, strict=True):
        store = make(distance=distance, collection_name=f"by-{distance}")
        store.add([node("b"), node("d")])
        for query in (ask(store), ask(store, mode="mmr", mmr_threshold=0.9)):
            assert query.ids == ["b", "d"]
            right = [similarity([1, 0, 0], VECTORS[i], mode) for i in query.ids]
            assert query.similarities == pytest.approx(right, rel=1e-4)


class Letters(BaseEmbedding):
    """Counts letters."""

    def _get_text_embedding(self, text):
        return [text.lower().count(letter) + 0.01 for letter in "abcdefghijklmnopqrstuvwxyz"]

    def _get_query_embedding(self, query):
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query):
        return self._get_text_embedding(query)


def test_an_index_is_built_queried_changed_and_loaded_again(tmp_path):
    documents = [
        Document(text=text, id_=f"doc {i}", metadata={"i": i}) for i, text in TEXTS.items()
    ]
    with RetrievalStoreVectorStore(path=tmp_path) as store:
        context = StorageContext.from_defaults(vector_store=store)
        index = VectorStoreIndex.from_documents(
            documents, storage_context=context, embed_model=Letters()
        )
        found = index.as_retriever(similarity_top_k=1).retrieve("dogs bark")
        assert found[0].node.metadata == {"i": "b"}
        assert found[0].score == pytest.approx(0.95, abs=0.05)
        index.delete_ref_doc("doc b")
        index.insert(Document(text="dogs bark loudly", id_="doc e"))
        filters = MetadataFilters.from_dicts([{"key": "i", "value": "c"}])
        only = index.as_retriever(similarity_top_k=5, filters=filters).retrieve("dogs")
        assert [n.node.metadata["i"] for n in only] == ["c"]
        for mode in ("text_search", "hybrid", "mmr"):
            assert index.as_retriever(vector_store_query_mode=mode).retrieve("whale")
    with RetrievalStoreVectorStore(path=tmp_path) as store:
        again = VectorStoreIndex.from_vector_store(store, embed_model=Letters())
        (best,) = again.as_retriever(similarity_top_k=1).retrieve("dogs bark loudly")
        assert best.node.ref_doc_id == "doc e"


def test_the_event_loop_is_never_blocked(make, beside_the_loop):
    store = make()

    async def main():
        beside_the_loop()
        await store.async_add([node("a"), node("b"), node("c", "doc2")])
        query = VectorStoreQuery([1.0, 0, 0], similarity_top_k=5)
        assert len((await store.aquery(query)).ids) == 3
        assert len(await store.aget_nodes(["a"])) == 1
        await store.adelete("doc2")
        await store.adelete_nodes(["a"])
        assert len((await store.aquery(query)).ids) == 1
        await store.aclear()
        assert (await store.aquery(query)).ids == []

    asyncio.run(main())
    inherited = [
        name
        for name in ("async_add", "adelete", "adelete_nodes", "aclear", "aquery", "aget_nodes")
        if getattr(RetrievalStoreVectorStore, name) is getattr(BasePydanticVectorStore, name)
    ]
    assert inherited == [], "the base class runs these on the event loop"


def test_llama_indexes_own_adapter_for_chroma_works_on_our_collection():
    chroma = pytest.importorskip("llama_index.vector_stores.chroma")

    with retrieval_store.Client() as client:
        collection = client.create_collection("things", embedding_function=None)
        store = chroma.ChromaVectorStore(chroma_collection=collection)
        flat = [
            TextNode(
                id_=i, text=TEXTS[i], metadata={"n": n}, embedding=[float(x) for x in VECTORS[i]]
            )
            for n, i in enumerate(TEXTS)
        ]
        store.add(flat)
        assert store.query(VectorStoreQuery([1.0, 0, 0], similarity_top_k=2)).ids == ["a", "b"]
        filters = MetadataFilters.from_dicts([{"key": "n", "value": 2}])
        assert ask(store, filters=filters).ids == ["c"]
        assert [n.node_id for n in store.get_nodes(node_ids=["d"])] == ["d"]
        store.delete_nodes(node_ids=["a"])
        store.clear()
        assert collection.count() == 0


class Pictures(MultiModalEmbedding):
    """Embeds texts by their letters, and images by their mean colours, in vectors of the same
    dimension."""

    def _get_text_embedding(self, text):
        return Letters()._get_text_embedding(text)

    def _get_query_embedding(self, query):
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query):
        return self._get_text_embedding(query)

    def _get_image_embedding(self, img_file_path):
        (image,) = retrieval_store.ImageLoader()([str(img_file_path)])
        return [*image.mean(axis=(0, 1)).tolist(), *[0.01] * 23]

    async def _aget_image_embedding(self, img_file_path):
        return self._get_image_embedding(img_file_path)


@pytest.mark.parametrize("shared", [True, False])
def test_a_multimodal_index_keeps_texts_and_images(tmp_path, shared):
    documents = []
    for colour in ("red", "green", "blue"):
        path = tmp_path / f"{colour}.png"
        Image.new("RGB", (4, 4), colour).save(path)
        documents.append(ImageNode(image_path=str(path), id_=colour, text="a picture"))
    documents += [TextNode(text="dogs bark", id_="dogs"), TextNode(text="cats purr", id_="cats")]
    with RetrievalStoreVectorStore(path=tmp_path / "store") as texts:
        images = texts
        if not shared:
            images = RetrievalStoreVectorStore(path=tmp_path / "store", collection_name="images")
        context = StorageContext.from_defaults(vector_store=texts, image_store=images)
        embedding = Pictures()
        index = MultiModalVectorStoreIndex(
            documents, storage_context=context, embed_model=embedding, image_embed_model=embedding
        )
        retriever = index.as_retriever(similarity_top_k=1, image_similarity_top_k=1)
        assert retriever.text_retrieve("dogs bark")[0].node.node_id == "dogs"
        (found,) = retriever.image_to_image_retrieve(str(tmp_path / "green.png"))
        assert isinstance(found.node, ImageNode)
        assert found.node.node_id == "green"
        assert images.client.count() == (5 if shared else 3)
        images.close()


def test_empty_filters_inside_filters_are_no_restriction_and_delete_nothing(filled):
    empty = MetadataFilters(filters=[MetadataFilters(filters=[])])
    filled.delete_nodes(filters=empty)
    assert len(filled.get_nodes()) == 4
    negated = MetadataFilters(filters=[MetadataFilters(filters=[])], condition=FilterCondition.NOT)
    assert len(filled.get_nodes(filters=negated)) == 4
    with pytest.raises(InvalidArgumentError, match="node_ids is the str 'abc'"):
        filled.delete_nodes("abc")


def test_copies_have_clients_of_their_own_and_pickles_know_where_the_store_is(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    with RetrievalStoreVectorStore(path="st") as store:
        store.add([node("a")])
        pickled = pickle.dumps(store)
        copied = copy.copy(store)
        copied.close()
        assert store.client.count() == store.collection.count() == 1
        monkeypatch.chdir(tmp_path / "other")
        with pickle.loads(pickled) as again:
            assert again.client.count() == 1


class OwnText(TextNode):
    """A user's node class."""

    extra: str = "more"

    @classmethod
    def class_name(cls):
        return "OwnText"


class OwnIndex(IndexNode):
    @classmethod
    def class_name(cls):
        return "OwnIndex"


def test_nodes_of_ones_own_class_come_back_as_the_nearest_of_llama_indexes():
    with RetrievalStoreVectorStore() as store:
        own_text = OwnText(id_="t", text="x", embedding=[1.0])
        store.add([own_text, OwnIndex(id_="i", index_id="there", embedding=[2.0])])
        text, index = store.get_nodes(["t", "i"])
    assert (type(text), text.get_content()) == (TextNode, "x")
    assert (type(index), index.index_id) == (IndexNode, "there")


def test_our_functions_differ_in_llama_indexes_caches_and_leave_the_loop_alone():
    from llama_index.vector_stores.retrieval_store import AsLlamaIndex

    calls = []

    class Lengths:
        def __init__(self, scale):
            self.scale = scale

        def settings(self):
            return {"scale": self.scale}

        def __call__(self, input):
            calls.append((threading.get_ident(), len(input)))
            return [[len(text) * self.scale] for text in input]

    one, two = AsLlamaIndex(Lengths(1)), AsLlamaIndex(Lengths(2))
    assert one.to_dict() != two.to_dict()
    assert one.to_dict() == AsLlamaIndex(Lengths(1)).to_dict()
    with pytest.raises(InvalidTypeError, match="no argument 'embed_batchsize'; AsLlamaIndex takes"):
        AsLlamaIndex(Lengths(1), embed_batchsize=3)

    async def main():
        return threading.get_ident(), await one.aget_text_embedding_batch(["a"] * 5)

    loop, vectors = asyncio.run(main())
    assert vectors == [[1.0]] * 5
    assert [count for _, count in calls] == [5]
    assert calls[0][0] != loop


# nodes from other programs' stores


@pytest.fixture
def requested():
    """A server that records every connection, and its address."""
    seen = []

    class Server(ThreadingHTTPServer):
        def verify_request(self, request, client_address):
            seen.append(client_address)
            return True

    server = Server(("127.0.0.1", 0), BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/picture.png", seen
    server.shutdown()
    thread.join()
    server.server_close()


def stored(store, kind, fields, **metadata):
    """A point with this payload, as an untrusted program could have written it; every search finds
    it."""
    content = json.dumps({"class": kind, "fields": fields})
    store.client.upsert(
        "a", embeddings=[[1.0, 0.0]], documents="word", metadatas={**metadata, "_node": content}
    )


def readings(store):
    """Every method that returns nodes."""
    yield lambda: store.get_nodes()[0]
    yield lambda: ask(store, query_embedding=[1.0, 0]).nodes[0]
    yield lambda: ask(store, query_embedding=None).nodes[0]
    yield lambda: ask(store, mode=VectorStoreQueryMode.MMR, query_embedding=[1.0, 0]).nodes[0]
    yield lambda: ask(store, mode=VectorStoreQueryMode.TEXT_SEARCH, query_str="word").nodes[0]


CLASSES = ("TextNode", "ImageNode", "IndexNode", "Document", "ImageDocument", "Node")


@pytest.mark.parametrize("kind", CLASSES)
def test_no_stored_node_sends_a_request_or_opens_a_file(tmp_path, requested, kind):
    url, seen = requested
    pipe = tmp_path / "pipe.png"  # opening it blocks for ever
    os.mkfifo(pipe)
    places = (
        {"image_url": url},
        {"image_path": str(pipe)},
        {"image_resource": {"url": url, "path": str(pipe)}},
        {"image_resource": {"url": url}, "audio_resource": {"path": str(pipe)}},
        {"video_resource": {"path": str(pipe)}, "text_resource": {"url": url, "text": "t"}},
    )
    with RetrievalStoreVectorStore() as store:
        for place in places:
            stored(store, kind, {"id_": "a", "index_id": "x", **place})
            for read in readings(store):
                node = read()
                assert node.class_name() == kind
                assert node.get_content() == "word"  # the document, whatever the JSON says
                assert node.model_dump()
                assert isinstance(node.hash, str)
    assert seen == []


@pytest.mark.parametrize(
    ("kind", "fields", "named"),
    [
        ("TextNode", {"text": 5}, "text"),
        ("TextNode", {"id_": None}, "id_"),
        ("TextNode", {"id_": ["a"]}, "id_"),
        ("TextNode", {"start_char_idx": "three"}, "start_char_idx"),
        ("TextNode", {"relationships": {"9": {"node_id": "x"}}}, "relationships"),
        ("TextNode", {"relationships": {"1": {"no_id": "x"}}}, "relationships"),
        ("TextNode", {"relationships": {"1": [{"node_id": "x"}]}}, "Source object"),
        ("TextNode", {"relationships": {"5": {"node_id": "x"}}}, "Child objects"),
        ("TextNode", {"relationships": 5}, "relationships"),
        ("TextNode", {"excluded_llm_metadata_keys": [1]}, "excluded_llm_metadata_keys"),
        ("TextNode", {"text_template": "{content:>9999999999}"}, "text_template"),
        ("TextNode", {"text_template": "{content.__class__}"}, "text_template"),
        ("TextNode", {"text_template": "{content[0]} {metadata_str:{content}}"}, "text_template"),
        ("TextNode", {"text_template": "{"}, "text_template"),
        ("TextNode", {"metadata_template": "{key}{value:0999999999d}"}, "metadata_template"),
        ("TextNode", {"metadata_template": 5}, "metadata_template"),
        ("ImageNode", {"image_path": 5}, "str"),
        ("ImageNode", {"image": ["x"]}, "image"),
        ("ImageNode", {"text_embedding": "x"}, "text_embedding"),
        ("IndexNode", {}, "index_id"),
        ("Document", {"text_resource": 5}, "text_resource"),
        ("Document", {"text_resource": {"url": "no url"}}, "text_resource.url"),
        ("ImageDocument", {"image_resource": {"path": 5}}, "path"),
        ("ImageDocument", {"image_resource": "x"}, "image_resource"),
        ("Node", {"audio_resource": []}, "audio_resource"),
        ("NoSuchNode", {}, "NoSuchNode"),
        (["TextNode"], {}, "TypeError"),
        ("TextNode", [], "AttributeError"),
        ("TextNode", None, "AttributeError"),
    ],
)
def test_an_invalid_stored_node_is_damage_with_the_reason(kind, fields, named):
    with RetrievalStoreVectorStore() as store:
        stored(store, kind, fields)
        for read in readings(store):
            with pytest.raises(DamagedError, match="isn't a node of LlamaIndex") as reported:
                read()
            assert named in str(reported.value)
            assert len(str(reported.value)) < 1_000


@pytest.mark.parametrize(
    "content", [None, 5, "", "{", "{}", "[]", "null", "[" * 900 + "]" * 900, {}]
)
def test_a_content_that_is_none_is_damage(content):
    with RetrievalStoreVectorStore() as store:
        store.client.upsert("a", embeddings=[[1.0]], metadatas={"_node": content, "n": 1})
        with pytest.raises(DamagedError, match="isn't a node of LlamaIndex"):
            store.get_nodes()
        store.client.upsert("a", embeddings=[[1.0]], replace=True)
        assert store.get_nodes() == [TextNode(id_="a", text="", embedding=[1.0])]


def test_places_of_images_come_back_as_text(tmp_path, requested):
    url, seen = requested
    path = tmp_path / "picture.png"
    Image.new("RGB", (2, 2)).save(path)
    document = ImageDocument(image_path=str(path), embedding=[1.0, 0.0], id_="document")
    path.unlink()
    nodes = [
        ImageNode(image_url=url, image_path="x.png", text="t", embedding=[1.0, 0.0], id_="image"),
        Node(image_resource=MediaResource(url=url), embedding=[1.0, 0.0], id_="node"),
        document,
    ]
    with RetrievalStoreVectorStore() as store:
        store.add(nodes)
        image, node, found = store.get_nodes(["image", "node", "document"])
    assert (image.image_url, image.image_path, image.image_mimetype) == (url, "x.png", "image/png")
    assert str(node.image_resource.url) == url
    assert (type(found), found.image_path) == (ImageDocument, str(path))
    assert seen == []


def test_uris_of_foreign_points_are_not_read(tmp_path, requested):
    url, seen = requested
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    with RetrievalStoreVectorStore() as store:
        for uri in (url, str(pipe), pipe.as_uri(), "//[", "file://[", "data:,", "\0", ""):
            store.client.upsert("a", embeddings=[[1.0, 0.0]], uris=uri, replace=True)
            for read in [*readings(store)][:-1]:  # there are no words
                node = read()
                assert (type(node), node.get_content()) == (ImageNode, "")
                assert node.model_dump()
                assert isinstance(node.hash, str)
    assert seen == []


def test_templates_and_separators_come_back_and_bad_ones_are_refused_when_written():
    given = TextNode(
        id_="a",
        text="t",
        metadata={"k": "v"},
        text_template="{metadata_str!s:>20} :: {content:.3}",
        metadata_template="{key:10}={value!r}",
        metadata_separator=" | ",
        embedding=[1.0],
    )
    with RetrievalStoreVectorStore() as store:
        store.add([given])
        (found,) = store.get_nodes()
        assert found.get_content(MetadataMode.ALL) == given.get_content(MetadataMode.ALL)
        for template in ("{content:>99999}", "{content.x}", "{unknown}"):
            given.text_template = template
            with pytest.raises(InvalidArgumentError, match="node 'a' has the text_template"):
                store.add([given])


def test_objects_of_the_program_are_not_stored_and_found_by_their_id():
    class Secret:
        """Neither JSON nor readable by others."""

    with RetrievalStoreVectorStore() as store:
        store.add([IndexNode(id_="a", index_id="there", obj=Secret(), embedding=[1.0])])
        stored_text = store.client.get()["metadatas"][0]["_node"]
        (found,) = store.get_nodes()
    assert "Secret" not in stored_text
    assert (found.index_id, found.obj) == ("there", None)


@pytest.mark.parametrize("condition", list(FilterCondition))
def test_filters_nested_too_deep_are_refused(filled, condition):
    filters = single("n", FilterOperator.EQ, 1)
    for _ in range(10_000):
        filters = MetadataFilters(filters=[filters], condition=condition)
    for use in (
        lambda: ask(filled, filters=filters),
        lambda: filled.get_nodes(filters=filters),
        lambda: filled.delete_nodes(filters=filters),
    ):
        with pytest.raises(InvalidFilterError, match="nested deeper than 200 levels"):
            use()
    assert len(filled.get_nodes()) == 4
