"""Filters → masks: which points an expression allows.

In come a view and an expression; out comes a mask over rows, or the rows that are meant
(`selecting`). `masks` compiles expressions and runs them, over `columns`, which keep for a path and
a reading which rows have which value, and asks `documents` what can't be looked up. A column is
made of `segments`: of values as `postings` (which give values numbers) and `groups` (which rows
have which number), of places, of objects in lists, and of tokens as inverted lists
(`token_segments`).
`column_files` has columns for the next process, `allowed` keeps what recent filters let through,
`kept` says what else stays between calls. `expiry` makes the filter that
leaves out what has expired. `facets` counts the values of a column, and brings points
into their order. It may use `words` (for substrings of documents), `state` and the rooms below.
"""
