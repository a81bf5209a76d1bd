"""A collection in memory, as of one write.

From a transaction, `state` reads the points and the owners of vectors, and computes the step from
one state to the next. A state contains only data read from the database. Data computed from a state
belongs to `caches`. Caches are updated by reading changes, and stay within a memory budget.
`mapped_files` stores states and arrays on disk. The package is allowed to import `storage` and
`sqlite`.
"""
