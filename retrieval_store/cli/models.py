"""Embedding functions as users type them: by name."""

from typing import Any

import click

from retrieval_store.cli.shared import collection_of
from retrieval_store.errors import ConflictError

NONE = "none"
NAMES = (
    "wordllama, minilm, sentence-transformers, fastembed, open-clip, ollama, openai, or one of a "
    "package"
)
OF_IMAGES = "open-clip"
_OF_TEXTS = (
    "wordllama",
    "minilm",
    "onnx",
    "sentence-transformers",
    "fastembed",
    "ollama",
    "openai",
)


def installed_models() -> dict[str, str]:
    """The models of texts that are installed with their weights, and what each is good at."""
    from importlib.util import find_spec

    from retrieval_store.embeddings.onnx import functions

    installed = {"wordllama": "fast"} if find_spec("wordllama") else {}
    return installed | ({"minilm": "finds more"} if functions.is_installed() else {})


def make_function(name: str) -> Any:
    """The embedding function of this name, as it is without settings."""
    from retrieval_store import plugins
    from retrieval_store.api.embedding_functions import function_of

    if not plugins.is_known(plugins.EMBEDDING_FUNCTIONS, name):
        raise click.UsageError(f"there is no model {name!r}; expected one of {NAMES}")
    return function_of(name, "--model")


def remembered_function(points: Any) -> dict[str, Any] | None:
    """What a collection remembers of its embedding function."""
    spec: dict[str, Any] | None = points.configuration["embedding_function"]
    return spec


def name_of_function(spec: dict[str, Any] | None) -> str:
    """What a remembered function is called."""
    return NONE if spec is None else str(spec.get("name") or spec.get("custom"))


def embeds_images(spec: dict[str, Any] | None) -> bool:
    """Whether the function that is remembered may embed images."""
    return spec is not None and name_of_function(spec) not in _OF_TEXTS


def refuse_images(spec: dict[str, Any] | None, remedy: str = "") -> None:
    """Refuse a model that embeds no images.

    Args:
        spec: what a collection's `configuration["embedding_function"]` is.
        remedy: what else could be done, for the message.

    Raises:
        click.UsageError: none is remembered, or one of texts.
    """
    if embeds_images(spec):
        return
    who = "the collection has no model: it"
    if spec is not None:
        who = f"the model {name_of_function(spec)}"
    raise click.UsageError(
        f"{who} embeds no images; {remedy}make the collection with --model {OF_IMAGES}"
    )


def collection_by(
    client: Any,
    name: str,
    model: str,
    *,
    refuse_if_remembered_is_missing: bool = False,
    **arguments: Any,
) -> Any:
    """A collection with the function that the user names, unless it remembers another. One that
    remembers the same by other settings goes on with its own.

    Args:
        client: of the store.
        name: of the collection.
        model: of the embedding function.
        refuse_if_remembered_is_missing: whether a model is refused also where the one that is
            remembered can't be made here.
        arguments: as of `Client.get_collection`.

    Raises:
        click.UsageError: there is no such model, or the collection remembers another.
    """
    points = collection_of(client, name)
    spec = remembered_function(points)
    function = make_function(model)
    try:
        return client.get_collection(name, embedding_function=function, **arguments)
    except ConflictError:
        if name_of_function(spec) == model:  # by other settings, which are its own
            return client.get_collection(name, **arguments)
        is_missing = spec is not None and not _is_here(spec)
        if is_missing and not refuse_if_remembered_is_missing:
            return client.get_collection(
                name, embedding_function=function, check_model=False, **arguments
            )
        raise click.UsageError(
            f"collection {name!r} has vectors of the model {name_of_function(spec)}, not of {model}"
        ) from None


def _is_here(spec: dict[str, Any]) -> bool:
    from retrieval_store import plugins

    name = spec.get("name")
    return isinstance(name, str) and plugins.is_known(plugins.EMBEDDING_FUNCTIONS, name)
