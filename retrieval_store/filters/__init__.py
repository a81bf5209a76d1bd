"""Filters: one expression language, and the dialects that are parsed into it.

In comes what a user wrote; out goes an expression, whose nodes say what matches, not how it is
found. `nodes` has combinations and ids, `values` the conditions on payloads (`dates` reads times),
`documents` those on documents, with `patterns` compiled and bounded; `typed` has those that walk
through lists and tell types apart, over texts as `tokens` splits them; `expression` is the language
as a whole. `where` parses Chroma's dialects, `limits` bounds what users pass as expressions,
`predicate` asks an expression of one point. Whoever stores points evaluates expressions in its own
way: the engine to masks (`engine.filtering`), a cluster to what Qdrant can say of them
(`remote.conditions`). It may use `base` and `errors`.
"""

from retrieval_store.filters import expression

__all__ = ["expression"]
