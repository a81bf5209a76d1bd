"""The data that fronts (public APIs) and stores exchange, and how a query is executed.

Fronts (`api`, `qdrant`) make queries; stores (`engine`, servers, clusters) answer them. This
package is all that they know of each other. `types` has points in columns, vector spaces, and
reports of stores about themselves. `query` has the kinds of queries, also by `formulas`;
`protocols` are the interfaces of stores, collections and points. `executor` carries out a query
step by step (prefetch, score, threshold, window, fusion, groups) through the rankings that a store
implements. `why` finds the rank of records in each ranking, and `reasons` explains it to the
caller. It may use `base`, `filters` and `indexes`.
"""
