"""The server in tests of clusters answers as a real one did."""

from functools import cache
from typing import Any

import pytest

from tests.helpers.qdrant_server import Server
from tests.helpers.recorded import agrees, answered, calls_of

COMPARED = {
    "filters": 882,
    "filters, keyword index": 101,
    "filters, integer index": 101,
    "filters, float index": 101,
    "filters, bool index": 101,
    "filters, geo index": 101,
    "filters, datetime index": 101,
    "filters, uuid index": 101,
    "filters, text index": 104,
    "text index": 819,
    "updates": 107,
    "queries": 257,
    "errors": 44,
    "collections": 54,
    "large integers": 45,
    "bm25": 432,
}
DIFFERENT = {  # by line, the same in both recordings
    1691: "today's engine doesn't count an empty text among those that an index of texts holds"
}
STRICT = ("c",)  # strict modes that are compared
LACKING = {"status": 501}  # the stand-in has no such method


@cache
def replayed(recording: str, part: str | None = None) -> list[tuple[int, Any, dict[str, Any]]]:
    """All calls of a recording, or of a part, that the client sends, with their line, and the
    stand-in's responses. Later calls find the data that earlier ones have written."""
    server = Server(version="1.19.0")
    client = server.client()
    calls = [(i, call) for i, call in calls_of(recording) if part in (None, call["part"])]
    found = [(i, call, answered(client, call)) for i, call in calls]
    client.close()
    server.close()
    return found


@pytest.mark.parametrize("part", COMPARED)
def test_the_responses_equal_a_real_servers(part):
    compared = [
        (line, call, got)
        for line, call, got in replayed("a")
        if call["part"] == part and got.get("error") != LACKING and line not in DIFFERENT
    ]
    for line, call, got in compared:
        assert agrees(got, call), f"line {line}: {call['call']}({call['args']})"
    assert len(compared) == COMPARED[part]


@pytest.mark.parametrize("recording", STRICT)
def test_in_strict_mode_it_refuses_what_a_real_server_refused(recording):
    compared = [
        (line, call, got)
        for line, call, got in replayed(recording, "strict mode")
        if got.get("error") != LACKING
        and "timeout" not in call["args"]
        and call["call"] != "get_collection"  # a server says how many vectors it has indexed
    ]
    for line, call, got in compared:
        assert agrees(got, call), f"line {line}: {call['call']}({call['args']})"
    assert len(compared) == 578
