"""Saved states: mapped when a collection is opened, updated, and never trusted."""

import errno
import os
import random
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import initialize, rule

import retrieval_store
from retrieval_store.base.analysis import Analyzer
from retrieval_store.errors import DamagedError
from retrieval_store.query.types import Fields, NewSpace, PointBatch
from tests.engine.state.two_stores import TwoStores, who
from tests.helpers import inside
from tests.helpers.batches import ADD, UPSERT, batch, points_of
from tests.helpers.indexed import until
from tests.helpers.questions import nearest_to, search
from tests.helpers.small_stores import points_file, sql
from tests.helpers.tuned import tuned

COUNT = 3_000


@pytest.fixture(autouse=True)
def _states_of_few_are_worth_a_file(monkeypatch):
    tuned(monkeypatch, states_worth=1)
    inside.without_background(monkeypatch)  # nothing is done unasked


@pytest.fixture
def folder(tmp_path):
    """A closed store with a collection of two vector spaces, and a file of its state."""
    (tmp_path / "store").mkdir()
    store = inside.opened(tmp_path / "store")
    points = points_of(store, v="l2", w="ip")
    points.put(batch(range(COUNT), v=column(COUNT), w=column(COUNT, 1)), ADD)
    points.delete([1, 2], None, None)
    points.put(batch([5, 6], v=[[-5], [-6]]), UPSERT)
    save(points)
    store.close()
    return tmp_path / "store"


def column(count, first=0):
    return np.arange(first, first + count, dtype=np.float32)[:, None]


def save(points, every=True):
    inside.save_state(points.access, every)


def opened(folder, mode="full", **options):
    store = inside.opened(folder, mode, **options)
    return store, store.points(store.by_name("things").id)


def files(folder):
    return sorted(folder.glob("*/derived/state.*"))


def state_file(folder):
    (file,) = files(folder)
    return file


def held(points):
    """The state in memory, once it is current."""
    return points.access.current_state().state


def maps_state(points):
    return held(points).mapped is not None


def contents(points):
    """The content of a state by pks and slots, as lists; and the same from the database."""
    return points.access.read(
        lambda view: (contents_of(view.state), contents_of(points.access.state_in_database(view)))
    )


def contents_of(state):
    spaces = {}
    for name, space in state.spaces.items():
        rows, slots = space.row_of_slot.whole(), space.slot_of_row.whole()[state.alive]
        owners = [int(state.pks[row]) if row >= 0 else -1 for row in rows]
        spaces[name] = owners, slots.tolist(), space.checksums.tolist(), space.dead, space.space
    special = set(state.non_dense), set(state.all_spaces)
    return state.head, state.pks[state.alive].tolist(), state.count, spaces, special


def check(points, mapped=True):
    mine, true = contents(points)
    assert mine == true
    assert maps_state(points) == mapped


def nearest(points, number, space="v"):
    (hits,) = search(points, nearest_to(space, np.array([[number]], np.float32), 1, None), Fields())
    return hits.points.ids[0]


def replaced(file, data):
    """Replace the content of the file, and its recorded size and checksum."""
    file.write_bytes(data)
    query = "UPDATE derived SET size = ?, checksum = ? WHERE file = ?"
    sql(file.parent.parent / "points.sqlite", query, len(data), zlib.crc32(data), file.name)


def problems(folder):
    store = inside.opened(folder, "read-only")
    reports = [*store.verify(lambda _: Analyzer())]
    store.close()
    assert len(reports) > 3
    return [report for report in reports if report.problem]


# What a file is good for


@pytest.mark.parametrize("mode", ["full", "read-only"])
def test_a_collection_that_is_opened_maps_its_state(folder, mode):
    _, points = opened(folder, mode)
    check(points)
    state = held(points)
    arrays = [state.pks, *(s.row_of_slot.base for s in state.spaces.values())]
    arrays += [s.slot_of_row.base for s in state.spaces.values()]
    assert all(map(state.mapped.holds, arrays)), "an array was copied"
    assert inside.bytes_held(points.access) < 3 * COUNT, (
        "what is mapped takes none of this process' memory"
    )
    assert points.count() == COUNT - 2
    assert [nearest(points, -5), nearest(points, 1000)] == [5, 1000]


def test_later_writes_are_read_from_the_change_log(folder):
    writer, others = opened(folder)
    others.put(batch([7, COUNT], v=[[-7], [-8]], w=[[1], [2]]), UPSERT)
    others.delete([8, 9], None, None)
    others.transact(lambda changes: changes.delete_vectors([10], None, ["v"], True))
    others.add_space("x", NewSpace("l2"))
    others.put(batch([11, COUNT + 1], x=[[1], [2]]), UPSERT)
    others.put(PointBatch([COUNT + 2]), ADD)
    others.add_space("sparse", NewSpace("ip", kind="sparse"))
    reader, points = opened(folder)
    check(points)
    assert [nearest(points, -8), nearest(points, 2, "x")] == [COUNT, COUNT + 1]
    writer.close()
    reader.close()


def test_a_write_copies_nothing_while_the_buffer_has_room(folder):
    _, points = opened(folder)
    before = held(points)
    for new in range(COUNT, COUNT + 20):
        points.put(batch([new, 3], v=[[-new], [new]], w=[[1], [1]]), UPSERT)
        check(points)
    state = held(points)
    space = state.spaces["v"]
    arrays = (state.pks, space.row_of_slot.base, space.slot_of_row.base)
    assert all(map(state.mapped.holds, arrays))
    assert len(before.pks) == COUNT - 2, "a reader's state stays as it was"
    more = range(COUNT + 20, 2 * COUNT)
    points.put(batch(more, v=column(len(more), COUNT), w=column(len(more))), ADD)
    check(points)
    assert not held(points).mapped.holds(held(points).pks)
    _, others = opened(folder)
    check(others)  # nothing of it was written to the file


class SavedStates(TwoStores):
    """Any sequence of operations; states are saved now and then."""

    @initialize()
    def start(self):
        self.eager = pytest.MonkeyPatch()
        tuned(self.eager, states_worth=1)
        super().start()

    def teardown(self):
        super().teardown()
        if hasattr(self, "eager"):
            self.eager.undo()

    @rule(number=who)
    def save(self, number):
        save(self.points(number))

    @rule(number=who)
    def agree(self, number):
        mine, true = contents(self.points(number))
        assert mine == true


SavedStates.TestCase.settings = settings(max_examples=10, stateful_step_count=25)
TestSavedStates = SavedStates.TestCase


# What is of no use


def test_a_file_to_which_the_change_log_does_not_reach_back_is_not_used(folder, monkeypatch):
    tuned(monkeypatch, log_writes=4, trim_every=2)
    store, points = opened(folder)
    for value in range(20):
        points.put(batch([3], v=[[value]]), UPSERT)
    _, others = opened(folder)
    check(others, mapped=False)
    held(points)
    store.close()  # which saves it
    _, points = opened(folder)
    check(points)
    assert len(files(folder)) == 1


def test_a_space_that_was_dropped_makes_it_useless(folder):
    _, points = opened(folder)
    held(points)
    points.drop_space("w")
    points.add_space("w", NewSpace("l2"))
    check(points, mapped=False)
    _, others = opened(folder)
    check(others, mapped=False)
    save(points, every=False)
    _, others = opened(folder)
    check(others)


def test_compaction_makes_it_useless_and_saves_another(folder):
    store, points = opened(folder)
    (before,) = files(folder)
    assert before.name.startswith("state.0.")
    store.optimize(store.by_name("things").id, lambda *_: None)
    (after,) = files(folder)
    assert after.name.startswith("state.1.")
    check(points, mapped=False)
    store.close()
    _, points = opened(folder)
    check(points)
    assert not any(space.dead for space in held(points).spaces.values())


def test_many_deletions_renumber_rows_and_no_file_contains_them(folder, monkeypatch):
    tuned(monkeypatch, dead_rows_tolerated=10)
    _, points = opened(folder)
    check(points)
    points.delete(list(range(10, COUNT // 2)), None, None)
    check(points)
    save(points)
    _, others = opened(folder)
    check(others)
    assert len(held(others).pks) == held(others).count
    others.delete(list(range(COUNT // 2, COUNT - 10)), None, None)
    check(points)
    others.put(batch([3], v=[[-3]]), UPSERT)
    check(points, mapped=False)
    _, others = opened(folder)
    check(others, mapped=False)


def test_a_store_that_is_rebuilt_uses_none(folder):
    with retrieval_store.Client(folder, rebuild=True) as client:
        points = inside.named(client, "things")
        check(points, mapped=False)
        assert files(folder) == []


# Damage


def test_a_damaged_file_is_found_before_it_is_used(folder, caplog):
    file = state_file(folder)
    whole, chance = file.read_bytes(), random.Random(1)
    for _ in range(3):
        data = bytearray(whole)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        file.write_bytes(data)
        caplog.clear()
        _, points = opened(folder, "read-only")
        check(points, mapped=False)
        assert "can't be used and will be made again" in caplog.text
        assert "its checksum is wrong" in caplog.text
    (problem,) = problems(folder)
    assert problem.file == file


@pytest.mark.parametrize("size", [0, 4096])
def test_a_file_that_is_cut_off_is_not_read(folder, size):
    os.truncate(state_file(folder), size)
    _, points = opened(folder)
    check(points, mapped=False)
    save(points, every=False)
    _, points = opened(folder)
    check(points)


def test_a_file_truncated_while_mapped_is_released(folder, caplog):
    _, points = opened(folder)
    check(points)
    os.truncate(state_file(folder), 4096)
    assert nearest(points, 1000) == 1000
    check(points, mapped=False)
    assert "bytes instead of" in caplog.text
    _, points = opened(folder)
    points.put(batch([3], v=[[-3]]), UPSERT)
    check(points, mapped=False)


def test_a_missing_file_or_a_link_is_replaced(folder, tmp_path):
    file = state_file(folder)
    file.rename(tmp_path / "elsewhere")
    _, points = opened(folder)
    check(points, mapped=False)
    file.symlink_to(tmp_path / "elsewhere")
    _, points = opened(folder)
    check(points, mapped=False)
    save(points, every=False)
    assert file not in files(folder)
    assert (tmp_path / "elsewhere").exists()
    _, points = opened(folder)
    check(points)


def test_a_removed_file_stays_readable_where_it_is_mapped(folder):
    _, points = opened(folder)
    check(points)
    _, others = opened(folder)
    others.put(batch([3], v=[[-3]]), UPSERT)
    save(others)
    assert nearest(points, -3) == 3
    check(points)


# Deceit


def arrays_of(folder, data):
    """The arrays in a file, by name, for changes: those of both spaces."""
    file, (store, points) = state_file(folder), opened(folder, "read-only")
    state = held(points)
    start, found = state.mapped.start, {"pks": state.pks}
    for name, space in state.spaces.items():
        found[f"{name} rows"] = space.row_of_slot.base
        found[f"{name} slots"] = space.slot_of_row.base
    places = {name: (a.__array_interface__["data"][0] - start, len(a)) for name, a in found.items()}
    store.close()
    assert len(data) == file.stat().st_size
    return {n: np.frombuffer(data, "<i8", length, at) for n, (at, length) in places.items()}


def swap_owners(arrays):
    """Swap the vectors of two points."""
    arrays["v rows"][[20, 30]] = arrays["v rows"][[30, 20]]
    arrays["v slots"][arrays["v rows"][[20, 30]]] = [20, 30]


def lose_half(arrays):
    """Half of the points have no vectors, and their slots are dead."""
    half = len(arrays["pks"]) // 2
    slots = arrays["v slots"][half:]
    arrays["v rows"][slots[slots >= 0]] = -1
    slots[:] = -1


def forget_a_point(arrays):
    """A point has the number of a deleted one."""
    arrays["pks"][1] = 1


LIES = [swap_owners, lose_half, forget_a_point]


def lie(folder, change):
    data = bytearray(state_file(folder).read_bytes())
    change(arrays_of(folder, data))
    replaced(state_file(folder), bytes(data))


@pytest.mark.parametrize("change", LIES)
def test_a_file_that_deceives_is_a_problem_and_rebuilt(folder, change):
    assert problems(folder) == []
    lie(folder, change)
    (problem,) = problems(folder)
    assert problem.file == state_file(folder)
    assert "is false, though its checksum is right" in problem.problem
    store = inside.opened(folder)
    store.forget_derived()  # as `rebuild=True` does
    store.close()
    assert files(folder) == []
    assert problems(folder) == []


@pytest.mark.parametrize("change", LIES)
def test_compaction_loses_nothing_that_a_file_wrongly_marks_as_dead(folder, change):
    lie(folder, change)
    store, points = opened(folder)
    assert maps_state(points)
    store.optimize(store.by_name("things").id, lambda *_: None)
    check(points, mapped=False)
    assert held(points).spaces["v"].space.slots == COUNT - 2
    got = points.get([20, 30, COUNT - 1], None, None, 0, Fields(vectors=("v",)))
    assert got.vectors["v"].tolist() == [[20], [30], [COUNT - 1]]
    store.close()
    assert problems(folder) == []


def test_the_content_of_a_file_is_not_written_to_the_next(folder):
    lie(folder, swap_owners)
    store, points = opened(folder)
    points.put(batch([3], v=[[-3]]), UPSERT)
    assert maps_state(points)
    save(points)
    store.close()
    assert problems(folder) == []
    _, points = opened(folder)
    check(points)


def test_a_vector_is_read_only_from_its_own_point(folder):
    lie(folder, swap_owners)
    _, points = opened(folder)
    with pytest.raises(DamagedError, match="aren't where they should be"):
        points.transact(lambda changes: changes.delete_vectors([20], None, ["v"], True))


def out_of_bounds(arrays):
    arrays["v rows"][7] = len(arrays["pks"])


def far_below(arrays):
    arrays["v slots"][7] = -2


def disorder(arrays):
    arrays["pks"][[4, 5]] = arrays["pks"][[5, 4]]


def beyond(arrays):
    arrays["pks"][-1] = 10**12


def unbalanced(arrays):
    arrays["w slots"][9] = -1


@pytest.mark.parametrize("change", [out_of_bounds, far_below, disorder, beyond, unbalanced])
def test_a_file_that_contradicts_itself_is_not_used(folder, caplog, change):
    lie(folder, change)
    _, points = opened(folder)
    check(points, mapped=False)
    assert "can't be used and will be made again" in caplog.text


@pytest.mark.parametrize("what", ["seq = seq + 1", "covered = covered + 9", "seq = 'x'"])
def test_a_record_that_claims_writes_which_never_were_is_not_believed(folder, caplog, what):
    sql(points_file(folder), f"UPDATE derived SET {what} WHERE key GLOB 'state.*'")
    _, points = opened(folder)
    check(points, mapped=False)
    assert "can't be used and will be made again" in caplog.text


@pytest.mark.parametrize(
    "header",
    [b"{}", b"[3, []]", b"[1e99, []]", b"[true, [[1, 1, 1]]]", b"\xff"],
)
def test_a_header_of_another_make_is_not_believed(folder, header):
    file = state_file(folder)
    data = bytearray(file.read_bytes())
    data[8:16] = len(header).to_bytes(8, "little")
    data[16 : 16 + len(header)] = header
    replaced(file, bytes(data))
    _, points = opened(folder)
    check(points, mapped=False)


# When it is written


def test_it_is_saved_when_enough_has_changed_and_not_sooner(folder, monkeypatch):
    tuned(monkeypatch, state_pause=0)
    (first,) = files(folder)
    store, points = opened(folder)
    points.put(batch([3], v=[[-3]]), UPSERT)
    save(points, every=False)
    assert files(folder) == [first]
    many = range(COUNT // 5)
    points.put(batch(many, v=column(len(many))), UPSERT)
    save(points, every=False)
    (second,) = files(folder)
    assert second != first
    store.close()
    assert files(folder) == [second]


def test_it_is_not_saved_again_and_again_in_a_moment(folder, monkeypatch):
    tuned(monkeypatch, state_pause=1e9)
    _, points = opened(folder)
    saved = []
    for new in range(3):
        points.put(batch(range(COUNT), v=column(COUNT, new)), UPSERT)
        save(points, every=False)
        saved += files(folder)
    assert saved[0] == saved[1] == saved[2]


def test_closing_saves_what_takes_a_moment(tmp_path, monkeypatch):
    for most, expected in ((2, 0), (10, 1)):
        tuned(monkeypatch, state_at_close=most)
        (tmp_path / str(most)).mkdir()
        store = inside.opened(tmp_path / str(most))
        points_of(store, v="l2").put(batch(range(5), v=column(5)), ADD)
        held(store.points(store.by_name("things").id))
        store.close()
        assert len(files(tmp_path / str(most))) == expected


def test_a_read_only_process_saves_missing_derived_files_of_another(tmp_path, monkeypatch):
    tuned(monkeypatch, state_at_close=0)
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(ids=["a", "b"], embeddings=[[1], [2]])
    assert files(tmp_path) == []
    inside.without_background(monkeypatch, False)
    with retrieval_store.Client(tmp_path) as client:
        client.get_collection("things", embedding_function=None).query(query_embeddings=[[1]])
        until(lambda: files(tmp_path), "the state wasn't saved")


def test_a_state_that_was_just_saved_rests_but_where_every_change_counts(folder, monkeypatch):
    tuned(monkeypatch, state_pause=1e9)
    _, points = opened(folder)
    names = []
    for every in (True, True, False):
        points.put(batch(range(COUNT), v=column(COUNT, len(names))), UPSERT)
        save(points, every)
        names.append(state_file(folder).name)
    assert names[0] != names[1] == names[2]


def test_a_file_that_cannot_be_finished_leaves_nothing(folder, monkeypatch):
    store, points = opened(folder)
    points.put(batch([5, 6], v=[[-7], [-8]]), UPSERT)
    before = sorted(folder.glob("*/derived/*"))

    def refuse(*_):
        raise OSError(errno.ENOSPC, "no room")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with pytest.raises(OSError, match="no room"):
            save(points)
    assert sorted(folder.glob("*/derived/*")) == before
    store.close()


def test_a_collection_that_rests_maps_nothing(folder):
    _, points = opened(folder)
    check(points)
    before = points.access.descriptors
    inside.close_files(points.access)
    assert inside.descriptors(points.access) < before
    check(points)
    assert nearest(points, 1000) == 1000


def test_a_space_without_vectors_is_in_a_file_too(tmp_path):
    store = inside.opened(tmp_path)
    points = points_of(store, v=NewSpace("l2", dimension=1))
    points.put(PointBatch(["a"]), ADD)
    save(points)
    _, others = opened(tmp_path)
    check(others)
    points.put(batch(["a", "b"], v=[[1], [2]]), UPSERT)
    check(others)
    assert nearest(others, 2) == "b"
