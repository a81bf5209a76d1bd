"""A collection in memory, as of one write.

The input is a transaction; the output is a `state` (the points, and the owners of vectors), and the
step from one to the next. A state is data alone: data that is computed from it belongs to `caches`,
which keep it current by reading changes, within a budget of memory. `mapped_files` has states and
arrays on disk. It may use `storage` and `sqlite`.
"""
