"""Collections on a cluster: a server, real if QDRANT_URL names one, else with Qdrant's engine, and
qdrant-client's local mode. Common behaviour is tested with the other stores: the fixture `client`
is on a cluster too."""

import sys
from contextlib import closing

import httpx
import numpy as np
import pytest
from qdrant_client import QdrantClient, models
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
    fulfils,
)
from retrieval_store.frameworks import open_collection
from tests.helpers import real_qdrant
from tests.helpers.filter_strategies import held_by
from tests.helpers.qdrant_server import Server
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


# filters: Qdrant's have other meanings, which must not show


ODD_PATHS = [('q"', "a"), ("",), ("a", "b"), ("a.b",)]


def test_paths_that_qdrant_cannot_express_mean_the_same_as_elsewhere(store):
    values = [{"a": {"b": 1}}, {"a": [{"b": 1}]}, {"a.b": 1}, {'q"': {"a": 1}}, {"a": 1}, None]
    things, held = held_by(store, [(metadata, None) for metadata in values])
    candidates = [Candidate(i, metadata, None) for i, (metadata, _) in held.items()]
    for path in ODD_PATHS:
        for leaf in (OneOf(path, (1,)), Range(path, gt=0), Exists(path), ListHas(path, (1,))):
            for node in (leaf, Not(leaf), And((leaf, HasId(("r0", "r3"))))):
                expected = [one.id for one in candidates if fulfils(one, node)]
                assert things.get(where=node)["ids"] == expected


RESERVED = {"_id": "a", "_document": "a bank", "_uri": "file:///a", "_retrieval_store": 1}


def test_keys_that_hold_something_else_on_a_cluster_are_no_metadata(store):
    things = store.create_collection("things", embedding_function=None)
    things.add(ids=["a", "b"], embeddings=[[1], [2]], documents=["a bank", "b"])
    things.update("a", embeddings=[[1]], uris="file:///a")
    for key in RESERVED:
        for leaf in (OneOf((key,), (RESERVED[key],)), Exists((key,)), Exists((key, "order"))):
            assert things.get(where=leaf)["ids"] == []
            assert things.get(where=Not(leaf))["ids"] == ["a", "b"]
            assert things.query(query_embeddings=[0.0], where=Not(leaf))["ids"] == [["a", "b"]]


def test_a_query_widens_until_k_fulfil_what_qdrant_cannot_express(store):
    things = store.create_collection("things", embedding_function=None)
    things.add(
        ids=[str(i) for i in range(300)],
        embeddings=[[i] for i in range(300)],
        documents=["odd" if i % 50 else f"even {i}" for i in range(300)],
    )
    query = {"query_embeddings": [0.0], "n_results": 5, "where_document": {"$regex": r"\d$"}}
    assert things.query(**query)["ids"] == [["0", "50", "100", "150", "200"]]
    explanation = things.explain(**query)
    assert explanation["requests"] > 1
    assert explanation["refused"] > 200
    assert explanation["filter"] is not None


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


def test_settings_of_words_are_fixed_and_ef_is_not(store):
    things = store.create_collection("things", embedding_function=None)
    with pytest.raises(errors.ConflictError, match="can't be changed on a cluster"):
        things.modify(configuration={"text": {"stopwords": ["a"]}})
    things.modify(configuration={"hnsw": {"ef_search": 77}})
    assert store.get_collection("things").configuration["hnsw"]["ef_search"] == 77


# vectors


def test_vectors_are_returned_as_passed_though_qdrant_stores_directions(store):
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


@pytest.mark.parametrize("nth", range(1, 6))
def test_a_concurrent_first_write_is_seen_at_any_moment(nth):
    with closing(Server()) as server, closing(server.client()) as qdrant:
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


def test_reserved_metadata_is_refused_before_anything_is_written(store):
    things = store.create_collection("things", embedding_function=None)
    with pytest.raises(errors.InvalidMetadataError, match="'_id' is reserved"):
        things.add(ids=["a", "b"], embeddings=[[1], [2]], metadatas=[{"n": 1}, {"_id": 7}])
    assert things.count() == 0


# collections


def test_a_collection_is_renamed_by_an_alias_and_both_names_stay_reserved(store, qdrant):
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


def test_collections_of_others_are_left_alone(store, qdrant):
    size = models.VectorParams(size=2, distance=models.Distance.DOT)
    qdrant.create_collection("theirs", vectors_config=size)
    assert store.list_collections() == []
    with pytest.raises(errors.NotFoundError, match="only one that retrieval-store didn't make"):
        store.get_collection("theirs")
    with pytest.raises(errors.AlreadyExistsError):
        store.create_collection("theirs")


def test_a_point_that_is_not_ours_is_an_error(store, qdrant):
    things = store.create_collection("things", embedding_function=None)
    things.add(ids="a", embeddings=[[1]])
    qdrant.upsert("things", [models.PointStruct(id=1, vector={"embedding": [2]}, payload={})])
    with pytest.raises(errors.DamagedError, match="didn't write"):
        things.query(query_embeddings=[1])


def test_float16_is_refused_by_name_since_qdrant_would_round_the_queries_too(store):
    halves = {"vectors": {"datatype": "float16"}}
    with pytest.raises(errors.InvalidArgumentError, match="'float16', expected 'float32' on a"):
        store.create_collection("things", halves, embedding_function=None)
    assert store.count_collections() == 0


# the connection


def test_a_passed_client_stays_open_and_a_closed_one_raises(qdrant):
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


def test_creating_an_existing_name_is_not_retried(store, qdrant):
    qdrant.create_collection("langchain", vectors_config={})
    store.create_collection("first", embedding_function=None).modify(name="second")
    for name, reason in (("langchain", "didn't make"), ("first", "'second' was called first")):
        with pytest.raises(errors.AlreadyExistsError, match=reason):
            store.get_or_create_collection(name)
        with pytest.raises(errors.AlreadyExistsError, match=reason):
            open_collection(name, client=store)


def counted(qdrant, method):
    """A client that records the number of JSON bytes in the calls of a method."""
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
    """A client whose n-th call of a method fails for good."""

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


def test_finding_a_name_costs_no_more_with_many_collections():
    server = Server()
    with closing(server), closing(server.client()) as qdrant:
        store = retrieval_store.Client(qdrant_client=qdrant)
        queries = []
        for i in range(12):
            server.requests.clear()
            store.get_or_create_collection(f"things-{i}", embedding_function=None)
            queries.append(len(server.requests))
    assert queries[-1] == queries[1] < 10


def test_a_creation_whose_index_fails_leaves_nothing(qdrant, store):
    broken = retrieval_store.Client(qdrant_client=Broken(qdrant, "create_payload_index"))
    with pytest.raises(errors.StorageError, match="broken"):
        broken.create_collection("things", embedding_function=None)
    assert store.create_collection("things", embedding_function=None).count() == 0


def test_a_creation_with_a_lost_response_is_found(qdrant, monkeypatch):
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


def test_a_collection_recreated_by_another_is_not_written_to(qdrant, store):
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


def test_a_collection_recreated_by_another_is_soon_not_read(qdrant, store, monkeypatch):
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
    assert ours.configuration["hnsw"]["ef_search"] == 999
    tuned(monkeypatch, cluster_age=0.0)
    assert ours.explain(query_embeddings=[[1, 2]])["search"]["hnsw_ef"] == 999


def test_an_argument_that_is_no_client_or_url_is_refused_at_once():
    for given in ("http://localhost:6333", object(), 5):
        with pytest.raises(errors.InvalidTypeError, match="expected a QdrantClient"):
            retrieval_store.Client(qdrant_client=given)
    for given in (5, ""):
        with pytest.raises(errors.InvalidTypeError, match="expected the URL"):
            retrieval_store.Client(url=given)


def test_large_limits_and_counts_are_requested_sensibly(store):
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


# by URL


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
        query = {"query_embeddings": [[0.0]], "records": ["r10500", "r9999"], "same": "half"}
        far, odd = things.why(**query, n_results=2_751, where={"even": True})
        assert (far.rank, odd.rank, len(odd.excluded_by)) == (5_251, None, 1)
        assert far.same == odd.same == ["r5500"]
        far, odd = things.why(**query, n_results=5_502)
        assert (far.rank, odd.rank) == (10_501, 10_000)
        assert far.same == odd.same == ["r5500", "r5501"]
        assert sum(read) < 10_000_000  # documents and metadata alone are 12 MB


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


def test_an_index_of_another_kind_is_refused_and_none_is_possible(store):
    with pytest.raises(errors.PluginError, match="'tree'"):
        store.create_collection("things", {"index": "tree"})
    exact = store.create_collection("exact", {"index": "exact"}, embedding_function=None)
    exact.add(ids="a", embeddings=[[1]])
    exact.optimize()
    assert exact.query(query_embeddings=[1])["ids"] == [["a"]]
    assert exact.stats()["points"] == 1
    assert store.verify() == []
