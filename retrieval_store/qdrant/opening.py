"""How a client is opened: whether its arguments mean a store in this process, and which directories
this front opens, of which it keeps the local mode of qdrant-client out.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from retrieval_store.base import system
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.validation import path_of
from retrieval_store.errors import FormatError, InvalidArgumentError
from retrieval_store.places import Session, embedded, in_memory

LOCK, THEIRS, OURS = ".lock", "meta.json", "catalog.sqlite"


PLACES = ("location", "url", "host", "path")


@dataclass(frozen=True, slots=True)
class Options:
    """Arguments by name, as they were given."""

    named: Mapping[str, Any]

    @classmethod
    def bound(cls, client: type, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> "Options":
        """Arguments of a client's class, by position and by name."""
        bound = inspect.signature(client).bind(*args, **kwargs)
        named = {**bound.arguments, **bound.arguments.get("kwargs", {})}
        named.pop("kwargs", None)
        return cls(named)

    @property
    def is_embedded(self) -> bool:
        """Whether a store in this process is meant."""
        return self.named.get("path") is not None or self.named.get("location") == ":memory:"

    @property
    def place(self) -> Any:
        """Its directory, or ":memory:"."""
        path = self.named.get("path")
        return ":memory:" if path is None else path

    @property
    def others(self) -> dict[str, Any]:
        """All arguments that don't say where it is."""
        return {name: value for name, value in self.named.items() if name not in PLACES}

    def check(self) -> None:
        """Raise InvalidArgumentError for arguments that contradict each other."""
        given = [name for name in PLACES if self.named.get(name) is not None]
        if len(given) > 1:
            raise InvalidArgumentError(f"expected one of {', '.join(PLACES)}, got {given}")
        if self.named.get("cloud_inference"):
            raise InvalidArgumentError("cloud_inference needs a server: give url")


def opened_store(path: Any) -> tuple[Session, IO[str] | None]:
    """The store in a directory, or one in memory for ":memory:", and a file that is locked for as
    long as it is open."""
    if path == ":memory:":
        return in_memory("full"), None
    directory = path_of(path, "path")
    if (directory / THEIRS).exists() and not (directory / OURS).exists():
        raise FormatError(
            f"{directory} was made by qdrant-client's local mode: give it to "
            "retrieval_store.exchange.import_qdrant_local, with a client of another path, or open "
            "it with qdrant_client.QdrantClient(path=…) and call its migrate() with that client"
        )
    session = embedded(directory, "full", rebuild=False)
    try:
        return session, _locked(directory)
    except BaseException:
        session.close()
        raise


def _locked(directory: Path) -> IO[str]:
    """Shared with other processes of ours. Local mode wants this file to itself, so it says that
    the directory is in use, where it would otherwise make a store of its own in it."""
    file = open(directory / LOCK, "a", encoding="utf-8")  # noqa: SIM115  held by the client
    try:
        system.fcntl.flock(file, system.fcntl.LOCK_SH | system.fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise FormatError(
            f"{directory} is in use by qdrant-client's local mode, which allows one client only"
        ) from error
    return file
