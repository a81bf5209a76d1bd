"""The statistics of all documents for ranking, from one state to the next."""

import numpy as np

from retrieval_store.base.arrays import NOTHING, NOWHERE
from retrieval_store.engine.text.inverted import Measures, measures_still_valid


def test_a_reader_may_measure_other_lists_during_a_step(monkeypatch):
    one = Measures((), [], NOTHING, 0, 0, NOWHERE)
    known = {"words": one}

    def concatenate(arrays):
        known[f"another, the {len(known)}."] = one  # as another thread would at this moment
        return np.hstack(arrays)

    monkeypatch.setattr(np, "concatenate", concatenate)
    assert measures_still_valid(known, np.array([7]))["words"].changed.tolist() == [7]
