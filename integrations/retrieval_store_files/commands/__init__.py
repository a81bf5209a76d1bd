"""The commands of files: `add`, `imports` (`import`), `export` and `sync`, which the core finds as
plugins. They may use the command line of the core, and the rest of this package.
"""
