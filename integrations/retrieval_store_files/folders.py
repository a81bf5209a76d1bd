"""Finds the files of a folder, reads what they say, and adds them to a collection.

`found_in` looks for files, `RecordReader` makes records of a file, one for each passage, and
`read_folder` those of a whole folder; `add_folder` adds texts and images, a record a file.
"""

import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b, sha256
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeAlias, get_args

from retrieval_store.api.arguments import Embed, metadatas_of
from retrieval_store.api.collection import Collection
from retrieval_store.api.embedding_functions import function_of
from retrieval_store.api.write import report_cuts_once
from retrieval_store.base.dataclasses import dataclass, field
from retrieval_store.base.tracing import log_of, progress_bar
from retrieval_store.base.validation import is_blank, is_unicode, path_of, quote, whole_number
from retrieval_store.errors import (
    DataLoaderError,
    EmbeddingFunctionError,
    IDAlreadyExistsError,
    InvalidArgumentError,
    InvalidTypeError,
)
from retrieval_store.loaders.images import TextLoader
from retrieval_store.loaders.sources import Sources
from retrieval_store_files.add import (
    Adder,
    Expected,
    Record,
    expected_by,
    known_ids,
    refuse_both,
)
from retrieval_store_files.formats.common import in_bounded_pieces
from retrieval_store_files.gitignore import GitPatterns, is_pattern
from retrieval_store_files.readers import FileText, Read, Section
from retrieval_store_files.readers.child import ReaderProcess
from retrieval_store_files.readers.files import (
    PLAIN,
    known_readers,
    read_bytes,
    reader_name,
    without_reader,
)
from retrieval_store_files.readers.passages import Passage, cutter_of
from retrieval_store_files.reports import FolderAdded, Unreadable

Kind = Literal["texts", "images"]
TEXTS = frozenset([".txt", ".md", ".rst"])
CAPTION = ".txt"
NO_TEXT = "it has no text in it"
IN_GITIGNORE = "in .gitignore"
IMAGES = frozenset([".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"])
_LOOKED_UP = 1_000


def add_folder(
    collection: Collection,
    path: str | os.PathLike[str],
    *,
    kind: Kind | None = None,
    captions: bool = False,
    batch: int = 100,
    resume: bool = False,
    upsert: bool = False,
    max_bytes: int = 10_000_000,
    show_progress: bool = False,
) -> FolderAdded:
    """Add the texts (.txt, .md, .rst) and images (.png, .jpg, .jpeg, .webp, .gif, .bmp) in a folder
    and the folders in it, a record a file, embedded by the collection.

    The id is the path within the folder, which is in the metadata too, under "path". Of a text, in
    UTF-8 and of `max_bytes` at most, the document is the text; of an image the uri is its absolute
    path, which the collection's data loader loads. kind: "texts" or "images", to add only these.
    captions: a .txt beside an image, with its name but for the ending, is the image's caption, and
    no record of its own: the vector is made of the image, the document is the caption. An image
    whose caption can't be read is left out; a caption without text is none.
    Links aren't followed, and names that begin with a dot are left out. A file that can't be read,
    or has no text in it, is told in the report, with the reason, and the others are added.
    resume, upsert: as for `add_file`; without them nothing is written when an id is there already.
    """
    size = whole_number(batch, "batch", 1)
    most = whole_number(max_bytes, "max_bytes", 1)
    refuse_both(resume, upsert)
    refuse_unknown_kind(kind, captions)
    folder = path_of(path, "path")
    if not folder.is_dir():
        raise InvalidArgumentError(f"path is {str(folder)!r}, expected a folder")
    found = found_in(folder, FolderRules(kind, captions))
    refuse_unfit(found, expected_by(collection))
    if not (resume or upsert):
        _refuse_known(collection, found)
    return _Folder(collection, folder, found, most, resume, upsert).added(size, show_progress)


def refuse_unknown_kind(kind: Any, captions: Any) -> None:
    """The kind of files, checked."""
    if kind is not None and kind not in get_args(Kind):
        raise InvalidArgumentError(f"kind is {quote(kind)}, expected one of {get_args(Kind)}")
    if type(captions) is not bool:
        raise InvalidTypeError(f"captions is {quote(captions)}, expected a bool")
    if captions and kind == "texts":
        raise InvalidArgumentError("captions are of images, but kind is 'texts'")


@dataclass(frozen=True, slots=True)
class FolderRules:
    """Which files of a folder count. kind: texts or images, or None for both; captions: whether
    texts may be captions of images; every: whether every file counts as a text that a reader is
    there for, else those of `TEXTS`; own_reader: whether the user has one, for any file; include,
    exclude: patterns, as of a .gitignore file; gitignore: whether what .gitignore
    files name is left out; links: whether links are followed, to files alone; loads: whether there
    is a data loader for images; readers: the names of the readers that there are."""

    kind: Kind | None = None
    captions: bool = False
    every: bool = False
    own_reader: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    gitignore: bool = False
    links: bool = False
    loads: bool = True
    readers: frozenset[str] = frozenset()

    def why_not(self, path: str) -> str | None:
        """Why a file of this path is left out by its name; None where it isn't."""
        name = path.rpartition("/")[2]
        if name.startswith("."):
            return "its name begins with a dot"
        why = self.excluded(path)
        if why is not None:
            return why
        ending = os.path.splitext(name)[1].lower()
        if is_image(path):
            if self.kind == "texts":
                return "an image"
            return None if self.loads else "an image, and the collection has no data loader"
        if self.kind == "images" and not (self.captions and ending == CAPTION):
            return "no image"
        if ending in TEXTS or self.own_reader:
            return None
        is_read = self.every and reader_name(path, self.readers) is not None
        return None if is_read else without_reader(path)

    def excluded(self, path: str) -> str | None:
        """By what the user leaves it out, if that is so."""
        if self.include and not _matches(path, self.include):
            return "not in include"
        return "in exclude" if _matches(path, self.exclude) else None


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    """Whether a path, or a folder that it lies in, fits the patterns; a folder ends with "/"."""
    if not patterns:
        return False
    git, parts = GitPatterns.of(patterns), path.rstrip("/").split("/")
    folders = ("/".join(parts[:i]) + "/" for i in range(1, len(parts)))
    return any(git.say(one) for one in folders) or bool(git.say(path))


def rules_of(
    kind: Any, captions: Any, include: Any, exclude: Any, gitignore: Any, links: Any, reader: Any
) -> FolderRules:
    """The rules for all files that there are readers for, checked."""
    refuse_unknown_kind(kind, captions)
    refuse_no_bool(gitignore=gitignore, links=links)
    patterns = _patterns(include, "include"), _patterns(exclude, "exclude")
    return FolderRules(
        kind, captions, True, reader is not None, *patterns, gitignore, links,
        readers=known_readers(),
    )  # fmt: skip


def _patterns(given: Any, name: str) -> tuple[str, ...]:
    patterns = (given,) if isinstance(given, str) else given
    if not isinstance(patterns, list | tuple) or not all(isinstance(one, str) for one in patterns):
        raise InvalidTypeError(f"{name} is {quote(given)}, expected a str or a list of str")
    lines = tuple(one.removeprefix("./") for one in patterns)
    for line in lines:
        if not is_pattern(os.fsencode(line)):
            raise InvalidArgumentError(
                f"{name} has {quote(line)}, expected a pattern as in a .gitignore file"
            )
    return lines


def refuse_no_bool(**given: Any) -> None:
    """Raise InvalidTypeError for an argument that is no bool."""
    for name, value in given.items():
        if type(value) is not bool:
            raise InvalidTypeError(f"{name} is {quote(value)}, expected a bool")


def refuse_no_function(**given: Any) -> None:
    """Raise InvalidTypeError for an argument that is neither a function nor None."""
    for name, value in given.items():
        if value is not None and not callable(value):
            raise InvalidTypeError(f"{name} is {quote(value)}, expected a function")


@dataclass(slots=True)
class FolderFiles:
    """The files of a folder: sorted ids of those to add; the caption files of images; files that
    can't be added; those that are left out, and why."""

    ids: list[str] = field(default_factory=list)
    captions: dict[str, str] = field(default_factory=dict)
    unreadable: list[Unreadable] = field(default_factory=list)
    left_out: list[Unreadable] = field(default_factory=list)

    @property
    def image(self) -> str | None:
        """The first image, if there is one."""
        return next(filter(is_image, self.ids), None)


def found_in(folder: Path, rules: FolderRules) -> FolderFiles:
    """What a folder holds that can be added."""
    found = FolderFiles()
    ignored = _Ignored(folder) if rules.gitignore else None

    def unlisted(error: OSError) -> None:
        found.unreadable.append(Unreadable(Path(error.filename), error.strerror or str(error)))

    for place, folders, names in os.walk(folder, onerror=unlisted):
        if ignored:
            ignored.enter(place, names)
        below = os.path.relpath(place, folder).replace(os.sep, "/")
        below = "" if below == "." else f"{below}/"
        for name in list(folders):
            path = Path(place, name)
            if os.path.islink(path):
                why = "it is a link, which isn't followed"
                found.unreadable.append(Unreadable(path, why))
                continue
            why_not = _why_not_enter(path, folder, rules, ignored)
            if why_not is not None:
                folders.remove(name)
                found.left_out.append(Unreadable(path, why_not))
        for name in names:
            why_not = rules.why_not(below + name)
            if why_not is None and ignored and ignored.names(Path(place, name), False):
                why_not = IN_GITIGNORE
            if why_not is None:
                _take(found, Path(place, name), below + name, rules.links)
            else:
                found.left_out.append(Unreadable(Path(place, name), why_not))
    if rules.captions:
        _set_captions(found, folder, rules.kind)
    found.ids.sort()
    return found


def _why_not_enter(
    path: Path, folder: Path, rules: FolderRules, ignored: "_Ignored | None"
) -> str | None:
    if path.name.startswith("."):
        return "its name begins with a dot"
    if _matches(f"{path.relative_to(folder).as_posix()}/", rules.exclude):
        return "in exclude"
    return IN_GITIGNORE if ignored and ignored.names(path, True) else None


class _Ignored:
    """What the .gitignore files of a folder name, each for the folder that it is in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._specs: dict[Path, GitPatterns] = {}

    def enter(self, place: str, names: list[str]) -> None:
        if ".gitignore" in names:
            with suppress(OSError):
                content = Path(place, ".gitignore").read_bytes()
                self._specs[Path(place)] = GitPatterns.of_file(content)

    def names(self, path: Path, is_folder: bool) -> bool:
        """Whether the innermost file that says something of a path leaves it out."""
        for place in path.parents:
            spec = self._specs.get(place)
            if spec is not None:
                name = path.relative_to(place).as_posix() + ("/" if is_folder else "")
                said = spec.say(name)
                if said is not None:
                    return said
            if place == self._folder:
                break
        return False


def _set_captions(found: FolderFiles, folder: Path, kind: Kind | None) -> None:
    """Remove the captions from the files, and the images whose captions can't be read."""
    texts = {os.path.splitext(one)[0]: one for one in sorted(found.ids) if _is_caption(one)}
    refused = {os.path.splitext(one.path)[0] for one in found.unreadable if _is_caption(one.path)}
    ids, found.ids = found.ids, []
    for one in ids:
        stem = os.path.splitext(one)[0]
        if not is_image(one):
            continue
        if str(folder / stem) in refused:
            found.unreadable.append(Unreadable(folder / one, "its caption can't be read"))
        else:
            found.ids.append(one)
            if stem in texts:
                found.captions[one] = texts[stem]
    used = {*found.captions.values()}
    left = [one for one in ids if not is_image(one) and one not in used]
    if kind == "images":
        found.left_out += [Unreadable(folder / one, "no caption of an image") for one in left]
    else:
        found.ids += left


def _is_caption(path: str | Path) -> bool:
    return os.path.splitext(path)[1].lower() == CAPTION


def _take(found: FolderFiles, path: Path, point_id: str, links: bool) -> None:
    why = "its name isn't valid Unicode" if not is_unicode(point_id) else _unfit(path, links)
    if why is None:
        found.ids.append(point_id)
    else:
        found.unreadable.append(Unreadable(path, why))


def _unfit(path: Path, links: bool) -> str | None:
    try:
        mode = (path.stat() if links else path.lstat()).st_mode
    except OSError as error:
        return error.strerror or str(error)
    if stat.S_ISLNK(mode):
        return "it is a link, which isn't followed"
    return None if stat.S_ISREG(mode) else "it is no regular file"


def is_image(point_id: str) -> bool:
    """Whether a file name is an image's."""
    return os.path.splitext(point_id)[1].lower() in IMAGES


def refuse_unfit(found: FolderFiles, expected: Expected) -> None:
    """Raise an error for a collection that can't embed the files."""
    if not expected.embeds:
        raise EmbeddingFunctionError(
            "files of a folder are embedded, but the collection has no embedding function: pass "
            "embedding_function= when you create or get it"
        )
    image = found.image
    if image is not None and not expected.loads:
        raise InvalidArgumentError(
            f"there are images, such as {image!r}, but the collection has no data loader: pass "
            "data_loader= when you get it, or kind='texts'"
        )


def _refuse_known(collection: Collection, found: FolderFiles) -> None:
    for start in range(0, len(found.ids), _LOOKED_UP):
        some = found.ids[start : start + _LOOKED_UP]
        known = known_ids(collection, [{"id": one} for one in some])
        if known:
            raise IDAlreadyExistsError(
                f"the id {min(known)!r} is in the collection already; nothing was added. "
                "resume=True leaves out what is there, upsert=True updates it"
            )


class _Folder:
    """Adds the files of a folder."""

    def __init__(
        self,
        collection: Collection,
        folder: Path,
        found: FolderFiles,
        most: int,
        resume: bool,
        upsert: bool,
    ) -> None:
        self._collection, self._folder, self._found = collection, folder, found
        self._resume = resume
        self._adder = Adder(collection, resume, upsert)
        # A file may have become a link, or a pipe, since it was found: the loader follows none out
        # of the folder, and waits for none.
        self._texts = TextLoader(encoding="utf-8-sig", root=folder, max_bytes=most)

    def added(self, size: int, show_progress: bool) -> FolderAdded:
        """Add all files; returns the report."""
        found, adder = self._found, self._adder
        bar_of = progress_bar("adding", len(found.ids), "file", show_progress)
        with report_cuts_once(), bar_of as bar:
            for some in in_bounded_pieces(found.ids, size, self._size_of):
                for images in (False, True):
                    self._add([one for one in some if is_image(one) is images], images)
                bar.update(len(some))
        return FolderAdded(
            self._folder,
            adder.added,
            adder.updated,
            adder.skipped,
            tuple(found.left_out),
            tuple(found.unreadable),
        )

    def _size_of(self, point_id: str) -> int:
        with suppress(OSError):  # which reading it will tell
            return (self._folder / point_id).lstat().st_size
        return 0

    def _add(self, ids: list[str], images: bool) -> None:
        if self._resume:  # before the files are read: there may be many that are there
            known = known_ids(self._collection, [{"id": one} for one in ids])
            self._adder.skipped += len(known)
            ids = [one for one in ids if one not in known]
        records = list(self._images(ids) if images else self._documents(ids))
        for embed, some in groupby(records, _embed_choice):
            self._add_records(list(some), embed)

    def _add_records(self, records: list[Record], embed: Embed | None) -> None:
        try:
            self._adder.add(records, embed)
        except DataLoaderError:
            for record in records:
                self._add_alone(record, embed)

    def _add_alone(self, record: Record, embed: Embed | None) -> None:
        try:
            self._adder.add([record], embed)
        except DataLoaderError as error:
            self._found.unreadable.append(Unreadable(self._folder / record["id"], str(error)))

    def _documents(self, ids: list[str]) -> Iterator[Record]:
        for one in ids:
            text = self._text(one)
            if text is not None and is_blank(text):
                self._found.left_out.append(Unreadable(self._folder / one, NO_TEXT))
            elif text is not None:
                yield self._record(one, document=text)

    def _images(self, ids: list[str]) -> Iterator[Record]:
        for one in ids:
            caption = self._found.captions.get(one)
            text = "" if caption is None else self._text(caption)
            if text is not None:
                document = {} if is_blank(text) else {"document": text}
                yield self._record(one, uri=str(self._folder / one), **document)

    def _text(self, name: str) -> str | None:
        """The content of a file; None, with a report, where it can't be read."""
        path = self._folder / name
        try:
            (text,) = self._texts([str(path)])
        except DataLoaderError as error:
            self._found.unreadable.append(Unreadable(path, str(error)))
            return None
        return text

    def _record(self, point_id: str, **given: Any) -> Record:
        return {"id": point_id, "metadata": {"path": point_id}, **given}


def _embed_choice(record: Record) -> Embed | None:
    """What to make the vector of, for a record with a picture and its caption."""
    return "uris" if "uri" in record and "document" in record else None


# What a record of a file says in its metadata: what it is known by, and where in the file it is.
SOURCE = "source"
KNOWN_BY = (SOURCE, "path", "hash", "text_hash", "place", "places", "recipe")
SAID = ("headings", "page", "start", "end", "title", "author", "date", "language")
KEYS = KNOWN_BY + SAID
RECIPE = 1  # to be raised where other records are made of the same files
_MAX_IMAGE_BYTES = 1 << 30
_TIMEOUT = 600.0  # seconds to get the bytes of a file
_REMEMBERED = 32_000_000  # characters of files that are read only once in a sync

Chunk = bool | Callable[[str], list[str]] | None
Describe = Mapping[str, Any] | Callable[[str, Passage], Mapping[str, Any] | None] | None


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A record of a file. metadata: what it says of itself; given: what the user adds to it."""

    id: str
    metadata: Mapping[str, Any]
    uri: str | None
    document: str | None = None
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """What its vector is made of: records with equal content have equal vectors."""
        is_text = self.uri is None
        return f"text {self.metadata['text_hash']}" if is_text else f"file {self.metadata['hash']}"

    def is_as(self, known: "FileRecord | None") -> bool:
        """Whether a record in the collection is the same, except for its document, which its
        metadata has a hash of, and for what else was added to its metadata."""
        if known is None or self.uri != known.uri:
            return False
        there = known.metadata
        return {key: there[key] for key in KEYS if key in there} == self.metadata and all(
            key in there and there[key] == value for key, value in self.given.items()
        )


@dataclass(frozen=True, slots=True)
class HowRead:
    """How records are made of files. name: of the folder, in records; prefix: of ids; captions: the
    caption files of images; most: bytes of a file; links: whether links are followed; the others as
    `sync_folder` has them; function: the embedding function; readers: the names of those there
    are."""

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


def checked_how(how: HowRead) -> HowRead:
    """How records are made, with its functions checked."""
    refuse_no_function(reader=how.reader)
    if how.chunk is not None and type(how.chunk) is not bool and not callable(how.chunk):
        raise InvalidTypeError(f"chunk is {quote(how.chunk)}, expected a bool, None or a function")
    if how.overlap != 0 and how.chunk is not True:
        raise InvalidArgumentError(
            f"overlap is {quote(how.overlap)}, but passages share words only with chunk=True"
        )
    if not callable(how.describe):
        checked_description(how.describe)
    return how


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
    on_unreadable: Callable[[Unreadable], object] | None = None,
) -> Iterator[Record]:
    """The passages of the files in a folder, as `sync_folder` makes them, without a collection:
    dicts with "id", "document" and "metadata". function: an embedding function, or the name of one,
    that is to read all of each passage; without it passages have up to 200 words, of which a model
    may read less. on_unreadable is called for each file that can't be read, for each that is read
    in part, and for each without text; without it they are logged as warnings. The other arguments
    are those of `sync_folder`."""
    folder = Path(os.path.normpath(path_of(path, "path")))
    if not folder.is_dir():
        raise InvalidArgumentError(f"path is {str(folder)!r}, expected a folder")
    most = whole_number(max_bytes, "max_bytes", 1)
    rules = rules_of("texts", False, include, exclude, gitignore, links, reader)
    function = function_of(function, "function")
    how = HowRead(
        str(folder), "", {}, most, links, reader, chunk, overlap, metadata, function, rules.readers
    )
    refuse_no_function(on_unreadable=on_unreadable)
    cutter_of(function, overlap=overlap)
    return _read(folder, rules, checked_how(how), on_unreadable or _warn)


def _warn(file: Unreadable) -> None:
    log_of().warning("%s: %s", file.path, file.why)


def _read(
    folder: Path, rules: FolderRules, how: HowRead, told: Callable[[Unreadable], object]
) -> Iterator[Record]:
    found = found_in(folder, rules)
    for one in found.unreadable:
        told(one)
    with ReaderProcess() as process:
        records = RecordReader(folder, how, process, remembers=False)
        for path in found.ids:
            try:
                made = records.records(path)
            except DataLoaderError as error:
                told(Unreadable(folder / path, str(error)))
                continue
            for gap in records.gaps:
                told(gap)
            if not made:
                told(Unreadable(folder / path, NO_TEXT))
            records.gaps.clear()
            for record in made:
                metadata = {**record.given, **record.metadata}
                yield {"id": record.id, "document": record.document, "metadata": metadata}


class RecordReader:
    """Makes the records of files, in the context that holds the process of their readers."""

    def __init__(
        self,
        folder: Path,
        how: HowRead,
        readers: Any,
        hashes: "Hashes | None" = None,
        remembers: bool = True,
    ) -> None:
        """hashes: of files that were read before, by this process; remembers: whether files are
        read twice, so that the records of the first are kept for the second, up to a size."""
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
        """The records of a file, none for one without text; DataLoaderError where it can't be read.
        The hash is of the bytes that a text is made of; an image is loaded later, and if it has
        changed by then, its hash no longer matches the file when it is read again."""
        return self.read(path, lambda made: None) or []

    def read(
        self, path: str, is_there: Callable[[Mapping[str, Any]], bool | None]
    ) -> list[FileRecord] | None:
        """The same; but None where `is_there` says that all records are there that have this
        metadata."""
        digest, data = self._hashed(path)
        made = {SOURCE: self.name, "path": path, "hash": digest}
        if is_image(path):
            return [self._image(path, made)]
        if self._recipe:
            made["recipe"] = f"{reader_name(path, self.how.readers)} {self._recipe}"
        key = f"{path} {made['hash']}"
        if key in self._remembered:
            return self._remembered.pop(key)
        if self._recipe and not callable(self.how.describe) and is_there(made):
            return None
        if data is None:
            data = self._bytes(path)
            made["hash"] = sha256(data).hexdigest()
        records = self._texts(path, data, made)
        size = sum(len(one.document or "") for one in records)
        if size < self._room:
            self._room -= size
            self._remembered[key] = records
        return records

    def _texts(self, path: str, data: bytes, made: dict[str, Any]) -> list[FileRecord]:
        file = self._file_text(path, data)
        self.gaps += [Unreadable(self.folder / path, gap) for gap in file.gaps]
        passages = self._passages(path, file, data)
        said = {
            key: value
            for key in ("title", "author", "date", "language")
            if (value := getattr(file, key)) is not None
        }
        start = self.how.prefix + path
        if self.how.chunk in (None, False):
            return [self._record(start, {**made, **said}, one, path) for one in passages]
        made = {**made, **said, "places": len(passages)}
        return [
            self._record(f"{start}#{place}", {**made, "place": place}, one, path)
            for place, one in enumerate(passages)
        ]

    def _file_text(self, path: str, data: bytes) -> FileText:
        reader = self.how.reader
        return read_bytes(data, path, self._readers, reader, self.how.readers)

    def _passages(self, path: str, file: FileText, data: bytes) -> list[Passage]:
        if self._cutter is not None:
            return self._cutter.passages(file, PurePosixPath(path).stem)
        if reader_name(path, self.how.readers) in PLAIN and self.how.reader is None:
            file = FileText([Section(_text_of(data))])
        if callable(self.how.chunk):
            return [
                Passage(one, section.headings, section.page, section.start, section.end)
                for section in file.sections
                if not is_blank(section.text)
                for one in checked_pieces(self.how.chunk(section.text))
            ]
        whole = "\n\n".join(filter(None, map(_with_headings, file.sections)))
        return [] if is_blank(whole) else [Passage(whole)]

    def _record(
        self, point_id: str, made: Mapping[str, Any], passage: Passage, path: str
    ) -> FileRecord:
        said = {"headings": [*passage.headings] or None, "page": passage.page}
        said |= {"start": passage.start, "end": passage.end}
        metadata = {**made, **{key: value for key, value in said.items() if value is not None}}
        record = FileRecord(point_id, metadata, None, None, self._given(path, passage))
        return _with_text(record, passage.text)

    def _given(self, path: str, passage: Passage) -> Mapping[str, Any]:
        describe = self.how.describe
        given = describe(path, passage) if callable(describe) else describe
        return checked_description(given)

    def _image(self, path: str, made: Mapping[str, Any]) -> FileRecord:
        caption = self.how.captions.get(path)
        text = "" if caption is None else _text_of(self._bytes(caption), f"its caption {caption!r}")
        given = self._given(path, Passage(text))
        record = FileRecord(self.how.prefix + path, made, str(self.folder / path), None, given)
        return record if is_blank(text) else _with_text(record, text)

    def _hashed(self, path: str) -> tuple[str, bytes | None]:
        """The hash of a file, and its bytes, where they had to be read."""
        stamp = None if self._hashes is None else _stamp(self.folder / path, self.how.links)
        known = None if self._hashes is None else self._hashes.get(path)
        if stamp is not None and known is not None and known[0] == stamp:
            return known[1], None
        data = self._bytes(path)
        digest = sha256(data).hexdigest()
        # One that was changed a moment ago may change again without getting another time.
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


# Of files by their paths: what the system says of a file, and the hash of its bytes.
Stamp: TypeAlias = tuple[int, ...]
Hashes: TypeAlias = dict[str, tuple[Stamp, str]]
SETTLED = 2_000_000_000  # nanoseconds since a change, after which another one gets another time


def _stamp(path: Path, links: bool) -> Stamp | None:
    """What changes with the bytes of a file: its times, size and number; None where it isn't
    known."""
    try:
        found = os.stat(path, follow_symlinks=links)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev


def _with_headings(section: Section) -> str:
    return "\n\n".join(filter(None, (" > ".join(section.headings), section.text)))


def _text_of(data: bytes, what: str = "it") -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataLoaderError(f"{what} isn't a text in UTF-8: {error}") from error


def _with_text(record: FileRecord, text: str) -> FileRecord:
    metadata = {**record.metadata, "text_hash": sha256(text.encode()).hexdigest()}
    return FileRecord(record.id, metadata, record.uri, text, record.given)


def checked_pieces(pieces: Any) -> list[str]:
    """The passages that a user's function has made, without blank ones."""
    if not isinstance(pieces, list | tuple) or not all(isinstance(one, str) for one in pieces):
        raise InvalidTypeError(f"chunk has returned {quote(pieces)}, expected a list of str")
    return [one for one in pieces if not is_blank(one)]


def checked_description(given: Any) -> Mapping[str, Any]:
    """What a user adds to the metadata of a passage."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidTypeError(f"metadata is {quote(given)}, expected a dict of a passage's")
    for key in given:
        if key in KEYS:
            raise InvalidArgumentError(
                f"metadata has the key {key!r}, which a sync gives itself; expected another"
            )
    (checked,) = metadatas_of([given])
    return checked or {}
