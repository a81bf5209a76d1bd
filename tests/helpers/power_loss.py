"""A disk that can lose power: records what a program writes and syncs, and shows what may remain.

`Recorder` records every write, sync, creation, renaming and removal below a directory: for SQLite's
files through a VFS below SQLite, for others by replacing functions of `os`. A `Disk` replays the
events. Synced data is durable; anything else may be lost. `crashed` writes one possible outcome to
a directory.

The model is the strict one of POSIX: syncing a file doesn't make its name durable, syncing its
directory does. SQLite syncs the directory of a journal or a write-ahead log itself when it first
syncs the file.
"""

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

SECTOR = 512
KIND_OF_SYNC = 15  # of the flags of a sync
JOURNALS = ("-wal", "-journal")


@dataclass
class Event:
    """An event at a path: its kind and arguments."""

    kind: str
    path: str
    arguments: tuple[Any, ...] = ()


class Recorder:
    """Notes the events below `root` while `recording`."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.events: list[Event] = []

    def note(self, kind: str, path: Any, *arguments: Any) -> None:
        path = os.fspath(path)
        if path.startswith(self.root) and not path.endswith("-shm"):
            self.events.append(Event(kind, path, arguments))

    @contextmanager
    def recording(self, monkeypatch: Any) -> Iterator["Recorder"]:
        global _active
        _install_vfs()
        with monkeypatch.context() as patch:
            self._replace_functions(patch)
            _active = self
            try:
                yield self
            finally:
                _active = None

    def _replace_functions(self, patch: Any) -> None:
        real = {
            name: getattr(os, name)
            for name in (
                *("open", "pwrite", "ftruncate", "fdatasync", "fsync"),
                *("mkdir", "rename", "link", "unlink"),
            )
        }

        def path_of(descriptor: int) -> str:
            return os.readlink(f"/proc/self/fd/{descriptor}")

        def open_(path, flags, *rest, **named):
            if flags & os.O_CREAT and not os.path.exists(path):
                self.note("create", path)
            return real["open"](path, flags, *rest, **named)

        def pwrite(descriptor, data, offset):
            written = real["pwrite"](descriptor, data, offset)
            self.note("write", path_of(descriptor), offset, bytes(data[:written]))
            return written

        def ftruncate(descriptor, size):
            self.note("truncate", path_of(descriptor), size)
            real["ftruncate"](descriptor, size)

        def sync(name):
            def call(descriptor):
                path = path_of(descriptor)
                self.note("sync directory" if os.path.isdir(path) else "sync", path)
                real[name](descriptor)

            return call

        def mkdir(path, *rest, **named):
            real["mkdir"](path, *rest, **named)
            self.note("mkdir", path)

        def rename(source, target, **named):
            real["rename"](source, target, **named)
            self.note("rename", source, os.fspath(target))

        def link(source, target, **named):
            real["link"](source, target, **named)
            self.note("link", source, os.fspath(target))

        def unlink(path, **named):
            real["unlink"](path, **named)
            self.note("unlink", path)

        def rmtree(path, **_):
            for file in sorted(Path(path).iterdir()):
                file.unlink()
            Path(path).rmdir()
            self.note("unlink", path)

        for name, function in {
            "open": open_,
            "pwrite": pwrite,
            "ftruncate": ftruncate,
            "fdatasync": sync("fdatasync"),
            "fsync": sync("fsync"),
            "mkdir": mkdir,
            "rename": rename,
            "link": link,
            "unlink": unlink,
        }.items():
            patch.setattr(os, name, function)
        patch.setattr(shutil, "rmtree", rmtree)


_active: Recorder | None = None


class _RecordingVFS(apsw.VFS):
    def __init__(self) -> None:
        super().__init__("recording", "unix", makedefault=True)

    def xOpen(self, name, flags):
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if _active and path and not os.path.exists(path):
            _active.note("create", path)
        return _RecordingFile(path, name, flags)

    def xDelete(self, name, syncdir):
        super().xDelete(name, syncdir)
        if _active:
            _active.note("unlink", name)
            if syncdir:
                _active.note("sync directory", os.path.dirname(name))


class _RecordingFile(apsw.VFSFile):
    def __init__(self, path, name, flags) -> None:
        self._path = path
        super().__init__("unix", name, flags)

    def xWrite(self, data, offset):
        super().xWrite(data, offset)
        if _active and self._path:
            _active.note("write", self._path, offset, bytes(data))

    def xTruncate(self, size):
        super().xTruncate(size)
        if _active and self._path:
            _active.note("truncate", self._path, size)

    def xSync(self, flags):
        super().xSync(flags)
        # On macOS what is synced otherwise may still be in the cache of the drive.
        if _active and self._path and flags & KIND_OF_SYNC == apsw.SQLITE_SYNC_FULL:
            _active.note("sync", self._path)
            if self._path.endswith(JOURNALS):
                _active.note("sync directory", os.path.dirname(self._path))


def _install_vfs(kept: list = []) -> None:  # noqa: B006 (the VFS must live as long as the process)
    """Install the recording VFS below the checksum VFS. The checksum VFS takes the default VFS as
    its base, so this process must not have used it yet."""
    if not kept:
        assert "cksmvfs" not in apsw.vfs_names(), "run this in a process of its own"
        kept.append(_RecordingVFS())


@dataclass
class File:
    """The durable content of a file, and the writes since: (offset, data) or a new size."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes] | int] = field(default_factory=list)

    def sync(self) -> None:
        for change in self.pending:
            _apply(self.durable, change)
        self.pending.clear()

    def crashed(self, chance: "Chance") -> bytes:
        data = bytearray(self.durable)
        for change in self.pending:
            if chance.survives():
                _apply(data, chance.torn(change))
        return bytes(data)


@dataclass
class Directory:
    """The names that the program sees, the durable ones, and the changes since, in order."""

    names: dict[str, "File | Directory"] = field(default_factory=dict)
    durable: dict[str, "File | Directory"] = field(default_factory=dict)
    pending: list[tuple[str, "File | Directory | None"]] = field(default_factory=list)

    def set(self, name: str, node: "File | Directory | None") -> None:
        if node is None:
            self.names.pop(name, None)
        else:
            self.names[name] = node
        self.pending.append((name, node))

    def sync(self) -> None:
        self.durable = dict(self.names)
        self.pending.clear()

    def crashed(self, chance: "Chance") -> dict[str, "File | Directory"]:
        names = dict(self.durable)
        for name, node in self.pending:  # in order: file systems keep that of names
            if not chance.survives():
                break
            if node is None:
                names.pop(name, None)
            else:
                names[name] = node
        return names


@dataclass
class Chance:
    """How much unsynced data survives: the share, drawn again for each change."""

    share: float
    random: random.Random

    def survives(self) -> bool:
        return self.random.random() < self.share

    def torn(self, change: tuple[int, bytes] | int) -> tuple[int, bytes] | int:
        if isinstance(change, int) or self.share in (0, 1) or self.random.random() < 0.5:
            return change
        offset, data = change
        kept = self.random.randrange(0, len(data) + 1, SECTOR) if len(data) > SECTOR else 0
        return offset, data[:kept]


class Disk:
    """The replayed events; the root directory itself is durable."""

    def __init__(self, root: Path) -> None:
        self._root_path = str(root)
        self.root = Directory()

    def replay(self, event: Event) -> None:
        parent, name = self._parent(event.path)
        match event.kind:
            case "create":
                parent.set(name, File())
            case "mkdir":
                parent.set(name, Directory())
            case "unlink":
                parent.set(name, None)
            case "rename" | "link":
                node = parent.names[name]
                target_parent, target = self._parent(event.arguments[0])
                if event.kind == "rename":
                    parent.set(name, None)
                target_parent.set(target, node)
            case "write":
                parent.names[name].pending.append(event.arguments)
            case "truncate":
                parent.names[name].pending.append(event.arguments[0])
            case "sync":
                parent.names[name].sync()
            case "sync directory":
                (parent.names[name] if name else self.root).sync()

    def crashed(self, target: Path, chance: Chance) -> None:
        """Write one possible outcome of a power cut now to `target`, a new directory."""
        _write_out(self.root, target, chance)

    def _parent(self, path: str) -> tuple[Directory, str]:
        parts = Path(path).relative_to(self._root_path).parts
        node = self.root
        for part in parts[:-1]:
            node = node.names[part]
        return node, parts[-1] if parts else ""


def _write_out(directory: Directory, target: Path, chance: Chance) -> None:
    target.mkdir()
    for name, node in directory.crashed(chance).items():
        if isinstance(node, Directory):
            _write_out(node, target / name, chance)
        else:
            (target / name).write_bytes(node.crashed(chance))


def _apply(data: bytearray, change: tuple[int, bytes] | int) -> None:
    if isinstance(change, int):
        del data[change:]
        data.extend(bytes(change - len(data)))
        return
    offset, new = change
    data.extend(bytes(max(0, offset + len(new) - len(data))))
    data[offset : offset + len(new)] = new
