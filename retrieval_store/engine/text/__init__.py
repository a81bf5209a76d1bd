"""Inverted lists: ranking by words and by sparse vectors, and candidates for substrings.

A view and texts, words or sparse vectors come in; rows with scores come out, best first. `inverted`
has the lists: which rows have a term, in memory and in files; `ranking` builds them, keeps them
current, and ranks by them. It may use `state` and the rooms below.
"""
