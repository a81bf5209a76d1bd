"""What a collection returns as nodes of LlamaIndex."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import numpy as np
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import VectorStoreQueryResult
from llama_index.vector_stores.retrieval_store.nodes import Point, to_node

from retrieval_store.api.results import GetField
from retrieval_store.base.validation import shown
from retrieval_store.errors import InvalidArgumentError

FIELDS: tuple[GetField, ...] = ("metadatas", "documents", "uris")  # what a node is made of again
# Of these, which Chroma has too, only the embeddings aren't in every node.
INCLUDED = ("embeddings", "documents", "metadatas", "distances", "uris")


def fields_of(include: Any) -> tuple[GetField, ...]:
    """What to ask a collection for when these names are to be included."""
    if include is None:
        return FIELDS
    names = [include] if isinstance(include, str) else include
    if not isinstance(names, Sequence | set | frozenset):
        raise InvalidArgumentError(f"include is {shown(include)}, expected a list of names")
    for name in names:
        if name not in INCLUDED:
            raise InvalidArgumentError(
                f"include has {shown(name)}, expected any of {', '.join(INCLUDED)}"
            )
    return (*FIELDS, "embeddings") if "embeddings" in names else FIELDS


def first(found: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to the only query of a question, in the form of `get`'s."""
    lists = (*FIELDS, "ids", "embeddings", "scores")
    return {name: found[name][0] if found.get(name) else None for name in lists}


def nodes_of(found: Mapping[str, Any], text_key: str | None) -> list[BaseNode]:
    """The nodes of what `get` returned, with embeddings if they are there."""
    nodes, vectors = [], found["embeddings"]
    fields = zip(found["ids"], *(found[name] for name in FIELDS), strict=True)
    for i, (point_id, *rest) in enumerate(fields):
        node = to_node(Point(point_id, *rest), text_key)
        if vectors is not None and not np.isnan(vectors[i]).any():  # NaN: it has none
            node.embedding = vectors[i].tolist()
        nodes.append(node)
    return nodes


def result_of(
    found: Mapping[str, Any], text_key: str | None, order: Sequence[int] | None = None
) -> VectorStoreQueryResult:
    """The answer, or some of it in another order; what `get` returned is all alike."""
    chosen = range(len(found["ids"])) if order is None else order
    scores = found.get("scores") or [1.0] * len(found["ids"])
    nodes = nodes_of(found, text_key)
    return VectorStoreQueryResult(
        nodes=[nodes[i] for i in chosen],
        # What a re-ranker had no text for comes last.
        similarities=[-inf if scores[i] is None else scores[i] for i in chosen],
        ids=[found["ids"][i] for i in chosen],
    )
