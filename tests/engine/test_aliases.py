"""Aliases: alternative names of collections, all changed at once."""

import pytest

from retrieval_store.errors import (
    AlreadyExistsError,
    LockTimeoutError,
    NotFoundError,
    StorageError,
)
from retrieval_store.query.types import CollectionRecord, NewSpace
from tests.helpers import inside, steps


@pytest.fixture
def two(store):
    for name in ("one", "two"):
        store.create(name, {"name": name}, {"v": NewSpace("l2")})
    return store


def set_to(store, **aliases):
    store.change_aliases(lambda before: aliases)


def test_an_alias_resolves_to_its_collection_and_a_name_to_itself(two):
    set_to(two, b="one", a="two", c="one")
    assert [*two.aliases().items()] == [("a", "two"), ("b", "one"), ("c", "one")]
    assert two.resolve("a") == two.resolve("two") == two.by_name("two")
    with pytest.raises(NotFoundError, match="'none'"):
        two.resolve("none")
    with pytest.raises(NotFoundError, match="'a'"):
        two.by_name("a")


def test_aliases_are_changed_all_at_once_or_not_at_all(two):
    set_to(two, live="one", old="two")
    two.change_aliases(lambda was: {"live": was["old"], "old": was["live"]})
    assert two.aliases() == {"live": "two", "old": "one"}
    for aliases, error in (
        ({"live": "one", "more": "nowhere"}, NotFoundError),
        ({"live": "one", "two": "one"}, AlreadyExistsError),
    ):
        with pytest.raises(error):
            set_to(two, **aliases)
        assert two.aliases() == {"live": "two", "old": "one"}
    with pytest.raises(ZeroDivisionError):
        two.change_aliases(lambda was: 1 / 0)


def test_an_alias_is_a_name_that_no_collection_can_have(two):
    set_to(two, taken="one")
    with pytest.raises(AlreadyExistsError, match="alias 'taken'"):
        two.create("taken", {}, {})
    collection = two.by_name("two").id
    with pytest.raises(AlreadyExistsError, match="alias 'taken'"):
        two.change(collection, lambda r: CollectionRecord(r.id, "taken", r.settings))
    assert [record.name for record in two.page(None, 0)] == ["one", "two"]


def test_aliases_stay_with_a_collection_that_is_renamed_and_go_with_one_that_is_deleted(two):
    set_to(two, a="one", b="two")
    two.change(two.by_name("one").id, lambda r: CollectionRecord(r.id, "uno", r.settings))
    assert two.aliases() == {"a": "uno", "b": "two"}
    two.drop("uno")
    assert two.aliases() == {"b": "two"}
    two.create("a", {}, {})
    with pytest.raises(NotFoundError):
        two.resolve("uno")


def test_other_processes_see_them_and_a_deletion_that_was_interrupted_takes_them(
    tmp_path, monkeypatch
):
    with_one, other = inside.opened(tmp_path), inside.opened(tmp_path)
    with_one.create("one", {}, {"v": NewSpace("l2")})
    set_to(with_one, a="one")
    assert other.resolve("a").name == "one"
    with monkeypatch.context() as patch:
        steps.fail(patch, "remove_dropped")
        with pytest.raises(ZeroDivisionError):
            with_one.drop("one")
    assert other.aliases() == {}
    with pytest.raises(NotFoundError):
        other.resolve("a")
    with_one.close()
    other.close()


def test_where_nothing_may_be_written_they_are_read_and_not_changed(tmp_path):
    store = inside.opened(tmp_path)
    store.create("one", {}, {"v": NewSpace("l2")})
    set_to(store, a="one")
    reader = inside.opened(tmp_path, "read-only")
    assert (reader.aliases(), reader.resolve("a").name) == ({"a": "one"}, "one")
    with pytest.raises(StorageError, match="read_only"):
        set_to(reader, b="one")
    store.close()
    reader.close()


def test_a_collection_that_could_not_be_deleted_keeps_its_aliases(two, monkeypatch):
    set_to(two, live="one")
    points = two.points(two.by_name("one").id)

    def locked(*_):
        raise LockTimeoutError("somebody writes")

    with monkeypatch.context() as patch:
        patch.setattr(type(points), "mark_dropped", locked)
        with pytest.raises(LockTimeoutError):
            two.drop("one")
    assert two.aliases() == {"live": "one"} and two.resolve("live").name == "one"
    looked_at = steps.noted(monkeypatch, "drop_marked")
    assert [record.name for record in two.page(None, 0)] == ["one", "two"]
    assert not looked_at and points.count() == 0
    two.drop("one")
    assert two.aliases() == {} and two.count() == 1
