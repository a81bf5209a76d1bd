"""`chromadb.execution`: how searches are written, in `expression`. It may use all rooms below
`cli`."""
