"""The embedded engine: points, and nothing else, in files that survive.

In the order of a query: `registry` → `store` → `points` → `state` → `masks` over `columns` and
`postings` → `search` → `fetch`. Below them `write`, `vectors`, `presence`, `schema`, `catalog` and
`database`.
"""
