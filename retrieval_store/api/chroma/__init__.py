"""What only users of Chroma know, and their programs name.

`settings` has settings, tenants and databases, `types` the names of types; `expressions` are what
`Collection.search` takes, and `search` carries it out. Nothing of it is loaded before it is used.
It may use `api.arguments`, `api.results`, `api.configuration`, `query`, `filters`, `base` and
`errors`.
"""
