"""Commands as a user runs them: in a shell, on a terminal or in a pipe."""

import fcntl
import io
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from retrieval_store.cli.main import main
from tests.helpers import PATIENCE, ROOT

COLUMNS = 100


def brought(*values: object) -> pytest.param:
    """The parameters for a test of a command from a package around the core."""
    return pytest.param(*values, marks=pytest.mark.others)


def program(folder: Path) -> Path:
    """A folder that contains `retrieval-store` of this project and this Python."""
    folder.mkdir(exist_ok=True)
    file = folder / "retrieval-store"
    file.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m retrieval_store "$@"\n')
    file.chmod(0o755)
    return folder


def environment(folder: Path) -> dict[str, str]:
    paths = {
        "PATH": f"{program(folder)}:{os.environ['PATH']}",
    }
    return {
        **os.environ,
        **paths,
        "TERM": "xterm",
        "COLUMNS": str(COLUMNS),
        "NO_COLOR": "1",
        "PYTHONPATH": f"{ROOT}:{os.environ['PYTHONPATH']}",
    }


def on_terminal(command: str, cwd: Path, folder: Path) -> str:
    """The output of a shell on a terminal, and its errors."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    with subprocess.Popen(
        ["bash", "-c", command],
        cwd=cwd,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(theirs)
        out = b""
        while select.select([ours], [], [], PATIENCE)[0]:
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            out += piece
        os.close(ours)
        complaints = process.stderr.read()
    shown = re.sub(r"\x1b\[[0-9;]*m", "", out.decode())  # what is bold
    return shown.replace("\r\n", "\n") + complaints


@dataclass
class Done:
    """The outcome of a command."""

    returncode: int
    stdout: bytes
    stderr: bytes


class _Stream(io.TextIOWrapper):
    """A file in this process that isn't a terminal."""

    def __init__(self, content: bytes = b"") -> None:
        super().__init__(io.BytesIO(content), encoding="utf-8", write_through=True)

    def content(self) -> bytes:
        return self.buffer.getvalue()


@contextmanager
def _in_folder(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def run(*words: object, cwd: Path, stdin: str = "") -> Done:
    """One command in this process, in a pipe."""
    out, err, given = _Stream(), _Stream(), _Stream(stdin.encode())
    with (
        _in_folder(cwd),
        mock.patch.object(sys, "stdin", given),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        code = main([*map(str, words)])
    return Done(code, out.content(), err.content())
