"""qdrant-client's asynchronous clients, for calls that an event loop waits for."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from qdrant_client import AsyncQdrantClient

from retrieval_store.base.bridge import is_on_loop, wait_for
from retrieval_store.base.threads import CALLING, Threads


class Loops:
    """Clients that are made with the same options, one for each event loop, since their connections
    are a loop's own."""

    def __init__(self, options: Mapping[str, Any], threads: Threads) -> None:
        self._options, self._threads = dict(options), threads
        self._client: Any = None
        self._of: tuple[int, asyncio.AbstractEventLoop] | None = None

    async def asked(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """What a method returns."""
        here = os.getpid(), asyncio.get_running_loop()
        if self._of != here:
            # In a thread, since certificates are read for it.
            client = await self._threads.run(partial(AsyncQdrantClient, **self._options))
            if self._of != here:  # another task may have been first
                self._client, self._of = client, here
        return await getattr(self._client, method)(**arguments)

    async def close(self) -> None:
        """Close that of this loop; those of others went with them."""
        of, self._of = self._of, None
        if of == (os.getpid(), asyncio.get_running_loop()):
            await self._client.close()


class Waited:
    """An AsyncQdrantClient of the caller's, whose calls wait: in a greenlet by the loop, and in a
    thread for the loop that the client is used by."""

    def __init__(self, client: AsyncQdrantClient) -> None:
        self._client = client
        self._loop = CALLING.get()

    def __getattr__(self, name: str) -> Any:
        return partial(self._asked, getattr(self._client, name))

    def _asked(self, method: Callable[..., Coroutine[Any, Any, Any]], **arguments: Any) -> Any:
        if is_on_loop():
            return wait_for(method(**arguments))
        self._loop = CALLING.get() or self._loop  # threads that others start aren't told of it
        assert self._loop is not None
        asked = asyncio.run_coroutine_threadsafe(method(**arguments), self._loop)
        return asked.result()

    async def leave_open(self) -> None:
        """It is the caller's to close."""


def waited(client: Any) -> Any:
    """A client whose calls wait; one that is none of the asynchronous ones as it is."""
    return Waited(client) if isinstance(client, AsyncQdrantClient) else client
