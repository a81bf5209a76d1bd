"""Reads that are a single statement: a few points by ids, the count, a collection by name. The
results equal those of reads in a transaction, of one state.
"""

import subprocess
import sys

import apsw
import numpy as np
import pytest

import retrieval_store
from retrieval_store.errors import DamagedError, NotFoundError, StorageError
from retrieval_store.query.types import (
    Fields,
    FileReport,
    PointBatch,
    ShownIds,
    Vectors,
    WriteRules,
)
from tests.helpers import inside, steps

pytestmark = pytest.mark.embedded
TEXTS = Fields(payload=True, document=True)
PUT = WriteRules(on_existing="update", on_missing="insert")


@pytest.fixture(params=[True, False], ids=["disk", "memory"])
def things(request, tmp_path):
    with retrieval_store.Client(tmp_path / "store" if request.param else None) as client:
        yield client.create_collection("things", embedding_function=None)


def filled(things, ids):
    """Points with these ids, strings and integers, each with its own id in its payload."""
    points = inside.points(things)
    vectors = {"": Vectors(np.arange(len(ids), dtype=np.float32)[:, None] + 1)}
    payloads = [{"id": repr(one)} for one in ids]
    points.put(PointBatch(ids, vectors, payloads, [f"document {one}" for one in ids]), PUT)
    return points


def statements(points, use):
    """The collection's statements that SQLite runs during a call."""
    seen = []

    def trace(flags):
        note = (lambda event: seen.append(event["sql"])) if flags else None
        inside.database(points.access).use(lambda connection: connection.trace_v2(flags, note))

    trace(apsw.SQLITE_TRACE_STMT)
    use()
    trace(0)
    return seen


def read(points, ids, fields=TEXTS):
    """The result for a few ids. The expected one is read with many missing ids added."""
    found = points.get(ids, None, None, 0, fields)
    others = [f"not there {i}" for i in range(inside.FEW_IDS)]
    among_many = points.get(type(ids)([*ids, *others]), None, None, 0, fields)
    assert (found.ids, found.payloads, found.documents) == (
        among_many.ids,
        among_many.payloads,
        among_many.documents,
    )
    return found.ids


def test_reading_few_ids_equals_reading_many(things):
    points = filled(things, ["a", "7", 7, 8, 2**64 - 1, "été", "b"])
    assert read(points, ["b", "missing", 7, "a", 2**64 - 1]) == ["b", 7, "a", 2**64 - 1]
    assert read(points, [7, "7"]) == [7, "7"]
    assert read(points, ShownIds(["8", "7", "été", "07", "1e3"])) == [8, "7", "été"]
    assert read(points, ShownIds([str(2**64 - 1), str(2**64)])) == [2**64 - 1]
    assert read(points, ["nothing", "of these"]) == []
    assert read(points, [2**70, -1, "a\0b", "a"]) == ["a"]
    assert read(points, ["a", "b"], Fields()) == ["a", "b"]


def test_ids_are_understood_in_the_state_that_they_are_used_in(things):
    points = filled(things, [5, "x"])
    assert len(statements(points, lambda: things.get(ids=["5", "x"]))) == 1
    assert len(statements(points, lambda: things.get(ids="x", include=[]))) == 1
    found = statements(points, lambda: things.get(ids=["5"], include=["embeddings"]))
    assert sum("FROM head" in one for one in found) == 1  # so one transaction


def test_counting_reads_only_the_last_write(things):
    points = filled(things, ["a", "b"])
    assert things.count() == 2
    assert len(statements(points, things.count)) == 1
    filled(things, ["c"])
    assert things.count() == 3


def test_deletions_by_another_process_are_visible_at_once(tmp_path):
    code = "import sys, retrieval_store\n"
    code += "retrieval_store.Client(sys.argv[1]).delete_collection('things')"
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        filled(things, ["a", "b"])
        assert (things.count(), things.get(ids="a")["ids"]) == (2, ["a"])
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
        for use in (things.count, lambda: things.get(ids="a"), lambda: things.get(ids="none")):
            with pytest.raises(NotFoundError, match="does not exist"):
                use()


def test_a_file_that_was_replaced_is_an_error_of_theirs_too(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        filled(things, ["a"])
        assert things.count() == 1
        (file,) = tmp_path.glob("*/points.sqlite")
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content)
        for use in (things.count, lambda: things.get(ids="a")):
            with pytest.raises(StorageError, match="replaced"):
                use()


def test_a_read_that_finds_a_contradiction_is_repeated_with_reloaded_data(tmp_path, monkeypatch):
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        points, seen = filled(things, ["a", "b"]), []

        def look(view, failures):
            seen.append(view.caches)
            if len(seen) <= failures:
                raise IndexError("index 7 is out of bounds")
            return view.state.count

        assert points.access.read(lambda view: look(view, 1)) == 2
        assert len(seen) == 2 and seen[0] is not seen[1]
        seen.clear()
        with pytest.raises(IndexError):  # of which nothing that is stored is the cause
            points.access.read(lambda view: look(view, 9))
        assert len(seen) == 2
        seen.clear()
        report = FileReport(tmp_path, 1, "a bad page")
        steps.replace(monkeypatch, "verify_collection", lambda *_: [report])
        filled(things, ["c"])
        with pytest.raises(DamagedError, match=r"points.sqlite is damaged: .* of bounds .a bad pa"):
            points.access.read(lambda view: look(view, 9))
        assert len(seen) == 2
        assert things.count() == 3
