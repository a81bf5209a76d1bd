"""A question is answered: its steps or groups, and what its hits carry."""

from collections.abc import Sequence
from itertools import chain

from retrieval_store.answering.groups import best_of_each, grouped
from retrieval_store.answering.leaves import Leaves, Ranked
from retrieval_store.answering.steps import ranked_each
from retrieval_store.interface.points import Hits
from retrieval_store.interface.questions import BestOfEach, Groups, GroupValue, Question


def answer(leaves: Leaves, question: Question) -> list[Hits]:
    """The hits of each query of each step, or of each group, best first. Only these are read."""
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
    """What is found, and of which groups it is."""
    match question.groups:
        case None:
            found = list(chain.from_iterable(ranked_each(leaves, question.steps)))
        case BestOfEach() as kinds:
            found = best_of_each(leaves, question.steps[0], kinds)
        case Groups() as groups:
            each = grouped(leaves, question.steps[0], groups)
            return [one for _, one in each], [value for value, _ in each]
    return found, [None] * len(found)
