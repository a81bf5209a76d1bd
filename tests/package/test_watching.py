"""Monitoring of a store: spans, the log, and metrics."""

import logging
import subprocess
import sys
from contextlib import closing

import apsw
import numpy as np
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

import retrieval_store
from retrieval_store.engine.storage.files import CATALOG_NAME
from retrieval_store.errors import IDAlreadyExistsError
from retrieval_store.qdrant import AsyncQdrantClient, QdrantClient, models
from tests.helpers import PATIENCE, steps
from tests.helpers.indexed import with_codes
from tests.helpers.tuned import eager_codes, tuned

SECRET = "secret"  # in all that users store and ask for


class Spans(InMemorySpanExporter):
    def named(self, name):
        return [span for span in self.get_finished_spans() if span.name == name]

    def one(self, name):
        (span,) = self.named(name)
        return span


def provided(monkeypatch, sampler=None):
    spans = Spans()
    provider = TracerProvider(sampler=sampler)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    steps.replace(monkeypatch, "tracer", provider.get_tracer("tests"))
    return spans, provider


@pytest.fixture
def spans(monkeypatch):
    return provided(monkeypatch)[0]


def events(span):
    return {event.name: dict(event.attributes) for event in span.events}


def secrets(count=4):
    return {
        "ids": [f"{SECRET}{i}" for i in range(count)],
        "embeddings": [[i, 1] for i in range(count)],
        "documents": [f"{SECRET} text {i}" for i in range(count)],
        "metadatas": [{SECRET: SECRET, "n": i} for i in range(count)],
    }


@pytest.mark.local  # a server in this process makes spans too
def test_a_query_is_a_span_with_its_plan_and_numbers(client, spans):
    collection = client.create_collection("points", embedding_function=None)
    collection.add(**secrets())
    collection.query(query_embeddings=[[0, 1], [1, 1]], n_results=3, where={"n": {"$gt": 0}})
    span = spans.one("query points")
    assert span.attributes["db.collection.name"] == "points"
    assert span.attributes["db.operation.name"] == "query"
    assert span.attributes["db.response.returned_rows"] == 6
    assert span.attributes["db.operation.batch.size"] == 2
    if span.attributes["db.system.name"] == "qdrant":
        assert span.kind is SpanKind.CLIENT
        return
    assert span.kind is SpanKind.INTERNAL
    assert span.attributes["retrieval_store.points"] == 4
    assert span.attributes["retrieval_store.matching"] == 3
    plan = events(span)["retrieval_store.plan"]
    assert plan["retrieval_store.methods"] == ("exact",)
    assert plan["retrieval_store.scanned"] == 3
    assert plan["retrieval_store.k"] == 3


@pytest.mark.embedded
@pytest.mark.local
def test_a_span_of_a_write_has_its_sizes(client, spans):
    collection = client.create_collection("points", embedding_function=None)
    collection.add(**secrets())
    collection.delete(where={"n": 1})
    put, delete = spans.one("put points"), spans.one("delete points")
    assert put.attributes["retrieval_store.written"] == 4
    assert delete.attributes["retrieval_store.written"] == 1
    assert delete.attributes["retrieval_store.seq"] == put.attributes["retrieval_store.seq"] + 1
    assert "retrieval_store.begun" in events(put)


def everything(client):
    """Calls of all kinds; some of them fail."""
    collection = client.create_collection("points", embedding_function=None)
    collection.add(**secrets())
    with pytest.raises(IDAlreadyExistsError, match=SECRET):
        collection.add(**secrets(1))
    collection.query(query_embeddings=[[0, 1]], where={SECRET: SECRET})
    collection.query(query_texts=SECRET, where_document={"$contains": SECRET}, mode="text")
    collection.explain(query_embeddings=[[0, 1]], where={SECRET: SECRET})
    collection.get(ids=f"{SECRET}1", where={SECRET: SECRET})
    collection.delete(ids=f"{SECRET}1")
    collection.update(ids=f"{SECRET}2", embeddings=[7, 7], documents=f"{SECRET} again")
    collection.optimize()


@pytest.mark.embedded
def test_no_stored_or_requested_value_is_in_a_span(client, spans):
    everything(client)
    text = "".join(span.to_json() for span in spans.get_finished_spans())
    assert "optimize points" in text
    assert SECRET not in text


@pytest.mark.embedded
def test_an_error_is_logged_by_its_class_only(client, spans):
    collection = client.create_collection("points", embedding_function=None)
    collection.add(**secrets())
    with pytest.raises(IDAlreadyExistsError):
        collection.add(**secrets())
    failed = spans.named("put points")[-1]
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.status.description is None
    assert failed.attributes["error.type"] == "IDAlreadyExistsError"
    assert "exception" not in events(failed)


@pytest.mark.embedded
@pytest.mark.local
def test_spans_are_below_those_of_the_application(client, monkeypatch):
    spans, provider = provided(monkeypatch)
    collection = client.create_collection("points", embedding_function=None)
    with provider.get_tracer("application").start_as_current_span("request"):
        collection.add(**secrets())
        collection.delete(ids=f"{SECRET}0")
        collection.optimize()
    request, compact = spans.one("request"), spans.one("compact points")
    assert spans.one("put points").parent.span_id == request.context.span_id
    assert compact.parent.span_id == spans.one("optimize points").context.span_id


@pytest.mark.embedded
def test_unsampled_spans_cost_no_attributes(client, monkeypatch):
    spans, _ = provided(monkeypatch, ALWAYS_OFF)
    steps.fail(monkeypatch, "report_search")
    collection = client.create_collection("points", embedding_function=None)
    collection.add(**secrets())
    collection.query(query_embeddings=[[0, 1]])
    assert spans.get_finished_spans() == ()


@pytest.mark.embedded
def test_a_renamed_collection_is_reported_by_its_new_name(client, spans):
    collection = client.create_collection("points", embedding_function=None)
    collection.add(**secrets())
    collection.modify(name="renamed")
    collection.count()
    collection.get()
    assert spans.named("get renamed")


def fill(qdrant):
    size = models.VectorParams(size=2, distance=models.Distance.DOT)
    qdrant.create_collection("points", size)
    points = [
        models.PointStruct(id=i, vector=[i, 1], payload={SECRET: SECRET, "n": i}) for i in range(4)
    ]
    return qdrant.upsert("points", points)


def test_calls_of_qdrants_client_are_spans_too(spans):
    qdrant = QdrantClient(":memory:")
    fill(qdrant)
    near = models.Prefetch(query=[0.0, 1.0], limit=3)
    fusion = models.FusionQuery(fusion=models.Fusion.RRF)
    qdrant.query_points("points", prefetch=[near, near], query=fusion, limit=2)
    qdrant.set_payload("points", {"n": 7, SECRET: 1}, points=[1, 2])
    qdrant.scroll("points", limit=2)
    qdrant.close()
    query = spans.one("query points")
    assert query.attributes["db.response.returned_rows"] == 2
    assert "retrieval_store.plan" in events(query)
    upsert, edit = spans.named("transact points")
    assert (
        upsert.attributes["retrieval_store.written"],
        edit.attributes["retrieval_store.written"],
    ) == (4, 2)
    assert spans.named("page points")
    assert SECRET not in "".join(span.to_json() for span in spans.get_finished_spans())


async def test_calls_of_the_asynchronous_client_are_below_the_applications_spans(monkeypatch):
    spans, provider = provided(monkeypatch)
    qdrant = AsyncQdrantClient(":memory:")
    size = models.VectorParams(size=2, distance=models.Distance.DOT)
    await qdrant.create_collection("points", size)
    await qdrant.upsert("points", [models.PointStruct(id=1, vector=[1.0, 1.0])])
    with provider.get_tracer("application").start_as_current_span("request"):
        await qdrant.query_points("points", query=[0.0, 1.0])
    await qdrant.close()
    request = spans.one("request")
    assert spans.one("query points").parent.span_id == request.context.span_id


def program(code, cwd):
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done


CALLS = """
import sys, retrieval_store
client = retrieval_store.Client("store")
collection = client.get_or_create_collection("points", embedding_function=None)
collection.upsert(ids=["a"], embeddings=[[1, 2]])
collection.query(query_embeddings=[[1, 2]])
"""


def test_opentelemetry_is_not_imported_here(tmp_path):
    done = program(CALLS + "print([name for name in sys.modules if 'telemetry' in name])", tmp_path)
    assert done.stdout == "[]\n"


def test_spans_go_to_the_provider_that_the_application_sets_however_late(tmp_path):
    code = CALLS + (
        "from opentelemetry import trace\n"
        "collection.query(query_embeddings=[[1, 2]])\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "from opentelemetry.sdk.trace.export import SimpleSpanProcessor\n"
        "from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter\n"
        "spans, provider = InMemorySpanExporter(), TracerProvider()\n"
        "provider.add_span_processor(SimpleSpanProcessor(spans))\n"
        "trace.set_tracer_provider(provider)\n"
        "collection.query(query_embeddings=[[1, 2]])\n"
        "print([span.name for span in spans.get_finished_spans()])\n"
    )
    assert program(code, tmp_path).stdout == "['query points']\n"


def test_warnings_are_visible_and_other_logs_follow_the_application(tmp_path):
    warned = "collection.update(ids=['b'], embeddings=[[1, 2]])\nclient.close()"
    assert program(CALLS + warned, tmp_path).stderr.count("\n") == 1
    loud = "import logging; logging.basicConfig()\n"
    assert "ignored ids" in program(loud + CALLS + warned, tmp_path).stderr


def test_rare_events_of_a_store_and_of_maintenance_are_logged(tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "retrieval_store")
    with retrieval_store.Client(tmp_path / "store") as client:
        everything(client)
        client.snapshot(tmp_path / "snapshot")
        client.delete_collection("points")
    retrieval_store.restore(tmp_path / "snapshot", tmp_path / "other")
    rare = [record for record in caplog.records if record.levelno == logging.INFO]
    for event in (
        "made a store",
        "wrote the snapshot",
        "deleted the collection",
        "of the snapshot",
    ):
        assert any(event in record.getMessage() for record in rare)
    assert any("compacted 'points'" in record.getMessage() for record in caplog.records)
    assert SECRET not in "".join(record.getMessage() for record in rare)
    names = {record.name for record in caplog.records}
    assert names == {"retrieval_store.store", "retrieval_store.maintenance"}


@pytest.mark.local
def test_gauges_add_up(client):
    for name, count in (("some", 4), ("more", 6)):
        collection = client.create_collection(name, embedding_function=None)
        collection.add(**secrets(count))
    stats = client.stats()
    assert (stats["collections"], stats["points"]) == (2, 10)
    each = stats["by_collection"]
    assert [each[name]["points"] for name in ("some", "more")] == [4, 6]
    assert [one["problem"] for one in each.values()] == [None, None]
    parts = sum(size for part, size in stats["disk"].items() if part != "catalog")
    assert sum(one["disk"] for one in each.values()) == parts
    assert sum(one["memory"] for one in each.values()) == sum(stats["memory"].values())
    assert ("catalog" in stats["disk"]) == (client.path is not None)


@pytest.mark.embedded
def test_gauges_follow_writes(client):
    collection = client.create_collection("points", embedding_function=None)
    collection.add(**secrets())
    collection.get()
    before = client.stats()["by_collection"]["points"]
    collection.delete(ids=[f"{SECRET}0"])
    collection.get()
    after = client.stats()["by_collection"]["points"]
    assert after["seq"] == before["seq"] + 1
    assert (after["points"], after["dead_slots"]) == (3, 1)
    assert after["in_memory"]


def vectors(count, seed=1):
    return np.random.default_rng(seed).normal(size=(count, 32)).astype(np.float32)


def test_metrics_report_what_lags_behind(tmp_path):
    path = tmp_path / "store"
    with retrieval_store.Client(path) as client:
        collection = client.create_collection("points", embedding_function=None)
        collection.add(ids=[str(i) for i in range(17_000)], embeddings=vectors(17_000))
        collection.optimize()
        collection.stats()
        reported = client.stats()["by_collection"]["points"]
        assert (reported["index_lag"], reported["uncoded"]) == (0, 0)
        space = collection.stats()["spaces"][""]
        assert reported["memory"] == sum(collection.stats()["memory"].values())
        assert space["coded_slots"] in (0, 16_384, 17_000)  # none where codes aren't fast
    with retrieval_store.Client(path, read_only=True) as client:
        reported = client.stats()["by_collection"]["points"]
        assert (reported["points"], reported["index_lag"], reported["uncoded"]) == (
            17_000,
            None,
            None,
        )
        client.get_collection("points", embedding_function=None).stats()
        reported = client.stats()["by_collection"]["points"]
        assert (reported["points"], reported["index_lag"], reported["uncoded"]) == (17_000, 0, 0)


@with_codes
@pytest.mark.parametrize("removed", ["deleted", "replaced"])
def test_deleted_vectors_are_not_missed_among_the_codes(tmp_path, monkeypatch, removed):
    eager_codes(monkeypatch)
    # Nobody makes codes meanwhile.
    tuned(monkeypatch, fresh_cells=sys.maxsize, maintenance_every=sys.maxsize)
    with retrieval_store.Client(tmp_path) as client:
        collection = client.create_collection("points", embedding_function=None)
        ids = [str(i) for i in range(700)]
        collection.add(ids=ids, embeddings=vectors(700))
        if removed == "deleted":
            collection.delete(ids=ids[100:300])
        else:
            collection.upsert(ids=ids[100:300], embeddings=vectors(200, 2))
        left = 500 if removed == "deleted" else 700
        collection.stats()
        assert client.stats()["by_collection"]["points"]["uncoded"] == left
        explanation = collection.explain(query_embeddings=vectors(1, 3))
        assert (explanation["points"], explanation["uncoded"]) == (left, left)


@with_codes
def test_codes_in_files_count_before_the_first_query(tmp_path, monkeypatch):
    eager_codes(monkeypatch)
    with retrieval_store.Client(tmp_path) as client:
        collection = client.create_collection("points", embedding_function=None)
        collection.add(ids=[str(i) for i in range(700)], embeddings=vectors(700))
        collection.optimize()
        before = collection.stats()["spaces"][""]
    with retrieval_store.Client(tmp_path) as client:
        space = client.get_collection("points", embedding_function=None).stats()["spaces"][""]
    assert 0 < space["coded_slots"] <= before["coded_slots"]


def test_gauges_load_nothing(tmp_path):
    path = tmp_path / "store"
    with retrieval_store.Client(path) as client:
        client.create_collection("points", embedding_function=None).add(**secrets())
    with retrieval_store.Client(path) as client:
        for _ in range(2):
            reported = client.stats()["by_collection"]["points"]
            assert (reported["in_memory"], reported["memory"], reported["dead_slots"]) == (
                False,
                0,
                None,
            )
            assert (reported["index_lag"], reported["uncoded"]) == (None, None)
            assert (reported["points"], reported["seq"]) == (4, 1)


def test_a_damaged_collection_is_reported_and_the_others_are_counted(tmp_path):
    path = tmp_path / "store"
    with retrieval_store.Client(path) as client:
        for name in ("good", "bad"):
            collection = client.create_collection(name, embedding_function=None)
            collection.add(**secrets())
        directory = path / str(collection.id)
    (directory / "points.sqlite").write_bytes(b"not a database" * 1_000)
    with retrieval_store.Client(path) as client:
        stats = client.stats()
    assert stats["points"] == 4
    assert stats["by_collection"]["bad"]["points"] is None
    assert "points.sqlite" in stats["by_collection"]["bad"]["problem"]
    assert stats["by_collection"]["good"]["problem"] is None
    assert (path / CATALOG_NAME).exists()


@pytest.mark.parametrize("slots", [3, 10**12])
def test_a_number_of_slots_that_is_not_true_sizes_nothing(tmp_path, slots):
    with retrieval_store.Client(tmp_path) as client:
        client.create_collection("points", embedding_function=None).add(["a", "b"], [[1], [2]])
    (file,) = tmp_path.glob("*/points.sqlite")
    with closing(apsw.Connection(str(file), vfs="cksmvfs")) as connection:
        connection.execute("UPDATE spaces SET slots = ?", (slots,))
    with retrieval_store.Client(tmp_path, read_only=True) as client:
        reported = client.stats()["by_collection"]["points"]
        assert (reported["points"], reported["index_lag"], reported["problem"]) == (2, None, None)
