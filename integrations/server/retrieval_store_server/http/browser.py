"""The routes of the page that displays the store: the files of the page, which need no key, and the
requests that the page sends.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import orjson

from retrieval_store_server.http.answers import JSON, OPTIONS, Response, Streamed, nothing
from retrieval_store_server.http.request import RequestContext
from retrieval_store_server.native.codec import MEDIA_TYPE
from retrieval_store_server.view.calls import CALLS
from retrieval_store_server.view.live import EMPTY, Lines

ROOT = "/view"
INDEX = "index.html"
Headers = tuple[tuple[bytes, bytes], ...]
# Stored content is shown as text: none of it may run, and no link in it leads elsewhere.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SAFE: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", POLICY.encode()),
)
_KINDS = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": JSON,
    "png": "image/png",
    "svg": "image/svg+xml",
    "LICENSE": "text/plain; charset=utf-8",
}
_LINES = "application/x-ndjson"
_ANSWERED: Headers = (*SAFE, (b"cache-control", b"no-store"))


@dataclass(frozen=True, slots=True)
class _File:
    """A file of the web page, with its content. tag: the value of the ETag header."""

    body: bytes
    media_type: str
    tag: bytes


@cache
def _files() -> Mapping[str, _File]:
    """The files of the web page, by name. All files are read in advance, so that a requested name
    is never looked up in the file system."""
    return dict(_in(files("retrieval_store_server.view") / "page", ""))


def _in(folder: Traversable, before: str) -> Iterator[tuple[str, _File]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _in(entry, f"{before}{entry.name}/")
        elif entry.name.rpartition(".")[2] in _KINDS:
            body = entry.read_bytes()
            tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'.encode()
            yield before + entry.name, _File(body, _KINDS[entry.name.rpartition(".")[2]], tag)


def index(call: RequestContext) -> Response:
    """The HTML of the web page."""
    return _send_file(INDEX, call)


def file(call: RequestContext) -> Response:
    """Any other file of the web page."""
    return _send_file("/".join(call.names.values()), call)


def _send_file(name: str, call: RequestContext) -> Response:
    asset = _files().get(name)
    if asset is None:
        return nothing(HTTPStatus.NOT_FOUND)
    headers = (*SAFE, (b"cache-control", b"no-cache"), (b"etag", asset.tag))
    if asset.tag in call.headers.get(b"if-none-match", b""):
        return Response(HTTPStatus.NOT_MODIFIED, b"", None, headers=headers)
    return Response(HTTPStatus.OK, asset.body, asset.media_type, headers=headers)


def asking(name: str) -> Callable[[RequestContext], Response | Streamed]:
    """The function that answers the page's requests with this name."""
    method = CALLS[name]

    def answer(call: RequestContext) -> Response | Streamed:
        return _answer_of(method(call.served.views, call.body))

    return answer


def _answer_of(result: Any) -> Response | Streamed:
    if isinstance(result, Lines):
        return Streamed(result() or EMPTY, result, EMPTY, _LINES, _ANSWERED)
    if isinstance(result, bytes):
        return Response(HTTPStatus.OK, result, "image/png", headers=_ANSWERED)
    if isinstance(result, list):  # the parts of a message
        return Response(HTTPStatus.OK, b"", MEDIA_TYPE, headers=_ANSWERED, parts=result)
    return Response(HTTPStatus.OK, orjson.dumps(result, option=OPTIONS), headers=_ANSWERED)
