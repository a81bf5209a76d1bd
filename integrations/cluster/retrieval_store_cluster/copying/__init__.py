"""Copies collections to other stores, completely and consistently. A repeated run updates the
copies.

Both stores can be of any kind. `stores` is the entry point: it selects the collections by their
names, and checks whether they can be copied. `collection` copies one collection: as files if both
stores are directories, otherwise in `pages`. `place` decides whether an existing collection of the
target is the copy, and copies later changes of the source. `journal` records progress, so that an
interrupted copy resumes. This package may import the core's public parts, and
`retrieval_store.extension`.
"""
