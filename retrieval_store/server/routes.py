"""The routes, as one table: method and path, what the body is, who may ask, and what answers.

Access is what decides about keys: `open` needs none, `read` any; `write`, which changes points, and
`manage`, which changes all else, need one that may.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from qdrant_client import models

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.server import methods, monitoring, older, own, snapshots
from retrieval_store.server.bodies import prepare, read
from retrieval_store.server.points import points_to_write
from retrieval_store.server.receiving import as_json
from retrieval_store.server.served import Asked
from retrieval_store.wire import api, frames

Access: TypeAlias = Literal["open", "read", "write", "manage"]
READ: Access = "read"
WRITE: Access = "write"
MANAGE: Access = "manage"
OPEN: Access = "open"
UPLOAD = "upload"  # a body of several parts, of which one is a file
MESSAGE = "message"  # of `wire`, and answered by one


@dataclass(frozen=True, slots=True)
class Route:
    """One of them. answer: called in a thread with the request that was read; or on the loop, where
    it is answered `at_once`, without the store; body: the type of its JSON, `UPLOAD`, or None where
    there is none."""

    method: str
    path: str
    access: Access
    answer: Callable[[Asked], Any]
    body: Any = None
    at_once: bool = False

    @property
    def name(self) -> str:
        """As it is called where requests are counted."""
        return f"{self.method} {self.path}"

    @property
    def is_own(self) -> bool:
        """Whether it is of ours rather than of Qdrant's."""
        return bool(self.body == MESSAGE)

    @property
    def sends_file(self) -> bool:
        """Whether a file is answered, and so in plain text that there is none."""
        return self.answer is snapshots.file_of

    @property
    def moves_file(self) -> bool:
        """Whether a file is taken or made for the request, and so in plain text that it may not."""
        return self.body == UPLOAD or self.answer is snapshots.taken_now

    def read(self, sent: bytes, strings: list[str]) -> Any:
        """What was sent as the body that it should be; Refused where it is none."""
        if self.body == MESSAGE:
            return sent  # which is read where it is answered
        if self.body == models.PointInsertOperations:
            return points_to_write(sent, strings)
        return read(self.body, as_json(sent), strings)


C = "/collections/{collection_name}"
P = f"{C}/points"
S = f"{C}/shards/{{shard_id}}"
ROUTES: tuple[Route, ...] = (
    # The server
    Route("GET", "/", OPEN, monitoring.version, at_once=True),
    Route("GET", "/healthz", OPEN, monitoring.health, at_once=True),
    Route("GET", "/livez", OPEN, monitoring.health, at_once=True),
    Route("GET", "/readyz", OPEN, monitoring.readiness),
    Route("GET", "/telemetry", READ, monitoring.telemetry),
    Route("GET", "/metrics", READ, monitoring.metrics),
    Route("GET", "/issues", READ, monitoring.issues),
    Route("DELETE", "/issues", MANAGE, monitoring.forget_issues),
    Route("GET", "/quotas", READ, monitoring.quotas),
    Route("PUT", "/quotas", MANAGE, monitoring.set_quotas, models.QuotaConfig),
    # Collections
    Route("GET", "/collections", READ, lambda asked: asked.embedded.get_collections()),
    Route("GET", C, READ, lambda asked: asked.embedded.get_collection(asked.collection)),
    Route("PUT", C, MANAGE, methods.create_collection, models.CreateCollection),
    Route("PATCH", C, MANAGE, methods.update_collection, models.UpdateCollection),
    Route("DELETE", C, MANAGE, methods.delete_collection),
    Route("GET", f"{C}/exists", READ, methods.collection_exists),
    Route("GET", f"{C}/memory", READ, monitoring.memory_of),
    Route("GET", f"{C}/optimizations", READ, monitoring.optimizations),
    Route("PUT", f"{C}/index", MANAGE, methods.create_index, models.CreateFieldIndex),
    Route("DELETE", f"{C}/index/{{field_name}}", MANAGE, methods.delete_index),
    Route("PUT", f"{C}/vectors/{{vector_name}}", MANAGE, methods.create_vector,
          models.VectorNameConfig),
    Route("DELETE", f"{C}/vectors/{{vector_name}}", MANAGE, methods.delete_vector),
    Route("GET", f"{C}/aliases", READ, methods.aliases_of),
    Route("GET", "/aliases", READ, lambda asked: asked.embedded.get_aliases()),
    Route("POST", "/collections/aliases", MANAGE, methods.change_aliases,
          models.ChangeAliasesOperation),
    # Writing points
    Route("PUT", P, WRITE, methods.changing(models.UpsertOperation),
          models.PointInsertOperations),
    Route("POST", f"{P}/delete", WRITE, methods.changing(models.DeleteOperation),
          models.PointsSelector),
    Route("PUT", f"{P}/vectors", WRITE, methods.changing(models.UpdateVectorsOperation),
          models.UpdateVectors),
    Route("POST", f"{P}/vectors/delete", WRITE, methods.changing(models.DeleteVectorsOperation),
          models.DeleteVectors),
    Route("POST", f"{P}/payload", WRITE, methods.changing(models.SetPayloadOperation),
          models.SetPayload),
    Route("PUT", f"{P}/payload", WRITE, methods.changing(models.OverwritePayloadOperation),
          models.SetPayload),
    Route("POST", f"{P}/payload/delete", WRITE, methods.changing(models.DeletePayloadOperation),
          models.DeletePayload),
    Route("POST", f"{P}/payload/clear", WRITE, methods.changing(models.ClearPayloadOperation),
          models.PointsSelector),
    Route("POST", f"{P}/batch", WRITE, methods.change_several, models.UpdateOperations),
    # Reading points
    Route("GET", f"{P}/{{id}}", READ, methods.get_point),
    Route("POST", P, READ, methods.reading("retrieve"), models.PointRequest),
    Route("POST", f"{P}/scroll", READ, methods.scroll, models.ScrollRequest),
    Route("POST", f"{P}/count", READ, methods.reading("count", filter="count_filter"),
          models.CountRequest),
    Route("POST", f"{C}/facet", READ, methods.reading("facet", filter="facet_filter"),
          models.FacetRequest),
    Route("POST", f"{P}/query", READ, methods.query_points, models.QueryRequest),
    Route("POST", f"{P}/query/batch", READ, methods.query_batch, models.QueryRequestBatch),
    Route("POST", f"{P}/query/groups", READ, methods.query_groups, models.QueryGroupsRequest),
    Route("POST", f"{P}/search/matrix/pairs", READ,
          methods.reading("search_matrix_pairs", filter="query_filter"),
          models.SearchMatrixRequest),
    Route("POST", f"{P}/search/matrix/offsets", READ,
          methods.reading("search_matrix_offsets", filter="query_filter"),
          models.SearchMatrixRequest),
    # As older clients ask
    Route("POST", f"{P}/search", READ, methods.search, older.Search),
    Route("POST", f"{P}/search/batch", READ, methods.search_batch, older.SearchBatch),
    Route("POST", f"{P}/search/groups", READ, methods.search_groups, older.SearchGroups),
    Route("POST", f"{P}/recommend", READ, methods.search, older.Recommend),
    Route("POST", f"{P}/recommend/batch", READ, methods.search_batch, older.RecommendBatch),
    Route("POST", f"{P}/recommend/groups", READ, methods.search_groups, older.RecommendGroups),
    Route("POST", f"{P}/discover", READ, methods.search, older.Discover),
    Route("POST", f"{P}/discover/batch", READ, methods.search_batch, older.DiscoverBatch),
    # Snapshots
    Route("GET", "/snapshots", READ, snapshots.listed),
    Route("POST", "/snapshots", MANAGE, snapshots.create),
    Route("GET", "/snapshots/{snapshot_name}", READ, snapshots.file_of),
    Route("DELETE", "/snapshots/{snapshot_name}", MANAGE, snapshots.delete),
    *(
        route
        for at in (C, S)
        for route in (
            Route("GET", f"{at}/snapshots", READ, snapshots.listed),
            Route("POST", f"{at}/snapshots", MANAGE, snapshots.create),
            Route("GET", f"{at}/snapshots/{{snapshot_name}}", READ, snapshots.file_of),
            Route("DELETE", f"{at}/snapshots/{{snapshot_name}}", MANAGE, snapshots.delete),
            Route("PUT", f"{at}/snapshots/recover", MANAGE, snapshots.recover,
                  models.SnapshotRecover),
            Route("POST", f"{at}/snapshots/upload", MANAGE, snapshots.recover_uploaded, UPLOAD),
        )
    ),
    Route("GET", f"{S}/snapshot", MANAGE, snapshots.taken_now),
    # What a cluster has, as a node alone answers
    Route("GET", "/cluster", READ, lambda asked: asked.embedded.cluster_status()),
    Route("GET", "/cluster/telemetry", READ, methods.refuse_cluster),
    Route("POST", "/cluster/recover", MANAGE, methods.refuse_cluster),
    Route("DELETE", "/cluster/peer/{peer_id}", MANAGE, methods.refuse_cluster),
    Route("GET", f"{C}/cluster", READ,
          lambda asked: asked.embedded.collection_cluster_info(asked.collection)),
    Route("POST", f"{C}/cluster", MANAGE, methods.refuse_cluster, models.ClusterOperations),
    Route("GET", f"{C}/shards", READ, methods.get_collection_shards),
    Route("PUT", f"{C}/shards", MANAGE, methods.refuse_cluster, models.CreateShardingKey),
    Route("POST", f"{C}/shards/delete", MANAGE, methods.refuse_cluster, models.DropShardingKey),
    # Of our own, for Client(url=)
    Route("GET", f"{api.ROOT}{frames.PATH}", READ, own.line, at_once=True),
    *(Route("POST", f"{api.ROOT}/store/{one.name}", one.access, own.of_store(one.name), MESSAGE)
      for one in api.STORE.values()),
    *(Route("POST", f"{api.ROOT}/points/{{collection_id}}/{one.name}", one.access,
            own.of_points(one.name), MESSAGE)
      for one in api.POINTS.values()),
)  # fmt: skip


class _Tree:
    """The routes by the parts of their paths. by_name: what follows a part of this name; any: what
    follows any other; called: as what that is known."""

    def __init__(self) -> None:
        self.by_name: dict[str, _Tree] = {}
        self.any: _Tree | None = None
        self.routes: dict[str, tuple[Route, tuple[str, ...]]] = {}

    def add(self, route: Route) -> None:
        """One more."""
        at, names = self, []
        for part in _parts(route.path):
            if part.startswith("{"):
                names.append(part[1:-1])
                at.any = at.any or _Tree()
                at = at.any
            else:
                at = at.by_name.setdefault(part, _Tree())
        at.routes[route.method] = route, tuple(names)

    def find(
        self, method: str, parts: list[str], at: int, values: tuple[str, ...]
    ) -> tuple[Route, Mapping[str, str]] | None:
        """The route of a request; a part of its own before one that any fits."""
        if at == len(parts):
            found = self.routes.get(method)
            return None if found is None else (found[0], dict(zip(found[1], values, strict=True)))
        part = parts[at]
        named = self.by_name.get(part)
        following = named.find(method, parts, at + 1, values) if named else None
        if following is None and self.any is not None and part:
            following = self.any.find(method, parts, at + 1, (*values, part))
        return following


def _parts(path: str) -> list[str]:
    return path.split("/")[1:]


_TREE = _Tree()
for _route in ROUTES:
    _TREE.add(_route)
    if _route.body not in (None, UPLOAD, MESSAGE):
        prepare(_route.body)


def found(method: str, parts: list[str]) -> tuple[Route, Mapping[str, str]] | None:
    """The route for a method and the parts of a path, decoded, and what its names stand for."""
    return _TREE.find(method, parts, 0, ())
