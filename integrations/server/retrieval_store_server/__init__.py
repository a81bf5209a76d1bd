"""Serves a store over HTTP and gRPC: to Qdrant's clients, to `Client(url=)`, and to a browser.

`http` has the table of routes. By this table, `application` passes HTTP requests, and `grpc` passes
gRPC calls, to the methods of `retrieval_store.qdrant.QdrantService`. `native` is the protocol of
`Client(url=)`. `client` is the store that such a client opens; the core finds `client` as a plugin
by the URL's scheme. `view` is the page that displays a store. `run` starts and ends servers, and
reads from connections. `command` has the commands `serve` and `view`, which are plugins, too.
`pytest_plugin` has fixtures for users' tests, and `values` has constants and small functions. This
package may import the public parts of the core, and `retrieval_store.extension`. starlette and
uvicorn are imported only when a server is made, and gRPC only when it is served.
"""

from typing import TYPE_CHECKING, Any

from retrieval_store import require_core

if TYPE_CHECKING:
    from retrieval_store_server.application import Application, app
    from retrieval_store_server.run import Guard, running
    from retrieval_store_server.view.records import picture_of

__version__ = "0.2.0"
require_core("retrieval-store-server", __version__)

__all__ = ["Application", "Guard", "app", "picture_of", "running"]
_HOMES = {
    "Application": "application",
    "Guard": "run",
    "app": "application",
    "picture_of": "view.records",
    "running": "run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from retrieval_store.cli.plugin import needing

    with needing("a server", None, "retrieval-store-server"):
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
