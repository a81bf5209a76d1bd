"""Inverted lists: ranking by words and by sparse vectors, and candidates for substrings.

The input is a view and texts, words or sparse vectors; the output is rows with scores, best first.
`inverted` implements the lists in memory and in files; they record which rows have a term.
`ranking` builds and updates them, and ranks by them. The package is allowed to import `state` and
the subpackages that `engine` lists below it.
"""
