"""LlamaIndex's nodes as records of a collection."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llama_index.core.schema import BaseNode
from llama_index.vector_stores.retrieval_store.nodes import text_of, to_payload
from llama_index.vector_stores.retrieval_store.sparse import SparseModel

from retrieval_store.base.validation import shown
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError
from retrieval_store.frameworks.collection import batch_size_of


@dataclass(frozen=True, slots=True)
class Batch:
    """Nodes that are written at once, and their metadata."""

    nodes: Sequence[BaseNode]
    payloads: Sequence[dict[str, Any]]

    def arguments(self, sparse: SparseModel | None) -> dict[str, Any]:
        """What a collection is given."""
        given = {
            "ids": [node.node_id for node in self.nodes],
            "embeddings": [node.embedding for node in self.nodes],
            "documents": [text_of(node) for node in self.nodes],
            "metadatas": self.payloads,
        }
        if sparse is not None:
            given["sparse_embeddings"] = sparse.of_nodes(self.nodes)
        return given


def batches_of(nodes: Sequence[BaseNode], size: int | None) -> list[Batch]:
    """The nodes in batches, of those with one id the last; all in one where there is no size.
    Raises InvalidArgumentError for a node that can't be kept."""
    step = None if size is None else batch_size_of(size)
    for node in nodes:
        if not isinstance(node.node_id, str):
            raise InvalidTypeError(f"a node has the id {shown(node.node_id)}, expected a str")
    last = list({node.node_id: node for node in nodes}.values())
    for node in last:
        if node.embedding is None:
            raise InvalidArgumentError(f"node {node.node_id!r} has no embedding")
    payloads = [to_payload(node) for node in last]
    step = step or max(1, len(last))
    return [Batch(last[i : i + step], payloads[i : i + step]) for i in range(0, len(last), step)]
