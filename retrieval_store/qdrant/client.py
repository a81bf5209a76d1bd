"""QdrantClient: qdrant-client's own, whose calls go to our engine unless there is a server; and how
its queries are answered."""

from typing import Any

import qdrant_client

from retrieval_store.base.validation import Payload
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.qdrant.embedded import Embedded
from retrieval_store.qdrant.inference import (
    InferenceEmbedder,
    NumbersInspector,
    ResolvesInPlace,
    is_ours,
    size_of,
)
from retrieval_store.qdrant.opening import Options, opened_store
from retrieval_store.qdrant.queries.answers import Asked, looking
from retrieval_store.query.reasons import Reasons


class QdrantClient(ResolvesInPlace, qdrant_client.QdrantClient):
    """qdrant_client.QdrantClient, with its arguments and methods. With ":memory:" or `path` it is a
    store in this process, on our engine; with `url`, `host` or another `location` it is the client
    of a Qdrant server, unchanged.

    Any number of clients, threads and processes may use one path. Close it, or use it in a `with`
    statement; what was acknowledged is on disk either way. Errors: `Refused` for what a server
    would refuse (it is qdrant_client's UnexpectedResponse, with status_code, and a ValueError);
    RuntimeError once it is closed; `retrieval_store.errors.StorageError` where files fail.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        options = Options.bound(qdrant_client.QdrantClient, args, kwargs)
        if not options.is_embedded:
            super().__init__(*args, **kwargs)
            return
        options.check()
        session, lock = opened_store(options.place)
        try:
            super().__init__(":memory:", **options.others)
            self._client.close()
        except BaseException:
            Embedded(session, lock).close()
            raise
        self._init_options.update(options.named)
        self._client = Embedded(session, lock)
        self._inference_inspector = NumbersInspector(self._inference_inspector.parser)
        self._model_embedder = InferenceEmbedder(self._inference_inspector.parser)

    def get_embedding_size(self, model_name: str) -> int:
        """How many numbers the vectors of a model have; ValueError for one that isn't known."""
        if is_ours(model_name):
            return size_of(model_name)
        return int(super().get_embedding_size(model_name))

    def __enter__(self) -> "QdrantClient":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def explain(client: QdrantClient, collection_name: str, **arguments: Any) -> Payload:
    """Run a query of a client with `path=` or ":memory:", and say how it was answered, instead of
    the answer: what `Collection.explain` says, of any query.

    arguments: those of `query_points`, or with `group_by` of `query_points_groups`. legs: how many
    hits each prefetch gave, by the names of their vectors. Raises InvalidArgumentError for the
    client of a server, which doesn't tell, and what the query itself raises.
    """
    _refuse_server(client)
    ask = client.query_points_groups if "group_by" in arguments else client.query_points
    told: list[Payload] = []

    def look(asked: Asked) -> None:
        told.append(asked.opened.points.explain(asked.question))

    with looking(look):
        ask(collection_name, **arguments)
    return told[0]


def why(
    client: QdrantClient,
    collection_name: str,
    *,
    records: Any = None,
    containing: str | None = None,
    same: str | None = None,
    **arguments: Any,
) -> Reasons:
    """Why points are found by a query of a client with `path=` or ":memory:", or aren't: what
    `Collection.why` says, of any query.

    arguments: those of `query_points`. records: ids of the points that are meant, or one;
    containing: instead, a text that the documents of those have that `Collection` has written;
    same: a key of the payload: it is told which hits have the same value there. Raises
    InvalidArgumentError for the client of a server, which doesn't tell (a `Client` of its URL does,
    where it is ours), where not either records or containing is given, and what the query itself
    raises.
    """
    _refuse_server(client)
    from retrieval_store.qdrant.queries.why import case_of
    from retrieval_store.query.reasons import reasons_of

    found: list[Reasons] = []

    def look(asked: Asked) -> None:
        case = case_of(asked, records, containing, same)
        found.append(reasons_of(asked.opened.points, case))

    with looking(look):
        client.query_points(collection_name, **arguments)
    return found[0]


def _refuse_server(client: Any) -> None:
    """Raise InvalidArgumentError for a client that isn't of a store in this process."""
    if not isinstance(client, QdrantClient) or not isinstance(client._client, Embedded):
        raise InvalidArgumentError(
            "client is that of a server, which doesn't tell how it answers; expected a "
            'retrieval_store.qdrant.QdrantClient made with path= or ":memory:"'
        )
