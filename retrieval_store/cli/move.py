"""The commands that move points: `copy` to stores, `export` into files, `sync` with a folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from retrieval_store.base.system import count_in_words
from retrieval_store.cli import add, shared
from retrieval_store.cli.add import (
    DISTANCES,
    IncomingRecords,
    correct_path,
    existing_collection,
    is_there,
    tell_unreadable,
    with_new,
)
from retrieval_store.cli.shared import (
    collection_of,
    complain,
    has_bar,
    is_url,
    open_client,
    opened_local_mode,
    poll_in_use,
    print_json,
    say,
    size,
)
from retrieval_store.errors import NotFoundError

if TYPE_CHECKING:
    from retrieval_store.api.client import Client

QUIET_FOR = 2.0  # seconds
ENDS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}


@click.command()
@click.argument("source", type=click.Path(file_okay=False))
@click.argument("target", type=click.Path(file_okay=False))
@click.option(
    "--collection",
    "names",
    type=shared.TEXT,
    multiple=True,
    help="Only this one; may be given several times.",
)
@click.option(
    "--follow", is_flag=True, help="Then copy what is written, until no process has SOURCE open."
)
@click.option(
    "--until-quiet",
    is_flag=True,
    help="With --follow: until nothing is written, whether it is open or not.",
)
@click.option(
    "--quiet-for",
    type=float,
    help=f"With --follow: seconds without a write that end it, else {QUIET_FOR:.0f}.",
)
@click.option(
    "--fail-if-exists", is_flag=True, help="End with an error for what was copied wholly before."
)
@click.option(
    "--to-local-mode", is_flag=True, help="TARGET is a directory of qdrant-client's local mode."
)
@shared.quiet
def copy(
    source: str,
    target: str,
    names: tuple[str, ...],
    follow: bool,
    until_quiet: bool,
    quiet_for: float | None,
    fail_if_exists: bool,
    to_local_mode: bool,
    quiet: bool,
) -> None:
    """Copy collections from a store to another: directories and URLs, in any direction.

    Each is copied as it is at one moment, and compared at the end. Broken off, the same command
    goes on where it stopped; later, it brings level what it has copied. Nothing else is replaced.
    """
    if (until_quiet or quiet_for is not None) and not follow:
        given = "--until-quiet" if until_quiet else "--quiet-for"
        raise click.UsageError(f"{given} says when --follow ends, which isn't given")
    # A journal of what goes to a server stands beside the source.
    noted_here = is_url(target) and os.access(source, os.W_OK)
    with open_client(source, writes=noted_here) as ours:
        _refuse_unknown(ours, names)
        there = (
            opened_local_mode(target)
            if to_local_mode
            else open_client(target, writes=True, creates=True)
        )
        with there as theirs, going_on_later():
            copied = ours.copy_to(
                theirs,
                list(names) or None,
                follow=(until_quiet or partial(poll_in_use, source)) if follow else False,
                quiet=QUIET_FOR if quiet_for is None else quiet_for,
                on_level=_say_level if follow else None,
                on_change=complain,
                fail_if_exists=fail_if_exists,
                show_progress=has_bar(quiet),
            )
    for one in copied:
        followed = f", {one.followed:,} of them again" if one.followed else ""
        followed = ", level already" if one.level else followed
        compared = f"{one.compared:,} compared, all alike" if one.compared else "none compared"
        say(f"{one.name}: {count_in_words(one.points, 'point')}{followed}; {compared}")
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
@shared.store
@shared.collection
@click.argument("target", type=click.Path(allow_dash=True))
@click.option("--format", "format_", type=click.Choice(["jsonl", "csv", "parquet", "arrays"]))
@shared.filters
@click.option(
    "--embeddings",
    type=click.Choice(["list", "base64", "none"]),
    default="list",
    show_default=True,
    help="How vectors stand in JSONL; none leaves them out, but of arrays.",
)
@shared.quiet
def export(
    store: str,
    collection: str,
    target: str,
    format_: str | None,
    where: Any,
    where_document: Any,
    embeddings: Any,
    quiet: bool,
) -> None:
    """Write a collection, or what matches, into a new file TARGET: JSONL, CSV or Parquet, by its
    name, or a directory of numpy's arrays and JSON ("arrays/"). "-" prints JSONL."""
    from retrieval_store import exchange

    path = Path(target)
    kind = format_ or _format_of(target)
    if (embeddings == "base64" and kind != "jsonl") or (embeddings == "none" and kind == "arrays"):
        raise click.UsageError(f"--embeddings {embeddings} isn't possible in {kind}")
    how: dict[str, Any] = {
        "where": where,
        "where_document": where_document,
        "show_progress": has_bar(quiet),
    }
    with open_client(store) as client:
        points = collection_of(client, collection)
        if target == "-":
            if kind != "jsonl":
                raise click.UsageError(f"{kind} isn't printed; name a file as TARGET")
            for line in exchange.lines_of(points, embeddings=embeddings, **how):
                click.echo(line, nl=False)
            return
        shared.refuse_taken(path)
        if kind == "jsonl":
            written = exchange.export_jsonl(points, path, embeddings=embeddings, **how)
        elif kind == "csv":
            written = exchange.export_csv(points, path, embeddings=embeddings != "none", **how)
        elif kind == "parquet":
            written = exchange.export_parquet(points, path, embeddings=embeddings != "none", **how)
        else:
            written = exchange.export_arrays(points, path, **how)
    say(f"{count_in_words(written.records, 'record')}, {size(written.bytes)}")


def _format_of(target: str) -> str:
    if target == "-":
        return "jsonl"
    if target.endswith("/"):
        return "arrays"
    kind = ENDS.get(Path(target).suffix.lower())
    if kind is None:
        raise click.UsageError(
            f"{target} ends with none of {', '.join(ENDS)}; name a --format, or end a directory "
            "for arrays with /"
        )
    return kind


@click.command()
@shared.store
@shared.collection
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", type=shared.TEXT, help="Of the folder, else its path: for one that moves.")
@click.option("--prefix", type=shared.TEXT, default="", help="What ids begin with, as guide/.")
@click.option("--kind", type=click.Choice(["texts", "images"]), help="Only these.")
@click.option("--captions", is_flag=True, help="photo.txt is the caption of photo.jpg.")
@click.option(
    "--chunk/--no-chunk",
    default=True,
    show_default=True,
    help="Cut texts into passages, or have a record a file.",
)
@click.option(
    "--overlap",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Words that a passage shares with the next.",
)
@click.option(
    "--include", multiple=True, type=shared.TEXT, metavar="PATTERN", help="Only such files: *.md."
)
@click.option(
    "--exclude", multiple=True, type=shared.TEXT, metavar="PATTERN", help="Not such: drafts."
)
@click.option("--gitignore", is_flag=True, help="Leave out what .gitignore files name.")
@click.option("--links", is_flag=True, help="Follow links to files.")
@click.option("--watch", is_flag=True, help="Go on after each change, until Ctrl-C.")
@click.option("--distance", type=DISTANCES, help="Of a collection that is made.")
@click.option(
    "--model", type=shared.TEXT, metavar="NAME", help=f"Its embedding function: {add.NAMES}."
)
@click.option(
    "--batch",
    default=100,
    show_default=True,
    type=click.IntRange(1),
    help="Records written at once.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option(
    "--allow-empty", is_flag=True, help="A folder that is empty or gone deletes all of its records."
)
@shared.as_json
@shared.trust
@shared.quiet
def sync(
    store: str,
    collection: str,
    folder: Path,
    name: str | None,
    prefix: str,
    kind: Any,
    captions: bool,
    chunk: bool,
    overlap: int,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    gitignore: bool,
    links: bool,
    watch: bool,
    distance: str | None,
    model: str | None,
    batch: int,
    dry_run: bool,
    allow_empty: bool,
    as_json: bool,
    trust: bool,
    quiet: bool,
) -> None:
    """Bring a collection up to date with the files in a folder, such as texts, PDFs and images:
    what is new or changed is embedded, and what is gone from it is deleted. Other records are left
    alone; store and collection are made where there are none. Broken off, the same command goes
    on."""
    if captions and kind == "texts":
        raise click.UsageError("--captions is for images, which --kind texts leaves out")
    if watch and dry_run:
        raise click.UsageError("--watch and --dry-run: one goes on, the other does nothing")
    which: dict[str, Any] = {"kind": kind, "captions": captions, "include": include}
    which |= {"exclude": exclude, "gitignore": gitignore, "links": links}
    how: dict[str, Any] = {"name": name, "prefix": prefix, "chunk": chunk, "overlap": overlap}
    how |= {"batch": batch, "dry_run": dry_run, "allow_empty": allow_empty}
    how |= {"watch": watch, "show_progress": has_bar(quiet)}
    tell = partial(_tell_synced, as_json=as_json)
    how |= {"on_report": tell} if watch else {}
    place = folder.absolute()
    incoming = IncomingRecords(
        place, which, True, {}, None, place, how, distance, model, trust, True, not as_json
    )
    if is_there(store, collection):
        with open_client(store, writes=not dry_run, trust=trust) as client:
            report = incoming.added_to(existing_collection(client, collection, incoming))
    else:
        report = with_new(store, collection, incoming)
    if not watch:
        tell(report)


def _tell_synced(report: Any, as_json: bool) -> None:
    if as_json:
        print_json(_object_of(report))
        return
    if report.dry_run:
        for what in ("added", "changed", "deleted"):
            for path in getattr(report, what):
                say(f"{what}  {path}")
    say(str(report))
    tell_unreadable(report.unreadable, "not read")
    tell_unreadable(report.gaps, "not all of it")


def _object_of(report: Any) -> dict[str, Any]:
    """The report as JSON has it."""
    counts = {
        name: getattr(report, name)
        for name in (
            "name", "added", "changed", "deleted", "unchanged", "others", "embedded", "dry_run"
        )
    }  # fmt: skip
    files = {
        name: [
            {"path": str(correct_path(one.path)), "why": one.why} for one in getattr(report, name)
        ]
        for name in ("left_out", "unreadable", "gaps")
    }
    return {"path": str(report.path), **counts, **files}
