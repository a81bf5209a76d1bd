"""Filter expressions → Qdrant's filters.

Qdrant's conditions mean other things in places: a list matches when one of its elements does, 1.0
isn't the integer 1, numbers are kept and compared rounded (`numbers`). So an expression becomes two
bounds, as far as Qdrant can say them: a *superset* of the points that fulfil it, which is sent, and
a *subset* of them, whose opposite is a superset of the points that fulfil the negation.
What comes back is then looked at here (`predicate`). What a server can't be sent for a key, since
its index doesn't serve (`indexes`), is left out likewise.
"""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

from qdrant_client import models

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.json_values import is_unicode
from retrieval_store.errors import InvalidFilterError
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
    Scalar,
    ValueLeaf,
    dotted,
)
from retrieval_store.filters.leaves import Interval
from retrieval_store.filters.readings import Reading
from retrieval_store.filters.values import SOME, Bounds, is_inside
from retrieval_store.interface.stores import IndexKind
from retrieval_store.remote.indexes import PayloadIndexes, is_written, written
from retrieval_store.remote.kept.numbers import ROUNDED, survives_rounding
from retrieval_store.remote.kept.payloads import DOCUMENT, LISTS, RESERVED, point_id

MOST_NUMBERS = 100  # that are sent one by one
DEEPEST = 20  # levels of a filter that are sent; servers bound them too
# Which values have items for a reading: lists, or what is none; others see both. Of a user's own
# condition on a value as it is nothing is known of lists, so a subset has none.
IN_LISTS: dict[Reading, bool] = {
    "whole": False,
    "as it is": False,
    "element": True,
    "length": True,
}
Condition: TypeAlias = Any  # one of qdrant-client's many
Bound: TypeAlias = Condition | bool  # True: no restriction; False: nothing at all


def necessary(expression: Expression | None, indexes: PayloadIndexes) -> Bound:
    """What all points that fulfil the expression fulfil."""
    return True if expression is None else _bound(expression, True, indexes)


def as_filter(bound: Bound) -> models.Filter | None:
    """The bound, which isn't False, as a filter; None for no restriction."""
    if isinstance(bound, bool):
        return None
    return models.Filter(must=[bound])


def _bound(
    expression: Expression, is_superset: bool, indexes: PayloadIndexes, depth: int = 0
) -> Bound:
    """A superset of the points that fulfil the expression, or a subset of them: of the two only the
    one that is wanted, since to ask what an index serves may make it. Where nothing can be said,
    these are all points and none, which is what `is_superset` itself stands for as a bound."""
    if depth > DEEPEST:
        return is_superset
    match expression:
        case And(terms):
            return all_of([_bound(term, is_superset, indexes, depth + 1) for term in terms])
        case Or(terms):
            return any_of([_bound(term, is_superset, indexes, depth + 1) for term in terms])
        case Not(term):  # all points but a subset of some are a superset of all others
            return none_of(_bound(term, not is_superset, indexes, depth + 1))
        case HasId(ids):
            return models.HasIdCondition(has_id=[point_id(one) for one in ids])
        case DocumentLeaf():
            return expression.bound(_Pushdown((DOCUMENT,), "whole", is_superset, indexes))
        case ValueLeaf():
            return _bound_of_value(expression, is_superset, indexes)
        case AtLeast() | ColumnLeaf() | InSlice():  # asked here alone
            return is_superset
    kind = type(expression).__name__
    raise InvalidFilterError(f"a condition of the kind {kind} can't be asked of a cluster")


def _bound_of_value(leaf: ValueLeaf, is_superset: bool, indexes: PayloadIndexes) -> Bound:
    path = leaf.path
    if RESERVED.intersection(path[:1]):  # what Qdrant has there isn't metadata
        return False
    if not is_written(path) or (len(path) > 1 and not is_superset):
        return is_superset  # there may be lists on the way, which Qdrant walks through
    bound = leaf.bound(_Pushdown(path, leaf.reading, is_superset, indexes))
    others = dotted(path)
    if not is_superset:
        return all_of([bound, _is_list(path[0], leaf.reading, indexes)])
    if others is None or not is_written(others):
        return bound
    return any_of([bound, leaf.bound(_Pushdown(others, leaf.reading, True, indexes))])


def _is_list(name: str, reading: Reading, indexes: PayloadIndexes) -> Bound:
    """That the value is a list, or isn't, as the reading wants it: enough for that."""
    if reading not in IN_LISTS:
        return True
    if not indexes.serves_lists():
        return False
    noted = models.FieldCondition(key=written(LISTS), match=models.MatchAny(any=[name]))
    return noted if IN_LISTS[reading] else none_of(noted)


@dataclass(frozen=True, slots=True)
class _Pushdown:
    """What Qdrant can say of the values of a column: a superset of the points that have one for
    which a condition holds, or a subset of them."""

    path: PayloadPath
    reading: Reading
    is_superset: bool
    indexes: PayloadIndexes

    def equal(self, values: Sequence[Scalar]) -> Bound:
        texts = [value for value in values if isinstance(value, str) and is_unicode(value)]
        truths = [value for value in values if isinstance(value, bool)]
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        found = [self._match("keyword", models.MatchAny(any=texts))] if texts else []
        found += [self._match("bool", models.MatchValue(value=truth)) for truth in truths]
        return any_of([*found, *self._numbers(numbers)])

    def _numbers(self, numbers: Sequence[int | float]) -> list[Bound]:
        """That it is one of the numbers. Each is a condition, since a match with the integer 1
        misses 1.0; of many, all between the smallest and the largest."""
        if len(numbers) > MOST_NUMBERS:
            span = Bounds(gte=min(numbers), lte=max(numbers))
            return [self.between(span) if self.is_superset else False]
        return [self.between(Bounds(gte=n, lte=n)) for n in numbers]

    def between(self, bounds: Interval) -> Bound:
        if self.reading in ("length", "count"):
            return self._sized(bounds)
        sent: dict[str, float] = {}
        for name in ("gt", "gte", "lt", "lte"):
            limit = getattr(bounds, name)
            said = True if limit is None else _said(name, limit, self.is_superset)
            if said is False:
                return False
            if not isinstance(said, bool):
                side, number = said
                sent[side] = _tighter(side, sent.get(side), number)
        # Without a bound Qdrant asks for nothing.
        if not sent:
            return self.is_superset
        if not self.indexes.serves(self.path, "float"):
            return self.nothing()
        return models.FieldCondition(key=written(self.path), range=models.Range(**sent))

    def _sized(self, bounds: Interval) -> Bound:
        """That there is something, where that is known of what has such a size: to Qdrant an empty
        list is as good as nothing there."""
        if is_inside(0, bounds):
            return self.is_superset
        return self._present() if self.is_superset or bounds == SOME else False

    def containing(self, text: str) -> Bound:
        if not is_unicode(text):
            return False
        match = self.indexes.substring(self.path, text)
        if match is None:
            return self.nothing()
        return models.FieldCondition(key=written(self.path), match=match)

    def _present(self) -> Bound:
        if not self.indexes.serves_presence(self.path):
            return self.is_superset
        key = models.PayloadField(key=written(self.path))
        return models.Filter(must_not=[models.IsEmptyCondition(is_empty=key)])

    def nothing(self) -> Bound:
        return self._present() if self.is_superset else False

    def _match(self, kind: IndexKind, match: Any) -> Bound:
        if not self.indexes.serves(self.path, kind):
            return self.nothing()
        return models.FieldCondition(key=written(self.path), match=match)


def _said(name: str, limit: int | float, is_superset: bool) -> tuple[str, float] | bool:
    """The bound to send for one: itself, or, where numbers are kept or compared rounded, one that
    is beyond rounding, on the side of a superset or of a subset. True: no restriction;
    False: nothing at all."""
    if survives_rounding(limit):
        return name, float(limit)
    is_lower = name.startswith("g")
    try:
        near = float(limit)
    except OverflowError:  # beyond all that a payload can hold
        return is_lower is (limit < 0)
    margin = max(abs(near) * ROUNDED, math.ulp(near))
    moved = near - margin if is_lower is is_superset else near + margin
    if math.isinf(moved):
        return is_lower is (moved < 0)
    return ("gte" if is_lower else "lte"), moved


def _tighter(name: str, one: float | None, other: float) -> float:
    if one is None:
        return other
    return max(one, other) if name.startswith("g") else min(one, other)


def all_of(bounds: Sequence[Bound]) -> Bound:
    """What holds where all of them do."""
    left: list[Condition] = [bound for bound in bounds if bound is not True]
    if any(bound is False for bound in left):
        return False
    if len(left) == 1:
        return left[0]
    return models.Filter(must=left) if left else True


def any_of(bounds: Sequence[Bound]) -> Bound:
    """What holds where one of them does."""
    left: list[Condition] = [bound for bound in bounds if bound is not False]
    if any(bound is True for bound in left):
        return True
    if len(left) == 1:
        return left[0]
    return models.Filter(should=left) if left else False


def none_of(bound: Bound) -> Bound:
    """What holds where it doesn't."""
    return not bound if isinstance(bound, bool) else models.Filter(must_not=[bound])
