"""Reads PDF with pypdfium2: the text of pages, filled forms, comments and the outline."""

import base64
import ctypes
import io
import re
from collections.abc import Iterator
from typing import Any

from retrieval_store.errors import DataLoaderError, MissingDependencyError
from retrieval_store_files.readers import (
    FileText,
    PicturePage,
    Section,
    count_phrase,
    few,
    locked_error,
    passwords,
    without_parents,
)
from retrieval_store_files.readers.accents import with_accents
from retrieval_store_files.readers.glyphs import with_letters_of_glyphs

MAX_PAGES = 5_000
_DOTS = re.compile(r"(?:\.[ \t]*){5,}")  # of a table of contents
# A word that is divided at the end of a line: where the library has recognized it, by a soft
# hyphen, or by a hyphen between small letters.
_DIVIDED = re.compile(
    r"[\x02\ufffe]|\u00ad[ \t]*\n[ \t]*|(?<=[^\W\d_])[-\u2010][ \t]*\n[ \t]*(?=[^\W\d_])"
)
_LIGATURES = str.maketrans(
    dict(zip("ﬀﬁﬂﬃﬄﬅﬆ", ("ff", "fi", "fl", "ffi", "ffl", "ft", "st"), strict=True))
)
# Codes of glyphs for which the file names no letter, mostly ligatures.
_UNKNOWN, UNKNOWN = re.compile(r"[\x00\x01\x03-\x08\x0b\x0c\x0e-\x1f]"), "\ufffd"
_DATE = re.compile(r"D:(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(Z|([+-]\d\d)'?(\d\d)?)?")
_DIVISION = "\ufffe"
_NAMED_PAGES = 5
_UNNAMED = "characters whose letters the file doesn't name"
_FEW_WORDS, _MOST_OF_PAGE = 15, 0.5  # of a page that is mostly a picture
Marks = dict[int, list[tuple[str, ...]]]  # by page: the headings that begin on it
_DEEPEST, _MOST_MARKS = 10, 20_000


def read_pdf(data: bytes, name: str) -> FileText:
    """Read a PDF. Each page becomes a section. A page on which headings of the outline are found is
    split at these headings. Attachments aren't read, and are reported as gaps."""
    pdf = _open_document(data)
    number = len(pdf)
    if number > MAX_PAGES:
        raise DataLoaderError(f"it has {number:,} pages, more than {MAX_PAGES:,}")
    read = [_read_page_or_why(pdf, page) for page in range(1, number + 1)]
    unnamed = [page for page, (text, _, _) in enumerate(read, 1) if UNKNOWN in text]
    mended = _with_letters(pdf, unnamed) if unnamed else None
    for place, page in enumerate(unnamed):
        if mended is not None:
            read[page - 1] = _read_page_or_why(pdf, page, mended[place])
    pages = [text for text, _, _ in read]
    gaps = [why for _, _, why in read if why]
    pictures = [
        PicturePage(page, len(text.split()))
        for page, (text, is_picture, _) in enumerate(read, 1)
        if is_picture
    ]
    if gaps and not any(pages) and not pictures:
        raise DataLoaderError("; ".join(few(gaps)))
    sections = without_parents([*_sections_of_pages(pages, _outline_of(pdf))])
    gaps += _unnamed_gaps(pages)
    attached = [f"the attachment {name!r} isn't read" for name in _attachments(pdf)]
    if pdf.get_formtype() in (2, 3):  # XFA, whose pages may require another program
        attached.append("the fields of a form in XFA aren't read")
    return FileText(
        sections, **_metadata(pdf), gaps=(*few(gaps), *few(attached)), pictures=tuple(pictures)
    )


def _read_page_or_why(pdf: Any, page: int, mended: Any = None) -> tuple[str, bool, str]:
    """The text of a page, whether the page is a picture, and the reason why the page can't be read
    ("" if it can be read). mended: the same page in a copy of the document in which unmapped
    characters are mapped to letters."""
    try:
        return (*_read_page(pdf, page, mended), "")
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # any error of the library; other pages can be read
        why = f"{type(error).__name__}: {error}"[:300]
        return "", False, f"page {page} can't be read: {why}"


def _with_letters(pdf: Any, numbers: list[int]) -> Any:
    """A new document with the pages in `numbers`, in which unmapped characters are mapped to
    letters. None if no name of a glyph means letters."""
    import pypdfium2

    try:
        pages = pypdfium2.PdfDocument.new()
        pages.import_pages(pdf, [number - 1 for number in numbers])
        copied = io.BytesIO()
        pages.save(copied)
        mended = with_letters_of_glyphs(copied.getvalue())
        return None if mended is None else pypdfium2.PdfDocument(mended)
    except (MemoryError, MissingDependencyError):
        raise
    except Exception:  # any error of the libraries; these letters are then a gap
        return None


def _unnamed_gaps(pages: list[str]) -> list[str]:
    """A gap that says how many characters have no known letters, and on which pages; an empty list
    if there are no such characters."""
    found = [(page, text.count(UNKNOWN)) for page, text in enumerate(pages, 1) if UNKNOWN in text]
    gaps = count_phrase(
        sum(count for _, count in found), "character whose letter the file doesn't name", _UNNAMED
    )
    numbers = ", ".join(str(page) for page, _ in found[:_NAMED_PAGES])
    more = f" and {len(found) - _NAMED_PAGES:,} more" if len(found) > _NAMED_PAGES else ""
    where = f"page {numbers}" if len(found) == 1 else f"pages {numbers}{more}"
    return [f"{gap}, on {where}" for gap in gaps]


def _open_document(data: bytes) -> Any:
    try:
        import pypdfium2
    except ImportError as error:
        raise MissingDependencyError(
            f"PDF needs pypdfium2: pip install retrieval-store-files ({error})"
        ) from error
    encrypted = pypdfium2.raw.FPDF_ERR_PASSWORD
    for password in (None, *passwords()):
        try:
            pdf = pypdfium2.PdfDocument(data, password)
            pdf.init_forms()
            return pdf
        except pypdfium2.PdfiumError as error:
            if error.err_code == pypdfium2.raw.FPDF_ERR_SUCCESS:
                raise DataLoaderError("it is a PDF without pages") from error
            if error.err_code != encrypted:
                raise DataLoaderError(
                    f"it isn't a PDF that can be read: {error} `qpdf` may repair it"
                ) from error
    raise locked_error()


def _read_page(pdf: Any, number: int, mended: Any) -> tuple[str, bool]:
    """The text of a page, and whether the page is a picture with at most a few words. mended: see
    `_read_page_or_why`."""
    page = pdf[number - 1]
    shown = (mended or page).get_textpage()
    text = _with_unknown(shown, shown.get_text_range())
    blocks = [_plainer(with_accents(shown, text)), *_annotations(pdf, page)]
    text = "\n\n".join(filter(None, blocks))
    if not text:
        return text, next(page.get_objects(max_depth=1), None) is not None
    return text, len(text.split()) <= _FEW_WORDS and _is_pictured(page)


def _with_unknown(shown: Any, text: str) -> str:
    r"""The text of a page, in which unmapped characters become "\0". The library returns the same
    character for unmapped characters and for hyphens at the end of a line. The hyphens stay."""
    if _DIVISION not in text:
        return text
    from pypdfium2 import raw

    is_wide = len(text.encode("utf-16-le", "surrogatepass")) > 2 * len(text)
    pieces = text.split(_DIVISION)
    at = 0
    for number, piece in enumerate(pieces[:-1]):
        at += len(piece.encode("utf-16-le", "surrogatepass")) // 2 if is_wide else len(piece)
        index = raw.FPDFText_GetCharIndexFromTextIndex(shown, at)
        is_unknown = index >= 0 and raw.FPDFText_GetUnicode(shown, index) == 0
        pieces[number] += "\0" if is_unknown else _DIVISION
        at += 1
    return "".join(pieces)


def _is_pictured(page: Any) -> bool:
    """Whether images cover most of a page."""
    from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE

    width, height = page.get_size()
    taken = 0.0
    for picture in page.get_objects(filter=[FPDF_PAGEOBJ_IMAGE], max_depth=3):
        left, bottom, right, top = picture.get_bounds()
        taken += (right - left) * (top - bottom)
    return bool(taken > _MOST_OF_PAGE * width * height)


def _plainer(text: str) -> str:
    """The text of a page without the dot leaders of a table of contents. Ligatures become letters,
    and words that are divided at the end of a line are joined, so that queries find the words."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").translate(_LIGATURES)
    lines = _UNKNOWN.sub(UNKNOWN, lines)
    return _DOTS.sub("… ", _DIVIDED.sub(_join_division, lines)).strip()


def _join_division(match: re.Match[str]) -> str:
    """The replacement for a hyphen at the end of a line. The hyphen is removed, unless it belongs
    to a compound name."""
    before, after = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    if match[0][0] == "\u00ad" or (before + after).islower():
        return ""
    return match[0] if match[0][-1:] == "\n" else "-\n"


# Forms and comments

_MOST_OPTIONS = 10_000  # of a field
_SHOWN_TWICE = {2, 16}  # links and the windows of comments


def _annotations(pdf: Any, page: Any) -> Iterator[str]:
    """Yield the form fields of a page as "name: value", and the comments on the page."""
    from pypdfium2 import raw

    for place in range(raw.FPDFPage_GetAnnotCount(page)):
        annotation = raw.FPDFPage_GetAnnot(page, place)
        if not annotation:
            continue
        try:
            kind = raw.FPDFAnnot_GetSubtype(annotation)
            if kind == raw.FPDF_ANNOT_WIDGET:
                yield _field(raw, pdf.formenv, annotation)
            elif kind not in _SHOWN_TWICE:
                texts = [_string(raw, annotation, key) for key in (b"T", b"Contents")]
                yield ": ".join(filter(None, texts)) if texts[1] else ""
        finally:
            raw.FPDFPage_CloseAnnot(annotation)


def _field(raw: Any, forms: Any, annotation: Any) -> str:
    if forms is None:
        return ""
    get = [raw.FPDFAnnot_GetFormFieldAlternateName, raw.FPDFAnnot_GetFormFieldName]
    label = next(filter(None, (_text(getter, forms, annotation) for getter in get)), "")
    kind = raw.FPDFAnnot_GetFormFieldType(forms, annotation)
    if kind == raw.FPDF_FORMFIELD_PUSHBUTTON:
        return label
    if kind in (raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON):
        if not raw.FPDFAnnot_IsChecked(forms, annotation):
            return ""
        value = _text(raw.FPDFAnnot_GetFormFieldExportValue, forms, annotation)
    else:
        value = _text(raw.FPDFAnnot_GetFormFieldValue, forms, annotation)
    if kind in (raw.FPDF_FORMFIELD_COMBOBOX, raw.FPDF_FORMFIELD_LISTBOX):
        value = ", ".join(_chosen_labels(raw, forms, annotation)) or value
    return f"{label}: {value}" if label and value else value


def _chosen_labels(raw: Any, forms: Any, annotation: Any) -> Iterator[str]:
    """The labels of the options that are selected in a form field."""
    for option in range(min(_MOST_OPTIONS, raw.FPDFAnnot_GetOptionCount(forms, annotation))):
        if raw.FPDFAnnot_IsOptionSelected(forms, annotation, option):
            yield _text(raw.FPDFAnnot_GetOptionLabel, forms, annotation, option)


def _text(function: Any, *arguments: Any) -> str:
    """Call a function of the library that writes UTF-16 into a buffer, and return the text.
    arguments: the arguments before the buffer."""
    size = function(*arguments, None, 0)
    buffer = (ctypes.c_ushort * (size // 2 + 1))()
    function(*arguments, buffer, size)
    return bytes(buffer)[: max(0, size - 2)].decode("utf-16-le", "replace").strip()


def _string(raw: Any, annotation: Any, key: bytes) -> str:
    return _plainer(_text(raw.FPDFAnnot_GetStringValue, annotation, key))


def _attachments(pdf: Any) -> list[str]:
    return [pdf.get_attachment(i).get_name() for i in range(pdf.count_attachments())]


# The metadata of a PDF


def _metadata(pdf: Any) -> dict[str, Any]:
    title, author, date = (
        pdf.get_metadata_value(key).strip() or None for key in ("Title", "Author", "CreationDate")
    )
    return {"title": title, "author": author, "date": None if date is None else _iso(date)}


def _iso(date: str) -> str | None:
    """Convert a date of a PDF, such as D:20260102030405+01'00', to ISO 8601."""
    match = _DATE.match(date)
    if match is None:
        return None
    year, month, day, *time = match.groups()[:6]
    iso = f"{year}-{month or '01'}-{day or '01'}"
    if time[0] is None:
        return iso
    zone = match[7] and ("+00:00" if match[7] == "Z" else f"{match[8]}:{match[9] or '00'}")
    return f"{iso}T{':'.join(part or '00' for part in time)}{zone or ''}"


def _outline_of(pdf: Any) -> Marks:
    marks: Marks = {}
    path: list[str] = []
    try:
        for number, mark in enumerate(pdf.get_toc(max_depth=_DEEPEST)):
            path[mark.level :] = [" ".join(mark.get_title().split())]
            place = mark.get_dest()
            page = None if place is None else place.get_index()
            if page is not None and page >= 0:
                marks.setdefault(page + 1, []).append(tuple(path))
            if number == _MOST_MARKS:
                break
    except Exception:  # an invalid outline counts as none
        return {}
    return marks


def _sections_of_pages(pages: list[str], marks: Marks) -> Iterator[Section]:
    """The sections of pages. Each page is split at the lines that are headings in the outline.
    marks: for each page, the headings that the outline has on this page. If no such heading is
    found in the text of the page, the whole page belongs to the first of these headings."""
    current: tuple[str, ...] = ()
    shown: dict[tuple[str, ...], tuple[str, ...]] = {}  # with the pages' numbers
    for page, text in enumerate(pages, 1):
        at, unseen, last = 0, [], current
        for path in marks.get(page, ()):
            line = _line_of(text, path[-1], at)
            if line is None:
                unseen.append(path)
                last = path
                continue
            before = text[at : line[0]].strip()
            if before or at:
                yield Section(before, current, page)
            heading = " ".join(text[line[0] : line[1]].split())
            last = current = shown[path] = (*shown.get(path[:-1], path[:-1]), heading)
            at = line[1]
        rest = text[at:].strip()
        current = unseen[0] if unseen and not at else current
        if rest or at:
            yield Section(rest, current, page)
        current = last


def _line_of(text: str, title: str, start: int) -> tuple[int, int] | None:
    """The range of the first line after `start` that consists of the title; None if there is no
    such line. Spaces, and a number before the title, are ignored."""
    words = re.findall(r"\w+", title)
    if not words:
        return None
    spaced = r"\W+".join(map(re.escape, words))
    line = re.compile(rf"^[\d. \t]*{spaced}[^\w\n]*$", re.MULTILINE | re.IGNORECASE)
    match = line.search(text, start)
    return None if match is None else match.span()


def draw_page(data: bytes, name: str) -> str:
    """Draw a page of a PDF, and return the picture as PNG in base64. name: the number of the page,
    from 1, and the length of the picture's longer side in pixels, such as "3 300"."""
    number, size = map(int, name.split())
    pdf = _open_document(data)
    if not 1 <= number <= len(pdf):
        raise DataLoaderError(f"it has no page {number}")
    page = pdf[number - 1]
    picture = page.render(scale=size / max(page.get_size())).to_pil()
    out = io.BytesIO()
    picture.save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()
