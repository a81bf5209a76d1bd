"""The command `add`. It adds records from files and folders, and reports skipped files."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from retrieval_store import plugins
from retrieval_store.cli import plugin
from retrieval_store.errors import (
    EmbeddingFunctionError,
    NotFoundError,
    RetrievalStoreError,
)

if TYPE_CHECKING:
    from retrieval_store import Client, Collection

Command = TypeVar("Command", bound=Callable[..., Any])
NONE = "none"  # instead of a model
MODELS = (
    "wordllama, minilm, sentence-transformers, fastembed, open-clip, ollama, openai, or one of a "
    "package"
)
SHOWN = 10  # files that couldn't be read
STDIN = "stdin"
FORMATS = click.Choice(["jsonl", "csv", "tsv", "parquet", "arrays"])
ID_COLUMN, DOCUMENT_COLUMN = "id", "document"
DISTANCES = click.Choice(["cosine", "l2", "ip"])
USUAL_DISTANCE = "cosine"  # if neither the file nor the model declares one
_OPTIONS = (
    click.option("--id-column", type=plugin.TEXT, default=ID_COLUMN, show_default=True,
                 help="Column of the ids."),
    click.option("--document-column", type=plugin.TEXT, default=DOCUMENT_COLUMN,
                 show_default=True, help="Column of the documents."),
    click.option("--embed", type=click.Choice(["documents", "uris"]),
                 help="What to embed for records with a document and a uri."),
    click.option(
        "--distance",
        type=DISTANCES,
        help="Distance of a new collection.  [default: what suits the model]",
    ),
    click.option("--model", type=plugin.TEXT, metavar="NAME",
                 help=f"Embedding function of a new collection: {MODELS}; 'none' for none."),
    click.option("--batch", default=1_000, show_default=True, type=click.IntRange(1),
                 help="Number of records per write."),
    click.option("--resume", is_flag=True, help="Skip records that exist."),
    click.option("--upsert", is_flag=True, help="Update records that exist."),
    plugin.trust,
    plugin.quiet,
)  # fmt: skip


def adding_options(command: Command) -> Command:
    """A decorator that adds the options of all commands that add records."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class IncomingRecords:
    """The records to add, and the settings for creating their collection, if it doesn't exist.
    which: the options that select files of a folder; columns: the format of a file, and the names
    of its columns with the ids and the documents; images: the folder that contains the images to
    which the uris in a file refer; how: the other arguments of the function that adds the records;
    syncs: whether the collection is synced with a folder; tells: whether a message is printed when
    the collection is created."""

    path: Path
    which: dict[str, Any]
    is_folder: bool
    columns: dict[str, Any]
    embed: Any
    images: Path
    how: dict[str, Any]
    distance: str | None
    model: str | None
    trust: bool
    syncs: bool = False
    tells: bool = True

    def checked(self, points: "Collection | None") -> Any:
        """The report of the function `check` on the records of the file, which must fit the
        collection `points`; None for a folder."""
        from retrieval_store_files import check

        if self.is_folder:
            return None
        return check(self.path, points, **self.columns, embed=self.embed)

    def loader(self, spec: dict[str, Any] | None) -> dict[str, Any]:
        """The keyword argument `data_loader` for a collection, as a dict. The loader loads the
        images of a folder, or the images to which the uris in a file refer. The dict is empty if no
        images have to be loaded. spec: the stored settings of the collection's embedding
        function."""
        if not self.is_folder:
            return _loader_of(self.images, spec, "") if self.embed == "uris" else {}
        wants_images = self.which["kind"] == "images" or self.which["captions"]
        if self.syncs:  # the report lists skipped files
            needs_loader = wants_images or _embeds_images(spec)
            return _loader_of(self.path, spec, "") if needs_loader else {}
        from retrieval_store_files.find import FolderRules, find_files

        files = find_files(self.path, FolderRules(**self.which))
        if not files.ids and not files.unreadable:
            what = self.which["kind"] or "texts or images"
            raise click.UsageError(f"there are no {what} in the folder {self.path}")
        if files.image is None:
            return {}
        remedy = "" if self.which["kind"] == "images" else "--kind texts leaves them out, or "
        return _loader_of(self.path, spec, remedy)

    def refuse_nothing(self, points: "Collection") -> None:
        """If this is a sync, raise an error for a folder that has no files to sync, unless
        `allow_empty` is set."""
        if self.syncs:
            from retrieval_store_files.find import rules_of
            from retrieval_store_files.sync import files_to_sync

            rules = rules_of(**self.which, reader=None)
            name = self.how["name"] or str(self.path)
            files_to_sync(points, self.path, name, rules, self.how["allow_empty"])

    def add_to(self, points: "Collection") -> Any:
        from retrieval_store_files import add_file, add_folder, sync_folder

        if self.syncs:
            return sync_folder(points, self.path, **self.which, **self.how)
        if self.is_folder:
            return add_folder(points, self.path, **self.which, **self.how)
        return add_file(points, self.path, **self.columns, embed=self.embed, **self.how)


def _loader_of(folder: Path, spec: dict[str, Any] | None, remedy: str) -> dict[str, Any]:
    """The keyword argument `data_loader` for a collection, as a dict. The loader loads only images
    in `folder`. Raises an error if the embedding function can't embed images. spec: the stored
    settings of the collection's embedding function; remedy: the end of the error message."""
    plugin.refuse_images(spec, remedy)
    from retrieval_store import ImageLoader

    return {"data_loader": ImageLoader(root=folder.resolve())}


@click.command()
@plugin.store
@plugin.collection
@click.argument("source", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--format", "format_", type=FORMATS, help="Format of the file.  [default: by its name]"
)
@click.option(
    "--kind",
    type=click.Choice(["texts", "images"]),
    help="Read only files of this kind in a folder.",
)
@click.option("--captions", is_flag=True, help="Take photo.txt as the caption of photo.jpg.")
@adding_options
def add(
    store: str,
    collection: str,
    source: Path,
    format_: Any,
    kind: Any,
    captions: bool,
    id_column: str,
    document_column: str,
    embed: Any,
    distance: str | None,
    model: str | None,
    batch: int,
    resume: bool,
    upsert: bool,
    trust: bool,
    quiet: bool,
) -> None:
    """Add the records of a file (JSONL, CSV, Parquet, or "-" for JSONL from stdin), or the
    texts and images in a folder. The whole file is checked before the first write. A missing
    store or collection is created. After an interruption, repeat the command with --resume."""
    if resume and upsert:
        raise click.UsageError(
            "--resume and --upsert: existing records are either skipped or updated"
        )
    if str(source) != "-" and not source.exists():
        raise click.UsageError(f"there is no file or folder {source}")
    is_folder = source.is_dir() and format_ != "arrays" and not _are_arrays(source)
    for option, is_given in (("--kind", kind is not None), ("--captions", captions)):
        if is_given and not is_folder:
            raise click.UsageError(f"{option} is for folders, which {source} isn't")
    for option, is_given in (
        ("--embed", embed is not None),
        ("--format", format_ is not None),
        ("--id-column", id_column != ID_COLUMN),
        ("--document-column", document_column != DOCUMENT_COLUMN),
    ):
        if is_given and is_folder:
            raise click.UsageError(f"{option} is for files of records, and {source} is a folder")
    if captions and kind == "texts":
        raise click.UsageError("--captions is for images, which --kind texts leaves out")
    how: dict[str, Any] = {"batch": batch, "resume": resume, "upsert": upsert}
    how["show_progress"] = plugin.has_bar(quiet)
    columns = {"format": format_, "id_column": id_column, "document_column": document_column}
    which = {"kind": kind, "captions": captions}
    with _readable(source) as path:
        images = path.parent if path == source else Path()
        if path != source:
            columns["format"] = format_ or "jsonl"
        incoming = IncomingRecords(
            path, which, is_folder, columns, embed, images, how, distance, model, trust
        )
        if is_there(store, collection):
            with plugin.open_client(store, writes=True, trust=trust) as client:
                added = incoming.add_to(existing_collection(client, collection, incoming))
        else:
            added = with_new(store, collection, incoming)
    _report_added(added)


def _are_arrays(folder: Path) -> bool:
    return (folder / "records.jsonl").exists() and (folder / "embeddings.npy").exists()


def _report_added(added: Any) -> None:
    from retrieval_store_files.reports import count_reasons

    parts = [f"added {added.added:,}"]
    parts += [f"updated {added.updated:,}"] if added.updated else []
    parts += [f"left out {added.skipped:,} that were there"] if added.skipped else []
    others = getattr(added, "left_out", ())
    parts += [f"left out {len(others):,} ({count_reasons(others)})"] if others else []
    plugin.say(", ".join(parts))
    report_unreadable(getattr(added, "unreadable", ()), "not added")


def report_unreadable(files: Sequence[Any], what: str) -> None:
    """Print the files that couldn't be read, with the reasons. what: the beginning of each line."""
    for file in files[:SHOWN]:
        plugin.complain(f"{what}: {correct_path(file.path)}: {file.why}")
    if len(files) > SHOWN:
        plugin.complain(f"and {len(files) - SHOWN:,} other files")


def correct_path(path: Path) -> Path:
    """The path relative to the current directory, if it lies in that directory. Otherwise the path
    is returned unchanged."""
    folder = Path.cwd()
    return path.relative_to(folder) if path.is_relative_to(folder) else path


@contextmanager
def _readable(source: Path) -> Iterator[Path]:
    """A context manager that returns a path to read from. The standard input ("-") is copied to a
    file, since the source is read twice."""
    if str(source) != "-":
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="retrieval-store-") as folder:
        path = Path(folder) / STDIN
        with path.open("xb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield path


def is_there(store: str, name: str) -> bool:
    """Whether a store has a collection of this name."""
    if not plugin.is_store(store):
        return False
    with suppress(NotFoundError), plugin.open_client(store) as client:
        plugin.collection_of(client, name)
        return True
    return False


def existing_collection(client: "Client", name: str, incoming: IncomingRecords) -> "Collection":
    """The existing collection `name`, opened for adding records. Raises an error if the requested
    distance or model differs from the collection's. Also raises an error if files of a folder are
    to be embedded, but there is no model."""
    points = plugin.collection_of(client, name)
    space = points.configuration["hnsw"]["space"]
    if incoming.distance not in (None, space):
        raise click.UsageError(
            f"collection {name!r} measures by {space}; --distance is for a new one"
        )
    spec = points.configuration["embedding_function"]
    model = incoming.model
    if model is not None and (model == NONE) != (spec is None):
        has = "no model" if spec is None else f"the model {_name_of(spec)}"
        raise click.UsageError(f"collection {name!r} has {has}; --model is for a new one")
    if incoming.is_folder and spec is None:
        _raise_no_model(f"collection {name!r} has none")
    if model is None or model == NONE:
        return client.get_collection(name, **incoming.loader(spec))
    opened: Collection = plugin.collection_by(
        client, name, model, refuse_if_remembered_is_missing=True, **incoming.loader(spec)
    )
    return opened


def _raise_no_model(why: str) -> None:
    raise click.UsageError(f"files of a folder are embedded by a model, and {why}: give --model")


def with_new(store: str, name: str, incoming: IncomingRecords) -> Any:
    """Create a collection in the store, add the records, and return the report. Before the store is
    changed, the records of a file are checked with a collection in memory. If an error leaves the
    new collection without records, it is deleted."""
    from retrieval_store import Client

    checked = incoming.checked(None)
    arguments, note = _collection_arguments(incoming, checked)
    with Client() as nowhere:
        rehearsed = nowhere.create_collection(name, **arguments)
        spec = rehearsed.configuration["embedding_function"]
        arguments |= (loader := incoming.loader(spec))
        function = arguments["embedding_function"]
        rehearsed = nowhere.get_collection(name, embedding_function=function, **loader)
        incoming.checked(rehearsed)
        incoming.refuse_nothing(rehearsed)
        if (checked is None or checked.embedded < checked.records) and spec is not None:
            _refuse_unusable(_name_of(spec), arguments["embedding_function"])
        space = rehearsed.configuration["hnsw"]["space"]
        if incoming.how.get("dry_run"):
            return incoming.add_to(rehearsed)
    with plugin.open_client(store, writes=True, creates=True, trust=incoming.trust) as client:
        points = client.create_collection(name, **arguments)
        try:
            added = incoming.add_to(points)
        except BaseException:
            with suppress(RetrievalStoreError):
                if not points.count():
                    client.delete_collection(name)
            raise
    model = "no model" if spec is None else f"model {_name_of(spec)}"
    if incoming.tells:
        plugin.say(f"made {name}: distance {space}, {model}{note}")
    return added


def _collection_arguments(incoming: IncomingRecords, checked: Any) -> tuple[dict[str, Any], str]:
    """The arguments for creating the collection, and a text with remarks on these arguments. The
    settings in the file become arguments, unless the command's options override them."""
    from retrieval_store_files.add import description_in, source_of
    from retrieval_store_files.formats.common import MAX_LINE_BYTES
    from retrieval_store_files.functions import agreeing, function_of_file, says_distance

    embeds = checked is None or checked.embedded < checked.records
    described = None
    if not incoming.is_folder:
        described = description_in(
            source_of(incoming.path, max_line_bytes=MAX_LINE_BYTES, **incoming.columns)
        )
    configuration: dict[str, Any] = {} if described is None else dict(described.configuration)
    function, note = None, ""
    if incoming.model == NONE:
        if incoming.is_folder:
            _raise_no_model("--model none leaves them without")
        if embeds:
            raise click.UsageError(
                f"{incoming.path.name} has records without an embedding, which a model makes, and "
                "--model none leaves the collection without one"
            )
    elif incoming.model is not None:
        function = _make_function(incoming.model)
    elif described is not None and described.model is not None:
        function = function_of_file(described.model, incoming.trust)
        if function is None:
            made_by = _name_of(described.model)
            note = f" (the file names {made_by}: use --model, or --trust)"
    elif embeds and described is None:
        function = _make_function("wordllama")
    distance = incoming.distance
    if distance is None and described is None and not says_distance(function):
        distance = USUAL_DISTANCE
    if distance is not None:
        hnsw = configuration.get("hnsw")
        others = hnsw if isinstance(hnsw, dict) else {}
        configuration["hnsw"] = {**others, "space": distance}
    if described is None and not embeds and incoming.distance is None:
        note = "; --distance and --model say otherwise"
    metadata = None if described is None else agreeing(described.metadata, configuration)
    return {
        "configuration": configuration or None,
        "metadata": metadata,
        "embedding_function": function,
    }, note


def _name_of(spec: dict[str, Any] | None) -> str:
    """The name of an embedding function; "none" if `spec` is None. spec: the settings of the
    function, as they are stored with a collection or in a file."""
    return NONE if spec is None else str(spec.get("name") or spec.get("custom"))


def _make_function(name: str) -> Any:
    """Create the embedding function of this name with its default settings."""
    from retrieval_store_files.functions import function_of

    if not plugins.is_known(plugins.EMBEDDING_FUNCTIONS, name):
        raise click.UsageError(f"there is no model {name!r}; expected one of {MODELS}")
    return function_of(name, "--model")


def _refuse_unusable(name: str, function: Any) -> None:
    """Raise an error if the embedding function can't embed a text, for example because a package is
    missing. Called before anything is created."""
    try:
        function(["a"])
    except RetrievalStoreError:
        raise
    except Exception as error:
        raise EmbeddingFunctionError(f"the model {name} can't embed: {error}") from error


def _embeds_images(spec: dict[str, Any] | None) -> bool:
    """Whether the embedding function of a collection can embed images. It counts as able to if this
    can't be known. spec: the stored settings of the function; None if the collection has no
    function."""
    try:
        plugin.refuse_images(spec)
    except click.UsageError:
        return False
    return True
