"""SQLite through apsw: databases that aren't trusted, and transactions that interrupts can't break.

In comes a path, a `Format` (what tables there must be) and work to do; the work is given a
connection, in a transaction, and out comes what it returns, or an error of ours. `guards` tells
ours from others, and keeps off what a stranger may have put into one; `opening` makes and opens
them, `pools` lends connections to threads, `transactions` runs queries, `failures` names what went
wrong. What the tables mean is for `storage` to say. It may use
`concurrency`, and of `interface` the records.
"""
