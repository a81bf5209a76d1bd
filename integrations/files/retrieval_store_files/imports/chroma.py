"""Imports collections from a directory in which Chroma has stored them. The package chromadb reads
the directory.
"""

import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from retrieval_store import Client, MiniLMEmbedding, plugins
from retrieval_store.embeddings import Embeds
from retrieval_store.errors import (
    InvalidArgumentError,
    InvalidTypeError,
    MissingDependencyError,
)
from retrieval_store.frameworks import progress_bar
from retrieval_store_files.functions import IN_METADATA, build_function, function_of
from retrieval_store_files.imports.common import (
    Filling,
    Leftovers,
    Making,
    Names,
    choose_names,
    directory_of,
    making,
    private_copy,
    refuse_missing,
    refuse_taken,
)
from retrieval_store_files.reports import Carried, Imported, Left
from retrieval_store_files.values import list_ids, needing, quote, whole_number

FILE = "chroma.sqlite3"
DIMENSION = 384  # of MiniLM
TELEMETRY = "ORT_DISABLE_TELEMETRY"  # of onnxruntime, which chromadb imports
DEFAULT_TENANT, DEFAULT_DATABASE = "default_tenant", "default_database"
_EVERYTHING = ["embeddings", "documents", "metadatas", "uris"]
# Imported settings, with Chroma's defaults. Instead of these, this project's defaults are used.
_HNSW = {"ef_construction": 100, "ef_search": 100, "max_neighbors": 16}
_MEANINGLESS = {"resize_factor": 1.2, "sync_threshold": 1000, "batch_size": 100}
# Chroma's embedding functions that this project has too, with their names and settings in it.
_FUNCTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "sentence_transformer": (
        "sentence-transformers",
        {"model_name": "model_name", "normalize_embeddings": "normalize"},
    ),
    "openai": ("openai", {"model_name": "model", "dimensions": "dimensions"}),
    "open_clip": ("open-clip", {"model_name": "model_name", "checkpoint": "checkpoint"}),
}
# Both are all-MiniLM-L6-v2. Chroma stores the first for a collection without a function, even if
# another model computed its vectors.
_DEFAULTS = ("default", "onnx_mini_lm_l6_v2")
_LOOKED_AT, _ALIKE = 5, 0.99  # sampled records; the least cosine of equal vectors
_OF_MACHINE = ("device", "kwargs", "api_key_env_var")  # which don't affect the vectors


def import_chroma(
    directory: str | os.PathLike[str],
    client: Client,
    *,
    names: Names = None,
    embedding_functions: Mapping[str, Embeds | str] | None = None,
    trust: bool = False,
    tenant: str = DEFAULT_TENANT,
    database: str = DEFAULT_DATABASE,
    batch: int = 1_000,
    show_progress: bool = False,
) -> Imported:
    """Import the collections in a directory of Chroma. The vectors are copied, and not computed
    again.

    Chroma opens a directory for writing. So this function opens a copy in the temporary directory.
    Close the programs that write to the directory first.

    names: a list of the collections to import, or a dict from their names to their new names; by
    default all collections are imported. embedding_functions: a dict from the name of a collection
    in Chroma to the function that computed its vectors, or to the name of that function. By default
    the function that Chroma has stored is looked up. It is built only if its class declares that it
    accesses no files or hosts. Set `trust` to build any function, if you trust the author of the
    directory.

    Chroma's default function is `minilm` in this project. A collection stores this function unless
    another function clearly computed its vectors. After an error nothing is imported. Raises
    AlreadyExistsError if a name is taken, and MissingDependencyError if chromadb isn't installed.
    """
    size = whole_number(batch, "batch", 1)
    source = directory_of(directory, FILE, "a store of Chroma's")
    chromadb = _chromadb()
    with (
        telemetry_off(),
        private_copy(source) as copy,
        _open_chroma(chromadb, copy, tenant, database) as chroma,
    ):
        collections = {collection.name: collection for collection in chroma.list_collections()}
        chosen = choose_names(names, sorted(collections), "collection")
        refuse_taken(client, list(chosen.values()))
        functions = _Functions(_by_name(embedding_functions, collections), trust)
        with making(client) as made:
            carried = [
                _carry_collection(collections[old], new, made, functions, size, show_progress)
                for old, new in chosen.items()
            ]
        return Imported(source, tuple(carried), _elsewhere(copy, tenant, database))


def _by_name(value: Any, existing: Iterable[str]) -> dict[str, Embeds]:
    """A dict from the name of each collection to the embedding function that the user passed for
    it. Raises InvalidArgumentError for a collection that doesn't exist. value: the argument
    `embedding_functions`; existing: the names of all collections."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidTypeError(
            f"embedding_functions is {quote(value)}, expected a dict of functions by the names of "
            "collections in Chroma's directory"
        )
    names = sorted(existing)
    for name in value:
        if name not in names:
            raise InvalidArgumentError(
                f"embedding_functions has {quote(name)}, but Chroma's directory has no such "
                f"collection; these are: {list_ids(names)}"
            )
    return {
        name: function_of(function, f"embedding_functions[{name!r}]")
        for name, function in value.items()
    }


def _chromadb() -> Any:
    with needing("import_chroma", "chromadb", "chromadb"):
        import chromadb
    # Older versions read its indexes with pickle, which runs any code in them.
    if chromadb.__version__.startswith("0."):
        raise MissingDependencyError(
            f"import_chroma needs chromadb 1.0 or newer, and this is {chromadb.__version__}: "
            'pip install "chromadb>=1.0"'
        )
    return chromadb


@contextmanager
def telemetry_off() -> Iterator[None]:
    """A context manager that keeps onnxruntime from sending telemetry, if onnxruntime is imported
    in the `with` block. If the user has set onnxruntime's environment variable for telemetry, the
    user's setting applies instead."""
    was_set = TELEMETRY in os.environ
    os.environ.setdefault(TELEMETRY, "1")
    try:
        yield
    finally:
        if not was_set:
            os.environ.pop(TELEMETRY, None)
    disable = getattr(sys.modules.get("onnxruntime"), "disable_telemetry_events", None)
    if disable is not None and not was_set:
        disable()


@contextmanager
def _open_chroma(chromadb: Any, copy: Path, tenant: str, database: str) -> Iterator[Any]:
    settings = chromadb.Settings(anonymized_telemetry=False)
    try:
        chroma = chromadb.PersistentClient(str(copy), settings, tenant, database)
    except Exception as error:  # of many kinds
        raise InvalidArgumentError(f"chromadb can't open the directory: {error}") from error
    try:
        yield chroma
    finally:
        if hasattr(chroma, "close"):
            chroma.close()


def _carry_collection(
    old: Any, name: str, made: Making, functions: "_Functions", size: int, show_progress: bool
) -> Carried:
    left = Leftovers()
    configuration = _configuration(old.configuration_json, left)
    function = functions.of(old, left)
    metadata = _metadata(old.metadata, old.configuration_json.get("hnsw") or {}, left)
    new = made.collection(
        name, configuration=configuration, metadata=metadata, embedding_function=function
    )
    filling = Filling(new, left)
    total, read = old.count(), 0
    with progress_bar(f"importing {name}", total, "record", show_progress) as bar:
        for start in range(0, total, size):
            page = old.get(limit=size, offset=start, include=_EVERYTHING)
            filling.add(_records(page))
            read += len(page["ids"])
            bar.update(len(page["ids"]))
    refuse_missing(f"the collection {old.name!r}", read, total, "Chroma's files are damaged")
    return Carried(old.name, name, filling.records, left.all())


def _records(page: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    fields = zip(
        page["ids"],
        page["embeddings"],
        page["documents"],
        page["metadatas"],
        page["uris"],
        strict=True,
    )
    for point_id, embedding, document, metadata, uri in fields:
        yield {
            "id": point_id,
            "embedding": embedding,
            "document": document,
            "metadata": None if metadata is None else _plain(metadata),
            "uri": uri,
        }


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a record, in which sparse vectors become JSON objects."""
    return {
        key: {"indices": list(value.indices), "values": list(value.values)}
        if hasattr(value, "indices") and hasattr(value, "values")
        else value
        for key, value in metadata.items()
    }


def _configuration(stored: Mapping[str, Any], left: Leftovers) -> dict[str, Any]:
    hnsw, spann = stored.get("hnsw") or {}, stored.get("spann") or {}
    for name, usual in _MEANINGLESS.items():
        if hnsw.get(name, usual) != usual:
            left.setting(f"hnsw setting {name!r}", "it has no meaning here")
    for name in spann:
        if name != "space":
            left.setting(f"spann setting {name!r}", "there is no such index here")
    settings = {"space": hnsw.get("space") or spann.get("space") or "l2"}
    for name, usual in _HNSW.items():
        if hnsw.get(name) not in (None, usual):
            settings[name] = hnsw[name]
    return {"hnsw": settings}


def _metadata(
    metadata: Mapping[str, Any] | None, hnsw: Mapping[str, Any], left: Leftovers
) -> dict[str, Any] | None:
    """The metadata of a collection, without outdated settings. When a setting is changed in Chroma,
    its old value stays in the metadata. hnsw: the present settings of the index; left: records the
    outdated settings."""
    kept = dict(metadata or {})
    for key, name in IN_METADATA.items():
        if key in kept and kept[key] != hnsw.get(name, kept[key]):
            left.setting(f"metadata key {key!r} of the collection", f"{name} was changed since")
            del kept[key]
    return kept or None


class _Functions:
    """Finds the embedding function of each collection. The function is the one that the user
    passed, or is built from the settings that Chroma has stored."""

    def __init__(self, functions: Mapping[str, Embeds], trust: bool) -> None:
        self._functions, self._trust = functions, trust

    def of(self, old: Any, left: Leftovers) -> Embeds | None:
        """The embedding function of a collection. If it isn't known, return None and record the
        reason in `left`."""
        if old.name in self._functions:
            return self._functions[old.name]
        stored = old.configuration_json.get("embedding_function") or {}
        name = stored.get("name")
        if not isinstance(name, str):  # none, or one that Chroma doesn't know either
            return None
        what = f"embedding function {name!r}"
        try:
            if name in _DEFAULTS:
                return _minilm(old)
            return self._make_function(name, stored.get("config") or {})
        except _UnknownError as error:
            left.setting(what, str(error))
        except Exception as error:  # any error from its constructor
            left.setting(
                what,
                f"it can't be made: {error}; pass it in embedding_functions",
            )
        return None

    def _make_function(self, name: str, config: Mapping[str, Any]) -> Embeds:
        mine, names = _FUNCTIONS.get(name, (name, None))
        if not plugins.is_known(plugins.EMBEDDING_FUNCTIONS, mine):
            raise _UnknownError(
                "there is none of this name here; pass it in embedding_functions, or get the "
                "collection with it"
            )
        kind = plugins.load(plugins.EMBEDDING_FUNCTIONS, mine)
        if not (self._trust or plugins.is_self_contained(kind)):
            raise _UnknownError(
                "it may reach the network, the environment or files, so it isn't created from "
                "stored settings; pass it in embedding_functions, or trust=True"
            )
        if names is None:
            return build_function(kind, dict(config))
        other = [
            key
            for key, value in config.items()
            if value is not None and key not in names and key not in _OF_MACHINE
        ]
        if other:
            raise _UnknownError(f"its setting {other[0]!r} can't be made here")
        settings = {names[key]: value for key, value in config.items() if key in names}
        return build_function(kind, settings)


def _minilm(old: Any) -> Embeds:
    """Chroma's default function. Raises _UnknownError if another function clearly computed the
    vectors of the collection."""
    function = MiniLMEmbedding("float32")
    sample = old.get(limit=_LOOKED_AT, include=["embeddings", "documents"])
    stored = np.asarray(sample["embeddings"], np.float32)
    if not len(stored):
        return function
    if stored.shape[1] != DIMENSION:
        raise _UnknownError(
            f"it makes vectors of {DIMENSION} numbers, and these have {stored.shape[1]}, so they "
            "were made by another; pass it in embedding_functions"
        )
    documents = [text or "" for text in sample["documents"]]
    if any(documents):
        try:
            made = function(documents)
        except MissingDependencyError:
            return function
        lengths = np.maximum(np.linalg.norm(stored, axis=1), np.finfo(np.float32).tiny)
        if ((made * stored).sum(axis=1) / lengths).max() < _ALIKE:
            raise _UnknownError(
                "it makes other vectors of the documents than these, so they were made by another; "
                "pass it in embedding_functions"
            )
    return function


class _UnknownError(Exception):
    """Raised if the embedding function of a collection is unknown. The message has the reason."""


def _elsewhere(copy: Path, tenant: str, database: str) -> tuple[Left, ...]:
    """Report entries for the collections in other databases of the directory. These collections
    aren't imported."""
    rows: list[tuple[str, str, int]] = []
    with suppress(sqlite3.Error), closing(sqlite3.connect(copy / FILE)) as connection:
        rows = connection.execute(
            "SELECT d.tenant_id, d.name, count(*) FROM collections c JOIN databases d "
            "ON c.database_id = d.id GROUP BY d.tenant_id, d.name"
        ).fetchall()
    return tuple(
        Left(
            f"{count} collections of tenant {of!r}, database {name!r}",
            "those of one database are imported: pass tenant and database",
        )
        for of, name, count in rows
        if (of, name) != (tenant, database)
    )
