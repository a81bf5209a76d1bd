"""The common parts of the readers for Word documents, slides and spreadsheets. These files are zips
of XML. The functions here open the zip, and read charts, equations and metadata.
"""

import io
import posixpath
import re
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from retrieval_store.errors import DataLoaderError, MissingDependencyError
from retrieval_store_files.readers import locked_error, passwords, unreadable
from retrieval_store_files.readers.packed import OLE, PackedFile, xml_root
from retrieval_store_files.readers.tables import markdown_table

INSTALL = "pip install retrieval-store-files"

_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_CHART = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_NEW_CHART = "{http://schemas.microsoft.com/office/drawing/2014/chartex}"
_MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
RELATED = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"  # a repetition
EQUATION, CHART = f"{_MATH}oMath", f"{_CHART}chart"
DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}relIds"
TABLE = f"{_DRAWING}tbl"
_DEEPEST = 100  # levels of an equation


def missing(what: str, package: str, error: ImportError) -> MissingDependencyError:
    """The error that a reader raises if its library isn't installed. what: the kind of file;
    package: the library."""
    return MissingDependencyError(f"{what} needs {package}: {INSTALL} ({error})")


def open_office(data: bytes) -> PackedFile:
    """Open an Office document. An encrypted document is decrypted. A document in the strict form of
    the standard is converted to the usual (transitional) form."""
    packed = PackedFile(_decrypt(data) if data.startswith(OLE) else data, "a document of Office")
    relations = "_rels/.rels"
    if relations in packed and _STRICT in packed.read(relations):
        packed = _rewritten(packed, lambda name: name, _in_usual_form)
    main = [name for name in packed.raw_names() if name.count("/") < _DEEP]
    return _with_one_spelling(packed) if _has_other_names(packed, main) else packed


def open_by(packed: PackedFile, library: Callable[[Any], Any]) -> tuple[PackedFile, Any]:
    """Open a document with a library. Returns the document as the library read it, and the
    library's result. If a reference spells a part's name differently than the zip, the library may
    not find the part. In that case the document is rewritten with one spelling, and opened
    again."""
    try:
        return packed, library(packed.stream)
    except KeyError:
        if not _has_other_names(packed, packed.raw_names()):
            raise
        packed = _with_one_spelling(packed)
        return packed, library(packed.stream)


_STRICT = b"http://purl.oclc.org/ooxml/"
_STRICT_NAME = re.compile(rb"http://purl\.oclc\.org/ooxml/(\w+)/(\w+)")
_USUAL_NAME = rb"http://schemas.openxmlformats.org/\1/2006/\2"


def _rewritten(
    packed: PackedFile, name_of: Callable[[str], str], content_of: Callable[[str, bytes], bytes]
) -> PackedFile:
    """A copy of a document with other names and contents. `name_of` returns the new name of a part,
    and `content_of` returns the new content of the part."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as written:
        for name in packed.names():
            written.writestr(name_of(name), content_of(name, packed.read(name)))
    return PackedFile(out.getvalue(), "a document of Office")


def _in_usual_form(name: str, content: bytes) -> bytes:
    """Convert a part from the strict to the usual (transitional) form of the standard. The
    libraries don't know the strict form, which differs only in names."""
    is_xml = name.lower().endswith((".xml", ".rels"))
    return _STRICT_NAME.sub(_USUAL_NAME, content) if is_xml else content


_DEEP = 3  # folders with relations besides the main part's; there are many slides
_TYPES = "[Content_Types].xml"
_NAMED_PART = re.compile(rb"""(\b(?:Target|PartName)\s*=\s*)(["'])([^"']*)["']""")
_EXTERNAL = re.compile(rb"TargetMode\s*=\s*[\"']External")
_ELEMENT = re.compile(rb"<[^<>]*>")


def _has_other_names(packed: PackedFile, which: Collection[str]) -> bool:
    """Whether a reference spells the name of a part differently than the zip, for example in upper
    case. By the standard, upper and lower case are equal, but the libraries compare names exactly.
    which: the parts whose references are checked."""
    names = packed.raw_names()
    if any("\\" in name or name.startswith("/") for name in names):
        return True
    if _TYPES not in names:
        return _TYPES in packed
    for name in filter(_names_parts, which):
        folder = posixpath.dirname(posixpath.dirname(name))
        for reference in _references(packed.read(name)):
            if reference[1:] in names or f"{folder}/{reference}" in names:  # as most are
                continue
            path = posixpath.normpath(posixpath.join("/", folder, reference)).lstrip("/")
            if path not in names and path in packed:
                return True
    return False


def _with_one_spelling(packed: PackedFile) -> PackedFile:
    return _rewritten(packed, _plain_name, _with_plain_names)


def _names_parts(name: str) -> bool:
    return name == _TYPES or name.lower().endswith(".rels")


def _references(content: bytes) -> Iterator[str]:
    """The names of parts to which a part refers. content: a part that has relations, or the list of
    content types."""
    if _EXTERNAL.search(content):
        content = _ELEMENT.sub(lambda one: b"" if _EXTERNAL.search(one[0]) else one[0], content)
    for match in _NAMED_PART.finditer(content):
        yield match[3].decode("utf-8", "replace")


def _plain_name(name: str) -> str:
    """The name of a part in lower case. Names that the libraries expect keep their spelling."""
    plain = name.replace("\\", "/").lower()
    return _TYPES if plain == _TYPES.lower() else plain.replace("docprops/", "docProps/")


def _with_plain_names(name: str, content: bytes) -> bytes:
    """The content of a part, in which the names of other parts are spelled as `_plain_name` spells
    them. Only parts with relations, and the list of content types, are changed. name: the name of
    the part."""
    if not _names_parts(_plain_name(name)):
        return content

    def plain(match: re.Match[bytes]) -> bytes:
        part = _plain_name(match[3].decode("utf-8", "replace"))
        return match[1] + match[2] + part.encode() + match[2]

    def element_of(match: re.Match[bytes]) -> bytes:
        return match[0] if _EXTERNAL.search(match[0]) else _NAMED_PART.sub(plain, match[0])

    return _ELEMENT.sub(element_of, content)


def _decrypt(data: bytes) -> bytes:
    """Decrypt a document, which is stored inside a file of the format before 2007."""
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
            f'pip install "retrieval-store-files[passwords]" ({error})'
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


@contextmanager
def reading(kind: str, packed: PackedFile, part: str | None = None) -> Iterator[None]:
    """A context manager in which the errors of a library name the damaged part. The damaged part is
    the first part that can't be unpacked or isn't XML. If all parts are XML, the error names
    `part`. kind: the kind of document, such as "a spreadsheet"; part: the part that is being
    read."""
    try:
        yield
    except (MemoryError, RecursionError, DataLoaderError, MissingDependencyError):
        raise
    except Exception as error:  # any error of the library
        missing_part = _MISSING.search(str(error)) if isinstance(error, KeyError) else None
        if missing_part:
            raise DataLoaderError(
                f"it isn't {kind} that can be read: it has no {missing_part[1]!r} in it; if Office "
                "or LibreOffice opens it, save it anew"
            ) from error
        _check_parts(packed)
        named = repr(part) if part else f"what relates its parts, such as {_TYPES!r},"
        raise unreadable(kind, error, "Office or LibreOffice", named) from error


_MISSING = re.compile(r"no item named ['\"]+([^'\"]+)")


def _check_parts(packed: PackedFile) -> None:
    """Raise DataLoaderError for the first part that can't be unpacked or isn't XML."""
    for name in packed.names():
        if name.lower().endswith((".xml", ".rels")):
            packed.xml(name)


def parse_xml(data: bytes) -> Any:
    """Parse a part that is XML, and return its root."""
    return xml_root(data, "a part")


def office_metadata(packed: PackedFile, core: Any) -> dict[str, Any]:
    """The metadata of a document, as keyword arguments for FileText; empty if the document has no
    metadata. core: the metadata that the library returns. They are invented by the library if the
    document has no metadata."""
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
    """The id, kind and path of each part to which the part at `path` refers."""
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
    """Yield the elements at any depth in `parent` that have one of the tags. Elements inside a
    yielded element, or inside an element with a tag in `no_text`, are skipped. A loop is used
    instead of recursion, since a file may nest elements deeply."""
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
    """The paragraphs of a shape, a chart or a diagram, one per line."""
    lines = []
    for paragraph in elements(element, (_PARAGRAPH,), _NO_TEXT):
        pieces = []
        for part in elements(paragraph, (f"{_DRAWING}t", EQUATION, *_BREAKS), _NO_TEXT):
            is_equation = part.tag == EQUATION
            pieces.append(equation(part) if is_equation else _BREAKS.get(part.tag, part.text or ""))
        lines.append("".join(pieces).strip())
    return "\n".join(filter(None, lines))


def drawing_table(table: Any) -> list[list[str]]:
    """The rows of a table on a slide. A merged cell is repeated in each position that it covers."""
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
    """The titles of a chart, and a Markdown table of its values."""
    names: list[str] = [""]
    rows: dict[str, list[str]] = {}
    for number, series in enumerate(root.iter(f"{_CHART}ser"), 1):
        name = series.findtext(f"{_CHART}tx/{_CHART}v", "")  # if no cell has it
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
    """A dict from each position in a series of a chart to the value at this position. name: the
    kind of values, such as categories. Categories can have several levels. The innermost level
    comes first in the value. A category of an outer level applies until the next category of that
    level."""
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
    """A sort key for texts that are numbers, such as positions."""
    return len(place), place


def equation(element: Any, depth: int = 0) -> str:
    """An equation as text in one line, such as "x = (a+b)/2"."""
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
