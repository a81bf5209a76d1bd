"""The records of a file, added to a collection."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from retrieval_store.base.tracing import progress_bar
from retrieval_store.base.validation import whole_number
from retrieval_store.direct.arguments import Embed
from retrieval_store.direct.collection import Collection
from retrieval_store.direct.counting import told_together
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.exchange.checking import (
    FromFile,
    checked,
    expected_by,
    from_file,
    known_ids,
)
from retrieval_store.exchange.formats.rows import MAX_LINE_BYTES, batches
from retrieval_store.exchange.reading import Format, source_of
from retrieval_store.exchange.reports import Added

Record = dict[str, Any]


def add_file(
    collection: Collection,
    path: str | os.PathLike[str],
    *,
    format: Format | None = None,
    id_column: str = "id",
    document_column: str = "document",
    embed: FromFile | None = None,
    batch: int = 1_000,
    resume: bool = False,
    upsert: bool = False,
    max_line_bytes: int = MAX_LINE_BYTES,
    show_progress: bool = False,
) -> Added:
    """Add the records of a file, which are all checked before the first is written.

    path, format, id_column, document_column, embed, max_line_bytes: as for `check`, which see.
    Where there is no embedding, the document is embedded, or what the uri points at; with `embed`
    the one that it names, and the other is stored beside it. IDAlreadyExistsError when
    an id is in the collection, and nothing is written then; unless `upsert`, which updates those,
    as `Collection.upsert` does, or `resume`, which leaves them out: so what was broken off goes on.
    So many records at once are written durably and as a whole; when something fails on the way,
    such as the embedding function, those before are there.
    """
    size = whole_number(batch, "batch", 1)
    refuse_both(resume, upsert)
    embedded = from_file(embed)
    source = source_of(path, format, id_column, document_column, max_line_bytes)
    new_in = None if resume or upsert else collection
    before = source.stamp()
    whole = checked(source, expected_by(collection), new_in, show_progress, embedded)
    if source.stamp() != before:
        raise InvalidArgumentError(
            f"{source.path.name} was written to while it was checked; nothing was added"
        )
    adder = Adder(collection, resume, upsert)
    bar_of = progress_bar("adding", whole.records, "record", show_progress)
    with told_together(), bar_of as bar:
        for rows in batches(source.rows(), size):
            adder.add([row.record for row in rows], embedded)
            bar.update(len(rows))
    return Added(source.path, adder.added, adder.updated, adder.skipped)


def refuse_both(resume: bool, upsert: bool) -> None:
    """What is there can't both be left out and updated."""
    if resume and upsert:
        raise InvalidArgumentError(
            "resume and upsert are both given: either what is there is left out, or it is updated"
        )


class Adder:
    """Adds records, some after the others, and counts what came of them."""

    def __init__(self, collection: Collection, resume: bool, upsert: bool) -> None:
        self._collection, self._resume, self._upsert = collection, resume, upsert
        self.added = self.updated = self.skipped = 0

    def add(self, records: Sequence[Record], embed: Embed | None = None) -> None:
        """Write them, as many at once as there are, but for those that are left out. embed: which
        field vectors are made of, for those that come without."""
        looked = self._resume or self._upsert
        known = known_ids(self._collection, records) if looked else set()
        if self._resume:
            self.skipped += len(known)
            records = [record for record in records if record["id"] not in known]
        written = sum(
            self._collection.add_from(
                some, len(some), upsert=self._upsert, embed=None if has_vectors else embed
            )
            for has_vectors, some in _runs(records)
        )
        updated = min(written, len(known)) if self._upsert else 0
        self.updated += updated
        self.added += written - updated


def _runs(records: Iterable[Record]) -> Iterator[tuple[bool, list[Record]]]:
    """Neighbours that all come with vectors, or all without, as a write wants them; and which."""
    for has_vectors, run in groupby(records, _has_vector):
        yield has_vectors, list(run)


def _has_vector(record: Mapping[str, Any]) -> bool:
    return record.get("embedding") is not None
