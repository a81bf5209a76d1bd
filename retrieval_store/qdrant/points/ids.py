"""Ids of points: integers and UUIDs, and on reading whatever the other front has written."""

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from qdrant_client import models

from retrieval_store.base.validation import INT_MAX, is_unicode, shown
from retrieval_store.qdrant.collections.opened import check_shard_key
from retrieval_store.qdrant.refusals import malformed, wrong
from retrieval_store.query.types import PointId

# As `uuid.UUID` prints it, which takes four times as long as to see that nothing is to be changed.
_CANONICAL = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# As a server reads it, which takes less for one than `uuid.UUID` does.
_HYPHENATED = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_UUID = re.compile(
    rf"(?:urn:uuid:)?{_HYPHENATED}|[0-9a-f]{{32}}|\{{{_HYPHENATED}\}}", re.IGNORECASE
)
Selected: TypeAlias = tuple[list[PointId] | None, models.Filter | None]


def uuid_of(given: str) -> str | None:
    """A UUID in its canonical form; None for what is none."""
    return str(uuid.UUID(given)) if _UUID.fullmatch(given) else None


def id_to_write(given: Any) -> PointId:
    """An id that a point can have: an integer from 0 to 2^64-1, or a UUID in its canonical form."""
    if type(given) is str and _CANONICAL.fullmatch(given):
        return given
    if isinstance(given, int | np.integer) and not isinstance(given, bool):
        if 0 <= given <= INT_MAX:
            return int(given)
        raise malformed(f"the point id {given} isn't between 0 and 2^64-1")
    if isinstance(given, uuid.UUID):
        return str(given)
    if isinstance(given, str):
        known = uuid_of(given)
        if known is None:
            raise wrong(f"the point id {given!r} is neither an unsigned integer nor a UUID")
        return known
    raise malformed(f"the point id is {shown(given)}, expected an unsigned integer or a UUID")


def id_to_read(given: Any) -> PointId:
    """An id that a point may have; one that `Collection` has written may be any string."""
    if type(given) is int and 0 <= given <= INT_MAX:
        return given
    if type(given) is str and _CANONICAL.fullmatch(given):
        return given
    if isinstance(given, str):
        known = uuid_of(given)
        if known is None and not is_unicode(given):
            raise malformed(f"the point id {shown(given)} holds a lone surrogate")
        return known or given
    return id_to_write(given)


def ids_to_read(given: Iterable[Any]) -> list[PointId]:
    """The same for several, each once, in their order."""
    if isinstance(given, str | Mapping):
        raise malformed(f"ids is {shown(given)}, expected a sequence of ids")
    return list(dict.fromkeys(map(id_to_read, given)))


def selected(selector: Any) -> Selected:
    """The ids that a selector names, or the filter that it has."""
    check_shard_key(getattr(selector, "shard_key", None))
    match selector:
        case models.FilterSelector():
            return None, selector.filter
        case models.Filter():
            return None, selector
        case models.PointIdsList():
            selector = selector.points
    if isinstance(selector, Mapping):
        raise malformed(
            f"points is {shown(selector)}, expected ids, or a Filter, PointIdsList or "
            "FilterSelector of qdrant_client.models"
        )
    if isinstance(selector, str | int | np.integer | uuid.UUID):
        selector = [selector]
    if not isinstance(selector, Sequence | set | frozenset):
        try:
            selector = list(selector)
        except TypeError:
            raise malformed(f"points is {shown(selector)}, expected ids or a filter") from None
    if not selector:
        raise wrong("no points are named, and there is no filter")
    return ids_to_read(selector), None


def selected_by(ids: Sequence[Any] | None, given: models.Filter | None) -> Selected:
    """The same of an operation that has both fields, of which one is set."""
    if ids is None and given is None:
        raise wrong("neither points nor a filter are given")
    return (None, given) if ids is None else selected(list(ids))
