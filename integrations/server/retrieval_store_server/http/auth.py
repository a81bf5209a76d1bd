"""Decides which requests a server admits: by keys, or, if there are no keys, by the request's
origin.
"""

import hmac
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import urlsplit

from retrieval_store_server.http.answers import Response, refusal, text
from retrieval_store_server.http.routes import Permission
from retrieval_store_server.http.settings import ServerSettings, is_loopback

NO_KEY = "Must provide an API key or an Authorization bearer token"
WRONG_KEY = "Invalid API key or JWT"
NO_ACCESS = "Forbidden: Global manage access is required"
NEAR = (b"none", b"same-origin")  # Sec-Fetch-Site for users, and for the server's own pages
LONGEST_HOST = 512  # bytes; names have at most 253
PREFLIGHT = b"access-control-request-method"


class Gate:
    """Decides which requests are admitted, by the headers of the requests."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings, self._has_keys = settings, settings.has_keys
        self._full = [key.encode() for key in settings.keys]
        self._readers = [key.encode() for key in settings.reader_keys]
        self._hosts = {name.lower() for name in settings.allow_hosts}
        self._origins = set(settings.cors)

    def refusal(self, headers: dict[bytes, bytes], access: Permission | None) -> Response | None:
        """The refusal of a request that is not admitted; None if the request is admitted. access:
        the permission that the route needs, None if no route matches. Whether the key permits
        writing is checked later, by `may`, after the body was read."""
        if self._settings.local or not self._has_keys:
            misled = self._refuse_foreign_page(headers, access)
            if misled is not None or not self._has_keys:
                return misled
        return self._without_key(headers, access)

    def refused_call(
        self, headers: dict[bytes, bytes], access: Permission | None
    ) -> Response | None:
        """The refusal of a gRPC call that is not admitted; None if the call is admitted. Python
        does not see the host name of the call, but no web page can make such a call. Browsers use
        HTTP/2 only with TLS, where the name must match the certificate. Browsers also do not send
        `te: trailers`, and gRPC refuses calls without this header. If a browser could make a call,
        it would send its origin."""
        if not self._has_keys:
            return None if b"origin" not in headers or self.cors(headers) else _foreign()
        return self._without_key(headers, access)

    def _without_key(
        self, headers: dict[bytes, bytes], access: Permission | None
    ) -> Response | None:
        """The refusal of a request that needs a key and has no valid key; None for other
        requests."""
        if access == "open":
            return None
        key = _key(headers)
        if key is None:
            return text(401, NO_KEY)
        if not (self._is_one_of(key, self._full) | self._is_one_of(key, self._readers)):
            return text(401, WRONG_KEY)
        return None

    def may(self, headers: dict[bytes, bytes], access: Permission) -> bool:
        """Whether the key of an admitted request permits its route."""
        if access in ("open", "read"):
            return True
        if self._settings.read_only:
            return False
        if not self._has_keys:
            return True
        key = _key(headers)
        return key is not None and self._is_one_of(key, self._full)

    def cors(self, headers: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        """The headers that allow web pages of a permitted origin to read the response."""
        if not self._origins:
            return []
        origin = headers.get(b"origin", b"")
        if origin.decode("latin-1") not in self._origins and "*" not in self._origins:
            return []
        return [(b"access-control-allow-origin", origin or b"*"), (b"vary", b"Origin")]

    def preflight(self, headers: dict[bytes, bytes]) -> list[tuple[bytes, bytes]] | None:
        """The headers that list the methods and headers that web pages of a permitted origin can
        send. The response also needs the headers of `cors`. None if the request is not a
        preflight."""
        if PREFLIGHT not in headers or not self.cors(headers):
            return None
        return [
            (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE"),
            (b"access-control-allow-headers", b"api-key, authorization, content-type"),
            (b"access-control-max-age", b"600"),
        ]

    def _refuse_foreign_page(
        self, headers: dict[bytes, bytes], access: Permission | None
    ) -> Response | None:
        """The refusal of a request that a browser has sent for a web page of another site; None for
        other requests. The origin and the host name in the headers show this. The host name is
        checked because the name of another site can be made to resolve to this machine. Browsers
        send an origin if the page will read the response. For links and images, browsers only send
        whether the two sites are the same. Links from any page may lead to open routes."""
        sent = headers.get(b"host", b"")
        host, is_local = _name_in(sent) if len(sent) <= LONGEST_HOST else (None, False)
        if not (is_local or host in self._hosts):
            return refusal(
                HTTPStatus.FORBIDDEN,
                "Forbidden: without keys, the server answers to loopback's names alone, and to "
                "those of --allow-host",
            )
        origin = headers.get(b"origin")
        if self.cors(headers):
            return None
        if access != "open" and headers.get(b"sec-fetch-site", b"none") not in NEAR:
            return _foreign()
        if origin is None:
            return None
        return None if origin.partition(b"://")[2] == headers[b"host"] else _foreign()

    @staticmethod
    def _is_one_of(sent: bytes, keys: list[bytes]) -> bool:
        """Whether the sent key is one of these keys. Each comparison takes the same time, so that
        the duration tells nothing about the keys."""
        is_match = False
        for key in keys:
            is_match |= hmac.compare_digest(sent, key)
        return is_match


def _foreign() -> Response:
    """The refusal of a request from a web page of another origin."""
    return refusal(
        HTTPStatus.FORBIDDEN, "Forbidden: pages of other origins may not ask, but for --cors"
    )


def _key(headers: dict[bytes, bytes]) -> bytes | None:
    """The key in the headers of a request; None if there is none."""
    key = headers.get(b"api-key")
    if key is not None:
        return key
    kind, _, token = headers.get(b"authorization", b"").partition(b" ")
    return token if kind.lower() == b"bearer" else None


@lru_cache(maxsize=256)
def _name_in(host: bytes) -> tuple[str | None, bool]:
    """The name in a Host header, without the port, and whether the name is a loopback name, which
    means only this machine."""
    try:
        name = urlsplit(f"//{host.decode('ascii')}").hostname
    except (UnicodeDecodeError, ValueError):
        name = None
    return name, name is not None and is_loopback(name)
