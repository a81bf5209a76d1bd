"""Inverted lists in files: a JSON header that names the arrays, and the arrays, one behind another.

Rows mean nothing to another process, so a file has the pks of the rows, and owners by their place
among them. Reading gives layers with everything stale that was written since. Whatever is wrong
with a file, and isn't found by its checksum, is a ValueError here or an IndexError when it is used.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from retrieval_store.base.arrays import Ints
from retrieval_store.engine.state.layers import Layers
from retrieval_store.engine.state.saved import stale_since
from retrieval_store.engine.state.state import State, rows_of
from retrieval_store.engine.state.view import AnyView
from retrieval_store.engine.storage.schema import LISTED
from retrieval_store.engine.words.lists import Lists

MAGIC = b"RSlists1"
Array = npt.NDArray[Any]
_TYPES = {
    "pks": "<i8",
    "sizes": "<f4",
    "terms": "<i8",
    "offsets": "<i8",
    "owners": "<i4",
    "weights": "<f4",
    "vocabulary": "|u1",
}


def write(
    path: Path, layers: Layers[Lists], state: State, going_on: Callable[[], object] = lambda: None
) -> int:
    """Write layers without stale rows; returns the pk that is the first not to be in them.
    going_on: called before each array; it may raise."""
    parts = [list(_arrays(segment, state)) for segment in layers.segments]
    header = [[(name, len(array)) for name, array in part] for part in parts]
    encoded = orjson.dumps(header)
    with path.open("xb") as file:
        file.write(MAGIC + len(encoded).to_bytes(8, "little") + encoded)
        for part in parts:
            for name, array in part:
                going_on()
                file.write(np.ascontiguousarray(array, _TYPES[name]).tobytes())
    return state.head.next_pk


def _arrays(segment: Lists, state: State) -> Iterator[tuple[str, Array]]:
    yield "pks", state.pks[segment.rows]
    yield "sizes", segment.sizes
    yield "terms", segment.terms
    yield "offsets", segment.offsets
    yield "owners", np.searchsorted(segment.rows, segment.owners)
    yield "weights", segment.weights
    words = "\0".join(segment.codes or ()).encode()
    yield "vocabulary", np.frombuffer(words, np.uint8)


def read(path: Path, view: AnyView, seq: int, covered: int) -> Layers[Lists]:
    """What `write` wrote at the write `seq`, when `covered` was the next pk, for this state."""
    data = path.read_bytes()
    if not data.startswith(MAGIC):
        raise ValueError(f"{path} is no file of lists")
    start = len(MAGIC) + 8
    stop = start + int.from_bytes(data[len(MAGIC) : start], "little")
    segments = []
    for named in orjson.loads(data[start:stop]):
        arrays = {}
        for name, length in named:
            dtype = np.dtype(_TYPES[name])
            arrays[name] = np.frombuffer(data, dtype, length, stop)
            stop += length * dtype.itemsize
        segments.append(_segment(arrays, view.state.pks))
    return Layers(tuple(segments), stale_since(view, seq, covered, LISTED))


def _segment(arrays: dict[str, Array], pks: Ints) -> Lists:
    rows, offsets = rows_of(pks, arrays["pks"]), arrays["offsets"]
    if (arrays["owners"] < 0).any() or (np.diff(arrays["pks"]) <= 0).any():
        raise ValueError("its rows are out of order")
    if not np.isfinite(arrays["weights"]).all() or not (arrays["sizes"] >= 0).all():
        raise ValueError("it has weights that are no numbers")
    owners, weights = rows[arrays["owners"]].astype(np.int32), arrays["weights"]
    if len(offsets) == 0 or (np.diff(offsets) < 0).any() or offsets[-1] != len(owners):
        raise ValueError("its lists don't follow one another")
    if (rows < 0).any():  # deleted since
        kept = owners >= 0
        offsets = np.append(0, np.cumsum(kept))[offsets]
        owners = owners[kept]
        weights = weights[kept] if len(weights) else weights
    words = arrays["vocabulary"].tobytes().decode()
    codes = {word: code for code, word in enumerate(words.split("\0"))} if words else None
    living = rows >= 0
    sizes = arrays["sizes"][living] if len(arrays["sizes"]) else arrays["sizes"]
    if len(offsets) != len(codes if codes is not None else arrays["terms"]) + 1:
        raise ValueError("it has other lists than terms")
    return Lists(rows[living], sizes, codes, arrays["terms"], offsets, owners, weights, True)
