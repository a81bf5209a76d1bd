"""Maintenance of collections, in the background or when it is asked for, and verification.

In comes the access to a collection; what goes out is seen in its files only. `maintenance` is the
operation, made of `compaction` (what is deleted goes away), `coding` (vectors get codes),
`filling` (an index takes in what it lacks), `expiring` (what has expired is deleted), `saving`
(what can be made again is saved) and `renewing` (what was saved of words and columns is made
again), while it holds the `maintenance_lock`; `background` is the thread that does it unasked.
`verify` looks at every byte;
`point_checks` (lists, columns, states) and `vector_checks` (codes, indexes) compare derived files
with the points and vectors that they are made of.
It may use `access`, and the rooms below it.
"""
