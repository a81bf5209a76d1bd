"""How frameworks use a collection: how they open it, and which data they pass to it and store in
it.

`open_collection` opens a collection in a directory, on a cluster, of a client, or in memory. This
module checks the arguments that frameworks pass on from their users; `query_options` translates
those that `Collection.query` takes in another form. The module also wraps embedding functions for
frameworks (`WrappedFunction`), calls models of sparse vectors, and checks the texts that an adapter
embeds itself.

A translator of a framework's filters makes an expression for each operator. An `Operand` checks the
values of comparisons. The translator decides which values an operator takes, and how an error
message begins; an `Operand` adds the values that would be right. `parse_filters` parses filters in
other forms than the framework's. `diversify` selects results by maximal marginal relevance.

One collection serves several frameworks. A framework's text is stored as the document, and its
metadata as the metadata: every front and framework reads and filters these. Other data that a
framework needs to make its own objects again is under metadata keys that are named here, so that
other frameworks leave them out.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from retrieval_store.api.arguments import DEFAULT
from retrieval_store.api.client import ATTEMPTS, Client, existing_collection
from retrieval_store.api.collection import Collection, replace_function
from retrieval_store.api.configuration import (
    PARTS,
    agreeing,
    all_settings,
    given_settings,
    merge_given,
    split_function,
)
from retrieval_store.api.embedding_functions import (
    check_ready,
    function_of,
    is_identifiable,
    space_for,
)
from retrieval_store.api.query_arguments import Groups, Hybrid, Rerank
from retrieval_store.base.fusion import maximal_marginal_relevance
from retrieval_store.base.tracing import log_of
from retrieval_store.base.validation import quote
from retrieval_store.embeddings._common import blank_of_zeros
from retrieval_store.embeddings.bm25 import BM25Embedding
from retrieval_store.errors import (
    AlreadyExistsError,
    ConflictError,
    EmbeddingFunctionError,
    InvalidArgumentError,
    InvalidFilterError,
    InvalidTypeError,
    NotFoundError,
)
from retrieval_store.filters.expression import (
    MAX_DEPTH,
    And,
    AtLeast,
    Exists,
    Expression,
    HasId,
    ListHas,
    Not,
    OneOf,
    Or,
    PayloadPath,
    Scalar,
    ValueLeaf,
    all_of,
    split_dotted,
)
from retrieval_store.filters.leaves import Parsed, check_expression
from retrieval_store.filters.values import Equals
from retrieval_store.filters.where import parse_where

_log = log_of()

# The options that are parts of an argument of `Collection.query`: by name that argument, and what
# holds its parts.
_PARTS: Mapping[str, tuple[str, type]] = {
    **dict.fromkeys(("fusion", "alpha", "depth"), ("mode", Hybrid)),
    "group_size": ("group_by", Groups),
    **dict.fromkeys(("rerank_from", "rerank_query"), ("rerank", Rerank)),
}


@dataclass(slots=True)
class OpenedCollection:
    """The result of `open_collection`.

    collection: the collection. client: the client that was opened for it; None if the caller passed
    a client or a collection. owner: the client to which the collection belongs; None if the caller
    passed a collection. settings_left: the settings of the collection if this object has deleted
    it; `again` creates the collection with them.
    """

    collection: Collection
    client: Client | None
    owner: Client | None = None
    settings_left: dict[str, Any] = field(default_factory=dict)

    def close(self) -> None:
        """Close the client if it was opened for the collection. A client that the caller passed
        stays open."""
        if self.client is not None:
            self.client.close()

    def delete_collection(self) -> "OpenedCollection":
        """Delete the collection with its contents, and keep its settings for `again`. Returns the
        object that replaces this object.

        Raises:
            NotFoundError: the collection doesn't exist any more.
            InvalidArgumentError: the caller passed a collection, which only its own client can
                delete.
        """
        stored = self.collection.configuration
        left = {
            "distance": None,
            "configuration": {name: stored[name] for name in PARTS if stored.get(name) is not None},
            "metadata": agreeing(self.collection.metadata, stored),
        }
        self._owned_client().delete_collection(self.collection.name)
        return replace(self, settings_left=left)

    def again(self, make: Callable[..., "OpenedCollection"]) -> "OpenedCollection":
        """The opened collection. If this object has deleted the collection, it is created again
        with its settings. Returns the object that replaces this object.

        Args:
            make: `open_collection` with its original arguments, except for the location: it is
                called with `client`, `create`, and the settings.

        Raises:
            InvalidArgumentError: the object was opened with `collection`.
        """
        opened = make(client=self._owned_client(), create=True, **self.settings_left)
        return replace(self, collection=opened.collection, settings_left={})

    def _owned_client(self) -> Client:
        if self.owner is None:
            raise InvalidArgumentError(
                "the store was made with collection=, so it can't delete or reset the collection: "
                "make it with client=, or call delete_collection of the client"
            )
        return self.owner


def open_collection(
    name: str,
    *,
    path: str | os.PathLike[str] | None = None,
    url: str | Sequence[str] | None = None,
    client: Client | None = None,
    collection: Collection | None = None,
    distance: str | None = None,
    configuration: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    embedding_function: Any = None,
    check_model: bool = True,
    create: bool = True,
    sparse_model: Any = None,
) -> OpenedCollection:
    """Open a collection, or create it if it doesn't exist. One of `path`, `url`, `client` and
    `collection` says where the collection is; if all of these are None, it is in memory.

    A `collection` is used unchanged. If it is passed, `name`, `metadata`, `embedding_function`,
    `check_model` and `create` are ignored.

    Args:
        name: the name of the collection.
        path: the directory of a store.
        url: the URL of a served store or a Qdrant cluster; a list names several nodes of a cluster.
        client: an open client.
        collection: an open collection.
        distance: the distance of a new collection: "cosine" (the default), "l2" or "ip". If it is
            passed, an existing collection must have it.
        configuration: the configuration of a new collection, as in `Client.create_collection`; an
            existing collection must agree with it.
        metadata: the metadata of a new collection. The metadata of an existing collection aren't
            compared with them.
        embedding_function: computes the vectors. A new collection stores the name of the function's
            model; an existing collection must have stored the same name.
        check_model: False to skip that comparison.
        create: whether a missing collection is created.
        sparse_model: makes sparse vectors, for which the collection must have a space.

    Raises:
        ConflictError: an existing collection has other settings, or another model.
        InvalidArgumentError: more than one location.
        InvalidTypeError: a client or a collection of another library.
        NotFoundError: the collection doesn't exist, and `create` is False.
    """
    places = {"path": path, "url": url, "client": client, "collection": collection}
    given_names = [key for key, value in places.items() if value is not None]
    if len(given_names) > 1:
        raise InvalidArgumentError(
            f"expected at most one of {', '.join(places)}, got {' and '.join(given_names)}"
        )
    if client is not None and not isinstance(client, Client):
        raise InvalidTypeError(
            f"client is {quote(client)}, expected a retrieval_store.Client; a "
            "QdrantClient goes into one: Client(qdrant_client=…)"
        )
    if collection is not None:
        _check_is_collection(collection)
        _refuse_other_settings(collection, distance, configuration)
        _require_sparse(collection, sparse_model)
        return OpenedCollection(collection, None)
    opened = _client(path, url, create) if client is None else None
    spec = _CollectionSpec(distance, configuration, metadata, create, sparse_model)
    using = {"embedding_function": embedding_function, "check_model": check_model}
    try:
        target = _get_or_create(client or opened, name, spec, using)
    except BaseException:
        if opened is not None:
            opened.close()
        raise
    return OpenedCollection(target, opened, client or opened)


@dataclass(frozen=True, slots=True)
class _CollectionSpec:
    """The requested settings of a collection, and whether it can be created."""

    distance: str | None
    configuration: Mapping[str, Any] | None
    metadata: Mapping[str, Any] | None
    create: bool
    sparse_model: Any


def _check_is_collection(collection: Any) -> None:
    """Raise InvalidTypeError unless this is a collection of this package."""
    if not isinstance(collection, Collection):
        raise InvalidTypeError(
            f"collection is {quote(collection)}, expected a Collection of a retrieval_store.Client"
        )


def _refuse_other_settings(
    collection: Collection, distance: str | None, configuration: Mapping[str, Any] | None
) -> None:
    """Raise ConflictError if the collection's settings differ from the requested settings."""
    stored = all_settings(collection._record())
    required, _ = split_function(_with_distance(configuration, distance, {}), DEFAULT)
    for name, value in merge_given(stored, given_settings(required, None)).items():
        if value != stored[name]:
            raise ConflictError(
                f"the collection was made with {name}={stored[name]!r}, but {value!r} is given"
            )


def _with_distance(
    configuration: Any, distance: str | None, metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """The configuration, with the distance added. Raises ConflictError if the configuration has
    another distance."""
    if configuration is not None and not isinstance(configuration, Mapping):
        raise InvalidTypeError(f"configuration is {quote(configuration)}, expected a dict")
    hnsw = dict((configuration or {}).get("hnsw") or {})
    for space in (hnsw.get("space"), metadata.get("hnsw:space")):
        if distance is not None and space not in (None, distance):
            raise ConflictError(f"distance is {distance!r}, but the configuration says {space!r}")
    if distance is not None:
        hnsw["space"] = distance
    return {**(configuration or {}), **({"hnsw": hnsw} if hnsw else {})}


def _client(path: Any, url: str | Sequence[str] | None, create: bool) -> Client:
    return Client(path, url=url) if create or path is None else Client(path, create=False)


def _require_sparse(collection: Collection, sparse_model: Any) -> None:
    if sparse_model is not None and collection.configuration.get("sparse") is None:
        raise ConflictError(
            f"collection {collection.name!r} was made without room for sparse vectors: leave the "
            "sparse model out, or make another with configuration={'sparse': {}}"
        )


def _get_or_create(
    client: Any, name: str, spec: _CollectionSpec, using: dict[str, Any]
) -> Collection:
    metadata = spec.metadata or {}
    configuration = _with_distance(spec.configuration, spec.distance, metadata)
    usual = {"space": space_for(using["embedding_function"], None) or "cosine"}
    if "hnsw:space" in metadata:  # where users of Chroma say it
        usual = {}
    new = {**configuration, "hnsw": {**usual, **(configuration.get("hnsw") or {})}}
    if spec.sparse_model is not None:
        is_bm25 = isinstance(spec.sparse_model, BM25Embedding)  # whose vectors need idf
        new["sparse"] = new.get("sparse") or {"idf": is_bm25}
    refused = 0
    while True:  # another process may create or delete it between any two of these calls
        try:
            return _existing(client, name, configuration, spec.sparse_model, using)
        except NotFoundError:
            if not spec.create:
                raise
        try:
            created: Collection = client.create_collection(name, new, spec.metadata, **using)
        except AlreadyExistsError:
            refused += 1
            if refused == ATTEMPTS:  # on a cluster it may be the name of something else
                raise
        else:
            return created


def _existing(
    client: Client,
    name: str,
    configuration: Mapping[str, Any],
    sparse_model: Any,
    using: dict[str, Any],
) -> Collection:
    """The existing collection, if it has the requested settings. Raises NotFoundError if the
    collection does not exist, or is deleted during the checks. If the passed function isn't the
    collection's function, the collection embeds texts with its stored function."""
    unchecked = client.get_collection(name, **{**using, "check_model": False})
    _require_sparse(unchecked, sparse_model)
    function = using["embedding_function"]
    if function is not None and using["check_model"] and not unchecked.count():
        replace_function(unchecked)  # there are no vectors that the given one must fit
    elif function is None or _is_unverifiable(unchecked, function):
        using = {**using, "embedding_function": DEFAULT}
    return existing_collection(client, unchecked.name, configuration, **using)


def _is_unverifiable(existing: Collection, function: Any) -> bool:
    """Whether the collection has stored a function, but the passed function has neither a name nor
    a model by which it could be compared. In that case a warning is logged, and no error is raised:
    the collection's vectors may have another origin than the stored function."""
    remembered = existing.configuration["embedding_function"] or {}
    if function is None or "name" not in remembered or is_identifiable(function):
        return False
    _log.warning(
        "collection %r remembers the embedding function %r; this embedding doesn't "
        "report its model, so whether its vectors match is unknown",
        existing.name,
        remembered["name"],
    )
    return True


def items_of(value: Any, name: str, kind: type[Any], allow_none: bool = False) -> list[Any]:
    """The items of an iterable as a list; all must be of one type.

    Args:
        value: a user's argument: any iterable but a string, bytes or a dict.
        name: the argument's name, for the message.
        kind: the type of the items.
        allow_none: whether items may also be None.

    Raises:
        InvalidTypeError: the value isn't such an iterable, or an item has another type; the message
            names the item.
    """
    if isinstance(value, str):
        raise InvalidTypeError(f"{name} is the str {value!r}, expected a list of them")
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        raise InvalidTypeError(f"{name} is {quote(value)}, expected a list of {kind.__name__}")
    items = list(value)
    for i, item in enumerate(items):
        if not (isinstance(item, kind) or (allow_none and item is None)):
            raise InvalidTypeError(f"{name}[{i}] is {quote(item)}, expected {kind.__name__}")
    return items


def refuse_unknown(names: Iterable[str], known: Iterable[str], caller: str) -> None:
    """Check that a method with `**kwargs` knows the passed arguments.

    Args:
        names: the names of the passed arguments, or a dict with these names as keys.
        known: the names of the arguments that the method takes.
        caller: the name of the method, for the message.

    Raises:
        InvalidTypeError: an unknown argument; the message lists the known arguments.
    """
    unknown = sorted(set(names) - set(known), key=str)
    if unknown:
        raise InvalidTypeError(
            f"there is no argument {unknown[0]!r}; {caller} takes {', '.join(known)}"
        )


def query_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Translate options, which frameworks pass on one by one, into arguments of `Collection.query`.

    Args:
        options: arguments of `Collection.query`, and the following options. "search_params": the
            search parameters of Qdrant, as its model or a dict; only "hnsw_ef" and "exact" have a
            meaning here. "fusion", "alpha" and "depth": the fields of a `Hybrid`, which becomes the
            mode. "group_size": the size of the groups of `group_by`. "rerank_from" and
            "rerank_query": the candidates and the query of `rerank`. An option that is None counts
            as omitted.

    Returns:
        The arguments of `Collection.query`.

    Raises:
        InvalidArgumentError: an option is passed without the argument to which it belongs;
            `search_params` contradict `ef` or `exact`; a value is invalid.
        InvalidTypeError: `search_params` have a wrong type, or no meaning here.
    """
    how = {name: value for name, value in options.items() if value is not None}
    translated = _search_params_of(how.pop("search_params", None))
    for name, value in translated.items():
        if how.get(name, value) != value:
            raise InvalidArgumentError(
                f"{name} is {quote(how[name])}, but search_params say {quote(value)}"
            )
    return _join_parts({**translated, **how})


def _join_parts(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, after those that are parts of `mode`, `group_by` or `rerank` are moved into
    these arguments."""
    arguments = {name: value for name, value in options.items() if name not in _PARTS}
    parts = {name: value for name in _PARTS if (value := options.get(name)) is not None}
    if not parts:
        return arguments
    for name in parts:
        _refuse_misplaced_part(name, arguments)
    hybrid = Hybrid(parts.get("fusion"), parts.get("alpha"), parts.get("depth"))
    if arguments.get("mode") == "hybrid":
        arguments["mode"] = hybrid
    if "group_size" in parts:
        arguments["group_by"] = Groups(arguments["group_by"], parts["group_size"])
    if {"rerank_from", "rerank_query"} & parts.keys():
        candidates, query = parts.get("rerank_from"), parts.get("rerank_query")
        arguments["rerank"] = Rerank(arguments["rerank"], candidates, query)
    return arguments


def _refuse_misplaced_part(name: str, arguments: Mapping[str, Any]) -> None:
    """Raise InvalidArgumentError for an option if the argument to which it belongs is missing. Also
    raise it if that argument is an object with a field for the option."""
    argument, kind = _PARTS[name]
    value = arguments.get(argument)
    is_lacking = value != "hybrid" if argument == "mode" else value is None
    if is_lacking or isinstance(value, kind):
        names = ", ".join(field.name for field in fields(kind))
        raise InvalidArgumentError(
            f"{name} goes into {argument}: {argument}={kind.__name__}({names})"
        )


def _search_params_of(search_params: Any) -> dict[str, Any]:
    """`ef` and `exact` from Qdrant's search_params, which are its model or a dict. Raises
    InvalidArgumentError for parameters that have no meaning here."""
    dump = None if isinstance(search_params, type) else getattr(search_params, "model_dump", None)
    params = search_params if dump is None else dump()
    if params is None:
        return {}
    if not isinstance(params, Mapping):
        raise InvalidTypeError(
            f"search_params is {quote(search_params)}, expected a dict such as {{'hnsw_ef': 100}}, "
            "or SearchParams of qdrant_client.models"
        )
    names = {"hnsw_ef": "ef", "exact": "exact"}
    # What isn't given is False there, or None.
    used = {key: value for key, value in params.items() if value is not None and value is not False}
    refuse_unknown(used, names, "search_params")
    return {names[key]: value for key, value in used.items()}


# Keys of metadata that adapters write for themselves, and others leave out: of LlamaIndex, the rest
# of a node, and its document's id.
RESERVED = frozenset({"_node", "_ref_doc_id"})


def without_reserved(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """The user's own metadata of a record, without `RESERVED` keys, as a new dict."""
    return {key: value for key, value in (metadata or {}).items() if key not in RESERVED}


def refuse_reserved(metadata: Mapping[str, Any], of_what: str) -> None:
    """Check that a user's metadata have none of the `RESERVED` keys.

    Args:
        metadata: the metadata.
        of_what: the owner of the metadata, for the message, such as "a document".

    Raises:
        InvalidArgumentError: the metadata have a reserved key.
    """
    reserved = RESERVED & set(metadata)
    if reserved:
        raise InvalidArgumentError(
            f"{of_what} has the metadata key {min(reserved)!r}, which is reserved"
        )


class WrappedFunction:
    """An embedding function in the form that frameworks call: it returns lists of floats, for one
    text or for several."""

    def __init__(self, function: Any, argument: str = "function") -> None:
        """Wrap a function. A registered name is first turned into its function.

        Args:
            function: a function that takes a list and returns a vector for each item, or the name
                of a registered function.
            argument: the name of the argument, for messages.

        Raises:
            InvalidArgumentError: a name that isn't registered, or whose class needs settings.
            RetrievalStoreError: the function's own `check` raised it, because something is missing.
        """
        is_name = isinstance(function, str)
        self.function = function_of(function, argument) if is_name else function
        check_ready(self.function)

    def embed(self, inputs: Sequence[Any]) -> list[list[float]]:
        """A vector for each input. The function gets a list, in which texts are plain strings.
        Errors of the function are raised unchanged."""
        return _lists_of(self.function, inputs)

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query, by the method `embed_query` of the function, if it has this
        method."""
        return _lists_of(getattr(self.function, "embed_query", self.function), [text])[0]


def _lists_of(function: Any, inputs: Sequence[Any]) -> list[list[float]]:
    plain = [str.__str__(item) if isinstance(item, str) else item for item in inputs]
    vectors: list[list[float]] = np.asarray(function(plain), np.float64).tolist()
    return vectors


def refuse_blank(ids: Sequence[str], texts: Sequence[str], vectors: Iterable[Any]) -> None:
    """Refuse texts that an adapter has embedded itself, before it writes them with their vectors.

    Args:
        ids: the ids of the records, one for each text.
        texts: the embedded texts.
        vectors: the vectors, one for each text.

    Raises:
        InvalidArgumentError: a blank text, whose vector is all zeros.
    """
    place = blank_of_zeros(texts, vectors)
    if place is not None:
        raise InvalidArgumentError(
            f"the text of id {ids[place]!r} is {quote(texts[place])}, with nothing in it to embed: "
            "leave it out"
        )


def check_sparse_model(model: Any, name: str) -> Any:
    """The model of sparse vectors, unchanged, or None if `model` is None.

    Args:
        model: a sparse embedding function of this package, an object with `embed_documents` and
            `embed_query` as in LangChain, or a function as in LlamaIndex.
        name: the name of the argument, for the message.

    Raises:
        InvalidTypeError: the model is none of these.
    """
    alike = hasattr(model, "embed_documents") or callable(model)
    if model is None or (alike and not isinstance(model, type)):
        return model
    raise InvalidTypeError(f"{name} is {quote(model)}, expected a model of sparse vectors")


def sparse_vectors(model: Any, texts: Sequence[str], *, queries: bool = False) -> list[Any]:
    """A sparse vector for each text, in the form of the arguments `sparse_embeddings` and
    `query_sparse` of a Collection.

    Args:
        model: as in `check_sparse_model`. A function as in LlamaIndex returns lists of indices and
            lists of values.
        texts: the texts to embed.
        queries: whether the texts are queries, which some models embed in another way.

    Raises:
        EmbeddingFunctionError: the model returned a wrong number of vectors, or not as many lists
            of values as lists of indices.
    """
    output = _call_sparse_model(model, list(texts), queries)
    if _is_columns(output):
        indices, values = map(list, output)
        if len(indices) != len(values):
            raise EmbeddingFunctionError(
                f"the sparse model gave {len(indices)} lists of indices and {len(values)} of "
                "values, expected as many of each"
            )
        output = [{"indices": i, "values": v} for i, v in zip(indices, values, strict=True)]
    vectors = list(output) if isinstance(output, Iterable) else []
    if len(vectors) != len(texts):
        raise EmbeddingFunctionError(
            f"the sparse model gave {len(vectors)} vectors for {len(texts)} texts"
        )
    return vectors


def _is_columns(output: Any) -> bool:
    """Whether a model's result is a pair of lists, of indices and of values, instead of vectors."""
    if not isinstance(output, tuple) or len(output) != 2:
        return False
    return not any(isinstance(part, Mapping) or hasattr(part, "indices") for part in output)


def _call_sparse_model(model: Any, texts: list[str], queries: bool) -> Any:
    if hasattr(model, "embed_documents"):
        if queries:
            return [model.embed_query(text) for text in texts]
        return model.embed_documents(texts)
    if queries and hasattr(model, "embed_query"):
        return model.embed_query(texts)
    return model(texts)


@dataclass(frozen=True, slots=True)
class Operand:
    """Checks the operand of a framework's comparison for use in an expression. Error messages
    contain the comparison, its value, and what would be right.

    path: the keys that lead to the field. value: the operand, unchecked. subject: the beginning of
    the message, in the framework's words, up to the value, for example "'year' is compared by 'gt'
    with".
    """

    path: PayloadPath
    value: Any
    subject: str

    def error(self, expected: str) -> InvalidFilterError:
        """The error that names the expected values."""
        return InvalidFilterError(f"{self.subject} {quote(self.value)}, expected {expected}")

    def scalar(self, expected: str) -> Scalar:
        """The operand as a single string, number or bool. For anything else raises
        InvalidFilterError, whose message names the expected values."""
        if not isinstance(self.value, str | int | float):
            raise self.error(expected)
        return self.value

    def several(self) -> list[Any]:
        """The items of an operand that is a list, unchecked; a single value becomes a list."""
        return list(self.value) if isinstance(self.value, list | tuple) else [self.value]

    def text(self) -> str:
        """The operand as a string; raises InvalidFilterError for anything else."""
        if not isinstance(self.value, str):
            raise self.error("a string")
        return self.value


def parse_filters(filters: Mapping[str, Any], under: str | None = None) -> Expression | None:
    """All filters, combined into one filter in the form of `where` of a Collection. None if no
    filter restricts anything. A caller can then refuse, for example, to delete everything.

    Args:
        filters: the filters by the names of their arguments. Each is a dict in the shape of
            Chroma's `where`, an expression of `retrieval_store.filters`, a `Filter` of
            qdrant-client's models, or None.
        under: the key under which the payload has the metadata that dicts and expressions name.
            A `Filter` has full paths instead.

    Raises:
        InvalidFilterError: an invalid filter.
        InvalidTypeError: a value isn't a filter.
    """
    whole = all_of(*(_parse(value, name, under) for name, value in filters.items()))
    return None if whole is None else Parsed(whole)


def _always(node: Expression) -> bool | None:
    """Whether an expression matches all points (True), no point (False), or depends on the point's
    content (None)."""
    match node:
        case And(terms):
            return _enough([_always(term) for term in terms], len(terms))
        case Or(terms):
            return _enough([_always(term) for term in terms], 1)
        case AtLeast(terms, count):
            return _enough([_always(term) for term in terms], count)
        case Not(term):
            always = _always(term)
            return None if always is None else not always
        case HasId(ids=few) | Equals(values=few) | OneOf(values=few) | ListHas(values=few):
            return None if few else False
    return None


def _enough(terms: list[bool | None], count: int) -> bool | None:
    """Whether at least `count` of the terms match: True for all points, False for no point, None if
    that depends on the point."""
    if terms.count(True) >= count:
        return True
    return False if len(terms) - terms.count(False) < count else None


def _parse(value: Any, name: str, under: str | None) -> Expression | None:
    """The checked expression of a filter; None if the filter restricts nothing. name: the name of
    the argument with the filter; under: see `parse_filters`."""
    expression = _expression_of(value, name)
    if expression is None or _always(expression) is True:
        return None
    return expression if under is None else _below(under, expression)


def _expression_of(value: Any, name: str) -> Expression | None:
    if value is None:
        return None
    if isinstance(value, Expression):
        return check_expression(value)
    if isinstance(value, Mapping):
        return parse_where(value) if value else None
    if type(value).__module__.startswith("qdrant_client."):
        return _parse_qdrant(value, name)
    raise InvalidTypeError(
        f"{name} is {quote(value)}, expected a dict such as {{'year': {{'$gte': 2020}}}}, an "
        "expression of retrieval_store.filters, or a Filter of qdrant_client.models"
    )


def _below(key: str, node: Expression) -> Expression:
    match node:
        case And(terms) | Or(terms):
            kind = And if isinstance(node, And) else Or
            return kind(tuple(_below(key, term) for term in terms))
        case AtLeast(terms, count):
            return AtLeast(tuple(_below(key, term) for term in terms), count)
        case Not(term):
            return Not(_below(key, term))
        case ValueLeaf(path=path):
            return _leaf_below(key, node, path)
    return node  # of a document, of ids, or of a path of Qdrant's, which is whole


def _leaf_below(key: str, leaf: Any, path: PayloadPath) -> Expression:
    """A condition on a field below the key `under`. A name with dots is read as a path, unless a
    payload has a key with exactly that name."""
    moved: Expression = replace(leaf, path=(key, *path))
    way = split_dotted(path)
    if way is None:
        return moved
    named, other = Exists((key, *path)), replace(leaf, path=(key, *way))
    return Or((And((named, moved)), And((Not(named), other))))


def _parse_qdrant(value: Any, name: str) -> Expression | None:
    """A filter of Qdrant's, parsed as a server parses conditions on keys that have no index."""
    from qdrant_client import models

    from retrieval_store.qdrant.filter_parser import parse_filter
    from retrieval_store.qdrant.refusals import Refused

    if not isinstance(value, models.Filter):
        raise InvalidTypeError(
            f"{name} is {quote(value)}, expected a Filter: wrap the condition in one"
        )
    try:
        return parse_filter(value, {})
    except Refused as error:
        raise InvalidFilterError(f"{name}: {error.message}") from error
    except (AttributeError, TypeError) as error:  # a model that was made without its checks
        raise InvalidFilterError(f"{name} is {quote(value)}, an incomplete Filter") from error


def refuse_depth(depth: int, nested: str) -> None:
    """Check how deep a term of a framework's filter lies, before anything below it is read.

    Args:
        depth: the nesting depth of the term; 1 for the outermost term.
        nested: the subject and verb of the message, for example "the filter is".

    Raises:
        InvalidFilterError: the depth is greater than `MAX_DEPTH` of
            `retrieval_store.filters.expression`.
    """
    if depth > MAX_DEPTH:
        raise InvalidFilterError(f"{nested} nested deeper than {MAX_DEPTH} levels")


def diversify(query: Any, vectors: Sequence[Any], k: int, lambda_mult: float) -> list[int]:
    """Select k vectors that are near the query and dissimilar to each other, by maximal marginal
    relevance.

    Args:
        query: (dim,) numbers.
        vectors: (n, dim) numbers, such as the "embeddings" of a query's hits.
        k: how many to select; at most n.
        lambda_mult: from 0 (only variety counts) to 1 (only nearness counts).

    Returns:
        The positions of the selected vectors, in the order of selection.
    """
    if len(vectors) == 0:
        return []
    chosen = maximal_marginal_relevance(
        np.asarray(query, np.float32), np.stack(vectors), k, lambda_mult
    )
    places: list[int] = chosen.tolist()
    return places
