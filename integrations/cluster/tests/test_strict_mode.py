"""A server in strict mode requires payload indexes for filters, and sets limits."""

import logging
from contextlib import closing

import numpy as np
import pytest
from qdrant_client import models

import retrieval_store
from retrieval_store import errors
from retrieval_store.filters.expression import OneOf
from tests.helpers.qdrant_server import Server


@pytest.fixture
def server():
    server = Server(strict=True)
    yield server
    server.close()


@pytest.fixture
def qdrant(server):
    with closing(server.client()) as client:
        yield client


@pytest.fixture
def things(qdrant):
    things = retrieval_store.Client(qdrant_client=qdrant).create_collection(
        "things", embedding_function=None
    )
    things.add(
        ids=["a", "b", "c"],
        embeddings=[[1], [2], [3]],
        documents=["a river", "a bank", None],
        metadatas=[{"k": 5, "t": "x", "b": True}, {"k": "five", "t": "y"}, {"k": 7.5}],
    )
    return things


def indexes_made(server):
    return sum(method == "PUT" and path.endswith("/index") for method, path in server.requests)


def test_the_index_that_a_filter_needs_is_created_once_and_logged(server, qdrant, things, caplog):
    server.requests.clear()
    with caplog.at_level(logging.INFO, "retrieval_store"):
        assert things.get(where={"t": "x"})["ids"] == ["a"]
        assert things.query(query_embeddings=[[0.0]], where={"t": {"$in": ["x", "y"]}})["ids"] == [
            ["a", "b"]
        ]
    assert indexes_made(server) == 1
    assert [r.getMessage() for r in caplog.records if "payload index" in r.getMessage()] == [
        'making a payload index of kind keyword for "t"'
    ]
    assert qdrant.get_collection("things").payload_schema["t"].data_type == "keyword"
    fresh = retrieval_store.Client(qdrant_client=qdrant).get_collection("things")
    assert fresh.delete(where={"t": "y"}) == {"deleted": 1}
    assert indexes_made(server) == 2  # the other marks lists


def test_indexes_are_created_beforehand_by_the_values_of_points(qdrant, things):
    for key in ("t", "b"):
        things.create_index(key)
    things.create_index("k", "keyword")
    schema = qdrant.get_collection("things").payload_schema
    assert {key: schema[key].data_type for key in ("t", "b", "k")} == {
        "t": "keyword",
        "b": "bool",
        "k": "keyword",
    }
    assert things.get(where={"k": {"$gt": 5}})["ids"] == ["c"]
    with pytest.raises(errors.InvalidArgumentError, match="'nothing'"):
        things.create_index("nothing")
    with pytest.raises(errors.InvalidArgumentError, match="'tree'"):
        things.create_index("t", "tree")


def test_warm_requests_nothing(server, things):
    server.requests.clear()
    empty = {"spaces": {}, "keys": {}, "lists": {}, "milliseconds": {}}
    assert things.warm(["k", "t"], text=True) == empty
    assert len(server.requests) == 0


@pytest.mark.parametrize("key", ['a"b', "a\\b", "\ud800"])
def test_keys_that_qdrant_cannot_write_are_refused_an_index_and_filtered_all_the_same(things, key):
    with pytest.raises(errors.InvalidArgumentError, match="key is .*without quotation marks"):
        things.create_index(key, "keyword")
    assert things.get(where={key: {"$ne": 1}})["ids"] == ["a", "b", "c"]


def test_without_leave_to_make_indexes_the_key_and_the_kinds_are_named(server, qdrant, things):
    client = retrieval_store.Client(qdrant_client=qdrant, create_indexes=False)
    there = client.get_collection("things", embedding_function=None)
    server.requests.clear()
    with pytest.raises(errors.ClusterError, match=r"(?s)k.*float.*create_index\('k'\)"):
        there.get(where={"k": {"$gt": 5}})
    with pytest.raises(errors.ClusterError, match=r"(?s)t.*keyword.*create_index\('t'\)"):
        there.query(query_embeddings=[[0.0]], where={"t": "x"})
    assert indexes_made(server) == 0
    there.create_index("t")
    assert there.query(query_embeddings=[[0.0]], where={"t": "x"})["ids"] == [["a"]]
    with pytest.raises(errors.ClusterError, match="create_indexes=True makes it"):
        there.get(where=OneOf(("t", "u"), (1,)))


def test_the_error_names_the_index_that_the_key_may_not_create(server, qdrant, things):
    server.api_keys = {"rw": "rw", "r": "r"}
    with closing(server.client(api_key="r")) as reader:
        there = retrieval_store.Client(qdrant_client=reader).get_collection("things")
        with pytest.raises(errors.AccessDeniedError, match='keyword can be made for "t"'):
            there.get(where={"t": "x"})
        assert there.get()["ids"] == ["a", "b", "c"]


@pytest.mark.parametrize("call", ["add", "get", "page", "query"])
def test_limits_are_respected_whichever_call_learns_them_first(monkeypatch, call):
    limited = models.StrictModeConfig(enabled=True, max_query_limit=50, upsert_max_batchsize=30)
    monkeypatch.setattr("tests.helpers.qdrant_server.server.STRICT", limited)
    ids = [f"p{i}" for i in range(200)]
    with closing(Server(version="1.18.0", strict=True)) as old, closing(old.client()) as qdrant:
        store = retrieval_store.Client(qdrant_client=qdrant)
        made = store.create_collection("things", embedding_function=None)
        made.add(ids=ids, embeddings=np.arange(200)[:, None])
        fresh = retrieval_store.Client(qdrant_client=qdrant).get_collection(
            "things", embedding_function=None
        )
        match call:  # each is the first that the client hears of the limits by
            case "add":
                fresh.upsert(ids=ids, embeddings=np.zeros((200, 1)))
                assert fresh.count() == 200
            case "get":
                assert fresh.get(include=[])["ids"] == ids
            case "page":
                assert fresh.get(limit=100, offset=70, include=[])["ids"] == ids[70:170]
            case "query":
                assert fresh.query(query_embeddings=[[0.0]], n_results=50)["ids"] == [ids[:50]]


def test_without_indexes_what_needs_none_is_answered_all_the_same(server, qdrant, things):
    things.create_index("t")
    server.api_keys = {"rw": "rw", "r": "r"}
    with closing(server.client(api_key="r")) as reader, closing(server.client(api_key="rw")) as rw:
        for qdrant_client, creates in ((reader, True), (reader, False), (rw, False)):
            there = retrieval_store.Client(
                qdrant_client=qdrant_client, create_indexes=creates
            ).get_collection("things")
            assert there.get(where={"t": {"$ne": "x"}})["ids"] == ["b", "c"]
            assert there.get(where={"t": {"$nin": ["x", "y"]}})["ids"] == ["c"]
            assert there.get(where_document={"$contains": "iver"})["ids"] == ["a"]
            assert there.get(where_document={"$not_contains": "iver"})["ids"] == ["b", "c"]


def test_if_strict_mode_is_set_later_the_index_is_created_and_the_filter_repeated():
    strict = models.StrictModeConfig(enabled=True, unindexed_filtering_retrieve=False)
    with closing(Server()) as server, closing(server.client()) as qdrant:
        store = retrieval_store.Client(qdrant_client=qdrant)
        things = store.create_collection("things", embedding_function=None)
        things.add(ids=["a", "b"], embeddings=[[1], [2]], metadatas=[{"t": "x"}, {"t": "y"}])
        assert things.get(where={"u": "x"})["ids"] == []  # no point has it, so no index is made
        qdrant.update_collection("things", strict_mode_config=strict)
        others = retrieval_store.Client(qdrant_client=qdrant).get_collection("things")
        others.add(ids="c", embeddings=[[3]], metadatas={"u": "x"})
        assert things.get(where={"u": "x"})["ids"] == ["c"]
        assert "u" in qdrant.get_collection("things").payload_schema
