"""Plugins: classes and commands that packages register under a name; they are loaded when first
used.

A package registers a class as an entry point, NAME = "module:Class", in one of the groups below. A
store contains only the name and the settings, as JSON. So installed packages decide which code is
imported, and stored data never does. Built-in names can't be taken. `register_embedding_function`
registers a class of the running program.
"""

from __future__ import annotations

import reprlib
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, overload

from retrieval_store.base.validation import quote
from retrieval_store.errors import (
    InvalidArgumentError,
    InvalidTypeError,
    MissingDependencyError,
    PluginError,
)

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from retrieval_store.query.types import NewSpace

EMBEDDING_FUNCTIONS = "retrieval_store.embedding_functions"
SPARSE_EMBEDDING_FUNCTIONS = "retrieval_store.sparse_embedding_functions"
DATA_LOADERS = "retrieval_store.data_loaders"
INDEXES = "retrieval_store.indexes"
RERANKERS = "retrieval_store.rerankers"
READERS = "retrieval_store.readers"
COMMANDS = "retrieval_store.commands"  # of the command `retrieval-store`, of click
# Functions that open stores, by the scheme of their URLs, or by what they are given.
STORES = "retrieval_store.stores"
COPIERS = "retrieval_store.copiers"  # what copies stores
OURS = "retrieval-store"
BUILT_IN: dict[str, dict[str, str]] = {
    EMBEDDING_FUNCTIONS: {
        "wordllama": "retrieval_store.embeddings.wordllama:WordLlamaEmbedding",
        "sentence-transformers": (
            "retrieval_store.embeddings.sentence_transformers:SentenceTransformerEmbeddingFunction"
        ),
        "onnx": "retrieval_store.embeddings.onnx.functions:OnnxEmbedding",
        "minilm": "retrieval_store.embeddings.onnx.functions:MiniLMEmbedding",
        "open-clip": "retrieval_store.embeddings.open_clip:OpenCLIPEmbeddingFunction",
        "openai": "retrieval_store.embeddings.openai:OpenAIEmbeddingFunction",
        "ollama": "retrieval_store.embeddings.ollama:OllamaEmbeddingFunction",
        "fastembed": "retrieval_store.embeddings.fastembed:FastEmbedEmbeddingFunction",
    },
    SPARSE_EMBEDDING_FUNCTIONS: {
        "bm25": "retrieval_store.embeddings.bm25:BM25Embedding",
        "splade": "retrieval_store.embeddings.sentence_transformers:SpladeEmbedding",
    },
    DATA_LOADERS: {
        "images": "retrieval_store.loaders.images:ImageLoader",
        "texts": "retrieval_store.loaders.images:TextLoader",
    },
    INDEXES: {"hnsw": "retrieval_store.indexes.hnsw:HNSWIndex"},
    RERANKERS: {
        "cross-encoder": "retrieval_store.rerankers:CrossEncoderReranker",
        "similarity": "retrieval_store.rerankers:SimilarityReranker",
        "tokens": "retrieval_store.rerankers:TokenReranker",
    },
}
# What packages around the core bring, and nobody else may register: their distributions.
_FILES, _SERVER, _CLUSTER = (f"{OURS}-{name}" for name in ("files", "server", "cluster"))
BROUGHT: dict[str, dict[str, str]] = {
    READERS: dict.fromkeys(
        (
            *("adoc", "code", "csv", "docx", "eml", "epub", "html", "ipynb", "json", "jsonl"),
            *("mbox", "md", "msg", "odp", "ods", "odt", "org", "pdf", "pptx", "py", "rst", "rtf"),
            *("srt", "tex", "txt", "xls", "xlsx", "xml"),
        ),
        _FILES,
    ),
    COMMANDS: {
        **dict.fromkeys(("add", "export", "import", "sync"), _FILES),
        **dict.fromkeys(("serve", "view"), _SERVER),
        "copy": _CLUSTER,
        "mcp": f"{OURS}-agents",
    },
    STORES: {
        **dict.fromkeys(("http", "https"), _SERVER),
        **dict.fromkeys(("qdrant", "qdrant-client"), _CLUSTER),
    },
    COPIERS: {"store": _CLUSTER},
}
_WORDS = {  # for what is of no package that is installed
    READERS: "reading files that end in .{}",
    COMMANDS: "retrieval-store {}",
    STORES: "a store at {}://…",
    COPIERS: "copying a {}",
}
GROUPS = (*BUILT_IN, *BROUGHT)
_Class = TypeVar("_Class", bound=type)
_registered: dict[str, type] = {}


@dataclass(frozen=True, slots=True)
class Plugin:
    """An installed plugin: its group, its name, the path of its class or function, and the package
    that contains it."""

    group: str
    name: str
    target: str
    package: str
    version: str


@overload
def register_embedding_function(name: str) -> Callable[[_Class], _Class]: ...


@overload
def register_embedding_function(name: _Class) -> _Class: ...


def register_embedding_function(name: Any) -> Any:
    """Register a class of embedding functions under a name, so that collections can store the name.
    If a program registers the class before it opens collections, it need not pass the function
    again. For that, the class must have `self_contained = True`, or the client `trust=True`.

    Use `@register_embedding_function("a name")`, or `@register_embedding_function` for a class with
    `name()`. Raises InvalidArgumentError for a name that another class has, and InvalidTypeError
    for an object that isn't such a class.
    """
    if isinstance(name, type):
        return register_embedding_function(_ask_name(name))(name)
    if not isinstance(name, str) or not name:
        raise InvalidTypeError(
            f"name is {quote(name)}, expected a str: @register_embedding_function('a name')"
        )

    def register(kind: _Class) -> _Class:
        if not isinstance(kind, type) or not _is_remembered(kind):
            raise InvalidTypeError(
                f"{name!r} is to be {quote(kind)}, expected a class with the methods __call__ and "
                "settings, which says what it is made with; or get_config and build_from_config"
            )
        taken = _registered.get(name)
        same = taken is not None and _target_of(taken) == _target_of(kind)
        installed = {*BUILT_IN[EMBEDDING_FUNCTIONS], *_entry_points(EMBEDDING_FUNCTIONS)}
        if name in installed or not (taken is None or same):
            raise InvalidArgumentError(f"the name {name!r} is taken by another embedding function")
        _registered[name] = kind
        return kind

    return register


def _ask_name(kind: Any) -> Any:
    """The name that the method `name()` of a class returns."""
    say = getattr(kind, "name", None)
    try:
        return say() if callable(say) else None
    except TypeError:  # a method of instances, of which there is none
        return None


def _is_remembered(kind: type) -> bool:
    configured = all(
        callable(getattr(kind, name, None)) for name in ("get_config", "build_from_config")
    )
    return configured or callable(getattr(kind, "settings", None))


def load(group: str, name: str) -> Any:
    """The class that is registered under a name. Raises PluginError if there is no such class or
    the class cannot be loaded. If a package of this project contains the class, raises
    MissingDependencyError, which names the package to install."""
    if group not in GROUPS:
        raise PluginError(f"there is no group {group!r} of plugins; there are {', '.join(GROUPS)}")
    if name in _built_in(group):
        return _import_target(BUILT_IN[group][name])
    if group == EMBEDDING_FUNCTIONS and name in _registered:
        return _registered[name]
    entry = _entry_point(group, name)
    if entry is None and name in BROUGHT.get(group, ()):
        package = BROUGHT[group][name]
        of_cluster = group == STORES and package == _CLUSTER
        feature = "a Qdrant cluster" if of_cluster else _WORDS[group].format(name)
        raise MissingDependencyError(f"{feature} needs {package}: pip install {package}")
    if entry is None:
        known = ", ".join(names(group))
        raise PluginError(
            f"no plugin {reprlib.repr(name)} is registered in {group!r}; known are: {known}. Is "
            "the package installed, or the module imported, that registers it?"
        )
    try:
        return entry.load()
    except MissingDependencyError:  # which says what to install
        raise
    except Exception as error:
        raise PluginError(
            f"plugin {name!r} of {_package_of(entry)} can't be loaded from {entry.value!r}: {error}"
        ) from error


def target_of(group: str, name: str) -> str:
    """The location of the class or function of a plugin, as "module:name"; raises PluginError if
    there is no such plugin. Nothing is imported."""
    target = _built_in(group).get(name)
    if target is None:
        entry = _entry_point(group, name)
        if entry is None:
            raise PluginError(f"no plugin {reprlib.repr(name)} is registered in {group!r}")
        target = entry.value.replace(" ", "")
    return target


def names(group: str) -> list[str]:
    """The names of all classes of a group; nothing is imported."""
    return sorted({*_built_in(group), *_plugins_of_program(group), *_entry_points(group)})


def is_known(group: str, name: str) -> bool:
    """Whether there is a class of this name: an installed one, or one in a package of this project
    that may not be installed. Nothing is imported."""
    return name in BROUGHT.get(group, ()) or is_installed(group, name)


def is_installed(group: str, name: str) -> bool:
    """Whether a class of this name is installed. Nothing is imported."""
    return (
        name in _built_in(group)
        or name in _plugins_of_program(group)
        or _entry_point(group, name) is not None
    )


def find_index(name: str) -> Any:
    """The class of an index. Raises PluginError unless the class declares that it is
    self-contained, since the name and the settings come from the store, which may be untrusted."""
    kind = load(INDEXES, name)
    if name not in BUILT_IN[INDEXES] and not is_self_contained(kind):
        raise PluginError(
            f"the index {reprlib.repr(name)} is of a class that doesn't say that it may be made "
            "with any settings from a store: self_contained = True"
        )
    return kind


def check_index(space: NewSpace) -> None:
    """Raise InvalidArgumentError if the index of a dense vector space cannot be created with its
    settings, and PluginError if no index has the name in the space's settings."""
    from retrieval_store.indexes import CODES, EXACT
    from retrieval_store.query.types import index_name, index_settings

    name = index_name(space)
    if name in (EXACT, CODES):
        return
    make = find_index(name)
    try:
        make(2, space.metric, index_settings(space))
    except ValueError as error:
        raise InvalidArgumentError(f"configuration['index']: {error}") from error


def is_self_contained(kind: Any) -> bool:
    """Whether a class declares that it is safe with any settings: it accesses no host, and no
    variable or file that its settings could choose. The declaration of a base class does not count,
    since a subclass may access more."""
    return getattr(kind, "__dict__", {}).get("self_contained") is True


def name_of(group: str, kind: type) -> str | None:
    """The name under which a class is registered; None if it is not registered."""
    target = _target_of(kind)
    built_in = {value: name for name, value in _built_in(group).items()}
    if target in built_in:
        return built_in[target]
    installed = {e.value.replace(" ", ""): e.name for e in _entry_points(group).values()}
    return _own_name(group, kind) or installed.get(target) or _name_of_reexport(group, kind)


def name_of_target(group: str, target: str) -> str | None:
    """The name under which the class at "module:Class" is registered; None if it is not registered.
    Nothing is imported."""
    targets = {value: name for name, value in _built_in(group).items()}
    targets |= {_target_of(kind): name for name, kind in _plugins_of_program(group).items()}
    targets |= {e.value.replace(" ", ""): e.name for e in _entry_points(group).values()}
    return targets.get(target)


def _own_name(group: str, kind: type) -> str | None:
    """The name under which this program has registered the class, or an earlier definition of
    it."""
    own = _plugins_of_program(group).items()
    alike = [name for name, candidate in own if _target_of(candidate) == _target_of(kind)]
    same = [name for name in alike if _plugins_of_program(group)[name] is kind]
    return same[0] if same else alike[0] if len(alike) == 1 else None


def _name_of_reexport(group: str, kind: type) -> str | None:
    """The name of an entry point that names the class by another module of its package, which only
    re-exports the class."""
    package = kind.__module__.partition(".")[0]
    for entry in _entry_points(group).values():
        ours = entry.module.partition(".")[0] == package
        module = sys.modules.get(entry.module) if ours else None
        if module is not None and getattr(module, entry.attr, None) is kind:
            return entry.name
    return None


def available() -> list[Plugin]:
    """All plugins, by group: built-in plugins, those of installed packages, and those that this
    program has registered. Nothing is imported."""
    from importlib.metadata import version

    plugins = []
    for group in GROUPS:
        for name, target in _built_in(group).items():
            plugins.append(Plugin(group, name, target, OURS, version(OURS)))
        for name, kind in _plugins_of_program(group).items():
            plugins.append(Plugin(group, name, _target_of(kind), "this program", ""))
        for entry in _entry_points(group).values():
            number = entry.dist.version if entry.dist else ""
            plugins.append(Plugin(group, entry.name, entry.value, _package_of(entry), number))
    return plugins


def _package_of(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "an unknown package"


def _plugins_of_program(group: str) -> dict[str, type]:
    return _registered if group == EMBEDDING_FUNCTIONS else {}


def _target_of(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _import_target(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def _entry_point(group: str, name: str) -> EntryPoint | None:
    """The entry point of this name; None if there is none. For a package of this project it is
    found without reading the metadata of all installed packages."""
    package = BROUGHT.get(group, {}).get(name)
    if package is None:
        return _entry_points(group).get(name)
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        entries = distribution(package).entry_points
    except PackageNotFoundError:
        return None
    return next(iter(entries.select(group=group, name=name)), None)


def _entry_points(group: str) -> dict[str, EntryPoint]:
    # Imported here: it takes longer than all the rest of `import retrieval_store`.
    from importlib.metadata import entry_points

    entries: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        built_in = _built_in(group).get(entry.name)
        owner = BROUGHT.get(group, {}).get(entry.name)
        if built_in is None and owner in (None, _package_of(entry)):
            first = entries.setdefault(entry.name, entry)
            if first.value != entry.value:
                warnings.warn(
                    f"{_package_of(first)} and {_package_of(entry)} both register the plugin "
                    f"{entry.name!r} in {group!r}; that of the first is used",
                    stacklevel=3,
                )
        elif entry.value != built_in:
            whose = "is built in" if owner is None else f"is of {owner}"
            warnings.warn(
                f"{_package_of(entry)} registers the plugin {entry.name!r} in {group!r}, which "
                f"{whose}; its own isn't used",
                stacklevel=3,
            )
    return entries


def _built_in(group: str) -> dict[str, str]:
    """The targets of the built-in classes of a group, by name."""
    return BUILT_IN.get(group, {})
