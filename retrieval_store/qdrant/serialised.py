"""What users pass as JSON: payloads, serialised as Qdrant's REST client does it and then checked,
and dicts in the place of models."""

import functools
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import pydantic_core
import qdrant_client
from pydantic import ConfigDict, TypeAdapter, ValidationError

from retrieval_store.base.validation import Payload, checked_object, shown
from retrieval_store.errors import InvalidMetadataError
from retrieval_store.qdrant.refusals import malformed, wrong

Method = TypeVar("Method", bound=Callable[..., Any])
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
PLAIN = {type(None), bool, int, float, str}  # most arguments, in which there are no dicts
WRITTEN = ("upsert", "update_vectors", "upload_points")  # whose points are no selector


def reading_models(method: Method) -> Method:
    """A method that takes dicts where models are wanted, as qdrant-client's own does, which sends
    them as they are. Refused is what is none of the models there may be, or has other words."""
    name = method.__name__
    named = frozenset(MODELS) - (frozenset(SELECTORS) if name in WRITTEN else frozenset())

    @functools.wraps(method)
    def reading(*args: Any, **kwargs: Any) -> Any:
        for argument, value in kwargs.items():
            if type(value) not in PLAIN and argument in named and _has_dicts(argument, value):
                kwargs[argument] = _as_model(name, argument, value)
        return method(*args, **kwargs)

    return cast(Method, reading)


def _has_dicts(argument: str, value: Any) -> bool:
    if argument in SEVERAL and isinstance(value, list | tuple):
        return any(isinstance(one, Mapping) for one in value)
    return isinstance(value, Mapping)


def _as_model(method: str, argument: str, value: Any) -> Any:
    if argument in SELECTORS and not value:  # would be a filter that all points fulfil
        raise malformed(f"{argument} is an empty dict, expected ids or a filter")
    try:
        return _adapter(method, argument).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise malformed(
            f"{argument} is {shown(value)}; as qdrant_client has it: {place}: {first['msg']}"
        ) from error


@functools.cache
def _adapter(method: str, argument: str) -> TypeAdapter[Any]:
    """What reads an argument of the client's method of this name."""
    hints = typing.get_type_hints(getattr(qdrant_client.QdrantClient, method))
    return TypeAdapter(hints[argument], config=ConfigDict(arbitrary_types_allowed=True))


def to_write(payload: Mapping[Any, Any] | None, place: str = "payload") -> Payload:
    """A payload as JSON: dates and UUIDs as text, tuples and sets as lists, NaN as null."""
    if payload is None:
        return {}
    try:
        return checked_object(payload, place)
    except InvalidMetadataError:
        return checked_object(_serialised(payload, place), place)


def _serialised(payload: Any, place: str) -> Any:
    try:
        return _without_nan(pydantic_core.to_jsonable_python(payload))
    except (pydantic_core.PydanticSerializationError, ValueError) as error:
        raise wrong(f"{place} can't be written as JSON: {error}") from error


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and value - value != 0.0 else value
