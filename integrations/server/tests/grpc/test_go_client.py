"""Qdrant's client for Go, which speaks nothing but gRPC, against a server."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from retrieval_store_server import running
from tests.helpers import PATIENCE

MODULE = "github.com/qdrant/go-client@v1.15.2"
# Not named main.go, since tools that look for Go would take this for a module that can't be built.
PROGRAM = Path(__file__).parent / "go" / "main.go.txt"
FOUND = ["true", "2 London", "1 Berlin", "3", "NotFound", "false"]


def go(*words: str, folder: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "GOFLAGS": "-mod=mod"}
    return subprocess.run(
        [shutil.which("go") or "go", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=5 * PATIENCE,
        check=False,
    )


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """The program, compiled; skipped where there is no Go, or the client can't be had."""
    if shutil.which("go") is None:
        pytest.skip("go isn't installed")
    folder = tmp_path_factory.mktemp("go")
    shutil.copy(PROGRAM, folder / "main.go")
    done = go("mod", "init", "example.test/client", folder=folder)
    assert done.returncode == 0, done.stderr
    done = go("get", MODULE, folder=folder)
    if done.returncode:
        pytest.skip(f"go can't get {MODULE}: {done.stderr[-500:]}")
    for words in (("mod", "tidy"), ("build", "-o", "client", ".")):
        done = go(*words, folder=folder)
        assert done.returncode == 0, done.stderr
    return folder / "client"


@pytest.mark.slow  # to build it: a minute
def test_the_client_finds_what_it_wrote(program):
    with running(grpc_port=0, api_keys=["s3cret"]) as url:
        done = subprocess.run(
            [program, str(url.grpc_port)], capture_output=True, text=True, timeout=PATIENCE
        )
    assert done.stdout.splitlines() == FOUND, done.stderr
