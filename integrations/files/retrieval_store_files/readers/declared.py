"""Finds the encoding that a file declares. As in browsers and mail programs, the encoding standard
(encoding.spec.whatwg.org) defines the labels of encodings, and where HTML and XML have a label.
"""

import codecs
import re
from collections.abc import Iterator

from retrieval_store.errors import MissingDependencyError

# Encodings that are decoded by another codec of Python: by one of another name, or by a larger one,
# since texts that declare the encoding often have more characters.
_CODECS = {
    "gbk": "gb18030", "cp936": "gb18030", "big5": "big5hkscs", "cp950": "big5hkscs",
    "utf-8-sig": "utf-8", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874",
    "tis-620": "cp874", "shift_jis": "cp932", "euc_kr": "cp949",
}  # fmt: skip
# Python's codecs that aren't meant for texts of files.
_NOT_OF_TEXTS = frozenset([
    "idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem",
])  # fmt: skip
_IN_XML = re.compile(rb"<\?xml[^>]*?\bencoding\s*=\s*[\"']([\w.:-]+)[\"']")
_WIDE = ("utf-16", "utf-32", "ucs", "iso-10646", "unicode", "csunicode")
_PRESCANNED = 8_192  # bytes of a page: more than the standard's 1,024, as licences may come first


def codec_of(label: str) -> str | None:
    """The name of Python's codec for an encoding label such as "x-sjis". None for an unknown label,
    and for a label such as "x-user-defined", which doesn't define which letters the bytes mean."""
    try:
        from webencodings import lookup
    except ImportError as error:
        raise MissingDependencyError(
            f"encodings need webencodings: pip install retrieval-store-files ({error})"
        ) from error
    encoding = lookup(label) if label.isascii() else None
    if encoding is not None and encoding.name == "x-user-defined":
        return None
    if encoding is None or encoding.name == "replacement":  # which browsers refuse to read
        name = _codec_of_python(label)
    else:
        name = str(encoding.codec_info.name)
    return name and _CODECS.get(name, name)


def _codec_of_python(label: str) -> str | None:
    """The name of Python's codec for a label that the encoding standard doesn't have, such as
    "cp437" or "utf-7". None if Python doesn't know the label either."""
    try:
        codec = codecs.lookup(label)
    except (LookupError, ValueError):
        return None
    is_of_texts = getattr(codec, "_is_text_encoding", True)
    return codec.name if is_of_texts and codec.name not in _NOT_OF_TEXTS else None


def label_in_xml(data: bytes) -> str | None:
    """The encoding label in an XML declaration; None if there is no label. The declaration is
    searched as ASCII, so it isn't found in a text in UTF-16 or UTF-32. A label of UTF-16 or UTF-32
    must therefore be wrong, and is ignored."""
    match = _IN_XML.match(data.removeprefix(codecs.BOM_UTF8))
    label = match[1].decode() if match else None
    return None if label is None or label.lower().startswith(_WIDE) else label


def label_in_page(data: bytes) -> str | None:
    """The encoding label at the beginning of an HTML page, as browsers find it; None if there is no
    label. It is in a <meta> tag outside of comments and other tags, or in the XML declaration of
    XHTML."""
    for label in _labels_of_metas(data[:_PRESCANNED]):
        codec = codec_of(label)
        if label.strip().lower() == "x-user-defined":
            return "windows-1252"
        if codec is not None:  # a readable <meta> proves that the page isn't in UTF-16
            return "utf-8" if codec.startswith(("utf-16", "utf-32")) else label
    return label_in_xml(data)


# The steps of "prescan a byte stream to determine its encoding" in the standard of HTML.
_COMMENT = re.compile(rb"<!--(?:>|->|.*?-->)", re.DOTALL)
_META = re.compile(rb"<meta[\s/]", re.IGNORECASE)
_TAG = re.compile(rb"</?[a-zA-Z][^\s>]*")
_OTHER = re.compile(rb"<[!/?][^>]*>?")
# An attribute with its name, and its value between quotes or without.
_ATTRIBUTE = re.compile(
    rb"[\s/]*([^\s/>=][^\s/>=]*|=[^\s/>=]*)(?:\s*=\s*(?:\"([^\"]*)\"?|'([^']*)'?|([^\s>]*)))?"
)
_CHARSET = re.compile(r"charset\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s;\"']+))", re.IGNORECASE)


def _labels_of_metas(data: bytes) -> Iterator[str]:
    """The encoding labels in the <meta> tags of a page, in order."""
    at = 0
    while (at := data.find(b"<", at)) >= 0:
        comment, tag = _COMMENT.match(data, at), _TAG.match(data, at)
        if data.startswith(b"<!--", at):
            at = comment.end() if comment else len(data)
        elif _META.match(data, at):
            attributes, at = _attributes(data, at + len(b"<meta"))
            yield from _labels_of(attributes)
        elif tag:
            _, at = _attributes(data, tag.end())
        else:
            other = _OTHER.match(data, at)
            at = other.end() if other else at + 1


def _attributes(data: bytes, at: int) -> tuple[dict[str, str], int]:
    """The attributes of a tag, and the position at which the tag ends. If the name of an attribute
    occurs twice, the first value counts."""
    attributes: dict[str, str] = {}
    while match := _ATTRIBUTE.match(data, at):
        name, *values = ((part or b"").decode("latin-1") for part in match.groups())
        attributes.setdefault(name.lower(), next(filter(None, values), ""))
        at = match.end()
    return attributes, at


def _labels_of(attributes: dict[str, str]) -> list[str]:
    """A list with the encoding label in a <meta> tag; empty if there is none. The label is the
    value of `charset`, or is part of `content`. `content` is used only if `http-equiv` is
    Content-Type, or if no attribute names the purpose of the tag."""
    if attributes.get("charset"):
        return [attributes["charset"]]
    is_header = attributes.get("http-equiv", "").lower() == "content-type"
    match = _CHARSET.search(attributes.get("content", ""))
    if match is None or not (is_header or _WHAT_IT_IS.isdisjoint(attributes)):
        return []
    return [*filter(None, match.groups())]


_WHAT_IT_IS = frozenset(["http-equiv", "name", "property", "itemprop"])
