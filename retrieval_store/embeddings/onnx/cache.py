"""Files that can be made again, kept in the user's cache directory.

Beside each lies its SHA-256: one that has changed since, or wasn't finished, is made again. Where
nothing can be written, or there is no such directory, what was made is handed on as it is.
"""

import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from retrieval_store.base.tracing import log_of
from retrieval_store.embeddings.onnx.weights import digest_of

_log = log_of()
READABLE = 0o644


def cache_directory() -> Path:
    """Where the user's programs keep what they can make again: XDG_CACHE_HOME or ~/.cache, or what
    macOS and Windows have for it."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        given = Path(os.environ.get("XDG_CACHE_HOME", ""))
        base = given if given.is_absolute() else Path.home() / ".cache"
    return base / "retrieval-store" / "models"


def cached_file(name: str, make: Callable[[], bytes]) -> Path | bytes:
    """The file of this name, made if it isn't there or isn't whole; its bytes where it can't be
    kept."""
    try:
        path = cache_directory() / name
    except RuntimeError as error:  # of a user who has no home
        return _not_cached(name, make(), error)
    digest = path.with_suffix(".sha256")
    with suppress(OSError):
        trusted = _is_ours(digest) and _is_ours(path)
        if trusted and digest.read_bytes() == digest_of(path).encode():
            return path
    made = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _written(path, made)
        _written(digest, hashlib.sha256(made).hexdigest().encode())
    except OSError as error:
        return _not_cached(name, made, error)
    return path


def _is_ours(path: Path) -> bool:
    """Whether it is a plain file of this user or of root that no other can write to."""
    info = path.stat()
    own = not hasattr(os, "getuid") or info.st_uid in (0, os.getuid())
    others = sys.platform != "win32" and info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISREG(info.st_mode) and own and not others


def _not_cached(name: str, made: bytes, error: Exception) -> bytes:
    _log.info("%s can't be kept, so it is made again by each process: %s", name, error)
    return made


def _written(path: Path, content: bytes) -> None:
    """Write a file of its own and let it take the place of another: two processes that do so at
    once leave one that is whole."""
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
        if sys.platform != "win32":
            Path(name).chmod(READABLE)  # by others too, as of a model that root put into an image
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
