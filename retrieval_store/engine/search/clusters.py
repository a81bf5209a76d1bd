"""The clusters of one vector space: made, measured, loaded, and searched.

Clusters (`indexes/clusters.py`) cover the slots below `stop`; later ones are searched exactly. They
lie in derived files: a *base* with the centres, and *parts* for the slots that came after it, in
the same clusters. When the collection has grown to twice the base, a new base is made. The process
that does maintenance makes and writes all of them, and all processes map them; where there are no
files, as in memory, the arrays themselves are kept.

How many places must be looked at is measured (`Recall`): some of the space's own vectors, each left
out of its own answer, are searched exactly, and the depth at which their true neighbours are
reached says how many places find which share of them. A filter that lets through one row in n is
like looking for the nearest of n times as many, so one table by depth serves all filters. Nothing
is searched by clusters before that is known.
"""

import math
import mmap
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import apsw
import numpy as np
import numpy.typing as npt
import orjson

from retrieval_store.base.arrays import (
    METRICS,
    Bools,
    Bytes,
    Floats,
    Ints,
    Matrix,
    Stored,
    as_float32,
    is_whole,
    similarity_of,
)
from retrieval_store.base.dataclasses import dataclass, replace
from retrieval_store.engine.locks import FifoLock
from retrieval_store.engine.search.planner import MIN_CLUSTERED
from retrieval_store.engine.state.files import StreamedArray, pieces, read_arrays, write_arrays
from retrieval_store.engine.state.state import SpaceState
from retrieval_store.engine.storage.derived import (
    DerivedFile,
    DerivedFiles,
    DerivedKind,
    OutdatedError,
    find_all,
)
from retrieval_store.engine.storage.schema import Space
from retrieval_store.indexes import DEFAULT_RECALL
from retrieval_store.indexes.clusters import (
    ClusterModel,
    Clusters,
    Effort,
    Numbers,
    Places,
    Trained,
    assign,
    block_bytes,
    clusters_of_slots,
    encoded,
    in_clusters,
    needed_places,
    train,
)
from retrieval_store.indexes.exact import exact_distances, is_safe_length, length_of, norms_of
from retrieval_store.indexes.native import BLOCK
from retrieval_store.indexes.quantized import Bits, Frame, blocks_of

MAGIC, BEFORE = b"rsclust2", (b"rsclust1",)
BASE, RECALL = "0", "recall"  # the last parts of keys; parts of later slots have numbers from 1 on
MAX_PARTS = 12  # then they become one
PART_CELLS = 2_000_000  # numbers of vectors behind the clusters: fewer are left for later
PART_SHARE = 64  # and they are at least one in so many of all
MEASURED_AGAIN = 1.25  # of so many times as many vectors
OUTGROWN = 2  # a new base is made of so many times as many slots
MIN_LIVING = 32  # vectors of points, which clusters need
LARGEST = 1e20  # of a number of a centre
CheckCancelled = Callable[[], object]

TARGETS = (0.8, 0.85, 0.9, 0.925, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995)
DEPTHS = (10, 20, 40, 80, 160, 320, 640)  # how many nearest, among which ten are looked for
QUESTIONS = 400
ALIKE = 1e-9  # the standard deviation of scores, as a share of the largest, that is none
EFFORTS = (0.0, 0.5)  # of these the one that does with fewer places
AT_ONCE = 8  # of these searched in one read transaction
MAX_SHARE = 3  # of the places at most one in so many is looked at; else a scan is better
ESTIMATES, ESTIMATES_PER_HIT = 100, 10  # of which so many are decided by exact distances …
MOST_ESTIMATES = 8  # … or up to so many times as many, where estimates tell less
NOT_REACHED = -1
SLACK = 0.005  # by which a measured recall may be below the target
AGAIN_AFTER = 1.0  # seconds until queries ask maintenance for clusters again
FAILED_GROWTH = 1.1  # and after a failure there must be so many times as many vectors


class Measured(NamedTuple):
    """What searches found when they were measured. share: of rows that the filter let through;
    recall: of the true ten that were found."""

    share: float
    recall: float


@dataclass(frozen=True, slots=True)
class Recall:
    """How many places of the clusters `base` must be looked at. places: (depths, targets) numbers
    that find the TARGETS of the DEPTHS nearest, NOT_REACHED where they were not found, measured on
    so many `questions` with `vectors` vectors; usual, slope: (depths,) scores of the last of these,
    and how much more is looked at where they are lower (`Effort`); estimates: of which so many
    times as many as usual are decided by distances; measured: what the default target then found;
    at: when, in seconds of the epoch."""

    base: str
    vectors: int
    questions: int
    estimates: int
    usual: tuple[float, ...]
    slope: float
    places: tuple[tuple[int, ...], ...]
    measured: tuple[Measured, ...]
    at: float

    def places_for(self, depth: float, target: float, vectors: int) -> int | None:
        """How many find the target among the `depth` nearest of so many vectors; None where that
        wasn't reached."""
        at = next((i for i, one in enumerate(TARGETS) if one >= target - 1e-9), None)
        if at is None or depth > DEPTHS[-1] or self.places[0][at] == NOT_REACHED:
            return None
        grown = max(1.0, vectors / max(1, self.vectors))
        return round(grown * _at_depth(depth, [row[at] for row in self.places]))

    def effort(self, places: int, depth: float) -> Effort:
        """For so many places, which find what is wanted of the `depth` nearest."""
        return Effort(max(1, places), _at_depth(depth, self.usual), self.slope)

    def estimates_for(self, k: int) -> int:
        """How many estimates exact distances decide about, for k hits."""
        return self.estimates * (ESTIMATES + ESTIMATES_PER_HIT * k)

    def to_json(self) -> bytes:
        """What is in a file."""
        measured = [[one.share, one.recall] for one in self.measured]
        head = [self.base, self.vectors, self.questions, self.estimates, self.usual, self.slope]
        return orjson.dumps([*head, self.places, measured, self.at, TARGETS, DEPTHS])

    @classmethod
    def of_json(cls, content: bytes) -> "Recall":
        """The same again; ValueError for what is none."""
        parts = orjson.loads(content)
        if len(parts) != 11:
            raise OutdatedError("it was measured otherwise")
        base, *numbers, usual, slope, places, measured, at, targets, depths = parts
        if tuple(targets) != TARGETS or tuple(depths) != DEPTHS:
            raise OutdatedError("other targets or depths were measured")
        table = tuple(tuple(row) for row in places)
        vectors, questions, estimates = numbers
        if None in (slope, *usual):  # of vectors that lie too close together for that version
            raise OutdatedError("its scores are infinite")
        right = [len(row) for row in table] == [len(TARGETS)] * len(DEPTHS)
        every = [one for row in table for one in row]
        right = right and all(type(one) is int and one >= NOT_REACHED for one in every)
        right = right and all(type(one) is int and one >= 0 for one in numbers)
        if not right or not 1 <= estimates <= MOST_ESTIMATES:
            raise ValueError("it holds no numbers of places")
        scores = tuple(map(float, usual))
        if len(scores) != len(DEPTHS) or not all(map(math.isfinite, [*scores, slope])):
            raise ValueError("it holds no scores")
        found = tuple(Measured(float(share), float(recall)) for share, recall in measured)
        head = str(base), vectors, questions, estimates
        return cls(*head, scores, float(slope), table, found, float(at))


def _at_depth(depth: float, numbers: Sequence[float]) -> float:
    """Between the numbers for DEPTHS."""
    depth = min(max(depth, DEPTHS[0]), DEPTHS[-1])
    if depth == DEPTHS[0]:
        return numbers[0]
    above = next(i for i, one in enumerate(DEPTHS) if one >= depth)
    low, high = DEPTHS[above - 1], DEPTHS[above]
    share = math.log(depth / low) / math.log(high / low)
    return numbers[above - 1] + share * (numbers[above] - numbers[above - 1])


class ClusterSnapshot(NamedTuple):
    """What can be searched at one moment."""

    clusters: Clusters
    recall: Recall


class Base(NamedTuple):
    """A base: what new rows are assigned by, and its own places. name: a random one, which its
    parts bear, too."""

    name: str
    trained: Trained
    places: Places
    stop: int
    memory: mmap.mmap | None


class Part(NamedTuple):
    """The places of the slots from `first` to before `stop`, in the clusters of the base `name`."""

    name: str
    places: Places
    first: int
    stop: int
    memory: mmap.mmap | None


class Work(NamedTuple):
    """What is to be made: the file with this number, of the slots from `first` to before `stop`; a
    base, or else a part, after which those with numbers from this on count no more."""

    number: int
    first: int
    stop: int


class SpaceClusters(DerivedKind[None, Base | Part]):
    """The clusters of a vector space in one generation; none until they are loaded or made.
    filling: the lock of the thread that loads or makes some; closed: they aren't used any more;
    refused: why the vectors can have none, if they can't; changed: called after there is another
    snapshot."""

    what: ClassVar[str] = "the clusters"

    def __init__(self, space: Space, generation: int, files: DerivedFiles | None) -> None:
        self.key = f"clusters.{space.number}.{generation}"
        self.filling = FifoLock()
        self.closed = False
        self.refused: str | None = None
        self.changed: Callable[[], None] = lambda: None
        self._space, self._files = space, files
        self._base: Base | None = None
        self._parts: list[Part] = []
        self._recall: Recall | None = None
        self._looked = files is None
        self._shown: ClusterSnapshot | None = None
        self._loaded: dict[int, DerivedFile] = {}  # by number, whether they are of use or not
        self._failed_at = self._asked_at = 0.0

    def key_of(self, number: int) -> str:
        """Under which a file is recorded."""
        return f"{self.key}.{number}"

    @property
    def recall_key(self) -> str:
        """Under which the file of what was measured is recorded."""
        return f"{self.key}.{RECALL}"

    @property
    def covered(self) -> int:
        """How many slots the clusters cover."""
        base, parts = self._base, self._parts
        return parts[-1].stop if parts else 0 if base is None else base.stop

    @property
    def measured(self) -> Recall | None:
        """What was measured; None where that is still to be done."""
        return self._recall

    @property
    def nbytes(self) -> int:
        """Bytes of private memory, without mapped files."""
        base = self._base
        if base is None:
            return 0
        own = base.trained.model.centres.nbytes * 2
        every: list[Base | Part] = [base, *self._parts]
        return own + sum(one.places.blocks.nbytes for one in every if one.memory is None)

    @property
    def files(self) -> int:
        """How many files are mapped."""
        base = self._base
        return sum(one.memory is not None for one in self._parts) + (
            base is not None and base.memory is not None
        )

    @property
    def base(self) -> Base | None:
        """The base, None where there is none yet."""
        return self._base

    def shown(self) -> ClusterSnapshot | None:
        """The present snapshot, which doesn't change; None where there is none, or where a file was
        cut off."""
        shown = self._shown
        if shown is None or all(map(is_whole, self._memories())):
            return shown
        self.filling.take_within(0, self._let_go, lambda: None)
        return None

    def is_trusted(self, k: int, matching: int) -> bool:
        """Whether they may be used; they are looked at only where their recall was measured."""
        return True

    def note(self, helped: bool, k: int, matching: int) -> None:
        """Nothing is learned from single queries."""

    def _memories(self) -> list[mmap.mmap]:
        base = self._base
        every: list[Base | Part] = [] if base is None else [base, *self._parts]
        return [one.memory for one in every if one.memory is not None]

    # Loading them.

    def load_saved(self, connection: apsw.Connection, newer: bool = False) -> None:
        """Begin with the files that are recorded and whole; only once, unless `newer`. Nothing is
        done while another thread is at it."""
        if newer or not self._looked:
            load = partial(self._load_found, connection)
            self.filling.take_within(0, load, lambda: None)

    def _load_found(self, connection: apsw.Connection) -> None:
        files = self._files
        if files is None or self.closed:
            return
        if not all(map(is_whole, self._memories())):
            self._let_go()
        found = {made.key.rpartition(".")[2]: made for made in find_all(connection, self.key)}
        recall = found.pop(RECALL, None)
        numbers = {int(one): made for one, made in sorted(found.items()) if one.isdecimal()}
        if numbers != self._loaded:
            self._load_parts(files, [numbers[one] for one in sorted(numbers)])
            self._loaded = numbers
        if recall is not None:
            self._note(self._read_recall(files, recall))
        self._looked = True
        self._show()

    def _load_parts(self, files: DerivedFiles, numbers: Sequence[DerivedFile]) -> None:
        base: Base | None = None
        parts: list[Part] = []
        for made in numbers:
            one = self.try_read(files, made, None)
            if isinstance(one, Base) and base is None:
                base = one
            elif not isinstance(one, Part) or not _follows(one, base, parts):
                break
            else:
                parts.append(one)
        self._base, self._parts = base, parts
        self._note(self._recall)

    def _note(self, recall: Recall | None) -> None:
        """Go on with what was measured of this base; of another it says nothing."""
        known = self._base is not None and recall is not None and recall.base == self._base.name
        self._recall = recall if known else None

    def _read_recall(self, files: DerivedFiles, made: DerivedFile) -> Recall | None:
        return _RecallKind().try_read(files, made, None)

    def read(self, path: Path, made: DerivedFile, source: None) -> Base | Part:
        assert self._space.dimension is not None
        return _read(path, self._space.dimension, self._space.metric, made.covered)

    def _show(self) -> None:
        base, recall = self._base, self._recall
        if base is None or recall is None or self.closed:
            self._shown = None
        else:
            self._shown = ClusterSnapshot(self.made_clusters(base), recall)
        self.changed()

    def made_clusters(self, base: Base) -> Clusters:
        """The clusters as they are now, measured or not."""
        parts = (base.places, *(part.places for part in self._parts))
        clusters = Clusters(base.trained.model, parts, self.covered)
        assert clusters.fixed is not None  # computed here, by one thread
        return clusters

    # Making them, by the one thread that does maintenance; the caller of `take` holds `filling`.

    def next_work(self, slots: int) -> Work | None:
        """What should be made for so many slots."""
        base, parts, dimension = self._base, self._parts, self._space.dimension or 0
        if self.refused is not None or self.closed or slots < FAILED_GROWTH * self._failed_at:
            return None
        if base is None or slots >= OUTGROWN * base.stop:
            return Work(0, 0, slots)
        covered = parts[-1].stop if parts else base.stop
        behind = slots - covered
        if behind * dimension < PART_CELLS or behind * PART_SHARE < slots:
            return None
        if len(parts) >= MAX_PARTS:
            return Work(1, base.stop, slots)
        return Work(len(parts) + 1, covered, slots)

    def fail(self, slots: int) -> None:
        """Note that nothing came of it, so that it isn't tried again at once."""
        self._failed_at = float(slots)

    def make(self, work: Work, space: SpaceState, check_cancelled: CheckCancelled) -> "Made":
        """What `work` says, assigned but not encoded yet. ValueError where the vectors can have no
        clusters; sets `refused` where they never can."""
        rows, base = space.vectors.rows(space.space.slots), self._base
        space.vectors.admit(rows, space.checksums, None)
        living = np.flatnonzero(space.row_of_slot.whole()[work.first : work.stop] >= 0) + work.first
        for at in range(0, len(living), 65_536):
            check_cancelled()
            if not norms_of(rows[living[at : at + 65_536]]).safe:
                self.refused = "some of its vectors are too long, or too short"
                raise ValueError(self.refused)
        if work.number:
            if base is None or not all(map(is_whole, self._memories())):
                raise ValueError("its clusters were let go of meanwhile")
            name, trained = base.name, base.trained
        elif len(living) < MIN_LIVING:
            raise ValueError(f"it has {len(living)} vectors")
        else:
            seed = int.from_bytes(_random(8), "little")
            name = f"{seed:016x}"
            trained = train(rows, living, self._space.metric, seed, check_cancelled)
        one, other = assign(rows, living, trained, check_cancelled)
        order = in_clusters(living, one, other, len(trained.model.centres))
        return Made(name, trained, order.slots, order.offsets, work, rows, self._space)

    def take(self, made: "Made", recorded: DerivedFile | None = None) -> bool:
        """Go on with what was made: from its file, or from memory; returns whether it can."""
        files, number = self._files, made.work.number
        parts = self._parts[: max(0, number - 1)]
        one: Base | Part | None
        if recorded is not None and files is not None:
            one = self.try_read(files, recorded, None)
            before = {at: file for at, file in self._loaded.items() if at < number}
            self._loaded, self._looked = {**before, number: recorded}, True
        else:
            one = made.in_memory()
        if isinstance(one, Base):
            self._base, self._parts = one, []
            self._note(self._recall)
        elif isinstance(one, Part) and _follows(one, self._base, parts):
            self._parts = [*parts, one]
        else:
            return False
        self._show()
        return True

    @property
    def to_measure(self) -> Clusters | None:
        """The clusters, where it should be measured how they do: at first, and when they have
        grown by a quarter."""
        base = self._base
        if base is None or self.closed or self._is_measured:
            return None
        if not all(map(is_whole, self._memories())):
            return None
        return self.made_clusters(base)

    def lacking(self, slots: int) -> int:
        """Of how many vectors something should be made, or measured; asked for once a second."""
        work, base = self.next_work(slots), self._base
        if slots < MIN_CLUSTERED or (work is None and (base is None or self._is_measured)):
            return 0
        if time.monotonic() < self._asked_at + AGAIN_AFTER:
            return 0
        self._asked_at = time.monotonic()
        return slots if work is None else work.stop - work.first

    @property
    def _is_measured(self) -> bool:
        recall = self._recall
        return recall is not None and self.covered < MEASURED_AGAIN * recall.vectors

    def note_recall(self, recall: Recall) -> None:
        """Go on with what was measured."""
        self._note(recall)
        self._show()

    def close_idle(self) -> None:
        """Let go of files, unless a thread is making some; the next search maps them again."""
        if self._files is not None:
            self.filling.take_within(0, self._let_go, lambda: None)

    def close(self) -> None:
        """Let go of everything for good; searches under way keep what they use."""
        self.closed, self._shown = True, None
        self.filling.take_within(0, self._let_go, lambda: None)

    def _let_go(self) -> None:
        self._base, self._parts, self._recall, self._shown = None, [], None, None
        self._loaded = {}
        self._looked = self._files is None


class _RecallKind(DerivedKind[None, Recall]):
    what: ClassVar[str] = "the measured recall"

    def read(self, path: Path, made: DerivedFile, source: None) -> Recall:
        return Recall.of_json(path.read_bytes())


def write_recall(path: Path, recall: Recall) -> int:
    """Write what was measured to a new file; returns with how many vectors."""
    path.write_bytes(recall.to_json())
    return recall.vectors


def _follows(part: Part, base: Base | None, parts: Sequence[Part]) -> bool:
    """Whether a part goes on where the others end."""
    if base is None or part.name != base.name:
        return False
    if len(part.places.offsets) != len(base.places.offsets):
        return False
    return part.first == (parts[-1].stop if parts else base.stop)


def _random(count: int) -> bytes:
    import secrets

    return secrets.token_bytes(count)


@dataclass(frozen=True, slots=True)
class Made:
    """A base or a part before its places are encoded."""

    name: str
    trained: Trained
    slots: npt.NDArray[np.uint32]
    offsets: Ints
    work: Work
    rows: Any
    space: Space

    def blocks(self) -> Iterator[Bytes]:
        """The encoded places, some blocks at a time."""
        from retrieval_store.indexes.clusters import PlaceOrder

        order = PlaceOrder(self.slots, self.offsets)
        return encoded(self.rows, self.trained.model, order)

    def in_memory(self) -> Base | Part:
        """What would be read from the file."""
        none = np.zeros((0, block_bytes(self.trained.model.dimension)), np.uint8)
        places = Places(np.concatenate([none, *self.blocks()]), self.offsets)
        if self.work.number:
            return Part(self.name, places, self.work.first, self.work.stop, None)
        return Base(self.name, self.trained, places, self.work.stop, None)

    def write(self, path: Path, check_cancelled: CheckCancelled) -> int:
        """Write the file; returns the slot after the last."""
        size = blocks_of(len(self.slots)) * block_bytes(self.trained.model.dimension)
        content = StreamedArray("|u1", size, (block.reshape(-1) for block in self.blocks()))
        header: list[Any] = [self.name, self.work.first, self.work.stop]
        model = self.trained.model
        arrays: list[Any] = [self.offsets, content]
        if not self.work.number:
            header += [model.dimension, METRICS.index(model.metric), model.frame.seed]
            some = (model.frame.centre, model.centres.reshape(-1), model.radii)
            arrays = [
                *some,
                self.trained.parents.reshape(-1),
                self.trained.firsts.astype(np.int64),
                *arrays,
            ]
        write_arrays(path, pieces(MAGIC, header, arrays), check_cancelled)
        return self.work.stop


_OF_BASE = ("<f4", "<f4", "<f4", "<f4", "<i8", "<i8", "|u1")


def _read(path: Path, dimension: int, metric: str, covered: int) -> Base | Part:
    """What a file holds, mapped; ValueError for what no file of ours says."""
    found = read_arrays(path, MAGIC, BEFORE)
    name, first, stop, *rest = found.header
    if type(first) is not int or type(stop) is not int or not 0 <= first <= stop == covered:
        raise ValueError(f"{path} has clusters of the slots {first!r} to {stop!r}")
    if not rest:
        offsets, blocks = found.of_types(*_OF_BASE[5:])
        return Part(str(name), _places(offsets, blocks, dimension, None), first, stop, found.memory)
    if rest[:2] != [dimension, METRICS.index(metric)] or type(rest[2]) is not int or first:
        raise ValueError(f"{path} has clusters of other vectors")
    mean, centres, radii, parents, firsts, offsets, blocks = found.of_types(*_OF_BASE)
    numbers = [mean, centres, radii, parents]
    if not all(len(one) and float(np.abs(one).max()) <= LARGEST for one in numbers):
        raise ValueError(f"{path} has centres that are none")
    whole = np.ascontiguousarray(centres.reshape(-1, dimension))
    if len(mean) != dimension or not _ascends(firsts, len(whole)):
        raise ValueError(f"{path} has other clusters than it says")
    if len(radii) != len(whole) or not float(radii.min()) > 0:
        raise ValueError(f"{path} has clusters without a radius")
    metric_: Any = metric
    model = ClusterModel(whole, radii.copy(), Frame(rest[2] & (1 << 64) - 1, mean.copy(), metric_))
    trained = Trained(model, parents.reshape(-1, dimension), np.array(firsts))
    if len(trained.parents) + 1 != len(firsts):
        raise ValueError(f"{path} has other parents than it says")
    places = _places(offsets, blocks, dimension, len(whole))
    return Base(str(name), trained, places, stop, found.memory)


def _places(offsets: Ints, blocks: Bytes, dimension: int, clusters: int | None) -> Places:
    """Places whose offsets lead to none that isn't there."""
    count = len(blocks) // block_bytes(dimension)
    places = int(offsets[-1]) if len(offsets) else -1
    if len(blocks) % block_bytes(dimension) or blocks_of(places) != count:
        raise ValueError("it has other places than it says")
    if not _ascends(offsets, places) or clusters not in (None, len(offsets) - 1):
        raise ValueError("it has places of other clusters")
    return Places(blocks.reshape(count, block_bytes(dimension)), offsets)


def _ascends(numbers: Ints, last: int) -> bool:
    ends = len(numbers) > 0 and (int(numbers[0]), int(numbers[-1])) == (0, last)
    return ends and bool((numbers[1:] >= numbers[:-1]).all())


# Measuring them.

Neighbours = Callable[[Matrix, int], Sequence[Ints]]


@dataclass(slots=True)
class RecallQuestion:
    """The vector in a slot of the space, and the slots of its true neighbours, without its own,
    nearest first."""

    slot: int
    vector: Matrix
    length: float
    neighbours: Ints


SHARES = (1.0, 0.3, 0.1)


def measure(
    clusters: Clusters,
    base: str,
    matrix: Stored,
    questions: Sequence[RecallQuestion],
    check_cancelled: CheckCancelled,
) -> Recall:
    """How many places must be looked at to find the TARGETS of the DEPTHS nearest: first by where
    the true neighbours are, and then by searches, with more estimates and more places until they
    find as many as they should. matrix: (slots, dim) the vectors."""
    of_slots, needed = clusters_of_slots(clusters), []
    for one in questions:
        check_cancelled()
        needed.append(_needed(clusters, matrix, one, of_slots))
    choices = [_efforts(at, needed) for at in EFFORTS]
    usual, slope, places = min(choices, key=lambda one: one[2][0][TARGETS.index(DEFAULT_RECALL)])
    head = base, clusters.stop, len(questions), 1
    recall = Recall(*head, usual, slope, places, (), time.time())

    def found(recall: Recall, target: float, share: float = 1.0) -> float:
        return measured(clusters, matrix, questions, recall, target, share, check_cancelled)

    before = 0.0
    while recall.estimates < MOST_ESTIMATES:
        now = found(recall, DEFAULT_RECALL)
        if now >= DEFAULT_RECALL - SLACK or now < before + SLACK:
            break
        before, recall = now, replace(recall, estimates=2 * recall.estimates)
    for at, target in enumerate(TARGETS):
        recall = _reaching(clusters, recall, at, partial(found, target=target))
    if recall.places_for(1, DEFAULT_RECALL, clusters.stop) is None:
        return recall
    every = tuple(Measured(share, found(recall, DEFAULT_RECALL, share)) for share in SHARES)
    return replace(recall, measured=every)


def _reaching(
    clusters: Clusters, recall: Recall, at: int, found: Callable[[Recall], float]
) -> Recall:
    """The same with more places for one target, until searches find it; NOT_REACHED where they
    don't, or only if more is looked at than is worth it."""
    now, column = recall, [row[at] for row in recall.places]
    for _ in range(4):
        if column[0] * MAX_SHARE > clusters.places:
            break
        if found(now) >= TARGETS[at] - SLACK:
            return now
        column = [math.ceil(1.2 * one) for one in column]
        now = _with_column(recall, at, column)
    return _with_column(recall, at, [NOT_REACHED] * len(column))


def _with_column(recall: Recall, at: int, column: Sequence[int]) -> Recall:
    rows = zip(recall.places, column, strict=True)
    return replace(recall, places=tuple((*row[:at], one, *row[at + 1 :]) for row, one in rows))


class _Need(NamedTuple):
    """What a question needs at one depth. floor: the score of the last of the true neighbours;
    places: how many must be looked at to reach each."""

    floor: float
    places: Ints


def _needed(
    clusters: Clusters, matrix: Stored, one: RecallQuestion, of_slots: Sequence[Numbers]
) -> list[_Need]:
    """What a question needs for each depth."""
    true, metric = one.neighbours[: DEPTHS[-1]], clusters.model.metric
    if not len(true):
        return [_Need(0.0, true)] * len(DEPTHS)
    far = exact_distances(one.vector, one.length, matrix, true, metric)
    scores, needs = (-far / 2 if metric == "l2" else similarity_of(far, metric)), []
    for depth in (min(depth, len(true)) for depth in DEPTHS):
        floor, some = float(scores[depth - 1]), true[:depth]
        of_query = clusters, one.vector, one.length, of_slots
        needs.append(_Need(floor, needed_places(*of_query, some, floor)))
    return needs


def _efforts(
    share: float, needed: Sequence[Sequence[_Need]]
) -> tuple[tuple[float, ...], float, tuple[tuple[int, ...], ...]]:
    """The usual scores, the slope, and the places that `Recall` has. share: how strongly the number
    of places depends on the score, 1 for e times as many a standard deviation below."""
    first = np.array([each[0].floor for each in needed if len(each[0].places)])
    spread = float(first.std()) if len(first) else 0.0
    # Scores that differ by roundings alone, as of equal vectors, say nothing.
    differ = spread > ALIKE * float(np.abs(first).max(initial=0.0))
    slope, usual, places = share / spread if differ else 0.0, [], []
    for needs in zip(*needed, strict=True):
        some = [need for need in needs if len(need.places)]
        floors = np.array([need.floor for need in some])
        # On average as many places as the table says
        level = float(floors.mean()) if len(floors) else 0.0
        if slope:
            level -= _log_of_mean_exp(slope * (level - floors)) / slope
        usual.append(level)
        factors = Effort(0, level, slope).factor(floors)
        wanted = [need.places / more for need, more in zip(some, factors, strict=True)]
        places.append(tuple(_quantile(wanted, target) for target in TARGETS))
    return tuple(usual), slope, tuple(places)


def _log_of_mean_exp(exponents: Floats) -> float:
    """The logarithm of the mean of their powers of e, which may be beyond float64."""
    largest = float(exponents.max())
    return largest + math.log(np.exp(exponents - largest).mean())


def _quantile(needed: Sequence[Matrix], target: float) -> int:
    """So many places reach this share of the slots of all questions."""
    every = np.sort(np.concatenate(needed)) if needed else np.empty(0)
    return (
        math.ceil(every[min(len(every) - 1, math.ceil(target * len(every)) - 1)])
        if len(every)
        else 0
    )


def measured(
    clusters: Clusters,
    matrix: Stored,
    questions: Sequence[RecallQuestion],
    recall: Recall,
    target: float,
    share: float,
    check_cancelled: CheckCancelled,
) -> float:
    """The share of the ten nearest among those that a random filter lets through, or of others as
    near, that searches for the target find."""
    draw = np.random.default_rng(7)
    allowed: Bools | None = None
    bits: Bits | None = None
    if share < 1:
        allowed = draw.random(-(-clusters.stop // BLOCK) * BLOCK) < share
        bits = np.packbits(allowed, bitorder="little").view("<u4")
    right = wanted = 0
    places = recall.places_for(10 / share, target, clusters.stop) or clusters.places
    for one in questions:
        check_cancelled()
        true = one.neighbours if allowed is None else one.neighbours[allowed[one.neighbours]]
        true, metric = true[:10], clusters.model.metric
        if not len(true):
            continue
        far = exact_distances(one.vector, one.length, matrix, true, metric).max()
        # One more than ten, since the vector itself may be among what is found.
        effort = recall.effort(round(places * share), 10 / share)
        of_query = one.vector, one.length, 11, effort, recall.estimates_for(10)
        found = clusters.search(*of_query, matrix, bits)
        near = (found.distances <= far) & (found.slots != one.slot)
        right += min(len(true), int(near.sum()))
        wanted += len(true)
    return right / max(1, wanted)


def questions_of(
    space: SpaceState, stop: int, neighbours: Neighbours, check_cancelled: CheckCancelled
) -> list[RecallQuestion]:
    """Some of the space's own vectors, with their true neighbours among the slots below `stop`."""
    draw = np.random.default_rng(11)
    living = np.flatnonzero(space.row_of_slot.whole()[:stop] >= 0)
    chosen = draw.choice(living, min(len(living), QUESTIONS), replace=False)
    rows = space.vectors.rows(space.space.slots)
    space.vectors.admit(rows, space.checksums, chosen)
    vectors = as_float32(rows[chosen])
    depth = min(len(living), DEPTHS[-1] + 1)
    questions = []
    for at in range(0, len(chosen), AT_ONCE):
        check_cancelled()
        found = neighbours(vectors[at : at + AT_ONCE], depth)
        some = slice(at, at + AT_ONCE)
        for slot, vector, slots in zip(chosen[some], vectors[some], found, strict=True):
            length = length_of(vector)
            others = slots[(slots != slot) & (slots < stop)]
            if is_safe_length(length) and length > 0:
                questions.append(RecallQuestion(int(slot), vector, length, others))
    return questions
