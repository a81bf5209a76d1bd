"""Points in the order of their ids: integers, ascending, and then strings, by their bytes.

SQLite's index of ids has that order. It is walked along where points are wanted that are many among
those on the way; where they are few, their ids are read and put in order.
"""

from collections.abc import Iterator

import apsw
import numpy as np

from retrieval_store.base.arrays import Bools, Ints
from retrieval_store.engine.database.transactions import select
from retrieval_store.engine.filtering.allowed import key_of
from retrieval_store.engine.filtering.kept import FilterView
from retrieval_store.engine.filtering.masks import among, matching, split
from retrieval_store.engine.filtering.selecting import FOLLOWED, allowed_by
from retrieval_store.engine.state.state import rows_of
from retrieval_store.engine.storage.schema import to_key
from retrieval_store.filters.nodes import Expression
from retrieval_store.query.types import PointId

FIRST_STEPS, MOST_STEPS = 256, 65_536  # of the index, that are walked at once
MOST = 2**63 - 1  # points that SQLite can be asked for
READ = 4.0  # what it costs to read an id and put it in its place, against one step in the index


def page(
    view: FilterView, expression: Expression | None, start: PointId | None, limit: int | None
) -> Ints:
    """Rows of the points that fulfil the expression, in the order of their ids from `start` on, at
    most `limit` of them."""
    limit = None if limit is None else min(limit, MOST)
    if expression is None:
        return _rows(view, _ids_from(view.connection, start, limit))
    if limit is None or _is_known(view, expression):
        allowed = allowed_by(view, expression)
        if allowed.mask is None:
            return page(view, None, start, limit)
        return _allowed(view, allowed.mask, allowed.count, start, limit)
    known, others = split(view, expression)
    return _asked(view, matching(view, known), others, start, limit)


def _is_known(view: FilterView, expression: Expression) -> bool:
    """Whether what the expression allows is kept, or can be looked up."""
    kept, stale = view.kept.allowed.at(key_of(expression), view.state)
    return (kept is not None and len(stale) <= FOLLOWED) or split(view, expression)[1] is None


def _allowed(
    view: FilterView, mask: Bools, count: int, start: PointId | None, limit: int | None
) -> Ints:
    """The first of the rows of a mask, of which there are so many."""
    wanted = count if limit is None else min(limit, count)
    steps = wanted * view.state.count // max(1, count)
    if steps > READ * count:
        return _rows(view, _sorted(view.connection, view.state.pks[mask], start, limit))
    return _gathered((rows[mask[rows]] for rows in _walk(view, start, steps)), wanted)


def _asked(
    view: FilterView,
    candidates: Bools,
    others: Expression | None,
    start: PointId | None,
    limit: int,
) -> Ints:
    """The first candidates that fulfil what must be asked of points."""

    def holding(rows: Ints) -> Ints:
        rows = rows[candidates[rows]]
        if others is None or not len(rows):
            return rows
        order = np.argsort(rows)
        holds = np.empty(len(rows), np.bool_)
        holds[order] = among(view, others, rows[order])
        return rows[holds]

    return _gathered(map(holding, _walk(view, start, limit)), limit)


def _gathered(pieces: Iterator[Ints], wanted: int) -> Ints:
    """The first so many of all pieces, of which no more are made than it takes."""
    found, count = [np.empty(0, np.int64)], 0
    while count < wanted and (rows := next(pieces, None)) is not None:
        found.append(rows)
        count += len(rows)
    return np.concatenate(found)[:wanted]


def _walk(view: FilterView, start: PointId | None, steps: int) -> Iterator[Ints]:
    """The rows of all points from `start` on, the next twice as many each time, beginning with
    about so many."""
    steps = max(FIRST_STEPS, min(steps, MOST_STEPS))
    pks = _ids_from(view.connection, start, steps)
    while len(pks):
        yield _rows(view, pks)
        steps = min(2 * steps, MOST_STEPS)
        query = """SELECT pk FROM points WHERE id > (SELECT id FROM points WHERE pk = ?)
                   ORDER BY id LIMIT ?"""
        pks = _pks(select(view.connection, query, int(pks[-1]), steps))


def _ids_from(connection: apsw.Connection, start: PointId | None, limit: int | None) -> Ints:
    """The pks of points by the index of ids."""
    limit = -1 if limit is None else limit
    if start is None:
        return _pks(select(connection, "SELECT pk FROM points ORDER BY id LIMIT ?", limit))
    query = "SELECT pk FROM points WHERE id >= ? ORDER BY id LIMIT ?"
    return _pks(select(connection, query, to_key(start), limit))


def _sorted(
    connection: apsw.Connection, pks: Ints, start: PointId | None, limit: int | None
) -> Ints:
    """The first of these pks in the order of their ids."""
    query = "SELECT pk FROM carray(?) CROSS JOIN points ON pk = value"
    begin = () if start is None else (to_key(start),)
    condition = "" if start is None else "WHERE id >= ?"
    most = -1 if limit is None else limit
    some = apsw.carray(np.ascontiguousarray(pks))
    return _pks(select(connection, f"{query} {condition} ORDER BY id LIMIT ?", some, *begin, most))


def _pks(records: list[tuple[int]]) -> Ints:
    return np.fromiter((pk for (pk,) in records), np.int64, len(records))


def _rows(view: FilterView, pks: Ints) -> Ints:
    return rows_of(view.state.pks, pks)
