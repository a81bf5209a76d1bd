"""Evaluates filters into masks: which rows of the state fulfil an expression.

An expression is compiled first, then evaluated. Compiling merges equalities on one column into one
node, and orders the terms of each And and Or by cost:

1. terms that columns in memory evaluate at once;
2. terms whose columns are missing or lack rows, combined into one node (`_Unread`). If earlier
   terms have left few candidates, only the candidates' payloads are read, into temporary columns.
   Otherwise the columns are built for all points;
3. within each of these two groups, terms on documents come last.

A condition on documents is evaluated row by row (`documents_fulfil`). From its second use on, its
results are cached (`Answers`), like columns. After a write only the changed rows are evaluated
again. A reader that needs only the first few points evaluates the condition only for these; later
readers evaluate it for the rest.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from operator import attrgetter
from typing import ClassVar, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from retrieval_store.base import budget
from retrieval_store.base.arrays import Bools, Ints
from retrieval_store.base.validation import shorten
from retrieval_store.engine.filtering.cache import FOLLOWED, FilterView, Key, TestedRows, key_of
from retrieval_store.engine.filtering.columns import (
    Columns,
    column_mask,
    columns_at,
    columns_of_few,
    current_columns,
    note_use,
    row_sets_of,
)
from retrieval_store.engine.filtering.segments import (
    FoundRows,
    intersection,
    keys_of,
    rows_found_in_segments,
)
from retrieval_store.engine.sqlite import select
from retrieval_store.engine.state.caches import NOTHING_STALE, Layers
from retrieval_store.engine.state.state import rows_of
from retrieval_store.engine.storage.derived import find
from retrieval_store.engine.storage.records import read_records, read_values
from retrieval_store.engine.storage.schema import pks_of_ids, to_ids
from retrieval_store.engine.text.inverted import TRIGRAMS, file_key
from retrieval_store.filters.columns import Column
from retrieval_store.filters.leaves import (
    ColumnLeaf,
    DocumentContains,
    DocumentLeaf,
    ValueLeaf,
    column_of,
)
from retrieval_store.filters.nodes import (
    And,
    AtLeast,
    Expression,
    HasId,
    HasVector,
    IdLeaf,
    Not,
    Or,
    asking,
    evaluate_expression,
    walk,
)
from retrieval_store.filters.values import join_equalities
from retrieval_store.indexes.native import Condition, Listed, RowTest, Terms
from retrieval_store.query.types import ShownIds

# Costs, in units of the time to read one row into a column: of starting to read single points, and
# of reading each point. The last number is how many rows of a column a condition evaluates per
# unit.
READ_START_COST, POINT_READ_COST, ROWS_PER_COST = 100, 1.5, 500


def matching(view: FilterView, expression: Expression | None) -> Bools:
    """Which rows have an existing point that fulfils the expression: (rows,) bool. If the
    expression is None, all existing points fulfil it."""
    alive = view.state.alive
    if expression is None:
        return alive
    return FilterEvaluator(view, columns_at(view, _columns_of([expression]))).mask(
        expression, alive
    )


MOST_NODES = 32  # a filter with more conditions isn't tested row by row
FEW_LISTED = 64  # rows of a condition are listed if they are at most one row in this many
SAMPLE = 1_024  # rows of the sample from which the number of matching rows is estimated …
FEW_OF_SAMPLE = 24  # … and if fewer of them match, the estimate is too uncertain
GOLDEN = 0.6180339887498949


def test_or_mask(view: FilterView, expression: Expression) -> TestedRows | Bools:
    """The points that fulfil the expression: as a test of rows if possible, otherwise as a mask."""
    tested = row_test_of(view, expression)
    return matching(view, expression) if tested is None else tested


def row_test_of(view: FilterView, expression: Expression) -> TestedRows | None:
    """The points that fulfil the expression, as a test of rows. None if a condition isn't on
    columns in memory that can return the value of a row."""
    compiler = _TestCompiler(view)
    compiled = compiler.compile(expression) if compiler.load_columns(expression) else None
    return None if compiled is None else compiler.compile_test(compiled)


class _Compiled(NamedTuple):
    """A compiled expression. narrowest: the rows that fulfil the narrowest of the expression's
    terms, None if they are unknown."""

    condition: Condition
    narrowest: FoundRows | None = None

    @classmethod
    def of_rows(cls, rows: FoundRows) -> "_Compiled":
        """A condition that is fulfilled by exactly these rows."""
        return cls(rows.numbered, rows)

    @property
    def rows(self) -> FoundRows | None:
        """All rows that fulfil the condition; None unless its narrowest term is its only term."""
        rows = self.narrowest
        return rows if rows is not None and rows.numbered is self.condition else None


def _join_conditions(compiled_terms: Sequence[_Compiled]) -> _Compiled:
    """The conjunction of several conditions. Lower and upper bounds on the same column are
    merged."""
    ranges: list[FoundRows] = []
    other_conditions: list[Condition] = []
    for term in compiled_terms:
        rows = term.rows
        if rows is None:
            other_conditions.append(term.condition)
            continue
        for i, earlier in enumerate(ranges):
            if (merged := intersection(earlier, rows)) is not None:
                ranges[i] = merged
                break
        else:
            ranges.append(rows)
    if len(ranges) == 1 and not other_conditions:
        return _Compiled.of_rows(ranges[0])
    narrowest = min(ranges, key=attrgetter("count"), default=None)
    conditions = (*(rows.numbered for rows in ranges), *other_conditions)
    return _Compiled(Terms("all", conditions), narrowest)


def is_testable(view: FilterView, expression: Expression) -> bool:
    """Whether all conditions of the expression are on columns in memory with few stale rows."""
    return _TestCompiler(view).load_columns(expression)


class _TestCompiler:
    """Compiles the conditions of a filter to tests of rows."""

    def __init__(self, view: FilterView) -> None:
        self._view, self._columns = view, Columns()

    def load_columns(self, expression: Expression) -> bool:
        """Load the columns of all conditions, and read their stale rows again. Returns False, and
        reads nothing, if a column isn't in memory or has many stale rows."""
        nodes = [*islice(walk(expression), MOST_NODES + 1)]
        leaves = [node for node in nodes if isinstance(node, ColumnLeaf)]
        others = [node for node in nodes if not isinstance(node, ColumnLeaf | And | Or | Not)]
        if len(nodes) > MOST_NODES or others or not all(map(_is_looked_up, leaves)):
            return False
        columns = {column_of(leaf): None for leaf in leaves}
        self._columns = columns_at(self._view, columns)
        for layers in self._columns.values():
            if not layers.segments or len(layers.stale) > FOLLOWED:
                return False
        if sum([len(layers.stale) for layers in self._columns.values()]):
            self._columns = current_columns(self._view, columns)
        return True

    def compile(self, expression: Expression) -> _Compiled | None:
        """The compiled expression; None if a column can't return the value of a row. The method is
        recursive; see `MAX_DEPTH` in `filters.nodes`."""
        match expression:
            case ColumnLeaf():
                rows = self._rows_of(expression)
                return None if rows is None else _Compiled.of_rows(rows)
            case And(terms) if terms:
                compiled_terms = self._compile_each(join_equalities(terms, negated=True))
                return None if compiled_terms is None else _join_conditions(compiled_terms)
            case Or(terms) if terms:
                compiled_terms = self._compile_each(join_equalities(terms, negated=False))
                if compiled_terms is None:
                    return None
                return _Compiled(Terms("any", tuple(term.condition for term in compiled_terms)))
            case Not(term):
                inner = self.compile(term)
                return None if inner is None else _Compiled(Terms("none", (inner.condition,)))
        return None

    def _compile_each(self, terms: Sequence[Expression]) -> list[_Compiled] | None:
        compiled_terms = [
            compiled for term in terms if (compiled := self.compile(term)) is not None
        ]
        return compiled_terms if len(compiled_terms) == len(terms) else None

    def _rows_of(self, leaf: ColumnLeaf) -> FoundRows | None:
        column, state = column_of(leaf), self._view.state
        layers = self._columns.get(column)  # where equalities were joined, as before
        row_sets = None if layers is None else row_sets_of(layers, leaf)
        if layers is None or row_sets is None:
            return None
        if not layers.is_empty:
            note_use(self._view, column.path)
        rows = [segment.rows for segment in layers.segments]
        return rows_found_in_segments(row_sets, rows, state.dead_rows, len(state.pks))

    def compile_test(self, compiled: _Compiled) -> TestedRows:
        """The test of rows, and how many rows fulfil it. If few rows fulfil the narrowest term, the
        other terms are tested for these rows. Otherwise the number is estimated from a sample. If
        few rows of the sample fulfil the test, all rows are counted."""
        state, height = self._view.state, len(self._view.state.pks)
        condition, narrowest = compiled
        if (found := compiled.rows) is not None:
            return TestedRows(RowTest.of(condition), height, found.count, True, found.list_rows)
        if len(state.dead_rows):
            condition = Terms("all", (Terms("none", (Listed(state.dead_rows),)), condition))
        test = RowTest.of(condition)
        if narrowest is not None and narrowest.count * FEW_LISTED <= height:
            rows = narrowest.list_rows()
            rows = rows[test.has(rows)]
            return TestedRows(test, height, len(rows), True, lambda: rows)
        sample = spread_rows(height, SAMPLE)
        count = test.count(sample)
        if count < min(FEW_OF_SAMPLE, len(sample)) or len(sample) == height:
            rows = np.flatnonzero(test.has(range(height)))
            return TestedRows(test, height, len(rows), True, lambda: rows)
        return TestedRows(test, height, round(count * height / len(sample)), False, None)


@lru_cache(maxsize=16)
def spread_rows(height: int, size: int) -> Ints:
    """A sample of `size` rows, spread evenly over all rows; all rows if there are fewer. The sample
    is the same each time."""
    if height <= size:
        return np.arange(height)
    # The steps have different lengths, because values may be periodic. With few rows, that would
    # select some of them twice.
    steps = np.arange(size) * GOLDEN % 1 if height >= 2 * size else np.zeros(size)
    return ((np.arange(size) + steps) * (height / size)).astype(np.int64)


def filter_rows(view: FilterView, expression: Expression, rows: Ints) -> Bools:
    """Which of these rows fulfil the expression: (n,) bool. The rows must ascend, and their points
    must exist."""
    columns, height = columns_at(view, _columns_of([expression])), len(view.state.pks)
    lacking = [column for column, layers in columns.items() if len(layers.stale)]
    if lacking:
        few = is_worth_looking(view, columns, lacking, len(rows))
    else:
        few = (
            READ_START_COST + POINT_READ_COST * len(rows)
            <= (1 + len(columns)) * height / ROWS_PER_COST
        )
    if few:
        return scan_rows(view, expression, rows)
    candidates = np.zeros(height, np.bool_)
    candidates[rows] = True
    return FilterEvaluator(view, columns).mask(expression, candidates)[rows]


def scan_rows(view: FilterView, expression: Expression, rows: Ints) -> Bools:
    """Like `filter_rows`, but always reads only the payloads of these points."""
    columns = columns_of_few(view, rows, [*_columns_of([expression])])
    return FilterEvaluator(view, columns, rows).mask(expression, np.ones(len(rows), np.bool_))


def is_worth_looking(
    view: FilterView, columns: Columns, lacking: Sequence[Column], count: int
) -> bool:
    """Whether to read `count` single points rather than update the columns that lack rows. If so,
    the cost of reading is added to the earlier costs for these keys. Once the sum reaches a quarter
    of the cost of building the columns, they are built. So repeated filters on a key never take
    much longer than with a column from the start."""
    # For each key, the rows to be read, counted once for all its columns.
    building: dict[int, int] = {}
    for column in lacking:
        key = hash(keys_of(column))
        building[key] = max(building.get(key, 0), len(columns[column].stale))
    demand, price = view.caches.columns.demand, READ_START_COST + POINT_READ_COST * count
    if price + sum(demand.get(key, 0.0) for key in building) > sum(building.values()) / 4:
        return False
    for key in building:
        demand.spend(key, price / len(building))
    if view.remarks is not None:
        first = ".".join(map(str, keys_of(lacking[0])))
        view.remarks.append(
            f"{count} points were read for {first!r}: the values of all points aren't cached yet"
        )
    return True


def split(view: FilterView, expression: Expression) -> tuple[Expression | None, Expression | None]:
    """Split an expression into a part that columns in memory evaluate, and a part for which points
    must be read. An empty part is None. The conjunction of both parts is the expression."""
    terms = (
        join_equalities(expression.terms, negated=True)
        if isinstance(expression, And)
        else [expression]
    )
    column_terms, point_terms, _ = _split_terms(
        view, columns_at(view, _columns_of([expression])), terms
    )
    return And(tuple(column_terms)) if column_terms else None, And(
        tuple(point_terms)
    ) if point_terms else None


def _split_terms(
    view: FilterView, columns: Columns, terms: Iterable[Expression]
) -> tuple[list[Expression], list[Expression], dict[Column, bool]]:
    """Divide terms by how they are evaluated. Returns the terms that columns in memory evaluate,
    and the terms for which points must be read; in both lists, terms on documents come last. The
    third result has the columns with stale rows as keys; its values say whether a simple term (see
    `_is_simple`) needs the column."""
    parts: tuple[list[Expression], ...] = ([], [], [], [])
    lacking: dict[Column, bool] = {}
    for term in terms:
        reads = documents = False
        for node in (term,) if isinstance(term, ColumnLeaf) else walk(term):
            if isinstance(node, ColumnLeaf):
                column = column_of(node)
                if not _is_looked_up(node):
                    reads = True
                elif len(columns[column].stale):
                    reads = True
                    lacking[column] = lacking.get(column, False) or _is_simple(term)
            elif isinstance(node, DocumentLeaf):
                documents = True
                reads = reads or not is_listed(view, node)
        parts[2 * reads + documents].append(term)
    return parts[0] + parts[1], parts[2] + parts[3], lacking


def _columns_of(terms: Iterable[Expression]) -> dict[Column, None]:
    """The columns that the terms need, without repetitions, in the order of first use."""
    nodes = (node for term in terms for node in walk(term))
    leaves = (node for node in nodes if isinstance(node, ColumnLeaf))
    return {column_of(leaf): None for leaf in leaves if _is_looked_up(leaf)}


def _is_looked_up(leaf: ColumnLeaf) -> bool:
    return type(leaf).find_rows is not ColumnLeaf.find_rows


def _is_simple(term: Expression) -> bool:
    """Whether the term is a leaf or a negated leaf. Such a term has no inner terms that could
    narrow the candidates for each other."""
    while isinstance(term, Not):
        term = term.term
    return not isinstance(term, And | Or | AtLeast)


@dataclass(frozen=True, slots=True)
class _Unread(Expression):
    """Several terms of an And or Or, combined into one leaf because their columns lack rows.
    expression: the original terms, evaluated by reading single points. compiled: the same terms,
    evaluated by columns. columns: the columns that lack rows; the value is True if a simple term
    (see `_is_simple`) needs the column, which then must cover all candidates."""

    expression: Expression
    compiled: Expression
    columns: dict[Column, bool]


class FilterEvaluator:
    """Evaluates expressions for all points of a state, or for some rows. All masks have one element
    for each of these points or rows.

    columns: the cached columns that the expressions need; they may lack rows. rows: the rows for
    which expressions are evaluated, None for all rows of the state.
    """

    def __init__(self, view: FilterView, columns: Columns, rows: Ints | None = None) -> None:
        self._view, self._columns, self._rows = view, columns, rows

    def mask(self, expression: Expression, candidates: Bools) -> Bools:
        """A mask of the candidates that fulfil the expression."""
        return evaluate_expression(self._compile_alone(expression), candidates, self._answer)

    def _compile_alone(self, expression: Expression) -> Expression:
        """Compile an expression as if it were the only term of an And."""
        reads_points = self._lacking(self._columns) and _is_simple(expression)
        return self._compile(And((expression,)) if reads_points else expression)

    def _compile(self, expression: Expression) -> Expression:
        """The expression with merged and sorted terms. The method is recursive, with one call for
        each level of nesting, which is limited (`MAX_DEPTH` in `filters.nodes`)."""
        match expression:
            case And(terms) | Or(terms):
                kind: type[And] | type[Or] = type(expression)
                terms = tuple(join_equalities(terms, negated=kind is And))
                column_terms, point_terms, lacking = _split_terms(self._view, self._columns, terms)
                unread = [*map(self._compile, point_terms)]
                # If all terms are nested and none is known, they stay separate, so that each
                # narrows its own terms.
                if lacking and (column_terms or any(lacking.values())):
                    unread = [_Unread(kind(tuple(point_terms)), _combine(kind, unread), lacking)]
                return _combine(kind, [*map(self._compile, column_terms), *unread])
            case AtLeast(terms, count):
                return AtLeast(tuple(map(self._compile_alone, terms)), count)
            case Not(term):
                return Not(self._compile(term))
        return expression

    def _answer(self, leaf: Expression, candidates: Bools) -> Bools:
        """A mask of the candidates that fulfil a leaf."""
        budget.check()
        match leaf:
            case ColumnLeaf():
                return self._mask_by_column(leaf, candidates)
            case _Unread(expression, compiled):
                if self._is_worth_looking(leaf, candidates):
                    places = np.flatnonzero(candidates)
                    return _mask_at(
                        candidates, places, scan_rows(self._view, expression, self._rows_at(places))
                    )
                return evaluate_expression(compiled, candidates, self._answer)
            case HasId(ids, are_shown):
                return self._mask_by_ids(ShownIds(map(str, ids)) if are_shown else ids, candidates)
        places = np.flatnonzero(candidates)
        return _mask_at(candidates, places, self._mask_by_points(leaf, places))

    def _is_worth_looking(self, unread: _Unread, candidates: Bools) -> bool:
        """Whether to read only the candidates of these terms. Otherwise, updates the columns that a
        simple term needs. Other columns aren't updated, because inner terms may still leave few
        candidates."""
        lacking = self._lacking(unread.columns)
        if not lacking:
            return False
        count = int(np.count_nonzero(candidates))
        if is_worth_looking(self._view, self._columns, lacking, count):
            return True
        if any(unread.columns.values()):
            self._columns |= current_columns(self._view, self._columns)
        return False

    def _lacking(self, columns: Iterable[Column]) -> list[Column]:
        return [column for column in columns if len(self._columns[column].stale)]

    def _mask_by_column(self, leaf: ColumnLeaf, candidates: Bools) -> Bools:
        mask, column = None, column_of(leaf)
        layers = self._columns.get(column)
        if layers is not None:
            mask = column_mask(layers, leaf, len(candidates))
            if self._rows is None and not layers.is_empty:
                note_use(self._view, column.path)
        if mask is None:
            assert isinstance(leaf, ValueLeaf)
            return self._mask_by_values(leaf, candidates)
        mask &= candidates
        return mask

    def _mask_by_values(self, leaf: ValueLeaf, candidates: Bools) -> Bools:
        """A mask of the candidates that fulfil the leaf. Their values are read, and `leaf.holds` is
        called once for each distinct value."""
        places = np.flatnonzero(candidates)
        pks = self._view.state.pks[self._rows_at(places)]
        (values,) = read_values(self._view.connection, pks, [leaf.path])
        holds, within = asking(leaf, leaf.holds), column_of(leaf).within
        flags = [any(map(holds, within([value]))) for value in values]
        return _mask_at(candidates, places, flags)

    def _mask_by_points(self, leaf: Expression, places: Ints) -> Bools:
        """Which of the points at these positions of the mask fulfil a leaf that isn't about
        payloads."""
        match leaf:
            case HasVector(space):
                return have_vector(self._view, space, self._rows_at(places))
            case IdLeaf():
                return leaf.of(self._ids(places))
            case DocumentLeaf():
                return documents_fulfil(self._view, leaf, self._rows_at(places))
        raise TypeError(f"no mask is defined for {leaf!r}")

    def _mask_by_ids(self, ids: Sequence[str | int], candidates: Bools) -> Bools:
        sought = np.fromiter(pks_of_ids(self._view.connection, ids).values(), np.int64)
        pks = self._view.state.pks
        places = rows_of(pks if self._rows is None else pks[self._rows], sought)
        return candidates & _mask_at(candidates, places[places >= 0], True)

    def _ids(self, places: Ints) -> list[int | str]:
        """The ids of the points at these positions of the mask."""
        pieces = read_records(
            self._view.connection, "id", self._view.state.pks[self._rows_at(places)]
        )
        return to_ids(key for piece in pieces for (key,) in piece)

    def _rows_at(self, places: Ints) -> Ints:
        """The rows of the state at these positions of the mask."""
        return places if self._rows is None else self._rows[places]


def _combine(kind: type[And] | type[Or], terms: list[Expression]) -> Expression:
    """The And or Or of the terms; a single term is returned unchanged."""
    return terms[0] if len(terms) == 1 else kind(tuple(terms))


def have_vector(view: FilterView, space: str, rows: Ints) -> Bools:
    """Which of the rows have a point with a vector in the space: (n,) bool."""
    if space in view.state.non_dense:
        from retrieval_store.engine.storage.write import read_blobs

        pks = view.state.pks[rows]
        holders = [pk for pk, _ in read_blobs(view.connection, view.state.non_dense[space], pks)]
        return np.isin(pks, np.array(holders, np.int64))
    state = view.state.spaces.get(space)
    has: Bools = np.zeros(len(rows), np.bool_) if state is None else state.slot_of_row[rows] >= 0
    return has


def _mask_at(like: Bools, places: Ints, flags: Bools | Sequence[bool] | bool) -> Bools:
    """A mask as long as `like`, with `flags` at these positions and False elsewhere."""
    mask = np.zeros_like(like)
    mask[places] = flags
    return mask


TRIGRAMS_WORTH = 20_000  # documents; fewer are scanned in two milliseconds
UNKNOWN = -1
Said: TypeAlias = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Answers:
    """The cached results of a condition on documents. of_row: (rows,) 1 if the row fulfils the
    condition, 0 if it doesn't, UNKNOWN if it wasn't evaluated. Each reader adds the results of rows
    that it evaluates, for later readers for which these rows aren't stale."""

    of_row: Said
    is_empty: ClassVar[bool] = False  # it is worth caching that no document fulfils a condition

    @property
    def rows(self) -> Ints:
        """The rows that were evaluated."""
        return np.flatnonzero(self.of_row != UNKNOWN)

    @property
    def nbytes(self) -> int:
        """The size of the array in bytes."""
        return self.of_row.nbytes


def documents_fulfil(view: FilterView, leaf: DocumentLeaf, rows: Ints) -> Bools:
    """Which of these rows have a document that fulfils the condition: (n,) bool. The rows must
    ascend, and their points must exist."""
    key = key_of(leaf)
    # A condition that is used once isn't worth caching.
    if key is None or view.caches.condition_uses.spend(key) == 1:
        return _ask_documents(view, leaf, rows)
    cached_answers = _known_answers(view, key)
    answers = cached_answers[rows]
    if (answers == UNKNOWN).any():
        unknown = rows[answers == UNKNOWN]
        cached_answers[unknown] = _ask_documents(view, leaf, unknown)
        answers = cached_answers[rows]
    holds: Bools = answers == 1
    return holds


def _known_answers(view: FilterView, key: Key) -> Said:
    """The cached result for each row of the state, UNKNOWN where there is none: (rows,); see
    `Answers`."""
    cache, seq, height = view.caches.answers, view.state.head.seq, len(view.state.pks)
    layers: Layers[Answers] = cache.at(key, seq, height)
    answers = layers.segments[0].of_row if layers.segments else np.empty(0, np.int8)
    if len(layers.stale) or len(answers) < height:
        cached_answers = np.full(height, UNKNOWN, np.int8)
        cached_answers[: len(answers)] = answers[:height]
        cached_answers[layers.stale] = UNKNOWN
        cache.keep(key, seq, Layers((Answers(cached_answers),), NOTHING_STALE))
        answers = cached_answers
    return answers


def _ask_documents(view: FilterView, leaf: DocumentLeaf, rows: Ints) -> Bools:
    if isinstance(leaf, DocumentContains):
        pks = _pks_containing(view, leaf.text, rows)
    else:
        holds = asking(leaf, leaf.test())
        row_pks = view.state.pks[rows]
        pieces = read_records(view.connection, "pk, document", row_pks, "AND document IS NOT NULL")
        pks = [pk for piece in pieces for pk, document in piece if holds(document)]
    mask = np.zeros(len(rows), np.bool_)
    mask[np.searchsorted(view.state.pks[rows], np.array(pks, np.int64))] = True
    return mask


def _pks_containing(view: FilterView, text: str, rows: Ints) -> list[int]:
    by_trigrams = _with_trigrams_of(view, text, len(rows))
    if by_trigrams is not None:
        rows = rows[by_trigrams[rows]]
        if view.remarks is not None:
            view.remarks.append(f"{shorten(text)}: {len(rows)} candidates by trigrams")
    if len(rows) == view.state.count:
        query = "SELECT pk FROM points WHERE instr(document, ?)"
        pieces = iter([select(view.connection, query, text)])
    else:
        pks = view.state.pks[rows]
        pieces = read_records(view.connection, "pk", pks, "AND instr(document, ?)", text)
    return [pk for piece in pieces for (pk,) in piece]


def is_listed(view: FilterView, leaf: DocumentLeaf) -> bool:
    """Whether there are lists of trigrams with which the few documents that may fulfil the
    condition can be found."""
    if view.state.count < TRIGRAMS_WORTH or not isinstance(leaf, DocumentContains):
        return False
    return _has_trigrams(leaf.text) and _has_trigram_lists(view)


def _has_trigrams(text: str) -> bool:
    """Whether a text is long enough to contain a trigram."""
    from retrieval_store.engine.text.inverted import trigrams_of

    return bool(trigrams_of(text))


def _has_trigram_lists(view: FilterView) -> bool:
    return view.caches.lists.has(TRIGRAMS, view.state.head.seq, len(view.state.pks))


def _with_trigrams_of(view: FilterView, text: str, count: int) -> Bools | None:
    """The rows whose documents may contain the text, according to the lists of trigrams. None if
    scanning `count` rows is as fast, or if there are no lists yet. Maintenance builds the lists
    after such conditions were used often enough."""
    if view.state.count < TRIGRAMS_WORTH or count < TRIGRAMS_WORTH // 10:
        return None
    from retrieval_store.engine.text.inverted import trigrams_of
    from retrieval_store.engine.text.ranking import rows_with_all

    caches, trigrams = view.caches, trigrams_of(text)
    if not trigrams:
        return None
    if not _has_trigram_lists(view):
        times = caches.lists.demand.spend(TRIGRAMS)
        if times > 1 or find(view.connection, file_key(TRIGRAMS)) is None:
            return None
    return rows_with_all(view, trigrams)
