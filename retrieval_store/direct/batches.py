"""Records to write, as a store takes them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from retrieval_store.base.arrays import Matrix
from retrieval_store.base.dataclasses import dataclass, replace
from retrieval_store.direct.arguments import FIELDS, Embed, Records
from retrieval_store.direct.embedder import Embedded
from retrieval_store.direct.modalities import loaded_from, or_unset, skipped_in, sources_of
from retrieval_store.direct.probing import ProbedEmbedder
from retrieval_store.direct.results import SPACE, SPARSE
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.loaders import DataLoader
from retrieval_store.query.types import UNSET, NonDenseVectors, PointBatch, ShownIds, Vectors


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch to write; what was embedded for it, None for nothing; and the ids of records that
    were left out, since their loader skips what their uris point at."""

    batch: PointBatch
    embedded: Embedded | None = None
    left_out: Sequence[str] = ()


def prepared(
    records: Records,
    embedder: Callable[[], ProbedEmbedder],
    loader: DataLoader | None,
    show_progress: bool,
) -> Prepared:
    """The records as a batch, with vectors for all that they give a source of."""
    if records.embeddings is not None:
        return _with_vectors(records, records.embeddings)
    loaded = loaded_from(records, loader)
    skipped = skipped_in(records, loaded, loader)
    left_out = [records.ids[i] for i in sorted(skipped)]
    if skipped:
        records = records.without(skipped)
        loaded = [item for i, item in enumerate(loaded) if i not in skipped]
    return replace(_embedded(records, loaded, embedder, show_progress), left_out=left_out)


def _with_vectors(records: Records, embeddings: Matrix) -> Prepared:
    batch = PointBatch(
        ShownIds(records.ids),
        {**_sparse_vectors(records), SPACE: Vectors(embeddings)},
        or_unset(records.metadatas),
        or_unset(records.documents),
        or_unset(records.uris),
    )
    return Prepared(batch)


def _embedded(
    records: Records,
    loaded: list[Any],
    embedder: Callable[[], ProbedEmbedder],
    show_progress: bool,
) -> Prepared:
    payloads, vectors = or_unset(records.metadatas), _sparse_vectors(records)
    sources = sources_of(records, loaded)
    embedded = embedder().embed(sources.inputs, show_progress) if sources.inputs else None
    if embedded is not None:
        vectors[SPACE] = Vectors(embedded.matrix, sources.positions)
    batch = PointBatch(ShownIds(records.ids), vectors, payloads, sources.documents, sources.uris)
    return Prepared(batch, embedded)


def _sparse_vectors(records: Records) -> dict[str, Vectors | NonDenseVectors]:
    given = records.sparse_embeddings or ()
    places = [i for i, one in enumerate(given) if one is not None]
    if not places:
        return {}
    items = [one for one in given if one is not None]
    return {SPARSE: NonDenseVectors(items, np.array(places, np.int64))}


def is_whole(batch: PointBatch) -> bool:
    """Whether each point of the batch comes with its vector."""
    dense = batch.vectors.get(SPACE)
    if dense is None:
        return False
    return dense.positions is None or len(dense.positions) == len(batch.ids)


def whole(batch: PointBatch) -> PointBatch:
    """The batch with null for all that isn't given."""

    def given(values: Sequence[Any] | None) -> list[Any]:
        items = [UNSET] * len(batch.ids) if values is None else values
        return [None if item is UNSET else item for item in items]

    return replace(
        batch,
        payloads=given(batch.payloads),
        documents=given(batch.documents),
        uris=given(batch.uris),
    )


def require_change(records: Records) -> None:
    """Raise InvalidArgumentError when there is nothing but ids."""
    if all(getattr(records, name) is None for name in FIELDS):
        raise InvalidArgumentError(f"only ids are given, expected one of {', '.join(FIELDS)}")


def require_sources(records: Records) -> None:
    """Raise InvalidArgumentError unless each point has something that gives it a vector."""
    if records.embeddings is not None:
        return
    if records.embed is not None:
        _require_kind(records, records.embed)
        return
    sources = [x for x in (records.documents, records.images, records.uris) if x is not None]
    if not sources:
        raise InvalidArgumentError("add needs embeddings, documents, images or uris")
    for i, point_id in enumerate(records.ids):
        if all(values[i] is None for values in sources):
            raise InvalidArgumentError(f"id {point_id!r} has neither an embedding nor a document")


def _require_kind(records: Records, embed: Embed) -> None:
    values = getattr(records, embed)
    for i, point_id in enumerate(records.ids):
        if values is None or values[i] is None:
            kind = embed.removesuffix("s")
            raise InvalidArgumentError(f"id {point_id!r} has no {kind}, but embed is {embed!r}")
