"""How a request reaches a server and its response the client, and the failures on the way:

- refuse: the connection is refused;
- stall: nothing is done, and no response comes;
- lose: the request is done, and no response comes;
- half: the request is done, and the response breaks off;
- 500: nothing is done, and the server reports that a part of it failed;
- 500 after: the request is done, and the server reports that.
"""

import json
import math
import re
from typing import Any, Literal, Protocol, TypeAlias

import httpx

Fault: TypeAlias = Literal["refuse", "stall", "lose", "half", "500", "500 after"]
FAILED = {
    "status": {
        "error": "Service internal error: 1 of 1 read operations failed:\n  Tonic status error: "
        'status: Unavailable, message: "Failed to connect to http://10.0.0.2:6335/, error: '
        'transport error"'
    },
    "time": 0.0,
}
NUMBER = re.compile(r"(-?)(\d+)\.?(\d*)(?:[eE]([+-]?\d+))?")


def as_read(text: str) -> float:
    """A number as the server parses it, which isn't always the nearest float64: the digits as an
    integer, rounded, times a power of ten, rounded again."""
    if len(text) < 17 and "e" not in text.lower():
        return float(text)  # both are exact: the integer and the power
    sign, whole, fraction, exponent = NUMBER.findall(text)[0]
    digits, power = whole + fraction, int(exponent or 0) - len(fraction)
    while int(digits) >= 2**64:  # digits that have no room count as zeros
        digits, power = digits[:-1], power + 1
    found = float(int(digits))
    while power < -308:
        found, power = found / 1e308, power + 308
    found = found / float(10**-power) if power < 0 else found * 10.0 ** min(power, 308)
    if math.isinf(found) or power > 308:
        raise ValueError("number out of range")
    return -found if sign else found


def _refuse(text: str) -> None:
    raise ValueError(f"{text} isn't JSON")


class Answers(Protocol):
    """A server."""

    def arrived(self, method: str, path: str) -> Fault | None: ...

    def answer(
        self, method: str, path: str, query: Any, headers: Any, body: Any
    ) -> tuple[int, Any]: ...


def through(server: Answers, request: httpx.Request) -> httpx.Response:
    """The server's response if nothing fails; otherwise raises httpx's error."""
    path = request.url.raw_path.decode().partition("?")[0]
    query = server.arrived(request.method, path)
    if query == "refuse":
        raise httpx.ConnectError("[Errno 111] Connection refused", request=request)
    if query == "stall":
        raise httpx.ReadTimeout("timed out", request=request)
    if query == "500":
        return httpx.Response(500, json=FAILED)
    response = _answered(server, request, path)
    if query == "lose":
        raise httpx.ReadTimeout("timed out", request=request)
    if query == "half":
        text = "peer closed connection without sending complete message body"
        raise httpx.RemoteProtocolError(text, request=request)
    return httpx.Response(500, json=FAILED) if query == "500 after" else response


def _answered(server: Answers, request: httpx.Request, path: str) -> httpx.Response:
    try:
        body = json.loads(request.content or b"null", parse_float=as_read, parse_constant=_refuse)
    except ValueError as error:
        fields = {"status": {"error": f"Format error in JSON body: {error}"}, "time": 0.0}
        return httpx.Response(400, json=fields)
    query = dict(request.url.params)
    status, body = server.answer(request.method, path, query, request.headers, body)
    if isinstance(body, str):
        return httpx.Response(status, text=body)
    return httpx.Response(status, json=body)
