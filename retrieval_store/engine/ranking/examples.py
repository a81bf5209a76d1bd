"""What likeness to examples makes of points: recommendation, discovery, context and feedback.

sim(x, e): how alike a point and an example are, see `similar`. Formulas: Qdrant's documentation,
"Explore the data" and "Relevance feedback".
"""

from collections.abc import Callable, Sequence
from functools import singledispatch
from typing import TypeAlias

import numpy as np

from retrieval_store.base.arrays import Floats
from retrieval_store.query.query import Discovered, Example, Recommended, RelevanceFeedback

Combine: TypeAlias = Callable[[Floats], Floats]
"""(m, n) likenesses of n points to m examples → (n,) scores, more is better."""
MARGIN = float(np.finfo(np.float32).eps)  # by which a point must be nearer to the right side


@singledispatch
def compared_by(scoring: object) -> tuple[str, Sequence[Example], Combine]:
    """The space, the examples, and what is made of the likenesses to them."""
    raise TypeError(f"nothing is compared by {scoring!r}")


@compared_by.register
def _(scoring: Recommended) -> tuple[str, Sequence[Example], Combine]:
    count = len(scoring.positives)
    combine = _best if scoring.best else _summed
    examples = (*scoring.positives, *scoring.negatives)
    return scoring.space, examples, lambda alike: combine(alike[:count], alike[count:])


@compared_by.register
def _(scoring: Discovered) -> tuple[str, Sequence[Example], Combine]:
    sides = [example for pair in scoring.pairs for example in pair]
    if scoring.target is None:
        return scoring.space, sides, _in_context
    return scoring.space, (scoring.target, *sides), _discovered


@compared_by.register
def _(scoring: RelevanceFeedback) -> tuple[str, Sequence[Example], Combine]:
    sides = [example for near, far, _ in scoring.pairs for example in (near, far)]
    weights = np.array([weight for _, _, weight in scoring.pairs])

    def combine(alike: Floats) -> Floats:
        total: Floats = scoring.own * alike[0] + weights @ (alike[1::2] - alike[2::2])
        return total

    return scoring.space, (scoring.target, *sides), combine


def _best(positives: Floats, negatives: Floats) -> Floats:
    """½ (σ + 1) of the greatest likeness to a positive, if it is greater than to any negative; else
    the negative of that of the greatest to a negative."""
    near = positives.max(axis=0, initial=-np.inf)
    far = negatives.max(axis=0, initial=-np.inf)
    nearer = near > far
    scores = _scaled(np.where(nearer, near, far))
    return np.where(nearer, scores, -scores)


def _summed(positives: Floats, negatives: Floats) -> Floats:
    total: Floats = positives.sum(axis=0) - negatives.sum(axis=0)
    return total


def _discovered(alike: Floats) -> Floats:
    """Σ over pairs of 1, 0 or -1, and ½ (σ + 1) of the likeness to the target."""
    ranks: Floats = np.sign(alike[1::2] - alike[2::2]).sum(axis=0)
    return ranks + _scaled(alike[0])


def _in_context(alike: Floats) -> Floats:
    """Σ over pairs of σ of how much nearer a point is to the first; at most 0 each."""
    apart = np.minimum(alike[0::2] - alike[1::2] - MARGIN, 0.0)
    total: Floats = _sigmoid(apart).sum(axis=0)
    return total


def _sigmoid(x: Floats) -> Floats:
    finite = np.isfinite(x)
    squeezed: Floats = np.divide(x, 1.0 + np.abs(x), out=x.copy(), where=finite)
    return squeezed


def _scaled(x: Floats) -> Floats:
    """½ (σ(x) + 1), σ(x) = x / (1 + |x|)."""
    return 0.5 * (_sigmoid(x) + 1.0)
