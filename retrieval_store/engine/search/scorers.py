"""Ranks points in every way except by nearness in a dense space: by sparse vectors, words,
multivectors, examples, formulas, a sort key, or at random. Each way can also rank only the points
that other steps have found.

Texts in payloads are ranked by BM25 (`rank_payload_texts`), over the tokens of an index of texts:

score = Σ idf(t) · f · (k1 + 1) / (f + k1 · (1 - b + b · |d| / avg|d|)) over the distinct tokens t
of the query; f: how often t is in the text d; idf(t) = ln(1 + (N - n + ½) / (n + ½)) for N points
with any token, n of them with t. Robertson and Zaragoza, "The probabilistic relevance framework"
(2009). Lengths of 8,192 tokens and more are rounded down to 13 leading bits, because Qdrant servers
store them like that.

Formulas (`evaluate_formula`) are computed for all candidates at once. A Qdrant server doesn't
evaluate operands after a factor of 0, or after a dividend of 0, so such operands cause no errors.
So each node gets a `mask` of the rows for which its value is needed. A missing value, or a value
that isn't a finite number, is an error only for these rows.

Labels (`RowLabels`) name the groups that contain a point. They are read from a path of its payload,
and cached as `state.caches.Layers`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from retrieval_store.base import budget
from retrieval_store.base.analysis import idf_of
from retrieval_store.base.arrays import Bools, Floats, Ints, distinct, hit_distances
from retrieval_store.base.fusion import Ranking, marginally_relevant
from retrieval_store.base.validation import kind_of
from retrieval_store.engine.filtering import evaluate
from retrieval_store.engine.filtering.cache import filter_result
from retrieval_store.engine.filtering.columns import current_columns
from retrieval_store.engine.filtering.evaluate import filter_rows
from retrieval_store.engine.filtering.order import page, rows_in_order
from retrieval_store.engine.filtering.segments import TokenSegment
from retrieval_store.engine.search.context import EngineTrace, SearchView
from retrieval_store.engine.search.multivectors import rank_multi
from retrieval_store.engine.search.similarity import (
    approximate_scores,
    check_examples,
    comparison_of,
    distances_of,
    examples_of,
    rows_with_vector,
    similarities,
    take_comparisons,
)
from retrieval_store.engine.state.caches import current
from retrieval_store.engine.storage.records import has_anything, read_exactly, read_values
from retrieval_store.engine.storage.schema import Space
from retrieval_store.engine.text.ranking import (
    rank_sparse,
    rank_texts,
    rank_weighed_texts,
    word_shares,
)
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.filters.columns import TokensAt, ValuesAt
from retrieval_store.filters.dates import micros_in
from retrieval_store.filters.geo import distances
from retrieval_store.filters.nodes import Expression
from retrieval_store.filters.paths import EACH, JsonPath, PayloadPath, items_of, values_at_end
from retrieval_store.query.executor import Label, Ranked, Ranker, are_worse
from retrieval_store.query.formulas import (
    Apply,
    Combine,
    Constant,
    Decayed,
    DistanceTo,
    Formula,
    NumberAt,
    Power,
    Quotient,
    ScoreOf,
    TimeAt,
    Variable,
    Whether,
)
from retrieval_store.query.query import (
    Bm25,
    ByExamples,
    Discover,
    FormulaScore,
    Mmr,
    NearestDense,
    NearestSparse,
    OrderBy,
    PayloadText,
    QueryStep,
    Recommend,
    RelevanceFeedback,
    Unranked,
    WordReport,
)
from retrieval_store.query.types import VectorKind

LENGTH_BITS = 13
BYTES_A_VALUE = 9  # bytes in memory for each value of a key
AT_ONCE = 20  # rows whose scores numpy computes in the time of one step


@dataclass(frozen=True, slots=True)
class _SegmentTexts:
    """The texts of one segment. rows: the rows that have a text. texts: the text of each row, as a
    number in the segment. lengths: the length of each row's text."""

    segment: TokenSegment
    rows: Ints
    texts: Ints
    lengths: Ints

    def often(self, token: str) -> Ints:
        """How often the text of each row contains a token: (rows,)."""
        counts = self.segment.counts(token)
        return np.zeros(len(self.rows), np.int64) if counts is None else counts[self.texts]


def rank_payload_texts(
    view: SearchView, scoring: PayloadText, expression: Expression | None
) -> Ranking:
    """The rows that have any of the tokens and fulfil the expression, in ascending order, and their
    scores."""
    parts = list(_parts(view, scoring.at))
    corpus = filter_result(view, scoring.corpus, evaluate).mask
    corpus_rows = [part.rows if corpus is None else part.rows[corpus[part.rows]] for part in parts]
    count = sum(map(len, corpus_rows))
    total = sum(int(p.lengths[_rows_of_mask(p.rows, corpus)].sum()) for p in parts)
    average = max(total / count, 1e-9) if count else 1.0
    scores = [np.zeros(len(part.rows)) for part in parts]
    vocabularies = [part.segment.numbers for part in parts]
    known = [t for t in dict.fromkeys(scoring.tokens) if any(t in words for words in vocabularies)]
    rows = sum(len(part.rows) for part in parts)
    budget.check_steps(len(known) * rows // AT_ONCE, "words", len(known))
    for token in known:
        budget.check()
        often = [part.often(token) for part in parts]
        holders = 0
        for f, part in zip(often, parts, strict=True):
            holders += int(np.count_nonzero(f[_rows_of_mask(part.rows, corpus)]))
        idf = float(idf_of(count, holders))
        for score, f, part in zip(scores, often, parts, strict=True):
            damping = scoring.k1 * (1 - scoring.b + scoring.b * part.lengths / average)
            np.add(score, idf * f * (scoring.k1 + 1) / (f + damping), out=score)
    return _allowed_rows(view, expression, parts, scores)


def _rows_of_mask(rows: Ints, mask: Bools | None) -> Bools | slice:
    return slice(None) if mask is None else mask[rows]


def _allowed_rows(
    view: SearchView,
    expression: Expression | None,
    parts: Sequence[_SegmentTexts],
    scores: Sequence[Floats],
) -> tuple[Ints, Floats]:
    rows = np.concatenate([np.empty(0, np.int64), *(part.rows for part in parts)])
    all_scores = np.concatenate([np.empty(0), *scores])
    good = (all_scores > 0) & filter_result(view, expression, evaluate).allows(rows)
    rows, all_scores = rows[good], all_scores[good]
    order = np.argsort(rows)
    return rows[order], all_scores[order]


def _parts(view: SearchView, tokens_at: TokensAt) -> Sequence[_SegmentTexts]:
    """The existing rows of each segment of the column that have at least one token."""
    column: Any = current_columns(view, [tokens_at])[tokens_at]
    parts = []
    for segment, above in zip(column.segments, column.above(), strict=True):
        tokens = cast(TokenSegment, segment)
        sizes = np.diff(tokens.starts)[tokens.text_of]
        good = (sizes > 0) & (tokens.owners < len(view.state.alive))
        good[good] = view.state.alive[tokens.owners[good]]
        if above is not None:
            good &= ~np.isin(tokens.owners, above)
        parts.append(
            _SegmentTexts(
                tokens, tokens.owners[good], tokens.text_of[good], _round_lengths(sizes[good])
            )
        )
    return parts


def _round_lengths(lengths: Ints) -> Ints:
    bits = np.zeros(len(lengths), np.int64)
    long = lengths >= 1 << LENGTH_BITS
    bits[long] = np.floor(np.log2(lengths[long])).astype(np.int64) + 1 - LENGTH_BITS
    return lengths >> bits << bits


MICROS = 1e6
EAST, NORTH = 180.0, 90.0


def evaluate_formula(
    view: SearchView, formula: Formula, rows: Ints, earlier_rankings: Sequence[Ranking]
) -> Floats:
    """The formula's value for each of the rows: (n,). The rows must ascend. Raises
    InvalidArgumentError if the formula has no value for a row. earlier_rankings: the items of each
    prefetch, with their scores."""
    with np.errstate(all="ignore"):  # infinite numbers and NaN are distinguished below
        scores = _FormulaRows(view, rows, earlier_rankings).value(
            formula, np.ones(len(rows), np.bool_)
        )
        narrow = scores.astype(np.float32)
    _refuse(~np.isfinite(narrow), "the score")
    return scores


def _refuse(wrong: Bools, what: str) -> None:
    if wrong.any():
        raise InvalidArgumentError(f"the formula: {what} isn't a finite number for some point")


class _FormulaRows:
    """The rows for which a formula is evaluated, and the values of their points that the formula
    uses."""

    def __init__(self, view: SearchView, rows: Ints, earlier_rankings: Sequence[Ranking]) -> None:
        self._view, self._rows, self._earlier_rankings = view, rows, earlier_rankings
        self._known: dict[Any, tuple[Bools, Floats]] = {}  # values that were already read, by key
        # For each earlier step, the positions of the rows that have a score.
        self._places: dict[int, Ints] = {}

    def value(self, node: Formula, mask: Bools) -> Floats:
        """The value of a node of the formula for each row: (n,). It is correct only for the rows of
        the mask."""
        budget.check()
        match node:
            case Constant(value):
                return np.full(len(self._rows), value)
            case ScoreOf(place, default):
                return self._score(place, default)
            case NumberAt(variable, default):
                return self._read(variable, mask, _number, default)
            case TimeAt(variable, default):
                return self._read(variable, mask, _seconds, default)
            case DistanceTo():
                return self._distance(node, mask)
            case Whether(expression):
                return filter_rows(self._view, expression, self._rows).astype(np.float64)
            case Apply(function, term):
                values = _FUNCTIONS[function](self.value(term, mask))
                return _finite(values, mask, function)
            case Combine("mult", terms):
                return self._product(terms, mask)
            case Combine(function, terms):
                return reduce(_COMBINED[function], (self.value(term, mask) for term in terms))
            case Quotient():
                return self._quotient(node, mask)
            case Power(base, exponent):
                powers = self.value(base, mask) ** self.value(exponent, mask)
                return _finite(powers, mask, "a power")
            case Decayed():
                return self._decay(node, mask)

    def _score(self, place: int, default: float) -> Floats:
        scores = np.full(len(self._rows), default)
        if place < len(self._earlier_rankings):
            rows, row_scores = self._earlier_rankings[place]
            if place not in self._places:  # a formula may use a score many times
                self._places[place] = np.searchsorted(self._rows, rows)
            scores[self._places[place]] = row_scores
        return scores

    def _product(self, terms: Sequence[Formula], mask: Bools) -> Floats:
        product = np.ones(len(self._rows))
        for term in terms:
            factor = term.value if isinstance(term, Constant) else self.value(term, mask)
            np.multiply(product, factor, out=product, where=mask)
            is_zero = np.equal(factor, 0)
            if is_zero.any():
                product[mask & is_zero] = 0.0
                mask = mask & ~is_zero
        return product

    def _quotient(self, node: Quotient, mask: Bools) -> Floats:
        left = self.value(node.left, mask)
        mask = mask & (left != 0)
        right = self.value(node.right, mask)
        quotient = np.where(left == 0, 0.0, left / right)
        if node.by_zero is not None:
            quotient = np.where((left != 0) & (right == 0), node.by_zero, quotient)
        return _finite(quotient, mask, "a quotient")

    def _decay(self, node: Decayed, mask: Bools) -> Floats:
        """The value of a decay function for each row; see Qdrant's documentation, "Decay
        functions"."""
        distance: Floats = (
            np.abs(self.value(node.x, mask) - self.value(node.target, mask)) / node.scale
        )
        match node.kind:
            case "lin":
                return np.maximum(0.0, 1.0 - (1.0 - node.midpoint) * distance)
            case "exp":
                decayed: Floats = np.exp(np.log(node.midpoint) * distance)
            case "gauss":
                decayed = np.exp(np.log(node.midpoint) * distance * distance)
        return decayed

    def _distance(self, node: DistanceTo, mask: Bools) -> Floats:
        places = self._read(node.at, mask, _place, node.default, (0.0, 0.0)).reshape(-1, 2)
        return distances(*node.origin, places[:, 0], places[:, 1])

    def _read(
        self,
        variable: Variable,
        mask: Bools,
        convert: Callable[[Any], Any],
        default: Any,
        filler: Any = 0.0,
    ) -> Floats:
        """For each row, one value of the variable, or `filler` if the value isn't needed. Each key
        is read only once, even if the formula uses it many times. convert: returns a usable form of
        a value, or None. default: the value for points without a value."""
        key = variable, convert, default, filler
        cached_values = self._known.get(key)
        if cached_values is None:
            keys = 1 + len(self._known)
            budget.check_steps(keys * len(self._rows), "keys", keys)
            budget.take(BYTES_A_VALUE * len(self._rows), "values of keys", keys * len(self._rows))
            converted = [
                _only_or_list(point_values, default, convert)
                for point_values in self._values_at(variable)
            ]
            lacking = np.array([value is None for value in converted], np.bool_)
            values = np.array(
                [filler if value is None else value for value in converted], np.float64
            )
            cached_values = self._known[key] = lacking, values
        lacking, values = cached_values
        if (lacking & mask).any():
            path = variable if isinstance(variable, JsonPath) else variable.path
            raise InvalidArgumentError(
                f"the formula: a point has nothing of use at {str(path)!r}, and there is no default"
            )
        return values

    def _values_at(self, variable: Variable) -> Iterator[list[Any]]:
        """Yield, for each point, the values that it has for a variable."""
        path = variable if isinstance(variable, JsonPath) else variable.path
        assert isinstance(path, JsonPath)  # fronts with formulas have no other paths
        connection, pks = self._view.connection, self._view.state.pks[self._rows]
        (values,) = read_exactly(connection, pks, [path.keys])
        nothing = [i for i, value in enumerate(values) if value is None]
        null = has_anything(connection, pks[nothing], path.keys) if nothing else ()
        absent = {i for i, is_null in zip(nothing, null, strict=True) if not is_null}
        for i, value in enumerate(values):
            yield (
                [] if i in absent else _values_of_point(variable, values_at_end(value, path.beyond))
            )


class _Time(NamedTuple):
    """A point in time, in the representation that an index of times uses."""

    micros: int


def _values_of_point(variable: Variable, path_values: list[Any]) -> list[Any]:
    """The values of a point for a variable. A path that ends with all elements of a list leaves the
    values unchanged. Any other path replaces a list by its elements."""
    if isinstance(variable, JsonPath):
        return path_values if variable.steps[-1] is EACH else items_of(path_values)
    values: list[Any] = variable.within(path_values)
    is_time = isinstance(variable, ValuesAt) and variable.kind == "datetime"
    return [_Time(micros) for micros in values] if is_time else values


def _only_or_list(values: list[Any], default: Any, convert: Callable[[Any], Any]) -> Any:
    """The result of `convert` for a point: for its only value, or for the list of its values if
    there are several. The default if there is no value."""
    if not values:
        return default
    return convert(values[0] if len(values) == 1 else values)


def _number(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) else None


def _seconds(value: Any) -> float | None:
    if isinstance(value, _Time):
        return value.micros / MICROS
    micros = micros_in(value) if isinstance(value, str) else None
    return None if micros is None else micros / MICROS


def _place(value: Any) -> tuple[float, float] | None:
    """The value as a geographic location; None if it isn't a location. As on Qdrant servers, a list
    of two numbers is a location too: longitude and latitude."""
    match value:
        case {"lon": lon, "lat": lat} | [lon, lat]:
            east, north = _number(lon), _number(lat)
            if east is not None and north is not None and abs(east) <= EAST and abs(north) <= NORTH:
                return east, north
    return None


def _finite(values: Floats, mask: Bools, what: str) -> Floats:
    _refuse(mask & ~np.isfinite(values), what)
    return values


_FUNCTIONS: dict[str, Callable[[Floats], Floats]] = {
    "neg": np.negative,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "log10": np.log10,
    "ln": np.log,
    "acosh": np.arccosh,
}
_COMBINED: dict[str, Callable[[Floats, Floats], Floats]] = {
    "sum": np.add,
    "max": np.fmax,
    "min": np.fmin,
}
FLAT = 1.0  # the score of hits that aren't ranked by a score
# The rows that a step can rank; None for all rows that fulfil its filter.
Within: TypeAlias = Ints | None


class DenseLeaves(Ranker, Protocol):
    """The methods of `ranker.EngineRanker` that this module calls."""

    def near(self, step: QueryStep, near: NearestDense, k: int) -> list[Ranked]:
        """Rank by nearness in a dense space."""


class Scorings:
    """Rankings of the points in one view. leaves: ranks the points of the same view by nearness in
    dense spaces."""

    def __init__(self, view: SearchView, trace: EngineTrace, leaves: DenseLeaves) -> None:
        self._view, self._trace, self._leaves = view, trace, leaves

    def rank(self, step: QueryStep) -> list[Ranked]:
        """For each query vector or text of a step, rank all points that fulfil the step's
        filter."""
        match step.scoring:
            case NearestDense() as near:
                return self._near(step, near, step.depth)
            case NearestSparse() as sparse:
                return self._sparse(step, sparse, step.depth)
            case Bm25() as text:
                return self._text(step, text)
        return [self._rank_one(step, None)]

    def rank_among(self, step: QueryStep, rankings: Sequence[Ranked]) -> Ranked:
        """One ranking by a step with a single query vector or text. It ranks only the points that
        are in any of these rankings."""
        rows = distinct(
            np.concatenate([np.empty(0, np.int64), *(ranking.items for ranking in rankings)])
        )
        if isinstance(step.scoring, FormulaScore):
            earlier_rankings = [(ranking.items, ranking.scores) for ranking in rankings]
            return _by_score(
                rows, evaluate_formula(self._view, step.scoring.formula, rows, earlier_rankings)
            )
        if step.expression is not None:
            rows = rows[filter_rows(self._view, step.expression, rows)]
        if isinstance(step.scoring, NearestDense | NearestSparse):
            return self._near_among(step.scoring, rows)
        return self._rank_one(step, rows)

    def _rank_one(self, step: QueryStep, within: Within) -> Ranked:
        match step.scoring:
            case Mmr() as diverse:
                return self._diverse(step, diverse, within)
            case Recommend() | Discover() | RelevanceFeedback() as scoring:
                return self._rank_by_examples(step, scoring, within)
            case PayloadText() as texts:
                rows, scores = rank_payload_texts(self._view, texts, step.expression)
                if within is not None:
                    rows, scores = rows[np.isin(rows, within)], scores[np.isin(rows, within)]
                return _by_score(rows, scores)
            case OrderBy() as order:
                return self._in_order(step, order, within)
            case Unranked(at_random):
                return self._choose_unranked(step, at_random, within)
        raise TypeError(f"a step can't be scored so: {step.scoring!r}")

    def distances(self, near: NearestDense, place: int, items: Ints) -> Floats:
        """The distances from the query vector at `place` to these points: (n,) float64, NaN for
        points without a vector."""
        distances = np.full(len(items), np.nan)
        space = self._view.state.spaces.get(near.space)
        if space is not None:
            owned = space.slot_of_row[items] >= 0
            measured = distances_of(space, items[owned], near.vectors[place])
            distances[owned] = hit_distances(measured, space.space.metric)
        return distances

    def _mask_of_filter(self, step: QueryStep) -> Bools | None:
        """The step's filter as a mask over rows; None if all points fulfil it."""
        allowed = filter_result(self._view, step.expression, evaluate)
        self._trace.note_filter(allowed.count)
        return allowed.mask

    def _rows(self, step: QueryStep, within: Within) -> Ints:
        if within is not None:
            return within
        mask = self._mask_of_filter(step)
        return np.flatnonzero(self._view.state.alive if mask is None else mask)

    def _near(self, step: QueryStep, near: NearestDense, k: int) -> list[Ranked]:
        """Rank by nearness to query vectors, in a space of any kind."""
        if near.space in self._view.state.non_dense:
            return self._late_interaction(step, near, k)
        return self._leaves.near(step, near, k)

    def _late_interaction(self, step: QueryStep, near: NearestDense, k: int) -> list[Ranked]:
        if step.threshold is not None and near.scale == "distance":
            raise InvalidArgumentError("late interaction gives scores, and no distances to compare")
        space, rows = self._non_dense(near.space, "multi"), self._rows(step, None)
        if not isinstance(near.vectors, tuple):
            raise InvalidArgumentError(
                f"each query of space {near.space!r} has several vectors: expected a tuple of "
                "matrices"
            )
        rankings = [rank_multi(self._view, space, vector, k, rows) for vector in near.vectors]
        self._trace.lap("late interaction")
        ranked = [Ranked(rows, scores) for rows, scores in rankings]
        metric = space.metric
        return (
            ranked
            if near.scale == "distance"
            else [ranking.on_server(metric) for ranking in ranked]
        )

    def _sparse(self, step: QueryStep, sparse: NearestSparse, k: int) -> list[Ranked]:
        space, mask = self._non_dense(sparse.space, "sparse"), self._mask_of_filter(step)
        rankings = rank_sparse(
            self._view, space, sparse.vectors, k, mask, self._corpus(sparse.corpus)
        )
        self._trace.lap("sparse")
        return [Ranked(rows, scores) for rows, scores in rankings]

    def _corpus(self, expression: Expression | None) -> Bools | None:
        """A mask of the rows over which idf is computed; None for all rows."""
        return filter_result(self._view, expression, evaluate).mask

    def _text(self, step: QueryStep, text: Bm25) -> list[Ranked]:
        view, mask = self._view, self._mask_of_filter(step)
        arguments = (view, text.analyzer, text.texts, step.depth, mask)
        if text.weighs_identifiers:
            weighed = rank_weighed_texts(*arguments, text.identifier_weight)
            ranked = [Ranked(*ranking, share=share) for ranking, share in weighed]
        else:
            ranked = [Ranked(*ranking) for ranking in rank_texts(*arguments)]
        self._trace.lap("text")
        return ranked

    def words(self, text: Bm25, rows: Ints) -> list[WordReport]:
        """Each distinct word of the first query text, with its contribution to the score of each
        row."""
        weight = text.identifier_weight
        shares = word_shares(self._view, text.analyzer, text.texts[0], rows, weight)
        return [WordReport(*word_share) for word_share in shares]

    def _non_dense(self, name: str, kind: VectorKind) -> Space:
        space = self._view.state.non_dense.get(name)
        if space is None or space.kind != kind:
            raise InvalidArgumentError(f"there is no {kind} vector space {name!r}")
        return space

    def _near_among(self, near: NearestDense | NearestSparse, rows: Ints) -> Ranked:
        """Rank these rows by nearness to the first query vector. Rows without a vector are left
        out."""
        rows = rows_with_vector(self._view, near.space, rows)
        corpus = self._corpus(near.corpus) if isinstance(near, NearestSparse) else None
        (scores,) = similarities(self._view, near.space, rows, [near.vectors[0]], corpus=corpus)
        if isinstance(near, NearestSparse):
            rows, scores = rows[scores != 0], scores[scores != 0]
        ranked = _by_score(rows, scores)
        if isinstance(near, NearestDense) and near.scale == "server":
            return ranked.on_server(self._leaves.metric(near.space))
        if isinstance(near, NearestDense) and near.space in self._view.state.spaces:
            ranked.distances = self.distances(near, 0, ranked.items)
        return ranked

    def _rank_by_examples(self, step: QueryStep, scoring: ByExamples, within: Within) -> Ranked:
        """Rank by a combination of the similarities to examples. The scores are computed
        approximately for all rows, then exactly for the rows that may be among the best. within:
        the rows to rank, None for all rows that fulfil the filter."""
        view = self._view
        comparison = comparison_of(scoring)
        name, examples = comparison.space, comparison.examples
        check_examples(view, name, examples)
        rows = rows_with_vector(view, name, self._rows(step, within))
        # Includes the arrays for adding and subtracting their errors.
        take_comparisons(len(examples), len(rows), 2)
        approximate = approximate_scores(view, name, rows, examples)
        if approximate is not None:
            rows = rows[comparison.places_of_best(approximate, step.depth)]
        alike = similarities(view, name, rows, examples, corpus=self._corpus(scoring.corpus))
        return _by_score(rows, comparison.combine(alike))

    def _diverse(self, step: QueryStep, diverse: Mmr, within: Within) -> Ranked:
        """Choose `step.limit` hits by MMR (maximal marginal relevance). As on a Qdrant server, an
        offset skips some of the chosen hits, so that fewer hits are left."""
        near, view = diverse.near, self._view
        if diverse.candidates < 1:
            return Ranked(np.empty(0, np.int64), np.empty(0))
        if within is not None:
            ranking = self._near_among(near, within)
        elif isinstance(near, NearestDense):
            (ranking,) = self._near(step, near, diverse.candidates)
        else:
            (ranking,) = self._sparse(step, near, diverse.candidates)
        ranking = ranking.at(slice(diverse.candidates))
        if step.threshold is not None:
            worse = are_worse(self._leaves, diverse, ranking.scores, step.threshold)
            ranking = ranking.at(slice(int(np.argmax(worse)) if worse.any() else None))
        # As on a server, idf counts in the choice of candidates, but not in the following steps.
        (relevance,) = similarities(
            view, near.space, ranking.items, [near.vectors[0]], weighted=False
        )
        chosen = marginally_relevant(
            relevance,
            self._likeness(near.space, ranking.items),
            step.limit,
            1.0 - diverse.diversity,
        )
        return ranking.at(chosen)

    def _likeness(self, name: str, rows: Ints) -> Callable[[slice | Ints, Ints], Floats]:
        """A function that computes the similarities of some rows to earlier picks. It takes the
        rows, and the positions of the picks, and returns an array (rows, picks)."""
        view = self._view
        vectors, space = examples_of(view, name, rows), view.state.non_dense.get(name)
        is_multi = space is not None and space.kind == "multi"

        def likeness(places: slice | Ints, picks: Ints) -> Floats:
            if is_multi:  # late interaction isn't symmetric: the rows are queries, picks documents
                asking = [vectors[i] for i in np.arange(len(rows))[places].tolist()]
                return similarities(view, name, rows[picks], asking)
            picked = [vectors[i] for i in picks.tolist()]
            alike: Floats = similarities(view, name, rows[places], picked, weighted=False).T
            return alike

        return likeness

    def _in_order(self, step: QueryStep, order: OrderBy, within: Within) -> Ranked:
        limit = step.depth if within is None else None
        rows, values = rows_in_order(
            self._view, order.values, step.expression, limit, order.descending, order.start
        )
        ranking = Ranked(rows, np.full(len(rows), FLAT), values=values)
        return ranking if within is None else ranking.at(np.flatnonzero(np.isin(rows, within)))

    def _choose_unranked(self, step: QueryStep, at_random: bool, within: Within) -> Ranked:
        if at_random:
            rows = self._rows(step, within)
            count = min(step.depth, len(rows))
            rows = np.random.default_rng().choice(rows, count, replace=False)
        else:
            rows = page(self._view, step.expression, None, step.depth)
        return Ranked(rows, np.full(len(rows), FLAT))


def _by_score(rows: Ints, scores: Floats) -> Ranked:
    order = np.argsort(-scores, kind="stable")
    return Ranked(rows[order], scores[order])


LOOKED_AT = 8  # labels are cached once all calls together have read one payload in this many
DISTINCT_BYTES = 128  # about the size of a tuple with its values


@dataclass(frozen=True, slots=True)
class LabelsAt:
    """Reads labels for `GroupSearch`: the strings and integers at a path. Each element of a list is
    a label. A point with any other value at the path has no label."""

    path: JsonPath

    def read(self, view: SearchView, rows: Ints) -> list[Label]:
        """The labels of these rows."""
        (values,) = read_exactly(view.connection, view.state.pks[rows], [self.path.keys])
        beyond = self.path.beyond
        return [_label(items_of(values_at_end(value, beyond))) for value in values]


@dataclass(frozen=True, slots=True)
class Kinds:
    """Reads labels for `BestOfEach`: the whole value at a path. `kind_of` makes the value
    hashable."""

    path: PayloadPath

    def read(self, view: SearchView, rows: Ints) -> list[Label]:
        """The labels of these rows."""
        (values,) = read_values(view.connection, view.state.pks[rows], [self.path])
        return [() if kind is None else (kind,) for kind in map(kind_of, values)]


@dataclass(frozen=True, slots=True)
class Labels:
    """A segment of cached labels. rows: (n,) ascending. labels: (n,) tuples; equal tuples are the
    same object. counts: for each value, the number of rows that have it."""

    rows: Ints
    labels: npt.NDArray[np.object_]
    counts: dict[str | int, int]

    @property
    def is_empty(self) -> bool:
        """Whether no row has a label."""
        return not self.counts

    @property
    def nbytes(self) -> int:
        """The size of the arrays and, approximately, of the labels, in bytes."""
        return self.rows.nbytes + self.labels.nbytes + len(self.counts) * DISTINCT_BYTES


class RowLabels:
    """The labels of points; see `query.executor.Labelling`. point_count: about how many points of
    the call need a label. This number decides whether the labels of all points are cached."""

    def __init__(self, view: SearchView, key: LabelsAt | Kinds, point_count: int) -> None:
        self._view, self._key = view, key
        self._layers: tuple[Labels, ...] | None = None
        cache = view.caches.columns
        if key in cache or self._is_much(cache.demand.spend(key, point_count)):
            self._layers = self._current_layers()

    def _is_much(self, rows: float) -> bool:
        return rows * LOOKED_AT >= self._view.state.count

    def _current_layers(self) -> tuple[Labels, ...]:
        def build(rows: Ints) -> Labels:
            interned: dict[Label, Label] = {}
            labels = np.empty(len(rows), np.object_)
            labels_of_rows = self._key.read(self._view, rows)
            labels[:] = [interned.setdefault(label, label) for label in labels_of_rows]
            return Labels(rows, labels, Counter(chain.from_iterable(labels_of_rows)))

        cache, state = self._view.caches.columns, self._view.state
        return current(cache, self._key, state.head.seq, state.alive, build, lambda: None).segments

    def of(self, rows: Ints) -> Sequence[Label]:
        """The labels of these rows, which can be in any order."""
        # Reading them is as much work as caching all labels.
        if self._layers is None and self._is_much(len(rows)):
            self._layers = self._current_layers()
        if self._layers is None:
            return self._key.read(self._view, rows)
        row_labels = np.empty(len(rows), np.object_)
        for segment in self._layers:
            places = np.minimum(np.searchsorted(segment.rows, rows), max(0, len(segment.rows) - 1))
            places_here = (
                np.flatnonzero(segment.rows[places] == rows) if len(segment.rows) else places[:0]
            )
            # Later segments override earlier ones.
            row_labels[places_here] = segment.labels[places[places_here]]
        labels: list[Label] = row_labels.tolist()
        return labels

    @property
    def group_count(self) -> int | None:
        """An upper bound of the number of different values; None if unknown."""
        if self._layers is None:
            return None
        return len(set().union(*(segment.counts for segment in self._layers)))

    def max_points_in(self, value: str | int) -> int:
        """An upper bound of the number of points with this value."""
        if self._layers is None:
            return self._view.state.count
        return sum(segment.counts.get(value, 0) for segment in self._layers)

    @property
    def points_per_occurrence(self) -> int:
        """The average number of points divided by the number of points with a given value; 0 if
        unknown."""
        if not self._layers:
            return 0
        largest = max(self._layers, key=lambda segment: len(segment.rows))
        total = sum(largest.counts.values())
        return len(largest.rows) * len(largest.counts) // max(1, total)


def _label(items: list[Any]) -> Label:
    if all(type(item) in (str, int) for item in items):
        return tuple(dict.fromkeys(items))
    return ()
