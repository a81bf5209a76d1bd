"""Looking at every byte of a store, and saying by file what is wrong.

Databases: every page through the checksum VFS, SQLite's own check of their structure, and whether
the tables agree. Vector files: the checksum of every block, by a reader that has seen none yet.
Derived files: their checksums.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import apsw
import numpy as np

from retrieval_store.engine.catalog import CATALOG
from retrieval_store.engine.database import FileDatabase, Mode, select
from retrieval_store.engine.derived import DerivedFile, all_files, path_of, refuse_damaged
from retrieval_store.engine.fetch import decode_payloads, read_records
from retrieval_store.engine.files import DERIVED, POINTS_NAME
from retrieval_store.engine.points import Around, PointStore
from retrieval_store.engine.state import View
from retrieval_store.errors import ClientClosedError, DamagedError, NotFoundError, StorageError

_CLOSE = partial(ClientClosedError, "verified")


@dataclass(frozen=True, slots=True)
class FileReport:
    """What verifying found of one file: its size in bytes, and what is wrong, None for nothing."""

    file: Path
    bytes: int
    problem: str | None


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


def verify_collection(directory: Path, name: str, mode: Mode) -> list[FileReport]:
    """The files of a collection, all of one state; none when it is deleted meanwhile."""
    path = directory / POINTS_NAME
    while True:
        generation = -1
        try:
            points = PointStore.open(directory, name, mode, Around())
            try:
                generation, reports = points.read(
                    lambda view: (view.state.head.generation, _reports(view, path))
                )
                if not any(r.problem for r in reports) or not points.has_moved_on(generation):
                    return reports
            finally:
                points.close(_CLOSE)
        except NotFoundError:
            return []
        except StorageError as error:
            return [_report(path, error)]


def _reports(view: View, path: Path) -> list[FileReport]:
    _refuse_problems(view.connection, path)
    _refuse_disagreement(view, path)
    reports = [_report(path, None)]
    for space in view.state.spaces.values():
        problem = None
        try:
            rows = space.vectors.rows(space.space.slots)
            space.vectors.admit(rows, space.checksums, None)
        except StorageError as error:
            problem = error
        reports.append(_report(space.vectors.path, problem))
    return reports + [_derived_report(path.parent, made) for made in all_files(view.connection)]


def _derived_report(directory: Path, made: DerivedFile) -> FileReport:
    """Such a file is no loss, but what is wrong with it may be wrong with the disk."""
    path = directory / DERIVED / made.file
    try:
        refuse_damaged(path_of(directory, made), made)
    except StorageError as error:
        return _report(path, error)
    return _report(path, None)


def _report(path: Path, problem: StorageError | None) -> FileReport:
    size = path.stat().st_size if path.exists() else 0
    return FileReport(path, size, None if problem is None else str(problem))


def _refuse_problems(connection: apsw.Connection, path: Path) -> None:
    found = [str(row[0]) for row in select(connection, "PRAGMA integrity_check(5)")]
    if found != ["ok"]:
        raise DamagedError(f"{path} is damaged: {'; '.join(found)}")


def _refuse_disagreement(view: View, path: Path) -> None:
    """Tables may contradict one another though all checksums are right, if someone made them so."""
    pks = view.state.pks
    listed = select(view.connection, "SELECT pk FROM points ORDER BY pk")
    if not np.array_equal(pks, np.array([pk for (pk,) in listed], np.int64)):
        raise DamagedError(f"{path} is damaged: the points and the bitmaps of points disagree")
    for piece in read_records(view.connection, "payload", pks):
        try:
            decode_payloads(blob for (blob,) in piece)
        except ValueError as error:
            raise DamagedError(f"{path} is damaged: a payload isn't JSON: {error}") from error
