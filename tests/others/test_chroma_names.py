"""Names that code written for Chroma uses."""

import copy
import pickle
import sys
import time
import uuid

import chromadb
import chromadb.errors
import numpy as np
import pydantic
import pytest

import retrieval_store
from retrieval_store.errors import (
    ClientClosedError,
    InvalidArgumentError,
    InvalidTypeError,
    NotFoundError,
)
from tests.helpers.circumstances import note_settings_anew


def test_settings_tenants_and_databases_with_actual_values_are_accepted(tmp_path):
    theirs = chromadb.Settings(allow_reset=True, anonymized_telemetry=False)
    for settings in (theirs, {"allow_reset": True}, retrieval_store.Settings(allow_reset=True)):
        with retrieval_store.PersistentClient(
            path=str(tmp_path / "store"),
            settings=settings,
            tenant=chromadb.DEFAULT_TENANT,
            database=chromadb.DEFAULT_DATABASE,
        ) as client:
            client.get_or_create_collection("things", embedding_function=None)
            assert client.get_settings().allow_reset is True
            client.reset()
            assert client.count_collections() == 0
    with (
        retrieval_store.EphemeralClient(settings=chromadb.Settings()) as client,
        pytest.raises(InvalidArgumentError, match="allow_reset=True"),
    ):
        client.reset()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"tenant": "mine"}, "tenant is 'mine'"),
        ({"database": "other"}, "database is 'other'"),
        ({"settings": {"is_persistent": True}}, r"settings\.is_persistent is True.* path="),
        ({"settings": {"is_persistent": "yes"}}, r"settings\.is_persistent is 'yes'"),
        ({"settings": {"persist_directory": 7}}, r"settings\.persist_directory is 7"),
        ({"settings": chromadb.Settings(persist_directory="x")}, r"settings\.persist_directory"),
        ({"settings": {"chroma_server_host": "h"}}, r"settings\.chroma_server_host is 'h'"),
        ({"settings": {"allow_reset": "yes"}}, r"settings\.allow_reset is 'yes'"),
        ({"settings": 7}, "settings is 7"),
    ],
)
def test_arguments_with_another_meaning_are_refused_by_name(arguments, named):
    for make in (retrieval_store.Client, retrieval_store.EphemeralClient):
        with pytest.raises(InvalidArgumentError, match=named):
            make(**arguments)


@pytest.mark.parametrize("kind", [chromadb.Settings, retrieval_store.Settings])
def test_settings_may_contain_the_path_of_a_store(tmp_path, monkeypatch, kind):
    """In the form in which mem0, autogen, semantic-kernel and crewAI write it."""
    path = str(tmp_path / "store")
    settings = kind(anonymized_telemetry=False)
    settings.persist_directory, settings.is_persistent = path, True  # afterwards
    for make in (
        lambda: retrieval_store.Client(settings),
        lambda: retrieval_store.Client(settings=settings),
        lambda: retrieval_store.Client(kind(is_persistent=True, persist_directory=path)),
        lambda: retrieval_store.PersistentClient(path, settings=settings),
        lambda: retrieval_store.PersistentClient(path=tmp_path / "store", settings=settings),
    ):
        with make() as client:
            assert client.path == tmp_path / "store"
            client.get_or_create_collection("things", embedding_function=None)
            reported = client.get_settings()
            assert (reported.is_persistent, reported.persist_directory) == (True, path)
    monkeypatch.chdir(tmp_path)
    usual = kind(is_persistent=True, persist_directory="./chroma")  # Chroma's own default, said
    with retrieval_store.Client(usual) as client:
        assert client.path == tmp_path / "chroma"
    with retrieval_store.Client(kind()) as client:
        assert client.path is None and client.count_collections() == 0
        assert client.get_settings().is_persistent is False
    for wrong, message in (
        (lambda: retrieval_store.Client(kind(is_persistent=True), settings=settings), "twice"),
        (lambda: retrieval_store.PersistentClient("other", settings=settings), "but path is"),
        (lambda: retrieval_store.Client(kind(persist_directory="x")), "without is_persistent"),
        (lambda: retrieval_store.EphemeralClient(settings=settings), "to be in memory"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            wrong()


def test_names_that_programs_use_on_clients_and_collections(client):
    assert isinstance(client, retrieval_store.ClientAPI)
    function = lambda texts: [[1.0, 2.0]] * len(texts)  # noqa: E731
    assert (
        client.create_collection("own", embedding_function=function)._embedding_function is function
    )
    assert client.create_collection("none", embedding_function=None)._embedding_function is None
    default = client.create_collection("default")._embedding_function
    assert default(["text"]).shape == (1, 256)


def test_a_directory_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgumentError, match=r"Chroma takes '\./chroma' by itself"):
        retrieval_store.PersistentClient()
    assert list(tmp_path.iterdir()) == []


def test_a_client_describes_itself(client):
    before = time.time_ns()
    assert before <= client.heartbeat() <= time.time_ns()
    assert client.get_version() == retrieval_store.__version__
    assert client.get_max_batch_size() == sys.maxsize
    made = client.create_collection("things", embedding_function=None)
    made.modify(name="others")
    for given in (made.id, str(made.id)):
        assert client.get_collection_by_id(given, embedding_function=None).name == "others"
    with pytest.raises(NotFoundError, match="does not exist|deleted"):
        client.get_collection_by_id(uuid.uuid4())
    with pytest.raises(InvalidArgumentError, match="collection_id is 'others'"):
        client.get_collection_by_id("others")
    client.close()
    with pytest.raises(ClientClosedError):
        client.heartbeat()


def test_errors_have_the_names_that_users_of_chroma_catch(client):
    names = [name for name in vars(chromadb.errors) if name.endswith(("Error", "Exception"))]
    assert len(names) > 10
    for name in {*names, "InvalidHTTPVersion"}:
        assert issubclass(getattr(retrieval_store.errors, name), retrieval_store.errors.ChromaError)
    things = client.create_collection("things", embedding_function=None)
    things.add(ids="a", embeddings=[1, 2])
    with pytest.raises(retrieval_store.errors.InvalidDimensionException):
        things.add(ids="b", embeddings=[1, 2, 3])
    with pytest.raises(retrieval_store.errors.UniqueConstraintError):
        client.create_collection("things", embedding_function=None)


def test_a_collection_has_a_length_and_members(client):
    things = client.create_collection("things", embedding_function=None)
    assert len(things) == 0 and things
    things.add(ids=["a", "b"], embeddings=[[1, 2], [3, 4]])
    assert len(things) == 2
    assert "a" in things and "c" not in things and 7 not in things


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
def test_open_clients_and_collections_cannot_be_copied(client, copied):
    things = client.create_collection("things", embedding_function=None)
    for held in (client, things):
        with pytest.raises(InvalidTypeError, match="open .* by its path there"):
            copied(held)


def test_settings_of_chromas_index_are_accepted_and_logged_once(client, caplog, monkeypatch):
    settings = {"space": "cosine", "batch_size": 100, "sync_threshold": 1_000, "num_threads": 4}
    metadata = {"hnsw:batch_size": 50, "hnsw:sync_threshold": 500, "hnsw:search_ef": 20}
    note_settings_anew(monkeypatch)
    for i in range(3):
        made = client.create_collection(
            f"things{i}", {"hnsw": settings}, metadata, embedding_function=None
        )
        assert made.metadata == metadata
        assert made.configuration["hnsw"]["ef_search"] == 20
        assert "batch_size" not in made.configuration["hnsw"]
    noted = [record.args[0] for record in caplog.records]
    assert sorted(noted) == sorted({*noted}) and set(noted) == {
        "batch_size",
        "sync_threshold",
        "num_threads",
        "hnsw:batch_size",
        "hnsw:sync_threshold",
    }
    with pytest.raises(InvalidArgumentError, match="unknown key 'ef_serach'"):
        client.create_collection("typo", {"hnsw": {"ef_serach": 1}}, embedding_function=None)


def test_odd_arguments_of_a_client_are_refused_by_name(tmp_path, client):
    class Demanding(pydantic.BaseModel):
        allow_reset: bool

    with retrieval_store.Client(settings=Demanding(allow_reset=True)) as other:
        other.reset()
    for settings in (chromadb.Settings, {1: 2}):
        with pytest.raises(InvalidTypeError, match="settings is .* expected Settings or a dict"):
            retrieval_store.Client(settings=settings)
    with pytest.raises(InvalidArgumentError, match="tenant is array"):
        retrieval_store.Client(tenant=np.array(["default_tenant", "x"]))
    with pytest.raises(NotFoundError, match="no store at"):
        retrieval_store.Client(tmp_path / ("x" * 5_000), create=False)
    things = client.create_collection("things", embedding_function=None)
    assert "" not in things and "\ud800" not in things
