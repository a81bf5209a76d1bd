"""Points as Qdrant keeps them: ids as UUIDs, and all but the vectors in one payload.

Metadata is the payload itself, so that others who read the collection find its keys where they
expect them, with numbers rounded a little where Qdrant would (`numbers`). What else there is stands
beside it under reserved keys.
"""

import uuid
from collections.abc import Mapping, Sequence
from hashlib import sha1
from typing import Any

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.json_values import Payload
from retrieval_store.errors import DamagedError, InvalidMetadataError
from retrieval_store.filters.predicate import Candidate
from retrieval_store.interface.points import PointId
from retrieval_store.remote.kept.numbers import exact_text, kept, restored

ID, DOCUMENT, URI, SERVICE = "_id", "_document", "_uri", "_retrieval_store"
RESERVED = frozenset({ID, DOCUMENT, URI, SERVICE})
ORDER = f"{SERVICE}.order"  # of first insertion
LISTS = (SERVICE, "lists")  # names of the metadata that are lists
_IDS = uuid.UUID("5f0c6f43-6a4e-5a0f-9d8b-2f4f0a3f7c11")
_MARKED, _MARKS = 0xF << 76 | 0x3 << 62, 0x5 << 76 | 0x2 << 62  # version 5, and the variant


@dataclass(frozen=True, slots=True)
class Held:
    """What a point holds besides its vectors. order: greater than that of all that were inserted
    before; length: of its vector, where Qdrant keeps only the direction."""

    id: PointId
    payload: Payload | None
    document: str | None
    uri: str | None
    order: int
    length: float = 1.0

    @property
    def candidate(self) -> Candidate:
        """What filters look at."""
        return Candidate(self.id, self.payload, self.document, self.uri)


def point_id(own: PointId) -> str:
    """The id that Qdrant knows: a UUID of version 5, of the type and the text of ours."""
    # As uuid.uuid5, which takes twice as long; it is asked for each point that is written or read.
    name = f"{type(own).__name__}:{own}".encode()
    bits = int.from_bytes(sha1(_IDS.bytes + name, usedforsecurity=False).digest()[:16])
    text = f"{bits & ~_MARKED | _MARKS:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def encoded(held: Held) -> dict[str, Any]:
    """The payload to send."""
    metadata = held.payload or {}
    service: dict[str, Any] = {
        "order": held.order,
        "length": held.length,
        "lists": [name for name, value in metadata.items() if isinstance(value, list)],
    }
    if held.payload is None:
        service["metadata"] = False
    exact, rounded = exact_text(metadata), metadata
    if exact is not None:
        service["exact"] = exact
        rounded = {name: kept(value) for name, value in metadata.items()}
    fields = {DOCUMENT: held.document, URI: held.uri}
    given = {name: value for name, value in fields.items() if value is not None}
    return {**rounded, **given, ID: held.id, SERVICE: service}


def decoded(payload: Mapping[str, Any] | None) -> Held:
    """What was encoded; raises DamagedError for a point that isn't ours."""
    given = payload or {}
    match given.get(ID), given.get(SERVICE):
        case str() | int() as own, {"order": int() as order, **service}:
            metadata = {name: v for name, v in given.items() if name not in RESERVED}
            if "exact" in service:
                metadata = restored(metadata, service["exact"])
            held = metadata if metadata or service.get("metadata", True) else None
            length: Any = service.get("length", 1.0)
            return Held(own, held, given.get(DOCUMENT), given.get(URI), order, length)
    raise DamagedError("the Qdrant collection has a point that retrieval-store didn't write")


def refuse_reserved(payloads: Sequence[Any]) -> None:
    """Raise InvalidMetadataError for metadata with a key that means something else here."""
    for payload in payloads:
        taken = RESERVED.intersection(payload) if isinstance(payload, dict) else ()
        if taken:
            raise InvalidMetadataError(
                f"the metadata key {min(taken)!r} is reserved for collections on a cluster"
            )
