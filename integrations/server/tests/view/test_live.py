"""Changes are reported as they come, while somebody listens."""

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import orjson
import pytest

import retrieval_store
from integrations.server.tests.http.asked import Asking
from integrations.server.tests.view.looking import filled
from retrieval_store.extension import session_of
from retrieval_store_server.application import Application
from retrieval_store_server.http.routes import OF_VIEW
from retrieval_store_server.http.settings import ServerSettings
from retrieval_store_server.run import Listening, serve_in_thread
from retrieval_store_server.view.live import ALL_PERIOD, ONE_PERIOD, Watching
from tests.helpers import PATIENCE, inside, steps
from tests.helpers.indexed import until
from tests.helpers.terminals import environment, run
from tests.helpers.tuned import tuned

TOKEN = "a-token-of-forty-letters-or-so"
SETTINGS = ServerSettings(reader_keys=(TOKEN,), read_only=True, local=True)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_one_collection_is_checked_more_often_than_all(client):
    first, _ = filled(client, "first", 3)
    second, _ = filled(client, "second", 3)
    ids = str(first.id), str(second.id)
    clock = Clock()
    watching = Watching(lambda: inside.store(client), clock)
    before = watching.now(ids[0])
    assert {name: one["points"] for name, one in before.items()} == dict.fromkeys(ids, 3)
    assert [before[one]["name"] for one in ids] == ["first", "second"]
    first.delete(ids="p0")
    second.delete(ids="p0")
    assert watching.now(ids[0]) == before  # as it was just looked at
    clock.now += ONE_PERIOD
    if not session_of(client).on_cluster:
        now = watching.now(ids[0])
        assert (now[ids[0]]["points"], now[ids[1]]) == (2, before[ids[1]])
        assert now[ids[0]]["seq"] > before[ids[0]]["seq"]
    clock.now += ALL_PERIOD
    client.delete_collection("second")
    assert {name: one["points"] for name, one in watching.now(None).items()} == {ids[0]: 2}


def test_watching_a_store_without_collections_does_not_block():
    with retrieval_store.Client() as client:
        begun, go_on, clock = threading.Event(), threading.Event(), Clock()
        store = inside.store(client)

        def slow_store():
            begun.set()
            assert go_on.wait(PATIENCE)
            return store

        go_on.set()
        watching = Watching(slow_store, clock)
        assert watching.now(None) == {}
        go_on.clear()
        begun.clear()
        clock.now += ALL_PERIOD
        looking = threading.Thread(target=watching.now, args=[None])
        looking.start()
        assert begun.wait(PATIENCE)
        others = threading.Thread(target=watching.now, args=[None], daemon=True)
        others.start()
        others.join(PATIENCE / 10)
        is_waiting = others.is_alive()
        go_on.set()
        looking.join()
        assert not is_waiting


@contextlib.contextmanager
def listening(url, body):
    """A response that continues."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=PATIENCE)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    connection.request("POST", "/view/api/live", json.dumps(body), headers)
    with contextlib.closing(connection), connection.getresponse() as response:
        yield response


def next_line(response):
    """The next line that isn't empty."""
    while (line := response.readline()) == b"\n":
        pass
    return orjson.loads(line)["collections"]


def test_a_change_is_reported_and_the_stream_ends_with_its_client_or_the_server():
    with retrieval_store.Client() as client:
        collection, _ = filled(client, count=3)
        at = str(collection.id)
        made = Application(client, SETTINGS, OF_VIEW)
        with serve_in_thread(made, Listening(port=0)) as url:
            with listening(url, {"collection": at}) as response:
                assert response.getheader("content-type") == "application/x-ndjson"
                assert next_line(response)[at]["points"] == 3
                assert inside.streams(made) == 1
                collection.delete(ids="p0")
                assert next_line(response)[at]["points"] == 2
            until(lambda: inside.streams(made) == 0, "the stream goes on")
            response = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
            response.request("POST", "/view/api/live", "{}", {"api-key": TOKEN})
            answer = response.getresponse()
            assert next_line(answer)[at]["points"] == 2
        assert answer.read() == b""
        response.close()


def test_listening_clients_occupy_no_thread(monkeypatch):
    """With more listeners than threads, other requests are answered."""
    with retrieval_store.Client() as client:
        filled(client, count=3)
        made = Application(client, SETTINGS, OF_VIEW)
        with serve_in_thread(made, Listening(port=0)) as url, contextlib.ExitStack() as stack:
            most = inside.threads(made) * 2
            each = [stack.enter_context(listening(url, {})) for _ in range(most)]
            assert all(next_line(one) for one in each) and inside.streams(made) == most
            tuned(monkeypatch, streams=most)
            with listening(url, {}) as refused:
                assert refused.status == 503
            where = urlsplit(url)
            with contextlib.closing(http.client.HTTPConnection(where.netloc)) as connection:
                connection.request("POST", "/view/api/store", "{}", {"api-key": TOKEN})
                assert connection.getresponse().status == 200


def test_empty_lines_are_sent_without_changes_and_the_stream_ends_after_a_while(monkeypatch):
    tuned(monkeypatch, stream_followed_every=0.01, stream_idle_after=0.05, stream_lasts=0.5)
    with retrieval_store.Client() as client:
        filled(client, count=3)
        made = Application(client, SETTINGS, OF_VIEW)
        with contextlib.closing(Asking(made)) as asking:
            answer = asking("POST", "/view/api/live", {}, api_key=TOKEN)
        first, *others = answer.body.splitlines()
        assert orjson.loads(first)["collections"] and set(others) == {b""}


# The command


@contextlib.contextmanager
def viewing(store, folder, *words):
    """`retrieval-store view`, and the address and the token that it prints."""
    command = ["retrieval-store", "view", str(store), "--no-browser", *words]
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**environment(folder), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            line = process.stdout.readline()
            address = line.split()[-1] if line else process.stderr.read()
            url, _, token = address.partition("#token=")
            yield process, url, token
        finally:
            process.kill()


def asked_at(url, token, name, body):
    where = urlsplit(url)
    with contextlib.closing(http.client.HTTPConnection(where.netloc, timeout=PATIENCE)) as asking:
        asking.request(
            "POST", f"{where.path}/api/{name}", json.dumps(body), {"Authorization": token}
        )
        answer = asking.getresponse()
        return answer.status, answer.read()


def test_the_command_shows_what_another_process_writes_and_ends_on_interrupt(tmp_path):
    with retrieval_store.Client(tmp_path / "store") as client:
        collection, _ = filled(client, count=3)
        at = str(collection.id)
        with viewing(tmp_path / "store", tmp_path) as (process, url, token):
            assert url.startswith("http://127.0.0.1:") and url.endswith("/view")
            assert len(token) >= 43  # 256 bits
            status, reported = asked_at(url, f"Bearer {token}", "store", {})
            assert status == 200 and orjson.loads(reported)["read_only"] is True
            assert asked_at(url, "Bearer wrong", "store", {})[0] == 401
            where = urlsplit(url)
            with contextlib.closing(
                http.client.HTTPConnection(where.netloc, timeout=PATIENCE)
            ) as listener:
                body = json.dumps({"collection": at})
                headers = {"Authorization": f"Bearer {token}"}
                listener.request("POST", "/view/api/live", body, headers)
                answer = listener.getresponse()
                assert next_line(answer)[at]["points"] == 3
                collection.add(ids="new", embeddings=[[1, 2, 3, 4]])
                assert next_line(answer)[at]["points"] == 4
                process.send_signal(signal.SIGINT)
                assert answer.read().strip() == b""
            out, complaints = process.communicate(timeout=PATIENCE)
            assert process.returncode == 130
            assert complaints.strip() == "interrupted" and token not in out + complaints


def test_the_command_reads_a_served_store(served, tmp_path):
    filled(served, count=3)
    with viewing(inside.store(served).address.url, tmp_path) as (_, url, token):
        status, reported = asked_at(url, f"Bearer {token}", "store", {})
        assert status == 200
        (collection,) = orjson.loads(reported)["collections"]
        assert (collection["name"], collection["points"]) == ("things", 3)
        body = {"collection": collection["collection"], "mode": "text", "text": "running"}
        status, found = asked_at(url, f"Bearer {token}", "query", body)
        assert status == 200 and orjson.loads(found)["hits"][0]["id"] == "p1"


def test_the_command_names_what_is_missing(tmp_path):
    done = run("view", tmp_path / "none", "--no-browser", cwd=tmp_path)
    assert done.returncode == 1 and b"there is no store at" in done.stderr
    code = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "from retrieval_store.cli.main import main; sys.exit(main(['view', 'store']))"
    )
    with retrieval_store.Client(tmp_path / "store"):
        pass
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 1 and "pip install retrieval-store-server" in done.stderr


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_browser_is_opened_only_from_a_terminal(tmp_path, monkeypatch, is_terminal):
    """With only the address, once it accepts requests."""
    import threading

    from click.testing import CliRunner

    from retrieval_store_server import command as serve

    shown, opened = [], threading.Event()

    def open_browser(address):
        shown.append(address)
        opened.set()

    def announce_alone(session, settings, port, announce):
        assert settings.local and settings.read_only and not settings.keys
        announce("http://127.0.0.1:1/view")

    steps.replace(monkeypatch, "open_browser", open_browser)
    steps.replace(monkeypatch, "serve_page", announce_alone)
    steps.replace(monkeypatch, "is_terminal", lambda: is_terminal)
    with retrieval_store.Client(tmp_path / "store"):
        pass
    done = CliRunner().invoke(serve.view, [str(tmp_path / "store")], standalone_mode=False)
    assert done.exception is None
    if is_terminal:
        assert opened.wait(PATIENCE)
        assert shown == [done.output.split()[-1]]
    else:
        assert shown == []
