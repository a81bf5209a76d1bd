"""Filters → masks: which rows of the state fulfil an expression.

What columns can answer is looked up in them. Where that leaves few points, these are looked at for
all that is left to be asked, before a column is built of all points: `Evaluation` does the same
with columns of these few alone. What only the document can answer is asked last.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from retrieval_store.base.arrays import Bools, Ints
from retrieval_store.engine.filtering.columns import (
    ColumnKey,
    Columns,
    column_mask,
    columns_at,
    columns_of_few,
    current_columns,
    note_use,
)
from retrieval_store.engine.filtering.documents import asking, holding, is_listed
from retrieval_store.engine.filtering.kept import KEYS_NOTED, FilterView
from retrieval_store.engine.state.state import rows_of
from retrieval_store.engine.storage.non_dense import read_blobs
from retrieval_store.engine.storage.records import read_records, read_values
from retrieval_store.engine.storage.schema import pks_of_ids, to_id
from retrieval_store.filters.expression import (
    And,
    AtLeast,
    DocumentLeaf,
    Expression,
    HasId,
    Not,
    Or,
    TypedLeaf,
    ValueLeaf,
    joined,
    walk,
)
from retrieval_store.filters.typed.columns import keys_of
from retrieval_store.filters.typed.points import HasVector, InSlice

# In the time in which one row is read into a column: what it costs to begin to look at points, what
# each of them costs, and how many rows a condition is looked up for.
BEGUN, LOOKED_AT, LOOKED_UP = 100, 1.5, 500


def matching(
    view: FilterView, expression: Expression | None, candidates: Bools | None = None
) -> Bools:
    """(rows,) True for the candidates that fulfil the expression; all do when it is None.
    candidates: living points, by default all."""
    candidates = view.state.alive if candidates is None else candidates
    if expression is None:
        return candidates
    return Evaluation(view, columns_at(view, _paths([expression]))).mask(expression, candidates)


def among(view: FilterView, expression: Expression, rows: Ints) -> Bools:
    """For each of these rows, ascending and of living points, whether it fulfils the expression."""
    paths, height = _paths([expression]), len(view.state.pks)
    columns = columns_at(view, paths)
    lacking = [path for path in paths if len(columns[path].stale)]
    if lacking:
        few = is_worth_looking(view, columns, lacking, len(rows))
    else:
        few = BEGUN + LOOKED_AT * len(rows) <= (1 + len(paths)) * height / LOOKED_UP
    if few:
        return look(view, expression, rows)
    candidates = np.zeros(height, np.bool_)
    candidates[rows] = True
    return Evaluation(view, columns).mask(expression, candidates)[rows]


def look(view: FilterView, expression: Expression, rows: Ints) -> Bools:
    """The same, by reading these points alone."""
    columns = columns_of_few(view, rows, [*_paths([expression])])
    return Evaluation(view, columns, rows).mask(expression, np.ones(len(rows), np.bool_))


def is_worth_looking(
    view: FilterView, columns: Columns, lacking: Sequence[ColumnKey], count: int
) -> bool:
    """Whether to look at so many points rather than to bring the columns that lack rows up to date;
    if so, that is noted. What looking has cost already counts with it: a key that is asked for
    again and again gets its column when a quarter as much was spent without it as building it
    takes, so that no filter takes much longer than if it had been built at once."""
    spent, price = view.kept.spent, BEGUN + LOOKED_AT * count
    building = sum(len(columns[path].stale) for path in lacking)
    if price + sum(spent.get(path, 0.0) for path in lacking) > building / 4:
        return False
    if len(spent) > KEYS_NOTED:
        spent.clear()
    for path in lacking:
        spent[path] = spent.get(path, 0.0) + price / len(lacking)
    key = ".".join(map(str, keys_of(lacking[0])))
    view.remarks.append(f"{count} points were read for {key!r}: the values of all aren't kept yet")
    return True


def split(view: FilterView, expression: Expression) -> tuple[Expression | None, Expression | None]:
    """The part of an expression that can be looked up as it is, and what must hold besides, for
    which points must be read."""
    terms = joined(expression.terms, negated=True) if isinstance(expression, And) else [expression]
    known, others = parted(view, columns_at(view, _paths(terms)), terms)
    return And(tuple(known)) if known else None, And(tuple(others)) if others else None


def parted(
    view: FilterView, columns: Columns, terms: Iterable[Expression]
) -> tuple[list[Expression], list[Expression]]:
    """The terms that can be looked up as they are, and those for which points must be read."""
    known: list[Expression] = []
    others: list[Expression] = []
    for term in terms:
        (others if _reads(view, columns, term) else known).append(term)
    return _documents_last(known), _documents_last(others)


def _reads(view: FilterView, columns: Columns, expression: Expression) -> bool:
    for node in walk(expression):
        if isinstance(node, ValueLeaf | TypedLeaf):
            if not _is_looked_up(node) or len(columns[_column(node)].stale):
                return True
        elif isinstance(node, DocumentLeaf) and not is_listed(view, node):
            return True
    return False


def _paths(terms: Iterable[Expression]) -> dict[ColumnKey, None]:
    """The columns in which something is looked up, each once, in their order."""
    nodes = (node for term in terms for node in walk(term))
    return {
        _column(node): None
        for node in nodes
        if isinstance(node, ValueLeaf | TypedLeaf) and _is_looked_up(node)
    }


def _column(node: ValueLeaf | TypedLeaf) -> ColumnKey:
    return node.at if isinstance(node, TypedLeaf) else node.path


def _is_simple(term: Expression) -> bool:
    """Whether it has no terms of its own, some of which may leave few points to the others."""
    while isinstance(term, Not):
        term = term.term
    return not isinstance(term, And | Or | AtLeast)


def _is_looked_up(node: ValueLeaf | TypedLeaf) -> bool:
    return type(node).found_in is not ValueLeaf.found_in


def _documents_last(terms: list[Expression]) -> list[Expression]:
    return sorted(terms, key=_reads_documents) if len(terms) > 1 else terms


def _reads_documents(expression: Expression) -> bool:
    return not isinstance(expression, ValueLeaf | TypedLeaf) and any(
        isinstance(node, DocumentLeaf) for node in walk(expression)
    )


class Evaluation:
    """Expressions asked of the points of a state, or of some of them. Masks are over these.

    columns: of all paths that are looked up, kept ones, which may lack rows; rows: of the points
    that are meant, None for all of the state.
    """

    def __init__(self, view: FilterView, columns: Columns, rows: Ints | None = None) -> None:
        self._view, self._columns, self._rows = view, columns, rows

    def mask(self, expression: Expression, candidates: Bools) -> Bools:
        """The candidates that fulfil the expression."""
        if isinstance(expression, And | Or | AtLeast):  # which part their own terms
            return self._of(expression, candidates)
        return self._left([expression], candidates, wanted=True)

    def _left(self, terms: Iterable[Expression], candidates: Bools, wanted: bool) -> Bools:
        """The candidates that fulfil all of the terms, or unless `wanted` none of them."""
        known, others = parted(self._view, self._columns, terms)
        for term in known:
            candidates = self._less(self._of(term, candidates), candidates, wanted)
        lacking = self._lacking(others)
        if lacking:
            count = int(np.count_nonzero(candidates))
            if is_worth_looking(self._view, self._columns, lacking, count):
                both = (And if wanted else Or)(tuple(others))
                return self._less(self._looked_at(both, candidates), candidates, wanted)
            if self._lacking(filter(_is_simple, others)):
                self._columns |= current_columns(self._view, self._columns)
        for term in others:
            candidates = self._less(self._of(term, candidates), candidates, wanted)
        return candidates

    def _lacking(self, terms: Iterable[Expression]) -> list[ColumnKey]:
        return [path for path in _paths(terms) if len(self._columns[path].stale)]

    def _less(self, found: Bools, candidates: Bools, wanted: bool) -> Bools:
        return found if wanted else candidates & ~found

    def _of(self, expression: Expression, candidates: Bools) -> Bools:
        match expression:
            case And(terms):
                return self._left(joined(terms, negated=True), candidates, wanted=True)
            case Or(terms):
                none = self._left(joined(terms, negated=False), candidates, wanted=False)
                return candidates & ~none
            case AtLeast(terms, count):
                votes = np.zeros(len(candidates), np.int32)
                for term in terms:
                    votes += self._left([term], candidates, wanted=True)
                return candidates & (votes >= count)
            case Not(term):
                return candidates & ~self._of(term, candidates)
            case ValueLeaf() | TypedLeaf():
                return self._of_value(expression, candidates)
            case HasVector(space):
                places = np.flatnonzero(candidates)
                has = rows_with_vector(self._view, space, self._at(places))
                return _marked(candidates, places, has)
            case InSlice():
                places = np.flatnonzero(candidates)
                return _marked(candidates, places, expression.of(self._ids(places)))
            case HasId(ids):
                return self._with_ids(ids, candidates)
            case DocumentLeaf():
                places = np.flatnonzero(candidates)
                return _marked(
                    candidates, places, holding(self._view, expression, self._at(places))
                )
        raise TypeError(f"no mask is defined for {expression!r}")

    def _looked_at(self, expression: Expression, candidates: Bools) -> Bools:
        places = np.flatnonzero(candidates)
        return _marked(candidates, places, look(self._view, expression, self._at(places)))

    def _of_value(self, leaf: ValueLeaf | TypedLeaf, candidates: Bools) -> Bools:
        mask = None
        if _is_looked_up(leaf):
            mask = column_mask(self._columns[_column(leaf)], leaf, len(candidates))
            if self._rows is None and isinstance(leaf, ValueLeaf):  # others have no files
                note_use(self._view, leaf.path)
        if mask is None:
            assert isinstance(leaf, ValueLeaf)
            return self._asked(leaf, candidates)
        mask &= candidates
        return mask

    def _asked(self, leaf: ValueLeaf, candidates: Bools) -> Bools:
        """The candidates of whose values the leaf holds, each of which is asked."""
        places = np.flatnonzero(candidates)
        pks = self._view.state.pks[self._at(places)]
        (values,) = read_values(self._view.connection, pks, [leaf.path])
        holds = asking(leaf, leaf.holds)
        return _marked(candidates, places, [bool(holds(value)) for value in values])

    def _with_ids(self, ids: Sequence[str | int], candidates: Bools) -> Bools:
        found = np.fromiter(pks_of_ids(self._view.connection, ids).values(), np.int64)
        pks = self._view.state.pks
        places = rows_of(pks if self._rows is None else pks[self._rows], found)
        return candidates & _marked(candidates, places[places >= 0], True)

    def _ids(self, places: Ints) -> list[int | str]:
        """The ids of the points at these places."""
        pieces = read_records(self._view.connection, "id", self._view.state.pks[self._at(places)])
        return [to_id(key) for piece in pieces for (key,) in piece]

    def _at(self, places: Ints) -> Ints:
        """The rows of the state at these places."""
        return places if self._rows is None else self._rows[places]


def rows_with_vector(view: FilterView, space: str, rows: Ints) -> Bools:
    """For each of these rows whether the point has a vector in the space."""
    if space in view.state.non_dense:
        pks = view.state.pks[rows]
        found = [pk for pk, _ in read_blobs(view.connection, view.state.non_dense[space], pks)]
        return np.isin(pks, np.array(found, np.int64))
    state = view.state.spaces.get(space)
    has: Bools = np.zeros(len(rows), np.bool_) if state is None else state.slot_of_row[rows] >= 0
    return has


def _marked(like: Bools, places: Ints, found: Bools | Sequence[bool] | bool) -> Bools:
    """A mask as long as another, with what was found at the places."""
    mask = np.zeros_like(like)
    mask[places] = found
    return mask
