"""What only users of Chroma know, and their code names: `settings`, tenants and databases; the
names of `types`; and what `Collection.search` takes. `expressions` has how that is written,
`conditions` and `scoring` read it, `searching` asks the store, `grouping` puts what was found into
groups, and `found` has the result. Nothing of it is loaded before it is asked for. It may use
`direct.arguments`, `direct.results`, `direct.configuration`, `interface`, `filters`, `base` and
`errors`.
"""
