"""The command `import`. It imports the stores of other programs, and reports the data that can't be
imported.
"""

from pathlib import Path
from typing import Any

import click

from retrieval_store.cli import plugin
from retrieval_store_files.commands.add import FORMATS
from retrieval_store_files.values import count_in_words

names = click.option(
    "--collection",
    "names",
    type=plugin.TEXT,
    multiple=True,
    help="Import only this collection (repeatable).",
)
others = click.option(
    "--name",
    "others",
    type=plugin.TEXT,
    metavar="OLD=NEW",
    multiple=True,
    help="Import this collection under another name (repeatable).",
)
SOURCE = click.Path(exists=True, path_type=Path)


class _Imports(click.Group):
    """The click group of the `import` commands. If a user passes a file format, such as csv, in
    place of a program, the error message points to the command `add`."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in FORMATS.choices:
            raise click.UsageError(
                "`retrieval-store add STORE COLLECTION FILE` adds records of a file"
            )
        return super().get_command(ctx, cmd_name)


@click.group("import", cls=_Imports)
def import_() -> None:
    """Import the data of other programs. The source isn't changed."""


@import_.command()
@click.argument("directory", type=SOURCE)
@plugin.store
@names
@others
@plugin.trust
@plugin.quiet
def chroma(
    directory: Path,
    store: str,
    names: tuple[str, ...],
    others: tuple[str, ...],
    trust: bool,
    quiet: bool,
) -> None:
    """Import the collections in a directory of Chroma (needs chromadb)."""
    from retrieval_store_files import import_chroma

    chosen = _names_to_import(names, others)
    with plugin.open_client(store, writes=True, creates=True) as client:
        _report(import_chroma(directory, client, names=chosen, trust=trust, **_bar(quiet)))


@import_.command("qdrant-local")
@click.argument("directory", type=SOURCE)
@plugin.store
@names
@others
@click.option(
    "--trust", is_flag=True, help="Read pickles. Use it only for a directory that you trust."
)
@plugin.quiet
def qdrant_local(
    directory: Path,
    store: str,
    names: tuple[str, ...],
    others: tuple[str, ...],
    trust: bool,
    quiet: bool,
) -> None:
    """Import the collections in a directory of qdrant-client's local mode.

    The directory contains pickles, and reading a pickle runs the code in it. Pass --trust only if
    you trust the author of the directory.
    """
    from retrieval_store_files import import_qdrant_local

    chosen = _names_to_import(names, others)
    with plugin.open_client(store, writes=True, creates=True) as client:
        _report(import_qdrant_local(directory, client, trust=trust, names=chosen, **_bar(quiet)))


@import_.command()
@click.argument("directory", type=SOURCE)
@plugin.store
@click.option("--table", type=plugin.TEXT, help="Import only this table.")
@click.option("--name", type=plugin.TEXT, help="Name of the new collection.")
@click.option(
    "--id-column",
    type=plugin.TEXT,
    default="id",
    show_default=True,
    help='Column of the ids; "" to number the rows.',
)
@click.option("--vector-column", type=plugin.TEXT, default="vector", show_default=True)
@click.option("--text-column", type=plugin.TEXT, default="text", show_default=True)
@plugin.quiet
def lancedb(directory: Path, store: str, quiet: bool, **options: Any) -> None:
    """Import the tables in a directory of LanceDB (needs lancedb)."""
    from retrieval_store_files import import_lancedb

    options["id_column"] = options["id_column"] or None
    with plugin.open_client(store, writes=True, creates=True) as client:
        _report(import_lancedb(directory, client, **options, **_bar(quiet)))


@import_.command()
@click.argument("index", type=SOURCE)
@plugin.store
@plugin.collection
@click.option(
    "--metadata",
    type=click.Path(path_type=Path),
    help="JSONL file with a record per vector, in the same order.",
)
@plugin.quiet
def faiss(index: Path, store: str, collection: str, metadata: Path | None, quiet: bool) -> None:
    """Import the vectors in an index file of Faiss (needs faiss-cpu)."""
    from retrieval_store_files import import_faiss

    with plugin.open_client(store, writes=True, creates=True) as client:
        _report(import_faiss(index, metadata, client, collection, **_bar(quiet)))


def _names_to_import(names: tuple[str, ...], others: tuple[str, ...]) -> dict[str, str] | None:
    """A dict from the old name of each collection to import to its new name. None to import all
    collections under their old names. names: collections that keep their names; others: texts such
    as "OLD=NEW"."""
    chosen = {name: name for name in names}
    for renaming in others:
        old, _, new = renaming.partition("=")
        if not (old and new):
            raise click.BadParameter(f"{renaming!r}, expected OLD=NEW", param_hint="--name")
        chosen[old] = new
    return chosen or None


def _bar(quiet: bool) -> dict[str, Any]:
    return {"show_progress": plugin.has_bar(quiet)}


def _report(imported: Any) -> None:
    """Print what was imported, and what couldn't be imported."""
    for collection in imported.collections:
        plugin.say(
            f"{collection.source} → {collection.name}: "
            f"{count_in_words(collection.records, 'record')}"
        )
        for left in collection.left:
            plugin.complain(f"  not carried over: {_report_left_out(left)}")
    for left in imported.left:
        plugin.complain(f"not carried over: {_report_left_out(left)}")
    if not imported.collections:
        plugin.say("there is nothing to import")


def _report_left_out(left: Any) -> str:
    records = (
        f" ({count_in_words(left.records, 'record')}, such as {left.example!r})"
        if left.records
        else ""
    )
    return f"{left.what}{records}: {left.why}"
