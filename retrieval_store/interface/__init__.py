"""The interface between fronts and stores: the protocols and data that both use.

Fronts (`direct`, and others beside it) ask; stores (`engine`, `remote`) answer. Neither knows more
of the other than what lies here: points in columns (`points`), vector spaces (`spaces`), what can
be asked (`questions`, also by `formulas`, and why it is answered so: `reasons`), points drawn in a
plane (`projections`), what a store says of itself (`records`), and the protocols of a store, of one
collection and of its points (`stores`). What comes in has been checked by a front, so nothing here
does anything: it is data, and the promises of who answers. It may use `base`, `filters` and
`indexes`.
"""
