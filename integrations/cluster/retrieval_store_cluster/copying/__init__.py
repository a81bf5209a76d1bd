"""Copies of collections in other stores: complete and consistent, and updated when run again.

The input is two stores of any kind, and the names of collections. `stores` is the entry point: it
selects the collections, and checks whether they can be copied. `collection` copies one collection:
as files if both stores are directories, otherwise in `pages`. `place` decides whether an existing
collection is the copy, and copies later changes. `journal` records progress, so that an interrupted
copy resumes. This package may use the core's public parts, and `retrieval_store.extension`.
"""
