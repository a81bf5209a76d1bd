"""Base classes of a small store. `BaseStore` and `BasePoints` implement all methods by a few
methods of a subclass, and read all points for each call. `ScanRanker` ranks points that are in
memory.
"""

import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from retrieval_store.base.analysis import K1, B, Words, idf_of, is_identifier
from retrieval_store.base.arrays import Floats, Ints, Matrix, Metric
from retrieval_store.base.fusion import FIRST, RARITY_POWER, contained_share
from retrieval_store.base.pca import draw_sample
from retrieval_store.base.validation import (
    JSONValue,
    Payload,
    absent_ids,
    existing_ids,
    kind_of,
    list_ids,
)
from retrieval_store.errors import (
    AlreadyExistsError,
    DimensionMismatchError,
    IDAlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
)
from retrieval_store.extension.stores import projection_of
from retrieval_store.filters.columns import sort_key
from retrieval_store.filters.leaves import fulfils
from retrieval_store.filters.nodes import Expression, Scalar
from retrieval_store.filters.paths import PayloadPath, value_at
from retrieval_store.indexes.exact import distances_from
from retrieval_store.query.executor import Ranked, Trace, answer
from retrieval_store.query.protocols import (
    IndexKind,
    PointsBackend,
)
from retrieval_store.query.query import (
    BestOfEach,
    Bm25,
    ExplainRequest,
    GroupSearch,
    NearestDense,
    Query,
    QueryStep,
    RankReport,
    WordReport,
)
from retrieval_store.query.types import (
    UNSET,
    CollectionRecord,
    Fields,
    FileReport,
    Gauges,
    Hits,
    NewSpace,
    NonDenseVectors,
    PointBatch,
    PointId,
    Points,
    Projection,
    PutResult,
    WriteRules,
    merge_payload,
    most_frequent,
)
from retrieval_store.query.why import why

__all__ = ["BasePoints", "BaseStore", "ScanRanker"]


class ScanRanker:
    """A `Ranker` that scans points in memory. It ranks by nearness to dense vectors, and by the
    words of texts. points: all points, in the order of insertion, with all their fields; metric:
    the distance of the points' vectors, in the space "". Raises InvalidArgumentError for any other
    scoring or space, and DimensionMismatchError for query vectors of another length."""

    def __init__(self, points: Points, metric: Metric) -> None:
        self.trace = Trace()
        self._points, self._metric = points, metric

    def rank(self, step: QueryStep) -> list[Ranked]:
        """The best points for each query of a step, among all points that fulfil the step's
        filter."""
        return self._rank(step, np.arange(len(self._points.ids)))

    def rank_among(self, step: QueryStep, rankings: Sequence[Ranked]) -> Ranked:
        """Like `rank`, for a step with one query. Only points in at least one of these rankings are
        candidates."""
        found = [np.empty(0, np.int64), *(ranking.items for ranking in rankings)]
        (ranking,) = self._rank(step, np.unique(np.concatenate(found)))
        return ranking

    def batch_key(self, step: QueryStep) -> Hashable:
        """Always None, because each step is executed by itself."""
        return None

    def metric(self, space: str) -> Metric:
        """The metric of the vectors."""
        return self._metric

    def distances(self, near: NearestDense, lists: Sequence[Ints]) -> list[Floats]:
        """For each query vector the distances of its list of items, (n,) float64. The distance is
        NaN for a point without a vector."""
        return [
            self._distances(query, items)
            for query, items in zip(np.asarray(near.vectors), lists, strict=True)
        ]

    def order(self, items: Ints) -> Ints:
        """The items unchanged, since an item is the point's position in the order of insertion."""
        return items

    def labelling(
        self, groups: BestOfEach | GroupSearch, expected: int, expression: Expression | None
    ) -> "ScanLabels":
        """The values of points under a key, for grouping. Only `BestOfEach` is supported."""
        if not isinstance(groups, BestOfEach):
            raise InvalidArgumentError("points of this store aren't put into groups")
        values = [value_at(payload, groups.path) for payload in self._points.payloads or ()]
        return ScanLabels([() if kind is None else (kind,) for kind in map(kind_of, values)])

    def fetch(self, lists: Sequence[Ints], fields: Fields) -> list[Points]:
        """The points of each list of items."""
        return [self._points.at(items).only(fields) for items in lists]

    def matching(self, expression: Expression, limit: int) -> Ints:
        """The first `limit` points that fulfil an expression, in the order of insertion."""
        items = np.arange(len(self._points.ids))
        return items[self.fulfilling(expression, items)][:limit]

    def fulfilling(self, expression: Expression | None, items: Ints) -> npt.NDArray[np.bool_]:
        """(n,) bool: which of these items fulfil an expression."""
        if expression is None:
            return np.ones(len(items), np.bool_)
        return np.array(
            [fulfils(self._points.candidate(i), expression) for i in items.tolist()], np.bool_
        )

    def words(self, text: Bm25, items: Ints) -> list[WordReport]:
        """Each distinct word of the first text, with its contribution to the scores of these
        items."""
        query_words, idf, shares, _ = self._word_shares(text, text.texts[0])
        reported = zip(query_words.vocabulary, idf.tolist(), shares[:, items], strict=True)
        return [WordReport(word, weight, share) for word, weight, share in reported]

    def _rank(self, step: QueryStep, items: Ints) -> list[Ranked]:
        items = items[self.fulfilling(step.expression, items)]
        match step.scoring:
            case NearestDense(space="", scale="distance", vectors=vectors):
                return [self._nearest(query, items, step.depth) for query in np.asarray(vectors)]
            case Bm25() as text:
                return [self._by_words(text, query, items, step.depth) for query in text.texts]
        kind = type(step.scoring).__name__
        raise InvalidArgumentError(f"this store can't answer a question with a step {kind!r}")

    def _nearest(self, query: npt.NDArray[np.float32], items: Ints, depth: int) -> Ranked:
        distances = self._distances(query, items)
        has_vector = ~np.isnan(distances)
        items, distances = items[has_vector], distances[has_vector]
        best = np.argsort(distances, kind="stable")[:depth]
        distances = distances[best]
        scores = -distances if self._metric == "l2" else 1.0 - distances
        return Ranked(items[best], scores, distances)

    def _distances(self, query: npt.NDArray[np.float32], items: Ints) -> Floats:
        vectors = (self._points.vectors or {}).get("")
        if not isinstance(vectors, np.ndarray) or not vectors.shape[1]:
            return np.full(len(items), np.nan)
        if vectors.shape[1] != len(query):
            raise DimensionMismatchError(
                f"the query vectors have {len(query)} numbers, but the collection holds vectors of "
                f"{vectors.shape[1]} (its dimension)"
            )
        return distances_from(query, vectors[items], self._metric)

    def _by_words(self, text: Bm25, query: str, items: Ints, depth: int) -> Ranked:
        query_words, idf, shares, greatest_idf = self._word_shares(text, query)
        scores = shares[:, items].sum(axis=0)
        best = np.argsort(-scores, kind="stable")[:depth]
        best = best[scores[best] > 0]
        ranking = Ranked(items[best], scores[best])
        if text.weighs_identifiers:
            weights = np.bincount(query_words.codes, minlength=len(idf)) * idf**RARITY_POWER
            held = weights @ (shares[:, ranking.items[:FIRST]] > 0)
            shared, total = float(held.max(initial=0.0)), float(weights.sum())
            ranking.share = contained_share(shared, total, greatest_idf)
        return ranking

    def _word_shares(self, text: Bm25, query: str) -> tuple[Words, Floats, Floats, float]:
        """Four values: the words of a query; the idf of each distinct word; (words, points) the
        contributions of the words to the points' BM25 scores; and the idf of a word that occurs in
        a single document. The numbers equal those of a local store, which computes parts of a
        document's score in float32."""
        query_words = text.analyzer.words([query], is_query=True)
        documents = [document or "" for document in self._points.documents or ()]
        words = text.analyzer.words(documents)
        lengths = np.bincount(words.owners, minlength=len(documents)).astype(np.float32)
        place = {word: i for i, word in enumerate(query_words.vocabulary)}
        rows = np.array([place.get(word, -1) for word in words.vocabulary], np.int64)[words.codes]
        often = np.zeros((len(place), len(documents)), np.float32)
        np.add.at(often, (rows[rows >= 0], words.owners[rows >= 0]), 1)
        having = max(1, int(np.count_nonzero(lengths)))
        damping = K1 * (1 - B + B * lengths / max(1.0, len(words.owners) / having))
        holders = (often > 0).sum(axis=1).clip(min=1)
        idf = idf_of(having, holders)
        idf *= np.where([is_identifier(word) for word in place], text.identifier_weight, 1.0)
        counts = np.bincount(query_words.codes, minlength=len(place))
        shares = (often / (often + damping)) * (counts * idf * (K1 + 1))[:, None]
        return query_words, idf, shares, float(idf_of(having, 1))


class ScanLabels:
    """The values under one key of the points of a `ScanRanker`, for grouping hits."""

    group_count = None
    points_per_occurrence = 0

    def __init__(self, labels: Sequence[tuple[str | int, ...]]) -> None:
        self._labels = labels

    def of(self, items: Ints) -> list[tuple[str | int, ...]]:
        """The labels of each item."""
        return [self._labels[item] for item in items.tolist()]

    def max_points_in(self, value: str | int) -> int:
        """The largest integer, since the number of points with this value is unknown."""
        return sys.maxsize


class BaseStore(ABC):
    """A base class of a `CollectionStore` without the engine of this project. A subclass implements
    `create`, `change`, `page`, `drop` and `points`. Such a store has no files that this project
    could compact or verify. It cannot copy collections unless the subclass implements `fork`."""

    engine = embedded = None
    directory: Path | None = None

    @abstractmethod
    def create(
        self,
        name: str,
        settings: Payload,
        spaces: Mapping[str, NewSpace],
        collection_id: str | None = None,
    ) -> CollectionRecord:
        """See `CollectionStore.create`."""

    @abstractmethod
    def change(
        self, collection_id: str, edit: Callable[[CollectionRecord], CollectionRecord]
    ) -> CollectionRecord:
        """See `CollectionStore.change`."""

    @abstractmethod
    def page(self, limit: int | None, offset: int) -> list[CollectionRecord]:
        """See `CollectionStore.page`."""

    @abstractmethod
    def drop(self, name: str) -> None:
        """See `CollectionStore.drop`."""

    @abstractmethod
    def points(self, collection_id: str) -> PointsBackend:
        """See `CollectionStore.points`. Implementations call `record`, which raises NotFoundError
        for an unknown id."""

    def by_name(self, name: str) -> CollectionRecord:
        """The record of the collection with this name; raises NotFoundError if there is no such
        collection."""
        for record in self.page(None, 0):
            if record.name == name:
                return record
        raise NotFoundError(f"there is no collection {name!r}")

    def record(self, collection_id: str) -> CollectionRecord:
        """The record of the collection with this id; raises NotFoundError if there is no such
        collection."""
        for record in self.page(None, 0):
            if record.id == collection_id:
                return record
        raise NotFoundError.of_deleted("Collection")

    def refuse_taken(self, name: str) -> None:
        """Raise AlreadyExistsError if a collection has this name."""
        if any(record.name == name for record in self.page(None, 0)):
            raise AlreadyExistsError(f"collection {name!r} already exists")

    def count(self) -> int:
        """The number of collections."""
        return len(self.page(None, 0))

    def fork(self, collection_id: str, name: str) -> CollectionRecord:
        """Raise InvalidArgumentError, since this store cannot copy collections."""
        raise InvalidArgumentError("this store can't copy a collection under another name")

    @contextmanager
    def open_copy(self, collection_id: str) -> Iterator[PointsBackend]:
        """A context manager that yields the points of the collection, not a copy. Other clients may
        change or delete the points meanwhile."""
        yield self.points(collection_id)

    def gauges(self) -> Iterable[tuple[str, Gauges]]:
        """The number of points of each collection, with its name."""
        for record in self.page(None, 0):
            yield record.name, Gauges(points=self.points(record.id).count())

    def own_bytes(self) -> int:
        """0, since the size of the store on disk is unknown."""
        return 0

    def budget(self) -> Mapping[str, int]:
        """An empty dict, since the store's memory is not limited here."""
        return {}

    def optimize(self, collection_id: str, progress: object) -> None:
        """Do nothing; raises NotFoundError if the collection doesn't exist."""
        self.record(collection_id)

    def verify(self, analyzer_of: object) -> Iterable[FileReport]:
        """An empty result, since the store has no files of this project."""
        return ()


class BasePoints(ABC):
    """A base class of a `PointsBackend` that reads all points for each call. A subclass implements
    `dimension`, `read`, `write` and `remove`. There is one vector space, "". Queries rank exactly,
    by nearness to vectors, and by words. metric: the distance between vectors.

    Ids are strings. `read` returns, and `write` gets, points with all their fields: payloads,
    documents, uris, and the vectors in "". The vectors are (n, dim) float32, with a row of NaN for
    a point without a vector. dim is the value of `dimension`, or 0 while that is None.
    """

    reusable = False  # the store says each time whether the collection is still there
    engine = None

    def __init__(self, metric: Metric) -> None:
        self.metric: Metric = metric

    @property
    @abstractmethod
    def dimension(self) -> int | None:
        """The dimension of the vectors; None until the first vector is stored. From then on it
        stays the same, even if all points are deleted. Raises NotFoundError if the collection was
        deleted."""

    @abstractmethod
    def read(self, ids: Sequence[PointId] | None) -> Points:
        """All points, or the existing points with these ids, in the order of first insertion.
        Raises NotFoundError if the collection was deleted."""

    @abstractmethod
    def write(self, points: Points) -> None:
        """Store points durably. Existing points are replaced and keep their positions in the order;
        new points come last."""

    @abstractmethod
    def remove(self, ids: Sequence[PointId]) -> None:
        """Delete the points with these ids, durably."""

    def transaction(self) -> AbstractContextManager[object]:
        """A context manager around each call that first reads and then writes. It must prevent
        other calls from writing in between. By default it does nothing."""
        return nullcontext()

    def put(self, batch: PointBatch, rules: WriteRules) -> PutResult:
        """Insert and update points. `rules` decides how existing and missing points are treated."""
        with self.transaction():
            return self._put(batch, rules)

    def put_each(self, batches: Iterable[PointBatch], rules: WriteRules) -> Iterator[PutResult]:
        """Insert and update points, batch by batch."""
        for batch in batches:
            yield self.put(batch, rules)

    def _put(self, batch: PointBatch, rules: WriteRules) -> PutResult:
        if numbers := [point_id for point_id in batch.ids if not isinstance(point_id, str)]:
            raise InvalidArgumentError(f"ids in this store are strings, not {list_ids(numbers)}")
        old = self.read(batch.ids)
        place = {point_id: i for i, point_id in enumerate(old.ids)}
        if old.ids and rules.on_existing == "refuse":
            raise IDAlreadyExistsError(existing_ids(sorted(map(str, old.ids))))
        new = [point_id for point_id in batch.ids if point_id not in place]
        if new and rules.on_missing == "refuse":
            raise absent_ids(new)
        vectors = self._vectors_of(batch)
        lacking = [point_id for point_id in new if point_id not in vectors]
        if lacking and rules.on_missing == "insert" and rules.needs_vector is not None:
            raise InvalidArgumentError(f"no embedding is given for new ids: {list_ids(lacking)}")
        is_changed = {
            point_id: rules.on_existing != "ignore" and fulfils(old.candidate(i), rules.where)
            for point_id, i in place.items()
        }
        written = [
            i
            for i, point_id in enumerate(batch.ids)
            if is_changed.get(point_id, rules.on_missing == "insert")
        ]
        points = self._merged(batch, written, old, place, vectors, rules)
        if written:
            self.write(points)
        ids = {batch.ids[i] for i in written}
        cleared = [
            point_id
            for i, point_id in enumerate(points.ids)
            if point_id in place and _is_cleared(points, i, old, place[point_id])
        ]
        return PutResult(
            len(ids.intersection(new)),
            len(ids.intersection(place)),
            [point_id for point_id in batch.ids if point_id not in ids],
            cleared if rules.on_existing == "update" else (),
        )

    def _vectors_of(self, batch: PointBatch) -> dict[PointId, Matrix]:
        """The vectors of a batch. Raises InvalidArgumentError for a space other than "", and
        DimensionMismatchError for vectors of another length."""
        column = batch.vectors.get("")
        if {*batch.vectors} - {""} or isinstance(column, NonDenseVectors):
            raise InvalidArgumentError("this store holds embeddings, and no vectors of other kinds")
        if column is None:
            return {}
        if (known := self.dimension) not in (None, column.matrix.shape[1]):
            raise DimensionMismatchError(
                f"the embeddings have {column.matrix.shape[1]} numbers, but the collection holds "
                f"vectors of {known} (its dimension)"
            )
        places = range(len(batch.ids)) if column.positions is None else column.positions.tolist()
        return {batch.ids[i]: vector for i, vector in zip(places, column.matrix, strict=True)}

    def _merged(
        self,
        batch: PointBatch,
        written: Sequence[int],
        old: Points,
        place: Mapping[PointId, int],
        vectors: Mapping[PointId, Matrix],
        rules: WriteRules,
    ) -> Points:
        """The points at the positions `written` of a batch, with their content after the write."""
        replaces, kept = rules.on_existing == "replace", (old.vectors or {}).get("")
        length = len(next(iter(vectors.values()))) if vectors else self.dimension or 0
        merged = Points([batch.ids[i] for i in written], [], [], [])
        payloads, documents, uris = merged.payloads, merged.documents, merged.uris
        assert payloads is not None and documents is not None and uris is not None
        matrix = np.full((len(written), length), np.nan, np.float32)

        def chosen(given: Sequence[Any] | None, i: int, column: Sequence[Any] | None) -> Any:
            value = UNSET if given is None else given[i]
            if value is not UNSET:
                return value
            at = place.get(batch.ids[i])
            return None if replaces or at is None or column is None else column[at]

        for row, i in enumerate(written):
            point_id = batch.ids[i]
            at = place.get(point_id)
            payload = UNSET if batch.payloads is None else batch.payloads[i]
            if payload is UNSET or at is None or replaces or not rules.merge_payloads:
                payload = chosen(batch.payloads, i, old.payloads)
            elif old.payloads is not None:
                payload = merge_payload(old.payloads[at], payload)
            payloads.append(payload)
            documents.append(chosen(batch.documents, i, old.documents))
            uris.append(chosen(batch.uris, i, old.uris))
            if point_id in vectors:
                matrix[row] = vectors[point_id]
            elif at is not None and not replaces and isinstance(kept, np.ndarray) and length:
                matrix[row] = kept[at]
        return replace(merged, vectors={"": matrix})

    def delete(
        self, ids: Sequence[PointId] | None, expression: Expression | None, limit: int | None
    ) -> int:
        """Delete the first `limit` points that have one of these ids and match. Returns the number
        of deleted points."""
        with self.transaction():
            found = self.get(ids, expression, limit, 0, Fields()).ids
            self.remove(found)
            return len(found)

    def merge_payload(self, expression: Expression, payload: Payload) -> int:
        """Merge these keys into the payloads of all points that match."""
        with self.transaction():
            ids = self.get(None, expression, None, 0, Fields()).ids
            batch = PointBatch(ids, payloads=[payload] * len(ids))
            return self._put(batch, WriteRules("update", "ignore")).updated

    def get(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        fields: Fields,
    ) -> Points:
        """The points that have one of these ids and match, in the order of `ids`. If `ids` is None,
        all points that match are returned, in the order of first insertion."""
        points = self.read(ids)
        places: Iterable[int] = range(len(points.ids))
        if ids is not None:
            at = {point_id: i for i, point_id in enumerate(points.ids)}
            places = [at[point_id] for point_id in ids if point_id in at]
        found = [i for i in places if fulfils(points.candidate(i), expression)]
        stop = None if limit is None else offset + limit
        return points.at(np.array(found[offset:stop], np.int64)).only(fields)

    def sample(self, expression: Expression | None, size: int, fields: Fields) -> Points:
        """At most `size` of the points that match, spread evenly over all points that match."""
        points = self.get(None, expression, None, 0, fields)
        last = len(points.ids) - 1
        places = np.linspace(0, last, min(size, last + 1)).round().astype(np.int64)
        return points.at(places)

    def ask(self, question: Query) -> list[Hits]:
        """The hits of each query, best first. Raises InvalidArgumentError for a ranking that
        `ScanRanker` doesn't support."""
        return answer(self._ranker(), question)

    def explain(self, question: Query) -> Payload:
        """How a query is answered: the number of points, which are all scanned, and the number of
        hits of each ranking."""
        ranker = self._ranker()
        answer(ranker, question)
        legs: Payload = {name: [*counts] for name, counts in ranker.trace.legs.items()}
        return {
            "points": self.count(),
            "legs": legs,
            "alphas": [round(alpha, 4) for alpha in ranker.trace.alphas],
        }

    def why(self, inquiry: ExplainRequest) -> RankReport:
        """The ranks of records in the rankings of a query."""
        return why(self._ranker(), inquiry, max(1, self.count()))

    def _ranker(self) -> ScanRanker:
        return ScanRanker(self.read(None), self.metric)

    def stats(self) -> Payload:
        """The number of points."""
        return {"points": self.count()}

    def warm(self, paths: Sequence[PayloadPath], analyzer: object) -> Payload:
        """Do nothing, since each call reads all points."""
        return {"spaces": {}, "keys": {}, "lists": {}, "milliseconds": {}}

    def configure_index(self, space: str, index: Payload) -> None:  # noqa: B027 - as meant
        """Do nothing, since there is no index."""

    def create_index(self, path: PayloadPath, kind: IndexKind | None) -> None:  # noqa: B027
        """Do nothing, since filters need no index."""

    def number(self, expression: Expression | None) -> int:
        """The number of points that match."""
        return len(self.get(None, expression, None, 0, Fields()).ids)

    def count_within(self, expression: Expression, seconds: float) -> tuple[int, bool]:
        """The number of points that match, and whether the count was completed within this many
        seconds."""
        points, ends, count = self.read(None), time.monotonic() + seconds, 0
        for i in range(len(points.ids)):
            if time.monotonic() >= ends:
                return count, False
            count += fulfils(points.candidate(i), expression)
        return count, True

    def project(
        self,
        space: str,
        expression: Expression | None,
        sample: int,
        seed: int,
        path: PayloadPath | None,
    ) -> Projection:
        """A sample of the points that match and have a vector, projected to a plane."""
        if space:
            raise InvalidArgumentError(f"there is no vector space {space!r}")
        points = self.get(None, expression, None, 0, Fields(payload=True, vectors=(space,)))
        vectors = (points.vectors or {})[space]
        assert isinstance(vectors, np.ndarray)
        has_vector = np.flatnonzero(~np.isnan(vectors).all(axis=1))
        drawn = points.at(has_vector[draw_sample(len(has_vector), sample, seed)])
        return replace(projection_of(drawn, space, self.metric, seed, path), total=len(has_vector))

    def in_order(
        self,
        path: PayloadPath,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        descending: bool,
        fields: Fields,
    ) -> Points:
        """The matching points that have a number or a date at the path, in the order of these
        values."""
        points = self.get(None, expression, None, 0, replace(fields, payload=True))
        keys = [sort_key(payload, path, descending) for payload in points.payloads or ()]
        placed = sorted(
            ((key, i) for i, key in enumerate(keys) if key is not None), reverse=descending
        )
        stop = None if limit is None else offset + limit
        places = [i for _, i in placed[offset:stop]]
        return points.at(np.array(places, np.int64)).only(fields)

    def facet(
        self, path: PayloadPath, expression: Expression | None, limit: int | None
    ) -> list[tuple[Scalar, int]]:
        """The values that matching points have at the path, and how many matching points have each
        value."""
        points = self.get(None, expression, None, 0, Fields(payload=True))
        values = [value_at(payload, path) for payload in points.payloads or ()]
        scalars = [
            [item for item in (value if isinstance(value, list) else [value]) if _is_scalar(item)]
            for value in values
        ]
        # Equal numbers are counted as an integer, where one of them is.
        counts: Counter[tuple[bool, Scalar]] = Counter(
            {(False, item): 0 for own in scalars for item in own if type(item) is int}
        )
        for own in scalars:
            counts.update({(isinstance(item, bool), item) for item in own})
        return most_frequent(counts, limit)

    def count(self) -> int:
        """The number of points."""
        return len(self.read(None).ids)


def _is_scalar(value: JSONValue) -> TypeGuard[Scalar]:
    return isinstance(value, bool | int | float | str)


def _is_cleared(new: Points, i: int, old: Points, at: int) -> bool:
    """Whether point `i` of a batch removes the document or the uri that the old point has."""
    columns = ((new.documents, old.documents), (new.uris, old.uris))
    return any(a and b and a[i] is None and b[at] is not None for a, b in columns)
