"""AsyncQdrantClient: the same for asyncio. Calls of a store in this process run in threads, so the
loop goes on meanwhile."""

import asyncio
import functools
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import qdrant_client
from qdrant_client.async_client_base import AsyncQdrantBase

from retrieval_store.qdrant.embedded import Embedded
from retrieval_store.qdrant.inference import (
    InferenceEmbedder,
    ResolvesInPlace,
    is_ours,
    size_of,
)
from retrieval_store.qdrant.opening import Options, opened_store

THREADS = 4  # that calls of one client may take


def _in_a_thread(name: str) -> Callable[..., Any]:
    """The method of this name, carried out in a thread. A call that is cancelled goes on there, and
    is done wholly or not at all, as any other."""

    @functools.wraps(getattr(Embedded, name))
    async def call(self: "AsyncEmbedded", *args: Any, **kwargs: Any) -> Any:
        return await self.carry_out(
            functools.partial(getattr(self.embedded, name), *args, **kwargs)
        )

    return call


def _at_once(name: str) -> Callable[..., Any]:
    @functools.wraps(getattr(Embedded, name))
    def call(self: "AsyncEmbedded", *args: Any, **kwargs: Any) -> Any:
        return getattr(self.embedded, name)(*args, **kwargs)

    return call


class AsyncEmbedded(AsyncQdrantBase):
    """The methods of `Embedded`, each a coroutine where qdrant-client's is one."""

    def __init__(self, embedded: Embedded) -> None:
        super().__init__()
        self.embedded = embedded
        self._threads = ThreadPoolExecutor(THREADS, "qdrant")

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self.embedded.closed

    async def carry_out(self, call: Callable[[], Any]) -> Any:
        """What a call returns, made in a thread."""
        if self.closed:
            return call()  # which says so
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, copy_context().run, call
        )

    async def close(self, **kwargs: Any) -> None:
        if not self.closed:
            await self.carry_out(self.embedded.close)
            self._threads.shutdown(wait=False)


for _name, _method in vars(AsyncQdrantBase).items():
    if not _name.startswith("_") and _name not in vars(AsyncEmbedded):
        _make = _in_a_thread if inspect.iscoroutinefunction(_method) else _at_once
        setattr(AsyncEmbedded, _name, _make(_name))


class AsyncQdrantClient(ResolvesInPlace, qdrant_client.AsyncQdrantClient):
    """`QdrantClient` for asyncio, with the arguments and methods of
    qdrant_client.AsyncQdrantClient."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        options = Options.bound(qdrant_client.AsyncQdrantClient, args, kwargs)
        if not options.is_embedded:
            super().__init__(*args, **kwargs)
            return
        options.check()
        session, lock = opened_store(options.place)
        try:
            super().__init__(":memory:", **options.others)
        except BaseException:
            Embedded(session, lock).close()
            raise
        self._init_options.update(options.named)
        self._client = AsyncEmbedded(Embedded(session, lock))
        self._model_embedder = InferenceEmbedder(self._inference_inspector.parser)

    def get_embedding_size(self, model_name: str) -> int:
        """How many numbers the vectors of a model have; ValueError for one that isn't known."""
        if is_ours(model_name):
            return size_of(model_name)
        return int(super().get_embedding_size(model_name))

    async def __aenter__(self) -> "AsyncQdrantClient":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()
