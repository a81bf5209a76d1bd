"""Queries: `inputs` makes vectors of what models name them by, `steps` makes steps of queries,
`formulas` formulas, `answers` asks the engine and makes models of what it finds, and `why` takes
filters apart for those who ask why. It may use `points`, `collections`, `filters` and what the room
above may use.
"""
