"""Several operations in one transaction: each sees the earlier ones, and others see nothing before
the commit.
"""

import shutil
import tempfile
import threading
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from retrieval_store.base.arrays import SparseVector
from retrieval_store.errors import (
    IDAlreadyExistsError,
    NotFoundError,
    StorageError,
)
from retrieval_store.filters.expression import And, DocumentContains, HasId, Range
from retrieval_store.filters.leaves import Candidate, fulfils
from retrieval_store.query.types import (
    UNSET,
    Content,
    Fields,
    NewSpace,
    NonDenseVectors,
    PointBatch,
    Vectors,
    WriteRules,
    merge_payload,
)
from tests.helpers import PATIENCE, inside
from tests.helpers.batches import ADD, UPSERT, batch, points_of
from tests.helpers.questions import nearest_to, search
from tests.helpers.tuned import tuned

ALL = Fields(payload=True, document=True, uri=True, vectors=("v", "w"), version=True)


def sparse(value):
    return SparseVector(np.array([value], np.uint32), np.ones(1, np.float32))


def with_payloads(ids, payloads, **vectors):
    return PointBatch(ids, batch(ids, **vectors).vectors, payloads)


def ids_of(points, expression=None):
    return points.get(None, expression, None, 0, Fields()).ids


@pytest.fixture
def points(store):
    points = points_of(store, v="l2", w="ip", s=NewSpace("ip", kind="sparse"))
    numbers = [{"n": n} for n in range(4)]
    vectors = [[n, n] for n in range(4)]
    points.put(with_payloads([0, 1, 2, 3], numbers, v=vectors, w=vectors), ADD)
    return points


@pytest.mark.parametrize("failing", ["ours", "theirs", "in an edit", "in a caught edit", "caught"])
def test_nothing_is_written_when_anything_fails(points, failing):
    def fail(content):
        raise KeyError("theirs")

    def change(changes):
        changes.delete([0], None)
        changes.put(batch([7], v=[[7, 7]]), ADD)
        if failing == "theirs":
            raise KeyError("theirs")
        if failing == "in an edit":
            changes.edit([1], None, fail, True)
        if failing == "in a caught edit":
            with pytest.raises(KeyError, match="theirs"):
                changes.edit([1], None, fail, True)
            return
        if failing == "ours":
            changes.delete_vectors(None, None, ["none"], True)
        with pytest.raises(IDAlreadyExistsError):
            changes.put(batch([1, 8], v=[[7, 7], [7, 7]]), ADD)

    error = {"ours": NotFoundError, "caught": IDAlreadyExistsError}.get(failing, KeyError)
    before = points.operation
    with pytest.raises(error) as raised:
        points.transact(change)
    assert type(raised.value) is error
    assert (ids_of(points), points.operation) == ([0, 1, 2, 3], before)
    assert ids_of(points, Range(("n",), gte=0)) == [0, 1, 2, 3]
    points.put(batch([7], v=[[6, 6]]), ADD)
    assert points.get([7], None, None, 0, ALL).vectors["v"].tolist() == [[6, 6]]


def test_others_see_nothing_before_the_commit(tmp_path):
    store = inside.opened(tmp_path)
    points = points_of(store, v="l2")
    points.put(with_payloads([1, 2], [{"n": 1}, {"n": 2}], v=[[1], [2]]), ADD)
    expression, seen = Range(("n",), gte=0), []

    def look():
        seen.append((ids_of(points), ids_of(points, expression), points.number(expression)))

    def change(changes):
        changes.delete([1], None)
        changes.put(with_payloads([3], [{"n": 3}]), ADD)
        assert changes.edit(None, expression, lambda c: c, True) == 2
        thread = threading.Thread(target=look)
        thread.start()
        thread.join(PATIENCE)

    points.transact(change)
    look()
    assert seen == [([1, 2], [1, 2], 2), ([2, 3], [2, 3], 2)]
    store.close()


def test_a_store_in_memory_cannot_be_read_in_the_middle_of_a_write():
    points = points_of(inside.opened(None), v="l2")
    points.put(batch([1], v=[[1]]), ADD)

    def change(changes):
        changes.delete([1], None)
        points.count()

    with pytest.raises(StorageError, match="in the middle of a write"):
        points.transact(change)
    assert points.count() == 1


def test_known_points_stay_unchanged_by_the_write_mode(points):
    new = with_payloads([1, 9], [{"n": 50}] * 2)
    result = points.put(new, WriteRules("ignore", "insert"))
    assert (result.inserted, result.updated, result.ignored) == (1, 0, [1])
    rules = WriteRules("update", "insert", where=Range(("n",), gte=3))
    result = points.put(with_payloads([0, 3, 10], [{"n": 60}] * 3), rules)
    assert (result.inserted, result.updated, result.ignored) == (1, 1, [0])
    numbers = [p["n"] for p in points.get(None, None, None, 0, ALL).payloads]
    assert numbers == [0, 1, 2, 60, 50, 60]
    with pytest.raises(NotFoundError, match="'x'"):
        points.put(batch([1, "x"], v=[[1, 1]] * 2), WriteRules("update", "refuse"))
    with pytest.raises(IDAlreadyExistsError, match="1"):
        points.put(batch([1, "x"], v=[[1, 1]] * 2), WriteRules("refuse", "ignore"))


@pytest.mark.parametrize("written", [False, True])
def test_vectors_that_are_lost_while_others_are_copied_stay_lost(tmp_path, written):
    store = inside.opened(tmp_path)
    points = points_of(store, v="l2")
    points.put(batch(list(range(40)), v=[[i] for i in range(40)]), ADD)
    points.delete([0, 1], None, None)
    lost = []

    def lose(done, total):
        if not lost:
            lost.extend([5, 39])
            points.transact(lambda c: c.delete_vectors(lost, None, ["v"], True))
            if written:
                points.put(batch([39], v=[[100]]), UPSERT)

    number = store.by_name("things").id
    store.optimize(number, lose)
    assert lost
    other = inside.opened(tmp_path)
    for reader in (points, other.points(number)):
        found = reader.get([5, 39, 7], None, None, 0, Fields(vectors=("v",))).vectors["v"]
        expected = [[np.nan], [100 if written else np.nan], [7]]
        assert np.array_equal(found, expected, equal_nan=True)
    other.close()
    store.close()


def test_so_many_operations_that_the_log_lacks_some_still_see_all_of_them(points, monkeypatch):
    tuned(monkeypatch, log_writes=4, trim_every=2)

    def change(changes):
        changes.edit([3], None, lambda c: Content({"n": -1}, None, None), True)
        for n in range(20, 40):
            changes.put(with_payloads([n], [{"n": n}], v=[[n, n]]), UPSERT)
        changes.delete_vectors([30], None, ["v"], True)
        changes.delete([0], None)
        return changes.edit(None, Range(("n",), gte=1), lambda c: c, True)

    assert points.transact(change) == 22
    assert len(ids_of(points)) == 23


def test_the_log_is_cut_off_the_sooner_the_more_each_write_changes(points, monkeypatch):
    tuned(monkeypatch, log_pks=800)
    ids, longest = [*range(100, 190)], 0

    def logged(view):
        query = "SELECT sum(length(pks)) / 8 FROM changes"
        ((pks,),) = view.connection.execute(query).fetchall()
        return pks

    points.put(batch(ids, v=[[i, i] for i in ids]), ADD)
    for n in range(40):
        points.put(with_payloads(ids, [{"n": n}] * 90, v=[[n, n]] * 90), UPSERT)
        longest = max(longest, points.access.read(logged))
    assert 600 < longest < 1_000


# Any sequence of transactions, through two stores on one directory.

IDS = [0, 1, 2, 3, "a", "b"]
ids = st.lists(st.sampled_from(IDS), min_size=1, max_size=4, unique=True)
payloads = st.one_of(
    st.none(),
    st.just(UNSET),
    st.dictionaries(st.sampled_from("nm"), st.one_of(st.none(), st.integers(0, 3))),
)
values = st.one_of(st.none(), st.integers(0, 9))
expressions = st.one_of(
    st.builds(lambda n: Range(("n",), gte=n), st.integers(0, 3)),
    st.builds(lambda n: DocumentContains(str(n)), st.integers(0, 9)),
    st.builds(lambda i, n: And((HasId(tuple(i)), Range(("m",), lt=n))), ids, st.integers(1, 3)),
)
named = st.one_of(
    st.tuples(ids, st.none()), st.tuples(st.none(), expressions), st.tuples(ids, expressions)
)
who = st.integers(0, 1)
SPACES = ("v", "w", "s")


@dataclass
class Held:
    """A point of the model."""

    payload: object = None
    document: object = None
    uri: object = None
    vectors: dict = field(default_factory=dict)
    version: int = 0


@dataclass
class Put:
    ids: list
    vectors: dict  # by space, for each id a value or None
    payloads: list
    document: object
    rules: WriteRules

    def batch(self):
        return PointBatch(
            self.ids,
            {name: self._vectors(name, given) for name, given in self.vectors.items()},
            self.payloads,
            None if self.document is None else [self.document] * len(self.ids),
        )

    def _vectors(self, name, given):
        places = np.array([i for i, value in enumerate(given) if value is not None], np.int64)
        chosen = [value for value in given if value is not None]
        if name == "s":
            return NonDenseVectors([sparse(value) for value in chosen], places)
        return Vectors(np.array(chosen, np.float32).reshape(-1, 1), places)

    def on(self, changes):
        return changes.put(self.batch(), self.rules)

    def on_model(self, model, operation, spaces):
        known = [i for i in self.ids if i in model]
        if self.rules.on_missing == "refuse" and len(known) < len(self.ids):
            raise NotFoundError
        if self.rules.on_existing == "refuse" and known:
            raise IDAlreadyExistsError
        for at, i in enumerate(self.ids):
            if i not in model and self.rules.on_missing == "ignore":
                continue
            if i in model and (
                self.rules.on_existing == "ignore" or not matches(i, model[i], self.rules.where)
            ):
                continue
            self._write(model, i, at)
            model[i].version = operation

    def _write(self, model, i, at):
        new = i not in model or self.rules.on_existing == "replace"
        if i not in model:
            model[i] = Held()
        elif new:
            model[i].payload = model[i].document = model[i].uri = None
            model[i].vectors = {}
        point, payload = model[i], self.payloads[at]
        if payload is not UNSET:
            point.payload = (
                payload
                if new or not self.rules.merge_payloads
                else merge_payload(point.payload, payload)
            )
        if self.document is not None:
            point.document = self.document
        for name, given in self.vectors.items():
            if given[at] is not None:
                point.vectors[name] = given[at]


@dataclass
class Delete:
    named: tuple

    def on(self, changes):
        return changes.delete(*self.named)

    def on_model(self, model, operation, spaces):
        for i in chosen(model, self.named):
            del model[i]


@dataclass
class Edit:
    named: tuple
    value: int
    strict: bool

    def on(self, changes):
        return changes.edit(*self.named, self.edited, self.strict)

    def edited(self, content):
        payload = {**(content.payload or {}), "n": self.value}
        return Content(payload, f"{content.document} {self.value}"[-5:], "u")

    def on_model(self, model, operation, spaces):
        refuse_absent(model, self.named, self.strict)
        for i in chosen(model, self.named):
            point = model[i]
            made = self.edited(Content(point.payload, point.document, point.uri))
            model[i] = Held(made.payload, made.document, made.uri, point.vectors, operation)


@dataclass
class DeleteVectors:
    named: tuple
    spaces: list
    strict: bool

    def on(self, changes):
        return changes.delete_vectors(*self.named, self.spaces, self.strict)

    def on_model(self, model, operation, spaces):
        refuse_absent(model, self.named, self.strict)
        if not set(self.spaces) <= spaces:
            raise NotFoundError
        for i in chosen(model, self.named):
            model[i].version = operation
            for name in self.spaces:
                model[i].vectors.pop(name, None)


def matches(i, point, expression):
    return fulfils(Candidate(i, point.payload, point.document), expression)


def chosen(model, named):
    ids, expression = named
    return [
        i
        for i, point in model.items()
        if (ids is None or i in ids) and matches(i, point, expression)
    ]


def refuse_absent(model, named, strict):
    if strict and named[0] is not None and not set(named[0]) <= set(model):
        raise NotFoundError


@st.composite
def puts(draw):
    some = draw(ids)
    spaces = draw(st.lists(st.sampled_from(SPACES), unique=True))
    vectors = {s: draw(st.lists(values, min_size=len(some), max_size=len(some))) for s in spaces}
    rules = WriteRules(
        draw(st.sampled_from(["refuse", "update", "replace", "replace", "ignore"])),
        draw(st.sampled_from(["insert", "insert", "ignore", "refuse"])),
        draw(st.booleans()),
        where=draw(st.one_of(st.none(), expressions)),
    )
    made = draw(st.lists(payloads, min_size=len(some), max_size=len(some)))
    document = draw(st.one_of(st.none(), st.integers(0, 9).map(str)))
    return Put(some, vectors, made, document, rules)


operations = st.one_of(
    puts(),
    puts(),
    st.builds(Delete, named),
    st.builds(Edit, named, st.integers(0, 3), st.booleans()),
    st.builds(DeleteVectors, named, st.lists(st.sampled_from(SPACES), unique=True), st.booleans()),
)


def order(i):
    return isinstance(i, str), i


class Transactions(RuleBasedStateMachine):
    """held: the expected points, in the order of insertion."""

    @initialize()
    def start(self):
        self.folder = Path(tempfile.mkdtemp())
        self.stores = [inside.opened(self.folder), inside.opened(self.folder)]
        new = {"v": NewSpace("l2"), "w": NewSpace("l1"), "s": NewSpace("ip", kind="sparse")}
        self.id = self.stores[0].create("things", {}, new).id
        self.held, self.spaces = {}, {"v", "w", "s"}

    def teardown(self):
        if hasattr(self, "folder"):
            for store in self.stores:
                store.close()
            shutil.rmtree(self.folder, ignore_errors=True)  # maintenance may be ending

    def points(self, number):
        return self.stores[number].points(self.id)

    @rule(number=who, changes=st.lists(operations, min_size=1, max_size=4), fails=st.booleans())
    def transact(self, number, changes, fails):
        changes = [one for one in changes if set(getattr(one, "vectors", ())) <= self.spaces]
        model, expected = deepcopy(self.held), None

        def change(transaction):
            nonlocal expected
            for one in changes:
                try:
                    one.on_model(model, transaction.operation + 1, self.spaces)
                except (NotFoundError, IDAlreadyExistsError) as error:
                    expected = type(error)
                one.on(transaction)
                assert expected is None, f"{expected} should have been raised"
            if fails:
                raise ZeroDivisionError

        try:
            self.points(number).transact(change)
            self.held = model
        except (NotFoundError, IDAlreadyExistsError) as error:
            assert type(error) is expected
        except ZeroDivisionError:
            assert fails

    @rule(number=who, name=st.sampled_from(["w", "s"]))
    def drop_space(self, number, name):
        if name in self.spaces:
            self.points(number).drop_space(name)
            self.spaces.discard(name)
            for point in self.held.values():
                point.vectors.pop(name, None)

    @rule(number=who, name=st.sampled_from(["w", "s"]))
    def add_space(self, number, name):
        if name not in self.spaces:
            new = NewSpace("l1") if name == "w" else NewSpace("ip", kind="sparse")
            self.points(number).add_space(name, new)
            self.spaces.add(name)

    @rule(number=who)
    def reopen(self, number):
        self.stores[number].close()
        self.stores[number] = inside.opened(self.folder)

    @rule(number=who)
    def optimize(self, number):
        self.stores[number].optimize(self.id, lambda *_: None)

    @rule(number=who, expression=expressions)
    def filter(self, number, expression):
        wanted = chosen(self.held, (None, expression))
        points = self.points(number)
        assert ids_of(points, expression) == wanted
        assert points.number(expression) == len(wanted)
        assert points.page(expression, None, None, Fields()).ids == sorted(wanted, key=order)

    @rule(number=who, start=st.one_of(st.none(), st.sampled_from(IDS)), limit=st.integers(0, 4))
    def page(self, number, start, limit):
        every = sorted(self.held, key=order)
        wanted = [i for i in every if start is None or order(i) >= order(start)][:limit]
        assert self.points(number).page(None, start, limit, Fields()).ids == wanted

    @invariant()
    def both_hold_the_same(self):
        for number in range(2):
            self.holds_all(self.points(number))
            self.agrees_with_what_is_loaded(self.points(number))

    def holds_all(self, points):
        names = tuple(sorted(self.spaces))
        got = points.get(None, None, None, 0, Fields(True, True, True, names, True))
        assert got.ids == list(self.held)
        held = list(self.held.values())
        assert got.payloads == [point.payload for point in held]
        assert got.documents == [point.document for point in held]
        assert got.uris == [point.uri for point in held]
        assert got.versions.tolist() == [point.version for point in held]
        for name in names:
            wanted = [point.vectors.get(name) for point in held]
            assert numbers_in(got.vectors[name]) == wanted
            count = sum(value is not None for value in wanted)
            assert {s.name: s.count for s in points.spaces()}[name] == count
        if "w" in self.spaces:
            (hits,) = search(points, nearest_to("w", np.zeros((1, 1), np.float32), 10), Fields())
            has = {i: point.vectors["w"] for i, point in self.held.items() if "w" in point.vectors}
            assert hits.points.ids == sorted(has, key=has.get)

    def agrees_with_what_is_loaded(self, points):
        def look(view):
            loaded = points.access.state_in_database(view)
            assert loaded.pks.tolist() == view.state.pks[view.state.alive].tolist()
            assert loaded.all_spaces == view.state.all_spaces
            for name, space in view.state.spaces.items():
                other = loaded.spaces[name]
                slots = space.slot_of_row.whole()[view.state.alive]
                assert other.slot_of_row.whole().tolist() == slots.tolist()
                assert other.dead == space.dead == int((space.row_of_slot.whole() < 0).sum())
                assert other.checksums.tolist() == space.checksums.tolist()

        points.access.read(look)


def numbers_in(vectors):
    """The model's values for the read vectors. A dense space without vectors has no dimension."""
    if isinstance(vectors, list):
        return [None if one is None else int(one.indices[0]) for one in vectors]
    if not vectors.shape[1]:
        return [None] * len(vectors)
    return [None if np.isnan(one) else int(one) for one in vectors[:, 0].tolist()]


Transactions.TestCase.settings = settings(max_examples=10, stateful_step_count=20)
TestTransactions = Transactions.TestCase
