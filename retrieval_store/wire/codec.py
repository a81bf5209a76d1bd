"""The data of the interface as JSON and arrays, and back: each by the types of its fields.

An object becomes {"~": the name of its class, and each field that isn't its default}. An array
becomes its place among the arrays of the message. What comes back is checked against the types as
it is made: all of it is of the classes that a table names, and nothing else.
"""

import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING
from functools import cache
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

from retrieval_store.base.dataclasses import fields, is_dataclass
from retrieval_store.errors import InvalidArgumentError, InvalidFilterError
from retrieval_store.filters.limits import MAX_NODES
from retrieval_store.filters.nodes import (
    COMBINATIONS,
    MAX_DEPTH,
    AtLeast,
    Expression,
    Not,
    terms_of,
)
from retrieval_store.wire.classes import PACKAGE, class_of, is_learnt
from retrieval_store.wire.coders import (
    NAME,
    ByName,
    Choice,
    Coder,
    Float,
    Integer,
    Items,
    Never,
    Nothing,
    Numbers,
    Object,
    OneOf,
    Plain,
    Several,
    Text,
    list_in,
    name_in,
    no_such,
)
from retrieval_store.wire.message import Array, MalformedError

DEEPEST = 3 * MAX_DEPTH  # levels of a filter, of which a level of `where` may mean several


def write_by(hint: Any, coder: "Coder") -> None:
    """Have values of a type written and read by a coder of their own."""
    _CODERS[hint] = coder


def encode(value: Any, hint: Any, arrays: list[Array]) -> Any:
    """JSON for a value of a type; its arrays are appended to `arrays`. InvalidArgumentError for
    what can't be sent, as a function or an object of a class that isn't of this package."""
    return coder_of(hint).encode(value, arrays)


def decode(given: Any, hint: Any, arrays: Sequence[Array]) -> Any:
    """A value of a type; MalformedError where it is none."""
    try:
        return coder_of(hint).decode(given, arrays)
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
                (one.name, one.default, coder_of(hints[one.name])) for one in fields(self.kind)
            ]
        return self._each

    def takes(self, value: Any) -> bool:
        return type(value) is self.kind

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        found: dict[str, Any] = {NAME: self.kind.__name__}
        for name, default, coder in self.each:
            held = getattr(value, name)
            if held is not default or held is MISSING:
                found[name] = coder.encode(held, arrays)
        return found

    def fits(self, given: Any) -> bool:
        return name_in(given) == self.kind.__name__

    def decode(self, given: Any, arrays: Sequence[Array]) -> Any:
        if not self.fits(given):
            raise no_such(given, f"a {self.kind.__name__}")
        held = {
            name: coder.decode(given[name], arrays) for name, _, coder in self.each if name in given
        }
        if len(held) != len(given) - 1:
            unknown = given.keys() - held.keys() - {NAME}
            raise MalformedError(f"{self.kind.__name__} has no {min(unknown)}")
        try:
            return self.kind(**held)
        except TypeError as error:
            raise MalformedError(str(error)) from None


class _Family:
    """Objects of any dataclass that is a kind of another class."""

    def __init__(self, base: type) -> None:
        self.base = base
        self.is_protocol = getattr(base, "_is_protocol", False)

    def takes(self, value: Any) -> bool:
        return self.is_protocol or isinstance(value, self.base)

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        kind = type(value)
        if not (is_dataclass(kind) and kind.__module__.startswith(PACKAGE)):
            raise InvalidArgumentError(
                f"{kind.__name__} is no condition of this package's: one of your own can't be sent "
                "to a server"
            )
        return coder_of(kind).encode(value, arrays)

    def fits(self, given: Any) -> bool:
        return name_in(given) is not None

    def decode(self, given: Any, arrays: Sequence[Array]) -> Any:
        name = name_in(given) or ""
        kind = class_of(name)
        if kind is None or not self._has(name, kind):
            raise no_such(given, f"a known kind of {self.base.__name__}")
        return coder_of(kind).decode(given, arrays)

    def _has(self, name: str, kind: type) -> bool:
        """Whether a class is one of them; of a protocol those are that a room above has learnt."""
        return is_learnt(name) if self.is_protocol else issubclass(kind, self.base)


class _Tree(_Family):
    """Filters, whose nodes stand in one list, each after its terms, since they may be nested deeper
    than JSON may be; a node that occurs several times stands there once."""

    def __init__(self) -> None:
        super().__init__(Expression)

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        nodes: list[Any] = []
        places: dict[int, int] = {}
        pending = [value]
        while pending:
            node = pending[-1]
            left = [one for one in terms_of(node) if id(one) not in places]
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
        said = {NAME: type(node).__name__, "terms": [places[id(one)] for one in terms_of(node)]}
        return {**said, "count": node.count} if isinstance(node, AtLeast) else said

    def decode(self, given: Any, arrays: Sequence[Array]) -> Any:
        if name_in(given) != "tree":
            return super().decode(given, arrays)
        found: list[Expression] = []
        depths: list[int] = []
        sizes: list[int] = []
        for node in list_in(given.get("nodes")):
            terms = list_in(node.get("terms")) if name_in(node) in _COMBINATIONS else []
            if not all(type(one) is int and 0 <= one < len(found) for one in terms):
                raise MalformedError("a term of a filter is missing")
            depths.append(1 + max((depths[one] for one in terms), default=0))
            sizes.append(1 + sum(sizes[one] for one in terms))
            if depths[-1] > DEEPEST or sizes[-1] > MAX_NODES:
                raise InvalidFilterError(
                    f"the filter has more than {DEEPEST} levels or {MAX_NODES} conditions"
                )
            found.append(self._made(node, [found[one] for one in terms], arrays))
        if not found:
            raise no_such(given, "a filter")
        return found[-1]

    def _made(self, node: Any, terms: list[Expression], arrays: Sequence[Array]) -> Expression:
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


_COMBINATIONS: Mapping[str, type] = {one.__name__: one for one in COMBINATIONS}


_CODERS: dict[Any, Coder] = {
    type(None): Nothing(),
    bool: Plain(bool),
    int: Integer(),
    float: Float(),
    str: Text(),
    Expression: _Tree(),
}


@cache
def coder_of(hint: Any) -> Coder:
    """What writes and reads values of a type."""
    simple = _CODERS.get(hint)
    if simple is not None:
        return simple
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        # Integers before floats, which take them too.
        return OneOf([coder_of(one) for one in sorted(inner, key=lambda one: one is float)])
    if origin is Literal:
        return Choice(inner)
    if origin is np.ndarray:
        return Numbers(get_args(inner[1])[0])
    if origin is npt.NDArray:  # as newer releases of numpy have it
        return Numbers(inner[0])
    if origin is dict and inner[1] is Any:
        return Object()
    if origin in (dict, Mapping):
        return ByName(coder_of(inner[1]))
    if origin is tuple and inner[-1] is not Ellipsis:
        return Several([coder_of(one) for one in inner])
    if origin in _MADE:
        return Items(coder_of(inner[0]), _MADE[origin])
    if is_dataclass(hint):
        return _Record(cast(type, hint))
    return _Family(hint) if isinstance(hint, type) else Never()


_MADE: Mapping[Any, Callable[[Any], Any]] = {
    tuple: tuple,
    Sequence: tuple,
    Iterable: list,
    list: list,
    frozenset: frozenset,
}


@cache
def names_for_types() -> dict[str, Any]:
    """What types are called that modules import only for type checkers."""
    from retrieval_store.base.words import Analyzer
    from retrieval_store.interface.formulas import Formula
    from retrieval_store.interface.projections import Projection
    from retrieval_store.interface.reasons import Findings, Inquiry

    classes = (Analyzer, Findings, Inquiry, Projection)
    named = {one.__name__: one for one in classes}
    return {**named, "Formula": Formula, "JSONValue": Any}
