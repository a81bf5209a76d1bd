"""The nearest points: exactly, or through an index, whichever is cheaper.

In come a view and a query by vectors; out come rows and distances, nearest first. `search` does it
as `planner` says, by estimated costs: `by_floats`, `by_codes` or `through_index`, which share what
is `context`; `indexing` is the index of one vector space in this process, searched by many or
changed by one; `late_interaction` ranks points with several vectors, which `several` holds in
memory; `trace` notes what was done, `kept` what stays between calls. It may use
`filtering` and the rooms below.
"""
