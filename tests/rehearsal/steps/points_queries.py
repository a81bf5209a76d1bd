"""Queries of QdrantClient; each kind is compared with its formula."""

import asyncio
import math
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
from qdrant_client import models

from tests.helpers.oracle import bm25
from tests.rehearsal.places import POINTS
from tests.rehearsal.points_asked import LONG, SPLIT, asked_of, equals, metres, third
from tests.rehearsal.points_truth import (
    NAME,
    PIECES,
    Id,
    Kept,
    Points,
    best,
    check_points,
    compare_ids,
    fill,
    made_of,
    make_collection,
    margin,
    points_of,
    sparse,
)
from tests.rehearsal.scenario import Scenario
from tests.rehearsal.steps import step
from tests.rehearsal.steps.points import indexed, indexes_of

EXACTLY = models.SearchParams(exact=True)
BESIDE = "beside"  # a collection that is in Qdrant's own engine, too


def promised(scenario: Scenario, shares: list[float]) -> None:
    share = float(np.mean(shares))
    assert share >= (1.0 if scenario.exact else 0.98), f"{share:.4f} found"


def asked_for(scenario: Scenario, kept: Kept, name: str, count: int) -> list[Any]:
    """Queries near existing points."""
    if name == "dense":
        return list(scenario.queries(count))
    drawn = scenario.random.choice(len(kept.truth), count, replace=False)
    near = [kept.truth.points[one] for one in np.array(kept.truth.ids, object)[drawn]]
    if name == "words":
        return [one.words for one in near]
    noise = 0.1 * scenario.random.standard_normal((count, *PIECES))
    moved = [one.pieces + one.pieces.std() * own for one, own in zip(near, noise, strict=True)]
    return list(np.asarray(moved, np.float32))


def vector_of(query: Any) -> Any:
    return sparse(query) if isinstance(query, dict) else query.tolist()


def sign_of(truth: Points, name: str) -> int:
    return truth.sign if name == "dense" else 1


def shares_found(
    scenario: Scenario, kept: Kept, name: str, queries: Sequence[Any], k: int, **named: Any
) -> list[float]:
    shares = []
    allowed = named.pop("allowed", None)
    for query in queries:
        got = kept.client.query_points(
            NAME, vector_of(query), using=name, limit=k, with_payload=False, **named
        )
        offset = named.get("offset") or 0
        scores, sign = kept.truth.scores(query, name), sign_of(kept.truth, name)
        shares.append(check_points(got.points, scores, k, sign, allowed, offset))
    return shares


def query_and_check(scenario: Scenario, kept: Kept, *asked: Any, **named: Any) -> None:
    promised(scenario, shares_found(scenario, kept, *asked, **named))


NAMES = ("dense", "words", "pieces")


@step(places=POINTS)
def nearest_points(scenario: Scenario) -> None:
    """Searches by vectors of every kind, also exact ones."""
    kept = points_of(scenario)
    for name in NAMES:
        queries = asked_for(scenario, kept, name, scenario.times(10, 30, 100))
        query_and_check(scenario, kept, name, queries, 10)
        query_and_check(scenario, kept, name, queries[:5], 10, search_params=EXACTLY)


@step(places=POINTS)
def nearest_points_with_every_filter(scenario: Scenario) -> None:
    """Recall is checked over all queries together, since a few queries of each filter show
    little."""
    kept = indexed(scenario)
    requests = {**asked_of(scenario.shape.kinds, kept.truth), **SPLIT}
    if "texts" in scenario.shape.kinds:
        requests |= LONG
    right = [(given, kept.truth.matching(holds)) for given, holds in requests.values()]
    for name in NAMES:
        queries, shares = asked_for(scenario, kept, name, len(requests)), []
        for query, (given, allowed) in zip(queries, right, strict=True):
            named = {"query_filter": given, "allowed": allowed}
            shares += shares_found(scenario, kept, name, [query], 10, **named)
            assert shares[-1] >= 0.7, f"{shares[-1]} found; {given}"
        promised(scenario, shares)


@step(places=POINTS)
def ten_thousand_points(scenario: Scenario) -> None:
    kept = points_of(scenario)
    for name in NAMES:
        query_and_check(scenario, kept, name, asked_for(scenario, kept, name, 1), 10_000)


@step(places=POINTS)
def offsets_of_points(scenario: Scenario) -> None:
    """Pages of hits, and a page after the last."""
    kept = points_of(scenario)
    for name in NAMES:
        (query,) = asked_for(scenario, kept, name, 1)
        for offset in (0, 7, len(kept.truth) // 2, len(kept.truth) - 3, len(kept.truth) + 5):
            query_and_check(scenario, kept, name, [query], 200, offset=offset)


@step(places=POINTS)
def points_within_a_score(scenario: Scenario) -> None:
    kept = points_of(scenario)
    for name in NAMES:
        (query,) = asked_for(scenario, kept, name, 1)
        scores, sign = kept.truth.scores(query, name), sign_of(kept.truth, name)
        order = [score for _, score in best(scores, 200, sign)]
        at = 100 + int(np.abs(np.diff(order[100:])).argmax())  # not between copies of a vector
        threshold = (order[at] + order[at + 1]) / 2
        got = kept.client.query_points(
            NAME, vector_of(query), using=name, limit=1000, score_threshold=threshold
        ).points
        right = [one for one, score in scores.items() if sign * score >= sign * threshold]
        assert len(got) == len(right) or not scenario.exact
        check_points(got, scores, len(got), sign, right if len(got) == len(right) else None)


@step(places=POINTS)
def points_of_hits(scenario: Scenario) -> None:
    """The content of hits: payloads, parts of them, vectors."""
    kept = points_of(scenario)
    query = scenario.queries(1)[0].tolist()
    some = models.PayloadSelectorInclude(include=["n", "parts[].lang"])
    got = kept.client.query_points(
        NAME, query, using="dense", limit=300, with_payload=some, with_vectors=True
    ).points
    whole = kept.client.query_points(NAME, query, using="dense", limit=300).points
    compare_ids([hit.id for hit in got], [hit.id for hit in whole], "hits")
    for hit, same in zip(got, whole, strict=True):
        own = kept.truth.points[hit.id].payload
        langs = {"parts": [{"lang": part["lang"]} for part in own["parts"]]}
        assert hit.payload == {"n": own["n"], **(langs if own["parts"] else {"parts": []})}
        assert set(hit.vector) == set(NAMES)
        assert same.payload == own and same.vector is None


@step(places=POINTS)
def like_a_point(scenario: Scenario) -> None:
    """A point's id as a query finds the others, with vectors of each kind."""
    kept = points_of(scenario)
    for one in scenario.random.choice(np.array(kept.truth.ids, object), 3, replace=False):
        for name in NAMES:
            got = kept.client.query_points(NAME, one, using=name, limit=20).points
            scores = kept.truth.scores(getattr(kept.truth.points[one], name), name)
            others = [other for other in scores if other != one]
            sign = sign_of(kept.truth, name)
            promised(scenario, [check_points(got, scores, 20, sign, others)])


def ranked(
    scenario: Scenario, kept: Kept, name: str, query: Any, limit: int, among: Any = None
) -> list[tuple[Id, float]]:
    """The best points with their scores, in the search's own order, since equal vectors may come in
    any order."""
    given, some = (None, None) if among is None else among
    got = kept.client.query_points(
        NAME, vector_of(query), using=name, limit=limit, query_filter=given, with_payload=False
    ).points
    scores = kept.truth.scores(query, name)
    promised(scenario, [check_points(got, scores, limit, sign_of(kept.truth, name), some)])
    return [(hit.id, scores[hit.id]) for hit in got]


def legs_of(scenario: Scenario, kept: Kept, limit: int) -> tuple[list[models.Prefetch], list[Any]]:
    """Prefetches of every kind of vectors, one with a filter, and the hits of each."""
    given, holds = third(len(kept.original), 1)
    some = kept.truth.matching(holds)
    prefetches, rankings = [], []
    for name in NAMES:
        (query,) = asked_for(scenario, kept, name, 1)
        only = given if name == "words" else None
        among = None if only is None else (given, some)
        rankings.append(ranked(scenario, kept, name, query, limit, among))
        prefetches.append(
            models.Prefetch(query=vector_of(query), using=name, limit=limit, filter=only)
        )
    return prefetches, rankings


def summed(parts: list[dict[Id, float]]) -> dict[Id, float]:
    total: dict[Id, float] = {}
    for part in parts:
        for one, score in part.items():
            total[one] = total.get(one, 0.0) + score
    return total


def by_ranks(ranking: list[Any], k: float, weight: float = 1.0) -> dict[Id, float]:
    return {one: 1 / (rank / weight + k - 1) for rank, (one, _) in enumerate(ranking, 1)}


def by_deviation(ranking: list[Any]) -> dict[Id, float]:
    """Qdrant's fusion, which treats distances as scores, so the farthest comes first."""
    scores = np.array([score for _, score in ranking])
    low, high = (scores.mean() + way * 3 * scores.std(ddof=1) for way in (-1, 1))
    scaled = (scores - low) / (high - low)
    return dict(zip([one for one, _ in ranking], scaled.tolist(), strict=True))


@step(places=POINTS)
def fusions(scenario: Scenario) -> None:
    """Rankings of three kinds of vectors, fused by ranks and by deviations."""
    kept = points_of(scenario)
    for _ in range(scenario.times(2, 5, 20)):
        legs, rankings = legs_of(scenario, kept, 150)
        right = {
            "rrf": summed([by_ranks(one, 2) for one in rankings]),
            "weighed": summed(
                [by_ranks(one, 60, w) for one, w in zip(rankings, (3.0, 1.0, 0.5), strict=True)]
            ),
            "dbsf": summed([by_deviation(one) for one in rankings]),
        }
        requests = {
            "rrf": models.FusionQuery(fusion=models.Fusion.RRF),
            "weighed": models.RrfQuery(rrf=models.Rrf(k=60, weights=[3.0, 1.0, 0.5])),
            "dbsf": models.FusionQuery(fusion=models.Fusion.DBSF),
        }
        for name, query in requests.items():
            got = kept.client.query_points(NAME, query, prefetch=legs, limit=500).points
            share = check_points(got, right[name], 500)
            assert share == 1.0, name


@step(places=POINTS)
def searches_among_hits(scenario: Scenario) -> None:
    """The best by one vector among the best by others."""
    kept = points_of(scenario)
    legs, rankings = legs_of(scenario, kept, 200)
    found = {one for ranking in rankings for one, _ in ranking}
    query_and_check(
        scenario,
        kept,
        "dense",
        scenario.queries(3),
        50,
        prefetch=legs,
        allowed=sorted(found, key=str),
    )


@step(places=POINTS)
def formulas(scenario: Scenario) -> None:
    """Scores, payloads, conditions and decay, over all points and over the hits of a search."""
    kept = points_of(scenario)
    query = scenario.queries(1)[0]
    flag = equals("flag", True)
    decay = models.DecayParamsExpression(x="weight", target=50.0, scale=30.0, midpoint=0.25)
    near = models.GeoDistanceParams(origin=models.GeoPoint(lon=1, lat=2), to="at")
    formula = models.FormulaQuery(
        formula=models.SumExpression(
            sum=[
                "$score",
                models.MultExpression(mult=[2.5, flag]),
                models.GaussDecayExpression(gauss_decay=decay),
                models.ExpDecayExpression(exp_decay=decay),
                models.LinDecayExpression(lin_decay=decay),
                models.NegExpression(neg=models.LnExpression(ln="share")),
                models.SqrtExpression(sqrt=models.AbsExpression(abs="n")),
            ]
        ),
        defaults={"share": 3.0},
    )
    leg = models.Prefetch(query=query.tolist(), using="dense", limit=500)
    got = kept.client.query_points(NAME, formula, prefetch=leg, limit=400).points
    right = {
        one: score + worked_out(kept.truth.points[one].payload)
        for one, score in ranked(scenario, kept, "dense", query, 500)
    }
    assert check_points(got, right, 400) == 1.0
    far = models.FormulaQuery(formula=models.GeoDistance(geo_distance=near))
    given, holds = third(len(kept.original), 1)
    leg = models.Prefetch(filter=given, limit=len(kept.truth))
    got = kept.client.query_points(NAME, far, prefetch=leg, limit=10).points
    reports = [hit.score for hit in got]
    origin = {"lon": 1.0, "lat": 2.0}
    some = kept.truth.matching(holds)
    right = sorted((metres(origin, kept.truth.points[o].payload["at"]) for o in some), reverse=True)
    assert np.allclose(reports, right[:10], rtol=1e-5)


def worked_out(payload: dict[str, Any]) -> float:
    """The formula's result without the score."""
    away = abs(payload["weight"] - 50.0)
    gauss = math.exp(math.log(0.25) / 30.0**2 * away**2)
    exponential = math.exp(math.log(0.25) / 30.0 * away)
    linear = max(0.0, 1 - 0.75 / 30.0 * away)
    flag = 2.5 if payload["flag"] else 0.0
    return flag + gauss + exponential + linear - math.log(3.0) + math.sqrt(payload["n"])


def examples_of(scenario: Scenario, kept: Kept, count: int) -> list[Id]:
    ids, _ = kept.truth.rows("dense")
    return [ids[i] for i in scenario.random.choice(len(ids), count, replace=False)]


def likenesses(kept: Kept, ids: Sequence[Id]) -> np.ndarray:
    """(examples, points): the similarities of all points to each example."""
    return np.array([kept.truth.alike(kept.truth.points[one].dense) for one in ids])


def scaled(x: np.ndarray) -> np.ndarray:
    return 0.5 * (squeezed(x) + 1)


def squeezed(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.abs(x))


def check_by_examples(
    scenario: Scenario, kept: Kept, query: Any, scores: np.ndarray, ids: Sequence[Id], sign: int = 1
) -> None:
    """The hits of a query by examples, which aren't hits themselves."""
    got = kept.client.query_points(NAME, query, using="dense", limit=100).points
    own = dict(zip(kept.truth.rows("dense")[0], scores.tolist(), strict=True))
    for one in ids:
        own.pop(one, None)
    promised(scenario, [check_points(got, own, 100, sign)])


@step(places=POINTS)
def recommends(scenario: Scenario) -> None:
    """All three strategies, with and without negative examples."""
    kept = points_of(scenario)
    strategy = models.RecommendStrategy
    for count in (0, 3):
        ids = examples_of(scenario, kept, 4 + count)
        wanted, unwanted = ids[:4], ids[4:]
        own, rows = kept.truth.rows("dense")
        places = {one: i for i, one in enumerate(own)}
        liked = rows[[places[one] for one in wanted]].mean(axis=0)
        if unwanted:
            liked = 2 * liked - rows[[places[one] for one in unwanted]].mean(axis=0)
        near, far = likenesses(kept, wanted), likenesses(kept, unwanted)
        most = near.max(axis=0)
        least = far.max(axis=0) if unwanted else np.full(len(most), -np.inf)
        nearer = most > least
        chosen = scaled(np.where(nearer, most, least))
        total = near.sum(axis=0) - (far.sum(axis=0) if unwanted else 0)
        right = {
            strategy.AVERAGE_VECTOR: kept.truth.scores_from(kept.truth.alike(liked)),
            strategy.BEST_SCORE: np.where(nearer, chosen, -chosen),
            strategy.SUM_SCORES: total,
        }
        for one, scores in right.items():
            reported = models.RecommendInput(positive=wanted, negative=unwanted, strategy=one)
            sign = kept.truth.sign if one is strategy.AVERAGE_VECTOR else 1
            query = models.RecommendQuery(recommend=reported)
            check_by_examples(scenario, kept, query, scores, ids, sign)


@step(places=POINTS)
def discovers(scenario: Scenario) -> None:
    """With a target, with a target and a context, and with a context alone."""
    kept = points_of(scenario)
    ids = examples_of(scenario, kept, 9)
    target, positives, negatives = ids[0], ids[1:5], ids[5:]
    pairs = [
        models.ContextPair(positive=one, negative=other)
        for one, other in zip(positives, negatives, strict=True)
    ]
    near, far = likenesses(kept, positives), likenesses(kept, negatives)
    (own,) = likenesses(kept, [target])
    reported = models.DiscoverInput(target=target, context=pairs)
    right = np.sign(near - far).sum(axis=0) + scaled(own)
    check_by_examples(scenario, kept, models.DiscoverQuery(discover=reported), right, ids)
    right = squeezed(np.minimum(near - far - np.finfo(np.float32).eps, 0)).sum(axis=0)
    check_by_examples(scenario, kept, models.ContextQuery(context=pairs), right, ids[1:])


@step(places=POINTS)
def diverse_hits(scenario: Scenario) -> None:
    """Maximal marginal relevance, one pick after another."""
    kept = points_of(scenario)
    for diversity in (0.0, 0.4, 0.9):
        query = scenario.queries(1)[0]
        mmr = models.Mmr(diversity=diversity, candidates_limit=200)
        got = kept.client.query_points(
            NAME, models.NearestQuery(nearest=query.tolist(), mmr=mmr), using="dense", limit=30
        ).points
        ids = [one for one, _ in ranked(scenario, kept, "dense", query, 200)]
        check_picks([hit.id for hit in got], ids, kept.truth, query, diversity)


def check_picks(got: list[Id], ids: list[Id], truth: Points, query: Any, diversity: float) -> None:
    """Check that each pick has the greatest value, given the earlier ones; of equals, any."""
    assert len(got) == min(30, len(ids)) == len(set(got))
    relevance = truth.alike(query, ids)
    likeness = np.array([truth.alike(truth.points[one].dense, ids) for one in ids])
    chosen: list[int] = []
    for one in got:
        nearest = likeness[chosen].max(axis=0) if chosen else np.zeros(len(ids))
        worth = (1 - diversity) * relevance - diversity * nearest
        worth = worth if chosen else relevance.copy()
        worth[chosen] = -np.inf
        place = ids.index(one)
        assert worth[place] >= worth.max() - margin(worth.max()), (one, len(chosen), diversity)
        chosen.append(place)


@step(places=POINTS)
def queries_in_order_and_at_random(scenario: Scenario) -> None:
    kept = indexed(scenario)
    given, holds = third(len(kept.original), 1)
    some = kept.truth.matching(holds)
    order = models.OrderBy(key="weight", direction=models.Direction.DESC)
    got = kept.client.query_points(
        NAME, models.OrderByQuery(order_by=order), query_filter=given, limit=500, offset=20
    ).points
    right = sorted((kept.truth.points[one].payload["weight"] for one in some), reverse=True)
    assert [hit.payload["weight"] for hit in got] == right[20:520]
    drawn = [
        [
            hit.id
            for hit in kept.client.query_points(
                NAME, models.SampleQuery(sample=models.Sample.RANDOM), query_filter=given, limit=200
            ).points
        ]
        for _ in range(2)
    ]
    for ids in drawn:
        assert len(set(ids)) == 200 and set(ids) <= set(some)
    assert set(drawn[0]) != set(drawn[1])
    every = kept.client.query_points(
        NAME,
        models.SampleQuery(sample=models.Sample.RANDOM),
        query_filter=given,
        limit=len(kept.truth),
        with_payload=False,
    ).points
    compare_ids([hit.id for hit in every], some, "all at random", ordered=False)
    plain = kept.client.query_points(
        NAME, query_filter=given, limit=len(kept.truth), with_payload=False
    ).points
    compare_ids([hit.id for hit in plain], some, "points without a query")


@step(places=POINTS)
def many_queries_at_once(scenario: Scenario) -> None:
    """Queries with every kind of vectors, with and without filters, in one call."""
    kept = indexed(scenario)
    given, holds = third(len(kept.original), 2)
    some = kept.truth.matching(holds)
    drawn = {name: asked_for(scenario, kept, name, 50) for name in NAMES}
    requests = [
        (name, query, given if i % 2 else None)
        for name, queries in drawn.items()
        for i, query in enumerate(queries)
    ]
    got = kept.client.query_batch_points(
        NAME,
        [
            models.QueryRequest(query=vector_of(query), using=name, filter=only, limit=15)
            for name, query, only in requests
        ],
    )
    assert len(got) == len(requests)
    shares = [
        check_points(
            own.points,
            kept.truth.scores(query, name),
            15,
            sign_of(kept.truth, name),
            None if only is None else some,
        )
        for own, (name, query, only) in list(zip(got, requests, strict=True))[
            :: scenario.times(4, 2, 1)
        ]
    ]
    promised(scenario, shares)


@step(places=POINTS)
def groups_of_hits(scenario: Scenario) -> None:
    """The best groups with the best points of each, by integers and by lists of strings; and
    lookups in another collection."""
    kept = indexed(scenario)
    query = scenario.queries(1)[0]
    keys = ["bucket", "uid"] + (["topic", "tags"] if "keys" in scenario.shape.kinds else [])
    for key in keys:
        got = kept.client.query_points_groups(
            NAME, key, query.tolist(), using="dense", limit=12, group_size=4
        ).groups
        scores = grouped(kept.truth, key, kept.truth.scores(query))
        check_groups(got, scores, 12, 4, kept.truth.sign)
    client, name = kept.client, "buckets"
    if client.collection_exists(name):
        client.delete_collection(name)
    client.create_collection(name, {})
    buckets = [models.PointStruct(id=i, vector={}, payload={"square": i * i}) for i in range(50)]
    client.upsert(name, buckets)
    got = client.query_points_groups(
        NAME, "bucket", query.tolist(), using="dense", limit=50, group_size=1, with_lookup=name
    ).groups
    assert len(got) == 50
    assert all(one.lookup.payload == {"square": one.id**2} for one in got)
    client.delete_collection(name)


def grouped(truth: Points, key: str, scores: dict[Id, float]) -> dict[Any, dict[Id, float]]:
    groups: dict[Any, dict[Id, float]] = {}
    for one, score in scores.items():
        value = truth.points[one].payload.get(key, [])
        for item in set(value) if isinstance(value, list) else {value}:
            groups.setdefault(item, {})[one] = score
    return groups


def check_groups(got: Any, right: dict[Any, dict[Id, float]], k: int, size: int, sign: int) -> None:
    assert len(got) == min(k, len(right))
    assert len({one.id for one in got}) == len(got), "a group is doubled"
    for one in got:
        assert check_points(one.hits, right[one.id], size, sign) == 1.0, one.id
    first = sorted((max(sign * s for s in own.values()) for own in right.values()), reverse=True)
    assert np.allclose([sign * one.hits[0].score for one in got], first[:k], rtol=1e-5, atol=1e-5)


@step(places=POINTS)
def matrices(scenario: Scenario) -> None:
    """Pairs of a sample: each point with its nearest ones in it."""
    kept = indexed(scenario)
    given, holds = third(len(kept.original), 0)
    some = set(kept.truth.matching(holds))
    sample, limit = scenario.times(120, 400, 800), 6
    pairs = kept.client.search_matrix_pairs(
        NAME, query_filter=given, limit=limit, sample=sample, using="dense"
    ).pairs
    check_pairs(kept, [(one.a, one.b, one.score) for one in pairs], some, sample, limit)
    reported = kept.client.search_matrix_offsets(NAME, limit=limit, sample=sample, using="dense")
    ids = reported.ids
    rows = zip(reported.offsets_row, reported.offsets_col, reported.scores, strict=True)
    found = [(ids[a], ids[b], score) for a, b, score in rows]
    check_pairs(kept, found, set(kept.truth.ids), sample, limit)


def check_pairs(
    kept: Kept, pairs: list[tuple[Id, Id, float]], some: set[Id], sample: int, limit: int
) -> None:
    drawn = {a for a, _, _ in pairs} | {b for _, b, _ in pairs}
    assert drawn <= some and len(drawn) == min(sample, len(some))
    assert len({(a, b) for a, b, _ in pairs}) == len(pairs) == len(drawn) * limit
    ids = sorted(drawn, key=str)
    sign = kept.truth.sign
    for one in ids:
        scores = kept.truth.scores_from(kept.truth.alike(kept.truth.points[one].dense, ids))
        right = {other: s for other, s in zip(ids, scores.tolist(), strict=True) if other != one}
        hits = [models.ScoredPoint(id=b, version=0, score=s) for a, b, s in pairs if a == one]
        assert check_points(hits, right, limit, sign) == 1.0, one


@step(places=POINTS)
def feedback(scenario: Scenario) -> None:
    """Similarity to a target, shifted by feedback on other points."""
    kept = points_of(scenario)
    target, *reported = examples_of(scenario, kept, 4)
    naive = models.NaiveFeedbackStrategyParams(a=0.7, b=1.5, c=0.5)
    items = [
        models.FeedbackItem(example=one, score=score)
        for one, score in zip(reported, (0.9, 0.5, 0.1), strict=True)
    ]
    request = models.RelevanceFeedbackInput(
        target=target, feedback=items, strategy=models.NaiveFeedbackStrategy(naive=naive)
    )
    near = dict(zip(reported, likenesses(kept, reported), strict=True))
    (right,) = 0.7 * likenesses(kept, [target])
    scores = dict(zip(reported, (0.9, 0.5, 0.1), strict=True))
    for i, one in enumerate(reported):
        for other in reported[i + 1 :]:
            surer = (scores[one] - scores[other]) ** 1.5 * 0.5
            right = right + surer * (near[one] - near[other])
    query = models.RelevanceFeedbackQuery(relevance_feedback=request)
    check_by_examples(scenario, kept, query, right, [target, *reported])


@step(places=POINTS)
def looks_up_elsewhere(scenario: Scenario) -> None:
    """The query is a point of another collection."""
    kept = points_of(scenario)
    queries, far = scenario.queries(5), 2**40
    make_collection(scenario, kept.client, "elsewhere")
    made = [
        models.PointStruct(id=far + i, vector={"dense": query.tolist()})
        for i, query in enumerate(queries)
    ]
    kept.client.upsert("elsewhere", made)
    shares = []
    for i, query in enumerate(queries):
        got = kept.client.query_points(
            NAME,
            far + i,
            using="dense",
            lookup_from=models.LookupLocation(collection="elsewhere", vector="dense"),
            limit=20,
        )
        shares.append(check_points(got.points, kept.truth.scores(query), 20, kept.truth.sign))
    promised(scenario, shares)
    kept.client.delete_collection("elsewhere")


@step("texts", places=POINTS, slow="the first in each process splits all texts into words")
def ranked_by_words(scenario: Scenario) -> None:
    """BM25 of a key's texts by its formula, over all points and with a filter."""
    kept = points_of(scenario)
    scoring = models.TextIndexParams(type="text", scoring=True)
    with scenario.no_clock():
        kept.client.create_payload_index(NAME, "text", scoring)
    ids = kept.truth.ids
    texts = [kept.truth.points[one].payload["text"].replace("_", " ") for one in ids]
    given, holds = third(len(kept.original), 1)
    some = kept.truth.matching(holds)
    for words in ("socket decimal garbage", "interpreter", "reference000123 module"):
        right = {one: s for one, s in zip(ids, bm25(texts, words), strict=True) if s}
        query = models.TextQuery(text=words)
        for named, allowed in (({}, None), ({"query_filter": given}, some)):
            got = kept.client.query_points(NAME, query, using="text", limit=20, **named).points
            assert check_points(got, right, 20, allowed=allowed) == 1, words
    kept.client.delete_payload_index(NAME, "text")


@step(places=POINTS - {"grpc"}, least="first")
def the_engine_of_qdrant_agrees(scenario: Scenario) -> None:
    """The same points in Qdrant's own engine, after the same changes: the same filters give the
    same points in the same order."""
    from tests.helpers.qdrant_server import Server

    made, ours = made_of(scenario, min(scenario.size, 2000)), points_of(scenario).client
    query = {**asked_of(scenario.shape.kinds, Points(scenario.shape.metric, made)), **SPLIT}
    with closing(Server()) as server, closing(server.client()) as theirs:
        for client in (ours, theirs):
            make_collection(scenario, client, BESIDE)
            for key, schema in indexes_of(scenario).items():
                client.create_payload_index(BESIDE, key, schema)
            fill(client, made, BESIDE)
            client.set_payload(BESIDE, {"weight": 1.5}, points=third(len(made), 1)[0])
            client.delete(BESIDE, third(len(made), 0)[0])
        for what, (given, _) in query.items():
            queries = scenario.queries(2).tolist()
            pages, scores = zip(
                *(answers(client, given, queries) for client in (ours, theirs)), strict=True
            )
            assert pages[0] == pages[1], what
            assert np.allclose(*scores, rtol=1e-4, atol=1e-4), what
    ours.delete_collection(BESIDE)


def answers(client: Any, given: models.Filter, queries: list[Any]) -> tuple[list[Any], list[Any]]:
    """The points that match a filter, and the scores of the nearest of them to each query."""
    named = {"with_payload": ["n", "weight"], "limit": 2000}
    page, _ = client.scroll(BESIDE, scroll_filter=given, **named)
    how = {"using": "dense", "limit": 20, "search_params": EXACTLY, "with_payload": False}
    found = [client.query_points(BESIDE, one, query_filter=given, **how).points for one in queries]
    return page, [[hit.score for hit in hits] for hits in found]


@step(places=POINTS - {"memory"})
def a_hundred_queries_at_a_time(scenario: Scenario) -> None:
    """An asynchronous client finds what another client wrote."""
    from retrieval_store.qdrant import AsyncQdrantClient

    kept = points_of(scenario)
    given, holds = third(len(kept.original), 1)
    some = kept.truth.matching(holds)
    queries = scenario.queries(100)

    async def ask() -> list[Any]:
        client = AsyncQdrantClient(**kept.client.init_options)
        try:
            request = [
                client.query_points(
                    NAME, query.tolist(), using="dense", query_filter=given if i % 2 else None
                )
                for i, query in enumerate(queries)
            ]
            return await asyncio.gather(*request, client.count(NAME), client.scroll(NAME, limit=50))
        finally:
            await client.close()

    *answers, count, (page, _) = asyncio.run(ask())
    assert count.count == len(kept.truth)
    compare_ids([one.id for one in page], kept.truth.ids[:50], "the first page")
    shares = [
        check_points(
            own.points, kept.truth.scores(queries[i]), 10, kept.truth.sign, some if i % 2 else None
        )
        for i, own in list(enumerate(answers))[:: scenario.times(4, 2, 1)]
    ]
    promised(scenario, shares)
