"""The embedded client responds like a recorded real server."""

from functools import cache
from typing import Any

import pytest

from retrieval_store.qdrant import QdrantClient
from tests.helpers.recorded import RECORDINGS, agrees, answered, assert_agreeing, calls_of

AGAIN = {"b", "d", "f"}  # what the recording before each asks, with other numbers


@pytest.fixture(params=["memory", pytest.param("directory", marks=pytest.mark.others)])
def place(request, tmp_path_factory):
    return ":memory:" if request.param == "memory" else str(tmp_path_factory.mktemp("store"))


@cache
def replayed(recording: str, place: str) -> list[tuple[int, Any, bool]]:
    """The calls of a recording with their line, and whether the response equals the recorded one. A
    part that isn't compared, and that later parts don't need, is skipped, because it takes longer
    than all others."""
    client = QdrantClient(place) if place == ":memory:" else QdrantClient(path=place)
    calls = [(i, call) for i, call in calls_of(recording) if call["part"] != "bm25"]
    found = [(i, call, agrees(answered(client, call), call)) for i, call in calls]
    client.close()
    return found


@pytest.mark.parametrize(
    "recording",
    [pytest.param(one, marks=pytest.mark.others) if one in AGAIN else one for one in RECORDINGS],
)
def test_the_responses_equal_a_real_servers(recording, place):
    assert_agreeing(recording, replayed(recording, place))
