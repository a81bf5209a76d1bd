"""The original qdrant-client, over the network: the server answers as a real one did."""

from typing import Any

import pytest
import qdrant_client

from retrieval_store_server import running
from tests.helpers import PATIENCE
from tests.helpers.recorded import agrees, answered, assert_agreeing, calls_of


@pytest.fixture
def url(tmp_path):
    with running(tmp_path / "store", durability="relaxed") as url:
        yield url


def calls_in(recording: str, *, of_bm25: bool) -> list[tuple[int, Any]]:
    return [(i, call) for i, call in calls_of(recording) if (call["part"] == "bm25") == of_bm25]


def test_the_responses_are_those_of_a_real_server(url):
    recording = "e"  # raw requests hold `a` to `d`
    calls = calls_in(recording, of_bm25=False)
    client = qdrant_client.QdrantClient(url=url, timeout=PATIENCE)
    found = [(i, call, agrees(answered(client, call), call)) for i, call in calls]
    client.close()
    assert_agreeing(recording, found)


def test_the_server_embeds_texts_as_a_real_one_does(url):
    # With `cloud_inference` the client sends texts unchanged, otherwise vectors that it has
    # computed.
    client = qdrant_client.QdrantClient(url=url, timeout=PATIENCE, cloud_inference=True)
    calls = calls_in("a", of_bm25=True)
    different = [i for i, call in calls if not agrees(answered(client, call), call)]
    client.close()
    assert len(calls) > 400
    assert not different
