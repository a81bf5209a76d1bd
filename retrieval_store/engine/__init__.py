"""The embedded engine: stores points in durable files, and searches them.

`store` keeps one open store for each directory, and its open collections. It receives each call,
and passes calls on one collection to `points`. `access` reads and writes the collection in
transactions, and keeps its data in memory as of one write. `transaction` implements the operations
on points; `stats` reports on collections and queries; `snapshots` writes collections to one file
and restores them. `sqlite` opens databases, and converts SQLite's errors to our errors; `locks`
implements locks, and handles interrupts and forks. Each subpackage is allowed to import only the
subpackages listed below it:

    maintenance  maintenance in the background or on request, and verification
    search       ranking points by vectors, words, examples, formulas
    filtering    finding the points that a filter matches
    text         inverted lists: ranking by words and by sparse vectors
    state        a collection in memory as of one write
    storage      the files, and how they are written

All subpackages are allowed to import `query`, `indexes`, `filters` and `base`. The engine doesn't
import the public API, the adapters or the plugins.
"""
