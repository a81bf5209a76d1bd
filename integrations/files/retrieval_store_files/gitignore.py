"""Matches paths with Git's .gitignore patterns, by the rules of its manual (`man gitignore`) and of
its wildcard matching (wildmatch.c). Patterns match bytes. Each path is matched without its parent
folders, since the contents of an excluded folder aren't visited. (The package pathspec isn't used.
Its patterns also match the contents of folders, and it parses some lines differently. If google-re2
is installed, pathspec uses it, and google-re2 can't hold two thousand patterns.)

A pattern becomes a regular expression without backtracking. The text between two stars matches at
its first occurrence, and the match isn't revised (`(?>…)`), so that no pattern takes long.
"""

import os
import re
import string
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

_NAMED = {
    "alnum": string.ascii_letters + string.digits,
    "alpha": string.ascii_letters,
    "blank": " \t",
    "cntrl": "".join(map(chr, [*range(32), 127])),
    "digit": string.digits,
    "graph": string.ascii_letters + string.digits + string.punctuation,
    "lower": string.ascii_lowercase,
    "print": string.ascii_letters + string.digits + string.punctuation + " ",
    "punct": string.punctuation,
    "space": " \t\n\r",
    "upper": string.ascii_uppercase,
    "xdigit": string.hexdigits,
}
_SETS = {name.encode(): frozenset(chars.encode()) for name, chars in _NAMED.items()}
_OF_FOLDER = b"\0"
_NO_NAME = frozenset(b"/\0")
_ANY = b"[^/\0]"
_NAMED_SET = re.compile(rb"\[:([^\]]*):\]")
_LITERAL = re.compile(rb"[^*?[\\]*")
_WITHOUT_SPACES = re.compile(rb"((?:\\.?|[^\\])*?) *", re.DOTALL)  # strips unescaped spaces


@dataclass(frozen=True, slots=True)
class _Rule:
    """The rule that a line of a .gitignore file defines. regex: a regular expression for names or
    paths, as bytes; the path of a folder ends with a zero byte. of_names: whether the regex matches
    names, not paths. takes_back: whether the line begins with "!", which includes matching paths
    again."""

    regex: bytes
    of_names: bool
    takes_back: bool


class GitPatterns:
    """The patterns in the lines of a .gitignore file. If several patterns match a path, the last
    one counts. A line that can't match anything is skipped, as in Git."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        rules: list[_Rule] = []
        for line in lines:
            with suppress(ValueError):
                if (rule := _rule(line)) is not None:
                    rules.append(rule)
        self._names = _Rules([(i, rule) for i, rule in enumerate(rules) if rule.of_names])
        self._paths = _Rules([(i, rule) for i, rule in enumerate(rules) if not rule.of_names])

    @classmethod
    @lru_cache(maxsize=64)
    def of(cls, lines: tuple[str, ...]) -> "GitPatterns":
        """The patterns in these lines. The result is cached, since a program uses only a few lists
        of lines."""
        return cls(map(os.fsencode, lines))

    @classmethod
    def from_content(cls, content: bytes) -> "GitPatterns":
        """The patterns of a .gitignore file."""
        lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        return cls(line.removesuffix(b"\r") for line in lines)

    def say(self, path: str) -> bool | None:
        """True if the patterns exclude a path. False if the last matching pattern begins with "!",
        which includes the path again. None if no pattern matches. The path of a folder ends with
        "/"."""
        raw = os.fsencode(path)
        raw = raw[:-1] + _OF_FOLDER if raw.endswith(b"/") else raw
        name = raw[raw.rfind(b"/") + 1 :]
        place, is_named = max(self._names.last(name), self._paths.last(raw))
        return None if place < 0 else is_named


class _Rules:
    """A list of rules, and a regular expression that finds the last rule that matches a text."""

    def __init__(self, rules: list[tuple[int, _Rule]]) -> None:
        self._verdicts = [(place, not rule.takes_back) for place, rule in reversed(rules)]
        each = b"|".join(b"%s()" % rule.regex for _, rule in reversed(rules))
        self._regex = re.compile(each, re.DOTALL) if rules else None

    def last(self, text: bytes) -> tuple[int, bool]:
        """The position of the last rule that matches the text, and whether this rule excludes the
        text. (-1, False) if no rule matches."""
        match = self._regex and self._regex.fullmatch(text)
        return self._verdicts[match.lastindex - 1] if match and match.lastindex else (-1, False)


def is_pattern(line: bytes) -> bool:
    """Whether a line is valid in a .gitignore file: a pattern that can match something, a comment,
    or a blank line."""
    try:
        _rule(line)
    except ValueError:
        return False
    return True


def _rule(line: bytes) -> _Rule | None:
    """The rule that a line defines; None for a blank line or a comment. Raises ValueError for a
    pattern that can't match anything."""
    kept = _WITHOUT_SPACES.fullmatch(line)
    text = kept[1] if kept else b""
    if not text or text.startswith(b"#"):
        return None
    pattern = text.removeprefix(b"!")
    of_folders = pattern.endswith(b"/")
    pattern = pattern[:-1] if of_folders else pattern
    of_names = b"/" not in pattern
    pattern = pattern.removeprefix(b"/")
    if not pattern:
        raise ValueError("nothing is named")
    regex = _regex(list(_tokens(pattern))) + _OF_FOLDER + (b"" if of_folders else b"?")
    return _Rule(regex, of_names, text.startswith(b"!"))


# Tokens of patterns are regular expressions for one byte each, except these. The first three match
# as little as possible.
_STAR, _FOLDERS, _ANYTHING = b"*", b"**/", b"**\\/"
_REST = b".*"


def _tokens(pattern: bytes) -> Iterator[bytes]:
    i = 0
    while i < len(pattern):
        char = pattern[i : i + 1]
        if char == b"*":
            end = i
            while pattern[end : end + 1] == b"*":
                end += 1
            yield (token := _stars_token(pattern, i, end))
            i = end + (token == _FOLDERS)
        elif char == b"[":
            chars, i = _set_at(pattern, i + 1)
            yield b"[%s]" % b"".join(b"\\x%02x" % c for c in sorted(chars)) if chars else b"(?!)"
        else:
            i += char == b"\\"
            if i == len(pattern):
                raise ValueError("a backslash ends it")
            yield _ANY if char == b"?" else re.escape(pattern[i : i + 1])
            i += 1


def _stars_token(pattern: bytes, start: int, end: int) -> bytes:
    """The token for several consecutive stars in a pattern. The stars match across folders if they
    are a whole part of the path, or the first wildcard of the pattern (since Git matches the text
    before the first wildcard separately)."""
    before = pattern[:start]
    begins_part = before[-1:] in (b"", b"/")
    if end - start == 1 or not (begins_part or _LITERAL.fullmatch(before)):
        return _STAR
    if end == len(pattern):
        return _REST
    if pattern.startswith(b"/", end):
        return _FOLDERS
    return _ANYTHING if pattern.startswith(b"\\/", end) else _STAR


def _set_at(pattern: bytes, i: int) -> tuple[frozenset[int], int]:
    """Parse the bracket expression at position `i` of a pattern. Returns the bytes that the
    expression matches, and the position where the expression ends."""
    negated = pattern[i : i + 1] in (b"!", b"^")
    i += negated
    start, chars, before = i, set[int](), None
    while i == start or pattern[i : i + 1] != b"]":
        named = _NAMED_SET.match(pattern, i)
        is_range = pattern[i : i + 1] == b"-" and before is not None
        if named:
            if named[1] not in _SETS:
                raise ValueError("a class that there isn't")
            chars |= _SETS[named[1]]
            before, i = None, named.end()
        elif is_range and pattern[i + 1 : i + 2] not in (b"", b"]"):
            last, i = _byte_at(pattern, i + 1)
            chars.update(range(before or 0, last + 1))
            before = None
        else:
            before, i = _byte_at(pattern, i)
            chars.add(before)
    fits = frozenset(range(256)) - chars if negated else frozenset(chars)
    return fits - _NO_NAME, i + 1


def _byte_at(pattern: bytes, i: int) -> tuple[int, int]:
    i += pattern.startswith(b"\\", i)
    if i >= len(pattern):
        raise ValueError("a bracket isn't closed")
    return pattern[i], i + 1


def _regex(tokens: list[bytes]) -> bytes:
    """The regular expression for tokens that can match across folders. The tokens are divided into
    parts, each of which begins with a token that matches across folders. All parts but the last
    match without backtracking."""
    begins = {_FOLDERS: b"(?:[^/]*+/)*?", _ANYTHING: b".*?"}
    *parts, last = [
        begins.get(begin, b"") + _part(group)
        for begin, group in _divide_tokens(tokens, frozenset(begins))
    ]
    return b"".join(b"(?>%s)" % part for part in parts) + last


def _part(tokens: list[bytes]) -> bytes:
    """The regular expression for tokens in which a star matches only within one name, so never a
    "/"."""
    (_, first), *others = _divide_tokens(tokens, frozenset([_STAR]))
    texts = [b"".join(group) for _, group in others]
    kept = [b"(?>%s*?%s)" % (_ANY, text) for text in texts[:-1]]
    return b"".join([*first, *kept, *(_ANY + b"*" + text for text in texts[-1:])])


def _divide_tokens(
    tokens: list[bytes], by: frozenset[bytes]
) -> Iterator[tuple[bytes, list[bytes]]]:
    """Divide a list of tokens at each token that is in `by`. For each part, yields the token in
    `by` before the part (empty for the first part), and the list of the part's tokens."""
    before, group = b"", list[bytes]()
    for token in tokens:
        if token in by:
            yield before, group
            before, group = token, []
        else:
            group.append(token)
    yield before, group
