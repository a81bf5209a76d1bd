"""What requests and answers are made of: numbers of vectors, ids of points, payloads.

qdrant-client converts all of these, too, but makes an object of each number of a vector.
"""

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from qdrant_client import grpc as messages
from qdrant_client import models

from retrieval_store.base.arrays import Matrix
from retrieval_store.qdrant.vectors import uuid_of

Message: TypeAlias = Any
NULL = messages.NullValue.NULL_VALUE
INT_MIN, INT_MAX = -(2**63), 2**63 - 1  # of the integers that a payload's value may be


def numbers(message: Message) -> Any:
    """(n,) float32: the numbers of a message whose first field they are, and which has no other
    field set; an empty list where there are none.

    On the wire they are the bytes of an array, behind a byte for the field and their length. Copied
    from there they take a fiftieth of the time that objects of Python take.
    """
    count = len(message.data)
    if not count:
        return []
    sent = message.SerializeToString()
    size = 4 * count
    if len(sent) == 1 + _length_of(size) + size:
        return np.frombuffer(sent, "<f4", offset=len(sent) - size)
    return np.array(message.data, np.float32)  # with fields that aren't known behind


def _length_of(number: int) -> int:
    """Bytes that a number takes on the wire."""
    return (number.bit_length() + 6) // 7


def payload_of(fields: Any) -> dict[str, Any]:
    """A map of values as JSON has them."""
    return {name: value_of(fields[name]) for name in fields}


def value_of(value: Message) -> Any:
    """A value; numbers that JSON can't have are null, as a server makes them."""
    kind = value.WhichOneof("kind")
    match kind:
        case "struct_value":
            return payload_of(value.struct_value.fields)
        case "list_value":
            return [value_of(one) for one in value.list_value.values]
        case "double_value":
            return value.double_value if math.isfinite(value.double_value) else None
        case None | "null_value":
            return None
    return getattr(value, kind)


def fields_of(payload: Mapping[str, Any]) -> dict[str, Any]:
    """A payload as what constructors of messages take for a map of values."""
    return {name: field_of(value) for name, value in payload.items()}


def field_of(value: Any) -> dict[str, Any]:
    """A value as what the constructor of its message takes. An integer that the message can't hold
    is a float, as a server makes it."""
    kind = type(value)
    if kind is str:
        return {"string_value": value.encode("utf-8", "replace").decode()}
    if kind is bool:
        return {"bool_value": value}
    if kind is int:
        held = INT_MIN <= value <= INT_MAX
        return {"integer_value": value} if held else {"double_value": float(value)}
    if kind is float:
        return {"double_value": value}
    if kind is dict:
        return {"struct_value": {"fields": fields_of(value)}}
    if kind is list:
        return {"list_value": {"values": [field_of(one) for one in value]}}
    return {"null_value": NULL}


def id_field_of(point_id: Any) -> dict[str, Any]:
    """An id as what the constructor of its message takes."""
    return {"num": point_id} if type(point_id) is int else {"uuid": str(point_id)}


def new_id_of(message: Message) -> Any:
    """The id of a point that is written; ValueError where it can't have it."""
    kind = message.WhichOneof("point_id_options")
    if kind == "num":
        return message.num
    if kind is None:
        raise ValueError("a point has no id")
    known = uuid_of(message.uuid)
    if known is None:
        raise ValueError(f"Unable to parse UUID: {message.uuid[:100]}")
    return known


def vectors_field_of(given: Any) -> dict[str, Any]:
    """The vectors of a point as what the constructor of their message takes."""
    if isinstance(given, Mapping):
        named = {name: _vector_field_of(one) for name, one in given.items()}
        return {"vectors": {"vectors": named}}
    return {"vector": _vector_field_of(given)}


def _vector_field_of(given: Any) -> dict[str, Any]:
    if isinstance(given, models.SparseVector):
        return {"sparse": {"indices": given.indices, "values": given.values}}
    if len(given) and isinstance(given[0], list):
        return {"multi_dense": {"vectors": [{"data": _numbers_of(one)} for one in given]}}
    return {"dense": {"data": _numbers_of(given)}}


def _numbers_of(given: Any) -> Any:
    """Numbers, of which those that float16 doesn't hold are told as None elsewhere."""
    return [math.inf if one is None else one for one in given] if None in given else given


def matrix_of(message: Message) -> Matrix | list[Any]:
    """(count, n) The rows of several vectors; lists where they differ in length."""
    rows = [numbers(one) for one in message.vectors]
    if not rows or len({len(row) for row in rows}) > 1:
        return [list(map(float, row)) for row in rows]
    return np.stack(rows) if len(rows[0]) else []
