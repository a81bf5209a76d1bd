"""Imports the stores of other programs, which are read by those programs' own packages.

The modules `chroma`, `qdrant_local`, `lancedb` and `faiss` each import one kind of store. `common`
copies a store if a library would open the original for writing. It also reports the data that can't
be imported, and gives collections their names only when they are complete. An import takes a
directory or a file, and a client; it creates collections, and returns a report. This subpackage can
import the core, and the reports and formats of this package.
"""
