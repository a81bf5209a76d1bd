"""Filter expressions → Qdrant's filters.

Qdrant's conditions mean other things in places: a list matches when one of its elements does, 1.0
isn't the integer 1, numbers are kept and compared rounded (`numbers`). So what is made here is what
a point *must* fulfil, as far as Qdrant can say it; whoever asks then looks at what comes back
(`predicate`). For a negation the opposite is needed, what is *enough* for the term to hold. Each
leaf says both. What a server can't be sent for a key, since its index doesn't serve (`indexes`), is
left out likewise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from qdrant_client import models

from retrieval_store.base.json_values import is_unicode
from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.expression import (
    And,
    AtLeast,
    DocumentLeaf,
    Expression,
    HasId,
    InSlice,
    Not,
    Or,
    PayloadPath,
    Range,
    Scalar,
    TypedLeaf,
    ValueLeaf,
    dotted,
)
from retrieval_store.interface.stores import IndexKind
from retrieval_store.remote.indexes import PayloadIndexes, is_written, written
from retrieval_store.remote.kept.numbers import ROUNDED, survives_rounding
from retrieval_store.remote.kept.payloads import DOCUMENT, LISTS, RESERVED, point_id

MOST_NUMBERS = 100  # that are sent one by one
DEEPEST = 20  # levels of a filter that are sent; servers bound them too
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


def _bound(expression: Expression, upper: bool, indexes: PayloadIndexes, depth: int = 0) -> Bound:
    """What is necessary (`upper`) or enough for the expression."""
    if depth > DEEPEST:
        return upper
    match expression:
        case And(terms):
            return all_of([_bound(term, upper, indexes, depth + 1) for term in terms])
        case Or(terms):
            return any_of([_bound(term, upper, indexes, depth + 1) for term in terms])
        case AtLeast() | TypedLeaf() | InSlice():  # asked here alone
            return upper
        case Not(term):
            return none_of(_bound(term, not upper, indexes, depth + 1))
        case HasId(ids):
            return models.HasIdCondition(has_id=[point_id(one) for one in ids])
        case DocumentLeaf():
            return expression.bound(_Says((DOCUMENT,), upper, indexes))
        case ValueLeaf(path=path):
            if RESERVED.intersection(path[:1]):  # what Qdrant has there isn't metadata
                return False
            if not is_written(path) or (len(path) > 1 and not upper):
                return upper  # there may be lists on the way, which Qdrant walks through
            bound = expression.bound(_Says(path, upper, indexes))
            others = dotted(path)
            if upper and others is not None and is_written(others):
                return any_of([bound, expression.bound(_Says(others, upper, indexes))])
            return bound if upper else all_of([bound, _is_list(path[0], expression, indexes)])
    kind = type(expression).__name__
    raise InvalidFilterError(f"a condition of the kind {kind} can't be asked of a cluster")


def _is_list(name: str, leaf: ValueLeaf, indexes: PayloadIndexes) -> Bound:
    """That the value is a list, or isn't, as the leaf wants it: enough for that."""
    if leaf.in_lists is None:
        return True
    if not indexes.serves_lists():
        return False
    noted = models.FieldCondition(key=written(LISTS), match=models.MatchAny(any=[name]))
    return noted if leaf.in_lists else none_of(noted)


@dataclass(frozen=True, slots=True)
class _Says:
    """What Qdrant can say of what a point has at a path: what is necessary (`upper`) or enough for
    a condition."""

    path: PayloadPath
    upper: bool
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
            span = Range((), gte=min(numbers), lte=max(numbers))
            return [self.between(span) if self.upper else False]
        return [self.between(Range((), gte=n, lte=n)) for n in numbers]

    def between(self, bounds: Range) -> Bound:
        sent: dict[str, float] = {}
        for name in ("gt", "gte", "lt", "lte"):
            limit = getattr(bounds, name)
            said = True if limit is None else _said(name, limit, self.upper)
            if said is False:
                return False
            if not isinstance(said, bool):
                side, number = said
                sent[side] = _tighter(side, sent.get(side), number)
        # Without a bound Qdrant asks for nothing.
        if not sent:
            return self.upper
        if not self.indexes.serves(self.path, "float"):
            return self.nothing()
        return models.FieldCondition(key=written(self.path), range=models.Range(**sent))

    def containing(self, text: str) -> Bound:
        if not is_unicode(text):
            return False
        match = self.indexes.substring(self.path, text)
        if match is None:
            return self.nothing()
        return models.FieldCondition(key=written(self.path), match=match)

    def present(self) -> Bound:
        if not self.indexes.serves_presence(self.path):
            return self.upper
        key = models.PayloadField(key=written(self.path))
        return models.Filter(must_not=[models.IsEmptyCondition(is_empty=key)])

    def nothing(self) -> Bound:
        return self.present() if self.upper else False

    def anything(self) -> Bound:
        return self.upper

    def _match(self, kind: IndexKind, match: Any) -> Bound:
        if not self.indexes.serves(self.path, kind):
            return self.nothing()
        return models.FieldCondition(key=written(self.path), match=match)


def _said(name: str, limit: int | float, upper: bool) -> tuple[str, float] | bool:
    """The bound to send for one: itself, or, where numbers are kept or compared rounded, one that
    is beyond rounding, on the side that is necessary (`upper`) or enough. True: no restriction;
    False: nothing at all."""
    if survives_rounding(limit):
        return name, float(limit)
    is_lower = name.startswith("g")
    try:
        near = float(limit)
    except OverflowError:  # beyond all that a payload can hold
        return is_lower is (limit < 0)
    margin = max(abs(near) * ROUNDED, math.ulp(near))
    moved = near - margin if is_lower is upper else near + margin
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
