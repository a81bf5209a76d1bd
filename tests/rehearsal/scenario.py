"""What a step gets, and the checks while it runs."""

import gc
import logging
import os
import shutil
import tempfile
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tests.rehearsal.places import SERVED, Place
from tests.rehearsal.shapes import Records, Shape
from tests.rehearsal.truth import Truth

LENGTHS = ("suite", "first", "full")


class Collections:
    """Measures the seconds of Python's garbage collection. With a test's many objects it can take
    longer than any call of the store."""

    def __init__(self) -> None:
        self.seconds, self._began = 0.0, 0.0
        gc.callbacks.append(self._note)

    def _note(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self.seconds += time.perf_counter() - self._began


collections = Collections()
LARGE = 100_000  # records, of which verification takes long
MORE = 20  # descriptors and threads that may come while a store is in use
CONNECTIONS = 16  # by which each process of a server is asked for something
CLIFF, NOTICED = 50, 1.0  # a call of so many times its own median, and of so many seconds


# Kinds of calls of which one may take far longer than the others: so many seconds for each 10,000
# records, and why. Others may not.
EXPLAINED = {
    "text": (4, "the first search by words lists those of all documents"),
    "hybrid": (4, "the first search by words lists those of all documents"),
    "words": (0.5, "the first search by sparse vectors lists those of all points"),
    "where_document": (4, "the first lists the trigrams of all documents"),
    "where": (4, "the first filter on a key reads its values of all records"),
    "filter": (4, "the first filter on a key reads its values of all records"),
    "order_by": (4, "the first order by a key reads its values of all records"),
    "facet": (4, "the first of a key reads its values of all records"),
    "optimize": (20, "the first has work to do"),
    "copy_to": (20, "the first copies all"),
}


@dataclass(repr=False)
class Clock:
    """The time of each call, by its kind: the method and its arguments."""

    size: int
    step: str = ""
    calls: dict[str, list[tuple[str, float]]] = field(default_factory=lambda: defaultdict(list))

    def note(self, kind: str, seconds: float) -> None:
        if self.step:
            self.calls[kind].append((self.step, seconds))

    def cliffs(self, step: str) -> list[str]:
        """The calls of a step that took far longer than others of their kind in this scenario."""
        found = []
        for kind, calls in self.calls.items():
            own = [seconds for acted, seconds in calls if acted == step]
            usual = median(seconds for _, seconds in calls)
            if own and max(own) > max(self.allowed(kind), CLIFF * usual):
                at = own.index(max(own)) + 1
                usually = f"{usual:.4f} s usually"
                found.append(f"{kind}: {max(own):.2f} s for call {at} of {len(own)}, {usually}")
        return found

    def allowed(self, kind: str) -> float:
        """The seconds that a call of a kind may always take."""
        reports = [EXPLAINED[word][0] for word in kind.split() if word in EXPLAINED]
        return max([NOTICED, *(each * self.size / 10_000 for each in reports)])


MODES = ("mode", "search_mode", "using")  # whose value says the kind
ASKED = (
    *MODES,
    "where",
    "where_document",
    "order_by",
    "ids",
    "group_by",
    "rerank",
    "exact",
)


class Clocked:
    """An object whose calls are timed."""

    def __init__(self, target: Any, clock: Clock) -> None:
        self.plain, self._clock = target, clock

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.plain, name)
        if not callable(value):
            return value

        def call(*arguments: Any, **named: Any) -> Any:
            queries = [named[one] if one in MODES else one for one in ASKED if one in named]
            if any(one.endswith("filter") for one in named) or has_filter(arguments):
                queries.append("filter")
            began, found = time.perf_counter() - collections.seconds, None
            try:
                found = value(*arguments, **named)
            finally:
                spent = time.perf_counter() - collections.seconds - began
                self._clock.note(" ".join([name, *queries, *size_of(arguments, found)]), spent)
            return found

        return call


def has_filter(arguments: tuple[Any, ...]) -> bool:
    """Whether these contain a filter of QdrantClient."""
    return any(type(one).__name__ == "Filter" for one in arguments)


def size_of(arguments: tuple[Any, ...], found: Any) -> list[str]:
    """The rough number of records in a call; calls of different sizes are of different kinds."""
    ids = found.get("ids") if isinstance(found, dict) else None
    sized = ids if ids is not None else arguments[0] if arguments else None
    if not hasattr(sized, "__len__") or isinstance(sized, str | dict):
        return []
    count = sum(map(len, sized)) if ids and isinstance(ids[0], list) else len(sized)
    return [f"~{10 ** len(str(count)):,}"]


class Heard(logging.Handler):
    """Records errors and internal warnings; warnings for users come from the root logger."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.name != "retrieval_store":
            why = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
            self.said.append(f"{record.name}: {record.getMessage()} {why}".rstrip())


@contextmanager
def heard() -> Iterator[list[str]]:
    """The errors logged, and the RuntimeWarnings issued, in any thread while this is active."""
    handler, log = Heard(), logging.getLogger("retrieval_store")
    log.addHandler(handler)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        show = threading.excepthook
        threading.excepthook = lambda hook: handler.said.append(f"in a thread: {hook.exc_value!r}")
        try:
            yield handler.said
        finally:
            threading.excepthook = show
            log.removeHandler(handler)


@contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """Puts temporary files of this process into this folder while it is active."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


@dataclass(repr=False)  # which tracebacks would take minutes to print
class Scenario:
    """A store of one shape in one place, with the expected content of its collection.

    A step that changes the collection also changes `truth`. It deletes everything else that it
    creates.
    """

    shape: Shape
    place: Place
    size: int
    folder: Path
    length: str
    clock: Clock = field(init=False)
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))
    spoilt: bool = False
    kept: dict[str, Any] = field(default_factory=dict)  # what steps of one file keep for others
    _serial: int = 0
    _acts: int = 0
    _made: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = Clock(self.size)
        self._temporary = self.folder / "temporary"
        self._temporary.mkdir()
        self.records = self.shape.make(self.size)
        self.client = self.place.client()
        self.truth = Truth(self.shape.metric)
        self.fill()

    def _begin(self) -> None:
        """Open all resources that calls need, so that leaks of steps are visible. A random process
        of a server gets each connection, so one process gets none once in 30,000."""
        self._ask(self.untimed)
        for _ in range(CONNECTIONS if self.place.name in SERVED else 0):
            with self.place.client() as client:
                self._ask(client.get_collection("scenario", embedding_function=None))
            points = self.place.qdrant()
            points.get_collections()
            points.close()

    def _ask(self, collection: Any) -> None:
        collection.query(self.records.vectors[:2], n_results=5)
        collection.count()

    # What steps use.

    @property
    def collection(self) -> Any:
        """The collection, with timed calls."""
        return Clocked(self.untimed, self.clock)

    def timed(self, target: Any) -> Any:
        """Another object whose calls count as those of the step."""
        return Clocked(target, self.clock)

    def times(self, suite: int, first: int, full: int) -> int:
        """A number of repetitions, by the length of the rehearsal."""
        return (suite, first, full)[LENGTHS.index(self.length)]

    def new_path(self, name: str) -> Path:
        """An unused path in the scenario's folder."""
        self._serial += 1
        self._made.append(self.folder / f"{self._serial}-{name}")
        return self._made[-1]

    def clear(self) -> None:
        """Remove what the step has created at new paths."""
        for path in self._made:
            shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)
        self._made.clear()

    def more(self, count: int) -> Records:
        """This many new records."""
        self._serial += 1
        made = self.shape.make(count, seed=self._serial)
        made.ids = [f"new-{self._serial}-{i}" for i in range(count)]
        return made

    def some(self, count: int) -> list[str]:
        """Random ids of existing records, each once."""
        ids = self.truth.ids
        return [ids[i] for i in self.random.choice(len(ids), min(count, len(ids)), replace=False)]

    def queries(self, count: int) -> np.ndarray:
        """(count, d) vectors: near records, between two, and in any direction."""
        rows = self.truth.matrix
        one, two = (rows[self.random.integers(0, len(rows), count)] for _ in range(2))
        anywhere = self.random.standard_normal(one.shape)
        anywhere *= np.linalg.norm(rows, axis=1).mean() / np.sqrt(one.shape[1])
        kinds = np.arange(count)[:, None] % 3
        near = one + 0.1 * anywhere
        return np.where(kinds == 0, near, np.where(kinds == 1, (one + two) / 2, anywhere)).astype(
            np.float32
        )

    @property
    def exact(self) -> bool:
        """Whether searches are exact by default; otherwise .98 is promised."""
        return self.place.name != "cluster" and self.size * self.shape.dimension < 60_000_000

    def add(self, records: Records, target: Any = None) -> None:
        """Add records to the collection, or to another, in bulk."""
        target = self.collection if target is None else target
        for first in range(0, len(records), 5000):
            part = records.part(first, first + 5000)
            target.add(part.ids, part.vectors, part.metadatas, part.documents)

    def make(self, client: Any, name: str) -> Any:
        """An empty collection of the scenario's metric."""
        configuration = {"hnsw": {"space": self.shape.metric}}
        return client.create_collection(name, configuration, embedding_function=None)

    def check(self, collection: Any = None, truth: Truth | None = None) -> None:
        """Check all ids in order, and the whole content of some records."""
        collection = self.untimed if collection is None else collection
        truth = self.truth if truth is None else truth
        ids = collection.get(include=[])["ids"]
        compare(ids, truth.ids, "ids", ordered=self.place.name != "cluster")
        drawn = [ids[i] for i in self.random.choice(len(ids), min(500, len(ids)), replace=False)]
        self.check_records(collection.get(ids=drawn, include=EVERYTHING), truth)

    def check_records(self, got: Any, truth: Truth | None = None) -> None:
        """Check that these whole records are the expected ones."""
        truth = self.truth if truth is None else truth
        wanted = [truth.records[one] for one in got["ids"]]
        for i, record in enumerate(wanted):
            one = got["ids"][i]
            assert (got["metadatas"][i] or {}) == (record.metadata or {}), one
            assert got["documents"][i] == record.document, one
        vectors = np.asarray([record.vector for record in wanted])
        off = np.abs(np.asarray(got["embeddings"]) - vectors).max(axis=1, initial=0) > 1e-5
        assert not off.any(), f"{got['ids'][int(off.argmax())]} has another vector"

    def fill(self) -> None:
        """Restore the collection to its first content after a step."""
        self._let_go()
        with self.no_clock():
            if "scenario" in {one.name for one in self.client.list_collections()}:
                self.client.delete_collection("scenario")
            self.untimed = self.make(self.client, "scenario")
            self.truth = Truth(self.shape.metric, self.records)
            self.add(self.records, self.untimed)
        self._begin()
        self.spoilt = False

    def reopen(self) -> None:
        """Close the client and open another, if the store survives that."""
        if self.place.name in ("disk", "served"):
            self.client.close()
            self.client = self.place.client()
            self.untimed = self.client.get_collection("scenario", embedding_function=None)

    @contextmanager
    def no_clock(self) -> Iterator[None]:
        own, self.clock.step = self.clock.step, ""
        try:
            yield
        finally:
            self.clock.step = own

    def close(self) -> None:
        """Close shared resources of steps, and the client; check that no temporary files remain."""
        self._let_go()
        self.client.close()
        left = [one.name for one in self._temporary.iterdir()]
        assert not left, f"temporary files: {left[:5]}"

    def _let_go(self) -> None:
        """Release what steps share; callables close something."""
        for one in self.kept.values():
            if callable(one):
                one()
        self.kept.clear()

    # What is watched.

    @contextmanager
    def watched(
        self, step: str, may_be_slow: str | None = None, may_hold: str | None = None
    ) -> Iterator[None]:
        """Run a step. Fails if an error is logged, if something is left behind, or if a call is far
        slower than others of its kind, unless the table gives a reason."""
        before, message = self._held(), len(self.place.lines)
        self.clock.step = step
        try:
            with heard() as errors, temporary_files_in(self._temporary):
                yield
        finally:
            self.clock.step = ""
        bad = [*errors, *(one for one in self.place.lines[message:] if is_bad(one))]
        assert not bad, f"logged: {bad[:5]}"
        after = {} if may_hold else self._held_soon(before)
        for what, count in after.items():
            # A process that wasn't there before, or has served nobody yet, has its own.
            had = max(before.get(what, MORE), MORE)
            assert count <= had + MORE, f"{what}: {had} before, {count} after"
        self._verify_now_and_then()
        if self.length != "suite" and may_be_slow is None:
            cliffs = self.clock.cliffs(step)
            assert not cliffs, cliffs

    def _verify_now_and_then(self) -> None:
        """Verify a directory after each second step of a full rehearsal, unless it is large, and
        after some steps of a shorter one."""
        self._acts += 1
        every = self.times(1000, 8, 2 if self.size < LARGE else 16)
        if self.place.path is not None and self._acts % every == 0:
            check_verified(self.client)

    def _held_soon(self, before: dict[str, int]) -> dict[str, int]:
        """The resources in use, after a short wait for those that end by themselves."""
        until = time.monotonic() + 10
        while True:
            after = self._held()
            within = all(n <= max(before.get(what, MORE), MORE) + MORE for what, n in after.items())
            if within or time.monotonic() > until:
                return after
            time.sleep(0.2)

    def _held(self) -> dict[str, int]:
        held = {"threads": threading.active_count()}
        for process in (os.getpid(), *family(self.place.processes)):
            whose = "this process" if process == os.getpid() else f"server {process}"
            held[f"descriptors of {whose}"] = len(os.listdir(f"/proc/{process}/fd"))
        held["child processes"] = len(family([os.getpid()])) - 1
        return held


EVERYTHING = ["metadatas", "documents", "embeddings"]


def check_verified(client: Any) -> None:
    problems = [one for one in client.verify() if one.problem]
    assert not problems, problems


def is_bad(line: str) -> bool:
    """Whether a line of a server's log reports a fault."""
    return any(word in line for word in ("Traceback", "ERROR", "RuntimeWarning", "CRITICAL"))


def family(processes: list[int]) -> list[int]:
    """These processes and all their descendants."""
    found = list(processes)
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def compare(got: list[Any], wanted: list[Any], what: str, ordered: bool = True) -> None:
    """Fails if the lists differ, with missing, surplus and repeated items."""
    if got == wanted:
        return
    one, two = set(got), set(wanted)
    assert len(got) == len(one), f"{what}: {len(got) - len(one)} doubled of {len(got)}"
    missing, foreign = sorted(two - one), sorted(one - two)
    text = f"{len(missing)} missing {missing[:3]}, {len(foreign)} too many {foreign[:3]}"
    assert not missing and not foreign, f"{what} of {len(wanted)}: {text}"
    if ordered:
        at = next(i for i, pair in enumerate(zip(got, wanted, strict=True)) if pair[0] != pair[1])
        raise AssertionError(f"{what}: in another order from place {at} on")
