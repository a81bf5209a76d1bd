"""The journal of a copy is a record: whatever its content, no collection of others is touched."""

import uuid

import pytest

import retrieval_store
from integrations.cluster.tests.copying.test_copies_of_stores import filled, opened, same
from retrieval_store.errors import AlreadyExistsError, ConflictError, DamagedError
from retrieval_store.extension import Position
from retrieval_store_cluster.copying import journal
from tests.helpers import inside


@pytest.fixture
def both(tmp_path):
    """Clients of a directory with a collection, and of an empty one."""
    with (
        retrieval_store.Client(tmp_path / "a") as source,
        retrieval_store.Client(tmp_path / "b") as target,
    ):
        filled(source)
        yield source, target


def places_of(source, target):
    return inside.session(source).place, inside.session(target).place


def path_of(source, target):
    """Where the journal is, or would be."""
    with journal.open_journal([target.path], places_of(source, target)) as note:
        return note.path


def test_journal_entries_are_read_again(tmp_path):
    one, other = str(uuid.uuid4()), str(uuid.uuid4())
    entry = journal.Entry(
        str(uuid.uuid4()),
        Position(3, 4),
        5,
        6,
        False,
        Position(7, 8),
        9,
        "a",
        {"": 1, "sparse": 2},
        True,
        True,
    )
    with journal.open_journal([None, tmp_path], ("here", "there")) as written:
        written.note(one, entry)
        written.note(other, journal.Entry(str(uuid.uuid4())))
        written.advance(other, whole=True)
    with journal.open_journal([tmp_path], ("here", "elsewhere")) as elsewhere:
        assert elsewhere.entries == {}
    with journal.open_journal([tmp_path], ("here", "there")) as again:
        assert again.entries == written.entries
        assert again.entries[one] == entry
    assert len(list(tmp_path.iterdir())) == 1


def test_only_one_at_a_time_has_a_journal(tmp_path):
    with journal.open_journal([tmp_path], ("here", "there")):
        with journal.open_journal([tmp_path], ("here", "elsewhere")):
            pass
        with (
            pytest.raises(ConflictError, match="another process is copying from here to there"),
            journal.open_journal([tmp_path], ("here", "there")),
        ):
            pass
    with journal.open_journal([tmp_path], ("here", "there")):
        pass


NO_JOURNALS = [
    b"",
    b"nonsense",
    b"[]",
    b'{"format": 4, "collections": {}}',
    b'{"format": 1, "collections": {"x": {}}}',
    b'{"format": 1, "collections": []}',
    b'{"format": 1, "collections": {"%s": {"target": "../.."}}}' % str(uuid.UUID(int=7)).encode(),
]


def test_an_invalid_journal_is_reported_with_what_to_do(both):
    source, target = both
    path = path_of(source, target)
    for content in NO_JOURNALS:
        path.write_bytes(content)
        with pytest.raises(DamagedError, match="delete it to begin the copy anew"):
            source.copy_to(target)
    assert not target.count_collections()
    path.unlink()
    source.copy_to(target)
    same(opened(source), opened(target))


@pytest.mark.parametrize(("name", "whole"), [("mine", True), ("things", False)])
def test_a_journal_that_names_other_collections_does_not_make_them_copies(both, name, whole):
    source, target = both
    mine = target.create_collection(name, embedding_function=None)
    mine.add(["own"], [[7, 7]])
    claimed = str(mine.id) if name == "mine" else str(uuid.uuid4())
    with journal.open_journal([target.path], places_of(source, target)) as note:
        note.note(str(opened(source).id), journal.Entry(claimed, whole=whole))
    if name == "things":
        with pytest.raises(AlreadyExistsError):
            source.copy_to(target)
    else:
        source.copy_to(target)
        same(opened(source), opened(target))
    assert mine.get()["ids"] == ["own"]
