"""Imports the stores of other programs. Each store is read by the package of its own program.

The modules `chroma`, `qdrant_local`, `lancedb` and `faiss` each import one kind of store. `common`
copies a store if a library would open the original for writing. It also reports the data that can't
be imported, and gives collections their names only when they are complete. An import function takes
a directory or a file, and a client. It creates collections in the client's store, and returns a
report. This subpackage can import the core, and the reports and formats of this package.
"""
