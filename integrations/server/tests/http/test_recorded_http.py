"""A real server's responses to raw requests, odd ones among them: status, content type, body."""

import gzip
import json
from functools import cache
from typing import Any
from urllib.parse import quote

import pytest

from integrations.server.tests.http.asked import Answered, Asking
from retrieval_store_server import app
from tests.helpers import ROOT
from tests.helpers.recorded import agree

RECORDED = ROOT / "tests" / "data" / "qdrant_http"
AGREEING = 0.997  # of a client's calls; in process it is the same number
TOLD_BY_EACH = ("/metrics", "/telemetry")  # figures of the server's own
PEER = "peer_id"
ZERO_COUNTS = "an index still lists a value there that no point has any more"
EDGES_DIFFERENT = {675: ZERO_COUNTS}  # by their lines, and why
SNAPSHOT = {"name", "creation_time", "size", "checksum"}  # the whole report


@cache
def rows_of(recording: str) -> list[Any]:
    with gzip.open(RECORDED / f"{recording}.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


def send(ask: Asking, row: Any) -> Answered:
    """The answer to a request, sent as it was."""
    body, raw = row["body"], None
    if isinstance(body, dict) and "~raw" in body:
        body, raw = None, body["~raw"].encode("latin-1")
    path = quote(row["path"], safe="/?&=%:,.~-_+'\"")
    return ask(row["method"], path, body, raw=raw, content_type="application/json")


def difference(row: Any, answer: Answered) -> str | None:
    """How a response differs from the recorded one; None where it doesn't."""
    if row["status"] == 500:  # nothing to imitate
        return None if 400 <= answer.status < 500 else "status"
    if row["status"] != answer.status:
        return "status"
    if (row["type"] or None) != answer.type:
        return "type"
    expected = row["answer"]
    if isinstance(expected, dict) and "~raw" in expected:
        if row["path"] in TOLD_BY_EACH:
            return None
        text = answer.body.decode()
        return None if text == expected["~raw"] or (row["status"] != 200 and text) else "text"
    if row["status"] != 200:
        return None if isinstance(answer.json["status"]["error"], str) else "error"
    if row["path"] in (*TOLD_BY_EACH, "/"):
        return None
    return None if agree(known(answer.json["result"]), known(expected["result"])) else "answer"


def known(result: Any) -> Any:
    """A result without the parts that each server makes anew; for a snapshot, its description."""
    if not isinstance(result, dict):
        return result
    if result.keys() == SNAPSHOT:
        return sorted(result)
    return {key: one for key, one in result.items() if key != PEER}


def has_infinite_numbers(row: Any) -> bool:
    """Whether a request writes an infinite number, which is refused here, or finds point 2, which
    has it. Other points then change their ranks, or leave the window."""
    message, sent = json.dumps(row["answer"]), json.dumps(row["body"])
    return '"id": 2,' in message or "1e+39" in sent or '"offset": 3' in sent


@pytest.fixture(scope="module", params=["a", "b"])
def replayed(request, tmp_path_factory):
    ask = Asking(app(tmp_path_factory.mktemp("store") / "store", durability="relaxed"))
    rows = rows_of(request.param)
    found = [(i, row, difference(row, send(ask, row))) for i, row in enumerate(rows, 1)]
    ask.close()
    return found


def test_requests_of_clients_get_a_real_servers_responses(replayed):
    sent = [(i, reported) for i, row, reported in replayed if row["part"] == "client"]
    different = [(i, reported) for i, reported in sent if reported]
    assert len(different) <= (1 - AGREEING) * len(sent), different


def test_unusual_requests_get_a_real_servers_responses(replayed):
    odd = [(i, row, reported) for i, row, reported in replayed if row["part"] == "odd"]
    assert len(odd) == 190
    assert not [
        (i, reported) for i, row, reported in odd if reported and not has_infinite_numbers(row)
    ]


def test_no_status_of_a_refusal_differs_but_where_numbers_are_infinite(replayed):
    refused = [(i, row, reported) for i, row, reported in replayed if row["status"] >= 400]
    assert len(refused) > 100
    assert not [i for i, _, reported in refused if reported == "status"]


@pytest.fixture(params=["directory", ":memory:"])
def asking(request, tmp_path):
    place = tmp_path / "store" if request.param == "directory" else request.param
    ask = Asking(app(place, durability="relaxed"))
    yield ask
    ask.close()


def test_fields_that_are_absent_empty_or_at_their_edge_mean_what_they_mean_on_a_real_server(asking):
    rows = rows_of("edges")
    different = [i for i, row in enumerate(rows, 1) if difference(row, send(asking, row))]
    assert len(rows) == 684
    assert different == [*EDGES_DIFFERENT]


def test_scores_and_vectors_are_the_shortest_numbers(tmp_path):
    ask = Asking(app(tmp_path / "store", durability="relaxed"))
    ask("PUT", "/collections/c", {"vectors": {"size": 2, "distance": "Dot"}})
    ask("PUT", "/collections/c/points?wait=true", {"points": [{"id": 1, "vector": [0.1, 0.3]}]})
    answer = ask("POST", "/collections/c/points/query", {"query": [1, 0], "with_vector": True})
    assert b'"score":0.1,' in answer.body
    assert b'"vector":[0.1,0.3]' in answer.body
    ask.close()
