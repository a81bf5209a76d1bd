"""The front in the shape of qdrant-client: its classes, on our engine or on a Qdrant server.

Models of qdrant-client come in; points, filters and queries of the room `query` go out, and the
answers come back as models. It translates, and holds no search. `client` has the classes that users
make; `embedded` the methods on our engine, also for who serves it (`QdrantService`); `inference`
makes vectors of texts. `config` checks what a collection is created with, `collections` is a
collection as a call finds it, `manage` creates and changes collections, and has their snapshots,
`strict_mode` refuses what the owner doesn't allow. `filter_parser` parses filters,
`payload_indexes` says which values an index knows, `tokenizers` splits texts; `vectors` translates
vectors and ids, `operations` and `read` translate writes and reads; `query_parser` builds queries,
and `answers` makes models of the results; `refusals` says what is refused, and how. It may use
`backends`, `plugins`, `embeddings`, `query`, `filters`, `indexes`, `base` and `errors`, and needs
qdrant-client.
"""

from retrieval_store.base.system import telemetry_off

try:
    with telemetry_off():  # it imports fastembed, where that is installed, and so onnxruntime
        from qdrant_client import models
except ImportError as error:
    from retrieval_store.errors import MissingDependencyError

    raise MissingDependencyError(
        'retrieval_store.qdrant needs qdrant-client: pip install "retrieval-store[qdrant]"'
    ) from error

from retrieval_store.qdrant.client import AsyncQdrantClient, QdrantClient, explain, why
from retrieval_store.qdrant.embedded import QdrantService
from retrieval_store.qdrant.refusals import Refused

__all__ = [
    "AsyncQdrantClient",
    "QdrantClient",
    "QdrantService",
    "Refused",
    "explain",
    "models",
    "why",
]
