"""LlamaIndex's nodes as points: the metadata, the text, and the rest of the node as JSON.

The text is stored only as the point's document, so that a changed document changes the node.

Stored data may come from an untrusted program. A node is therefore rebuilt only from the fields
that its class declares, so that nothing is fetched or opened; an image's path or address stays a
string. A point that LlamaIndex didn't write becomes a node with its text or image. A point that
another vector store of LlamaIndex wrote becomes the original node.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any
from urllib.parse import unquote

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
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.vector_stores.retrieval_store.filters import NODE, REF_DOC

from retrieval_store.errors import DamagedError, InvalidArgumentError, InvalidTypeError
from retrieval_store.filters.expression import And, Exists, Expression, OneOf, Or
from retrieval_store.frameworks import quote, refuse_reserved, without_reserved

MAX_SHOWN = 200  # characters of a wrong value
_CLASSES: dict[str, type[BaseNode]] = {
    kind.class_name(): kind
    for kind in (TextNode, ImageNode, IndexNode, Document, ImageDocument, Node)
}
_KINDS = frozenset(_CLASSES.values())
# Stored elsewhere, or an object in the program (`obj`), which `index_id` leads to.
_NOT_HELD = ("embedding", "metadata", "obj")
_TEMPLATES = {"metadata_template": ("key", "value"), "text_template": ("content", "metadata_str")}
_FORMAT = re.compile(r"(.?[<>=^])?[-+ ]?\d{0,3}(\.\d{1,3})?\w?")
_FILE = re.compile(r"file:(?://(?:localhost)?(?=/))?(.*)", re.IGNORECASE | re.DOTALL)
_IMAGE = re.compile(r"data:image/|.*\.(png|jpe?g|webp|gif|bmp|tiff?|avif)$", re.I | re.DOTALL)
_ADDRESS = re.compile(r"(?!file:)([a-z][a-z0-9+.-]*://|data:)", re.IGNORECASE)
# The metadata keys under which LlamaIndex's other stores, such as those for Chroma and Qdrant, keep
# nodes.
THEIR_NODE, THEIR_CLASS, THEIR_REF_DOC = "_node_content", "_node_type", "ref_doc_id"
_THEIR_IDS = frozenset({THEIR_REF_DOC, "document_id", "doc_id"})
_THEIRS = _THEIR_IDS | {THEIR_NODE, THEIR_CLASS}


@dataclass(frozen=True, slots=True)
class Point:
    """The stored data of a node, or of a point that another program wrote."""

    id: str
    metadata: Mapping[str, Any] | None
    document: str | None
    uri: str | None


def to_payload(node: BaseNode) -> dict[str, Any]:
    """The metadata under which a node is stored: the node's own metadata, which filters match, and
    the fields from which `to_node` rebuilds the node."""
    if not isinstance(node.metadata, dict):
        raise InvalidTypeError(
            f"node {node.node_id!r} has the metadata {quote(node.metadata)}, expected a dict"
        )
    refuse_reserved(node.metadata, f"node {node.node_id!r}")
    # For a user's class, the nearest base class of LlamaIndex; its fields are kept.
    kinds = [c.class_name() for c in type(node).__mro__ if issubclass(c, BaseNode) and c in _KINDS]
    if not kinds:
        raise InvalidTypeError(
            f"node {node.node_id!r} is of type {type(node).__name__}, expected a TextNode, another "
            "of LlamaIndex's, or one that derives from them"
        )
    kind = kinds[0]
    held = node.model_copy(update={"obj": None}) if isinstance(node, IndexNode) else node
    try:
        # Metadata are checked where they are stored.
        fields = _known_fields(
            kind, held.model_dump(mode="json", exclude={"metadata", "embedding"})
        )
        wrong = _wrong_template(fields)
        whole = {"class": kind, "fields": _without_text(fields, text_of(node))}
        content = orjson.dumps(whole).decode()
    except (TypeError, ValueError) as error:
        reason = str(error)[:MAX_SHOWN]
        raise InvalidArgumentError(f"node {node.node_id!r} can't be stored: {reason}") from error
    if wrong is not None:
        raise InvalidArgumentError(f"node {node.node_id!r} has {wrong}")
    payload = {**node.metadata, NODE: content}
    if node.ref_doc_id is not None:
        payload[REF_DOC] = node.ref_doc_id
    return payload


def to_node(point: Point, text_key: str | None = None) -> BaseNode:
    """The node that a point stores, with the text of the point. If LlamaIndex didn't write the
    point, the result is a new node with the point's content. text_key: the metadata key of the
    text, if the point has no document. Raises DamagedError for a point that cannot become a
    node."""
    try:
        metadata = point.metadata or {}
        if NODE in metadata:
            return _with_text(_node_from_json(metadata), point.document)
        if isinstance(metadata.get(THEIR_NODE), str):
            return _with_text(_theirs(metadata), point.document)
        return _foreign_node(point, text_key)
    except DamagedError:
        raise
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        reason = f"its field {place[:MAX_SHOWN]!r}: {first['msg'][:MAX_SHOWN]}"
        raise DamagedError(f"a point isn't a node of LlamaIndex: {reason}") from error
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {str(error)[:MAX_SHOWN]!r}"
        raise DamagedError(f"a point isn't a node of LlamaIndex: {reason}") from error


def _node_from_json(metadata: Mapping[str, Any]) -> BaseNode:
    """The node that `to_payload` stored, from its JSON."""
    content = orjson.loads(metadata[NODE])
    return _make_node(content["class"], content["fields"], without_reserved(metadata))


def _theirs(metadata: Mapping[str, Any]) -> BaseNode:
    """The node in a point that another vector store of LlamaIndex wrote."""
    fields, kind = orjson.loads(metadata[THEIR_NODE]), metadata.get(THEIR_CLASS)
    own = fields.get("metadata")
    if not isinstance(own, dict):
        own = {}
    # Some of these keys may have been the node's own; the JSON then has their original values.
    kept = {
        key: own[key] if key in _THEIR_IDS else value
        for key, value in metadata.items()
        if key not in _THEIRS or (key in _THEIR_IDS and key in own)
    }
    return _make_node(kind if kind in _CLASSES else "TextNode", fields, without_reserved(kept))


def _make_node(kind: str, content: Mapping[str, Any], metadata: dict[str, Any]) -> BaseNode:
    fields = _known_fields(kind, content)
    wrong = _wrong_template(fields)
    if wrong is not None:
        raise DamagedError(f"a point isn't a node of LlamaIndex: it has {wrong}")
    return _whole(_CLASSES[kind].model_validate({**fields, "metadata": metadata}))


def _foreign_node(point: Point, text_key: str | None) -> BaseNode:
    """A node for a point that LlamaIndex did not write. The node is an ImageNode if the point has
    only a uri, or if the uri names an image; its text is then the image's caption."""
    metadata, text = without_reserved(point.metadata), point.document
    if text is None and text_key is not None and isinstance(metadata.get(text_key), str):
        text = metadata.pop(text_key)
    fields: dict[str, Any] = {"id_": point.id, "metadata": metadata, "text": text or ""}
    document = (point.metadata or {}).get(REF_DOC)
    if isinstance(document, str):
        fields["relationships"] = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=document)}
    if point.uri is None or (text and not _IMAGE.match(point.uri)):
        return TextNode(**fields)
    if _ADDRESS.match(point.uri):
        return ImageNode(**fields, image_url=point.uri)
    return ImageNode(**fields, image_path=_path(point.uri))


def _path(uri: str) -> str:
    """The local path that a file URI names; any other URI is returned unchanged."""
    match = _FILE.fullmatch(uri)
    return uri if match is None else unquote(match[1])


def _without_text(fields: dict[str, Any], text: str) -> dict[str, Any]:
    """The fields without the text, if they contain the same text as the document."""
    resource = fields.get("text_resource")
    if text and fields.get("text") == text:
        return {name: value for name, value in fields.items() if name != "text"}
    if text and isinstance(resource, dict) and resource.get("text") == text:
        return {**fields, "text_resource": {**resource, "text": None}}
    return fields


def _with_text(node: BaseNode, document: str | None) -> BaseNode:
    """The node with the point's text, which replaces a text in the stored JSON. An older version
    also wrote the text into the JSON."""
    if document is None or document == text_of(node):
        return node
    resource = getattr(node, "text_resource", None)
    if resource is None:
        node.set_content(document)
    else:
        resource.text = document
    return node


def _known_fields(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a class declares. Its constructor may accept other fields, some of which open
    files or URLs."""
    names = set(_CLASSES[kind].model_fields) - set(_NOT_HELD)
    return {name: value for name, value in fields.items() if name in names}


def _wrong_template(fields: Mapping[str, Any]) -> str | None:
    """The reason why a template with which LlamaIndex formats texts is invalid: an unknown
    placeholder, or a width of a thousand characters or more. None if all templates are valid."""
    for name, known in _TEMPLATES.items():
        template = fields.get(name, "")
        try:
            places = list(Formatter().parse(template))
        except (TypeError, ValueError) as error:
            return f"the {name} {quote(template)}: {error}"
        for _, place, form, _ in places:
            if place is not None and (place not in known or not _FORMAT.fullmatch(form or "")):
                return f"the {name} {quote(template)}, expected {' and '.join(known)} in it"
    return None


def _whole(node: BaseNode) -> BaseNode:
    """The node, after a check that its relationships have the types that its properties declare. If
    not, the check raises a ValueError, instead of a later use."""
    for name in ("source_node", "prev_node", "next_node", "parent_node", "child_nodes"):
        getattr(node, name)
    return node


def points_of_documents(ids: tuple[str, ...]) -> Expression:
    """A filter for the points of these documents' nodes."""
    theirs = And((Exists((THEIR_CLASS,)), OneOf((THEIR_REF_DOC,), ids)))
    return Or((OneOf((REF_DOC,), ids), theirs))


def text_of(node: BaseNode) -> str:
    """The text for search by words: the node's text without its metadata."""
    return node.get_content(MetadataMode.NONE)
