"""The configuration of a collection: its distance and the settings of its vector index.

Given as `configuration={"hnsw": {"space": "cosine", …}}`, or in the older way as metadata keys such
as "hnsw:space", which stay metadata as well.
"""

import logging
from collections.abc import Mapping
from typing import Any, cast

from retrieval_store.arguments import whole_number
from retrieval_store.engine.catalog import CollectionRecord
from retrieval_store.errors import ConflictError, DamagedError, InvalidArgumentError
from retrieval_store.indexes.exact import METRICS, Metric
from retrieval_store.json_values import Payload, shown

DEFAULTS: Payload = {"space": "l2", "ef_construction": 100, "max_neighbors": 16, "ef_search": 100}
SEARCH_TIME = ("ef_search",)
_log = logging.getLogger("retrieval_store")
_ALIASES = {"M": "max_neighbors"}
_METADATA_KEYS = {
    "hnsw:space": "space",
    "hnsw:construction_ef": "ef_construction",
    "hnsw:M": "max_neighbors",
    "hnsw:search_ef": "ef_search",
}


def given_settings(configuration: Any, metadata: Payload | None) -> Payload:
    """The index settings that the two arguments name, checked; ConflictError when they disagree."""
    settings = _from_configuration(configuration)
    for key, name in _METADATA_KEYS.items():
        if metadata and key in metadata:
            value = _checked(name, metadata[key], f"metadata[{key!r}]")
            if settings.setdefault(name, value) != value:
                raise ConflictError(
                    f"configuration says {name} is {settings[name]!r}, metadata[{key!r}] {value!r}"
                )
    for key in metadata or {}:
        if key.startswith("hnsw:") and key not in _METADATA_KEYS:
            _log.warning("metadata key %r chooses no setting here; it is only stored", key)
    return settings


def stored_settings(record: CollectionRecord) -> Payload:
    """The settings of a collection as `Client` stored them; DamagedError when they aren't."""
    match record.settings:
        case {"metadata": None | dict(), "hnsw": dict() as hnsw, "embedding_function": spec}:
            known = spec is None or (isinstance(spec, dict) and _is_spec(spec))
            if known and set(hnsw) == set(DEFAULTS) and hnsw["space"] in METRICS:
                return record.settings
    raise DamagedError(f"the catalog is damaged: collection {record.name!r} has no such settings")


def _is_spec(spec: Payload) -> bool:
    match spec:
        case {"name": str(), "settings": dict()} | {"custom": str()}:
            return True
    return False


def refuse_conflict(given: Payload, stored: Payload, changeable: tuple[str, ...]) -> None:
    """Raise ConflictError for a setting that differs and can't be changed."""
    for name, value in given.items():
        if name not in changeable and value != stored[name]:
            raise ConflictError(
                f"the collection was created with {name}={stored[name]!r}, which can't become "
                f"{value!r}"
            )


def metric_of(settings: Payload) -> Metric:
    """The distance of a collection with these settings."""
    return cast(Metric, settings["space"])


def _from_configuration(configuration: Any) -> Payload:
    if configuration is None:
        return {}
    hnsw = _mapping(configuration, "configuration", ("hnsw",)).get("hnsw") or {}
    names = (*DEFAULTS, *_ALIASES)
    return {
        _ALIASES.get(name, name): _checked(
            _ALIASES.get(name, name), value, f"configuration['hnsw'][{name!r}]"
        )
        for name, value in _mapping(hnsw, "configuration['hnsw']", names).items()
        if value is not None
    }


def _mapping(value: Any, place: str, names: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidArgumentError(f"{place} is {shown(value)}, expected a dict")
    unknown = [name for name in value if name not in names]
    if unknown:
        hint = "; it belongs under 'hnsw'" if unknown[0] in (*DEFAULTS, *_ALIASES) else ""
        raise InvalidArgumentError(
            f"{place} has the unknown key {unknown[0]!r}; known are {', '.join(names)}{hint}"
        )
    return value


def _checked(name: str, value: Any, place: str) -> str | int:
    if name != "space":
        return whole_number(value, place, 2 if name == "max_neighbors" else 1, 2**31 - 1)
    if not isinstance(value, str) or value not in METRICS:
        raise InvalidArgumentError(f"{place} is {shown(value)}, expected one of {METRICS}")
    return value
