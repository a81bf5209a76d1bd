"""What keeps stores whole and small: `verify`, `optimize`, `snapshot`, `restore`."""

import sys
from pathlib import Path

import click

from retrieval_store.command import options
from retrieval_store.command.options import FILE
from retrieval_store.command.output import DAMAGED, counted, print_json, say, size, table
from retrieval_store.command.places import collection_of, is_url, names_completed, opened


@click.command()
@options.store
@options.as_json
@options.quiet
@click.pass_context
def verify(ctx: click.Context, store: str, as_json: bool, quiet: bool) -> None:
    """Look at every byte of a store's files; the exit code is 3 where one is damaged."""
    if is_url(store):
        raise click.UsageError("a cluster looks at its files itself")
    with opened(store) as client:
        reports = client.verify(progress=not quiet and not as_json and sys.stderr.isatty())
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
            table(
                ("damaged", "what"), [(one.file.relative_to(root), one.problem) for one in damaged]
            )
        total = size(sum(one.bytes for one in reports))
        say(f"{counted(len(reports), 'file')}, {total}: {len(damaged) or 'none'} damaged")
    ctx.exit(DAMAGED if damaged else 0)


@click.command()
@options.store
@click.argument("collections", nargs=-1, shell_complete=names_completed)
@options.quiet
def optimize(store: str, collections: tuple[str, ...], quiet: bool) -> None:
    """Compact collections, all where none is named: nothing deleted is left in their files, and
    codes and indexes are whole."""
    with opened(store, writes=True) as client:
        before = sum(client.stats()["disk"].values())
        for name in collections or [one.name for one in client.list_collections()]:
            shown = not quiet and sys.stderr.isatty()
            collection_of(client, name).optimize(show_progress=shown)
        after = sum(client.stats()["disk"].values())
    say(f"{size(before)} before, {size(after)} now")


@click.command()
@options.store
@click.argument("target", type=FILE)
@click.option("--collection", shell_complete=names_completed, help="Only this one.")
def snapshot(store: str, target: Path, collection: str | None) -> None:
    """Write a store, or one collection, into a new file TARGET, while others go on writing."""
    with opened(store) as client:
        if collection is None:
            client.snapshot(target)
        else:
            collection_of(client, collection).snapshot(target)
    say(f"{target}, {size(target.stat().st_size)}")


@click.command()
@click.argument("source", type=FILE)
@click.argument("store", type=click.Path(file_okay=False))
@click.option("--name", help="For the collection of a snapshot that holds one.")
def restore(source: Path, store: str, name: str | None) -> None:
    """Make a store of a snapshot SOURCE, or add the one collection in it to a store that is there.
    All of it is checked first, and nothing is replaced."""
    from retrieval_store import restore as restored

    restored(source, store, name)
    with opened(store) as client:
        told = client.stats()
    say(
        f"{store} has {counted(told['collections'], 'collection')} "
        f"with {counted(told['points'], 'point')}"
    )
