"""A collection in memory, as of one write.

A transaction comes in; a `state` comes out (which points there are, who owns which vector), and the
step from one to the next. A state is data alone: what is computed from it belongs to `caches`,
which keep it current by reading what changed, within a budget of memory. `mapped_files` has states
and arrays on disk. It may use `storage` and `sqlite`.
"""
