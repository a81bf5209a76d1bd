"""Collection: named points, each with documents, metadata and an embedding."""

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from retrieval_store.api.arguments import (
    DEFAULT,
    Default,
    Embed,
    WriteRequest,
    check_ids,
    collection_name,
    filter_of,
    include_of,
    metadata_key,
    metadata_keys,
    read_once,
)
from retrieval_store.api.configuration import (
    Configuration,
    all_settings,
    analyzer_of,
    edit_record,
    given_settings,
    index_of,
    metric_of,
    require_sparse,
    spaces_of,
    stored_settings,
    to_store,
)
from retrieval_store.api.embedder import Embedder
from retrieval_store.api.query_arguments import (
    Groups,
    Hybrid,
    Mode,
    QueryBuilder,
    QueryRequest,
    vector_like,
)
from retrieval_store.api.results import (
    GET_FIELDS,
    QUERY_FIELDS,
    SPACE,
    DeleteResult,
    Explanation,
    GetField,
    GetResult,
    QueryField,
    QueryResult,
    Stats,
    Warmed,
    WriteResult,
    explanation_of,
    fields_for,
    get_result,
    query_result,
    stats_of,
)
from retrieval_store.base.argument_names import OF_QUERIES, suggests_argument
from retrieval_store.base.arrays import Matrix, Metric
from retrieval_store.base.tracing import shortens_tracebacks
from retrieval_store.base.validation import Payload, check_metadata, path_of, quote, whole_number
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError, NotFoundError
from retrieval_store.filters.nodes import Expression, HasId, Not, Scalar, Where, all_of, walk
from retrieval_store.filters.paths import PayloadPath
from retrieval_store.filters.values import TextRange
from retrieval_store.query.query import BestOfEach, Query
from retrieval_store.query.types import CollectionRecord, Fields, Hits, Points, uses_codes

if TYPE_CHECKING:
    from retrieval_store.api.chroma.search import SearchResult
    from retrieval_store.api.maps import Library
    from retrieval_store.api.record_writer import WriteBehind, Writer
    from retrieval_store.api.rerank import Reranking
    from retrieval_store.backends import StoredCollection
    from retrieval_store.base.analysis import Analyzer
    from retrieval_store.embeddings import Embeds
    from retrieval_store.loaders import DataLoader
    from retrieval_store.query.protocols import PointsBackend
    from retrieval_store.query.reasons import Reasons

FIRST = 5  # points that a notebook shows of a collection


class AskedQuery(NamedTuple):
    """The query that `query` and similar methods send to the store. included: the names in
    `include`; filter: all conditions of the query; reranking: how the hits are sorted by a
    re-ranker."""

    query: Query
    included: frozenset[str]
    filter: Expression | None = None
    reranking: "Reranking | None" = None


@shortens_tracebacks
class Collection:
    """Points that can be found by id, by metadata, by the text of documents, and by the nearness of
    vectors.

    Made by the methods of `Client`. Any number of threads may use it. Two collections are equal if
    their ids are equal. Every method raises NotFoundError after the collection was deleted, and
    ClientClosedError after its client was closed; id and name stay available.
    """

    def __init__(
        self,
        backend: "StoredCollection",
        record: CollectionRecord,
        embedding_function: "Embeds | Default | None" = DEFAULT,
        data_loader: "DataLoader | None" = None,
        trust: bool = False,
        check_model: bool = True,
    ) -> None:
        """Called by the methods of `Client`.

        Args:
            backend: the collection in its store.
            record: its catalog record when it was opened.
            embedding_function: as of `Client.create_collection`.
            data_loader: as of `Client.create_collection`.
            trust: as of `Client`.
            check_model: as of `Client.create_collection`.
        """
        self._backend = backend
        self._last_points: PointsBackend | None = None
        self._opened_as = record.name
        self._seen: set[Any] = set()  # what of filters needn't be looked at again
        self._expires = record.expires  # which stays
        known_as = record.id, record.name
        self._embedder = Embedder(
            embedding_function, _spec_in(record), trust, check_model, known_as
        )
        self._loader = data_loader

    @property
    def id(self) -> uuid.UUID:
        """The id, which stays the same when the name changes."""
        return uuid.UUID(self._backend.id)

    @property
    def name(self) -> str:
        """The current name; if the collection was deleted, its last known name."""
        with suppress(NotFoundError):
            self._opened_as = self._backend.record().name
        return self._opened_as

    @property
    def metadata(self) -> Payload | None:
        """The metadata of the collection itself."""
        record = self._record()
        return None if record.is_qdrant_only else stored_settings(record)["metadata"]  # type: ignore[return-value]

    @property
    def configuration(self) -> dict[str, Any]:
        """The settings: of the index (`["hnsw"]["space"]` is the distance), of "text" search, the
        datatype of "vectors", and the specification of the embedding function."""
        record = self._record()
        return {**to_store(all_settings(record)), "embedding_function": _spec_in(record)}

    @property
    def configuration_json(self) -> dict[str, Any]:
        """The settings, as `configuration` returns them. Users of Chroma know this name."""
        return self.configuration

    @property
    def embedding_function(self) -> "Embeds | None":
        """The embedding function: the function that was passed when the collection was opened, or
        else the stored function. None if there is neither. Raises EmbeddingFunctionError if the
        stored function can't be created."""
        return self._embedder.function

    @property
    def _embedding_function(self) -> "Embeds | None":
        """The embedding function. Code for Chroma uses this name."""
        return self.embedding_function

    @property
    def data_loader(self) -> "DataLoader | None":
        """The data loader that was passed when the collection was opened; None if there was
        none."""
        return self._loader

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Collection) and other._backend.id == self._backend.id

    def __hash__(self) -> int:
        return hash(self._backend.id)

    def __repr__(self) -> str:
        return f"<Collection {self._opened_as!r}, id {self._backend.id}>"

    def _repr_html_(self) -> str | None:
        if self._record().is_qdrant_only:
            return None  # notebooks then show its name
        from retrieval_store.base.html import table_of

        first = self.get(limit=FIRST, include=["documents", "metadatas", "uris"])
        rows = zip(first["ids"], first["documents"], first["metadatas"], first["uris"], strict=True)
        title = f"Collection {self.name!r}: {self.count():,} points, distance {self._metric()}"
        return table_of(("id", "document", "metadata", "uri"), list(rows), title)

    def __len__(self) -> int:
        return self.count()

    def __bool__(self) -> bool:
        return True  # also when it is empty: whether there is a collection is asked more often

    def __contains__(self, point_id: object) -> bool:
        """Whether a point has this id."""
        try:
            listed_ids = check_ids([point_id])
        except InvalidArgumentError:  # no point can have it
            return False
        return bool(self._points().get(listed_ids, None, None, 0, Fields()).ids)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise InvalidTypeError(
            "a collection can't be copied, pickled or sent to another process: open its store by "
            "its path there, and get the collection by its name"
        )

    def count(
        self,
        where: Where | None = None,
        where_document: Mapping[str, Any] | None = None,
    ) -> int:
        """The number of points, or of the points that match the filters.

        Args:
            where: a filter of metadata.
            where_document: a filter of documents.
        """
        expression = filter_of(where, where_document)
        points = self._points()
        if expression is None:
            return points.count()
        self._note_texts(expression)
        return self._note_nothing_found(expression, points.number(expression))

    def add(
        self,
        ids: str | Sequence[str],
        embeddings: Any = None,
        metadatas: Mapping[str, Any] | Sequence[Mapping[str, Any] | None] | None = None,
        documents: str | Sequence[str | None] | None = None,
        images: Any = None,
        uris: str | Sequence[str | None] | None = None,
        *,
        sparse_embeddings: Any = None,
        embed: Embed | None = None,
        show_progress: bool = False,
    ) -> WriteResult:
        """Add any number of points: all of them are stored durably, or none. (On a cluster, some
        points may be stored after a failure; the error says so.)

        If embeddings are passed, the embedding function isn't called. Otherwise it embeds the
        documents, the images, or the data at the uris. The result has the ids of the records that a
        data loader with `on_error="skip"` couldn't load. This is also true of `upsert` and
        `update`.

        Args:
            ids: distinct strings, one for each point.
            embeddings: (n, dim) finite numbers, stored as float32.
            metadatas: dicts of JSON values.
            documents: texts.
            images: arrays of (height, width, channels).
            uris: where the images are; the data loader loads them.
            sparse_embeddings: dicts or objects with "indices" and "values"; None for a point
                without one. The collection's configuration must have "sparse".
            embed: the field to embed ("documents", "images" or "uris") if records have several. The
                other fields are only stored, for example the caption of a picture.
            show_progress: show a progress bar of the embedding.

        Raises:
            IDAlreadyExistsError: an id exists.
            DimensionMismatchError: vectors whose dimension isn't the collection's.
            InvalidArgumentError: anything malformed.
        """
        request = WriteRequest(
            ids=ids, embeddings=embeddings, metadatas=metadatas, documents=documents, images=images,
            uris=uris, sparse_embeddings=sparse_embeddings, embed=embed,
        )  # fmt: skip
        writer = self._writer()
        return writer.write(*writer.add_batch(request, show_progress))

    def upsert(
        self,
        ids: str | Sequence[str],
        embeddings: Any = None,
        metadatas: Mapping[str, Any] | Sequence[Mapping[str, Any] | None] | None = None,
        documents: str | Sequence[str | None] | None = None,
        images: Any = None,
        uris: str | Sequence[str | None] | None = None,
        *,
        sparse_embeddings: Any = None,
        embed: Embed | None = None,
        replace_metadata: bool = False,
        replace: bool = False,
        show_progress: bool = False,
    ) -> WriteResult:
        """Add the points whose ids are new, and update the points whose ids exist: either all
        points are written, or none.

        Args:
            ids: as of `add`.
            embeddings: as of `add`.
            metadatas: as of `add`; merged key by key as in `update`.
            documents: as of `add`.
            images: as of `add`.
            uris: as of `add`.
            sparse_embeddings: as of `add`.
            embed: as of `update`; a new point needs a value of that field.
            replace_metadata: replace each point's whole metadata instead of merging.
            replace: replace each point as a whole: afterwards it has only the fields that this call
                passes.
            show_progress: show a progress bar of the embedding.

        Raises:
            DimensionMismatchError: as in `add`.
            InvalidArgumentError: anything malformed.
        """
        request = WriteRequest(
            ids=ids, embeddings=embeddings, metadatas=metadatas, documents=documents, images=images,
            uris=uris, sparse_embeddings=sparse_embeddings, embed=embed,
        )  # fmt: skip
        writer = self._writer()
        return writer.write(*writer.upsert_batch(request, show_progress, replace_metadata, replace))

    def replace_own(
        self,
        own: Where,
        ids: str | Sequence[str],
        embeddings: Any = None,
        metadatas: Any = None,
        documents: Any = None,
        images: Any = None,
        uris: Any = None,
        sparse_embeddings: Any = None,
        *,
        embed: Embed | None = None,
    ) -> dict[str, list[str]]:
        """`upsert` with `replace=True`, for programs that share a collection. It writes only
        records with new ids, and the caller's own records, which fulfil the filter `own`. "others"
        in the result has the ids of records that belong to other programs; these records aren't
        changed. If there are such ids, other records may be missing, too: call the method again
        without those ids. "left_out" has the ids of records whose uris a loader skipped.

        Args:
            own: a filter of metadata that the caller's records fulfil, including the new ones.
            ids: as of `upsert`, like the following arguments.
            embeddings: as of `upsert`.
            metadatas: as of `upsert`.
            documents: as of `upsert`.
            images: as of `upsert`.
            uris: as of `upsert`.
            sparse_embeddings: as of `upsert`.
            embed: as of `upsert`.

        Raises:
            InvalidArgumentError: anything malformed.
        """
        from retrieval_store.api.record_writer import replace_where

        expression = filter_of(own, None)
        if expression is None:
            raise InvalidArgumentError(f"own is {quote(own)}, expected a filter")
        request = WriteRequest(
            ids=ids, embeddings=embeddings, metadatas=metadatas, documents=documents, images=images,
            uris=uris, sparse_embeddings=sparse_embeddings, embed=embed,
        )  # fmt: skip
        left_out, others = replace_where(self._writer(), expression, request)
        return {"left_out": left_out, "others": sorted(others)}

    def write_behind(self) -> "WriteBehind":
        """A context manager with methods `add` and `upsert`. They write one batch of records in the
        background, while the caller prepares and embeds the next batch."""
        from retrieval_store.api.record_writer import WriteBehind

        return WriteBehind(self._writer())

    def add_from(
        self,
        source: Any,
        batch: int = 1_000,
        *,
        upsert: bool = False,
        embed: Embed | None = None,
        id_column: str | None = "id",
        document_column: str = "document",
        embedding_column: str = "embedding",
        uri_column: str = "uri",
        metadata_columns: Sequence[str] | None = None,
        show_progress: bool = False,
    ) -> int:
        """Add records from a table or an iterable. Each batch is written durably and atomically.
        Returns how many records were added.

        Integer ids become strings of their digits. While a batch is written, the next one is read
        and embedded.

        Args:
            source: a pandas or polars DataFrame, or a pyarrow Table, with the column "id" and any
                of "document", "embedding", "uri" and "metadata"; other columns are metadata keys.
                Or a result of `get`, or an iterable of tables or of records (dicts with these keys,
                or "image"). An iterable is consumed while records are added.
            batch: how many records are written in one batch.
            upsert: whether to call `upsert` instead of `add`, so that an interrupted call can be
                repeated.
            embed: as of `add` and `upsert`.
            id_column: the name of the column of ids; None stands for the index of a pandas frame.
            document_column: the name of the column of documents.
            embedding_column: the name of the column of embeddings.
            uri_column: the name of the column of uris.
            metadata_columns: the columns that are metadata keys; by default all other columns. If
                any column name is passed, the remaining keys of records become metadata too, and
                the first record must have all named columns.
            show_progress: show a progress bar of the records.

        Raises:
            InvalidArgumentError: an invalid record or a missing column, and the errors of `add` and
                `upsert`. Earlier batches stay.
        """
        from retrieval_store.api.frames import batches_from, columns_named, length_of
        from retrieval_store.base.tracing import progress_bar

        size, done = whole_number(batch, "batch", 1), 0
        columns = columns_named(
            id_column, document_column, embedding_column, uri_column, metadata_columns
        )
        bar_of = progress_bar("adding", length_of(source), "record", show_progress)
        with self.write_behind() as behind, bar_of as bar:
            put = behind.upsert if upsert else behind.add
            for arguments in batches_from(source, size, columns):
                done += len(put(**arguments, embed=embed).batch.ids)
                bar.update(len(arguments["ids"]))
        return done

    def update(
        self,
        ids: str | Sequence[str] | None = None,
        embeddings: Any = None,
        metadatas: Mapping[str, Any] | Sequence[Mapping[str, Any] | None] | None = None,
        documents: str | Sequence[str | None] | None = None,
        images: Any = None,
        uris: str | Sequence[str | None] | None = None,
        *,
        sparse_embeddings: Any = None,
        embed: Embed | None = None,
        where: Where | None = None,
        where_document: Mapping[str, Any] | None = None,
        show_progress: bool = False,
    ) -> WriteResult:
        """Change existing points. The result and the log name the ids that don't exist.

        Fields that aren't passed stay the same; so does a field whose item in a list is None. If a
        document, an image or a uri is passed without an embedding, it is embedded, and the point
        loses the other two of these three fields.

        Args:
            ids: distinct strings.
            embeddings: as of `add`.
            metadatas: dicts to merge key by key; a None deletes the key.
            documents: as of `add`.
            images: as of `add`.
            uris: as of `add`.
            sparse_embeddings: as of `add`.
            embed: "documents", "images" or "uris": the only field to embed. The other fields are
                only stored: with "uris", a new document is a new caption of the picture, and the
                picture's vector stays.
            where: a metadata filter instead of ids. `metadatas` is then one dict, which is merged
                into all matching points in one transaction. "updated" in the result is the number
                of these points.
            where_document: a document filter instead of ids; see `where`.
            show_progress: show a progress bar of the embedding.

        Raises:
            DimensionMismatchError: as in `add`.
            InvalidArgumentError: anything malformed, or arguments that can't be combined.
        """
        request = WriteRequest(
            ids=ids, embeddings=embeddings, metadatas=metadatas, documents=documents, images=images,
            uris=uris, sparse_embeddings=sparse_embeddings, embed=embed,
        )  # fmt: skip
        expression = filter_of(where, where_document)
        self._note_texts(expression)
        if expression is not None:
            result = self._writer().update_where(expression, request)
            self._note_nothing_found(expression, result["updated"])
            return result
        if ids is None:
            raise InvalidArgumentError("update needs ids, where or where_document")
        return self._writer().update(request, show_progress)

    def get(
        self,
        ids: str | Sequence[str] | None = None,
        where: Where | None = None,
        limit: int | None = None,
        offset: int | None = None,
        where_document: Mapping[str, Any] | None = None,
        include: Sequence[GetField] = ("metadatas", "documents"),
        *,
        order_by: str | None = None,
        descending: bool = False,
    ) -> GetResult:
        """Get points by id, by filter, or all points. The points are in the order of `ids`, or
        without ids in the order of first insertion.

        Args:
            ids: ids of points; unknown ones are ignored.
            where: a filter of metadata.
            limit: the maximum number of points; None for all.
            offset: how many points to skip.
            where_document: a filter of documents.
            include: "metadatas", "documents", "embeddings", "sparse_embeddings", "uris", "data".
            order_by: a metadata key to sort by: first numbers (as float64), then dates, ascending.
                Points with neither a number nor a date are left out.
            descending: reverse the order of `order_by`.

        Raises:
            InvalidArgumentError: anything malformed, and `descending` without `order_by`.
        """
        if descending and order_by is None:
            raise InvalidArgumentError("descending needs order_by: the metadata key to order by")
        included = include_of(include, GET_FIELDS)
        max_count = None if limit is None else whole_number(limit, "limit", 0)
        start = 0 if offset is None else whole_number(offset, "offset", 0)
        listed_ids, points, fields = check_ids(ids), self._points(), fields_for(included)
        if order_by is None:
            expression = filter_of(where, where_document)
            self._note_texts(expression)
            records = points.get(listed_ids, expression, max_count, start, fields)
            if expression is not None and not records.ids:
                self._note_nothing_found(expression)
            return self._show(records, included)
        path = (metadata_key(order_by, "order_by"),)
        expression = filter_of(where, where_document, listed_ids)
        self._note_texts(expression)
        ordered = points.in_order(path, expression, max_count, start, bool(descending), fields)
        self._note_nothing_found(expression, len(ordered.ids), ("order_by", path))
        return self._show(ordered, included)

    def facet(
        self,
        key: str,
        where: Where | None = None,
        where_document: Mapping[str, Any] | None = None,
        limit: int | None = 10,
    ) -> list[tuple[Scalar, int]]:
        """Count the matching points by their value under a metadata key, the most frequent value
        first. Values with equal counts are sorted: bools, then numbers, then strings.

        Values are strings, numbers and bools. If a value is a list, each distinct element counts
        once for the point. 1 and 1.0 are the same value.

        Args:
            key: the metadata key.
            where: a filter of metadata.
            where_document: a filter of documents.
            limit: the maximum number of values; None for all.

        Raises:
            InvalidArgumentError: anything malformed.
        """
        path = (metadata_key(key, "key"),)
        max_count = None if limit is None else whole_number(limit, "limit", 1)
        expression = filter_of(where, where_document)
        self._note_texts(expression)
        counts = self._points().facet(path, expression, max_count)
        self._note_nothing_found(expression, len(counts), ("key", path))
        return counts

    def peek(self, limit: int = 10) -> GetResult:
        """The first points, with all fields except uris and data.

        Args:
            limit: the maximum number of points.
        """
        return self.get(limit=limit, include=("embeddings", "metadatas", "documents"))

    def sample(
        self,
        size: int = 1_000,
        where: Where | None = None,
        where_document: Mapping[str, Any] | None = None,
        include: Sequence[GetField] = ("metadatas", "documents"),
    ) -> GetResult:
        """A sample of the matching points, in the order of first insertion. It is spread evenly
        over the matching points, and each call returns the same sample. On a cluster the sample is
        random.

        Args:
            size: the maximum number of points.
            where: a filter of metadata.
            where_document: a filter of documents.
            include: as of `get`.
        """
        included, most = include_of(include, GET_FIELDS), whole_number(size, "size", 1)
        expression = filter_of(where, where_document)
        self._note_texts(expression)
        points = self._points().sample(expression, most, fields_for(included))
        if expression is not None and not points.ids:
            self._note_nothing_found(expression)
        return self._show(points, included)

    def unknown_keys(
        self, where: Where | None = None, where_document: Mapping[str, Any] | None = None
    ) -> list[str]:
        """For each key in a filter for which no point can match, a sentence with the reason: no
        point has a value under the key, or no value has the required type. The list is empty for an
        empty collection. It is also empty on a cluster, where the check would read all points.

        Args:
            where: a filter of metadata.
            where_document: a filter of documents; it has no keys.

        Raises:
            InvalidArgumentError: anything malformed.
        """
        from retrieval_store.api.unknown_keys import NamedKeys, unknown_keys

        keys = NamedKeys(filter_of(where, where_document))
        return [sentence for _, sentence in unknown_keys(self._points(), keys, ())]

    def _build_query(self, request: QueryRequest) -> AskedQuery:
        """The query for the store that a request describes."""
        if request.query_sparse is not None:
            require_sparse("query_sparse", self._record())
        included = include_of(request.include, QUERY_FIELDS)
        expression = filter_of(request.where, request.where_document, check_ids(request.ids))
        if request.like is not None or request.unlike is not None:
            request, others = self._like(request)
            expression = all_of(expression, others)
        builder = QueryBuilder(self._embedder, self._load, self._analyzer)
        if request.rerank is None:
            query = builder.query(request, expression, fields_for(included))
            return AskedQuery(query, included, expression)
        from retrieval_store.api.rerank import reranked_query

        fields = fields_for(included | {"documents"})
        query, reranking = reranked_query(builder, request, expression, fields)
        return AskedQuery(query, included, expression, reranking)

    def _like(self, request: QueryRequest) -> tuple[QueryRequest, Expression]:
        """The request with a query vector that is computed from `like` and `unlike`, and a
        condition that excludes the example records."""
        if request.mode != "dense":
            raise InvalidArgumentError(f"like goes with mode 'dense', not {request.mode!r}")
        if queries := request.queries():
            raise InvalidArgumentError(f"like takes the place of {' and '.join(queries)}")
        near = check_ids(request.like, "like") or ()
        far = check_ids(request.unlike, "unlike") or ()
        vector = vector_like(self._backend, self._metric(), near, far)
        request = replace(request, query_embeddings=vector, like=None, unlike=None)
        return request, Not(HasId((*near, *far), are_shown=True))

    def _points(self) -> "PointsBackend":
        """The points of the collection, as its store provides them. The object of the last call is
        returned as long as it can be used."""
        points = self._last_points
        if points is None or not points.reusable or self._backend.session.closed:
            self._last_points = points = self._backend.points
        return points

    def _note_nothing_found(
        self,
        expression: Expression | None,
        count: int = 0,
        other: tuple[str, PayloadPath] | None = None,
    ) -> int:
        """Warn or raise an error, as the client's `unknown_keys` says, if a call found nothing
        because of a key: no point has a key of the filter, or the key `other` that another argument
        names. Returns `count`, the number of found records."""
        how = self._backend.session.unknown_keys
        if not count and how != "ignore" and not (expression is None and other is None):
            from retrieval_store.api.unknown_keys import NamedKeys, warn_unknown_keys

            keys, refuses = NamedKeys(expression, other), how == "error"
            warn_unknown_keys(self._points(), keys, self._opened_as, self._seen, refuses)
        return count

    def _note_texts(self, expression: Expression | None) -> None:
        """Warn or raise an error, as the client's `unknown_keys` says, if a filter compares
        timestamps with a string that isn't a timestamp."""
        how = self._backend.session.unknown_keys
        if expression is None or how == "ignore":
            return
        texts = [node for node in walk(expression) if type(node) is TextRange]
        if texts and not all(
            (node.path, TextRange) in self._seen or node.begins_as_time() for node in texts
        ):
            from retrieval_store.api.unknown_keys import warn_text_ranges

            warn_text_ranges(
                self._points(), expression, self._opened_as, self._seen, how == "error"
            )

    def _record(self) -> CollectionRecord:
        """The current name and settings, read from the store."""
        try:
            return self._backend.record()
        except NotFoundError:
            raise self._deleted_error() from None

    def _deleted_error(self) -> NotFoundError:
        return NotFoundError.of_deleted(f"Collection {self._opened_as!r}")

    def _metric(self) -> Metric:
        return metric_of(all_settings(self._record()))

    @suggests_argument(OF_QUERIES)
    def query(
        self,
        query_embeddings: Any = None,
        query_texts: str | Sequence[str] | None = None,
        query_images: Any = None,
        query_uris: str | Sequence[str] | None = None,
        ids: str | Sequence[str] | None = None,
        n_results: int = 10,
        where: Where | None = None,
        where_document: Mapping[str, Any] | None = None,
        include: Sequence[QueryField] = ("metadatas", "documents", "distances"),
        *,
        mode: Mode | Hybrid = "dense",
        exact: bool = False,
        ef: int | None = None,
        recall: float | None = None,
        like: str | Sequence[str] | None = None,
        unlike: str | Sequence[str] | None = None,
        offset: int | None = None,
        max_distance: float | None = None,
        min_score: float | None = None,
        group_by: str | Groups | None = None,
        query_sparse: Any = None,
        rerank: Any = None,
    ) -> QueryResult:
        """The best records for each query, best first; fewer than `n_results` if fewer match.

        Filters are exact in every mode. The result always has scores, descending.

        Args:
            query_embeddings: (q, dim) numbers, or (dim,) for one query. Mode "dense" takes exactly
                one of the four kinds of queries.
            query_texts: a text, or one for each query.
            query_images: an image as an array of (height, width, channels), or one for each query.
            query_uris: the URI of an image, or one for each query; the data loader loads the
                images.
            ids: search only among the records with these ids.
            n_results: hits for each query, at least 1.
            where: a filter of metadata.
            where_document: a filter of documents.
            include: fields of the hits, as of `get`, and "distances": squared L2, 1 - dot, or 1 -
                cosine, by `configuration["hnsw"]["space"]`; None in mode "text".
            mode: "dense": nearest vectors; texts and images are embedded. "text": BM25 of
                `query_texts` over documents, without embedding. "sparse": dot products with
                `query_sparse`. "hybrid": vectors and words, by `query_embeddings` and
                `query_texts`, or by the texts alone, which are embedded; `query_sparse` replaces
                the words. A `Hybrid` sets the fusion.
            exact: find the true nearest, independent of the collection's settings.
            ef: the number of candidates of an index search, instead of the collection's setting.
            recall: the share of the true nearest to find, from 0 to 1. Less than 1 is faster: a
                scan over one bit of each number comes first.
            like: ids of example records, instead of queries. The query vector is the average of
                their vectors, and the examples aren't found.
            unlike: ids of more example records, with `like`. The query vector moves away from the
                average of their vectors, and they aren't found either.
            offset: how many of the best hits to skip.
            max_distance: the greatest distance of a hit, in mode "dense".
            min_score: the least score of a hit, in other modes or with `rerank`.
            group_by: a metadata key: return only the best hit of each value, such as the best
                passage of each book, or the best few by `Groups(key, size)`. Records without a
                value are left out.
            query_sparse: a sparse vector, or one for each query.
            rerank: a re-ranker, its name, or a `Rerank` with options. It compares the documents of
                the best hits with the query's text, and sorts the hits by its own scores. `offset`
                and `min_score` then apply to its order and scores. Hits without a document come
                last, with the score None.

        Raises:
            InvalidArgumentError: an invalid argument, or arguments that can't be combined.
            DimensionMismatchError: vectors of another dimension than the collection's.
            EmbeddingFunctionError: nothing can embed the queries.
        """
        request = QueryRequest(
            query_embeddings=query_embeddings, query_texts=query_texts, query_images=query_images,
            query_uris=query_uris, query_sparse=query_sparse, ids=ids, n_results=n_results,
            where=where, where_document=where_document, include=include, mode=mode, exact=exact,
            ef=ef, recall=recall, like=like, unlike=unlike, offset=offset,
            max_distance=max_distance, min_score=min_score, group_by=group_by, rerank=rerank,
        )  # fmt: skip
        asked = self._build_query(request)
        self._note_texts(asked.filter)
        hits = self._points().ask(asked.query)
        if not [found for found in hits if found.points.ids]:
            groups = asked.query.groups
            grouped = ("group_by", groups.path) if isinstance(groups, BestOfEach) else None
            self._note_nothing_found(asked.filter, 0, grouped)
        if asked.reranking is not None:
            hits = asked.reranking.of(hits)
        return self._query_result(hits, asked.included)

    def _query_result(self, hits: list[Hits], included: frozenset[str]) -> QueryResult:
        data = [self._load(h.points.uris) for h in hits] if "data" in included else None
        return query_result(hits, included, data)

    def search(self, searches: Any) -> "SearchResult":
        """Find records by one or several `Search` objects, as in Chroma. A `Search` has conditions,
        a rank (of `Knn`, joined by arithmetic or `Rrf`), groups, a limit, and the fields to return.

        Scores are distances, and the lowest come first. All searches see one snapshot, and their
        texts are embedded in one call. A search without a rank returns records in the order of
        insertion.

        Args:
            searches: a `Search`, Chroma's own, or a dict; or several of these.

        Raises:
            InvalidArgumentError: an invalid part of a search; the message names its place.
        """
        from retrieval_store.api.chroma.search import run_searches

        return run_searches(
            self._points(), self._embedder, self._record, searches, self._note_nothing_found
        )

    @suggests_argument(OF_QUERIES)
    def explain(
        self,
        query_embeddings: Any = None,
        query_texts: str | Sequence[str] | None = None,
        query_images: Any = None,
        query_uris: str | Sequence[str] | None = None,
        ids: str | Sequence[str] | None = None,
        n_results: int = 10,
        where: Where | None = None,
        where_document: Mapping[str, Any] | None = None,
        include: Sequence[QueryField] = ("metadatas", "documents", "distances"),
        *,
        mode: Mode | Hybrid = "dense",
        exact: bool = False,
        ef: int | None = None,
        recall: float | None = None,
        like: str | Sequence[str] | None = None,
        unlike: str | Sequence[str] | None = None,
        offset: int | None = None,
        max_distance: float | None = None,
        min_score: float | None = None,
        group_by: str | Groups | None = None,
        query_sparse: Any = None,
        rerank: Any = None,
    ) -> Explanation:
        """Run a query, and return how it was answered instead of the hits.

        The result has points: the number of points; matching: how many points match the filters;
        fresh: vectors that the index lacks; uncoded: vectors without codes, which are searched as
        floats; plans: for each query the method ("signs", "codes", "exact", "over-fetch" of the
        index, "nothing matches"), the number of candidates, and the estimated cost of each method
        in microseconds; recall: the measured recall of searches by signs; legs: in hybrid mode, how
        many candidates the ranking by words and the ranking by vectors have; alphas: the weight of
        the vectors for each query; steps: milliseconds by step; remarks: other notes. With `rerank`
        it has reranked: for each query the hits that the re-ranker read, best first, as {"id",
        "before", "after", "score"}; ranks count from 1.

        Args:
            query_embeddings: as of `query`.
            query_texts: as of `query`.
            query_images: as of `query`.
            query_uris: as of `query`.
            ids: as of `query`.
            n_results: as of `query`.
            where: as of `query`.
            where_document: as of `query`.
            include: as of `query`.
            mode: as of `query`.
            exact: as of `query`.
            ef: as of `query`.
            recall: as of `query`.
            like: as of `query`.
            unlike: as of `query`.
            offset: as of `query`.
            max_distance: as of `query`.
            min_score: as of `query`.
            group_by: as of `query`.
            query_sparse: as of `query`.
            rerank: as of `query`.

        Raises:
            InvalidArgumentError: as by `query`.
        """
        request = QueryRequest(
            query_embeddings=query_embeddings, query_texts=query_texts, query_images=query_images,
            query_uris=query_uris, query_sparse=query_sparse, ids=ids, n_results=n_results,
            where=where, where_document=where_document, include=include, mode=mode, exact=exact,
            ef=ef, recall=recall, like=like, unlike=unlike, offset=offset,
            max_distance=max_distance, min_score=min_score, group_by=group_by, rerank=rerank,
        )  # fmt: skip
        asked = self._build_query(request)
        explanation = explanation_of(self._points().explain(asked.query))
        if asked.filter is not None and not explanation.get("matching", 1):
            from retrieval_store.api.unknown_keys import NamedKeys, unknown_keys

            keys = NamedKeys(asked.filter)
            sentences = [text for _, text in unknown_keys(self._points(), keys, ())]
            explanation["remarks"] = [*explanation["remarks"], *sentences]
        if asked.reranking is not None:
            hits = self._points().ask(asked.query)
            begun = perf_counter()
            explanation["reranked"] = asked.reranking.moves(hits)
            took = (perf_counter() - begun) * 1000
            explanation["steps"] = {**explanation.get("steps", {}), "rerank": took}
        return explanation

    @suggests_argument(OF_QUERIES)
    def why(
        self,
        query_embeddings: Any = None,
        query_texts: str | Sequence[str] | None = None,
        query_images: Any = None,
        query_uris: str | Sequence[str] | None = None,
        ids: str | Sequence[str] | None = None,
        n_results: int = 10,
        where: Where | None = None,
        where_document: Mapping[str, Any] | None = None,
        include: Sequence[QueryField] = ("metadatas", "documents", "distances"),
        *,
        mode: Mode | Hybrid = "dense",
        exact: bool = False,
        ef: int | None = None,
        recall: float | None = None,
        like: str | Sequence[str] | None = None,
        unlike: str | Sequence[str] | None = None,
        offset: int | None = None,
        max_distance: float | None = None,
        min_score: float | None = None,
        group_by: str | Groups | None = None,
        query_sparse: Any = None,
        rerank: Any = None,
        records: str | Sequence[str] | None = None,
        containing: str | None = None,
        same: str | None = None,
    ) -> "Reasons":
        """Explain why a query finds records, or doesn't.

        Returns a `Reason` for each record, in the order of the ids, or of insertion. A `Reason` has
        the record's exact rank and distance in each ranking, and its rank after fusion. It has the
        smallest conditions that exclude the record, each with the value that it found. It has the
        query words that the document has, and those that it lacks; the hits before the record; and
        changes of the query that would find the record. With `query_texts`, a query by vectors also
        gets the rank by words.

        Everything is computed exactly, over all records of one snapshot, and takes longer than a
        query. On a cluster, ranks above 100,000 and the weights of words are unknown. The list
        prints as text, and as a table in notebooks.

        Args:
            query_embeddings: as of `query`, but for one query, like the following arguments.
            query_texts: as of `query`.
            query_images: as of `query`.
            query_uris: as of `query`.
            ids: the records to explain. Together with `records` or `containing` it restricts the
                query, as of `query`.
            n_results: as of `query`.
            where: as of `query`.
            where_document: as of `query`.
            include: as of `query`.
            mode: as of `query`.
            exact: as of `query`.
            ef: as of `query`.
            recall: as of `query`.
            like: as of `query`.
            unlike: as of `query`.
            offset: as of `query`.
            max_distance: as of `query`.
            min_score: as of `query`.
            group_by: as of `query`.
            query_sparse: as of `query`.
            rerank: as of `query`.
            records: the ids of the records to explain, if `ids` restricts the query.
            containing: a text, instead of ids: the first 20 records whose documents contain it.
            same: a metadata key, such as the document of a chunk: each `Reason` then names the hits
                with the record's value under that key.

        Raises:
            InvalidArgumentError: several queries; neither ids nor `containing`, or both; and the
                errors of `query`.
        """
        from retrieval_store.api.why_request import add_reranking, case_of
        from retrieval_store.query.reasons import reasons_of

        if records is None and containing is None:
            records, ids = check_ids(ids, "ids"), None
        ids, like, unlike, query_texts = map(read_once, (ids, like, unlike, query_texts))
        request = QueryRequest(
            query_embeddings=query_embeddings, query_texts=query_texts, query_images=query_images,
            query_uris=query_uris, query_sparse=query_sparse, ids=ids, n_results=n_results,
            where=where, where_document=where_document, include=include, mode=mode, exact=exact,
            ef=ef, recall=recall, like=like, unlike=unlike, offset=offset,
            max_distance=max_distance, min_score=min_score, group_by=group_by, rerank=rerank,
        )  # fmt: skip
        asked = self._build_query(request)
        spaces = spaces_of(all_settings(self._record()))
        coded = not self._backend.on_cluster and uses_codes(spaces[SPACE])
        case = case_of(request, asked.query, self._analyzer, records, containing, same, coded)
        if case.same is not None:
            self._note_nothing_found(None, 0, ("same", case.same))
        reasons = reasons_of(self._points(), case)
        if asked.reranking is None:
            return reasons
        return add_reranking(reasons, asked.reranking, self._points().ask(asked.query))

    def stats(self) -> Stats:
        """Figures of the collection: the number of points, of vectors and of dead slots; how many
        vectors have codes and how many are in the index (in memory or in files); the bytes of each
        part, in memory and on disk.

        maintenance: the work on the collection in the background or by `optimize`, as a
        `Maintenance`; None if no such work is running.
        """
        return stats_of(self._points().stats())

    def map(
        self,
        color: str | None = None,
        *,
        where: Where | None = None,
        where_document: Mapping[str, Any] | None = None,
        mark: str | Sequence[str] | None = None,
        sample: int = 20_000,
        seed: int = 0,
        library: "Library | None" = None,
    ) -> Any:
        """A map for notebooks: a projection of the embeddings on their first two principal
        components. Each record is a point with its id and document.

        Args:
            color: a metadata key whose values colour the points.
            where: a filter of metadata.
            where_document: a filter of documents.
            mark: ids of records to highlight, such as hits.
            sample: the maximum number of records, drawn at random; on a cluster 10,000 at most.
            seed: the seed of the random sample.
            library: "embedding-atlas", "plotly", "altair" or "matplotlib"; the result is an object
                of that library (of matplotlib a picture with `save(path)`). None is the first
                that is installed.

        Raises:
            MissingDependencyError: no such library is installed.
            InvalidArgumentError: anything malformed.
        """
        from retrieval_store.api.maps import MapRequest, draw_map, map_of

        request = MapRequest(
            filter_of(where, where_document),
            None if color is None else metadata_key(color, "color"),
            check_ids(mark, "mark"),
            whole_number(sample, "sample", 1),
            whole_number(seed, "seed", 0),
        )
        return draw_map(map_of(self._points(), self.name, self._metric(), request), library)

    def warm(self, keys: str | Sequence[str] | None = None, text: bool = False) -> Warmed:
        """Load the data that the first queries need: the collection's state, the codes and the
        index of its vectors, and the lists of sparse vectors. Services call it when they start.

        Parts without a file are built from the points, and saved in the background if the
        collection is large; the next process maps the file. A second call does nothing. Returns the
        loaded and built parts, and the time of each. On a cluster there is nothing to load.

        Args:
            keys: metadata keys whose columns are loaded too, for filters.
            text: whether to load the lists of words, for text and hybrid queries.

        Raises:
            InvalidTypeError: a key that isn't a string or is empty; a `text` that isn't a bool.
        """
        if type(text) is not bool:
            raise InvalidTypeError(f"text is {quote(text)}, expected a bool")
        paths = [(key,) for key in metadata_keys(() if keys is None else keys, "keys")]
        analyzer = self._analyzer() if text and not self._backend.on_cluster else None
        warmed = cast(Warmed, self._points().warm(paths, analyzer))
        for path in paths:
            self._note_nothing_found(None, 0, ("keys", path))
        return warmed

    def delete(
        self,
        ids: str | Sequence[str] | None = None,
        where: Where | None = None,
        where_document: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> DeleteResult:
        """Delete the points with these ids that match the filters.

        Args:
            ids: ids of points; `ids=[]` deletes nothing, with or without a filter.
            where: a filter of metadata.
            where_document: a filter of documents.
            limit: the maximum number of points to delete; only together with a filter.

        Raises:
            InvalidArgumentError: neither ids nor a filter is given; nothing is deleted.
        """
        expression, listed_ids = filter_of(where, where_document), check_ids(ids)
        if expression is None:
            if listed_ids is None:
                raise InvalidArgumentError("delete needs ids, where or where_document")
            if limit is not None:
                raise InvalidArgumentError("limit goes with where or where_document")
        max_count = None if limit is None else whole_number(limit, "limit", 0)
        self._note_texts(expression)
        deleted = self._points().delete(listed_ids, expression, max_count)
        if expression is not None:
            self._note_nothing_found(expression, deleted)
        return DeleteResult(deleted=deleted)

    def modify(
        self,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        configuration: Configuration | None = None,
    ) -> None:
        """Rename the collection, replace its metadata, or change search-time settings.

        Args:
            name: the new name.
            metadata: the new metadata.
            configuration: what can change: "ef_search" of the index, "recall", and, except on a
                cluster, "text", key by key.

        Raises:
            AlreadyExistsError: the name is taken.
            ConflictError: a setting that can't be changed, such as the distance.
        """
        new_name = None if name is None else collection_name(name)
        new_metadata = None if metadata is None else check_metadata(metadata, "metadata")
        new_settings = given_settings(configuration, new_metadata)

        try:
            record = self._backend.change(
                partial(edit_record, new_name, new_metadata, new_settings)
            )
        except NotFoundError:
            raise self._deleted_error() from None
        if new_settings:
            self._points().configure_index(SPACE, index_of(all_settings(record)))
        self._opened_as = record.name

    def optimize(self, *, show_progress: bool = False) -> None:
        """Compact the collection. Afterwards the collection's files are as small as possible, and
        contain no byte of deleted or replaced data. The codes and the index are complete and saved.

        Other threads and processes may read and write meanwhile. On a cluster the method does
        nothing.

        Args:
            show_progress: show a progress bar.
        """
        from retrieval_store.base.tracing import progress_bar

        with progress_bar("optimizing", None, "vector", show_progress) as bar:

            def advance(done: int, total: int) -> None:
                bar.total = total
                bar.update(done)

            self._backend.optimize(advance)

    def snapshot(self, path: str | os.PathLike[str]) -> None:
        """Write a snapshot of the collection into one file, while others may continue to write. The
        file contains no deleted data. `retrieval_store.restore` makes a collection from it. A
        cluster has no snapshots, so its points are first copied to a folder beside the file, as
        `copy_to` does.

        Args:
            path: the path of the new file.

        Raises:
            InvalidArgumentError: the path exists already.
        """
        self._backend.snapshot(path_of(path, "path"))

    def fork(self, new_name: str) -> "Collection":
        """Make a new collection with the contents of this collection.

        The copy shows this collection at one moment; others may continue to write. On a cluster,
        which has no snapshots, points that change meanwhile are copied in the old or the new state.

        Args:
            new_name: the name of the new collection.

        Raises:
            AlreadyExistsError: the name is taken.
        """
        backend = self._backend.fork(collection_name(new_name))
        forked = Collection(backend, backend.record(), data_loader=self._loader)
        forked._embedder = self._embedder
        return forked

    def iterate(
        self,
        batch: int = 1_000,
        where: Where | None = None,
        where_document: Mapping[str, Any] | None = None,
        include: Sequence[GetField] = ("metadatas", "documents"),
        after: str | None = None,
    ) -> Iterator[dict[str, Any]]:
        """All records that match, one by one, in their state at the time of the call. Each record
        is a dict with "id" and, if included, "document", "metadata", "uri", "embedding",
        "sparse_embedding" and "data", as `add_from` accepts it.

        On a cluster, records are read from the collection itself. Each record is returned once,
        with or without later changes, unless it is deleted before it is read. Records that are
        added later aren't returned.

        Args:
            batch: how many records are in memory at a time. If there are more records, they are
                read from a copy of the collection's files, which is deleted together with the
                iterator. Other programs may write meanwhile.
            where: a filter of metadata.
            where_document: a filter of documents.
            include: as of `get`.
            after: the id of a record: only the records after it are returned. So a caller can
                continue after an interruption, also in another process.

        Raises:
            NotFoundError: no record that matches has the id `after`.
        """
        from retrieval_store.api.frames import offset_after, rows_of, rows_of_copy

        size = whole_number(batch, "batch", 1)
        if after is not None and not isinstance(after, str):
            raise InvalidTypeError(f"after is {quote(after)}, expected an id or None")
        included = include_of(include, GET_FIELDS)
        expression, fields = filter_of(where, where_document), fields_for(included)
        self._note_texts(expression)
        first = self._points().get(None, expression, size + 1, 0, fields)
        if expression is not None and not first.ids:
            self._note_nothing_found(expression)
        if len(first.ids) <= size and after is None:
            return rows_of(self._show(first, included))

        def page(points: "PointsBackend", start: int) -> list[dict[str, Any]]:
            records = points.get(None, expression, size, start, fields)
            return list(rows_of(self._show(records, included)))

        def start(points: "PointsBackend") -> int:
            return 0 if after is None else offset_after(points, expression, after)

        return rows_of_copy(self._backend.open_copy(), page, size, start)

    def _show(self, points: Points, included: frozenset[str]) -> GetResult:
        data = self._load(points.uris) if "data" in included else None
        return get_result(points, included, data)

    def create_index(
        self, key: str, kind: Literal["keyword", "float", "bool", "datetime"] | None = None
    ) -> None:
        """Create an index on a metadata key on a cluster, so that filters on the key are fast, and
        are allowed if the cluster is in strict mode. For a directory this does nothing, since no
        such index is needed.

        Args:
            key: the metadata key; it can have only one index.
            kind: "keyword" for equality of strings, "float" for numbers, "bool" for bools,
                "datetime" if all strings are dates; None for the kind that suits the values of the
                first points.
        """
        from retrieval_store.query.protocols import INDEX_KINDS

        if not isinstance(key, str) or not key:
            raise InvalidTypeError(f"key is {quote(key)}, expected a metadata key")
        if kind is not None and kind not in INDEX_KINDS:
            raise InvalidArgumentError(f"kind is {quote(kind)}, expected one of {INDEX_KINDS}")
        self._points().create_index((key,), kind)

    def _writer(self) -> "Writer":
        """The `Writer` of this collection. Its modules are loaded at the first write."""
        from retrieval_store.api.record_writer import Writer

        return Writer(
            self._backend, self._points, self._record, self._embedder, self._loader, self._expires
        )

    def _analyzer(self) -> "Analyzer":
        return analyzer_of(stored_settings(self._record()))

    def _load(self, uris: Sequence[str | None] | None) -> list[Any]:
        from retrieval_store.api.record_writer import load_items

        return load_items(list(uris or ()), self._loader)


def can_embed(collection: Collection) -> bool:
    """Whether a collection has an embedding function, passed or stored. The call doesn't create a
    stored function."""
    return collection._embedder.is_there


def replace_function(collection: Collection) -> None:
    """Store the embedding function that was passed when the collection was opened, instead of the
    stored function. The collection must have no records."""
    from dataclasses import replace

    from retrieval_store.api.embedding_functions import spec_of

    spec = spec_of(collection._embedder.function)
    if spec is None or spec == _spec_in(collection._record()):
        return
    collection._backend.change(
        lambda record: replace(record, settings={**record.settings, "embedding_function": spec})
    )


def embedded_queries(collection: Collection, texts: Sequence[str]) -> Matrix:
    """(n, dim) float32: the vectors of n texts, embedded as `query` does. A caller can then use the
    same vectors in several queries."""
    return collection._embedder.embed_query(texts)


def _spec_in(record: CollectionRecord) -> Any:
    """The stored specification of a collection's embedding function; None for a collection that
    only QdrantClient can use."""
    spec: Any = None if record.is_qdrant_only else stored_settings(record)["embedding_function"]
    if spec is None or ("name" in spec and "probe" not in spec):
        return None if spec is None else dict(spec)
    from retrieval_store.api.embedding_functions import current_spec

    return current_spec(spec)
