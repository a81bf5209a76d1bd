"""Names that only programs for Chroma use.

`settings` has settings, tenants and databases; `types` has the names of types. `expressions` has
the arguments of `Collection.search`, and `search` answers the call. Nothing is loaded before its
first use. This package may import `api.arguments`, `api.results`, `api.configuration`, `query`,
`filters`, `base` and `errors`.
"""
