"""Snapshots over HTTP: taken, sent, received, recovered. None of these reaches other files, and
nothing is left behind."""

import asyncio
import contextlib
import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import threading
from urllib.parse import quote

import pytest

from integrations.server.tests.http.asked import Answered, Asking, scope_of
from retrieval_store.qdrant import QdrantClient, models
from retrieval_store_server import app
from retrieval_store_server.application import MAX_JOBS_LEFT
from retrieval_store_server.http.pool import BusyError, GoneBeforeBegunError, WaitedTooLongError
from tests.helpers import PATIENCE, inside, steps

BOUNDARY = "the-boundary"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
K = "/collections/k"
UPLOAD = f"{K}/snapshots/upload"
RECOVER = f"{K}/snapshots/recover"


@pytest.fixture
def directory(tmp_path):
    with QdrantClient(path=tmp_path / "store") as client:
        client.create_collection("k", models.VectorParams(size=2, distance=models.Distance.DOT))
        client.upsert("k", [models.PointStruct(id=1, vector=[1, 1], payload={"a": 1})])
    return tmp_path / "store"


@pytest.fixture
def ask(directory):
    asking = Asking(app(directory))
    yield asking
    asking.close()


@pytest.fixture
def uploads(directory):
    """The content of the upload folder, which must be empty at the end."""
    yield lambda: list((directory / "snapshots" / "uploads").rglob("*.part"))
    assert list((directory / "snapshots" / "uploads").rglob("*.part")) == []


def taken(ask):
    """The name of a new snapshot, and its file."""
    described = ask("POST", f"{K}/snapshots").json["result"]
    answer = ask("GET", f"{K}/snapshots/{described['name']}")
    assert answer.status == 200
    assert hashlib.sha256(answer.body).hexdigest() == described["checksum"]
    return described["name"], answer.body


def form(file, name="snapshot", more=b""):
    """A body with a file, as browsers and curl send it."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="a"\r\n'
    head += "Content-Type: application/octet-stream\r\n\r\n"
    return more + head.encode() + file + f"\r\n--{BOUNDARY}--\r\n".encode()


def upload(ask, file, query="", path=UPLOAD):
    return ask("POST", path + query, raw=form(file), content_type=MULTIPART)


def count(ask, name="k"):
    return ask("POST", f"/collections/{name}/points/count", {}).json["result"]["count"]


def one_more(ask):
    ask("PUT", f"{K}/points", {"points": [{"id": 2, "vector": [1, 2]}]})
    assert count(ask) == 2


def jobs_done(ask):
    """Wait for the jobs after a response."""
    inside.jobs(ask.application).submit(lambda: None).result(PATIENCE)


# Accepted


def test_a_snapshot_is_created_listed_downloaded_and_deleted(ask):
    name, file = taken(ask)
    (listed,) = ask("GET", f"{K}/snapshots").json["result"]
    assert listed["name"] == name and listed["size"] == len(file)
    assert ask("DELETE", f"{K}/snapshots/{name}").json["result"] is True
    assert ask("GET", f"{K}/snapshots").json["result"] == []
    answer = ask("GET", f"{K}/snapshots/{name}")
    assert answer.status == 404 and answer.type.startswith("text/plain")


@pytest.mark.parametrize("path", [UPLOAD, f"{K}/shards/0/snapshots/upload"])
def test_one_that_is_uploaded_takes_the_place_of_the_collection(ask, uploads, path):
    _, file = taken(ask)
    one_more(ask)
    assert upload(ask, file, path=path).json["result"] is True
    assert count(ask) == 1
    assert upload(ask, file, path="/collections/other/snapshots/upload").status == 200
    assert count(ask, "other") == 1


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_body_may_come_in_any_parts(ask, uploads, size):
    _, file = taken(ask)
    one_more(ask)
    before = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n'.encode()
    body = form(file, more=before)
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    if size == 1:  # byte by byte where the parts of the form begin and end
        parts = [*(body[i : i + 1] for i in range(500)), body[500:-100]]
        parts += [body[i : i + 1] for i in range(len(body) - 100, len(body))]
    assert in_parts(ask, parts).status == 200
    assert count(ask) == 1


def in_parts(ask, parts, ends=True):
    """The response to an upload whose body arrives in parts; None where the client disconnects
    before its end."""
    went = []
    come = [{"type": "http.request", "body": one, "more_body": True} for one in parts]
    if ends:
        come[-1]["more_body"] = False
    else:
        come.append({"type": "http.disconnect"})
    come.reverse()

    async def receive():
        if come:
            return come.pop()
        return await asyncio.Event().wait()

    async def send(message):
        went.append(message)

    scope = scope_of("POST", UPLOAD, {"host": "localhost", "content-type": MULTIPART})
    ask.loop.run_until_complete(ask.application(scope, receive, send))
    if not went:
        return None
    return Answered(went[0]["status"], {}, went[1]["body"])


def test_one_is_recovered_by_its_name_and_by_its_path(ask, directory):
    name, _ = taken(ask)
    path = directory / "snapshots" / "collection-k" / name
    assert path.is_file()
    for location in (name, str(path), f"file://{path}", f"file://{quote(str(path))}"):
        one_more(ask)
        answer = ask("PUT", RECOVER, {"location": location})
        assert answer.json["result"] is True, location
        assert count(ask) == 1
    assert path.is_file()


def test_a_snapshot_for_one_download_is_deleted_afterwards(ask, uploads):
    answer = ask("GET", f"{K}/shards/0/snapshot")
    assert answer.status == 200
    assert upload(ask, answer.body).status == 200


def test_without_waiting_it_is_accepted_and_done_afterwards(ask, uploads):
    _, file = taken(ask)
    one_more(ask)
    answer = upload(ask, file, "?wait=false")
    assert (answer.status, answer.json["status"]) == (202, "accepted")
    jobs_done(ask)
    assert count(ask) == 1
    name = ask("GET", f"{K}/snapshots").json["result"][0]["name"]
    one_more(ask)
    assert ask("PUT", f"{RECOVER}?wait=false", {"location": name}).status == 202
    jobs_done(ask)
    assert count(ask) == 1
    assert ask("POST", f"{K}/snapshots?wait=false").status == 202
    jobs_done(ask)
    assert len(ask("GET", f"{K}/snapshots").json["result"]) == 2


def test_accepted_jobs_that_fail_leave_nothing_and_are_logged(ask, uploads, caplog):
    assert upload(ask, b"no snapshot", "?wait=false").status == 202
    jobs_done(ask)
    assert "what was accepted failed" in caplog.text
    assert count(ask) == 1


# Refused


def test_no_collection_is_recovered_by_a_name_that_cannot_be_deleted(ask, directory, uploads):
    snapshot, file = taken(ask)
    for name, query in ((".", ""), ("..", "?wait=false")):
        at = f"/collections/{name}/snapshots"
        assert upload(ask, file, query, path=f"{at}/upload").status == 400
        location = {"location": str(directory / "snapshots" / "collection-k" / snapshot)}
        assert ask("PUT", f"{at}/recover{query}", location).status == 400
    assert ask("GET", "/collections").json["result"] == {"collections": [{"name": "k"}]}


def test_a_checksum_decides(ask, uploads):
    name, file = taken(ask)
    right = hashlib.sha256(file).hexdigest()
    assert upload(ask, file, f"?checksum={right}").status == 200
    assert upload(ask, file, f"?checksum={right.upper()}").status == 200
    assert ask("PUT", RECOVER, {"location": name, "checksum": right}).status == 200
    one_more(ask)
    for wrong, status in ((right[:-1], 422), ("0" * 64, 400), ("", 422)):
        assert upload(ask, file, f"?checksum={wrong}").status == status
        assert ask("PUT", RECOVER, {"location": name, "checksum": wrong}).status == 400
    assert count(ask) == 2


KINDS = [
    (None, 400),
    ("application/json", 415),
    ("application/octet-stream", 415),
    ("multipart/form-data", 400),
    ("multipart/form-data; boundary=", 400),
    ("multipart/form-data; boundary=another", 400),
    ("\xff", 415),
]
NO_FORMS = [
    b"",
    b"nothing",
    f"--{BOUNDARY}--\r\n".encode(),
    form(b"file", name="other"),
    f"--{BOUNDARY}\r\nContent-Disposition: {'x' * 100_000}".encode(),
    f"--{BOUNDARY}\r\n: \r\n\r\n\r\n--{BOUNDARY}--".encode(),
]


def test_bodies_without_a_form_or_file_are_refused_in_plain_text(ask, uploads):
    _, file = taken(ask)
    sent = [(form(file), kind, status) for kind, status in KINDS]
    sent += [(body, MULTIPART, 400) for body in NO_FORMS]
    for body, kind, status in sent:
        headers = {} if kind is None else {"content_type": kind}
        answer = ask("POST", UPLOAD, raw=body, **headers)
        assert (answer.status, answer.type) == (status, "text/plain; charset=utf-8")
    assert count(ask) == 1


def test_an_invalid_snapshot_is_refused_and_changes_nothing(ask, uploads):
    _, file = taken(ask)
    for broken in (b"", b"PK\x03\x04", file[:-100], file[:100] + b"?" + file[101:]):
        answer = upload(ask, broken)
        assert answer.status == 400, answer
        assert answer.json["status"]["error"].startswith("Wrong input")
    half = form(file)[: len(file) // 2]
    assert ask("POST", UPLOAD, raw=half, content_type=MULTIPART).status == 400
    assert count(ask) == 1


@pytest.fixture
def elsewhere(ask, tmp_path):
    """A snapshot outside of the store's directory."""
    _, file = taken(ask)
    path = tmp_path / "elsewhere.snapshot"
    path.write_bytes(file)
    return path


FORBIDDEN = [
    "file:///etc/passwd",
    "/etc/passwd",
    "{elsewhere}",
    "file://{elsewhere}",
    "../../elsewhere.snapshot",
    "{root}/../../elsewhere.snapshot",
    "file://{root}/%2e%2e/%2e%2e/elsewhere.snapshot",
    "{root}/collection-k/link.snapshot",
    "{root}/folder/elsewhere.snapshot",
    "http://localhost/a.snapshot",
    "https://store.example/a.snapshot",
    "HTTP://localhost/a.snapshot",
    "ftp://localhost/a.snapshot",
    "s3://bucket/a.snapshot",
    "file://server/share/a.snapshot",
    "\\\\server\\share/a.snapshot",
]


def test_nothing_is_recovered_from_elsewhere(ask, directory, elsewhere):
    root = directory / "snapshots"
    (root / "collection-k" / "link.snapshot").symlink_to(elsewhere)
    (root / "folder").symlink_to(elsewhere.parent)
    one_more(ask)
    for location in FORBIDDEN:
        location = location.format(root=root, elsewhere=elsewhere)
        answer = ask("PUT", RECOVER, {"location": location})
        assert answer.status == (400 if "//server" in location else 403), answer
    assert count(ask) == 2


def test_a_name_that_is_none_of_the_collections_is_not_found(ask, directory, elsewhere):
    (directory / "snapshots" / "collection-k" / "link.snapshot").symlink_to(elsewhere)
    for name in ("..", "none.snapshot", "", "a\0.snapshot", "link.snapshot", "//["):
        assert ask("PUT", RECOVER, {"location": name}).status in (400, 403, 404)
        assert ask("GET", f"{K}/snapshots/{quote(name, safe='')}").status in (404, 405)
    assert count(ask) == 1


def test_links_are_neither_sent_nor_listed_nor_deleted(ask, directory, elsewhere):
    (named,) = ask("GET", f"{K}/snapshots").json["result"]
    folder = directory / "snapshots" / "collection-k"
    (folder / "link.snapshot").symlink_to(elsewhere)
    secret = elsewhere.with_name("secret")
    secret.write_text("a secret")
    checksum = folder / f"{named['name']}.checksum"
    checksum.unlink()
    checksum.symlink_to(secret)
    assert ask("GET", f"{K}/snapshots/link.snapshot").status == 404
    assert ask("DELETE", f"{K}/snapshots/link.snapshot").status == 404
    listed = ask("GET", f"{K}/snapshots")
    assert [one["name"] for one in listed.json["result"]] == [named["name"]]
    assert b"a secret" not in listed.body
    assert elsewhere.exists()


# Failures


def test_a_disconnected_client_leaves_nothing(ask, uploads):
    _, file = taken(ask)
    one_more(ask)
    body = form(file)
    for end in (1, 100, len(file) // 2, len(body) - 1, len(body)):
        assert in_parts(ask, [body[:end]], ends=False) is None
        assert uploads() == []
    assert count(ask) == 2


@pytest.mark.parametrize("error", [BusyError, WaitedTooLongError, GoneBeforeBegunError])
def test_an_upload_without_a_free_thread_leaves_nothing(ask, uploads, monkeypatch, error):
    _, file = taken(ask)

    async def run(*_):
        raise error

    monkeypatch.setattr(inside.pool(ask.application), "run", run)
    answer = in_parts(ask, [form(file)])
    assert (answer and answer.status) == (429 if error is BusyError else 408)


@contextlib.contextmanager
def largest_file(size):
    """No file of this process can be larger, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_on_a_full_disk_unfinished_writes_leave_nothing(ask, uploads, directory):
    _, file = taken(ask)
    before = sorted(os.listdir(directory / "snapshots" / "collection-k"))
    with largest_file(20_000):
        answers = [upload(ask, file), ask("POST", f"{K}/snapshots")]
        answers.append(ask("GET", f"{K}/shards/0/snapshot"))
        assert uploads() == []
    # This package treats a process limit as a full disk; SQLite doesn't.
    assert [one.status in (500, 507) for one in answers] == [True] * 3
    assert answers[0].status == 507
    assert not any(str(directory).encode() in one.body for one in answers)
    assert sorted(os.listdir(directory / "snapshots" / "collection-k")) == before
    assert count(ask) == 1


def test_messages_about_a_file_contain_its_name_and_no_path(ask, directory):
    answers = [upload(ask, b"no snapshot")]
    for location in ("none", str(directory / "snapshots" / "none"), str(directory)):
        answers.append(ask("PUT", RECOVER, {"location": location}))
    for answer in answers:
        assert 400 <= answer.status < 500
        assert str(directory).encode() not in answer.body
    assert b"no snapshot" in answers[0].body


PARTS = {
    "empty parts": f"--{BOUNDARY}\r\n\r\n\r\n".encode() * 100_000,
    "headers": f"--{BOUNDARY}\r\n".encode() + b"a:b\r\n" * 100_000 + b"\r\n\r\n",
    "a long name": f"--{BOUNDARY}\r\n".encode() + b"a" * 1_000_000 + b": b\r\n\r\n\r\n",
    "a long value": f"--{BOUNDARY}\r\na: ".encode() + b"b" * 1_000_000 + b"\r\n\r\n\r\n",
}


def test_the_parts_besides_the_file_are_bounded(ask, uploads):
    _, file = taken(ask)
    for more in PARTS.values():
        answer = ask("POST", UPLOAD, raw=form(file, more=more), content_type=MULTIPART)
        assert answer.status == 400
        assert uploads() == []


# Stored content in messages


def test_no_name_of_a_collection_passes_for_a_line_of_metrics_or_a_header(ask):
    names = ["two words", "umläut", "x} 1 # y{", "a\nb 1", "a\r\nb"]
    for name in names:
        body = {"vectors": {"size": 2, "distance": "Dot"}}
        assert ask("PUT", f"/collections/{quote(name, safe='')}", body).status == 200
        answer = ask("GET", f"/collections/{quote(name, safe='')}/shards/0/snapshot")
        assert answer.status == 200
        assert answer.headers["content-disposition"].isprintable()
    ask.loop.run_until_complete(ask.ask('A"\n} 1', "/none\nx 1", b"", {}))
    lines = ask("GET", "/metrics").body.decode().split("\n")[:-1]
    value = r'"(?:[^"\\\n]|\\["\\n])*"'
    sample = re.compile(rf"[a-z_]+(\{{[a-z]+={value}(,[a-z]+={value})*\}})? [-+.e0-9]+(inf)?")
    for line in lines:
        assert line.startswith(("# HELP ", "# TYPE ")) or sample.fullmatch(line), line
    shown = re.findall(rf"collection_points\{{id=({value})\}} (\d)", "\n".join(lines))
    assert {json.loads(one, strict=False) for one, _ in shown} == {*names, "k"}


def test_remaining_work_is_bounded(ask, monkeypatch):
    go_on = threading.Event()

    def slow():
        assert go_on.wait(PATIENCE)

    steps.before(monkeypatch, "make_snapshot", slow)
    answers = [ask("POST", f"{K}/snapshots?wait=false").status for _ in range(MAX_JOBS_LEFT + 2)]
    assert answers == [202] * MAX_JOBS_LEFT + [429] * 2
    go_on.set()
    while len(ask("GET", f"{K}/snapshots").json["result"]) < MAX_JOBS_LEFT:
        ask.loop.run_until_complete(asyncio.sleep(0.05))
    assert ask("POST", f"{K}/snapshots?wait=false").status == 202


def test_uploads_to_a_killed_server_are_removed_at_the_next_opening(directory, ask):
    _, file = taken(ask)
    place = ask.application.served.temporary_path()
    place.write_bytes(file)
    lost = place.parent.with_name(".retrieval-store-lost")
    shutil.copytree(place.parent, lost)
    with subprocess.Popen([sys.executable, "-c", OPENING, str(directory)]) as opening:
        assert opening.wait(PATIENCE) == 0
    assert place.exists() and not lost.exists()
    ask.application.close()
    assert not place.parent.exists()


OPENING = "import sys, retrieval_store as r; r.Client(sys.argv[1]).close()"
