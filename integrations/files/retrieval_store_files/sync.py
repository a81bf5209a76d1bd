"""Keeps a collection in sync with a folder.

First every file is read, and its records are compared with the records in the collection, so that
all writes are known before the first write. Then the differences are written. Finally the records
of deleted files are deleted. If a run is interrupted, the next one finds the remaining differences.

The metadata of each record say from which file the record was made. "source" is the name of the
synced folder, and "path" is the path of the file in it. "hash" is the SHA-256 of the file's bytes,
and "text_hash" is the SHA-256 of the record's document. "place" is the number of the passage in its
file, and "places" is the number of passages in the file. "recipe" is a text that identifies how
records are made from such files. These metadata alone decide whether a record is up to date, and
whether its vector can be copied from another record. So nothing else is stored between two runs,
and the next run sees any unfinished work as a difference. A file isn't parsed if all its passages
exist with the same hash and recipe.

`with_neighbours` returns the passages around a passage.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count, groupby, islice
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import numpy as np

from retrieval_store import Collection
from retrieval_store.errors import (
    ClientClosedError,
    ConflictError,
    DataLoaderError,
    IDAlreadyExistsError,
    InvalidArgumentError,
    InvalidTypeError,
    NotFoundError,
    RetrievalStoreError,
)
from retrieval_store.frameworks import progress_bar
from retrieval_store.loaders.passages import ids_around, is_of_folder, is_same_file_version
from retrieval_store_files.add import expectations_of, ids_in
from retrieval_store_files.find import (
    IN_GITIGNORE,
    FileKind,
    FolderFiles,
    FolderRules,
    check_bools,
    find_files,
    is_image,
    rules_of,
)
from retrieval_store_files.folders import refuse_unfit
from retrieval_store_files.read import (
    KEYS,
    NO_TEXT,
    SOURCE,
    Chunk,
    Describe,
    FileRecord,
    Hashes,
    HowRead,
    RecordReader,
    check_description,
    check_functions,
    check_how,
)
from retrieval_store_files.readers import Read
from retrieval_store_files.readers.child import ReaderProcess
from retrieval_store_files.readers.files import Ocr
from retrieval_store_files.reports import FolderSynced, Unreadable, count_reasons
from retrieval_store_files.values import is_unicode, list_ids, needing, path_of, quote, whole_number

_log = logging.getLogger("retrieval_store")
_READ_AT_ONCE = 100_000  # records: a server's request may have some 400,000
_AT_ONCE = 1_000  # ids that are looked up or deleted at once
_SECONDS_TO_NEXT_TRY = 30  # after a failed sync without changes


def filter_of_sync(name: str) -> dict[str, Any]:
    """A metadata filter for the records that syncs with the name `name` have written."""
    return {"$and": [{SOURCE: name}, {"path": {"$exists": True}}, {"hash": {"$exists": True}}]}


def records_of_sync(collection: Collection, name: str) -> dict[str, FileRecord]:
    """The records that syncs with this name have written, as a dict whose keys are the ids of the
    records. The documents of the records aren't read."""
    records: dict[str, FileRecord] = {}
    for start in count(0, _READ_AT_ONCE):
        page = collection.get(
            where={SOURCE: name},
            limit=_READ_AT_ONCE,
            offset=start,
            include=["metadatas", "uris"],
        )
        records.update((record.id, record) for record in _ours(page, name))
        if len(page["ids"]) < _READ_AT_ONCE:
            break
    return records


def vectors_of(collection: Collection, ids: list[str], name: str) -> dict[str, Any]:
    """The vectors of those records in `ids` that syncs with this name have written. The key of each
    vector is the `content` of its FileRecord, which identifies the content from which the vector
    was computed."""
    if not ids:
        return {}
    result = collection.get(ids=ids, include=["metadatas", "uris", "embeddings"])
    vectors = dict(zip(result["ids"], result["embeddings"], strict=True))
    return {record.content: vectors[record.id] for record in _ours(result, name)}


def _ours(result: Mapping[str, Any], name: str) -> Iterator[FileRecord]:
    for point_id, metadata, uri in zip(
        result["ids"], result["metadatas"], result["uris"], strict=True
    ):
        held = metadata or {}
        if held.get(SOURCE) == name and is_of_folder(point_id, held, uri):
            yield FileRecord(point_id, held, uri)


def sync_folder(
    collection: Collection,
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    prefix: str = "",
    kind: FileKind | None = None,
    captions: bool = False,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    gitignore: bool = False,
    links: bool = False,
    reader: Callable[[bytes, str], Read | None] | None = None,
    chunk: Chunk = True,
    overlap: int = 0,
    metadata: Describe = None,
    batch: int = 100,
    max_bytes: int = 50_000_000,
    passwords: Sequence[str] = (),
    ocr: Ocr | None = None,
    allow_empty: bool = False,
    dry_run: bool = False,
    watch: bool = False,
    on_report: Callable[[FolderSynced], object] | None = None,
    show_progress: bool = False,
) -> FolderSynced:
    """Bring a collection up to date with the files in a folder and its subfolders. The records of
    new files, and of files whose bytes have changed, are written. The records of deleted files are
    deleted.

    Files are read by the plugins of the group `retrieval_store.readers`, chosen by the endings of
    their names: texts, Markdown, reStructuredText, HTML, source code, JSON, CSV, PDF, Word, slides,
    spreadsheets, mail, notebooks and more. Images are loaded by the collection's data loader.
    Readers that use libraries run in a separate process with limits on time and memory.

    `passages_of` splits texts into passages that the embedding function can read whole. Each
    passage becomes a record with an id such as "notes/sea.md#0". The metadata "source", "path",
    "hash", "text_hash", "recipe", "place" and "places" identify the passage. "headings", "page",
    "title", "author", "date" and "language" are added if they are known, and so is the position of
    the passage, "start" and "end", in characters of the file's text. Metadata that a user adds to a
    record later are kept when its file changes. These metadata move to the passage with the same
    text, or if there is no such passage, to the passage with the same number.

    A page of a PDF that is a picture is listed in the report of the sync that reads the file. If
    the collection embeds images, the page becomes a record, such as "scan.pdf#page=3", with a
    vector of its picture.

    Only records of this source that this function has written are replaced or deleted. Passages
    that didn't change, or only moved, aren't embedded again. Files that can't be read keep their
    records, and are listed in the report. If a call is interrupted, the next call leads to the same
    state as an uninterrupted call.

    Args:
        collection: the collection.
        path: the folder.
        name: the value of "source" in the records; by default the folder's absolute path. Pass a
            name if the folder may move. Each folder needs a different name.
        prefix: the beginning of all ids, such as "guide/". It is needed if several folders in one
            collection have files of the same names.
        kind: "texts" or "images", to sync only these files. Records of the other kind stay
            unchanged.
        captions: as in `add_folder`.
        include: patterns of files or folders, in the form of a .gitignore file. "*.md" and
            "**/*.md" match at any depth, "drafts/" matches any folder of that name, and
            "guide/*.md" matches in the folder "guide" at the top. If files are no longer included,
            their records are deleted, and this is logged.
        exclude: patterns, in the same form, of files or folders that are left out.
        gitignore: whether files matched by .gitignore files are left out. Names that begin with a
            dot are always left out.
        links: whether links to files are followed. Links to folders are never followed.
        reader: a function that gets the bytes and the path of each file that isn't an image. It
            returns the file's text, or None to use the plugins.
        chunk: False or None for one record per file, whose id is its path; or a function that
            splits a text into passages.
        overlap: the number of words that adjacent passages share.
        metadata: the metadata to add to each record, as a dict, or as a function that gets a path
            and a `Passage` and returns a dict.
        batch: the number of records that are written durably at once.
        max_bytes: the largest size of a file in bytes.
        passwords: the passwords to try on encrypted PDFs and Office documents. They aren't stored.
        ocr: a function that reads a page that is a picture. It gets a Pillow image and returns the
            text. A file that `ocr` has read is read again when the file changes.
        allow_empty: whether the folder can be missing, or have no files to add. Otherwise such a
            folder is refused, because its disk may not be mounted.
        dry_run: report the changes without making them.
        watch: continue until Ctrl-C, and sync after each change in the folder. A file whose times,
            size and inode number are unchanged isn't read again. If a later sync fails, the error
            is logged and the sync is retried.
        on_report: a function that is called with the report of each sync.
        show_progress: show a progress bar of the embedding.

    Raises:
        IDAlreadyExistsError: a record that this function didn't write has one of the ids. Nothing
            was written.
        InvalidArgumentError: an argument is invalid, or the folder is refused.
    """
    size = whole_number(batch, "batch", 1)
    most = whole_number(max_bytes, "max_bytes", 1)
    check_bools(allow_empty=allow_empty, dry_run=dry_run, watch=watch)
    check_functions(on_report=on_report)
    rules = rules_of(kind, captions, include, exclude, gitignore, links, reader)
    folder = Path(os.path.normpath(path_of(path, "path")))
    source = str(folder) if name is None else name
    if not isinstance(source, str) or not source:
        raise InvalidTypeError(f"name is {quote(name)}, expected a str that isn't empty")
    if not is_unicode(source):
        raise InvalidArgumentError(
            f"the folder {source!r} has a path that isn't valid UTF-8: name= gives its records "
            "another source"
        )
    if not isinstance(prefix, str) or not is_unicode(prefix):
        raise InvalidTypeError(f"prefix is {quote(prefix)}, expected a str")
    embed = collection.embedding_function
    how = HowRead(
        source, prefix, most=most, links=links, reader=reader, chunk=chunk, overlap=overlap,
        describe=metadata, function=embed, readers=rules.readers, passwords=passwords, ocr=ocr,
    )  # fmt: skip
    how = check_how(how)
    hashes: Hashes | None = {} if watch else None

    def synced() -> FolderSynced:
        files, fit = files_to_sync(collection, folder, source, rules, allow_empty)
        with ReaderProcess() as process:
            reads = replace(how, captions=files.captions, draws=fit.loads)
            record_reader = RecordReader(folder, reads, process, hashes)
            plan = _Plan(collection, record_reader, files, fit)
            plan.make(show_progress)
            plan.refuse_taken()
            if not dry_run:
                _Writer(collection, record_reader, plan, size).write(show_progress)
        report = plan.report(dry_run)
        if on_report is not None:
            on_report(report)
        return report

    return _watch(folder, synced) if watch else synced()


def _watch(folder: Path, synced: Callable[[], FolderSynced]) -> FolderSynced:
    """Sync the folder now, and after each change in the folder, until Ctrl-C. Returns the last
    report. If a sync after the first one fails, the error is logged. That sync is retried after the
    next change, or after a pause."""
    changes, report = _changes_in(folder), synced()
    failed, waited = False, 0
    while (changed := next(changes, None)) is not None:
        waited += 1
        if not changed and not (failed and waited >= _SECONDS_TO_NEXT_TRY):
            continue
        try:
            if failed:  # the folder may have been replaced, and its changes would be missed
                changes = _changes_in(folder)
            report, failed = synced(), False
        except (ClientClosedError, NotFoundError):  # permanent errors
            raise
        except RetrievalStoreError as error:
            failed, waited = True, 0
            _log.warning(
                "the folder %s isn't in step: %s; it is tried again after the next change, or in "
                "%d seconds",
                folder,
                error,
                _SECONDS_TO_NEXT_TRY,
            )
    return report


def _changes_in(folder: Path) -> Iterator[set[Any]]:
    """Yield the changes in a folder from now on, and an empty set for each second without changes.
    Raises InvalidArgumentError if the folder doesn't exist."""
    if not folder.is_dir():
        raise InvalidArgumentError(f"path is {str(folder)!r}, expected a folder to watch")
    with needing("watch=True", "watchfiles", "retrieval-store-files"):
        from watchfiles import watch

    changes = watch(folder, yield_on_timeout=True, rust_timeout=1_000, raise_interrupt=False)
    next(changes, None)  # watch from now on, so that changes during a sync aren't missed
    return changes


def files_to_sync(
    collection: Collection, folder: Path, name: str, rules: FolderRules, allow_empty: bool
) -> tuple[FolderFiles, FolderRules]:
    """The files of a folder that a collection can store, and a copy of the rules. In the copy,
    `loads` says whether images count as files to add. Raises InvalidArgumentError if the path isn't
    a folder, or if there are no files to add and `allow_empty` is False."""
    if folder.exists() and not folder.is_dir():
        raise InvalidArgumentError(f"path is {str(folder)!r}, expected a folder")
    expected = expectations_of(collection)
    has_to_load = rules.kind == "images" or rules.captions
    fit = replace(rules, loads=expected.loads or has_to_load)
    is_there = folder.is_dir()
    files = find_files(folder, fit) if is_there else FolderFiles()
    if not files.ids and not allow_empty:
        problem = _no_files_message(files, fit) if is_there else "isn't there"
        if _records_of_kind(records_of_sync(collection, name), rules.kind):
            problem += ", so that all its records would be deleted; allow_empty=True does that"
        raise InvalidArgumentError(f"the folder {str(folder)!r} {problem}")
    refuse_unfit(files, expected)
    return files, fit


def _no_files_message(files: FolderFiles, rules: FolderRules) -> str:
    """The error message for a folder that has no readable files. It says what the folder
    contains."""
    kind = rules.kind or ("texts or images" if rules.loads else "texts")
    others = [*files.left_out, *files.unreadable]
    has = f" ({len(others):,} left out: {count_reasons(others)})" if others else ""
    return f"has no {kind} in it{has}"


def _records_of_kind(
    records: Mapping[str, FileRecord], kind: FileKind | None
) -> dict[str, FileRecord]:
    """The records of texts, or of images; all records if `kind` is None."""
    return {
        point_id: record
        for point_id, record in records.items()
        if kind is None or is_image(record.metadata["path"]) is (kind == "images")
    }


@dataclass(slots=True)
class _Changes:
    """The changes that a sync has to make. added, changed, deleted: the paths of files that were
    added, changed or deleted; unchanged: the number of unchanged files. files: the paths of files
    to write, each with a fingerprint of its records; records: how many of these records differ from
    those in the collection. new_ids: ids that don't exist yet; stale: the ids to delete, by path.
    to_embed: how many vectors must be computed; embedded: how many vectors have been computed.
    failed: the paths of files for which a write failed."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    unchanged: int = 0
    files: dict[str, int] = field(default_factory=dict)
    records: int = 0
    new_ids: list[str] = field(default_factory=list)
    stale: dict[str, list[str]] = field(default_factory=dict)
    to_embed: int = 0
    embedded: int = 0
    failed: set[str] = field(default_factory=set)


class _Plan:
    """Compares the files of a folder with the records in the collection, and collects the changes
    to make."""

    def __init__(
        self,
        collection: Collection,
        reader: RecordReader,
        folder_files: FolderFiles,
        rules: FolderRules,
    ) -> None:
        self.collection, self.reader, self.folder_files = collection, reader, folder_files
        self._rules, kind = rules, rules.kind
        self.changes = _Changes()
        existing = records_of_sync(collection, reader.name)
        self.existing = _records_of_kind(existing, kind)
        self._ignored = {
            file.path.relative_to(reader.folder).as_posix()
            for file in folder_files.left_out
            if file.why == IN_GITIGNORE
        }
        self._captions = {*folder_files.captions.values()}
        self._listed = {path.casefold() for path in folder_files.ids}
        self.by_content = {record.content: point_id for point_id, record in existing.items()}
        self._ids_by_path: dict[str, list[str]] = {}
        for point_id, record in self.existing.items():
            self._ids_by_path.setdefault(record.metadata["path"], []).append(point_id)

    def make(self, show_progress: bool) -> None:
        """Compare all files of the folder with their records in the collection, and find the
        records whose files don't exist any more."""
        with progress_bar("reading", len(self.folder_files.ids), "file", show_progress) as bar:
            for path in self.folder_files.ids:
                self._compare(path)
                bar.update(1)
        present = {*self.folder_files.ids}
        unsure = self._unsure()
        for path in sorted(self._ids_by_path.keys() - present):
            if self._is_gone(path, unsure):
                self.changes.deleted.append(path)
                self.changes.stale[path] = self._ids_by_path[path]
        self._report_patterns()

    def _report_patterns(self) -> None:
        """Log which records will be deleted although their files exist. This happens when a new
        pattern excludes files that an earlier sync has written."""
        folder, gone = self.reader.folder, self.changes.deleted
        excluded = [path for path in gone if self._is_left_out(path) and (folder / path).exists()]
        if excluded:
            _log.warning(
                "%d files are left out by a pattern now, so that their records are deleted: %s",
                len(excluded),
                list_ids(excluded),
            )

    def _is_left_out(self, path: str) -> bool:
        """Whether a pattern of the user, or in a .gitignore file, excludes a file."""
        return self._rules.excluded_by(path) is not None or not self._ignored.isdisjoint(
            _with_folders(path)
        )

    def unreadable(self, path: str, why: str) -> None:
        """Report that a file can't be read, with the reason."""
        self.folder_files.unreadable.append(Unreadable(self.reader.folder / path, why))

    def _compare(self, path: str) -> None:
        before, changes = self._ids_by_path.get(path, []), self.changes
        try:
            records = self.reader.read(path, partial(self._is_whole, path))
        except DataLoaderError as error:
            self.unreadable(path, str(error))
            return
        if records is None:
            changes.unchanged += 1
            return
        ids = {record.id for record in records}
        stale = [point_id for point_id in before if point_id not in ids]
        others = [record for record in records if not record.matches(self.existing.get(record.id))]
        if not records:
            self.folder_files.left_out.append(Unreadable(self.reader.folder / path, NO_TEXT))
            if before:
                changes.deleted.append(path)
        elif others or stale:
            (changes.changed if before else changes.added).append(path)
        else:
            changes.unchanged += 1
        if others:
            changes.files[path] = _fingerprint(records)
            changes.records += len(others)
            changes.new_ids += [record.id for record in others if record.id not in self.existing]
            changes.to_embed += sum(record.content not in self.by_content for record in others)
        if stale:
            changes.stale[path] = stale

    def _is_whole(self, path: str, made: Mapping[str, Any]) -> bool:
        """Whether the collection has all records of a file, so that the file needn't be parsed.
        made: the metadata that identify the bytes of the file, and the way in which the file is
        read."""
        start = self.reader.how.prefix + path
        records = [self.existing[point_id] for point_id in self._ids_by_path.get(path, [])]
        metadata_by_id = {record.id: record.metadata for record in records}
        number = records[0].metadata.get("places") if records else None
        expected = [f"{start}#{i}" for i in range(len(records))] if number is not None else [start]
        description = check_description(self.reader.how.describe)
        return (
            metadata_by_id.keys() == {*expected}
            and number in (None, len(records))
            and all(record.uri is None for record in records)
            and all(made.items() <= metadata.items() for metadata in metadata_by_id.values())
            and all(description.items() <= metadata.items() for metadata in metadata_by_id.values())
        )

    def _unsure(self) -> set[str]:
        """The paths of files and folders that couldn't be read. A file below such a folder may
        still exist."""
        folder = self.reader.folder
        return {file.path.relative_to(folder).as_posix() for file in self.folder_files.unreadable}

    def _is_gone(self, path: str, unsure: set[str]) -> bool:
        if path in self._captions:  # it belongs to its picture now, and has no record of its own
            return True
        if not unsure.isdisjoint(_with_folders(path)):
            return False
        if self._is_left_out(path):
            return True
        try:
            (self.reader.folder / path).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError as error:
            self.unreadable(path, error.strerror or str(error))
            return False
        # The file exists, but wasn't listed, since it was created meanwhile, or renamed to a name
        # that differs only in case.
        return path.casefold() in self._listed

    def users_metadata(self, record: FileRecord) -> dict[str, Any]:
        """The metadata that users added to the existing version of a record. The existing version
        is the record of this file with the same text, or else the record at the same position in
        the file. If the file was renamed, it is a record of the old file with the same content."""
        path, digest = record.metadata["path"], record.metadata.get("text_hash")
        same = [self.existing[point_id] for point_id in self._ids_by_path.get(path, [])]
        alike = [candidate for candidate in same if candidate.metadata.get("text_hash") == digest]
        before = self.existing.get(record.id)
        if len(alike) == 1 or (alike and before not in alike):
            before = alike[0]
        if before is None and record.content in self.by_content:  # its file was renamed
            before = self.existing.get(self.by_content[record.content])
            if before is not None and before.metadata["path"] not in self.changes.stale:
                before = None
        metadata = {} if before is None else before.metadata
        return {key: value for key, value in metadata.items() if key not in KEYS}

    def refuse_taken(self) -> None:
        """Raise IDAlreadyExistsError if a record that no sync with this name has written has one of
        the new ids. Raise ConflictError if another sync with this name is writing at the same
        time."""
        for ids in _pieces(self.changes.new_ids, _AT_ONCE):
            taken = ids_in(self.collection, ids)
            if taken:
                own = self.collection.get(sorted(taken), {SOURCE: self.reader.name}, include=[])
                if own["ids"]:
                    raise ConflictError(
                        f"another sync of {self.reader.name!r} is under way, which has made "
                        f"{own['ids'][0]!r}; nothing was written: call it again afterwards"
                    )
                self._refuse(min(taken))

    def _refuse(self, taken: str) -> NoReturn:
        metadatas = self.collection.get(taken, include=["metadatas"])["metadatas"]
        source = (metadatas[0] or {}).get(SOURCE) if metadatas else None
        whose, moved = "that no sync has made", ""
        if isinstance(source, str):
            whose = f"of the source {source!r}"
            moved = f"name={source!r} continues with it, if this folder has moved; "
        raise IDAlreadyExistsError(
            f"the id {taken!r} is that of a record {whose}, not of {self.reader.name!r}; nothing "
            f"was written. {moved}prefix= has all ids of this folder begin with something else"
        )

    def report(self, dry_run: bool) -> FolderSynced:
        """The report of this sync. dry_run: whether the changes are only planned, and not made."""
        changes = self.changes

        def done(paths: list[str]) -> tuple[str, ...]:
            return tuple(path for path in paths if path not in changes.failed)

        return FolderSynced(
            path=self.reader.folder,
            name=self.reader.name,
            added=done(changes.added),
            changed=done(changes.changed),
            deleted=done(changes.deleted),
            unchanged=changes.unchanged,
            left_out=tuple(self.folder_files.left_out),
            unreadable=tuple(self.folder_files.unreadable),
            gaps=tuple(dict.fromkeys(self.reader.gaps)),
            embedded=changes.to_embed if dry_run else changes.embedded,
            dry_run=dry_run,
        )


class _Writer:
    """Writes the records that differ from those in the collection, and deletes the records of
    deleted files."""

    def __init__(
        self, collection: Collection, reader: RecordReader, plan: _Plan, size: int
    ) -> None:
        self._collection, self._reader, self._plan, self._size = collection, reader, plan, size
        self._changes = plan.changes
        self._behind = collection.write_behind()

    def write(self, show_progress: bool) -> None:
        """Make all changes. Deletions come last, since the records of a moved file take their
        vectors from the old records."""
        bar_of = progress_bar("writing", self._changes.records, "passage", show_progress)
        try:
            with self._behind, bar_of as bar:
                for records in _pieces(self._records(), self._size):
                    self._put(records)
                    bar.update(len(records))
        except IDAlreadyExistsError as error:
            raise IDAlreadyExistsError(
                f"while the folder was read, another program or another sync added records with "
                f"these ids: {error}. Earlier records stay; the next sync continues"
            ) from error
        stale = [
            point_id
            for path, ids in self._changes.stale.items()
            if path not in self._changes.failed
            for point_id in ids
        ]
        for stale_ids in _pieces(stale, _AT_ONCE):
            self._collection.delete(ids=stale_ids, where=filter_of_sync(self._reader.name))

    def _records(self) -> Iterator[FileRecord]:
        for path, fingerprint in self._changes.files.items():
            try:
                records = self._reader.records(path)
            except DataLoaderError as error:
                self._fail(path, str(error))
                continue
            if _fingerprint(records) != fingerprint:
                self._fail(path, "it changed while it was being read")
                continue
            for record in records:
                if not record.matches(self._plan.existing.get(record.id)):
                    yield record

    def _fail(self, path: str, why: str) -> None:
        """Add a file to the report as failed. It is added only once, even if several of its records
        fail."""
        if path not in self._changes.failed:
            self._changes.failed.add(path)
            self._plan.unreadable(path, why)

    def _put(self, records: list[FileRecord]) -> None:
        by_content = self._plan.by_content
        same = {by_content[record.content] for record in records if record.content in by_content}
        vectors = vectors_of(self._collection, sorted(same), self._reader.name)

        def kind(record: FileRecord) -> tuple[bool, bool, bool, bool]:
            exists = record.id in self._plan.existing
            return exists, record.content in vectors, record.uri is not None, record.is_page

        for key, run in groupby(sorted(records, key=kind), kind):
            exists, has_vector, is_picture, is_page = key
            group = list(run)
            if has_vector:
                arguments = {"embeddings": np.stack([vectors[record.content] for record in group])}
                self._call(group, exists, **arguments)
            elif is_page:
                self._put_pages(group, exists)
            elif is_picture:
                self._put_pictures(group, exists)
            else:
                self._call(group, exists, embed="documents")
                self._changes.embedded += len(group)

    def _put_pages(self, records: list[FileRecord], exists: bool) -> None:
        """Write the records of pages that are pictures. This method draws the pages, since no data
        loader can draw them."""
        for record in records:
            try:
                picture = self._reader.draw(record)
            except DataLoaderError as error:
                self._fail(record.metadata["path"], str(error))
                continue
            self._call([record], exists, images=[picture], embed="images")
            self._changes.embedded += 1

    def _put_pictures(self, records: list[FileRecord], exists: bool) -> None:
        """Write the records of images that the data loader loads. If an image can't be loaded,
        write the records one by one."""
        try:
            left_out = self._call(records, exists, embed="uris")
        except DataLoaderError as error:
            if len(records) == 1:
                self._fail(records[0].metadata["path"], str(error))
                return
            for record in records:
                self._put_pictures([record], exists)
            return
        self._changes.embedded += len(records) - len(left_out)
        for record in records:
            if record.id in left_out:
                self._fail(record.metadata["path"], "the data loader can't load it")

    def _call(self, records: list[FileRecord], exists: bool, **how: Any) -> Sequence[str]:
        """Write the records. A record whose id another program has taken in the meantime isn't
        written, but reported as failed. Returns the ids that a data loader skipped."""
        ids, arguments = [record.id for record in records], dict(how)
        if any(record.uri is not None for record in records):
            arguments["uris"] = [record.uri for record in records]
        arguments["documents"] = [record.document for record in records]
        arguments["metadatas"] = [
            {**self._plan.users_metadata(record), **record.description, **record.metadata}
            for record in records
        ]
        if not exists:
            return self._behind.add(ids=ids, **arguments).left_out
        own = filter_of_sync(self._reader.name)
        written = self._collection.replace_own(own, ids, **arguments)
        theirs = written["others"]
        if not theirs:
            return written["left_out"]
        for record in records:
            if record.id in theirs:
                why = f"the id {record.id!r} was given to another record meanwhile"
                self._fail(record.metadata["path"], why)
        rest = [i for i, record in enumerate(records) if record.id not in theirs]
        if "embeddings" in how:
            how["embeddings"] = how["embeddings"][rest]
        return self._call([records[i] for i in rest], exists, **how) if rest else []


def _fingerprint(records: Iterable[FileRecord]) -> int:
    """A hash of the records of a file. It shows whether the file has changed between its first
    reading and the writing."""
    return hash(tuple((record.id, repr(record.metadata)) for record in records))


def _with_folders(path: str) -> list[str]:
    return [path, *map(str, PurePosixPath(path).parents)]


def _pieces(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield the items in lists of at most `size`."""
    left = iter(items)
    while piece := list(islice(left, size)):
        yield piece


def with_neighbours(
    collection: Collection, ids: str | Iterable[str], expand: int = 1
) -> list[list[dict[str, Any]]]:
    """For each id, a list with the passage of this id, and up to `expand` passages before it and
    after it in the same file. The passages are dicts with "id", "document" and "metadata", in the
    order of the file.

    If the file was changed in the meantime, only passages of the same version are returned. For a
    record that isn't a passage of a file, the list contains only this record. Raises
    InvalidArgumentError for an id that doesn't exist.
    """
    requested = [ids] if isinstance(ids, str) else [*ids]
    number = whole_number(expand, "expand", 0)
    records = _records(collection, requested)
    missing = [point_id for point_id in requested if point_id not in records]
    if missing:
        raise InvalidArgumentError(f"there is no record {quote(missing[0])} in the collection")
    around = {
        point_id: ids_around(point_id, records[point_id]["metadata"], number)
        for point_id in requested
    }
    more = {other for neighbours in around.values() for other in neighbours} - records.keys()
    records |= _records(collection, sorted(more))
    return [
        [
            records[other]
            for other in around[point_id]
            if other in records
            and is_same_file_version(records[other]["metadata"], records[point_id]["metadata"])
        ]
        for point_id in requested
    ]


def _records(collection: Collection, ids: list[str]) -> dict[str, dict[str, Any]]:
    if not ids:
        return {}
    result = collection.get(ids=list(dict.fromkeys(ids)), include=["documents", "metadatas"])
    return {
        point_id: {"id": point_id, "document": document, "metadata": metadata or {}}
        for point_id, document, metadata in zip(
            result["ids"], result["documents"], result["metadatas"], strict=True
        )
    }
