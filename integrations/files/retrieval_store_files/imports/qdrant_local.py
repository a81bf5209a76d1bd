"""Imports collections from a directory of qdrant-client's local mode. The package qdrant-client
reads the directory.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval_store import Client
from retrieval_store.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    InvalidTypeError,
)
from retrieval_store.frameworks import progress_bar
from retrieval_store_files.imports.common import (
    Leftovers,
    Names,
    choose_names,
    directory_of,
    private_copy,
)
from retrieval_store_files.reports import Carried, Imported, Left
from retrieval_store_files.values import needing, quote, whole_number

if TYPE_CHECKING:
    from retrieval_store.qdrant import QdrantClient

FILE = "meta.json"
_SETTINGS = (
    "on_disk_payload",
    "hnsw_config",
    "optimizers_config",
    "wal_config",
    "quantization_config",
    "strict_mode_config",
    "metadata",
)
_OF_SERVERS = ("shard_number", "sharding_method", "replication_factor", "write_consistency_factor")


def import_qdrant_local(
    directory: str | os.PathLike[str],
    client: "QdrantClient | Client",
    *,
    trust: bool = False,
    names: Names = None,
    batch: int = 256,
    show_progress: bool = False,
) -> Imported:
    """Import the collections in a directory of qdrant-client's local mode. Named, sparse and
    multiple vectors, payloads, ids, settings and aliases are imported.

    The directory stores points as pickles, and reading a pickle runs the code in it. So the import
    is refused unless `trust` says that you trust the author of the directory. A copy of the
    directory is read. Close the program that uses it first.

    client: a client of `retrieval_store.qdrant`, or a `Client` of a directory. names: a list of the
    collections to import, or a dict from their names to their new names; by default all collections
    are imported. After an error nothing is imported. Raises AlreadyExistsError if a name is taken,
    and MissingDependencyError if qdrant-client isn't installed.
    """
    size = whole_number(batch, "batch", 1)
    source = directory_of(directory, FILE, "a store of qdrant-client's local mode")
    if trust is not True:
        raise InvalidArgumentError(
            f"{source} holds pickles, as qdrant-client's local mode writes them, and the maker of "
            "them decides what runs when they are read: pass trust=True if you trust them"
        )
    theirs = _qdrant_client()
    with (
        private_copy(source) as copy,
        _as_qdrant_client(client) as target_client,
        _open_local(theirs, copy) as source_client,
    ):
        settings = _settings(copy)
        chosen = choose_names(names, sorted(settings), "collection")
        aliases = _aliases(source_client, chosen)
        _refuse_taken(target_client, [*chosen.values(), *aliases])
        carried = _all_or_none(
            theirs, source_client, target_client, chosen, settings, aliases, size, show_progress
        )
        return Imported(source, tuple(carried))


def _qdrant_client() -> Any:
    with needing("import_qdrant_local", "qdrant-client", "[qdrant]"):
        import qdrant_client
    return qdrant_client


@contextmanager
def _as_qdrant_client(client: Any) -> Iterator[Any]:
    """A context manager that returns a client with qdrant-client's interface. A client that this
    function has created is closed at the end."""
    from retrieval_store.qdrant import QdrantClient

    if isinstance(client, QdrantClient):
        yield client
        return
    if not isinstance(client, Client):
        raise InvalidTypeError(
            f"client is {quote(client)}, expected one of retrieval_store.qdrant, or a Client"
        )
    if client.path is None:
        raise InvalidArgumentError(
            "client is one without a directory; one of retrieval_store.qdrant may be in memory"
        )
    with closing(QdrantClient(path=str(client.path))) as made:
        yield made


@contextmanager
def _open_local(theirs: Any, copy: Path) -> Iterator[Any]:
    try:
        client = theirs.QdrantClient(path=str(copy))
    except Exception as error:  # any error from the pickles
        raise InvalidArgumentError(f"qdrant-client can't open the directory: {error}") from error
    with closing(client):
        yield client


def _settings(copy: Path) -> dict[str, Any]:
    """A dict from the name of each collection to the settings with which the collection was
    created. `get_collection` of qdrant-client returns only some of these settings."""
    settings: dict[str, Any] = json.loads((copy / FILE).read_bytes())["collections"]
    return settings


def _aliases(client: Any, chosen: Mapping[str, str]) -> dict[str, str]:
    aliases = client.get_aliases().aliases
    return {
        alias.alias_name: chosen[alias.collection_name]
        for alias in aliases
        if alias.collection_name in chosen
    }


def _refuse_taken(client: Any, names: Sequence[str]) -> None:
    taken = {collection.name for collection in client.get_collections().collections}
    taken |= {alias.alias_name for alias in client.get_aliases().aliases}
    for name in names:
        if name in taken:
            raise AlreadyExistsError(
                f"collection or alias {name!r} exists already; an import replaces nothing: give "
                "what is imported another name"
            )


def _all_or_none(
    theirs: Any,
    source_client: Any,
    target_client: Any,
    chosen: Mapping[str, str],
    settings: Mapping[str, Any],
    aliases: Mapping[str, str],
    size: int,
    show_progress: bool,
) -> list[Carried]:
    """Import all chosen collections. If the import of one collection fails, all collections that
    this import has created are deleted. The caller has checked that the new names are free."""
    begun: list[str] = []
    try:
        carried = []
        for old, new in chosen.items():
            begun.append(new)
            try:
                left = _create(theirs.models, target_client, new, settings[old])
            except Exception:  # another process may have created it meanwhile
                begun.pop()
                raise
            count = _fill(
                theirs.models, source_client, target_client, (old, new), size, show_progress
            )
            carried.append(Carried(old, new, count, left))
        _create_aliases(theirs.models, target_client, aliases)
    except BaseException:
        for name in begun:
            target_client.delete_collection(name)
        raise
    return carried


def _create(models: Any, client: Any, name: str, stored: Any) -> tuple[Left, ...]:
    left = Leftovers()
    request = models.CreateCollection.model_validate(stored)
    for setting in _OF_SERVERS:
        if stored.get(setting) is not None:
            left.setting(f"setting {setting!r}", "it is for servers of several machines")
    client.create_collection(
        name,
        vectors_config=request.vectors,
        sparse_vectors_config=request.sparse_vectors,
        **{setting: getattr(request, setting, None) for setting in _SETTINGS},
    )
    if _is_cosine(stored.get("vectors")):
        left.setting(
            "lengths of vectors compared by cosine",
            "they get the length 1, as on a server; what is near stays so",
        )
    return left.all()


def _is_cosine(vectors: Any) -> bool:
    spaces = [vectors] if "distance" in (vectors or {}) else list((vectors or {}).values())
    return any(params.get("distance") == "Cosine" for params in spaces)


def _fill(
    models: Any,
    source_client: Any,
    target_client: Any,
    names: tuple[str, str],
    size: int,
    show_progress: bool,
) -> int:
    old, new = names
    done, offset = 0, None
    total = source_client.count(old).count
    with progress_bar(f"importing {new}", total, "point", show_progress) as bar:
        while True:
            records, offset = source_client.scroll(
                old, limit=size, offset=offset, with_vectors=True
            )
            points = [
                models.PointStruct(id=record.id, vector=record.vector or {}, payload=record.payload)
                for record in records
            ]
            if points:
                target_client.upsert(new, points)
            done += len(points)
            bar.update(len(points))
            if offset is None:
                return done


def _create_aliases(models: Any, client: Any, aliases: Mapping[str, str]) -> None:
    operations = [
        models.CreateAliasOperation(
            create_alias=models.CreateAlias(collection_name=name, alias_name=alias)
        )
        for alias, name in aliases.items()
    ]
    if operations:
        client.update_collection_aliases(operations)
