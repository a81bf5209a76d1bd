"""Writes of a Collection, each followed by reads that must know of it."""

import time
from typing import Any

import numpy as np
import pytest

from retrieval_store import errors
from tests.rehearsal.acts import act
from tests.rehearsal.acts.reading import query_and_check
from tests.rehearsal.places import EMBEDDED
from tests.rehearsal.shapes import Records
from tests.rehearsal.stage import EVERYTHING, Stage, compare
from tests.rehearsal.truth import Truth, own_word

AFTERWARDS = (
    {"topic": "birds"},
    {"year": {"$gte": 2015}},
    {"price": {"$gt": 34.66}},
    {"tags": {"$contains": "draft"}},
    {"changed": {"$gte": 0}},
)


def warm(stage: Stage) -> None:
    """Have in the caches what the change must reach."""
    for where in AFTERWARDS:
        stage.collection.count(where=where)
        stage.collection.get(where=where, include=[])
        stage.collection.query(stage.queries(1), n_results=10, where=where)
    stage.collection.query(stage.queries(1), n_results=10)
    if "keys" in stage.shape.kinds:
        stage.collection.facet("topic", limit=None)
    if "texts" in stage.shape.kinds:
        stage.collection.query(query_texts="socket", mode="text")


def check_reads(stage: Stage) -> None:
    """What users see after a change: records, filters, facets, orders and hits."""
    stage.check()
    assert stage.collection.count() == len(stage.truth)
    where: dict[str, Any]
    for where in AFTERWARDS:
        right = stage.truth.matching(where)
        got = stage.collection.get(where=where, include=[])["ids"]
        compare(got, right, str(where), ordered=stage.place.name != "cluster")
        assert stage.collection.count(where=where) == len(right)
    query_and_check(stage, stage.queries(3), 10)
    if "keys" in stage.shape.kinds:
        query_and_check(stage, stage.queries(3), 10, where={"topic": "birds"})
        right = stage.truth.facet("topic", stage.truth.ids)
        assert stage.collection.facet("topic", limit=None) == right


def add_again(stage: Stage, ids: list[str]) -> None:
    """Bring back records that were deleted, at the end."""
    places = {one: i for i, one in enumerate(stage.records.ids)}
    rows = [places[one] for one in ids if one in places]
    records = Records(
        [stage.records.ids[i] for i in rows],
        stage.records.vectors[rows],
        stage.records.metadatas and [dict(stage.records.metadatas[i]) for i in rows],
        stage.records.documents and [stage.records.documents[i] for i in rows],
    )
    stage.add(records)
    stage.truth.add(records)


@act()
def adds_in_bulk(stage: Stage) -> None:
    warm(stage)
    records = stage.more(len(stage.records) // 10)
    stage.add(records)
    stage.truth.add(records)
    check_reads(stage)
    with pytest.raises(errors.IDAlreadyExistsError):
        stage.add(records.part(0, 10))
    stage.collection.delete(ids=records.ids)
    stage.truth.delete(records.ids)
    check_reads(stage)


@act()
def adds_one_by_one(stage: Stage) -> None:
    """Each is found by the next call."""
    records = stage.more(stage.times(50, 200, 500))
    for i in range(len(records)):
        one = records.part(i, i + 1)
        stage.collection.add(one.ids, one.vectors, one.metadatas, one.documents)
        stage.truth.add(one)
        if i % 10 == 0:
            hits = stage.collection.query(one.vectors, n_results=1, exact=True)
            (nearest,) = stage.truth.nearest(one.vectors[0], 1)
            assert abs(hits["distances"][0][0] - nearest) <= 1e-5 * (1 + abs(nearest))
    check_reads(stage)


@act()
def refuses_whole_batches(stage: Stage) -> None:
    """One record that can't be, and nothing of the batch is there."""
    records = stage.more(2000)
    part = (records.metadatas, records.documents)
    doubled = [*records.ids[:-1], records.ids[0]]
    with pytest.raises(errors.RetrievalStoreError):
        stage.collection.add(doubled, records.vectors, *part)
    known = [*records.ids[:-1], stage.truth.ids[5]]
    with pytest.raises(errors.RetrievalStoreError):
        stage.collection.add(known, records.vectors, *part)
    with pytest.raises(errors.RetrievalStoreError):
        stage.collection.add(records.ids, records.vectors[:, :-1], *part)
    broken = records.vectors.copy()
    broken[1500, 0] = np.nan
    with pytest.raises(errors.RetrievalStoreError):
        stage.collection.add(records.ids, broken, *part)
    stage.check()


@act()
def upserts(stage: Stage) -> None:
    """A tenth of known ids, with other vectors and documents and a key more, among new ones."""
    warm(stage)
    known = stage.some(len(stage.truth) // 10)
    records = stage.more(len(known) + 500)
    ids = known + records.ids[len(known) :]
    metadatas = [
        {**(one or {}), "changed": i}
        for i, one in enumerate(records.metadatas or [None] * len(ids))
    ]
    stage.collection.upsert(ids, records.vectors, metadatas, records.documents)
    fresh = Records(ids, records.vectors, metadatas, records.documents)
    old = {one: stage.truth.records[one].metadata for one in known}
    stage.truth.add(fresh)
    for one, metadata in old.items():
        stage.truth.merge([one], lambda new, old=metadata: {**(old or {}), **new})
    check_reads(stage)


@act()
def updates_a_third_by_ids(stage: Stage) -> None:
    warm(stage)
    ids = stage.some(len(stage.truth) // 3)
    stage.collection.update(ids=ids, metadatas=[{"changed": i % 7} for i in range(len(ids))])
    numbers = iter(range(len(ids)))
    stage.truth.merge(ids, lambda _: {"changed": next(numbers) % 7})
    check_reads(stage)


@act()
def moves_a_tenth(stage: Stage) -> None:
    """Other vectors alone: the nearest are others."""
    warm(stage)
    ids = stage.some(len(stage.truth) // 10)
    vectors = stage.more(len(ids)).vectors
    stage.collection.update(ids=ids, embeddings=vectors)
    stage.truth.move(ids, vectors)
    check_reads(stage)


@act("keys")
def updates_a_third_by_filter(stage: Stage) -> None:
    warm(stage)
    where = {"year": {"$lt": 2002}}
    ids = stage.truth.matching(where)
    told = stage.collection.update(where=where, metadatas={"topic": "birds", "changed": None})
    assert told["updated"] == len(ids)
    stage.truth.merge(ids, lambda _: {"topic": "birds", "changed": None})
    check_reads(stage)


@act("keys")
def deletes_a_third_by_filter(stage: Stage) -> None:
    warm(stage)
    where = {"price": {"$gt": 55}}
    ids = stage.truth.matching(where)
    assert stage.collection.delete(where=where) == {"deleted": len(ids)}
    stage.truth.delete(ids)
    check_reads(stage)
    add_again(stage, ids)
    check_reads(stage)


@act()
def deletes_a_third_by_ids(stage: Stage) -> None:
    warm(stage)
    ids = stage.some(len(stage.truth) // 3)
    stage.collection.delete(ids=ids)
    stage.truth.delete(ids)
    check_reads(stage)
    add_again(stage, ids)
    check_reads(stage)


@act("keys")
def changes_after_a_compaction(stage: Stage) -> None:
    """What is kept in memory from before it knows of what is changed after it."""
    ids = stage.some(len(stage.truth) // 10)
    stage.collection.delete(ids=ids)
    stage.truth.delete(ids)
    warm(stage)
    stage.collection.optimize()
    warm(stage)
    where = {"year": {"$in": [1995, 2005, 2015]}}
    changed = stage.truth.matching(where)
    stage.collection.update(where=where, metadatas={"topic": "birds", "price": 1.5})
    stage.truth.merge(changed, lambda _: {"topic": "birds", "price": 1.5})
    check_reads(stage)
    add_again(stage, ids)
    check_reads(stage)


@act("texts", places=EMBEDDED | {"served"})
def changes_texts(stage: Stage) -> None:
    """Words of old documents find nothing, those of new ones do."""
    ids = stage.some(1000)
    old = [stage.truth.records[one].document for one in ids]
    stage.collection.query(query_texts=own_word(old[0]), mode="text")
    texts = [f"zanzibar {i} changedtext{i:05d}" for i in range(len(ids))]
    stage.collection.update(
        ids=ids,
        documents=texts,
        embeddings=[stage.truth.records[one].vector for one in ids],
    )
    stage.truth.rewrite(ids, texts)
    got = stage.collection.query(query_texts="zanzibar", mode="text", n_results=2000)["ids"][0]
    compare(sorted(got), sorted(ids), "documents with a new word")
    for i in (0, 500, 999):
        word = own_word(old[i])
        assert ids[i] not in stage.collection.query(query_texts=word, mode="text")["ids"][0]
        word = texts[i].split()[2]
        assert stage.collection.query(query_texts=word, mode="text")["ids"][0] == [ids[i]]
    stage.check()


@act("texts", places=EMBEDDED | {"served"}, slow="the first call loads the model")
def embeds_texts(stage: Stage) -> None:
    """A collection whose vectors the default model makes: documents find themselves."""
    collection = stage.timed(stage.client.create_collection("embedded"))
    texts = stage.records.documents[: stage.times(500, 5000, 20000)]
    documents = [f"number {i}: {text[:600]}" for i, text in enumerate(texts)]
    ids = [str(i) for i in range(len(documents))]
    collection.add(ids=ids, documents=documents)
    drawn = stage.random.choice(len(documents), 50, replace=False).tolist()
    got = collection.query(query_texts=[documents[i] for i in drawn], n_results=1)
    assert [hits[0] for hits in got["ids"]] == [ids[i] for i in drawn]
    stage.client.delete_collection("embedded")


@act(places=EMBEDDED | {"served"})
def records_expire(stage: Stage) -> None:
    """From the moment on that each names, in whatever is asked."""
    configuration = {"hnsw": {"space": stage.shape.metric}, "expires": "until"}
    collection = stage.timed(
        stage.client.create_collection("expiring", configuration, embedding_function=None)
    )
    records = stage.more(5000)
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
    stage.client.delete_collection("expiring")


@act(places=EMBEDDED)
def forks(stage: Stage) -> None:
    """A copy of one moment, which later writes to either don't reach."""
    fork = stage.collection.fork("forked")
    stage.check(fork)
    records = stage.more(100)
    fork.add(records.ids, records.vectors, records.metadatas, records.documents)
    assert stage.collection.count() == len(stage.truth)
    fork.delete(ids=records.ids)
    stage.check(fork)
    stage.client.delete_collection("forked")


@act()
def renames(stage: Stage) -> None:
    stage.collection.modify(name="renamed", metadata={"told": 1})
    assert stage.client.get_collection("renamed", embedding_function=None).count() == len(
        stage.truth
    )
    stage.collection.modify(name="stage")
    assert "renamed" not in {one.name for one in stage.client.list_collections()}


@act(places=EMBEDDED | {"served"})
def writes_at_once(stage: Stage) -> None:
    """Four threads write and four read; afterwards everything that was acknowledged is there."""
    from concurrent.futures import ThreadPoolExecutor

    batches = [stage.more(50) for _ in range(stage.times(16, 80, 200))]
    queries = stage.queries(20)

    def write(records: Records) -> None:
        stage.collection.add(records.ids, records.vectors, records.metadatas, records.documents)

    def read(query: np.ndarray) -> None:
        got = stage.collection.query([query], n_results=10)["ids"][0]
        assert len(set(got)) == 10

    with ThreadPoolExecutor(4) as writers, ThreadPoolExecutor(4) as readers:
        done = [writers.submit(write, one) for one in batches]
        done += [readers.submit(read, one) for one in queries]
        for one in done:
            one.result()
    truth = Truth(stage.shape.metric)
    for records in batches:
        truth.add(records)
    ids = stage.collection.get(include=[])["ids"]
    compare(sorted(ids), sorted([*stage.truth.ids, *truth.ids]), "what was acknowledged")
    stage.check_records(stage.collection.get(ids=truth.ids, include=EVERYTHING), truth)
    stage.collection.delete(ids=truth.ids)
    check_reads(stage)
