"""What moves points: `add` from files and folders, `copy` to other stores, `export` into files."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from retrieval_store.command import options
from retrieval_store.command.options import FILE
from retrieval_store.command.output import complain, counted, say, size
from retrieval_store.command.places import (
    collection_of,
    is_url,
    is_used,
    opened,
    opened_local_mode,
)
from retrieval_store.errors import NotFoundError

if TYPE_CHECKING:
    from retrieval_store.direct.client import Client
    from retrieval_store.direct.collection import Collection

SHOWN = 10  # files that couldn't be read
ENDS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
FORMATS = click.Choice(["jsonl", "csv", "parquet", "arrays"])
DISTANCES = click.Choice(["cosine", "l2", "ip"])


@click.command()
@options.store
@options.collection
@click.argument("source", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--format", "format_", type=FORMATS, help="Of the file, else told by its name.")
@click.option("--id-column", default="id", show_default=True, help="Where the ids are.")
@click.option("--document-column", default="document", show_default=True, help="And the texts.")
@click.option("--distance", type=DISTANCES, help="Of a collection that is made.")
@click.option("--model", metavar="NAME", help="Its embedding function; 'none' for none.")
@click.option("--batch", default=1_000, show_default=True, help="Records written at once.")
@click.option("--resume", is_flag=True, help="Leave out what is there already.")
@click.option("--upsert", is_flag=True, help="Update what is there already.")
@options.trust
@options.quiet
def add(
    store: str,
    collection: str,
    source: Path,
    format_: Any,
    id_column: str,
    document_column: str,
    distance: str | None,
    model: str | None,
    batch: int,
    resume: bool,
    upsert: bool,
    trust: bool,
    quiet: bool,
) -> None:
    """Add the records of a file (JSONL, CSV, Parquet, "-" for JSONL from stdin), or the texts and
    images in a folder. All is checked before anything is written; store and collection are made
    where there are none. What was broken off goes on with --resume."""
    from retrieval_store.exchange import add_file, add_folder, check

    how: dict[str, Any] = {"batch": batch, "resume": resume, "upsert": upsert}
    how["show_progress"] = not quiet and sys.stderr.isatty()
    columns: dict[str, Any] = {
        "format": format_,
        "id_column": id_column,
        "document_column": document_column,
    }
    with _readable(source) as path:
        is_folder = path.is_dir() and format_ != "arrays" and not (path / "records.jsonl").exists()
        if path != source:
            columns["format"] = format_ or "jsonl"
        # Before a store is made for what turns out to be no file of records.
        checked = None if is_folder else check(path, **columns)
        embeds = checked is None or checked.embedded < checked.records
        with opened(store, writes=True, creates=True, trust=trust) as client:
            points = _wanted(client, collection, embeds, distance, model)
            added: Any
            if is_folder:
                added = add_folder(points, path, **how)
            else:
                added = add_file(points, path, **columns, **how)
    parts = [f"added {added.added:,}"]
    parts += [f"updated {added.updated:,}"] if added.updated else []
    parts += [f"left out {added.skipped:,} that were there"] if added.skipped else []
    say(", ".join(parts))
    for one in getattr(added, "unreadable", ())[:SHOWN]:
        complain(f"not added: {_near(one.path)}: {one.why}")
    left = len(getattr(added, "unreadable", ())) - SHOWN
    if left > 0:
        complain(f"and {left:,} other files")


def _near(path: Path) -> Path:
    """The path as it may be typed where one is."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


@contextmanager
def _readable(source: Path) -> Iterator[Path]:
    """A path to read from: of a file of what comes from the standard input, since it is read
    twice."""
    if str(source) != "-":
        yield source
        return
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        yield Path(file.name)


def _wanted(
    client: "Client",
    name: str,
    embeds: bool,
    distance: str | None,
    model: str | None,
) -> "Collection":
    """The collection to add to, made if there is none. embeds: whether anything comes without a
    vector."""
    with suppress(NotFoundError):
        return collection_of(client, name, embeds=embeds)
    given: dict[str, Any] = {}
    if model is not None and model != "none":
        given["embedding_function"] = _model(model)
    elif model == "none" or not embeds:
        given["embedding_function"] = None
    configuration: Any = None if distance is None else {"hnsw": {"space": distance}}
    return client.create_collection(name, configuration, **given)


def _model(name: str) -> Any:
    from retrieval_store import plugins

    return plugins.load(plugins.EMBEDDING_FUNCTIONS, name)()


@click.command()
@click.argument("source", type=click.Path(file_okay=False))
@click.argument("target", type=click.Path(file_okay=False))
@click.option(
    "--collection", "names", multiple=True, help="Only this one; may be given several times."
)
@click.option(
    "--follow", is_flag=True, help="Then copy what is written, until nobody has SOURCE open."
)
@click.option("--until-quiet", is_flag=True, help="Until nothing is written, whoever has it open.")
@click.option(
    "--quiet-for", default=2.0, show_default=True, help="Seconds without a write that end it."
)
@click.option(
    "--to-local-mode", is_flag=True, help="TARGET is a directory of qdrant-client's local mode."
)
@options.quiet
def copy(
    source: str,
    target: str,
    names: tuple[str, ...],
    follow: bool,
    until_quiet: bool,
    quiet_for: float,
    to_local_mode: bool,
    quiet: bool,
) -> None:
    """Copy collections from a store to another: directories and URLs, in any direction.

    Each is copied as it is at one moment, and compared at the end. Broken off, the same command
    goes on where it stopped. Nothing is replaced.
    """
    # A journal of what goes to a server stands beside the source.
    noted_here = is_url(target) and os.access(source, os.W_OK)
    with opened(source, writes=noted_here) as ours:
        _refuse_unknown(ours, names)
        there = (
            opened_local_mode(target)
            if to_local_mode
            else opened(target, writes=True, creates=True)
        )
        with there as theirs, going_on_later():
            copied = ours.copy_to(
                theirs,
                list(names) or None,
                follow=(until_quiet or partial(is_used, source)) if follow else False,
                quiet=quiet_for,
                on_level=_say_level if follow else None,
                show_progress=not quiet and sys.stderr.isatty(),
            )
    for one in copied:
        followed = f", {one.followed:,} of them again" if one.followed else ""
        compared = f"{one.compared:,} compared, all alike" if one.compared else "none compared"
        say(f"{one.name}: {counted(one.points, 'point')}{followed}; {compared}")
    if not copied:
        say("there is no collection to copy")


def _refuse_unknown(client: "Client", names: tuple[str, ...]) -> None:
    """Raise NotFoundError before a target is made."""
    known = client.stats()["by_collection"] if names else {}
    for name in names:
        if name not in known:
            raise NotFoundError(f"there is no collection {name!r} to copy")


def _say_level() -> None:
    complain("level: all that was written so far is in the copy; once the writers stop, this ends")


@contextmanager
def going_on_later() -> Iterator[None]:
    """Say of what is broken off that it isn't lost."""
    try:
        yield
    except KeyboardInterrupt:
        complain("what was copied stays; the same command goes on")
        raise


@click.command()
@options.store
@options.collection
@click.argument("target", type=FILE)
@click.option("--format", "format_", type=click.Choice(["jsonl", "parquet", "arrays"]))
@options.filters
@click.option(
    "--embeddings",
    type=click.Choice(["list", "base64", "none"]),
    default="list",
    show_default=True,
    help="How vectors stand in JSONL; none leaves them out.",
)
@options.quiet
def export(
    store: str,
    collection: str,
    target: Path,
    format_: str | None,
    where: Any,
    where_document: Any,
    embeddings: Any,
    quiet: bool,
) -> None:
    """Write a collection, or what matches, into a new file TARGET: JSONL or Parquet, by its name,
    or a directory of numpy's arrays and JSON."""
    from retrieval_store import exchange

    kind = format_ or ENDS.get(target.suffix.lower(), "" if target.suffix else "arrays")
    how: dict[str, Any] = {
        "where": where,
        "where_document": where_document,
        "show_progress": not quiet and sys.stderr.isatty(),
    }
    with opened(store) as client:
        points = collection_of(client, collection)
        if kind == "jsonl":
            written = exchange.export_jsonl(points, target, embeddings=embeddings, **how)
        elif kind == "parquet":
            written = exchange.export_parquet(
                points, target, embeddings=embeddings != "none", **how
            )
        elif kind == "arrays":
            written = exchange.export_arrays(points, target, **how)
        else:
            raise click.UsageError(
                f"{target.name} ends with none of .jsonl and .parquet; name a --format"
            )
    say(f"{counted(written.records, 'record')}, {size(written.bytes)}")
