"""The interface between fronts and stores: the protocols and data that both use.

Fronts (`direct`, and others beside it) ask; stores (`engine`, `remote`) answer. Neither knows more
of the other than what lies here: points in columns (`points`), vector spaces (`spaces`), what can
be asked (`questions`, also by `formulas`, and why it is answered so: `reasons`), points drawn in a
plane (`projections`), what a store says of itself (`records`), and the protocols of a store, of one
collection and of its points (`stores`). What comes in has been checked by a front, so nothing here
does anything: it is data, and the promises of who answers. It may use `base`, `filters` and
`indexes`.

Executing questions: how the steps of a question are carried out, the same for every store.

Input: a question of `interface.questions`, and the *leaves* of a store: the operations that rank
its points by a single scoring and read points. Output: hits. `leaves` is the protocol that a store
implements, `executor` carries steps out (prefetch, score, threshold, window; fusion), `groups` puts
ranked points into groups, `why` says where records stand in all rankings of a question. This room
may use `interface` and what that may use.

Why a record was found or wasn't, told so that a reader knows what would have to change.

Input: a question, its conditions as the caller wrote them, and the records asked about (`inquiring`
has both fronts' case of it); output: `Reasons`. The store tells where the records stand
(`interface.reasons`). `conditions` finds the smallest conditions that leave a record out, `advice`
says what would have to change, `reasons` is what the caller gets, with a readable print and a table
for notebooks. This room may use `interface` and what that may use.
"""
