"""Arguments and options that several commands take, and what is made of them."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import orjson

from retrieval_store.command.places import names_completed
from retrieval_store.errors import AlreadyExistsError

Command = TypeVar("Command", bound=Callable[..., Any])
FILE = click.Path(path_type=Path)


class Text(click.ParamType):  # type: ignore[type-arg]  # since click 8.4
    """Text that can be stored: an argument of other bytes than UTF-8 isn't."""

    name = "text"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        try:
            value.encode()
        except UnicodeError:
            self.fail(f"{value!r} isn't valid UTF-8", param, ctx)
        return value


TEXT = Text()


class Json(click.ParamType):  # type: ignore[type-arg]  # since click 8.4
    """A value in JSON of a kind: "-" reads it from the standard input, "@FILE" from a file."""

    name = "json"

    def __init__(self, kind: type, what: str) -> None:
        self._kind = kind
        self._what = what

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if isinstance(value, self._kind):
            return value
        try:
            found = orjson.loads(_text_of(value))
        except UnicodeError:
            self.fail(f"{_shortened(value)!r} isn't valid UTF-8", param, ctx)
        except OSError as error:
            self.fail(f"{value}: {error.strerror}", param, ctx)
        except orjson.JSONDecodeError as error:
            self.fail(f"{_shortened(value)} is no JSON: {error}", param, ctx)
        if not isinstance(found, self._kind):
            self.fail(f"{_shortened(value)} is JSON, but not {self._what}", param, ctx)
        return found


def _text_of(value: str) -> bytes:
    if value == "-":
        return sys.stdin.buffer.read()
    return Path(value[1:]).read_bytes() if value.startswith("@") else value.encode()


def _shortened(value: str) -> str:
    return value if len(value) <= 60 else f"{value[:60]}…"


def refuse_taken(target: Path) -> None:
    """Raise AlreadyExistsError for a path that something has."""
    if os.path.lexists(target):
        raise AlreadyExistsError(f"{target} is there already; it replaces nothing")


store = click.argument("store", type=click.Path(file_okay=False))
collection = click.argument("collection", type=TEXT, shell_complete=names_completed)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
trust = click.option(
    "--trust",
    is_flag=True,
    help="The store's embedding function may reach the network, the environment and files.",
)
yes = click.option("-y", "--yes", is_flag=True, help="Don't ask.")
quiet = click.option("-q", "--quiet", is_flag=True, help="No bar.")
where = click.option(
    "--where",
    type=Json(dict, "an object"),
    metavar="JSON",
    help='A filter on metadata: \'{"year": {"$gte": 2020}}\', "-" for stdin, or @FILE.',
)
where_document = click.option(
    "--where-document",
    type=Json(dict, "an object"),
    metavar="JSON",
    help='A filter on documents: \'{"$contains": "wine"}\'.',
)


def filters(command: Command) -> Command:
    """`--where` and `--where-document`."""
    return where(where_document(command))
