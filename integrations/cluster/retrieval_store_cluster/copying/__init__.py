"""Copies of collections in other stores: complete and consistent, and brought level when run again.

Two stores, wherever they live, and the names of collections come in. `stores` is the entry: which
collections, and whether it can. `collection` copies one of them: as files if both stores are
directories, otherwise in `pages`. `place` decides whether a copy is ours, and copies later changes;
`journal` records progress, so that an interrupted copy resumes. It may use what users may, and
`retrieval_store.extension`.
"""
