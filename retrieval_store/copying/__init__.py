"""Copies of collections in other stores: whole, in one state, and then what is written meanwhile.

In come two stores, wherever they live, and the names of collections; out goes what was copied.
`stores` is the way in; `mirror` has the collections of both, their names, and which come and go;
`aliases` what else they are called; `telling` says what of that is done. `collection` is one of
them on its way: its files are copied as files where both stores lie on disk, else its points
travel in pages (`transfer`, `pages`). `placing` says what it is called there and whose it is;
`journal` remembers that, and how far a copy has come, so that one that was broken off goes on;
`following` brings a copy level with what has changed since, `spaces` its vector spaces;
`comparing` looks at both.
It may use `places` and the rooms below that.
"""
