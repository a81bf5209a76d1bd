"""LangChain's documents as records of a collection, and back."""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from langchain_core.documents import Document

from retrieval_store.adapters.arguments import batch_size_of
from retrieval_store.adapters.filters import below, native
from retrieval_store.adapters.mapping import refuse_reserved, without_reserved
from retrieval_store.base.json_values import shown
from retrieval_store.direct.results import GetField
from retrieval_store.errors import DamagedError, InvalidArgumentError

FIELDS: tuple[GetField, ...] = (
    "metadatas",
    "documents",
    "uris",
)  # what a document is made of again


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a document's text and metadata stand in a point: the text is the point's document, and
    with `content_key` also under that key; the metadata are the point's, or stand under
    `metadata_key`, as LangChain's store for Qdrant has them."""

    content_key: str | None = None
    metadata_key: str | None = None

    def payload(self, text: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """The point's metadata for a document."""
        if self.metadata_key is None:
            refuse_reserved(metadata, "a document")
        held = dict(metadata) if self.metadata_key is None else {self.metadata_key: dict(metadata)}
        return held if self.content_key is None else {**held, self.content_key: text}

    def where(self, given: Any) -> Any:
        """What a collection takes for a filter: dicts and expressions name the documents' metadata,
        a `Filter` of Qdrant's names what points hold."""
        found = native(given)
        return found if self.metadata_key is None else below(self.metadata_key, found)

    def documents(self, found: Mapping[str, Any]) -> list[Document]:
        """All that was found, `FIELDS` of it being there, in its order."""
        return [self.document(found, i) for i in range(len(found["ids"]))]

    def document(self, found: Mapping[str, Any], i: int) -> Document:
        """One record of those that were found; an image has its uri as its text. Raises
        DamagedError when it can't be a document."""
        point_id, payload = found["ids"][i], found["metadatas"][i] or {}
        uris = found.get("uris")
        text = found["documents"][i]
        if isinstance(payload, Mapping):
            payload = without_reserved(payload)
            kept = payload.pop(self.content_key, None) if self.content_key is not None else None
            text = kept if text is None else text
        metadata = payload.get(self.metadata_key) if self.metadata_key is not None else payload
        if text is None:
            text = (None if uris is None else uris[i]) or ""
        try:
            return Document(
                id=point_id, page_content=text, metadata={} if metadata is None else metadata
            )
        except ValueError as error:  # a store that someone has changed may hold anything
            raise DamagedError(
                f"point {shown(point_id)} is no document of LangChain: its text is {shown(text)}, "
                f"its metadata {shown(metadata)}"
            ) from error


class Batch:
    """Texts with as many metadatas and ids, checked; nothing of the caller's is changed.

    ids are made where they are None or left out. `returned` has one for each text that was given;
    of texts with one id only the last is in `texts`, `metadatas` and `ids`.
    """

    def __init__(
        self,
        texts: Iterable[str],
        metadatas: Iterable[Mapping[str, Any] | None] | None,
        ids: Iterable[str | None] | None,
    ) -> None:
        self.texts = [texts] if isinstance(texts, str) else list(texts)
        given = [None] * len(self.texts) if metadatas is None else list(metadatas)
        named = [None] * len(self.texts) if ids is None else list(ids)
        _refuse_other_lengths(self.texts, given, named)
        self.metadatas = [dict(metadata or {}) for metadata in given]
        self.ids = [str(uuid.uuid4()) if one is None else one for one in named]
        self.returned = self.ids
        self._keep_last_of_equal_ids()

    def _keep_last_of_equal_ids(self) -> None:
        """Of texts with one id the last counts, as if they had been added one by one."""
        if len(set(self.ids)) < len(self.ids):
            last = {point_id: i for i, point_id in enumerate(self.ids)}
            places = sorted(last.values())
            self.texts = [self.texts[i] for i in places]
            self.metadatas = [self.metadatas[i] for i in places]
            self.ids = [self.ids[i] for i in places]


def batches(
    texts: Iterable[str],
    metadatas: Iterable[Mapping[str, Any] | None] | None,
    ids: Iterable[str | None] | None,
    batch_size: int | None,
) -> Iterator[Batch]:
    """Texts in batches of so many, read as they are asked for; all in one where that is None."""
    if batch_size is None:
        yield Batch(texts, metadatas, ids)
        return
    size = batch_size_of(batch_size)
    if all(column is None or isinstance(column, Sequence) for column in (texts, metadatas, ids)):
        _refuse_other_lengths(texts, metadatas, ids)
    columns: list[Iterator[Any]] = [iter([texts] if isinstance(texts, str) else texts)]
    columns += [iter(column) for column in (metadatas, ids) if column is not None]
    while True:
        pieces = [list(islice(column, size)) for column in columns]
        if not any(pieces):
            return
        rest = iter(pieces[1:])
        yield Batch(
            pieces[0],
            None if metadatas is None else next(rest),
            None if ids is None else next(rest),
        )


def _refuse_other_lengths(texts: Any, metadatas: Any, ids: Any) -> None:
    number = 1 if isinstance(texts, str) else len(texts)
    for name, values in (("metadatas", metadatas), ("ids", ids)):
        if values is not None and len(values) != number:
            raise InvalidArgumentError(
                f"{name} has {len(values)} items, but there are {number} texts"
            )


def texts_and_metadatas(
    documents: Sequence[Document],
) -> tuple[list[str], list[Mapping[str, Any] | None]]:
    """What of documents `add_texts` takes by place; their ids go by `with_ids`."""
    return [d.page_content for d in documents], [d.metadata for d in documents]


def with_ids(documents: Sequence[Document], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call with the documents' ids among them, unless it names others."""
    if kwargs.get("ids") is not None:
        return dict(kwargs)
    return {**kwargs, "ids": [document.id for document in documents]}
