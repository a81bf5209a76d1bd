"""Filters → masks: which points match.

The input is a view and an expression; the output is a mask over rows, or rows (`select`).
`evaluate` compiles expressions and evaluates them on `columns`; it also finds substrings of
documents. A column is an index of the values at a path (read in one way: as whole values, list
elements, times, …): it has the rows with each value. Columns are made of `segments`: of values, of
geographic places, of nested objects, and of tokens. `cache` keeps the results of recent filters.
`order` counts the values of a column, and sorts points by it. It may use `text` (for substrings),
`state` and the rooms below.
"""
