"""A client's errors and behaviour when a server has exited, or is slow, full, locked or of another
kind."""

import contextlib
import signal
import socket
import socketserver
import threading
import time

import numpy as np
import pytest

import retrieval_store
from integrations.server.tests.http.serving import served as process_that_serves
from retrieval_store.errors import (
    AccessDeniedError,
    ClientClosedError,
    ClusterError,
    ClusterTimeoutError,
    InvalidArgumentError,
    InvalidTypeError,
    NotFoundError,
    ReadOnlyError,
    RequestTimeoutError,
    StorageError,
    UnavailableError,
)
from retrieval_store_server import running
from retrieval_store_server.http import request
from retrieval_store_server.http.pool import BusyError
from retrieval_store_server.native.methods import ROOT, STORE
from tests.helpers import PATIENCE, free_port, inside, steps
from tests.helpers.forks import in_child
from tests.helpers.tuned import tuned


@pytest.fixture
def impatient(monkeypatch):
    """No retry waits."""
    tuned(monkeypatch, server_patience=0.2)


def made(client, points=5):
    things = client.create_collection("things", embedding_function=None)
    ids = [f"p{i}" for i in range(points)]
    things.add(ids=ids, embeddings=np.ones((points, 4)), metadatas=[{"n": 1}] * points)
    return things


def test_a_server_that_listens_before_it_answers_is_waited_for(served, monkeypatch):
    """Such a server's processes are still loading their modules."""
    tuned(monkeypatch, looked_within=0.05)
    address = inside.store(served).address
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Gateway) as server:
        server.daemon_threads, server.said = True, None
        server.behind = (address.host, address.port)
        url = f"http://127.0.0.1:{server.server_address[1]}"
        with retrieval_store.Client(url=url) as client:
            threading.Timer(0.5, server.serve_forever).start()
            assert client.count_collections() == 0
        server.shutdown()


@pytest.mark.usefixtures("impatient")
def test_a_terminated_server_is_reported(tmp_path):
    with running(tmp_path / "store") as url:
        client = retrieval_store.Client(url=url)
        things = made(client)
    with pytest.raises(UnavailableError, match="nothing answers there$"):
        things.count()
    with pytest.raises(UnavailableError, match="nothing was written"):
        things.add(ids="x", embeddings=[[1, 2, 3, 4]])
    with pytest.raises(UnavailableError):
        client.heartbeat()
    client.close()
    with pytest.raises(ClientClosedError):
        things.count()


@pytest.mark.usefixtures("impatient")
def test_keys_are_sent_and_missing_permissions_are_reported(tmp_path):
    store, keys = tmp_path / "store", {"api_keys": ["full"], "read_only_api_keys": ["look"]}
    with running(store, **keys) as url:
        with retrieval_store.Client(url=url, api_key="full") as client:
            made(client)
        with retrieval_store.Client(url=url, headers={"authorization": "Bearer look"}) as reader:
            things = reader.get_collection("things", embedding_function=None)
            assert things.count() == 5
            for write in (
                lambda: things.add(ids="x", embeddings=[[1, 2, 3, 4]]),
                lambda: reader.delete_collection("things"),
                lambda: things.optimize(),
            ):
                with pytest.raises(AccessDeniedError, match="doesn.t allow"):
                    write()
        for key in ({}, {"api_key": "wrong"}):
            client = retrieval_store.Client(url=url, **key)
            with client, pytest.raises(AccessDeniedError, match="api_key= of Client"):
                client.count_collections()
    with pytest.raises(InvalidArgumentError, match="api_key"):
        retrieval_store.Client(url=url, api_key="a\nb")


def test_a_read_only_served_store_reports_it(tmp_path):
    with retrieval_store.Client(tmp_path / "store") as here:
        made(here)
    with running(tmp_path / "store", read_only=True) as url, retrieval_store.Client(url=url) as c:
        things = c.get_collection("things", embedding_function=None)
        assert things.count() == 5
        assert len(list(things.iterate(batch=2))) == 5
        for write in (
            lambda: things.delete(ids="p1"),
            lambda: c.create_collection("more", embedding_function=None),
            lambda: things.modify(name="other"),
        ):
            with pytest.raises(ReadOnlyError):
                write()
        c.snapshot(tmp_path / "whole.zip")
    retrieval_store.restore(tmp_path / "whole.zip", tmp_path / "again")


class Cutting(socketserver.BaseRequestHandler):
    """Answers `GET /` as a server does, and cuts every later connection."""

    def handle(self):
        received = self.request.recv(65536)
        self.server.heads.append(received)
        if received.startswith(b"GET / "):
            body = b'{"retrieval-store": "9"}'
            head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            self.request.sendall(head + body)
        else:
            self.server.asked += 1
            self.answer()

    def answer(self):
        if self.server.way == "slow":
            time.sleep(1.5)
        else:
            self.request.sendall(WAYS[self.server.way])


OK, GIVEN_UP = (
    b"HTTP/1.1 200 OK\r\n",
    b'{"error": "RequestTimeoutError", "message": "took too long"}',
)
WAYS = {
    "cut": OK + b"content-length: 1000\r\n\r\nabc",
    "cut in a piece": OK + b"transfer-encoding: chunked\r\n\r\n9\r\nabc",
    "no piece": OK + b"transfer-encoding: chunked\r\n\r\nabcz\r\n",
    "no head": b"220 mail.example ESMTP\r\n\r\n",
    "endless head": OK + b"x-more: 1\r\n" * 10_000,
    "garbled": OK + b"content-length: 3\r\n\r\nabc",
    "gateway": b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n",
    # It closes; otherwise the client would send the next request on a connection that is about to
    # end.
    "given up": b"HTTP/1.1 408 Late\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
    % (len(GIVEN_UP), GIVEN_UP),
    "proxy": b"HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\nwhat?",
}


@contextlib.contextmanager
def cutting(way):
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Cutting) as server:
        server.daemon_threads = True
        server.way, server.asked, server.heads = way, 0, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server, f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("way", "error", "message", "again"),
    [
        ("cut", UnavailableError, "was cut while", True),
        ("cut in a piece", UnavailableError, "was cut while", True),
        ("no piece", UnavailableError, "was cut while", True),
        ("no head", UnavailableError, "was cut while", True),
        ("endless head", UnavailableError, "was cut while", True),
        ("gateway", UnavailableError, "a proxy in front of", True),
        ("slow", ClusterTimeoutError, "didn't finish .* in time", False),
        ("garbled", ClusterError, "can't be parsed", False),
        ("proxy", ClusterError, "answers 404", False),
        ("given up", RequestTimeoutError, "took too long", False),
    ],
)
def test_errors_of_responses_are_reported(way, error, message, again):
    with cutting(way) as (server, url), retrieval_store.Client(url=url, timeout=0.5) as client:
        with pytest.raises(error, match=message):
            client.count_collections()
        assert (server.asked > 1) == again  # reads are tried again where that may help
        before = server.asked
        with pytest.raises(error) as caught:
            inside.store(client).drop("things")
        if way in ("cut", "gateway", "slow"):
            assert "may have been done, as a whole or not at all" in str(caught.value)
            assert server.asked <= before + 1  # a write isn't


def test_compressed_responses_are_never_requested():
    headers = {"Accept-Encoding": "gzip", "x-mine": "1"}
    with cutting("garbled") as (server, url), retrieval_store.Client(url=url, headers=headers) as c:
        with pytest.raises(ClusterError):
            c.count_collections()
        for head in server.heads:
            lines = [line for line in head.splitlines() if line.startswith((b"accept", b"x-"))]
            assert sorted(lines) == [b"accept-encoding: identity", b"x-mine: 1"]


@pytest.mark.usefixtures("impatient")
def test_requests_refused_for_lack_of_room_are_retried(served, monkeypatch):
    things = made(served)
    left = [2]

    def busy():
        if left[0]:
            left[0] -= 1
            raise BusyError

    steps.before(monkeypatch, "put_points", busy)
    tuned(monkeypatch, server_patience=5.0)
    things.add(ids="new", embeddings=[[1, 2, 3, 4]])
    assert things.count() == 6


def test_iterating_reads_one_state_while_others_write(served):
    things = made(served, points=20)
    rows = things.iterate(batch=4)
    first = [next(rows)["id"] for _ in range(3)]
    things.delete(ids=[f"p{i}" for i in range(10, 20)])
    things.add(ids="new", embeddings=[[1, 2, 3, 4]])
    assert first + [row["id"] for row in rows] == [f"p{i}" for i in range(20)]
    assert things.count() == 11


def test_a_forked_child_leaves_the_iterator_to_its_parent(served):
    iterators = [made(served, points=20).iterate(batch=4)]
    first = next(iterators[0])["id"]
    assert in_child(iterators.clear) == 0
    assert [first, *(row["id"] for row in iterators[0])] == [f"p{i}" for i in range(20)]


def test_an_iterator_reports_a_terminated_server(tmp_path):
    port = free_port()
    with running(tmp_path / "store", port=port) as url:
        client = retrieval_store.Client(url=url)
        rows = made(client, points=20).iterate(batch=4)
        next(rows)
    with running(tmp_path / "store", port=port), pytest.raises(StorageError):
        list(rows)
    client.close()
    assert list((tmp_path / "store").glob(".*copy*")) == []


def test_concurrent_updates_are_all_stored(served):
    made(served)
    url = inside.store(served).address.url

    def change(number):
        with retrieval_store.Client(url=url) as client:
            backend = inside.backend(client.get_collection("things", embedding_function=None))
            for i in range(10):
                backend.change(lambda record, i=i: noted(record, f"{number}-{i}"))

    threads = [threading.Thread(target=change, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    things = served.get_collection("things", embedding_function=None)
    settings = inside.backend(things).record().settings
    assert len(settings["metadata"]) == 40


def noted(record, key):
    metadata = {**(record.settings["metadata"] or {}), key: 1}
    return type(record)(record.id, record.name, {**record.settings, "metadata": metadata})


def test_processes_that_serve_one_port_answer_together(tmp_path):
    served_by_two = process_that_serves(tmp_path / "s", "--workers", 2, cwd=tmp_path)
    with (
        served_by_two as (process, url),
        retrieval_store.Client(url=url, timeout=PATIENCE) as client,
    ):
        things, seen = made(client, points=50), []

        def look():
            for _ in range(5):
                seen.append(len(list(things.iterate(batch=7))))

        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert seen == [50] * 20
        process.send_signal(signal.SIGTERM)  # a worker isn't ended by the end of its parent
        assert process.wait(PATIENCE) == 0


def test_a_snapshot_is_written_by_the_client_and_replaces_nothing(served, tmp_path):
    things = made(served)
    things.snapshot(tmp_path / "one.zip")
    with pytest.raises(InvalidArgumentError, match="is there already"):
        things.snapshot(tmp_path / "one.zip")
    with pytest.raises(InvalidArgumentError, match="there is no directory"):
        served.snapshot(tmp_path / "none" / "one.zip")
    served.snapshot(tmp_path / "all.zip")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["all.zip", "one.zip"]
    retrieval_store.restore(tmp_path / "all.zip", tmp_path / "again")
    retrieval_store.restore(tmp_path / "one.zip", tmp_path / "again", "second")
    with retrieval_store.Client(tmp_path / "again") as client:
        again = client.get_collection("second", embedding_function=None)
        assert again.get() == things.get()


IMPOSSIBLE = [
    ({"url": "localhost:6333"}, InvalidArgumentError, "expected http"),
    ({"url": "http://[::1"}, InvalidArgumentError, "expected http"),
    ({"url": 7}, InvalidTypeError, "expected the URL"),
    ({"url": "http://.foo:1"}, InvalidArgumentError, "url"),
    ({"url": f"http://{'a' * 70}:1"}, InvalidArgumentError, "url"),
    ({"url": "http://h:1/é"}, InvalidArgumentError, "url"),
    ({"url": "http://h:1/a b"}, InvalidArgumentError, "url"),
    ({"url": "http://u:p@h:1"}, InvalidArgumentError, "url"),
    ({"url": "http://localhost:1", "headers": 7}, InvalidTypeError, "headers"),
    ({"url": "http://localhost:1", "headers": {"a b": "x"}}, InvalidArgumentError, "headers"),
    ({"url": "https://localhost:1", "verify": 7}, InvalidTypeError, "verify"),
    ({"url": "https://localhost:1", "verify": "/none"}, InvalidArgumentError, "verify"),
    ({"url": "http://localhost:1", "timeout": 0}, InvalidArgumentError, "timeout"),
]


def test_arguments_that_cannot_be_are_refused_at_once():
    for given, error, message in IMPOSSIBLE:
        with pytest.raises(error, match=message):
            retrieval_store.Client(**given)


def test_arguments_only_for_clusters_are_refused(served):
    url = inside.store(served).address.url
    for given in ({"consistency": 2}, {"create_indexes": False}):
        with pytest.raises(InvalidArgumentError, match="go with a cluster"):
            retrieval_store.Client(url=url, **given)
    with pytest.raises(InvalidArgumentError, match="for collections on a cluster"):
        served.create_collection("things", {"qdrant": {"shard_number": 2}})


def test_a_client_by_host_and_port(served):
    port = inside.store(served).address.port
    made(served)
    with retrieval_store.HttpClient(f"http://127.0.0.1:{port}") as client:  # which counts
        assert client.count_collections() == 1
    with retrieval_store.HttpClient("127.0.0.1", port, headers={"x-mine": "1"}) as client:
        assert client.count_collections() == 1
        assert client.get_settings().is_persistent is False
        assert client.path is None
        assert client.heartbeat() > 0
    with pytest.raises(InvalidArgumentError, match="port"):
        retrieval_store.HttpClient("127.0.0.1", 0)
    with pytest.raises(InvalidTypeError, match="host"):
        retrieval_store.HttpClient("")


def test_a_missing_collection_is_reported(served):
    with pytest.raises(NotFoundError):
        inside.store(served).points("00000000-0000-0000-0000-000000000000").count()


class Gateway(socketserver.BaseRequestHandler):
    """Answers instead of a server at first, and then forwards everything to it."""

    def handle(self):
        if self.server.said is not None:
            self.request.recv(65536)
            self.request.sendall(self.server.said)
            return
        with socket.create_connection(self.server.behind, PATIENCE) as there:
            back = threading.Thread(target=pump, args=(there, self.request), daemon=True)
            back.start()
            pump(self.request, there)
            back.join(PATIENCE)


def pump(one, other):
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def gateway(behind, said):
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Gateway) as server:
        server.daemon_threads, server.said, server.behind = True, said, behind
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server, f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def test_another_service_in_place_of_a_server_is_refused(served):
    things, address = made(served), inside.store(served).address
    message = b"HTTP/1.1 503 Not Now\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    behind = gateway((address.host, address.port), message)
    with behind as (server, url), retrieval_store.Client(url=url) as client:
        threading.Timer(0.3, lambda: setattr(server, "said", None)).start()
        assert client.get_collection("things", embedding_function=None).get() == things.get()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("message", "error", "match"),
    [
        (b"403 Forbidden\r\ncontent-length: 0", AccessDeniedError, "--allow-host"),
        (
            b"200 OK\r\ncontent-length: 2\r\n\r\n{}",
            ClusterError,
            "neither a Qdrant nor a retrieval-store server",
        ),
        (b"503 No\r\ncontent-length: 0", UnavailableError, "isn't ready"),
        (b"200 OK\r\ncontent-length: 99999999999999999999", UnavailableError, "nothing answers"),
    ],
)
def test_values_of_no_known_kind_are_reported_and_nothing_is_written(message, error, match):
    behind = gateway(("127.0.0.1", 9), b"HTTP/1.1 " + message + b"\r\n\r\n")
    with (
        behind as (_, url),
        retrieval_store.Client(url=url) as client,
        pytest.raises(error, match=match),
    ):
        client.create_collection("things", embedding_function=None)


def test_copies_for_slow_readers_stay_and_end_with_their_readers(served):
    assert request.KEPT_SECONDS >= 600
    things = made(served, points=20)
    others = [things.iterate(batch=4) for _ in range(request.MAX_COPIES)]
    for one in others:
        next(one)
    threading.Timer(0.3, others[0].close).start()
    assert len(list(things.iterate(batch=4))) == 20  # once there is room
    for one in others:
        one.close()


def test_copies_by_dead_readers_block_nobody(served):
    things, address = made(served, points=20), inside.store(served).address
    message = b"".join(STORE["copy"].encode_arguments({"collection_id": str(things.id)}))
    head = (
        f"POST {ROOT}/store/copy HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(message)}\r\n"
    )
    for _ in range(2 * request.MAX_COPIES):
        with socket.create_connection((address.host, address.port), PATIENCE) as line:
            line.sendall(f"{head}\r\n".encode() + message)
            assert line.recv(4096).startswith(b"HTTP/1.1 200")
    assert len(list(things.iterate(batch=4))) == 20


@pytest.mark.usefixtures("impatient")
def test_all_threads_wait_for_a_server_at_once(monkeypatch):
    tuned(monkeypatch, server_patience=1.0)
    with retrieval_store.Client(url=f"http://127.0.0.1:{free_port()}") as client:
        failed = []

        def ask():
            with pytest.raises(
                UnavailableError, match=r"at http://127\.0\.0\.1:\d+ can't be reached"
            ) as e:
                client.count_collections()
            failed.append(e)

        threads = [threading.Thread(target=ask) for _ in range(100)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 60  # one after the other they would take 100 seconds
        for thread in threads:
            thread.join(until - time.monotonic())
        assert len(failed) == 100


def test_messages_beyond_the_limit_are_refused_before_sending(served, monkeypatch):
    things = made(served)
    tuned(monkeypatch, largest_answer=10_000)
    with pytest.raises(InvalidArgumentError, match="divide it into several calls"):
        things.add(ids=["x"], embeddings=[[0.5] * 4], documents=["long " * 4_000])
