"""The original qdrant-client, by network: the server answers what a real one has answered."""

from typing import Any

import pytest
import qdrant_client
from tests.helpers.often import FULL, turn

from retrieval_store_server import running
from tests.helpers import PATIENCE
from tests.helpers.recorded import (
    RECORDINGS,
    agrees,
    answered,
    answered_async,
    assert_agreeing,
    calls_of,
)

# One a day by the client that waits, another by the other one. Raw requests hold `a` and `d` anyway.
TRIED = RECORDINGS if FULL else (RECORDINGS[turn(6)],)
TRIED_ASYNC = RECORDINGS if FULL else (("e", "f")[turn(2)],)
OF_BM25 = ("a", "b") if FULL else (("a", "b")[turn(2)],)


@pytest.fixture
def url(tmp_path):
    with running(tmp_path / "store", durability="relaxed") as url:
        yield url


def calls_in(recording: str, *, of_bm25: bool) -> list[tuple[int, Any]]:
    return [(i, call) for i, call in calls_of(recording) if (call["part"] == "bm25") == of_bm25]


@pytest.mark.in_turn(2)
@pytest.mark.parametrize("recording", TRIED)
def test_it_is_answered_what_a_real_server_answered(recording, url):
    calls = calls_in(recording, of_bm25=False)
    client = qdrant_client.QdrantClient(url=url, timeout=PATIENCE)
    found = [(i, call, agrees(answered(client, call), call)) for i, call in calls]
    client.close()
    assert_agreeing(recording, found)


@pytest.mark.in_turn(3)
@pytest.mark.parametrize("recording", TRIED_ASYNC)
async def test_so_is_the_asynchronous_one(recording, url):
    calls = calls_in(recording, of_bm25=False)
    client = qdrant_client.AsyncQdrantClient(url=url, timeout=PATIENCE)
    found = [(i, call, agrees(await answered_async(client, call), call)) for i, call in calls]
    await client.close()
    assert_agreeing(recording, found)


@pytest.mark.parametrize("recording", OF_BM25)
def test_the_server_embeds_texts_as_a_real_one_does(recording, url):
    # With `cloud_inference` the client sends texts as they are, else vectors that it has made.
    client = qdrant_client.QdrantClient(url=url, timeout=PATIENCE, cloud_inference=True)
    calls = calls_in(recording, of_bm25=True)
    different = [i for i, call in calls if not agrees(answered(client, call), call)]
    client.close()
    assert len(calls) > 400
    assert not different
