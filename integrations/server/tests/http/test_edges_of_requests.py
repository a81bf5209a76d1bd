"""Requests whose fields are left out, null, empty or at their edge, as programs in other languages
make them, and the words with which they are refused."""

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


def result(ask, path, body):
    answer = ask("POST", f"{POINTS}{path}", body)
    assert answer.status == 200, answer.body
    return answer.json["result"]


def refused(ask, path, body):
    """The status and the words of a refusal."""
    answer = ask("POST", f"{POINTS}{path}", body)
    return answer.status, answer.json["status"]["error"]


@pytest.mark.parametrize(
    ("path", "params", "words"),
    [
        (path, params, words)
        for path in ("/query", "/search")
        for params, words in (
            ({"hnsw_ef": 0}, "internal.params.hnsw_ef: value 0 invalid, must be 1 or larger"),
            ({"quantization": {"oversampling": 0.5}}, "oversampling: value 0.5 invalid, must be 1"),
            ({"acorn": {"max_selectivity": 1.5}}, "max_selectivity: value 1.5 invalid, must be fr"),
        )
    ],
)
def test_parameters_of_a_search_beyond_their_bounds_are_refused(ask, path, params, words):
    vector = {"query": [1, 0], "using": "a"} if path == "/query" else {"vector": [1, 0]}
    body = {"limit": 1, "params": params, **vector}
    status, said = refused(ask, path, body)
    assert status == 422 and words in said
    good = {"hnsw_ef": 1, "quantization": {"oversampling": 1.0}, "acorn": {"max_selectivity": 1.0}}
    query = {"query": [3, 0], "using": "a", "limit": 1, "params": good}
    assert [hit["id"] for hit in result(ask, "/query", query)["points"]] == [3]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "text", "tokenizer": None}, "at field_schema.tokenizer: expected 'prefix'"),
        ({"type": "integer", "lookup": 1}, "at field_schema.lookup: expected a valid boolean"),
        ({"type": "uuid", "is_tenant": "yes"}, "at field_schema.is_tenant: expected a valid bo"),
        ({"type": "nothing"}, "at field_schema: expected 'keyword', 'integer', 'float', 'geo'"),
    ],
)
def test_what_is_wrong_with_an_index_is_said_of_its_own_type(ask, schema, words):
    answer = ask("PUT", "/collections/c/index", {"field_name": "n", "field_schema": schema})
    assert answer.status == 400
    assert words in answer.json["status"]["error"]


def test_points_are_retrieved_without_payloads_unless_these_are_asked_for(ask):
    assert result(ask, "", {"ids": [1]}) == [{"id": 1}]
    assert result(ask, "", {"ids": [1], "with_payload": None}) == [{"id": 1}]
    assert result(ask, "", {"ids": [1], "with_payload": True}) == [{"id": 1, "payload": {"n": 1}}]
    assert result(ask, "/scroll", {"limit": 1})["points"][0]["payload"] == {"n": 1}
    assert ask("GET", f"{POINTS}/1").json["result"]["payload"] == {"n": 1}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/count", {"exact": None}),
        ("", {"ids": [1], "with_vector": None}),
        ("/scroll", {"with_vector": None}),
        ("/query", {"query": 1, "using": "a", "params": {"exact": None}}),
        ("/query", {"query": 1, "using": "a", "params": {"indexed_only": None}}),
        ("/query", {"query": 1, "using": "a", "params": {"quantization": {"ignore": None}}}),
        ("/search", {"vector": [1, 0], "limit": 1, "params": {"exact": None}}),
    ],
)
def test_null_is_no_boolean_where_one_is_needed(ask, path, body):
    status, error = refused(ask, path, body)
    assert status == 400 and error.startswith("Format error in JSON body at ")


def test_elsewhere_null_is_as_left_out(ask):
    body = {"with_payload": None, "filter": None, "order_by": None, "offset": None, "limit": None}
    assert len(result(ask, "/scroll", body)["points"]) == 4
    body = {"vector": {"name": "a", "vector": [1, 0]}, "limit": 2, "with_vector": None}
    assert [hit["id"] for hit in result(ask, "/search", body)] == [3, 2]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/scroll", {"limit": 0, "with_payload": ["n."]}),
        ("/scroll", {"limit": 0, "with_payload": {"include": [""]}}),
        ("/scroll", {"limit": 0, "order_by": {"key": ""}}),
        ("/scroll", {"limit": 0, "filter": {"must": {"key": "a..b", "match": {"value": 1}}}}),
        ("/scroll", {"limit": 0, "filter": {"must": {"is_null": {"key": ""}}}}),
        ("/query/groups", {"limit": 0, "group_by": ""}),
        ("/search", {"vector": [1, 0], "limit": 0, "with_payload": {"exclude": ["a["]}}),
        ("/payload", {"points": [1], "payload": {}, "key": ""}),
        ("/payload/delete", {"points": [1], "keys": ["n", "a b"]}),
    ],
)
def test_paths_are_read_before_limits_are_looked_at(ask, path, body):
    status, error = refused(ask, path, body)
    assert status == 400 and "no path into a payload" in error


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/scroll", {"limit": 0, "with_vector": ["nope"]}),
        ("/query", {"query": [1, 0], "limit": 0, "with_vector": ["nope"], "using": "a"}),
        ("/query/groups", {"query": 1, "limit": 0, "group_by": "n", "with_vector": ["nope"]}),
        ("/recommend", {"positive": [1], "limit": 0, "using": "a"}),
        ("/search/matrix/pairs", {"sample": 1}),
    ],
)
def test_a_limit_that_is_too_small_is_refused_first(ask, path, body):
    assert refused(ask, path, body)[0] == 422


def test_overwriting_a_payload_heeds_no_key(ask):
    old = {"n": 2, "o": {"x": 1}}
    ask("PUT", f"{POINTS}/payload?wait=true", {"points": [2], "payload": old})
    body = {"points": [2], "payload": {"n": 2}, "key": "o"}
    assert ask("PUT", f"{POINTS}/payload?wait=true", body).status == 200
    assert ask("GET", f"{POINTS}/2").json["result"]["payload"] == {"n": 2}


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/recommend", {"positive": [], "limit": 3}, "At least one positive example"),
        ("/recommend", {"negative": [1], "limit": 3}, "At least one positive example"),
        (
            "/recommend",
            {"positive": [], "strategy": "best_score", "limit": 3},
            "At least one positive or negative example",
        ),
        ("/discover", {"limit": 3}, "a target or pairs"),
        ("/discover", {"context": [], "limit": 3}, "a target or pairs"),
        ("/recommend", {"positive": [4], "limit": 3, "using": "a"}, "no example that is liked"),
    ],
)
def test_the_older_routes_refuse_requests_without_examples_as_wrong(ask, path, body, said):
    status, error = refused(ask, path, body)
    assert status == 400 and said in error


def test_the_newer_one_refuses_them_as_invalid(ask):
    body = {"query": {"recommend": {"positive": []}}, "using": "a"}
    assert refused(ask, "/query", body)[0] == 422


def test_the_older_routes_know_no_multivectors(ask):
    several = [[1, 0], [0, 1]]
    for path, body in (
        ("/search", {"vector": {"name": "m", "vector": several}, "limit": 1}),
        ("/recommend", {"positive": [several], "using": "m", "limit": 1}),
    ):
        assert refused(ask, path, body)[0] == 400
    hits = result(ask, "/recommend", {"positive": [4], "using": "m", "limit": 1})
    assert hits == []  # but points that have such


def test_a_discovery_has_no_threshold(ask):
    body = {"target": [1, 0], "using": "a", "limit": 5, "score_threshold": 100}
    assert len(result(ask, "/discover", body)) == 3


def test_older_routes_look_for_the_names_of_vectors_even_if_no_point_is_found(ask):
    body = {"vector": {"name": "a", "vector": [1, 0]}, "limit": 2, "with_vector": ["nope"]}
    for fewer in ({"score_threshold": 100}, {"offset": 18}, {"filter": {"must": {"has_id": []}}}):
        assert refused(ask, "/search", body | fewer)[0] == 400
    # Behind so many points it reads vectors afterwards, of those that were found.
    assert result(ask, "/search", body | {"offset": 19}) == []
    body = {"query": [1, 0], "using": "a", "score_threshold": 100, "with_vector": ["nope"]}
    assert result(ask, "/query", body) == {"points": []}


@pytest.mark.parametrize(
    ("path", "body", "said"),
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
        ("/payload", {"points": [1], "payload": [1]}, "at payload: expected an object"),
    ],
)
def test_a_refusal_says_what_was_sent_and_where_in_no_language_of_ours(ask, path, body, said):
    _, error = refused(ask, path, body)
    assert said in error
    assert not any(word in error for word in ("dict", "union", "(list)", "dtype", "instance of"))


def test_vectors_are_no_arrays_of_ours_either(ask):
    answer = ask("PUT", POINTS, {"points": [{"id": 9, "vector": {"s": [1, 2]}}]})
    assert "a sparse vector is [1.0, 2.0], expected" in answer.json["status"]["error"]
