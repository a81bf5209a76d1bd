"""Collections on a Qdrant cluster, through qdrant-client.

Sharding, replication and consensus are Qdrant's. The behaviour of a Collection is preserved: ids
are strings, points come in the order of first insertion, and filters are exact, because everything
that Qdrant returns is checked here again. `store` has the collections and their points. `schema`
creates Qdrant collections and payload indexes with this package's settings. `write` sends points,
in a thread if there are many. `ranker` answers queries by searches whose results it verifies.
`space` is the collection on the server: its vectors, its limits, its listing. `facets` counts
values, `ordering` orders points by them, and `forking` copies a collection. `recall` measures the
recall of searches, and `links` measures for which keys the graph has links. `filters` translates
filters into Qdrant's, as far as the payload indexes and strict mode allow. `payload` encodes a
point's payload. `client` calls the server with retries, and turns failures into this project's
errors; `rest` makes REST calls cheaper. The package `copying` copies collections between stores of
any kind. `command` is `retrieval-store copy`, and `opening` is found as a plugin by the core. This
package may use the core's public parts, and `retrieval_store.extension`.
"""

from retrieval_store import require_core

__version__ = "0.2.0"
require_core("retrieval-store-cluster", __version__)
