"""Counts, facets, deletions and changes by filter: the server does them where that gives exactly
the intended result. The results equal those of the same collection elsewhere."""

import logging
import zlib
from contextlib import closing
from functools import partial

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient, models

import retrieval_store
from retrieval_store.errors import ClusterTimeoutError
from retrieval_store.filters.expression import And, Exists, Not, OneOf, Or, Range
from retrieval_store_cluster import schema
from tests.helpers import inside, real_qdrant
from tests.helpers.filter_strategies import (
    held_by,
    metadatas,
    records_and_expressions,
    records_and_wheres,
    where_documents,
)
from tests.helpers.qdrant_server import Server
from tests.helpers.tuned import tuned

KINDS = ("integer", "text", "datetime", "uuid", "geo", "keyword", "float", "bool")
ALL = ("metadatas", "documents", "embeddings", "uris")


class Places:
    """The same collection on different servers, and in memory."""

    def __init__(self, found):
        self.servers = {
            "plain": Server(),
            "older": Server(version="1.19.0", seed=1),
            "shards": Server(shards=3, seed=2),
            "indexed": Server(),
            "strict": Server(strict=True),
        }
        clients = {name: server.client() for name, server in self.servers.items()}
        self.clients = {**clients, "local": QdrantClient(":memory:")}
        self.here, _ = held_by(retrieval_store.Client(), found)
        self.there = {}
        for name, client in self.clients.items():
            store = retrieval_store.Client(qdrant_client=client)
            held_by(store, found)
            if name == "indexed":
                _index_keys(client, found)
            self.there[name] = retrieval_store.Client(qdrant_client=client).get_collection(
                "records", embedding_function=None
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for client in self.clients.values():
            client.close()
        for server in self.servers.values():
            server.close()

    def agree(self, ask):
        """Query each, and compare the results with the store in memory."""
        expected = ask(self.here)
        for name, collection in self.there.items():
            assert ask(collection) == expected, name


def _index_keys(client, found):
    """Indexes of any kind that another program has created."""
    for key in sorted({key for metadata, _ in found for key in metadata or {}}):
        kind = KINDS[zlib.crc32(f"{key}{len(found)}".encode()) % len(KINDS)]
        client.create_payload_index("records", f'"{key}"', kind, wait=True)


def everything(collection):
    """The whole content, in a comparable form."""
    records = collection.get(include=ALL)
    return {**records, "embeddings": np.asarray(records["embeddings"]).tolist()}


KEYS = ("a", "b", "ключ", "a.b", "x y")


@settings(max_examples=8)
@given(records_and_wheres, where_documents, metadatas)
def test_a_filter_reads_counts_changes_and_deletes_the_same_points(both, where_document, metadata):
    found, filters = both
    with Places(found) as places:
        places.agree(lambda one: one.get(where_document=where_document)["ids"])
        for where in filters:
            places.agree(lambda one, where=where: one.get(where=where, include=["metadatas"]))
            near = {"query_embeddings": [0.0], "n_results": 3, "where": where}
            places.agree(lambda one, near=near: one.query(**near)["ids"])
            for key in KEYS:
                places.agree(lambda one, where=where, key=key: one.facet(key, where, limit=None))
        where = filters[0]
        if metadata is not None:
            places.agree(lambda one: one.update(where=where, metadatas=metadata)["updated"])
            places.agree(everything)
        places.agree(lambda one: one.delete(where=filters[-1]))
        places.agree(everything)


@settings(max_examples=10)
@given(records_and_expressions, metadatas)
def test_expressions_count_change_and_delete_the_same_points(both, metadata):
    found, expressions = both
    with Places(found) as places:
        for expression in [*expressions, *map(Not, expressions)]:
            places.agree(lambda one, where=expression: one.count(where=where))
            places.agree(lambda one, where=expression: one.facet("a", where, limit=2))
            places.agree(lambda one, where=expression: one.get(where=where, include=[])["ids"])
        if metadata is not None:
            change = Not(expressions[0])
            places.agree(lambda one: one.update(where=change, metadatas=metadata)["updated"])
            places.agree(everything)
        places.agree(lambda one: one.delete(where=expressions[-1]))
        places.agree(everything)


# requests to the server


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def things(server):
    """A hundred records; a client has read the complete state of their indexes."""
    with closing(server.client()) as qdrant:
        client = retrieval_store.Client(qdrant_client=qdrant)
        things = client.create_collection("things", embedding_function=None)
        things.add(
            ids=[f"r{i}" for i in range(100)],
            embeddings=np.arange(100.0)[:, np.newaxis],
            metadatas=[
                {"number": i % 7, "kind": f"k{i % 5}", "even": i % 2 == 0, "rest": i / 2}
                for i in range(100)
            ],
            documents=[f"text {i}" for i in range(100)],
        )
        for key in ("number", "kind", "even"):
            things.create_index(key)
        things.count(where={"kind": "k0"})
        yield things


def requests(server, ask):
    """The requests of a call to the server, without reading the collection's info before a
    write."""
    before = len(server.requests)
    ask()
    sent = [path.rpartition("/")[2] for _, path in server.requests[before:]]
    return [what for what in sent if what != "things"]


WHERES = [
    {"kind": "k1"},
    {"number": 3},
    {"number": {"$gte": 2, "$lt": 5}},
    {"even": True},
    {"kind": {"$ne": "k1"}},
    {"$and": [{"number": {"$gt": 1}}, {"kind": {"$in": ["k1", "k2"]}}]},
    {"$or": [{"even": False}, {"kind": "k0"}]},
    Not(And((Exists(("kind",)), Or((OneOf(("number",), (1, 2.0)), Range(("number",), gt=5)))))),
]


def test_the_metrics_of_a_collection_count_it_once(server, things):
    with closing(server.client()) as qdrant:
        store = inside.session(retrieval_store.Client(qdrant_client=qdrant)).store
        gauges = []
        query = requests(server, lambda: gauges.extend(store.gauges()))
    assert [(name, each.points) for name, each in gauges] == [("things", 100)]
    assert query.count("count") == 1


def test_a_plain_filter_is_counted_changed_and_deleted_by_one_request(server, things):
    for where in WHERES:
        meant = things.get(where=where)["ids"]
        assert 0 < len(meant) < 100
        assert requests(server, lambda where=where: things.count(where=where)) == ["count"]
        assert things.count(where=where) == len(meant)
        new = {"new": str(where)}
        sent = requests(
            server, lambda where=where, new=new: things.update(where=where, metadatas=new)
        )
        # Points with notes beside the metadata are read.
        assert sent == ["count", "scroll", "payload"]
        assert things.get(where=new)["ids"] == meant
    for where in WHERES:
        if gone := things.get(where=where)["ids"]:
            sent = requests(server, lambda where=where: things.delete(where=where))
            assert sent == ["count", "delete"]
            assert things.get(gone)["ids"] == []


@pytest.mark.parametrize("notes_it", [True, False])
def test_keys_besides_metadata_are_found_with_an_index_and_in_older_collections_without(
    server, things, notes_it
):
    things.update("r1", metadatas=[{"exact": 0.1 + 0.2}])
    things.add("bare", embeddings=[[0.0]])
    sent = []
    with closing(server.client()) as qdrant:
        if not notes_it:
            (stored,) = qdrant.get_collection("things").config.metadata.items()
            qdrant.update_collection("things", metadata={stored[0]: {**stored[1], "beside": False}})
            qdrant.set_payload("things", {"lists": []}, models.Filter(), key="_retrieval_store")
        qdrant.http.client.add_middleware(
            lambda request, send: sent.append(request.content.decode()) or send(request)
        )
        fresh = retrieval_store.Client(qdrant_client=qdrant).get_collection(
            "things", embedding_function=None
        )
        assert fresh.update(where={"number": {"$ne": 2}}, metadatas={"exact": 0.3})["updated"] == 87
    assert any("is_empty" in body and r"\"exact\"" in body for body in sent) is not notes_it
    assert things.get(["r0", "r1", "bare"])["metadatas"] == [
        {"number": 0, "kind": "k0", "even": True, "rest": 0.0, "exact": 0.3},
        {"number": 1, "kind": "k1", "even": False, "rest": 0.5, "exact": 0.3},
        {"exact": 0.3},
    ]


def test_values_are_counted_by_the_server(server, things):
    expected = {"kind": [(f"k{i}", 20) for i in range(5)], "even": [(False, 50), (True, 50)]}
    for key in expected:
        assert things.facet(key) == expected[key]
        assert requests(server, lambda key=key: things.facet(key)) == ["count", "facet", "count"]


def test_a_few_floats_are_counted_one_by_one_and_many_by_reading(server, things):
    things.create_index("number", "float")
    assert things.facet("number") == [(0, 15), (1, 15)] + [(i, 14) for i in range(2, 7)]
    sent = requests(server, lambda: things.facet("number"))
    assert sent.count("count") == sent.count("scroll") == 9
    things.create_index("rest")
    assert len(things.facet("rest", limit=None)) == 100
    sent = requests(server, lambda: things.facet("rest"))
    assert sent == ["count", "scroll", "scroll"]
    things.update(["r0", "r7"], metadatas=[{"number": True}, {"number": [0, 1, "x"]}])
    assert things.facet("number", limit=3) == [(1, 16), (0, 14), (2, 14)]
    assert things.facet("number", limit=None)[-2:] == [(True, 1), ("x", 1)]


def test_only_uncertain_points_are_read(server, things):
    things.add(ids="list", embeddings=[[0.0]], metadatas=[{"kind": ["k1", "k9"], "rest": 1.1}])
    things.add(ids="number", embeddings=[[0.0]], metadatas=[{"kind": 7}])
    values = [("k1", 21), ("k0", 20), ("k2", 20), ("k3", 20), ("k4", 20), (7, 1), ("k9", 1)]
    assert things.facet("kind") == values
    assert things.count(where={"kind": "k1"}) == 20
    assert things.count(where={"kind": {"$contains": "k1"}}) == 21
    near = [1.1, 1.1 * 33, np.nextafter(1.1 * 33, 99), 1.1 * 34]
    things.update([f"r{i}" for i in range(4)], metadatas=[{"long": float(n)} for n in near])
    assert things.count(where={"long": {"$gte": near[1]}}) == 3
    assert things.count(where={"long": {"$gt": near[1]}}) == 2


@pytest.mark.parametrize("change", ["update", "delete"])
def test_a_server_may_take_longer_for_many_records_than_a_request_may(
    server, things, change, monkeypatch
):
    tuned(monkeypatch, cluster_pauses=(0, 0, 0), cluster_changes=20)
    where = {"number": {"$gt": 1}}
    several = things.count(where=where)
    waits = []

    def lose(number, method, path):
        """The responses to the first requests that wait for the change."""
        if path.endswith("/payload"):
            waits.append(path)
        return "lose" if (change == "update") < len(waits) < 6 else None

    def ask():
        if change == "update":
            return things.update(where=where, metadatas={"number": 9})["updated"]
        return things.delete(where=where)["deleted"]

    server.faults = lose
    assert ask() == several > 20
    assert len(waits) == 6
    assert things.count(where={"number": 9}) == (several if change == "update" else 0)


def test_a_server_that_takes_too_long_for_many_records_is_an_error(server, things, monkeypatch):
    tuned(monkeypatch, cluster_pauses=(0, 0, 0), cluster_changes=20, cluster_slowest=1e9)
    server.faults = lambda number, method, path: "lose" if path.endswith("/payload") else None
    with pytest.raises(ClusterTimeoutError, match="repeat the call to complete it"):
        things.update(where={"even": True}, metadatas={"m": 1})
    server.faults = None
    assert things.count(where={"m": 1}) == 50  # it went on


def test_a_queued_change_that_failed_is_sent_again_for_its_error(server, things, monkeypatch):
    """Its collection is red then; it may be red for other reasons, too."""
    tuned(monkeypatch, cluster_changes=20)
    sent = []

    def turn_red(request, send):
        response = send(request)
        if request.method == "GET" and request.url.path.endswith("/things"):
            body = response.json()
            body["result"]["status"] = "red"
            return httpx.Response(200, json=body, request=request)
        if request.url.params.get("wait"):
            sent.append((request.url.path.rpartition("/")[2], request.url.params["wait"]))
        return response

    with closing(server.client()) as qdrant:
        client = retrieval_store.Client(qdrant_client=qdrant)
        same = client.get_collection("things", embedding_function=None)
        qdrant.http.client.add_middleware(turn_red)
        assert same.update(where={"even": True}, metadatas={"m": 1})["updated"] == 50
        assert sent == [("payload", "false"), ("payload", "true"), ("payload", "true")]
        sent.clear()
        same.update([f"r{i}" for i in range(40)], metadatas=[{"m": 2}] * 40)
        assert sent == [("batch", "false"), ("payload", "true"), ("batch", "true")]
    assert (things.count(where={"m": 1}), things.count(where={"m": 2})) == (30, 40)


def test_values_are_counted_where_the_server_has_an_index_in_name_only(server, things):
    """As during an optimization of the segments that existed before the index."""
    refused = []

    def not_yet(request, send):
        if not request.url.path.endswith("/facet"):
            return send(request)
        refused.append(request)
        error = {"error": "Wrong input: No appropriate index for faceting: `kind`."}
        return httpx.Response(400, json={"status": error, "time": 0.0}, request=request)

    with closing(server.client()) as qdrant:
        qdrant.http.client.add_middleware(not_yet)
        fresh = retrieval_store.Client(qdrant_client=qdrant).get_collection(
            "things", embedding_function=None
        )
        assert dict(fresh.facet("kind")) == {f"k{i}": 20 for i in range(5)} and refused


@pytest.mark.parametrize("where", [None, {"kind": "k1"}], ids=str)
def test_both_sides_of_a_hybrid_query_are_one_request(server, things, where):
    question = {"query_embeddings": [[4.0], [50.0]], "query_texts": ["text 4", "text 9"]}
    query = partial(things.query, **question, mode="hybrid", n_results=3, where=where)
    query()  # which asks how many points there are
    sent = requests(server, query)
    # Then for the distances of hits that only words have found, for each query.
    assert sent[0] == "batch" and len(sent) <= 3
    alone = [
        things.query([vector], text, mode="hybrid", n_results=3, where=where)["ids"][0]
        for vector, text in zip(*question.values(), strict=True)
    ]
    assert query()["ids"] == alone


def test_points_deleted_by_others_meanwhile_are_skipped_and_the_rest_is_changed():
    count = 60
    with real_qdrant.qdrant() as qdrant:
        things = retrieval_store.Client(qdrant_client=qdrant).create_collection(
            "things", embedding_function=None
        )
        ids = [f"r{i}" for i in range(count)]
        things.add(ids, [[1.0]] * count, documents=["text"] * count)
        is_late = []

        def late(request, send):
            if request.url.path.endswith("/points/batch") and not is_late:
                is_late.append(True)
                things.delete(["r0", "r2"])
            return send(request)

        qdrant.http.client.add_middleware(late)
        things.update(ids, metadatas=[{"n": 1}] * count)
        assert is_late
        left = things.get()
        assert left["ids"] == [own_id for own_id in ids if own_id not in ("r0", "r2")]
        assert left["metadatas"] == [{"n": 1}] * (count - 2)
        assert left["documents"] == ["text"] * (count - 2)


def test_unrequested_payload_keys_are_not_read(server, things):
    read = []
    with closing(server.client()) as qdrant:
        scroll, query = qdrant.scroll, qdrant.query_batch_points
        qdrant.scroll = lambda **options: _noted(scroll(**options), read)
        qdrant.query_batch_points = lambda **options: _noted(query(**options), read)
        fresh = retrieval_store.Client(qdrant_client=qdrant).get_collection(
            "things", embedding_function=None
        )
        assert len(fresh.get(where={"number": 3}, include=[])["ids"]) == 14
        assert _keys(read) == {"_id", "_retrieval_store", "number"}
        fresh.get(limit=3, include=["metadatas"])
        assert _keys(read) == {"_id", "_retrieval_store", "number", "kind", "even", "rest"}
        fresh.query(query_embeddings=[1.0], where_document={"$regex": "1"}, include=["distances"])
        assert _keys(read) == {"_id", "_retrieval_store", "_document"}
        fresh.query(query_embeddings=[1.0], group_by="kind", include=[])
        assert _keys(read) == {"_id", "_retrieval_store", "kind"}


def _noted(answer, read):
    read.append(answer[0] if isinstance(answer, tuple) else answer[0].points)
    return answer


def _keys(read):
    """The payload keys that were read since the last time."""
    keys = {key for points in read for point in points for key in point.payload}
    read.clear()
    return keys


# automatic indexes


def indexes(server):
    """The kinds of the indexes of metadata, by key."""
    schema = server.collection("things").indexes()
    return {
        key.strip('"'): index["data_type"]
        for key, index in schema.items()
        if "_retrieval_store" not in key
    }


@pytest.fixture
def unindexed(server):
    """Thirty records without any query so far."""
    with closing(server.client()) as qdrant:
        client = retrieval_store.Client(qdrant_client=qdrant)
        things = client.create_collection("things", embedding_function=None)
        metadatas = [{"year": 2000 + i, "kind": f"k{i % 3}", "even": i % 2 == 0} for i in range(30)]
        things.add(
            ids=[f"r{i}" for i in range(30)], embeddings=np.zeros((30, 1)), metadatas=metadatas
        )
        yield things


def test_the_first_filter_on_a_key_creates_its_index_and_logs_it_once(server, unindexed, caplog):
    with caplog.at_level(logging.INFO, "retrieval_store"):
        for _ in range(2):
            assert unindexed.count(where={"year": {"$gte": 2020}}) == 10
            near = unindexed.query(query_embeddings=[0.0], where={"even": True}, n_results=20)
            assert len(near["ids"][0]) == 15
    assert indexes(server) == {"year": "integer", "even": "bool"}
    messages = [record.getMessage() for record in caplog.records]
    assert messages.count('making a payload index of kind integer for "year"') == 1
    assert messages.count('making a payload index of kind bool for "even"') == 1


def test_a_facet_makes_an_index_of_values_that_a_server_counts(server, unindexed):
    assert unindexed.facet("kind") == [("k0", 10), ("k1", 10), ("k2", 10)]
    assert indexes(server) == {"kind": "keyword"}
    assert requests(server, lambda: unindexed.facet("kind")) == ["count", "facet", "count"]


NUMBERS = (0, 1, -1, 2**53, 2**53 + 1, -(2**53) - 1, 2**62 + 1, 2**63 - 1, -(2**63) + 1, 7, 8, 9)
LIMITS = (0.5, -0.5, 1e-9, 1e19, -1e19, float(2**63), 1e308, 2.0, 2**64)


def test_integers_have_an_index_whose_values_a_server_counts():
    with closing(Server()) as server, closing(server.client()) as qdrant:
        metadatas = [{"n": NUMBERS[i % 12], "id": i, "part": i % 2} for i in range(300)]
        places = []
        for client in (retrieval_store.Client(), retrieval_store.Client(qdrant_client=qdrant)):
            one = client.create_collection("things", embedding_function=None)
            one.add([f"r{i}" for i in range(300)], np.zeros((300, 1)), metadatas)
            places.append(one)
        here, there = places
        for key in ("n", "id"):
            there.create_index(key)
        assert indexes(server)["n"] == indexes(server)["id"] == "integer"
        for key in ("n", "id"):
            for limit in (None, 5):
                assert there.facet(key, limit=limit) == here.facet(key, limit=limit)
            assert requests(server, lambda key=key: there.facet(key)) == ["count", "facet", "count"]
            assert there.facet(key, {"part": 1}) == here.facet(key, {"part": 1})
        for name in ("$gt", "$gte", "$lt", "$lte", "$eq", "$ne"):
            for limit in (*NUMBERS, *LIMITS):
                where = {"n": {name: limit}}
                assert there.count(where) == here.count(where), where
                assert there.get(where=where)["ids"] == here.get(where=where)["ids"], where
        for descending in (False, True):
            query = {"order_by": "n", "limit": 60, "descending": descending}
            assert there.get(**query)["ids"] == here.get(**query)["ids"]
        there.count({"id": 1})
        assert requests(server, lambda: there.count({"id": {"$gte": 100}})) == ["count"]
        assert indexes(server)["n"] == "integer"


@pytest.mark.parametrize(
    ("way", "value"),
    [("add", 2.5), ("update", 2.0), ("update by filter", 2**63), ("upsert", [1, 2.5])],
)
def test_a_write_of_another_number_turns_the_index_into_one_of_floats(
    server, unindexed, way, value
):
    wheres = [{"year": {"$lt": 2.7}}, {"year": {"$gt": 2**62}}, {"year": {"$contains": 2.5}}]
    with closing(server.client()) as qdrant:
        reader = retrieval_store.Client(qdrant_client=qdrant).get_collection(
            "things", embedding_function=None
        )
        for where in wheres:
            assert reader.count(where) == unindexed.count(where) == 0
        assert indexes(server)["year"] == "integer"
        match way:
            case "add":
                unindexed.add("r99", [[0.0]], {"year": value})
            case "upsert":
                unindexed.upsert("r99", [[0.0]], {"year": value})
            case "update":
                unindexed.update("r29", metadatas={"year": value})
            case "update by filter":
                unindexed.update(where={"year": 2029}, metadatas={"year": value})
        # The reader assumes for some seconds that all are integers, and still finds the others.
        for where, counts in zip(wheres, ((2.5, 2.0), (2**63,), ([1, 2.5],)), strict=True):
            for one in (reader, unindexed):
                assert one.count(where) == (value in counts), (where, one is reader)
                assert len(one.get(where=where)["ids"]) == (value in counts)
    assert indexes(server)["year"] == "float"
    assert (2001, 1) in unindexed.facet("year", limit=None)


def test_writes_of_another_program_are_found_by_the_next_check(server, unindexed, monkeypatch):
    monkeypatch.setattr(schema, "AGE", 0.0)
    assert unindexed.count({"year": {"$lt": 2001}}) == 1
    assert indexes(server)["year"] == "integer"
    with closing(server.client()) as qdrant:
        one = models.HasIdCondition(has_id=[qdrant.scroll("things", limit=1)[0][0].id])
        qdrant.set_payload("things", {"year": 0.5}, models.Filter(must=[one]))
    assert unindexed.count({"year": {"$lt": 1.5}}) == 1
    assert indexes(server)["year"] == "float"


def test_no_index_is_created_with_create_indexes_false(server, unindexed):
    with closing(server.client()) as qdrant:
        client = retrieval_store.Client(qdrant_client=qdrant, create_indexes=False)
        things = client.get_collection("things", embedding_function=None)
        assert things.count(where={"year": 2001}) == 1
        assert things.facet("kind") == [("k0", 10), ("k1", 10), ("k2", 10)]
    assert indexes(server) == {}


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_clients_that_may_not_create_indexes_filter_without_and_log_it_once(caplog):
    server = Server(api_keys={"writer": "rw", "reader": "r"})
    with closing(server.client(api_key="writer")) as qdrant:
        things = retrieval_store.Client(qdrant_client=qdrant).create_collection(
            "things", embedding_function=None
        )
        things.add(ids=["a", "b"], embeddings=[[0.0], [1.0]], metadatas=[{"n": 1}, {"n": [1]}])
    with closing(server.client(api_key="reader")) as qdrant:
        things = retrieval_store.Client(qdrant_client=qdrant).get_collection(
            "things", embedding_function=None
        )
        for _ in range(2):
            assert things.get(where={"n": 1})["ids"] == ["a"]
            assert things.count(where={"n": {"$ne": 1}}) == 1
    messages = [
        record.getMessage() for record in caplog.records if "look at each" in record.message
    ]
    assert len([text for text in messages if '"n"' in text]) == 1
    assert indexes(server) == {}
    server.close()


# dates

WRITTEN = st.one_of(
    st.sampled_from(
        """2024-05-01|2024-05-01T00:00:00Z|2024-05-01T00:00:00.0000015Z|2024-05-01T00:00:00.000001Z
        |2024-05-01T02:00:00+02:00|2024-04-30 23:59:59|2024-04-30T23:59:60Z|2024-5-1|+2024-05-01
        |-2024-05-01|24-5-1|0024-05-01|0999-12-31T23:59:59-05:00|9999-12-31T23:59:59Z|12024-05-01
        |2024-05-01T00:00|2024-05-01t00:00:00z|20240501|2024-13-01|May 1, 2024| 2024-05-01|
        """.replace("\n        ", "").split("|")
    ),
    st.datetimes().map(lambda moment: moment.isoformat()),
    st.datetimes().map(lambda moment: moment.date().isoformat()),
)
dated = st.lists(
    st.one_of(
        st.builds(lambda text: {"d": text}, WRITTEN),
        st.builds(lambda text: {"d": text}, WRITTEN),
        st.builds(lambda text: {"d": [text]}, WRITTEN),
        st.builds(lambda value: {"d": value}, st.sampled_from([1, True, None, "x", {"d": 1}])),
    ),
    min_size=1,
    max_size=12,
)
DATE_SIDES = st.dictionaries(
    st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), WRITTEN, min_size=1, max_size=2
)


@settings(max_examples=10)
@given(dated, st.lists(DATE_SIDES, min_size=1, max_size=3), WRITTEN, st.sampled_from(["d", "d.e"]))
def test_ranges_of_dates_mean_the_same_however_they_are_written(metadatas, sides, text, key):
    renamed = [{key: metadata["d"]} for metadata in metadatas]
    nested = [{"d": {"e": text}}, {"d": {"e": "2024-05-01"}}]
    found = [(metadata, None) for metadata in [*renamed, *(nested if key == "d.e" else [])]]
    with Places(found) as places:
        wheres = [{key: one} for one in sides] + [{"$not": {key: one}} for one in sides]
        wheres.append(
            {"$or": [{key: sides[0]}, {"$and": [{key: sides[-1]}, {key: {"$ne": text}}]}]}
        )
        for where in [*wheres, {key: text}, {key: {"$in": [text, "2024-05-01"]}}]:
            places.agree(lambda one, where=where: one.count(where=where))
            places.agree(lambda one, where=where: one.get(where=where, include=[])["ids"])
        places.agree(lambda one: one.update(where=wheres[0], metadatas={key: text})["updated"])
        places.agree(lambda one: one.delete(where=wheres[-1]))
        places.agree(everything)


def test_dates_get_an_index_of_times_by_which_ranges_are_counted(server):
    with closing(server.client()) as qdrant:
        things = retrieval_store.Client(qdrant_client=qdrant).create_collection(
            "things", embedding_function=None
        )
        days = [f"2024-0{1 + i % 9}-1{i % 10}" for i in range(90)]
        things.add(
            ids=[f"r{i}" for i in range(90)],
            embeddings=np.zeros((90, 1)),
            metadatas=[{"day": day} for day in days],
        )
        where = {"day": {"$gte": "2024-03-15", "$lt": "2024-07-01"}}
        expected = [f"r{i}" for i, day in enumerate(days) if "2024-03-15" <= day < "2024-07-01"]
        assert things.get(where=where)["ids"] == expected
        assert indexes(server) == {"day": "datetime"}
        sent = requests(server, lambda: things.count(where=where))
        assert sent == ["scroll", "count"]  # there may be other texts, none of which is found
        assert things.count(where=where) == len(expected)
        assert things.get(where={"day": days[3]})["ids"] == [
            f"r{i}" for i, day in enumerate(days) if day == days[3]
        ]
        assert things.facet("day", limit=1) == [("2024-01-10", 1)]
        things.add("odd", [[0.0]], {"day": "+2024-01-01"})  # a text to filters, and before digits
        assert things.count(where={"day": {"$lt": "2000-01-01"}}) == 1
        assert things.count(where={"day": {"$gte": "2000-01-01"}}) == 90
