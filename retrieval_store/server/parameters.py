"""Parameters in the URL of a request, as a node alone reads them, and names in its path."""

from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

from retrieval_store.base.validation import INT_MAX
from retrieval_store.qdrant.errors import Refused, wrong

DIGITS = len(str(INT_MAX))  # Python makes no int of thousands of them
ORDERINGS, CONSISTENCIES = ("weak", "medium", "strong"), ("majority", "quorum", "all")


def parameters(given: bytes, reads: bool) -> dict[str, str]:
    """The parameters of a URL, checked; Refused where one can't be read. Of a name that is there
    twice the last counts. reads: whether the route only reads, for which other parameters count."""
    if not given:
        return {}
    try:
        found = dict(parse_qsl(given.decode(), keep_blank_values=True, errors="strict"))
    except (UnicodeDecodeError, ValueError) as error:
        raise _unreadable(str(error)) from None
    checks = _OF_READS if reads else _OF_WRITES
    for name, value in found.items():
        check = checks.get(name)
        if check is not None:
            check(name, value)
    return found


def _unreadable(said: str) -> Refused:
    return wrong(f"Deserialize error in query parameters: {said}")


def _boolean(name: str, value: str) -> None:
    if value not in ("true", "false"):
        raise _unreadable(f"{name} is {value!r}, expected `true` or `false`")


def is_unsigned(value: str) -> bool:
    """Whether a text is an unsigned integer of 64 bits."""
    return len(value) <= DIGITS and value.isascii() and value.isdigit() and int(value) <= INT_MAX


def _number(name: str, value: str) -> None:
    if not is_unsigned(value):
        raise _unreadable(f"{name} is {value!r}, expected an unsigned integer")


def _ordering(name: str, value: str) -> None:
    if value not in ORDERINGS:
        raise _unreadable(f"{name} is {value!r}, expected one of {', '.join(ORDERINGS)}")


def _positive(name: str, value: str) -> None:
    _number(name, value)
    if int(value) == 0:
        raise _unreadable(f"{name} is 0, expected 1 or more")


def _consistency(name: str, value: str) -> None:
    if value in CONSISTENCIES or value == "":
        return
    if not is_unsigned(value) or int(value) == 0:
        raise _unreadable(f"{name} is {value!r}, expected {', '.join(CONSISTENCIES)} or a number")


_OF_READS: Mapping[str, Callable[[str, str], None]] = {
    "anonymize": _boolean,
    "consistency": _consistency,
    "details_level": _number,
    "per_collection": _boolean,
    "timeout": _positive,
}
_OF_WRITES: Mapping[str, Callable[[str, str], None]] = {
    "force": _boolean,
    "ordering": _ordering,
    "timeout": _number,
    "wait": _boolean,
}


def refuse_dots(name: str) -> None:
    """Refuse the names of collections that most clients take out of a path."""
    if name in (".", ".."):
        raise wrong(f"Validation error in path parameters: collection_name is {name!r}")
