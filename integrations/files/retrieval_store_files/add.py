"""Adds the records of a file to a collection.

First `source_of` detects the format of the file. Then the whole file is checked before any record
is written. Records are checked in batches, by the code that checks the arguments of
`Collection.add`. If a batch is refused, its records are checked one by one, so that the error can
name the first invalid record. Finally, an `Adder` writes the records.

An exported file may contain the settings of the collection from which it was exported;
`description_in` reads these settings.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from retrieval_store import Collection, check_records
from retrieval_store.errors import (
    DimensionMismatchError,
    DuplicateIDError,
    IDAlreadyExistsError,
    InvalidArgumentError,
    InvalidTypeError,
)
from retrieval_store.frameworks import progress_bar
from retrieval_store_files.formats import arrays
from retrieval_store_files.formats.arrays import ABOUT, about_arrays, rows_of_arrays
from retrieval_store_files.formats.common import (
    FIELDS,
    MAX_LINE_BYTES,
    FileColumns,
    FilePlace,
    Row,
    Stamp,
    batches,
    stamp_of,
)
from retrieval_store_files.formats.csv_format import rows_of_csv
from retrieval_store_files.formats.jsonl import object_of, rows_of_lines
from retrieval_store_files.formats.parquet import about_parquet, rows_of_parquet
from retrieval_store_files.reports import Added, Checked
from retrieval_store_files.values import is_blank, path_of, quote, whole_number

Embed: TypeAlias = Literal["documents", "images", "uris"]
Format = Literal["jsonl", "csv", "tsv", "parquet", "arrays"]
_OF_SUFFIX: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
_DELIMITERS = {"csv": ",", "tsv": "\t"}


@dataclass(frozen=True, slots=True)
class Source:
    """A file of records, or a directory of arrays, with its format and the options for reading
    it."""

    path: Path
    format: Format
    columns: FileColumns
    max_line_bytes: int

    @property
    def place(self) -> FilePlace:
        """The name of the source, and the word for a record ("line" or "row"), for error
        messages."""
        if self.format == "arrays":
            return FilePlace(arrays.RECORDS, "line")
        return FilePlace(self.path.name, "line" if self.format == "jsonl" else "row")

    def rows(self) -> Iterator[Row]:
        """Yield the rows of the source, which is read lazily."""
        match self.format:
            case "jsonl":
                return rows_of_lines(self.path, self.columns, self.max_line_bytes)
            case "parquet":
                return rows_of_parquet(self.path, self.columns)
            case "arrays":
                return rows_of_arrays(self.path, self.columns, self.max_line_bytes)
        delimiter = _DELIMITERS[self.format]
        return rows_of_csv(self.path, self.columns, self.max_line_bytes, delimiter)

    def stamp(self) -> tuple[Stamp, ...]:
        """A value that changes when the source is modified. It is computed from the times and sizes
        of the source's files."""
        if self.format == "arrays":
            return tuple(stamp_of(self.path / name) for name in (arrays.VECTORS, arrays.RECORDS))
        return (stamp_of(self.path),)


def source_of(
    path: str | os.PathLike[str],
    format: Any,
    id_column: Any,
    document_column: Any,
    max_line_bytes: Any,
) -> Source:
    """The `Source` with the path, the format, and the names of the columns that the arguments of a
    call give. Without a `format`, the format follows from the path. Raises an error for an invalid
    argument."""
    for name, column in (("id_column", id_column), ("document_column", document_column)):
        if not isinstance(column, str) or not column:
            raise InvalidTypeError(f"{name} is {quote(column)}, expected the name of a column")
    if id_column == document_column:
        raise InvalidArgumentError(f"id_column and document_column are both {id_column!r}")
    place = path_of(path, "path")
    most = whole_number(max_line_bytes, "max_line_bytes", 1)
    return Source(place, _format(place, format), FileColumns(id_column, document_column), most)


def _format(path: Path, value: Any) -> Format:
    known = get_args(Format)
    if value is not None:
        if value not in known:
            raise InvalidArgumentError(
                f"format is {quote(value)}, expected one of {', '.join(map(repr, known))}"
            )
        return value  # type: ignore[no-any-return]
    if path.is_dir():
        return "arrays"
    suffix_format = _OF_SUFFIX.get(path.suffix.lower())
    if suffix_format is None:
        raise InvalidArgumentError(
            f"path is {str(path)!r}, whose suffix is none of {', '.join(_OF_SUFFIX)}: pass format= "
            f"as one of {', '.join(map(repr, known))}"
        )
    return suffix_format


FromFile: TypeAlias = Literal["documents", "uris"]  # the fields of a file that are embedded
BATCH = 1_000
FLOAT16_MAX, FLOAT16_INFINITY = 65_504.0, 65_536.0  # the largest, and infinity as it is read
_ARGUMENTS = {
    "id": "ids",
    "embedding": "embeddings",
    "metadata": "metadatas",
    "document": "documents",
    "uri": "uris",
    "sparse_embedding": "sparse_embeddings",
}


def check(
    path: str | os.PathLike[str],
    collection: Collection | None = None,
    *,
    format: Format | None = None,
    id_column: str = "id",
    document_column: str = "document",
    embed: FromFile | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
    show_progress: bool = False,
) -> Checked:
    """Check a whole file of records. Nothing is written, embedded or loaded.

    Args:
        path: a file whose name ends with .jsonl, .ndjson, .csv, .tsv or .parquet, or a directory
            that `export_arrays` has written. If `format` is given, the file can have any name.
        collection: a collection that each record must fit. The vectors and sparse vectors of the
            records are checked, and whether the collection can compute a missing embedding. Ids
            that exist in the collection are accepted.
        format: the format of the file, needed if its name doesn't show it.
        id_column: the name of the column with the ids.
        document_column: the name of the column with the documents.
        embed: "documents" or "uris": the field to embed if a record has no embedding and has both
            fields.
        max_line_bytes: the largest size of a line of JSON, or a row of CSV, in bytes.
        show_progress: show a progress bar of the records.

    Raises:
        InvalidArgumentError: a record is invalid. The message names the first invalid record by
            its line, or by its row in a table.
    """
    source = source_of(path, format, id_column, document_column, max_line_bytes)
    return check_source(source, expectations_of(collection), None, show_progress, from_file(embed))


def from_file(embed: Any) -> FromFile | None:
    """Return the argument `embed` unchanged if it names a field to embed ("documents" or "uris"),
    or is None. Raises InvalidArgumentError for any other value."""
    if embed not in (None, *get_args(FromFile)):
        expected = " or ".join(map(repr, get_args(FromFile)))
        raise InvalidArgumentError(f"embed is {quote(embed)}, expected {expected}")
    return embed  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Expected:
    """The records that a collection accepts. dimension: the dimension of the collection's vectors;
    is_half: whether vectors are stored as float16; sparse: whether the collection has sparse
    vectors; embeds: whether it has an embedding function; loads: whether it has a data loader. The
    defaults accept all records. They are used if there is no collection."""

    dimension: int | None = None
    is_half: bool = False
    sparse: bool = True
    embeds: bool = True
    loads: bool = True


def expectations_of(collection: Collection | None) -> Expected:
    """The `Expected` that says which records the collection accepts. If `collection` is None, all
    records are accepted."""
    if collection is None:
        return Expected()
    settings = collection.configuration
    spaces: Mapping[str, Any] = collection.stats().get("spaces", {})
    return Expected(
        spaces.get("", {}).get("dimension"),
        settings["vectors"]["datatype"] == "float16",
        bool(settings.get("sparse")),
        # A stored function may still have to be built, which isn't done here.
        settings["embedding_function"] is not None or collection.embedding_function is not None,
        collection.data_loader is not None,
    )


def check_source(
    source: Source,
    expected: Expected,
    new_in: Collection | None,
    show_progress: bool,
    embed: FromFile | None,
) -> Checked:
    """Check all records of a source, and return a report with the number of records and of
    embeddings. Raises InvalidArgumentError for an invalid record, and IDAlreadyExistsError if an id
    already exists in the collection `new_in`."""
    checker = Checker(source.place, expected, embed)
    with progress_bar("checking", None, "record", show_progress) as bar:
        for rows in batches(source.rows(), BATCH):
            checker.check(rows)
            if new_in is not None:
                _refuse_known(new_in, rows, source.place)
            bar.update(len(rows))
    return Checked(source.path, checker.records, checker.embedded, checker.dimension)


def ids_in(collection: Collection, ids: list[str]) -> set[str]:
    """The subset of `ids` that exists in the collection."""
    return set(collection.get(ids=ids, include=[])["ids"]) if ids else set()


def _refuse_known(collection: Collection, rows: Sequence[Row], place: FilePlace) -> None:
    existing = ids_in(collection, [row.record["id"] for row in rows])
    for row in rows:
        if row.record["id"] in existing:
            why = (
                f"the id {row.record['id']!r} is in the collection already; nothing was added. "
                "resume=True skips existing records, upsert=True updates them"
            )
            raise place.error(row.number, IDAlreadyExistsError(why))


class Checker:
    """Checks the rows of a file in batches. It counts the records, and the records that have an
    embedding."""

    def __init__(self, place: FilePlace, expected: Expected, embed: FromFile | None) -> None:
        self._place, self._expected, self._embed = place, expected, embed
        self._seen: set[bytes] = set()  # digests: ids may be long
        self.dimension, self.records, self.embedded = expected.dimension, 0, 0

    def check(self, rows: Sequence[Row]) -> None:
        """Check rows of the file. Raises InvalidArgumentError for the first invalid row."""
        fits = _fit(row.record for row in rows)
        for row in rows:
            try:
                if not fits:
                    _check_alone(row.record)
                self._check_record(row.record)
            except InvalidArgumentError as error:
                raise self._place.error(row.number, error) from None
        self.records += len(rows)

    def _check_record(self, record: Mapping[str, Any]) -> None:
        """Check that a record fits the collection, and that no earlier record of the file has the
        same id."""
        if record.get("sparse_embedding") is not None and not self._expected.sparse:
            raise InvalidArgumentError(
                "it has a sparse_embedding, but the collection has no sparse vectors: those are "
                "for collections made with configuration={'sparse': {}}"
            )
        embedding = record.get("embedding")
        if embedding is None:
            self._check_sources(record)
        else:
            self._check_vector(embedding)
            self.embedded += 1
        digest = blake2b(record["id"].encode(), digest_size=16).digest()
        if digest in self._seen:
            raise DuplicateIDError(f"the id {record['id']!r} is given a second time")
        self._seen.add(digest)

    def _check_vector(self, embedding: Any) -> None:
        if self.dimension is None:
            self.dimension = len(embedding)
        if len(embedding) != self.dimension:
            of = "the collection's vectors have" if self._expected.dimension else "others have"
            raise DimensionMismatchError(
                f"embedding has {len(embedding)} numbers, but {of} {self.dimension}"
            )
        if self._expected.is_half:
            sizes = np.abs(np.asarray(embedding, np.float32))
            if ((sizes > FLOAT16_MAX) & (sizes != FLOAT16_INFINITY)).any():
                raise InvalidArgumentError(
                    f"embedding has a number beyond {FLOAT16_MAX:,.0f}, but the collection "
                    "keeps float16"
                )

    def _check_sources(self, record: Mapping[str, Any]) -> None:
        sources = [name for name in ("document", "uri") if record.get(name) is not None]
        if not self._expected.embeds:
            raise InvalidArgumentError(
                "it has no embedding, and the collection no embedding function to make one"
            )
        if self._embed is not None:
            field_name = self._embed.removesuffix("s")
            if field_name not in sources:
                raise InvalidArgumentError(
                    f"it has no embedding, and no {field_name} to make one of"
                )
            sources = [field_name]
        if len(sources) > 1:
            raise InvalidArgumentError(
                "it has no embedding, and both a document and a uri to make one of: "
                "choose with embed='documents' or embed='uris'"
            )
        if not sources:
            raise InvalidArgumentError(
                "it has no embedding, and neither a document nor a uri to make one of"
            )
        if sources == ["document"] and is_blank(str(record["document"])):
            raise InvalidArgumentError(
                f"its document is {quote(record['document'])}, with nothing in it to embed, and it "
                "has no embedding"
            )
        if sources == ["uri"] and not self._expected.loads:
            raise InvalidArgumentError(
                "it has no embedding but a uri, and the collection no data loader: pass "
                "data_loader= when you get it"
            )


def _fit(records: Iterable[dict[str, Any]]) -> bool:
    """Whether all records are valid. They are checked together, which is fast but doesn't show
    which record is invalid."""
    parts: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for record in records:
        parts[record.get("embedding") is not None].append(record)
    with suppress(InvalidArgumentError):
        for part in parts.values():
            if part:
                _check_all(part)
        return True
    return False


def _check_all(records: Sequence[dict[str, Any]]) -> None:
    for record in records:
        unknown = [name for name in record if name not in FIELDS]
        if unknown:
            raise InvalidArgumentError(
                f"it has the unknown key {unknown[0]!r}; known are {', '.join(FIELDS)}"
            )
        if "id" not in record:
            raise InvalidArgumentError("it has no 'id'")
    values = {
        name: [record.get(name) for record in records]
        if any(record.get(name) is not None for record in records)
        else None
        for name in FIELDS
    }
    check_records(
        [record["id"] for record in records],
        values["embedding"],
        values["metadata"],
        values["document"],
        None,
        values["uri"],
        values["sparse_embedding"],
    )


def _check_alone(record: dict[str, Any]) -> None:
    """Check a single record, so that the error message doesn't name a position in a list of
    records."""
    embedding = record.get("embedding")
    if embedding is not None and not isinstance(embedding, list | np.ndarray):
        raise InvalidArgumentError(
            f"embedding is {quote(embedding)}, expected a list of numbers, or base64 of float32"
        )
    point_id = record.get("id")
    if isinstance(point_id, int | float) and not isinstance(point_id, bool):
        raise InvalidTypeError(f'id is {quote(point_id)}, expected text: "id": "{point_id}"')
    try:
        _check_all([record])
    except InvalidArgumentError as error:
        message = str(error)
        for singular, plural in _ARGUMENTS.items():
            if message.startswith(f"{plural}[0]"):
                message = singular + message.removeprefix(f"{plural}[0]")
        raise type(error)(message) from None


Record = dict[str, Any]


def add_file(
    collection: Collection,
    path: str | os.PathLike[str],
    *,
    format: Format | None = None,
    id_column: str = "id",
    document_column: str = "document",
    embed: FromFile | None = None,
    batch: int = 1_000,
    resume: bool = False,
    upsert: bool = False,
    max_line_bytes: int = MAX_LINE_BYTES,
    show_progress: bool = False,
) -> Added:
    """Add the records of a file. All records are checked before the first one is written.

    Args:
        collection: the collection.
        path: as in `check`.
        format: as in `check`.
        id_column: as in `check`.
        document_column: as in `check`.
        embed: "documents" or "uris": the field to embed if a record has no embedding; the other
            field is only stored. By default the document is embedded; for a record without a
            document, the content at the record's URI.
        batch: how many records to write at once, durably and atomically. If a batch fails, the
            batches before it stay written.
        resume: skip records whose ids exist, so that this call continues an interrupted call.
        upsert: update records whose ids exist, as `Collection.upsert` does.
        max_line_bytes: as in `check`.
        show_progress: show a progress bar of the records.

    Raises:
        IDAlreadyExistsError: an id exists, and neither `resume` nor `upsert` is set. Nothing was
            written.
        InvalidArgumentError: as in `check`.
    """
    size = whole_number(batch, "batch", 1)
    refuse_both(resume, upsert)
    embedded = from_file(embed)
    source = source_of(path, format, id_column, document_column, max_line_bytes)
    new_in = None if resume or upsert else collection
    before = source.stamp()
    whole = check_source(source, expectations_of(collection), new_in, show_progress, embedded)
    if source.stamp() != before:
        raise InvalidArgumentError(
            f"{source.path.name} changed while it was being checked; nothing was added"
        )
    adder = Adder(collection, resume, upsert)
    bar_of = progress_bar("adding", whole.records, "record", show_progress)
    with bar_of as bar:

        def read() -> Iterator[list[Record]]:
            for rows in batches(source.rows(), size):
                bar.update(len(rows))
                yield [row.record for row in rows]

        adder.add_batches(read(), size, embedded)
    return Added(source.path, adder.added, adder.updated, adder.skipped)


def refuse_both(resume: bool, upsert: bool) -> None:
    """Raise InvalidArgumentError if `resume` and `upsert` are both set. Existing records are either
    skipped or updated."""
    if resume and upsert:
        raise InvalidArgumentError(
            "resume and upsert are both given: existing records are either skipped or updated"
        )


class Adder:
    """Adds records to a collection in batches, and counts the added, updated and skipped
    records."""

    def __init__(self, collection: Collection, resume: bool, upsert: bool) -> None:
        self._collection, self._resume, self._upsert = collection, resume, upsert
        self.added = self.updated = self.skipped = 0

    def add(self, records: Sequence[Record], embed: Embed | None) -> Sequence[str]:
        """Write records that have no vectors and that all have the same fields. Records whose ids
        exist are skipped if `resume` was set. Returns the ids of the records that the data loader
        skipped. embed: the field to embed."""
        existing = self._existing_ids(records)
        skipped = existing if self._resume else set()
        records = [record for record in records if record["id"] not in skipped]
        left_out = self._write(records, embed) if records else ()
        updated = len(existing.difference(left_out)) if self._upsert else 0
        self.skipped += len(skipped)
        self.updated += updated
        self.added += len(records) - len(left_out) - updated
        return left_out

    def _write(self, records: Sequence[Record], embed: Embed | None) -> Sequence[str]:
        fields: Record = {
            _ARGUMENTS[name]: [record[name] for record in records] for name in records[0]
        }
        write = self._collection.upsert if self._upsert else self._collection.add
        return write(**fields, embed=embed)["left_out"]

    def add_batches(
        self, batches: Iterable[Sequence[Record]], size: int, embed: Embed | None
    ) -> None:
        """Write records in batches of `size`. Each batch is written as soon as it has been read.
        embed: the field to embed if a record has no vector."""
        existing = written = 0

        def to_write() -> Iterator[Record]:
            nonlocal existing
            for records in batches:
                ids = self._existing_ids(records)
                existing += len(ids)
                for record in records:
                    if not (self._resume and record["id"] in ids):
                        yield record

        for has_vectors, run in groupby(to_write(), _has_vector):
            written += self._collection.add_from(
                run, size, upsert=self._upsert, embed=None if has_vectors else embed
            )
        self.skipped += existing if self._resume else 0
        updated = min(written, existing) if self._upsert else 0
        self.updated += updated
        self.added += written - updated

    def _existing_ids(self, records: Sequence[Record]) -> set[str]:
        if not (self._resume or self._upsert):
            return set()
        return ids_in(self._collection, [record["id"] for record in records])


def _has_vector(record: Mapping[str, Any]) -> bool:
    return record.get("embedding") is not None


CLUSTER_SETTINGS = "qdrant"  # the key of settings that only a cluster has


@dataclass(frozen=True, slots=True)
class Described:
    """The settings of a collection, as a file that was exported from the collection describes them.
    configuration: the argument `configuration` of `Client.create_collection`; model: the name and
    settings of the embedding function. All values are untrusted, because the author of the file
    chose them."""

    metadata: dict[str, Any] | None
    configuration: dict[str, Any]
    model: dict[str, Any] | None


def description_in(source: Source) -> Described | None:
    """The settings of the collection from which a file or directory was exported; None if the file
    or directory contains no settings. Raises InvalidArgumentError for settings in a form that no
    export of this package writes."""
    if source.format == "arrays":
        content, place = about_arrays(source.path, source.max_line_bytes), ABOUT
    elif source.format == "parquet":
        content, place = about_parquet(source.path), source.path.name
    else:
        return None
    if content is None:
        return None
    try:
        description = object_of(content)
        settings = dict(_object(description, "configuration") or {})
        model = _object(settings, "embedding_function")
        metadata = _object(description, "metadata")
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{place}, of the collection: {error}") from None
    dropped = ("embedding_function", CLUSTER_SETTINGS)
    configuration = {name: setting for name, setting in settings.items() if name not in dropped}
    return Described(metadata, configuration, model)


def _object(description: dict[str, Any], name: str) -> dict[str, Any] | None:
    value = description.get(name)
    if value is not None and not isinstance(value, dict):
        raise InvalidArgumentError(f"{name} is {quote(value)}, expected an object")
    return value
