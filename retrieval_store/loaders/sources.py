"""Reads the bytes that URIs point at, within limits of size and time.

URIs lead to local files, to data within themselves (`data:`), and to networks whose schemes the
user lists. Only regular files are read. With a root, only files in it are read, even if other
processes change links at the same time. A path is resolved first. The resolved path is then opened
step by step from the open folder `root`, without following links. So a link that another process
inserts between these steps can make a read fail, but can't lead it out of the root.
"""

import base64
import binascii
import os
import stat
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any

from retrieval_store.base import platform
from retrieval_store.base.system import needing
from retrieval_store.errors import DataLoaderError, RetrievalStoreError
from retrieval_store.loaders.web import WEB, Deadline, Web

__all__ = ["Sources"]
MOUNTS = Path("/proc/self/mountinfo")
# File systems without files: reading there asks the kernel, and may never end, take what another
# program waits for, or give this process's own secrets away.
KERNEL_TYPES = frozenset([
    "proc", "sysfs", "tracefs", "debugfs", "securityfs", "configfs", "cgroup", "cgroup2", "bpf",
    "pstore", "efivarfs", "selinuxfs", "smackfs", "fusectl", "binfmt_misc", "mqueue", "nfsd",
    "rpc_pipefs", "resctrl",
])  # fmt: skip


@contextmanager
def open_file(path: Path, root: Path | None) -> Iterator[FileIO]:
    """A context manager that opens the file at a path without buffering. Raises DataLoaderError
    unless it is a regular file; if `root` is given, the file must be below it."""
    _refuse_where_untried()
    place = _regular(str(path), None) if root is None else _below(root, _names(path, root))
    with _translate_missing_file(place) as file:
        yield file


def _refuse_where_untried() -> None:
    if not platform.HAS_DIRECTORY_DESCRIPTORS:
        raise DataLoaderError("files are loaded on Linux and macOS so far")


@contextmanager
def _translate_missing_file(place: AbstractContextManager[FileIO]) -> Iterator[FileIO]:
    try:
        with place as file:
            yield file
    except (FileNotFoundError, NotADirectoryError):
        raise DataLoaderError("there is no such file") from None


def _names(path: Path, root: Path) -> tuple[str, ...]:
    """The names of the folders that lead from the root to the file, and the name of the file. A
    relative path is looked up below the root first, and then below the working directory."""
    inside = root.resolve()
    below = (root / path).resolve()
    is_missing = below.is_relative_to(inside) and not os.path.lexists(below)
    if is_missing or not below.is_relative_to(inside):
        below = path.resolve()
    try:
        names = below.relative_to(inside).parts
    except ValueError:
        if is_missing:  # the same whether or not there is one outside, which is nobody's business
            raise DataLoaderError(
                f"there is no such file below root {root}, where relative paths are looked up "
                "first, and the one in the working directory is outside of root"
            ) from None
        raise DataLoaderError(
            f"it lies outside of root {root}; relative paths are looked for below root first, so "
            "'a/b.png' is root's own"
        ) from None
    if not names:
        raise DataLoaderError("there is no such file, but a folder: root itself")
    return names


@contextmanager
def _below(root: Path, names: tuple[str, ...]) -> Iterator[FileIO]:
    folder = platform.enter_directory(root)
    try:
        for name in names[:-1]:
            inner = platform.enter_directory(name, within=folder)
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
    """A context manager that opens a regular file by its name. If a folder is given, links are not
    followed."""
    # Checked before it is opened, since even opening a device can have effects; and again after,
    # since the opened file may be another.
    _refuse_odd(os.stat(name, dir_fd=folder, follow_symlinks=folder is None))
    # Should a pipe or a terminal take the file's place, opening it must not wait for it.
    opener = partial(platform.open_plainly, follow=folder is None, within=folder)
    with FileIO(name, "rb", opener=opener) as file:
        _refuse_odd(os.fstat(file.fileno()))
        yield file


def _refuse_odd(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise DataLoaderError("there is no such file, but a folder, a pipe, a device or a link")
    kind = _kernel_type(status)
    if kind is not None:
        raise DataLoaderError(f"it lies on a file system of the kernel's own, {kind}")


def _kernel_type(status: os.stat_result) -> str | None:
    """The type of a file's file system if the kernel itself generates the files there, as in /proc;
    None for other file systems. Such files would otherwise be taken for regular files."""
    if status.st_blocks:  # on a disk: there is no need to look further
        return None
    device = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    try:
        mounts = MOUNTS.read_text(errors="replace").splitlines()
    except OSError:  # not Linux
        return None
    for line in mounts:
        place, _, kind = line.partition(" - ")
        if place.split()[2] == device and kind.split()[0] in KERNEL_TYPES:
            return kind.split()[0]
    return None


PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources from which data can be read, and the limits for reading.

    schemes: the allowed schemes, in addition to local files and `data:`, such as "https" and "s3";
    root: the folder that must contain local files; max_bytes: the maximum size of the data at one
    URI; timeout: the seconds for one URI; private_addresses: whether web servers can have addresses
    of private networks. For schemes that fsspec handles, fsspec decides what is accessed.
    """

    schemes: tuple[str, ...] = ()
    root: Path | None = None
    max_bytes: int = 50_000_000
    timeout: float = 10.0
    private_addresses: bool = False

    def read(self, uri: str) -> bytes:
        """The bytes at a URI. Raises DataLoaderError if they cannot be read, or if reading them is
        not allowed."""
        deadline = Deadline.after(self.timeout)
        try:
            return self._read(uri, deadline)
        except RetrievalStoreError:
            raise
        except Exception as error:  # of file systems' plugins, of many kinds
            deadline.seconds_left()  # a passed deadline is the cause, whatever the error
            raise DataLoaderError(str(error) or repr(error)) from error

    def read_below(self, path: str) -> bytes:
        """The bytes of the file at a path relative to the root. No part of the path can be a link.
        Raises DataLoaderError if the file cannot be read."""
        assert self.root is not None
        _refuse_where_untried()
        names = tuple(path.split("/"))
        if "\0" in path or not {"", ".", ".."}.isdisjoint(names):
            raise DataLoaderError("it isn't the path of a file below a folder")
        deadline = Deadline.after(self.timeout)
        try:
            with _translate_missing_file(_below(self.root, names)) as file:
                return self._read_limited(file.read, deadline)
        except OSError as error:
            raise DataLoaderError(str(error)) from error

    def _read(self, uri: str, deadline: Deadline) -> bytes:
        scheme = urllib.parse.urlsplit(uri).scheme.lower() if ":" in uri else ""
        if scheme == "data":
            return self._check_size(_decode_data_uri(uri))
        if scheme in ("", "file") or len(scheme) == 1:
            with open_file(_path_of(uri, scheme), self.root) as file:
                return self._read_limited(file.read, deadline)
        if scheme not in self.schemes:
            raise DataLoaderError(
                f"the scheme {scheme!r} isn't allowed; list it in schemes= (or is it a file, "
                f"'./{uri}'?)"
            )
        return self._read_web(uri, deadline) if scheme in WEB else self._read_fsspec(uri, deadline)

    def _read_web(self, uri: str, deadline: Deadline) -> bytes:
        with Web(self.schemes, self.private_addresses, deadline).open(uri) as response:
            length = response.length  # None where the server doesn't say it; it may count down
            data = self._read_limited(response.read1, deadline)
        if length is not None and len(data) < length:
            raise DataLoaderError(f"the server broke off after {len(data):,} of {length:,} bytes")
        return data

    def _read_fsspec(self, uri: str, deadline: Deadline) -> bytes:
        if "::" in uri:  # which leads to a second file system, by a scheme that isn't listed
            raise DataLoaderError("a chain of file systems isn't followed")
        with needing(f"{uri!r}", "fsspec", "[remote-files]"):
            import fsspec
        return deadline.wait_for(partial(self._read_opened, partial(fsspec.open, uri), deadline))

    def _read_opened(self, open_file: Callable[[], Any], deadline: Deadline) -> bytes:
        with open_file() as file:
            return self._read_limited(file.read, deadline)

    def _read_limited(self, read: Callable[[int], bytes | None], deadline: Deadline) -> bytes:
        return b"".join(self._pieces(read, deadline))

    def _pieces(self, read: Callable[[int], bytes | None], deadline: Deadline) -> Iterator[bytes]:
        left = self.max_bytes
        while piece := read(PIECE):
            left -= len(piece)
            if left < 0:
                raise DataLoaderError(f"it is larger than max_bytes, {self.max_bytes:,}")
            deadline.seconds_left()
            yield piece
        if piece is None:
            raise DataLoaderError("it has nothing to read at present, so it is no usual file")

    def _check_size(self, data: bytes) -> bytes:
        if len(data) > self.max_bytes:
            raise DataLoaderError(f"it is larger than max_bytes, {self.max_bytes:,}")
        return data


def _path_of(uri: str, scheme: str) -> Path:
    if "\0" in uri:
        raise DataLoaderError("it has a U+0000 in it")
    if scheme != "file":
        return Path(uri)
    parts = urllib.parse.urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise DataLoaderError(f"a file: URI of another machine, {parts.netloc!r}")
    return Path(urllib.request.url2pathname(parts.path))


def _decode_data_uri(uri: str) -> bytes:
    head, comma, body = uri.partition(",")
    if not comma:
        raise DataLoaderError("a data: URI without a comma")
    raw = urllib.parse.unquote_to_bytes(body)
    if not head.lower().endswith(";base64"):
        return raw
    try:
        return base64.b64decode(b"".join(raw.split()), validate=True)
    except binascii.Error as error:
        raise DataLoaderError(f"a data: URI whose base64 is wrong: {error}") from error
