"""Creating, reopening and filling a LlamaIndex store, also by pipelines."""

import copy
import pickle

import pytest
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import TokenTextSplitter
from llama_index.core.schema import Document, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode
from llama_index.vector_stores.retrieval_store import RetrievalStoreVectorStore
from llama_index.vector_stores.retrieval_store.base import url_of

import retrieval_store
from integrations.llama_index.tests.test_llama_index_queries import by_sparse_scores
from retrieval_store.embeddings.bm25 import BM25Embedding
from retrieval_store.errors import (
    ConflictError,
    InvalidArgumentError,
    InvalidTypeError,
    StorageError,
)


def nodes(count):
    return [TextNode(id_=str(i), text=f"text {i}", embedding=[1.0, i]) for i in range(count)]


CONFIGURATION = {"hnsw": {"space": "ip", "ef_search": 77}, "text": {"language": "german"}}


def test_configuration_and_metadata_make_the_collection(client):
    store = RetrievalStoreVectorStore(
        client=client, configuration=CONFIGURATION, collection_metadata={"owner": "me"}
    )
    made = store.client.configuration
    assert (made["hnsw"]["space"], made["hnsw"]["ef_search"]) == ("ip", 77)
    assert made["text"]["language"] == "german"
    assert store.client.metadata == {"owner": "me"}
    RetrievalStoreVectorStore(client=client, configuration=CONFIGURATION)
    with pytest.raises(ConflictError, match="space"):
        RetrievalStoreVectorStore(client=client, distance="l2")


def test_all_settings_survive_pickling_copying_and_dicts(tmp_path):
    given = {
        "collection_name": "mine",
        "configuration": CONFIGURATION,
        "collection_metadata": {"owner": "me"},
        "text_key": "body",
        "batch_size": 2,
    }
    with RetrievalStoreVectorStore(path=tmp_path, **given) as store:
        store.client.add("a", [[1, 0]], {"body": "a text"})
        again = (
            pickle.loads(pickle.dumps(store)),
            copy.deepcopy(store),
            RetrievalStoreVectorStore.from_dict(store.to_dict()),
            RetrievalStoreVectorStore.from_json(store.to_json()),
        )
        for other in again:
            assert {name: getattr(other, name) for name in given} == given
            assert other.get_nodes()[0].get_content() == "a text"
            other.close()


def test_functions_survive_pickling_and_a_dict_without_them_is_refused(tmp_path):
    with RetrievalStoreVectorStore(path=tmp_path, hybrid_fusion_fn=by_sparse_scores) as store:
        store.add(nodes(3))
        with pickle.loads(pickle.dumps(store)) as other, copy.copy(store) as third:
            query = VectorStoreQuery(
                [1.0, 0.0], 2, query_str="text", mode=VectorStoreQueryMode.HYBRID
            )
            assert store.query(query) == other.query(query) == third.query(query)
        for made in (store.to_dict, store.to_json):
            with pytest.raises(StorageError, match="functions can't be made a dict"):
                made()
    with RetrievalStoreVectorStore(path=tmp_path / "b", sparse_model=BM25Embedding()) as store:
        with pytest.raises(StorageError, match="functions can't be made a dict"):
            store.to_dict()
        with pickle.loads(pickle.dumps(store)) as other:
            assert other._sparse is not None


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"enable_hybrid": "perhaps"}, "enable_hybrid is 'perhaps'"),
        ({"collection": "mine"}, "collection is 'mine' .*expected a Collection"),
        ({"configuration": 5}, "configuration is 5"),
        ({"text_key": 5}, "text_key is 5"),
        ({"path": 5}, "path is 5"),
        ({"dense_vector_name": "text"}, "'dense_vector_name' is no argument"),
        ({"sparse_model": "bm25"}, "sparse_model is 'bm25'.*expected a model"),
    ],
)
def test_arguments_of_other_types_are_refused_by_name(kwargs, message):
    with pytest.raises(InvalidTypeError, match=message):
        RetrievalStoreVectorStore(**kwargs)


def test_a_batch_has_a_size():
    with RetrievalStoreVectorStore() as store:
        for size in (0, True, "many", 2.5):
            for use in (RetrievalStoreVectorStore, lambda **how: store.add(nodes(2), **how)):
                text = "batch_size is .*, expected (an int|at least 1)"
                with pytest.raises(InvalidArgumentError, match=text):
                    use(batch_size=size)
        with pytest.raises(InvalidTypeError, match="nodes is the str 'abc', expected a list"):
            store.add("abc")
        assert store.get_nodes() == []


def test_from_collection_and_from_params_in_the_words_of_chromas_store(tmp_path):
    with retrieval_store.Client() as client:
        collection = client.create_collection("mine", embedding_function=None)
        store = RetrievalStoreVectorStore.from_collection(collection, text_key="body")
        assert (store.collection_name, store.client, store.text_key) == ("mine", collection, "body")
    made = {
        "configuration": {"text": {"language": "german"}},
        "metadata": {"hnsw:space": "l2", "owner": "me"},
    }
    with RetrievalStoreVectorStore.from_params(
        "mine", persist_dir=str(tmp_path), collection_kwargs=made, batch_size=3
    ) as store:
        store.add(nodes(1))
        assert store.client.metadata == made["metadata"]
        assert store.client.configuration["hnsw"]["space"] == "l2"
        assert store.client.configuration["text"]["language"] == "german"
    with RetrievalStoreVectorStore.from_params("mine", path=tmp_path) as store:
        assert len(store.get_nodes()) == 1


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({}, "expected one of persist_dir, path, host, url, got none"),
        ({"persist_dir": "a", "host": "b"}, "got persist_dir and host"),
        ({"port": 6333}, "port and ssl go with host"),
        ({"host": "", "port": 6333}, "host is ''"),
        ({"host": "h", "headers": {"api-key": "x"}}, "headers go to the client"),
        ({"path": "a", "collection_kwargs": {"embedding_function": None}}, "takes configuration"),
        (
            {"path": "a", "configuration": {}, "collection_kwargs": {"configuration": {}}},
            "configuration is given beside collection_kwargs",
        ),
    ],
)
def test_from_params_names_what_it_needs(kwargs, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgumentError, match=message):
        RetrievalStoreVectorStore.from_params("mine", **kwargs)
    assert list(tmp_path.iterdir()) == []


def test_from_params_connects_to_a_cluster_by_host_and_port(monkeypatch):
    seen = []

    def stop(name, **kwargs):
        seen.append(kwargs["url"])
        raise KeyError

    monkeypatch.setattr("llama_index.vector_stores.retrieval_store.base.open_collection", stop)
    for kwargs in ({"port": 6333}, {"port": "443", "ssl": True}, {}):
        with pytest.raises(KeyError):
            RetrievalStoreVectorStore.from_params("mine", host="there", **kwargs)
    assert seen == ["http://there:6333", "https://there:443", "http://there"]


def test_batches_are_written_one_by_one_and_each_as_a_whole(monkeypatch):
    sizes = []
    upsert = retrieval_store.Collection.upsert

    def counted(self, ids, **kwargs):
        sizes.append(len(ids))
        if "5" in ids and sizes[-1] == 2:
            raise OSError("the disk is full")
        return upsert(self, ids, **kwargs)

    monkeypatch.setattr(retrieval_store.Collection, "upsert", counted)
    with RetrievalStoreVectorStore(batch_size=3) as store:
        assert len(store.add([*nodes(7), *nodes(2)])) == 9
        assert sizes == [3, 3, 1]
        store.add(nodes(7), batch_size=9)
        assert sizes[3:] == [7]
        store.clear()
        with pytest.raises(OSError, match="full"):
            store.add(nodes(7), batch_size=2)
        assert len(store.get_nodes()) == 4
        with pytest.raises(InvalidArgumentError, match="'6' has no embedding"):
            store.add([*nodes(6), TextNode(id_="6")], batch_size=1)
        assert len(store.get_nodes()) == 4
        with pytest.raises(InvalidArgumentError, match="batch_size is 0"):
            store.add(nodes(2), batch_size=0)


# pipelines


def document(name, text, **metadata):
    return Document(id_=name, text=text, metadata=metadata)


def contents(store):
    found = {}
    for node in store.get_nodes():
        found.setdefault(node.ref_doc_id, []).append(node.get_content())
    return {name: " ".join(texts) for name, texts in sorted(found.items())}


def pipeline(store, strategy, docstore):
    return IngestionPipeline(
        transformations=[
            TokenTextSplitter(chunk_size=16, chunk_overlap=0),
            MockEmbedding(embed_dim=2),
        ],
        vector_store=store,
        docstore=docstore,
        docstore_strategy=strategy,
    )


FIRST = [
    document("a", "Whales swim. " * 8),
    document("b", "Dogs bark at night."),
    document("c", "Cats purr."),
]
CHANGED = [
    document("a", "Whales sing."),
    document("b", "Dogs bark at night."),
    document("d", "New."),
]


@pytest.mark.parametrize("run", ["sync", "async"])
@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (
            DocstoreStrategy.UPSERTS,
            {
                "a": "Whales sing.",
                "b": "Dogs bark at night.",
                "c": "Cats purr.",
                "d": "New.",
            },
        ),
        (
            DocstoreStrategy.UPSERTS_AND_DELETE,
            {"a": "Whales sing.", "b": "Dogs bark at night.", "d": "New."},
        ),
    ],
)
async def test_a_pipeline_replaces_what_changed_and_deletes_what_went(
    tmp_path, strategy, expected, run
):
    docstore = SimpleDocumentStore()
    with RetrievalStoreVectorStore(path=tmp_path) as store:
        pipe = pipeline(store, strategy, docstore)
        for documents in (FIRST, CHANGED, CHANGED):
            if run == "sync":
                pipe.run(documents=documents)
            else:
                await pipe.arun(documents=documents)
            if documents is FIRST:
                assert len(store.get_nodes()) > 3
                assert list(contents(store)) == ["a", "b", "c"]
        assert contents(store) == expected


def test_a_pipeline_skips_duplicates(tmp_path):
    docstore = SimpleDocumentStore()
    with RetrievalStoreVectorStore(path=tmp_path) as store:
        pipe = pipeline(store, DocstoreStrategy.DUPLICATES_ONLY, docstore)
        assert len(pipe.run(documents=FIRST[1:])) == 2
        assert pipe.run(documents=FIRST[1:]) == []
        pipe.run(documents=CHANGED[:2])
        assert contents(store)["a"] == "Whales sing."
        assert len(store.get_nodes()) == 3


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("localhost", "http://localhost"), ("localhost:6333", "http://localhost:6333"),
        ("::1", "http://[::1]"), ("[::1]", "http://[::1]"),
    ],
)  # fmt: skip
def test_a_host_is_named_as_a_url_has_it(host, url):
    assert url_of(host, None, False, None) == url
