"""Filters → masks: which rows of the state fulfil an expression.

What columns can answer is looked up in them. What only the document can answer is asked last, and
only of the points that the rest of the filter leaves.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from itertools import compress
from typing import Any, TypeAlias, TypeGuard

import numpy as np

from retrieval_store.base.arrays import Bools, Ints
from retrieval_store.engine.database.transactions import select
from retrieval_store.engine.filtering.columns import Column, Segment, build_segment, column_mask
from retrieval_store.engine.filtering.kept import FilterView
from retrieval_store.engine.state.layers import plan_refresh, refreshed
from retrieval_store.engine.state.state import rows_of
from retrieval_store.engine.storage.derived import find
from retrieval_store.engine.storage.records import read_records, read_values
from retrieval_store.engine.storage.schema import pks_of_ids
from retrieval_store.engine.words.kept import TRIGRAMS, file_key
from retrieval_store.engine.words.lists import trigrams_of
from retrieval_store.engine.words.ranked import rows_with_all
from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.expression import (
    NODES,
    And,
    DocumentContains,
    DocumentLeaf,
    Expression,
    HasId,
    Not,
    Or,
    PayloadPath,
    ValueLeaf,
    joined,
    walk,
)

TRIGRAMS_WORTH = 20_000  # documents; fewer are looked at in two milliseconds
Columns: TypeAlias = Mapping[PayloadPath, Column]


def matching(view: FilterView, expression: Expression | None) -> Bools:
    """(rows,) True for the living points that fulfil the expression; all do when it is None."""
    if expression is None:
        return view.state.alive
    paths = {node.path for node in walk(expression) if _is_looked_up(node)}
    columns = _columns(view, paths) if paths else {}
    return _mask(view, columns, expression, view.state.alive)


def _mask(view: FilterView, columns: Columns, expression: Expression, candidates: Bools) -> Bools:
    """The candidates that fulfil the expression."""
    match expression:
        case And(terms):
            for term in sorted(joined(terms, negated=True), key=_reads_documents):
                candidates = _mask(view, columns, term, candidates)
            return candidates
        case Or(terms):
            found = np.zeros_like(candidates)
            for term in sorted(joined(terms, negated=False), key=_reads_documents):
                found |= _mask(view, columns, term, candidates & ~found)
            return found
        case Not(term):
            return candidates & ~_mask(view, columns, term, candidates)
        case ValueLeaf():
            return _of_leaf(view, columns, expression, candidates)
        case HasId(ids):
            pks = np.fromiter(pks_of_ids(view.connection, ids).values(), np.int64)
        case DocumentContains(text):
            pks = _pks_containing(view, text, candidates)
        case DocumentLeaf():
            pks = _pks_holding(view, expression, candidates)
        case _:
            raise TypeError(f"no mask is defined for {expression!r}")
    mask = np.zeros_like(candidates)
    mask[rows_of(view.state.pks, pks)] = True
    mask &= candidates
    return mask


def _of_leaf(view: FilterView, columns: Columns, leaf: ValueLeaf, candidates: Bools) -> Bools:
    mask = None
    if _is_looked_up(leaf):
        mask = column_mask(columns[leaf.path], leaf, len(candidates))
    if mask is None:
        return _holding(view, leaf, candidates)
    mask &= candidates
    return mask


def _is_looked_up(node: Expression) -> TypeGuard[ValueLeaf]:
    return isinstance(node, ValueLeaf) and type(node).found_in is not ValueLeaf.found_in


def _reads_documents(expression: Expression) -> bool:
    return not isinstance(expression, ValueLeaf) and any(
        isinstance(node, DocumentLeaf) for node in walk(expression)
    )


def _pks_containing(view: FilterView, text: str, candidates: Bools) -> Ints:
    by_trigrams = _with_trigrams_of(view, text)
    if by_trigrams is not None:
        candidates = candidates & by_trigrams
        view.remarks.append(f"{text!r}: {np.count_nonzero(candidates)} candidates by trigrams")
    if np.count_nonzero(candidates) == view.state.count:
        query = "SELECT pk FROM points WHERE instr(document, ?)"
        pieces = iter([select(view.connection, query, text)])
    else:
        pks = view.state.pks[candidates]
        pieces = read_records(view.connection, "pk", pks, "AND instr(document, ?)", text)
    return np.array([pk for piece in pieces for (pk,) in piece], np.int64)


def _with_trigrams_of(view: FilterView, text: str) -> Bools | None:
    """Rows whose documents may contain the text; None when looking at all of them is as well, or
    there are no lists of trigrams yet: they are built when they are wanted often enough."""
    state, kept, trigrams = view.state, view.kept, trigrams_of(text)
    if state.count < TRIGRAMS_WORTH or not trigrams:
        return None
    if not kept.lists.has(TRIGRAMS, state.head.seq, len(state.pks)):
        times = kept.lists.ask(TRIGRAMS)
        if times > 1 or find(view.connection, file_key(TRIGRAMS)) is None:
            return None
    return rows_with_all(view, trigrams)


def _pks_holding(view: FilterView, leaf: DocumentLeaf, candidates: Bools) -> Ints:
    holds, pks = _asking(leaf, leaf.test()), view.state.pks[candidates]
    pieces = read_records(view.connection, "pk, document", pks, "AND document IS NOT NULL")
    found = [pk for piece in pieces for pk, document in piece if holds(document)]
    return np.array(found, np.int64)


def _holding(view: FilterView, leaf: ValueLeaf, candidates: Bools) -> Bools:
    """The candidates of whose values the leaf holds, each of which is asked."""
    rows, mask = np.flatnonzero(candidates), np.zeros_like(candidates)
    (values,) = read_values(view.connection, view.state.pks[rows], [leaf.path])
    holds = _asking(leaf, leaf.holds)
    mask[rows] = [holds(value) for value in values]
    return mask


def _asking(leaf: Expression, ask: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Asks, and tells errors of nodes of a user's own as such: others are of what is stored."""
    if type(leaf) in NODES:
        return ask

    def asked(about: Any) -> Any:
        try:
            return ask(about)
        except Exception as error:
            raise InvalidFilterError(f"{type(leaf).__name__} in the filter: {error!r}") from error

    return asked


def _columns(view: FilterView, paths: set[PayloadPath]) -> Columns:
    """The columns of these paths, with nothing stale."""
    cache, seq, rows = view.kept.columns, view.state.head.seq, len(view.state.pks)
    columns = {path: cache.at(path, seq, rows) for path in paths}
    if not any(len(column.stale) for column in columns.values()):
        return columns
    with cache.refreshing:  # the threads that wait for it find the columns made
        columns = {path: cache.at(path, seq, rows) for path in paths}
        plans = {path: plan_refresh(c, rows) for path, c in columns.items() if len(c.stale)}
        for path, segment in _read_segments(
            view, {p: lacking for p, (_, lacking) in plans.items()}
        ):
            columns[path] = refreshed(columns[path], plans[path][0], segment)
            cache.keep(path, seq, columns[path])
    return columns


def _read_segments(
    view: FilterView, lacking: Mapping[PayloadPath, Ints]
) -> Iterator[tuple[PayloadPath, Segment]]:
    """For each path a segment of the rows that it lacks. Payloads are read once for all of them: to
    look for one key more is next to nothing."""
    every = reduce(np.union1d, lacking.values())
    every = every[view.state.alive[every]]
    found = read_values(view.connection, view.state.pks[every], [*lacking])
    for (path, wanted), values in zip(lacking.items(), found, strict=True):
        if len(wanted) < len(every):
            its = np.isin(every, wanted)
            yield path, build_segment(every[its], [*compress(values, its)])
        else:
            yield path, build_segment(every, values)
