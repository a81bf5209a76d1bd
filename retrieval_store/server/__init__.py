"""Served over HTTP and gRPC: a store answers Qdrant's protocols, so that what speaks to Qdrant
speaks to it.

A request comes in, an answer goes out. `routes` is the table of what can be asked; `application`
takes one of the `requests` through it: `gate` lets it in, `receiving` reads its body, `bodies`,
`points` and `older` make of that what qdrant-client's models are, a thread of `pool` calls one of
`methods`, `answers` writes what comes back as a server does, and `sending` sends it. `parameters`
are those of URLs, `inference` makes vectors of texts and images in bodies, `snapshots` are files
that come and go, `counts` and `monitoring` what is said of the process, `served` the store itself,
`rates` how many operations a minute strict mode allows.
`own` are routes by which a `Client` of a URL works with the store itself, and `copies` what it
reads in pages. `view` serves the page that looks into the store, whose questions the room of that
name answers. `settings` are what is given on the command line; `starting` starts and ends servers,
whose connections `protocol` reads, and `fixtures` is for pytest. The room `rpc` answers calls over
gRPC by the same table and the same methods.

It may use `retrieval_store.view`, the Qdrant front and all below them. Of starlette and uvicorn
nothing is loaded before a server is made, and nothing of `rpc` before gRPC is served.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval_store.server.app import Application, app
    from retrieval_store.server.run import running

__all__ = ["Application", "app", "running"]
_HOMES = {"Application": "app", "app": "app", "running": "run"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from retrieval_store.errors import MissingDependencyError

    try:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f'a server needs {error.name}: pip install "retrieval-store[server]"'
        ) from error
