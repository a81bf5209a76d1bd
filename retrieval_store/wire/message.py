"""A message: JSON, and arrays behind it, as they lie in memory.

Eight bytes say what it is and how long the JSON is; then come the JSON, an object with the `data`
and for each of the `arrays` its type and shape, and the arrays, each at a multiple of 16 bytes.
Numbers are little-endian.
"""

import math
import struct
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson

Array: TypeAlias = npt.NDArray[Any]
Buffer: TypeAlias = bytes | bytearray | memoryview
Parts: TypeAlias = Sequence[Buffer]
LARGEST = 512 << 20  # bytes of a message
COPIED = 64 * 1024  # bytes of a message that is made one part
MEDIA_TYPE = "application/x-retrieval-store"
DTYPES = {name: np.dtype(name) for name in ("<f4", "<f8", "<i8", "<u4", "|b1")}
_HEAD = struct.Struct("<4sI")
_MARK = b"rsw1"
_ALIGNED = 16  # bytes: what any of the types, and the scan, could want
_DEEPEST_SHAPE = 3


class MalformedError(ValueError):
    """Bytes that are no message, or data in it that isn't what it should be."""


def packed(data: Any, arrays: Sequence[Array] = ()) -> Parts:
    """A message of JSON values and arrays, in parts: a large array is one, and isn't copied."""
    said = orjson.dumps({"data": data, "arrays": [[one.dtype.str, one.shape] for one in arrays]})
    parts: list[Buffer] = [_HEAD.pack(_MARK, len(said)), said]
    size = _HEAD.size + len(said)
    for one in arrays:
        parts += [bytes(-size % _ALIGNED), _bytes_of(np.ascontiguousarray(one))]
        size += -size % _ALIGNED + one.nbytes
    return parts if size > COPIED else [b"".join(parts)]


def _bytes_of(array: Any) -> memoryview:
    return memoryview(array.reshape(-1)).cast("B")


def size_of(parts: Parts) -> int:
    """Bytes of a message in parts."""
    return sum(map(len, parts))


def unpacked(message: Buffer) -> tuple[Any, list[Array]]:
    """The data and the arrays of a message; these share its memory, and can be written to where it
    can. MalformedError for what is none."""
    if len(message) < _HEAD.size:
        raise MalformedError("it is too short")
    mark, length = _HEAD.unpack_from(message)
    if mark != _MARK:
        raise MalformedError("it isn't one of retrieval-store")
    start = _HEAD.size
    try:
        said = orjson.loads(memoryview(message)[start : start + length])
        data, described = said["data"], said["arrays"]
        return data, _arrays(message, described, start + length)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise MalformedError(str(error)) from None


def _arrays(message: Buffer, described: Any, start: int) -> list[Array]:
    found = []
    for name, shape in described:
        dtype = DTYPES[name]
        if len(shape) > _DEEPEST_SHAPE or not all(type(n) is int and n >= 0 for n in shape):
            raise MalformedError(f"there is no array of the shape {shape!r}")
        start += -start % _ALIGNED
        count = math.prod(shape)
        if start + count * dtype.itemsize > len(message) and count:
            raise MalformedError(f"an array of the shape {shape!r} is cut off")
        found.append(
            np.frombuffer(message, dtype, count, start).reshape(shape)
            if count
            else np.empty(shape, dtype)
        )
        start += count * dtype.itemsize
    return found
