"""Combining and re-ranking results: fusion of several rankings, and diversity.

All functions in this module compute only with arrays.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from retrieval_store.base.arrays import RRF_K, Floats, FusionKind, Ints, Matrix

# Parameters of adaptive fusion. They were chosen on half of the questions of benchmarks/quality.py,
# and are evaluated on the other half.
IDENTIFIER_WEIGHT = 4.0  # by which the idf of words is multiplied that `analysis.is_identifier`
RARITY_POWER = 3  # the power of the idf by which the words of a query are compared
UNKNOWN_PART = 0.5  # the share of the greatest idf that is added: see `contained_share`
MAX_WORD_WEIGHT = 1.5  # the greatest weight of words, relative to the weight 1 of vectors
FIRST = 100  # hits of a ranking that determine the scaling of its scores
# Numbers; for vectors of up to this total size, comparing all is as fast as comparing candidates.
MMR_CELLS = 1_500_000
Ranking = tuple[Ints, Floats]  # items and their scores, best first


def fuse(
    rankings: Sequence[Ranking],
    kind: FusionKind,
    weights: Sequence[float] | None = None,
    k: float = RRF_K,
    order: Callable[[Ints], Ints] = lambda items: items,
) -> Ranking:
    """Sort items by the sum of the contributions of each ranking. A ranking that lacks an item
    contributes nothing to that item's sum. weights: the weights of the rankings, all 1 if None.
    order: a function that returns a number for each item; of items with equal sums, the item with
    the least number is first. kind: how contributions are computed:

    - "rrf": weight / (k + rank), rank counted from 1. Cormack, Clarke and Büttcher, "Reciprocal
      rank fusion outperforms Condorcet and individual rank learning methods" (2009), who suggest k
      = 60.
    - "server_rrf": 1 / (rank / weight + k - 1); with weights of 1 it equals "rrf" with k - 1. A
      weight of 0 contributes nothing. Qdrant's documentation, "Hybrid queries".
    - "weighted": weight · score, with the scores scaled so that the least is 0 and the greatest 1
      (all 1 if they are equal).
    - "adaptive": weight · score, with the scores scaled so that the first is 1, and the 100th and
      all later scores are 0. So the first hits don't depend on how many are requested. Equal sums
      are ordered by "rrf".
    - "dbsf": weight · score, with the scores scaled so that μ - 3σ is 0 and μ + 3σ is 1 (all ½ if
      they are equal), where μ is the mean and σ the sample standard deviation. Distribution-based
      score fusion; Mazzeschi (2023), and Qdrant's documentation.
    """
    weights_of_rankings = [1.0] * len(rankings) if weights is None else weights
    items, totals = _sum_contributions(rankings, weights_of_rankings, k, kind)
    keys = [order(items), -totals]
    if kind == "adaptive":
        keys.insert(1, -_sum_contributions(rankings, weights_of_rankings, k, "rrf")[1])
    best = np.lexsort(keys)
    return items[best], totals[best]


def contained_share(shared: float, total: float, greatest: float) -> float:
    """The share of a query's words that a document contains, weighted by rarity, from 0 to 1.
    shared: Σ idf³ over the query's words in the document. total: Σ idf³ over all words of the
    query. greatest: the idf of a word that occurs in a single document, which is also assumed for a
    word that occurs in no document. A query that consists only of common words isn't informative.
    So the query is treated as if it had one more word, of half the greatest idf, that no document
    contains."""
    return shared / (total + (UNKNOWN_PART * greatest) ** RARITY_POWER) if shared > 0 else 0.0


def usual_fusion(by_words: bool, alpha: float | None) -> Literal["rrf", "adaptive"]:
    """The default kind of fusion. by_words: whether vectors are fused with a ranking by words,
    instead of by sparse vectors. alpha: the caller's weight of the vectors, None if the caller sets
    none."""
    return "adaptive" if by_words and alpha is None else "rrf"


def adaptive_alpha(share: float, alpha: float = 0.5) -> float:
    """In the weighted sum of vectors and words, the weight of vectors; words have the weight 1
    minus this. share: the greatest share of the query that one document contains. alpha: the
    caller's weight of the vectors; with ½, the weights of words and vectors are as 1.5 · share² to
    1."""
    words = (1.0 - alpha) * MAX_WORD_WEIGHT * share**2
    return alpha / (alpha + words) if alpha > 0 else 0.0


def _sum_contributions(
    rankings: Sequence[Ranking], weights: Sequence[float], k: float, kind: FusionKind
) -> Ranking:
    """The items in ascending order, with the sums of their contributions."""
    contributed = _CONTRIBUTED[kind]
    items, places = np.unique(
        np.concatenate([np.empty(0, np.int64), *(items for items, _ in rankings)]),
        return_inverse=True,
    )
    parts = [contributed(scores, w, k) for (_, scores), w in zip(rankings, weights, strict=True)]
    shares = np.concatenate([np.empty(0), *parts])
    return items, np.bincount(places, shares, len(items)).astype(np.float64)


def _by_ranks(scores: Floats, weight: float, k: float) -> Floats:
    shares: Floats = weight / (k + np.arange(1.0, len(scores) + 1))
    return shares


def _by_weighted_ranks(scores: Floats, weight: float, k: float) -> Floats:
    if weight <= 0:
        return np.zeros(len(scores))
    ranks = np.arange(1, len(scores) + 1, dtype=np.float64)
    shares: Floats = 1.0 / (ranks / weight + k - 1.0)
    return shares


def scale(scores: Floats) -> Floats:
    """Scores scaled so that the least is 0 and the greatest 1; all 1 if they are equal."""
    least, greatest = scores.min(initial=np.inf), scores.max(initial=-np.inf)
    if not greatest > least:
        return np.ones(len(scores))
    scaled: Floats = (scores - least) / (greatest - least)
    return scaled


def _by_range(scores: Floats, weight: float, _: float) -> Floats:
    return weight * scale(scores)


def _by_first(scores: Floats, weight: float, _: float) -> Floats:
    first = scores[:FIRST]
    if not len(first) or not first[0] > first[-1]:
        return weight * (scores >= first[:1]).astype(np.float64)
    scaled: Floats = ((scores - first[-1]) / (first[0] - first[-1])).clip(min=0.0)
    return weight * scaled


def _by_deviation(scores: Floats, weight: float, _: float) -> Floats:
    deviation = float(scores.std(ddof=1)) if len(scores) > 1 else 0.0
    if deviation == 0.0 or scores.min() == scores.max():  # the mean of equal scores may be rounded
        return np.full(len(scores), 0.5 * weight)
    scaled: Floats = (scores - scores.mean()) / (6.0 * deviation) + 0.5
    return weight * scaled


# What a ranking contributes to each of its items, given their scores, best first.
_CONTRIBUTED: dict[FusionKind, Callable[[Floats, float, float], Floats]] = {
    "rrf": _by_ranks,
    "server_rrf": _by_weighted_ranks,
    "weighted": _by_range,
    "adaptive": _by_first,
    "dbsf": _by_deviation,
}


def maximal_marginal_relevance(
    query: Matrix, vectors: Matrix, k: int, lambda_mult: float = 0.5
) -> Ints:
    """Select k of the vectors, in order, that are near the query and dissimilar to each other.
    Returns their positions; see `marginally_relevant`. query: (dim,); vectors: (n, dim). The
    similarity is the cosine."""
    unit = _unit(vectors)

    def likeness(places: slice | Ints, picks: Ints) -> Floats:
        alike: Floats = unit[places] @ unit[picks].T
        return alike

    relevance = unit @ _unit(query[None])[0]
    return marginally_relevant(relevance, likeness, k, lambda_mult, unit.size <= MMR_CELLS)


def marginally_relevant(
    relevance: Floats,
    likeness: Callable[[slice | Ints, Ints], Floats],
    k: int,
    lambda_mult: float,
    at_once: bool = True,
) -> Ints:
    """Select k of n items, in order, and return their positions. Each next item has the greatest λ
    · relevance - (1 - λ) · greatest likeness to any selected item, where λ is `lambda_mult`; λ = 1
    means relevance alone. Carbonell and Goldstein, "The use of MMR, diversity-based reranking"
    (1998).

    relevance: (n,). likeness: a function that returns the similarities of the items at some
    positions to selected items, (positions, picks). at_once: whether to compare all items with each
    pick in one product, instead of only those that may be next.
    """
    chosen = np.empty(min(k, len(relevance)), np.int64)
    seen = np.zeros(len(relevance), np.int64)  # for each item, how many picks its value includes
    # The first pick depends on relevance alone for any λ; otherwise λ = 0 would begin anywhere.
    value = relevance.copy()
    for place in range(len(chosen)):
        # Values only fall as more items are taken, so an outdated value is still an upper bound. If
        # the greatest, once updated, is still the greatest, it is the maximum.
        while seen[best := int(value.argmax())] < place:
            # After the first pick no value is known yet.
            places = slice(None) if place == 1 or at_once else np.array([best])
            nearest = likeness(places, chosen[seen[best] : place]).max(axis=1)
            marginal = lambda_mult * relevance[places] - (1 - lambda_mult) * nearest
            value[places] = np.minimum(value[places], marginal)
            seen[places] = place
        chosen[place] = best
        if place == 0:
            value[:] = np.inf
        value[best] = -np.inf
    return chosen


def _unit(vectors: Matrix) -> Floats:
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: Floats = np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)
    return unit
