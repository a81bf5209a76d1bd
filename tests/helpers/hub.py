"""A hub of models on loopback, with the interface that Hugging Face's client uses."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self


class Hub(BaseHTTPRequestHandler):
    """The interface that Hugging Face's client uses, with the files of one model."""

    files: Path
    model: str
    commit: str
    asked: list[str]
    cut_off: int | None

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append(self.path)
        here = sorted(one for one in self.files.rglob("*") if one.is_file())
        names = {one.relative_to(self.files).as_posix(): one for one in here}
        path = self.path.partition("?")[0]
        if path.startswith(f"/api/models/{self.model}/tree/"):
            found = [
                {"type": "file", "path": name, "size": one.stat().st_size, "oid": "0" * 40}
                for name, one in names.items()
            ]
            return self.answer(json.dumps(found).encode())
        if path.startswith(f"/api/models/{self.model}"):
            found = {
                "id": self.model,
                "sha": self.commit,
                "siblings": [{"rfilename": name} for name in names],
            }
            return self.answer(json.dumps(found).encode())
        name = path.removeprefix(f"/{self.model}/resolve/{self.commit}/")
        if name not in names:
            return self.answer(b"{}", 404)
        return self.answer(names[name].read_bytes(), etag=name.replace("/", "-"))

    def answer(self, body: bytes, status: int = 200, etag: str = "x") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", self.commit)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: self.cut_off])


class RunningHub:
    """A hub with the files of one model in one revision. `asked`: the requested paths."""

    def __init__(self, files: Path, model: str, commit: str, cut_off: int | None) -> None:
        self.asked: list[str] = []
        settings = {"files": files, "model": model, "commit": commit, "asked": self.asked}
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Here", (Hub,), settings | {"cut_off": cut_off})
        )
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self, home: Path | str) -> dict[str, str]:
        """The environment of a process that uses this hub, and caches files in a directory."""
        unset = ("HF_HUB_CACHE", "HF_HUB_OFFLINE")
        given = {
            name: value
            for name, value in os.environ.items()
            if not name.lower().endswith("_proxy") and name not in unset
        }
        mine = {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
        return given | mine


def running_hub(
    files: Path, model: str, commit: str = "1" * 40, cut_off: int | None = None
) -> RunningHub:
    """A hub that runs inside `with`. cut_off: the connection is closed after this many bytes of a
    file."""
    return RunningHub(files, model, commit, cut_off)
