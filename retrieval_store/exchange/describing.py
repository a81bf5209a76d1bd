"""What a file says of the collection that it was written of."""

from typing import Any

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.validation import checked_object, shown
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.exchange.formats.arrays import ABOUT, about_arrays
from retrieval_store.exchange.formats.jsonl import object_of
from retrieval_store.exchange.formats.parquet import about_parquet
from retrieval_store.exchange.imports.chroma import IN_METADATA
from retrieval_store.exchange.reading import Source

_OF_CLUSTERS = "qdrant"  # settings of the one that it was on


@dataclass(frozen=True, slots=True)
class Described:
    """A collection as a file describes it. configuration: as `Client.create_collection` takes it;
    model: what is remembered of its embedding function, which the maker of the file has chosen."""

    metadata: dict[str, Any] | None
    configuration: dict[str, Any]
    model: dict[str, Any] | None


def described_by(source: Source) -> Described | None:
    """The collection that a file or directory was exported of, if it says so; InvalidArgumentError
    for what says it in a way that nothing here writes."""
    if source.format == "arrays":
        said, place = about_arrays(source.path, source.max_line_bytes), ABOUT
    elif source.format == "parquet":
        said, place = about_parquet(source.path), source.path.name
    else:
        return None
    if said is None:
        return None
    try:
        told = checked_object(object_of(said), "it")
        settings = dict(_object(told, "configuration") or {})
        model = _object(settings, "embedding_function")
        metadata = _object(told, "metadata")
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{place}, of the collection: {error}") from None
    kept = ("embedding_function", _OF_CLUSTERS)
    configuration = {name: one for name, one in settings.items() if name not in kept}
    return Described(metadata, configuration, model)


def agreeing(
    metadata: dict[str, Any] | None, configuration: dict[str, Any]
) -> dict[str, Any] | None:
    """The metadata; what it says of the index as well, as Chroma's may, is what the configuration
    says, which may have changed since."""
    settings = configuration.get("hnsw")
    if metadata is None or not isinstance(settings, dict):
        return metadata
    told = {key: settings[name] for key, name in IN_METADATA.items() if name in settings}
    return {key: told.get(key, value) for key, value in metadata.items()}


def _object(told: dict[str, Any], name: str) -> dict[str, Any] | None:
    value = told.get(name)
    if value is not None and not isinstance(value, dict):
        raise InvalidArgumentError(f"{name} is {shown(value)}, expected an object")
    return value
