"""Copies of collections in other stores: complete and consistent, and brought level when run again.

Two stores, wherever they live, and the names of collections come in. `stores` is the entry: which
collections, and whether it can; it packs the copy of a cluster into one file, too. `collection`
copies one of them: as files if both stores are directories, otherwise in `pages`. `place` decides
whether a copy is ours, and copies later changes; `journal` records progress, so that an interrupted
copy resumes. It may use the core.
"""
