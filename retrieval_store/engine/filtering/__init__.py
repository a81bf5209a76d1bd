"""Turns filters into masks over rows: which points match.

`select` takes a view and an expression, and returns a mask over rows or a list of rows. `evaluate`
compiles expressions, evaluates them on `columns`, and finds substrings of documents. A column is an
index of the values at a path: it lists the rows of each value. The *reading* of a column says which
values it contains: whole values, list elements, times, or others. Columns consist of `segments`: of
values, of geographic locations, of nested objects, and of tokens. `cache` stores the results of
recent filters. `order` counts the values of a column, and sorts points by their values. The package
is allowed to import `text` (for substrings), `state`, and the subpackages below them.
"""
