"""What documents of Word, slides and spreadsheets have in common: a zip with parts in XML, charts,
equations, and what a document says of itself."""

import io
import posixpath
import re
import zipfile
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

from retrieval_store.errors import DataLoaderError, MissingDependencyError
from retrieval_store_files.readers import locked_error, passwords
from retrieval_store_files.readers.packed import OLE, PackedFile, xml_root
from retrieval_store_files.readers.tables import markdown_table

INSTALL = 'pip install "retrieval-store[files]"'

_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_CHART = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_NEW_CHART = "{http://schemas.microsoft.com/office/drawing/2014/chartex}"
_MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
RELATED = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"  # said twice
EQUATION, CHART = f"{_MATH}oMath", f"{_CHART}chart"
DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}relIds"
TABLE = f"{_DRAWING}tbl"
_DEEPEST = 100  # levels of an equation


def missing(what: str, package: str, error: ImportError) -> MissingDependencyError:
    """The error of a reader whose library isn't there."""
    return MissingDependencyError(f"{what} needs {package}: {INSTALL} ({error})")


def open_office(data: bytes) -> PackedFile:
    """A document of Office, decrypted where that takes a password, in the usual form of the
    standard."""
    packed = PackedFile(_decrypt(data) if data.startswith(OLE) else data, "a document of Office")
    relations = "_rels/.rels"
    is_strict = relations in packed and _STRICT in packed.read(relations)
    return _transitional(packed) if is_strict else packed


_STRICT = b"http://purl.oclc.org/ooxml/"
_STRICT_NAME = re.compile(rb"http://purl\.oclc\.org/ooxml/(\w+)/(\w+)")
_USUAL_NAME = rb"http://schemas.openxmlformats.org/\1/2006/\2"


def _transitional(strict: PackedFile) -> PackedFile:
    """A document in the strict form of the standard, which the libraries don't know, in the usual
    one: its names are others, and mean the same."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as usual:
        for name in strict.names():
            content = strict.read(name)
            is_xml = name.endswith((".xml", ".rels"))
            usual.writestr(name, _STRICT_NAME.sub(_USUAL_NAME, content) if is_xml else content)
    return PackedFile(out.getvalue(), "a document of Office")


def _decrypt(data: bytes) -> bytes:
    """An encrypted document, which is wrapped in the format of before."""
    if b"E\0n\0c\0r\0y\0p\0t\0e\0d\0P\0a\0c\0k\0a\0g\0e" not in data:
        raise DataLoaderError("it isn't a document of Office in its format since 2007")
    if not passwords():
        raise locked_error()
    try:
        from msoffcrypto import OfficeFile
        from msoffcrypto.exceptions import DecryptionError, InvalidKeyError
    except ImportError as error:
        raise MissingDependencyError(
            "an encrypted document of Office needs msoffcrypto-tool: "
            f'pip install "retrieval-store[passwords]" ({error})'
        ) from error
    for password in passwords():
        plain = io.BytesIO()
        try:
            file = OfficeFile(io.BytesIO(data))
            file.load_key(password=password, verify_password=True)
            file.decrypt(plain)
        except (DecryptionError, InvalidKeyError):
            continue
        return plain.getvalue()
    raise locked_error()


def parse_xml(data: bytes) -> Any:
    """The root of a part in XML."""
    return xml_root(data, "a part")


def office_metadata(packed: PackedFile, core: Any) -> dict[str, Any]:
    """What a document says of itself; where it says nothing the libraries make something up."""
    if not any(name.lower().endswith("core.xml") for name in packed.names()):
        return {}
    return {
        "title": _plain(core.title),
        "author": _plain(getattr(core, "author", None) or getattr(core, "creator", None)),
        "date": _date(core.modified or core.created),
        "language": _plain(core.language),
    }


def _plain(value: Any) -> str | None:
    return str(value).strip() or None if isinstance(value, str) else None


def _date(value: Any) -> str | None:
    return value.isoformat() if isinstance(value, datetime) else None


def related_parts(packed: PackedFile, path: str) -> list[tuple[str, str, str]]:
    """For each part of the zip that the one at this path names: its id, kind and path."""
    folder, name = posixpath.split(path)
    relations_of = f"{folder}/_rels/{name}.rels"
    if relations_of not in packed:
        return []
    root = packed.xml(relations_of)
    relations = (each for each in root if each.get("TargetMode") != "External")
    return [
        (
            each.get("Id", ""),
            each.get("Type", "").rpartition("/")[2],
            posixpath.normpath(posixpath.join("/", folder, each.get("Target", ""))).lstrip("/"),
        )
        for each in relations
    ]


def elements(parent: Any, tags: Collection[str], no_text: frozenset[str]) -> Iterator[Any]:
    """The elements of these names in another that lie in none of them, nor in one of those that
    have no text; without recursion, for a file may nest them."""
    waiting = [iter(parent)]
    while waiting:
        element = next(waiting[-1], None)
        if element is None:
            waiting.pop()
        elif element.tag in tags:
            yield element
        elif element.tag not in no_text:
            waiting.append(iter(element))


_PARAGRAPH = f"{_DRAWING}p"
_BREAKS = {f"{_DRAWING}br": "\n", f"{_DRAWING}tab": "\t"}
_NO_TEXT = frozenset([FALLBACK, f"{_DRAWING}pPr", f"{_DRAWING}rPr"])


def drawing_text(element: Any) -> str:
    """The paragraphs of a shape, a chart or a diagram, each in a line."""
    lines = []
    for paragraph in elements(element, (_PARAGRAPH,), _NO_TEXT):
        pieces = []
        for part in elements(paragraph, (f"{_DRAWING}t", EQUATION, *_BREAKS), _NO_TEXT):
            is_equation = part.tag == EQUATION
            pieces.append(equation(part) if is_equation else _BREAKS.get(part.tag, part.text or ""))
        lines.append("".join(pieces).strip())
    return "\n".join(filter(None, lines))


def drawing_table(table: Any) -> list[list[str]]:
    """The rows of a table among slides, in which a merged cell is in each place that it takes."""
    rows: list[list[str]] = []
    for row in table.iter(f"{_DRAWING}tr"):
        texts: list[str] = []
        for column, cell in enumerate(row.iter(f"{_DRAWING}tc")):
            if cell.get("vMerge") in ("1", "true") and rows and column < len(rows[-1]):
                texts.append(rows[-1][column])
            elif cell.get("hMerge") in ("1", "true") and texts:
                texts.append(texts[-1])
            else:
                texts.append(drawing_text(cell))
        rows.append(texts)
    return [row for row in rows if any(row)]


def chart_text(root: Any) -> str:
    """The titles of a chart, and its values as a table."""
    names: list[str] = [""]
    rows: dict[str, list[str]] = {}
    for number, series in enumerate(root.iter(f"{_CHART}ser"), 1):
        name = series.findtext(f"{_CHART}tx/{_CHART}v", "")  # where no cell has it
        names.append(" ".join(_values(series, "tx").values()) or name)
        labels = _values(series, "cat") or _values(series, "xVal")
        values = _values(series, "val") or _values(series, "yVal")
        for place in sorted({*labels, *values}, key=_by_number):
            row = rows.setdefault(place, [labels.get(place, "")])
            row += [""] * (number - len(row)) + [values.get(place, "")]
    table = markdown_table([names, *rows.values()]) if rows else ""
    if root.tag.startswith(_NEW_CHART):
        table = "\n".join("".join(point.itertext()) for point in root.iter(f"{_NEW_CHART}pt"))
    return "\n\n".join(filter(None, [drawing_text(root), table]))


def _values(series: Any, name: str) -> dict[str, str]:
    """The values of one kind of a series, by their places; of several levels the innermost comes
    first, and what an outer one says holds until it says something else."""
    path = f"{_CHART}{name}"
    values: dict[str, str] = {}
    for level in series.findall(f"{path}//{_CHART}lvl") or series.findall(path):
        points = level.iter(f"{_CHART}pt")
        texts = {point.get("idx", ""): "".join(point.itertext()).strip() for point in points}
        text = ""
        for place in sorted({*values, *texts}, key=_by_number):
            text = texts.get(place, text)
            values[place] = f"{values.get(place, '')} {text}".strip()
    return values


def _by_number(place: str) -> tuple[int, str]:
    """What puts places, which are texts of numbers, in order."""
    return len(place), place


def equation(element: Any, depth: int = 0) -> str:
    """An equation in one line, such as "x = (a+b)/2"."""
    if depth > _DEEPEST:
        return "".join(element.itertext())
    tag = element.tag
    if tag == f"{_MATH}t":
        return element.text or ""

    def part(name: str) -> str:
        child = element.find(f"{_MATH}{name}")
        return "" if child is None else equation(child, depth + 1)

    match tag.removeprefix(_MATH):
        case "f":
            return f"{_in_parentheses(part('num'))}/{_in_parentheses(part('den'))}"
        case "sSup":
            return f"{part('e')}^{_in_parentheses(part('sup'))}"
        case "sSub":
            return f"{part('e')}_{_in_parentheses(part('sub'))}"
        case "sSubSup":
            return f"{part('e')}_{_in_parentheses(part('sub'))}^{_in_parentheses(part('sup'))}"
        case "rad":
            return f"{part('deg')}√{_in_parentheses(part('e'))}"
        case "nary":
            sign = element.find(f"{_MATH}naryPr/{_MATH}chr")
            symbol = "∫" if sign is None else sign.get(f"{_MATH}val") or ""
            limits = f"_{_in_parentheses(part('sub'))}^{_in_parentheses(part('sup'))}"
            return f"{symbol}{limits if limits != '_^' else ''} {part('e')}"
        case "d":
            inner = element.iterchildren(f"{_MATH}e")
            return f"({', '.join(equation(each, depth + 1) for each in inner)})"
        case _:
            return "".join(
                equation(child, depth + 1) for child in element if isinstance(child.tag, str)
            )


def _in_parentheses(text: str) -> str:
    return text if len(text) < 2 or text.isalnum() else f"({text})"
