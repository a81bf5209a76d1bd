"""What is taken away or called otherwise: `delete`, `rename`, `drop`."""

from collections.abc import Sequence
from typing import Any

import click

from retrieval_store.command import options
from retrieval_store.command.output import counted, say, tell_missing
from retrieval_store.command.places import collection_of, opened, refuse_unknown


def _ask(question: str) -> None:
    """Go on only if the answer is yes; where there is no more to read, it isn't."""
    try:
        yes = click.confirm(question)
    except click.Abort as error:
        if not isinstance(error.__context__, EOFError):
            raise
        yes = False
    if not yes:
        raise click.ClickException("nothing was deleted")


@click.command()
@options.store
@options.collection
@click.argument("ids", type=options.TEXT, nargs=-1)
@options.filters
@options.yes
def delete(
    store: str, collection: str, ids: Sequence[str], where: Any, where_document: Any, yes: bool
) -> None:
    """Delete the points of these ids, or that match the filters, or both."""
    if not ids and where is None and where_document is None:
        raise click.UsageError("expected ids, --where or --where-document; `drop` deletes all")
    with opened(store, writes=True) as client:
        points = collection_of(client, collection)
        if not yes and (where is not None or where_document is not None):
            matching = points.get(list(ids) or None, where, None, None, where_document, ["uris"])
            _ask(f"Delete {counted(len(matching['ids']), 'point')} of {collection}?")
        deleted = points.delete(list(ids) or None, where, where_document)["deleted"]
        if ids and not deleted and where is None and where_document is None:
            tell_missing(ids)
    say(f"deleted {counted(deleted, 'point')}")


@click.command()
@options.store
@options.collection
@click.argument("new_name", type=options.TEXT)
def rename(store: str, collection: str, new_name: str) -> None:
    """Give a collection another name."""
    with opened(store, writes=True) as client:
        collection_of(client, collection).modify(name=new_name)
    say(f"{collection} is called {new_name} now")


@click.command()
@options.store
@options.collection
@options.yes
def drop(store: str, collection: str, yes: bool) -> None:
    """Delete a collection with all that is in it."""
    with opened(store, writes=True) as client:
        there = client.stats()["by_collection"]
        refuse_unknown(there, collection)
        if not yes:
            number = f" with {counted(there[collection]['points'] or 0, 'point')}"
            _ask(f"Delete the collection {collection}{number}?")
        client.delete_collection(collection)
    say(f"dropped {collection}")
