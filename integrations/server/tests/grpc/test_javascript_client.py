"""Qdrant's gRPC client for JavaScript, in node, against a server."""

from pathlib import Path

from integrations.server.tests.http.test_javascript_client import installed, node, run
from retrieval_store_server import running

__all__ = ["node"]  # a fixture
CLIENT = "@qdrant/js-client-grpc@1.19.0"
SCRIPT = Path(__file__).parent / "javascript" / "client.mjs"


def test_the_client_finds_what_it_wrote(node, request, tmp_path):
    installed(CLIENT, SCRIPT, request.config, tmp_path)
    with running(grpc_port=0, api_keys=["s3cret"]) as url:
        done = run(node, SCRIPT.name, str(url.grpc_port), folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# pass 6\n" in done.stdout  # none was left out
