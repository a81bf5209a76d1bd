"""Qdrant's methods on our engine: what QdrantClient hands its calls to where there is no server.

Each method names what it needs and hands it on: collections are in `collections`, points are read
in `read`, searched in `answers` and written in `operations`. What a server refuses is refused here,
and nothing is written then.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from http import HTTPStatus
from importlib.metadata import version
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import IO, Any, TypeVar

from qdrant_client import models
from qdrant_client.client_base import QdrantBase
from qdrant_client.migrate.migrate import migrate

from retrieval_store.backends import Session
from retrieval_store.base.tracing import shortens_tracebacks
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
from retrieval_store.qdrant.operations import in_batches, points_of
from retrieval_store.qdrant.payload_indexes import parse_path
from retrieval_store.qdrant.refusals import Refused, answering, not_found, reading_models, wrong
from retrieval_store.qdrant.strict_mode import check_timeout
from retrieval_store.query.protocols import EmbeddedStore

NOT_CLUSTERED = "Distributed mode is disabled: this is a store in one process"
PEER, OURS = 1, "retrieval-store"
# What a method works on, by its names for them.
PLACES: Mapping[str, Callable[[Collections, CollectionHandle], Any]] = {
    "collections": lambda collections, opened: collections,
    "store": lambda collections, opened: collections.store,
    "opened": lambda collections, opened: opened,
}
R = TypeVar("R")
TITLE = "qdrant - vector search engine"  # whose API this is; the version is ours


def _every_method(cls: type) -> type:
    for name, method in list(vars(cls).items()):
        if callable(method) and not name.startswith("_"):
            method.__name__ = name
            is_of_client = hasattr(QdrantBase, name)  # whose methods take dicts for models
            setattr(cls, name, answering(reading_models(method) if is_of_client else method))
    return cls


def _collection_method(work: Callable[..., R], limited: bool = False) -> Callable[..., R]:
    """A method of a collection. work: the function that does it. Its parameters say what it gets:
    `collections`, `store`, `opened` (the collection), and arguments of qdrant-client's method,
    whose other arguments have no effect here. limited: whether the collection may limit the
    timeout. Whoever calls the method may give `admit`, which is called with the collection first,
    and refuses the call by an error."""
    parameters = signature(work).parameters
    places = [PLACES[name] for name in parameters if name in PLACES]
    method_parameters = [parameter for name, parameter in parameters.items() if name not in PLACES]
    names = {parameter.name for parameter in method_parameters}
    takes_all = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in method_parameters)

    @wraps(work)
    def call(
        self: "Embedded",
        collection_name: str,
        *args: Any,
        timeout: Any = None,
        admit: Callable[[CollectionHandle], object] | None = None,
        **kwargs: Any,
    ) -> R:
        opened = self.collections.open(collection_name)
        if admit is not None:
            admit(opened)
        if limited:
            check_timeout(opened, timeout)
            if "shard_key_selector" not in names:
                check_shard_key(kwargs.get("shard_key_selector"))
        at = [place(self.collections, opened) for place in places]
        if not takes_all and not kwargs.keys() <= names:
            kwargs = {name: value for name, value in kwargs.items() if name in names}
        return work(*at, *args, **kwargs)

    call.__signature__ = _signature(call, method_parameters)  # type: ignore[attr-defined]
    return call


def _signature(call: Callable[..., Any], method_parameters: Sequence[Parameter]) -> Signature:
    """The signature of a method of a collection, with these further arguments."""
    self_parameter, name, _, timeout, _, rest = signature(
        call, follow_wrapped=False
    ).parameters.values()
    positional = [
        parameter
        for parameter in method_parameters
        if parameter.kind is Parameter.POSITIONAL_OR_KEYWORD
    ]
    return Signature([self_parameter, name, *positional, timeout, rest])


def _points_method(work: Callable[..., R]) -> Callable[..., R]:
    """A method of the points of a collection, whose settings may limit the timeout."""
    return _collection_method(work, limited=True)


def _writing(work: Callable[..., operations.Operation]) -> Callable[..., models.UpdateResult]:
    """A method that carries out one write operation."""

    @wraps(work)
    def carry_out(opened: CollectionHandle, *args: Any, **kwargs: Any) -> models.UpdateResult:
        return operations.carry_out(opened, [work(opened, *args, **kwargs)])[0]

    return _points_method(carry_out)


def _pairs(as_answer: Callable[[Any], R]) -> Callable[..., R]:
    """A method that returns a matrix of distances in one form."""

    @wraps(answers.matrix)
    def find(*args: Any, **kwargs: Any) -> R:
        return as_answer(answers.matrix(*args, **kwargs))

    return _points_method(find)


def _shard_method(method: Callable[..., R]) -> Callable[..., R]:
    """The method for a shard: it is the method for the collection, which has one shard."""

    def call(self: "Embedded", collection_name: str, shard_id: int, *args: Any, **kwargs: Any) -> R:
        if shard_id != 0:
            raise not_found(f"Not found: there is shard 0 alone, and no shard {shard_id}")
        return method(self, collection_name, *args, **kwargs)

    return call


def _in_a_cluster(status: HTTPStatus) -> Callable[..., Any]:
    """A method that only a cluster has."""

    def refuse(self: "Embedded", *args: Any, **kwargs: Any) -> Any:
        raise Refused(status, NOT_CLUSTERED)

    return refuse


def _cluster_info(opened: CollectionHandle) -> models.CollectionClusterInfo:
    shard = models.LocalShardInfo(
        shard_id=0, points_count=opened.points.number(None), state=models.ReplicaState.ACTIVE
    )
    return models.CollectionClusterInfo(
        peer_id=PEER, shard_count=1, local_shards=[shard], remote_shards=[], shard_transfers=[]
    )


def _refuse_change(opened: CollectionHandle) -> bool:
    raise wrong(NOT_CLUSTERED)


def _nothing_to_optimize(opened: CollectionHandle) -> models.OptimizationsResponse:
    summary = models.OptimizationsSummary(
        queued_optimizations=0, queued_segments=0, queued_points=0, idle_segments=1
    )
    return models.OptimizationsResponse(summary=summary, running=[])


def _aliases_of(
    store: EmbeddedStore, opened: CollectionHandle
) -> models.CollectionsAliasesResponse:
    name = opened.record.name
    return manage.describe_aliases(
        {alias: to for alias, to in store.aliases().items() if to == name}
    )


@_every_method
@shortens_tracebacks
class Embedded(QdrantBase):
    """Qdrant's methods on a store in this process. session: the session of the store; lock: a file
    that stays open with it; collections: the collections that the methods open."""

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

    def delete_collection(self, collection_name: str, **kwargs: Any) -> bool:
        return manage.delete(self.collections, collection_name)

    def collection_exists(self, collection_name: str, **kwargs: Any) -> bool:
        return manage.exists(self.collections, collection_name)

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

    update_collection = _collection_method(manage.update)
    get_collection = _collection_method(collection_info)
    get_collection_aliases = _collection_method(_aliases_of)
    create_vector_name = _collection_method(manage.add_vector)
    delete_vector_name = _collection_method(manage.drop_vector)
    create_payload_index = _collection_method(manage.add_index)
    delete_payload_index = _collection_method(manage.drop_index)

    # Writing points

    upsert = _writing(operations.upserting)
    update_vectors = _writing(operations.updating_vectors)
    delete_vectors = _writing(operations.deleting_vectors)
    delete = _writing(operations.deleting_points)
    set_payload = _writing(operations.setting_payload)
    overwrite_payload = _writing(operations.overwriting_payload)
    delete_payload = _writing(operations.deleting_payload)
    clear_payload = _writing(operations.clearing_payload)
    batch_update_points = _points_method(operations.batch)

    def upload_points(
        self,
        collection_name: str,
        points: Iterable[Any],
        batch_size: int = 64,
        max_retries: int = 3,
        **kwargs: Any,
    ) -> None:
        for batch in in_batches(points, batch_size):
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
        self.upload_points(collection_name, points_of(vectors, payload, ids), **kwargs)

    # Reading points

    retrieve = _points_method(read.retrieve)
    scroll = _points_method(read.scroll)
    count = _points_method(read.count)
    facet = _points_method(read.facet)
    query_points = _points_method(answers.query)
    query_request = _points_method(answers.query_request)  # of a server, which reads models
    query_batch_points = _points_method(answers.query_batch)
    query_points_groups = _points_method(answers.query_groups)
    search_matrix_pairs = _pairs(answers.as_pairs)
    search_matrix_offsets = _pairs(answers.as_offsets)

    # Snapshots

    list_snapshots = _collection_method(lambda store, opened: Snapshots(store, opened).described())
    create_snapshot = _collection_method(lambda store, opened: Snapshots(store, opened).create())
    delete_snapshot = _collection_method(
        lambda store, opened, snapshot_name: Snapshots(store, opened).delete(snapshot_name)
    )

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

    list_shard_snapshots = _shard_method(list_snapshots)
    create_shard_snapshot = _shard_method(create_snapshot)
    delete_shard_snapshot = _shard_method(delete_snapshot)
    recover_shard_snapshot = _shard_method(recover_snapshot)

    # One node, out of cluster mode

    def info(self) -> models.VersionInfo:
        self.collections.store  # noqa: B018  raises when closed
        return models.VersionInfo(title=TITLE, version=version(OURS))

    def cluster_status(self) -> models.ClusterStatus:
        return models.ClusterStatusOneOf(status="disabled")

    collection_cluster_info = _collection_method(_cluster_info)
    list_shard_keys = _collection_method(lambda opened: models.ShardKeysResponse(shard_keys=[]))
    cluster_collection_update = _collection_method(_refuse_change)
    get_optimizations = _collection_method(_nothing_to_optimize)
    create_shard_key = _in_a_cluster(HTTPStatus.METHOD_NOT_ALLOWED)
    delete_shard_key = _in_a_cluster(HTTPStatus.METHOD_NOT_ALLOWED)
    recover_current_peer = _in_a_cluster(HTTPStatus.BAD_REQUEST)
    remove_peer = _in_a_cluster(HTTPStatus.BAD_REQUEST)
    cluster_telemetry = _in_a_cluster(HTTPStatus.BAD_REQUEST)

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
    """Qdrant's methods on a store in this process, for who serves it to clients of Qdrant.

    They are those of qdrant_client.QdrantClient, by the names and arguments that it hands to a
    store in its process, and raise `Refused` with the status and the words of a server. Those of a
    collection also take `timeout`, seconds that strict mode may bound, and `admit`, which is called
    with the collection, as `open` gives it, before anything is done, and may refuse the call by an
    error. `query_request` takes a `models.QueryRequest` for one argument; it and
    `query_batch_points` take `answering`, which makes the answer of a query's hits, as `HitColumns`
    has them. What else a server needs is below; these methods raise errors as they come.
    """

    def __init__(self, session: Session) -> None:
        """session: of the store, which the caller closes."""
        super().__init__(session, None)

    def open(self, name: str) -> CollectionHandle:
        """The collection of this name or alias, as `CollectionHandle` describes it; Refused where
        there is none."""
        return self.collections.open(name)

    def name_of(self, name: str) -> str:
        """The name of the collection that an alias leads to; any other name as it is."""
        return self.collections.name_of(name)

    @staticmethod
    def check_path(key: str) -> None:
        """Raise InvalidFilterError for a text that is no path into a payload, such as `a.b[].c`."""
        parse_path(key)

    @staticmethod
    def embed(
        model: str, inputs: Sequence[Any], options: Mapping[str, Any], is_query: bool
    ) -> Sequence[Any]:
        """Vectors of texts or images: sparse ones by BM25 ("qdrant/bm25"), else those of the
        embedding function that is registered under the name of the model. options: what it is made
        with."""
        given = dict(options)
        if is_bm25(model):
            return bm25_vectors(inputs, given, is_query)
        vectors: Sequence[Any] = vectors_by(model, inputs, given, is_query)
        return vectors

    def snapshots(self, name: str | None) -> Snapshots:
        """The snapshots of the collection of this name, or for None of the whole store."""
        opened = None if name is None else self.open(name)
        return Snapshots(self.collections.store, opened)

    def recover(self, name: str, path: Path, checksum: str | None) -> bool:
        """Replace the collection of this name, if there is one, by a snapshot. checksum: the
        SHA-256 that the file must have; None for any."""
        return recover(self.collections.store, name, path, checksum)
