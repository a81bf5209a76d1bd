"""The cost of a request is estimated before it runs; the responses stay the same."""

import tracemalloc

import numpy as np
import pytest
from qdrant_client import models

from retrieval_store.base.budget import Budget, RequestMemory
from retrieval_store.engine.filtering.segments import build_tokens
from retrieval_store.filters.columns import TokensAt
from retrieval_store.filters.paths import JsonPath
from retrieval_store.qdrant.refusals import Refused
from retrieval_store.qdrant.tokenizers import tokens_of
from tests.helpers.tuned import tuned

PATIENCE, MEGABYTE = 60.0, 1_000_000
WORDS = models.TextIndexParams(type="text", phrase_matching=True)


def budget(memory=1 << 40, steps=100_000_000):
    return Budget(PATIENCE, memory, RequestMemory(1 << 40), None, steps)


@pytest.fixture
def engine(embedded):
    return embedded


def filled(engine, payloads, dimension=2):
    engine.create_collection(
        "things", models.VectorParams(size=dimension, distance=models.Distance.DOT)
    )
    vectors = np.random.default_rng(0).standard_normal((len(payloads), dimension)).tolist()
    engine.upsert(
        "things",
        [
            models.PointStruct(id=i, vector=vector, payload=payload)
            for i, (vector, payload) in enumerate(zip(vectors, payloads, strict=True))
        ],
    )
    return engine


def phrase(text):
    return models.Filter(
        must=[models.FieldCondition(key="t", match=models.MatchPhrase(phrase=text))]
    )


def test_long_payloads_count(engine):
    filled(engine, [{"text": "a" * 20_000}] * 200)
    with budget(MEGABYTE):
        assert len(engine.scroll("things", limit=200, with_payload=False)[0]) == 200
    with budget(MEGABYTE), pytest.raises(Refused, match="bytes of points"):
        engine.scroll("things", limit=200, with_payload=True)
    with budget(20 * MEGABYTE):
        assert len(engine.scroll("things", limit=200, with_payload=True)[0]) == 200


def test_the_vectors_of_a_matrix_count(engine):
    filled(engine, [{}] * 300, dimension=1_000)
    with budget(MEGABYTE), pytest.raises(Refused, match="vectors"):
        engine.search_matrix_pairs("things", sample=300, limit=1)
    with budget(20 * MEGABYTE):
        assert len(engine.search_matrix_pairs("things", sample=300, limit=1).pairs) == 300


def test_the_values_of_a_formula_count(engine):
    filled(engine, [{f"n{i}": i for i in range(20)}] * 5_000)
    numbers = models.SumExpression(sum=[f"n{i}" for i in range(20)])
    request = models.FormulaQuery(formula=numbers, defaults={})
    found = {"prefetch": models.Prefetch(query=[1.0, 1.0], limit=5_000), "limit": 1}
    with budget(600_000), pytest.raises(Refused, match="values of keys"):
        engine.query_points("things", query=request, **found)
    with budget(2 * MEGABYTE):
        assert engine.query_points("things", query=request, **found).points[0].score == 190


def most_held(call):
    """The result of a call, and the most memory that it used."""
    tracemalloc.start()
    try:
        return call(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_few_tokens_of_texts_are_in_memory_at_once(monkeypatch):
    rng, rows = np.random.default_rng(0), np.arange(1_000)
    words = [f"word{i}" for i in range(50)]
    texts = [" ".join(rng.choice(words, 200).tolist()) for _ in rows]
    column = TokensAt(JsonPath(("t",)), tokens_of(WORDS), False)
    segment, most = most_held(lambda: build_tokens(column, rows, rows, texts))
    assert len(segment.codes) == 200_000
    assert most < 10 * MEGABYTE  # with a string for each 20
    tuned(monkeypatch, places_at_once=2_000)
    found, most = most_held(lambda: segment.with_phrase(["word1", "word2"]))
    assert found.texts.tolist() == [
        i for i, text in enumerate(texts) if "word1 word2 " in f"{text} "
    ]
    assert most < 2 * MEGABYTE  # with all places at once 5


@pytest.mark.parametrize("share", [1, 5])
def test_phrases_are_found_at_any_position(engine, share, monkeypatch):
    tuned(monkeypatch, places_at_once=20)
    rng = np.random.default_rng(1)
    texts = [
        " ".join(rng.choice(["a1", "b1", "c1", "d1"], size).tolist())
        for size in rng.integers(0, 9, 300).tolist()
    ]
    filled(engine, [{"t": text} if i % share == 0 else {} for i, text in enumerate(texts)])
    engine.create_payload_index("things", "t", WORDS)
    for query in ("a1", "a1 a1", "b1 a1", "a1 b1 a1", "c1 c1 d1 c1", "none", "a1 none", "a1 " * 9):
        expected = [
            i
            for i, text in enumerate(texts)
            if i % share == 0 and f" {query.strip()} " in f" {text} "
        ]
        records, _ = engine.scroll("things", phrase(query), limit=1_000)
        assert [record.id for record in records] == expected, query


def test_pages_by_a_number_are_those_of_all_points(engine, monkeypatch):
    tuned(monkeypatch, pairs_at_once=4)
    rng = np.random.default_rng(2)
    numbers = [rng.integers(0, 12, size).tolist() for size in rng.integers(0, 4, 200).tolist()]
    filled(engine, [{"n": some, "odd": i % 2} for i, some in enumerate(numbers)])
    engine.create_payload_index("things", "n", models.PayloadSchemaType.INTEGER)
    engine.set_payload("things", {"n": 3}, [5, 6, 7])
    for i in (5, 6, 7):
        numbers[i] = [3]
    odd = models.FieldCondition(key="odd", match=models.MatchValue(value=1))
    for descending in (False, True):
        for start in (None, 4, 40, -1):
            for limit in (1, 3, 50, 1_000, 2**30, 2**64 - 1):
                order = models.OrderBy(
                    key="n",
                    direction=models.Direction.DESC if descending else models.Direction.ASC,
                    start_from=start,
                )
                records, _ = engine.scroll(
                    "things", models.Filter(must=[odd]), limit=limit, order_by=order
                )
                pairs = [
                    (number, i)
                    for i, some in enumerate(numbers)
                    for number in sorted(set(some))
                    if i % 2
                    and (start is None or (number <= start if descending else number >= start))
                ]
                expected = sorted(pairs, reverse=descending)[:limit]
                assert [(record.order_value, record.id) for record in records] == expected


def test_sparse_products_beyond_float32_hide_no_hit(engine):
    sparse = models.SparseVector
    engine.create_collection("things", sparse_vectors_config={"s": models.SparseVectorParams()})
    stored = [([1, 2], [3e38, 3e38]), ([1], [1.0]), ([2], [1.0]), ([1, 2], [2.0, 1.0])]
    engine.upsert(
        "things",
        [
            models.PointStruct(id=i, vector={"s": sparse(indices=indices, values=values)})
            for i, (indices, values) in enumerate(stored)
        ],
    )
    request = sparse(indices=[1, 2], values=[2.0, -2.0])
    hits = engine.query_points("things", query=request, using="s", limit=2).points
    assert [(hit.id, hit.score) for hit in hits] == [(1, 2.0), (3, 2.0)]
