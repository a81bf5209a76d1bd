"""Connections that clients of ours have made theirs by HTTP's `Upgrade`, each with a thread that
answers it: the event loop and its threads, which a short request waits for longer than for its
answer, have nothing to do with it."""

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

from retrieval_store.base.logs import log_of
from retrieval_store.server.answers import Answer, refusal
from retrieval_store.server.copies import KEPT_SECONDS
from retrieval_store.server.pool import BusyError
from retrieval_store.server.receiving import BodyBudget
from retrieval_store.wire.frames import UPGRADE, answer_of, keep_alive, receive_request, send
from retrieval_store.wire.message import Buffer

AGREED = (
    "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: " + UPGRADE + "\r\n\r\n"
)
MOST = 64  # at a time: each has a thread
IDLE_SECONDS = KEPT_SECONDS + 60  # after which one is closed: a copy may be read over it
BUSY = refusal(429, "too many bodies are under way", 1)
END_WITHIN = 30.0  # seconds that requests under way have
Work: TypeAlias = Callable[[str, Buffer], Answer]
_log = log_of("server")


class Lines:
    """Those that this process answers. bodies: bounds what the requests take together; seconds: in
    which one must have come once it has begun."""

    def __init__(self, bodies: BodyBudget, seconds: float) -> None:
        self._bodies, self._seconds = bodies, seconds
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._closed = False

    @property
    def has_room(self) -> bool:
        """Whether another is taken."""
        return len(self._open) < MOST and not self._closed

    def take(self, line: socket.socket, work: Work, ended: Callable[[], object]) -> None:
        """Answer what comes on a connection, in a thread. work: makes the answer to a path and a
        message; ended: called at the end of the connection."""
        thread = threading.Thread(target=self._serve, args=(line, work, ended), daemon=True)
        with self._lock:
            self._open[line] = thread
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads
            self._forget(line)
            raise BusyError from None

    def _forget(self, line: socket.socket) -> None:
        with self._lock:
            self._open.pop(line, None)
        line.close()

    def _serve(self, line: socket.socket, work: Work, ended: Callable[[], object]) -> None:
        try:
            line.settimeout(IDLE_SECONDS)
            line.sendall(AGREED.encode())
            while not self._closed and self._answer(line, work):
                pass
        except OSError as error:  # it is gone, idle for too long, or slow
            _log.debug("a connection ended: %s", error)
        finally:
            self._forget(line)
            ended()

    def _answer(self, line: socket.socket, work: Work) -> bool:
        """Answer one request; False at the end of the connection."""
        try:
            with self._bodies.held() as take:
                asked = receive_request(line, take, self._seconds)
                if asked is None:
                    return False
                answer = work(*asked)
        except BusyError:  # there is no room for it, and nothing was done
            answer = BUSY
        asked = None  # an answer may be sent for long
        send(line, answer_of(answer.status, answer.parts or [answer.body]))
        return True

    def close(self) -> None:
        """End all of them: those that wait at once, those that answer once they have."""
        self._closed = True
        with self._lock:
            left = [*self._open.items()]
        for line, _ in left:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RD)
        until = time.monotonic() + END_WITHIN
        for _, thread in left:
            thread.join(max(0.0, until - time.monotonic()))


def handed_over(transport: Any) -> socket.socket:
    """The connection of a transport, which lets go of it."""
    transport.pause_reading()
    line = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
    line.setblocking(True)
    transport.abort()
    with suppress(OSError):
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    keep_alive(line)
    return line
