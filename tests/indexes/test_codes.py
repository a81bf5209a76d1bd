"""What codes bound, against float64: no true neighbour is ever proved out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_store.indexes import proof
from retrieval_store.indexes.codes import (
    best_centre,
    encode_into,
    gathered,
    part_of,
    room_for,
    serves,
    slices_of,
)
from retrieval_store.indexes.exact import BY_PRODUCTS, is_safe_length, length_of, norms_of
from retrieval_store.indexes.kernels import MOST_DIMENSIONS, packed, products
from tests.helpers.indexed import with_codes
from tests.helpers.oracle import brute_force
from tests.indexes.test_exact import CLOUDS
from tests.often import up_to

pytestmark = with_codes

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
    "all zero": lambda random, shape: np.zeros(shape),
}


def encoded(rows, metric, centre):
    """Codes of rows."""
    into = room_for(len(rows), rows.shape[1], metric, centre)
    encode_into(into, 0, rows, norms_of(rows).lengths, metric)
    return part_of(into, 0, len(rows))


def coded(rows, metric, pieces, centre="best"):
    """One stretch of codes of rows in so many pieces, with the centre chosen for each."""
    lengths, made, firsts = norms_of(rows).lengths, [], []
    size = -(-len(rows) // pieces // 64) * 64
    for start in range(0, len(rows), size):
        some = slice(start, start + size)
        chosen = (
            best_centre(rows[some], lengths[some], metric) if isinstance(centre, str) else centre
        )
        made.append(encoded(rows[some], metric, chosen))
        firsts.append(start)
    return [
        proof.stretch([piece], [first], None) for piece, first in zip(made, firsts, strict=True)
    ]


def missed(rows, queries, metric, k, found):
    """Rows that are among the k nearest in float64, ties too, but not among the candidates."""
    lost = []
    for query, slots in zip(queries, found, strict=True):
        if slots is not None:
            distances = brute_force(query, rows, metric)
            nearest = np.flatnonzero(distances <= np.sort(distances)[min(k, len(rows)) - 1])
            lost.append(np.setdiff1d(nearest, slots))
    return np.concatenate(lost) if lost else np.empty(0)


def usable(queries, metric):
    lengths = np.array([length_of(query) for query in queries])
    good = [is_safe_length(length) and length > 0 for length in lengths]
    return queries[good], lengths[good]


@pytest.mark.parametrize("metric", BY_PRODUCTS)
@pytest.mark.parametrize("cloud", HARD)
def test_no_neighbour_is_proved_out(cloud, metric):
    random = np.random.default_rng(3)
    rows = HARD[cloud](random, (3_000, 48)).astype(np.float32)
    rows[10], rows[20] = 0, rows[30]
    others = HARD[cloud](random, (4, 48)).astype(np.float32)
    queries, lengths = usable(np.vstack([others, rows[30:31], rows[:2]]), metric)
    for centre in ("best", None):
        stretches = coded(rows, metric, 3, centre)
        found = proof.candidates(queries, lengths, stretches, metric, 10, len(rows))
        assert not len(missed(rows, queries, metric, 10, found))


@settings(max_examples=up_to(150), deadline=None)
@given(st.data())
def test_no_neighbour_is_proved_out_whatever_the_vectors(data):
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
    stretches = coded(rows, metric, data.draw(st.integers(1, 3)))
    found = proof.candidates(queries, lengths, stretches, metric, k, count)
    assert not len(missed(rows, queries, metric, k, found))


@settings(max_examples=up_to(60), deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(BY_PRODUCTS), st.floats(0.01, 1.0))
def test_what_must_not_be_found_is_not_and_the_rest_is(seed, metric, share):
    random = np.random.default_rng(seed)
    rows = random.standard_normal((700, 24)).astype(np.float32)
    queries, lengths = usable(random.standard_normal((3, 24)).astype(np.float32), metric)
    allowed = random.random(len(rows)) < share
    slots = np.flatnonzero(allowed)
    stretches = coded(rows, metric, 2)
    penalty = np.full(-(-len(rows) // 64) * 64, proof.FORBIDDEN, np.float32)
    penalty[slots] = 0
    k = 5
    by_penalty = proof.candidates(queries, lengths, stretches, metric, k, len(rows), penalty)
    pieces = list(slices_of(encoded(rows, metric, None), 64))
    chosen = [(piece, slots[slots // 64 == i] % 64) for i, piece in enumerate(pieces)]
    some = proof.stretches_of(gathered(chosen, metric), slots)
    by_copies = proof.candidates(queries, lengths, some, metric, k, len(rows))
    for found in (by_penalty, by_copies):
        for query, candidates in zip(queries, found, strict=True):
            assert allowed[candidates].all()
            distances = brute_force(query, rows, metric)[slots]
            nearest = slots[np.argsort(distances, kind="stable")[:k]]
            assert np.isin(nearest, candidates).all()


def test_few_candidates_are_left_of_many_vectors():
    random = np.random.default_rng(0)
    rows = random.standard_normal((20_000, 128)).astype(np.float32)
    queries, lengths = usable(random.standard_normal((20, 128)).astype(np.float32), "cosine")
    found = proof.candidates(queries, lengths, coded(rows, "cosine", 2), "cosine", 10, 20_000)
    assert np.median([len(slots) for slots in found]) < 80
    assert not len(missed(rows, queries, "cosine", 10, found))


def test_a_centre_is_used_where_the_vectors_lie_far_from_the_origin_and_only_there():
    random = np.random.default_rng(0)
    near = random.standard_normal((8_000, 64)).astype(np.float32)
    far = near + np.float32(300)
    lengths = norms_of(far).lengths
    centre = best_centre(far, lengths, "l2")
    assert centre is not None and best_centre(near, norms_of(near).lengths, "l2") is None
    queries, own = usable(random.standard_normal((5, 64)).astype(np.float32) + 300, "l2")

    def left(chosen):
        stretches = coded(far, "l2", 1, chosen)
        found = proof.candidates(queries, own, stretches, "l2", 10, len(far))
        return np.median([len(slots) for slots in found])

    assert left(centre) < 60 and left(None) > 10 * left(centre)
    assert serves(centre, best_centre(far[:500], lengths[:500], "l2"), far, lengths, "l2")
    assert not serves(centre, None, near, norms_of(near).lengths, "l2")


def test_queries_whose_candidates_are_too_many_are_told_apart_from_the_others():
    rows = np.vstack([np.ones((5_000, 16)), -np.eye(16)]).astype(np.float32)
    queries, lengths = usable(np.vstack([np.ones(16), -np.eye(16)[0]]).astype(np.float32), "cosine")
    hard, easy = proof.candidates(queries, lengths, coded(rows, "cosine", 1), "cosine", 1, 500)
    assert hard is None and 5_000 in easy


@pytest.mark.parametrize("metric", BY_PRODUCTS)
@pytest.mark.parametrize("far", [0, 100])
def test_codes_of_float16_are_those_of_its_numbers(metric, far):
    halves = (np.random.default_rng(4).standard_normal((3_000, 24)) + far).astype(np.float16)
    made = []
    for rows in (halves, halves.astype(np.float32)):
        lengths = norms_of(rows).lengths
        made.append(encoded(rows, metric, best_centre(rows, lengths, metric)))
    for name in ("numbers", "scales", "residuals", "lengths", "halves", "centre"):
        assert np.array_equal(*(getattr(codes, name) for codes in made)), name


def test_rows_of_unsafe_length_are_always_candidates():
    random = np.random.default_rng(0)
    rows = random.standard_normal((2_000, 16)).astype(np.float32)
    rows[[5, 700]] = [[1e30] * 16, [1e-30] * 16]
    queries, lengths = usable(random.standard_normal((3, 16)).astype(np.float32), "cosine")
    for slots in proof.candidates(queries, lengths, coded(rows, "cosine", 1), "cosine", 3, 2_000):
        assert {5, 700} <= set(slots.tolist()) and len(slots) < 300


@pytest.mark.parametrize("dimension", [1, 3, 31, 64, 1_040, 1_041, 20_000, MOST_DIMENSIONS])
@pytest.mark.parametrize("queries", [1, 2, 3, 5, 16])
def test_products_of_codes_are_exact(dimension, queries):
    random = np.random.default_rng(0)
    codes = random.integers(-127, 128, (64, dimension), np.int8)
    codes[0], codes[1] = 127, -127
    vectors = random.integers(-127, 128, (queries, dimension), np.int8)
    vectors[0] = 127
    expected = codes.astype(np.int64) @ vectors.T.astype(np.int64)
    assert np.array_equal(products(codes, packed(vectors)), expected)


def test_rows_of_very_different_lengths_are_found_wherever_they_stand():
    """The query is the centre, so that only their length tells rows apart; most aren't allowed."""
    base = np.zeros((64, 16), np.float32)
    base[:, 0] = 1
    far = np.repeat(base, 2, axis=0)
    far[::2, 1] = 3_000 + np.arange(64)
    near, other = (encoded(rows, "l2", base[0]) for rows in (base, far))
    stretches = [proof.stretch([near], [0], None), proof.stretch([other], [64], None)]
    penalty = np.full(192, proof.FORBIDDEN, np.float32)
    penalty[64::2] = 0
    (found,) = proof.candidates(base[:1], np.ones(1), stretches, "l2", 1, 192, penalty)
    assert 64 in found
