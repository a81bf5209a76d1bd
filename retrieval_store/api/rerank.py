"""Re-ranking: a re-ranker reads the documents of the best candidates, and sorts the hits by its own
scores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, cast

import numpy as np

from retrieval_store import plugins
from retrieval_store.api.arguments import complete_texts_of
from retrieval_store.api.query_arguments import QueryBuilder, QueryRequest, Rerank, bound_of
from retrieval_store.api.results import Moved
from retrieval_store.base.arrays import Floats, Ints
from retrieval_store.base.fusion import scale
from retrieval_store.base.validation import fraction
from retrieval_store.errors import InvalidArgumentError, RetrievalStoreError
from retrieval_store.filters.nodes import Expression
from retrieval_store.query.query import Query, queries_of
from retrieval_store.query.types import Fields, Hits
from retrieval_store.rerankers import Scorer, scorer_of

CANDIDATES = 50  # hits that a re-ranker reads
NAMES_KEPT = 8


@dataclass(frozen=True, slots=True)
class Reranking:
    """Sorts hits by a re-ranker. texts: the texts to compare documents with, one for each query;
    count, offset, min_score: which hits of the new order are returned. weight: the weight of the
    re-ranker's scores; the query's own scores have the weight 1 - `weight`."""

    score: Scorer
    texts: list[str]
    count: int
    offset: int
    min_score: float | None
    weight: float = 1.0

    @property
    def depth(self) -> int:
        """How many of the first hits in the new order must be known."""
        return self.offset + self.count

    def of(self, hits: Sequence[Hits]) -> list[Hits]:
        """The hits to return for each query, with new scores. Hits without a document come last, in
        their old order, with the score NaN."""
        return [
            self._in_window(query_hits, *self._order(text, query_hits))
            for text, query_hits in zip(self.texts, hits, strict=True)
        ]

    def moves(self, hits: Sequence[Hits]) -> list[list[Moved]]:
        """For each query, the old and the new position of each hit that the re-ranker read. The
        hits are in their new order."""
        return [
            _moves_of(query_hits, *self._order(text, query_hits))
            for text, query_hits in zip(self.texts, hits, strict=True)
        ]

    def shows(self, moved: Moved) -> bool:
        """Whether a hit is among the hits to return."""
        score, bound = moved["score"], self.min_score
        is_good = bound is None or (score is not None and score >= bound)
        return is_good and self.offset < moved["after"] <= self.depth

    def _order(self, text: str, hits: Hits) -> tuple[Ints, Floats]:
        """For each place in the new order, the old position of the hit; and the new scores, in the
        new order."""
        documents = hits.points.documents or []
        readable = [i for i, document in enumerate(documents) if document]
        scores = np.full(len(documents), np.nan)
        if readable:
            texts = [cast(str, documents[i]) for i in readable]
            scores[readable] = self._weigh(self.score(text, texts), hits.scores[readable])
        order = np.argsort(-scores, kind="stable")  # NaN comes last
        return order, scores[order]

    def _weigh(self, scores: Floats, before: Floats) -> Floats:
        """The weighted sum of the re-ranker's scores and the query's own scores; the re-ranker's
        scores alone if the query's own scores have the weight 0."""
        if self.weight == 1.0:
            return scores
        together: Floats = self.weight * scale(scores) + (1.0 - self.weight) * scale(before)
        return together

    def _in_window(self, hits: Hits, order: Ints, scores: Floats) -> Hits:
        if self.min_score is not None:
            good = scores >= self.min_score
            order, scores = order[good], scores[good]
        window = slice(self.offset, self.depth)
        order, scores = order[window], scores[window]
        return replace(
            hits,
            points=hits.points.at(order),
            distances=None if hits.distances is None else hits.distances[order],
            scores=scores,
        )


def reranked_query(
    builder: QueryBuilder, request: QueryRequest, expression: Expression | None, fields: Fields
) -> tuple[Query, Reranking]:
    """The query that finds the hits for the re-ranker to read, and the `Reranking` that then sorts
    these hits. See `QueryBuilder.query`."""
    rerank = Rerank.comparing(request.rerank, request.query_texts)
    count, offset = request.window()
    depth, reranker = max(CANDIDATES, offset + count), rerank.reranker
    if rerank.candidates is not None:
        depth = int(rerank.candidates)
    if depth < offset + count:
        raise InvalidArgumentError(
            f"candidates of rerank is {depth}, expected {offset + count} or more: so many are "
            "n_results and offset"
        )
    if isinstance(reranker, str):
        reranker = _reranker_named(reranker)
    scorer = scorer_of(reranker, "rerank")
    least = bound_of(request.min_score, "min_score")
    read = replace(request, n_results=depth, offset=None, min_score=None)
    query = builder.query(read, expression, fields)
    texts = _texts_to_compare(rerank.query, queries_of(query.steps))
    weight = _weight_of(rerank, reranker)
    return query, Reranking(scorer, texts, count, offset, least, weight)


def _weight_of(rerank: Rerank, reranker: Any) -> float:
    """The weight of the re-ranker's scores: the caller's weight, or else the re-ranker's
    default."""
    usual = getattr(reranker, "usual_weight", 1.0)
    return fraction(usual if rerank.weight is None else rerank.weight, "weight of rerank")


def _texts_to_compare(texts: Any, queries: int) -> list[str]:
    """The texts to compare documents with, one for each query."""
    if texts is None:
        raise InvalidArgumentError(
            "rerank needs texts to compare documents with: query_texts, or Rerank(…, query=…)"
        )
    given_texts = complete_texts_of(texts, "query of rerank")
    if len(given_texts) != queries:
        raise InvalidArgumentError(
            f"query of rerank has {len(given_texts)} texts, expected {queries}, one for each query"
        )
    return cast(list[str], given_texts)


def _moves_of(hits: Hits, order: Ints, scores: Floats) -> list[Moved]:
    places = zip(order.tolist(), scores.tolist(), strict=True)
    return [
        Moved(
            id=str(hits.points.ids[before]),
            before=before + 1,
            after=after,
            score=None if math.isnan(score) else score,
        )
        for after, (before, score) in enumerate(places, 1)
    ]


@lru_cache(maxsize=NAMES_KEPT)
def _reranker_named(name: str) -> Any:
    """The registered re-ranker of this name, without settings. A process creates it only once,
    since it may hold a model."""
    kind = plugins.load(plugins.RERANKERS, name)
    try:
        return kind()
    except RetrievalStoreError:
        raise
    except Exception as error:  # whatever its maker thinks of no settings
        raise InvalidArgumentError(
            f"rerank is {name!r}, but {kind.__name__} can't be made without settings: {error}"
        ) from error
