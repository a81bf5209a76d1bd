"""Makes and saves all data that can be made again: indexes, codes, states, inverted lists and
columns.

- Saving writes each of these to its file once it is worth it.
- Renewal (`renew`) rewrites the files of lists and columns, whichever process made them, so that
  nothing of deleted or replaced points is left in them, and all of them are there again afterwards.
  The file itself says which lists or which path it is of. A file of which no point has changed
  since it was written is left as it is.
- Coding (`code`) makes the codes of vector spaces, and files of the segments that are full.
- Filling (`fill`) lets an index take in the vectors that it lacks, from a file or from none.
  Queries load no index: until it is there, they are answered exactly.
"""

import logging
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeAlias

import apsw
import numpy as np

from retrieval_store.base import tracing
from retrieval_store.base.arrays import as_float32
from retrieval_store.base.tracing import log_of
from retrieval_store.engine.access import Access, CachedState
from retrieval_store.engine.filtering import columns
from retrieval_store.engine.search.codes import SpaceCodes
from retrieval_store.engine.search.context import Caches, SearchView
from retrieval_store.engine.search.graph import LOADING, SpaceIndex, index_is_worth_building
from retrieval_store.engine.search.planner import codes_pay_off
from retrieval_store.engine.sqlite import CORRUPTION_ERRORS, translated
from retrieval_store.engine.state import files
from retrieval_store.engine.state.caches import Layers
from retrieval_store.engine.state.state import FILE_KIND, SpaceState, State, is_worth_a_file
from retrieval_store.engine.storage import derived
from retrieval_store.engine.storage.derived import DerivedFile
from retrieval_store.engine.storage.log import LOG_PKS, LOG_WRITES, WriteTransaction, read_changes
from retrieval_store.engine.storage.records import read_values
from retrieval_store.engine.storage.schema import LISTED, PAYLOAD, CollectionHead
from retrieval_store.engine.text import bm25 as words
from retrieval_store.engine.text import inverted
from retrieval_store.engine.text.bm25 import GoingOn, lists_for, pure, renewed
from retrieval_store.engine.text.inverted import TRIGRAMS, ListKey, Lists, file_key
from retrieval_store.engine.text.inverted import write as write_lists
from retrieval_store.errors import DamagedError, InvalidArgumentError, MissingDependencyError
from retrieval_store.filters.paths import JsonPath, PayloadPath
from retrieval_store.indexes.exact import norms_of
from retrieval_store.query.types import Progress

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
        fill = partial(files.write_state, state=state, going_on=going_on)
        key = files.file_key(state.head.generation)
        made = derived.write_file(directory, key, fill, state.head.seq)
    points.write(lambda write: derived.record(write.connection, made))
    sweep(points)


def _state_has_changed(view: SearchView, rejected: bool, every: bool) -> bool:
    """Whether so much was written since it was saved that to follow takes long, or that the change
    log may not reach back so far for long."""
    head = view.state.head
    key = files.file_key(head.generation)
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
    paths = dict.fromkeys(path for path in held if not isinstance(path, JsonPath))
    possible = filter(columns.may_have_file, paths)  # of those that can have any
    return [
        path
        for path in possible
        if uses.get(path, 0) >= columns.USES_WORTH or columns.file_key(path) in files
    ][:MOST_COLUMNS]


def _column_has_grown(view: SearchView, path: PayloadPath) -> bool:
    rejected = path in view.kept.columns.demand.rejected
    changed = changed_since_saved(view, columns.file_key(path), PAYLOAD, rejected)
    return changed > GROWTH_TO_SAVE * view.state.count


def save_column(points: Access, path: PayloadPath) -> bool:
    """Save the columns of a path, unless there is no room; returns whether it was
    done. The values are read again, so that those of the living points alone are in the file."""
    assert points.directory is not None
    key = columns.file_key(path)

    def encoded(view: SearchView) -> tuple[list[bytes], CollectionHead, int]:
        pks = view.state.pks[view.state.alive]
        (values,) = read_values(view.connection, pks, [path])
        others = [f.size for f in _column_files(view.connection) if f.key != key]
        return columns.encoded(path, pks, values), view.state.head, MOST_BYTES - sum(others)

    content, head, room = points.read(encoded)
    if sum(map(len, content)) > room:
        return False
    with translated(points.directory):
        fill = partial(_fill, content=content, covered=head.next_pk)
        made = derived.write_file(points.directory, key, fill, head.seq)
    points.write(lambda write: derived.record(write.connection, made))
    kept = points.cached().kept.columns
    kept.demand.rejected.discard(path)
    kept.unmap(columns.columns_of(path))  # of the file before
    return True


def _fill(file: Path, content: list[bytes], covered: int) -> int:
    files.write_arrays(file, iter(content), _nothing)
    return covered


def _column_files(connection: apsw.Connection) -> list[derived.DerivedFile]:
    return derived.find_all(connection, columns.KIND)


def _forget_those_beyond(write: WriteTransaction) -> None:
    """Drop the records of the oldest where there are too many."""
    files = sorted(_column_files(write.connection), key=lambda file: -file.seq)
    derived.forget(write.connection, [file.key for file in files[MOST_COLUMNS:]])


def sweep(points: Access) -> None:
    """Remove the derived files that no record names."""
    if points.directory is not None:
        files = points.read(lambda view: derived.all_files(view.connection))
        with translated(points.directory):
            derived.sweep(points.directory, files)


# What is derived from vectors and numbers alone, and keeps nothing of what was deleted for long.
_NO_CONTENT = ("index.", "codes.", f"{FILE_KIND}.")


def renew(points: Access, held: list[ListKey], used: list[PayloadPath]) -> None:
    """Write the lists that are held, the columns of the paths that are used, and what there are
    files of, anew where points have changed since, as far as there is room, and forget all other
    files of lists and columns. Only the one process that does maintenance may."""
    if points.directory is None:
        return
    kept: set[str] = set()
    for key in points.read(partial(_lists_wanted, held=held)):
        if points.read(partial(_is_current_list, key=key)) or _save_list(points, key, key in held):
            kept.add(file_key(key))
    paths = dict.fromkeys([*used, *reversed(points.read(_columns_saved))])
    for path in [*paths][:MOST_COLUMNS]:
        current = points.read(partial(_is_current_column, path=path))
        if current or save_column(points, path):
            kept.add(columns.file_key(path))

    def forget_others(write: WriteTransaction) -> None:
        files = derived.all_files(write.connection)
        others = [f.key for f in files if not f.key.startswith(_NO_CONTENT) and f.key not in kept]
        derived.forget(write.connection, others)

    points.write(forget_others)
    sweep(points)


def _save_list(points: Access, key: ListKey, is_held: bool) -> bool:
    """Write lists; returns whether they could be made. What only a file has asked for needn't stay
    in memory."""
    try:
        save_list(points, key)
    except (InvalidArgumentError, MissingDependencyError):
        return False  # there is no such language, or none here
    if not is_held:
        points.cached().kept.lists.forget([key])
    return True


def _lists_wanted(view: SearchView, held: list[ListKey]) -> list[ListKey]:
    """Those that are held, and those that there are files of: of words only the ones that were used
    last, or, where this process has used none, saved last."""
    saved = [key for made in _files(view) for key in _keys_in(view, made)]
    wanted = dict.fromkeys([*held, *(key for key in saved if key[0] != "words")])
    if not any(key[0] == "words" for key in held):
        wanted |= dict.fromkeys([key for key in saved if key[0] == "words"][-1:])
    return [*wanted]


def _columns_saved(view: SearchView) -> list[PayloadPath]:
    """The paths that there are files of."""
    return [path for made in _files(view) for path in _paths_in(view, made)]


def _files(view: SearchView) -> list[DerivedFile]:
    """The records of files, the last that was written last."""
    return sorted(derived.all_files(view.connection), key=lambda made: made.seq)


def _keys_in(view: SearchView, made: DerivedFile) -> list[ListKey]:
    """The key of the lists in this file; none where it has no lists, or not those it should."""
    sparse = {space.number for space in view.state.non_dense.values() if space.kind == "sparse"}
    assert view.directory is not None
    with suppress(*CORRUPTION_ERRORS, DamagedError, OSError):
        key = inverted.key_in(derived.path_of(view.directory, made))
        if file_key(key) == made.key and (key[0] != "sparse" or key[1] in sparse):
            return [key]
    return []


def _paths_in(view: SearchView, made: DerivedFile) -> list[PayloadPath]:
    """The path of the columns in this file; none where it has no columns, or not those it
    should."""
    assert view.directory is not None
    with suppress(*CORRUPTION_ERRORS, DamagedError, OSError):
        path = columns.path_in(derived.path_of(view.directory, made))
        if columns.file_key(path) == made.key:
            return [path]
    return []


def _is_current_list(view: SearchView, key: ListKey) -> bool:
    rejected = key in view.kept.lists.demand.rejected
    return changed_since_saved(view, file_key(key), LISTED, rejected) == 0


def _is_current_column(view: SearchView, path: PayloadPath) -> bool:
    rejected = path in view.kept.columns.demand.rejected
    return changed_since_saved(view, columns.file_key(path), PAYLOAD, rejected) == 0


_log = log_of("maintenance")
FILES_AT_ONCE = 4  # recorded in one transaction


def code(points: Access, name: str, progress: Progress) -> None:
    """Let the codes of a space take in the vectors that they lack, from files if there are any."""
    cached = _with_files(points, name)
    space = cached.state.spaces.get(name)
    if space is None or not _should_have_codes(space):
        return
    codes = cached.kept.spaces[name].codes
    if codes.closed or not codes.lacks(space.space.slots):
        return
    try:
        with tracing.span("code", points.name):
            while codes.lacks(space.space.slots) and not codes.closed:
                codes.take_in(space)
                progress(0, space.space.slots)
        _log.debug("%r has codes of %d vectors", points.name, space.space.slots)
    except DamagedError:
        if not points.has_moved_on(cached.state):
            raise  # else the files are those of the generation before


def _with_files(points: Access, name: str) -> CachedState:
    """What is in memory of the collection now, with the codes of all files that there are."""

    def look(view: SearchView) -> CachedState:
        space = view.state.spaces.get(name)
        if space is not None and _should_have_codes(space):
            codes = view.kept.spaces[name].codes
            codes.load_saved(view.connection, space.space.slots, newer=True)
        return CachedState(view.state, view.kept)

    return points.read(look)


def _should_have_codes(space: SpaceState) -> bool:
    return codes_pay_off(space.space.slots, space.space.dimension or 0, space.space.metric)


def save_codes(points: Access, name: str, every: bool = False) -> None:
    """Write files of full segments that are in none, where they have grown enough, or of `every`
    one; only the one process that does maintenance may."""
    cached = _with_files(points, name)  # another process may have saved more than this one has
    codes = cached.kept.spaces[name].codes_at_hand if name in cached.kept.spaces else None
    if codes is None or points.directory is None:
        return
    unsaved = codes.unsaved(every)
    for start in range(0, len(unsaved), FILES_AT_ONCE):
        some = unsaved[start : start + FILES_AT_ONCE]
        _save_codes(points, points.directory, codes, some, cached.state.head.seq)


def _save_codes(
    points: Access, directory: Path, codes: SpaceCodes, some: list[int], seq: int
) -> None:
    made: list[DerivedFile] = []
    with translated(directory):
        for number in some:
            key = codes.key_of(number)
            made.append(derived.write_file(directory, key, partial(codes.write, number), seq))

    def record(write: WriteTransaction) -> None:
        for file in made:
            derived.record(write.connection, file)

    points.write(record)
    codes.map(made, directory)


FILLED_AT_ONCE = 2_048  # vectors, after which the background looks whether it should stop
Told: TypeAlias = "Path | weakref.ref[Access]"
_told: set[Told] = set()  # collections of which it was said that they lack an index


def load(points: Access, name: str, at_once: bool = True, waits: bool = True) -> None:
    """Load the file of the index of a space, if there is one that holds much more than what is in
    memory, and the space is large enough to gain from it; if not `at_once`, only when queries have
    lost as much time without it as loading takes. waits: for another thread that loads, or fills,
    the index just now, which may take minutes; if not, it is left to that."""

    def look(view: SearchView) -> tuple[SpaceIndex, DerivedFile | None] | None:
        index = _wanted(view, name)
        if index is None:
            return None
        found, dimension = index.recorded(view.connection), view.state.spaces[name].space.dimension
        if found is not None and not at_once:
            index.pays_from = LOADING * found.covered * (dimension or 0)
        return None if index.rests and not at_once else (index, found)

    match points.read(look):
        case (index, DerivedFile() as found):
            # Outside of the transaction, which forks wait for, and the emptying of the log.
            loading = partial(index.load, found)
            if waits:
                index.filling.take(loading)
            else:
                index.filling.take_within(0, loading, lambda: None)


def fill(
    points: Access, name: str, may_begin: bool, progress: Progress, at_once: bool = True
) -> bool:
    """Let the index of a space take in the vectors that it lacks, and first, as `load` does, those
    of its file; returns whether it lacks some since another process has begun it or has compacted,
    or the collection was put to rest."""
    load(points, name, at_once)
    index, state = points.read(lambda view: (_wanted(view, name), view.state))
    if index is None or (index.rests and not at_once):
        return False
    if not (index.covered or index.full or may_begin):
        return True
    space = state.spaces[name]
    take_in = partial(_take_in, index, space, space.space.slots, progress)
    before = index.covered
    try:
        if before < space.space.slots and not index.full:
            with tracing.span("index", points.name):
                index.filling.take(take_in)
                tracing.note(lambda: {"retrieval_store.indexed": index.covered - before})
            _tell_of(points, before, index)
    except DamagedError:
        if not points.has_moved_on(state):
            raise
        return True  # not damage: the files are those of the generation before
    if index.refused is not None:
        _tell_once(points, index.refused)
    return index.closed


def _tell_of(points: Access, before: int, index: SpaceIndex) -> None:
    if not index.closed and index.covered > before:
        level = logging.DEBUG if before else logging.INFO
        _log.log(level, "the index of %r holds %d vectors", points.name, index.covered)


def _wanted(view: SearchView, name: str) -> SpaceIndex | None:
    """The index of a space, if the space should have one and is large enough to gain from it."""
    space = view.state.spaces.get(name)
    if space is None or not (index := view.kept.spaces[name].index).wanted:
        return None
    worth = index_is_worth_building(
        space.space.slots, space.space.dimension or 0, space.space.metric
    )
    return index if worth or index.covered else None


def _tell_once(points: Access, why: Exception) -> None:
    """Say in the log that a collection lacks its index; once, however often it is opened."""
    told: Told = points.directory or weakref.ref(points, _told.discard)
    if told not in _told:
        _told.add(told)
        place = "in memory" if points.directory is None else f"in {points.directory.parent}"
        _log.warning(
            "collection %r %s is large enough to gain from an index, but has none, and is searched "
            "exactly: %s",
            points.name,
            place,
            why,
        )


def _take_in(index: SpaceIndex, space: SpaceState, slots: int, progress: Progress) -> None:
    try:
        _take_in_parts(index, space, slots, progress)
    finally:
        index.pace = 0.0


def _take_in_parts(index: SpaceIndex, space: SpaceState, slots: int, progress: Progress) -> None:
    for first in range(index.covered, slots, FILLED_AT_ONCE):
        if index.closed or index.full:
            break
        chosen = np.arange(first, min(first + FILLED_AT_ONCE, slots))
        matrix = space.vectors.rows(slots)
        space.vectors.admit(matrix, space.checksums, chosen)
        rows = matrix[first : chosen[-1] + 1]
        if not norms_of(rows).safe:  # what float32 can't multiply is left to the exact search
            index.full = True
            break
        index.add(as_float32(rows))
        progress(len(chosen), slots)
