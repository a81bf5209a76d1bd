"""Creates, sends, receives and recovers snapshots.

All snapshots are in the store's directory for snapshots. Only a snapshot from there, or an uploaded
snapshot, can be recovered: no other path is read, and nothing is downloaded.
"""

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from retrieval_store.errors import DamagedError, FormatError, InvalidArgumentError
from retrieval_store.qdrant import Refused
from retrieval_store_server.http.answers import Accepted, FileAnswer
from retrieval_store_server.http.refusals import not_found, wrong
from retrieval_store_server.http.request import RequestContext, refuse_dots


def _snapshots(call: RequestContext) -> Any:
    """The snapshots of the collection in the path, or of the whole store."""
    if "shard_id" in call.names and call.names["shard_id"] != "0":
        if not call.names["shard_id"].isdigit():
            raise wrong("Deserialize error in path parameters: shard_id is no number")
        raise not_found(f"Not found: shard {call.names['shard_id']}; there is shard 0 alone")
    return call.embedded.snapshots(call.names.get("collection_name"))


def _now_or_later(call: RequestContext, job: Callable[[], Any]) -> Any:
    """The result of a job. If the client does not wait, the job is done after the response, which
    only says that the request was accepted."""
    return Accepted(job) if call.query.get("wait") == "false" else job()


def list_snapshots(call: RequestContext) -> Any:
    """Descriptions of the existing snapshots."""
    return _snapshots(call).described()


def create(call: RequestContext) -> Any:
    """Make a snapshot now, or after the response if the client does not wait."""
    snapshots = _snapshots(call)
    snapshots.root  # noqa: B018  raises where there can be none
    return _now_or_later(call, snapshots.create)


def delete(call: RequestContext) -> Any:
    """Delete a snapshot."""
    snapshots, name = _snapshots(call), call.names["snapshot_name"]
    snapshots.path_of(name)
    return _now_or_later(call, partial(snapshots.delete, name))


def file_of(call: RequestContext) -> FileAnswer:
    """A response that sends the file of a snapshot."""
    name = call.names["snapshot_name"]
    return FileAnswer(_snapshots(call).path_of(name), name)


def take_snapshot(call: RequestContext) -> FileAnswer:
    """A response that sends a snapshot, which is made for this request."""
    record = _snapshots(call).opened.record
    name = f"{record.name}.snapshot"
    path = upload_path(call)
    call.served.store.snapshot(path, record.id)
    return FileAnswer(path, name, temporary=True)


def upload_path(call: RequestContext) -> Path:
    """A path for an uploaded file. Raises Refused if the store cannot have snapshots."""
    call.embedded.snapshots(None).root  # noqa: B018  raises where there can be none
    return call.served.temporary_path()


def recover(call: RequestContext) -> Any:
    """Replace a collection by a snapshot that is stored on this server."""
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
    name = call.embedded.name_of(call.collection)
    try:
        return call.embedded.recover(name, path, checksum)
    except (FormatError, DamagedError, InvalidArgumentError) as error:
        raise wrong(f"Wrong input: the snapshot can't be used: {error}") from error


def _find_file(call: RequestContext, location: str) -> Path:
    """The file of a snapshot at a location: the name of a snapshot of the collection, or the path
    of any snapshot of the store. Raises Refused (403) for any other location."""
    try:
        url = urlparse(location)
    except ValueError:
        raise wrong(f"location is {location!r}, expected a snapshot's name or path") from None
    root = call.embedded.snapshots(None).root
    if url.scheme in ("http", "https"):
        raise Refused(HTTPStatus.FORBIDDEN, f"Forbidden: {location} isn't fetched; upload the file")
    if url.scheme not in ("", "file"):
        raise Refused(HTTPStatus.FORBIDDEN, f"Forbidden: {location} isn't read")
    if url.scheme == "file" and url.netloc not in ("", "localhost"):
        raise wrong("Bad request: Invalid snapshot URI, file path must be absolute or on localhost")
    path = Path(unquote(url.path) if url.scheme == "file" else location)
    if len(path.parts) == 1:
        named: Path = _snapshots(call).path_of(str(path))
        return named
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
