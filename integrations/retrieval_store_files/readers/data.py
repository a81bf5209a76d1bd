"""Reads source code, tables, JSON, notebooks and mail."""

import ast
import csv
import email
import email.policy
import io
import json
import tokenize
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from itertools import pairwise
from typing import Any

from retrieval_store.errors import DataLoaderError
from retrieval_store_files.readers import FileText, Section
from retrieval_store_files.readers.markup import decoded, file_text_of, markdown_table, read_html

LINES, ROWS = 60, 20  # of a section
_DELIMITERS = ",;\t|"
_MAX_CELL = 10_000_000  # characters
_LONGEST_OUTPUT = 2_000  # characters of a notebook's
_SHORT = 500  # characters of JSON that stands as it is
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def read_python(data: bytes, name: str) -> FileText:
    """A module by its classes and functions; by its lines where it can't be parsed."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)  # which it may declare
        text = data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError):
        text = decoded(data)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _by_lines(text)
    starts = _line_starts(text)
    return FileText([*_of_body(text, starts, tree.body, (), 0, len(starts) - 1)])


def _line_starts(text: str) -> list[int]:
    """The place at which each line begins, as Python counts lines, and that of the end."""
    starts, at = [0], 0
    for line in io.StringIO(text, newline=""):
        at += len(line)
        starts.append(at)
    return starts


def _of_body(
    text: str, starts: list[int], body: list[Any], path: tuple[str, ...], first: int, end: int
) -> Iterator[Section]:
    """The sections of the lines from `first` to before `end`, which have these statements: one for
    each definition, and for what stands between two of them."""
    at = first
    for one in body:
        if not isinstance(one, _Definition):
            continue
        decorators = [decorator.lineno for decorator in one.decorator_list]
        begins = _with_comments(text, starts, min([one.lineno, *decorators]) - 1, at)
        yield from _code_sections(text, starts, path, at, begins)
        at = one.end_lineno or begins + 1
        kind = "class" if isinstance(one, ast.ClassDef) else "def"
        inner = (*path, f"{kind} {one.name}")
        if kind == "class":
            yield from _of_body(text, starts, one.body, inner, begins, at)
        else:
            yield from _code_sections(text, starts, inner, begins, at)
    yield from _code_sections(text, starts, path, at, end)


def _with_comments(text: str, starts: list[int], line: int, first: int) -> int:
    """The line at which the comments above a definition begin."""
    while line > first and text[starts[line - 1] : starts[line]].lstrip().startswith("#"):
        line -= 1
    return line


def read_code(data: bytes, name: str) -> FileText:
    """Source code by its lines."""
    return _by_lines(decoded(data))


def _by_lines(text: str) -> FileText:
    starts = _line_starts(text)
    return FileText([*_code_sections(text, starts, (), 0, len(starts) - 1)])


def _code_sections(
    text: str, starts: list[int], path: tuple[str, ...], first: int, end: int
) -> Iterator[Section]:
    """Lines in sections that end, where possible, at a blank line."""
    while first < end:
        last = min(first + LINES, end)
        if last < end:
            blank = range(last, first + LINES // 2, -1)
            last = next((i for i in blank if not text[starts[i - 1] : starts[i]].strip()), last)
        begins, ends = first, last
        while begins < ends and not text[starts[begins] : starts[begins + 1]].strip():
            begins += 1
        start = starts[begins]
        stop = start + len(text[start : starts[ends]].rstrip())
        if stop > start:
            yield Section(text[start:stop], path, None, start, stop, is_code=True)
        first = last


# JSON


def read_json(data: bytes, name: str) -> FileText:
    """A section for each item of a list, or for each key of an object."""
    text = decoded(data)
    try:
        value = json.loads(text)
    except ValueError as error:
        raise DataLoaderError(f"it isn't JSON: {error}") from error
    except RecursionError as error:
        raise DataLoaderError("it isn't JSON that can be read: it is nested too deep") from error
    if isinstance(value, dict) and len(text) > _SHORT:
        return FileText([Section(_shown(one), (key,)) for key, one in value.items()])
    items = value if isinstance(value, list) else [value]
    return FileText([Section(_shown(one)) for one in items])


def read_jsonl(data: bytes, name: str) -> FileText:
    """A section for each line; a line that isn't JSON is a gap."""
    text, sections, wrong = decoded(data), [], []
    for number, (start, end) in enumerate(pairwise(_line_starts(text)), 1):
        line = text[start:end].strip()
        if not line:
            continue
        try:
            shown = _shown(json.loads(line))
        except (ValueError, RecursionError) as error:
            wrong.append(f"line {number} isn't JSON: {error}"[:200])
            continue
        sections.append(Section(shown, (), None, start, start + len(text[start:end].rstrip())))
    if wrong and not sections:
        raise DataLoaderError(wrong[0])
    return FileText(sections, gaps=few(wrong))


_GAPS = 10


def few(gaps: list[str]) -> tuple[str, ...]:
    """The first gaps of a file, and how many more there are."""
    more = [f"and {len(gaps) - _GAPS:,} more"] if len(gaps) > _GAPS else []
    return (*gaps[:_GAPS], *more)


def _shown(value: Any) -> str:
    """A value of JSON in lines such as "author.name: Jane"."""
    return "\n".join(_lines(value, ""))


def _lines(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, one in value.items():
            yield from _lines(one, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        for i, one in enumerate(value):
            yield from _lines(one, f"{path}[{i}]")
    else:
        if isinstance(value, list):
            shown = ", ".join(one if isinstance(one, str) else json.dumps(one) for one in value)
        else:
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield f"{path}: {shown}" if path else shown


# Tables


def read_csv(data: bytes, name: str) -> FileText:
    """A table in sections of rows, each with the header, as Markdown. One that isn't in UTF-8 is
    read as Windows-1252, in which older programs for spreadsheets write."""
    gaps: tuple[str, ...] = ()
    try:
        text = decoded(data)
    except DataLoaderError:
        text = data.decode("cp1252", "replace")
        gaps = ("it isn't in UTF-8, and was read as Windows-1252",)
    csv.field_size_limit(_MAX_CELL)
    lines = _CountedLines(text)
    rows = csv.reader(lines, _dialect_of(text))
    places: list[tuple[int, int, list[str]]] = []
    try:
        at = 0
        for row in rows:
            if any(one.strip() for one in row):
                places.append((at, lines.at, row))
            at = lines.at
    except csv.Error as error:
        raise DataLoaderError(f"line {rows.line_num}: {error}") from error
    return FileText([*_table_sections(places, ())], gaps=gaps)


class _CountedLines:
    """The lines of a text, and how many characters of it have been read."""

    def __init__(self, text: str) -> None:
        self._lines, self.at = io.StringIO(text, newline=""), 0

    def __iter__(self) -> "_CountedLines":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.at += len(line)
        return line


def _dialect_of(text: str) -> Any:
    try:
        return csv.Sniffer().sniff(text[:10_000], _DELIMITERS)
    except csv.Error:
        return csv.excel


def _table_sections(
    rows: list[tuple[int, int, list[str]]], headings: tuple[str, ...]
) -> Iterator[Section]:
    if not rows:
        return
    header = rows[0][2]
    for first in range(1, max(2, len(rows)), ROWS):
        some = rows[first : first + ROWS]
        start = rows[0][0] if first == 1 else some[0][0]
        table = markdown_table([header, *(row for _, _, row in some)])
        yield Section(table, headings, None, start, (some or rows)[-1][1])


def sheet_sections(rows: list[list[str]], headings: tuple[str, ...]) -> list[Section]:
    """A sheet of a spreadsheet in sections of rows, each with the header."""
    placed = [(0, 0, row) for row in rows]
    return [Section(one.text, one.headings) for one in _table_sections(placed, headings)]


# Notebooks and mail


def read_notebook(data: bytes, name: str) -> FileText:
    """The cells of a notebook, below the headings of its Markdown."""
    try:
        book = json.loads(decoded(data))
        cells = [one for one in book["cells"] if isinstance(one, dict)]
        language = book.get("metadata", {}).get("kernelspec", {}).get("language", "python")
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise DataLoaderError(f"it isn't a notebook: {error!r}") from error
    text = "\n\n".join(filter(None, (_of_cell(one, str(language)) for one in cells)))
    file = file_text_of(text)
    return FileText([Section(one.text, one.headings) for one in file.sections], file.title)


def _of_cell(cell: dict[str, Any], language: str) -> str:
    source = _joined(cell.get("source")).strip("\n")
    if cell.get("cell_type") != "code" or not source.strip():
        return source
    shown = f"```{language}\n{source}\n```"
    outputs = "".join(map(_of_output, cell.get("outputs") or [])).strip("\n")
    if outputs.strip():
        shown += f"\n\n```\n{outputs[:_LONGEST_OUTPUT]}\n```"
    return shown


def _of_output(output: Any) -> str:
    if not isinstance(output, dict):
        return ""
    data = output.get("data")
    plain = data.get("text/plain") if isinstance(data, dict) else None
    return _joined(output.get("text") if plain is None else plain) + "\n"


def _joined(lines: Any) -> str:
    parts = lines if isinstance(lines, list) else [lines]
    return "".join(one for one in parts if isinstance(one, str))


def read_mail(data: bytes, name: str) -> FileText:
    """The text of a mail. Attachments are named and not opened."""
    mail = email.message_from_bytes(data, policy=email.policy.default)
    body = mail.get_body(("plain", "html"))
    sections: list[Section] = []
    if body is not None:
        text = _content(body)
        is_html = body.get_content_type() == "text/html"
        sections = read_html(text.encode(), name).sections if is_html else [Section(text.strip())]
    names = [one.get_filename() or one.get_content_type() for one in mail.iter_attachments()]
    return FileText(
        sections,
        _header(mail, "subject"),
        _header(mail, "from"),
        _date_of(mail),
        gaps=tuple(f"the attachment {one!r} isn't read" for one in names),
    )


def _content(body: Any) -> str:
    """The text of a part, whose encoding may be unknown or wrong."""
    data = body.get_payload(decode=True) or b""
    try:
        return str(data.decode(body.get_content_charset("utf-8"))).replace("\r\n", "\n")
    except (LookupError, UnicodeError):
        return str(data.decode("utf-8", "replace")).replace("\r\n", "\n")


def _header(mail: Any, name: str) -> str | None:
    try:
        value = mail[name]
    except (ValueError, IndexError, AttributeError):  # at which the library fails
        return None
    return None if value is None else str(value)


def _date_of(mail: Any) -> str | None:
    try:
        return parsedate_to_datetime(_header(mail, "date") or "").isoformat()
    except (ValueError, TypeError):
        return None
