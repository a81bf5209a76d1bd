"""The dialect of filters of Qdrant's client, and keys of payloads and their indexes.

In come models of qdrant-client's and the indexes of a collection; out go expressions, and columns
that facets, orders, formulas and groups are of. A condition on a key means what it means on a
server, where it depends on the index that the key has: an index answers what it can from the values
that it holds, and everything else is asked of payloads. So each condition is translated into one on
the values that would be asked there, and evaluators know nothing of indexes. `paths` reads keys,
`indexes` says which values an index knows, `conditions` makes leaves of conditions on a key, and
`parsing` expressions of filters. It may use `tokens`, `refusals`, `interface`, the room of filters
at the top, `base` and `errors`.
"""
