"""Filters → masks: which points an expression allows.

In come a view and an expression; out comes a mask over rows, or the rows that are meant
(`selecting`). `masks` evaluates expressions, over `columns` (for one payload path, which rows have
which value) made of `postings` (which give values numbers) and `groups` (which rows have which
number), and asks `documents` what can't be looked up. `typed` has what columns are made of for
conditions that tell types apart, with inverted lists of `tokens`; `values` counts what is in them,
and brings points into its order. `column_files` has columns for the next process, `allowed` keeps
what recent filters let through, `kept` says what else stays between calls. It may use `words` (for
substrings of documents), `state` and the rooms below.
"""
