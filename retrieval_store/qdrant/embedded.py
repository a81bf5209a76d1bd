"""Qdrant's methods on our engine, to which QdrantClient passes its calls if there is no server.

Each method opens the collection and calls another module: `collections` and `manage` for
collections, `read` for reading points, `answers` for queries, `operations` for writes. Requests
that a server would refuse are refused, and then nothing is written.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, TypeAlias

from qdrant_client import models
from qdrant_client.client_base import QdrantBase
from qdrant_client.migrate.migrate import migrate

from retrieval_store.backends import Session
from retrieval_store.errors import LockTimeoutError
from retrieval_store.qdrant import answers, manage, operations, read
from retrieval_store.qdrant.collections import (
    CollectionHandle,
    Collections,
    check_shard_key,
    collection_info,
)
from retrieval_store.qdrant.config import check_name
from retrieval_store.qdrant.inference import bm25_vectors, is_bm25, vectors_by
from retrieval_store.qdrant.manage import Snapshots, recover
from retrieval_store.qdrant.payload_indexes import parse_path
from retrieval_store.qdrant.refusals import Refused, answers_as_a_server, not_found, wrong
from retrieval_store.qdrant.strict_mode import check_timeout

NOT_CLUSTERED = "Distributed mode is disabled: this is a store in one process"
PEER, OURS = 1, "retrieval-store"
TITLE = "qdrant - vector search engine"  # whose API this is; the version is ours
Admit: TypeAlias = Callable[[CollectionHandle], object]  # refuses a call by an error


def _check_shard(shard_id: int) -> None:
    """Refuse every shard id except 0, the id of the collection's only shard."""
    if shard_id != 0:
        raise not_found(f"Not found: there is shard 0 alone, and no shard {shard_id}")


@answers_as_a_server
class Embedded(QdrantBase):
    """Qdrant's methods on a store in this process. QdrantClient calls them.

    session: the session of the store; lock: a file that stays open as long as the session;
    collections: the collections that the methods open. kwargs: methods for one collection take
    `admit`, a callback that gets the collection before anything else happens, and can raise an
    error to refuse the call. Methods for points also take `timeout` and `shard_key_selector`. All
    other arguments, such as `wait`, `ordering` and `consistency`, have no effect.
    """

    def __init__(self, session: Session, lock: IO[Any] | None) -> None:
        super().__init__()
        self._session, self._lock = session, lock
        self.collections = Collections(session)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._session.closed

    def close(self, **kwargs: Any) -> None:
        self._session.close()
        if self._lock is not None:
            self._lock.close()

    def _open(
        self, collection_name: str, admit: Admit | None = None, **kwargs: Any
    ) -> CollectionHandle:
        """The collection of this name, opened for a method that concerns one collection."""
        opened = self.collections.open(collection_name)
        if admit is not None:
            admit(opened)
        return opened

    def _open_points(
        self,
        collection_name: str,
        admit: Admit | None = None,
        timeout: Any = None,
        shard_key_selector: Any = None,
        **kwargs: Any,
    ) -> CollectionHandle:
        """The collection of this name, opened for a method that concerns its points. Raises an
        error if the collection's strict mode does not allow the timeout."""
        opened = self.collections.open(collection_name)
        if admit is not None:
            admit(opened)
        if timeout is not None:
            check_timeout(opened, timeout)
        if shard_key_selector is not None:
            check_shard_key(shard_key_selector)
        return opened

    # Collections

    def create_collection(
        self,
        collection_name: str,
        vectors_config: Any = None,
        timeout: int | None = None,
        **settings: Any,
    ) -> bool:
        plan = manage.plan_collection(vectors_config, **settings)
        return manage.create(self.collections, collection_name, plan)

    def recreate_collection(
        self,
        collection_name: str,
        vectors_config: Any = None,
        timeout: int | None = None,
        **settings: Any,
    ) -> bool:
        plan = manage.plan_collection(vectors_config, **settings)
        check_name(collection_name)  # before one with a name of `Client`'s alone is deleted
        manage.delete(self.collections, collection_name)
        return manage.create(self.collections, collection_name, plan)

    def update_collection(
        self,
        collection_name: str,
        vectors_config: Any = None,
        sparse_vectors_config: Any = None,
        metadata: Any = None,
        *,
        timeout: int | None = None,
        admit: Admit | None = None,
        **settings: Any,
    ) -> bool:
        opened = self._open(collection_name, admit)
        return manage.update(
            self.collections, opened, vectors_config, sparse_vectors_config, metadata, **settings
        )

    def delete_collection(self, collection_name: str, **kwargs: Any) -> bool:
        return manage.delete(self.collections, collection_name)

    def collection_exists(self, collection_name: str, **kwargs: Any) -> bool:
        return manage.exists(self.collections, collection_name)

    def get_collection(self, collection_name: str, **kwargs: Any) -> models.CollectionInfo:
        return collection_info(self._open(collection_name, **kwargs))

    def get_collections(self, **kwargs: Any) -> models.CollectionsResponse:
        names = [record.name for record in self.collections.store.page(None, 0)]
        return models.CollectionsResponse(
            collections=[models.CollectionDescription(name=name) for name in names]
        )

    def update_collection_aliases(
        self, change_aliases_operations: Sequence[Any], **kwargs: Any
    ) -> bool:
        manage.change_aliases(self.collections.store, change_aliases_operations)
        return True

    def get_aliases(self, **kwargs: Any) -> models.CollectionsAliasesResponse:
        return manage.describe_aliases(self.collections.store.aliases())

    def get_collection_aliases(
        self, collection_name: str, **kwargs: Any
    ) -> models.CollectionsAliasesResponse:
        name = self._open(collection_name, **kwargs).record.name
        aliases = self.collections.store.aliases()
        return manage.describe_aliases({alias: to for alias, to in aliases.items() if to == name})

    def create_vector_name(
        self, collection_name: str, vector_name: str, vector_name_config: Any, **kwargs: Any
    ) -> models.UpdateResult:
        opened = self._open(collection_name, **kwargs)
        return manage.add_vector(self.collections, opened, vector_name, vector_name_config)

    def delete_vector_name(
        self, collection_name: str, vector_name: str, **kwargs: Any
    ) -> models.UpdateResult:
        opened = self._open(collection_name, **kwargs)
        return manage.drop_vector(self.collections, opened, vector_name)

    def create_payload_index(
        self,
        collection_name: str,
        field_name: str,
        field_schema: Any = None,
        field_type: Any = None,
        **kwargs: Any,
    ) -> models.UpdateResult:
        opened = self._open(collection_name, **kwargs)
        return manage.add_index(self.collections, opened, field_name, field_schema, field_type)

    def delete_payload_index(
        self, collection_name: str, field_name: str, **kwargs: Any
    ) -> models.UpdateResult:
        opened = self._open(collection_name, **kwargs)
        return manage.drop_index(self.collections, opened, field_name)

    # Writing points

    def upsert(
        self,
        collection_name: str,
        points: Any,
        update_filter: Any = None,
        update_mode: Any = None,
        **kwargs: Any,
    ) -> models.UpdateResult:
        opened = self._open_points(collection_name, **kwargs)
        operation = operations.upserting(opened, points, update_filter, update_mode)
        return operations.carry_out(opened, operation)

    def update_vectors(
        self,
        collection_name: str,
        points: Sequence[Any],
        update_filter: Any = None,
        **kwargs: Any,
    ) -> models.UpdateResult:
        opened = self._open_points(collection_name, **kwargs)
        operation = operations.updating_vectors(opened, points, update_filter)
        return operations.carry_out(opened, operation)

    def delete_vectors(
        self, collection_name: str, vectors: Sequence[str], points: Any, **kwargs: Any
    ) -> models.UpdateResult:
        opened = self._open_points(collection_name, **kwargs)
        operation = operations.deleting_vectors(opened, vectors, points)
        return operations.carry_out(opened, operation)

    def delete(
        self, collection_name: str, points_selector: Any, **kwargs: Any
    ) -> models.UpdateResult:
        opened = self._open_points(collection_name, **kwargs)
        return operations.carry_out(opened, operations.deleting_points(opened, points_selector))

    def set_payload(
        self,
        collection_name: str,
        payload: Any,
        points: Any,
        key: str | None = None,
        **kwargs: Any,
    ) -> models.UpdateResult:
        opened = self._open_points(collection_name, **kwargs)
        operation = operations.setting_payload(opened, payload, points, key)
        return operations.carry_out(opened, operation)

    def overwrite_payload(
        self, collection_name: str, payload: Any, points: Any, **kwargs: Any
    ) -> models.UpdateResult:
        opened = self._open_points(collection_name, **kwargs)
        operation = operations.overwriting_payload(opened, payload, points)
        return operations.carry_out(opened, operation)

    def delete_payload(
        self, collection_name: str, keys: Sequence[str], points: Any, **kwargs: Any
    ) -> models.UpdateResult:
        opened = self._open_points(collection_name, **kwargs)
        return operations.carry_out(opened, operations.deleting_payload(opened, keys, points))

    def clear_payload(
        self, collection_name: str, points_selector: Any, **kwargs: Any
    ) -> models.UpdateResult:
        opened = self._open_points(collection_name, **kwargs)
        return operations.carry_out(opened, operations.clearing_payload(opened, points_selector))

    def batch_update_points(
        self,
        collection_name: str,
        update_operations: Iterable[Any],
        is_message: bool = False,
        **kwargs: Any,
    ) -> list[models.UpdateResult]:
        opened = self._open_points(collection_name, **kwargs)
        return operations.batch(opened, update_operations, is_message)

    def upload_points(
        self,
        collection_name: str,
        points: Iterable[Any],
        batch_size: int = 64,
        max_retries: int = 3,
        **kwargs: Any,
    ) -> None:
        for batch in operations.in_batches(points, batch_size):
            for left in reversed(range(1 + max(0, max_retries))):
                try:
                    self.upsert(collection_name, batch, **kwargs)
                    break
                except LockTimeoutError:  # nothing of it was written
                    if not left:
                        raise

    def upload_collection(
        self,
        collection_name: str,
        vectors: Any,
        payload: Iterable[Any] | None = None,
        ids: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        points = operations.points_of(vectors, payload, ids)
        self.upload_points(collection_name, points, **kwargs)

    # Reading points

    def retrieve(
        self,
        collection_name: str,
        ids: Sequence[Any],
        with_payload: Any = True,
        with_vectors: Any = False,
        **kwargs: Any,
    ) -> list[models.Record]:
        opened = self._open_points(collection_name, **kwargs)
        return read.retrieve(opened, ids, with_payload, with_vectors)

    def scroll(
        self,
        collection_name: str,
        scroll_filter: models.Filter | None = None,
        limit: Any = 10,
        order_by: Any = None,
        offset: Any = None,
        with_payload: Any = True,
        with_vectors: Any = False,
        **kwargs: Any,
    ) -> tuple[list[models.Record], Any]:
        opened = self._open_points(collection_name, **kwargs)
        return read.scroll(
            opened, scroll_filter, limit, order_by, offset, with_payload, with_vectors
        )

    def count(
        self,
        collection_name: str,
        count_filter: models.Filter | None = None,
        exact: bool = True,
        shard_key_selector: Any = None,
        **kwargs: Any,
    ) -> models.CountResult:
        opened = self._open_points(collection_name, **kwargs)
        return read.count(opened, count_filter, exact, shard_key_selector)

    def facet(
        self,
        collection_name: str,
        key: str,
        facet_filter: models.Filter | None = None,
        limit: Any = 10,
        exact: bool = False,
        **kwargs: Any,
    ) -> models.FacetResponse:
        opened = self._open_points(collection_name, **kwargs)
        return read.facet(opened, key, facet_filter, limit, exact)

    def query_points(
        self,
        collection_name: str,
        query: Any = None,
        using: str | None = None,
        prefetch: Any = None,
        query_filter: models.Filter | None = None,
        search_params: models.SearchParams | None = None,
        limit: Any = 10,
        offset: Any = None,
        with_payload: Any = True,
        with_vectors: Any = False,
        score_threshold: float | None = None,
        lookup_from: models.LookupLocation | None = None,
        **kwargs: Any,
    ) -> models.QueryResponse:
        opened = self._open_points(collection_name, **kwargs)
        request = answers.request_of(
            query=query,
            using=using,
            prefetch=prefetch,
            filter=query_filter,
            params=search_params,
            limit=limit,
            offset=offset,
            with_payload=with_payload,
            with_vector=with_vectors,
            score_threshold=score_threshold,
            lookup_from=lookup_from,
        )
        response: models.QueryResponse = answers.query(self.collections, opened, request)
        return response

    def query_request(
        self,
        collection_name: str,
        request: Any,
        answering: answers.Answering = answers.response_of,
        **kwargs: Any,
    ) -> Any:
        """Run the query that a request model describes. answering: see `QdrantService`."""
        opened = self._open_points(collection_name, **kwargs)
        check_shard_key(request.shard_key)
        return answers.query(self.collections, opened, request, answering)

    def query_batch_points(
        self,
        collection_name: str,
        requests: Sequence[Any],
        answering: answers.Answering = answers.response_of,
        **kwargs: Any,
    ) -> list[Any]:
        opened = self._open_points(collection_name, **kwargs)
        return answers.query_batch(self.collections, opened, requests, answering)

    def query_points_groups(
        self,
        collection_name: str,
        group_by: str,
        query: Any = None,
        using: str | None = None,
        prefetch: Any = None,
        query_filter: models.Filter | None = None,
        search_params: models.SearchParams | None = None,
        limit: Any = 10,
        group_size: Any = 3,
        with_payload: Any = True,
        with_vectors: Any = False,
        score_threshold: float | None = None,
        with_lookup: Any = None,
        lookup_from: models.LookupLocation | None = None,
        **kwargs: Any,
    ) -> models.GroupsResult:
        opened = self._open_points(collection_name, **kwargs)
        request = answers.request_of(
            query=query,
            using=using,
            prefetch=prefetch,
            filter=query_filter,
            params=search_params,
            limit=limit,
            with_payload=with_payload,
            with_vector=with_vectors,
            score_threshold=score_threshold,
            lookup_from=lookup_from,
        )
        return answers.query_groups(
            self.collections, opened, request, group_by, group_size, with_lookup
        )

    def search_matrix_pairs(
        self,
        collection_name: str,
        query_filter: models.Filter | None = None,
        limit: Any = 3,
        sample: Any = 10,
        using: str | None = None,
        **kwargs: Any,
    ) -> models.SearchMatrixPairsResponse:
        opened = self._open_points(collection_name, **kwargs)
        return answers.as_pairs(answers.matrix(opened, query_filter, limit, sample, using))

    def search_matrix_offsets(
        self,
        collection_name: str,
        query_filter: models.Filter | None = None,
        limit: Any = 3,
        sample: Any = 10,
        using: str | None = None,
        **kwargs: Any,
    ) -> models.SearchMatrixOffsetsResponse:
        opened = self._open_points(collection_name, **kwargs)
        return answers.as_offsets(answers.matrix(opened, query_filter, limit, sample, using))

    # Snapshots: of a collection, of the whole store, and of a shard, which is the collection

    def _snapshots_of(self, collection_name: str, **kwargs: Any) -> Snapshots:
        return Snapshots(self.collections.store, self._open(collection_name, **kwargs))

    def list_snapshots(
        self, collection_name: str, **kwargs: Any
    ) -> list[models.SnapshotDescription]:
        return self._snapshots_of(collection_name, **kwargs).described()

    def create_snapshot(self, collection_name: str, **kwargs: Any) -> models.SnapshotDescription:
        return self._snapshots_of(collection_name, **kwargs).create()

    def delete_snapshot(self, collection_name: str, snapshot_name: str, **kwargs: Any) -> bool:
        return self._snapshots_of(collection_name, **kwargs).delete(snapshot_name)

    def recover_snapshot(
        self, collection_name: str, location: str, checksum: str | None = None, **kwargs: Any
    ) -> bool:
        name = self.collections.name_of(collection_name)
        return recover(self.collections.store, name, location, checksum)

    def list_full_snapshots(self, **kwargs: Any) -> list[models.SnapshotDescription]:
        return Snapshots(self.collections.store, None).described()

    def create_full_snapshot(self, **kwargs: Any) -> models.SnapshotDescription:
        return Snapshots(self.collections.store, None).create()

    def delete_full_snapshot(self, snapshot_name: str, **kwargs: Any) -> bool:
        return Snapshots(self.collections.store, None).delete(snapshot_name)

    def list_shard_snapshots(
        self, collection_name: str, shard_id: int, **kwargs: Any
    ) -> list[models.SnapshotDescription]:
        _check_shard(shard_id)
        return self._snapshots_of(collection_name, **kwargs).described()

    def create_shard_snapshot(
        self, collection_name: str, shard_id: int, **kwargs: Any
    ) -> models.SnapshotDescription:
        _check_shard(shard_id)
        return self._snapshots_of(collection_name, **kwargs).create()

    def delete_shard_snapshot(
        self, collection_name: str, shard_id: int, snapshot_name: str, **kwargs: Any
    ) -> bool:
        _check_shard(shard_id)
        return self._snapshots_of(collection_name, **kwargs).delete(snapshot_name)

    def recover_shard_snapshot(
        self,
        collection_name: str,
        shard_id: int,
        location: str,
        checksum: str | None = None,
        **kwargs: Any,
    ) -> bool:
        _check_shard(shard_id)
        name = self.collections.name_of(collection_name)
        return recover(self.collections.store, name, location, checksum)

    # One node, out of cluster mode

    def info(self) -> models.VersionInfo:
        self.collections.store  # noqa: B018  raises when closed
        return models.VersionInfo(title=TITLE, version=version(OURS))

    def cluster_status(self) -> models.ClusterStatus:
        return models.ClusterStatusOneOf(status="disabled")

    def collection_cluster_info(
        self, collection_name: str, **kwargs: Any
    ) -> models.CollectionClusterInfo:
        number = self._open(collection_name, **kwargs).points.number(None)
        shard = models.LocalShardInfo(
            shard_id=0, points_count=number, state=models.ReplicaState.ACTIVE
        )
        return models.CollectionClusterInfo(
            peer_id=PEER, shard_count=1, local_shards=[shard], remote_shards=[], shard_transfers=[]
        )

    def list_shard_keys(self, collection_name: str, **kwargs: Any) -> models.ShardKeysResponse:
        self._open(collection_name, **kwargs)
        return models.ShardKeysResponse(shard_keys=[])

    def get_optimizations(
        self, collection_name: str, **kwargs: Any
    ) -> models.OptimizationsResponse:
        self._open(collection_name, **kwargs)
        summary = models.OptimizationsSummary(
            queued_optimizations=0, queued_segments=0, queued_points=0, idle_segments=1
        )
        return models.OptimizationsResponse(summary=summary, running=[])

    def cluster_collection_update(
        self, collection_name: str, cluster_operation: Any, **kwargs: Any
    ) -> bool:
        self._open(collection_name, **kwargs)
        raise wrong(NOT_CLUSTERED)

    def create_shard_key(self, *args: Any, **kwargs: Any) -> bool:
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, NOT_CLUSTERED)

    def delete_shard_key(self, *args: Any, **kwargs: Any) -> bool:
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, NOT_CLUSTERED)

    def recover_current_peer(self, *args: Any, **kwargs: Any) -> bool:
        raise Refused(HTTPStatus.BAD_REQUEST, NOT_CLUSTERED)

    def remove_peer(self, *args: Any, **kwargs: Any) -> bool:
        raise Refused(HTTPStatus.BAD_REQUEST, NOT_CLUSTERED)

    def cluster_telemetry(self, *args: Any, **kwargs: Any) -> models.DistributedTelemetryData:
        raise Refused(HTTPStatus.BAD_REQUEST, NOT_CLUSTERED)

    def migrate(
        self,
        dest_client: QdrantBase,
        collection_names: list[str] | None = None,
        batch_size: int = 100,
        recreate_on_collision: bool = False,
    ) -> None:
        migrate(
            self,
            dest_client,
            collection_names=collection_names,
            batch_size=batch_size,
            recreate_on_collision=recreate_on_collision,
        )


class QdrantService(Embedded):
    """Qdrant's methods on a store in this process, for servers.

    The methods have the names and arguments of those of qdrant_client.QdrantClient, and raise
    `Refused` with the status and message of a server. Methods for one collection also take
    `timeout` (seconds, which strict mode may limit) and `admit`. `admit` is a callback that gets
    the opened collection, and can raise an error to refuse the call before anything is done.
    `query_request` takes a `models.QueryRequest`. `query_request` and `query_batch_points` take
    `answering`, a callback that makes the response from `HitColumns`. The methods below are for
    servers only; they raise errors unchanged.
    """

    def __init__(self, session: Session) -> None:
        """session: the session of the store; the caller closes it."""
        super().__init__(session, None)

    def open(self, name: str) -> CollectionHandle:
        """The collection with this name or alias, as a `CollectionHandle`; raises Refused if there
        is none."""
        return self.collections.open(name)

    def name_of(self, name: str) -> str:
        """The name of the collection to which an alias refers; any other name is returned
        unchanged."""
        return self.collections.name_of(name)

    @staticmethod
    def check_path(key: str) -> None:
        """Raise InvalidFilterError unless the key is a path into a payload, such as `a.b[].c`."""
        parse_path(key)

    @staticmethod
    def embed(
        model: str, inputs: Sequence[Any], options: Mapping[str, Any], is_query: bool
    ) -> Sequence[Any]:
        """Vectors of texts or images. The model "qdrant/bm25" makes sparse vectors by BM25; any
        other model is the embedding function that is registered under its name. options: the
        arguments of the model."""
        given = dict(options)
        if is_bm25(model):
            return bm25_vectors(inputs, given, is_query)
        vectors: Sequence[Any] = vectors_by(model, inputs, given, is_query)
        return vectors

    def snapshots(self, name: str | None) -> Snapshots:
        """The snapshots of the collection of this name; with None, those of the whole store."""
        opened = None if name is None else self.open(name)
        return Snapshots(self.collections.store, opened)

    def recover(self, name: str, path: Path, checksum: str | None) -> bool:
        """Replace the collection of this name, or create it, from a snapshot. checksum: the
        expected SHA-256 of the file; None for no check."""
        return recover(self.collections.store, name, path, checksum)
