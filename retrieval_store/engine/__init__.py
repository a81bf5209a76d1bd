"""The embedded engine: points, and nothing else, in files that survive.

A call enters by `registry` (one open store for each directory), goes through `store` (collections
by name, of which some are `opened`) to `points` (one collection). Its `access` reads and writes in
transactions, over what `memory` has made of the database as of one write; `changes` are operations
on points, `paging` goes through them in the order of their ids, `report` tells how a question was
answered, `warming` loads what the first question would; `concurrency` has locks, and what a fork
must not break. Its rooms, each of which may use those below it and none of those above:

    snapshots    collections in one state, in one file, and back
    ranking      what a question asks: points ranked by vectors, words, examples, formulas
    upkeep       maintenance, in the background or when asked for, and verification
    nearest      the nearest of the points that are allowed
    filtering    which points an expression allows
    words        inverted lists: ranking by words and by sparse vectors
    state        a collection in memory as of one write
    storage      what lies on disk, and how it is written
    database     SQLite: connections, transactions, errors

Below all of them lie `answering`, `interface`, `indexes`, `filters` and `base`. It knows no front
and no plugin.
"""
