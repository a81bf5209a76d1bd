"""The codes of vector spaces, by which most vectors are proved not to be near.

In come vectors that have been checked, and files; out come codes in segments, as they are searched.
`segments` has those of one vector space in this process, `files` how they look on disk. It may use
`state` and the rooms below.
"""
