"""Paths as Qdrant writes them, and as steps."""

import re
from functools import lru_cache

from retrieval_store.base.validation import shortened
from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.paths import EACH, Step, Steps
from retrieval_store.qdrant.tokens.letters import words_in

_KEY = r'(?:"(?P<quoted>[^"]*)"|(?P<bare>[^."\[\]]+))'
_FIRST = re.compile(_KEY)
_NEXT = re.compile(rf"\.{_KEY}|\[(?P<place>\d*)\]", re.ASCII)
MOST_PLACES = 2**63


@lru_cache(maxsize=1024)
def parse_path(key: str) -> Steps:
    """`a.b`, `a[].b`, `a[0]`, or keys in double quotes; InvalidFilterError for what is none."""
    found, steps, place = _FIRST.match(key), [], 0
    while found is not None:
        steps.append(_step(found, key))
        place = found.end()
        found = _NEXT.match(key, place)
    if place < len(key) or not steps:
        raise _invalid(key)
    return Steps(tuple(steps))


def _step(found: re.Match[str], key: str) -> Step:
    named = found.groupdict()
    if named["quoted"] is not None:
        return named["quoted"]
    if named["bare"] is not None:
        if not _is_bare(named["bare"]):
            raise _invalid(key)
        return named["bare"]
    if not named["place"]:
        return EACH
    if int(named["place"]) >= MOST_PLACES:
        raise _invalid(key)
    return int(named["place"])


def _is_bare(key: str) -> bool:
    """Whether a key needs no quotes: it has letters, digits, `-` and `_` alone."""
    plain = re.sub(r"[-_]", "", key)
    return not plain or words_in(plain) == [plain]


def _invalid(key: str) -> InvalidFilterError:
    return InvalidFilterError(
        f"{shortened(key)} is no path into a payload: expected keys such as a.b, a[].b or a[0], in "
        'double quotes where they have other characters than letters, digits, "-" and "_"'
    )
