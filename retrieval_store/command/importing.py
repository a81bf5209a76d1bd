"""`import`: stores of other programs, and files of records, with a report of what was left."""

from pathlib import Path
from typing import Any

import click

from retrieval_store.command import options
from retrieval_store.command.add import add, adding_options
from retrieval_store.command.options import FILE
from retrieval_store.command.output import complain, counted, has_bar, say
from retrieval_store.command.places import opened

names = click.option(
    "--collection", "names", type=options.TEXT, multiple=True, help="Only this one, or these."
)
others = click.option(
    "--name",
    "others",
    type=options.TEXT,
    metavar="OLD=NEW",
    multiple=True,
    help="This one, or these, under another name.",
)
SOURCE = click.Path(exists=True, path_type=Path)


@click.group("import")
def import_() -> None:
    """Bring in what other programs have stored. The source is only read."""


@import_.command()
@click.argument("directory", type=SOURCE)
@options.store
@names
@others
@options.trust
@options.quiet
def chroma(
    directory: Path,
    store: str,
    names: tuple[str, ...],
    others: tuple[str, ...],
    trust: bool,
    quiet: bool,
) -> None:
    """The collections in a directory of Chroma's (chromadb must be installed)."""
    from retrieval_store.exchange import import_chroma

    chosen = _chosen(names, others)
    with opened(store, writes=True, creates=True) as client:
        _report(import_chroma(directory, client, names=chosen, trust=trust, **_bar(quiet)))


@import_.command("qdrant-local")
@click.argument("directory", type=SOURCE)
@options.store
@names
@others
@click.option("--trust", is_flag=True, help="You trust the maker of the directory.")
@options.quiet
def qdrant_local(
    directory: Path,
    store: str,
    names: tuple[str, ...],
    others: tuple[str, ...],
    trust: bool,
    quiet: bool,
) -> None:
    """The collections in a directory of qdrant-client's local mode.

    Its files are pickles, and reading a pickle runs whatever is in it: say with --trust that you
    trust their maker.
    """
    from retrieval_store.exchange import import_qdrant_local

    chosen = _chosen(names, others)
    with opened(store, writes=True, creates=True) as client:
        _report(import_qdrant_local(directory, client, trust=trust, names=chosen, **_bar(quiet)))


@import_.command()
@click.argument("directory", type=SOURCE)
@options.store
@click.option("--table", type=options.TEXT, help="Only this one.")
@click.option("--name", type=options.TEXT, help="Of the collection that is made of it.")
@click.option(
    "--id-column",
    type=options.TEXT,
    default="id",
    show_default=True,
    help='"" numbers the rows.',
)
@click.option("--vector-column", type=options.TEXT, default="vector", show_default=True)
@click.option("--text-column", type=options.TEXT, default="text", show_default=True)
@options.quiet
def lancedb(directory: Path, store: str, quiet: bool, **given: Any) -> None:
    """The tables in a directory of LanceDB's (lancedb must be installed)."""
    from retrieval_store.exchange import import_lancedb

    given["id_column"] = given["id_column"] or None
    with opened(store, writes=True, creates=True) as client:
        _report(import_lancedb(directory, client, **given, **_bar(quiet)))


@import_.command()
@click.argument("index", type=SOURCE)
@options.store
@options.collection
@click.option("--metadata", type=FILE, help="JSONL: a record for each vector, in their order.")
@options.quiet
def faiss(index: Path, store: str, collection: str, metadata: Path | None, quiet: bool) -> None:
    """The vectors in an index file of Faiss (faiss-cpu must be installed)."""
    from retrieval_store.exchange import import_faiss

    with opened(store, writes=True, creates=True) as client:
        _report(import_faiss(index, metadata, client, collection, **_bar(quiet)))


def _of_files(kind: str) -> click.Command:
    """`import KIND FILE STORE COLLECTION`: `add`, as other imports are asked for."""

    @click.command(kind)
    @click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
    @options.store
    @options.collection
    @adding_options
    @click.pass_context
    def command(
        ctx: click.Context, /, file: Path, store: str, collection: str, **given: Any
    ) -> None:
        ctx.invoke(
            add,
            store=store,
            collection=collection,
            source=file,
            format_=kind,
            kind=None,
            captions=False,
            **given,
        )

    command.help = f"The records of a file of {kind}; the same as `add`."
    return command


for _kind in ("jsonl", "parquet", "csv"):
    import_.add_command(_of_files(_kind))


def _chosen(names: tuple[str, ...], others: tuple[str, ...]) -> dict[str, str] | None:
    """What each collection is to be called; None for all, as they are called there."""
    chosen = {name: name for name in names}
    for one in others:
        old, _, new = one.partition("=")
        if not (old and new):
            raise click.BadParameter(f"{one!r}, expected OLD=NEW", param_hint="--name")
        chosen[old] = new
    return chosen or None


def _bar(quiet: bool) -> dict[str, Any]:
    return {"show_progress": has_bar(quiet)}


def _report(imported: Any) -> None:
    """What was carried over, and what wasn't."""
    for one in imported.collections:
        say(f"{one.source} → {one.name}: {counted(one.records, 'record')}")
        for left in one.left:
            complain(f"  not carried over: {_left(left)}")
    for left in imported.left:
        complain(f"not carried over: {_left(left)}")
    if not imported.collections:
        say("there is nothing to import")


def _left(left: Any) -> str:
    records = (
        f" ({counted(left.records, 'record')}, such as {left.example!r})" if left.records else ""
    )
    return f"{left.what}{records}: {left.why}"
