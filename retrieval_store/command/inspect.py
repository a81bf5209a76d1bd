"""What a store holds: `info`, `list`, `count`. They open read-only, and make no store."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from retrieval_store.base.system import Process, described, users_of
from retrieval_store.command import models, options
from retrieval_store.command.output import DAMAGED, complain, facts, print_json, say, size, table
from retrieval_store.command.places import (
    collection_of,
    looked_at,
    names_completed,
    opened,
    record_of,
)

if TYPE_CHECKING:
    from retrieval_store.places import Session
    from retrieval_store.query.types import CollectionRecord, Gauges

FORMAT_AT = slice(60, 64)  # of an SQLite file: the version that its program gave it


@click.command()
@options.store
@click.argument("collection", type=options.TEXT, required=False, shell_complete=names_completed)
@options.as_json
def info(store: str, collection: str | None, as_json: bool) -> None:
    """What a store is, or one of its collections: sizes, counts, vectors, index, format, who has it
    open, and which models of texts are installed here."""
    with looked_at(store) as session:
        told = _of_store(store, session) if collection is None else _of_one(session, collection)
    if as_json:
        print_json(told)
    else:
        _show(told)


@click.command("list")
@options.store
@options.as_json
@click.pass_context
def list_(ctx: click.Context, /, store: str, as_json: bool) -> None:
    """The collections of a store; the exit code is 3 where one can't be read."""
    with looked_at(store) as session:
        gauges = dict(session.store.gauges())
        rows = [_row(one, gauges.get(one.name)) for one in session.store.page(None, 0)]
    if as_json:
        print_json(rows)
    else:
        columns = ("collection", "points", "size", "distance", "model", "front")
        told = [one | {"size": size(one["bytes"])} for one in rows]
        table(columns, [[one[name] for name in columns] for one in told])
    for one in rows:
        if one["problem"]:
            complain(f"{one['collection']}: {one['problem']}")
    ctx.exit(DAMAGED if any(one["problem"] for one in rows) else 0)


@click.command()
@options.store
@options.collection
@options.filters
@options.as_json
def count(store: str, collection: str, where: Any, where_document: Any, as_json: bool) -> None:
    """How many points a collection has, or match."""
    with opened(store) as client:
        found = collection_of(client, collection).count(where, where_document)
    if as_json:
        print_json({"count": found})
    else:
        say(str(found))


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
        "front": "QdrantClient" if record.is_apart else "any",
        "problem": gauges.problem if gauges else None,
    }


def _of_store(store: str, session: "Session") -> dict[str, Any]:
    gauges = [one for _, one in session.store.gauges()]
    directory = session.store.directory
    told: dict[str, Any] = {
        "store": os.fsencode(str(directory or store)).decode(errors="replace"),
        "collections": len(gauges),
        "points": sum(one.points or 0 for one in gauges),
        "models": models.installed() or None,
    }
    if session.on_cluster:
        return told
    told["bytes"] = session.store.own_bytes() + sum(sum(one.disk.values()) for one in gauges)
    if directory is not None:
        told["format"] = _format_of(directory / "catalog.sqlite")
        told["open_in"] = users_of(directory)
    told["damaged"] = [one.problem for one in gauges if one.problem] or None
    return told


def _format_of(file: Path) -> int:
    with file.open("rb") as opened_file:
        return int.from_bytes(opened_file.read(FORMAT_AT.stop)[FORMAT_AT], "big")


def _of_one(session: "Session", name: str) -> dict[str, Any]:
    from retrieval_store.api.write import texts_cut

    record = record_of(session, name)
    points: Any = session.store.points(record.id)
    stats = {} if session.on_cluster else points.stats()  # which loads what the gauges tell of
    gauges = dict(session.store.gauges())[name]
    directory = session.store.directory
    told = _row(record, gauges) | {"id": record.id, "metadata": record.settings.get("metadata")}
    if session.on_cluster:
        return told
    spaces: dict[str, Any] = stats["spaces"]
    kinds = {
        one.name: {"kind": one.kind, "metric": one.metric, "dimension": one.dimension}
        for one in points.spaces()
    }
    if record.is_apart:  # of which there may be several, each of its own kind
        spaces = {name: one | spaces.get(name, {}) for name, one in kinds.items()}
    if record.expires is not None:
        told["expires"] = record.expires
    told |= {
        "vectors": spaces,
        "disk": dict(gauges.disk),
        "operations": gauges.seq,
        "uncoded": gauges.uncoded,
        "index_lag": gauges.index_lag,
        "texts_cut": None if record.is_apart else texts_cut(record),
    }
    if directory is not None:
        told["format"] = _format_of(directory / record.id / "points.sqlite")
    return told


def _show(told: dict[str, Any]) -> None:
    parts = []
    for name, value in told.items():
        if name == "bytes":
            parts.append(("size", size(value)))
        elif name == "disk":
            parts.append((name, ", ".join(f"{part} {size(one)}" for part, one in value.items())))
        elif name == "vectors":
            for space, one in value.items():
                described = ", ".join(f"{k} {v}" for k, v in one.items() if v is not None)
                parts.append((f"vectors {space}".strip(), described))
        elif name == "models" and value:
            parts.append((name, ", ".join(f"{model} ({what})" for model, what in value.items())))
        elif name == "open_in":
            parts.append((name, _users(value)))
        elif name != "problem" or value:
            parts.append((name, value))
    facts((name.replace("_", " "), value) for name, value in parts)


def _users(users: list[Process] | None) -> str:
    if users is None:
        return "not told by this system"
    return ", ".join(map(described, users)) or "no other process"
