"""Turns filters into masks over rows: which points match.

The input is a view and an expression; the output is a mask over rows, or a list of rows (`select`).
`evaluate` compiles expressions and evaluates them on `columns`; it also finds substrings of
documents. A column is an index of the values at a path; for each value, it has the rows with this
value. A column has a *reading*: it contains whole values, list elements, times, or another kind of
value. Columns consist of `segments`: of values, of geographic locations, of nested objects, and of
tokens. `cache` stores the results of recent filters. `order` counts the values of a column, and
sorts points by them. The package is allowed to import `text` (for substrings), `state` and the
rooms below them.
"""
