"""Looking at every byte of a store, and saying by file what is wrong.

Databases: every page through the checksum VFS, SQLite's own check of their structure, and whether
the tables agree. Vector files: the checksum of every block, by a reader that has seen none yet.
Derived files: their checksums, and whether they say what the points and vectors of the collection
say (`point_checks`, `vector_checks`).
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import apsw
import numpy as np

from retrieval_store.base.analysis import Analyzer
from retrieval_store.base.dataclasses import replace
from retrieval_store.engine.access import Access, StoreHooks
from retrieval_store.engine.codes.segments import FILE_SEGMENTS, SEGMENT
from retrieval_store.engine.database.failures import CORRUPTION_ERRORS, corruption_error
from retrieval_store.engine.database.pools import FileDatabase
from retrieval_store.engine.database.transactions import select
from retrieval_store.engine.filtering import column_files
from retrieval_store.engine.nearest.context import SearchView
from retrieval_store.engine.nearest.indexing import FindClass
from retrieval_store.engine.state import state_files
from retrieval_store.engine.state.state import SpaceState
from retrieval_store.engine.storage.catalog import CATALOG
from retrieval_store.engine.storage.derived import (
    DerivedFile,
    all_files,
    find_all,
    path_of,
    refuse_damaged,
)
from retrieval_store.engine.storage.files import DERIVED, POINTS_NAME
from retrieval_store.engine.storage.non_dense import read_non_dense
from retrieval_store.engine.storage.records import decode_payloads, read_records
from retrieval_store.engine.upkeep.point_checks import (
    refuse_false_column,
    refuse_false_lists,
    refuse_false_state,
)
from retrieval_store.engine.upkeep.vector_checks import refuse_false_codes, refuse_false_index
from retrieval_store.engine.words.cache import TRIGRAMS, ListKey, file_key
from retrieval_store.errors import (
    ClientClosedError,
    DamagedError,
    InvalidArgumentError,
    MissingDependencyError,
    NotFoundError,
    StorageError,
)
from retrieval_store.query.types import FileReport, Mode

FindAnalyzer: TypeAlias = Callable[[], Analyzer]
Comparison: TypeAlias = Callable[[DerivedFile], None]  # raises DamagedError
# What files are found by; one that isn't there any more may be gone, or be another.
_Files: TypeAlias = tuple[int, list[DerivedFile]]
_HOW_TO_MEND = (
    "Nothing is lost: close it everywhere and open the store with rebuild=True, or remove the "
    "folder 'derived' while it is closed, and it is made again"
)
_CLOSE = partial(ClientClosedError, "verified")
_OF_OTHER_TYPES = """
    SELECT pk FROM points WHERE typeof(id) NOT IN ('text', 'integer')
        OR typeof(document) NOT IN ('text', 'null') OR typeof(uri) NOT IN ('text', 'null') LIMIT 1
"""


def no_analyzer() -> Analyzer:
    """For who doesn't know how a collection finds words: its lists of words aren't compared."""
    raise InvalidArgumentError("how words are found isn't known here")


def verify_catalog(path: Path, mode: Mode) -> FileReport:
    """The catalog of a store."""
    database = FileDatabase(path, CATALOG, mode)
    try:
        database.use(partial(_refuse_problems, path=path))
    except StorageError as error:
        return _report(path, error)
    finally:
        database.close(_CLOSE)
    return _report(path, None)


def verify_collection(
    directory: Path, name: str, mode: Mode, find_class: FindClass, find_analyzer: FindAnalyzer
) -> list[FileReport]:
    """The files of a collection, all of one state; none when it is deleted meanwhile. The classes
    of its indexes and how it finds words are what its derived files were made with."""
    path = directory / POINTS_NAME
    while True:
        try:
            points = Access.open(directory, name, mode, StoreHooks(find_class))
            try:
                look = partial(_look, points=points, path=path, find_analyzer=find_analyzer)
                files, reports = points.read(look)
                if not any(r.problem for r in reports) or points.read(_files) == files:
                    return reports
            finally:
                points.close(_CLOSE)
        except NotFoundError:
            return []
        except StorageError as error:
            return [_report(path, error)]
        except CORRUPTION_ERRORS as error:  # of which the files are the cause: nothing else is read
            return [_report(path, corruption_error(error, path))]


def _look(
    view: SearchView, points: Access, path: Path, find_analyzer: FindAnalyzer
) -> tuple[_Files, list[FileReport]]:
    # The state of the view may have been made of one of the files that are looked at.
    view = replace(view, state=points.state_in_database(view))
    compare_state = partial(refuse_false_state, view, points.memory.open_vectors)
    return _files(view), _reports(view, path, compare_state, find_analyzer)


def _files(view: SearchView) -> _Files:
    return view.state.head.generation, all_files(view.connection)


def _reports(
    view: SearchView, path: Path, compare_state: Comparison, find_analyzer: FindAnalyzer
) -> list[FileReport]:
    _refuse_problems(view.connection, path)
    _refuse_disagreement(view, path)
    reports, sound = [_report(path, None)], []
    for space in view.state.spaces.values():
        problem = None
        try:
            rows = space.vectors.rows(space.space.slots)
            space.vectors.admit(rows, space.checksums, None)
            sound.append(space)
        except StorageError as error:
            problem = error
        reports.append(_report(space.vectors.path, problem))
    compare = _comparisons(view, path.parent, sound, find_analyzer)
    compare[state_files.file_key(view.state.head.generation)] = compare_state
    return reports + [_derived_report(path.parent, f, compare) for f in all_files(view.connection)]


def _comparisons(
    view: SearchView, directory: Path, sound: list[SpaceState], find_analyzer: FindAnalyzer
) -> dict[str, Comparison]:
    """By their keys, how to compare derived files with what they are made of. There may be others,
    that are of no use any more."""
    sparse = [s.number for s in view.state.non_dense.values() if s.kind == "sparse"]
    keys: list[ListKey] = [
        TRIGRAMS,
        *_words(find_analyzer),
        *(("sparse", number) for number in sparse),
    ]
    lists = {file_key(key): partial(refuse_false_lists, view, key) for key in keys}
    indexes = {
        index.key: partial(refuse_false_index, directory, space, index)
        for space in sound
        if (index := view.kept.spaces[space.space.name].index).wanted
    }
    columns = {
        made.key: partial(refuse_false_column, view)
        for made in find_all(view.connection, column_files.KIND)
    }
    return {**lists, **indexes, **columns, **_of_codes(view, directory, sound)}


def _of_codes(view: SearchView, directory: Path, sound: list[SpaceState]) -> dict[str, Comparison]:
    every = [(space, view.kept.spaces[space.space.name].codes) for space in sound]
    return {
        codes.key_of(number): partial(refuse_false_codes, directory, space, codes, number)
        for space, codes in every
        for number in range(space.space.slots // SEGMENT // FILE_SEGMENTS + 1)
    }


def _words(find_analyzer: FindAnalyzer) -> list[ListKey]:
    try:
        return [("words", find_analyzer())]
    except (InvalidArgumentError, MissingDependencyError):
        return []  # words can't be searched for with such settings here


def _derived_report(
    directory: Path, made: DerivedFile, compare: dict[str, Comparison]
) -> FileReport:
    """Such a file is no loss, but what is wrong with it may be wrong with the disk, or done on
    purpose."""
    path = directory / DERIVED / made.file
    try:
        refuse_damaged(path_of(directory, made), made)
        if made.key in compare:
            compare[made.key](made)
    except (StorageError, OSError) as error:
        return _report(path, StorageError(f"{error}. {_HOW_TO_MEND}"))
    return _report(path, None)


def _report(path: Path, problem: StorageError | None) -> FileReport:
    size = path.stat().st_size if path.exists() else 0
    return FileReport(path, size, None if problem is None else str(problem))


def _refuse_problems(connection: apsw.Connection, path: Path) -> None:
    found = [str(row[0]) for row in select(connection, "PRAGMA integrity_check(5)")]
    if found != ["ok"]:
        raise DamagedError(f"{path} is damaged: {'; '.join(found)}")


def _refuse_disagreement(view: SearchView, path: Path) -> None:
    """Tables may contradict one another though all checksums are right, if someone made them so."""
    pks = view.state.pks
    listed = select(view.connection, "SELECT pk FROM points ORDER BY pk")
    if not np.array_equal(pks, np.array([pk for (pk,) in listed], np.int64)):
        raise DamagedError(f"{path} is damaged: the points and the bitmaps of points disagree")
    for (pk,) in select(view.connection, _OF_OTHER_TYPES):
        raise DamagedError(
            f"{path} is damaged: what it holds contradicts itself: point {pk} has an id, a "
            "document or a uri of another type"
        )
    for piece in read_records(view.connection, "id, document, uri", pks):
        del piece  # SQLite holds bytes, of which Python makes texts
    for space in view.state.non_dense.values():
        for _ in read_non_dense(view.connection, space, pks):
            pass
    for piece in read_records(view.connection, "payload", pks):
        try:
            decode_payloads(blob for (blob,) in piece)
        except ValueError as error:
            raise DamagedError(f"{path} is damaged: a payload isn't JSON: {error}") from error
