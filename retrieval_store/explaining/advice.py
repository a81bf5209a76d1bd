"""What would have to change for a record to be found, in sentences."""

from collections.abc import Iterator

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.explaining.reasons import Leg, Reason
from retrieval_store.filters.paths import value_at
from retrieval_store.filters.predicate import Candidate
from retrieval_store.interface.questions import BestOfEach, Question, Step, Text

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


@dataclass(frozen=True, slots=True, eq=False)
class About:
    """What advice goes by besides the reason: the question, the record, and what arguments are
    called. is_beyond: whether the question's threshold is better than the record."""

    question: Question
    record: Candidate
    is_beyond: bool
    terms: Terms

    @property
    def step(self) -> Step:
        """The one step of the question."""
        return self.question.steps[0]


def advice_on(reason: Reason, about: About) -> list[str]:
    """What is to be said of a record that exists."""
    if reason.found:
        return [*_on_found(reason, about.terms)]
    if reason.excluded_by:
        return [*_on_excluded(reason)]
    return [*_on_groups(reason, about), *_on_rank(reason, about), *_on_words(reason, about)]


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


def _on_groups(reason: Reason, about: About) -> Iterator[str]:
    groups, terms = about.question.groups, about.terms
    if not isinstance(groups, BestOfEach):
        return
    if value_at(about.record.payload, groups.path) is None:
        yield f"{terms.groups} shows records that have {'.'.join(groups.path)!r}, which it lacks"
    elif reason.same:
        yield (
            f"{terms.groups} shows the best {groups.size} of each value, and {reason.same[0]!r} "
            "with the same value stands before it"
        )
    elif reason.rank is not None and not about.is_beyond:
        yield (
            f"{terms.groups} shows {about.step.limit} records, which others with better values "
            f"are: give a larger {terms.count}"
        )


def _on_rank(reason: Reason, about: About) -> Iterator[str]:
    """Of a record that no condition leaves out."""
    step, terms = about.step, about.terms
    for name, leg in reason.legs.items():
        if leg.asked is not None and leg.rank is None:
            yield _on_no_rank(name, leg, step)
        elif leg.beyond and step.prefetch:
            yield f"the threshold of {name} leaves it out there: {_measure_of(leg)}"
    if reason.rank is None:
        return
    if about.is_beyond and step.threshold is not None:
        measures = [] if step.prefetch else [_measure_of(leg) for leg in reason.legs.values()][:1]
        why = ": ".join([f"{terms.threshold}={step.threshold:g} leaves it out", *measures])
        yield why
    elif reason.rank <= step.offset:
        yield f"{terms.offset}={step.offset} skips it: its rank is {reason.rank}"
    elif about.question.groups is None:
        yield from _on_place(reason, about)


def _measure_of(leg: Leg) -> str:
    if leg.distance is not None:
        return f"its distance is {leg.distance:.6g}"
    return f"its score is {leg.score:.6g}"


def _on_place(reason: Reason, about: About) -> Iterator[str]:
    """Of one that comes too late, or whose exact place is among the hits and that isn't."""
    step, rank = about.step, reason.rank or 0
    asked = rank - step.offset
    if rank <= step.depth:
        if not (step.prefetch and any(leg.beyond for leg in reason.legs.values())):
            yield from _on_missed(reason, step, about.terms)
    elif asked > PATIENCE:
        yield f"its rank is {rank:,}, far behind the {step.limit} that are asked for"
    else:
        yield f"its rank is {rank}: {about.terms.count}={asked} would show it"


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


def _on_words(reason: Reason, about: About) -> Iterator[str]:
    depth, terms = about.step.depth, about.terms
    for name, leg in reason.legs.items():
        if leg.asked is None and leg.rank is not None and leg.rank <= depth:
            yield f"by {name} alone it is at place {leg.rank}: {terms.by_words} goes by that"
