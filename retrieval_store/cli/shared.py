"""Shared parts of the commands: arguments and options, the opening of stores, and the output.

Heavy modules are imported here, once a store is opened. Commands print tables on a terminal, plain
lines in a pipe, and JSON for scripts. Stored data may be hostile: only printable characters ever
reach a terminal.
"""

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import orjson
from click.shell_completion import CompletionItem

from retrieval_store.base.system import cut_text, printable
from retrieval_store.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    RetrievalStoreError,
)

if TYPE_CHECKING:
    from retrieval_store.api.client import Client
    from retrieval_store.api.collection import Collection
    from retrieval_store.backends import Session
    from retrieval_store.query.types import CollectionRecord, Mode

KEYS = ("RETRIEVAL_STORE_API_KEY", "QDRANT_API_KEY")  # of a server; the first that is set
CATALOG = "catalog.sqlite"  # which makes a directory a store
SHOWN = 60  # characters of a value that is wrong
NO_MODEL = "none"
MODEL_NAMES = (
    "wordllama, minilm, sentence-transformers, fastembed, open-clip, ollama, openai, or one of a "
    "package"
)
OF_IMAGES = "open-clip"  # the model of images that messages name
_OF_TEXTS = (
    "wordllama",
    "minilm",
    "onnx",
    "sentence-transformers",
    "fastembed",
    "ollama",
    "openai",
)


def is_url(store: str) -> bool:
    """Whether the argument is the URL of a remote store, and not a directory."""
    if store.startswith(("http://", "https://")):
        return True
    scheme, mark, _ = store.partition("://")
    if not mark:
        return False
    from retrieval_store import plugins

    return plugins.is_installed(plugins.STORES, scheme.lower())


def addresses_in(store: str) -> str | list[str]:
    """The URL in the argument, or a list of the URLs of several nodes of a cluster, which are
    separated by commas."""
    addresses = re.split(",(?=https?://)", store)
    return addresses if len(addresses) > 1 else store


def has_catalog(store: str) -> bool:
    """Whether a directory contains a store."""
    return os.path.lexists(os.path.join(store, CATALOG))


def is_store(store: str) -> bool:
    """Whether a store exists. A URL counts as a store without being tried.

    Args:
        store: a directory, or a URL.
    """
    return is_url(store) or has_catalog(store)


@contextmanager
def open_client(
    store: str, *, writes: bool = False, creates: bool = False, **options: Any
) -> Iterator["Client"]:
    """A context manager that yields a client of a store, and closes it at the end. The key of a
    server comes from the environment.

    Args:
        store: a directory, or a URL.
        writes: whether the client can write.
        creates: whether a missing store is created, if it is a directory.
        options: arguments of `Client`, such as `trust`.

    Raises:
        NotFoundError: the store doesn't exist and isn't created.
    """
    from retrieval_store.api.client import Client

    if not creates:
        _refuse_missing(store)
    if is_url(store):
        opened = Client(url=addresses_in(store), **options, **_key())
    else:
        opened = Client(store, create=creates, read_only=not writes, **options)
    with opened as client:
        yield client


@contextmanager
def open_session(store: str, *, writes: bool = False, rebuild: bool = False) -> Iterator["Session"]:
    """A context manager that yields a session of a store. With it, the collections of both `Client`
    and `QdrantClient` are visible. rebuild: whether to ignore and rebuild the files that are
    derived from the points."""
    from retrieval_store import backends

    _refuse_missing(store)
    if is_url(store):
        session = backends.open_remote(addresses_in(store), None, True, _key())
    else:
        mode: Mode = "full" if writes else "read-only"
        session = backends.open_path(Path(store).resolve(), mode, rebuild=rebuild, create=False)
    try:
        yield session
    finally:
        session.close()


def _refuse_missing(store: str) -> None:
    """Raise NotFoundError for a directory without a store."""
    if not is_store(store):
        raise NotFoundError(f"there is no store at {store}")


def _key() -> dict[str, Any]:
    keys = (os.environ.get(name) for name in KEYS)
    key = next((candidate for candidate in keys if candidate), None)
    return {"api_key": key} if key else {}


def collection_of(client: "Client", name: str, *, embeds: bool = False) -> "Collection":
    """The collection of this name.

    Args:
        client: the client from `open_client`.
        name: the name that the user passed.
        embeds: whether the collection is opened with its stored embedding function.

    Raises:
        NotFoundError: no collection has this name; the message lists the existing names.
    """
    try:
        if embeds:
            return client.get_collection(name)
        return client.get_collection(name, embedding_function=None)
    except (NotFoundError, InvalidArgumentError):  # which may say what names there can be
        refuse_unknown(client.stats()["by_collection"], name)
        raise


def refuse_unknown(names: Iterable[str], name: str) -> None:
    """Raise NotFoundError for a name that isn't among `names`."""
    existing = sorted(names)
    if name not in existing:
        from retrieval_store.base.validation import list_ids

        listed = f"there are {list_ids(existing)}" if existing else "the store has no collections"
        raise NotFoundError(f"there is no collection {name!r}; {listed}")


def record_of(session: "Session", name: str) -> "CollectionRecord":
    """The record of the collection with this name, whether `Client` or `QdrantClient` created
    it."""
    records = {record.name: record for record in session.store.page(None, 0)}
    refuse_unknown(records, name)
    return records[name]


def names_completed(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Completions for a shell: the names of collections that begin with this text, in the store
    that an earlier argument names, if that is a directory. Only printable names are returned, since
    they are printed to a terminal."""
    store = str(ctx.params.get("store"))
    if is_url(store):
        return []
    with suppress(RetrievalStoreError, OSError), open_session(store) as session:
        names = [record.name for record in session.store.page(None, 0)]
        return [
            CompletionItem(name)
            for name in names
            if name.startswith(incomplete) and name.isprintable()
        ]
    return []


Command = TypeVar("Command", bound=Callable[..., Any])
FILE = click.Path(path_type=Path)


class TextParam(click.ParamType):  # type: ignore[type-arg]  # since click 8.4
    """The type of arguments that are stored as text. It refuses bytes that are not UTF-8."""

    name = "text"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        try:
            value.encode()
        except UnicodeError:
            self.fail(f"{value!r} isn't valid UTF-8", param, ctx)
        return value


TEXT = TextParam()


class Json(click.ParamType):  # type: ignore[type-arg]  # since click 8.4
    """The type of arguments that are JSON values of one kind. "-" reads the JSON from the standard
    input, and "@FILE" reads it from a file."""

    name = "json"

    def __init__(self, kind: type, what: str) -> None:
        self._kind = kind
        self._what = what

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if isinstance(value, self._kind):
            return value
        try:
            parsed = orjson.loads(_text_of(value))
        except UnicodeError:
            self.fail(f"{cut_text(value, SHOWN)!r} isn't valid UTF-8", param, ctx)
        except OSError as error:
            self.fail(f"{value}: {error.strerror}", param, ctx)
        except orjson.JSONDecodeError as error:
            self.fail(f"{cut_text(value, SHOWN)} is no JSON: {error}", param, ctx)
        if not isinstance(parsed, self._kind):
            self.fail(f"{cut_text(value, SHOWN)} is JSON, but not {self._what}", param, ctx)
        return parsed


def _text_of(value: str) -> bytes:
    if value == "-":
        return sys.stdin.buffer.read()
    return Path(value[1:]).read_bytes() if value.startswith("@") else value.encode()


def refuse_taken(target: Path) -> None:
    """Raise AlreadyExistsError for a path that exists."""
    if os.path.lexists(target):
        raise AlreadyExistsError(f"{target} is there already; it replaces nothing")


store = click.argument("store", type=click.Path(file_okay=False))
collection = click.argument("collection", type=TEXT, shell_complete=names_completed)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
trust = click.option(
    "--trust",
    is_flag=True,
    help="Let the store's embedding function use the network, environment variables and files.",
)
yes = click.option("-y", "--yes", is_flag=True, help="Don't ask for confirmation.")
quiet = click.option("-q", "--quiet", is_flag=True, help="Show no progress bar.")
where = click.option(
    "--where",
    type=Json(dict, "an object"),
    metavar="JSON",
    help='Filter on metadata, as JSON: \'{"year": {"$gte": 2020}}\', "-" for stdin, or @FILE.',
)
where_document = click.option(
    "--where-document",
    type=Json(dict, "an object"),
    metavar="JSON",
    help='Filter on documents, as JSON: \'{"$contains": "wine"}\'.',
)


def filters(command: Command) -> Command:
    """A decorator that adds the options `--where` and `--where-document`. The arguments `where` and
    `where_document` are then JSON objects, or None."""
    return where(where_document(command))


DAMAGED, INTERRUPTED = 3, 130  # exit codes
GAP = 3  # between two columns of a table
UNITS = ("B", "kB", "MB", "GB", "TB")
SHOWN = 10  # ids that aren't there
MAX_CELL = 2_000  # characters of a cell; a terminal shows fewer


def has_bar(quiet: bool) -> bool:
    """Whether a progress bar is shown: on a terminal, unless the user chose `--quiet`.

    Args:
        quiet: the value of the option `--quiet`.
    """
    return not quiet and sys.stderr.isatty()


def complain(message: str) -> None:
    """Print a line on the standard error.

    Args:
        message: unprintable characters in it are replaced by their numbers, as in `say`.
    """
    click.echo(printable(message), err=True)


def say(message: str) -> None:
    """Print a line of output.

    Args:
        message: may quote untrusted stored text; unprintable characters (escape sequences, text
            direction) are replaced by their numbers.
    """
    click.echo(printable(message))


def report_missing(ids: Sequence[str]) -> None:
    """Print that no point has these ids."""
    for point_id in ids[:SHOWN]:
        complain(f"no point has the id {point_id!r}")
    if len(ids) > SHOWN:
        complain(f"and none has any of {len(ids) - SHOWN:,} others")


def print_json(value: Any) -> None:
    """Print a line of JSON. On a terminal, characters that would control the terminal are escaped.

    Args:
        value: JSON data, or numpy's arrays; anything else is printed as a string.
    """
    line = orjson.dumps(value, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)
    if sys.stdout.isatty():
        click.echo("".join(map(_escape_character, line.decode())))
    else:
        click.echo(line)


def _escape_character(character: str) -> str:
    """A character in JSON, escaped as its number unless it is printable."""
    return character if character.isprintable() else json.dumps(character)[1:-1]


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows below the names of their columns: as a drawn table on a terminal, otherwise
    separated by tabs."""
    cells = [[format_cell(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in [columns, *cells]:
            click.echo("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    columns_of_cells = [[name, *(row[i] for row in cells)] for i, name in enumerate(columns)]
    room = console.width - GAP * (len(columns) - 1)
    for column, width in zip(columns_of_cells, widths(columns_of_cells, room), strict=True):
        is_number = len(column) > 1 and all(map(_is_number, column[1:]))
        drawn.add_column(
            Text(column[0]),
            justify="right" if is_number else "left",
            no_wrap=True,
            overflow="ellipsis",
            width=width,
        )
    for row in cells:
        drawn.add_row(*map(Text, row))
    console.print(drawn)


def widths(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """The widths of columns, so that all columns fit into `room` characters. The space that narrow
    columns do not need is divided among the wide columns."""
    from rich.cells import cell_len

    needed = [max(map(cell_len, column)) for column in columns]
    allotted = [0] * len(needed)
    left = room
    for place, i in enumerate(sorted(range(len(needed)), key=needed.__getitem__)):
        allotted[i] = max(1, min(needed[i], left // (len(needed) - place)))
        left -= allotted[i]
    return allotted


def facts(pairs: Iterable[tuple[str, Any]]) -> None:
    """Print facts, one in each line; None values are omitted."""
    lines = [(name, format_cell(value)) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in lines), default=0)
    for name, value in lines:
        click.echo(f"{name:<{width}}  {value}")


def format_cell(value: Any) -> str:
    """A value as a cell of a table."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, dict | list):
        value = orjson.dumps(value, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    return printable(str(value)[:MAX_CELL])


def _is_number(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").replace("-", "").isdigit()


def size(count: int | None) -> str | None:
    """A number of bytes as text, in the largest unit in which it is at least 1."""
    if count is None:
        return None
    number, unit = float(count), 0
    while number >= 1000 and unit < len(UNITS) - 1:
        number, unit = number / 1000, unit + 1
    return f"{number:.0f} {UNITS[unit]}" if unit < 2 else f"{number:.1f} {UNITS[unit]}"


@contextmanager
def exits_at_sigterm() -> Iterator[None]:
    """A context manager: in its `with` block SIGTERM ends the process by a normal exit, so that
    open resources are released. After a server has ended, uvicorn raises the signal again, which
    would otherwise kill the process immediately."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def installed_models() -> dict[str, str]:
    """The text models that are installed together with their weights, and the strengths of each."""
    from importlib.util import find_spec

    from retrieval_store.embeddings.onnx import functions

    installed = {"wordllama": "fast"} if find_spec("wordllama") else {}
    return installed | ({"minilm": "finds more"} if functions.is_installed() else {})


def make_function(name: str) -> Any:
    """Create the embedding function of this name without settings."""
    from retrieval_store import plugins
    from retrieval_store.api.embedding_functions import function_of

    if not plugins.is_known(plugins.EMBEDDING_FUNCTIONS, name):
        raise click.UsageError(f"there is no model {name!r}; expected one of {MODEL_NAMES}")
    return function_of(name, "--model")


def remembered_function(points: Any) -> dict[str, Any] | None:
    """The specification of the embedding function that a collection has stored."""
    spec: dict[str, Any] | None = points.configuration["embedding_function"]
    return spec


def name_of_function(spec: dict[str, Any] | None) -> str:
    """The name of a stored embedding function."""
    return NO_MODEL if spec is None else str(spec.get("name") or spec.get("custom"))


def embeds_images(spec: dict[str, Any] | None) -> bool:
    """Whether the stored embedding function can embed images, judged by its name."""
    return spec is not None and name_of_function(spec) not in _OF_TEXTS


def refuse_images(spec: dict[str, Any] | None, remedy: str = "") -> None:
    """Refuse a collection whose model can't embed images.

    Args:
        spec: a collection's `configuration["embedding_function"]`.
        remedy: what the user can do instead, for the message.

    Raises:
        click.UsageError: no function is stored, or it only embeds texts.
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
    """A collection, opened with the embedding function that the user names. If it has stored the
    same function with other settings, the stored settings are used. If it has stored another
    function, the user's function is only used if the stored function can't be created here.

    Args:
        client: the client of the store.
        name: the name of the collection.
        model: the name of the embedding function.
        refuse_if_remembered_is_missing: whether the user's function is refused even if the stored
            function can't be created here.
        arguments: further arguments of `Client.get_collection`.

    Raises:
        click.UsageError: there is no such model, or the collection has stored another function.
    """
    points = collection_of(client, name)
    spec = remembered_function(points)
    function = make_function(model)
    try:
        return client.get_collection(name, embedding_function=function, **arguments)
    except ConflictError:
        if name_of_function(spec) == model:  # by other settings, which are its own
            return client.get_collection(name, **arguments)
        is_missing = spec is not None and not _is_installed(spec)
        if is_missing and not refuse_if_remembered_is_missing:
            return client.get_collection(
                name, embedding_function=function, check_model=False, **arguments
            )
        raise click.UsageError(
            f"collection {name!r} has vectors of the model {name_of_function(spec)}, not of {model}"
        ) from None


def _is_installed(spec: dict[str, Any]) -> bool:
    from retrieval_store import plugins

    name = spec.get("name")
    return isinstance(name, str) and plugins.is_known(plugins.EMBEDDING_FUNCTIONS, name)
