"""Snapshots through this interface: of a collection, of the whole store, of shard 0."""

import asyncio
import hashlib
from pathlib import Path
from unittest import mock

import pytest

import retrieval_store
from retrieval_store.qdrant import AsyncQdrantClient, QdrantClient, Refused, models
from tests.helpers import inside

PARAMS = models.VectorParams(size=2, distance=models.Distance.COSINE)


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def qdrant(store):
    with QdrantClient(path=store) as qdrant:
        qdrant.create_collection(
            "things",
            {
                "": PARAMS,
                "many": models.VectorParams(
                    size=2,
                    distance=models.Distance.DOT,
                    multivector_config=models.MultiVectorConfig(comparator="max_sim"),
                ),
            },
            {"words": models.SparseVectorParams()},
            metadata={"by": "us"},
        )
        qdrant.create_payload_index("things", "n", models.PayloadSchemaType.INTEGER)
        words = models.SparseVector(indices=[1, 5], values=[1.0, 2.0])
        vector = {"": [3, 4], "many": [[1, 1], [2, 2]], "words": words}
        qdrant.upsert(
            "things",
            [models.PointStruct(id=i, vector=vector, payload={"n": i}) for i in range(20)],
        )
        qdrant.upsert("things", [models.PointStruct(id=99, vector={}, payload={"_document": "d"})])
        yield qdrant


@pytest.mark.parametrize("times", [1, 3])
def test_readers_during_the_replacement_of_a_collection_find_the_new_one(qdrant, store, times):
    """As if a snapshot is recovered between finding a collection and reading it."""
    taken = path_of(store, qdrant.create_snapshot("things"))
    qdrant.delete("things", [0])
    inner, left = inside.embedded(qdrant), [times, times]
    find = inner.collections.open

    with QdrantClient(path=store) as other:

        def opened(name):
            found = find(name)
            if left[0]:
                left[0] -= 1
                other.recover_snapshot("things", str(taken))
            return found

        with mock.patch.object(inner.collections, "open", opened):
            assert qdrant.count("things").count == 21
            left[0] = 1
            qdrant.delete("things", [5])
    assert qdrant.count("things").count == 20


def everything(client, name="things"):
    points, _ = client.scroll(name, limit=1000, with_vectors=True)
    info = client.get_collection(name)
    return points, info.config, info.payload_schema


def path_of(store, snapshot, folder="collection-things"):
    return store / "snapshots" / folder / snapshot.name


def names(snapshots):
    return [one.name for one in snapshots]


def test_a_snapshot_is_described_listed_and_deleted(qdrant, store):
    one, two = (qdrant.create_snapshot("things") for _ in range(2))
    assert one.name != two.name
    content = path_of(store, one).read_bytes()
    assert one.size == len(content)
    assert one.checksum == hashlib.sha256(content).hexdigest()
    assert qdrant.list_snapshots("things") == [one, two]
    qdrant.create_collection("other", PARAMS)
    assert qdrant.list_snapshots("other") == [] and qdrant.list_full_snapshots() == []
    assert qdrant.delete_snapshot("things", one.name) is True
    assert qdrant.list_snapshots("things") == [two] and not path_of(store, one).exists()
    with pytest.raises(Refused) as caught:
        qdrant.delete_snapshot("things", one.name)
    assert caught.value.status_code == 404
    assert sorted(file.name for file in path_of(store, two).parent.iterdir()) == sorted(
        [two.name, f"{two.name}.checksum"]
    )


def test_a_collection_returns_to_its_earlier_content(qdrant, store):
    before = everything(qdrant)
    taken = qdrant.create_snapshot("things")
    qdrant.delete("things", models.Filter())
    qdrant.delete_payload_index("things", "n")
    qdrant.delete_vector_name("things", "many")
    qdrant.upsert("things", [models.PointStruct(id=7, vector={"": [1, 1]}, payload={"new": 1})])
    assert qdrant.recover_snapshot(
        "things", str(path_of(store, taken)), checksum=taken.checksum, priority="snapshot"
    )
    assert everything(qdrant) == before
    assert [one.id for one in qdrant.query_points("things", [3.0, 4.0], limit=1).points] == [0]
    qdrant.upsert("things", [models.PointStruct(id=7, vector={"": [1, 0]}, payload={"new": 1})])
    assert qdrant.retrieve("things", [7])[0].payload == {"new": 1}
    with retrieval_store.Client(store) as other:
        assert not [report for report in other.verify() if report.problem]


@pytest.mark.parametrize("location", ["path", "uri"])
def test_a_snapshot_becomes_a_collection_of_another_name(qdrant, store, location):
    path = path_of(store, qdrant.create_snapshot("things"))
    qdrant.recover_snapshot("copy", path.as_uri() if location == "uri" else str(path))
    assert everything(qdrant, "copy") == everything(qdrant)
    qdrant.clear_payload("copy", models.Filter())
    assert qdrant.retrieve("things", [3])[0].payload == {"n": 3}


def test_a_collection_is_recovered_in_another_store(qdrant, store, tmp_path):
    path = path_of(store, qdrant.create_snapshot("things"))
    with QdrantClient(path=tmp_path / "another") as another:
        another.recover_snapshot("things", str(path))
        assert everything(another) == everything(qdrant)


def test_the_target_of_an_alias_is_replaced_and_the_alias_stays(qdrant, store):
    live = models.CreateAliasOperation(
        create_alias=models.CreateAlias(collection_name="things", alias_name="live")
    )
    qdrant.update_collection_aliases([live])
    before = everything(qdrant)
    taken = qdrant.create_snapshot("live")
    assert qdrant.list_snapshots("things") == [taken]
    qdrant.delete("live", [1, 2, 3])
    qdrant.recover_snapshot("live", str(path_of(store, taken)))
    assert everything(qdrant, "live") == before == everything(qdrant)
    assert [one.name for one in qdrant.get_collections().collections] == ["things"]
    assert [one.alias_name for one in qdrant.get_aliases().aliases] == ["live"]
    assert qdrant.list_snapshots("live") == [taken]


def test_other_clients_find_recovered_collections(qdrant, store):
    taken = qdrant.create_snapshot("things")
    with QdrantClient(path=store) as other:
        assert other.count("things").count == 21
        qdrant.delete("things", models.Filter())
        assert other.count("things").count == 0
        qdrant.recover_snapshot("things", str(path_of(store, taken)))
        assert everything(other) == everything(qdrant)
        assert other.count("things").count == 21


def test_the_whole_store_is_one_snapshot(qdrant, store, tmp_path):
    qdrant.create_collection("other", PARAMS)
    qdrant.update_collection_aliases(
        [
            models.CreateAliasOperation(
                create_alias=models.CreateAlias(collection_name="things", alias_name="live")
            )
        ]
    )
    taken = qdrant.create_full_snapshot()
    assert qdrant.list_full_snapshots() == [taken] and qdrant.list_snapshots("things") == []
    path = path_of(store, taken, "full")
    assert taken.checksum == hashlib.sha256(path.read_bytes()).hexdigest()
    retrieval_store.restore(path, tmp_path / "restored")
    with QdrantClient(path=tmp_path / "restored") as restored:
        assert {one.name for one in restored.get_collections().collections} == {"things", "other"}
        assert everything(restored, "live") == everything(qdrant)
    assert qdrant.delete_full_snapshot(taken.name) is True and qdrant.list_full_snapshots() == []


def test_shard_0_is_the_collection_and_the_only_shard(qdrant, store):
    before = everything(qdrant)
    taken = qdrant.create_shard_snapshot("things", 0)
    assert qdrant.list_shard_snapshots("things", 0) == [taken] == qdrant.list_snapshots("things")
    qdrant.delete("things", [1])
    assert qdrant.recover_shard_snapshot("things", 0, str(path_of(store, taken)))
    assert everything(qdrant) == before
    for refused in (
        lambda: qdrant.create_shard_snapshot("things", 1),
        lambda: qdrant.list_shard_snapshots("things", 1),
        lambda: qdrant.recover_shard_snapshot("things", 1, str(path_of(store, taken))),
        lambda: qdrant.delete_shard_snapshot("things", 1, taken.name),
    ):
        with pytest.raises(Refused) as caught:
            refused()
        assert caught.value.status_code == 404
    assert qdrant.delete_shard_snapshot("things", 0, taken.name) is True
    assert qdrant.list_snapshots("things") == []


def test_an_invalid_snapshot_leaves_the_collection_unchanged(qdrant, store, tmp_path):
    path = path_of(store, qdrant.create_snapshot("things"))
    qdrant.delete("things", [1])
    before = everything(qdrant)
    content = path.read_bytes()
    damaged, short, other = (tmp_path / name for name in ("damaged", "short", "other"))
    damaged.write_bytes(content[:3000] + bytes([content[3000] ^ 1]) + content[3001:])
    short.write_bytes(content[:-100])
    other.write_text("no snapshot at all")
    for location in (damaged, short, other):
        with pytest.raises(Exception, match=location.name) as caught:
            qdrant.recover_snapshot("things", str(location))
        assert isinstance(caught.value, Refused | retrieval_store.errors.RetrievalStoreError)
    with pytest.raises(Refused, match="checksum"):
        qdrant.recover_snapshot("things", str(path), checksum="0" * 64)
    for name, place in (("things", "nothing"), ("new", "nothing"), ("new", ".")):
        with pytest.raises(Refused) as missing:
            qdrant.recover_snapshot(name, str(tmp_path / place), checksum="0" * 64)
        assert missing.value.status_code == 404
    assert everything(qdrant) == before and not qdrant.collection_exists("new")


@pytest.mark.parametrize("location", ["http://localhost:1/x.snapshot", "https://localhost:1/x"])
def test_nothing_is_fetched(qdrant, location):
    with pytest.raises(Refused, match="fetched"):
        qdrant.recover_snapshot("things", location)


def test_names_never_resolve_outside(qdrant, store):
    taken = qdrant.create_snapshot("things")
    secret = store / "snapshots" / "secret.snapshot"
    secret.write_text("mine")
    beside = path_of(store, taken).with_name("beside.txt")
    beside.write_text("mine")
    for name in (
        "../secret.snapshot",
        str(secret),
        "..",
        "",
        "beside.txt",
        f"{taken.name}.checksum",
        f"./{taken.name}",
        f"{taken.name}\0",
        "..%2Fsecret.snapshot",
        None,
    ):
        for delete in (
            lambda name=name: qdrant.delete_snapshot("things", name),
            lambda name=name: qdrant.delete_full_snapshot(name),
        ):
            with pytest.raises(Refused):
                delete()
    assert secret.read_text() == beside.read_text() == "mine"
    assert names(qdrant.list_snapshots("things")) == [taken.name]


@pytest.mark.parametrize("name", ["..", ".", "a b", "full", "ß" * 255, "a%2Fb", "x" * 255])
def test_snapshots_of_each_collection_lie_inside_the_store(qdrant, store, name):
    qdrant.create_collection(name, PARAMS)
    before = {*store.rglob("*.snapshot")}
    taken = qdrant.create_snapshot(name)
    (path,) = {*store.rglob("*.snapshot")} - before
    assert path.resolve().is_relative_to(store / "snapshots")
    assert qdrant.list_snapshots(name) == [taken] and qdrant.list_full_snapshots() == []
    qdrant.recover_snapshot("copy", str(path))
    assert qdrant.get_collection("copy").config == qdrant.get_collection(name).config
    qdrant.delete_snapshot(name, taken.name)
    assert not path.exists() and not Path(f"{path}.checksum").exists()


def test_collections_of_one_name_but_for_its_end_have_snapshots_of_their_own(qdrant):
    one, two = "x" * 254 + "a", "x" * 254 + "b"
    for name in (one, two):
        qdrant.create_collection(name, PARAMS)
    taken = qdrant.create_snapshot(one)
    assert (qdrant.list_snapshots(one), qdrant.list_snapshots(two)) == ([taken], [])


def test_a_store_in_memory_has_none():
    with QdrantClient(":memory:") as client:
        client.create_collection("things", PARAMS)
        assert client.list_snapshots("things") == client.list_full_snapshots() == []
        for refused in (
            lambda: client.create_snapshot("things"),
            lambda: client.create_full_snapshot(),
            lambda: client.delete_snapshot("things", "x.snapshot"),
        ):
            with pytest.raises(Refused, match="memory"):
                refused()


def test_snapshots_of_missing_collections_are_refused(qdrant):
    for refused in (
        lambda: qdrant.create_snapshot("none"),
        lambda: qdrant.list_snapshots("none"),
        lambda: qdrant.delete_snapshot("none", "x.snapshot"),
    ):
        with pytest.raises(Refused) as caught:
            refused()
        assert caught.value.status_code == 404


def test_the_asynchronous_client_takes_them_too(qdrant, store):
    async def taken():
        async with AsyncQdrantClient(path=store) as client:
            snapshot = await client.create_snapshot("things")
            await client.recover_snapshot("copy", str(path_of(store, snapshot)))
            return await client.list_snapshots("things")

    assert asyncio.run(taken()) == qdrant.list_snapshots("things")
    assert everything(qdrant, "copy") == everything(qdrant)
