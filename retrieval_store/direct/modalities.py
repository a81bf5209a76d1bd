"""What gives each record its vector, when no embeddings are given: a document, an image or a uri.

Without `embed` a point has one modality at a time: what it is embedded from replaces what it held
of the others. With it vectors are made of one field, and what is given of the others is stored.
"""

from typing import Any

import numpy as np

from retrieval_store.base.arrays import Ints
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.direct.arguments import Records
from retrieval_store.errors import DataLoaderError, InvalidArgumentError
from retrieval_store.loaders import DataLoader
from retrieval_store.query.types import UNSET, MaybeText


@dataclass(frozen=True, slots=True)
class Sources:
    """What to embed, and what the records then hold.

    inputs: strings and images; positions: which record each belongs to, int64; documents, uris: an
    item for each record, UNSET where it stays; None where all do.
    """

    inputs: list[Any]
    positions: Ints
    documents: list[MaybeText] | None
    uris: list[MaybeText] | None


def loaded_from(records: Records, loader: DataLoader | None) -> list[Any]:
    """For each record what its uri points at, None without a uri, for what a loader skips, and
    where uris aren't embedded; raises InvalidArgumentError when there are uris and no loader."""
    uris = _embedded_uris(records)
    has_uris = uris is not None and any(uri is not None for uri in uris)
    return load(uris or [], loader) if has_uris else [None] * len(records.ids)


def _embedded_uris(records: Records) -> list[str | None] | None:
    return records.uris if records.embed in (None, "uris") else None


def skipped_in(records: Records, loaded: list[Any], loader: DataLoader | None) -> set[int]:
    """The places of the records whose uris a loader has skipped, as it was told to by its
    `on_error`."""
    uris = _embedded_uris(records)
    if uris is None or getattr(loader, "on_error", None) != "skip":
        return set()
    pairs = enumerate(zip(uris, loaded, strict=True))
    return {i for i, (uri, item) in pairs if uri is not None and item is None}


def sources_of(records: Records, loaded: list[Any]) -> Sources:
    """The sources of the records, of which those of uris are loaded; raises InvalidArgumentError
    when a record has two, and it isn't said which is embedded."""
    _refuse_unloaded(records, loaded)
    return _only_sources(records, loaded) if records.embed is None else _chosen(records, loaded)


def _refuse_unloaded(records: Records, loaded: list[Any]) -> None:
    for point_id, uri, item in zip(
        records.ids, _embedded_uris(records) or (), loaded, strict=False
    ):
        if uri is not None and item is None:
            raise DataLoaderError(
                f"{uri!r} can't be loaded, so id {point_id!r} can't be embedded from it"
            )


def _chosen(records: Records, loaded: list[Any]) -> Sources:
    """The sources of one kind; what is given of the others is stored."""
    field = loaded if records.embed == "uris" else getattr(records, records.embed or "")
    places = [i for i, item in enumerate(field or ()) if item is not None]
    return Sources(
        [field[i] for i in places],
        np.array(places, np.int64),
        or_unset(records.documents),
        or_unset(records.uris),
    )


def or_unset(values: list[Any] | None) -> list[Any] | None:
    """The values, UNSET where there is none."""
    return None if values is None else [UNSET if value is None else value for value in values]


def _only_sources(records: Records, loaded: list[Any]) -> Sources:
    """The one source of each record."""
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
        if len(given) > 1:
            raise InvalidArgumentError(
                f"id {point_id!r} has more than one of document, image and uri, and no embedding: "
                "embed='documents', 'images' or 'uris' says which is embedded"
            )
        if given:
            inputs += given
            positions.append(i)
            documents[i] = records.documents[i] if records.documents is not None else None
            uris[i] = records.uris[i] if records.uris is not None else None
    if not inputs:
        return Sources(inputs, np.array(positions, np.int64), None, None)
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
