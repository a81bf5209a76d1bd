"""Arguments that don't fit together, or have no effect: errors name them, and nothing is written or
lost."""

import asyncio
import os
import pickle
import time
from contextlib import suppress
from functools import partial

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.structured_query import Comparator, Comparison
from langchain_retrieval_store import (
    RetrievalStore,
    RetrievalStoreIndex,
    RetrievalStoreRetriever,
    RetrievalStoreTranslator,
)

import retrieval_store
from integrations.langchain.tests.test_langchain import METADATAS, TEXTS, Letters, ids_of
from retrieval_store import WordLlamaEmbedding
from retrieval_store.embeddings.bm25 import BM25Embedding
from retrieval_store.errors import (
    ConflictError,
    EmbeddingFunctionError,
    InvalidArgumentError,
    InvalidFilterError,
    InvalidTypeError,
    NotFoundError,
)
from retrieval_store.filters.expression import And, ListHas, Not, OneOf, Or
from retrieval_store.qdrant import models
from tests.helpers import steps


@pytest.fixture
def store():
    with RetrievalStore(Letters()) as store:
        store.add_texts(TEXTS, METADATAS, ids=["a", "b", "c", "d"])
        yield store


BESIDE = [
    {"filter": {"n": 1}},
    {"filter": {"n": 1}, "search_kwargs": {"k": 2}},
    {"filter": {"n": 1}, "search_kwargs": {"filter": {"n": 1}}},
    {"filter": {"n": 1}, "search_type": "mmr", "fetch_k": 9, "lambda_mult": 0.2},
    {"filter": {"n": 1}, "search_type": "similarity_score_threshold", "score_threshold": 0.0},
    {"filter": {"n": 1}, "search_type": "hybrid", "alpha": 0.3},
    {"where_document": {"$contains": "apples"}},
    {"k": 1},
    {"max_distance": 0.0001, "exact": True},
]


@pytest.mark.parametrize("given", BESIDE, ids=repr)
def test_arguments_of_a_search_are_combined_with_search_kwargs(store, given):
    made = [store.as_retriever(**given), RetrievalStoreRetriever(vectorstore=store, **given)]
    if "search_type" not in given:
        made.append(RetrievalStoreIndex(store=store, **given))
    for retriever in made:
        assert ids_of(retriever.invoke(TEXTS[0])) == ["a"]
        assert ids_of(asyncio.run(retriever.ainvoke(TEXTS[0]))) == ["a"]
        assert ids_of(retriever.batch([TEXTS[0]])[0]) == ["a"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fliter": {}}, "no argument 'fliter'; a retriever with search_type 'similarity' takes k"),
        ({"search_kwargs": {"fliter": {}}}, "no argument 'fliter'"),
        ({"fetch_k": 9}, "no argument 'fetch_k'"),
        ({"k": 3, "search_kwargs": {"k": 4}}, r"k is 3 \(int\), but search_kwargs say 4"),
        ({"search_kwargs": [("k", 3)]}, "search_kwargs is .*expected a dict"),
        ({"search_mode": "hybrid", "fusion": "rff"}, "fusion is 'rff'"),
        ({"search_kwargs": {"depth": 3}}, "depth is 3"),
        (
            {"search_type": "text", "search_mode": "hybrid"},
            "search_mode is 'hybrid'.*but this search is 'text'",
        ),
    ],
)
def test_retrievers_refuse_what_no_search_of_theirs_takes(store, given, message):
    with pytest.raises(InvalidArgumentError, match=message):
        store.as_retriever(**given)
    if "search_type" not in given:
        with pytest.raises(InvalidArgumentError, match=message):
            RetrievalStoreIndex(store=store, **given)


ALWAYS = [
    {},
    And(()),
    Not(Or(())),
    Not(OneOf(("n",), ())),
    Not(ListHas(("n",), ())),
    models.Filter(must_not=[models.HasIdCondition(has_id=[])]),
    models.Filter(must_not=[models.FieldCondition(key="n", match=models.MatchAny(any=[]))]),
    models.Filter(),
    models.Filter(should=[models.Filter()]),
    models.Filter(must_not=[models.Filter(must_not=[models.Filter()])]),
]


@pytest.mark.parametrize("always", ALWAYS, ids=repr)
def test_filters_that_restrict_nothing_find_everything_and_delete_nothing(store, always):
    for delete in (store.delete, lambda **how: asyncio.run(store.adelete(**how))):
        with pytest.raises(InvalidArgumentError, match="which restricts nothing"):
            delete(filter=always)
    assert len(store.similarity_search("x", 10, filter=always)) == 4
    assert store.delete(["a"], filter=always)
    assert store.collection.count() == 3


def test_a_filter_that_happens_to_be_none_deletes_nothing(store):
    with pytest.raises(InvalidArgumentError, match=r"filter is None .*which restricts nothing"):
        store.delete(filter=None)
    assert store.collection.count() == 4
    assert store.delete(["a"], filter=None)
    assert store.collection.count() == 3
    assert store.delete()
    assert store.collection.count() == 0


@pytest.mark.parametrize("never", [Or(()), OneOf(("n",), ())], ids=repr)
def test_filters_that_nothing_fulfils_find_and_delete_nothing(store, never):
    assert store.similarity_search("x", filter=never) == []
    assert store.delete(filter=never)
    assert store.collection.count() == 4


WRONG = [
    (lambda s: s.similarity_search("x", "3"), r"k is '3' \(str\), expected an int"),
    (lambda s: s.similarity_search("x", None), "k is None"),
    (lambda s: s.max_marginal_relevance_search("x", fetch_k="y"), "fetch_k is 'y'"),
    (lambda s: s.add_documents(["x"]), r"documents\[0\] is 'x' \(str\), expected Document"),
    (lambda s: s.add_documents("x"), "documents is the str 'x', expected a list"),
    (lambda s: s.add_documents(Document(page_content="x")), "documents is one Document"),
    (lambda s: s.add_documents([], metadatas=[{}]), "no argument 'metadatas'"),
    (lambda s: s.add_texts(None), "texts is None"),
    (lambda s: s.add_texts(["x", 3]), r"texts\[1\] is 3 \(int\), expected str"),
    (lambda s: s.add_texts(["x"], [["ab"]]), r"metadatas\[0\] is \['ab'\]"),
    (lambda s: s.add_texts(["x"], {"a": 1}), "metadatas is"),
    (lambda s: s.add_texts(["x"], ids="x"), "ids is the str 'x'"),
    (lambda s: s.add_texts(["x"], ids=[3]), r"ids\[0\] is 3 \(int\), expected str"),
    (lambda s: s.get_by_ids(3), r"ids is 3 \(int\)"),
    (lambda s: s.get_by_ids([[1]]), r"ids\[0\] is \[1\]"),
    (lambda s: s.delete([[1]]), r"ids\[0\] is \[1\]"),
    (lambda s: s.update_documents(["a"], ["x"]), r"documents\[0\] is 'x'"),
    (lambda s: s.similarity_search_by_image(3), r"uri is 3 \(int\)"),
    (lambda s: s.search("x", "bogus"), "search_type is 'bogus'.*similarity, .*text, sparse, hyb"),
    (lambda s: s.similarity_search("x", alpha=0.3), "alpha is 0.3 .*search is 'dense'"),
    (lambda s: s.similarity_search("x", fusion="rrf", search_mode="text"), "search is 'text'"),
    (lambda s: s.similarity_search("x", depth=(9, 9)), r"depth is \(9, 9\)"),
    (lambda s: s.hybrid_search("x", alpha=1, fusion="rff"), "fusion is 'rff'"),
    (lambda s: s.hybrid_search("x", search_mode="text"), "but this search is 'hybrid'"),
    (lambda s: s.search("x", "text", search_mode="dense"), "but this search is 'text'"),
    (
        lambda s: s.similarity_search("x", ef=9, search_params={"hnsw_ef": 7}),
        "ef is 9 .*search_params say 7",
    ),
    (lambda s: s.similarity_search("x", search_params={1: 2}), "no argument 1; search_params"),
    (lambda s: s.similarity_search("x", search_params={"hnsw_ef": 0}), "ef is 0"),
    (
        lambda s: s.similarity_search("x", filter=models.Filter.model_construct(must=[5])),
        "no condition of a filter",
    ),
    (
        lambda s: s.similarity_search(
            "x", filter=models.Filter(min_should=models.MinShould(conditions=[], min_count=0))
        ),
        "filter: ",
    ),
]


@pytest.mark.parametrize(("call", "message"), WRONG, ids=[message for _, message in WRONG])
def test_invalid_arguments_are_named_and_nothing_is_written(store, call, message):
    with pytest.raises(InvalidArgumentError, match=message):
        call(store)
    assert store.collection.count() == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"collection": "x"}, r"collection is 'x' \(str\), expected a Collection"),
        ({"configuration": 3}, r"configuration is 3 \(int\), expected a dict"),
        ({"sparse_embedding": 3}, "sparse_embedding is 3"),
        ({"sparse_embedding": Letters}, "sparse_embedding is"),
        ({"relevance_score_fn": 3}, "relevance_score_fn is 3"),
        ({"retrieval_mode": "words"}, "retrieval_mode is 'words'"),
        ({"content_payload_key": ""}, "content_payload_key is ''"),
        ({"metadata_payload_key": 5}, "metadata_payload_key is 5"),
        ({"metadata_payload_key": "_node"}, "'_node', which is reserved"),
        ({"content_payload_key": "t", "metadata_payload_key": "t"}, "are both 't'"),
        (
            {"distance": "cosine", "configuration": {"hnsw": {"space": "l2"}}},
            "distance is 'cosine', but the configuration says 'l2'",
        ),
        (
            {"distance": "cosine", "collection_metadata": {"hnsw:space": "l2"}},
            "distance is 'cosine', but the configuration says 'l2'",
        ),
    ],
)
def test_stores_that_cannot_be_created_give_the_reason(arguments, message):
    with pytest.raises((InvalidArgumentError, ConflictError), match=message):
        RetrievalStore(Letters(), **arguments)


def test_an_open_collection_keeps_its_settings_and_others_are_a_conflict(store):
    with pytest.raises(ConflictError, match="made with space='cosine', but 'l2' is given"):
        RetrievalStore(Letters(), collection=store.collection, distance="l2")
    for configuration, message in (
        ({"index": "hnsw"}, "made with index={'name': 'codes'.*but {'name': 'hnsw'"),
        ({"recall": 0.9}, "made with recall=None, but 0.9 is given"),
        ({"expires": "until"}, "made with expires=None, but 'until' is given"),
        ({"sparse": {}}, "made with sparse=None"),
    ):
        with pytest.raises(ConflictError, match=message):
            RetrievalStore(Letters(), collection=store.collection, configuration=configuration)
    same = {"index": "codes", "recall": None, "hnsw": {"space": "cosine"}}
    RetrievalStore(Letters(), collection=store.collection, configuration=same)
    with RetrievalStore(Letters(), collection_metadata={"hnsw:space": "l2"}) as of_chroma:
        assert of_chroma.collection.configuration["hnsw"]["space"] == "l2"
        assert repr(of_chroma).startswith("<RetrievalStore of <Collection 'langchain'")


@pytest.mark.parametrize("step", ["replace_function", "open_existing"])
def test_a_collection_deleted_while_it_is_opened_is_created_anew(monkeypatch, step):
    made = {"collection_metadata": {"by": "me"}, "sparse_embedding": BM25Embedding()}
    with retrieval_store.Client() as client:

        def delete():
            with suppress(NotFoundError):
                client.delete_collection("langchain")

        RetrievalStore(Letters(), client=client, **made)
        steps.before(monkeypatch, step, delete)
        opened = RetrievalStore(Letters(), client=client, **made).collection
        settings = opened.configuration
        assert opened.metadata == {"by": "me"}
        assert (settings["hnsw"]["space"], settings["sparse"]) == ("cosine", {"idf": True})
        with pytest.raises(NotFoundError):
            RetrievalStore(Letters(), client=client, create=False)
        assert client.list_collections() == []


def test_a_reset_keeps_the_settings_and_metadata_that_the_collection_has(tmp_path):
    made = {"distance": "l2", "configuration": {"sparse": {"idf": True}}}
    with RetrievalStore(Letters(), path=tmp_path, collection_metadata={"by": "me"}, **made) as one:
        one.add_texts(["x"])
    with RetrievalStore.from_existing_collection("langchain", Letters(), path=tmp_path) as store:
        store.reset_collection()
        assert store.add_texts(["y"], ids=["y"]) == ["y"]
        settings = store.collection.configuration
        assert (settings["hnsw"]["space"], settings["sparse"]) == ("l2", {"idf": True})
        assert store.collection.metadata == {"by": "me"}
        with retrieval_store.Client(tmp_path) as client:
            client.delete_collection("langchain")
        store.reset_collection()
        assert store.collection.count() == 0


def test_a_reset_keeps_settings_that_were_changed_since(tmp_path):
    metadata = {"hnsw:search_ef": 50, "by": "me"}
    with RetrievalStore(Letters(), path=tmp_path, collection_metadata=metadata) as store:
        store.add_texts(["x"])
        store.collection.modify(configuration={"hnsw": {"ef_search": 100}, "recall": 0.0})
        store.reset_collection()
        settings = store.collection.configuration
        assert (settings["hnsw"]["ef_search"], settings["recall"]) == (100, 0.0)
        assert store.collection.metadata["by"] == "me" and not store.collection.count()


class Duck:
    """Has the methods of LangChain's `Embeddings`, but only the async ones work."""

    def embed_documents(self, texts):
        raise AssertionError("this would block")

    embed_query = embed_documents

    async def aembed_documents(self, texts):
        return Letters().embed_documents(texts)

    async def aembed_query(self, text):
        return Letters().embed_query(text)


def test_the_async_methods_of_what_is_no_embedding_of_langchain_are_awaited():
    async def run():
        with RetrievalStore(Duck()) as store:
            await store.aadd_texts(["cat", "dog"], ids=["c", "d"])
            return [found.id for found in await store.asimilarity_search("cat", k=1)]

    assert asyncio.run(run()) == ["c"]


@pytest.fixture
def nested():
    with RetrievalStore(Letters(), metadata_payload_key="me.ta") as store:
        store.add_texts(["cat", "dog"], [{"x.y": 5, "n": {"k": 1}, "z": 1}, {"x": {"y": 5}}])
        yield store


def test_metadata_under_a_key_are_merged_filtered_and_grouped_as_without(nested):
    for query, found in (
        ({"x.y": 5}, {"cat", "dog"}),
        ({"n.k": 1}, {"cat"}),
        ({"x.y": {"$ne": 5}}, set()),
        ({"z": {"$exists": False}}, {"dog"}),
    ):
        texts = {d.page_content for d in nested.similarity_search("x", filter=query)}
        assert texts == found, query
    (cat,) = nested.similarity_search("cat", 1)
    nested.update_document(cat.id, Document(page_content="cats", metadata={"z": None, "new": 2}))
    assert nested.get_by_ids([cat.id])[0].metadata == {"x.y": 5, "n": {"k": 1}, "new": 2}
    with RetrievalStore(Letters(), metadata_payload_key="metadata") as store:
        store.add_texts(["a", "b", "c"], [{"g": 1}, {"g": 1}, {"g": 2}])
        assert len(store.similarity_search("a", group_by="g")) == 2
        with (
            RetrievalStore(Letters(), content_payload_key="title") as titled,
            pytest.raises(InvalidArgumentError, match="'title', which is the key of its text"),
        ):
            titled.add_texts(["x"], [{"title": "mine"}])


def test_dates_in_self_queries_are_times_in_every_comparison(store):
    days = ["2016-03-07", "2016-03-07T00:00:00Z", "2016-03-07T02:00:00+02:00", "2016-03-08"]
    store.add_texts(days, [{"day": day} for day in days], ids=list("1234"))
    date = {"type": "date", "date": "2016-03-07"}
    translate = RetrievalStoreTranslator().visit_comparison
    for comparator, value, expected in (
        (Comparator.EQ, date, "123"),
        (Comparator.IN, [date, "2016-03-08"], "1234"),
        (Comparator.NE, date, "4abcd"),
        (Comparator.NIN, [date], "4abcd"),
        (Comparator.GT, "2016-03-07", "4"),
        (Comparator.LIKE, "%-08%", "4"),
    ):
        query = translate(Comparison(comparator=comparator, attribute="day", value=value))
        found = ids_of(store.similarity_search("x", 10, filter=query))
        assert "".join(sorted(found)) == expected, comparator
    with pytest.raises(InvalidFilterError, match="per-cent signs at its ends alone"):
        translate(Comparison(comparator=Comparator.LIKE, attribute="day", value="2016%08"))


class Alike:
    """Has the methods of `Embeddings` without being one."""

    embed_documents, embed_query = Letters.embed_documents, Letters.embed_query
    vector_of = staticmethod(Letters.vector_of)

    def __init__(self):
        self.calls = []


def test_objects_like_embeddings_are_also_accepted_by_async_methods():
    async def main(store):
        await store.aadd_texts(["cat"], ids=["cat"])
        return ids_of(await store.asimilarity_search("cat"))

    with RetrievalStore(Alike()) as store:
        assert asyncio.run(main(store)) == ["cat"]


def test_a_stream_is_read_outside_of_the_loop(store):
    ticks = []

    def slow():
        for i in range(5):
            time.sleep(0.02)
            yield Document(page_content=f"text {i}")

    async def tick():
        while True:
            ticks.append(time.monotonic())
            await asyncio.sleep(0.001)

    async def main():
        ticking = asyncio.create_task(tick())
        await store.aadd_documents(slow())
        await store.aadd_documents(slow(), batch_size=2)
        ticking.cancel()

    asyncio.run(main())
    assert store.collection.count() == 14
    assert len(ticks) > 20


def test_an_embedding_may_be_given_by_its_name(tmp_path):
    with RetrievalStore("wordllama", path=tmp_path) as store:
        store.add_texts(["A kitten sleeps.", "Stocks fell."], ids=["cat", "money"])
        assert store.collection.configuration["embedding_function"]["name"] == "wordllama"
        again = pickle.loads(pickle.dumps(store))
        assert ids_of(again.similarity_search("cats", k=1)) == ["cat"]
        again.close()
    made = RetrievalStore.from_texts(["A kitten sleeps."], "wordllama", ids=["cat"])
    assert ids_of(made.similarity_search("cats", k=1)) == ["cat"]
    made.close()
    with pytest.raises(
        InvalidArgumentError, match="embedding is 'wordlama'; there are .*wordllama"
    ):
        RetrievalStore("wordlama")


def test_a_pickled_store_of_wordllama_is_the_one_that_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with RetrievalStore(WordLlamaEmbedding(), path="db") as store:
        store.add_texts(["The cat sleeps."], ids=["cat"])
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        with pickle.loads(pickle.dumps(store)) as again:
            assert ids_of(again.similarity_search("cats")) == ["cat"]
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "gave 0 vectors for 1 texts"),
        (5, "gave 0 vectors for 1 texts"),
        (([[1], [2]], [[1.0]]), "gave 2 lists of indices and 1 of values"),
        ([{"indices": [1], "values": [1j]}], "as many indices"),
    ],
)
def test_sparse_models_with_invalid_results_are_reported(given, message):
    with (
        RetrievalStore(
            DeterministicFakeEmbedding(size=4), sparse_embedding=lambda texts: given
        ) as store,
        pytest.raises((EmbeddingFunctionError, InvalidTypeError, ValueError), match=message),
    ):
        store.add_texts(["x"])


def test_arguments_of_another_store_are_reported_with_our_names():
    for theirs, ours in {
        "persist_directory": "path",
        "embedding_function": "embedding",
        "index_name": "collection_name",
    }.items():
        for make in (RetrievalStore, partial(RetrievalStore.from_texts, ["a"], "wordllama")):
            with pytest.raises(TypeError, match=f"{theirs!r}: here it is {ours}$"):
                make(**{theirs: "x"})
