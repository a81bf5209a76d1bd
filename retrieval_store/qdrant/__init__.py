"""The front in the shape of qdrant-client: its classes, on our engine or on a Qdrant server.

In comes what qdrant-client's models say; out go points, filters and queries of `interface`, and
what these answer as models again. It translates, and holds no search. `client` and `async_client`
are the classes that users make, `opening` says whether they mean a store here; `embedded` has the
methods, `snapshots` those of files, and `inference` makes vectors of texts; `collections`, `points`
and `queries` are rooms for what these need; `serialised` checks JSON; `filters` is the dialect of
filters, `tokens` splits texts; `refusals` says what is refused, and `instances` makes models of
values that are valid. It may use `places`, `plugins`, `embeddings`, `interface`, `filters`,
`indexes`, `base` and `errors`, and wants qdrant-client."""

from retrieval_store.base.system import telemetry_off

try:
    with telemetry_off():  # it imports fastembed, where that is installed, and so onnxruntime
        from qdrant_client import models
except ImportError as error:
    from retrieval_store.errors import MissingDependencyError

    raise MissingDependencyError(
        'retrieval_store.qdrant needs qdrant-client: pip install "retrieval-store[qdrant]"'
    ) from error

from retrieval_store.qdrant.async_client import AsyncQdrantClient
from retrieval_store.qdrant.client import QdrantClient, explain, why
from retrieval_store.qdrant.refusals import Refused

__all__ = ["AsyncQdrantClient", "QdrantClient", "Refused", "explain", "models", "why"]
