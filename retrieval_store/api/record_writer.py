"""Writes records to a collection: checks, embeds and writes them.

Without `embed`, a record has only one of document, image and uri, from which its vector is
computed; a new value of one removes the other two. If `embed` names a field, the vectors are
computed from that field, and the other fields are only stored.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from retrieval_store.api.arguments import (
    FIELDS,
    Embed,
    Records,
    WriteRequest,
    metadatas_of,
    records_of,
)
from retrieval_store.api.configuration import require_sparse
from retrieval_store.api.embedder import Embedder
from retrieval_store.api.results import SPACE, SPARSE, WriteResult
from retrieval_store.backends import StoredCollection
from retrieval_store.base.arrays import Ints, Matrix
from retrieval_store.base.tracing import log_of
from retrieval_store.base.validation import Payload, is_blank, quote
from retrieval_store.base.workers import WorkerPool
from retrieval_store.errors import (
    DataLoaderError,
    InvalidArgumentError,
    InvalidTypeError,
)
from retrieval_store.filters.dates import micros_in
from retrieval_store.filters.nodes import Expression
from retrieval_store.loaders import DataLoader
from retrieval_store.query.protocols import PointsBackend
from retrieval_store.query.types import (
    UNSET,
    CollectionRecord,
    Fields,
    MaybeText,
    NonDenseVectors,
    PointBatch,
    PointId,
    PutResult,
    ShownIds,
    Vectors,
    WriteRules,
    with_nulls,
)


@dataclass(frozen=True, slots=True)
class EmbeddingInputs:
    """The inputs to embed, and the new values of the records' fields. inputs: strings and images;
    positions: int64, the record of each input; documents, uris: the new value of each record, UNSET
    for a record that keeps its stored value; None if all records keep their stored values."""

    inputs: list[Any]
    positions: Ints
    documents: list[MaybeText] | None
    uris: list[MaybeText] | None


def load_uris(records: Records, loader: DataLoader | None) -> list[Any]:
    """The data at the URI of each record; None for all records if URIs are not embedded. It is also
    None for a record without a URI, and for a URI that the loader skips. Raises
    InvalidArgumentError if there are URIs but no loader."""
    uris = _embedded_uris(records)
    has_uris = uris is not None and any(uri is not None for uri in uris)
    return load_items(uris or [], loader) if has_uris else [None] * len(records.ids)


def _embedded_uris(records: Records) -> list[str | None] | None:
    return records.uris if records.embed in (None, "uris") else None


def skipped_places(records: Records, loaded: list[Any], loader: DataLoader | None) -> set[int]:
    """The positions of the records whose URIs the loader skipped; a loader skips URIs only with
    `on_error="skip"`."""
    uris = _embedded_uris(records)
    if uris is None or getattr(loader, "on_error", None) != "skip":
        return set()
    pairs = enumerate(zip(uris, loaded, strict=True))
    return {i for i, (uri, item) in pairs if uri is not None and item is None}


def _refuse_unloaded(records: Records, loaded: list[Any]) -> None:
    for point_id, uri, item in zip(
        records.ids, _embedded_uris(records) or (), loaded, strict=False
    ):
        if uri is not None and item is None:
            raise DataLoaderError(
                f"{uri!r} can't be loaded, so id {point_id!r} can't be embedded from it"
            )


def _choose_sources(records: Records, loaded: list[Any]) -> EmbeddingInputs:
    """The inputs to embed, from the field that `embed` names. The other fields are stored without
    being embedded."""
    field = loaded if records.embed == "uris" else getattr(records, records.embed or "")
    places = [i for i, item in enumerate(field or ()) if item is not None]
    return EmbeddingInputs(
        [field[i] for i in places],
        np.array(places, np.int64),
        or_unset(records.documents),
        or_unset(records.uris),
    )


def or_unset(values: list[Any] | None) -> list[Any] | None:
    """A copy of the values, with UNSET instead of each None."""
    return None if values is None else [UNSET if value is None else value for value in values]


def _only_sources(records: Records, loaded: list[Any]) -> EmbeddingInputs:
    """The inputs to embed, if the caller did not name a field. Raises InvalidArgumentError for a
    record with more than one field that can be embedded."""
    inputs: list[Any] = []
    positions: list[int] = []
    documents: list[MaybeText] = [UNSET] * len(records.ids)
    uris: list[MaybeText] = [UNSET] * len(records.ids)
    for i, point_id in enumerate(records.ids):
        sources = [
            values[i]
            for values in (records.documents, records.images, loaded)
            if values is not None and values[i] is not None
        ]
        if len(sources) > 1:
            raise InvalidArgumentError(
                f"id {point_id!r} has more than one of document, image and uri, and no embedding: "
                "embed='documents', 'images' or 'uris' says which is embedded"
            )
        if sources:
            inputs += sources
            positions.append(i)
            documents[i] = records.documents[i] if records.documents is not None else None
            uris[i] = records.uris[i] if records.uris is not None else None
    if not inputs:
        return EmbeddingInputs(inputs, np.array(positions, np.int64), None, None)
    return EmbeddingInputs(inputs, np.array(positions, np.int64), documents, uris)


def load_items(uris: list[str | None], loader: DataLoader | None) -> list[Any]:
    """The data at each URI; None where the URI is None. Raises InvalidArgumentError without a data
    loader."""
    if loader is None:
        raise InvalidArgumentError(
            "data can't be loaded without a data loader: pass data_loader= when you create or get "
            "the collection (or embeddings, when adding)"
        )
    places = [i for i, uri in enumerate(uris) if uri is not None]
    items = list(loader([uris[i] for i in places])) if places else []
    if len(items) != len(places):
        raise InvalidArgumentError(
            f"the data loader returned {len(items)} items for {len(places)} uris"
        )
    loaded: list[Any] = [None] * len(uris)
    for i, item in zip(places, items, strict=True):
        loaded[i] = item
    return loaded


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """A batch to write. was_embedded: whether vectors were computed for it; left_out: the ids of
    records whose URIs the loader skipped."""

    batch: PointBatch
    was_embedded: bool = False
    left_out: Sequence[str] = ()


def _with_vectors(records: Records, embeddings: Matrix) -> PreparedBatch:
    batch = PointBatch(
        ShownIds(records.ids),
        {**_sparse_vectors(records), SPACE: Vectors(embeddings)},
        or_unset(records.metadatas),
        or_unset(records.documents),
        or_unset(records.uris),
    )
    return PreparedBatch(batch)


def _embed_records(
    records: Records,
    loaded: list[Any],
    embedder: Embedder,
    show_progress: bool,
) -> PreparedBatch:
    payloads, vectors = or_unset(records.metadatas), _sparse_vectors(records)
    _refuse_unloaded(records, loaded)
    choose = _only_sources if records.embed is None else _choose_sources
    sources = choose(records, loaded)
    _refuse_blank(records.ids, sources)
    if sources.inputs:
        vectors[SPACE] = Vectors(embedder.embed(sources.inputs, show_progress), sources.positions)
    batch = PointBatch(ShownIds(records.ids), vectors, payloads, sources.documents, sources.uris)
    return PreparedBatch(batch, was_embedded=bool(sources.inputs))


def _refuse_blank(ids: Sequence[str], sources: EmbeddingInputs) -> None:
    """Raise InvalidArgumentError for a blank text. Functions embed a blank text as zeros, and that
    vector is equally near to all queries."""
    for place, text in zip(sources.positions.tolist(), sources.inputs, strict=True):
        if isinstance(text, str) and is_blank(text):
            raise InvalidArgumentError(
                f"the document of id {ids[place]!r} is {quote(text)}, with nothing in it to embed: "
                "leave the record out, or pass an embedding"
            )


def _sparse_vectors(records: Records) -> dict[str, Vectors | NonDenseVectors]:
    vectors = records.sparse_embeddings or ()
    places = [i for i, vector in enumerate(vectors) if vector is not None]
    if not places:
        return {}
    items = [vector for vector in vectors if vector is not None]
    return {SPARSE: NonDenseVectors(items, np.array(places, np.int64))}


def require_change(records: Records) -> None:
    """Raise InvalidArgumentError if only ids were passed."""
    if all(getattr(records, name) is None for name in FIELDS):
        raise InvalidArgumentError(f"only ids are given, expected one of {', '.join(FIELDS)}")


def require_sources(records: Records) -> None:
    """Raise InvalidArgumentError for a record that has neither a vector nor a field to embed."""
    if records.embeddings is not None:
        return
    if records.embed is not None:
        _require_kind(records, records.embed)
        return
    sources = [x for x in (records.documents, records.images, records.uris) if x is not None]
    if not sources:
        raise InvalidArgumentError("this needs embeddings, documents, images or uris")
    for i, point_id in enumerate(records.ids):
        if all(values[i] is None for values in sources):
            raise InvalidArgumentError(f"id {point_id!r} has no embedding, document, image or uri")


def _require_kind(records: Records, embed: Embed) -> None:
    values = getattr(records, embed)
    for i, point_id in enumerate(records.ids):
        if values is None or values[i] is None:
            kind = embed.removesuffix("s")
            raise InvalidArgumentError(f"id {point_id!r} has no {kind}, but embed is {embed!r}")


_log = log_of()
MAX_SECONDS = 1e11  # since 1970: the year 5138
CLEARED = (
    "records lost the document or the uri that they had, since each is embedded from one of "
    "document, image and uri, and was given another (embed= stores both)"
)
_ADD = WriteRules(on_existing="refuse", on_missing="insert", needs_vector=SPACE)
_UPDATE = WriteRules(on_existing="update", on_missing="ignore")
_UPSERT = WriteRules(on_existing="update", on_missing="insert", needs_vector=SPACE)
_NEW_METADATA = replace(_UPSERT, merge_payloads=False)
_REPLACE = replace(_NEW_METADATA, on_existing="replace")


@dataclass(slots=True)
class Writer:
    """Makes batches from requests to a collection, and writes them. points: a function that returns
    the collection's points; record: a function that returns the collection's current record;
    loader: the collection's data loader; expires: the metadata key with the time at which a record
    expires, if any."""

    backend: StoredCollection
    points: Callable[[], PointsBackend]
    record: Callable[[], CollectionRecord]
    embedder: Embedder
    loader: DataLoader | None
    expires: str | None = None

    def add_batch(
        self, request: WriteRequest, show_progress: bool
    ) -> tuple[PreparedBatch, WriteRules]:
        """The batch of an `add`, to be written, and the rules for writing it; see
        `Collection.add`."""
        records = self._records(request)
        require_sources(records)
        return self._prepare(records, show_progress), _ADD

    def update(self, request: WriteRequest, show_progress: bool) -> WriteResult:
        """Change points; see `Collection.update`."""
        records = self._records(request)
        require_change(records)
        return self.write(self._prepare(records, show_progress), _UPDATE)

    def update_where(self, expression: Expression, request: WriteRequest) -> WriteResult:
        """Merge the request's metadata into that of each matching record; see
        `Collection.update`."""
        metadata = _only_metadata(request)
        if self.expires is not None:
            _check_expiry([metadata], self.expires)
        return WriteResult(left_out=[], updated=self.points().merge_payload(expression, metadata))

    def upsert_batch(
        self,
        request: WriteRequest,
        show_progress: bool,
        replaces_metadata: bool,
        replaces: bool,
    ) -> tuple[PreparedBatch, WriteRules]:
        """The batch of an `upsert`, to be written, and the rules for writing it; see
        `Collection.upsert`."""
        records = self._records(request)
        require_change(records)
        if replaces:  # no vector may stay of what is replaced
            require_sources(records)
        prepared = self._prepare(records, show_progress)
        if not replaces:
            return prepared, _NEW_METADATA if replaces_metadata else _UPSERT
        return replace(prepared, batch=with_nulls(prepared.batch)), _REPLACE

    def _records(self, request: WriteRequest) -> Records:
        records = records_of(request)
        if records.sparse_embeddings is not None:
            require_sparse("sparse_embeddings", self.record())
        if self.expires is not None:
            _check_expiry(records.metadatas or (), self.expires)
        return records

    def _prepare(self, records: Records, show_progress: bool) -> PreparedBatch:
        """A batch of the records, with vectors computed for those that have none."""
        if records.embeddings is not None:
            return _with_vectors(records, records.embeddings)
        loaded = load_uris(records, self.loader)
        skipped = skipped_places(records, loaded, self.loader)
        left_out = [records.ids[i] for i in sorted(skipped)]
        if skipped:
            records = records.without(skipped)
            loaded = [item for i, item in enumerate(loaded) if i not in skipped]
        embedded = _embed_records(records, loaded, self.embedder, show_progress)
        return replace(embedded, left_out=left_out)

    def write(self, prepared: PreparedBatch, rules: WriteRules) -> WriteResult:
        """Write a batch by these rules."""
        if not prepared.batch.ids:
            return self.report(prepared, None)
        return self.report(prepared, self.points().put(prepared.batch, rules))

    def report(self, prepared: PreparedBatch, result: PutResult | None) -> WriteResult:
        """The result of a write, as the caller gets it. Logs the ids that were left out. result:
        what the store returned; None if nothing was written."""
        ignored = () if result is None else result.ignored
        if prepared.left_out:
            _warn_of_repeated("records whose uris can't be loaded were left out", prepared.left_out)
        if ignored:
            _warn_of_repeated("update ignored ids that don't exist", ignored)
        report = WriteResult(left_out=[*prepared.left_out, *map(str, ignored)])
        cleared = () if result is None else result.cleared
        if cleared:
            _warn_of_repeated(CLEARED, cleared)
            report["cleared"] = [*map(str, cleared)]
        return report


class WriteBehind:
    """Writes batches one by one, in order. Batches that were embedded, and all batches for a
    cluster, are written in a separate thread while the caller prepares the next batch.

    If a batch fails, the next call, or the end of the `with` block, raises its error. At that time
    all earlier batches are written, and no later batch.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._thread: WorkerPool | None = None  # made with the first that it writes
        self._pending: Future[WriteResult] | None = None

    def __enter__(self) -> "WriteBehind":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        try:
            if error is None or isinstance(error, Exception):  # else it is an interrupt's turn
                self._settle()
        finally:
            if self._thread is not None:
                self._thread.shutdown()

    def add(self, **arguments: Any) -> PreparedBatch:
        """Write a batch as `Collection.add` does. Returns the previous batch, whose `left_out` has
        the ids of records whose uris the data loader skipped."""
        return self._write(*self._writer.add_batch(WriteRequest(**arguments), False))

    def upsert(self, **arguments: Any) -> PreparedBatch:
        """Write a batch as `Collection.upsert` does; returns the same as `add`."""
        request = WriteRequest(**arguments)
        return self._write(*self._writer.upsert_batch(request, False, False, False))

    def _write(self, prepared: PreparedBatch, rules: WriteRules) -> PreparedBatch:
        self._settle()
        if not prepared.was_embedded and not self._writer.backend.on_cluster:
            self._writer.write(prepared, rules)  # there is little to make meanwhile
            return prepared
        if self._thread is None:
            self._thread = WorkerPool(1, "retrieval-store-write")
        self._pending = self._thread.submit(self._writer.write, prepared, rules)
        return prepared

    def _settle(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()


def replace_where(
    writer: Writer, own_condition: Expression, request: WriteRequest
) -> tuple[list[str], set[str]]:
    """Write the records of `Collection.replace_own`. Returns the ids that the loader skipped, and
    the ids that belong to records of other programs. If another program adds a record between the
    check and the write, that record is not changed. On a cluster this is only certain until the
    first request is sent."""
    prepared, rules = writer.upsert_batch(request, False, False, True)
    points, ids = writer.points(), prepared.batch.ids
    existing, own_ids = (
        points.get(ids, condition, None, 0, Fields()).ids for condition in (None, own_condition)
    )
    foreign_ids = {*map(str, existing)} - {*map(str, own_ids)}
    if foreign_ids or not ids:
        return [*prepared.left_out], foreign_ids
    result = points.put(prepared.batch, replace(rules, where=own_condition))
    return writer.report(prepared, replace(result, ignored=[]))["left_out"], {
        *map(str, result.ignored)
    }


def _only_metadata(request: WriteRequest) -> Payload:
    """The metadata of a request with a filter. Raises InvalidArgumentError if the request has any
    other field."""
    if request.ids is not None:
        raise InvalidArgumentError(
            "ids and where are both given, expected either the records of these ids, or those that "
            "a filter selects"
        )
    if others := [name for name in request.given() if name != "metadatas"]:
        raise InvalidArgumentError(
            f"{others[0]} goes with ids: of the records that where selects metadatas alone can be "
            "changed"
        )
    if not isinstance(request.metadatas, Mapping):
        raise InvalidTypeError(
            f"metadatas is {quote(request.metadatas)}, expected one dict, to be merged into the "
            "metadata of each record that where selects"
        )
    return metadatas_of(request.metadatas)[0] or {}


def _check_expiry(metadatas: Iterable[Payload | None], key: str) -> None:
    """Raise InvalidArgumentError if a value under the key for expiry is not a timestamp."""
    for i, metadata in enumerate(metadatas):
        value = (metadata or {}).get(key)
        if isinstance(value, int | float) and abs(value) > MAX_SECONDS:
            raise InvalidArgumentError(
                f"metadatas[{i}][{key!r}] is {quote(value)}, expected seconds since 1970, as "
                "configuration['expires'] says; are these milliseconds?"
            )
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_time = isinstance(value, str) and micros_in(value) is not None
        if not (value is None or is_number or is_time):
            raise InvalidArgumentError(
                f"metadatas[{i}][{key!r}] is {quote(value)}, expected when the record expires, as "
                "configuration['expires'] says: a time of ISO 8601 or the seconds since 1970; or "
                "None"
            )


def _warn_of_repeated(message: str, ids: Sequence[PointId]) -> None:
    _log.warning("%s: %d, such as %r", message, len(ids), ids[0])
