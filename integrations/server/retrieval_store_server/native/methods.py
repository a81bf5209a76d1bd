"""The methods of a store that another process can call. They are the methods of the protocols
`EngineStore` and `EnginePoints`; the type hints define how arguments and results are encoded.
`Calls` has a few methods that replace methods with callbacks. An error is sent as the name of its
class and its message (`encode_error`, `decode_error`).
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_type_hints

from retrieval_store import errors
from retrieval_store.errors import NotFoundError, RetrievalStoreError
from retrieval_store.extension import Analyzer, CollectionRecord, EnginePoints, EngineStore
from retrieval_store_server.native.codec import (
    Array,
    Buffer,
    MalformedError,
    Parts,
    decode,
    encode,
    names_for_types,
    pack_message,
    unpack_message,
)

Permission: TypeAlias = Literal["read", "write", "manage"]
ROOT = "/retrieval-store/v1"
OURS = "retrieval-store"  # the field of `GET /` with the version of this package


class Method:
    """A method of the protocol. function: the declaration of the method, whose type hints give the
    types of the arguments and the result; access: the permission that a call needs; long: whether a
    call can take minutes."""

    def __init__(
        self, function: Callable[..., Any], access: Permission, *, long: bool = False
    ) -> None:
        self.name = function.__name__
        self.access: Permission = access
        self.long = long
        self._function = function

    @cached_property
    def _hints(self) -> Mapping[str, Any]:
        return get_type_hints(self._function, localns=names_for_types())

    def encode_arguments(self, arguments: Mapping[str, Any]) -> Parts:
        """A message with these arguments. Raises InvalidArgumentError for an argument that cannot
        be sent."""
        arrays: list[Array] = []
        return pack_message({name: encode(v, arrays) for name, v in arguments.items()}, arrays)

    def decode_arguments(self, message: Buffer) -> dict[str, Any]:
        """The arguments in a message; raises MalformedError if they do not fit the method."""
        arguments, arrays = unpack_message(message)
        hints = self._hints
        if not isinstance(arguments, dict) or arguments.keys() != hints.keys() - {"return"}:
            raise MalformedError(f"these aren't the arguments of {self.name}")
        return {name: decode(data, hints[name], arrays) for name, data in arguments.items()}

    def encode_result(self, result: Any) -> Parts:
        """A message with a result."""
        arrays: list[Array] = []
        return pack_message(encode(result, arrays), arrays)

    def decode_result(self, message: Buffer) -> Any:
        """The result in a message; raises MalformedError if it has the wrong type."""
        result, arrays = unpack_message(message, trusted=True)
        return decode(result, self._hints["return"], arrays)


class Calls:
    """Methods of the protocol that replace methods of a store. The replaced methods take callbacks,
    or write files on the caller's machine; these methods do neither."""

    def exchange(
        self, collection_id: str, before: CollectionRecord, after: CollectionRecord
    ) -> bool:
        """Replace a collection's name and settings by those in `after`, if they still equal those
        in `before`. Returns whether they were replaced."""
        raise NotImplementedError

    def exchange_aliases(self, before: dict[str, str], after: dict[str, str]) -> bool:
        """Replace all aliases by `after` if they still equal `before`. Returns whether they were
        replaced."""
        raise NotImplementedError

    def compact(self, collection_id: str) -> None:
        """Like `optimize`, but without reporting progress."""
        raise NotImplementedError

    def verified(self, analyzers: dict[str, Analyzer]) -> list[tuple[str, int, str | None]]:
        """The reports of `verify`. A report has a file's path in the store, its size in bytes, and
        its problem, None for a sound file. analyzers: the analyzers of collections, by the
        collections' ids."""
        raise NotImplementedError

    def budget(self) -> dict[str, int]:
        """How many bytes the caches in the server's process can use, and how many they use."""
        raise NotImplementedError

    def saved(self, collection_id: str | None) -> None:
        """Make a snapshot, as `snapshot` does. The response contains the snapshot's file."""
        raise NotImplementedError

    def copy(self, collection_id: str) -> str:
        """Make a private copy of a collection in its present state. Returns the copy's name, which
        the caller passes in later calls on the same connection. The copy is deleted when it was not
        read for a while."""
        raise NotImplementedError

    def forget_copy(self, name: str) -> None:
        """Delete a private copy."""
        raise NotImplementedError


def _by_name(*methods: Method) -> Mapping[str, Method]:
    return {method.name: method for method in methods}


POINTS = _by_name(
    Method(EnginePoints.get, "read"),
    Method(EnginePoints.sample, "read"),
    Method(EnginePoints.ask, "read"),
    Method(EnginePoints.explain, "read"),
    Method(EnginePoints.why, "read", long=True),
    Method(EnginePoints.stats, "read"),
    Method(EnginePoints.warm, "read", long=True),
    Method(EnginePoints.number, "read"),
    Method(EnginePoints.count_within, "read"),
    Method(EnginePoints.project, "read", long=True),
    Method(EnginePoints.count, "read"),
    Method(EnginePoints.in_order, "read"),
    Method(EnginePoints.facet, "read"),
    Method(EnginePoints.kinds, "read"),
    Method(EnginePoints.put, "write"),
    Method(EnginePoints.append, "write"),
    Method(EnginePoints.delete, "write"),
    Method(EnginePoints.merge_payload, "write"),
    Method(EnginePoints.configure_index, "manage"),
    Method(EnginePoints.position, "read"),
    Method(EnginePoints.changes_since, "read"),
    Method(EnginePoints.spaces, "read"),
    Method(EnginePoints.add_space, "manage"),
    Method(EnginePoints.drop_space, "manage"),
)
STORE = _by_name(
    Method(EngineStore.create, "manage"),
    Method(EngineStore.by_name, "read"),
    Method(EngineStore.resolve, "read"),
    Method(EngineStore.record, "read"),
    Method(EngineStore.page, "read"),
    Method(EngineStore.count, "read"),
    Method(EngineStore.drop, "manage"),
    Method(EngineStore.gauges, "read"),
    Method(EngineStore.own_bytes, "read"),
    Method(EngineStore.fork, "manage", long=True),
    Method(EngineStore.aliases, "read"),
    Method(Calls.exchange, "manage"),
    Method(Calls.exchange_aliases, "manage"),
    Method(Calls.compact, "manage", long=True),
    Method(Calls.verified, "read", long=True),
    Method(Calls.budget, "read"),
    Method(Calls.saved, "read", long=True),
    Method(Calls.copy, "read", long=True),
    Method(Calls.forget_copy, "read"),
)
_KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, RetrievalStoreError) and kind.__name__ == name
}


def encode_error(error: RetrievalStoreError) -> dict[str, Any]:
    """An error in the form in which it is sent to another process. If the table of errors lacks the
    error's class, the nearest base class in the table is sent."""
    kind = next(base for base in type(error).__mro__ if base.__name__ in _KINDS)
    data = {"error": kind.__name__, "message": str(error).encode("utf-8", "replace").decode()}
    was_there = isinstance(error, NotFoundError) and error.was_there
    return {**data, "was_there": True} if was_there else data


def decode_error(answer: Any) -> RetrievalStoreError | None:
    """The error that a response contains; None if the response is not an error."""
    name = answer.get("error") if isinstance(answer, dict) else None
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        return None
    error: RetrievalStoreError = kind(str(answer.get("message", "")))
    if isinstance(error, NotFoundError):
        error.was_there = answer.get("was_there") is True
    return error
