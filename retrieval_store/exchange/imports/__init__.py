"""Stores of other programs, read by these programs' own packages, and made collections of.

`chroma`, `qdrant_local`, `lancedb` and `faiss` each read one kind. What opens its files for writing
is given a copy (`copies`); what is read goes through `filling`, which tells what can't be kept, and
into collections that have their names when all is there, or never (`making`). In come a directory
or a file, and a client; out come collections and a report. It may use what the room above it may,
and besides its reports and formats.
"""
