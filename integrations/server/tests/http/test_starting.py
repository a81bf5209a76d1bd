"""Starting and ending servers by the command."""

import os
import re
import signal
import socket
import time
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

import retrieval_store
from integrations.server.tests.http.serving import served
from retrieval_store.errors import InvalidArgumentError
from retrieval_store_server import running
from tests.helpers import PATIENCE
from tests.helpers.indexed import until
from tests.helpers.terminals import run
from tests.helpers.tuned import tuned


def answered(url):
    """The first answer of a server whose workers may still be starting."""
    with httpx.Client(base_url=url, timeout=PATIENCE) as client:
        return client.get("/collections")


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_ends_a_server_and_deletes_a_temporary_store(tmp_path, workers):
    with served("--temporary", "--workers", workers, cwd=tmp_path) as (process, url):
        assert answered(url).status_code == 200
        (store,) = tmp_path.glob("retrieval-store-*")
        assert (store / "catalog.sqlite").exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == ""
    assert list(tmp_path.glob("retrieval-store-*")) == []


def test_a_request_under_way_is_answered_before_the_end(tmp_path):
    first, rest = b'{"vectors": {"size": 2,', b' "distance": "Dot"}}'
    head = (
        "PUT /collections/late HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
        f"Content-Length: {len(first + rest)}\r\n\r\n"
    )
    with served("--temporary", cwd=tmp_path) as (process, url):
        address = (httpx.URL(url).host, httpx.URL(url).port)
        with socket.create_connection(address, timeout=PATIENCE) as connection:
            connection.sendall(head.encode())
            assert connection.recv(1024).startswith(b"HTTP/1.1 100")  # so the body is waited for
            connection.sendall(first)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)  # so that the signal comes before the rest of the body does
            connection.sendall(rest)
            answer = connection.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 200")
        assert b'"result":true' in answer
        assert process.wait(PATIENCE) == 0


def test_unopenable_stores_are_reported_at_once(tmp_path):
    (tmp_path / "another's").write_text("file")
    ports = ("--port", "0", "--grpc-port", "none")  # no port that another process may use
    done = run("serve", tmp_path, *ports, "--workers", 2, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert re.match(rb"error: .* is no store of retrieval-store", done.stderr)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="looks into Linux' /proc")
def test_as_many_workers_as_processors_serve_a_directory(tmp_path):
    usable = sorted(os.sched_getaffinity(0))
    with served("store", "--workers", "auto", cwd=tmp_path) as (process, url):
        assert answered(url).status_code == 200
        workers = workers_of(process.pid)
        assert len(workers) == (0 if len(usable) == 1 else min(8, len(usable)))
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def workers_of(process):
    """The worker processes of a supervising process."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [one for one in children if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


ESTABLISHED, LISTENING = "01", "0A"  # in /proc/net/tcp


def sockets_at(port, state):
    """The sockets of the system at a port, as processes have them."""
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return {
        f"socket:[{line[9]}]"
        for line in lines
        if line[3] == state and int(line[1].rpartition(":")[2], 16) == port
    }


def connections_of(process, port):
    """How many connections at a port a process has."""
    there = sockets_at(port, ESTABLISHED)
    descriptors = Path(f"/proc/{process}/fd")
    held = [os.readlink(descriptors / one) for one in os.listdir(descriptors)]
    return len(there.intersection(held))


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="looks into Linux' /proc")
def test_connections_that_come_together_are_shared_out_among_workers(tmp_path):
    with served("store", "--workers", 2, cwd=tmp_path) as (process, url):
        at = httpx.URL(url)
        until(lambda: len(sockets_at(at.port, LISTENING)) == 2, "the workers don't listen")
        with ExitStack() as open_ones:
            connections = [socket.create_connection((at.host, at.port)) for _ in range(64)]
            for one in map(open_ones.enter_context, connections):
                one.sendall(b"GET /collections HTTP/1.1\r\nHost: localhost\r\n\r\n")
            for one in connections:
                assert one.recv(1024).startswith(b"HTTP/1.1 200")
            shares = [connections_of(one, at.port) for one in workers_of(process.pid)]
        assert sum(shares) == 64 and min(shares) >= 8
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("workers", ["0", "²"])
def test_a_number_of_workers_is_1_or_more_or_auto(tmp_path, workers):
    done = run("serve", tmp_path / "store", "--workers", workers, cwd=tmp_path)
    assert done.returncode == 2 and b"expected 1 or more, or auto" in done.stderr
    assert not (tmp_path / "store").exists()


def test_invalid_certificate_files_are_refused_before_listening(tmp_path):
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("no PEM")
    done = run("serve", "store", "--tls-cert", "cert.pem", "--tls-key", "key.pem", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"cert.pem" in done.stderr and b"key.pem" in done.stderr
    assert not (tmp_path / "store").exists()


def test_an_invalid_port_is_refused(tmp_path):
    done = run("serve", "store", "--port", 65_536, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"65535" in done.stderr
    for port in (-1, 65_536):
        with pytest.raises(InvalidArgumentError, match="65535"), running(":memory:", port=port):
            pass


@pytest.mark.parametrize(
    "begun",
    [
        b"GET /",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
        b"POST /collections/c/points/count HTTP/1.1\r\nHost: localhost\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: ",
    ],
    ids=["path", "header", "trailer"],
)
def test_the_head_of_a_request_is_bounded(begun):
    with running(":memory:") as url:
        place = urlsplit(url)
        with socket.create_connection((place.hostname, place.port), timeout=PATIENCE) as connection:
            connection.sendall(begun)
            with pytest.raises(OSError):  # the server closes the connection
                for _ in range(1_000):
                    connection.sendall(b"a" * 65_536)
        assert answered(url).status_code == 200


def test_a_head_that_does_not_come_is_given_up(monkeypatch):
    """Also after an empty line, which doesn't keep a connection open."""
    tuned(monkeypatch, head_within=0.3)
    health = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with running(":memory:") as url:
        place = urlsplit(url)
        for sent in (b"", b"GET / HT", health + b"GET"):
            with socket.create_connection((place.hostname, place.port), PATIENCE) as connection:
                connection.sendall(sent)
                text = b"".join(iter(lambda one=connection: one.recv(65_536), b""))  # until closed
                assert text.count(b"HTTP/1.1 200") == sent.count(b"healthz")
        with closing(HTTPConnection(place.netloc, timeout=PATIENCE)) as connection:
            connection.request("GET", "/healthz")
            assert connection.getresponse().read()
            connection.sock.sendall(b"\r\n")
            assert connection.sock.recv(1) == b""


def test_an_answer_may_take_longer_than_a_head(monkeypatch):
    tuned(monkeypatch, head_within=0.3)
    with running(":memory:") as url, httpx.Client(base_url=url, timeout=PATIENCE) as client:

        def body():
            yield b'{"vectors": {"size": 2,'
            time.sleep(1)
            yield b' "distance": "Dot"}}'

        assert client.put("/collections/c", content=body()).status_code == 200
        time.sleep(1)  # an idle connection stays open
        assert client.get("/collections").status_code == 200


def test_a_temporary_server_accepts_a_memory_budget(tmp_path):
    words = ("--temporary", "--memory-budget", 7, "--workers", 2)
    with served(*words, cwd=tmp_path) as (_, url), retrieval_store.Client(url=url) as client:
        things = client.create_collection("things", embedding_function=None)
        assert things.stats()["budget"]["limit"] == 7 << 20
    refused = run("serve", ":memory:", "--memory-budget", 0, cwd=tmp_path)
    assert refused.returncode == 2 and b"--memory-budget" in refused.stderr


def test_a_clients_key_in_the_environment_is_reported_as_unused_by_the_server(
    tmp_path, monkeypatch
):
    (tmp_path / "another's").write_text("file")
    monkeypatch.setenv("RETRIEVAL_STORE_API_KEY", "s3cret")
    done = run("serve", tmp_path, "--port", "0", cwd=tmp_path)
    assert b"RETRIEVAL_STORE_API_KEYS; this one asks for none" in done.stderr
    assert b"s3cret" not in done.stderr
