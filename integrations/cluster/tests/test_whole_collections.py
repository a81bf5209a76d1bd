"""Whole collections on a cluster: ordered by a key, iterated while others write, and forked within
the cluster."""

import random
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient

import retrieval_store
from retrieval_store import errors
from tests.helpers import real_qdrant
from tests.helpers.filter_strategies import held_by, numbers, records_and_wheres, scalars, texts
from tests.helpers.qdrant_server import Server

ALL = ("metadatas", "documents", "embeddings", "uris")

# orders

TIMES = st.sampled_from(["2024-05-01", "2024-05-01T12:00:00+02:00", "1999-12-31 23:59:59", "9-9-9"])
ordered = st.one_of(numbers, numbers, TIMES, st.lists(st.one_of(numbers, TIMES), max_size=3))
orderable = st.one_of(ordered, ordered, scalars, st.none(), texts)
several = st.lists(
    st.one_of(
        st.none(),
        st.dictionaries(st.sampled_from(("n", "a", "a.b")), orderable, max_size=2),
        st.builds(lambda value: {"a": {"b": value}}, orderable),
        st.builds(lambda value: {"n": value}, numbers),
        st.builds(lambda value: {"n": value}, st.sampled_from([1, 1.0, 0.1 + 0.2, 0.3, 2**53 + 1])),
    ).map(lambda metadata: (metadata, None)),
    min_size=1,
    max_size=30,
)
cuts = st.tuples(st.none() | st.integers(0, 5), st.integers(0, 4))


@settings(max_examples=20)
@given(several, st.booleans(), cuts, st.booleans())
def test_points_come_in_the_order_of_a_key_as_in_a_directory(found, descending, cut, older):
    here, _ = held_by(retrieval_store.Client(), found)
    version, shards = ("1.19.0", 2) if older else ("1.20.0", 1)
    with (
        closing(Server(version, shards=shards, seed=3)) as server,
        closing(server.client()) as remote,
        closing(QdrantClient(":memory:")) as local,
    ):
        for qdrant in (remote, local):
            there, _ = held_by(retrieval_store.Client(qdrant_client=qdrant), found)
            for key in ("n", "a.b"):
                for where in (None, {"n": {"$gt": 0.3}}):
                    query = {"order_by": key, "descending": descending, "where": where}
                    query |= {"limit": cut[0], "offset": cut[1]}
                    assert there.get(**query)["ids"] == here.get(**query)["ids"]


def test_the_first_by_a_number_are_listed_by_the_server():
    server = Server(seed=4)
    with closing(server.client()) as qdrant:
        things = retrieval_store.Client(qdrant_client=qdrant).create_collection(
            "things", embedding_function=None
        )
        values = random.Random(1).sample(range(3_000), 3_000)
        things.add(
            ids=[str(value) for value in values],
            embeddings=np.zeros((3_000, 1)),
            metadatas=[{"n": value / 7 if value % 2 else value // 7} for value in values],
        )
        things.get(order_by="n", limit=1)
        for descending in (False, True):
            before = len(server.requests)
            got = things.get(order_by="n", limit=20, offset=100, descending=descending)
            assert len(server.requests) - before <= 5
            numbers = [metadata["n"] for metadata in got["metadatas"]]
            expected = sorted(
                (value / 7 if value % 2 else value // 7 for value in values), reverse=descending
            )
            assert numbers == expected[100:120]
        things.add("date", [[0.0]], [{"n": "2020-01-01"}])
        assert things.get(order_by="n", limit=1, descending=True)["ids"] == ["date"]
    server.close()


# iterating


@pytest.fixture(params=["server", "local"])
def store(request):
    if request.param == "local":
        with closing(QdrantClient(":memory:")) as qdrant:
            yield retrieval_store.Client(qdrant_client=qdrant)
        return
    with real_qdrant.qdrant() as qdrant:
        yield retrieval_store.Client(qdrant_client=qdrant)


def filled(store, count=300, name="things"):
    things = store.create_collection(name, {"hnsw": {"space": "cosine"}}, embedding_function=None)
    for start in range(0, count, 100):
        part = range(start, min(count, start + 100))
        things.add(
            ids=[f"p{i}" for i in part],
            embeddings=[[i + 1.0, 1.0] for i in part],
            metadatas=[{"n": i, "tags": [i % 3], "long": i / 7} for i in part],
            documents=[f"text {i}" for i in part],
            uris=[f"file:///{i}" for i in part],
        )
    return things


def test_each_remaining_record_is_iterated_once_during_any_writes(store):
    things = filled(store)
    chance = random.Random(5)
    left, came = {f"p{i}" for i in range(300)}, []
    for record in things.iterate(batch=7):
        came.append(record["id"])
        one = f"p{chance.randrange(300)}"
        match chance.randrange(3):
            case 0:
                things.delete(one)
                left.discard(one)
            case 1:
                things.upsert(one, [[0.5, 0.5]], metadatas={"n": -1})
                left.discard(one)  # it may have been deleted before, and be new
            case 2:
                things.add(f"new{len(came)}", [[1.0, 2.0]], metadatas={"n": 5})
    assert left <= set(came)
    assert len(came) == len(set(came))
    assert not any(own_id.startswith("new") for own_id in came)
    assert came == sorted(came, key=lambda own_id: int(own_id[1:]))


@settings(max_examples=10)
@given(records_and_wheres, st.integers(1, 4))
def test_iterations_by_filter_find_what_get_finds(both, batch):
    found, filters = both
    server = Server(seed=1)
    with closing(server.client()) as qdrant:
        things, _ = held_by(retrieval_store.Client(qdrant_client=qdrant), found)
        for where in filters:
            rows = list(things.iterate(batch, where=where))
            got = things.get(where=where)
            assert [row["id"] for row in rows] == got["ids"]
            assert [row.get("metadata") for row in rows] == got["metadatas"]
    server.close()


# forks


def everything(collection):
    records = collection.get(include=ALL)
    return {**records, "embeddings": np.asarray(records["embeddings"]).tolist()}


def test_a_fork_has_all_records_and_is_independent(store):
    configuration = {"hnsw": {"space": "cosine"}, "sparse": {}, "qdrant": {"on_disk": True}}
    things = store.create_collection("things", configuration, {"topic": "x"}, None)
    things.add(
        ids=[str(i) for i in range(250)],
        embeddings=[[float(i), 1.0, -i] for i in range(250)],
        documents=[f"text {'ab' * (i % 7)}" for i in range(250)],
        metadatas=[{"n": i, "exact": i / 7, "tags": [i]} for i in range(250)],
        sparse_embeddings=[{"indices": [i, 1_000], "values": [1.0, 2.0]} for i in range(250)],
    )
    things.delete(where={"n": {"$gte": 200, "$lt": 220}})
    things.update("7", metadatas=[{"n": None}])
    before = everything(things)
    fork = things.fork("forked")
    after = everything(fork)
    assert np.allclose(after.pop("embeddings"), before.pop("embeddings"))
    assert after == before
    assert (fork.name, fork.metadata) == ("forked", {"topic": "x"})
    assert fork.id != things.id
    assert fork.configuration == things.configuration
    for query in (
        {"query_embeddings": [[3.0, 1.0, -3.0]]},
        {"query_texts": "abab", "mode": "text"},
        {"query_sparse": {"indices": [3, 1_000], "values": [1.0, 1.0]}, "mode": "sparse"},
    ):
        ours, theirs = (one.query(**query, n_results=20) for one in (fork, things))
        assert ours["ids"] == theirs["ids"]
    fork.delete(["0"])
    things.delete(["1"])
    assert (fork.count(), things.count()) == (229, 229)
    assert [one.name for one in store.list_collections()] == ["forked", "things"]
    for name, error in (("things", errors.AlreadyExistsError), ("x" * 300, ValueError)):
        with pytest.raises(error):
            things.fork(name)


def test_a_fork_that_fails_leaves_nothing():
    server = Server()
    with closing(server.client()) as qdrant:
        client = retrieval_store.Client(qdrant_client=qdrant)
        things = filled(client)
        upsert = qdrant.upsert

        def failing(**options):
            qdrant.upsert = upsert
            raise RuntimeError("a failure")

        qdrant.upsert = failing
        with pytest.raises(errors.ClusterError, match="a failure"):
            things.fork("forked")
        assert [one.name for one in qdrant.get_collections().collections] == ["things"]
        assert things.fork("forked").count() == 300
    server.close()


def test_a_killed_fork_is_no_collection_and_its_name_stays_reserved():
    server = Server()
    with closing(server.client()) as qdrant:
        client = retrieval_store.Client(qdrant_client=qdrant)
        things = filled(client)
        update, delete = qdrant.update_collection, qdrant.delete_collection

        def killed(**_):
            raise KeyboardInterrupt

        qdrant.update_collection, qdrant.delete_collection = killed, lambda **_: True
        with pytest.raises(KeyboardInterrupt):
            things.fork("forked")
        qdrant.update_collection, qdrant.delete_collection = update, delete
        assert [one.name for one in client.list_collections()] == ["things"]
        with pytest.raises(errors.AlreadyExistsError, match="or was broken off"):
            things.fork("forked")
        qdrant.delete_collection("forked")
        assert things.fork("forked").count() == 300
    server.close()
