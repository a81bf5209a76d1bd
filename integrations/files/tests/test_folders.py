"""Folders of texts and images are added; the report lists files that can't be."""

import os

import numpy as np
import pytest
from PIL import Image

import retrieval_store
from retrieval_store import ImageLoader
from retrieval_store.errors import (
    EmbeddingFunctionError,
    IDAlreadyExistsError,
    InvalidArgumentError,
)
from retrieval_store_files import add_folder
from tests.helpers import steps


def embed(inputs):
    """The length of a text; the mean of an image."""
    return [[len(one), 0] if isinstance(one, str) else [0, np.mean(one)] for one in inputs]


@pytest.fixture
def notes():
    with retrieval_store.Client() as client:
        yield client.create_collection("notes", embedding_function=embed, data_loader=ImageLoader())


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "folder"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / ".git" / "hidden.md").write_text("hidden")
    (folder / "a.md").write_text("# A", encoding="utf-8-sig")
    (folder / "deep" / "b.TXT").write_text("Bé")
    (folder / "deep" / "er" / "c.rst").write_text("C")
    (folder / "program.py").write_text("no")
    return folder


def test_texts_are_documents_by_their_paths(notes, folder):
    report = add_folder(notes, folder)
    assert (report.added, report.skipped, report.others, report.unreadable) == (3, 0, 2, ())
    found = notes.get(include=["documents", "metadatas"])
    assert found["ids"] == ["a.md", "deep/b.TXT", "deep/er/c.rst"]
    assert found["documents"] == ["# A", "Bé", "C"]
    assert found["metadatas"] == [{"path": one} for one in found["ids"]]


def test_images_are_uris_that_the_loader_loads(notes, folder):
    for i, name in enumerate(("deep/one.png", "two.jpg")):
        Image.new("RGB", (4, 4), (i, i, i)).save(folder / name)
    report = add_folder(notes, folder, kind="images")
    assert (report.added, report.others) == (2, 5)
    found = notes.get(include=["uris", "documents", "metadatas"])
    assert found["uris"] == [str(folder / one) for one in ("deep/one.png", "two.jpg")]
    assert found["metadatas"] == [{"path": "deep/one.png"}, {"path": "two.jpg"}]
    assert add_folder(notes, folder, resume=True).added == 3


def test_unreadable_files_are_reported_and_the_others_are_added(notes, folder):
    outside = folder.parent / "outside.md"
    outside.write_text("outside")
    (folder / "link.md").symlink_to(outside)
    (folder / "linked").symlink_to(folder.parent)
    (folder / "latin.txt").write_bytes(b"\xe9\xe8")
    (folder / "empty.txt").write_text(" \n")
    (folder / "long.txt").write_text("x" * 1_001)
    (folder / "broken.png").write_bytes(b"no image")
    Image.new("RGB", (4, 4)).save(folder / "whole.png")
    os.mkfifo(folder / "pipe.txt")
    with open(os.fsencode(folder) + b"/\xff.txt", "w") as file:
        file.write("a name that is no text")
    report = add_folder(notes, folder, max_bytes=1_000)
    assert report.added == 4 and notes.get(ids="whole.png")["ids"] == ["whole.png"]
    reported = {one.path.name: one.why for one in report.unreadable}
    assert set(reported) == {
        "link.md", "linked", "latin.txt", "long.txt", "broken.png", "pipe.txt",
        "\udcff.txt",
    }  # fmt: skip
    assert "link" in reported["link.md"] and "UTF-8" in reported["latin.txt"].upper()
    assert "max_bytes" in reported["long.txt"]
    left_out = {one.path.name: one.why for one in report.left_out}
    assert left_out["empty.txt"] == "it has no text in it"


@pytest.mark.parametrize("upsert", [False, True])
def test_images_that_a_loader_skips_are_reported(folder, upsert):
    for name in ("whole.png", "other.png"):
        Image.new("RGB", (4, 4)).save(folder / name)
    (folder / "broken.png").write_bytes(b"no image")
    with retrieval_store.Client() as client:
        loader = ImageLoader(on_error="skip")
        notes = client.create_collection("notes", embedding_function=embed, data_loader=loader)
        notes.add(ids="other.png", documents="before")
        report = add_folder(notes, folder, resume=not upsert, upsert=upsert)
        assert (report.added, report.updated, report.skipped) == (4, int(upsert), int(not upsert))
        assert [(one.path.name, one.why) for one in report.unreadable] == [
            ("broken.png", "the data loader can't load it")
        ]
        assert notes.count() == 5


def test_it_resumes_where_it_stopped(notes, folder):
    add_folder(notes, folder)
    (folder / "new.md").write_text("new")
    with pytest.raises(IDAlreadyExistsError, match="'a.md' is in the collection already"):
        add_folder(notes, folder)
    assert notes.count() == 3
    (folder / "a.md").write_text("another")
    report = add_folder(notes, folder, resume=True)
    assert (report.added, report.skipped) == (1, 3)
    assert notes.get(ids="a.md")["documents"] == ["# A"]
    report = add_folder(notes, folder, upsert=True)
    assert (report.added, report.updated, report.skipped) == (0, 4, 0)
    assert notes.get(ids="a.md")["documents"] == ["another"]


def test_a_collection_that_cannot_have_them_is_an_error(folder):
    Image.new("RGB", (4, 4)).save(folder / "one.png")
    with retrieval_store.Client() as client:
        plain = client.create_collection("plain", embedding_function=None)
        with pytest.raises(EmbeddingFunctionError, match="no embedding function"):
            add_folder(plain, folder)
        texts = client.create_collection("texts", embedding_function=embed)
        with pytest.raises(InvalidArgumentError, match="'one.png'.*kind='texts'"):
            add_folder(texts, folder)
        assert add_folder(texts, folder, kind="texts").added == 3
        for path, kind, why in (
            (folder / "a.md", None, "expected a folder"),
            (folder / "none", None, "expected a folder"),
            (folder, "sounds", "kind is 'sounds'"),
        ):
            with pytest.raises(InvalidArgumentError, match=why):
                add_folder(texts, path, kind=kind)


def test_texts_with_the_names_of_images_are_captions(notes, folder):
    for name, red in (("one.png", 10), ("deep/two.JPG", 20), ("deep/bare.png", 30)):
        Image.new("RGB", (4, 4), (red, red, red)).save(folder / name)
    (folder / "one.txt").write_text("a rose")
    (folder / "deep" / "two.txt").write_text("a leaf")
    (folder / "deep" / "one.txt").write_text("a text of its own")
    (folder / "deep" / "bare.txt").write_text(" \n")
    with pytest.raises(InvalidArgumentError, match="kind is 'texts'"):
        add_folder(notes, folder, kind="texts", captions=True)
    report = add_folder(notes, folder, captions=True)
    assert (report.added, report.others, report.unreadable) == (7, 2, ())
    found = notes.get(
        ids=["one.png", "deep/two.JPG", "deep/bare.png", "deep/one.txt"],
        include=["documents", "uris", "embeddings"],
    )
    assert found["documents"] == ["a rose", "a leaf", None, "a text of its own"]
    assert found["uris"][0] == str(folder / "one.png") and found["uris"][3] is None
    assert found["embeddings"][:3, 0].tolist() == [0, 0, 0]  # of the images
    assert notes.query(query_texts="rose", mode="text")["ids"] == [["one.png"]]
    (folder / "deep" / "two.txt").unlink()
    (folder / "one.txt").write_text("a tulip")
    assert add_folder(notes, folder, kind="images", captions=True, upsert=True).updated == 3
    found = notes.get(ids=["one.png", "deep/two.JPG"])
    assert found["documents"] == ["a tulip", None]


def test_images_with_captions_and_without_are_two_writes_however_they_alternate(
    notes, folder, monkeypatch
):
    for i in range(8):
        Image.new("RGB", (4, 4), (i, i, i)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text("a rose" if i % 2 else "")
    written = steps.counted(monkeypatch, "add_of_folder", lambda _, records, embed: len(records))
    assert add_folder(notes, folder, kind="images", captions=True).added == 8
    assert written == [4, 4]
    assert notes.get(ids=["2.png", "3.png"])["documents"] == [None, "a rose"]


def test_an_image_whose_caption_cannot_be_read_is_reported(notes, folder):
    for name in ("one.png", "two.png"):
        Image.new("RGB", (4, 4)).save(folder / name)
    (folder / "one.txt").write_bytes(b"\xe9\xe8")
    (folder / "two.txt").symlink_to(folder / "a.md")
    report = add_folder(notes, folder, kind="images", captions=True)
    assert report.added == 0 and report.others == 5
    assert {one.path.name for one in report.unreadable} == {"one.txt", "two.txt", "two.png"}


def test_a_file_of_characters_without_a_look_has_no_text_in_it(notes, folder):
    for name, text in (("shy.txt", "\u00ad"), ("none.md", "\u200b \ufeff\n")):
        (folder / name).write_text(text)
    report = add_folder(notes, folder)
    why = {one.path.name: one.why for one in report.left_out}
    assert why["shy.txt"] == why["none.md"] == "it has no text in it"
    assert report.added == 3
