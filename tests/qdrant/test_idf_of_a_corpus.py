"""Rarity of words among a part of the points, as in responses of Qdrant 1.19.0."""

import random

import pytest
from qdrant_client import models

from retrieval_store.qdrant import QdrantClient

CORPUS = models.Filter(must=[models.FieldCondition(key="g", match=models.MatchValue(value=1))])
ONE = models.SparseVector(indices=[1, 3, 5], values=[1.0, 0.5, 2.0])
OTHER = models.SparseVector(indices=[2, 3, 7], values=[1.0, 1.5, 0.2])
FEEDBACK = models.RelevanceFeedbackInput(
    target=ONE,
    feedback=[
        models.FeedbackItem(example=3, score=0.9),
        models.FeedbackItem(example=5, score=0.2),
    ],
    strategy=models.NaiveFeedbackStrategy(
        naive=models.NaiveFeedbackStrategyParams(a=1.0, b=1.0, c=1.0)
    ),
)


@pytest.fixture(scope="module")
def qdrant():
    chance = random.Random(3)
    qdrant = QdrantClient(":memory:")
    idf = models.SparseVectorParams(modifier=models.Modifier.IDF)
    qdrant.create_collection("c", vectors_config={}, sparse_vectors_config={"s": idf})
    points = []
    for i in range(60):
        indices = sorted(chance.sample(range(12), 5))
        values = [round(chance.random() + 0.1, 2) for _ in range(5)]
        vector = models.SparseVector(indices=indices, values=values)
        points.append(models.PointStruct(id=i, vector={"s": vector}, payload={"g": i % 4}))
    qdrant.upsert("c", points)
    yield qdrant
    qdrant.close()


def recommended(positive, strategy):
    recommend = models.RecommendInput(positive=positive, negative=[OTHER], strategy=strategy)
    return models.RecommendQuery(recommend=recommend)


PAIR = [models.ContextPair(positive=3, negative=OTHER)]
ANSWERS = [
    (ONE, [(6, 1.906129), (22, 1.8866603), (33, 1.8570528)]),
    (recommended([ONE], "best_score"), [(6, 0.8279499), (22, 0.8267895), (33, 0.82499444)]),
    (recommended([ONE, 3], "sum_scores"), [(55, 3.1651232), (37, 2.8716547), (12, 2.6878467)]),
    (recommended([ONE, 3], "average_vector"), [(55, 3.1651232), (37, 2.8716547), (12, 2.6878467)]),
    (
        models.DiscoverQuery(discover=models.DiscoverInput(target=ONE, context=PAIR)),
        [(22, 1.8267895), (33, 1.8249944), (24, 1.8197205)],
    ),
    (
        models.RelevanceFeedbackQuery(relevance_feedback=FEEDBACK),
        [(55, 1.8342228), (22, 1.8267983), (59, 1.7365093)],
    ),
]


def answered(qdrant, query, corpus=CORPUS, **others):
    params = models.SearchParams(idf=models.IdfCorpusParams(corpus=corpus))
    response = qdrant.query_points(
        "c", query, using="s", search_params=params, limit=3, with_payload=False, **others
    )
    return [(point.id, point.score) for point in response.points]


def same(answer, expected):
    assert [point for point, _ in answer] == [point for point, _ in expected]
    scores = [score for _, score in answer]
    assert scores == pytest.approx([score for _, score in expected], rel=2e-6)


@pytest.mark.parametrize(("query", "expected"), ANSWERS)
def test_every_kind_of_query_counts_among_the_corpus(qdrant, query, expected):
    same(answered(qdrant, query), expected)


def test_rankings_of_prefetched_points_use_the_corpus_too(qdrant):
    first = models.Prefetch(query=OTHER, using="s", limit=30)
    expected = [(6, 1.906129), (22, 1.8866603), (19, 1.6702018)]
    same(answered(qdrant, ONE, prefetch=first), expected)
    best = recommended([ONE], "best_score")
    expected = [(6, 0.8279499), (22, 0.8267895), (19, 0.8127482)]
    same(answered(qdrant, best, prefetch=first), expected)
