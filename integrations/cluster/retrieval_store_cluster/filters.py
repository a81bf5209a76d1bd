"""Translates filter expressions into Qdrant's filters, and adapts these filters to a server's
limits.

Some of Qdrant's conditions have another meaning than expressions: a list matches when one of its
elements does, 1.0 isn't the integer 1, and numbers are stored and compared rounded (`payload`). So
an expression becomes two bounds: conditions of Qdrant, or True for all points, or False for none.
The first bound matches a *superset* of the points that fulfil the expression, and is sent to the
server. The second bound matches a *subset* of these points; its complement is a superset of the
points that fulfil the negation. The client then checks the returned points (`fulfils`). A condition
that the index on its key doesn't support (`schema.PayloadIndexes`) isn't sent; only the client
checks it.

A server in strict mode has `StrictLimits`. A filter with too many conditions, or with too many
values in a condition, is replaced by a weaker filter (`condition_within_limits`). All matching
points still fulfil the weaker filter, and the client checks the conditions that were left out.
"""

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, TypeAlias

from qdrant_client import models

from retrieval_store.errors import InvalidFilterError
from retrieval_store.extension import (
    Fields,
    IndexKind,
    first_keys,
    is_inside,
    is_unicode,
    micros_in,
    time_in,
)
from retrieval_store.filters.expression import (
    And,
    AtLeast,
    ColumnLeaf,
    DocumentLeaf,
    Expression,
    HasId,
    InSlice,
    Not,
    Or,
    PayloadPath,
    Range,
    Scalar,
    TextRange,
    ValueLeaf,
    split_dotted,
    walk,
)
from retrieval_store_cluster.payload import (
    DOCUMENT,
    LARGEST_INTEGER,
    LISTS,
    ODD_TIMES,
    RESERVED,
    ROUNDED,
    PayloadWanted,
    ids_meant,
    payload_wanted,
    survives_rounding,
)
from retrieval_store_cluster.schema import PayloadIndexes, is_expressible, quote_path

MAX_NUMBERS = 100  # numbers that are sent one by one
# Times with four-digit years; others have forms that filters compare as texts.
FIRST_TIME, LAST_TIME = micros_in("1000-01-01") or 0, micros_in("9999-12-31") or 0
USUAL_TIME = re.compile(  # all of which are parsed alike
    r"\d{4}-\d\d-\d\d(T\d\d:\d\d:[0-5]\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)?)?", re.ASCII
)
LARGEST_WHOLE = float(2**63 - 2**10)  # the greatest float that is an integer in an index
DEEPEST = 20  # levels of a filter that are sent; servers limit them too
# Whether a reading is of lists (True) or only of other values (False); unlisted readings are of
# both. It isn't known whether an "as it is" is of a list, so a subset leaves lists out.
IN_LISTS: dict[str, bool] = {
    "whole": False,
    "as it is": False,
    "element": True,
    "length": True,
}
Condition: TypeAlias = Any  # one of qdrant-client's many
Bound: TypeAlias = Condition | bool  # True: no restriction; False: nothing at all


def necessary(expression: Expression | None, indexes: PayloadIndexes) -> Bound:
    """A condition that matches all points that fulfil the expression, and perhaps further
    points."""
    return True if expression is None else _bound(expression, True, indexes)


@dataclass(frozen=True, slots=True)
class Parts:
    """Two conditions that together find the points that fulfil an expression. All points that match
    `certain` fulfil the expression. Any other point that fulfils the expression matches `doubtful`.
    Some points that match `doubtful` may not fulfil the expression, so the client must check
    them."""

    certain: Bound
    doubtful: Bound


def parts_of(
    expression: Expression | None, indexes: PayloadIndexes, limits_now: "Callable[[], StrictLimits]"
) -> Parts:
    """The parts of an expression, within the server's limits. `_bound` computes two conditions: one
    for a superset and one for a subset of the points that fulfil the expression. If the two
    conditions are equal, no points are in doubt. They can only be compared if both treat lists in
    the same way, so both contain the conditions on which values are lists. limits_now: a function
    that returns the limits, since reading the indexes may have changed them."""
    if expression is None:
        return Parts(True, False)
    superset = _bound(expression, True, indexes, checks_lists=True)
    subset = _bound(expression, False, indexes, checks_lists=True)
    doubtful = False
    if superset != subset:
        doubtful = all_of([superset, _doubt(expression, indexes)])
        if isinstance(expression, And | Or | Not):  # one term may decide where another can't
            doubtful = all_of([doubtful, none_of(subset)])
    limits = limits_now()
    if fits(subset, limits) and fits(doubtful, limits):
        return Parts(subset, doubtful)
    fitted = condition_within_limits(as_filter(superset), limits) if superset else False
    return Parts(False, True if fitted is None else fitted)


def _doubt(expression: Expression, indexes: PayloadIndexes, depth: int = 0) -> Bound:
    """A condition that matches every point that is in the superset but not in the subset (see
    `parts_of`), and perhaps other points. For a combination of terms, it matches every point that
    is in doubt for at least one term."""
    if depth > DEEPEST:
        return True
    if isinstance(expression, And | Or | Not):
        terms = (expression.term,) if isinstance(expression, Not) else expression.terms
        return any_of([_doubt(term, indexes, depth + 1) for term in terms])
    superset = _bound(expression, True, indexes, checks_lists=True, depth=depth)
    subset = _bound(expression, False, indexes, checks_lists=True, depth=depth)
    if superset == subset:
        return False
    if (
        subset is not False
        and isinstance(expression, TextRange)
        and not split_dotted(expression.path)
    ):
        return _Pushdown(expression.path, "whole", True, indexes).no_time()
    return all_of([superset, none_of(subset)])


def payload_for(fields: Fields, *expressions: Expression | None) -> PayloadWanted:
    """The payload keys to read for these fields, and for checking the expressions."""
    keys: set[str] = set()
    document, is_all = fields.document, fields.payload
    for expression in expressions:
        for leaf in () if expression is None else walk(expression):
            match leaf:
                case DocumentLeaf():
                    document = True
                case ValueLeaf(path=path) if all(
                    is_expressible((key,)) for key in first_keys(path)
                ):
                    keys |= first_keys(path)
                case And() | Or() | Not() | AtLeast() | HasId() | InSlice():
                    pass
                case _:  # it may need any key
                    return True
    return payload_wanted(None if is_all else keys, document, fields.uri)


def as_filter(bound: Bound) -> models.Filter | None:
    """A bound as one of Qdrant's filters; None for True, which does not restrict anything. The
    bound must not be False."""
    if isinstance(bound, bool):
        return None
    return models.Filter(must=[bound])


def _bound(
    expression: Expression,
    is_superset: bool,
    indexes: PayloadIndexes,
    checks_lists: bool = False,
    depth: int = 0,
) -> Bound:
    """A condition for a superset of the points that fulfil the expression, or for a subset. Only
    the wanted condition is built, since finding out which conditions an index supports may create
    the index. If the server cannot decide, the result is `is_superset` itself: True, all points, as
    a superset; False, no points, as a subset. checks_lists: whether a superset also has a condition
    on which values are lists. Without that condition a query takes less time, and the client
    removes points with other values."""
    if depth > DEEPEST:
        return is_superset

    def bound_of(term: Expression, superset: bool) -> Bound:
        return _bound(term, superset, indexes, checks_lists, depth + 1)

    match expression:
        case And(terms):
            return all_of([bound_of(term, is_superset) for term in terms])
        case Or(terms):
            return any_of([bound_of(term, is_superset) for term in terms])
        case Not(term):  # all points except a subset of some are a superset of all others
            return none_of(bound_of(term, not is_superset))
        case HasId(ids, are_shown):  # only strings certainly match a displayed value
            meant = (ids_meant(own_id, are_shown and is_superset) for own_id in ids)
            return models.HasIdCondition(has_id=[*chain.from_iterable(meant)])
        case DocumentLeaf():
            return expression.bound(_Pushdown((DOCUMENT,), "whole", is_superset, indexes))
        case ValueLeaf():
            return _bound_of_value(expression, is_superset, indexes, checks_lists)
        case AtLeast() | ColumnLeaf() | InSlice():  # only evaluated here
            return is_superset
    kind = type(expression).__name__
    raise InvalidFilterError(f"a condition of the kind {kind} can't be asked of a cluster")


def _bound_of_value(
    leaf: ValueLeaf, is_superset: bool, indexes: PayloadIndexes, checks_lists: bool
) -> Bound:
    path = leaf.path
    if RESERVED.intersection(path[:1]):  # Qdrant's values there aren't metadata
        return False
    if not is_expressible(path) or (len(path) > 1 and not is_superset):
        return is_superset  # there may be lists on the path, which Qdrant searches
    bound = leaf.bound(_Pushdown(path, leaf.reading, is_superset, indexes))
    others = split_dotted(path)
    if is_superset and others is not None and is_expressible(others):
        return any_of([bound, leaf.bound(_Pushdown(others, leaf.reading, True, indexes))])
    if bound is False or (is_superset and not _leaves_out_lists(leaf, checks_lists)):
        return bound
    return all_of([bound, _as_read(path[0], leaf.reading, indexes, is_superset)])


def _leaves_out_lists(leaf: ValueLeaf, checks_lists: bool) -> bool:
    """Whether the superset for a leaf contains a condition that excludes lists. The superset lacks
    that condition for lists within lists, because their positions aren't recorded. It also lacks it
    for a user's own condition (`as it is`), which may be meant for lists."""
    return checks_lists and len(leaf.path) == 1 and leaf.reading != "as it is"


def _as_read(name: str, reading: str, indexes: PayloadIndexes, is_superset: bool) -> Bound:
    """The condition that the value of a key is a list if `reading` needs a list, or that it is no
    list if `reading` needs a single value; True if `reading` takes both."""
    if reading not in IN_LISTS:
        return True
    noted = is_list(name, indexes)
    if noted is None:
        return is_superset
    return noted if IN_LISTS[reading] else none_of(noted)


def is_list(name: str, indexes: PayloadIndexes) -> Condition | None:
    """The condition that the value of a key is a list; None if the server cannot evaluate it."""
    if not indexes.serves_lists():
        return None
    return models.FieldCondition(key=quote_path(LISTS), match=models.MatchAny(any=[name]))


@dataclass(frozen=True, slots=True)
class _Pushdown:
    """Translates conditions on the values of a column into conditions of Qdrant. The result matches
    a superset, or a subset, of the points that have a value that fulfils the original condition."""

    path: PayloadPath
    reading: str
    is_superset: bool
    indexes: PayloadIndexes

    def equal(self, values: Sequence[Scalar]) -> Bound:
        texts = [value for value in values if isinstance(value, str) and is_unicode(value)]
        truths = [value for value in values if isinstance(value, bool)]
        numbers = [
            value
            for value in values
            if isinstance(value, int | float)
            and not isinstance(value, bool)
            and (isinstance(value, int) or math.isfinite(value))  # no others are stored
        ]
        conditions = [self._texts(texts)] if texts else []
        conditions += [self._match("bool", models.MatchValue(value=truth)) for truth in truths]
        return any_of([*conditions, *self._numbers(numbers)])

    def _texts(self, texts: Sequence[str]) -> Bound:
        """The bound of points with one of the strings. If the index contains timestamps, the bound
        also says which strings are timestamps, so that the server scans no other strings."""
        match = self._match("keyword", models.MatchAny(any=[*texts]))
        if isinstance(match, bool) or not self.indexes.finds_times(self.path):
            return match
        times = [time_in(text) if USUAL_TIME.fullmatch(text) else None for text in texts]
        known = [time for time in times if time is not None]
        span = times_between(min(known), max(known) + 1) if len(known) == len(times) else None
        return match if span is None else all_of([match, self._has_time(span)])

    def _numbers(self, numbers: Sequence[int | float]) -> list[Bound]:
        """The bounds of points with one of the numbers, one bound for each number. A number is sent
        as a range, since a match with the integer 1 misses 1.0. If there are many numbers, the
        result is one range from the least to the greatest."""
        if len(numbers) > MAX_NUMBERS:
            span = Range(self.path, gte=min(numbers), lte=max(numbers))
            return [self.between(span) if self.is_superset else False]
        return [self.between(Range(self.path, gte=n, lte=n)) for n in numbers]

    def between(self, bounds: Any) -> Bound:
        if self.reading in ("length", "count"):
            return self._require_size(bounds)
        limits = {name: getattr(bounds, name) for name in ("gt", "gte", "lt", "lte")}
        given = {name: limit for name, limit in limits.items() if limit is not None}
        sent = self._sides(given, bound_to_send)
        if sent is None:
            return False
        # Without a bound there is no condition for Qdrant.
        if not sent:
            return self.is_superset
        if not self.indexes.serves(self.path, "float"):
            return self.undecided()
        if self.indexes.rounds(self.path):
            return self._between_integers(sent)
        return models.FieldCondition(key=quote_path(self.path), range=models.Range(**sent))

    def _between_integers(self, bounds: Mapping[str, float]) -> Bound:
        """The bound for a range of numbers, if the key has an integer index. Servers round the
        range's limits up or down, so the limits are sent as whole numbers. Whole numbers keep their
        meaning even if another client converts the index to floats meanwhile."""
        sent = self._sides(bounds, _whole_bound)
        if sent is None:
            return False
        if not sent:
            return self.undecided()
        return models.FieldCondition(key=quote_path(self.path), range=models.Range(**sent))

    def _sides(
        self,
        limits: Mapping[str, Any],
        bound_of: Callable[[str, Any, bool], tuple[str, float] | bool],
    ) -> dict[str, float] | None:
        """The limits of a range to send, by their names; on each side only the tighter limit. None
        if no value can fulfil a limit. bound_of: a function that returns the limit to send for a
        given limit, or True for no limit."""
        sent: dict[str, float] = {}
        for name, limit in limits.items():
            bound = bound_of(name, limit, self.is_superset)
            if bound is False:
                return None
            if not isinstance(bound, bool):
                side, number = bound
                sent[side] = _tighter(side, sent.get(side), number)
        return sent

    def _require_size(self, bounds: Any) -> Bound:
        """The bound of points whose size is within the given limits, as far as the server can
        decide that. The server only knows which points have a value, since Qdrant treats an empty
        list as a missing value. So the server can't decide if the size 0 is within the limits."""
        if is_inside(0, bounds):
            return self.is_superset
        is_some = (bounds.gt, bounds.gte, bounds.lt, bounds.lte) == (None, 1, None, None)
        return self._present() if self.is_superset or is_some else False

    def between_texts(self, bounds: TextRange) -> Bound:
        """The bound of points with a string within `bounds`, which are timestamps. A string that is
        a timestamp is compared as a timestamp. A superset also contains strings that are no
        timestamps, or are timestamps far away."""
        low, stop = _span_of(bounds)
        span = times_between(max(low, FIRST_TIME), min(stop, LAST_TIME))
        is_asked = self.reading == "whole" and len(self.path) == 1 and span is not None
        if not is_asked or not self.indexes.serves_times(self.path):
            return self.undecided()
        within = self._has_time(span)
        if not self.is_superset:
            return all_of([within, none_of(self._odd_times())])
        return any_of([within, self.no_time()])

    def no_time(self) -> Bound:
        """The bound of points with a value that is no timestamp for the server, or with timestamps
        that the server and this package parse differently."""
        any_time = self._has_time(times_between(FIRST_TIME, LAST_TIME))
        return any_of([all_of([self._present(), none_of(any_time)]), self._odd_times()])

    def _odd_times(self) -> Condition:
        return models.FieldCondition(key=quote_path(LISTS), match=models.MatchAny(any=[ODD_TIMES]))

    def _has_time(self, span: Any) -> Condition:
        return models.FieldCondition(key=quote_path(self.path), range=span)

    def containing(self, text: str) -> Bound:
        if not is_unicode(text):
            return False
        match = self.indexes.substring(self.path, text)
        if match is None:
            return self.undecided()
        return models.FieldCondition(key=quote_path(self.path), match=match)

    def beginning(self, text: str) -> Bound:
        # Qdrant's prefix match needs a special index; its substring match is weaker.
        return self.containing(text) if self.is_superset else False

    def _present(self) -> Bound:
        if not self.indexes.serves_presence(self.path):
            return self.is_superset
        key = models.PayloadField(key=quote_path(self.path))
        return models.Filter(must_not=[models.IsEmptyCondition(is_empty=key)])

    def undecided(self) -> Bound:
        """The bound for a condition that the server cannot decide: as a superset all points with a
        value, as a subset none."""
        return self._present() if self.is_superset else False

    def _match(self, kind: IndexKind, match: Any) -> Bound:
        if not self.indexes.serves(self.path, kind):
            return self.undecided()
        return models.FieldCondition(key=quote_path(self.path), match=match)


def _span_of(bounds: TextRange) -> tuple[int, int]:
    """The span of the timestamps within the bounds: the first microsecond, and the microsecond
    after the last. An empty span, (0, 0), if a bound is no timestamp. Microseconds are exact
    enough: a server that counts nanoseconds finds the same points."""
    low, stop = FIRST_TIME, LAST_TIME
    for side in ("gt", "gte", "lt", "lte"):
        text = getattr(bounds, side)
        time = None if text is None else time_in(text)
        if text is not None and time is None:
            return 0, 0
        if time is not None and side.startswith("g"):
            low = max(low, time + (side == "gt"))
        elif time is not None:
            stop = min(stop, time + (side == "lte"))
    return low, stop


def times_between(low: int, stop: int) -> Any:
    """A condition for timestamps from `low` to before `stop`, in microseconds. None if the span is
    empty, or if Python has no such date."""
    if not FIRST_TIME <= low < stop <= LAST_TIME:
        return None
    since = datetime(1970, 1, 1, tzinfo=UTC)
    return models.DatetimeRange(
        gte=since + timedelta(microseconds=low), lt=since + timedelta(microseconds=stop)
    )


def bound_to_send(name: str, limit: int | float, is_superset: bool) -> tuple[str, float] | bool:
    """The name and the number of the limit to send instead of one limit of a range. name: "gt",
    "gte", "lt" or "lte". A number that is stored or compared rounded is moved by the rounding
    error, so that the result is a superset or a subset. True: no limit is needed; False: no point
    matches."""
    if isinstance(limit, float) and math.isnan(limit):  # null in JSON: no bound
        return False
    if survives_rounding(limit):
        return name, float(limit)
    is_lower = name.startswith("g")
    try:
        near = float(limit)
    except OverflowError:  # beyond every number in a payload
        return is_lower is (limit < 0)
    margin = max(abs(near) * ROUNDED, math.ulp(near))
    moved = near - margin if is_lower is is_superset else near + margin
    if math.isinf(moved):
        return is_lower is (moved < 0)
    return ("gte" if is_lower else "lte"), moved


def _whole_bound(name: str, limit: float, is_superset: bool) -> tuple[str, float] | bool:
    """The name and the number of the limit to send instead of one limit on integers. The number is
    rounded to a whole number, so that the result is a superset or a subset. True: no limit is
    needed; False: no point matches."""
    is_lower, side = name.startswith("g"), "gte" if name.startswith("g") else "lte"
    if abs(limit) > LARGEST_INTEGER:  # servers take it for the first or the last integer
        is_beyond_all = is_lower is (limit > 0)
        if is_beyond_all is not is_superset:
            return is_superset
        return side, math.copysign(LARGEST_WHOLE, limit)
    if limit.is_integer():
        return name, limit
    rounded = math.floor(limit) if is_lower is is_superset else math.ceil(limit)
    return side, float(rounded)


def _tighter(name: str, limit: float | None, other: float) -> float:
    if limit is None:
        return other
    return max(limit, other) if name.startswith("g") else min(limit, other)


def all_of(bounds: Sequence[Bound]) -> Bound:
    """The bound of points that are within all of these bounds."""
    return join_bounds(bounds, "must", idle=True)


def any_of(bounds: Sequence[Bound]) -> Bound:
    """The bound of points that are within at least one of these bounds."""
    return join_bounds(bounds, "should", idle=False)


def join_bounds(bounds: Sequence[Bound], clause: str, idle: bool) -> Bound:
    """Bounds joined in one clause of a filter, "must" or "should". idle: the bound that has no
    effect in this clause: True for "must", False for "should". If any bound is the opposite, the
    result is the opposite."""
    left: list[Condition] = [bound for bound in bounds if bound is not idle]
    if any(bound is (not idle) for bound in left):
        return not idle
    if len(left) == 1:
        return left[0]
    return models.Filter.model_validate({clause: left}) if left else idle


def none_of(bound: Bound) -> Bound:
    """The bound of points that aren't within this bound."""
    return not bound if isinstance(bound, bool) else models.Filter(must_not=[bound])


MAX_LEFT_OUT = 10_000  # points that a request excludes


@dataclass(frozen=True, slots=True)
class StrictLimits:
    """The limits of strict mode; None means no limit. query: the number of points in one response;
    batch: of points in one write; searches: of queries in one request; conditions: of conditions in
    a filter; values: of values in one condition. ef: the greatest `ef` of a search; exact: whether
    exact counts, and searches without an index, are allowed. lengths: the number of values in
    sparse vectors, by the names of the vectors in Qdrant; oversampling: the greatest factor for
    quantized vectors."""

    query: int | None = None
    batch: int | None = None
    searches: int | None = None
    conditions: int | None = None
    values: int | None = None
    ef: int | None = None
    exact: bool = True
    lengths: Mapping[str, int] = field(default_factory=dict)
    oversampling: float | None = None

    @property
    def reach(self) -> int:
        """How many of the best points can be read by several requests, each of which excludes the
        points that were found before."""
        if self.query is None:
            return sys.maxsize
        conditions, values = _or_unlimited(self.conditions), _or_unlimited(self.values)
        return self.query * (1 + min(MAX_LEFT_OUT, conditions * values) // self.query)


def limits_of(strict: Any) -> StrictLimits:
    """The limits that a server reports for a collection. strict: the reported configuration, or
    None."""
    if strict is None:
        return StrictLimits()
    sparse = strict.sparse_config or {}
    lengths = {
        name: config.max_length for name, config in sparse.items() if config.max_length is not None
    }
    return StrictLimits(
        strict.max_query_limit,
        strict.upsert_max_batchsize,
        strict.search_max_batchsize,
        strict.filter_max_conditions,
        strict.condition_max_size,
        strict.search_max_hnsw_ef,
        strict.search_allow_exact is not False,
        lengths,
        strict.search_max_oversampling,
    )


def condition_within_limits(
    condition: models.Filter | None, limits: StrictLimits, spare: int = 0
) -> models.Filter | None:
    """A condition within the limits that matches at least the points of this condition; None if
    nothing can be sent. spare: how many further conditions must still be allowed."""
    if condition is None or (limits.conditions is None and limits.values is None):
        return condition
    room = _Room(max(0, _or_unlimited(limits.conditions) - spare), _or_unlimited(limits.values))
    bound = _fit_bound(condition, room, True)
    if isinstance(bound, bool):
        return None
    return bound if isinstance(bound, models.Filter) else models.Filter(must=[bound])


def fits(bound: Bound, limits: StrictLimits) -> bool:
    """Whether the limits allow a bound to be sent unchanged."""
    conditions, values = _or_unlimited(limits.conditions), _or_unlimited(limits.values)
    return _count(bound) <= conditions and _widest(bound) <= values


def _widest(bound: Bound) -> int:
    """The greatest number of values that any condition of a bound has."""
    if not isinstance(bound, models.Filter):
        return 0 if isinstance(bound, bool) else len(_values(bound))
    parts = (bound.must, bound.should, bound.must_not)
    return max((_widest(term) for part in parts if part for term in _terms(part)), default=0)


def without(
    condition: models.Filter | None, ids: Sequence[Any], limits: StrictLimits
) -> models.Filter | None:
    """The condition, restricted to points that do not have these ids."""
    if not ids:
        return condition
    seen = _pieces(models.HasIdCondition(has_id=list(ids)), _values_at_once(limits))
    return models.Filter(must=None if condition is None else [condition], must_not=seen)


def conditions_to_exclude(points: int, most: int, limits: StrictLimits) -> int:
    """How many conditions are needed to read this many points in responses of at most `most`
    points. The last request excludes the points of all earlier responses."""
    return math.ceil((points - 1) // most * most / _values_at_once(limits))


@dataclass(frozen=True, slots=True)
class _Room:
    """How many conditions can still be added to a filter, and how many values each condition can
    have."""

    conditions: int
    values: int


def _values_at_once(limits: StrictLimits) -> int:
    """How many values one condition can have, at least one."""
    return max(1, _or_unlimited(limits.values))


def _or_unlimited(limit: int | None) -> int:
    return sys.maxsize if limit is None else limit


def _fit_bound(bound: Bound, room: _Room, upper: bool) -> Bound:
    """A bound that fits into the room. With `upper`, the result matches at least the points of the
    given bound, otherwise at most these points. If nothing fits, the result is `upper` itself: True
    for all points, or False for none."""
    if isinstance(bound, bool):
        return bound
    if not isinstance(bound, models.Filter):
        return _leaf(bound, room, upper)
    if bound.must_not:  # of one condition, as these filters are made
        return none_of(_fit_bound(_terms(bound.must_not)[0], room, not upper))
    if bound.must:
        terms = _terms(bound.must)
        return all_of(_fit_terms(terms, room, upper, needs_all=not upper))
    terms = _alternatives(bound)
    fitted = any_of(_fit_terms(terms, room, upper, needs_all=upper))
    if upper and fitted is True:
        return any_of(_fit_terms(_merge_alternatives(terms), room, upper, needs_all=True))
    return fitted


def _fit_terms(terms: Sequence[Bound], room: _Room, upper: bool, needs_all: bool) -> list[Bound]:
    """The terms of a filter that fit into the room; small terms come first, unless `needs_all`.
    Leaving a term out makes a condition weaker, but never wrong. needs_all: whether the terms are
    useless if one of them is left out."""
    fitting: list[Bound] = []
    for term in terms if needs_all else sorted(terms, key=_count):
        fitted = _fit_bound(term, room, upper)
        if fitted is not upper:
            fitting.append(fitted)
            room = replace(room, conditions=room.conditions - _count(fitted))
        elif needs_all:
            return [upper]
    return fitting


def _leaf(leaf: Condition, room: _Room, upper: bool) -> Bound:
    """The condition, divided into several conditions if it has more values than the limit."""
    values = _values(leaf)
    if room.conditions < 1 or (values and room.values < 1):
        return upper
    needed = math.ceil(len(values) / max(1, room.values))
    if needed > room.conditions and upper:
        return upper
    pieces = _pieces(leaf, room.values)[: room.conditions]
    return any_of(pieces)


def _pieces(leaf: Condition, size: int) -> list[Condition]:
    values = _values(leaf)
    if len(values) <= size:
        return [leaf]
    return [_with(leaf, values[i : i + size]) for i in range(0, len(values), size)]


def _values(leaf: Condition) -> list[Any]:
    """The values of a condition that a server counts for its limit of values."""
    if isinstance(leaf, models.HasIdCondition):
        return leaf.has_id
    match = getattr(leaf, "match", None)
    return list(match.any) if isinstance(match, models.MatchAny) else []


def _with(leaf: Condition, values: list[Any]) -> Condition:
    if isinstance(leaf, models.HasIdCondition):
        return models.HasIdCondition(has_id=values)
    return models.FieldCondition(key=leaf.key, match=models.MatchAny(any=values))


def _terms(value: Any) -> list[Condition]:
    return list(value) if isinstance(value, list) else [value]


def _count(bound: Bound) -> int:
    """The number of conditions as servers count them."""
    if isinstance(bound, bool):
        return 0
    if not isinstance(bound, models.Filter):
        return 1
    parts = (bound.must, bound.should, bound.must_not)
    return sum(_count(term) for part in parts if part for term in _terms(part))


def _alternatives(bound: models.Filter) -> list[Condition]:
    """The alternatives of a filter, with nested alternatives flattened."""
    alternatives: list[Condition] = []
    for term in _terms(bound.should):
        plain = isinstance(term, models.Filter) and term.should and not (term.must or term.must_not)
        alternatives += _alternatives(term) if plain else [term]
    return alternatives


def _merge_alternatives(terms: Sequence[Condition]) -> list[Bound]:
    """Alternatives, merged into fewer ones that match the same points and perhaps more. For each
    key there is one condition with all values, and one range from the least to the greatest."""
    left: list[Bound] = []
    values: dict[str, list[Any]] = {}
    ranges: dict[str, list[models.Range]] = {}
    for term in terms:
        if _values(term):
            values.setdefault(getattr(term, "key", ""), []).extend(_values(term))
        elif isinstance(getattr(term, "range", None), models.Range):
            ranges.setdefault(term.key, []).append(term.range)
        else:
            left.append(term)
    for key, listed in values.items():
        distinct: list[Any] = list(dict.fromkeys(listed))
        match = models.MatchAny(any=distinct)
        named = models.HasIdCondition(has_id=distinct)
        left.append(models.FieldCondition(key=key, match=match) if key else named)
    return [*left, *(_span(key, spans) for key, spans in ranges.items())]


def _span(key: str, ranges: Sequence[models.Range]) -> Bound:
    """One range that contains all these ranges: from the least bound to the greatest. A side is
    open if it is open in any of the ranges."""
    lows = [span.gt if span.gte is None else span.gte for span in ranges]
    highs = [span.lt if span.lte is None else span.lte for span in ranges]
    low = None if None in lows else min(bound for bound in lows if bound is not None)
    high = None if None in highs else max(bound for bound in highs if bound is not None)
    if low is None and high is None:
        return True
    return models.FieldCondition(key=key, range=models.Range(gte=low, lte=high))
