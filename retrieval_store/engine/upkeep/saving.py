"""Saving what can be made again: indexes, the state, lists of words and trigrams, and columns."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import apsw

from retrieval_store.engine.access import Access
from retrieval_store.engine.database.failures import translated
from retrieval_store.engine.filtering import column_files, columns
from retrieval_store.engine.memory import CachedState
from retrieval_store.engine.nearest.context import Caches, SearchView
from retrieval_store.engine.nearest.indexing import SpaceIndex
from retrieval_store.engine.state import array_files, state_files
from retrieval_store.engine.state.layers import Layers
from retrieval_store.engine.state.state import State, is_worth_a_file
from retrieval_store.engine.storage import derived
from retrieval_store.engine.storage.log import LOG_PKS, LOG_WRITES, Write, read_changes
from retrieval_store.engine.storage.records import read_values
from retrieval_store.engine.storage.schema import LISTED, PAYLOAD, Head
from retrieval_store.engine.words import kept as words
from retrieval_store.engine.words.cache import TRIGRAMS, ListKey, file_key
from retrieval_store.engine.words.kept import GoingOn, lists_for, pure, renewed
from retrieval_store.engine.words.list_files import write as write_lists
from retrieval_store.engine.words.lists import Lists
from retrieval_store.filters.paths import PayloadPath, Steps

GROWTH_TO_SAVE = 0.1
# Bytes of lists that are written, and points whose documents are read for it, while a caller waits
# for a store to close: a tenth of a second. More is left to the next process, which builds it, or
# catches up from an older file.
CLOSING_BYTES, CLOSING_POINTS = 32 << 20, 10_000
CLOSING_STATE = 500_000  # points, whose state is written then
MOST_COLUMNS, MOST_BYTES = 32, 256 << 20  # of columns of one collection, in files
LOG_LEFT = 0.5  # of what the change log holds: where more was written a state is saved again …
STATE_PAUSE = 50  # … but no sooner than after so many times as long as that took


def _nothing() -> None:
    """Saving may go on."""


def save_index(points: Access, name: str, growth: float) -> None:
    """Save the index of a space if it has grown by more than this share since; only the one process
    that does maintenance may."""
    cached = points.cached()
    if name not in cached.kept.spaces or points.directory is None:
        return
    index = cached.kept.spaces[name].index
    save = partial(_save_grown, points, points.directory, index, cached.state.head.seq, growth)
    if index.filling.take(save):
        sweep(points)


def _save_grown(
    points: Access, directory: Path, index: SpaceIndex, seq: int, growth: float
) -> bool:
    if index.covered - index.saved <= growth * index.covered:
        return False
    with translated(directory):
        made = derived.write_file(directory, index.key, index.save, seq)
    points.write(lambda write: derived.record(write.connection, made))
    index.saved = made.covered
    return True


def save_state(
    points: Access, going_on: GoingOn = _nothing, every: bool = False, most: int | None = None
) -> None:
    """Save the state of a large collection if enough has changed since it was saved, or `every`
    change counts; unless there are more than `most` points. Only the one process that does
    maintenance may. going_on: called now and then; it may raise."""
    known = points.memory.state_file
    if points.directory is None or (time.monotonic() < known.rests_until and not every):
        return

    def wanted(view: SearchView) -> State | None:
        count = view.state.count
        few = not is_worth_a_file(count) or (most is not None and count > most)
        if few or not _state_has_changed(view, known.rejected, every):
            return None
        # What one file says isn't written to the next: if it was false, that ends here.
        return view.state if view.state.mapped is None else points.state_in_database(view)

    began, state = time.monotonic(), points.read(wanted)
    if state is not None:
        _write_state(points, points.directory, state, going_on)
        known.rejected = False
        known.rests_until = time.monotonic() + STATE_PAUSE * (time.monotonic() - began)


def save_small_state(points: Access) -> None:
    """Save it if that takes a moment."""
    save_state(points, most=CLOSING_STATE)


def _write_state(points: Access, directory: Path, state: State, going_on: GoingOn) -> None:
    with translated(directory):
        fill = partial(state_files.write, state=state, going_on=going_on)
        key = state_files.file_key(state.head.generation)
        made = derived.write_file(directory, key, fill, state.head.seq)
    points.write(lambda write: derived.record(write.connection, made))
    sweep(points)


def _state_has_changed(view: SearchView, rejected: bool, every: bool) -> bool:
    """Whether so much was written since it was saved that to follow takes long, or that the change
    log may not reach back so far for long."""
    head = view.state.head
    key = state_files.file_key(head.generation)
    known = derived.find(view.connection, key)
    if known is None or every or head.seq - known.seq > LOG_LEFT * LOG_WRITES:
        return known is None or head.seq != known.seq or rejected
    most = min(GROWTH_TO_SAVE * view.state.count, LOG_LEFT * LOG_PKS)
    return changed_since_saved(view, key, None, rejected) > most


def build_lists(points: Access) -> None:
    """Build the lists that filters have asked for often enough."""

    def build(view: SearchView) -> None:
        if TRIGRAMS in view.kept.lists.demand.wanted():
            lists_for(view, TRIGRAMS)

    points.read(build)


def save_lists(points: Access, going_on: GoingOn) -> None:
    """Save the lists of words and trigrams that have grown enough since; only the one process that
    does maintenance may. What has been deleted or replaced goes from a file when it is written.
    going_on: called now and then; it may raise."""
    for key in worth_saving(points.cached()):
        # Of each a look of its own, since writing one takes a while.
        if points.read(partial(_has_grown, key=key)):
            save_list(points, key, going_on)
    sweep(points)


def save_small_lists(points: Access) -> None:
    """Save those of them that are written in a moment."""
    for key in worth_saving(points.cached()):
        if points.read(partial(_is_small, key=key)) and points.read(partial(_has_grown, key=key)):
            save_list(points, key)
    sweep(points)


def worth_saving(cached: CachedState) -> list[ListKey]:
    """The lists that should have files: of words only those of the analyzer used last."""
    if cached.state.count < words.LISTS_WORTH:
        return []
    held: list[ListKey] = cached.kept.lists.held()
    of_words = [key for key in held if key[0] == "words"]
    return [key for key in held if key[0] != "words" or key == of_words[-1]]


def _is_small(view: SearchView, key: ListKey) -> bool:
    held = pure(view, key)
    if held is None:
        return view.state.count <= CLOSING_POINTS
    return sum(segment.nbytes for segment in held.segments) <= CLOSING_BYTES


def _has_grown(view: SearchView, key: ListKey) -> bool:
    rejected = key in view.kept.lists.demand.rejected
    changed = changed_since_saved(view, file_key(key), LISTED, rejected)
    return changed > GROWTH_TO_SAVE * view.state.count


def changed_since_saved(view: SearchView, key: str, parts: int | None, rejected: bool) -> int:
    """Of how many points such parts, or any, have been written since the file of this key was; all,
    if it is of no use."""
    known = derived.find(view.connection, key)
    floor = view.state.head.log_floor
    if known is None or known.seq < floor or rejected:
        return view.state.count
    changed = len(read_changes(view.connection, known.seq).of(parts))
    return changed + view.state.head.next_pk - known.covered


def save_list(points: Access, key: ListKey, going_on: GoingOn = _nothing) -> None:
    """Save lists as they are held, if nothing of what was deleted or replaced is in them; else made
    anew. going_on: called now and then; it may raise."""
    if points.directory is None:
        return

    def current(view: SearchView) -> tuple[Layers[Lists], State, Caches]:
        return pure(view, key) or renewed(view, key, going_on), view.state, view.kept

    layers, state, kept = points.read(current)
    with translated(points.directory):
        fill = partial(write_lists, key=key, layers=layers, state=state, going_on=going_on)
        made = derived.write_file(points.directory, file_key(key), fill, state.head.seq)
    points.write(lambda write: derived.record(write.connection, made))
    kept.lists.demand.rejected.discard(key)
    kept.lists.unmap([key])  # of the file before


def save_columns(points: Access, going_on: GoingOn, before: Sequence[PayloadPath] = ()) -> None:
    """Save the columns that were used more than once, and of which enough has changed since they
    were saved, the last used first, as far as there is room; only the one process that does
    maintenance may. What has been deleted or replaced goes from a file when it is written.
    going_on: called now and then; it may raise; before: the paths of those that were used before
    compaction, which lets go of what is in memory."""
    if points.directory is None:
        return
    for path in dict.fromkeys([*points.read(columns_worth_saving), *before][:MOST_COLUMNS]):
        going_on()
        if points.read(partial(_column_has_grown, path=path)):
            save_column(points, path)
    if len(points.read(lambda view: _column_files(view.connection))) > MOST_COLUMNS:
        points.write(_forget_those_beyond)
    sweep(points)


def columns_worth_saving(view: SearchView) -> list[PayloadPath]:
    """Those of the columns in memory that were used more than once, or that have a file."""
    if view.state.count < columns.COLUMNS_WORTH:
        return []
    uses, files = view.kept.uses, {made.key for made in _column_files(view.connection)}
    held = (column.path for column in reversed(view.kept.columns.held()))
    paths = dict.fromkeys(path for path in held if not isinstance(path, Steps))
    possible = filter(column_files.may_have_file, paths)  # of those that can have any
    return [
        path
        for path in possible
        if uses.get(path, 0) >= columns.USES_WORTH or column_files.file_key(path) in files
    ][:MOST_COLUMNS]


def _column_has_grown(view: SearchView, path: PayloadPath) -> bool:
    rejected = path in view.kept.columns.demand.rejected
    changed = changed_since_saved(view, column_files.file_key(path), PAYLOAD, rejected)
    return changed > GROWTH_TO_SAVE * view.state.count


def save_column(points: Access, path: PayloadPath) -> bool:
    """Save the columns of a path, unless there is no room; returns whether it was
    done. The values are read again, so that those of the living points alone are in the file."""
    assert points.directory is not None
    key = column_files.file_key(path)

    def encoded(view: SearchView) -> tuple[list[bytes], Head, int]:
        pks = view.state.pks[view.state.alive]
        (values,) = read_values(view.connection, pks, [path])
        others = [f.size for f in _column_files(view.connection) if f.key != key]
        return column_files.encoded(path, pks, values), view.state.head, MOST_BYTES - sum(others)

    content, head, room = points.read(encoded)
    if sum(map(len, content)) > room:
        return False
    with translated(points.directory):
        fill = partial(_fill, content=content, covered=head.next_pk)
        made = derived.write_file(points.directory, key, fill, head.seq)
    points.write(lambda write: derived.record(write.connection, made))
    kept = points.cached().kept.columns
    kept.demand.rejected.discard(path)
    kept.unmap(column_files.columns_of(path))  # of the file before
    return True


def _fill(file: Path, content: list[bytes], covered: int) -> int:
    array_files.write(file, iter(content), _nothing)
    return covered


def _column_files(connection: apsw.Connection) -> list[derived.DerivedFile]:
    return derived.find_all(connection, column_files.KIND)


def _forget_those_beyond(write: Write) -> None:
    """Drop the records of the oldest where there are too many."""
    files = sorted(_column_files(write.connection), key=lambda file: -file.seq)
    derived.forget(write.connection, [file.key for file in files[MOST_COLUMNS:]])


def sweep(points: Access) -> None:
    """Remove the derived files that no record names."""
    if points.directory is not None:
        files = points.read(lambda view: derived.all_files(view.connection))
        with translated(points.directory):
            derived.sweep(points.directory, files)
