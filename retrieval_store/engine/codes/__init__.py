"""The int8 codes of vector spaces, and how fast this machine is at them.

In come vectors that have been checked, and files; out come codes in segments, as they are searched.
`segments` has those of one vector space in this process, `coded` what of them is there at one
moment, `files` how they look on disk, `speeds` what a product costs here, by which it is decided
whether codes are worth having. It may use `state` and the rooms below.
"""
