"""Embedding functions, which turn texts (and images) into vectors.

An embedding function is any callable that takes a list of n inputs and returns n vectors. If a
function's class is registered (see `plugins`), and has `settings()` or Chroma's `get_config()`, a
collection stores its name and settings. From these the function is created when the collection is
opened. The protocols of embedding functions are in this module. `wordllama` is the default
function; `sentence_transformers`, `onnx`, `fastembed` and `open_clip` run models in this process;
`ollama` and `openai` call servers. `bm25`, and SPLADE in `sentence_transformers`, make sparse
vectors. `frameworks` wraps embeddings of LangChain and LlamaIndex; `_common` checks arguments and
truncates texts that are too long for a model; `_servers` calls servers. The package may import
`base` and `errors`.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np

from retrieval_store.base.arrays import SparseVector, plain_scalar

if TYPE_CHECKING:
    from retrieval_store.embeddings._common import Count

MODEL_NAMES = ("model_name", "model", "model_id")  # as which functions say what model they run
Input = TypeVar("Input")


class EmbeddingFunction(Generic[Input]):
    """A base class for functions that compute n vectors of one length from a list of n inputs. Its
    use is optional: any callable can be an embedding function.

    A subclass defines `__call__`, whose result is converted to a list of float32 arrays; for one
    input the result can be a flat vector. All other members are optional:

    - `embed_query`: embeds queries, if queries and documents are embedded differently.
    - `default_space` and `supported_spaces`: the distances for which the vectors are suitable
      ("cosine", "l2", "ip"); new collections use them.
    - `max_tokens`: an int, or a property that returns an int: how many tokens of a text the
      function reads.
    - `inputs_per_call`: the best number of inputs in one call, if it isn't 512.
    - `embeds_images`: True if inputs can be images.
    - `comparable`: the names of settings that can change without making vectors incomparable.
    - `check`: called before a collection is created; raises an error if something that embedding
      needs is missing, such as a key.
    - `settings`: the constructor's arguments that decide the vectors, as JSON without secrets. A
      collection stores them to identify a registered function. A class can have Chroma's `name`,
      `get_config` and `build_from_config` instead.

    The settings in a store may come from an untrusted author. The class attribute `self_contained =
    True` promises that the function is safe with any settings. It accesses no host, environment
    variable or file that its settings could choose, and refuses invalid settings by a TypeError or
    ValueError. Only functions of such a class are created from settings in a store. For all other
    classes, the user must have passed the same settings in this process, or opened the client with
    `trust=True`. This is also true for subclasses that do not repeat the attribute.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        call = cls.__dict__.get("__call__")
        if call is not None:

            @wraps(call)
            def normalised(self: Any, *args: Any, **kwargs: Any) -> Any:
                result = call(self, *args, **kwargs)
                try:
                    if np.ndim(result[0]) == 0:  # one vector, of one input
                        return [np.asarray(result, np.float32)]
                    return [np.asarray(vector, np.float32) for vector in result]
                except (TypeError, ValueError, LookupError):  # the caller reports it
                    return result

            cls.__call__ = normalised  # type: ignore[method-assign]

    def __call__(self, input: Input) -> Any:
        """(n, dim) numbers for a list of n strings, or images as arrays if the function takes
        them."""
        raise NotImplementedError(f"{type(self).__name__} has no __call__")

    def embed_query(self, input: Input) -> Any:
        """(n, dim) numbers for a list of n queries. By default queries are embedded like
        documents."""
        return self(input)


class ComparedByCosine:
    """A base class for embedding functions whose vectors are compared by the cosine distance."""

    def default_space(self) -> str:
        """The cosine distance, which a new collection with this function uses unless another
        distance is set."""
        return "cosine"


Embeds: TypeAlias = EmbeddingFunction[Any] | Callable[[Any], Any]


class SparseEmbeddingFunction(Protocol):
    """Computes n sparse vectors from a list of n texts. Documents and queries are embedded
    differently."""

    def __call__(self, input: Sequence[str], /) -> list[SparseVector]:
        """A sparse vector for each document."""

    def embed_query(self, input: Sequence[str], /) -> list[SparseVector]:
        """A sparse vector for each query."""


@runtime_checkable
class QueryEmbedding(Protocol):
    """An embedding function that embeds queries and documents differently."""

    def embed_query(self, input: Any, /) -> Any:
        """(n, dim) numbers for a list of n queries."""


def max_tokens_of(function: Any) -> int | None:
    """How many tokens of a text a function reads, by its `max_tokens`. None if the function has no
    such attribute, or if its value is not a positive number. Never raises an error. The call may
    load a model or query a server, which takes time."""
    limit: Any = None
    with suppress(Exception):  # a model that can't be loaded says so when it is used
        limit = getattr(function, "max_tokens", None)
    from retrieval_store.embeddings._common import known_tokens

    return known_tokens(plain_scalar(limit))


def token_count_of(function: Any) -> "Count | None":
    """The function's method `count_tokens`, which counts the tokens of texts; None if there is no
    such method, or if the method can't count. Never raises an error."""
    with suppress(Exception):
        count: Count = function.count_tokens
        (marks,) = count([""])
        return count if isinstance(marks, int) else None
    return None
