"""Writing records to a collection: checked, embedded, written, and told of."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from retrieval_store.base.dataclasses import dataclass, replace
from retrieval_store.base.tracing import log_of
from retrieval_store.base.validation import shown
from retrieval_store.direct.arguments import FIELDS, Records, records_of
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
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.filters.dates import micros_in
from retrieval_store.filters.nodes import Expression
from retrieval_store.loaders import DataLoader
from retrieval_store.query.protocols import Backend
from retrieval_store.query.types import CollectionRecord, Fields, PointId, PutResult, WriteRules

Given: TypeAlias = tuple[Any, ...]  # the arguments of `records_of`, in their order
Write: TypeAlias = tuple[Prepared, WriteRules]
MOST_SECONDS = 1e11  # since 1970: the year 5138
_log = log_of()
ARGUMENTS = ("ids", *FIELDS, "embed")  # of `records_of`
_ADD = WriteRules(on_existing="refuse", on_missing="insert", needs_vector=SPACE)
_UPDATE = WriteRules(on_existing="update", on_missing="ignore")
_UPSERT = WriteRules(on_existing="update", on_missing="insert", needs_vector=SPACE)
_NEW_METADATA = replace(_UPSERT, merge_payloads=False)
_REPLACE = replace(_NEW_METADATA, on_existing="replace")


@dataclass(slots=True)
class Writer:
    """Makes of what users of a collection pass what is to be written, and writes it. record:
    returns its name and settings as they are now; loader: its data loader; expires: the key of
    metadata under which records have the moment from which on they are gone, if there is one."""

    backend: Backend
    record: Callable[[], CollectionRecord]
    embedding: Embedding
    loader: DataLoader | None
    expires: str | None = None

    def add(self, given: Given, show_progress: bool) -> Write:
        """What inserts points; see `Collection.add`."""
        records = self._records(given)
        require_sources(records)
        return self._prepared(records, show_progress), _ADD

    def update(self, given: Given, show_progress: bool) -> Write:
        """What changes points that exist; see `Collection.update`."""
        records = self._records(given)
        require_change(records)
        return self._prepared(records, show_progress), _UPDATE

    def upsert(
        self, given: Given, show_progress: bool, replaces_metadata: bool, replaces: bool
    ) -> Write:
        """What inserts points, or changes those that exist; see `Collection.upsert`."""
        records = self._records(given)
        require_change(records)
        if replaces and records.embed is not None:  # no vector may stay of what is replaced
            require_sources(records)
        made = self._prepared(records, show_progress)
        if not replaces:
            return made, _NEW_METADATA if replaces_metadata else _UPSERT
        made = replace(made, batch=whole(made.batch))
        return made, _REPLACE if is_whole(made.batch) else _NEW_METADATA

    def _records(self, given: Given) -> Records:
        records = records_of(*given)
        if records.sparse_embeddings is not None:
            refuse_no_sparse("sparse_embeddings", self.record())
        if self.expires is not None:
            _refuse_no_moment(records, self.expires)
        return records

    def _prepared(self, records: Records, show_progress: bool) -> Prepared:
        return prepared(records, self.embedding.embedder, self.loader, show_progress)

    def write(self, write: Write) -> WriteResult:
        """Write what one of the others has made."""
        made, rules = write
        if not made.batch.ids:
            return self.told(made, None)
        return self.told(made, self.backend.points.put(made.batch, rules))

    def told(self, made: Prepared, result: PutResult | None) -> WriteResult:
        """Tell of a batch that was written, and of what wasn't, in the log too, where also what
        doesn't count for vectors is told. result: None where there was nothing to write."""
        ignored = () if result is None else result.ignored
        if made.left_out:
            _tell_of("records whose uris can't be loaded were left out", made.left_out)
        if result is not None:
            if self.embedding.made is not None:
                self.embedding.made.written()
            if made.embedded is not None:
                note(self.backend, made.embedded.texts, made.embedded.cut)
        if ignored:
            _tell_of("update ignored ids that don't exist", ignored)
        return WriteResult(left_out=[*made.left_out, *map(str, ignored)])


def replaced_where(
    writer: Writer, own: Expression, given: Mapping[str, Any]
) -> tuple[list[str], set[str]]:
    """See `collection.replace_own`. Records that come between the look and the write are left as
    they are where a store has transactions."""
    made, rules = writer.upsert(tuple(map(given.get, ARGUMENTS)), False, False, True)
    points, ids = writer.backend.points, made.batch.ids
    there, ours = (points.get(ids, one, None, 0, Fields()).ids for one in (None, own))
    theirs = {*map(str, there)} - {*map(str, ours)}
    if theirs or not ids:
        return [*made.left_out], theirs
    result = points.put(made.batch, replace(rules, where=own))
    return writer.told(made, replace(result, ignored=[]))["left_out"], {*map(str, result.ignored)}


def _refuse_no_moment(records: Records, key: str) -> None:
    """Raise InvalidArgumentError for metadata that doesn't say when a record is gone, but something
    else under the key for that."""
    for i, metadata in enumerate(records.metadatas or ()):
        value = (metadata or {}).get(key)
        if isinstance(value, int | float) and abs(value) > MOST_SECONDS:
            raise InvalidArgumentError(
                f"metadatas[{i}][{key!r}] is {shown(value)}, expected seconds since 1970, as "
                "configuration['expires'] says; are these milliseconds?"
            )
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_time = isinstance(value, str) and micros_in(value) is not None
        if not (value is None or is_number or is_time):
            raise InvalidArgumentError(
                f"metadatas[{i}][{key!r}] is {shown(value)}, expected when the record expires, as "
                "configuration['expires'] says: a time of ISO 8601 or the seconds since 1970; or "
                "None"
            )


def _tell_of(what: str, ids: Sequence[PointId]) -> None:
    _log.warning("%s: %d, such as %r", what, len(ids), ids[0])
