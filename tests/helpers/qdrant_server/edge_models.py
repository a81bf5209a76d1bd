"""Converts models of Qdrant's REST interface to those of its engine, and the engine's results to
JSON.
"""

import math
import re
import uuid
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

import numpy as np
import qdrant_edge as edge
from qdrant_client.http import models

from tests.helpers.qdrant_server.refusals import invalid, malformed


def named(kind: Any, given: Enum | None) -> Any:
    """The engine's member of the same name: `max_sim` is MaxSim."""
    if given is None:
        return None
    return getattr(kind, "".join(word.capitalize() for word in str(given.value).split("_")))


def listed(given: Any) -> list[Any]:
    """A list of values, from a single value, a list, or None."""
    if given is None:
        return []
    return given if isinstance(given, list) else [given]


# ids


def point_id(given: Any) -> int | str:
    """An id as the engine writes it, since a UUID has several spellings."""
    if isinstance(given, int) and 0 <= given < 2**64:
        return given
    try:
        return str(given if isinstance(given, uuid.UUID) else uuid.UUID(given))
    except (ValueError, AttributeError) as error:
        raise malformed(f"value {given} is not a valid point ID") from error


def id_order(one: int | str) -> tuple[bool, int]:
    """Numbers come before UUIDs."""
    return (False, one) if isinstance(one, int) else (True, uuid.UUID(one).int)


def parsed(key: str) -> tuple[str, ...]:
    """The path of a key, with quoted or unquoted parts."""
    steps = re.findall(r'"([^"]*)"|([^.\[\]"]+)|(\[\d*\])', key)
    return tuple(quoted or name or place for quoted, name, place in steps)


# filters


def filter_of(given: models.Filter | None) -> Any:
    """A filter; None for None."""
    if given is None:
        return None
    least = given.min_should
    return edge.Filter(
        must=_conditions(given.must),
        should=_conditions(given.should),
        must_not=_conditions(given.must_not),
        min_should=_least(least) if least else None,
    )


def _conditions(given: Any) -> list[Any] | None:
    return None if given is None else [condition(one) for one in listed(given)]


def _least(given: models.MinShould) -> Any:
    if given.min_count < 1:
        raise invalid("min_should.min_count: value 0 invalid, must be 1 or larger")
    return edge.MinShould([condition(one) for one in given.conditions], given.min_count)


def condition(given: Any) -> Any:
    """A condition of a filter."""
    match given:
        case models.Filter():
            return filter_of(given)
        case models.FieldCondition():
            return _field(given)
        case models.HasIdCondition(has_id=ids):
            return edge.HasIdCondition({point_id(one) for one in ids})
        case models.NestedCondition(nested=nested):
            return edge.NestedCondition(nested.key, filter_of(nested.filter))
        case models.IsEmptyCondition(is_empty=field):
            return edge.IsEmptyCondition(field.key)
        case models.IsNullCondition(is_null=field):
            return edge.IsNullCondition(field.key)
        case models.HasVectorCondition(has_vector=name):
            return edge.HasVectorCondition(name)
    raise NotImplementedError(f"the engine can't be told {given!r}")


def _field(given: models.FieldCondition) -> Any:
    message = {name: value for name, value in given if value is not None and name != "key"}
    if not message:
        raise bad_condition()
    return edge.FieldCondition(
        given.key, **{name: FIELDS.get(name, lambda v: v)(value) for name, value in message.items()}
    )


def bad_condition() -> Exception:
    """A condition without content."""
    return invalid("At least one field condition must be specified")


def _match(given: Any) -> Any:
    ((_, value),) = given
    # The engine would read Python's True as the integer 1.
    message = np.bool_(value) if isinstance(value, bool) else value
    return getattr(edge, type(given).__name__)(message)


def _range(given: Any) -> Any:
    bounds = {name: value for name, value in given if value is not None}
    if isinstance(given, models.Range):
        return edge.RangeFloat(**bounds)
    return edge.RangeDateTime(**{name: value.isoformat() for name, value in bounds.items()})


def geo_point(given: models.GeoPoint) -> Any:
    """A geographical point."""
    return edge.GeoPoint(given.lon, given.lat)


def _box(given: models.GeoBoundingBox) -> Any:
    return edge.GeoBoundingBox(geo_point(given.top_left), geo_point(given.bottom_right))


def _polygon(given: models.GeoPolygon) -> Any:
    exterior, *interiors = (
        [geo_point(point) for point in line.points]
        for line in (given.exterior, *(given.interiors or []))
    )
    return edge.GeoPolygon(exterior, interiors)


FIELDS: dict[str, Callable[[Any], Any]] = {
    "match": _match,
    "range": _range,
    "geo_bounding_box": _box,
    "geo_radius": lambda given: edge.GeoRadius(geo_point(given.center), given.radius),
    "geo_polygon": _polygon,
    "values_count": lambda given: edge.ValuesCount(**given.model_dump(exclude_none=True)),
}


# vectors and points


def vector_of(given: Any, embed: str = "embed_document") -> Any:
    """A vector, or several by name."""
    match given:
        case dict():
            return {name: vector_of(one, embed) for name, one in given.items()}
        case models.SparseVector(indices=indices, values=values):
            if len(indices) != len(values):
                raise invalid("indices and values must have the same length")
            if len(set(indices)) != len(indices):
                raise invalid("indices must be unique")
            return edge.SparseVector(indices, values)
        case models.Document():
            return getattr(_bm25(given), embed)(given.text)
        case []:
            raise invalid("vector must not be empty")
        case list():
            return given
    raise NotImplementedError(f"the engine can't embed {given!r}")


def _bm25(given: models.Document) -> Any:
    if (given.model or "").lower() != "qdrant/bm25":
        raise malformed(f"Unsupported model: {given.model}")
    options = models.Bm25Config.model_validate(given.options or {})
    message = {name: value for name, value in options if value is not None}
    return edge.Bm25(
        edge.Bm25Config(**{n: OPTIONS.get(n, lambda v: v)(value) for n, value in message.items()})
    )


def points_of(given: Any) -> list[Any]:
    """The points of an upsert, given as a list or in columns."""
    if isinstance(given, models.PointsList):
        return [
            edge.Point(point_id(one.id), vector_of(one.vector), one.payload or {})
            for one in given.points
        ]
    batch = given.batch
    payloads = batch.payloads or [{}] * len(batch.ids)
    by_name = isinstance(batch.vectors, dict)
    columns = batch.vectors.values() if by_name else [batch.vectors]
    if any(len(column) != len(batch.ids) for column in (*columns, payloads)):
        raise invalid("number of ids, vectors and payloads must be equal")
    rows = list(zip(*columns, strict=True)) if columns else [()] * len(batch.ids)
    vectors = [dict(zip(batch.vectors, row, strict=True)) if by_name else row[0] for row in rows]
    return [
        edge.Point(point_id(one), vector_of(vector), payload or {})
        for one, vector, payload in zip(batch.ids, vectors, payloads, strict=True)
    ]


def vector_params(given: models.VectorParams) -> Any:
    """The configuration of a dense vector. Quantization and graphs are omitted, since this server
    searches exactly."""
    if given.size > 65_536:
        raise invalid("vectors.size: value must be 1 to 65536")
    multi = None
    if given.multivector_config:
        kind = named(edge.MultiVectorComparator, given.multivector_config.comparator)
        multi = edge.MultiVectorConfig(kind)
    return edge.EdgeVectorParams(
        given.size,
        named(edge.Distance, given.distance),
        datatype=named(edge.VectorStorageDatatype, given.datatype),
        multivector_config=multi,
    )


def sparse_params(given: models.SparseVectorParams) -> Any:
    """The configuration of a sparse vector."""
    return edge.EdgeSparseVectorParams(
        modifier=named(edge.Modifier, given.modifier),
        datatype=named(edge.VectorStorageDatatype, given.index.datatype if given.index else None),
    )


# indexes of payloads


def index_of(given: Any) -> Any:
    """The schema of a payload index."""
    if isinstance(given, models.PayloadSchemaType):
        return named(edge.PayloadSchemaType, given)
    message = {n: value for n, value in given if value is not None and n not in ("type", "memory")}
    return getattr(edge, type(given).__name__)(
        **{name: OPTIONS.get(name, lambda v: v)(value) for name, value in message.items()}
    )


def _stopwords(given: Any) -> Any:
    if isinstance(given, models.StopwordsSet):
        languages = {named(edge.Language, one) for one in given.languages or []}
        return edge.StopwordsSet(languages, set(given.custom or []))
    return named(edge.Language, given)


def _stemmer(given: Any) -> Any:
    if isinstance(given, models.SnowballParams):
        return edge.SnowballParams(named(edge.SnowballLanguage, given.language))
    return edge.DisabledStemmer()


OPTIONS: dict[str, Callable[[Any], Any]] = {
    "tokenizer": lambda given: named(edge.TokenizerType, given),
    "stopwords": _stopwords,
    "stemmer": _stemmer,
}


# answers


def with_payload(given: Any, default: bool) -> Any:
    """The selection of a payload."""
    match given:
        case models.PayloadSelectorInclude(include=keys):
            return edge.PayloadSelector.Include(keys)
        case models.PayloadSelectorExclude(exclude=keys):
            return edge.PayloadSelector.Exclude(keys)
    return default if given is None else given


def number(given: float) -> float | None:
    """A number for JSON, which has no infinity."""
    return given if math.isfinite(given) else None


def vector_said(given: Any) -> Any:
    """A vector as JSON."""
    match given:
        case dict():
            return {name: vector_said(one) for name, one in given.items()}
        case list():
            return [vector_said(one) for one in given]
        case edge.SparseVector():
            return {"indices": given.indices, "values": [number(one) for one in given.values]}
    return number(given)


def record_said(given: Any) -> dict[str, Any]:
    """A point as JSON, from a search or a read."""
    message: dict[str, Any] = {"id": point_id(given.id)}
    if hasattr(given, "score"):
        message |= {"version": given.version, "score": number(given.score)}
    for name in ("payload", "order_value"):
        if getattr(given, name) is not None:
            message[name] = getattr(given, name)
    if given.vector is not None:
        message["vector"] = vector_said(given.vector)
    return message


def ids_of(given: Sequence[Any]) -> list[int | str]:
    """Ids as the engine writes them."""
    return [point_id(one) for one in given]
