"""Adds the texts and images of a folder to a collection, one record per file."""

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

from retrieval_store import Collection, TextLoader
from retrieval_store.errors import (
    DataLoaderError,
    EmbeddingFunctionError,
    IDAlreadyExistsError,
    InvalidArgumentError,
)
from retrieval_store.frameworks import progress_bar
from retrieval_store_files.add import (
    Adder,
    Embed,
    Expected,
    Record,
    expectations_of,
    ids_in,
    refuse_both,
)
from retrieval_store_files.find import (
    FileKind,
    FolderFiles,
    FolderRules,
    find_files,
    is_image,
    refuse_unknown_kind,
)
from retrieval_store_files.formats.common import in_bounded_pieces
from retrieval_store_files.read import NO_TEXT
from retrieval_store_files.reports import FolderAdded, Unreadable
from retrieval_store_files.values import is_blank, path_of, whole_number

_LOOKED_UP = 1_000


def add_folder(
    collection: Collection,
    path: str | os.PathLike[str],
    *,
    kind: FileKind | None = None,
    captions: bool = False,
    batch: int = 100,
    resume: bool = False,
    upsert: bool = False,
    max_bytes: int = 10_000_000,
    show_progress: bool = False,
) -> FolderAdded:
    """Add the texts (.txt, .md, .rst) and images (.png, .jpg, .jpeg, .webp, .gif, .bmp) in a folder
    and its subfolders. Each file becomes a record, which the collection embeds.

    The id of a record is the path of the file within the folder, which is also in the metadata, as
    "path". The document of a text file is its content, which must be UTF-8. The uri of an image is
    its absolute path, from which the collection's data loader loads it. Links aren't followed, and
    names that begin with a dot are skipped. A file that can't be read, or has no text, is listed in
    the report with the reason. All other files are added.

    Args:
        collection: the collection.
        path: the folder.
        kind: "texts" or "images", to add only these.
        captions: treat a .txt file next to an image as the image's caption, if both have the same
            name except for the ending. The caption becomes the document of the image's record. The
            vector is computed from the image. An image whose caption can't be read is skipped; an
            empty caption is ignored.
        batch: how many records are written at once.
        resume: as in `add_file`. If an id exists, and neither `resume` nor `upsert` is set, nothing
            is written.
        upsert: as in `add_file`.
        max_bytes: the largest size of a text file in bytes.
        show_progress: show a progress bar of the files.
    """
    size = whole_number(batch, "batch", 1)
    most = whole_number(max_bytes, "max_bytes", 1)
    refuse_both(resume, upsert)
    refuse_unknown_kind(kind, captions)
    folder = path_of(path, "path")
    if not folder.is_dir():
        raise InvalidArgumentError(f"path is {str(folder)!r}, expected a folder")
    files = find_files(folder, FolderRules(kind, captions))
    refuse_unfit(files, expectations_of(collection))
    if not (resume or upsert):
        _refuse_known(collection, files)
    return _Folder(collection, folder, files, most, resume, upsert).add_files(size, show_progress)


def refuse_unfit(files: FolderFiles, expected: Expected) -> None:
    """Raise an error if the collection can't embed the files."""
    if not expected.embeds:
        raise EmbeddingFunctionError(
            "files of a folder are embedded, but the collection has no embedding function: pass "
            "embedding_function= when you create or get it"
        )
    image = files.image
    if image is not None and not expected.loads:
        raise InvalidArgumentError(
            f"there are images, such as {image!r}, but the collection has no data loader: pass "
            "data_loader= when you get it, or kind='texts'"
        )


def _refuse_known(collection: Collection, files: FolderFiles) -> None:
    for start in range(0, len(files.ids), _LOOKED_UP):
        ids = files.ids[start : start + _LOOKED_UP]
        known = ids_in(collection, ids)
        if known:
            raise IDAlreadyExistsError(
                f"the id {min(known)!r} is in the collection already; nothing was added. "
                "resume=True skips existing records, upsert=True updates them"
            )


class _Folder:
    """Adds the files of a folder to a collection."""

    def __init__(
        self,
        collection: Collection,
        folder: Path,
        files: FolderFiles,
        most: int,
        resume: bool,
        upsert: bool,
    ) -> None:
        self._collection, self._folder, self._files = collection, folder, files
        self._resume = resume
        self._adder = Adder(collection, resume, upsert)
        # A file may have become a link, or a pipe, since it was found. The loader follows no links
        # out of the folder, and doesn't block on pipes.
        self._texts = TextLoader(encoding="utf-8-sig", root=folder, max_bytes=most)

    def add_files(self, size: int, show_progress: bool) -> FolderAdded:
        """Add all files, and return the report."""
        files, adder = self._files, self._adder
        bar_of = progress_bar("adding", len(files.ids), "file", show_progress)
        with bar_of as bar:
            for ids in in_bounded_pieces(files.ids, size, self._size_of):
                for images in (False, True):
                    self._add(
                        [point_id for point_id in ids if is_image(point_id) is images], images
                    )
                bar.update(len(ids))
        return FolderAdded(
            self._folder,
            adder.added,
            adder.updated,
            adder.skipped,
            tuple(files.left_out),
            tuple(files.unreadable),
        )

    def _size_of(self, point_id: str) -> int:
        with suppress(OSError):  # reading it will report the error
            return (self._folder / point_id).lstat().st_size
        return 0

    def _add(self, ids: list[str], images: bool) -> None:
        if self._resume:  # before the files are read, as many may exist already
            known = ids_in(self._collection, ids)
            self._adder.skipped += len(known)
            ids = [point_id for point_id in ids if point_id not in known]
        records = list(self._images(ids) if images else self._documents(ids))
        for has_both, group in groupby(sorted(records, key=_has_both), _has_both):
            self._add_records(list(group), "uris" if has_both else None)

    def _add_records(self, records: list[Record], embed: Embed | None) -> None:
        """Write records. If the data of a record can't be loaded, write the records one by one."""
        try:
            for point_id in self._adder.add(records, embed):
                self._report_unreadable(point_id, "the data loader can't load it")
        except DataLoaderError as error:
            if len(records) == 1:
                self._report_unreadable(records[0]["id"], str(error))
                return
            for record in records:
                self._add_records([record], embed)

    def _report_unreadable(self, point_id: str, why: str) -> None:
        self._files.unreadable.append(Unreadable(self._folder / point_id, why))

    def _documents(self, ids: list[str]) -> Iterator[Record]:
        for point_id in ids:
            text = self._text(point_id)
            if text is not None and is_blank(text):
                self._files.left_out.append(Unreadable(self._folder / point_id, NO_TEXT))
            elif text is not None:
                yield self._record(point_id, document=text)

    def _images(self, ids: list[str]) -> Iterator[Record]:
        for point_id in ids:
            caption = self._files.captions.get(point_id)
            text = "" if caption is None else self._text(caption)
            if text is not None:
                document = {} if is_blank(text) else {"document": text}
                yield self._record(point_id, uri=str(self._folder / point_id), **document)

    def _text(self, name: str) -> str | None:
        """The content of a file. If the file can't be read, return None and add the file to the
        report."""
        path = self._folder / name
        try:
            (text,) = self._texts([str(path)])
        except DataLoaderError as error:
            self._files.unreadable.append(Unreadable(path, str(error)))
            return None
        return text

    def _record(self, point_id: str, **fields: Any) -> Record:
        return {"id": point_id, "metadata": {"path": point_id}, **fields}


def _has_both(record: Record) -> bool:
    """Whether a record has both an image and its caption, so that the caller must name the field to
    embed."""
    return "uri" in record and "document" in record
