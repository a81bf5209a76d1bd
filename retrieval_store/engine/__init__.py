"""The embedded engine: stores points in durable files, and searches them.

`store` receives each call: it keeps one open store for each directory, with its collections. It
passes the call on to `points` (one collection). `access` reads and writes the collection in
transactions, and keeps its data in memory as of one write. `transaction` implements the operations
on points; `stats` reports on collections and queries; `snapshots` writes collections to one file
and restores them. `sqlite` opens databases, and converts SQLite's errors to our errors; `locks`
implements locks, and handles interrupts and forks. Each of its subpackages ("rooms") is allowed to
import only those listed below it:

    maintenance  maintenance in the background or on request, and verification
    search       ranking points by vectors, words, examples, formulas
    filtering    finding the points that a filter matches
    text         inverted lists: ranking by words and by sparse vectors
    state        a collection in memory as of one write
    storage      the files, and how they are written

All of them are allowed to import `query`, `indexes`, `filters` and `base`. The engine doesn't
import the public API, the adapters or the plugins.
"""
