"""Embeds texts and images in request bodies, so that clients in any language can send texts and
images instead of vectors.

The body names a model, and the client that sends the body may not be trusted. BM25, and embedding
functions that access no host, environment variable or file, are always available. Other functions
are available only if the person who starts the server trusts its clients. A body can't configure a
function, since an option could be the URL of a host or the path of a file; only BM25's options are
accepted. An image is given as data, or as the URI of a file below a folder of the server.
"""

import binascii
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import BaseModel
from qdrant_client import models

from retrieval_store import plugins
from retrieval_store.errors import DataLoaderError, PluginError
from retrieval_store.extension import check_budget, describe
from retrieval_store.frameworks import quote
from retrieval_store.qdrant import QdrantService, Refused
from retrieval_store_server.http.refusals import wrong
from retrieval_store_server.view.pictures import served_images

MARK = b'"model"'  # contained in every body with objects to embed
INFERRED = (models.Document, models.Image, models.InferenceObject)
BM25 = "qdrant/bm25"
MAX_DECODED = 50_000_000  # pixels that are decoded before embedding
AT_ONCE = 32  # texts or images that are embedded between checks of the budget
Slot: TypeAlias = tuple[Any, Callable[[Any], None]]
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]{16,}=*")


class Inference:
    """Embeds the texts and images in bodies. trust: whether embedding functions are allowed that
    access hosts, environment variables and files; image_root: the folder from which images can be
    read."""

    def __init__(self, trust: bool = False, image_root: Path | None = None) -> None:
        self._trust = trust
        self._root = image_root
        self._loader = served_images(image_root)

    def embed(self, body: Any, is_query: bool) -> None:
        """Replace the objects to embed in a body by vectors."""
        groups: dict[tuple[str, str, str], list[Slot]] = {}
        for inference_object, put in list(_inference_objects(body, _refuse_bare_text)):
            kind = "image" if isinstance(inference_object, models.Image) else "text"
            key = (inference_object.model, kind, repr(_options(inference_object)))
            groups.setdefault(key, []).append((inference_object, put))
        for places in groups.values():
            vectors = self._vectors([inference_object for inference_object, _ in places], is_query)
            for (_, put), vector in zip(places, vectors, strict=True):
                put(vector)

    def _vectors(self, values: Sequence[Any], is_query: bool) -> Sequence[Any]:
        """The vectors of objects to embed. All objects must be of one kind, and name the same
        model."""
        first = values[0]
        name, options = first.model, _options(first)
        sparse, are_images = name.lower() == BM25, isinstance(first, models.Image)
        if not sparse:
            self._check(name, options, are_images)
        elif are_images:
            raise _no_images(name)
        vectors: list[Any] = []
        for inputs in self._images(values) if are_images else _texts(values):
            check_budget()
            try:
                vectors += QdrantService.embed(name, inputs, options, is_query)
            except Refused:
                raise
            except Exception as error:  # a model's error for invalid input or a missing package
                raise wrong(f"the model {name!r} failed: {error}") from error
        return vectors

    def _check(self, name: str, options: Any, are_images: bool) -> None:
        """Refuse a model that is not allowed, or that cannot embed images."""
        if not plugins.is_known(plugins.EMBEDDING_FUNCTIONS, name):
            raise wrong(
                f"Bad request: there is no model {quote(name)}; there is {BM25!r}, and "
                "embedding functions by the names that they are registered under"
            )
        if options:
            raise wrong(
                f"Bad request: options of {name!r} are {describe(options)}; they are for the "
                f"server to choose, but those of {BM25!r}"
            )
        try:
            kind = plugins.load(plugins.EMBEDDING_FUNCTIONS, name)
        except (PluginError, ImportError) as error:
            raise wrong(f"Bad request: {error}") from error
        if are_images and not getattr(kind, "embeds_images", True):
            raise _no_images(name)
        if self._trust:
            return
        if not plugins.is_self_contained(kind):
            raise wrong(
                f"Bad request: the model {name!r} may reach hosts and files, which this "
                "server wasn't started for (--trust)"
            )

    def _images(self, values: Sequence[Any]) -> Iterator[list[Any]]:
        """Yield the images in batches that fit into memory."""
        batch: list[Any] = []
        pixels = 0
        for value in values:
            check_budget()
            batch.append(self._load(self._uri(value.image)))
            pixels += batch[-1].size
            if len(batch) == AT_ONCE or pixels > MAX_DECODED:
                yield batch
                batch, pixels = [], 0
        if batch:
            yield batch

    def _load(self, uri: str) -> Any:
        try:
            (image,) = self._loader([uri])
        except DataLoaderError as error:
            if uri.startswith("data:"):
                raise wrong(f"an image can't be read: {error}") from error
            # The loader's message names the folder, which clients must not know.
            raise wrong(f"{quote(uri)} can't be read below this server's folder") from error
        return image

    def _uri(self, image: Any) -> str:
        """The URI of an image: a data URI, or a path below the image folder."""
        if not isinstance(image, str):
            raise wrong(f"an image is {describe(image)}, expected a text in base64 or a uri")
        if image.startswith("data:"):
            return image
        if _BASE64.fullmatch(image) and not self._is_image_file(image):
            try:
                binascii.a2b_base64(image)
            except binascii.Error as error:
                raise wrong(f"an image is {quote(image)}, which is no base64: {error}") from None
            return f"data:;base64,{image}"
        if self._root is None:
            raise wrong(
                f"an image is at {quote(image)}; this server reads no files and hosts for "
                "others (--image-root): send it in base64"
            )
        return image

    def _is_image_file(self, image: str) -> bool:
        """Whether a string that may be base64 is the path of a file below the image folder. Other
        paths are not checked, since the response would reveal whether such a file exists."""
        if self._root is None:
            return False
        path = self._root / image
        try:
            return path.is_relative_to(self._root) and path.exists()
        except OSError:  # longer than the maximum path
            return False


def _texts(values: Sequence[Any]) -> Iterator[list[str]]:
    """Yield the texts in small batches, so that the work stops soon after a request ends."""
    for first in range(0, len(values), AT_ONCE):
        yield [_text(value) for value in values[first : first + AT_ONCE]]


def _no_images(name: str) -> Refused:
    return wrong(f"Bad request: the model {quote(name)} makes vectors of texts, not of images")


def _options(inference_object: Any) -> dict[str, Any]:
    options = inference_object.options
    if isinstance(options, BaseModel):
        return options.model_dump(mode="json", exclude_none=True)
    return dict(options or {})


def _text(inference_object: Any) -> str:
    text = (
        inference_object.object
        if isinstance(inference_object, models.InferenceObject)
        else inference_object.text
    )
    if not isinstance(text, str):
        raise wrong(
            f"the model {inference_object.model!r} is given {describe(text)}, expected a text"
        )
    return text


def _refuse_bare_text(_: Any) -> None:
    raise wrong("a text alone is no body")


def _inference_objects(value: Any, put: Callable[[Any], None]) -> Iterator[Slot]:
    """Yield the objects to embed that models, lists and dicts contain, each with a function that
    replaces the object by its vector. Payloads and filters are not searched, since they contain no
    objects to embed."""
    if isinstance(value, INFERRED):
        yield value, put
    elif isinstance(value, BaseModel):
        fields = vars(value)
        for name, member in fields.items():
            if isinstance(member, BaseModel | list | dict) and name not in _WITHOUT:
                yield from _inference_objects(member, _putting(fields, name))
    elif isinstance(value, list):
        for i, element in enumerate(value):
            if type(element) is float:  # and so are all others of a vector
                break
            if isinstance(element, BaseModel | list | dict):
                yield from _inference_objects(element, _putting(value, i))
    elif isinstance(value, dict):
        for name, element in value.items():
            if isinstance(element, BaseModel | list | dict):
                yield from _inference_objects(element, _putting(value, name))


_WITHOUT = {"filter", "payload", "payloads", "update_filter"}


def _putting(holder: Any, at: Any) -> Callable[[Any], None]:
    def put(vector: Any) -> None:
        holder[at] = vector

    return put
