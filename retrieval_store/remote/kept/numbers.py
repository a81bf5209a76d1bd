"""Numbers as Qdrant keeps and compares them.

It keeps payloads as JSON, and reads the number back by one product or quotient of float64: of an
integer below 2**53 and a power of ten up to 22 that is exact, of what has more digits a neighbour,
which may move again with each reading; some tenth of all floats are such. So floats with 17 digits
are kept with 15 or 16, which Qdrant leaves alone, and stand exactly, as text, beside the payload.
A rounded number never becomes one of few digits: it stays on its side of these, so that bounds like
0.3 or 2021 mean the same as before. Bounds of many digits are moved by more than rounding can.
gRPC, which nodes of a cluster speak among themselves, has no room for integers from 2**63 on, and
turns them into floats; so these are kept as floats, and exactly beside them.
"""

import math
from contextlib import suppress
from decimal import Decimal
from typing import Any

import orjson

from retrieval_store.base.json_values import JSONValue, Payload
from retrieval_store.errors import DamagedError

EXACT_INTEGERS = 2**53
LARGEST_INTEGER = 2**63 - 1  # that gRPC has room for
SMALLEST, LARGEST = 1e-6, 1e15  # of numbers that are rounded; those beyond are left to move
FEW_DIGITS = 14
ROUNDED = 4e-15  # more than rounding and reading move a number, relatively


def survives_rounding(limit: int | float) -> bool:
    """Whether a number that Qdrant keeps is greater, equal or less just where the one is that was
    given."""
    if limit == 0:
        return True
    within = SMALLEST <= abs(limit) < LARGEST
    return within and float(f"{limit:.{FEW_DIGITS - 1}e}") == limit


def kept(value: JSONValue) -> JSONValue:
    """The value as Qdrant is to keep it."""
    match value:
        case float():
            return _rounded(value)
        case int() if value > LARGEST_INTEGER:
            return float(value)
        case list():
            return [kept(one) for one in value]
        case dict():
            return {name: kept(one) for name, one in value.items()}
    return value


def exact_text(payload: Payload) -> str | None:
    """What the payload has that can't be kept as it is, as JSON; None when there is nothing."""
    moved = {name: value for name, value in payload.items() if not _is_kept(value)}
    return orjson.dumps(moved).decode() if moved else None


def restored(payload: Payload, text: Any) -> Payload:
    """The payload as it was before it was kept. What another program has changed stays as it is;
    raises DamagedError where that is the text."""
    exact = _exact(text)
    return {
        name: exact[name] if name in exact and _alike(value, exact[name]) else value
        for name, value in payload.items()
    }


def _exact(text: Any) -> Payload:
    with suppress(orjson.JSONDecodeError):
        found = orjson.loads(text)
        if isinstance(found, dict):
            return found
    raise DamagedError("the exact numbers that stand beside metadata on a cluster can't be read")


def _rounded(number: float) -> float:
    if survives_rounding(number) or not SMALLEST <= abs(number) < LARGEST:
        return number
    given = Decimal(number)
    digits = 16 if abs(given.scaleb(15 - given.adjusted())) < EXACT_INTEGERS else 15
    unit = Decimal(1).scaleb(given.adjusted() - digits + 1)
    near = given.quantize(unit)
    if float(near) != number and int(near / unit) % 10 == 0:  # one of fewer digits, which it isn't
        near += unit if given > near else -unit
    return float(near)


def _is_kept(value: JSONValue) -> bool:
    """Whether it comes back as it is."""
    match value:
        case float():
            return value == 0 or (SMALLEST <= abs(value) < LARGEST and _rounded(value) == value)
        case int():
            return value <= LARGEST_INTEGER
        case list():
            return all(map(_is_kept, value))
        case dict():
            return all(map(_is_kept, value.values()))
    return True


def _alike(one: Any, other: Any) -> bool:
    """Whether they are the same but for rounding."""
    match one, other:
        case list(), list():
            return len(one) == len(other) and all(map(_alike, one, other))
        case dict(), dict():
            return one.keys() == other.keys() and all(_alike(one[n], other[n]) for n in one)
        case float(), float() | int() if isinstance(other, float) or other > LARGEST_INTEGER:
            return math.isclose(one, other, rel_tol=ROUNDED, abs_tol=1e-300)
    return bool(type(one) is type(other) and one == other)
