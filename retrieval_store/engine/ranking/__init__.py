"""Queries in steps: what is found is ranked again, fused, put into groups.

In comes a step of `interface.steps`; out go rows, best first, with scores. `steps` carries them
out, `similar` says how alike vectors are, `examples` what that makes of examples, `formulas` works
out formulas, `texts` ranks by words, `groups` puts rows into groups by their `labels`, in `rounds`
where scores depend on what is looked at. Everything is arrays over candidates. It may use `nearest`
and the rooms below that.
"""
