"""The routes of this package's own protocol, through which `Client(url=)` uses a served store like
a directory. Requests and responses are messages of `native`, and contain the types of
`retrieval_store.query`.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

from retrieval_store import plugins
from retrieval_store.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    InvalidUUIDError,
    NotFoundError,
)
from retrieval_store.extension import (
    Analyzer,
    CollectionRecord,
    EnginePoints,
    NewSpace,
    check_object,
    is_unicode,
)
from retrieval_store_server.http.answers import FileAnswer, Response
from retrieval_store_server.http.request import KEPT_SECONDS, RequestContext
from retrieval_store_server.native.codec import MEDIA_TYPE
from retrieval_store_server.native.methods import POINTS, STORE, Method
from retrieval_store_server.native.validate import check_arguments

LONGEST_NAME = 512


def points_route(name: str) -> Callable[[RequestContext], Any]:
    """The function that answers requests for a method of a collection's points. A request can name
    a private copy instead of the collection."""
    method = POINTS[name]

    def call(call: RequestContext) -> Response:
        arguments = _arguments(method, call)
        if name == "add_space":
            _check_space(arguments["space"])
        return _answer_of(method, getattr(_points(call), name)(**arguments))

    return call


def store_route(name: str) -> Callable[[RequestContext], Any]:
    """The function that answers requests for a method of the store."""
    method = STORE[name]

    def call(call: RequestContext) -> Response | FileAnswer:
        arguments = _arguments(method, call)
        own = _INSTEAD.get(name)
        if own is None:
            return _answer_of(method, getattr(call.served.store, name)(**arguments))
        result = own(call, **arguments)
        return result if isinstance(result, FileAnswer) else _answer_of(method, result)

    return call


def _arguments(method: Method, call: RequestContext) -> dict[str, Any]:
    arguments = method.decode_arguments(call.body)
    check_arguments(arguments)
    return arguments


def _answer_of(method: Method, result: Any) -> Response:
    return Response(200, b"", MEDIA_TYPE, parts=method.encode_result(result))


def _points(call: RequestContext) -> EnginePoints:
    copy = call.query.get("copy")
    if copy is not None:
        return call.served.copies.points(copy)
    return call.served.store.points(call.names["collection_id"])


def _create(
    call: RequestContext,
    name: str,
    settings: dict[str, Any],
    spaces: Mapping[str, NewSpace],
    collection_id: str | None,
) -> CollectionRecord:
    check_object(settings, "settings")
    _check_name(name)
    if collection_id is not None:
        _check_new_id(call, collection_id)
    for space in spaces.values():
        _check_space(space)
    return call.served.store.create(name, settings, spaces, collection_id)


def _check_new_id(call: RequestContext, collection_id: str) -> None:
    """Refuse an id that is not a UUID in canonical form, since the id becomes the name of a
    directory. The id of an existing collection is refused, too."""
    try:
        is_canonical = str(UUID(collection_id)) == collection_id
    except ValueError:
        is_canonical = False
    if not is_canonical:
        raise InvalidUUIDError(f"collection_id is {collection_id!r}, expected a UUID")
    with suppress(NotFoundError):
        call.served.store.record(collection_id)
        raise AlreadyExistsError(f"there is a collection with the id {collection_id}")


def _check_name(name: str) -> None:
    if not 0 < len(name) <= LONGEST_NAME or "\0" in name or not is_unicode(name):
        raise InvalidArgumentError(f"name is {name!r}, expected 1 to {LONGEST_NAME} characters")


def _check_space(space: NewSpace) -> None:
    """Refuse a vector space with an invalid dimension, or with a kind of index that this server
    doesn't have."""
    if space.dimension is not None and space.dimension < 1:
        raise InvalidArgumentError(f"dimension is {space.dimension}, expected 1 or more")
    if space.kind == "dense":
        plugins.check_index(space)


def _exchange(
    call: RequestContext, collection_id: str, before: CollectionRecord, after: CollectionRecord
) -> bool:
    _check_name(after.name)
    check_object(after.settings, "settings")
    record = call.served.store.change(
        collection_id,
        lambda there: (
            CollectionRecord(there.id, after.name, after.settings) if there == before else there
        ),
    )
    return (record.name, record.settings) == (after.name, after.settings)


def _exchange_aliases(call: RequestContext, before: dict[str, str], after: dict[str, str]) -> bool:
    for alias in after:
        _check_name(alias)
    taken: list[bool] = []

    def edit(present: dict[str, str]) -> dict[str, str]:
        taken.append(present == before)
        return after if present == before else present

    call.served.store.change_aliases(edit)
    return taken[-1]


def _compact(call: RequestContext, collection_id: str) -> None:
    call.served.store.optimize(collection_id, lambda done, total: None)


def _verify(
    call: RequestContext, analyzers: Mapping[str, Analyzer]
) -> list[tuple[str, int, str | None]]:
    store = call.served.store
    root = store.directory
    reports = store.verify(lambda record: analyzers.get(record.id, Analyzer()))
    return [
        (
            str(report.file if root is None else report.file.relative_to(root)),
            report.bytes,
            report.problem,
        )
        for report in reports
    ]


def _save_snapshot(call: RequestContext, collection_id: str | None) -> FileAnswer:
    """A snapshot that is made for this request. Its file is deleted after it was sent."""
    store = call.served.store
    path = call.served.temporary_path()
    store.snapshot(path, collection_id)
    return FileAnswer(path, "snapshot.zip", temporary=True)


def _copy(call: RequestContext, collection_id: str) -> str:
    copies = call.served.copies
    name = copies.begin(partial(call.served.store.open_copy, collection_id))
    call.hold(KEPT_SECONDS, partial(copies.leave, name))
    return name


def _forget_copy(call: RequestContext, name: str) -> None:
    call.served.copies.end(name)


_INSTEAD: Mapping[str, Callable[..., Any]] = {
    "compact": _compact,
    "copy": _copy,
    "create": _create,
    "exchange": _exchange,
    "exchange_aliases": _exchange_aliases,
    "forget_copy": _forget_copy,
    "saved": _save_snapshot,
    "verified": _verify,
}
