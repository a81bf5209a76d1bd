"""Bodies of requests, read as a server reads them.

qdrant-client's models say what a body may hold, but they are a client's. Here each has a subclass
that differs from it as a server does, so that what is read is an instance of the client's model:

- unknown fields are ignored, but in what a mistake would make choose other points (`CLOSED`);
- numbers, texts and booleans aren't coerced: "4" and 4.0 are no integers, and counts aren't
  negative;
- fields have the other names, types and defaults of `DIFFERENCES`.
"""

import copy
import datetime
import inspect
import types
import typing
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

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
from qdrant_client.http.models import models

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.validation import INT_MAX, shown
from retrieval_store.qdrant.errors import Refused, wrong
from retrieval_store.qdrant.vectors import uuid_of

CLOSED = {
    "Filter",
    "FilterSelector",
    "PayloadSelectorExclude",
    "PayloadSelectorInclude",
    "PointIdsList",
}

OLDER = "retrieval_store.server.older"  # whose models are read as they are


def as_id(given: Any) -> Any:
    """An id of a point: an unsigned integer of 64 bits or a UUID; ValueError for anything else."""
    if type(given) is int and 0 <= given <= INT_MAX:
        return given
    if type(given) is not str:
        raise ValueError(f"{shown(given)} is not a valid point ID: an unsigned integer or a UUID")
    if uuid_of(given) is None:
        raise ValueError(f"{given} is not a valid point ID: an unsigned integer or a UUID")
    return given


def _as_known_id(given: Any, info: ValidationInfo) -> Any:
    """The same; or another string, which only a point that Collection has written can have. Such go
    to the list `context["strings"]`, to be looked up where the collection is known."""
    try:
        return as_id(given)
    except ValueError:
        if type(given) is not str or not info.context:
            raise
        info.context["strings"].append(given)
        return given


def _as_text(given: Any) -> Any:
    """What a date is written as: a text, and none of digits alone, which would be a number."""
    if not isinstance(given, str) or given.replace(".", "").lstrip("+-").isdigit():
        raise ValueError("expected a date and a time as RFC 3339 has them")
    return given


Count: TypeAlias = Annotated[int, Field(strict=True, ge=0, le=INT_MAX)]
PointId: TypeAlias = Annotated[Any, AfterValidator(_as_known_id)]
SCALARS: Mapping[Any, Any] = {
    int: Count,
    float: StrictFloat,
    bool: StrictBool,
    str: StrictStr,
    datetime.datetime: Annotated[datetime.datetime, BeforeValidator(_as_text)],
    datetime.date: Annotated[datetime.date, BeforeValidator(_as_text)],
}
_ID_TYPES = (StrictInt, StrictStr, uuid.UUID)


class _UntilOne(FailFast):
    """Ends the reading of a list at the first thing in it that is wrong: with thousands of them,
    all that each isn't would be written down, for seconds."""

    __hash__ = object.__hash__  # as the members of unions must be


_UNTIL_ONE = _UntilOne()


def several(kind: Any) -> Any:
    """The type of a list of such, read until one is wrong."""
    return Annotated[list[kind], _UNTIL_ONE]


@dataclass(frozen=True, slots=True)
class Difference:
    """How a server reads a field otherwise. names: that it may have besides its own; kind: what
    stands for its type; default: what it is when it isn't there."""

    names: tuple[str, ...] = ()
    kind: Any = None
    default: Any = ...


WITH_VECTORS = Difference(names=("with_vectors",))
OPTIMIZERS = Difference(names=("optimizer_config",))
QUANTIZATION = Difference(names=("quantization",))
DIFFERENCES: Mapping[tuple[str, str], Difference] = {
    ("ContextQuery", "context"): Difference(kind=models.ContextInput | None),
    ("CreateCollection", "optimizers_config"): OPTIMIZERS,
    ("CreateCollection", "quantization_config"): QUANTIZATION,
    ("CreateCollection", "vectors"): Difference(
        kind=models.VectorsConfig,
        default=None,  # which may be left out, but not be null
    ),
    ("DiscoverInput", "context"): Difference(kind=models.ContextInput | None, default=None),
    ("PointRequest", "with_vector"): WITH_VECTORS,
    ("QueryGroupsRequest", "with_vector"): WITH_VECTORS,
    ("QueryRequest", "with_vector"): WITH_VECTORS,
    ("ScrollRequest", "with_vector"): WITH_VECTORS,
    ("UpdateCollection", "optimizers_config"): OPTIMIZERS,
    ("UpdateCollection", "quantization_config"): QUANTIZATION,
    ("VectorParams", "quantization_config"): QUANTIZATION,
    ("VectorParams", "size"): Difference(kind=Annotated[int, Field(strict=True, ge=1)]),
    ("VectorParamsDiff", "quantization_config"): QUANTIZATION,
    ("WithLookup", "with_vectors"): Difference(names=("with_vector",)),
}


class _Derived:
    """The subclasses, made with all that they refer to when they are first asked for. Where they
    refer to each other in circles, one does so by its name."""

    def __init__(self) -> None:
        self._by_name: dict[str, Any] = {}
        self._in_circles: list[type[BaseModel]] = []

    def of(self, kind: Any) -> Any:
        """A type of the client's, a model or one made of models, as a server has it."""
        found = self.annotation(kind)
        for one in self._in_circles:
            one.model_rebuild(_types_namespace=self._by_name)
        self._in_circles.clear()
        return found

    def annotation(self, kind: Any) -> Any:
        """The same, while not all may be known that it refers to."""
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin in (typing.Union, types.UnionType):
            return typing.Union[tuple(self._members(arguments))]  # noqa: UP007  made here
        if origin is list:
            return several(self.annotation(arguments[0]))
        if origin is dict:
            return dict[StrictStr, self.annotation(arguments[1])]  # type: ignore[misc]
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            return self._made(kind)
        return SCALARS.get(kind, kind)

    def _members(self, kinds: tuple[Any, ...]) -> list[Any]:
        """The members of a union, in which those that ids may be become one."""
        if uuid.UUID not in kinds:
            return [self.annotation(kind) for kind in kinds]
        others = [self.annotation(kind) for kind in kinds if kind not in _ID_TYPES]
        return [*others, PointId]

    def _made(self, model: type[BaseModel]) -> Any:
        name = model.__name__
        if name in self._by_name:
            return self._by_name[name]
        self._by_name[name] = typing.ForwardRef(name)
        annotations, fields = {}, {}
        for field, given in model.model_fields.items():
            info = _read_otherwise(copy.copy(given), (name, field))
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
    """A field of a model, with what `DIFFERENCES` say of it."""
    difference = DIFFERENCES.get(place)
    if difference is not None:
        if difference.kind is not None:
            info.annotation = difference.kind
        if difference.default is not ...:
            info.default = difference.default
        if difference.names:
            info.validation_alias = AliasChoices(place[1], *difference.names)
    return info


_derived = _Derived()
_adapters: dict[Any, TypeAdapter[Any]] = {}


def served(kind: Any) -> Any:
    """A type of qdrant-client's by which a server reads what is an instance of theirs: a model, or
    a union of some."""
    return _derived.of(kind)


def prepare(*kinds: Any) -> None:
    """Make what reads such types, or models of `older`: while modules are loaded, since two threads
    can't make classes that refer to each other at once."""
    for kind in kinds:
        is_own = getattr(kind, "__module__", "") == OLDER
        _adapters[kind] = TypeAdapter(kind if is_own else served(kind))


def read(kind: Any, given: Any, strings: list[str]) -> Any:
    """A body as an instance of a `kind` that was prepared; Refused (400) where it is none. strings:
    takes the ids in it that are neither integers nor UUIDs."""
    try:
        return _adapters[kind].validate_python(given, context={"strings": strings})
    except ValidationError as error:
        raise unreadable(error) from None


def unreadable(error: ValidationError) -> Refused:
    """What is said of a body that has another format."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function"))
    where = f" at {place[:200]}" if place else ""
    return wrong(f"Format error in JSON body{where}: {first['msg']}")
