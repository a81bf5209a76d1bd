"""Who is admitted: by keys, or without keys by the names and origins in the headers."""

import asyncio
import contextlib
import gzip
import json
import logging

import pytest

from integrations.server.tests.http.asked import Asking, scope_of
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError
from retrieval_store.qdrant import QdrantClient, models
from retrieval_store_server import Application, app
from retrieval_store_server.http.routes import ROUTES
from retrieval_store_server.http.settings import ServerSettings, check_keys, keys_of
from tests.helpers import ROOT, steps
from tests.helpers.terminals import run

FULL, LOOK = "secret", "look"
NO_KEY = b"Must provide an API key or an Authorization bearer token"
WRONG_KEY = b"Invalid API key or JWT"
FORBIDDEN = "Forbidden: Global manage access is required"
NEW = {"vectors": {"size": 2, "distance": "Dot"}}
VARIABLES = [
    "RETRIEVAL_STORE_API_KEYS",
    "RETRIEVAL_STORE_READ_ONLY_API_KEYS",
    "QDRANT__SERVICE__API_KEY",
    "QDRANT__SERVICE__READ_ONLY_API_KEY",
]


@contextlib.contextmanager
def asking(store=":memory:", **options):
    ask = Asking(app(store, **options))
    try:
        yield ask
    finally:
        ask.close()


@pytest.fixture(scope="module")
def locked():
    """A server with keys, in which no test leaves a collection."""
    with asking(api_keys=[FULL, "next"], read_only_api_keys=[LOOK, "glance"]) as ask:
        yield ask


@pytest.fixture(scope="module")
def unlocked():
    """A server without keys, in which no test leaves a collection."""
    with asking(allow_hosts=["store.example"], cors=["https://page.example"]) as ask:
        yield ask


# Recorded requests with keys

HEADERS = {
    "none": {},
    "wrong": {"api_key": "wrong"},
    "empty": {"api_key": ""},
    "basic": {"authorization": "Basic c2VjcmV0"},
    "read": {"api_key": LOOK},
    "full": {"api_key": FULL},
    "bearer read": {"authorization": f"Bearer {LOOK}"},
    "bearer full": {"authorization": f"Bearer {FULL}"},
}


def recorded():
    """Requests with keys, in order, and a real server's responses."""
    with gzip.open(ROOT / "tests" / "data" / "qdrant_http" / "keys.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


def with_collection(directory):
    """A store with the collection of the recorded requests."""
    with QdrantClient(path=directory) as client:
        client.create_collection("k", models.VectorParams(size=2, distance=models.Distance.DOT))
        client.upsert("k", [models.PointStruct(id=1, vector=[1, 1], payload={"a": 1})])
    return directory


OTHERWISE = {"/cluster/telemetry": 405}  # a 500 is nothing to imitate


def test_every_recorded_request_is_let_in_or_refused_as_by_a_real_server(tmp_path):
    others, rows = [], recorded()
    store = with_collection(tmp_path / "store")
    with asking(store, api_keys=[FULL], read_only_api_keys=[LOOK]) as ask:
        for row in rows:
            answer = ask(row["method"], row["path"], row["body"], **HEADERS[row["key"]])
            refused = row["status"] in (401, 403)
            status = row["status"] if refused else OTHERWISE.get(row["path"], row["status"])
            if answer.status != status or (refused and not says(answer, row["answer"])):
                others.append((row, answer))
    assert others == []
    assert len(rows) > 600


def says(answer, expected):
    """Whether a refusal equals a real server's, apart from the time."""
    if "~raw" in expected:
        return answer.type.startswith("text/plain") and answer.body.decode() == expected["~raw"]
    return answer.json["status"] == expected["status"]


# Keys

FULL_KEYS = [
    {"api_key": FULL},
    {"api_key": "next"},
    {"authorization": f"Bearer {FULL}"},
    {"authorization": "bearer next"},
]
READER_KEYS = [{"api_key": LOOK}, {"api_key": "glance"}, {"authorization": f"Bearer {LOOK}"}]
WRONG_KEYS = [
    {"api_key": "secre"},
    {"api_key": "secrets"},
    {"api_key": "SECRET"},
    {"api_key": "secret,next"},
    {"api_key": ""},
    {"api_key": "\xff"},
    {"authorization": "Bearer "},
    {"authorization": "Bearer wrong"},
    {"api_key": "wrong", "authorization": f"Bearer {FULL}"},
]
NO_KEYS = [{}, {"authorization": FULL}, {"authorization": "Basic c2VjcmV0"}, {"cookie": FULL}]


def test_each_key_permits_its_calls_by_either_header(locked):
    for headers in FULL_KEYS:
        assert locked("PUT", "/collections/c", NEW, **headers).json["result"] is True, headers
        assert locked("DELETE", "/collections/c", **headers).status == 200
    for headers in READER_KEYS:
        assert locked("GET", "/collections", **headers).json["result"] == {"collections": []}
        answer = locked("PUT", "/collections/c", NEW, **headers)
        assert (answer.status, said(answer)) == (403, FORBIDDEN)
    for headers in WRONG_KEYS:
        answer = locked("GET", "/collections", **headers)
        assert (answer.status, answer.body) == (401, WRONG_KEY), headers
    for headers in NO_KEYS:
        answer = locked("GET", "/collections", **headers)
        assert (answer.status, answer.body) == (401, NO_KEY), headers


def said(answer):
    """Why a request is refused."""
    if answer.type == "application/json":
        return answer.json["status"]["error"]
    return answer.body.decode()


def path_of(route):
    """A path of a route, with a value for each parameter."""
    return "/".join(("0" if "{" in part else part) for part in route.path.split("/"))


OPEN = {"/", "/healthz", "/livez", "/readyz", "/view", "/view/"}
FILES = {"/view/{file}", "/view/{folder}/{file}"}  # no file is called 0


def test_health_version_and_the_files_of_the_page_are_public(locked, unlocked):
    """A page of another site may make a browser send requests, as for images and links, but it
    doesn't see the responses. Another port of the same name is another site, too."""
    for route in ROUTES:
        open_to_all = 200 if route.path in OPEN else 404 if route.path in FILES else None
        sent = (route.method, path_of(route), {} if route.body else None)
        assert locked(*sent).status == (open_to_all or 401), route.name
        assert unlocked(*sent, sec_fetch_site="cross-site").status == (open_to_all or 403)
        if route.access in ("write", "manage") and route.body is None:
            answer = locked(*sent, api_key=LOOK)
            assert (answer.status, said(answer)) == (403, FORBIDDEN), route.name
    for site in ("same-site", "something"):
        assert unlocked("GET", "/collections", sec_fetch_site=site).status == 403


def test_nothing_is_revealed_without_a_key(locked):
    for path in ("/nothing", "/collections/c/none", "/dashboard", "/%ff"):
        assert locked("GET", path).status == 401
        assert locked("GET", path, api_key=FULL).status == 404


def test_every_key_is_compared_in_constant_time(locked, monkeypatch):
    compared = steps.noted(monkeypatch, "compare_secrets")
    keys = {FULL.encode(), b"next", LOOK.encode(), b"glance"}
    for key in (FULL, "glance", "wrong"):
        compared.clear()
        locked("GET", "/collections", api_key=key)
        assert {other for _, other in compared} == keys


def started(ask, method, **headers):
    """The start of the response to a request whose body may not be requested."""
    went = []

    async def receive():
        if method == "PUT":
            raise AssertionError("the body was read")
        return await asyncio.Event().wait()

    async def send(message):
        went.append(message)

    scope = scope_of(method, "/collections/c", headers)
    ask.loop.run_until_complete(ask.application(scope, receive, send))
    return went[0]


def answered_unread(ask, **headers):
    return started(ask, "PUT", **headers)["status"]


def test_nothing_is_read_of_a_body_before_its_sender_is_let_in(locked, unlocked):
    assert answered_unread(locked, host="localhost") == 401
    assert answered_unread(unlocked, host="elsewhere.example") == 403
    assert answered_unread(unlocked, host="localhost", origin="https://elsewhere.example") == 403


def test_an_unreadable_body_is_refused_before_a_missing_permission(locked):
    """As on a real server; also for a body that a thread parses."""
    for size in (0, 100_000):
        body = {**NEW, "ignored": " " * size}
        broken = json.dumps(body).encode()[:-1]
        assert locked("PUT", "/collections/c", raw=broken, api_key=LOOK).status == 400
        assert locked("PUT", "/collections/c", {**body, "vectors": 1}, api_key=LOOK).status == 400
        assert locked("PUT", "/collections/c", body, api_key=LOOK).status == 403
    assert locked("GET", "/collections/c/exists", api_key=LOOK).json["result"] == {"exists": False}


def test_a_store_that_is_served_read_only_is_written_by_no_key(tmp_path):
    store = with_collection(tmp_path / "store")
    with asking(store, api_keys=[FULL], read_only=True) as ask:
        assert ask("PUT", "/collections/c", NEW, api_key=FULL).status == 403
        assert ask("GET", "/collections/k", api_key=FULL).status == 200
    with asking(store, read_only=True) as ask:
        assert ask("DELETE", "/collections/k").status == 403


# Names and origins, where there are no keys

MISLED = "Forbidden: without keys"


HOSTS = [
    "localhost", "localhost:6333", "LOCALHOST", "127.0.0.1", "127.8.9.1:1", "[::1]:6333",
    "app.localhost", "store.example", "Store.Example:6333",
]  # fmt: skip
OTHER_HOSTS = [
    "elsewhere.example", "localhost.elsewhere.example", "127.0.0.1.elsewhere.example", "10.0.0.1",
    "0.0.0.0", "user@elsewhere.example", "", "[", "\xff", "other.store.example",
    f"{'a' * 500}.localhost:6333",
]  # fmt: skip
OTHER_ORIGINS = ["https://elsewhere.example", "null", "", "http://localhost:80", "http://["]


def test_without_keys_loopback_and_allowed_names_are_answered_to(unlocked):
    for host in HOSTS:
        assert unlocked("GET", "/collections", host=host).status == 200, host
    assert answered_unread(unlocked) == 403  # without a name


def test_a_foreign_host_name_that_resolves_here_is_refused(unlocked):
    for host in OTHER_HOSTS:
        for path in ("/collections", "/healthz", "/nothing"):
            answer = unlocked("GET", path, host=host)
            assert answer.status == 403, host
            assert said(answer).startswith(MISLED)


def test_pages_of_other_origins_are_refused(unlocked):
    for origin in OTHER_ORIGINS:
        answer = unlocked("PUT", "/collections/c", NEW, origin=origin)
        assert answer.status == 403, origin
        assert "access-control-allow-origin" not in answer.headers
    assert unlocked("GET", "/collections/c/exists").json["result"] == {"exists": False}


def test_requests_of_a_browser_for_its_user_or_an_allowed_page_are_answered(unlocked):
    for site in ("none", "same-origin"):
        assert unlocked("GET", "/collections", sec_fetch_site=site).status == 200
    headers = {"sec_fetch_site": "cross-site", "origin": "https://page.example"}
    assert unlocked("PUT", "/collections/c", NEW, **headers).status == 200
    assert unlocked("DELETE", "/collections/c").status == 200
    answer = unlocked("GET", "/collections", host="localhost:6333", origin="http://localhost:6333")
    assert answer.status == 200


def test_with_keys_the_name_and_the_origin_decide_nothing(locked):
    for headers in (
        {"host": "elsewhere.example"},
        {"origin": "https://elsewhere.example"},
        {"sec_fetch_site": "cross-site"},
    ):
        assert locked("GET", "/collections", api_key=FULL, **headers).status == 200
        assert locked("GET", "/collections", **headers).status == 401


def preflight(ask, origin, **headers):
    return ask.loop.run_until_complete(
        ask.ask(
            "OPTIONS",
            "/collections/c",
            b"",
            {"origin": origin, "access-control-request-method": "PUT", **headers},
        )
    )


def test_a_browser_learns_which_requests_an_allowed_origin_may_send(unlocked):
    answer = preflight(unlocked, "https://page.example")
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "https://page.example"
    assert "PUT" in answer.headers["access-control-allow-methods"]
    assert "api-key" in answer.headers["access-control-allow-headers"]
    answer = unlocked("GET", "/collections", origin="https://page.example")
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "https://page.example"
    answer = preflight(unlocked, "https://elsewhere.example")
    assert answer.status != 204
    assert "access-control-allow-origin" not in answer.headers


def test_any_origin_may_be_allowed_with_keys_and_is_named_once():
    """Browsers refuse a response with two headers that allow an origin, even with the same
    value."""
    with asking(cors=["*"], api_keys=[FULL]) as ask:
        answer = ask("GET", "/collections", origin="https://a.example", api_key=FULL)
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == "https://a.example"
        for method, headers in {
            "OPTIONS": {"origin": "https://a.example", "access-control-request-method": "PUT"},
            "GET": {"origin": "https://a.example", "api-key": FULL},
        }.items():
            names = [name for name, _ in started(ask, method, **headers)["headers"]]
            assert b"access-control-allow-origin" in names
            assert len(names) == len(set(names))


def test_a_store_without_keys_is_not_opened_to_every_page(tmp_path, monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for origin in ("*", "null"):
        with pytest.raises(InvalidArgumentError, match="every page that a browser shows may read"):
            app(tmp_path / "store", cors=["https://a.example", origin])
    done = run("serve", "store", "--cors", "null", "--port", "0", cwd=tmp_path)
    assert done.returncode == 2 and b"--no-auth" in done.stderr
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    "arguments",
    [{"api_keys": None}, {"api_keys": 5}, {"cors": None}, {"allow_hosts": None}, {"trust": "no"},
     {"read_only": "no"}],
    ids=str,
)  # fmt: skip
def test_unsupported_options_of_an_application_are_reported(tmp_path, arguments):
    (name,) = arguments
    with pytest.raises(InvalidArgumentError, match=name):
        app(tmp_path / "store", **arguments)
    with pytest.raises(InvalidTypeError, match=r"store is None \(NoneType\), expected"):
        app(None)


# Passing keys


@pytest.mark.parametrize("host", ["0.0.0.0", "store.example"])
def test_a_server_reachable_by_others_requires_keys(tmp_path, monkeypatch, host):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    done = run("serve", "store", "--host", host, "--port", "0", cwd=tmp_path)
    assert done.returncode == 2
    assert b"--no-auth" in done.stderr and b"RETRIEVAL_STORE_API_KEYS" in done.stderr
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("words", [["--no-auth"], ["--api-key-file", "keys"], ["--host", "::1"]])
def test_else_it_is_served(tmp_path, monkeypatch, words):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "keys").write_text(FULL)
    served = []
    steps.replace(monkeypatch, "serve", lambda *given: served.append(given))
    assert run("serve", "store", "--host", "0.0.0.0", *words, cwd=tmp_path).returncode == 0
    ((_, settings, _, _, _),) = served
    assert settings.keys == ((FULL,) if "keys" in words else ())


def test_keys_are_read_from_variables_and_a_file(tmp_path):
    file = tmp_path / "keys"
    file.write_text("# of the application\none\n\n  two  \nread-only three\none\n")
    environment = {
        "RETRIEVAL_STORE_API_KEYS": "four, five,,",
        "QDRANT__SERVICE__API_KEY": "six",
        "RETRIEVAL_STORE_READ_ONLY_API_KEYS": "seven",
        "QDRANT__SERVICE__READ_ONLY_API_KEY": "eight,nine",
    }
    full, readers = keys_of(environment, file)
    assert set(full) == {"one", "two", "four", "five", "six"}
    assert set(readers) == {"three", "seven", "eight", "nine"}
    assert len(full) == 5
    assert keys_of({}, None) == ((), ())


@pytest.mark.parametrize(
    "content", ["", "# nothing\n\n", "na\u00efve\n", "a\tb\n", "one\nread-only \n"]
)
def test_a_file_without_a_key_that_a_header_could_hold_is_refused(tmp_path, content):
    file = tmp_path / "keys"
    file.write_text(content)
    with pytest.raises(InvalidArgumentError):
        keys_of({}, file)
    with pytest.raises(InvalidArgumentError, match="can't be read"):
        keys_of({}, tmp_path / "none")


@pytest.mark.parametrize("keys", ["secret", [""], [None], [" secret"], ["a\nb"], [b"secret"]])
def test_keys_that_no_header_could_hold_are_refused(keys):
    with pytest.raises(InvalidArgumentError) as refused:
        check_keys("api_keys", keys)
    assert "secret" not in str(refused.value)
    with pytest.raises(InvalidArgumentError):
        app(":memory:", api_keys=keys)


def test_keys_and_names_may_come_from_an_iterator():
    keys = {"api_keys": (key for key in [FULL]), "read_only_api_keys": iter([LOOK])}
    with asking(**keys, cors=iter(["https://page.example"])) as ask:
        assert ask("GET", "/collections").status == 401
        assert ask("GET", "/collections", api_key=LOOK).status == 200
        assert ask("PUT", "/collections/c", NEW, api_key=FULL).status == 200
        assert preflight(ask, "https://page.example").status == 204


def test_no_key_is_ever_in_the_log(caplog):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("retrieval_store.access").propagate = True
    settings = ServerSettings(keys=(FULL,), reader_keys=("glance",), access_log=True)
    ask = Asking(Application(":memory:", settings))
    try:
        for key in (FULL, "glance", "guessed"):
            for headers in ({"api_key": key}, {"authorization": f"Bearer {key}"}):
                ask("GET", f"/collections?api-key={key}", **headers)
                ask("PUT", "/collections/c", raw=b"{", **headers)
    finally:
        ask.close()
    assert "/collections" in caplog.text
    assert not any(key in caplog.text for key in (FULL, "glance", "guessed"))
