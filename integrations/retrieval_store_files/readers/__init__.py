"""Readers: they make texts of files, and say where in the file each text is from.

The bytes of a file come in, which a stranger may have made; a `FileText` comes out, or a
DataLoaderError. `files` finds the reader of a file; `markup` reads texts, Markdown,
reStructuredText and HTML, `marked_text` other texts with headings, XML and subtitles, `data` source
code, tables, JSON, mail and notebooks, `documents` PDF, Word, slides and spreadsheets,
`open_document` those of LibreOffice, whose names `odf` knows, `books` EPUB, `rich_text` RTF,
`old_sheets` Excel before 2007, `mailboxes` mbox and mails of Outlook; `packed` opens zips of XML,
`tables` has what spreadsheets share; `child` runs readers in a process with limits; `passages` cuts
what was read. It may use `plugins`, `loaders`, `embeddings`, `base` and `errors` of the core.

A reader is a plugin of the group `retrieval_store.readers`, whose name is the ending of the files
that it reads, such as "djvu", or their media type.
"""

from collections.abc import Iterable
from typing import Any, Protocol, TypeAlias

from retrieval_store.base.dataclasses import dataclass, field
from retrieval_store.errors import InvalidTypeError


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


@dataclass(frozen=True, slots=True)
class FileText:
    """What was read of a file, in sections, with what the file says of itself: title, author, date
    and language. date: as YYYY-MM-DD, or with the
    time as ISO 8601 has it; language: a tag such as "en"; gaps: what couldn't be read, such as
    "page 3 is a picture without text"."""

    sections: list[Section] = field(default_factory=list)
    title: str | None = None
    author: str | None = None
    date: str | None = None
    language: str | None = None
    gaps: tuple[str, ...] = ()


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
    for one in sections:
        if not isinstance(one, Section):
            from retrieval_store.base.validation import quote  # which loads numpy

            raise InvalidTypeError(
                f"{who} has returned {quote(one)}, expected a str, Sections or a FileText"
            )
    return FileText(sections)
