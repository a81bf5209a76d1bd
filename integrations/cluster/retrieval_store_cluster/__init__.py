"""Collections on a Qdrant cluster, through qdrant-client.

Qdrant does the sharding, replication and consensus. This package preserves the behaviour of a
Collection: ids are strings, points come in the order of first insertion, and filters are exact,
because the client checks again everything that Qdrant returns. `store` has the collections and
their points. `schema` creates Qdrant collections and payload indexes with this package's settings.
`write` sends points, in a thread if there are many. `ranker` answers queries by searches, and
verifies the searches' results. `space` represents a collection on the server: its vectors, its
limits, and lists of its points. `facets` counts values, `ordering` orders points by values, and
`forking` copies a collection. `recall` measures the recall of searches, and `links` measures for
which keys the graph has links. `filters` translates filters into Qdrant's, as far as the payload
indexes and strict mode allow. `payload` encodes a point's payload. `client` calls the server with
retries, and turns failures into this project's errors; `rest` makes REST calls cheaper. The package
`copying` copies collections between stores of any kind. `command` has the command `retrieval-store
copy`. The core finds `opening` as a plugin. This package may import the core's public parts, and
`retrieval_store.extension`.
"""

from retrieval_store import require_core

__version__ = "0.2.0"
require_core("retrieval-store-cluster", __version__)
