"""What lies on disk: points.sqlite and catalog.sqlite, files of vectors, files derived from them.

In come points to write (`write`) and pks to read; out come rows of tables, bitmaps, vectors, bytes.
`schema` has the tables of points.sqlite; `records`, `presence`, `non_dense` read and write them;
`vectors` are files of their own; `log` says what has changed. `catalog` knows the collections of a
store. `derived` are files that can be made again. `files` says which names are ours, and is the
only one that removes any; `filesystems` warns of those of a network. Nothing is kept in memory
here. It may use `database`.
"""
