"""Collections in other stores have the same content, whichever way they were copied."""

from contextlib import closing

import numpy as np
import pytest
import qdrant_client
from qdrant_client import models

import retrieval_store
from retrieval_store.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidArgumentError,
    InvalidTypeError,
    NotFoundError,
    ReadOnlyError,
    StorageError,
)
from retrieval_store.qdrant import QdrantClient
from retrieval_store_cluster.copying import pages
from retrieval_store_server import running
from tests.helpers import inside, real_qdrant, steps
from tests.helpers.copies import broken_off, by_points
from tests.helpers.tuned import tuned

EVERYTHING = ["documents", "metadatas", "uris", "embeddings", "sparse_embeddings"]
CONFIGURATION = {
    "hnsw": {"space": "cosine", "ef_search": 77},
    "text": {"language": "german"},
    "sparse": {"idf": True},
}


def filled(client, name="things", count=700):
    """Points with and without each optional field."""
    things = client.create_collection(
        name, CONFIGURATION, metadata={"made": "for a test"}, embedding_function=None
    )
    things.add(
        [f"p{i}" for i in range(count)],
        [[i + 1, 1.5] for i in range(count)],
        [None if i % 7 == 0 else {"n": i, "big": 2**60 + i, "f": i / 7} for i in range(count)],
        [None if i % 5 == 0 else f"text {i}" for i in range(count)],
        uris=[None if i % 3 else f"file:///{i}" for i in range(count)],
        sparse_embeddings=[
            None if i % 2 else {"indices": [i, i + 3], "values": [0.5, i + 1]} for i in range(count)
        ],
    )
    things.delete(["p10", "p11"])
    things.update(["p20"], embeddings=[[-1, -1]], documents="new")
    return things


def same(one, other):
    """Both collections have the same content, in the same order."""
    these, those = held(one), held(other)
    assert these["ids"] == those["ids"]
    for field in ("documents", "metadatas", "uris", "sparse_embeddings"):
        assert these[field] == those[field]
    np.testing.assert_allclose(these["embeddings"], those["embeddings"], rtol=1e-6)


def held(things):
    return things.get(include=EVERYTHING)


def opened(client, name="things"):
    return client.get_collection(name, embedding_function=None)


@pytest.fixture(params=["disk", "served", "cluster"])
def other(request, tmp_path):
    """The client of another store."""
    if request.param == "cluster":
        with real_qdrant.qdrant() as qdrant_client:
            yield retrieval_store.Client(qdrant_client=qdrant_client)
    elif request.param == "served":
        with running(":memory:") as url, retrieval_store.Client(url=url) as client:
            yield client
    else:
        with retrieval_store.Client(tmp_path / "other") as client:
            yield client


def test_a_copy_has_the_content_and_results_of_its_source(client, other):
    things = filled(client, count=1_700)  # more than are compared, and than a page holds
    client.create_collection("empty", embedding_function=None)
    copied = client.copy_to(other)
    assert [(one.name, one.points, one.changed) for one in copied] == [
        ("empty", 0, 0),
        ("things", 1_698, 0),
    ]
    assert copied[1].compared >= 900
    copy = opened(other)
    same(things, copy)
    assert (copy.metadata, copy.configuration) == (things.metadata, things.configuration)
    query = {"query_embeddings": [[3, 4]], "where": {"n": {"$gt": 600}}, "n_results": 5}
    assert copy.query(**query)["ids"] == things.query(**query)["ids"]
    words = {"query_texts": ["text 77"], "mode": "text", "n_results": 1}
    assert copy.query(**words)["ids"] == things.query(**words)["ids"]
    copy.add(["more"], [[1, 1]])
    assert "more" not in things


@pytest.mark.embedded
def test_only_the_collections_that_are_named_are_copied_and_nothing_is_replaced(client, other):
    for name in ("one", "two", "three"):
        client.create_collection(name, embedding_function=None).add([name], [[1, 2]])
    client.copy_to(other, "two")
    assert [one.name for one in other.list_collections()] == ["two"]
    opened(other, "two").add(["mine"], [[3, 4]])
    with pytest.raises(AlreadyExistsError, match="'two' exists already .* replaces nothing"):
        client.copy_to(other)
    assert opened(other, "two").get()["ids"] == ["two", "mine"]
    assert [one.name for one in other.list_collections()] == ["two"]
    client.copy_to(other, ["three", "one"])
    assert other.count_collections() == 3
    with pytest.raises(NotFoundError, match="'four'"):
        client.copy_to(other, ["four"])


@pytest.mark.local
def test_a_store_is_not_copied_into_itself(client):
    with pytest.raises(InvalidArgumentError, match="one store"):
        client.copy_to(client)
    with pytest.raises(InvalidTypeError, match="expected a Client"):
        client.copy_to("elsewhere")


def test_a_target_that_is_read_only_is_left_alone(tmp_path):
    with retrieval_store.Client(tmp_path / "b"):
        pass
    with (
        retrieval_store.Client() as source,
        retrieval_store.Client(tmp_path / "b", read_only=True) as target,
    ):
        filled(source)
        with pytest.raises(ReadOnlyError, match="read-only"):
            source.copy_to(target)
    assert not list(tmp_path.rglob("*.journal"))
    with retrieval_store.Client(tmp_path / "b") as target:
        assert not target.count_collections()


def test_settings_known_only_to_qdrant_client_are_copied_between_directories(tmp_path):
    spaces = {
        "a": models.VectorParams(size=2, distance=models.Distance.DOT),
        "many": models.VectorParams(
            size=2,
            distance=models.Distance.COSINE,
            multivector_config=models.MultiVectorConfig(comparator="max_sim"),
        ),
    }
    with QdrantClient(path=tmp_path / "a") as ours:
        ours.create_collection(
            "named", spaces, sparse_vectors_config={"s": models.SparseVectorParams()}
        )
        vectors = {"a": [1, 2], "many": [[1, 0], [0, 1]]}
        sparse = models.SparseVector(indices=[4], values=[2.0])
        ours.upsert(
            "named",
            [
                models.PointStruct(id=7, vector=vectors | {"s": sparse}, payload={"k": [1, None]}),
                models.PointStruct(id=8, vector={"a": [3, 4]}),
            ],
        )
        ours.create_payload_index("named", "k", "integer")
        alias = models.CreateAlias(collection_name="named", alias_name="called")
        ours.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
        expected = ours.scroll("called", with_vectors=True), ours.get_collection("named")
    with (
        retrieval_store.Client(tmp_path / "a") as source,
        retrieval_store.Client(tmp_path / "b") as target,
        retrieval_store.Client() as memory,
    ):
        source.copy_to(target)
        source.copy_to(memory)
        memory.copy_to(target.__class__(tmp_path / "c"))
    for name in ("b", "c"):
        with QdrantClient(path=tmp_path / name) as theirs:
            found = theirs.scroll("called", with_vectors=True), theirs.get_collection("named")
            assert found[0] == expected[0]
            assert found[1].config.params == expected[1].config.params
            assert found[1].payload_schema == expected[1].payload_schema


@pytest.mark.filterwarnings("ignore:Local mode")
def test_local_mode_takes_a_copy_and_gives_it_back(tmp_path):
    with retrieval_store.Client() as source, retrieval_store.Client() as back:
        things = filled(source, count=300)
        with closing(qdrant_client.QdrantClient(path=str(tmp_path / "local"))) as local:
            source.copy_to(retrieval_store.Client(qdrant_client=local))
        with closing(qdrant_client.QdrantClient(path=str(tmp_path / "local"))) as local:
            there = retrieval_store.Client(qdrant_client=local)
            same(things, opened(there))
            there.copy_to(back)
        same(things, opened(back))


def test_a_cluster_takes_no_vectors_that_only_qdrant_client_knows(tmp_path, cluster):
    with QdrantClient(path=tmp_path) as ours:
        size = models.VectorParams(size=2, distance=models.Distance.DOT)
        ours.create_collection("named", {"a": size})
    with (
        retrieval_store.Client(tmp_path) as source,
        pytest.raises(InvalidArgumentError, match="QdrantClient.migrate"),
    ):
        source.copy_to(cluster)


@pytest.mark.parametrize(
    ("name", "configuration", "metadata", "message"),
    [
        ("unfit", {"expires": "until"}, {}, "'unfit' can't be copied.*nothing expires"),
        ("unfit", {"vectors": {"datatype": "float16"}}, {}, "'unfit' can't be copied.*float16"),
        ("n" * 256, {}, {}, "can't be copied: name has 256"),
        ("unfit", {}, {"_id": 7}, "'unfit' can't be copied: 1 of its records have .* '_id'"),
        ("unfit", {}, {"_retrieval_store": "x"}, "which a cluster reserves: rename the key"),
    ],
)
def test_impossible_features_of_a_cluster_are_refused_before_anything_is_copied(
    cluster, name, configuration, metadata, message
):
    with retrieval_store.Client() as source:
        fit = source.create_collection("fit", embedding_function=None)
        fit.add("a", embeddings=[[1, 2]])
        unfit = source.create_collection(name, configuration, embedding_function=None)
        unfit.add(["a", "b"], embeddings=[[1, 2], [3, 4]], metadatas=[metadata or None, None])
        with pytest.raises(InvalidArgumentError, match=message):
            source.copy_to(cluster)
        assert cluster.list_collections() == []
        source.copy_to(cluster, ["fit"])
        assert [one.name for one in cluster.list_collections()] == ["fit"]


@pytest.mark.embedded
@pytest.mark.parametrize("meanwhile", ["a little", "more than the log holds"])
def test_interrupted_copies_are_resumed_with_the_sources_current_content(
    client, other, monkeypatch, meanwhile
):
    things = filled(client)
    with monkeypatch.context() as patched:
        by_points(patched)
        broken_off(patched, 9)
        with pytest.raises(KeyboardInterrupt):
            client.copy_to(other)
        assert opened(other).count() == 360
    things.delete([f"p{i}" for i in range(0, 400, 3)])
    things.add(["new"], [[5, 5]])
    things.update(["p1", "p650"], documents=["one", "two"], embeddings=[[1, 1], [2, 2]])
    if meanwhile == "more than the log holds":
        tuned(monkeypatch, log_writes=2, trim_every=1)
        for turn in range(4):
            things.update([f"p{turn + 1}"], metadatas=[{"turn": turn}])
    with monkeypatch.context() as patched:
        by_points(patched)
        if not is_remembered(client, other):
            with pytest.raises(AlreadyExistsError):
                client.copy_to(other)
            return
        client.copy_to(other)
    same(things, opened(other))


def is_remembered(client, other):
    """Whether there is a journal: in a directory, or beside the copy on a cluster."""
    has_directory = client.path is not None or other.path is not None
    return has_directory or inside.session(other).on_cluster


def test_writes_of_others_to_a_copy_are_never_removed(tmp_path, monkeypatch):
    with (
        retrieval_store.Client(tmp_path / "a") as source,
        retrieval_store.Client(tmp_path / "b") as target,
    ):
        things = filled(source)
        source.copy_to(target)
        things.add(["more"], [[1, 1]])
        source.copy_to(target)  # what nobody else has touched goes on
        copy = opened(target)
        assert "more" in copy
        copy.optimize()
        copy.add(["theirs"], [[1, 2]])
        with pytest.raises(AlreadyExistsError, match="was written to since it was copied"):
            source.copy_to(target)
        assert "theirs" in copy and copy.count() == things.count() + 1
        copy.delete(["theirs"])
        copy.update(["p1"], documents="theirs", embeddings=[[1, 1]])
        with pytest.raises(AlreadyExistsError):
            source.copy_to(target)
        assert copy.get("p1")["documents"] == ["theirs"]


def test_writes_of_others_to_an_interrupted_copy_stay_too(tmp_path, monkeypatch):
    with retrieval_store.Client() as source, retrieval_store.Client(tmp_path) as target:
        things = filled(source)
        with monkeypatch.context() as patched:
            broken_off(patched, 4)
            with pytest.raises(KeyboardInterrupt):
                source.copy_to(target)
        opened(target).add(["theirs"], [[1, 2]])
        with pytest.raises(ConflictError, match="written to by others"):
            source.copy_to(target)
        assert "theirs" in opened(target)
        opened(target).delete(["theirs"])
        source.copy_to(target)
        same(things, opened(target))


def test_impossible_aliases_are_reported_before_anything_is_copied(tmp_path):
    with QdrantClient(path=tmp_path / "a") as ours:
        size = models.VectorParams(size=2, distance=models.Distance.DOT)
        ours.create_collection("first", size)
        ours.create_collection("second", size)
        alias = models.CreateAlias(collection_name="first", alias_name="called")
        ours.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    with (
        retrieval_store.Client(tmp_path / "a") as source,
        retrieval_store.Client(tmp_path / "b") as target,
    ):
        target.create_collection("called", embedding_function=None)
        with pytest.raises(AlreadyExistsError, match="alias 'called'"):
            source.copy_to(target)
        assert target.count_collections() == 1
        source.copy_to(target, "second")


def test_large_documents_come_few_at_a_time(monkeypatch):
    tuned(monkeypatch, copied_bytes=100_000)
    with retrieval_store.Client() as source, retrieval_store.Client() as target:
        things = source.create_collection("things", embedding_function=None)
        sizes = [40_000] * 20 + [10] * 600
        things.add(
            [f"p{i}" for i in range(620)], np.ones((620, 2)), documents=["x" * n for n in sizes]
        )
        found = [
            len(page.ids)
            for page in pages.read_pages(inside.points(things), pages.everything([""]))
        ]
        assert sum(found) == 620
        assert found[1] <= 2 and found[-2] > 100
        source.copy_to(target)
        same(things, opened(target))


@pytest.mark.parametrize("wrong", ["document", "embedding", "missing", "more"])
def test_a_copy_that_differs_is_found(monkeypatch, wrong):
    with retrieval_store.Client() as client, retrieval_store.Client() as other:
        filled(client)

        def spoiled():
            copy = opened(other)
            if wrong == "document":
                copy.update(
                    [f"p{i}" for i in range(700)], documents=["x"] * 700, embeddings=[[1, 1]] * 700
                )
            elif wrong == "embedding":
                copy.update([f"p{i}" for i in range(700)], embeddings=[[9, 9]] * 700)
            elif wrong == "missing":
                copy.delete(["p1"])
            else:
                copy.add(["more"], [[1, 1]])

        steps.before(monkeypatch, "compare_copies", spoiled)
        with pytest.raises(StorageError, match="the copy of collection 'things'"):
            client.copy_to(other)
