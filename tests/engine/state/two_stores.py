"""Any sequence of operations, through two stores on one directory that are sometimes reopened,
compared with a dict.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from retrieval_store.errors import IDAlreadyExistsError
from retrieval_store.filters.expression import OneOf, Range
from retrieval_store.query.types import UNSET, Fields, NewSpace, PointBatch, Vectors, WriteRules
from tests.helpers import inside
from tests.helpers.questions import nearest_to, search

ids = st.lists(st.integers(0, 9), min_size=1, max_size=5, unique=True)
payloads = st.one_of(
    st.none(), st.dictionaries(st.sampled_from("ab"), st.one_of(st.none(), st.integers(0, 3)))
)
who = st.integers(0, 1)


class TwoStores(RuleBasedStateMachine):
    """held: id → (vector, payload, document), in order of first insertion."""

    @initialize()
    def start(self):
        self.folder = Path(tempfile.mkdtemp())
        self.stores = [inside.opened(self.folder), inside.opened(self.folder)]
        self.id = self.stores[0].create("things", {}, {"v": NewSpace("l2")}).id
        self.held = {}

    def teardown(self):
        if hasattr(self, "folder"):
            for store in self.stores:
                store.close()
            shutil.rmtree(self.folder)

    def points(self, number):
        return self.stores[number].points(self.id)

    @rule(number=who, ids=ids, value=st.integers(0, 50), payload=payloads)
    def add(self, number, ids, value, payload):
        batch = PointBatch(
            ids,
            {"v": Vectors(np.full((len(ids), 2), value, np.float32))},
            [payload] * len(ids),
            [f"text {value}"] * len(ids),
        )
        try:
            self.points(number).put(batch, WriteRules("refuse", "insert"))
            assert not set(ids) & set(self.held)
            self.held.update(dict.fromkeys(ids, (value, payload, f"text {value}")))
        except IDAlreadyExistsError:
            assert set(ids) & set(self.held)

    @rule(number=who, ids=ids, value=st.integers(0, 50), payload=payloads, merge=st.booleans())
    def upsert(self, number, ids, value, payload, merge):
        batch = PointBatch(
            ids,
            {"v": Vectors(np.full((len(ids), 2), value, np.float32))},
            [UNSET if payload is None else payload] * len(ids),
        )
        rules = WriteRules("update", "insert", merge_payloads=merge)
        result = self.points(number).put(batch, rules)
        assert result.updated == len(set(ids) & set(self.held))
        for i in ids:
            if i not in self.held:
                self.held[i] = (value, payload, None)
                continue
            _, old, text = self.held[i]
            new = old if payload is None else payload
            if merge and payload is not None:
                new = {**(old or {}), **payload}
                for key in [key for key, item in payload.items() if item is None]:
                    del new[key]
            self.held[i] = (value, new, text)

    @rule(number=who, ids=ids)
    def delete(self, number, ids):
        assert self.points(number).delete(ids, None, None) == len(set(ids) & set(self.held))
        for i in ids:
            self.held.pop(i, None)

    @rule(number=who, value=st.integers(0, 3), limit=st.one_of(st.none(), st.integers(0, 3)))
    def delete_by_filter(self, number, value, limit):
        matching = [i for i, (_, p, _) in self.held.items() if (p or {}).get("a") == value][:limit]
        assert self.points(number).delete(None, OneOf(("a",), (value,)), limit) == len(matching)
        for i in matching:
            del self.held[i]

    @rule(number=who)
    def reopen(self, number):
        self.stores[number].close()
        self.stores[number] = inside.opened(self.folder)

    @rule(number=who)
    def optimize(self, number):
        self.stores[number].optimize(self.id, lambda *_: None)

    @rule(number=who, value=st.integers(0, 3))
    def filter(self, number, value):
        found = self.points(number).get(None, Range(("b",), gte=value), None, 0, Fields()).ids
        numbers = {i: (payload or {}).get("b") for i, (_, payload, _) in self.held.items()}
        assert found == [i for i, b in numbers.items() if b is not None and b >= value]

    @invariant()
    def both_hold_the_same(self):
        for number in range(2):
            points = self.points(number)
            got = points.get(None, None, None, 0, Fields(True, True, False, ("v",)))
            assert got.ids == list(self.held)
            vectors = got.vectors["v"][:, 0].tolist() if self.held else []
            assert list(zip(vectors, got.payloads, got.documents, strict=True)) == list(
                self.held.values()
            )
            assert points.count() == len(self.held)
            query = np.full((1, 2), 20, np.float32)
            (hits,) = search(points, nearest_to("v", query, 4, None), Fields())
            places = {i: n for n, i in enumerate(self.held)}
            nearest = sorted(self.held, key=lambda i: (abs(self.held[i][0] - 20), places[i]))
            assert hits.points.ids == nearest[:4]
