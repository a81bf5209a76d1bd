"""Sets of rows, ascending, and layers made of them."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_store.base.arrays import union
from retrieval_store.engine.state.caches import LayerCache, Layers, current, outside
from tests.helpers import inside
from tests.helpers.tuned import tuned

rows = st.sets(st.integers(0, 300)).map(lambda found: np.array(sorted(found), np.int64))


@given(rows, rows)
def test_rows_of_both_and_rows_of_one_alone(one, other):
    assert union(one, other).tolist() == sorted({*one.tolist(), *other.tolist()})
    assert one[outside(one, other)].tolist() == sorted({*one.tolist()} - {*other.tolist()})
    narrow = one.astype(np.int32)
    assert narrow[outside(narrow, other)].tolist() == one[outside(one, other)].tolist()


class Segment:
    nbytes = 1

    def __init__(self, rows):
        self.rows, self.is_empty = rows, not len(rows)


@given(st.lists(rows, max_size=5))
def test_above_a_segment_are_the_rows_of_those_that_come_later(stack):
    above = Layers(tuple(map(Segment, stack)), np.empty(0, np.int64)).above()
    assert len(above) == len(stack)
    for i, found in enumerate(above):
        later = {row for rows in stack[i + 1 :] for row in rows.tolist()}
        assert (found is None) == (i == len(stack) - 1)
        assert found is None or found.tolist() == sorted(later)


NAMES = st.sampled_from([None, frozenset("a"), frozenset("b"), frozenset("ab"), frozenset("x")])
few = st.sets(st.integers(0, 9), max_size=3).map(lambda found: np.array(sorted(found), np.int64))
writes = st.tuples(st.just("a write"), st.dictionaries(NAMES, few, max_size=3))
builds = st.tuples(st.sampled_from("ab"), few, few, st.integers(0, 2))


@settings(max_examples=20)
@given(st.lists(st.one_of(writes, builds), max_size=30), st.sampled_from([3, 1_000]))
def test_stale_are_all_rows_that_were_changed_since_also_where_changes_were_merged(steps, kept):
    """A change may name its parts, "a" or "b"; then it counts only for layers built from that part.
    Some layers are built and read in a state that isn't the newest."""
    cache, seq, changed, built, floor = LayerCache(0, frozenset), 0, [], {}, None
    with pytest.MonkeyPatch.context() as patch:
        tuned(patch, changes_kept=kept)
        for what, some, *made in steps:
            if what == "a write":
                seq += 1
                cache.note(seq, some)
                changed.append(some)
            else:
                (lacking, behind), segment = made, Segment(some)
                since, floor = max(0, seq - behind), seq if floor is None else floor
                cache.keep(what, since, Layers((segment,), lacking))
                if since >= built.get(what, (0,))[0]:
                    built[what] = since, segment, {*lacking.tolist()}
            for key, (since, segment, lacking) in built.items():
                for reader in (seq, max(0, seq - 1)):
                    first, last = sorted((since, reader))
                    between = {
                        row
                        for one in changed[first:last]
                        for names, rows in one.items()
                        if names is None or key in names
                        for row in rows.tolist()
                    }
                    layers = cache.at(key, reader, 301)
                    stale, reported = {*layers.stale.tolist()}, cache.changed_rows(key, first, last)
                    assert reported is None if first < floor else {*reported.tolist()} >= between
                    if first < floor and since != reader:
                        assert (layers.segments, len(stale)) == ((), 301)
                        continue
                    assert layers.segments == (segment,)
                    assert stale >= between | lacking
                    assert stale == between | lacking or kept < len(changed)
                    if not stale and reader > since:  # they are as good as made of this state
                        since = reader
                        built[key] = since, segment, lacking


def test_the_number_of_cached_keys_is_bounded(monkeypatch):
    tuned(monkeypatch, keys_noted=5)
    spent, cache, nothing = inside.Payback(), LayerCache(0), np.empty(0, np.int64)
    for key in range(500):
        assert spent.spend(key, 2) == 2
        cache.keep(key, 0, Layers((Segment(nothing),), nothing))  # of what no row has
    assert len(spent) <= 6
    assert sum(key in cache for key in range(500)) <= 256


def test_threads_that_want_the_same_layers_wait_for_the_one_that_makes_them():
    cache, begun, goes_on, made = LayerCache(0), Event(), Event(), []

    def build(its):
        made.append(its)
        begun.set()
        assert goes_on.wait(30)
        return Segment(its)

    def ask():
        return current(cache, "a", 0, np.ones(3, np.bool_), build, lambda: None)

    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(ask)
        assert begun.wait(30)
        others = [threads.submit(ask) for _ in range(3)]
        goes_on.set()
        found = [one.result(30) for one in [first, *others]]
    assert len(made) == 1
    assert all(layers is found[0] for layers in found)
