"""From a folder of files to records with their sources."""

import hashlib
import os
import subprocess
import threading
import tracemalloc

import pytest

import retrieval_store
from integrations.files.tests.readers import files
from retrieval_store.errors import ClientClosedError, InvalidArgumentError, InvalidTypeError
from retrieval_store_files import (
    cite,
    passages_of,
    read,
    read_folder,
    sync_folder,
    with_neighbours,
)
from retrieval_store_files.readers import Section
from retrieval_store_files.readers.child import ReaderProcess
from tests.helpers import PATIENCE, steps
from tests.helpers.tuned import tuned

LONG = "A sentence about {0} that goes on for a while, so that it fills the passage. " * 8


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "guide.md").write_text(
        "# Guide\n\n" + "\n\n".join(LONG.format(one) for one in ("sails", "ropes", "knots", "wind"))
    )
    (folder / "views.pdf").write_bytes(
        files.pdf("The sea.", files.PICTURE, "The sky.", title="Views")
    )
    (folder / "word.docx").write_bytes(files.word())
    (folder / "ship.py").write_bytes(files.PROGRAM)
    (folder / "broken.xlsx").write_bytes(b"PK nothing")
    (folder / "thing.exe").write_bytes(b"x")
    return folder


class Embed:
    def __init__(self):
        self.inputs = []

    def __call__(self, texts):
        self.inputs += texts
        return [[float(len(one)), 1.0] for one in texts]


@pytest.fixture
def embed():
    return Embed()


@pytest.fixture
def notes(embed):
    with retrieval_store.Client() as client:
        yield client.create_collection("notes", embedding_function=embed)


def metadata_of(notes, point_id):
    return notes.get(ids=point_id)["metadatas"][0]


def test_every_file_is_read_or_named(notes, folder, embed):
    report = sync_folder(notes, folder)
    assert report.added == ("guide.md", "ship.py", "views.pdf", "word.docx")
    assert [(one.path.name, one.why) for one in report.left_out] == [
        ("thing.exe", "no reader for .exe")
    ]
    (broken,) = report.unreadable
    assert broken.path.name == "broken.xlsx" and "isn't a document of Office" in broken.why
    assert [one.why for one in report.gaps] == ["page 2 is a picture without text"]
    metadata = metadata_of(notes, "views.pdf#1")
    assert (metadata["page"], metadata["title"], metadata["places"]) == (3, "Views", 2)
    assert metadata_of(notes, "ship.py#2")["headings"] == ["class Ship", "def name"]
    embed.inputs.clear()
    again = sync_folder(notes, folder)
    assert again.unchanged == 4 and again.embedded == 0 and again.gaps == ()
    assert embed.inputs == []


def test_without_a_data_loader_images_are_left_out_and_named(notes, folder):
    (folder / "mast.png").write_bytes(b"x")
    report = sync_folder(notes, folder)
    assert len(report.added) == 4
    assert [(one.path.name, one.why) for one in report.left_out] == [
        ("mast.png", "an image, and the collection has no data loader"),
        ("thing.exe", "no reader for .exe"),
    ]
    for how in ({"kind": "images"}, {"captions": True}):
        with pytest.raises(InvalidArgumentError, match="has no data loader"):
            sync_folder(notes, folder, **how)


def test_hits_are_cited_and_shown_with_their_neighbours(notes, folder):
    sync_folder(notes, folder)
    assert cite(metadata_of(notes, "views.pdf#1")) == "Views (views.pdf), page 3"
    assert cite(metadata_of(notes, "word.docx#2")) == "Sailing (word.docx), Rigs > Sloop"
    assert cite(metadata_of(notes, "ship.py#2")) == "ship.py, class Ship > def name"
    start = files.PROGRAM.decode().index("import os")
    assert cite({"metadata": {"path": "a.txt", "start": start, "end": 1_200}}) == (
        f"a.txt, characters {start} to 1,200"
    )
    assert cite({"path": "a\n\x1b[1m.txt", "page": 2}).isprintable()
    for key in ("metadata", "payload"):  # which metadata may have, too
        assert cite({"path": "a.txt", key: {"x": 1}, "page": 2}) == "a.txt, page 2"
    for wrong, error in (({"page": 1}, InvalidArgumentError), (7, InvalidTypeError)):
        with pytest.raises(error, match="hit is"):
            cite(wrong)
    around, alone = with_neighbours(notes, ["guide.md#1", "views.pdf#0"])
    assert [one["id"] for one in around] == ["guide.md#0", "guide.md#1", "guide.md#2"]
    assert "ropes" in around[1]["document"] and around[1]["metadata"]["place"] == 1
    assert [one["id"] for one in alone] == ["views.pdf#0", "views.pdf#1"]
    assert [len(one) for one in with_neighbours(notes, "guide.md#1", expand=0)] == [1]
    notes.add(ids="own", documents="mine")
    assert [one["id"] for one in with_neighbours(notes, "own")[0]] == ["own"]
    with pytest.raises(InvalidArgumentError, match="no record 'gone'"):
        with_neighbours(notes, ["gone"])


def test_metadata_is_added_by_a_dict_or_a_function(notes, folder):
    sync_folder(notes, folder, metadata={"team": "crew"})
    assert metadata_of(notes, "guide.md#0")["team"] == "crew"
    assert sync_folder(notes, folder, metadata={"team": "crew"}).unchanged == 4

    def described(path, passage):
        return {"team": path.partition(".")[0], "long": len(passage.text) > 300}

    report = sync_folder(notes, folder, metadata=described)
    assert len(report.changed) == 4 and report.embedded == 0
    assert metadata_of(notes, "views.pdf#0")["team"] == "views"
    assert sync_folder(notes, folder, metadata=described).unchanged == 4
    before = notes.get()
    for wrong, error, message in (
        ({"hash": 1}, InvalidArgumentError, "the key 'hash', which a sync gives itself"),
        (lambda path, passage: 7, InvalidTypeError, "metadata is 7"),
        (lambda path, passage: {"x": object()}, InvalidArgumentError, "metadatas"),
        (7, InvalidTypeError, "metadata is 7"),
    ):
        (folder / "guide.md").write_text("other words")
        with pytest.raises(error, match=message):
            sync_folder(notes, folder, metadata=wrong)
        assert notes.get() == before


def test_metadata_keys_added_later_are_kept(notes, folder):
    guide = folder / "guide.md"
    sync_folder(notes, folder, metadata={"team": "crew"})
    ids = [f"guide.md#{i}" for i in range(4)]
    notes.update(ids, metadatas=[{"seen": i, "team": "mine"} for i in range(4)])
    assert sync_folder(notes, folder).unchanged == 4  # no function gives the key any more
    parts = guide.read_text().split("\n\n")
    guide.write_text("\n\n".join([parts[0], LONG.format("hulls"), *parts[1:]]))
    sync_folder(notes, folder, metadata={"team": "crew"})
    found = notes.get(where={"path": "guide.md"})
    seen = {one.split()[4]: reported.get("seen") for one, reported in zip(
        found["documents"], found["metadatas"], strict=True)}  # fmt: skip
    assert seen == {"hulls": None, "sails": 0, "ropes": 1, "knots": 2, "wind": 3} or (
        seen["hulls"] == 0 and seen["wind"] == 3
    )
    assert {reported["team"] for reported in found["metadatas"]} == {"crew"}
    guide.rename(folder / "manual.md")
    report = sync_folder(notes, folder)
    assert report.embedded == 0 and report.added == ("manual.md",)
    found = notes.get(where={"path": "manual.md"})
    assert sorted(reported.get("seen", -1) for reported in found["metadatas"])[-3:] == [1, 2, 3]


def test_files_are_chosen_by_patterns(notes, folder):
    (folder / "drafts").mkdir()
    (folder / "drafts" / "one.md").write_text("A draft.")
    (folder / "drafts" / "two.txt").write_text("Another.")
    assert sync_folder(notes, folder, include="*.md").added == ("drafts/one.md", "guide.md")
    report = sync_folder(notes, folder, include=["*.md", "*.pdf"], exclude=["drafts/"])
    assert (report.added, report.deleted) == (("views.pdf",), ("drafts/one.md",))
    why = {one.path.name: one.why for one in report.left_out}
    assert why["drafts"] == "in exclude" and why["ship.py"] == "not in include"
    assert "left out (4 not in include, 1 in exclude" in str(report)
    for wrong in ({"include": 7}, {"exclude": ["a", 1]}, {"gitignore": 1}, {"reader": "x"}):
        with pytest.raises(InvalidTypeError, match=next(iter(wrong))):
            sync_folder(notes, folder, **wrong)


@pytest.fixture
def tree(tmp_path):
    tree = tmp_path / "tree"
    for path in ("top.md", "top.txt", "a/one.md", "a/b/two.md", "a/b/three.txt", "b/a/four.md"):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(f"# {path}")
    return tree


LISTS = [
    "a/", "/a", "a/**/*.md", "**/*.md", "?op.md", ["*.md", "!a/b/"], ["*", "!*/", "!*.md"],
    ["a/*", "!a/b", "a/b/*", "!a/b/two.md"],
]  # fmt: skip


@pytest.mark.parametrize("patterns", LISTS, ids=str)
def test_patterns_mean_what_they_mean_to_git(notes, tree, patterns):
    every = {one.relative_to(tree).as_posix() for one in tree.rglob("*.*")}
    lines = [patterns] if isinstance(patterns, str) else patterns
    (tree / ".gitignore").write_text("\n".join(lines))
    subprocess.run(["git", "init", "-q", tree], check=True)
    listed = ["git", "ls-files", "--others", "--exclude-standard"]
    left = subprocess.run(listed, cwd=tree, capture_output=True, text=True, check=True).stdout
    kept = {*left.split("\n")} & every
    included = sync_folder(notes, tree, include=patterns, dry_run=True, allow_empty=True)
    assert {*included.added} == every - kept
    for how in ({"exclude": patterns}, {"gitignore": True}):
        report = sync_folder(notes, tree, **how, dry_run=True, allow_empty=True)
        assert {*report.added} == kept
        assert {one["metadata"]["path"] for one in read_folder(tree, **how)} == kept


def test_changed_files_excluded_by_a_pattern_are_reported_before_deletion(notes, tree, caplog):
    caplog.set_level("WARNING", "retrieval_store")
    sync_folder(notes, tree)
    (tree / "top.txt").unlink()
    assert not caplog.records
    before = notes.count()
    sync_folder(notes, tree, include="*.md", exclude="/b/", dry_run=True)
    assert notes.count() == before
    (message,) = [one.getMessage() for one in caplog.records]
    assert message == (
        "2 files are left out by a pattern now, so that their records are deleted: "
        "'a/b/three.txt', 'b/a/four.md'"
    )
    report = sync_folder(notes, tree, include="*.md", exclude="/b/")
    assert report.deleted == ("a/b/three.txt", "b/a/four.md", "top.txt")


def test_invalid_patterns_are_refused_and_skipped_in_a_file_of_git(notes, tree):
    for line in ("!", "\\"):
        with pytest.raises(InvalidArgumentError, match="include has .* expected a pattern"):
            sync_folder(notes, tree, include=["*.md", line])
    (tree / ".gitignore").write_bytes(b"\xef\xbb\xbf*.txt\n!\n\\\n/a/b\n")
    report = sync_folder(notes, tree, gitignore=True)
    assert report.added == ("a/one.md", "b/a/four.md", "top.md")


def test_records_of_files_now_ignored_by_git_are_reported_and_deleted(notes, tree, caplog):
    caplog.set_level("WARNING", "retrieval_store")
    sync_folder(notes, tree, gitignore=True)
    (tree / ".gitignore").write_text("/a/b/\ntop.md\n")
    report = sync_folder(notes, tree, gitignore=True)
    assert report.deleted == ("a/b/three.txt", "a/b/two.md", "top.md")
    (message,) = [one.getMessage() for one in caplog.records]
    assert message.startswith("3 files are left out by a pattern now")
    assert notes.get(where={"path": "top.md"})["ids"] == []


def test_a_file_that_has_become_empty_of_text_is_reported(notes, tree):
    sync_folder(notes, tree)
    (tree / "top.md").write_text(" \n")
    report = sync_folder(notes, tree)
    assert (report.deleted, report.unreadable) == (("top.md",), ())
    assert {one.path.name: one.why for one in report.left_out} == {"top.md": "it has no text in it"}
    assert "1 it has no text in it" in str(report)
    assert notes.get(where={"path": "top.md"})["ids"] == []
    reports = []
    list(read_folder(tree, on_unreadable=reports.append))
    assert ("top.md", "it has no text in it") in {(one.path.name, one.why) for one in reports}


def test_read_folder_keeps_nothing_that_it_has_yielded(tmp_path):
    for i in range(30):
        (tmp_path / f"{i}.txt").write_text(f"{i} " + "word " * 40_000)
    kept = []
    tracemalloc.start()
    for place, _ in enumerate(read_folder(tmp_path, chunk=False)):
        if place in (5, 29):
            kept.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert kept[1] - kept[0] < 5 * 200_000  # of 24 texts


def test_links_to_files_are_followed_on_request(notes, folder, tmp_path):
    (tmp_path / "outside.md").write_text("outside")
    (folder / "link.md").symlink_to(tmp_path / "outside.md")
    (folder / "lost.md").symlink_to(tmp_path / "gone.md")
    assert "link.md" not in sync_folder(notes, folder).added
    report = sync_folder(notes, folder, links=True)
    assert report.added == ("link.md",)
    assert {one.path.name for one in report.unreadable} == {"broken.xlsx", "lost.md"}


def test_a_users_own_reader_has_precedence(notes, folder):
    def reader(data, name):
        if name.endswith(".exe"):
            return [Section("what a program does", ("Programs",), page=7)]
        if name.endswith(".docx"):
            raise ValueError("no such thing")
        return None

    (folder / "thing.md").write_text("A thing.")
    report = sync_folder(notes, folder, reader=reader, exclude="*.exe")
    assert {one.path.name: one.why for one in report.unreadable}["word.docx"] == (
        "ValueError: no such thing"
    )
    assert "guide.md" in report.added
    report = sync_folder(notes, folder, reader=reader)
    assert report.added == ("thing.exe",)
    assert cite(metadata_of(notes, "thing.exe#0")) == "thing.exe, page 7, Programs"


def test_a_text_is_cut_with_overlap_and_a_file_may_be_one_record(notes, folder):
    plain = sync_folder(notes, folder)
    report = sync_folder(notes, folder, overlap=20)
    assert report.changed == plain.added
    assert sync_folder(notes, folder, overlap=20).unchanged == 4
    sync_folder(notes, folder, chunk=False)
    assert sorted(notes.get()["ids"]) == ["guide.md", "ship.py", "views.pdf", "word.docx"]
    assert notes.get(ids="views.pdf")["documents"] == ["The sea.\n\nThe sky."]
    assert sync_folder(notes, folder, chunk=False).unchanged == 4
    sync_folder(notes, folder, chunk=str.split)
    assert metadata_of(notes, "views.pdf#3")["page"] == 3


def test_overlap_is_refused_where_nothing_is_cut(notes, folder):
    text = r"overlap is 20 \(int\), but passages share words only with chunk=True"
    for chunk in (False, None, str.split):
        for use in (lambda *how, **more: sync_folder(notes, *how, **more), read_folder):
            with pytest.raises(InvalidArgumentError, match=text):
                use(folder, overlap=20, chunk=chunk)


def test_one_reads_a_folder_without_a_collection(folder):
    reports = []
    found = list(read_folder(folder, on_unreadable=reports.append, metadata={"team": "crew"}))
    assert {one["metadata"]["path"] for one in found} == {
        "guide.md", "ship.py", "views.pdf", "word.docx",
    }  # fmt: skip
    assert all(one["metadata"]["team"] == "crew" for one in found)
    assert [one.path.name for one in reports] == ["broken.xlsx", "views.pdf"]
    guide = [one["document"] for one in found if one["id"].startswith("guide")]
    assert guide == passages_of((folder / "guide.md").read_text(), heading="guide")
    with pytest.raises(InvalidArgumentError, match="expected a folder"):
        read_folder(folder / "guide.md")


def test_a_folder_is_watched(notes, folder):
    reports, came = [], threading.Condition()

    class EnoughError(Exception):
        pass

    def on_each(report):
        with came:
            reports.append(report)
            came.notify()
            if "last.md" in report.added:
                raise EnoughError

    def watch():
        with pytest.raises(EnoughError):
            sync_folder(notes, folder, watch=True, on_report=on_each)

    thread = threading.Thread(target=watch)
    thread.start()
    with came:
        assert came.wait_for(lambda: reports, PATIENCE)
    (folder / "new.md").write_text("new")
    with came:
        assert came.wait_for(lambda: any("new.md" in one.added for one in reports), PATIENCE)
    (folder / "last.md").write_text("last")
    thread.join(PATIENCE)
    assert not thread.is_alive() and notes.get(ids=["new.md#0", "last.md#0"])["ids"]


def test_records_of_unlisted_files_are_found_without_reading_all_others(notes, folder, monkeypatch):
    looks, seen = [], []

    class Listed(list):
        def __iter__(self):
            looks.append(1)
            return super().__iter__()

    def found(find, *arguments):
        files = find(*arguments)
        files.ids = Listed(files.ids)
        return files

    steps.around(monkeypatch, "find_files_to_sync", found)
    for number in (1, 30):
        for i in range(number):
            (folder / f"{i}.note").write_text(f"the note {i}")
        sync_folder(notes, folder, reader=lambda data, name: name if ".note" in name else None)
        looks.clear()
        sync_folder(notes, folder)  # by no reader that knows such files
        seen.append(len(looks))
    assert seen[0] == seen[1] > 0


@pytest.mark.parametrize("size", [7, 8, 9])
def test_synced_records_are_read_in_pages(notes, folder, monkeypatch, size):
    tuned(monkeypatch, synced_records_at_once=size)
    for i in range(20):
        (folder / f"{i}.txt").write_text(f"the note {i}")
    first = sync_folder(notes, folder)
    before = notes.get(include=["metadatas"])
    assert len(first.added) >= 20
    again = sync_folder(notes, folder)
    assert not again.added and not again.deleted
    assert notes.get(include=["metadatas"]) == before


class Changes:
    """The changes that `watchfiles.watch` reports; here the steps of a test."""

    def __init__(self, monkeypatch, steps):
        self.looks, self.steps = 0, iter(steps)
        monkeypatch.setattr("watchfiles.watch", self.watch)

    def watch(self, folder, **how):
        self.looks += 1
        yield set()
        for step in self.steps:
            yield step() or set()


def test_a_watched_folder_is_synced_again_after_a_sync_that_failed(
    notes, folder, monkeypatch, caplog
):
    away = folder.with_name("away")

    def leave():
        folder.rename(away)
        folder.mkdir()
        return {"all of it"}

    def come_back():
        folder.rmdir()
        away.rename(folder)
        (folder / "new.md").write_text("new")

    wait = [lambda: None] * 29
    changes = Changes(monkeypatch, [leave, *wait, lambda: None, come_back, *wait, lambda: None])
    reports = []
    last = sync_folder(notes, folder, watch=True, on_report=reports.append)
    assert reports[1:] == [last] and last.added == ("new.md",) and last.deleted == ()
    reported = [one.message for one in caplog.records if "isn't in step" in one.message]
    assert len(reported) == 2 and all("has no texts in it" in one for one in reported)
    assert changes.looks == 3  # the folder is another one each time


def test_a_watch_ends_with_its_client(folder, monkeypatch):
    with retrieval_store.Client() as client:
        notes = client.create_collection(
            "notes", embedding_function=lambda texts: [[1]] * len(texts)
        )

        def close():
            client.close()
            return {"any"}

        Changes(monkeypatch, [close])
        with pytest.raises(ClientClosedError):
            sync_folder(notes, folder, watch=True)


@pytest.mark.parametrize("path", ["absent", "guide.md"])
def test_a_path_that_is_no_folder_is_not_watched(notes, folder, path):
    with pytest.raises(InvalidArgumentError, match=f"path is '.*{path}', expected a folder to"):
        sync_folder(notes, folder / path, watch=True, allow_empty=True)


def test_a_watched_file_is_read_again_regardless_of_its_times(folder, monkeypatch):
    """Files that are unchanged by the system's stamps aren't read again, and no change is
    missed."""
    tuned(monkeypatch, settled_after=0)
    path, hashes, how = folder / "guide.md", {}, read.HowRead("folder")

    def digest():
        made = []
        with ReaderProcess() as process:
            reader = read.RecordReader(folder, how, process, hashes)
            reader.read("guide.md", lambda metadata: made.append(metadata["hash"]) or True)
        return made[0]

    def is_right():
        return digest() == hashlib.sha256(path.read_bytes()).hexdigest()

    assert is_right()
    hashes["guide.md"] = (hashes["guide.md"][0], "as it was")
    assert digest() == "as it was"
    was, text = path.stat(), path.read_text()
    path.write_text(text[:-1] + "x")  # as long, and as old as before
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert is_right()
    other = folder / "other.md"
    other.write_text(text)
    os.utime(other, ns=(was.st_atime_ns, was.st_mtime_ns))
    other.replace(path)
    assert is_right()


def test_a_file_that_was_changed_just_now_is_read_again(folder):
    hashes, how = {}, read.HowRead("folder")
    (folder / "guide.md").write_text("new")
    with ReaderProcess() as process:
        read.RecordReader(folder, how, process, hashes).read("guide.md", lambda made: True)
    assert hashes == {}
