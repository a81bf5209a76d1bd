"""Splits the text of a file into passages, each of which begins with its headings.

The text of a passage is a line with the headings, and then an exact part of a section. The size of
a passage is counted as the embedding function counts it, so that the function can read each passage
whole. Sections are split between blocks, which are paragraphs, blocks of code and tables. Blocks
that are too long are split between list items or rows, then between sentences or lines, and only
then between words.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

from retrieval_store.embeddings import max_tokens_of, token_count_of
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError, RetrievalStoreError
from retrieval_store_files.readers import FileText, Section
from retrieval_store_files.readers.markup import CodeBlocks, file_text_of
from retrieval_store_files.values import check_callable, is_blank, quote, whole_number

Count: TypeAlias = Callable[[list[str]], Sequence[int]]
CHARACTERS_A_TOKEN = 64  # at most, of any text
LONGEST = 200  # words of a passage
# In scripts without spaces one or two characters are a word, and a long run without spaces, such as
# an address, has many tokens. This is approximate, and includes Korean, since it estimates lengths.
# `base.analysis` defines the words for search; with its ranges unchanged files would be split
# differently, and embedded again.
_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"
_WORD = re.compile(rf"[{_SPACELESS}]|[^\s{_SPACELESS}]{{1,24}}")
_BETWEEN = re.compile(r"\n(?:[ \t\r]*\n)+")
_ROW = re.compile(r"[ \t]*\|")
_UNDER_HEADER = re.compile(r"[ \t]*\|[ \t]*:?-[-:| \t]*\r?\n?")
_LINE = re.compile(r"\n")
_ITEM = re.compile(r"\n(?=[ \t]*(?:[-*+]|\d{1,3}[.)])[ \t])")
_SENTENCE = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+(?=\W{0,20}[^\Wa-z])|(?<=[。！？])")
_IN_PROSE, _IN_CODE = (_ITEM, _SENTENCE, _LINE), (_BETWEEN, _LINE)
_COUNTED = 1_000_000  # characters that are counted at once: tokenizers need 200 bytes for each


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a file that becomes a record. text: begins with the headings, such as "Guide >
    Install: Run it."; headings: the headings of the sections that contain the passage. page: the
    number of the page with the passage, from 1; start, end: the range of the passage in the file's
    text, in characters."""

    text: str
    headings: tuple[str, ...] = ()
    page: int | None = None
    start: int | None = None
    end: int | None = None


def passages_of(
    text: str,
    longest: int = LONGEST,
    shortest: int | None = None,
    *,
    heading: str = "",
    overlap: int = 0,
    function: Any = None,
) -> list[str]:
    """Split a text into passages of `shortest` to `longest` words, at its headings and paragraphs.

    A short paragraph is joined with later paragraphs. If the last paragraphs of a section are
    short, they are joined with the passage before them. A paragraph that is too long is split
    between list items, sentences or lines. A table is split between rows, and its header is
    repeated above each part. A block of code is split between lines. Only parts that are still too
    long are split between words.

    shortest: by default three eighths of `longest`. overlap: the number of words at the end of a
    passage that the next passage under the same heading repeats. Whole sentences are repeated if
    they fit.

    function: an embedding function that must be able to read each passage whole. If it has a method
    `count_tokens`, sizes are counted in tokens. A word counts as four thirds of a token, as in
    English, and a passage has at most `max_tokens` of the function. Without that method sizes are
    counted in words, and passages are shorter if the function reads fewer words than `longest`.

    Each passage begins with the headings that contain it, such as "Guide > Install: Run it."
    Headings are counted, too, and take at most half of a passage. The rest of a longer heading
    becomes separate passages, and so do outer headings that fit into no passage. Headings are lines
    outside of blocks of code that begin with "#" to "######". A single line above a row of "=", "-"
    or similar characters of the same length is a heading, too.

    heading: a heading that is put before all other headings if the text has no title. The title is
    taken from the front matter. Otherwise it is the first heading, if this heading has level 1 and
    no text before it. Front matter, a block of YAML between two lines of "---" at the beginning, is
    left out. A heading with no text below it becomes a passage. A text without words has no
    passages.
    """
    if not isinstance(text, str):
        raise InvalidTypeError(f"text is {quote(text)}, expected a str")
    cutter = cutter_of(function, longest, shortest, overlap)
    file = file_text_of(text.removeprefix("\ufeff"), keeps_fields=False)
    return [passage.text for passage in cutter.passages(file, heading)]


def cutter_of(
    function: Any, longest: Any = LONGEST, shortest: Any = None, overlap: Any = 0
) -> "Cutter":
    """The `Cutter` for these arguments of `passages_of`. Raises InvalidArgumentError for
    inconsistent sizes, and InvalidTypeError for a function that can't be called."""
    check_callable(function, "function")
    most = whole_number(longest, "longest", 4)
    least = None if shortest is None else whole_number(shortest, "shortest", 1)
    shared = whole_number(overlap, "overlap", 0)
    if least is not None and least > most:
        raise InvalidArgumentError(f"shortest is {least}, but longest {most}")
    if shared > most // 2:
        raise InvalidArgumentError(
            f"overlap is {shared}, but longest {most}: expected half of it at most"
        )
    return _cutter(function, most, least, shared)


def _limit_of(function: Any) -> int | None:
    """The number of tokens of a text that a function reads; None if this number isn't known. If a
    function of this project can't be loaded, an error is raised, because passages might otherwise
    be too long for its model."""
    try:
        getattr(function, "max_tokens", None)
    except RetrievalStoreError:
        raise
    except Exception:  # by the function's author
        return None
    return max_tokens_of(function)


def _cutter(function: Any, most: int, least: int | None, overlap: int) -> "Cutter":
    limit = None if function is None else _limit_of(function)
    count = None if limit is None else token_count_of(function)
    marks = 0
    if limit is None or count is None:
        count = _count_words
        most = most if limit is None else min(most, limit * 3 // 4)
    else:
        (marks,) = count([""])
        most = min(most * 4 // 3, limit - marks)
        least, overlap = None if least is None else least * 4 // 3, overlap * 4 // 3
    most = max(4, most)
    least = most * 3 // 8 if least is None else min(least, most)
    return Cutter(count, marks, most, least, min(overlap, most // 2))


def words_in(text: str) -> int:
    """The number of words in a text."""
    return sum(1 for _ in _WORD.finditer(text))


def _count_words(texts: list[str]) -> list[int]:
    return [*map(words_in, texts)]


@dataclass(frozen=True, slots=True)
class _Span:
    """A range of the text of a section, with its size in words or tokens. header: the header of a
    table, which is repeated above each part of the table."""

    start: int
    end: int
    size: int
    header: str = ""


@dataclass(frozen=True, slots=True)
class _Lead:
    """The line of headings before the text of a passage. first: the number of outermost headings
    that are left out; cut_off: the end of the last heading, if that heading is too long."""

    text: str
    first: int
    cut_off: str

    def depths_of(self, path: tuple[str, ...]) -> range:
        """The levels, from 1, of the headings in `path` that the line of headings contains
        completely."""
        return range(self.first + 1, len(path) + (0 if self.cut_off else 1))


def _path_of(section: Section, front: str) -> tuple[str, ...]:
    """The headings that contain a section, beginning with the file's title `front`."""
    path = tuple(heading for heading in section.headings if heading.strip())
    return (front, *path) if front and path[:1] != (front,) else path


@dataclass(frozen=True, slots=True)
class Cutter:
    """Splits files into passages, and joins short blocks. count: returns the sizes of texts in
    words or tokens; marks: the size that `count` returns for an empty text, which is subtracted
    from each size. So the size of a joined text is at most the sum of the sizes of its parts and
    the separators. most, least: the greatest and least size of a passage; overlap: the size of the
    text that a passage repeats from the passage before."""

    count: Count
    marks: int
    most: int
    least: int
    overlap: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers that, together with `count`, determine how a text is split into passages."""
        return self.marks, self.most, self.least, self.overlap

    def passages(self, file: FileText, name: str) -> list[Passage]:
        """The passages of a file. name: the title for a file that has no title."""
        front = file.title or name
        sections = [part for part in file.sections if part.headings or not is_blank(part.text)]
        paths = [_path_of(section, front) for section in sections]
        leads = {path: self._lead(path) for path in {*paths}}
        covered = {path[:depth] for path, lead in leads.items() for depth in lead.depths_of(path)}
        if not file.title:
            covered.add((name,))
        passages: list[Passage] = []
        for section, path in zip(sections, paths, strict=True):
            lead, rest = leads[path], list[str]()
            for depth in range(1, len(path) + 1):
                if path[:depth] not in covered:  # no passage has that whole heading
                    covered.add(path[:depth])
                    rest.append(lead.cut_off if depth == len(path) else path[depth - 1])
            passages += self._passages_of_headings(section, lead.text, rest)
            if not (rest and is_blank(section.text)):
                passages += self._passages_of_section(section, lead.text)
        return passages

    def _passages_of_headings(
        self, section: Section, before: str, rest: list[str]
    ) -> Iterator[Passage]:
        """Passages that contain only headings: those headings of a section that aren't completely
        in any other passage. They have the position of the section in the file. before: the line of
        headings before each passage; rest: the headings that become the text of these passages."""
        unread = replace(section, text=" > ".join(rest), is_code=False)
        for passage in self._passages_of_section(unread, before) if rest else ():
            yield replace(passage, start=section.start, end=section.end)

    def _passages_of_section(self, section: Section, before: str) -> Iterator[Passage]:
        """The passages of a section. before: the line of headings before each passage."""
        if is_blank(section.text):
            if before:
                yield _passage(section, before)
            return
        lead = f"{before}: " if before else ""
        room = max(1, self.most - self._size(lead) - self.overlap)
        text, spans = section.text, self._merge_blocks(section, room)
        starts = [span.start for span in spans]
        if self.overlap:
            starts[1:] = map(partial(self._overlap_start, text), spans, spans[1:])
        shown = [
            lead + span.header + text[start : span.end]
            for start, span in zip(starts, spans, strict=True)
        ]
        for start, span, shown_text, size in zip(
            starts, spans, shown, self._count_all(shown), strict=True
        ):
            if size <= self.most:
                yield _passage(section, shown_text, start, span.end)
                continue
            # Joined texts may have more tokens than separate ones.
            smaller = room - (size - self.most)
            for part in self._by_words(text, start, span.end, max(1, smaller)):
                yield _passage(section, lead + text[part.start : part.end], part.start, part.end)

    def _lead(self, path: tuple[str, ...]) -> _Lead:
        """The line of headings before a passage. The line takes at most half of the passage. If all
        headings take more, the outermost headings are left out. If even the last heading alone
        takes more, only its first words are used."""
        for first in range(len(path)):
            line = " > ".join(path[first:]).strip()
            if self._sizes(line, [(0, len(line))])[0] <= self.most // 2:
                return _Lead(line, first, "")
        line = path[-1].strip() if path else ""
        start = next(self._by_words(line, 0, len(line), self.most // 2), None)
        end = 0 if start is None else start.end
        return _Lead(line[:end], max(0, len(path) - 1), line[end:].strip())

    def _size(self, text: str) -> int:
        return self._count_all([text])[0]

    def _sizes(self, text: str, spans: Sequence[tuple[int, int]]) -> list[int]:
        """The size of each range of a text. For a range that is certainly too long, its number of
        characters is used instead. A tokenizer would need seconds and gigabytes to count megabytes
        of text."""
        sizes = [end - start for start, end in spans]
        longest = self.most * CHARACTERS_A_TOKEN
        places = [place for place, size in enumerate(sizes) if size <= longest]
        counted = self._count_all([text[slice(*spans[place])] for place in places])
        for place, size in zip(places, counted, strict=True):
            sizes[place] = size
        return sizes

    def _count_all(self, texts: list[str]) -> list[int]:
        at_once = max(1, _COUNTED // (self.most * CHARACTERS_A_TOKEN))
        sizes: list[int] = []
        for start in range(0, len(texts), at_once):
            counts = self.count(texts[start : start + at_once])
            sizes += [count - self.marks for count in counts]
        return sizes

    def _merge_blocks(self, section: Section, room: int) -> list[_Span]:
        """Split a section into passages of at most the size `room`. Short blocks are joined."""
        text, between = section.text, self._size("\n\n")
        merged: list[_Span] = []
        waiting: _Span | None = None
        for piece in self._cut_blocks(section, room):
            if waiting and waiting.size + between + piece.size > room:
                merged.append(waiting)
                waiting = None
            waiting = _join_spans(waiting, piece, between) if waiting else piece
            if waiting.size >= self.least:
                merged.append(waiting)
                waiting = None
        if waiting:
            last = merged[-1] if merged else None
            if last and not waiting.header and last.size + between + waiting.size <= room:
                merged[-1] = _join_spans(last, waiting, between)
            else:
                merged.append(waiting)
        return [span for span in merged if text[span.start : span.end].strip()]

    def _cut_blocks(self, section: Section, room: int) -> Iterator[_Span]:
        text = section.text
        kinds = [*_blocks(text, section.is_code)]
        sizes = self._sizes(text, [(start, end) for start, end, _ in kinds])
        for (start, end, kind), size in zip(kinds, sizes, strict=True):
            if size <= room:
                yield _Span(start, end, size)
            elif kind == "table":
                yield from self._rows(text, start, end, room)
            else:
                patterns = _IN_CODE if kind == "code" else _IN_PROSE
                yield from self._cut(text, start, end, room, patterns)

    def _cut(
        self, text: str, start: int, end: int, room: int, patterns: tuple[re.Pattern[str], ...]
    ) -> Iterator[_Span]:
        """Split a range of a text into parts of at most the size `room`, at the matches of the
        first pattern. Parts that are still too long are split at the matches of the next pattern,
        and finally between words."""
        if not patterns:
            yield from self._by_words(text, start, end, room)
            return
        parts = _split(text, start, end, patterns[0])
        between = self._size(" ")
        waiting: _Span | None = None
        for (a, b), size in zip(parts, self._sizes(text, parts), strict=True):
            if waiting and waiting.size + between + size <= room:
                waiting = _Span(waiting.start, b, waiting.size + between + size)
                continue
            if waiting:
                yield waiting
            waiting = _Span(a, b, size) if size <= room else None
            if waiting is None:
                yield from self._cut(text, a, b, room, patterns[1:])
        if waiting:
            yield waiting

    def _rows(self, text: str, start: int, end: int, room: int) -> Iterator[_Span]:
        """Split a table into parts of at most the size `room`. The header is repeated above each
        part, unless the header takes more than half of `room`."""
        lines = _split(text, start, end, _LINE)
        header = ""
        if len(lines) > 2 and _UNDER_HEADER.fullmatch(text, *lines[1]):
            header = text[start : lines[2][0]]
        (size,) = self._sizes(header, [(0, len(header))])
        if size > room // 2:
            header, size = "", 0
        body = lines[2][0] if header else start
        for i, piece in enumerate(self._cut(text, body, end, room - size, (_LINE,))):
            if i == 0 and header:
                yield _Span(start, piece.end, piece.size + size)
            else:
                yield _Span(piece.start, piece.end, piece.size + size, header)

    def _by_words(self, text: str, start: int, end: int, room: int) -> Iterator[_Span]:
        """Split a range of a text between words into parts of at most the size `room`. Each part
        has at least one whole word."""
        words = [(match.start(), match.end()) for match in _WORD.finditer(text, start, end)]
        first = 0
        while first < len(words):
            number = min(room, len(words) - first)
            while True:
                a, b = words[first][0], words[first + number - 1][1]
                size = self._size(text[a:b])
                if size <= room or number == 1:
                    break
                number = max(1, min(number - 1, number * room // size))
            yield _Span(a, b, size)
            first += number

    def _overlap_start(self, text: str, last: _Span, span: _Span) -> int:
        """The position at which a passage begins. A passage repeats the end of the passage before
        it, up to the size `overlap`. The repetition begins at a sentence if a whole sentence fits
        into `overlap`, or else at a word. last: the range of the passage before; span: the range of
        the passage without the repetition."""
        if span.header:
            return span.start
        for pattern in (_SENTENCE, None):
            if pattern is None:
                places = [match.start() for match in _WORD.finditer(text, last.start, last.end)]
            else:
                places = [a for a, _ in _split(text, last.start, last.end, pattern)][1:]
            places = places[-self.overlap :]  # each has at least one word
            sizes = self._sizes(text, [(place, last.end) for place in places])
            for place, size in zip(places, sizes, strict=True):
                if size <= self.overlap:
                    return place
        return span.start


def _join_spans(first: _Span, second: _Span, between: int) -> _Span:
    return _Span(first.start, second.end, first.size + between + second.size, first.header)


def _passage(section: Section, text: str, start: int = 0, end: int = 0) -> Passage:
    """The passage for a range of a section's text. If the section isn't an exact copy of a range of
    the file, the passage has the position of the section."""
    place, stop = section.start, section.end
    if place is not None and stop is not None and stop - place == len(section.text):
        place, stop = place + start, place + end
    return Passage(text, section.headings, section.page, place, stop)


def _split(text: str, start: int, end: int, pattern: re.Pattern[str]) -> list[tuple[int, int]]:
    """The ranges between the matches of a pattern, without empty ranges."""
    parts, at = [], start
    for match in pattern.finditer(text, start, end):
        # A closing mark of a sentence, such as a quotation mark, belongs to it.
        closing = match.end() if not match[0].strip() else match.start() + len(match[0].rstrip())
        parts.append((at, closing if match[0].strip() else match.start()))
        at = match.end()
    parts.append((at, end))
    return [(a, b) for a, b in parts if text[a:b].strip()]


def _blocks(text: str, is_code: bool) -> Iterator[tuple[int, int, str]]:
    """The paragraphs, blocks of code and tables of a text, as (start, end, kind); the kind is
    "prose", "code" or "table"."""
    if is_code:
        for a, b in _split(text, 0, len(text), _BETWEEN):
            yield a, b, "code"
        return
    start, at, kind, code = 0, 0, "", CodeBlocks()
    for line in text.split("\n"):
        after = min(at + len(line) + 1, len(text))
        was_open = code.is_open
        if code.goes_on(line):
            if not code.is_open:
                yield start, _trim_end(text, start, after), "code"
                start, kind = after, ""
        else:
            new = "code" if code.is_open else "table" if _ROW.match(line) else "prose"
            is_blank = not line.strip()
            if kind and (is_blank or new != kind or was_open):
                yield start, _trim_end(text, start, at), kind
                kind = ""
            if not is_blank and not kind:
                start, kind = at, new
        at = after
    if kind and text[start:at].strip():
        yield start, _trim_end(text, start, at), kind


def _trim_end(text: str, start: int, end: int) -> int:
    """The end of a range of text without the white space at its end."""
    return start + len(text[start:end].rstrip())
