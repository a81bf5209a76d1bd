"""Expiry compared with a model: a dict from which expired points are removed."""

import random
import shutil

import numpy as np
import pytest

import retrieval_store
from retrieval_store.filters.dates import micros_in
from retrieval_store.qdrant import QdrantClient
from tests.helpers import inside, steps
from tests.helpers.indexed import until
from tests.helpers.tuned import tuned

pytestmark = pytest.mark.embedded
KEY = "gone at"
ISO = (
    "1970-01-01T00:{:02d}:{:02d}Z",
    "1970-01-01 00:{:02d}:{:02d}",
    "1970-01-01T01:{:02d}:{:02d}+01:00",
)


class Clock:
    """The time that this machine's clock shows."""

    def __init__(self, monkeypatch):
        self.now = 1_000.0
        steps.replace(monkeypatch, "tell_time_of_expiry", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def expiring_points(client, clock):
    return client.create_collection(
        "points", {"expires": KEY, "hnsw": {"space": "ip"}}, embedding_function=None
    )


def moment(metadata):
    value = metadata.get(KEY)
    return value if not isinstance(value, str) else micros_in(value) / 1e6


class Model:
    """The expected content of a collection, in the order of insertion."""

    def __init__(self, clock):
        self.clock, self.all = clock, {}

    @property
    def living(self):
        gone = [
            one
            for one, (_, m, _) in self.all.items()
            if moment(m) is not None and moment(m) <= self.clock.now
        ]
        for one in gone:
            del self.all[one]
        return self.all


def random_metadata(chance, now):
    at = now + chance.randint(-30, 120)
    kinds = [
        {},
        {KEY: at},
        {KEY: at + 0.25},
        {KEY: chance.choice(ISO).format(at // 60, at % 60)} if at < 3_600 else {KEY: at},
    ]
    return {**chance.choice(kinds), "n": chance.randint(0, 5)}


def check(collection, model, chance):
    living = model.living
    ids = [*living]
    assert collection.count() == len(ids)
    assert collection.get()["ids"] == ids
    n = chance.randint(0, 5)
    with_n = [one for one in ids if living[one][1]["n"] >= n]
    assert collection.count({"n": {"$gte": n}}) == len(with_n)
    assert collection.get(where={"n": {"$gte": n}}, limit=3, offset=1)["ids"] == with_n[1:4]
    sample = chance.sample([f"p{i}" for i in range(60)], 8)
    assert collection.get(ids=sample)["ids"] == [one for one in sample if one in living]
    query = np.random.default_rng(chance.randint(0, 10**6)).normal(size=4)
    best = sorted(ids, key=lambda one: -float(np.float32(living[one][0]) @ query))[:5]
    found = collection.query(query_embeddings=[query], n_results=5)
    assert found["ids"][0] == best
    words = collection.query(query_texts="shared", mode="text", n_results=100)["ids"][0]
    assert sorted(words) == sorted(ids)
    sample = {"query_embeddings": [query], "query_texts": "shared", "mode": "hybrid"}
    assert {*collection.query(**sample, n_results=100)["ids"][0]} == set(ids)


def step(collection, model, chance):
    living, clock = model.living, model.clock
    some = [f"p{i}" for i in chance.sample(range(60), chance.randint(1, 6))]
    vectors = (
        np.random.default_rng(chance.randint(0, 10**6))
        .normal(size=(len(some), 4))
        .astype(np.float32)
    )
    metadatas = [random_metadata(chance, int(clock.now)) for _ in some]
    documents = [f"shared {one}" for one in some]
    match chance.randint(0, 5):
        case 0:
            new = [i for i, one in enumerate(some) if one not in living]
            if new:
                collection.add(
                    [some[i] for i in new],
                    vectors[new],
                    [metadatas[i] for i in new],
                    [documents[i] for i in new],
                )
            living.update({some[i]: (vectors[i], metadatas[i], documents[i]) for i in new})
        case 1:
            collection.upsert(some, vectors, metadatas, documents)
            for one, vector, metadata, document in zip(
                some, vectors, metadatas, documents, strict=True
            ):
                before = living[one][1] if one in living else {}
                living[one] = (vector, {**before, **metadata}, document)
        case 2:
            collection.update(some, metadatas=metadatas)
            for one, metadata in zip(some, metadatas, strict=True):
                if one in living:
                    vector, before, document = living[one]
                    living[one] = (vector, {**before, **metadata}, document)
        case 3:
            n = chance.randint(0, 5)
            doomed = [one for one in living if living[one][1]["n"] == n]
            assert collection.delete(where={"n": n}) == {"deleted": len(doomed)}
            for one in doomed:
                del living[one]
        case 4:
            assert collection.delete(ids=some) == {"deleted": sum(one in living for one in some)}
            for one in some:
                living.pop(one, None)
        case 5:
            collection.optimize()


@pytest.mark.parametrize("seed", range(2))
def test_expired_points_are_in_no_result(expiring_points, clock, seed):
    chance, model = random.Random(seed), Model(clock)
    for _ in range(40):
        step(expiring_points, model, chance)
        check(expiring_points, model, chance)
        clock.now += chance.choice([0, 0.5, 7, 40])
        check(expiring_points, model, chance)


def rows_on_disk(client, collection):
    return inside.points(collection).access.read(lambda view: view.state.count)


def test_maintenance_deletes_what_has_expired(client, expiring_points, clock, monkeypatch):
    tuned(
        monkeypatch, expired_at_once=7, columns_worth=10
    )  # as of a large one, whose columns have files
    expiring_points.add(
        [f"p{i}" for i in range(50)], np.eye(50, 4), [{KEY: 1_000 + i} for i in range(50)]
    )
    clock.now = 1_029.5
    expiring_points.optimize()
    assert rows_on_disk(client, expiring_points) == 20 == expiring_points.count()

    clock.now = 1_039.5  # now it is noticed by a query, and done in the background
    assert expiring_points.count() == 10
    until(lambda: rows_on_disk(client, expiring_points) == 10, "nothing is deleted")


@pytest.mark.others
def test_copies_forks_and_snapshots_hold_nothing_that_has_expired(
    client, expiring_points, clock, tmp_path
):
    expiring_points.add(["a", "b", "c"], np.eye(3, 4), [{KEY: 1_010}, {KEY: 1_020}, {}])
    clock.now = 1_015
    fork = expiring_points.fork("fork")
    assert fork.get()["ids"] == ["b", "c"]
    expiring_points.snapshot(tmp_path / "snapshot")
    clock.now = 0  # what isn't there doesn't come back either
    retrieval_store.restore(tmp_path / "snapshot", tmp_path / "restored")
    with retrieval_store.Client(tmp_path / "restored") as restored:
        assert restored.get_collection("points").get()["ids"] == ["b", "c"]
        clock.now = 1_025
        assert restored.get_collection("points").get()["ids"] == ["c"]
    assert fork.get()["ids"] == ["c"]
    with retrieval_store.Client(tmp_path / "copy") as copy:
        client.copy_to(copy)
        assert copy.get_collection("points").get()["ids"] == ["c"]
        assert copy.get_collection("points").configuration["expires"] == KEY


@pytest.mark.others
def test_a_copy_is_brought_level_after_records_have_expired(
    client, expiring_points, clock, tmp_path
):
    moments = [1_010, 1_020, 1_030, 1_040]
    expiring_points.add(["a", "b", "c", "d"], np.eye(4), [{KEY: one} for one in moments])
    with retrieval_store.Client(tmp_path / "copy") as other:
        client.copy_to(other)
        clock.now = 1_015
        (copied,) = client.copy_to(other)
        assert (copied.points, copied.level) == (3, True)
        clock.now = 1_025
        copy = other.get_collection("points", embedding_function=None)
        copy.optimize()  # which deletes in the copy, as nobody else does
        expiring_points.add(["e"], np.ones((1, 4)))
        client.copy_to(other)
        assert copy.get()["ids"] == ["c", "d", "e"]
        copy.add(["mine"], np.ones((1, 4)))
        with pytest.raises(retrieval_store.errors.AlreadyExistsError, match="written to since"):
            client.copy_to(other)


@pytest.mark.others
def test_a_copy_is_compared_while_records_expire(client, expiring_points, clock, monkeypatch):
    expiring_points.add(
        [f"p{i}" for i in range(40)], np.ones((40, 4)), [{KEY: 1_000 + i} for i in range(40)]
    )

    def ticking():
        clock.now += 0.1
        return clock.now

    steps.replace(monkeypatch, "tell_time_of_expiry", ticking)
    with retrieval_store.Client() as other:
        (copied,) = client.copy_to(other)
        assert 0 < copied.points < 40


def test_points_that_expire_meanwhile_are_deleted_the_next_time(
    client, expiring_points, clock, monkeypatch
):
    expiring_points.add(
        [f"p{i}" for i in range(90)], np.ones((90, 4)), [{KEY: 1_000 + i} for i in range(90)]
    )
    clock.now = 1_009.5

    def ticking():
        clock.now += 1
        return clock.now

    steps.replace(monkeypatch, "tell_time_of_expiry", ticking)
    assert 10 <= inside.remove_expired(inside.access(expiring_points)) <= 20


def test_iteration_shows_one_moment(expiring_points, clock):
    expiring_points.add(
        [f"p{i}" for i in range(30)], np.eye(30, 4), [{KEY: 1_000 + i} for i in range(30)]
    )
    clock.now = 1_004.5
    rows = expiring_points.iterate(batch=5)
    seen = [next(rows)["id"]]
    clock.now = 1_020
    assert [*seen, *(row["id"] for row in rows)] == [f"p{i}" for i in range(5, 30)]


def test_a_store_that_cannot_be_written_to_leaves_out_what_has_expired(tmp_path, clock):
    with retrieval_store.Client(tmp_path / "store") as client:
        points = client.create_collection("points", {"expires": KEY}, embedding_function=None)
        points.add(["a", "b"], np.eye(2, 4), [{KEY: 1_010}, {}])
    shutil.copytree(tmp_path / "store", tmp_path / "other")
    clock.now = 1_010
    with retrieval_store.Client(tmp_path / "other", read_only=True) as client:
        points = client.get_collection("points")
        assert points.get()["ids"] == ["b"]
        points.snapshot(tmp_path / "snapshot")
        assert [row["id"] for row in points.iterate(batch=1)] == ["b"]
    retrieval_store.restore(tmp_path / "snapshot", tmp_path / "restored")
    clock.now = 0
    with retrieval_store.Client(tmp_path / "restored") as client:
        assert client.get_collection("points").get()["ids"] == ["b"]


def test_qdrant_client_does_not_see_it_either(tmp_path, clock):
    from qdrant_client import models

    with retrieval_store.Client(tmp_path) as client:
        points = client.create_collection("points", {"expires": KEY}, embedding_function=None)
        qdrant = QdrantClient(path=str(tmp_path))
        payloads = [{KEY: 1_010, "k": "x"}, {KEY: 1_020, "k": "x"}, {"k": "y"}]
        qdrant.upsert(
            "points",
            [
                models.PointStruct(id=i + 1, vector=np.eye(4)[i].tolist(), payload=payloads[i])
                for i in range(3)
            ],
        )
        clock.now = 1_010
        with_key = models.Filter(
            must=[models.FieldCondition(key="k", match=models.MatchValue(value="x"))]
        )
        qdrant.create_payload_index("points", "k", models.PayloadSchemaType.KEYWORD)
        assert qdrant.count("points").count == 2
        assert qdrant.count("points", with_key).count == 1
        assert [one.id for one in qdrant.scroll("points")[0]] == [2, 3]
        assert [one.id for one in qdrant.scroll("points", limit=1)[0]] == [2]
        assert [one.id for one in qdrant.retrieve("points", [1, 2])] == [2]
        assert {one.id for one in qdrant.query_points("points", [1.0, 0, 0, 0]).points} == {2, 3}
        assert {hit.value: hit.count for hit in qdrant.facet("points", "k").hits} == {
            "x": 1,
            "y": 1,
        }
        assert qdrant.get_collection("points").points_count == 2
        qdrant.set_payload("points", {"new": 1}, points=with_key)
        qdrant.upsert(
            "points", [models.PointStruct(id=1, vector=[0.0, 0, 0, 1], payload={"k": "z"})]
        )
        assert qdrant.retrieve("points", [1])[0].payload == {"k": "z"}
        assert points.get("2")["metadatas"] == [{KEY: 1_020, "k": "x", "new": 1}]
        qdrant.close()
