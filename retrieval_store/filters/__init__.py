"""Filters: one expression language, and the dialects that are parsed into it.

The input is a user's filter, the output an expression. Its nodes say which points match, not how
they are found. `nodes` has combinations and ids, and the functions that walk and evaluate trees of
nodes. A condition on payloads is a leaf over a column (`columns`): a path (`paths`), and a reading,
which says how the values at the path are seen. `leaves` has the base of all conditions, conditions
on documents, nested objects and slices, and patterns. It also evaluates an expression for a single
point, and limits expressions of users. `values` has conditions on numbers, texts, tokens and sizes,
`geo` on places; `dates` reads times; `expression` is the language as a whole; `where` parses
Chroma's dialects. Stores evaluate expressions in their own way: the engine to masks
(`engine.filtering`), a cluster by Qdrant (`retrieval_store_cluster.filters`). It may use `base` and
`errors`.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retrieval_store.filters import expression

__all__ = ["expression"]


def __getattr__(name: str) -> ModuleType:
    """The names of `expression`, for users, loaded when they are used; modules of this package
    import only the modules that they need."""
    if name == "expression":
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
