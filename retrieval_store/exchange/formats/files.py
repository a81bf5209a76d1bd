"""Files that are read, and files that appear as a whole or not at all.

What is written lies beside its target under a name of its own until it is complete and synced; then
it takes its name, if no other file has it. Whatever ends the writing before, nothing stays.
"""

import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from retrieval_store.base import system
from retrieval_store.base.validation import path_of
from retrieval_store.errors import InvalidArgumentError

Stamp = tuple[int, int, int]  # of a file: its number, its bytes, when it was written to


def file_to_read(path: Path) -> IO[bytes]:
    """A regular file, opened: a pipe, which can't be read twice, or a device is none."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | system.NO_WAITING)  # should it be a pipe

    try:
        file = open(path, "rb", opener=opener)  # noqa: SIM115  closed by who reads it
    except OSError as error:
        raise InvalidArgumentError(f"path is {str(path)!r}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise InvalidArgumentError(f"path is {str(path)!r}, expected a file")
    return file


def stamp_of(path: Path) -> Stamp:
    """What changes when a file is written to."""
    try:
        found = path.stat()
    except OSError as error:
        raise InvalidArgumentError(f"path is {str(path)!r}: {error.strerror}") from None
    return found.st_ino, found.st_size, found.st_mtime_ns


@contextmanager
def new_file(path: str | os.PathLike[str]) -> Iterator[tuple[Path, IO[bytes]]]:
    """A file to write to, which is at `path` when the block has ended well; with that path."""
    target = _free(path)
    made = _beside(target)
    try:
        with made.open("xb") as file:
            yield target, file
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(made, target)  # which never replaces anything
        except FileExistsError:
            raise _taken(target) from None
    finally:
        made.unlink(missing_ok=True)
    _sync_directory(target.parent)


@contextmanager
def new_directory(path: str | os.PathLike[str]) -> Iterator[tuple[Path, Path]]:
    """A directory to make files in, which is at `path` when the block has ended well; behind that
    path. It is for who writes the files to sync them."""
    target = _free(path)
    made = _beside(target)
    try:
        made.mkdir()
        yield target, made
        _sync_directory(made)
        try:
            os.rename(made, target)  # which replaces an empty directory at most
        except OSError:
            if target.exists():
                raise _taken(target) from None
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    _sync_directory(target.parent)


def _free(path: str | os.PathLike[str]) -> Path:
    target = path_of(path, "path")
    if os.path.lexists(target):
        raise _taken(target)
    if not target.parent.is_dir():
        raise InvalidArgumentError(
            f"path is {str(target)!r}, but there is no directory {str(target.parent)!r}"
        )
    return target


def _beside(target: Path) -> Path:
    return target.with_name(f".{uuid.uuid4().hex}.new")


def _taken(target: Path) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"path is {str(target)!r}, which is there already; an export replaces nothing"
    )


def _sync_directory(path: Path) -> None:
    """So that a power cut doesn't take the name away."""
    if system.IS_THERE:
        descriptor = os.open(path, os.O_RDONLY | system.DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
