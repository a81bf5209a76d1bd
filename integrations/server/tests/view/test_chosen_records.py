"""Chosen records, as on the map, filter every query, in every kind of store."""

from integrations.server.tests.view.looking import asked, filled
from retrieval_store.extension import session_of
from retrieval_store_server.native.codec import unpack_message
from retrieval_store_server.view.live import Views

CHOSEN = {"keys": ["s:p3", "s:p4", "s:p10", "s:gone"]}
IDS = ["p3", "p4", "p10"]


def test_only_chosen_records_are_shown_counted_found_and_drawn(client):
    collection, matrix = filled(client)
    views, at = Views(session_of(client)), {"collection": str(collection.id), **CHOSEN}
    shown = asked(views, "records", **at)["records"]
    assert sorted(one["id"] for one in shown) == sorted(IDS)
    assert asked(views, "count", **at)["count"] == 3
    assert asked(views, "count", **at, where={"n": {"$lt": 9}})["count"] == 2
    vector = matrix[4].tolist()
    hits = asked(views, "query", **at, vector=vector, k=10)["hits"]
    assert hits[0]["id"] == "p4" and {one["id"] for one in hits} == {*IDS}
    data, _ = unpack_message(b"".join(asked(views, "map", **at)))
    assert {*data["keys"]} == {f"s:{one}" for one in IDS}
    reported = asked(views, "why", **at, vector=vector, ids=["p5"])["reasons"][0]
    assert not reported["found"]
    assert [one["argument"] for one in reported["excluded_by"]] == ["keys"]
