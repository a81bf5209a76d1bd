"""Functions that depend on the operating system: memory, files, other processes, the terminal,
telemetry.

Where Windows lacks functions of POSIX, they return None or 0. Files and locks are in
`base.platform`. Other processes (`users_of`, `holder_of`) are known only if the system has Linux's
/proc. `printable` escapes control characters in texts, and characters that could mislead a
terminal, a browser or a reader. `cut_text` truncates texts, and `count_in_words` formats counts.

`telemetry_off` surrounds imports of packages that would report to their makers. From version 1.29
on, onnxruntime on Linux and macOS reports to Microsoft what it runs and on which machine, and
stores an id of the machine in the user's cache. A thread sends these reports. A forked child waits
for this thread forever when the child ends. The environment variable that disables the reports is
read once, when onnxruntime is imported. `needing` surrounds imports of packages that may not be
installed.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypedDict

from retrieval_store.errors import MissingDependencyError

resource: Any
try:
    import resource
except ImportError:
    resource = None


def memory_bytes(otherwise: int) -> int:
    """The size of the machine's memory, or of the container's memory, in bytes; `otherwise` if it
    can't be read."""
    try:
        memory = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        memory = otherwise
    with suppress(OSError, ValueError):  # there may be no such file, or no limit in it
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return memory


def usable_cores() -> int:
    """How many processor cores this process is allowed to use."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def is_interpreter_ending() -> bool:
    """Whether the main thread has ended. From then on, work should be begun only if a caller waits
    for its result."""
    return not threading.main_thread().is_alive()


def give_back_memory() -> None:
    """Return freed memory to the system. Some C libraries, such as glibc, would otherwise keep it
    for later."""
    with suppress(OSError, AttributeError, ImportError):
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)


def digest_of(path: Path) -> str:
    """The SHA-256 digest of a file, in hexadecimal."""
    import hashlib  # imported here because it takes 3 ms

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


PROCESSES = Path("/proc")
SHOWN = 100  # characters of a command, in a message


class Process(TypedDict):
    """A description of a process. command: its command line. script: the Python script or module in
    the command line, otherwise the program. started: when the process began, in ISO 8601, None if
    unknown."""

    pid: int
    command: str
    script: str
    started: str | None


def describe_process(process: Process) -> str:
    """A short description of a process: its number, its program, and its start."""
    script = printable(process["script"])
    since = "" if process["started"] is None else f", since {process['started'].replace('T', ' ')}"
    return f"{process['pid']} ({script[:SHOWN]}{'…' if len(script) > SHOWN else ''}{since})"


def users_of(directory: Path) -> list[Process] | None:
    """The other processes that have files of a directory open, as far as this user is allowed to
    see them. None if the system doesn't report open files."""
    if not PROCESSES.joinpath("self", "fd").is_dir():
        return None
    inside = f"{directory.resolve()}{os.sep}"
    processes = []
    for process in PROCESSES.iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with suppress(OSError):
                links = (os.readlink(descriptor) for descriptor in (process / "fd").iterdir())
                if any(link.startswith(inside) for link in links):
                    processes.append(_process(int(process.name)))
    return sorted(processes, key=lambda user: user["pid"])


def holder_of(file: Path, byte: int = 0) -> Process | None:
    """The process that holds the write lock on a byte of a file. None if no process holds it, or if
    the system doesn't report locks."""
    with suppress(OSError, ValueError):
        lines = PROCESSES.joinpath("locks").read_text().splitlines()
        known = file.stat()
        device = f"{os.major(known.st_dev):02x}:{os.minor(known.st_dev):02x}"
        for line in lines:
            # 1: POSIX  ADVISORY  WRITE 4711 08:01:1234 120 120
            words = line.split()
            if words[1] == "->" or words[3] != "WRITE" or words[5] != f"{device}:{known.st_ino}":
                continue
            end = byte if words[7] == "EOF" else int(words[7])
            if int(words[6]) <= byte <= end and int(words[4]) > 0:
                return _process(int(words[4]))
    return None


def by_holder_of(file: Path, byte: int = 0) -> str:
    """A phrase that names the process that holds a lock (see `holder_of`), for the end of a
    message. The phrase is empty if there is no such process."""
    process = holder_of(file, byte)
    return "" if process is None else f", by process {describe_process(process)}"


def _process(pid: int) -> Process:
    command_line = (PROCESSES / str(pid) / "cmdline").read_bytes().split(b"\0")
    words = [word.decode(errors="replace") for word in command_line]
    command = " ".join(words).strip()
    return {"pid": pid, "command": command, "script": _script_in(words), "started": _start_of(pid)}


def _script_in(words: list[str]) -> str:
    """The Python script or module in the words of a command line, otherwise the program."""
    program, *rest = words
    if not os.path.basename(program).startswith("python"):
        return program
    options = iter(rest)
    for word in options:
        if word in ("-m", "-c"):  # the argument of -c may be long
            return f"-m {next(options, '')}" if word == "-m" else "python -c"
        if word in ("-W", "-X"):
            next(options, None)
        elif word and not word.startswith("-"):
            return word
    return program


def _start_of(pid: int) -> str | None:
    """When a process began, in local time, to the second."""
    with suppress(OSError, ValueError, IndexError):
        stat = (PROCESSES / str(pid) / "stat").read_text()
        ticks = int(stat.rpartition(")")[2].split()[19])  # clock ticks since the system was started
        lines = (PROCESSES / "stat").read_text().splitlines()
        begun = next(int(line.split()[1]) for line in lines if line.startswith("btime "))
        seconds = begun + ticks / os.sysconf("SC_CLK_TCK")
        return datetime.fromtimestamp(seconds).astimezone().replace(microsecond=0).isoformat()
    return None


VARIABLE = "ORT_DISABLE_TELEMETRY"


@contextmanager
def needing(feature: str, package: str | None, requirement: str) -> Iterator[None]:
    """Context manager: raise MissingDependencyError if an import in the `with` body fails.

    Args:
        feature: the feature that needs the package.
        package: the name of the package, by default the module's name.
        requirement: the requirement to install with pip, or "[EXTRA]" of this package.
    """
    try:
        yield
    except MissingDependencyError:  # this error names the package already
        raise
    except ImportError as error:
        if package is None and not isinstance(error, ModuleNotFoundError):
            raise
        argument = f'"retrieval-store{requirement}"' if requirement[0] == "[" else requirement
        message = f"{feature} needs {package or error.name}: pip install {argument}"
        raise MissingDependencyError(message) from error


def require_installed(feature: str, extra: str, *modules: str) -> None:
    """Raise MissingDependencyError unless these modules, which belong to an extra of this package,
    are installed. Nothing is imported. feature: the feature that needs the modules."""
    missing = [
        module
        for module in modules
        if sys.modules.get(module) is None and find_spec(module) is None
    ]
    if missing:
        raise MissingDependencyError(
            f'{feature} needs {" and ".join(missing)}: pip install "retrieval-store[{extra}]"'
        )


@contextmanager
def telemetry_off() -> Iterator[None]:
    """Context manager: disable onnxruntime's telemetry if onnxruntime is imported for the first
    time in the `with` body. Does nothing if the user has set the environment variable."""
    was_set = VARIABLE in os.environ
    os.environ.setdefault(VARIABLE, "1")
    try:
        yield
    finally:
        if not was_set:
            os.environ.pop(VARIABLE, None)
    disable = getattr(sys.modules.get("onnxruntime"), "disable_telemetry_events", None)
    if disable is not None and not was_set:
        disable()


JOINERS = "\u200c\u200d"  # some scripts and emoji need them


def count_in_words(number: int, noun: str) -> str:
    """A number and a noun, which is in the plural unless the number is 1. An example is "1,000
    points"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def printable(text: str) -> str:
    """The text, with control characters (escape sequences, text direction, invisible characters)
    replaced by their numbers, and line breaks and tabs replaced by spaces."""
    if text.isprintable():
        return text
    return "".join(
        character if _is_shown(character) else _quote_argument(character)
        for character in text.replace("\r\n", "\n")
    )


def cut_text(text: str, most: int) -> str:
    """The text, truncated to `most` characters if it is longer; an ellipsis marks the omission."""
    return text if len(text) <= most else f"{text[:most]}…"


def _is_shown(character: str) -> bool:
    import unicodedata

    return (
        character.isprintable() or character in JOINERS or unicodedata.category(character) == "Zs"
    )


def _quote_argument(character: str) -> str:
    return " " if character in "\n\t" else character.encode("unicode_escape").decode()
