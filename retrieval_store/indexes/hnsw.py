"""HNSW, the graph of Malkov and Yashunin (2016), implemented by hnswlib.

hnswlib is compiled when it is installed, so it is an extra, imported when the first graph is built.
Without it settings can still be checked and stored.

hnswlib trusts its files: an invalid link makes it read memory outside the graph. So `_read_file`
reads the files, and rejects graphs that this module can't have written. The parts are then passed
to hnswlib in the form of a pickled graph. This blocks other threads of the interpreter for a third
to half as long as hnswlib's `load_index`: 115 instead of 315 ms for 188 MB (300,000 vectors of 128
dimensions), 32 instead of 68 ms for 55 MB. Saving uses `save_index`, which takes 46 and 14 ms for
these graphs; creating the parts of a pickle takes 400 and 40 ms.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval_store.base.arrays import Bools, Ints, Matrix, Metric
from retrieval_store.base.validation import Payload, quote
from retrieval_store.errors import PluginError
from retrieval_store.indexes import HNSW_DEFAULTS
from retrieval_store.indexes.exact import UNIT_ROUNDOFF, norms_of

MAX_SETTING = 1_000_000  # the greatest value of any setting
SMALLEST = 1024
UNDERFLOW = 1e-25  # the error caused by the smallest float32 numbers, in a vector of length 1
HEADER = np.dtype(
    [
        ("offset_level0", "<u8"),
        ("max_elements", "<u8"),
        ("count", "<u8"),
        ("element_bytes", "<u8"),
        ("label_offset", "<u8"),
        ("data_offset", "<u8"),
        ("max_level", "<i4"),
        ("entry", "<u4"),
        ("max_links", "<u8"),
        ("max_links0", "<u8"),
        ("m", "<u8"),
        ("mult", "<f8"),
        ("ef_construction", "<u8"),
    ]
)
Words = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class _FileParts:
    """The content of a graph's file. elements: (n, words), for each vector the links at the lowest
    level, the vector's components, and its number. levels: (n,), the highest level of each vector.
    links: the links at higher levels, one row for each vector and level, which begins with the
    number of links."""

    header: np.void
    elements: Words
    levels: Ints
    links: Words


class HNSWIndex:
    """A `VectorIndex` that is a graph by hnswlib. `add` and `load` raise PluginError if hnswlib
    isn't installed."""

    self_contained = True

    def __init__(self, dimension: int, metric: Metric, settings: Payload) -> None:
        """dimension: the dimension of the vectors. metric: the metric of their distances. settings:
        max_neighbors (links of a vector; twice that number at the lowest level), ef_construction
        (candidates when a vector is added), ef_search (the least number of candidates of a search).
        Raises ValueError for unknown settings and invalid values."""
        unknown = set(settings) - set(HNSW_DEFAULTS)
        if unknown:
            raise ValueError(f"hnsw has no setting {quote(min(unknown))}")
        for name, least in (("max_neighbors", 2), ("ef_construction", 1), ("ef_search", 1)):
            value = settings.get(name, least)
            if type(value) is not int or not least <= value <= MAX_SETTING:
                raise ValueError(
                    f"{name} is {quote(value)}, expected an int from {least} to {MAX_SETTING}"
                )
        self._dimension = dimension
        self._metric = metric
        self._settings: dict[str, Any] = {**HNSW_DEFAULTS, **settings}
        self._graph: Any = None

    def __len__(self) -> int:
        if self._graph is None:
            return 0
        # Read from the graph, because an interrupt may come after add_items.
        count: int = self._graph.element_count
        return count

    def add(self, rows: Matrix) -> None:
        count = len(self)
        self._make_room(count + len(rows))
        numbers = np.arange(count, count + len(rows))
        # One processor is left for queries that run meanwhile. With two processors, these queries
        # then take half as long.
        threads = max(1, (os.cpu_count() or 1) - 1)
        self._graph.add_items(rows, numbers, num_threads=threads)

    def search(self, queries: Matrix, count: int) -> tuple[Ints, Matrix]:
        # hnswlib compares max(ef, k) candidates and returns k. So each call sets k to the wanted
        # number of candidates; set_ef would set it for all threads.
        count = min(count, len(self))
        threads = 1 if len(queries) == 1 else os.cpu_count() or 1
        numbers, distances = self._graph.knn_query(queries, k=count, num_threads=threads)
        return numbers.view(np.int64), distances

    def save(self, path: Path) -> None:
        self._graph.save_index(str(path))

    def load(self, path: Path, count: int) -> None:
        make = _graph_class()
        parts = _read_file(path, self._dimension, count, self._settings)
        try:
            self._graph = make(params=self._pickled(parts))
        except RuntimeError as error:
            raise ValueError(f"{path} can't be loaded: {error}") from error

    def holds(self, first: int, rows: Matrix) -> Bools:
        numbers = np.arange(first, first + len(rows))
        stored_vectors: Matrix = self._graph.get_items(numbers, return_type="numpy")
        if self._metric != "cosine":
            return _whole_rows(stored_vectors == rows)
        # hnswlib has scaled them to length 1, in float32.
        lengths = np.maximum(norms_of(rows).lengths, np.finfo(np.float64).tiny)
        expected = rows / lengths[:, None]
        errors = (self._dimension + 8) * UNIT_ROUNDOFF * np.abs(expected) + UNDERFLOW
        return _whole_rows(np.abs(stored_vectors - expected) <= errors)

    @property
    def ef_search(self) -> int:
        ef: int = self._settings["ef_search"]
        return ef

    @property
    def nbytes(self) -> int:
        links: int = 4 * (2 * self._settings["max_neighbors"] + 1)
        # Few vectors are at higher levels: one in max_neighbors.
        room: int = 0 if self._graph is None else self._graph.max_elements
        return room * (links + 4 * self._dimension + 8 + 24)

    def _make_room(self, count: int) -> None:
        if self._graph is None:
            graph = _graph_class()(self._metric, self._dimension)
            graph.init_index(
                max(SMALLEST, count),
                M=self._settings["max_neighbors"],
                ef_construction=self._settings["ef_construction"],
            )
            graph.set_ef(1)
            self._graph = graph
        elif count > (room := self._graph.max_elements):
            self._graph.resize_index(max(count, room + room // 2))

    def _pickled(self, parts: _FileParts) -> dict[str, Any]:
        """The content of hnswlib's pickle of the graph with these parts. hnswlib compares most of
        these numbers with numbers that it computes itself."""
        m, count, words = self._settings["max_neighbors"], *parts.elements.shape
        return {
            "ser_version": 1,
            "space": self._metric,
            "dim": self._dimension,
            "normalize": self._metric == "cosine",
            "index_inited": True,
            "ep_added": True,
            "seed": 100,
            "num_threads": 1,
            "ef": 1,
            "offset_level0": 0,
            "max_elements": count,
            "cur_element_count": count,
            "size_data_per_element": 4 * words,
            "label_offset": 4 * words - 8,
            "offset_data": 4 * (2 * m + 1),
            "size_links_per_element": 4 * (m + 1),
            "max_level": int(parts.header["max_level"]),
            "enterpoint_node": int(parts.header["entry"]),
            "max_M": m,
            "max_M0": 2 * m,
            "M": m,
            "mult": 1 / math.log(m),
            "ef_construction": max(m, self._settings["ef_construction"]),
            "has_deletions": False,
            "allow_replace_deleted": False,
            "label_lookup_external": parts.elements[:, -2].astype(np.uint64),
            "label_lookup_internal": np.arange(count, dtype=np.uint32),
            "element_levels": parts.levels.astype(np.int32),
            "data_level0": parts.elements.reshape(-1).view(np.int8),
            "link_lists": parts.links.reshape(-1).view(np.int8),
        }


def _graph_class() -> Any:
    try:
        import hnswlib
    except ImportError as error:
        raise PluginError(
            'the index "hnsw" needs hnswlib: pip install "retrieval-store[hnsw]"'
        ) from error
    return hnswlib.Index


def _whole_rows(are_equal: npt.NDArray[Any]) -> Bools:
    return np.asarray(are_equal.all(axis=1))


def _read_file(path: Path, dimension: int, count: int, settings: dict[str, Any]) -> _FileParts:
    """The content of the file. Raises ValueError unless it is a graph of `count` vectors without
    invalid links."""
    m, size = settings["max_neighbors"], path.stat().st_size
    element = 4 * (2 * m + 1) + 4 * dimension + 8
    if count < 1 or size < HEADER.itemsize + count * element or size % 4:
        raise ValueError(f"{path} is too short for {count} vectors")
    words: Words = np.memmap(path, "<u4", "r")
    header = np.frombuffer(words[: HEADER.itemsize // 4].tobytes(), HEADER)[0]
    expected = {
        "offset_level0": 0,
        "count": count,
        "element_bytes": element,
        "label_offset": element - 8,
        "data_offset": 4 * (2 * m + 1),
        "max_links": m,
        "max_links0": 2 * m,
        "m": m,
        "ef_construction": max(m, settings["ef_construction"]),
    }
    for name, value in expected.items():
        if header[name] != value:
            raise ValueError(f"{path} has {name} {header[name]} instead of {value}")
    usual = math.isclose(header["mult"], 1 / math.log(m))
    if header["max_elements"] < count or header["entry"] >= count or not usual:
        raise ValueError(f"{path} has a header that contradicts itself")
    start = HEADER.itemsize // 4
    elements = words[start : start + count * element // 4].reshape(count, element // 4)
    _check_level0(elements, path, m)
    levels, links = _upper_levels(words[start + elements.size :], path, count, m)
    if header["max_level"] != levels.max() or levels[header["entry"]] != levels.max():
        raise ValueError(f"{path} begins at another level than its highest")
    return _FileParts(header, elements, levels, links)


def _check_level0(elements: Words, path: Path, m: int) -> None:
    count = len(elements)
    # The upper half of the word with the length marks deleted vectors; no vector is ever deleted.
    _check_links(elements[:, 0], elements[:, 1 : 2 * m + 1], path, count, 2 * m)
    numbers = elements[:, -2:]
    if numbers[:, 1].any() or not np.array_equal(np.sort(numbers[:, 0]), np.arange(count)):
        raise ValueError(f"{path} doesn't number its vectors from 0 to {count - 1}")


def _upper_levels(words: Words, path: Path, count: int, m: int) -> tuple[Ints, Words]:
    """The highest level of each vector, and the links at all levels above the lowest. words: for
    each vector the length of its links in bytes, followed by these links."""
    levels = np.zeros(count, np.int64)
    block = m + 1
    lists, owners, heights = [], [], []
    next_start = vector = 0
    for start in np.flatnonzero(words).tolist():
        if start < next_start:
            continue  # this position is inside the links of the previous vector
        vector += start - next_start
        level, remainder = divmod(int(words[start]), 4 * block)
        stop = start + 1 + level * block
        if remainder or stop > len(words) or vector >= count:
            raise ValueError(f"{path} has levels of no possible length")
        levels[vector] = level
        lists.append(words[start + 1 : stop].reshape(level, block))
        owners.append(np.full(level, vector))
        heights.append(np.arange(1, level + 1))
        next_start, vector = stop, vector + 1
    if vector + len(words) - next_start != count:
        raise ValueError(
            f"{path} has levels of {vector + len(words) - next_start} vectors, not {count}"
        )
    links: Words = np.concatenate([np.empty((0, block), "<u4"), *lists])
    if lists:
        _check_links(links[:, 0], links[:, 1:], path, count, m)
        used = np.arange(m) < links[:, :1]
        reached = np.where(used, levels[np.where(used, links[:, 1:], 0)], np.iinfo(np.int64).max)
        if (reached < np.concatenate(heights)[:, None]).any():
            raise ValueError(f"{path} links to vectors at levels where they aren't")
    return levels, links


def _check_links(lengths: Words, links: Words, path: Path, count: int, max_links: int) -> None:
    # Links after the length are remains that are never followed, but they too must have been in
    # range.
    if (lengths > max_links).any() or (links >= count).any():
        raise ValueError(f"{path} has links to missing vectors")
