"""What `Collection.why` asks: the case of a query, with its filters taken apart; and what is said
of a filter that nothing can fulfil."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from retrieval_store.api.arguments import check_ids, metadata_key
from retrieval_store.api.query_arguments import QueryRequest
from retrieval_store.api.results import Moved
from retrieval_store.base.analysis import Analyzer, spellings
from retrieval_store.base.tracing import log_of
from retrieval_store.base.validation import shorten
from retrieval_store.errors import InvalidFilterError, RetrievalStoreError
from retrieval_store.filters.leaves import ValueLeaf
from retrieval_store.filters.nodes import And, AtLeast, Expression, HasId, Not, Or, Scalar
from retrieval_store.filters.paths import EACH, JsonPath, PayloadPath, split_dotted
from retrieval_store.filters.values import Exists, ListHas, OneOf, Range, TextLeaf, TextRange
from retrieval_store.filters.where import parse_where, parse_where_document
from retrieval_store.query.protocols import EnginePoints, PointsBackend
from retrieval_store.query.query import Bm25, Query, QueryStep
from retrieval_store.query.reasons import (
    ArgumentNames,
    Condition,
    Kind,
    Reason,
    Reasons,
    Reranked,
    WhyRequest,
    reasons_of,
)
from retrieval_store.query.types import Fields, Hits

if TYPE_CHECKING:
    from retrieval_store.api.rerank import Reranking

MAX_KEYS = 20  # of a filter that are looked at
MAX_SEEN = 1_000  # of a collection that are remembered, after which nothing is said
ANY = "anything"
_log = log_of()
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
    """The request to explain. request: that of the query; question: the query; analyzer:
    returns that of the collection, called only where words matter; has_codes: whether it is
    searched by codes, without an index."""
    ids = check_ids(records, "records")
    text = _text_of(request.query_texts)
    beside: tuple[QueryStep, ...] = ()
    spelled: dict[str, str] = {}
    if text is not None:
        words = analyzer()
        beside, spelled = words_beside(question, text, words), spellings(words, text)
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
    """Why records are found by a query of one, or aren't, as `Collection.why` says it; with its
    errors.

    Args:
        points: of the collection.
        question: the query.
        analyzer: of the collection.
        ids: of the records that are meant.
        containing: instead, a text that is in their documents.
        text: of the query, if it has one.
        where: the filter of metadata that is in the query, as it was given.
        where_document: the same of documents.
        others: further conditions in the query: the argument that each is of, what is shown of it,
            and its expression.
        names: what arguments are called in advice, by the fields of `ArgumentNames`.
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
        () if text is None else words_beside(question, text, analyzer),
        spelled={} if text is None else spellings(analyzer, text),
        names=ArgumentNames(**(names or {})),
    )
    return reasons_of(points, case)


@dataclass(frozen=True, slots=True)
class NamedKeys:
    """Where a call names metadata keys: in its filter, and in another argument."""

    expression: Expression | None
    other: tuple[str, PayloadPath] | None = None


def tell_unknown(
    points: PointsBackend, keys: NamedKeys, name: str, seen: set[Any], refuses: bool
) -> None:
    """Warn of conditions of a filter that no record of the collection can fulfil, and of other keys
    under which none has what is asked for, or raise InvalidFilterError. seen: keys that were warned
    of, and keys with kinds that are there."""
    if refuses:
        for _, text in unknown_in(points, keys, seen):
            raise InvalidFilterError(f"nothing matches: {text}")
    elif len(seen) < MAX_SEEN:
        with suppress(RetrievalStoreError):  # the call itself is done
            for path, text in unknown_in(points, keys, seen):
                seen.add(path)
                _log.warning("collection %r: nothing matches: %s", name, text)


def tell_texts(
    points: PointsBackend, expression: Expression, name: str, seen: set[Any], refuses: bool
) -> None:
    """Warn of ranges of strings that are compared with times as texts, or raise
    InvalidFilterError. seen: what was warned of, or looked at, before."""
    if refuses:
        for _, text in _compared_as_texts(points, expression, seen):
            raise InvalidFilterError(text)
    elif len(seen) < MAX_SEEN:
        with suppress(RetrievalStoreError):
            for noted, text in _compared_as_texts(points, expression, seen):
                seen.add(noted)
                _log.warning("collection %r: %s", name, text)


def unknown_in(
    points: PointsBackend, keys: NamedKeys, seen: Container[Any]
) -> Iterator[tuple[PayloadPath, str]]:
    """The paths that a call names under which no record has a value, or none of a kind that is
    asked for, each with a sentence; nothing of an empty collection, and on a cluster, where all
    records would have to be read."""
    engine = points.engine
    if engine is None or not points.count():
        return
    for argument, path in () if keys.other is None else (keys.other,):
        stored_kinds = [] if path in seen else engine.kinds(path)
        if path not in seen and not stored_kinds:
            yield path, f"no record has a value under {argument}={shorten('.'.join(path))}"
        elif stored_kinds == ["others"] and argument == "key":
            yield (
                path,
                f"under {argument}={shorten('.'.join(path))} records have "
                f"{_in_words(stored_kinds)}",
            )
        elif argument == "order_by" and stored_kinds and not _has_order(points, path):
            yield path, _on_order(path, stored_kinds)
    kinds_by_path = {} if keys.expression is None else _kinds_by_path(keys.expression)
    for path, kinds in islice(kinds_by_path.items(), MAX_KEYS):
        if path in seen or (path, kinds) in seen:
            continue
        stored_kinds = engine.kinds(path)
        if not stored_kinds:
            there = shorten(".".join(path))
            yield path, f"no record has a value under {there}{_hint_at_lists(engine, path)}"
        elif not _may_be(kinds, stored_kinds):
            yield path, _on_kinds(path, kinds, stored_kinds)
        elif isinstance(seen, set):
            seen.add((path, kinds))


def _hint_at_lists(engine: EnginePoints, path: PayloadPath) -> str:
    """Why a path finds nothing that would lead into a list of objects; else empty."""
    keys = split_dotted(path) or path
    for i in range(1, len(keys)):
        if engine.kinds(JsonPath((*keys[:i], EACH, *keys[i:]))):
            whole = ".".join(keys[:i])
            return (
                f"; {shorten(whole)} is a list of objects, into which no path leads: keep what is "
                f"to be found under a key of its own, as a list, or ask QdrantClient for "
                f"'{whole}[].{'.'.join(keys[i:])}'"
            )
    return ""


def _compared_as_texts(
    points: PointsBackend, expression: Expression, seen: Container[Any]
) -> Iterator[tuple[Any, str]]:
    """The ranges of a filter whose bound is a string that is no time, of paths under which records
    have times: each with a sentence, and what is noted of it in `seen`. Nothing on a cluster."""
    engine = points.engine
    if engine is None:
        return
    ranges = (leaf for leaf in _positive_leaves(expression) if isinstance(leaf, TextRange))
    for leaf in islice(ranges, MAX_KEYS):
        texts = [bound for _, bound, time in leaf.sides() if time is None]
        noted = (leaf.path, TextRange)
        if not texts or noted in seen:
            continue
        if engine.kinds(leaf.path) == ["times"]:
            yield (
                noted,
                (
                    f"{shorten(texts[0])} is no time, so the times under "
                    f"{shorten('.'.join(leaf.path))} are compared with it as texts; expected one "
                    "such as '2024-01-31' or '2024-01-31T12:00:00+00:00', or a datetime"
                ),
            )
        elif isinstance(seen, set):
            seen.add(noted)


def _has_order(points: PointsBackend, path: PayloadPath) -> bool:
    return bool(points.in_order(path, None, 1, 0, False, Fields()).ids)


def _on_order(path: PayloadPath, stored_kinds: Sequence[str]) -> str:
    return (
        f"order_by goes by numbers and dates, but under {shorten('.'.join(path))} records have "
        f"{_in_words(stored_kinds)}"
    )


def _in_words(stored_kinds: Sequence[str]) -> str:
    return "objects or empty lists" if stored_kinds == ["others"] else " and ".join(stored_kinds)


def _may_be(kinds: frozenset[str], stored_kinds: Sequence[str]) -> bool:
    """Whether values of the kinds that are there can be what is wanted; of lists that are all empty
    so far it isn't known."""
    of_lists = any(kind.endswith("in lists") for kind in kinds)
    return (
        ANY in kinds
        or not kinds.isdisjoint(stored_kinds)
        or (stored_kinds == ["others"] and of_lists)
    )


def _on_kinds(path: PayloadPath, kinds: frozenset[str], stored_kinds: Sequence[str]) -> str:
    if not kinds:
        return f"under {shorten('.'.join(path))} the filter asks for one of no values"
    kinds -= {"times"}  # are strings
    in_lists = any(f"{kind} in lists" in stored_kinds for kind in kinds)
    hint = ", into which $contains looks" if in_lists else ""
    return (
        f"under {shorten('.'.join(path))} the filter asks for {' or '.join(sorted(kinds))}, but "
        f"records have {_in_words(stored_kinds)} there{hint}"
    )


def _kinds_by_path(expression: Expression) -> dict[PayloadPath, frozenset[str]]:
    """The kinds of values that could fulfil the conditions of a filter, by path. Negated conditions
    are left out, which records without a value fulfil, and those that ask whether there is one."""
    kinds: dict[PayloadPath, frozenset[str]] = {}
    for leaf in _positive_leaves(expression):
        if not isinstance(leaf, Exists):
            kinds[leaf.path] = kinds.get(leaf.path, frozenset()) | _kinds_for(leaf)
    return kinds


def _positive_leaves(expression: Expression) -> Iterator[ValueLeaf]:
    """The conditions on values that aren't negated."""
    pending = [expression]
    while pending:
        node = pending.pop()
        if isinstance(node, And | Or | AtLeast):
            pending += node.terms[::-1]
        elif isinstance(node, ValueLeaf):
            yield node


def _kinds_for(leaf: ValueLeaf) -> frozenset[str]:
    match leaf:
        case OneOf(values=values):
            kinds = frozenset(map(_kind_of, values))
            return kinds | {"times"} if "strings" in kinds else kinds
        case ListHas(values=values):
            return frozenset(f"{_kind_of(value)} in lists" for value in values)
        case Range():
            return frozenset(("numbers",))
        case TextLeaf() | TextRange():
            return frozenset(("strings", "times"))
    return frozenset((ANY,))


def _kind_of(value: Scalar) -> str:
    if isinstance(value, bool):
        return "bools"
    return "strings" if isinstance(value, str) else "numbers"


def add_reranking(reasons: Reasons, reranking: "Reranking", hits: Sequence[Hits]) -> Reasons:
    """The reasons after re-ranking. hits: those that the re-ranker reads."""
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
    """What leaves out a record that a re-ranker has read."""
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
    """The names of the arguments that decide what is found."""
    threshold = "max_distance" if request.mode == "dense" else "min_score"
    if request.rerank is None:
        return ArgumentNames(threshold=threshold)
    showing = "would let the re-ranker read it"
    return ArgumentNames(count="candidates", threshold=threshold, showing=showing)


def words_beside(question: Query, text: str, analyzer: Analyzer) -> tuple[QueryStep, ...]:
    """The ranking by the words of a query's text, where the query itself doesn't rank by words."""
    (step,) = question.steps
    leaves = step.leaves
    if any(isinstance(leaf.scoring, Bm25) for leaf in leaves):
        return ()
    return (QueryStep(Bm25((text,), analyzer), step.depth, leaves[0].expression),)


def _text_of(texts: Any) -> str | None:
    """The text of a single query."""
    return texts if texts is None or isinstance(texts, str) else next(iter(texts))


def _conditions_of_ids(ids: Any) -> list[Condition]:
    listed_ids = check_ids(ids)
    if listed_ids is None:
        return []
    return [Condition("ids", list(listed_ids), HasId(tuple(listed_ids), are_shown=True))]


def _conditions_of_like(request: QueryRequest) -> list[Condition]:
    """The condition of a query by likeness, which finds none of its examples."""
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
    """The parts of a filter in Chroma's dialect; none without a filter."""
    return (
        [] if filter is None else [_FilterParts(argument, parse).condition_of_dict(filter, False)]
    )


@dataclass(frozen=True, slots=True)
class _FilterParts:
    """Takes a filter apart. argument: the one that has the filter; parse: parses a part."""

    argument: str
    parse: Parse

    def condition_of_dict(self, node: Mapping[str, Any], negated: bool) -> Condition:
        """A dict of conditions, all of which must hold."""
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
        """Several parts as one that requires all of them, or any."""
        written = {"$not": node} if negated else dict(node)
        kind: Kind = "all" if needs_all else "any"
        return Condition(self.argument, written, self.parse(written), kind, tuple(terms))
