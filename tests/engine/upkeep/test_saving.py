"""Lists of words, and columns, in files: when they are written, and what of them is."""

import zlib

import pytest

import retrieval_store
from retrieval_store.engine.filtering import columns
from retrieval_store.engine.upkeep import background as upkeep
from retrieval_store.engine.upkeep import saving
from retrieval_store.engine.upkeep.maintenance_lock import as_only_process
from retrieval_store.engine.words import kept as words
from retrieval_store.filters import expression
from tests.helpers.indexed import until
from tests.helpers.listed import texts_of, use_trigrams
from tests.helpers.small_stores import points_file, sql

pytestmark = pytest.mark.embedded


@pytest.fixture(autouse=True)
def _lists_of_few_are_worth_a_file(monkeypatch):
    use_trigrams(monkeypatch)


@pytest.fixture
def in_background(monkeypatch):
    """Nothing is done in the background until the test says so."""
    monkeypatch.setattr(upkeep._upkeep, "_stopping", True)


@pytest.fixture
def documents_read(monkeypatch):
    counts, documents_of = [], words.documents_of

    def reading(view, rows):
        counts.append(len(rows))
        return documents_of(view, rows)

    monkeypatch.setattr(words, "documents_of", reading)
    return counts


def files(folder):
    return sorted(folder.glob("*/derived/*"))


def save(things, going_on=lambda: None):
    points = things._backend.points
    as_only_process(points.access, 0, lambda alone: saving.save_lists(points.access, going_on))


def test_lists_are_saved_soon_after_they_were_made(tmp_path, documents_read):
    with retrieval_store.Client(tmp_path) as client:
        things = texts_of(client)
        things.query(query_texts="w5", mode="text")
        until(lambda: files(tmp_path), "no lists were saved")
        assert documents_read == [things.count()], "the documents were read again for the file"
        assert all(report.problem is None for report in client.verify())


@pytest.mark.usefixtures("in_background")
def test_closing_leaves_to_the_next_process_what_takes_long(tmp_path, monkeypatch, documents_read):
    monkeypatch.setattr(saving, "CLOSING_BYTES", 1)
    with retrieval_store.Client(tmp_path) as client:
        things = texts_of(client)
        expected = things.query(query_texts="w5", mode="text")["ids"]
    assert files(tmp_path) == []
    monkeypatch.setattr(saving, "CLOSING_BYTES", 1 << 20)
    for _ in range(2):
        with retrieval_store.Client(tmp_path) as client:
            things = client.get_collection("texts", embedding_function=None)
            assert things.query(query_texts="w5", mode="text")["ids"] == expected
    assert len(files(tmp_path)) == 1
    assert len(documents_read) == 2, "the lists were not used that the first of the two has saved"


@pytest.mark.usefixtures("in_background")
def test_saving_ends_when_it_is_told_to_and_leaves_nothing(tmp_path):
    class StopError(Exception):
        pass

    def stop():
        raise StopError

    with retrieval_store.Client(tmp_path) as client:
        things = texts_of(client)
        things.query(query_texts="w5", mode="text")
        with pytest.raises(StopError):
            save(things, stop)
        assert files(tmp_path) == []
        things.update(ids="1", documents="changed", embeddings=[[1, 1]])
        things.query(query_texts="w5", mode="text")
        with pytest.raises(StopError):  # while documents are read again
            save(things, stop)
        save(things)
        assert len(files(tmp_path)) == 1


@pytest.mark.usefixtures("in_background")
def test_words_of_deleted_documents_are_not_saved_again(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        things = texts_of(client)
        things.add(ids=["a", "b"], documents=["zzdeleted", "zzreplaced"], embeddings=[[1, 1]] * 2)
        things.query(query_texts="w5", mode="text")
        save(things)
        assert b"zzdeleted" in files(tmp_path)[0].read_bytes()
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("texts", embedding_function=None)
        things.delete(ids="a")
        things.update(ids="b", documents="another", embeddings=[[1, 1]])
        more = [f"more {i}" for i in range(things.count())]
        things.add(ids=more, documents=more, embeddings=[[1, 1]] * len(more))
        things.query(query_texts="w5", mode="text")
        save(things)
        (file,) = files(tmp_path)
        assert b"another" in file.read_bytes()
        assert b"zz" not in file.read_bytes()


# Columns


@pytest.fixture
def payloads_read(monkeypatch):
    """How many payloads were read for columns."""
    counts, read_values = [], columns.read_values

    def reading(connection, pks, paths):
        counts.append(len(pks))
        return read_values(connection, pks, paths)

    monkeypatch.setattr(columns, "read_values", reading)
    return counts


KINDS = [1, 1.0, True, None, "1", [], [1, "é\0"], {"a": 1}, 2**64 - 1, -0.5]


def things_with_keys(client, count=400):
    things = client.create_collection("things", embedding_function=None)
    metadatas = [{"n": i, "kind": KINDS[i % len(KINDS)]} for i in range(count)]
    ids = [str(i) for i in range(count)]
    things.add(ids=ids, embeddings=[[i, 0] for i in range(count)], metadatas=metadatas)
    return things


def answers(things):
    filters = [{"n": {"$lt": 50}}, {"kind": 1}, {"kind": True}, {"kind": {"$contains": 1}}]
    return [things.get(where=where)["ids"] for where in filters]


@pytest.mark.usefixtures("columns_of_few")
def test_columns_that_are_used_again_are_saved_for_the_next_process(tmp_path, payloads_read):
    with retrieval_store.Client(tmp_path) as client:
        things = things_with_keys(client)
        assert answers(things)[0] == [str(i) for i in range(50)]
        things.get(where={"once": 1})
        things.get(where={"n": 7})
        until(lambda: len(files(tmp_path)) == 2, "no columns were saved")
        assert all(report.problem is None for report in client.verify())
        things.update(ids=["3", "4"], metadatas=[{"n": 77}, {"kind": 1}])
        things.delete(ids=["5"])
        things.add(ids=["new"], embeddings=[[1, 1]], metadatas=[{"n": 0, "kind": True}])
        expected = answers(things)
    del payloads_read[:]
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things", embedding_function=None)
        assert answers(things) == expected
        assert all(report.problem is None for report in client.verify())
    assert sum(payloads_read) == 6, "payloads were read that the files know"


@pytest.fixture
def columns_of_few(monkeypatch):
    monkeypatch.setattr(columns, "COLUMNS_WORTH", 1)


@pytest.fixture
def with_columns(tmp_path, columns_of_few, in_background):
    """A closed store with the files of two columns."""
    with retrieval_store.Client(tmp_path / "store") as client:
        things = things_with_keys(client)
        answers(things)
        things.get(where={"n": 7})
        things.optimize()
    return tmp_path / "store"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:-9] + b"x" + data[-8:],
        lambda data: b"",
        lambda data: data[:8] + bytes(len(data) - 8),
        lambda data: data[:8] + b"\xff" * 8 + data[16:],
        lambda data: data.replace(b"400", b"399", 1),
    ],
    ids=["cut off", "flipped", "empty", "nothing", "endless", "fewer"],
)
@pytest.mark.parametrize("sealed", [False, True])
def test_damaged_columns_are_made_again(with_columns, damage, sealed):
    for file in files(with_columns):
        data = damage(file.read_bytes())
        file.write_bytes(data)
        if sealed:
            query = "UPDATE derived SET size = ?, checksum = ? WHERE file = ?"
            sql(points_file(with_columns), query, len(data), zlib.crc32(data), file.name)
    with retrieval_store.Client(with_columns) as client:
        assert len([report for report in client.verify() if report.problem]) == 2
        things = client.get_collection("things", embedding_function=None)
        expected = answers(things_with_keys(retrieval_store.Client()))
        assert answers(things) == expected
        things.get(where={"n": 7})
        save_columns(things)
        assert all(report.problem is None for report in client.verify())


def save_columns(things):
    points = things._backend.points
    as_only_process(
        points.access, 0, lambda alone: saving.save_columns(points.access, lambda: None)
    )


def test_verify_finds_out_columns_that_say_what_is_not_so(with_columns):
    (file,) = [file for file in files(with_columns) if b'[["n"]' in file.read_bytes()]
    data = file.read_bytes().replace(b",77,", b",78,")
    file.write_bytes(data)
    query = "UPDATE derived SET size = ?, checksum = ? WHERE file = ?"
    sql(points_file(with_columns), query, len(data), zlib.crc32(data), file.name)
    with retrieval_store.Client(with_columns) as client:
        (problem,) = [report.problem for report in client.verify() if report.problem]
        assert "of 1 points it says what they don't hold" in problem
    with retrieval_store.Client(with_columns, rebuild=True) as client:
        things = client.get_collection("things", embedding_function=None)
        assert things.get(where={"n": 77})["ids"] == ["77"]
        assert files(with_columns) == []


@pytest.mark.usefixtures("columns_of_few", "in_background")
def test_no_more_columns_are_saved_than_there_is_room_for(tmp_path, monkeypatch):
    with retrieval_store.Client(tmp_path) as client:
        things = things_with_keys(client)
        for _ in range(2):  # keys that no payload can have
            things.get(where=expression.Exists(("\ud800",)))
            things.get(where=expression.Exists((5,)))
        answers(things)
        things.get(where={"n": 7})
        monkeypatch.setattr(saving, "MOST_BYTES", 1000)
        save_columns(things)
        assert files(tmp_path) == []
        monkeypatch.setattr(saving, "MOST_BYTES", 1 << 20)
        monkeypatch.setattr(saving, "MOST_COLUMNS", 1)
        save_columns(things)
        (file,) = files(tmp_path)
        assert b'[["n"]' in file.read_bytes(), "the last used comes first"
        monkeypatch.setattr(saving, "MOST_COLUMNS", 2)
        save_columns(things)
        assert len(files(tmp_path)) == 2


def test_nothing_deleted_is_left_in_files_of_columns(with_columns):
    with retrieval_store.Client(with_columns) as client:
        things = client.get_collection("things", embedding_function=None)
        things.update(ids=["1"], metadatas=[{"n": "zzreplaced"}])
        answers(things)
        things.get(where={"n": 7})
        things.optimize()
        things.update(ids=["1"], metadatas=[{"n": 1}])
        things.optimize()
    assert not any(b"zz" in file.read_bytes() for file in with_columns.rglob("*") if file.is_file())
