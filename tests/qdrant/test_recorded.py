"""The embedded client answers what a real server has answered."""

from functools import cache
from typing import Any

import pytest

from retrieval_store.qdrant import QdrantClient
from tests.helpers.recorded import RECORDINGS, agrees, answered, calls_of

# Of the calls of a recording, and of each of its parts. In `e`, vectors are deleted and written
# again: then a server's sparse index finds points by what they had, and four answers are of that.
AGREEING = {**dict.fromkeys(RECORDINGS, 0.995), "e": 0.993}
AGREEING_IN_EACH = 0.98


@pytest.fixture(params=["directory", pytest.param("memory", marks=pytest.mark.slow)])
def place(request, tmp_path_factory):
    return ":memory:" if request.param == "memory" else str(tmp_path_factory.mktemp("store"))


@cache
def replayed(recording: str, place: str) -> list[tuple[int, Any, bool]]:
    """The calls of a recording, with their line, and whether what is answered is what was; without
    the part that isn't compared and leaves nothing for others, which takes longer than all."""
    client = QdrantClient(place) if place == ":memory:" else QdrantClient(path=place)
    calls = [(i, call) for i, call in calls_of(recording) if call["part"] != "bm25"]
    found = [(i, call, agrees(answered(client, call), call)) for i, call in calls]
    client.close()
    return found


@pytest.mark.parametrize("recording", RECORDINGS)
def test_it_answers_what_a_real_server_answered(recording, place):
    calls = replayed(recording, place)
    for part in {call["part"] for _, call, _ in calls}:
        different = [i for i, call, same in calls if call["part"] == part and not same]
        count = sum(call["part"] == part for _, call, _ in calls)
        assert count - len(different) >= AGREEING_IN_EACH * count, f"{part}: lines {different}"
    different = [i for i, _, same in calls if not same]
    least = AGREEING[recording] * len(calls)
    assert len(calls) - len(different) >= least, f"lines {different}"
