"""What asks for too much is refused, and many at once get what each asked for."""

import asyncio
import threading

import numpy as np
import pytest

from retrieval_store.qdrant import AsyncQdrantClient, QdrantClient, Refused, models
from tests.helpers import inside

DIMENSION = 8


@pytest.fixture
def filled(tmp_path):
    with QdrantClient(path=tmp_path / "store") as client:
        client.create_collection("x", models.VectorParams(size=DIMENSION, distance="Dot"))
        client.upsert(
            "x",
            [
                models.PointStruct(id=i, vector=[float(i)] * DIMENSION, payload={"n": i, "v": 0})
                for i in range(200)
            ],
        )
        yield client


@pytest.mark.in_turn(2)
def test_a_formula_without_end_is_refused(filled):
    formula = "$score"
    for _ in range(150):
        formula = {"neg": formula}
    prefetch = models.Prefetch(query=[1.0] * DIMENSION)
    query = models.FormulaQuery.model_validate({"formula": formula})
    assert filled.query_points("x", query=query, prefetch=prefetch, limit=1).points
    wide = models.FormulaQuery.model_construct(
        formula=models.SumExpression.model_construct(sum=["$score"] * 1_000_001), defaults=None
    )
    with pytest.raises(Refused, match="more than"):
        inside.embedded(filled).query_points("x", query=wide, prefetch=prefetch)
    deep = "$score"
    for _ in range(5_000):
        deep = models.NegExpression.model_construct(neg=deep)
    deep = models.FormulaQuery.model_construct(formula=deep, defaults=None)
    with pytest.raises(Refused, match="levels"):
        inside.embedded(filled).query_points("x", query=deep, prefetch=prefetch)


def test_prefetches_without_end_are_refused(filled):
    inner = models.Prefetch(query=[1.0] * DIMENSION, limit=5)
    for _ in range(1_000):
        inner = models.Prefetch.model_construct(
            prefetch=inner,
            query=[1.0] * DIMENSION,
            limit=5,
            filter=None,
            params=None,
            using=None,
            score_threshold=None,
            lookup_from=None,
        )
    with pytest.raises(Refused, match="levels"):
        inside.embedded(filled).query_points("x", query=[1.0] * DIMENSION, prefetch=inner)


@pytest.mark.parametrize(
    "query",
    [
        models.FusionQuery(fusion=models.Fusion.RRF),
        models.RrfQuery(rrf=models.Rrf(weights=[1.0, 2.0])),
        models.FormulaQuery(formula="missing"),
        models.OrderByQuery(order_by="n"),
        models.RecommendQuery(recommend=models.RecommendInput(negative=[1])),
        models.NearestQuery(
            nearest=[1.0] * DIMENSION, mmr=models.Mmr(diversity=0.5, candidates_limit=99_999)
        ),
        [1.0],
        [float("nan")] * DIMENSION,
        4_000,
        "no such point",
    ],
)
def test_queries_that_make_no_sense_are_refused(filled, query):
    prefetch = models.Prefetch(query=[1.0] * DIMENSION)
    needs = isinstance(query, models.FormulaQuery | models.RrfQuery)
    with pytest.raises((Refused, ValueError)):
        filled.query_points("x", query=query, prefetch=prefetch if needs else None)


@pytest.mark.in_turn(2)
def test_sixteen_threads_ask_while_one_writes(filled):
    """Each answer is of one state: all points of a batch have one version."""
    stop, wrong, asked = threading.Event(), [], [0] * 16

    def ask(number):
        while not stop.is_set() or not asked[number]:
            found = filled.query_points(
                "x",
                query=models.FusionQuery(fusion=models.Fusion.RRF),
                prefetch=[
                    models.Prefetch(query=[1.0] * DIMENSION, limit=200),
                    models.Prefetch(query=[-1.0] * DIMENSION, limit=200),
                ],
                limit=200,
            ).points
            versions = {point.payload["v"] for point in found}
            if len(versions) != 1 or len(found) != 200:
                wrong.append((versions, len(found)))
            asked[number] += 1

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for version in range(1, 30):
        filled.set_payload("x", {"v": version}, points=models.Filter())
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong and all(asked)


async def test_calls_that_are_cancelled_leave_nothing_locked(tmp_path):
    async with AsyncQdrantClient(path=tmp_path / "store") as client:
        await client.create_collection("x", models.VectorParams(size=DIMENSION, distance="Dot"))
        vectors = np.random.default_rng(0).normal(size=(500, DIMENSION)).tolist()
        for round_ in range(10):
            points = [
                models.PointStruct(id=round_ * 1000 + i, vector=vector)
                for i, vector in enumerate(vectors)
            ]
            tasks = [
                asyncio.create_task(client.upsert("x", points)),
                asyncio.create_task(client.scroll("x", limit=500)),
                asyncio.create_task(client.query_points("x", query=vectors[0])),
            ]
            await asyncio.sleep(0.001 * round_)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        before = (await client.count("x")).count
        assert before % 500 == 0
        await client.upsert("x", [models.PointStruct(id=10**6, vector=vectors[0])])
        assert (await client.retrieve("x", [10**6]))[0].id == 10**6


@pytest.mark.parametrize("path", [98, 99, 100, 300])
def test_a_path_makes_no_payload_deeper_than_one_may_be(filled, path):
    def written():
        return filled.set_payload("x", {"v": [1]}, points=[1], key=".".join("a" * path))

    if path <= 98:  # with the payload itself and the list in it, a hundred
        assert written().status == "completed"
    else:
        with pytest.raises(Refused, match="deeper than 100 levels"):
            written()
    (found,) = filled.retrieve("x", [1])
    assert ("a" in found.payload) == (path <= 98)
    filled.upsert("x", [models.PointStruct(id=1, vector=[0.0] * DIMENSION, payload=found.payload)])


@pytest.mark.parametrize("limit", [2**63 - 2, 2**63 - 1])
def test_the_largest_limits_are_for_all_points(filled, limit):
    some = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(gte=100))])
    for given, count in ((None, 200), (some, 100)):
        assert len(filled.scroll("x", given, limit=limit)[0]) == count
        found = filled.query_points("x", query_filter=given, limit=limit, offset=5)
        assert len(found.points) == count - 5
        assert not filled.query_points("x", query_filter=given, limit=1, offset=limit).points
