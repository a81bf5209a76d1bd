"""Why a record was found or wasn't, told so that a reader knows what would have to change.

Input: a question, its conditions as the caller wrote them, and the records asked about (`inquiring`
has both fronts' case of it); output: `Reasons`. The store tells where the records stand
(`interface.reasons`). `conditions` finds the smallest conditions that leave a record out, `advice`
says what would have to change, `reasons` is what the caller gets, with a readable print and a table
for notebooks. This room may use `interface` and what that may use.
"""
