"""The routes of a server, and their handlers."""

import os
import random
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
from pydantic import TypeAdapter, ValidationError
from qdrant_client import QdrantClient
from qdrant_client.http import models

from tests.helpers.qdrant_server import limits
from tests.helpers.qdrant_server.collection import Collection
from tests.helpers.qdrant_server.config import STRICT
from tests.helpers.qdrant_server.faults import Fault, through
from tests.helpers.qdrant_server.refusals import (
    RefusedError,
    by_engine,
    invalid,
    malformed,
    no_collection,
    refused,
)

NO_SUCH_ROUTE = RefusedError(404, "")
LEAST_ROOM = 4 << 30
NAME = re.compile(r'[^<>:"/\\|?*\x00\x1f]{1,255}')


class Server:
    """A Qdrant of one node or several, of any version since 1.18, with Qdrant's own engine.

    strict: whether collections are created in strict mode; shards: the default number of shards of
    a collection; seed: of chance, which decides the order of equal points and of payload keys;
    api_keys: key → "rw" or "r". requests: all requests as (method, path), also refused ones.
    faults: called before each request with its number from 1 on, its method and its path; returns
    the failure to simulate, see `faults`.
    """

    def __init__(
        self,
        version: str = "1.20.0",
        strict: bool = False,
        shards: int = 1,
        seed: int | None = None,
        api_keys: Mapping[str, str] | None = None,
    ) -> None:
        self.version, self.strict, self.shards = version, strict, shards
        self.chance = None if seed is None else random.Random(seed)
        self.api_keys = api_keys
        self.requests: list[tuple[str, str]] = []
        self.faults: Callable[[int, str, str], Fault | None] | None = None
        self.collections: dict[str, Collection] = {}
        self.aliases: dict[str, str] = {}
        self._turn = threading.Lock()
        self._made = 0
        self._folder = tempfile.TemporaryDirectory(prefix="qdrant-server-", dir=_memory())

    def answer(
        self, method: str, path: str, query: Mapping[str, str], headers: Any, body: Any
    ) -> tuple[int, Any]:
        """The status and the body: JSON, or a text otherwise."""
        with self._turn:
            try:
                return 200, self._answered(method, path, headers, body)
            except RefusedError as error:
                return error.status, error.body
            except NotImplementedError as error:
                return 501, {"status": {"error": f"not in the stand-in: {error}"}, "time": 0.0}

    def arrived(self, method: str, path: str) -> Fault | None:
        """Record a request; returns the failure to simulate."""
        with self._turn:
            self.requests.append((method, path))
            number = len(self.requests)
        return self.faults(number, method, path) if self.faults else None

    def transport(self) -> httpx.MockTransport:
        """A transport for clients in this process; it also encodes everything as JSON."""
        return httpx.MockTransport(lambda request: through(self, request))

    def client(self, **options: Any) -> QdrantClient:
        """A client of this server, without a network."""
        options = {"check_compatibility": False, "timeout": 60, **options}
        return QdrantClient(url="http://qdrant", transport=self.transport(), **options)

    def close(self) -> None:
        """Delete all collections."""
        with self._turn:
            for one in self.collections.values():
                one.close()
            self.collections.clear()
            self._folder.cleanup()

    @property
    def since(self) -> limits.Version:
        """The version, for comparisons."""
        major, minor, *_ = self.version.split(".")
        return int(major), int(minor)

    def _answered(self, method: str, path: str, headers: Any, body: Any) -> Any:
        if (method, path) == ("GET", "/"):
            return {"title": "qdrant - vector search engine", "version": self.version}
        route, names = _route(method, path)
        self._refuse_key(headers, route.writes)
        try:
            result = route.answer(self, route.read(body), *names)
        except Exception as error:
            refusal = by_engine(error)
            if refusal is None:
                raise
            raise refusal from error
        return {"result": result, "status": "ok", "time": 0.0}

    def _refuse_key(self, headers: Any, writes: bool) -> None:
        if self.api_keys is None:
            return
        given = headers.get("api-key") or headers.get("Authorization", "").removeprefix("Bearer ")
        if not given:
            raise RefusedError(401, "Must provide an API key or an Authorization bearer token")
        if given not in self.api_keys:
            raise RefusedError(401, "Invalid API key or JWT")
        if writes and self.api_keys[given] != "rw":
            raise refused(403, "Forbidden: Global write access is required")

    # collections

    def real(self, name: str) -> str:
        """The real name of a collection or alias; raises RefusedError."""
        found = self.aliases.get(name, name)
        if found not in self.collections:
            raise no_collection(name)
        return found

    def collection(self, name: str) -> Collection:
        """A collection by its name or an alias; raises RefusedError."""
        return self.collections[self.real(name)]

    def create(self, made: models.CreateCollection, name: str) -> bool:
        """Create a collection."""
        if not NAME.fullmatch(name):
            raise invalid("collection_name: 1 to 255 characters, of those that files may have")
        if name in self.collections:
            raise refused(409, f"Wrong input: Collection `{name}` already exists!")
        if name in self.aliases:
            text = f"Can't create collection with name {name}. Alias with the same name"
            raise refused(400, f"Wrong input: {text} already exists")
        made.shard_number = made.shard_number or self.shards
        if self.strict and made.strict_mode_config is None:
            made.strict_mode_config = STRICT
        self._made += 1
        folder = Path(self._folder.name, str(self._made))
        self.collections[name] = Collection(folder, made, self.chance, self.collection)
        return True

    def change(self, asked: models.UpdateCollection, name: str) -> bool:
        """Change a collection's configuration."""
        return self.collection(name).change(asked)

    def drop(self, _: None, name: str) -> bool:
        """Delete a collection and its aliases."""
        found = self.collections.pop(name, None)
        if found is None:
            return False
        found.close()
        self.aliases = {alias: of for alias, of in self.aliases.items() if of != name}
        return True

    def listed_aliases(self, _: None, name: str | None = None) -> Any:
        """The aliases of all collections, or of one."""
        of = None if name is None else self.real(name)
        found = [(a, c) for a, c in self.aliases.items() if of in (None, c)]
        return {"aliases": [{"alias_name": a, "collection_name": c} for a, c in found]}

    def change_aliases(self, asked: models.ChangeAliasesOperation) -> bool:
        """Several changes, one after the other."""
        for action in asked.actions:
            match action:
                case models.CreateAliasOperation(create_alias=given):
                    self._call(given.alias_name, self.real(given.collection_name))
                case models.DeleteAliasOperation(delete_alias=given):
                    self.aliases.pop(given.alias_name, None)
                case models.RenameAliasOperation(rename_alias=given):
                    if given.old_alias_name not in self.aliases:
                        raise refused(
                            404, f"Not found: Alias {given.old_alias_name} doesn't exist!"
                        )
                    self._call(given.new_alias_name, self.aliases.pop(given.old_alias_name))
        return True

    def _call(self, alias: str, name: str) -> None:
        if alias in self.collections:
            raise refused(409, f"Wrong input: Collection `{alias}` already exists!")
        self.aliases[alias] = name

    def allowed(self, name: str, asked: Any, writes: bool) -> Collection:
        """The collection, if the request is allowed on it; raises RefusedError."""
        limits.refuse_newer(asked, self.since)
        found = self.collection(name)
        limits.refuse_beyond_strict(found, asked, writes)
        limits.read_as(asked, self.since, found)
        return found


def _memory() -> str | None:
    """A folder in memory, if there is one with enough room: on disk a collection takes three times
    as long. The engine crashes if there is no room for its files."""
    folder = "/dev/shm"
    roomy = os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > LEAST_ROOM
    return folder if roomy else None


@dataclass(frozen=True, slots=True)
class Route:
    """answer: called with the server, the body and the groups of the path's pattern; body: its
    type."""

    method: str
    pattern: str
    answer: Callable[..., Any]
    body: Any = None
    writes: bool = False

    def read(self, body: Any) -> Any:
        """The parsed body; raises RefusedError if it is invalid."""
        try:
            return self.body and TypeAdapter(self.body).validate_python(body)
        except ValidationError as error:
            raise malformed(str(error.errors()[0]["msg"])) from error


def _route(method: str, path: str) -> tuple[Route, list[str]]:
    known = path.startswith(("/collections", "/aliases", "/cluster", "/snapshots", "/telemetry"))
    if not known or path == "/collections/":
        raise NO_SUCH_ROUTE
    for route in ROUTES:
        found = re.fullmatch(route.pattern, path)
        if found and route.method == method:
            return route, [unquote(part) for part in found.groups()]
    raise NotImplementedError(f"{method} {path}")


def _listed(server: Server, _: None) -> Any:
    return {"collections": [{"name": name} for name in sorted(server.collections)]}


def _exists(server: Server, _: None, name: str) -> Any:
    return {"exists": server.aliases.get(name, name) in server.collections}


def _create_vector(server: Server, asked: Any, name: str, vector: str) -> Any:
    return server.collection(name).create_vector(vector, asked)


def _delete_vector(server: Server, _: None, name: str, vector: str) -> Any:
    return server.collection(name).delete_vector(vector)


def _create_index(server: Server, asked: models.CreateFieldIndex, name: str) -> Any:
    found = server.collection(name)
    limits.refuse_more_indexes(found, asked.field_name)
    return found.create_index(asked)


def _reads(method: str) -> Callable[..., Any]:
    return lambda server, asked, name: getattr(server.allowed(name, asked, False), method)(asked)


def _writes(kind: str) -> Callable[..., Any]:
    """A single operation, as an operation of a batch."""
    return lambda server, asked, name: server.allowed(name, asked, True).apply(kind, asked)


def _batch(server: Server, asked: models.UpdateOperations, name: str) -> Any:
    return server.allowed(name, asked, True).batch(asked)


C = r"/collections/([^/]+)"
P = C + "/points"
ROUTES = [
    Route("GET", "/collections", _listed),
    Route("GET", C, lambda server, _, name: server.collection(name).info()),
    Route("GET", C + "/exists", _exists),
    Route("PUT", C, Server.create, models.CreateCollection, True),
    Route("PATCH", C, Server.change, models.UpdateCollection, True),
    Route("DELETE", C, Server.drop, None, True),
    Route("GET", "/aliases", Server.listed_aliases),
    Route("GET", C + "/aliases", Server.listed_aliases),
    Route(
        "POST", "/collections/aliases", Server.change_aliases, models.ChangeAliasesOperation, True
    ),
    Route("PUT", C + "/vectors/([^/]+)", _create_vector, models.VectorNameConfig, True),
    Route("DELETE", C + "/vectors/([^/]+)", _delete_vector, None, True),
    Route(
        "PUT",
        C + "/index",
        _create_index,
        models.CreateFieldIndex,
        True,
    ),
    Route(
        "DELETE",
        C + "/index/([^/]+)",
        lambda server, _, name, key: server.collection(name).delete_index(key),
        None,
        True,
    ),
    Route("POST", P, _reads("retrieve"), models.PointRequest),
    Route("POST", P + "/scroll", _reads("scroll"), models.ScrollRequest),
    Route("POST", P + "/count", _reads("count"), models.CountRequest),
    Route("POST", P + "/query", _reads("query"), models.QueryRequest),
    Route("POST", P + "/query/batch", _reads("queries"), models.QueryRequestBatch),
    Route("POST", C + "/facet", _reads("facet"), models.FacetRequest),
    Route("PUT", P, _writes("upsert"), models.PointInsertOperations, True),
    Route("POST", P + "/delete", _writes("delete"), models.PointsSelector, True),
    Route("POST", P + "/payload", _writes("set_payload"), models.SetPayload, True),
    Route("PUT", P + "/payload", _writes("overwrite_payload"), models.SetPayload, True),
    Route("POST", P + "/payload/delete", _writes("delete_payload"), models.DeletePayload, True),
    Route("POST", P + "/payload/clear", _writes("clear_payload"), models.PointsSelector, True),
    Route("PUT", P + "/vectors", _writes("update_vectors"), models.UpdateVectors, True),
    Route("POST", P + "/vectors/delete", _writes("delete_vectors"), models.DeleteVectors, True),
    Route("POST", P + "/batch", _batch, models.UpdateOperations, True),
]
