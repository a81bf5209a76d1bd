"""Copies of collections in other stores: complete, consistent, and kept up to date afterwards.

Two stores, wherever they live, and the names of collections come in. `mirror` is the entry: it
compares the collections and aliases of both stores. `collection` copies one of them: as files if
both stores are directories, otherwise in `pages`. `place` decides what the copy is called and who
owns it, and applies later changes; `journal` records progress, so that an interrupted copy resumes.
It may use `backends` and the rooms below that.
"""
