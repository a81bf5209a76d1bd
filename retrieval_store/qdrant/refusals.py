"""Refuses calls with the errors that users of Qdrant's client expect.

`Refused` derives from the error that qdrant-client raises for a server, and from that of its local
mode; it has a server's status. `answers_as_a_server` turns errors of this project into `Refused`,
with the same messages. This module also checks arguments: it accepts dicts instead of models, and
`to_write` checks payloads, and serialises them as Qdrant's REST client does.
"""

import functools
import inspect
import itertools
import json
import math
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from types import FunctionType
from typing import Any, TypeVar

import pydantic_core
import qdrant_client
from httpx import Headers
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model
from qdrant_client.client_base import QdrantBase
from qdrant_client.http.exceptions import UnexpectedResponse
from qdrant_client.http.models import models

from retrieval_store.base.system import cut_text
from retrieval_store.base.tracing import is_shown_without_frames
from retrieval_store.base.validation import Payload, check_object, is_unicode, quote
from retrieval_store.errors import (
    AlreadyExistsError,
    ClientClosedError,
    ConflictError,
    EmbeddingFunctionError,
    InvalidArgumentError,
    InvalidMetadataError,
    NotFoundError,
    RetrievalStoreError,
)

STATUSES: tuple[tuple[type[RetrievalStoreError], HTTPStatus], ...] = (
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (AlreadyExistsError, HTTPStatus.CONFLICT),
    (ConflictError, HTTPStatus.CONFLICT),
    (InvalidArgumentError, HTTPStatus.BAD_REQUEST),
    (EmbeddingFunctionError, HTTPStatus.BAD_REQUEST),
)
# What Python, numpy, SQLite and pydantic raise for arguments that aren't what was expected.
MISREAD = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
LEFT_OUT = {"self", "collection_name", "kwargs", "return"}
REPLACED_AT_MOST = 3  # times in one call
MAX_NUMBER = 2**63 - 1  # what a server's and an engine's numbers hold
ClassT = TypeVar("ClassT", bound=type)


class Refused(RetrievalStoreError, UnexpectedResponse, ValueError):  # noqa: N818  as servers say
    """A call was refused, and nothing was written. status_code: the status in a server's response;
    ids: if example points lack the vector, the ids of these points."""

    ids: Sequence[Any] = ()

    def __init__(self, status: int, message: str) -> None:
        content = json.dumps({"status": {"error": message}, "time": 0.0}).encode()
        UnexpectedResponse.__init__(
            self, int(status), HTTPStatus(status).phrase, content, Headers()
        )
        self.message = message

    def __str__(self) -> str:
        return f"{self.status_code} ({self.reason_phrase}): {self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        return Refused, (self.status_code, self.message)


class NoVectorError(Refused):
    """Points that a request names as examples lack the requested vector. ids: the ids of these
    points."""

    def __init__(self, ids: Sequence[Any], name: str) -> None:
        message = f"Not found: the point {ids[0]} has no vector {name!r}"
        super().__init__(HTTPStatus.NOT_FOUND, message)
        self.ids = ids


def bad_request(message: str) -> Refused:
    """The refusal of a request that a server cannot parse."""
    return Refused(HTTPStatus.UNPROCESSABLE_ENTITY, message)


INVALID = "Validation error in JSON body"


def invalid(reason: str) -> Refused:
    """The refusal of a body that a server can parse but that is invalid."""
    return bad_request(f"{INVALID}: {reason}")


def wrong(message: str) -> Refused:
    """The refusal of an invalid request."""
    return Refused(HTTPStatus.BAD_REQUEST, message)


def not_found(message: str) -> Refused:
    """The refusal of a request for something that doesn't exist."""
    return Refused(HTTPStatus.NOT_FOUND, message)


PARTS, CHARACTERS = 4, 60  # of a value that are shown in a message


def describe(value: Any, depth: int = 3) -> str:
    """A value of a request as JSON, in the form in which it was sent, shortened for a message. A
    value that can't be JSON is shown as Python shows it."""
    if isinstance(value, BaseModel):
        value = {name: part for name, part in vars(value).items() if part is not None}
    elif hasattr(value, "tolist"):
        value = (value[: PARTS + 1] if getattr(value, "ndim", 1) else value).tolist()
    if isinstance(value, dict | list | tuple) and not depth:
        return "…"
    if isinstance(value, dict):
        items = itertools.islice(value.items(), PARTS + 1)
        parts = [f"{describe(name)}: {describe(part, depth - 1)}" for name, part in items]
        return f"{{{_abbreviate(parts)}}}"
    if isinstance(value, list | tuple):
        return f"[{_abbreviate([describe(part, depth - 1) for part in value[: PARTS + 1]])}]"
    if isinstance(value, str):
        value = cut_text(value, CHARACTERS)
    if value is None or isinstance(value, str | int | float):
        return json.dumps(value, ensure_ascii=False)
    return quote(value)


def _abbreviate(parts: Sequence[str]) -> str:
    """The first of the parts, and a mark if there are more."""
    return ", ".join([*parts[:PARTS], *(["…"] if len(parts) > PARTS else [])])


def to_float(value: Any, name: str) -> float:
    """A number as float64. Raises Refused for any other value, and for a number that is too
    large."""
    try:
        number = math.nan if isinstance(value, str | bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isnan(number):
        raise bad_request(f"{name} is {quote(value)}, expected a number")
    return number


def answers_as_a_server(kind: ClassT) -> ClassT:
    """A class decorator that makes public methods behave like those of a server's client. They
    accept dicts instead of models, and refuse a dict that fits no model or has unknown keys. Errors
    of this package become `Refused`, without inner frames, except errors of files and of a closed
    client. If a snapshot has replaced the collection during the call, the call is repeated. Any
    other failure becomes a refusal if the arguments do not fit the client's own method. Arguments
    are only checked after a failure, so that successful calls take no longer."""
    for name, method in list(vars(kind).items()):
        if isinstance(method, FunctionType) and not name.startswith("_"):
            setattr(kind, name, _answering(name, method))
    return kind


def _answering(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    signature, read = inspect.signature(method), _arguments_to_read(name)

    @functools.wraps(method)
    def answer(*args: Any, **kwargs: Any) -> Any:
        try:
            given = kwargs
            for argument, value in kwargs.items():
                if type(value) not in PLAIN and argument in read and _has_dicts(argument, value):
                    given = {**given, argument: _as_model(name, argument, value)}
            try:
                return method(*args, **given)
            except NotFoundError as error:
                if not error.was_there or not _is_repeatable(*args, *kwargs.values()):
                    raise
            return _again(method, args, given)
        except (RetrievalStoreError, *MISREAD) as error:
            is_short = isinstance(error, RetrievalStoreError) and is_shown_without_frames(error)
            if is_short:
                error.__traceback__, error.__suppress_context__ = None, True
            refusal = _refusal_of_error(error, name, signature, args, kwargs)
            try:
                if refusal is not None:
                    raise refusal from error
                if is_short:
                    raise error
                raise
            finally:
                del refusal  # which would lead to itself, by its traceback and this frame

    return answer


def _again(method: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Repeat a call, for the collection that has replaced the earlier one."""
    for _ in range(REPLACED_AT_MOST - 1):
        try:
            return method(*args, **kwargs)
        except NotFoundError as error:
            if not error.was_there:
                raise
    return method(*args, **kwargs)


def _refusal_of_error(
    error: Exception, name: str, signature: inspect.Signature, args: Any, kwargs: Any
) -> Refused | None:
    """The refusal for an error in the method of this name. None if the error is a refusal already,
    or is not the caller's fault."""
    if isinstance(error, Refused | ClientClosedError):
        return None
    if isinstance(error, NotFoundError) and error.missing:
        return not_found(f"Not found: No point with id {error.missing[0]} found")
    for kind, status in STATUSES:
        if isinstance(error, kind):
            return Refused(status, str(error))
    # An error of ours with such a cause took the arguments for damage of what is stored.
    if isinstance(error, RetrievalStoreError) and not isinstance(error.__cause__, MISREAD):
        return None
    arguments = signature.bind(*args, **kwargs).arguments
    arguments |= arguments.pop("settings", {}) | arguments.pop("kwargs", {})
    refusal = _refusal(name, arguments)
    if refusal is None and isinstance(error, OverflowError | RecursionError | ValidationError):
        return bad_request(f"{name} can't read this: {error}")
    return refusal


def _is_repeatable(*arguments: Any) -> bool:
    """Whether a call with these arguments can be repeated: none of them is an iterator, which can
    be read only once."""
    return not any(isinstance(argument, Iterator) for argument in arguments)


def _refusal(name: str, arguments: Mapping[str, Any]) -> Refused | None:
    """The refusal of a call of the method of this name. None if the arguments are valid."""
    collection = arguments.get("collection_name", "")
    if not isinstance(collection, str) or not is_unicode(collection):
        return bad_request(
            f"collection_name is {quote(collection)}, expected a str of Unicode text"
        )
    if not hasattr(qdrant_client.QdrantClient, name):  # a server has checked its arguments
        return None
    for argument, value in arguments.items():
        if isinstance(value, int) and abs(value) > MAX_NUMBER:
            return bad_request(f"{argument} is {quote(value)}, expected an int of at most 64 bits")
    try:
        _model(name, strict=True).model_validate(dict(arguments))
    except ValidationError as invalidity:
        return _refusal_of_first_error(invalidity, arguments)
    return None


def check_given(name: str, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments whose types the client's method of this name does not accept."""
    try:
        _model(name, strict=False).model_validate(dict(arguments))
    except ValidationError as invalidity:
        raise _refusal_of_first_error(invalidity, arguments) from None


def _refusal_of_first_error(invalidity: ValidationError, arguments: Mapping[str, Any]) -> Refused:
    first = invalidity.errors()[0]
    argument = str(first["loc"][0])
    shown = quote(arguments[argument])
    return bad_request(f"{argument} is {shown}; as qdrant_client has it: {first['msg']}")


def _hints_of(name: str) -> dict[str, Any]:
    """The types of the parameters of the client's method of this name. Some type aliases contain
    names that are defined in the module `models`, but not in the method's module."""
    method = getattr(qdrant_client.QdrantClient, name)
    return typing.get_type_hints(method, localns={**vars(models), **method.__globals__})


@functools.cache
def _model(name: str, strict: bool) -> type[BaseModel]:
    """A pydantic model with the parameters of the client's method of this name."""
    method = getattr(qdrant_client.QdrantClient, name)
    hints = _hints_of(name)
    fields: dict[str, Any] = {
        parameter: (hints[parameter], None)
        for parameter in inspect.signature(method).parameters
        if parameter in hints and parameter not in LEFT_OUT
    }
    config = ConfigDict(arbitrary_types_allowed=True, strict=strict)
    return create_model(name, __config__=config, **fields)


SELECTORS = ("points", "points_selector")
SEVERAL = ("prefetch", "update_operations", "change_aliases_operations")
MODELS = (  # arguments that are models, or have some in a list
    *("query_filter", "scroll_filter", "count_filter", "facet_filter", "update_filter"),
    *("prefetch", "search_params", "lookup_from", "with_lookup", "order_by"),
    *("with_payload", "update_operations", "change_aliases_operations"),
    *("hnsw_config", "optimizers_config", "wal_config", "quantization_config"),
    *("vectors_config", "sparse_vectors_config", "vector_name_config", "field_schema"),
    *("strict_mode_config", "collection_params", "shard_key_selector", *SELECTORS),
)
# The types of most arguments, in which there are no dicts.
PLAIN = {
    *(type(None), bool, int, float, str),
    *(kind for kind in vars(models).values() if isinstance(kind, type(BaseModel))),
}
WRITTEN = ("upsert", "update_vectors", "upload_points")  # whose points are no selector


def _arguments_to_read(name: str) -> frozenset[str]:
    """The arguments of the client's method of this name that can be dicts instead of models."""
    if not hasattr(QdrantBase, name):
        return frozenset()
    return frozenset(MODELS).difference(SELECTORS if name in WRITTEN else ())


def _has_dicts(argument: str, value: Any) -> bool:
    if argument in SEVERAL and isinstance(value, list | tuple):
        return any(isinstance(item, Mapping) for item in value)
    return isinstance(value, Mapping)


def _as_model(method: str, argument: str, value: Any) -> Any:
    if argument in SELECTORS and not value:  # would be a filter that all points fulfil
        raise bad_request(f"{argument} is an empty dict, expected ids or a filter")
    try:
        return _adapter(method, argument).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise bad_request(
            f"{argument} is {quote(value)}; as qdrant_client has it: {place}: {first['msg']}"
        ) from error


@functools.cache
def _adapter(method: str, argument: str) -> TypeAdapter[Any]:
    """The pydantic adapter for an argument of the client's method of this name."""
    kind = _hints_of(method)[argument]
    return TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True))


def to_write(payload: Mapping[Any, Any] | None, place: str = "payload") -> Payload:
    """A payload in the form of JSON. Dates and UUIDs become strings, tuples and sets become lists,
    and NaN becomes null."""
    if payload is None:
        return {}
    try:
        return check_object(payload, place)
    except InvalidMetadataError:
        return check_object(_serialise(payload, place), place)


def _serialise(payload: Any, place: str) -> Any:
    try:
        return _without_nan(pydantic_core.to_jsonable_python(payload))
    except (pydantic_core.PydanticSerializationError, ValueError) as error:
        raise wrong(f"{place} can't be written as JSON: {error}") from error


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and value - value != 0.0 else value
