"""The nearest points: exactly, or through an index, whichever is cheaper.

In come a view and a query by vectors; out come rows and distances, nearest first. `search` takes
one of three methods, as `planner` says by estimated costs: `by_floats`, `by_codes` or `over_fetch`,
of which the last two are loaded by their first query; they share a `context`. `indexing` is
the index of one vector space in this process, searched by many or changed by one; `multivectors`
ranks points with several vectors each. It may use `filtering` and the rooms below.
"""
