"""LlamaIndex's nodes as points: metadata, the text, and all else of the node as JSON."""

from collections.abc import Mapping
from typing import Any

import orjson
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageDocument,
    ImageNode,
    IndexNode,
    MetadataMode,
    Node,
    TextNode,
)

from retrieval_store.errors import DamagedError, InvalidArgumentError

NODE, REF_DOC = "_node", "_ref_doc_id"
_CLASSES: dict[str, type[BaseNode]] = {
    kind.class_name(): kind
    for kind in (TextNode, ImageNode, IndexNode, Document, ImageDocument, Node)
}


def to_payload(node: BaseNode) -> dict[str, Any]:
    """The node's metadata, by which it can be filtered, and what `to_node` makes it of again."""
    taken = {NODE, REF_DOC} & set(node.metadata)
    if taken:
        raise InvalidArgumentError(
            f"node {node.node_id!r} has the metadata key {min(taken)!r}, which is reserved"
        )
    fields = node.model_dump(mode="json")
    fields["embedding"] = None
    fields.pop("metadata")
    # Of a class of somebody's own, the nearest that LlamaIndex itself has; its fields are kept.
    kind = next(c.class_name() for c in type(node).__mro__ if c in _CLASSES.values())
    known = _CLASSES[kind].model_fields
    fields = {name: value for name, value in fields.items() if name in known}
    content = orjson.dumps({"class": kind, "fields": fields}).decode()
    payload = {**node.metadata, NODE: content}
    if node.ref_doc_id is not None:
        payload[REF_DOC] = node.ref_doc_id
    return payload


def to_node(payload: Mapping[str, Any] | None) -> BaseNode:
    """The node that `to_payload` was given."""
    held = dict(payload or {})
    held.pop(REF_DOC, None)
    try:
        content = orjson.loads(held.pop(NODE))
        kind = _CLASSES[content["class"]]
        fields = {**content["fields"], "metadata": held}
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"a point isn't a node of LlamaIndex: {error!r}") from error
    return kind.model_validate(fields)


def text_of(node: BaseNode) -> str:
    """What is searched by words: the text without metadata."""
    return node.get_content(MetadataMode.NONE)
