"""Qdrant's gRPC client for JavaScript, in node, against a server."""

import shutil
from pathlib import Path

import pytest

from retrieval_store.server import running
from tests.server.test_javascript_client import node, run

__all__ = ["node"]  # a fixture
CLIENT = "@qdrant/js-client-grpc@1.19.0"
SCRIPT = Path(__file__).parent / "javascript" / "client.mjs"
INSTALL = ("install", "--no-audit", "--no-fund", "--no-save", "--legacy-peer-deps", CLIENT)


@pytest.fixture
def folder(node, request, tmp_path) -> Path:
    """Where the client is installed, once for all runs, and the script is copied to."""
    cached = request.config.cache.mkdir("js-client-grpc-1.19.0")
    if not (cached / "installed").exists():
        (cached / "package.json").write_text("{}")
        done = run(shutil.which("npm"), *INSTALL, folder=cached)
        if done.returncode:
            pytest.skip(f"npm can't install {CLIENT}: {done.stderr[-500:]}")
        (cached / "installed").touch()
    (tmp_path / "node_modules").symlink_to(cached / "node_modules")
    shutil.copy(SCRIPT, tmp_path)
    return tmp_path


def test_the_client_finds_what_it_wrote(node, folder):
    with running(grpc_port=0, api_keys=["s3cret"]) as url:
        done = run(node, SCRIPT.name, str(url.grpc_port), folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# pass 6\n" in done.stdout  # none was left out
