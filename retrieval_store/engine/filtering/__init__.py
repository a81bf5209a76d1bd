"""Filters → masks: which points match.

The input is a view and an expression; the output is a mask over rows, or rows (`select`).
`evaluate` compiles expressions and evaluates them on `columns`, which know the rows with each value
at a path, by a reading; it also finds substrings of documents. Columns are made of `segments`: of
values, of places, of nested objects, and of tokens. `cache` keeps the results of recent filters.
`order` counts the values of a column, and sorts points by it. It may use `text` (for substrings),
`state` and the rooms below.
"""
