"""The command line: `retrieval-store COMMAND STORE [COLLECTION] …`.

In come a command's arguments, out go lines and an exit code: 0, 1 where it failed, 2 where it can't
be meant so, 3 where something is damaged. `main` is the way in; the commands stand in `inspect`
(which open read-only, and never make a store), `asking`, `maintain`, `writing`, `add`, `sync`,
`moving` and `importing`, `serve` and `view`; `places` opens stores, `models` makes embedding
functions by their names, `options` are what several commands take, `output` shows what was found.
Nothing heavy is imported before a store is opened. It may use every other room.
"""
