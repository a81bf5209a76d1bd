"""Raw requests that a real server was sent, as they were recorded."""

import gzip
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.helpers import ROOT

RECORDED = ROOT / "tests" / "data" / "qdrant_http"


class Request(NamedTuple):
    method: str
    path: str
    body: Any

    @property
    def sent(self) -> bytes:
        """The bytes of its body."""
        if self.body is None:
            return b""
        if isinstance(self.body, dict) and self.body.keys() == {"~raw"}:
            return self.body["~raw"].encode()
        return json.dumps(self.body).encode()


def requests_of(recording: str, parts: tuple[str, ...] = ("client", "odd")) -> Iterator[Request]:
    """The requests of a recording, in their order."""
    with gzip.open(RECORDED / f"{recording}.jsonl.gz", "rt") as lines:
        for line in lines:
            one = json.loads(line)
            if one["part"] in parts:
                yield Request(one["method"], one["path"], one["body"])
