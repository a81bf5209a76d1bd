"""Finds the reader of a file by its name, and lets it read the file.

Plain texts are read in this process. Formats that need a parser are read in a `ReaderProcess`.
"""

import io
import mimetypes
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from retrieval_store import plugins
from retrieval_store.errors import DataLoaderError, InvalidTypeError, RetrievalStoreError
from retrieval_store_files.readers import FileText, Read, Section, few, file_text
from retrieval_store_files.readers.child import ReaderProcess
from retrieval_store_files.values import is_unicode, quote

Ocr: TypeAlias = Callable[[Any], str]  # from a picture, by Pillow, to its text
MAX_CHARACTERS = 10_000_000  # of the text of a file
PLAIN = frozenset(["txt", "md", "rst"])  # plain texts
_SAME = {
    "markdown": "md", "htm": "html", "xhtml": "html", "tsv": "csv", "ndjson": "jsonl",
    "log": "txt", "text": "txt", "pyi": "py", "pyw": "py", "xlsm": "xlsx", "docm": "docx",
    "pptm": "pptx", "mdx": "md", "asciidoc": "adoc", "vtt": "srt", "latex": "tex", "ltx": "tex",
    "fodt": "odt", "ott": "odt", "fods": "ods", "ots": "ods", "fodp": "odp", "otp": "odp",
    "odg": "odp", "fodg": "odp", "odf": "odt", "xlt": "xls",
    "svg": "xml",
}  # fmt: skip
_CODE = frozenset([
    "bash", "bat", "c", "cc", "cfg", "clj", "cmake", "conf", "cpp", "cs", "css", "cxx", "dart",
    "ex", "exs", "go", "gradle", "groovy", "h", "hh", "hpp", "hs", "ini", "java", "jl", "js",
    "jsx", "kt", "lua", "m", "mjs", "ml", "nix", "php", "pl", "pm", "proto", "ps1", "r", "rb",
    "rs", "sass", "scala", "scss", "sh", "sql", "svelte", "swift", "tf", "toml", "ts", "tsx",
    "vue", "yaml", "yml", "zig", "zsh",
])  # fmt: skip
_WITHOUT_ENDING = {
    "makefile": "code", "dockerfile": "code", "readme": "txt", "license": "txt", "copying": "txt",
    "copyright": "txt", "news": "txt", "changelog": "txt", "authors": "txt", "todo": "txt",
    "faq": "txt", "install": "txt", "notice": "txt", "thanks": "txt", "credits": "txt",
    "history": "txt", "contributing": "txt", "bugs": "txt",
}  # fmt: skip
_OF_MEDIA = {
    "text/html": "html", "application/pdf": "pdf", "application/json": "json",
    "message/rfc822": "eml", "text/csv": "csv", "text/markdown": "md",
}  # fmt: skip

# For endings without a reader: the format to which LibreOffice converts them, or another program
# that makes a readable file.
_BY_OFFICE = {
    "doc": "docx", "dot": "docx", "wpd": "docx", "wps": "docx", "pages": "docx", "abw": "docx",
    "sxw": "odt", "ppt": "pptx", "pps": "pptx", "pot": "pptx", "key": "pptx", "sxi": "odp",
    "xlsb": "xlsx", "numbers": "xlsx", "sxc": "ods", "wk1": "xlsx", "wks": "xlsx", "pub": "pdf",
    "vsd": "pdf", "vsdx": "pdf",
}  # fmt: skip
_BY_OTHERS = {
    "djvu": "djvutxt", "ps": "ps2pdf", "eps": "ps2pdf", "dvi": "dvipdf", "mobi": "ebook-convert",
    "azw": "ebook-convert", "azw3": "ebook-convert", "fb2": "ebook-convert", "chm": "ebook-convert",
    "pst": "readpst", "texi": "makeinfo --html", "texinfo": "makeinfo --html", "zip": "unzip",
    "7z": "7z x", "tar": "tar -x", "tgz": "tar -x", "gz": "gunzip", "bz2": "bunzip2", "xz": "unxz",
}  # fmt: skip


def installed_readers() -> frozenset[str]:
    """The names of the installed readers. Finding them takes a while."""
    return frozenset(plugins.names(plugins.READERS))


@cache
def _reader(name: str) -> Any:
    """The reader of this name. The result is cached, since listing the installed readers takes a
    while."""
    return plugins.load(plugins.READERS, name)


@cache
def _target(name: str) -> str:
    """The location of the reader of this name, as "module:function"."""
    return plugins.target_of(plugins.READERS, name)


def reader_name(path: str, installed: Collection[str] | None = None) -> str | None:
    """The name of the plugin that reads a file at this path, judged by the name of the file; None
    if no plugin reads such files. No plugin is imported. installed: the names of all readers, by
    default `installed_readers()`."""
    name = PurePosixPath(path).name.lower()
    ending = PurePosixPath(name).suffix.removeprefix(".")
    if not ending:
        return _WITHOUT_ENDING.get(name)
    ending = _SAME.get(ending, ending)
    if ending in plugins.BROUGHT[plugins.READERS]:
        return ending
    installed = installed_readers() if installed is None else installed
    if ending in installed:
        return ending
    if ending in _CODE:
        return "code"
    media, packing = mimetypes.guess_type(name, strict=False)
    if packing is not None:
        return None
    if media is None:  # such as README.Debian
        return _WITHOUT_ENDING.get(PurePosixPath(name).stem)
    if media in installed:
        return media
    return _OF_MEDIA.get(media) or ("txt" if media.startswith("text/") else None)


def why_no_reader(path: str) -> str:
    """The reason why a file can't be read if it has no reader. If a program is known that converts
    the file to a readable format, the text names this program."""
    ending = PurePosixPath(path).suffix.lower()
    if not ending:
        return "no reader for names without an ending"
    why = f"no reader for {ending}"
    if to := _BY_OFFICE.get(ending[1:]):
        return f"{why}: convert it, as with `libreoffice --convert-to {to}`"
    if command := _BY_OTHERS.get(ending[1:]):
        return f"{why}: `{command}` makes a file that may be read"
    return why


def text_of_bytes(
    data: bytes,
    name: str,
    process: ReaderProcess,
    reader: Callable[[bytes, str], Read | None] | None = None,
    installed: Collection[str] | None = None,
    passwords: Sequence[str] = (),
    ocr: Ocr | None = None,
) -> FileText:
    """The text of a file. data: the bytes of the file; name: its path, which selects the reader.
    reader: a user's function, which is called first, in this process; installed: the names of all
    readers. passwords: the passwords to try on an encrypted file; ocr: a function that reads pages
    that are pictures. Raises DataLoaderError if the file can't be read, and InvalidTypeError if a
    reader returns an invalid result."""
    read = None if reader is None else _read_with(reader, data, name)
    plugin = reader_name(name, installed)
    if read is not None:
        file = file_text(read, "reader")
    elif plugin is None:
        raise DataLoaderError(why_no_reader(name))
    elif plugin in PLAIN:
        file = file_text(_reader(plugin)(data, name), plugin)
    else:
        file = process.read(_target(plugin), data, name, passwords)
    if ocr is not None:
        file = _with_pictures_read(file, data, process, passwords, ocr)
    file = _without_unseen(replace(file, gaps=(*few(_picture_gaps(file)), *file.gaps)))
    if not all(map(is_unicode, [*_all_texts(file), file.author or ""])):
        raise DataLoaderError("its reader has returned a text that isn't valid Unicode")
    if sum(len(section.text) for section in file.sections) > MAX_CHARACTERS:
        raise DataLoaderError(f"it has more than {MAX_CHARACTERS:,} characters of text")
    return file


OCR_PIXELS = 3_000  # of the longer side of a page: about 250 dpi for A4


def _picture_gaps(file: FileText) -> list[str]:
    return [
        f"page {page} is a picture without text"
        if words == 0
        else f"page {page} is mostly a picture, of which {words} words were read"
        for page, words in file.pictures
    ]


def _with_pictures_read(
    file: FileText, data: bytes, process: ReaderProcess, passwords: Sequence[str], ocr: Ocr
) -> FileText:
    """Read the pages that are pictures with the user's function `ocr`, and add their texts to the
    sections of the file."""
    from PIL import Image

    sections, unread = [*file.sections], []
    for picture in file.pictures:
        drawn = process.draw(data, picture.page, OCR_PIXELS, passwords)
        text = _recognise_page(ocr, Image.open(io.BytesIO(drawn)), picture.page)
        if text.strip():
            sections.append(Section(text.strip(), (), picture.page))
        else:
            unread.append(picture)
    sections.sort(key=lambda section: section.page or 0)
    return replace(file, sections=sections, pictures=tuple(unread))


def _recognise_page(ocr: Ocr, drawn: Any, page: int) -> str:
    try:
        text = ocr(drawn)
    except RetrievalStoreError:
        raise
    except Exception as error:  # one file's: the others are read
        raise DataLoaderError(f"page {page}: {type(error).__name__}: {error}") from error
    if not isinstance(text, str):
        raise InvalidTypeError(f"ocr has returned {quote(text)}, expected a str")
    return text


def refuse_pictures(file: FileText) -> None:
    """Raise DataLoaderError if a file has no text, but has pages that are pictures."""
    if file.pictures and not file.sections:
        raise DataLoaderError("; ".join(file.gaps))


# Zero-width characters that have no meaning, or only mark where a word can be divided. Queries lack
# them. Joiners stay, since they change letters of some scripts, and emoji.
_UNSEEN = re.compile("[\u00ad\u180e\u200b\u2060\ufeff]")


def _without_unseen(file: FileText) -> FileText:
    """Remove invisible characters from the text of a file."""
    if not any(map(_UNSEEN.search, _all_texts(file))):
        return file
    sections = [
        replace(
            section,
            text=_UNSEEN.sub("", section.text),
            headings=tuple(_UNSEEN.sub("", heading) for heading in section.headings),
        )
        for section in file.sections
    ]
    return replace(file, sections=sections, title=file.title and _UNSEEN.sub("", file.title))


def _all_texts(file: FileText) -> Iterator[str]:
    yield file.title or ""
    for section in file.sections:
        yield section.text
        yield from section.headings


def _read_with(reader: Callable[[bytes, str], Read | None], data: bytes, name: str) -> Read | None:
    try:
        return reader(data, name)
    except RetrievalStoreError:
        raise
    except Exception as error:  # one file's: the others are read
        raise DataLoaderError(f"{type(error).__name__}: {error}") from error


def read_file(
    source: str | os.PathLike[str] | bytes,
    name: str | None = None,
    *,
    reader: Callable[[bytes, str], Read | None] | None = None,
    passwords: Sequence[str] = (),
    ocr: Ocr | None = None,
) -> FileText:
    """The text of a file, as sections. Each section has its headings, page and position in the
    file.

    source: a path, or the bytes of a file. name: the file's name, whose ending selects the reader;
    by default the name in the path. reader: a user's function, which is called first; if it returns
    None, this package's readers read the file. passwords: the passwords to try on an encrypted
    file. ocr: a function that reads a page that is a picture. It gets a Pillow image and returns
    the text.

    Raises DataLoaderError if the file can't be read.
    """
    if isinstance(source, bytes):
        if not isinstance(name, str):
            raise InvalidTypeError(f"name is {quote(name)}, expected a str, such as 'a.pdf'")
        data = source
    else:
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise DataLoaderError(f"{source}: {error.strerror or error}") from error
        name = Path(source).name if name is None else name
    with ReaderProcess() as process:
        file = text_of_bytes(data, name, process, reader, None, check_passwords(passwords), ocr)
    refuse_pictures(file)
    return file


def check_passwords(passwords: Any) -> tuple[str, ...]:
    """The passwords as a tuple; raises InvalidTypeError if `passwords` isn't a list of strings."""
    if isinstance(passwords, str) or not isinstance(passwords, Sequence):
        raise InvalidTypeError(f"passwords is a {type(passwords).__name__}, expected a list of str")
    for place, password in enumerate(passwords):
        if not isinstance(password, str):
            raise InvalidTypeError(
                f"passwords[{place}] is a {type(password).__name__}, expected a str"
            )
    return tuple(passwords)
