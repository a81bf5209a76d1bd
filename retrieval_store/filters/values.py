"""Conditions on payload values: equal to some values, within bounds, or containing texts or tokens.

Each condition is implemented once, for any column of values. A condition that two types of nodes
share is in a base class (`Equality`, …). The Qdrant API, which distinguishes types, creates nodes
with a column (`Equals`, `Between`, …). Nodes with a path (`OneOf`, `Range`, …) are for users and
for `where`; their class determines the reading.
"""

import math
import operator
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import numpy as np

from retrieval_store.base.arrays import Bools, Ints, plain_scalar
from retrieval_store.base.validation import is_unicode, quote
from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.columns import Reading, TokensAt, ValuesAt
from retrieval_store.filters.leaves import (
    Bound,
    ColumnLeaf,
    Interval,
    KeptTokens,
    KeptValues,
    Pushdown,
    RowSet,
    ValueLeaf,
    column_of,
    compile_pattern,
)
from retrieval_store.filters.nodes import Expression, Not, Or, Scalar
from retrieval_store.filters.paths import PayloadPath


class Equality(ColumnLeaf):
    """Requires a value equal to one of `values`. In loose columns numbers compare by exact value (1
    equals 1.0), and a bool equals only the same bool. In other columns 1 equals neither 1.0 nor
    true."""

    __slots__ = ()
    values: tuple[Scalar, ...]

    def holds(self, value: Any) -> bool:
        return _is_one_of(value, self)

    def find_rows(self, kept: KeptValues) -> RowSet:
        return kept.equal(self.values)

    def bound(self, pushdown: Pushdown) -> Bound:
        return pushdown.equal(self.values)


@final
@dataclass(frozen=True, slots=True)
class Equals(Equality):
    """Points with at least one of these values."""

    at: ValuesAt
    values: tuple[Scalar, ...]


@final
@dataclass(frozen=True, slots=True)
class OneOf(ValueLeaf, Equality):
    """Points with a scalar at `path` equal to one of `values`.

    Numbers compare by exact value (1 equals 1.0), and a bool equals only the same bool.
    """

    path: PayloadPath
    values: tuple[Scalar, ...]
    reading: ClassVar[Reading] = "whole"

    def check(self) -> None:
        _check_several(self.path, self.values)


@final
@dataclass(frozen=True, slots=True)
class ListHas(ValueLeaf, Equality):
    """Points with a list at `path` that has an element equal to one of `values`."""

    path: PayloadPath
    values: tuple[Scalar, ...]
    reading: ClassVar[Reading] = "element"

    def check(self) -> None:
        _check_several(self.path, self.values)


@final
@dataclass(frozen=True, slots=True)
class Differs(ColumnLeaf):
    """Points with a value that isn't among `values`."""

    at: ValuesAt
    values: tuple[Scalar, ...]

    def holds(self, value: Any) -> bool:
        return not _is_one_of(value, self)

    def find_rows(self, kept: KeptValues) -> RowSet:
        return kept.other_than(self.values)


@final
@dataclass(frozen=True, slots=True)
class Bounds:
    """An interval of numbers; None leaves a side unbounded."""

    gt: int | float | None = None
    gte: int | float | None = None
    lt: int | float | None = None
    lte: int | float | None = None


class Bounded(ColumnLeaf):
    """A condition that a number is inside the bounds, compared exactly."""

    __slots__ = ()

    def bounds(self) -> Interval:
        """The bounds for the number."""
        raise NotImplementedError

    def holds(self, value: Any) -> bool:
        return _is_number(value) and is_inside(value, self.bounds())

    def find_rows(self, kept: KeptValues) -> RowSet:
        return kept.between(self.bounds())

    def bound(self, pushdown: Pushdown) -> Bound:
        return pushdown.between(self.bounds())


@final
@dataclass(frozen=True, slots=True)
class Between(Bounded):
    """Points with a number inside the bounds; None leaves a side unbounded. Times are compared as
    numbers of microseconds."""

    at: ValuesAt
    gt: int | float | None = None
    gte: int | float | None = None
    lt: int | float | None = None
    lte: int | float | None = None

    def bounds(self) -> Interval:
        return self  # this object has the four fields of an Interval


@final
@dataclass(frozen=True, slots=True)
class Range(ValueLeaf, Bounded):
    """Points with a number at `path` inside the bounds, compared exactly: greater than `gt`, at
    least `gte`, less than `lt`, at most `lte`; None leaves a side unbounded."""

    path: PayloadPath
    gt: int | float | None = None
    gte: int | float | None = None
    lt: int | float | None = None
    lte: int | float | None = None
    reading: ClassVar[Reading] = "whole"

    def check(self) -> None:
        for name in ("gt", "gte", "lt", "lte"):
            bound = plain_scalar(getattr(self, name))
            if not (bound is None or (_is_finite(bound) and not isinstance(bound, bool))):
                raise InvalidFilterError(
                    f"the range on {self.path!r} has {name}={quote(bound)}, expected a finite "
                    "number, or None for a side that is open"
                )

    def bounds(self) -> Interval:
        return self  # this object has the four fields of an Interval


@final
@dataclass(frozen=True, slots=True)
class HasLength(ValueLeaf, Bounded):
    """Points with a list at `path` that has `length` elements."""

    path: PayloadPath
    length: int
    reading: ClassVar[Reading] = "length"

    def check(self) -> None:
        length = plain_scalar(self.length)
        if isinstance(length, bool) or not isinstance(length, int):
            raise InvalidFilterError(
                f"the length of {self.path!r} should be {quote(self.length)}, expected an integer"
            )

    def bounds(self) -> Interval:
        return Bounds(gte=self.length, lte=self.length)


@final
@dataclass(frozen=True, slots=True)
class Exists(ValueLeaf, Bounded):
    """Points with a value at `path` that is neither null nor an empty list."""

    path: PayloadPath
    reading: ClassVar[Reading] = "count"

    def bounds(self) -> Interval:
        return SOME


SOME = Bounds(gte=1)


def _check_several(path: PayloadPath, values: Any) -> None:
    """Raise InvalidFilterError if a single value is passed instead of several. A string would
    otherwise be read as a sequence of letters."""
    if not isinstance(values, tuple | list | set | frozenset):
        raise InvalidFilterError(
            f"values at {path!r} are compared with {quote(values)}, expected a tuple of values: "
            '("jazz",)'
        )
    for value in values:
        if not isinstance(value, str | int | float):
            raise InvalidFilterError(
                f"values at {path!r} are compared with {quote(value)}, expected a string, a number "
                "or a bool of Python's (numpy's by .item())"
            )


def _check_text(path: PayloadPath, should: str, text: Any) -> None:
    """Raise InvalidFilterError if an operand isn't a string of valid Unicode. should: the verb of
    the condition, for the message."""
    if not (isinstance(text, str) and is_unicode(text)):
        raise InvalidFilterError(
            f"strings at {path!r} should {should} {quote(text)}, expected a string without lone "
            "surrogates"
        )


class TextLeaf(ColumnLeaf):
    """A condition on strings."""

    __slots__ = ()

    def among(self, texts: Sequence[str]) -> list[bool]:
        """Whether each of the strings fulfils the condition."""
        raise NotImplementedError

    def holds(self, value: Any) -> bool:
        return isinstance(value, str) and self.among([value])[0]

    def find_rows(self, kept: KeptValues) -> RowSet:
        return kept.rows_of_matching_texts(self.among)


class Substring(TextLeaf):
    """A condition that a string contains `text`, case-sensitively."""

    __slots__ = ()
    text: str

    def among(self, texts: Sequence[str]) -> list[bool]:
        return [self.text in text for text in texts]


@final
@dataclass(frozen=True, slots=True)
class Containing(Substring):
    """Points with a string that contains `text`, case-sensitively."""

    at: ValuesAt
    text: str


@final
@dataclass(frozen=True, slots=True)
class TextIn(ValueLeaf, Substring):
    """Points with a string at `path` that contains `text`. ignore_case: whether to compare
    casefolded strings."""

    path: PayloadPath
    text: str
    ignore_case: bool = False
    reading: ClassVar[Reading] = "whole"

    def check(self) -> None:
        _check_text(self.path, "contain", self.text)

    def among(self, texts: Sequence[str]) -> list[bool]:
        if not self.ignore_case:
            return Substring.among(self, texts)
        folded = self.text.casefold()
        return [folded in text.casefold() for text in texts]

    def bound(self, pushdown: Pushdown) -> Bound:
        exact = self.text and not self.ignore_case
        return pushdown.containing(self.text) if exact else pushdown.undecided()


class Prefix(TextLeaf):
    """A condition that a string begins with `prefix`, case-sensitively."""

    __slots__ = ()
    prefix: str

    def among(self, texts: Sequence[str]) -> list[bool]:
        return [text.startswith(self.prefix) for text in texts]


@final
@dataclass(frozen=True, slots=True)
class Beginning(Prefix):
    """Points with a string that begins with `prefix`, case-sensitively."""

    at: ValuesAt
    prefix: str


@final
@dataclass(frozen=True, slots=True)
class TextBegins(ValueLeaf, Prefix):
    """Points with a string at `path` that begins with `prefix`, case-sensitively."""

    path: PayloadPath
    prefix: str
    reading: ClassVar[Reading] = "whole"

    def check(self) -> None:
        _check_text(self.path, "begin with", self.prefix)

    def bound(self, pushdown: Pushdown) -> Bound:
        return pushdown.beginning(self.prefix) if self.prefix else pushdown.undecided()


@final
@dataclass(frozen=True, slots=True)
class TextMatches(ValueLeaf, TextLeaf):
    """Points with a string at `path` that contains a match of the RE2 `pattern`."""

    path: PayloadPath
    pattern: str
    reading: ClassVar[Reading] = "whole"

    def check(self) -> None:
        _check_text(self.path, "match the pattern", self.pattern)
        compile_pattern(self.pattern)

    def among(self, texts: Sequence[str]) -> list[bool]:
        search = compile_pattern(self.pattern).search
        return [search(text) is not None for text in texts]


@final
@dataclass(frozen=True, slots=True)
class TextRange(ValueLeaf):
    """Points with a string at `path` inside the bounds: after `gt`, from `gte` on, before `lt`, up
    to `lte`; None leaves a side unbounded. If a bound and a string are both times (see `dates`),
    they are compared as times; otherwise they are compared by code points. times: whether only
    strings that are times match."""

    path: PayloadPath
    gt: str | None = None
    gte: str | None = None
    lt: str | None = None
    lte: str | None = None
    times: bool = False
    reading: ClassVar[Reading] = "whole"

    def check(self) -> None:
        from retrieval_store.filters.dates import time_in

        for name in ("gt", "gte", "lt", "lte"):
            bound = getattr(self, name)
            if not (bound is None or (isinstance(bound, str) and is_unicode(bound))):
                raise InvalidFilterError(
                    f"the range of strings on {self.path!r} has {name}={quote(bound)}, expected a "
                    "string without lone surrogates, or None for a side that is open"
                )
            if self.times and bound is not None and time_in(bound) is None:
                raise InvalidFilterError(
                    f"the range of times on {self.path!r} has {name}={bound!r}, which is no time"
                )

    def sides(self) -> "Iterator[tuple[_Side, str, int | None]]":
        """Yield the sides that have a bound. Each item is the side, its bound, and the bound as a
        time, None if the bound isn't a time."""
        from retrieval_store.filters.dates import time_in

        for side in _SIDES:
            bound = getattr(self, side.name)
            if bound is not None:
                yield side, bound, time_in(bound)

    def begins_as_time(self) -> bool:
        """Whether the bounds look like times, judged by their first characters."""
        bounds = (self.gt, self.gte, self.lt, self.lte)
        return all(bound is None or _DAY.match(bound) for bound in bounds)

    def holds(self, value: Any) -> bool:
        from retrieval_store.filters.dates import time_in

        if not isinstance(value, str):
            return False
        time = time_in(value)
        return all(
            side.compare(value, bound) and not self.times
            if time is None or at is None
            else side.compare(time, at)
            for side, bound, at in self.sides()
        )

    def find_rows(self, kept: KeptValues) -> RowSet:
        return kept.texts_between(self)

    def bound(self, pushdown: Pushdown) -> Bound:
        return pushdown.between_texts(self)


@dataclass(frozen=True, slots=True)
class _Side:
    """One side of a range. compare: compares a value with the side's bound. is_lower: whether this
    is the lower bound. bisect: finds the position of the bound in sorted values."""

    name: str
    compare: Callable[[Any, Any], Any]
    is_lower: bool
    bisect: Callable[[list[str], str], int]


_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_SIDES = (
    _Side("gt", operator.gt, True, bisect_right),
    _Side("gte", operator.ge, True, bisect_left),
    _Side("lt", operator.lt, False, bisect_left),
    _Side("lte", operator.le, False, bisect_right),
)


class TextOrder:
    """Strings with their ranks in sorted order, and with the times that they represent, so that
    ranges are found without a scan. Ranks and times are computed at the first use."""

    __slots__ = ("_made", "_texts")
    BYTES_EACH = 24  # bytes of memory for each string

    def __init__(self, texts: Collection[str]) -> None:
        self._texts = texts
        self._made: tuple[list[str], Ints, Ints] | None = None

    def among(self, bounds: TextRange) -> Bools:
        """Which of the strings are inside the bounds: (n,) bool."""
        if self._made is None:
            self._made = self._make()
        ordered, places, times = self._made
        is_within = np.ones(len(ordered), np.bool_)
        for side, bound, at in bounds.sides():
            first = side.bisect(ordered, bound)
            beside = places >= first if side.is_lower else places < first
            if at is not None:
                beside = np.where(
                    times == _NO_TIME, beside & (not bounds.times), side.compare(times, at)
                )
            is_within &= beside
        return is_within

    def _make(self) -> tuple[list[str], Ints, Ints]:
        from retrieval_store.filters.dates import time_in

        texts = [*self._texts]
        order = sorted(range(len(texts)), key=texts.__getitem__)
        places = np.empty(len(texts), np.int64)
        places[order] = np.arange(len(texts))
        times = [_NO_TIME if (time := time_in(text)) is None else time for text in texts]
        return [texts[i] for i in order], places, np.array(times, np.int64)


_NO_TIME = -(2**63)


@final
@dataclass(frozen=True, slots=True)
class HasTokens(ColumnLeaf):
    """Points with a text that contains any of the tokens, or all tokens if `every` is True. Without
    tokens, no point matches."""

    at: TokensAt
    tokens: tuple[str, ...]
    every: bool

    def holds(self, value: Sequence[str]) -> bool:
        tokens, text = set(self.tokens), set(value)
        return bool(tokens) and (tokens <= text if self.every else bool(tokens & text))

    def find_rows(self, kept: KeptTokens) -> RowSet:
        return kept.with_tokens(self.tokens, self.every)


@final
@dataclass(frozen=True, slots=True)
class HasPhrase(ColumnLeaf):
    """Points with a text that contains the tokens in this order, next to each other."""

    at: TokensAt
    tokens: tuple[str, ...]

    def holds(self, value: Sequence[str]) -> bool:
        size = len(self.tokens)
        starts = range(len(value) - size + 1) if size else ()
        return any(tuple(value[i : i + size]) == self.tokens for i in starts)

    def find_rows(self, kept: KeptTokens) -> RowSet:
        return kept.with_phrase(self.tokens)


def is_inside(value: int | float, bounds: Interval) -> bool:
    """Whether a number is inside the bounds."""
    return (
        (bounds.gt is None or value > bounds.gt)
        and (bounds.gte is None or value >= bounds.gte)
        and (bounds.lt is None or value < bounds.lt)
        and (bounds.lte is None or value <= bounds.lte)
    )


def _is_one_of(value: Any, leaf: Equality | Differs) -> bool:
    column = column_of(leaf)
    if isinstance(column, ValuesAt) and column.loose:
        return any(_same(value, scalar) for scalar in leaf.values)
    return any(type(value) is type(scalar) and value == scalar for scalar in leaf.values)


def _same(value: Any, scalar: Scalar) -> bool:
    """Whether a value equals a scalar. Numbers are compared by value, and a bool equals only the
    same bool."""
    if isinstance(value, bool) or isinstance(scalar, bool):
        return value is scalar
    if isinstance(scalar, str):
        return isinstance(value, str) and value == scalar
    return isinstance(value, int | float) and value == scalar


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def contains(path: PayloadPath, value: Scalar) -> Expression:
    """Points with a list that contains the value, or with a string that contains it."""
    has = ListHas(path, (value,))
    return Or((has, TextIn(path, value))) if isinstance(value, str) else has


def join_equalities(terms: Sequence[Expression], negated: bool) -> list[Expression]:
    """The terms of an Or, in which equalities on the same column are joined: `a = 1 or a = 2`
    becomes "a is one of 1, 2". With `negated`, the terms are those of an And, and negated
    equalities are joined: "a is neither 1 nor 2"."""
    groups: dict[Any, list[Equality]] = {}
    others: list[Expression] = []
    for term in _flatten_terms(terms, negated):
        leaf = term.term if negated and isinstance(term, Not) else term
        if isinstance(leaf, Equality) and (leaf is not term) == negated:
            groups.setdefault(_equality_key(leaf), []).append(leaf)
        else:
            others.append(term)
    leaves = [_unite_equalities(equalities) for equalities in groups.values()]
    return others + ([Not(leaf) for leaf in leaves] if negated else leaves)


def _flatten_terms(terms: Sequence[Expression], negated: bool) -> Iterator[Expression]:
    """Yield the terms, with each Or replaced by its terms. With `negated`, each negated Or is
    replaced by the negations of its terms. So the two conditions that `contains` consists of can be
    joined with other terms."""
    for term in terms:
        inner = term.term if negated and isinstance(term, Not) else term
        if isinstance(inner, Or) and (inner is not term) == negated:
            yield from map(Not, inner.terms) if negated else inner.terms
        else:
            yield term


def _equality_key(leaf: Equality) -> Any:
    """A key that is equal for all equalities of the same class on the same column."""
    return type(leaf), leaf.path if isinstance(leaf, ValueLeaf) else leaf.at


def _unite_equalities(leaves: list[Equality]) -> Equality:
    if len(leaves) == 1:
        return leaves[0]
    values = tuple(value for leaf in leaves for value in leaf.values)
    return replace(leaves[0], values=values)  # type: ignore[type-var]
