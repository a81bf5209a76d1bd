"""Saved lists of words and columns: when they are written, and what they contain."""

import os
import zlib

import numpy as np
import pytest

import retrieval_store
from retrieval_store.base.analysis import Analyzer
from retrieval_store.filters import expression
from tests.helpers import derived_files, inside, steps
from tests.helpers.indexed import until
from tests.helpers.listed import kept_of, texts_of
from tests.helpers.small_stores import points_file, sql
from tests.helpers.tuned import tuned, use_trigrams

pytestmark = pytest.mark.embedded


@pytest.fixture(autouse=True)
def _lists_of_few_are_worth_a_file(monkeypatch):
    use_trigrams(monkeypatch)


@pytest.fixture
def in_background(monkeypatch):
    """Maintenance runs only when the test starts it."""
    inside.without_background(monkeypatch)


@pytest.fixture
def documents_read(monkeypatch):
    return steps.counted(monkeypatch, "read_texts", lambda view, rows: len(rows))


def files(folder):
    return sorted(folder.glob("*/derived/*"))


def save(things, check_cancelled=lambda: None):
    inside.save_lists(inside.access(things), check_cancelled)


def test_lists_are_saved_soon_after_they_were_computed(tmp_path, documents_read):
    with retrieval_store.Client(tmp_path) as client:
        things = texts_of(client)
        things.query(query_texts="w5", mode="text")
        until(lambda: files(tmp_path), "no lists were saved")
        assert documents_read == [things.count()], "the documents were read again for the file"
        assert all(report.problem is None for report in client.verify())


@pytest.mark.usefixtures("in_background")
def test_closing_leaves_long_work_to_the_next_process(tmp_path, monkeypatch, documents_read):
    tuned(monkeypatch, bytes_at_close=1)
    with retrieval_store.Client(tmp_path) as client:
        things = texts_of(client)
        expected = things.query(query_texts="w5", mode="text")["ids"]
    assert files(tmp_path) == []
    tuned(monkeypatch, bytes_at_close=1 << 20)
    for _ in range(2):
        with retrieval_store.Client(tmp_path) as client:
            things = client.get_collection("texts", embedding_function=None)
            assert things.query(query_texts="w5", mode="text")["ids"] == expected
    assert len(files(tmp_path)) == 1
    assert len(documents_read) == 2, "the lists were not used that the first of the two has saved"


@pytest.mark.usefixtures("in_background")
def test_saving_ends_on_request_and_leaves_nothing(tmp_path):
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
    return steps.counted(monkeypatch, "read_payloads", lambda connection, pks, paths: len(pks))


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


def test_columns_of_keys_that_most_points_have_are_saved_before_the_first_query(
    tmp_path, monkeypatch, payloads_read
):
    tuned(monkeypatch, columns_worth=1, columns_ahead=200)
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        metadatas = [
            {"n": i, "kind": f"k{i % 3}", "name": f"name {i}", "text": "long " * 40, "at": [1, i]}
            | ({"rare": i} if i % 50 == 0 else {})
            for i in range(400)
        ]
        ids = [str(i) for i in range(400)]
        things.add(ids=ids, embeddings=[[i, 0] for i in range(400)], metadatas=metadatas)
        things.optimize()
        assert len(files(tmp_path)) == 2  # n and kind: others name one point, or are no scalars
        things.add(ids=["new"], embeddings=[[1, 1]], metadatas=[{"n": 7, "kind": "k1"}])
    del payloads_read[:]
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things", embedding_function=None)
        assert things.get(where={"n": 7})["ids"] == ["7", "new"]
        assert things.count(where={"kind": "k1"}) == 134
        assert sum(payloads_read) <= 2, "payloads were read that the files know"
        assert all(report.problem is None for report in client.verify())


@pytest.mark.usefixtures("columns_of_few", "in_background")
def test_columns_that_are_used_displace_those_that_are_saved_ahead(
    tmp_path, monkeypatch, payloads_read
):
    tuned(monkeypatch, columns_ahead=200, column_bytes_saved=20_000, column_bytes_each=0)
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        metadatas = [{"a": i / 7, "b": i / 9, "name": f"name {i}"} for i in range(400)]
        ids = [str(i) for i in range(400)]
        things.add(ids=ids, embeddings=[[i, 0] for i in range(400)], metadatas=metadatas)
        save_columns(things)
        assert keys_of_files(tmp_path) == ["a"]
        del payloads_read[:]
        save_columns(things)
        assert sum(payloads_read) == 0, "what has no room was read again"
        for i in range(4):
            things.get(where={"name": f"name {i}"})
        save_columns(things)
        assert keys_of_files(tmp_path) == ["name"]
        assert all(report.problem is None for report in client.verify())


@pytest.fixture
def columns_of_few(monkeypatch):
    tuned(monkeypatch, columns_worth=1)


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
    ("damage", "is_sealed"),
    [
        (lambda data: data[: len(data) // 2], False),
        (lambda data: data[:-9] + b"x" + data[-8:], False),
        (lambda data: b"", True),
        (lambda data: data[:8] + b"\xff" * 8 + data[16:], True),
        (lambda data: data.replace(b"400", b"399", 1), True),
    ],
    ids=["cut off", "flipped", "empty", "endless", "fewer"],
)
def test_damaged_columns_are_rebuilt(with_columns, damage, is_sealed):
    for file in files(with_columns):
        data = damage(file.read_bytes())
        file.write_bytes(data)
        if is_sealed:
            sealed(file, data)
    with retrieval_store.Client(with_columns) as client:
        assert len([report for report in client.verify() if report.problem]) == 2
        things = client.get_collection("things", embedding_function=None)
        expected = answers(things_with_keys(retrieval_store.Client()))
        assert answers(things) == expected
        things.get(where={"n": 7})
        save_columns(things)
        assert all(report.problem is None for report in client.verify())


def test_a_file_that_cannot_be_used_is_not_tried_again(with_columns, caplog):
    file, *_ = file_of(with_columns, "n")
    file.write_bytes(b"")
    with retrieval_store.Client(with_columns, read_only=True) as client:
        things = client.get_collection("things", embedding_function=None)
        for _ in range(3):
            assert things.get(where={"n": 7})["ids"] == ["7"]
            inside.access(things).forget()
    assert caplog.text.count("can't be used and will be made again") == 1


def save_columns(things):
    inside.save_columns(inside.access(things))


def sealed(file, data):
    """Replace the content of a derived file, and its recorded size and checksum."""
    file.write_bytes(data)
    query = "UPDATE derived SET size = ?, checksum = ? WHERE file = ?"
    sql(file.parent.parent / "points.sqlite", query, len(data), zlib.crc32(data), file.name)


def keys_of_files(folder):
    """The keys of saved columns."""
    found = [derived_files.read_arrays(file, derived_files.COLUMNS) for file in files(folder)]
    return sorted(one.header[0][0] for one in found)


def file_of(folder, path):
    """The file of a path's columns, its header and its arrays."""
    for file in files(folder):
        found = derived_files.read_arrays(file, derived_files.COLUMNS)
        if found.header[0] == [path]:
            return file, found.header, [array.copy() for array in found.arrays]
    raise AssertionError(f"there is no file of {path}")


PKS, INTEGERS, ROWS, OFFSETS = 0, 1, 4, 5  # of the first reading, "whole"


def another_number(header, arrays):
    arrays[INTEGERS][-1] += 1


def others_rows(header, arrays):
    """Swap the numbers of two points."""
    arrays[ROWS][[7, 8]] = arrays[ROWS][[8, 7]]


def fewer_points(header, arrays):
    """Leave out one point."""
    for i, array in enumerate(arrays):
        if i % 5 == ROWS:
            arrays[i] = array[array < len(arrays[PKS]) - 1]
        elif i and i % 5 == 0:
            arrays[i] = np.minimum(array, len(arrays[i - 1])).astype(np.int32)
    arrays[PKS] = arrays[PKS][:-1]


def another_string(header, arrays):
    header[1][0][0] += "!"


def points_in_disorder(header, arrays):
    """Two points of one value are in the wrong order."""
    arrays[ROWS][-1], arrays[ROWS][-2] = arrays[ROWS][-2], arrays[ROWS][-1]


def groups_that_end_early(header, arrays):
    """The last row is in no group."""
    arrays[OFFSETS] = np.minimum(arrays[OFFSETS], np.int32(len(arrays[ROWS]) - 1))


@pytest.mark.parametrize(
    ("path", "lie", "message"),
    [
        ("n", another_number, "its entries for the rows 0 to 399 are wrong"),
        ("n", others_rows, "its entries for the rows 0 to 399 are wrong"),
        ("n", fewer_points, "it lacks some points"),
        ("kind", another_string, "its entries for the rows 0 to 399 are wrong"),
        ("kind", points_in_disorder, "out of order"),
        ("n", groups_that_end_early, "its groups don't follow one another"),
    ],
)
def test_verify_detects_wrong_columns(with_columns, path, lie, message):
    with retrieval_store.Client(with_columns) as client:
        assert all(report.problem is None for report in client.verify())
    file, header, arrays = file_of(with_columns, path)
    lie(header, arrays)
    sealed(file, b"".join(derived_files.pieces(derived_files.COLUMNS, header, arrays)))
    with retrieval_store.Client(with_columns) as client:
        (problem,) = [report.problem for report in client.verify() if report.problem]
        assert message in problem
    with retrieval_store.Client(with_columns, rebuild=True) as client:
        things = client.get_collection("things", embedding_function=None)
        assert things.get(where={"n": 399})["ids"] == ["399"]
        assert files(with_columns) == []


def test_outdated_files_of_columns_and_lists_are_rebuilt(with_columns, caplog):
    for file in files(with_columns):
        (magic,) = derived_files.COLUMNS_BEFORE
        sealed(file, magic + file.read_bytes()[8:])
    with retrieval_store.Client(with_columns) as client:
        assert all(report.problem is None for report in client.verify())
        things = client.get_collection("things", embedding_function=None)
        expected = answers(things_with_keys(retrieval_store.Client()))
        assert answers(things) == expected
        save_columns(things)
        assert not caplog.records, "nothing is wrong with them"
    for path in ("n", "kind"):
        assert file_of(with_columns, path)


def test_columns_whose_file_is_truncated_while_mapped_are_rebuilt(with_columns):
    with retrieval_store.Client(with_columns) as client:
        things = client.get_collection("things", embedding_function=None)
        expected = answers(things)
        assert inside.descriptors(inside.access(things)) > 1
        for file in files(with_columns):
            os.truncate(file, 16)
        things.get(where={"n": 3})
        assert answers(things) == expected


def test_verify_releases_columns_whose_file_is_overwritten_while_mapped(with_columns):
    with retrieval_store.Client(with_columns) as client:
        things = client.get_collection("things", embedding_function=None)
        expected = answers(things)
        for file in files(with_columns):
            size = file.stat().st_size
            with file.open("r+b") as stream:  # in place, as a failing disk does
                stream.seek(size // 4)
                stream.write(b"\x7f" * (size - size // 4))
        assert {report.file for report in client.verify() if report.problem} == set(
            files(with_columns)
        )
        assert things.get(where={"n": {"$lt": 49}})["ids"] == [str(i) for i in range(49)]
        assert answers(things) == expected


def test_columns_are_released_with_their_files_and_loaded_again(with_columns, payloads_read):
    with retrieval_store.Client(with_columns) as client:
        things = client.get_collection("things", embedding_function=None)
        expected, access = answers(things), inside.access(things)
        held = inside.descriptors(access)
        inside.close_files(access)
        assert inside.descriptors(access) == held - 2
        assert answers(things) == expected
    assert sum(payloads_read) == 0, "the files were not used"


@pytest.mark.usefixtures("columns_of_few", "in_background")
def test_only_as_many_columns_are_saved_as_fit(tmp_path, monkeypatch):
    with retrieval_store.Client(tmp_path) as client:
        things = things_with_keys(client)
        for _ in range(2):  # a key that no payload can have
            things.get(where=expression.Exists(("\ud800",)))
        answers(things)
        things.get(where={"n": 7})
        tuned(monkeypatch, column_bytes_saved=1000, column_bytes_each=0)
        save_columns(things)
        assert files(tmp_path) == []
        tuned(monkeypatch, column_bytes_saved=1 << 20, columns_saved=1, columns_tried_again=0)
        save_columns(things)
        (file,) = files(tmp_path)
        assert b'[["n"]' in file.read_bytes(), "the last used comes first"
        for most in (2, 1):
            tuned(monkeypatch, columns_saved=most)
            save_columns(things)
            assert len(files(tmp_path)) == most


# What `optimize` makes of files that its process never used


@pytest.fixture
def with_files(tmp_path, columns_of_few, in_background):
    """A closed store with the files of a column and of words."""
    with retrieval_store.Client(tmp_path / "store") as client:
        things = texts_of(client)
        ids = things.get(include=[])["ids"]
        things.update(ids=ids, metadatas=[{"n": i} for i in range(len(ids))])
        for n in range(2):
            things.get(where={"n": n})
        things.query(query_texts="w5", mode="text")
        things.optimize()
    assert kinds(tmp_path / "store") == ["columns", "words"]
    return tmp_path / "store"


def kinds(store):
    return [file.name.split(".")[0] for file in files(store)]


def optimized(store, change=lambda things: None):
    with retrieval_store.Client(store) as client:
        things = client.get_collection("texts", embedding_function=None)
        change(things)
        things.optimize()
        assert kept_of(things).lists.nonempty_keys() == [], "nothing asked for it"


def change_text(things, point_id, document, n):
    vector, metadata = [[1, 1]], [{"n": n}]
    things.update(ids=point_id, documents=document, metadatas=metadata, embeddings=vector)


def test_optimizing_leaves_unchanged_files_alone(with_files):
    before = files(with_files)

    def write_a_vector(things):
        things.update(ids="1", embeddings=[[3, 3]])

    for change in (lambda things: None, write_a_vector):
        optimized(with_files, change)
        assert files(with_files) == before


def test_optimizing_rebuilds_files_that_the_process_never_used(with_files, documents_read):
    before = files(with_files)

    def change(things):
        change_text(things, "1", "zzanother", "zzanother")
        change_text(things, "2", "zzreplaced", "zzreplaced")
        change_text(things, "2", "w5", 7)
        things.delete(ids="3")

    optimized(with_files, change)
    assert kinds(with_files) == ["columns", "words"]
    assert not set(files(with_files)) & set(before)
    content = b"".join(file.read_bytes() for file in files(with_files))
    assert b"zzanother" in content
    assert b"zzreplaced" not in content
    del documents_read[:]
    with retrieval_store.Client(with_files) as client:
        things = client.get_collection("texts", embedding_function=None)
        assert things.query(query_texts="zzanother", mode="text")["ids"] == [["1"]]
        assert things.get(where={"n": "zzanother"})["ids"] == ["1"]
        assert sum(documents_read) == 0, "the file was not used"
        assert all(report.problem is None for report in client.verify())


def test_optimizing_forgets_files_that_cannot_be_rebuilt(with_files):
    (columns_file, words_file) = files(with_files)
    found = derived_files.read_arrays(words_file, derived_files.LISTS)
    (kind, (_, stopwords)), segments = found.header
    header = [[kind, ["no such language", stopwords]], segments]
    data = b"".join(derived_files.pieces(derived_files.LISTS, header, found.arrays))
    sealed(words_file, data)
    key = derived_files.file_key(("words", Analyzer("no such language", frozenset(stopwords))))
    sql(points_file(with_files), "UPDATE derived SET key = ? WHERE key LIKE 'words%'", key)
    sealed(columns_file, b"nothing")
    optimized(with_files, lambda things: change_text(things, "1", "another", 7))
    assert files(with_files) == []


@pytest.mark.usefixtures("columns_of_few", "in_background")
def test_lists_used_before_a_compaction_are_saved_after_it(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        things = things_with_keys(client)
        things.delete(ids=["5"])
        answers(things)
        things.get(where={"n": 7})
        things.optimize()
        assert [file.name for file in tmp_path.glob("*/*.vectors")] == ["1.1.vectors"]
        assert len(files(tmp_path)) == 2
        assert all(report.problem is None for report in client.verify())


@pytest.mark.usefixtures("columns_of_few", "in_background")
def test_optimizing_keeps_to_the_room_for_columns(tmp_path, monkeypatch):
    with retrieval_store.Client(tmp_path) as client:
        things = things_with_keys(client)
        things.warm(["kind", "n"])
        things.optimize()
        assert len(files(tmp_path)) == 2
        tuned(monkeypatch, columns_saved=1)
        things.get(where={"kind": 1})
        things.optimize()
        (file,) = files(tmp_path)
        assert derived_files.read_arrays(file, derived_files.COLUMNS).header[0] == ["kind"]
        things.update(ids=["1"], metadatas=[{"kind": 5}])
        tuned(monkeypatch, column_bytes_saved=100, column_bytes_each=0)
        things.optimize()
        assert files(tmp_path) == [], "what can't be written anew doesn't stay as it was"
