"""How much a server takes at once."""

import os

from retrieval_store.base.budget import STEPS
from retrieval_store.base.dataclasses import dataclass, field
from retrieval_store.base.system import memory_bytes
from retrieval_store_server.http.pool import Workers
from retrieval_store_server.native.codec import MAX_BYTES

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """How much the server takes at once. body: bytes of one body, inflated; bodies: bytes of all
    bodies in memory; body_seconds: seconds in which a body must arrive, and one more for each 2 MB
    that it says it has; upload_seconds: seconds for a snapshot; parsed_at_once: bytes of a body
    that the loop parses itself; threads: threads that work in the store; queue: requests that may
    wait for one; queue_seconds: how long they may wait; request_seconds: seconds that reading may
    take, where the request doesn't say; request_memory, request_steps: bytes, and steps of Python
    or SQL, that it may need, as they are counted before it is done; memory: bytes of all such
    requests together."""

    body: int = 32 * MEBIBYTE
    bodies: int = MAX_BYTES
    body_seconds: float = 60.0
    upload_seconds: float = 3600.0
    parsed_at_once: int = 64 * 1024
    threads: int = field(default_factory=lambda: min(8, 2 + (os.cpu_count() or 1)))
    queue: int = 512
    queue_seconds: float = 60.0
    request_seconds: float = 60.0
    request_memory: int = 400_000_000
    request_steps: int = STEPS
    memory: int = field(default_factory=lambda: max(1 << 29, memory_bytes(1 << 32) // 4))

    def workers(self) -> Workers:
        """The threads that answer requests."""
        per_request = self.request_seconds, self.request_memory, self.request_steps
        return Workers(self.threads, self.queue, *per_request, self.memory)
