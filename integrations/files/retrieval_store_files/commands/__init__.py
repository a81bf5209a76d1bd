"""The commands `add`, `import`, `export` and `sync`, which the core finds as plugins. The commands
can import the core's public parts for commands, and the rest of this package.
"""
