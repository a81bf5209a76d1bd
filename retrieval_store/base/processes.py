"""Other processes, as far as the system tells of them: on Linux, by /proc."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

from retrieval_store.base.printable import printable

PROCESSES = Path("/proc")
SHOWN = 100  # characters of a command, in a message


class Process(TypedDict):
    """A process by its number, and the command that it runs."""

    pid: int
    command: str


def users_of(directory: Path) -> list[Process] | None:
    """The processes that have files of a directory open, but this one, of those that this user may
    look at; None where the system doesn't tell."""
    if not PROCESSES.joinpath("self", "fd").is_dir():
        return None
    inside = f"{directory.resolve()}{os.sep}"
    found = []
    for process in PROCESSES.iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with suppress(OSError):
                links = (os.readlink(one) for one in (process / "fd").iterdir())
                if any(one.startswith(inside) for one in links):
                    found.append(_process(int(process.name)))
    return sorted(found, key=lambda one: one["pid"])


def holder_of(file: Path, byte: int = 0) -> str:
    """Who holds the lock for writing on a byte of a file, in words that end a message; nothing
    where the system doesn't tell, or no process does any more."""
    with suppress(OSError, ValueError):
        known = file.stat()
        device = f"{os.major(known.st_dev):02x}:{os.minor(known.st_dev):02x}"
        for line in PROCESSES.joinpath("locks").read_text().splitlines():
            # 1: POSIX  ADVISORY  WRITE 4711 08:01:1234 120 120
            words = line.split()
            if words[1] == "->" or words[3] != "WRITE" or words[5] != f"{device}:{known.st_ino}":
                continue
            end = byte if words[7] == "EOF" else int(words[7])
            if int(words[6]) <= byte <= end and int(words[4]) > 0:
                command = printable(_process(int(words[4]))["command"])
                short = command if len(command) <= SHOWN else f"{command[:SHOWN]}…"
                return f", by process {words[4]} ({short})"
    return ""


def _process(pid: int) -> Process:
    words = (PROCESSES / str(pid) / "cmdline").read_bytes().split(b"\0")
    command = " ".join(word.decode(errors="replace") for word in words).strip()
    return {"pid": pid, "command": command}
