"""Inverted lists, columns and states in files, compared with what the points themselves say.

Lists and columns are made again, block by block, and must be equal; a state must be the one that
the database and its change log lead to. Points that a reader of the file reads again anyway, since
they were written after it, are left out.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from retrieval_store.base.arrays import Bools, Ints, Matrix
from retrieval_store.base.dataclasses import replace
from retrieval_store.engine.database.failures import CORRUPTION_ERRORS
from retrieval_store.engine.filtering import column_files
from retrieval_store.engine.filtering.column_files import SavedColumns
from retrieval_store.engine.filtering.kept import FilterView
from retrieval_store.engine.filtering.postings import Postings
from retrieval_store.engine.filtering.segments import ValueSegment, build_segment
from retrieval_store.engine.state import state_files
from retrieval_store.engine.state.layers import Layers
from retrieval_store.engine.state.saved import OutdatedError
from retrieval_store.engine.state.state import NONE, AnyView, SpaceState, State, caught_up
from retrieval_store.engine.storage.derived import DerivedFile, forged_file_error, path_of
from retrieval_store.engine.storage.records import read_values
from retrieval_store.engine.storage.vectors import OpenVectors
from retrieval_store.engine.words import list_files
from retrieval_store.engine.words.cache import ListKey, file_key
from retrieval_store.engine.words.kept import in_pieces
from retrieval_store.engine.words.lists import Lists
from retrieval_store.engine.words.vocabulary import Vocabulary

POSTINGS_AT_ONCE = 4_000_000
VALUES_AT_ONCE = 20_000


def refuse_false_lists(view: AnyView, key: ListKey, made: DerivedFile) -> None:
    """Raise DamagedError unless the file, whose checksum is right, says of the points what they
    say themselves."""
    head, directory = view.state.head, view.directory
    assert directory is not None
    path = path_of(directory, made)
    if made.seq < head.log_floor:
        return  # nothing tells any more what has changed since, so it isn't used
    try:
        _refuse_later(view, made)
        if file_key(list_files.key_in(path)) != made.key:
            raise ValueError("it is recorded as lists of something else")
        _refuse_other_lists(view, key, list_files.read(path, view, made.seq, made.covered))
    except OutdatedError:
        return  # so it isn't used
    except CORRUPTION_ERRORS as error:
        raise forged_file_error(path, error) from error


def refuse_false_column(view: FilterView, made: DerivedFile) -> None:
    """The same of a column."""
    directory = view.directory
    assert directory is not None
    file = path_of(directory, made)
    if made.seq < view.state.head.log_floor:
        return
    try:
        _refuse_later(view, made)
        told = column_files.read(file, view, made.seq, made.covered)
        if column_files.file_key(told.path) != made.key:
            raise ValueError("it is recorded as the column of another key")
        _refuse_other_values(view, told)
    except OutdatedError:
        return
    except CORRUPTION_ERRORS as error:
        raise forged_file_error(file, error) from error


def _refuse_later(view: AnyView, made: DerivedFile) -> None:
    if made.seq > view.state.head.seq or made.covered > view.state.head.next_pk:
        raise ValueError("it claims to know of writes that never were")


def _refuse_other_values(view: FilterView, told: SavedColumns) -> None:
    """Raise ValueError unless a file has of the points, block by block, exactly the postings that
    are made of their payloads."""
    decided = _decided(view, told.stale)
    covered = np.zeros_like(decided)
    covered[told.by_column[column_files.columns_of(told.path)[0]].rows] = True
    if (decided & ~covered).any():
        raise ValueError("it says nothing of some points")
    pairs = {column: _pairs(one.values, decided) for column, one in told.by_column.items()}
    rows = np.flatnonzero(decided)
    for start in range(0, len(rows), VALUES_AT_ONCE):
        some = rows[start : start + VALUES_AT_ONCE]
        (values,) = read_values(view.connection, view.state.pks[some], [told.path])
        for column, segment in told.by_column.items():
            true = build_segment(column, some, values)
            assert isinstance(true, ValueSegment)
            found = _pairs(true.values, decided)
            found[1] = _numbers_among(segment.values, true.values)[found[1]]
            first, stop = np.searchsorted(pairs[column][0], [some[0], some[-1] + 1]).tolist()
            if not np.array_equal(_in_order(found), pairs[column][:, first:stop]):
                raise ValueError(
                    f"of the rows {some[0]} to {some[-1]} it says what they don't hold"
                )


def _pairs(postings: Postings, decided: Bools) -> Ints:
    """(2, n) the rows, of those that count, that have values, and the numbers of these; by row."""
    groups = postings.groups
    numbers = np.repeat(np.arange(len(groups.offsets) - 1), np.diff(groups.offsets))
    return _in_order(np.stack([groups.rows, numbers])[:, decided[groups.rows]])


def _in_order(pairs: Ints) -> Ints:
    return pairs[:, np.lexsort((pairs[1], pairs[0]))]


def _numbers_among(told: Postings, true: Postings) -> Ints:
    """For each of the scalars the number that a file gives it, -1 for one that it hasn't. Numbers
    of other types differ, as 1, 1.0 and true do."""
    found = [told.texts.get(text, -1) for text in true.texts]
    by_type = {part.values.dtype: part for part in told.numbers}
    for part in true.numbers:
        there = by_type.get(part.values.dtype)
        known: dict[Any, int] = {}
        if there is not None:
            known = {value: there.first + i for i, value in enumerate(there.values.tolist())}
        found += [known.get(value, -1) for value in part.values.tolist()]
    return np.array([*found, told.false, told.false + 1], np.int64)


def _decided(view: AnyView, stale: Ints) -> Bools:
    """(rows,) of which points a file decides what is found: those that are read again anyway are
    left out."""
    decided = view.state.alive.copy()
    decided[stale] = False
    return decided


def _refuse_other_lists(view: AnyView, key: ListKey, layers: Layers[Lists]) -> None:
    decided = _decided(view, layers.stale)
    uppermost = np.full(len(decided), -1)
    segments = [*map(_in_good_order, layers.segments)]
    for number, segment in enumerate(segments):
        uppermost[segment.rows] = number
    if (uppermost[decided] < 0).any():
        raise ValueError("it says nothing of some points")
    for number, segment in enumerate(segments):
        rows = np.flatnonzero(decided & (uppermost == number))
        for some in _by_postings(segment, rows):
            _refuse_other_postings(view, key, segment, some)


def _by_postings(segment: Lists, rows: Ints) -> Iterator[Ints]:
    """The rows, as many at a time as have so many postings, or one."""
    counts = np.bincount(segment.owners, minlength=int(rows.max(initial=-1)) + 1)
    ends = np.cumsum(counts[rows]) // POSTINGS_AT_ONCE
    yield from np.split(rows, np.flatnonzero(np.diff(ends)) + 1)


def _refuse_other_postings(view: AnyView, key: ListKey, segment: Lists, rows: Ints) -> None:
    """Raise ValueError unless the segment has of these rows exactly the postings and sizes that
    lists of the same points have, made again."""
    told = _postings(segment, np.arange(len(segment.offsets) - 1), rows)
    for piece in in_pieces(view, key, rows):
        if not len(piece.rows):
            continue
        true = _postings(piece, _numbers_in(segment, piece), piece.rows)
        first, stop = np.searchsorted(told[0], [piece.rows[0], piece.rows[-1] + 1]).tolist()
        same = np.array_equal(told[:, first:stop], true)
        if not same or not np.array_equal(_sizes(segment, piece.rows), _sizes(piece, piece.rows)):
            rows_told = f"{piece.rows[0]} to {piece.rows[-1]}"
            raise ValueError(f"of some of the rows {rows_told} it says what they don't hold")


def _postings(lists: Lists, numbers: Ints, rows: Ints) -> Ints:
    """(3, n) the postings of some rows, by row and then term: the rows, the numbers that stand for
    the terms, and the bits of the weights, of NaN (which no file has) where there are none.
    numbers: (t,) of each term of the lists."""
    wanted: Bools = np.zeros(max(rows.max(initial=-1), lists.owners.max(initial=-1)) + 1, np.bool_)
    wanted[rows] = True
    parts = [
        start + np.flatnonzero(wanted[lists.owners[start : start + POSTINGS_AT_ONCE]])
        for start in range(0, max(1, len(lists.owners)), POSTINGS_AT_ONCE)
    ]
    places = np.concatenate(parts)
    owners, terms = (
        lists.owners[places],
        numbers[np.searchsorted(lists.offsets, places, "right") - 1],
    )
    weights = lists.weights[places] if len(lists.weights) else np.full(len(places), np.nan)
    found = np.stack([owners, terms, weights.astype(np.float32).view(np.uint32)], dtype=np.int64)
    return found[:, np.lexsort((terms, owners))]


def _numbers_in(segment: Lists, piece: Lists) -> Ints:
    """For each term of the piece its number in the segment, -1 for one that isn't there."""
    if piece.codes is not None:
        codes = segment.codes or {}
        return np.array([codes.get(word, -1) for word in piece.codes], np.int64)
    if segment.codes is not None or not len(segment.terms):
        return np.full(len(piece.terms), -1)
    places = np.minimum(np.searchsorted(segment.terms, piece.terms), len(segment.terms) - 1)
    return np.where(segment.terms[places] == piece.terms, places, -1)


def _sizes(lists: Lists, rows: Ints) -> Matrix:
    """How many words each of the rows has; none for lists that don't tell."""
    return lists.sizes[np.searchsorted(lists.rows, rows)] if len(lists.sizes) else lists.sizes


def _in_good_order(lists: Lists) -> Lists:
    """The same lists, of whose words a dict is made, since all are looked up; ValueError where a
    reader would be misled by the order of what it looks at."""
    starts: Bools = np.zeros(len(lists.owners) + 1, np.bool_)
    starts[lists.offsets] = True
    ascending = starts[1:-1] | (np.diff(lists.owners) > 0)
    if not ascending.all():
        raise ValueError("its lists are out of order")
    if (np.diff(lists.terms) <= 0).any():
        raise ValueError("its terms are out of order")
    if isinstance(lists.codes, Vocabulary):
        lists.codes.refuse_disorder()
        return replace(lists, codes={word: code for code, word in enumerate(lists.codes)})
    return lists


def refuse_false_state(view: AnyView, open_vectors: OpenVectors, made: DerivedFile) -> None:
    """Raise DamagedError unless what the file, whose checksum is right, and the change log say
    together is what the state of the view says, which is the database's own."""
    connection, true = view.connection, view.state
    assert view.directory is not None
    path = path_of(view.directory, made)
    try:
        told = state_files.read(path, made, connection, true.head, open_vectors)
        told = caught_up(told, connection, true.head, open_vectors).state
        if not np.array_equal(told.pks[told.alive], true.pks):
            raise ValueError("it knows other points")
        for name, space in true.spaces.items():
            if name not in told.spaces or not _are_same(told, told.spaces[name], true, space):
                raise ValueError(f"in vector space {name!r} it says what isn't so")
    except OutdatedError:
        return  # so it isn't used
    except CORRUPTION_ERRORS as error:
        raise forged_file_error(path, error) from error


def _are_same(told: State, found: SpaceState, true: State, space: SpaceState) -> bool:
    """Whether two states say the same of a vector space, though they may number rows otherwise."""
    return (
        np.array_equal(_owners(told, found), _owners(true, space))
        and np.array_equal(found.slot_of_row.whole()[told.alive], space.slot_of_row.whole())
        and np.array_equal(found.checksums, space.checksums)
    )


def _owners(state: State, space: SpaceState) -> Ints:
    """The pk that owns each slot, -1 for dead ones."""
    rows = space.row_of_slot.whole()
    owners = np.full(len(rows), NONE, np.int64)
    owners[rows >= 0] = state.pks[rows[rows >= 0]]
    return owners
