"""Qdrant's methods on our engine: what QdrantClient hands its calls to where there is no server.

Each method names what it needs and hands it on: collections are in `collections`, points in
`points`. What a server refuses is refused here, and nothing is written then.
"""

from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import IO, Any

from qdrant_client import models
from qdrant_client.client_base import QdrantBase
from qdrant_client.http import models as rest
from qdrant_client.migrate.migrate import migrate

from retrieval_store.backends import Session, embedded_store
from retrieval_store.errors import LockTimeoutError
from retrieval_store.qdrant import answers, manage, read, snapshots, write
from retrieval_store.qdrant.collections import Collections, Opened, check_shard_key, collection_info
from retrieval_store.qdrant.errors import Refused, answering, missing, reading_models, wrong
from retrieval_store.qdrant.strict_mode import check_timeout
from retrieval_store.qdrant.vectors import selected
from retrieval_store.qdrant.write import in_batches, points_of

NOT_CLUSTERED = "Distributed mode is disabled: this is a store in one process"
PEER, OURS = 1, "retrieval-store"
TITLE = "qdrant - vector search engine"  # whose API this is; the version is ours


def _every_method(cls: type) -> type:
    for name, method in list(vars(cls).items()):
        if callable(method) and not name.startswith("_"):
            setattr(cls, name, answering(reading_models(method)))
    return cls


@_every_method
class Embedded(QdrantBase):
    """The methods of a store in this process. session: the share in it; lock: a file that is held
    open with it; collections: what its methods open."""

    def __init__(self, session: Session, lock: IO[str] | None) -> None:
        super().__init__()
        self._session, self._lock = session, lock
        self.collections = Collections(lambda: embedded_store(session))

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._session.closed

    def close(self, **kwargs: Any) -> None:
        self._session.close()
        if self._lock is not None:
            self._lock.close()

    def _opened(self, collection_name: str, timeout: int | None = None) -> Opened:
        opened = self.collections.opened(collection_name)
        check_timeout(opened, timeout)
        return opened

    def _asked(self, collection_name: str, timeout: int | None, asked: dict[str, Any]) -> Opened:
        """The collection for a call with further arguments."""
        opened = self._opened(collection_name, timeout)
        check_shard_key(asked.get("shard_key_selector"))
        return opened

    # Collections

    def create_collection(
        self,
        collection_name: str,
        vectors_config: Any = None,
        sparse_vectors_config: Any = None,
        metadata: Any = None,
        timeout: int | None = None,
        **settings: Any,
    ) -> bool:
        plan = manage.planned(vectors_config, sparse_vectors_config, metadata, settings)
        return manage.create(self.collections, collection_name, plan)

    def recreate_collection(
        self,
        collection_name: str,
        vectors_config: Any = None,
        sparse_vectors_config: Any = None,
        metadata: Any = None,
        timeout: int | None = None,
        **settings: Any,
    ) -> bool:
        plan = manage.planned(vectors_config, sparse_vectors_config, metadata, settings)
        manage.delete(self.collections, collection_name)
        return manage.create(self.collections, collection_name, plan)

    def update_collection(
        self,
        collection_name: str,
        vectors_config: Any = None,
        sparse_vectors_config: Any = None,
        metadata: Any = None,
        timeout: int | None = None,
        **settings: Any,
    ) -> bool:
        opened = self._opened(collection_name)
        return manage.update(
            self.collections, opened, vectors_config, sparse_vectors_config, metadata, settings
        )

    def delete_collection(self, collection_name: str, **kwargs: Any) -> bool:
        return manage.delete(self.collections, collection_name)

    def collection_exists(self, collection_name: str, **kwargs: Any) -> bool:
        return manage.exists(self.collections, collection_name)

    def get_collection(self, collection_name: str, **kwargs: Any) -> models.CollectionInfo:
        return collection_info(self._opened(collection_name))

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

    def get_collection_aliases(
        self, collection_name: str, **kwargs: Any
    ) -> models.CollectionsAliasesResponse:
        name = self._opened(collection_name).record.name
        aliases = self.collections.store.aliases()
        return manage.described({alias: to for alias, to in aliases.items() if to == name})

    def get_aliases(self, **kwargs: Any) -> models.CollectionsAliasesResponse:
        return manage.described(self.collections.store.aliases())

    def create_vector_name(
        self, collection_name: str, vector_name: str, vector_name_config: Any, **kwargs: Any
    ) -> models.UpdateResult:
        opened = self._opened(collection_name)
        manage.add_vector(self.collections, opened, vector_name, vector_name_config)
        return _completed(opened)

    def delete_vector_name(
        self, collection_name: str, vector_name: str, **kwargs: Any
    ) -> models.UpdateResult:
        opened = self._opened(collection_name)
        manage.drop_vector(self.collections, opened, vector_name)
        return _completed(opened)

    def create_payload_index(
        self,
        collection_name: str,
        field_name: str,
        field_schema: Any = None,
        field_type: Any = None,
        **kwargs: Any,
    ) -> models.UpdateResult:
        opened = self._opened(collection_name)
        schema = field_type if field_schema is None else field_schema
        manage.add_index(self.collections, opened, field_name, schema)
        return _completed(opened)

    def delete_payload_index(
        self, collection_name: str, field_name: str, **kwargs: Any
    ) -> models.UpdateResult:
        opened = self._opened(collection_name)
        manage.drop_index(self.collections, opened, field_name)
        return _completed(opened)

    # Writing points

    def upsert(
        self,
        collection_name: str,
        points: Any,
        update_filter: Any = None,
        update_mode: Any = None,
        timeout: int | None = None,
        **kwargs: Any,
    ) -> models.UpdateResult:
        opened = self._asked(collection_name, timeout, kwargs)
        operation = write.upserting(opened, points, update_filter, update_mode)
        return write.carry_out(opened, [operation])[0]

    def upload_points(
        self,
        collection_name: str,
        points: Iterable[Any],
        batch_size: int = 64,
        update_filter: Any = None,
        update_mode: Any = None,
        max_retries: int = 3,
        **kwargs: Any,
    ) -> None:
        for batch in in_batches(points, batch_size):
            for left in reversed(range(1 + max(0, max_retries))):
                try:
                    self.upsert(collection_name, batch, update_filter, update_mode, **kwargs)
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
        batch_size: int = 64,
        update_filter: Any = None,
        update_mode: Any = None,
        max_retries: int = 3,
        **kwargs: Any,
    ) -> None:
        points = points_of(vectors, payload, ids)
        self.upload_points(
            collection_name, points, batch_size, update_filter, update_mode, max_retries, **kwargs
        )

    def update_vectors(
        self,
        collection_name: str,
        points: Sequence[Any],
        update_filter: Any = None,
        timeout: int | None = None,
        **kwargs: Any,
    ) -> models.UpdateResult:
        opened = self._asked(collection_name, timeout, kwargs)
        operation = write.updating_vectors(opened, points, update_filter)
        return write.carry_out(opened, [operation])[0]

    def delete_vectors(
        self,
        collection_name: str,
        vectors: Sequence[str],
        points: Any,
        timeout: int | None = None,
        **kwargs: Any,
    ) -> models.UpdateResult:
        opened = self._asked(collection_name, timeout, kwargs)
        operation = write.deleting_vectors(opened, vectors, selected(points))
        return write.carry_out(opened, [operation])[0]

    def delete(
        self,
        collection_name: str,
        points_selector: Any,
        timeout: int | None = None,
        **kwargs: Any,
    ) -> models.UpdateResult:
        opened = self._asked(collection_name, timeout, kwargs)
        operation = write.deleting_points(opened, points_selector)
        return write.carry_out(opened, [operation])[0]

    def set_payload(
        self,
        collection_name: str,
        payload: Any,
        points: Any,
        key: str | None = None,
        timeout: int | None = None,
        **kwargs: Any,
    ) -> models.UpdateResult:
        opened = self._asked(collection_name, timeout, kwargs)
        operation = write.setting_payload(opened, payload, selected(points), key)
        return write.carry_out(opened, [operation])[0]

    def overwrite_payload(
        self,
        collection_name: str,
        payload: Any,
        points: Any,
        timeout: int | None = None,
        **kwargs: Any,
    ) -> models.UpdateResult:
        opened = self._asked(collection_name, timeout, kwargs)
        operation = write.overwriting_payload(opened, payload, selected(points))
        return write.carry_out(opened, [operation])[0]

    def delete_payload(
        self,
        collection_name: str,
        keys: Sequence[str],
        points: Any,
        timeout: int | None = None,
        **kwargs: Any,
    ) -> models.UpdateResult:
        opened = self._asked(collection_name, timeout, kwargs)
        operation = write.deleting_payload(opened, keys, selected(points))
        return write.carry_out(opened, [operation])[0]

    def clear_payload(
        self,
        collection_name: str,
        points_selector: Any,
        timeout: int | None = None,
        **kwargs: Any,
    ) -> models.UpdateResult:
        opened = self._asked(collection_name, timeout, kwargs)
        operation = write.clearing_payload(opened, selected(points_selector))
        return write.carry_out(opened, [operation])[0]

    def batch_update_points(
        self,
        collection_name: str,
        update_operations: Sequence[Any],
        timeout: int | None = None,
        **kwargs: Any,
    ) -> list[models.UpdateResult]:
        opened = self._asked(collection_name, timeout, kwargs)
        operations = write.checked_operations(opened, update_operations)
        return write.carry_out(opened, operations)

    # Reading points

    def retrieve(
        self,
        collection_name: str,
        ids: Sequence[Any],
        with_payload: Any = True,
        with_vectors: Any = False,
        timeout: int | None = None,
        **kwargs: Any,
    ) -> list[models.Record]:
        opened = self._asked(collection_name, timeout, kwargs)
        return read.retrieve(opened, ids, with_payload, with_vectors)

    def scroll(
        self,
        collection_name: str,
        scroll_filter: Any = None,
        limit: int = 10,
        order_by: Any = None,
        offset: Any = None,
        with_payload: Any = True,
        with_vectors: Any = False,
        timeout: int | None = None,
        **kwargs: Any,
    ) -> tuple[list[models.Record], Any]:
        opened = self._asked(collection_name, timeout, kwargs)
        return read.scroll(
            opened, scroll_filter, limit, order_by, offset, with_payload, with_vectors
        )

    def count(
        self,
        collection_name: str,
        count_filter: Any = None,
        exact: bool = True,
        timeout: int | None = None,
        **kwargs: Any,
    ) -> models.CountResult:
        opened = self._asked(collection_name, timeout, kwargs)
        return read.count(opened, count_filter, exact)

    def facet(
        self,
        collection_name: str,
        key: str,
        facet_filter: Any = None,
        limit: int = 10,
        exact: bool = False,
        timeout: int | None = None,
        **kwargs: Any,
    ) -> models.FacetResponse:
        opened = self._asked(collection_name, timeout, kwargs)
        return read.facet(opened, key, facet_filter, limit, exact)

    def query_points(
        self,
        collection_name: str,
        query: Any = None,
        using: str | None = None,
        prefetch: Any = None,
        query_filter: Any = None,
        search_params: Any = None,
        limit: int = 10,
        offset: int | None = None,
        with_payload: Any = True,
        with_vectors: Any = False,
        score_threshold: float | None = None,
        lookup_from: Any = None,
        timeout: int | None = None,
        **kwargs: Any,
    ) -> rest.QueryResponse:
        request = answers.request_of(
            query=query,
            using=using,
            prefetch=prefetch,
            filter=query_filter,
            params=search_params,
            limit=limit,
            offset=offset,
            score_threshold=score_threshold,
            lookup_from=lookup_from,
        )
        opened = self._asked(collection_name, timeout, kwargs)
        selection = read.Selection(opened, with_payload, with_vectors)
        return answers.query(self.collections, opened, request, selection)

    def query_batch_points(
        self,
        collection_name: str,
        requests: Sequence[Any],
        timeout: int | None = None,
        **kwargs: Any,
    ) -> list[rest.QueryResponse]:
        for request in requests:
            check_shard_key(request.shard_key)
        opened = self._asked(collection_name, timeout, kwargs)
        return answers.query_batch(self.collections, opened, requests)

    def query_points_groups(
        self,
        collection_name: str,
        group_by: str,
        query: Any = None,
        using: str | None = None,
        prefetch: Any = None,
        query_filter: Any = None,
        search_params: Any = None,
        limit: int = 10,
        group_size: int = 3,
        with_payload: Any = True,
        with_vectors: Any = False,
        score_threshold: float | None = None,
        with_lookup: Any = None,
        lookup_from: Any = None,
        timeout: int | None = None,
        **kwargs: Any,
    ) -> models.GroupsResult:
        request = answers.request_of(
            query=query,
            using=using,
            prefetch=prefetch,
            filter=query_filter,
            params=search_params,
            limit=limit,
            offset=None,
            score_threshold=score_threshold,
            lookup_from=lookup_from,
        )
        opened = self._asked(collection_name, timeout, kwargs)
        selection = read.Selection(opened, with_payload, with_vectors)
        return answers.query_groups(
            self.collections,
            opened,
            request,
            group_by,
            limit,
            group_size,
            with_lookup,
            selection,
        )

    def search_matrix_pairs(
        self,
        collection_name: str,
        query_filter: Any = None,
        limit: int = 3,
        sample: int = 10,
        using: str | None = None,
        timeout: int | None = None,
        **kwargs: Any,
    ) -> models.SearchMatrixPairsResponse:
        opened = self._asked(collection_name, timeout, kwargs)
        return answers.as_pairs(answers.matrix(opened, query_filter, sample, limit, using))

    def search_matrix_offsets(
        self,
        collection_name: str,
        query_filter: Any = None,
        limit: int = 3,
        sample: int = 10,
        using: str | None = None,
        timeout: int | None = None,
        **kwargs: Any,
    ) -> models.SearchMatrixOffsetsResponse:
        opened = self._asked(collection_name, timeout, kwargs)
        return answers.as_offsets(answers.matrix(opened, query_filter, sample, limit, using))

    # Snapshots

    def list_snapshots(
        self, collection_name: str, **kwargs: Any
    ) -> list[models.SnapshotDescription]:
        return snapshots.listed(self.collections.store, self._opened(collection_name))

    def create_snapshot(self, collection_name: str, **kwargs: Any) -> models.SnapshotDescription:
        return snapshots.create(self.collections.store, self._opened(collection_name))

    def delete_snapshot(self, collection_name: str, snapshot_name: str, **kwargs: Any) -> bool:
        opened = self._opened(collection_name)
        return snapshots.delete(self.collections.store, opened, snapshot_name)

    def recover_snapshot(
        self, collection_name: str, location: str, checksum: str | None = None, **kwargs: Any
    ) -> bool:
        name = self.collections.name_of(collection_name)
        return snapshots.recover(self.collections.store, name, location, checksum)

    def list_full_snapshots(self, **kwargs: Any) -> list[models.SnapshotDescription]:
        return snapshots.listed(self.collections.store, None)

    def create_full_snapshot(self, **kwargs: Any) -> models.SnapshotDescription:
        return snapshots.create(self.collections.store, None)

    def delete_full_snapshot(self, snapshot_name: str, **kwargs: Any) -> bool:
        return snapshots.delete(self.collections.store, None, snapshot_name)

    def list_shard_snapshots(
        self, collection_name: str, shard_id: int, **kwargs: Any
    ) -> list[models.SnapshotDescription]:
        _refuse_other_shards(shard_id)
        return self.list_snapshots(collection_name)

    def create_shard_snapshot(
        self, collection_name: str, shard_id: int, **kwargs: Any
    ) -> models.SnapshotDescription:
        _refuse_other_shards(shard_id)
        return self.create_snapshot(collection_name)

    def delete_shard_snapshot(
        self, collection_name: str, shard_id: int, snapshot_name: str, **kwargs: Any
    ) -> bool:
        _refuse_other_shards(shard_id)
        return self.delete_snapshot(collection_name, snapshot_name)

    def recover_shard_snapshot(
        self,
        collection_name: str,
        shard_id: int,
        location: str,
        checksum: str | None = None,
        **kwargs: Any,
    ) -> bool:
        _refuse_other_shards(shard_id)
        return self.recover_snapshot(collection_name, location, checksum)

    # One node, out of cluster mode

    def info(self) -> models.VersionInfo:
        self.collections.store  # noqa: B018  raises when closed
        return models.VersionInfo(title=TITLE, version=version(OURS))

    def cluster_status(self) -> models.ClusterStatus:
        return models.ClusterStatusOneOf(status="disabled")

    def collection_cluster_info(self, collection_name: str) -> models.CollectionClusterInfo:
        points = self._opened(collection_name).points.number(None)
        shard = models.LocalShardInfo(
            shard_id=0, points_count=points, state=models.ReplicaState.ACTIVE
        )
        return models.CollectionClusterInfo(
            peer_id=PEER,
            shard_count=1,
            local_shards=[shard],
            remote_shards=[],
            shard_transfers=[],
        )

    def create_shard_key(self, collection_name: str, *args: Any, **kwargs: Any) -> bool:
        raise Refused(405, NOT_CLUSTERED)

    def delete_shard_key(self, collection_name: str, *args: Any, **kwargs: Any) -> bool:
        raise Refused(405, NOT_CLUSTERED)

    def list_shard_keys(self, collection_name: str, **kwargs: Any) -> models.ShardKeysResponse:
        self._opened(collection_name)
        return models.ShardKeysResponse(shard_keys=[])

    def cluster_collection_update(
        self, collection_name: str, cluster_operation: Any, **kwargs: Any
    ) -> bool:
        self._opened(collection_name)
        raise wrong(NOT_CLUSTERED)

    def recover_current_peer(self) -> bool:
        raise wrong(NOT_CLUSTERED)

    def remove_peer(self, peer_id: int, **kwargs: Any) -> bool:
        raise wrong(NOT_CLUSTERED)

    def get_optimizations(
        self, collection_name: str, **kwargs: Any
    ) -> models.OptimizationsResponse:
        self._opened(collection_name)
        summary = models.OptimizationsSummary(
            queued_optimizations=0, queued_segments=0, queued_points=0, idle_segments=1
        )
        return models.OptimizationsResponse(summary=summary, running=[])

    def cluster_telemetry(self, **kwargs: Any) -> models.DistributedTelemetryData:
        raise wrong(NOT_CLUSTERED)

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


def _refuse_other_shards(shard_id: int) -> None:
    if shard_id != 0:
        raise missing(f"Not found: there is shard 0 alone, and no shard {shard_id}")


def _completed(opened: Opened) -> models.UpdateResult:
    return models.UpdateResult(
        operation_id=opened.points.operation, status=models.UpdateStatus.COMPLETED
    )
