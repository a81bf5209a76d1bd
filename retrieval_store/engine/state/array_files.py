"""Arrays in files, to be mapped: a header of JSON, and the arrays, each at a multiple of 64 bytes.

What is mapped takes no memory of the process' own, and processes share it; so nothing is copied,
and nothing is parsed but the header. Which types arrays may have is fixed, and what a file says of
their lengths decides nothing: together they have to be what a file of that size holds. Whatever is
wrong with one, and isn't found by its checksum, is a ValueError here or where its arrays are read.
"""

import mmap
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.engine.state.saved import OutdatedError

Array: TypeAlias = npt.NDArray[Any]
ALIGNMENT = 64
_TYPES = frozenset(("<i8", "<u8", "<f8", "<i4", "<f4", "|u1"))  # little-endian, as in memory


@dataclass(frozen=True, slots=True)
class Arrays:
    """What a file holds. header: what its maker says of it; arrays: read-only; memory: the map in
    which they lie."""

    header: Any
    arrays: Sequence[Array]
    memory: mmap.mmap

    def of_types(self, *types: str) -> Sequence[Array]:
        """The arrays, which have to be of these types, one after the other; else ValueError."""
        if [array.dtype for array in self.arrays] != [np.dtype(one) for one in types]:
            raise ValueError("it has other arrays than it should")
        return self.arrays


def pieces(magic: bytes, header: object, arrays: Sequence[Array]) -> Iterator[bytes]:
    """The bytes of a file, piece by piece; each array is one. magic: eight bytes, which say what
    kind of file it is; header: of what JSON can say."""
    told = orjson.dumps([header, [[_type_of(array), len(array)] for array in arrays]])
    head = magic + len(told).to_bytes(8, "little") + told
    place = len(head)
    yield head
    for array in arrays:
        data = np.ascontiguousarray(array, _type_of(array)).tobytes()
        if data:
            yield data.rjust(len(data) + _aligned(place) - place, b"\0")
            place = _aligned(place) + len(data)


def write(path: Path, content: Iterator[bytes], going_on: Callable[[], object]) -> None:
    """Write such pieces to a new file. going_on: called before each; it may raise."""
    with path.open("xb") as file:
        for piece in content:
            going_on()
            file.write(piece)


def read(path: Path, magic: bytes, before: Collection[bytes] = ()) -> Arrays:
    """What is in the file; ValueError when it is none of this kind, OutdatedError for what was
    written as it was before. before: what such files begin with."""
    with path.open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    start = len(magic) + 8
    place = start + int.from_bytes(memory[len(magic) : start], "little")
    if memory[: len(magic)] in before:
        raise OutdatedError("the file is of an older kind")
    if memory[: len(magic)] != magic or place > len(memory):
        raise ValueError(f"{path} is no file of this kind")
    header, listed = orjson.loads(memory[start:place])
    arrays = []
    for name, length in listed:
        if name not in _TYPES or type(length) is not int or length < 0:
            raise ValueError(f"{path} has an array of {length!r} {name!r}")
        dtype = np.dtype(name)
        if length:
            place = _aligned(place)
            arrays.append(np.frombuffer(memory, dtype, length, place))
            place += length * dtype.itemsize
        else:
            arrays.append(np.empty(0, dtype))
    if place != len(memory):
        raise ValueError(f"{path} has {len(memory)} bytes instead of {place}")
    return Arrays(header, arrays, memory)


def _type_of(array: Array) -> str:
    return array.dtype.newbyteorder("<").str


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
