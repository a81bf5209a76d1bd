"""The interface for adapters to frameworks, in addition to the public names. An adapter only
translates between its framework and this interface.

`collection` opens the collection that a framework's arguments name, checks ids and numbers, and
defines the metadata keys that adapters reserve. It also wraps embedding functions and sparse
models, builds filter expressions, and diversifies results. Adapters import the names of this
package, and none of its modules. This package may import public names (Client, Collection, filter
expressions and errors), `base`, from `api` the checks of arguments and settings, and the filter
parser of `qdrant`. It imports nothing from the engine, and no framework. No module of the core
imports this package. A name is loaded when it is first used, since packages around the core need
few of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval_store.base.argument_names import (
        OTHER_NAMES,
        suggests_argument,
    )
    from retrieval_store.base.system import needing
    from retrieval_store.base.threads import async_twin
    from retrieval_store.base.tracing import progress_bar
    from retrieval_store.base.validation import fraction, quote, store_path, whole_number
    from retrieval_store.frameworks.collection import (
        RESERVED,
        OpenedCollection,
        Operand,
        WrappedFunction,
        check_sparse_model,
        diversify,
        items_of,
        open_collection,
        parse_filters,
        query_options,
        refuse_blank,
        refuse_depth,
        refuse_reserved,
        refuse_unknown,
        sparse_vectors,
        without_reserved,
    )

__all__ = [
    "OTHER_NAMES",
    "RESERVED",
    "OpenedCollection",
    "Operand",
    "WrappedFunction",
    "async_twin",
    "check_sparse_model",
    "diversify",
    "fraction",
    "items_of",
    "needing",
    "open_collection",
    "parse_filters",
    "progress_bar",
    "query_options",
    "quote",
    "refuse_blank",
    "refuse_depth",
    "refuse_reserved",
    "refuse_unknown",
    "sparse_vectors",
    "store_path",
    "suggests_argument",
    "whole_number",
    "without_reserved",
]

_NAMES = {
    "retrieval_store.base.argument_names": "OTHER_NAMES suggests_argument",
    "retrieval_store.base.system": "needing",
    "retrieval_store.base.threads": "async_twin",
    "retrieval_store.base.tracing": "progress_bar",
    "retrieval_store.base.validation": "fraction quote store_path whole_number",
    "retrieval_store.frameworks.collection": (
        "RESERVED OpenedCollection items_of open_collection query_options refuse_reserved "
        "refuse_unknown without_reserved WrappedFunction check_sparse_model refuse_blank "
        "sparse_vectors Operand diversify parse_filters refuse_depth"
    ),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}

if not TYPE_CHECKING:  # else type checkers would believe in any name

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
