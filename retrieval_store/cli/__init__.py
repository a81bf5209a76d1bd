"""The command line: `retrieval-store COMMAND STORE [COLLECTION] …`.

A command's arguments come in; lines and an exit code go out: 0 for success, 1 for a failure, 2 for
arguments that make no sense, 3 for damage. `main` is the entry; the commands are in `query` and
`maintain` (which also lists and shows), and those of other packages are plugins; `shared` opens
stores, makes embedding functions by name, and has the options and the output that several commands
share, of which `plugin` has what commands of other packages use. Nothing heavy is imported before a
store is opened. It may use every other room.
"""
