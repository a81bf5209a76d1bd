"""Bytes that URIs point at: local files, `data:` URIs, and, where the user lists their schemes,
what lies on a network; within limits of size and time.
"""

import base64
import binascii
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from retrieval_store.errors import DataLoaderError, MissingDependencyError, RetrievalStoreError
from retrieval_store.loaders import files
from retrieval_store.loaders.deadline import Deadline
from retrieval_store.loaders.web import WEB, Web

PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Sources:
    """What may be read, and how much.

    schemes: besides local files and `data:`, those that may be followed, such as "https" and "s3";
    root: a folder that local files must lie in; max_bytes; timeout: seconds for one URI;
    private_addresses: whether web servers may have addresses of private networks. Of other schemes
    fsspec decides where they lead.
    """

    schemes: tuple[str, ...] = ()
    root: Path | None = None
    max_bytes: int = 50_000_000
    timeout: float = 10.0
    private_addresses: bool = False

    def read(self, uri: str) -> bytes:
        """The bytes; DataLoaderError when they can't be had, or may not."""
        deadline = Deadline.after(self.timeout)
        try:
            return self._read(uri, deadline)
        except RetrievalStoreError:
            raise
        except Exception as error:  # of file systems' plugins, of many kinds
            deadline.left()  # when it has passed, that is why, whatever came of it
            raise DataLoaderError(str(error) or repr(error)) from error

    def _read(self, uri: str, deadline: Deadline) -> bytes:
        scheme = urllib.parse.urlsplit(uri).scheme.lower() if ":" in uri else ""
        if scheme == "data":
            return self._checked(_of_data(uri))
        if scheme in ("", "file") or len(scheme) == 1:
            with files.opened(_path_of(uri, scheme), self.root) as file:
                return self._limited(file.read, deadline)
        if scheme not in self.schemes:
            raise DataLoaderError(
                f"the scheme {scheme!r} isn't allowed; list it in schemes= (or is it a file, "
                f"'./{uri}'?)"
            )
        return self._of_web(uri, deadline) if scheme in WEB else self._of_fsspec(uri, deadline)

    def _of_web(self, uri: str, deadline: Deadline) -> bytes:
        with Web(self.schemes, self.private_addresses, deadline).opened(uri) as response:
            return self._limited(response.read1, deadline)

    def _of_fsspec(self, uri: str, deadline: Deadline) -> bytes:
        if "::" in uri:  # which leads to a second file system, by a scheme that isn't listed
            raise DataLoaderError("a chain of file systems isn't followed")
        try:
            import fsspec
        except ImportError as error:
            raise MissingDependencyError(
                f'{uri!r} needs fsspec: pip install "retrieval-store[remote-files]"'
            ) from error
        return deadline.wait_for(partial(self._of_opened, partial(fsspec.open, uri), deadline))

    def _of_opened(self, open_file: Callable[[], Any], deadline: Deadline) -> bytes:
        with open_file() as file:
            return self._limited(file.read, deadline)

    def _limited(self, read: Callable[[int], bytes | None], deadline: Deadline) -> bytes:
        return b"".join(self._pieces(read, deadline))

    def _pieces(self, read: Callable[[int], bytes | None], deadline: Deadline) -> Iterator[bytes]:
        left = self.max_bytes
        while piece := read(PIECE):
            left -= len(piece)
            if left < 0:
                raise DataLoaderError(f"it is larger than max_bytes, {self.max_bytes:,}")
            deadline.left()
            yield piece
        if piece is None:
            raise DataLoaderError("it has nothing to read at present, so it is no usual file")

    def _checked(self, data: bytes) -> bytes:
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


def _of_data(uri: str) -> bytes:
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
