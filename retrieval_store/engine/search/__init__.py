"""Ranking points: by vectors, words, examples and formulas.

`ranker` ranks by nearness in dense spaces, by the method with the least estimated cost (`planner`):
floats, quantized codes, their signs first, or an index. `context` has the common data of these
methods, and the prepared searches; `large` has code that only large collections need. `codes` are
the quantized codes of a vector space, in segments and on disk; `recall` measures the recall of
searches by signs; `graph` is its index. `multivectors` ranks points with several vectors each.
`scorers` ranks in all other ways, including formulas, and is loaded when one is needed;
`similarity` scores by examples, finds pairs, and projects points onto a plane. Everything is arrays
over candidates. It may use `filtering` and the rooms below it.
"""
