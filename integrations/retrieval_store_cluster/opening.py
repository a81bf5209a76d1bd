"""Opens the store of a cluster: at a URL, or behind a client of qdrant-client's."""

from collections.abc import Mapping
from typing import Any

from retrieval_store.backends import Session
from retrieval_store.base.system import needing


def open_url(
    url: str, consistency: Any, creates_indexes: bool, options: Mapping[str, Any]
) -> Session:
    """The session of a cluster at a URL. options: further arguments of qdrant_client.QdrantClient;
    the rest is as for `Client`. Raises MissingDependencyError without qdrant-client."""
    store = _store()
    cluster = store.Cluster.at(url, dict(options))
    read_from = store.ReadOptions(consistency, creates_indexes)
    return Session(store.ClusterStore(cluster, read_from), cluster.close, cluster.place)


def open_client(qdrant_client: Any, consistency: Any, creates_indexes: bool) -> Session:
    """The session of a cluster whose client belongs to the caller, and stays open. An asynchronous
    one is taken from an event loop."""
    store = _store()
    cluster = store.Cluster(store.blocking_client(qdrant_client), "behind qdrant_client")
    read_from = store.ReadOptions(consistency, creates_indexes)
    return Session(store.ClusterStore(cluster, read_from), lambda: None, cluster.place)


def _store() -> Any:
    with needing("a cluster", "qdrant-client", "[qdrant]"):
        from retrieval_store_cluster import store
    return store
