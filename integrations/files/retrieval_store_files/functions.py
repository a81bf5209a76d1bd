"""Builds embedding functions from the names and settings that users, files and other programs give.
Also says what an embedding function or a configuration implies for the settings of a new
collection.
"""

from collections.abc import Mapping
from typing import Any

from retrieval_store import plugins
from retrieval_store.embeddings import Embeds
from retrieval_store.embeddings.frameworks import adapted
from retrieval_store_files.values import check_callable

# Keys of a collection's metadata that are settings in Chroma.
IN_METADATA = {
    "hnsw:space": "space",
    "hnsw:construction_ef": "ef_construction",
    "hnsw:M": "max_neighbors",
    "hnsw:search_ef": "ef_search",
}


def agreeing(
    metadata: Mapping[str, Any] | None, configuration: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """The metadata of a collection, changed to agree with its configuration. Metadata from Chroma
    can contain settings, such as "hnsw:space". A setting that differs from the configuration is
    replaced, since the configuration may have changed after the collection was created."""
    settings = configuration.get("hnsw")
    if metadata is None or not isinstance(settings, dict):
        return metadata
    current = {key: settings[name] for key, name in IN_METADATA.items() if name in settings}
    return {key: current.get(key, value) for key, value in metadata.items()}


def function_of(value: Any, argument: str) -> Any:
    """The embedding function that a user passed: a callable, the name of a registered function, or
    an embedding of LangChain or LlamaIndex. argument: the name of the argument, for messages.
    Raises InvalidArgumentError for a name that isn't registered, and InvalidTypeError for an object
    that can't be called."""
    if isinstance(value, str):
        from retrieval_store.frameworks import WrappedFunction

        return WrappedFunction(value, argument).function
    function = adapted(value)
    check_callable(function, argument)
    return function


def build_function(kind: Any, settings: Mapping[str, Any]) -> Embeds:
    """An embedding function: an instance of the registered class `kind`. settings: the arguments of
    the class, if it has the form of this project's classes; otherwise the configuration that Chroma
    stores."""
    is_ours = callable(getattr(kind, "settings", None))
    function: Embeds = kind(**settings) if is_ours else kind.build_from_config(settings)
    if not callable(function):
        raise TypeError(f"{kind.__name__} made {function!r}, which can't be called")
    return function


def function_of_file(spec: Mapping[str, Any], trust: bool) -> Any:
    """The embedding function that computed the vectors of a file, built from the name and settings
    in that file. None if no registered function has that name, or if the function can't be built.
    trust: whether the function may access hosts or files. Without `trust`, the result is also None
    for a function that could access hosts or files, because the author of the file has chosen the
    function."""
    name, settings = spec.get("name"), spec.get("settings")
    group = plugins.EMBEDDING_FUNCTIONS
    if not isinstance(name, str) or not isinstance(settings, dict):
        return None
    if not plugins.is_known(group, name):
        return None
    try:
        kind = plugins.load(group, name)
        if trust or plugins.is_self_contained(kind):
            return build_function(kind, settings)
    except Exception:  # any error from its constructor
        return None
    return None


def says_distance(function: Any) -> bool:
    """Whether an embedding function declares the distances for which its vectors are suitable."""
    methods = (getattr(function, name, None) for name in ("default_space", "supported_spaces"))
    return any(tell() for tell in methods if callable(tell))
