"""Filters: one expression language, and the dialects that are parsed into it.

A user's filter is parsed into an expression: a tree of nodes, which define which points match, not
how they are found. `nodes` defines combinations, and conditions on ids, and the functions that walk
and evaluate trees of nodes. A condition on payloads is a leaf over a column (`columns`). A column
has a path (`paths`), and a reading, which defines how the values at the path are interpreted.
`leaves` contains the base class of all conditions, conditions on documents, nested objects and
slices, and patterns. It also evaluates an expression for a single point, and limits expressions of
users. `values` contains conditions on numbers, texts, tokens and sizes; `geo` contains conditions
on locations; `dates` parses times; `expression` is the whole language; `where` parses Chroma's
dialects. Stores evaluate expressions in their own way: the engine converts them to masks
(`engine.filtering`), a cluster to Qdrant's filters (`retrieval_store_cluster.filters`). The package
is allowed to import `base` and `errors`.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retrieval_store.filters import expression

__all__ = ["expression"]


def __getattr__(name: str) -> ModuleType:
    """The module `expression`, for users, imported when it is first used. Modules of this package
    import only the modules that they need."""
    if name == "expression":
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
