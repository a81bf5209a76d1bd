"""Every kind of query, in trees of prefetches, compared with qdrant-client's local mode where that
agrees with a server: the scores at each rank.
"""

import warnings
from unittest import mock

import numpy as np
import pytest
import qdrant_client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval_store.qdrant import QdrantClient, models

COUNT = 60
LIKE = 1e-4
WORDS = ("gold", "iron", "zinc")
RANDOM = np.random.default_rng(11)


def numbers(count):
    return RANDOM.normal(size=count).round(3).tolist()


def sparse():
    indices = RANDOM.choice(20, 5, replace=False).tolist()
    return models.SparseVector(indices=indices, values=RANDOM.uniform(0.1, 2, 5).round(3).tolist())


VECTORS = {
    "a": models.VectorParams(size=6, distance=models.Distance.COSINE),
    "b": models.VectorParams(size=4, distance=models.Distance.DOT),
    "e": models.VectorParams(size=4, distance=models.Distance.EUCLID),
    "h": models.VectorParams(size=4, distance=models.Distance.MANHATTAN),
    "m": models.VectorParams(
        size=3,
        distance=models.Distance.DOT,
        multivector_config=models.MultiVectorConfig(comparator="max_sim"),
    ),
}
MAKE = {
    "a": lambda: numbers(6),
    "b": lambda: numbers(4),
    "e": lambda: numbers(4),
    "h": lambda: numbers(4),
    "m": lambda: [numbers(3) for _ in range(RANDOM.integers(1, 4))],
    "s": sparse,
    "i": sparse,
}
POINTS = [
    models.PointStruct(
        id=i,
        vector={name: make() for name, make in MAKE.items() if (i + len(name)) % 13},
        payload={
            "n": i % 17,
            "f": float(RANDOM.normal()),
            "w": WORDS[i % 3],
            "at": f"2024-01-{i % 28 + 1:02d}T00:00:00Z",
            "g": {"lon": float(i % 20), "lat": 40.0 + i % 7},
        },
    )
    for i in range(COUNT)
]
EXAMPLES = {name: [make() for _ in range(6)] for name, make in MAKE.items()}


def filled(client):
    client.create_collection(
        "x",
        VECTORS,
        sparse_vectors_config={
            "s": models.SparseVectorParams(),
            "i": models.SparseVectorParams(modifier=models.Modifier.IDF),
        },
    )
    client.upsert("x", POINTS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # local mode has no payload indexes
        client.create_payload_index("x", "n", models.PayloadSchemaType.INTEGER)
        client.create_payload_index("x", "f", models.PayloadSchemaType.FLOAT)
    return client


@pytest.fixture(scope="module")
def both():
    ours, theirs = QdrantClient(":memory:"), qdrant_client.QdrantClient(":memory:")
    yield filled(ours), filled(theirs)
    ours.close()
    theirs.close()


FILTERS = st.sampled_from(
    [
        None,
        models.Filter(must=[models.FieldCondition(key="w", match=models.MatchValue(value="gold"))]),
        models.Filter(must_not=[models.FieldCondition(key="n", range=models.Range(lt=5))]),
        models.Filter(
            should=[
                models.FieldCondition(key="f", range=models.Range(gt=0)),
                models.HasIdCondition(has_id=[1, 2, 3]),
            ]
        ),
    ]
)
NAMES = st.sampled_from([*MAKE])
IDS = st.integers(13, 24)  # all of them have all vectors


def an_input(name, half=None, by_id=True):
    """half: the half of the points from which the input comes, so that no point is both a positive
    and a negative example."""
    ids = {None: IDS, 0: st.integers(13, 18), 1: st.integers(19, 24)}[half]
    examples = {None: slice(None), 0: slice(3), 1: slice(3, None)}[half]
    given = st.sampled_from(EXAMPLES[name][examples])
    return st.one_of(ids, given) if by_id else given


def pairs(name, by_id=True):
    return st.builds(
        models.ContextPair, positive=an_input(name, 0, by_id), negative=an_input(name, 1, by_id)
    )


def vector_queries(name, by_id):
    """Queries in which hardly two points have equal scores, since their order would be
    undefined."""
    one = an_input(name, None, by_id)
    # To local mode no common index is less than a product of 0.
    every = [models.RecommendStrategy.AVERAGE_VECTOR] if name in "si" else models.RecommendStrategy
    strategies = st.sampled_from([*every])
    recommend = st.builds(
        models.RecommendInput,
        positive=st.lists(an_input(name, 0, by_id), min_size=1, max_size=3),
        negative=st.lists(an_input(name, 1, by_id), max_size=2),
        strategy=strategies,
    )
    discover = st.builds(
        models.DiscoverInput,
        target=one,
        context=st.lists(pairs(name, by_id), min_size=1, max_size=3),
    )
    mmr = st.builds(models.Mmr, diversity=st.sampled_from([0.0, 0.3]), candidates_limit=st.just(20))
    queries = [
        one.map(lambda given: models.NearestQuery(nearest=given)),
        st.builds(models.NearestQuery, nearest=st.sampled_from(EXAMPLES[name]), mmr=mmr),
        recommend.map(lambda given: models.RecommendQuery(recommend=given)),
    ]
    if name not in "si":
        queries.append(discover.map(lambda given: models.DiscoverQuery(discover=given)))
    return st.one_of(queries)


def in_context():
    """Most points are on the right side, and all of these have the same score."""
    return st.sampled_from([*VECTORS]).flatmap(
        lambda name: st.builds(
            dict,
            query=st.lists(pairs(name), min_size=1, max_size=2).map(
                lambda some: models.ContextQuery(context=some)
            ),
            using=st.just(name),
            filter=FILTERS,
            limit=st.sampled_from([5, 20]),
        )
    )


FORMULAS = st.sampled_from(
    [
        {"sum": ["$score", {"mult": [0.5, "f"]}]},
        {"max": ["$score", {"neg": "n"}, 0.1]},
        {"sum": ["$score", {"key": "w", "match": {"value": "gold"}}]},
        {"div": {"left": "$score", "right": {"sum": ["n", 1]}}},
        {"exp_decay": {"x": "n", "target": 3, "scale": 4, "midpoint": 0.3}},
        {
            "gauss_decay": {
                "x": {"geo_distance": {"origin": {"lon": 3, "lat": 42}, "to": "g"}},
                "scale": 500_000.0,
            }
        },
        {
            "lin_decay": {
                "x": {"datetime_key": "at"},
                "target": {"datetime": "2024-01-10T00:00:00Z"},
                "scale": 864_000.0,
            }
        },
        {
            "sum": [
                {"abs": "f"},
                {"sqrt": "n"},
                {"ln": {"sum": ["n", 1]}},
                {"pow": {"base": {"abs": "f"}, "exponent": 1.5}},
                "$score[1]",
                "missing",
            ]
        },
    ]
)


def leaves(by_id=True):
    """by_id: also queries by stored points, which aren't their own hits. A server excludes the
    points named in a prefetch from all later steps, local mode only from that prefetch."""
    return NAMES.flatmap(
        lambda name: st.builds(
            dict,
            query=vector_queries(name, by_id),
            using=st.just(name),
            filter=FILTERS,
            limit=st.sampled_from([5, 20]),
        )
    )


def sources(inner):
    return st.lists(inner, min_size=1, max_size=3)


def formulas(inner):
    formula = FORMULAS.map(
        lambda f: models.FormulaQuery.model_validate(
            {"formula": {"sum": [f, {"mult": [0.013, "f"]}]}, "defaults": {"missing": 2.0}}
        )
    )
    dbsf = st.just(models.FusionQuery(fusion=models.Fusion.DBSF))
    ranked = st.builds(
        dict,
        query=st.one_of(formula, dbsf),
        prefetch=sources(inner),
        limit=st.sampled_from([5, 20]),
    )
    rescored = st.tuples(sources(inner), leaves(by_id=False)).map(
        lambda both: {**both[1], "filter": None, "prefetch": both[0]}
    )
    return st.one_of(ranked, rescored)


TREES = st.recursive(leaves(by_id=False), formulas, max_leaves=4)


def by_ranks():
    """Reciprocal ranks are often equal, so no step follows them."""

    def weighted(prefetch):
        weights = [1.0, 2.5, 0.5][: len(prefetch)]
        rrf = st.builds(
            models.Rrf, k=st.sampled_from([2, 5]), weights=st.sampled_from([None, weights])
        )
        plain = st.just(models.FusionQuery(fusion=models.Fusion.RRF))
        queries = st.one_of(plain, rrf.map(lambda given: models.RrfQuery(rrf=given)))
        return st.builds(dict, query=queries, prefetch=st.just(prefetch), limit=st.just(20))

    return sources(TREES).flatmap(weighted)


def as_prefetch(tree):
    inner = [as_prefetch(one) for one in tree.get("prefetch", ())]
    return models.Prefetch(**{**tree, "prefetch": inner or None})


def run_query(client, tree, offset):
    prefetch = [as_prefetch(one) for one in tree.get("prefetch", ())]
    found = client.query_points(
        "x",
        query=tree["query"],
        using=tree.get("using"),
        prefetch=prefetch or None,
        query_filter=tree.get("filter"),
        limit=tree["limit"],
        offset=offset,
        with_payload=False,
    )
    return [(point.score, point.id) for point in found.points]


def asked_after(client, tree, offset, before):
    """The result of local mode, given the hits of the prefetches."""
    if not before:
        return run_query(client, tree, offset)
    sources = [[models.ScoredPoint(id=i, version=0, score=s) for s, i in one] for one in before]
    collection = client._client.collections["x"]
    with mock.patch.object(collection, "_prefetch", side_effect=sources):
        return run_query(client, tree, offset)


def ranks_alone(scores):
    """The ranks with a unique score. The first and last ranks are unknown: a point cut off by an
    offset or a limit may have the same score."""
    apart = ~np.isclose(scores[:, None], scores, rtol=4 * LIKE, atol=4 * LIKE)
    return np.flatnonzero(apart.sum(axis=0) == len(scores) - 1)[1:-1].tolist()


def compare(both, tree, offset=0):
    """The hits, after comparing them and the hits of all prefetches.

    Points with equal scores have no defined order, so their ranks for a fusion, and which of them a
    limit cuts off, are undefined. So each step is compared with local mode's step on our own
    earlier hits, which were compared before.
    """
    before = [compare(both, one) for one in tree.get("prefetch", ())]
    ours = run_query(both[0], tree, offset)
    if getattr(tree["query"], "mmr", None) is None:
        theirs = asked_after(both[1], tree, offset, before)
    else:  # a server skips some of the diverse ones, where local mode looks for more of them
        theirs = asked_after(both[1], tree, 0, before)[offset:]
    scores = np.array([score for score, _ in ours])
    assert np.allclose(scores, [score for score, _ in theirs], rtol=LIKE, atol=LIKE)
    for rank in ranks_alone(scores):
        assert ours[rank][1] == theirs[rank][1]
    return ours


@pytest.mark.property
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=st.one_of(leaves(), TREES, by_ranks(), in_context()), offset=st.sampled_from([0, 3]))
def test_trees_of_queries_give_the_same_results(both, tree, offset):
    compare(both, tree, offset)
