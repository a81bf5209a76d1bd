"""Executes a question: carries out its steps, then reads the points of the final hits.

A step has four stages: its prefetches find points; these points, or all points if there are no
prefetches, are scored; hits worse than the threshold are cut off; the window of offset and limit is
taken. The store computes single rankings (`leaves`); this module combines several into one.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from functools import partial
from itertools import chain

import numpy as np

from retrieval_store.answering.leaves import Leaves, Ranked, Trace
from retrieval_store.base.arrays import Bools, Floats
from retrieval_store.base.dataclasses import replace
from retrieval_store.base.metrics import LESS_IS_BETTER
from retrieval_store.interface.points import Hits
from retrieval_store.interface.questions import (
    BestOfEach,
    Discovered,
    Diverse,
    Fused,
    Groups,
    GroupValue,
    Near,
    Ordered,
    Question,
    Recommended,
    RelevanceFeedback,
    Scoring,
    Sparse,
    Step,
    Text,
    query_of,
)


def answer(leaves: Leaves, question: Question) -> list[Hits]:
    """The hits of each query of each step, or of each group, best first. Only their points are
    read from the store."""
    found, groups = _found(leaves, question)
    if question.measured is not None:
        for place, one in enumerate(found):
            one.distances = leaves.distances(question.measured, place, one.items)
    points = leaves.fetch([one.items for one in found], question.fields)
    leaves.trace.lap("fetch")
    return [
        Hits(some, one.distances, one.scores, one.values, group)
        for some, one, group in zip(points, found, groups, strict=True)
    ]


def _found(
    leaves: Leaves, question: Question
) -> tuple[Sequence[Ranked], Sequence[GroupValue | None]]:
    """The rankings, and for each ranking the value of its group, None where nothing is grouped."""
    match question.groups:
        case None:
            found = list(chain.from_iterable(ranked_each(leaves, question.steps)))
        case BestOfEach() as kinds:
            from retrieval_store.answering.groups import best_of_each

            found = best_of_each(leaves, partial(ranked, leaves), question.steps[0], kinds)
        case Groups() as groups:
            from retrieval_store.answering.groups import grouped

            step, rank = question.steps[0], partial(ranked, leaves)
            each = grouped(leaves, rank, step, groups, less_is_better(leaves, step))
            return [one for _, one in each], [value for value, _ in each]
    return found, [None] * len(found)


def ranked_each(
    leaves: Leaves, steps: Sequence[Step], names: Sequence[str] | None = None
) -> list[list[Ranked]]:
    """For each step one ranking per query. Steps with equal `search_key` become one search: a
    product with several query vectors at once costs far less than one after the other."""
    named = [""] * len(steps) if names is None else names
    if len(steps) == 1:
        return [ranked(leaves, steps[0], named[0])]
    together: dict[Hashable, list[int]] = {}
    for i, step in enumerate(steps):
        key = leaves.search_key(step)
        together.setdefault((i,) if key is None else key, []).append(i)
    found: dict[int, list[Ranked]] = {}
    for which in together.values():
        some = [steps[i] for i in which]
        alone = len(some) == 1
        each = [ranked(leaves, some[0], named[which[0]])] if alone else _at_once(leaves, some)
        found.update(zip(which, each, strict=True))
    return [found[i] for i in range(len(steps))]


def ranked(leaves: Leaves, step: Step, name: str = "") -> list[Ranked]:
    """One ranking for each query of a step, with threshold and window applied. name: of a prefetch,
    in an explanation."""
    if not step.prefetch:
        found = leaves.rank(step)
        if leaves.trace.is_kept and not name and isinstance(step.scoring, Text | Sparse):
            _note(leaves.trace, leg_names([step], ""), [found])
    else:
        names = leg_names(step.prefetch, name)
        before = ranked_each(leaves, step.prefetch, names)
        _note(leaves.trace, names, before)
        each = list(zip(*before, strict=True))
        if isinstance(step.scoring, Fused):
            found = fused_each(leaves, step, step.scoring, each)
        else:
            found = [
                leaves.rank_among(_for_one_query(step, i), legs) for i, legs in enumerate(each)
            ]
    return [_window(leaves, step, one) for one in found]


def _at_once(leaves: Leaves, steps: Sequence[Step]) -> list[list[Ranked]]:
    """The rankings of steps with equal `search_key`, by one search for all their vectors."""
    nears = [step.scoring for step in steps if isinstance(step.scoring, Near)]
    vectors = np.concatenate([np.asarray(near.vectors) for near in nears])
    together = replace(nears[0], vectors=vectors)
    found = iter(leaves.rank(replace(steps[0], scoring=together, threshold=None)))
    return [
        [_window(leaves, step, next(found)) for _ in near.vectors]
        for step, near in zip(steps, nears, strict=True)
    ]


def _for_one_query(step: Step, place: int) -> Step:
    """The step with the query at this place alone."""
    near = step.scoring
    if not isinstance(near, Near) or len(near.vectors) == 1:
        return step
    return replace(step, scoring=query_of(near, place))


def _window(leaves: Leaves, step: Step, found: Ranked) -> Ranked:
    """The hits that are as good as the threshold, cut to the window of offset and limit."""
    count = len(found.items)
    good = _count_good(leaves, step, found)
    found.is_cut = good == count >= step.depth
    if not step.offset and good == count <= step.limit:
        return found
    return found.at(slice(step.offset, min(good, step.depth)))


def _count_good(leaves: Leaves, step: Step, found: Ranked) -> int:
    """How many hits, best first, precede the first one that is worse than the threshold."""
    if step.threshold is None:
        return len(found.items)
    bad = are_bad(leaves, step, found)
    return int(np.argmax(bad)) if bad.any() else len(bad)


def are_bad(leaves: Leaves, step: Step, found: Ranked) -> Bools:
    """(n,) bool: which hits of a step with a threshold are worse than that."""
    assert step.threshold is not None
    if isinstance(step.scoring, Near) and step.scoring.scale == "distance":
        assert found.distances is not None
        bad: Bools = found.distances > step.threshold
        return bad
    return are_worse(leaves, step.scoring, found.scores, step.threshold)


def are_worse(leaves: Leaves, scoring: Scoring, scores: Floats, threshold: float) -> Bools:
    """(n,) bool: which scores, in a Qdrant server's scale, are worse than a threshold.

    As on a server, the metric of the space alone decides which side of a threshold is worse: above
    it for a metric whose distances are scores (L2, L1), else below. That holds even for comparisons
    with examples, whose greatest score is the best in a space of any metric."""
    compared = scoring.near if isinstance(scoring, Diverse) else scoring
    below = (
        isinstance(compared, Near | Recommended | Discovered | RelevanceFeedback)
        and leaves.metric(compared.space) in LESS_IS_BETTER
    )
    worse: Bools = scores > threshold if below else scores < threshold
    return worse


def less_is_better(leaves: Leaves, step: Step) -> bool:
    """Whether the best hit of a step is the one with the least score, or with the least value for
    an order."""
    if isinstance(step.scoring, Ordered):
        return not step.scoring.descending
    near = step.scoring.near if isinstance(step.scoring, Diverse) else step.scoring
    return (
        isinstance(near, Near)
        and near.scale == "server"
        and leaves.metric(near.space) in LESS_IS_BETTER
    )


def fused_each(
    leaves: Leaves, step: Step, scoring: Fused, each: Sequence[Sequence[Ranked]]
) -> list[Ranked]:
    """For each query one ranking by fusion of the rankings of its prefetches."""
    from retrieval_store.base.ranking import fused

    weights = [_weights(scoring, legs) for legs in each]
    if leaves.trace.is_kept:
        leaves.trace.alphas = [one[0] for one in weights if one is not None]
    found = []
    for legs, its in zip(each, weights, strict=True):
        rankings = [(leg.items, leg.scores) for leg in legs]
        found.append(Ranked(*fused(rankings, scoring.kind, its, scoring.k, leaves.order)))
    leaves.trace.lap("fusion")
    return found


def _weights(scoring: Fused, legs: Sequence[Ranked]) -> tuple[float, ...] | None:
    """The weight of each ranking, None for equal weights. Adaptive fusion derives the weights from
    the share of the query text that the best documents hold (`Ranked.share`)."""
    weights = scoring.weights
    if scoring.kind == "adaptive" and weights is not None:
        from retrieval_store.base.ranking import adaptive_alpha

        for leg in legs:
            if leg.share is not None:
                alpha = adaptive_alpha(leg.share, weights[0])
                return alpha, 1.0 - alpha
    return weights


def _note(trace: Trace, names: Sequence[str], found: Sequence[Sequence[Ranked]]) -> None:
    """Record in the trace how many hits each step gave for each query: where it was asked several
    times, to fill groups, the most that it gave at once."""
    if not trace.is_kept:
        return
    for name, each in zip(names, found, strict=True):
        counts = [len(one.items) for one in each]
        trace.legs[name] = [*map(max, trace.legs.get(name, counts), counts)]


def leg_names(steps: Sequence[Step], above: str) -> list[str]:
    """The names of steps in an explanation: by their vector spaces, where these have names, behind
    the name of the step that they are prefetches of, and with a number where one comes again."""
    times: Counter[str] = Counter()
    names = []
    for step in steps:
        match step.scoring:
            case Near(space=space):
                name = space or "dense"
            case Sparse(space=space):
                name = space or "sparse"
            case scoring:
                name = type(scoring).__name__.lower()
        times[name] += 1
        numbered = name if times[name] == 1 else f"{name} {times[name]}"
        names.append(f"{above}/{numbered}" if above else numbered)
    return names
