"""The embedded engine: stores points in durable files, and searches them.

A call enters by `store` (one open store for each directory, with its collections) and goes to
`points` (one collection). `access` reads and writes the collection in transactions, and keeps its
data in memory as of one write. `transaction` has the operations on points; `stats` reports on
collections and queries; `snapshots` writes and restores collections in one file. `sqlite` opens
databases, and converts their failures to our errors; `locks` has locks, and handles interrupts and
forks. Its subpackages ("rooms"), each of which may use only those listed below it:

    maintenance  in the background or on request, and verification
    search       points ranked by vectors, words, examples, formulas
    filtering    the points that a filter matches
    text         inverted lists: ranking by words and by sparse vectors
    state        a collection in memory as of one write
    storage      the files, and how they are written

All of them may use `query`, `indexes`, `filters` and `base`. The engine doesn't know the public
API, the adapters or the plugins.
"""
