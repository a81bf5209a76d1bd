"""Reads the bodies of requests as a Qdrant server reads them.

qdrant-client's models describe bodies as a client sends them. In this module, each model has a
subclass that accepts what a server accepts, so that parsed bodies are instances of the client's
models:

- unknown fields are ignored, except where a misspelled field would select other points (`CLOSED`);
- numbers, texts and booleans aren't coerced: "4" and 4.0 aren't integers, and counts aren't
  negative;
- names, types and defaults of fields can differ, as listed in `DIFFERENCES`: some optional fields
  may not be null, and payload paths are checked while the body is read.

Bodies with points may contain millions of numbers (`points_to_write`). A JSON parser that makes an
object for each number, as orjson does, takes longer than writing the points. simdjson puts the
numbers of a list into a buffer instead. If simdjson isn't installed, or refuses a body, orjson
parses the body. In both cases, this module checks the usual content in a few large steps, and the
models check everything else.
"""

import copy
import datetime
import inspect
import re
import threading
import types
import typing
import uuid
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import numpy as np
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import SchemaValidator
from qdrant_client.http.models import models

from retrieval_store.errors import InvalidFilterError
from retrieval_store.extension import Matrix, describe, make_model, uuid_in
from retrieval_store.qdrant import QdrantService, Refused
from retrieval_store_server.http.json_bodies import (
    MAX_CONTAINERS,
    as_json,
    refuse_deep,
    refuse_many,
)
from retrieval_store_server.http.refusals import invalid, wrong
from retrieval_store_server.values import INT_MAX

CLOSED = {
    "Filter",
    "FilterSelector",
    "PayloadSelectorExclude",
    "PayloadSelectorInclude",
    "PointIdsList",
}

OLDER = "retrieval_store_server.http.legacy_search"  # whose models need no changes


def as_id(value: Any) -> Any:
    """The value, if it is a point id: an unsigned 64-bit integer or a UUID. Otherwise raises
    ValueError."""
    if type(value) is int and 0 <= value <= INT_MAX:
        return value
    if type(value) is not str:
        raise ValueError(
            f"{describe(value)} is not a valid point ID: an unsigned integer or a UUID"
        )
    if uuid_in(value) is None:
        raise ValueError(f"{value} is not a valid point ID: an unsigned integer or a UUID")
    return value


def _as_any_id(value: Any, info: ValidationInfo) -> Any:
    """A point id, or any other string, since a Collection can write points with any string as id.
    Such strings are collected in `context["strings"]`, and looked up in the collection later."""
    try:
        return as_id(value)
    except ValueError:
        if type(value) is not str or not info.context:
            raise
        info.context["strings"].append(value)
        return value


def _as_text(value: Any) -> Any:
    """The value, if it is a string that may contain a date; otherwise raises ValueError. A string
    that contains only a number is refused, since it would be read as a number."""
    if not isinstance(value, str) or value.replace(".", "").lstrip("+-").isdigit():
        raise ValueError("expected a date and a time as RFC 3339 has them")
    return value


def _as_path(value: str) -> str:
    """The value, if it is a valid path into payloads; otherwise raises ValueError."""
    try:
        QdrantService.check_path(value)
    except InvalidFilterError as error:
        raise ValueError(str(error)) from None
    return value


Count: TypeAlias = Annotated[int, Field(strict=True, ge=0, le=INT_MAX)]
PointId: TypeAlias = Annotated[Any, AfterValidator(_as_any_id)]
PayloadPath: TypeAlias = Annotated[StrictStr, AfterValidator(_as_path)]
SCALARS: Mapping[Any, Any] = {
    int: Count,
    float: StrictFloat,
    bool: StrictBool,
    str: StrictStr,
    datetime.datetime: Annotated[datetime.datetime, BeforeValidator(_as_text)],
    datetime.date: Annotated[datetime.date, BeforeValidator(_as_text)],
}
_ID_TYPES = (StrictInt, StrictStr, uuid.UUID)


class _UntilFirstError(FailFast):
    """Stops the parsing of a list at its first error. pydantic would collect all errors, which can
    be thousands and take seconds."""

    __hash__ = object.__hash__  # members of unions must be hashable


_UNTIL_FIRST_ERROR = _UntilFirstError()


def list_type(kind: Any) -> Any:
    """The type of a list of `kind` whose parsing stops at the first error."""
    return Annotated[list[kind], _UNTIL_FIRST_ERROR]


@dataclass(frozen=True, slots=True)
class Difference:
    """How Qdrant's server reads a field differently from the client's model. names: additional
    names of the field; kind: the field's type, if it differs from the model's; default: the field's
    value if it is missing."""

    names: tuple[str, ...] = ()
    kind: Any = None
    default: Any = ...


WITH_VECTORS = Difference(names=("with_vectors",))
VECTORS_NEVER_NULL = Difference(names=("with_vectors",), kind=models.WithVector)
OPTIMIZERS = Difference(names=("optimizer_config",))
QUANTIZATION = Difference(names=("quantization",))
PATH, PATHS = Difference(kind=PayloadPath), Difference(kind=list[PayloadPath])
SELECTORS = bool | list[PayloadPath] | models.PayloadSelectorInclude | models.PayloadSelectorExclude
WITH_PAYLOAD = Difference(kind=SELECTORS | None)
NEVER_NULL = Difference(kind=bool)
DIFFERENCES: Mapping[tuple[str, str], Difference] = {
    ("AcornSearchParams", "enable"): NEVER_NULL,
    ("ContextQuery", "context"): Difference(kind=models.ContextInput | None),
    ("CountRequest", "exact"): NEVER_NULL,
    ("CreateCollection", "optimizers_config"): OPTIMIZERS,
    ("CreateCollection", "quantization_config"): QUANTIZATION,
    ("CreateCollection", "vectors"): Difference(
        kind=models.VectorsConfig,
        default=None,  # it is optional, but not nullable
    ),
    ("CreateFieldIndex", "field_name"): PATH,
    ("DeletePayload", "keys"): PATHS,
    ("DiscoverInput", "context"): Difference(kind=models.ContextInput | None, default=None),
    ("FacetRequest", "key"): PATH,
    ("FieldCondition", "key"): PATH,
    ("FormulaQuery", "defaults"): Difference(kind=dict[str, Any]),
    ("GeoDistanceParams", "to"): PATH,
    ("Nested", "key"): PATH,
    ("OrderBy", "key"): PATH,
    ("OrderByQuery", "order_by"): Difference(kind=PayloadPath | models.OrderBy),
    ("PayloadField", "key"): PATH,
    ("PayloadSelectorExclude", "exclude"): PATHS,
    ("PayloadSelectorInclude", "include"): PATHS,
    ("PointRequest", "with_payload"): WITH_PAYLOAD,
    ("PointRequest", "with_vector"): VECTORS_NEVER_NULL,
    ("QuantizationSearchParams", "ignore"): NEVER_NULL,
    ("QueryGroupsRequest", "group_by"): PATH,
    ("QueryGroupsRequest", "with_payload"): WITH_PAYLOAD,
    ("QueryGroupsRequest", "with_vector"): WITH_VECTORS,
    ("QueryRequest", "with_payload"): WITH_PAYLOAD,
    ("QueryRequest", "with_vector"): WITH_VECTORS,
    ("QuotaConfig", "enabled"): NEVER_NULL,
    ("ScrollRequest", "order_by"): Difference(kind=PayloadPath | models.OrderBy | None),
    ("ScrollRequest", "with_payload"): WITH_PAYLOAD,
    ("ScrollRequest", "with_vector"): VECTORS_NEVER_NULL,
    ("SearchParams", "exact"): NEVER_NULL,
    ("SearchParams", "indexed_only"): NEVER_NULL,
    ("SetPayload", "key"): Difference(kind=PayloadPath | None),
    ("TextIndexParams", "tokenizer"): Difference(kind=models.TokenizerType),
    ("UpdateCollection", "optimizers_config"): OPTIMIZERS,
    ("UpdateCollection", "quantization_config"): QUANTIZATION,
    ("VectorParams", "quantization_config"): QUANTIZATION,
    ("VectorParams", "size"): Difference(kind=Annotated[int, Field(strict=True, ge=1)]),
    ("VectorParamsDiff", "quantization_config"): QUANTIZATION,
    ("WithLookup", "with_payload"): WITH_PAYLOAD,
    ("WithLookup", "with_vectors"): Difference(names=("with_vector",)),
}


class _Derived:
    """Creates the classes that parse bodies: subclasses of qdrant-client's models. Each subclass is
    created at its first use, together with all classes to which it refers. If classes refer to each
    other in a cycle, one of them refers to another by its name."""

    def __init__(self) -> None:
        self._by_name: dict[str, Any] = {}
        self._in_circles: list[type[BaseModel]] = []

    def of(self, kind: Any) -> Any:
        """The type that parses bodies as a Qdrant server does, for a type of qdrant-client. The
        client's type is a model, or contains models."""
        annotation = self.annotation(kind)
        for model in self._in_circles:
            model.model_rebuild(_types_namespace=self._by_name)
        self._in_circles.clear()
        return annotation

    def annotation(self, kind: Any) -> Any:
        """The same type as `of` returns, but the classes to which this type refers may not exist
        yet."""
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin in (typing.Union, types.UnionType):
            return typing.Union[tuple(self._members(arguments))]  # noqa: UP007  made here
        if origin is list:
            return list_type(self.annotation(arguments[0]))
        if origin is dict:
            return dict[StrictStr, self.annotation(arguments[1])]  # type: ignore[misc]
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            return self._make_type(kind)
        return SCALARS.get(kind, kind)

    def _members(self, kinds: tuple[Any, ...]) -> list[Any]:
        """The types that parse the members of a union. All types of ids among the members become
        one type, `PointId`."""
        if uuid.UUID not in kinds:
            return [self.annotation(kind) for kind in kinds]
        others = [self.annotation(kind) for kind in kinds if kind not in _ID_TYPES]
        return [*others, PointId]

    def _make_type(self, model: type[BaseModel]) -> Any:
        name = model.__name__
        if name in self._by_name:
            return self._by_name[name]
        self._by_name[name] = typing.ForwardRef(name)
        annotations, fields = {}, {}
        for field, field_info in model.model_fields.items():
            info = _read_otherwise(copy.copy(field_info), (name, field))
            info.annotation = self.annotation(info.annotation)
            annotations[field], fields[field] = info.annotation, info
        body = {
            "__annotations__": annotations,
            "__module__": __name__,
            "model_config": ConfigDict(extra="forbid" if name in CLOSED else "ignore"),
            **fields,
        }
        derived: Any = type(name, (model,), body)
        self._by_name[name] = derived
        if not derived.__pydantic_complete__:
            self._in_circles.insert(0, derived)
        return derived


def _read_otherwise(info: Any, place: tuple[str, str]) -> Any:
    """The field information of a model's field, with the changes in `DIFFERENCES`. place: the names
    of the model and the field."""
    difference = DIFFERENCES.get(place)
    if difference is not None:
        if difference.kind is not None:
            info.annotation = difference.kind
        if difference.default is not ...:
            info.default = difference.default
        if difference.names:
            info.validation_alias = AliasChoices(place[1], *difference.names)
    return info


# The server's version of one of qdrant-client's types: a model, or a union of models.
server_type = _Derived().of
_validators: dict[Any, SchemaValidator] = {}


def prepare(*kinds: Any) -> None:
    """Create the validators that `parse_body` uses for these types, and the classes that the
    validators need. This is called while modules are loaded, since two threads cannot create
    classes that refer to each other at the same time."""
    for kind in kinds:
        is_own = getattr(kind, "__module__", "") == OLDER
        adapter: Any = TypeAdapter(kind if is_own else server_type(kind))
        _validators[kind] = adapter.validator


def parse_body(kind: Any, value: Any, strings: list[str]) -> Any:
    """Validate a body as an instance of `kind`, for which a validator must have been created.
    Raises Refused (400) if the body is invalid. strings: a list to which ids are added that are
    neither integers nor UUIDs."""
    try:
        return _validators[kind].validate_python(value, context={"strings": strings})
    except ValidationError as error:
        raise unreadable(error) from None


def unreadable(error: ValidationError) -> Refused:
    """The refusal of a body with an invalid format. If all alternatives of a union fail, the
    refusal reports the error that lies deepest in the body."""
    details = _without_other_kinds(
        error.errors(include_url=False, include_input=False, include_context=False)
    )
    places = [[part for part in detail["loc"] if not _is_alternative(part)] for detail in details]
    deepest = max(range(len(details)), key=lambda i: len(places[i]))
    place = ".".join(map(str, places[deepest]))
    where = f" at {place[:200]}" if place else ""
    reason = details[deepest]["msg"].removeprefix("Value error, ")
    for wording, plainer in WORDINGS.items():
        reason = reason.replace(wording, plainer)
    reason = reason.partition(" or instance of ")[0]
    return wrong(f"Format error in JSON body{where}: {reason}")


def _without_other_kinds(details: list[Any]) -> list[Any]:
    """The errors that remain without those of some alternatives of unions: alternatives that
    require another `type` than the body has. If no error remains, all errors are returned."""
    tags = [detail["loc"] for detail in details if detail["type"] in ("enum", "literal_error")]
    others = [place[:-1] for place in tags if place[-1:] == ("type",)]
    meant = [
        detail
        for detail in details
        if not any(detail["loc"][: len(other)] == other for other in others)
    ]
    return meant or details


WORDINGS = {"Input should be": "expected", "a valid dictionary": "an object"}


def _is_alternative(part: int | str) -> bool:
    """Whether a part of an error's location is the name of an alternative of a union, and not of a
    field."""
    return isinstance(part, str) and bool(_ALTERNATIVE.search(part))


_ALTERNATIVE = re.compile(r"^(_?[A-Z]\w*|bool|float|int|str)$|\[")  # classes, and other types


simdjson: Any
try:
    import simdjson
except ImportError:
    simdjson = None

Strings: TypeAlias = list[str]
_NUMBERS = {float, int}
LARGE = 64 * 1024  # the body size in bytes from which a second parser is worth its memory
# The size of the largest body after which its parser is kept; the parser holds three times as much
# memory.
KEEP_PARSER_UP_TO = 8 << 20
_parsers = threading.local()  # one for each thread
prepare(models.PointsList, models.PointsBatch, models.VectorStruct, models.BatchVectorStruct)


def points_to_write(sent: bytes, strings: Strings) -> Any:
    """The body of an upsert, as models.PointsList or models.PointsBatch. sent: the bytes of the
    body; strings: a list to which ids are added that are neither integers nor UUIDs."""
    parsed = _with_arrays(sent) if len(sent) > LARGE and simdjson is not None else None
    if parsed is None:
        parsed = as_json(sent)
    if not isinstance(parsed, dict) or not {"points", "batch"} & parsed.keys():
        raise wrong("Format error in JSON body: expected an object with points, or with a batch")
    rest = {name: value for name, value in parsed.items() if name not in ("points", "batch")}
    if "batch" in parsed:
        body = parse_body(
            models.PointsBatch, {**rest, "batch": {"ids": [], "vectors": []}}, strings
        )
        body.batch = _batch(parsed["batch"], strings, _has_booleans(sent))
        return body
    body = parse_body(models.PointsList, {**rest, "points": []}, strings)
    body.points = _points(parsed["points"], sent)
    return body


def _has_booleans(sent: bytes) -> bool:
    """Whether a body may contain booleans. The check takes a millisecond for each megabyte."""
    return b"true" in sent or b"false" in sent


def _with_arrays(sent: bytes) -> Any:
    """A parsed body with points, in which vectors are arrays instead of lists of numbers. None if
    the fast parser cannot parse the body."""
    parser = getattr(_parsers, "parser", None) or simdjson.Parser()
    _parsers.parser = parser if len(sent) <= KEEP_PARSER_UP_TO else None
    try:
        refuse_many(sent, MAX_CONTAINERS)
        body = parser.parse(sent)
        points = body["points"]
        if not isinstance(points, simdjson.Array):
            return None
        # A list within a list of numbers would be read as if its numbers belonged to the outer
        # list.
        is_flat = sent.count(b"[") == 1 + len(points)
        fields = {name: _plain(body[name]) for name in body.keys() if name != "points"}  # noqa: SIM118
        with np.errstate(over="ignore"):  # infinite numbers are refused later, by the vector
            fields["points"] = [_with_array(point, is_flat) for point in points]
        # A list may contain a list after all, where another point's doesn't.
        is_wrong = is_flat and sum(map(_arrays_of, fields["points"])) != len(points)
        refuse_deep(sent, fields)
        return None if is_wrong else fields
    except (ValueError, TypeError, LookupError, RuntimeError):
        return None


def _with_array(point: Any, is_flat: bool) -> dict[str, Any]:
    vector = point["vector"]
    if isinstance(vector, simdjson.Object):
        names = vector.keys()
        vector = {name: _array(vector[name], is_flat) for name in names}
    else:
        vector = _array(vector, is_flat)
    return {"id": point["id"], "vector": vector, "payload": _plain(point.get("payload"))}


def _arrays_of(point: dict[str, Any]) -> int:
    """How many vectors of a parsed point are arrays."""
    vector = point["vector"]
    vectors = vector.values() if type(vector) is dict else [vector]
    return sum(type(entry) is np.ndarray for entry in vectors)


def _array(value: Any, is_flat: bool) -> Any:
    """A list of numbers as (n,) float32; any other value as plain Python objects. is_flat: whether
    the list is known to contain no lists."""
    if not isinstance(value, simdjson.Array) or not len(value) or type(value[0]) not in _NUMBERS:
        return _plain(value)
    if not is_flat and any(isinstance(element, simdjson.Array) for element in value):
        return value.as_list()
    return np.frombuffer(value.as_buffer(of_type="d"), np.float64).astype(np.float32)


def _plain(value: Any) -> Any:
    if isinstance(value, simdjson.Object):
        return value.as_dict()
    return value.as_list() if isinstance(value, simdjson.Array) else value


def _points(value: Any, sent: bytes) -> models.Batch:
    """Points, converted to columns of ids, vectors and payloads. sent: the bytes of the body."""
    if not isinstance(value, list):
        raise wrong("Format error in JSON body: points: expected a list")
    try:
        ids = [point["id"] for point in value]
        vectors = [point["vector"] for point in value]
        payloads = [point.get("payload") for point in value]
    except (TypeError, KeyError, AttributeError):
        raise wrong("Format error in JSON body: points: each needs an id and a vector") from None
    _check_payloads(payloads)
    booleans = set(map(type, vectors)) != {np.ndarray} and _has_booleans(sent)
    columns = {
        "ids": _ids(ids),
        "vectors": [_vectors(vector, i, booleans) for i, vector in enumerate(vectors)],
        "payloads": payloads,
    }
    return make_model(models.Batch, columns)


def _ids(values: list[Any]) -> list[Any]:
    """The ids of points; raises an error if one is invalid."""
    try:
        return [
            point_id if type(point_id) is int and point_id >= 0 else as_id(point_id)
            for point_id in values
        ]
    except ValueError as error:
        raise wrong(f"Format error in JSON body: {error}") from None


def _check_payloads(values: list[Any]) -> None:
    if not {dict, type(None)}.issuperset(map(type, values)):
        raise wrong("Format error in JSON body: a payload is no object")


def _vectors(value: Any, i: int, booleans: bool) -> Any:
    """The vectors of one point: one vector as an array, a multivector, or a dict of vectors by
    name. A value of the dict can also be a sparse vector or a text. i: the position of the point;
    booleans: whether the body may contain booleans, which must not be read as numbers."""
    row = _row(value, booleans)
    if row is not None:
        return row
    if type(value) is dict:
        rows = {name: _row(vector, booleans) for name, vector in value.items()}
        if all(converted is not None for converted in rows.values()):
            return rows
    try:
        return parse_body(models.VectorStruct, _as_lists(value), [])
    except Refused as refused:
        raise wrong(f"{refused.message} (points[{i}].vector)") from None


def refuse_invalid_vectors(body: Any) -> None:
    """Refuse a write with sparse vectors or multivectors that no collection could store. The
    refusal has the same message as in Qdrant."""
    vectors: Any
    if isinstance(body, models.PointsBatch):
        vectors = body.batch.vectors
    elif isinstance(body, models.PointsList | models.UpdateVectors):
        points: Any = body.points
        vectors = points.vectors if isinstance(points, models.Batch) else [p.vector for p in points]
    else:
        return
    for column in vectors.values() if isinstance(vectors, dict) else [vectors]:
        for i, point_vectors in enumerate(column):
            for vector in (
                point_vectors.values() if isinstance(point_vectors, dict) else (point_vectors,)
            ):
                _refuse_invalid(vector, f"points[{i}].vector.?")


def _refuse_invalid(vector: Any, place: str) -> None:
    if isinstance(vector, list):
        if [] in vector:
            raise invalid(f"[{place}.data: all vectors must be non-empty]")
        lengths = [len(row) for row in vector if isinstance(row, list)]
        other = next((length for length in lengths if length != lengths[0]), None)
        if other is not None:
            raise invalid(
                f"[{place}.data: all vectors must have the same dimension, found vector with "
                f"dimension {other}]"
            )
    elif isinstance(vector, models.SparseVector):
        indices = vector.indices
        if len(vector.values) != len(indices):
            raise invalid(
                f"[{place}.values: Validation error: must be the same length as indices [{{}}]]"
            )
        if len(set(indices)) != len(indices):
            raise invalid(f"[{place}.indices: Validation error: must be unique [{{}}]]")


def _as_lists(value: Any) -> Any:
    """The vectors of a point, with arrays converted to lists."""
    if type(value) is not dict:
        return value
    return {
        k: vector.tolist() if type(vector) is np.ndarray else vector for k, vector in value.items()
    }


def _row(value: Any, booleans: bool) -> Matrix | None:
    """A list or an array of numbers as (n,) float32; None for any other value. booleans: whether
    the body may contain booleans, which must not be read as numbers."""
    if type(value) is np.ndarray:
        return value
    if type(value) is not list or not value:
        return None
    if booleans and not _NUMBERS.issuperset(map(type, value)):
        return None
    try:
        return np.frombuffer(array("f", value), np.float32)
    except (TypeError, OverflowError):
        return None


def _batch(value: Any, strings: Strings, booleans: bool) -> models.Batch:
    """A batch of points, with ids, vectors and payloads as columns."""
    if not isinstance(value, dict) or not isinstance(value.get("ids"), list):
        raise wrong("Format error in JSON body: batch: expected an object with ids and vectors")
    ids, vectors = _ids(value["ids"]), value.get("vectors")
    rows = [_row(vector, booleans) for vector in vectors] if isinstance(vectors, list) else [None]
    if all(row is not None for row in rows):
        vectors = rows
    else:
        vectors = parse_body(models.BatchVectorStruct, vectors, strings)
    payloads = value.get("payloads")
    if payloads is not None:
        if not isinstance(payloads, list):
            raise wrong("Format error in JSON body: batch.payloads: expected a list")
        _check_payloads(payloads)
    lengths = {len(ids), *map(len, vectors.values() if isinstance(vectors, dict) else [vectors])}
    if len(lengths | ({len(payloads)} if payloads else set())) > 1:
        raise invalid("as many ids as vectors and payloads")
    return make_model(models.Batch, {"ids": ids, "vectors": vectors, "payloads": payloads})
