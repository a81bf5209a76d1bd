"""Readers extract the text of a file, with the position of each part of the text in the file.

A reader takes the bytes of a file, which are untrusted. It returns a `FileText`, or raises a
DataLoaderError. The `FileText` contains everything that a person who opens the file can read; its
gaps name the parts that the reader can't read.

- `files` finds the reader of a file; `child` runs readers in a process with limits.
- `markup` reads texts, Markdown and reStructuredText. `html` reads HTML, which `elements` parses.
  `data` reads source code, tables, JSON and notebooks. `mail` reads mail; `mail_headers` decodes
  its headers first. `pdf` reads PDF: `accents` joins accents with their letters, and `glyphs` finds
  missing letters.
- `word`, `slides` and `sheets` read the documents of Office; `office` has their common parts.
- `open_document` reads the documents of LibreOffice, whose names and styles `odf` defines.
  `old_sheets` reads files of Excel before 2007, `rich_text` RTF, `books` EPUB, and `mailboxes` mbox
  and mails of Outlook. `marked_text` reads XML, subtitles, and other texts with headings. `packed`
  opens zips of XML.
- `encodings` decodes texts, in the encoding that `declared` finds. `entities` replaces entities of
  XML, `tables` writes tables as Markdown, and `passages` splits the text of a file into passages.

These modules can use `plugins`, `loaders`, `embeddings` and `errors` of the core, and `values` of
this package.

A reader is a plugin of the group `retrieval_store.readers`. The name of the plugin is the ending of
the files that the reader reads, such as "djvu", or the media type of these files.
"""

import re
import struct
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

from retrieval_store.errors import DataLoaderError, InvalidTypeError


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a file, with a heading or a page of its own. text: Markdown, with blocks of code
    and tables; headings: the headings of the sections that contain this section, the outermost
    first. page: the number of the section's page, from 1; start, end: the section's range in the
    file's text, in characters. If `text` is an exact copy of that range, `end - start` is its
    length. is_code: whether the section is source code, which is split between lines."""

    text: str
    headings: tuple[str, ...] = ()
    page: int | None = None
    start: int | None = None
    end: int | None = None
    is_code: bool = False


class PicturePage(NamedTuple):
    """A page that is wholly or mostly a picture. page: the number of the page, from 1; words: the
    number of words of text on the page."""

    page: int
    words: int


@dataclass(frozen=True, slots=True)
class FileText:
    """The text of a file in sections, with the title, author, date and language that the file
    declares. date: as YYYY-MM-DD, or with the time in ISO 8601; language: a tag such as "en". gaps:
    descriptions of the parts that weren't read, such as "3 tracked deletions". pictures: the pages
    that are pictures; `gaps` lists them too."""

    sections: list[Section] = field(default_factory=list)
    title: str | None = None
    author: str | None = None
    date: str | None = None
    language: str | None = None
    gaps: tuple[str, ...] = ()
    pictures: tuple[PicturePage, ...] = ()


# A date, or a time, in ISO 8601.
DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?")
GAPS = 10  # gaps of a file that are named


def few(gaps: Sequence[str]) -> tuple[str, ...]:
    """The first few gaps of a file. If there are more, the last text says how many, such as "and 12
    more"."""
    more = [f"and {len(gaps) - GAPS:,} more"] if len(gaps) > GAPS else []
    return (*gaps[:GAPS], *more)


def count_phrase(number: int, noun: str, nouns: str = "") -> list[str]:
    """A list with one text that describes a gap, such as "3 deletions"; empty if `number` is 0.
    noun: the singular; nouns: the plural, by default the noun with an "s"."""
    if number == 0:
        return []
    return [f"{number:,} {noun if number == 1 else nouns or noun + 's'}"]


def without_parents(sections: list[Section]) -> list[Section]:
    """The sections, without those that have only a heading and are directly followed by a
    subsection."""
    following = [*sections[1:], Section("")][: len(sections)]
    return [
        section
        for section, after in zip(sections, following, strict=True)
        if section.text or after.headings[: len(section.headings)] != section.headings
    ]


_passwords: ContextVar[tuple[str, ...]] = ContextVar("passwords", default=())


def passwords() -> tuple[str, ...]:
    """The passwords that the caller has set, as candidates for opening encrypted files."""
    return _passwords.get()


def set_passwords(passwords: Iterable[str]) -> None:
    """Set the passwords for all files that are read after this call."""
    _passwords.set(tuple(passwords))


# A library's errors of these classes are about its own code, not the file.
_OF_PYTHON = (
    LookupError, ValueError, TypeError, AttributeError, ArithmeticError, AssertionError, EOFError,
    StopIteration, struct.error, NotImplementedError,
)  # fmt: skip


def unreadable(
    kind: str, error: Exception, program: str, part: str | None = None
) -> DataLoaderError:
    """The error for a damaged file. kind: the expected format, such as "a document of Word"; error:
    the library's error. program: a program that may open and repair the file; part: the damaged
    part, if it is known."""
    own = str(error).strip() if not isinstance(error, _OF_PYTHON) else ""
    where = f"{part} is damaged" if part else ""
    why = ": ".join(filter(None, [where, own])) or "it is damaged"
    return DataLoaderError(
        f"it isn't {kind} that can be read: {why[:500]}; if {program} opens it, save it anew"
    )


def locked_error() -> DataLoaderError:
    """The error for an encrypted file that no password opens."""
    tried = len(passwords())
    why = f"none of {tried} passwords opens it" if tried else "requires a password"
    return DataLoaderError(f"it is encrypted, and {why}")


Read: TypeAlias = FileText | Iterable[Section] | str


class Reader(Protocol):
    """The type of a function that reads files of one kind."""

    def __call__(self, data: bytes, name: str, /) -> Read:
        """The text of a file. data: the bytes of the file; name: the path of the file within its
        folder. Raises DataLoaderError if the file can't be read."""
        ...


def file_text(read: Any, who: str) -> FileText:
    """Convert the result of a user's or a plugin's reader to a FileText. The result can be a
    FileText, a text, or one or more sections. Raises InvalidTypeError for any other result. who:
    the name of the reader for error messages."""
    if isinstance(read, FileText):
        return read
    if isinstance(read, str):
        return FileText([Section(read)])
    sections = [*read] if isinstance(read, Iterable) and not isinstance(read, bytes) else [read]
    for section in sections:
        if not isinstance(section, Section):
            from retrieval_store_files.values import quote

            raise InvalidTypeError(
                f"{who} has returned {quote(section)}, expected a str, Sections or a FileText"
            )
    return FileText(sections)
