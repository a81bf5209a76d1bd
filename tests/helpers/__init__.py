"""What tests of several rooms share."""

import socket
from pathlib import Path

ROOT = Path(__file__).parents[2]  # of the project: tests that run as programs start there
PATIENCE = 120  # seconds after which something hangs, on however busy a machine


def free_port() -> int:
    """A port at which nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
