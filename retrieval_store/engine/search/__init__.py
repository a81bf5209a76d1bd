"""Ranking points: by vectors, words, examples and formulas.

`ranker` ranks by nearness in dense spaces, by the method that `planner` estimates to be cheapest:
floats, quantized codes, their signs first, or an index; `context` is what these share, and the
searches that are kept ready, and `large` has what only large collections need. `codes` are the
quantized codes of a vector space, in segments and on disk; `recall` measures what searches by signs
find; `graph` is its index; `multivectors` ranks points with several vectors each. `scorers` ranks
in all other ways, including formulas, and is loaded when one is needed; `similarity` scores by
examples, finds pairs, and projects points onto a plane. Everything is arrays over candidates. It
may use `filtering` and the rooms below it.
"""
