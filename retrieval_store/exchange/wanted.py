"""The records that a file of a folder is to have, and those that it has.

Each record says in its metadata where it is from: "source", a name of what is kept in step; "path",
of the file; "hash", of the bytes of the file, "text_hash", of the record's document, both SHA-256;
"place", the number of a passage. They alone tell whether a record is as it should be, and whether
its vector can be had of another, so nothing has to be remembered between two runs, and whatever one
of them has left half done, the next sees as what still differs.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.validation import shown
from retrieval_store.direct.collection import Collection
from retrieval_store.errors import DataLoaderError, InvalidTypeError
from retrieval_store.exchange.folders import is_image
from retrieval_store.loaders.sources import Sources

SOURCE = "source"
KEYS = (SOURCE, "path", "hash", "text_hash", "place")
_MOST_OF_IMAGE = 1 << 30
_TIMEOUT = 600.0  # seconds to read a file
Cut = Callable[[str, str], list[str] | None]  # a text and its name → passages; None for one record


@dataclass(frozen=True, slots=True)
class Wanted:
    """A record of a file. metadata: of `KEYS`, those that it has."""

    id: str
    metadata: Mapping[str, Any]
    uri: str | None
    document: str | None = None

    @property
    def content(self) -> str:
        """What its vector is made of, so that others of the same have the same vector."""
        is_text = self.uri is None
        return f"text {self.metadata['text_hash']}" if is_text else f"file {self.metadata['hash']}"

    def is_as(self, other: "Wanted | None") -> bool:
        """Whether another is the same but for its document, which its metadata tells of."""
        return other is not None and (self.metadata, self.uri) == (other.metadata, other.uri)


@dataclass(frozen=True, slots=True)
class Reader:
    """Makes the records of a file. folder, name: from where, and as which they are known; prefix:
    of their ids; captions: the files of images' captions; cut: makes passages of texts; most: bytes
    of a text."""

    folder: Path
    name: str
    prefix: str
    captions: Mapping[str, str]
    cut: Cut
    most: int

    def records(self, path: str) -> list[Wanted]:
        """The records of a file, none of one without text; DataLoaderError where it can't be
        read. The hash is of the bytes that a text is made of; an image is loaded later, and if it
        has changed by then, its hash isn't that of the file any more when it is read again."""
        data = self._bytes(path)
        made = {SOURCE: self.name, "path": path, "hash": sha256(data).hexdigest()}
        if is_image(path):
            return [self._image(path, made)]
        text = _text_of(data)
        pieces, start = self.cut(text, path) if text.strip() else [], self.prefix + path
        if pieces is None:
            return [_with_text(Wanted(start, made, None), text)]
        return [
            _with_text(Wanted(f"{start}#{place}", {**made, "place": place}, None), piece)
            for place, piece in enumerate(pieces)
        ]

    def _image(self, path: str, made: Mapping[str, Any]) -> Wanted:
        record = Wanted(self.prefix + path, made, str(self.folder / path))
        caption = self.captions.get(path)
        text = "" if caption is None else _text_of(self._bytes(caption), f"its caption {caption!r}")
        return _with_text(record, text) if text.strip() else record

    def _bytes(self, path: str) -> bytes:
        most = _MOST_OF_IMAGE if is_image(path) else self.most
        return Sources((), self.folder, most, _TIMEOUT).read(str(self.folder / path))


def _text_of(data: bytes, what: str = "it") -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataLoaderError(f"{what} isn't a text in UTF-8: {error}") from error


def _with_text(record: Wanted, text: str) -> Wanted:
    metadata = {**record.metadata, "text_hash": sha256(text.encode()).hexdigest()}
    return Wanted(record.id, metadata, record.uri, text)


def checked_pieces(pieces: Any) -> list[str]:
    """What a user's function has made of a text, without what is blank."""
    if not isinstance(pieces, list | tuple) or not all(isinstance(one, str) for one in pieces):
        raise InvalidTypeError(f"chunk has returned {shown(pieces)}, expected a list of str")
    return [one for one in pieces if one.strip()]


def made_by(name: str) -> dict[str, Any]:
    """The condition that records fulfil which a sync of this name has made."""
    made = [{key: {"$exists": True}} for key in ("path", "hash")]
    return {"$and": [{SOURCE: name}, *made]}


def known_of(collection: Collection, name: str) -> dict[str, Wanted]:
    """The records of this name that a sync has made, by their ids, without documents."""
    found = collection.get(where={SOURCE: name}, include=["metadatas", "uris"])
    return {record.id: record for record in _ours(found, name)}


def vectors_of(collection: Collection, ids: list[str], name: str) -> dict[str, Any]:
    """The vectors of records that a sync has made, by what they are made of."""
    if not ids:
        return {}
    found = collection.get(ids=ids, include=["metadatas", "uris", "embeddings"])
    vectors = dict(zip(found["ids"], found["embeddings"], strict=True))
    return {record.content: vectors[record.id] for record in _ours(found, name)}


def _ours(found: Mapping[str, Any], name: str) -> Iterator[Wanted]:
    for point_id, metadata, uri in zip(
        found["ids"], found["metadatas"], found["uris"], strict=True
    ):
        told = {key: metadata[key] for key in KEYS if key in (metadata or {})}
        record = Wanted(point_id, told, uri)
        if told.get(SOURCE) == name and _is_made_by_sync(record):
            yield record


def _is_made_by_sync(record: Wanted) -> bool:
    """Whether it has what such records have: others may call something of theirs a source, too."""
    path, digest = record.metadata.get("path"), record.metadata.get("hash")
    if not isinstance(path, str) or not isinstance(digest, str) or not _is_inside(path):
        return False
    if record.uri is None and not isinstance(record.metadata.get("text_hash"), str):
        return False
    return re.search(re.escape(path) + r"(#\d+)?\Z", record.id) is not None


def _is_inside(path: str) -> bool:
    """Whether a path leads to a file of a folder: it is stored, and may say anything."""
    plain = PurePosixPath(path)
    leads_out = plain.is_absolute() or ".." in plain.parts or "\0" in path
    return not leads_out and plain.as_posix() == path
