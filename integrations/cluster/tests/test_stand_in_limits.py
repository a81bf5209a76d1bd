"""What the server that tests of clusters use does besides finding points: it refuses what an older
server or one in strict mode refuses, has several shards, asks for keys, and fails when it is told to."""

import json
from contextlib import closing
from typing import Any

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from tests.helpers import PATIENCE
from tests.helpers.qdrant_server import Server, serving

TEXTS = ["the river bank", "a Riverbank", "riv", ""]
MANY = 200


@pytest.fixture
def made():
    """Makes clients of servers."""
    servers = []

    def client(**settings: Any) -> QdrantClient:
        servers.append(Server(**settings))
        return servers[-1].client()

    yield client
    for server in servers:
        server.close()


def filled(client: QdrantClient, count: int = len(TEXTS), **settings: Any) -> QdrantClient:
    vectors = {"v": models.VectorParams(size=1, distance=models.Distance.EUCLID)}
    client.create_collection("things", vectors, **settings)
    points = [
        models.PointStruct(
            id=i,
            vector={"v": [float(i // 2)]},
            payload={"n": i // 2, "t": TEXTS[i % len(TEXTS)], "a b": {"c": i}, "l": [{"k": i}]},
        )
        for i in range(count)
    ]
    client.upsert("things", points)
    return client


def matching(client: QdrantClient, **condition: Any) -> list[Any]:
    where = models.Filter.model_validate({"must": [condition]})
    return [point.id for point in client.scroll("things", where)[0]]


def refusal(call: Any, *arguments: Any, **more: Any) -> tuple[int, str]:
    with pytest.raises(UnexpectedResponse) as raised:
        call(*arguments, **more)
    return raised.value.status_code, raised.value.content.decode()


def test_numbers_of_many_digits_are_read_as_a_server_reads_them(made):
    client = filled(made())
    sent = [0.1, 1.5e300, 1.7154857142857143, 2**53 + 1, 2**63, -5]
    client.set_payload("things", {"sent": sent}, [1])
    (point,) = client.retrieve("things", [1])
    assert point.payload["sent"] == [0.1, 1.5e300, 1.7154857142857145, 2**53 + 1, 2**63, -5]


# versions


def test_the_version_is_told(made):
    assert made(version="1.18.3").info().version == "1.18.3"


@pytest.mark.parametrize("version", ["1.18.0", "1.19.0"])
def test_servers_before_1_20_know_no_substrings(made, version):
    client = filled(made(version=version))
    status, said = refusal(matching, client, key="t", match={"substring": "riv"})
    assert status == 400
    assert "data did not match any variant of untagged enum MatchInterface" in said
    assert matching(client, key="t", match={"text": "riv"}) == [0, 2]
    client.create_payload_index("things", "t", models.PayloadSchemaType.TEXT)
    assert matching(client, key="t", match={"text": "riv"}) == [2]


def test_a_server_of_today_finds_substrings_and_words(made):
    client = filled(made())
    assert matching(client, key="t", match={"substring": "riv"}) == [0, 2]
    assert matching(client, key="t", match={"text": "riv"}) == [2]


# strict mode

NUMBERS = {"type": "integer", "lookup": False, "range": True}
LOOKUPS = {"type": "integer", "lookup": True, "range": False}
PHRASES = {"type": "text", "phrase_matching": True}
NEEDS = [  # a condition, an index that serves it, and one that doesn't
    ({"key": "t", "match": {"value": "riv"}}, "keyword", "text"),
    ({"key": "t", "match": {"any": ["riv"]}}, "keyword", "uuid"),
    ({"key": "t", "match": {"text": "riv"}}, "text", "keyword"),
    ({"key": "t", "match": {"phrase": "river bank"}}, PHRASES, "text"),
    ({"key": "n", "match": {"value": 1}}, LOOKUPS, NUMBERS),
    ({"key": "n", "range": {"gt": 0}}, NUMBERS, LOOKUPS),
    ({"key": "n", "range": {"gt": 0}}, "float", "keyword"),
    ({"key": "n", "match": {"value": True}}, "bool", "integer"),
    ({"key": "n", "range": {"gt": "2020-01-01T00:00:00Z"}}, "datetime", "float"),
    ({"is_empty": {"key": "n"}}, "text", None),
    ({"key": "n", "values_count": {"gt": 0}}, "geo", None),
    ({"key": '"a b".c', "range": {"gt": 0}}, "float", "keyword"),
    (
        {"nested": {"key": "l", "filter": {"must": [{"key": "k", "range": {"gt": 0}}]}}},
        "float",
        None,
    ),
]


@pytest.mark.parametrize(("condition", "serves", "other"), NEEDS)
def test_in_strict_mode_a_condition_needs_an_index_that_serves_it(made, condition, serves, other):
    client, lax = filled(made(strict=True)), filled(made())
    assert client.get_collection("things").config.strict_mode_config.enabled
    inside = condition.get("is_empty", condition)
    key = "l[].k" if "nested" in condition else inside["key"]
    for schema in (None, other) if other else (None,):
        if schema is not None:
            client.create_payload_index("things", key, schema)
        status, said = refusal(matching, client, **condition)
        assert status == 400
        error = json.loads(said)["status"]["error"]
        assert error.startswith(f'Bad request: Index required but not found for "{key}" of one of')
    client.create_payload_index("things", key, serves)
    assert matching(client, **condition) == matching(lax, **condition)


def test_strict_mode_asks_for_an_index_wherever_a_filter_stands(made):
    client = filled(made(strict=True))
    where = models.Filter(must_not=[models.FieldCondition(key="n", match={"value": 1})])
    prefetch = models.Prefetch(query=[1.0], using="v", filter=where)
    for call, more in (
        (client.count, {"count_filter": where}),
        (client.delete, {"points_selector": where}),
        (client.query_points, {"query": [1.0], "using": "v", "query_filter": where}),
        (client.query_points, {"query": [1.0], "using": "v", "prefetch": prefetch}),
        (client.set_payload, {"payload": {}, "points": where}),
    ):
        status, said = refusal(call, "things", **more)
        assert (status, "of one of the following types: [integer]" in said) == (400, True)
    assert client.count("things").count == len(TEXTS)
    assert matching(client, has_id=[1]) == [1]
    assert matching(client, key="n", match={"any": []}) == []


# shards


def asked(client: QdrantClient) -> list[Any]:
    """Some answers in which the order is fixed, as far as it is."""
    ordered = models.OrderBy(key="n", direction=models.Direction.DESC)
    pages, offset = [], None
    while not pages or offset is not None:
        found, offset = client.scroll("things", limit=30, offset=offset)
        pages += [point.id for point in found]
    near = client.query_points("things", [3.1], using="v", limit=MANY).points
    few = client.query_points("things", [3.1], using="v", limit=21).points
    far = models.RecommendQuery(recommend={"positive": [7], "strategy": "best_score"})
    return [
        pages,
        [point.payload["n"] for point in client.scroll("things", order_by=ordered, limit=31)[0]],
        sorted((point.score, point.id) for point in near),
        [point.score for point in near],
        [point.score for point in few],
        [point.score for point in client.query_points("things", far, using="v").points],
        client.count("things").count,
        client.facet("things", "n", limit=7).hits,
        sorted(point.id for point in client.retrieve("things", [5, 1, 0, 3])),
    ]


def test_several_shards_answer_as_one(made):
    answers = []
    for settings in ({}, {"shards": 3}, {"shards": 3, "seed": 1}, {"seed": 1}):
        client = filled(made(**settings), MANY)
        client.create_payload_index("things", "n", models.PayloadSchemaType.INTEGER)
        client.delete("things", models.Filter.model_validate({"must": [{"has_id": [0, 9]}]}))
        client.set_payload("things", {"n": 1_000}, [4, 5, 6])
        answers.append(asked(client))
        made_of = client.get_collection("things").config.params.shard_number
        assert made_of == settings.get("shards", 1)
    assert all(answer == answers[0] for answer in answers)
    assert len(answers[0][0]) == MANY - 2


def test_with_a_seed_what_is_equal_comes_in_any_order(made):
    client = filled(made(seed=5), MANY)
    client.create_payload_index("things", "n", models.PayloadSchemaType.INTEGER)
    near, ordered, keys = set(), set(), set()
    for _ in range(20):
        found = client.query_points("things", [0.0], using="v", limit=3).points
        near.add(tuple(point.id for point in found))
        found = client.scroll("things", order_by="n", limit=3)[0]
        ordered.add(tuple(point.id for point in found))
        keys.add(tuple(found[0].payload))
    assert len(near) == len(ordered) == 4  # 0 and 1, or 1 and 0; then 2 or 3
    assert len(keys) > 1


# keys


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_keys_are_asked_for_and_what_they_allow():
    server = Server(api_keys={"writer": "rw", "reader": "r"})
    with closing(server):
        filled(server.client(api_key="writer"))
        nobody, wrong, reader = (server.client(api_key=key) for key in (None, "wrong", "reader"))
        status, said = refusal(nobody.count, "things")
        assert (status, said) == (401, "Must provide an API key or an Authorization bearer token")
        assert refusal(wrong.count, "things") == (401, "Invalid API key or JWT")
        assert reader.count("things").count == len(TEXTS)
        status, said = refusal(reader.delete, "things", [1])
        assert status == 403
        assert "Forbidden: Global write access is required" in said
        assert reader.count("things").count == len(TEXTS)


# what goes wrong


FAULTS = {  # and whether what was asked is done
    "refuse": False,
    "stall": False,
    "lose": True,
    "half": True,
    "500": False,
    "500 after": True,
}
SEEN = {
    "refuse": "Connection refused",
    "stall": "timed out",
    "lose": "timed out",
    "half": "without sending complete message body",
    "500": "1 of 1 read operations failed",
    "500 after": "1 of 1 read operations failed",
}


@pytest.mark.parametrize(("fault", "done"), FAULTS.items())
def test_a_fault_comes_when_it_is_told_to_and_only_then(fault, done):
    with closing(Server()) as server:
        client = filled(server.client())
        first = len(server.requests)
        server.faults = lambda number, method, path: fault if number == first + 1 else None
        with pytest.raises((ResponseHandlingException, UnexpectedResponse), match=SEEN[fault]):
            client.delete("things", [1])
        assert server.requests[first:] == [("POST", "/collections/things/points/delete")]
        assert client.count("things").count == len(TEXTS) - done


@pytest.mark.filterwarnings("ignore:Failed to obtain server version")
def test_faults_are_met_over_the_network_too():
    with closing(Server()) as server, serving(server) as url:
        client = filled(QdrantClient(url=url, timeout=PATIENCE))
        for number, (fault, done) in enumerate(FAULTS.items()):
            server.faults = lambda number, method, path, fault=fault: fault
            with pytest.raises((ResponseHandlingException, UnexpectedResponse)):
                client.set_payload("things", {"n": number + 100}, [1])
            server.faults = None
            (point,) = client.retrieve("things", [1])
            assert (point.payload["n"] == number + 100) == done
        client.close()
