"""The interface for packages that implement a store in another process, or serve a store. Its names
complement the public names of `retrieval_store`. "Write a store" in the docs says what each name
promises.

`stores` has the protocols of a store, and its records and results; `queries` has queries; `base`
has base classes for a small store. Packages around the core import only the names of this package.
They import neither the modules of this package nor the modules that define the names. This package
may import all of the core except `chromadb`, `cli` and `conformance`; no other package of the core
imports `extension`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from retrieval_store.extension import base, queries, stores
from retrieval_store.extension.base import *  # noqa: F403
from retrieval_store.extension.queries import *  # noqa: F403
from retrieval_store.extension.stores import *  # noqa: F403

if TYPE_CHECKING:
    from retrieval_store.api.embedder import embedder_of
    from retrieval_store.api.query_arguments import QueryBuilder, QueryRequest
    from retrieval_store.api.why_request import reasons_for
    from retrieval_store.qdrant.read import make_model
    from retrieval_store.qdrant.refusals import describe
    from retrieval_store.qdrant.strict_mode import conditions_in, conditions_of

__all__ = [
    "QueryBuilder",
    "QueryRequest",
    "conditions_in",
    "conditions_of",
    "describe",
    "embedder_of",
    "make_model",
    "reasons_for",
]
__all__ += base.__all__
__all__ += queries.__all__
__all__ += stores.__all__

# What only a server asks, of a page that looks into stores and of Qdrant's models: these take as
# long to load as all else.
_LATE = {
    "QueryBuilder": "api.query_arguments",
    "QueryRequest": "api.query_arguments",
    "conditions_in": "qdrant.strict_mode",
    "conditions_of": "qdrant.strict_mode",
    "describe": "qdrant.refusals",
    "embedder_of": "api.embedder",
    "make_model": "qdrant.read",
    "reasons_for": "api.why_request",
}

if not TYPE_CHECKING:  # else type checkers would believe in any name

    def __getattr__(name: str) -> Any:
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"retrieval_store.{_LATE[name]}"), name)
