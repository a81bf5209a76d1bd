"""What the adapters to asynchronous frameworks have in common."""

import asyncio
import threading
from functools import wraps

import pytest

import retrieval_store
from tests.helpers import PATIENCE


@pytest.fixture
def beside_the_loop(monkeypatch):
    """To be called on an event loop: from then on each call of a collection waits until the loop has
    gone on meanwhile, which it can't while it waits for that call."""
    loops = {}

    def waiting(method):
        @wraps(method)
        def called(*arguments, **kwargs):
            for thread, loop in loops.items():
                assert threading.get_ident() != thread, f"{method.__name__} on the loop"
                went_on = threading.Event()
                loop.call_soon_threadsafe(went_on.set)
                assert went_on.wait(PATIENCE), f"{method.__name__} holds the loop"
            return method(*arguments, **kwargs)

        return called

    for name in ("upsert", "query", "get", "delete"):
        method = getattr(retrieval_store.Collection, name)
        monkeypatch.setattr(retrieval_store.Collection, name, waiting(method))

    def begin():
        loops[threading.get_ident()] = asyncio.get_running_loop()

    return begin
