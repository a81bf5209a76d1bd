"""Errors contain names that clients know, and no path on the server's machine."""

import tempfile
import uuid
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

import retrieval_store
from integrations.server.tests.http.asked import Asking
from retrieval_store.errors import StorageError
from retrieval_store_server import app, running
from retrieval_store_server.http.request import Served


def hidden(message, directory):
    """A message as shown by a server with its store in a directory; None is in memory."""
    store = SimpleNamespace(directory=None if directory is None else Path(directory))
    return Served.hide_paths(SimpleNamespace(_session=SimpleNamespace(store=store)), message)


ID = str(uuid.UUID(int=7))
OWN = f".retrieval-store-{uuid.UUID(int=8).hex}"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (f"/data/store/{ID}/points.sqlite is damaged", f"{ID}/points.sqlite is damaged"),
        (f"('/data/store/{ID}/0.1.vectors')", f"('{ID}/0.1.vectors')"),
        ("/data/store/catalog.sqlite: no room", "catalog.sqlite: no room"),
        ("/data/store/snapshots/a/b.zip is gone", "snapshots/a/b.zip is gone"),
        (f"{tempfile.gettempdir()}/{OWN}/x.part", f"{OWN}/x.part"),
        ("there is no store at /data/store.", "there is no store at the store."),
        ("/data/store: File name too long", "the store: File name too long"),
        # names of users
        ("no point '/data/store/manual.pdf'", "no point '/data/store/manual.pdf'"),
        ("no point '/data/store/snapshots-of-x'", "no point '/data/store/snapshots-of-x'"),
        ("no point '/data/storehouse'", "no point '/data/storehouse'"),
        ("no point '/my/data/store'", "no point '/my/data/store'"),
        ("no point '/data/store.pdf'", "no point '/data/store.pdf'"),
        (f"no point '{tempfile.gettempdir()}/a.png'", f"no point '{tempfile.gettempdir()}/a.png'"),
        ("Collection `None` or `NoneSuch`", "Collection `None` or `NoneSuch`"),
    ],
)
def test_paths_of_the_store_are_hidden_and_names_of_users_stay(message, shown):
    assert hidden(message, "/data/store") == shown


@pytest.mark.parametrize("directory", [None, "/"])
def test_a_store_without_a_directory_of_its_own_has_nothing_to_hide(directory):
    text = "None of /data/store is / or `None`"
    assert hidden(text, directory) == text


def test_a_served_store_in_memory_names_collections_as_they_are_called():
    with closing(Asking(app(":memory:"))) as ask:
        answer = ask("GET", "/collections/NoneOfThese")
        assert answer.status == 404
        assert "`NoneOfThese`" in answer.json["status"]["error"]


def test_a_damaged_file_is_named_without_its_folder(tmp_path):
    path = tmp_path / "store"
    with retrieval_store.Client(path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add([str(i) for i in range(500)], [[1.0]] * 500, documents=["x" * 200] * 500)
    database = path / str(things.id) / "points.sqlite"
    whole = bytearray(database.read_bytes())
    whole[5_000::4_096] = bytes(255 for _ in whole[5_000::4_096])
    database.write_bytes(whole)
    with running(str(path)) as url, retrieval_store.Client(url=url) as client:
        with pytest.raises(StorageError, match="points.sqlite is damaged") as raised:
            client.get_collection("things").get()
        assert f"{things.id}/points.sqlite" in str(raised.value)
        assert str(tmp_path) not in str(raised.value)
