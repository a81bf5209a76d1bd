"""Both parsers read bodies with points alike, and without changing them."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from qdrant_client import models

from integrations.server.tests.http.asked import Asking
from retrieval_store.qdrant import Refused
from retrieval_store_server import app
from retrieval_store_server.http import bodies as points
from tests.helpers.tuned import tuned

numbers = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**70), 2**70))
odd = st.one_of(st.booleans(), st.none(), st.text(max_size=3), st.just([1]), st.just({}))
dense = st.lists(numbers, max_size=4)
vectors = st.one_of(
    dense,
    st.lists(st.one_of(numbers, odd), max_size=4),
    st.lists(dense, max_size=3),
    st.dictionaries(st.sampled_from(["", "a", "b"]), st.one_of(dense, st.lists(dense), odd)),
    st.just({"s": {"indices": [1, 5], "values": [0.5, 2]}}),
    st.just({"text": "words", "model": "qdrant/bm25"}),
    odd,
)
values = st.recursive(
    st.one_of(numbers, odd), lambda inner: st.lists(inner, max_size=3), max_leaves=6
)
ids = st.one_of(
    st.integers(-2, 2**65),
    st.uuids().map(str),
    st.sampled_from(["cat", "1", 1.0, 1.5, True, None, []]),
)
one = st.fixed_dictionaries(
    {"id": ids, "vector": vectors},
    optional={
        "payload": st.one_of(st.none(), st.dictionaries(st.text(max_size=3), values), odd),
        "more": odd,
    },
)
bodies = st.one_of(
    st.fixed_dictionaries(
        {"points": st.one_of(st.lists(st.one_of(one, odd), max_size=4), odd)},
        optional={"update_mode": st.sampled_from(["insert_only", "x"]), "shard_key": odd},
    ),
    st.fixed_dictionaries(
        {
            "batch": st.fixed_dictionaries(
                {"ids": st.lists(ids, max_size=3), "vectors": st.lists(dense, max_size=3)},
                optional={"payloads": st.lists(st.one_of(st.none(), st.just({"a": 1})))},
            )
        }
    ),
    odd,
)


def read(sent, parser):
    """The parsed body; the status where it is refused."""
    with pytest.MonkeyPatch.context() as patch:
        tuned(patch, json_parser=parser, large_body=0)
        try:
            return plain(points.points_to_write(sent, []))
        except Refused as refused:
            return refused.status_code


def plain(value, is_vector=False):
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if hasattr(value, "model_dump"):
        return {n: plain(one, is_vector or n == "vectors") for n, one in vars(value).items()}
    if isinstance(value, dict):
        return {name: plain(one, is_vector) for name, one in value.items()}
    if isinstance(value, list):
        return [plain(one, is_vector) for one in value]
    if is_vector and type(value) in (int, float):
        with np.errstate(over="ignore"):
            return repr(np.float32(value))
    return repr(value)


@given(bodies)
@settings(max_examples=25, deadline=None)
@example({"points": [{"id": 1, "vector": [1, [2]]}]})
@example({"points": [{"id": 1, "vector": [[1], [2]], "payload": {"a": [1, [2]]}}]})
@example({"points": [{"id": 1, "vector": [1, True]}]})
@example({"points": [{"id": 1, "vector": {"a": [1, 2], "b": [[1, 2]]}}]})
@example({"points": [{"id": 1, "vector": [True, 2]}]})
@example({"points": [{"id": 1, "vector": {"a": [True, False]}}]})
@example({"points": [{"id": 1, "vector": {}}, {"id": 2, "vector": [1, [2]]}]})
@example({"points": [{"id": 1, "vector": {}}, {"id": 2, "vector": {"a": [1], "b": [2]}}]})
def test_both_parsers_read_the_same(body):
    simdjson = pytest.importorskip("simdjson")
    sent = json.dumps(body).encode()
    assert read(sent, simdjson) == read(sent, None)


@given(st.binary(max_size=30), st.integers(0, 200))
@settings(max_examples=25, deadline=None)
def test_both_refuse_the_same_broken_bodies(noise, at):
    simdjson = pytest.importorskip("simdjson")
    whole = json.dumps({"points": [{"id": i, "vector": [1.5, i]} for i in range(6)]}).encode()
    sent = whole[:at] + noise + whole[at + len(noise) :]
    assert read(sent, simdjson) == read(sent, None)


@pytest.mark.parametrize(
    ("payload", "status"),
    [("[" * 200 + "]" * 200, 400), (f"[{','.join(['[]'] * 2_000_001)}]", 413)],
    ids=["deep", "many"],
)
def test_both_parsers_refuse_what_is_deep_or_of_many_lists(payload, status):
    simdjson = pytest.importorskip("simdjson")
    sent = f'{{"points":[{{"id":1,"vector":[1.5],"payload":{{"a":{payload}}}}}]}}'.encode()
    assert read(sent, simdjson) == read(sent, None) == status


@given(st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3), min_size=1, max_size=5))  # fmt: skip
@settings(max_examples=10, deadline=None)
def test_numbers_arrive_as_they_were_sent(rows):
    simdjson = pytest.importorskip("simdjson")
    body = {"points": [{"id": i, "vector": row} for i, row in enumerate(rows)]}
    for parser in (simdjson, None):
        with pytest.MonkeyPatch.context() as patch:
            tuned(patch, json_parser=parser)
            found = points.points_to_write(json.dumps(body).encode(), [])
        assert isinstance(found.points, models.Batch)
        assert [vector.tolist() for vector in found.points.vectors] == rows


def test_older_requests_do_without_examples_that_have_no_vector():
    with contextlib.closing(Asking(app(":memory:"))) as ask:
        names = {name: {"size": 2, "distance": "Dot"} for name in ("a", "b")}
        ask("PUT", "/collections/c", {"vectors": names})
        stored = [{"id": 1, "vector": {"b": [1, 1]}}, {"id": 2, "vector": {"a": [1, 0]}}]
        stored.append({"id": 3, "vector": {"a": [2, 0]}})
        ask("PUT", "/collections/c/points?wait=true", {"points": stored})

        def found(path, **body):
            answer = ask(
                "POST", f"/collections/c/points/{path}", {"limit": 9, "using": "a", **body}
            )
            return (
                [one["id"] for one in answer.json["result"]]
                if answer.status == 200
                else answer.status
            )

        assert found("recommend", positive=[1, 2]) == found("recommend", positive=[2]) == [3]
        assert found("recommend", positive=[2], negative=[1]) == [3]
        assert found("recommend", positive=[1]) == 400
        assert found("recommend", positive=[1, 9]) == 404
        assert found("discover", target=1) == []
        assert found("discover", target=2, context=[{"positive": 1, "negative": 3}]) == [3]
        searches = [{"limit": 9, "using": name, "positive": [1, 2]} for name in "ab"]
        answer = ask("POST", "/collections/c/points/recommend/batch", {"searches": searches})
        assert [[one["id"] for one in each] for each in answer.json["result"]] == [[3], []]
        assert found("query", query={"recommend": {"positive": [1]}}) == 404
