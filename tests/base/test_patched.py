"""Arrays whose versions share memory: a version never changes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval_store.base.arrays import NOTHING, NOWHERE, CowArray
from tests.helpers.tuned import tuned

places = st.lists(st.integers(0, 10**6), max_size=30)
steps = st.lists(st.one_of(st.integers(0, 40), places), max_size=12)


@given(steps, st.integers(1, 20))
def test_every_version_stays_what_a_plain_array_would_be(steps, longest):
    with pytest.MonkeyPatch.context() as patch:
        tuned(patch, longest_patch=longest)
        versions = _versions(steps)
    for version, plain in versions:
        assert version.whole().tolist() == plain.tolist()
        assert len(version) == len(plain)
        for start, stop in ((0, None), (len(plain) // 2, None), (1, len(plain) // 2 + 1), (3, 3)):
            assert version.whole(start, stop).tolist() == plain[start:stop].tolist()
            upto = len(plain) if stop is None else stop
            assert version.not_negative(upto).tolist() == (plain[:upto] >= 0).tolist()
        for size in (0, 1, 3, 500):
            if len(plain):
                some = np.random.default_rng(0).integers(0, len(plain), (size, 2))
                assert (version[some] == plain[some]).all()


def _versions(steps):
    version, plain = NOTHING, np.empty(0, np.int64)
    versions = [(version, plain)]
    for number, step in enumerate(steps, 1):
        if isinstance(step, int):
            tail = np.arange(step) + 1_000 * number
            version, plain = version.with_tail(tail), np.concatenate([plain, tail])
        elif len(plain):
            at = np.array(step, np.int64) % len(plain)
            new = np.arange(len(at)) - 1_000 * number
            version, plain = version.with_values(at, new), plain.copy()
            plain[at] = new
        versions.append((version, plain))
    return versions


def test_a_change_of_few_numbers_copies_none_of_the_others():
    version = CowArray(np.arange(100_000), NOWHERE, NOWHERE)
    changed = version.with_values(np.array([5, 70_000]), -1)
    assert changed.base is version.base
    assert changed[np.array([4, 5, 70_000])].tolist() == [4, -1, -1]
    assert version[np.array([4, 5, 70_000])].tolist() == [4, 5, 70_000]
