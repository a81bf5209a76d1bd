"""Creates, changes and deletes collections, their vector spaces, payload indexes and aliases, and
their snapshots by name.

As on a server, snapshots lie in the store's directory: a folder for each collection, and a folder
for the whole store. The files have the store's own format. The SHA-256 of each file is in another
file next to it, so that snapshots can be listed without reading them.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, unquote, urlparse

from qdrant_client import models

from retrieval_store.backends import SNAPSHOTS
from retrieval_store.base.system import digest_of
from retrieval_store.base.validation import Payload
from retrieval_store.errors import AlreadyExistsError, NotFoundError, StorageError
from retrieval_store.qdrant.collections import CollectionHandle, Collections
from retrieval_store.qdrant.config import (
    UNNAMED,
    CollectionConfig,
    Vector,
    check_name,
    check_ranges,
    check_vector_name,
    dense_params,
    hnsw_of,
    index_to_store,
    merge_settings,
    new_configuration,
    plain,
    refuse_pinned,
    settings_of,
    size_refused,
    space_of,
    sparse_params,
    warn_once,
    with_settings,
)
from retrieval_store.qdrant.payload_indexes import parse_path
from retrieval_store.qdrant.refusals import (
    Refused,
    bad_request,
    check_given,
    not_found,
    to_write,
    wrong,
)
from retrieval_store.qdrant.strict_mode import SIZES, check_indexes
from retrieval_store.query.protocols import EmbeddedStore
from retrieval_store.query.types import NewSpace


@dataclass(frozen=True, slots=True)
class CollectionPlan:
    """A collection that is to be created: its settings and its vector spaces."""

    settings: Payload
    spaces: Mapping[str, NewSpace]


def plan_collection(
    vectors_config: Any = None,
    sparse_vectors_config: Any = None,
    metadata: Any = None,
    **settings: Any,
) -> CollectionPlan:
    """The plan for a new collection; raises Refused if it cannot be created."""
    check_given("create_collection", settings)
    configuration = new_configuration(vectors_config, sparse_vectors_config, settings)
    spaces = {
        vector.name: space_of(vector, hnsw_of(configuration, vector.name))
        for vector in configuration.by_name.values()
    }
    checked = None if metadata is None else to_write(metadata, "metadata")
    return CollectionPlan(settings_of(configuration, checked), spaces)


def create(collections: Collections, name: str, plan: CollectionPlan) -> bool:
    """Create an empty collection."""
    check_name(name)
    if name in collections.store.aliases():
        raise wrong(f"Wrong input: Can't create collection with name {name}: it is an alias")
    if exists(collections, name):
        raise Refused(409, f"Wrong input: Collection `{name}` already exists!")
    record = collections.store.create(name, plan.settings, plan.spaces)
    SIZES.begin(record.id)
    return True


def exists(collections: Collections, name: str) -> bool:
    """Whether a collection or an alias has this name."""
    try:
        collections.store.resolve(name)
    except NotFoundError:
        return False
    return True


def delete(collections: Collections, name: str) -> bool:
    """Delete the collection of this name, which cannot be an alias. Returns whether the collection
    existed."""
    try:
        collections.store.drop(name)
    except NotFoundError:
        return False
    return True


def update(
    collections: Collections,
    opened: CollectionHandle,
    vectors_config: Any = None,
    sparse_vectors_config: Any = None,
    metadata: Any = None,
    **settings: Any,
) -> bool:
    """Change settings of a collection, and merge its metadata."""
    changes = {name: value for name, value in settings.items() if value is not None}
    check_given("update_collection", changes)
    params = changes.pop("collection_params", None)
    if params is not None:
        changes |= plain(params)
    warn_once(changes)
    is_one = isinstance(vectors_config, models.VectorParamsDiff)
    diffs = {UNNAMED: vectors_config} if is_one else vectors_config or {}
    new = {} if metadata is None else to_write(metadata, "metadata")

    def edit(old: CollectionConfig) -> CollectionConfig:
        configuration = with_settings(old, changes)
        return replace(
            configuration,
            vectors=_with_diffs(old.vectors, diffs),
            sparse_vectors=_with_diffs(old.sparse_vectors, sparse_vectors_config or {}),
        )

    collections.change(opened, edit, lambda old: _merge_metadata(old, new))
    _set_modifiers(opened, sparse_vectors_config or {})
    return True


def _set_modifiers(
    opened: CollectionHandle, diffs: Mapping[str, models.SparseVectorParams]
) -> None:
    """Switch the idf of sparse vector spaces on or off, for each space whose diff has a
    modifier."""
    for name, diff in diffs.items():
        if diff.modifier is not None:
            by_idf = diff.modifier == models.Modifier.IDF
            opened.points.configure_index(name, {"idf": by_idf})


def _with_diffs(old: Mapping[str, Any], diffs: Mapping[str, Any]) -> Payload:
    for name in diffs:
        if name not in old:
            raise wrong(f"Wrong input: Not existing vector name error: {name}")
        settings = plain(diffs[name])
        refuse_pinned(f"vectors {name!r}", settings)
        check_ranges("vectors.?", settings)
    return {name: _with_diff(params, diffs.get(name)) for name, params in old.items()}


def _with_diff(old: Payload, diff: Any) -> Payload:
    """The parameters of a vector space, changed by a diff. Index settings are changed one by one. A
    new quantization replaces the old one, and "Disabled" removes it."""
    new = merge_settings(old, diff)
    for name in ("hnsw_config", "index"):
        if name in new:
            new[name] = {**cast("Payload", old.get(name) or {}), **cast("Payload", new[name])}
    if new.get("quantization_config") == models.Disabled.DISABLED.value:
        del new["quantization_config"]
    return new


def _merge_metadata(old: Payload | None, new: Payload) -> Payload | None:
    merged = {**(old or {}), **new}
    rest = {key: value for key, value in merged.items() if value is not None or key not in new}
    return rest or (old and {})


def _completed_update(opened: CollectionHandle) -> models.UpdateResult:
    return models.UpdateResult(
        operation_id=opened.points.operation, status=models.UpdateStatus.COMPLETED
    )


# By which a vector space is the one that is asked for; others may have been tuned since.
SCHEMA = ("size", "distance", "multivector_config", "datatype", "modifier")


def add_vector(
    collections: Collections, opened: CollectionHandle, vector_name: str, vector_name_config: Any
) -> models.UpdateResult:
    """Add a vector space, in which no point has a vector yet. Does nothing if the space exists with
    the same configuration."""
    name, config = vector_name, vector_name_config
    sparse = isinstance(config, models.SparseVectorNameConfig)
    check_vector_name(name, sparse)
    if sparse:
        params = sparse_params(_sparse_vector_params(config.sparse))
    else:
        vector_params = models.VectorParams.model_validate(plain(config.dense))
        if vector_params.size == 0:  # which is 400 for a new collection
            raise bad_request(size_refused(name, 0))
        params = dense_params(name, vector_params)

    def edit(old: CollectionConfig) -> CollectionConfig:
        if name in old.by_name:
            same_kind = old.sparse_vectors if sparse else old.vectors
            if name not in same_kind or _schema_of(same_kind[name]) != _schema_of(params):
                raise wrong(
                    f"Wrong input: Vector `{name}` already exists with a different configuration"
                )
            return old
        if sparse:
            new = replace(old, sparse_vectors={**old.sparse_vectors, name: params})
        else:
            new = replace(old, vectors={**old.vectors, name: params})
        # Within the catalog's transaction, so that no other process makes or drops one meanwhile.
        _make_space(opened, new.by_name[name], hnsw_of(new, name))
        return new

    collections.change(opened, edit)
    return _completed_update(opened)


def _sparse_vector_params(config: Any) -> models.SparseVectorParams:
    """The parameters of a sparse vector space, from the configuration in a request that adds it."""
    index = None if config.datatype is None else models.SparseIndexParams(datatype=config.datatype)
    return models.SparseVectorParams(index=index, modifier=config.modifier)


def _schema_of(params: Mapping[str, Any]) -> Payload:
    """The parts of a vector space's parameters that decide which vectors the space can store."""
    all_params = {**params.get("index", {}), **params}
    return {name: all_params[name] for name in SCHEMA if name in all_params}


def _make_space(opened: CollectionHandle, vector: Vector, hnsw: Payload) -> None:
    space = space_of(vector, hnsw)
    try:
        opened.points.add_space(vector.name, space)
    except AlreadyExistsError:  # what was left of one whose deletion was interrupted
        opened.points.drop_space(vector.name)
        opened.points.add_space(vector.name, space)


def drop_vector(
    collections: Collections, opened: CollectionHandle, vector_name: str
) -> models.UpdateResult:
    """Delete a vector space; does nothing if there is no such space."""

    def edit(old: CollectionConfig) -> CollectionConfig:
        return replace(
            old,
            vectors={key: params for key, params in old.vectors.items() if key != vector_name},
            sparse_vectors={
                key: params for key, params in old.sparse_vectors.items() if key != vector_name
            },
        )

    def drop_remaining_space(configuration: CollectionConfig) -> CollectionConfig:
        if vector_name not in configuration.by_name:  # or else someone has made it anew meanwhile
            with contextlib.suppress(NotFoundError):  # someone else has dropped it, too
                opened.points.drop_space(vector_name)
        return configuration

    if vector_name in opened.configuration.by_name:
        collections.change(opened, edit)
        collections.change(opened, drop_remaining_space)
    return _completed_update(opened)


def add_index(
    collections: Collections,
    opened: CollectionHandle,
    field_name: str,
    field_schema: Any = None,
    field_type: Any = None,
) -> models.UpdateResult:
    """Add a payload index. The kind of the index decides how conditions on the key are read, for
    example whether a range compares numbers or dates."""
    parse_path(field_name)
    check_indexes(opened, field_name)
    stored = index_to_store(field_name, field_type if field_schema is None else field_schema)
    collections.change(
        opened,
        lambda old: replace(old, payload_schema={**old.payload_schema, field_name: stored}),
    )
    return _completed_update(opened)


def drop_index(
    collections: Collections, opened: CollectionHandle, field_name: str
) -> models.UpdateResult:
    """Delete the payload index of a key, if there is one."""
    if not field_name:
        raise not_found("Not found: field_name is empty")
    parse_path(field_name)

    def edit(old: CollectionConfig) -> CollectionConfig:
        rest = {name: schema for name, schema in old.payload_schema.items() if name != field_name}
        return replace(old, payload_schema=rest)

    if field_name in opened.configuration.payload_schema:
        collections.change(opened, edit)
    return _completed_update(opened)


def change_aliases(store: EmbeddedStore, operations: Sequence[Any]) -> None:
    """Apply all operations on aliases, or none if one fails."""

    def edit(aliases: dict[str, str]) -> dict[str, str]:
        for operation in operations:
            _change(aliases, operation)
        return aliases

    store.change_aliases(edit)


def _change(aliases: dict[str, str], operation: Any) -> None:
    match operation:
        case models.CreateAliasOperation(create_alias=alias):
            aliases[check_name(alias.alias_name)] = alias.collection_name
        case models.DeleteAliasOperation(delete_alias=alias):
            aliases.pop(alias.alias_name, None)
        case models.RenameAliasOperation(rename_alias=alias):
            if alias.old_alias_name not in aliases:
                raise not_found(f"Not found: Alias {alias.old_alias_name} does not exists!")
            aliases[check_name(alias.new_alias_name)] = aliases.pop(alias.old_alias_name)
        case _:
            raise wrong(
                f"an alias operation is {operation!r}, expected one of qdrant_client.models'"
            )


def describe_aliases(aliases: Mapping[str, str]) -> models.CollectionsAliasesResponse:
    """Aliases as `models.AliasDescription` objects in a response."""
    return models.CollectionsAliasesResponse(
        aliases=[
            models.AliasDescription(alias_name=alias, collection_name=name)
            for alias, name in aliases.items()
        ]
    )


FULL = "full"
SUFFIX, CHECKSUM = ".snapshot", ".checksum"
LONGEST = 100  # characters of a name in the name of a file
_NAME = re.compile(r"[A-Za-z0-9%._~-]+\.snapshot")


def _as_file(opened: CollectionHandle) -> str:
    name = quote(opened.record.name, safe="")
    if len(name) <= LONGEST:
        return name
    return f"{name[:LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


@contextlib.contextmanager
def _translate_file_errors() -> Iterator[None]:
    """A context manager that converts errors of the file system to this package's errors, since
    another process may delete a snapshot at any time."""
    try:
        yield
    except StorageError:  # ours are OSErrors, too, which say more
        raise
    except FileNotFoundError as error:
        raise not_found(f"Not found: there is no snapshot {error.filename}") from None
    except OSError as error:
        raise StorageError(f"{error.filename}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Snapshots:
    """The snapshots of a collection, or of the whole store if `opened` is None. A store in memory
    has no directory for snapshots, so all methods except `described` raise Refused."""

    store: EmbeddedStore
    opened: CollectionHandle | None

    @property
    def root(self) -> Path:
        """The directory that contains all snapshots of the store."""
        if self.store.directory is None:
            raise wrong("a store in memory has no directory for snapshots; give path")
        return self.store.directory / SNAPSHOTS

    @property
    def _folder(self) -> Path:
        return self.root / (FULL if self.opened is None else f"collection-{_as_file(self.opened)}")

    @_translate_file_errors()
    def create(self) -> models.SnapshotDescription:
        """Write a new snapshot."""
        folder, opened = self._folder, self.opened
        folder.mkdir(parents=True, exist_ok=True)
        timestamp = datetime.now(UTC).strftime("%Y-%m-%d-%H-%M-%S-%f")
        path = folder / f"{FULL if opened is None else _as_file(opened)}-{timestamp}{SUFFIX}"
        self.store.snapshot(path, None if opened is None else opened.record.id)
        path.with_name(path.name + CHECKSUM).write_text(digest_of(path), encoding="ascii")
        return _describe_snapshot(path)

    @_translate_file_errors()
    def described(self) -> list[models.SnapshotDescription]:
        """Descriptions of the snapshots, the oldest first; an empty list for a store in memory."""
        if self.store.directory is None:
            return []
        folder = self._folder
        paths = folder.glob(f"*{SUFFIX}") if folder.is_dir() else ()
        snapshots = []
        for path in filter(self._is_snapshot_file, sorted(paths)):
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                snapshots.append(_describe_snapshot(path))
        return snapshots

    @_translate_file_errors()
    def delete(self, name: str) -> bool:
        """Delete the snapshot of this name; raises Refused if there is none."""
        path = self.path_of(name)
        path.unlink()
        path.with_name(path.name + CHECKSUM).unlink(missing_ok=True)
        return True

    def path_of(self, name: Any) -> Path:
        """The path of the snapshot of this name; raises Refused if there is none."""
        path = self._folder / str(name)
        if not (isinstance(name, str) and _NAME.fullmatch(name) and self._is_snapshot_file(path)):
            raise not_found(f"Not found: there is no snapshot {name!r}")
        return path

    def _is_snapshot_file(self, path: Path) -> bool:
        """Whether a file exists and isn't a link that leads out of the directory for snapshots. The
        author of the store may have placed such a link there."""
        return path.is_file() and path.resolve().is_relative_to(self.root.resolve())


@_translate_file_errors()
def recover(store: EmbeddedStore, name: str, location: Any, checksum: str | None) -> bool:
    """Replace the collection of this name, or create it, from a snapshot. location: a path or a
    file:// URI; nothing is downloaded. checksum: the expected SHA-256 of the file."""
    path = _path_of_location(location)
    if not path.is_file():
        raise not_found(f"Not found: there is no snapshot {path}")
    if checksum is not None and digest_of(path) != checksum.lower():
        raise wrong(f"the checksum of {path} isn't {checksum!r}: {digest_of(path)!r}")
    store.restore(path, name, replace=True)
    return True


def _path_of_location(location: Any) -> Path:
    try:
        url = urlparse(str(location))
    except ValueError:
        raise wrong(f"location is {location!r}, expected a path or a file:// URL") from None
    if url.scheme == "file":
        as_it_is = Path(url.path)  # as those make it who put a path behind file://
        return as_it_is if as_it_is.is_file() else Path(unquote(url.path))
    if url.scheme in ("http", "https"):
        raise wrong(f"{location} isn't fetched: get the file, and give its path")
    return Path(str(location))


def _describe_snapshot(path: Path) -> models.SnapshotDescription:
    status, beside = path.stat(), path.with_name(path.name + CHECKSUM)
    created = datetime.fromtimestamp(status.st_mtime, UTC).replace(microsecond=0, tzinfo=None)
    return models.SnapshotDescription(
        name=path.name,
        creation_time=created.isoformat(),
        size=status.st_size,
        checksum=_read_checksum(beside),
    )


def _read_checksum(path: Path) -> str | None:
    """The checksum in the file next to a snapshot; None if there is no such file yet."""
    try:
        if not path.is_symlink():  # which isn't of our making
            return path.read_text(encoding="ascii")
    except FileNotFoundError:
        pass
    return None
