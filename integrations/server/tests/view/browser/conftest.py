"""A served store with its page, and a browser that displays it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import retrieval_store
from integrations.server.tests.view.browser.looking import HOSTILE, Page, browser, notes, viewed


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """One browser for all tests of a process."""
    with browser(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with notes, and with malicious records."""
    path = tmp_path_factory.mktemp("viewed") / "store"
    with retrieval_store.Client(path) as client:
        ids, documents, metadatas = notes()
        client.create_collection("notes").add(ids=ids, documents=documents, metadatas=metadatas)
        client.create_collection("hostile", embedding_function=None).add(
            ids=[HOSTILE, "plain"],
            embeddings=[[0, 1], [1, 0]],
            documents=[HOSTILE * 200, "a plain one"],
            metadatas=[{HOSTILE[:60]: HOSTILE, "year": 2**64 - 1}, {"year": 1}],
            uris=["javascript:window.harmed=1", "https://example.org/"],
        )
    return path


@pytest.fixture(scope="session")
def address(place: Path) -> Iterator[str]:
    """The command's address of a store, with its token."""
    with viewed(place) as url:
        yield url


@pytest.fixture
def page(driver: object, address: str, tmp_path: Path, request: pytest.FixtureRequest) -> Page:
    """The page, wide and light, in a browser without history."""
    return Page(driver, address, tmp_path, request.node.name).opened()


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core, which finds barriers for people with disabilities."""
    named = Path(os.environ.get("AXE_JS", "node_modules"))
    file = named / "axe-core" / "axe.min.js" if named.is_dir() else named
    if not file.is_file():
        pytest.skip("needs axe-core: AXE_JS names its axe.min.js, or the node_modules that has it")
    return file.read_text()
