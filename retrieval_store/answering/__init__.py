"""Executing questions: how the steps of a question are carried out, the same for every store.

Input: a question of `interface.questions`, and the *leaves* of a store: the operations that rank
its points by a single scoring and read points. Output: hits. `leaves` is the protocol that a store
implements, `executor` carries steps out (prefetch, score, threshold, window; fusion), `groups` puts
ranked points into groups, `why` says where records stand in all rankings of a question. This room
may use `interface` and what that may use.
"""
