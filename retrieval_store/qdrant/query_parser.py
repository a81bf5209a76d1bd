"""Converts queries and formulas, which are instances of qdrant-client's model classes, into those
of `query.query`.

The vectors of a query (`Inputs`) are in the request, or are the vectors of stored points.
"""

import itertools
import math
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from itertools import chain
from typing import Any, cast

import numpy as np
from qdrant_client import models

from retrieval_store.base import budget
from retrieval_store.base.analysis import K1, B
from retrieval_store.base.arrays import (
    LESS_IS_BETTER,
    Floats,
    Matrix,
    SparseVector,
    as_bytes,
    as_float32,
)
from retrieval_store.errors import RetrievalStoreError
from retrieval_store.filters.dates import micros_in
from retrieval_store.filters.expression import Expression, HasId, Not, all_of
from retrieval_store.filters.leaves import MAX_NODES
from retrieval_store.filters.nodes import MAX_DEPTH
from retrieval_store.qdrant.collections import CollectionHandle, Collections
from retrieval_store.qdrant.config import UNNAMED, Vector, check_range
from retrieval_store.qdrant.filter_parser import KnownConditions, merge_filters, parse_filter
from retrieval_store.qdrant.payload_indexes import parse_order, parse_scored, parse_variable
from retrieval_store.qdrant.read import expression_of
from retrieval_store.qdrant.refusals import (
    NoVectorError,
    Refused,
    bad_request,
    describe,
    invalid,
    not_found,
    to_float,
    wrong,
)
from retrieval_store.qdrant.strict_mode import (
    GEO_USES,
    NUMBERS,
    TIMES,
    Use,
    check_filter,
    check_key,
    check_limit,
    check_scan,
    check_search,
    conditions_of,
)
from retrieval_store.qdrant.vectors import (
    dense_vector,
    id_to_read,
    normalise_rows,
    several_vectors,
    to_sparse,
)
from retrieval_store.query.formulas import (
    Apply,
    Combine,
    Constant,
    Decay,
    Decayed,
    DistanceTo,
    Formula,
    NumberAt,
    Power,
    Quotient,
    ScoreOf,
    Several,
    TimeAt,
    Unary,
    Variable,
    Whether,
)
from retrieval_store.query.query import (
    Discover,
    Example,
    FormulaScore,
    FuseRankings,
    Mmr,
    NearestDense,
    NearestSparse,
    OrderBy,
    PayloadText,
    QueryStep,
    Recommend,
    RelevanceFeedback,
    Scoring,
    Unranked,
)
from retrieval_store.query.types import Fields, PointId

IDS = (int, str, uuid.UUID)


@dataclass(slots=True)
class Inputs:
    """Finds the vectors of one step, which are given as numbers or as ids of stored points. opened:
    the collection to search; using: the vector space to search; source, origin: the collection and
    the vector space of example points. used_ids: the example points that belong to the searched
    collection; read: the points of `source` that were read so far, by id."""

    opened: CollectionHandle
    using: Vector
    source: CollectionHandle
    origin: Vector
    used_ids: list[PointId] = field(default_factory=list)
    read: dict[PointId, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, collections: Collections, opened: CollectionHandle, using: str | None, lookup: Any
    ) -> "Inputs":
        """The inputs of a step that uses this vector space. Example points come from the same
        collection, or from the collection that `lookup` names."""
        vector = opened.vector(using or UNNAMED)
        if lookup is None:
            return cls(opened, vector, opened, vector)
        source = collections.look_up(lookup.collection)
        name = lookup.vector or using or UNNAMED
        origin = source.configuration.by_name.get(name, replace(vector, name=name))
        if (origin.kind, origin.size) != (vector.kind, vector.size):
            raise wrong(
                f"lookup_from names vectors {origin.name!r}, which are {origin.kind} of size "
                f"{origin.size}; vectors {vector.name!r} are {vector.kind} of size {vector.size}"
            )
        return cls(opened, vector, source, origin)

    def example(self, value: Any, sized: bool = True) -> Example:
        """One vector, in the form in which the space stores it. sized: whether the vector must have
        the dimension of the space; if False, a dense vector can have any dimension."""
        if isinstance(value, list | tuple | np.ndarray):
            if len(value) == 0:
                raise wrong(f"the query for vectors {self.using.name!r} is empty")
        elif _is_id(value):
            return self._read_example(value)
        if self.using.kind == "sparse":
            return to_sparse(value)
        if self.using.kind == "multi":
            return as_compared(self.using, several_vectors(self.using, value))
        if isinstance(value, models.SparseVector) or value is None:
            raise wrong(
                f"the query is {describe(value)}, but vectors {self.using.name!r} are dense"
            )
        expected = self.using if sized else replace(self.using, size=None)
        row: Example = as_compared(self.using, dense_vector(expected, value))[0]
        return row

    def examples(self, values: Iterable[Any], sized: bool = True) -> list[Example]:
        """Several vectors. Those that are ids of stored points are read together."""
        all_values = list(values)
        id_values = [value for value in all_values if _is_id(value)]
        self._read([id_to_read(value) for value in id_values])
        lacking = [value for value in id_values if self._lacks(id_to_read(value))]
        if lacking:
            raise NoVectorError(lacking, self.origin.name)
        return [self.example(value, sized) for value in all_values]

    def _read(self, ids: list[PointId]) -> None:
        if ids:
            name = self.origin.name
            if name not in self.source.configuration.by_name:
                self._refuse(name, ids)
            points = self.source.points.get(ids, None, None, 0, Fields(vectors=(name,)))
            self.read.update(zip(points.ids, (points.vectors or {})[name], strict=True))

    def _refuse(self, name: str, ids: list[PointId]) -> None:
        """Raise Refused for a point that does not exist, or for a vector name that the collection
        of the example points does not have."""
        existing = self.source.points.get(ids, None, None, 0, Fields()).ids
        for missing in set(ids).difference(existing):
            raise not_found(f"Not found: No point with id {missing} found")
        self.source.vector(name)

    def _lacks(self, point_id: PointId) -> bool:
        """Whether a point was read and has no vector. False for a point that does not exist."""
        stored = self.read.get(point_id, ())
        return stored is None or (
            isinstance(stored, np.ndarray) and bool(np.isnan(stored.ravel()[:1]).any())
        )

    def _read_example(self, value: Any) -> Example:
        point_id, name = id_to_read(value), self.origin.name
        if point_id not in self.read:
            self._read([point_id])
        if point_id not in self.read:
            raise not_found(f"Not found: No point with id {value} found")
        if self._lacks(point_id):
            raise NoVectorError([value], name)
        stored = self.read[point_id]
        if self.source.record.id == self.opened.record.id:
            self.used_ids.append(point_id)
        return stored if isinstance(stored, SparseVector) else _as_returned(self.origin, stored)


def _is_id(value: Any) -> bool:
    return isinstance(value, IDS) and not isinstance(value, bool)


def as_compared(vector: Vector, query: Matrix) -> Matrix:
    """The query vectors in the form in which a server compares them: truncated to bytes if the
    stored vectors are bytes."""
    return as_float32(as_bytes(query)) if vector.datatype == "uint8" else query


def average(vector: Vector, positives: list[Example], negatives: list[Example]) -> Example:
    """The average of the positive examples, plus its difference from the average of the negative
    examples. As on a server, dense examples can have any dimension; only the average must have the
    dimension of the space."""
    if vector.kind == "sparse":
        return _sparse_average(positives, negatives)
    near, far = _matrices(positives), _matrices(negatives)
    if vector.kind == "multi":  # as a server does it: all of them together
        together: Example = np.concatenate([*near, *(-matrix for matrix in far)])
        return together
    mean: Any = _mean_row(near)
    if far:
        common = min(len(mean), len(other := _mean_row(far)))
        mean = mean[:common] + mean[:common] - other[:common]
    averaged: Example = dense_vector(vector, mean.astype(np.float32))[0]
    return averaged


def _mean_row(rows: list[Matrix]) -> Floats:
    """(n,) float64: the mean of rows, which can differ in length. Missing numbers count as 0."""
    total = np.zeros(max(map(len, rows)))
    for row in rows:
        total[: len(row)] += row
    return total / len(rows)


def _matrices(examples: list[Example]) -> list[Matrix]:
    return [matrix for matrix in examples if isinstance(matrix, np.ndarray)]


def _as_returned(vector: Vector, matrix: Matrix) -> Matrix:
    """A stored vector in the form in which a server would return it."""
    return normalise_rows(vector, np.atleast_2d(matrix)).reshape(matrix.shape)


def _sparse_average(positives: list[Example], negatives: list[Example]) -> SparseVector:
    positive = _sparse_mean([vector for vector in positives if isinstance(vector, SparseVector)])
    if not negatives:
        return _sparse(positive)
    negative = _sparse_mean([vector for vector in negatives if isinstance(vector, SparseVector)])
    totals = {index: 2 * value for index, value in positive.items()}
    for index, value in negative.items():
        totals[index] = totals.get(index, 0.0) - value
    return _sparse(totals)


def _sparse_mean(vectors: list[SparseVector]) -> dict[int, float]:
    totals: dict[int, float] = {}
    for vector in vectors:
        for index, value in zip(vector.indices.tolist(), vector.values.tolist(), strict=True):
            totals[index] = totals.get(index, 0.0) + value / len(vectors)
    return totals


def _sparse(values: dict[int, float]) -> SparseVector:
    indices = np.array(sorted(values), np.uint32)
    with np.errstate(over="ignore"):
        numbers = np.array([values[index] for index in indices.tolist()], np.float64)
        narrow = numbers.astype(np.float32)
    if not np.isfinite(narrow).all():
        raise wrong("the average of the examples has numbers that float32 can't hold")
    return SparseVector(indices, narrow)


MICROS = 1e6
UNARY: tuple[Unary, ...] = ("neg", "abs", "sqrt", "exp", "log10", "ln", "acosh")
SEVERAL: tuple[Several, ...] = ("sum", "mult", "max", "min")
DECAYS: tuple[Decay, ...] = ("lin", "exp", "gauss")
_SCORE = re.compile(r"\$score(?:\[(\d+)\])?", re.ASCII)


def formula_of(opened: CollectionHandle, query: models.FormulaQuery) -> Formula:
    """The formula of a query; raises an error if any part of it is invalid."""
    return _FormulaParser(opened, query.defaults or {}).parse(query.formula, 1)


class _FormulaParser:
    """Parses a formula. defaults: the values of variables that a point lacks."""

    def __init__(self, opened: CollectionHandle, defaults: Mapping[str, Any]) -> None:
        self._opened, self._nodes = opened, 0
        self._defaults = {_normal(key): value for key, value in defaults.items()}

    def parse(self, value: Any, depth: int) -> Formula:
        """A node of a formula, with all nodes below it."""
        budget.check()
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise wrong(f"the formula has more than {MAX_DEPTH} levels or {MAX_NODES} parts")
        if isinstance(value, int | float) and not isinstance(value, bool):
            return Constant(to_float(value, "the formula"))
        if isinstance(value, str):
            return self._variable(value)
        return self._special(value, depth) or self._function(value, depth) or self._whether(value)

    def _variable(self, name: str) -> Formula:
        if not name.startswith("$score"):
            return NumberAt(self._variable_at(name, NUMBERS), self._default_number(name))
        match = _SCORE.fullmatch(name)
        if match is None:
            raise wrong(f"the formula: {name!r} is no score; expected '$score' or '$score[1]'")
        default = self._default_number(_normal(name))
        return ScoreOf(int(match[1] or 0), 0.0 if default is None else default)

    def _variable_at(self, name: str, uses: Sequence[Use]) -> Variable:
        check_key(self._opened, name, uses, "formula expression")
        return parse_variable(name, self._opened.configuration.indexes_by_path)

    def _default(self, name: str) -> Any:
        value = self._defaults.get(name)
        return value[0] if isinstance(value, list) and len(value) == 1 else value

    def _default_number(self, name: str) -> float | None:
        value = self._default(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return to_float(value, f"defaults[{name!r}]") if is_number else None

    def _special(self, value: Any, depth: int) -> Formula | None:
        match value:
            case models.DivExpression(div=div):
                left, right = self.parse(div.left, depth + 1), self.parse(div.right, depth + 1)
                return Quotient(left, right, div.by_zero_default)
            case models.PowExpression(pow=power):
                return Power(
                    self.parse(power.base, depth + 1), self.parse(power.exponent, depth + 1)
                )
            case models.GeoDistance(geo_distance=params):
                return self._distance(params)
            case models.DatetimeExpression(datetime=text):
                return Constant(_seconds(text))
            case models.DatetimeKeyExpression(datetime_key=key):
                default = self._default(key)
                seconds = _seconds(default) if isinstance(default, str) else None
                return TimeAt(self._variable_at(key, TIMES), seconds)
        return None

    def _distance(self, params: models.GeoDistanceParams) -> Formula:
        location = self._default(params.to)
        has_location = isinstance(location, dict) and {"lon", "lat"} <= location.keys()
        name = f"defaults[{params.to!r}]"
        default = (
            (
                to_float(location["lon"], f"{name}['lon']"),
                to_float(location["lat"], f"{name}['lat']"),
            )
            if has_location
            else None
        )
        origin = (params.origin.lon, params.origin.lat)
        return DistanceTo(origin, self._variable_at(params.to, GEO_USES), default)

    def _function(self, value: Any, depth: int) -> Formula | None:
        """A node whose model has one field, which has the name of the function; None if the model
        has another form."""
        named_parser = next(
            (_PARSERS[kind] for kind in type(value).__mro__ if kind in _PARSERS), None
        )
        if named_parser is None:
            return None
        name, parse = named_parser
        return parse(self, name, getattr(value, name), depth + 1)

    def apply(self, name: str, term: Any, depth: int) -> Formula:
        """A function of one number."""
        return Apply(cast(Unary, name), self.parse(term, depth))

    def combine(self, name: str, terms: Any, depth: int) -> Formula:
        """A function of several numbers."""
        if not terms and name in ("max", "min"):
            raise wrong(f"the formula: {name!r} needs at least one operand")
        if not terms:
            return Constant(1.0 if name == "mult" else 0.0)
        return Combine(cast(Several, name), tuple(self.parse(term, depth) for term in terms))

    def decay(self, name: str, params: models.DecayParamsExpression, depth: int) -> Formula:
        """One of the decay functions."""
        midpoint = 0.5 if params.midpoint is None else params.midpoint
        scale = 1.0 if params.scale is None else params.scale
        kind = cast(Decay, name.removesuffix("_decay"))
        if not (0.0 <= midpoint <= 1.0 if kind == "lin" else 0.0 < midpoint < 1.0):
            raise wrong(f"the formula: midpoint is {midpoint}, expected one between 0 and 1")
        if scale <= 0.0:
            raise wrong(f"the formula: scale is {scale}, expected more than 0")
        target = Constant(0.0) if params.target is None else self.parse(params.target, depth)
        return Decayed(kind, self.parse(params.x, depth), target, scale, midpoint)

    def _whether(self, value: Any) -> Formula:
        try:
            filter_ = models.Filter(must=[value])
        except ValueError:
            raise wrong(f"the formula has {describe(value)}, expected an expression") from None
        check_filter(self._opened, filter_)
        expression = expression_of(self._opened, filter_)
        assert expression is not None
        return Whether(expression)


def _class_of(name: str) -> type:
    """The model of an expression that has a field of this name."""
    model = getattr(models, "".join(part.capitalize() for part in name.split("_")) + "Expression")
    assert isinstance(model, type)
    return model


_PARSERS: dict[type, tuple[str, Callable[[_FormulaParser, str, Any, int], Formula]]] = {
    **{_class_of(name): (name, _FormulaParser.apply) for name in UNARY},
    **{_class_of(name): (name, _FormulaParser.combine) for name in SEVERAL},
    **{_class_of(f"{kind}_decay"): (f"{kind}_decay", _FormulaParser.decay) for kind in DECAYS},
}


def _normal(name: str) -> str:
    return "$score[0]" if name == "$score" else name


def _seconds(text: str) -> float:
    micros = micros_in(text)
    if micros is None:
        raise wrong(f"the formula: {text!r} is no datetime")
    return micros / MICROS


LIMIT, RRF_K = 10, 2
MAX_K1 = 1e6
MAX_CANDIDATES = 16_384  # of MMR
PAIR_BYTES = 100  # of a pair of examples
MERGED_BYTES = 100  # of a condition in one more filter
INTEGERS, NUMERIC = (int, np.integer), (int, float, np.number)
NO_PARAMS = models.SearchParams()
COMPARING_VECTORS = (NearestDense, NearestSparse, Recommend, Discover, RelevanceFeedback)
NEEDS_PREFETCH = (models.FusionQuery, models.RrfQuery, models.FormulaQuery)


def step_of(collections: Collections, opened: CollectionHandle, request: Any) -> QueryStep:
    """The step of a request: a QueryRequest, or an object with its fields."""
    parser = _QueryParser(collections, opened)
    try:
        parsed = parser.parse_step(request, None, 1)
    except RetrievalStoreError:
        parser.refuse_unreadable(request)  # which a server comes upon before all else
        raise
    _check_prefetches(parsed)
    return _step_with_prefetches(parsed, None)


def used_ids_of(
    collections: Collections, opened: CollectionHandle, request: Any
) -> tuple[PointId, ...]:
    """The points of this collection whose vectors a request and its prefetches use. The query must
    not return these points. The function parses the request again."""
    return _QueryParser(collections, opened).parse_step(request, None, 1).used_ids


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A step and its parsed prefetches. request: the request of the step; used_ids: the example
    points that belong to the searched collection."""

    request: Any
    step: QueryStep
    used_ids: tuple[PointId, ...]
    prefetch: tuple["_Parsed", ...]


def _step_with_prefetches(parsed: _Parsed, above: Expression | None) -> QueryStep:
    """The step with its prefetches. A step returns no points that the step itself, its prefetches,
    or a step above use as examples. above: the filters of the steps above, which are applied in the
    innermost prefetches."""
    if above is None and not parsed.used_ids and not parsed.prefetch:
        return parsed.step
    unused = Not(HasId(tuple(dict.fromkeys(parsed.used_ids)))) if parsed.used_ids else None
    restriction = all_of(above, unused)
    prefetch = tuple(_step_with_prefetches(source, restriction) for source in parsed.prefetch)
    expression = None if prefetch else all_of(parsed.step.expression, restriction)
    return replace(parsed.step, prefetch=prefetch, expression=expression)


class _QueryParser:
    """Parses a request with its prefetches, to any depth."""

    def __init__(self, collections: Collections, opened: CollectionHandle) -> None:
        self._collections, self._opened = collections, opened
        # By the filter's id: many prefetches may share one that is large, or its conditions.
        self._expressions: dict[int, tuple[Any, Expression | None]] = {}
        self._known: KnownConditions = {}

    def _expression(self, filter_: Any) -> Expression | None:
        known = self._expressions.get(id(filter_))
        if known is None:
            indexes = self._opened.configuration.indexes_by_path
            known = filter_, parse_filter(filter_, indexes, self._known)
            self._expressions[id(filter_)] = known
        return known[1]

    def parse_step(self, value: Any, above: models.Filter | None, depth: int) -> _Parsed:
        """A step with its prefetches. above: the filters of the steps above, which are applied in
        the innermost prefetches."""
        if depth > MAX_DEPTH:
            raise wrong(f"prefetches are nested deeper than {MAX_DEPTH} levels")
        prefetches = _prefetches(value)
        step, used_ids = self._step(value, len(prefetches))
        if above is None and not prefetches:
            return _Parsed(value, step, tuple(used_ids), ())
        filter_ = self._merge(above, value.filter)
        if not prefetches:
            step = replace(step, expression=self._expression(filter_))
        prefetch = tuple(
            self.parse_step(prefetch_step, filter_, depth + 1) for prefetch_step in prefetches
        )
        return _Parsed(
            value,
            step,
            (*used_ids, *chain.from_iterable(parsed.used_ids for parsed in prefetch)),
            prefetch,
        )

    def _merge(self, above: Any, own: Any) -> Any:
        """Both filters merged into one. The conditions of the merged filter are counted for each
        prefetch, although the prefetches share them in memory."""
        merged = merge_filters(above, own)
        if merged is not None and merged is not above and merged is not own:
            count = len(conditions_of(merged))
            budget.take(MERGED_BYTES * count, "conditions of filters", count)
        return merged

    def refuse_unreadable(self, value: Any) -> None:
        """Refuse a request with a step that can't be parsed. This is checked first, so that no
        other error is raised instead."""
        pending = [value]
        while pending:
            source = pending.pop()
            prefetches = _prefetches(source)
            pending.extend(prefetches)
            try:
                self._step(source, len(prefetches))
            except Refused as refused:
                if refused.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
                    raise
            except RetrievalStoreError:
                continue

    def _step(self, value: Any, prefetch_count: int) -> tuple[QueryStep, list[PointId]]:
        """A step without its prefetches, and the example points that it uses."""
        is_strict = self._opened.configuration.strict.enabled
        if is_strict:
            check_filter(self._opened, value.filter)
        expression = self._expression(value.filter)
        if value.params is not None:
            _check_params(value.params)
        if is_strict:
            check_search(self._opened, value.params)
        limit = _checked_integer("limit", LIMIT if value.limit is None else value.limit, 1)
        if is_strict:
            check_limit(self._opened, limit)
        offset = getattr(value, "offset", None) or 0  # prefetches have none
        if offset:
            offset = _checked_integer("offset", offset, 0)
        threshold = value.score_threshold
        if threshold is not None and not isinstance(threshold, NUMERIC):
            raise bad_request(f"score_threshold is {describe(threshold)}, expected a number")
        query = value.query
        if isinstance(query, models.SampleQuery) and not prefetch_count:
            offset = 0  # which of them come first is left to chance, so servers skip none
        scoring, used_ids = self._scoring(query, value, prefetch_count, limit)
        if threshold is not None and isinstance(scoring, OrderBy):
            raise wrong("Bad request: Can't use score_threshold with an order_by query.")
        if threshold is not None and isinstance(scoring, Unranked):
            raise wrong(
                "Bad request: A query is needed to use the score_threshold. Can't have "
                "score_threshold without defining a query."
            )
        least = None if threshold is None else self._threshold(scoring, float(threshold))
        return QueryStep(scoring, limit, expression, (), least, offset), used_ids

    def _threshold(self, scoring: Scoring, threshold: float) -> float:
        """The threshold to pass to the engine, which keeps hits whose score equals the threshold. A
        Qdrant server, whose scores are float32, drops such hits when it compares vectors. So the
        result lies between `threshold`, rounded to float32, and the next better float32."""
        compared = scoring.near if isinstance(scoring, Mmr) else scoring
        if not isinstance(compared, COMPARING_VECTORS):
            return math.inf if math.isnan(threshold) else threshold  # no score is as good as NaN
        less_is_better = self._opened.vector(compared.space).metric in LESS_IS_BETTER
        best = -math.inf if less_is_better else math.inf
        with np.errstate(over="ignore"):
            equal = np.float32(threshold)
            better = np.nextafter(equal, np.float32(best))
        return best if math.isnan(threshold) else (float(equal) + float(better)) / 2

    def _scoring(
        self, query: Any, value: Any, prefetch_count: int, limit: int
    ) -> tuple[Scoring, list[PointId]]:
        """How a step ranks, and the example points that it uses."""
        match query:
            case models.NearestQuery():  # the most frequent
                pass
            case None:
                return Unranked(), []
            case models.SampleQuery():
                return Unranked(at_random=True), []
            case models.FusionQuery(fusion=models.Fusion.DBSF):
                return FuseRankings("dbsf"), []
            case models.FusionQuery():
                return FuseRankings("server_rrf", k=RRF_K), []
            case models.RrfQuery(rrf=rrf):
                return _weighted_rrf(rrf, prefetch_count), []
            case models.FormulaQuery():
                return FormulaScore(formula_of(self._opened, query)), []
            case models.OrderByQuery(order_by=order):
                parsed_order = parse_order(order, self._opened.configuration.indexes_by_path)
                return OrderBy(parsed_order.at, parsed_order.descending, parsed_order.start), []
            case models.TextQuery(text=text):
                return self._payload_text(text, value), []
        if not prefetch_count and self._opened.configuration.strict.enabled:
            check_scan(self._opened, value.using or UNNAMED, value.filter)
        inputs = Inputs.of(self._collections, self._opened, value.using, value.lookup_from)
        scoring = self._by_vectors(query, value, inputs, limit)
        return scoring, inputs.used_ids

    def _payload_text(self, text: Any, value: Any) -> PayloadText:
        """The ranking by words of the texts under a key, whose text index must support ranking."""
        query = text if hasattr(text, "query") else models.TextQueryInput(query=text)
        scoring = query.scoring.bm25 if query.scoring is not None else models.Bm25Params()
        k1, b = K1 if scoring.k is None else scoring.k, B if scoring.b is None else scoring.b
        if not 0.0 <= k1 <= MAX_K1 or not 0.0 <= b <= 1.0:
            raise bad_request(f"k is {k1} and b is {b}, expected 0 or more, and 0 to 1")
        at = parse_scored(value.using, self._opened.configuration.indexes_by_path)
        tokens = tuple(at.tokens.tokenize_query(query.query))
        idf = None if value.params is None else value.params.idf
        return PayloadText(at, tokens, k1, b, self._corpus(idf))

    def _corpus(self, idf: Any) -> Expression | None:
        """The filter of the points from which idf is computed; None for all points."""
        if not isinstance(idf, models.IdfCorpusParams):
            return None
        check_filter(self._opened, idf.corpus)
        return expression_of(self._opened, idf.corpus)

    def _by_vectors(self, query: Any, value: Any, inputs: Inputs, limit: int) -> Scoring:
        params = value.params or NO_PARAMS
        corpus = None if params.idf is None else self._corpus(params.idf)
        if params.idf is not None and not inputs.using.idf:
            raise wrong(
                f"params.idf is given, which needs sparse vectors with the modifier idf, and "
                f"{inputs.using.name!r} aren't such"
            )
        match query:
            case models.NearestQuery(nearest=nearest, mmr=None):
                return _nearest_to(inputs, inputs.example(nearest), params, corpus)
            case models.NearestQuery(nearest=nearest, mmr=mmr):
                near = _nearest_to(inputs, inputs.example(nearest), params, corpus)
                return _diverse(near, mmr, limit)
            case models.RecommendQuery(recommend=recommend):
                return _recommendation(inputs, recommend, params, corpus)
            case models.DiscoverQuery(discover=discover):
                target = inputs.example(discover.target)
                return Discover(inputs.using.name, target, _pairs(inputs, discover.context), corpus)
            case models.ContextQuery(context=context):
                return Discover(inputs.using.name, None, _pairs(inputs, context), corpus)
            case models.RelevanceFeedbackQuery(relevance_feedback=feedback):
                return _feedback(inputs, feedback, corpus)
        return _nearest_to(inputs, inputs.example(query), params, corpus)


def _nearest_to(
    inputs: Inputs,
    vector: Example,
    params: models.SearchParams,
    corpus: Expression | None,
) -> NearestDense | NearestSparse:
    """The ranking by nearness to a vector."""
    name = inputs.using.name
    if isinstance(vector, SparseVector):
        return NearestSparse(name, (vector,), corpus)
    vectors = (vector,) if inputs.using.kind == "multi" else vector[None]
    return NearestDense(name, vectors, "server", bool(params.exact), params.hnsw_ef)


def _check_params(params: models.SearchParams) -> None:
    if params.hnsw_ef is not None:
        _checked_integer("params.hnsw_ef", params.hnsw_ef, 1)
    oversampling = params.quantization and params.quantization.oversampling
    if oversampling is not None:
        check_range("internal.params.quantization.oversampling", oversampling, 1.0, None)
    selectivity = params.acorn and params.acorn.max_selectivity
    if selectivity is not None:
        check_range("internal.params.acorn.max_selectivity", selectivity, 0.0, 1.0)


def _checked_integer(name: str, value: Any, least: int) -> int:
    if not isinstance(value, INTEGERS):
        raise bad_request(f"{name} is {describe(value)}, expected {least} or more")
    if value < least:
        check_range(f"internal.{name}", value, least, None)
    return int(value)


def _check_prefetches(parsed: _Parsed) -> None:
    """Raise Refused for a step that needs prefetches and has none, or that has prefetches but no
    query to rank them."""
    query, prefetches = parsed.request.query, parsed.prefetch
    if prefetches and query is None:
        raise wrong(
            "Bad request: A query is needed to merge the prefetches. Can't have prefetches without "
            "defining a query."
        )
    is_fusion = isinstance(query, models.FusionQuery | models.RrfQuery)
    if is_fusion and parsed.request.using is not None:
        raise wrong("Bad request: Fusion queries cannot be combined with the 'using' field.")
    if isinstance(query, NEEDS_PREFETCH) and not prefetches:
        raise wrong(f"{type(query).__name__} needs a prefetch")
    for prefetch_step in prefetches:
        _check_prefetches(prefetch_step)


def _prefetches(value: Any) -> Sequence[Any]:
    """The prefetches of a step."""
    prefetches = value.prefetch
    if not prefetches:
        return ()
    return prefetches if isinstance(prefetches, Sequence) else [prefetches]


def _diverse(near: NearestDense | NearestSparse, mmr: Any, limit: int) -> Mmr:
    diversity = 0.5 if mmr.diversity is None else mmr.diversity
    candidates = limit if mmr.candidates_limit is None else mmr.candidates_limit
    if not 0.0 <= diversity <= 1.0:
        raise bad_request(f"mmr.diversity is {diversity}, expected 0 to 1")
    if not 0 <= candidates <= MAX_CANDIDATES:
        raise bad_request(f"mmr.candidates_limit is {candidates}, expected up to {MAX_CANDIDATES}")
    return Mmr(near, diversity, candidates)


def _weighted_rrf(rrf: models.Rrf, prefetch_count: int) -> FuseRankings:
    k = RRF_K if rrf.k is None else rrf.k
    if k < 1:
        raise bad_request(f"rrf.k is {k}, expected 1 or more")
    if rrf.weights is None:
        return FuseRankings("server_rrf", k=k)
    if not all(map(math.isfinite, rrf.weights)):
        raise bad_request("rrf.weights should be finite")
    if len(rrf.weights) != prefetch_count:
        raise wrong(f"rrf has {len(rrf.weights)} weights for {prefetch_count} prefetches")
    return FuseRankings("server_rrf", tuple(rrf.weights), k)


def _recommendation(
    inputs: Inputs,
    recommendation: models.RecommendInput,
    params: models.SearchParams,
    corpus: Expression | None,
) -> Scoring:
    if not recommendation.positive and not recommendation.negative:
        raise bad_request("at least one positive or negative example is needed")
    strategy = recommendation.strategy or models.RecommendStrategy.AVERAGE_VECTOR
    is_average = strategy == models.RecommendStrategy.AVERAGE_VECTOR
    examples = inputs.examples(
        [*(recommendation.positive or []), *(recommendation.negative or [])], sized=not is_average
    )
    if is_average and not recommendation.positive:
        raise wrong("the strategy 'average_vector' needs a positive example")
    count, name = len(recommendation.positive or []), inputs.using.name
    positives, negatives = examples[:count], examples[count:]
    if is_average:
        vector = average(inputs.using, positives, negatives)
        return _nearest_to(inputs, vector, params, corpus)
    best = strategy == models.RecommendStrategy.BEST_SCORE
    return Recommend(name, tuple(positives), tuple(negatives), best, corpus)


def _pairs(inputs: Inputs, value: Any) -> tuple[tuple[Any, Any], ...]:
    pairs = value if isinstance(value, Sequence) else [value] if value else []
    examples = inputs.examples(side for pair in pairs for side in (pair.positive, pair.negative))
    return tuple(zip(examples[0::2], examples[1::2], strict=True))


def _feedback(
    inputs: Inputs, feedback_input: models.RelevanceFeedbackInput, corpus: Expression | None
) -> RelevanceFeedback:
    """The ranking by relevance feedback. It has a pair for any two examples with different scores;
    the weight of a pair is the difference of the scores."""
    naive = feedback_input.strategy.naive
    at = "internal.query.relevance_feedback"
    if not feedback_input.feedback:
        raise invalid(f"[{at}.feedback: feedback elements must be non-empty]")
    if not all(map(math.isfinite, (naive.a, naive.b, naive.c))):
        raise bad_request("the parameters of the strategy 'naive' should be finite")
    if naive.b < 0:
        message = f"value {float(naive.b)!r} invalid, must be 0.0 or larger"
        raise invalid(f"[{at}.strategy.naive.b: {message}]")
    pair_count = math.comb(len(feedback_input.feedback), 2)
    budget.take(PAIR_BYTES * pair_count, "pairs of examples", pair_count)
    target = inputs.example(feedback_input.target)
    vectors = inputs.examples(element.example for element in feedback_input.feedback)
    examples = zip(vectors, [element.score for element in feedback_input.feedback], strict=True)
    pairs = [
        (near, far, float(np.float_power(more - less, naive.b)) * naive.c)
        for (near, more), (far, less) in itertools.permutations(examples, 2)
        if more > less
    ]
    return RelevanceFeedback(inputs.using.name, target, naive.a, tuple(pairs), corpus)
