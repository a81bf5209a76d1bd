"""Models of sparse vectors, as LlamaIndex's users give them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llama_index.core.schema import BaseNode, MetadataMode

from retrieval_store.errors import InvalidArgumentError
from retrieval_store.frameworks.collection import checked_model, sparse_of


@dataclass(frozen=True, slots=True)
class SparseModel:
    """What embeds texts sparsely: nodes with one function, queries with another, or with one."""

    documents: Any
    queries: Any

    def of_nodes(self, nodes: Sequence[BaseNode]) -> list[Any]:
        """A sparse vector for each node, of what dense embeddings are made of too."""
        return sparse_of(self.documents, [n.get_content(MetadataMode.EMBED) for n in nodes], False)

    def of_query(self, text: str) -> Any:
        """The sparse vector of a query."""
        return sparse_of(self.queries, [text], True)[0]


def model_of(
    model: Any,
    doc_fn: Callable[..., Any] | None,
    query_fn: Callable[..., Any] | None,
    enable: bool | None,
) -> SparseModel | None:
    """The model that the arguments make; None where they make none. Raises InvalidTypeError for
    what can't be one, and InvalidArgumentError when they contradict each other."""
    given = {"sparse_model": model, "sparse_doc_fn": doc_fn, "sparse_query_fn": query_fn}
    for name, value in given.items():
        checked_model(value, name)
    documents = model if doc_fn is None else doc_fn
    queries = model if query_fn is None else query_fn
    if documents is None and queries is None:
        return None
    if enable is False:
        named = min(name for name, value in given.items() if value is not None)
        raise InvalidArgumentError(f"{named} goes with enable_hybrid=True, or without it")
    if documents is None or queries is None:
        lacks = "sparse_doc_fn" if documents is None else "sparse_query_fn"
        raise InvalidArgumentError(f"{lacks} is missing; or give both as one sparse_model")
    return SparseModel(documents, queries)
