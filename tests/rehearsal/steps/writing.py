"""Writes of a Collection, each followed by reads that must reflect it."""

import time
from typing import Any

import numpy as np
import pytest

from retrieval_store import errors
from tests.rehearsal.places import EMBEDDED
from tests.rehearsal.scenario import EVERYTHING, Scenario, compare
from tests.rehearsal.shapes import Records
from tests.rehearsal.steps import step
from tests.rehearsal.steps.reading import query_and_check
from tests.rehearsal.truth import Truth, own_word

AFTERWARDS = (
    {"topic": "birds"},
    {"year": {"$gte": 2015}},
    {"price": {"$gt": 34.66}},
    {"tags": {"$contains": "draft"}},
    {"changed": {"$gte": 0}},
)


def warm(scenario: Scenario) -> None:
    """Fill the caches that the change must invalidate."""
    for where in AFTERWARDS:
        scenario.collection.count(where=where)
        scenario.collection.get(where=where, include=[])
        scenario.collection.query(scenario.queries(1), n_results=10, where=where)
    scenario.collection.query(scenario.queries(1), n_results=10)
    if "keys" in scenario.shape.kinds:
        scenario.collection.facet("topic", limit=None)
    if "texts" in scenario.shape.kinds:
        scenario.collection.query(query_texts="socket", mode="text")


def check_reads(scenario: Scenario) -> None:
    """Check reads after a change: records, filters, facets, orders and hits."""
    scenario.check()
    assert scenario.collection.count() == len(scenario.truth)
    where: dict[str, Any]
    for where in AFTERWARDS:
        right = scenario.truth.matching(where)
        got = scenario.collection.get(where=where, include=[])["ids"]
        compare(got, right, str(where), ordered=scenario.place.name != "cluster")
        assert scenario.collection.count(where=where) == len(right)
    query_and_check(scenario, scenario.queries(3), 10)
    if "keys" in scenario.shape.kinds:
        query_and_check(scenario, scenario.queries(3), 10, where={"topic": "birds"})
        right = scenario.truth.facet("topic", scenario.truth.ids)
        assert scenario.collection.facet("topic", limit=None) == right


def add_again(scenario: Scenario, ids: list[str]) -> None:
    """Restore deleted records, at the end."""
    places = {one: i for i, one in enumerate(scenario.records.ids)}
    rows = [places[one] for one in ids if one in places]
    records = Records(
        [scenario.records.ids[i] for i in rows],
        scenario.records.vectors[rows],
        scenario.records.metadatas and [dict(scenario.records.metadatas[i]) for i in rows],
        scenario.records.documents and [scenario.records.documents[i] for i in rows],
    )
    scenario.add(records)
    scenario.truth.add(records)


@step()
def adds_in_bulk(scenario: Scenario) -> None:
    warm(scenario)
    records = scenario.more(len(scenario.records) // 10)
    scenario.add(records)
    scenario.truth.add(records)
    check_reads(scenario)
    with pytest.raises(errors.IDAlreadyExistsError):
        scenario.add(records.part(0, 10))
    scenario.collection.delete(ids=records.ids)
    scenario.truth.delete(records.ids)
    check_reads(scenario)


@step()
def adds_one_by_one(scenario: Scenario) -> None:
    """The next call finds each record."""
    records = scenario.more(scenario.times(50, 200, 500))
    for i in range(len(records)):
        one = records.part(i, i + 1)
        scenario.collection.add(one.ids, one.vectors, one.metadatas, one.documents)
        scenario.truth.add(one)
        if i % 10 == 0:
            hits = scenario.collection.query(one.vectors, n_results=1, exact=True)
            (nearest,) = scenario.truth.nearest(one.vectors[0], 1)
            assert abs(hits["distances"][0][0] - nearest) <= 1e-5 * (1 + abs(nearest))
    check_reads(scenario)


@step()
def refuses_whole_batches(scenario: Scenario) -> None:
    """A batch with one invalid record writes nothing."""
    records = scenario.more(2000)
    part = (records.metadatas, records.documents)
    doubled = [*records.ids[:-1], records.ids[0]]
    with pytest.raises(errors.RetrievalStoreError):
        scenario.collection.add(doubled, records.vectors, *part)
    known = [*records.ids[:-1], scenario.truth.ids[5]]
    with pytest.raises(errors.RetrievalStoreError):
        scenario.collection.add(known, records.vectors, *part)
    with pytest.raises(errors.RetrievalStoreError):
        scenario.collection.add(records.ids, records.vectors[:, :-1], *part)
    broken = records.vectors.copy()
    broken[1500, 0] = np.nan
    with pytest.raises(errors.RetrievalStoreError):
        scenario.collection.add(records.ids, broken, *part)
    scenario.check()


@step()
def upserts(scenario: Scenario) -> None:
    """A tenth of known ids, with new vectors and documents and a further key, among new ones."""
    warm(scenario)
    known = scenario.some(len(scenario.truth) // 10)
    records = scenario.more(len(known) + 500)
    ids = known + records.ids[len(known) :]
    metadatas = [
        {**(one or {}), "changed": i}
        for i, one in enumerate(records.metadatas or [None] * len(ids))
    ]
    scenario.collection.upsert(ids, records.vectors, metadatas, records.documents)
    fresh = Records(ids, records.vectors, metadatas, records.documents)
    old = {one: scenario.truth.records[one].metadata for one in known}
    scenario.truth.add(fresh)
    for one, metadata in old.items():
        scenario.truth.merge([one], lambda new, old=metadata: {**(old or {}), **new})
    check_reads(scenario)


@step()
def updates_a_third_by_ids(scenario: Scenario) -> None:
    warm(scenario)
    ids = scenario.some(len(scenario.truth) // 3)
    scenario.collection.update(ids=ids, metadatas=[{"changed": i % 7} for i in range(len(ids))])
    numbers = iter(range(len(ids)))
    scenario.truth.merge(ids, lambda _: {"changed": next(numbers) % 7})
    check_reads(scenario)


@step()
def moves_a_tenth(scenario: Scenario) -> None:
    """Only vectors change, so the nearest change."""
    warm(scenario)
    ids = scenario.some(len(scenario.truth) // 10)
    vectors = scenario.more(len(ids)).vectors
    scenario.collection.update(ids=ids, embeddings=vectors)
    scenario.truth.move(ids, vectors)
    check_reads(scenario)


@step("keys")
def updates_a_third_by_filter(scenario: Scenario) -> None:
    warm(scenario)
    where = {"year": {"$lt": 2002}}
    ids = scenario.truth.matching(where)
    result = scenario.collection.update(where=where, metadatas={"topic": "birds", "changed": None})
    assert result["updated"] == len(ids)
    scenario.truth.merge(ids, lambda _: {"topic": "birds", "changed": None})
    check_reads(scenario)


@step("keys")
def deletes_a_third_by_filter(scenario: Scenario) -> None:
    warm(scenario)
    where = {"price": {"$gt": 55}}
    ids = scenario.truth.matching(where)
    assert scenario.collection.delete(where=where) == {"deleted": len(ids)}
    scenario.truth.delete(ids)
    check_reads(scenario)
    add_again(scenario, ids)
    check_reads(scenario)


@step()
def deletes_a_third_by_ids(scenario: Scenario) -> None:
    warm(scenario)
    ids = scenario.some(len(scenario.truth) // 3)
    scenario.collection.delete(ids=ids)
    scenario.truth.delete(ids)
    check_reads(scenario)
    add_again(scenario, ids)
    check_reads(scenario)


@step("keys")
def changes_after_a_compaction(scenario: Scenario) -> None:
    """Caches from before a compaction reflect later changes."""
    ids = scenario.some(len(scenario.truth) // 10)
    scenario.collection.delete(ids=ids)
    scenario.truth.delete(ids)
    warm(scenario)
    scenario.collection.optimize()
    warm(scenario)
    where = {"year": {"$in": [1995, 2005, 2015]}}
    changed = scenario.truth.matching(where)
    scenario.collection.update(where=where, metadatas={"topic": "birds", "price": 1.5})
    scenario.truth.merge(changed, lambda _: {"topic": "birds", "price": 1.5})
    check_reads(scenario)
    add_again(scenario, ids)
    check_reads(scenario)


@step("texts", places=EMBEDDED | {"served"})
def changes_texts(scenario: Scenario) -> None:
    """Words of old documents find nothing, those of new ones do."""
    ids = scenario.some(1000)
    old = [scenario.truth.records[one].document for one in ids]
    scenario.collection.query(query_texts=own_word(old[0]), mode="text")
    texts = [f"zanzibar {i} changedtext{i:05d}" for i in range(len(ids))]
    scenario.collection.update(
        ids=ids,
        documents=texts,
        embeddings=[scenario.truth.records[one].vector for one in ids],
    )
    scenario.truth.rewrite(ids, texts)
    got = scenario.collection.query(query_texts="zanzibar", mode="text", n_results=2000)["ids"][0]
    compare(sorted(got), sorted(ids), "documents with a new word")
    for i in (0, 500, 999):
        word = own_word(old[i])
        assert ids[i] not in scenario.collection.query(query_texts=word, mode="text")["ids"][0]
        word = texts[i].split()[2]
        assert scenario.collection.query(query_texts=word, mode="text")["ids"][0] == [ids[i]]
    scenario.check()


@step("texts", places=EMBEDDED | {"served"}, slow="the first call loads the model")
def embeds_texts(scenario: Scenario) -> None:
    """A collection with the default model: documents find themselves."""
    collection = scenario.timed(scenario.client.create_collection("embedded"))
    texts = scenario.records.documents[: scenario.times(500, 5000, 20000)]
    documents = [f"number {i}: {text[:600]}" for i, text in enumerate(texts)]
    ids = [str(i) for i in range(len(documents))]
    collection.add(ids=ids, documents=documents)
    drawn = scenario.random.choice(len(documents), 50, replace=False).tolist()
    got = collection.query(query_texts=[documents[i] for i in drawn], n_results=1)
    assert [hits[0] for hits in got["ids"]] == [ids[i] for i in drawn]
    scenario.client.delete_collection("embedded")


@step(places=EMBEDDED | {"served"})
def records_expire(scenario: Scenario) -> None:
    """Each record expires at its own time, for every kind of query."""
    configuration = {"hnsw": {"space": scenario.shape.metric}, "expires": "until"}
    collection = scenario.timed(
        scenario.client.create_collection("expiring", configuration, embedding_function=None)
    )
    records = scenario.more(5000)
    soon = time.time() + 2
    metadatas = [{"until": soon if i % 2 else soon + 3600, "n": i % 3} for i in range(5000)]
    collection.add(records.ids, records.vectors, metadatas, records.documents)
    early = collection.count()
    assert early == 5000 or time.time() > soon
    collection.count(where={"n": 1})
    time.sleep(max(0, soon + 0.1 - time.time()))
    alive = [one for i, one in enumerate(records.ids) if i % 2 == 0]
    compare(collection.get(include=[])["ids"], alive, "what hasn't expired")
    right = [one for i, one in enumerate(records.ids) if i % 2 == 0 and i % 3 == 1]
    compare(collection.get(where={"n": 1}, include=[])["ids"], right, "and matches")
    assert collection.count(where={"n": 1}) == len(right)
    hits = collection.query(records.vectors[:50], n_results=10)["ids"]
    assert not {one for row in hits for one in row} - set(alive)
    collection.optimize()
    compare(collection.get(include=[])["ids"], alive, "what hasn't expired, after optimize")
    scenario.client.delete_collection("expiring")


@step(places=EMBEDDED)
def forks(scenario: Scenario) -> None:
    """A copy of one moment; later writes to either don't affect the other."""
    fork = scenario.collection.fork("forked")
    scenario.check(fork)
    records = scenario.more(100)
    fork.add(records.ids, records.vectors, records.metadatas, records.documents)
    assert scenario.collection.count() == len(scenario.truth)
    fork.delete(ids=records.ids)
    scenario.check(fork)
    scenario.client.delete_collection("forked")


@step()
def renames(scenario: Scenario) -> None:
    scenario.collection.modify(name="renamed", metadata={"told": 1})
    assert scenario.client.get_collection("renamed", embedding_function=None).count() == len(
        scenario.truth
    )
    scenario.collection.modify(name="scenario")
    assert "renamed" not in {one.name for one in scenario.client.list_collections()}


@step(places=EMBEDDED | {"served"})
def writes_at_once(scenario: Scenario) -> None:
    """Four threads write and four read; afterwards everything acknowledged is there."""
    from concurrent.futures import ThreadPoolExecutor

    batches = [scenario.more(50) for _ in range(scenario.times(16, 80, 200))]
    queries = scenario.queries(20)

    def write(records: Records) -> None:
        scenario.collection.add(records.ids, records.vectors, records.metadatas, records.documents)

    def read(query: np.ndarray) -> None:
        got = scenario.collection.query([query], n_results=10)["ids"][0]
        assert len(set(got)) == 10

    with ThreadPoolExecutor(4) as writers, ThreadPoolExecutor(4) as readers:
        done = [writers.submit(write, one) for one in batches]
        done += [readers.submit(read, one) for one in queries]
        for one in done:
            one.result()
    truth = Truth(scenario.shape.metric)
    for records in batches:
        truth.add(records)
    ids = scenario.collection.get(include=[])["ids"]
    compare(sorted(ids), sorted([*scenario.truth.ids, *truth.ids]), "what was acknowledged")
    scenario.check_records(scenario.collection.get(ids=truth.ids, include=EVERYTHING), truth)
    scenario.collection.delete(ids=truth.ids)
    check_reads(scenario)
