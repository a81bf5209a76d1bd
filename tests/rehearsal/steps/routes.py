"""Plain requests to a server of two processes."""

import gzip
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np

from tests.helpers import PATIENCE
from tests.rehearsal.points_truth import (
    NAME,
    Kept,
    best,
    check_collection,
    compare_ids,
    margin,
    points_of,
)
from tests.rehearsal.scenario import Scenario
from tests.rehearsal.steps import step

SERVED = frozenset({"served"})
COLLECTION = f"/collections/{NAME}"


@contextmanager
def web_of(scenario: Scenario) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=scenario.place.url, timeout=PATIENCE) as web:
        yield web


def result_of(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text[:300]
    reported = answer.json()
    assert reported["status"] == "ok"
    return reported["result"]


OFTEN = 10  # connections, so that each process answers some


@step(places=SERVED)
def a_server_is_well(scenario: Scenario) -> None:
    for _ in range(OFTEN):
        with web_of(scenario) as web:
            assert web.get("/").json()["title"].startswith("qdrant")
            for path in ("/healthz", "/livez", "/readyz"):
                assert web.get(path).status_code == 200
            result = result_of(web.post("/collections/scenario/points/count", json={}))
            assert result == {"count": len(scenario.truth)}


@step(places=SERVED)
def a_server_tells_of_itself(scenario: Scenario) -> None:
    kept = points_of(scenario)
    for _ in range(OFTEN):
        with web_of(scenario) as web:
            lines = web.get("/metrics").text.splitlines()
            assert f'collection_points{{id="{NAME}"}} {len(kept.truth)}' in lines
            result = result_of(web.get("/telemetry?details_level=3"))
            assert result["collections"]["number_of_collections"] >= 2
            names = {one["name"] for one in result_of(web.get("/collections"))["collections"]}
            assert {"scenario", NAME} <= names
            info = result_of(web.get(COLLECTION))
            assert info["points_count"] == len(kept.truth)
            assert result_of(web.get("/collections/none/exists")) == {"exists": False}
            assert web.get("/collections/none").status_code == 404
            assert web.get("/no/such/route").status_code == 404


@step(places=SERVED)
def a_page_is_served(scenario: Scenario) -> None:
    with web_of(scenario) as web:
        page = web.get("/view", follow_redirects=True)
        assert page.status_code == 200 and "text/html" in page.headers["content-type"]
        for path in ("/view/main.js", "/view/style.css", "/view/icon.svg"):
            assert path in page.text and web.get(path).status_code == 200
        assert web.get("/view/../../etc/passwd").status_code == 404


@step(places=SERVED)
def scrolls_by_requests(scenario: Scenario) -> None:
    """All points, page by page, each over its own connection and compressed."""
    kept = points_of(scenario)
    following, found = None, []
    while True:
        body = json.dumps({"limit": 900, "offset": following, "with_payload": ["n"]}).encode()
        with web_of(scenario) as web:
            result = result_of(
                web.post(
                    f"{COLLECTION}/points/scroll",
                    content=gzip.compress(body),
                    headers={"content-encoding": "gzip", "content-type": "application/json"},
                )
            )
        for point in result["points"]:
            assert point["payload"] == {"n": kept.truth.points[point["id"]].payload["n"]}
        found += [point["id"] for point in result["points"]]
        following = result["next_page_offset"]
        if following is None:
            break
    compare_ids(found, kept.truth.ids, "points")
    with web_of(scenario) as web:
        for one in kept.truth.ids[:20]:
            point = result_of(web.get(f"{COLLECTION}/points/{one}"))
            assert point["payload"] == kept.truth.points[one].payload


def check_scored(kept: Kept, query: Any, points: list[Any], limit: int) -> None:
    """Check the scores of the nearest, and that each belongs to its point."""
    scores = kept.truth.scores(query)
    right = np.array([score for _, score in best(scores, limit, kept.truth.sign)])
    got = np.array([point["score"] for point in points])
    own = np.array([scores[point["id"]] for point in points])
    assert len(got) == len(right) == len({point["id"] for point in points})
    assert (np.abs(got - right) <= margin(right)).all()
    assert (np.abs(got - own) <= margin(own)).all()


@step(places=SERVED)
def queries_by_requests(scenario: Scenario) -> None:
    """Single queries, in a batch, in groups, and in the form of older clients."""
    kept = points_of(scenario)
    queries = scenario.queries(100)
    request = [{"query": query.tolist(), "using": "dense", "limit": 12} for query in queries]
    with web_of(scenario) as web:
        (first, *_), url = request, f"{COLLECTION}/points/query"
        check_scored(kept, queries[0], result_of(web.post(url, json=first))["points"], 12)
        result = result_of(web.post(f"{url}/batch", json={"searches": request}))
        for i in range(0, 100, scenario.times(10, 4, 1)):
            check_scored(kept, queries[i], result[i]["points"], 12)
        result = result_of(
            web.post(f"{url}/groups", json={**first, "group_by": "bucket", "group_size": 2})
        )["groups"]
        assert len({one["id"] for one in result}) == 12
        older = {"vector": {"name": "dense", "vector": queries[1].tolist()}, "limit": 12}
        check_scored(
            kept, queries[1], result_of(web.post(f"{COLLECTION}/points/search", json=older)), 12
        )


@step(places=SERVED)
def snapshots_by_requests(scenario: Scenario) -> None:
    """Snapshots are taken, downloaded, and uploaded as another collection."""
    kept = points_of(scenario)
    with web_of(scenario) as web:
        made = result_of(web.post(f"{COLLECTION}/snapshots"))
        content = web.get(f"{COLLECTION}/snapshots/{made['name']}").content
        assert len(content) == made["size"]
        assert hashlib.sha256(content).hexdigest() == made["checksum"]
        sent = web.post("/collections/uploaded/snapshots/upload", files={"snapshot": content})
        assert result_of(sent) is True
        check_collection(scenario, kept.client, kept.truth, "uploaded")
        assert result_of(web.delete("/collections/uploaded")) is True
        assert result_of(web.delete(f"{COLLECTION}/snapshots/{made['name']}")) is True
        assert result_of(web.get(f"{COLLECTION}/snapshots")) == []


READERS = 8


@step(places=SERVED)
def readers_beside_a_writer(scenario: Scenario) -> None:
    """Eight clients read in every way while one adds points. Each acknowledged point is visible and
    complete, writes are never visible in part, and results for other points are right."""
    kept = points_of(scenario)
    end, written = threading.Event(), [0]
    queries = scenario.queries(READERS)
    rows = scenario.records.vectors[:20].tolist()

    def write() -> None:
        """Ten points at once, with a bucket of their own."""
        with web_of(scenario) as web:
            for turn in range(scenario.times(20, 60, 150)):
                points = [
                    {
                        "id": 2**50 + turn * 10 + i,
                        "vector": {"dense": rows[i]},
                        "payload": {"bucket": 77},
                    }
                    for i in range(10)
                ]
                result_of(web.put(f"{COLLECTION}/points?wait=true", json={"points": points}))
                written[0] += 10

    def read(which: int) -> Counter[str]:
        done: Counter[str] = Counter()
        with web_of(scenario) as web:
            while not end.is_set():
                name, reads = list(READS.items())[(which + done.total()) % len(READS)]
                reads(web, kept, queries[which], written)
                done[name] += 1
        return done

    with ThreadPoolExecutor(READERS) as pool:
        reading = [pool.submit(read, i) for i in range(READERS)]
        try:
            write()
        finally:
            end.set()
        done = sum((one.result() for one in reading), Counter())
    assert set(done) == set(READS), done
    with web_of(scenario) as web:
        given = {"filter": ADDED}
        result_of(web.post(f"{COLLECTION}/points/delete?wait=true", json=given))
    check_collection(scenario, kept.client, kept.truth)


ADDED = {"must": [{"key": "bucket", "match": {"value": 77}}]}
OLD = {"must_not": ADDED["must"]}


def counts(web: httpx.Client, kept: Kept, query: Any, written: list[int]) -> None:
    before = written[0]
    reported = result_of(web.post(f"{COLLECTION}/points/count", json={"filter": ADDED}))["count"]
    assert reported % 10 == 0 and before <= reported <= written[0] + 10, (before, reported, written)


def scrolls(web: httpx.Client, kept: Kept, query: Any, written: list[int]) -> None:
    before = written[0]
    request = {"filter": ADDED, "limit": 10_000, "with_vector": ["dense"]}
    points = result_of(web.post(f"{COLLECTION}/points/scroll", json=request))["points"]
    assert [one["id"] for one in points] == [2**50 + i for i in range(len(points))]
    assert before <= len(points) <= written[0] + 10
    assert all(one["payload"] == {"bucket": 77} and one["vector"] for one in points)


def asks(web: httpx.Client, kept: Kept, query: Any, written: list[int]) -> None:
    request = {"query": query.tolist(), "using": "dense", "limit": 10, "filter": OLD}
    reported = result_of(web.post(f"{COLLECTION}/points/query", json=request))["points"]
    check_scored(kept, query, reported, 10)


def retrieves(web: httpx.Client, kept: Kept, query: Any, written: list[int]) -> None:
    ids = list(kept.truth.points)[::97]
    result = result_of(web.post(f"{COLLECTION}/points", json={"ids": ids, "with_payload": True}))
    assert len(result) == len(ids)
    assert all(one["payload"] == kept.truth.points[one["id"]].payload for one in result)


def pages_old(web: httpx.Client, kept: Kept, query: Any, written: list[int]) -> None:
    request = {"filter": OLD, "limit": 500, "with_payload": False}
    reported = result_of(web.post(f"{COLLECTION}/points/scroll", json=request))["points"]
    compare_ids([one["id"] for one in reported], kept.truth.ids[:500], "the first page")


READS: dict[str, Callable[[httpx.Client, Kept, Any, list[int]], None]] = {
    "count": counts,
    "scroll": scrolls,
    "query": asks,
    "retrieve": retrieves,
    "page": pages_old,
}
