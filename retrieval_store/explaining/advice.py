"""What would have to change for a record to be found, in sentences: every obstacle, not the first
alone, and nothing that changing it would show to be wrong."""

from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Context

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.explaining.conditions import Excluded
from retrieval_store.explaining.reasons import Leg, Reason
from retrieval_store.filters.paths import value_at
from retrieval_store.filters.predicate import Candidate
from retrieval_store.interface.questions import (
    BestOfEach,
    Fused,
    Near,
    Question,
    Sparse,
    Step,
    Text,
    leaves_of,
)

FAR = 100  # times the hits that are asked for, more of which no one asks for
DIGITS = 6
LONGEST = 60  # characters of a value
# What leaves a record out because of what it is, rather than of what it has.
_OF_ITSELF = {
    "ids": "it isn't among them",
    "like": "what a query is to be like isn't found by it",
    "unlike": "what a query is to be unlike isn't found by it",
    "record": "a record isn't found by itself",
    "query": "what a query names isn't found by it",
}


@dataclass(frozen=True, slots=True)
class Terms:
    """What the arguments of a call are named that decide what is found. depth_grows: whether each
    side of a fused query is asked for more where more hits are; showing: what more hits would
    do."""

    count: str = "n_results"
    offset: str = "offset"
    threshold: str = "max_distance"
    exact: str = "exact=True"
    candidates: str = "ef"
    depth: str = "depth"
    groups: str = "group_by"
    group_size: str = "group_size"
    by_words: str = "mode='text'"
    depth_grows: bool = True
    showing: str = "would show it"


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
        return [*_on_found(reason)]
    if reason.excluded_by:
        return [*map(_on_excluded, reason.excluded_by), *_beside_those_that_match(reason, about)]
    return [*_on_groups(reason, about), *_on_rank(reason, about), *_on_words(reason, about)]


def _on_found(reason: Reason) -> Iterator[str]:
    if reason.rank is not None and reason.place is not None and reason.rank < reason.place:
        yield (
            f"exactly, and with each side asked for all that match, it would be at place "
            f"{reason.rank}"
        )


def _on_excluded(one: Excluded) -> str:
    if one.argument in _OF_ITSELF:
        return f"{one.argument} leaves it out: {_OF_ITSELF[one.argument]}"
    shown = repr(one.met)
    cut = shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"
    met = "it has nothing there" if one.met is None else f"it has {cut}"
    return f"{one.argument} {one.condition!r} leaves it out: {met}"


def _beside_those_that_match(reason: Reason, about: About) -> Iterator[str]:
    """What else is in the way of a record that conditions leave out."""
    asked = {name: leg for name, leg in reason.legs.items() if leg.asked is not None}
    for name, leg in asked.items():
        if leg.beyond:
            yield _on_threshold(name, leg, about)
    places = [f"{leg.rank} by {name}" for name, leg in asked.items() if leg.rank is not None]
    if places:
        alone = " alone" if len(asked) > 1 else ""
        depth = about.step.depth
        late = any(leg.rank is not None and leg.rank > depth for leg in asked.values())
        few = f", and {about.step.limit} are asked for" if late and not alone else ""
        yield f"beside those that match it would be at place {' and '.join(places)}{alone}{few}"


def _on_threshold(name: str, leg: Leg, about: About) -> str:
    """leg: of which the measure is worse than its threshold."""
    step, terms = about.step, about.terms
    if step.prefetch:
        return f"the threshold of {name} leaves it out there: {_measure_of(leg)}"
    return f"{terms.threshold}={step.threshold:g} leaves it out: {_measure_of(leg)}"


def _measure_of(leg: Leg) -> str:
    """The distance or score, rounded so that a threshold of what is told lets it in."""
    if leg.distance is not None:
        return f"its distance is {_rounded(leg.distance, ROUND_CEILING)}"
    return f"its score is {_rounded(leg.score or 0.0, ROUND_FLOOR)}"


def _rounded(number: float, how: str) -> str:
    return f"{float(Context(DIGITS, how).create_decimal_from_float(number)):g}"


def _on_groups(reason: Reason, about: About) -> Iterator[str]:
    groups, terms = about.question.groups, about.terms
    if not isinstance(groups, BestOfEach) or reason.rank is None:
        return
    if value_at(about.record.payload, groups.path) is None:
        yield f"{terms.groups} shows records that have {'.'.join(groups.path)!r}, which it lacks"
    elif reason.same:
        yield (
            f"{terms.groups} shows the best {groups.size} of each value, and {reason.same[0]!r} "
            f"with the same value stands before it: give a larger {terms.group_size}"
        )
    elif not about.is_beyond:
        yield (
            f"{terms.groups} shows {about.step.limit} records, which others with better values "
            f"are: give a larger {terms.count}, {reason.rank} at most"
        )


def _on_rank(reason: Reason, about: About) -> Iterator[str]:
    """Of a record that no condition leaves out."""
    step, terms = about.step, about.terms
    for name, leg in reason.legs.items():
        if leg.asked is not None and leg.rank is None:
            yield _on_no_rank(name, leg, about)
        elif leg.asked is not None and leg.beyond:
            yield _on_threshold(name, leg, about)
    if reason.rank is None:
        return
    if about.is_beyond and step.prefetch:
        yield f"{terms.threshold}={step.threshold:g} leaves it out, by its score after fusion"
    if reason.rank <= step.offset:
        yield f"{terms.offset}={step.offset} skips it: its rank is {reason.rank}"
    elif about.question.groups is None:
        yield from _on_place(reason, about)


def _on_no_rank(name: str, leg: Leg, about: About) -> str:
    if leg.score is not None:
        return f"it stands too far back by {name} for its place to be told"
    for one in leaves_of(about.step):
        if isinstance(one.scoring, Text) and name.startswith("text"):
            spelt = (
                "; words are compared as they are spelled, unless the collection's text has a "
                "language"
            )
            told = "by text it can't be found: its document has no word of the query"
            return told if one.scoring.analyzer.language else told + spelt
        if isinstance(one.scoring, Sparse) and name == (one.scoring.space or "sparse"):
            return f"by {name} it can't be found: its vector shares no index with the query's"
    return f"by {name} it can't be found: it has no vector that could be compared"


def _on_place(reason: Reason, about: About) -> Iterator[str]:
    """Of one that comes too late, or whose exact place is among the hits and that isn't."""
    step, terms, rank = about.step, about.terms, reason.rank or 0
    wanted = rank - step.offset
    if rank <= step.depth:
        if not (about.is_beyond or any(leg.beyond for leg in reason.legs.values())):
            yield from _on_missed(reason, about)
    elif wanted > FAR * step.limit:
        yield f"its rank is {rank:,}, far behind the {step.limit} that are asked for"
    elif _grows(about):
        yield f"its rank is {rank}: {terms.count}={wanted} {terms.showing}"
    else:
        yield (
            f"with each side asked for all that match, its rank is {rank}: give a larger "
            f"{terms.count}, and {terms.depth}"
        )


def _grows(about: About) -> bool:
    """Whether more hits of the same query are the same ranking, so that more of them show it: a
    fused one may change with how many each side is asked for."""
    scoring = about.step.scoring
    if not about.step.prefetch:
        return True
    if not isinstance(scoring, Fused) or scoring.kind != "adaptive":
        return False
    return about.terms.depth_grows and not scoring.has_fixed_limits


def _on_missed(reason: Reason, about: About) -> Iterator[str]:
    """Of one whose exact place is among the hits, and that isn't."""
    step, terms = about.step, about.terms
    if not step.prefetch:
        if isinstance(step.scoring, Near) and not step.scoring.exact:
            yield (
                f"exactly it is at place {reason.rank}, which the index has missed: {terms.exact} "
                f"finds it, or a larger {terms.candidates}"
            )
        return
    behind = [
        f"by {name} it is at place {leg.rank}, and {leg.asked} are asked for"
        for name, leg in reason.legs.items()
        if leg.asked is not None and leg.rank is not None and leg.rank > leg.asked
    ]
    told = "; ".join([*behind, f"with each side asked for all, it would be at {reason.rank}"])
    yield f"{told}: give a larger {terms.depth}"


def _on_words(reason: Reason, about: About) -> Iterator[str]:
    """That words rank a record well by which the query doesn't go."""
    step = about.step
    if about.is_beyond or (reason.rank is not None and reason.rank <= step.depth):
        return
    for leg in reason.legs.values():
        rank = 0 if leg.asked is not None else leg.rank or 0
        if step.offset < rank <= step.depth:
            yield f"by its words alone it is at place {rank}: {about.terms.by_words} would show it"
