"""Fixtures for pytest, enabled by `pytest_plugins = ["retrieval_store_server.pytest_plugin"]`. No
server module is imported until a fixture is used."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def _qdrant_server() -> Iterator[str]:
    from retrieval_store_server.run import running

    with running() as url:
        yield url


@pytest.fixture
def qdrant_url(_qdrant_server: str) -> Iterator[str]:
    """The URL of a server with Qdrant's REST API and without collections. All tests of a process
    share one server."""
    yield _qdrant_server
    from urllib.parse import quote

    import httpx

    with httpx.Client(base_url=_qdrant_server) as client:
        for collection in client.get("/collections").json()["result"]["collections"]:
            path = f"/collections/{quote(collection['name'], safe='')}"
            client.delete(path).raise_for_status()
