"""LangChain's and LlamaIndex's stores, on thousands of passages with known vectors."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_retrieval_store import RetrievalStore
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from llama_index.core.vector_stores.types import VectorStoreQueryMode
from llama_index.vector_stores.retrieval_store import RetrievalStoreVectorStore

from tests.helpers.oracle import bm25
from tests.rehearsal.asked import wheres
from tests.rehearsal.places import EMBEDDED
from tests.rehearsal.scenario import EVERYTHING, Scenario, compare
from tests.rehearsal.shapes import Records
from tests.rehearsal.steps import step
from tests.rehearsal.truth import Truth, Where, check_hits, own_word

PLACES = EMBEDDED | {"served"}
WORDS = "socket decimal garbage"


class Known(Embeddings):
    """An embedding with a table of texts and vectors; each query gets its own text."""

    def __init__(self, records: Records) -> None:
        assert records.documents is not None
        self.vectors = dict(zip(records.documents, records.vectors.tolist(), strict=True))
        self._asked = count()

    def query(self, vector: Any) -> str:
        text = f"query {next(self._asked)}"
        self.vectors[text] = np.asarray(vector).tolist()
        return text

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.vectors[text] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.vectors[text]


def some_records(scenario: Scenario, suite: int, first: int, full: int) -> tuple[Records, Truth]:
    records = scenario.records.part(0, min(scenario.size, scenario.times(suite, first, full)))
    return records, Truth(scenario.shape.metric, records)


@contextmanager
def langchain(scenario: Scenario, size: tuple[int, int, int]) -> Iterator[tuple[Any, Truth, Known]]:
    """LangChain's store, filled with documents."""
    records, truth = some_records(scenario, *size)
    known = Known(records)
    how = {"client": scenario.client, "distance": scenario.shape.metric, "check_model": False}
    store = RetrievalStore(known, collection_name="langchain", **how)
    try:
        documents = documents_of(records)
        assert store.add_documents(documents, batch_size=1000) == records.ids
        yield scenario.timed(store), truth, known
    finally:
        scenario.client.delete_collection("langchain")


def documents_of(records: Records) -> list[Document]:
    rows = zip(records.ids, records.documents, records.metadatas, strict=True)
    return [Document(id=one, page_content=text, metadata=meta) for one, text, meta in rows]


def check_documents(truth: Truth, documents: Sequence[Document]) -> list[str]:
    """Check the content of each document; returns the ids."""
    for one in documents:
        record = truth.records[one.id]
        assert one.page_content == record.document, one.id
        assert one.metadata == record.metadata, one.id
    return [one.id for one in documents]


def check_scored(truth: Truth, query: Any, found: Any, k: int, allowed: Any = None) -> None:
    """Check documents with their distances; no hit may be missing."""
    ids = check_documents(truth, [document for document, _ in found])
    distances = [distance for _, distance in found]
    assert check_hits(truth, query, ids, distances, k, allowed) == 1


@step("texts", places=PLACES)
def langchain_searches(scenario: Scenario) -> None:
    """Searches by vectors, with every filter, by words, hybrid, and as a retriever."""
    with langchain(scenario, (1500, 10_000, 20_000)) as (store, truth, known):
        for query in scenario.queries(scenario.times(5, 30, 100)):
            found = store.similarity_search_with_score(known.query(query), k=20)
            check_scored(truth, query, found, 20)
        for where in wheres(scenario.shape).values():
            (query,) = scenario.queries(1)
            found = store.similarity_search_with_score(known.query(query), k=10, filter=where)
            check_scored(truth, query, found, 10, truth.matching(where))
        (query,) = scenario.queries(1)
        document = {"$contains": "module"}
        request = {"k": 15, "where_document": document}
        found = store.similarity_search_with_score(known.query(query), **request)
        check_scored(truth, query, found, 15, truth.matching(None, document))
        found = store.similarity_search_with_score(WORDS, k=10, search_mode="text")
        check_words(truth, check_documents(truth, [d for d, _ in found]), [s for _, s in found])
        relevant = store.similarity_search_with_relevance_scores(known.query(query), k=10)
        distances = truth.distances(query, check_documents(truth, [d for d, _ in relevant]))
        if scenario.shape.metric == "cosine":
            assert np.allclose([s for _, s in relevant], 1 - distances, atol=1e-5)
        check_retriever(scenario, store, truth, known)


def check_words(truth: Truth, ids: list[str], scores: list[float]) -> None:
    """Check that scores are BM25's of the best documents."""
    right = bm25([record.document or "" for record in truth.records.values()], WORDS)
    places = {name: place for place, name in enumerate(truth.ids)}
    own = [right[places[one]] for one in ids]
    assert len(set(ids)) == len(ids)
    assert np.allclose(own, np.sort(right)[::-1][: len(ids)], rtol=1e-4)
    assert np.allclose(scores, own, rtol=1e-4)


def check_retriever(scenario: Scenario, store: Any, truth: Truth, known: Known) -> None:
    (query,), where = scenario.queries(1), {"topic": "birds"}
    retriever = store.as_retriever(search_kwargs={"k": 7, "filter": where})
    ids = check_documents(truth, retriever.invoke(known.query(query)))
    distances = truth.distances(query, ids)
    assert check_hits(truth, query, ids, distances, 7, truth.matching(where)) == 1
    for one in scenario.times(3, 20, 50) * [None]:
        one = truth.ids[int(scenario.random.integers(len(truth)))]
        record = truth.records[one]
        word = own_word(record.document)
        known.vectors[word] = record.vector.tolist()
        hybrid = store.as_retriever(search_type="hybrid", search_kwargs={"k": 5})
        ids = check_documents(truth, hybrid.invoke(word))
        assert ids[0] == one and len(set(ids)) == 5


def check_diverse(
    truth: Truth, query: Any, ids: list[str], k: int, fetch: int, weight: float, allowed: Any = None
) -> None:
    """Check that each hit is the best, or as good, of the remaining nearest, by its similarity to
    the query and its difference from earlier hits."""
    names = list(truth.records) if allowed is None else list(allowed)
    distances = truth.distances(query, names)
    near = [names[i] for i in np.argsort(distances, kind="stable")[: fetch + 5]]
    assert len(ids) == len(set(ids)) == min(k, fetch, len(names))
    assert set(ids) <= set(near)
    vectors = np.asarray([truth.records[one].vector for one in near[:fetch]], np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query = np.asarray(query, np.float64) / np.linalg.norm(query)
    nearness, likeness, left = vectors @ query, np.full(len(vectors), -np.inf), set(near[:fetch])
    for place, one in enumerate(ids):
        if one not in left:  # as near as the last that is
            return
        score = nearness if place == 0 else weight * nearness - (1 - weight) * likeness
        best = max(score[near.index(other)] for other in left)
        assert score[near.index(one)] > best - 1e-5, f"{one} at place {place}"
        left.remove(one)
        likeness = np.maximum(likeness, vectors @ vectors[near.index(one)])


@step("texts", places=PLACES)
def langchain_diverse(scenario: Scenario) -> None:
    with langchain(scenario, (1000, 10_000, 20_000)) as (store, truth, known):
        for weight in (1.0, 0.5, 0.1):
            for query in scenario.queries(scenario.times(2, 10, 30)):
                request = {"k": 8, "fetch_k": 40, "lambda_mult": weight}
                found = store.max_marginal_relevance_search(known.query(query), **request)
                check_diverse(truth, query, check_documents(truth, found), 8, 40, weight)
        (query,), where = scenario.queries(1), {"year": {"$gte": 2005}}
        request = {"k": 5, "fetch_k": 3, "filter": where}
        found = store.max_marginal_relevance_search(known.query(query), **request)
        ids = check_documents(truth, found)
        assert len(set(ids)) == 5 and set(ids) <= set(truth.matching(where))


@step("texts", places=PLACES)
def langchain_changes(scenario: Scenario) -> None:
    """Adds, replaces, merges and deletes, by ids and by filters; reads ids in another order."""
    with langchain(scenario, (1000, 10_000, 20_000)) as (store, truth, known):
        ids = truth.ids[::-7]
        assert check_documents(truth, store.get_by_ids(ids)) == ids
        more = scenario.more(300)
        known.vectors.update(Known(more).vectors)
        assert store.add_texts(more.documents, more.metadatas, ids=more.ids) == more.ids
        truth.add(more)
        documents = documents_of(more.part(0, 50))
        changed = [
            Document(id=one.id, page_content=one.page_content, metadata={"year": 1})
            for one in documents
        ]
        store.add_documents(changed)
        store.update_documents(more.ids[25:50], [d.model_copy() for d in changed[25:]])
        for one in more.ids[:50]:
            truth.records[one].metadata = {"year": 1}
        gone = [*more.ids[100:120], "never there"]
        store.delete(gone)
        truth.delete(gone[:-1])
        for where in ({"topic": "salt"}, {"price": {"$gt": 120}}):
            store.delete(filter=where)
            truth.delete(truth.matching(where))
        store.delete([])
        collection = scenario.client.get_collection("langchain", embedding_function=None)
        scenario.check_records(collection.get(include=EVERYTHING), truth)
        compare(collection.get(include=[])["ids"], truth.ids, "documents")
        store.delete()
        assert collection.count() == 0


@step("texts", places=PLACES)
def langchain_asynchronous(scenario: Scenario) -> None:
    """Concurrent calls return the same as sequential ones."""

    async def together(store: Any, truth: Truth, known: Known) -> None:
        queries = scenario.queries(scenario.times(10, 40, 200))
        request = [
            store.asimilarity_search_with_score(
                known.query(q), k=10, filter={"year": {"$gt": 2000}}
            )
            for q in queries
        ]
        allowed = truth.matching({"year": {"$gt": 2000}})
        for query, found in zip(queries, await asyncio.gather(*request), strict=True):
            check_scored(truth, query, found, 10, allowed)
        parts = [truth.ids[first : first + 100] for first in range(0, 600, 100)]
        for part, found in zip(
            parts, await asyncio.gather(*map(store.aget_by_ids, parts)), strict=True
        ):
            assert check_documents(truth, found) == part
        diverse = await store.amax_marginal_relevance_search(known.query(queries[0]), k=5)
        check_diverse(truth, queries[0], check_documents(truth, diverse), 5, 20, 0.5)
        await asyncio.gather(*(store.adelete(part) for part in parts))
        await store.aadd_documents(
            Document(id=one, page_content=r.document, metadata=r.metadata)
            for one, r in list(truth.records.items())[:600]
        )

    with langchain(scenario, (800, 10_000, 20_000)) as (store, truth, known):
        asyncio.run(together(store, truth, known))
        collection = scenario.client.get_collection("langchain", embedding_function=None)
        assert collection.count() == len(truth)
        scenario.check_records(collection.get(include=EVERYTHING), truth)


@step("texts", places=PLACES)
def langchain_indexes(scenario: Scenario) -> None:
    """LangChain's `index` writes only new documents, and deletes missing ones."""
    records, _ = some_records(scenario, 300, 3000, 10_000)
    known, half, manager = Known(records), len(records) // 2, InMemoryRecordManager("rehearsal")
    manager.create_schema()
    how = {"cleanup": "full", "source_id_key": "topic", "key_encoder": "sha256"}
    store = RetrievalStore(known, collection_name="indexed", client=scenario.client)
    try:
        documents = documents_of(records)
        assert index(documents[: half + 20], manager, store, **how)["num_added"] == half + 20
        done = index(documents[half:], manager, store, **how)
        assert (done["num_added"], done["num_skipped"]) == (len(records) - half - 20, 20)
        assert done["num_deleted"] == half
        found = store.get()["documents"]
        compare(sorted(found), sorted(records.documents[half:]), "texts")
    finally:
        scenario.client.delete_collection("indexed")


# LlamaIndex


def filter_of(key: str, operator: FilterOperator, value: Any) -> MetadataFilter:
    return MetadataFilter(key=key, operator=operator, value=value)


EACH = FilterOperator
FILTERS: list[tuple[MetadataFilter | MetadataFilters, Where]] = [
    (filter_of("topic", EACH.EQ, "birds"), {"topic": "birds"}),
    (filter_of("topic", EACH.NE, "birds"), {"topic": {"$ne": "birds"}}),
    (filter_of("year", EACH.GT, 2001), {"year": {"$gt": 2001}}),
    (filter_of("year", EACH.GTE, 2001), {"year": {"$gte": 2001}}),
    (filter_of("price", EACH.LT, 20.5), {"price": {"$lt": 20.5}}),
    (filter_of("price", EACH.LTE, 20.5), {"price": {"$lte": 20.5}}),
    (filter_of("day", EACH.GTE, "2023-01-01"), {"day": {"$gte": "2023-01-01"}}),
    (filter_of("year", EACH.IN, [1999, 2005]), {"year": {"$in": [1999, 2005]}}),
    (filter_of("topic", EACH.NIN, ["law", "tea"]), {"topic": {"$nin": ["law", "tea"]}}),
    (filter_of("tags", EACH.CONTAINS, "secret"), {"tags": {"$contains": "secret"}}),
    (
        MetadataFilters(
            condition=FilterCondition.OR,
            filters=[
                filter_of("topic", EACH.EQ, "law"),
                MetadataFilters(
                    condition=FilterCondition.AND,
                    filters=[
                        filter_of("topic", EACH.EQ, "tea"),
                        filter_of("year", EACH.LT, 2000),
                    ],
                ),
            ],
        ),
        {"$or": [{"topic": "law"}, {"$and": [{"topic": "tea"}, {"year": {"$lt": 2000}}]}]},
    ),
    (
        MetadataFilters(
            condition=FilterCondition.NOT,
            filters=[filter_of("topic", EACH.EQ, "law"), filter_of("year", EACH.LT, 2010)],
        ),
        {"$nor": [{"topic": "law"}, {"year": {"$lt": 2010}}]},
    ),
]


def all_of(one: MetadataFilter | MetadataFilters) -> MetadataFilters:
    return one if isinstance(one, MetadataFilters) else MetadataFilters(filters=[one])


def nodes_of(records: Records) -> list[TextNode]:
    """Ten nodes per document."""
    rows = zip(
        records.ids, records.vectors.tolist(), records.documents, records.metadatas, strict=True
    )
    return [
        TextNode(
            id_=one,
            text=text,
            metadata=metadata,
            embedding=vector,
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"doc {place // 10}")},
        )
        for place, (one, vector, text, metadata) in enumerate(rows)
    ]


@contextmanager
def llama_index(scenario: Scenario, size: tuple[int, int, int]) -> Iterator[tuple[Any, Truth]]:
    """LlamaIndex's store, filled with nodes."""
    records, truth = some_records(scenario, *size)
    how = {"client": scenario.client, "distance": scenario.shape.metric}
    store = RetrievalStoreVectorStore(collection_name="nodes", **how)
    try:
        nodes = nodes_of(records)
        for first in range(0, len(nodes), 1000):
            part = nodes[first : first + 1000]
            assert store.add(part) == records.ids[first : first + 1000]
        yield scenario.timed(store), truth
    finally:
        scenario.client.delete_collection("nodes")


def check_nodes(truth: Truth, nodes: Sequence[Any]) -> list[str]:
    """Check the content of each node; returns the ids."""
    for node in nodes:
        record = truth.records[node.node_id]
        assert (node.text, node.metadata) == (record.document, record.metadata), node.node_id
        assert node.ref_doc_id == f"doc {int(node.node_id[-6:]) // 10}"
    return [node.node_id for node in nodes]


def check_found(truth: Truth, query: Any, found: Any, k: int, allowed: Any = None) -> None:
    ids = check_nodes(truth, found.nodes)
    assert found.ids == ids
    similar = np.asarray(found.similarities)
    distances = np.square(similar) if truth.metric == "l2" else 1 - similar
    assert check_hits(truth, query, ids, distances.tolist(), k, allowed) == 1


@step("texts", places=PLACES, slow="the first search by words lists those of all documents")
def llama_index_queries(scenario: Scenario) -> None:
    """Queries in each mode, and with every filter."""
    with llama_index(scenario, (1000, 10_000, 20_000)) as (store, truth):
        for query in scenario.queries(scenario.times(5, 30, 100)):
            request = VectorStoreQuery(query_embedding=query.tolist(), similarity_top_k=20)
            check_found(truth, query, store.query(request), 20)
        for filters, where in FILTERS:
            (query,) = scenario.queries(1)
            request = VectorStoreQuery(
                query_embedding=query.tolist(), similarity_top_k=10, filters=all_of(filters)
            )
            check_found(truth, query, store.query(request), 10, truth.matching(where))
        check_documents_named(scenario, store, truth)
        words = VectorStoreQuery(
            query_str=WORDS, similarity_top_k=10, mode=VectorStoreQueryMode.TEXT_SEARCH
        )
        found = store.query(words)
        check_words(truth, check_nodes(truth, found.nodes), found.similarities)
        words.mode = VectorStoreQueryMode.SPARSE
        assert store.query(words).ids == found.ids
        for _ in range(scenario.times(3, 20, 50)):
            one = truth.ids[int(scenario.random.integers(len(truth)))]
            record = truth.records[one]
            request = VectorStoreQuery(
                query_str=own_word(record.document),
                query_embedding=record.vector.tolist(),
                similarity_top_k=5,
                mode=VectorStoreQueryMode.HYBRID,
            )
            ids = check_nodes(truth, store.query(request).nodes)
            assert ids[0] == one and len(set(ids)) == 5


def check_documents_named(scenario: Scenario, store: Any, truth: Truth) -> None:
    """Check queries limited to these documents, or these nodes."""
    (query,) = scenario.queries(1)
    request = VectorStoreQuery(
        query_embedding=query.tolist(), similarity_top_k=15, doc_ids=["doc 3", "doc 70"]
    )
    allowed = [*truth.ids[30:40], *truth.ids[700:710]]
    check_found(truth, query, store.query(request), 15, allowed)
    request = VectorStoreQuery(
        query_embedding=query.tolist(), similarity_top_k=15, node_ids=truth.ids[5:90]
    )
    check_found(truth, query, store.query(request), 15, truth.ids[5:90])


@step("texts", places=PLACES)
def llama_index_diverse(scenario: Scenario) -> None:
    with llama_index(scenario, (500, 10_000, 20_000)) as (store, truth):
        for threshold in (1.0, 0.5, 0.2):
            for query in scenario.queries(scenario.times(2, 10, 30)):
                request = VectorStoreQuery(
                    query_embedding=query.tolist(),
                    similarity_top_k=6,
                    mode=VectorStoreQueryMode.MMR,
                )
                found = store.query(request, mmr_threshold=threshold, mmr_prefetch_k=30)
                check_diverse(truth, query, check_nodes(truth, found.nodes), 6, 30, threshold)


@step("texts", places=PLACES)
def llama_index_changes(scenario: Scenario) -> None:
    """Reads and deletes by ids, filters and documents; also asynchronous, until the store is
    empty."""
    with llama_index(scenario, (1000, 10_000, 20_000)) as (store, truth):
        ids = truth.ids[::-9]
        compare(check_nodes(truth, store.get_nodes(node_ids=ids)), ids, "nodes", ordered=False)
        for filters, where in FILTERS[:: scenario.times(3, 1, 1)]:
            got = check_nodes(truth, store.get_nodes(filters=all_of(filters)))
            compare(got, truth.matching(where), f"{where}", ordered=False)
        store.delete("doc 4")
        truth.delete(truth.ids[40:50])
        gone = truth.ids[100:130]
        store.delete_nodes(node_ids=gone)
        truth.delete(gone)
        filters, where = FILTERS[0]
        both = [one for one in truth.matching(where) if one in set(truth.ids[::2])]
        store.delete_nodes(node_ids=truth.ids[::2], filters=all_of(filters))
        truth.delete(both)
        for filters, where in (FILTERS[-2], FILTERS[7]):
            store.delete_nodes(filters=all_of(filters))
            truth.delete(truth.matching(where))
        compare(check_nodes(truth, store.get_nodes()), truth.ids, "nodes", ordered=False)
        asyncio.run(llama_index_asynchronous(scenario, store, truth))
        store.clear()
        assert store.get_nodes() == []


async def llama_index_asynchronous(scenario: Scenario, store: Any, truth: Truth) -> None:
    queries = scenario.queries(scenario.times(10, 40, 200))
    request = [
        store.aquery(VectorStoreQuery(query_embedding=query.tolist(), similarity_top_k=10))
        for query in queries
    ]
    for query, found in zip(queries, await asyncio.gather(*request), strict=True):
        check_found(truth, query, found, 10)
    await store.adelete("doc 7")
    truth.delete([one for one in truth.ids if int(one[-6:]) // 10 == 7])
    compare(check_nodes(truth, await store.aget_nodes()), truth.ids, "nodes", ordered=False)


@step("texts", places=frozenset({"disk"}))
def adapters_open_again(scenario: Scenario) -> None:
    """Each adapter reads what the other wrote in a directory, before and after closing."""
    records, truth = some_records(scenario, 300, 3000, 10_000)
    known, path = Known(records), scenario.new_path("adapters")
    how = {"path": path, "collection_name": "both", "distance": scenario.shape.metric}
    with RetrievalStoreVectorStore(**how) as store:
        store.add(nodes_of(records))
    with RetrievalStoreVectorStore(**how) as store:
        assert check_nodes(truth, store.get_nodes()) == truth.ids
    with RetrievalStore(known, **how, check_model=False) as store:
        (query,) = scenario.queries(1)
        found = store.similarity_search_with_score(known.query(query), k=10)
        ids = [document.id for document, _ in found]
        distances = [distance for _, distance in found]
        assert check_hits(truth, query, ids, distances, 10) == 1
        for document, _ in found:
            assert document.page_content == truth.records[document.id].document
            own = {k: v for k, v in document.metadata.items() if not k.startswith("_")}
            assert own == truth.records[document.id].metadata
