"""Where a server is, and whether it is one of ours."""

import ssl
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import SplitResult, urlsplit

import orjson

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.json_values import shown
from retrieval_store.errors import (
    AccessDeniedError,
    ClusterError,
    InvalidArgumentError,
    InvalidTypeError,
)
from retrieval_store.wire.api import OURS

_FOR_NOW = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
PORT = 6333  # where a URL names none, as qdrant-client has it
TIMEOUT = 30.0  # seconds
LOOKED_WITHIN = 5.0  # seconds in which it is found out what is there
# Arguments of qdrant-client's about how it speaks to a cluster, which mean nothing here.
_OF_QDRANT = ("prefer_grpc", "grpc_port", "grpc_options", "check_compatibility", "pool_size")
_OURS = ("api_key", "headers", "https", "port", "prefix", "timeout", "verify")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and how it is spoken to. prefix: of all paths; headers: of each request;
    timeout: seconds without an answer, None for any number; context: of TLS, None without."""

    url: str
    host: str
    port: int
    prefix: str
    headers: Mapping[str, str]
    timeout: float | None
    context: ssl.SSLContext | None

    @property
    def place(self) -> str:
        """For messages, without what may be secret in a URL."""
        return f"at {self.url}"


def address_of(url: Any, options: Mapping[str, Any]) -> Address | None:
    """The address that is meant; None where the options are of another client. Raises
    InvalidArgumentError for what can't be."""
    if not isinstance(url, str) or not url:
        raise InvalidTypeError(f"url is {shown(url)}, expected the URL of a server")
    timeout = _timeout(options.get("timeout", TIMEOUT))
    if not options.keys() <= {*_OURS, *_OF_QDRANT}:
        return None
    parts = _parts_of(url)
    port, host = parts.port, parts.hostname or ""
    prefix = str(options.get("prefix") or "").strip("/")
    path = "/".join(part for part in (parts.path.strip("/"), prefix) if part)
    port = port or options.get("port") or PORT
    shown_host = f"[{host}]" if ":" in host else host
    return Address(
        f"{parts.scheme}://{shown_host}:{port}{'/' if path else ''}{path}",
        host,
        port,
        f"/{path}" if path else "",
        _headers(options),
        timeout,
        _context(options.get("verify", True)) if parts.scheme == "https" else None,
    )


def _parts_of(url: str) -> SplitResult:
    """A URL, taken apart; raises InvalidArgumentError for what is none that can be used."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna") if parts.port != 0 else b""
    except ValueError:  # which a UnicodeError is too
        parts, host = urlsplit(""), b""
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidArgumentError(f"url is {shown(url)}, expected http://HOST:PORT, or https://")
    if parts.username is not None or parts.password is not None:
        raise InvalidArgumentError("url holds a name or a password: give api_key= or headers=")
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise InvalidArgumentError(f"url is {shown(url)}, expected a path in ASCII, quoted")
    return parts


def is_ours(status: int, body: bytes | bytearray, place: str) -> bool | None:
    """Whether `GET /` was answered by a server of ours, rather than by a Qdrant; None where what
    answers may be only in its place just now. Raises ClusterError for what is neither."""
    if status in _FOR_NOW or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return None
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise AccessDeniedError(
            f"what is {place} lets no one look ({status}): a store of ours without keys has to be "
            "called by a name that it knows (--allow-host); what stands before it may want a key"
        )
    try:
        said = orjson.loads(body) if status == HTTPStatus.OK else None
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, dict) or ("version" not in said and OURS not in said):
        raise ClusterError(
            f"there is no Qdrant {place}, and no store of ours (it answers {status})"
        )
    return OURS in said


def _timeout(given: Any) -> float | None:
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if given is not None and not (is_number and given > 0):
        raise InvalidArgumentError(
            f"timeout is {shown(given)}, expected seconds, more than 0, or None"
        )
    return None if given is None else float(given)


def _headers(options: Mapping[str, Any]) -> dict[str, str]:
    given = options.get("headers") or {}
    if not isinstance(given, Mapping):
        raise InvalidTypeError(f"headers is {shown(given)}, expected a dict of strings")
    headers = {str(name).lower(): value for name, value in given.items()}
    if options.get("api_key") is not None:
        headers["api-key"] = options["api_key"]
    for name, value in headers.items():
        fits = isinstance(value, str) and value.isprintable() and value.isascii()
        if not fits or not name.isascii() or not name.replace("-", "").isalnum():
            what = "api_key" if name == "api-key" else f"headers[{name!r}]"
            raise InvalidArgumentError(f"{what} can't be sent: expected printable ASCII")
    return headers


def _context(verify: Any) -> ssl.SSLContext:
    """How certificates are looked at. verify: whether; or a file of those that are trusted, or a
    context of the caller's."""
    if isinstance(verify, ssl.SSLContext):
        return verify
    context = ssl.create_default_context()
    if isinstance(verify, str):
        try:
            context.load_verify_locations(cafile=verify)
        except (OSError, ssl.SSLError) as error:
            raise InvalidArgumentError(
                f"verify is {verify!r}, which holds no certificates"
            ) from error
    elif verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif verify is not True:
        raise InvalidTypeError(f"verify is {shown(verify)}, expected True, False or a file")
    return context
