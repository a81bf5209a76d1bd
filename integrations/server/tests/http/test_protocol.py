"""Requests as bytes on a connection: where each begins and ends, and which errors close it."""

import contextlib
import json
import socket
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from retrieval_store.qdrant import QdrantClient, models
from retrieval_store_server import running
from retrieval_store_server.http import receiving
from retrieval_store_server.run import Protocol, WholeExchange
from tests.helpers import PATIENCE

QUERY = json.dumps({"limit": 3}).encode()
SMUGGLED = b"DELETE /collections/victim HTTP/1.1\r\nHost: localhost\r\n\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: foo\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAA\r\nUpgrade: h2c\r\n"


@pytest.fixture(scope="module")
def url():
    with running(":memory:") as url:
        client = QdrantClient(url=url, check_compatibility=False)
        for name in ("c", "victim"):
            client.create_collection(
                name, vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT)
            )
        yield url


@contextlib.contextmanager
def connected(url):
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), timeout=PATIENCE) as connection:
        yield connection


def request(method, path, body=b"", headers=b""):
    """A request with the length of its body."""
    return (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n".encode()
        + headers
        + b"\r\n"
        + body
    )


def chunked(method, path, body, headers=b""):
    """A request with a body in two chunks."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:2], body[2:])]
    return head.encode() + headers + b"\r\n" + b"".join(chunks) + b"0\r\n\r\n"


def answers(connection, count):
    """Status and body of `count` responses."""
    file = connection.makefile("rb")
    return [answer_of(file) for _ in range(count)]


def answer_of(file):
    status = int(file.readline().split()[1])
    headers = dict(iter(lambda: tuple(file.readline().lower().strip().split(b": ", 1)), (b"",)))
    return status, file.read(int(headers[b"content-length"]))


def is_there(url):
    with connected(url) as connection:
        connection.sendall(request("GET", "/collections/victim/exists"))
        ((_, body),) = answers(connection, 1)
        return json.loads(body)["result"]["exists"]


def points_of(body):
    return json.loads(body)["result"]["points"]


SCROLL = "/collections/c/points/scroll"


@pytest.mark.parametrize("query", [UPGRADE, H2C], ids=["any", "h2c"])
@pytest.mark.parametrize("made", [request, chunked])
@pytest.mark.parametrize("cut", ["whole", "head", "body", "bytes"])
def test_an_upgrade_is_ignored_and_the_body_is_the_requests_own(url, made, query, cut):
    sent = made("POST", SCROLL, QUERY, query)
    head = sent.index(b"\r\n\r\n") + 4
    at = {"whole": [], "head": [head], "body": [head + 3], "bytes": range(1, len(sent))}[cut]
    with connected(url) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start, end in zip([0, *at], [*at, len(sent)], strict=True):
            connection.sendall(sent[start:end])
        connection.sendall(request("GET", "/collections/c/exists"))
        (status, body), (_, exists) = answers(connection, 2)
    assert (status, points_of(body)) == (200, [])
    assert json.loads(exists)["result"] == {"exists": True}


@pytest.mark.parametrize("made", [request, chunked])
def test_no_body_passes_for_a_request(url, made):
    sent = made("POST", SCROLL, SMUGGLED, UPGRADE)
    head = sent.index(b"\r\n\r\n") + 4
    for pieces in ([sent], [sent[:head], sent[head:]]):
        with connected(url) as connection:
            for piece in pieces:
                connection.sendall(piece)
            connection.sendall(request("GET", "/healthz"))
            assert [status for status, _ in answers(connection, 2)] == [400, 200]
        assert is_there(url)


def test_requests_that_are_sent_at_once_are_answered_one_after_the_other(url):
    sent = [request("POST", SCROLL, QUERY, UPGRADE), chunked("POST", SCROLL, QUERY, H2C)] * 5
    sent += [request("GET", "/collections", headers=UPGRADE)] * 1_000
    with connected(url) as connection:
        connection.sendall(b"".join(sent))
        assert {status for status, _ in answers(connection, len(sent))} == {200}


class Writes:
    """A transport that keeps the written data."""

    def __init__(self, transport, written):
        self._transport, self._written = transport, written

    def __getattr__(self, name):
        return getattr(self._transport, name)

    def write(self, data):
        self._written.append(bytes(data))
        self._transport.write(data)


@pytest.fixture
def written(monkeypatch):
    """The data that servers write to their connections, each time."""
    written, made = [], Protocol.connection_made
    monkeypatch.setattr(
        Protocol, "connection_made", lambda self, transport: made(self, Writes(transport, written))
    )
    return written


@pytest.mark.parametrize("headers", [b"", b"Connection: close\r\n"], ids=["stays", "ends"])
def test_an_answer_is_written_at_once(written, headers):
    with running(":memory:") as url, connected(url) as connection:
        connection.sendall(request("GET", "/collections", headers=headers))
        ((status, body),) = answers(connection, 1)
        if headers:
            assert connection.recv(1) == b""
    (answer,) = written
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert (status, body) == (200, rest)
    assert (b"\r\nconnection: close" in head) == bool(headers)


def test_an_answer_to_head_has_no_body(written):
    with running(":memory:") as url, connected(url) as connection:
        connection.sendall(request("HEAD", "/collections", headers=b"Connection: close\r\n"))
        head, _, rest = connection.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404")
    assert rest == b""


def test_a_complete_body_is_not_awaited(url, monkeypatch):
    def deadline(seconds):
        raise AssertionError("it is waited for")

    monkeypatch.setattr(receiving, "deadline", deadline)
    whole = request("POST", SCROLL, QUERY)
    with connected(url) as connection:
        connection.sendall(whole + whole)
        assert [status for status, _ in answers(connection, 2)] == [200, 200]


def test_a_requested_body_is_awaited(url):
    sent = request("POST", SCROLL, QUERY, b"Expect: 100-continue\r\n")
    head = sent.index(b"\r\n\r\n") + 4
    with connected(url) as connection:
        connection.sendall(sent[:head])
        file = connection.makefile("rb")
        assert file.readline().startswith(b"HTTP/1.1 100")
        assert file.readline() == b"\r\n"
        connection.sendall(sent[head:])
        status, body = answer_of(file)
    assert (status, points_of(body)) == (200, [])


@pytest.mark.parametrize(
    "sent", [b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
             b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    ids=["proxy", "HTTP/2"],
)  # fmt: skip
def test_requests_for_another_protocol_are_refused(url, sent):
    with connected(url) as connection:
        connection.sendall(sent)
        assert connection.makefile("rb").read().startswith(b"HTTP/1.1 400")


def test_a_client_that_closes_its_half_of_a_connection_is_answered(url):
    sent = request("POST", SCROLL, QUERY) + request("GET", "/collections") + b"GET /coll"
    with connected(url) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        assert [status for status, _ in answers(connection, 2)] == [200, 200]
        assert connection.recv(1) == b""  # the server closes its half then


@pytest.mark.parametrize(
    ("first", "hosts", "status"),
    [
        ("/collections", ["localhost"], 200),
        ("/collections", ["localhost", "localhost"], 400),
        ("/collections", ["localhost", "elsewhere.example"], 400),
        ("http://localhost/collections", ["localhost"], 200),
        ("HTTP://LocalHost:6333/collections", ["localhost:6333"], 200),
        ("http://elsewhere.example/collections", ["localhost"], 400),
        ("http://localhost@elsewhere.example/collections", ["localhost"], 400),
        ("http://elsewhere.example?/collections", ["localhost"], 400),
        ("http://localhost/collections", ["localhost", "localhost"], 400),
    ],
)  # fmt: skip
def test_a_server_is_named_once(url, first, hosts, status):
    head = "".join(f"Host: {host}\r\n" for host in hosts)
    with connected(url) as connection:
        connection.sendall(f"GET {first} HTTP/1.1\r\n{head}\r\n".encode())
        assert answers(connection, 1)[0][0] == status


def test_a_cycle_of_another_shape_is_left_to_messages():
    """A release of uvicorn may rename its private fields."""
    exchange = WholeExchange(SimpleNamespace(more_body=False, body=b"{}"), lambda *_: None)
    assert exchange.take_body() is None
    assert not exchange.send(200, [(b"content-length", b"0")], b"")
