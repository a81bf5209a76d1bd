"""Reads of a Collection."""

import numpy as np

from tests.helpers.oracle import bm25
from tests.rehearsal.asked import DOCUMENTS, wheres
from tests.rehearsal.places import EMBEDDED
from tests.rehearsal.scenario import EVERYTHING, Scenario, compare
from tests.rehearsal.steps import step
from tests.rehearsal.truth import check_hits, own_word

EXACT_ORDER = frozenset({"disk", "memory", "served"})  # where records come by insertion


def ordered(scenario: Scenario) -> bool:
    return scenario.place.name in EXACT_ORDER


@step()
def all_records(scenario: Scenario) -> None:
    """Whole records, all at once and each by its id."""
    scenario.check_records(scenario.collection.get(include=EVERYTHING))
    assert scenario.collection.count() == len(scenario.truth)
    ids = scenario.some(3000)
    got = scenario.collection.get(ids=ids, include=EVERYTHING)
    compare(got["ids"], ids, "ids that were asked for", ordered=ordered(scenario))
    scenario.check_records(got)
    for one in scenario.some(50):
        scenario.check_records(scenario.collection.get(ids=one, include=EVERYTHING))


@step("keys")
def every_filter(scenario: Scenario) -> None:
    for name, where in wheres(scenario.shape).items():
        right = scenario.truth.matching(where)
        got = scenario.collection.get(where=where, include=[])["ids"]
        compare(got, right, f"{name} {where}", ordered=ordered(scenario))
        assert scenario.collection.count(where=where) == len(right), name


@step("texts")
def every_filter_of_documents(scenario: Scenario) -> None:
    for name, where in DOCUMENTS.items():
        right = scenario.truth.matching(None, where)
        got = scenario.collection.get(where_document=where, include=[])["ids"]
        compare(got, right, f"{name} {where}", ordered=ordered(scenario))
    where, document = {"year": {"$lt": 2000}}, {"$contains": "module"}
    right = scenario.truth.matching(where, document)
    got = scenario.collection.get(where=where, where_document=document, include=[])["ids"]
    compare(got, right, "metadata and documents", ordered=ordered(scenario))


@step()
def pages_through_everything(scenario: Scenario) -> None:
    """Each record once, in pages by limit and offset."""
    size, ids = max(100, len(scenario.truth) // 25), []
    for offset in range(0, len(scenario.truth) + size, size):
        ids += scenario.collection.get(limit=size, offset=offset, include=[])["ids"]
    compare(ids, scenario.truth.ids, "pages", ordered=ordered(scenario))


@step("keys", places=EMBEDDED | {"served"})
def pages_of_a_filter(scenario: Scenario) -> None:
    where, size, ids = {"price": {"$gt": 34.66}}, 1000, []
    right = scenario.truth.matching(where)
    for offset in range(0, len(right) + size, size):
        page = scenario.collection.get(
            where=where, limit=size, offset=offset, include=["metadatas"]
        )
        ids += page["ids"]
    compare(ids, right, "pages of a filter")


@step("keys", places=EMBEDDED | {"served"})
def orders(scenario: Scenario) -> None:
    for key in ("price", "year", "day"):
        for descending in (False, True):
            right = scenario.truth.list_in_order(scenario.truth.ids, key, descending)
            got = scenario.collection.get(order_by=key, descending=descending, include=[])["ids"]
            compare(got, right, f"by {key}, descending {descending}")
    where = {"topic": "birds"}
    right = scenario.truth.list_in_order(scenario.truth.matching(where), "year", False)
    for offset in range(0, len(right), 311):
        page = scenario.collection.get(where=where, order_by="year", limit=311, offset=offset)
        compare(page["ids"], right[offset : offset + 311], f"the page from {offset} on")


@step("keys", places=EMBEDDED | {"served"})
def iterates(scenario: Scenario) -> None:
    ids = [one["id"] for one in scenario.collection.iterate(batch=1777, include=["metadatas"])]
    compare(ids, scenario.truth.ids, "records one by one")
    where, ids = {"topic": "maps"}, []
    for one in scenario.collection.iterate(where=where, include=["metadatas", "documents"]):
        record = scenario.truth.records[one["id"]]
        assert one["metadata"] == record.metadata and one["document"] == record.document
        ids.append(one["id"])
    compare(ids, scenario.truth.matching(where), "records that match, one by one")


@step("keys")
def facets(scenario: Scenario) -> None:
    everything = scenario.truth.ids
    for key in ("topic", "year", "tags", "day"):
        right = scenario.truth.facet(key, everything)
        assert scenario.collection.facet(key, limit=None) == right, key
    where = {"price": {"$lt": 20}}
    right = scenario.truth.facet("topic", scenario.truth.matching(where))
    assert scenario.collection.facet("topic", where=where) == right[:10]


def query_and_check(
    scenario: Scenario, queries: np.ndarray, k: int, batch: int = 1, **named
) -> None:
    """The hits of each query compared with brute force; the promised recall over all queries."""
    shares = shares_found(scenario, queries, k, batch, **named)
    promised = 1.0 if scenario.exact or named.get("exact") else 0.98
    if promised < 1:  # of few hits one that is missing tells nothing
        promised = min(promised, 1 - 2 / (k * len(queries)))
    assert np.mean(shares) >= promised, f"{np.mean(shares):.4f} found, {promised} promised; {named}"


def shares_found(
    scenario: Scenario, queries: np.ndarray, k: int, batch: int = 1, **named
) -> list[float]:
    where, document = named.get("where"), named.get("where_document")
    allowed = None
    if where is not None or document is not None:
        allowed = scenario.truth.matching(where, document)
    shares = []
    for first in range(0, len(queries), batch):
        requests = queries[first : first + batch]
        got = scenario.collection.query(requests, n_results=k, include=["distances"], **named)
        for i, query in enumerate(requests):
            hits = (got["ids"][i], got["distances"][i])
            shares.append(check_hits(scenario.truth, query, *hits, k, allowed))
    return shares


@step()
def queries_one_by_one(scenario: Scenario) -> None:
    query_and_check(scenario, scenario.queries(scenario.times(20, 60, 200)), 10)


@step()
def queries_exactly(scenario: Scenario) -> None:
    query_and_check(scenario, scenario.queries(10), 10, exact=True)


@step("keys")
def queries_with_every_filter(scenario: Scenario) -> None:
    """Recall is checked over all queries, since three queries of each filter show little."""
    shares = []
    for where in wheres(scenario.shape).values():
        own = shares_found(scenario, scenario.queries(scenario.times(1, 3, 6)), 10, where=where)
        assert min(own) >= (1.0 if scenario.exact else 0.7), f"{min(own)} found; {where}"
        shares += own
    assert np.mean(shares) >= 0.98, np.mean(shares)


@step("texts")
def queries_with_filters_of_documents(scenario: Scenario) -> None:
    for where in DOCUMENTS.values():
        query_and_check(scenario, scenario.queries(2), 10, where_document=where)


@step()
def a_batch_of_500_queries(scenario: Scenario) -> None:
    """The same hits as one by one; some are compared with brute force."""
    queries = scenario.queries(500)
    got = scenario.collection.query(queries, n_results=10, include=["distances"])
    shares = [
        check_hits(scenario.truth, queries[i], got["ids"][i], got["distances"][i], 10)
        for i in range(0, 500, scenario.times(25, 10, 2))
    ]
    assert np.mean(shares) >= (1.0 if scenario.exact else 0.98)


@step()
def ten_thousand_hits(scenario: Scenario) -> None:
    query_and_check(scenario, scenario.queries(2), 10_000)


@step(places=EMBEDDED | {"served"})
def deep_offsets(scenario: Scenario) -> None:
    """Consecutive pages of hits equal all hits at once. With approximate search, each page is a
    search of its own, and a missed hit shifts later ones."""
    query, ids, distances = scenario.queries(1), [], []
    for offset in range(0, 3000, 500):
        page = scenario.collection.query(query, n_results=500, offset=offset, include=["distances"])
        ids += page["ids"][0]
        distances += page["distances"][0]
    if scenario.exact:
        assert check_hits(scenario.truth, query[0], ids, distances, 3000) == 1
    else:
        assert len(ids) == 3000 and len(set(ids)) >= 2940


@step("keys")
def queries_grouped(scenario: Scenario) -> None:
    """The best record of each value, compared with brute force."""
    query = scenario.queries(1)[0]
    got = scenario.collection.query([query], n_results=10, group_by="year", include=["distances"])
    best: dict[int, float] = {}
    distances = scenario.truth.distances(query)
    for record, distance in zip(scenario.truth.records.values(), distances, strict=True):
        if "year" in (record.metadata or {}):
            year = record.metadata["year"]
            best[year] = min(distance, best.get(year, np.inf))
    right = sorted(best.values())[:10]
    assert np.allclose(got["distances"][0], right, rtol=1e-5, atol=1e-5)
    years = [scenario.truth.records[one].metadata["year"] for one in got["ids"][0]]
    assert len(set(years)) == len(years)


@step(places=EMBEDDED | {"served"})
def queries_within_a_distance(scenario: Scenario) -> None:
    query = scenario.queries(1)[0]
    bound = float(scenario.truth.nearest(query, 200)[150]) + 1e-7
    got = scenario.collection.query([query], n_results=1000, max_distance=bound)["ids"][0]
    right = int((scenario.truth.distances(query) <= bound).sum())
    assert abs(len(got) - right) <= (1 if scenario.exact else 0.05 * right)


@step(places=EMBEDDED | {"served"})
def queries_like_records(scenario: Scenario) -> None:
    liked = scenario.some(2)
    got = scenario.collection.query(like=liked, n_results=20, include=["distances"])
    assert not set(liked) & set(got["ids"][0])
    assert len(set(got["ids"][0])) == 20


@step("texts", places=EMBEDDED | {"served"})
def words(scenario: Scenario) -> None:
    """BM25 of all documents by its formula, and a word that only one document has."""
    one = scenario.some(1)[0]
    word = own_word(scenario.truth.records[one].document)
    assert scenario.collection.query(query_texts=word, mode="text")["ids"][0] == [one]
    documents = [record.document for record in scenario.truth.records.values()]
    text = "socket decimal garbage"
    right = bm25(documents, text)
    got = scenario.collection.query(
        query_texts=text, mode="text", n_results=20, include=["distances"]
    )
    places = {name: i for i, name in enumerate(scenario.truth.ids)}
    own = [right[places[name]] for name in got["ids"][0]]
    best = sorted(right, reverse=True)[:20]
    assert np.allclose(own, best, rtol=1e-4), (own[:3], best[:3])


@step("texts", places=EMBEDDED | {"served"})
def hybrids(scenario: Scenario) -> None:
    """A fusion contains the word's only document, and no hit twice; filters apply."""
    for one in scenario.some(scenario.times(3, 10, 30)):
        record = scenario.truth.records[one]
        query = {
            "query_embeddings": [record.vector],
            "query_texts": "socket timeout",
            "n_results": 20,
        }
        got = scenario.collection.query(**query, mode="hybrid", where={"year": {"$gte": 2000}})
        ids = got["ids"][0]
        assert len(set(ids)) == len(ids) == 20
        assert all(m["year"] >= 2000 for m in got["metadatas"][0])
        if record.metadata["year"] >= 2000:
            assert one in ids[:2], "the record's own vector is found first"


@step(places=EMBEDDED | {"served"})
def explains_and_says_why(scenario: Scenario) -> None:
    query = scenario.queries(1)
    assert scenario.collection.explain(query, n_results=5)
    some = scenario.some(2)
    reasons = scenario.collection.why(query, n_results=5, records=some)
    assert len(reasons) == 2
    assert scenario.collection.stats()
    assert scenario.collection.peek(5)["ids"] == scenario.truth.ids[:5]
