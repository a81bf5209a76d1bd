"""Says where a passage of a file is from, and gets the passages around it."""

from collections.abc import Iterable, Mapping
from typing import Any

from retrieval_store.api.collection import Collection
from retrieval_store.base.system import printable
from retrieval_store.base.validation import quote, whole_number
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError
from retrieval_store.exchange.folders import SOURCE

_LONGEST = 120  # characters of a title, and of a heading


def cite(hit: Any) -> str:
    """Where a hit is from, in a line: 'Sailing (guides/sailing.pdf), page 3, Knots > Bowline'.

    hit: a record as `Collection.iterate` gives, the metadata of one, a document of LangChain's, a
    node of LlamaIndex's, or a point of Qdrant's client. Of a file without pages and headings it
    says which characters. Raises InvalidArgumentError for what no sync of a folder has made.
    """
    said = _metadata_of(hit)
    path = said.get("path")
    if not isinstance(path, str):
        raise InvalidArgumentError(
            f"hit is {quote(hit)}, expected one whose metadata has the path of a file"
        )
    title, page, headings = said.get("title"), said.get("page"), said.get("headings")
    parts = [_short(path, 4 * _LONGEST)]
    if isinstance(title, str) and title.strip():
        parts = [f"{_short(title)} ({parts[0]})"]
    if isinstance(page, int):
        parts.append(f"page {page}")
    if isinstance(headings, list) and headings:
        shown = [_short(str(one)) for one in headings if one != title][-2:]
        parts += [" > ".join(shown)] if shown else []
    start, end = said.get("start"), said.get("end")
    if len(parts) == 1 and isinstance(start, int) and isinstance(end, int):
        parts.append(f"characters {start:,} to {end:,}")
    return ", ".join(parts)


def _metadata_of(hit: Any) -> Mapping[str, Any]:
    node = getattr(hit, "node", hit)
    for name in ("metadata", "payload"):
        found = node.get(name) if isinstance(node, Mapping) else getattr(node, name, None)
        if isinstance(found, Mapping):
            return found
    if not isinstance(node, Mapping):
        raise InvalidTypeError(f"hit is {quote(hit)}, expected a record, or its metadata")
    return node


def _short(text: str, longest: int = _LONGEST) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def with_neighbours(
    collection: Collection, ids: str | Iterable[str], expand: int = 1
) -> list[list[dict[str, Any]]]:
    """For each id the passage, and the `expand` ones before and after it in its file, in their
    order: dicts with "id", "document" and "metadata".

    Of a file that was changed meanwhile only passages of the same edition are returned, and a
    record that is no passage of a file stands alone. Raises InvalidArgumentError for an id that
    isn't there.
    """
    wanted = [ids] if isinstance(ids, str) else [*ids]
    number = whole_number(expand, "expand", 0)
    there = _records(collection, wanted)
    missing = [one for one in wanted if one not in there]
    if missing:
        raise InvalidArgumentError(f"there is no record {quote(missing[0])} in the collection")
    around = {one: _ids_around(one, there[one]["metadata"], number) for one in wanted}
    more = {other for some in around.values() for other in some} - there.keys()
    there |= _records(collection, sorted(more))
    return [
        [there[other] for other in around[one] if _is_beside(there.get(other), there[one])]
        for one in wanted
    ]


def _records(collection: Collection, ids: list[str]) -> dict[str, dict[str, Any]]:
    if not ids:
        return {}
    found = collection.get(ids=list(dict.fromkeys(ids)), include=["documents", "metadatas"])
    return {
        one: {"id": one, "document": document, "metadata": metadata or {}}
        for one, document, metadata in zip(
            found["ids"], found["documents"], found["metadatas"], strict=True
        )
    }


def _ids_around(point_id: str, metadata: Mapping[str, Any], number: int) -> list[str]:
    place, places = metadata.get("place"), metadata.get("places")
    start, mark, end = point_id.rpartition("#")
    if not mark or not isinstance(place, int) or end != str(place) or not isinstance(places, int):
        return [point_id]
    first, last = max(0, place - number), min(places - 1, place + number)
    return [f"{start}#{one}" for one in range(first, last + 1)]


def _is_beside(other: Mapping[str, Any] | None, hit: Mapping[str, Any]) -> bool:
    """Whether a record is of the same edition of the same file."""
    keys = (SOURCE, "path", "hash")
    return other is not None and all(
        other["metadata"].get(key) == hit["metadata"].get(key) for key in keys
    )
