"""A collection is kept in sync with a folder, whatever happens to either."""

import os
import random
from itertools import count

import numpy as np
import pytest
from PIL import Image

import retrieval_store
from integrations.files.tests.readers import files
from retrieval_store import ImageLoader
from retrieval_store.errors import (
    ConflictError,
    DataLoaderError,
    EmbeddingFunctionError,
    IDAlreadyExistsError,
    InvalidArgumentError,
    InvalidTypeError,
)
from retrieval_store_files import add_folder, passages_of, sync_folder
from tests.helpers import inside, steps

EVERYTHING = ["documents", "metadatas", "uris", "embeddings"]
PARAGRAPH = (
    "It has so many words that no other paragraph has to be beside it at all, said {0}. " * 6
)


class Embed:
    """The length of a text, the mean of an image; records its inputs."""

    def __init__(self):
        self.inputs = []

    def __call__(self, inputs):
        self.inputs += inputs
        return [[len(one), 1] if isinstance(one, str) else [1, np.mean(one)] for one in inputs]


@pytest.fixture
def embed():
    return Embed()


@pytest.fixture
def make(embed):
    """Makes collections in memory."""
    numbers = count()
    with retrieval_store.Client() as client:
        yield lambda: client.create_collection(
            f"notes{next(numbers)}", embedding_function=embed, data_loader=ImageLoader()
        )


@pytest.fixture
def notes(make):
    return make()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    write(folder / "a.md", "# A\n\none")
    write(folder / "deep" / "b.txt", PARAGRAPH.format("b") + "\n\n" + PARAGRAPH.format("c"))
    paint(folder / "red.png", 10)
    (folder / "program.exe").write_text("no")
    return folder


def write(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def paint(path, grey):
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (2, 2), (grey,) * 3).save(path)


def state(collection):
    """The whole content, by ids."""
    found = collection.get(include=EVERYTHING)
    columns = (found["documents"], found["metadatas"], found["uris"], found["embeddings"].tolist())
    return dict(zip(found["ids"], zip(*columns, strict=True), strict=True))


def test_new_changed_and_deleted_files_are_synced(notes, folder, embed):
    report = sync_folder(notes, folder)
    assert report.added == ("a.md", "deep/b.txt", "red.png")
    assert str(report) == (
        "3 added, 0 changed, 0 deleted, 0 unchanged, 1 left out (1 no reader for .exe); 4 embedded"
    )
    assert sorted(state(notes)) == ["a.md#0", "deep/b.txt#0", "deep/b.txt#1", "red.png"]
    document, metadata, _, _ = state(notes)["deep/b.txt#1"]
    assert document.startswith("b: It has so many words") and document.endswith("said c.")
    assert (metadata["path"], metadata["place"]) == ("deep/b.txt", 1)
    assert metadata["source"] == str(folder) and len(metadata["hash"]) == 64
    embed.inputs.clear()
    report = sync_folder(notes, folder)
    assert (report.unchanged, report.added, report.changed, embed.inputs) == (3, (), (), [])
    write(folder / "deep" / "b.txt", PARAGRAPH.format("b"))
    (folder / "a.md").unlink()
    paint(folder / "red.png", 20)
    paint(folder / "new" / "blue.png", 30)
    report = sync_folder(notes, folder)
    assert (report.added, report.deleted) == (("new/blue.png",), ("a.md",))
    assert report.changed == ("deep/b.txt", "red.png") and report.embedded == 2
    assert sorted(state(notes)) == ["deep/b.txt#0", "new/blue.png", "red.png"]
    assert state(notes)["red.png"][3] == [1, 20]
    assert not [one for one in embed.inputs if isinstance(one, str)]  # the passage is as before


def test_moved_text_is_not_embedded_again(notes, make, folder, embed, tmp_path):
    paint(folder / "still.png", 50)
    sync_folder(notes, folder, name="mine")
    before = sorted((text or "", vector) for text, _, _, vector in state(notes).values())
    (folder / "deep").rename(folder / "deeper")
    (folder / "red.png").rename(folder / "deeper" / "scarlet.png")
    folder = folder.rename(tmp_path / "elsewhere")
    embed.inputs.clear()
    report = sync_folder(notes, folder, name="mine")
    assert embed.inputs == [] and report.embedded == 0
    assert report.added == ("deeper/b.txt", "deeper/scarlet.png")
    after = sorted((text or "", vector) for text, _, _, vector in state(notes).values())
    assert after == before
    assert state(notes)["deeper/scarlet.png"][2] == str(folder / "deeper" / "scarlet.png")
    assert_as_fresh(notes, make, folder, name="mine")


def assert_as_fresh(collection, make, folder, **how):
    """The collection equals the result of a sync into an empty one."""
    fresh = make()
    sync_folder(fresh, folder, allow_empty=True, **how)
    assert state(collection) == state(fresh)


def test_pages_that_are_pictures_are_records_of_their_own(notes, make, folder, embed):
    (folder / "scan.pdf").write_bytes(files.pdf("typed words", files.PICTURE, files.PICTURE))
    (folder / "all.pdf").write_bytes(files.pdf(files.PICTURE))
    report = sync_folder(notes, folder)
    made = state(notes)
    assert {name for name in made if ".pdf" in name} == {
        "scan.pdf#0", "scan.pdf#page=2", "scan.pdf#page=3", "all.pdf#page=1",
    }  # fmt: skip
    document, metadata, uri, vector = made["scan.pdf#page=3"]
    assert (document, metadata["page"]) == (None, 3)
    assert uri == f"{folder / 'scan.pdf'}#page=3"
    assert vector[0] == 1 and vector[1] < 255  # the page's content, not white paper
    assert [gap.why for gap in report.gaps if gap.path.name == "all.pdf"] == [
        "page 1 is a picture without text"
    ]
    assert_as_fresh(notes, make, folder)
    embed.inputs.clear()
    (folder / "scan.pdf").rename(folder / "moved.pdf")
    report = sync_folder(notes, folder)
    assert (report.added, report.deleted, embed.inputs) == (
        ("moved.pdf",),
        ("scan.pdf",),
        ["moved: typed words"],  # no picture
    )
    read = sync_folder(notes, folder, ocr=lambda picture: "a stamp")
    assert read.changed == ("all.pdf", "moved.pdf") and read.gaps == ()
    assert state(notes)["all.pdf#0"][0] == "all: a stamp"
    assert not any("#page=" in name for name in state(notes))


def test_a_file_of_which_several_pages_cannot_be_drawn_is_reported_once(notes, folder, monkeypatch):
    steps.fail(monkeypatch, "draw_page", DataLoaderError("it can't be drawn"))
    (folder / "scan.pdf").write_bytes(files.pdf(*[files.PICTURE] * 3))
    report = sync_folder(notes, folder)
    assert [file.why for file in report.unreadable] == ["it can't be drawn"]
    assert "scan.pdf" not in report.added


def test_passwords_open_encrypted_files(notes, folder):
    (folder / "locked.pdf").write_bytes(files.encrypted_pdf("a hidden heron"))
    (unreadable,) = sync_folder(notes, folder).unreadable
    assert unreadable.why == "it is encrypted, and requires a password"
    assert sync_folder(notes, folder, passwords=["secret"]).added == ("locked.pdf",)
    assert "secret" not in repr(state(notes))
    for wrong in ("secret", [7], None):
        with pytest.raises(InvalidTypeError, match="passwords"):
            sync_folder(notes, folder, passwords=wrong)


def test_captions_change_without_their_pictures(notes, make, folder, embed):
    write(folder / "red.txt", "a rose")
    sync_folder(notes, folder)
    assert "red.txt#0" in state(notes)
    report = sync_folder(notes, folder, captions=True)
    assert (report.changed, report.deleted) == (("red.png",), ("red.txt",))
    assert state(notes)["red.png"][0] == "a rose"
    assert notes.query(query_texts="rose", mode="text")["ids"] == [["red.png"]]
    embed.inputs.clear()
    write(folder / "red.txt", "a tulip")
    sync_folder(notes, folder, captions=True)
    assert state(notes)["red.png"][0] == "a tulip" and embed.inputs == []
    (folder / "red.txt").write_bytes(b"\xff\0\x80")
    report = sync_folder(notes, folder, captions=True)
    assert "its caption 'red.txt': it isn't a text" in report.unreadable[0].why
    assert state(notes)["red.png"][0] == "a tulip"
    (folder / "red.txt").unlink()
    sync_folder(notes, folder, captions=True)
    assert state(notes)["red.png"][0] is None and embed.inputs == []
    assert_as_fresh(notes, make, folder, captions=True)


def test_texts_are_split_as_requested(notes, make, folder):
    for how in (
        {"chunk": None},
        {"chunk": str.split},
        {"chunk": True},
        {"chunk": False, "kind": None},
        {"chunk": lambda text: ["one", " ", "two"]},
    ):
        sync_folder(notes, folder, **how)
        assert_as_fresh(notes, make, folder, **how)
    assert [one for one in state(notes) if "a.md" in one] == ["a.md#0", "a.md#1"]
    for chunk, message in ((7, "chunk is 7"), (lambda text: text, "chunk has returned '# A")):
        with pytest.raises(InvalidTypeError, match=message):
            sync_folder(notes, folder, chunk=chunk)


def test_only_records_of_this_folder_are_touched(notes, folder, tmp_path):
    write(tmp_path / "other" / "c.md", "of another folder")
    sync_folder(notes, tmp_path / "other")
    mine = {"source": str(folder)}
    notes.add(
        ids=["x", "gone.md", "gone.md#x", "gone.md#0"],
        documents=["mine"] * 4,
        metadatas=[
            mine,
            {**mine, "path": "gone.md"},
            {**mine, "path": "gone.md", "hash": "0" * 64, "text_hash": "0" * 64},
            {"path": "gone.md", "hash": "0" * 64, "text_hash": "0" * 64},
        ],
    )
    others = state(notes)
    sync_folder(notes, folder)
    (folder / "a.md").unlink()
    sync_folder(notes, folder)
    assert others.items() <= state(notes).items() and "a.md#0" not in state(notes)
    sync_folder(notes, folder, kind="texts")
    assert "red.png" in state(notes)


@pytest.mark.parametrize("path", ["../x.md", "/x.md", "a/../x.md", "x\0.md", "./x.md", "x" * 999])
def test_a_stored_path_outside_is_not_followed(notes, folder, path):
    write(folder.parent / "x.md", "outside")
    sync_folder(notes, folder)
    fields = dict(state(notes)["a.md#0"][1])
    notes.add(ids=path, documents="odd", metadatas={**fields, "path": path})
    sync_folder(notes, folder)
    assert state(notes)[path][0] == "odd"


def test_links_and_pipes_are_reported_and_not_followed(notes, folder):
    write(folder.parent / "outside.md", "outside")
    (folder / "link.md").symlink_to(folder.parent / "outside.md")
    (folder / "linked").symlink_to(folder.parent)
    os.mkfifo(folder / "pipe.txt")
    report = sync_folder(notes, folder)
    assert {one.path.name for one in report.unreadable} == {"link.md", "linked", "pipe.txt"}
    assert len(state(notes)) == 4


def test_an_id_that_another_record_has_is_an_error_before_anything_is_written(notes, folder):
    notes.add(ids="deep/b.txt#1", documents="mine")
    before = state(notes)
    for how in ({}, {"dry_run": True}):
        with pytest.raises(IDAlreadyExistsError, match=r"'deep/b.txt#1' .* nothing was written"):
            sync_folder(notes, folder, **how)
    assert state(notes) == before


def test_a_record_added_meanwhile_is_not_replaced(folder, embed):
    def intruding(inputs):
        if not len(notes):
            vector = embed(["mine"])
            notes.add("red.png", vector, documents="mine")
        return embed(inputs)

    notes = retrieval_store.Client().create_collection(
        "notes", embedding_function=intruding, data_loader=ImageLoader()
    )
    with pytest.raises(IDAlreadyExistsError, match="while the folder was read"):
        sync_folder(notes, folder)
    assert state(notes)["red.png"][0] == "mine"


def test_a_record_that_replaces_an_own_one_meanwhile_is_not_replaced(folder):
    intruders = []

    def embed(texts):
        if intruders:
            notes.delete(ids=intruders)
            notes.add(intruders, [[0.0, 1.0]], [{"mine": 1}])
            intruders.clear()
        return [[float(len(text)), 1.0] for text in texts]

    client = retrieval_store.Client()
    notes = client.create_collection("notes", embedding_function=embed)
    sync_folder(notes, folder / "deep", kind="texts")
    write(folder / "deep" / "b.txt", "other words than before")
    intruders += ["b.txt#0"]
    report = sync_folder(notes, folder / "deep", kind="texts")
    assert notes.get("b.txt#0")["metadatas"] == [{"mine": 1}]
    (unreadable,) = report.unreadable
    assert "was given to another record meanwhile" in unreadable.why
    assert not report.changed


def test_a_path_may_contain_parent_folders(notes, folder):
    sync_folder(notes, folder)
    for path in (f"{folder}/../{folder.name}", f"{folder}/.", f"{folder}//"):
        assert sync_folder(notes, path).unchanged == sync_folder(notes, folder).unchanged > 0


def test_folders_with_files_of_the_same_names_have_prefixes(notes, make, folder, tmp_path):
    for name in ("one", "two"):
        write(tmp_path / name / "index.md", f"# {name}\n\nwords")
        if name == "two":
            text = r"of the source '.*/one', not of '.*/two'.*name=.*prefix="
            with pytest.raises(IDAlreadyExistsError, match=text):
                sync_folder(notes, tmp_path / name)
        sync_folder(notes, tmp_path / name, prefix="" if name == "one" else "two/")
    assert notes.get()["ids"] == ["index.md#0", "two/index.md#0"]
    assert sync_folder(notes, tmp_path / "two", prefix="two/").unchanged == 1
    (tmp_path / "two" / "index.md").unlink()
    sync_folder(notes, tmp_path / "two", prefix="two/", allow_empty=True)
    assert notes.get()["ids"] == ["index.md#0"]
    moved = sync_folder(notes, tmp_path / "one", prefix="first/")  # which embeds nothing
    assert notes.get()["ids"] == ["first/index.md#0"] and not moved.embedded
    with pytest.raises(InvalidTypeError, match="prefix is 5"):
        sync_folder(notes, tmp_path / "one", prefix=5)


def test_another_running_sync_is_reported(notes, folder, monkeypatch):
    begun = []

    def late(known, collection, name):
        found = known(collection, name)
        if not begun:
            begun.append(True)
            sync_folder(collection, folder)
        return found

    steps.around(monkeypatch, "read_known_files", late)
    with pytest.raises(ConflictError, match="another sync of .* is under way"):
        sync_folder(notes, folder)


def test_a_missing_folder_deletes_nothing_unless_requested(notes, folder, tmp_path):
    sync_folder(notes, folder)
    before = state(notes)
    folder.rename(tmp_path / "unmounted")
    for is_there in (False, True):
        if is_there:
            folder.mkdir()
            (folder / "program.exe").write_text("no")
        with pytest.raises(InvalidArgumentError, match="allow_empty=True"):
            sync_folder(notes, folder)
        assert state(notes) == before
    report = sync_folder(notes, folder, allow_empty=True, dry_run=True)
    assert str(report).startswith("would be: 0 added, 0 changed, 3 deleted")
    assert state(notes) == before
    folder.joinpath("program.exe").unlink()
    folder.rmdir()
    assert len(sync_folder(notes, folder, allow_empty=True).deleted) == 3
    assert state(notes) == {}


def test_nothing_is_reported_if_nothing_is_lost(notes, folder, tmp_path):
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "a.png").write_bytes(b"")
    (tmp_path / "bare" / "b.bin").write_bytes(b"")
    for place, kind, why in (
        ("nowhere", None, "nowhere' isn't there"),
        ("nowhere", "texts", "nowhere' isn't there"),
        ("bare", "texts", r"has no texts in it \(2 left out: 1 an image, 1 no reader for .bin\)"),
    ):
        with pytest.raises(InvalidArgumentError, match=why + "$"):
            sync_folder(notes, tmp_path / place, kind=kind)
    sync_folder(notes, folder)
    with pytest.raises(InvalidArgumentError, match="nowhere' isn't there$"):  # of another source
        sync_folder(notes, tmp_path / "nowhere")
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "a.md").write_text("words")
    sync_folder(notes, tmp_path / "words", prefix="words/")
    with pytest.raises(InvalidArgumentError, match=r"has no images in it \([^)]*\)$"):
        sync_folder(notes, tmp_path / "words", kind="images")  # there are records of texts only
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(InvalidArgumentError, match="so that all its records would be deleted"):
        sync_folder(notes, folder)


def test_unreadable_files_keep_their_records_and_are_reported(notes, folder, monkeypatch):
    write(folder / "deep" / "er" / "d.md", "D")
    write(folder / "e.md", "E")
    sync_folder(notes, folder)
    before = state(notes)
    (folder / "a.md").write_bytes(b"\xff\0\x80")
    (folder / "red.png").write_bytes(b"no image")
    (folder / "e.md").write_text(" \n")
    scandir = os.scandir

    def refusing(path):
        if os.fspath(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    report = sync_folder(notes, folder)
    reported = {one.path.relative_to(folder).as_posix(): one.why for one in report.unreadable}
    assert set(reported) == {"a.md", "red.png", "deep"}
    assert reported["deep"] == "Permission denied"
    assert {one.path.name: one.why for one in report.left_out}["e.md"] == "it has no text in it"
    assert (report.deleted, report.changed) == (("e.md",), ())  # read, and nothing is in it
    del before["e.md#0"]
    assert state(notes) == before
    (folder / "deep").rename(folder.parent / "away")
    (folder / "deep").mkdir()
    assert sync_folder(notes, folder).deleted == () and state(notes) == before
    monkeypatch.setattr(os, "scandir", scandir)
    (folder / "deep").rmdir()
    (folder.parent / "away").rename(folder / "hid")
    (folder / "deep").symlink_to(folder / "hid")
    assert sync_folder(notes, folder).added == ("hid/b.txt", "hid/er/d.md")


def test_a_file_whose_existence_is_unknown_is_not_missing(notes, folder, monkeypatch):
    sync_folder(notes, folder)
    before = state(notes)
    (folder / "a.md").unlink()
    lstat = os.lstat

    def failing(path, **given):
        if os.fspath(path).endswith("a.md"):
            raise OSError(5, "Input/output error")
        return lstat(path, **given)

    monkeypatch.setattr(os, "lstat", failing)
    monkeypatch.setattr("pathlib.Path.lstat", failing)
    report = sync_folder(notes, folder)
    assert [one.why for one in report.unreadable] == ["Input/output error"]
    assert state(notes) == before


def test_files_changed_meanwhile_are_left_for_the_next_sync(notes, make, folder):
    def lines(text):
        if "said b" in text and meanwhile:
            write(folder / "a.md", meanwhile.pop())
        return text.splitlines()

    meanwhile = []
    sync_folder(notes, folder, chunk=lines)
    before = state(notes)
    write(folder / "a.md", "two")
    meanwhile = ["three"]
    report = sync_folder(notes, folder, chunk=lines)
    assert [one.why for one in report.unreadable] == ["it changed while it was being read"]
    assert report.changed == () and state(notes) == before
    meanwhile = [" "]  # which makes no record
    report = sync_folder(notes, folder, chunk=lines)
    assert [one.why for one in report.unreadable] == ["it changed while it was being read"]
    assert report.changed == () and state(notes) == before
    (folder / "a.md").unlink()
    meanwhile = ["four"]
    assert sync_folder(notes, folder, chunk=lines).deleted == ()  # it has come again
    assert state(notes) == before
    sync_folder(notes, folder, chunk=lines)
    assert_as_fresh(notes, make, folder, chunk=lines)


@pytest.mark.parametrize("prefix", ["", "guide/"])
def test_images_skipped_by_a_loader_are_reported(folder, embed, prefix):
    (folder / "bad.png").write_bytes(b"no image")
    with retrieval_store.Client() as client:
        loader = ImageLoader(on_error="skip")
        notes = client.create_collection("notes", embedding_function=embed, data_loader=loader)
        report = sync_folder(notes, folder, prefix=prefix)
        assert "bad.png" not in report.added and "red.png" in report.added
        assert [one.path for one in report.unreadable] == [folder / "bad.png"]
        assert f"{prefix}bad.png" not in state(notes)


def test_it_is_refused_where_it_cannot_be(make, folder, tmp_path):
    with (
        retrieval_store.Client() as client,
        pytest.raises(EmbeddingFunctionError, match="no embedding function"),
    ):
        sync_folder(client.create_collection("plain", embedding_function=None), folder)
    for how, error, message in (
        ({"kind": "sounds"}, InvalidArgumentError, "kind is 'sounds'"),
        ({"captions": True, "kind": "texts"}, InvalidArgumentError, "captions are of images"),
        ({"name": ""}, InvalidTypeError, "name is ''"),
        ({"dry_run": 1}, InvalidTypeError, "dry_run is 1"),
        ({"batch": 0}, InvalidArgumentError, "batch is 0"),
    ):
        with pytest.raises(error, match=message):
            sync_folder(make(), folder, **how)
    with pytest.raises(InvalidArgumentError, match="expected a folder"):
        sync_folder(make(), folder / "a.md", allow_empty=True)


def test_earlier_records_are_not_the_synced_folders_own(notes, folder):
    add_folder(notes, folder)
    with pytest.raises(IDAlreadyExistsError, match=r"red\.png"):
        sync_folder(notes, folder)


# Every step at which it can be interrupted


class Killed(BaseException):
    pass


def killing(collection, when, after):
    """Make the writing call of this number raise, before or after it has written."""
    numbers = count()

    def wrap(method):
        def call(*args, **given):
            is_it = next(numbers) == when
            if is_it and not after:
                raise Killed
            result = method(*args, **given)
            if is_it:
                raise Killed
            return result

        return call

    points = inside.points(collection)  # which all that is written goes through
    for name in ("put", "delete"):
        setattr(points, name, wrap(getattr(type(points), name).__get__(points)))


@pytest.mark.parametrize("after", [False, True])
def test_broken_off_at_any_write_the_next_time_mends_it(make, folder, after):
    whole, ended = {"batch": 1, "captions": True}, False
    for when in range(30):
        notes = make()
        notes.add(ids="foreign", documents="mine", metadatas={"source": str(folder)})
        for path in folder.rglob("*.md"):
            path.unlink()
        write(folder / "one.md", "\n\n".join(map(PARAGRAPH.format, "abc")))
        write(folder / "two.md", "\n\n".join(map(PARAGRAPH.format, "xyz")))
        write(folder / "red.txt", "a rose")
        sync_folder(notes, folder, **whole)
        write(folder / "one.md", "\n\n".join(map(PARAGRAPH.format, "bd")))
        (folder / "two.md").rename(folder / "three.md")
        write(folder / "red.txt", "a tulip")
        killing(notes, when, after)
        try:
            sync_folder(notes, folder, **whole)
            ended = True
        except Killed:
            killing(notes, -1, after)
            sync_folder(notes, folder, **whole)
        killing(notes, -1, after)
        notes.delete(ids="foreign")
        assert_as_fresh(notes, make, folder, captions=True)
        if ended:
            break
    assert ended and when > 5


# Random histories


def changed(chance, folder):
    """A random change of a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    name = chance.choice(
        ["a.md", "b.txt", "b.png", "c/d.rst", "c/e.png", "c/e.txt", "x.py", "x.exe"]
    )
    text = "\n\n".join(PARAGRAPH.format(chance.choice("uvw")) for _ in range(chance.randrange(4)))
    match chance.randrange(5):
        case 0 if paths:
            chance.choice(paths).unlink()
        case 1 if paths:
            target = folder / name
            target.parent.mkdir(exist_ok=True)
            path = chance.choice(paths)
            if path.suffix == target.suffix:
                path.rename(target)
        case 2 if (folder / "c").is_dir() and not (folder / "z").exists():
            (folder / "c").rename(folder / "z")
        case _ if name.endswith(".png"):
            paint(folder / name, chance.randrange(3) * 50)
        case _:
            write(folder / name, text)


@pytest.mark.parametrize("seed", range(3))
def test_a_sync_after_any_history_equals_a_first_sync(make, tmp_path, seed):
    chance = random.Random(seed)
    folder = tmp_path / "folder"
    folder.mkdir()
    notes = make()
    notes.add(ids=["own", "c/own.md#0"], documents=["x", "y"], metadatas=[{"source": "f"}, None])
    own = state(notes)
    for _ in range(5):
        for _ in range(chance.randrange(1, 5)):
            changed(chance, folder)
        how = {"captions": chance.random() < 0.5, "batch": chance.choice([1, 3, 100])}
        how["chunk"] = chance.random() < 0.8
        sync_folder(notes, folder, name="f", allow_empty=True, **how)
        fresh = make()
        sync_folder(fresh, folder, name="f", allow_empty=True, captions=how["captions"],
                    chunk=how["chunk"])  # fmt: skip
        assert state(notes) == {**own, **state(fresh)}


@pytest.fixture(params=["disk", "served", "cluster"])
def elsewhere(request, tmp_path):
    if request.param == "disk":
        with retrieval_store.Client(tmp_path / "store") as client:
            yield client
    else:
        yield request.getfixturevalue(request.param)


def test_collections_of_every_kind_are_updated(elsewhere, make, folder, embed):
    notes = elsewhere.create_collection(
        "notes", embedding_function=embed, data_loader=ImageLoader()
    )
    write(folder / "red.txt", "a rose")
    for step in range(3):
        sync_folder(notes, folder, captions=True)
        assert_as_fresh(notes, make, folder, captions=True)
        if step == 0:
            write(folder / "red.txt", "a tulip")
            write(folder / "deep" / "b.txt", PARAGRAPH.format("c"))
            (folder / "a.md").rename(folder / "z.md")


# Passages


def test_passages_have_their_heading_and_so_many_words():
    words = [f"w{i}" for i in range(1_000)]
    text = "# The\theading\n\n" + "\n\n".join(" ".join(words[i : i + 7]) for i in range(0, 700, 7))
    found = passages_of(text + "\n\n" + " ".join(words[700:]), 40, 10)
    assert all(one.startswith("The\theading: ") for one in found)
    assert all(10 <= len(one.split()) <= 40 for one in found)
    assert " ".join(one.removeprefix("The\theading: ") for one in found).split() == words
    assert passages_of("# Only a heading") == ["Only a heading"]
    assert passages_of("x", heading="notes") == ["notes: x"] and passages_of(" \n\n ") == []
    assert passages_of("# One\ntwo\n\nthree") == ["One: two\n\nthree"]
    long = passages_of("a b", 10, heading="h " * 100)
    assert long == ["h h h h h: a b"]


def test_texts_are_split_at_headings_of_every_level_which_precede_each_passage():
    guide = """# Guide

Read this first.

## Install

### Windows ###

Run the setup.
```sh
# a comment, no heading

pip install it
```

### Linux
## Use
"""
    found = passages_of(guide, heading="guide")
    assert found == [
        "Guide: Read this first.",
        "Guide > Install > Windows: Run the setup.\n```sh\n# a comment, no heading\n\n"
        "pip install it\n```",
        "Guide > Install > Linux",
        "Guide > Use",
    ]
    assert passages_of("Words.\n\n## Part\r\n\nMore.\n\n# Next\n\nEnd.", heading="book") == [
        "book: Words.",
        "book > Part: More.",
        "book > Next: End.",
    ]
    assert passages_of("#tag\n\n#! /bin/sh") == ["#tag\n\n#! /bin/sh"]
    deep = "".join(f"{'#' * level} {'heading ' * 4}{level}\n" for level in range(1, 7))
    *above, last = passages_of(f"{deep}a b c", 20)
    assert last == f"{'heading ' * 4}6: a b c"
    assert all(f"{'heading ' * 4}{level}" in " ".join(above) for level in (1, 2, 4, 5))


def test_headings_may_be_underlined():
    guide = """*******
The API
*******

Read this first.

Install
=======
On Windows
----------

Run it.

| a | b |
|---|---|

A sentence that is longer than the rule.
^^^

One line
of a paragraph
--------------

Use
===
Go.
"""
    assert passages_of(guide, heading="api") == [
        "The API: Read this first.",
        "The API > Install > On Windows: Run it.\n\n| a | b |\n|---|---|\n\n"
        "A sentence that is longer than the rule.\n^^^\n\nOne line\nof a paragraph\n--------------",
        "The API > Use: Go.",
    ]
    assert passages_of("# Guide\n\nPart\n----\nWords.\n\n---\n\n===") == [
        "Guide > Part: Words.\n\n---\n\n===",
    ]


def test_an_embedding_function_reads_all_of_each_passage():
    embed = retrieval_store.WordLlamaEmbedding()
    code = "\n".join(
        f"x_{i} = f(a[{i}], -{i}.5e-{i}) != {{None: '\u00df\u4f60'}}" for i in range(300)
    )
    text = f"# Code\n\n{code}\n\n## Words\n\n{'sea ship sails ' * 300}\n\nShort.\n"
    assert max(embed.count_tokens(passages_of(text))) > 256
    found = passages_of(text, function=embed)
    assert 200 < max(embed.count_tokens(found)) <= 256
    whole = "".join(one.partition(": ")[2] for one in found)
    assert "".join(whole.split()) == "".join(code.split()) + "seashipsails" * 300 + "Short."
    assert max(embed.count_tokens(passages_of(text, 40, function=embed))) <= 40 * 4 // 3 + 1
    assert max(embed.count_tokens(passages_of(text, function=embed, overlap=40))) <= 256


def test_a_function_without_token_counts_gets_shorter_passages():
    def embed(texts):
        return [[1.0] for _ in texts]

    embed.max_tokens = 40
    assert {len(one.split()) for one in passages_of("word " * 100, function=embed)} == {30, 10}
    embed.count_tokens = lambda texts: [2 + 2 * len(one.split()) for one in texts]
    assert {len(one.split()) for one in passages_of("word " * 100, function=embed)} == {19, 5}
    embed.count_tokens = None
    assert {len(one.split()) for one in passages_of("word " * 100, function=embed)} == {30, 10}


def test_front_matter_is_left_out_but_for_its_title():
    page = '---\ntitle: "Install it"\ntags: [a]\n---\n\n'
    assert passages_of(page + "Run it.") == ["Install it: Run it."]
    assert passages_of("\ufeff" + page + "# Own\n\nRun it.") == ["Install it > Own: Run it."]
    assert passages_of("---\nno end\n\nwords") == ["---\nno end\n\nwords"]


def test_texts_without_spaces_are_cut_too():
    assert [len(one) for one in passages_of("春" * 100, 40)] == [40, 40, 20]
    assert max(len(one) for one in passages_of("x" * 10_000, 40)) <= 40 * 24
    for wrong in (3, 0, 1.5):
        with pytest.raises(InvalidArgumentError, match="longest is"):
            passages_of("x", wrong)
    with pytest.raises(InvalidArgumentError, match="shortest is 50, but longest 40"):
        passages_of("x", 40, 50)
    with pytest.raises(InvalidTypeError, match="text is 7"):
        passages_of(7)
