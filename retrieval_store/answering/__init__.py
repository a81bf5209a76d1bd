"""Answering questions: how the steps of one are carried out, the same for every store.

In comes a question of `interface.questions`, and the *leaves* of a store, which rank its points by
one scoring and read them; out go hits. `leaves` says what is asked of a store and what it returns,
`executor` carries steps out (prefetch, score, threshold, window; fusion), `groups` puts what is
ranked into groups. It may use `interface` and what that may use.
"""
