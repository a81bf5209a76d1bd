"""A store as tools for agents: programs that a language model controls.

`tools` answers calls with the data of a store's collections (`sources`). `definitions` has the
descriptions that a model reads. `arguments` checks the arguments and expiry times that a model
sends. `answers` formats the results, as text and as data. `mcp` serves the tools by the Model
Context Protocol, over standard input and output or over HTTP; LangChain's and LlamaIndex's stores
wrap the same tools. `command` is `retrieval-store mcp`, which the core finds as a plugin; `wording`
formats values in messages. This package may import the public parts of the core and of
`retrieval_store_server`. The package `mcp` isn't imported before a server is created.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from retrieval_store import require_core

if TYPE_CHECKING:
    from retrieval_store_agents.answers import Answer
    from retrieval_store_agents.definitions import Tool
    from retrieval_store_agents.sources import ClientSource, CollectionSource
    from retrieval_store_agents.tools import StoreTools

__version__ = "0.2.0"
require_core("retrieval-store-agents", __version__)

__all__ = ["Answer", "ClientSource", "CollectionSource", "StoreTools", "Tool"]
_HOMES = {
    "Answer": "answers",
    "ClientSource": "sources",
    "CollectionSource": "sources",
    "StoreTools": "tools",
    "Tool": "definitions",
}

if not TYPE_CHECKING:  # otherwise type checkers would accept any name

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
