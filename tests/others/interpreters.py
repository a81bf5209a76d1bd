"""Runs programs as a user would, without their import times.

Imports take most of a program's time. So one process does them once (`python -m
tests.others.interpreters`) and runs each program in a fork, which waits for its threads and calls
the functions registered with atexit, like any Python.
"""

import ast
import contextlib
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import types
from pathlib import Path

from tests.helpers import ROOT

FILES = ("stdin", "stdout", "stderr")


class Interpreter:
    """Runs programs; call `close` at the end."""

    def __init__(self, programs: list[str]) -> None:
        """programs: their texts show what must be imported."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._tell(sorted(set().union(*map(imported_by, programs))))

    def run(self, *command: object, cwd: Path, says: str = "") -> subprocess.CompletedProcess:
        """The outcome of `python COMMAND` in that folder, with `says` as its input. A command is -c
        and a program, or a file and its arguments."""
        words = [*map(str, command)]
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / name for name in FILES]
            files[0].write_text(says)
            self._tell([words, str(cwd), *map(str, files)])
            code = int(self._process.stdout.readline())
            return subprocess.CompletedProcess(words, code, *(f.read_text() for f in files[1:]))

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _tell(self, what: list) -> None:
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()


def imported_by(program: str) -> set[str]:
    """The modules that a program names in its imports."""
    found = set()
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def run(words: list[str], folder: str, *files: str) -> None:
    """What a fork does for one program."""
    for stream, file in enumerate(files):
        how = os.O_WRONLY | os.O_CREAT if stream else os.O_RDONLY
        os.dup2(os.open(file, how), stream)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 (as long as the process lives)
    os.chdir(folder)
    if words[0] == "-c":
        sys.argv = ["-c"]
        sys.modules["__main__"] = module = types.ModuleType("__main__")
        exec(compile(words[1], "<string>", "exec"), vars(module))
    else:
        sys.argv = words
        sys.path[0] = str(Path(words[0]).parent)
        runpy.run_path(words[0], run_name="__main__")


def main() -> None:
    for name in json.loads(sys.stdin.readline()):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # or each fork's collector would copy all of it
    for line in sys.stdin:
        process = multiprocessing.get_context("fork").Process(target=run, args=json.loads(line))
        process.start()
        process.join()
        print(process.exitcode, flush=True)


if __name__ == "__main__":
    main()
