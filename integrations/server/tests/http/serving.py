"""Servers in processes of their own, started by the command."""

import os
import re
import subprocess
import sys
from contextlib import contextmanager


@contextmanager
def served(*words, cwd, **variables):
    """A process that serves, and its URL; gRPC is served only on request, since another process may
    use the default port."""
    words = words if "--grpc-port" in words else (*words, "--grpc-port", 0)
    environment = {**os.environ, "TMPDIR": str(cwd), "PYTHONUNBUFFERED": "1", **variables}
    with subprocess.Popen(
        [sys.executable, "-m", "retrieval_store", "serve", "--port", "0", *map(str, words)],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            line = process.stdout.readline()
            found = re.search(r"at (https?://\S+)", line)
            assert found, line + process.stderr.read()
            yield process, found[1]
        finally:
            process.kill()
