"""Inverted lists: ranking by words and by sparse vectors, and candidates for substrings.

In come a view and texts, words or sparse vectors; out come rows with scores, best first. `cache`
says what is kept of all that; `lists` are arrays that say which rows have a term; `kept` builds
them, keeps them current and loads them; `list_files` has them in files, and `vocabulary` the
words there; `ranked` ranks by them and by what `measures` says of all that is listed.
It may use `state` and the rooms below.
"""
