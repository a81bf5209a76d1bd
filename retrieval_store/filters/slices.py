"""Parts of all ids, by hash."""

from collections.abc import Sequence
from typing import Any, TypeAlias, final
from uuid import UUID

import numpy as np
import numpy.typing as npt

from retrieval_store.base.arrays import Bools
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.nodes import IdLeaf
from retrieval_store.filters.readings import uuid_in

Word: TypeAlias = npt.NDArray[np.uint64]


@final
@dataclass(frozen=True, slots=True)
class InSlice(IdLeaf):
    """Points of one of `total` parts of all ids, about as many in each: of those whose hash leaves
    `index`, divided by `total`."""

    total: int
    index: int

    def check(self) -> None:
        if not 0 <= self.index < self.total:
            raise InvalidFilterError(
                f"the slice has index {self.index} of {self.total}, expected one from 0 to "
                "total - 1"
            )

    def of(self, ids: Sequence[int | str]) -> Bools:
        found = np.zeros(len(ids), np.bool_)
        contents = [_content(one) for one in ids]
        sizes = np.array([len(content) for content in contents], np.int64)
        for size in np.unique(sizes).tolist():
            places = np.flatnonzero(sizes == size)
            joined = b"".join(contents[i] for i in places.tolist())
            rows = np.frombuffer(joined, np.uint8).reshape(len(places), size)
            found[places] = hashes(rows) % np.uint64(self.total) == self.index
        return found


def _content(one: int | str) -> bytes:
    """What of an id is hashed: numbers in 8 bytes, UUIDs in 16, other strings as they are."""
    if isinstance(one, int):
        return one.to_bytes(8, "little")
    known = uuid_in(one)
    return one.encode() if known is None else UUID(known).bytes


def hashes(rows: npt.NDArray[np.uint8]) -> Word:
    """(n,) SipHash-2-4, with a key of zeros, of the bytes in each row."""
    count, size = rows.shape
    padded = np.zeros((count, (size // 8 + 1) * 8), np.uint8)
    padded[:, :size] = rows
    padded[:, -1] = size % 256
    words = padded.view("<u8")
    constants = b"somepseudorandomlygeneratedbytes"
    state = [
        np.full(count, int.from_bytes(constants[i : i + 8], "big"), np.uint64)
        for i in range(0, 32, 8)
    ]
    for i in range(words.shape[1]):
        state[3] = state[3] ^ words[:, i]
        state = _rounds(state, 2)
        state[0] = state[0] ^ words[:, i]
    state[2] = state[2] ^ np.uint64(255)
    a, b, c, d = _rounds(state, 4)
    found: Word = a ^ b ^ c ^ d
    return found


def _rounds(state: list[Any], times: int) -> list[Any]:
    a, b, c, d = state
    for _ in range(times):
        a, c = a + b, c + d
        b, d = _turned(b, 13) ^ a, _turned(d, 16) ^ c
        a, c = _turned(a, 32) + d, c + b
        d, b = _turned(d, 21) ^ a, _turned(b, 17) ^ c
        c = _turned(c, 32)
    return [a, b, c, d]


def _turned(word: Word, bits: int) -> Word:
    return (word << np.uint64(bits)) | (word >> np.uint64(64 - bits))
