"""How a store is made: the settings of its collection, and what `from_params` is given."""

from collections.abc import Mapping
from typing import Any

from llama_index.core.bridge.pydantic import ValidationError
from llama_index.core.vector_stores.types import BasePydanticVectorStore

from retrieval_store.base.validation import path_of, shown
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError
from retrieval_store.frameworks.collection import refuse_unknown

OF_COLLECTIONS = ("configuration", "metadata")


def refuse_unknown_fields(kind: type[BasePydanticVectorStore], given: Mapping[str, Any]) -> None:
    """Raise InvalidTypeError for an argument that stores of this kind don't have."""
    unknown = set(given) - set(kind.model_fields) - {"class_name"}
    if unknown:
        raise InvalidTypeError(
            f"{min(unknown)!r} is no argument of {kind.__name__}; what a cluster wants to know, "
            "such as a key, goes to Client(url=…, …), and that in as client="
        )


def of_field(error: ValidationError) -> InvalidTypeError:
    """What pydantic says of an argument, in our words."""
    first = error.errors(include_url=False, include_context=False)[0]
    name = ".".join(map(str, first["loc"]))
    return InvalidTypeError(f"{name} is {shown(first['input'])}: {first['msg']}")


def url_of(host: str | None, port: Any, ssl: bool, headers: Any) -> str | None:
    """The address of a cluster; None without a host."""
    if headers:
        raise InvalidArgumentError(
            "headers go to the client: client=Client(url=…, headers=…), or api_key=…"
        )
    if host is None:
        if port is not None or ssl:
            raise InvalidArgumentError("port and ssl go with host")
        return None
    if not isinstance(host, str) or not host:
        raise InvalidArgumentError(f"host is {shown(host)}, expected the name of a machine")
    if port is not None and (isinstance(port, bool) or not isinstance(port, int | str)):
        raise InvalidTypeError(f"port is {shown(port)}, expected a number")
    return f"http{'s' if ssl else ''}://{host}{'' if port is None else f':{port}'}"


def arguments_of(
    places: Mapping[str, Any], collection_kwargs: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The arguments of a store that `from_params` is given in Chroma's words. places: the
    directories and addresses of which one is needed, by name."""
    given = [name for name, value in places.items() if value is not None]
    if len(given) != 1:
        raise InvalidArgumentError(
            f"expected one of {', '.join(places)}, got {' and '.join(given) or 'none'}"
        )
    for name in ("persist_dir", "path"):
        if places[name] is not None:
            path_of(places[name], name)
    said = {} if collection_kwargs is None else collection_kwargs
    if not isinstance(said, Mapping):
        raise InvalidTypeError(
            f"collection_kwargs is {shown(said)}, expected a dict of {' and '.join(OF_COLLECTIONS)}"
        )
    refuse_unknown(said, OF_COLLECTIONS, "collection_kwargs")
    made = {"configuration": said.get("configuration"), "collection_metadata": said.get("metadata")}
    return {name: value for name, value in made.items() if value is not None}
