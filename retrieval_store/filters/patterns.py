"""Regular expressions from users: RE2's, compiled, and bounded in size."""

import re
from functools import lru_cache
from typing import Any

import re2

from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.nodes import MAX_DEPTH

MAX_PATTERN = 10_000  # characters
MAX_GROUPS = 20  # with names
MAX_MEMORY = 2 << 20  # of a compiled pattern and the automaton made of it, as RE2 counts them
PATTERNS_KEPT = 16


@lru_cache(maxsize=PATTERNS_KEPT)
def compile_pattern(pattern: str) -> Any:
    """The RE2 pattern, compiled; raises InvalidFilterError for one that RE2 refuses, or that is
    longer, deeper or larger than a pattern from a user may be.

    RE2 needs time linear in the text. Where its memory ends it goes on with a slower automaton that
    needs none, so an answer is never wrong.
    """
    if len(pattern) > MAX_PATTERN:
        raise InvalidFilterError(
            f"the pattern has {len(pattern)} characters, expected at most {MAX_PATTERN}"
        )
    if _nesting(pattern) > MAX_DEPTH:
        raise InvalidFilterError(f"the pattern's groups are nested deeper than {MAX_DEPTH} levels")
    try:
        compiled = re2.compile(pattern, options=_options())
    except UnicodeEncodeError:
        raise InvalidFilterError("the pattern holds a lone surrogate") from None
    except re2.error as error:
        raise InvalidFilterError(_reason(error)) from None
    finally:
        re2.purge()  # its own cache keeps 128 patterns, however large they are
    # never_capture isn't about groups with names, and each costs memory for each state of a search
    if compiled.groups > MAX_GROUPS:
        raise InvalidFilterError(
            f"the pattern has {compiled.groups} groups with names, expected at most {MAX_GROUPS}"
        )
    return compiled


def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = MAX_MEMORY
    return options


_BRACKETS = re.compile(
    r"\\Q.*?(?:\\E|\Z)|\\.|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*(?:\]|\Z)|([()])", re.DOTALL
)


def _nesting(pattern: str) -> int:
    """How deep groups lie in groups; parentheses that are quoted or in a class are none."""
    deepest = depth = 0
    for found in _BRACKETS.finditer(pattern):
        if found[1]:
            depth += 1 if found[1] == "(" else -1
            deepest = max(deepest, depth)
    return deepest


def _reason(error: Any) -> str:
    said = error.args[0].decode(errors="replace") if error.args else "RE2 refuses it"
    if said.startswith("pattern too large"):
        return f"compiled, the pattern needs more memory than the {MAX_MEMORY >> 20} MiB allowed"
    return f"not a regular expression of RE2: {said[:200]}"  # it repeats the pattern
