"""One collection's data in the memory of this process, and how it follows the database.

The *cached state* is the state as of one write (its `seq`), with the caches derived from it. A
reader whose transaction shows that write uses it as it is (`now`). Any other starts a transaction
anew and brings the cached state to its `seq` under one lock (`_advancing`, in `at`). As all
transactions that move it start under that lock, none of them is older than the cached state, which
therefore only moves forward. A thread that holds the lock never waits for a writer.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import apsw

from retrieval_store.base.dataclasses import dataclass, replace
from retrieval_store.engine.filtering.allowed import AllowedCache
from retrieval_store.engine.nearest.context import Caches, OpenSpace
from retrieval_store.engine.nearest.indexing import FindClass, SpaceIndex
from retrieval_store.engine.state.layers import LayerCache
from retrieval_store.engine.state.state import (
    FILE_KIND,
    Changed,
    State,
    Step,
    followed,
    is_worth_a_file,
    load,
    numbers_of,
    state_bytes,
)
from retrieval_store.engine.storage.files import Label
from retrieval_store.engine.storage.schema import Head, Space, read_seq
from retrieval_store.engine.storage.vectors import VectorArray, VectorFile, Vectors
from retrieval_store.engine.words.cache import after

if TYPE_CHECKING:
    from retrieval_store.engine.codes.segments import SpaceCodes

ReadHead: TypeAlias = Callable[[apsw.Connection], Head]


@dataclass(frozen=True, slots=True)
class CachedState:
    """The state as of one write, and the caches derived from it."""

    state: State
    kept: Caches


@dataclass(slots=True)
class StateFile:
    """What this process knows of the file of a collection's state. rejected: it was of no use;
    rests_until: by the clock, when it may be written again."""

    rejected: bool = False
    rests_until: float = 0.0

    def reject(self) -> None:
        """Note that it was of no use."""
        self.rejected = True


class Memory:
    """One collection in memory. directory: of its files, None for a collection in memory only;
    derived_from: the directory whose derived files may be used, None for none; find_class: returns
    the class of an index by name; database: the path of points.sqlite, for messages; label: the
    collection's name, for messages; compacting: a lock held while this process makes a new
    generation."""

    def __init__(
        self,
        directory: Path | None,
        derived_from: Path | None,
        find_class: FindClass,
        database: Path,
        label: Label,
    ) -> None:
        self._directory, self._derived_from = directory, derived_from
        self._find_class, self._database, self._label = find_class, database, label
        self._spaces: dict[tuple[int, int, int], OpenSpace] = {}
        self._cached: CachedState | None = None
        self.state_file = StateFile()
        self._new_locks()

    def _new_locks(self) -> None:
        self._advancing, self.compacting = threading.Lock(), threading.Lock()

    def now(self, connection: apsw.Connection) -> CachedState | None:
        """The cached state, if that is what the transaction on this connection shows, which is
        looked at without waiting for other threads; else None, and the transaction is of no use."""
        cached = self._cached
        if (
            cached is not None
            and read_seq(connection) == cached.state.head.seq
            and cached.state.is_whole
        ):
            return cached
        return None

    def at(self, connection: apsw.Connection, read_head: ReadHead) -> CachedState:
        """The state that a transaction on this connection shows, whose first read is made here."""
        with self._advancing:
            cached = self.now(connection)
            if cached is None:
                self._cached = cached = self._next(connection, read_head(connection))
            return cached

    def before(self, connection: apsw.Connection, head: Head) -> CachedState:
        """The state that a write transaction begins with; it must not have written anything yet."""
        with self._advancing:
            self._cached = cached = self._next(connection, head)
            return cached

    def _next(self, connection: apsw.Connection, head: Head) -> CachedState:
        old, step = self._cached, None
        if old is not None and head.generation != old.state.head.generation:
            self._let_go_of_generations_before(head.generation)
        if old is not None and old.state.is_whole:
            step = followed(old.state, connection, head, self.open_vectors)
            if step is not None and step.state is old.state:
                return old
        if step is None:
            step = self._loaded(connection, head)
        self._let_go_of_dropped(step.state)
        spaces = step.state.spaces.values()
        held = {s.space.name: self._open(s.space, head.generation) for s in spaces}
        if old is None or step.changed is None:
            kept = empty_caches(head.seq, held)
            lacks_file = step.state.mapped is None and is_worth_a_file(step.state.count)
            if self._derived_from is not None and lacks_file:
                kept.unsaved.add(FILE_KIND)
            return CachedState(step.state, kept)
        return CachedState(step.state, caches_after(old.kept, head.seq, step.changed, held))

    def _loaded(self, connection: apsw.Connection, head: Head) -> Step:
        """The state, loaded from its derived file if that is usable, else from the database."""
        self.state_file.rejected, directory = False, self._derived_from
        saved = None
        if directory is not None and is_worth_a_file(head.next_pk):
            from retrieval_store.engine.state.state_files import saved_step

            name, reject = self._label.name, self.state_file.reject
            saved = saved_step(connection, head, self.open_vectors, directory, name, reject)
        return saved or load(connection, head, self.open_vectors)

    def open_vectors(self, space: Space, generation: int) -> Vectors:
        """The vectors of a space in a generation."""
        return self._open(space, generation).vectors

    def index_of(self, space: Space, generation: int) -> SpaceIndex:
        """The index of a space in a generation."""
        return self._open(space, generation).index

    def _open(self, space: Space, generation: int) -> OpenSpace:
        assert space.dimension is not None
        # The dimension too: a transaction that fixes it may fail, and the next fix another.
        key = (space.number, generation, space.dimension)
        held = self._spaces.get(key)
        if held is None:
            index = SpaceIndex(space, generation, self._derived_from, self._find_class, self._label)
            vectors = self._vectors(space, generation)
            make_codes = partial(_codes_of, space, generation, self._derived_from, self._label)
            held = self._spaces.setdefault(key, OpenSpace(vectors, index, make_codes))
        return held

    def _vectors(self, space: Space, generation: int) -> Vectors:
        assert space.dimension is not None
        if self._directory is None:
            return VectorArray(space.dimension, space.datatype)
        path = self._directory / f"{space.number}.{generation}.vectors"
        return VectorFile(path, space.dimension, space.datatype)

    def drop_later_generations(self, generation: int) -> None:
        """Drop what is open of later generations, whose compaction failed; the next attempt begins
        anew."""
        with self._advancing:
            later = [key for key in self._spaces if key[1] > generation]
            _close(self._spaces.pop(key) for key in later)

    def _let_go_of_generations_before(self, generation: int) -> None:
        """Drop older generations; readers keep the ones they use. Data of this or a later
        generation is kept only if this process is compacting: otherwise another process has made
        the generation, with other slots."""
        ours = self.compacting.locked() or self._directory is None
        spaces = list(self._spaces.items())
        self._spaces = {k: v for k, v in spaces if ours and k[1] >= generation}
        for key, space in spaces:
            if key not in self._spaces:
                space.let_go()

    def _let_go_of_dropped(self, state: State) -> None:
        """Drop vector spaces that were deleted; readers keep the ones they use."""
        there = numbers_of(state)
        for key in [key for key in list(self._spaces) if key[0] not in there]:
            self._spaces.pop(key).let_go()

    def has_something_to_save(self) -> bool:
        """Whether there are lists of words in memory, a state large enough for a file, or an index
        or codes that have grown since they were saved."""
        cached = self._cached
        if cached is not None and (cached.kept.lists.held() or is_worth_a_file(cached.state.count)):
            return True
        return any(space.has_something_to_save for space in list(self._spaces.values()))

    def close_idle(self) -> None:
        """Close files; they are opened again when they are needed."""
        with self._advancing:
            if self._maps_state:
                self._cached = None
            elif self._cached is not None:
                for cache in _with_files(self._cached.kept):
                    cache.unmap()
        for space in list(self._spaces.values()):
            space.close_idle()

    @property
    def held(self) -> CachedState | None:
        """The cached state as it is, however old; None without one."""
        return self._cached

    @property
    def nbytes(self) -> int:
        """Bytes in use for the state, codes and indexes; 0 for a collection in memory only, since
        nothing of it can be evicted."""
        cached = self._cached
        if cached is None or self._directory is None:
            return 0
        held = sum(space.nbytes for space in list(self._spaces.values()))
        return held + state_bytes(cached.state)

    @property
    def descriptors(self) -> int:
        """How many file descriptors the open files take."""
        spaces = list(self._spaces.values())
        cached = self._cached
        held = () if cached is None else _with_files(cached.kept)
        mapped = self._maps_state + sum(cache.files for cache in held)
        return mapped + sum(space.descriptors for space in spaces)

    @property
    def _maps_state(self) -> bool:
        cached = self._cached
        return cached is not None and cached.state.mapped is not None

    def forget(self) -> None:
        """Drop everything; readers keep what they use until they end."""
        with self._advancing:
            self._cached = None
            spaces, self._spaces = self._spaces, {}
        _close(spaces.values())

    def forget_after_fork(self) -> None:
        """In a forked child: drop everything, and make new locks, since threads of the parent may
        hold the old ones. A collection in memory only is kept."""
        self._new_locks()
        if self._directory is not None:
            self._cached, self._spaces = None, {}


def empty_caches(seq: int, held: Mapping[str, OpenSpace]) -> Caches:
    """Empty caches for a state as of the write `seq`. held: the open spaces by name."""
    return Caches(
        lists=LayerCache(seq),
        measures={},
        columns=LayerCache(seq),
        answers=LayerCache(seq),
        allowed=AllowedCache(seq),
        spaces=held,
        several=LayerCache(seq),
    )


def caches_after(kept: Caches, seq: int, changed: Changed, held: Mapping[str, OpenSpace]) -> Caches:
    """The caches for the state at `seq`, in which rows have changed: changed rows are marked
    stale."""
    kept.columns.note(seq, changed.payload)
    kept.allowed.note(seq, changed.anything)
    for cache in (kept.lists, kept.answers, kept.several):
        cache.note(seq, changed.listed)
    measures = after(kept.measures, changed.listed)
    return replace(kept, measures=measures, spaces=held)


def _with_files(kept: Caches) -> tuple[LayerCache, ...]:
    """The caches whose layers may lie in mapped files."""
    return kept.lists, kept.columns


def _codes_of(space: Space, generation: int, directory: Path | None, label: Label) -> "SpaceCodes":
    from retrieval_store.engine.codes.segments import SpaceCodes

    return SpaceCodes(space, generation, directory, label)


def _close(spaces: Iterable[OpenSpace]) -> None:
    for space in spaces:
        space.vectors.close()
        space.let_go()
