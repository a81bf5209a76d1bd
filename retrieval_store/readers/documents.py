"""Reads PDF, and the documents, slides and spreadsheets of Office, by libraries."""

import io
import re
import zipfile
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from retrieval_store.errors import DataLoaderError, MissingDependencyError
from retrieval_store.readers import FileText, Section
from retrieval_store.readers.data import sheet_sections
from retrieval_store.readers.markup import markdown_table, without_parents

MAX_PAGES = 5_000
MAX_UNPACKED, MAX_ENTRIES = 200_000_000, 10_000  # bytes and files in a zip
MAX_ROWS, MAX_COLUMNS = 100_000, 200  # of a sheet
_DOTS = re.compile(r"[ \t]*(?:\.[ \t]*){5,}")  # of a table of contents
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
            raise DataLoaderError("it is encrypted, and wants a password")
        number = len(pdf.pages)
        if number > MAX_PAGES:
            raise DataLoaderError(f"it has {number:,} pages, more than {MAX_PAGES:,}")
        pages = [_plainer(page.extract_text() or "") for page in pdf.pages]
        gaps = [
            f"page {page} has no text: it is a picture, or blank"
            for page, text in enumerate(pages, 1)
            if not text
        ]
        sections = [*_sections_of_pages(_without_running_heads(pages), _outline_of(pdf))]
    except PyPdfError as error:
        raise DataLoaderError(f"it isn't a PDF that can be read: {error}") from error
    return FileText(sections, **_said_by_pdf(pdf), gaps=_few(gaps))


def _plainer(text: str) -> str:
    """What a page says without ligatures, which no question has, and the dots of contents."""
    return _DOTS.sub(" … ", text.translate(_LIGATURES)).strip()


_LIGATURES = str.maketrans(
    dict(zip("ﬀﬁﬂﬃﬄﬅﬆ", ("ff", "fi", "fl", "ffi", "ffl", "ft", "st"), strict=True))
)
_GAPS = 10


def _few(gaps: list[str]) -> tuple[str, ...]:
    more = [f"and {len(gaps) - _GAPS:,} other pages have none"] if len(gaps) > _GAPS else []
    return (*gaps[:_GAPS], *more)


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
    found = re.compile(rf"^[\d.\s]*{spaced}\W*$", re.MULTILINE | re.IGNORECASE).search(text, start)
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


def _said_by_office(core: Any) -> dict[str, Any]:
    return {
        "title": _plain(core.title),
        "author": _plain(getattr(core, "author", None) or getattr(core, "creator", None)),
        "date": _date(core.modified or core.created),
        "language": _plain(core.language),
    }


def read_docx(data: bytes, name: str) -> FileText:
    """A document of Word by its headings, with its lists and tables."""
    try:
        import docx
    except ImportError as error:
        raise _missing("Word", "python-docx", error) from error
    document = docx.Document(_checked_zip(data))
    sections: list[Section] = []
    path: list[tuple[int, str]] = []
    blocks: list[str] = []
    bare = False

    def end() -> None:
        text = "\n\n".join(blocks)
        if text or bare:
            sections.append(Section(text, tuple(title for _, title in path)))
        blocks.clear()

    inner: Iterator[Any] = document.iter_inner_content()
    for one in inner:
        level = _level_of(one)
        if level is not None and one.text.strip():
            end()
            path[:] = [known for known in path if known[0] < level] + [(level, one.text.strip())]
            bare = True
        elif shown := _shown(one):
            joins = shown.startswith("- ") and blocks and blocks[-1].startswith("- ")
            blocks[-1:] = [f"{blocks[-1]}\n{shown}"] if joins else [*blocks[-1:], shown]
            bare = False
    end()
    return FileText(without_parents(sections), **_said_by_office(document.core_properties))


def _level_of(block: Any) -> int | None:
    style = _style_of(block)
    if style == "Title":
        return 0
    level = style.removeprefix("Heading ")
    return int(level) if style != level and level.isdigit() else None


def _style_of(block: Any) -> str:
    if hasattr(block, "rows"):
        return ""
    style = getattr(block, "style", None)
    return str(getattr(style, "name", None) or "")


def _shown(block: Any) -> str:
    if hasattr(block, "rows"):
        return markdown_table([[cell.text for cell in row.cells] for row in block.rows])
    text = str(block.text).strip()
    return f"- {text}" if text and _style_of(block).startswith("List") else text


def read_pptx(data: bytes, name: str) -> FileText:
    """A section for each slide, with its notes; its number is the page."""
    try:
        import pptx
    except ImportError as error:
        raise _missing("slides", "python-pptx", error) from error
    slides = pptx.Presentation(_checked_zip(data))
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
    return FileText(sections, **_said_by_office(slides.core_properties), gaps=_few(gaps))


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
    book = openpyxl.load_workbook(
        _checked_zip(data), read_only=True, data_only=True, keep_links=False
    )
    sections: list[Section] = []
    gaps: list[str] = []
    for sheet in book.worksheets:
        sheet.reset_dimensions()  # which the file may say wrongly
        rows: list[list[str]] = []
        for row in sheet.iter_rows(values_only=True, max_col=MAX_COLUMNS):
            shown = ["" if one is None else str(one) for one in row]
            while shown and not shown[-1]:
                shown.pop()
            if shown:
                rows.append(shown)
            if len(rows) == MAX_ROWS:
                gaps.append(f"the sheet {sheet.title!r} is read to its row {MAX_ROWS:,}")
                break
        sections += sheet_sections(rows, (sheet.title,))
    return FileText(sections, **_said_by_office(book.properties), gaps=tuple(gaps))
