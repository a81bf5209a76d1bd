"""Names that only programs for Chroma use.

`settings` has settings, tenants and databases, `types` the names of types. `expressions` are the
arguments of `Collection.search`, and `search` answers it. Nothing is loaded before its first use.
It may use `api.arguments`, `api.results`, `api.configuration`, `query`, `filters`, `base` and
`errors`.
"""
