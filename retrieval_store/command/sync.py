"""What is kept in step: `sync`, of a folder."""

from pathlib import Path
from typing import Any

import click

from retrieval_store.command import models, options
from retrieval_store.command.add import (
    DISTANCES,
    Incoming,
    is_there,
    near,
    tell_unreadable,
    there,
    with_new,
)
from retrieval_store.command.output import has_bar, print_json, say
from retrieval_store.command.places import opened


@click.command()
@options.store
@options.collection
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", type=options.TEXT, help="Of the folder, else its path: for one that moves.")
@click.option("--prefix", type=options.TEXT, default="", help="What ids begin with, as guide/.")
@click.option("--kind", type=click.Choice(["texts", "images"]), help="Only these.")
@click.option("--captions", is_flag=True, help="photo.txt is the caption of photo.jpg.")
@click.option(
    "--chunk/--no-chunk",
    default=True,
    show_default=True,
    help="Cut texts into passages, or have a record a file.",
)
@click.option("--distance", type=DISTANCES, help="Of a collection that is made.")
@click.option(
    "--model", type=options.TEXT, metavar="NAME", help=f"Its embedding function: {models.NAMES}."
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
@options.as_json
@options.trust
@options.quiet
def sync(
    store: str,
    collection: str,
    folder: Path,
    name: str | None,
    prefix: str,
    kind: Any,
    captions: bool,
    chunk: bool,
    distance: str | None,
    model: str | None,
    batch: int,
    dry_run: bool,
    allow_empty: bool,
    as_json: bool,
    trust: bool,
    quiet: bool,
) -> None:
    """Bring a collection up to date with the texts and images in a folder: what is new or changed
    is embedded, and what is gone from it is deleted. Other records are left alone; store and
    collection are made where there are none. Broken off, the same command goes on."""
    if captions and kind == "texts":
        raise click.UsageError("--captions is for images, which --kind texts leaves out")
    which = {"kind": kind, "captions": captions}
    how = {"name": name, "prefix": prefix, "chunk": chunk, "batch": batch, "dry_run": dry_run}
    how |= {"allow_empty": allow_empty, "show_progress": has_bar(quiet)}
    place = folder.absolute()
    incoming = Incoming(
        place, which, True, {}, None, place, how, distance, model, trust, True, not as_json
    )
    if is_there(store, collection):
        with opened(store, writes=not dry_run, trust=trust) as client:
            report = incoming.added_to(there(client, collection, incoming))
    else:
        report = with_new(store, collection, incoming)
    if as_json:
        print_json(_object_of(report))
        return
    if dry_run:
        for what in ("added", "changed", "deleted"):
            for path in getattr(report, what):
                say(f"{what}  {path}")
    say(str(report))
    tell_unreadable(report.unreadable, "not read")


def _object_of(report: Any) -> dict[str, Any]:
    """The report as JSON has it."""
    told = {
        name: getattr(report, name)
        for name in (
            "name", "added", "changed", "deleted", "unchanged", "others", "embedded", "dry_run"
        )
    }  # fmt: skip
    unreadable = [{"path": str(near(one.path)), "why": one.why} for one in report.unreadable]
    return {"path": str(report.path), **told, "unreadable": unreadable}
