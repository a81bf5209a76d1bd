"""The files on disk: points.sqlite and catalog.sqlite, files of vectors, and files derived from
them.

`write` writes points. `schema` defines the tables of points.sqlite, and `records` reads them by the
points' pks. `vector_files` implements the files of vectors. `log` records the changes, and the
existing points. `catalog` stores the collections of a store. `derived` writes files that can be
rebuilt. `files` defines which file names belong to a store, and warns of network file systems; no
other module removes files. The package keeps nothing in memory. It is allowed to import `sqlite`.
"""
