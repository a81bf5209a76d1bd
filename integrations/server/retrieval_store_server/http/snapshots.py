"""Snapshots that are taken, sent, received and put in the place of collections.

All of them lie in the store's directory for them. What is to be recovered must be one of those, or
be sent here: no path elsewhere is read, and nothing is fetched.
"""

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from retrieval_store.errors import DamagedError, FormatError, InvalidArgumentError
from retrieval_store.qdrant import snapshot_folders
from retrieval_store.qdrant.refusals import Refused, not_found, wrong
from retrieval_store_server.http.answers import Accepted, FileAnswer
from retrieval_store_server.http.request import RequestContext, refuse_dots


def _opened_collection(call: RequestContext) -> Any:
    """The collection in the path, or None for the whole store."""
    if "shard_id" in call.names and call.names["shard_id"] != "0":
        if not call.names["shard_id"].isdigit():
            raise wrong("Deserialize error in path parameters: shard_id is no number")
        raise not_found(f"Not found: shard {call.names['shard_id']}; there is shard 0 alone")
    if "collection_name" not in call.names:
        return None
    return call.served.open(call.collection)


def _now_or_later(call: RequestContext, job: Callable[[], Any]) -> Any:
    """The result of a job; or that it will be done, where the client doesn't wait."""
    return Accepted(job) if call.query.get("wait") == "false" else job()


def list_snapshots(call: RequestContext) -> Any:
    """The snapshots that exist."""
    return snapshot_folders.list_snapshots(call.served.store, _opened_collection(call))


def create(call: RequestContext) -> Any:
    """Make a snapshot now; or later, where the client doesn't wait."""
    opened = _opened_collection(call)
    snapshot_folders.folder_of(call.served.store, opened)
    return _now_or_later(call, lambda: snapshot_folders.create(call.served.store, opened))


def delete(call: RequestContext) -> Any:
    """Delete a snapshot."""
    opened, name = _opened_collection(call), call.names["snapshot_name"]
    snapshot_folders.path_of(call.served.store, opened, name)
    return _now_or_later(call, lambda: snapshot_folders.delete(call.served.store, opened, name))


def file_of(call: RequestContext) -> FileAnswer:
    """A snapshot as a file."""
    name = call.names["snapshot_name"]
    return FileAnswer(
        snapshot_folders.path_of(call.served.store, _opened_collection(call), name), name
    )


def take_snapshot(call: RequestContext) -> FileAnswer:
    """A snapshot that is made for this request alone."""
    opened = _opened_collection(call)
    name = f"{opened.record.name}.snapshot"
    path = upload_path(call)
    call.served.store.snapshot(path, opened.record.id)
    return FileAnswer(path, name, temporary=True)


def upload_path(call: RequestContext) -> Path:
    """A path for an uploaded file, if the store has snapshots."""
    snapshot_folders.root_of(call.served.store)
    return call.served.temporary_path()


def recover(call: RequestContext) -> Any:
    """Replace a collection by a snapshot of this server."""
    path = _find_file(call, call.body.location)
    return _recover(call, path, call.body.checksum, lambda: None)


def recover_uploaded(call: RequestContext) -> Any:
    """Replace a collection by an uploaded snapshot."""
    path: Path = call.body
    return _recover(call, path, call.query.get("checksum"), partial(path.unlink, missing_ok=True))


def _recover(call: RequestContext, path: Path, checksum: str | None, done: Any) -> Any:
    refuse_dots(call.collection)

    def job() -> bool:
        try:
            return _in_place(call, path, checksum)
        finally:
            done()

    return _now_or_later(call, job)


def _in_place(call: RequestContext, path: Path, checksum: str | None) -> bool:
    name = call.served.name_of(call.collection)
    try:
        return snapshot_folders.recover(call.served.store, name, path, checksum)
    except (FormatError, DamagedError, InvalidArgumentError) as error:
        raise wrong(f"Wrong input: the snapshot can't be used: {error}") from error


def _find_file(call: RequestContext, location: str) -> Path:
    """The file that a location names: a snapshot of the collection by its name, or any of the
    store's by its path. Refused (403) for anything else."""
    try:
        url = urlparse(location)
    except ValueError:
        raise wrong(f"location is {location!r}, expected a snapshot's name or path") from None
    root = snapshot_folders.root_of(call.served.store)
    if url.scheme in ("http", "https"):
        raise Refused(HTTPStatus.FORBIDDEN, f"Forbidden: {location} isn't fetched; upload the file")
    if url.scheme not in ("", "file"):
        raise Refused(HTTPStatus.FORBIDDEN, f"Forbidden: {location} isn't read")
    if url.scheme == "file" and url.netloc not in ("", "localhost"):
        raise wrong("Bad request: Invalid snapshot URI, file path must be absolute or on localhost")
    path = Path(unquote(url.path) if url.scheme == "file" else location)
    if len(path.parts) == 1:
        return snapshot_folders.path_of(call.served.store, _opened_collection(call), str(path))
    try:
        path = path.resolve()
        inside = path.is_relative_to(root.resolve())
    except (OSError, ValueError, RuntimeError):
        inside = False
    if not inside:
        raise Refused(
            HTTPStatus.FORBIDDEN,
            "Forbidden: Snapshot file path must be inside the snapshots directory",
        )
    return path
