"""Gets the passages around a passage of a file."""

from collections.abc import Iterable
from typing import Any

from retrieval_store.api.collection import Collection
from retrieval_store.base.validation import quote, whole_number
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.readers.passages import ids_around, is_beside


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
    around = {one: ids_around(one, there[one]["metadata"], number) for one in wanted}
    more = {other for some in around.values() for other in some} - there.keys()
    there |= _records(collection, sorted(more))
    return [
        [there[other] for other in around[one] if _is_there(there.get(other), there[one])]
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


def _is_there(other: dict[str, Any] | None, hit: dict[str, Any]) -> bool:
    return other is not None and is_beside(other["metadata"], hit["metadata"])
