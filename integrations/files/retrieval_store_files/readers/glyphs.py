"""Maps character codes of a PDF that aren't mapped to any letters. The letters are found by the
names of the glyphs that the codes draw. macOS maps the ligatures of some fonts to zero, so that
"definition" would lose two letters. Fonts of drawings (Type 3) have no map at all. pypdf changes
the file in memory, and then its pages are read again.
"""

import io
import re
from collections.abc import Iterator
from typing import Any

from retrieval_store.errors import MissingDependencyError

_MOST_FONTS = 10_000
_DEEPEST = 10  # forms within forms
_SINGLE = re.compile(rb"beginbfchar(.*?)endbfchar", re.DOTALL)
_RANGES = re.compile(rb"beginbfrange(.*?)endbfrange", re.DOTALL)
_PAIR = re.compile(rb"<([^<>]*)>(\s*)<([^<>]*)>")
_RANGE = re.compile(rb"<([^<>]*)>\s*<([^<>]*)>\s*(?:<([^<>]*)>|\[([^\]]*)\])")
_SAYS_NOTHING = re.compile(rb"[0\s]*|\s*[fF]{3}[dD]\s*")  # zeros, or the replacement character
_CODE = re.compile(rb"<([^<>]*)>")
_UNI, _U = re.compile(r"uni((?:[0-9A-F]{4})+)"), re.compile(r"u([0-9A-F]{4,6})")


def with_letters_of_glyphs(data: bytes) -> bytes | None:
    """The PDF, in which the unmapped characters of its fonts are mapped to letters. The letters are
    those that the names of the glyphs mean. The file must not be encrypted. Composite fonts aren't
    changed. Returns None if no name of a glyph means letters."""
    try:
        from pypdf import PdfWriter
    except ImportError as error:
        raise MissingDependencyError(
            "PDF with characters that are mapped to nothing needs pypdf: "
            f"pip install retrieval-store-files ({error})"
        ) from error
    writer = PdfWriter(io.BytesIO(data), incremental=True)
    changed = False
    for font in _fonts(writer):
        changed |= _mend(writer, font)
    if not changed:
        return None
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def _fonts(writer: Any) -> Iterator[Any]:
    """Yield each font that is used by pages, or by form objects in pages. A font is yielded only
    once."""
    known: set[int] = set()
    for page in writer.pages:
        waiting = [(page.get("/Resources"), 0)]
        while waiting and len(known) < _MOST_FONTS:
            resources, depth = waiting.pop()
            resources = _resolved(resources) or {}
            for font in map(_resolved, (_resolved(resources.get("/Font")) or {}).values()):
                if font is not None and id(font) not in known:
                    known.add(id(font))
                    yield font
            for form in map(_resolved, (_resolved(resources.get("/XObject")) or {}).values()):
                if form is not None and id(form) not in known and depth < _DEEPEST:
                    known.add(id(form))
                    waiting.append((form.get("/Resources"), depth + 1))


def _resolved(value: Any) -> Any:
    return None if value is None else value.get_object()


def _mend(writer: Any, font: Any) -> bool:
    """Map the unmapped characters of a font to letters; returns whether the font was changed."""
    stream, encoding = (_resolved(font.get(key)) for key in ("/ToUnicode", "/Encoding"))
    if not hasattr(encoding, "get"):
        return False
    letters = {
        code: text
        for code, name in _differences(encoding)
        if 0 <= code < 256 and (text := letters_of(name)) is not None
    }
    if stream is None and font.get("/Subtype") == "/Type3" and letters:
        _add_map(writer, font, letters)
        return True
    if not hasattr(stream, "get_data"):
        return False
    known = stream.get_data()
    mended = mapped_to_letters(known, letters)
    if mended == known:
        return False
    stream.set_data(mended)
    return True


def _add_map(writer: Any, font: Any, letters: dict[int, str]) -> None:
    from pypdf.generic import DecodedStreamObject, NameObject

    pairs = "\n".join(f"<{code:02X}> <{_in_digits(text)}>" for code, text in letters.items())
    stream = DecodedStreamObject()
    stream.set_data(f"{_MAP_BEGINS}\n{len(letters)} beginbfchar\n{pairs}\n{_MAP_ENDS}".encode())
    font[NameObject("/ToUnicode")] = writer._add_object(stream)


_MAP_BEGINS = (
    "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /Letters def "
    "/CMapType 2 def 1 begincodespacerange <00> <FF> endcodespacerange"
)
_MAP_ENDS = "endbfchar endcmap CMapName currentdict /CMap defineresource pop end end"


def _in_digits(text: str) -> str:
    return text.encode("utf-16-be").hex().upper()


def _differences(encoding: Any) -> Iterator[tuple[int, str]]:
    """Yield the character codes to which an encoding assigns glyphs, each with the name of its
    glyph."""
    code = 0
    for item in map(_resolved, _resolved(encoding.get("/Differences")) or ()):
        if isinstance(item, int):
            code = item
        else:
            yield code, str(item).removeprefix("/")
            code += 1


def letters_of(name: str) -> str | None:
    """The letters that the name of a glyph means according to Adobe's glyph list; names are for
    example "ffi", "f_f_i", "uniFB03" or "one.oldstyle". None for a name that means no letters."""
    from pypdf._codecs.adobe_glyphs import adobe_glyphs

    letters = ""
    for part in name.partition(".")[0].split("_"):
        known = adobe_glyphs.get(f"/{part}")
        if match := _UNI.fullmatch(part):
            known = bytes.fromhex(match[1]).decode("utf-16-be", "replace")
        elif (match := _U.fullmatch(part)) and int(match[1], 16) < 0x110000:
            known = chr(int(match[1], 16))
        if not known or not known.isprintable() or "\ufffd" in known:
            return None
        letters += known
    return letters or None


def mapped_to_letters(cmap: bytes, letters: dict[int, str]) -> bytes:
    """A copy of a character map, in which codes that were mapped to zero are mapped to letters.
    letters: a dict from a character code to its letters."""

    def of_code(code: int, target: bytes) -> bytes:
        if not _SAYS_NOTHING.fullmatch(target) or code not in letters:
            return target
        return _in_digits(letters[code]).encode()

    def of_pair(match: re.Match[bytes]) -> bytes:
        return b"<%s>%s<%s>" % (match[1], match[2], of_code(_number(match[1]), match[3]))

    def of_range(match: re.Match[bytes]) -> bytes:
        first, last = _number(match[1]), _number(match[2])
        if match[3] is None:
            targets = _CODE.findall(match[4])
        elif _SAYS_NOTHING.fullmatch(match[3]) and 0 <= first <= last < 256:
            targets = [match[3]] * (last - first + 1)  # consecutive from zero, which has no meaning
        else:
            return match[0]
        shown = b" ".join(b"<%s>" % of_code(first + i, each) for i, each in enumerate(targets))
        return b"<%s> <%s> [%s]" % (match[1], match[2], shown)

    cmap = _SINGLE.sub(lambda part: _PAIR.sub(of_pair, part[0]), cmap)
    return _RANGES.sub(lambda part: _RANGE.sub(of_range, part[0]), cmap)


def _number(code: bytes) -> int:
    digits = b"".join(code.split())
    return int(digits, 16) if re.fullmatch(rb"[0-9a-fA-F]{1,8}", digits) else -1
