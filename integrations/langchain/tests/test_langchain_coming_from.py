"""The usage that users of LangChain's stores for Chroma and Qdrant know, on this one."""

import asyncio
import multiprocessing
import pickle
import threading
import uuid

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_retrieval_store import (
    AsLangChain,
    RetrievalStore,
    RetrievalStoreIndex,
)
from langchain_tests.integration_tests.indexer import (
    AsyncDocumentIndexTestSuite,
    DocumentIndexerTestSuite,
)

import retrieval_store
from integrations.langchain.tests.test_langchain import METADATAS, TEXTS, Letters, ids_of
from retrieval_store import WordLlamaEmbedding
from retrieval_store.embeddings.bm25 import BM25Embedding
from retrieval_store.errors import (
    ConflictError,
    DimensionMismatchError,
    EmbeddingFunctionError,
    InvalidArgumentError,
    InvalidTypeError,
    NotFoundError,
)
from retrieval_store.filters.expression import Range
from retrieval_store.qdrant import QdrantClient, models

IDS = ["a", "b", "c", "d"]


@pytest.fixture(params=["memory", "served", "cluster"])
def filled(request):
    client = None if request.param == "memory" else request.getfixturevalue(request.param)
    with RetrievalStore(Letters(), client=client) as store:
        store.add_texts(TEXTS, METADATAS, ids=IDS)
        yield store


@pytest.fixture
def small():
    with RetrievalStore(Letters()) as store:
        store.add_texts(TEXTS, METADATAS, ids=IDS)
        yield store


# documents


def test_every_search_takes_a_filter_on_documents(filled):
    vector = Letters.vector_of("cat")
    has = {"where_document": {"$contains": "cat"}}
    for found in (
        filled.similarity_search("cat", **has),
        filled.similarity_search_by_vector(vector, **has),
        filled.max_marginal_relevance_search("cat", **has),
        filled.max_marginal_relevance_search_by_vector(vector, **has),
        filled.hybrid_search("cat apples", **has),
        filled.similarity_search_by_image("cat.png", **has),
        filled.as_retriever(search_kwargs=has).invoke("cat"),
        asyncio.run(filled.asimilarity_search("cat", filter={"n": {"$gt": 0}}, **has)),
    ):
        assert sorted(ids_of(found)) == ["b", "d"]


def test_native_filters_of_three_kinds_mean_the_same(filled):
    qdrant = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(gte=3))])
    for native in ({"n": {"$gte": 3}}, Range(("n",), gte=3), qdrant):
        assert sorted(ids_of(filled.similarity_search("cat", filter=native))) == ["c", "d"]
    nested = models.Filter(must_not=[models.FieldCondition(key="tags[]", match={"value": "fruit"})])
    assert sorted(ids_of(filled.similarity_search("cat", filter=nested))) == ["b", "c", "d"]
    assert len(filled.similarity_search("cat", filter=models.Filter())) == 4
    with pytest.raises(InvalidTypeError, match=r"filter is 'n = 3' \(str\), expected a dict such"):
        filled.similarity_search("cat", filter="n = 3")
    filled.delete(filter=qdrant)
    assert sorted(filled.get()["ids"]) == ["a", "b"]


def test_get_reads_pages_and_filters_as_chromas_does(filled):
    assert filled.get()["ids"] == IDS
    assert filled.get(limit=2, offset=1)["ids"] == ["b", "c"]
    assert filled.get("b", include=["metadatas"])["documents"] is None
    assert filled.get(include=None) == filled.get()
    assert filled.get("b", include=None)["documents"] == ["cats and dogs"]
    assert asyncio.run(filled.aget("b", include=None)) == filled.get("b")
    found = filled.get(where={"n": {"$gt": 1}}, where_document={"$contains": "cat"})
    assert (found["ids"], found["documents"]) == (["b", "d"], ["cats and dogs", "a cat sleeps"])
    assert asyncio.run(filled.aget(["a"]))["ids"] == ["a"]


def test_documents_are_updated_and_unknown_ids_are_skipped(filled, caplog):
    filled.update_document("a", Document(page_content="wool", metadata={"n": 9}))
    assert ids_of(filled.similarity_search("wool", 1)) == ["a"]
    (document,) = filled.get_by_ids(["a"])
    assert document.page_content == "wool"
    assert document.metadata["n"] == 9
    assert document.metadata["tags"] == ["fruit"]
    asyncio.run(filled.aupdate_documents(["b", "zz"], [Document(page_content=t) for t in "xy"]))
    assert filled.get_by_ids(["b"])[0].page_content == "x"
    assert "don't exist" in caplog.text
    assert filled.collection.count() == 4
    with pytest.raises(InvalidArgumentError, match="ids has 1 items, but there are 2 documents"):
        filled.update_documents(["a"], [document, document])


def test_a_collection_is_deleted_and_created_again(tmp_path):
    with RetrievalStore(Letters(), path=tmp_path, distance="l2") as store:
        store.add_texts(TEXTS)
        store.reset_collection()
        assert store.collection.count() == 0
        assert store.collection.configuration["hnsw"]["space"] == "l2"
        store.add_texts(["again"])
        asyncio.run(store.adelete_collection())
        with pytest.raises(NotFoundError):
            store.similarity_search("again")
        asyncio.run(store.areset_collection())
        assert store.add_texts(["again"], ids=["x"]) == ["x"]
    with retrieval_store.Client() as client:
        given = client.create_collection("given", embedding_function=None)
        with pytest.raises(InvalidArgumentError, match="made with collection="):
            RetrievalStore(Letters(), collection=given).delete_collection()


def test_texts_come_as_a_stream_in_batches_with_a_bar(small, terminal, capfd):
    seen = []

    def texts():
        for i in range(7):
            seen.append(len(small.embeddings.calls))
            yield f"text {i}"

    small.embeddings.calls.clear()
    ids = small.add_texts(texts(), batch_size=3, show_progress=True)
    assert len(set(ids)) == 7
    assert [len(given) for _, given in small.embeddings.calls] == [3, 3, 1]
    assert seen == [0, 0, 0, 1, 1, 1, 2]
    assert "7" in capfd.readouterr().err
    for wrong, message in (
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2, "metadatas": [{}]}, "metadatas has 1 items, but there are 3 texts"),
        ({"bogus": 1}, "no argument 'bogus'"),
        ({"metadatas": [{}, {}, {"_node": "x"}]}, "'_node', which is reserved"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            small.add_texts(["x", "y", "z"], **wrong)
    assert small.collection.count() == 11


def test_stores_are_created_from_texts_and_documents_in_batches():
    documents = [
        Document(page_content=text, id=point_id) for text, point_id in zip(TEXTS, IDS, strict=True)
    ]
    how = {"batch_size": 3, "ids": IDS}
    for made_in, make in (
        ([3, 1], lambda model: RetrievalStore.from_texts(TEXTS, model, METADATAS, **how)),
        ([3, 1], lambda model: RetrievalStore.from_documents(documents, model, **how)),
        ([3, 1], lambda model: RetrievalStore.from_documents(iter(documents), model, batch_size=3)),
        ([4], lambda model: RetrievalStore.from_documents(documents, model, batch_size=None)),
    ):
        with make(Letters()) as store:
            assert [len(texts) for _, texts in store.embeddings.calls] == made_in
            assert store.get()["ids"] == IDS
    for make, given in (
        (RetrievalStore.from_texts, TEXTS),
        (RetrievalStore.from_documents, documents),
    ):
        with pytest.raises(InvalidArgumentError, match="batch_size is 0"):
            make(given, Letters(), batch_size=0)


async def test_stores_are_created_from_texts_and_documents_in_batches_asynchronously():
    documents = [
        Document(page_content=text, id=point_id) for text, point_id in zip(TEXTS, IDS, strict=True)
    ]
    made = [
        await RetrievalStore.afrom_texts(TEXTS, Letters(), METADATAS, ids=IDS, batch_size=3),
        await RetrievalStore.afrom_documents(documents, Letters(), batch_size=3),
    ]
    for store in made:
        with store:
            assert store.embeddings.asked == 2
            assert store.get()["ids"] == IDS
    with pytest.raises(InvalidArgumentError, match="batch_size is 0"):
        await RetrievalStore.afrom_documents(documents, Letters(), batch_size=0)


# searches


def test_scores_by_a_vector_have_the_name_of_langchains_store_for_qdrant_too(small):
    vector = Letters.vector_of("a cat sleeps")
    how = {"filter": {"n": {"$gt": 1}}, "offset": 1, "search_params": {"exact": True}}
    for given in ({}, {"k": 2}, how, {"score_threshold": 0.99}):
        expected = small.similarity_search_by_vector_with_score(vector, **given)
        assert expected
        assert small.similarity_search_with_score_by_vector(vector, **given) == expected
        found = asyncio.run(small.asimilarity_search_with_score_by_vector(vector, **given))
        assert found == expected
    with pytest.raises(InvalidArgumentError, match="no argument 'consistency'"):
        small.similarity_search_with_score_by_vector(vector, consistency=1)


def test_vectors_scores_and_relevance_of_every_search(filled):
    vector = Letters.vector_of("a cat sleeps")
    pairs = filled.similarity_search_with_vectors("a cat sleeps", 2)
    assert ids_of([d for d, _ in pairs]) == ["d", "a"]
    assert np.allclose(pairs[0][1], vector)
    by_vector = filled.similarity_search_by_vector_with_relevance_scores(vector, 4)
    by_text = filled.similarity_search_with_relevance_scores("a cat sleeps", 4)
    assert [(d.id, pytest.approx(s)) for d, s in by_text] == [(d.id, s) for d, s in by_vector]
    by_image = filled.similarity_search_by_image_with_relevance_score("a cat sleeps", 1)
    assert by_image[0][0].id == "d"
    assert by_image[0][1] == pytest.approx(1, abs=1e-6)
    chosen = filled.max_marginal_relevance_search_with_score_by_vector(vector, 3, lambda_mult=0.3)
    distances = {d.id: s for d, s in filled.similarity_search_by_vector_with_score(vector, 4)}
    assert chosen[0][0].id == "d"
    assert all(score == pytest.approx(distances[d.id], abs=1e-6) for d, score in chosen)


def test_thresholds_pages_and_groups_go_with_plain_searches(filled):
    best = [d.id for d, _ in filled.similarity_search_with_relevance_scores("a cat sleeps", 4)]
    scores = [s for _, s in filled.similarity_search_with_relevance_scores("a cat sleeps", 4)]
    cut = (scores[1] + scores[2]) / 2
    assert ids_of(filled.similarity_search("a cat sleeps", 4, score_threshold=cut)) == best[:2]
    assert ids_of(filled.similarity_search("a cat sleeps", 2, offset=1)) == best[1:3]
    near = filled.similarity_search("a cat sleeps", 4, max_distance=1 - cut)
    assert ids_of(near) == best[:2]
    filled.add_texts(["a cat sleeps!"], [{"n": 4}])
    grouped = filled.similarity_search("a cat sleeps", 4, group_by="n")
    assert sorted(d.metadata["n"] for d in grouped) == [1, 2, 3, 4]
    assert filled.similarity_search("cat", search_params={"hnsw_ef": 9, "exact": True}, k=1)
    assert filled.similarity_search("cat", search_params=models.SearchParams(exact=True), k=1)
    with pytest.raises(InvalidArgumentError, match="no argument 'indexed_only'"):
        filled.similarity_search("cat", search_params=models.SearchParams(indexed_only=True))


@pytest.mark.parametrize("mode", ["dense", "text", "hybrid"])
def test_diverse_choices_go_with_every_mode_and_filters(small, mode):
    how = {"search_mode": mode, "filter": {"n": {"$lt": 9}}, "where_document": {"$contains": "c"}}
    chosen = small.max_marginal_relevance_search("a cat and cats", 2, **how)
    assert sorted(ids_of(chosen)) == ["b", "d"]
    retriever = small.as_retriever(search_type="mmr", search_kwargs={"k": 2, **how})
    assert sorted(ids_of(asyncio.run(retriever.ainvoke("a cat and cats")))) == ["b", "d"]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"lambda_mult": 5}, r"lambda_mult is 5 \(int\), expected a number from 0 to 1"),
        ({"lambda_mult": float("nan")}, "lambda_mult is nan"),
        ({"lambda_mult": True}, "lambda_mult is True"),
        ({"offset": 1}, "offset doesn't go with maximal marginal relevance"),
        ({"search_mode": "words"}, r"search_mode is 'words' \(str\), expected one of"),
        ({"score_threshold": 2}, r"score_threshold is 2 \(int\), expected a number from 0 to 1"),
        ({"alpha": -1}, "alpha is -1"),
        ({"bogus": 1}, "no argument 'bogus'; a search takes filter, where_document"),
    ],
)
def test_impossible_diverse_searches_are_refused(small, how, message):
    with pytest.raises(InvalidArgumentError, match=message):
        small.max_marginal_relevance_search("cat", **how)


def test_retrievers_of_every_search_type(small):
    small.embeddings.calls.clear()
    words = small.as_retriever(search_type="text", search_kwargs={"k": 1})
    assert ids_of(words.invoke("wool")) == ["c"]
    assert ids_of(asyncio.run(words.ainvoke("sleeps"))) == ["d"]
    assert small.embeddings.calls == []
    both = small.as_retriever(search_type="hybrid", search_kwargs={"k": 4, "alpha": 0.2})
    assert ids_of(both.invoke("apples"))[0] == "a"
    assert ids_of(both.invoke("apples", filter={"n": 2})) == ["b"]
    assert ids_of(small.search("wool", "text", k=1)) == ["c"]
    assert ids_of(asyncio.run(small.asearch("wool", "hybrid", k=1, alpha=0))) == ["c"]
    assert len(small.search("wool", "mmr", k=2)) == 2
    assert "RetrievalStore" in both.tags
    with pytest.raises(ValueError, match="search_type"):
        small.as_retriever(search_type="bogus")


def test_explain_reports_how_a_search_is_answered(small):
    explanation = small.explain("cat", filter={"n": {"$gte": 3}})
    assert (explanation["points"], explanation["matching"]) == (4, 2)
    assert set(small.explain("cat", search_mode="hybrid")["legs"]) == {"dense", "text"}
    assert asyncio.run(small.aexplain("cat", where_document={"$contains": "wool"}))["matching"] == 1


# sparse vectors


@pytest.fixture
def lengths():
    """A model of words by their lengths, in the form of langchain-qdrant's models."""
    sparse = pytest.importorskip("langchain_qdrant.sparse_embeddings")

    class Lengths(sparse.SparseEmbeddings):
        def embed_documents(self, texts):
            return [self.embed_query(text) for text in texts]

        def embed_query(self, text):
            found, counts = np.unique([len(word) for word in text.split()], return_counts=True)
            return sparse.SparseVector(indices=found.tolist(), values=counts.astype(float).tolist())

    return Lengths()


@pytest.mark.parametrize("place", ["memory", "served", "cluster"])
def test_sparse_models_of_langchain_qdrant_find_and_fuse(place, request, lengths):
    client = None if place == "memory" else request.getfixturevalue(place)
    mode = pytest.importorskip("langchain_qdrant").RetrievalMode.HYBRID
    with RetrievalStore(
        Letters(), client=client, sparse_embedding=lengths, retrieval_mode=mode
    ) as store:
        store.add_texts(["aa aa bbb", "cccc", "dd"], [{"n": i} for i in range(3)], ids=list("xyz"))
        found = store.similarity_search_with_score("qq", search_mode="sparse")
        assert [(d.id, s) for d, s in found] == [("x", 2.0), ("z", 1.0)]
        assert ids_of(store.similarity_search("qq", filter={"n": 2}, search_mode="sparse")) == ["z"]
        assert ids_of(store.similarity_search("cccc"))[0] == "y"
        assert ids_of(asyncio.run(store.asimilarity_search("qqqq", alpha=0))) == ["y"]
        relevant = store.similarity_search_with_relevance_scores("qq", search_mode="sparse")
        assert [round(s, 3) for _, s in relevant] == [0.833, 0.75]
        store.update_document("z", Document(page_content="eeee"))
        assert ids_of(store.as_retriever(search_type="sparse").invoke("qq")) == ["x"]
        assert set(store.explain("qq")["legs"]) >= {"dense"}


def test_bm25_as_a_sparse_model_ranks_like_words_and_stores_report_what_they_lack(tmp_path):
    bm25 = BM25Embedding(language=None, stopwords=False, b=0)
    with RetrievalStore(Letters(), path=tmp_path, sparse_embedding=bm25) as store:
        store.add_texts(["cat cat", "cat dog bird", "bird", "bird bird bird"])
        words = store.similarity_search("cat bird", search_mode="text")
        sparse = store.similarity_search("cat bird", search_mode="sparse")
        assert {d.id for d in words} == {d.id for d in sparse}
        assert sparse[0].page_content == "cat dog bird"
    with (
        RetrievalStore(Letters(), path=tmp_path) as store,
        pytest.raises(EmbeddingFunctionError, match="without sparse_embedding="),
    ):
        store.similarity_search("cat", search_mode="sparse")
    with (
        RetrievalStore(Letters()) as plain,
        pytest.raises(ConflictError, match="without room for sparse vectors"),
    ):
        RetrievalStore(Letters(), collection=plain.collection, sparse_embedding=bm25)


# opening


def test_our_embedding_functions_are_wrapped_by_themselves():
    with RetrievalStore(WordLlamaEmbedding()) as store:
        store.add_texts(["The cat sleeps.", "Rates went up."])
        assert store.similarity_search("interest", 1)[0].page_content == "Rates went up."
        assert isinstance(store.embeddings, AsLangChain)
    for wrong, message in ((WordLlamaEmbedding, "is the class"), (7, r"embedding is 7 \(int\)")):
        with pytest.raises(InvalidTypeError, match=message):
            RetrievalStore(wrong)


def test_existing_collections_are_opened_and_checked_but_never_created(tmp_path):
    with RetrievalStore(Letters(), path=tmp_path, collection_name="mine") as store:
        store.add_texts(TEXTS)
    with RetrievalStore.from_existing_collection("mine", Letters(), path=tmp_path) as store:
        assert len(store.similarity_search("cat")) == 4
    with pytest.raises(DimensionMismatchError, match="vectors of 8 numbers, but collection 'mine'"):
        RetrievalStore.from_existing_collection(
            "mine",
            DeterministicFakeEmbedding(size=8),
            path=tmp_path,
            check_model=False,
            validate=True,
        )
    with pytest.raises(NotFoundError, match="these do: 'mine'"):
        RetrievalStore.from_existing_collection("mime", Letters(), path=tmp_path)
    with pytest.raises(NotFoundError):
        RetrievalStore(Letters(), path=tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()


def test_records_of_langchains_store_for_qdrant_are_read_by_their_payload_keys(tmp_path):
    qdrant = pytest.importorskip("langchain_qdrant")
    distance = models.VectorParams(size=26, distance=models.Distance.COSINE)
    with QdrantClient(path=tmp_path) as client:
        client.create_collection("docs", vectors_config=distance)
        theirs = qdrant.QdrantVectorStore(client, "docs", Letters())
        ids = [str(uuid.uuid4()) for _ in TEXTS]
        theirs.add_texts(TEXTS, [{"n": i, "author": {"name": f"x{i}"}} for i in range(4)], ids)
    keys = {"content_payload_key": "page_content", "metadata_payload_key": "metadata"}
    with RetrievalStore(Letters(), path=tmp_path, collection_name="docs", **keys) as store:
        (found,) = store.similarity_search("a cat sleeps", 1)
        assert (found.id, found.page_content) == (ids[3], "a cat sleeps")
        assert found.metadata == {"n": 3, "author": {"name": "x3"}}
        below = models.FieldCondition(key="metadata.n", match=models.MatchValue(value=2))
        for one in (
            {"n": 2},
            {"$and": [{"n": {"$gt": 1}}, {"author.name": "x2"}]},
            Range(("n",), gte=2, lt=3),
            models.Filter(must=[below]),
        ):
            assert ids_of(store.similarity_search("cat", filter=one)) == [ids[2]]
        store.add_texts(["new wool"], [{"n": 7}], ids=[ids[0]])
        assert store.get_by_ids([ids[0]])[0].metadata == {"n": 7}
        assert ids_of(store.similarity_search("wool", search_mode="text")) == [ids[0]]
    with QdrantClient(path=tmp_path) as client:
        again = qdrant.QdrantVectorStore(client, "docs", Letters())
        assert again.get_by_ids([ids[0]])[0].page_content == "new wool"
        assert again.get_by_ids([ids[0]])[0].metadata["n"] == 7


# several threads and processes


def answers(pickled, query):
    with pickle.loads(pickled) as store:
        return ids_of(store.similarity_search(query, 1))


def test_a_store_passed_to_worker_processes_is_opened_by_them(tmp_path):
    with RetrievalStore(DeterministicFakeEmbedding(size=8), path=tmp_path) as store:
        store.add_texts(["one", "two"], ids=["1", "2"])
        pickled = pickle.dumps(store)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found = pool.starmap(answers, [(pickled, "one"), (pickled, "two")])
        assert found == [["1"], ["2"]]
    with (
        RetrievalStore(DeterministicFakeEmbedding(size=8)) as memory,
        pytest.raises(OSError, match="only a store that was made with path= or url="),
    ):
        pickle.dumps(memory)


@pytest.mark.parametrize("cleanup", ["incremental", "scoped_full"])
def test_sources_are_indexed_by_several_threads_at_once(tmp_path, cleanup):
    with RetrievalStore(DeterministicFakeEmbedding(size=8), path=tmp_path) as store:
        manager = InMemoryRecordManager("ns")
        failures = []

        def run(source, version):
            documents = [
                Document(page_content=f"{source} {version} {i}", metadata={"source": source})
                for i in range(30)
            ]
            try:
                index(
                    documents,
                    manager,
                    store,
                    cleanup=cleanup,
                    source_id_key="source",
                    batch_size=50,
                    key_encoder="sha256",
                )
            except Exception as error:
                failures.append(error)

        for version in range(2):
            threads = [threading.Thread(target=run, args=(f"s{n}", version)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert failures == []
        left = sorted(store.get()["documents"])
        assert left == sorted(f"s{n} 1 {i}" for n in range(4) for i in range(30))


@pytest.mark.filterwarnings("ignore:.*DocumentIndex")
class TestIndex(DocumentIndexerTestSuite):
    @pytest.fixture
    def index(self):
        with RetrievalStore(DeterministicFakeEmbedding(size=8)) as store:
            yield RetrievalStoreIndex(store=store)


@pytest.mark.filterwarnings("ignore:.*DocumentIndex")
class TestAsyncIndex(AsyncDocumentIndexTestSuite):
    @pytest.fixture
    async def index(self):
        with RetrievalStore(DeterministicFakeEmbedding(size=8)) as store:
            yield RetrievalStoreIndex(store=store)


@pytest.mark.filterwarnings("ignore:.*DocumentIndex")
def test_an_index_retrieves_by_every_argument_of_a_search(small):
    retriever = RetrievalStoreIndex(store=small, search_kwargs={"k": 4, "filter": {"n": 2}})
    assert ids_of(retriever.invoke("cat")) == ["b"]
    assert ids_of(asyncio.run(retriever.ainvoke("wool", filter=None, search_mode="text"))) == ["c"]


def test_every_async_search_leaves_the_loop_alone(small, beside_the_loop):
    vector = Letters.vector_of("cat")

    async def main():
        beside_the_loop()
        for found in (
            await small.asimilarity_search_with_vectors("cat"),
            await small.ahybrid_search("cat"),
            await small.asimilarity_search_by_vector(vector),
            await small.asimilarity_search_by_vector_with_score(vector),
            await small.asimilarity_search_with_score_by_vector(vector),
            await small.asimilarity_search_by_vector_with_relevance_scores(vector),
            await small.asimilarity_search_with_relevance_scores("cat"),
            await small.asimilarity_search_by_image("cat.png"),
            await small.asimilarity_search_by_image_with_relevance_score("cat.png"),
            await small.amax_marginal_relevance_search_by_vector(vector),
            await small.amax_marginal_relevance_search_with_score_by_vector(vector),
        ):
            assert len(found) == 4
        await small.aupdate_document("a", Document(page_content="new"))
        assert (await small.aget(limit=1))["documents"] == ["new"]
        assert await small.aadd_images(["x.png"], ids=["i"]) == ["i"]

    asyncio.run(main())
