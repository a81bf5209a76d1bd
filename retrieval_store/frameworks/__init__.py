"""What adapters to frameworks share, so that each of them only speaks its framework's language.

In come a framework's arguments: where a collection lies (`opening`), what a field is compared with
(`filters`), an embedding function (`embedding`), a model of sparse vectors (`sparse`), what was
found (`diversity`, `relevance`), and ids and numbers (`arguments`). Out go an open collection,
filter expressions, plain lists of floats, an order, relevance, and errors in the framework's words.
`mapping` has the keys of the metadata that mean something to one of the frameworks.

It may use what users may, Client, Collection, the filter expressions and the errors, besides what
`direct` checks arguments and settings with, `ranking`, how messages show a value, and what parses
the filters of Qdrant's client; nothing of the engine and no framework. Nothing in the package
imports it.
"""
