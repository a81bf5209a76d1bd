"""The commands for files: `add`, `imports` (`import`), `export` and `sync`, which the core finds as
plugins. They may use the core's public parts for commands, and the rest of this package.
"""
