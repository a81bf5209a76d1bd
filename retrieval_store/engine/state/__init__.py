"""A collection in memory, as of one write.

The input is a transaction; the output is a `state` (the points, and the owners of vectors), and the
step from one to the next. A state has only data read from the database. Data computed from a state
belongs to `caches`, which update it by reading changes, within a memory budget. `mapped_files` has
states and arrays on disk. It may use `storage` and `sqlite`.
"""
