"""What only users of Chroma know, and their code names: `settings`, tenants and databases, and the
names of `types`. Nothing of it is loaded before it is asked for. It may use `direct.arguments`,
`base` and `errors`.
"""
