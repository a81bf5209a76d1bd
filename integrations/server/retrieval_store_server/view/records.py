"""Makes the parts of the page that show a store: its collections, their records, small pictures,
and a map.

A `thumbnail` is a small version of the image at a record's uri. A store's uris are untrusted: a
file is shown only if it is below the folder that the user has named, and no host is ever contacted.
The file is decoded within the loader's limits. The image is encoded again, so that only its pixels
reach the browser.

`draw` makes the map of a collection. It projects the records' vectors onto the plane in which the
vectors have the greatest variance, and colours the records by a field. `place` returns the
positions of other records on this map.
"""

import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np

from retrieval_store import SparseVector, plugins
from retrieval_store.errors import (
    DataLoaderError,
    InvalidArgumentError,
    NotFoundError,
    RetrievalStoreError,
)
from retrieval_store.extension import (
    DEFAULT_RECALL,
    CollectionRecord,
    Fields,
    Gauges,
    Hits,
    JSONValue,
    Matrix,
    Payload,
    PointId,
    Points,
    SpaceRecord,
    filter_of,
    places_of,
    uses_codes,
)
from retrieval_store.filters.expression import Expression, HasId, all_of
from retrieval_store.loaders.passages import without_keys_of_sync
from retrieval_store.loaders.sources import Sources
from retrieval_store_server.native.codec import Parts, pack_message
from retrieval_store_server.view.checks import key_of
from retrieval_store_server.view.live import ViewedCollection, Views
from retrieval_store_server.view.pictures import drawer, served_images

SHOWN_IN_LISTS, SHOWN_ALONE = 2_000, 100_000  # characters of a document
FIRST_NUMBERS = 64  # of a vector
KEYS_FROM, MAX_KEYS, EXAMPLES, LONGEST_EXAMPLE, DEEPEST_KEY = 300, 200, 5, 80, 5
SHOWN = Fields(payload=True, document=True, uri=True)
COUNTED_FOR = 0.15  # seconds
PACKAGE = "retrieval-store"


def store(views: Views) -> Any:
    """Information about the store and its collections, limited to what is known without loading
    anything."""
    client_store = views.store
    gauges = dict(client_store.gauges())
    engine = client_store.engine
    return {
        "place": views.session.place,
        "version": version(PACKAGE),
        "read_only": views.session.read_only,
        "aliases": {} if engine is None else engine.aliases(),
        "collections": [
            _summary(record, gauges.get(record.name)) for record in client_store.page(None, 0)
        ],
    }


def _summary(record: CollectionRecord, gauges: Gauges | None) -> Any:
    gauges = gauges or Gauges()
    return {
        "collection": record.id,
        "name": record.name,
        "points": gauges.points,
        "bytes": sum(gauges.disk.values()),
        "memory": sum(gauges.memory.values()),
        "index_lag": gauges.index_lag,
        "uncoded": gauges.uncoded,
        "problem": gauges.problem,
        "seq": gauges.seq,
    }


def collection(views: Views, collection: str) -> Any:
    """A description of a collection, with what the page needs to offer queries: the vector spaces,
    the keys of metadata, and the embedding function."""
    viewed = views.collection(collection)
    record = viewed.record
    stats = viewed.points.stats()
    first = viewed.points.get(None, None, KEYS_FROM, 0, Fields(payload=True, uri=True))
    function, images = _function(views, record)
    return {
        "collection": record.id,
        "name": record.name,
        "points": stats["points"],
        "made_by": "QdrantClient" if record.is_qdrant_only else "Collection",
        "metadata": record.settings.get("metadata"),
        "function": function,
        "images": images,
        "loader": views.image_root is not None or any(map(_is_data, first.uris or ())),
        "words": not record.is_qdrant_only,
        "spaces": [_space(space, stats) for space in viewed.spaces],
        "keys": _keys(first.payloads or ()),
        "disk": stats.get("disk", {}),
        "memory": stats.get("memory", {}),
    }


def _is_data(uri: str | None) -> bool:
    return uri is not None and uri[:5].lower() == "data:"


def _function(views: Views, record: CollectionRecord) -> tuple[Any, bool]:
    """Information about the stored embedding function, and whether the function accepts images. The
    information says whether the server can call the function, and if not, the reason. To find this
    out, a function that accesses nothing outside the process is created; any other function is
    created only when it is used."""
    embedder = views.embedder(record)
    spec = embedder.spec
    if spec is None:
        return _unusable(None, "none is remembered with the collection"), False
    if "name" not in spec:
        name = str(spec["custom"])
        why = "it is of the program that filled the collection, and can't be made here"
        return _unusable(name, why), False
    name = str(spec["name"])
    try:
        kind = plugins.load(plugins.EMBEDDING_FUNCTIONS, name)
        if not embedder.may_create:
            why = "it may reach hosts and files, so it needs --trust"
            return _unusable(name, why), False
        if plugins.is_self_contained(kind):
            embedder.function  # noqa: B018 (which may fail)
    except RetrievalStoreError as error:
        return _unusable(name, str(error)), False
    images = getattr(kind, "embeds_images", False) is True
    return {"name": name, "usable": True, "why": None}, images


def _unusable(name: str | None, why: str) -> Any:
    return {"name": name, "usable": False, "why": why}


def _space(space: SpaceRecord, stats: Payload) -> Any:
    own_stats = cast(dict[str, Any], stats.get("spaces", {})).get(space.name, {})
    return {
        "name": space.name,
        "kind": space.kind,
        "metric": space.metric,
        "dimension": space.dimension,
        "vectors": space.count,
        "index": own_stats.get("index"),
        "indexed": own_stats.get("indexed_slots"),
        "coded": own_stats.get("coded_slots"),
        "dead": own_stats.get("dead_slots"),
        "recall": {**own_stats["recall"], "usual": DEFAULT_RECALL}
        if "recall" in own_stats
        else None,
        "exact": _is_exact(space, own_stats),
    }


def _is_exact(space: SpaceRecord, own_stats: Mapping[str, Any]) -> bool | None:
    """Whether searches are exact by default; None if a Qdrant server decides that."""
    if space.kind != "dense":
        return True
    if not own_stats:
        return None
    return "recall" not in own_stats and (uses_codes(space) or not own_stats["indexed_slots"])


def _keys(payloads: Iterable[Payload | None]) -> list[Any]:
    """The keys in payloads, in the order in which they first occur, each with the kinds of its
    values and a few examples. The keys of nested objects contain dots."""
    kinds: dict[str, dict[str, None]] = {}
    examples: dict[str, dict[str, None]] = {}
    for payload in payloads:
        for name, value in _flat(payload or {}, "", 1):
            if name not in kinds and len(kinds) >= MAX_KEYS:
                continue
            kinds.setdefault(name, {})[_kind(value)] = None
            key_examples = examples.setdefault(name, {})
            for element in value if isinstance(value, list) else (value,):
                if len(key_examples) < EXAMPLES and _is_example(element):
                    key_examples[element] = None
    return [{"key": name, "kinds": [*kinds[name]], "examples": [*examples[name]]} for name in kinds]


def _flat(payload: Mapping[str, Any], before: str, depth: int) -> Iterable[tuple[str, Any]]:
    for name, value in payload.items():
        if isinstance(value, dict) and value and depth < DEEPEST_KEY:
            yield from _flat(value, f"{before}{name}.", depth + 1)
        else:
            yield f"{before}{name}", value


def _kind(value: JSONValue) -> str:
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "list"
    return "null" if value is None else "object"


def _is_example(value: JSONValue) -> bool:
    if isinstance(value, str):
        return len(value) <= LONGEST_EXAMPLE
    return isinstance(value, int | float)


def filter_of_view(
    where: Any, where_document: Any, keys: Sequence[PointId] | None
) -> Expression | None:
    """The filter for the records to show; None for all records. keys: if given, only the records
    with these keys are shown."""
    expression = filter_of(where, where_document)
    return expression if keys is None else all_of(expression, HasId(tuple(keys)))


def records(
    views: Views,
    collection: str,
    where: Any = None,
    where_document: Any = None,
    keys: Sequence[PointId] | None = None,
    offset: int = 0,
    limit: int = 50,
    order_by: str | None = None,
    descending: bool = False,
) -> Any:
    """A page of the matching records, in the order of insertion, or sorted by the numbers and dates
    under a key."""
    points = views.collection(collection).points
    expression = filter_of_view(where, where_document, keys)
    if order_by is None:
        page = points.get(None, expression, limit + 1, offset, SHOWN)
    else:
        if not order_by:
            raise InvalidArgumentError("order_by is empty, expected a metadata key")
        page = points.in_order((order_by,), expression, limit + 1, offset, descending, SHOWN)
    return {"records": list_records(page)[:limit], "more": len(page.ids) > limit}


def list_records(points: Points) -> list[dict[str, Any]]:
    """Records as the page lists them: with the first characters of their documents, and without the
    metadata that only `sync_folder` uses."""
    shown = show_records(points, SHOWN_IN_LISTS)
    for record in shown:
        record["metadata"] = record["metadata"] and without_keys_of_sync(record["metadata"])
    return shown


def show_records(points: Points, most: int) -> list[dict[str, Any]]:
    """Records in the form that the page takes. Documents are truncated to `most` characters."""
    documents = points.documents or [None] * len(points.ids)
    payloads = points.payloads or [None] * len(points.ids)
    uris = points.uris or [None] * len(points.ids)
    each = zip(points.ids, documents, payloads, uris, strict=True)
    return [
        {
            "id": str(point_id),
            "key": key_of(point_id),
            "document": None if document is None else document[:most],
            "length": None if document is None else len(document),
            "metadata": payload,
            "uri": uri,
        }
        for point_id, document, payload, uri in each
    ]


def show_hits(hits: Hits) -> list[dict[str, Any]]:
    """Hits in the form in which the page lists them. Each hit has an empty list of marks, which
    `query` fills."""
    shown = list_records(hits.points)
    distances = [None] * len(shown) if hits.distances is None else hits.distances.tolist()
    for hit, distance, score in zip(shown, distances, hits.scores.tolist(), strict=True):
        lacks = distance is None or np.isnan(distance)
        hit |= {"distance": None if lacks else distance, "score": score, "marks": []}
    return shown


def read_record(viewed: ViewedCollection, key: PointId, fields: Fields) -> Points:
    """The record with this key; raises NotFoundError if there is none."""
    points = viewed.points.get([key], None, None, 0, fields)
    if not points.ids:
        raise NotFoundError(f"there is no record {key!r} in the collection {viewed.record.name!r}")
    return points


def whole_record(viewed: ViewedCollection, key: PointId) -> dict[str, Any]:
    """A record with its document, of which at most SHOWN_ALONE characters are returned, and with
    summaries of its vectors."""
    names = tuple(space.name for space in viewed.spaces)
    points = read_record(viewed, key, Fields(payload=True, document=True, uri=True, vectors=names))
    (shown,) = show_records(points, SHOWN_ALONE)
    vectors = points.vectors or {}
    summaries = {
        space.name: _vector(space, vectors[space.name][0])
        for space in viewed.spaces
        if space.name in vectors
    }
    cut = (shown["length"] or 0) > SHOWN_ALONE
    existing = {name: summary for name, summary in summaries.items() if summary is not None}
    return {**shown, "cut": cut, "vectors": existing}


def _vector(space: SpaceRecord, vector: Any) -> Any:
    """A summary of a vector: its Euclidean length and its first numbers. For a multivector: the
    summary of the first vector, with the number of vectors. None if there is no vector."""
    if vector is None:
        return None
    if isinstance(vector, SparseVector):
        return {
            "kind": "sparse",
            "dimension": None,
            "length": float(np.linalg.norm(vector.values.astype(np.float64))),
            "number": len(vector.indices),
            "indices": vector.indices[:FIRST_NUMBERS].tolist(),
            "values": vector.values[:FIRST_NUMBERS].tolist(),
        }
    rows = np.atleast_2d(vector)
    if not rows.size or np.isnan(rows[0, 0]):
        return None
    return {
        "kind": space.kind,
        "dimension": rows.shape[1],
        "length": float(np.linalg.norm(rows[0].astype(np.float64))),
        "number": len(rows),
        "first": rows[0, :FIRST_NUMBERS].tolist(),
    }


def count(
    views: Views,
    collection: str,
    where: Any = None,
    where_document: Any = None,
    keys: Sequence[PointId] | None = None,
    whole: bool = False,
) -> Any:
    """The number of matching records. Unless `whole`, counting stops after a moment, and the count
    so far is returned."""
    points = views.collection(collection).points
    expression = filter_of_view(where, where_document, keys)
    if expression is None:
        return {"count": points.count(), "whole": True}
    if whole:
        return {"count": points.number(expression), "whole": True}
    number, is_all = points.count_within(expression, COUNTED_FOR)
    return {"count": number, "whole": is_all}


USUAL_SIZE, LARGEST_SIZE = 96, 1_024  # pixels


def thumbnail(views: Views, collection: str, key: PointId, size: int = USUAL_SIZE) -> bytes:
    """A PNG of the image of a record, at most `size` pixels wide and high. Raises NotFoundError if
    there is no image, or if showing it is not allowed."""
    points = read_record(views.collection(collection), key, Fields(payload=True, uri=True))
    (uri,), (payload,) = points.uris or [None], points.payloads or [None]
    return picture_of(uri, payload, views.image_root, size)


def picture_of(
    uri: str | None, metadata: Payload | None, image_root: Path | None, size: int
) -> bytes:
    """The image of a record, encoded again as a PNG.

    Args:
        uri: the record's URI: a path below the folder, or an image within a data URL. None for a
            passage of a PDF page, which is drawn.
        metadata: the record's metadata.
        image_root: the folder whose files may be shown; None to show none.
        size: the maximum width and height in pixels.

    Raises:
        NotFoundError: there is no image, or it may not be shown.
    """
    if uri is None:
        return _page(image_root, metadata or {}, size)
    if image_root is None and not _is_data(uri):
        raise NotFoundError("files are shown only from below a folder that is given: --image-root")
    try:
        (pixels,) = served_images(image_root)([uri])
    except DataLoaderError:  # its message names the folder, which clients must not know
        raise NotFoundError("what the uri points at can't be shown as a picture") from None
    from PIL import Image

    picture = Image.fromarray(np.asarray(pixels))
    picture.thumbnail((size, size))
    written = io.BytesIO()
    picture.save(written, "PNG")
    return written.getvalue()


MAX_PDF = 50_000_000  # bytes


def _page(root: Path | None, metadata: Payload, size: int) -> bytes:
    """The image of the PDF page from which a passage comes. The PDF must be below the folder
    `root`."""
    path, page = metadata.get("path"), metadata.get("page")
    if not isinstance(path, str) or not path.lower().endswith(".pdf") or not isinstance(page, int):
        raise NotFoundError("the record has no uri, and is no passage of a page")
    if root is None:
        raise NotFoundError("files are shown only from below a folder that is given: --image-root")
    try:
        data = Sources((), root, MAX_PDF).read_below(path)
        return drawer().draw(data, page, size)
    except DataLoaderError:  # its message names the folder, which clients must not know
        raise NotFoundError("the page can't be shown as a picture") from None


MAX_SHOWN = 200_000  # records
MAX_NAMES = 12  # categories; the last may cover all others
OTHER = "other"
KINDS = ("dense", "multi", "sparse")


def draw(
    views: Views,
    collection: str,
    space: str | None = None,
    where: Any = None,
    where_document: Any = None,
    keys: Sequence[PointId] | None = None,
    sample: int = MAX_SHOWN,
    seed: int = 0,
    color: str | None = None,
) -> Parts:
    """The data of a map of the matching records, as a message with JSON and arrays."""
    viewed = views.collection(collection)
    name = viewed.space(space, KINDS, "space").name
    expression = filter_of_view(where, where_document, keys)
    path = None if color is None else (color,)
    projection = viewed.points.project(name, expression, sample, seed, path)
    legend, colors = None, np.full(len(projection.ids), np.nan, np.float32)
    if projection.values is not None:
        legend, colors = _colours_of(projection.values)
    header = {
        "keys": [*map(key_of, projection.ids)],
        "total": projection.total,
        "sampled": len(projection.ids) < projection.total,
        "explained": projection.explained.tolist(),
        "color": legend,
    }
    arrays = (projection.places, colors, projection.axes)
    return pack_message(header, [np.ascontiguousarray(array, "<f4") for array in arrays])


def _colours_of(values: Sequence[Any]) -> tuple[Any, Any]:
    """The legend of the colours, and the colour of each record. Numbers form a scale. Other values
    are categories, the most common first."""
    present = [value for value in values if value is not None]
    if present and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in present
    ):
        numbers = np.array([np.nan if value is None else float(value) for value in values])
        least, greatest = float(np.nanmin(numbers)), float(np.nanmax(numbers))
        # Halves, so that nothing overflows.
        scaled = (numbers / 2 - least / 2) / ((greatest / 2 - least / 2) or 1.0)
        return {"kind": "numbers", "least": least, "greatest": greatest}, scaled
    spelt = [None if value is None else _spelt(value) for value in values]
    counts = Counter(spelling for spelling in spelt if spelling is not None)
    names = sorted(counts, key=lambda name: (-counts[name], name))
    if len(names) > MAX_NAMES:
        other = OTHER if OTHER not in counts else f"{OTHER} values"
        names = [*names[: MAX_NAMES - 1], other]
    places = {name: place for place, name in enumerate(names)}
    rest = float(len(names) - 1)
    colors = [np.nan if spelling is None else places.get(spelling, rest) for spelling in spelt]
    return {"kind": "categories", "names": names}, np.array(colors, np.float32)


def _spelt(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def place(
    views: Views, collection: str, keys: Sequence[PointId], axes: bytes, space: str | None = None
) -> Any:
    """The positions of records on a map, computed with the axes of that map; None for records
    without a vector."""
    viewed = views.collection(collection)
    chosen = viewed.space(space, ("dense",), "space")
    points = viewed.points.get(keys, None, None, 0, Fields(vectors=(chosen.name,)))
    vectors: Any = (points.vectors or {}).get(chosen.name, np.empty((len(points.ids), 0)))
    plane = _plane_in(axes, vectors.shape[1])
    places = places_of(vectors, plane, chosen.metric == "cosine").tolist()
    each = zip(points.ids, places, strict=True)
    place_by_id = {point_id: at for point_id, at in each if all(map(math.isfinite, at))}
    return {"places": [place_by_id.get(key) for key in keys]}


def _plane_in(axes: bytes, dimension: int) -> Matrix:
    if len(axes) != 3 * 4 * dimension:
        raise InvalidArgumentError(
            f"axes has {len(axes)} bytes, expected {12 * dimension}: three vectors of {dimension} "
            "numbers in float32"
        )
    plane: Matrix = np.frombuffer(axes, "<f4").reshape(3, dimension)
    if not np.isfinite(plane).all():
        raise InvalidArgumentError("axes has numbers that aren't finite")
    return plane
