"""LangChain's documents as records of a collection, and back."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.documents import Document

from retrieval_store.base.json_values import shown
from retrieval_store.errors import DamagedError, InvalidArgumentError

FIELDS = ("metadatas", "documents", "uris")  # what a document is made of again


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
        for name, values in (("metadatas", given), ("ids", named)):
            if len(values) != len(self.texts):
                raise InvalidArgumentError(
                    f"{name} has {len(values)} items, but there are {len(self.texts)} texts"
                )
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


def documents_of(found: Mapping[str, Any]) -> list[Document]:
    """All that was found, `FIELDS` of it being there, in its order."""
    return [document_of(found, i) for i in range(len(found["ids"]))]


def document_of(found: Mapping[str, Any], i: int) -> Document:
    """One record of those that were found; an image has its uri as its text. Raises DamagedError
    when it can't be a document."""
    text = found["documents"][i]
    if text is None:
        text = (found.get("uris") or {i: None})[i] or ""
    point_id, metadata = found["ids"][i], found["metadatas"][i] or {}
    try:
        return Document(id=point_id, page_content=text, metadata=metadata)
    except ValueError as error:  # a store that someone has changed may hold anything
        raise DamagedError(
            f"point {shown(point_id)} is no document of LangChain: its text is {shown(text)}, its "
            f"metadata {shown(metadata)}"
        ) from error
