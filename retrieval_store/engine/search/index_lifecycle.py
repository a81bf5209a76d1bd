"""The index of one vector space in this process. It is loaded or grows while other threads search.

The labels in the index are slots. The index contains the first `covered` slots of its generation,
including dead slots; later slots are *fresh*, and searched exactly. The vector of a slot never
changes, so an entry of an index never becomes wrong. A reader only has to drop hits in slots that
its own state doesn't have.

Locking: either any number of threads search, or one thread changes the index, because hnswlib
doesn't support both at the same time. No search waits for the index: while it is being changed,
searches use codes or floats. The thread that changes it waits only for running searches.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar, TypeAlias, TypeVar

import apsw

from retrieval_store.base.arrays import Matrix, Metric
from retrieval_store.engine.locks import FifoLock, SharedLock, unforkable
from retrieval_store.engine.search.planner import codes_pay_off, index_pays_off
from retrieval_store.engine.storage.derived import (
    DerivedFile,
    DerivedFiles,
    DerivedKind,
    find,
    path_of,
    refuse_damaged,
)
from retrieval_store.engine.storage.schema import Space
from retrieval_store.errors import PluginError, StorageError
from retrieval_store.indexes import EXACT, HNSW, VectorIndex, is_installed
from retrieval_store.indexes.exact import BY_PRODUCTS
from retrieval_store.query.types import index_name, index_settings, uses_codes

# Numbers that are added between two checks: 1,024 vectors of 256, some 0.1 s. Forks wait meanwhile.
SLICE_CELLS = 262_144
WORTH_CELLS = 3_000_000  # numbers; with fewer the exact search is as fast on any machine
FRESH_CELLS = 256_000  # numbers that aren't in the index and cost little to search exactly
MUCH_MORE = 1.1  # a file is loaded if it contains more vectors than the index by this factor
LOADING = 0.016  # microseconds for loading a file, for each number of its vectors
IndexClass: TypeAlias = Callable[..., VectorIndex]  # called with the arguments of VectorIndex
FindClass: TypeAlias = Callable[[str], IndexClass]
T = TypeVar("T")


def builtin_index(name: str) -> IndexClass:
    """The class of a built-in index. Raises PluginError if no built-in index has this name."""
    if name != HNSW:
        raise PluginError(f"there is no index {name!r}; {HNSW!r} is built in")
    from retrieval_store.indexes.hnsw import HNSWIndex

    return HNSWIndex


class SpaceIndex(DerivedKind[None, VectorIndex]):
    """The index of a vector space in one generation; empty until it is loaded or built.

    held: the index object, None while the index is empty. saved: how many slots the saved file is
    known to contain. filling: the lock of the thread that loads, grows or saves the index. closed:
    whether the index is no longer used. full: whether no further vectors can be added. refused: the
    error of the index class that caused `full`, or None. wanted: whether the space's settings and
    metric permit an index. installed: whether the packages that its class needs are installed.
    missed: how many microseconds queries have lost because the index wasn't loaded. pays_from: the
    file is loaded once `missed` has reached this value. pace: vectors added per second, 0 while no
    vectors are being added.
    """

    what: ClassVar[str] = "the index"

    def __init__(
        self,
        space: Space,
        generation: int,
        files: DerivedFiles | None,
        find_class: FindClass,
    ) -> None:
        self.key = f"index.{space.number}.{generation}"
        self.filling = FifoLock()
        self.saved = 0
        self.closed = False
        self.full = False
        self.refused: Exception | None = None
        self.missed = self.pays_from = self.pace = 0.0
        name = index_name(space)
        self.wanted = name != EXACT and not uses_codes(space) and space.metric in BY_PRODUCTS
        self.installed = is_installed(name)
        self._space, self._files, self._find_class = space, files, find_class
        self._sharing = SharedLock()
        self.held: VectorIndex | None = None

    @property
    def covered(self) -> int:
        """How many slots the index contains."""
        index = self.held
        return 0 if index is None else len(index)

    @property
    def rests(self) -> bool:
        """Whether there is a file, but loading it doesn't pay yet. While hnswlib loads a graph, it
        holds the interpreter's lock; for a million vectors that takes seconds."""
        return not self.covered and self.missed < self.pays_from

    @property
    def ef_search(self) -> int:
        """How many candidates the index compares if the space's settings don't set a number; 0
        without an index."""
        index = self.held
        return 0 if index is None else index.ef_search

    @property
    def nbytes(self) -> int:
        """The size of the index in memory, in bytes."""
        index = self.held
        return 0 if index is None else index.nbytes

    def search_index(self, search: Callable[[VectorIndex, int], T], otherwise: T) -> T:
        """Call `search` with the index and the number of slots in it, and return its result. The
        index doesn't change while `search` runs. If there is no index, or another thread is
        changing it, `otherwise` is returned."""
        index = self.held  # another thread may set it to None
        if index is None:
            return otherwise
        return self._sharing.share_at_once(lambda: search(index, len(index)), lambda: otherwise)

    def add(self, rows: Matrix) -> None:
        """Add the vectors, (n, dim), of the next slots, until all are added or the index is closed.
        The caller must hold `filling`, as for `load` and `save`. If the index class is missing or
        rejects the vectors, `full` and `refused` are set and no error is raised."""
        try:
            self._add(self.held or self.new_index(), rows)
        except (PluginError, ValueError) as error:
            self.full, self.refused = True, error

    def seconds_left(self, slots: int) -> float | None:
        """An estimate of the seconds until the index contains this number of slots; None while no
        vectors are being added."""
        pace = self.pace
        return (slots - self.covered) / pace if pace else None

    def _add(self, index: VectorIndex, rows: Matrix) -> None:
        step = max(1, SLICE_CELLS // rows.shape[1])
        for start in range(0, len(rows), step):
            if self.closed:
                return
            began, piece = time.perf_counter(), rows[start : start + step]
            unforkable(partial(self._sharing.alone, partial(index.add, piece)))
            self.held = index
            self.pace = len(piece) / max(1e-9, time.perf_counter() - began)

    def save(self, path: Path) -> int:
        """Write the index to a file; returns how many slots are in it."""
        index = self.held
        if index is None:  # another thread is deleting or closing the collection
            raise StorageError("the index was closed before it was saved")

        def save() -> int:
            index.save(path)
            return len(index)

        return self._sharing.share(save)

    def recorded_file(self, connection: apsw.Connection) -> DerivedFile | None:
        """The recorded file of the index; None unless it contains clearly more slots than the index
        in memory."""
        derived_file = None if self._files is None else find(connection, self.key)
        if self._files is None or derived_file is None or derived_file in self._files.useless:
            return None
        return derived_file if derived_file.covered >= self.covered * MUCH_MORE + 1 else None

    def load(self, derived_file: DerivedFile) -> None:
        """Replace the index by the index in a file, if the file is complete. Meanwhile other
        threads search the old index."""
        assert self._files is not None
        try:
            index = self.try_read(self._files, derived_file, None)
            if index is not None:
                self.held, self.saved = index, derived_file.covered
        except PluginError as error:
            self.full, self.refused = True, error

    def read_checked(self, directory: Path, derived_file: DerivedFile, source: None) -> VectorIndex:
        """Read the index from a file, and compute the file's checksum at the same time. If the file
        is damaged, the index is discarded."""
        read: list[VectorIndex] = []
        path = path_of(directory, derived_file)
        refuse_damaged(
            path, derived_file, lambda: read.append(self.read(path, derived_file, source))
        )
        return read[0]

    def read(self, path: Path, derived_file: DerivedFile, source: None) -> VectorIndex:
        """Read the index from a file. Also raises PluginError if the index class is missing."""
        index = self.new_index()
        index.load(path, derived_file.covered)
        if len(index) != derived_file.covered:
            raise ValueError(f"{path} holds {len(index)} vectors instead of {derived_file.covered}")
        return index

    def close(self) -> None:
        """Drop the index; its memory is freed when the running searches have ended."""
        self.closed, self.held = True, None

    def new_index(self) -> VectorIndex:
        """A new, empty index with the space's class and settings."""
        make = self._find_class(index_name(self._space))
        dimension, metric = self._space.dimension, self._space.metric
        return make(dimension, metric, index_settings(self._space))


def index_is_worth_building(slots: int, dimension: int, metric: Metric) -> bool:
    """Whether an index should be built for this number of vectors (dead vectors included), because
    an exact search would be much slower."""
    coded = codes_pay_off(slots, dimension, metric)
    return slots * dimension >= WORTH_CELLS and index_pays_off(slots, dimension, coded)
