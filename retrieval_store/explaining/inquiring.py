"""A case of `why`: what a front asks for, and the reasons of what a store tells."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from retrieval_store.base.arrays import Floats
from retrieval_store.base.dataclasses import dataclass, field, replace
from retrieval_store.base.json_values import is_unicode, shown
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.explaining.advice import About, Terms, advice_on
from retrieval_store.explaining.conditions import (
    Condition,
    Excluded,
    every,
    expressions_of,
    failing,
    undivided,
    value_met,
)
from retrieval_store.explaining.reasons import Leg, Reason, Reasons
from retrieval_store.filters.documents import DocumentContains, DocumentMatches
from retrieval_store.filters.nodes import Expression, HasId
from retrieval_store.filters.paths import PayloadPath
from retrieval_store.filters.predicate import Candidate
from retrieval_store.interface.points import PointId, ShownIds
from retrieval_store.interface.questions import BestOfEach, Question, Step
from retrieval_store.interface.reasons import MOST_CONDITIONS, MOST_RECORDS, Findings, Inquiry
from retrieval_store.interface.stores import PointsBackend

LONGEST_PATTERN = 1_000  # characters of a text
MOST_CONTAINING = 20  # that contain a text


@dataclass(frozen=True, slots=True)
class Case:
    """A question, and which records are asked about: those with these ids, or the first that
    contain a text. conditions: the question's filters as they were written; beside: ways of
    searching that it doesn't use; same: the key that the caller named; spelled: how the query
    spells words of the analyzer's; terms: what the caller's arguments are called."""

    question: Question
    ids: Sequence[PointId] | None
    containing: str | None
    conditions: tuple[Condition, ...] = ()
    beside: tuple[Step, ...] = ()
    same: PayloadPath | None = None
    spelled: Mapping[str, str] = field(default_factory=dict)
    terms: Terms = Terms()


def reasons_of(points: PointsBackend, case: Case) -> Reasons:
    """The reasons of the records, in the order of the ids, or of insertion. InvalidArgumentError
    where it isn't one way of asking about records, and for a question of several queries."""
    limit = MOST_CONTAINING if case.ids is None else len(case.ids)
    groups = case.question.groups
    case = replace(case, conditions=undivided(case.conditions, MOST_CONDITIONS))
    same = case.same or (groups.path if isinstance(groups, BestOfEach) else None)
    first, *others = _ways_to_name(case)
    inquiry = Inquiry(
        case.question, first, limit, case.beside, expressions_of(case.conditions), same
    )
    told = points.why(inquiry)
    for records in others:
        if not told.points.ids:
            told = points.why(replace(inquiry, records=records))
    found = [_reason(case, told, i, one) for i, one in enumerate(_candidates(told))]
    if case.ids is None:
        none = None if found else f"no record has {case.containing!r} in its document"
        return Reasons(found, none)
    shown = isinstance(case.ids, ShownIds)
    by_id = {str(one.id) if shown else one.id: one for one in found}
    return Reasons(by_id.get(one) or _absent(one) for one in case.ids)


def check_asked(ids: Sequence[PointId] | None, containing: str | None, named: str) -> None:
    """Raise InvalidArgumentError where records aren't named in one of both ways. named: what the
    argument with their ids is called."""
    if (ids is None) == (containing is None):
        raise InvalidArgumentError(
            f"expected either {named} or containing, and not both, to say which are meant"
        )
    if containing is not None and not (isinstance(containing, str) and containing):
        raise InvalidArgumentError(
            f"containing is {shown(containing)}, expected a text that documents have"
        )
    if containing is not None and not is_unicode(containing):
        raise InvalidArgumentError("containing has a lone surrogate, which no document has")
    if ids is not None and not 0 < len(ids) <= MOST_RECORDS:
        raise InvalidArgumentError(f"{named} has {len(ids)} ids, expected 1 to {MOST_RECORDS:,}")


def _absent(point_id: PointId) -> Reason:
    return Reason(point_id, exists=False, advice=["there is no record of this id"])


def ways_to_contain(text: str) -> list[Expression]:
    """What is meant by records that contain a text, the first of which there are any: those that
    have it as it is; or whatever the white space between its words is, as of a text that was copied
    from where it is shown in other lines."""
    as_it_is, words = DocumentContains(text), text.split()
    if len(words) < 2 or len(text) > LONGEST_PATTERN:
        return [as_it_is]
    return [as_it_is, DocumentMatches(r"\s+".join(map(re.escape, words)))]


def _ways_to_name(case: Case) -> list[Expression]:
    """The expressions of the records that are asked about; see `ways_to_contain`."""
    if case.ids is None:
        return ways_to_contain(case.containing or "")
    return [HasId(tuple(case.ids), are_shown=isinstance(case.ids, ShownIds))]


def _candidates(told: Findings) -> list[Candidate]:
    points = told.points
    nothing = [None] * len(points.ids)
    columns = (points.payloads or nothing, points.documents or nothing, points.uris or nothing)
    return [Candidate(*one) for one in zip(points.ids, *columns, strict=True)]


def _reason(case: Case, told: Findings, at: int, record: Candidate) -> Reason:
    conditions = [*every(case.conditions)]
    fulfilled = {id(one): bool(told.fulfilled[i, at]) for i, one in enumerate(conditions)}
    excluded = [  # what is ranked was left out by nothing, whatever parts of filters say
        Excluded(one.argument, one.written, value_met(one, record))
        for whole in ([] if told.ranks[at] else case.conditions)
        for one in failing(whole, lambda part: fulfilled[id(part)])
    ]
    legs = {
        one.name: Leg(
            int(one.ranks[at]) or None,
            _number(one.distances, at),
            _number(one.scores, at),
            one.asked,
            bool(one.beyond[at]),
        )
        for one in told.legs
    }
    place = None
    if record.id in told.found:
        place = case.question.steps[0].offset + told.found.index(record.id) + 1
    rank = None if excluded else int(told.ranks[at]) or None
    reason = Reason(
        id=str(record.id) if isinstance(case.ids, ShownIds | None) else record.id,
        exists=True,
        found=place is not None,
        place=place,
        rank=rank,
        legs=legs,
        excluded_by=excluded,
        shared_words=_shared(case, told, at),
        missing_words=[
            case.spelled.get(one.word, one.word) for one in told.words if one.shares[at] == 0
        ],
        ahead=[] if rank is None else [*told.ahead[at]],
        same=[*told.same[at]],
        document=record.document,
    )
    about = About(case.question, record, bool(told.beyond[at]), case.terms)
    reason.advice.extend(advice_on(reason, about))
    return reason


def _shared(case: Case, told: Findings, at: int) -> dict[str, float | None]:
    """The words that a record shares with the query, the weightiest first."""
    shared = {
        case.spelled.get(one.word, one.word): _number(one.shares, at)
        for one in told.words
        if one.shares[at] != 0
    }
    return dict(sorted(shared.items(), key=lambda one: -(one[1] or 0.0)))


def _number(column: Floats, at: int) -> float | None:
    return None if np.isnan(column[at]) else float(column[at])
