"""Parameters in the URL of a request, as a node alone reads them."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from retrieval_store.qdrant.refusals import Refused, malformed, wrong

MOST = 2**64 - 1
ORDERINGS, CONSISTENCIES = ("weak", "medium", "strong"), ("majority", "quorum", "all")


def parameters(given: bytes) -> dict[str, str]:
    """The parameters of a URL, checked; Refused where one can't be read. Of a name that is there
    twice the last counts."""
    if not given:
        return {}
    try:
        found = dict(parse_qsl(given.decode(), keep_blank_values=True, errors="strict"))
    except (UnicodeDecodeError, ValueError) as error:
        raise _unreadable(str(error)) from None
    for name, value in found.items():
        check = _CHECKS.get(name)
        if check is not None:
            check(name, value)
    return found


def _unreadable(said: str) -> Refused:
    return wrong(f"Deserialize error in query parameters: {said}")


def _boolean(name: str, value: str) -> None:
    if value not in ("true", "false"):
        raise _unreadable(f"{name} is {value!r}, expected `true` or `false`")


def _number(name: str, value: str) -> None:
    if not (value.isascii() and value.isdigit() and int(value) <= MOST):
        raise _unreadable(f"{name} is {value!r}, expected an unsigned integer")


def _ordering(name: str, value: str) -> None:
    if value not in ORDERINGS:
        raise _unreadable(f"{name} is {value!r}, expected one of {', '.join(ORDERINGS)}")


def _consistency(name: str, value: str) -> None:
    if value in CONSISTENCIES:
        return
    if not (value.isascii() and value.isdigit() and int(value) <= MOST):
        raise _unreadable(f"{name} is {value!r}, expected {', '.join(CONSISTENCIES)} or a number")
    if value == "0":
        raise malformed("Validation error in query parameters: consistency is 0, not 1 or more")


_CHECKS: Mapping[str, Callable[[str, str], Any]] = {
    "anonymize": _boolean,
    "consistency": _consistency,
    "force": _boolean,
    "ordering": _ordering,
    "per_collection": _boolean,
    "timeout": _number,
    "wait": _boolean,
}
