"""Reads source code, tables, JSON and notebooks."""

import ast
import codecs
import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

from retrieval_store.errors import DataLoaderError
from retrieval_store_files.readers import FileText, Section, count_phrase, few
from retrieval_store_files.readers.encodings import Decoded, decode
from retrieval_store_files.readers.markup import fenced, file_text_of
from retrieval_store_files.readers.tables import table_sections

LINES = 60  # of a section
_SAMPLE = 30_000  # characters of a table from which its dialect is found, in quadratic time
_DELIMITERS = ",;\t|"
_MAX_CELL = 10_000_000  # characters
_LONGEST_OUTPUT = 2_000  # characters of a notebook's
_LANGUAGE = re.compile(r"[\w+#.-]+")
_SHORT = 500  # characters of JSON that is kept unchanged
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def read_python(data: bytes, name: str) -> FileText:
    """Read a Python module, and split it into its classes and functions. A module that can't be
    parsed is split by lines."""
    text, gaps = _decode_module(data)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return lines_of_code(text, gaps)
    starts = _line_starts(text)
    return FileText(
        [*_sections_of_body(text, starts, tree.body, (), 0, len(starts) - 1)], gaps=gaps
    )


# The declaration of an encoding.
_CODING = re.compile(rb"(?:[^\r\n]*(?:\r\n?|\n))?[ \t\f]*#[^\r\n]*?coding[:=][ \t]*([-\w.]+)")


def _decode_module(data: bytes) -> Decoded:
    """Decode a Python module, which may declare its encoding in one of its first two lines."""
    match = _CODING.match(data)
    if match is None or data.startswith(codecs.BOM_UTF8):
        return decode(data)
    return decode(data, match[1].decode("ascii"))


def _line_starts(text: str) -> list[int]:
    """A list of the positions at which the lines of a text begin, followed by the position at which
    the text ends. Lines end as in Python."""
    starts, at = [0], 0
    for line in io.StringIO(text, newline=""):
        at += len(line)
        starts.append(at)
    return starts


def _sections_of_body(
    text: str, starts: list[int], body: list[Any], path: tuple[str, ...], first: int, end: int
) -> Iterator[Section]:
    """Yield the sections of the lines from `first` up to `end`, without the line `end`. Each
    definition becomes a section, and so do the lines between two definitions. body: the statements
    in these lines; starts: the positions at which lines begin; path: the headings of the body."""
    at = first
    for statement in body:
        if not isinstance(statement, _Definition):
            continue
        decorators = [decorator.lineno for decorator in statement.decorator_list]
        begins = _with_comments(text, starts, min([statement.lineno, *decorators]) - 1, at)
        yield from _code_sections(text, starts, path, at, begins)
        at = statement.end_lineno or begins + 1
        kind = "class" if isinstance(statement, ast.ClassDef) else "def"
        inner = (*path, f"{kind} {statement.name}")
        if kind == "class":
            yield from _sections_of_body(text, starts, statement.body, inner, begins, at)
        else:
            yield from _code_sections(text, starts, inner, begins, at)
    yield from _code_sections(text, starts, path, at, end)


def _with_comments(text: str, starts: list[int], line: int, first: int) -> int:
    """The first line of the comments directly above the definition at `line`; `line` itself if
    there are no comments. Lines before `first` are ignored. starts: the positions at which lines
    begin."""
    while line > first and text[starts[line - 1] : starts[line]].lstrip().startswith("#"):
        line -= 1
    return line


def read_code(data: bytes, name: str) -> FileText:
    """Read source code, and split it by lines."""
    return lines_of_code(*decode(data))


def lines_of_code(text: str, gaps: tuple[str, ...]) -> FileText:
    """Split a text into sections of some dozens of lines. gaps: the gaps that were found in the
    file so far."""
    starts = _line_starts(text)
    return FileText([*_code_sections(text, starts, (), 0, len(starts) - 1)], gaps=gaps)


def _code_sections(
    text: str, starts: list[int], path: tuple[str, ...], first: int, end: int
) -> Iterator[Section]:
    """Split lines into sections, which end at a blank line where possible. path: the headings of
    the sections. starts: the positions at which lines begin; first, end: the range of lines."""
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
    """Read JSON. Each item of a list becomes a section. Each key of an object becomes a section
    with the key as its heading, unless the text is short. Any other value becomes a single
    section."""
    text, gaps = decode(data)
    try:
        value = json.loads(text)
    except ValueError as error:
        raise DataLoaderError(f"it isn't JSON: {error}") from error
    except RecursionError as error:
        raise DataLoaderError("it isn't JSON that can be read: it is nested too deep") from error
    if isinstance(value, dict) and len(text) > _SHORT:
        return FileText(
            [Section(_show_value(item), (key,)) for key, item in value.items()], gaps=gaps
        )
    items = value if isinstance(value, list) else [value]
    return FileText([Section(_show_value(item)) for item in items], gaps=gaps)


def read_jsonl(data: bytes, name: str) -> FileText:
    """Read JSON lines. Each line becomes a section; a line that isn't JSON is reported as a gap."""
    text, gaps = decode(data)
    sections, wrong = [], []
    for number, (start, end) in enumerate(pairwise(_line_starts(text)), 1):
        line = text[start:end].strip()
        if not line:
            continue
        try:
            shown = _show_value(json.loads(line))
        except (ValueError, RecursionError) as error:
            wrong.append(f"line {number} isn't JSON: {error}"[:200])
            continue
        sections.append(Section(shown, (), None, start, start + len(text[start:end].rstrip())))
    if wrong and not sections:
        raise DataLoaderError(wrong[0])
    return FileText(sections, gaps=(*gaps, *few(wrong)))


def _show_value(value: Any) -> str:
    """A JSON value as a text with lines such as "author.name: Jane"."""
    return "\n".join(_lines(value, ""))


def _lines(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, member in value.items():
            yield from _lines(member, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(member, dict | list) for member in value):
        for i, member in enumerate(value):
            yield from _lines(member, f"{path}[{i}]")
    else:
        if isinstance(value, list):
            shown = ", ".join(
                member if isinstance(member, str) else json.dumps(member) for member in value
            )
        else:
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield f"{path}: {shown}" if path else shown


# Tables


def read_csv(data: bytes, name: str) -> FileText:
    """Read a CSV file, and split its rows into sections. Each section is a Markdown table that
    begins with the header of the file."""
    text, gaps = decode(data)
    csv.field_size_limit(_MAX_CELL)
    lines = _CountedLines(text)
    rows = csv.reader(lines, _dialect_of(text, name))
    places: list[tuple[int, int, list[str]]] = []
    try:
        at = 0
        for row in rows:
            if any(cell.strip() for cell in row):
                places.append((at, lines.at, row))
            at = lines.at
    except csv.Error as error:
        raise DataLoaderError(f"line {rows.line_num}: {error}") from error
    return FileText([*table_sections(places, ())], gaps=gaps)


class _CountedLines:
    """Iterates over the lines of a text, and counts the characters read so far."""

    def __init__(self, text: str) -> None:
        self._lines, self.at = io.StringIO(text, newline=""), 0

    def __iter__(self) -> "_CountedLines":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.at += len(line)
        return line


def _dialect_of(text: str, name: str) -> Any:
    """The dialect in which the csv module should read a table. It is detected from the table's name
    and beginning. Two quotation marks in a quoted cell always mean one quotation mark, as in the
    output of all spreadsheets. An apostrophe is never a quotation mark, since words in a cell may
    begin with an apostrophe."""
    sample = text[:_SAMPLE]
    if len(text) > _SAMPLE and "\n" in sample:
        sample = sample[: sample.rindex("\n")]
    if name.lower().endswith(".tsv") and "\t" in sample.partition("\n")[0]:
        return csv.excel_tab
    try:
        dialect = csv.Sniffer().sniff(sample, _DELIMITERS)
    except csv.Error:
        return csv.excel
    dialect.doublequote, dialect.quotechar = True, '"'
    return dialect


# Notebooks


def read_notebook(data: bytes, name: str) -> FileText:
    """Read the cells of a Jupyter notebook with their output, and split the text at the headings in
    Markdown cells."""
    text, gaps = decode(data)
    try:
        book = json.loads(text)
    except ValueError as error:
        raise DataLoaderError(f"it isn't a notebook: it isn't JSON: {error}") from error
    except RecursionError as error:
        raise DataLoaderError(
            "it isn't a notebook that can be read: it is nested too deep"
        ) from error
    cells = book.get("cells") if isinstance(book, dict) else None
    if not isinstance(cells, list):
        raise DataLoaderError(
            "it isn't a notebook: it has no list of 'cells'; `jupyter nbconvert --to notebook` "
            "brings older ones up to date"
        )
    cells = [cell for cell in cells if isinstance(cell, dict)]
    language = _member(_member(book, "metadata"), "kernelspec").get("language", "python")
    outputs = _Outputs()
    shown = "\n\n".join(filter(None, (_cell_text(cell, str(language), outputs) for cell in cells)))
    file = file_text_of(shown)
    sections = [Section(section.text, section.headings) for section in file.sections]
    return replace(file, sections=sections, gaps=(*gaps, *outputs.gaps))


def _member(value: dict[str, Any], key: str) -> dict[str, Any]:
    member = value.get(key)
    return member if isinstance(member, dict) else {}


def _cell_text(cell: dict[str, Any], language: str, outputs: "_Outputs") -> str:
    source = _join_lines(cell.get("source")).strip("\n")
    if cell.get("cell_type") != "code":
        return source
    named = language if _LANGUAGE.fullmatch(language) else ""
    shown = fenced(source, named) if source.strip() else ""
    printed = outputs.text(cell.get("outputs")).strip("\n")
    return f"{shown}\n\n{fenced(printed)}".strip() if printed.strip() else shown


class _Outputs:
    """Reads the output of notebook cells, and counts the parts that aren't read."""

    def __init__(self) -> None:
        self._cut = self._pictures = 0

    def text(self, outputs: Any) -> str:
        """The output of a cell, truncated to a maximum length."""
        text = "".join(map(self._output_text, outputs if isinstance(outputs, list) else []))
        self._cut += len(text) > _LONGEST_OUTPUT
        return text[:_LONGEST_OUTPUT]

    @property
    def gaps(self) -> list[str]:
        """Descriptions of the parts of the output that weren't read."""
        cut = f"of which only the first {_LONGEST_OUTPUT:,} characters are read"
        return [
            *count_phrase(self._cut, f"output {cut}", f"outputs {cut}"),
            *count_phrase(self._pictures, "output that is a picture", "outputs that are pictures"),
        ]

    def _output_text(self, output: Any) -> str:
        if not isinstance(output, dict):
            return ""
        data = output.get("data")
        data = data if isinstance(data, dict) else {}
        texts = [data.get(kind) for kind in ("text/markdown", "text/plain", "text/html")]
        text = _join_lines(next(filter(None, texts), output.get("text")))
        self._pictures += any(str(kind).startswith("image/") for kind in data)
        if output.get("output_type") == "error":
            text = f"{output.get('ename', '')}: {output.get('evalue', '')}"
        return f"{text}\n"


def _join_lines(lines: Any) -> str:
    parts = lines if isinstance(lines, list) else [lines]
    return "".join(part for part in parts if isinstance(part, str))
