"""The Model Context Protocol, used with the command as clients use it."""

import base64
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from mcp import Client as McpClient
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from PIL import Image

import retrieval_store
from retrieval_store_agents.mcp import SharedTools, StoreServer
from retrieval_store_server import Guard
from tests.helpers import PATIENCE, ROOT
from tests.helpers.processes import ends_within_patience

COMMAND = [sys.executable, "-m", "retrieval_store", "mcp"]
HELLO = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "tests", "version": "1"},
}
READERS = ["collections", "search", "get", "why"]


class Started:
    """A server started by a client, which exchanges lines with it."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._asked = 0
        self.ask("initialize", HELLO)
        self.send(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}))

    def send(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, method, params):
        self._asked += 1
        message = {"jsonrpc": "2.0", "id": self._asked, "method": method, "params": params}
        self.send(json.dumps(message))
        while True:
            answer = json.loads(self.process.stdout.readline())
            if answer.get("id") == self._asked:
                return answer

    def call(self, name, **arguments):
        result = self.ask("tools/call", {"name": name, "arguments": arguments})["result"]
        assert not result["isError"], result
        return result["structuredContent"]

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def start():
    with contextlib.ExitStack() as stack:

        def started(*arguments):
            server = Started(*arguments)
            stack.callback(server.end)
            return server

        yield started


@pytest.fixture
def store(tmp_path):
    """A directory with a collection."""
    with retrieval_store.Client(tmp_path / "store") as client:
        notes = client.create_collection("notes")
        notes.add(["a", "b/c#0"], documents=["the cat sat", "the dog ran"])
    return tmp_path / "store"


def test_a_client_that_starts_it_gets_the_tools_and_their_answers(start, store):
    server = start(store)
    tools = server.ask("tools/list", {})["result"]["tools"]
    assert [one["name"] for one in tools] == READERS
    assert all(one["annotations"]["readOnlyHint"] for one in tools)
    assert server.call("search", text="cat")["records"][0]["id"] == "a"
    refused = server.ask("tools/call", {"name": "add", "arguments": {"documents": ["x"]}})
    assert refused["result"]["isError"]


def test_tools_that_write_declare_it(start, tmp_path):
    server = start(tmp_path / "new", "--write")
    tools = {
        one["name"]: one["annotations"] for one in server.ask("tools/list", {})["result"]["tools"]
    }
    assert [*tools] == [*READERS, "add", "update", "delete"]
    assert not tools["add"]["readOnlyHint"]
    assert not tools["add"]["destructiveHint"]
    assert tools["delete"]["destructiveHint"]
    server.call("add", documents=["kept"])
    with retrieval_store.Client(tmp_path / "new", read_only=True) as client:
        assert client.get_collection("notes").get()["documents"] == ["kept"]


def test_invalid_messages_end_nothing(start, store):
    server = start(store)
    for line in ("rubbish {", "[]", '"text"', "{}", '{"jsonrpc": "2.0", "id": 99}', "\x00"):
        server.send(line)
    assert server.call("get", ids=["a"])["total"] == 1
    error = server.ask("no/such/method", {})["error"]
    assert error["code"] == -32601


def test_it_ends_with_its_input(start, store):
    server = start(store, "--write")
    server.call("add", documents=["the last one"])
    server.process.stdin.close()
    assert server.process.wait(PATIENCE) == 0
    with retrieval_store.Client(store, read_only=True) as client:
        assert client.get_collection("notes").count() == 3


@pytest.mark.skipif(sys.platform == "win32", reason="sends an interrupt")
def test_it_ends_at_an_interrupt(start, store):
    server = start(store, "--write")
    server.call("add", documents=["the last one"])
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(PATIENCE) == 130
    with retrieval_store.Client(store, read_only=True) as client:
        assert client.get_collection("notes").count() == 3


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_it_ends_with_its_parent_though_its_input_stays_open(store):
    reading, writing = os.pipe()
    program = (
        "import subprocess, sys, time\n"
        f"server = subprocess.Popen({[*COMMAND, str(store)]!r}, stdin={reading})\n"
        "print(server.pid, flush=True)\n"
        "time.sleep(1000)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # else numpy has threads before it watches
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=[reading],
    )
    try:
        server = int(parent.stdout.readline())
        while len(os.listdir(f"/proc/{server}/task")) < 2:  # it watches in a thread
            time.sleep(0.02)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert ends_within_patience(server)
    finally:
        parent.kill()
        parent.stdout.close()
        os.close(reading)
        os.close(writing)


def test_several_on_one_directory_lose_nothing(start, tmp_path):
    servers = [start(tmp_path / "shared", "--write") for _ in range(5)]
    servers[0].call("add", documents=["the first"])

    def write(server):
        for i in range(10):
            server.call("add", documents=[f"{id(server)} wrote {i}"])

    with ThreadPoolExecutor(len(servers)) as pool:
        list(pool.map(write, servers))
    assert [one.call("get", limit=1)["total"] for one in servers] == [51] * 5


def test_a_client_that_disconnects_does_not_affect_others(start, store):
    servers = [start(store, "--write") for _ in range(2)]
    threading.Timer(0.05, servers[0].process.kill).start()
    with contextlib.suppress(ValueError, OSError, AssertionError):
        for i in range(1_000):
            servers[0].call("add", documents=[f"one of many, {i}"])
    before = servers[1].call("get", limit=1)["total"]
    servers[1].call("add", documents=["another"])
    assert servers[1].call("get", limit=1)["total"] == before + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "missing: give its absolute path, fill one by `retrieval-store sync`"),
        (["missing", "--write", "--http", "8080"], "expected HOST:PORT such as 127.0.0.1:8080"),
        (["missing", "--write", "--http", "0.0.0.0:0"], "RETRIEVAL_STORE_API_KEYS"),
    ],
)
def test_unservable_stores_are_reported_at_once(tmp_path, arguments, message):
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode
    assert message in done.stderr


# With the SDK's own client


@pytest.fixture
def served(store, tmp_path):
    """The server for the SDK's client in this process, with a picture in the store."""
    Image.new("RGB", (4, 2), (255, 0, 0)).save(tmp_path / "red.png")
    Image.new("RGB", (4, 2), (0, 0, 255)).save(store.parent.parent / "outside.png")
    client = retrieval_store.Client(store)
    pictures = client.create_collection("pictures", embedding_function=None)
    uris = [str(tmp_path / "red.png"), str(store.parent.parent / "outside.png")]
    pictures.add(["red", "outside"], embeddings=[[1, 0], [0, 1]], uris=uris)
    server = StoreServer(SharedTools(lambda: client, image_root=tmp_path))
    yield server.protocol()
    server.close()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_records_are_resources_and_pictures_are_pictures(served, mode):
    async with McpClient(served, mode=mode) as client:
        (template,) = (await client.list_resource_templates()).resource_templates
        assert template.uri_template == "retrieval-store://{collection}/{id}"
        for written in ("b/c#0", "b%2Fc%230"):
            (text,) = (await client.read_resource(f"retrieval-store://notes/{written}")).contents
            assert text.text == "the dog ran"
        (picture,) = (await client.read_resource("retrieval-store://pictures/red")).contents
        assert picture.mime_type == "image/png"
        assert base64.b64decode(picture.blob).startswith(b"\x89PNG")
        for missing in ("notes/none", "nothing/a", "pictures/outside"):
            with pytest.raises(MCPError):
                await client.read_resource(f"retrieval-store://{missing}")


async def test_missing_collections_are_reported_with_a_budget_too(store):
    with retrieval_store.Client(store) as client:
        server = StoreServer(SharedTools(lambda: client))
        server.budget = Guard("127.0.0.1").budget
        async with McpClient(server.protocol()) as asking:
            for missing in ("notes/none", "nothing/a"):
                with pytest.raises(MCPError, match="no record 'none'|nothing"):
                    await asking.read_resource(f"retrieval-store://{missing}")
        server.close()


@contextlib.contextmanager
def over_http(store, *arguments, **environment):
    process = subprocess.Popen(
        [*COMMAND, str(store), "--http", "127.0.0.1:0", *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0
        process.stdout.close()


async def tools_of(url, key=None):
    """The names of the tools that a key may use, and the response to a write."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with (
        httpx2.AsyncClient(headers=headers) as http,
        McpClient(streamable_http_client(url, http_client=http)) as client,
    ):
        names = [one.name for one in (await client.list_tools()).tools]
        found = await client.call_tool("search", {"text": "cat"})
        assert found.structured_content["records"][0]["id"] == "a"
        return names, await client.call_tool("add", {"documents": [f"by {key}"]})


async def test_over_http_a_key_decides_what_may_be_done(store):
    keys = {
        "RETRIEVAL_STORE_API_KEYS": "full",
        "RETRIEVAL_STORE_READ_ONLY_API_KEYS": "reader",
    }
    with over_http(store, "--write", **keys) as url:
        names, added = await tools_of(url, "full")
        assert names == [*READERS, "add", "update", "delete"]
        assert not added.is_error
        names, added = await tools_of(url, "reader")
        assert names == READERS
        assert added.is_error
        assert "the key of this client may only read" in added.content[0].text
        assert httpx2.post(url, json={}).status_code == 401
        assert httpx2.post(url, json={}, headers={"api-key": "wrong"}).status_code == 401


async def test_over_http_without_keys_other_origins_are_refused(store):
    with over_http(store) as url:
        names, added = await tools_of(url)
        assert names == READERS
        assert added.is_error
        for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}):
            assert httpx2.post(url, json={}, headers=headers).status_code == 403


# The page


def configurations():
    """The configurations of clients on the page."""
    page = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
    found = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    for one in found:
        (servers,) = one.values()
        yield from (server for server in servers.values() if "command" in server)


@pytest.mark.parametrize(
    "configured", list(configurations()), ids=lambda one: " ".join(one["args"])
)
def test_the_documented_command_starts_a_server(start, store, configured):
    assert configured["command"] == "retrieval-store"
    command, directory, *options = configured["args"]
    assert (command, directory[0]) == ("mcp", "/")
    tools = start(store, *options).ask("tools/list", {})["result"]["tools"]
    assert [one["name"] for one in tools][:4] == READERS


def test_it_ends_with_its_input_where_that_is_a_socket_and_a_call_waits(start, store):
    """As with clients on Node."""
    ours, its = socket.socketpair()
    with ours, its:
        process = subprocess.Popen(
            [*COMMAND, str(store)], stdin=its.fileno(), stdout=subprocess.PIPE, text=True
        )
        try:
            ours.sendall(
                json.dumps(
                    {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
                ).encode()
                + b"\n"
            )
            assert json.loads(process.stdout.readline())["id"] == 1
            ours.shutdown(socket.SHUT_WR)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            process.stdout.close()


async def test_a_document_is_shown_though_the_record_has_a_uri_and_metadata_as_json(served, store):
    with retrieval_store.Client(store) as client:
        pictures = client.get_collection("pictures")
        pictures.add(["text"], embeddings=[[1, 1]], documents=["a text"], uris=["notes.txt"])
        pictures.add(["bare"], embeddings=[[1, 1]], metadatas=[{"é": 1, "_node": "hidden"}])
    async with McpClient(served) as client:
        (text,) = (await client.read_resource("retrieval-store://pictures/text")).contents
        assert text.text == "a text"
        (bare,) = (await client.read_resource("retrieval-store://pictures/bare")).contents
        assert json.loads(bare.text) == {"é": 1}
        for wrong in ("retrieval-store://pictures/gone", "retrieval-store://[x/a", "other://a/b"):
            with pytest.raises(MCPError):
                await client.read_resource(wrong)
