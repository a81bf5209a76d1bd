"""A store served over HTTP and gRPC, in Qdrant's protocols, to `Client(url=)` and to a browser.

`application` takes requests through `http`, a table of routes, to the methods of
`retrieval_store.qdrant.QdrantService`; `grpc` answers calls by the same table. `native` is the
protocol of `Client(url=)`, and `client` the store that such a client opens, which the core finds as
a plugin by the scheme of its URL. `view` is the page that looks into a store. `run` starts and ends
servers, and reads their connections; `command` has `retrieval-store serve` and `view`, found as
plugins too; `pytest_plugin` has fixtures for users' tests, and `values` small checks. It may use of
the core what users may, and `retrieval_store.extension`. Of starlette and uvicorn nothing is loaded
before a server is made, and nothing of gRPC before that is served.
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
