"""The command `export`. It writes a collection into files."""

import os
from pathlib import Path
from typing import Any

import click

from retrieval_store.cli import plugin
from retrieval_store.errors import AlreadyExistsError
from retrieval_store_files.values import count_in_words

ENDS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
UNITS = ("B", "kB", "MB", "GB", "TB")


@click.command()
@plugin.store
@plugin.collection
@click.argument("target", type=click.Path(allow_dash=True))
@click.option("--format", "format_", type=click.Choice(["jsonl", "csv", "parquet", "arrays"]))
@plugin.filters
@click.option(
    "--embeddings",
    type=click.Choice(["list", "base64", "none"]),
    default="list",
    show_default=True,
    help="Format of embeddings in JSONL; none omits them (except in arrays).",
)
@plugin.quiet
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
    """Write a collection, or the matching records, into a new file TARGET. The name of TARGET
    selects the format: JSONL, CSV or Parquet, or a directory of numpy arrays and JSON ("arrays/").
    "-" prints JSONL."""
    import retrieval_store_files as files

    path = Path(target)
    kind = format_ or _format_of(target)
    if (embeddings == "base64" and kind != "jsonl") or (embeddings == "none" and kind == "arrays"):
        raise click.UsageError(f"--embeddings {embeddings} isn't possible in {kind}")
    how: dict[str, Any] = {
        "where": where,
        "where_document": where_document,
        "show_progress": plugin.has_bar(quiet),
    }
    with plugin.open_client(store) as client:
        points = plugin.collection_of(client, collection)
        if target == "-":
            if kind != "jsonl":
                raise click.UsageError(f"{kind} isn't printed; name a file as TARGET")
            for line in files.lines_of(points, embeddings=embeddings, **how):
                click.echo(line, nl=False)
            return
        if os.path.lexists(path):
            raise AlreadyExistsError(f"{path} is there already; it replaces nothing")
        if kind == "jsonl":
            written = files.export_jsonl(points, path, embeddings=embeddings, **how)
        elif kind == "csv":
            written = files.export_csv(points, path, embeddings=embeddings != "none", **how)
        elif kind == "parquet":
            written = files.export_parquet(points, path, embeddings=embeddings != "none", **how)
        else:
            written = files.export_arrays(points, path, **how)
    plugin.say(f"{count_in_words(written.records, 'record')}, {in_units(written.bytes)}")


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


def in_units(count: int) -> str:
    """A number of bytes as text, such as "1.2 MB", in the largest unit in which the number is at
    least 1."""
    number, unit = float(count), 0
    while number >= 1000 and unit < len(UNITS) - 1:
        number, unit = number / 1000, unit + 1
    return f"{number:.0f} {UNITS[unit]}" if unit < 2 else f"{number:.1f} {UNITS[unit]}"
