"""Two processes serve one directory, one of which is killed again and again: what was acknowledged
stays, and the other one, and the next, go on."""

import asyncio
import contextlib
import os
import random
import signal
import time
from pathlib import Path

import httpx
import pytest
from tests.helpers.often import SHARE

from integrations.server.tests.http.serving import served
from retrieval_store.qdrant import QdrantClient
from tests.helpers import PATIENCE

pytestmark = pytest.mark.kills
COLLECTION = {"vectors": {"size": 2, "distance": "Dot"}}
EACH = 1_000_000  # ids of one connection
BUSY = (408, 429, 503)  # what a server may answer that has too much to do


class Writer:
    """Writes one point after the other, and asks for those that were acknowledged, on a connection
    of its own."""

    def __init__(self, number: int, url: str) -> None:
        self.number, self.url = number, url
        self.acknowledged: list[int] = []
        self.broken = 0  # connections

    async def work(self, until: float) -> None:
        while (
            time.monotonic() < until
        ):  # another connection now and then, which either process may take
            async with httpx.AsyncClient(base_url=self.url, timeout=PATIENCE) as client:
                for _ in range(10):
                    if time.monotonic() < until:
                        await self._one(client)

    async def _one(self, client: httpx.AsyncClient) -> None:
        point = self.number * EACH + len(self.acknowledged)
        body = {"points": [{"id": point, "vector": [1, point % 7], "payload": {"p": point}}]}
        if await self._asked(client, "PUT", "points?wait=true", body) is None:
            return
        self.acknowledged.append(point)
        old = random.choice(self.acknowledged)
        only = {"must": [{"has_id": [old]}, {"key": "p", "match": {"value": old}}]}
        found = await self._asked(client, "POST", "points/query", {"query": [1, 1], "filter": only})
        assert found is None or [one["id"] for one in found["points"]] == [old]

    async def _asked(self, client: httpx.AsyncClient, method: str, path: str, body: object):
        """What was answered; None where nobody did, or the server has too much to do."""
        try:
            answer = await client.request(method, f"/collections/c/{path}", json=body)
        except httpx.TransportError:
            self.broken += 1
            return None
        if answer.status_code in BUSY:
            return None
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]


def workers_of(process: int) -> list[int]:
    """The processes that serve, of the one that watches over them."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [one for one in map(int, children) if b"spawn_main" in _command(one)]


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


async def both_answer(url: str, until: float) -> None:
    """Wait until each process, which has an id of its own, has answered."""
    seen: set[str] = set()
    while len(seen) < 2:
        assert time.monotonic() < until
        # One that takes the place of one killed may not listen yet.
        with contextlib.suppress(httpx.ConnectError):
            async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
                seen.add((await client.get("/telemetry")).json()["result"]["id"])


async def kill_again_and_again(process: int, until: float, each: float) -> set[int]:
    killed: set[int] = set()
    draw = random.Random(SHARE)
    while time.monotonic() < until - each:
        await asyncio.sleep(each * draw.uniform(0.5, 1.5))
        living = [one for one in workers_of(process) if one not in killed]
        if len(living) == 2:  # so that one goes on
            one = draw.choice(living)
            os.kill(one, signal.SIGKILL)
            killed.add(one)
    return killed


@pytest.mark.in_turn(2)
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="processes are found in /proc")
@pytest.mark.parametrize(
    ("connections", "seconds", "kills"),
    [(24, 5, 1), pytest.param(200, 60, 10, marks=pytest.mark.slow)],
)
async def test_no_acknowledged_write_is_lost(tmp_path, connections, seconds, kills):
    store = tmp_path / "store"
    with served(store, "--workers", 2, cwd=tmp_path) as (process, url):
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
            assert (await client.put("/collections/c", json=COLLECTION)).status_code == 200
            await both_answer(url, time.monotonic() + PATIENCE)
            writers = [Writer(i, url) for i in range(connections)]
            until = time.monotonic() + seconds
            killed, *_ = await asyncio.gather(
                kill_again_and_again(process.pid, until, 1.5),
                *(writer.work(until) for writer in writers),
            )
            assert len(killed) >= kills
            written = {point for writer in writers for point in writer.acknowledged}
            await both_answer(url, time.monotonic() + PATIENCE)  # others came for those killed
            count = (await client.post("/collections/c/points/count", json={})).json()
        # Of few connections the process that is killed may have none just then.
        assert connections < 100 or any(writer.broken for writer in writers)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    with QdrantClient(path=store) as own:
        points = own.scroll("c", limit=10**6)[0]
        assert own.count("c").count == count["result"]["count"]
    assert written <= {point.id for point in points}
    assert all(point.payload == {"p": point.id} for point in points)
    assert len(written) > connections
