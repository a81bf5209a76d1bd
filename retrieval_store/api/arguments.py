"""Turns users' arguments into checked values of one type. Every error names the argument and what
would be right.

A bare str, dict or vector means a list with one item.
"""

import math
import re
from collections.abc import Collection as Container
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache, partial
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from retrieval_store.base.arrays import Matrix, SparseVector, distinct
from retrieval_store.base.validation import (
    Payload,
    check_metadata,
    find_repeated,
    list_ids,
    quote,
)
from retrieval_store.errors import (
    DimensionMismatchError,
    DuplicateIDError,
    InvalidArgumentError,
    InvalidMetadataError,
    InvalidTypeError,
)
from retrieval_store.filters.nodes import Expression, HasId, all_of
from retrieval_store.filters.paths import DOCUMENT, URI
from retrieval_store.filters.where import DOCUMENT_KEY, parse_where, parse_where_document
from retrieval_store.query.types import ShownIds

Embed: TypeAlias = Literal["documents", "images", "uris"]
DEFAULT_TENANT, DEFAULT_DATABASE = "default_tenant", "default_database"  # as Chroma has it
FIELDS = ("embeddings", "metadatas", "documents", "images", "uris", "sparse_embeddings")
RESERVED_KEYS = (DOCUMENT, URI, DOCUMENT_KEY)
MAX_INDICES = 2**32  # that a sparse vector can have
MAX_SPARSE_VALUE = 1e15  # a value, so that products and their sums stay in float32
_NAME = r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,510}[a-zA-Z0-9]"


class Default(Enum):
    """The type of the default value of `embedding_function`. The default value shows that the
    caller passed no function."""

    DEFAULT = "default"


DEFAULT = Default.DEFAULT


@dataclass(frozen=True, slots=True)
class Records:
    """Records to write. All fields have the same length; a field that was not passed is None.
    embed: the name of the field from which vectors are computed. If it is set, the other fields are
    stored, too. If it is None, each record has at most one of document, image and uri; it replaces
    the stored document, image and uri of the record."""

    ids: list[str]
    embeddings: Matrix | None
    metadatas: list[Payload | None] | None
    documents: list[str | None] | None
    images: list[Any] | None
    uris: list[str | None] | None
    sparse_embeddings: list[SparseVector | None] | None = None
    embed: Embed | None = None

    def without(self, places: Container[int]) -> "Records":
        """The records except those at these positions."""
        rest = [i for i in range(len(self.ids)) if i not in places]
        chosen: dict[str, Any] = {
            name: None if values is None else [values[i] for i in rest]
            for name in ("ids", *FIELDS)
            for values in [getattr(self, name)]
        }
        if self.embeddings is not None:
            chosen["embeddings"] = self.embeddings[rest]
        return Records(**chosen, embed=self.embed)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WriteRequest:
    """The arguments of `Collection.add`, unchecked, in the form in which the caller passed them.
    `records_of` checks them and returns `Records`."""

    ids: str | Sequence[str] | None
    embeddings: Any = None
    metadatas: Any = None
    documents: str | Sequence[str | None] | None = None
    images: Any = None
    uris: str | Sequence[str | None] | None = None
    sparse_embeddings: Any = None
    embed: Embed | None = None

    def given(self) -> list[str]:
        """The names of the fields that were passed, besides ids."""
        return [name for name in (*FIELDS, "embed") if getattr(self, name) is not None]


def records_of(request: WriteRequest) -> Records:
    """The records of a request. Each field is checked, and all must have the same length."""
    point_ids = ids_of(request.ids)
    if not point_ids:
        raise InvalidArgumentError("ids is empty, expected at least one id")
    matrix, images, sparse = request.embeddings, request.images, request.sparse_embeddings
    records = Records(
        ids=point_ids,
        embeddings=None if matrix is None else matrix_of(matrix, "embeddings"),
        metadatas=None if request.metadatas is None else metadatas_of(request.metadatas),
        documents=None if request.documents is None else texts_of(request.documents, "documents"),
        images=None if images is None else images_of(images, "images"),
        uris=None if request.uris is None else texts_of(request.uris, "uris"),
        sparse_embeddings=None if sparse is None else sparse_of(sparse, "sparse_embeddings"),
        embed=None if request.embed is None else embed_of(request.embed),
    )
    _refuse_conflict_with_embed(records)
    for name in FIELDS:
        values = getattr(records, name)
        if values is not None and len(values) != len(records.ids):
            raise InvalidArgumentError(
                f"{name} has {len(values)} items, but ids has {len(records.ids)}: "
                f"{list_ids(records.ids)}"
            )
    return records


def check_records(
    ids: Any,
    embeddings: Any = None,
    metadatas: Any = None,
    documents: Any = None,
    images: Any = None,
    uris: Any = None,
    sparse_embeddings: Any = None,
    *,
    embed: Embed | None = None,
) -> dict[str, Any]:
    """Check records before their collection exists. Records are refused if `Collection.add` would
    refuse them in any collection. Returns the fields that were passed, in the form in which they
    would be stored.

    Args:
        ids: as of `Collection.add`.
        embeddings: as of `Collection.add`.
        metadatas: as of `Collection.add`.
        documents: as of `Collection.add`.
        images: as of `Collection.add`.
        uris: as of `Collection.add`.
        sparse_embeddings: as of `Collection.add`.
        embed: as of `Collection.add`.

    Raises:
        InvalidArgumentError: the first invalid value.
    """
    request = WriteRequest(
        ids=ids, embeddings=embeddings, metadatas=metadatas, documents=documents, images=images,
        uris=uris, sparse_embeddings=sparse_embeddings, embed=embed,
    )  # fmt: skip
    records = records_of(request)
    values = {name: getattr(records, name) for name in ("ids", *FIELDS)}
    return {name: value for name, value in values.items() if value is not None}


def embed_of(embed: Any, allowed: tuple[str, ...] = get_args(Embed)) -> Embed:
    """The field to embed; raises InvalidArgumentError if it is not one of `allowed`."""
    if embed not in allowed:
        expected = " or ".join(map(repr, allowed))
        raise InvalidArgumentError(f"embed is {quote(embed)}, expected {expected}")
    return embed  # type: ignore[no-any-return]


def _refuse_conflict_with_embed(records: Records) -> None:
    if records.embed is not None and records.embeddings is not None:
        raise InvalidArgumentError(
            f"embeddings and embed={records.embed!r} are both given: either vectors are, or what "
            "they are made of"
        )
    if records.embed not in (None, "images") and records.images is not None:
        raise InvalidArgumentError(
            f"images are given, which aren't stored, but embed is {records.embed!r}: leave them "
            "out, or embed them with embed='images'"
        )


def ids_of(ids: Any, name: str = "ids", is_ordered: bool = True) -> list[str]:
    """The ids as a list; they must be distinct. is_ordered: whether the order of the ids matters,
    because other lists have one item for each id."""
    expected = "a str or a list of str"
    items = [ids] if isinstance(ids, str) else _listlike(ids, name, expected, is_ordered)
    for i, item in enumerate(items):
        if not isinstance(item, str):
            raise InvalidTypeError(f"{name}[{i}] is {quote(item)}, expected a str")
        if type(item) is not str:  # a member of an enum of strings, say, or a string of numpy
            items[i] = str.__str__(item)
        if not item:
            raise InvalidArgumentError(f"{name}[{i}] is empty, expected at least one character")
        if not item.isascii():
            _refuse_surrogates(item, name, i)
    if len(set(items)) < len(items):
        raise DuplicateIDError(f"{name} given more than once: {list_ids(find_repeated(items))}")
    return items


def check_ids(ids: Any, name: str = "ids") -> ShownIds | None:
    """The ids that a caller passed, after a check; None if the caller passed none."""
    return None if ids is None else ShownIds(ids_of(ids, name, is_ordered=False))


def matrix_of(vectors: Any, name: str) -> Matrix:
    """A user's vectors as (n, dim) float32, C-contiguous and finite. Anything else raises
    InvalidTypeError or InvalidArgumentError; the message names the position of the invalid value.

    Args:
        vectors: one vector or several, as lists of numbers or as an array.
        name: the argument's name, for messages.
    """
    array = vectors if type(vectors) is np.ndarray else _array_of(vectors, name)
    if array.dtype == object:
        array = _stack_vectors(vectors, name)
    if array.ndim == 1 and len(array):
        array = array[np.newaxis]
    if array.dtype.kind in "US" and name == "embeddings":
        raise InvalidTypeError(
            "embeddings holds texts, expected numbers; texts are passed as documents"
        )
    if array.dtype.kind not in "fiu" and array.size:
        raise InvalidTypeError(f"{name} holds values of type {array.dtype}, expected numbers")
    if array.ndim != 2 or 0 in array.shape:
        raise InvalidArgumentError(
            f"{name} has shape {array.shape}, expected (number of vectors, dimension), both above 0"
        )
    # A copy: what is checked here must be what is written, whatever the caller does meanwhile.
    if array.dtype == np.float32:
        matrix = np.array(array, order="C")
    else:
        with np.errstate(over="ignore"):
            matrix = np.array(array, dtype=np.float32, order="C")
    # A sum of squares is finite only where all numbers are; it isn't always where they are.
    if not math.isfinite(np.vdot(matrix, matrix)) and not np.isfinite(matrix).all():
        i, j = np.argwhere(~np.isfinite(matrix))[0].tolist()
        raise InvalidArgumentError(
            f"{name}[{i}][{j}] is {array[i, j]}, expected a finite number in float32's range"
        )
    return matrix


def sparse_of(vectors: Any, name: str) -> list[SparseVector | None]:
    """A user's sparse vectors as a list; None stays None. Anything else raises InvalidTypeError or
    InvalidArgumentError; the message names the position of the invalid value.

    Args:
        vectors: dicts with "indices" and "values", or objects with these attributes.
        name: the argument's name, for messages.
    """
    single = isinstance(vectors, Mapping) or hasattr(vectors, "indices")
    items = [vectors] if single else _listlike(vectors, name, "a list of sparse vectors")
    return [
        None if vector is None else _sparse_vector(vector, f"{name}[{i}]")
        for i, vector in enumerate(items)
    ]


def _sparse_vector(value: Any, place: str) -> SparseVector:
    read = value.get if isinstance(value, Mapping) else partial(getattr, value)
    try:
        places, numbers = np.asarray(read("indices", None)), np.asarray(read("values", None))
    except (ValueError, TypeError, OverflowError):
        places = numbers = np.empty((0, 0), np.float32)
    alike = places.ndim == 1 and places.shape == numbers.shape
    if not alike or not _are_indices(places) or (len(numbers) and numbers.dtype.kind not in "fiu"):
        raise InvalidArgumentError(
            f"{place} is {quote(value)}, expected as many indices, each once and from 0 to "
            f"{MAX_INDICES - 1}, as values, as in {{'indices': [3, 17], 'values': [0.5, 1.2]}}"
        )
    if len(numbers) and not (np.abs(numbers) <= MAX_SPARSE_VALUE).all():  # NaN isn't, either
        raise InvalidArgumentError(
            f"{place} has values that aren't finite, or beyond {MAX_SPARSE_VALUE:g}"
        )
    order = np.argsort(places)
    order = order[numbers[order] != 0]  # what is 0 isn't there
    return SparseVector(places[order].astype(np.uint32), numbers[order].astype(np.float32))


def _are_indices(places: Any) -> bool:
    if not len(places):
        return True
    whole = places.dtype.kind in "iu" and places.min() >= 0 and places.max() < MAX_INDICES
    return bool(whole) and len(distinct(places)) == len(places)


def _array_of(vectors: Any, name: str) -> Any:
    # By its mask, since numpy.ma is imported when it is first asked for, and an interrupt there can
    # leave the import locked.
    masked = isinstance(vectors, np.ndarray) and bool(np.any(getattr(vectors, "mask", False)))
    if masked or isinstance(vectors, str | bytes | bytearray):
        raise InvalidTypeError(f"{name} is {quote(vectors)}, expected vectors of numbers")
    with suppress(ValueError, TypeError, RuntimeError):
        return np.asarray(vectors)
    # Rows of different lengths, say, or a tensor that can't become an array.
    return _stack_vectors(vectors, name)


def _stack_vectors(vectors: Any, name: str) -> Any:
    rows: list[Any] = []
    for i, row in enumerate(_listlike(vectors, name, "a list of vectors")):
        try:
            array = np.asarray(row)
        except (ValueError, TypeError, RuntimeError):
            array = np.empty(0, object)
        if array.ndim != 1 or array.dtype.kind not in "fiu":
            raise InvalidTypeError(f"{name}[{i}] is {quote(row)}, expected a vector of numbers")
        if rows and len(array) != len(rows[0]):
            raise DimensionMismatchError(
                f"{name}[{i}] has {len(array)} numbers, but {name}[0] has {len(rows[0])}: another "
                "dimension"
            )
        rows.append(array)
    return np.array(rows)


def metadatas_of(metadatas: Any) -> list[Payload | None]:
    """The metadata as a list. Each item is None, or a dict that can be stored as JSON."""
    if isinstance(metadatas, Mapping):
        metadatas = [metadatas]
    items = _listlike(metadatas, "metadatas", "a dict or a list of dicts")
    checked = [
        None if item is None else check_metadata(item, "metadatas", i)
        for i, item in enumerate(items)
    ]
    present = [item for item in checked if item is not None]
    for key in set().union(*present):
        if not key or key[0] == "$" or key in RESERVED_KEYS:
            i = next(i for i, item in enumerate(checked) if item is not None and key in item)
            raise InvalidMetadataError(
                f"metadatas[{i}] has the key {key!r}; keys may not be empty, start with '$', or be "
                "'_document', '_uri' or '#document'"
            )
    return checked


def texts_of(texts: Any, name: str) -> list[str | None]:
    """The texts as a list of strings and None. Subclasses of str are converted to str, since some
    tokenizers refuse subclasses."""
    items = [texts] if isinstance(texts, str) else _listlike(texts, name, "a str or a list of str")
    for i, item in enumerate(items):
        if item is not None and not (type(item) is str and item.isascii()):
            if not isinstance(item, str):
                raise InvalidTypeError(f"{name}[{i}] is {quote(item)}, expected a str")
            _refuse_surrogates(item, name, i)
            items[i] = str.__str__(item)
    return items


def complete_texts_of(texts: Any, name: str) -> list[str | None]:
    """The texts as a list of strings; raises an error if one is None."""
    items = texts_of(texts, name)
    for i, item in enumerate(items):
        if item is None:
            raise InvalidTypeError(f"{name}[{i}] is None, expected a str")
    return items


def images_of(images: Any, name: str) -> list[Any]:
    """The images as a list of arrays and None."""
    if isinstance(images, np.ndarray) and images.ndim <= 3:
        images = [images]
    items = _listlike(images, name, "an array or a list of arrays")
    arrays: list[Any] = []
    for i, image in enumerate(items):
        try:
            array = None if image is None else np.asarray(image)
        except (ValueError, TypeError, RuntimeError):  # as of rows of different lengths
            array = np.empty(0, object)
        if array is not None and array.dtype.kind not in "buif":
            raise InvalidTypeError(
                f"{name}[{i}] is {quote(image)}, expected an array of pixels; pass "
                "image locations as uris"
            )
        arrays.append(array)
    return arrays


def filter_of(
    where: Any, where_document: Any = None, ids: ShownIds | None = None
) -> Expression | None:
    """A user's filters and ids as one expression; None if there are none. Raises InvalidFilterError
    for a malformed filter.

    Args:
        where: a filter of metadata, as a dict or as an expression.
        where_document: a filter of documents.
        ids: only points with these ids match.
    """
    if where_document is None and ids is None:
        return None if where is None else _expression_of(where)
    return all_of(
        None if ids is None else HasId(tuple(ids), are_shown=True),
        None if where is None else _expression_of(where),
        None if where_document is None else parse_where_document(where_document),
    )


def _expression_of(where: Any) -> Expression:
    if not isinstance(where, Expression):
        return parse_where(where)
    from retrieval_store.filters.leaves import check_expression

    return check_expression(where)


def include_of(include: Any, allowed: Container[str]) -> frozenset[str]:
    """The names in `include`; raises an error if one is not allowed."""
    names = include
    if isinstance(include, str):
        names = [include]
    elif type(include) is not tuple:
        names = _listlike(include, "include", "a list of str", is_ordered=False)
    for i, name in enumerate(names):
        if not isinstance(name, str) or name not in allowed:
            raise InvalidArgumentError(
                f"include[{i}] is {name!r}, expected one of {', '.join(sorted(allowed))}"
            )
    return _set_of(tuple(names))


@lru_cache(maxsize=128)
def _set_of(names: tuple[str, ...]) -> frozenset[str]:
    """The names as a set. Equal sets are the same object, so that the hash of a set is computed
    once. Names of a subclass of str are converted to str."""
    return frozenset(map(str.__str__, names))


def collection_name(name: Any) -> str:
    """The name, if it is a valid name of a collection; otherwise raises InvalidArgumentError."""
    if not isinstance(name, str) or not re.fullmatch(_NAME, name):
        raise InvalidArgumentError(
            f"name is {quote(name)}; names of collections have 3 to 512 characters of "
            "[a-zA-Z0-9._-], the first and the last of [a-zA-Z0-9]"
        )
    return name


def read_once(value: Any) -> Any:
    """The items as a list, if the value is an iterator; any other value unchanged."""
    return list(value) if isinstance(value, Iterator) else value


def _listlike(value: Any, name: str, expected: str, is_ordered: bool = True) -> list[Any]:
    """The items as a new list, so that the caller's list isn't changed. is_ordered: if True, a set
    is refused, since it has no order."""
    if type(value) is list or type(value) is tuple:
        return [*value]
    atom = isinstance(value, str | bytes | bytearray | Mapping) or getattr(value, "ndim", 1) == 0
    atom = atom or (is_ordered and isinstance(value, set | frozenset))
    if isinstance(value, Iterable) and not atom:
        return list(value)
    raise InvalidTypeError(f"{name} is {quote(value)}, expected {expected}")


def _refuse_surrogates(text: str, name: str, i: int) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError(
            f"{name}[{i}] is {quote(text)}: a lone surrogate is not valid Unicode"
        ) from None


def metadata_key(key: Any, name: str) -> str:
    """The key, if it is a valid metadata key; otherwise raises InvalidTypeError."""
    if not isinstance(key, str) or not key:
        raise InvalidTypeError(f"{name} is {quote(key)}, expected a metadata key")
    return key


def metadata_keys(keys: Any, name: str) -> list[str]:
    """The metadata keys without duplicates; raises InvalidTypeError if one is invalid."""
    expected = "a str or a list of str"
    items = [keys] if isinstance(keys, str) else _listlike(keys, name, expected, is_ordered=False)
    for i, key in enumerate(items):
        metadata_key(key, f"{name}[{i}]")
        _refuse_surrogates(key, name, i)
    return [*dict.fromkeys(map(str.__str__, items))]
