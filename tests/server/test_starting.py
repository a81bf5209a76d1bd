"""Servers as the command starts and ends them."""

import re
import signal
import time

import httpx
import pytest

from retrieval_store.errors import InvalidArgumentError
from retrieval_store.server import running
from tests.command.terminals import run
from tests.helpers import PATIENCE
from tests.server.serving import served


def answered(url):
    """The first answer of a server whose workers may still be starting."""
    with httpx.Client(base_url=url, timeout=PATIENCE) as client:
        return client.get("/collections")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_ends_by_sigterm_and_a_temporary_store_goes_with_it(tmp_path, workers):
    with served("--temporary", "--workers", workers, cwd=tmp_path) as (process, url):
        assert answered(url).status_code == 200
        (store,) = tmp_path.glob("retrieval-store-*")
        assert (store / "catalog.sqlite").exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == ""
    assert list(tmp_path.glob("retrieval-store-*")) == []


def test_a_request_under_way_is_answered_before_the_end(tmp_path):
    with served("--temporary", cwd=tmp_path) as (process, url):
        with httpx.Client(base_url=url, timeout=PATIENCE) as client:

            def body():
                yield b'{"vectors": {"size": 2,'
                process.send_signal(signal.SIGTERM)
                time.sleep(0.5)  # so that the signal comes before the rest of the body does
                yield b' "distance": "Dot"}}'

            answer = client.put("/collections/late", content=body())
        assert answer.json()["result"] is True
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_what_cannot_be_opened_is_said_at_once(tmp_path, workers):
    (tmp_path / "another's").write_text("file")
    done = run("serve", tmp_path, "--port", "0", "--workers", workers, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert re.match(rb"error: .* is no store of retrieval-store", done.stderr)


def test_files_that_are_no_certificate_are_said_so_before_anything_listens(tmp_path):
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("no PEM")
    done = run("serve", "store", "--tls-cert", "cert.pem", "--tls-key", "key.pem", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"cert.pem" in done.stderr and b"key.pem" in done.stderr
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("port", [-1, 65_536, 99_999])
def test_a_port_that_there_is_not_is_refused(tmp_path, port):
    done = run("serve", "store", "--port", port, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"65535" in done.stderr
    with pytest.raises(InvalidArgumentError, match="65535"), running(":memory:", port=port):
        pass
