"""The store passes the tests that retrieval-store has for stores, and keeps what it is given."""

import random

import pytest
import retrieval_store_sqlitefile  # noqa: F401 - it must be importable, whoever installed it

import retrieval_store
from retrieval_store import Hybrid
from retrieval_store.conformance import StoreTests
from retrieval_store.errors import (
    ClientClosedError,
    DimensionMismatchError,
    IDAlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    RetrievalStoreError,
    StorageError,
)
from retrieval_store.extension import WHOLE, Fields, PointBatch, session_of


@pytest.fixture
def url(tmp_path):
    return f"sqlitefile://{tmp_path}/store.db"


class TestSqliteFile(StoreTests):
    @pytest.fixture
    def client(self, url):
        with retrieval_store.Client(url=url) as client:
            yield client


def notes_in(client):
    return client.get_or_create_collection("notes", embedding_function=None)


def test_what_was_written_is_there_when_the_file_is_opened_again(url):
    with retrieval_store.Client(url=url) as client:
        notes = notes_in(client)
        notes.add(["a", "b"], [[1, 0], [0, 1]], [{"n": 1}, None], ["a boat", "a cloud"])
        notes.modify(name="kept")
    with retrieval_store.Client(url=url) as client:
        kept = client.get_collection("kept", embedding_function=None)
        got = kept.get(include=["documents", "metadatas", "embeddings"])
        assert (got["ids"], got["documents"]) == (["a", "b"], ["a boat", "a cloud"])
        assert got["metadatas"] == [{"n": 1}, None]
        assert got["embeddings"].tolist() == [[1, 0], [0, 1]]
        assert kept.query(query_embeddings=[[0.1, 1]], n_results=1)["ids"] == [["b"]]
        with pytest.raises(NotFoundError):
            client.get_collection("notes")


def records_by_chance(chance):
    """Arguments of a write, some of which are left out."""
    ids = chance.sample("abcdefgh", chance.randint(1, 4))
    values = [None, 1, 2.5, True, "x", ["x", 1], {"deep": None}]
    metadata = [{key: chance.choice(values) for key in chance.sample("kln", 2)} for _ in ids]
    given = {
        "ids": ids,
        "embeddings": [[chance.random(), chance.random()] for _ in ids],
        "metadatas": [chance.choice([one, None]) for one in metadata],
        "documents": [chance.choice(["a boat", "a cloud", None]) for _ in ids],
    }
    return {name: given[name] for name in given if name == "ids" or chance.random() < 0.7}


@pytest.mark.parametrize("seed", range(4))
def test_writes_by_chance_leave_what_a_store_in_memory_has(url, seed):
    chance, everything = random.Random(seed), ["documents", "metadatas", "embeddings"]
    with retrieval_store.Client(url=url) as client, retrieval_store.Client() as memory:
        both = notes_in(client), notes_in(memory)
        done = 0
        for _ in range(60):
            name = chance.choice(["add", "upsert", "update", "delete"])
            given = records_by_chance(chance)
            if name == "delete":
                given = chance.choice([{"ids": given["ids"]}, {"where": {"k": {"$gt": 1}}}])
            results = []
            for notes in both:
                try:
                    results.append(getattr(notes, name)(**given))
                except RetrievalStoreError as error:
                    results.append((type(error),))
            assert results[0] == results[1], (name, given)
            done += not isinstance(results[0], tuple)
            read, expected = (notes.get(include=everything) for notes in both)
            assert read.pop("embeddings").tolist() == expected.pop("embeddings").tolist()
            assert read == expected, (name, given)
        assert done > 15
        for where in ({"k": 1}, {"k": {"$ne": "x"}}, {"l": {"$contains": "x"}}):
            found, expected = (
                notes.query(query_embeddings=[[0.5, 0.5]], n_results=9, where=where)
                for notes in both
            )
            assert found["ids"] == expected["ids"], where


def test_words_rank_too_alone_and_beside_vectors(url):
    with retrieval_store.Client(url=url) as client:
        notes = notes_in(client)
        texts = ["a boat on a lake", "a cloud over a lake", "nothing of the kind"]
        notes.add(["a", "b", "c"], [[1, 0], [0, 1], [1, 1]], documents=texts)
        assert notes.query(query_texts="cloud lake", mode="text")["ids"] == [["b", "a"]]
        found = notes.query(query_embeddings=[[1, 0]], query_texts="boat", mode=Hybrid())
        assert found["ids"][0][0] == "a"


@pytest.mark.parametrize("mode", ["text", "hybrid", Hybrid(alpha=0.5), Hybrid(alpha=0.2)])
def test_words_rank_as_in_a_store_in_memory(url, mode):
    chance = random.Random(5)
    words = ["boat", "boats", "stone", "lake", "cloud", "AB-12", "AB12", "x_1", "90210", "Zoë"]

    def text():
        return " ".join(chance.choices(words, range(len(words), 0, -1), k=chance.randint(0, 9)))

    documents = [chance.choice([text(), text(), None]) for _ in range(60)]
    vectors = [[chance.gauss(0, 1) for _ in range(5)] for _ in documents]
    metadatas = [{"n": i} for i in range(len(documents))]
    queries = [*(text() or "lake" for _ in range(40)), "stone boat boat", "AB-12 boat", "absent"]
    asked = [[chance.gauss(0, 1) for _ in range(5)] for _ in queries]
    with retrieval_store.Client(url=url) as client, retrieval_store.Client() as memory:
        found, whys, plans = [], [], []
        for notes in (notes_in(client), notes_in(memory)):
            notes.add([*map(str, range(60))], vectors, metadatas, documents)
            arguments = {"query_texts": queries, "mode": mode}
            if mode != "text":
                arguments["query_embeddings"] = asked
            for where in (None, {"n": {"$gt": 30}}):
                found.append(notes.query(**arguments, where=where))
            arguments = {name: one if one == mode else one[-2] for name, one in arguments.items()}
            whys.append(notes.why(**arguments, ids=["3", "8"]))
            plan = notes.explain(**arguments)
            plans.append((plan["legs"], repr(plan["alphas"])))
        assert plans[0] == plans[1]
        for ours, expected in zip(found[:2], found[2:], strict=True):
            assert ours["ids"] == expected["ids"]
            for scores, expected_scores in zip(ours["scores"], expected["scores"], strict=True):
                assert scores == pytest.approx(expected_scores)
        for ours, expected in zip(*whys, strict=True):
            assert ours.rank == expected.rank
            assert ours.shared_words == pytest.approx(expected.shared_words)


def test_the_dimension_stays_when_all_records_are_deleted(url):
    with retrieval_store.Client(url=url) as client:
        notes = notes_in(client)
        notes.add("a", [[1, 0]])
        notes.delete("a")
    with retrieval_store.Client(url=url) as client:
        notes = notes_in(client)
        with pytest.raises(DimensionMismatchError):
            notes.add("b", [[1, 0, 0]])
        with pytest.raises(DimensionMismatchError):
            notes.query(query_embeddings=[[1, 0, 0]])
        assert notes.query(query_embeddings=[[1, 0]])["ids"] == [[]]


def test_ids_that_are_there_are_named_as_in_a_store_in_memory(url):
    with retrieval_store.Client(url=url) as client, retrieval_store.Client() as memory:
        messages = []
        for notes in (notes_in(client), notes_in(memory)):
            notes.add([*"cab"], [[1, 0]] * 3)
            with pytest.raises(IDAlreadyExistsError) as refused:
                notes.add([*"bca"], [[1, 0]] * 3)
            messages.append(str(refused.value))
        assert messages[0] == messages[1]


def test_equal_numbers_are_counted_as_in_a_store_in_memory(url):
    values = [1.0, 1, -0.0, 0, 2.5, 3.0, -7, True, "x", [2, 2.0, "x"]]
    with retrieval_store.Client(url=url) as client, retrieval_store.Client() as memory:
        facets = []
        for notes in (notes_in(client), notes_in(memory)):
            ids = [*map(str, range(len(values)))]
            notes.add(ids, [[1, 0]] * len(values), [{"n": value} for value in values])
            facets.append(repr(notes.facet("n")))
        assert facets[0] == facets[1]


def test_a_key_orders_counts_and_groups(url):
    with retrieval_store.Client(url=url) as client:
        notes = notes_in(client)
        numbers = [3, 1, 2, 1]
        notes.add([*"abcd"], [[i, 1] for i in range(4)], [{"n": n} for n in numbers])
        assert notes.facet("n") == [(1, 2), (2, 1), (3, 1)]
        assert notes.get(order_by="n", descending=True)["ids"] == ["a", "c", "d", "b"]
        (ids,) = notes.query(query_embeddings=[[0, 1]], group_by="n", n_results=9)["ids"]
        assert ids == ["a", "b", "c"]


def test_reasons_samples_and_maps_need_nothing_more(url):
    with retrieval_store.Client(url=url) as client:
        notes = notes_in(client)
        ids, vectors = [str(i) for i in range(20)], [[i, i % 3] for i in range(20)]
        notes.add(ids, vectors, [{"n": i} for i in range(20)], [f"note {i}" for i in range(20)])
        (reason,) = notes.why(query_embeddings=[[0, 0]], where={"n": {"$lt": 5}}, records="7")
        assert reason.rank is None and len(reason.excluded_by) == 1
        assert notes.sample(3)["ids"] == ["0", "10", "19"]
        assert notes.count({"n": {"$gte": 15}}) == 5
        assert notes.explain(query_embeddings=[[0, 0]])["points"] == 20
        notes.update(where={"n": {"$gte": 18}}, metadatas={"old": True})
        assert notes.get(where={"old": True})["ids"] == ["18", "19"]


def test_two_clients_see_what_the_other_writes(url):
    with retrieval_store.Client(url=url) as one, retrieval_store.Client(url=url) as other:
        notes_in(one).add("a", [[1, 0]])
        assert notes_in(other).count() == 1
        one.delete_collection("notes")
        with pytest.raises(NotFoundError):
            other.get_collection("notes")


def test_points_of_a_collection_that_another_deletes_are_not_found(url):
    with retrieval_store.Client(url=url) as client:
        notes_in(client)
        (record,) = session_of(client).store.page(None, 0)
        points = session_of(client).store.points(record.id)
        client.delete_collection("notes")
        for method, *arguments in (
            (points.count,),
            (points.get, None, None, None, 0, Fields()),
            (points.put, PointBatch(["a"], payloads=[{}]), WHOLE),
            (points.delete, ["a"], None, None),
        ):
            with pytest.raises(NotFoundError):
                method(*arguments)


def test_a_closed_client_says_so(url):
    with retrieval_store.Client(url=url) as client:
        notes = notes_in(client)
        notes.add("a", [[1, 0]])
    with pytest.raises(ClientClosedError):
        notes.count()


def test_what_it_has_not_is_said(url, tmp_path):
    with retrieval_store.Client(url=url) as client:
        with pytest.raises(InvalidArgumentError, match="can't copy a collection"):
            notes_in(client).fork("other")
        with pytest.raises(InvalidArgumentError, match="dense vectors of float32"):
            client.create_collection("sparse", {"sparse": {}}, embedding_function=None)
    with pytest.raises(InvalidArgumentError, match="takes no timeout"):
        retrieval_store.Client(url=url, timeout=3)
    with pytest.raises(InvalidArgumentError, match="sqlitefile:///path"):
        retrieval_store.Client(url="sqlitefile://")
    with pytest.raises(InvalidArgumentError, match="sqlitefile:///path"):
        retrieval_store.Client(url="sqlitefile://folder/store.db")
    with pytest.raises(StorageError, match="unable to open"):
        retrieval_store.Client(url=f"sqlitefile://{tmp_path}/absent/store.db")
