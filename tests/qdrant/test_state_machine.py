"""Any order of writes through this interface, with other clients and reopening, compared with a
dict.
"""

import copy
import tempfile
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from retrieval_store.qdrant import QdrantClient, Refused, models
from tests.helpers.asked import turns

LETTER = "00000000-0000-0000-0000-00000000000"
IDS = [0, 1, 2, 2**63, *(LETTER + one for one in "abc")]  # in the order of scrolling
NAMES = {"": 2, "many": 2, "words": None, "extra": 3}
KEYS = ("n", "w", "_document")

point_ids = st.sampled_from(IDS)
some_ids = st.lists(point_ids, min_size=1, max_size=4)
numbers = st.integers(-3, 3).map(float)
payloads = st.fixed_dictionaries(
    {},
    optional={
        "n": st.one_of(st.integers(0, 3), st.lists(st.integers(0, 3), max_size=2), st.none()),
        "w": st.sampled_from(["x", "y"]),
        "deep": st.fixed_dictionaries({}, optional={"a": st.integers(0, 2), "b": st.just([])}),
        "_document": st.sampled_from(["gold", "iron"]),
    },
)
VECTORS = {
    "": st.lists(numbers, min_size=2, max_size=2),
    "many": st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=1, max_size=2),
    "words": st.sets(st.integers(0, 9), max_size=3).map(
        lambda some: models.SparseVector(indices=sorted(some), values=[1.5] * len(some))
    ),
    "extra": st.lists(numbers, min_size=3, max_size=3),
}
vectors = st.fixed_dictionaries({}, optional=VECTORS)
conditions = st.one_of(
    st.tuples(st.just("n"), st.integers(0, 3)),
    st.tuples(st.just("w"), st.sampled_from(["x", "y"])),
    st.tuples(st.just("_document"), st.sampled_from(["gold", "iron"])),
    st.tuples(st.just("deep.a"), st.integers(0, 2)),
)


QUERIES = {
    "": [1.0, 2.5],
    "many": [[1.0, 2.5], [-1.0, 0.5]],
    "words": models.SparseVector(indices=[1, 4, 7], values=[1.0, 2.0, -0.5]),
}


def dot(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


def sparse_dot(held):
    weights = dict(zip(QUERIES["words"].indices, QUERIES["words"].values, strict=True))
    shared = [1.5 * weights[index] for index in held.indices if index in weights]
    return sum(shared) if shared else None


SCORES = {
    "": lambda held: dot(held, QUERIES[""]),
    "many": lambda held: sum(max(dot(one, q) for one in held) for q in QUERIES["many"]),
    "words": sparse_dot,
}


def one_by_one(request):
    given = {"query": request.query, "using": request.using, "query_filter": request.filter}
    return {**given, "limit": request.limit, "search_params": request.params}


def filter_of(condition):
    key, value = condition
    return models.Filter(
        must=[models.FieldCondition(key=key, match=models.MatchValue(value=value))]
    )


def fulfils(payload, condition):
    key, wanted = condition
    for step in key.split("."):
        payload = payload.get(step) if isinstance(payload, dict) else None
    found = payload if isinstance(payload, list) else [payload]
    return wanted in found


def merged(old, new):
    return {k: v for k, v in {**old, **new}.items() if v is not None or k not in new}


def without_null_texts(payload):
    """A document that is null counts as none."""
    return {k: v for k, v in payload.items() if k != "_document" or v is not None}


class Collection:
    """The expected content of a collection: payload and vectors of each point."""

    def __init__(self):
        self.points = {}
        self.names = {"", "many", "words"}

    def chosen(self, condition):
        return [one for one, (payload, _) in self.points.items() if fulfils(payload, condition)]

    def edit(self, ids, change):
        for one in ids:
            if one in self.points:
                payload, held = self.points[one]
                self.points[one] = change(payload), held


class Writes(RuleBasedStateMachine):
    """The rules are writes; after each, the content is compared."""

    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "store"
        self.client = QdrantClient(path=self.path)
        self.client.create_collection(
            "one",
            {
                "": models.VectorParams(size=2, distance=models.Distance.DOT),
                "many": models.VectorParams(
                    size=2,
                    distance=models.Distance.DOT,
                    multivector_config=models.MultiVectorConfig(comparator="max_sim"),
                ),
            },
            {"words": models.SparseVectorParams()},
        )
        self.held, self.asked = {"one": Collection()}, 0
        self.aliases = {}
        self.snapshots = []

    def teardown(self):
        if hasattr(self, "client"):
            self.client.close()
            self.folder.cleanup()

    def those(self, given):
        """Vectors with existing names."""
        return {name: one for name, one in given.items() if name in self.model.names}

    @property
    def model(self):
        return self.held["one"]

    @property
    def name(self):
        """The collection's name, or an alias if there is one."""
        return "live" if self.aliases.get("live") == "one" else "one"

    def fails_without(self, ids, write):
        """Run the write, which is refused if an id is missing. Returns whether it was executed."""
        if all(one in self.model.points for one in ids):
            write()
            return True
        with pytest.raises(Refused):
            write()
        return False

    # Points

    @rule(
        points=st.lists(st.tuples(point_ids, payloads, vectors), min_size=1, max_size=5),
        mode=st.sampled_from([None, *models.UpdateMode]),
        only=st.one_of(st.none(), conditions),
    )
    def upsert(self, points, mode, only):
        points = [(one, payload, self.those(held)) for one, payload, held in points]
        self.client.upsert(
            self.name,
            [models.PointStruct(id=i, vector=held, payload=p) for i, p, held in points],
            update_mode=mode,
            update_filter=None if only is None else filter_of(only),
        )
        meant = {}
        for one, payload, held in points:
            meant[one] = without_null_texts(payload), held
        for one, new in meant.items():
            old = self.model.points.get(one)
            if old is None:
                if mode != models.UpdateMode.UPDATE_ONLY:
                    self.model.points[one] = new
            elif mode != models.UpdateMode.INSERT_ONLY and (only is None or fulfils(old[0], only)):
                self.model.points[one] = new

    @rule(ids=some_ids)
    def delete(self, ids):
        self.client.delete(self.name, ids)
        for one in ids:
            self.model.points.pop(one, None)

    @rule(condition=conditions)
    def delete_matching(self, condition):
        self.client.delete(self.name, filter_of(condition))
        for one in self.model.chosen(condition):
            del self.model.points[one]

    @rule(one=point_ids, given=vectors)
    def update_vectors(self, one, given):
        new = self.those(given)
        write = [models.PointVectors(id=one, vector=new)]
        if not new:
            with pytest.raises(Refused):
                self.client.update_vectors(self.name, write)
        elif self.fails_without([one], lambda: self.client.update_vectors(self.name, write)):
            payload, held = self.model.points[one]
            self.model.points[one] = payload, {**held, **new}

    @rule(ids=some_ids, names=st.sets(st.sampled_from(["", "many", "words"]), min_size=1))
    def delete_vectors(self, ids, names):
        if self.fails_without(
            ids, lambda: self.client.delete_vectors(self.name, sorted(names), ids)
        ):
            for one in ids:
                payload, held = self.model.points[one]
                kept = {name: v for name, v in held.items() if name not in names}
                self.model.points[one] = payload, kept

    # Payloads

    @rule(ids=some_ids, new=payloads)
    def set_payload(self, ids, new):
        if self.fails_without(ids, lambda: self.client.set_payload(self.name, new, ids)):
            self.model.edit(ids, lambda old: merged(old, new))

    @rule(condition=conditions, new=payloads)
    def set_payload_of_matching(self, condition, new):
        self.client.set_payload(self.name, new, filter_of(condition))
        self.model.edit(self.model.chosen(condition), lambda old: merged(old, new))

    @rule(ids=some_ids, value=st.integers(0, 2))
    def set_payload_at_a_key(self, ids, value):
        write = {"a": value}
        if self.fails_without(
            ids, lambda: self.client.set_payload(self.name, write, ids, key="deep")
        ):
            self.model.edit(ids, lambda old: {**old, "deep": merged(old.get("deep") or {}, write)})

    @rule(ids=some_ids, new=payloads)
    def overwrite_payload(self, ids, new):
        if self.fails_without(ids, lambda: self.client.overwrite_payload(self.name, new, ids)):
            self.model.edit(ids, lambda old: without_null_texts(new))

    @rule(condition=conditions, keys=st.sets(st.sampled_from(KEYS), min_size=1))
    def delete_payload(self, condition, keys):
        self.client.delete_payload(self.name, sorted(keys), filter_of(condition))
        self.model.edit(
            self.model.chosen(condition),
            lambda old: {key: value for key, value in old.items() if key not in keys},
        )

    @rule(ids=some_ids)
    def clear_payload(self, ids):
        self.client.clear_payload(self.name, ids)
        self.model.edit(ids, lambda old: {})

    @rule(ids=some_ids, new=payloads, first=conditions, second=conditions, fails=st.booleans())
    def several(self, ids, new, first, second, fails):
        """In one batch: set a payload where a filter matches, delete points that match then, and
        clear other payloads; or use a missing id, which undoes everything."""
        last = models.SetPayload(payload={}, points=[777])
        write = [
            models.SetPayloadOperation(
                set_payload=models.SetPayload(payload=new, filter=filter_of(first))
            ),
            models.DeleteOperation(delete=models.FilterSelector(filter=filter_of(second))),
            models.ClearPayloadOperation(clear_payload=models.PointIdsList(points=ids)),
            *([models.SetPayloadOperation(set_payload=last)] if fails else []),
        ]
        if fails:
            with pytest.raises(Refused):
                self.client.batch_update_points(self.name, write)
            return
        self.client.batch_update_points(self.name, write)
        self.model.edit(self.model.chosen(first), lambda old: merged(old, new))
        for one in self.model.chosen(second):
            del self.model.points[one]
        self.model.edit(ids, lambda old: {})

    # Collections

    @rule()
    def add_or_drop_a_name(self):
        if "extra" in self.model.names:
            self.client.delete_vector_name(self.name, "extra")
            for _, held in self.model.points.values():
                held.pop("extra", None)
            self.model.names.discard("extra")
            return
        dense = models.DenseVectorConfig(size=3, distance=models.Distance.EUCLID)
        self.client.create_vector_name(
            self.name, "extra", models.DenseVectorNameConfig(dense=dense)
        )
        self.model.names.add("extra")

    @rule(key=st.sampled_from(["n", "w", "deep.a"]))
    def index_or_not(self, key):
        """It changes none of the results that are compared here."""
        kind = {"w": "keyword"}.get(key, "integer")
        if key in self.client.get_collection("one").payload_schema:
            self.client.delete_payload_index("one", key)
        else:
            self.client.create_payload_index("one", key, kind)

    @rule(name=st.sampled_from(["live", "other"]), fails=st.booleans())
    def alias(self, name, fails):
        made = models.CreateAlias(collection_name=sorted(self.held)[-1], alias_name=name)
        wrong = models.CreateAlias(collection_name="none", alias_name="x")
        write = [models.CreateAliasOperation(create_alias=made)]
        if fails:
            write.append(models.CreateAliasOperation(create_alias=wrong))
            with pytest.raises(Refused):
                self.client.update_collection_aliases(write)
            return
        self.client.update_collection_aliases(write)
        self.aliases[name] = made.collection_name

    @rule(name=st.sampled_from(["live", "other"]))
    def no_alias(self, name):
        gone = models.DeleteAlias(alias_name=name)
        self.client.update_collection_aliases([models.DeleteAliasOperation(delete_alias=gone)])
        self.aliases.pop(name, None)

    @precondition(lambda self: len(self.snapshots) < 3)
    @rule()
    def snapshot(self):
        taken = self.client.create_snapshot(self.name)
        path = self.path / "snapshots" / "collection-one" / taken.name
        self.snapshots.append((path, copy.deepcopy(self.model)))

    @precondition(lambda self: self.snapshots)
    @rule(number=st.integers(0, 2), name=st.sampled_from(["one", "two", "live"]))
    def recover(self, number, name):
        name = "two" if name == "live" and name not in self.aliases else name
        path, model = self.snapshots[number % len(self.snapshots)]
        self.client.recover_snapshot(name, str(path))
        self.held[self.aliases.get(name, name)] = copy.deepcopy(model)

    @precondition(lambda self: len(self.held) > 1)
    @rule()
    def delete_other_collections(self):
        for name in [name for name in self.held if name != "one"]:
            assert self.client.delete_collection(name)
            del self.held[name]
        self.aliases = {name: to for name, to in self.aliases.items() if to in self.held}

    @rule()
    def reopen(self):
        self.client.close()
        self.client = QdrantClient(path=self.path)

    @rule()
    def by_another_client(self):
        before, self.client = self.client, QdrantClient(path=self.path)
        before.close()

    # What is read

    @invariant()
    def points_are_those_of_the_model(self):
        if not hasattr(self, "held"):
            return
        assert {one.name for one in self.client.get_collections().collections} == set(self.held)
        for name, model in self.held.items():
            found, offset = self.client.scroll(name, limit=100, with_vectors=True)
            assert offset is None
            assert [one.id for one in found] == [one for one in IDS if one in model.points]
            for one in found:
                payload, held = model.points[one.id]
                assert one.payload == payload
                shown = one.vector if isinstance(one.vector, dict) else {"": one.vector}
                assert shown == held
            assert self.client.get_collection(name).points_count == len(model.points)

    @invariant()
    def filters_find_what_they_mean(self):
        if not hasattr(self, "held"):
            return
        for condition in (("n", 1), ("w", "x"), ("_document", "gold"), ("deep.a", 1)):
            found, _ = self.client.scroll("one", filter_of(condition), limit=100)
            assert {one.id for one in found} == set(self.model.chosen(condition))
        for name in sorted(self.model.names):
            having = models.Filter(must=[models.HasVectorCondition(has_vector=name)])
            expected = sum(name in held for _, held in self.model.points.values())
            assert self.client.count("one", having).count == expected

    @invariant()
    def hits_are_those_of_the_model(self):
        """In one request or one by one, with repeated filters, and for each kind of vectors: a
        known filter, a narrowed one, and a repetition with another limit."""
        if not hasattr(self, "held"):
            return
        self.asked += 1
        way = self.asked % 3
        narrow = [("w", "x"), ("n", self.asked % 4)]
        for using in ("", "many", "words"):
            self.ask_as_one([(using, [], 9), (using, [("n", 1)], 9), (using, narrow, 9)], way)
        same = [("", [("n", 1)], 1), ("", [("n", 1)], 9), ("", [("w", "x")], 9), ("", [], 2)]
        self.ask_as_one(same, way)

    def ask_as_one(self, questions, way):
        """Each query has a vector name, conditions, and a limit."""
        requests = [
            models.QueryRequest(
                query=QUERIES[using],
                using=using,
                filter=models.Filter(must=[one for c in conditions for one in filter_of(c).must]),
                limit=limit,
                params=models.SearchParams(exact=way == 1),
            )
            for using, conditions, limit in questions
        ]
        if way == 2:
            answers = [self.client.query_points("one", **one_by_one(one)) for one in requests]
        else:
            answers = self.client.query_batch_points("one", requests)
        for (using, conditions, limit), answer in zip(questions, answers, strict=True):
            scores = {
                one: SCORES[using](held[using])
                for one, (payload, held) in self.model.points.items()
                if using in held and all(fulfils(payload, c) for c in conditions)
            }
            scores = {one: score for one, score in scores.items() if score is not None}
            assert [hit.score for hit in answer.points] == sorted(scores.values())[::-1][:limit]
            assert all(scores[hit.id] == hit.score for hit in answer.points)

    @invariant()
    def values_are_counted_where_they_are_indexed(self):
        if hasattr(self, "held") and "w" in self.client.get_collection("one").payload_schema:
            found = [payload.get("w") for payload, _ in self.model.points.values()]
            counts = {value: found.count(value) for value in found if value is not None}
            hits = self.client.facet("one", "w").hits
            assert {hit.value: hit.count for hit in hits} == counts

    @invariant()
    def aliases_are_those_of_the_model(self):
        if hasattr(self, "held"):
            found = self.client.get_aliases().aliases
            assert {one.alias_name: one.collection_name for one in found} == self.aliases


@pytest.mark.property
def test_any_order_of_writes_gives_the_expected_content():
    run_state_machine_as_test(Writes, settings=turns(8, 20))


@pytest.mark.slow
@pytest.mark.property
def test_any_long_order_of_writes_gives_the_expected_content():
    run_state_machine_as_test(Writes, settings=turns(150, 60))
