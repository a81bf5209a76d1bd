"""The names that the core has for servers besides its public ones: they mean what `Collection`
means.
"""

import numpy as np
import pytest

import retrieval_store
from retrieval_store import Groups, Hybrid
from retrieval_store.errors import EmbeddingFunctionError, InvalidArgumentError, InvalidFilterError
from retrieval_store.extension import (
    Budget,
    Fields,
    QueryBuilder,
    QueryRequest,
    RequestMemory,
    analyzer_of,
    class_named,
    embedder_of,
    filter_of,
    reasons_for,
    session_of,
)
from retrieval_store.filters.expression import HasId, Not
from retrieval_store.qdrant import QdrantClient
from tests.helpers import PATIENCE

VECTORS = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)


@pytest.fixture
def things(client):
    """A collection, its record, its points and its query builder."""
    collection = client.create_collection("things", embedding_function=None)
    collection.add(
        ids=[f"p{i}" for i in range(30)],
        embeddings=VECTORS,
        documents=[f"{('river', 'wolf', 'stone')[i % 3]} number {i}" for i in range(30)],
        metadatas=[{"n": i, "kind": "ab"[i % 2]} for i in range(30)],
    )
    store = session_of(client).store
    record = store.by_name("things")
    analyzer = analyzer_of(record.text_settings)
    builder = QueryBuilder(embedder_of(record, False), lambda uris: [], lambda: analyzer)
    return collection, record, store.points(record.id), builder, analyzer


@pytest.mark.parametrize(
    "arguments",
    [
        {"query_embeddings": VECTORS[3]},
        {"query_embeddings": VECTORS[:2], "n_results": 3, "offset": 2, "exact": True},
        {"query_embeddings": VECTORS[3], "max_distance": 4.0, "group_by": Groups("kind", 2)},
        {"query_texts": "wolf 4", "mode": "text", "min_score": 0.5},
        {"query_texts": "wolf", "query_embeddings": VECTORS[5], "mode": Hybrid("rrf", 0.3)},
    ],
)
def test_a_query_is_created_from_the_arguments_of_a_collection(things, arguments):
    collection, _, points, builder, _ = things
    where = {"n": {"$lt": 20}}
    query = builder.query(QueryRequest(**arguments), filter_of(where), Fields())
    wanted = collection.query(**arguments, where=where)
    assert [hits.points.ids for hits in points.ask(query)] == wanted["ids"]


def test_and_refused_as_it_refuses_them(things):
    _, _, _, builder, _ = things
    for arguments in ({}, {"query_texts": "a", "mode": "best"}, {"query_embeddings": ["a"]}):
        with pytest.raises(InvalidArgumentError):
            builder.query(QueryRequest(**arguments), None, Fields())
    with pytest.raises(EmbeddingFunctionError):
        builder.query(QueryRequest(query_texts="a"), None, Fields())
    with pytest.raises(InvalidFilterError):
        filter_of({"n": {"$near": 1}})


def test_reasons_are_those_of_a_collection_with_the_callers_conditions_and_words(things):
    collection, _, points, builder, analyzer = things
    where = {"n": {"$lt": 20}, "kind": "a"}
    ids = ["p3", "p25", "p8"]
    arguments = {"query_embeddings": VECTORS[3], "n_results": 2}
    query = builder.query(QueryRequest(**arguments), filter_of(where), Fields())
    reasons = reasons_for(points, query, analyzer, ids=ids, where=where)
    wanted = collection.why(**arguments, where=where, records=ids)
    assert [(one.id, one.rank, one.found, one.excluded_by) for one in reasons] == [
        (one.id, one.rank, one.found, one.excluded_by) for one in wanted
    ]
    chosen = Not(HasId(("p8",)))
    query = builder.query(QueryRequest(**arguments), chosen, Fields())
    others = [("mine", "not p8", chosen)]
    names = {"count": "how many of them"}
    left_out, far = reasons_for(
        points, query, analyzer, ids=["p8", "p25"], others=others, names=names
    )
    assert [(one.argument, one.condition) for one in left_out.excluded_by] == [("mine", "not p8")]
    assert "how many of them" in " ".join(far.advice)
    (contained,) = reasons_for(points, query, analyzer, containing="wolf number 4", text="wolf 5")
    assert contained.id == "p4" and contained.missing_words == ["5"]


@retrieval_store.register_embedding_function("tests-for-servers")
class Reaching:
    """Embeds texts by their lengths; it doesn't declare that it accesses nothing."""

    def __call__(self, input):
        return [[float(len(one)), 1.0] for one in input]

    def settings(self):
        return {}


def test_the_stored_function_of_a_collection_is_reported(client):
    client.create_collection("plain", embedding_function=None)
    client.create_collection("reaching", embedding_function=Reaching())
    store = session_of(client).store
    nothing = embedder_of(store.by_name("plain"), True)
    assert nothing.spec is None and not nothing.may_create and nothing.function is None
    embedder = embedder_of(store.by_name("reaching"), True)
    assert embedder.spec["name"] == "tests-for-servers" and embedder.may_create
    assert embedder.embed_query(["abc"]).tolist() == [[3.0, 1.0]]


def test_sessions_are_of_clients(tmp_path):
    with retrieval_store.Client(tmp_path / "store") as client:
        assert session_of(client).place == f"at {tmp_path / 'store'}"
    with QdrantClient(path=tmp_path / "store") as client:
        assert session_of(client).store.directory == tmp_path / "store"
    assert session_of("somewhere") is None and session_of(None) is None


def test_classes_are_named_by_a_table():
    assert class_named("HasId") is HasId
    assert class_named("Client") is None and class_named("Expression") is None


def test_a_request_knows_its_budget():
    assert Budget.current() is None
    given = Budget(PATIENCE, 1_000, RequestMemory(1_000))
    with given:
        assert Budget.current() is given
    assert Budget.current() is None
