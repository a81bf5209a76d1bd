"""What keeps stores whole and small: `verify`, `optimize`, `snapshot`, `restore`."""

import os
import zipfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from retrieval_store.base.html import printable
from retrieval_store.command import options
from retrieval_store.command.options import FILE
from retrieval_store.command.output import (
    DAMAGED,
    complain,
    counted,
    has_bar,
    print_json,
    say,
    size,
    table,
)
from retrieval_store.command.places import (
    has_catalog,
    is_url,
    looked_at,
    names_completed,
    opened,
    record_of,
)
from retrieval_store.errors import AlreadyExistsError, RetrievalStoreError

if TYPE_CHECKING:
    from retrieval_store.places import Session
    from retrieval_store.query.types import FileReport

DERIVED = "derived"  # the folder of what is made of points
BEGINNING = b"PK\x03\x04"  # of a snapshot


@click.command()
@options.store
@options.as_json
@options.quiet
@click.pass_context
def verify(ctx: click.Context, store: str, as_json: bool, quiet: bool) -> None:
    """Look at every byte of a store's files; the exit code is 3 where one is damaged."""
    with opened(store) as client:
        if client._session.on_cluster:
            raise click.UsageError("a cluster looks at its files itself")
        reports = client.verify(progress=has_bar(quiet or as_json))
        root = client.path or Path()
    damaged = [one for one in reports if one.problem]
    if as_json:
        print_json(
            {
                "files": len(reports),
                "bytes": sum(one.bytes for one in reports),
                "damaged": [{"file": str(one.file), "problem": one.problem} for one in damaged],
            }
        )
    else:
        if damaged:
            _tell_damaged(store, root, damaged)
        total = size(sum(one.bytes for one in reports))
        say(f"{counted(len(reports), 'file')}, {total}: {len(damaged) or 'none'} damaged")
    ctx.exit(DAMAGED if damaged else 0)


def _tell_damaged(store: str, root: Path, damaged: "list[FileReport]") -> None:
    """Which files are, of which collections, and what is to be done."""
    names: dict[str, str] = {}
    with suppress(RetrievalStoreError), looked_at(store) as session:
        names = {record.id: record.name for record in session.store.page(None, 0)}
    files = [one.file.relative_to(root) for one in damaged]
    collections = [names.get(file.parts[0]) for file in files]
    problems = [str(one.problem) for one in damaged]
    table(("collection", "damaged", "what"), [*zip(collections, files, problems, strict=True)])
    if any(DERIVED in file.parts for file in files):
        complain("what is derived is made again by: optimize --rebuild")
    if not all(DERIVED in file.parts for file in files):
        complain(
            "what is damaged isn't made again by itself: restore a snapshot beside the store "
            '(docs/operating.md, under "A damaged store")'
        )


@click.command()
@options.store
@click.argument("collections", type=options.TEXT, nargs=-1, shell_complete=names_completed)
@click.option("--rebuild", is_flag=True, help="Make what is derived, such as indexes, anew.")
@options.quiet
def optimize(store: str, collections: tuple[str, ...], rebuild: bool, quiet: bool) -> None:
    """Compact collections, all where none is named: nothing deleted is left in their files, and
    codes and indexes are whole."""
    from retrieval_store.base.tracing import progress_bar

    if rebuild and is_url(store):
        raise click.UsageError("--rebuild goes with a directory, where no server has it open")
    with looked_at(store, writes=True, rebuild=rebuild) as session:
        if session.on_cluster:
            raise click.UsageError("a cluster sees to its collections itself")
        found = [record_of(session, name) for name in collections]
        before = _bytes_of(session)
        for record in found or session.store.page(None, 0):
            shown = has_bar(quiet)
            with progress_bar(f"optimizing {printable(record.name)}", None, "vector", shown) as bar:
                session.store.optimize(record.id, partial(_advance, bar))
        after = _bytes_of(session)
    say(f"{size(before)} before, {size(after)} now")


def _advance(bar: Any, done: int, total: int) -> None:
    bar.total = total
    bar.update(done)


def _bytes_of(session: "Session") -> int:
    gauges = [one for _, one in session.store.gauges()]
    return session.store.own_bytes() + sum(sum(one.disk.values()) for one in gauges)


@click.command()
@options.store
@click.argument("target", type=FILE)
@click.option(
    "--collection", type=options.TEXT, shell_complete=names_completed, help="Only this one."
)
def snapshot(store: str, target: Path, collection: str | None) -> None:
    """Write a store, or one collection, into a new file TARGET, while others go on writing."""
    from retrieval_store import places

    with looked_at(store) as session:
        chosen = None if collection is None else record_of(session, collection).id
        options.refuse_taken(target)
        places.snapshot(session, target, chosen)
    say(f"{target}, {size(target.stat().st_size)}")


@click.command()
@click.argument("source", type=FILE)
@click.argument("store", type=click.Path(file_okay=False))
@click.option("--name", type=options.TEXT, help="For the collection of a snapshot that holds one.")
def restore(source: Path, store: str, name: str | None) -> None:
    """Make a store of a snapshot SOURCE, or add the one collection in it to a store that is there.
    All of it is checked first, and nothing is replaced."""
    from retrieval_store import restore as restored

    if not source.is_file():
        raise click.UsageError(f"there is no snapshot {source}")
    if not zipfile.is_zipfile(source) and not _may_be_cut(source):
        raise click.UsageError(f"{source} is no snapshot")
    if not has_catalog(store) and (os.path.isdir(store) and os.listdir(store)):
        raise AlreadyExistsError(
            f"{store} is there already; name a directory that is empty, or that isn't there yet"
        )
    restored(source, store, name)
    with opened(store) as client:
        told = client.stats()
    say(
        f"{store} has {counted(told['collections'], 'collection')} "
        f"with {counted(told['points'], 'point')}"
    )


def _may_be_cut(source: Path) -> bool:
    """Whether it begins as a snapshot does, of which the end is missing."""
    with source.open("rb") as file:
        return file.read(len(BEGINNING)) == BEGINNING
