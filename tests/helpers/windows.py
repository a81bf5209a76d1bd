"""Simulates what Windows refuses, as far as Linux shows a process's open files.

`pretend` loads `base.platform` as on Windows, with locks by flock. It makes functions of `os`
refuse to rename, replace or remove files that this process has open or mapped, to open directories,
and to sync read-only files. Only calls from the package are refused, since tests may do more to
their files than Windows would allow. As a plugin (`pytest -p tests.helpers.windows`) it does so for
all tests, and lists what was refused.
"""

import ctypes
import errno
import fcntl
import importlib
import os
import re
import shutil
import sys
import types
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

PACKAGE = str(Path(__file__).parents[2] / "retrieval_store") + os.sep
STANDARD = os.path.dirname(os.__file__) + os.sep
SKIPPED = (STANDARD, __file__, "<")
ABSENT = (
    *("O_NOFOLLOW", "O_DIRECTORY", "O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY", "O_PATH"),
    *("register_at_fork", "pread", "preadv", "pwrite", "fdatasync", "posix_fallocate"),
    *("posix_fadvise", "statvfs", "sysconf", "sched_getaffinity", "getuid", "geteuid", "fchmod"),
    *("uname", "fork", "major", "minor"),
)
EXCLUSIVE, LOCK_VIOLATION, SHARING_VIOLATION, DENIED = 2, 33, 32, 5
refused: Counter[str] = Counter()


class Kernel:
    """The functions that `base.platform` calls, with locks by flock, which also belong to an open
    file."""

    def __init__(self, name: str, use_last_error: bool) -> None:
        assert (name, use_last_error) == ("kernel32", True)

    def LockFileEx(self, handle, flags, reserved, low, high, overlapped) -> bool:
        assert reserved == high == 0 and low == 1 and len(overlapped.raw) == 32
        kind = fcntl.LOCK_EX if flags & EXCLUSIVE else fcntl.LOCK_SH
        try:
            fcntl.flock(handle.value, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def UnlockFileEx(self, handle, reserved, low, high, overlapped) -> bool:
        assert reserved == high == 0 and low == 1 and len(overlapped.raw) == 32
        fcntl.flock(handle.value, fcntl.LOCK_UN)
        return True


def pretend(whole: bool = False) -> None:
    """Simulate Windows in this process, before it imports the package. whole: also change the
    reported system, and remove POSIX functions, which is only possible in a process of its own."""
    name = "retrieval_store.base.platform"
    assert name not in sys.modules
    if whole:
        for module in ("fcntl", "resource"):
            sys.modules[module] = None  # type: ignore[assignment]
        for absent in ABSENT:
            if hasattr(os, absent):
                delattr(os, absent)
    was, sys.platform = sys.platform, "win32"
    msvcrt: Any = types.ModuleType("msvcrt")
    msvcrt.get_osfhandle = int
    sys.modules["msvcrt"] = msvcrt
    try:
        platform: Any = importlib.import_module(name)
    finally:
        del sys.modules["msvcrt"]
        if not whole:
            sys.platform = was
    platform.ctypes = types.SimpleNamespace(
        WinDLL=Kernel,
        WinError=lambda error: OSError(error, "from the kernel"),
        get_last_error=lambda: LOCK_VIOLATION,
        c_void_p=ctypes.c_void_p,
        create_string_buffer=ctypes.create_string_buffer,
    )
    _remove_by_paths()
    _replace_functions()


def _remove_by_paths() -> None:
    """Make `shutil.rmtree` work without descriptors, as on Windows. Newer Pythons decide once."""
    chosen: Any = shutil
    chosen._use_fd_functions = False
    if hasattr(chosen, "_rmtree_impl"):
        chosen._rmtree_impl = chosen._rmtree_unsafe


def _caller() -> str | None:
    """The place in the package that called the standard library, if any."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(SKIPPED):
        frame = frame.f_back
    if frame is None or not frame.f_code.co_filename.startswith(PACKAGE):
        return None
    return f"{frame.f_code.co_filename.removeprefix(PACKAGE)}:{frame.f_lineno}"


def _is_used(path: Any) -> bool:
    """Whether this process has a file open or mapped, or one in a directory."""
    name = os.path.abspath(os.fspath(path))
    name = os.path.join(os.path.realpath(os.path.dirname(name)), os.path.basename(name))
    inside = name + os.sep
    return any(one == name or one.startswith(inside) for one in _used())


def _used() -> list[str]:
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:
            continue
    maps = Path("/proc/self/maps").read_text().splitlines()
    found += [line.split(maxsplit=5)[5] for line in maps if "/" in line]
    return found


def _refuse(what: str, path: Any, number: int) -> None:
    name = re.sub("[0-9a-f]{8,}", "…", os.path.basename(os.fspath(path)))
    refused[f"{what} in {_caller()}: {name}"] += 1
    error: Any = PermissionError(errno.EACCES, f"Windows refuses to {what}", os.fspath(path))
    error.winerror = number
    raise error


def _replace_functions() -> None:
    real: Any = types.SimpleNamespace(
        **{
            name: getattr(os, name)
            for name in ("open", "rename", "replace", "unlink", "remove", "rmdir", "fsync")
        },
        **{name: getattr(os, name) for name in ("truncate", "ftruncate", "link", "scandir")},
    )

    def refuse_descriptors(arguments: dict[str, Any]) -> None:
        if any(arguments.get(name) is not None for name in ("dir_fd", "src_dir_fd", "dst_dir_fd")):
            raise NotImplementedError("dir_fd")

    def open_(path, flags, mode=0o777, **named):
        if _caller():
            refuse_descriptors(named)
            if os.path.isdir(path):
                _refuse("open a directory", path, DENIED)
        return real.open(path, flags, mode, **named)

    def renaming(name):
        def rename(source, target, **named):
            if _caller():
                refuse_descriptors(named)
                if name == "rename" and os.path.lexists(source) and os.path.lexists(target):
                    error: Any = FileExistsError(errno.EEXIST, "it is there", os.fspath(target))
                    error.winerror = 183
                    raise error
                for path in (source, target):
                    if _is_used(path):
                        _refuse(name, path, SHARING_VIOLATION)
            getattr(real, name)(source, target, **named)

        return rename

    def removing(name):
        def remove(path, **named):
            if _caller():
                refuse_descriptors(named)
                if os.path.lexists(path) and _is_used(path):
                    _refuse(name, path, SHARING_VIOLATION)
            getattr(real, name)(path, **named)

        return remove

    def fsync(descriptor):
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        if _caller() and fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            _refuse("sync what may not be written to", f"{number}", DENIED)
        real.fsync(descriptor)

    def scandir(path="."):
        if _caller() and isinstance(path, int):
            raise NotImplementedError("directories by descriptors")
        return real.scandir(path)

    os.open, os.fsync, os.scandir = open_, fsync, scandir
    for name in ("rename", "replace"):
        setattr(os, name, renaming(name))
    for name in ("unlink", "remove", "rmdir"):
        setattr(os, name, removing(name))


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    pretend()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for line, times in sorted(refused.items()):
        terminalreporter.write_line(f"refused {times} times: {line}")
