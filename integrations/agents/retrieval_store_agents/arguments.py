"""Checks the arguments that a model sends against the schemas of their tool, and the expiry times
of the records that the model adds. A collection with the setting `configuration["expires"]` deletes
expired records; a collection that a tool creates has that setting.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from retrieval_store import Collection
from retrieval_store.errors import InvalidArgumentError
from retrieval_store_agents.definitions import FORGOTTEN, Schema, Tool
from retrieval_store_agents.wording import list_ids, quote, shorten

WRITTEN = "written_at"  # metadata that a tool adds to records
MAX_DIGITS = 60  # the longest integer that a message shows completely
KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "object": (dict,),
    "array": (list,),
}


def check_arguments(tool: Tool, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call. Raises InvalidArgumentError if the tool's schema does not allow
    them. An argument that is null is left out, and a value with only one possible meaning is
    converted."""
    values = {
        name: _meant(value, tool.arguments.get(name, {}))
        for name, value in arguments.items()
        if value is not None
    }
    unknown = sorted(set(values).difference(tool.arguments))
    if unknown:
        allowed = list_ids([*tool.arguments]) or "none"
        raise InvalidArgumentError(
            f"{tool.name} has no argument {list_ids(unknown)}; its arguments: {allowed}"
        )
    for name in tool.required:
        if name not in values:
            what = tool.arguments[name]["description"]
            raise InvalidArgumentError(f"{tool.name} needs the argument {name!r}: {what}")
    for name, value in values.items():
        _check(name, value, tool.arguments[name])
    return values


def _meant(value: Any, schema: Schema) -> Any:
    """The value, converted to the type of its argument, since models often send another type: a
    text instead of a list of texts, digits instead of a number, or a JSON string instead of an
    object."""
    match schema.get("type"), value:
        case "array", str():
            return _list_of(value, KINDS[schema["items"]["type"]])
        case "array", dict():
            return [value]
        case "integer", str() if value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS:
            return int(value)
        case "integer", float() if value.is_integer() and abs(value) < 10**MAX_DIGITS:
            return int(value)  # an integer by JSON Schema, and some clients send all integers so
        case "object", str() if value.lstrip().startswith("{"):
            with suppress(ValueError, RecursionError):
                return json.loads(value)
    return value


def _list_of(text: str, kind: Any) -> list[Any]:
    """The list of values of this kind that a JSON text contains; otherwise a list with the text as
    its only item."""
    if text.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):
            values = json.loads(text)
            if values and all(isinstance(value, kind) for value in values):
                return list(values)
    return [text]


def _check(name: str, value: Any, schema: Schema) -> None:
    kind = schema["type"]
    if not isinstance(value, KINDS[kind]) or isinstance(value, bool):
        example = f" such as {schema['examples'][0]}" if "examples" in schema else ""
        bounds = f" of {schema['minimum']} to {schema['maximum']}" if "minimum" in schema else ""
        what = f"{_article(kind)}{bounds}{example}"
        raise InvalidArgumentError(f"{name} is {quote(value)}, expected {what}")
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            raise InvalidArgumentError(f"{name} is empty, expected one or more")
        for i, element in enumerate(value):
            if element is not None or schema["items"]["type"] != "object":
                _check(f"{name}[{i}]", element, schema["items"])
    elif isinstance(value, int):
        least, most = schema["minimum"], schema["maximum"]
        if not least <= value <= most:
            shown = value if abs(value) < 10**MAX_DIGITS else shorten(value)
            raise InvalidArgumentError(f"{name} is {shown}, expected {least} to {most}")
    elif isinstance(value, str):
        if len(value.strip()) < schema.get("minLength", 0):
            raise InvalidArgumentError(f"{name} is empty, expected a text")
        if value not in schema.get("enum", [value]):
            allowed = list_ids(schema["enum"])
            raise InvalidArgumentError(f"{name} is {value!r}, expected one of {allowed}")


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aio" else f"a {kind}"


def check_counts(count: int, **lists: list[Any] | None) -> None:
    """Raise InvalidArgumentError for a list that does not have one item for each record."""
    for name, items in lists.items():
        if items is not None and len(items) != count:
            first = next(iter(lists))
            raise InvalidArgumentError(
                f"{name} has {len(items)} items, and {first} {count}: give one for each"
            )


# Expiry


def now_iso() -> str:
    """The current time in UTC, as an ISO string."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def with_time_to_forget(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata. If they contain a time of expiry, it is converted to an ISO string with a time
    zone, by default UTC."""
    value = metadata.get(FORGOTTEN)
    if value is None:
        return dict(metadata)
    try:
        moment = datetime.fromisoformat(value)
    except (ValueError, TypeError):
        raise InvalidArgumentError(
            f'{FORGOTTEN} is {quote(value)}, expected an ISO date or time such as "2027-01-31"'
        ) from None
    forget_at = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if forget_at <= datetime.now(UTC):
        raise InvalidArgumentError(
            f"{FORGOTTEN} is {value}, expected a time in the future: it is {now_iso()} now"
        )
    return {**metadata, FORGOTTEN: forget_at.isoformat()}


def are_forgotten(metadatas: Iterable[Mapping[str, Any] | None]) -> bool:
    """Whether any of these metadata has a time of expiry."""
    return any((metadata or {}).get(FORGOTTEN) is not None for metadata in metadatas)


def check_forgets(collection: Collection) -> None:
    """Raise InvalidArgumentError if the collection does not delete records that have expired."""
    key = collection.configuration.get("expires")
    if key != FORGOTTEN:
        instead = f"its records expire by the key {key!r}" if key else "its records never expire"
        raise InvalidArgumentError(
            f"{FORGOTTEN} is given, but {collection.name} forgets nothing by that key: {instead}. "
            f"A collection forgets if `add` makes it, or configuration={{'expires': {FORGOTTEN!r}}}"
        )
