"""Leaves of filter expressions: the conditions on single points, and the checks of expressions.

A `ColumnLeaf` is a condition on a *column* (`columns`). Its method `holds` tests one value of the
column; a point fulfils the leaf if any of its values does. Any evaluator can test each point by
`holds`. An evaluator that stores the values of columns passes the stored values (`KeptValues` and
other protocols) to `find_rows`, which looks up the rows. `bound` returns the closest condition that
a remote store can evaluate (`Pushdown`).

Further leaves are conditions on documents (`DocumentLeaf`), which include users' regular
expressions. RE2 compiles the regular expressions and limits their size. `InSlice` selects a part of
all ids, by hash. `AnyElement` contains an expression that a single object in a list must fulfil as
a whole.

`fulfils` evaluates an expression for one point that isn't from the engine. The engine evaluates an
expression to a mask over all points at once.

`check_expression` checks expressions that users and adapters pass as objects, instead of dicts of a
dialect. Evaluation is recursive, with one call for each level; a term that occurs several times is
evaluated several times. So `check_expression` limits both depth and size before anything is
evaluated.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Protocol, TypeAlias, final
from uuid import UUID

import numpy as np
import numpy.typing as npt

from retrieval_store.base import budget
from retrieval_store.base.arrays import Bools, Floats
from retrieval_store.base.validation import Payload, is_unicode, quote
from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.columns import (
    Column,
    ElementsAt,
    Reading,
    ValuesAt,
    uuid_in,
    values_at,
)
from retrieval_store.filters.nodes import (
    COMBINATIONS,
    MAX_DEPTH,
    AtLeast,
    Expression,
    HasId,
    HasVector,
    IdLeaf,
    Scalar,
    evaluate_expression,
    terms_of,
    walk,
)
from retrieval_store.filters.paths import DOCUMENT, URI, JsonPath, PayloadPath

Bound: TypeAlias = Any  # a condition of a remote store


class ColumnLeaf(Expression):
    """A condition on the values of the column `at`."""

    __slots__ = ()
    at: Column

    def holds(self, value: Any) -> bool:
        """Whether one value of the column fulfils the condition."""
        raise NotImplementedError

    def find_rows(self, kept: Any) -> "RowSet | None":
        """The rows of points that fulfil the condition. kept: the stored values of the column, in
        which the rows are looked up; they implement a protocol such as `KeptValues`. None if the
        rows can't be looked up."""
        return None

    def bound(self, pushdown: "Pushdown") -> Bound:
        """The closest condition that a remote store can evaluate."""
        return pushdown.undecided()


class ValueLeaf(ColumnLeaf):
    """A condition on the payload values at `path`. `reading` defines how the values are
    interpreted; by default they are unchanged. A missing value and null are both None, which no
    leaf of the language matches."""

    __slots__ = ()
    path: PayloadPath
    reading: ClassVar[Reading] = "as it is"


def _checked_terms(node: Expression) -> tuple[Expression, ...]:
    """The terms of a combination. Raises InvalidFilterError unless the terms are a tuple or a list:
    an iterator could be read only once."""
    terms = terms_of(node)
    if not isinstance(terms, tuple | list):
        raise InvalidFilterError(
            f"the terms of {type(node).__name__} are of type {type(terms).__name__}, expected a "
            "tuple of expressions, such as (one,)"
        )
    if isinstance(node, AtLeast) and (type(node.count) is not int or node.count < 0):
        raise InvalidFilterError(f"AtLeast has the count {quote(node.count)}, expected 0 or more")
    return tuple(terms)


LONGEST_KEPT = 1_000  # characters of a path up to which its column is cached


def column_of(leaf: ColumnLeaf) -> Column:
    """The column to which a leaf's condition applies."""
    if not isinstance(leaf, ValueLeaf):
        return leaf.at
    keys = leaf.path.keys if isinstance(leaf.path, JsonPath) else leaf.path
    is_short = sum(map(len, keys)) <= LONGEST_KEPT
    return (_cached_column if is_short else ValuesAt)(leaf.path, leaf.reading)


_cached_column = lru_cache(maxsize=1024)(ValuesAt)  # a filter's columns are needed several times


def is_fulfilled(leaf: ColumnLeaf, payload: Payload | None) -> bool:
    """Whether the payload of one point fulfils a leaf."""
    column = column_of(leaf)
    return any(leaf.holds(value) for value in column.within(values_at(payload, column)))


class RowSet(Protocol):
    """A set of rows that were found, in any representation that the engine uses."""

    def mark(self, mask: Bools) -> None:
        """Set the mask to True at these rows."""


class Interval(Protocol):
    """An interval of numbers; None leaves a side unbounded."""

    @property
    def gt(self) -> int | float | None: ...
    @property
    def gte(self) -> int | float | None: ...
    @property
    def lt(self) -> int | float | None: ...
    @property
    def lte(self) -> int | float | None: ...


class KeptValues(Protocol):
    """The stored values of a column, which can be looked up: the rows of each value."""

    def equal(self, values: Sequence[Scalar]) -> RowSet:
        """The rows that have any of these values. The column defines when values are equal."""

    def other_than(self, values: Sequence[Scalar]) -> RowSet:
        """The rows that have any value that isn't among these values."""

    def between(self, bounds: Interval) -> RowSet:
        """The rows that have a number inside the bounds."""

    def rows_of_matching_texts(self, fulfil: Callable[[Sequence[str]], Sequence[bool]]) -> RowSet:
        """The rows of the strings that fulfil a condition. The function `fulfil` is called once
        with all strings."""

    def texts_between(self, bounds: Any) -> RowSet:
        """The rows that have a string inside the bounds of a `TextRange`."""


class KeptPlaces(Protocol):
    """The stored geographic locations of a column, which can be looked up: the rows of each
    location."""

    def where(self, inside: Callable[[Floats, Floats], Bools]) -> RowSet:
        """The rows that have a location that fulfils `inside`, a function of longitudes and
        latitudes."""


class KeptTokens(Protocol):
    """The stored tokens of a column, which can be looked up: the rows of each token."""

    def with_tokens(self, tokens: Sequence[str], every: bool) -> RowSet:
        """The rows of the texts that contain any of the tokens, or all tokens if `every` is
        True."""

    def with_phrase(self, tokens: Sequence[str]) -> RowSet:
        """The rows of the texts that contain the tokens in this order, next to each other."""


class KeptElements(Protocol):
    """The stored objects in lists of a column, which can be looked up: the row of each object."""

    def fulfilling(self, expression: Expression) -> RowSet:
        """The rows that have an object that fulfils the expression."""


class Pushdown(Protocol):
    """Builds the conditions by which a remote store filters by the values of a column. The store's
    condition can match more points than the leaf, or, in a negation, fewer. A leaf doesn't know
    whether it is negated, so it returns an exact condition, or `undecided()`."""

    def equal(self, values: Sequence[Scalar]) -> Bound:
        """The condition that any value of the column equals any of these values."""

    def between(self, bounds: Interval) -> Bound:
        """The condition that any value of the column is a number inside the bounds."""

    def between_texts(self, bounds: Any) -> Bound:
        """The condition that any value of the column is a string inside the bounds of a
        `TextRange`."""

    def containing(self, text: str) -> Bound:
        """The condition that any value of the column is a string that contains the text."""

    def beginning(self, text: str) -> Bound:
        """The condition that any value of the column is a string that begins with the text."""

    def undecided(self) -> Bound:
        """The replacement for a condition that the store can't evaluate. It requires only that the
        column has a value."""


class DocumentLeaf(Expression):
    """A condition on the document of a point. A point without a document never fulfils it."""

    __slots__ = ()

    def holds(self, document: str) -> bool:
        """Whether the document fulfils the condition."""
        raise NotImplementedError

    def test(self) -> Callable[[str], Any]:
        """A function like `holds` for use with many documents. Its results are truthy or falsy
        values."""
        return self.holds

    def bound(self, pushdown: Pushdown) -> Bound:
        """The closest condition that a remote store can evaluate."""
        return pushdown.undecided()


@final
@dataclass(frozen=True, slots=True)
class DocumentContains(DocumentLeaf):
    """Points with a document that contains `text`, case-sensitively. The engine finds these
    documents by SQLite and by trigrams (`engine.filtering.evaluate`), without calling `holds`."""

    text: str

    def check(self) -> None:
        if not isinstance(self.text, str) or not is_unicode(self.text):
            raise InvalidFilterError(
                f"documents should contain {quote(self.text)}, expected a string without lone "
                "surrogates"
            )

    def holds(self, document: str) -> bool:
        return self.text in document

    def bound(self, pushdown: Pushdown) -> Bound:
        return pushdown.containing(self.text)


@final
@dataclass(frozen=True, slots=True)
class DocumentMatches(DocumentLeaf):
    """Points with a document that contains a match of the RE2 `pattern`."""

    pattern: str

    def check(self) -> None:
        compile_pattern(self.pattern)

    def holds(self, document: str) -> bool:
        return self.test()(document) is not None

    def test(self) -> Callable[[str], Any]:
        search: Callable[[str], Any] = compile_pattern(self.pattern).search
        return search


MAX_PATTERN = 10_000  # characters of a pattern
MAX_GROUPS = 20  # groups with names
MAX_MEMORY = 2 << 20  # bytes of a compiled pattern and its automaton, as RE2 counts them
PATTERNS_KEPT = 16


@lru_cache(maxsize=PATTERNS_KEPT)
def compile_pattern(pattern: str) -> Any:
    """Compile an RE2 pattern. Raises InvalidFilterError for a pattern that RE2 rejects, or that
    exceeds the limits on the length, depth or size of users' patterns.

    RE2 needs time linear in the text. When RE2's cache of states reaches its memory limit, RE2
    continues with a slower method that needs no cache. The result is the same.
    """
    if len(pattern) > MAX_PATTERN:
        raise InvalidFilterError(
            f"the pattern has {len(pattern)} characters, expected at most {MAX_PATTERN}"
        )
    if _nesting(pattern) > MAX_DEPTH:
        raise InvalidFilterError(f"the pattern's groups are nested deeper than {MAX_DEPTH} levels")
    import re2  # imported here because that takes as long as opening a store

    try:
        compiled = re2.compile(pattern, options=_options())
    except UnicodeEncodeError:
        raise InvalidFilterError("the pattern holds a lone surrogate") from None
    except re2.error as error:
        raise InvalidFilterError(_reason(error)) from None
    finally:
        re2.purge()  # RE2's own cache keeps 128 patterns, however large they are
    # never_capture doesn't remove groups with names, and each of them needs memory for each state
    # of a search
    if compiled.groups > MAX_GROUPS:
        raise InvalidFilterError(
            f"the pattern has {compiled.groups} groups with names, expected at most {MAX_GROUPS}"
        )
    return compiled


def _options() -> Any:
    import re2

    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = MAX_MEMORY
    return options


_BRACKETS = re.compile(
    r"\\Q.*?(?:\\E|\Z)|\\.|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*(?:\]|\Z)|([()])", re.DOTALL
)


def _nesting(pattern: str) -> int:
    """How deeply the groups of a pattern are nested. Parentheses that are quoted or in a character
    class don't count."""
    deepest = depth = 0
    for bracket in _BRACKETS.finditer(pattern):
        if bracket[1]:
            depth += 1 if bracket[1] == "(" else -1
            deepest = max(deepest, depth)
    return deepest


def _reason(error: Any) -> str:
    message = error.args[0].decode(errors="replace") if error.args else "RE2 refuses it"
    if message.startswith("pattern too large"):
        return f"compiled, the pattern needs more memory than the {MAX_MEMORY >> 20} MiB allowed"
    return f"not a regular expression of RE2: {message[:200]}"  # RE2's message repeats the pattern


HASHED_AT_ONCE = 20_000  # ids that are hashed together, in some 20 ms
Word: TypeAlias = npt.NDArray[np.uint64]


@final
@dataclass(frozen=True, slots=True)
class InSlice(IdLeaf):
    """Points in one of `total` parts of all ids. The parts are about equally large. A point is in
    the part `index` if the hash of its id modulo `total` is `index`."""

    total: int
    index: int

    def check(self) -> None:
        if not 0 <= self.index < self.total < 1 << 64:
            raise InvalidFilterError(
                f"the slice has index {self.index} of {self.total}, expected one from 0 to "
                "total - 1, which is less than 2**64"
            )

    def of(self, ids: Sequence[int | str]) -> Bools:
        is_in_slice = np.zeros(len(ids), np.bool_)
        for start in range(0, len(ids), HASHED_AT_ONCE):
            budget.check()
            part = ids[start : start + HASHED_AT_ONCE]
            is_in_slice[start : start + len(part)] = self._of(part)
        return is_in_slice

    def _of(self, ids: Sequence[int | str]) -> Bools:
        is_in_slice = np.zeros(len(ids), np.bool_)
        contents = [_content(point_id) for point_id in ids]
        sizes = np.array([len(content) for content in contents], np.int64)
        for size in np.unique(sizes).tolist():
            places = np.flatnonzero(sizes == size)
            joined = b"".join(contents[i] for i in places.tolist())
            rows = np.frombuffer(joined, np.uint8).reshape(len(places), size)
            is_in_slice[places] = hashes(rows) % np.uint64(self.total) == self.index
        return is_in_slice


def _content(point_id: int | str) -> bytes:
    """The hashed bytes of an id: numbers in 8 bytes, UUIDs in 16, other strings unchanged."""
    if isinstance(point_id, int):
        return point_id.to_bytes(8, "little")
    uuid = uuid_in(point_id)
    return point_id.encode() if uuid is None else UUID(uuid).bytes


def hashes(rows: npt.NDArray[np.uint8]) -> Word:
    """The SipHash-2-4 hash of the bytes in each row, with a key of zeros: (n,)."""
    count, size = rows.shape
    padded = np.zeros((count, (size // 8 + 1) * 8), np.uint8)
    padded[:, :size] = rows
    padded[:, -1] = size % 256
    words = padded.view("<u8")
    constants = b"somepseudorandomlygeneratedbytes"
    state = [
        np.full(count, int.from_bytes(constants[i : i + 8], "big"), np.uint64)
        for i in range(0, 32, 8)
    ]
    for i in range(words.shape[1]):
        state[3] = state[3] ^ words[:, i]
        state = _rounds(state, 2)
        state[0] = state[0] ^ words[:, i]
    state[2] = state[2] ^ np.uint64(255)
    a, b, c, d = _rounds(state, 4)
    digests: Word = a ^ b ^ c ^ d
    return digests


def _rounds(state: list[Any], times: int) -> list[Any]:
    a, b, c, d = state
    for _ in range(times):
        a, c = a + b, c + d
        b, d = _rotate(b, 13) ^ a, _rotate(d, 16) ^ c
        a, c = _rotate(a, 32) + d, c + b
        d, b = _rotate(d, 21) ^ a, _rotate(b, 17) ^ c
        c = _rotate(c, 32)
    return [a, b, c, d]


def _rotate(word: Word, bits: int) -> Word:
    return (word << np.uint64(bits)) | (word >> np.uint64(64 - bits))


@final
@dataclass(frozen=True, slots=True)
class AnyElement(ColumnLeaf):
    """Points with an object in a list that fulfils the expression. The paths in the expression
    begin in that object. Created by `any_element`."""

    at: ElementsAt
    expression: Expression

    def check(self) -> None:
        if any_element(self.at.path, self.expression) != self:
            raise InvalidFilterError("the condition on elements contradicts itself")

    def holds(self, value: dict[str, Any]) -> bool:
        def answer(leaf: Expression, is_candidate: bool) -> bool:
            if not isinstance(leaf, ColumnLeaf):
                raise TypeError(f"no element of a list can be asked for {leaf!r}")
            return is_candidate and is_fulfilled(leaf, value)

        return evaluate_expression(self.expression, True, answer)

    def expression_of_elements(self) -> Expression:
        return self.expression

    def find_rows(self, kept: KeptElements) -> RowSet:
        return kept.fulfilling(self.expression)


def any_element(path: JsonPath, expression: Expression) -> AnyElement:
    """The condition that any object in the lists at a path fulfils the expression."""
    columns = (column_of(leaf) for leaf in walk(expression) if isinstance(leaf, ColumnLeaf))
    return AnyElement(ElementsAt(path, tuple(dict.fromkeys(columns))), expression)


@dataclass(frozen=True, slots=True)
class Candidate:
    """The data of a point that a filter needs. The point doesn't have to be in a store.

    id: as in a store. payload: the metadata, None if the point has no metadata. document, uri: None
    if the point lacks them.
    """

    id: str | int
    payload: Payload | None
    document: str | None
    uri: str | None = None

    @property
    def shown(self) -> Payload:
        """The payload with the document and uri under their reserved keys; Qdrant's conditions are
        evaluated on it."""
        others: Payload = {DOCUMENT: self.document, URI: self.uri}
        return {**(self.payload or {}), **others}

    def answer(self, leaf: Expression, is_candidate: bool) -> bool:
        """Whether the point fulfils a leaf. False if the point isn't a candidate."""
        if not is_candidate:
            return False
        match leaf:
            case HasId():
                shown = leaf.are_shown and str(self.id) in leaf.members
                return shown or self.id in leaf.members
            case DocumentLeaf():
                return self.document is not None and bool(leaf.holds(self.document))
            case ValueLeaf():
                return is_fulfilled(leaf, self.payload)
            case ColumnLeaf():
                return is_fulfilled(leaf, self.shown)
            case IdLeaf():
                return bool(leaf.of([self.id])[0])
        raise TypeError(f"nothing is defined for {leaf!r}")


def fulfils(point: Candidate, expression: Expression | None) -> bool:
    """Whether the point fulfils the expression, as it would in a store. True if the expression is
    None."""
    return expression is None or evaluate_expression(expression, True, point.answer)


# Nodes of an expression; a node that is used several times is counted each time.
MAX_NODES = 1_000_000


@dataclass(frozen=True, slots=True)
class Parsed(Expression):
    """Wraps an expression that a built-in parser has created and checked. It may contain conditions
    that aren't part of the public language. It must be unwrapped before it is evaluated."""

    expression: Expression


def check_expression(expression: Expression) -> Expression:
    """The expression, unchanged. Raises InvalidFilterError if it is too deep or too large, if a
    part of it isn't an expression, or if a pattern can't be compiled."""
    if isinstance(expression, Parsed):
        return expression.expression
    level, depth, nodes = [expression], 0, 0
    while level:
        depth, nodes = depth + 1, nodes + len(level)
        if depth > MAX_DEPTH:
            raise InvalidFilterError(f"the filter is nested deeper than {MAX_DEPTH} levels")
        if nodes > MAX_NODES:
            raise InvalidFilterError(f"the filter has more than {MAX_NODES} conditions")
        level = [term for node in level for term in _terms(node)]
    return expression


def _is_path(path: object) -> bool:
    return isinstance(path, tuple) and path != () and all(isinstance(key, str) for key in path)


def _terms(node: Expression) -> tuple[Expression, ...]:
    if isinstance(node, COMBINATIONS):
        return _checked_terms(node)
    if isinstance(node, InSlice | HasVector):
        raise InvalidFilterError(
            f"the filter has {type(node).__name__}, which is a condition of QdrantClient's alone"
        )
    if not isinstance(node, ValueLeaf | DocumentLeaf | HasId):
        raise InvalidFilterError(
            f"the filter has a term of type {type(node).__name__}, expected an expression of "
            "retrieval_store.filters.expression"
        )
    if isinstance(node, ValueLeaf) and not _is_path(node.path):
        raise InvalidFilterError(
            f"the path of {type(node).__name__} is {quote(node.path)}, expected a tuple of keys: "
            '("genre",)'
        )
    node.check()
    return ()
