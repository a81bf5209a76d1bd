"""Snapshots: collections in one state, in one file, and back.

In comes a store, or a collection of one; out goes a file that isn't changed any more. `package` is
that file, checked before anything in it is used; `copies` makes a collection's directory again, as
of one moment and of living points only; `taking` and `restoring` put the two together. It may use
`upkeep` and the rooms below that.
"""
