"""The embedding function of a collection: how it is remembered, found again, and called.

A store may come from someone who means harm. So what it remembers is made again only where that
can't reach a host, an environment variable or a file: of a class that says so, with settings that
the user has given in this process, or by a client that was told to trust the store.
Whether a function is the one that a collection was filled with, where no name tells: by its
vector of a fixed text, the probe.

A collection remembers it from the first write that embedded texts. It is taken where something is
embedded anyway, and never when a collection is opened, since a call may cost money.
"""

import base64
import inspect
import os
import reprlib
from collections.abc import Sequence
from contextlib import suppress
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import orjson

from retrieval_store import plugins
from retrieval_store.api.arguments import Default, matrix_of
from retrieval_store.api.configuration import stored_settings
from retrieval_store.base.arrays import Floats, Matrix
from retrieval_store.base.dataclasses import dataclass, replace
from retrieval_store.base.tracing import log_of, progress_bar
from retrieval_store.base.validation import (
    JSONValue,
    check_callable,
    checked_object,
    is_unicode,
    quote,
)
from retrieval_store.embeddings import MODEL_NAMES, Embeds, QueryEmbedding
from retrieval_store.errors import (
    ConflictError,
    EmbeddingFunctionError,
    InvalidArgumentError,
    MissingDependencyError,
    RetrievalStoreError,
)
from retrieval_store.query.protocols import Backend
from retrieval_store.query.types import CollectionRecord

if TYPE_CHECKING:
    from retrieval_store.embeddings._common import Cut

_log = log_of()
BATCH_SIZE = 512
DEFAULT_NAME = "wordllama"

# What a collection remembers: {"name", "settings"} of a registered embedding function; {"custom",
# "module"} with the class of one that isn't and where it is from, for messages, "model", the name
# of its model, if it says one, and "probe", by which `ProbedEmbedder` knows it again; None when
# it was created without.
Spec: TypeAlias = dict[str, JSONValue]

# The functions that this process has been given, as `_canonical` has them. They only ever come in,
# one by one, so threads and interrupts can't break it.
_given: set[bytes] = set()


def check_ready(function: Embeds | Default | None) -> None:
    """Raise what the function's own `check` does, where it lacks what it can't embed without."""
    if _has(function, "check"):
        checked: Any = function
        checked.check()


def spec_of(given: Embeds | Default | None) -> Spec | None:
    """What to remember of the embedding function that a collection is created with."""
    if given is None:
        return None
    function: Any = _usual() if isinstance(given, Default) else given
    kind = type(function)
    name = plugins.name_of(plugins.EMBEDDING_FUNCTIONS, kind)
    if name is not None and _has(function, "settings"):
        return {"name": name, "settings": checked_object(function.settings(), "settings()")}
    if name is not None and _has(function, "get_config"):
        return {"name": name, "settings": checked_object(function.get_config(), "get_config()")}
    called = getattr(function, "__qualname__", None)
    custom: Spec = {"custom": called if isinstance(called, str) else kind.__qualname__}
    module = getattr(function if isinstance(called, str) else kind, "__module__", None)
    details = {
        "module": module if isinstance(module, str) and is_unicode(module) else None,
        "model": model_of(function),
        "called": _called_by_itself(function),
    }
    return custom | {name: one for name, one in details.items() if one is not None}


def _usual() -> Embeds:
    """The function of a collection that is created without a word about one."""
    return made_of(DEFAULT_NAME, {})


def _called_by_itself(function: Any) -> str | None:
    """What its `name()` says, as Chroma's have it."""
    with suppress(Exception):
        name = function.name() if _has(function, "name") else None
        if isinstance(name, str) and name and is_unicode(name):
            return name
    return None


def is_told_apart(function: Any) -> bool:
    """Whether anything but its vectors tells a function from others: a name, or its model's."""
    spec = spec_of(function) or {}
    return "name" in spec or "model" in spec


def _has(function: Any, method: str) -> bool:
    """Whether its class has a method of this name; what else an object has may mean anything."""
    return callable(getattr(type(function), method, None))


def model_of(function: Any) -> str | None:
    """The name of the model of a function that isn't registered, if it tells."""
    config: Any = {}
    with suppress(Exception):  # it needn't say anything
        config = function.get_config() if _has(function, "get_config") else {}
    for name in MODEL_NAMES:
        attribute: Any = None
        with suppress(Exception):  # a property may want what isn't there yet
            attribute = getattr(function, name, None)
        for one in (attribute, config.get(name) if isinstance(config, dict) else None):
            model = os.fspath(one) if isinstance(one, os.PathLike) else one
            if isinstance(model, str) and model and is_unicode(model):
                return model
    return None


def space_for(function: Embeds | Default | None, given: str | None) -> str | None:
    """The distance of a new collection: that which is given; or the function's own, the first of
    those that it supports if it isn't among these; None where nothing says one.
    InvalidArgumentError for one that is given and that the function doesn't support."""
    if function is None:
        return given
    chosen: Any = _usual() if isinstance(function, Default) else function
    supported = supported_by(chosen)
    if given is None:
        own = chosen.default_space() if _has(chosen, "default_space") else None
        return own if supported is None or own in supported else supported[0]
    if supported is not None and given not in supported:
        raise InvalidArgumentError(
            f"configuration['hnsw']['space'] is {given!r}, but the embedding function supports "
            f"{', '.join(map(repr, supported))}"
        )
    return given


def supported_by(function: Any) -> list[str] | None:
    """The distances that a function says its vectors are made for; None where it says nothing."""
    if not _has(function, "supported_spaces"):
        return None
    spaces = function.supported_spaces()
    if not isinstance(spaces, list | tuple | set | frozenset) or not spaces:
        raise EmbeddingFunctionError(
            f"supported_spaces() of the embedding function is {quote(spaces)}, expected a list of "
            "distances"
        )
    ordered = spaces if isinstance(spaces, list | tuple) else sorted(spaces, key=str)
    return [str(one) for one in ordered]


@dataclass(frozen=True, slots=True)
class EmbeddingResult:
    """Vectors of inputs, (n, dim) float32; how many of these are texts; and which were cut, None
    where the function reported none."""

    matrix: Matrix
    texts: int
    cut: "Cut | None"


class Embedder:
    """Calls a collection's embedding function, which is made when it is first needed.

    given: what the caller passed; spec: what the collection remembers; trust: whether a function
    may be made of that, whatever it reaches. Raises ConflictError when the two are different
    functions, if that is to be checked.
    """

    def __init__(
        self,
        given: Embeds | Default | None,
        spec: Spec | None,
        trust: bool = False,
        check: bool = True,
    ) -> None:
        self._function, self._spec, self._trust = None, None, trust
        self.is_custom = False
        if isinstance(given, Default):
            self._spec = spec
        elif given is not None:
            self._function = given
            own = _note_spec(spec_of(given))
            self.is_custom = own is not None and "custom" in own
            if spec is not None and check:
                _refuse_conflict(own, spec)
                _warn_of_another(own, spec)

    @property
    def is_there(self) -> bool:
        """Whether there is a function, given or remembered; it may still have to be made."""
        return self._function is not None or self._spec is not None

    @property
    def function(self) -> Embeds | None:
        """The function, made if it has to be; None without one."""
        return self._ready() if self.is_there else None

    def embed(self, inputs: Sequence[Any], show_progress: bool = False) -> EmbeddingResult:
        """The vectors of documents or images."""
        from retrieval_store.embeddings._common import collect_cuts

        with collect_cuts() as cuts:
            matrix = _in_batches(self._ready(), inputs, show_progress)
        texts = sum(isinstance(one, str) for one in inputs)
        return EmbeddingResult(matrix, texts, reduce(add, cuts) if cuts else None)

    def embed_query(self, inputs: Sequence[Any]) -> Matrix:
        """(n, dim) float32 for n queries."""
        function = self._ready()
        if isinstance(function, QueryEmbedding):
            return _in_batches(function.embed_query, inputs, False)
        return _in_batches(function, inputs, False)

    def vector_of(self, text: str) -> Floats | None:
        """The vector of one text; None where the function makes none of it, whatever its reason."""
        from retrieval_store.embeddings._common import collect_cuts

        vector: Floats | None = None
        with (
            suppress(Exception),
            collect_cuts(),
        ):  # the text isn't the user's: its length isn't reported
            vector = _call_function(self._ready(), [text])[0].astype(np.float64)
        return vector

    def _ready(self) -> Embeds:
        if self._function is None:
            spec = self._spec
            if spec is None:
                raise EmbeddingFunctionError(
                    "nothing can be embedded without an embedding function: pass vectors, or "
                    "embedding_function= when you create or get the collection"
                )
            if "name" not in spec:
                raise EmbeddingFunctionError(
                    f"the collection was created with the embedding function {_named_spec(spec)}, "
                    "which isn't registered: pass it as embedding_function= when you get the "
                    "collection, register its class by @register_embedding_function before you "
                    "make one, or pass vectors"
                )
            self._function = _restore_function(spec, self._trust)
        return self._function


def _in_batches(function: Any, inputs: Sequence[Any], show_progress: bool) -> Matrix:
    parts: list[Matrix] = []
    with progress_bar("embedding", len(inputs), "input", show_progress) as bar:
        for start in range(0, len(inputs), BATCH_SIZE):
            part = _call_function(function, inputs[start : start + BATCH_SIZE])
            if parts and part.shape[1] != parts[0].shape[1]:
                raise EmbeddingFunctionError(
                    f"the embedding function returned vectors of {part.shape[1]} numbers after "
                    f"vectors of {parts[0].shape[1]}"
                )
            parts.append(part)
            bar.update(len(part))
    return np.concatenate(parts)


def _call_function(function: Any, inputs: Sequence[Any]) -> Matrix:
    result = function(list(inputs))
    if inspect.iscoroutine(result):
        result.close()
        raise EmbeddingFunctionError(
            "the embedding function is asynchronous, expected a plain one; of an AsyncClient's "
            "collection it is called in a thread, beside the event loop"
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
    """Whether numbers come where vectors should: for one input that would go unnoticed."""
    if isinstance(result, np.ndarray):
        return result.ndim == 1 and result.dtype != object
    first = result[0] if isinstance(result, list | tuple) and result else None
    return isinstance(first, float | int | np.number)


def _restore_function(spec: Spec, trust: bool) -> Embeds:
    """The function of a spec that comes from a store."""
    kind = plugins.load(plugins.EMBEDDING_FUNCTIONS, str(spec["name"]))
    if not may_be_made(kind, spec, trust):
        raise EmbeddingFunctionError(
            f"the collection was created with the embedding function {_named_spec(spec)}. It may "
            "reach the network, the environment or files, so it isn't made of what a store says "
            "alone: pass it as embedding_function= when you get the collection, or make the client "
            "with trust=True if you trust the maker of the store; a class of yours that reaches "
            "nothing, whatever its settings, may say self_contained = True"
        )
    try:
        return made_of(spec["name"], spec["settings"])
    except MissingDependencyError:
        raise
    except Exception as error:  # whatever its maker thinks of such settings
        raise EmbeddingFunctionError(
            f"the embedding function {_named_spec(spec)} that the collection was created with "
            f"can't be made: {_SHORT.repr(str(error))}"
        ) from error


def may_be_made(kind: Any, spec: Spec, trust: bool) -> bool:
    """Whether a function of this class may be made of what a store says."""
    return trust or plugins.is_self_contained(kind) or _canonical(spec) in _given


def made_of(name: Any, settings: Any) -> Embeds:
    """The registered function of this name, made with these settings."""
    kind = plugins.load(plugins.EMBEDDING_FUNCTIONS, name)
    is_ours = callable(getattr(kind, "settings", None))
    made: Embeds = kind(**settings) if is_ours else kind.build_from_config(settings)
    if not callable(made):
        raise TypeError(f"build_from_config made {quote(made)}, expected an embedding function")
    return made


def function_of(value: Any, argument: str) -> Any:
    """What is given as an embedding function, callable: of a registered name, the function of that
    name made without settings; anything else as it is.

    argument: what it was given as, for the message. InvalidArgumentError for a name that isn't
    registered, or whose class can't be made without settings, and InvalidTypeError for what can't
    be called.
    """
    if isinstance(value, str):
        return _function_named(value, argument)
    check_callable(value, argument)
    return value


def _function_named(name: str, argument: str) -> Embeds:
    group = plugins.EMBEDDING_FUNCTIONS
    if not plugins.is_known(group, name):
        raise InvalidArgumentError(
            f"{argument} is {_SHORT.repr(name)}; there are embedding functions of the names "
            f"{', '.join(plugins.names(group))}. Is the package installed, or the module imported, "
            "that registers it?"
        )
    kind = plugins.load(group, name)
    missing = _required_by(kind)
    if missing:
        raise InvalidArgumentError(
            f"{argument} is {name!r}, but {kind.__name__} can't be made without "
            f"{' and '.join(missing)}: make one, and pass it instead of the name"
        )
    try:
        return made_of(name, {})
    except RetrievalStoreError:
        raise
    except Exception as error:  # whatever its maker thinks of no settings
        raise InvalidArgumentError(
            f"{argument} is {name!r}, but {kind.__name__} can't be made: {error}"
        ) from error


def _required_by(kind: Any) -> list[str]:
    """The arguments without which it can't be made, of a class that is made of its settings."""
    if not callable(getattr(kind, "settings", None)):
        return []
    try:
        parameters = inspect.signature(kind).parameters.values()
    except (TypeError, ValueError):  # a class that doesn't tell
        return []
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        one.name
        for one in parameters
        if one.default is inspect.Parameter.empty and one.kind not in open_ended
    ]


def _note_spec(spec: Spec | None) -> Spec | None:
    """What a function that the user gives is remembered as, noted for `_restore_function`."""
    if spec is not None and "name" in spec:
        _given.add(_canonical(spec))
    return spec


def _canonical(spec: Spec) -> bytes:
    """What tells specs apart: JSON, where 1, 1.0 and true differ, in one order of keys. Empty for
    one so deep that no function can have it, which equals none that was given."""
    try:
        return orjson.dumps(spec, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return b""


def _refuse_conflict(spec: Spec | None, stored: Spec) -> None:
    if spec is not None and not _may_be_same(spec, stored):
        raise ConflictError(
            f"the collection was created with the embedding function {_named_spec(stored)}, but "
            f"embedding_function is {_named_spec(spec)}: its vectors mean something else. If they "
            "don't, pass check_model=False"
        )


def _warn_of_another(spec: Spec | None, stored: Spec) -> None:
    """Log that a function has another name, or is from elsewhere: functions move, and notebooks
    define them anew, so it may be the same."""
    if spec is None or "custom" not in spec or "custom" not in stored:
        return
    moved = "module" in spec and spec["module"] != stored.get("module", spec["module"])
    if moved or spec["custom"] != stored["custom"]:
        _log.warning(
            "the collection was created with the embedding function %s of the module %s, and is "
            "used with %s of the module %s",
            _named_spec(stored),
            _SHORT.repr(stored.get("module")),
            _named_spec(spec),
            _SHORT.repr(spec.get("module")),
        )


def _may_be_same(given: Spec, stored: Spec) -> bool:
    """Of two that are registered everything tells; else the names of their models, without those of
    who made them, and their own, where both say one."""
    specs = (given, stored)
    registered = sum("name" in spec for spec in specs)
    models = {_model_in(spec) for spec in specs}
    names = {spec.get("name", spec.get("called")) for spec in specs}
    if registered == 2:
        same_class = given["name"] == stored["name"]
        return same_class and _canonical(_decisive(given)) == _canonical(_decisive(stored))
    if None not in models and len(models) > 1:
        return False
    if None not in names:
        return len(names) == 1
    return not registered or None not in models


def _decisive(spec: Spec) -> Spec:
    """Without the settings that its class calls `comparable`: vectors that were made with different
    ones can be compared."""
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
    model = next((one for one in names if isinstance(one, str)), None)
    if model is None:
        return None
    whole = model.replace("\\", "/").rstrip("/").removesuffix(":latest")
    return whole.rpartition("/")[2].casefold()


def _named_spec(spec: Spec) -> str:
    if "name" not in spec:
        model, called = spec.get("model"), spec.get("called")
        of = "" if model is None else f" of the model {_SHORT.repr(model)}"
        by = "" if called is None else f", which calls itself {_SHORT.repr(called)}"
        return _SHORT.repr(spec["custom"]) + of + by
    return f"{_SHORT.repr(spec['name'])} with {_SHORT.repr(spec['settings'])}"


_SHORT = reprlib.Repr()
_SHORT.maxstring, _SHORT.maxdict, _SHORT.maxlevel = 200, 8, 3


PROBE = "The quick brown fox jumps over the lazy dog."
MIN_COSINE = 0.99  # of two vectors of one text by one function
LONGEST = 65_536  # numbers of a vector


class ProbedEmbedder:
    """The embedder of one collection, which compares its function with what the collection
    remembers: once, when it has embedded a text. check: whether another function is refused."""

    def __init__(self, backend: Backend, embedder: Embedder, check: bool) -> None:
        self._backend, self._embedder, self._check = backend, embedder, check
        self._done = self._unknown = self._to_remember = False
        self._instead_of: str | None = None

    def of(self, backend: Backend) -> "ProbedEmbedder":
        """The same of another collection that was made of this one."""
        return ProbedEmbedder(backend, self._embedder, self._check)

    @property
    def is_there(self) -> bool:
        """Whether there is a function."""
        return self._embedder.is_there

    @property
    def function(self) -> Embeds | None:
        """The function, made if it has to be; None without one."""
        return self._embedder.function

    def embed(self, inputs: Sequence[Any], show_progress: bool = False) -> EmbeddingResult:
        """The vectors of documents or images."""
        embedded = self._embedder.embed(inputs, show_progress)
        if isinstance(inputs[0], str):
            self.compare()
        return embedded

    def compare(self) -> None:
        """Raise ConflictError if the function isn't the one that made the vectors of the
        collection; `written` then lets it remember one that it doesn't know yet."""
        if not self._done:
            self._compare()
            self._to_remember = not self._done

    def embed_query(self, inputs: Sequence[Any]) -> Matrix:
        """(n, dim) float32 for n queries."""
        matrix = self._embedder.embed_query(inputs)
        if not (self._done or self._unknown) and isinstance(inputs[0], str):
            self._compare()
        return matrix

    def written(self) -> None:
        """Let the collection remember the function of which vectors have been written, if it
        remembers none yet, or one of which nothing was left. The write is done, so what goes wrong
        here is logged alone; the next write sees to it."""
        if not self._to_remember or self._done:
            return
        own = self._embedder.vector_of(PROBE) if self._embedder.is_custom else None
        try:
            if own is not None:
                self._remember(own)
            self._done = True
        except RetrievalStoreError as error:
            _log.warning("which embedding function was used couldn't be remembered: %s", error)

    def take_over(self) -> None:
        """Let the collection, which has no records, remember this function and no other."""
        function = self._embedder.function
        spec = spec_of(function) if function is not None else None
        if spec is None or spec == without_probe(_spec_of(self._backend.record())):
            return
        self._backend.change(
            lambda record: replace(record, settings={**record.settings, "embedding_function": spec})
        )

    def _compare(self) -> None:
        spec = _spec_of(self._backend.record())
        stored = _decode_direction(spec.get("probe"))
        if stored is None:
            self._unknown = True  # queries needn't ask again
            return
        own = self._embedder.vector_of(PROBE) if self._check else None
        if own is not None and not _are_alike(own, stored):
            again = self._embedder.vector_of(PROBE)
            if again is not None and _are_alike(own, again):  # else nothing tells it from others
                self._refuse(own, stored)
                self._instead_of = spec["probe"]
                return
        self._done = True

    def _refuse(self, own: Floats, stored: Floats) -> None:
        """Raise ConflictError, unless nothing is left of what the other function made."""
        if not self._backend.points.count():
            return
        how = (
            f"have the cosine {_cosine(own, stored):.2f}, and those of one function at least "
            f"{MIN_COSINE}"
            if len(own) == len(stored)
            else f"have {len(own)} and {len(stored)} numbers"
        )
        raise ConflictError(
            "the embedding function isn't the one that the collection was filled with: their "
            f"vectors of one text {how}. Get the collection with the function that made its "
            "vectors; or, if these are to be mixed, with check_model=False"
        )

    def _remember(self, own: Floats) -> None:
        def edit(record: CollectionRecord) -> CollectionRecord:
            spec = _spec_of(record)
            if "custom" not in spec or spec.get("probe") != self._instead_of:  # another was faster
                return record
            spec = {**spec, "probe": _encode_direction(own)}
            return replace(record, settings={**record.settings, "embedding_function": spec})

        self._backend.change(edit)


def without_probe(spec: Any) -> Any:
    """What is remembered of a function, as users are shown it."""
    if not isinstance(spec, dict):
        return spec
    return {name: value for name, value in spec.items() if name != "probe"}


def _spec_of(record: CollectionRecord) -> dict[str, Any]:
    spec: Any = stored_settings(record)["embedding_function"]
    return spec if isinstance(spec, dict) else {}


def _encode_direction(vector: Floats) -> str:
    """A vector as text: its direction alone counts, for which halves are precise enough."""
    scaled = vector / max(float(np.abs(vector).max()), 1e-300)
    return base64.b64encode(scaled.astype("<f2").tobytes()).decode()


def _decode_direction(text: Any) -> Floats | None:
    """A vector of such text; None for what is none, in a store of who knows whom."""
    try:
        blob = base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        return None
    if not blob or len(blob) % 2 or len(blob) > 2 * LONGEST:
        return None
    vector = np.frombuffer(blob, "<f2").astype(np.float64)
    return vector if np.isfinite(vector).all() else None


def _are_alike(one: Floats, other: Floats) -> bool:
    return len(one) == len(other) and _cosine(one, other) >= MIN_COSINE


def _cosine(one: Floats, other: Floats) -> float:
    """0 for vectors of different lengths; 1 for two of which one has no direction, which says
    nothing."""
    if len(one) != len(other):
        return 0.0
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return 1.0 if lengths == 0 else float(one @ other) / lengths
