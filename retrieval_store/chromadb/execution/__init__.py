"""`chromadb.execution`: the parts of searches, in `expression`. It may import every package except
`cli`.
"""
