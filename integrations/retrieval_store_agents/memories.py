"""When records that a tool added are to be forgotten.

The collection does that, by `configuration["expires"]`; one that a tool makes has it.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from retrieval_store.api.collection import Collection
from retrieval_store.base.validation import quote
from retrieval_store.errors import InvalidArgumentError
from retrieval_store_agents.definitions import FORGOTTEN

WRITTEN = "written_at"  # metadata of what a tool added


def now_iso() -> str:
    """The present moment in UTC, as the ISO time that is stored."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def with_time_to_forget(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata in which the time of forgetting, if there is one, is an ISO time with a zone, UTC
    where none is said."""
    value = metadata.get(FORGOTTEN)
    if value is None:
        return dict(metadata)
    try:
        moment = datetime.fromisoformat(value)
    except (ValueError, TypeError):
        raise InvalidArgumentError(
            f'{FORGOTTEN} is {quote(value)}, expected an ISO date or time such as "2027-01-31"'
        ) from None
    forget_at = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if forget_at <= datetime.now(UTC):
        raise InvalidArgumentError(
            f"{FORGOTTEN} is {value}, expected a time in the future: it is {now_iso()} now"
        )
    return {**metadata, FORGOTTEN: forget_at.isoformat()}


def are_forgotten(metadatas: Iterable[Mapping[str, Any] | None]) -> bool:
    """Whether records with these metadata are to be forgotten, one of them at least."""
    return any((metadata or {}).get(FORGOTTEN) is not None for metadata in metadatas)


def check_forgets(collection: Collection) -> None:
    """Raise InvalidArgumentError for a collection that doesn't forget what a tool says."""
    key = collection.configuration.get("expires")
    if key != FORGOTTEN:
        instead = f"its records expire by the key {key!r}" if key else "its records never expire"
        raise InvalidArgumentError(
            f"{FORGOTTEN} is given, but {collection.name} forgets nothing by that key: {instead}. "
            f"A collection forgets if `add` makes it, or configuration={{'expires': {FORGOTTEN!r}}}"
        )
