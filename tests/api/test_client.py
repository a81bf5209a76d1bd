"""Client: collections by name, and the life of a store."""

import contextlib
import gc
import re
import subprocess
import sys
import threading
import traceback

import numpy as np
import pytest
from qdrant_client import QdrantClient as RemoteClient

import retrieval_store
from retrieval_store.errors import (
    AlreadyExistsError,
    ClientClosedError,
    ConflictError,
    DamagedError,
    DataLoaderError,
    DimensionMismatchError,
    EmbeddingFunctionError,
    IDAlreadyExistsError,
    InvalidArgumentError,
    InvalidFilterError,
    InvalidTypeError,
    NotFoundError,
    RetrievalStoreError,
    UnavailableError,
)
from retrieval_store.qdrant import QdrantClient
from tests.helpers import PATIENCE, inside, open_files
from tests.helpers.tuned import tuned


def names(collections):
    return [collection.name for collection in collections]


def test_collections_are_created_found_listed_counted_and_deleted_by_name(client):
    for name in ("zebra", "ant", "mole"):
        client.create_collection(name, embedding_function=None)
    assert names(client.list_collections()) == ["ant", "mole", "zebra"]
    assert names(client.list_collections(limit=1, offset=1)) == ["mole"]
    assert names(client.list_collections(offset=2)) == ["zebra"]
    assert client.count_collections() == 3
    assert client.collection_names() == ["ant", "mole", "zebra"]
    client.delete_collection("mole")
    assert names(client.list_collections()) == ["ant", "zebra"]
    with pytest.raises(NotFoundError, match="'mole'"):
        client.get_collection("mole")
    with pytest.raises(NotFoundError, match="'mole'"):
        client.delete_collection("mole")


def test_creating_an_existing_name_is_refused_unless_getting_is_allowed(client):
    first = client.create_collection("things", embedding_function=None, metadata={"a": 1})
    with pytest.raises(AlreadyExistsError, match="'things'"):
        client.create_collection("things", embedding_function=None)
    again = client.get_or_create_collection("things", metadata={"a": 2})
    assert again == first
    assert again.metadata == {"a": 1}
    assert client.create_collection("things", get_or_create=True) == first


def test_a_missing_collection_is_an_error_that_chroma_code_catches(client):
    with pytest.raises(ValueError, match="no collection 'nothing'"):
        client.get_collection("nothing")
    with pytest.raises(KeyError):
        client.get_collection("nothing")


def test_good_names(client):
    for name in ["abc", "a.b", "A1_-x", "0" * 255]:
        assert client.create_collection(name).name == name


@pytest.mark.embedded
def test_names_may_be_as_long_as_chromas(client):
    assert client.create_collection("0" * 512).name == "0" * 512


def test_bad_names_are_refused_with_the_rule(client):
    for name in ["", "ab", "-abc", "abc_", "a b c", "ünder", "0" * 513, "a/b", 7]:
        with pytest.raises(InvalidArgumentError, match="3 to 512 characters"):
            client.create_collection(name)
        assert client.count_collections() == 0


def test_a_deleted_collection_raises_and_its_name_is_free(client):
    old = client.create_collection("things", embedding_function=None)
    old.add(ids="a", embeddings=[1])
    client.delete_collection("things")
    new = client.create_collection("things", embedding_function=None)
    assert new.count() == 0
    assert new != old
    for use in (old.count, old.peek, lambda: old.add(ids="b", embeddings=[1])):
        with pytest.raises(NotFoundError, match="deleted"):
            use()
    assert old.name == "things"  # which is known, whoever deleted it


def test_a_renamed_collection_that_was_deleted_keeps_its_last_known_name(client):
    old = client.create_collection("things", embedding_function=None)
    client.get_collection("things", embedding_function=None).modify(name="others")
    assert old.name == "others"
    client.delete_collection("others")
    assert old.name == "others"
    client.close()
    with pytest.raises(ClientClosedError):
        old.name  # noqa: B018


def test_collections_are_equal_by_id_and_have_no_truth_value_of_their_own(client):
    one = client.create_collection("one")
    two = client.create_collection("two")
    assert one == client.get_collection("one")
    assert one != two
    assert len({one, two, client.get_collection("two")}) == 2
    assert bool(one)  # though it is empty
    assert len(one) == 0
    assert str(one.id) in repr(one)
    assert "'one'" in repr(one)
    assert repr(client).startswith("<Client of the store ")


def test_a_setting_misspelt_in_the_metadata_is_warned_of(client, caplog):
    client.create_collection("one", metadata={"hnsw:spaec": "cosine", "topic": "x"})
    assert [record.args for record in caplog.records] == [("hnsw:spaec",)]


def test_a_closed_client_and_its_collections_raise_an_error(client):
    collection = client.create_collection("things")
    client.close()
    client.close()
    with retrieval_store.Client() as other:
        pass
    for use in (client.list_collections, collection.count, lambda: client.path, other.heartbeat):
        with pytest.raises(ClientClosedError, match="closed"):
            use()


def test_collections_of_a_closed_client_raise_though_another_client_uses_the_store(tmp_path):
    with retrieval_store.Client(tmp_path) as one, retrieval_store.Client(tmp_path) as two:
        mine = one.create_collection("things", embedding_function=None)
        theirs = two.get_collection("things", embedding_function=None)
        mine.add(ids="a", embeddings=[1])
        assert mine.count() == theirs.count() == 1
        one.close()
        for use in (mine.count, lambda: mine.add(ids="b", embeddings=[1])):
            with pytest.raises(ClientClosedError, match="the client of the store"):
                use()
        assert theirs.count() == 1


def test_a_collection_in_use_reflects_changes_by_another_client(tmp_path):
    with retrieval_store.Client(tmp_path) as one, retrieval_store.Client(tmp_path) as two:
        mine = one.create_collection("things", embedding_function=None)
        mine.add(ids="a", embeddings=[1])
        two.get_collection("things", embedding_function=None).modify(name="renamed")
        assert (mine.name, mine.count()) == ("renamed", 1)
        two.delete_collection("renamed")
        other = two.create_collection("renamed", embedding_function=None)
        other.add(ids=["b", "c"], embeddings=[[1], [2]])
        for use in (mine.count, lambda: mine.add(ids="d", embeddings=[1])):
            with pytest.raises(NotFoundError, match=str(mine.id)):
                use()
        assert other.count() == 2


def test_a_store_in_memory_is_its_clients_own():
    with retrieval_store.EphemeralClient() as one, retrieval_store.EphemeralClient() as two:
        one.create_collection("things")
        assert two.list_collections() == []
        assert one.path is None


def test_clients_of_one_directory_share_it_by_any_path(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with (
        retrieval_store.PersistentClient(tmp_path / "real") as one,
        retrieval_store.Client(str(tmp_path / "link")) as two,
    ):
        collection = one.create_collection("things", embedding_function=None)
        collection.add(ids="a", embeddings=[1])
        one.close()
        assert two.get_collection("things").count() == 1
    with retrieval_store.Client(tmp_path / "real") as three:
        assert three.get_collection("things").get()["ids"] == ["a"]


def test_a_url_is_no_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    urls = (
        "http://localhost:6333",
        "https://qdrant.example",
        "file:///tmp/x",
        "sqlite:///x",
        "s3://b",
    )
    for url in urls:
        for make in (retrieval_store.Client, retrieval_store.AsyncClient, QdrantClient):
            with pytest.raises(InvalidArgumentError, match="goes to url="):
                make(path=url)
    assert list(tmp_path.iterdir()) == []


def test_a_store_in_memory_may_be_named_as_that(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with retrieval_store.Client(":memory:") as one, retrieval_store.Client(":memory:") as other:
        one.create_collection("things")
        assert (one.path, other.count_collections()) == (None, 0)
    with pytest.raises(InvalidArgumentError, match="read_only goes with path"):
        retrieval_store.Client(":memory:", read_only=True)
    with pytest.raises(InvalidArgumentError, match="expected one of path, url"):
        retrieval_store.Client(":memory:", url="http://localhost:6333")
    assert retrieval_store.AsyncClient(":memory:").path is None
    assert list(tmp_path.iterdir()) == []


def test_a_collection_reports_that_its_function_is_unused(client, caplog):
    client.create_collection("things", embedding_function="wordllama")
    client.create_collection("bare", embedding_function=None)
    caplog.set_level("WARNING", "retrieval_store")
    client.get_or_create_collection("things")
    client.get_or_create_collection("bare", embedding_function=None)
    assert not caplog.records
    client.get_or_create_collection("things", embedding_function=None)
    (message,) = [one.getMessage() for one in caplog.records]
    assert "'things' remembers the embedding function 'wordllama', which isn't used" in message


def test_a_directory_is_created_with_its_parents_and_a_file_is_refused(tmp_path):
    with retrieval_store.Client(tmp_path / "a" / "b" / "c") as client:
        assert client.path == tmp_path / "a" / "b" / "c"
    (tmp_path / "file").write_text("")
    with pytest.raises(RetrievalStoreError, match="file is not a directory"):
        retrieval_store.Client(tmp_path / "file")


def test_invalid_paths_are_refused():
    for path in [5, b"x", "a\0b", ""]:
        with pytest.raises(
            InvalidArgumentError, match="path is .*expected the name of a directory"
        ):
            retrieval_store.Client(path)


def test_pages_of_collections_take_any_size(client):
    client.create_collection("things")
    assert len(client.list_collections(limit=2**62)) == 1
    for bad in ({"limit": -1}, {"offset": 2**70}, {"limit": 1.5}):
        with pytest.raises(InvalidArgumentError, match=next(iter(bad))):
            client.list_collections(**bad)


def test_durability_can_be_relaxed_but_not_differ_within_a_process(tmp_path):
    with retrieval_store.Client(tmp_path, durability="relaxed") as client:
        client.create_collection("things", embedding_function=None).add(ids="a", embeddings=[1])
        with pytest.raises(ConflictError, match="durability='relaxed'"):
            retrieval_store.Client(tmp_path)
    with retrieval_store.Client(tmp_path) as client:
        assert client.get_collection("things").count() == 1
    with pytest.raises(InvalidArgumentError, match="durability is 'none'"):
        retrieval_store.Client(tmp_path, durability="none")


def test_a_flag_is_true_or_false(tmp_path):
    for flag in ["allow_reset", "read_only"]:
        with pytest.raises(
            InvalidArgumentError, match=f"{flag} is 'false' .*, expected True or False"
        ):
            retrieval_store.Client(tmp_path, **{flag: "false"})
        assert not list(tmp_path.iterdir())


def test_reset_deletes_everything_only_when_allowed(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        client.create_collection("things")
        with pytest.raises(ValueError, match="allow_reset=True"):
            client.reset()
        assert client.count_collections() == 1
    with retrieval_store.Client(tmp_path, allow_reset=True) as client:
        client.reset()
        assert client.count_collections() == 0


DELETES_TWO = """
import sys
import retrieval_store

with retrieval_store.Client(sys.argv[1]) as client:
    client.delete_collection("two")
"""


def test_reset_continues_if_another_process_deletes_meanwhile(tmp_path, monkeypatch):
    with retrieval_store.Client(tmp_path, allow_reset=True) as client:
        for name in ("one", "two", "three"):
            client.create_collection(name, embedding_function=None)
        store_type = type(inside.session(client).store)
        drop = store_type.drop

        def drop_beside(store, name):
            if name == "one":
                subprocess.run([sys.executable, "-c", DELETES_TWO, str(tmp_path)], check=True)
            drop(store, name)

        monkeypatch.setattr(store_type, "drop", drop_beside)
        client.reset()
        assert client.count_collections() == 0


def test_the_distance_is_set_by_configuration_or_metadata_and_stays(client):
    one = client.create_collection("one", configuration={"hnsw": {"space": "ip", "M": 32}})
    assert one.configuration["hnsw"]["space"] == "ip"
    assert one.configuration["hnsw"]["max_neighbors"] == 32
    two = client.create_collection("two", metadata={"hnsw:space": "cosine", "topic": "x"})
    assert two.configuration["hnsw"]["space"] == "cosine"
    assert two.metadata == {"hnsw:space": "cosine", "topic": "x"}
    three = client.create_collection("three", embedding_function=None)
    assert three.configuration["hnsw"]["space"] == "l2"
    with pytest.raises(ConflictError, match="space='ip'"):
        client.get_or_create_collection("one", configuration={"hnsw": {"space": "l2"}})
    with pytest.raises(ConflictError, match="space"):
        client.create_collection(
            "four", configuration={"hnsw": {"space": "l2"}}, metadata={"hnsw:space": "ip"}
        )


def test_a_bad_configuration_is_refused_by_its_place(client):
    for configuration, message in [
        ({"hnsw": {"space": "manhattan"}}, "expected one of"),
        ({"hnsw": {"ef_search": 0}}, "at least 1"),
        ({"hnsw": {"ef_search": "many"}}, "expected an int"),
        ({"hnsw": {"ef_search": 10**30}}, "at most"),
        ({"hnsw": {"space": ["l2"]}}, "expected one of"),
        ({"hnsw": {"efsearch": 3}}, "unknown key 'efsearch'"),
        ({"spann": {}}, "unknown key 'spann'"),
        ({"vectors": {"datatype": "float8"}}, "'float8' .*, expected one of"),
        ({"vectors": {"datatype": ["float16"]}}, "expected one of"),
        ({"vectors": {"dtype": "float16"}}, "unknown key 'dtype'"),
        ({"vectors": "float16"}, r"configuration\['vectors'\] is 'float16' .*expected a dict"),
        ({"space": "cosine"}, "it belongs under 'hnsw'"),
        ("l2", "expected a dict"),
    ]:
        with pytest.raises(InvalidArgumentError, match=message):
            client.create_collection("things", configuration=configuration)
        assert client.count_collections() == 0


def test_the_datatype_of_vectors_is_shown_and_stays(client):
    made = client.create_collection("things", {"vectors": {}}, embedding_function=None)
    assert made.configuration["vectors"] == {"datatype": "float32"}
    other = {"vectors": {"datatype": "float16"}}
    with pytest.raises(ConflictError, match="vectors=.*float32.*float16"):
        client.get_or_create_collection("things", other, embedding_function=None)
    with pytest.raises(ConflictError, match="can't become"):
        made.modify(configuration=other)


def test_a_recall_that_was_changed_can_be_left_to_the_default_again(client):
    things = client.create_collection("things", {"recall": 0.9}, embedding_function=None)
    things.modify(configuration={"recall": None})
    assert "recall" not in things.configuration
    assert "recall" not in client.get_collection("things", None).configuration


def test_images_with_rows_of_different_lengths_are_named(client):
    things = client.create_collection("things", embedding_function=lambda inputs: [[1.0]])
    for call in (
        lambda: things.add("a", images=[[[1, 2], [3]]]),
        lambda: things.query(query_images=[[[1, 2], [3]]]),
    ):
        with pytest.raises(
            InvalidTypeError, match=r"images\[0\] is .* expected an array of pixels"
        ):
            call()


@pytest.mark.others
def test_a_cluster_that_is_down_has_no_heartbeat():
    options = {"check_compatibility": False, "timeout": 2}
    with contextlib.closing(RemoteClient(url="http://127.0.0.1:1", **options)) as qdrant:
        client = retrieval_store.Client(qdrant_client=qdrant)
        with pytest.raises(UnavailableError, match="can't be reached"):
            client.heartbeat()


@pytest.mark.others
@pytest.mark.parametrize("host", ["localhost/", "http://localhost/api", "example.com/api", "", "/"])
def test_an_invalid_host_name_is_refused(host, monkeypatch):
    tuned(monkeypatch, server_patience=0.0)
    if host == "localhost/":
        client = retrieval_store.HttpClient(host, 1, timeout=2)
        with (
            contextlib.closing(client),
            pytest.raises(UnavailableError, match="http://localhost:1"),
        ):
            client.heartbeat()
        return
    with pytest.raises(InvalidTypeError, match="expected the name of a host"):
        retrieval_store.HttpClient(host, 1)


def test_threads_that_create_one_name_agree_on_one_collection(client):
    ids, start = [], threading.Barrier(8)

    def get_or_create():
        start.wait()
        ids.append(client.get_or_create_collection("things").id)

    threads = [threading.Thread(target=get_or_create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1


def test_a_program_that_ends_without_closing_anything_ends_at_once_and_loses_nothing(tmp_path):
    code = f"""
import gc, threading, retrieval_store
client = retrieval_store.Client({str(tmp_path)!r})
things = client.create_collection("things", embedding_function=None)
things.add(ids=["a", "b"], embeddings=[[1], [2]])
things.query(query_embeddings=[1])
things.optimize()
cycle = [client]
cycle.append(cycle)
del client, things, cycle
gc.collect()
again = retrieval_store.Client({str(tmp_path)!r}).get_collection("things")
again.add(ids="c", embeddings=[[3]])
print(again.count(), threading.active_count())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert (done.stdout, done.stderr) == ("3 1\n", "")
    with retrieval_store.Client(tmp_path) as client:
        assert client.get_collection("things").get()["ids"] == ["a", "b", "c"]


def test_a_closed_client_releases_its_files_even_if_its_collections_are_referenced(tmp_path):
    client = retrieval_store.Client(tmp_path)
    things = client.create_collection("things", embedding_function=None)
    for i in range(3):
        things.add(ids=f"{i}", embeddings=[[i]])
    client.create_collection("alike", embedding_function=None)
    rows = things.iterate()
    assert (next(rows)["id"], things.query([[1]])["ids"][0][0]) == ("0", "1")
    rows.close()
    assert not [report for report in client.verify() if report.problem]
    client.close()
    assert open_files(tmp_path) == []


def test_a_garbage_collected_client_releases_its_files(tmp_path):
    client = retrieval_store.Client(tmp_path)
    client.create_collection("things", embedding_function=None).add(ids="a", embeddings=[1])
    assert open_files(tmp_path) != []
    del client
    gc.collect()
    assert open_files(tmp_path) == []


def frames_of_ours(error):
    """The frames within the package in the displayed traceback of an error and its causes."""
    shown = "".join(traceback.format_exception(error))
    return re.findall(r'File ".*[/\\](?:retrieval_store|apsw|contextlib)[/\\.].*', shown)


def test_an_error_shows_the_line_that_called_and_one_of_ours(tmp_path):
    with retrieval_store.Client(tmp_path / "store") as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(
            [f"{i}" for i in range(2_000)], np.ones((2_000, 2)), documents=["x" * 200] * 2_000
        )
        for use, kind in (
            (lambda: things.add("1", [[1, 2]]), IDAlreadyExistsError),
            (lambda: things.query([[1, 2, 3]]), DimensionMismatchError),
            (lambda: things.query([[1, 2]], n_results=0), InvalidArgumentError),
            (lambda: things.get(where={"$no": 1}), InvalidFilterError),
            (lambda: things.query(query_texts="x"), EmbeddingFunctionError),
            (lambda: client.get_collection("none"), NotFoundError),
            (lambda: retrieval_store.Client(5), InvalidTypeError),
        ):
            with pytest.raises(kind) as caught:
                use()
            assert len(frames_of_ours(caught.value)) == 1
    (database,) = (tmp_path / "store").glob("*/points.sqlite")
    whole = bytearray(database.read_bytes())
    for at in range(5_000, len(whole), 4_096):
        whole[at] ^= 255
    database.write_bytes(whole)
    with retrieval_store.Client(tmp_path / "store") as client:
        things = client.get_collection("things", embedding_function=None)
        for use in (things.get, things.count, lambda: things.query([[1, 2]])):
            with pytest.raises(DamagedError, match="points.sqlite is damaged") as caught:
                use()
            assert len(frames_of_ours(caught.value)) == 1
            assert caught.value.__cause__ is not None


def test_an_error_of_a_users_function_keeps_its_frames(client):
    def embed(texts):
        raise ConnectionError("the model is away")

    things = client.create_collection("things", embedding_function=embed)
    with pytest.raises(ConnectionError) as caught:
        things.add("a", documents="x")
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "embed"


def test_an_error_of_ours_that_a_loader_of_a_user_raises_keeps_its_frames(client):
    def load(uris):
        raise DataLoaderError("the disk is away")

    def embed(inputs):
        return [[1.0, 2.0]] * len(inputs)

    things = client.create_collection("things", embedding_function=embed, data_loader=load)
    with pytest.raises(DataLoaderError) as caught:
        things.add("a", uris="x.png")
    assert "load" in {one.name for one in traceback.extract_tb(caught.value.__traceback__)}


NAMES_ELSEWHERE = [
    (retrieval_store.Client, "persist_directory", "path"),
    (retrieval_store.Client, "host", "url"),
    (retrieval_store.Client, "embedding_function", "embedding_function= of create_collection"),
    (retrieval_store.AsyncClient, "persist_directory", "path"),
    (retrieval_store.PersistentClient, "persist_directory", "path"),
    (retrieval_store.Client().create_collection, "embedding", "embedding_function"),
    (retrieval_store.Client().get_or_create_collection, "collection_metadata", "metadata"),
]


def test_arguments_of_another_library_are_reported_with_our_names():
    for call, theirs, ours in NAMES_ELSEWHERE:
        given = {} if call.__qualname__.endswith("Client") else {"name": "notes"}
        with pytest.raises(InvalidTypeError, match=f"{theirs!r}.*: here it is {ours}$"):
            call(**given, **{theirs: "x"})
