"""Reads the files of a folder, and makes records from their contents.

`RecordReader` makes the records of a file, one per passage. `read_folder` yields the passages of
all files in a folder.
"""

import io
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b, sha256
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import numpy as np

from retrieval_store import check_records
from retrieval_store.errors import (
    DataLoaderError,
    InvalidArgumentError,
    InvalidTypeError,
)
from retrieval_store.loaders.sources import Sources
from retrieval_store_files.add import Record
from retrieval_store_files.find import (
    FolderRules,
    find_files,
    is_image,
    rules_of,
)
from retrieval_store_files.functions import function_of
from retrieval_store_files.readers import FileText, Read, Section
from retrieval_store_files.readers.child import ReaderProcess
from retrieval_store_files.readers.encodings import decode_text
from retrieval_store_files.readers.files import (
    PLAIN,
    Ocr,
    check_passwords,
    reader_name,
    refuse_pictures,
    text_of_bytes,
)
from retrieval_store_files.readers.passages import Passage, cutter_of
from retrieval_store_files.reports import Unreadable
from retrieval_store_files.values import is_blank, path_of, quote, whole_number

Chunk = bool | Callable[[str], list[str]] | None
Describe = Mapping[str, Any] | Callable[[str, Passage], Mapping[str, Any] | None] | None
# `Hashes` has for each path the stamp of the file, and the hash of its bytes.
Stamp: TypeAlias = tuple[int, ...]
Hashes: TypeAlias = dict[str, tuple[Stamp, str]]
NO_TEXT = "it has no text in it"


def check_functions(**arguments: Any) -> None:
    """Raise InvalidTypeError for an argument that is neither a function nor None."""
    for name, value in arguments.items():
        if value is not None and not callable(value):
            raise InvalidTypeError(f"{name} is {quote(value)}, expected a function")


SOURCE = "source"
# The metadata of a record: its identity, and its position in the file.
KEYS = (
    *(SOURCE, "path", "hash", "text_hash", "place", "places", "recipe"),
    *("headings", "page", "start", "end", "title", "author", "date", "language"),
)
RECIPE = 6  # to be raised when other records are made from the same files
PAGE_MARK = "#page="  # in the id and the uri of a page that is a picture, as browsers read it
_MAX_IMAGE_BYTES = 1 << 30
PAGE_PIXELS = 1_000  # of the longer side of a page that is drawn
_TIMEOUT = 600.0  # seconds for reading the bytes of a file
_REMEMBERED = 32_000_000  # characters of cached files, which are read only once in a sync


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A record that is made from a file. metadata: the metadata that this package writes;
    description: the further metadata that the user passes."""

    id: str
    metadata: Mapping[str, Any]
    uri: str | None
    document: str | None = None
    description: Mapping[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """A text that identifies the content from which the record's vector is computed. Records
        with equal content have equal vectors."""
        if self.uri is None:
            return f"text {self.metadata['text_hash']}"
        page = self.metadata.get("page")
        return f"file {self.metadata['hash']}" + ("" if page is None else f" page {page}")

    @property
    def is_page(self) -> bool:
        """Whether this record is made from a page of a PDF that is a picture."""
        return self.uri is not None and "page" in self.metadata

    def matches(self, existing: "FileRecord | None") -> bool:
        """Whether an existing record of the collection equals this record. Documents aren't
        compared, since the metadata have a hash of the text. Metadata that users added later aren't
        compared either."""
        if existing is None or self.uri != existing.uri:
            return False
        metadata = existing.metadata
        return {key: metadata[key] for key in KEYS if key in metadata} == self.metadata and all(
            key in metadata and metadata[key] == value for key, value in self.description.items()
        )


@dataclass(frozen=True, slots=True)
class HowRead:
    """The options by which records are made from files. name: the name of the folder in records;
    prefix: the beginning of all ids; captions: the caption file of each image; most: the largest
    size of a file in bytes; links: whether links are followed. function: the embedding function;
    readers: the names of the available readers; passwords: the passwords to try on encrypted files;
    ocr: see `read_file`. draws: whether each page that is a picture becomes a record, whose vector
    is computed from the picture. The other fields are arguments of `sync_folder`."""

    name: str
    prefix: str = ""
    captions: Mapping[str, str] = field(default_factory=dict)
    most: int = 50_000_000
    links: bool = False
    reader: Any = None
    chunk: Chunk = True
    overlap: int = 0
    describe: Describe = None
    function: Any = None
    readers: frozenset[str] = frozenset()
    passwords: Sequence[str] = ()
    ocr: Ocr | None = None
    draws: bool = False


def check_how(how: HowRead) -> HowRead:
    """Check the options, and return them with the passwords as a tuple. Raises an error for an
    invalid option."""
    check_functions(reader=how.reader, ocr=how.ocr)
    if how.chunk is not None and type(how.chunk) is not bool and not callable(how.chunk):
        raise InvalidTypeError(f"chunk is {quote(how.chunk)}, expected a bool, None or a function")
    if how.overlap != 0 and how.chunk is not True:
        raise InvalidArgumentError(
            f"overlap is {quote(how.overlap)}, but passages share words only with chunk=True"
        )
    if not callable(how.describe):
        check_description(how.describe)
    return replace(how, passwords=check_passwords(how.passwords))


def read_folder(
    path: str | os.PathLike[str],
    *,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    gitignore: bool = False,
    links: bool = False,
    reader: Callable[[bytes, str], Read | None] | None = None,
    chunk: Chunk = True,
    overlap: int = 0,
    metadata: Describe = None,
    function: Any = None,
    max_bytes: int = 50_000_000,
    passwords: Sequence[str] = (),
    ocr: Ocr | None = None,
    on_unreadable: Callable[[Unreadable], object] | None = None,
) -> Iterator[Record]:
    """Yield the passages of the files in a folder, as `sync_folder` makes them. No collection is
    needed. Each passage is a dict with "id", "document" and "metadata".

    Args:
        path: the folder.
        include: as in `sync_folder`.
        exclude: as in `sync_folder`.
        gitignore: as in `sync_folder`.
        links: as in `sync_folder`.
        reader: as in `sync_folder`.
        chunk: as in `sync_folder`.
        overlap: as in `sync_folder`.
        metadata: as in `sync_folder`.
        function: an embedding function, or the name of a registered function. Passages are made
            so short that this function doesn't truncate them. Without a function, passages have up
            to 200 words, and a model may truncate them.
        max_bytes: the largest size of a file in bytes.
        passwords: as in `sync_folder`.
        ocr: as in `sync_folder`.
        on_unreadable: a function that is called for each file that can't be read, is read only in
            part, or has no text. By default such files are logged as warnings.
    """
    folder = Path(os.path.normpath(path_of(path, "path")))
    if not folder.is_dir():
        raise InvalidArgumentError(f"path is {str(folder)!r}, expected a folder")
    most = whole_number(max_bytes, "max_bytes", 1)
    rules = rules_of("texts", False, include, exclude, gitignore, links, reader)
    function = function_of(function, "function")
    how = HowRead(
        str(folder), most=most, links=links, reader=reader, chunk=chunk, overlap=overlap,
        describe=metadata, function=function, readers=rules.readers, passwords=passwords, ocr=ocr,
    )  # fmt: skip
    check_functions(on_unreadable=on_unreadable)
    cutter_of(function, overlap=overlap)
    return _read(folder, rules, check_how(how), on_unreadable or _warn)


def _warn(file: Unreadable) -> None:
    logging.getLogger("retrieval_store").warning("%s: %s", file.path, file.why)


def _read(
    folder: Path, rules: FolderRules, how: HowRead, on_unreadable: Callable[[Unreadable], object]
) -> Iterator[Record]:
    files = find_files(folder, rules)
    for file in files.unreadable:
        on_unreadable(file)
    with ReaderProcess() as process:
        records = RecordReader(folder, how, process, remembers=False)
        for path in files.ids:
            try:
                made = records.records(path)
            except DataLoaderError as error:
                on_unreadable(Unreadable(folder / path, str(error)))
                continue
            for gap in records.gaps:
                on_unreadable(gap)
            if not made:
                on_unreadable(Unreadable(folder / path, NO_TEXT))
            records.gaps.clear()
            for record in made:
                metadata = {**record.description, **record.metadata}
                yield {"id": record.id, "document": record.document, "metadata": metadata}


class RecordReader:
    """Reads files of a folder, and makes their records. `readers` must be running while this object
    is used."""

    def __init__(
        self,
        folder: Path,
        how: HowRead,
        readers: Any,
        hashes: "Hashes | None" = None,
        remembers: bool = True,
    ) -> None:
        """readers: the process that reads files. hashes: the hashes of files that this process has
        read before. remembers: whether each file is read twice. If so, records are cached for the
        second reading, up to a size limit."""
        self.folder, self.name, self.how = folder, how.name, how
        self._readers, self._hashes = readers, hashes
        self._sources = {
            most: Sources((), None if how.links else folder, most, _TIMEOUT)
            for most in (_MAX_IMAGE_BYTES, how.most)
        }
        self._remembered: dict[str, list[FileRecord]] = {}
        self._room = _REMEMBERED if remembers else 0
        self.gaps: list[Unreadable] = []
        is_own = callable(how.chunk) or how.reader is not None
        cutter = cutter_of(how.function, overlap=how.overlap)
        self._cutter = cutter if how.chunk is True else None
        settings = repr((RECIPE, how.chunk and cutter.sizes)).encode()
        self._recipe = None if is_own else blake2b(settings, digest_size=6).hexdigest()

    def records(self, path: str) -> list[FileRecord]:
        """The records of a file; an empty list if the file has no text. Raises DataLoaderError if
        the file can't be read. The hash in the records is computed from the same bytes as the text.

        An image is loaded only later. If the image has changed by then, its record has an outdated
        hash, and the next reading finds the change.
        """
        return self.read(path, lambda made: None) or []

    def read(
        self, path: str, is_there: Callable[[Mapping[str, Any]], bool | None]
    ) -> list[FileRecord] | None:
        """The records of a file, as `records` returns them. is_there: gets the metadata that
        identify the file, and returns True if all records of the file exist already. In that case
        the file isn't parsed, and the result is None."""
        digest, data = self._hash_file(path)
        made = {SOURCE: self.name, "path": path, "hash": digest}
        if is_image(path):
            return [self._image(path, made)]
        if self._recipe:
            made["recipe"] = self._recipe_of(reader_name(path, self.how.readers))
        key = f"{path} {made['hash']}"
        if key in self._remembered:
            return self._remembered.pop(key)
        if self._recipe and not callable(self.how.describe) and is_there(made):
            return None
        if data is None:
            data = self._bytes(path)
            made["hash"] = sha256(data).hexdigest()
        records = self._texts(path, data, made)
        size = sum(len(record.document or "") for record in records)
        if size < self._room:
            self._room -= size
            self._remembered[key] = records
        return records

    def _texts(self, path: str, data: bytes, made: dict[str, Any]) -> list[FileRecord]:
        file = self._file_text(path, data)
        self.gaps += [Unreadable(self.folder / path, gap) for gap in file.gaps]
        passages = self._passages(path, file, data)
        properties = {
            key: value
            for key in ("title", "author", "date", "language")
            if (value := getattr(file, key)) is not None
        }
        start, made = self.how.prefix + path, {**made, **properties}
        pages = [self._page(start, made, page, path) for page, _ in file.pictures]
        pages = pages if self.how.draws else []
        if self.how.chunk in (None, False):
            return [self._record(start, made, passage, path) for passage in passages] + pages
        made["places"] = len(passages)
        return [
            self._record(f"{start}#{place}", {**made, "place": place}, passage, path)
            for place, passage in enumerate(passages)
        ] + pages

    def _page(self, start: str, made: Mapping[str, Any], page: int, path: str) -> FileRecord:
        """The record of a page that is a picture. start: the beginning of the record's id, before
        the page number; made: the metadata that identify the file."""
        uri = f"{self.folder / path}{PAGE_MARK}{page}"
        description = self._description(path, Passage("", page=page))
        return FileRecord(
            f"{start}{PAGE_MARK}{page}", {**made, "page": page}, uri, None, description
        )

    def draw(self, record: FileRecord) -> Any:
        """Draw the picture page for which `record` was made. Returns an array of uint8 with the
        shape (height, width, 3)."""
        from PIL import Image

        path, page = record.metadata["path"], record.metadata["page"]
        drawn = self._readers.draw(self._bytes(path), page, PAGE_PIXELS, self.how.passwords)
        return np.asarray(Image.open(io.BytesIO(drawn)).convert("RGB"))

    def _recipe_of(self, kind: str | None) -> str:
        """A text that identifies how records are made from files of this kind. A file isn't read
        again while its bytes and this text are unchanged."""
        ways = ("pages" if self.how.draws else "", "ocr" if self.how.ocr else "")
        return " ".join(filter(None, [kind, self._recipe, *(ways if kind == "pdf" else ())]))

    def _file_text(self, path: str, data: bytes) -> FileText:
        how = self.how
        file = text_of_bytes(
            data, path, self._readers, how.reader, how.readers, how.passwords, how.ocr
        )
        if not how.draws:
            refuse_pictures(file)
        return file

    def _passages(self, path: str, file: FileText, data: bytes) -> list[Passage]:
        if self._cutter is not None:
            return self._cutter.passages(file, PurePosixPath(path).stem)
        if reader_name(path, self.how.readers) in PLAIN and self.how.reader is None:
            file = FileText([Section(decode_text(data))])
        if callable(self.how.chunk):
            return [
                Passage(piece, section.headings, section.page, section.start, section.end)
                for section in file.sections
                if not is_blank(section.text)
                for piece in check_pieces(self.how.chunk(section.text))
            ]
        whole = "\n\n".join(filter(None, map(_with_headings, file.sections)))
        return [] if is_blank(whole) else [Passage(whole)]

    def _record(
        self, point_id: str, made: Mapping[str, Any], passage: Passage, path: str
    ) -> FileRecord:
        location = {"headings": [*passage.headings] or None, "page": passage.page}
        location |= {"start": passage.start, "end": passage.end}
        metadata = {**made, **{key: value for key, value in location.items() if value is not None}}
        record = FileRecord(point_id, metadata, None, None, self._description(path, passage))
        return _with_text(record, passage.text)

    def _description(self, path: str, passage: Passage) -> Mapping[str, Any]:
        describe = self.how.describe
        description = describe(path, passage) if callable(describe) else describe
        return check_description(description)

    def _image(self, path: str, made: Mapping[str, Any]) -> FileRecord:
        caption = self.how.captions.get(path)
        text = "" if caption is None else self._caption(caption)
        description = self._description(path, Passage(text))
        record = FileRecord(
            self.how.prefix + path, made, str(self.folder / path), None, description
        )
        return record if is_blank(text) else _with_text(record, text)

    def _caption(self, path: str) -> str:
        data = self._bytes(path)
        try:
            return decode_text(data)
        except DataLoaderError as error:
            raise DataLoaderError(f"its caption {path!r}: {error}") from error

    def _hash_file(self, path: str) -> tuple[str, bytes | None]:
        """The hash of a file, and the file's bytes. The bytes are None if the hash was cached, so
        that the file wasn't read."""
        stamp = None if self._hashes is None else _stamp(self.folder / path, self.how.links)
        cached = None if self._hashes is None else self._hashes.get(path)
        if stamp is not None and cached is not None and cached[0] == stamp:
            return cached[1], None
        data = self._bytes(path)
        digest = sha256(data).hexdigest()
        # A file that was changed a moment ago may change again without getting another time.
        is_old = stamp is not None and time.time_ns() - max(stamp[:2]) > SETTLED
        if self._hashes is not None and stamp is not None and is_old:
            self._hashes[path] = stamp, digest
        return digest, data

    def _bytes(self, path: str) -> bytes:
        most = _MAX_IMAGE_BYTES if is_image(path) else self.how.most
        sources = self._sources[most]
        if sources.root is None:
            return sources.read(str(self.folder / path))
        return sources.read_below(path)


SETTLED = 2_000_000_000  # nanoseconds after a change, after which the next change gets another time


def _stamp(path: Path, links: bool) -> Stamp | None:
    """The times, size and inode number of a file, which change when its bytes change. None if the
    file's status can't be read."""
    try:
        status = os.stat(path, follow_symlinks=links)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev


def _with_headings(section: Section) -> str:
    return "\n\n".join(filter(None, (" > ".join(section.headings), section.text)))


def _with_text(record: FileRecord, text: str) -> FileRecord:
    metadata = {**record.metadata, "text_hash": sha256(text.encode()).hexdigest()}
    return FileRecord(record.id, metadata, record.uri, text, record.description)


def check_pieces(pieces: Any) -> list[str]:
    """The passages that a user's function returned, without blank passages. Raises InvalidTypeError
    if `pieces` isn't a list of str."""
    if not isinstance(pieces, list | tuple) or not all(isinstance(piece, str) for piece in pieces):
        raise InvalidTypeError(f"chunk has returned {quote(pieces)}, expected a list of str")
    return [piece for piece in pieces if not is_blank(piece)]


def check_description(description: Any) -> Mapping[str, Any]:
    """The metadata that a user adds to a passage; empty for None. Raises an error for invalid
    metadata."""
    if description is None:
        return {}
    if not isinstance(description, Mapping):
        raise InvalidTypeError(f"metadata is {quote(description)}, expected a dict of a passage's")
    for key in description:
        if key in KEYS:
            raise InvalidArgumentError(
                f"metadata has the key {key!r}, which a sync gives itself; expected another"
            )
    checked: dict[str, Any] = check_records(["-"], metadatas=[description])["metadatas"][0]
    return checked
