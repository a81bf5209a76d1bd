"""Opens the store at a URL. The first response shows whether this is a server of this package or a
Qdrant server."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from retrieval_store import plugins
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.extension import CollectionStore, Lock, Session
from retrieval_store_server.client.connection import (
    Address,
    ConnectionPool,
    address_of,
    is_ours_at,
    is_ours_in_time,
)
from retrieval_store_server.client.store import ServedStore


def open_url(
    url: Any, consistency: Any, creates_indexes: bool, options: Mapping[str, Any]
) -> Session:
    """The session of the store at a URL. One request finds out whether a server of this package or
    a cluster is there. If nothing responds, the request is repeated when the store is used.
    options: further arguments for the client of that server or cluster; the other arguments are
    those of `Client`."""
    address = address_of(url, options)
    if address is None:  # options of a client for clusters
        return _open_cluster(url, consistency, creates_indexes, options)

    def open_session(is_ours: bool) -> Session:
        if not is_ours:
            return _open_cluster(url, consistency, creates_indexes, options)
        if consistency is not None or not creates_indexes:
            raise InvalidArgumentError("consistency and create_indexes go with a cluster")
        connection = ConnectionPool(address)
        return Session(ServedStore(connection), connection.close, address.place)

    is_ours = is_ours_at(address)
    return _open_later(address, open_session) if is_ours is None else open_session(is_ours)


def _open_cluster(
    url: Any, consistency: Any, creates_indexes: bool, options: Mapping[str, Any]
) -> Session:
    session: Session = plugins.load(plugins.STORES, "qdrant")(
        url, consistency, creates_indexes, options
    )
    return session


def _open_later(address: Address, open_session: Callable[[bool], Session]) -> Session:
    """The session for a URL at which no server responds yet. Once a server responds, `open_session`
    opens the right kind of session."""
    decided: list[Session] = []
    lock, is_released = Lock(), threading.Event()

    def find() -> CollectionStore:
        is_ours = None if decided else is_ours_in_time(address)  # all threads wait for this at once
        with lock:
            if not decided and is_ours is not None:
                decided.append(open_session(is_ours))
        if is_released.is_set():
            release()
        return decided[0].store

    def release() -> None:
        is_released.set()
        for session in decided:
            session.close()

    return Session(find, release, address.place)
