"""What can be asked of a cluster: how a collection is kept there, and how it is read."""

from collections.abc import Mapping
from typing import Any

from retrieval_store.base.validation import Payload, checked_object, shown, whole_number
from retrieval_store.errors import InvalidArgumentError

PLACE = "configuration['qdrant']"
COUNTS = ("shard_number", "replication_factor", "write_consistency_factor")
KEYS = (*COUNTS, "on_disk", "quantization")
CONSISTENCIES = ("majority", "quorum", "all")


def checked_storage(value: Any) -> Payload:
    """What is asked of Qdrant for a collection: how many shards, of how many replicas each, how
    many of which have to take a write; whether vectors lie on disk; how they are compressed."""
    if not isinstance(value, Mapping):
        raise InvalidArgumentError(f"{PLACE} is {shown(value)}, expected a dict")
    unknown = [key for key in value if key not in KEYS]
    if unknown:
        raise InvalidArgumentError(
            f"{PLACE} has the unknown key {unknown[0]!r}; known are {', '.join(KEYS)}"
        )
    given = {key: one for key, one in value.items() if one is not None}
    return {key: _checked(key, one, f"{PLACE}[{key!r}]") for key, one in given.items()}


def _checked(key: str, value: Any, place: str) -> Any:
    if key in COUNTS:
        return whole_number(value, place, 1)
    if key == "on_disk" and not isinstance(value, bool):
        raise InvalidArgumentError(f"{place} is {shown(value)}, expected True or False")
    if key == "quantization" and not isinstance(value, str):
        return checked_object(value, place)
    return value


def checked_consistency(value: Any) -> int | str | None:
    """How many replicas a read asks."""
    if value is None or value in CONSISTENCIES:
        return value  # type: ignore[no-any-return]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        expected = ", ".join(map(repr, CONSISTENCIES))
        raise InvalidArgumentError(
            f"consistency is {shown(value)}, expected a number of replicas, {expected}, or None"
        )
    return value
