"""The embedded engine: points, and nothing else, in durable files.

A call enters by `store` (one open store for each directory, with its collections) and goes to
`points` (one collection). `access` reads and writes it in transactions, over the state in memory of
one write. `transaction` has the operations on points; `stats` reports on collections and queries;
`snapshots` writes and restores collections in one file. `sqlite` opens databases, and converts
their failures to our errors; `locks` has locks, and handles interrupts and forks. Its rooms, each
of which may use only the ones below it:

    maintenance  in the background or on request, and verification
    search       points ranked by vectors, words, examples, formulas
    filtering    the points that a filter matches
    text         inverted lists: ranking by words and by sparse vectors
    state        a collection in memory as of one write
    storage      the files, and how they are written

Below all of them lie `query`, `indexes`, `filters` and `base`. It knows no front and no plugin.
"""
