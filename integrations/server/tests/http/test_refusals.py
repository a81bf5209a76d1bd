"""Refusals with the messages that programs check, as a server of release 1.19 sends them."""

import pytest

from integrations.server.tests.http.asked import Asking
from retrieval_store_server import app

POINTS = "/collections/c/points?wait=true"
SHORT = {"indices": [0, 1], "values": [0.5]}
LENGTHS = "[points[0].vector.?.values: Validation error: must be the same length as indices [{}]]"


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    asks = Asking(app(tmp_path_factory.mktemp("store") / "store", durability="relaxed"))
    vectors = {"a": {"size": 2, "distance": "Dot"}}
    vectors["m"] = {**vectors["a"], "multivector_config": {"comparator": "max_sim"}}
    body = {"vectors": vectors, "sparse_vectors": {"s": {}}}
    assert asks("PUT", "/collections/c", body).status == 200
    assert asks("PUT", "/collections/other", {"vectors": {"b": vectors["a"]}}).status == 200
    for name, vector in (("c", {"a": [1, 2]}), ("other", {"b": [1, 2]})):
        points = {"points": [{"id": 1, "vector": vector}]}
        assert asks("PUT", f"/collections/{name}/points?wait=true", points).status == 200
    yield asks
    asks.close()


def batch_of(vectors):
    return {"batch": {"ids": [1], "vectors": vectors}}


def points_of(vector):
    return {"points": [{"id": 1, "vector": vector}]}


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        (POINTS, points_of({"s": SHORT}), LENGTHS),
        (POINTS, batch_of({"s": [SHORT]}), LENGTHS),
        (POINTS, points_of({"s": {"indices": [3, 3], "values": [1, 2]}}), "indices: Validation"),
        (POINTS, points_of({"m": [[]]}), "vector.?.data: all vectors must be non-empty]"),
        (POINTS, points_of({"m": [[1, 2], []]}), "all vectors must be non-empty]"),
        (POINTS, points_of({"m": [[1, 2], [1]]}), "found vector with dimension 1]"),
        ("/collections/c/points/vectors", points_of({"unknown": SHORT}), LENGTHS),
        (
            "/collections/c/index",
            {
                "field_name": "n",
                "field_schema": {"type": "integer", "lookup": False, "range": False},
            },
            "the 'lookup' and 'range' capabilities can't be both disabled",
        ),
        (
            "/collections/c?timeout=0",
            {"vectors": {"size": 2, "distance": "Dot"}},
            "query parameters: [timeout: value 0 invalid",
        ),
    ],
)
def test_names_that_no_collection_can_have_are_refused_in_a_servers_words(ask, path, body, message):
    answer = ask("PUT", path, body)
    assert answer.status == 422
    assert answer.json["status"]["error"].startswith("Validation error in ")
    assert message in answer.json["status"]["error"]


def test_each_operation_of_several_is_checked(ask):
    body = {"operations": [{"upsert": batch_of({"unknown": [SHORT]})}]}
    answer = ask("POST", "/collections/c/points/batch", body)
    assert answer.status == 422
    assert LENGTHS in answer.json["status"]["error"]


@pytest.mark.parametrize(("point", "status"), [(1, 400), (2, 404)])
def test_referenced_points_and_their_vectors_must_exist(ask, point, status):
    body = {"query": point, "using": "a", "lookup_from": {"collection": "other", "vector": "x"}}
    answer = ask("POST", "/collections/c/points/query", body)
    assert answer.status == status
    assert ("vector name" in answer.json["status"]["error"]) == (status == 400)


def test_sparse_vectors_of_a_turbo_datatype_are_refused(ask):
    body = {"sparse_vectors": {"s": {"index": {"datatype": "turbo4"}}}}
    answer = ask("PUT", "/collections/turbo", body)
    assert answer.status == 400
    assert "sparse vectors do not support" in answer.json["status"]["error"]
