"""The request for `Collection.why`: a query, and its filters divided into single conditions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from retrieval_store.api.arguments import check_ids, metadata_key
from retrieval_store.api.query_arguments import QueryRequest
from retrieval_store.api.results import Moved
from retrieval_store.base.analysis import Analyzer, spellings
from retrieval_store.filters.nodes import And, Expression, HasId, Not
from retrieval_store.filters.where import parse_where, parse_where_document
from retrieval_store.query.protocols import PointsBackend
from retrieval_store.query.query import Bm25, Query, QueryStep
from retrieval_store.query.reasons import (
    ArgumentNames,
    Condition,
    Reason,
    ReasonKind,
    Reasons,
    Reranked,
    WhyRequest,
    reasons_of,
)
from retrieval_store.query.types import Hits

if TYPE_CHECKING:
    from retrieval_store.api.rerank import Reranking

Parse = Callable[[Any], Expression]
_NO_TEXT = "it has no document for the re-ranker to read, so it comes after all that have one"


def case_of(
    request: QueryRequest,
    question: Query,
    analyzer: Callable[[], Analyzer],
    records: Any,
    containing: Any,
    same: Any,
    has_codes: bool,
) -> WhyRequest:
    """The request to explain why a query returns or misses some records. request: the query as the
    caller passed it; question: the same query in the form that the store takes; analyzer: returns
    the collection's analyzer, and is called only if the explanation needs words; records,
    containing, same: the arguments of `Collection.why`; has_codes: whether the query compares codes
    instead of using an index."""
    ids = check_ids(records, "records")
    text = _text_of(request.query_texts)
    beside: tuple[QueryStep, ...] = ()
    spelled: dict[str, str] = {}
    if text is not None:
        words = analyzer()
        beside, spelled = ranking_by_words(question, text, words), spellings(words, text)
    conditions = chain(
        _conditions_of_ids(request.ids),
        _conditions_of_where(request.where),
        conditions_in("where_document", request.where_document, parse_where_document),
        _conditions_of_like(request),
    )
    return WhyRequest(
        question,
        ids,
        containing,
        tuple(conditions),
        beside,
        None if same is None else (metadata_key(same, "same"),),
        spelled,
        replace(_terms(request), candidates="recall" if has_codes else "ef"),
    )


def reasons_for(
    points: PointsBackend,
    question: Query,
    analyzer: Analyzer,
    *,
    ids: Sequence[str | int] | None = None,
    containing: str | None = None,
    text: str | None = None,
    where: Any = None,
    where_document: Any = None,
    others: Sequence[tuple[str, Any, Expression]] = (),
    names: Mapping[str, Any] | None = None,
) -> Reasons:
    """Explain why one query finds records, or doesn't, as `Collection.why` does, with its errors.

    Args:
        points: the collection's points.
        question: the query.
        analyzer: the collection's analyzer.
        ids: the ids of the records to explain.
        containing: instead of ids, a text that the records' documents contain.
        text: the text of the query, if it has one.
        where: the metadata filter of the query, as it was given.
        where_document: the document filter of the query, as it was given.
        others: further conditions of the query, each as the argument's name, the text of the
            condition, and its expression.
        names: the names by which advice mentions arguments, by the fields of `ArgumentNames`.
    """
    conditions = [
        *_conditions_of_where(where),
        *conditions_in("where_document", where_document, parse_where_document),
        *(Condition(*other) for other in others),
    ]
    case = WhyRequest(
        question,
        ids,
        containing,
        tuple(conditions),
        () if text is None else ranking_by_words(question, text, analyzer),
        spelled={} if text is None else spellings(analyzer, text),
        names=ArgumentNames(**(names or {})),
    )
    return reasons_of(points, case)


def add_reranking(reasons: Reasons, reranking: "Reranking", hits: Sequence[Hits]) -> Reasons:
    """The reasons, to which the effects of re-ranking are added. hits: the hits that the re-ranker
    reads."""
    (order,) = reranking.moves(hits)
    places = {moved["id"]: moved for moved in order}
    changed = (
        _reason_after(reason, places.get(str(reason.id)), order, reranking) for reason in reasons
    )
    return Reasons(changed, reasons.note)


def _reason_after(
    reason: Reason, moved: Moved | None, order: Sequence[Moved], reranking: "Reranking"
) -> Reason:
    if moved is None:
        has_no_text = reason.exists and not (reason.document or reason.excluded_by)
        return replace(reason, advice=[_NO_TEXT]) if has_no_text else reason
    is_shown, after = reranking.shows(moved), moved["after"]
    return replace(
        reason,
        found=is_shown,
        place=after if is_shown else None,
        ahead=[hit["id"] for hit in order[: after - 1]],
        reranked=Reranked(moved["before"], after, moved["score"]),
        advice=[] if is_shown else [*_on_reranked(moved, reranking)],
    )


def _on_reranked(moved: Moved, wanted: "Reranking") -> Iterator[str]:
    """Yield why a record that the re-ranker has read is not among the results."""
    after, score = moved["after"], moved["score"]
    if score is None:
        yield _NO_TEXT
    if wanted.min_score is not None and (score is None or score < wanted.min_score):
        detail = "" if score is None else f": its score is {score:g}"
        yield f"min_score={wanted.min_score:g} leaves it out{detail}"
    if after <= wanted.offset:
        yield f"offset={wanted.offset} skips it: the re-ranker puts it at place {after}"
    elif after > wanted.depth:
        yield (
            f"the re-ranker puts it at place {after}: n_results={after - wanted.offset} would "
            "show it"
        )


def _terms(request: QueryRequest) -> ArgumentNames:
    """The names of the arguments by which this request limits its results, for advice."""
    threshold = "max_distance" if request.mode == "dense" else "min_score"
    if request.rerank is None:
        return ArgumentNames(threshold=threshold)
    showing = "would let the re-ranker read it"
    return ArgumentNames(count="candidates", threshold=threshold, showing=showing)


def ranking_by_words(question: Query, text: str, analyzer: Analyzer) -> tuple[QueryStep, ...]:
    """A ranking by the words of `text`, to be reported with the query's own rankings; empty if the
    query itself ranks by words."""
    (step,) = question.steps
    leaves = step.leaves
    if any(isinstance(leaf.scoring, Bm25) for leaf in leaves):
        return ()
    return (QueryStep(Bm25((text,), analyzer), step.depth, leaves[0].expression),)


def _text_of(texts: Any) -> str | None:
    """The text of a request with one query; None if it has no text."""
    return texts if texts is None or isinstance(texts, str) else next(iter(texts))


def _conditions_of_ids(ids: Any) -> list[Condition]:
    listed_ids = check_ids(ids)
    if listed_ids is None:
        return []
    return [Condition("ids", list(listed_ids), HasId(tuple(listed_ids), are_shown=True))]


def _conditions_of_like(request: QueryRequest) -> list[Condition]:
    """The conditions that exclude the examples of `like` and `unlike` from the results."""
    return [
        Condition(name, list(ids), Not(HasId(tuple(ids), are_shown=True)))
        for name in ("like", "unlike")
        if (ids := check_ids(getattr(request, name), name))
    ]


def _conditions_of_where(where: Any) -> list[Condition]:
    if isinstance(where, Expression):
        terms = where.terms if isinstance(where, And) else (where,)
        return [Condition("where", repr(term), term) for term in terms]
    return conditions_in("where", where, parse_where)


def conditions_in(argument: str, filter: Any, parse: Parse) -> list[Condition]:
    """The conditions of a filter in the dialect of Chroma; an empty list if the filter is None."""
    return (
        [] if filter is None else [_FilterParts(argument, parse).condition_of_dict(filter, False)]
    )


@dataclass(frozen=True, slots=True)
class _FilterParts:
    """Divides a filter into its conditions. argument: the argument that contains the filter; parse:
    a function that parses one condition."""

    argument: str
    parse: Parse

    def condition_of_dict(self, node: Mapping[str, Any], negated: bool) -> Condition:
        """The condition that a dict describes: all its items must hold."""
        terms = [self.condition_of_key(key, operand, negated) for key, operand in node.items()]
        return terms[0] if len(terms) == 1 else self.combine(node, terms, negated, not negated)

    def condition_of_key(self, key: str, operand: Any, negated: bool) -> Condition:
        """The condition under one key of a dict."""
        node = {key: operand}
        match key:
            case "$and" | "$or" | "$nor":
                # By De Morgan's laws a negation is asked of the parts: so "none of these" is all of
                # their negations, and "not all of these" any of them.
                terms = [
                    self.condition_of_dict(part, negated != (key == "$nor")) for part in operand
                ]
                return self.combine(node, terms, negated, negated == (key == "$or"))
            case "$not":
                return self.condition_of_dict(operand, not negated)
        if isinstance(operand, Mapping) and len(operand) > 1:
            parts = [
                self.condition_of_key(key, {name: value}, negated)
                for name, value in operand.items()
            ]
            return self.combine(node, parts, negated, not negated)
        written = {"$not": node} if negated else node
        return Condition(self.argument, written, self.parse(written))

    def combine(
        self, node: Mapping[str, Any], terms: Sequence[Condition], negated: bool, needs_all: bool
    ) -> Condition:
        """Several conditions combined into one, which needs all of them (`needs_all`) or at least
        one of them."""
        written = {"$not": node} if negated else dict(node)
        kind: ReasonKind = "all" if needs_all else "any"
        return Condition(self.argument, written, self.parse(written), kind, tuple(terms))
