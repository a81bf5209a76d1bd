"""Ranking points: by vectors, words, examples and formulas.

`ranker` ranks by nearness in dense spaces, by the method with the least estimated cost (`planner`):
a scan of floats, a scan of quantized codes (with or without an earlier scan of signs), or an index.
`context` defines the data that these methods share, and the prepared searches; `code_search`
contains the searches that only large collections need. `codes` manages the quantized codes of a
vector space, in segments and on disk; `recall` measures the recall of searches by signs;
`index_lifecycle` manages the space's index. `multivectors` ranks points with several vectors each.
`scorers` ranks in all other ways, including formulas, and is imported when one of them is needed.
`similarity` scores by examples, finds pairs of near points, and projects points to a plane. All of
them compute with arrays over candidates. The package is allowed to import `filtering` and the
subpackages that `engine` lists below it.
"""
