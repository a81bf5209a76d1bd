"""The path of a store: no store is created by mistake, and messages contain the path."""

import os

import pytest

import retrieval_store
from retrieval_store.errors import (
    AlreadyExistsError,
    DimensionMismatchError,
    IDAlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
)
from retrieval_store.qdrant import QdrantClient
from tests.helpers import inside


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def test_a_tilde_is_the_home_of_the_user(home):
    with retrieval_store.Client("~/store") as client:
        assert client.path == home / "store"
    with QdrantClient(path="~/other"):
        assert (home / "other").is_dir()
    assert os.listdir(".") == []
    with pytest.raises(InvalidArgumentError, match="path is '~nobody-of-this-name/x'"):
        retrieval_store.Client("~nobody-of-this-name/x")


def test_a_store_is_not_created_with_create_false(tmp_path):
    for path in (tmp_path / "typo", tmp_path):
        with pytest.raises(NotFoundError, match=f"no store at {path}.*create=True"):
            retrieval_store.Client(path, create=False)
    assert os.listdir(tmp_path) == []
    retrieval_store.Client(tmp_path / "store").close()
    with retrieval_store.Client(tmp_path / "store", create=False) as client:
        assert client.count_collections() == 0
    with pytest.raises(InvalidArgumentError, match="create goes with path"):
        retrieval_store.Client(create=False)
    with pytest.raises(InvalidArgumentError, match="create is 'no'.* expected True or False"):
        retrieval_store.Client(tmp_path / "store", create="no")


def test_a_broken_link_is_reported_with_its_target(tmp_path):
    link, target = tmp_path / "link", tmp_path / "gone"
    link.symlink_to(target)
    text = f"no store at {link}.*: {link} is a link to '{target}', which isn't there"
    for options in ({}, {"create": False}, {"read_only": True}):
        with pytest.raises(NotFoundError, match=text):
            retrieval_store.Client(link, **options)
        with pytest.raises(NotFoundError, match=f"{link}/a/b: {link} is a link to '{target}'"):
            retrieval_store.Client(link / "a" / "b", **options)
    with pytest.raises(NotFoundError, match=text):
        QdrantClient(path=str(link))
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(NotFoundError, match=f"{loop} is a link to '{loop}'"):
        retrieval_store.Client(loop)
    assert sorted(os.listdir(tmp_path)) == ["link", "loop"]
    target.mkdir()
    retrieval_store.Client(link / "a").close()
    assert os.listdir(target) == ["a"]


@pytest.mark.embedded
def test_a_missing_collection_is_reported_with_the_existing_ones(client, tmp_path):
    with pytest.raises(NotFoundError, match="the store has no collections"):
        client.get_collection("things")
    for name in ("books", "notes", "pictures"):
        client.create_collection(name, embedding_function=None)
    there = "'notes', 'books', 'pictures'"
    place = inside.session(client).place
    for call in (client.get_collection, client.delete_collection):
        with pytest.raises(NotFoundError, match=f"'nots' .*{place}.*does not exist.*{there}"):
            call("nots")


def test_words_that_callers_match_on_stay_in_messages(client):
    things = client.create_collection("things", embedding_function=None)
    with pytest.raises(AlreadyExistsError, match="already exists.*: .*get_or_create_collection"):
        client.create_collection("things", embedding_function=None)
    with pytest.raises(NotFoundError, match="does not exist"):
        client.get_collection("nothing")
    things.add(ids=["a", "b"], embeddings=[[1, 2], [3, 4]])
    for refused in (
        lambda: things.add(ids="c", embeddings=[1, 2, 3]),
        lambda: things.query(query_embeddings=[1, 2, 3]),
        lambda: things.add(ids=["c", "d"], embeddings=[[1, 2], [1, 2, 3]]),
    ):
        with pytest.raises(DimensionMismatchError, match="dimension"):
            refused()
    with pytest.raises(IDAlreadyExistsError, match=r"already exist \(2\): 'a', 'b'.* upsert"):
        things.add(ids=["a", "b", "c"], embeddings=[[1, 2]] * 3)


@pytest.mark.embedded
def test_settings_that_can_be_changed_never_conflict(client):
    wanted = {"hnsw": {"space": "cosine", "ef_search": 100}, "text": {"language": "english"}}
    client.create_collection("things", wanted, embedding_function=None).modify(
        configuration={"hnsw": {"ef_search": 200}, "text": {"stemming": False}}
    )
    again = client.get_or_create_collection("things", wanted, embedding_function=None)
    assert again.configuration["hnsw"]["ef_search"] == 200
    assert again.configuration["text"]["stemming"] is False
    by_metadata = {"hnsw:search_ef": 50}
    client.get_or_create_collection("things", metadata=by_metadata, embedding_function=None)
    with pytest.raises(ValueError, match=r"space='cosine', which can't become 'l2': leave space"):
        client.get_or_create_collection(
            "things", {"hnsw": {"space": "l2"}}, embedding_function=None
        )
