"""LangChain's documents as records of a collection, and back."""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from langchain_core.documents import Document

from retrieval_store.errors import DamagedError, InvalidArgumentError, InvalidTypeError
from retrieval_store.filters.expression import Expression
from retrieval_store.frameworks import (
    RESERVED,
    items_of,
    parse_filters,
    quote,
    refuse_reserved,
    refuse_unknown,
    whole_number,
    without_reserved,
)

# The fields from which a document is rebuilt.
FIELDS: tuple[Literal["metadatas", "documents", "uris"], ...] = ("metadatas", "documents", "uris")


@dataclass(frozen=True, slots=True)
class PointLayout:
    """Where a point stores a document's text and metadata. The text is the point's document. If
    `content_key` is set, the text is also the metadata value under that key. The document's
    metadata are those of the point. If `metadata_key` is set, the document's metadata are an object
    under that key, as in LangChain's store for Qdrant."""

    content_key: str | None = None
    metadata_key: str | None = None

    def __post_init__(self) -> None:
        for name in ("content", "metadata"):
            key: Any = getattr(self, f"{name}_key")
            if key is not None and not (isinstance(key, str) and key):
                raise InvalidTypeError(f"{name}_payload_key is {quote(key)}, expected a name")
            if key in RESERVED:
                raise InvalidArgumentError(f"{name}_payload_key is {key!r}, which is reserved")
        if self.content_key is not None and self.content_key == self.metadata_key:
            raise InvalidArgumentError(
                f"content_payload_key and metadata_payload_key are both {self.content_key!r}"
            )

    def payload(self, text: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """The metadata of a point for a document with this text and metadata."""
        if self.metadata_key is None:
            refuse_reserved(metadata, "a document")
            if self.content_key in metadata:
                raise InvalidArgumentError(
                    f"a document has the metadata key {self.content_key!r}, which is the key of "
                    "its text: content_payload_key"
                )
        held = dict(metadata) if self.metadata_key is None else {self.metadata_key: dict(metadata)}
        return held if self.content_key is None else {**held, self.content_key: text}

    def payload_of_image(
        self, uri: str, caption: str | None, metadata: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The metadata of a point for an image. If there is a caption, it is the text, and the
        image's uri is added to the metadata."""
        if caption is None:
            return PointLayout(None, self.metadata_key).payload("", metadata)
        return self.payload(caption, {"uri": uri, **metadata})

    def key(self, name: Any) -> Any:
        """The metadata key under which a point stores the metadata value `name` of its document."""
        inside = self.metadata_key is not None and isinstance(name, str)
        return f"{self.metadata_key}.{name}" if inside else name

    def merge_metadata(self, old: Mapping[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
        """A document's metadata, updated with new values; None deletes a key. Used if the metadata
        are an object under `metadata_key`, because a collection can't merge keys inside an
        object."""
        held = (old or {}).get(self.metadata_key or "")
        merged = {**(held if isinstance(held, dict) else {}), **new}
        return {key: v for key, v in merged.items() if key not in new or v is not None}

    def where(self, condition: Any) -> Expression | None:
        """A filter in the form that a collection takes. Dicts and expressions name the documents'
        metadata; a `Filter` of qdrant-client names the points' fields."""
        return parse_filters({"filter": condition}, self.metadata_key)

    def documents(self, result: Mapping[str, Any]) -> list[Document]:
        """The documents of a result, in the same order. The result must include `FIELDS`."""
        return [self.document(result, i) for i in range(len(result["ids"]))]

    def document(self, result: Mapping[str, Any], i: int) -> Document:
        """The document of one record in a result; an image's text is its uri. Raises DamagedError
        for a record that can't be turned into a document."""
        point_id, payload = result["ids"][i], result["metadatas"][i] or {}
        uris = result.get("uris")
        text = result["documents"][i]
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
        except ValueError as error:  # an untrusted store may contain anything
            raise DamagedError(
                f"point {quote(point_id)} is no document of LangChain: its text is {quote(text)}, "
                f"its metadata {quote(metadata)}"
            ) from error


class DocumentBatch:
    """Texts with their metadata and ids, validated. The caller's objects are not changed.

    Missing ids, and ids that are None, are generated. `returned` has an id for each text. If
    several texts share an id, only the last text is in `contents`, `metadatas`, `captions` and
    `ids`. contents: the texts, or the uris of images; images can have captions.
    """

    def __init__(
        self,
        texts: Iterable[str],
        metadatas: Iterable[Mapping[str, Any] | None] | None,
        ids: Iterable[str | None] | None,
        captions: Iterable[str | None] | None = None,
    ) -> None:
        self.contents = [texts] if isinstance(texts, str) else items_of(texts, "texts", str)
        metadata_list: list[Any] = [None] * len(self.contents)
        named = metadata_list
        if metadatas is not None:
            metadata_list = items_of(metadatas, "metadatas", Mapping, allow_none=True)
        if ids is not None:
            named = items_of(ids, "ids", str, allow_none=True)
        caption_list = [None] * len(self.contents)
        if captions is not None:
            caption_list = items_of(captions, "captions", str, allow_none=True)
        _refuse_other_lengths(self.contents, metadata_list, named, caption_list)
        self.captions: list[str | None] = caption_list
        self.metadatas = [dict(metadata or {}) for metadata in metadata_list]
        self.ids = [str(uuid.uuid4()) if point_id is None else point_id for point_id in named]
        self.returned = self.ids
        self._keep_last_of_equal_ids()

    def _keep_last_of_equal_ids(self) -> None:
        """If several texts have the same id, keep only the last one, as if the texts had been added
        one by one."""
        if len(set(self.ids)) < len(self.ids):
            last = {point_id: i for i, point_id in enumerate(self.ids)}
            places = sorted(last.values())
            self.contents = [self.contents[i] for i in places]
            self.metadatas = [self.metadatas[i] for i in places]
            self.captions = [self.captions[i] for i in places]
            self.ids = [self.ids[i] for i in places]

    @property
    def images(self) -> tuple[list[str], list[str | None], list[dict[str, Any]]]:
        """The uris, captions and metadata of images."""
        return self.contents, self.captions, self.metadatas


def batches(
    texts: Iterable[str],
    metadatas: Iterable[Mapping[str, Any] | None] | None,
    ids: Iterable[str | None] | None,
    batch_size: int | None,
) -> Iterator[DocumentBatch]:
    """Texts in batches of `batch_size`, read lazily; a single batch if `batch_size` is None."""
    if batch_size is None:
        yield DocumentBatch(texts, metadatas, ids)
        return
    size = whole_number(batch_size, "batch_size", 1)
    if all(column is None or isinstance(column, Sequence) for column in (texts, metadatas, ids)):
        _refuse_other_lengths(texts, metadatas, ids)
    columns: list[Iterator[Any]] = [iter([texts] if isinstance(texts, str) else texts)]
    if isinstance(ids, str):
        raise InvalidTypeError(f"ids is the str {ids!r}, expected a list of them")
    columns += [iter(column) for column in (metadatas, ids) if column is not None]
    while True:
        pieces = [list(islice(column, size)) for column in columns]
        if not any(pieces):
            return
        rest = iter(pieces[1:])
        yield DocumentBatch(
            pieces[0],
            None if metadatas is None else next(rest),
            None if ids is None else next(rest),
        )


def _refuse_other_lengths(texts: Any, metadatas: Any, ids: Any, captions: Any = None) -> None:
    number = 1 if isinstance(texts, str) else len(texts)
    for name, values in (("metadatas", metadatas), ("ids", ids), ("captions", captions)):
        if values is not None and len(values) != number:
            raise InvalidArgumentError(
                f"{name} has {len(values)} items, but there are {number} texts"
            )


def documents_in(documents: Any) -> list[Document]:
    """The documents as a list. Raises InvalidTypeError unless the argument is an iterable of
    documents."""
    if isinstance(documents, Document):
        raise InvalidTypeError("documents is one Document, expected a list of them")
    return items_of(documents, "documents", Document)


def document_batches(documents: Any, kwargs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the arguments of `add_texts` for documents. Usually one dict contains all documents.
    But if `kwargs` has a `batch_size` and no ids, and the documents come from an iterator, they are
    read lazily, and each dict contains `batch_size` documents."""
    size = kwargs.get("batch_size")
    if size is None or kwargs.get("ids") is not None or isinstance(documents, Sequence):
        yield _arguments(documents_in(documents), kwargs)
        return
    pending = iter(documents)
    while batch := list(islice(pending, whole_number(size, "batch_size", 1))):
        yield _arguments(documents_in(batch), kwargs)


def _arguments(documents: list[Document], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    fields = {
        "texts": [document.page_content for document in documents],
        "metadatas": [document.metadata for document in documents],
        "ids": [document.id for document in documents],
    }
    refuse_unknown(kwargs, ("ids", "batch_size", "show_progress"), "add_documents")
    return {**fields, **{name: value for name, value in kwargs.items() if value is not None}}
