"""Collections of QdrantClient without a single dense vector per point: token vectors, sparse
vectors, and many small collections.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from tests.rehearsal.places import POINTS
from tests.rehearsal.points_asked import must, within
from tests.rehearsal.points_truth import (
    check_points,
    compare_ids,
    matrix_of,
    pages,
    sparse,
    words_in,
)
from tests.rehearsal.scenario import Scenario, check_verified
from tests.rehearsal.steps import step

Tokens = NDArray[np.float32]
TOKENS, WIDTH = 32, 128  # of a multivector
WORDS, ENTRIES = 30_000, 30  # that sparse vectors can have, and that one has


@dataclass(repr=False)  # which tracebacks would take minutes to print
class Kept:
    client: Any
    rows: Any  # what the points hold, by their number


def client_of(scenario: Scenario, name: str) -> Any:
    """A client for the steps of one kind, without its collection."""
    client = scenario.place.qdrant()
    if scenario.place.name != "memory":
        scenario.kept[f"close {name}"] = client.close
    if client.collection_exists(name):
        client.delete_collection(name)
    return client


# Tokens


def tokens_of(size: int, random: np.random.Generator) -> Tokens:
    """Multivectors, each about one of a hundred topics."""
    about = random.standard_normal((100, WIDTH), dtype=np.float32)
    made = random.standard_normal((size, TOKENS, WIDTH), dtype=np.float32)
    made += about[random.integers(0, len(about), size)][:, None]
    return made / np.linalg.norm(made, axis=2, keepdims=True)


def tokens_there(scenario: Scenario) -> Kept:
    if "tokens" not in scenario.kept:
        client = client_of(scenario, "tokens")
        rows = tokens_of(scenario.size, np.random.default_rng(11))
        several = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
        client.create_collection(
            "tokens",
            models.VectorParams(
                size=WIDTH, distance=models.Distance.COSINE, multivector_config=several
            ),
        )
        for first in range(0, len(rows), 200):
            write_tokens(client, rows, range(first, min(first + 200, len(rows))))
        scenario.kept["tokens"] = Kept(client, rows)
    kept: Kept = scenario.kept["tokens"]
    return Kept(scenario.timed(kept.client), kept.rows)


def write_tokens(client: Any, rows: Tokens, ids: Any) -> None:
    """Write points with different numbers of tokens, by their number."""
    client.upsert(
        "tokens",
        [
            models.PointStruct(id=i, vector=rows[i][: length_of(i)].tolist(), payload={"n": i})
            for i in ids
        ],
    )


def length_of(i: int) -> int:
    return TOKENS - i % 5


def most_alike(rows: Tokens, query: Tokens) -> dict[int, float]:
    """The sum of the greatest similarities of the query's tokens, for each point."""
    queries = np.asarray(query, np.float64)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    fields = {}
    for i, row in enumerate(rows):
        alike = row[: length_of(i)].astype(np.float64) @ queries.T
        fields[i] = float(alike.max(axis=0).sum())
    return fields


@step("multivectors", places=POINTS)
def tokens_are_kept(scenario: Scenario) -> None:
    kept = tokens_there(scenario)
    seen = []
    for page in pages(kept.client, 500, "tokens", with_vectors=True):
        for one in page:
            right = kept.rows[one.id][: length_of(one.id)]
            assert np.allclose(one.vector, right, atol=1e-6), one.id
        seen += [one.id for one in page]
    compare_ids(seen, range(len(kept.rows)), "points with tokens")


@step("multivectors", places=POINTS)
def tokens_are_compared(scenario: Scenario) -> None:
    """Greatest similarity of each token: over all points, with a filter, and after changes."""
    kept = tokens_there(scenario)
    check_tokens(scenario, kept, scenario.times(2, 3, 5))
    changed = range(0, len(kept.rows), 9)
    kept.rows[changed] = tokens_of(len(changed), np.random.default_rng(12))
    write_tokens(kept.client, kept.rows, changed)
    check_tokens(scenario, kept, 2)


def check_tokens(scenario: Scenario, kept: Kept, times: int) -> None:
    low, high = len(kept.rows) // 3, len(kept.rows) // 2
    some = must(within("n", gte=low, lt=high))
    for query in tokens_of(times, scenario.random):
        scores = most_alike(kept.rows, query)
        for named, allowed in (({}, None), ({"query_filter": some}, range(low, high))):
            got = kept.client.query_points("tokens", query.tolist(), limit=50, **named).points
            assert check_points(got, scores, 50, allowed=allowed) == 1.0


# Words


def words_made(size: int, random: np.random.Generator) -> list[dict[int, float]]:
    """About thirty of many words each; a few are frequent, most are rare."""
    ranks = np.arange(1, WORDS + 1)
    shares = (1 / ranks) / (1 / ranks).sum()
    drawn = random.choice(WORDS, (size, ENTRIES), p=shares)
    weights = random.exponential(1, (size, ENTRIES)).astype(np.float32) + np.float32(0.1)
    rows = zip(drawn.tolist(), weights.tolist(), strict=True)
    return [dict(zip(row, own, strict=True)) for row, own in rows]


def words_there(scenario: Scenario) -> Kept:
    if "sparse" not in scenario.kept:
        client = client_of(scenario, "sparse")
        rows = words_made(scenario.size, np.random.default_rng(13))
        client.create_collection("sparse", {}, {"words": models.SparseVectorParams()})
        for first in range(0, len(rows), 2000):
            part = range(first, min(first + 2000, len(rows)))
            client.upsert(
                "sparse",
                models.Batch(
                    ids=list(part),
                    vectors={"words": [sparse(rows[i]) for i in part]},
                    payloads=[{"n": i} for i in part],
                ),
            )
        scenario.kept["sparse"] = Kept(client, matrix_of(rows, WORDS))
    kept: Kept = scenario.kept["sparse"]
    return Kept(scenario.timed(kept.client), kept.rows)


def dots_of(rows: Any, query: dict[int, float]) -> dict[int, float]:
    """The dot products of the points that share a word with the query."""
    request = matrix_of([query], rows.shape[1]).toarray()[0]
    dots = rows @ request
    return {int(i): float(dots[i]) for i in np.flatnonzero(dots)}


@step("sparse", places=POINTS)
def words_are_kept(scenario: Scenario) -> None:
    kept = words_there(scenario)
    seen = []
    for page in pages(kept.client, 10_000, "sparse", with_vectors=True, with_payload=False):
        for one in page[::10]:
            row = kept.rows[[one.id]].tocoo()
            right = dict(zip(row.coords[1].tolist(), row.data.tolist(), strict=True))
            assert words_in(one.vector) == right, one.id
        seen += [one.id for one in page]
    compare_ids(seen, range(kept.rows.shape[0]), "points with words")


@step("sparse", places=POINTS)
def words_are_ranked(scenario: Scenario) -> None:
    """Dot products, over all points and with a filter; with few words, many words, and the most
    frequent ones."""
    kept = words_there(scenario)
    size = kept.rows.shape[0]
    low, high = size // 3, size // 2
    some = must(within("n", gte=low, lt=high))
    queries = words_made(scenario.times(3, 10, 30), scenario.random)
    queries += [{0: 1.0, 1: 2.0}, {WORDS - 1: 1.0}, {i: 1 + i / 7 for i in range(100)}]
    for query in queries:
        scores = dots_of(kept.rows, query)
        for named, allowed in (({}, None), ({"query_filter": some}, range(low, high))):
            for limit in (10, 1000):
                got = kept.client.query_points(
                    "sparse", sparse(query), using="words", limit=limit, **named
                ).points
                assert check_points(got, scores, limit, allowed=allowed) == 1.0


@step("sparse", places=POINTS)
def many_rankings_of_words(scenario: Scenario) -> None:
    kept = words_there(scenario)
    queries = words_made(200, scenario.random)
    request = [models.QueryRequest(query=sparse(one), using="words", limit=20) for one in queries]
    answers = kept.client.query_batch_points("sparse", request)
    for query, got in list(zip(queries, answers, strict=True))[:: scenario.times(20, 10, 4)]:
        assert check_points(got.points, dots_of(kept.rows, query), 20) == 1.0


# Tenants

OWN = 100  # records of a tenant


def tenants_of(scenario: Scenario) -> tuple[Any, list[str]]:
    """A client, and the names of all collections, which are created if they don't exist."""
    if "tenants" not in scenario.kept:
        client = client_of(scenario, "tenants")
        names = [f"tenant {i}" for i in range(scenario.size // OWN)]
        timed, few = scenario.timed(client), models.VectorParams(size=16, distance="Cosine")
        for i, name in enumerate(names):
            if client.collection_exists(name):
                client.delete_collection(name)
            timed.create_collection(name, few)
            timed.upsert(name, list(records_of(scenario, i)))
        scenario.kept["tenants"] = (client, names)
    client, names = scenario.kept["tenants"]
    return scenario.timed(client), names


def records_of(scenario: Scenario, tenant: int) -> Iterator[models.PointStruct]:
    first = tenant * OWN
    for i, row in enumerate(scenario.records.vectors[first : first + OWN].tolist()):
        yield models.PointStruct(id=i, vector=row, payload={"tenant": tenant, "i": i})


def check_tenant(scenario: Scenario, client: Any, tenant: int) -> None:
    """Query one tenant's own collection: only its points, and the nearest."""
    name, first = f"tenant {tenant}", tenant * OWN
    rows = scenario.records.vectors[first : first + OWN].astype(np.float64)
    query = scenario.random.standard_normal(16)
    alike = rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query)
    got = client.query_points(name, query.tolist(), limit=7).points
    assert check_points(got, dict(enumerate(alike.tolist())), 7) == 1.0, name
    assert {hit.payload["tenant"] for hit in got} == {tenant}


MANY = "each of a thousand open collections has four files, up to a quarter of what may be open"


@step(
    "tenants",
    places=POINTS,
    slow="a list is of all collections, of which there are ever more",
    holds=MANY,
)
def a_collection_for_each_tenant(scenario: Scenario) -> None:
    client, names = tenants_of(scenario)
    there = {one.name for one in client.get_collections().collections}
    assert there >= set(names)
    for i, name in enumerate(names):
        check_tenant(scenario, client, i)
        assert client.count(name).count == OWN


@step("tenants", places=POINTS, holds=MANY)
def tenants_are_found_again(scenario: Scenario) -> None:
    """Queries by another client, and through the other interface."""
    _, names = tenants_of(scenario)
    other = scenario.place.qdrant()
    for i in range(0, len(names), 7):
        check_tenant(scenario, scenario.timed(other), i)
    if scenario.place.name == "memory":
        return
    other.close()
    listed = {one.name for one in scenario.client.list_collections()}
    assert listed >= {*names, "scenario"}
    assert all(scenario.client.get_collection(name).count() == OWN for name in names[::50])
    if scenario.place.name == "disk":
        check_verified(scenario.client)


@step("tenants", places=POINTS, holds=MANY)
def a_third_of_the_tenants_goes(scenario: Scenario) -> None:
    client, names = tenants_of(scenario)
    for name in names[::3]:
        assert client.delete_collection(name)
    left = {one.name for one in client.get_collections().collections}
    assert not left & set(names[::3]) and left >= set(names) - set(names[::3])
    for i in range(1, len(names), 3):
        check_tenant(scenario, client, i)
    assert not client.collection_exists(names[0])
    few = models.VectorParams(size=16, distance="Cosine")
    for i in range(0, len(names), 3):
        client.create_collection(names[i], few)
        client.upsert(names[i], list(records_of(scenario, i)))
        check_tenant(scenario, client, i)
