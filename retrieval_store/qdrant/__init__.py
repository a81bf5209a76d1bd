"""The API of qdrant-client: its classes, on our engine or on a Qdrant server.

Requests, given as instances of qdrant-client's model classes, are translated into points, filters
and queries of the package `query`, and the results back into models. This package has no search of
its own. `client` has the classes for users. `embedded` has the methods on the engine, also for
servers (`QdrantService`). `inference` makes vectors of texts. `config` checks the configuration of
a new collection, `collections` looks a collection up, `manage` creates and changes collections and
their snapshots, and `strict_mode` enforces limits. `filter_parser` parses filters,
`payload_indexes` decides which values an index has, and `tokenizers` splits texts. `vectors`
translates vectors and ids; `operations` writes points, and `read` reads points. `query_parser`
builds queries, `answers` turns the results into models, and `refusals` has the errors. This package
may import `backends`, `plugins`, `embeddings`, `query`, `filters`, `indexes`, `base` and `errors`,
and needs qdrant-client.
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
