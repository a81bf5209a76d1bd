"""The commands of files: `add`, `imports` (`import`), `export` and `sync`, which the core finds as
plugins. They may use what commands of others may of the core, and the rest of this package.
"""
