"""What writes and reads values of one type each: the simplest of them, and those that are made of
others."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from retrieval_store.base.arrays import plain_scalar
from retrieval_store.base.json_values import INT_MAX, INT_MIN, is_unicode
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.wire.message import Array, MalformedError

NAME = "~"
LONGEST = 100_000  # digits of an integer
_HEX = re.compile("-?[0-9a-f]+")


class Coder(Protocol):
    """Writes and reads values of one type. takes: whether a value is of it; fits: whether JSON
    could be."""

    def takes(self, value: Any) -> bool: ...
    def encode(self, value: Any, arrays: list[Array]) -> Any: ...
    def fits(self, given: Any) -> bool: ...
    def decode(self, given: Any, arrays: Sequence[Array]) -> Any: ...


class Plain:
    """What JSON has itself."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    def takes(self, value: Any) -> bool:
        value = plain_scalar(value)
        return isinstance(value, self.kind) and (self.kind is bool or type(value) is not bool)

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        value = plain_scalar(value)
        return value if type(value) is self.kind else self.kind(value)

    def fits(self, given: Any) -> bool:
        return type(given) is self.kind

    def decode(self, given: Any, arrays: Sequence[Array]) -> Any:
        if type(given) is not self.kind:
            raise no_such(given, f"a value of type {self.kind.__name__}")
        return given


class Text(Plain):
    """Strings, of which Python has some that JSON hasn't."""

    def __init__(self) -> None:
        super().__init__(str)

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        text = str.__str__(value)
        if text.isascii() or is_unicode(text):
            return text
        return {NAME: "str", "is": text.encode("utf-8", "surrogatepass").hex()}

    def fits(self, given: Any) -> bool:
        return type(given) is str or name_in(given) == "str"

    def decode(self, given: Any, arrays: Sequence[Array]) -> Any:
        if name_in(given) != "str":
            return super().decode(given, arrays)
        try:
            return bytes.fromhex(given["is"]).decode("utf-8", "surrogatepass")
        except (LookupError, TypeError, ValueError):
            raise no_such(given, "a string") from None


class Integer(Plain):
    """Integers, also those that are too long for JSON as it is read everywhere."""

    def __init__(self) -> None:
        super().__init__(int)

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        number = super().encode(value, arrays)
        return number if INT_MIN <= number <= INT_MAX else {NAME: "int", "is": f"{number:x}"}

    def fits(self, given: Any) -> bool:
        return type(given) is int or name_in(given) == "int"

    def decode(self, given: Any, arrays: Sequence[Array]) -> Any:
        if name_in(given) != "int":
            return super().decode(given, arrays)
        digits = given.get("is")
        if not isinstance(digits, str) or len(digits) > LONGEST or not _HEX.fullmatch(digits):
            raise no_such(digits, "an integer")
        return int(digits, 16)


class Float(Plain):
    """Numbers, also those that JSON hasn't."""

    def __init__(self) -> None:
        super().__init__(float)

    def takes(self, value: Any) -> bool:
        value = plain_scalar(value)
        return isinstance(value, float | int) and type(value) is not bool

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        number = float(value)
        return number if math.isfinite(number) else {NAME: "float", "is": str(number)}

    def fits(self, given: Any) -> bool:
        return type(given) in (float, int) or name_in(given) == "float"

    def decode(self, given: Any, arrays: Sequence[Array]) -> Any:
        if name_in(given) == "float":
            return _NOT_FINITE[_key(given.get("is"), _NOT_FINITE)]
        if type(given) not in (float, int):
            raise no_such(given, "a number")
        return float(given)


_NOT_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


class Object:
    """An object of JSON's, of whatever kind."""

    def takes(self, value: Any) -> bool:
        return isinstance(value, Mapping)

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        return dict(value)

    def fits(self, given: Any) -> bool:
        return type(given) is dict

    def decode(self, given: Any, arrays: Sequence[Array]) -> Any:
        if type(given) is not dict:
            raise no_such(given, "an object")
        return given


class Choice:
    """One of some values."""

    def __init__(self, values: tuple[Any, ...]) -> None:
        self.values = values

    def takes(self, value: Any) -> bool:
        return value in self.values

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        return value

    def fits(self, given: Any) -> bool:
        return isinstance(given, str) and given in self.values

    def decode(self, given: Any, arrays: Sequence[Array]) -> Any:
        if not self.fits(given):
            raise no_such(given, f"one of {self.values}")
        return given


class Nothing:
    """None."""

    def takes(self, value: Any) -> bool:
        return value is None

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        return None

    def fits(self, given: Any) -> bool:
        return given is None

    def decode(self, given: Any, arrays: Sequence[Array]) -> Any:
        if given is not None:
            raise no_such(given, "null")


class Numbers:
    """An array of numbers of one type, by its place in the message."""

    def __init__(self, kind: Any) -> None:
        self.dtype = np.dtype(kind)

    def takes(self, value: Any) -> bool:
        return isinstance(value, np.ndarray)

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        arrays.append(np.asarray(value, self.dtype))
        return {NAME: "array", "at": len(arrays) - 1}

    def fits(self, given: Any) -> bool:
        return name_in(given) == "array"

    def decode(self, given: Any, arrays: Sequence[Array]) -> Any:
        place = given.get("at") if self.fits(given) else None
        if type(place) is not int or not 0 <= place < len(arrays):
            raise no_such(given, "an array")
        if arrays[place].dtype != self.dtype:
            raise MalformedError(f"an array is {arrays[place].dtype}, expected {self.dtype}")
        return arrays[place]


class Items:
    """Any number of values of one type."""

    def __init__(self, each: Coder, make: Callable[[Any], Any]) -> None:
        self.each, self.make = each, make

    def takes(self, value: Any) -> bool:
        return isinstance(value, Iterable) and not isinstance(value, str | Mapping)

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        return [self.each.encode(one, arrays) for one in value]

    def fits(self, given: Any) -> bool:
        return type(given) is list

    def decode(self, given: Any, arrays: Sequence[Array]) -> Any:
        if type(given) is not list:
            raise no_such(given, "a list")
        return self.make([self.each.decode(one, arrays) for one in given])


class Several:
    """As many values as there are types."""

    def __init__(self, each: Sequence[Coder]) -> None:
        self.each = each

    def takes(self, value: Any) -> bool:
        return isinstance(value, tuple) and len(value) == len(self.each)

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        return [one.encode(v, arrays) for one, v in zip(self.each, value, strict=True)]

    def fits(self, given: Any) -> bool:
        return type(given) is list and len(given) == len(self.each)

    def decode(self, given: Any, arrays: Sequence[Array]) -> Any:
        if not self.fits(given):
            raise no_such(given, f"{len(self.each)} values")
        return tuple(one.decode(v, arrays) for one, v in zip(self.each, given, strict=True))


class ByName:
    """Values of one type by names."""

    def __init__(self, each: Coder) -> None:
        self.each = each

    def takes(self, value: Any) -> bool:
        return isinstance(value, Mapping)

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        return {name: self.each.encode(one, arrays) for name, one in value.items()}

    def fits(self, given: Any) -> bool:
        return type(given) is dict

    def decode(self, given: Any, arrays: Sequence[Array]) -> Any:
        if type(given) is not dict:
            raise no_such(given, "an object")
        return {name: self.each.decode(one, arrays) for name, one in given.items()}


class OneOf:
    """Values of any of some types."""

    def __init__(self, each: Sequence[Coder]) -> None:
        self.each = each

    def takes(self, value: Any) -> bool:
        return any(one.takes(value) for one in self.each)

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        for one in self.each:
            if one.takes(value):
                return one.encode(value, arrays)
        raise InvalidArgumentError(f"{type(value).__name__} can't be sent to a server")

    def fits(self, given: Any) -> bool:
        return any(one.fits(given) for one in self.each)

    def decode(self, given: Any, arrays: Sequence[Array]) -> Any:
        for one in self.each:
            if one.fits(given):
                return one.decode(given, arrays)
        raise no_such(given, "one of the types that there can be")


class Never:
    """What can't be sent."""

    def takes(self, value: Any) -> bool:
        return True

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        raise InvalidArgumentError(f"{type(value).__name__} can't be sent to a server")

    def fits(self, given: Any) -> bool:
        return False

    def decode(self, given: Any, arrays: Sequence[Array]) -> Any:
        raise no_such(given, "nothing")


def name_in(given: Any) -> str | None:
    name = given.get(NAME) if type(given) is dict else None
    return name if isinstance(name, str) else None


def _key(given: Any, among: Mapping[str, Any]) -> str:
    if not isinstance(given, str) or given not in among:
        raise no_such(given, f"one of {', '.join(among)}")
    return given


def list_in(given: Any) -> list[Any]:
    if type(given) is not list:
        raise no_such(given, "a list")
    return given


def no_such(given: Any, wanted: str) -> MalformedError:
    return MalformedError(f"{str(given)[:80]!r} is there, expected {wanted}")
