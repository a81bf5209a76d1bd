"""How a query of QdrantClient is answered."""

from typing import Any

from retrieval_store.base.json_values import Payload
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.qdrant.client import QdrantClient
from retrieval_store.qdrant.embedded import Embedded
from retrieval_store.qdrant.queries.answers import explaining


def explain(client: QdrantClient, collection_name: str, **arguments: Any) -> Payload:
    """Run a query of a client with `path=` or ":memory:", and say how it was answered, instead of
    the answer: what `Collection.explain` says, of any query.

    arguments: those of `query_points`, or with `group_by` of `query_points_groups`. legs: how many
    hits each prefetch gave, by the names of their vectors. Raises InvalidArgumentError for the
    client of a server, which doesn't tell, and what the query itself raises.
    """
    if not isinstance(client, QdrantClient) or not isinstance(client._client, Embedded):
        raise InvalidArgumentError(
            "client is that of a server, which doesn't tell how it answers; expected a "
            'retrieval_store.qdrant.QdrantClient made with path= or ":memory:"'
        )
    ask = client.query_points_groups if "group_by" in arguments else client.query_points
    with explaining() as told:
        ask(collection_name, **arguments)
    return told[0]
