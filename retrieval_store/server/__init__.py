"""A store served over HTTP and gRPC, in Qdrant's protocols.

`routes` is the table of what can be asked. `application` takes a request through it: `auth` admits
it, `limits` reads its body, bounds the work and has the pool of threads, `bodies` parses it into
the arguments that qdrant-client's methods take, one of `methods` is called, `answers` formats the
result as a server does, and `sending` sends it. `request` has the parameters of URLs and the store
itself; `inference` makes vectors of texts and images in bodies; `monitoring` reports on the
process; `native` has the routes for `Client(url=)`; `browser` serves the page of the room `view`,
`snapshots` are files that come and go. `run` starts and ends servers, and reads their connections;
`pytest_plugin` has fixtures for users' tests. The room `grpc` answers calls over gRPC by the same
table and methods. It may use `retrieval_store.view`, the Qdrant front and all below them. Of
starlette and uvicorn nothing is loaded before a server is made, and
nothing of `grpc` before gRPC is served.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval_store.server.application import Application, app
    from retrieval_store.server.run import running

__all__ = ["Application", "app", "running"]
_HOMES = {"Application": "application", "app": "application", "running": "run"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from retrieval_store.base.system import needing

    with needing("a server", None, "[server]"):
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
