"""The LangChain adapter: the framework's own test suites, and mistakes that its users met in other
stores."""

import asyncio
import uuid

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.indexing import InMemoryRecordManager, aindex, index
from langchain_core.structured_query import (
    Comparator,
    Comparison,
    Operation,
    Operator,
    StructuredQuery,
)
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever
from langchain_retrieval_store import RetrievalStore, RetrievalStoreTranslator
from langchain_tests.integration_tests import (
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)
from qdrant_client import QdrantClient

import retrieval_store
from retrieval_store.errors import (
    ConflictError,
    DamagedError,
    EmbeddingFunctionError,
    InvalidArgumentError,
    InvalidFilterError,
)
from retrieval_store.filters.expression import Not, OneOf, Range
from tests.helpers import steps
from tests.helpers.circumstances import as_a_new_process


@pytest.fixture(params=["memory", "disk", "client", "collection", "served", "cluster"])
def make(request, tmp_path):
    """Makes stores of each kind; closed at the end."""
    stores, client = [], retrieval_store.Client(tmp_path / "given")
    is_elsewhere = request.param in ("served", "cluster")
    elsewhere = request.getfixturevalue(request.param) if is_elsewhere else None

    def made(embedding=None, **kwargs):
        if request.param == "disk":
            kwargs["path"] = tmp_path / "store"
        elif request.param == "client" or is_elsewhere:
            kwargs["client"] = elsewhere or client
        elif request.param == "collection":
            settings = {"hnsw": {"space": kwargs.pop("distance", "cosine")}}
            kwargs["collection"] = client.get_or_create_collection(
                kwargs.pop("collection_name", "given"), settings, embedding_function=None
            )
        stores.append(RetrievalStore(embedding, **kwargs))
        return stores[-1]

    yield made
    for store in stores:
        store.close()
    client.close()


class TestConformance(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, make):
        return make(self.get_embeddings())


class TestRetriever(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self):
        return StoreRetriever

    @property
    def retriever_constructor_params(self):
        return {}

    @property
    def retriever_query_example(self):
        return "sheep"


class StoreRetriever(VectorStoreRetriever):
    """A retriever over five documents, as the suite constructs one."""

    def __init__(self, k=3, **kwargs):
        texts = [f"{animal} are animals" for animal in ("sheep", "cows", "goats", "dogs", "cats")]
        store = RetrievalStore.from_texts(texts, Letters())
        super().__init__(vectorstore=store, search_kwargs={"k": k, **kwargs})

    def _get_relevant_documents(self, query, *, run_manager, **kwargs):
        return super()._get_relevant_documents(query, run_manager=run_manager, **kwargs)


class Letters(Embeddings):
    """Counts letters, and its calls on and off the event loop."""

    def __init__(self):
        self.calls, self.asked = [], 0

    def embed_documents(self, texts):
        self.calls.append(("documents", list(texts)))
        return [self.vector_of(text) for text in texts]

    def embed_query(self, text):
        self.calls.append(("query", text))
        return self.vector_of(text)

    async def aembed_documents(self, texts):
        self.asked += 1
        await asyncio.sleep(0)
        return [self.vector_of(text) for text in texts]

    async def aembed_query(self, text):
        self.asked += 1
        await asyncio.sleep(0)
        return self.vector_of(text)

    def embed_image(self, uris):
        return [self.vector_of(uri) for uri in uris]

    @staticmethod
    def vector_of(text):
        return [text.lower().count(letter) + 0.01 for letter in "abcdefghijklmnopqrstuvwxyz"]


TEXTS = ["apples and pears", "cats and dogs", "wool of sheep", "a cat sleeps"]
METADATAS = [
    {"n": 1, "tags": ["fruit"], "none": None, "deep": {"a": [1, {"b": None}]}},
    {"n": 2, "tags": ["animal", "pet"], "name": "Rex and Tom"},
    {"n": 3, "tags": ["animal"]},
    {"n": 4},
]


@pytest.fixture
def filled():
    with RetrievalStore(Letters()) as store:
        store.add_texts(TEXTS, METADATAS, ids=["a", "b", "c", "d"])
        yield store


def ids_of(documents):
    return [document.id for document in documents]


def test_metadata_text_and_id_are_returned_unchanged(make):
    filled = make(Letters())
    filled.add_texts(TEXTS, METADATAS, ids=["a", "b", "c", "d"])
    for found in (filled.get_by_ids(["a", "b", "c", "d"]), filled.similarity_search("x", k=10)):
        by_id = {document.id: document for document in found}
        for point_id, text, metadata in zip("abcd", TEXTS, METADATAS, strict=True):
            assert by_id[point_id].page_content == text
            assert by_id[point_id].metadata == metadata


def test_adding_takes_any_iterable_makes_ids_and_changes_nothing_of_the_callers(make):
    store = make(Letters())
    metadatas, ids = [{"n": 1}, None], ["one", None]
    made = store.add_texts((text for text in ("x", "y")), metadatas, ids=ids, batch_size=7)
    assert made[0] == "one"
    assert uuid.UUID(made[1])
    assert (metadatas, ids) == ([{"n": 1}, None], ["one", None])
    document = Document(id="own", page_content="z", metadata={"a": 1})
    assert store.add_documents(d for d in [document]) == ["own"]
    assert store.add_documents([document], ids=["other"]) == ["other"]
    assert document == Document(id="own", page_content="z", metadata={"a": 1})
    assert store.add_texts([]) == []
    assert store.collection.count() == 4
    assert store.add_texts(["first", "second"], ids=["same", "same"]) == ["same", "same"]
    assert store.get_by_ids(["same"])[0].page_content == "second"


def test_lengths_that_differ_are_refused_before_anything_is_stored(filled):
    for wrong in ({"metadatas": [{}]}, {"ids": ["a", "b", "c"]}, {"ids": []}):
        with pytest.raises(InvalidArgumentError, match="there are 2 texts"):
            filled.add_texts(["x", "y"], **wrong)
    with pytest.raises(ValueError, match="metadatas"):
        filled.add_texts(["x", "y"], [{"ok": 1}, {"bad": object()}])
    assert filled.collection.count() == 4


def test_get_by_ids_bears_missing_and_repeated_ids(filled):
    assert ids_of(filled.get_by_ids(["zz", "b", "b", "a"])) == ["b", "a"]
    assert filled.get_by_ids([]) == []


def test_delete_by_filter_and_never_more_than_was_meant(make):
    store = make(Letters())
    store.add_texts(["a", "b", "c"], [{"t": 1}, {"t": 2}, {"t": 2}], ids=["a", "b", "c"])
    for wrong in ("where", "where_document", "id"):
        with pytest.raises(InvalidArgumentError, match=f"no argument '{wrong}'"):
            store.delete(**{wrong: {"t": 1}})
    assert store.delete(filter={"t": 9})
    assert store.delete([], filter={"t": 1})
    assert len(store.get_by_ids(["a", "b", "c"])) == 3
    assert store.delete(filter={"t": 1})
    assert store.delete(["b"], filter=Range(("t",), gte=2))
    assert [one.id for one in store.get_by_ids(["a", "b", "c"])] == ["c"]


def test_an_argument_that_is_not_our_client_is_refused():
    with pytest.raises(InvalidArgumentError, match=r"goes into one: Client\(qdrant_client=…\)"):
        RetrievalStore(Letters(), client=QdrantClient(":memory:"))


def test_delete_all_some_none(filled, monkeypatch):
    steps.fail(monkeypatch, "get_records")  # no ids are read for it
    assert filled.delete([]) is True
    assert filled.delete(["missing", "a", "a"]) is True
    assert filled.collection.count() == 3
    assert filled.delete() is True
    assert filled.collection.count() == 0
    assert filled.similarity_search("x") == []
    assert filled.max_marginal_relevance_search("x") == []


def searches(store):
    """Every kind of search, sync and async, as functions of a filter that return ids."""
    vector = Letters.vector_of("cat")
    run = asyncio.run
    return {
        "similarity_search": lambda f: store.similarity_search("cat", 10, filter=f),
        "by vector": lambda f: store.similarity_search_by_vector(vector, 10, filter=f),
        "with score": lambda f: [d for d, _ in store.similarity_search_with_score("cat", 10, f)],
        "relevance": lambda f: [
            d for d, _ in store.similarity_search_with_relevance_scores("cat", 10, filter=f)
        ],
        "mmr": lambda f: store.max_marginal_relevance_search("cat", 10, filter=f),
        "mmr by vector": lambda f: store.max_marginal_relevance_search_by_vector(
            vector, 10, filter=f
        ),
        "retriever": lambda f: store.as_retriever(search_kwargs={"k": 10, "filter": f}).invoke(
            "cat"
        ),
        "async": lambda f: run(store.asimilarity_search("cat", 10, filter=f)),
        "async by vector": lambda f: run(store.asimilarity_search_by_vector(vector, 10, filter=f)),
        "async mmr": lambda f: run(store.amax_marginal_relevance_search("cat", 10, filter=f)),
        "async relevance": lambda f: [
            d for d, _ in run(store.asimilarity_search_with_relevance_scores("cat", 10, filter=f))
        ],
        "text": lambda f: store.similarity_search(
            "cat cats wool apples", 10, filter=f, search_mode="text"
        ),
        "hybrid": lambda f: store.similarity_search("cat", 10, filter=f, search_mode="hybrid"),
    }


def test_every_search_takes_filters(make):
    filled = make(Letters())
    filled.add_texts(TEXTS, METADATAS, ids=["a", "b", "c", "d"])
    for name, search in searches(filled).items():
        assert sorted(ids_of(search({"n": {"$gte": 3}}))) == ["c", "d"], name
        assert sorted(ids_of(search(Range(("n",), lt=3)))) == ["a", "b"], name
        assert sorted(ids_of(search({"tags": {"$contains": "animal"}}))) == ["b", "c"], name


@pytest.mark.filterwarnings("ignore:Relevance scores must be between 0 and 1")
def test_scores_are_distances_and_relevance_is_what_langchains_helpers_make_of_them(make):
    helpers = {
        "cosine": VectorStore._cosine_relevance_score_fn,
        "l2": VectorStore._euclidean_relevance_score_fn,
        "ip": VectorStore._max_inner_product_relevance_score_fn,
    }
    for distance in ("cosine", "l2", "ip"):
        store = make(Letters(), distance=distance, collection_name=f"by-{distance}")
        store.add_texts(TEXTS, ids=["a", "b", "c", "d"])
        scored = store.similarity_search_with_score("a cat sleeps", 4)
        assert scored[0][0].id == "d" or distance == "ip"
        scores = [score for _, score in scored]
        assert scores == sorted(scores)
        query, vectors = (
            np.array(Letters.vector_of("a cat sleeps")),
            np.array(list(map(Letters.vector_of, TEXTS))),
        )
        if distance == "l2":
            exact = ((vectors - query) ** 2).sum(axis=1)
        else:
            exact = 1 - vectors @ query
            if distance == "cosine":
                lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
                exact = 1 - vectors @ query / lengths
        assert np.allclose(scores, sorted(exact), rtol=1e-4, atol=1e-6)
        relevance = [r for _, r in store.similarity_search_with_relevance_scores("a cat sleeps", 4)]
        assert relevance == pytest.approx([helpers[distance](score) for score in scores], abs=1e-6)
        assert relevance == sorted(relevance, reverse=True)


@pytest.mark.filterwarnings("ignore:Relevance scores must be between 0 and 1")
@pytest.mark.parametrize("distance", ["cosine", "l2", "ip"])
def test_a_threshold_means_the_same_as_in_langchains_store_for_chroma(distance):
    chroma = pytest.importorskip("langchain_chroma")
    embedding, how = DeterministicFakeEmbedding(size=6), {"hnsw": {"space": distance}}
    texts = [f"text {i}" for i in range(40)]
    with (
        retrieval_store.Client() as client,
        RetrievalStore(embedding, client=client, distance=distance) as store,
    ):
        store.add_texts(texts)
        theirs = chroma.Chroma("theirs", embedding, client=client, collection_configuration=how)
        theirs.add_texts(texts)
        for query in ("text x", "text y", "text z"):
            mine, other = (
                {
                    document.page_content: score
                    for document, score in one.similarity_search_with_relevance_scores(query, 40)
                }
                for one in (store, theirs)
            )
            assert mine == pytest.approx(other, abs=1e-5)
            for least in (0.0, 0.3, 0.5, 0.8):
                passed = store.similarity_search(query, 40, score_threshold=least)
                names = {text for text, score in other.items() if score >= least}
                assert {document.page_content for document in passed} == names


@pytest.mark.parametrize("distance", ["cosine", "l2", "ip"])
def test_a_vector_of_length_1_is_wholly_relevant_to_itself(distance):
    embedding = DeterministicFakeEmbedding(size=32)
    unit = np.array(embedding.embed_documents([str(i) for i in range(50)]))
    unit = (unit / np.linalg.norm(unit, axis=1, keepdims=True)).astype(np.float32)
    with RetrievalStore(distance=distance) as store:
        ids = [str(i) for i in range(50)]
        store.collection.add(ids, embeddings=unit, documents=ids)
        for i, vector in zip(ids, unit.tolist(), strict=True):
            ((found, relevance),) = store.similarity_search_by_vector_with_relevance_scores(
                vector, 1
            )
            assert (found.id, relevance) == (i, pytest.approx(1, abs=1e-5))


@pytest.mark.parametrize("mode", ["text", "hybrid"])
def test_scores_by_words_are_those_of_the_collection_greater_for_better_ones(filled, mode):
    scored = filled.similarity_search_with_score("cats and wool", 4, search_mode=mode)
    scores = [score for _, score in scored]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) >= 0
    relevant = filled.similarity_search_with_relevance_scores(
        "cats and wool", 4, search_mode=mode, score_threshold=0.0
    )
    assert [document.id for document, _ in relevant] == [document.id for document, _ in scored]
    relevance = [one for _, one in relevant]
    assert relevance == sorted(relevance, reverse=True)
    if mode == "hybrid":
        assert relevance == pytest.approx(scores)


def test_a_threshold_and_a_relevance_function_of_ones_own(make):
    store = make(Letters(), relevance_score_fn=lambda distance: 1 / (1 + 10 * distance))
    store.add_texts(TEXTS)
    retriever = store.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.99, "k": 4}
    )
    assert [d.page_content for d in retriever.invoke("a cat sleeps")] == ["a cat sleeps"]
    for mode in ("text", "hybrid"):  # the function is for distances only
        found = store.similarity_search_with_relevance_scores("cat", 4, search_mode=mode)
        assert found and all(0 <= relevance <= 1 for _, relevance in found)


def test_mmr_at_one_is_relevance_and_below_brings_others(filled):
    filled.add_texts(["a cat sleeps", "a cat sleeps."], ids=["d2", "d3"])
    nearest = ids_of(filled.similarity_search("a cat sleeps", 3))
    assert ids_of(filled.max_marginal_relevance_search("a cat sleeps", 3, lambda_mult=1)) == nearest
    diverse = ids_of(filled.max_marginal_relevance_search("a cat sleeps", 3, lambda_mult=0.1))
    assert diverse[0] == nearest[0]
    assert set(diverse) != set(nearest)
    retriever = filled.as_retriever(search_type="mmr", search_kwargs={"k": 2, "fetch_k": 3})
    assert len(retriever.invoke("cat")) == 2


ASKED = "aaaaaaaazzz"


@pytest.fixture
def few_relevant():
    """A store of five similar documents near `ASKED`, and fifteen that share a little with it and
    nothing with those five. A choice by variety alone would take these."""
    near = ["aaaaaaaa" + letter for letter in "bcdef"]
    far = ["zzzz" + letter * 8 for letter in "ghijklmnopqrstu"]
    ids = [f"near{i}" for i in range(5)] + [f"far{i}" for i in range(15)]
    with RetrievalStore.from_texts(near + far, Letters(), ids=ids) as store:
        yield store


@pytest.mark.parametrize("weight", [0, 1])
def test_mmr_chooses_among_what_is_relevant_enough(few_relevant, weight):
    relevance = few_relevant.similarity_search_with_relevance_scores(ASKED, 20)
    assert sorted(d.id for d, score in relevance if score >= 0.8) == [f"near{i}" for i in range(5)]
    how = {"k": 4, "score_threshold": 0.8, "lambda_mult": weight}
    vector = Letters.vector_of(ASKED)
    retriever = few_relevant.as_retriever(search_type="mmr", search_kwargs=how)
    with_scores = few_relevant.max_marginal_relevance_search_with_score_by_vector(vector, **how)
    for found in (
        few_relevant.max_marginal_relevance_search(ASKED, **how),
        few_relevant.max_marginal_relevance_search_by_vector(vector, **how),
        [document for document, _ in with_scores],
        retriever.invoke(ASKED),
        asyncio.run(retriever.ainvoke(ASKED)),
        asyncio.run(few_relevant.amax_marginal_relevance_search(ASKED, **how)),
        asyncio.run(few_relevant.amax_marginal_relevance_search_by_vector(vector, **how)),
    ):
        assert len(set(ids_of(found))) == 4
        assert all(point_id.startswith("near") for point_id in ids_of(found))
    assert len(few_relevant.max_marginal_relevance_search(ASKED, **{**how, "k": 9})) == 5
    assert few_relevant.max_marginal_relevance_search("zzz", **how) == []


def test_a_query_is_embedded_once_and_text_mode_not_at_all(filled):
    embedding = filled.embeddings
    for search in (
        lambda: filled.similarity_search("cat"),
        lambda: filled.similarity_search_with_relevance_scores("cat"),
        lambda: filled.max_marginal_relevance_search("cat"),
        lambda: filled.similarity_search("cat", search_mode="hybrid"),
    ):
        embedding.calls.clear()
        search()
        assert embedding.calls == [("query", "cat")]
    embedding.calls.clear()
    assert ids_of(filled.similarity_search("sleeps", search_mode="text")) == ["d"]
    assert embedding.calls == []


def test_without_an_embedding_vectors_and_words_still_work(make):
    store = make()
    store.collection.add(["a"], embeddings=[[1, 0]], documents=["some words"])
    assert ids_of(store.similarity_search_by_vector([1, 0])) == ["a"]
    assert ids_of(store.similarity_search("words", search_mode="text")) == ["a"]
    for use in (lambda: store.add_texts(["x"]), lambda: store.similarity_search("x")):
        with pytest.raises(EmbeddingFunctionError, match="without embedding="):
            use()


def test_the_event_loop_is_never_blocked(make, beside_the_loop):
    store = make(Letters())

    async def main():
        beside_the_loop()
        ids = await store.aadd_texts(TEXTS, ids=["a", "b", "c", "d"])
        await store.aadd_documents([Document(page_content="more", id="e")])
        assert ids_of(await store.asimilarity_search("a cat sleeps", k=1)) == ["d"]
        assert len(await store.asimilarity_search_with_score("cat", k=2)) == 2
        assert len(await store.amax_marginal_relevance_search("cat", k=2)) == 2
        assert len(await store.aget_by_ids(ids)) == 4
        assert await store.adelete(["a"])
        assert len(await store.as_retriever().ainvoke("cat")) == 4

    asyncio.run(main())
    called = [texts for _, texts in store.embeddings.calls]
    assert called == [], "an async method called a sync embedding"
    assert store.embeddings.asked == 6


@pytest.mark.parametrize(
    ("cleanup", "encoder"),
    [(None, "sha256"), ("incremental", "sha1"), ("full", "sha512"), ("scoped_full", "blake2b")],
)
@pytest.mark.filterwarnings("ignore:Using SHA-1")
def test_indexing_with_a_record_manager(make, cleanup, encoder):
    store = make(Letters())
    manager = InMemoryRecordManager("ns")
    manager.create_schema()

    def document(text, source):
        return Document(page_content=text, metadata={"source": source})

    def run(documents):
        return index(
            documents, manager, store, cleanup=cleanup, source_id_key="source", key_encoder=encoder
        )

    first = run([document("one", "1"), document("two", "2"), document("two", "2")])
    assert first["num_added"] == 2
    assert run([document("one", "1"), document("two", "2")])["num_skipped"] == 2
    changed = run([document("one, changed", "1")])
    assert changed["num_added"] == 1
    left = {d.page_content for d in store.similarity_search("x", k=10)}
    expected = {
        None: {"one", "one, changed", "two"},
        "incremental": {"one, changed", "two"},
        "full": {"one, changed"},
        "scoped_full": {"one, changed", "two"},
    }
    assert left == expected[cleanup]
    result = asyncio.run(
        aindex(
            [document("three", "3")],
            manager,
            store,
            cleanup=cleanup,
            source_id_key="source",
            key_encoder=encoder,
        )
    )
    assert result["num_added"] == 1


def comparison(comparator, attribute, value):
    return Comparison(comparator=comparator, attribute=attribute, value=value)


COMPARISONS = [
    (comparison(Comparator.EQ, "n", 2), "b"),
    (comparison(Comparator.NE, "n", 2), "acd"),
    (comparison(Comparator.NE, "name", "x"), "abcd"),
    (comparison(Comparator.GT, "n", 2), "cd"),
    (comparison(Comparator.GTE, "n", 2), "bcd"),
    (comparison(Comparator.LT, "n", 2), "a"),
    (comparison(Comparator.LTE, "n", 2), "ab"),
    (comparison(Comparator.IN, "n", [1, 4, 9]), "ad"),
    (comparison(Comparator.NIN, "n", [1, 4, 9]), "bc"),
    (comparison(Comparator.CONTAIN, "tags", "animal"), "bc"),
    (comparison(Comparator.CONTAIN, "name", "and Tom"), "b"),
    (comparison(Comparator.LIKE, "name", "%rex%"), "b"),
]


def test_self_query_translates_every_comparator(filled):
    for directive, expected in COMPARISONS:
        request = StructuredQuery(query="cat", filter=directive, limit=None)
        query, kwargs = RetrievalStoreTranslator().visit_structured_query(request)
        found = ids_of(filled.similarity_search(query, 10, **kwargs))
        assert "".join(sorted(found)) == expected, directive


def test_self_query_translates_every_operator(filled):
    two, big = comparison(Comparator.EQ, "n", 2), comparison(Comparator.GT, "n", 2)
    for operator, arguments, expected in (
        (Operator.AND, [comparison(Comparator.NE, "n", 1), big], "cd"),
        (Operator.OR, [two, big], "bcd"),
        (Operator.NOT, [two], "acd"),
        (Operator.NOT, [Operation(operator=Operator.OR, arguments=[two, big])], "a"),
    ):
        directive = Operation(operator=operator, arguments=arguments)
        _, kwargs = RetrievalStoreTranslator().visit_structured_query(
            StructuredQuery(query="", filter=directive)
        )
        assert "".join(sorted(ids_of(filled.similarity_search("x", 10, **kwargs)))) == expected
    assert RetrievalStoreTranslator().visit_structured_query(
        StructuredQuery(query="q", filter=None)
    ) == ("q", {})
    with pytest.raises(
        ValueError, match=r"'n' is compared by 'gt' with 'two' \(str\), expected a number"
    ):
        RetrievalStoreTranslator().visit_comparison(comparison(Comparator.GT, "n", "two"))


def test_images_are_added_and_found_by_image(make):
    store = make(Letters())
    store.add_texts(["cat"], ids=["text"])
    assert store.add_images(["images/zzz.png"], [{"n": 1}], ids=["image"]) == ["image"]
    (found,) = store.similarity_search_by_image("images/zzz.png", k=1)
    assert (found.id, found.page_content, found.metadata) == ("image", "images/zzz.png", {"n": 1})
    with pytest.raises(EmbeddingFunctionError, match="embed_image"):
        make(DeterministicFakeEmbedding(size=26)).add_images(["x.png"])


def test_stores_can_be_created_from_texts_and_documents_sync_and_async(tmp_path):
    documents = [
        Document(page_content=t, metadata=m) for t, m in zip(TEXTS, METADATAS, strict=True)
    ]
    embedding = Letters()
    options = {"collection_name": "mine", "distance": "l2"}
    with RetrievalStore.from_texts(
        TEXTS, embedding, METADATAS, path=tmp_path / "a", **options
    ) as a:
        assert a.collection.name == "mine"
        assert a.collection.configuration["hnsw"]["space"] == "l2"
    b = RetrievalStore.from_documents(documents, embedding, path=tmp_path / "b", **options)
    c = asyncio.run(RetrievalStore.afrom_documents(documents, embedding, **options))
    d = asyncio.run(RetrievalStore.afrom_texts(TEXTS, embedding, METADATAS, **options))
    for store in (b, c, d):
        assert store.collection.count() == 4
        store.close()
    with RetrievalStore(embedding, path=tmp_path / "a", **options) as again:
        assert again.similarity_search("a cat sleeps", 1)[0].metadata == {"n": 4}
    with RetrievalStore(embedding, path=tmp_path / "a", collection_name="mine") as again:
        assert again.collection.configuration["hnsw"]["space"] == "l2"
    with pytest.raises(ConflictError, match="space='l2'"):
        RetrievalStore(embedding, path=tmp_path / "a", collection_name="mine", distance="cosine")


def test_stores_on_one_path_share_it_and_close_for_themselves(tmp_path):
    one = RetrievalStore(Letters(), path=tmp_path)
    other = RetrievalStore(Letters(), path=tmp_path)
    one.add_texts(["hello"], ids=["x"])
    one.close()
    assert ids_of(other.similarity_search("hello")) == ["x"]
    other.close()
    with (
        pytest.raises(InvalidArgumentError, match="at most one of"),
        retrieval_store.Client() as client,
    ):
        RetrievalStore(path=tmp_path, client=client)


def test_langchains_own_adapter_for_chroma_works_on_our_client():
    chroma = pytest.importorskip("langchain_chroma")
    with retrieval_store.Client() as client:
        store = chroma.Chroma("things", Letters(), client=client)
        store.add_texts(TEXTS, [{"n": i} for i in range(4)], ids=["a", "b", "c", "d"])
        assert ids_of(store.similarity_search("a cat sleeps", k=1)) == ["d"]
        assert ids_of(store.similarity_search("cat", k=4, filter={"n": 2})) == ["c"]
        assert len(store.max_marginal_relevance_search("cat", k=2)) == 2
        store.update_document("a", Document(page_content="zebra", metadata={"n": 9}))
        assert store.get_by_ids(["a"])[0].page_content == "zebra"
        store.delete(["a"])
        assert sorted(store.get()["ids"]) == ["b", "c", "d"]


@pytest.mark.parametrize("fusion", ["rrf", "weighted", "adaptive", None])
def test_relevance_is_from_0_to_1_and_1_of_what_is_first_by_words_and_meaning(filled, fusion):
    for alpha in (0, 0.5, 1):
        how = {"search_mode": "hybrid", "alpha": alpha, "fusion": fusion}
        found = filled.similarity_search_with_relevance_scores("a cat sleeps wool", 4, **how)
        relevance = [score for _, score in found]
        assert relevance == sorted(relevance, reverse=True)
        assert all(0 <= score <= 1 for score in relevance)
        found = filled.similarity_search_with_relevance_scores(TEXTS[0], 4, **how)
        if alpha == 0.5:
            assert (found[0][0].page_content, found[0][1]) == (TEXTS[0], pytest.approx(1))


def test_unknown_arguments_are_refused_instead_of_ignored(filled):
    with pytest.raises(InvalidArgumentError, match="no argument 'where'"):
        filled.similarity_search("cat", where={"n": 1})
    with pytest.raises(InvalidArgumentError, match="ef is -4"):
        filled.similarity_search("cat", ef=-4)
    with pytest.raises(TypeError):
        filled.max_marginal_relevance_search("cat", bogus=1)
    assert len(filled.similarity_search("cat", 4, filter={})) == 4
    assert len(filled.max_marginal_relevance_search("cat", 4, filter={}, exact=True)) == 4
    for use in (filled.delete, filled.get_by_ids):
        with pytest.raises(InvalidArgumentError, match="ids is the str 'abc'"):
            use("abc")
    assert filled.collection.count() == 4


def test_images_are_found_by_their_captions_too(make):
    store = make(Letters())
    captions = ["a rose in a vase", None]
    store.add_images(
        ["images/zzz.png", "b.png"], [{"n": 1}, None], ids=["x", "y"], captions=captions
    )
    (found,) = store.similarity_search_by_image("images/zzz.png", k=1)
    (by_words,) = store.similarity_search("vase", k=1, search_mode="text")
    assert found == by_words and found.page_content == "a rose in a vase"
    assert found.metadata == {"n": 1, "uri": "images/zzz.png"}
    assert store.get_by_ids(["y"])[0].page_content == "b.png"
    with pytest.raises(InvalidArgumentError, match="captions has 1 items"):
        store.add_images(["a.png", "b.png"], captions=["x"])


def test_an_image_over_a_text_replaces_it_and_the_other_way_round(make):
    store = make(Letters())
    store.add_texts(["hello"], [{"n": 1}], ids=["a"])
    store.add_images(["x.png"], ids=["a"])
    (found,) = store.get_by_ids(["a"])
    assert (found.page_content, found.metadata) == ("x.png", {})
    assert store.similarity_search("hello", search_mode="text") == []
    store.add_texts(["again"], ids=["a"])
    assert store.collection.get("a", include=["uris"])["uris"] == [None]


def test_filters_nested_too_deep_are_refused_by_searches_and_deletes():
    expression = OneOf(("n",), (1,))
    condition = {"n": 1}
    for _ in range(10_000):
        expression, condition = Not(expression), {"$or": [condition]}
    with RetrievalStore(DeterministicFakeEmbedding(size=8)) as store:
        store.add_texts(["x"], [{"n": 1}])
        for deep in (expression, condition):
            for use in (
                lambda deep=deep: store.similarity_search("x", filter=deep),
                lambda deep=deep: store.delete(filter=deep),
            ):
                with pytest.raises(InvalidFilterError, match="nested deeper than 200 levels"):
                    use()
        assert store.collection.count() == 1


def test_a_point_that_is_no_document_is_damage(tmp_path):
    with RetrievalStore(DeterministicFakeEmbedding(size=8), path=tmp_path) as store:
        store.add_texts(["x"], ids=["a"])
        for broken in ({"documents": [b"\xff"]}, {"metadatas": [[1]]}, {"ids": [{"a": 1}]}):
            found = {"ids": ["a"], "documents": ["x"], "metadatas": [None], **broken}
            store.collection.get = lambda found=found, **_: found
            with pytest.raises(DamagedError, match=r"point .* is no document of LangChain"):
                store.get_by_ids(["a"])


async def test_texts_that_the_model_does_not_read_to_the_end_are_warned_of(caplog, monkeypatch):
    as_a_new_process(monkeypatch)
    long = "a river runs through the valley and on to the sea " * 60
    with RetrievalStore("wordllama") as store:
        store.add_texts(["short"], ids=["b"])
        assert not caplog.records
        await store.aadd_texts([long, "short", long + "!"], ids=["a", "b", "c"])
        assert "2 of 3 texts are longer than the 256 tokens" in caplog.text


def shortest(query, documents):
    """A re-ranker that records its input."""
    assert query == "cats"
    return [-len(one) for one in documents]


def test_a_reranker_orders_every_search(filled):
    by_length = sorted(TEXTS, key=len)
    for mode in ("dense", "text", "hybrid"):
        found = filled.similarity_search("cats", 4, search_mode=mode, rerank=shortest)
        texts = [one.page_content for one in found]
        assert texts == [one for one in by_length if one in texts]
    scored = filled.similarity_search_with_score("cats", 2, rerank=shortest, rerank_from=4)
    assert [(one.page_content, score) for one, score in scored] == [
        (one, -len(one)) for one in by_length[:2]
    ]
    assert len(filled.similarity_search("cats", 4, rerank=shortest, min_score=-13)) == 3
    found = asyncio.run(filled.asimilarity_search("cats", 1, rerank=shortest))
    assert found[0].page_content == by_length[0]
    given = {"k": 1, "rerank": shortest, "rerank_query": "cats"}
    (found,) = filled.as_retriever(search_kwargs=given).invoke("anything")
    assert found.page_content == by_length[0]
    assert filled.explain("cats", 2, rerank=shortest)["reranked"][0][0]["after"] == 1

    def never(query, texts):
        raise AssertionError("a model was asked in vain")

    with pytest.raises(InvalidArgumentError, match="scores say of relevance isn't known"):
        filled.similarity_search_with_relevance_scores("cats", rerank=never)
    with pytest.raises(InvalidArgumentError, match="scores say of relevance isn't known"):
        filled.similarity_search("cats", rerank=never, score_threshold=0.5)
    with pytest.raises(InvalidArgumentError, match="rerank doesn't go with maximal marginal"):
        filled.max_marginal_relevance_search("cats", rerank=shortest)
    with pytest.raises(InvalidArgumentError, match="rerank needs texts to compare"):
        filled.similarity_search_by_vector([1.0] * 26, rerank=shortest)


def test_rerankers_of_langchain_work_on_top(filled):
    from langchain_core.documents.compressor import BaseDocumentCompressor

    class Shortest(BaseDocumentCompressor):
        def compress_documents(self, documents, query, callbacks=None):
            return sorted(documents, key=lambda one: len(one.page_content))

    found = filled.as_retriever(search_kwargs={"k": 4}).invoke("cats")
    ordered = Shortest().compress_documents(found, "cats")
    reranked = filled.similarity_search("cats", 4, rerank=shortest)
    assert [one.id for one in ordered] == [one.id for one in reranked]
