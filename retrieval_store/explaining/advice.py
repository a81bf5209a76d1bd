"""What would have to change for a record to be found, in sentences."""

from collections.abc import Iterator

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.explaining.reasons import Leg, Reason
from retrieval_store.filters.paths import value_at
from retrieval_store.filters.predicate import Candidate
from retrieval_store.interface.questions import BestOfEach, Near, Question, Step, Text

PATIENCE = 1_000  # hits, more of which no one asks for


@dataclass(frozen=True, slots=True)
class Terms:
    """What the arguments of a call are named that decide what is found."""

    count: str = "n_results"
    offset: str = "offset"
    threshold: str = "max_distance"
    exact: str = "exact=True"
    candidates: str = "ef"
    depth: str = "depth"
    groups: str = "group_by"
    by_words: str = "mode='text' or 'hybrid'"


def advice_on(reason: Reason, question: Question, record: Candidate, terms: Terms) -> list[str]:
    """What is to be said of a record that exists."""
    (step,) = question.steps
    if reason.found:
        return [*_on_found(reason, terms)]
    said = [*_on_excluded(reason), *_on_groups(reason, question, record, terms)]
    if not reason.excluded_by:
        said += [*_on_rank(reason, step, question, terms)]
    return [*said, *_on_words(reason, step, terms)]


def _on_found(reason: Reason, terms: Terms) -> Iterator[str]:
    if reason.rank is not None and reason.place is not None and reason.rank < reason.place:
        yield (
            f"asked for all that match, exactly, it would be at place {reason.rank}: see "
            f"{terms.exact} and {terms.depth}"
        )


def _on_excluded(reason: Reason) -> Iterator[str]:
    for one in reason.excluded_by:
        met = "it has nothing there" if one.met is None else f"it has {one.met!r}"
        yield f"{one.argument} {one.condition!r} leaves it out: {met}"
    places = [
        f"{leg.rank} by {name}"
        for name, leg in reason.legs.items()
        if leg.rank is not None and leg.asked is not None
    ]
    if reason.excluded_by and places:
        yield f"beside those that match it would be at place {' and '.join(places)}"


def _on_groups(
    reason: Reason, question: Question, record: Candidate, terms: Terms
) -> Iterator[str]:
    groups = question.groups
    if not isinstance(groups, BestOfEach) or reason.excluded_by:
        return
    if value_at(record.payload, groups.path) is None:
        yield f"{terms.groups} shows records that have {'.'.join(groups.path)!r}, which it lacks"
    elif reason.same:
        yield (
            f"{terms.groups} shows the best {groups.size} of each value, and {reason.same[0]!r} "
            "with the same value stands before it"
        )


def _on_rank(reason: Reason, step: Step, question: Question, terms: Terms) -> Iterator[str]:
    """Of a record that no condition leaves out."""
    for name, leg in reason.legs.items():
        if leg.asked is not None and leg.rank is None:
            yield _on_no_rank(name, leg, step)
    if reason.rank is None:
        return
    near = step.scoring
    beyond = None
    if step.threshold is not None and isinstance(near, Near) and near.scale == "distance":
        distances = [leg.distance for leg in reason.legs.values() if leg.distance is not None]
        beyond = next((far for far in distances if far > step.threshold), None)
    if beyond is not None:
        yield f"{terms.threshold}={step.threshold:g} leaves it out: its distance is {beyond:.6g}"
    elif reason.rank <= step.offset:
        yield f"{terms.offset}={step.offset} skips it: its rank is {reason.rank}"
    elif reason.rank > step.depth and question.groups is None:
        asked = reason.rank - step.offset
        far = f"its rank is {reason.rank:,}, far behind the {step.limit} that are asked for"
        more = f"its rank is {reason.rank}: {terms.count}={asked} would show it"
        yield far if asked > PATIENCE else more
    elif question.groups is None:
        yield from _on_missed(reason, step, terms)


def _on_no_rank(name: str, leg: Leg, step: Step) -> str:
    if leg.score is not None:
        return f"it stands too far back by {name} for its place to be told"
    is_text = any(isinstance(one.scoring, Text) for one in (step, *step.prefetch))
    if is_text and name.startswith("text"):
        return "by text it can't be found: its document has no word of the query"
    return f"by {name} it can't be found: it has no vector that could be compared"


def _on_missed(reason: Reason, step: Step, terms: Terms) -> Iterator[str]:
    """Of one whose exact place is among the hits, and that isn't."""
    behind = [
        f"by {name} it is at place {leg.rank}, and {leg.asked} are asked for"
        for name, leg in reason.legs.items()
        if step.prefetch and leg.asked is not None and leg.rank is not None and leg.rank > leg.asked
    ]
    if behind:
        yield f"{'; '.join(behind)}: give a larger {terms.depth}"
    yield (
        f"exactly it is at place {reason.rank}, which the search that isn't exact has missed: "
        f"{terms.exact} finds it, or a larger {terms.candidates}"
        if not behind
        else f"asked for all, it would be at place {reason.rank}"
    )


def _on_words(reason: Reason, step: Step, terms: Terms) -> Iterator[str]:
    for name, leg in reason.legs.items():
        if leg.asked is None and leg.rank is not None and leg.rank <= step.depth:
            yield f"by {name} alone it is at place {leg.rank}: {terms.by_words} goes by that"
