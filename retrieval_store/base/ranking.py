"""Combining and re-ranking what was found: fusion of several rankings, and diversity.

Everything here is a function of arrays; nothing is fetched.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from retrieval_store.base.arrays import Floats, Ints, Matrix

RRF_K = 60
# Of adaptive fusion; found on half of the questions of benchmarks/quality.py, and reported on the
# other.
IDENTIFIER_WEIGHT = 4.0  # times the idf of words that `words.is_identifier`
RARITY_POWER = 3  # of the idf, by which the words of a query are compared
UNKNOWN_PART = 0.5  # of the greatest idf: see `held_share`
MOST_OF_WORDS = 1.5  # what words weigh at most beside vectors, which weigh 1
FIRST = 100  # hits of a side, by which its scores are scaled
MMR_CELLS = 1_500_000  # up to so many numbers a product of all with each pick is as fast
Ranking = tuple[Ints, Floats]  # items and their scores, best first


def reciprocal_rank_fusion(
    rankings: Sequence[Ranking], weights: Sequence[float], k: int = RRF_K
) -> Ranking:
    """Items by Σ weight / (k + rank) over the rankings that have them, rank counted from 1.

    Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual rank
    learning methods" (2009), who suggest k = 60. Ties are in the order of the items' numbers.
    """
    return _summed(_by_ranks(rankings, weights, k))


def weighted_sum(rankings: Sequence[Ranking], weights: Sequence[float]) -> Ranking:
    """Items by Σ weight · score, the scores of each ranking brought from its least … greatest to
    0 … 1 (all to 1 where they are equal); an item that a ranking lacks has 0 there."""
    parts = [
        (items, weight * _scaled(scores))
        for (items, scores), weight in zip(rankings, weights, strict=True)
    ]
    return _summed(parts)


def adaptive_sum(rankings: Sequence[Ranking], weights: Sequence[float]) -> Ranking:
    """Items by Σ weight · score, the scores of each ranking brought from its first to its 100th to
    1 … 0, and those after it to 0: so what comes first doesn't depend on how many are asked for.
    Equal ones by reciprocal ranks, then in the order of their numbers."""
    scaled = [
        (items, weight * _scaled_by_first(scores))
        for (items, scores), weight in zip(rankings, weights, strict=True)
    ]
    items, totals = _totals(scaled)
    _, by_ranks = _totals(_by_ranks(rankings, weights, RRF_K))
    order = np.lexsort((-by_ranks, -totals))
    return items[order], totals[order]


def held_share(held: float, asked: float, greatest: float) -> float:
    """How much of what a query says a document holds, from 0 to 1.

    held, asked: Σ idf³ over those of the query's words that it has, and over all; greatest: the idf
    of a word that one document has, which is also that of one that none has. A query of common
    words alone says little, whatever has them: to what is asked comes a word of `UNKNOWN_PART`
    times the greatest idf, which nothing holds.
    """
    return held / (asked + (UNKNOWN_PART * greatest) ** RARITY_POWER) if held > 0 else 0.0


def usual_fusion(by_words: bool, alpha: float | None) -> Literal["rrf", "adaptive"]:
    """How both sides are fused where nobody says it. by_words: whether one of them are words, and
    not sparse vectors; alpha: what the caller said that vectors weigh."""
    return "adaptive" if by_words and alpha is None else "rrf"


def adaptive_alpha(share: float, alpha: float = 0.5) -> float:
    """What vectors weigh in the weighted sum with words, which weigh the rest, where one document
    holds this share of what the query says. Words weigh 1.5 · share² beside vectors of the weight
    1, where alpha, the caller's own weight of the vectors, is ½."""
    words = (1.0 - alpha) * MOST_OF_WORDS * share**2
    return alpha / (alpha + words) if alpha > 0 else 0.0


FUSIONS = {
    "rrf": reciprocal_rank_fusion,
    "weighted": weighted_sum,
    "adaptive": adaptive_sum,
}


def by_weighted_ranks(rankings: Sequence[Ranking], weights: Sequence[float], k: float) -> Ranking:
    """Items by Σ 1 / ((rank + 1) / weight + k - 1) over the rankings that have them, rank counted
    from 0; with equal weights that is reciprocal rank fusion. A weight of 0 adds nothing.

    Qdrant's documentation, "Hybrid queries".
    """
    parts = []
    for (items, _), weight in zip(rankings, weights, strict=True):
        ranks = np.arange(1, len(items) + 1)
        shares = 1.0 / (ranks / weight + k - 1.0) if weight > 0 else np.zeros(len(items))
        parts.append((items, shares))
    return _summed(parts)


def by_distributions(rankings: Sequence[Ranking]) -> Ranking:
    """Items by the sum of their scores, those of each ranking brought from μ - 3σ … μ + 3σ to
    0 … 1 (all to ½ where they are equal); σ of a sample.

    Distribution-based score fusion; Mazzeschi (2023), and Qdrant's documentation.
    """
    return _summed([(items, _by_deviation(scores)) for items, scores in rankings])


def _by_deviation(scores: Floats) -> Floats:
    deviation = float(scores.std(ddof=1)) if len(scores) > 1 else 0.0
    if deviation == 0.0:
        return np.full(len(scores), 0.5)
    scaled: Floats = (scores - scores.mean()) / (6.0 * deviation) + 0.5
    return scaled


def _scaled(scores: Floats) -> Floats:
    least, greatest = scores.min(initial=np.inf), scores.max(initial=-np.inf)
    if not greatest > least:
        return np.ones_like(scores)
    scaled: Floats = (scores - least) / (greatest - least)
    return scaled


def _scaled_by_first(scores: Floats) -> Floats:
    first = scores[:FIRST]
    if not len(first) or not first[0] > first[-1]:
        return (scores >= first[:1]).astype(np.float64)
    scaled: Floats = (scores - first[-1]) / (first[0] - first[-1])
    return scaled.clip(min=0.0)


def _by_ranks(rankings: Sequence[Ranking], weights: Sequence[float], k: int) -> list[Ranking]:
    return [
        (items, weight / (k + np.arange(1, len(items) + 1)))
        for (items, _), weight in zip(rankings, weights, strict=True)
    ]


def _summed(parts: Sequence[Ranking]) -> Ranking:
    items, totals = _totals(parts)
    order = np.argsort(-totals, kind="stable")
    return items[order], totals[order]


def _totals(parts: Sequence[Ranking]) -> Ranking:
    """The sums of all items, in the order of the items' numbers."""
    every = np.concatenate([np.empty(0, np.int64), *(items for items, _ in parts)])
    items, places = np.unique(every, return_inverse=True)
    scores = np.concatenate([np.empty(0), *(scores for _, scores in parts)])
    return items, np.bincount(places, scores, len(items)).astype(np.float64)


def maximal_marginal_relevance(
    query: Matrix, vectors: Matrix, k: int, lambda_mult: float = 0.5
) -> Ints:
    """Which k of the vectors to take, and in which order, to be near the query and unlike each
    other: each next one has the greatest λ · sim(query) - (1 - λ) · greatest sim(those taken).

    query: (dim,); vectors: (n, dim); similarity is the cosine; λ = 1 is relevance alone. Carbonell
    and Goldstein, "The use of MMR, diversity-based reranking" (1998).
    """
    unit = _unit(vectors)
    relevance = unit @ _unit(query[None])[0]
    taken = np.empty((min(k, len(unit)), unit.shape[1]))
    chosen = np.empty(len(taken), np.int64)
    seen = np.zeros(len(unit), np.int64)  # how many of those taken are in a row's value
    value = relevance.copy()  # of the first alone, whatever λ is, else λ = 0 would begin anywhere
    for place in range(len(chosen)):
        # Values only fall as more is taken: one that is out of date is still an upper bound, and
        # the greatest of all, once it is up to date, is the greatest.
        while seen[best := int(value.argmax())] < place:
            at_once = place == 1 or unit.size <= MMR_CELLS
            rows = slice(None) if at_once else slice(best, best + 1)
            likeness = (unit[rows] @ taken[seen[best] : place].T).max(axis=1)
            marginal = lambda_mult * relevance[rows] - (1 - lambda_mult) * likeness
            value[rows] = np.minimum(value[rows], marginal)
            seen[rows] = place
        chosen[place], taken[place] = best, unit[best]
        if place == 0:
            value[:] = np.inf
        value[best] = -np.inf
    return chosen


def marginally_relevant(
    relevance: Floats, likeness: Callable[[int], Floats], k: int, lambda_mult: float
) -> Ints:
    """The same of items of which only this is known: how relevant each is, and, when asked, how
    alike all are to one of them."""
    count = min(k, len(relevance))
    chosen = np.empty(count, np.int64)
    value, nearest = relevance.copy(), np.full(len(relevance), -np.inf)
    for place in range(count):
        chosen[place] = best = int(value.argmax())
        nearest = np.maximum(nearest, likeness(best))
        value = lambda_mult * relevance - (1 - lambda_mult) * nearest
        value[chosen[: place + 1]] = -np.inf
    return chosen


def _unit(vectors: Matrix) -> Floats:
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: Floats = np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)
    return unit
