"""The command `sync`. It keeps a collection in sync with a folder."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from retrieval_store.cli import plugin
from retrieval_store_files.commands.add import (
    DISTANCES,
    MODELS,
    SHOWN,
    IncomingRecords,
    correct_path,
    existing_collection,
    is_there,
    report_unreadable,
    with_new,
)


@click.command()
@plugin.store
@plugin.collection
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--name",
    type=plugin.TEXT,
    help="Name for the folder, if its path may change.  [default: the path]",
)
@click.option("--prefix", type=plugin.TEXT, default="", help="Prefix of the ids, such as guide/.")
@click.option(
    "--kind", type=click.Choice(["texts", "images"]), help="Read only files of this kind."
)
@click.option("--captions", is_flag=True, help="Take photo.txt as the caption of photo.jpg.")
@click.option(
    "--chunk/--no-chunk",
    default=True,
    show_default=True,
    help="Cut texts into passages, or keep one record per file.",
)
@click.option(
    "--overlap",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Number of words that neighbouring passages share.",
)
@click.option(
    "--include",
    multiple=True,
    type=plugin.TEXT,
    metavar="PATTERN",
    help="Read only files that match, such as *.md (repeatable).",
)
@click.option(
    "--exclude",
    multiple=True,
    type=plugin.TEXT,
    metavar="PATTERN",
    help="Skip files that match, such as drafts (repeatable).",
)
@click.option(
    "--passwords",
    type=click.File(encoding="utf-8"),
    help="File with passwords for encrypted PDF and Office files, one per line.",
)
@click.option("--gitignore", is_flag=True, help="Skip files that .gitignore files exclude.")
@click.option("--links", is_flag=True, help="Follow symbolic links to files.")
@click.option(
    "--watch", is_flag=True, help="Keep running and sync after each change, until Ctrl-C."
)
@click.option("--distance", type=DISTANCES, help="Distance of a new collection.")
@click.option(
    "--model",
    type=plugin.TEXT,
    metavar="NAME",
    help=f"Embedding function of a new collection: {MODELS}.",
)
@click.option(
    "--batch",
    default=100,
    show_default=True,
    type=click.IntRange(1),
    help="Number of records per write.",
)
@click.option("--dry-run", is_flag=True, help="Print the changes without making them.")
@click.option(
    "--allow-empty", is_flag=True, help="Delete all records of a folder that is empty or gone."
)
@plugin.as_json
@plugin.trust
@plugin.quiet
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
    passwords: Any,
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
    """Update a collection from the files in a folder, such as texts, PDFs and images. New and
    changed files are embedded, and the records of deleted files are deleted. Other records
    stay. A missing store or collection is created. After an interruption, repeat the command."""
    if captions and kind == "texts":
        raise click.UsageError("--captions is for images, which --kind texts leaves out")
    if watch and dry_run:
        raise click.UsageError("--watch and --dry-run: --watch runs on, --dry-run changes nothing")
    which: dict[str, Any] = {"kind": kind, "captions": captions, "include": include}
    which |= {"exclude": exclude, "gitignore": gitignore, "links": links}
    how: dict[str, Any] = {"name": name, "prefix": prefix, "chunk": chunk, "overlap": overlap}
    how |= {"batch": batch, "dry_run": dry_run, "allow_empty": allow_empty}
    how |= {"watch": watch, "show_progress": plugin.has_bar(quiet)}
    how |= {"passwords": _passwords_in(passwords)}
    tell = partial(_report_synced, as_json=as_json)
    how |= {"on_report": tell} if watch else {}
    place = folder.absolute()
    incoming = IncomingRecords(
        place, which, True, {}, None, place, how, distance, model, trust, True, not as_json
    )
    if is_there(store, collection):
        with plugin.open_client(store, writes=not dry_run, trust=trust) as client:
            report = incoming.add_to(existing_collection(client, collection, incoming))
    else:
        report = with_new(store, collection, incoming)
    if not watch:
        tell(report)


def _report_synced(report: Any, as_json: bool) -> None:
    if as_json:
        plugin.print_json(_object_of(report))
        return
    if report.dry_run:
        for what in ("added", "changed", "deleted"):
            for path in getattr(report, what):
                plugin.say(f"{what}  {path}")
    plugin.say(str(report))
    report_unreadable(report.unreadable, "not read")
    _report_gaps(report.gaps)


_OF_ITS_OWN = re.compile(r"\d[\d,]*|'[^']*'")  # differs between files with the same gap


def _report_gaps(gaps: Sequence[Any]) -> None:
    """Print the parts of files that weren't read ("gaps"). Gaps with the same reason are printed as
    one line, even if they are in several files."""
    kinds: dict[str, list[Any]] = {}
    for gap in gaps:
        kinds.setdefault(_OF_ITS_OWN.sub("", gap.why), []).append(gap)
    for alike in [*kinds.values()][:SHOWN]:
        first, others = alike[0], len({gap.path for gap in alike[1:]} - {alike[0].path})
        more = f", and the like of {others:,} other files" if others else ""
        plugin.complain(f"not all of it: {correct_path(first.path)}: {first.why}{more}")
    if len(kinds) > SHOWN:
        plugin.complain(f"and {len(kinds) - SHOWN:,} other kinds of gaps; --json has all")


def _passwords_in(file: Any) -> list[str]:
    """The passwords in a file, one per line; an empty list without a file."""
    return [] if file is None else [line for line in file.read().splitlines() if line]


def _object_of(report: Any) -> dict[str, Any]:
    """The report of a sync as a dict, which is printed as JSON."""
    counts = {
        name: getattr(report, name)
        for name in (
            "name", "added", "changed", "deleted", "unchanged", "others", "embedded", "dry_run"
        )
    }  # fmt: skip
    files = {
        name: [
            {"path": str(correct_path(file.path)), "why": file.why}
            for file in getattr(report, name)
        ]
        for name in ("left_out", "unreadable", "gaps")
    }
    return {"path": str(report.path), **counts, **files}
