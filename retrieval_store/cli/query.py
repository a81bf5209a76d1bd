"""Commands that show records, find the best records, explain why records are found, and measure how
often a search finds the right records: `peek`, `get`, `facet`, `query`, `why`, `evaluate`. They
open stores read-only.
"""

import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from retrieval_store.base.system import count_in_words, printable
from retrieval_store.cli import shared
from retrieval_store.cli.shared import (
    Command,
    Json,
    collection_of,
    complain,
    open_client,
    print_json,
    report_missing,
    say,
    table,
)

if TYPE_CHECKING:
    from retrieval_store.api.collection import Collection
    from retrieval_store.evaluation.measures import Comparison, Evaluation

FIELDS = ("documents", "metadatas", "uris")
VECTORS = ("embeddings", "sparse_embeddings")
RANKED = ("distance", "score")
COLUMNS = ("id", "document", "metadata", "uri", "embedding", "sparse_embedding")
MODES = ("dense", "text", "hybrid")
FUSIONS = ("adaptive", "rrf", "weighted")  # written out, so that --help loads nothing
embeddings = click.option(
    "--embeddings", is_flag=True, help="Print the embeddings too, dense and sparse."
)
model = click.option(
    "--model",
    type=shared.TEXT,
    metavar="NAME",
    help=f"Embedding function for queries, if the collection remembers none: {shared.MODEL_NAMES}.",
)


def _limit(*names: str, help: str = "Number of records.") -> Callable[[Command], Command]:
    """The option for a number of records: at least 1, by default 10."""
    return click.option(*names, type=click.IntRange(1), default=10, show_default=True, help=help)


@click.command()
@shared.store
@shared.collection
@_limit("-n", "--limit")
@embeddings
@shared.as_json
def peek(store: str, collection: str, limit: int, embeddings: bool, as_json: bool) -> None:
    """Show the first records of a collection."""
    with open_client(store) as client:
        result = collection_of(client, collection).get(
            limit=limit, include=_fields_to_include(embeddings)
        )
        _show(_records(result), as_json)


@click.command()
@shared.store
@shared.collection
@click.argument("ids", type=shared.TEXT, nargs=-1)
@shared.filters
@click.option("-n", "--limit", type=click.IntRange(0), help="Maximum number of records.")
@click.option("--offset", type=click.IntRange(0), default=0, help="Number of records to skip.")
@click.option(
    "--order-by",
    type=shared.TEXT,
    metavar="KEY",
    help="Sort by the numbers or dates under this metadata key.",
)
@click.option("--descending", is_flag=True, help="Sort the greatest first.")
@embeddings
@shared.as_json
def get(
    store: str,
    collection: str,
    ids: Sequence[str],
    where: Any,
    where_document: Any,
    limit: int | None,
    offset: int,
    order_by: str | None,
    descending: bool,
    embeddings: bool,
    as_json: bool,
) -> None:
    """Show the records with these ids, those that match filters, or all. With --json, print one
    record per line, in a format that `add` reads."""
    with open_client(store) as client:
        result = collection_of(client, collection).get(
            list(ids) or None,
            where,
            limit,
            offset,
            where_document,
            _fields_to_include(embeddings),
            order_by=order_by,
            descending=descending,
        )
        _show(_records(result), as_json)
        missing: list[str] = []
        is_whole = not offset and limit is None and order_by is None
        if is_whole and where is None and where_document is None:
            found = set(result["ids"])
            missing = [record_id for record_id in ids if record_id not in found]
    report_missing(missing)
    if missing and not result["ids"]:
        raise click.exceptions.Exit(1)


@click.command()
@shared.store
@shared.collection
@click.argument("key", type=shared.TEXT)
@_limit("-n", "--limit", help="Number of values.")
@shared.filters
@shared.as_json
def facet(
    store: str,
    collection: str,
    key: str,
    limit: int,
    where: Any,
    where_document: Any,
    as_json: bool,
) -> None:
    """Count the records for each value of a metadata KEY, the most frequent value first."""
    with open_client(store) as client:
        counted = collection_of(client, collection).facet(key, where, where_document, limit)
    if not as_json:
        # A table groups the digits of numbers, which would make a year of 2019 "2,019".
        shown = [(v if isinstance(v, str) else str(v).lower(), points) for v, points in counted]
        table(("value", "points"), shown)
        return
    for value, points in counted:
        print_json({"value": value, "points": points})


def question(command: Command) -> Command:
    """A decorator that adds the options of a query to a command; `_open_and_parse` reads them."""
    for decorate in reversed(_QUESTION):
        command = decorate(command)
    return command


_QUESTION: Sequence[Callable[[Any], Any]] = (
    shared.store,
    shared.collection,
    click.argument("text", type=shared.TEXT, required=False),
    click.option(
        "--image", type=click.Path(exists=True, dir_okay=False), help="Query with an image file."
    ),
    click.option(
        "--vector",
        type=Json(list, "a list of numbers"),
        metavar="JSON",
        help='Query with a vector: a JSON list of numbers, "-" for stdin, or @FILE.',
    ),
    _limit("-k", "--limit"),
    shared.filters,
    click.option(
        "--mode",
        type=click.Choice(MODES),
        help="Rank by embeddings, by words, or by both.  [default: hybrid for a TEXT where a "
        "folder was synced, else dense]",
    ),
    click.option("--alpha", type=float, help="Weight of embeddings in hybrid mode, from 0 to 1."),
    click.option(
        "--fusion", type=click.Choice(FUSIONS), help="How hybrid mode merges both rankings."
    ),
    click.option(
        "--offset", type=click.IntRange(0), default=0, help="Number of best records to skip."
    ),
    click.option("--max-distance", type=float, help="Omit records with a greater distance."),
    click.option(
        "--min-score", type=float, help="Omit records with a lower score (not in dense mode)."
    ),
    click.option(
        "--rerank",
        type=shared.TEXT,
        metavar="NAME",
        help="Re-order the best records by this re-ranker.",
    ),
    click.option(
        "--rerank-from",
        type=click.IntRange(1),
        help="Number of records to re-rank.  [default: 50, or -k]",
    ),
    model,
    click.option(
        "--exact", is_flag=True, help="Find exactly the nearest records, without an index."
    ),
    click.option(
        "--recall", type=float, help="Share of the true nearest records to find, from 0 to 1."
    ),
)


@click.command()
@question
@click.option("--explain", is_flag=True, help="Print how the query was run, instead of its hits.")
@embeddings
@shared.trust
@shared.as_json
def query(
    store: str,
    collection: str,
    embeddings: bool,
    explain: bool,
    trust: bool,
    as_json: bool,
    **how: Any,
) -> None:
    """Find the records that match a TEXT, an image or a vector best.

    The collection's embedding function embeds the text or image.
    """
    with _open_and_parse(store, collection, trust, how) as (points, arguments):
        if explain:
            show = print_json if as_json else _explain
            show(points.explain(**arguments))
            return
        include = cast(Any, [*_fields_to_include(embeddings), "distances"])
        hits = _records(points.query(include=include, **arguments))
        _show(hits, as_json, are_hits=not embeddings)


@click.command()
@question
@click.option(
    "--id",
    "--record",  # its older name
    "ids",
    type=shared.TEXT,
    multiple=True,
    metavar="ID",
    help="Explain this record (repeatable).",
)
@click.option(
    "--containing",
    type=shared.TEXT,
    metavar="PASSAGE",
    help="Explain records whose document contains this text.",
)
@click.option(
    "--same",
    type=shared.TEXT,
    metavar="KEY",
    help="Report hits with the same value under this key.",
)
@shared.trust
@shared.as_json
def why(
    store: str,
    collection: str,
    ids: Sequence[str],
    containing: str | None,
    same: str | None,
    trust: bool,
    as_json: bool,
    **how: Any,
) -> None:
    """Explain why a query finds or misses records: their exact ranks, the conditions that exclude
    them, and the changes that would include them.

    The query is given as in the command `query`. Choose the records with --id, or with
    --containing by a text in their documents.
    """
    if bool(ids) == (containing is not None):
        raise click.UsageError("expected either --id or --containing, to say what is meant")
    named: Any = {"ids": [*ids]} if ids else {"containing": containing}
    with _open_and_parse(store, collection, trust, how) as (points, arguments):
        reasons = points.why(**arguments, **named, same=same)
    if as_json:
        for reason in reasons:
            print_json(asdict(reason))
        if reasons.note:
            complain(reasons.note)
    else:
        click.echo(str(reasons))
    if not any(reason.exists for reason in reasons):
        raise click.exceptions.Exit(1)


@contextmanager
def _open_and_parse(
    store: str, collection: str, trust: bool, how: dict[str, Any]
) -> "Iterator[tuple[Collection, dict[str, Any]]]":
    """A context manager that yields the opened collection, and the arguments of `Collection.query`
    from the command's options."""
    text, image, vector = (how.pop(name) for name in ("text", "image", "vector"))
    model, limit = how.pop("model"), how.pop("limit")
    if sum(source is not None for source in (text, image, vector)) != 1 and how["mode"] != "hybrid":
        raise click.UsageError("expected one of TEXT, --image and --vector")
    if text is not None and not text.strip():
        raise click.UsageError("TEXT is empty, expected what to look for")
    sources: dict[str, Any] = {
        "query_texts": text,
        "query_images": None if image is None else [_image(image)],
        "query_embeddings": None if vector is None else [vector],
    }
    arguments: dict[str, Any] = {
        name: source for name, source in sources.items() if source is not None
    }
    embeds = vector is None and how["mode"] != "text"
    if model is not None and not embeds:
        way = "--mode text" if vector is None else "--vector"
        raise click.UsageError(f"--model is given with {way}, for which nothing is embedded")
    with open_client(store, trust=trust) as client:
        points = collection_of(client, collection, embeds=embeds)
        how["mode"] = how["mode"] or _mode_by_contents(points, text, how["max_distance"])
        if image is not None and model is None:
            shared.refuse_images(shared.remembered_function(points))
        if embeds and model is not None:
            points = shared.collection_by(client, collection, model)
        from retrieval_store.frameworks import query_options

        yield points, query_options({**arguments, "n_results": limit, **how})


@click.command()
@shared.store
@shared.collection
@click.argument("questions", type=shared.FILE)
@_limit("-k", "--k", "k", help="Number of hits that count.")
@click.option(
    "--mode",
    "modes",
    type=click.Choice(MODES),
    multiple=True,
    help="Evaluate only this mode (repeatable).",
)
@shared.filters
@click.option(
    "--compare",
    type=click.Choice(MODES),
    nargs=2,
    help="Compare two modes question by question.",
)
@click.option(
    "--measure",
    type=click.Choice(["recall", "mrr", "ndcg"]),
    default="ndcg",
    show_default=True,
    help="Measure that --compare uses.",
)
@model
@shared.trust
@shared.as_json
def evaluate(
    store: str,
    collection: str,
    questions: Path,
    k: int,
    modes: Sequence[str],
    where: Any,
    where_document: Any,
    compare: tuple[str, str] | None,
    measure: Any,
    model: str | None,
    trust: bool,
    as_json: bool,
) -> None:
    """Measure how often a search finds the right records: recall, MRR and nDCG, by mode.

    QUESTIONS is a file with one JSON object per line: {"query": "…", "ids": ["…"]}. "ids" lists
    the right records, or is an object with a grade for each of them.
    """
    if compare and modes and not {*compare} <= {*modes}:
        raise click.UsageError("--compare wants two of those that --mode names")
    from retrieval_store.evaluation import evaluate

    with open_client(store, trust=trust) as client:
        if model is None:
            points = collection_of(client, collection, embeds=True)
        else:
            points = shared.collection_by(client, collection, model)
        filters = {"where": where, "where_document": where_document}
        result = evaluate(points, questions, k, modes=cast(Any, modes or None), **filters)
    compared = result.compare(*compare, measure=measure) if compare else None
    if as_json:
        print_json(_estimates_of(result, compared))
        return
    table(*result.table())
    if sys.stdout.isatty():
        say(count_in_words(len(result.questions), "question"))
    if compared is not None:
        say(compared.summary)
        if compared.worse or compared.better:
            table(*compared.table())


def _estimates_of(result: "Evaluation", compared: "Comparison | None") -> dict[str, Any]:
    settings = {name: setting.estimates for name, setting in result.settings.items()}
    estimates = {
        "k": result.k,
        "questions": len(result.questions),
        "confidence": result.confidence,
        "missing": result.missing,
        "settings": settings,
    }
    return (
        estimates
        if compared is None
        else estimates | {"comparison": _estimates_of_comparison(compared)}
    )


def _estimates_of_comparison(compared: "Comparison") -> dict[str, Any]:
    names = ("first", "second", "measure", "difference")
    changes = [
        {
            "query": change.question.query,
            "ids": [*change.question.grades],
            "first": change.first,
            "second": change.second,
            "found_by_first": change.found_by_first,
            "found_by_second": change.found_by_second,
        }
        for change in compared.changes
    ]
    return {name: getattr(compared, name) for name in names} | {"changes": changes}


def _mode_by_contents(points: "Collection", text: str | None, max_distance: float | None) -> str:
    """The default mode of a query. It is "dense", as in Python, but "hybrid" for a text in a
    collection of the files of a folder. A limit of distances requires "dense"."""
    # Not as agents are answered, by words where nothing embeds: that would hide a lacking model.
    is_hybrid = text is not None and max_distance is None and _holds_a_folder(points)
    return "hybrid" if is_hybrid else "dense"


def _holds_a_folder(collection: "Collection") -> bool:
    """Whether a sync of a folder has added the first or the last record of a collection. A check of
    all records would take as long as a query."""
    from retrieval_store.loaders.passages import is_of_folder

    for offset in (0, max(0, collection.count() - 1)):
        result = collection.get(limit=1, offset=offset, include=["metadatas", "uris"])
        metadata = (result["metadatas"][0] or {}) if result["ids"] else {}
        has_source = isinstance(metadata.get("source"), str)
        if has_source and is_of_folder(result["ids"][0], metadata, result["uris"][0]):
            return True
    return False


def _image(path: str) -> Any:
    from retrieval_store.loaders.images import ImageLoader

    return ImageLoader(root=Path(path).resolve().parent)([str(Path(path).resolve())])[0]


def _fields_to_include(embeddings: bool) -> Any:
    return [*FIELDS, *VECTORS] if embeddings else [*FIELDS]


def _records(result: Any) -> Iterable[dict[str, Any]]:
    """The records in a result of `get` or `query`, each as a dict without the fields that the
    record lacks."""
    from retrieval_store.api.frames import rows_of

    for row in rows_of(result):
        ranked = {name: row[name] for name in RANKED if name in row}
        fields = {name: _plain(row[name]) for name in COLUMNS if row.get(name) is not None}
        yield {"id": fields.pop("id"), **ranked, **fields}


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _show(records: Iterable[Mapping[str, Any]], as_json: bool, are_hits: bool = False) -> None:
    """Print records, without the metadata keys that a sync or LlamaIndex adds. With `as_json`, each
    record is printed as JSON with all fields. Otherwise hits with a document are printed as a few
    lines each, and other records as a table."""
    if as_json:
        for record in records:
            print_json(record)
        return
    from retrieval_store.loaders.passages import show_metadata

    rows = [{**row, "metadata": show_metadata(row.get("metadata"))} for row in records]
    if not rows and sys.stdout.isatty():
        click.echo("no points")
        return
    if are_hits and all(row.get("document") for row in rows):
        _show_passages(rows)
        return
    columns = ("id", *RANKED, *COLUMNS[1:])
    filled = [name for name in columns if any(row.get(name) is not None for row in rows)] or ["id"]
    table(filled, [[row.get(name) for name in filled] for row in rows])


CITED = ("path", "title", "page", "headings", "place")  # what `cite` says
LINES, NARROW = 4, 40  # of a document; columns that a terminal has at least


def _show_passages(hits: Sequence[Mapping[str, Any]]) -> None:
    """Print hits for a person: the source of each hit, its text, and its other metadata."""
    from retrieval_store.loaders.passages import cite

    width = max(NARROW, shutil.get_terminal_size().columns)
    for i, hit in enumerate(hits):
        ranked = [f"{name} {hit[name]:.4f}" for name in RANKED if hit.get(name) is not None]
        click.echo(click.style(f"{i + 1}. {printable(str(hit['id']))}", bold=True), nl=False)
        click.echo(f"  {', '.join(ranked)}")
        about = hit["metadata"] or {}
        if isinstance(about.get("path"), str):
            click.echo(f"   {printable(cite(about))}")
            about = {key: value for key, value in about.items() if key not in CITED}
        shown_text = printable(" ".join(hit["document"].split())[: LINES * width])
        lines = textwrap.wrap(shown_text, width - 3, max_lines=LINES, placeholder=" …")
        for line in lines:
            click.echo(f"   {line}")
        if hit.get("uri"):
            click.echo(f"   {printable(hit['uri'])}"[:width])
        if about:
            click.echo(f"   {shared.format_cell(about)}"[:width])


def _explain(explanation: Any) -> None:
    for name, value in explanation.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for row in value:
                table(list(row), [list(row.values())])
        elif value not in (None, [], {}):
            click.echo(f"{name}: {value if not isinstance(value, dict) else _pairs(value)}")


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )
