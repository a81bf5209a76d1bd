"""Clusters by themselves: what places say, with and without the compiled part, and what is found."""

import numpy as np
import pytest

from retrieval_store.base.arrays import METRICS, CowArray, bits_of
from retrieval_store.indexes.clusters import (
    Clusters,
    Effort,
    Places,
    assign,
    clusters_of_slots,
    encoded,
    in_clusters,
    needed_places,
    refuse_misplaced,
    refuse_wrong_places,
    train,
)
from retrieval_store.indexes.native import Numbered, RowFilter, RowTest, address, kernel
from tests.helpers import inside
from tests.helpers.oracle import brute_force

SETS = [] if kernel() is None else kernel().names
COUNT, DIMENSION = 3_000, 40
BY_PRODUCTS = [metric for metric in METRICS if metric != "l1"]


@pytest.fixture(autouse=True)
def usual_instructions():
    usual = kernel() and kernel().name
    yield
    if usual:
        kernel().use(usual)


def without_kernel(monkeypatch):
    inside.search_clusters_by_numpy(monkeypatch)


def cloud(count=COUNT, dimension=DIMENSION, datatype="float32", seed=0):
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((50, dimension))
    rows = centres[draw.integers(0, 50, count)] + 0.5 * draw.standard_normal((count, dimension))
    return (rows * 20 + 128).clip(0, 255).astype("B") if datatype == "B" else rows.astype(datatype)


def made_of(rows, metric):
    slots = np.arange(len(rows))
    trained = train(rows, slots, metric, 3, lambda: None)
    one, other = assign(rows, slots, trained, lambda: None)
    order = in_clusters(slots, one, other, len(trained.model.centres))
    blocks = np.concatenate([*encoded(rows, trained.model, order, 8)])
    return trained, Clusters(trained.model, (Places(blocks, order.offsets),), len(rows))


def searched(clusters, rows, query, wanted=2_000, **more):
    query = query.astype(np.float32)
    length = float(np.linalg.norm(query.astype(float)))
    return clusters.search(query, length, 10, Effort(wanted), 200, rows, **more)


@pytest.mark.parametrize("datatype", ["float32", "float16", "B"])
@pytest.mark.parametrize("metric", BY_PRODUCTS)
def test_all_instruction_sets_and_numpy_find_the_same(metric, datatype, monkeypatch):
    rows, queries = cloud(datatype=datatype), cloud(30, datatype=datatype, seed=1)
    _, clusters = made_of(rows, metric)
    found = []
    for name in SETS:
        kernel().use(name)
        found.append([searched(clusters, rows, query) for query in queries])
    without_kernel(monkeypatch)
    found.append([searched(clusters, rows, query) for query in queries])
    for query, *each in zip(queries, *found, strict=True):
        hits = [set(one.slots[:10].tolist()) for one in each]
        assert all(len(hits[0] & one) >= 8 for one in hits)
        far = brute_force(query.astype(np.float32), rows.astype(np.float32), metric)
        for one in each:
            assert np.allclose(one.distances[:10], far[one.slots[:10]], rtol=1e-9, atol=1e-9)
            assert (np.diff(one.distances[: one.chosen]) >= 0).all()
    true = [np.argsort(brute_force(q.astype("f"), rows.astype("f"), metric))[:10] for q in queries]
    right = [np.isin(t, f.slots[:10]).mean() for t, f in zip(true, found[0], strict=True)]
    assert np.mean(right) > 0.9


@pytest.mark.skipif(not SETS, reason="there is no compiled part")
@pytest.mark.parametrize("dimension", [20, 64, 77, 300])
def test_places_are_the_same_with_and_without_the_compiled_part(dimension, monkeypatch):
    rows = cloud(500, dimension)
    trained, clusters = made_of(rows, "cosine")
    (places,) = clusters.parts
    without_kernel(monkeypatch)
    _, other = made_of(rows, "cosine")
    assert (places.offsets == other.parts[0].offsets).all()
    refuse_wrong_places(rows, trained.model, places, 0, 500)
    refuse_misplaced(rows, trained, places, np.arange(500))


def test_false_places_are_refused():
    rows = cloud()
    trained, clusters = made_of(rows, "l2")
    (places,) = clusters.parts
    for at, why in ((0, "signs"), (64 * 3 + 5, "factors")):
        forged = Places(places.blocks.copy(), places.offsets)
        forged.blocks[7, at : at + 20] ^= 255
        with pytest.raises(ValueError, match=why):
            refuse_wrong_places(rows, trained.model, forged, 0, COUNT)
    with pytest.raises(ValueError, match="other slots"):
        refuse_wrong_places(rows, trained.model, places, 0, COUNT - 1)
    order = in_clusters(
        np.arange(COUNT), *(np.zeros(COUNT, np.int32),) * 2, len(places.offsets) - 1
    )
    elsewhere = Places(np.concatenate([*encoded(rows, trained.model, order)]), order.offsets)
    with pytest.raises(ValueError, match="too far away"):
        refuse_misplaced(rows, trained, elsewhere, np.arange(COUNT))


def test_no_more_is_found_than_is_allowed_and_each_slot_once():
    rows = cloud()
    _, clusters = made_of(rows, "cosine")
    allowed = np.zeros(-(-COUNT // 32), "<u4")
    allowed[10:20] = 0x55555555
    for query in cloud(20, seed=2):
        found = searched(clusters, rows, query, wanted=10**6, allowed=allowed)
        assert found.chosen == 10 and (found.slots % 2 == 0).all()
        assert ((found.slots >= 320) & (found.slots < 640)).all()
        assert len({*found.slots.tolist()}) == len(found.slots)
        assert (searched(clusters, rows, query, limit=100).slots < 100).all()


@pytest.mark.parametrize("compiled", [True, False])
def test_a_filter_of_rows_allows_the_slots_of_those_rows(compiled, monkeypatch):
    rows, chance = cloud(), np.random.default_rng(3)
    _, clusters = made_of(rows, "cosine")
    row_of_slot = chance.permutation(COUNT + 50)[:COUNT]
    row_of_slot[::7] = -1  # slots without a row
    moved = np.arange(0, COUNT, 13)  # slots of other rows than at first
    before = row_of_slot.copy()
    before[moved] = 5
    rows_of = CowArray(before, moved, row_of_slot[moved])
    mask = chance.random(COUNT + 50) < 0.2
    some = (row_of_slot >= 0) & mask[row_of_slot]
    if not compiled:
        without_kernel(monkeypatch)
    for query in cloud(20, seed=2):
        far = brute_force(query, rows, "cosine")
        mask[-40:] = 0  # their rows have no numbers
        some = (row_of_slot >= 0) & mask[row_of_slot]
        filters = [(RowFilter(rows_of, None), row_of_slot >= 0)]
        filters += [(RowFilter(rows_of, bits_of(mask)), some)]
        for dtype in ("u1", "u2", "u4"):
            numbers = np.where(mask, chance.integers(5, 8, len(mask)), 4).astype(dtype)
            numbers[3::9][~mask[3::9]] = 8
            over = np.arange(0, len(mask), 11)
            numbers[over] = chance.integers(4, 9, len(over))
            changed = over, over[mask[over]]
            packed = address(numbers), numbers.itemsize, 0, len(numbers) - 40
            within = Numbered(numbers[:-40], packed, (5, 8), None, *changed)
            filters.append((RowFilter(rows_of, None, RowTest.of(within)), some))
        for among, allowed in filters:
            found = searched(clusters, rows, query, 10**6, allowed=among)
            true = np.sort(far[allowed])[:10]
            assert allowed[found.slots].all()
            assert np.allclose(found.distances[:10], true, rtol=1e-9, atol=1e-9)


def test_what_is_needed_is_what_a_search_reaches():
    rows = cloud()
    _, clusters = made_of(rows, "l2")
    of_slots = clusters_of_slots(clusters)
    one, other = of_slots
    assert (one >= 0).all() and (other >= 0).all()
    for query in cloud(10, seed=4):
        length = float(np.linalg.norm(query))
        true = np.argsort(brute_force(query, rows, "l2"))[:10]
        far = brute_force(query, rows, "l2")[true[9]]
        (needed,) = needed_places(clusters, query, length, of_slots, true[:1], -far / 2)
        found = searched(clusters, rows, query, wanted=int(needed))
        assert found.slots[0] == true[0]


def test_few_rows_and_equal_ones_have_clusters_too():
    rows = np.repeat(cloud(2), 40, axis=0)
    _, clusters = made_of(rows, "l2")
    found = searched(clusters, rows, rows[0], wanted=10**6)
    assert found.tied and set(found.slots[: found.chosen].tolist()) <= set(range(40))
    assert found.chosen >= 10 and (found.distances[: found.chosen] == 0).all()
