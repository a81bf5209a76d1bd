"""Excessive requests are refused, and concurrent requests get the right results."""

import asyncio
import threading
from contextlib import contextmanager

import numpy as np
import pytest

from retrieval_store.base.budget import Budget, RequestMemory
from retrieval_store.filters.nodes import Not
from retrieval_store.qdrant import AsyncQdrantClient, QdrantClient, Refused, models
from retrieval_store.qdrant.filter_parser import merge_filters, parse_filter
from tests.helpers import PATIENCE, inside
from tests.helpers.tuned import tuned

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


def test_a_formula_without_end_is_refused(filled, monkeypatch):
    tuned(monkeypatch, parts_of_a_formula=1_000)
    formula = "$score"
    for _ in range(199):
        formula = {"neg": formula}
    prefetch = models.Prefetch(query=[1.0] * DIMENSION)
    query = models.FormulaQuery.model_validate({"formula": formula})
    assert filled.query_points("x", query=query, prefetch=prefetch, limit=1).points
    wide = models.FormulaQuery(formula=models.SumExpression(sum=["$score"] * 999))
    assert filled.query_points("x", query=wide, prefetch=prefetch, limit=1).points
    wide = models.FormulaQuery(formula=models.SumExpression(sum=["$score"] * 1_000))
    with pytest.raises(Refused, match="more than 200 levels or 1000 parts"):
        filled.query_points("x", query=wide, prefetch=prefetch)
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


def test_sixteen_threads_query_while_one_writes(filled):
    """Each result is of one state: all points of a batch have one version."""
    stop, wrong, request = threading.Event(), [], [0] * 16

    def ask(number):
        while not stop.is_set() or not request[number]:
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
            request[number] += 1

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for version in range(1, 12):
        filled.set_payload("x", {"v": version}, points=models.Filter())
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong and all(request)


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


@contextmanager
def within(memory):
    with Budget(PATIENCE, memory, RequestMemory(memory)):
        yield


def test_filters_merged_for_prefetches_are_counted_and_share_their_terms(filled):
    one = models.FieldCondition(key="v", match=models.MatchValue(value=0))
    ids = models.HasIdCondition(has_id=[*range(10_000)])
    query = models.FusionQuery(fusion=models.Fusion.RRF)

    def ask(above, own):
        prefetch = [models.Prefetch(query=[1.0] * DIMENSION, filter=own, limit=1)] * 20
        with within(2_000_000):
            return filled.query_points("x", query=query, prefetch=prefetch, query_filter=above)

    many = models.Filter(must=[one] * 1_000)
    assert len(ask(many, None).points) == len(ask(many, models.Filter(must=[])).points) == 1
    with pytest.raises(Refused, match="1,001 conditions of filters, of which a request may have"):
        ask(many, models.Filter(must=[one]))
    assert len(ask(models.Filter(must=[ids]), models.Filter(must=[one])).points) == 1
    known = {}
    first, second = (
        parse_filter(
            merge_filters(
                models.Filter(must=[ids], must_not=[ids]),
                models.Filter(must=[models.HasVectorCondition(has_vector=name)]),
            ),
            {},
            known,
        )
        for name in "ab"
    )
    assert first != second and first.terms[0] is second.terms[0]
    assert first.terms[2] == Not(first.terms[0])


@pytest.mark.parametrize("empty", [models.Filter(), models.Filter(must=[], should=[])])
def test_a_filter_without_conditions_changes_no_other(empty):
    other = models.Filter(should=[models.HasIdCondition(has_id=[1])])
    assert merge_filters(other, empty) is other and merge_filters(empty, other) is other
    none_of_these = models.Filter(min_should=models.MinShould(conditions=[], min_count=1))
    assert merge_filters(other, none_of_these).min_should
    assert merge_filters(none_of_these, other).min_should


def test_values_of_a_facet_are_counted_before_they_are_created(filled):
    filled.create_payload_index("x", "n", models.PayloadSchemaType.INTEGER)
    with within(100_000):
        assert len(filled.facet("x", "n", limit=50).hits) == 50
        with pytest.raises(Refused, match="200 values, of which a request may have some"):
            filled.facet("x", "n", limit=1_000_000)


KEYS = [f"key{i}" for i in range(20_000)]


@pytest.mark.parametrize(
    "selector",
    [
        models.PayloadSelectorExclude(exclude=KEYS),
        models.PayloadSelectorInclude(include=[*KEYS, "n.x"]),
    ],
)
def test_very_many_keys_of_payloads_take_no_longer_than_their_number(filled, selector):
    """Each point would take a second if its keys were searched in all of the paths."""
    filled.overwrite_payload("x", {f"n{i}": i for i in range(500)}, points=models.Filter())
    found, _ = filled.scroll("x", limit=200, with_payload=selector)
    assert len(found) == 200


def test_very_many_keys_are_deleted_at_once(filled):
    """It would take minutes if each deletion copied the object."""
    filled.overwrite_payload("x", {**dict.fromkeys(KEYS, 1), "n": [{"y": 2}]}, points=[1])
    filled.delete_payload("x", [*KEYS, "n[].y"], points=[1])
    assert filled.retrieve("x", [1])[0].payload == {"n": [{}]}


class Asked(Budget):
    """Counts how often it was asked whether to continue."""

    times = 0

    def check(self):
        self.times += 1


def test_cancellation_is_checked_for_each_payload():
    with QdrantClient(location=":memory:") as client:
        client.create_collection("x", {})
        client.upsert("x", [models.PointStruct(id=i, vector={}) for i in range(300)])
        query = Asked(PATIENCE, 1 << 30, RequestMemory(1 << 30))
        with query:
            client.scroll("x", limit=300, with_payload=["n"])
    assert query.times >= 300


def test_an_average_of_sparse_vectors_beyond_float32_is_refused(tmp_path):
    with QdrantClient(path=tmp_path / "sparse") as client:
        client.create_collection("x", {}, sparse_vectors_config={"s": models.SparseVectorParams()})
        large = [
            models.SparseVector(indices=[1], values=[sign * value])
            for sign, value in ((1, 1e38), (1, 3e38), (-1, 3e38))
        ]
        client.upsert("x", [models.PointStruct(id=1, vector={"s": large[0]})])

        def ask(positive):
            recommend = models.RecommendInput(positive=[positive], negative=[large[2]])
            query = models.RecommendQuery(recommend=recommend)
            return client.query_points("x", query=query, using="s")

        with pytest.raises(Refused, match="float32"):
            ask(large[1])
        small = models.SparseVector(indices=[1], values=[0.5])
        assert [hit.id for hit in ask(small).points] == [1]
