"""Encodes arguments and results as messages of JSON and arrays, and decodes such messages.

A message begins with eight bytes: a signature and the length of the JSON. Then the JSON follows: an
object with the `data`, and with the type and shape of each array as `arrays`. The arrays follow, in
the form that they have in memory, each at a multiple of 16 bytes. Numbers are little-endian.

`encode` writes a value by its class. JSON values are written unchanged. An array becomes a
reference by its index, {"~": "array", "at": the index}. An object of a dataclass becomes {"~": the
name of its class, and each field that differs from its default}. Vectors in a list are joined into
a few arrays (`_join_vectors`). `decode` reads data by the expected type. It creates only values of
the classes in a table (`class_named`). A `TypeReader` reads values of one type.
"""

import math
import re
import struct
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, partial
from typing import (
    Any,
    Literal,
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

from retrieval_store import SparseVector
from retrieval_store.errors import InvalidArgumentError, InvalidFilterError
from retrieval_store.extension import (
    MAX_NODES,
    UNSET,
    Analyzer,
    ExplainRequest,
    Formula,
    Hits,
    Ints,
    NonDenseVector,
    PointId,
    Points,
    Projection,
    RankReport,
    ShownIds,
    Unset,
    class_named,
    is_unicode,
    terms_of,
)
from retrieval_store.filters.expression import MAX_DEPTH, And, AtLeast, Expression, Not, Or
from retrieval_store_server.values import INT_MAX, INT_MIN

Array: TypeAlias = npt.NDArray[Any]
Arrays: TypeAlias = list[Array]  # of a message
Buffer: TypeAlias = bytes | bytearray | memoryview
Parts: TypeAlias = Sequence[Buffer]
MAX_BYTES = 512 << 20  # bytes of a message
# Lists and objects in the JSON of a message; each takes some 100 bytes once parsed.
MAX_CONTAINERS = 5_000_000
COPIED = 64 * 1024  # bytes of a message that are joined to one part
MEDIA_TYPE = "application/x-retrieval-store"
COMBINATIONS = And, Or, AtLeast, Not
DTYPES = {name: np.dtype(name) for name in ("<f4", "<f8", "<i8", "<u4", "|b1")}
_HEAD = struct.Struct("<4sI")
_MARK = b"rsw2"
_ALIGNED = 16  # bytes: the largest alignment of the types, and of the scan
_DEEPEST_SHAPE = 3


class MalformedError(ValueError):
    """Received bytes are not a message, or the data in a message has the wrong type."""


def pack_message(data: Any, arrays: Sequence[Array] = ()) -> Parts:
    """A message with JSON data and arrays, as a list of parts. A large array is a separate part,
    and is not copied."""
    described = [[array.dtype.str, array.shape] for array in arrays]
    header = orjson.dumps({"data": data, "arrays": described}, option=orjson.OPT_SERIALIZE_NUMPY)
    parts: list[Buffer] = [_HEAD.pack(_MARK, len(header)), header]
    size = _HEAD.size + len(header)
    for array in arrays:
        parts += [bytes(-size % _ALIGNED), _bytes_of(np.ascontiguousarray(array))]
        size += -size % _ALIGNED + array.nbytes
    return parts if size > COPIED else [b"".join(parts)]


def _bytes_of(array: Any) -> memoryview:
    return memoryview(array.reshape(-1)).cast("B")


def size_of(parts: Parts) -> int:
    """The size of a message in bytes, from its parts."""
    return sum(map(len, parts))


def unpack_message(message: Buffer, trusted: bool = False) -> tuple[Any, list[Array]]:
    """The data and the arrays of a message. The arrays share the memory of the message, and are
    writable if that memory is writable. Raises MalformedError for bytes that are not a message,
    and, unless the sender is trusted, for more than MAX_CONTAINERS lists and objects."""
    if len(message) < _HEAD.size:
        raise MalformedError("it is too short")
    mark, length = _HEAD.unpack_from(message)
    if mark != _MARK:
        raise MalformedError(
            f"it begins with {mark!r}, expected {_MARK!r}: it isn't one of retrieval-store, or of "
            "another release (a server and its clients must be of one)"
        )
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


# Strings in JSON. The last alternative matches an unterminated one, and no character is scanned
# twice, since messages are untrusted.
_TEXTS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


def has_many_containers(sent: bytes, most: int) -> bool:
    """Whether JSON text contains more than `most` lists and objects."""
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

# Writing.


def encode(value: Any, arrays: Arrays) -> Any:
    """A value in a form that can be written as JSON. The arrays in it are appended to `arrays`.
    Raises InvalidArgumentError for a value that cannot be sent, such as a function, or an object of
    a class outside this package."""
    kind: type = type(value)
    return _writer_of(kind)(value, arrays)


@cache
def _writer_of(kind: type) -> Callable[[Any, Arrays], Any]:
    """The function that encodes values of a class. Raises InvalidArgumentError if such values
    cannot be sent."""
    for classes, write in _WRITERS:
        if issubclass(kind, classes):
            return write
    if is_dataclass(kind) and class_named(kind.__name__) is kind:
        return partial(_write_record, [(field.name, field.default) for field in fields(kind)])
    if is_dataclass(kind):
        raise InvalidArgumentError(
            f"{kind.__name__} is no class of this package's that messages hold: one of your own "
            "can't be sent to a server"
        )
    if issubclass(kind, Iterable):
        return _write_items
    raise InvalidArgumentError(f"{kind.__name__} can't be sent to a server")


def _write_itself(value: Any, arrays: Arrays) -> Any:
    return value


def _write_unset(value: Unset, arrays: Arrays) -> Any:
    return False  # it isn't text, object or null


def _write_text(value: str, arrays: Arrays) -> Any:
    text = str.__str__(value)
    if text.isascii() or is_unicode(text):
        return text
    return {NAME: "str", "is": text.encode("utf-8", "surrogatepass").hex()}


def _write_integer(value: int, arrays: Arrays) -> Any:
    fits = INT_MIN <= value <= INT_MAX
    return int(value) if fits else {NAME: "int", "is": f"{value:x}"}


def _write_float(value: float, arrays: Arrays) -> Any:
    return float(value) if math.isfinite(value) else {NAME: "float", "is": str(float(value))}


def _write_number(value: np.number[Any] | np.bool_, arrays: Arrays) -> Any:
    if isinstance(value, np.timedelta64 | np.longdouble | np.complexfloating):
        raise InvalidArgumentError(f"{type(value).__name__} can't be sent to a server")
    return encode(value.item(), arrays)


def _write_array(value: Array, arrays: Arrays) -> Any:
    return {NAME: "array", "at": _append_array(value, arrays)}


def _write_shown_ids(value: ShownIds, arrays: Arrays) -> Any:
    return {NAME: "shown", "ids": [*value]}


def _write_mapping(value: Mapping[Any, Any], arrays: Arrays) -> Any:
    return {k: v if _is_json(v) else encode(v, arrays) for k, v in value.items()}


_VECTORS = {np.ndarray, SparseVector}


def _is_json(value: Any) -> bool:
    """Whether a value in a mapping can be written as JSON unchanged. (Other values are dataclass
    objects or arrays.)"""
    if type(value) is list:
        return _VECTORS.isdisjoint({type(item) for item in value})
    return not (isinstance(value, np.ndarray) or is_dataclass(value))


def _write_items(value: Iterable[Any], arrays: Arrays) -> Any:
    items = value if type(value) is list else [*value]
    kinds = set(map(type, items))
    if _are_json(items, kinds):
        return items
    if kinds <= {np.ndarray, types.NoneType} and _have_one_width(items):
        return _join_vectors(items, arrays)
    if kinds <= {SparseVector, types.NoneType}:
        return _join_sparse(items, arrays)
    return [item if type(item) is dict else encode(item, arrays) for item in items]


def _are_json(items: list[Any], kinds: set[type]) -> bool:
    """Whether items of these types can be written as JSON unchanged."""
    if kinds <= {str, types.NoneType}:
        text = "".join(items if types.NoneType not in kinds else filter(None, items))
        return text.isascii() or is_unicode(text)
    if kinds == {int}:
        return all(INT_MIN <= bound <= INT_MAX for bound in (min(items), max(items)))
    return kinds <= {dict, bool, types.NoneType}


def _write_record(members: list[tuple[str, Any]], value: Any, arrays: Arrays) -> Any:
    """A dataclass object in a form that can be written as JSON. members: the names of the object's
    fields, with their defaults."""
    data: dict[str, Any] = {NAME: type(value).__name__}
    for name, default in members:
        value_of_field = getattr(value, name)
        if value_of_field is not default:
            data[name] = encode(value_of_field, arrays)
    return data


def _write_combination(value: Expression, arrays: Arrays) -> Any:
    """A combination of filters (And, Or, AtLeast or Not), in a form that can be written as JSON.
    This is a list of the filter's nodes, since filters can be nested more deeply than JSON. Each
    node occurs once, after its own terms."""
    nodes: list[Any] = []
    places: dict[int, int] = {}
    pending: list[Expression] = [value]
    while pending:
        node = pending[-1]
        left = [term for term in terms_of(node) if id(term) not in places]
        if left:
            pending += left
            continue
        pending.pop()
        if id(node) not in places:
            places[id(node)] = len(nodes)
            nodes.append(_write_node(node, places, arrays))
    return {NAME: "tree", "nodes": nodes}


def _write_node(node: Expression, places: Mapping[int, int], arrays: Arrays) -> Any:
    if not isinstance(node, COMBINATIONS):
        return encode(node, arrays)
    data = {NAME: type(node).__name__, "terms": [places[id(term)] for term in terms_of(node)]}
    return {**data, "count": node.count} if isinstance(node, AtLeast) else data


def _have_one_width(items: list[Any]) -> bool:
    """Whether these items, which are arrays or None, can be joined into one array. The arrays must
    have the same data type and the same width."""
    kinds = {(item.dtype, item.shape[1:]) for item in items if item is not None}
    return len(kinds) == 1


def _join_vectors(items: list[Any], arrays: Arrays) -> Any:
    """A list of arrays and None, in a form that can be written as JSON: the arrays joined into one
    array, and the length of each item, -1 for None."""
    lengths = [-1 if item is None else len(item) for item in items]
    return {
        NAME: "vectors",
        "lengths": _append_array(np.array(lengths, np.int64), arrays),
        "rows": _append_array(np.concatenate([i for i in items if i is not None]), arrays),
    }


def _join_sparse(items: list[Any], arrays: Arrays) -> Any:
    """A list of sparse vectors and None, in a form that can be written as JSON, joined as by
    `_join_vectors`."""
    lengths = [-1 if item is None else len(item.values) for item in items]
    vectors = [item for item in items if item is not None]
    indices = np.concatenate([vector.indices for vector in vectors])
    values = np.concatenate([vector.values for vector in vectors])
    return {
        NAME: "vectors",
        "lengths": _append_array(np.array(lengths, np.int64), arrays),
        "indices": _append_array(indices.astype(np.uint32), arrays),
        "values": _append_array(values.astype(np.float32), arrays),
    }


def _append_array(array: Array, arrays: Arrays) -> int:
    arrays.append(array)
    return len(arrays) - 1


_WRITERS: Sequence[tuple[tuple[type, ...], Callable[[Any, Arrays], Any]]] = (
    ((types.NoneType, bool), _write_itself),
    ((str,), _write_text),
    ((np.number, np.bool_), _write_number),  # some are floats of Python's, too
    ((int,), _write_integer),
    ((float,), _write_float),
    ((Unset,), _write_unset),
    ((np.ndarray,), _write_array),
    ((ShownIds,), _write_shown_ids),
    (COMBINATIONS, _write_combination),
    ((Mapping,), _write_mapping),
)

# Reading.


@dataclass(frozen=True, slots=True)
class TypeReader:
    """Decodes values of one type. plain: the types of JSON values that are returned unchanged.
    reads: the functions that decode all other data, by the data's JSON type or by the class name in
    an object; `ANY` stands for all class names."""

    plain: frozenset[type]
    reads: Mapping[Any, Callable[[Any, Arrays], Any]]

    def __call__(self, data: Any, arrays: Arrays) -> Any:
        """The value that the data encodes; raises MalformedError if the data does not fit this
        reader's type."""
        kind = type(data)
        if kind in self.plain:
            return data
        name = name_in(data)
        read = None if name is None else self.reads.get(name) or self.reads.get(ANY)
        read = read or self.reads.get(kind)
        if read is None:
            raise no_such(data, " or ".join(sorted(map(str, self.plain | self.reads.keys()))))
        return read(data, arrays)


def decode(data: Any, hint: Any, arrays: Arrays) -> Any:
    """The value of this type (`hint`) that JSON data encodes; raises MalformedError if the data
    does not fit the type."""
    try:
        return reader_of(hint)(data, arrays)
    except RecursionError:
        raise MalformedError("it is nested too deep") from None


@cache
def reader_of(hint: Any) -> TypeReader:
    """The TypeReader of a type."""
    if hint in _READERS:
        return _READERS[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _reader_of_union(inner)
    if origin is Literal:
        return _reader_of_choice(inner)
    if origin is np.ndarray:
        return _reader_of_array(get_args(inner[1])[0])
    if origin is npt.NDArray:  # in newer releases of numpy
        return _reader_of_array(inner[0])
    if origin is dict and inner[1] is Any:
        return TypeReader(frozenset([dict]), {})
    if origin in (dict, Mapping):
        return _reader_of_mapping(reader_of(inner[1]))
    if origin is tuple and inner[-1] is not Ellipsis:
        return _reader_of_tuple([reader_of(element) for element in inner])
    if origin in _CONSTRUCTORS:
        return _reader_of_items(reader_of(inner[0]), _CONSTRUCTORS[origin])
    if is_dataclass(hint):
        kind = cast(type, hint)
        return TypeReader(_NONE, {kind.__name__: partial(_read_record, kind)})
    if isinstance(hint, type):
        return TypeReader(_NONE, {ANY: partial(_read_any_of, hint)})
    return TypeReader(_NONE, {})  # a type without values


ANY = "*"
_NONE: frozenset[type] = frozenset()
MAX_DIGITS = 100_000  # hexadecimal digits of an integer
_HEX = re.compile("-?[0-9a-f]+")
_NOT_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
_CONSTRUCTORS: Mapping[Any, Callable[[Any], Any]] = {
    tuple: tuple,
    Sequence: list,
    Iterable: list,
    list: list,
    frozenset: frozenset,
}


def _read_text(data: Any, arrays: Arrays) -> str:
    """A string with lone surrogates, which JSON can't contain unchanged. It was sent as hexadecimal
    UTF-8."""
    try:
        return bytes.fromhex(data["is"]).decode("utf-8", "surrogatepass")
    except (LookupError, TypeError, ValueError):
        raise no_such(data, "a string") from None


def _read_integer(data: Any, arrays: Arrays) -> int:
    """An integer that was sent in hexadecimal, since it is too large for some JSON parsers."""
    digits = data.get("is")
    if not isinstance(digits, str) or len(digits) > MAX_DIGITS or not _HEX.fullmatch(digits):
        raise no_such(digits, "an integer")
    return int(digits, 16)


def _read_float(data: Any, arrays: Arrays) -> float:
    """A float that was sent as an integer, or as a word if JSON can't express it as a number, such
    as NaN."""
    if type(data) is int:
        return float(data)
    written = data.get("is")
    if not isinstance(written, str) or written not in _NOT_FINITE:
        raise no_such(data, "a number")
    return _NOT_FINITE[written]


def _read_unset(data: Any, arrays: Arrays) -> Unset:
    if data is not False:
        raise no_such(data, "false")
    return UNSET


def _read_ids(data: Any, arrays: Arrays) -> Sequence[PointId]:
    """A list of ids. The list in the JSON data is returned without a copy, since it may be long."""
    ids = list_in(data if type(data) is list else data.get("ids"))
    if not ({str, int} if ids is data else {str}).issuperset(map(type, ids)):
        raise MalformedError("ids are neither strings nor integers")
    return ids if ids is data else ShownIds(ids)


def _reader_of_union(members: Sequence[Any]) -> TypeReader:
    """The TypeReader of a union of types whose JSON forms all differ. If the union has both
    integers and floats, an integer stays an integer."""
    choices = [v for member in members if get_origin(member) is Literal for v in get_args(member)]
    readers = [reader_of(member) for member in members if get_origin(member) is not Literal]
    readers += [_reader_of_choice(choices)] if choices else []
    plain = frozenset[type]().union(*(reader.plain for reader in readers))
    return TypeReader(
        plain, {key: read for reader in readers for key, read in reader.reads.items()}
    )


def _reader_of_choice(values: Sequence[Any]) -> TypeReader:
    def read(data: Any, arrays: Arrays) -> Any:
        if data not in values:
            raise no_such(data, f"one of {values}")
        return data

    return TypeReader(_NONE, dict.fromkeys(map(type, values), read))


def _reader_of_array(kind: Any) -> TypeReader:
    def read(data: Any, arrays: Arrays) -> Any:
        return _array_at(data.get("at"), arrays, kind)

    return TypeReader(_NONE, {"array": read})


def _reader_of_mapping(each: TypeReader) -> TypeReader:
    def read(data: Any, arrays: Arrays) -> Any:
        return {name: each(element, arrays) for name, element in data.items()}

    return TypeReader(_NONE, {dict: read})


def _reader_of_tuple(each: Sequence[TypeReader]) -> TypeReader:
    def read(data: Any, arrays: Arrays) -> Any:
        if len(data) != len(each):
            raise no_such(data, f"{len(each)} values")
        return tuple(reader(v, arrays) for reader, v in zip(each, data, strict=True))

    return TypeReader(_NONE, {list: read})


def _reader_of_items(each: TypeReader, make: Callable[[Any], Any]) -> TypeReader:
    """The TypeReader of a sequence of values. (Vectors in a sequence are sent joined into one
    array.)"""
    kinds = set(each.plain & {types.NoneType})
    kinds |= {np.ndarray} if "array" in each.reads else set()
    kinds |= {SparseVector} if SparseVector.__name__ in each.reads else set()

    def read(data: Any, arrays: Arrays) -> Any:
        if type(data) is dict:
            items = _split_vectors(data, arrays)
            if not kinds.issuperset(map(type, items)):
                raise MalformedError("vectors are of the wrong kind")
        elif each.plain.issuperset(map(type, data)):
            items = data
        else:
            items = [each(element, arrays) for element in data]
        return items if make is list else make(items)

    return TypeReader(_NONE, {list: read, "vectors": read})


def _read_record(kind: type, data: Any, arrays: Arrays) -> Any:
    """An object of this dataclass."""
    values = {
        name: reader(data[name], arrays) for name, reader in _readers_of(kind) if name in data
    }
    if len(values) != len(data) - 1:
        unknown = data.keys() - values.keys() - {NAME}
        raise MalformedError(f"{kind.__name__} has no {min(unknown)}")
    try:
        value = kind(**values)
    except TypeError as error:
        raise MalformedError(str(error)) from None
    if kind in _CHECKS:
        _CHECKS[kind](value)
    return value


@cache
def _readers_of(kind: type) -> list[tuple[str, TypeReader]]:
    """The fields of a dataclass, with the TypeReader of each."""
    hints = get_type_hints(kind, localns=names_for_types())
    return [(field.name, reader_of(hints[field.name])) for field in fields(cast(Any, kind))]


def _read_any_of(base: Any, data: Any, arrays: Arrays) -> Any:
    """An object of any dataclass that derives from this abstract class."""
    name = name_in(data) or ""
    kind = class_named(name)
    if kind is None or base not in kind.__mro__:  # protocols have no subclasses here
        raise no_such(data, f"a known kind of {base.__name__}")
    return _read_record(kind, data, arrays)


DEEPEST = 3 * MAX_DEPTH  # levels of a filter; one level of `where` may mean several
_COMBINATIONS: Mapping[str, type] = {kind.__name__: kind for kind in COMBINATIONS}


def _read_filter(data: Any, arrays: Arrays) -> Expression:
    if name_in(data) != "tree":
        return cast(Expression, _read_any_of(Expression, data, arrays))
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
        expressions.append(_make_expression(node, [expressions[at] for at in terms], arrays))
    if not expressions:
        raise no_such(data, "a filter")
    return expressions[-1]


def _make_expression(node: Any, terms: list[Expression], arrays: Arrays) -> Expression:
    kind: Any = _COMBINATIONS.get(name_in(node) or "")
    if kind is None:
        return cast(Expression, _read_any_of(Expression, node, arrays))
    if kind is Not:
        if len(terms) != 1:
            raise no_such(node, "a single term")
        return Not(terms[0])
    if kind is AtLeast:
        return AtLeast(tuple(terms), _READERS[int](node.get("count"), arrays))
    return cast(Expression, kind(tuple(terms)))


_READERS: Mapping[Any, TypeReader] = {
    types.NoneType: TypeReader(frozenset([types.NoneType]), {}),
    bool: TypeReader(frozenset([bool]), {}),
    int: TypeReader(frozenset([int]), {"int": _read_integer}),
    float: TypeReader(frozenset([float]), {int: _read_float, "float": _read_float}),
    str: TypeReader(frozenset([str]), {"str": _read_text}),
    Unset: TypeReader(_NONE, {bool: _read_unset}),
    Sequence[PointId]: TypeReader(_NONE, {list: _read_ids, "shown": _read_ids}),
    Expression: TypeReader(_NONE, {ANY: _read_filter}),
}

_TAKEN = np.empty(0, np.bool_)
_MAX_NUMBERS = 2**31  # numbers of a vector, such that no sum overflows


def _split_vectors(data: Any, arrays: Arrays) -> list[NonDenseVector | None]:
    place = data.get("lengths")
    lengths: Ints = _array_at(place, arrays, np.int64, 1)
    arrays[place] = _TAKEN  # each only once, since vectors take more memory than the message
    if lengths.max(initial=0) > _MAX_NUMBERS:
        raise MalformedError("a vector is longer than all there is")
    stops = np.cumsum(np.maximum(lengths, 0))
    total = int(stops[-1]) if len(stops) else 0
    starts = (stops - np.maximum(lengths, 0)).tolist()
    spans = [slice(a, b) for a, b in zip(starts, stops.tolist(), strict=True)]
    has_vector = (lengths >= 0).tolist()
    if "rows" in data:
        rows = _array_at(data["rows"], arrays, np.float32)
        if not rows.ndim:
            raise MalformedError("vectors that are joined are a single number")
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


def _array_at(place: Any, arrays: Arrays, kind: Any, dimensions: int | None = None) -> Any:
    """The array with this number in a message. Its dtype must be `kind`. dimensions: the required
    number of dimensions, None for any number."""
    if type(place) is not int or not 0 <= place < len(arrays):
        raise MalformedError("an array is missing")
    array = arrays[place]
    if array.dtype != kind or dimensions not in (None, array.ndim):
        raise MalformedError(f"an array is {array.ndim}-dimensional {array.dtype}")
    return array


def _check_points(points: Points) -> None:
    columns = (points.payloads, points.documents, points.uris, points.versions)
    for column in (*columns, *(points.vectors or {}).values()):
        if column is not None and len(column) != len(points.ids):
            raise MalformedError(f"there are {len(column)} values for {len(points.ids)} points")


def _check_hits(hits: Hits) -> None:
    for column in (hits.distances, hits.scores, hits.values):
        if column is not None and len(column) != len(hits.points.ids):
            raise MalformedError("there are other numbers of scores than of points")


def _check_projection(projection: Projection) -> None:
    count = len(projection.ids)
    shapes = projection.places.shape, projection.axes.shape[:1], projection.explained.shape
    if shapes != ((count, 2), (3,), (2,)) or len(projection.values or projection.ids) != count:
        raise MalformedError("there are other numbers of places than of points")


_CHECKS: Mapping[type, Callable[[Any], None]] = {
    Points: _check_points,
    Hits: _check_hits,
    Projection: _check_projection,
}


def name_in(data: Any) -> str | None:
    """The class name in a JSON object; None if there is none."""
    name = data.get(NAME) if type(data) is dict else None
    return name if isinstance(name, str) else None


def list_in(data: Any) -> list[Any]:
    """The data, if it is a list; otherwise raises MalformedError."""
    if type(data) is not list:
        raise no_such(data, "a list")
    return data


def no_such(data: Any, expected: str) -> MalformedError:
    """The error for data of a wrong kind. expected: what the data should be, for the message."""
    return MalformedError(f"got {str(data)[:80]!r}, expected {expected}")


@cache
def names_for_types() -> dict[str, Any]:
    """The types that modules import only for type checkers, by their names in type hints."""
    classes = (Analyzer, RankReport, ExplainRequest, Projection)
    return {**{kind.__name__: kind for kind in classes}, "Formula": Formula, "JSONValue": Any}
