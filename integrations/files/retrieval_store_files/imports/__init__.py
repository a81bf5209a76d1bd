"""Stores of other programs, read by those programs' own packages.

`chroma`, `qdrant_local`, `lancedb` and `faiss` each read one kind. `common` gives a copy to what
would open the original for writing, reports what can't be preserved, and gives collections their
names only when they are complete. A directory or a file, and a client, come in; collections and a
report go out. It may use the core, and the reports and formats of this package.
"""
