"""The page is served only to permitted clients, and no other file is served."""

import contextlib
import random
import re

import pytest

import retrieval_store
from integrations.server.tests.http.asked import Asking
from integrations.server.tests.view.looking import data_uri, filled, picture
from retrieval_store_server.application import Application
from retrieval_store_server.http.browser import INDEX, POLICY, _files
from retrieval_store_server.http.routes import OF_VIEW
from retrieval_store_server.http.settings import ServerSettings
from retrieval_store_server.view.calls import CALLS
from tests.helpers import steps

TOKEN = "a-token-of-forty-letters-or-so"
KEY = f"Bearer {TOKEN}"
SAFE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
    "content-security-policy": POLICY,
}


@contextlib.contextmanager
def page_of(client, **settings):
    """Requests to the routes that `view` serves."""
    given = ServerSettings(reader_keys=(TOKEN,), read_only=True, local=True, **settings)
    made = Application(client, given, OF_VIEW)
    with contextlib.closing(Asking(made)) as asking:
        yield asking


@pytest.fixture(scope="module")
def page():
    with retrieval_store.Client() as client:
        filled(client)
        with page_of(client) as asking:
            yield asking


def api(page, name, body=None, **headers):
    return page("POST", f"/view/api/{name}", body or {}, authorization=KEY, **headers)


def test_the_policy_lets_nothing_in_but_the_page_itself():
    allowed = {part.split()[0]: part.split()[1:] for part in POLICY.split("; ")}
    assert allowed.pop("img-src") == ["'self'", "blob:"]
    own = {name for name, sources in allowed.items() if sources == ["'self'"]}
    assert own == {"script-src", "style-src", "connect-src"}
    assert {*allowed} - own == {"default-src", "base-uri", "form-action", "frame-ancestors"}
    assert all(allowed[name] == ["'none'"] for name in {*allowed} - own)


def test_the_files_of_the_page_are_open_and_come_with_what_keeps_it_safe(page):
    for path in ("/view", "/view/", *(f"/view/{name}" for name in _files())):
        answer = page("GET", path)
        assert answer.status == 200, path
        headers = {name: answer.headers[name] for name in SAFE}
        assert headers == SAFE and answer.headers["cache-control"] == "no-cache"
        assert "access-control-allow-origin" not in answer.headers
        again = page("GET", path, if_none_match=answer.headers["etag"])
        assert (again.status, again.body) == (304, b"")
        assert "content-length" not in {name.lower() for name in again.headers}
    assert page("GET", "/view").type == "text/html; charset=utf-8"
    assert page("GET", "/view").body == _files()[INDEX].body
    scripts = [name for name in _files() if name.endswith(".js")]
    assert page("GET", f"/view/{scripts[0]}").type == "text/javascript; charset=utf-8"


def test_the_page_needs_nothing_from_elsewhere():
    """Everything that it loads is served with it, and its policy refuses none of it."""
    index = _files()[INDEX].body.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|javascript:", index)
    for reference in re.findall(r'(?:src|href)="([^"#]+)"', index):
        assert reference.removeprefix("/view/") in _files(), reference


TRICKS = (
    "/view/..", "/view/../__init__.py", "/view/%2e%2e/__init__.py", "/view/..%2f__init__.py",
    "/view/vendor/../../__init__.py", "/view/vendor/..%2f..%2f__init__.py", "/view/%00",
    "/view/index.html%00.js", "/view//index.html", "/view/index.html/", "/view/INDEX.HTML",
    "/view/vendor", "/view/vendor/", "/view/.", "/view/__init__.py", "/view/page/index.html",
    "/view/%2fetc%2fpasswd", "/view/..\\__init__.py", "/view/vendor/%5c..%5cindex.html",
)  # fmt: skip


def test_no_path_resolves_to_another_file(page):
    for path in TRICKS:
        answer = page("GET", path, authorization=KEY)
        assert (answer.status, answer.body) == (404, b""), path


WITHOUT_IT = (
    {}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}, {"api_key": TOKEN[:-1]},
    {"cookie": TOKEN},
)  # fmt: skip


def test_without_the_token_nothing_is_revealed(page):
    for name in CALLS:
        for headers in WITHOUT_IT:
            answer = page("POST", f"/view/api/{name}", {}, **headers)
            assert answer.status == 401 and b"things" not in answer.body
    for headers in ({"authorization": KEY}, {"api_key": TOKEN}):
        answer = page("POST", "/view/api/store", {}, **headers)
        assert answer.json["collections"][0]["name"] == "things"
        assert {name: answer.headers[name] for name in SAFE} == SAFE
        assert answer.headers["cache-control"] == "no-store"


def test_a_foreign_host_name_is_refused_even_with_the_token(page):
    for host in ("evil.example", "127.0.0.1.evil.example", "192.168.0.2", ""):
        assert api(page, "store", host=host).status == 403
        assert page("GET", "/view", host=host).status == 403


def test_a_page_of_another_origin_is_refused_even_with_the_token(page):
    for origin in ("http://evil.example", "null", "http://localhost:1", "file://"):
        answer = api(page, "store", origin=origin)
        assert answer.status == 403 and "access-control-allow-origin" not in answer.headers
    assert api(page, "store", origin="http://localhost").status == 200


def test_only_the_files_of_the_page_are_served(page):
    for method, path in (
        ("GET", "/"), ("GET", "/collections"), ("GET", "/metrics"), ("GET", "/healthz"),
        ("PUT", "/collections/new"), ("POST", "/retrieval-store/v1/store/page"),
        ("POST", "/view"), ("GET", "/view/api/store"),
    ):  # fmt: skip
        answer = page(method, path, {} if method != "GET" else None, authorization=KEY)
        assert answer.status == 404, path


def test_a_served_store_serves_the_page_and_the_api():
    from retrieval_store_server import app

    with retrieval_store.Client() as client:
        filled(client)
        with contextlib.closing(Asking(app(client))) as asking:
            assert asking("GET", "/view").status == asking("GET", "/collections").status == 200
            assert asking("POST", "/view/api/store", {}).json["collections"]
            assert asking("POST", "/view/api/store", {}, host="evil.example").status == 403
        with contextlib.closing(Asking(app(client, read_only_api_keys=["k"]))) as asking:
            assert asking("GET", "/view").status == 200
            assert asking("POST", "/view/api/store", {}).status == 401
            assert asking("POST", "/view/api/store", {}, authorization="Bearer k").status == 200


ODD_BODIES = [
    b"", b"[]", b"null", b'"a"', b"{", b'{"collection": "\xff"}', b'{"collection": NaN}',
    b"[" * 5000, b'{"a":' * 200 + b"1" + b"}" * 200, b'{"collection": "\\ud800"}',
    b'{"collection": "c", "collection": 1}', b"\0", b'{"collection":1e400}',
]  # fmt: skip


def test_a_body_that_is_no_object_is_refused(page):
    for body in ODD_BODIES:
        for name in ("records", "live"):
            answer = page("POST", f"/view/api/{name}", raw=body, authorization=KEY)
            assert answer.status == 400 and answer.json["status"]["error"]
    assert api(page, "records", {"collection": "none"}).status == 404
    refused = api(page, "records", {"collection": "none", "limit": 0})
    assert refused.status == 400 and "limit is 0" in refused.json["status"]["error"]
    assert refused.json["time"] == 0.0


def test_a_body_that_is_too_large_is_refused(page):
    answer = page("POST", "/view/api/query", raw=b" " * (32 << 20) + b"{}", authorization=KEY)
    assert answer.status == 413


VALUES = (
    None, True, 0, 1, -1, 7, 2**63, 2**64, 1.5, 1e308, "", "a", "\0", "s:p1", "i:1", "s:",
    "é" * 9, [], [1], ["a"], [1, 2, 3, 4], [[1, 2, 3, 4]], [None], {}, {"a": 1}, {"$gt": 1},
    {"kind": {"$in": ["map"]}}, {"indices": [1], "values": [1]}, {"$contains": "wolf"}, "text",
    "hybrid", "weighted", "AAAA", [0] * 5_000, "kind",
)  # fmt: skip


def test_any_request_is_answered_without_a_server_error(page):
    (collection,) = api(page, "store").json["collections"]
    random_ = random.Random(0)
    for _ in range(300):
        name = random_.choice([one for one in CALLS if one != "live"])
        fields = random_.sample([*CALLS[name].checks], k=min(len(CALLS[name].checks), 4))
        body = {field: random_.choice(VALUES) for field in fields}
        body["collection"] = random_.choice([collection["collection"]] * 9 + [*VALUES])
        answer = api(page, name, {key: body[key] for key in body if key in CALLS[name].checks})
        assert answer.status < 500, (name, body, answer.body)
        if answer.status == 200 and name not in ("map", "thumbnail"):
            assert isinstance(answer.json, dict)


# Pictures


@pytest.fixture
def pictured(tmp_path):
    """A folder of pictures, a file beside it, and a collection with uris of all kinds."""
    root = tmp_path / "pictures"
    root.mkdir()
    (root / "red.png").write_bytes(picture())
    (root / "drawn.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (root / "text.png").write_text("no picture")
    (tmp_path / "secret.png").write_bytes(picture())
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    uris = {
        "red": "red.png",
        "whole": str(root / "red.png"),
        "file": (root / "red.png").as_uri(),
        "data": data_uri(picture()),
        "outside": str(tmp_path / "secret.png"),
        "dots": "../secret.png",
        "link": "link.png",
        "svg": "drawn.svg",
        "text": "text.png",
        "missing": "none.png",
        "web": "http://127.0.0.1:9/red.png",
        "bucket": "s3://bucket/red.png",
        "huge": "data:image/png;base64,AAAA",
        "none": None,
    }
    with retrieval_store.Client() as client:
        collection = client.create_collection("pictures", embedding_function=None)
        collection.add(ids=[*uris], embeddings=[[1, i] for i in range(len(uris))],
                       uris=[*uris.values()])  # fmt: skip
        yield client, str(collection.id), root


def shown_of(page, collection, key, **more):
    return api(page, "thumbnail", {"collection": collection, "key": f"s:{key}", **more})


def test_pictures_below_the_folder_are_shown_small_and_encoded_anew(pictured):
    from io import BytesIO

    from PIL import Image

    client, collection, root = pictured
    with page_of(client, image_root=root) as page:
        for key in ("red", "whole", "file", "data"):
            answer = shown_of(page, collection, key, size=60)
            assert (answer.status, answer.type) == (200, "image/png")
            assert answer.headers["x-content-type-options"] == "nosniff"
            with Image.open(BytesIO(answer.body)) as found:
                assert (found.format, found.size) == ("PNG", (60, 40))
        reported = api(page, "collection", {"collection": collection}).json
        assert reported["loader"] is True


def test_remote_files_and_other_files_are_not_shown(pictured):
    client, collection, root = pictured
    others = ["outside", "dots", "link", "svg", "text", "missing", "web", "bucket", "huge", "none"]
    with page_of(client, image_root=root) as page:
        for key in others:
            answer = shown_of(page, collection, key)
            assert answer.status == 404 and str(root) not in answer.body.decode(), key


def test_without_a_folder_no_file_is_opened(pictured, monkeypatch):
    steps.fail(monkeypatch, "open_source", AssertionError("a file was opened"))
    client, collection, _ = pictured
    with page_of(client) as page:
        for key in ("red", "whole", "file", "outside", "dots", "web"):
            assert shown_of(page, collection, key).status == 404
        assert shown_of(page, collection, "data").status == 200
