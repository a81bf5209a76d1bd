"""Texts of which a model reads the beginning alone: told once, and counted for each collection.

The count stands in the collection's record, where every process sees it. It changes after a write
that cut something, in a transaction of the catalog of its own. On a cluster, where a record is
replaced without one, and what another process changes at that moment would be lost with it, nothing
is counted.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import reduce
from operator import add
from typing import Any

from retrieval_store import plugins
from retrieval_store.base.dataclasses import dataclass, replace
from retrieval_store.base.tracing import log_of
from retrieval_store.embeddings._common import ADVICE, Cut, collected
from retrieval_store.errors import RetrievalStoreError
from retrieval_store.query.protocols import Backend
from retrieval_store.query.types import TEXTS_CUT, CollectionRecord

_log = log_of()
MOST = 2**53
_told: set[str] = set()  # ids of collections, of which this process has told


@dataclass(slots=True)
class _Written:
    """How many texts were embedded for a collection, and what was cut of them."""

    backend: Backend
    texts: int = 0
    cut: Cut | None = None

    def add(self, texts: int, cut: Cut | None) -> None:
        """So many more."""
        self.texts += texts
        self.cut = self.cut + cut if self.cut and cut else self.cut or cut


# By ids of collections, what is told later.
_waiting: ContextVar[dict[str, _Written] | None] = ContextVar("retrieval_store_cuts", default=None)


@contextmanager
def told_together() -> Iterator[None]:
    """What writes cut meanwhile, in this thread, is told at the end, for all of them at once."""
    if _waiting.get() is not None:
        yield
        return
    waiting: dict[str, _Written] = {}
    token = _waiting.set(waiting)
    try:
        yield
    finally:
        _waiting.reset(token)
        for written in waiting.values():
            _tell(written)


def note(backend: Backend, texts: int, cut: Cut | None) -> None:
    """Count, and tell, what was cut of so many texts that have been written. The write is done, so
    what goes wrong here is logged alone."""
    if cut is not None and not backend.on_cluster:
        _count(backend, cut.texts)
    waiting = _waiting.get()
    if waiting is None:
        _tell(_Written(backend, texts, cut))
    else:
        waiting.setdefault(backend.id, _Written(backend)).add(texts, cut)


@contextmanager
def embedded_outside(collection: Any, texts: int) -> Iterator[None]:
    """Of so many texts that an adapter embeds itself meanwhile, and has written at the end with
    their vectors, the collection tells and counts as of those that it embeds."""
    with collected() as cuts:
        yield
    note(collection._backend, texts, reduce(add, cuts) if cuts else None)


def texts_cut(record: CollectionRecord) -> int | None:
    """How many texts were cut when they were embedded for a collection; None where nothing was
    counted, and its function doesn't say that it would tell."""
    counted = _counted(record)
    if counted is not None:
        return counted
    spec: Any = record.settings.get("embedding_function")
    if isinstance(spec, dict) and "name" in spec:
        with suppress(Exception):  # of whatever a plugin does when it is imported
            kind = plugins.load(plugins.EMBEDDING_FUNCTIONS, str(spec["name"]))
            return 0 if getattr(kind, "tells_of_cuts", False) is True else None
    return None


def _counted(record: CollectionRecord) -> int | None:
    told: Any = record.settings.get(TEXTS_CUT)
    is_count = isinstance(told, int) and not isinstance(told, bool) and 0 <= told <= MOST
    return told if is_count else None


def _count(backend: Backend, number: int) -> None:
    def edit(record: CollectionRecord) -> CollectionRecord:
        count = min(MOST, (_counted(record) or 0) + number)
        return replace(record, settings={**record.settings, TEXTS_CUT: count})

    try:
        backend.change(edit)
    except RetrievalStoreError as error:
        _log.warning("that %d texts were cut couldn't be counted: %s", number, error)


def _tell(written: _Written) -> None:
    backend, cut = written.backend, written.cut
    if cut is None or backend.id in _told:
        return
    _told.add(backend.id)  # two threads may both find that it isn't, which does no harm
    with suppress(RetrievalStoreError):  # deleted, or closed, meanwhile
        _log.warning(
            "collection %r: %d of %d texts embedded have more than the %d tokens that %s reads of "
            "each: about %d %% of the tokens of such texts don't count for their vectors. %s",
            backend.record().name,
            cut.texts,
            written.texts,
            cut.limit,
            cut.model,
            _percent_left(cut),
            ADVICE,
        )


def _percent_left(cut: Cut) -> int:
    return min(99, max(1, round(100 * (1 - cut.read / max(cut.tokens, 1)))))
