"""The user decides how a collection is stored on a cluster, and how many replicas are queried."""

from contextlib import closing

import numpy as np
import pytest
from qdrant_client.conversions.conversion import RestToGrpc

import retrieval_store
from retrieval_store import errors
from tests.helpers.qdrant_server import Server

ASKED = {
    "shard_number": 3,
    "replication_factor": 2,
    "write_consistency_factor": 2,
    "on_disk": True,
    "quantization": "scalar",
    "indexes": {"city": "keyword", "year": "float", "day": "datetime"},
}


@pytest.fixture
def qdrant():
    with closing(Server()) as server, closing(server.client()) as client:
        yield client


def test_shards_replicas_and_files_are_as_requested_and_remembered(qdrant):
    client = retrieval_store.Client(qdrant_client=qdrant)
    things = client.create_collection("things", {"qdrant": ASKED}, embedding_function=None)
    things.add(ids=["a", "b"], embeddings=[[1, 0], [0, 1]], documents=["x", "y"])
    assert things.query(query_embeddings=[[1, 0]])["ids"] == [["a", "b"]]
    (one,) = qdrant.get_collections().collections
    config = qdrant.get_collection(one.name).config
    assert config.params.shard_number == 3
    assert config.params.replication_factor == 2
    assert config.params.write_consistency_factor == 2
    assert config.quantization_config.scalar.type == "int8"
    assert config.params.sparse_vectors["words"].index.on_disk
    assert config.params.vectors["embedding"].on_disk
    assert indexes(qdrant) == ASKED["indexes"]
    there = retrieval_store.Client(qdrant_client=qdrant).get_collection("things")
    assert there.configuration["qdrant"] == ASKED
    there.modify(configuration={"hnsw": {"ef_search": 50}})
    assert there.configuration["qdrant"] == ASKED
    with pytest.raises(errors.ConflictError, match="qdrant"):
        there.modify(configuration={"qdrant": {"shard_number": 5}})
    same = client.get_or_create_collection("things", {"qdrant": ASKED}, embedding_function=None)
    assert same == there


def indexes(qdrant):
    """The kinds of the indexes of metadata, by key."""
    schema = qdrant.get_collection("things").payload_schema.items()
    named = {key.strip('"'): index.data_type.value for key, index in schema}
    return {key: kind for key, kind in named.items() if "_retrieval_store" not in key}


def test_our_own_keys_have_indexes_without_links_in_the_graph(qdrant):
    client = retrieval_store.Client(qdrant_client=qdrant)
    indexes = {"indexes": {"city": "keyword"}}
    things = client.create_collection("things", {"qdrant": indexes}, embedding_function=None)
    things.add(ids=["a"], embeddings=[[1, 0]], metadatas=[{"city": ["Bonn"]}])
    other = client.create_collection("other", embedding_function=None)
    other.add(ids=["a"], embeddings=[[1, 0]], metadatas=[{"city": ["Bonn"]}])
    for collection in (things, other, things.fork("fork")):
        assert collection.count(where={"city": "Bonn"}) == 0  # a list isn't equal
        schema = qdrant.get_collection(collection.name).payload_schema
        params = {key.replace('"', ""): index.params for key, index in schema.items()}
        links = {key: getattr(p, "enable_hnsw", None) for key, p in params.items()}
        assert links["_retrieval_store.order"] is links["_retrieval_store.lists"] is False
        assert links["city"] is not False


def test_a_fork_has_the_indexes_and_so_has_one_whose_creation_was_broken_off(qdrant):
    client = retrieval_store.Client(qdrant_client=qdrant)
    made = qdrant.create_payload_index
    qdrant.create_payload_index = lambda *args, **kwargs: 1 / 0
    with pytest.raises(ZeroDivisionError):
        client.create_collection("things", {"qdrant": ASKED}, embedding_function=None)
    assert indexes(qdrant) == {}
    qdrant.create_payload_index = made
    things = retrieval_store.Client(qdrant_client=qdrant).get_collection("things")
    assert indexes(qdrant) == ASKED["indexes"]
    things.add(ids=["a"], embeddings=[[1, 0]], metadatas=[{"city": "Bonn", "year": 2020}])
    fork = things.fork("fork")
    assert fork.configuration["qdrant"] == ASKED
    assert fork.get(where={"city": "Bonn"})["ids"] == ["a"]
    with pytest.raises(errors.InvalidArgumentError, match="kind is 'geo' .*expected one of"):
        things.create_index("place", "geo")


IMPOSSIBLE = [
    ({"shards": 2}, "unknown key 'shards'"),
    ({"shard_number": 0}, r"\['shard_number'\] is 0, expected at least 1"),
    ({"replication_factor": "2"}, r"\['replication_factor'\] is '2'.*expected an int"),
    ({"on_disk": 1}, r"\['on_disk'\] is 1"),
    ({"quantization": "tiny"}, r"\['quantization'\] is 'tiny'.*'scalar'"),
    ({"quantization": {"scalar": {"type": "int3"}}}, r"\['quantization'\] is"),
    ({"indexes": ["city"]}, r"\['indexes'\]"),
    ({"indexes": {"city": "geo"}}, r"\['indexes'\]\['city'\] is 'geo' .*expected the kind"),
    ({"indexes": {'"': "float"}}, r"\['indexes'\] has the key '\"' .*expected one without"),
    ([], "expected a dict"),
]


def test_impossible_requests_are_named_and_nothing_is_created(cluster):
    for given, message in IMPOSSIBLE:
        with pytest.raises(errors.InvalidArgumentError, match=message):
            cluster.create_collection("things", {"qdrant": given}, embedding_function=None)
    assert cluster.list_collections() == []
    with retrieval_store.Client() as client:
        with pytest.raises(errors.InvalidArgumentError, match="on a cluster; this store is"):
            client.create_collection("things", {"qdrant": {"shard_number": 2}})
        assert client.list_collections() == []


@pytest.mark.parametrize("consistency", [2, "majority"])
def test_reads_query_the_configured_number_of_replicas(consistency):
    queries = []
    server = Server()
    with closing(server), closing(server.client()) as qdrant:
        for name in ("retrieve", "scroll", "query_batch_points"):
            setattr(qdrant, name, _noting(getattr(qdrant, name), queries))
        client = retrieval_store.Client(qdrant_client=qdrant, consistency=consistency)
        things = client.create_collection("things", embedding_function=None)
        things.add(ids=["a"], embeddings=np.ones((1, 2)), metadatas=[{"n": 1}])
        things.get("a")
        things.get(where={"n": 1})
        things.query(query_embeddings=[[1, 1]])
        things.fork("forked")
    assert len(queries) >= 5
    assert all(one == consistency for one in queries)
    assert all(RestToGrpc.convert_read_consistency(one) for one in queries)  # as over gRPC


def _noting(method, asked):
    def call(*args, **kwargs):
        asked.append(kwargs.get("consistency"))
        return method(*args, **kwargs)

    return call


def test_invalid_numbers_of_replicas_are_refused(tmp_path):
    with closing(Server()) as server, closing(server.client()) as qdrant:
        for consistency in (0, -1, True, "most", 1.5):
            with pytest.raises(errors.InvalidArgumentError, match="consistency is"):
                retrieval_store.Client(qdrant_client=qdrant, consistency=consistency)
    for options in ({"consistency": 2}, {"create_indexes": False}):
        with pytest.raises(errors.InvalidArgumentError, match="go with a cluster"):
            retrieval_store.Client(tmp_path, **options)
