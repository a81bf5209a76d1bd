"""Explains to a caller why a query found records or didn't find them, as objects that print as
text.

Each public API parses the filters of its dialect into `Condition`s, one for each part as the caller
wrote it. So a reason can name the parts that exclude a record. Each condition also has an
expression: the filter that stores evaluate. A `WhyRequest` contains the query, and `reasons_of`
builds the `Reasons` from the store's report. `advice_on` says in sentences what would have to
change for a record to be found. It names every obstacle, not only the first, so a caller who
follows it finds the record.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from typing import Any, Literal, TypeAlias

import numpy as np

from retrieval_store.base.arrays import Floats
from retrieval_store.base.system import cut_text, printable
from retrieval_store.base.validation import is_unicode, list_first, quote
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.filters.columns import values_at
from retrieval_store.filters.leaves import (
    Candidate,
    ColumnLeaf,
    DocumentContains,
    DocumentLeaf,
    DocumentMatches,
    column_of,
)
from retrieval_store.filters.nodes import Expression, HasId, walk
from retrieval_store.filters.paths import PayloadPath, value_at
from retrieval_store.query.protocols import PointsBackend
from retrieval_store.query.query import (
    MAX_CONDITIONS,
    MAX_RECORDS,
    BestOfEach,
    Bm25,
    ExplainRequest,
    FuseRankings,
    NearestDense,
    NearestSparse,
    Query,
    QueryStep,
    RankReport,
)
from retrieval_store.query.types import PointId, ShownIds

ReasonKind: TypeAlias = Literal["one", "all", "any"]
# Failing terms that are listed; if there are more, the condition is reported as a whole.
MAX_CONDITIONS_TOLD = 50
SHOWN_DOCUMENT = 200  # characters of a document that are shown as the value for a condition


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """A part of a filter. argument: the name of the call's argument that contains the part.
    written: only this part, in the syntax of that argument. kind: "one" for a part that can't be
    divided, "all" or "any" for a combination of terms."""

    argument: str
    written: Any
    expression: Expression
    kind: ReasonKind = "one"
    terms: tuple["Condition", ...] = ()


@dataclass(frozen=True, slots=True)
class Excluded:
    """A condition that excludes a record. argument: the name of the call's argument that contains
    the condition. condition: only this condition, in the syntax of that argument. met: the record's
    value, None if it has no value."""

    argument: str
    condition: Any
    met: Any

    def __str__(self) -> str:
        return f"{self.argument} {self.condition!r} (it met {self.met!r})"


def walk_conditions(conditions: Iterable[Condition]) -> Iterator[Condition]:
    """Yield the conditions and, recursively, all their parts."""
    for condition in conditions:
        yield condition
        yield from walk_conditions(condition.terms)


def failing_parts(condition: Condition, holds: Callable[[Condition], bool]) -> list[Condition]:
    """The smallest parts of a condition that exclude a record, or an empty list if the record
    matches. Depending on the condition, all these parts or only one of them would have to change
    for the record to match. holds: returns whether the record fulfils a condition."""
    if holds(condition):
        return []
    if condition.kind == "one":
        return [condition]
    parts = [part for term in condition.terms for part in failing_parts(term, holds)]
    # A condition "at least n of these" may have no single failing term; and if more than
    # MAX_CONDITIONS_TOLD terms fail, the condition as a whole is clearer than their list.
    return parts if 0 < len(parts) <= MAX_CONDITIONS_TOLD else [condition]


def limit_parts(conditions: Sequence[Condition]) -> tuple[Condition, ...]:
    """The same conditions. If they have more than MAX_CONDITIONS parts in total, their parts are
    removed."""
    if sum(1 for _ in walk_conditions(conditions)) <= MAX_CONDITIONS:
        return tuple(conditions)
    return tuple(replace(c, kind="one", terms=()) for c in conditions[:MAX_CONDITIONS])


def expressions_of(conditions: Sequence[Condition]) -> tuple[Expression, ...]:
    """The expressions of all conditions and of their parts, in the order of `walk_conditions`."""
    return tuple(condition.expression for condition in walk_conditions(conditions))


def value_met(condition: Condition, record: Candidate) -> Any:
    """The value of the record that a condition tests: a value of its metadata (several as a list),
    the beginning of its document, or its id. None if the record has no such value."""
    for leaf in walk(condition.expression):
        if isinstance(leaf, ColumnLeaf):
            return _value_of(leaf, record)
        if isinstance(leaf, DocumentLeaf):
            document = record.document
            return None if document is None else cut_text(document, SHOWN_DOCUMENT)
        if isinstance(leaf, HasId):
            return record.id
    return None


def _value_of(leaf: ColumnLeaf, record: Candidate) -> Any:
    values = values_at(record.shown, column_of(leaf))
    return values[0] if len(values) == 1 else values or None


PRINTED_DOCUMENT = 80  # characters of a document in printed output
MAX_IDS_SHOWN = 5  # ids in printed output
COLUMNS = ("id", "result", "rank", "by", "left out by", "words shared", "words missing", "advice")


@dataclass(frozen=True, slots=True)
class Leg:
    """The exact result for a record in one kind of search (a "leg", such as dense or text search).

    rank: the record's rank, from 1, among the matching records. A record that a filter excludes
    gets the rank that it would have without the filter. The rank is None if the record has no
    vector or no word of the query, or if it is too far back on a cluster. distance: only for dense
    searches of a Collection. score: greater is better. asked: how many candidates the query takes
    from this search, None if the query doesn't use it. beyond: whether the record is worse than the
    threshold of this search.
    """

    rank: int | None
    distance: float | None
    score: float | None
    asked: int | None
    beyond: bool = False


@dataclass(frozen=True, slots=True)
class Reranked:
    """The result of a re-ranker for a record that it has scored. before, after: the record's rank
    before and after re-ranking, from 1. score: the re-ranker's score, None for a record without a
    document."""

    before: int
    after: int
    score: float | None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a query found a record, or didn't find it.

    exists: whether the record exists; if not, the other fields are empty. found: whether the record
    is among the hits. place: the record's rank among the hits, from 1; hits that an offset skips
    are counted. rank: the record's exact rank, from 1, among all matching records, in the ranking
    that the query would return with a large enough limit. None if a filter excludes the record, or
    if it can't be ranked. legs: the record's result in each single search: "dense", "text" or
    "sparse". excluded_by: the smallest conditions that exclude the record. shared_words: words of
    the query that the record's document contains, each with its contribution to the score in text
    search (None on a cluster). missing_words: words of the query that the document lacks. ahead:
    the ids before the record, best first, 100 at most. same: hits that have the record's value
    under the key that the caller named. advice: sentences that say what would have to change for
    the query to find the record. reranked: the re-ranker's result, if it has scored the record. In
    that case place and ahead describe the order after re-ranking, and rank and legs the order
    before it.
    """

    id: str | int
    exists: bool
    found: bool = False
    place: int | None = None
    rank: int | None = None
    legs: dict[str, Leg] = field(default_factory=dict)
    excluded_by: list[Excluded] = field(default_factory=list)
    shared_words: dict[str, float | None] = field(default_factory=dict)
    missing_words: list[str] = field(default_factory=list)
    ahead: list[str | int] = field(default_factory=list)
    same: list[str | int] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    document: str | None = None
    reranked: Reranked | None = None

    @property
    def summary(self) -> str:
        """Whether the record was found, and its place, in a few words."""
        if not self.exists:
            return "there is no such record"
        if self.reranked is not None:
            before = f"({self.reranked.before} before re-ranking)"
            if self.found:
                return f"found, at place {self.place} {before}"
            return f"not found: re-ranked to place {self.reranked.after} {before}"
        if self.found:
            exact = "" if self.rank in (None, self.place) else f" (exactly: {self.rank})"
            return f"found, at place {self.place}{exact}"
        if self.excluded_by:
            return "not found: a condition leaves it out"
        return f"not found, at rank {self.rank}" if self.rank else "not found: it has no rank"

    @property
    def row(self) -> Sequence[object]:
        """The row of this reason in a table with the columns `COLUMNS`."""
        legs = (f"{name}: {_describe_leg(leg)}" for name, leg in self.legs.items())
        return (
            str(self.id),
            self.summary,
            self.rank,
            "; ".join(legs),
            "; ".join(map(str, self.excluded_by)),
            ", ".join(self.shared_words),
            ", ".join(self.missing_words),
            "; ".join(self.advice),
        )

    def __str__(self) -> str:
        return "\n".join([f"{printable(str(self.id))}: {self.summary}", *self._lines()])

    def _lines(self) -> Iterable[str]:
        if self.document:
            cut = "…" if len(self.document) > PRINTED_DOCUMENT else ""
            yield f"  document: {printable(self.document[:PRINTED_DOCUMENT])}{cut}"
        for name, leg in self.legs.items():
            yield f"  {name}: {_describe_leg(leg)}"
        if self.reranked is not None and self.reranked.score is not None:
            yield f"  re-ranker: score {self.reranked.score:.4g}"
        if self.shared_words or self.missing_words:
            shared = ", ".join(map(_word_with_weight, self.shared_words.items())) or "none"
            missing = ", ".join(self.missing_words) or "none"
            yield printable(f"  words shared: {shared}; missing: {missing}")
        if self.ahead:
            yield f"  ahead of it: {_first_ids(self.ahead)}"
        if self.same:
            yield f"  found with the same value: {_first_ids(self.same)}"
        for advice in self.advice:
            yield f"  → {printable(advice)}"


class Reasons(list[Reason]):
    """A list of the reasons of several records. It prints as text, and notebooks show it as a
    table. note: a further remark."""

    def __init__(self, reasons: Iterable[Reason] = (), note: str | None = None) -> None:
        super().__init__(reasons)
        self.note = note

    def __str__(self) -> str:
        note = [] if self.note is None else [printable(self.note)]
        return "\n\n".join([*note, *map(str, self)])

    def _repr_html_(self) -> str:
        from retrieval_store.base.html import table_of

        rows = [reason.row for reason in self]
        return table_of(COLUMNS, rows, self.note or "", total=len(self))


def _describe_leg(leg: Leg) -> str:
    parts = ["no rank" if leg.rank is None else f"rank {leg.rank}"]
    if leg.distance is not None:
        parts.append(f"distance {leg.distance:.4g}")
    elif leg.score is not None:
        parts.append(f"score {leg.score:.4g}")
    if leg.asked is None:
        parts.append("not part of this query")
    return ", ".join(parts)


def _word_with_weight(word: tuple[str, Any]) -> str:
    return word[0] if word[1] is None else f"{word[0]} ({word[1]:.3g})"


def _first_ids(ids: list[str | int]) -> str:
    return list_first(ids, MAX_IDS_SHOWN, lambda point_id: printable(str(point_id)))


FAR = 100  # if a rank exceeds this many times the limit, no advice to raise the limit is given
DIGITS = 6
SHOWN_VALUE = 60  # characters of a shown value
# Exclusions by a property of the record itself, rather than by its data.
_OF_ITSELF = {
    "ids": "it isn't one of these ids",
    "like": "a record that is given as an example is no hit",
    "unlike": "a record that is given as an example is no hit",
    "record": "a record is no hit of its own query",
    "query": "a point that the query names is no hit",
}


@dataclass(frozen=True, slots=True)
class ArgumentNames:
    """How advice names the arguments of the caller's function that influence the result.
    depth_grows: whether a larger number of hits also increases the number of candidates of each
    ranking that is fused. showing: a phrase that describes the effect of more hits."""

    count: str = "n_results"
    offset: str = "offset"
    threshold: str = "max_distance"
    exact: str = "exact=True"
    candidates: str = "ef"
    depth: str = "depth"
    groups: str = "group_by"
    group_size: str = "size of group_by"
    by_words: str = "mode='text'"
    depth_grows: bool = True
    showing: str = "would show it"


@dataclass(frozen=True, slots=True, eq=False)
class AdviceContext:
    """The data that advice needs in addition to the reason: the query, the record, and the names of
    arguments. is_beyond: whether the record is worse than the query's threshold."""

    question: Query
    record: Candidate
    is_beyond: bool
    names: ArgumentNames

    @property
    def step(self) -> QueryStep:
        """The only step of the query."""
        return self.question.steps[0]


def advice_on(reason: Reason, about: AdviceContext) -> list[str]:
    """The advice for a record that exists: what would have to change for the query to find it."""
    if reason.found:
        return [*_on_found(reason)]
    if reason.excluded_by:
        return [*map(_on_excluded, reason.excluded_by), *_remaining_obstacles(reason, about)]
    return [*_on_groups(reason, about), *_on_rank(reason, about), *_on_words(reason, about)]


def _on_found(reason: Reason) -> Iterator[str]:
    if reason.rank is not None and reason.place is not None and reason.rank < reason.place:
        yield (
            f"in an exact search, with each side asked for all that match, it would be at place "
            f"{reason.rank}"
        )


def _on_excluded(excluded: Excluded) -> str:
    if excluded.argument in _OF_ITSELF:
        return f"{excluded.argument} leaves it out: {_OF_ITSELF[excluded.argument]}"
    shown = cut_text(repr(excluded.met), SHOWN_VALUE)
    met = "it has nothing there" if excluded.met is None else f"it has {shown}"
    return f"{excluded.argument} {excluded.condition!r} leaves it out: {met}"


def _remaining_obstacles(reason: Reason, about: AdviceContext) -> Iterator[str]:
    """Advice for a record that conditions exclude: the obstacles that would remain without these
    conditions."""
    legs = {name: leg for name, leg in reason.legs.items() if leg.asked is not None}
    for name, leg in legs.items():
        if leg.beyond:
            yield _on_threshold(name, leg, about)
    places = [f"{leg.rank} by {name}" for name, leg in legs.items() if leg.rank is not None]
    if places:
        is_fused = len(legs) > 1
        depth = about.step.depth
        late = any(leg.rank is not None and leg.rank > depth for leg in legs.values())
        few = f", and {about.step.limit} are asked for" if late and not is_fused else ""
        place = f"{' and '.join(places)}{' alone' if is_fused else ''}"
        yield f"if no condition left it out, it would be at place {place}{few}"


def _on_threshold(name: str, leg: Leg, about: AdviceContext) -> str:
    """Advice for a record that is worse than the threshold of one search of the query. name, leg:
    the name and the result of this search."""
    step, names = about.step, about.names
    if step.prefetch:
        return f"the threshold of {name} leaves it out there: {_measure_of(leg)}"
    measure, threshold = _measure_of(leg), f"{step.threshold:g}"
    no_better = ", which is no better" if measure.endswith(f" {threshold}") else ""
    return f"{names.threshold}={threshold} leaves it out: {measure}{no_better}"


def _measure_of(leg: Leg) -> str:
    """A phrase with the distance or score. The number is rounded so that a threshold of the printed
    value includes the record."""
    if leg.distance is not None:
        return f"its distance is {_format_number(leg.distance, ROUND_CEILING)}"
    return f"its score is {_format_number(leg.score or 0.0, ROUND_FLOOR)}"


def _format_number(number: float, how: str) -> str:
    return f"{float(Context(DIGITS, how).create_decimal_from_float(number)):g}"


def _on_groups(reason: Reason, about: AdviceContext) -> Iterator[str]:
    groups, names = about.question.groups, about.names
    if not isinstance(groups, BestOfEach) or reason.rank is None:
        return
    if value_at(about.record.payload, groups.path) is None:
        yield f"{names.groups} shows records that have {'.'.join(groups.path)!r}, which it lacks"
    elif reason.same:
        yield (
            f"{names.groups} shows the best {groups.size} of each value, and {reason.same[0]!r} "
            f"with the same value comes before it: give a larger {names.group_size}"
        )
    elif not about.is_beyond:
        yield (
            f"{names.groups} shows {about.step.limit} records, and those of other values rank "
            f"higher: give a larger {names.count}, {reason.rank} at most"
        )


def _on_rank(reason: Reason, about: AdviceContext) -> Iterator[str]:
    """Advice for a record that no condition excludes."""
    step, names = about.step, about.names
    for name, leg in reason.legs.items():
        if leg.asked is not None and leg.rank is None:
            yield _on_no_rank(name, leg, about)
        elif leg.asked is not None and leg.beyond:
            yield _on_threshold(name, leg, about)
    if reason.rank is None:
        return
    if about.is_beyond and step.prefetch:
        yield f"{names.threshold}={step.threshold:g} leaves it out, by its score after fusion"
    if reason.rank <= step.offset:
        yield f"{names.offset}={step.offset} skips it: its rank is {reason.rank}"
    elif about.question.groups is None:
        yield from _on_place(reason, about)


def _on_no_rank(name: str, leg: Leg, about: AdviceContext) -> str:
    if leg.score is not None:
        return f"its place by {name} is too far back to be computed"
    for leaf in about.step.leaves:
        if isinstance(leaf.scoring, Bm25) and name.startswith("text"):
            spelt = (
                "; words are compared as they are spelled, unless the collection's text has a "
                "language"
            )
            reason = "by text it can't be found: its document has no word of the query"
            return reason if leaf.scoring.analyzer.language else reason + spelt
        if isinstance(leaf.scoring, NearestSparse) and name == (leaf.scoring.space or "sparse"):
            return f"by {name} it can't be found: its vector shares no index with the query's"
    return f"by {name} it can't be found: it has no vector that could be compared"


def _on_place(reason: Reason, about: AdviceContext) -> Iterator[str]:
    """Advice for a record that ranks too low, or that isn't among the hits although its exact rank
    is high enough."""
    step, names, rank = about.step, about.names, reason.rank or 0
    needed_limit = rank - step.offset
    if rank <= step.depth:
        if not (about.is_beyond or any(leg.beyond for leg in reason.legs.values())):
            yield from _on_missed(reason, about)
    elif needed_limit > FAR * step.limit:
        yield f"its rank is {rank:,}, far behind the {step.limit} that are asked for"
    elif _grows(about):
        yield f"its rank is {rank}: {names.count}={needed_limit} {names.showing}"
    else:
        yield (
            f"with each side asked for all that match, its rank is {rank}: give a larger "
            f"{names.count}, and {names.depth}"
        )


def _grows(about: AdviceContext) -> bool:
    """Whether a larger limit extends the ranking without changing its beginning. A fused ranking
    may change with the number of candidates of each ranking."""
    scoring = about.step.scoring
    if not about.step.prefetch:
        return True
    if not isinstance(scoring, FuseRankings) or scoring.kind != "adaptive":
        return False
    return about.names.depth_grows and not scoring.has_fixed_limits


def _on_missed(reason: Reason, about: AdviceContext) -> Iterator[str]:
    """Advice for a record that isn't among the hits although its exact rank is high enough."""
    step, names = about.step, about.names
    if not step.prefetch:
        if isinstance(step.scoring, NearestDense) and not step.scoring.exact:
            yield (
                f"exactly it is at place {reason.rank}, which the index has missed: {names.exact} "
                f"finds it, or a larger {names.candidates}"
            )
        return
    behind = [
        f"by {name} it is at place {leg.rank}, and {leg.asked} are asked for"
        for name, leg in reason.legs.items()
        if leg.asked is not None and leg.rank is not None and leg.rank > leg.asked
    ]
    places = "; ".join([*behind, f"with each side asked for all, it would be at {reason.rank}"])
    yield f"{places}: give a larger {names.depth}"


def _on_words(reason: Reason, about: AdviceContext) -> Iterator[str]:
    """Advice for a record that a text search would rank among the hits, if the query doesn't use
    text search."""
    step = about.step
    if about.is_beyond or (reason.rank is not None and reason.rank <= step.depth):
        return
    for leg in reason.legs.values():
        rank = 0 if leg.asked is not None else leg.rank or 0
        if step.offset < rank <= step.depth:
            yield f"by its words alone it is at place {rank}: {about.names.by_words} would show it"


LONGEST_PATTERN = 1_000  # characters of a text that is searched for with any white space
MAX_CONTAINING = 20  # records that contain a text


@dataclass(frozen=True, slots=True)
class WhyRequest:
    """A query, and the records to explain: the records with these `ids`, or the first records that
    contain the text `containing`. conditions: the query's filters as the caller wrote them. beside:
    further kinds of search that the query doesn't use. same: a metadata key; hits that have a
    record's value under this key are reported. spelled: for each analyzed word, its spelling in the
    query. names: the names of the caller's arguments."""

    question: Query
    ids: Sequence[PointId] | None
    containing: str | None
    conditions: tuple[Condition, ...] = ()
    beside: tuple[QueryStep, ...] = ()
    same: PayloadPath | None = None
    spelled: Mapping[str, str] = field(default_factory=dict)
    names: ArgumentNames = ArgumentNames()


def reasons_of(points: PointsBackend, case: WhyRequest) -> Reasons:
    """The reasons of the records, in the order of the ids, or of insertion. Raises
    InvalidArgumentError unless exactly one of `ids` and `containing` is set, or if the query has
    several query vectors or texts."""
    _check_named(case.ids, case.containing)
    limit = MAX_CONTAINING if case.ids is None else len(case.ids)
    groups = case.question.groups
    case = replace(case, conditions=limit_parts(case.conditions))
    same = case.same or (groups.path if isinstance(groups, BestOfEach) else None)
    first, *others = _ways_to_name(case)
    inquiry = ExplainRequest(
        case.question, first, limit, case.beside, expressions_of(case.conditions), same
    )
    report = points.why(inquiry)
    for records in others:
        if not report.points.ids:
            report = points.why(replace(inquiry, records=records))
    reasons = [_reason(case, report, i, record) for i, record in enumerate(_candidates(report))]
    if case.ids is None:
        note = None if reasons else f"no record has {case.containing!r} in its document"
        return Reasons(reasons, note)
    shown = isinstance(case.ids, ShownIds)
    by_id = {str(reason.id) if shown else reason.id: reason for reason in reasons}
    return Reasons(by_id.get(point_id) or _absent(point_id) for point_id in case.ids)


def _check_named(ids: Sequence[PointId] | None, containing: str | None) -> None:
    """Raise InvalidArgumentError unless exactly one of `ids` and `containing` is set, and is
    valid."""
    if (ids is None) == (containing is None):
        raise InvalidArgumentError("expected either ids or containing, and not both")
    if containing is not None and not (isinstance(containing, str) and containing):
        raise InvalidArgumentError(
            f"containing is {quote(containing)}, expected a text that documents have"
        )
    if containing is not None and not is_unicode(containing):
        raise InvalidArgumentError("containing has a lone surrogate, which no document has")
    if ids is not None and not 0 < len(ids) <= MAX_RECORDS:
        raise InvalidArgumentError(f"ids has {len(ids)} ids, expected 1 to {MAX_RECORDS:,}")


def _absent(point_id: PointId) -> Reason:
    return Reason(point_id, exists=False, advice=["there is no record of this id"])


def ways_to_contain(text: str) -> list[Expression]:
    """Conditions that a document contains a text, from strict to loose; the caller uses the first
    that any record fulfils. The strict condition requires the exact text. The loose condition
    accepts any white space between the words, since a text may be copied from a page with other
    line breaks."""
    as_it_is, words = DocumentContains(text), text.split()
    if len(words) < 2 or len(text) > LONGEST_PATTERN:
        return [as_it_is]
    return [as_it_is, DocumentMatches(r"\s+".join(map(re.escape, words)))]


def _ways_to_name(case: WhyRequest) -> list[Expression]:
    """The alternative expressions for the records to explain; see `ways_to_contain`."""
    if case.ids is None:
        return ways_to_contain(case.containing or "")
    return [HasId(tuple(case.ids), are_shown=isinstance(case.ids, ShownIds))]


def _candidates(report: RankReport) -> list[Candidate]:
    points = report.points
    nothing = [None] * len(points.ids)
    columns = (points.payloads or nothing, points.documents or nothing, points.uris or nothing)
    return [Candidate(*cells) for cells in zip(points.ids, *columns, strict=True)]


def _reason(case: WhyRequest, report: RankReport, at: int, record: Candidate) -> Reason:
    conditions = [*walk_conditions(case.conditions)]
    fulfilled = {
        id(condition): bool(report.fulfilled[i, at]) for i, condition in enumerate(conditions)
    }
    excluded = [  # a ranked record isn't excluded, whatever parts of filters say
        Excluded(condition.argument, condition.written, value_met(condition, record))
        for whole in ([] if report.ranks[at] else case.conditions)
        for condition in failing_parts(whole, lambda part: fulfilled[id(part)])
    ]
    legs = {
        leg.name: Leg(
            int(leg.ranks[at]) or None,
            _number(leg.distances, at),
            _number(leg.scores, at),
            leg.asked,
            bool(leg.beyond[at]),
        )
        for leg in report.legs
    }
    place = None
    if record.id in report.found:
        place = case.question.steps[0].offset + report.found.index(record.id) + 1
    rank = None if excluded else int(report.ranks[at]) or None
    reason = Reason(
        id=str(record.id) if isinstance(case.ids, ShownIds | None) else record.id,
        exists=True,
        found=place is not None,
        place=place,
        rank=rank,
        legs=legs,
        excluded_by=excluded,
        shared_words=_shared_words(case, report, at),
        missing_words=[
            case.spelled.get(word.word, word.word) for word in report.words if word.shares[at] == 0
        ],
        ahead=[] if rank is None else [*report.ahead[at]],
        same=[*report.same[at]],
        document=record.document,
    )
    about = AdviceContext(case.question, record, bool(report.beyond[at]), case.names)
    reason.advice.extend(advice_on(reason, about))
    return reason


def _shared_words(case: WhyRequest, report: RankReport, at: int) -> dict[str, float | None]:
    """The words that a record shares with the query, each with its contribution to the score, in
    descending order of contribution. at: the record's position in the report."""
    shared = {
        case.spelled.get(word.word, word.word): _number(word.shares, at)
        for word in report.words
        if word.shares[at] != 0
    }
    return dict(sorted(shared.items(), key=lambda item: -(item[1] or 0.0)))


def _number(column: Floats, at: int) -> float | None:
    return None if np.isnan(column[at]) else float(column[at])
