r"""A web service for notes: several worker processes on one store directory.

    python examples/web_service.py [--workers 4] [--port 8000] [--store DIRECTORY]
    python examples/web_service.py --demo

The first serves until Ctrl-C; its documentation is at http://127.0.0.1:8000/docs. The second serves
on a free port from a temporary directory, shows that a note written through one worker is found at
once through all others, counts requests a second, and stops. Each response names its worker in the
header `X-Worker`.

    curl -X PUT localhost:8000/notes/cat -H 'Content-Type: application/json' \
         -d '{"text": "The cat sleeps on the sofa.", "topic": "home"}'
    curl 'localhost:8000/search?q=where+is+the+kitten&topic=home'

Needs: pip install "retrieval-store[standard]" fastapi uvicorn
"""

import argparse
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

import retrieval_store
from retrieval_store.errors import (
    IDAlreadyExistsError,
    InvalidArgumentError,
    LockTimeoutError,
    RetrievalStoreError,
)

STORE = "NOTES_STORE"  # the environment variable that tells workers which directory is theirs

# The service


class Note(BaseModel):
    """What a note says, and what it is about."""

    text: str = Field(min_length=1, max_length=10_000)
    topic: str | None = Field(None, min_length=1, max_length=100)
    year: int | None = Field(None, ge=0, le=9999)


class Stored(Note):
    """A note that is there."""

    id: str


class Hit(Stored):
    """A note that was found; the greater its score, the better."""

    score: float


class Health(BaseModel):
    """What a worker says of itself and of the store."""

    worker: int
    notes: int


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Each worker opens the directory once, and lets go of it when it stops."""
    with retrieval_store.Client(os.environ[STORE]) as client:
        app.state.notes = client.get_or_create_collection("notes")
        # What requests need is loaded before the first one, not by it: the data, and the model.
        app.state.notes.warm(keys=["topic", "year"], text=True)
        app.state.notes.query(query_texts="warm up", n_results=1)
        yield


def opened(request: Request) -> retrieval_store.Collection:
    """The worker's collection, which all of its threads share."""
    return request.app.state.notes


class NamesItsWorker:
    """Adds the header `X-Worker` to each response, errors too."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""

        async def named(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-worker", str(os.getpid()).encode()))
            await send(message)

        await self.app(scope, receive, named)


app = FastAPI(title="Notes", lifespan=lifespan)
app.add_middleware(NamesItsWorker)
Notes = Annotated[retrieval_store.Collection, Depends(opened)]

# Handlers are plain functions: the server runs them on threads, so that a call that waits for the
# disk or for another writer holds up nobody else.


@app.put("/notes/{note_id}")
def put(note_id: str, note: Note, notes: Notes) -> Stored:
    """Write a note, or replace it."""
    notes.upsert(**record(note_id, note), replace=True)
    return Stored(id=note_id, **note.model_dump())


@app.post("/notes/{note_id}", status_code=201)
def create(note_id: str, note: Note, notes: Notes) -> Stored:
    """Write a note that isn't there yet: of several who try at once, one succeeds."""
    notes.add(**record(note_id, note))
    return Stored(id=note_id, **note.model_dump())


@app.get("/notes/{note_id}")
def read(note_id: str, notes: Notes) -> Stored:
    """One note."""
    found = notes.get(ids=note_id)
    if not found["ids"]:
        raise HTTPException(404, f"there is no note {note_id!r}")
    return Stored(id=note_id, text=found["documents"][0], **(found["metadatas"][0] or {}))


@app.delete("/notes/{note_id}", status_code=204)
def delete(note_id: str, notes: Notes) -> None:
    """Delete a note."""
    if not notes.delete(ids=[note_id])["deleted"]:
        raise HTTPException(404, f"there is no note {note_id!r}")


@app.get("/search")
def search(
    notes: Notes,
    q: Annotated[str, Query(min_length=1, max_length=1_000)],
    topic: str | None = None,
    since: int | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 5,
    mode: Literal["dense", "text", "hybrid"] = "hybrid",
) -> list[Hit]:
    """The best notes for a question, of one topic, or since a year."""
    where: dict[str, Any] = {"topic": topic} if topic is not None else {}
    where |= {"year": {"$gte": since}} if since is not None else {}
    found = notes.query(query_texts=q, n_results=limit, where=where or None, mode=mode)
    rows = zip(*(found[key][0] for key in ("ids", "documents", "metadatas", "scores")), strict=True)
    return [Hit(id=i, text=text, score=score, **(told or {})) for i, text, told, score in rows]


@app.get("/health")
def health(notes: Notes) -> Health:
    """Whether this worker can read the store."""
    return Health(worker=os.getpid(), notes=notes.count())


@app.exception_handler(RetrievalStoreError)
def failed(request: Request, error: RetrievalStoreError) -> Response:
    """What the store refuses, in the words of HTTP."""
    for kind, status in (
        (IDAlreadyExistsError, 409),
        (InvalidArgumentError, 422),
        (LockTimeoutError, 503),  # other writers held the store for half a minute: try again
    ):
        if isinstance(error, kind):
            return JSONResponse({"detail": str(error)}, status)
    raise error  # a full disk, damage: the log shall say so, and the client no more than 500


def record(note_id: str, note: Note) -> dict[str, Any]:
    """A note as the collection takes it."""
    metadata = note.model_dump(exclude={"text"}, exclude_none=True)
    return {"ids": note_id, "documents": note.text, "metadatas": metadata or None}


def serve(store: str, port: int, workers: int) -> None:
    """Until Ctrl-C or SIGTERM, which let requests end that have begun."""
    os.environ[STORE] = store
    uvicorn.run(
        f"{Path(__file__).stem}:app",
        port=port,
        workers=workers,
        access_log=False,
        timeout_keep_alive=2 * DEADLINE,
        timeout_worker_healthcheck=DEADLINE,  # on a busy machine loading takes more than 5 seconds
    )


# The demonstration

DEADLINE = 60  # seconds for whatever is waited for
THREADS = 8
TOPICS = ["garden", "kitchen", "travel", "work"]


class Caller:
    """A connection, which is one worker's as long as it is kept."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        self.worker = 0

    def __call__(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """What the response says; an error for a status that isn't good."""
        sent = None if body is None else json.dumps(body)
        self._connection.request(method, path, sent, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        data = response.read()
        self.worker = int(response.headers["X-Worker"])
        if response.status >= 400:
            raise RuntimeError(f"{method} {path}: {response.status} {data.decode()}")
        return json.loads(data) if data else None

    def close(self) -> None:
        """Let go of the worker."""
        self._connection.close()


@contextmanager
def served(workers: int, store: str) -> Iterator[int]:
    """A server of its own, run from this file on a free port, which is told."""
    command = [sys.executable, __file__, "--port", "0", "--workers", str(workers), "--store", store]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        log: list[str] = []
        try:
            yield port_in(process.stderr or [], log)
        finally:
            process.terminate()
            code = process.wait(DEADLINE)
    if code not in (0, -signal.SIGTERM):
        sys.exit(f"the server failed with exit code {code}:\n{''.join(log)}")
    print("Stopped")


def port_in(lines: Iterable[str], log: list[str]) -> int:
    """The port that the server says it is at; what it says is kept in the log."""
    for line in lines:
        log.append(line)
        if said := re.search(r"running on http://\S+:(\d+)", line):
            # Whatever comes has to be read, or one day the server would wait for that.
            threading.Thread(target=log.extend, args=(lines,), daemon=True).start()
            return int(said[1])
    sys.exit(f"the server didn't start:\n{''.join(log)}")


def callers(port: int, workers: int) -> dict[int, Caller]:
    """A connection to each worker, once each of them says that it is ready."""
    found: dict[int, Caller] = {}
    end = time.monotonic() + DEADLINE
    while len(found) < workers:
        if time.monotonic() > end:
            sys.exit(f"only {len(found)} of {workers} workers answered within {DEADLINE} s")
        time.sleep(0.05)  # leaves the processors to those that are starting
        # Several at once: whichever worker is free takes the next connection.
        with ThreadPoolExecutor(4 * workers) as pool:
            tried = list(pool.map(lambda _: knock(port), range(4 * workers)))
        for caller in filter(None, tried):
            if found.setdefault(caller.worker, caller) is not caller:
                caller.close()
    return found


def knock(port: int) -> Caller | None:
    """A connection that works, or None."""
    caller = Caller(port)
    with suppress(ConnectionError):
        caller("GET", "/health")
        return caller
    caller.close()
    return None


def show_writes(workers: dict[int, Caller]) -> None:
    """A note through each worker, looked for through all others, then deleted."""
    for pid, writer in workers.items():
        note = {"text": f"The purple parrot number {pid} speaks.", "topic": "parrots"}
        writer("PUT", f"/notes/parrot-{pid}", note)
        question = urlencode({"q": f"purple parrot {pid}", "topic": "parrots", "limit": 1})
        finders = [
            other
            for other, caller in workers.items()
            if other != pid and caller("GET", f"/search?{question}")[0]["id"] == f"parrot-{pid}"
        ]
        print(f"  written by worker {pid}, found at once by workers {finders}")
        assert len(finders) == len(workers) - 1
        writer("DELETE", f"/notes/parrot-{pid}")
        assert not any(caller("GET", f"/search?{question}") for caller in workers.values())


def measure(port: int, what: str, each: int, send: Callable[[Caller, int], Any]) -> None:
    """Send so many requests from each of several threads, and say how many a second that is."""
    used: list[int] = []

    def work(thread: int) -> None:
        caller = Caller(port)
        for i in range(each):
            send(caller, thread * each + i)
        used.append(caller.worker)
        caller.close()

    start = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))
    seconds, number = time.perf_counter() - start, THREADS * each
    print(
        f"  {what:<32}{number / seconds:6,.0f} a second "
        f"({number} in {seconds:.1f} s, by {len(set(used))} of the workers)"
    )


def demonstrate(workers: int, store: str) -> None:
    """Serve, show, count, stop."""
    with served(workers, store) as port:
        ready = callers(port, workers)
        print(f"Workers {sorted(ready)} serve {store} on port {port}")
        show_writes(ready)
        print(f"{THREADS} threads ask, on the same machine, of {os.cpu_count()} processors:")
        measure(port, "notes written, each on disk", 25, write_one)
        measure(port, "searches, by meaning and words", 50, search_one)
        measure(port, "notes read", 25, lambda call, i: call("GET", f"/notes/demo-{i}"))
        measure(port, "notes deleted", 25, lambda call, i: call("DELETE", f"/notes/demo-{i}"))
        left = {pid: caller("GET", "/health")["notes"] for pid, caller in ready.items()}
        print(f"  notes left, by worker: {left}")
        for caller in ready.values():
            caller.close()


def write_one(call: Caller, i: int) -> None:
    """One of the notes of the demonstration."""
    topic = TOPICS[i % len(TOPICS)]
    note = {"text": f"Note {i} about the {topic}: remember it.", "topic": topic, "year": 2000 + i}
    call("PUT", f"/notes/demo-{i}", note)


def search_one(call: Caller, i: int) -> None:
    """A search with a filter, whose hits are looked at."""
    topic = TOPICS[i % len(TOPICS)]
    hits = call("GET", "/search?" + urlencode({"q": f"remember note {i}", "topic": topic}))
    assert hits and all(hit["topic"] == topic for hit in hits)


def main() -> None:
    """Serve or demonstrate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--demo", action="store_true", help="show it and stop")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free")
    parser.add_argument("--store", help="its directory (notes_service; for --demo a temporary one)")
    chosen = parser.parse_args()
    if not chosen.demo:
        serve(chosen.store or "notes_service", chosen.port, chosen.workers)
        return
    with tempfile.TemporaryDirectory() as temporary:
        demonstrate(chosen.workers, chosen.store or temporary)


if __name__ == "__main__":
    main()
