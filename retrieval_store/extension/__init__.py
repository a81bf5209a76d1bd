"""What a package needs that is a store in another process, or that serves one, beside what users
may import: `stores` and `queries`, and `base`, from which a small store inherits, as
`examples/store_plugin` does. "Write a store" in the docs says what each of their names promises.

Packages around the core import these names, and none of the modules that they are from. It
may use all of the core but `chromadb`, `cli` and `conformance`; no room of the core imports it.
"""
