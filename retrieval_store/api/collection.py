"""Collection: named points with documents, metadata and one embedding each."""

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
    """What `query` and its like ask of the store. included: the names in `include`; filter: all
    conditions of the query; reranking: how the hits are put in order anew."""

    query: Query
    included: frozenset[str]
    filter: Expression | None = None
    reranking: "Reranking | None" = None


@shortens_tracebacks
class Collection:
    """Points that can be found by id, by metadata, by document text and by nearness.

    Made by the methods of `Client`. Any number of threads may use it. Two collections are equal
    when their ids are. Every method raises NotFoundError once the collection has been deleted, and
    ClientClosedError once its client was closed; but id and name stay known.
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
            record: what was known of it when it was opened.
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
        """The id, which stays when the name changes."""
        return uuid.UUID(self._backend.id)

    @property
    def name(self) -> str:
        """The name as it is now; of a collection that was deleted, the last that is known."""
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
        """The settings of the index, `["hnsw"]["space"]` being the distance; the "index" itself;
        those of "text" search; what "vectors" are kept as; and what is remembered of the embedding
        function."""
        record = self._record()
        return {**to_store(all_settings(record)), "embedding_function": _spec_in(record)}

    @property
    def configuration_json(self) -> dict[str, Any]:
        """The same, under the name that users of Chroma know."""
        return self.configuration

    @property
    def embedding_function(self) -> "Embeds | None":
        """The embedding function, which was given or is remembered; None without one. Raises
        EmbeddingFunctionError for one that is remembered and can't be made."""
        return self._embedder.function

    @property
    def _embedding_function(self) -> "Embeds | None":
        """The same, under the name by which code for Chroma asks for it."""
        return self.embedding_function

    @property
    def data_loader(self) -> "DataLoader | None":
        """The data loader that the collection was got with; None without one."""
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
        """Whether there is a point of this id."""
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
        """How many points there are, or how many match the filters.

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
        """Add points, all of them durably or none; any number at once. (On a cluster a failure may
        leave a part, which the error says.)

        Without embeddings the documents, the images or what the uris point at are embedded; with
        them the embedding function isn't called. The result has the ids of records that were left
        out, since a data loader that skips can't load their uris; also that of `upsert` and
        `update`.

        Args:
            ids: strings, one for each point, each once.
            embeddings: (n, dim) finite numbers, stored as float32.
            metadatas: dicts of JSON values.
            documents: texts.
            images: arrays of (height, width, channels).
            uris: where what is to be embedded is, which the data loader loads.
            sparse_embeddings: dicts with "indices" and "values", or objects that have these, None
                for a point without; where the collection was made with "sparse" in its
                configuration.
            embed: which of documents, images and uris vectors are made of, where records have
                several: the others are stored beside it, such as a caption with a picture.
            show_progress: show a bar of what is embedded.

        Raises:
            IDAlreadyExistsError: an id exists.
            DimensionMismatchError: vectors of another dimension than the collection's.
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
        """Add the points whose ids are new and update the others, all or nothing.

        Args:
            ids: as of `add`.
            embeddings: as of `add`.
            metadatas: as of `add`; merged key by key as in `update`.
            documents: as of `add`.
            images: as of `add`.
            uris: as of `add`.
            sparse_embeddings: as of `add`.
            embed: as of `update`; a point that is new needs something of that kind.
            replace_metadata: replace the metadata of points as a whole.
            replace: replace all of them: afterwards the points hold what is given here and nothing
                else.
            show_progress: show a bar of what is embedded.

        Raises:
            DimensionMismatchError: as by `add`.
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
        """`upsert` with `replace=True` where several programs keep records in one collection: only
        of the caller's own records, which fulfil a filter, and of ids that are new. Returns the ids
        of others' records as "others": those aren't written, and the rest perhaps neither, until it
        is called again without them; and as "left_out" the ids whose uris a loader skipped.

        Args:
            own: a filter of metadata that the caller's records fulfil, the new ones too.
            ids: as of `upsert`, as all that follows.
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
        """For a `with` block whose `add` and `upsert` write one batch of records while the caller
        makes the next, which is embedded meanwhile."""
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
        """Add records from wherever they come, each batch durably and as a whole; returns how many.

        Integers become ids by their digits. While a batch that was embedded is written, the next is
        read and embedded.

        Args:
            source: a pandas or polars DataFrame or a pyarrow Table with the column "id", and any of
                "document", "embedding", "uri" and "metadata", whose other columns become keys of
                the metadata; what `get` returned; or an iterable of such pieces, or of records,
                dicts with "id" and any of these and "image". It is read as it is added.
            batch: how many records are added at a time.
            upsert: `upsert` instead of `add`, so that what was broken off can be begun again.
            embed: as of `add` and `upsert`.
            id_column: how the column of ids is called there; None takes the index of a pandas
                frame.
            document_column: how the column of documents is called there.
            embedding_column: how the column of embeddings is called there.
            uri_column: how the column of uris is called there.
            metadata_columns: the keys of the metadata, where not all other columns are. With these,
                or any other name of a column, other keys of records, too, become metadata, and the
                first record must have all that are named.
            show_progress: show a bar of the records.

        Raises:
            InvalidArgumentError: a record that can't be, or a column that isn't there; and what
                `add` and `upsert` raise. The batches before it are there then.
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
        """Change points that exist; ids that don't are left out: the result and the log name them.

        What isn't given stays, and so does what is None in a list. Documents, images or uris
        without embeddings are embedded again, and replace what the point had of the other two.

        Args:
            ids: strings, each once.
            embeddings: as of `add`.
            metadatas: dicts that are merged key by key; a None deletes the key.
            documents: as of `add`.
            images: as of `add`.
            uris: as of `add`.
            sparse_embeddings: as of `add`.
            embed: "documents", "images" or "uris": it alone is embedded, and replaces nothing of
                the others, which are stored where they are given: with "uris" a new document is
                another caption of a picture, whose vector stays.
            where: instead of ids, all points that match, with `metadatas` alone, one dict that is
                merged into the metadata of each, in one transaction; the result has how many these
                are as "updated".
            where_document: the same for a filter of documents.
            show_progress: show a bar of what is embedded.

        Raises:
            DimensionMismatchError: as by `add`.
            InvalidArgumentError: anything malformed, or any other combination.
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
        """Points by id, by filter, or all: in the order of `ids`, or of first insertion.

        Args:
            ids: ids of points; those that don't exist are left out.
            where: a filter of metadata.
            limit: at most so many; None for all.
            offset: leave out so many of the first.
            where_document: a filter of documents.
            include: of "metadatas", "documents", "embeddings", "sparse_embeddings", "uris", "data".
            order_by: a metadata key by whose numbers (as float64) points come instead, the least
                first, then by its dates; those that have neither are left out.
            descending: with `order_by`: all that backwards.

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
        """The values that the matching points have under a metadata key, each with how many points
        have it, the most frequent first; of equally frequent ones the least, where bools come
        before numbers, and these before strings.

        Values are strings, numbers and bools, and of a list its elements, each of which counts once
        for a point; 1 and 1.0 are one value.

        Args:
            key: the metadata key.
            where: a filter of metadata.
            where_document: a filter of documents.
            limit: at most so many values; None for all.

        Raises:
            InvalidArgumentError: anything malformed, also a filter.
        """
        path = (metadata_key(key, "key"),)
        max_count = None if limit is None else whole_number(limit, "limit", 1)
        expression = filter_of(where, where_document)
        self._note_texts(expression)
        counts = self._points().facet(path, expression, max_count)
        self._note_nothing_found(expression, len(counts), ("key", path))
        return counts

    def peek(self, limit: int = 10) -> GetResult:
        """The first points, with everything but uris and data.

        Args:
            limit: at most so many.
        """
        return self.get(limit=limit, include=("embeddings", "metadatas", "documents"))

    def sample(
        self,
        size: int = 1_000,
        where: Where | None = None,
        where_document: Mapping[str, Any] | None = None,
        include: Sequence[GetField] = ("metadatas", "documents"),
    ) -> GetResult:
        """Some of the points that match, in the order of first insertion: spread evenly over all of
        them, and the same each time; on a cluster as good as drawn at random.

        Args:
            size: at most so many; all that match, where there are no more.
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
        """What of a filter no point could fulfil, a sentence for each key: that none has a value
        under it, or none of the kind that is asked for. Nothing is said of an empty collection, nor
        on a cluster, where all points would have to be read.

        Args:
            where: a filter of metadata.
            where_document: a filter of documents, of which nothing is said.

        Raises:
            InvalidArgumentError: anything malformed.
        """
        from retrieval_store.api.unknown_keys import NamedKeys, unknown_keys

        keys = NamedKeys(filter_of(where, where_document))
        return [sentence for _, sentence in unknown_keys(self._points(), keys, ())]

    def _asked_query(self, request: QueryRequest) -> AskedQuery:
        """The query of a request, for the store."""
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
        """The same request for a vector that is like those of some points, and whom it shouldn't
        find."""
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
        """The points (`PointStore` of the engine, or those of another store): the ones of the last
        call while they can be used again."""
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
        """Where nothing was found, see whether anything could fulfil the filter, and has what
        another argument names; if not, warn or refuse it, as the client says. Returns how much was
        found."""
        how = self._backend.session.unknown_keys
        if not count and how != "ignore" and not (expression is None and other is None):
            from retrieval_store.api.unknown_keys import NamedKeys, warn_unknown_keys

            keys, refuses = NamedKeys(expression, other), how == "error"
            warn_unknown_keys(self._points(), keys, self._opened_as, self._seen, refuses)
        return count

    def _note_texts(self, expression: Expression | None) -> None:
        """Before a filter is used whose ranges compare times with a text that is none, warn of it
        or refuse it, as the client says."""
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
        """Name and settings as they are now."""
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
        """The best records for each query, best first; fewer than `n_results` where fewer match.

        Filters hold exactly in every mode. Scores are always in the result, descending.

        Args:
            query_embeddings: (q, dim) numbers, or (dim,) for one query. In mode "dense" exactly one
                of the four kinds of queries is given.
            query_texts: a text, or one for each query.
            query_images: an image as an array of (height, width, channels), or one for each query.
            query_uris: where an image is, or one for each query; the data loader loads them.
            ids: search only among the records of these ids.
            n_results: hits for each query, at least 1.
            where: a filter of metadata.
            where_document: a filter of documents.
            include: what hits have besides their ids, as for `get`, and "distances": squared L2,
                1 - dot, or 1 - cosine, by `configuration["hnsw"]["space"]`; None in mode "text".
            mode: "dense": by nearness to the vectors of the queries, which are embedded if they are
                texts or images. "text": by the words of `query_texts` in documents (BM25); nothing
                is embedded. "sparse": by dot products with `query_sparse`. "hybrid": by vectors and
                words together, of `query_embeddings` and `query_texts`, or of the texts alone,
                which are embedded; `query_sparse` takes the place of the words where it is given. A
                `Hybrid` says how both become one ranking.
            exact: search for the very nearest, whatever the collection's settings.
            ef: how many candidates an index looks at, in place of its setting.
            recall: the share of the nearest that is enough, from 0 to 1; it is found faster, by one
                bit a number first.
            like: ids of records, in place of queries: one query by the average of their vectors,
                which finds none of them.
            unlike: ids of records, beside `like`: the query is as much farther from the average of
                their vectors as that is away, and finds none of them.
            offset: leave out so many of the best hits.
            max_distance: leave out hits that are farther, in mode "dense".
            min_score: leave out hits with a lesser score, in other modes or with `rerank`.
            group_by: a metadata key: of the records with one value under it show only the best, or
                the best few with `Groups(key, size)`, and none without a value: the best passage of
                each book.
            query_sparse: a sparse vector, or one for each query.
            rerank: a re-ranker, the name of one, or a `Rerank` with more to say. It reads the
                documents of the best hits beside the query's text and puts them in its own order;
                scores, `offset` and `min_score` are those after it, and what has no document comes
                last, with the score None.

        Raises:
            InvalidArgumentError: an argument that can't be, alone or beside the others.
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
        asked = self._asked_query(request)
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
        """Records by one `Search` or several, as Chroma has them: conditions, ranks made of `Knn`
        by arithmetic or `Rrf`, groups, a window, and what is selected of each.

        Scores are distances, the least first. All rankings of all searches are made in one state,
        and their texts embedded in one call; a search without a rank gives records in the order of
        insertion.

        Args:
            searches: a `Search`, Chroma's own, or a dict; or several of these.

        Raises:
            InvalidArgumentError: what can't be asked, by its place in the search.
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
        """Run a query and say how it was answered, instead of the answer.

        In the result are points, matching: how many there are and how many the filters allow;
        fresh: vectors that the index hasn't taken in yet; uncoded: vectors without codes, which are
        searched as floats; plans: the way taken for each query ("signs", "codes", "exact",
        "over-fetch" of the index, "nothing matches"), the candidates asked of the index, and the
        estimated cost of each way in microseconds; recall: that searches by signs were measured to
        have, where they were; legs: how many candidates words and vectors gave; alphas: what
        vectors weighed for each query; steps: milliseconds each took; remarks: what else there is
        to know, in words. With `rerank` also reranked: for each query what the re-ranker has read,
        best first, as {"id", "before", "after", "score"}: places from 1, and its score.

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
        asked = self._asked_query(request)
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
        """Why records are found by a query, or aren't.

        For each a `Reason`, in the order of the ids, or of insertion: its exact `rank` and distance
        by each way of searching and after fusion, the smallest conditions that leave it out with
        the value that each met, the words that it shares with the query and those that it lacks,
        what stands before it, and what would have to change. With `query_texts` it also says how
        the words of the text rank it, where the query doesn't go by them.

        All is measured exactly, over all records, in one state: it takes longer than a query. On a
        cluster places are known among the first 100,000, and weights of words aren't. The list
        prints as a text, and shows as a table in notebooks.

        Args:
            query_embeddings: as of `query`, for one query, as are the others.
            query_texts: as of `query`.
            query_images: as of `query`.
            query_uris: as of `query`.
            ids: the records that are meant. Beside `records` or `containing` it restricts the
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
            records: the ids of the records that are meant, where `ids` restricts the query.
            containing: a text, in place of ids: the first 20 records whose documents contain it.
            same: a metadata key, such as that of the document whose chunks records are: each
                `Reason` then names the hits that have the record's value there.

        Raises:
            InvalidArgumentError: several queries, or not either ids or `containing`; and what
                `query` refuses.
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
        asked = self._asked_query(request)
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
        """How many points, vectors and dead slots there are; how many vectors have codes and how
        many the index holds, at hand or in files; and the bytes in memory and on disk by part.

        maintenance: what is being done to the collection in the background, or by `optimize`: see
        `Maintenance`; None if nothing is.
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
        """A map for notebooks: the records in the plane in which their embeddings differ most (by
        principal components), each a point, with its id and document.

        Args:
            color: a metadata key by whose values points are coloured.
            where: a filter of metadata.
            where_document: a filter of documents.
            mark: ids of records that stand out, such as hits.
            sample: of more records so many are drawn; on a cluster 10,000 at most.
            seed: chooses which are drawn.
            library: "embedding-atlas", "plotly", "altair" or "matplotlib", whose object is returned
                (of matplotlib a picture, with `save(path)`); None for the first of these that is
                installed.

        Raises:
            MissingDependencyError: none of them is installed.
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
        """Load what the first queries would load, so that none of them waits for it: which points
        there are, codes and index of the vectors, and the lists of sparse vectors.

        What is in no file yet is built from the points, and saved in the background if the
        collection is large: then the next process maps it. Calling it again does nothing that is
        done already. For services, when they start. Returns what was loaded, what was built, and
        how long each part took. On a cluster there is nothing to load: nothing is asked of it.

        Args:
            keys: metadata keys; what filters on these need is loaded, too.
            text: whether the lists of words are loaded, which text and hybrid queries need.

        Raises:
            InvalidTypeError: `keys` that are no strings or empty, and `text` that is no bool.
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
        """Delete the points that are named and match the filters.

        Args:
            ids: ids of points; `ids=[]` names none, so nothing is deleted, with a filter or
                without.
            where: a filter of metadata.
            where_document: a filter of documents.
            limit: delete only the first so many that match a filter.

        Raises:
            InvalidArgumentError: there is no criterion at all: then nothing is deleted.
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
        """Compact the collection: afterwards no byte of what was deleted or replaced is left in its
        files, they are as small as can be, and codes and index have all points and are saved.

        Others may read and write meanwhile. On a cluster, which sees to itself, it does nothing.

        Args:
            show_progress: show a bar of what is done.
        """
        from retrieval_store.base.tracing import progress_bar

        with progress_bar("optimizing", None, "vector", show_progress) as bar:

            def advance(done: int, total: int) -> None:
                bar.total = total
                bar.update(done)

            self._backend.optimize(advance)

    def snapshot(self, path: str | os.PathLike[str]) -> None:
        """Write the collection into one file, as it is at one moment, while others go on writing.
        Only what lives is in it. `retrieval_store.restore` makes a collection of it again. Of a
        cluster, which has no such moment, it is copied beside the file first, as `copy_to` does.

        Args:
            path: of the file, which isn't there yet.

        Raises:
            InvalidArgumentError: a path that exists.
        """
        self._backend.snapshot(path_of(path, "path"))

    def fork(self, new_name: str) -> "Collection":
        """A collection of its own that holds what this one holds at one moment.

        Its files are copied, while others go on writing. On a cluster, which has no copies of one
        moment, its points are copied one after the other.

        Args:
            new_name: its name.

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
        """All records that match, one by one, as they are when this is called: dicts with "id", and
        of "document", "metadata", "uri", "embedding", "sparse_embedding" and "data" those that are
        included, as `add_from` takes them.

        On a cluster they are read from the collection itself: each that stays comes once, as it was
        or as others have changed it, and none that was added later.

        Args:
            batch: how many records are in memory at a time. Where there are more they are read from
                a copy of the collection's files, which goes when the iterator does; writes go on
                meanwhile.
            where: a filter of metadata.
            where_document: a filter of documents.
            include: as of `get`.
            after: the id of the last record that is left out, so that a reading that was broken off
                goes on, in another process too.

        Raises:
            NotFoundError: no record that matches has the id of `after`.
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
        """Have a cluster index a metadata key, so that filters on it are fast, and allowed where
        the server is in strict mode. In a directory, which needs no such index, there is nothing to
        do.

        Args:
            key: the metadata key, which has one index.
            kind: "keyword" for equality of strings, "float" for numbers, "bool" for truths,
                "datetime" where all strings are dates; None: by what the first points have under
                the key.
        """
        from retrieval_store.query.protocols import INDEX_KINDS

        if not isinstance(key, str) or not key:
            raise InvalidTypeError(f"key is {quote(key)}, expected a metadata key")
        if kind is not None and kind not in INDEX_KINDS:
            raise InvalidArgumentError(f"kind is {quote(kind)}, expected one of {INDEX_KINDS}")
        self._points().create_index((key,), kind)

    def _writer(self) -> "Writer":
        """What writes records: its modules are loaded with the first write."""
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
    """Whether a collection has an embedding function, given or remembered; it may still have to be
    made."""
    return collection._embedder.is_there


def replace_function(collection: Collection) -> None:
    """Let a collection without records remember the function that it was got with, instead of the
    one that it was made with."""
    from dataclasses import replace

    from retrieval_store.api.embedding_functions import spec_of

    spec = spec_of(collection._embedder.function)
    if spec is None or spec == _spec_in(collection._record()):
        return
    collection._backend.change(
        lambda record: replace(record, settings={**record.settings, "embedding_function": spec})
    )


def embedded_queries(collection: Collection, texts: Sequence[str]) -> Matrix:
    """(n, dim) float32 for n queries, as `query` makes them: for those who ask the same in several
    ways, which needn't cost several calls of a model."""
    return collection._embedder.embed_query(texts)


def _spec_in(record: CollectionRecord) -> Any:
    """What a collection remembers of its embedding function; nothing of one that is only for
    QdrantClient."""
    spec: Any = None if record.is_qdrant_only else stored_settings(record)["embedding_function"]
    if spec is None or ("name" in spec and "probe" not in spec):
        return None if spec is None else dict(spec)
    from retrieval_store.api.embedding_functions import current_spec

    return current_spec(spec)
