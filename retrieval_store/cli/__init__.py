"""The command line: `retrieval-store COMMAND STORE [COLLECTION] …`.

A command prints lines, and ends with an exit code: 0 for success, 1 for a failure, 2 for invalid
arguments, 3 for damage. `main` runs the commands. The commands are in `query` and `maintain`, which
also has the commands that list collections and show facts. Commands of other packages are plugins.
`shared` opens stores, makes embedding functions by name, and has the options and the output that
several commands share; `plugin` has the parts of `shared` for other packages. Nothing heavy is
imported before a store is opened. This package may import every other package.
"""
