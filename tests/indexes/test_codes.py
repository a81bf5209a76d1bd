"""Bounds by codes compared with float64: no instruction set excludes a true neighbour."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_store.base import arrays
from retrieval_store.indexes import quantized
from retrieval_store.indexes.exact import BY_PRODUCTS, is_safe_length, length_of
from retrieval_store.indexes.native import (
    BLOCK,
    MAX_DIMENSIONS,
    Listed,
    RowFilter,
    RowTest,
    kernel,
)
from retrieval_store.indexes.quantized import (
    Frame,
    allocate_codes,
    best_frame,
    encode_into,
    first_of,
    gather_codes,
    serves,
)
from tests.helpers import inside
from tests.helpers.indexed import with_codes
from tests.helpers.oracle import brute_measures
from tests.helpers.tuned import tuned
from tests.indexes.test_exact import CLOUDS

pytestmark = with_codes
SETS = [] if kernel() is None else kernel().names
# This machine's own, and the others that it can run.
EVERY_SET = pytest.mark.parametrize(
    "instructions",
    [one if one == kernel().name else pytest.param(one, marks=pytest.mark.others) for one in SETS],
)


@pytest.fixture(autouse=True)
def usual_instructions():
    """Each test starts with the default instruction set."""
    usual = kernel().name
    yield
    kernel().use(usual)


HARD = {
    **CLOUDS,
    "one number far larger than the others": lambda random, shape: (
        random.standard_normal(shape) * np.where(np.arange(shape[1]) == 0, 1e4, 1)
    ),
    "some of an unsafe length": lambda random, shape: (
        random.standard_normal(shape)
        * np.where(random.random((shape[0], 1)) < 0.01, 10.0 ** random.integers(-38, 18), 1)
    ),
    "denormal": lambda random, shape: random.standard_normal(shape) * 1e-40,
    "nearly the same": lambda random, shape: 1 + random.standard_normal(shape) * 1e-6,
    "few that are repeated": lambda random, shape: random.standard_normal((5, shape[1]))[
        random.integers(0, 5, shape[0])
    ],
    "next to their centre, by less than float32 can square": lambda random, shape: (
        np.eye(1, shape[1]) + random.standard_normal(shape) * 10.0 ** -random.integers(18, 28)
    ),
    "all zero": lambda random, shape: np.zeros(shape),
}


def encoded(rows, metric, frame=None):
    """Codes of rows, with random bytes in gaps."""
    into = allocate_codes(len(rows), frame or best_frame(rows, metric, 11))
    into.high[:], into.low[:], into.rows[:], into.finer[:] = 255, 255, np.nan, np.nan
    into.signs[:] = 255
    for start in range(0, len(rows), 333):
        encode_into(into, start, rows[start : start + 333])
    return first_of(into, len(rows))


def candidates(queries, lengths, pieces, *sought, **more):
    """See `quantized.candidates`; the other arguments are the fields of `Sought`."""
    return quantized.candidates(queries, lengths, pieces, quantized.SearchGoal(*sought, **more))


def coded(rows, metric, pieces):
    """Codes of rows in this many pieces, each with its own frame."""
    size = max(BLOCK, -(-len(rows) // pieces // BLOCK) * BLOCK)
    firsts = range(0, len(rows), size)
    made = [encoded(rows[first : first + size], metric) for first in firsts]
    return quantized.CodeSegments.of(made, firsts)


def missed(rows, queries, metric, k, found):
    """The rows among the k nearest in float64, ties included, that aren't candidates."""
    lost = []
    for query, slots in zip(queries, found, strict=True):
        if slots is not None:
            distances = brute_measures(query, rows, metric)
            nearest = np.flatnonzero(distances <= np.sort(distances)[min(k, len(rows)) - 1])
            lost.append(np.setdiff1d(nearest, slots))
    return np.concatenate(lost) if lost else np.empty(0)


def usable(queries, metric):
    lengths = [length_of(query) for query in queries]
    good = [is_safe_length(length) and length > 0 for length in lengths]
    return queries[good], [length for length, one in zip(lengths, good, strict=True) if one]


def bits_of(allowed):
    padded = np.zeros(-(-len(allowed) // BLOCK) * BLOCK, np.bool_)
    padded[: len(allowed)] = allowed
    return np.packbits(padded, bitorder="little").view("<u4")


@EVERY_SET
@pytest.mark.parametrize("metric", BY_PRODUCTS)
@pytest.mark.parametrize("cloud", HARD)
def test_no_true_neighbour_is_excluded(cloud, metric, instructions):
    kernel().use(instructions)
    random = np.random.default_rng(3)
    rows = HARD[cloud](random, (3_000, 48)).astype(np.float32)
    rows[10], rows[20] = 0, rows[30]
    others = HARD[cloud](random, (4, 48)).astype(np.float32)
    queries, lengths = usable(np.vstack([others, rows[30:31], rows[:2]]), metric)
    pieces = coded(rows, metric, 3)
    found = candidates(queries, lengths, pieces, 10, len(rows))
    assert not len(missed(rows, queries, metric, 10, found))
    alone = [
        candidates(queries[i : i + 1], lengths[i : i + 1], pieces, 10, len(rows))[0]
        for i in range(len(queries))
    ]
    for one, other in zip(found, alone, strict=True):  # together and alone
        assert sorted(one) == sorted(other)


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_no_true_neighbour_is_excluded_for_any_vectors(data):
    kernel().use(data.draw(st.sampled_from(SETS)))
    metric = data.draw(st.sampled_from(BY_PRODUCTS))
    dimension = data.draw(st.sampled_from([1, 2, 3, 7, 31, 64, 100, 257, 1_041, 4_096]))
    count = data.draw(st.integers(1, 400))
    seed, cloud = data.draw(st.integers(0, 2**32 - 1)), data.draw(st.sampled_from(sorted(HARD)))
    size = 10.0 ** data.draw(st.integers(-11, 11))
    random = np.random.default_rng(seed)
    shift = data.draw(st.sampled_from([0, 0, 1, 300])) * size
    rows = (HARD[cloud](random, (count, dimension)) * size + shift).astype(np.float32)
    for place in data.draw(st.lists(st.integers(0, count - 1), max_size=3)):
        rows[place] = data.draw(st.sampled_from([np.float32(0), rows[0], np.float32(1e-42)]))
    others = (random.standard_normal((2, dimension)) * size + shift).astype(np.float32)
    queries, lengths = usable(np.vstack([others, rows[:3]]), metric)
    k = data.draw(st.integers(1, 30))
    pieces = coded(rows, metric, data.draw(st.integers(1, 3)))
    found = candidates(queries, lengths, pieces, k, count)
    assert not len(missed(rows, queries, metric, k, found))


def filters_of_rows(random, allowed):
    """Filters of the same slots; some are by rows: by bits, by a test, and by both."""
    moved = np.flatnonzero(random.random(len(allowed)) < random.choice([0, 0.01, 0.5]))
    rows = arrays.CowArray(np.arange(len(allowed)), moved, random.permutation(moved))
    allowed_rows = np.zeros(len(allowed), np.bool_)
    allowed_rows[rows[np.arange(len(allowed))]] = allowed
    more = allowed_rows | (random.random(len(allowed)) < 0.5)
    exact, wider = map(arrays.bits_of, (allowed_rows, more))
    tests = [RowTest.of(Listed(np.flatnonzero(one))) for one in (allowed_rows, more)]
    pairs = [(exact, None), (None, tests[0]), (wider, tests[0]), (exact, tests[1])]
    return [RowFilter(rows, *pair) for pair in pairs]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(BY_PRODUCTS), st.floats(0.01, 1.0), st.data())
def test_excluded_rows_are_not_candidates_and_the_others_are(seed, metric, share, data):
    kernel().use(data.draw(st.sampled_from(SETS)))
    random = np.random.default_rng(seed)
    rows = random.standard_normal((700, 24)).astype(np.float32)
    queries, lengths = usable(random.standard_normal((3, 24)).astype(np.float32), metric)
    allowed = random.random(len(rows)) < share
    slots = np.flatnonzero(allowed)
    pieces, k = coded(rows, metric, 2), 5
    by_bits = candidates(queries, lengths, pieces, k, len(rows), bits_of(allowed))
    by_rows = [
        candidates(queries, lengths, pieces, k, len(rows), one)
        for one in filters_of_rows(random, allowed)
    ]
    frame = best_frame(rows, metric, 5)
    parts = [encoded(rows[first : first + 64], metric, frame) for first in range(0, 700, 64)]
    chosen = [(part, slots[slots // 64 == i] % 64) for i, part in enumerate(parts)]
    copies = quantized.CodeSegments.of([gather_codes(chosen, slots)], [0])
    by_copies = candidates(queries, lengths, copies, k, len(rows))
    for found in (by_bits, by_copies, *by_rows):
        for query, slots_found in zip(queries, found, strict=True):
            assert allowed[slots_found].all()
            distances = brute_measures(query, rows, metric)[slots]
            nearest = slots[np.argsort(distances, kind="stable")[:k]]
            assert np.isin(nearest, slots_found).all()


COUNT = 10_000


def gauss(random, dimension=384, count=COUNT):
    return random.standard_normal((count + 3, dimension), np.float32)


def few_large(random):
    rows = gauss(random)
    rows[:, :4] *= 50
    return rows


def windows(random):
    """Means of fifty consecutive vectors, like sliding windows of a text."""
    sums = np.cumsum(gauss(random, count=COUNT + 50), axis=0, dtype=np.float64)
    rows = (sums[50:] - sums[:-50])[: COUNT + 3]
    random.shuffle(rows)
    return rows


def near_duplicates(random):
    """A hundred near duplicates of each vector, group by group; the queries are near some of
    them."""
    each = np.repeat(gauss(random, count=COUNT // 100), 100, axis=0)[:COUNT]
    rows = np.vstack([each, each[:: COUNT // 3][:3]])
    return rows + 0.05 * gauss(random)


HARD_TO_TELL = {
    "gauss": (gauss, BY_PRODUCTS),
    "gauss of 1,536": (lambda random: gauss(random, 1_536), ("cosine",)),
    "far from the origin": (lambda random: gauss(random) + 30, ("l2",)),
    "a few large": (few_large, ("ip",)),
    "sparse": (lambda random: gauss(random) * (random.random((COUNT + 3, 384)) < 0.02), ("ip",)),
    "binary": (lambda random: np.sign(gauss(random)).clip(0), ("cosine",)),
    "sliding windows": (windows, ("cosine",)),
    "near duplicates": (near_duplicates, ("l2",)),
    "heavy tails": (lambda random: gauss(random) * np.exp(random.standard_normal((COUNT + 3, 1))), ("ip",)),
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "metric"),
    [(kind, metric) for kind, (_, each) in HARD_TO_TELL.items() for metric in each],
)
def test_few_floats_remain_of_similar_vectors(kind, metric):
    make, _ = HARD_TO_TELL[kind]
    rows = make(np.random.default_rng(0)).astype(np.float32)
    rows, others = rows[:-3], rows[-3:]
    queries, lengths = usable(others, metric)
    found = candidates(queries, lengths, coded(rows, metric, 2), 10, len(rows))
    assert max(len(slots) for slots in found) <= len(rows) // 20
    assert not len(missed(rows, queries, metric, 10, found))


def test_few_candidates_are_left_of_many_vectors_also_where_many_are_wanted():
    random = np.random.default_rng(0)
    rows = random.standard_normal((20_000, 128)).astype(np.float32)
    queries, lengths = usable(random.standard_normal((20, 128)).astype(np.float32), "cosine")
    pieces = coded(rows, "cosine", 2)
    for k, most in ((10, 40), (1_000, 2_000)):
        found = candidates(queries, lengths, pieces, k, 20_000)
        assert np.median([len(slots) for slots in found]) < most
        assert not len(missed(rows, queries, "cosine", k, found))


def test_a_frame_is_shared_by_rows_of_one_kind_and_by_no_others():
    random = np.random.default_rng(0)
    near = random.standard_normal((4_000, 64)).astype(np.float32)
    for metric in BY_PRODUCTS:
        for rows in (near, near + np.float32(300)):
            frame = best_frame(rows, metric, 1)
            assert serves(frame, best_frame(rows[:500], metric, 2), rows[:500])
        other = near + np.float32(300) * np.sign(near[0])
        assert not serves(frame, best_frame(other, metric, 3), other)


def test_queries_with_too_many_candidates_are_separated_from_the_others():
    rows = np.vstack([np.ones((3_000, 16)), -np.eye(16)]).astype(np.float32)
    queries, lengths = usable(np.vstack([np.ones(16), -np.eye(16)[0]]).astype(np.float32), "cosine")
    pieces = coded(rows, "cosine", 1)
    hard, easy = candidates(queries, lengths, pieces, 1, 500)
    assert hard is None and 3_000 in easy
    assert candidates(queries[:1], lengths[:1], pieces, 1, 500) == [None]


@pytest.mark.parametrize("metric", BY_PRODUCTS)
@pytest.mark.parametrize("far", [0, 100])
@pytest.mark.parametrize("datatype", [np.float16, np.uint8])
def test_codes_of_other_datatypes_are_those_of_their_numbers(metric, far, datatype):
    rows = (3 * np.random.default_rng(4).standard_normal((3_000, 24)) + far).clip(0)
    rows = rows.astype(datatype)
    wide = rows.astype(np.float32)
    frame = best_frame(wide, metric, 1)
    one, other = encoded(rows, metric, frame), encoded(wide, metric, frame)
    blocks, count = len(rows) // BLOCK, len(rows)
    for name, stop in (
        ("high", blocks),
        ("low", count),
        ("rows", count),
        ("finer", count),
        ("signs", blocks),
    ):
        assert np.array_equal(getattr(one, name)[:stop], getattr(other, name)[:stop]), name


def test_rows_of_unsafe_length_are_always_candidates():
    random = np.random.default_rng(0)
    rows = random.standard_normal((2_000, 16)).astype(np.float32)
    rows[[5, 700]] = [[1e30] * 16, [1e-30] * 16]
    queries, lengths = usable(random.standard_normal((3, 16)).astype(np.float32), "cosine")
    for slots in candidates(queries, lengths, coded(rows, "cosine", 1), 3, 2_000):
        assert {5, 700} <= set(slots.tolist()) and len(slots) < 300


@pytest.mark.parametrize("dimension", [1, 3, 31, 64, 1_041, MAX_DIMENSIONS])
def test_a_rotation_keeps_lengths_and_products(dimension):
    random = np.random.default_rng(0)
    rows = random.standard_normal((5, dimension))
    turned = inside.rotated(rows, Frame(3, np.zeros(dimension, np.float32), "l2"))
    assert np.allclose(turned @ turned.T, rows @ rows.T, rtol=1e-12, atol=1e-9)


@EVERY_SET
def test_the_largest_sums_do_not_overflow(instructions):
    kernel().use(instructions)
    frame = Frame(0, np.zeros(MAX_DIMENSIONS, np.float32), "ip")
    alike = inside.rotated(np.ones((1, MAX_DIMENSIONS)), frame)[
        0
    ]  # numbers that a rotation makes of …
    back = frame.flips[0] * np.sign(alike)
    rows = np.vstack([back * i for i in (1, -1, 2, -2, 3, -3)]).astype(np.float32)
    queries, lengths = usable(rows, "ip")
    found = candidates(queries, lengths, coded(rows, "ip", 1), 1, 6)
    assert not len(missed(rows, queries, "ip", 1, found))


def test_rows_of_very_different_lengths_are_found_at_any_position():
    """The query is the centre, so only lengths distinguish rows; most don't match."""
    base = np.zeros((64, 32), np.float32)
    base[:, 0] = 1
    far = np.repeat(base, 2, axis=0)
    far[::2, 1] = 3_000 + np.arange(64)
    pieces = quantized.CodeSegments.of([encoded(base, "l2"), encoded(far, "l2")], [0, 64])
    allowed = np.zeros(192, np.bool_)
    allowed[64::2] = True
    (found,) = candidates(base[:1], [1.0], pieces, 1, 192, bits_of(allowed))
    assert 64 in found


def test_many_queries_with_many_candidates_run_one_after_another(monkeypatch):
    tuned(monkeypatch, codes_noted=5_000)
    random = np.random.default_rng(0)
    rows = random.standard_normal((2_000, 32)).astype(np.float32)
    queries, lengths = usable(random.standard_normal((9, 32)).astype(np.float32), "l2")
    found = candidates(queries, lengths, coded(rows, "l2", 1), 7, 2_000)
    assert len(found) == 9 and not len(missed(rows, queries, "l2", 7, found))


@EVERY_SET
@pytest.mark.parametrize("metric", BY_PRODUCTS)
def test_all_within_a_distance_are_left_and_few_others(metric, instructions):
    kernel().use(instructions)
    random = np.random.default_rng(0)
    rows = random.standard_normal((5_000, 64)).astype(np.float32)
    queries, lengths = usable(random.standard_normal((3, 64)).astype(np.float32), metric)
    distances = np.array([brute_measures(query, rows, metric) for query in queries])
    within = float(np.sort(distances, axis=1)[:, 30].mean())
    pieces = coded(rows, metric, 2)
    found = candidates(queries, lengths, pieces, 1_000, 5_000, within=within)
    for own, slots in zip(distances, found, strict=True):
        near = np.flatnonzero(own <= within)
        assert np.isin(near, slots).all() and len(slots) < len(near) + 40
