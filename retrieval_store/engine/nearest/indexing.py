"""The index of one vector space in this process: grown slice by slice beside those who search it.

Numbers in the index are slots. It holds the first `covered` slots of its generation, dead ones too;
those behind are *fresh*, and searched exactly. Slots never change their vectors, so nothing in an
index ever becomes wrong, and a reader only leaves out what its own state doesn't have.

The discipline: any number of threads search, or one thread changes the index; never both, which
hnswlib can't bear (see `locking.Sharing` for who goes first). Each change takes a few milliseconds.
"""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar

import apsw

from retrieval_store.base.arrays import Matrix
from retrieval_store.engine.concurrency.forking import unforkable
from retrieval_store.engine.concurrency.locking import Sharing, Turns
from retrieval_store.engine.storage.derived import (
    DerivedFile,
    find,
    is_there,
    path_of,
    refuse_damaged,
)
from retrieval_store.engine.storage.schema import Space
from retrieval_store.errors import DamagedError, PluginError, StorageError
from retrieval_store.indexes import EXACT, HNSW, VectorIndex
from retrieval_store.interface.spaces import index_name, index_settings

SLICE_CELLS = 16_384  # taken in at once: 64 vectors of 256 numbers, some 5 ms

# … while nobody searches: between slices a thread may have to wait for its turn at the interpreter
UNSEARCHED_CELLS = 262_144
WORTH_CELLS = 3_000_000  # in fewer numbers than these the exact search is as fast
FRESH_CELLS = 256_000  # so many to search exactly are no burden
MUCH_MORE = 1.1
IndexClass: TypeAlias = Callable[..., VectorIndex]  # VectorIndex's own arguments
FindClass: TypeAlias = Callable[[str], IndexClass]
T = TypeVar("T")


def built_in(name: str) -> IndexClass:
    """The class of an index that needs no plugin; raises PluginError."""
    if name != HNSW:
        raise PluginError(f"there is no index {name!r}; {HNSW!r} is built in")
    from retrieval_store.indexes.hnsw import HNSWIndex

    return HNSWIndex


_log = logging.getLogger("retrieval_store")


class SpaceIndex:
    """The index of a vector space in one generation; none until it is loaded or built.

    saved: how many slots a file is known to hold; filling: for the one thread that loads, grows or
    saves it; closed: nobody uses it any more; full: the vectors that follow can't be taken in.
    """

    def __init__(
        self, space: Space, generation: int, directory: Path | None, find_class: FindClass
    ) -> None:
        self.key = f"index.{space.number}.{generation}"
        self.filling = Turns()
        self.saved = 0
        self.closed = False
        self.full = False
        self._space = space
        self._directory = directory
        self._find_class = find_class
        self._sharing = Sharing()
        self._index: VectorIndex | None = None
        self._looked = directory is None
        self._searched = False  # since the last slice was taken in

    @property
    def wanted(self) -> bool:
        """Whether the space has an index at all."""
        return index_name(self._space) != EXACT

    @property
    def covered(self) -> int:
        """How many slots it holds."""
        index = self._index
        return 0 if index is None else len(index)

    @property
    def ef_search(self) -> int:
        """How many candidates the index looks at unless the space says otherwise; 0 without one."""
        index = self._index
        return 0 if index is None else index.ef_search

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use."""
        index = self._index
        return 0 if index is None else index.nbytes

    def searched(self, search: Callable[[VectorIndex, int], T], otherwise: T) -> T:
        """What `search` returns, given the index and how many slots it holds, both steady
        meanwhile; `otherwise` when there is none."""
        index = self._index  # another thread may forget it
        if index is None:
            return otherwise
        self._searched = True
        return self._sharing.share(lambda: search(index, len(index)))

    def add(self, rows: Matrix) -> None:
        """Take in the vectors of the slots that follow, slice by slice, until all are in or the
        index is closed. For who has the turn of `filling`, as is `save`. Without a class for the
        index, it stays empty."""
        try:
            index = self._index or self.made()
        except (PluginError, ValueError) as error:
            self.full = True
            _log.warning("the collection is searched without its index: %s", error)
            return
        start = 0
        while start < len(rows) and not self.closed:
            cells = SLICE_CELLS if self._searched else UNSEARCHED_CELLS
            stop = start + max(1, cells // rows.shape[1])
            self._searched = False
            add = partial(index.add, rows[start:stop])
            unforkable(partial(self._sharing.alone, add))
            self._index = index
            start = stop

    def save(self, path: Path) -> int:
        """Write a file, and say how many slots are in it."""
        index = self._index
        if index is None:  # another thread deletes or closes the collection
            raise StorageError("the index was closed before it was saved")

        def save() -> int:
            index.save(path)
            return len(index)

        return self._sharing.share(save)

    def load_saved(self, connection: apsw.Connection, newer: bool = False) -> None:
        """Begin with the file that is recorded, if there is one and it is whole; only once, unless
        `newer`: then when it holds much more than this index does. Nothing is done while another
        thread fills the index: waiting for it, inside SQLite, a fork would wait for ever."""
        if newer or not self._looked:
            self.filling.take_within(0, partial(self._load_found, connection), _do_nothing)

    def _load_found(self, connection: apsw.Connection) -> None:
        found = None if self._directory is None else find(connection, self.key)
        if found is None or found.covered < self.covered * MUCH_MORE + 1:
            self._looked = True
            return
        assert self._directory is not None
        try:
            self._load(self._directory, found)
        except PluginError as error:
            self.full = True
            _log.warning("the collection is searched without its index: %s", error)
        except (DamagedError, ValueError, OSError) as error:
            if not is_there(self._directory, found):  # replaced since this transaction began
                return  # the next one may find the new one
            _log.warning("an index can't be used and will be made again: %s", error)
        self._looked = True

    def _load(self, directory: Path, found: DerivedFile) -> None:
        index = self.read(directory, found)
        self.saved = found.covered
        self._index = index  # those who search go on with the one they have

    def read(self, directory: Path, found: DerivedFile) -> VectorIndex:
        """What a file holds; raises DamagedError, ValueError, or PluginError when there is no class
        for it."""
        index, path = self.made(), path_of(directory, found)
        refuse_damaged(path, found, lambda: index.load(path, found.covered))
        if len(index) != found.covered:
            raise ValueError(f"{path} holds {len(index)} vectors instead of {found.covered}")
        return index

    def close(self) -> None:
        """Let go of the memory once nobody searches."""
        self.closed, self._index = True, None

    def made(self) -> VectorIndex:
        """An index of this kind, without vectors."""
        make = self._find_class(index_name(self._space))
        dimension, metric = self._space.dimension, self._space.metric
        return make(dimension, metric, index_settings(self._space))


def _do_nothing() -> None:
    """What is done when it isn't this thread's turn."""


def is_worth_an_index(slots: int, dimension: int) -> bool:
    """Whether searching so many vectors exactly is slower than through an index."""
    return slots * dimension >= WORTH_CELLS
