"""Inputs for embedding are found wherever qdrant-client finds them, without inspecting numeric
vectors.
"""

import itertools

import pytest
from qdrant_client.embed.type_inspector import Inspector

from retrieval_store.qdrant import models
from retrieval_store.qdrant.inference import NumbersInspector

TEXT = models.Document(text="a text", model="Qdrant/bm25")
NUMBERS = [1.0, 2.0]


def point(vector):
    return models.PointStruct(id=1, vector=vector, payload={"a": "b"})


def queries_of(vector):
    """Every kind of query that can hold a vector."""
    pair = models.ContextPair(positive=vector, negative=NUMBERS)
    yield models.NearestQuery(nearest=vector)
    yield models.NearestQuery(nearest=vector, mmr=models.Mmr(diversity=0.5))
    yield models.RecommendQuery(recommend=models.RecommendInput(positive=[NUMBERS, vector]))
    yield models.DiscoverQuery(discover=models.DiscoverInput(target=NUMBERS, context=[pair]))
    yield models.ContextQuery(context=pair)


MODELS = [
    *queries_of(NUMBERS),
    *queries_of(TEXT),
    models.NearestQuery(nearest=[NUMBERS, NUMBERS]),
    models.NearestQuery(nearest=models.SparseVector(indices=[1], values=[1.0])),
    models.NearestQuery(nearest=5),
    models.FusionQuery(fusion="rrf"),
    *[models.Prefetch(query=one) for one in (NUMBERS, TEXT)],
    models.Prefetch(prefetch=[models.Prefetch(query=TEXT)], query=NUMBERS),
    *[point(one) for one in (NUMBERS, [NUMBERS], TEXT)],
    *[point({"a": one, "b": NUMBERS}) for one in (NUMBERS, TEXT)],
    models.PointVectors(id=1, vector=TEXT),
    models.Batch(ids=[1], vectors=[TEXT]),
]


@pytest.mark.parametrize("given", [None, [], 5, *MODELS], ids=repr)
def test_one_missing_thing_is_reported_as_by_qdrant_client(given):
    assert NumbersInspector().inspect(given) == Inspector().inspect(given)


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_several_missing_things_are_reported_as_by_qdrant_client(kind):
    ours, theirs = NumbersInspector(), Inspector()
    names = set()
    for pair in itertools.product(MODELS, repeat=2):
        expected = theirs.inspect(kind(pair))
        assert ours.inspect(kind(pair)) == expected, pair
        names.add(expected)
    assert names == {True, False}
