"""Maintenance of collections, in the background or on request, and verification.

`run` does the maintenance: it deletes expired points, compacts (`compaction`), and builds derived
files (`derive`: codes, indexes, states, columns, word lists), one process at a time. `background`
is the thread that runs it. `verify` reads every byte, and compares derived files with their
sources. It may use `access` and the rooms below it.
"""
