"""The client itself: its store, its refusals, and how it is closed."""

import asyncio
import pickle
import re
import traceback
import warnings
from pathlib import Path

import numpy as np
import pytest
import qdrant_client
from qdrant_client.http.exceptions import UnexpectedResponse

import retrieval_store
from retrieval_store.errors import (
    FormatError,
    InvalidArgumentError,
    InvalidTypeError,
    RetrievalStoreError,
)
from retrieval_store.qdrant import AsyncQdrantClient, QdrantClient, Refused, models
from tests.helpers import ROOT, inside
from tests.helpers.circumstances import note_settings_anew

PARAMS = models.VectorParams(size=4, distance=models.Distance.COSINE)


def points(count, first=0):
    return [
        models.PointStruct(id=i, vector=[1.0, i, 0, 0], payload={"n": i})
        for i in range(first, first + count)
    ]


def test_it_is_qdrants_client_on_a_store_of_ours(tmp_path):
    with QdrantClient(path=tmp_path / "store") as client:
        assert isinstance(client, qdrant_client.QdrantClient)
        assert client.init_options["path"] == tmp_path / "store"
        assert client.create_collection("things", PARAMS) is True
        client.upsert("things", points(3))
    assert (tmp_path / "store" / "catalog.sqlite").exists()
    with QdrantClient(path=str(tmp_path / "store")) as client:
        assert [point.id for point in client.scroll("things")[0]] == [0, 1, 2]


def test_a_clients_options_make_another_one_of_the_same_store(tmp_path):
    with QdrantClient(path=tmp_path / "store") as client:
        client.create_collection("things", PARAMS)
        with QdrantClient(**client.init_options) as other:
            assert other.collection_exists("things")
            assert other.init_options == client.init_options

        async def asked():
            async with AsyncQdrantClient(**client.init_options) as other:
                return await other.collection_exists("things"), other.init_options["location"]

        assert asyncio.run(asked()) == (True, None)


@pytest.mark.parametrize("arguments", [(":memory:",), ()])
def test_memory_is_one_clients_own(arguments):
    named = {} if arguments else {"location": ":memory:"}
    with QdrantClient(*arguments, **named) as one, QdrantClient(":memory:") as other:
        one.create_collection("things", PARAMS)
        assert one.collection_exists("things") and not other.collection_exists("things")
        assert one.init_options["location"] == ":memory:"


def test_a_server_is_called_by_qdrants_own_client():
    for named in ({"url": "http://localhost:1"}, {"host": "localhost"}, {"location": "localhost"}):
        client = QdrantClient(**named, check_compatibility=False)
        assert type(inside.embedded(client)) is type(
            inside.embedded(qdrant_client.QdrantClient(**named, check_compatibility=False))
        )


def test_arguments_that_contradict_each_other_are_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match="one of"):
        QdrantClient(path=tmp_path, url="http://localhost")
    with pytest.raises(InvalidArgumentError, match="cloud_inference"):
        QdrantClient(path=tmp_path, cloud_inference=True)
    with pytest.raises(InvalidArgumentError, match="path is 7"):
        QdrantClient(path=7)


def test_after_closing_it_raises(tmp_path):
    client = QdrantClient(path=tmp_path / "store")
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.get_collections()
    with pytest.raises(RuntimeError, match="closed"):
        client.info()


def test_refusals_have_the_classes_of_servers_and_local_mode():
    with QdrantClient(":memory:") as client, pytest.raises(Refused) as caught:
        client.scroll("nope")
    error = caught.value
    assert isinstance(error, UnexpectedResponse | ValueError | RetrievalStoreError)
    assert error.status_code == 404 and "nope" in str(error)
    assert "nope" in error.structured()["status"]["error"]
    again = pickle.loads(pickle.dumps(error))
    assert (again.status_code, str(again)) == (404, str(error))


def test_an_error_shows_the_line_that_called_and_one_of_ours():
    ours = str(Path(retrieval_store.__file__).parent)
    with QdrantClient(":memory:") as client:
        client.create_collection("notes", models.VectorParams(size=2, distance="Dot"))
        for use in (
            lambda: client.query_points("none", query=[1.0, 2.0]),
            lambda: client.query_points("notes", query=[1.0]),
            lambda: client.scroll("notes", scroll_filter={"must": {"key": "n"}}, limit=0),
            lambda: client.scroll("notes", {"must": {"key": "n[", "range": {"gt": 1}}}),
            lambda: client.upsert("notes", [models.PointStruct(id=2**64, vector=[1.0, 2.0])]),
        ):
            with pytest.raises(Refused) as caught:
                use()
            error = caught.value
            files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
            assert len([file for file in files if file.startswith(ours)]) == 1
            assert error.__cause__ is None or error.__cause__.__traceback__ is None


@pytest.mark.filterwarnings(  # of a file that local mode leaves open
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_local_mode_and_our_client_refuse_each_others_directories(tmp_path):
    theirs = qdrant_client.QdrantClient(path=str(tmp_path / "theirs"))
    theirs.create_collection("things", PARAMS)
    theirs.close()
    with pytest.raises(FormatError, match="migrate"):
        QdrantClient(path=tmp_path / "theirs")
    ours = [QdrantClient(path=tmp_path / "ours") for _ in range(2)]
    with pytest.raises(RuntimeError, match="already accessed"):
        qdrant_client.QdrantClient(path=str(tmp_path / "ours"))
    for client in ours:
        client.close()


def test_collections_of_local_mode_are_migrated_both_ways(tmp_path):
    vectors = {
        "a": PARAMS,
        "m": models.VectorParams(
            size=2,
            distance=models.Distance.DOT,
            multivector_config=models.MultiVectorConfig(comparator="max_sim"),
        ),
    }
    theirs = qdrant_client.QdrantClient(path=str(tmp_path / "theirs"))
    theirs.create_collection(
        "things", vectors, sparse_vectors_config={"s": models.SparseVectorParams()}
    )
    theirs.upsert(
        "things",
        [
            models.PointStruct(
                id=i,
                vector={
                    "a": [1.0, i, 0, 0],
                    "m": [[1.0, i], [2.0, 3.0]],
                    "s": models.SparseVector(indices=[1, 7], values=[0.5, i]),
                },
                payload={"n": i, "deep": {"list": [1, None, {"x": "y"}]}},
            )
            for i in range(150)
        ],
    )

    def everything(client):
        found, _ = client.scroll("things", limit=1000, with_vectors=True)
        return [(p.id, p.payload, p.vector["m"], p.vector["s"]) for p in found]

    with QdrantClient(path=tmp_path / "ours") as ours:
        theirs.migrate(ours)
        assert everything(ours) == everything(theirs)
        back = qdrant_client.QdrantClient(":memory:")
        ours.migrate(back)
        assert everything(back) == everything(ours)
        with pytest.raises(ValueError, match="already exist"):
            theirs.migrate(ours)
    theirs.close()


def test_uploads_are_of_any_length_and_kind():
    with QdrantClient(":memory:") as client:
        client.create_collection("things", PARAMS)
        client.upload_points("things", iter(points(250)), batch_size=64, parallel=2)
        assert client.count("things").count == 250
        matrix = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
        client.upload_collection(
            "things", matrix, payload=({"row": i} for i in range(100)), ids=range(1000, 1100)
        )
        client.upload_collection("things", [[1.0, 2, 3, 4]] * 5)
        assert client.count("things").count == 355
        (point,) = client.retrieve("things", [1007], with_vectors=True)
        assert point.payload == {"row": 7}
        assert point.vector == pytest.approx((matrix[7] / np.linalg.norm(matrix[7])).tolist())


async def test_the_loop_runs_during_a_call(tmp_path):
    async with AsyncQdrantClient(path=tmp_path / "store") as client:
        assert await client.create_collection("things", PARAMS)
        ticks, done = 0, asyncio.Event()

        async def tick():
            nonlocal ticks
            while not done.is_set():
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        await client.upsert("things", points(2000))
        client.upload_points("things", points(10, first=5000))
        during, _ = await asyncio.gather(client.count("things"), client.scroll("things"))
        done.set()
        await ticking
        assert during.count == 2010 and ticks > 1
        with pytest.raises(Refused):
            await client.scroll("nope")
        task = asyncio.create_task(client.upsert("things", points(2000, first=10_000)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await client.count("things")).count in (2010, 4010)
        await client.upsert("things", points(1, first=99))
    with pytest.raises(RuntimeError, match="closed"):
        await client.count("things")


def test_every_public_method_of_the_client_answers_or_refuses_clearly():
    """None raises NotImplementedError, except those that return a connection to a server."""
    with QdrantClient(":memory:") as client:
        client.create_collection("things", PARAMS)
        assert client.cluster_status().status == "disabled"
        assert client.collection_cluster_info("things").shard_count == 1
        assert client.list_shard_keys("things").shard_keys == []
        assert client.info().version == retrieval_store.__version__
        for refused in (
            lambda: client.create_shard_key("things", "k"),
            lambda: client.delete_shard_key("things", "k"),
            lambda: client.recover_current_peer(),
            lambda: client.remove_peer(1),
            lambda: client.cluster_telemetry(),
            lambda: client.create_snapshot("things"),
        ):
            with pytest.raises(Refused):
                refused()
        for name in ("http", "grpc_points", "grpc_collections"):
            with pytest.raises(NotImplementedError):
                getattr(client, name)


def test_settings_without_meaning_are_stored_and_reported_once(caplog, monkeypatch):
    note_settings_anew(monkeypatch)
    with QdrantClient(":memory:") as client, warnings.catch_warnings():
        for name in ("one", "two"):
            client.create_collection(name, PARAMS, shard_number=3, replication_factor=2)
        assert client.get_collection("two").config.params.shard_number == 3
    messages = [record.message for record in caplog.records if "shard_number" in record.message]
    assert len(messages) == 1


def test_the_docs_mention_every_public_name_of_the_client():
    table = (ROOT / "docs" / "reference" / "qdrant.md").read_text()
    names = {name for name in dir(qdrant_client.QdrantClient) if not name.startswith("_")}
    reported = set(re.findall(r"`([a-zA-Z_]+)`", table))
    assert names <= reported


@pytest.mark.parametrize("kind", [QdrantClient, AsyncQdrantClient])
@pytest.mark.parametrize("place", [(), (":memory:",)])
def test_arguments_of_another_store_are_reported_with_our_names(kind, place):
    with pytest.raises(
        InvalidTypeError, match="'persist_directory' is no argument of .*: here it is path$"
    ):
        kind(*place, persist_directory="x")
