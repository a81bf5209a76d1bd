"""Measures the recall of a collection's index on the cluster.

The number of candidates (`hnsw_ef`) that a search needs to reach a recall depends on the vectors
and on the query. With a server's default number, a query near a vector may find 99 of the 100
nearest vectors, and a query half way between two vectors only 70. So queries of four kinds are run,
exactly and with increasing numbers of candidates. The kind with the lowest recall counts. The
measured recall is stored in the metadata of the Qdrant collection, for all clients. It is measured
again when the collection has doubled in size.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from qdrant_client import models

from retrieval_store.errors import ClusterError
from retrieval_store.extension import Fields, Floats, Matrix, Metric
from retrieval_store_cluster.filters import payload_for
from retrieval_store_cluster.schema import DENSE, NO_GRAPH, RECALL, IndexRecall
from retrieval_store_cluster.space import Listing, QdrantCollection, orders_within, vectors_to_send

LEAST = 20_000  # points that are indexed; with fewer nothing is measured
INDEXED = 0.8  # share of the points, so that unindexed points don't hide misses
CANDIDATES = (64, 128, 256, 512, 1_024, 2_048)
DEPTHS = (10, 100)  # hits, from which recall is computed
SURE = 0.995  # more candidates aren't tried
# Where a filter matches at most this share of the points, a search continues by the neighbours of
# neighbours.
BEYOND_NEIGHBOURS = models.AcornSearchParams(enable=True, max_selectivity=0.8)
OVERSAMPLED = 3.0  # factor of hits from quantized vectors that are re-scored by the vectors
SAMPLED, KINDS, OF_A_KIND, IN_A_REQUEST = 256, 4, 20, 8
QUESTIONS = KINDS * OF_A_KIND
FILTERED = 4  # one in this many queries is restricted to the older half of the points
AGE = 60.0  # seconds after which the collection's growth is checked
FAILED_FOR = 3600.0  # seconds after a failure until the next measurement
_log = logging.getLogger("retrieval_store.cluster")


def search_for(collection: QdrantCollection, recall: float, k: int) -> models.SearchParams | None:
    """The parameters with which a search for the k nearest vectors reaches the recall, as the last
    measurement found. If no number of candidates reaches the recall, the parameters are those of an
    exact search. None if nothing was measured."""
    measured = _measured_recall(collection)
    if measured is None:
        return None
    candidates, most = measured.candidates(recall, k), collection.limits.ef
    if candidates is None or (most is not None and candidates > most):
        return models.SearchParams(exact=True)
    return _params(collection, candidates)


def _params(collection: QdrantCollection, candidates: int) -> models.SearchParams:
    is_quantized = collection.settings.storage.get("quantization") is not None
    oversampling = min(OVERSAMPLED, collection.limits.oversampling or OVERSAMPLED)
    quantized = models.QuantizationSearchParams(rescore=True, oversampling=oversampling)
    return models.SearchParams(
        hnsw_ef=candidates,
        acorn=BEYOND_NEIGHBOURS,  # of no effect without a filter
        quantization=quantized if is_quantized else None,
    )


def _measured_recall(collection: QdrantCollection) -> IndexRecall | None:
    """The recall that this or another client has measured. If a measurement is due, it is made now,
    and other threads wait for it."""
    with collection.measuring:
        if time.monotonic() >= collection.measured_until:
            collection.measured_until = time.monotonic() + AGE
            collection.measured = _look_up(collection)
        return collection.measured


def _look_up(collection: QdrantCollection) -> IndexRecall | None:
    info = collection.call("get_collection")
    collection.note(info)
    known = IndexRecall.of(info.config.metadata)
    points = info.points_count or 0
    if (known is not None and points < 2 * known.points) or not _is_ready(collection, info):
        return known
    try:
        measured = _measure(collection, points)
    except ClusterError as error:  # such as a timeout
        collection.measured_until = time.monotonic() + FAILED_FOR
        _log.warning("the recall of searches of %s can't be measured: %s", collection.place, error)
        return known
    if measured is None:
        return known
    _log.info("measured the recall of searches of %s: %s", collection.place, measured.found)
    with suppress(ClusterError):  # a read-only key; then each client measures for itself
        collection.call("update_collection", metadata={RECALL: measured.as_payload()})
    return measured


def _is_ready(collection: QdrantCollection, info: Any) -> bool:
    """Whether the collection has a complete index, so that the recall of the index can be
    measured."""
    indexed, points = info.indexed_vectors_count or 0, info.points_count or 0
    is_indexed = indexed >= LEAST and indexed >= INDEXED * points
    is_at_rest = info.status is models.CollectionStatus.GREEN
    has_graph = collection.settings.graph().m != NO_GRAPH
    return is_indexed and is_at_rest and has_graph and collection.limits.exact


def _measure(collection: QdrantCollection, points: int) -> IndexRecall | None:
    listing = Listing(collection, None, ("",), payload=payload_for(Fields()))
    drawn = [listed for listed in listing.sample(SAMPLED) if "" in listed.vectors]
    limits = collection.limits
    depths = [k for k in DEPTHS if limits.query is None or k <= limits.query]
    if len(drawn) < QUESTIONS or not depths:
        return None
    vectors = np.array([listed.vectors[""] for listed in drawn], np.float32)
    middle = int(np.median([listed.point.order for listed in drawn]))
    questions = vectors_to_send(_questions(vectors), collection.metric)

    def asked(params: models.SearchParams, k: int) -> list[list[float]]:
        return _scores(collection, questions, middle, params, k)

    exact = asked(models.SearchParams(exact=True), max(depths))
    found: dict[int, dict[int, float]] = {k: {} for k in depths}
    # Each depth by itself: a search has at least one candidate for each hit.
    for k, shares in found.items():
        for candidates in CANDIDATES:
            if limits.ef is None or candidates <= limits.ef:
                scores = asked(_params(collection, candidates), k)
                shares[candidates] = _share(exact, scores, k, collection.metric)
            if shares.get(candidates, 1.0) >= SURE:
                break
    return IndexRecall(points, found)


def _questions(vectors: Matrix) -> Matrix:
    """(QUESTIONS, dim) float32: queries of four kinds. A query is near to a vector, half way
    between two vectors, the mean of five vectors, or a random direction."""
    chance = np.random.default_rng(0)
    count, dimension = OF_A_KIND, vectors.shape[1]
    wide = vectors.astype(np.float64)
    drawn = wide[chance.integers(0, len(wide), (3, count, 5))]
    near = 0.8 * drawn[0, :, 0] + 0.2 * drawn[0, :, 1]
    half_way, mean = drawn[1, :, :2].mean(axis=1), drawn[2].mean(axis=1)
    directions = chance.standard_normal((count, dimension))
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    typical = np.median(np.linalg.norm(wide, axis=1))
    return np.concatenate([near, half_way, mean, directions / lengths * typical]).astype(np.float32)


def _scores(
    collection: QdrantCollection,
    questions: Matrix,
    middle: int,
    params: models.SearchParams,
    limit: int,
) -> list[list[float]]:
    """The scores of the hits of each query, best first. middle: some queries are restricted to
    points with smaller order numbers."""
    older = orders_within(lt=middle)
    requests = [
        models.QueryRequest(
            query=question.tolist(),
            using=DENSE,
            params=params,
            filter=None if i % FILTERED else older,
            limit=limit,
            with_payload=False,
        )
        for i, question in enumerate(questions)
    ]
    return scores_of(collection, requests)


def scores_of(
    collection: QdrantCollection, requests: Sequence[models.QueryRequest]
) -> list[list[float]]:
    """The scores of the hits of each request, best first. Only a few requests are sent in one call,
    so that no call takes long."""
    size = min(IN_A_REQUEST, collection.limits.searches or IN_A_REQUEST)
    batches = (requests[start : start + size] for start in range(0, len(requests), size))
    return [
        [point.score for point in response.points]
        for batch in batches
        for response in collection.query_batch([*batch])
    ]


def hits_found(
    found: Sequence[Sequence[float]], best: Sequence[Sequence[float]], k: int, metric: Metric
) -> Floats:
    """(n,) float64: the recall of the k best hits of each query, computed from the scores of an
    exact and of an approximate search. A hit whose score equals that of the k-th hit counts as
    found."""
    sign = -1.0 if metric == "l2" else 1.0
    shares = np.ones(len(best))
    for i, (scores, wanted) in enumerate(zip(found, best, strict=True)):
        if wanted:
            worst = sign * wanted[:k][-1]
            shares[i] = sum(sign * score >= worst for score in scores[:k]) / len(wanted[:k])
    return shares


def _share(
    exact: Sequence[Sequence[float]], found: Sequence[Sequence[float]], k: int, metric: Metric
) -> float:
    """The mean recall of the k best hits for the worst kind of query. Queries with a filter count
    as a separate kind."""
    by_kind = hits_found(found, exact, k, metric).reshape(KINDS, -1, FILTERED)
    kinds = [*by_kind[:, :, 1:].mean(axis=(1, 2)), by_kind[:, :, 0].mean()]
    return round(float(min(kinds)), 6)
