"""A server of a store in Qdrant's protocols uses one class: Qdrant's methods, and what else it
needs.
"""

import pytest

import retrieval_store
from retrieval_store.errors import InvalidFilterError
from retrieval_store.extension import session_of
from retrieval_store.qdrant import QdrantClient, QdrantService, Refused, models


@retrieval_store.register_embedding_function("tests-of-services")
class Lengths:
    """Embeds texts by their lengths."""

    def __call__(self, input):
        return [[float(len(one))] for one in input]

    def settings(self):
        return {}


def test_texts_are_embedded_by_the_class_that_was_registered_last():
    again = type("Lengths", (Lengths,), {"__call__": lambda self, input: [[1.0, 2.0]] * len(input)})
    sizes = []
    with QdrantClient(":memory:") as client:
        for kind in (Lengths, again, Lengths):
            retrieval_store.register_embedding_function("tests-of-services")(kind)
            sizes.append(client.get_embedding_size("tests-of-services"))
    assert sizes == [1, 2, 1]


@pytest.fixture
def service(tmp_path):
    """The service of a store with three points; one of them has no vector "b"."""
    with QdrantClient(path=tmp_path / "store") as client:
        size = models.VectorParams(size=2, distance=models.Distance.DOT)
        client.create_collection("notes", {"a": size, "b": size})
        points = [
            models.PointStruct(id=i, vector={"a": [i, 1], "b": [1, i]}, payload={"n": i})
            for i in (1, 2)
        ]
        client.upsert("notes", [*points, models.PointStruct(id=3, vector={"a": [3, 1]})])
        yield QdrantService(session_of(client))


def query_request(**fields):
    return models.QueryRequest(**{"limit": 2, **fields})


def test_a_query_is_answered_by_models_or_by_what_the_server_makes_of_its_hits(service):
    nearest = query_request(
        query=models.NearestQuery(nearest=[1.0, 0.0]), using="a", with_payload=True
    )
    answer = service.query_request("notes", nearest)
    assert [(one.id, one.score) for one in answer.points] == [(3, 3.0), (2, 2.0)]
    columns = service.query_request("notes", nearest, answering=lambda hits: hits)
    assert [*columns.ids] == [3, 2] and columns.scores.tolist() == [3.0, 2.0]
    assert [*columns.payloads] == [{}, {"n": 2}] and [*columns.vectors] == [None, None]
    each = service.query_batch_points("notes", [nearest, nearest], answering=lambda hits: hits.ids)
    assert [[*ids] for ids in each] == [[3, 2], [3, 2]]


def test_a_call_may_be_refused_before_anything_is_done(service):
    seen = []

    def admit(opened):
        seen.append((opened.record.name, opened.rate_limits, opened.count(None)))
        raise Refused(429, "too many")

    with pytest.raises(Refused, match="too many") as refused:
        service.delete("notes", [1], admit=admit)
    assert refused.traceback[-1].name == "admit"  # as with all that isn't ours
    assert seen == [("notes", (None, None), 3)]
    assert service.count("notes").count == 3


def test_examples_without_a_vector_are_reported(service):
    examples = models.RecommendInput(positive=[1, 3])
    query = query_request(query=models.RecommendQuery(recommend=examples), using="b")
    with pytest.raises(Refused) as refused:
        service.query_request("notes", query)
    assert refused.value.ids == [3] and refused.value.status_code == 404
    with pytest.raises(Refused) as refused:
        service.query_request("none", query)
    assert [*refused.value.ids] == []


def test_a_collection_is_opened_for_a_server(service):
    opened = service.open("notes")
    assert "a" in opened.vector_names and "c" not in opened.vector_names
    few = models.Filter(must=models.FieldCondition(key="n", range=models.Range(gte=2)))
    assert opened.count(few) == 1
    wrong = models.Filter(must=models.FieldCondition(key="a[", range=models.Range(gte=2)))
    for check in (lambda: opened.check_filter(wrong), lambda: service.check_path("a[")):
        with pytest.raises(InvalidFilterError, match="no path"):
            check()
    service.update_collection_aliases(
        [
            models.CreateAliasOperation(
                create_alias=models.CreateAlias(collection_name="notes", alias_name="other")
            )
        ]
    )
    assert service.name_of("other") == "notes" and service.open("other").record.name == "notes"


def test_texts_are_embedded_by_bm25_and_by_registered_functions(service):
    (sparse,) = service.embed("Qdrant/bm25", ["a wolf"], {}, True)
    assert sparse.values == [1.0]
    assert service.embed("tests-of-services", ["abc"], {}, False) == [[3.0]]


def test_snapshots_are_created_listed_and_replace_collections(service):
    snapshots = service.snapshots("notes")
    name = snapshots.create().name
    assert [one.name for one in snapshots.described()] == [name]
    path = snapshots.path_of(name)
    assert path.is_relative_to(snapshots.root) and path.is_file()
    service.delete("notes", [1, 2])
    assert service.recover("notes", path, None) and service.count("notes").count == 3
    with pytest.raises(Refused, match="checksum"):
        service.recover("notes", path, "0" * 64)
    assert service.snapshots(None).described() == []
    assert service.snapshots("notes").delete(name)
    with pytest.raises(Refused, match="no snapshot"):
        service.snapshots("notes").path_of(name)
