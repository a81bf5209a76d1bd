"""Opens files that are zips of XML, and limits their unpacked size."""

import io
import re
import zipfile
from html.entities import html5
from typing import Any

from retrieval_store.errors import DataLoaderError, MissingDependencyError

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # the first bytes of Office files before 2007
MAX_UNPACKED, MAX_ENTRIES = 200_000_000, 10_000  # bytes and files in a zip
_NAMED = re.compile(rb"&([A-Za-z][A-Za-z0-9]*);")
_OF_XML = frozenset([b"amp", b"lt", b"gt", b"quot", b"apos"])
_SPACE = re.compile(r"\s+")


class PackedFile:
    """A zip in memory. kind: the expected format, for error messages, such as "an EPUB"; stream:
    the bytes of the zip, for a library. Raises DataLoaderError if the zip is invalid, has too many
    files, or declares a too large unpacked size."""

    def __init__(self, data: bytes, kind: str) -> None:
        self.stream = io.BytesIO(data)
        try:
            self._zip = zipfile.ZipFile(self.stream)
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            # The message of Python's decoders, as for a name in the list, doesn't help users.
            own = "" if isinstance(error, UnicodeError) else str(error).rstrip(".")
            raise DataLoaderError(
                f"it isn't {kind}: {own or 'its list of files is damaged'}; `zip -FF` may repair it"
            ) from error
        self._entries = {_with_slashes(entry.filename): entry for entry in self._zip.infolist()}
        # Names of parts are case-insensitive; of several an exact match wins.
        self._folded = {name.lower(): entry for name, entry in self._entries.items()}
        unpacked = sum(entry.file_size for entry in self._entries.values())
        if len(self._entries) > MAX_ENTRIES or unpacked > MAX_UNPACKED:
            raise DataLoaderError(
                f"it has {len(self._entries):,} files of {unpacked // 1_000_000:,} MB in it, more "
                f"than {MAX_ENTRIES:,} of {MAX_UNPACKED // 1_000_000:,} MB"
            )

    def __contains__(self, name: str) -> bool:
        return self._entry(name) is not None

    def _entry(self, name: str) -> zipfile.ZipInfo | None:
        name = _with_slashes(name)
        return self._entries.get(name) or self._folded.get(name.lower())

    def raw_names(self) -> frozenset[str]:
        """The names of the files, as they are written in the zip."""
        return frozenset(entry.filename for entry in self._entries.values())

    def names(self) -> list[str]:
        """The names of the files in the zip, in order. Backslashes are replaced by slashes."""
        return [*self._entries]

    def read(self, name: str) -> bytes:
        """The bytes of a file in the zip. Raises DataLoaderError if the file doesn't exist or is
        damaged."""
        entry = self._entry(name)
        if entry is None:
            raise DataLoaderError(f"it has no {name!r} in it")
        if entry.flag_bits & 1:
            raise DataLoaderError("it is encrypted, and requires a password")
        try:
            with self._zip.open(entry) as file:
                # A zip may declare less than its unpacked size; zipfile stops there, with an error.
                return file.read(MAX_UNPACKED)
        except Exception as error:  # of zlib, bz2 and lzma, which have their own classes, too
            why = (
                "it is too large"
                if isinstance(error, MemoryError)
                else str(error)[:200] or "it is cut"
            )
            raise DataLoaderError(
                f"{name!r} in it can't be unpacked: {why}; `zip -FF` may repair the file"
            ) from error

    def xml(self, name: str) -> Any:
        """The root element of an XML file in the zip."""
        return xml_root(self.read(name), name)


def _with_slashes(name: str) -> str:
    """The name of a file in a zip with slashes, since some Windows programs write backslashes."""
    return name.replace("\\", "/").lstrip("/")


def xml_root(data: bytes, name: str) -> Any:
    """Parse XML, and return its root element. Entities that the XML declares itself are replaced by
    their values; entities in other files are not. Raises DataLoaderError for invalid XML, and if
    entities would expand to many times the size of the file. name: the name of the XML for
    messages."""
    try:
        from lxml import etree
    except ImportError as error:
        raise MissingDependencyError(
            f"XML needs lxml: pip install retrieval-store-files ({error})"
        ) from error
    parser = etree.XMLParser(
        resolve_entities="internal",  # whose size the library limits
        no_network=True,
        huge_tree=False,  # 256 levels, and 10 MB for a text
        remove_comments=True,
        remove_pis=True,
    )
    try:
        return etree.fromstring(_without_named_entities(data), parser)
    except etree.XMLSyntaxError as error:
        raise DataLoaderError(f"{name!r} isn't XML that can be read: {error.msg}") from error


def _without_named_entities(data: bytes) -> bytes:
    """XML in which entities of HTML, such as "&nbsp;", are replaced by characters, since XML
    doesn't define them."""

    def numbered(match: re.Match[bytes]) -> bytes:
        text = html5.get(f"{match[1].decode()};")
        if text is None or match[1] in _OF_XML:
            return match[0]
        return "".join(f"&#{ord(character)};" for character in text).encode()

    return _NAMED.sub(numbered, data)


def local_name(element: Any) -> str:
    """The name of an element without its namespace; "" if the node is an entity."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def all_text(element: Any) -> str:
    """The text in an element, in one line."""
    return _SPACE.sub(" ", "".join(element.itertext())).strip()
