"""Points as Qdrant stores them: ids as UUIDs, and everything except the vectors in one payload.

Metadata are the payload itself, so that other programs that read the collection find the keys where
they expect them. Numbers that Qdrant would round are rounded by the client (`encode_value`).
Everything else is stored under reserved keys of the payload.

Numbers are rounded since Qdrant stores payloads as JSON, and parses a number by one product or
quotient of float64. That is exact for an integer below 2**53 and a power of ten up to 22. A number
with more digits becomes one of the neighbouring floats, and may change again with each reading;
about a tenth of all floats do. So floats with 17 digits are stored with 15 or 16 digits, which
Qdrant doesn't change. The exact floats are stored as text beside the payload. Rounding never turns
a number into one with few digits, and never moves it past such a number. So bounds like 0.3 or 2021
mean the same as before. Bounds with many digits are moved by more than the greatest rounding error.
gRPC, which the nodes of a cluster use among themselves, has no integers from 2**63 on, and turns
them into floats. So these integers are stored as floats, and also exactly, as text.

`Orders` assigns the numbers by which points are listed in the order of first insertion. They are
microseconds since 1970. Servers compare `order_by.start_from`, and ranges over integers, as
float64, which has no odd integer beyond 2**53. Microseconds are exact until the year 2255; of
nanoseconds only every 256th would be distinct.
"""

import math
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha1
from typing import Any, TypeAlias

import orjson
from qdrant_client import models

from retrieval_store.errors import DamagedError, InvalidMetadataError
from retrieval_store.extension import (
    JSONValue,
    Lock,
    Payload,
    PointId,
    micros_in,
    shows_an_integer,
    time_in,
)
from retrieval_store.filters.expression import Candidate

EXACT_INTEGERS = 2**53
LARGEST_INTEGER = 2**63 - 1  # the largest in gRPC
SMALLEST, LARGEST = 1e-6, 1e15  # of rounded numbers; others may change
FEW_DIGITS = 14
ROUNDED = 4e-15  # exceeds the relative error of rounding and reading


def survives_rounding(limit: int | float) -> bool:
    """Whether comparisons with this number give the same results after Qdrant rounds it."""
    if limit == 0:
        return True
    within = SMALLEST <= abs(limit) < LARGEST
    return within and float(f"{limit:.{FEW_DIGITS - 1}e}") == limit


def encode_value(value: JSONValue) -> JSONValue:
    """The value in a form that Qdrant preserves."""
    match value:
        case float():
            return _round_number(value)
        case int() if value > LARGEST_INTEGER:
            return float(value)
        case list():
            return [encode_value(element) for element in value]
        case dict():
            return {name: encode_value(member) for name, member in value.items()}
    return value


def exact_text(payload: Payload) -> str | None:
    """The parts of a payload that Qdrant cannot preserve, as JSON; None if there are none."""
    moved = {name: value for name, value in payload.items() if not _is_returned_unchanged(value)}
    return orjson.dumps(moved).decode() if moved else None


def decode_payload(payload: Payload, text: Any) -> Payload:
    """The original payload, from the stored payload and the exact text. If another program has
    changed the stored payload, its changes are kept. Raises DamagedError if another program changed
    the text itself."""
    exact = _exact(text)
    return {
        name: exact[name] if name in exact and _are_nearly_equal(value, exact[name]) else value
        for name, value in payload.items()
    }


def _exact(text: Any) -> Payload:
    with suppress(orjson.JSONDecodeError):
        decoded = orjson.loads(text)
        if isinstance(decoded, dict):
            return decoded
    raise DamagedError(
        "the exact numbers stored in addition to metadata on a cluster can't be read"
    )


def _round_number(number: float) -> float:
    if survives_rounding(number) or not SMALLEST <= abs(number) < LARGEST:
        return number
    exact = Decimal(number)
    digits = 16 if abs(exact.scaleb(15 - exact.adjusted())) < EXACT_INTEGERS else 15
    unit = Decimal(1).scaleb(exact.adjusted() - digits + 1)
    near = exact.quantize(unit)
    if float(near) != number and int(near / unit) % 10 == 0:  # it has fewer digits, unlike this one
        near += unit if exact > near else -unit
    return float(near)


def _is_returned_unchanged(value: JSONValue) -> bool:
    """Whether Qdrant returns the value unchanged."""
    match value:
        case float():
            return value == 0 or (
                SMALLEST <= abs(value) < LARGEST and _round_number(value) == value
            )
        case int():
            return value <= LARGEST_INTEGER
        case list():
            return all(map(_is_returned_unchanged, value))
        case dict():
            return all(map(_is_returned_unchanged, value.values()))
    return True


def _are_nearly_equal(value: Any, other: Any) -> bool:
    """Whether two values differ only by rounding."""
    match value, other:
        case list(), list():
            return len(value) == len(other) and all(map(_are_nearly_equal, value, other))
        case dict(), dict():
            return value.keys() == other.keys() and all(
                _are_nearly_equal(value[n], other[n]) for n in value
            )
        case float(), float() | int() if isinstance(other, float) or other > LARGEST_INTEGER:
            return math.isclose(value, other, rel_tol=ROUNDED, abs_tol=1e-300)
    return bool(type(value) is type(other) and value == other)


MICROSECONDS = "us"  # the unit of order numbers, as stored with a collection


class Orders:
    """Assigns order numbers to new points of a collection. The numbers are taken from the clock,
    since processes on other machines assign numbers, too. Two processes may assign the same
    number."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = Lock()

    def next(self, count: int) -> range:
        """The next `count` numbers, greater than all numbers assigned before."""
        with self._lock:
            first = max(time.time_ns() // 1_000, self._last + 1)
            self._last = first + count - 1
        return range(first, first + count)


ID, DOCUMENT, URI, SERVICE = "_id", "_document", "_uri", "_retrieval_store"
RESERVED = frozenset({ID, DOCUMENT, URI, SERVICE})
ORDER = f"{SERVICE}.order"  # of first insertion
LISTS = (SERVICE, "lists")  # names of the metadata that are lists, and these notes:
ODD_TIMES = SERVICE  # a value is a time only to Qdrant
BESIDE = ID  # there is no metadata, or a part in EXACT
EXACT = (SERVICE, "exact")  # parts of the metadata that Qdrant can't preserve
HELD = (SERVICE, "metadata")  # False for a point without any
_IDS = uuid.UUID("5f0c6f43-6a4e-5a0f-9d8b-2f4f0a3f7c11")
_MARKED, _MARKS = 0xF << 76 | 0x3 << 62, 0x5 << 76 | 0x2 << 62  # version 5, and the variant


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """The fields of a point without its vectors. order: a number that is greater than those of all
    points inserted before; length: the norm of the point's vector, if Qdrant stores only the
    direction."""

    id: PointId
    payload: Payload | None
    document: str | None
    uri: str | None
    order: int
    length: float = 1.0

    @property
    def candidate(self) -> Candidate:
        """The point in the form that filters check."""
        return Candidate(self.id, self.payload, self.document, self.uri)


def point_id(own: PointId) -> str:
    """The id of a point in Qdrant: a version 5 UUID that is computed from the type and the text of
    this package's id."""
    # Like uuid.uuid5, which takes twice as long; it is called for each point that is written or
    # read.
    name = f"{type(own).__name__}:{own}".encode()
    bits = int.from_bytes(sha1(_IDS.bytes + name, usedforsecurity=False).digest()[:16])
    text = f"{bits & ~_MARKED | _MARKS:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def ids_meant(own: PointId, is_shown: bool) -> list[str]:
    """The ids in Qdrant of the points that a caller's id can mean, the most likely first. An id
    that the caller has seen as a string, such as "7", means the string "7", or, if no point has
    this id, the integer 7."""
    ids = [point_id(own)]
    if is_shown and isinstance(own, str) and shows_an_integer(own):
        ids.append(point_id(int(own)))
    return ids


def has_odd_times(payload: Payload) -> bool:
    """Whether a string in the payload is a timestamp for Qdrant, but not for this package's
    filters."""
    texts = (value for value in payload.values() if isinstance(value, str) and "-" in value)
    return any(micros_in(text) is not None and time_in(text) is None for text in texts)


def encode_point(point: StoredPoint) -> dict[str, Any]:
    """The payload under which Qdrant stores the point."""
    metadata = point.payload or {}
    exact, rounded = exact_text(metadata), metadata
    lists = [name for name, value in metadata.items() if isinstance(value, list)]
    if has_odd_times(metadata):
        lists.append(ODD_TIMES)
    if exact is not None or point.payload is None:
        lists.append(BESIDE)
    service: dict[str, Any] = {"order": point.order, "length": point.length, "lists": lists}
    if point.payload is None:
        service["metadata"] = False
    if exact is not None:
        service["exact"] = exact
        rounded = {name: encode_value(value) for name, value in metadata.items()}
    own = point.id
    if isinstance(own, int) and own > LARGEST_INTEGER:
        own, service["integer"] = str(own), True
    fields = {DOCUMENT: point.document, URI: point.uri}
    present = {name: value for name, value in fields.items() if value is not None}
    return {**rounded, **present, ID: own, SERVICE: service}


PayloadWanted: TypeAlias = models.PayloadSelector | bool


def payload_wanted(keys: Iterable[str] | None, document: bool, uri: bool) -> PayloadWanted:
    """The payload keys to read for decoding points. keys: the needed metadata keys; None for all
    metadata."""
    fields = {DOCUMENT: document, URI: uri}
    if keys is not None:
        wanted = [name for name, is_wanted in fields.items() if is_wanted]
        quoted = {f'"{key}"' for key in keys if key not in RESERVED}
        return models.PayloadSelectorInclude(include=[ID, SERVICE, *wanted, *sorted(quoted)])
    unwanted = [name for name, is_wanted in fields.items() if not is_wanted]
    return models.PayloadSelectorExclude(exclude=unwanted) if unwanted else True


def reads_documents(wanted: PayloadWanted) -> bool:
    """Whether these payload keys include the documents."""
    match wanted:
        case models.PayloadSelectorInclude(include=names):
            return DOCUMENT in names
        case models.PayloadSelectorExclude(exclude=names):
            return DOCUMENT not in names
    return bool(wanted)


def payload_bytes(records: Iterable[Any]) -> int:
    """The size of the payloads of Qdrant's records as JSON, in bytes."""
    return sum(len(orjson.dumps(record.payload)) for record in records)


def decode_point(payload: Mapping[str, Any] | None) -> StoredPoint:
    """The point that a payload in Qdrant encodes. Raises DamagedError if this package did not write
    the payload."""
    fields = payload or {}
    match fields.get(ID), fields.get(SERVICE):
        case str() | int() as own, {"order": int() as order, **service}:
            metadata = {name: v for name, v in fields.items() if name not in RESERVED}
            if "exact" in service:
                metadata = decode_payload(metadata, service["exact"])
            content = metadata if metadata or service.get("metadata", True) else None
            length: Any = service.get("length", 1.0)
            if service.get("integer") is True and isinstance(own, str) and shows_an_integer(own):
                own = int(own)
            return StoredPoint(own, content, fields.get(DOCUMENT), fields.get(URI), order, length)
    raise DamagedError("the Qdrant collection has a point that retrieval-store didn't write")


def refuse_reserved(payloads: Sequence[Any]) -> None:
    """Raise InvalidMetadataError for metadata with a reserved key."""
    for payload in payloads:
        taken = RESERVED.intersection(payload) if isinstance(payload, dict) else ()
        if taken:
            raise InvalidMetadataError(
                f"the metadata key {min(taken)!r} is reserved for collections on a cluster"
            )
