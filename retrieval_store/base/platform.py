"""The functions of the operating system that stores on disk need. To support another system, only
this module has to change.

All other code works on every system: it closes handles before their files are renamed or removed,
never reuses the name of a file that may be open, and retries removals. The differences between
POSIX and Windows are in this module. A store relies on the following guarantees:

- **Locks** (`try_lock`, `unlock`) belong to an open file. One open file, of any process, holds a
  lock exclusively, or several open files share it. `try_lock` never waits. The lock is released
  when the file is closed or the process dies, for any reason.
- **Lock files** (`open_lock_file`, `remove_lock_file`): nobody can hold the lock of a removed file
  and mistake it for the lock of the file that has its name now.
- **Private directories** (`lock_directory`): other processes can see whether the owner of a
  directory is alive.
- **Bytes**: `write_at` and `read_at` write or read all of the bytes, at an offset.
- **Syncs**: after `sync`, `sync_file` and `flush`, data that any process wrote to a file survives
  power loss; after `sync_directory`, the names in a directory survive it, too.
- **Memory maps** (`map_file`, `map_descriptor`) show writes of other processes to the file, and
  stay readable as long as the map exists. On Windows a mapped file can't be removed or truncated.
- **Names** (`give_name`, `take_place`) are assigned in one step and replace nothing: if two
  processes want the same name, only one gets it.
- **Removal** (`remove_files`, `remove_tree`) is confined to the named directory, even if another
  program replaces that directory by a link. `is_in_use` recognises the errors that only mean that a
  file is open somewhere.
- **Opening** (`open_plainly`, `open_directory`, `enter_directory`): the opened file is the named
  file. Links are followed only on request. Opening a pipe doesn't block, and opening a terminal
  doesn't make it the controlling terminal.
- **Forks** (`at_fork`): functions are called around every fork of this process, on systems with
  forks.

The code for Windows follows the documentation of Windows, and was never run. Three guarantees are
weaker on Windows. Names are only as durable as the file system makes them, because there is no
documented sync of directories. It isn't documented that maps show writes at once. If a link
replaces a directory just before its files are removed, the link is followed.
"""

import errno
import gc
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeAlias

from retrieval_store.errors import StorageError

Opened: TypeAlias = IO[Any] | int  # a file, or a descriptor
_BINARY: int = getattr(os, "O_BINARY", 0)
_NO_FOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
_NO_WAITING: int = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_DIRECTORY: int = getattr(os, "O_DIRECTORY", 0)
# O_PATH also opens a directory that can't be listed.
_ENTERED: int = getattr(os, "O_PATH", os.O_RDONLY)
HAS_DIRECTORY_DESCRIPTORS = bool(_DIRECTORY)
VARIABLE, TRIAL = "RETRIEVAL_STORE_WINDOWS", "trial"


def refuse_untried() -> None:
    """Raise StorageError on a system on which stores on disk were never run, unless the user has
    set the variable that permits it."""
    if sys.platform == "win32" and os.environ.get(VARIABLE) != TRIAL:
        raise StorageError(
            "stores on disk work on Linux and macOS; use one in memory. They have never been "
            f"tested on Windows, and may lose data there: set {VARIABLE}={TRIAL} to try them"
        )


def open_plainly(
    path: str | os.PathLike[str], flags: int, follow: bool = False, within: int | None = None
) -> int:
    """A descriptor of a file, opened like `os.open`. follow: whether to follow a link. within: the
    descriptor of the directory to which the path is relative."""
    odd = _BINARY | _NO_WAITING | (0 if follow else _NO_FOLLOW)
    return os.open(path, flags | odd, 0o644, dir_fd=within)


def open_directory(path: str | os.PathLike[str]) -> int:
    """The descriptor of a directory. Must be called only if `HAS_DIRECTORY_DESCRIPTORS`."""
    return os.open(path, os.O_RDONLY | _DIRECTORY | _NO_FOLLOW)


def enter_directory(path: str | os.PathLike[str], within: int | None = None) -> int:
    """Like `open_directory`, for a directory to which paths will be relative. The user doesn't need
    permission to list the directory. within: the descriptor of the directory to which the path is
    relative; if it is None, a link is followed."""
    follow = 0 if within is None else _NO_FOLLOW
    return os.open(path, _ENTERED | _DIRECTORY | follow, dir_fd=within)


def open_lock_file(path: Path) -> BinaryIO:
    """Open an empty file, to lock it. Unlike with other locks of POSIX, the lock stays held if
    another part of the process opens and closes the same file."""
    return open(path, "ab", buffering=0, opener=open_plainly)


def map_file(path: Path, private: bool = False) -> mmap.mmap:
    """A memory map of a whole file; see `map_descriptor`."""
    with path.open("rb") as file:
        return map_descriptor(file.fileno(), private=private)


def map_descriptor(descriptor: int, length: int = 0, private: bool = False) -> mmap.mmap:
    """A memory map of the first `length` bytes of an open file, or of all its bytes if 0. The file
    can be closed afterwards. private: the map is writable, and writes to it don't reach the file;
    otherwise the map is read-only."""
    access = mmap.ACCESS_COPY if private else mmap.ACCESS_READ
    return mmap.mmap(descriptor, length, access=access)


def sync_file(path: Path) -> None:
    """Sync a file of ours. The file must be writable, because Windows requires that."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def flush(file: IO[Any]) -> None:
    """Sync an open file, including Python's buffer."""
    file.flush()
    sync(file.fileno())


def remove_tree(directory: Path) -> None:
    """Remove a directory that a store has created, with all files in it that can be removed."""
    import shutil  # imported here because it also imports modules that unpack archives

    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():  # for example because an old error still holds a map
        gc.collect()
        shutil.rmtree(directory, ignore_errors=True)


def bytes_on_disk(path: Path) -> int:
    """The disk space that a file takes, in bytes. Holes in the file don't count, except on Windows,
    which doesn't report them."""
    if sys.platform == "win32":
        return path.stat().st_size
    return 512 * path.stat().st_blocks


@contextmanager
def hold_lock(path: Path) -> Iterator[bool]:
    """Context manager: hold the lock of a file, which is created and removed again. Yields True if
    this process holds the lock. Yields False if another process holds the lock, or if the file
    system has no locks. The lock is released when the process dies. Raises StorageError if the file
    can't be created."""
    while True:
        try:
            file = open_lock_file(path)
        except OSError as error:
            raise StorageError(f"{path}: {error}") from error
        with file:
            is_held = False
            with suppress(OSError):
                is_held = try_lock(file)
            if not is_held:
                yield False
                return
            try:
                is_there = os.path.samestat(os.stat(path), os.fstat(file.fileno()))
            except FileNotFoundError:
                is_there = False
            if not is_there:  # the process that held it before has removed it
                continue
            try:
                yield True
            finally:
                remove_lock_file(file, path)
            return


def replace_file(path: Path, content: bytes) -> None:
    """Replace the content of a file atomically. The new content is durable once this function
    returns. It is written first to a file named ".NAME.new", where NAME is the name of this file.
    An existing file of that name is overwritten. Raises StorageError if the content can't be
    written."""
    # If a dead process has left this file, it is overwritten.
    new = path.with_name(f".{path.name}.new")
    try:
        with new.open("wb") as file:
            file.write(content)
            flush(file)
        new.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise StorageError(f"{path}: {error}") from error


def at_fork(**calls: Callable[[], object]) -> None:
    """Register functions to be called at each fork: `before`, `after_in_parent` and
    `after_in_child`, as with os.register_at_fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(**calls)


def _files_in(directory: Path | int) -> list[str]:
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)]


def _number(file: Opened) -> int:
    return file if isinstance(file, int) else file.fileno()


if sys.platform == "win32":
    import ctypes
    import msvcrt
    import struct
    from functools import cache

    LOCK_EXCLUSIVELY, FAIL_IMMEDIATELY = 2, 1
    # A byte beyond the content of all our files, because others can't read or write locked bytes.
    # It is among the bytes that qdrant-client's local mode locks.
    LOCKED_BYTE = 0x40000000
    LOCK_VIOLATION = 33
    IN_USE = frozenset([5, 32, 33, 145, 1224])  # access denied, shared, locked, not empty, mapped
    REPARSE_POINT = 0x400

    @cache
    def _kernel() -> Any:
        return ctypes.WinDLL("kernel32", use_last_error=True)

    def _handle(file: Opened) -> Any:
        return ctypes.c_void_p(msvcrt.get_osfhandle(_number(file)))

    def _overlapped() -> Any:
        """An OVERLAPPED structure: two pointers, the position in two halves, an event."""
        packed = struct.pack("PPIIP", 0, 0, LOCKED_BYTE, 0, 0)
        return ctypes.create_string_buffer(packed, len(packed))

    def try_lock(file: Opened, shared: bool = False) -> bool:
        flags = FAIL_IMMEDIATELY | (0 if shared else LOCK_EXCLUSIVELY)
        if _kernel().LockFileEx(_handle(file), flags, 0, 1, 0, _overlapped()):
            return True
        error = ctypes.get_last_error()
        if error == LOCK_VIOLATION:
            return False
        raise ctypes.WinError(error)

    def unlock(file: Opened) -> None:
        if not _kernel().UnlockFileEx(_handle(file), 0, 1, 0, _overlapped()):
            raise ctypes.WinError(ctypes.get_last_error())

    def remove_lock_file(file: BinaryIO, path: Path) -> None:
        file.close()
        with suppress(OSError):  # another process has opened it, and would remove it
            path.unlink()

    @contextmanager
    def lock_directory(directory: Path) -> Iterator[bool | None]:
        if not directory.is_dir():
            yield False
            return
        # A lock file inside the directory would prevent renaming it.
        lock = directory.with_name(f"{directory.name}.lock")
        file = open_lock_file(lock)
        try:
            yield _is_free(file) and directory.is_dir()
        finally:
            remove_lock_file(file, lock)

    def _is_free(file: BinaryIO) -> bool | None:
        try:
            return try_lock(file)
        except OSError:  # for example on a network
            return None

    def write_at(descriptor: int, data: bytes | memoryview, offset: int) -> None:
        os.lseek(descriptor, offset, os.SEEK_SET)
        data = memoryview(data)
        while data:
            data = data[os.write(descriptor, data) :]

    def read_at(descriptor: int, count: int, offset: int) -> bytes:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, count)

    def sync(descriptor: int) -> None:
        os.fsync(descriptor)

    def sync_directory(path: Path) -> None:
        pass

    def give_name(source: Path, target: Path) -> None:
        os.rename(source, target)

    def take_place(source: Path, target: Path) -> None:
        with suppress(FileNotFoundError):
            os.rmdir(target)
        os.rename(source, target)

    def remove_files(directory: Path, chosen: Callable[[str], bool]) -> None:
        if getattr(os.lstat(directory), "st_file_attributes", 0) & REPARSE_POINT:
            raise NotADirectoryError(errno.ENOTDIR, "it is a link", str(directory))
        left = []
        for name in filter(chosen, _files_in(directory)):
            try:
                os.unlink(directory / name)
            except FileNotFoundError:
                pass
            except PermissionError as error:
                left.append(error)
        if left:
            raise left[0]

    def is_in_use(error: BaseException | None) -> bool:
        return getattr(error, "winerror", None) in IN_USE

else:
    import fcntl

    # FAT, for example, has no links.
    NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
    FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)

    def try_lock(file: Opened, shared: bool = False) -> bool:
        """Try to lock an open file; returns whether that succeeded. It fails while another open
        file holds the lock, unless all of them share it."""
        with suppress(BlockingIOError):
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            return True
        return False

    def unlock(file: Opened) -> None:
        """Release the lock, even if a process that is just being started has inherited the file."""
        fcntl.flock(file, fcntl.LOCK_UN)

    def remove_lock_file(file: BinaryIO, path: Path) -> None:
        """Close the file of a lock that this process holds, and remove it."""
        with file:
            path.unlink(missing_ok=True)

    @contextmanager
    def lock_directory(directory: Path) -> Iterator[bool | None]:
        """Context manager: yields whether this call owns a private directory now. It owns the
        directory if it holds the directory's lock, and the directory still exists. Yields None if
        directories have no locks, as on a network. Also yields None for a directory of another
        user, who could replace it by a link; such a directory never counts as abandoned."""
        try:
            descriptor = open_directory(directory)
        except FileNotFoundError:
            yield False
            return
        try:
            yield _has_taken(descriptor, directory)
        finally:
            os.close(descriptor)

    def _has_taken(descriptor: int, directory: Path) -> bool | None:
        try:
            if not try_lock(descriptor):
                return False
            opened = os.fstat(descriptor)
            is_there = os.path.samestat(opened, os.stat(directory))
            return None if opened.st_uid != os.geteuid() else is_there
        except FileNotFoundError:
            return False
        except OSError:
            return None

    def write_at(descriptor: int, data: bytes | memoryview, offset: int) -> None:
        """Write all of the data at this offset. A single system call may write less without an
        error: near 2 GiB, or if a limit is reached."""
        data = memoryview(data)
        while data:
            written = os.pwrite(descriptor, data, offset)
            if written == 0:
                raise StorageError("the system wrote nothing and gave no reason")
            data, offset = data[written:], offset + written

    def read_at(descriptor: int, count: int, offset: int) -> bytes:
        """At most `count` bytes from this offset on; fewer at the end of the file."""
        return os.pread(descriptor, count, offset)

    def sync(descriptor: int) -> None:
        """Make the content and the length of a file durable. macOS needs a special call, because
        otherwise data may stay in the drive's cache."""
        if FULL_SYNC is None:
            os.fdatasync(descriptor)
        else:
            fcntl.fcntl(descriptor, FULL_SYNC)

    def sync_directory(path: Path) -> None:
        """Make the names in a directory durable. Otherwise a new file may be lost in a power
        cut."""
        descriptor = os.open(path, os.O_RDONLY | _DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def give_name(source: Path, target: Path) -> None:
        """Rename a closed file to a name that doesn't exist yet. Raises FileExistsError if the name
        exists. On file systems without hard links, an empty file has the name for a moment."""
        try:
            os.link(source, target)  # os.link never replaces a file
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            os.close(os.open(target, os.O_CREAT | os.O_EXCL))  # the file is empty for a moment
            try:
                os.rename(source, target)
            except OSError:
                os.unlink(target)
                raise
        else:
            os.unlink(source)

    def take_place(source: Path, target: Path) -> None:
        """Rename a directory to a name that doesn't exist or is an empty directory. Raises OSError
        otherwise. The caller must have closed all files in the directory."""
        os.rename(source, target)

    def remove_files(directory: Path, chosen: Callable[[str], bool]) -> None:
        """Remove those files of a directory whose names `chosen` accepts, durably. If some of these
        files are in use, the other files are removed, and then an error is raised (see
        `is_in_use`)."""
        folder = open_directory(directory)
        try:
            for name in filter(chosen, _files_in(folder)):
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
            os.fsync(folder)
        finally:
            os.close(folder)

    def is_in_use(error: BaseException | None) -> bool:
        """Whether the error means that a file can't be renamed or removed until it is closed."""
        return False
