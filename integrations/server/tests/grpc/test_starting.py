"""gRPC of servers started and ended by the command, and over TLS."""

import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from qdrant_client import grpc as q

import grpc
from integrations.server.tests.grpc.calling import Calls, channel_to, code, make_collection
from integrations.server.tests.http.serving import served
from retrieval_store.errors import InvalidArgumentError, StorageError
from retrieval_store_server import Application, running
from retrieval_store_server import run as starting
from retrieval_store_server.http.settings import ServerSettings
from tests.helpers import PATIENCE
from tests.helpers.terminals import run
from tests.helpers.tuned import tuned


@contextmanager
def serving(*words, cwd, **variables):
    """A process that serves, and the ports for HTTP and gRPC."""
    with served(*words, "--grpc-port", "any", cwd=cwd, **variables) as (process, url):
        line = process.stdout.readline()
        found = re.fullmatch(r"and over gRPC at 127\.0\.0\.1:(\d+)\n", line)
        assert found, line
        yield process, url, int(found[1])


def listening_at(port):
    """How many sockets listen at a port."""
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    if not all(table.exists() for table in tables):
        pytest.skip("needs Linux, which tells who listens")
    lines = [line for table in tables for line in table.read_text().splitlines()[1:]]
    rows = [line.split() for line in lines]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


def test_all_workers_listen_at_one_port_and_end_together(tmp_path):
    with serving("--temporary", "--workers", 2, cwd=tmp_path) as (process, _, port):
        ends = time.monotonic() + PATIENCE
        while listening_at(port) < 2 and time.monotonic() < ends:
            time.sleep(0.1)
        assert listening_at(port) == 2
        for i in range(20):  # by connections of their own, which one of them accepts
            with own_channel_to(port) as channel:
                make_collection(Calls(channel), f"c{i}")
        with own_channel_to(port) as channel:
            found = Calls(channel).collections.List(q.ListCollectionsRequest())
            assert len(found.collections) == 20
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == ""


def own_channel_to(port):
    """A channel that shares no connection with others."""
    alone = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.insecure_channel(f"127.0.0.1:{port}", options=alone)


def test_no_port_is_used_twice(tmp_path):
    with running(":memory:", grpc_port=0) as url:
        port = url.grpc_port
        words = ("serve", "--temporary", "--port", "0", "--grpc-port", port)
        done = run(*words, cwd=tmp_path)
        assert done.returncode == 1 and done.stdout == b""
        assert str(port).encode() in done.stderr and b"can't be listened at" in done.stderr
        with pytest.raises(StorageError, match=str(port)), running(":memory:", grpc_port=port):
            pass
        with channel_to(port) as channel:
            assert code(Calls(channel), "Collections/List") == "OK"


def test_an_invalid_port_is_refused(tmp_path):
    done = run("serve", "store", "--port", "0", "--grpc-port", "x", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert not (tmp_path / "store").exists()


def test_where_no_grpc_is_wanted_none_is_served_or_loaded(tmp_path):
    """qdrant-client loads grpc too, but the server's modules aren't loaded."""
    code = """
import sys
from retrieval_store_server import running
with running(":memory:") as url:
    assert url.grpc_port is None
print([name for name in sys.modules if "grpc_health.v1" in name or "server.rpc" in name])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout == "[]\n", done.stderr


WITHOUT = """
import sys
sys.modules["grpc_health.v1"] = None
from retrieval_store.__main__ import main
sys.exit(main())
"""


def without_grpc(*words, cwd):
    """The command without the packages for serving gRPC."""
    command = [sys.executable, "-c", WITHOUT, "serve", "--temporary", "--port", "0", *words]
    return subprocess.Popen(
        command, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_where_it_cannot_be_served_http_is_served_alone(tmp_path):
    with without_grpc(cwd=tmp_path) as process:
        assert process.stdout.readline().startswith("serving ")
        process.send_signal(signal.SIGTERM)
        text = process.stderr.read()
    assert "gRPC isn't served" in text and "retrieval-store-server" in text


def test_an_explicit_grpc_port_without_grpc_is_an_error(tmp_path):
    with without_grpc("--grpc-port", "any", cwd=tmp_path) as process:
        output = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert output[0] == "" and "pip install retrieval-store-server" in output[1]


def test_grpc_is_off_if_the_default_port_is_in_use(tmp_path, monkeypatch):
    from retrieval_store_server import command as serve

    port_of = serve._grpc_port
    with socket.create_server(("127.0.0.1", 0)) as taken:
        tuned(monkeypatch, grpc_port=taken.getsockname()[1])
        assert port_of(None, "127.0.0.1") is None
    assert port_of(None, "127.0.0.1") == serve.GRPC_PORT
    assert port_of("0", "127.0.0.1") is port_of("none", "127.0.0.1") is None
    assert port_of("any", "127.0.0.1") == 0


def test_workers_where_processes_share_no_port_are_refused(monkeypatch, tmp_path):
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    listening = starting.Listening(port=0, grpc_port=0)
    with pytest.raises(InvalidArgumentError, match="SO_REUSEPORT"):
        starting.serve(str(tmp_path / "s"), ServerSettings(), listening, 2, lambda *_: None)
    with running(":memory:", grpc_port=0) as url, channel_to(url.grpc_port) as channel:
        assert code(Calls(channel), "Collections/List") == "OK"


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A server's certificate and key, made here."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("certificate")
    key, made = folder / "key.pem", folder / "made.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*new, "-keyout", key, "-out", made], check=True, capture_output=True)
    return made, key


def test_grpc_calls_use_the_same_tls_files(certificate, tmp_path):
    made, key = certificate
    application = Application(str(tmp_path / "s"), ServerSettings(keys=("secret",)))
    listening = starting.Listening(port=0, grpc_port=0, tls_cert=made, tls_key=key)
    with starting.serve_in_thread(application, listening) as url:
        address = f"localhost:{url.grpc_port}"
        trusted = grpc.ssl_channel_credentials(made.read_bytes())
        with grpc.secure_channel(address, trusted) as channel:
            assert code(Calls(channel, api_key="secret"), "Collections/List") == "OK"
            assert code(Calls(channel), "Collections/List") == "UNAUTHENTICATED"
        with grpc.secure_channel(address, grpc.ssl_channel_credentials()) as channel:
            assert code(Calls(channel), "Collections/List", timeout=5) == "UNAVAILABLE"
        with grpc.insecure_channel(address) as channel:
            assert code(Calls(channel), "Collections/List", timeout=5) in (
                "UNAVAILABLE", "DEADLINE_EXCEEDED",
            )  # fmt: skip


# Clients
