"""The data that public APIs ("fronts") and stores exchange, and the execution of queries.

Fronts (`api`, `qdrant`) build queries; stores (`engine`, servers, clusters) answer them. Fronts and
stores share only this package. `types` defines points in columns, vector spaces, and a store's
reports about itself. `query` defines the kinds of queries, and `formulas` defines those that
compute scores by a formula. `protocols` contains the interfaces of stores, collections and points.
`executor` carries out a query step by step (prefetch, score, threshold, window, fusion, groups),
with the rankings that a store provides. `why` finds the rank of records in each ranking, and
`reasons` explains these ranks to the caller. The package is allowed to import `base`, `filters` and
`indexes`.
"""
