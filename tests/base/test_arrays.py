"""Numbers in float16: rounding, and conversion back to float32; distinct numbers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from retrieval_store.base.arrays import FLOAT16_MAX, as_float16, as_float32, distinct

EVERY = np.arange(2**16, dtype=np.uint16).view(np.float16)


def bits(numbers):
    return numbers.view(np.int32)


def test_every_number_of_float16_is_the_same_as_float32():
    finite = EVERY[np.isfinite(EVERY)]
    assert len(finite) == 2**16 - 2 * 2**10
    assert np.array_equal(bits(as_float32(finite)), bits(finite.astype(np.float32)))
    assert finite.max() == FLOAT16_MAX


def test_numbers_beyond_float16_become_float32():
    odd = EVERY[~np.isfinite(EVERY)]
    assert np.isfinite(as_float32(odd)).all()
    assert (np.abs(as_float32(odd)) > FLOAT16_MAX).all()


def test_rows_go_into_the_array_that_is_given_and_those_of_float32_stay_where_they_are():
    halves = EVERY[:40].reshape(4, 10)
    into = np.full((6, 10), 7, np.float32)
    wide = as_float32(halves, into)
    assert wide.base is into and np.array_equal(into[:4], halves) and (into[4:] == 7).all()
    assert as_float32(wide, np.empty((6, 10), np.float32)) is wide


@given(arrays.arrays(np.float32, 20, elements=st.floats(-65504, 65504, width=32)))
def test_stored_numbers_are_the_nearest_float16(numbers):
    kept = as_float16(numbers)
    far = np.abs(numbers.astype(np.float64) - kept)
    for side in (np.inf, -np.inf):
        with np.errstate(over="ignore"):
            beside = np.nextafter(kept, np.float16(side)).astype(np.float64)
        assert (far <= np.abs(numbers - beside)).all()


def test_tiny_numbers_become_zero_also_where_numpy_raises_errors():
    with np.errstate(all="raise"):
        assert (as_float16(np.array([1e-30, -1e-9], np.float32)) == 0).all()


@given(
    arrays.arrays(
        st.sampled_from([np.int64, np.uint32]), st.integers(0, 40), elements=st.integers(0, 9)
    )
)
def test_distinct_numbers_are_those_of_a_set(numbers):
    found = distinct(numbers)
    assert found.tolist() == sorted({*numbers.tolist()})
    assert found.dtype == numbers.dtype
