"""Builds and saves all data that can be rebuilt: indexes, codes, states, inverted lists and
columns.

- Saving writes derived data to files once that saves time.
- Renewal (`renew`) rewrites the files of lists and columns, whichever process wrote them, so that
  they contain no data of deleted or replaced points. A file names the lists or the path that it
  contains, so it can be rebuilt. A file is kept if no point has changed since it was written.
- Coding computes the codes of vector spaces, and writes files of the full segments.
- The recall of searches by signs in large spaces is measured.
- Filling (`fill_index`) adds missing vectors to an index, after loading the index from its file if
  there is one. Queries don't load an index: until it is loaded, they use exact search.
"""

import logging
import time
import weakref
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar

import apsw
import numpy as np

from retrieval_store.base import tracing
from retrieval_store.base.analysis import analyzer_of
from retrieval_store.base.arrays import as_float32
from retrieval_store.base.system import give_back_memory
from retrieval_store.base.tracing import log_of
from retrieval_store.base.validation import Payload
from retrieval_store.engine.access import Access, CachedState, state_and_caches
from retrieval_store.engine.filtering import columns
from retrieval_store.engine.filtering.columns import ColumnFile
from retrieval_store.engine.search.codes import verified_rows
from retrieval_store.engine.search.context import SearchView
from retrieval_store.engine.search.index_lifecycle import (
    LOADING,
    SpaceIndex,
    index_is_worth_building,
)
from retrieval_store.engine.search.planner import codes_pay_off
from retrieval_store.engine.search.recall import Measurement, write_recall
from retrieval_store.engine.sqlite import CORRUPTION_ERRORS, translate_errors
from retrieval_store.engine.state.caches import CACHE_BUDGET
from retrieval_store.engine.state.mapped_files import (
    CheckCancelled,
    PointsFile,
    StateFile,
    is_useless,
)
from retrieval_store.engine.state.state import FILE_KIND, SpaceState, State, is_worth_a_file
from retrieval_store.engine.storage import derived
from retrieval_store.engine.storage.derived import DerivedFile
from retrieval_store.engine.storage.log import LOG_PKS, LOG_WRITES, WriteTransaction
from retrieval_store.engine.text import ranking as words
from retrieval_store.engine.text.inverted import TRIGRAMS, ListKey
from retrieval_store.engine.text.ranking import ListFile, is_read, make_lists_in_steps, pure
from retrieval_store.errors import DamagedError, InvalidArgumentError, MissingDependencyError
from retrieval_store.filters.paths import JsonPath
from retrieval_store.indexes.exact import norms_of
from retrieval_store.query.types import Progress, recall_wanted, uses_codes

GROWTH_TO_SAVE = 0.1
GROWTH_AHEAD = 0.5  # growth after which columns that no query has used are saved again
AHEAD_PAUSE = 50  # pause between two saves, in multiples of the duration of the first
GROWN_AGAIN = 1.25  # growth of the points after which a column without room is tried again
# Limits on the bytes of lists that are written, and on the points whose documents are read for
# that, while a caller waits for a store to close. Together they take a tenth of a second. The next
# process does the remaining work: it builds the lists, or updates them from an older file.
CLOSING_BYTES, CLOSING_POINTS = 32 << 20, 10_000
MAX_COLUMNS = 32  # column files that one collection can have
# The words of this many rows take much memory for a moment; it is returned to the system.
MANY_LISTED = 2_000
F = TypeVar("F", ListFile, ColumnFile)
AnyKind: TypeAlias = PointsFile[SearchView, object]
Fill: TypeAlias = Callable[[Path], int]
LOG_WRITTEN = 0.5  # after writes of this share of the change log's capacity, a state is saved again
QUIET_AFTER = 0.8  # seconds without a write
# The work uses one part of the time in this many; the longest pause in seconds.
PART_BESIDE, LONGEST_PAUSE = 5, 0.2
ROWS_AHEAD = 2_000  # if a file lacks this many rows, lists are built before any query needs them
ROWS_BESIDE = 5_000  # rows whose lists become usable together
SECONDS_BESIDE = 1.0  # seconds of this work before the other maintenance has its turn
LISTS_PAUSE = 20  # pause between two saves of lists, in multiples of the duration of the first
STATE_PAUSE = 50  # pause between two saves of a state, in multiples of the duration of the first


def _never_cancelled() -> None:
    """The default for check_cancelled, which never cancels."""


def _write(access: Access, seq: int, fills: Mapping[str, Fill]) -> list[DerivedFile]:
    """Write derived files that include all writes up to number `seq`, and record the files in one
    transaction. Only the one process that does maintenance is allowed to call this. fills:
    functions that write the files, by the keys of the files."""
    assert access.directory is not None
    with translate_errors(access.directory):
        derived_files = [
            derived.write_file(access.directory, key, fill, seq) for key, fill in fills.items()
        ]
    access.write(_record, derived_files)
    return derived_files


def _record(write: WriteTransaction, derived_files: Sequence[DerivedFile]) -> None:
    for file in derived_files:
        derived.record(write.connection, file)


def _save(
    access: Access, kind: AnyKind, check_cancelled: CheckCancelled = _never_cancelled
) -> bool:
    """Write the file of one kind; returns whether there was room for it."""
    seq, fill = access.read(_writer, kind, check_cancelled)
    if fill is None:
        return False
    _write(access, seq, {kind.key: fill})
    access.read(kind.unmap)
    return True


def _writer(
    view: SearchView, kind: AnyKind, check_cancelled: CheckCancelled
) -> tuple[int, Fill | None]:
    """The number of the last write, and the function that writes the file of this kind as of that
    write."""
    return view.state.head.seq, kind.writer(view, check_cancelled)


def _save_grown_kinds(
    access: Access,
    kinds: Iterable[AnyKind],
    check_cancelled: CheckCancelled,
    growth: float = GROWTH_TO_SAVE,
) -> bool:
    """Write the files of those kinds that have changed enough since they were saved; returns
    whether there was room for all of these files. A rewritten file no longer contains deleted or
    replaced data."""
    had_room = True
    for kind in kinds:  # a separate read for each, because writing a file takes some time
        check_cancelled()
        if access.read(_has_grown, kind, growth):
            saved = _save(access, kind, check_cancelled)
            access.read(_note_room, kind, saved)
            had_room = had_room and saved
    return had_room


def _has_grown(view: SearchView, kind: AnyKind, growth: float) -> bool:
    """Whether enough has changed since the file was written, or since writing it failed for lack of
    room. growth: the share of the points that must have changed."""
    changed, without = kind.count_changed(view), view.caches.without_room.get(kind.key, 0)
    return changed > growth * view.state.count and view.state.count > GROWN_AGAIN * without


def _note_room(view: SearchView, kind: AnyKind, saved: bool) -> None:
    if not saved:
        view.caches.without_room[kind.key] = view.state.count
    else:
        view.caches.without_room.pop(kind.key, None)


def save_index(access: Access, name: str, growth: float) -> None:
    """Save the index of a space if it has grown enough since it was saved. growth: the share of the
    index's vectors that must be missing from the file. Only the one process that does maintenance
    is allowed to call this."""
    cached = access.current_state()
    if name not in cached.caches.spaces or access.directory is None:
        return
    index = cached.caches.spaces[name].index
    save = partial(_save_grown, access, index, cached.state.head.seq, growth)
    if index.filling.take(save):
        sweep(access)


def _save_grown(access: Access, index: SpaceIndex, seq: int, growth: float) -> bool:
    if index.covered - index.saved <= growth * index.covered:
        return False
    (derived_file,) = _write(access, seq, {index.key: index.save})
    index.saved = derived_file.covered
    return True


def save_state(
    access: Access,
    check_cancelled: CheckCancelled = _never_cancelled,
    every: bool = False,
    most: int | None = None,
) -> None:
    """Save the state of a large collection if enough has changed since it was saved. every: whether
    any change is enough. Nothing is saved if there are more than `most` points. Only the one
    process that does maintenance is allowed to call this. check_cancelled: called regularly; it can
    raise."""
    rests = time.monotonic() < access.memory.state_rests_until
    if access.directory is None or (rests and not every):
        return
    began, kind = time.monotonic(), access.read(_state_to_save, access, every, most)
    if kind is not None:
        _save(access, kind, check_cancelled)
        sweep(access)
        access.memory.state_rests_until = time.monotonic() + STATE_PAUSE * (
            time.monotonic() - began
        )


def _state_to_save(
    view: SearchView, access: Access, every: bool, most: int | None
) -> StateFile | None:
    """The file of the state if it must be written, otherwise None. every, most: see
    `save_state`."""
    count = view.state.count
    kind = StateFile(view.state.head.generation, access.memory.open_vectors)
    few = not is_worth_a_file(count) or (most is not None and count > most)
    return None if few or not _state_has_changed(view, kind, every) else kind


def _state_has_changed(view: SearchView, kind: StateFile, every: bool) -> bool:
    """Whether so much was written since the state was saved that updating it from the change log
    takes long. Also True if the log may soon no longer reach back to the saved state. every:
    whether any change is enough."""
    head, saved_file = view.state.head, derived.find(view.connection, kind.key)
    if saved_file is None or every or head.seq - saved_file.seq > LOG_WRITTEN * LOG_WRITES:
        return saved_file is None or head.seq != saved_file.seq or is_useless(view, saved_file)
    return kind.count_changed(view) > min(GROWTH_TO_SAVE * view.state.count, LOG_WRITTEN * LOG_PKS)


def build_lists(access: Access, check_cancelled: CheckCancelled) -> None:
    """Build the lists of trigrams if filters have needed them often enough."""
    if TRIGRAMS in access.current_state().caches.lists.demand.wanted_keys():
        make_lists_in_steps(access.read, TRIGRAMS, check_cancelled)


def follow_with_lists(access: Access, check_cancelled: CheckCancelled) -> None:
    """Update the lists that are in use, so that they include all writes, and no query has to wait
    for an update. If rows were renumbered, the lists are rebuilt. check_cancelled: called
    regularly; it can raise."""
    cache = access.current_state().caches.lists
    before, used = access.memory.lists_in_use
    keys = cache.used_keys()
    keys += [key for key in used if before() is not cache and key not in keys]
    behind = sum([make_lists_in_steps(access.read, key, check_cancelled) for key in keys])
    # Only a weak reference, because otherwise released data would stay in memory.
    access.memory.lists_in_use = weakref.ref(cache), keys
    if behind >= MANY_LISTED:
        give_back_memory()


def save_lists(access: Access, check_cancelled: CheckCancelled) -> bool:
    """Save the lists of words and trigrams that have grown enough since they were saved. Only the
    one process that does maintenance is allowed to call this. A new file contains no deleted or
    replaced data. Returns whether saving is postponed because lists were saved a short time ago.
    Does nothing for a store in memory. check_cancelled: called regularly; it can raise."""
    began = time.monotonic()
    if access.directory is None or began < access.memory.lists_rest_until:
        return access.directory is not None
    cached = access.current_state()
    used = [f for f in worth_saving(cached) if f.list_key not in cached.caches.lists.ahead]
    _save_grown_kinds(access, used, check_cancelled)
    sweep(access)
    ended = time.monotonic()
    access.memory.lists_rest_until = ended + LISTS_PAUSE * (ended - began)
    return False


def list_words_ahead(
    access: Access, check_cancelled: CheckCancelled, may_postpone: bool = True
) -> bool:
    """Build the lists of words before the first query needs them, so that the query doesn't have to
    wait. Only the one process that does maintenance is allowed to call this. While other threads
    write, this work gets only a small part of the time. When no thread writes, the lists are saved
    in a file, and take no memory. Returns whether work is postponed, which happens only with
    `may_postpone`."""
    if access.directory is None:
        return False
    key = access.read(_words_ahead, access.hooks.text_settings)
    if key is None:
        return False
    cache = access.current_state().caches.lists
    if key not in cache:
        cache.ahead.add(key)
    beside = BesideWriters(access, check_cancelled)
    ends, listed, is_left = time.monotonic() + SECONDS_BESIDE, 0, True
    while is_left and (listed == 0 or time.monotonic() < ends):
        most = ROWS_BESIDE if may_postpone and beside.writing() else None
        check = beside if may_postpone else check_cancelled
        made = make_lists_in_steps(access.read, key, check, most)
        listed, is_left = listed + made, most is not None and made == most
    if listed >= MANY_LISTED:
        give_back_memory()
    rests = beside.writing() or time.monotonic() < access.memory.words_rest_until
    if key not in cache.ahead or (may_postpone and rests):
        return key in cache.ahead
    began = time.monotonic()
    if access.read(ListFile(key).count_changed):
        _save(access, ListFile(key), check_cancelled)
        sweep(access)
    cache.forget([key])
    access.memory.words_rest_until = LISTS_PAUSE * (time.monotonic() - began) + time.monotonic()
    return False


def _words_ahead(view: SearchView, text_settings: Payload | None) -> "ListKey | None":
    """The key of the lists of words, if they should be built before a query needs them; otherwise
    None. They should be built if there are many documents, and if a query would take long to scan
    the documents that the saved lists lack."""
    count = view.state.count
    if text_settings is None or count < words.LISTS_WORTH or view.caches.lists.used_keys():
        return None
    nbytes = words.sampled_bytes(view) * count
    if not nbytes or not CACHE_BUDGET.has_room(int(nbytes), 1):
        return None
    try:
        key: ListKey = ("words", analyzer_of(text_settings))
    except (InvalidArgumentError, MissingDependencyError):
        return None  # the language is unknown, or its stemmer isn't installed
    is_behind = key in view.caches.lists or ListFile(key).count_changed(view) > ROWS_AHEAD
    return key if is_behind else None


class BesideWriters:
    """Called between the steps of work that can wait. While other threads write, a call pauses, so
    that the work gets only 1 / PART_BESIDE of the interpreter's time, and the writers get the
    rest."""

    def __init__(self, access: Access, check_cancelled: CheckCancelled) -> None:
        self._access, self._check_cancelled = access, check_cancelled
        self._began = time.thread_time()

    def writing(self) -> bool:
        """Whether this process has written points within the last second. Writes of other processes
        don't matter, because they don't use this interpreter."""
        return time.monotonic() < self._access.memory.written_at + QUIET_AFTER

    def __call__(self) -> None:
        self._check_cancelled()
        if self.writing():
            took = time.thread_time() - self._began
            time.sleep(min(LONGEST_PAUSE, PART_BESIDE * took))
        self._began = time.thread_time()


def save_small_lists(access: Access) -> None:
    """Save only the small lists, which can be written quickly."""
    all_files = worth_saving(access.current_state())
    small = [kind for kind in all_files if access.read(_is_small, kind.list_key)]
    _save_grown_kinds(access, small, _never_cancelled)
    sweep(access)


def worth_saving(cached: CachedState) -> list[ListFile]:
    """The files for those cached lists that should be saved. Of the lists of words, only those of
    the most recently used analyzer are included."""
    if cached.state.count < words.LISTS_WORTH:
        return []
    held: list[ListKey] = cached.caches.lists.nonempty_keys()
    word_keys = [key for key in held if key[0] == "words"]
    return [ListFile(key) for key in held if key[0] != "words" or key == word_keys[-1]]


def _is_small(view: SearchView, key: ListKey) -> bool:
    held = pure(view, key)
    if held is None:
        return view.state.count <= CLOSING_POINTS
    return sum(segment.nbytes for segment in held.segments) <= CLOSING_BYTES


def save_columns(
    access: Access, check_cancelled: CheckCancelled, before: Sequence[ColumnFile] = ()
) -> None:
    """Save the columns that were used more than once and have changed enough since they were saved.
    The most recently used columns are saved first. Then save columns of keys that are likely to be
    used (`usual_keys`). Saving ends if there is no more room. Only the one process that does
    maintenance is allowed to call this. before: columns that were used before compaction, which
    drops them from memory. check_cancelled: called regularly; it can raise."""
    if access.directory is None:
        return
    used = dict.fromkeys([*access.read(columns_worth_saving), *before][:MAX_COLUMNS])
    ahead = [kind for kind in access.read(columns_ahead) if kind not in used]
    if _save_grown_kinds(access, used, check_cancelled):
        _save_ahead(access, ahead, check_cancelled)
    elif access.write(_forget_all, [kind.key for kind in ahead]):
        sweep(access)  # makes room, because used columns come first
        access.current_state().caches.without_room.clear()
        _save_grown_kinds(access, used, check_cancelled)
    if access.read(_count_column_files) > MAX_COLUMNS:
        access.write(_forget_oldest)
    sweep(access)


def columns_worth_saving(view: SearchView) -> list[ColumnFile]:
    """The files for those columns in memory that were used more than once, or that already have a
    file."""
    if view.state.count < columns.COLUMNS_WORTH:
        return []
    uses = view.caches.uses
    files = {derived_file.key for derived_file in _column_files(view.connection)}
    held = (column.path for column in reversed(view.caches.columns.nonempty_keys()))
    paths = dict.fromkeys(path for path in held if not isinstance(path, JsonPath))
    possible = map(ColumnFile, filter(columns.may_have_file, paths))  # those that can have files
    return [
        kind
        for kind in possible
        if uses.get(kind.payload_path, 0) >= columns.USES_WORTH or kind.key in files
    ][:MAX_COLUMNS]


def columns_ahead(view: SearchView) -> list[ColumnFile]:
    """The files for columns of keys that are likely to be used (`usual_keys`). There are at most as
    many as MAX_COLUMNS permits in addition to the other column files."""
    usual = [*map(ColumnFile, columns.usual_keys(view))]
    keys = {kind.key for kind in usual}
    other_count = sum(file.key not in keys for file in _column_files(view.connection))
    return usual[: max(0, MAX_COLUMNS - other_count)]


def _column_files(connection: apsw.Connection) -> list[DerivedFile]:
    return derived.find_all(connection, columns.KIND)


def _count_column_files(view: SearchView) -> int:
    return len(_column_files(view.connection))


def _save_ahead(
    access: Access, ahead: Sequence[ColumnFile], check_cancelled: CheckCancelled
) -> None:
    """Save columns that no query has used. Does nothing if the last such save took t seconds and
    ended less than AHEAD_PAUSE · t seconds ago."""
    began = time.monotonic()
    if began >= access.memory.columns_rest_until:
        _save_grown_kinds(access, ahead, check_cancelled, GROWTH_AHEAD)
        ended = time.monotonic()
        access.memory.columns_rest_until = ended + AHEAD_PAUSE * (ended - began)


def _forget_all(write: WriteTransaction, keys: Sequence[str]) -> bool:
    """Delete the records of the column files with these keys; returns whether there were any such
    records."""
    present_keys = [file.key for file in _column_files(write.connection) if file.key in keys]
    derived.forget(write.connection, present_keys)
    return bool(present_keys)


def _forget_oldest(write: WriteTransaction) -> None:
    """If there are too many column files, delete the records of the oldest column files."""
    files = sorted(_column_files(write.connection), key=lambda file: -file.seq)
    derived.forget(write.connection, [file.key for file in files[MAX_COLUMNS:]])


def sweep(access: Access) -> None:
    """Remove the derived files that have no record."""
    if access.directory is not None:
        files = access.read(_all_files)
        with translate_errors(access.directory):
            derived.sweep(access.directory, files)


def _all_files(view: SearchView) -> list[DerivedFile]:
    return derived.all_files(view.connection)


# Files that are derived only from vectors and numbers, and don't keep deleted data for long.
_NO_CONTENT = tuple(f"{kind}." for kind in (*derived.OF_VECTORS, FILE_KIND))


def renew(access: Access, held: Sequence[ListFile], used: Sequence[ColumnFile]) -> None:
    """Rewrite the files of lists and columns if points have changed since they were written. The
    lists in `held` and the columns in `used` are renewed, and so are all lists and columns that
    already have files. Delete the records of all other files of lists and columns, and of files for
    which there is no room. Only the one process that does maintenance is allowed to call this."""
    if access.directory is None:
        return
    access.read(_forget_read, held)
    kept_keys: set[str] = set()
    for kind in access.read(_kinds_to_renew, held, used):
        if access.read(kind.count_changed) == 0 or _try_rewrite(access, kind, held):
            kept_keys.add(kind.key)
    access.write(_forget_content, kept_keys)
    sweep(access)


def _forget_content(write: WriteTransaction, kept_keys: Container[str]) -> None:
    """Delete the records of files that contain content of points, except the files with these
    keys."""
    keys = [file.key for file in derived.all_files(write.connection)]
    with_content = [key for key in keys if not key.startswith(_NO_CONTENT)]
    derived.forget(write.connection, [key for key in with_content if key not in kept_keys])


def _forget_read(view: SearchView, held: Sequence[ListFile]) -> None:
    """Drop lists that were read from files, so that they are rebuilt from the documents."""
    view.caches.lists.forget([kind.list_key for kind in held if is_read(view, kind.list_key)])


def _try_rewrite(access: Access, kind: AnyKind, held: Sequence[ListFile]) -> bool:
    """Write a file; returns whether that was possible. Lists that were built only for the file
    aren't kept in memory."""
    try:
        done = _save(access, kind)
    except (InvalidArgumentError, MissingDependencyError):
        return False  # the language is unknown, or its stemmer isn't installed
    if isinstance(kind, ListFile) and kind not in held:
        access.current_state().caches.lists.forget([kind.list_key])
    return done


def _kinds_to_renew(
    view: SearchView, held: Sequence[ListFile], used: Sequence[ColumnFile]
) -> list[AnyKind]:
    """The files of the lists and columns that are in `held` or `used`, or already have files. Of
    the lists of words, only those in `held` are included. If `held` has no lists of words, the
    lists of words that were saved last are included. There are at most as many columns as can be
    saved."""
    numbers = {space.number for space in view.state.non_dense.values() if space.kind == "sparse"}
    saved = _saved_kinds(view, ListFile)
    word_lists = [kind for kind in saved if kind.list_key[0] == "words"]
    other_lists = [
        list_file
        for list_file in saved
        if list_file.list_key[0] == "trigrams" or list_file.list_key[1] in numbers
    ]
    lists = [*held, *other_lists]
    if not any(kind.list_key[0] == "words" for kind in held):
        lists += word_lists[-1:]
    column_files = dict.fromkeys([*used, *reversed(_saved_kinds(view, ColumnFile))])
    return [*dict.fromkeys(lists), *[*column_files][:MAX_COLUMNS]]


def _saved_kinds(view: SearchView, kind: type[F]) -> list[F]:
    """The kinds that have files, sorted by when these files were written. Invalid files are left
    out."""
    assert view.files is not None
    files = []
    for derived_file in sorted(
        derived.all_files(view.connection), key=lambda derived_file: derived_file.seq
    ):
        with suppress(*CORRUPTION_ERRORS, DamagedError, OSError):
            file = kind.in_file(derived.path_of(view.files.directory, derived_file))
            if file.key == derived_file.key:
                files.append(file)
    return files


_log = log_of("maintenance")
FILES_AT_ONCE = 4  # files that are recorded in one transaction


def build_codes(access: Access, name: str, progress: Progress) -> None:
    """Compute the codes of a space's vectors that have none yet, after loading the codes from its
    files."""
    cached = access.read(_with_saved_codes, name)
    space = cached.state.spaces.get(name)
    if space is None or not _should_have_codes(space):
        return
    codes, slots = cached.caches.spaces[name].codes, space.space.slots
    if codes.closed or not codes.lacks(slots):
        return
    try:
        with tracing.span("code", access.name):
            codes.take_in(slots, partial(verified_rows, space), partial(progress, 0, slots))
        _log.debug("%r has codes of %d vectors", access.name, slots)
    except DamagedError:
        if not access.has_moved_on(cached.state):
            raise  # otherwise the files belong to the previous generation


def _with_saved_codes(view: SearchView, name: str) -> CachedState:
    """The current state in memory, after the space has loaded the codes from all its files."""
    space = view.state.spaces.get(name)
    if space is not None and _should_have_codes(space):
        codes = view.caches.spaces[name].codes
        codes.load_saved(view.connection, space.space.slots, newer=True)
    return state_and_caches(view)


def _should_have_codes(space: SpaceState) -> bool:
    return codes_pay_off(space.space.slots, space.space.dimension or 0, space.space.metric)


def save_codes(access: Access, name: str, every: bool = False) -> None:
    """Write full segments of codes that aren't in files yet, if there are enough such segments.
    every: whether to write even a few segments. Only the one process that does maintenance is
    allowed to call this."""
    # Another process may have saved more codes than this process has.
    cached = access.read(_with_saved_codes, name)
    codes = cached.caches.spaces[name].codes_at_hand if name in cached.caches.spaces else None
    if codes is None or access.directory is None:
        return
    unsaved = codes.unsaved_files(every)
    for start in range(0, len(unsaved), FILES_AT_ONCE):
        batch = unsaved[start : start + FILES_AT_ONCE]
        fills = {codes.key_of(number): partial(codes.write, number) for number in batch}
        codes.map(_write(access, cached.state.head.seq, fills))


def measure_recall(
    access: Access, name: str, is_alone: bool, progress: Progress, at_once: bool = True
) -> bool:
    """Measure the recall of searches by signs in a space if it is unknown, or load the measurement
    of another process. is_alone: whether this is the one process that is allowed to write files.
    Without `at_once`, measuring is postponed while the space grows. Returns whether it was
    postponed."""
    cached = access.read(_with_recall, name)
    space = cached.state.spaces.get(name)
    if space is None or not _is_searched_by_signs(cached, space):
        return False
    opened = cached.caches.spaces[name]
    coded, in_files = opened.codes.snapshot(), access.directory is not None
    covers = coded.count == coded.stop and 2 * coded.stop >= space.space.slots
    if not (coded.count and covers and opened.recall.lacks(space.space.slots)):
        return False
    if in_files and not is_alone:
        return False
    if not (at_once or opened.recall.is_settled(space.space.slots)):
        return True
    try:
        with tracing.span("measure", access.name):
            recall = Measurement(space, coded, partial(progress, 0, 0)).run()
    except DamagedError:
        if not access.has_moved_on(cached.state):
            raise  # otherwise the files belong to the previous generation
        return False
    if recall is None:
        return False
    if in_files:
        fill = partial(write_recall, recall=recall)
        _write(access, cached.state.head.seq, {opened.recall.key: fill})
    opened.recall.note(recall)
    _log.debug("%r finds %.3f of its nearest at worst", access.name, recall.worst.recall)
    return False


def _with_recall(view: SearchView, name: str) -> CachedState:
    """The current state in memory, after the measured recall of the space was loaded from its
    file."""
    space = view.state.spaces.get(name)
    cached = state_and_caches(view)
    if space is not None and _is_searched_by_signs(cached, space):
        view.caches.spaces[name].recall.load_saved(view.connection, newer=True)
    return cached


def _is_searched_by_signs(cached: CachedState, space: SpaceState) -> bool:
    dense_space, opened = space.space, cached.caches.spaces[space.space.name]
    if not _should_have_codes(space):
        return False
    is_recall_set = opened.recall_wanted or recall_wanted(dense_space) is not None
    return is_recall_set or (uses_codes(dense_space) and opened.policy(dense_space).signs)


# Vectors that are added before the background thread checks whether it should stop.
FILLED_AT_ONCE = 2_048
WarnedKey: TypeAlias = "Path | weakref.ref[Access]"
# Collections for which the log already has a warning about their missing index.
_warned: set[WarnedKey] = set()


def load_index(access: Access, name: str, at_once: bool = True, waits: bool = True) -> None:
    """Load the index of a space from its file if the file has many more vectors than the index in
    memory. The space must be large enough to benefit from an index. at_once: whether to load it
    now; otherwise it is loaded only when queries have lost as much time without it as loading
    takes. waits: whether to wait for another thread that is loading or filling the index. The wait
    can take minutes. If False, this call loads nothing while that thread works."""
    index, derived_file = access.read(_index_to_load, name, at_once)
    if index is not None and derived_file is not None:
        # Outside of the transaction, because forks and the emptying of the log wait for its end.
        loading = partial(index.load, derived_file)
        if waits:
            index.filling.take(loading)
        else:
            index.filling.take_in_time(0, loading, lambda: None)


def _index_to_load(
    view: SearchView, name: str, at_once: bool
) -> tuple[SpaceIndex | None, DerivedFile | None]:
    """The index of a space, and its file if the file must be loaded now."""
    index = _index_worth_having(view, name)
    derived_file = None if index is None else index.recorded_file(view.connection)
    if index is None or derived_file is None or at_once:
        return index, derived_file
    dimension = view.state.spaces[name].space.dimension or 0
    index.pays_from = LOADING * derived_file.covered * dimension
    return index, None if index.rests else derived_file


def fill_index(
    access: Access, name: str, may_begin: bool, progress: Progress, at_once: bool = True
) -> bool:
    """Add the missing vectors to the index of a space, after loading its file (`load_index`).
    Returns whether vectors are still missing. That is so if another process builds the index, a
    compaction has replaced the files, or the collection was closed as idle. may_begin: whether an
    empty index can be filled. at_once: see `load_index`."""
    load_index(access, name, at_once)
    index, state = access.read(_index_and_state, name)
    if index is None or (index.rests and not at_once):
        return False
    if not (index.covered or index.full or may_begin):
        return True
    space = state.spaces[name]
    take_in = partial(_take_in, index, space, space.space.slots, progress)
    before = index.covered
    try:
        if before < space.space.slots and not index.full:
            with tracing.span("index", access.name):
                index.filling.take(take_in)
                tracing.note(lambda: {"retrieval_store.indexed": index.covered - before})
            _log_filling(access, before, index)
    except DamagedError:
        if not access.has_moved_on(state):
            raise
        return True  # no damage: the files belong to the previous generation
    if index.refused is not None:
        _warn_once(access, index.refused)
    return index.closed


def _log_filling(access: Access, before: int, index: SpaceIndex) -> None:
    if not index.closed and index.covered > before:
        level = logging.DEBUG if before else logging.INFO
        _log.log(level, "the index of %r holds %d vectors", access.name, index.covered)


def _index_worth_having(view: SearchView, name: str) -> SpaceIndex | None:
    """The index of a space; None unless the space should have an index and is large enough to
    benefit from it."""
    space = view.state.spaces.get(name)
    if space is None or not (index := view.caches.spaces[name].index).wanted:
        return None
    worth = index_is_worth_building(
        space.space.slots, space.space.dimension or 0, space.space.metric
    )
    return index if worth or index.covered else None


def _index_and_state(view: SearchView, name: str) -> tuple[SpaceIndex | None, State]:
    return _index_worth_having(view, name), view.state


def _warn_once(access: Access, why: Exception) -> None:
    """Log a warning that a collection has no index. The warning is logged only once, however often
    the collection is opened."""
    warned_key: WarnedKey = access.directory or weakref.ref(access, _warned.discard)
    if warned_key not in _warned:
        _warned.add(warned_key)
        place = "in memory" if access.directory is None else f"in {access.directory.parent}"
        _log.warning(
            "collection %r %s is large enough to gain from an index, but has none, and is searched "
            "exactly: %s",
            access.name,
            place,
            why,
        )


def _take_in(index: SpaceIndex, space: SpaceState, slots: int, progress: Progress) -> None:
    try:
        for first in range(index.covered, slots, FILLED_AT_ONCE):
            if index.closed or index.full:
                break
            chosen = np.arange(first, min(first + FILLED_AT_ONCE, slots))
            matrix = space.vectors.rows(slots)
            space.vectors.verify_once(matrix, space.checksums, chosen)
            rows = matrix[first : chosen[-1] + 1]
            if not norms_of(rows).safe:  # vectors that float32 can't multiply are searched exactly
                index.full = True
                break
            index.add(as_float32(rows))
            progress(len(chosen), slots)
    finally:
        index.pace = 0.0
