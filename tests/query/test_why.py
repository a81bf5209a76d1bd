"""`Collection.why` compared with the simplest computation of ranks, distances and reasons."""

import random
import re
from dataclasses import replace

import numpy as np
import pytest

from retrieval_store import Hybrid
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.filters.expression import And, Range
from retrieval_store.filters.nodes import HasId
from retrieval_store.query.query import ExplainRequest, NearestDense, Query, QueryStep
from retrieval_store.query.types import Fields
from tests.helpers import inside
from tests.helpers.oracle import (
    bm25,
    brute_force,
    document_matches,
    matches,
    oracle_rrf,
    value_of,
    words_weight,
)

WORDS = ["river", "bank", "loan", "boat", "tax", "rain", "error_42", "tree"]


def _random_collection(client, rng, metric):
    """Records with coordinates that are small integers, so that equal distances are exactly equal."""
    count = rng.randint(1, 40)
    ids = [f"r{i}" for i in range(count)]
    vectors = np.array([[rng.randint(-3, 3) for _ in range(3)] for _ in ids], np.float32)
    vectors[~vectors.any(axis=1)] = 1
    documents = [" ".join(rng.choices(WORDS, k=rng.randint(1, 6))) for _ in ids]
    metadatas = [
        {
            key: value
            for key, value in {
                "year": rng.randint(2000, 2005),
                "kind": rng.choice(["a", "b"]),
                "tags": rng.sample(["x", "y", "z"], 2),
            }.items()
            if rng.random() < 0.8
        }
        or None
        for _ in ids
    ]
    settings = {"hnsw": {"space": metric}}
    collection = client.create_collection(
        f"why-{rng.randrange(10**9)}", embedding_function=None, configuration=settings
    )
    collection.add(ids, vectors, metadatas, documents)
    return collection, ids, vectors, metadatas, documents


def _random_where(rng, depth=0):
    leaves = [
        {"year": {"$gte": rng.randint(2000, 2005)}},
        {"year": {"$gte": 2001, "$lt": 2004}},
        {"kind": rng.choice(["a", "b"])},
        {"kind": {"$ne": "a"}},
        {"tags": {"$contains": "x"}},
        {"tags": {"$exists": False}},
        {"year": {"$in": [2000, 2002, 2004]}, "kind": "a"},
    ]
    if depth > 2 or rng.random() < 0.5:
        return rng.choice(leaves)
    terms = [_random_where(rng, depth + 1) for _ in range(rng.randint(1, 3))]
    return rng.choice([{"$and": terms}, {"$or": terms}, {"$nor": terms}, {"$not": terms[0]}])


def _places(keys, allowed):
    """The place of each matching record, from 1, by ascending keys, ties in order. For another
    record, the place that it would have. None for a key of None."""
    order = sorted((i for i in allowed if keys[i] is not None), key=lambda i: (keys[i], i))
    return [
        None if key is None else 1 + sum((keys[j], j) < (key, i) for j in order if j != i)
        for i, key in enumerate(keys)
    ]


def _fused(dense, text, similarity, scores, allowed, alpha, fusion):
    """The ids in the order after fusion of whole rankings."""
    first = sorted((i for i in allowed), key=lambda i: dense[i])
    second = sorted((i for i in allowed if text[i] is not None), key=lambda i: text[i])
    if fusion == "rrf":
        return [i for i, _ in oracle_rrf([first, second], [alpha, 1 - alpha])]
    totals, ranks = {}, dict(oracle_rrf([first, second], [alpha, 1 - alpha]))
    for ranking, of, weight in ((first, similarity, alpha), (second, scores, 1 - alpha)):
        values = [of[i] for i in ranking]
        span = max(values, default=0) - min(values, default=0)
        for i in ranking:
            scaled = (of[i] - min(values)) / span if span else 1
            totals[i] = totals.get(i, 0) + weight * scaled
    if fusion == "weighted":
        return sorted(totals, key=lambda i: (-totals[i], i))
    return sorted(totals, key=lambda i: (-round(totals[i], 9), -ranks[i], i))


@pytest.mark.parametrize("seed", range(10))
def test_ranks_distances_and_reasons_are_those_computed_plainly(client, seed):
    rng = random.Random(seed)
    metric = rng.choice(["l2", "ip"])
    collection, ids, vectors, metadatas, documents = _random_collection(client, rng, metric)
    for _ in range(4):
        where = rng.choice([None, _random_where(rng)])
        where_document = rng.choice([None, None, {"$contains": rng.choice(WORDS)}])
        vector = np.array([rng.randint(-3, 3) for _ in range(3)], np.float32) + 0.5
        text = " ".join(rng.choices(WORDS, k=2))
        mode = rng.choice(["dense", "text", "hybrid"])
        fusion = rng.choice(["rrf", "weighted", "adaptive"]) if mode == "hybrid" else None
        query = {"where": where, "where_document": where_document, "mode": mode, "n_results": 3}
        if mode != "text":
            query["query_embeddings"] = vector[None]
        if mode != "dense":
            query["query_texts"] = text
        if fusion:
            query["mode"] = Hybrid(fusion)
        allowed = [
            i
            for i in range(len(ids))
            if (where is None or matches(metadatas[i], where))
            and (where_document is None or document_matches(documents[i], where_document))
        ]
        reasons = collection.why(records=ids, **query)
        found = collection.query(**query)["ids"][0]
        assert [one.id for one in reasons] == ids
        assert [one.found for one in reasons] == [one in found for one in ids]
        assert [one.place for one in reasons if one.found] == [
            found.index(one) + 1 for one in ids if one in found
        ]

        distances = brute_force(vector, vectors, metric)
        scores = bm25(documents, text, identifiers=4 if fusion == "adaptive" else 1)
        by_vector = _places(distances.tolist(), allowed)
        by_words = _places([-s if s > 0 else None for s in np.round(scores, 12)], allowed)
        if mode != "text":
            assert [one.legs["dense"].rank for one in reasons] == by_vector
            reports = [one.legs["dense"].distance for one in reasons]
            assert np.allclose(reports, distances, rtol=1e-5, atol=1e-5)
        on_cluster = inside.backend(collection).on_cluster
        if mode != "dense" and not on_cluster:  # whose scores are those of another average length
            assert [one.legs["text"].rank for one in reasons] == by_words
            reports = [one.legs["text"].score or 0 for one in reasons]
            assert np.allclose(reports, scores, rtol=1e-5, atol=1e-6)
            for one, document in zip(reasons, documents, strict=True):
                own = set(document.split())
                assert {*one.shared_words} == own & {*text.split()}
                assert {*one.missing_words} == {*text.split()} - own
                assert sum(one.shared_words.values()) == pytest.approx(one.legs["text"].score or 0)
        if mode == "dense":
            order = sorted(allowed, key=lambda i: by_vector[i])
        elif mode == "text":
            order = sorted((i for i in allowed if by_words[i]), key=lambda i: by_words[i])
        else:
            alpha = 0.5
            if fusion == "adaptive":
                best = sorted((i for i in allowed if by_words[i]), key=lambda i: by_words[i])
                weight = words_weight(documents, text, best[:100]) * 0.5
                alpha = 0.5 / (0.5 + weight)
            similarity = [1 - d if metric == "ip" else -d for d in distances]
            order = _fused(by_vector, by_words, similarity, scores, allowed, alpha, fusion)
        if mode == "dense" or not on_cluster:
            ranks = {ids[i]: place for place, i in enumerate(order, start=1)}
            assert {one.id: one.rank for one in reasons if one.rank} == ranks
            for one in reasons:
                if one.rank:
                    assert one.ahead == [ids[i] for i in order[: one.rank - 1]]

        for one, metadata, document in zip(reasons, metadatas, documents, strict=True):
            assert bool(one.excluded_by) == (ids.index(one.id) not in allowed)
            assert not (one.excluded_by and one.rank)
            for reports in one.excluded_by:
                if reports.argument == "where":
                    assert not matches(metadata, reports.condition)
                    (leaf,) = _leaves(reports.condition)
                    assert reports.met == value_of(metadata or {}, leaf)
                else:
                    assert not document_matches(document, reports.condition)
                    assert reports.met == document


def _leaves(condition):
    """The keys of a condition's simple parts."""
    if "$not" in condition:
        return _leaves(condition["$not"])
    (operand,) = condition.values()
    assert not isinstance(operand, dict) or len(operand) == 1
    return list(condition)


def test_all_failing_parts_of_a_conjunction_are_named_and_no_other(populated):
    (reason,) = populated.why(
        query_embeddings=[[0, 0]],
        where={"n": {"$gt": 1, "$lt": 9}, "even": False, "$nor": [{"n": 2}, {"n": 7}]},
        where_document={"$contains": "document", "$regex": "[345]"},
        records="p2",
    )
    assert [(one.argument, one.condition, one.met) for one in reason.excluded_by] == [
        ("where", {"even": False}, True),
        ("where", {"$not": {"n": 2}}, 2),
        ("where_document", {"$regex": "[345]"}, "document 2"),
    ]
    assert reason.rank is None and reason.legs["dense"].distance == 4
    assert "where {'even': False} leaves it out: it has True" in reason.advice
    where = And((Range(("n",), gt=1), Range(("n",), lt=2)))
    (reason,) = populated.why(query_embeddings=[[0, 0]], where=where, records="p2")
    assert [one.condition for one in reason.excluded_by] == [repr(where.terms[1])]


def test_advice_names_the_necessary_changes(populated):
    vector = [[0.0, 0.0]]

    def advice(record, **query):
        (reason,) = populated.why(query_embeddings=vector, records=record, **query)
        found = populated.query(query_embeddings=vector, **query)["ids"][0]
        assert reason.found == (record in found)
        return " ".join(reason.advice)

    assert advice("p0") == ""
    assert "n_results=4 would show it" in advice("p3", n_results=2)
    assert "max_distance=4 leaves it out: its distance is 9" in advice("p3", max_distance=4)
    assert "offset=2 skips it: its rank is 1" in advice("p0", offset=2)
    assert "ids leaves it out: it isn't one of these ids" in advice("p3", ids=["p1", "p2"])
    grouped = advice("p2", group_by="even", n_results=2)
    assert "shows the best 1 of each value" in grouped and "'p0'" in grouped
    assert "which it lacks" in advice("p1", group_by="absent")
    assert "n_results" in advice("p1", group_by="even", n_results=1)
    several = advice("p3", where={"n": {"$lt": 3}}, max_distance=4, n_results=1)
    assert "{'n': {'$lt': 3}} leaves it out: it has 3" in several and "max_distance=4" in several
    assert "place 4 by dense, and 1 are asked for" in several
    both = advice("p3", max_distance=4, n_results=1)
    assert "max_distance=4" in both and "n_results=4 would show it" in both
    three = ["p0", "p1", "p3"]
    reasons = populated.why(
        query_embeddings=vector, where={"n": {"$ne": 0}}, max_distance=0.5, records=three
    )
    assert ["max_distance" in " ".join(one.advice) for one in reasons] == [False, True, True]
    (reason,) = populated.why(like="p1", records="p1")
    assert [(one.argument, one.condition) for one in reason.excluded_by] == [("like", ["p1"])]


@pytest.mark.embedded
@pytest.mark.parametrize("seed", range(4))
def test_advice_is_true(client, seed):
    """A change that is said to make a record a hit really does."""
    rng = random.Random(seed)
    collection, ids, _, _, _ = _random_collection(client, rng, "ip")
    changes = [
        (r"n_results=(\d+) would show it", "n_results", int),
        (r"its distance is (\S+)$", "max_distance", float),
        (r"mode='(text)' would show it", "mode", str),
    ]
    followed = 0
    for _ in range(12):
        query = {
            "query_texts": " ".join(rng.choices(WORDS, k=3)),
            "query_embeddings": [[rng.random() for _ in range(3)]],
            "mode": "hybrid",
        }
        if rng.random() < 0.5:
            query |= {"mode": "dense", "max_distance": rng.choice([None, 0.5, -1.0])}
            query.pop("query_texts")
        elif rng.random() < 0.5:
            query |= {"mode": Hybrid(rng.choice(["rrf", "weighted"]))}
        query |= {"n_results": rng.randint(1, 4), "offset": rng.choice([0, 0, 2])}
        for reason in collection.why(records=ids, **query):
            changed = {}
            for message in reason.advice:
                for pattern, name, kind in changes:
                    if found := re.search(pattern, message):
                        changed[name] = kind(found[1])
            if changed and "offset" not in " ".join(reason.advice):
                assert reason.id in collection.query(**{**query, **changed})["ids"][0]
                followed += 1
    assert followed


def test_white_space_does_not_count_where_no_document_has_a_text_as_it_is(client):
    collection = client.create_collection("lines", embedding_function=None)
    collection.add(["a", "b"], [[1], [2]], documents=["one\n  two (three)", "two one three"])
    (reason,) = collection.why(query_embeddings=[[1]], containing="one two (three)")
    assert reason.id == "a"


def test_words_are_reported_for_a_mode_that_does_not_use_them(client):
    collection = client.create_collection("passages")
    collection.add(
        ids=["returns", "shop", "parts"],
        documents=[
            "You may send goods back within a month",
            "We are open on weekdays",
            "Part number ZX-81 is sold out",
        ],
    )
    (reason,) = collection.why(query_texts="ZX", n_results=1, records="parts", where={"a": 1})
    assert reason.legs["text"].rank == 1 and reason.legs["text"].asked is None
    assert [*reason.shared_words] == ["ZX"] and reason.missing_words == []
    (far,) = collection.why(query_texts="refund", max_distance=0.1, records="shop")
    assert far.advice[0].startswith("max_distance=0.1 leaves it out: its distance is")
    (lacking,) = collection.why(query_texts="refund", mode="text", records="returns")
    assert lacking.rank is None and lacking.missing_words == ["refund"]
    assert "no word of the query" in lacking.advice[0]


def test_records_are_named_by_what_they_contain(populated):
    reasons = populated.why(query_embeddings=[[0, 0]], n_results=2, containing="ment 3")
    assert [(one.id, one.rank, one.found) for one in reasons] == [("p3", 4, False)]
    assert "p3: not found, at rank 4" in str(reasons)
    nothing = populated.why(query_embeddings=[[0, 0]], containing="no such text")
    assert list(nothing) == [] and "'no such text'" in str(nothing)
    (absent,) = populated.why(query_embeddings=[[0, 0]], records="p9")
    assert not absent.exists and "there is no such record" in str(absent)


def test_ids_name_the_records_unless_records_does(populated):
    question = {"query_embeddings": [[0, 0]], "n_results": 2}
    assert populated.why(**question, ids=["p3"]) == populated.why(**question, records=["p3"])
    (reason,) = populated.why(**question, ids="p3")
    assert (reason.id, reason.rank) == ("p3", 4)
    (reason,) = populated.why(**question, ids=["p3", "p4"], records="p3")
    assert reason.rank == 1
    with pytest.raises(InvalidArgumentError, match="ids has 0 ids"):
        populated.why(**question, ids=[])


def test_hits_of_the_same_document_are_reported(populated):
    (reason,) = populated.why(query_embeddings=[[0, 0]], n_results=2, records="p4", same="even")
    assert reason.same == ["p0"]


def test_a_notebook_shows_a_table_with_what_is_stored_escaped(client):
    collection = client.create_collection("hostile", embedding_function=None)
    collection.add(
        ids=["<script>"], embeddings=[[1, 0]], documents=["<b>x"], metadatas=[{"a": "<i>"}]
    )
    reasons = collection.why(query_embeddings=[[1, 0]], where={"a": 1}, records="<script>")
    page = reasons._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page and "<i>" not in page


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "either ids or containing"),
        ({"records": "p0", "containing": "p"}, "either ids or containing"),
        ({"containing": ""}, "containing is ''"),
        ({"containing": "\ud800"}, "a lone surrogate"),
        ({"records": []}, "ids has 0 ids"),
        ({"records": "p0", "query_embeddings": [[0, 0], [1, 1]]}, "one query, got 2"),
        ({"records": "p0", "same": ""}, "same is ''"),
        ({"records": "p0", "n_results": 0}, "n_results is 0"),
        ({"ids": 5}, "ids is 5"),
    ],
)
def test_impossible_questions_are_refused(populated, given, message):
    with pytest.raises((InvalidArgumentError, TypeError), match=message):
        populated.why(**{"query_embeddings": [[0, 0]], **given})


def test_a_record_beyond_the_candidates_of_each_ranking_is_explained(populated):
    query = {"query_embeddings": [[0, 0]], "query_texts": "document"}
    (reason,) = populated.why(**query, mode=Hybrid("rrf", depth=(1, 1)), records="p1")
    assert not reason.found and reason.rank == 2
    assert "by dense it is at place 2, and 1 are asked for" in reason.advice[0]
    assert "larger depth" in reason.advice[0]


@pytest.mark.others
@pytest.mark.elsewhere
def test_a_server_limits_expensive_requests(served):
    collection = served.create_collection("bounded", embedding_function=None)
    collection.add(["a", "b"], [[1, 0], [0, 1]])
    points = inside.points(collection)
    near = NearestDense("", np.ones((1, 2), np.float32))
    question = Query((QueryStep(near, 2),), Fields())
    query = ExplainRequest(question, HasId(("a",)), 1)
    assert points.why(query).found == ["a", "b"]
    several = QueryStep(NearestDense("", np.ones((3, 2), np.float32)), 2)
    for change in (
        {"limit": 2**62},
        {"limit": 0},
        {"ahead": 2**62},
        {"conditions": (HasId(("a",)),) * 1_000},
        {"beside": (QueryStep(near, 2),) * 50},
        {"beside": (several,)},
        {"question": Query((several,), Fields())},
        {"question": Query((QueryStep(near, 2),) * 2, Fields())},
    ):
        with pytest.raises(InvalidArgumentError):
            points.why(replace(query, **change))
