"""A web service for notes: several worker processes use one store directory.

    python examples/web_service.py [--workers 4] [--port 8000] [--store notes_service]

Its documentation is at http://127.0.0.1:8000/docs. All workers find a new note at once.

    curl -X PUT localhost:8000/notes/cat --json '{"text": "A cat sleeps here.", "topic": "home"}'
    curl 'localhost:8000/search?q=where+is+the+kitten&topic=home'

Needs: pip install ".[standard]" fastapi uvicorn
"""

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

import retrieval_store
from retrieval_store.errors import InvalidArgumentError, LockTimeoutError, RetrievalStoreError

STORE = "NOTES_STORE"  # the variable that tells the workers the directory


class Note(BaseModel):
    """The text and topic of a note."""

    text: str = Field(min_length=1, max_length=10_000)
    topic: str | None = None


class Hit(Note):
    """A stored note. score: greater is better; None if no search found the note."""

    id: str
    score: float | None = None


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the directory once per worker, and load data for the first request."""
    with retrieval_store.Client(os.environ[STORE]) as client:
        app.state.notes = client.get_or_create_collection("notes")
        app.state.notes.warm(keys=["topic"], text=True)
        app.state.notes.query(query_texts="warm up", n_results=1)
        yield


def opened(request: Request, response: Response) -> retrieval_store.Collection:
    """The collection of this worker."""
    response.headers["X-Worker"] = str(os.getpid())
    return request.app.state.notes


app = FastAPI(title="Notes", lifespan=lifespan)
Notes = Annotated[retrieval_store.Collection, Depends(opened)]

# Handlers are plain functions, which run in threads, so a waiting call blocks no other.


@app.put("/notes/{note_id}")
def put(note_id: str, note: Note, notes: Notes) -> Hit:
    """Add or replace a note."""
    metadata = note.model_dump(exclude={"text"}, exclude_none=True)
    notes.upsert(ids=note_id, documents=note.text, metadatas=metadata or None, replace=True)
    return Hit(id=note_id, **note.model_dump())


@app.get("/notes/{note_id}")
def read(note_id: str, notes: Notes) -> Hit:
    """Return a note."""
    found = notes.get(ids=note_id)
    if not found["ids"]:
        raise HTTPException(404, f"there is no note {note_id!r}")
    return Hit(id=note_id, text=found["documents"][0], **(found["metadatas"][0] or {}))


@app.delete("/notes/{note_id}")
def delete(note_id: str, notes: Notes) -> dict[str, int]:
    """Delete a note; return how many were deleted, 1 or 0."""
    return notes.delete(ids=[note_id])


@app.get("/search")
def search(
    notes: Notes,
    q: Annotated[str, Query(min_length=1, max_length=1_000)],
    topic: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 5,
) -> list[Hit]:
    """The notes that match a question best, all or of one topic."""
    where = None if topic is None else {"topic": topic}
    found = notes.query(query_texts=q, n_results=limit, where=where, mode="hybrid")
    columns = (found[key][0] for key in ("ids", "documents", "metadatas", "scores"))
    return [Hit(id=a, text=b, score=d, **(c or {})) for a, b, c, d in zip(*columns, strict=True)]


@app.exception_handler(RetrievalStoreError)
def failed(request: Request, error: RetrievalStoreError) -> Response:
    """Errors of the store as HTTP errors; others are logged."""
    if not isinstance(error, InvalidArgumentError | LockTimeoutError):
        raise error
    status = 422 if isinstance(error, InvalidArgumentError) else 503
    return JSONResponse({"detail": str(error)}, status)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--store", default="notes_service", help="a directory, made if needed")
    chosen = parser.parse_args()
    os.environ[STORE] = chosen.store
    how = {"workers": chosen.workers, "timeout_worker_healthcheck": 60}  # loading takes a while
    uvicorn.run("web_service:app", port=chosen.port, **how)
