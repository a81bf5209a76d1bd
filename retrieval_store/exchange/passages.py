"""Texts cut into passages, each of which says what it is about."""

import re
from collections.abc import Iterator
from typing import Any

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.validation import shown, whole_number
from retrieval_store.embeddings import max_tokens_of, token_count_of
from retrieval_store.embeddings._common import Count
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError

LONGEST = 200  # words of a passage
# Scripts without spaces have a word in one or two characters, and what has none for long, such as
# an address, many tokens.
_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"
_WORD = re.compile(rf"[{_SPACELESS}]|[^\s{_SPACELESS}]{{1,24}}")
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?\n)---[ \t]*(?:\n|\Z)", re.DOTALL)
_TITLE = re.compile(r"^title:[ \t]*(\S.*)$", re.MULTILINE)
_BETWEEN = re.compile(r"\n\s*\n")
_HEADING = re.compile(r"(#{1,6})[ \t]+(\S.*?)(?:[ \t]+#+)?\s*")
_RULE = re.compile(r"([=~^\"'*+-])\1{2,}\s*")
_FENCE = re.compile(r" {0,3}(```|~~~)")


def passages_of(
    text: str,
    longest: int = LONGEST,
    shortest: int | None = None,
    *,
    heading: str = "",
    function: Any = None,
) -> list[str]:
    """A text in passages of `shortest` to `longest` words, by its headings and paragraphs: short
    paragraphs together with those that follow, a short end with those before; those that are too
    long cut between two words. shortest: a quarter of the longest, if None.

    function: an embedding function that is to read all of each passage. Where it counts tokens
    itself (`count_tokens`) a word stands for four thirds of one, as in English, and passages have
    no more than its `max_tokens`; else the words are fewer where it reads less.

    In front of each passage stand the headings that lead to it, as "Guide > Install: Run it."; they
    are counted too. They are the lines that begin with "#" to "######", or that stand alone above a
    row of "=", "-" or the like of their length, outside of blocks of code. Where none of these is
    the first line, the given heading comes before them. A heading
    without a text is a passage of its own, a text without words is none. Front matter, a block of
    YAML between two lines of "---" at the beginning, is left out; its title is the heading where
    there is no other.
    """
    if not isinstance(text, str):
        raise InvalidTypeError(f"text is {shown(text)}, expected a str")
    most = whole_number(longest, "longest", 4)
    least = None if shortest is None else whole_number(shortest, "shortest", 1)
    if least is not None and least > most:
        raise InvalidArgumentError(f"shortest is {least}, but longest {most}")
    text, title = _without_front_matter(text.removeprefix("\ufeff"))
    cutter = _cutter(function, most, least)
    return [one for part in _parts(text, title or heading) for one in cutter.passages(*part)]


def _without_front_matter(text: str) -> tuple[str, str]:
    """The text, and the title that stands in its front matter."""
    found = _FRONT_MATTER.match(text)
    if found is None:
        return text, ""
    title = _TITLE.search(found[1])
    return text[found.end() :], "" if title is None else title[1].strip().strip("\"'")


def _parts(text: str, heading: str) -> Iterator[tuple[list[str], list[str]]]:
    """The headings that lead to each part of a text, and its paragraphs; none of a part that is
    only divided further."""
    sections = _sections(text)
    path = [(0, heading)] if heading else []
    for i, (level, title, lines) in enumerate(sections):
        following = sections[i + 1][0] if i + 1 < len(sections) else 0
        paragraphs = [one.strip() for one in _BETWEEN.split("\n".join(lines)) if one.strip()]
        if title:
            path = [one for one in path if one[0] < level] + [(level, title)]
        elif following == 1 and not paragraphs:
            path = []  # the text has a heading of its own
        if paragraphs or (title and following <= level):
            yield [title for _, title in path], paragraphs


def _sections(text: str) -> list[tuple[int, str, list[str]]]:
    """Level, heading and lines of each part of a text; level 0 before the first heading."""
    sections: list[tuple[int, str, list[str]]] = [(0, "", [])]
    fence = ""  # by which a block of code is closed, in which "#" begins a comment
    rules: list[str] = []  # by which headings are underlined, the highest first
    for line in text.split("\n"):
        lines = sections[-1][2]
        mark = _FENCE.match(line)
        if mark and fence in ("", mark[1]):
            fence = "" if fence else mark[1]
        found, rule = (None, None) if fence else (_HEADING.fullmatch(line), _RULE.fullmatch(line))
        title = _underlined(lines, line.rstrip()) if rule else ""
        if found:
            sections.append((len(found[1]), found[2], []))
        elif rule and title:
            if rule[1] not in rules:  # "-" is the second in Markdown, also where it stands alone
                rules += [rule[1]] if rules or rule[1] != "-" else ["=", "-"]
            sections.append((rules.index(rule[1]) + 1, title, []))
        else:
            lines.append(line)
    return sections


def _underlined(lines: list[str], rule: str) -> str:
    """The heading at the end of lines that a rule underlines, taken away with a rule above it; ""
    where there is none."""
    *above, title = ["", "", *lines][-2:]
    is_alone = above[0].strip() in ("", rule)
    if not title.strip() or len(title.rstrip()) > len(rule) or title == rule or not is_alone:
        return ""
    del lines[-2 if above[0] == rule else -1 :]
    return title.strip()


def words_in(text: str) -> int:
    """How many words a text has."""
    return sum(1 for _ in _WORD.finditer(text))


def _cutter(function: Any, most: int, least: int | None) -> "_Cutter":
    limit = None if function is None else max_tokens_of(function)
    count = None if limit is None else token_count_of(function)
    marks = 0
    if limit is None or count is None:
        count = _count_words
        most = most if limit is None else min(most, limit * 3 // 4)
    else:
        (marks,) = count([""])
        most = min(most * 4 // 3, limit - marks)
        least = None if least is None else least * 4 // 3
    most = max(4, most)
    return _Cutter(count, marks, most, most // 4 if least is None else min(least, most))


def _count_words(texts: list[str]) -> list[int]:
    return [*map(words_in, texts)]


@dataclass(frozen=True, slots=True)
class _Cutter:
    """Makes passages of paragraphs, whose size is what `count` says without the marks that a model
    has around any text: texts together are no larger than the sum of them and what joins them.
    most, least: of a passage."""

    count: Count
    marks: int
    most: int
    least: int

    def passages(self, path: list[str], paragraphs: list[str]) -> list[str]:
        """Paragraphs that belong together in passages, each with the headings before it."""
        before = self._before(path)
        if not paragraphs:
            return [before]
        start = f"{before}: " if before else ""
        room = max(1, self.most - self._size(start))
        return [start + one for one in self._merged(paragraphs, room)]

    def _before(self, path: list[str]) -> str:
        """The headings in one line, without the first ones where all take half of a passage."""
        while len(path) > 1 and self._size(" > ".join(path)) > self.most // 2:
            path = path[1:]
        return next((text for text, _ in self._cut(" > ".join(path), self.most // 2)), "")

    def _size(self, text: str) -> int:
        return self.count([text])[0] - self.marks

    def _merged(self, paragraphs: list[str], room: int) -> list[str]:
        between = self._size("\n\n")
        passages: list[tuple[str, int]] = []
        waiting: tuple[str, int] | None = None
        for piece, size in (one for each in paragraphs for one in self._cut(each, room)):
            if waiting and waiting[1] + between + size > room:
                passages.append(waiting)
                waiting = None
            if waiting:
                waiting = f"{waiting[0]}\n\n{piece}", waiting[1] + between + size
            else:
                waiting = piece, size
            if waiting[1] >= self.least:
                passages.append(waiting)
                waiting = None
        if waiting:
            text, size = passages[-1] if passages else ("", room)
            if size + between + waiting[1] <= room:
                passages[-1:] = [(f"{text}\n\n{waiting[0]}", room)]
            else:
                passages.append(waiting)
        return [text for text, _ in passages]

    def _cut(self, paragraph: str, room: int) -> list[tuple[str, int]]:
        """The paragraph, or pieces of it of this size, each of whole words, one at least; and their
        sizes."""
        words = [*_WORD.finditer(paragraph)]
        pieces, start = [], 0
        while start < len(words):
            number = min(room, len(words) - start)
            while True:
                piece = paragraph[words[start].start() : words[start + number - 1].end()]
                size = self._size(piece)
                if size <= room or number == 1:
                    break
                number = max(1, min(number - 1, number * room // size))
            pieces.append((piece, size))
            start += number
        return pieces
