"""Finds the collections of a store for each call, by name or alias, with their configuration.

Shard keys are refused, since only a cluster has shard keys. `collection_info` describes a
collection as a server reports it.
"""

import math
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import numpy as np
from qdrant_client import models

from retrieval_store.backends import Session, embedded_store
from retrieval_store.base.validation import Payload
from retrieval_store.errors import NotFoundError
from retrieval_store.filters.nodes import Expression
from retrieval_store.qdrant.config import (
    HNSW_REPORTED,
    KEY,
    OPTIMIZERS_REPORTED,
    PARAMS_REPORTED,
    UNNAMED,
    WAL_REPORTED,
    CollectionConfig,
    Vector,
    check_name,
    configuration_of,
    settings_of,
    stored_config,
    with_sizes,
)
from retrieval_store.qdrant.filter_parser import parse_filter
from retrieval_store.qdrant.payload_indexes import parse_filled
from retrieval_store.qdrant.refusals import Refused, describe, not_found, wrong
from retrieval_store.query.protocols import EmbeddedPoints, EmbeddedStore
from retrieval_store.query.types import CollectionRecord

KEPT = 256  # configurations
CUSTOM, AUTO = "custom", "auto"


@dataclass(frozen=True, slots=True)
class CollectionHandle:
    """An opened collection, in its state at the beginning of a call: its record, its configuration,
    and its points. Code of a server may use all fields and methods except the configuration."""

    record: CollectionRecord
    configuration: CollectionConfig
    points: EmbeddedPoints

    def vector(self, name: str) -> Vector:
        """The vector space of this name; raises Refused if there is none."""
        vector = self.configuration.by_name.get(name)
        if vector is None:
            raise wrong(f"Wrong input: Not existing vector name error: {name}")
        return vector

    @property
    def vector_names(self) -> Container[str]:
        """The names of the collection's vector spaces."""
        return self.configuration.by_name

    @property
    def rate_limits(self) -> tuple[int | None, int | None]:
        """The limits of reads and of writes per minute; None for no limit."""
        strict = self.configuration.strict
        return strict.read_rate_limit, strict.write_rate_limit

    def check_filter(self, value: Any) -> Expression | None:
        """A filter of qdrant-client as an expression; raises InvalidFilterError if the filter is
        invalid."""
        return parse_filter(value, self.configuration.indexes_by_path)

    def count(self, value: Any) -> int:
        """The number of points that fulfil a filter of qdrant-client."""
        return self.points.number(self.check_filter(value))


class Collections:
    """The collections of a session's store, with their configurations."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._store: EmbeddedStore | None = None
        self._configurations: dict[str, tuple[object, CollectionConfig]] = {}

    @property
    def store(self) -> EmbeddedStore:
        """The store; raises ClientClosedError if the session is closed."""
        store = self._store
        if store is None or self._session.closed:
            self._store = store = embedded_store(self._session)
        return store

    def open(self, name: str) -> CollectionHandle:
        """The collection with this name or alias; raises Refused if there is none."""
        store = self.store
        try:
            record = store.resolve(name)
        except NotFoundError:
            raise not_found(f"Not found: Collection `{name}` doesn't exist!") from None
        points = store.points(record.id)
        return CollectionHandle(record, self._configuration(record, points), points)

    def look_up(self, name: str) -> CollectionHandle:
        """The collection with this name or alias, from which a query takes vectors of examples, or
        payloads. If there is no such collection, raises Refused with Qdrant's message for this
        case."""
        try:
            return self.open(name)
        except Refused as error:
            if error.status_code != HTTPStatus.NOT_FOUND:
                raise
            raise not_found(f"Not found: Collection {name} not found") from None

    def name_of(self, name: str) -> str:
        """The name of the collection to which an alias refers; any other name is returned
        unchanged."""
        try:
            return self.store.resolve(name).name
        except NotFoundError:
            return check_name(name)

    def _configuration(self, record: CollectionRecord, points: EmbeddedPoints) -> CollectionConfig:
        stored = stored_config(record)
        if stored is None:
            return configuration_of(record, points.spaces())
        known = self._configurations.get(record.id)
        if known is not None and known[0] == stored:
            return known[1]
        configuration = configuration_of(record, ())
        if configuration.lacks_sizes:
            return with_sizes(configuration, points.spaces())
        if len(self._configurations) >= KEPT:
            self._configurations.clear()
        self._configurations[record.id] = stored, configuration
        return configuration

    def change(
        self,
        opened: CollectionHandle,
        edit: Callable[[CollectionConfig], CollectionConfig],
        edit_metadata: Callable[[Payload | None], Payload | None] = lambda metadata: metadata,
    ) -> None:
        """Replace the configuration of a collection, and its metadata, in one transaction."""

        def replaced(record: CollectionRecord) -> CollectionRecord:
            spaces = () if KEY in record.settings else opened.points.spaces()
            configuration = edit(configuration_of(record, spaces))
            old = record.settings.get("metadata")
            metadata = edit_metadata(old if isinstance(old, dict) else None)
            settings = _merge_settings(record.settings, settings_of(configuration, metadata))
            return CollectionRecord(record.id, record.name, settings)

        self.store.change(opened.record.id, replaced)


def _merge_settings(old: Payload, new: Payload) -> Payload:
    """New settings from Qdrant's API, merged with old settings that `Collection` has stored.
    Metadata, and the configuration under `KEY`, come from the new settings. The "hnsw" settings are
    the old ones if old and new settings have the same distance, otherwise the new ones."""
    others = {name: value for name, value in old.items() if name not in ("metadata", "hnsw", KEY)}
    settings = {**new, **others}
    old_hnsw, new_hnsw = old.get("hnsw"), new.get("hnsw")
    if (
        isinstance(old_hnsw, dict)
        and isinstance(new_hnsw, dict)
        and old_hnsw["space"] == new_hnsw["space"]
    ):
        settings["hnsw"] = old_hnsw
    return settings


def check_shard_key(value: Any) -> None:
    """Refuse any shard key, since collections in this process have no shard keys."""
    if value is not None:
        raise wrong(f"Bad request: there is no shard key {describe(value)}")


def check_sharding(opened: CollectionHandle) -> None:
    """Refuse writes to a collection with custom sharding, since a store in this process has no
    shard keys."""
    if opened.configuration.params.get("sharding_method") == CUSTOM:
        raise wrong(
            f"Bad request: collection {opened.record.name!r} has custom sharding, and there is no "
            "shard key that its points could go to"
        )


def collection_info(opened: CollectionHandle) -> models.CollectionInfo:
    """All information about a collection. The numbers in it are exact; those of a server are
    estimates."""
    configuration = opened.configuration
    return models.CollectionInfo.model_validate(
        {
            "status": "green",
            "optimizer_status": "ok",
            "indexed_vectors_count": _count_indexed(opened),
            "points_count": opened.points.number(None),
            "segments_count": 1,
            "config": {
                "params": _params(configuration),
                "hnsw_config": {**HNSW_REPORTED, **configuration.hnsw_config},
                "optimizer_config": _optimizers(configuration),
                "wal_config": {**WAL_REPORTED, **configuration.wal_config},
                "quantization_config": configuration.quantization_config,
                "strict_mode_config": configuration.strict_mode_config,
                "metadata": opened.record.settings.get("metadata"),
            },
            "payload_schema": {
                key: {**schema, "points": _points(opened, key, index)}
                for (key, schema), index in zip(
                    configuration.payload_schema.items(),
                    configuration.indexes.values(),
                    strict=True,
                )
            },
            "update_queue": {"length": 0},
            "warnings": [{"message": warning} for warning in _warnings(configuration)] or None,
        }
    )


def _warnings(configuration: CollectionConfig) -> Iterator[str]:
    """Yield a warning for each part of a configuration that a server would not support."""
    for name, params in configuration.vectors.items():
        graph = {**configuration.hnsw_config, **(params.get("hnsw_config") or {})}
        if not graph.get("inline_storage"):
            continue
        if params.get("multivector_config"):
            yield f"vectors {name!r} have inline_storage, which multivectors can't have"
        elif not (params.get("quantization_config") or configuration.quantization_config):
            yield f"vectors {name!r} have inline_storage, which needs quantization"


def _optimizers(configuration: CollectionConfig) -> dict[str, Any]:
    settings = {**OPTIMIZERS_REPORTED, **configuration.optimizer_config}
    if settings.get("max_optimization_threads") == AUTO:  # as many as there may be: as if unset
        del settings["max_optimization_threads"]
    return settings


def _params(configuration: CollectionConfig) -> dict[str, Any]:
    vectors: Any = configuration.vectors
    params = {**PARAMS_REPORTED, **configuration.params}
    if vectors.keys() == {UNNAMED}:
        vectors = vectors[UNNAMED]
    params["vectors"] = vectors
    if configuration.sparse_vectors:
        params["sparse_vectors"] = configuration.sparse_vectors
    return params


def _count_indexed(opened: CollectionHandle) -> int:
    """How many vectors count as indexed: all sparse vectors; all vectors in a graph; and all
    vectors of a space that is larger than the collection's `indexing_threshold`. A server indexes
    such a space, and programs wait until it has done so."""
    graphs: Any = opened.points.stats()["spaces"]
    settings = {**OPTIMIZERS_REPORTED, **opened.configuration.optimizer_config}
    threshold = settings.get("indexing_threshold") or math.inf  # kB
    count = 0
    for space in opened.points.spaces():
        size = space.count * (space.dimension or 0) * np.dtype(space.datatype).itemsize / 1024
        if space.kind == "sparse" or size > threshold:
            count += space.count
        elif space.name in graphs:
            count += min(graphs[space.name]["indexed_slots"], space.count)
    return count


def _points(opened: CollectionHandle, key: str, index: Any) -> int:
    """The number of points that have a value for an index on this key."""
    return opened.points.number(parse_filled(key, index))
