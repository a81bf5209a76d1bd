"""LlamaIndex's nodes as points: metadata, the text, and all else of the node as JSON.

What is stored may be someone else's. A node is made again of its class's own fields and nothing
besides, so that nothing is fetched or opened: the path or the address of an image comes back as the
text that it is.
"""

import re
from collections.abc import Mapping
from string import Formatter
from typing import Any

import orjson
from llama_index.core.bridge.pydantic import ValidationError
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

from retrieval_store.base.json_values import shown
from retrieval_store.errors import DamagedError, InvalidArgumentError

NODE, REF_DOC = "_node", "_ref_doc_id"
MOST_SHOWN = 200  # characters of what is wrong
_CLASSES: dict[str, type[BaseNode]] = {
    kind.class_name(): kind
    for kind in (TextNode, ImageNode, IndexNode, Document, ImageDocument, Node)
}
# Kept elsewhere, or an object of the program's (`obj`), which `index_id` leads to.
_NOT_HELD = ("embedding", "metadata", "obj")
_TEMPLATES = {"metadata_template": ("key", "value"), "text_template": ("content", "metadata_str")}
_FORMAT = re.compile(r"(.?[<>=^])?[-+ ]?\d{0,3}(\.\d{1,3})?\w?")


def to_payload(node: BaseNode) -> dict[str, Any]:
    """The node's metadata, by which it can be filtered, and what `to_node` makes it of again."""
    taken = {NODE, REF_DOC} & set(node.metadata)
    if taken:
        raise InvalidArgumentError(
            f"node {node.node_id!r} has the metadata key {min(taken)!r}, which is reserved"
        )
    # Of a class of somebody's own, the nearest that LlamaIndex itself has; its fields are kept.
    kind = next(c.class_name() for c in type(node).__mro__ if c in _CLASSES.values())
    held = node.model_copy(update={"obj": None}) if isinstance(node, IndexNode) else node
    fields = _known(kind, held.model_dump(mode="json"))
    wrong = _wrong_template(fields)
    if wrong is not None:
        raise InvalidArgumentError(f"node {node.node_id!r} has {wrong}")
    content = orjson.dumps({"class": kind, "fields": fields}).decode()
    payload = {**node.metadata, NODE: content}
    if node.ref_doc_id is not None:
        payload[REF_DOC] = node.ref_doc_id
    return payload


def to_node(payload: Mapping[str, Any] | None) -> BaseNode:
    """The node that `to_payload` was given; raises DamagedError when it can't be one."""
    metadata = dict(payload or {})
    metadata.pop(REF_DOC, None)
    try:
        content = orjson.loads(metadata.pop(NODE))
        kind = content["class"]
        fields = _known(kind, content["fields"])
        wrong = _wrong_template(fields)
        if wrong is not None:
            raise DamagedError(f"a point isn't a node of LlamaIndex: it has {wrong}")
        return _whole(_CLASSES[kind].model_validate({**fields, "metadata": metadata}))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        said = f"its field {place[:MOST_SHOWN]!r}: {first['msg'][:MOST_SHOWN]}"
        raise DamagedError(f"a point isn't a node of LlamaIndex: {said}") from error
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        said = f"{type(error).__name__}: {str(error)[:MOST_SHOWN]!r}"
        raise DamagedError(f"a point isn't a node of LlamaIndex: {said}") from error


def _known(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a class has. Its constructor may take more: some of those are followed."""
    names = set(_CLASSES[kind].model_fields) - set(_NOT_HELD)
    return {name: value for name, value in fields.items() if name in names}


def _wrong_template(fields: Mapping[str, Any]) -> str | None:
    """What is wrong about a template, by which LlamaIndex formats texts: a placeholder that it
    doesn't fill, or one made a thousand characters wide and more."""
    for name, known in _TEMPLATES.items():
        template = fields.get(name, "")
        try:
            places = list(Formatter().parse(template))
        except (TypeError, ValueError) as error:
            return f"the {name} {shown(template)}: {error}"
        for _, place, form, _ in places:
            if place is not None and (place not in known or not _FORMAT.fullmatch(form or "")):
                return f"the {name} {shown(template)}, expected {' and '.join(known)} in it"
    return None


def _whole(node: BaseNode) -> BaseNode:
    """The node, if its relationships are of the kinds that its properties promise: they raise a
    ValueError themselves."""
    for name in ("source_node", "prev_node", "next_node", "parent_node", "child_nodes"):
        getattr(node, name)
    return node


def text_of(node: BaseNode) -> str:
    """What is searched by words: the text without metadata."""
    return node.get_content(MetadataMode.NONE)
