"""Copies of collections in other stores: whole, in one state, and then what is written meanwhile.

In come two stores, wherever they live, and the names of collections; out goes what was copied.
`stores` is the way in; `collection` is one of them on its way: its files are copied as files where
both stores lie on disk, else its points travel (`points`). `journal` remembers how far a copy has
come, so that one that was broken off goes on;
`following` brings a copy level with what has changed since; `comparing` looks at a sample of both.
It may use `places` and the rooms below that.
"""
