"""Copies of the directories of others: opening them may write to them, and they aren't ours."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retrieval_store.base.validation import path_of
from retrieval_store.errors import InvalidArgumentError

Stamps = dict[str, tuple[int, int]]


def directory_of(path: str | os.PathLike[str], expected: str, what: str) -> Path:
    """A directory in which something matches the pattern `expected`."""
    directory = path_of(path, "directory")
    if not directory.is_dir():
        raise InvalidArgumentError(f"directory is {str(directory)!r}, expected that of {what}")
    if next(directory.glob(expected), None) is None:
        raise InvalidArgumentError(
            f"directory is {str(directory)!r}, which isn't that of {what}: it has no {expected}"
        )
    return directory


@contextmanager
def copied(directory: Path) -> Iterator[Path]:
    """A copy that no other user may read, for as long as the block lasts. Links in the directory,
    which would lead out of the copy, are refused; so is one that is written to meanwhile."""
    with tempfile.TemporaryDirectory(prefix="retrieval-store-") as place:
        copy = Path(place) / "copy"
        before = _stamps(directory)
        try:
            shutil.copytree(directory, copy)
        except (shutil.Error, OSError) as error:
            raise InvalidArgumentError(f"{directory} can't be copied: {error}") from error
        if _stamps(directory) != before:
            raise InvalidArgumentError(
                f"{directory} was written to while it was copied: close the program that uses it"
            )
        yield copy


def _stamps(directory: Path) -> Stamps:
    stamps: Stamps = {}
    for place, folders, names in os.walk(directory):
        for name in (*folders, *names):
            path = Path(place, name)
            if path.is_symlink():
                raise InvalidArgumentError(f"{path} is a link, which isn't followed")
            found = path.lstat()
            stamps[str(path)] = found.st_size, found.st_mtime_ns
    return stamps
