"""`retrieval-store copy`: copies collections from one store to another."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import click

from retrieval_store.cli.plugin import (
    TEXT,
    complain,
    has_bar,
    needing,
    open_client,
    quiet,
    say,
)
from retrieval_store.errors import NotFoundError

if TYPE_CHECKING:
    from retrieval_store import Client


@click.command()
@click.argument("source", type=click.Path(file_okay=False))
@click.argument("target", type=click.Path(file_okay=False))
@click.option(
    "--collection",
    "names",
    type=TEXT,
    multiple=True,
    help="Copy only this collection (repeatable).",
)
@click.option(
    "--fail-if-exists", is_flag=True, help="Fail if a collection was copied completely before."
)
@click.option("--to-local-mode", is_flag=True, help="Write TARGET for qdrant-client's local mode.")
@quiet
def copy(
    source: str,
    target: str,
    names: tuple[str, ...],
    fail_if_exists: bool,
    to_local_mode: bool,
    quiet: bool,
) -> None:
    """Copy collections from one store to another. Each store is a directory or a URL.

    Each collection is copied as of one moment, and compared at the end. Repeat the command to
    resume an interrupted copy, or to copy later changes. Other collections of TARGET stay
    unchanged.
    """
    # The journal of a copy to a server lies beside the source.
    noted_here = target.startswith(("http://", "https://")) and os.access(source, os.W_OK)
    with open_client(source, writes=noted_here) as ours:
        _refuse_unknown(ours, names)
        opening = (
            _open_local_mode(target)
            if to_local_mode
            else open_client(target, writes=True, creates=True)
        )
        with opening as theirs, _going_on_later():
            copied = ours.copy_to(
                theirs,
                list(names) or None,
                fail_if_exists=fail_if_exists,
                show_progress=has_bar(quiet),
            )
    for collection in copied:
        changed = f", {collection.changed:,} of them again" if collection.changed else ""
        changed = ", level already" if collection.level else changed
        compared = (
            f"{collection.compared:,} compared, all equal"
            if collection.compared
            else "none compared"
        )
        if collection.meanwhile:
            compared += f"; {collection.meanwhile:,} added or deleted meanwhile"
        points = f"{collection.points:,} point{'' if collection.points == 1 else 's'}"
        say(f"{collection.name}: {points}{changed}; {compared}")
    if not copied:
        say("there is no collection to copy")


@contextmanager
def _open_local_mode(directory: str) -> "Iterator[Client]":
    """A context manager that yields a `Client` for a directory in which qdrant-client's local mode
    stores collections."""
    from retrieval_store import Client

    with needing("local mode", "qdrant-client", "[qdrant]"):
        from qdrant_client import QdrantClient
    with closing(QdrantClient(path=directory)) as local, Client(qdrant_client=local) as client:
        yield client


def _refuse_unknown(client: "Client", names: tuple[str, ...]) -> None:
    """Raise NotFoundError if one of these names is not the name of a collection. Called before the
    target is created."""
    known = client.stats()["by_collection"] if names else {}
    for name in names:
        if name not in known:
            raise NotFoundError(f"there is no collection {name!r} to copy")


@contextmanager
def _going_on_later() -> Iterator[None]:
    """A context manager that prints, after an interrupt, that the points copied so far are not
    lost."""
    try:
        yield
    except KeyboardInterrupt:
        complain("copied points stay; the same command resumes the copy")
        raise
