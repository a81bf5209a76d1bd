"""The store that is served, and what is known of one request to it."""

import os
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from retrieval_store.base.dataclasses import dataclass, field
from retrieval_store.engine.storage.files import SNAPSHOTS, private_folder
from retrieval_store.errors import RetrievalStoreError
from retrieval_store.places import Session, embedded_store
from retrieval_store.qdrant.collections import Opened
from retrieval_store.qdrant.embedded import Embedded
from retrieval_store.query.protocols import EmbeddedStore
from retrieval_store.server.copies import Copies
from retrieval_store.server.counts import Monitor
from retrieval_store.server.inference import Inference
from retrieval_store.view.views import Views

UPLOADS = "uploads"


class Served:
    """A store with what answers for it. session: the share in it; close: gives that back, which is
    nothing for a client that is the caller's. Where only the page is served that looks into a
    store, this may lie elsewhere; then `views` alone answer."""

    def __init__(
        self, session: Session, close: Callable[[], object], inference: Inference, views: Views
    ) -> None:
        self._session, self._close = session, close
        self.views = views
        self.embedded = Embedded(session, None)
        self.inference = inference
        self.monitor = Monitor()
        self.copies = Copies()
        self._folder: Path | None = None  # of files that go again
        self._folders, self._making = ExitStack(), threading.Lock()
        self.rpc_monitor = Monitor()  # of what is asked over gRPC

    @property
    def store(self) -> EmbeddedStore:
        """The store itself; raises ClientClosedError once it was closed."""
        return embedded_store(self._session)

    @property
    def budget(self) -> Mapping[str, int]:
        """Bytes that caches may hold, and hold."""
        return self._session.budget

    @property
    def is_read_only(self) -> bool:
        """Whether nothing can be written to it."""
        return self._session.read_only

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._session.closed

    def named(self, said: str) -> str:
        """What is said of an error, with names in the place of this machine's paths, which are
        nothing to those who ask."""
        with suppress(RetrievalStoreError):  # closed
            directory = self._session.store.directory
            for folder in (directory, tempfile.gettempdir()):
                said = said.replace(f"{folder}{os.sep}", "")
            said = said.replace(str(directory), "the store")
        return said

    def opened(self, name: str) -> Opened:
        """A collection by its name or an alias; Refused where there is none."""
        return self.embedded.collections.opened(name)

    def name_of(self, name: str) -> str:
        """The name of the collection that an alias leads to; another is its own."""
        return self.embedded.collections.name_of(name)

    def temporary_path(self) -> Path:
        """Where a file may be written that goes again. It lies in a folder of this process, in the
        store's directory for snapshots if that can be written to; if the process dies, the folder
        goes with the next opening of the store."""
        with self._making:
            if self._folder is None:
                uploads = None
                if not self.is_read_only and self.store.directory is not None:
                    uploads = self.store.directory / SNAPSHOTS / UPLOADS
                    uploads.mkdir(parents=True, exist_ok=True)
                self._folder = self._folders.enter_context(private_folder(uploads))
        return self._folder / f"{uuid4().hex}.part"

    def close(self) -> None:
        """Give the store back."""
        self.copies.close()
        self._folders.close()
        self._close()


@dataclass(slots=True)
class Asked:
    """A request that was read. names: what the path names, by the names in the route; query: the
    parameters of the URL; headers: by their names, in lower case; body: as the route has it, whose
    vectors are to be made first if it `infers`; hold: keeps its connection open for so many seconds
    without a request, and calls when it is closed, where that can be known; strings: ids in it that
    are neither numbers nor UUIDs."""

    served: Served
    names: Mapping[str, str]
    query: Mapping[str, str]
    body: Any = None
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    infers: bool = False
    hold: Callable[[float, Callable[[], object]], object] = lambda seconds, at_end: None
    strings: list[str] = field(default_factory=list)

    @property
    def embedded(self) -> Embedded:
        """Qdrant's methods."""
        return self.served.embedded

    @property
    def collection(self) -> str:
        """The collection that is named."""
        return self.names["collection_name"]

    def embed(self, is_query: bool) -> None:
        """Make vectors of the texts and images in the body, if there may be some."""
        if self.infers:
            self.served.inference.embed(self.body, is_query)

    @property
    def waits(self) -> bool:
        """Whether the caller wants to know when it is done."""
        return self.query.get("wait") == "true"

    @property
    def timeout(self) -> int | None:
        """In how many seconds it is to be done."""
        given = self.query.get("timeout")
        return None if given is None else int(given)
