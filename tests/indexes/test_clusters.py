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
from tests.helpers.oracle import brute_measures
from tests.often import times

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
        far = brute_measures(query.astype(np.float32), rows.astype(np.float32), metric)
        for one in each:
            assert np.allclose(one.distances[:10], far[one.slots[:10]], rtol=1e-9, atol=1e-9)
            assert (np.diff(one.distances[: one.chosen]) >= 0).all()
    true = [
        np.argsort(brute_measures(q.astype("f"), rows.astype("f"), metric))[:10] for q in queries
    ]
    right = [np.isin(t, f.slots[:10]).mean() for t, f in zip(true, found[0], strict=True)]
    assert np.mean(right) > 0.9


DRAW = np.random.default_rng(4)
NORMAL = DRAW.standard_normal
# Data of which residuals are 0, or hardly more than roundings, or differ in size.
ODD = {
    "clustered": lambda n, d: NORMAL((30, d))[DRAW.integers(0, 30, n)] + 0.3 * NORMAL((n, d)),
    "tight": lambda n, d: NORMAL((30, d))[DRAW.integers(0, 30, n)] + 1e-4 * NORMAL((n, d)),
    "copies": lambda n, d: np.repeat(NORMAL((n // 25, d)), 25, axis=0),
    "zeros and ones": lambda n, d: (DRAW.random((n, d)) < 0.1) * 1.0,
    "small integers": lambda n, d: DRAW.integers(0, 4, (n, d)) * 1.0,
    "one direction": lambda n, d: NORMAL((n, d)) + 1_000,
    "few directions": lambda n, d: NORMAL((n, 3)) @ NORMAL((3, d)),
    "of many lengths": lambda n, d: NORMAL((n, d)) * np.exp(3 * NORMAL((n, 1))),
    "tiny": lambda n, d: NORMAL((n, d)) * 1e-11,
}


@pytest.mark.parametrize("dimension", times([77], [20, 64, 77, 300]))
@pytest.mark.parametrize("metric", BY_PRODUCTS)
@pytest.mark.parametrize("kind", ODD)
def test_places_are_right_but_for_roundings_whatever_made_them(
    kind, metric, dimension, monkeypatch
):
    rows = ODD[kind](500, dimension).astype(np.float32)
    rows[np.linalg.norm(rows, axis=1) == 0] = 1
    made = []
    for name in SETS:
        kernel().use(name)
        made.append(made_of(rows, metric))
    without_kernel(monkeypatch)
    made.append(made_of(rows, metric))
    for trained, clusters in made:
        (places,) = clusters.parts
        assert (places.offsets == made[-1][1].parts[0].offsets).all()
        refuse_wrong_places(rows, trained.model, places, 0, len(rows))
        living = DRAW.permutation(len(rows))[:300]  # in other pieces than when they were assigned
        refuse_misplaced(rows, trained, places, np.sort(living))


def forged(places, dimension, part, place, change):
    """The same places, of which one bit, or one of the numbers behind the bits, is another."""
    blocks, (block, row) = places.blocks.copy(), divmod(place, 32)
    if part == "sign":
        number = change
        blocks[block, number // 8 * 32 + row] ^= np.uint8(1 << number % 8)
    else:
        at = -(-dimension // 16) * 64 + (128 if part == "factor" else 0)
        numbers = blocks[block, at : at + 128].view("<f4")
        numbers[row] *= 1 + change
    return Places(blocks, places.offsets)


@pytest.mark.parametrize("metric", BY_PRODUCTS)
@pytest.mark.parametrize("kind", ["clustered", "tight", "one direction", "of many lengths"])
def test_one_false_bit_or_number_is_refused(kind, metric):
    rows = ODD[kind](500, 77).astype(np.float32)
    trained, clusters = made_of(rows, metric)
    (places,) = clusters.parts

    def refuses(part, place, change, why):
        wrong = forged(places, 77, part, place, change)
        with pytest.raises(ValueError, match=why):
            refuse_wrong_places(rows, trained.model, wrong, 0, 500)

    # Nothing follows from the signs of a row that is its centre, and little from an offset near 0.
    numbers = places.blocks[:, 5 * 64 : 5 * 64 + 256].view("<f4").reshape(-1, 2, 32)
    offsets, factors = numbers.transpose(1, 0, 2).reshape(2, -1)
    telling = np.flatnonzero((factors > 0) & (abs(offsets) >= np.median(abs(offsets))))
    for place in telling[::50].tolist():
        for number in range(0, 77, 15):
            refuses("sign", place, number, "signs")
        refuses("factor", place, 1e-3, "factors")
        refuses("offset", place, 1e-2, "offsets")
    refuses("sign", 0, 78, "signs")  # where there is no number


def test_false_places_are_refused():
    rows = cloud()
    trained, clusters = made_of(rows, "l2")
    (places,) = clusters.parts
    refuse_wrong_places(rows, trained.model, places, 0, COUNT)
    refuse_misplaced(rows, trained, places, np.arange(COUNT))
    with pytest.raises(ValueError, match="other slots"):
        refuse_wrong_places(rows, trained.model, places, 0, COUNT - 1)
    with pytest.raises(ValueError, match=f"slot {COUNT} has no place"):
        refuse_misplaced(cloud(COUNT + 1), trained, places, np.arange(COUNT + 1))
    order = in_clusters(
        np.arange(COUNT), *(np.zeros(COUNT, np.int32),) * 2, len(places.offsets) - 1
    )
    elsewhere = Places(np.concatenate([*encoded(rows, trained.model, order)]), order.offsets)
    with pytest.raises(ValueError, match="too far away"):
        refuse_misplaced(rows, trained, elsewhere, np.arange(COUNT))


@pytest.mark.parametrize("count", [1_000, 5_000])
def test_one_vector_in_another_cluster_is_refused(count):
    """Below and above as many parents as a row is compared with."""
    rows = cloud(count)
    slots = np.arange(count)
    trained, _ = made_of(rows, "cosine")
    one, other = assign(rows, slots, trained, lambda: None)
    clusters = len(trained.model.centres)
    moved = one.copy()
    moved[17] = (max(one[17], other[17]) + clusters // 2) % clusters
    other[17] = moved[17]
    order = in_clusters(slots, moved, other, clusters)
    blocks = np.concatenate([*encoded(rows, trained.model, order)])
    refuse_wrong_places(rows, trained.model, Places(blocks, order.offsets), 0, count)
    with pytest.raises(ValueError, match="slot 17 is in clusters that are too far away"):
        refuse_misplaced(rows, trained, Places(blocks, order.offsets), slots)


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
        far = brute_measures(query, rows, "cosine")
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
        true = np.argsort(brute_measures(query, rows, "l2"))[:10]
        far = brute_measures(query, rows, "l2")[true[9]]
        (needed,) = needed_places(clusters, query, length, of_slots, true[:1], -far / 2)
        found = searched(clusters, rows, query, wanted=int(needed))
        assert found.slots[0] == true[0]


def test_few_rows_and_equal_ones_have_clusters_too():
    rows = np.repeat(cloud(2), 40, axis=0)
    _, clusters = made_of(rows, "l2")
    found = searched(clusters, rows, rows[0], wanted=10**6)
    assert found.tied and set(found.slots[: found.chosen].tolist()) <= set(range(40))
    assert found.chosen >= 10 and (found.distances[: found.chosen] == 0).all()
