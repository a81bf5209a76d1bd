"""Stores of other programs, read by those programs' own packages.

`chroma`, `qdrant_local`, `lancedb` and `faiss` each read one kind. `common` makes a copy where a
library would open the original for writing. It reports what can't be preserved, and gives
collections their names only when they are complete. The input is a directory or a file, and a
client; the output is collections and a report. This room may use the core, and the reports and
formats of this package.
"""
