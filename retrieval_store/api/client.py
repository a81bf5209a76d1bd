"""Client: a store of collections, in a directory, in memory, on a server, or on a cluster."""

import os
import re
import sys
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import retrieval_store
from retrieval_store import backends as stores
from retrieval_store.api.arguments import (
    DEFAULT,
    DEFAULT_DATABASE,
    DEFAULT_TENANT,
    Default,
    collection_name,
)
from retrieval_store.api.configuration import (
    ALL_DEFAULTS,
    SEARCH_TIME,
    Configuration,
    all_settings,
    analyzer_of,
    check_space,
    given_settings,
    merge_given,
    refuse_conflict,
    spaces_of,
    split_function,
    stored_settings,
    to_store,
)
from retrieval_store.api.results import SPACE, Copied, StoreStats, store_stats
from retrieval_store.backends import (
    StoredCollection,
    cluster_of,
    in_memory,
    open_path,
    open_remote,
    set_memory_budget,
)
from retrieval_store.base.argument_names import (
    OF_CLIENTS,
    OF_COLLECTIONS,
    hint_at_argument,
    suggests_argument,
)
from retrieval_store.base.tracing import log_of, shortens_tracebacks
from retrieval_store.base.validation import (
    IN_MEMORY,
    Payload,
    check_callable,
    check_metadata,
    host_in_url,
    list_ids,
    path_of,
    quote,
    store_path,
    whole_bytes,
    whole_number,
)
from retrieval_store.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    InvalidTypeError,
    InvalidUUIDError,
    NotFoundError,
    StorageError,
)
from retrieval_store.query.types import (
    CollectionRecord,
    FileReport,
    Mode,
    UnknownKeys,
)

if TYPE_CHECKING:
    from retrieval_store.api.chroma.settings import Settings
    from retrieval_store.api.collection import Collection
    from retrieval_store.base.analysis import Analyzer
    from retrieval_store.embeddings import Embeds
    from retrieval_store.loaders import DataLoader
    from retrieval_store.query.protocols import PointsBackend

NAMES_SHOWN, NAMES_COMPARED = 10, 1_000  # in a message, nearest first
LAST_PORT = 65_535
_log = log_of()
ATTEMPTS = 3  # at getting or creating a collection


@shortens_tracebacks
class Client:
    """A store of collections: in a directory, in memory, on a server (`retrieval-store serve`), or
    on a Qdrant cluster.

    All clients of one path, in this process and in other processes, share the store. A store in
    memory belongs to one client. Close a client, or use it in a `with` statement.

    A served store works like a directory; embedding functions and loaders run in this process. If
    the server can't be reached, reads are repeated for ten seconds. A write is repeated only if it
    certainly had no effect. Otherwise an UnavailableError says that the whole write may or may not
    have been done.

    Collections on a cluster have the same methods. But a batch isn't one transaction there, and
    writes are as durable as Qdrant makes them.
    """

    def __init__(
        self,
        path: "str | os.PathLike[str] | Settings | None" = None,
        *,
        create: bool = True,
        durability: Literal["full", "relaxed"] = "full",
        read_only: bool = False,
        allow_reset: bool = False,
        trust: bool = False,
        rebuild: bool = False,
        memory_budget: int | None = None,
        unknown_keys: UnknownKeys = "warn",
        url: str | Sequence[str] | None = None,
        qdrant_client: Any = None,
        consistency: int | Literal["majority", "quorum", "all"] | None = None,
        create_indexes: bool = True,
        settings: Any = None,
        tenant: str = DEFAULT_TENANT,
        database: str = DEFAULT_DATABASE,
        **options: Any,
    ) -> None:
        """Open a store.

        Args:
            path: the directory of a store. ":memory:", or neither path nor url, means a store in
                memory.
            create: whether to make a store if there is none; with False, a missing store is a
                NotFoundError.
            durability: "full": an acknowledged write survives a power cut; "relaxed": a power cut
                may lose the writes of the last moments, but the store stays consistent.
            read_only: writes raise ReadOnlyError; the directory may be unwritable.
            allow_reset: whether `reset` may delete everything.
            trust: whether you trust the maker of the store. If you don't, a stored embedding
                function that may reach the network, the environment or files isn't used, unless you
                pass it yourself.
            rebuild: whether to ignore the derived files (codes, indexes, lists of words), and
                rebuild them when they are needed; for stores from untrusted sources.
            memory_budget: the bytes that the caches of all stores of this process may use together,
                besides the state of the collection in use. The last client with this argument sets
                it. The default is 256 MB, or an eighth of the memory of the process if that is
                less.
            unknown_keys: the reaction to a filter on a key, or a type of value, that no record has:
                "warn" in the log (once for each key and Collection), "error" (an
                InvalidFilterError), or "ignore". A cluster isn't checked.
            url: the URL of a served store or a cluster; the client finds out which. A list names
                several nodes of a cluster: if one is down or isn't ready, the next one is used.
            qdrant_client: an open client of a cluster, instead of url; it stays open.
            consistency: how many replicas each read on a cluster queries: a number, "majority",
                "quorum" or "all"; None for a single replica.
            create_indexes: whether to create payload indexes on a cluster, once, for the keys of
                filters, orders and facets; without them a server in strict mode refuses such
                filters.
            settings: Chroma's settings, which can also be passed in the place of path.
                `allow_reset`, `is_persistent` and `persist_directory` have an effect. Any other
                setting must describe what this package does anyway.
            tenant: the tenant of Chroma; must be "default_tenant".
            database: the database of Chroma; must be "default_database".
            **options: with url: api_key, headers (a dict, sent with each request), timeout
                (seconds, 30 by default; None for no limit), verify (False, or a file of trusted
                certificates); for a cluster also the arguments of qdrant_client.QdrantClient.

        Raises:
            InvalidArgumentError: an invalid argument, or arguments that don't go together.
            NotFoundError: there is no store, with `create=False`.
        """
        if hasattr(path, "persist_directory"):  # settings, which Chroma's Client has first
            if settings is not None:
                raise InvalidTypeError("settings is given twice, first and as settings=")
            path, settings = None, path
        is_left_out = settings is None and tenant is DEFAULT_TENANT
        if not (is_left_out and database is DEFAULT_DATABASE):
            from retrieval_store.api.chroma.settings import check_settings, directory_in

            known = check_settings(settings, tenant, database)
            allow_reset = allow_reset or known.allow_reset
            path = directory_in(known, path) if url is None and qdrant_client is None else path
        _check_flags(
            create=create,
            trust=trust,
            rebuild=rebuild,
            create_indexes=create_indexes,
            read_only=read_only,
            allow_reset=allow_reset,
        )
        is_remote = _is_remote(path, url, qdrant_client, options)
        _refuse_misplaced(
            is_remote,
            path,
            durability,
            path_only={"create": not create, "read_only": read_only, "rebuild": rebuild},
            here_only={"memory_budget": memory_budget is not None},
            cluster_only={
                "consistency": consistency is not None,
                "create_indexes": not create_indexes,
            },
        )
        if unknown_keys not in get_args(UnknownKeys):
            allowed = ", ".join(map(repr, get_args(UnknownKeys)))
            raise InvalidArgumentError(
                f"unknown_keys is {quote(unknown_keys)}, expected one of {allowed}"
            )
        if memory_budget is not None:
            set_memory_budget(whole_bytes(memory_budget, "memory_budget"))
        mode: Mode = "read-only" if read_only else durability
        if is_remote:
            from retrieval_store.api.configuration import check_consistency

            read_from = check_consistency(consistency)
            if url is None:
                self._session = cluster_of(qdrant_client, read_from, create_indexes)
            else:
                self._session = open_remote(url, read_from, create_indexes, options)
        elif (directory := store_path(path)) is None:
            self._session = in_memory(mode)
        else:
            self._session = open_path(directory, mode, rebuild, create)
        self._session.unknown_keys = unknown_keys
        self._allow_reset = allow_reset
        self._trust = trust

    @property
    def path(self) -> Path | None:
        """The directory of the store; None if it is in memory, on a server, or on a cluster."""
        return self._session.store.directory

    @property
    def tenant(self) -> str:
        """Chroma's default tenant; a store has no tenants."""
        return DEFAULT_TENANT

    @property
    def database(self) -> str:
        """Chroma's default database; a store has no databases."""
        return DEFAULT_DATABASE

    @suggests_argument(OF_COLLECTIONS)
    def create_collection(
        self,
        name: str,
        configuration: Configuration | None = None,
        metadata: Mapping[str, Any] | None = None,
        embedding_function: "Embeds | str | Default | None" = DEFAULT,
        data_loader: "DataLoader | None" = None,
        get_or_create: bool = False,
        *,
        check_model: bool = True,
    ) -> "Collection":
        """Create a collection.

        Args:
            name: 3 to 512 characters of [a-zA-Z0-9._-], where the first and the last character are
                one of [a-zA-Z0-9].
            configuration: {"hnsw": {"space": "l2" | "ip" | "cosine", "ef_construction",
                "max_neighbors", "ef_search"}, "index": "codes" | "hnsw" | "exact" | a plugin's
                {"name", "settings"}, "recall": the share of the true nearest that a search must
                find, "text": {"language", "stemming", "stopwords"}, "vectors": {"datatype":
                "float32" | "float16"}, "sparse": {"idf": False | True}}; on a cluster also
                "qdrant": {"shard_number", "replication_factor", "write_consistency_factor",
                "on_disk", "quantization"}. With "sparse", points may have sparse vectors; if "idf"
                is True, their indices are weighted by idf.
            metadata: a dict of JSON values; "hnsw:space" in it chooses the distance too.
            embedding_function: a callable, or the name of a registered function that needs no
                settings, such as "minilm". The default is wordllama; None means no function. If no
                distance is set, the passed function sets it by its `default_space()`; all functions
                of this package set "cosine". Without such a function, the distance is "l2", the
                squared Euclidean distance.
            data_loader: loads the data at uris, for example `ImageLoader()`.
            get_or_create: return an existing collection, as `get_or_create_collection` does.
            check_model: False to accept another embedding function than the one with which an
                existing collection was created.

        Raises:
            AlreadyExistsError: the name is taken.
            InvalidArgumentError: an invalid argument, such as a distance that isn't among the
                embedding function's `supported_spaces()`, or the name of an unknown function.
        """
        collection_name(name)
        configuration, embedding_function = split_function(configuration, embedding_function)
        function = _function_of(embedding_function)
        check_callable(data_loader, "data_loader")
        checked = None if metadata is None else check_metadata(metadata, "metadata")
        settings = given_settings(configuration, checked)
        use = _Using(function, data_loader, self._trust, check_model)
        if get_or_create:
            return self._got_or_created(name, settings, checked, use)
        return self._create(name, settings, checked, use)

    @suggests_argument(OF_COLLECTIONS)
    def get_or_create_collection(
        self,
        name: str,
        configuration: Configuration | None = None,
        metadata: Mapping[str, Any] | None = None,
        embedding_function: "Embeds | str | Default | None" = DEFAULT,
        data_loader: "DataLoader | None" = None,
        *,
        check_model: bool = True,
    ) -> "Collection":
        """The collection of this name, created if it doesn't exist.

        Args:
            name: as of `create_collection`.
            configuration: as of `create_collection`. An existing collection keeps its values of the
                settings that `modify` can change.
            metadata: the metadata of a new collection; an existing collection keeps its own.
            embedding_function: as of `create_collection`.
            data_loader: as of `create_collection`.
            check_model: as of `create_collection`.

        Raises:
            ConflictError: an existing collection has another value of a setting, or another
                embedding function.
        """
        return self.create_collection(
            name,
            configuration,
            metadata,
            embedding_function,
            data_loader,
            get_or_create=True,
            check_model=check_model,
        )

    @suggests_argument(OF_COLLECTIONS)
    def get_collection(
        self,
        name: str,
        embedding_function: "Embeds | str | Default | None" = DEFAULT,
        data_loader: "DataLoader | None" = None,
        *,
        check_model: bool = True,
    ) -> "Collection":
        """The collection of this name.

        Args:
            name: the name of the collection.
            embedding_function: as of `create_collection`; if left out, the function that the
                collection has stored.
            data_loader: as of `create_collection`.
            check_model: False to accept an embedding function that differs from the stored one.

        Raises:
            NotFoundError: no collection has this name.
            ConflictError: the collection was created with another embedding function: another
                registered function, other settings, or a model of another name.
        """
        function = _function_of(embedding_function)
        check_callable(data_loader, "data_loader")
        use = _Using(function, data_loader, self._trust, check_model)
        return self._collection(self._record_named(name), use)

    def get_collection_by_id(
        self,
        collection_id: uuid.UUID | str,
        embedding_function: "Embeds | str | Default | None" = DEFAULT,
        data_loader: "DataLoader | None" = None,
        *,
        check_model: bool = True,
    ) -> "Collection":
        """The collection of this id, even if it was renamed.

        Args:
            collection_id: the `id` of the collection.
            embedding_function: as of `get_collection`.
            data_loader: as of `get_collection`.
            check_model: as of `get_collection`.

        Raises:
            NotFoundError: no collection has this id.
            ConflictError: as in `get_collection`.
        """
        function = _function_of(embedding_function)
        check_callable(data_loader, "data_loader")
        use = _Using(function, data_loader, self._trust, check_model)
        return self._collection(self._session.store.record(_id_of(collection_id)), use)

    def list_collections(
        self, limit: int | None = None, offset: int | None = None
    ) -> "list[Collection]":
        """The collections, sorted by name.

        The list includes collections that QdrantClient created with vectors that `Collection`
        doesn't support. Such a collection has only a name and an id; everything else raises an
        InvalidArgumentError with the reason.

        Args:
            limit: the maximum number of collections; None for all.
            offset: how many collections to skip.
        """
        start = 0 if offset is None else whole_number(offset, "offset", 0)
        end = None if limit is None else whole_number(limit, "limit", 0)
        records = self._session.store.page(end, start)
        use = _Using(DEFAULT, None, self._trust)
        return [self._make_collection(record, use) for record in records]

    def collection_names(self) -> list[str]:
        """The names of all collections that `get_collection` can open, in the order of
        `list_collections`. Collections that QdrantClient created with vectors that `Collection`
        doesn't support are left out."""
        return [each.name for each in self._session.store.page(None, 0) if not each.is_qdrant_only]

    def count_collections(self) -> int:
        """The number of collections."""
        return self._session.store.count()

    def delete_collection(self, name: str) -> None:
        """Delete a collection with its contents.

        Args:
            name: the name of the collection.

        Raises:
            NotFoundError: no collection has this name.
        """
        self._session.store.drop(self._record_named(name).name)

    def verify(self, *, progress: bool = False) -> list[FileReport]:
        """Check every byte of the store's files. Returns a report for each file. Its `problem` is
        None if the file has no damage. A derived file (of codes, an index or lists of words) must
        also agree with the points.

        Other threads and processes may use the store during the check. A store in memory or on a
        cluster has no files to check.

        Args:
            progress: show a progress bar.
        """
        from retrieval_store.base.tracing import progress_bar

        reports = []
        with progress_bar("verifying", None, "file", progress) as bar:
            for report in self._session.store.verify(_analyzer_of):
                reports.append(report)
                bar.update(1)
        return reports

    def stats(self) -> StoreStats:
        """Figures for monitoring: the numbers of collections and points, the bytes in memory and on
        disk by part, and the use of this process' memory budget.

        Each collection has `points`; `seq`, the number of its last operation; `index_lag` and
        `uncoded`, the vectors that the index and the codes lack; `dead_slots`, which compaction
        frees; `memory` and `disk` in bytes; `in_memory`, whether this process has its state in
        memory; `problem`, why it can't be read. Unknown figures are None. For a collection that
        isn't in memory, these are `index_lag`, `uncoded` and `dead_slots`; on a cluster, all
        figures except `points`.

        No collection is loaded: a call reads a few files of each collection, or sends three
        requests to a cluster.
        """
        store = self._session.store
        return store_stats(store.gauges(), store.own_bytes(), store.budget())

    def snapshot(self, path: str | os.PathLike[str]) -> None:
        """Write a snapshot of each collection into one file, while others may continue to write.
        `retrieval_store.restore` makes a store from it. A cluster has no snapshots, so its points
        are first copied to a folder beside the file, as `copy_to` does.

        Args:
            path: the path of the new file.

        Raises:
            InvalidArgumentError: the path exists already.
        """
        stores.snapshot(self._session, path_of(path, "path"))

    def copy_to(
        self,
        other: "Client",
        collections: str | Sequence[str] | None = None,
        *,
        fail_if_exists: bool = False,
        show_progress: bool = False,
    ) -> list[Copied]:
        """Copy collections with their points and settings into the store of another client. Each of
        the two stores can be in a directory, in memory, or on a cluster. After the copy, the number
        of points and a sample of them are compared. Aliases that the other store lacks are copied
        too.

        Each collection is copied from a snapshot, while other programs may continue to write. (A
        cluster has no snapshots; its points are read page by page.) A second call copies only later
        changes. So an application can move with seconds of downtime: copy, stop the application,
        and copy once more. An interrupted copy resumes. A journal in the directory of the target,
        or else of the source, records which collections are copies.

        Nothing else in the target changes. A collection that was deleted in the source stays in the
        target.

        Args:
            other: the client of the target.
            collections: the names of the collections to copy; None for all.
            fail_if_exists: raise AlreadyExistsError for a collection that an earlier call has
                copied completely.
            show_progress: show a progress bar.

        Raises:
            AlreadyExistsError: the target has another collection with that name and other contents.
            ConflictError: another program has written to an incomplete copy, or the source or the
                copy was renamed.
            StorageError: the copy is incomplete, or its sample differs.
        """
        from retrieval_store import plugins

        if not isinstance(other, Client):
            raise InvalidTypeError(f"other is {quote(other)}, expected a Client")
        names = [collections] if isinstance(collections, str) else collections
        if names is not None and not isinstance(names, Iterable):
            raise InvalidTypeError(f"collections is {quote(names)}, expected names")
        known = None if names is None else [self._record_named(name).name for name in names]
        _check_flags(fail_if_exists=fail_if_exists)
        copied: list[Copied] = plugins.load(plugins.COPIERS, "store")(
            self._session,
            other._session,
            known,
            fail_if_exists=fail_if_exists,
            show_progress=show_progress,
        )
        return copied

    def heartbeat(self) -> int:
        """The current time in nanoseconds since 1970. Raises ClientClosedError if the client is
        closed, and UnavailableError if the store is on a server that doesn't respond."""
        store = self._session.store
        if store.embedded is None:
            store.count()
        return time.time_ns()

    def get_version(self) -> str:
        """The version of this package."""
        return retrieval_store.__version__

    def get_max_batch_size(self) -> int:
        """How many records one call accepts: there is no limit."""
        return sys.maxsize

    def get_settings(self) -> "Settings":
        """The settings of this client, in the form of Chroma."""
        from retrieval_store.api.chroma.settings import Settings

        where = {} if self.path is None else {"persist_directory": str(self.path)}
        return Settings(allow_reset=self._allow_reset, is_persistent=bool(where), **where)

    def reset(self) -> None:
        """Delete all collections. Raises InvalidArgumentError unless the client was created with
        `allow_reset=True`."""
        if not self._allow_reset:
            raise InvalidArgumentError(
                "reset deletes everything; make the client with allow_reset=True to allow it"
            )
        for record in self._session.store.page(None, 0):
            with suppress(NotFoundError):  # another process has deleted it
                self._session.store.drop(record.name)

    def close(self) -> None:
        """Close the store. Its collections cannot be used afterwards. Closing a closed client does
        nothing."""
        self._session.close()

    def __repr__(self) -> str:
        return f"<Client of the store {self._session.place}>"

    def _repr_html_(self) -> str:
        from retrieval_store.base.html import table_of

        collections = self.list_collections(limit=NAMES_COMPARED)
        rows = [
            (collection.name, str(collection.id), collection.metadata) for collection in collections
        ]
        return table_of(("collection", "id", "metadata"), rows, f"Store {self._session.place}")

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise InvalidTypeError(
            "a client can't be copied, pickled or sent to another process: open the store by its "
            "path there; any number of processes may"
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _create(
        self,
        name: str,
        config: Payload,
        metadata: Payload | None,
        use: "_Using",
    ) -> "Collection":
        from retrieval_store.api.embedding_functions import check_ready, space_for, spec_of

        check_ready(use.embedding_function)
        space = space_for(use.embedding_function, cast(str | None, config.get("space")))
        config = config if space is None else {**config, "space": check_space(space)}
        chosen = merge_given(ALL_DEFAULTS, config)
        spaces = spaces_of(chosen)
        from retrieval_store import plugins

        plugins.check_index(spaces[SPACE])
        if chosen["qdrant"] and not self._session.on_cluster:
            raise InvalidArgumentError(
                f"configuration['qdrant'] is for collections on a cluster; this store is "
                f"{self._session.place}"
            )
        spec = spec_of(use.embedding_function)
        settings: Payload = {
            "metadata": metadata,
            "embedding_function": spec,
            **to_store(chosen),
        }
        try:
            record = self._session.store.create(name, settings, spaces)
        except AlreadyExistsError as error:
            raise AlreadyExistsError(
                f"{error}: get_collection opens it, and get_or_create_collection opens or makes it"
            ) from None
        return self._collection(record, use)

    def _got_or_created(
        self,
        name: str,
        config: Payload,
        metadata: Payload | None,
        use: "_Using",
    ) -> "Collection":
        refused = 0
        while True:  # another process may create or delete it between the two
            with suppress(NotFoundError):
                return self._opened(self._session.store.by_name(name), config, use)
            try:
                return self._create(name, config, metadata, use)
            except AlreadyExistsError:
                refused += 1
                if refused == ATTEMPTS:  # on a cluster it may be the name of something else
                    raise

    def _opened(self, record: CollectionRecord, config: Payload, use: "_Using") -> "Collection":
        """The existing collection of a record, opened. Raises ConflictError if the collection's
        settings differ from `config`."""
        _warn_of_unused(record, use)
        refuse_conflict(config, all_settings(record), SEARCH_TIME)
        return self._collection(record, use)

    def _record_named(self, name: Any) -> CollectionRecord:
        """The record of the collection with this name, which `QdrantClient` may have created."""
        try:
            return self._session.store.by_name(name if isinstance(name, str) else "")
        except NotFoundError as error:
            collection_name(name)  # whether it could be one
            raise NotFoundError(self._missing(name, str(error))) from None

    def _missing(self, name: str, problem: str) -> str:
        """The error message for a collection that does not exist. It suggests a similar name."""
        place = "" if self._session.on_cluster else f" in the store {self._session.place}"
        try:
            names = [record.name for record in self._session.store.page(NAMES_COMPARED, 0)]
        except StorageError:  # a key that may read one collection may not be allowed to list all
            return f"{problem}{place}: it does not exist there"
        from difflib import get_close_matches

        near = get_close_matches(name, names, NAMES_SHOWN, cutoff=0.0)
        listed = list_ids([*near, *(other for other in names if other not in near)])
        return (
            f"{problem}{place}: it does not exist there; "
            f"{f'these do: {listed}' if names else 'the store has no collections'}"
        )

    def _collection(self, record: CollectionRecord, use: "_Using") -> "Collection":
        """The collection of a record. Raises an error if `Collection` does not support its
        vectors."""
        stored_settings(record)
        return self._make_collection(record, use)

    def _make_collection(self, record: CollectionRecord, use: "_Using") -> "Collection":
        from retrieval_store.api.collection import Collection

        kind = _OfQdrantClient if record.is_qdrant_only else StoredCollection
        backend = kind(self._session, record.id)
        return Collection(
            backend, record, use.embedding_function, use.data_loader, use.trust, use.check_model
        )


class _OfQdrantClient(StoredCollection):
    """A collection with vectors that `Collection` does not support. It can be listed, compacted,
    saved and deleted. Access to the collection's points raises an error that gives the reason."""

    @property
    def points(self) -> "PointsBackend":
        stored_settings(self.record())
        return super().points

    def fork(self, name: str) -> StoredCollection:
        stored_settings(self.record())
        return super().fork(name)


ClientAPI = Client  # under the name of Chroma's protocol, which programs ask `isinstance` of


@dataclass(frozen=True, slots=True)
class _Using:
    """The embedding function and the data loader for a collection, as the caller passed them.
    trust: whether a stored function may be created that can access hosts or files; check_model:
    whether the passed function must be the one that the collection has stored."""

    embedding_function: "Embeds | Default | None"
    data_loader: "DataLoader | None"
    trust: bool
    check_model: bool = True


def existing_collection(
    client: Client,
    name: str,
    configuration: Mapping[str, Any] | None,
    embedding_function: Any,
    check_model: bool,
) -> "Collection":
    """The existing collection of this name, opened as by `get_or_create_collection`, with the same
    errors; raises NotFoundError if it doesn't exist."""
    configuration, function = split_function(configuration, embedding_function)
    use = _Using(_function_of(function), None, client._trust, check_model)
    record = client._record_named(collection_name(name))
    return client._opened(record, given_settings(configuration, None), use)


def _warn_of_unused(record: CollectionRecord, use: _Using) -> None:
    """Log a warning if a collection has stored an embedding function but is opened without one."""
    spec: Any = record.settings.get("embedding_function")
    if use.embedding_function is None and use.check_model and isinstance(spec, dict):
        _log.warning(
            "collection %r remembers the embedding function %r, which isn't used, since "
            "embedding_function is None: leave that out to embed texts by it",
            record.name,
            spec.get("name", spec.get("custom")),
        )


def _function_of(embedding_function: "Embeds | str | Default | None") -> "Embeds | Default | None":
    """The passed embedding function as a callable; see `embedding_functions.function_of`. For the
    default function, or no function, nothing is loaded."""
    if embedding_function is None or isinstance(embedding_function, Default):
        return embedding_function
    from retrieval_store.api.embedding_functions import function_of

    function: Embeds = function_of(embedding_function, "embedding_function")
    return function


def _analyzer_of(record: CollectionRecord) -> "Analyzer":
    return analyzer_of({} if record.is_qdrant_only else stored_settings(record))


def _check_flags(**flags: Any) -> None:
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise InvalidArgumentError(f"{name} is {quote(flag)}, expected True or False")


def _is_remote(path: Any, url: Any, qdrant_client: Any, options: Mapping[str, Any]) -> bool:
    """Whether the arguments name a server or a cluster. Raises an error if they name several
    places, such as a path and a url."""
    places = {"path": path, "url": url, "qdrant_client": qdrant_client}
    named_places = [name for name, place in places.items() if place is not None]
    if len(named_places) > 1:
        raise InvalidArgumentError(f"expected one of {', '.join(places)}, got {named_places}")
    if options and url is None:
        hint = hint_at_argument(min(options), OF_CLIENTS) or ", without url"
        raise InvalidTypeError(f"{min(options)!r} is no argument of Client{hint}")
    return url is not None or qdrant_client is not None


def _refuse_misplaced(
    is_remote: bool,
    path: Any,
    durability: Any,
    *,
    path_only: Mapping[str, bool],
    here_only: Mapping[str, bool],
    cluster_only: Mapping[str, bool],
) -> None:
    """Raise an error that names the first argument without a meaning for this kind of store.
    path_only, here_only, cluster_only: the arguments that only a store in a directory, in this
    process, or on a cluster can have. For each of them the value is True if the caller set it."""
    if durability not in ("full", "relaxed"):
        raise InvalidArgumentError(f"durability is {durability!r}, expected 'full' or 'relaxed'")
    if is_remote and durability != "full":
        raise InvalidArgumentError("durability goes with path; elsewhere it is the server's")
    kinds = (
        (
            path_only,
            path in (None, IN_MEMORY),
            "{} goes with path: elsewhere there are no such files",
        ),
        (here_only, is_remote, "{} goes with stores in this process"),
        (cluster_only, not is_remote, "consistency and create_indexes go with a cluster"),
    )
    for flags, is_wrong, message in kinds:
        misplaced = [name for name, is_given in flags.items() if is_given]
        if misplaced and is_wrong:
            raise InvalidArgumentError(message.format(" and ".join(misplaced)))


def _id_of(value: Any) -> str:
    try:
        return str(uuid.UUID(str(value)))
    except ValueError:
        raise InvalidUUIDError(
            f"collection_id is {quote(value)}, expected a UUID, as a collection's `id`"
        ) from None


def restore(
    snapshot: str | os.PathLike[str], path: str | os.PathLike[str], name: str | None = None
) -> None:
    """Make a store in the directory `path` from a snapshot. If the directory already contains a
    store, the snapshot must contain a single collection. It is added to the store, under the name
    `name` or, by default, its old name.

    The whole snapshot is checked first: its files must be complete and consistent, its version
    known, and all paths inside the directory. No file or collection is replaced. Raises
    InvalidArgumentError for a directory that contains other files, and AlreadyExistsError for a
    name that is taken. Raises DamagedError or FormatError for a file that isn't a snapshot, or is
    incomplete.
    """
    new_name = None if name is None else collection_name(name)
    stores.restore(path_of(snapshot, "snapshot"), path_of(path, "path"), new_name)


@suggests_argument(OF_CLIENTS)
def PersistentClient(
    path: str | os.PathLike[str] | None = None,
    settings: Any = None,
    tenant: str = DEFAULT_TENANT,
    database: str = DEFAULT_DATABASE,
    *,
    trust: bool = False,
) -> Client:
    """A client of the store in a directory. Users of Chroma know this name."""
    if path is None:
        raise InvalidArgumentError(
            "path is None: where Chroma takes './chroma' by itself, a directory is named here"
        )
    return Client(path, trust=trust, settings=settings, tenant=tenant, database=database)


def EphemeralClient(
    settings: Any = None, tenant: str = DEFAULT_TENANT, database: str = DEFAULT_DATABASE
) -> Client:
    """A client of a new store in memory. Users of Chroma know this name."""
    from retrieval_store.api.chroma.settings import refuse_persistent

    refuse_persistent(settings)
    return Client(settings=settings, tenant=tenant, database=database)


_HAS_PORT = re.compile(r":[0-9]+$")  # of a host as a URL has it


@suggests_argument(OF_CLIENTS)
def HttpClient(
    host: str = "localhost",
    port: int = 6333,
    ssl: bool = False,
    headers: Mapping[str, str] | None = None,
    settings: Any = None,
    tenant: str = DEFAULT_TENANT,
    database: str = DEFAULT_DATABASE,
    *,
    trust: bool = False,
    **options: Any,
) -> Client:
    """A client of the store or cluster that a server at a host and a port serves. Users of Chroma
    know this name. host: the server's name, or its URL; a port in the URL replaces `port`. headers:
    HTTP headers of each request; options: further arguments of `Client` that go with url, such as
    api_key and timeout."""
    name = host.rpartition("://")[2].rstrip("/") if isinstance(host, str) else ""
    if not name or "/" in name:
        raise InvalidTypeError(f"host is {quote(host)}, expected the name of a host")
    scheme = "https" if ssl or host.startswith("https://") else "http"
    where, number = host_in_url(name), whole_number(port, "port", 1, LAST_PORT)
    if not _HAS_PORT.search(where):
        where = f"{where}:{number}"
    if headers is not None:
        options = {**options, "headers": dict(headers)}
    return Client(
        url=f"{scheme}://{where}",
        trust=trust,
        settings=settings,
        tenant=tenant,
        database=database,
        **options,
    )
