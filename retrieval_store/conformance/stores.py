"""Tests of the behaviour that every store promises to users of its collections."""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from retrieval_store import Client, Collection, Hybrid
from retrieval_store.errors import (
    AlreadyExistsError,
    DimensionMismatchError,
    IDAlreadyExistsError,
    InvalidArgumentError,
    InvalidFilterError,
    NotFoundError,
)

Metadata: TypeAlias = dict[str, Any]
Holds: TypeAlias = Callable[[Metadata], bool]

COUNT, DIMENSION = 40, 6
NAME = "conformance"
WORDS = ("apple", "boat", "cloud")
_generator = np.random.default_rng(20)
VECTORS: npt.NDArray[np.float32] = _generator.standard_normal((COUNT, DIMENSION)).astype(np.float32)
QUERIES: npt.NDArray[np.float32] = _generator.standard_normal((5, DIMENSION)).astype(np.float32)
IDS = [f"record {i}, é" for i in range(COUNT)]
DOCUMENTS = [f"An {WORDS[i % 3]}, number {i}." for i in range(COUNT)]


def _metadata_of(number: int) -> Metadata:
    """The metadata of the record with this number; some keys are only in some records."""
    metadata: Metadata = {"n": number, "even": number % 2 == 0, "half": number / 2}
    if number % 3:
        metadata["word"] = WORDS[number % 3]
    if number % 4 == 1:
        metadata["tags"] = [WORDS[0], WORDS[number % 3]]
    return metadata


METADATAS = [_metadata_of(i) for i in range(COUNT)]

# Filters, and what they mean.
FILTERS: list[tuple[dict[str, Any], Holds]] = [
    ({"n": 7}, lambda m: m["n"] == 7),
    ({"n": {"$ne": 7}}, lambda m: m["n"] != 7),
    ({"n": {"$gt": 30}}, lambda m: m["n"] > 30),
    ({"n": {"$gte": 30}}, lambda m: m["n"] >= 30),
    ({"half": {"$lt": 2.5}}, lambda m: m["half"] < 2.5),
    ({"half": {"$lte": 2.5}}, lambda m: m["half"] <= 2.5),
    ({"even": True}, lambda m: m["even"] is True),
    ({"word": "boat"}, lambda m: m.get("word") == "boat"),
    ({"word": {"$ne": "boat"}}, lambda m: m.get("word") != "boat"),
    ({"word": {"$in": ["boat", "cloud"]}}, lambda m: m.get("word") in ("boat", "cloud")),
    ({"n": {"$in": [1, 2, 99]}}, lambda m: m["n"] in (1, 2, 99)),
    ({"n": {"$nin": [1, 2, 99]}}, lambda m: m["n"] not in (1, 2, 99)),
    ({"word": {"$exists": False}}, lambda m: "word" not in m),
    ({"tags": {"$contains": "boat"}}, lambda m: "boat" in m.get("tags", ())),
    ({"$and": [{"even": True}, {"n": {"$gt": 10}}]}, lambda m: m["even"] and m["n"] > 10),
    ({"$or": [{"n": 1}, {"word": "cloud"}]}, lambda m: m["n"] == 1 or m.get("word") == "cloud"),
    (
        {"$and": [{"$or": [{"n": 1}, {"n": 2}]}, {"even": False}]},
        lambda m: m["n"] in (1, 2) and not m["even"],
    ),
    ({"n": {"$gt": 1000}}, lambda m: m["n"] > 1000),
]


def _distances(query: npt.NDArray[np.float32], metric: str) -> npt.NDArray[np.float64]:
    """(COUNT,): the distances of all records from a query, in float64."""
    vectors, asked = VECTORS.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        squares: npt.NDArray[np.float64] = ((vectors - asked) ** 2).sum(axis=1)
        return squares
    products: npt.NDArray[np.float64] = vectors @ asked
    if metric == "cosine":
        products /= np.linalg.norm(vectors, axis=1) * np.linalg.norm(asked)
    return 1 - products


def _assert_same(vectors: Any, expected: npt.NDArray[np.float32]) -> None:
    """Check that vectors equal the expected vectors, except in their last digits: a store rounds if
    it stores lengths separately."""
    np.testing.assert_allclose(vectors, expected, rtol=1e-6)


def _numbers(holds: Holds) -> list[int]:
    """The numbers of the records for which `holds` is true."""
    return [i for i, metadata in enumerate(METADATAS) if holds(metadata)]


class StoreTests:
    """Tests of a store. A subclass defines the fixture `client`. Class attributes declare what the
    store does not support."""

    metrics: ClassVar[tuple[str, ...]] = ("cosine", "l2", "ip")
    has_updates: ClassVar[bool] = True  # update and upsert
    has_document_filters: ClassVar[bool] = True  # where_document
    has_repeated_words: ClassVar[bool] = True  # a word of a query counts as often as it is there

    @pytest.fixture
    def client(self) -> Iterator[Client]:
        """A client of an empty store of the tested kind; it is closed at the end."""
        raise NotImplementedError("define the fixture `client`")

    @pytest.fixture
    def collection(self, client: Client) -> Collection:
        """A new collection without an embedding function, with the first of the metrics."""
        configuration: Any = {"hnsw": {"space": self.metrics[0]}}
        return client.create_collection(NAME, configuration, embedding_function=None)

    @pytest.fixture
    def filled(self, collection: Collection) -> Collection:
        """The new collection, filled with all records."""
        collection.add(IDS, VECTORS, METADATAS, DOCUMENTS)
        return collection

    # Collections

    def test_a_collection_is_created_listed_opened_and_deleted(self, client: Client) -> None:
        made = client.create_collection(NAME, metadata={"about": "tests"}, embedding_function=None)
        assert [one.name for one in client.list_collections()] == [NAME]
        got = client.get_collection(NAME, embedding_function=None)
        assert (got.id, got.metadata, got.count()) == (made.id, {"about": "tests"}, 0)
        client.delete_collection(NAME)
        assert client.list_collections() == []
        with pytest.raises(NotFoundError):
            client.get_collection(NAME)
        with pytest.raises(NotFoundError):
            made.count()

    def test_an_existing_name_is_refused(self, client: Client, filled: Collection) -> None:
        with pytest.raises(AlreadyExistsError):
            client.create_collection(NAME, embedding_function=None)
        assert client.get_or_create_collection(NAME, embedding_function=None).count() == COUNT

    # Records

    def test_records_are_read_as_they_were_added(self, filled: Collection) -> None:
        got = filled.get(include=["embeddings", "metadatas", "documents"])
        assert got["ids"] == IDS
        assert got["metadatas"] == METADATAS
        assert got["documents"] == DOCUMENTS
        _assert_same(got["embeddings"], VECTORS)
        assert filled.count() == COUNT

    def test_records_are_read_by_ids_and_page_by_page(self, filled: Collection) -> None:
        assert filled.get([IDS[9], "not there", IDS[3]])["ids"] == [IDS[9], IDS[3]]
        assert filled.get("not there")["ids"] == []
        pages = [filled.get(limit=15, offset=start)["ids"] for start in (0, 15, 30, 45)]
        assert [len(page) for page in pages] == [15, 15, 10, 0]
        assert [one for page in pages for one in page] == IDS

    def test_a_record_can_consist_of_a_vector_only(self, collection: Collection) -> None:
        collection.add("bare", [[1.0] * DIMENSION])
        got: Any = collection.get("bare", include=["metadatas", "documents"])
        for field in (got["metadatas"], got["documents"]):
            assert field == [None]

    def test_an_existing_id_is_refused_and_nothing_is_written(self, filled: Collection) -> None:
        with pytest.raises(IDAlreadyExistsError):
            filled.add(["new", IDS[0]], VECTORS[:2])
        assert filled.count() == COUNT and filled.get("new")["ids"] == []

    def test_a_vector_of_another_dimension_is_refused(self, filled: Collection) -> None:
        with pytest.raises(DimensionMismatchError):
            filled.add("new", [[1.0] * (DIMENSION + 1)])
        with pytest.raises(DimensionMismatchError):
            filled.query(query_embeddings=[[1.0] * (DIMENSION + 1)])
        assert filled.count() == COUNT

    def test_lists_whose_lengths_differ_from_the_ids_are_refused(
        self, collection: Collection
    ) -> None:
        with pytest.raises(InvalidArgumentError):
            collection.add(["a", "b"], VECTORS[:3])
        with pytest.raises(InvalidArgumentError):
            collection.add(["a", "a"], VECTORS[:2])
        assert collection.count() == 0

    # Queries

    def test_hits_are_the_nearest_of_all_records(self, client: Client) -> None:
        for metric in self.metrics:
            configuration: Any = {"hnsw": {"space": metric}}
            made = client.create_collection(
                f"{NAME}-{metric}", configuration, embedding_function=None
            )
            made.add(IDS, VECTORS)
            found = made.query(query_embeddings=QUERIES, n_results=7, include=["distances"])
            assert found["distances"] is not None
            for query, ids, distances in zip(
                QUERIES, found["ids"], found["distances"], strict=True
            ):
                expected = _distances(query, metric)
                order = np.argsort(expected)[:7]
                assert ids == [IDS[i] for i in order], metric
                np.testing.assert_allclose(distances, expected[order], rtol=1e-4, atol=1e-5)

    def test_more_results_than_records_returns_all_records(self, filled: Collection) -> None:
        (ids,) = filled.query(query_embeddings=QUERIES[:1], n_results=3 * COUNT)["ids"]
        assert sorted(ids) == sorted(IDS)

    def test_a_query_returns_the_included_parts(self, filled: Collection) -> None:
        found = filled.query(
            query_embeddings=VECTORS[5:6],
            n_results=1,
            include=["documents", "metadatas", "embeddings"],
        )
        assert found["ids"] == [[IDS[5]]]
        assert found["documents"] == [[DOCUMENTS[5]]] and found["metadatas"] == [[METADATAS[5]]]
        assert found["embeddings"] is not None
        _assert_same(found["embeddings"][0], VECTORS[5:6])

    def test_an_empty_collection_has_no_hits(self, collection: Collection) -> None:
        assert collection.query(query_embeddings=QUERIES[:2])["ids"] == [[], []]

    # Words, alone and beside vectors

    def test_words_rank_by_how_rare_they_are(self, filled: Collection) -> None:
        boats = [IDS[i] for i in range(COUNT) if WORDS[i % 3] == "boat"]
        found = filled.query(query_texts=["boat", "7 boat"], n_results=COUNT, mode="text")["ids"]
        assert found == [boats, [IDS[7], *(one for one in boats if one != IDS[7])]]
        (ids,) = filled.query(query_texts="boat", mode="text", where={"even": True}, n_results=3)[
            "ids"
        ]
        assert ids == [IDS[4], IDS[10], IDS[16]]
        assert filled.query(query_texts="zeppelin", mode="text")["ids"] == [[]]

    def test_a_word_that_is_repeated_counts_twice(self, filled: Collection) -> None:
        if not self.has_repeated_words:
            pytest.skip("has_repeated_words is False")
        texts = ["apple boat", "apple boat apple"]  # boats are rarer, but not by half
        found = filled.query(query_texts=texts, n_results=1, mode="text")["ids"]
        assert found == [[IDS[1]], [IDS[0]]]

    def test_a_hybrid_with_a_weight_fuses_by_ranks(self, filled: Collection) -> None:
        nearest = np.argsort(_distances(QUERIES[0], self.metrics[0])).tolist()
        boats = [i for i in range(COUNT) if WORDS[i % 3] == "boat"]
        for alpha in (0.5, 0.2):
            scores = np.zeros(COUNT)
            for ranking, weight in ((nearest, alpha), (boats, 1 - alpha)):
                scores[ranking] += weight / (60 + np.arange(1, len(ranking) + 1))
            (ids,) = filled.query(
                query_embeddings=QUERIES[:1], query_texts="boat", mode=Hybrid(alpha=alpha)
            )["ids"]
            assert ids == [IDS[i] for i in np.argsort(-scores, kind="stable")[:10]], alpha

    def test_a_hybrid_weights_words_by_their_share_of_the_query(self, filled: Collection) -> None:
        vectors, texts = VECTORS[[9, 9]], ["7", "7 zeppelin airship"]
        found = filled.query(vectors, texts, n_results=1, mode="hybrid")["ids"]
        assert found == [[IDS[7]], [IDS[9]]]

    # Filters

    def test_filters_mean_the_same_for_each_method(self, filled: Collection) -> None:
        for where, holds in FILTERS:
            numbers = _numbers(holds)
            assert filled.get(where=where)["ids"] == [IDS[i] for i in numbers], where
            assert filled.count(where) == len(numbers), where
            (ids,) = filled.query(query_embeddings=QUERIES[:1], n_results=5, where=where)["ids"]
            order = np.argsort(_distances(QUERIES[0], self.metrics[0]))
            assert ids == [IDS[i] for i in order if i in numbers][:5], where

    def test_a_filter_restricts_ids(self, filled: Collection) -> None:
        assert filled.get(IDS[:10], where={"even": True})["ids"] == IDS[:10:2]

    def test_documents_are_filtered_by_their_content(self, filled: Collection) -> None:
        if not self.has_document_filters:
            pytest.skip("has_document_filters is False")
        boats = [i for i, document in enumerate(DOCUMENTS) if "boat" in document]
        where: dict[str, Any] = {"$contains": "boat"}
        assert filled.get(where_document=where)["ids"] == [IDS[i] for i in boats]
        (ids,) = filled.query(query_embeddings=QUERIES[:1], n_results=COUNT, where_document=where)[
            "ids"
        ]
        assert sorted(ids) == sorted(IDS[i] for i in boats)

    def test_a_malformed_filter_is_refused(self, filled: Collection) -> None:
        malformed: list[dict[str, Any]] = [{"n": {"$above": 1}}, {"$and": {}}, {"n": {}}]
        for wrong in malformed:
            with pytest.raises(InvalidFilterError):
                filled.get(where=wrong)

    # Changes

    def test_deleted_records_are_not_found(self, filled: Collection) -> None:
        filled.delete(IDS[:4])
        filled.delete(where={"word": "cloud"})
        left = [i for i in range(4, COUNT) if METADATAS[i].get("word") != "cloud"]
        assert filled.get()["ids"] == [IDS[i] for i in left]
        (ids,) = filled.query(query_embeddings=VECTORS[:1], n_results=COUNT)["ids"]
        assert sorted(ids) == sorted(IDS[i] for i in left)
        filled.add(IDS[:1], VECTORS[1:2], documents=["again"])
        assert filled.get(IDS[0])["documents"] == ["again"]

    def test_records_are_updated_and_replaced(self, filled: Collection) -> None:
        if not self.has_updates:
            pytest.skip("has_updates is False")
        filled.update(IDS[:1], metadatas=[{"n": 100, "even": None}])
        filled.upsert([IDS[1], "new"], VECTORS[2:4], documents=["one", "two"])
        assert filled.get(IDS[0])["metadatas"] == [{"n": 100, "half": 0.0}]
        got = filled.get([IDS[1], "new"], include=["embeddings", "documents"])
        assert got["documents"] == ["one", "two"] and filled.count() == COUNT + 1
        _assert_same(got["embeddings"], VECTORS[2:4])
