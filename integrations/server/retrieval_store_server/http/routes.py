"""The table of routes. A route has a method and path, the type of the body, the required access,
the function that answers, and the equivalent gRPC procedure.

The access of a route says which key a request needs: none for `open`, any key for `read`. Routes
with `write` change points, and routes with `manage` change everything else; both need a key that
permits writing.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

from qdrant_client import models

from retrieval_store_server.http import (
    browser,
    legacy_search,
    methods,
    monitoring,
    own_routes,
    snapshots,
)
from retrieval_store_server.http.bodies import parse_body, points_to_write, prepare
from retrieval_store_server.http.json_bodies import MAX_CHECKED, MAX_CONTAINERS, as_json
from retrieval_store_server.http.request import RequestContext
from retrieval_store_server.native import methods as protocol
from retrieval_store_server.view.calls import CALLS

Permission: TypeAlias = Literal["open", "read", "write", "manage"]
READ: Permission = "read"
WRITE: Permission = "write"
MANAGE: Permission = "manage"
OPEN: Permission = "open"
UPLOAD = "upload"  # a multipart body; one part is a file
MESSAGE = "message"  # a message of `native`, with a message as response
OBJECT = "object"  # a JSON object, which is checked by its handler


@dataclass(frozen=True)
class Route:
    """A route. answer: the function that handles its requests. The function is called in a thread.
    If `at_once`, it is called on the event loop instead, and does not use the store. body: the type
    of the JSON body, `OBJECT`, `MESSAGE`, `UPLOAD`, or None for no body. rpc: the service and
    method of gRPC (package qdrant) that correspond to the route."""

    method: str
    path: str
    access: Permission
    answer: Callable[[RequestContext], Any]
    body: Any = None
    at_once: bool = False
    rpc: str = ""

    @cached_property
    def name(self) -> str:
        """The name under which the route's requests are counted."""
        return f"{self.method} {self.path}"

    @cached_property
    def is_own(self) -> bool:
        """Whether the route belongs to the protocol of this package, and not to Qdrant's."""
        return bool(self.body == MESSAGE)

    @property
    def sends_file(self) -> bool:
        """Whether the response is a file. An error about a missing file is then plain text."""
        return self.answer is snapshots.file_of

    @property
    def moves_file(self) -> bool:
        """Whether the route receives or creates a file. Its refusals are then plain text."""
        return self.body == UPLOAD or self.answer is snapshots.take_snapshot

    @cached_property
    def streams(self) -> bool:
        """Whether the response is streamed."""
        return self.path == f"{browser.ROOT}/api/live"

    @property
    def is_of_view(self) -> bool:
        """Whether the route belongs to the page that displays a store."""
        return bool(self.body == OBJECT)

    def read(self, sent: bytes, strings: list[str]) -> Any:
        """The body of a request, as the type that the route declares; raises Refused if the body is
        invalid."""
        if self.is_own:
            return sent  # its handler parses it
        most = MAX_CHECKED if self.access == "read" else MAX_CONTAINERS
        if self.body == OBJECT:
            return as_json(sent, most)
        if self.body is models.PointInsertOperations:
            return points_to_write(sent, strings)
        return parse_body(self.body, as_json(sent, most), strings)


C = "/collections/{collection_name}"
P = f"{C}/points"
S = f"{C}/shards/{{shard_id}}"
VIEW: tuple[Route, ...] = (
    Route("GET", browser.ROOT, OPEN, browser.index, at_once=True),
    Route("GET", f"{browser.ROOT}/", OPEN, browser.index, at_once=True),
    Route("GET", f"{browser.ROOT}/{{file}}", OPEN, browser.file, at_once=True),
    Route("GET", f"{browser.ROOT}/{{folder}}/{{file}}", OPEN, browser.file, at_once=True),
    *(
        Route("POST", f"{browser.ROOT}/api/{name}", READ, browser.asking(name), OBJECT)
        for name in CALLS
    ),
)
ROUTES: tuple[Route, ...] = (
    # The server
    Route("GET", "/", OPEN, monitoring.version, at_once=True, rpc="Qdrant/HealthCheck"),
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
    Route("GET", "/collections", READ, lambda call: call.embedded.get_collections(),
          rpc="Collections/List"),
    Route("GET", C, READ, lambda call: call.embedded.get_collection(call.collection),
          rpc="Collections/Get"),
    Route("PUT", C, MANAGE, methods.create_collection, models.CreateCollection,
          rpc="Collections/Create"),
    Route("PATCH", C, MANAGE, methods.update_collection, models.UpdateCollection,
          rpc="Collections/Update"),
    Route("DELETE", C, MANAGE, methods.delete_collection, rpc="Collections/Delete"),
    Route("GET", f"{C}/exists", READ, methods.collection_exists,
          rpc="Collections/CollectionExists"),
    Route("GET", f"{C}/memory", READ, monitoring.memory_of),
    Route("GET", f"{C}/optimizations", READ, monitoring.optimizations),
    Route("PUT", f"{C}/index", MANAGE, methods.create_index, models.CreateFieldIndex,
          rpc="Points/CreateFieldIndex"),
    Route("DELETE", f"{C}/index/{{field_name}}", MANAGE, methods.delete_index,
          rpc="Points/DeleteFieldIndex"),
    Route("PUT", f"{C}/vectors/{{vector_name}}", MANAGE, methods.create_vector,
          models.VectorNameConfig, rpc="Points/CreateVectorName"),
    Route("DELETE", f"{C}/vectors/{{vector_name}}", MANAGE, methods.delete_vector,
          rpc="Points/DeleteVectorName"),
    Route("GET", f"{C}/aliases", READ, methods.aliases_of, rpc="Collections/ListCollectionAliases"),
    Route("GET", "/aliases", READ, lambda call: call.embedded.get_aliases(),
          rpc="Collections/ListAliases"),
    Route("POST", "/collections/aliases", MANAGE, methods.change_aliases,
          models.ChangeAliasesOperation, rpc="Collections/UpdateAliases"),
    # Writing points
    Route("PUT", P, WRITE, methods.write_route(models.UpsertOperation),
          models.PointInsertOperations, rpc="Points/Upsert"),
    Route("POST", f"{P}/delete", WRITE, methods.write_route(models.DeleteOperation),
          models.PointsSelector, rpc="Points/Delete"),
    Route("PUT", f"{P}/vectors", WRITE, methods.write_route(models.UpdateVectorsOperation),
          models.UpdateVectors, rpc="Points/UpdateVectors"),
    Route("POST", f"{P}/vectors/delete", WRITE, methods.write_route(models.DeleteVectorsOperation),
          models.DeleteVectors, rpc="Points/DeleteVectors"),
    Route("POST", f"{P}/payload", WRITE, methods.write_route(models.SetPayloadOperation),
          models.SetPayload, rpc="Points/SetPayload"),
    Route("PUT", f"{P}/payload", WRITE, methods.write_route(models.OverwritePayloadOperation),
          models.SetPayload, rpc="Points/OverwritePayload"),
    Route("POST", f"{P}/payload/delete", WRITE, methods.write_route(models.DeletePayloadOperation),
          models.DeletePayload, rpc="Points/DeletePayload"),
    Route("POST", f"{P}/payload/clear", WRITE, methods.write_route(models.ClearPayloadOperation),
          models.PointsSelector, rpc="Points/ClearPayload"),
    Route("POST", f"{P}/batch", WRITE, methods.change_several, models.UpdateOperations,
          rpc="Points/UpdateBatch"),
    # Reading points
    Route("GET", f"{P}/{{id}}", READ, methods.get_point),
    Route("POST", P, READ, methods.retrieve, models.PointRequest, rpc="Points/Get"),
    Route("POST", f"{P}/scroll", READ, methods.scroll, models.ScrollRequest, rpc="Points/Scroll"),
    Route("POST", f"{P}/count", READ, methods.read_route("count", filter="count_filter"),
          models.CountRequest, rpc="Points/Count"),
    Route("POST", f"{C}/facet", READ, methods.facet, models.FacetRequest, rpc="Points/Facet"),
    Route("POST", f"{P}/query", READ, methods.query_points, models.QueryRequest,
          rpc="Points/Query"),
    Route("POST", f"{P}/query/batch", READ, methods.query_batch, models.QueryRequestBatch,
          rpc="Points/QueryBatch"),
    Route("POST", f"{P}/query/groups", READ, methods.query_groups, models.QueryGroupsRequest,
          rpc="Points/QueryGroups"),
    Route("POST", f"{P}/search/matrix/pairs", READ,
          methods.read_route("search_matrix_pairs", filter="query_filter"),
          models.SearchMatrixRequest, rpc="Points/SearchMatrixPairs"),
    Route("POST", f"{P}/search/matrix/offsets", READ,
          methods.read_route("search_matrix_offsets", filter="query_filter"),
          models.SearchMatrixRequest, rpc="Points/SearchMatrixOffsets"),
    # Older requests
    Route("POST", f"{P}/search", READ, methods.search, legacy_search.SearchBody,
          rpc="Points/Search"),
    Route("POST", f"{P}/search/batch", READ, methods.search_batch, legacy_search.SearchBatch,
          rpc="Points/SearchBatch"),
    Route("POST", f"{P}/search/groups", READ, methods.search_groups, legacy_search.SearchGroups,
          rpc="Points/SearchGroups"),
    Route("POST", f"{P}/recommend", READ, methods.search, legacy_search.RecommendBody,
          rpc="Points/Recommend"),
    Route("POST", f"{P}/recommend/batch", READ, methods.search_batch, legacy_search.RecommendBatch,
          rpc="Points/RecommendBatch"),
    Route("POST", f"{P}/recommend/groups", READ, methods.search_groups,
          legacy_search.RecommendGroups,
          rpc="Points/RecommendGroups"),
    Route("POST", f"{P}/discover", READ, methods.search, legacy_search.DiscoverBody,
          rpc="Points/Discover"),
    Route("POST", f"{P}/discover/batch", READ, methods.search_batch, legacy_search.DiscoverBatch,
          rpc="Points/DiscoverBatch"),
    # Snapshots
    Route("GET", "/snapshots", READ, snapshots.list_snapshots, rpc="Snapshots/ListFull"),
    Route("POST", "/snapshots", MANAGE, snapshots.create, rpc="Snapshots/CreateFull"),
    Route("GET", "/snapshots/{snapshot_name}", READ, snapshots.file_of),
    Route("DELETE", "/snapshots/{snapshot_name}", MANAGE, snapshots.delete,
          rpc="Snapshots/DeleteFull"),
    *(
        route
        for at, rpc in ((C, "Snapshots/{}".format), (S, lambda _: ""))
        for route in (
            Route("GET", f"{at}/snapshots", READ, snapshots.list_snapshots, rpc=rpc("List")),
            Route("POST", f"{at}/snapshots", MANAGE, snapshots.create, rpc=rpc("Create")),
            Route("GET", f"{at}/snapshots/{{snapshot_name}}", READ, snapshots.file_of),
            Route("DELETE", f"{at}/snapshots/{{snapshot_name}}", MANAGE, snapshots.delete,
                  rpc=rpc("Delete")),
            Route("PUT", f"{at}/snapshots/recover", MANAGE, snapshots.recover,
                  models.SnapshotRecover),
            Route("POST", f"{at}/snapshots/upload", MANAGE, snapshots.recover_uploaded, UPLOAD),
        )
    ),
    Route("GET", f"{S}/snapshot", MANAGE, snapshots.take_snapshot),
    # Routes of a cluster, answered as by a single node
    Route("GET", "/cluster", READ, lambda call: call.embedded.cluster_status()),
    Route("GET", "/cluster/telemetry", READ, methods.refuse_cluster),
    Route("POST", "/cluster/recover", MANAGE, methods.refuse_cluster),
    Route("DELETE", "/cluster/peer/{peer_id}", MANAGE, methods.refuse_cluster),
    Route("GET", f"{C}/cluster", READ,
          lambda call: call.embedded.collection_cluster_info(call.collection),
          rpc="Collections/CollectionClusterInfo"),
    Route("POST", f"{C}/cluster", MANAGE, methods.refuse_cluster, models.ClusterOperations,
          rpc="Collections/UpdateCollectionClusterSetup"),
    Route("GET", f"{C}/shards", READ, methods.get_collection_shards,
          rpc="Collections/ListShardKeys"),
    Route("PUT", f"{C}/shards", MANAGE, methods.refuse_cluster, models.CreateShardingKey,
          rpc="Collections/CreateShardKey"),
    Route("POST", f"{C}/shards/delete", MANAGE, methods.refuse_cluster, models.DropShardingKey,
          rpc="Collections/DeleteShardKey"),
    # The page that displays the store
    *VIEW,
    # This package's own, for Client(url=)
    *(Route("POST", f"{protocol.ROOT}/store/{method.name}", method.access,
            own_routes.store_route(method.name), MESSAGE)
      for method in protocol.STORE.values()),
    *(Route("POST", f"{protocol.ROOT}/points/{{collection_id}}/{method.name}", method.access,
            own_routes.points_route(method.name), MESSAGE)
      for method in protocol.POINTS.values()),
)  # fmt: skip


class Table:
    """Routes in a tree, by the parts of their paths. by_name: the subtrees for parts with a fixed
    name; any: the subtree for a variable part. routes: the routes whose paths end at this node, by
    method, each with the names of its variable parts."""

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self.by_name: dict[str, Table] = {}
        self.any: Table | None = None
        self.routes: dict[str, tuple[Route, tuple[str, ...]]] = {}
        for route in routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        at, names = self, []
        for part in _parts(route.path):
            if part.startswith("{"):
                names.append(part[1:-1])
                at.any = at.any or Table()
                at = at.any
            else:
                at = at.by_name.setdefault(part, Table())
        at.routes[route.method] = route, tuple(names)

    def find(
        self, method: str, parts: list[str], at: int = 0, values: tuple[str, ...] = ()
    ) -> tuple[Route, Mapping[str, str]] | None:
        """The route for a method and the decoded parts of a path, and the values of its variable
        parts; None if no route matches. The search begins at part `at`, below this table. A part
        with a fixed name takes precedence over a variable part."""
        if at == len(parts):
            entry = self.routes.get(method)
            return None if entry is None else (entry[0], dict(zip(entry[1], values, strict=True)))
        part = parts[at]
        named = self.by_name.get(part)
        following = named.find(method, parts, at + 1, values) if named else None
        if following is None and self.any is not None and part:
            following = self.any.find(method, parts, at + 1, (*values, part))
        return following


def _parts(path: str) -> list[str]:
    return path.split("/")[1:]


EVERY, OF_VIEW = Table(ROUTES), Table(VIEW)
for _route in ROUTES:
    if _route.body not in (None, UPLOAD, MESSAGE, OBJECT):
        prepare(_route.body)
