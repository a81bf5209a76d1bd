"""The whole of a file is looked at before anything of it is written.

Each record is checked by what checks the arguments of `add`, many at once; when one of them is
refused they are looked at one by one, so that the error can name the first that is wrong.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from retrieval_store.base.arrays import FLOAT16_INFINITY, FLOAT16_MAX
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.tracing import progress_bar
from retrieval_store.base.validation import shown
from retrieval_store.direct.arguments import embed_of, records_of
from retrieval_store.direct.collection import Collection, can_embed
from retrieval_store.errors import (
    DimensionMismatchError,
    DuplicateIDError,
    IDAlreadyExistsError,
    InvalidArgumentError,
    InvalidTypeError,
)
from retrieval_store.exchange.formats.rows import FIELDS, MAX_LINE_BYTES, Place, Row, batches
from retrieval_store.exchange.reading import Format, Source, source_of
from retrieval_store.exchange.reports import Checked

FromFile: TypeAlias = Literal["documents", "uris"]  # of which a file has what is embedded
BATCH = 1_000
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
    """Look at the whole of a file of records, and raise InvalidArgumentError for the first that
    can't be: with its line, or its row in a table. Nothing is written, embedded or loaded.

    path: a file that ends with .jsonl, .ndjson, .csv, .tsv or .parquet, or is of that `format`, or
    a directory of `export_arrays`. id_column, document_column: as which it has the ids and the
    documents. collection: also whether each could be added to it: what its vectors are, whether it
    has sparse ones, and whether it can embed what comes without; whether ids are there already
    doesn't matter. embed: "documents" or "uris" where records without an embedding have both: which
    of them is to be embedded. max_line_bytes: of a line of JSON, or a row of CSV.
    """
    source = source_of(path, format, id_column, document_column, max_line_bytes)
    return checked(source, expected_by(collection), None, show_progress, from_file(embed))


def from_file(embed: Any) -> FromFile | None:
    """What of a file is embedded, checked."""
    if embed is not None:
        embed_of(embed, get_args(FromFile))
    return embed  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Expected:
    """What a collection takes; all of it, where there is none."""

    dimension: int | None = None
    is_half: bool = False
    sparse: bool = True
    embeds: bool = True
    loads: bool = True


def expected_by(collection: Collection | None) -> Expected:
    """What can be added to the collection."""
    if collection is None:
        return Expected()
    settings = collection.configuration
    spaces: Mapping[str, Any] = collection.stats().get("spaces", {})
    return Expected(
        spaces.get("", {}).get("dimension"),
        settings["vectors"]["datatype"] == "float16",
        bool(settings.get("sparse")),
        can_embed(collection),
        collection._loader is not None,
    )


def checked(
    source: Source,
    expected: Expected,
    new_in: Collection | None,
    show_progress: bool,
    embed: FromFile | None,
) -> Checked:
    """What a file holds, all of which can be added; none of it being in `new_in`, if that is
    given."""
    checker = Checker(source.place, expected, embed)
    with progress_bar("checking", None, "record", show_progress) as bar:
        for rows in batches(source.rows(), BATCH):
            checker.check(rows)
            if new_in is not None:
                _refuse_known(new_in, rows, source.place)
            bar.update(len(rows))
    return Checked(source.path, checker.records, checker.embedded, checker.dimension)


def known_ids(collection: Collection, records: Sequence[Mapping[str, Any]]) -> set[str]:
    """The ids of the records that are there already."""
    ids = [record["id"] for record in records]
    return set(collection.get(ids=ids, include=[])["ids"]) if ids else set()


def _refuse_known(collection: Collection, rows: Sequence[Row], place: Place) -> None:
    known = known_ids(collection, [row.record for row in rows])
    for row in rows:
        if row.record["id"] in known:
            why = (
                f"the id {row.record['id']!r} is in the collection already; nothing was added. "
                "resume=True leaves out what is there, upsert=True updates it"
            )
            raise place.refused(row.number, IDAlreadyExistsError(why))


class Checker:
    """Checks the rows of one file, some after the others."""

    def __init__(self, place: Place, expected: Expected, embed: FromFile | None) -> None:
        self._place, self._expected, self._embed = place, expected, embed
        self._seen: set[bytes] = set()  # digests: ids may be long
        self.dimension, self.records, self.embedded = expected.dimension, 0, 0

    def check(self, rows: Sequence[Row]) -> None:
        """Raise InvalidArgumentError for the first row that can't be added."""
        fits = _fit(row.record for row in rows)
        for row in rows:
            try:
                if not fits:
                    _check_alone(row.record)
                self._check_beside(row.record)
            except InvalidArgumentError as error:
                raise self._place.refused(row.number, error) from None
        self.records += len(rows)

    def _check_beside(self, record: Mapping[str, Any]) -> None:
        """What a record is beside others, and for the collection."""
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
            wanted = self._embed.removesuffix("s")
            if wanted not in sources:
                raise InvalidArgumentError(f"it has no embedding, and no {wanted} to make one of")
            sources = [wanted]
        if len(sources) > 1:
            raise InvalidArgumentError(
                "it has no embedding, and both a document and a uri to make one of: "
                "embed='documents' or embed='uris' says of which"
            )
        if not sources:
            raise InvalidArgumentError(
                "it has no embedding, and neither a document nor a uri to make one of"
            )
        if sources == ["uri"] and not self._expected.loads:
            raise InvalidArgumentError(
                "it has no embedding but a uri, and the collection no data loader: pass "
                "data_loader= when you get it"
            )


def _fit(records: Iterable[dict[str, Any]]) -> bool:
    """Whether all of the records can be, as far as this can be told at once."""
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
    records_of(
        [record["id"] for record in records],
        values["embedding"],
        values["metadata"],
        values["document"],
        None,
        values["uri"],
        values["sparse_embedding"],
    )


def _check_alone(record: dict[str, Any]) -> None:
    """One record, so that what is said of it needs no number."""
    embedding = record.get("embedding")
    if embedding is not None and not isinstance(embedding, list | np.ndarray):
        raise InvalidArgumentError(
            f"embedding is {shown(embedding)}, expected a list of numbers, or base64 of float32"
        )
    point_id = record.get("id")
    if isinstance(point_id, int | float) and not isinstance(point_id, bool):
        raise InvalidTypeError(f'id is {shown(point_id)}, expected text: "id": "{point_id}"')
    try:
        _check_all([record])
    except InvalidArgumentError as error:
        said = str(error)
        for one, many in _ARGUMENTS.items():
            if said.startswith(f"{many}[0]"):
                said = one + said.removeprefix(f"{many}[0]")
        raise type(error)(said) from None
