"""What adapters to frameworks share, so that each of them only speaks its framework's language.

In come a framework's arguments: where a collection lies (`opening`), what a field is compared with
(`filters`), an embedding function (`embedding`), what was found (`diversity`, `relevance`), and ids
(`arguments`). Out go an open collection, filter expressions, plain lists of floats, an order,
relevance, and errors in the framework's words.

It may use what users may, Client, Collection, the filter expressions and the errors, besides
`ranking` and how messages show a value; nothing of the engine and no framework. Nothing in the
package imports it.
"""
