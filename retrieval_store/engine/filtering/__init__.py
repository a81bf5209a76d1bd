"""Filters → masks: which points match.

A view and an expression come in; a mask over rows, or rows, come out (`select`). `evaluate`
compiles expressions and runs them over `columns`, which know for a path and a reading which rows
have which value, and finds substrings of documents. Columns are made of `segments`: of values, of
places, of nested objects, and of tokens. `cache` keeps the results of recent filters. `order`
counts the values of a column, and sorts points by it. It may use `text` (for substrings), `state`
and the rooms below.
"""
