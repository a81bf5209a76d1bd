"""The files on disk: points.sqlite and catalog.sqlite, files of vectors, files derived from them.

Points to write (`write`) and pks to read come in; rows, bitmaps, vectors and bytes come out.
`schema` has the tables of points.sqlite, `records` reads them; `vector_files` are files of their
own; `log` has the changes, and the existing points. `catalog` knows the collections of a
store. `derived` files can be made again. `files` knows which file names belong to a store, is the
only module that removes files, and warns of network file systems. Nothing is kept in memory here.
It may use `sqlite`.
"""
