"""The files on disk: points.sqlite and catalog.sqlite, files of vectors, and files derived from
them.

The input is points to write (`write`) and pks to read; the output is rows, bitmaps, vectors and
bytes. `schema` defines the tables of points.sqlite, and `records` reads them. `vector_files`
implements the files of vectors. `log` records the changes, and the existing points. `catalog`
stores the collections of a store. `derived` writes files that can be rebuilt. `files` knows which
file names belong to a store, is the only module that removes files, and warns of network file
systems. The package keeps nothing in memory. It is allowed to import `sqlite`.
"""
