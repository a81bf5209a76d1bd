"""Reads of a Collection."""

import numpy as np

from tests.helpers.oracle import bm25
from tests.rehearsal.acts import act
from tests.rehearsal.asked import DOCUMENTS, wheres
from tests.rehearsal.places import EMBEDDED
from tests.rehearsal.stage import EVERYTHING, Stage, compare
from tests.rehearsal.truth import check_hits, own_word

EXACT_ORDER = frozenset({"disk", "memory", "served"})  # where records come by insertion


def ordered(stage: Stage) -> bool:
    return stage.place.name in EXACT_ORDER


@act()
def all_records(stage: Stage) -> None:
    """Whole, all at once, and each by its id."""
    stage.check_records(stage.collection.get(include=EVERYTHING))
    assert stage.collection.count() == len(stage.truth)
    ids = stage.some(3000)
    got = stage.collection.get(ids=ids, include=EVERYTHING)
    compare(got["ids"], ids, "ids that were asked for", ordered=ordered(stage))
    stage.check_records(got)
    for one in stage.some(50):
        stage.check_records(stage.collection.get(ids=one, include=EVERYTHING))


@act("keys")
def every_filter(stage: Stage) -> None:
    for name, where in wheres(stage.shape).items():
        right = stage.truth.matching(where)
        got = stage.collection.get(where=where, include=[])["ids"]
        compare(got, right, f"{name} {where}", ordered=ordered(stage))
        assert stage.collection.count(where=where) == len(right), name


@act("texts")
def every_filter_of_documents(stage: Stage) -> None:
    for name, where in DOCUMENTS.items():
        right = stage.truth.matching(None, where)
        got = stage.collection.get(where_document=where, include=[])["ids"]
        compare(got, right, f"{name} {where}", ordered=ordered(stage))
    where, document = {"year": {"$lt": 2000}}, {"$contains": "module"}
    right = stage.truth.matching(where, document)
    got = stage.collection.get(where=where, where_document=document, include=[])["ids"]
    compare(got, right, "metadata and documents", ordered=ordered(stage))


@act()
def pages_through_everything(stage: Stage) -> None:
    """Each record once, in pages by limit and offset."""
    size, ids = max(100, len(stage.truth) // 25), []
    for offset in range(0, len(stage.truth) + size, size):
        ids += stage.collection.get(limit=size, offset=offset, include=[])["ids"]
    compare(ids, stage.truth.ids, "pages", ordered=ordered(stage))


@act("keys", places=EMBEDDED | {"served"})
def pages_of_a_filter(stage: Stage) -> None:
    where, size, ids = {"price": {"$gt": 34.66}}, 1000, []
    right = stage.truth.matching(where)
    for offset in range(0, len(right) + size, size):
        page = stage.collection.get(where=where, limit=size, offset=offset, include=["metadatas"])
        ids += page["ids"]
    compare(ids, right, "pages of a filter")


@act("keys", places=EMBEDDED | {"served"})
def orders(stage: Stage) -> None:
    for key in ("price", "year", "day"):
        for descending in (False, True):
            right = stage.truth.list_in_order(stage.truth.ids, key, descending)
            got = stage.collection.get(order_by=key, descending=descending, include=[])["ids"]
            compare(got, right, f"by {key}, descending {descending}")
    where = {"topic": "birds"}
    right = stage.truth.list_in_order(stage.truth.matching(where), "year", False)
    for offset in range(0, len(right), 311):
        page = stage.collection.get(where=where, order_by="year", limit=311, offset=offset)
        compare(page["ids"], right[offset : offset + 311], f"the page from {offset} on")


@act("keys", places=EMBEDDED | {"served"})
def iterates(stage: Stage) -> None:
    ids = [one["id"] for one in stage.collection.iterate(batch=1777, include=["metadatas"])]
    compare(ids, stage.truth.ids, "records one by one")
    where, ids = {"topic": "maps"}, []
    for one in stage.collection.iterate(where=where, include=["metadatas", "documents"]):
        record = stage.truth.records[one["id"]]
        assert one["metadata"] == record.metadata and one["document"] == record.document
        ids.append(one["id"])
    compare(ids, stage.truth.matching(where), "records that match, one by one")


@act("keys")
def facets(stage: Stage) -> None:
    everything = stage.truth.ids
    for key in ("topic", "year", "tags", "day"):
        right = stage.truth.facet(key, everything)
        assert stage.collection.facet(key, limit=None) == right, key
    where = {"price": {"$lt": 20}}
    right = stage.truth.facet("topic", stage.truth.matching(where))
    assert stage.collection.facet("topic", where=where) == right[:10]


def query_and_check(stage: Stage, queries: np.ndarray, k: int, batch: int = 1, **named) -> None:
    """Hits of each query compared with brute force; recall, as promised, of all together."""
    shares = shares_found(stage, queries, k, batch, **named)
    promised = 1.0 if stage.exact or named.get("exact") else 0.98
    if promised < 1:  # of few hits one that is missing tells nothing
        promised = min(promised, 1 - 2 / (k * len(queries)))
    assert np.mean(shares) >= promised, f"{np.mean(shares):.4f} found, {promised} promised; {named}"


def shares_found(stage: Stage, queries: np.ndarray, k: int, batch: int = 1, **named) -> list[float]:
    where, document = named.get("where"), named.get("where_document")
    allowed = None
    if where is not None or document is not None:
        allowed = stage.truth.matching(where, document)
    shares = []
    for first in range(0, len(queries), batch):
        asked = queries[first : first + batch]
        got = stage.collection.query(asked, n_results=k, include=["distances"], **named)
        for i, query in enumerate(asked):
            hits = (got["ids"][i], got["distances"][i])
            shares.append(check_hits(stage.truth, query, *hits, k, allowed))
    return shares


@act()
def queries_one_by_one(stage: Stage) -> None:
    query_and_check(stage, stage.queries(stage.times(20, 60, 200)), 10)


@act()
def queries_exactly(stage: Stage) -> None:
    query_and_check(stage, stage.queries(10), 10, exact=True)


@act("keys")
def queries_with_every_filter(stage: Stage) -> None:
    """Recall is promised of all together, since three queries of each tell little."""
    shares = []
    for where in wheres(stage.shape).values():
        own = shares_found(stage, stage.queries(stage.times(1, 3, 6)), 10, where=where)
        assert min(own) >= (1.0 if stage.exact else 0.7), f"{min(own)} found; {where}"
        shares += own
    assert np.mean(shares) >= 0.98, np.mean(shares)


@act("texts")
def queries_with_filters_of_documents(stage: Stage) -> None:
    for where in DOCUMENTS.values():
        query_and_check(stage, stage.queries(2), 10, where_document=where)


@act()
def a_batch_of_500_queries(stage: Stage) -> None:
    """The same hits as one by one; those of some compared with brute force."""
    queries = stage.queries(500)
    got = stage.collection.query(queries, n_results=10, include=["distances"])
    shares = [
        check_hits(stage.truth, queries[i], got["ids"][i], got["distances"][i], 10)
        for i in range(0, 500, stage.times(25, 10, 2))
    ]
    assert np.mean(shares) >= (1.0 if stage.exact else 0.98)


@act()
def ten_thousand_hits(stage: Stage) -> None:
    query_and_check(stage, stage.queries(2), 10_000)


@act(places=EMBEDDED | {"served"})
def deep_offsets(stage: Stage) -> None:
    """Pages of hits are one after another what all are at once. Where searches may leave something
    out, each page is a search of its own, and a hit that one has missed moves the others."""
    query, ids, distances = stage.queries(1), [], []
    for offset in range(0, 3000, 500):
        page = stage.collection.query(query, n_results=500, offset=offset, include=["distances"])
        ids += page["ids"][0]
        distances += page["distances"][0]
    if stage.exact:
        assert check_hits(stage.truth, query[0], ids, distances, 3000) == 1
    else:
        assert len(ids) == 3000 and len(set(ids)) >= 2940


@act("keys")
def queries_grouped(stage: Stage) -> None:
    """The best record of each value, against brute force."""
    query = stage.queries(1)[0]
    got = stage.collection.query([query], n_results=10, group_by="year", include=["distances"])
    best: dict[int, float] = {}
    distances = stage.truth.distances(query)
    for record, distance in zip(stage.truth.records.values(), distances, strict=True):
        if "year" in (record.metadata or {}):
            year = record.metadata["year"]
            best[year] = min(distance, best.get(year, np.inf))
    right = sorted(best.values())[:10]
    assert np.allclose(got["distances"][0], right, rtol=1e-5, atol=1e-5)
    years = [stage.truth.records[one].metadata["year"] for one in got["ids"][0]]
    assert len(set(years)) == len(years)


@act(places=EMBEDDED | {"served"})
def queries_within_a_distance(stage: Stage) -> None:
    query = stage.queries(1)[0]
    bound = float(stage.truth.nearest(query, 200)[150]) + 1e-7
    got = stage.collection.query([query], n_results=1000, max_distance=bound)["ids"][0]
    right = int((stage.truth.distances(query) <= bound).sum())
    assert abs(len(got) - right) <= (1 if stage.exact else 0.05 * right)


@act(places=EMBEDDED | {"served"})
def queries_like_records(stage: Stage) -> None:
    liked = stage.some(2)
    got = stage.collection.query(like=liked, n_results=20, include=["distances"])
    assert not set(liked) & set(got["ids"][0])
    assert len(set(got["ids"][0])) == 20


@act("texts", places=EMBEDDED | {"served"})
def words(stage: Stage) -> None:
    """BM25 of all documents by its formula, and a word that one document has."""
    one = stage.some(1)[0]
    word = own_word(stage.truth.records[one].document)
    assert stage.collection.query(query_texts=word, mode="text")["ids"][0] == [one]
    documents = [record.document for record in stage.truth.records.values()]
    asked = "socket decimal garbage"
    right = bm25(documents, asked)
    got = stage.collection.query(
        query_texts=asked, mode="text", n_results=20, include=["distances"]
    )
    places = {name: i for i, name in enumerate(stage.truth.ids)}
    own = [right[places[name]] for name in got["ids"][0]]
    best = sorted(right, reverse=True)[:20]
    assert np.allclose(own, best, rtol=1e-4), (own[:3], best[:3])


@act("texts", places=EMBEDDED | {"served"})
def hybrids(stage: Stage) -> None:
    """Fusion holds the word's one document, and no hit twice; filters hold."""
    for one in stage.some(stage.times(3, 10, 30)):
        record = stage.truth.records[one]
        asked = {
            "query_embeddings": [record.vector],
            "query_texts": "socket timeout",
            "n_results": 20,
        }
        got = stage.collection.query(**asked, mode="hybrid", where={"year": {"$gte": 2000}})
        ids = got["ids"][0]
        assert len(set(ids)) == len(ids) == 20
        assert all(m["year"] >= 2000 for m in got["metadatas"][0])
        if record.metadata["year"] >= 2000:
            assert one in ids[:2], "the record's own vector is found first"


@act(places=EMBEDDED | {"served"})
def explains_and_says_why(stage: Stage) -> None:
    query = stage.queries(1)
    assert stage.collection.explain(query, n_results=5)
    some = stage.some(2)
    reasons = stage.collection.why(query, n_results=5, records=some)
    assert len(reasons) == 2
    assert stage.collection.stats()
    assert stage.collection.peek(5)["ids"] == stage.truth.ids[:5]
