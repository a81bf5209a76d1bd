"""Passages of files on the page: their source, their context, pictures of pages."""

import io
import subprocess
import threading

import pytest
from PIL import Image

import retrieval_store
from integrations.files.tests.readers import files
from integrations.server.tests.view.looking import asked
from retrieval_store.errors import DataLoaderError, NotFoundError
from retrieval_store.extension import session_of
from retrieval_store_files import sync_folder
from retrieval_store_server.view import pictures
from retrieval_store_server.view.live import Views
from tests.helpers import PATIENCE, steps
from tests.helpers.tuned import tuned


class Embed:
    def __call__(self, texts):
        return [[1.0, float(len(one))] for one in texts]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    pages = ("The sea. " * 60, "The sky. " * 60, "The shore. " * 60)
    (folder / "views.pdf").write_bytes(files.pdf(*pages, title="Views"))
    (tmp_path / "outside.pdf").write_bytes(files.pdf("secret"))
    (folder / "link.pdf").symlink_to(tmp_path / "outside.pdf")
    return folder


@pytest.fixture
def made(folder):
    with retrieval_store.Client() as client:
        collection = client.create_collection("views", embedding_function=Embed())
        sync_folder(collection, folder, name="views")
        yield Views(session_of(client), image_root=folder), collection


def drawn(views, collection, key, size=200):
    picture = asked(views, "thumbnail", collection=str(collection.id), key=f"s:{key}", size=size)
    return Image.open(io.BytesIO(picture))


def test_drawing_the_pages_of_others_does_not_block_long(made, monkeypatch):
    views, collection = made
    tuned(monkeypatch, page_waits=0.01)
    begun, go_on = threading.Event(), threading.Event()

    def draw_slowly(draw, *arguments):
        begun.set()
        assert go_on.wait(PATIENCE)
        return draw(*arguments)

    steps.around(monkeypatch, "draw_page", draw_slowly)
    other = threading.Thread(target=drawn, args=[views, collection, "views.pdf#1"])
    other.start()
    assert begun.wait(PATIENCE)
    try:
        with pytest.raises(NotFoundError, match="the page can't be shown"):
            drawn(views, collection, "views.pdf#0")
        with pytest.raises(DataLoaderError, match="too many pages are being drawn"):
            pictures.drawer().draw(files.pdf("The sea."), 1, 100)
    finally:
        go_on.set()
        other.join()
    assert max(drawn(views, collection, "views.pdf#0").size) == 200


def test_a_passage_is_shown_in_its_file(made, folder):
    views, collection = made

    def around(place):
        answer = asked(views, "record", collection=str(collection.id), key=f"s:{place}")
        return answer["cited"], [one["id"] for one in answer["around"]]

    first = ["views.pdf#0", "views.pdf#1"]
    assert around("views.pdf#0") == ("Views (views.pdf), page 1", first)
    assert around("views.pdf#1")[1] == [*first, "views.pdf#2"]
    collection.update("views.pdf#2", metadatas={"hash": "of another edition"})
    assert around("views.pdf#1")[1] == first
    collection.add("own", documents="mine", metadatas={"path": 7, "place": "x"})
    assert around("own") == (None, [])


def test_the_page_of_a_passage_is_drawn(made):
    views, collection = made
    assert drawn(views, collection, "views.pdf#1").size == (150, 200)
    assert drawn(views, collection, "views.pdf#1", 1024).size == (768, 1024)


def test_pages_are_drawn_by_one_process(made, monkeypatch):
    views, collection = made
    begun, popen = [], subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *given, **how: begun.append(given) or popen(*given, **how)
    )
    for place in (0, 1, 2, 0):
        drawn(views, collection, f"views.pdf#{place}")
    assert len(begun) <= 1


@pytest.mark.parametrize(
    "metadata",
    [{"path": "../outside.pdf", "page": 1}, {"path": "a/../../outside.pdf", "page": 1},
     {"path": "./views.pdf"}, {"path": "/views.pdf"}, {"path": "views\0.pdf"},
     {"path": "link.pdf", "page": 1}, {"path": "/etc/hostname"}, {"page": 4}, {"page": 0},
     {"page": True}, {"path": "gone.pdf"}, {"path": "broken.pdf", "page": 1}, {"path": 3}],
)  # fmt: skip
def test_no_other_file_is_drawn(made, folder, metadata):
    views, collection = made
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    collection.update("views.pdf#1", metadatas=metadata)
    with pytest.raises(NotFoundError) as refused:
        drawn(views, collection, "views.pdf#1")
    assert str(folder) not in str(refused.value)


def test_without_a_folder_nothing_is_drawn(made):
    views, collection = made
    with pytest.raises(NotFoundError, match="--image-root"):
        drawn(Views(views.session), collection, "views.pdf#1")
