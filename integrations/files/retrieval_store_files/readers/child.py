"""Runs readers in a separate process with limits, so that an untrusted file can harm only that
process.

The process is started for the first file, and reads one file after another. If reading a file has
ended the process, a new process is started for the next file. The process gets the name of a reader
and the bytes of a file, and responds in JSON. It can open no connection, start no program and write
no file. The time of the process is limited, and on Linux its memory, too.
"""

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pkgutil import resolve_name
from typing import IO, Any

from retrieval_store.errors import DataLoaderError, RetrievalStoreError
from retrieval_store_files.readers import (
    FileText,
    PicturePage,
    Section,
    file_text,
    set_passwords,
)

SECONDS, SECONDS_A_MB = 10.0, 4.0  # for a file, and for each of its megabytes
MEMORY = 400_000_000  # bytes that the process may allocate
MAX_ANSWER = 100_000_000  # bytes of JSON
MAX_SECTIONS = 200_000
_DRAWS = "retrieval_store_files.readers.pdf:draw_page"
_START = (
    "import sys; sys.path[:] = sys.argv[2:]; from retrieval_store_files.readers import child; "
    "child.serve(float(sys.argv[1]))"
)
_LENGTH = 8  # bytes of a number


class ReaderProcess:
    """A separate process that runs readers with limits on time and memory. seconds: the time limit
    for each file; larger files get more time."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "ReaderProcess":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process, if it is running."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()

    def read(self, target: str, data: bytes, name: str, passwords: Sequence[str] = ()) -> FileText:
        """Read a file in the process, and return its text. target: the function that reads the
        file, as "module:function"; passwords: the passwords to try on the file. Raises
        DataLoaderError if the function fails, or if the process exceeds its limits."""
        question = {"target": target, "name": name, "passwords": [*passwords]}
        try:
            answer = self._answer_to(question, data)
        except BaseException:  # whatever it was, a late response to this must not come next
            self.close()
            raise
        if "why" in answer:
            raise DataLoaderError(answer["why"])
        sections = [
            Section(**{**section, "headings": tuple(section["headings"])})
            for section in answer.pop("sections")
        ]
        answer["gaps"] = tuple(answer["gaps"])
        answer["pictures"] = tuple(PicturePage(*page) for page in answer["pictures"])
        return FileText(sections, **answer)

    def draw(self, data: bytes, page: int, pixels: int, passwords: Sequence[str] = ()) -> bytes:
        """Draw a page of a PDF, and return the picture as PNG. page: the number of the page, from
        1; pixels: the length of the picture's longer side. Raises DataLoaderError if the page can't
        be drawn."""
        drawn = self.read(_DRAWS, data, f"{page} {pixels}", passwords)
        return base64.b64decode(drawn.sections[0].text)

    def _answer_to(self, question: dict[str, Any], data: bytes) -> Any:
        process = self._start()
        assert process.stdin is not None and process.stdout is not None
        passed = threading.Event()

        def end() -> None:
            passed.set()
            process.kill()

        seconds = self._seconds + SECONDS_A_MB * (len(data) // 1_000_000)
        late = threading.Timer(seconds, end)
        late.daemon = True
        late.start()
        try:
            _send(process.stdin, json.dumps(question).encode())
            _send(process.stdin, data)
            answer = _receive(process.stdout, MAX_ANSWER)
        except OSError:
            answer = None
        finally:
            late.cancel()
        if answer is None:
            why = (
                f"reading it took longer than {seconds:g} s"
                if passed.is_set()
                else f"its reader crashed, or needed more than {MEMORY // 1_000_000} MB"
            )
            raise DataLoaderError(why)
        return json.loads(answer)

    def _start(self) -> subprocess.Popen[bytes]:
        process = self._process
        if process is not None and process.poll() is None:
            return process
        self.close()
        # The program may lie in the folder that is read, so the folder's modules come last.
        paths = sorted(sys.path, key=lambda path: path == "")
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, str(self._seconds), *paths],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # libraries warn of every odd thing in a file
                start_new_session=True,  # Ctrl-C is for the waiting program
            )
        except OSError as error:
            raise DataLoaderError(
                f"no process can be started that would read it: {error}"
            ) from error
        return self._process


def _send(file: IO[bytes], data: bytes) -> None:
    file.write(len(data).to_bytes(_LENGTH, "big"))
    file.write(data)
    file.flush()


def _receive(file: IO[bytes], most: int) -> bytes | None:
    """Read the next message from a pipe. Returns None at the end, or if the message has more than
    `most` bytes."""
    head = file.read(_LENGTH)
    length = int.from_bytes(head, "big")
    if len(head) < _LENGTH or length > most:
        return None
    data = file.read(length)
    return data if len(data) == length else None


# In the process


def serve(seconds: float) -> None:
    """Read files in this process, one for each request on the standard input, until that input
    ends. seconds: the time limit for each file; larger files get more time."""
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library's output isn't a response
    questions = sys.stdin.buffer
    _limit()
    sys.dont_write_bytecode = True
    sys.addaudithook(_refuse)
    while (question := _receive(questions, 1 << 20)) is not None:
        data = _receive(questions, 1 << 40)
        if data is None:
            return
        _end_after(seconds + SECONDS_A_MB * (len(data) // 1_000_000) + 5)
        answer = _answer(json.loads(question), data)
        _end_after(0)
        _send(answers, answer)


def _end_after(seconds: float) -> None:
    """Have the operating system end this process after `seconds`; 0 cancels this. The parent
    process usually enforces the time limit, but it may have exited."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _limit() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


_REFUSED = (
    "socket.", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork",
    "os.spawn", "os.startfile", "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link",
    "os.symlink", "os.truncate", "os.chmod", "os.chown", "os.chflags", "os.utime", "os.setxattr",
    "os.removexattr", "os.kill", "urllib.", "ftplib.", "smtplib.", "shutil.", "sqlite3.", "syslog.",
    "webbrowser.", "pty.", "resource.",
)  # fmt: skip
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    """An audit hook that refuses network connections, new programs, and changes to files."""
    if event.startswith(_REFUSED) and event != "socket.gethostname":
        raise PermissionError(f"a reader of files may not do {event}")
    if event == "open" and isinstance(args[2], int) and args[2] & _WRITES and args[0] != os.devnull:
        raise PermissionError(f"a reader of files may not write to {args[0]!r}")


def _answer(question: dict[str, Any], data: bytes) -> bytes:
    try:
        set_passwords(question["passwords"])
        answer = _read(question["target"], data, question["name"])
    except (MemoryError, RecursionError) as error:
        what = "memory" if isinstance(error, MemoryError) else "nesting"
        answer = {"why": f"it needs more {what} than a reader of files may have"}
    except RetrievalStoreError as error:
        answer = {"why": str(error)}
    except Exception as error:  # of any library
        why = str(error).strip() or "its reader failed, and doesn't say why"
        answer = {"why": f"{type(error).__name__}: {why}"[:1_000]}
    # Lone surrogates, which fonts of PDFs may give, aren't text.
    return json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace")


def _read(target: str, data: bytes, name: str) -> dict[str, Any]:
    reader: Any = resolve_name(target)
    if isinstance(reader, type):
        reader = reader()
    file = file_text(reader(data, name), f"the reader {target}")
    if len(file.sections) > MAX_SECTIONS:
        raise DataLoaderError(f"it has {len(file.sections):,} sections, more than {MAX_SECTIONS:,}")
    return asdict(file)
