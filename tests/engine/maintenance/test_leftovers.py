"""The leftovers of a failed compaction, or of one whose process died: files and blocks of an unused
generation.
"""

import errno
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from retrieval_store.errors import StorageFullError
from tests.helpers import inside, steps
from tests.helpers.batches import ADD, UPSERT, batch, points_of
from tests.helpers.forks import begin_child
from tests.helpers.tuned import tuned

pytestmark = pytest.mark.embedded


def dead_by_half(path):
    """A collection that is worth compacting, and its current vector files."""
    store = inside.opened(path)
    points = points_of(store, v="l2")
    vectors = np.random.default_rng(1).standard_normal((1_200, 8)).astype(np.float32)
    points.put(batch([*range(1_200)], v=vectors), ADD)
    points.put(batch([*range(600)], v=vectors[:600] + 1), UPSERT)
    return store, points, lambda: sorted(file.name for file in path.glob("*/*.vectors"))


def generations_of_blocks(path):
    (file,) = path.glob("*/points.sqlite")
    connection = inside.database_of_points(file)
    found = {generation for (generation,) in connection.execute("SELECT generation FROM blocks")}
    connection.close()
    return found


@pytest.fixture(autouse=True)
def by_hand(monkeypatch):
    """Only the test runs maintenance, in small steps, and for the smallest amounts."""
    inside.without_background(monkeypatch)
    tuned(monkeypatch, slice_bytes=4 * 1024, dead_cells=0)


def raised_the_second_time(error):
    calls = iter([None, error])

    def happen():
        now = next(calls, None)
        if now is not None:
            raise now

    return happen


@pytest.mark.parametrize(
    ("step", "error"),
    [("copy_rows", KeyboardInterrupt()), ("sync_vectors", OSError(errno.ENOSPC, "no space left"))],
)
def test_a_compaction_that_fails_leaves_nothing_of_the_new_generation(tmp_path, step, error):
    store, points, files = dead_by_half(tmp_path)
    held = inside.descriptors(points.access)
    with pytest.MonkeyPatch.context() as patch:
        steps.before(patch, step, raised_the_second_time(error))
        with pytest.raises((KeyboardInterrupt, StorageFullError)):
            inside.optimize(points.access)
    assert inside.descriptors(points.access) == held
    assert files() == ["1.0.vectors"]
    assert generations_of_blocks(tmp_path) == {0}
    assert inside.descriptors(points.access) == 1  # of the vectors that there are
    inside.optimize(points.access)
    assert files() == ["1.1.vectors"]
    assert points.count() == 1_200
    assert all(report.problem is None for report in store.verify(lambda _: None))
    store.close()


def test_files_are_removed_even_if_their_blocks_cannot_be_forgotten_on_a_full_disk(tmp_path):
    store, points, files = dead_by_half(tmp_path)
    full = OSError(errno.ENOSPC, "no space left")
    with pytest.MonkeyPatch.context() as patch:

        def fill_the_disk(*_):
            steps.fail(patch, "write_transaction", full)
            raise full

        steps.replace(patch, "switch_generation", fill_the_disk)
        with pytest.raises(StorageFullError):
            inside.optimize(points.access)
    assert files() == ["1.0.vectors"]
    assert generations_of_blocks(tmp_path) == {0, 1}
    inside.remove_leftovers(points.access)
    assert generations_of_blocks(tmp_path) == {0}
    inside.optimize(points.access)
    assert (files(), generations_of_blocks(tmp_path)) == (["1.1.vectors"], {1})
    store.close()


def test_an_interrupt_after_the_switch_leaves_the_new_generation(tmp_path):
    store, points, files = dead_by_half(tmp_path)
    with pytest.MonkeyPatch.context() as patch:

        def then_interrupt():
            steps.fail(patch, "current_state", KeyboardInterrupt)

        steps.before(patch, "switch_generation", then_interrupt)
        with pytest.raises(KeyboardInterrupt):
            inside.optimize(points.access)
    assert files() == ["1.1.vectors"]
    assert generations_of_blocks(tmp_path) == {1}
    assert points.count() == 1_200
    assert all(report.problem is None for report in store.verify(lambda _: None))
    store.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_child_forked_during_a_compaction_removes_none_of_its_files(tmp_path):
    store, points, files = dead_by_half(tmp_path)
    children, seen = [], []

    def fork_once(done, total):
        if done and not children:
            children.append(os.fork())
            if children == [0]:
                begin_child()
                raise KeyboardInterrupt
            os.waitpid(children[0], 0)
            seen.append(files())

    try:
        inside.optimize(points.access, fork_once)
    except KeyboardInterrupt:
        os._exit(0)  # the child
    assert seen == [["1.0.vectors", "1.1.vectors"]]
    assert files() == ["1.1.vectors"]
    store.close()


@pytest.mark.parametrize("is_full", [False, True])
def test_the_background_removes_leftovers_of_a_process_that_died_after_the_switch(
    tmp_path, is_full
):
    store, points, files = dead_by_half(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        # Also what an earlier failure would remove.
        steps.before(
            patch,
            "switch_generation",
            lambda: steps.fail(patch, "remove_vectors", KeyboardInterrupt),
        )
        with pytest.raises(KeyboardInterrupt):
            inside.optimize(points.access)
    store.close()
    assert files() == ["1.0.vectors", "1.1.vectors"]
    store = inside.opened(tmp_path)
    points = store.points(store.by_name("things").id)
    if is_full:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(StorageFullError):
            steps.fail(patch, "write_transaction", OSError(errno.ENOSPC, "no space left"))
            inside.maintain(points.access)
    else:
        inside.maintain(points.access)
    assert files() == ["1.1.vectors"]
    assert points.count() == 1_200
    store.close()


def test_the_background_does_not_report_a_collection_dropped_by_another_process(
    tmp_path, monkeypatch, caplog
):
    store, points, _ = dead_by_half(tmp_path)
    folder = points.access.directory
    steps.before(monkeypatch, "remove_vectors", lambda: folder.exists() and shutil.rmtree(folder))
    assert inside.background_turn(points.access) is False
    assert not folder.exists() and caplog.messages == []
    store.close()


def test_the_background_reports_a_missing_file(tmp_path, monkeypatch, caplog):
    store, points, _ = dead_by_half(tmp_path)
    steps.fail(monkeypatch, "remove_vectors", FileNotFoundError("gone"))
    assert inside.background_turn(points.access) is False
    assert "maintenance of collection 'things' failed" in caplog.messages
    store.close()


MAINTAINS = """
import sys
from pathlib import Path
from tests.helpers import inside

store = inside.opened(Path(sys.argv[1]))
assert inside.maintain(store.points(store.by_name("things").id).access) is False
store.close()
"""


def test_the_background_leaves_a_generation_that_another_process_makes(tmp_path):
    store, points, files = dead_by_half(tmp_path)
    seen = []

    def maintain_elsewhere(done, total):
        if done and not seen:
            subprocess.run([sys.executable, "-c", MAINTAINS, tmp_path], check=True)
            seen.append(files())

    inside.optimize(points.access, maintain_elsewhere)
    assert seen == [["1.0.vectors", "1.1.vectors"]]
    assert files() == ["1.1.vectors"]
    assert points.count() == 1_200
    store.close()


def test_the_switch_of_generations_is_durable_before_old_files_are_removed(tmp_path, monkeypatch):
    store, points, files = dead_by_half(tmp_path)
    seen = []
    steps.around(
        monkeypatch, "sync_log", lambda step, path: seen.append((path.name, files())) or step(path)
    )
    inside.optimize(points.access)
    assert ("points.sqlite-wal", ["1.0.vectors", "1.1.vectors"]) in seen
    assert files() == ["1.1.vectors"]
    store.close()
