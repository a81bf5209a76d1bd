"""Requests whose fields are missing, null, empty or at their limits, as programs in other languages
send them, and the messages that refuse them."""

import pytest

from integrations.server.tests.http.asked import Asking
from retrieval_store_server import app

POINTS = "/collections/c/points"
M = {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    ask = Asking(app(tmp_path_factory.mktemp("store") / "store", durability="relaxed"))
    vectors = {"a": {"size": 2, "distance": "Dot"}, "m": M}
    ask("PUT", "/collections/c", {"vectors": vectors, "sparse_vectors": {"s": {}}})
    points = [{"id": i, "vector": {"a": [i, 0]}, "payload": {"n": i}} for i in (1, 2, 3)]
    points.append({"id": 4, "vector": {"m": [[1, 0]]}, "payload": {"n": 4}})
    assert ask("PUT", f"{POINTS}?wait=true", {"points": points}).status == 200
    yield ask
    ask.close()


def refused(ask, path, body):
    """The status and the message of a refusal."""
    answer = ask("POST", f"{POINTS}{path}", body)
    return answer.status, answer.json["status"]["error"]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "text", "tokenizer": None}, "at field_schema.tokenizer: expected 'prefix'"),
        ({"type": "integer", "lookup": 1}, "at field_schema.lookup: expected a valid boolean"),
        ({"type": "uuid", "is_tenant": "yes"}, "at field_schema.is_tenant: expected a valid bo"),
        ({"type": "nothing"}, "at field_schema: expected 'keyword', 'integer', 'float', 'geo'"),
    ],
)
def test_errors_about_an_index_concern_its_own_type(ask, schema, words):
    answer = ask("PUT", "/collections/c/index", {"field_name": "n", "field_schema": schema})
    assert answer.status == 400
    assert words in answer.json["status"]["error"]


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/count", {"shard_key": {"target": "a", "fallback": "b"}}, '{"target": "a", "fallback":'),
        ("/count", {"shard_key": ["a", 5]}, 'there is no shard key ["a", 5]'),
        ("/query", {"query": [1, 1], "using": "s"}, "[1.0, 1.0], expected indices and values"),
        ("/scroll", {"limit": 0}, "limit is 0, expected 1"),
        ("", {"ids": [{}]}, "at ids.0: {} is not a valid point ID"),
        (
            "/scroll",
            {"filter": {"must": [{"key": "n", "range": {"gt": "x"}}]}},
            "at filter.must.0.range.gt: expected a valid number",
        ),
        (
            "/query",
            {"query": {"recommend": {"positive": [{"a": 1}]}}},
            "at query.recommend.positive.0.",
        ),
        ("/search", {"vector": 5, "limit": 1}, "at vector: expected"),
        (
            "/search",
            {"vector": [1, 0], "limit": 1, "params": {"hnsw_ef": 0}},
            "internal.params.hnsw_ef: value 0 invalid, must be 1 or larger",
        ),
        (
            "/query",
            {"query": [1, 0], "params": {"quantization": {"oversampling": 0.5}}},
            "oversampling: value 0.5 invalid, must be 1",
        ),
        (
            "/query",
            {"query": [1, 0], "params": {"acorn": {"max_selectivity": 1.5}}},
            "max_selectivity: value 1.5 invalid, must be fr",
        ),
        ("/discover", {"limit": 3}, "a target or pairs"),
        ("/recommend", {"negative": [1], "limit": 3}, "At least one positive example"),
        ("/payload", {"points": [1], "payload": [1]}, "at payload: expected an object"),
    ],
)
def test_a_refusal_names_the_value_and_its_place_in_json_terms(ask, path, body, message):
    _, error = refused(ask, path, body)
    assert message in error
    assert not any(word in error for word in ("dict", "union", "(list)", "dtype", "instance of"))


def test_vectors_are_no_arrays_of_ours_either(ask):
    answer = ask("PUT", POINTS, {"points": [{"id": 9, "vector": {"s": [1, 2]}}]})
    assert "a sparse vector is [1.0, 2.0], expected" in answer.json["status"]["error"]


def result(ask, path, body):
    answer = ask("POST", f"{POINTS}{path}", body)
    assert answer.status == 200, answer.body
    return answer.json["result"]


def test_older_routes_look_for_the_names_of_vectors_even_if_no_point_is_found(ask):
    body = {"vector": {"name": "a", "vector": [1, 0]}, "limit": 2, "with_vector": ["nope"]}
    for fewer in ({"score_threshold": 100}, {"offset": 18}, {"filter": {"must": {"has_id": []}}}):
        assert refused(ask, "/search", body | fewer)[0] == 400
    # After that many points it reads the vectors of the points that were found.
    assert result(ask, "/search", body | {"offset": 19}) == []
    body = {"query": [1, 0], "using": "a", "score_threshold": 100, "with_vector": ["nope"]}
    assert result(ask, "/query", body) == {"points": []}
