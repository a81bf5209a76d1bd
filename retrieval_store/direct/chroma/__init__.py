"""What only users of Chroma know, and their code names: `settings`, tenants and databases, and the
names of `types`. It may use `base`, `errors` and nothing else.
"""
