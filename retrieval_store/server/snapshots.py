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
from retrieval_store.qdrant import snapshots
from retrieval_store.qdrant.errors import Refused, not_found, wrong
from retrieval_store.server.answers import Accepted, FileAnswer
from retrieval_store.server.request import RequestContext, refuse_dots


def _opened_collection(asked: RequestContext) -> Any:
    """The collection in the path, or None for the whole store."""
    if "shard_id" in asked.names and asked.names["shard_id"] != "0":
        if not asked.names["shard_id"].isdigit():
            raise wrong("Deserialize error in path parameters: shard_id is no number")
        raise not_found(f"Not found: shard {asked.names['shard_id']}; there is shard 0 alone")
    if "collection_name" not in asked.names:
        return None
    return asked.served.opened(asked.collection)


def _now_or_later(asked: RequestContext, job: Callable[[], Any]) -> Any:
    """The result of a job; or that it will be done, where the client doesn't wait."""
    return Accepted(job) if asked.query.get("wait") == "false" else job()


def list_snapshots(asked: RequestContext) -> Any:
    """The snapshots that exist."""
    return snapshots.list_snapshots(asked.served.store, _opened_collection(asked))


def create(asked: RequestContext) -> Any:
    """Make a snapshot now; or later, where the client doesn't wait."""
    opened = _opened_collection(asked)
    snapshots.folder_of(asked.served.store, opened)
    return _now_or_later(asked, lambda: snapshots.create(asked.served.store, opened))


def delete(asked: RequestContext) -> Any:
    """Delete a snapshot."""
    opened, name = _opened_collection(asked), asked.names["snapshot_name"]
    snapshots.path_of(asked.served.store, opened, name)
    return _now_or_later(asked, lambda: snapshots.delete(asked.served.store, opened, name))


def file_of(asked: RequestContext) -> FileAnswer:
    """A snapshot as a file."""
    name = asked.names["snapshot_name"]
    return FileAnswer(snapshots.path_of(asked.served.store, _opened_collection(asked), name), name)


def taken_now(asked: RequestContext) -> FileAnswer:
    """A snapshot that is made for this request alone."""
    opened = _opened_collection(asked)
    name = f"{opened.record.name}.snapshot"
    path = upload_path(asked)
    asked.served.store.snapshot(path, opened.record.id)
    return FileAnswer(path, name, temporary=True)


def upload_path(asked: RequestContext) -> Path:
    """A path for an uploaded file, if the store has snapshots."""
    snapshots.root_of(asked.served.store)
    return asked.served.temporary_path()


def recover(asked: RequestContext) -> Any:
    """Replace a collection by a snapshot of this server."""
    path = _find_file(asked, asked.body.location)
    return _recover(asked, path, asked.body.checksum, lambda: None)


def recover_uploaded(asked: RequestContext) -> Any:
    """Replace a collection by an uploaded snapshot."""
    path: Path = asked.body
    return _recover(asked, path, asked.query.get("checksum"), partial(path.unlink, missing_ok=True))


def _recover(asked: RequestContext, path: Path, checksum: str | None, done: Any) -> Any:
    refuse_dots(asked.collection)

    def job() -> bool:
        try:
            return _in_place(asked, path, checksum)
        finally:
            done()

    return _now_or_later(asked, job)


def _in_place(asked: RequestContext, path: Path, checksum: str | None) -> bool:
    name = asked.served.name_of(asked.collection)
    try:
        return snapshots.recover(asked.served.store, name, path, checksum)
    except (FormatError, DamagedError, InvalidArgumentError) as error:
        raise wrong(f"Wrong input: the snapshot can't be used: {error}") from error


def _find_file(asked: RequestContext, location: str) -> Path:
    """The file that a location names: a snapshot of the collection by its name, or any of the
    store's by its path. Refused (403) for anything else."""
    try:
        url = urlparse(location)
    except ValueError:
        raise wrong(f"location is {location!r}, expected a snapshot's name or path") from None
    root = snapshots.root_of(asked.served.store)
    if url.scheme in ("http", "https"):
        raise Refused(HTTPStatus.FORBIDDEN, f"Forbidden: {location} isn't fetched; upload the file")
    if url.scheme not in ("", "file"):
        raise Refused(HTTPStatus.FORBIDDEN, f"Forbidden: {location} isn't read")
    path = Path(unquote(url.path) if url.scheme == "file" else location)
    if len(path.parts) == 1:
        return snapshots.path_of(asked.served.store, _opened_collection(asked), str(path))
    try:
        path = path.resolve()
        inside = path.is_relative_to(root.resolve())
    except (OSError, ValueError, RuntimeError):
        inside = False
    if not inside:
        raise Refused(
            HTTPStatus.FORBIDDEN,
            "Forbidden: a snapshot must be in the directory for them",
        )
    return path
