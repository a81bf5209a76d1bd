"""Reads spreadsheets of Excel before 2007 (.xls) with xlrd. Parts that xlrd skips, such as boxes
and headers, are read from the records of the file.
"""

import io
import re
import struct
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from retrieval_store.errors import DataLoaderError, MissingDependencyError
from retrieval_store_files.readers import FileText, Section, count_phrase, few, unreadable
from retrieval_store_files.readers.data import read_csv
from retrieval_store_files.readers.html import read_html
from retrieval_store_files.readers.packed import OLE
from retrieval_store_files.readers.sheets import read_xlsx
from retrieval_store_files.readers.tables import (
    is_page_number,
    sheet_sections,
    without_empty_columns,
)

MAX_MERGED = 100_000  # cells of a sheet that repeat a merged one
_ZIP = b"PK\x03\x04"
_BEGIN_OF_FILE = (b"\x09\x00\x04\x00", b"\x09\x02\x06\x00", b"\x09\x04\x06\x00", b"\x09\x08")
# Record types of a file.
_BOF, _HEADER, _FOOTER, _CONTINUE, _OBJECT, _TEXT_OBJECT, _SERIES_TEXT = (
    0x0809, 0x14, 0x15, 0x3C, 0x5D, 0x1B6, 0x100D,
)  # fmt: skip
_BIFF8 = 0x0600
_NOTE, _CHART = 0x19, 0x05  # kinds of objects
_FONT_OF_HEADER = re.compile(r'&"[^"]*"|&\d+|&K[0-9A-F]{6}|&[BIUESXYOH]')
_FIELD_OF_HEADER = re.compile(r"&(?:[PNDTFAZG]|\[[A-Z]+\])")
_PART_OF_HEADER = re.compile(r"&[LCR]")
# Parts of a number format: text, a currency, a colour or condition, a space, the number itself.
_PART = re.compile(
    r'"(?P<text>[^"]*)"|\\(?P<character>.)|\[\$(?P<currency>[^\]-]*)[^\]]*\]|\[[^\]]*\]|_.|\*.'
    r"|(?P<number>[#0?][#0?,]*(?:\.[#0?]*)?,*|\.[#0?]+)|(?P<sign>[-+$€£¥()%: ])"
)


def read_xls(data: bytes, name: str) -> FileText:
    """Read the sheets of a spreadsheet, including hidden sheets. The rows are split into sections,
    each of which begins with the sheet's header. Comments on cells are read too. Some programs use
    the ending .xls for files in other formats; such files are read in their real format."""
    if data.startswith(_ZIP):
        return read_xlsx(data, name)
    if not data.startswith((OLE, *_BEGIN_OF_FILE)):
        is_page = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"
        return read_html(data, name) if is_page else read_csv(data, name)
    try:
        import olefile
        import xlrd
    except ImportError as error:
        raise MissingDependencyError(
            f"old Excel needs xlrd: pip install retrieval-store-files ({error})"
        ) from error
    sections: list[Section] = []
    gaps: list[str] = []
    try:
        book = xlrd.open_workbook(
            file_contents=data, formatting_info=True, ragged_rows=True, logfile=io.StringIO()
        )
        for sheet in book.sheets():
            sections += _sections_of_sheet(xlrd, book, sheet, gaps)
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # any error of the library
        if "encrypted" in str(error):
            raise DataLoaderError("it is encrypted, and requires a password") from error
        raise unreadable("a spreadsheet", error, "Excel or LibreOffice") from error
    stream, metadata, embedded = _content_outside_cells(olefile, data)
    gaps += count_phrase(embedded, "embedded object")
    lines = [*dict.fromkeys(_texts_outside_cells(stream, book.encoding or "cp1252", gaps))]
    sections += [Section("\n".join(lines))] if lines else []
    return FileText(sections, **metadata, gaps=few(gaps))


def _sections_of_sheet(xlrd: Any, book: Any, sheet: Any, gaps: list[str]) -> list[Section]:
    rows = _rows(xlrd, book, sheet, gaps)
    rows = without_empty_columns([row for row in rows if any(row)])
    sections = sheet_sections(rows, (sheet.name,))
    comments = [*_comments(sheet)]
    return [*sections, *([Section("\n\n".join(comments), (sheet.name,))] if comments else [])]


def _rows(xlrd: Any, book: Any, sheet: Any, gaps: list[str]) -> list[list[str]]:
    """The rows of a sheet as Excel displays them. Merged cells are repeated. The format has at most
    65,536 rows of 256 columns."""
    rows = [
        [_display_cell(xlrd, book, cell) for cell in sheet.row(number)]
        for number in range(sheet.nrows)
    ]
    for (number, column), link in sheet.hyperlink_map.items():
        if number < len(rows) and column < len(rows[number]):
            rows[number][column] = _add_link(rows[number][column], link.url_or_path)
    merged = 0
    for first, bottom, left, edge in sheet.merged_cells:
        if first >= len(rows) or left >= len(rows[first]) or not rows[first][left]:
            continue
        below, right = min(bottom, len(rows)), min(edge, sheet.ncols)
        merged += (below - first) * (right - left)
        if merged > MAX_MERGED:
            gaps.append(f"merged cells of the sheet {sheet.name!r} aren't all repeated")
            break
        for row in rows[first:below]:
            row.extend([""] * (right - len(row)))
            row[left:right] = [text or rows[first][left] for text in row[left:right]]
    for row in rows:
        while row and not row[-1]:
            row.pop()
    return rows


def _add_link(text: str, address: Any) -> str:
    """The text of a cell as a Markdown link, if the cell has a link to an address outside of the
    file."""
    leads_out = isinstance(address, str) and address.startswith(("http:", "https:", "mailto:"))
    return f"[{text}]({address})" if text and leads_out and address != text else text


def _display_cell(xlrd: Any, book: Any, cell: Any) -> str:
    """The text that Excel displays in a cell."""
    kind, value = cell.ctype, cell.value
    if kind in (xlrd.XL_CELL_NUMBER, xlrd.XL_CELL_DATE):
        style = book.format_map.get(book.xf_list[cell.xf_index].format_key)
        form = "General" if style is None else style.format_str
        if kind == xlrd.XL_CELL_NUMBER:
            return _number(value, form)
        return _duration(value) if _ELAPSED.search(form) else _date(xlrd, book, value)
    if kind == xlrd.XL_CELL_BOOLEAN:
        return "TRUE" if value else "FALSE"
    if kind == xlrd.XL_CELL_ERROR:
        return str(xlrd.error_text_from_code.get(value, "#ERROR"))
    return str(value).strip()


_ELAPSED = re.compile(r"\[(?:h+|m+|s+)\]", re.IGNORECASE)  # in a cell's format


def _duration(days: float) -> str:
    """A number of days as hours, minutes and seconds."""
    seconds = round(days * 86_400)
    return f"{seconds // 3_600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _date(xlrd: Any, book: Any, value: float) -> str:
    """The value of a cell as a date, a time, or both, in ISO 8601."""
    try:
        date = xlrd.xldate_as_datetime(value, book.datemode)
        date = (date + timedelta(milliseconds=500)).replace(microsecond=0)
    except (ValueError, OverflowError, xlrd.xldate.XLDateError):
        return _general(value)
    shown = str(date)
    return shown[11:] if 0 <= value < 1 else shown.removesuffix(" 00:00:00")


def _general(value: float) -> str:
    """A number as Excel displays it in a cell with the format "General"."""
    return f"{value:.0f}" if abs(value) < 1e20 and value == int(value) else f"{value:.15g}"


def _number(value: float, form: str) -> str:
    """A number in a format of Excel, such as '#,##0.00" kg"'. If the format can't be parsed, the
    format "General" is used."""
    parts = form.split(";")
    index = 0 if value > 0 or len(parts) == 1 else 1 if value < 0 else min(2, len(parts) - 1)
    index = 0 if value == 0 and len(parts) < 3 else index
    try:
        shown = _in_format(abs(value) if index else value, parts[index])
    except InvalidOperation:  # a number with more digits than Excel has
        shown = None
    return _general(value) if shown is None else shown


def _in_format(value: float, form: str) -> str | None:
    pieces: list[str] = []
    at, numbers = 0, 0
    scaled = Decimal(repr(value))
    if "%" in re.sub(r'"[^"]*"|\\.', "", form):
        scaled *= 100
    while at < len(form):
        match = _PART.match(form, at)
        if match is None:
            return None
        if match["number"]:
            numbers += 1
            pieces.append(_digits(scaled, match["number"]))
        else:
            pieces.append(
                match["text"] or match["character"] or match["currency"] or match["sign"] or ""
            )
        at = match.end()
    return "".join(pieces).strip() if numbers == 1 else None


def _digits(value: Decimal, pattern: str) -> str:
    """The digits of a number, formatted by a pattern such as "#,##0.0#"."""
    shown = pattern.rstrip(",")  # each of which leaves out three digits
    value /= Decimal(1_000) ** (len(pattern) - len(shown))
    whole, _, decimals = shown.partition(".")
    grouped = "," if "," in whole else ""
    needed = sum(character == "0" for character in decimals)
    rounded = value.quantize(Decimal(1).scaleb(-len(decimals)), ROUND_HALF_UP)
    text = f"{rounded:{grouped}.{len(decimals)}f}"
    while decimals and len(text.rpartition(".")[2]) > needed and text.endswith("0"):
        text = text[:-1]
    least = whole.count("0")
    sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
    before = digits.partition(".")[0]
    return sign + "0" * (least - len(before)) + digits.rstrip(".")


def _comments(sheet: Any) -> Iterator[str]:
    for (row, column), note in sorted(sheet.cell_note_map.items()):
        author = " ".join(note.author.split())
        by = f" by {author}" if author else ""
        text = " ".join(note.text.split()).removeprefix(f"{author}: ")
        yield f"Comment on {_column_name(column)}{row + 1}{by}: {text}"


def _column_name(column: int) -> str:
    name = ""
    while column >= 0:
        name, column = chr(ord("A") + column % 26) + name, column // 26 - 1
    return name


# Content outside of the cells


def _content_outside_cells(olefile: Any, data: bytes) -> tuple[bytes, dict[str, Any], int]:
    """The content of a spreadsheet outside of its cells, as three values: the bytes of the records,
    the metadata, and the number of embedded objects."""
    if not data.startswith(OLE):
        return data, {}, 0
    try:
        with olefile.OleFileIO(io.BytesIO(data)) as file:
            name = next((name for name in ("Workbook", "Book") if file.exists(name)), None)
            stream = b"" if name is None else file.openstream(name).read()
            embedded = {path[0] for path in file.listdir() if path[0].startswith("MBD")}
            return stream, _metadata(file.get_metadata()), len(embedded)
    except Exception:  # damage in parts that the cells don't need
        return b"", {}, 0


def _metadata(metadata: Any) -> dict[str, Any]:
    encoding = f"cp{metadata.codepage % 65536}" if metadata.codepage else "cp1252"
    encoding = {"cp65001": "utf-8", "cp10000": "mac_roman"}.get(encoding, encoding)
    date = metadata.last_saved_time or metadata.create_time
    return {
        "title": _decode(metadata.title, encoding),
        "author": _decode(metadata.author, encoding),
        "date": date.isoformat() if isinstance(date, datetime) and date.year > 1601 else None,
    }


def _decode(value: Any, encoding: str) -> str | None:
    if isinstance(value, bytes):
        try:
            value = value.decode(encoding, "replace")
        except LookupError:
            value = value.decode("cp1252", "replace")
    return value.strip("\0 ") or None if isinstance(value, str) else None


def _texts_outside_cells(stream: bytes, encoding: str, gaps: list[str]) -> Iterator[str]:
    """The headers and footers of sheets, and the texts of boxes and charts. From files before Excel
    97, only headers and footers can be read. For such files, the number of boxes, charts and other
    objects is added to the gaps."""
    is_new, kind, objects = False, 0, 0
    records = _records(stream)
    for record, body in records:
        if record == _BOF and len(body) >= 2:
            is_new = struct.unpack_from("<H", body)[0] == _BIFF8
        elif record in (_HEADER, _FOOTER) and len(body) > 3:
            text = _string(body, 2) if is_new else body[1:].decode(encoding, "replace")
            yield from _header_lines(text)
        elif record == _OBJECT:
            kind = struct.unpack_from("<H", body, 4)[0] if len(body) >= 6 else 0
            objects += not is_new
        elif record == _SERIES_TEXT and is_new and len(body) > 4:
            yield from _line(_string(body[2:], 1))
        elif record == _TEXT_OBJECT and kind != _NOTE and len(body) >= 12:
            yield from _line(_text_of_box(records, struct.unpack_from("<H", body, 10)[0]))
    gaps += count_phrase(objects, "object whose text isn't read", "objects whose text isn't read")


def _records(stream: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(stream):
        record, length = struct.unpack_from("<HH", stream, at)
        yield record, stream[at + 4 : at + 4 + length]
        at += 4 + length


def _string(body: bytes, width: int) -> str:
    """Decode the string at the beginning of `body`. `body` begins with the length of the string, in
    `width` bytes. Then follow a byte for the encoding, and the characters."""
    length, wide = int.from_bytes(body[:width], "little"), body[width] & 1
    rest = body[width + 1 :]
    return (
        rest[: 2 * length].decode("utf-16-le", "replace")
        if wide
        else rest[:length].decode("latin-1")
    )


def _text_of_box(records: Iterator[tuple[int, bytes]], length: int) -> str:
    """The text of a box, read from the records that come next in `records`. length: the number of
    characters in the text."""
    text = ""
    while len(text) < length:
        record, body = next(records, (0, b""))
        if record != _CONTINUE or len(body) < 2:
            break
        text += body[1:].decode("utf-16-le" if body[0] & 1 else "latin-1", "replace")
    return text


def _line(text: str) -> Iterator[str]:
    line = " ".join(text.replace("\0", " ").split())
    if line:
        yield line


def _header_lines(text: str) -> Iterator[str]:
    """The left, middle and right parts of a header, without page numbers."""
    for part in _PART_OF_HEADER.split(_FONT_OF_HEADER.sub("", text)):
        shown = _FIELD_OF_HEADER.sub("", part)
        if shown == part or not is_page_number(shown):
            yield from _line(shown)
