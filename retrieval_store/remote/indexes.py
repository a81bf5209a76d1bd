"""Payload indexes of a Qdrant collection, and which conditions its server can be sent.

A key has one index, of one kind. A server in strict mode refuses conditions on keys without an
index that serves them; one that does serve may leave points out, as an integer index leaves out
2021.0. What can't be sent is left out of the filter, and looked at here.
"""

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from qdrant_client import models

from retrieval_store.base.json_values import is_unicode
from retrieval_store.base.logs import log_of
from retrieval_store.errors import AccessDeniedError, StorageError
from retrieval_store.filters.expression import PayloadPath
from retrieval_store.interface.stores import IndexKind
from retrieval_store.remote.kept.payloads import LISTS

Version: TypeAlias = tuple[int, int]
AGE = 10.0  # seconds after which another client may have made an index
KNOWS_SUBSTRINGS = (1, 20)
LEAVING_OUT = ("integer", "datetime")  # indexes that ranges are looked up in, of some numbers only
_STEP = re.compile(r'"([^"]*)"|([^."\[\]]+)|(\[\d*\])')
_log = log_of("cluster")


class PayloadIndexes:
    """call: a method of the client's for the collection; look: has `note` called; creates: whether
    indexes are made that a server in strict mode asks for."""

    def __init__(
        self,
        call: Callable[..., Any],
        look: Callable[[], None],
        version: Callable[[], Version],
        creates: bool,
    ) -> None:
        self._call = call
        self._look = look
        self._version = version
        self._creates = creates
        self._strict = False
        self._most: int | None = None
        self._told = False  # that there may be no more
        self._kinds: dict[PayloadPath, str] = {}
        self._read_at = -AGE

    def demanded(self) -> bool:
        """Note that the server asks for indexes; whether there is any use in asking it again."""
        is_new = not self._strict
        self._look()
        self._strict = True
        return is_new or self._creates

    def serves(self, path: PayloadPath, kind: IndexKind) -> bool:
        """Whether conditions of this kind may be sent for a key, for which an index is made where
        there must be one. Where none may be made they are sent too, for the server to refuse."""
        found = self._known().get(path)
        if found is None and self._strict:
            if self._is_full(path):
                return False
            found = self._made(path, kind)
        if found is None or found == kind:
            return True
        return not self._strict and not (kind == "float" and found in LEAVING_OUT)

    def serves_lists(self) -> bool:
        """Whether it may be asked which metadata are lists, which helps, but needn't be known."""
        try:
            return self.serves(LISTS, "keyword") and (not self._strict or LISTS in self._kinds)
        except AccessDeniedError:
            return False

    def serves_presence(self, path: PayloadPath) -> bool:
        """Whether it may be asked if a point has the key, for which an index of any kind does."""
        return not self._strict or path in self._known()

    def substring(self, path: PayloadPath, text: str) -> Any:
        """The match for strings that have the text in them, or None where there is none: servers in
        strict mode have no index for it, and older ones take a text index for a list of words."""
        if self._strict:
            return None
        if self._version() >= KNOWS_SUBSTRINGS:
            return models.MatchSubstring(substring=text)
        self._look()  # each time: an index that another client has just made would leave points out
        return None if self._kinds.get(path) == "text" else models.MatchText(text=text)

    def _made(self, path: PayloadPath, kind: IndexKind) -> str | None:
        """The kind of the index that there is now; None where there is none and none is made."""
        if self._creates:
            try:
                self.create(path, kind)
            except AccessDeniedError:
                self._look()  # a client that may has perhaps made it meanwhile
                if path not in self._kinds:
                    raise
        elif path not in self._kinds:
            self._look()
        return self._kinds.get(path)

    def create(self, path: PayloadPath, kind: IndexKind) -> None:
        """Make an index, if there is none of this kind."""
        key = written(path)
        _log.info("making a payload index of kind %s for %s", kind, key)
        try:
            self._call("create_payload_index", field_name=key, field_schema=kind, wait=True)
        except StorageError as error:
            why = f"no payload index of kind {kind} can be made for {key}: {error}"
            raise type(error)(why) from error
        self._kinds[path] = kind

    def _is_full(self, path: PayloadPath) -> bool:
        """Whether an index would be made, but the server allows no more: then what it would serve
        is looked at here, which reads more."""
        if not self._creates or self._most is None or len(self._kinds) < self._most:
            return False
        if not self._told and path != LISTS:
            said = "the server allows %d payload indexes: filters by other keys, as %s, read more"
            _log.warning(said, self._most, written(path))
            self._told = True
        return True

    @property
    def known(self) -> Mapping[PayloadPath, str]:
        """The kinds of the indexes that there were when the server was last asked."""
        return self._kinds

    def note(self, schema: Mapping[str, Any] | None, strict: bool, most: int | None = None) -> None:
        """Remember which indexes there are, how many there may be, and whether the server refuses
        to do without."""
        self._most = most
        kinds = {parsed(key): str(one.data_type.value) for key, one in (schema or {}).items()}
        self._kinds, self._read_at = kinds, time.monotonic()
        self._strict = strict

    def _known(self) -> Mapping[PayloadPath, str]:
        if time.monotonic() - self._read_at >= AGE:
            self._look()
        return self._kinds


def kinds_of(value: Any) -> list[IndexKind]:
    """The kinds of index that find the value, or the elements of a list."""
    match value:
        case list():
            return [kind for one in value if not isinstance(one, list) for kind in kinds_of(one)]
        case bool():
            return ["bool"]
        case int() | float():
            return ["float"]
        case str():
            return ["keyword"]
    return []


def written(path: PayloadPath) -> str:
    """The path as Qdrant writes it."""
    return ".".join(f'"{step}"' for step in path)


def is_written(path: PayloadPath) -> bool:
    """Whether Qdrant can write it."""
    return path != () and all(map(_is_step, path))


def _is_step(step: str) -> bool:
    return step != "" and '"' not in step and "\\" not in step and is_unicode(step)


def parsed(key: str) -> PayloadPath:
    """The path that Qdrant writes so, with `[]` for the elements of lists."""
    return tuple(next(filter(None, steps), "") for steps in _STEP.findall(key))
