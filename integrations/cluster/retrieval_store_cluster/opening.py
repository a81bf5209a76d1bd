"""Opens the store on a cluster, from a URL or from a client of qdrant-client."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from retrieval_store.extension import Session
from retrieval_store.frameworks import needing

if TYPE_CHECKING:
    from retrieval_store_cluster.client import Cluster

# Modules that use qdrant-client are imported when one is opened; without it, that says what to
# install.
_NEEDING = ("a cluster", "qdrant-client", "[qdrant]")


def open_url(
    url: str | Sequence[str],
    consistency: Any,
    creates_indexes: bool,
    options: Mapping[str, Any],
) -> Session:
    """The session of a cluster at a URL, or at the URLs of several of its nodes. options: further
    arguments of qdrant_client.QdrantClient; the other arguments are those of `Client`. Raises
    MissingDependencyError without qdrant-client."""
    with needing(*_NEEDING):
        from retrieval_store_cluster.client import Cluster
    cluster = Cluster.at(url, dict(options))
    return _session(cluster, consistency, creates_indexes, cluster.close)


def open_client(qdrant_client: Any, consistency: Any, creates_indexes: bool) -> Session:
    """The session of a cluster, reached through a client of the caller. Closing the session leaves
    the client open. The calls of an asynchronous client run on its own event loop."""
    with needing(*_NEEDING):
        from retrieval_store_cluster.client import Cluster, Nodes, blocking_client
    nodes = Nodes([blocking_client(qdrant_client)], ["behind qdrant_client"])
    cluster = Cluster(nodes, leads_to=_where_leads(qdrant_client))
    return _session(cluster, consistency, creates_indexes, lambda: None)


def _where_leads(qdrant_client: Any) -> str:
    """A value that distinguishes a client from clients of other servers. The value may contain a
    password."""
    options = getattr(qdrant_client, "init_options", None)
    if not isinstance(options, Mapping):  # of another object with its methods
        return ""
    names = ("path", "location", "url", "host", "port", "prefix")
    return "".join(f" {name}={options[name]}" for name in names if options.get(name) is not None)


def _session(
    cluster: "Cluster", consistency: Any, creates_indexes: bool, release: Callable[[], object]
) -> Session:
    from retrieval_store_cluster.space import ReadOptions
    from retrieval_store_cluster.store import ClusterStore

    store = ClusterStore(cluster, ReadOptions(consistency, creates_indexes))
    return Session(store, release, cluster.place)
