"""Reads EPUB: the chapters of a book, in reading order."""

import posixpath
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from retrieval_store.errors import DataLoaderError
from retrieval_store_files.readers import DATE, FileText, Section, count_phrase, few
from retrieval_store_files.readers.elements import Element, xml_elements
from retrieval_store_files.readers.html import file_text_of_page, page_of
from retrieval_store_files.readers.packed import PackedFile, all_text, local_name, xml_root

_CONTAINER, _ENCRYPTION = "META-INF/container.xml", "META-INF/encryption.xml"
_CHAPTER_MEDIA = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")
_TOC_MEDIA = "application/x-dtbncx+xml"
# These algorithms only obfuscate fonts, so that no text is encrypted.
_OF_FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
# Elements that seem to be parts of a site but are text of a book: notes, and headings of chapters.
_AS_DIV = frozenset(["aside", "header", "footer", "main", "article", "nav", "section"])
_RECORDINGS = ("audio", "video")


@dataclass(slots=True)
class _Item:
    """A file that the book's manifest lists."""

    path: str
    media: str
    properties: str


@dataclass(slots=True)
class _Package:
    """The contents of a book, as its package document lists them. chapters: the files in reading
    order; others: the remaining files, by path."""

    chapters: list[_Item] = field(default_factory=list)
    others: dict[str, _Item] = field(default_factory=dict)
    contents: list[_Item] = field(default_factory=list)  # tables of contents
    metadata: dict[str, str] = field(default_factory=dict)


def read_epub(data: bytes, name: str) -> FileText:
    """Read the chapters of a book, and split each chapter at its headings. If a chapter has no
    headings, its title in the table of contents becomes its heading. Raises DataLoaderError for an
    encrypted book."""
    book = PackedFile(data, "an EPUB")
    package = _package(book)
    _check_unencrypted(book, {item.path for item in package.chapters})
    reader = _BookReader(book, _titles(book, package.contents))
    for chapter in package.chapters:
        reader.read(chapter)
    # Chapters may link to files outside the reading order, such as notes.
    while linked := [path for path in reader.links if path in package.others]:
        for path in linked:
            reader.read(package.others.pop(path))
    gaps = [*reader.gaps]
    for what in _RECORDINGS:
        gaps += count_phrase(reader.left_out[what], f"{what} recording")
    gaps += count_phrase(
        len(package.others),
        "file in it without a link from a chapter",
        "files in it without a link from a chapter",
    )
    metadata = package.metadata
    return FileText(
        reader.sections,
        metadata.get("title"),
        metadata.get("creator"),
        _date(metadata.get("date")),
        metadata.get("language"),
        few(gaps),
    )


class _BookReader:
    """Reads the files of a book, and collects their sections and gaps."""

    def __init__(self, book: PackedFile, titles: dict[str, str]) -> None:
        self.sections: list[Section] = []
        self.gaps: list[str] = []
        self.left_out: Counter[str] = Counter()
        self.links: dict[str, None] = {}  # paths, in order
        self._book, self._titles = book, titles

    def read(self, item: _Item) -> None:
        """Add the sections of a file. If it has no sections, add the reason to the gaps."""
        if item.path not in self._book or item.media not in _CHAPTER_MEDIA:
            why = f"it is {item.media}" if item.path in self._book else "it is missing"
            self.gaps.append(f"{item.path} isn't read: {why}")
            return
        try:
            page, guessed = self._page_of(item.path)
            chapter = file_text_of_page(page)
        except DataLoaderError as error:
            self.gaps.append(f"{item.path} isn't read: {error}")
            return
        self.sections += _with_title(chapter.sections, self._titles.get(item.path))
        self.gaps += [f"{item.path}: {gap}" for gap in (*guessed, *chapter.gaps)]

    def _page_of(self, path: str) -> tuple[Element, tuple[str, ...]]:
        """The root element of a chapter, and a tuple of gaps. A guessed encoding is a gap. A
        chapter is parsed as XML; if it isn't well-formed XML, it is parsed as HTML."""
        data = self._book.read(path)
        guessed: tuple[str, ...] = ()
        try:
            page = xml_elements(xml_root(data, path))
        except DataLoaderError:
            page, guessed = page_of(data)
        for element in page.elements():
            if element.get("role"):  # of a site's parts, which are left out of pages
                element.attributes = {**element.attributes, "role": ""}
            if element.tag in _RECORDINGS:
                self.left_out[element.tag] += 1
            if element.tag == "a" and (href := element.get("href")):
                self.links[_resolve_path(posixpath.dirname(path), href)] = None
            if element.tag in _AS_DIV:
                element.tag = "div"
        return page, guessed


def _date(value: str | None) -> str | None:
    """The date if it is complete; None for a year without month and day."""
    return value if value and DATE.fullmatch(value) else None


def _package(book: PackedFile) -> _Package:
    if _CONTAINER not in book:
        raise DataLoaderError(f"it isn't an EPUB: it has no {_CONTAINER} in it")
    paths = [
        element.get("full-path")
        for element in book.xml(_CONTAINER).iter()
        if local_name(element) == "rootfile"
    ]
    if not paths or not paths[0]:
        raise DataLoaderError("it isn't an EPUB: its container names no package document")
    root, folder = book.xml(paths[0]), posixpath.dirname(paths[0])
    package, items = _Package(), {}
    spine: list[str] = []
    for element in root.iter():
        kind = local_name(element)
        if kind == "item":
            item = _Item(
                _resolve_path(folder, element.get("href") or ""),
                element.get("media-type") or "",
                element.get("properties") or "",
            )
            items[element.get("id")] = item
        elif kind == "itemref":
            spine.append(element.get("idref"))
        elif kind in ("title", "creator", "language", "date") and all_text(element):
            known = package.metadata.get(kind)
            text = all_text(element)
            both = f"{known}, {text}" if known and kind == "creator" else known or text
            package.metadata[kind] = both
    _divide(package, items, spine)
    return package


def _resolve_path(folder: str, href: str) -> str:
    """The path in the zip to which a link refers, without the fragment. folder: the folder of the
    file that contains the link; href: the target of the link."""
    return posixpath.normpath(posixpath.join(folder, unquote(href.partition("#")[0])))


def _divide(package: _Package, items: dict[str, _Item], spine: list[str]) -> None:
    """Divide the files of a book into chapters, tables of contents and others, and store them in
    `package`. items: the files by their ids; spine: the ids of the chapters in reading order."""
    contents = [item for item in items.values() if _is_contents(item)]
    # Files that the spine names at several positions are read whole, each once.
    listed = [items[reference] for reference in spine if reference in items]
    chapters = {item.path: item for item in reversed(listed)}
    package.chapters = [*chapters.values()][::-1]
    package.contents = contents
    package.others = {
        item.path: item
        for item in items.values()
        if item.path not in chapters and item not in contents and item.media in _CHAPTER_MEDIA
    }


def _is_contents(item: _Item) -> bool:
    return item.media == _TOC_MEDIA or "nav" in item.properties.split()


def _check_unencrypted(book: PackedFile, chapters: set[str]) -> None:
    """Raise DataLoaderError if a chapter is encrypted. chapters: the paths of all chapters."""
    if _ENCRYPTION not in book:
        return
    for element in book.xml(_ENCRYPTION).iter():
        if local_name(element) != "EncryptedData":
            continue
        parts = {local_name(part): part for part in element.iter()}
        method, reference = parts.get("EncryptionMethod"), parts.get("CipherReference")
        algorithm = "" if method is None else method.get("Algorithm") or ""
        uri = "" if reference is None else unquote(reference.get("URI") or "")
        if algorithm not in _OF_FONTS and uri in chapters:
            raise DataLoaderError("it is encrypted (DRM), and can't be read without its key")


def _titles(book: PackedFile, contents: list[_Item]) -> dict[str, str]:
    """A dict from the path of each file to the first title for this file in the tables of
    contents."""
    titles: dict[str, str] = {}
    for item in contents:
        try:
            root = book.xml(item.path)
        except DataLoaderError:  # chapters have headings, and text, without it
            continue
        links = _ncx_links(root) if item.media == _TOC_MEDIA else _nav_links(root)
        for href, title in links:
            if href and title:
                titles.setdefault(_resolve_path(posixpath.dirname(item.path), href), title)
    return titles


def _ncx_links(root: Any) -> list[tuple[str, str]]:
    links, label = [], ""
    for element in root.iter():
        kind = local_name(element)
        if kind == "navLabel":
            label = all_text(element)
        elif kind == "content":
            links.append((element.get("src") or "", label))
    return links


def _nav_links(root: Any) -> list[tuple[str, str]]:
    return [
        (element.get("href") or "", all_text(element))
        for element in root.iter()
        if local_name(element) == "a"
    ]


def _with_title(sections: list[Section], title: str | None) -> list[Section]:
    """The sections of a chapter. If no section has a heading, `title` becomes the heading of all
    sections. title: the title of the chapter in the table of contents; None if there is no
    title."""
    if title is None or any(section.headings for section in sections):
        return sections
    return [Section(section.text, (title,)) for section in sections]
