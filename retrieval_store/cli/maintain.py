"""The commands that look after a store.

- `info`, `list` and `count` show what a store contains. They open it read-only, and create no
  store.
- `verify`, `optimize`, `snapshot` and `restore` check it, compact it, save it and restore it.
- `delete` removes records; `rename` and `drop` rename and remove collections.
"""

import os
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from retrieval_store.base.system import (
    Process,
    count_in_words,
    describe_process,
    printable,
    users_of,
)
from retrieval_store.cli import shared
from retrieval_store.cli.shared import (
    DAMAGED,
    FILE,
    collection_of,
    complain,
    facts,
    has_bar,
    has_catalog,
    is_url,
    names_completed,
    open_client,
    open_session,
    print_json,
    record_of,
    refuse_unknown,
    report_missing,
    say,
    size,
    table,
)
from retrieval_store.errors import AlreadyExistsError, RetrievalStoreError

if TYPE_CHECKING:
    from retrieval_store.backends import Session
    from retrieval_store.query.types import CollectionRecord, FileReport, Gauges

DERIVED = "derived"  # the folder of derived files
BEGINNING = b"PK\x03\x04"  # of a snapshot


@click.command()
@shared.store
@shared.as_json
@shared.quiet
@click.pass_context
def verify(ctx: click.Context, store: str, as_json: bool, quiet: bool) -> None:
    """Check every byte of a store's files. The exit code is 3 if a file is damaged."""
    with open_client(store) as client:
        if client._session.on_cluster:
            raise click.UsageError("verify checks the files of a store; a cluster checks its own")
        reports = client.verify(progress=has_bar(quiet or as_json))
        root = client.path or Path()
    damaged = [report for report in reports if report.problem]
    if as_json:
        print_json(
            {
                "files": len(reports),
                "bytes": sum(report.bytes for report in reports),
                "damaged": [
                    {"file": str(report.file), "problem": report.problem} for report in damaged
                ],
            }
        )
    else:
        if damaged:
            _report_damaged(store, root, damaged)
        total = size(sum(report.bytes for report in reports))
        say(f"{count_in_words(len(reports), 'file')}, {total}: {len(damaged) or 'none'} damaged")
    ctx.exit(DAMAGED if damaged else 0)


def _report_damaged(store: str, root: Path, damaged: "list[FileReport]") -> None:
    """Print the damaged files, their collections, and how to repair them."""
    names: dict[str, str] = {}
    with suppress(RetrievalStoreError), open_session(store) as session:
        names = {record.id: record.name for record in session.store.page(None, 0)}
    files = [report.file.relative_to(root) for report in damaged]
    collections = [names.get(file.parts[0]) for file in files]
    problems = [str(report.problem) for report in damaged]
    table(("collection", "damaged", "what"), [*zip(collections, files, problems, strict=True)])
    if any(DERIVED in file.parts for file in files):
        complain("rebuild derived files with: optimize --rebuild")
    if not all(DERIVED in file.parts for file in files):
        complain(
            "other damaged files can't be rebuilt: restore a snapshot beside the store "
            '(docs/operating.md, under "A damaged store")'
        )


@click.command()
@shared.store
@click.argument("collections", type=shared.TEXT, nargs=-1, shell_complete=names_completed)
@click.option("--rebuild", is_flag=True, help="Rebuild codes, indexes and other derived files.")
@shared.quiet
def optimize(store: str, collections: tuple[str, ...], rebuild: bool, quiet: bool) -> None:
    """Remove deleted data from the files of these collections (default: all), and complete
    their codes and indexes."""
    from retrieval_store.base.tracing import progress_bar

    if rebuild and is_url(store):
        raise click.UsageError("--rebuild needs a local directory that no server has open")
    with open_session(store, writes=True, rebuild=rebuild) as session:
        if session.on_cluster:
            raise click.UsageError("a cluster sees to its collections itself")
        records = [record_of(session, name) for name in collections]
        before = _bytes_of(session)
        for record in records or session.store.page(None, 0):
            shown = has_bar(quiet)
            with progress_bar(f"optimizing {printable(record.name)}", None, "vector", shown) as bar:
                session.store.optimize(record.id, partial(_advance, bar))
        after = _bytes_of(session)
    say(f"{size(before)} before, {size(after)} now")


def _advance(bar: Any, done: int, total: int) -> None:
    bar.total = total
    bar.update(done)


def _bytes_of(session: "Session") -> int:
    gauges = [collection_gauges for _, collection_gauges in session.store.gauges()]
    return session.store.own_bytes() + sum(
        sum(collection_gauges.disk.values()) for collection_gauges in gauges
    )


@click.command()
@shared.store
@click.argument("target", type=FILE)
@click.option(
    "--collection",
    type=shared.TEXT,
    shell_complete=names_completed,
    help="Snapshot only this collection.",
)
def snapshot(store: str, target: Path, collection: str | None) -> None:
    """Write a store, or one collection, into a new file TARGET. Other processes can write
    meanwhile."""
    from retrieval_store import backends

    with open_session(store) as session:
        chosen = None if collection is None else record_of(session, collection).id
        shared.refuse_taken(target)
        backends.snapshot(session, target, chosen)
    say(f"{target}, {size(target.stat().st_size)}")


@click.command()
@click.argument("source", type=FILE)
@click.argument("store", type=click.Path(file_okay=False))
@click.option(
    "--name", type=shared.TEXT, help="Name for the collection, if the snapshot contains only one."
)
def restore(source: Path, store: str, name: str | None) -> None:
    """Create a store from the snapshot SOURCE, or add its collection to an existing store. The
    snapshot is checked first. No collection is replaced."""
    from retrieval_store import restore as restored

    if "://" in store:
        raise click.UsageError(
            f"STORE is {store!r}, but a snapshot becomes a directory: restore it into a new one, "
            "and serve that, or copy it to the server (retrieval-store copy)"
        )
    if not source.is_file():
        raise click.UsageError(f"there is no snapshot {source}")
    if not zipfile.is_zipfile(source) and not _may_be_cut(source):
        raise click.UsageError(f"{source} is no snapshot")
    if not has_catalog(store) and (os.path.isdir(store) and os.listdir(store)):
        raise AlreadyExistsError(
            f"{store} is there already; name a directory that is empty, or that isn't there yet"
        )
    restored(source, store, name)
    with open_client(store) as client:
        stats = client.stats()
    say(
        f"{store} has {count_in_words(stats['collections'], 'collection')} "
        f"with {count_in_words(stats['points'], 'point')}"
    )


def _may_be_cut(source: Path) -> bool:
    """Whether a file begins like a snapshot, so that it may be a truncated snapshot."""
    with source.open("rb") as file:
        return file.read(len(BEGINNING)) == BEGINNING


def _ask(question: str) -> None:
    """Ask the user a question, and continue only if the answer is yes. The end of the input counts
    as no."""
    try:
        yes = click.confirm(question)
    except click.Abort as error:
        if not isinstance(error.__context__, EOFError):
            raise
        yes = False
    if not yes:
        raise click.ClickException("nothing was deleted")


@click.command()
@shared.store
@shared.collection
@click.argument("ids", type=shared.TEXT, nargs=-1)
@shared.filters
@shared.yes
def delete(
    store: str, collection: str, ids: Sequence[str], where: Any, where_document: Any, yes: bool
) -> None:
    """Delete the records with these ids, or those that match filters, or both."""
    if not ids and where is None and where_document is None:
        raise click.UsageError("expected ids, --where or --where-document; `drop` deletes all")
    with open_client(store, writes=True) as client:
        points = collection_of(client, collection)
        if not yes and (where is not None or where_document is not None):
            number = points.count(where, where_document)
            if ids:
                matching = points.get(list(ids), where, where_document=where_document, include=())
                number = len(matching["ids"])
            _ask(f"Delete {count_in_words(number, 'point')} of {collection}?")
        deleted = points.delete(list(ids) or None, where, where_document)["deleted"]
        if ids and not deleted and where is None and where_document is None:
            report_missing(ids)
    say(f"deleted {count_in_words(deleted, 'point')}")


@click.command()
@shared.store
@shared.collection
@click.argument("new_name", type=shared.TEXT)
def rename(store: str, collection: str, new_name: str) -> None:
    """Rename a collection."""
    with open_client(store, writes=True) as client:
        collection_of(client, collection).modify(name=new_name)
    say(f"{collection} is called {new_name} now")


@click.command()
@shared.store
@shared.collection
@shared.yes
def drop(store: str, collection: str, yes: bool) -> None:
    """Delete a collection with all its records."""
    with open_client(store, writes=True) as client:
        collections = client.stats()["by_collection"]
        refuse_unknown(collections, collection)
        if not yes:
            number = f" with {count_in_words(collections[collection]['points'] or 0, 'point')}"
            _ask(f"Delete the collection {collection}{number}?")
        client.delete_collection(collection)
    say(f"dropped {collection}")


FORMAT_AT = slice(60, 64)  # of an SQLite file: the version that its program gave it


@click.command()
@shared.store
@click.argument("collection", type=shared.TEXT, required=False, shell_complete=names_completed)
@shared.as_json
def info(store: str, collection: str | None, as_json: bool) -> None:
    """Show facts about a store or a collection: numbers of records, sizes, settings, format, the
    processes that use the store, and the installed embedding models."""
    with open_session(store) as session:
        facts_of = (
            _store_facts(store, session)
            if collection is None
            else _collection_facts(session, collection)
        )
    if as_json:
        print_json(facts_of)
    else:
        _show(facts_of)


@click.command("list")
@shared.store
@shared.as_json
@click.pass_context
def list_(ctx: click.Context, /, store: str, as_json: bool) -> None:
    """List the collections of a store. The exit code is 3 if one can't be read."""
    with open_session(store) as session:
        gauges = dict(session.store.gauges())
        rows = [_row(record, gauges.get(record.name)) for record in session.store.page(None, 0)]
    if as_json:
        print_json(rows)
    else:
        columns = ("collection", "points", "size", "distance", "model", "front")
        shown = [row | {"size": size(row["bytes"])} for row in rows]
        table(columns, [[row[name] for name in columns] for row in shown])
    for row in rows:
        if row["problem"]:
            complain(f"{row['collection']}: {row['problem']}")
    ctx.exit(DAMAGED if any(row["problem"] for row in rows) else 0)


@click.command()
@shared.store
@shared.collection
@shared.filters
@shared.as_json
def count(store: str, collection: str, where: Any, where_document: Any, as_json: bool) -> None:
    """Count the records of a collection, or those that match filters."""
    with open_client(store) as client:
        number = collection_of(client, collection).count(where, where_document)
    if as_json:
        print_json({"count": number})
    else:
        say(str(number))


def _row(record: "CollectionRecord", gauges: "Gauges | None") -> dict[str, Any]:
    settings = record.settings
    known = cast(dict[str, Any], settings.get("hnsw") or {})
    spec = cast(dict[str, Any], settings.get("embedding_function") or {})
    return {
        "collection": record.name,
        "points": gauges.points if gauges else None,
        "bytes": sum(gauges.disk.values()) if gauges else None,
        "distance": known.get("space"),
        "model": spec.get("name"),
        "front": "QdrantClient" if record.is_qdrant_only else "any",
        "problem": gauges.problem if gauges else None,
    }


def _store_facts(store: str, session: "Session") -> dict[str, Any]:
    gauges = [collection_gauges for _, collection_gauges in session.store.gauges()]
    directory = session.store.directory
    known: dict[str, Any] = {
        "store": os.fsencode(str(directory or store)).decode(errors="replace"),
        "collections": len(gauges),
        "points": sum(collection_gauges.points or 0 for collection_gauges in gauges),
        "models": shared.installed_models() or None,
    }
    if session.on_cluster:
        return known
    known["bytes"] = _bytes_of(session)
    if directory is not None:
        known["format"] = _format_of(directory / "catalog.sqlite")
        known["open_in"] = users_of(directory)
    known["damaged"] = [
        collection_gauges.problem for collection_gauges in gauges if collection_gauges.problem
    ] or None
    return known


def _format_of(file: Path) -> int:
    with file.open("rb") as opened_file:
        return int.from_bytes(opened_file.read(FORMAT_AT.stop)[FORMAT_AT], "big")


def _collection_facts(session: "Session", name: str) -> dict[str, Any]:
    record = record_of(session, name)
    points: Any = session.store.points(record.id)
    stats = {} if session.on_cluster else points.stats()  # it loads the data that the gauges count
    gauges = dict(session.store.gauges())[name]
    directory = session.store.directory
    known = _row(record, gauges) | {"id": record.id, "metadata": record.settings.get("metadata")}
    if session.on_cluster:
        return known
    spaces: dict[str, Any] = stats["spaces"]
    kinds = {
        space.name: {"kind": space.kind, "metric": space.metric, "dimension": space.dimension}
        for space in points.spaces()
    }
    if record.is_qdrant_only:  # it may have several spaces, each of its own kind
        spaces = {name: kind | spaces.get(name, {}) for name, kind in kinds.items()}
    if record.expires is not None:
        known["expires"] = record.expires
    known |= {
        "vectors": spaces,
        "disk": dict(gauges.disk),
        "operations": gauges.seq,
        "uncoded": gauges.uncoded,
        "index_lag": gauges.index_lag,
    }
    if directory is not None:
        known["format"] = _format_of(directory / record.id / "points.sqlite")
    return known


def _show(known: dict[str, Any]) -> None:
    parts = []
    for name, value in known.items():
        if name == "bytes":
            parts.append(("size", size(value)))
        elif name == "disk":
            parts.append(
                (
                    name,
                    ", ".join(f"{part} {size(byte_count)}" for part, byte_count in value.items()),
                )
            )
        elif name == "vectors":
            for space, properties in value.items():
                described = ", ".join(f"{k} {v}" for k, v in properties.items() if v is not None)
                parts.append((f"vectors {space}".strip(), described))
        elif name == "models" and value:
            parts.append((name, ", ".join(f"{model} ({uses})" for model, uses in value.items())))
        elif name == "open_in":
            parts.append((name, _users(value)))
        elif name != "problem" or value:
            parts.append((name, value))
    facts((name.replace("_", " "), value) for name, value in parts)


def _users(users: list[Process] | None) -> str:
    if users is None:
        return "this system doesn't report it"
    return ", ".join(map(describe_process, users)) or "no other process"
