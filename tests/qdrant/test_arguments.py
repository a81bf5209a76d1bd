"""Invalid arguments are refused by name. Nothing of them is written, and no error reports a damaged
store.
"""

import math
import threading

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import retrieval_store
from retrieval_store.qdrant import QdrantClient, Refused, models
from retrieval_store.qdrant.config import Vector
from retrieval_store.qdrant.vectors import dense_vector
from tests.helpers import steps

PLANE = models.VectorParams(size=2, distance=models.Distance.DOT)
OTHER = models.HnswConfigDiff(m=3)
WRONG = {
    "a word that no model has": (
        "hnsw_config",
        lambda c: c.create_collection("new", PLANE, hnsw_config={"links": 4}),
    ),
    "another model for strict_mode_config": (
        "strict_mode_config",
        lambda c: c.update_collection("c", strict_mode_config=OTHER),
    ),
    "a word for shard_number": (
        "shard_number",
        lambda c: c.create_collection("new", PLANE, shard_number="two"),
    ),
    "a word that no filter has": ("count_filter", lambda c: c.count("c", {"musst": []})),
    "a huge limit": ("limit", lambda c: c.scroll("c", limit=2**64)),
    "a negative offset": ("offset", lambda c: c.query_points("c", [1.0, 2.0], offset=-3)),
    "a word for a score": (
        "score_threshold",
        lambda c: c.query_points("c", [1.0, 2.0], score_threshold="0.5"),
    ),
    "a surrogate for a name": ("collection_name", lambda c: c.collection_exists("\ud800")),
    "a list for a name": ("collection_name", lambda c: c.count(["c"])),
    "an empty dict for points": ("points", lambda c: c.delete("c", {})),
    "a key for keys": ("keys", lambda c: c.delete_payload("c", "abc", [0])),
    "a name for names": ("vectors", lambda c: c.delete_vectors("c", "dx", [0])),
    "an id for ids": ("ids", lambda c: c.retrieve("c", "12")),
    "nothing for ids": ("ids", lambda c: c.retrieve("c", None)),
    "a word that no params have": (
        "search_params",
        lambda c: c.query_points("c", [1.0, 2.0], search_params={"exactly": True}),
    ),
    "a number for a key": ("key", lambda c: c.facet("c", 5)),
    "nothing for a vector": (
        "vector_name_config",
        lambda c: c.create_vector_name("c", "z", None),
    ),
    "a bad URL": ("location", lambda c: c.recover_snapshot("c", "http://[x")),
    "a dict for a request": ("request", lambda c: c.query_batch_points("c", [{"query": [1, 2]}])),
    "no float so large": ("query", lambda c: c.query_points("c", [10**400, 1])),
    "a tuple for a query": ("query", lambda c: c.query_points("c", (1.0, 2.0))),
    "a start that is no number": (
        "start_from",
        lambda c: c.scroll("c", order_by=models.OrderBy(key="a", start_from=float("nan"))),
    ),
    "vectors of another size": (
        "lookup_from",
        lambda c: c.query_points(
            "c", query=1, lookup_from=models.LookupLocation(collection="wide")
        ),
    ),
}


@pytest.fixture
def filled(tmp_path):
    with QdrantClient(path=str(tmp_path / "store")) as client:
        client.create_collection("c", PLANE)
        wide = models.VectorParams(size=3, distance=models.Distance.DOT)
        client.create_collection("wide", wide)
        payload = {"a": 1, "b": 2, "abc": 3}
        points = [models.PointStruct(id=i, vector=[1, i], payload=payload) for i in range(5)]
        client.upsert("c", points)
        client.create_payload_index("c", "a", models.PayloadSchemaType.INTEGER)
        yield client


@pytest.mark.parametrize(("argument", "call"), WRONG.values(), ids=list(WRONG))
def test_invalid_arguments_are_named_without_a_write(filled, argument, call):
    before = filled.scroll("c", with_vectors=True), filled.get_collection("c")
    with pytest.raises(Refused, match=f"(?s)^4.*{argument}"):
        call(filled)
    assert (filled.scroll("c", with_vectors=True), filled.get_collection("c")) == before
    assert {one.name for one in filled.get_collections().collections} == {"c", "wide"}


def test_numbers_of_numpy_are_numbers(filled):
    found = filled.query_points("c", [0.0, 1.0], limit=np.int64(2), offset=np.int64(1)).points
    assert [point.id for point in found] == [3, 2]


@pytest.mark.filterwarnings("ignore:`recreate_collection`:DeprecationWarning")
def test_a_collection_that_cannot_be_recreated_stays(filled):
    empty = models.VectorParams(size=0, distance=models.Distance.DOT)
    with pytest.raises(Refused, match="value 0 invalid"):
        filled.recreate_collection("c", empty)
    assert filled.count("c").count == 5


def test_clients_that_make_one_vector_name_at_once_share_it_and_nothing_is_lost(tmp_path):
    config = models.DenseVectorNameConfig(
        dense=models.DenseVectorConfig(size=2, distance=models.Distance.DOT)
    )
    path, rounds = str(tmp_path), 12
    failures = []
    with QdrantClient(path=path) as one, QdrantClient(path=path) as other:
        one.create_collection("c", {})
        one.upsert("c", [models.PointStruct(id=i, vector={}) for i in range(2)])
        for turn in range(rounds):
            both = threading.Barrier(2)
            name = f"v{turn}"

            def make(client, point, name=name, both=both):
                both.wait()
                try:
                    client.create_vector_name("c", name, config)
                    vectors = models.PointVectors(id=point, vector={name: [1.0, 2.0]})
                    client.update_vectors("c", [vectors])
                except Exception as error:
                    failures.append(error)

            threads = [threading.Thread(target=make, args=pair) for pair in ((one, 0), (other, 1))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            stored = one.retrieve("c", [0, 1], with_vectors=[name])
            assert [point.vector for point in stored] == [{name: [1.0, 2.0]}] * 2
    assert failures == []


def test_a_point_added_and_deleted_in_one_batch_leaves_no_trace(filled):
    config = models.DenseVectorNameConfig(
        dense=models.DenseVectorConfig(size=2, distance=models.Distance.DOT)
    )
    filled.create_vector_name("c", "d", config)
    assert filled.query_points("c", [1.0, 1.0], using="d").points == []
    point = models.PointStruct(id=17, vector={"": [1, 1], "d": [5, 2]})
    filled.batch_update_points(
        "c",
        [
            models.UpsertOperation(upsert=models.PointsList(points=[point])),
            models.DeleteOperation(delete=models.PointIdsList(points=[17])),
        ],
    )
    assert filled.query_points("c", [1.0, 1.0], using="d").points == []
    assert len(filled.query_points("c", [1.0, 1.0]).points) == 5


def test_a_collection_that_a_snapshot_replaces_is_never_seen_by_another_name(
    filled, tmp_path, monkeypatch
):
    filled.create_snapshot("c")
    (snapshot,) = tmp_path.rglob("*.snapshot")
    filled.delete("c", [0])

    with monkeypatch.context() as patch:
        steps.fail(patch, "drop_marked")
        with pytest.raises(ZeroDivisionError):
            filled.recover_snapshot("c", str(snapshot))
    assert {one.name for one in filled.get_collections().collections} == {"c", "wide"}
    assert filled.count("c").count == 5


def test_writing_vectors_of_a_dropped_name_is_refused(tmp_path):
    config = models.DenseVectorNameConfig(
        dense=models.DenseVectorConfig(size=2, distance=models.Distance.DOT)
    )
    point = models.PointStruct(id=1, vector={"d": [1, 2]})
    failures, ended = [], threading.Event()

    def write(client):
        while not ended.is_set():
            try:
                client.upsert("c", [point])
            except Refused:
                pass
            except Exception as error:
                failures.append(error)

    with QdrantClient(path=str(tmp_path)) as one, QdrantClient(path=str(tmp_path)) as other:
        one.create_collection("c", {})
        writer = threading.Thread(target=write, args=[other])
        writer.start()
        for _ in range(40):
            one.create_vector_name("c", "d", config)
            one.delete_vector_name("c", "d")
        ended.set()
        writer.join()
        one.create_vector_name("c", "d", config)
        other.upsert("c", [point])
        assert one.retrieve("c", [1], with_vectors=True)[0].vector == {"d": [1.0, 2.0]}
    assert failures == []


def test_snapshots_deleted_meanwhile_are_not_listed(filled):
    def delete_all():
        while not ended.is_set():
            for snapshot in filled.list_snapshots("c"):
                try:
                    filled.delete_snapshot("c", snapshot.name)
                except Refused as error:
                    assert error.status_code == 404
                except Exception as error:
                    failures.append(error)

    failures, ended = [], threading.Event()
    deleter = threading.Thread(target=delete_all)
    deleter.start()
    for _ in range(30):
        try:
            filled.create_snapshot("c")
        except Refused as error:
            assert error.status_code == 404
        filled.list_snapshots("c")
    ended.set()
    deleter.join()
    assert failures == []
    with pytest.raises(retrieval_store.errors.RetrievalStoreError):
        filled.delete_snapshot("c", "a" * 300 + ".snapshot")


@pytest.mark.parametrize("name", ["plain", "a b", "ü", "100%"])
def test_a_snapshot_is_found_by_its_path_and_both_ways_to_write_its_uri(filled, tmp_path, name):
    filled.create_collection(name, PLANE)
    filled.upsert(name, [models.PointStruct(id=1, vector=[1, 2])])
    filled.create_snapshot(name)
    (path,) = tmp_path.rglob("*.snapshot")
    for location in (str(path), path.as_uri(), f"file://{path}"):
        filled.delete(name, [1])
        filled.recover_snapshot(name, location)
        assert filled.count(name).count == 1


ODD = [1e-46, 1e39, -1e300, 3.4028235e38, 3.4028236e38, math.inf, math.nan, 2**70, True, -0.0]


@given(st.lists(st.floats() | st.integers() | st.booleans() | st.sampled_from(ODD), min_size=3))
@example([1.0, "2", "x"])
@example([1.0, "2", "3"])
@example([1.0, None, 2.0])
@example([1.0, [2.0], 3.0])
@example([np.float64(1e300), np.float32(0.1), np.int64(3)])
@example([10**400, 1.0, 2.0])
def test_a_list_of_numbers_is_read_as_any_other_sequence_of_them(numbers):
    vector = Vector("", "dense", "l2")

    def read(given):
        try:
            return dense_vector(vector, given).tolist()
        except (Refused, OverflowError) as error:
            return type(error), getattr(error, "status_code", None)

    assert read(numbers) == read(tuple(numbers))


@pytest.mark.parametrize(
    "given",
    [
        "1234567_8123456781234567812345678",
        "+2345678-1234-5678-1234-567812345678",
        "{12345678-1234-5678-1234-567812345678",
        "uuid:12345678-1234-5678-1234-567812345678",
        "12345678-12345678-1234-5678-12345678",
    ],
)
def test_uuids_that_only_python_accepts_are_refused(given):
    with QdrantClient(":memory:") as client:
        client.create_collection("c", {})
        with pytest.raises(ValueError, match="UUID"):
            client.upsert("c", [models.PointStruct(id=given, vector={})])
        assert client.count("c").count == 0


@pytest.mark.parametrize("form", ["{}", "urn:uuid:{}", "{{{}}}"])
def test_a_uuid_is_read_in_each_of_its_forms(form):
    known = "0123abcd-1234-5678-1234-567812345678"
    with QdrantClient(":memory:") as client:
        client.create_collection("c", {})
        client.upsert("c", [models.PointStruct(id=form.format(known.upper()), vector={})])
        client.upsert("c", [models.PointStruct(id=known.replace("-", ""), vector={})])
        assert [one.id for one in client.retrieve("c", [form.format(known)])] == [known]
        assert client.count("c").count == 1
