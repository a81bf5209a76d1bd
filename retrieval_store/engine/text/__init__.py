"""Inverted lists: ranking by words and by sparse vectors, and candidates for substrings.

`inverted` implements the lists, in memory and in files; they record which rows have a term.
`ranking` builds and updates the lists. With them it ranks rows by texts, words or sparse vectors,
best first. The package is allowed to import `state` and the subpackages that `engine` lists below
it.
"""
