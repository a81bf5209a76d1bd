"""Readers: they make texts of files, and say where in the file each text is from.

The bytes of a file come in, which a stranger may have made; a `FileText` comes out, or a
DataLoaderError. A reader gives all that a person who opens the file can read, or its gaps name what
it leaves out.

- `files` finds the reader of a file; `child` runs readers in a process with limits.
- `markup` reads texts, Markdown and reStructuredText, `html` HTML, which `elements` parses, `data`
  source code, tables, JSON and notebooks, `mail` mail, whose `mail_headers` are decoded first,
  `pdf` PDF, whose `accents` are put onto their letters, and whose `glyphs` tell missing ones.
- `word`, `slides` and `sheets` read the documents of Office; `office` has what these share.
- `open_document` reads those of LibreOffice, whose names and styles `odf` knows, `old_sheets` Excel
  before 2007, `rich_text` RTF, `books` EPUB, `mailboxes` mbox and mails of Outlook, `marked_text`
  other texts with headings, XML and subtitles; `packed` opens zips of XML.
- `encodings` decodes texts, in what they are `declared` to be in; `entities` replaces those of XML;
  `tables` writes tables as Markdown, `passages` cuts what was read.

They may use `plugins`, `loaders`, `embeddings` and `errors` of the core, and `values`.

A reader is a plugin of the group `retrieval_store.readers`, whose name is the ending of the files
that it reads, such as "djvu", or their media type.
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
    """A part of a file that belongs together. text: as in Markdown, with blocks of code and tables;
    headings: those that lead to it, the outermost first; page: of the file, from 1; start, end:
    its place, in characters of the file's text. Where the text stands in the file word for word,
    `end - start` is its length. is_code: it is source code, and cut between lines."""

    text: str
    headings: tuple[str, ...] = ()
    page: int | None = None
    start: int | None = None
    end: int | None = None
    is_code: bool = False


class PicturePage(NamedTuple):
    """A page that is a picture, wholly or mostly: its number, from 1, and how many words of it were
    read."""

    page: int
    words: int


@dataclass(frozen=True, slots=True)
class FileText:
    """What was read of a file, in sections, with what the file says of itself: title, author, date
    and language. date: as YYYY-MM-DD, or with the time as ISO 8601 has it; language: a tag such as
    "en"; gaps: what isn't read, such as "3 tracked deletions"; pictures: pages that are pictures,
    which are gaps, too."""

    sections: list[Section] = field(default_factory=list)
    title: str | None = None
    author: str | None = None
    date: str | None = None
    language: str | None = None
    gaps: tuple[str, ...] = ()
    pictures: tuple[PicturePage, ...] = ()


# A date, or a time, as ISO 8601 has it.
DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?")
GAPS = 10  # that are named of a file


def few(gaps: Sequence[str]) -> tuple[str, ...]:
    """The first gaps of a file, and how many more there are."""
    more = [f"and {len(gaps) - GAPS:,} more"] if len(gaps) > GAPS else []
    return (*gaps[:GAPS], *more)


def count_phrase(number: int, noun: str, nouns: str = "") -> list[str]:
    """A gap such as "3 deletions", the noun's plural being its own with an "s" by default; none for
    none."""
    if number == 0:
        return []
    return [f"{number:,} {noun if number == 1 else nouns or noun + 's'}"]


def without_parents(sections: list[Section]) -> list[Section]:
    """The sections without those that are only a heading, of which the next ones have parts."""
    following = [*sections[1:], Section("")][: len(sections)]
    return [
        section
        for section, after in zip(sections, following, strict=True)
        if section.text or after.headings[: len(section.headings)] != section.headings
    ]


_passwords: ContextVar[tuple[str, ...]] = ContextVar("passwords", default=())


def passwords() -> tuple[str, ...]:
    """Those by which an encrypted file may be opened, as the caller has named them."""
    return _passwords.get()


def set_passwords(passwords: Iterable[str]) -> None:
    """Name the passwords for what is read from now on."""
    _passwords.set(tuple(passwords))


# What a library says by these says something of its own code, and nothing of the file.
_OF_PYTHON = (
    LookupError, ValueError, TypeError, AttributeError, ArithmeticError, AssertionError, EOFError,
    StopIteration, struct.error, NotImplementedError,
)  # fmt: skip


def unreadable(
    kind: str, error: Exception, program: str, part: str | None = None
) -> DataLoaderError:
    """The error of a file that is damaged. kind: what it should be, such as "a document of Word";
    error: what a library has raised; program: what may open and repair it; part: what of it is
    damaged, where that is known."""
    own = str(error).strip() if not isinstance(error, _OF_PYTHON) else ""
    where = f"{part} is damaged" if part else ""
    why = ": ".join(filter(None, [where, own])) or "it is damaged"
    return DataLoaderError(
        f"it isn't {kind} that can be read: {why[:500]}; if {program} opens it, save it anew"
    )


def locked_error() -> DataLoaderError:
    """The error of a file that is encrypted, and that no password opens."""
    tried = len(passwords())
    why = f"none of {tried} passwords opens it" if tried else "requires a password"
    return DataLoaderError(f"it is encrypted, and {why}")


Read: TypeAlias = FileText | Iterable[Section] | str


class Reader(Protocol):
    """Reads files of a kind."""

    def __call__(self, data: bytes, name: str, /) -> Read:
        """What a file says, of its bytes; the name is its path within its folder. Raises
        DataLoaderError where they can't be read."""
        ...


def file_text(read: Any, who: str) -> FileText:
    """What a reader returned, in its full form."""
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
