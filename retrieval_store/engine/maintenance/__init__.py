"""Maintenance of collections, in the background or on request, and verification.

`run` does the maintenance: it deletes expired points, compacts (`compaction`), and builds derived
files (`derive`: codes, indexes, states, columns, word lists). One process at a time does
maintenance. `background` is the thread that calls it. `verify` reads every byte, and compares
derived files with their source data. The package is allowed to import `access` and the subpackages
that `engine` lists below it.
"""
