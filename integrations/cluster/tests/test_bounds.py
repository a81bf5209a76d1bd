"""The requests to a cluster stay bounded, however many records match, or however few hits do; the
results equal a directory's."""

from contextlib import closing

import numpy as np
import orjson
import pytest
from qdrant_client import models

import retrieval_store
from retrieval_store import Groups, errors
from retrieval_store.filters.expression import And, Not, OneOf
from tests.helpers import inside
from tests.helpers.qdrant_server import Server
from tests.helpers.tuned import tuned

MANY = 600
VECTORS = np.random.default_rng(0).standard_normal((MANY, 4)).astype(np.float32)
RECORDS = {
    "ids": [f"p{i}" for i in range(MANY)],
    "embeddings": VECTORS,
    "metadatas": [{"n": i, "third": f"g{i % 3}", "flag": i % 2 == 0} for i in range(MANY)],
    "documents": [f"text {'word ' * 20}{i}" for i in range(MANY)],
}


class Recorder:
    """A client that records its calls; `beside` happens after the first call of a method."""

    def __init__(self, client):
        self._client, self.calls, self.beside = client, [], {}

    def __getattr__(self, name):
        def call(*args, **kwargs):
            self.calls.append((name, kwargs))
            result = getattr(self._client, name)(*args, **kwargs)
            happening = self.beside.pop(name, None)
            if happening is not None:
                happening()
            return result

        return call

    def of(self, method):
        return [kwargs for name, kwargs in self.calls if name == method]


@pytest.fixture
def server():
    with closing(Server()) as server:
        yield server


@pytest.fixture
def recorder(server):
    with closing(server.client()) as client:
        yield Recorder(client)


@pytest.fixture
def store(recorder):
    return retrieval_store.Client(qdrant_client=recorder)


def filled(store):
    things = store.create_collection("things", embedding_function=None)
    things.add(**RECORDS)
    return things


@pytest.fixture
def there(store, recorder):
    things = filled(store)
    recorder.calls.clear()
    return things


@pytest.fixture(scope="module")
def here():
    with retrieval_store.Client() as client:
        yield filled(client)


def limits_of(recorder):
    return [
        request.limit
        for query in recorder.of("query_batch_points")
        for request in query["requests"]
    ]


@pytest.mark.parametrize("where", [None, {"n": {"$lt": 300}}])
def test_groups_that_are_fewer_than_wanted_end_a_search(monkeypatch, recorder, there, here, where):
    tuned(monkeypatch, cluster_groups_after=50)
    query = {"query_embeddings": VECTORS[:2], "n_results": 10, "group_by": "third", "where": where}
    assert there.query(**query)["ids"] == here.query(**query)["ids"]
    assert max(limits_of(recorder)) < 300


def test_hits_of_a_filter_that_a_server_cannot_express_are_found_by_their_ids(
    monkeypatch, recorder, there, here
):
    tuned(monkeypatch, cluster_most_read=50)
    few = {"$regex": "word (17|317|59[0-9])$"}
    query = {"query_embeddings": VECTORS[:3], "n_results": 10, "where_document": few}
    found, expected = there.query(**query), here.query(**query)
    assert found["ids"] == expected["ids"]
    np.testing.assert_allclose(found["distances"], expected["distances"], rtol=1e-5)
    assert max(limits_of(recorder)) <= 50
    none = {**query, "where_document": {"$regex": "nowhere"}}
    assert there.query(**none)["ids"] == [[], [], []]


def test_many_questions_are_sent_in_several_requests(monkeypatch, recorder, there, here):
    tuned(monkeypatch, cluster_compared=4 * MANY, cluster_hits=60)
    for how, most in (({"exact": True}, 4), ({}, 5)):
        recorder.calls.clear()
        query = {"query_embeddings": VECTORS[:20], "n_results": 10, **how}
        assert there.query(**query)["ids"] == here.query(**query)["ids"]
        sizes = [len(query["requests"]) for query in recorder.of("query_batch_points")]
        assert max(sizes) == most


def test_pages_of_long_documents_are_short(monkeypatch, recorder, there):
    tuned(monkeypatch, cluster_answer_bytes=20_000)
    ids = [record["id"] for record in there.iterate(500)]
    assert ids == RECORDS["ids"]
    queries = [one for one in recorder.of("scroll") if "_document" not in str(one["with_payload"])]
    sizes = [one["limit"] for one in queries if "include" not in str(one["with_payload"])]
    assert max(sizes[:-1]) <= 80  # as each has some 250 bytes
    assert len(sizes) >= MANY / 80
    recorder.calls.clear()
    assert len(there.get(include=["metadatas"])["ids"]) == MANY
    assert len(recorder.of("scroll")) == 1  # no documents are read


def test_a_page_of_a_filter_is_not_reached_through_all_before_it(recorder, there, here):
    where = {"third": "g1"}
    for offset in (0, 150, 170, 190):
        recorder.calls.clear()
        page = there.get(where=where, limit=20, offset=offset)
        assert page["ids"] == here.get(where=where, limit=20, offset=offset)["ids"]
        assert sum(query["limit"] for query in recorder.of("scroll")) <= 150
    where = And((OneOf(("third",), ("g1",)), Not(OneOf(("n",), (4, 7)))))
    for offset in (0, 1, 150, 197, 198, 300):
        page = there.get(where=where, limit=20, offset=offset)
        assert page["ids"] == here.get(where=where, limit=20, offset=offset)["ids"]


def test_a_fork_of_long_documents_uses_requests_of_bounded_size(
    monkeypatch, recorder, store, there
):
    tuned(monkeypatch, cluster_fork_bytes=20_000)
    fork = store.get_collection("things", None).fork("fork")
    everything = ["embeddings", "documents", "metadatas"]
    one, other = (things.get(include=everything) for things in (there, fork))
    assert (one["ids"], one["documents"]) == (other["ids"], other["documents"])
    assert (one["embeddings"] == other["embeddings"]).all()
    sizes = [
        sum(len(orjson.dumps(point.payload)) for point in query["points"])
        for query in recorder.of("upsert")
    ]
    assert sum(sizes) > 5 * max(sizes)
    assert max(sizes) <= 20_000


def test_collections_that_others_have_deleted_are_forgotten(recorder, store, server):
    for i in range(5):
        store.create_collection(f"things-{i}", embedding_function=None)
    assert len(inside.open_collections(inside.store(store))) == 5
    with closing(server.client()) as client:
        retrieval_store.Client(qdrant_client=client).delete_collection("things-3")
    assert len(store.list_collections()) == 4
    assert len(inside.open_collections(inside.store(store))) == 4


# numbers that aren't numbers


# concurrent changes by others


def test_of_two_renames_to_one_name_one_is_refused(recorder, store, server):
    names = ("one", "other")
    one, _ = (store.create_collection(name, embedding_function=None) for name in names)
    with closing(server.client()) as client:

        def rename_other():
            alias = models.CreateAlias(collection_name="other", alias_name="live")
            client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])

        for method in ("update_collection_aliases", "update_collection"):
            recorder.beside[method] = rename_other
            with pytest.raises(errors.AlreadyExistsError, match="'live' already exists"):
                one.modify(name="live")
            assert recorder.beside == {}
            assert store.get_collection("one").id == one.id
            delete = models.DeleteAlias(alias_name="live")
            client.update_collection_aliases([models.DeleteAliasOperation(delete_alias=delete)])
    one.modify(name="live")
    assert store.get_collection("live").id == one.id


def test_a_record_added_by_another_meanwhile_stays(recorder, store, server):
    things = store.create_collection("things", embedding_function=None)
    with closing(server.client()) as client:
        others = retrieval_store.Client(qdrant_client=client).get_collection("things")

        def add():
            others.add(ids="a", embeddings=[[9, 9]], metadatas=[{"owner": "other"}])

        recorder.beside["retrieve"] = add
        written = things.replace_own(
            {"owner": "me"},
            ["a", "b"],
            embeddings=[[1, 2], [3, 4]],
            metadatas=[{"owner": "me"}] * 2,
        )
    assert written["others"] == ["a"]
    assert things.get(ids=["a"])["metadatas"] == [{"owner": "other"}]


def test_distances_of_many_hybrid_queries_are_requested_at_once(recorder, there):
    texts = [f"word {i}" for i in range(20)]
    request = {"query_texts": texts, "query_embeddings": VECTORS[:20], "mode": "hybrid"}
    found = there.query(**request, n_results=5)
    assert len(recorder.of("query_batch_points")) < 10
    for query, ids, distances in zip(VECTORS, found["ids"], found["distances"], strict=False):
        places = [RECORDS["ids"].index(own_id) for own_id in ids]
        expected = ((VECTORS[places].astype(np.float64) - query) ** 2).sum(axis=1)
        np.testing.assert_allclose(distances, expected, rtol=1e-4, atol=1e-5)


def test_full_groups_and_points_with_lists_are_all_found(monkeypatch, recorder, store):
    tuned(monkeypatch, cluster_groups_after=20)
    metadatas = [{"k": i % 3, "l": i % 3} for i in range(300)]
    metadatas[250] = {"k": 0, "l": []}
    metadatas[260] = {"k": 7.5, "l": [1, 2]}
    metadatas[270] = {"other": 1}
    metadatas[280] = {"k": True, "l": "x"}
    with retrieval_store.Client() as plain:
        both = [
            client.create_collection("others", embedding_function=None)
            for client in (plain, retrieval_store.Client(qdrant_client=recorder))
        ]
        for things in both:
            things.add([f"q{i}" for i in range(300)], VECTORS[:300], metadatas)
        for key in ("k", "l"):
            for size in (1, 2):
                how = {"group_by": Groups(key, size), "n_results": 20}
                truth, found = (things.query(VECTORS[:2] + 0.1, **how)["ids"] for things in both)
                assert found == truth


def test_hits_that_are_too_many_to_be_named_are_found_all_the_same(
    monkeypatch, recorder, there, here
):
    tuned(monkeypatch, cluster_most_read=20, cluster_most_named=3)
    query = {"query_embeddings": VECTORS[:3], "n_results": 10}
    query["where_document"] = {"$regex": "word .*7$"}
    assert there.query(**query)["ids"] == here.query(**query)["ids"]
