"""Helpers that tests of several rooms share."""

import os
import socket
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]  # of the project: tests that run as programs start there
PATIENCE = 120  # seconds after which something hangs, on however busy a machine


def free_port() -> int:
    """A free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def open_files(folder: Path | str = "/") -> list[str]:
    """The files in a folder that this process has open, deleted ones included; empty if the system
    doesn't list them."""
    found = []
    for link in [*Path("/proc/self/fd").glob("*")]:
        with suppress(FileNotFoundError):  # of the listing itself
            found.append(os.readlink(link))
    return [file for file in found if file.startswith(str(folder))]
