"""Local files: only regular ones, and with a root only what lies in it, also while others move
links about.

A path is resolved first, as always; what it was resolved to is then opened step by step from the
open folder `root`, and no link is followed any more. So a link that is put in between can make a
read fail, but can't lead it out.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from retrieval_store.base import system
from retrieval_store.errors import DataLoaderError

# O_PATH: a folder that may be entered needn't be one that may be listed.
FOLDER = system.DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY)
# Should a pipe or a terminal take the file's place, opening it must not wait, nor take it over.
FILE = system.NO_WAITING | system.NO_TERMINAL
MOUNTS = Path("/proc/self/mountinfo")
# File systems without files: reading there asks the kernel, and may never end, take what another
# program waits for, or give this process's own secrets away.
KERNEL_TYPES = frozenset([
    "proc", "sysfs", "tracefs", "debugfs", "securityfs", "configfs", "cgroup", "cgroup2", "bpf",
    "pstore", "efivarfs", "selinuxfs", "smackfs", "fusectl", "binfmt_misc", "mqueue", "nfsd",
    "rpc_pipefs", "resctrl",
])  # fmt: skip


@contextmanager
def opened(path: Path, root: Path | None) -> Iterator[FileIO]:
    """The file at the path, unbuffered; DataLoaderError unless it is a regular one, in `root`."""
    if not system.IS_THERE:
        raise DataLoaderError("files are loaded on Linux and macOS so far")
    place = _regular(str(path), None) if root is None else _below(root, _names(path, root))
    try:
        with place as file:
            yield file
    except (FileNotFoundError, NotADirectoryError):
        raise DataLoaderError("there is no such file") from None


def _names(path: Path, root: Path) -> tuple[str, ...]:
    """The folders from root on, and the file. A relative path is looked for below root first, and
    then below the working directory."""
    inside = root.resolve()
    below = (root / path).resolve()
    if not (below.is_relative_to(inside) and os.path.lexists(below)):
        below = path.resolve()
    try:
        names = below.relative_to(inside).parts
    except ValueError:
        raise DataLoaderError(
            f"it lies outside of root {root}; relative paths are looked for below root first, so "
            "'a/b.png' is root's own"
        ) from None
    if not names:
        raise DataLoaderError("there is no such file, but a folder: root itself")
    return names


@contextmanager
def _below(root: Path, names: tuple[str, ...]) -> Iterator[FileIO]:
    folder = os.open(root, FOLDER)
    try:
        for name in names[:-1]:
            inner = os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            # First exchanged, then closed: an interrupt in between must not close one twice, which
            # by then may be another's.
            folder, outer = inner, folder
            os.close(outer)
        with _regular(names[-1], folder) as file:
            yield file
    finally:
        os.close(folder)


@contextmanager
def _regular(name: str, folder: int | None) -> Iterator[FileIO]:
    """The file of that name; in a folder that is given no link is followed."""
    # Looked at before it is opened, since opening a device can do things already; and again after,
    # since what was opened may be another.
    _refuse_odd(os.stat(name, dir_fd=folder, follow_symlinks=folder is None))
    follow = 0 if folder is None else os.O_NOFOLLOW

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | FILE | follow, dir_fd=folder)

    with FileIO(name, "rb", opener=opener) as file:
        _refuse_odd(os.fstat(file.fileno()))
        yield file


def _refuse_odd(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise DataLoaderError("there is no such file, but a folder, a pipe, a device or a link")
    kind = _kernel_type(found)
    if kind is not None:
        raise DataLoaderError(f"it lies on a file system of the kernel's own, {kind}")


def _kernel_type(found: os.stat_result) -> str | None:
    """Which of the kernel's file systems the file is on; they say that it is a regular one."""
    if found.st_blocks:  # on a disk: there is no need to look further
        return None
    device = f"{os.major(found.st_dev)}:{os.minor(found.st_dev)}"
    try:
        mounts = MOUNTS.read_text(errors="replace").splitlines()
    except OSError:  # not Linux
        return None
    for line in mounts:
        place, _, kind = line.partition(" - ")
        if place.split()[2] == device and kind.split()[0] in KERNEL_TYPES:
            return kind.split()[0]
    return None
