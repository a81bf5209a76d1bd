"""A collection in memory, as of one write.

The input is a transaction; the output is a `state` (the points, and the owners of vectors), and the
step from one state to the next. A state contains only data read from the database. Data computed
from a state belongs to `caches`. Caches are updated by reading changes, and stay within a memory
budget. `mapped_files` stores states and arrays on disk. The package is allowed to import `storage`
and `sqlite`.
"""
