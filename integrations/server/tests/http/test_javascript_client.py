"""Qdrant's client for JavaScript, in node, against a server."""

import shutil
import subprocess
from pathlib import Path

import pytest

from retrieval_store_server import running
from tests.helpers import PATIENCE

CLIENT = "@qdrant/js-client-rest@1.18.0"
SCRIPT = Path(__file__).parent / "javascript" / "client.mjs"
OLDEST = 20  # of node: before it, tests can't be run by `node FILE`
INSTALL = ("install", "--no-audit", "--no-fund", "--no-save", "--legacy-peer-deps")


def run(*command: str, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


@pytest.fixture
def node(tmp_path) -> str:
    """The program; skipped where it is missing or too old, or npm is missing."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm aren't both installed")
    version = run(node, "-v", folder=tmp_path).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < OLDEST:
        pytest.skip(f"node is {version}; {OLDEST} or newer is needed")
    return node


def installed(client: str, script: Path, config: pytest.Config, folder: Path) -> None:
    """Install the client, once for all runs, and put it and the script into the folder."""
    cached = config.cache.mkdir(client.partition("/")[2].replace("@", "-"))
    if not (cached / "installed").exists():
        (cached / "package.json").write_text("{}")
        done = run(shutil.which("npm"), *INSTALL, client, folder=cached)
        if done.returncode:
            pytest.skip(f"npm can't install {client}: {done.stderr[-500:]}")
        (cached / "installed").touch()
    (folder / "node_modules").symlink_to(cached / "node_modules")
    shutil.copy(script, folder)


def test_the_client_finds_what_it_wrote(node, request, tmp_path):
    installed(CLIENT, SCRIPT, request.config, tmp_path)
    with running() as url:
        done = run(node, SCRIPT.name, url, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# pass 16\n" in done.stdout  # none was left out
