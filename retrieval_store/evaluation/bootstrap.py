"""How far a mean over questions can be trusted: by the bootstrap.

Efron and Tibshirani, An Introduction to the Bootstrap, 1993: chapter 13, percentile intervals.
Questions are drawn with replacement, as many as there are, again and again; the interval holds the
middle share of the means. Columns that are given together are drawn together, question by question,
so the interval of a difference is a paired one: how hard a question is for all settings drops out.
"""

import numpy as np

from retrieval_store.base.arrays import Floats

RESAMPLES = 10_000  # then seeds move an end of a 95 % interval by about a hundredth of its width
AT_ONCE = 1 << 22  # questions drawn at once: 32 MB


def intervals_of_means(values: Floats, confidence: float, seed: int) -> Floats:
    """(m, 2): low and high end of the interval of the mean of each column of (q, m).

    The same seed draws the same questions, whatever the columns are.
    """
    means = values.mean(axis=0)
    apart = values - means  # so that columns of one value have intervals without rounding
    rng = np.random.default_rng(seed)
    rows = max(1, AT_ONCE // len(values))
    parts = [
        _drawn(apart, min(rows, RESAMPLES - start), rng) for start in range(0, RESAMPLES, rows)
    ]
    tail = (1 - confidence) / 2
    intervals: Floats = means + np.quantile(np.concatenate(parts), [tail, 1 - tail], axis=0)
    return intervals.T


def _drawn(values: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """(resamples, m): means of so many draws. How often each question was drawn is counted, so that
    the means of all columns are one product of matrices."""
    count = len(values)
    drawn = rng.integers(0, count, (resamples, count))
    drawn += count * np.arange(resamples)[:, np.newaxis]
    times = np.bincount(drawn.ravel(), minlength=resamples * count).reshape(resamples, count)
    means: Floats = times.astype(np.float64) @ values / count
    return means
