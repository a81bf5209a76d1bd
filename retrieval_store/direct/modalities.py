"""What gives each record its vector, when no embeddings are given: a document, an image or a uri.

A point has one modality at a time: what it is embedded from replaces what it held of the others.
"""

from typing import Any

import numpy as np

from retrieval_store.base.arrays import Ints
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.direct.arguments import Records
from retrieval_store.errors import DataLoaderError, InvalidArgumentError
from retrieval_store.interface.points import UNSET, MaybeText
from retrieval_store.loaders import DataLoader


@dataclass(frozen=True, slots=True)
class Sources:
    """What to embed, and what the records then hold.

    inputs: strings and images; positions: which record each belongs to, int64; documents, uris: an
    item for each record, UNSET where it has no source.
    """

    inputs: list[Any]
    positions: Ints
    documents: list[MaybeText]
    uris: list[MaybeText]


def loaded_from(records: Records, loader: DataLoader | None) -> list[Any]:
    """For each record what its uri points at, None without a uri and for what a loader skips;
    raises InvalidArgumentError when there are uris and no loader."""
    has_uris = records.uris is not None and any(uri is not None for uri in records.uris)
    return load(records.uris or [], loader) if has_uris else [None] * len(records.ids)


def skipped_in(records: Records, loaded: list[Any], loader: DataLoader | None) -> set[int]:
    """The places of the records whose uris a loader has skipped, as it was told to by its
    `on_error`."""
    if records.uris is None or getattr(loader, "on_error", None) != "skip":
        return set()
    pairs = enumerate(zip(records.uris, loaded, strict=True))
    return {i for i, (uri, item) in pairs if uri is not None and item is None}


def sources_of(records: Records, loaded: list[Any]) -> Sources:
    """The sources of the records, of which those of uris are loaded; raises InvalidArgumentError
    when a record has two."""
    inputs: list[Any] = []
    positions: list[int] = []
    documents: list[MaybeText] = [UNSET] * len(records.ids)
    uris: list[MaybeText] = [UNSET] * len(records.ids)
    for i, point_id in enumerate(records.ids):
        given = [
            values[i]
            for values in (records.documents, records.images, loaded)
            if values is not None and values[i] is not None
        ]
        if records.uris is not None and records.uris[i] is not None and loaded[i] is None:
            raise DataLoaderError(
                f"{records.uris[i]!r} can't be loaded, so id {point_id!r} can't be embedded from it"
            )
        if len(given) > 1:
            raise InvalidArgumentError(
                f"id {point_id!r} has more than one of document, image and uri, and no embedding: "
                "which of them should be embedded?"
            )
        if given:
            inputs += given
            positions.append(i)
            documents[i] = records.documents[i] if records.documents is not None else None
            uris[i] = records.uris[i] if records.uris is not None else None
    return Sources(inputs, np.array(positions, np.int64), documents, uris)


def load(uris: list[str | None], loader: DataLoader | None) -> list[Any]:
    """What the uris point at, None for None; raises InvalidArgumentError without a data loader."""
    if loader is None:
        raise InvalidArgumentError(
            "data can't be loaded without a data loader: pass data_loader= when you create or get "
            "the collection (or embeddings, when adding)"
        )
    places = [i for i, uri in enumerate(uris) if uri is not None]
    items = list(loader([uris[i] for i in places])) if places else []
    if len(items) != len(places):
        raise InvalidArgumentError(
            f"the data loader returned {len(items)} items for {len(places)} uris"
        )
    loaded: list[Any] = [None] * len(uris)
    for i, item in zip(places, items, strict=True):
        loaded[i] = item
    return loaded
