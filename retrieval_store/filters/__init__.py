"""Filters: one expression language, and the dialects that are parsed into it.

In comes what a user wrote; out goes an expression, whose nodes say what matches, not how it is
found. `nodes` has combinations and ids, and the one walk over combinations, whatever is asked.
Conditions on payloads are leaves over a column: a path (`paths`) and a reading of what lies there
(`readings`, of which `dates` reads times), which `columns` brings together. `leaves` says what such
conditions have in common, and what evaluators may be asked by them; `values` has those on numbers,
texts, their tokens, and sizes, `geo` on places, `nested` on objects in lists.
`documents` has conditions on documents, with `patterns` compiled and bounded, `slices` parts of all
ids; `expression` is the language as a whole.

`where` parses Chroma's dialects, `limits` bounds what users pass as expressions, `predicate` asks
an expression of one point. Stores evaluate expressions in their own way: the engine to masks
(`engine.filtering`), a cluster to what Qdrant can say of them (`remote.conditions`). It may use
`base` and `errors`.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retrieval_store.filters import expression

__all__ = ["expression"]


def __getattr__(name: str) -> ModuleType:
    """The language as a whole, for users; what is in here takes of it what it needs."""
    if name == "expression":
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
