"""What the adapters to frameworks share, so that each only speaks its framework's language.

`collection` opens the collection that a framework's arguments name, checks ids and numbers, wraps
embedding functions and sparse models, and has the metadata keys that frameworks reserve;
`filter_translation` builds filter expressions and diversifies results. It may use what users may:
Client, Collection, filter expressions and errors; and the checks of arguments and settings of
`api`, `base`, and the filter parser of `qdrant`; nothing of the engine and no framework. In the
package nothing imports it.
"""
