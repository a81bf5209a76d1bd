"""What users pass as JSON: serialised as Qdrant's REST client does it, and then checked."""

from collections.abc import Mapping
from typing import Any

import pydantic_core

from retrieval_store.base.json_values import Payload, checked_object
from retrieval_store.errors import InvalidMetadataError
from retrieval_store.qdrant.refusals import wrong


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
