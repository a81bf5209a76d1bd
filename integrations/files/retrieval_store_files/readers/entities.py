"""Replaces references to the entities that an XML file declares in the internal subset of its
DOCTYPE. Entities in other files aren't read. The size of the expanded text is limited, because ten
lines of declarations can expand to a text that fits into no memory.
"""

import re

MAX_EXPANDED = 1_000_000  # characters of all expanded references of a file
_DEEPEST = 20  # entities within entities
_DOCTYPE = re.compile(r"\A[^<]*(?>(?><\?.*?\?>|<!--.*?-->)[^<]*)*<!DOCTYPE\s[^<>\[]*\[", re.DOTALL)
_QUOTED = r"(?:\"[^\"]*\"|'[^']*')"
# The parts of an internal subset, and its end.
_PART = re.compile(
    rf"<!--.*?-->|<\?.*?\?>|<!ENTITY\s+(?P<parameter>%\s+)?(?P<name>[\w.:-]+)\s+"
    rf"(?:(?P<value>{_QUOTED})|(?P<external>SYSTEM|PUBLIC)\b(?:[^\"'>]|{_QUOTED})*)\s*>"
    rf"|<!(?:[^\"'>]|{_QUOTED})*>|(?P<end>\]\s*>)|[^<\]]+|.",
    re.DOTALL,
)
_REFERENCE = re.compile(r"&([\w.:-]+);")


class Entities:
    """The entities that an XML text declares. end: the position after its DOCTYPE, 0 for a text
    without an internal subset."""

    def __init__(self, text: str) -> None:
        self._values: dict[str, str] = {}
        self._external: set[str] = set()
        self._left = MAX_EXPANDED
        self._unread: dict[str, None] = {}
        self.end = self._read_subset(text)

    def _read_subset(self, text: str) -> int:
        match = _DOCTYPE.match(text)
        if match is None:
            return 0
        for part in _PART.finditer(text, match.end()):
            if part["end"]:
                return part.end()
            name = part["name"]
            if not name or part["parameter"] or name in self._values or name in self._external:
                continue
            if part["external"]:
                self._external.add(name)
            else:
                self._values[name] = part["value"][1:-1]
        return 0

    @property
    def gaps(self) -> list[str]:
        """Descriptions of the references that `expand` couldn't replace so far, with the reason."""
        return [*self._unread]

    def expand(self, text: str) -> str:
        """Replace the references to declared entities in a part of the text by their values. Other
        references, such as "&amp;", stay."""
        if "&" not in text or not (self._values or self._external):
            return text
        return _REFERENCE.sub(lambda match: self._expanded(match, 0), text)

    def _expanded(self, match: re.Match[str], depth: int) -> str:
        name = match[1]
        if name in self._external:
            self._unread[f"the entity {name!r}, which is in another file, isn't read"] = None
        value = self._values.get(name)
        if value is None:
            return match[0]
        self._left -= len(value)
        if self._left < 0 or depth == _DEEPEST:
            self._unread[
                f"entities that stand for more than {MAX_EXPANDED:,} characters, or for themselves,"
                " aren't replaced"
            ] = None
            return match[0]
        return _REFERENCE.sub(lambda inner: self._expanded(inner, depth + 1), value)
