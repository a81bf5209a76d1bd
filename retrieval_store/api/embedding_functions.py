"""Embedding functions: how a collection stores a description of its function, creates the function
from this description, and calls it.

A store may come from a malicious author. So a function is created from a stored description in
three cases only. Its class promises that it accesses no host, environment variable or file; or the
user has passed the same settings in this process; or the client has `trust=True`. A function counts
as the one that filled a collection if its name, its settings and its model's name agree. Nothing is
embedded for this comparison, since a call may cost money.
"""

import inspect
import os
import reprlib
from ast import literal_eval
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np
import orjson

from retrieval_store import plugins
from retrieval_store.api.arguments import Default, matrix_of
from retrieval_store.base.arrays import Matrix
from retrieval_store.base.tracing import log_of, progress_bar
from retrieval_store.base.validation import (
    JSONValue,
    check_callable,
    check_object,
    is_unicode,
    quote,
)
from retrieval_store.embeddings import MODEL_NAMES, Embeds, QueryEmbedding
from retrieval_store.embeddings.frameworks import (
    FromLangChain,
    FromLlamaIndex,
    adapted,
    innermost,
)
from retrieval_store.errors import (
    ConflictError,
    EmbeddingFunctionError,
    InvalidArgumentError,
    MissingDependencyError,
    RetrievalStoreError,
)

_log = log_of()
_LONGEST_MODEL = 2_000  # characters, of a name that is read as settings
BATCH_SIZE = 512
DEFAULT_NAME = "wordllama"

# What a collection remembers: {"name", "settings"} of a registered embedding function; {"custom",
# "module"} with the class of one that isn't and where it is from, for messages, "model", the name
# of its model, "settings", those that decide the vectors, and "called", its own name, if it says
# them; None when it was created without. It is always of the innermost function: see
# `embeddings.frameworks`.
Spec: TypeAlias = dict[str, JSONValue]

# The functions that this process has been given, as `_canonical` has them. They only ever come in,
# one by one, so threads and interrupts can't break it.
_given_specs: set[bytes] = set()


def check_ready(function: Embeds | Default | None) -> None:
    """Call the function's `check`, if it has one. `check` raises an error if something that
    embedding needs is missing."""
    if _has(function, "check"):
        checked: Any = function
        checked.check()


def spec_of(embedding_function: Embeds | Default | None) -> Spec | None:
    """The specification of an embedding function, in the form in which a collection stores it; None
    for no function."""
    if embedding_function is None:
        return None
    function = (
        _default_function() if isinstance(embedding_function, Default) else embedding_function
    )
    return _spec_of_one(innermost(function))


def _spec_of_one(function: Any) -> Spec:
    """The specification of a function itself, even if it wraps another function."""
    kind = type(function)
    name = plugins.name_of(plugins.EMBEDDING_FUNCTIONS, kind)
    if name is not None and _has(function, "settings"):
        return {"name": name, "settings": check_object(function.settings(), "settings()")}
    if name is not None and _has(function, "get_config"):
        return {"name": name, "settings": check_object(function.get_config(), "get_config()")}
    called = getattr(function, "__qualname__", None)
    custom: Spec = {"custom": called if isinstance(called, str) else kind.__qualname__}
    module = getattr(function if isinstance(called, str) else kind, "__module__", None)
    details = {
        "module": module if isinstance(module, str) and is_unicode(module) else None,
        "model": model_of(function),
        "settings": _adapter_settings(function),
        "called": _own_name(function),
    }
    return custom | {name: detail for name, detail in details.items() if detail is not None}


def _adapter_settings(function: Any) -> JSONValue:
    """The settings of a framework's embedding object that decide its vectors; None if the object
    reports none."""
    is_adapter = isinstance(function, FromLangChain | FromLlamaIndex)
    return (function.model_settings or None) if is_adapter else None


def current_spec(spec: Spec) -> Spec:
    """A stored specification in the form that this version writes. The "probe" that earlier
    versions wrote is left out. For an `AsLlamaIndex`, the result describes the wrapped function,
    which earlier versions stored as a string: the path of its class, and its settings, or a number
    if it has no settings."""
    found = {name: value for name, value in spec.items() if name != "probe"}
    model = spec.get("model")
    if spec.get("custom") != "FromLlamaIndex(AsLlamaIndex)" or not isinstance(model, str):
        return found
    path, _, settings = model[:_LONGEST_MODEL].partition(" ")
    module, _, kind = path.rpartition(".")
    if settings.isdecimal():
        return {"custom": kind, "module": module}
    name = plugins.name_of_target(plugins.EMBEDDING_FUNCTIONS, f"{module}:{kind}")
    with suppress(RetrievalStoreError, ValueError, SyntaxError, TypeError, RecursionError):
        if name is not None:
            return {"name": name, "settings": check_object(literal_eval(settings), "settings")}
    return found


def _default_function() -> Embeds:
    """The embedding function of a collection that is created without `embedding_function`."""
    return build_function(DEFAULT_NAME, {})


def _own_name(function: Any) -> str | None:
    """The result of the function's method `name()`, which Chroma's functions have; None if there is
    no such method."""
    with suppress(Exception):
        name = function.name() if _has(function, "name") else None
        if isinstance(name, str) and name and is_unicode(name):
            return name
    return None


def is_identifiable(function: Any) -> bool:
    """Whether a function, or its model, has a name by which it can be compared with other
    functions."""
    spec = spec_of(function) or {}
    return "name" in spec or "model" in spec


def _has(function: Any, method: str) -> bool:
    """Whether the function's class has a method of this name. Attributes of the object alone don't
    count, since an object can have any attributes."""
    return callable(getattr(type(function), method, None))


def model_of(function: Any) -> str | None:
    """The name of the model of an unregistered function; None if the function reports no name."""
    config: Any = {}
    with suppress(Exception):  # it needn't say anything
        config = function.get_config() if _has(function, "get_config") else {}
    for name in MODEL_NAMES:
        attribute: Any = None
        with suppress(Exception):  # a property may want what isn't there yet
            attribute = getattr(function, name, None)
        for candidate in (attribute, config.get(name) if isinstance(config, dict) else None):
            model = os.fspath(candidate) if isinstance(candidate, os.PathLike) else candidate
            if isinstance(model, str) and model and is_unicode(model):
                return model
    return None


def space_for(function: Embeds | Default | None, space: str | None) -> str | None:
    """The distance of a new collection. It is the passed distance; otherwise the default of the
    function that the caller passed, or the first distance that this function supports; None if the
    function declares neither. Raises InvalidArgumentError if the function does not support the
    passed distance."""
    if function is None or isinstance(function, Default):
        return space
    chosen = innermost(function)
    supported = supported_distances(chosen)
    if space is None:
        default_space = chosen.default_space() if _has(chosen, "default_space") else None
        return default_space if supported is None or default_space in supported else supported[0]
    if supported is not None and space not in supported:
        raise InvalidArgumentError(
            f"configuration['hnsw']['space'] is {space!r}, but the embedding function supports "
            f"{', '.join(map(repr, supported))}"
        )
    return space


def supported_distances(function: Any) -> list[str] | None:
    """The distances that a function declares as suitable for its vectors; None if the function
    declares none."""
    if not _has(function, "supported_spaces"):
        return None
    spaces = function.supported_spaces()
    if not isinstance(spaces, list | tuple | set | frozenset) or not spaces:
        raise EmbeddingFunctionError(
            f"supported_spaces() of the embedding function is {quote(spaces)}, expected a list of "
            "distances"
        )
    ordered = spaces if isinstance(spaces, list | tuple) else sorted(spaces, key=str)
    return [str(space) for space in ordered]


def embed_with(function: Embeds, inputs: Sequence[Any], show_progress: bool) -> Matrix:
    """(n, dim) float32: the vectors that the function computes for documents or images."""
    matrix = _in_batches(function, inputs, _inputs_per_call(function), show_progress)
    _warn_of_zeros(inputs, matrix)
    return matrix


def _warn_of_zeros(inputs: Sequence[Any], matrix: Matrix) -> None:
    places = np.flatnonzero(~matrix.any(axis=1))
    if len(places):
        _log.warning(
            "the embedding function made vectors of zeros of %d of %d inputs, such as %s: nothing "
            "is nearer to them than anything else",
            len(places),
            len(inputs),
            _SHORT.repr(inputs[places[0]]),
        )


def embed_queries(function: Embeds, inputs: Sequence[Any]) -> Matrix:
    """(n, dim) float32: the vectors of n queries. A function may embed queries and documents
    differently."""
    ask = function.embed_query if isinstance(function, QueryEmbedding) else function
    return _in_batches(ask, inputs, _inputs_per_call(function), False)


def _in_batches(function: Any, inputs: Sequence[Any], size: int, show_progress: bool) -> Matrix:
    parts: list[Matrix] = []
    with progress_bar("embedding", len(inputs), "input", show_progress) as bar:
        for start in range(0, len(inputs), size):
            part = _call_function(function, inputs[start : start + size])
            if parts and part.shape[1] != parts[0].shape[1]:
                raise EmbeddingFunctionError(
                    f"the embedding function returned vectors of {part.shape[1]} numbers after "
                    f"vectors of {parts[0].shape[1]}"
                )
            parts.append(part)
            bar.update(len(part))
    return np.concatenate(parts)


def _inputs_per_call(function: Any) -> int:
    """How many inputs a function gets in one call: the number that it declares, or the default."""
    number = getattr(function, "inputs_per_call", None)
    return (
        number
        if isinstance(number, int) and not isinstance(number, bool) and number > 0
        else BATCH_SIZE
    )


def _call_function(function: Any, inputs: Sequence[Any]) -> Matrix:
    result = function(list(inputs))
    if inspect.iscoroutine(result):
        result.close()
        raise EmbeddingFunctionError(
            "the embedding function is asynchronous, expected a synchronous one; a collection "
            "of an AsyncClient calls it in a thread"
        )
    if _is_one_vector(result):
        raise EmbeddingFunctionError(
            f"the embedding function returned one vector for {len(inputs)} inputs, expected a list "
            "with a vector for each of them"
        )
    try:
        matrix = matrix_of(result, "the embedding function's result")
    except InvalidArgumentError as error:
        raise EmbeddingFunctionError(str(error)) from error
    if len(matrix) != len(inputs):
        raise EmbeddingFunctionError(
            f"the embedding function returned {len(matrix)} vectors for {len(inputs)} inputs"
        )
    return matrix


def _is_one_vector(result: Any) -> bool:
    """Whether the result is one flat vector instead of a list of vectors. If there is only a single
    input, no other check would notice that."""
    if isinstance(result, np.ndarray):
        return result.ndim == 1 and result.dtype != object
    first = result[0] if isinstance(result, list | tuple) and result else None
    return isinstance(first, float | int | np.number)


def restore_function(spec: Spec | None, trust: bool) -> Embeds:
    """Create the function that a stored specification describes. trust: whether it is allowed to
    access hosts and files."""
    if spec is None:
        raise EmbeddingFunctionError(
            "nothing can be embedded without an embedding function: pass vectors, or "
            "embedding_function= when you create or get the collection"
        )
    if "name" not in spec:
        raise EmbeddingFunctionError(
            f"the collection was created with the embedding function {_name_of_spec(spec)}, "
            "which isn't registered: pass it as embedding_function= when you get the collection, "
            "register its class by @register_embedding_function before you make one, or pass "
            "vectors"
        )
    kind = plugins.load(plugins.EMBEDDING_FUNCTIONS, str(spec["name"]))
    if not may_create(kind, spec, trust):
        raise EmbeddingFunctionError(
            f"the collection was created with the embedding function {_name_of_spec(spec)}. It may "
            "reach the network, the environment or files, so it isn't created from stored settings "
            "alone: pass it as embedding_function= when you get the collection, or make the client "
            "with trust=True if you trust whoever made the store; a class of yours that accesses "
            "nothing, whatever its settings, may declare self_contained = True"
        )
    try:
        return build_function(spec["name"], spec["settings"])
    except MissingDependencyError:
        raise
    except Exception as error:  # whatever its maker thinks of such settings
        raise EmbeddingFunctionError(
            f"the embedding function {_name_of_spec(spec)} that the collection was created with "
            f"can't be made: {_SHORT.repr(str(error))}"
        ) from error


def may_create(kind: Any, spec: Spec, trust: bool) -> bool:
    """Whether this process is allowed to create a function of this class from a stored
    specification."""
    return trust or plugins.is_self_contained(kind) or _canonical(spec) in _given_specs


def build_function(name: Any, settings: Any) -> Embeds:
    """Create the registered function of this name, with these settings."""
    kind = plugins.load(plugins.EMBEDDING_FUNCTIONS, name)
    is_ours = callable(getattr(kind, "settings", None))
    function: Embeds = kind(**settings) if is_ours else kind.build_from_config(settings)
    if not callable(function):
        raise TypeError(f"build_from_config made {quote(function)}, expected an embedding function")
    return function


def function_of(value: Any, argument: str) -> Any:
    """A user's embedding function as a callable. A registered name becomes a function with default
    settings. An embedding of LangChain or LlamaIndex becomes a function that calls it. Any other
    callable is returned unchanged.

    argument: the argument's name, for the error message. Raises InvalidArgumentError for a name
    that isn't registered, or whose class needs settings. Raises InvalidTypeError for an object that
    can't be called.
    """
    if isinstance(value, str):
        return _function_named(value, argument)
    function = adapted(value)
    check_callable(function, argument)
    return function


def _function_named(name: str, argument: str) -> Embeds:
    group = plugins.EMBEDDING_FUNCTIONS
    if not plugins.is_known(group, name):
        raise InvalidArgumentError(
            f"{argument} is {_SHORT.repr(name)}; there are embedding functions of the names "
            f"{', '.join(plugins.names(group))}. Is the package installed, or the module imported, "
            "that registers it?"
        )
    kind = plugins.load(group, name)
    missing = _required_arguments(kind)
    if missing:
        raise InvalidArgumentError(
            f"{argument} is {name!r}, but {kind.__name__} can't be made without "
            f"{' and '.join(missing)}: make one, and pass it instead of the name"
        )
    try:
        return build_function(name, {})
    except RetrievalStoreError:
        raise
    except Exception as error:  # whatever its maker thinks of no settings
        raise InvalidArgumentError(
            f"{argument} is {name!r}, but {kind.__name__} can't be made: {error}"
        ) from error


def _required_arguments(kind: Any) -> list[str]:
    """The names of the constructor's arguments that have no default."""
    if not callable(getattr(kind, "settings", None)):
        return []
    try:
        parameters = inspect.signature(kind).parameters.values()
    except (TypeError, ValueError):  # a class that doesn't tell
        return []
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        parameter.name
        for parameter in parameters
        if parameter.default is inspect.Parameter.empty and parameter.kind not in open_ended
    ]


def check_spec(function: Embeds, stored: Spec | None, check: bool) -> Spec:
    """The specification of a function that a user passed. From then on, `restore_function` is
    allowed to create this function in this process.

    stored: the collection's stored specification. check: whether to raise ConflictError if the
    stored function is another one. If both may be the same function under different names, a
    warning is logged instead.
    """
    spec: Spec = spec_of(function) or {}
    if "name" in spec:
        _given_specs.add(_canonical(spec))
    if stored is None or not check or _is_as_before(function, stored):
        return spec
    _refuse_conflict(spec, stored)
    _warn_of_another(spec, stored)
    return spec


def _is_as_before(function: Embeds, stored: Spec) -> bool:
    """Whether the stored specification describes the passed adapter itself. (Earlier versions
    stored the adapter's specification. Now the specification of the wrapped function is stored,
    because the wrapped function computes the vectors.)"""
    if innermost(function) is function:
        return False
    adapter = _spec_of_one(function)
    return stored.get("custom") == adapter.get("custom") and _may_be_same(adapter, stored)


def _canonical(spec: Spec) -> bytes:
    """A specification as bytes, for comparisons: JSON with sorted keys, in which 1, 1.0 and true
    differ. Empty if the specification is nested too deeply to be that of a function."""
    try:
        return orjson.dumps(spec, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return b""


def _refuse_conflict(spec: Spec, stored: Spec) -> None:
    if not _may_be_same(spec, stored):
        raise ConflictError(
            f"the collection was created with the embedding function {_name_of_spec(stored)}, but "
            f"embedding_function is {_name_of_spec(spec)}: its vectors mean something else. If "
            "they don't, pass check_model=False"
        )


def _warn_of_another(spec: Spec, stored: Spec) -> None:
    """Log that a function's name or module differs from the stored function's. Both may still be
    the same function: functions are moved, and notebooks define them again. Adapters are compared
    by the name of their model."""
    if "custom" not in spec or "custom" not in stored or _are_adapters_of_one_model(spec, stored):
        return
    moved = "module" in spec and spec["module"] != stored.get("module", spec["module"])
    if moved or spec["custom"] != stored["custom"]:
        _log.warning(
            "the collection was created with the embedding function %s of the module %s, and is "
            "used with %s of the module %s",
            _name_of_spec(stored),
            _SHORT.repr(stored.get("module")),
            _name_of_spec(spec),
            _SHORT.repr(spec.get("module")),
        )


def _are_adapters_of_one_model(*specs: Spec) -> bool:
    """Whether both are embeddings of frameworks that use a model of the same name."""
    adapters = all(str(spec["custom"]).startswith("From") and "model" in spec for spec in specs)
    return adapters and len({_model_in(spec) for spec in specs}) == 1


def _may_be_same(requested: Spec, stored: Spec) -> bool:
    """Whether two specifications may describe the same function. Specifications of registered
    functions must agree in everything. Other functions are compared by the name of the model
    (without its publisher), or else by their own name. Settings that decide the vectors are
    compared if both specifications have them."""
    specs = (requested, stored)
    registered = sum("name" in spec for spec in specs)
    models = {_model_in(spec) for spec in specs}
    names = {spec.get("name", spec.get("called")) for spec in specs}
    if registered == 2:
        same_class = requested["name"] == stored["name"]
        return same_class and _canonical(_decisive(requested)) == _canonical(_decisive(stored))
    if (None not in models and len(models) > 1) or _contradict(requested, stored):
        return False
    if None not in names:
        return len(names) == 1
    return not registered or None not in models


def _contradict(requested: Spec, stored: Spec) -> bool:
    """Whether a setting that decides the vectors has different values in both specifications. None
    counts as a missing value."""
    one, other = (_settings_for_message(spec) for spec in (requested, stored))
    return any(one[name] != other[name] for name in one.keys() & other.keys() - {*MODEL_NAMES})


def _settings_for_message(spec: Spec) -> dict[str, JSONValue]:
    is_known = plugins.is_known(plugins.EMBEDDING_FUNCTIONS, str(spec.get("name")))
    decisive = _decisive(spec) if is_known else spec
    settings = decisive.get("settings")
    if not isinstance(settings, dict):
        return {}
    return {name: value for name, value in settings.items() if value is not None}


def _decisive(spec: Spec) -> Spec:
    """The specification without the settings that the class of the function lists as `comparable`:
    functions that differ only in these settings have comparable vectors."""
    settings = spec["settings"]
    if not isinstance(settings, dict):
        return spec
    kind = plugins.load(plugins.EMBEDDING_FUNCTIONS, str(spec["name"]))
    left_out = getattr(kind, "comparable", ())
    return spec | {"settings": {key: settings[key] for key in settings if key not in left_out}}


def _model_in(spec: Spec) -> str | None:
    settings = spec.get("settings")
    names: list[Any] = [spec.get("model")]
    if isinstance(settings, dict):
        names += [settings.get(name) for name in MODEL_NAMES]
    model = next((name for name in names if isinstance(name, str)), None)
    if model is None:
        return None
    whole = model.replace("\\", "/").rstrip("/").removesuffix(":latest")
    return whole.rpartition("/")[2].casefold()


def _name_of_spec(spec: Spec) -> str:
    if "name" not in spec:
        model, called = spec.get("model"), spec.get("called")
        model_part = "" if model is None else f" of the model {_SHORT.repr(model)}"
        name_part = "" if called is None else f", which calls itself {_SHORT.repr(called)}"
        said = spec.get("settings")
        settings_part = "" if said is None else f" with {_SHORT.repr(said)}"
        return _SHORT.repr(spec["custom"]) + model_part + settings_part + name_part
    return f"{_SHORT.repr(spec['name'])} with {_SHORT.repr(spec['settings'])}"


_SHORT = reprlib.Repr()
_SHORT.maxstring, _SHORT.maxdict, _SHORT.maxlevel = 200, 8, 3
