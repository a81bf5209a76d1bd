"""Changes of a source between two copies, or two attempts at one, reach its copy when it is run
again; nothing else in the target changes."""

import orjson
import pytest
from qdrant_client import models

import retrieval_store
from integrations.cluster.tests.copying.test_copies_of_stores import filled, opened, same
from retrieval_store.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
)
from retrieval_store.qdrant import QdrantClient
from retrieval_store_cluster.copying.journal import open_journal as opened_journal
from tests.helpers import inside, steps
from tests.helpers.copies import broken_off, by_points
from tests.helpers.tuned import tuned

TWO = models.VectorParams(size=2, distance=models.Distance.DOT)


@pytest.fixture
def source(tmp_path):
    with retrieval_store.Client(tmp_path / "a") as client:
        yield client


@pytest.fixture
def qdrant(source, tmp_path):
    """QdrantClient's view of the source."""
    with QdrantClient(path=tmp_path / "a") as client:
        yield client


@pytest.fixture(params=["there", "cluster"])
def target(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def there(tmp_path):
    """A target on disk."""
    with retrieval_store.Client(tmp_path / "b") as client:
        yield client


def few(client, name, ids="ab"):
    things = client.create_collection(name, metadata={"is": name}, embedding_function=None)
    things.add([*ids], [[i + 1, 1] for i in range(len(ids))])
    return things


def names(client):
    return sorted(one.name for one in client.list_collections())


def aliased(qdrant, alias, name):
    made = models.CreateAlias(collection_name=name, alias_name=alias)
    qdrant.update_collection_aliases([models.CreateAliasOperation(create_alias=made)])


def test_a_renamed_collection_or_copy_is_reported_and_resumed_when_both_are(source, target):
    few(source, "one")
    source.copy_to(target)
    opened(source, "one").modify(name="first")
    opened(source, "first").add(["c"], [[3, 1]])
    with pytest.raises(ConflictError, match="'first' was called 'one' when it was copied"):
        source.copy_to(target)
    opened(target, "one").modify(name="first")
    source.copy_to(target)
    assert names(target) == ["first"]
    same(opened(source, "first"), opened(target, "first"))


def test_a_collection_that_takes_the_name_of_one_that_was_deleted(source, target):
    few(source, "one")
    source.copy_to(target)
    source.delete_collection("one")
    few(source, "one", "xyz")
    with pytest.raises(AlreadyExistsError, match="'one' exists already .* holds something else"):
        source.copy_to(target)
    assert opened(target, "one").get()["ids"] == ["a", "b"]
    target.delete_collection("one")
    source.copy_to(target)
    assert opened(target, "one").get()["ids"] == ["x", "y", "z"]


def test_aliases_that_the_target_lacks_are_created_and_others_stay(source, qdrant, there, tmp_path):
    for name in ("blue", "green"):
        qdrant.create_collection(name, TWO)
    aliased(qdrant, "live", "blue")
    aliased(qdrant, "theirs", "blue")
    few(there, "own")
    with QdrantClient(path=tmp_path / "b") as copied:
        aliased(copied, "theirs", "own")
        source.copy_to(there)
        aliased(qdrant, "live", "green")
        aliased(qdrant, "new", "green")
        source.copy_to(there)
        assert inside.store(there).aliases() == {"live": "blue", "new": "green", "theirs": "own"}


def breaks_off(monkeypatch, after, copy):
    """A copy that is interrupted after this many pages; points are also sent where files could
    be."""
    with monkeypatch.context() as patched:
        by_points(patched, 40)
        broken_off(patched, after)
        with pytest.raises(KeyboardInterrupt):
            copy()


@pytest.mark.parametrize("by_points", [True, False])
def test_settings_that_change_between_two_attempts(source, target, monkeypatch, by_points):
    things = filled(source, count=200)
    if by_points or target.path is None:
        breaks_off(monkeypatch, 3, lambda: source.copy_to(target))
    else:
        source.copy_to(target)
    things.modify(
        metadata={"new": True},
        configuration={"hnsw": {"ef_search": 33}, "text": {"language": None}},
    )
    if inside.session(target).on_cluster:
        with pytest.raises(
            ConflictError, match="words .* split otherwise .* delete its copy there"
        ):
            source.copy_to(target)
        target.delete_collection("things")
    source.copy_to(target)
    copy = opened(target)
    assert (copy.metadata, copy.configuration) == (things.metadata, things.configuration)
    same(things, copy)
    if inside.session(target).on_cluster:
        return
    ours, theirs = inside.points(things).spaces(), inside.points(copy).spaces()
    assert [one.index for one in ours] == [one.index for one in theirs]
    words = {"query_texts": ["texts"], "mode": "text", "n_results": 5}
    assert copy.query(**words)["ids"] == things.query(**words)["ids"]


def again(things, *ids):
    """Delete points and add them again, which moves them to the end."""
    there = things.get([*ids], include=["embeddings"])
    things.delete([*ids])
    things.add(there["ids"], there["embeddings"])


def test_copied_collections_are_up_to_date_and_updated(source, target):
    things = filled(source, count=100)
    empty = source.create_collection("empty", embedding_function=None)
    assert [one.level for one in source.copy_to(target)] == [False, False]
    assert [one.level for one in source.copy_to(target)] == [True, True]
    things.add(["more"], [[1, 1]])
    empty.modify(metadata={"new": True})
    found = source.copy_to(target)
    assert [(one.name, one.level) for one in found] == [("empty", False), ("things", False)]
    same(things, opened(target))
    assert opened(target, "empty").metadata == empty.metadata
    assert [one.level for one in source.copy_to(target)] == [True, True]
    with pytest.raises(AlreadyExistsError, match="'empty' exists already .* replaces nothing"):
        source.copy_to(target, fail_if_exists=True)
    with pytest.raises(InvalidArgumentError, match="fail_if_exists"):
        source.copy_to(target, fail_if_exists=1)


def test_an_equal_collection_outside_the_journal_counts_as_copied(source, there):
    for client in (source, there):
        few(client, "one")
    before = inside.store(there).by_name("one").id
    (copied,) = source.copy_to(there)
    assert copied.level and inside.store(there).by_name("one").id == before
    opened(source, "one").upsert(["a"], [[9, 9]])
    with pytest.raises(AlreadyExistsError, match="holds something else"):
        source.copy_to(there)
    assert opened(there, "one").get("a", include=["embeddings"])["embeddings"].tolist() == [[1, 1]]


@pytest.mark.parametrize("what", ["more", "other", "order", "metadata", "text"])
def test_a_different_collection_outside_the_journal_is_never_touched(source, there, what):
    few(source, "one"), few(source, "aaa")
    own = few(there, "one")
    if what == "more":
        own.add(["c"], [[3, 1]])
    elif what == "other":
        own.update(["b"], embeddings=[[5, 5]])
    elif what == "order":
        again(own, "a")
    elif what == "metadata":
        own.modify(metadata={"is": "mine"})
    else:
        own.modify(configuration={"text": {"language": "english"}})
    before = own.get(include=["embeddings"])["embeddings"].tolist()
    with pytest.raises(AlreadyExistsError, match="'one' exists already .* holds something else"):
        source.copy_to(there)
    assert names(there) == ["one"]
    assert own.get(include=["embeddings"])["embeddings"].tolist() == before


def test_deletions_before_the_copy_was_finished_stay_too(source, there, monkeypatch):
    few(source, "one")
    filled(source, count=200)
    few(there, "own")
    breaks_off(monkeypatch, 3, lambda: source.copy_to(there))
    source.delete_collection("things")
    source.copy_to(there)
    assert names(there) == ["one", "own", "things"]
    few(source, "things", "xyz")
    with pytest.raises(AlreadyExistsError, match="'things' exists already"):
        source.copy_to(there)
    assert 0 < opened(there).count() < 198


def test_a_finished_copy_on_a_cluster_that_others_have_changed_is_theirs(source, cluster):
    """The number of points is unchanged, and a cluster reports nothing else."""
    things = filled(source, count=100)
    source.copy_to(cluster)
    copy = opened(cluster)
    copy.update(["p30"], documents="theirs", embeddings=[[5, 5]])
    things.update(["p31"], documents="new", embeddings=[[5, 5]])
    with pytest.raises(AlreadyExistsError, match="was written to since it was copied"):
        source.copy_to(cluster)
    assert copy.get(["p30", "p31"])["documents"] == ["theirs", "text 31"]


def test_a_source_that_is_deleted_while_it_is_copied_is_named(source, there, monkeypatch):
    few(source, "one")
    filled(source, count=200)
    with monkeypatch.context() as patched:
        by_points(patched, 40)

        def deleting(write, target, found):
            for number in write(target, found):
                yield number
                if "things" in names(source) and target.count() < 200 and number == 40:
                    source.delete_collection("things")

        tuned(patched, copied_page=40)
        steps.around(patched, "write_to_copy", deleting)
        with pytest.raises(NotFoundError, match="'things' was deleted while it was copied"):
            source.copy_to(there)
    assert names(there) == ["one", "things"]
    source.copy_to(there)
    assert names(there) == ["one", "things"]


def test_an_older_journal_is_resumed(source, there, monkeypatch):
    things = filled(source, count=200)
    breaks_off(monkeypatch, 3, lambda: source.copy_to(there))
    places = inside.session(source).place, inside.session(there).place
    with opened_journal([there.path], places) as journal:
        path = journal.path
    data = orjson.loads(path.read_bytes())
    (entry,) = data["collections"].values()
    for key in ("spaces", "paged", "finished"):
        del entry[key]
    path.write_bytes(orjson.dumps({"format": 1, "collections": data["collections"]}))
    things.add(["more"], [[1, 1]])
    source.copy_to(there)
    same(things, opened(there))


def test_a_copy_that_may_be_all_that_is_left_is_never_deleted(tmp_path):
    """Another store at the source's address has none of the copied data, either."""

    with retrieval_store.Client(tmp_path / "target") as target:
        for name in ("first", "second"):
            with retrieval_store.Client() as gone:  # each is "in memory"
                held = filled(gone, name, count=30).count()
                gone.copy_to(target)
        assert {one.name: one.count() for one in target.list_collections()} == {
            "first": held,
            "second": held,
        }


def test_a_copy_deleted_during_copying_is_reported(source, there, monkeypatch):
    things = few(source, "one")
    with monkeypatch.context() as patched:
        steps.before(patched, "compare_copies", lambda: there.delete_collection("one"))
        with pytest.raises(NotFoundError, match="the copy of collection 'one' .* was deleted"):
            source.copy_to(there)
    source.copy_to(there)
    same(things, opened(there, "one"))


def test_an_interrupted_complete_copy_is_not_used_as_finished(source, there, monkeypatch):
    """The log is truncated, everything is copied again, and that is interrupted."""
    things = filled(source, count=300)
    source.copy_to(there)
    tuned(monkeypatch, log_writes=2, trim_every=1)
    for i in range(5):
        things.update([f"p{250 + i}"], documents=f"new {i}", embeddings=[[i, i]])
    with monkeypatch.context() as patched:
        broken_off(patched, 2)
        with pytest.raises(KeyboardInterrupt):
            source.copy_to(there)
    source.copy_to(there)
    same(things, opened(there))
