"""Records that are passages of files: the metadata keys that a sync of a folder writes, the
metadata to show to a person or a model, the source of each passage, and its neighbours. The names
in this module are public."""

import json
from collections.abc import Mapping
from typing import Any

from retrieval_store.base.system import cut_text, printable
from retrieval_store.base.validation import quote
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError

__all__ = [
    "cite",
    "ids_around",
    "is_of_folder",
    "is_same_file_version",
    "show_metadata",
    "without_keys_of_sync",
]
_LONGEST_NAME = 120  # characters of a title, and of a heading
_LONGEST_VALUE = 1_000  # characters of a value of metadata
_OF_NODES = "_node"  # begins the keys of what LlamaIndex keeps of a node

# What a record of a folder has for the next sync, and for `cite`.
OF_SYNC = ("text_hash", "recipe", "source", "hash", "places", "start", "end")


def without_keys_of_sync(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata to show to a person. If the record is from a sync of a folder, the keys that
    only the sync uses are left out."""
    is_of_sync = all(key in metadata for key in OF_SYNC[:2])
    return {key: value for key, value in metadata.items() if not (is_of_sync and key in OF_SYNC)}


def show_metadata(metadata: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The metadata without the keys of other programs: LlamaIndex's keys for its nodes, and the
    keys of a sync for its files."""
    if metadata is None:
        return None
    return {
        key: _shorten_value(value)
        for key, value in without_keys_of_sync(metadata).items()
        if not key.startswith(_OF_NODES)
    }


def _shorten_value(value: Any) -> Any:
    """A value of metadata, truncated like a document."""
    if isinstance(value, str):
        return cut_text(value, _LONGEST_VALUE)
    if isinstance(value, dict | list):
        shown = json.dumps(value, ensure_ascii=False, default=str)
        return value if len(shown) <= _LONGEST_VALUE else cut_text(shown, _LONGEST_VALUE)
    return value


def cite(hit: Any) -> str:
    """The source of a hit, in one line: 'Sailing (guides/sailing.pdf), page 3, Knots > Bowline'.

    hit: a record from `Collection.iterate`, the metadata of a record, a LangChain document, a
    LlamaIndex node, or a point of qdrant-client. For a file without pages and headings the line
    names the range of characters. Raises InvalidArgumentError for a record that no sync of a folder
    has made.
    """
    metadata = hit if _has_path(hit) else _metadata_of(hit)
    path = metadata.get("path")
    if not isinstance(path, str):
        raise InvalidArgumentError(
            f"hit is {quote(hit)}, expected one whose metadata has the path of a file"
        )
    title, page, headings = metadata.get("title"), metadata.get("page"), metadata.get("headings")
    parts = [_short(path, 4 * _LONGEST_NAME)]
    if isinstance(title, str) and title.strip():
        parts = [f"{_short(title)} ({parts[0]})"]
    if isinstance(page, int):
        parts.append(f"page {page}")
    if isinstance(headings, list) and headings:
        shown = [_short(str(heading)) for heading in headings if heading != title][-2:]
        parts += [" > ".join(shown)] if shown else []
    start, end = metadata.get("start"), metadata.get("end")
    if len(parts) == 1 and isinstance(start, int) and isinstance(end, int):
        parts.append(f"characters {start:,} to {end:,}")
    return ", ".join(parts)


def _has_path(hit: Any) -> bool:
    """Whether the hit is itself the metadata of a record, and not an object that contains the
    metadata."""
    return isinstance(hit, Mapping) and isinstance(hit.get("path"), str)


def _metadata_of(hit: Any) -> Mapping[str, Any]:
    node = getattr(hit, "node", hit)
    for name in ("metadata", "payload"):
        metadata = node.get(name) if isinstance(node, Mapping) else getattr(node, name, None)
        if isinstance(metadata, Mapping):
            return metadata
    if not isinstance(node, Mapping):
        raise InvalidTypeError(f"hit is {quote(hit)}, expected a record, or its metadata")
    return node


def _short(text: str, longest: int = _LONGEST_NAME) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def ids_around(point_id: str, metadata: Mapping[str, Any], number: int) -> list[str]:
    """The ids of a passage and of the `number` passages before and after it in its file, in order.
    For a record that isn't a passage, only its own id."""
    place, places = metadata.get("place"), metadata.get("places")
    start, mark, end = point_id.rpartition("#")
    if not mark or not isinstance(place, int) or end != str(place) or not isinstance(places, int):
        return [point_id]
    first, last = max(0, place - number), min(places - 1, place + number)
    return [f"{start}#{i}" for i in range(first, last + 1)]


def is_same_file_version(other: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """Whether two passages, given by their metadata, are from the same version of the same file."""
    return all(other.get(key) == metadata.get(key) for key in ("source", "path", "hash"))


def is_of_folder(point_id: str, metadata: Mapping[str, Any], uri: str | None) -> bool:
    """Whether a sync of a folder has written the metadata of a record. (Users may have keys of the
    same names, such as "source".)"""
    path, digest = metadata.get("path"), metadata.get("hash")
    if not isinstance(path, str) or not isinstance(digest, str) or not is_inside(path):
        return False
    if uri is None and not isinstance(metadata.get("text_hash"), str):
        return False
    start, mark, place = point_id.rpartition("#")
    number = place.removeprefix("page=")  # of a page that is a picture
    return point_id.endswith(path) or (
        mark == "#" and number.isdecimal() and number.isascii() and start.endswith(path)
    )


def is_inside(path: str) -> bool:
    """Whether a stored path, which may be any text, leads to a file inside the folder."""
    return "\0" not in path and not any(part in ("", ".", "..") for part in path.split("/"))
