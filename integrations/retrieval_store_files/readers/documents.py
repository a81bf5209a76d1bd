"""Reads PDF, and the documents, slides and spreadsheets of Office, by libraries."""

import base64
import io
import re
import zipfile
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from retrieval_store.errors import DataLoaderError, MissingDependencyError
from retrieval_store_files.readers import FileText, Section
from retrieval_store_files.readers.data import few, sheet_sections
from retrieval_store_files.readers.markup import markdown_table, without_parents

MAX_PAGES = 5_000
MAX_UNPACKED, MAX_ENTRIES = 200_000_000, 10_000  # bytes and files in a zip
MAX_ROWS, MAX_COLUMNS = 100_000, 200  # of a sheet
_DOTS = re.compile(r"(?:\.[ \t]*){5,}")  # of a table of contents
# A word that is broken at the end of a line: by a soft hyphen, or by one between small letters.
_BROKEN = re.compile(r"\u00ad[ \t]*\n[ \t]*|(?<=[^\W\d_])[-\u2010][ \t]*\n[ \t]*(?=[^\W\d_])")
_INSTALL = 'pip install "retrieval-store[files]"'


def _missing(what: str, package: str, error: ImportError) -> MissingDependencyError:
    return MissingDependencyError(f"{what} needs {package}: {_INSTALL} ({error})")


def read_pdf(data: bytes, name: str) -> FileText:
    """A section for each page, and for each heading of the outline on it. A page that is only a
    picture is a gap."""
    try:
        from pypdf import PdfReader
        from pypdf.errors import PyPdfError
    except ImportError as error:
        raise _missing("PDF", "pypdf", error) from error
    try:
        pdf = PdfReader(io.BytesIO(data))
        if pdf.is_encrypted and not pdf.decrypt(""):
            raise DataLoaderError("it is encrypted, and requires a password")
        number = len(pdf.pages)
        if number > MAX_PAGES:
            raise DataLoaderError(f"it has {number:,} pages, more than {MAX_PAGES:,}")
    except PyPdfError as error:
        raise DataLoaderError(f"it isn't a PDF that can be read: {error}") from error
    pages, gaps = [], []
    for page in range(number):
        text, gap = _text_of_page(pdf, page)
        pages.append(text)
        gaps += [f"page {page + 1} {gap}"] if gap else []
    if gaps and not any(pages):
        raise DataLoaderError("; ".join(few(gaps)))
    sections = [*_sections_of_pages(_without_running_heads(pages), _outline_of(pdf))]
    return FileText(sections, **_said_by_pdf(pdf), gaps=few(gaps))


def _text_of_page(pdf: Any, number: int) -> tuple[str, str | None]:
    """The text of a page, from 0, and what is missing of it. A page that can't be read is no reason
    not to read the others."""
    try:
        page = pdf.pages[number]
        text = _plainer(page.extract_text() or "")
        if text or not page.get("/Resources", {}).get_object().get("/XObject"):
            return text, None
        return text, "is a picture without text"
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # whatever the library comes upon in it
        return "", f"can't be read: {type(error).__name__}: {error}"[:300]


def _plainer(text: str) -> str:
    """What a page says without ligatures and words that are broken at the end of a line, which no
    question has, and the dots of contents."""
    text = _BROKEN.sub(_unbroken, text.translate(_LIGATURES))
    return _DOTS.sub("… ", text).strip()


def _unbroken(found: re.Match[str]) -> str:
    """What takes the place of a break: nothing, or itself where the hyphen is part of a name."""
    before, after = found.string[: found.start()][-1:], found.string[found.end() :][:1]
    return "" if found[0][0] == "\u00ad" or (before + after).islower() else found[0]


_LIGATURES = str.maketrans(
    dict(zip("ﬀﬁﬂﬃﬄﬅﬆ", ("ff", "fi", "fl", "ffi", "ffl", "ft", "st"), strict=True))
)


def _said_by_pdf(pdf: Any) -> dict[str, Any]:
    try:
        said = pdf.metadata or {}
        date = getattr(said, "creation_date", None)
    except Exception:  # whatever is wrong with what it says of itself, its pages can be read
        return {}
    title, author = (_plain(said.get(f"/{key}")) for key in ("Title", "Author"))
    return {"title": title, "author": author, "date": _date(date)}


def _plain(value: Any) -> str | None:
    return str(value).strip() or None if isinstance(value, str) else None


def _date(value: Any) -> str | None:
    return value.isoformat() if isinstance(value, datetime) else None


_DIGITS = re.compile(r"[\divxlc]+\b|\W")  # of page numbers, also Roman ones


def _without_running_heads(pages: list[str]) -> list[str]:
    """The texts of pages without a first and a last line that the pages around have, too, but for
    numbers."""
    lines = [page.split("\n") for page in pages]
    for end in (0, -1):
        plain = [_DIGITS.sub("", one[end].lower()) if one != [""] else None for one in lines]
        for i, one in enumerate(lines):
            around = plain[max(0, i - 2) : i] + plain[i + 1 : i + 3]
            if len(one) > 1 and (plain[i] == "" or plain[i] in around):
                del one[end]
    return ["\n".join(one).strip() for one in lines]


Marks = dict[int, list[tuple[str, ...]]]  # by page: the headings that begin on it


def _outline_of(pdf: Any) -> Marks:
    marks: Marks = {}
    try:
        for page, path in _outline(pdf, pdf.outline, ()):
            marks.setdefault(page, []).append(path)
    except Exception:  # an outline that is wrong is none
        return {}
    return marks


def _sections_of_pages(pages: list[str], marks: Marks) -> Iterator[Section]:
    """The sections of pages: each is cut where a line is a heading that begins on it. Of headings
    that stand nowhere as they are in the outline, the page has the first."""
    current: tuple[str, ...] = ()
    for page, text in enumerate(pages, 1):
        at, unseen = 0, []
        for path in marks.get(page, ()):
            found = _line_of(text, path[-1], at)
            if found is None:
                unseen.append(path)
                continue
            before = text[at : found[0]].strip()
            if before:
                yield Section(before, current, page)
            current, at = path, found[1]
        rest = text[at:].strip()
        current = unseen[0] if unseen and not at else current
        if rest:
            yield Section(rest, current, page)
        current = unseen[-1] if unseen else current


def _line_of(text: str, title: str, start: int) -> tuple[int, int] | None:
    """From where to where a line of a text stands that is a title, whatever its spaces and
    number."""
    words = re.findall(r"\w+", title)
    if not words:
        return None
    spaced = r"\W+".join(map(re.escape, words))
    found = re.compile(rf"^[\d. \t]*{spaced}\W*$", re.MULTILINE | re.IGNORECASE).search(text, start)
    return None if found is None else found.span()


_DEEPEST, _MOST_MARKS = 10, 20_000


def _outline(
    pdf: Any, entries: list[Any], above: tuple[str, ...]
) -> Iterator[tuple[int, tuple[str, ...]]]:
    path = above
    for one in entries[:_MOST_MARKS]:
        if isinstance(one, list):
            if len(path) < _DEEPEST:
                yield from _outline(pdf, one, path)
            continue
        path = (*above, " ".join(str(one.title).split()))
        page = pdf.get_destination_page_number(one)
        if page is not None and page >= 0:
            yield page + 1, path


def draw_page(data: bytes, name: str) -> str:
    """The picture of a page of a PDF, as PNG in base64. name: the number of the page, from 1, and
    how many pixels it may have each way, as "3 300"."""
    try:
        import pypdfium2
    except ImportError as error:
        raise _missing("the picture of a page", "pypdfium2", error) from error
    number, size = map(int, name.split())
    pdf = pypdfium2.PdfDocument(data)
    if not 1 <= number <= len(pdf):
        raise DataLoaderError(f"it has no page {number}")
    page = pdf[number - 1]
    picture = page.render(scale=size / max(page.get_size())).to_pil()
    out = io.BytesIO()
    picture.save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def _checked_zip(data: bytes) -> io.BytesIO:
    """The bytes of a zip, after what it says of its sizes was looked at."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            entries = packed.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise DataLoaderError(f"it isn't a document of Office: {error}") from error
    unpacked = sum(one.file_size for one in entries)
    if len(entries) > MAX_ENTRIES or unpacked > MAX_UNPACKED:
        raise DataLoaderError(
            f"it has {len(entries):,} files of {unpacked // 1_000_000:,} MB in it, more than "
            f"{MAX_ENTRIES:,} of {MAX_UNPACKED // 1_000_000:,} MB"
        )
    return io.BytesIO(data)


def _said_by_office(data: io.BytesIO, core: Any) -> dict[str, Any]:
    """What a document says of itself; where it says nothing the libraries make something up."""
    with zipfile.ZipFile(data) as packed:
        if not any(one.lower().endswith("core.xml") for one in packed.namelist()):
            return {}
    return {
        "title": _plain(core.title),
        "author": _plain(getattr(core, "author", None) or getattr(core, "creator", None)),
        "date": _date(core.modified or core.created),
        "language": _plain(core.language),
    }


_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_PARAGRAPH, _TABLE, _ROW, _CELL = (f"{_WORD}{name}" for name in ("p", "tbl", "tr", "tc"))
_MARKS = {f"{_WORD}tab": "\t", f"{_WORD}br": "\n", f"{_WORD}cr": "\n", f"{_WORD}noBreakHyphen": "-"}
_NO_TEXT = frozenset([
    *(f"{_WORD}{name}" for name in ("del", "moveFrom", "pPr", "rPr", "instrText", "sdtPr")),
    "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",  # said twice
])  # fmt: skip


def read_docx(data: bytes, name: str) -> FileText:
    """A document of Word by its headings, with its lists and tables, as it is with all changes
    accepted."""
    try:
        import docx
    except ImportError as error:
        raise _missing("Word", "python-docx", error) from error
    file = _checked_zip(data)
    document = docx.Document(file)
    styles = _Styles(document)
    sections: list[Section] = []
    path: list[tuple[int, str]] = []
    blocks: list[str] = []
    bare = False

    def end() -> None:
        if blocks or bare:
            sections.append(Section("\n\n".join(blocks), tuple(title for _, title in path)))
        blocks.clear()

    for one in _elements(document.element.body, (_PARAGRAPH, _TABLE)):
        if one.tag == _TABLE:
            blocks += filter(None, [markdown_table([*_rows_of(one)])])
            bare = bare and not blocks
            continue
        text, level = _text_of(one).strip(), styles.level(one)
        if level is not None and text:
            end()
            path[:] = [known for known in path if known[0] < level] + [(level, text)]
            bare = True
        elif text:
            item = f"- {text}" if styles.is_item(one) else text
            joins = item != text and blocks and blocks[-1].startswith("- ")
            blocks[-1:] = [f"{blocks[-1]}\n{item}"] if joins else [*blocks[-1:], item]
            bare = False
    end()
    return FileText(without_parents(sections), **_said_by_office(file, document.core_properties))


def _elements(parent: Any, tags: tuple[str, ...]) -> Iterator[Any]:
    """The elements of these names in another that lie in none of them, also those in controls of
    forms and in what a change has inserted; without recursion, for a file may nest them."""
    waiting = [iter(parent)]
    while waiting:
        one = next(waiting[-1], None)
        if one is None:
            waiting.pop()
        elif one.tag in tags:
            yield one
        elif one.tag not in _NO_TEXT:
            waiting.append(iter(one))


def _text_of(element: Any) -> str:
    """The text of a paragraph or a cell."""
    pieces: list[str] = []
    for one in _elements(element, (f"{_WORD}t", *_MARKS, _PARAGRAPH)):
        if one.tag == _PARAGRAPH:  # in a cell, or a box
            pieces += [_text_of(one), "\n"]
        else:
            pieces.append(_MARKS.get(one.tag) or one.text or "")
    return "".join(pieces)


def _rows_of(table: Any) -> Iterator[list[str]]:
    for row in _elements(table, (_ROW,)):
        cells = [_text_of(cell).strip() for cell in _elements(row, (_CELL,))]
        if any(cells):
            yield cells


class _Styles:
    """What the styles of a document of Word mean."""

    def __init__(self, document: Any) -> None:
        styles = document.styles.element.iterchildren(f"{_WORD}style")
        self._styles = {one.get(f"{_WORD}styleId"): one for one in styles}

    def level(self, paragraph: Any) -> int | None:
        """The level of a heading, 0 for the title; None for what is none."""
        own = [paragraph, *self._of(paragraph)]
        for style in own[1:]:
            name = (_value(style, "name") or "").lower()
            if name == "title":
                return 0
            if found := re.fullmatch(r"heading ([1-9])", name):
                return int(found[1])
        levels = (_value(one, f"pPr/{_WORD}outlineLvl") for one in own)
        level = next((one for one in levels if one is not None), "")
        return int(level) + 1 if re.fullmatch("[0-8]", level) else None

    def is_item(self, paragraph: Any) -> bool:
        """Whether a paragraph is an item of a list."""
        for one in (paragraph, *self._of(paragraph)):
            if one.find(f"{_WORD}pPr/{_WORD}numPr") is not None:
                return _value(one, f"pPr/{_WORD}numPr/{_WORD}numId") != "0"
        return False

    def _of(self, paragraph: Any) -> Iterator[Any]:
        """The style of a paragraph, and those that it is based on."""
        name = _value(paragraph, f"pPr/{_WORD}pStyle")
        for _ in range(20):
            style = self._styles.get(name)
            if style is None:
                return
            yield style
            name = _value(style, "basedOn")


def _value(element: Any, path: str) -> str | None:
    found = element.find(f"{_WORD}{path}")
    value = None if found is None else found.get(f"{_WORD}val")
    return None if value is None else str(value)


def read_pptx(data: bytes, name: str) -> FileText:
    """A section for each slide, with its notes; its number is the page."""
    try:
        import pptx
    except ImportError as error:
        raise _missing("slides", "python-pptx", error) from error
    file = _checked_zip(data)
    slides = pptx.Presentation(file)
    sections, gaps = [], []
    for number, slide in enumerate(slides.slides, 1):
        title = slide.shapes.title
        heading = "" if title is None else title.text_frame.text.strip()
        blocks = [*_of_shapes(slide.shapes, title)]
        if slide.has_notes_slide:
            notes = slide.notes_slide.notes_text_frame
            blocks += [notes.text] if notes is not None else []
        text = "\n\n".join(one.strip() for one in blocks if one.strip())
        if text or heading:
            sections.append(Section(text, (heading,) if heading else (), number))
        else:
            gaps.append(f"slide {number} has no text")
    return FileText(sections, **_said_by_office(file, slides.core_properties), gaps=few(gaps))


def _of_shapes(shapes: Any, title: Any) -> Iterator[str]:
    for shape in shapes:
        if title is not None and shape.shape_id == title.shape_id:
            continue
        if hasattr(shape, "shapes"):
            yield from _of_shapes(shape.shapes, None)
        elif getattr(shape, "has_table", False):
            yield markdown_table([[cell.text for cell in row.cells] for row in shape.table.rows])
        elif getattr(shape, "has_text_frame", False):
            yield shape.text_frame.text


def read_xlsx(data: bytes, name: str) -> FileText:
    """The sheets of a spreadsheet, in sections of rows below their header; of formulas the values
    that were stored."""
    try:
        import openpyxl
    except ImportError as error:
        raise _missing("spreadsheets", "openpyxl", error) from error
    file = _checked_zip(data)
    book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
    sections: list[Section] = []
    gaps: list[str] = []
    for sheet in book.worksheets:
        sheet.reset_dimensions()  # which the file may say wrongly
        rows: list[list[str]] = []
        for row in sheet.iter_rows(values_only=True, max_col=MAX_COLUMNS):
            shown = ["" if one is None else str(one).removesuffix(" 00:00:00") for one in row]
            while shown and not shown[-1]:
                shown.pop()
            if shown:
                rows.append(shown)
            if len(rows) == MAX_ROWS:
                gaps.append(f"the sheet {sheet.title!r} is read to its row {MAX_ROWS:,}")
                break
        sections += sheet_sections(rows, (sheet.title,))
    return FileText(sections, **_said_by_office(file, book.properties), gaps=tuple(gaps))
