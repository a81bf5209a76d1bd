"""Texts cut into passages, each of which says what it is about."""

import re
from typing import Any

from retrieval_store.base.arguments import whole_number
from retrieval_store.base.json_values import shown
from retrieval_store.embeddings import max_tokens_of
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError

LONGEST = 200  # words of a passage
_READ = 256  # tokens, where a function doesn't tell how many it reads
# Scripts without spaces have a word in one or two characters, and what has none for long, such as
# an address, many tokens.
_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"
_WORD = re.compile(rf"[{_SPACELESS}]|[^\s{_SPACELESS}]{{1,24}}")
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?\n)---[ \t]*(?:\n|\Z)", re.DOTALL)
_TITLE = re.compile(r"^title:[ \t]*(\S.*)$", re.MULTILINE)
_BETWEEN = re.compile(r"\n\s*\n")


def passages_of(
    text: str, longest: int = LONGEST, shortest: int | None = None, *, heading: str = ""
) -> list[str]:
    """A text in passages of `shortest` to `longest` words, by its paragraphs: short ones together
    with those that follow, a short end with those before; those that are too long cut between two
    words. shortest: a quarter of the longest, if None.

    In front of each stands the heading, which is the first line, if it begins with "# ", or else
    the one that is given. A text of a heading alone is one passage, a text without words is none.
    Front matter, a block of YAML between two lines of "---" at the beginning, is left out; its
    title is the heading where there is no other.
    """
    if not isinstance(text, str):
        raise InvalidTypeError(f"text is {shown(text)}, expected a str")
    most = whole_number(longest, "longest", 4)
    least = most // 4 if shortest is None else whole_number(shortest, "shortest", 1)
    if least > most:
        raise InvalidArgumentError(f"shortest is {least}, but longest {most}")
    text, title = _without_front_matter(text.removeprefix("\ufeff"))
    heading = title or heading
    paragraphs = [one.strip() for one in _BETWEEN.split(text) if one.strip()]
    if paragraphs and paragraphs[0].startswith("# "):
        first, _, rest = paragraphs.pop(0).partition("\n")
        heading = first.removeprefix("#").strip()
        paragraphs = [rest.strip(), *paragraphs] if rest.strip() else paragraphs
        if not paragraphs:
            return _cut(heading, most)
    before = _cut(heading, most // 2)[:1]
    room = most - sum(map(words_in, before))
    return [": ".join([*before, one]) for one in _merged(paragraphs, room, least)]


def _without_front_matter(text: str) -> tuple[str, str]:
    """The text, and the title that stands in its front matter."""
    found = _FRONT_MATTER.match(text)
    if found is None:
        return text, ""
    title = _TITLE.search(found[1])
    return text[found.end() :], "" if title is None else title[1].strip().strip("\"'")


def longest_for(function: Any) -> int:
    """How many words a passage may have, so that an embedding function reads all of it: a word has
    about four thirds of a token in English."""
    return max(4, min(LONGEST, (max_tokens_of(function) or _READ) * 3 // 4))


def words_in(text: str) -> int:
    """How many words a text has."""
    return sum(1 for _ in _WORD.finditer(text))


def _merged(paragraphs: list[str], room: int, least: int) -> list[str]:
    passages: list[str] = []
    waiting: list[str] = []
    for paragraph in (piece for one in paragraphs for piece in _cut(one, room)):
        if waiting and sum(map(words_in, [*waiting, paragraph])) > room:
            passages.append("\n\n".join(waiting))
            waiting = []
        waiting.append(paragraph)
        if sum(map(words_in, waiting)) >= least:
            passages.append("\n\n".join(waiting))
            waiting = []
    if waiting:
        end = "\n\n".join([*passages[-1:], *waiting])
        if words_in(end) <= room:
            passages[-1:] = [end]
        else:
            passages.append("\n\n".join(waiting))
    return passages


def _cut(paragraph: str, room: int) -> list[str]:
    """The paragraph, or pieces of it with so many words."""
    words = [*_WORD.finditer(paragraph)]
    pieces = (words[start : start + room] for start in range(0, len(words), room))
    return [paragraph[some[0].start() : some[-1].end()] for some in pieces]
