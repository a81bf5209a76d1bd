"""Programs that run beside a scenario. Each is a function that runs in its own process by its name,
as `tests.helpers.processes.running` starts it.

A writer writes batch after batch and prints the number of each acknowledged one. Each part of each
record contains the number of its batch, so that a reader can check it.
"""

import contextlib
import faulthandler
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import retrieval_store
from tests.helpers import PATIENCE
from tests.helpers.processes import running

BATCH = 50  # records
KEPT = 40  # batches; the one that many before is deleted with each
PIPE_BYTES = 1 << 20  # so that no writer waits for its lines to be read


def opened(where: str, name: str = "scenario") -> retrieval_store.Collection:
    """The store's collection in a directory, or at a URL."""
    named = {"url": where} if where.startswith("http") else {"path": where}
    return retrieval_store.Client(**named).get_collection(name, embedding_function=None)


def ids_of(batch: int) -> list[str]:
    return [f"beside-{batch}-{i}" for i in range(BATCH)]


def vectors_of(batch: int, dimension: int) -> np.ndarray:
    vectors = np.random.default_rng(batch).standard_normal((BATCH, dimension), np.float32)
    vectors[:, 0] = batch + 1
    return vectors


def write(where: str, dimension: str, first: str = "0", last: str = "1000000000") -> None:
    """In each turn, add a batch and delete an old one; prints the number of each."""
    faulthandler.register(signal.SIGUSR1)
    # Ignored where the rehearsal was begun in the background of a shell.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    collection = opened(where)
    print("ready", flush=True)
    for batch in range(int(first), int(last)):
        collection.add(
            ids=ids_of(batch),
            embeddings=vectors_of(batch, int(dimension)),
            metadatas=[{"batch": batch, "place": i} for i in range(BATCH)],
            documents=[f"batch {batch} place {i}" for i in range(BATCH)],
        )
        print(batch, flush=True)
        if batch >= KEPT:
            collection.delete(where={"batch": batch - KEPT})


def read(where: str, dimension: str) -> None:
    """Read whole batches repeatedly, in several ways; prints "ready" first, then errors."""
    collection = opened(where)
    print("ready", flush=True)
    while True:
        newest = collection.query(
            np.ones((1, int(dimension))), n_results=10, where={"batch": {"$gte": 0}}
        )
        batches = {metadata["batch"] for metadata in newest["metadatas"][0]}
        for batch in list(batches)[:2]:
            found = collection.get(where={"batch": batch}, include=["metadatas", "documents"])
            count = len(found["ids"])
            if count not in (0, BATCH):
                print(f"{count} records of batch {batch}", flush=True)
            for metadata, document in zip(found["metadatas"], found["documents"], strict=True):
                if document != f"batch {batch} place {metadata['place']}":
                    print(f"{document!r} in batch {batch}", flush=True)


def few_descriptors(where: str, limit: str, names: str) -> None:
    """Read all collections in turn, and write to them, with that many descriptors."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(limit), int(limit)))
    with retrieval_store.Client(where) as client:
        for turn in range(3):
            for name in names.split(","):
                collection = client.get_collection(name, embedding_function=None)
                there = collection.count()
                vector = collection.peek(1)["embeddings"][0]
                assert len(collection.query([vector], n_results=5)["ids"][0]) == min(5, there)
                collection.upsert(ids=f"turn {turn}", embeddings=[vector])
                assert collection.count() == there + 1
    print("done", flush=True)


def small_budget(where: str, budget: str, asked: str) -> None:
    """Run filters with this many bytes for caches. Prints the ids, and the most bytes in use
    between calls, without the collection's state."""
    with retrieval_store.Client(where, memory_budget=int(budget)) as client:
        collection = client.get_collection("scenario", embedding_function=None)
        ids, most = [], 0
        for each in json.loads(asked) * 2:
            ids.append(collection.get(where=each, include=[])["ids"])
            vector = collection.get(ids=ids[-1][0], include=["embeddings"])["embeddings"][0]
            hits = collection.query([vector], where=each, n_results=10)["ids"][0]
            assert len(set(hits)) == 10
            # Between the two figures of one look the background may make codes.
            most = max(most, min(_beside_the_state(client) for _ in range(3)))
        print(json.dumps({"ids": ids[len(ids) // 2 :], "most": most}))


def _beside_the_state(client: retrieval_store.Client) -> int:
    stats = client.stats()
    own = sum(stats["memory"][part] for part in ("state", "codes", "indexes"))
    return int(stats["budget"]["held"] - own)


class Beside:
    """A running program and its output. The output is read from its pipes on request, so that
    nothing is missed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._printed = dict.fromkeys((process.stdout, process.stderr), b"")
        self._ended = False
        for pipe in self._printed:
            os.set_blocking(pipe.fileno(), False)
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def _lines(self, pipe: Any) -> list[str]:
        with contextlib.suppress(BlockingIOError):
            while not self._ended and (part := os.read(pipe.fileno(), PIPE_BYTES)):
                self._printed[pipe] += part
        return self._printed[pipe].decode().splitlines()

    @property
    def said(self) -> list[str]:
        """The lines of its standard output."""
        return self._lines(self.process.stdout)

    @property
    def errors(self) -> list[str]:
        """The lines of its standard error."""
        return self._lines(self.process.stderr)

    def wait(self, lines: int = 1) -> None:
        """Wait until it has printed this many lines."""
        until = time.monotonic() + PATIENCE
        while len(message := self.said) < lines:
            assert self.process.poll() is None, self.errors
            assert time.monotonic() < until, f"{len(message)} lines: {message[-3:]}"
            time.sleep(0.005)

    @property
    def done(self) -> int:
        """The number of the last acknowledged batch, -1 before the first."""
        numbers = [line for line in self.said if line.isdigit()]
        return int(numbers[-1]) if numbers else -1

    def interrupt(self) -> None:
        """Interrupt it like Ctrl-C. If it doesn't end, fails and prints its threads' tracebacks."""
        self.process.send_signal(signal.SIGINT)
        try:
            assert self.process.wait(PATIENCE) != 0
        except subprocess.TimeoutExpired:
            message, errors = len(self.said), self.errors[-30:]
            self.process.send_signal(signal.SIGUSR1)
            time.sleep(1)
            where = self.errors[-60:]
            reports = [
                f"it went on: {len(self.said) - message} lines more in a second",
                *errors,
                *where,
            ]
            raise AssertionError("\n".join(reports)) from None

    def stop(self) -> None:
        """Kill it; its output is kept."""
        self.process.kill()
        self.process.wait()
        for pipe in self._printed:
            self._lines(pipe)
        self._ended = True


@contextmanager
def beside(function: Any, *arguments: object) -> Iterator[Beside]:
    """A program that runs beside, once it is ready; it is killed at the end."""
    with running(function, *arguments) as process:
        program = Beside(process)
        try:
            program.wait()
            yield program
        finally:
            program.stop()


def run(function: Any, *arguments: object) -> str:
    """The output of a program that ends by itself."""
    with running(function, *arguments) as process:
        printed, errors = process.communicate(timeout=10 * PATIENCE)
        assert process.returncode == 0, errors
    return printed


def check_batches(ids: Iterable[str], done_before: int, done_after: int, first: int = 0) -> None:
    """Check that the batches among these ids are of one moment: each is complete, and there are all
    up to one that was acknowledged before the read began, or written before it ended. first: the
    writer's first batch."""
    counts: dict[int, int] = {}
    for one in ids:
        if one.startswith("beside-"):
            batch = int(one.split("-")[1])
            counts[batch] = counts.get(batch, 0) + 1
    torn = {batch: count for batch, count in counts.items() if count != BATCH}
    assert not torn, f"batches in pieces: {torn}"
    newest = max(counts, default=-1)
    assert done_before <= newest <= done_after + 1, (done_before, newest, done_after)
    batches = sorted(counts)
    oldest = [max(first, newest - KEPT + late) for late in (-1, 0, 1)]
    assert not batches or batches[0] in oldest, batches
    assert len(batches) in (0, newest - batches[0] + 1), batches


if __name__ == "__main__":
    globals()[sys.argv[2]](*sys.argv[3:])
