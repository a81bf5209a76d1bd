"""Converts data of the interface into messages of JSON and arrays, and back, by its types.

A message begins with eight bytes, which say what it is and how long the JSON is; then come the
JSON, an object with the `data` and for each of the `arrays` its type and shape, and the arrays as
they lie in memory, each at a multiple of 16 bytes. Numbers are little-endian.

A `Coder` writes and reads values of one type, simple or made of others. An object becomes {"~": the
name of its class, and each field that isn't its default}. An array becomes its place among the
arrays of the message: {"~": "array", "at": the place} where something else may stand, and the
place alone in columns of points. The reader checks each value against its type as it makes it: all
values are of the classes that a table names (`class_of`), and nothing else.
"""

import math
import re
import struct
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from importlib import import_module
from typing import (
    Any,
    Literal,
    Protocol,
    TypeAlias,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np
import numpy.typing as npt
import orjson

from retrieval_store.base.arrays import Ints, Matrix, SparseVector, plain_scalar
from retrieval_store.base.validation import INT_MAX, INT_MIN, is_unicode
from retrieval_store.errors import InvalidArgumentError, InvalidFilterError
from retrieval_store.filters.leaves import MAX_NODES
from retrieval_store.filters.nodes import (
    COMBINATIONS,
    MAX_DEPTH,
    AtLeast,
    Expression,
    Not,
    terms_of,
)
from retrieval_store.query.types import (
    UNSET,
    Hits,
    NonDenseVector,
    NonDenseVectors,
    PointBatch,
    PointId,
    Points,
    Projection,
    ShownIds,
    Vectors,
    VectorsRead,
)

Array: TypeAlias = npt.NDArray[Any]
Buffer: TypeAlias = bytes | bytearray | memoryview
Parts: TypeAlias = Sequence[Buffer]
MAX_BYTES = 512 << 20  # bytes of a message
# Lists and objects in the JSON of a message, of which each takes some 100 bytes once it is read.
MAX_CONTAINERS = 5_000_000
COPIED = 64 * 1024  # bytes of a message that is made one part
MEDIA_TYPE = "application/x-retrieval-store"
DTYPES = {name: np.dtype(name) for name in ("<f4", "<f8", "<i8", "<u4", "|b1")}
_HEAD = struct.Struct("<4sI")
_MARK = b"rsw1"
_ALIGNED = 16  # bytes: what any of the types, and the scan, could want
_DEEPEST_SHAPE = 3


class MalformedError(ValueError):
    """Bytes that are no message, or data in a message that has the wrong type."""


def pack_message(data: Any, arrays: Sequence[Array] = ()) -> Parts:
    """A message of JSON values and arrays, in parts: a large array is a part of its own, and isn't
    copied."""
    header = orjson.dumps(
        {"data": data, "arrays": [[array.dtype.str, array.shape] for array in arrays]}
    )
    parts: list[Buffer] = [_HEAD.pack(_MARK, len(header)), header]
    size = _HEAD.size + len(header)
    for array in arrays:
        parts += [bytes(-size % _ALIGNED), _bytes_of(np.ascontiguousarray(array))]
        size += -size % _ALIGNED + array.nbytes
    return parts if size > COPIED else [b"".join(parts)]


def _bytes_of(array: Any) -> memoryview:
    return memoryview(array.reshape(-1)).cast("B")


def size_of(parts: Parts) -> int:
    """Bytes of a message in parts."""
    return sum(map(len, parts))


def unpack_message(message: Buffer, trusted: bool = False) -> tuple[Any, list[Array]]:
    """The data and the arrays of a message. The arrays share its memory, and are writable if it is.
    MalformedError for bytes that are no message, and unless it is trusted for one with more than
    MAX_CONTAINERS lists and objects."""
    if len(message) < _HEAD.size:
        raise MalformedError("it is too short")
    mark, length = _HEAD.unpack_from(message)
    if mark != _MARK:
        raise MalformedError("it isn't one of retrieval-store")
    start = _HEAD.size
    try:
        sent = bytes(memoryview(message)[start : start + length])
        if not trusted and has_many_containers(sent, MAX_CONTAINERS):
            raise MalformedError(f"it has more than {MAX_CONTAINERS:,} lists and objects")
        header = orjson.loads(sent)
        data, described = header["data"], header["arrays"]
        return data, _arrays(message, described, start + length)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise MalformedError(str(error)) from None


# Texts of JSON. Also one that doesn't end, and none is looked at twice: anybody may send a message.
_TEXTS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


def has_many_containers(sent: bytes, most: int) -> bool:
    """Whether more than so many lists and objects would be made of some JSON."""
    if len(sent) <= most or _brackets(sent) <= most:
        return False
    return _brackets(_TEXTS.sub(b"", sent)) > most


def _brackets(sent: bytes) -> int:
    return sent.count(b"[") + sent.count(b"{")


def _arrays(message: Buffer, described: Any, start: int) -> list[Array]:
    arrays = []
    for name, shape in described:
        dtype = DTYPES[name]
        if len(shape) > _DEEPEST_SHAPE or not all(type(n) is int and n >= 0 for n in shape):
            raise MalformedError(f"there is no array of the shape {shape!r}")
        start += -start % _ALIGNED
        count = math.prod(shape)
        if start + count * dtype.itemsize > len(message) and count:
            raise MalformedError(f"an array of the shape {shape!r} is cut off")
        arrays.append(
            np.frombuffer(message, dtype, count, start).reshape(shape)
            if count
            else np.empty(shape, dtype)
        )
        start += count * dtype.itemsize
    return arrays


NAME = "~"
MAX_DIGITS = 100_000  # hexadecimal digits of an integer
_HEX = re.compile("-?[0-9a-f]+")


class Coder(Protocol):
    """Encodes values of one type as JSON data, and decodes them. can_encode: whether a value is of
    the type; can_decode: whether data could stand for one."""

    def can_encode(self, value: Any) -> bool: ...
    def encode(self, value: Any, arrays: list[Array]) -> Any: ...
    def can_decode(self, data: Any) -> bool: ...
    def decode(self, data: Any, arrays: Sequence[Array]) -> Any: ...


class Plain:
    """A type that JSON has itself."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    def can_encode(self, value: Any) -> bool:
        value = plain_scalar(value)
        return isinstance(value, self.kind) and (self.kind is bool or type(value) is not bool)

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        value = plain_scalar(value)
        return value if type(value) is self.kind else self.kind(value)

    def can_decode(self, data: Any) -> bool:
        return type(data) is self.kind

    def decode(self, data: Any, arrays: Sequence[Array]) -> Any:
        if type(data) is not self.kind:
            raise no_such(data, f"a value of type {self.kind.__name__}")
        return data


class TextCoder(Plain):
    """Strings, including lone surrogates, which JSON can't hold."""

    def __init__(self) -> None:
        super().__init__(str)

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        text = str.__str__(value)
        if text.isascii() or is_unicode(text):
            return text
        return {NAME: "str", "is": text.encode("utf-8", "surrogatepass").hex()}

    def can_decode(self, data: Any) -> bool:
        return type(data) is str or name_in(data) == "str"

    def decode(self, data: Any, arrays: Sequence[Array]) -> Any:
        if name_in(data) != "str":
            return super().decode(data, arrays)
        try:
            return bytes.fromhex(data["is"]).decode("utf-8", "surrogatepass")
        except (LookupError, TypeError, ValueError):
            raise no_such(data, "a string") from None


class Integer(Plain):
    """Integers of any size, including those that not all JSON parsers read."""

    def __init__(self) -> None:
        super().__init__(int)

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        number = super().encode(value, arrays)
        return number if INT_MIN <= number <= INT_MAX else {NAME: "int", "is": f"{number:x}"}

    def can_decode(self, data: Any) -> bool:
        return type(data) is int or name_in(data) == "int"

    def decode(self, data: Any, arrays: Sequence[Array]) -> Any:
        if name_in(data) != "int":
            return super().decode(data, arrays)
        digits = data.get("is")
        if not isinstance(digits, str) or len(digits) > MAX_DIGITS or not _HEX.fullmatch(digits):
            raise no_such(digits, "an integer")
        return int(digits, 16)


class Float(Plain):
    """Floats, including NaN and infinities, which JSON doesn't have."""

    def __init__(self) -> None:
        super().__init__(float)

    def can_encode(self, value: Any) -> bool:
        value = plain_scalar(value)
        return isinstance(value, float | int) and type(value) is not bool

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        number = float(value)
        return number if math.isfinite(number) else {NAME: "float", "is": str(number)}

    def can_decode(self, data: Any) -> bool:
        return type(data) in (float, int) or name_in(data) == "float"

    def decode(self, data: Any, arrays: Sequence[Array]) -> Any:
        if name_in(data) == "float":
            return _NOT_FINITE[_key(data.get("is"), _NOT_FINITE)]
        if type(data) not in (float, int):
            raise no_such(data, "a number")
        return float(data)


_NOT_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


class Object:
    """Any JSON object."""

    def can_encode(self, value: Any) -> bool:
        return isinstance(value, Mapping)

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        return dict(value)

    def can_decode(self, data: Any) -> bool:
        return type(data) is dict

    def decode(self, data: Any, arrays: Sequence[Array]) -> Any:
        if type(data) is not dict:
            raise no_such(data, "an object")
        return data


class Choice:
    """One of a few fixed values."""

    def __init__(self, values: tuple[Any, ...]) -> None:
        self.values = values

    def can_encode(self, value: Any) -> bool:
        return value in self.values

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        return value

    def can_decode(self, data: Any) -> bool:
        return isinstance(data, str) and data in self.values

    def decode(self, data: Any, arrays: Sequence[Array]) -> Any:
        if not self.can_decode(data):
            raise no_such(data, f"one of {self.values}")
        return data


class Nothing:
    """None."""

    def can_encode(self, value: Any) -> bool:
        return value is None

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        return None

    def can_decode(self, data: Any) -> bool:
        return data is None

    def decode(self, data: Any, arrays: Sequence[Array]) -> Any:
        if data is not None:
            raise no_such(data, "null")


class NumberArray:
    """A numeric array of one dtype, as its index among the message's arrays."""

    def __init__(self, kind: Any) -> None:
        self.dtype = np.dtype(kind)

    def can_encode(self, value: Any) -> bool:
        return isinstance(value, np.ndarray)

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        return {NAME: "array", "at": _append_array(np.asarray(value, self.dtype), arrays)}

    def can_decode(self, data: Any) -> bool:
        return name_in(data) == "array"

    def decode(self, data: Any, arrays: Sequence[Array]) -> Any:
        if not self.can_decode(data):
            raise no_such(data, "an array")
        return _array_at(data.get("at"), arrays, self.dtype)


class Items:
    """Any number of values of one type."""

    def __init__(self, each: Coder, make: Callable[[Any], Any]) -> None:
        self.each, self.make = each, make

    def can_encode(self, value: Any) -> bool:
        return isinstance(value, Iterable) and not isinstance(value, str | Mapping)

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        return [self.each.encode(element, arrays) for element in value]

    def can_decode(self, data: Any) -> bool:
        return type(data) is list

    def decode(self, data: Any, arrays: Sequence[Array]) -> Any:
        if type(data) is not list:
            raise no_such(data, "a list")
        return self.make([self.each.decode(element, arrays) for element in data])


class Several:
    """A tuple with one type for each item."""

    def __init__(self, each: Sequence[Coder]) -> None:
        self.each = each

    def can_encode(self, value: Any) -> bool:
        return isinstance(value, tuple) and len(value) == len(self.each)

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        return [coder.encode(v, arrays) for coder, v in zip(self.each, value, strict=True)]

    def can_decode(self, data: Any) -> bool:
        return type(data) is list and len(data) == len(self.each)

    def decode(self, data: Any, arrays: Sequence[Array]) -> Any:
        if not self.can_decode(data):
            raise no_such(data, f"{len(self.each)} values")
        return tuple(coder.decode(v, arrays) for coder, v in zip(self.each, data, strict=True))


class ByName:
    """Values of one type by name."""

    def __init__(self, each: Coder) -> None:
        self.each = each

    def can_encode(self, value: Any) -> bool:
        return isinstance(value, Mapping)

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        return {name: self.each.encode(element, arrays) for name, element in value.items()}

    def can_decode(self, data: Any) -> bool:
        return type(data) is dict

    def decode(self, data: Any, arrays: Sequence[Array]) -> Any:
        if type(data) is not dict:
            raise no_such(data, "an object")
        return {name: self.each.decode(element, arrays) for name, element in data.items()}


class UnionCoder:
    """A value of one of several types."""

    def __init__(self, each: Sequence[Coder]) -> None:
        self.each = each

    def can_encode(self, value: Any) -> bool:
        return any(coder.can_encode(value) for coder in self.each)

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        for coder in self.each:
            if coder.can_encode(value):
                return coder.encode(value, arrays)
        raise InvalidArgumentError(f"{type(value).__name__} can't be sent to a server")

    def can_decode(self, data: Any) -> bool:
        return any(coder.can_decode(data) for coder in self.each)

    def decode(self, data: Any, arrays: Sequence[Array]) -> Any:
        for coder in self.each:
            if coder.can_decode(data):
                return coder.decode(data, arrays)
        raise no_such(data, "a value of one of the allowed types")


class Never:
    """A type whose values can't be sent."""

    def can_encode(self, value: Any) -> bool:
        return False

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        raise InvalidArgumentError(f"{type(value).__name__} can't be sent to a server")

    def can_decode(self, data: Any) -> bool:
        return False

    def decode(self, data: Any, arrays: Sequence[Array]) -> Any:
        raise no_such(data, "nothing")


def name_in(data: Any) -> str | None:
    name = data.get(NAME) if type(data) is dict else None
    return name if isinstance(name, str) else None


def _key(data: Any, among: Mapping[str, Any]) -> str:
    if not isinstance(data, str) or data not in among:
        raise no_such(data, f"one of {', '.join(among)}")
    return data


def list_in(data: Any) -> list[Any]:
    if type(data) is not list:
        raise no_such(data, "a list")
    return data


def no_such(data: Any, expected: str) -> MalformedError:
    return MalformedError(f"got {str(data)[:80]!r}, expected {expected}")


PACKAGE = "retrieval_store."
_HOMES: Mapping[str, Sequence[str]] = {
    "base.analysis": ("Analyzer",),
    "base.arrays": ("SparseVector",),
    "filters.nodes": ("HasId", "HasVector"),
    "filters.paths": ("JsonPath",),
    "filters.columns": ("ValuesAt", "PlacesAt", "TokensAt", "ElementsAt"),
    "filters.leaves": ("AnyElement", "DocumentContains", "DocumentMatches", "InSlice"),
    "filters.geo": ("InBox", "InCircle", "InPolygon"),
    "filters.values": (
        *("Beginning", "Between", "Containing", "Differs", "Equals", "Exists", "HasLength"),
        *("HasPhrase", "HasTokens", "ListHas", "OneOf", "Range", "TextBegins", "TextIn"),
        *("TextMatches", "TextRange"),
    ),
    "query.formulas": (
        *("Apply", "Combine", "Constant", "Decayed", "DistanceTo", "NumberAt", "Power"),
        *("Quotient", "ScoreOf", "TimeAt", "Whether"),
    ),
    "query.query": (
        *("BestOfEach", "Bm25", "Discover", "FormulaScore", "FuseRankings", "Mmr"),
        *("NearestDense", "NearestSparse", "OrderBy"),
        *("PayloadText", "Query", "Recommend", "RelevanceFeedback", "QueryStep"),
        *("Unranked", "RankReport", "ExplainRequest", "LegReport", "WordReport"),
    ),
    "query.types": (
        *("ChangedPoints", "Fields", "Position", "PutResult", "WriteRules", "CollectionRecord"),
        *("Gauges", "NewSpace", "SpaceRecord"),
    ),
}
_HOME_OF = {name: PACKAGE + home for home, names in _HOMES.items() for name in names}
_REGISTERED: dict[str, type] = {}


def register_class(kind: type) -> None:
    """Register a dataclass of a higher room that may occur in messages."""
    _REGISTERED[kind.__name__] = kind


def class_of(name: str) -> type | None:
    """The class of this name; None for an unknown name."""
    if name in _REGISTERED:
        return _REGISTERED[name]
    return _class_named(name) if name in _HOME_OF else None


@cache  # of the names in the table alone: others come from clients, and without end
def _class_named(name: str) -> type:
    kind: type = getattr(import_module(_HOME_OF[name]), name)
    return kind


def is_registered(name: str) -> bool:
    """Whether a class was registered by a higher room."""
    return name in _REGISTERED


DEEPEST = 3 * MAX_DEPTH  # levels of a filter, of which a level of `where` may mean several


def register_coder(hint: Any, coder: "Coder") -> None:
    """Have values of a type written and read by this coder."""
    _CODERS[hint] = coder


def encode(value: Any, hint: Any, arrays: list[Array]) -> Any:
    """JSON for a value of a type; its arrays are appended to `arrays`. InvalidArgumentError for
    what can't be sent, such as a function, or an object of a class outside this package."""
    return coder_of(hint).encode(value, arrays)


def decode(data: Any, hint: Any, arrays: Sequence[Array]) -> Any:
    """The value that JSON of a type stands for; MalformedError for anything else."""
    try:
        return coder_of(hint).decode(data, arrays)
    except RecursionError:
        raise MalformedError("it is nested too deep") from None


class _Record:
    """Objects of one dataclass."""

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self._each: list[tuple[str, Any, Coder]] | None = None  # a class may hold its own

    @property
    def each(self) -> list[tuple[str, Any, Coder]]:
        """Name, default and coder of each field."""
        if self._each is None:
            hints = get_type_hints(self.kind, localns=names_for_types())
            self._each = [
                (field.name, field.default, coder_of(hints[field.name]))
                for field in fields(self.kind)
            ]
        return self._each

    def can_encode(self, value: Any) -> bool:
        return type(value) is self.kind

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        data: dict[str, Any] = {NAME: self.kind.__name__}
        for name, default, coder in self.each:
            value_of_field = getattr(value, name)
            if value_of_field is not default:
                data[name] = coder.encode(value_of_field, arrays)
        return data

    def can_decode(self, data: Any) -> bool:
        return name_in(data) == self.kind.__name__

    def decode(self, data: Any, arrays: Sequence[Array]) -> Any:
        if not self.can_decode(data):
            raise no_such(data, f"a {self.kind.__name__}")
        values = {
            name: coder.decode(data[name], arrays) for name, _, coder in self.each if name in data
        }
        if len(values) != len(data) - 1:
            unknown = data.keys() - values.keys() - {NAME}
            raise MalformedError(f"{self.kind.__name__} has no {min(unknown)}")
        try:
            return self.kind(**values)
        except TypeError as error:
            raise MalformedError(str(error)) from None


class _Family:
    """Objects of any dataclass that derives from a class."""

    def __init__(self, base: type) -> None:
        self.base = base
        self.is_protocol = getattr(base, "_is_protocol", False)

    def can_encode(self, value: Any) -> bool:
        return self.is_protocol or isinstance(value, self.base)

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        kind = type(value)
        if not (is_dataclass(kind) and kind.__module__.startswith(PACKAGE)):
            raise InvalidArgumentError(
                f"{kind.__name__} is no condition of this package's: one of your own can't be sent "
                "to a server"
            )
        return coder_of(kind).encode(value, arrays)

    def can_decode(self, data: Any) -> bool:
        return name_in(data) is not None

    def decode(self, data: Any, arrays: Sequence[Array]) -> Any:
        name = name_in(data) or ""
        kind = class_of(name)
        if kind is None or not self._has(name, kind):
            raise no_such(data, f"a known kind of {self.base.__name__}")
        return coder_of(kind).decode(data, arrays)

    def _has(self, name: str, kind: type) -> bool:
        """Whether a class belongs to the family; to a protocol belong the registered ones."""
        return is_registered(name) if self.is_protocol else issubclass(kind, self.base)


class _Tree(_Family):
    """Filters. Their nodes form one list, each after its terms, since filters may be nested deeper
    than JSON may; a node that occurs several times is in the list once."""

    def __init__(self) -> None:
        super().__init__(Expression)

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        nodes: list[Any] = []
        places: dict[int, int] = {}
        pending = [value]
        while pending:
            node = pending[-1]
            left = [term for term in terms_of(node) if id(term) not in places]
            if left:
                pending += left
                continue
            pending.pop()
            if id(node) not in places:
                places[id(node)] = len(nodes)
                nodes.append(self._node(node, places, arrays))
        is_leaf = not isinstance(value, COMBINATIONS)
        return nodes[0] if is_leaf else {NAME: "tree", "nodes": nodes}

    def _node(self, node: Expression, places: Mapping[int, int], arrays: list[Array]) -> Any:
        if not isinstance(node, COMBINATIONS):
            return super().encode(node, arrays)
        data = {NAME: type(node).__name__, "terms": [places[id(term)] for term in terms_of(node)]}
        return {**data, "count": node.count} if isinstance(node, AtLeast) else data

    def decode(self, data: Any, arrays: Sequence[Array]) -> Any:
        if name_in(data) != "tree":
            return super().decode(data, arrays)
        expressions: list[Expression] = []
        depths: list[int] = []
        sizes: list[int] = []
        for node in list_in(data.get("nodes")):
            terms = list_in(node.get("terms")) if name_in(node) in _COMBINATIONS else []
            if not all(type(place) is int and 0 <= place < len(expressions) for place in terms):
                raise MalformedError("a term of a filter is missing")
            depths.append(1 + max((depths[place] for place in terms), default=0))
            sizes.append(1 + sum(sizes[place] for place in terms))
            if depths[-1] > DEEPEST or sizes[-1] > MAX_NODES:
                raise InvalidFilterError(
                    f"the filter has more than {DEEPEST} levels or {MAX_NODES} conditions"
                )
            expressions.append(
                self._make_expression(node, [expressions[place] for place in terms], arrays)
            )
        if not expressions:
            raise no_such(data, "a filter")
        return expressions[-1]

    def _make_expression(
        self, node: Any, terms: list[Expression], arrays: Sequence[Array]
    ) -> Expression:
        kind: Any = _COMBINATIONS.get(name_in(node) or "")
        if kind is None:
            leaf: Expression = super().decode(node, arrays)
            return leaf
        if kind is Not:
            if len(terms) != 1:
                raise no_such(node, "a single term")
            return Not(terms[0])
        if kind is AtLeast:
            return AtLeast(tuple(terms), _CODERS[int].decode(node.get("count"), arrays))
        combined: Expression = kind(tuple(terms))
        return combined


_COMBINATIONS: Mapping[str, type] = {kind.__name__: kind for kind in COMBINATIONS}
_CODERS: dict[Any, Coder] = {
    type(None): Nothing(),
    bool: Plain(bool),
    int: Integer(),
    float: Float(),
    str: TextCoder(),
    Expression: _Tree(),
}


@cache
def coder_of(hint: Any) -> Coder:
    """The coder of a type."""
    simple = _CODERS.get(hint)
    if simple is not None:
        return simple
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        # Integers before floats, which take them too.
        return UnionCoder(
            [coder_of(member) for member in sorted(inner, key=lambda member: member is float)]
        )
    if origin is Literal:
        return Choice(inner)
    if origin is np.ndarray:
        return NumberArray(get_args(inner[1])[0])
    if origin is npt.NDArray:  # as newer releases of numpy have it
        return NumberArray(inner[0])
    if origin is dict and inner[1] is Any:
        return Object()
    if origin in (dict, Mapping):
        return ByName(coder_of(inner[1]))
    if origin is tuple and inner[-1] is not Ellipsis:
        return Several([coder_of(element) for element in inner])
    if origin in _CONSTRUCTORS:
        return Items(coder_of(inner[0]), _CONSTRUCTORS[origin])
    if is_dataclass(hint):
        return _Record(cast(type, hint))
    return _Family(hint) if isinstance(hint, type) else Never()


_CONSTRUCTORS: Mapping[Any, Callable[[Any], Any]] = {
    tuple: tuple,
    Sequence: tuple,
    Iterable: list,
    list: list,
    frozenset: frozenset,
}


@cache
def names_for_types() -> dict[str, Any]:
    """Names that modules import only for type checkers."""
    from retrieval_store.base.analysis import Analyzer
    from retrieval_store.query.formulas import Formula
    from retrieval_store.query.query import ExplainRequest, RankReport

    classes = (Analyzer, RankReport, ExplainRequest, Projection)
    named = {kind.__name__: kind for kind in classes}
    return {**named, "Formula": Formula, "JSONValue": Any}


# Points in columns, which may be long: what is JSON already goes as it is, and vectors as arrays.
# Vectors of a space that isn't dense stand one behind the other, with the length of each; -1 where
# a point has none.

_MAX_NUMBERS = 2**31  # numbers of a vector, of which no sum is too large
_LEFT = False  # stands for UNSET, which is neither text, object nor null


class _Ids:
    """Point ids, with those that show as strings."""

    def can_encode(self, value: Any) -> bool:
        return isinstance(value, list | tuple)

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        return {"shown" if isinstance(value, ShownIds) else "ids": [*value]}

    def can_decode(self, data: Any) -> bool:
        return type(data) is dict and data.keys() <= {"shown", "ids"}

    def decode(self, data: Any, arrays: Sequence[Array]) -> Any:
        if not self.can_decode(data) or len(data) != 1:
            raise MalformedError("ids are no list of ids")
        ((kind, ids),) = data.items()
        known = {str} if kind == "shown" else {str, int}
        if not known.issuperset(map(type, list_in(ids))):
            raise MalformedError("ids are neither strings nor integers")
        return ShownIds(ids) if kind == "shown" else ids


class _Batch:
    """Points to write."""

    def can_encode(self, value: Any) -> bool:
        return isinstance(value, PointBatch)

    def encode(self, value: PointBatch, arrays: list[Array]) -> Any:
        return {
            "ids": _IDS.encode(value.ids, arrays),
            "vectors": {
                name: _encode_vectors(vectors, arrays) for name, vectors in value.vectors.items()
            },
            "payloads": _encode_column(value.payloads),
            "documents": _encode_column(value.documents),
            "uris": _encode_column(value.uris),
        }

    def can_decode(self, data: Any) -> bool:
        return type(data) is dict

    def decode(self, data: Any, arrays: Sequence[Array]) -> PointBatch:
        data = _object(data)
        vectors = _object(data.get("vectors"))
        return PointBatch(
            _IDS.decode(data.get("ids"), arrays),
            {name: _decode_vectors(encoded, arrays) for name, encoded in vectors.items()},
            _decode_column(data.get("payloads"), dict),
            _decode_column(data.get("documents"), str),
            _decode_column(data.get("uris"), str),
        )


class _Points:
    """Points that were read."""

    def can_encode(self, value: Any) -> bool:
        return isinstance(value, Points)

    def encode(self, value: Points, arrays: list[Array]) -> Any:
        data: dict[str, Any] = {"ids": value.ids}
        for name in ("payloads", "documents", "uris"):
            column = getattr(value, name)
            if column is not None:
                data[name] = column
        if value.vectors is not None:
            data["vectors"] = {
                name: _encode_vectors_read(vectors, arrays)
                for name, vectors in value.vectors.items()
            }
        if value.versions is not None:
            data["versions"] = _append_array(np.asarray(value.versions, np.int64), arrays)
        return data

    def can_decode(self, data: Any) -> bool:
        return type(data) is dict

    def decode(self, data: Any, arrays: Sequence[Array]) -> Points:
        data = _object(data)
        vectors, versions = data.get("vectors"), data.get("versions")
        ids = _check_column(data.get("ids"), {str, int})
        points = Points(
            ids,
            _optional(data.get("payloads"), dict),
            _optional(data.get("documents"), str),
            _optional(data.get("uris"), str),
            None
            if vectors is None
            else {
                name: _decode_vectors_read(encoded, arrays)
                for name, encoded in _object(vectors).items()
            },
            None if versions is None else _array_at(versions, arrays, np.int64, 1),
        )
        columns = (points.payloads, points.documents, points.uris, points.versions)
        for column in (*columns, *(points.vectors or {}).values()):
            if column is not None and len(column) != len(ids):
                raise MalformedError(f"there are {len(column)} values for {len(ids)} points")
        return points


class _Hits:
    """The answer to one query."""

    def can_encode(self, value: Any) -> bool:
        return isinstance(value, Hits)

    def encode(self, value: Hits, arrays: list[Array]) -> Any:
        data = {
            "points": _POINTS.encode(value.points, arrays),
            "scores": _append_array(np.asarray(value.scores, np.float64), arrays),
        }
        if value.distances is not None:
            data["distances"] = _append_array(np.asarray(value.distances, np.float64), arrays)
        if value.values is not None:
            data["values"] = value.values
        if value.group is not None:
            data["group"] = value.group
        return data

    def can_decode(self, data: Any) -> bool:
        return type(data) is dict

    def decode(self, data: Any, arrays: Sequence[Array]) -> Hits:
        data = _object(data)
        distances, values = data.get("distances"), data.get("values")
        hits = Hits(
            _POINTS.decode(data.get("points"), arrays),
            None if distances is None else _array_at(distances, arrays, np.float64, 1),
            _array_at(data.get("scores"), arrays, np.float64, 1),
            None if values is None else _check_column(values, {int, float}),
            data.get("group"),
        )
        for column in (hits.distances, hits.scores, hits.values):
            if column is not None and len(column) != len(hits.points.ids):
                raise MalformedError("there are other numbers of scores than of points")
        return hits


class _Projection:
    """Points in the plane of a projection."""

    def can_encode(self, value: Any) -> bool:
        return isinstance(value, Projection)

    def encode(self, value: Projection, arrays: list[Array]) -> Any:
        return {
            "ids": value.ids,
            "places": _append_array(np.asarray(value.places, np.float32), arrays),
            "axes": _append_array(np.asarray(value.axes, np.float32), arrays),
            "explained": _append_array(np.asarray(value.explained, np.float64), arrays),
            "total": value.total,
            "values": value.values,
        }

    def can_decode(self, data: Any) -> bool:
        return type(data) is dict

    def decode(self, data: Any, arrays: Sequence[Array]) -> Projection:
        data = _object(data)
        ids, values = _check_column(data.get("ids"), {str, int}), data.get("values")
        projection = Projection(
            ids,
            _array_at(data.get("places"), arrays, np.float32, 2),
            _array_at(data.get("axes"), arrays, np.float32, 2),
            _array_at(data.get("explained"), arrays, np.float64, 1),
            _check_column([data.get("total")], {int})[0],
            None if values is None else _check_column(values, {str, int, float, bool, type(None)}),
        )
        shapes = projection.places.shape, projection.axes.shape[:1], projection.explained.shape
        if shapes != ((len(ids), 2), (3,), (2,)) or len(projection.values or ids) != len(ids):
            raise MalformedError("there are other numbers of places than of points")
        return projection


_IDS, _POINTS = _Ids(), _Points()
register_coder(Sequence[PointId], _IDS)
register_coder(PointBatch, _Batch())
register_coder(Points, _POINTS)
register_coder(Hits, _Hits())
register_coder(Projection, _Projection())


def _encode_column(column: Sequence[Any] | None) -> list[Any] | None:
    if column is None:
        return None
    return [_LEFT if value is UNSET else value for value in column]


def _decode_column(data: Any, kind: type) -> list[Any] | None:
    if data is None:
        return None
    kinds = set(map(type, list_in(data)))
    if not kinds <= {kind, type(None), bool}:
        raise MalformedError(f"a column holds what is no {kind.__name__}")
    if bool not in kinds:
        return list(data)
    if any(value is True for value in data):
        raise MalformedError(f"a column holds what is no {kind.__name__}")
    return [UNSET if value is _LEFT else value for value in data]


def _check_column(data: Any, kinds: set[type]) -> list[Any]:
    if not kinds.issuperset(map(type, list_in(data))):
        raise MalformedError("a column holds what it can't")
    return data  # type: ignore[no-any-return]


def _optional(data: Any, kind: type) -> list[Any] | None:
    return None if data is None else _check_column(data, {kind, type(None)})


def _encode_vectors(column: Vectors | NonDenseVectors, arrays: list[Array]) -> Any:
    places = None if column.positions is None else _append_array(column.positions, arrays)
    if isinstance(column, Vectors):
        return {"matrix": _append_array(column.matrix, arrays), "positions": places}
    return {**_concatenate_vectors(column.items, arrays), "positions": places}


def _decode_vectors(data: Any, arrays: Sequence[Array]) -> Vectors | NonDenseVectors:
    data = _object(data)
    places = data.get("positions")
    positions = None if places is None else _array_at(places, arrays, np.int64, 1)
    if "matrix" in data:
        return Vectors(_array_at(data["matrix"], arrays, np.float32, 2), positions)
    items = [vector for vector in _split_vectors(data, arrays) if vector is not None]
    return NonDenseVectors(items, positions)


def _encode_vectors_read(column: VectorsRead, arrays: list[Array]) -> Any:
    if isinstance(column, np.ndarray):
        return {"matrix": _append_array(column, arrays)}
    return _concatenate_vectors(column, arrays)


def _decode_vectors_read(data: Any, arrays: Sequence[Array]) -> VectorsRead:
    data = _object(data)
    if "matrix" in data:
        matrix: Matrix = _array_at(data["matrix"], arrays, np.float32, 2)
        return matrix
    return _split_vectors(data, arrays)


def _concatenate_vectors(items: Sequence[NonDenseVector | None], arrays: list[Array]) -> Any:
    """Vectors concatenated."""
    vectors = [vector for vector in items if vector is not None]
    if all(isinstance(vector, np.ndarray) for vector in vectors) and vectors:
        lengths = [-1 if vector is None else len(vector) for vector in items]  # type: ignore[arg-type]
        rows: Matrix = np.concatenate(cast(list[Matrix], vectors))
        return {
            "lengths": _append_array(np.array(lengths, np.int64), arrays),
            "rows": _append_array(rows, arrays),
        }
    sparse = [vector for vector in vectors if isinstance(vector, SparseVector)]
    if len(sparse) != len(vectors):
        raise InvalidArgumentError("vectors of one space are partly sparse")
    lengths = [len(vector.values) if isinstance(vector, SparseVector) else -1 for vector in items]
    empty: list[Any] = [np.empty(0)]
    indices = np.concatenate([*empty, *(vector.indices for vector in sparse)]).astype(np.uint32)
    values = np.concatenate([*empty, *(vector.values for vector in sparse)]).astype(np.float32)
    return {
        "lengths": _append_array(np.array(lengths, np.int64), arrays),
        "indices": _append_array(indices, arrays),
        "values": _append_array(values, arrays),
    }


def _split_vectors(data: Any, arrays: Sequence[Array]) -> list[NonDenseVector | None]:
    lengths: Ints = _array_at(data.get("lengths"), arrays, np.int64, 1)
    if lengths.max(initial=0) > _MAX_NUMBERS:
        raise MalformedError("a vector is longer than all there is")
    stops = np.cumsum(np.maximum(lengths, 0))
    total = int(stops[-1]) if len(stops) else 0
    starts = (stops - np.maximum(lengths, 0)).tolist()
    spans = [slice(a, b) for a, b in zip(starts, stops.tolist(), strict=True)]
    has_vector = (lengths >= 0).tolist()
    if "rows" in data:
        rows = _array_at(data["rows"], arrays, np.float32, 2)
        _refuse_other(total, len(rows))
        return [
            rows[span] if is_there else None
            for span, is_there in zip(spans, has_vector, strict=True)
        ]
    indices = _array_at(data.get("indices"), arrays, np.uint32, 1)
    values = _array_at(data.get("values"), arrays, np.float32, 1)
    _refuse_other(total, len(indices), len(values))
    return [
        SparseVector(indices[span], values[span]) if is_there else None
        for span, is_there in zip(spans, has_vector, strict=True)
    ]


def _refuse_other(total: int, *lengths: int) -> None:
    if any(length != total for length in lengths):
        raise MalformedError(f"there are {lengths} numbers, expected {total} of each")


def _append_array(array: Array, arrays: list[Array]) -> int:
    arrays.append(array)
    return len(arrays) - 1


def _array_at(place: Any, arrays: Sequence[Array], kind: Any, dimensions: int | None = None) -> Any:
    """One of the arrays of a message, of this kind, and with so many dimensions if that is said."""
    if type(place) is not int or not 0 <= place < len(arrays):
        raise MalformedError("an array is missing")
    array = arrays[place]
    if array.dtype != kind or dimensions not in (None, array.ndim):
        raise MalformedError(f"an array is {array.ndim}-dimensional {array.dtype}")
    return array


def _object(data: Any) -> dict[str, Any]:
    if type(data) is not dict:
        raise MalformedError("an object is missing")
    return data
