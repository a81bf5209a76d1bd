"""Collections on a Qdrant cluster, through qdrant-client.

Sharding, replication and consensus are Qdrant's. The meaning of a Collection is preserved: ids are
strings, points come in the order of first insertion, and filters are exact, because everything that
Qdrant returns is checked here again. `store` has the collections and their points; `schema` creates
Qdrant collections and payload indexes with our settings; `write` sends points, in a thread if there
are many; `ranker` answers queries by searches whose results it verifies; `space` is the collection
as it is on the server: its vectors, its limits, its listing. `facets` counts values, `ordering`
orders points by them, `forking` copies a collection, `recall` measures what searches find,
and `links` how those by a filter go through the graph.
`filters` translates filters into Qdrant's, as far as the payload indexes and strict mode allow;
`payload` says what a point's payload there looks like; `client` makes the calls, repeats them where
that helps, and turns failures into our errors; `rest` makes calls over REST cheap. The room
`copying` copies collections between stores of any kind. `command` is `retrieval-store copy`,
`opening` is what the core finds as a plugin. It may use what users may, and
`retrieval_store.extension`.
"""

from retrieval_store import require_core

__version__ = "0.2.0"
require_core("retrieval-store-cluster", __version__)
