"""Collections on a cluster: a server, real if QDRANT_URL names one, else with Qdrant's engine, and
qdrant-client's local mode. What is the same as elsewhere is tested where that is: the fixture
`client` is on a cluster too."""

import logging
import sys
import threading
from contextlib import closing
from dataclasses import dataclass

import httpx
import numpy as np
import pytest
from hypothesis import given
from qdrant_client import QdrantClient
from qdrant_client.http.exceptions import ResponseHandlingException

import retrieval_store
from retrieval_store import Hybrid, errors
from retrieval_store.filters.expression import (
    And,
    Candidate,
    Exists,
    HasId,
    ListHas,
    Not,
    OneOf,
    Range,
    ValueLeaf,
    fulfils,
)
from retrieval_store.frameworks import open_collection
from tests.helpers import PATIENCE, inside, oracle, real_qdrant
from tests.helpers.clocks import Standing, set_clock
from tests.helpers.filter_strategies import (
    held_by,
    records_and_expressions,
    records_and_wheres,
    thorough,
    where_documents,
)
from tests.helpers.qdrant_server import Server, serving
from tests.helpers.tuned import tuned


@pytest.fixture(params=["server", "local"])
def qdrant(request):
    if request.param == "local":
        with closing(QdrantClient(":memory:")) as client:
            yield client
        return
    with real_qdrant.qdrant() as client:
        yield client


@pytest.fixture
def store(qdrant):
    return retrieval_store.Client(qdrant_client=qdrant)


@pytest.fixture
def url():
    """Of a server with Qdrant's REST interface."""
    with serving() as url:
        yield url


# filters: Qdrant's mean other things, and nothing of that may show

FIELDS = ("ids", "embeddings", "metadatas", "documents")


@pytest.fixture(scope="module")
def shared():
    with real_qdrant.qdrant() as client:
        yield retrieval_store.Client(qdrant_client=client, allow_reset=True)


def filled(client, found):
    client.reset()
    return held_by(client, found)


@thorough
@given(records_and_wheres, where_documents)
def test_filters_mean_what_the_predicate_says(shared, both, where_document):
    found, filters = both
    things, held = filled(shared, found)
    for where in filters:
        expected = [i for i, (metadata, _) in held.items() if oracle.matches(metadata, where)]
        assert things.get(where=where)["ids"] == expected
        near = things.query(query_embeddings=[0.0], n_results=len(held), where=where)
        assert near["ids"] == [expected]
        few = things.query(query_embeddings=[0.0], n_results=1, where=where)
        assert few["ids"] == [expected[:1]]
    said = [i for i, (_, text) in held.items() if oracle.document_matches(text, where_document)]
    assert things.get(where_document=where_document)["ids"] == said


@thorough
@given(records_and_expressions)
def test_expressions_mean_the_same_as_in_the_engine(shared, both):
    found, expressions = both
    things, _ = filled(shared, found)
    embedded = retrieval_store.Client().create_collection("records", embedding_function=None)
    everything = things.get(include=["embeddings", "metadatas", "documents"])
    embedded.add(**{name: everything[name] for name in FIELDS})
    for expression in [*expressions, *map(Not, expressions)]:
        assert things.get(where=expression)["ids"] == embedded.get(where=expression)["ids"]


ODD_PATHS = [('q"', "a"), ("",), ("a", "b"), ("a.b",)]


@pytest.mark.parametrize("path", ODD_PATHS)
def test_paths_that_qdrant_cannot_say_mean_what_they_do_elsewhere(shared, path):
    values = [{"a": {"b": 1}}, {"a": [{"b": 1}]}, {"a.b": 1}, {'q"': {"a": 1}}, {"a": 1}, None]
    things, held = filled(shared, [(metadata, None) for metadata in values])
    for leaf in (OneOf(path, (1,)), Range(path, gt=0), Exists(path), ListHas(path, (1,))):
        for node in (leaf, Not(leaf), And((leaf, HasId(("r0", "r3"))))):
            candidates = [Candidate(i, metadata, None) for i, (metadata, _) in held.items()]
            expected = [one.id for one in candidates if fulfils(one, node)]
            assert things.get(where=node)["ids"] == expected


@dataclass(frozen=True)
class IsA(ValueLeaf):
    """A condition of a user's own, which says what a store elsewhere can look up."""

    path: tuple[str, ...]

    def holds(self, value):
        return value == "a"

    def bound(self, pushdown):
        return pushdown.equal(("a",))


def test_a_condition_of_ones_own_and_its_negation_find_lists_as_they_should(shared):
    things, _ = filled(shared, [({"g": value}, None) for value in ("a", ["a", "b"], "z")])
    assert things.get(where=IsA(("g",)))["ids"] == ["r0"]
    assert things.get(where=Not(IsA(("g",))))["ids"] == ["r1", "r2"]


RESERVED = {"_id": "a", "_document": "a bank", "_uri": "file:///a", "_retrieval_store": 1}


@pytest.mark.parametrize("key", RESERVED)
def test_keys_that_hold_something_else_on_a_cluster_are_no_metadata(store, key):
    things = store.create_collection("things", embedding_function=None)
    things.add(ids=["a", "b"], embeddings=[[1], [2]], documents=["a bank", "b"])
    things.update("a", embeddings=[[1]], uris="file:///a")
    for leaf in (OneOf((key,), (RESERVED[key],)), Exists((key,)), Exists((key, "order"))):
        assert things.get(where=leaf)["ids"] == []
        assert things.get(where=Not(leaf))["ids"] == ["a", "b"]
        assert things.query(query_embeddings=[0.0], where=Not(leaf))["ids"] == [["a", "b"]]


def test_a_query_widens_until_k_fulfil_what_qdrant_cannot_say(store):
    things = store.create_collection("things", embedding_function=None)
    things.add(
        ids=[str(i) for i in range(300)],
        embeddings=[[i] for i in range(300)],
        documents=["odd" if i % 50 else f"even {i}" for i in range(300)],
    )
    query = {"query_embeddings": [0.0], "n_results": 5, "where_document": {"$regex": r"\d$"}}
    assert things.query(**query)["ids"] == [["0", "50", "100", "150", "200"]]
    told = things.explain(**query)
    assert told["requests"] > 1
    assert told["refused"] > 200
    assert told["filter"] is not None


# words


def test_words_rank_documents_and_filters_act_inside(store):
    one = {"qdrant": {"shard_number": 1}}  # words are as rare as they are in their shard
    things = store.create_collection("things", one, embedding_function=None)
    texts = ["the river bank", "a bank of rivers and banks", "money in the bank", "nothing"]
    things.add(
        ids=["a", "b", "c", "d"],
        embeddings=np.eye(4),
        documents=texts,
        metadatas=[{"n": i} for i in range(4)],
    )
    found = things.query(query_texts="river bank", mode="text")
    assert found["ids"][0][0] == "a"
    assert set(found["ids"][0]) == {"a", "b", "c"}
    assert found["scores"][0] == sorted(found["scores"][0], reverse=True)
    assert found["distances"] == [None]
    few = things.query(query_texts="river bank", mode="text", where={"n": {"$gt": 0}}, n_results=1)
    assert few["scores"][0][0] == pytest.approx(found["scores"][0][1])
    things.update("d", embeddings=[[0, 0, 0, 1]], documents=["a river"])
    things.update("a", embeddings=[[1, 0, 0, 0]], documents=["gone"])
    assert "a" not in things.query(query_texts="river", mode="text")["ids"][0]
    assert things.query(query_texts=["zzz", "!!", "river"], mode="text")["ids"] == [[], [], ["d"]]


def test_hybrid_queries_fuse_both_and_measure_distances(store):
    things = store.create_collection("things", embedding_function=None)
    things.add(
        ids=["near", "worded", "far"],
        embeddings=[[0, 0], [3, 0], [9, 0]],
        documents=["x", "a river", "y"],
    )
    found = things.query(
        [[0, 0]], "river", mode=Hybrid(depth=(1, 5)), n_results=2, include=["distances"]
    )
    assert set(found["ids"][0]) == {"near", "worded"}
    distances = dict(zip(found["ids"][0], found["distances"][0], strict=True))
    assert distances == {"near": 0.0, "worded": 9.0}


def test_words_are_found_without_spaces_around_them(store):
    notes = store.create_collection("notes", embedding_function=None)
    documents = [
        "床前明月光，低头思故乡",
        "日本語の契約書とPython本",
        "Donau\xaddampf dan-\ngerous",
    ]
    notes.add(["zh", "ja", "de"], [[1, 0], [0, 1], [1, 1]], documents=documents)
    for query, found in (
        ("故乡", ["zh"]),
        ("契約書", ["ja"]),
        ("本", ["ja"]),
        ("donaudampf", ["de"]),
        ("dangerous", ["de"]),
        ("故事", []),
    ):
        assert notes.query(query_texts=query, mode="text")["ids"] == [found]


def test_words_weigh_in_hybrid_queries_as_they_do_without_a_cluster(store):
    texts = [f"the pump of the boat stops here {i % 7} says note ref{i:03d}" for i in range(60)]
    vectors = np.random.default_rng(0).standard_normal((60, 4)).tolist()
    for text, found in (("what is ref042 about", "42"), ("boat pump", "7"), ("zebra", "7")):
        alphas = []
        for client in (store, retrieval_store.Client()):
            things = client.get_or_create_collection("things", embedding_function=None)
            things.upsert([str(i) for i in range(60)], vectors, documents=texts)
            asked = {"query_texts": text, "query_embeddings": [vectors[7]], "mode": "hybrid"}
            assert things.query(**asked, n_results=1)["ids"] == [[found]]
            (alpha,) = things.explain(**asked)["alphas"]
            alphas.append(alpha)
        assert alphas[0] == pytest.approx(alphas[1], abs=0.1)


def test_settings_of_words_are_fixed_and_ef_is_not(store):
    things = store.create_collection("things", embedding_function=None)
    with pytest.raises(errors.ConflictError, match="can't be changed on a cluster"):
        things.modify(configuration={"text": {"stopwords": ["a"]}})
    things.modify(configuration={"hnsw": {"ef_search": 77}})
    assert store.get_collection("things").configuration["hnsw"]["ef_search"] == 77


# vectors


def test_vectors_come_back_as_given_though_qdrant_keeps_directions(store):
    things = store.create_collection(
        "things", {"hnsw": {"space": "cosine"}}, embedding_function=None
    )
    given = np.array([[3, 4], [0.1, -0.7], [0, 0]], np.float32)
    things.add(ids=["a", "b", "c"], embeddings=given)
    assert things.get(include=["embeddings"])["embeddings"] == pytest.approx(given, rel=1e-6)
    things.update("a", metadatas={"n": 1})
    assert things.get("a", include=["embeddings"])["embeddings"] == pytest.approx(given[:1])
    found = things.query(query_embeddings=[3, 4], include=["distances", "embeddings"])
    assert found["distances"][0] == pytest.approx(
        [0, 1, 1 - (0.3 - 2.8) / (5 * 0.5**0.5)], abs=1e-6
    )
    assert found["embeddings"][0][0] == pytest.approx(given[0])


def test_the_first_write_fixes_the_dimension_for_all_processes(qdrant):
    one, other = (retrieval_store.Client(qdrant_client=qdrant) for _ in range(2))
    here = one.create_collection("things", embedding_function=None)
    there = other.get_collection("things", embedding_function=None)
    assert there.query(query_embeddings=[1, 2, 3])["ids"] == [[]]
    here.add(ids="a", embeddings=[[1, 2]])
    with pytest.raises(errors.DimensionMismatchError, match="vectors of 2"):
        there.add(ids="b", embeddings=[[1, 2, 3]])
    with pytest.raises(errors.DimensionMismatchError, match="vectors of 2"):
        there.query(query_embeddings=[1, 2, 3])
    assert there.count() == 1


@pytest.mark.parametrize(
    ("version", "nth"),
    [(version, nth) for version in ("1.18.0", "1.20.0") for nth in range(1, 6)],
)
def test_a_first_write_that_comes_between_is_seen_whenever_it_comes(version, nth):
    with closing(Server(version=version)) as server, closing(server.client()) as qdrant:
        store = retrieval_store.Client(qdrant_client=qdrant)
        things = store.create_collection("things", embedding_function=None)
        left = [nth]

        def come_between(number, method, path):
            left[0] -= 1
            if left[0] == 0:
                things.add(ids=["first"], embeddings=[[1.0]])

        server.faults = come_between
        with pytest.raises(errors.DimensionMismatchError):
            things.add(ids=["second"], embeddings=[[1.0, 2.0]])
        assert things.count() == 1


def test_points_come_in_the_order_of_first_insertion_over_many_pages(store, monkeypatch):
    tuned(monkeypatch, cluster_page=7)
    things = store.create_collection("things", embedding_function=None)
    ids = [str(i) for i in np.random.default_rng(0).permutation(50)]
    things.add(ids=ids, embeddings=np.zeros((50, 1)))
    things.upsert(ids=ids[:5], embeddings=np.ones((5, 1)))
    assert things.get()["ids"] == ids
    assert things.get(limit=9, offset=11)["ids"] == ids[11:20]
    assert things.get(ids=ids[::-1])["ids"] == ids[::-1]
    assert things.delete(where_document={"$not_contains": "x"}, limit=3) == {"deleted": 3}
    assert things.get()["ids"] == ids[3:]


def test_points_of_one_number_are_all_listed(qdrant, store, monkeypatch):
    """Two processes may have given out one number."""
    tuned(monkeypatch, cluster_page=4)
    set_clock(monkeypatch, "versions on a cluster", Standing(5_000))
    for i in range(3):
        fresh = retrieval_store.Client(qdrant_client=qdrant)
        things = fresh.get_or_create_collection("things", embedding_function=None)
        things.add(ids=[f"{i}a", f"{i}b"], embeddings=np.zeros((2, 1)))
    assert sorted(things.get()["ids"]) == ["0a", "0b", "1a", "1b", "2a", "2b"]


def test_reserved_metadata_is_refused_before_anything_is_written(store):
    things = store.create_collection("things", embedding_function=None)
    with pytest.raises(errors.InvalidMetadataError, match="'_id' is reserved"):
        things.add(ids=["a", "b"], embeddings=[[1], [2]], metadatas=[{"n": 1}, {"_id": 7}])
    assert things.count() == 0


# collections


def test_a_collection_is_renamed_by_an_alias_and_both_names_stay_taken(store, qdrant):
    things = store.create_collection("things", embedding_function=None, metadata={"a": None})
    things.add(ids="a", embeddings=[[1]])
    things.modify(name="others", metadata={"b": 2})
    other = retrieval_store.Client(qdrant_client=qdrant)
    assert [(c.name, c.metadata) for c in other.list_collections()] == [("others", {"b": 2})]
    assert other.get_collection("others").get()["ids"] == ["a"]
    with pytest.raises(errors.NotFoundError, match="what was called so is 'others' now"):
        other.get_collection("things")
    for taken in ("things", "others"):
        with pytest.raises(errors.AlreadyExistsError, match=taken):
            other.create_collection(taken)
    things.modify(name="things")
    assert other.get_collection("things") == things
    store.create_collection("others")
    store.delete_collection("things")
    assert [c.name for c in other.list_collections()] == ["others"]


def test_aliases_of_others_stay(store, qdrant):
    from qdrant_client import models

    things = store.create_collection("things", embedding_function=None)
    theirs = models.CreateAlias(collection_name="things", alias_name="theirs")
    qdrant.update_collection_aliases([models.CreateAliasOperation(create_alias=theirs)])
    things.modify(metadata={"a": 1})
    things.modify(name="others")
    things.modify(name="more")
    found = {one.alias_name for one in qdrant.get_aliases().aliases}
    assert found == {"theirs", "more"}


def test_collections_of_others_are_left_alone(store, qdrant):
    from qdrant_client import models

    size = models.VectorParams(size=2, distance=models.Distance.DOT)
    qdrant.create_collection("theirs", vectors_config=size)
    assert store.list_collections() == []
    with pytest.raises(errors.NotFoundError, match="only one that retrieval-store didn't make"):
        store.get_collection("theirs")
    with pytest.raises(errors.AlreadyExistsError):
        store.create_collection("theirs")


def test_a_point_that_is_not_ours_is_an_error(store, qdrant):
    from qdrant_client import models

    things = store.create_collection("things", embedding_function=None)
    things.add(ids="a", embeddings=[[1]])
    qdrant.upsert("things", [models.PointStruct(id=1, vector={"embedding": [2]}, payload={})])
    with pytest.raises(errors.DamagedError, match="didn't write"):
        things.query(query_embeddings=[1])


def test_a_deleted_collection_says_so_in_every_client(store, qdrant):
    other = retrieval_store.Client(qdrant_client=qdrant)
    things = other.create_collection("things", embedding_function=None)
    store.delete_collection("things")
    with pytest.raises(errors.NotFoundError):
        things.count()
    assert things.name == "things"  # as it is known


def test_float16_is_refused_by_name_since_qdrant_would_round_the_queries_too(store):
    halves = {"vectors": {"datatype": "float16"}}
    with pytest.raises(errors.InvalidArgumentError, match="'float16', expected 'float32' on a"):
        store.create_collection("things", halves, embedding_function=None)
    assert store.count_collections() == 0


def test_an_index_of_another_kind_is_refused_and_none_is_possible(store):
    with pytest.raises(errors.PluginError, match="'tree'"):
        store.create_collection("things", {"index": "tree"})
    exact = store.create_collection("exact", {"index": "exact"}, embedding_function=None)
    exact.add(ids="a", embeddings=[[1]])
    exact.optimize()
    assert exact.query(query_embeddings=[1])["ids"] == [["a"]]
    assert exact.stats()["points"] == 1
    assert store.verify() == []


# the connection


class Shaky:
    """A client whose first calls fail as they do when a connection breaks."""

    def __init__(self, client, failures):
        self._client, self.failures = client, failures

    def __getattr__(self, name):
        def call(*args, **kwargs):
            if self.failures > 0:
                self.failures -= 1
                raise ResponseHandlingException(httpx.ConnectError("refused"))
            return getattr(self._client, name)(*args, **kwargs)

        return call


def test_calls_are_repeated_when_the_connection_fails(qdrant, monkeypatch, caplog):
    tuned(monkeypatch, cluster_pauses=(0.0, 0.0, 0.0))
    shaky = Shaky(qdrant, 0)
    client = retrieval_store.Client(qdrant_client=shaky)
    things = client.create_collection("things", embedding_function=None)
    shaky.failures = 3
    with caplog.at_level(logging.WARNING, "retrieval_store"):
        things.add(ids="a", embeddings=[[1]])
    assert len(caplog.records) == 3
    shaky.failures = 4
    with pytest.raises(errors.StorageError, match="can't be reached"):
        things.count()
    assert things.count() == 1


def test_a_given_client_stays_open_and_the_closed_one_says_so(qdrant):
    with retrieval_store.Client(qdrant_client=qdrant) as client:
        things = client.create_collection("things", embedding_function=None)
    with pytest.raises(errors.ClientClosedError):
        things.count()
    assert qdrant.collection_exists("things")


def test_only_one_place_can_be_named(tmp_path, qdrant):
    with pytest.raises(errors.InvalidArgumentError, match="expected one of"):
        retrieval_store.Client(tmp_path, qdrant_client=qdrant)
    with pytest.raises(errors.InvalidTypeError, match="'api_key' is no argument"):
        retrieval_store.Client(tmp_path, api_key="x")
    with pytest.raises(errors.InvalidArgumentError, match="read_only goes with path"):
        retrieval_store.Client(qdrant_client=qdrant, read_only=True)
    with pytest.raises(errors.InvalidArgumentError, match="made with url, nonsense"):
        retrieval_store.Client(url="http://localhost:6333", nonsense=1)
    with pytest.raises(errors.InvalidArgumentError, match="durability goes with path"):
        retrieval_store.Client(qdrant_client=qdrant, durability="relaxed")


def test_a_name_that_is_somebody_elses_is_no_reason_to_go_on_trying(store, qdrant):
    qdrant.create_collection("langchain", vectors_config={})
    store.create_collection("first", embedding_function=None).modify(name="second")
    for name, reason in (("langchain", "didn't make"), ("first", "'second' was called first")):
        with pytest.raises(errors.AlreadyExistsError, match=reason):
            store.get_or_create_collection(name)
        with pytest.raises(errors.AlreadyExistsError, match=reason):
            open_collection(name, client=store)


def counted(qdrant, method):
    """A client that notes how many bytes of JSON the calls of a method are."""
    sizes = []

    class Counting:
        def __getattr__(self, name):
            def call(*args, **kwargs):
                if name == method:
                    given = next(a for a in kwargs.values() if isinstance(a, list))
                    sizes.append(sum(len(one.model_dump_json()) for one in given))
                return getattr(qdrant, name)(*args, **kwargs)

            return call

    return retrieval_store.Client(qdrant_client=Counting()), sizes


def test_no_request_is_larger_than_qdrant_takes(qdrant, monkeypatch):
    tuned(monkeypatch, cluster_request_bytes=100_000, cluster_question_bytes=100_000)
    store, sizes = counted(qdrant, "batch_update_points")
    things = store.create_collection("things", embedding_function=None)
    words = np.random.default_rng(0).integers(0, 9_999, (200, 50))
    vectors = np.random.default_rng(1).standard_normal((200, 64)).astype(np.float32)
    ids = [f"id {i}" for i in range(200)]
    things.add(ids=ids, embeddings=vectors, documents=[" ".join(map(str, row)) for row in words])
    assert 1 < len(sizes) < 40
    assert max(sizes) < 110_000
    store, sizes = counted(qdrant, "query_batch_points")
    things = store.get_collection("things")
    near = things.query(query_embeddings=vectors, n_results=1, ids=ids[:100])
    assert near["ids"][:100] == [[one] for one in ids[:100]]
    assert max(sizes) < 110_000


def test_the_longest_and_the_shortest_vectors_are_ranked_and_come_back(store):
    things = store.create_collection(
        "things", {"hnsw": {"space": "cosine"}}, embedding_function=None
    )
    given = np.array([[3e38, 3e38], [1e20, 0], [1e-30, 2e-30], [1e-4, -1e-4]], np.float32)
    things.add(ids=["long", "far", "short", "other"], embeddings=given)
    assert np.allclose(things.get(include=["embeddings"])["embeddings"], given, rtol=1e-6, atol=0)
    found = things.query(query_embeddings=[1e-25, 2e-25])
    assert found["ids"] == [["short", "long", "far", "other"]]
    expected = [0, 1 - 3 / 10**0.5, 1 - 1 / 5**0.5, 1 + 1 / 10**0.5]
    assert found["distances"][0] == pytest.approx(expected, abs=1e-6)


class Broken:
    """A client of which the n-th call of a method fails for good."""

    def __init__(self, client, method, nth=1):
        self._client, self._method, self._left = client, method, nth

    def __getattr__(self, name):
        def call(*args, **kwargs):
            if name == self._method:
                self._left -= 1
                if not self._left:
                    raise ValueError("broken")
            return getattr(self._client, name)(*args, **kwargs)

        return call


@pytest.mark.parametrize("renamed_before", [False, True])
@pytest.mark.parametrize(
    ("method", "nth"), [("update_collection_aliases", 1), ("update_collection", 1)]
)
def test_a_rename_that_is_broken_off_can_be_done_again(qdrant, store, renamed_before, method, nth):
    things = store.create_collection("things", embedding_function=None)
    if renamed_before:
        things.modify(name="once")
    broken = retrieval_store.Client(qdrant_client=Broken(qdrant, method, nth))
    (one,) = broken.list_collections()
    with pytest.raises(errors.StorageError, match="broken"):
        one.modify(name="others")
    name = store.list_collections()[0].name
    assert store.get_collection(name) == things
    store.get_collection(name).modify(name="others")
    assert store.get_collection("others") == things
    assert [c.name for c in store.list_collections()] == ["others"]
    store.delete_collection("others")
    assert qdrant.get_collections().collections == []


def test_to_look_for_a_name_costs_no_more_where_there_are_many_collections():
    server = Server()
    with closing(server), closing(server.client()) as qdrant:
        store = retrieval_store.Client(qdrant_client=qdrant)
        asked = []
        for i in range(12):
            server.requests.clear()
            store.get_or_create_collection(f"things-{i}", embedding_function=None)
            asked.append(len(server.requests))
    assert asked[-1] == asked[1] < 10


def test_a_creation_whose_index_fails_leaves_nothing(qdrant, store):
    broken = retrieval_store.Client(qdrant_client=Broken(qdrant, "create_payload_index"))
    with pytest.raises(errors.StorageError, match="broken"):
        broken.create_collection("things", embedding_function=None)
    assert store.create_collection("things", embedding_function=None).count() == 0


def test_a_creation_whose_answer_was_lost_is_found_to_be_there(qdrant, monkeypatch):
    tuned(monkeypatch, cluster_pauses=(0.0,))

    class Lossy:
        unlucky = frozenset({"create_collection", "create_vector_name"})  # lose their next answers
        changed = ()

        def __getattr__(self, name):
            def call(*args, **kwargs):
                result = getattr(qdrant, name)(*args, **kwargs)
                if "vectors_config" in kwargs and name == "update_collection":
                    self.changed = *self.changed, kwargs["vectors_config"]["embedding"].on_disk
                if name in self.unlucky:
                    self.unlucky = self.unlucky - {name}
                    raise ResponseHandlingException(httpx.ReadTimeout("lost"))
                return result

            return call

    lossy = Lossy()
    store = retrieval_store.Client(qdrant_client=lossy)
    configuration = {"qdrant": {"on_disk": True}}
    things = store.create_collection("things", configuration, embedding_function=None)
    assert (things.count(), lossy.unlucky) == (0, {"create_vector_name"})
    things.add(ids="a", embeddings=[[1, 2]])
    assert (lossy.unlucky, lossy.changed) == (set(), (True,))
    lossy.unlucky = frozenset({"create_collection"})
    things = store.create_collection("others", embedding_function=None)
    things.add(ids="a", embeddings=[[1, 2]])
    assert (things.fork("fork").get()["ids"], lossy.unlucky) == (["a"], set())


def test_a_collection_made_anew_by_another_is_not_written_to(qdrant, store):
    old = store.create_collection("things", embedding_function=None)
    old.add(ids="a", embeddings=[[1, 2]])
    other = retrieval_store.Client(qdrant_client=qdrant)
    other.delete_collection("things")
    new = other.create_collection("things", embedding_function=None)
    for write in (
        lambda: old.add(ids="b", embeddings=[[3, 4]]),
        lambda: old.upsert(ids="a", embeddings=[[3, 4]]),
        lambda: old.delete(ids="a"),
        lambda: old.modify(metadata={"a": 1}),
    ):
        with pytest.raises(errors.NotFoundError):
            write()
    assert new.get()["ids"] == []


def test_a_collection_made_anew_by_another_is_soon_not_read(qdrant, store, monkeypatch):
    old = store.create_collection("things", embedding_function=None)
    old.add(ids="a", embeddings=[[1, 2]], metadatas=[{"a": 1}])
    other = retrieval_store.Client(qdrant_client=qdrant)
    other.delete_collection("things")
    new = other.create_collection("things", embedding_function=None)
    new.add(ids="b", embeddings=[[3, 4]])
    tuned(monkeypatch, cluster_age=0.0)
    for read in (
        lambda: old.query(query_embeddings=[[1, 2]]),
        lambda: old.query(query_embeddings=[[1, 2]], where={"a": 1}),
        lambda: old.get(),
        lambda: old.get(ids="b"),
        lambda: old.get(order_by="a"),
        lambda: old.count(),
        lambda: old.facet("a"),
        lambda: list(old.iterate()),
    ):
        with pytest.raises(errors.NotFoundError, match="'things'"):
            read()
    assert new.get()["ids"] == ["b"]


def test_settings_that_another_process_has_changed_are_those_of_searches(
    qdrant, store, monkeypatch
):
    ours = store.create_collection("things", embedding_function=None)
    ours.add(ids="a", embeddings=[[1, 2]])
    there = retrieval_store.Client(qdrant_client=qdrant).get_collection("things", None)
    there.modify(configuration={"hnsw": {"ef_search": 999}})
    tuned(monkeypatch, cluster_age=0.0)
    assert ours.explain(query_embeddings=[[1, 2]])["search"]["hnsw_ef"] == 999


def test_stopwords_of_a_language_without_its_stemmer(store):
    text = {"language": "english", "stemming": False, "stopwords": True}
    things = store.create_collection("things", {"text": text}, embedding_function=None)
    things.add(ids="a", embeddings=[[1]], documents=["the rivers"])
    found = [things.query(query_texts=t, mode="text")["ids"] for t in ("the", "river", "rivers")]
    assert found == [[[]], [[]], [["a"]]]


@pytest.mark.parametrize("given", ["http://localhost:6333", object(), 5])
def test_what_is_no_client_is_refused_at_once(given):
    with pytest.raises(errors.InvalidTypeError, match="expected a QdrantClient"):
        retrieval_store.Client(qdrant_client=given)


@pytest.mark.parametrize("url", [5, ""])
def test_what_is_no_url_is_refused_at_once(url):
    with pytest.raises(errors.InvalidTypeError, match="expected the URL"):
        retrieval_store.Client(url=url, timeout=PATIENCE)


def test_large_numbers_of_results_and_of_values_are_asked_for_sensibly(store):
    things = store.create_collection("things", embedding_function=None)
    things.add(
        ids=["a", "b"], embeddings=[[1], [2]], metadatas=[{"n": 7, "t": "x"}, {"n": 9, "t": "y"}]
    )
    assert things.query(query_embeddings=[1], n_results=sys.maxsize)["ids"] == [["a", "b"]]
    assert things.get(limit=sys.maxsize, offset=1)["ids"] == ["b"]
    many = {"n": {"$in": list(range(0, 4_000, 7))}}
    assert things.get(where=many)["ids"] == ["a"]
    assert len(str(things.explain(query_embeddings=[1], where=many)["filter"])) < 500
    assert things.get(where={"n": {"$nin": list(range(8))}})["ids"] == ["b"]
    assert things.get(where={"t": "\ud800"})["ids"] == []
    assert things.get(where={"t": {"$ne": "\ud800"}})["ids"] == ["a", "b"]
    assert things.get(where={"a\\b": 1})["ids"] == []


def test_hybrid_explains_the_filter_that_was_asked_for(store):
    things = store.create_collection("things", embedding_function=None)
    things.add(
        ids=["a", "b"], embeddings=[[1], [9]], documents=["x", "river"], metadatas=[{"n": 1}] * 2
    )
    told = things.explain([[1]], "river", mode=Hybrid(depth=(1, 1)), where={"n": 1})
    assert "has_id" not in str(told["filter"])
    assert told["requests"] == 3  # both sides, how many points there are, and distances


def test_a_changed_ef_is_seen_by_other_clients(qdrant, store):
    things = store.create_collection("things", embedding_function=None)
    other = retrieval_store.Client(qdrant_client=qdrant)
    there = other.get_collection("things", embedding_function=None)
    things.modify(configuration={"hnsw": {"ef_search": 999}})
    assert there.configuration["hnsw"]["ef_search"] == 999
    assert inside.open_collections(inside.store(other))[str(there.id)].settings.ef == 999


# by URL


@pytest.mark.filterwarnings("ignore:Failed to obtain server version")
def test_a_url_leads_to_collections_over_the_network(url):
    with retrieval_store.Client(url=url, timeout=PATIENCE) as client:
        things = client.create_collection(
            "things", {"hnsw": {"space": "cosine"}}, {"about": "x"}, embedding_function=None
        )
        values = {"n": 2**63 - 1, "x": 1.0, "t": True, "l": ["a", None], "o": {"k": "é"}}
        things.add(
            ids=["a", "b", "c"],
            embeddings=[[1, 0], [0, 1], [1, 1]],
            metadatas=[values, {"n": 1}, None],
            documents=["a river", None, "two rivers"],
            uris=[None, "file:///x", None],
        )
        with pytest.raises(errors.IDAlreadyExistsError):
            things.add(ids="a", embeddings=[[1, 1]])
        things.update("b", metadatas={"n": None, "m": 2})
        found = things.get(include=["metadatas", "documents", "uris"])
        assert found["metadatas"] == [values, {"m": 2}, None]
        assert type(found["metadatas"][0]["x"]) is float
        assert found["uris"] == [None, "file:///x", None]
        near = things.query(query_embeddings=[1, 0], where={"n": {"$gte": 2**63 - 1}})
        assert near["ids"] == [["a"]]
        assert things.query(query_texts="river", mode="text")["ids"] == [["a"]]
        assert things.delete(where={"m": 2}) == {"deleted": 1}
    with retrieval_store.Client(url=url, timeout=PATIENCE) as client:
        things = client.get_collection("things")
        assert things.metadata == {"about": "x"}
        assert things.count() == 2
        client.delete_collection("things")
        with pytest.raises(errors.NotFoundError):
            things.count()
        with pytest.raises(errors.NotFoundError):
            client.get_collection("things")


@pytest.mark.filterwarnings("ignore:Failed to obtain server version")
def test_where_nobody_answers_the_place_is_named(monkeypatch):
    tuned(monkeypatch, server_patience=0.0)
    with (
        retrieval_store.Client(url="http://127.0.0.1:9", timeout=1) as client,
        pytest.raises(errors.StorageError, match=r"http://127\.0\.0\.1:9 can't be reached"),
    ):
        client.list_collections()


@pytest.mark.filterwarnings("ignore:Failed to obtain server version")
def test_a_server_that_is_no_qdrant_is_said_to_be_none(url):
    with (
        retrieval_store.Client(url=url, prefix="elsewhere", timeout=PATIENCE) as client,
        pytest.raises(
            errors.StorageError, match="neither a Qdrant nor a retrieval-store server at http://"
        ),
    ):
        client.list_collections()


@pytest.mark.filterwarnings("ignore:Failed to obtain server version")
def test_threads_share_a_client_by_url(url):
    with retrieval_store.Client(url=url, timeout=PATIENCE) as client:
        things = client.create_collection("things", embedding_function=None)
        failed = []

        def work(number):
            try:
                ids = [f"{number}-{i}" for i in range(20)]
                for one in ids:
                    things.add(ids=one, embeddings=[[number]])
                assert set(things.get(ids=ids)["ids"]) == set(ids)
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert things.count() == 80


def test_why_knows_places_far_behind_and_reads_no_more_than_it_needs():
    count, read = 11_000, []
    with closing(Server()) as server, closing(server.client()) as qdrant:
        client = retrieval_store.Client(qdrant_client=qdrant)
        things = client.create_collection("things", embedding_function=None)
        things.add(
            ids=[f"r{i}" for i in range(count)],
            embeddings=np.arange(count, dtype=np.float32)[:, None],
            documents=["a long text " * 50] * count,
            metadatas=[
                {"even": i % 2 == 0, "half": i // 5_500, "rest": "x" * 500} for i in range(count)
            ],
        )

        def weigh(request, send):
            response = send(request)
            read.append(len(response.content))
            return response

        qdrant.http.client.add_middleware(weigh)
        asked = {"query_embeddings": [[0.0]], "records": ["r10500", "r9999"], "same": "half"}
        far, odd = things.why(**asked, n_results=2_751, where={"even": True})
        assert (far.rank, odd.rank, len(odd.excluded_by)) == (5_251, None, 1)
        assert far.same == odd.same == ["r5500"]
        far, odd = things.why(**asked, n_results=5_502)
        assert (far.rank, odd.rank) == (10_501, 10_000)
        assert far.same == odd.same == ["r5500", "r5501"]
        assert sum(read) < 10_000_000  # documents and metadata alone are 12 MB
