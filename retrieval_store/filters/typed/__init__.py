"""Typed conditions: what a payload says at a path that leads through lists, told apart by type.

In comes what a payload has; out goes whether a condition holds. `paths` has the steps that lead
there, `columns` names what is asked there: all that stands at a path as an index of some kind holds
it (`kinds`). The conditions are in `matches`, `geo`, `texts` (over what
`filters.tokens` makes of texts) and `nested`; `leaf` says what they have in common, `points` has
conditions on points themselves. They differ from `filters.values`, in which a list is no scalar and
1 is 1.0. It may use `filters.nodes`, `filters.values`, `filters.tokens`, `base` and `errors`.
"""
