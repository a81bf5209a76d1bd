"""Opens regular files for users, and creates new files that appear as a whole or not at all.

A new file lies beside its target under a temporary name until it is complete and synced. Then it is
renamed to its final name, unless another file has that name. If writing ends early, for any reason,
no file remains. The names of this module are public.
"""

import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

from retrieval_store.base.platform import (
    flush,
    give_name,
    open_plainly,
    remove_tree,
    sync_directory,
    sync_file,
    take_place,
)
from retrieval_store.base.validation import path_of
from retrieval_store.errors import InvalidArgumentError

__all__ = ["new_directory", "new_file", "open_regular"]


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file for reading. A pipe is refused, since it can't be read twice, without
    waiting for a process that writes to it.

    Args:
        path: the path of the file.

    Raises:
        InvalidArgumentError: the file can't be opened, or isn't a regular file.
    """
    try:
        opener = partial(open_plainly, follow=True)
        file = open(path, "rb", opener=opener)  # noqa: SIM115  closed by who reads it
    except OSError as error:
        raise InvalidArgumentError(f"path is {str(path)!r}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise InvalidArgumentError(f"path is {str(path)!r}, expected a file")
    return file


@contextmanager
def new_file(path: str | os.PathLike[str]) -> Iterator[tuple[Path, IO[bytes]]]:
    """A context manager that creates a file; yields its absolute path, and the open file to write
    to. When the `with` block ends without an error, the complete file appears durably under its
    name.

    Args:
        path: the path of the file, which must not exist yet.

    Raises:
        InvalidArgumentError: the path exists, its directory doesn't exist, or another process has
            created the file meanwhile.
    """
    target = _free(path)
    temporary = _temporary_path(target)
    try:
        with temporary.open("xb") as file:
            yield target, file
            flush(file)
        try:
            give_name(temporary, target)
        except FileExistsError:
            raise _path_exists_error(target) from None
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(target.parent)


@contextmanager
def new_directory(path: str | os.PathLike[str]) -> Iterator[tuple[Path, Path]]:
    """A context manager that creates a directory; yields its absolute path, and the temporary
    directory to write files into. When the `with` block ends without an error, the complete
    directory appears durably under its name.

    Args:
        path: the path of the directory, which must not exist yet.

    Raises:
        InvalidArgumentError: as in `new_file`.
    """
    target = _free(path)
    temporary = _temporary_path(target)
    try:
        temporary.mkdir()
        yield target, temporary
        for file in temporary.iterdir():
            sync_file(file)
        sync_directory(temporary)
        try:
            take_place(temporary, target)
        except OSError:
            if target.exists():
                raise _path_exists_error(target) from None
            raise
    finally:
        remove_tree(temporary)
    sync_directory(target.parent)


def _free(path: str | os.PathLike[str]) -> Path:
    target = path_of(path, "path")
    if os.path.lexists(target):
        raise _path_exists_error(target)
    if not target.parent.is_dir():
        raise InvalidArgumentError(
            f"path is {str(target)!r}, but there is no directory {str(target.parent)!r}"
        )
    return target


def _temporary_path(target: Path) -> Path:
    return target.with_name(f".{uuid.uuid4().hex}.new")


def _path_exists_error(target: Path) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"path is {str(target)!r}, which is there already; an export replaces nothing"
    )
