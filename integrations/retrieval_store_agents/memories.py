"""When records that a tool added are to be forgotten.

A collection that a tool makes expires its records itself, by `configuration["expires"]`. In any
other one, such as an adapter's or one on a cluster, a filter leaves out what is over: to the
minute, so that it is the same filter for as long, whose result is kept.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from retrieval_store.api.arguments import filter_of
from retrieval_store.api.collection import Collection
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.validation import quote
from retrieval_store.errors import (
    InvalidArgumentError,
    InvalidFilterError,
)
from retrieval_store_agents.definitions import FORGOTTEN

WRITTEN = "written_at"  # metadata of what a tool added
KEPT_SECONDS = 60.0  # that one moment stands for


def now_iso() -> str:
    """The present moment in UTC, as the ISO time that is stored."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(slots=True)
class Minute:
    """The moment that stands for the present one, until another one does. until: by
    time.monotonic."""

    moment: str = ""
    until: float = 0.0

    def now(self) -> str:
        """The moment; of threads that renew it at the same time each may get its own."""
        if time.monotonic() >= self.until:
            self.moment = now_iso()
            self.until = time.monotonic() + KEPT_SECONDS
        return self.moment


_minute = Minute()


def with_time_to_forget(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata in which the time of forgetting, if there is one, is an ISO time with a zone, UTC
    where none is said."""
    value = metadata.get(FORGOTTEN)
    if value is None:
        return dict(metadata)
    try:
        forget_at = _in_a_zone(datetime.fromisoformat(value))
    except (ValueError, TypeError):
        raise InvalidArgumentError(
            f'{FORGOTTEN} is {quote(value)}, expected an ISO date or time such as "2027-01-31"'
        ) from None
    if forget_at <= datetime.now(UTC):
        raise InvalidArgumentError(
            f"{FORGOTTEN} is {value}, expected a time in the future: it is {now_iso()} now"
        )
    return {**metadata, FORGOTTEN: forget_at.isoformat()}


def _in_a_zone(moment: datetime) -> datetime:
    """The moment, in UTC where no zone is said."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def only_living(
    collection: Collection, where: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    """A filter that leaves out what is to be forgotten too, where the collection has any and
    doesn't leave it out itself."""
    filter_of(where, None)  # so that an error names the places as they were sent
    if not _forgets(collection):
        return where or None
    living = {"$not": _over()}
    return {"$and": [where, living]} if where else living


def _forgets(collection: Collection) -> bool:
    """Whether the collection has records that are to be forgotten, and doesn't do that itself."""
    if collection._expires == FORGOTTEN:
        return False
    try:
        return bool(collection.count({FORGOTTEN: {"$exists": True}}))
    except InvalidFilterError:  # no record has the key, and the client refuses such filters
        return False


def _over() -> dict[str, Any]:
    return {FORGOTTEN: {"$lte": _minute.now()}}


def delete_forgotten(collection: Collection) -> None:
    """Delete what is over, where the collection doesn't do that itself."""
    if _forgets(collection):
        collection.delete(where=_over())


def is_over(metadata: Mapping[str, Any] | None) -> bool:
    """Whether a record with this metadata is to be forgotten; a time without a zone, which no tool
    has written, is in UTC."""
    try:
        return _in_a_zone(datetime.fromisoformat((metadata or {})[FORGOTTEN])) <= datetime.now(UTC)
    except (KeyError, TypeError, ValueError):
        return False
