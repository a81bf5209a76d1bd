"""Writing records to a collection: checked, embedded, written, and told of."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from retrieval_store.base.dataclasses import dataclass, replace
from retrieval_store.base.logs import log_of
from retrieval_store.direct.arguments import Records, records_of
from retrieval_store.direct.batches import (
    Prepared,
    is_whole,
    prepared,
    require_change,
    require_sources,
    whole,
)
from retrieval_store.direct.configuration import refuse_no_sparse
from retrieval_store.direct.counting import note
from retrieval_store.direct.embedding import Embedding
from retrieval_store.direct.results import SPACE, WriteResult
from retrieval_store.interface.points import PointId, WriteRules
from retrieval_store.interface.records import CollectionRecord
from retrieval_store.interface.stores import Backend
from retrieval_store.loaders import DataLoader

Given: TypeAlias = tuple[Any, ...]  # the arguments of `records_of`, in their order
_log = log_of()
_ADD = WriteRules(on_existing="refuse", on_missing="insert", needs_vector=SPACE)
_UPDATE = WriteRules(on_existing="update", on_missing="ignore")
_UPSERT = WriteRules(on_existing="update", on_missing="insert", needs_vector=SPACE)
_NEW_METADATA = replace(_UPSERT, merge_payloads=False)
_REPLACE = replace(_NEW_METADATA, on_existing="replace")


@dataclass(slots=True)
class Writer:
    """Writes what users of a collection pass. record: returns its name and settings as they are
    now; loader: its data loader."""

    backend: Backend
    record: Callable[[], CollectionRecord]
    embedding: Embedding
    loader: DataLoader | None

    def add(self, given: Given, show_progress: bool) -> WriteResult:
        """Insert points; see `Collection.add`."""
        records = self._records(given)
        require_sources(records)
        return self._written(self._prepared(records, show_progress), _ADD)

    def update(self, given: Given, show_progress: bool) -> WriteResult:
        """Change points that exist; see `Collection.update`."""
        records = self._records(given)
        require_change(records)
        return self._written(self._prepared(records, show_progress), _UPDATE)

    def upsert(
        self, given: Given, show_progress: bool, replaces_metadata: bool, replaces: bool
    ) -> WriteResult:
        """Insert points, or change those that exist; see `Collection.upsert`."""
        records = self._records(given)
        require_change(records)
        made = self._prepared(records, show_progress)
        if not replaces:
            return self._written(made, _NEW_METADATA if replaces_metadata else _UPSERT)
        made = replace(made, batch=whole(made.batch))
        return self._written(made, _REPLACE if is_whole(made.batch) else _NEW_METADATA)

    def _records(self, given: Given) -> Records:
        records = records_of(*given)
        if records.sparse_embeddings is not None:
            refuse_no_sparse("sparse_embeddings", self.record())
        return records

    def _prepared(self, records: Records, show_progress: bool) -> Prepared:
        return prepared(records, self.embedding.embedder, self.loader, show_progress)

    def _written(self, made: Prepared, rules: WriteRules) -> WriteResult:
        """Write a batch, and tell of it, and in the log, what wasn't written, and what doesn't
        count for vectors."""
        if made.left_out:
            _tell_of("records whose uris can't be loaded were left out", made.left_out)
        if made.batch.ids:
            points = self.backend.points
            ignored = points.put(made.batch, rules).ignored
            if self.embedding.made is not None:
                self.embedding.made.written()
            if made.embedded is not None:
                note(self.backend, made.embedded.texts, made.embedded.cut)
            if ignored:
                _tell_of("update ignored ids that don't exist", ignored)
        return WriteResult(left_out=[*made.left_out])


def _tell_of(what: str, ids: Sequence[PointId]) -> None:
    _log.warning("%s: %d, such as %r", what, len(ids), ids[0])
