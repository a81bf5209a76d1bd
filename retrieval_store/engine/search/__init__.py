"""The nearest points: exactly, or through an index, whichever is cheaper.

In come a view and a query by vectors; out come rows and distances, nearest first. `search` takes
one of three methods, as `planner` says by estimated costs: `by_floats`, `by_codes` or `over_fetch`,
of which the last two are loaded by their first query; they share a `context`. `indexing` is
the index of one vector space in this process, searched by many or changed by one; `multivectors`
ranks points with several vectors each. It may use `filtering` and the rooms below.

The codes of vector spaces, by which most vectors are proved not to be near.

In come vectors that have been checked, and files; out come codes in segments, as they are searched.
`segments` has those of one vector space in this process, `files` how they look on disk. It may use
`state` and the rooms below.

What the engine has to say of a question: points ranked by one scoring after the other.

In comes a step of `interface.questions`; out go rows, best first, with scores. `leaves` is what is
asked while a question is answered, and ranks by nearness in dense spaces; `scorings` ranks in all
other ways, and is loaded when one is asked for. `similar` says how alike vectors are, `examples`
what that makes of examples, `formulas` works out formulas, `payload_texts` ranks by words of
payloads, `labels` says which groups points are in, `pairs` finds those that are near to each other,
and `projection` draws points in a plane. Everything is arrays over candidates. It may use `nearest`
and the rooms below that, and `answering`.
"""
