"""Answers queries of the page, by the rules of `Collection.query`.

`marks` finds the words of a query in documents, by the collection's analyzer: with stemming,
"running" is marked for the query "runs". `why` says why a query finds records, or doesn't.
"""

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from retrieval_store import Groups, Hybrid, ImageLoader, Reason, Reasons, SparseVector
from retrieval_store.errors import DataLoaderError, InvalidArgumentError
from retrieval_store.extension import (
    Analyzer,
    Bm25,
    Fields,
    Matrix,
    PointId,
    Query,
    QueryBuilder,
    QueryRequest,
    QueryStep,
    ShownIds,
    SpaceRecord,
    analyzer_of,
    places_of_words,
    reasons_for,
)
from retrieval_store.filters.expression import Expression, HasId, Not, all_of
from retrieval_store.loaders.passages import cite, ids_around, is_same_file_version
from retrieval_store_server.view import checks
from retrieval_store_server.view.checks import key_of
from retrieval_store_server.view.live import ViewedCollection, Views
from retrieval_store_server.view.records import (
    SHOWN,
    SHOWN_IN_LISTS,
    filter_of_view,
    read_record,
    show_hits,
    show_records,
    whole_record,
)

Mark = tuple[int, int]


def marks(
    analyzer: Analyzer, words: Sequence[str], documents: Sequence[str | None]
) -> list[list[Mark]]:
    """For each document, the ranges of characters that match one of the words. If the words are
    pairs of characters, ranges can overlap; overlapping ranges are merged."""
    if not words:
        return [[] for _ in documents]
    places = [places_of_words(document or "") for document in documents]
    spelt = {
        document[start:end]
        for document, each in zip(documents, places, strict=True)
        if document is not None
        for start, end in each
    }
    matching = _spellings_of(analyzer, sorted(spelt), set(words))
    return [
        _join_marks([span for span in each if (document or "")[slice(*span)] in matching])
        for document, each in zip(documents, places, strict=True)
    ]


def _join_marks(marks: list[Mark]) -> list[Mark]:
    """The marks in ascending order; marks that overlap are merged."""
    joined: list[Mark] = []
    for start, end in marks:
        if joined and start < joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return joined


def _spellings_of(analyzer: Analyzer, spelt: list[str], words: set[str]) -> set[str]:
    """Those words of a text that match a query. spelt: the words of the text, as they are spelt
    there; words: the words of the query, as the analyzer returns them."""
    analyzed = analyzer.words(spelt, is_query=True)
    are_matching = np.array([word in words for word in analyzed.vocabulary], np.bool_)
    if not are_matching.any():
        return set()
    return {spelt[place] for place in analyzed.owners[are_matching[analyzed.codes]].tolist()}


MODES = ("dense", "text", "sparse", "hybrid")
FUSIONS = ("rrf", "weighted", "adaptive")
MAX_HITS, USUAL_HITS, MAX_NEIGHBOURS = 1_000, 10, 100
DEEPEST = 1_000_000  # the largest offset
MAX_PIXELS = 50_000_000
DENSE, SPARSE = ("dense", "multi"), ("sparse",)
MODE_OF_KIND = {"dense": "dense", "multi": "dense", "sparse": "sparse"}
_NEAR = ("vector", "record", "image")
_SOURCES_OF: Mapping[str, tuple[str, ...]] = {
    "dense": ("text", *_NEAR),
    "text": ("text",),
    "sparse": ("sparse", "record"),
}
CHECKS: Mapping[str, checks.Check] = {
    "mode": checks.one_of(MODES),
    "space": checks.name_of_something,
    "sparse_space": checks.name_of_something,
    "text": checks.text,
    "image": checks.data,
    "record": checks.key,
    "vector": checks.vector,
    "sparse": checks.sparse,
    "where": checks.condition,
    "where_document": checks.condition,
    "keys": checks.list_of(checks.key, MAX_HITS),
    "k": checks.whole(1, MAX_HITS),
    "offset": checks.whole(0, DEEPEST),
    "exact": checks.flag,
    "ef": checks.whole(1, DEEPEST),
    "recall": checks.share,
    "alpha": checks.share,
    "fusion": checks.one_of(FUSIONS),
    "max_distance": checks.number,
    "min_score": checks.number,
    "group_by": checks.name_of_something,
    "group_size": checks.whole(1, MAX_HITS),
}


@dataclass(frozen=True, slots=True)
class ViewQuery:
    """A query that the page sent, in the form that a store takes. words: the words of the query's
    text, as the analyzer returns them."""

    question: Query
    analyzer: Analyzer
    words: list[str] = field(default_factory=list)


# Fields with the same names as arguments of `Collection.query`.
SAME = ("exact", "ef", "recall", "offset", "max_distance", "min_score")


def question_of(views: Views, viewed: ViewedCollection, body: Mapping[str, Any]) -> ViewQuery:
    """The query in the body of a request, whose fields `CHECKS` has checked."""
    mode = body.get("mode", "dense")
    _check_sources(mode, body)
    space = sparse_space = None
    if mode in ("dense", "hybrid"):
        space = viewed.space(body.get("space"), DENSE, "space")
    if mode == "sparse" or "sparse" in body:
        sparse_space = viewed.space(body.get("sparse_space"), SPARSE, "sparse_space")
    analyzer = analyzer_of(viewed.record.text_settings)
    builder = QueryBuilder(
        views.embedder(viewed.record),
        _no_uris,
        lambda: analyzer,
        "" if space is None else space.name,
        "" if sparse_space is None else sparse_space.name,
        space is not None and space.kind == "multi",
    )
    expression = filter_of_view(body.get("where"), body.get("where_document"), body.get("keys"))
    if "record" in body:
        expression = all_of(expression, Not(HasId((body["record"],))))
    hybrid = Hybrid(body.get("fusion"), body.get("alpha"))
    request = QueryRequest(
        **{name: body[name] for name in SAME if name in body},
        **_sources(views, viewed, body, space, sparse_space),
        n_results=body.get("k", USUAL_HITS),
        mode=hybrid if mode == "hybrid" else mode,
        group_by=_groups(body),
    )
    question = builder.query(request, expression, SHOWN)
    words: list[str] = []
    if "text" in body:
        words = analyzer.words([body["text"]], is_query=True).vocabulary
    return ViewQuery(question, analyzer, words)


def _groups(body: Mapping[str, Any]) -> Groups | None:
    if "group_by" in body:
        return Groups(body["group_by"], body.get("group_size", 1))
    if "group_size" in body:
        raise InvalidArgumentError("group_size goes with group_by, the key to group by")
    return None


def _no_uris(uris: list[str | None]) -> list[Any]:
    """Raise InvalidArgumentError. This is never called, since a query of the page has no URIs to
    load."""
    raise InvalidArgumentError("a question has no uris")


def _check_sources(mode: str, body: Mapping[str, Any]) -> None:
    """Raise InvalidArgumentError for sources of a query that do not fit the mode, or cannot be
    combined. The sources are a text, a vector, a record, an image and a sparse vector."""
    sources = [name for name in ("text", *_NEAR, "sparse") if name in body]
    if mode != "hybrid":
        if len(sources) != 1 or sources[0] not in _SOURCES_OF[mode]:
            raise InvalidArgumentError(
                f"mode {mode!r} takes one of {', '.join(_SOURCES_OF[mode])}, but there is "
                f"{' and '.join(sources) or 'none'}"
            )
        return
    near = [name for name in _NEAR if name in body]
    words = [name for name in ("text", "sparse") if name in body]
    if len(near) > 1 or not words or ("text" not in body and not near):
        raise InvalidArgumentError(
            "mode 'hybrid' takes text, or sparse, or both, and one of vector, record and image "
            f"unless the text is to be embedded, but there is {' and '.join(sources) or 'none'}"
        )


def _sources(
    views: Views,
    viewed: ViewedCollection,
    body: Mapping[str, Any],
    space: SpaceRecord | None,
    sparse_space: SpaceRecord | None,
) -> dict[str, Any]:
    """The sources of a query (vectors, a text and a sparse vector), as arguments of
    `Collection.query`."""
    sparse = body.get("sparse")
    if sparse_space is not None and sparse is None:
        sparse = _vector_of(viewed, body["record"], sparse_space)
    near = None
    if space is not None:
        near = _query_vectors(views, viewed, body, space)
    return {
        "query_embeddings": near,
        "query_texts": [body["text"]] if "text" in body else None,
        "query_sparse": None if sparse is None else [sparse],
    }


def _query_vectors(
    views: Views, viewed: ViewedCollection, body: Mapping[str, Any], space: SpaceRecord
) -> Matrix | None:
    """(m, d) float32: the query vectors from the vector, the record or the image in the body; None
    if the body has none of these."""
    if "vector" in body:
        vector: Matrix = body["vector"]
        if len(vector) > 1 and space.kind == "dense":
            raise InvalidArgumentError(
                f"vector has {len(vector)} vectors, expected one: {space.name!r} is a dense space"
            )
        return vector
    if "record" in body:
        matrix: Matrix = _vector_of(viewed, body["record"], space)
        return matrix
    if "image" in body:
        pixels = _pixels_in(body["image"])
        embedded: Matrix = views.embedder(viewed.record).embed_query([pixels])
        return embedded
    return None


def _pixels_in(image: bytes) -> Any:
    uri = f"data:image/*;base64,{base64.b64encode(image).decode()}"
    try:
        return ImageLoader(max_pixels=MAX_PIXELS)([uri])[0]
    except DataLoaderError:  # whose message is a library's opinion
        raise InvalidArgumentError(
            f"image is no picture that can be read, or has more than {MAX_PIXELS:,} pixels"
        ) from None


def _vector_of(viewed: ViewedCollection, key: PointId, space: SpaceRecord) -> Any:
    """The vector of a record in a vector space: a sparse vector, or a matrix, which has one row in
    a dense space."""
    points = read_record(viewed, key, Fields(vectors=(space.name,)))
    vector: Any = (points.vectors or {}).get(space.name, [None])[0]
    if vector is None or not (isinstance(vector, SparseVector) or _is_whole(vector)):
        raise InvalidArgumentError(f"the record {key!r} has no vector in the space {space.name!r}")
    return vector if isinstance(vector, SparseVector) or vector.ndim == 2 else vector[None]


def _is_whole(vector: Matrix) -> bool:
    """Whether these numbers are a vector. NaN stands for a missing vector."""
    return bool(vector.size) and bool(vector.flat[0] == vector.flat[0])


def query(views: Views, collection: str, **body: Any) -> Any:
    """The best records for a query, and a description of how the query was answered."""
    began = time.perf_counter()
    viewed = views.collection(collection)
    parsed = question_of(views, viewed, body)
    parsed_at = time.perf_counter()
    (hits,) = viewed.points.ask(parsed.question)
    ended = time.perf_counter()
    explained: dict[str, Any] = dict(viewed.points.explain(parsed.question))
    explained["steps"] = {"question": 1e3 * (parsed_at - began), **explained.get("steps", {})}
    return {
        "hits": _mark_words(show_hits(hits), parsed),
        "explain": explained,
        "milliseconds": 1e3 * (ended - began),
        "words": parsed.words,
    }


def _mark_words(shown: list[dict[str, Any]], parsed: ViewQuery) -> Sequence[dict[str, Any]]:
    """The hits, each with the places in its document where words of the query occur."""
    ranges = marks(parsed.analyzer, parsed.words, [hit["document"] for hit in shown])
    for hit, places in zip(shown, ranges, strict=True):
        hit["marks"] = places
    return shown


def record(
    views: Views,
    collection: str,
    key: PointId,
    space: str | None = None,
    neighbours: int = USUAL_HITS,
) -> Any:
    """A record, and the records that are nearest to it in a vector space. There are no nearest
    records if the record has no vector in that space. For a passage of a file, the result also has
    its source, and the passages before and after it. neighbours: the number of nearest records."""
    viewed = views.collection(collection)
    shown = whole_record(viewed, key)
    near: list[Any] = []
    if viewed.spaces and neighbours:
        chosen = viewed.space(space, (*DENSE, *SPARSE), "space")
        if chosen.name in shown["vectors"]:
            kind = "sparse_space" if chosen.kind == "sparse" else "space"
            body = {"mode": MODE_OF_KIND[chosen.kind], "record": key, kind: chosen.name}
            parsed = question_of(views, viewed, {**body, "k": neighbours})
            near = show_hits(viewed.points.ask(parsed.question)[0])
    return {"record": shown, "neighbours": near, **_in_its_file(viewed, shown)}


def _in_its_file(viewed: ViewedCollection, shown: Mapping[str, Any]) -> dict[str, Any]:
    metadata = shown["metadata"] or {}
    if not isinstance(metadata.get("path"), str) or not isinstance(metadata.get("place"), int):
        return {"cited": None, "around": []}
    ids = ids_around(shown["id"], metadata, PASSAGES_AROUND)
    points = viewed.points.get(ids, None, None, 0, SHOWN)
    records = show_records(points, SHOWN_IN_LISTS)
    beside = [
        passage for passage in records if is_same_file_version(passage["metadata"] or {}, metadata)
    ]
    beside.sort(key=lambda passage: ids.index(passage["id"]))
    return {"cited": cite(metadata), "around": beside}


PASSAGES_AROUND = 1  # before and after
TERMS: Mapping[str, str] = {
    "count": "how many (k)",
    "threshold": "greatest distance",
    "exact": "an exact search",
    "candidates": "ef",
    "depth": "how many (k)",
    "groups": "one of each",
    "group_size": "how many of each",
    "by_words": "a search by words",
}
OF_SCORES = {**TERMS, "threshold": "least score"}
LIKE_IT = 3  # most similar records, if no passage contains the text
NOTHING_LIKE_IT = "no record contains this text, and none has a word of it"
MOST_LIKE_IT = "no record contains this text as it is: these are most like it by their words"


def why(
    views: Views,
    collection: str,
    records: Sequence[PointId] | None = None,
    ids: Sequence[str] | None = None,
    containing: str | None = None,
    **body: Any,
) -> Any:
    """The reasons why a query finds certain records, or does not. records, ids, containing: the
    keys of these records, their ids, or a text that they contain. If no record contains the text,
    the records most similar to the text are explained."""
    began = time.perf_counter()
    viewed = views.collection(collection)
    parsed = question_of(views, viewed, body)
    ask = partial(
        reasons_for,
        viewed.points,
        parsed.question,
        parsed.analyzer,
        text=body.get("text"),
        where=body.get("where"),
        where_document=body.get("where_document"),
        others=_conditions(body),
        names=OF_SCORES if "min_score" in body else TERMS,
    )
    if sum(selector is not None for selector in (records, ids, containing)) != 1:
        raise InvalidArgumentError("expected one of records, ids and containing")
    if containing is None:
        meant, absent = _records_meant(viewed, records, ids)
        reasons, note = [*ask(ids=meant)] if meant else [], None
        reasons += [Reason(record_id, exists=False) for record_id in absent]
    else:
        reasons, note = _reasons_of_text(viewed, parsed.analyzer, containing, ask)
    return {
        "reasons": [_reason_as_json(reason) for reason in reasons],
        "note": note,
        "milliseconds": 1e3 * (time.perf_counter() - began),
    }


def _conditions(body: Mapping[str, Any]) -> list[tuple[str, Any, Expression]]:
    """The conditions, besides the filters, that exclude records from a query, each with its name
    and a description. One condition limits the query to the chosen records. Another excludes the
    record whose vector is the query."""
    conditions: list[tuple[str, Any, Expression]] = []
    if "keys" in body:
        description = f"one of {len(body['keys'])} chosen records"
        conditions.append(("keys", description, HasId(tuple(body["keys"]))))
    if "record" in body:
        conditions.append(("record", str(body["record"]), Not(HasId((body["record"],)))))
    return conditions


def _records_meant(
    viewed: ViewedCollection, records: Sequence[PointId] | None, ids: Sequence[str] | None
) -> tuple[list[PointId], list[str]]:
    """The ids of the named records that exist, and separately the ids that do not exist."""
    requested: Sequence[PointId] = ShownIds(ids) if ids is not None else records or ()
    existing = viewed.points.get(requested, None, None, 0, Fields()).ids
    known = {*map(str, existing)} if ids is not None else {*existing}
    return existing, [str(record_id) for record_id in requested if record_id not in known]


def _reasons_of_text(
    viewed: ViewedCollection, analyzer: Analyzer, text: str, ask: Callable[..., Reasons]
) -> tuple[list[Reason], str | None]:
    """The reasons for the records that contain a text, and None. If no record contains the text:
    the reasons for the records most similar to the text, and a remark that says so. ask: returns
    the reasons for given records."""
    if reasons := ask(containing=text):
        return [*reasons], None
    like = Query((QueryStep(Bm25((text,), analyzer), LIKE_IT),), Fields())
    nearest = viewed.points.ask(like)[0].points.ids
    if not nearest:
        return [], NOTHING_LIKE_IT
    return [*ask(ids=nearest)], MOST_LIKE_IT


def _reason_as_json(reason: Reason) -> dict[str, Any]:
    data = asdict(reason)
    data["key"] = key_of(reason.id) if reason.exists else None
    data["id"] = str(reason.id)
    data["ahead"] = [str(record_id) for record_id in reason.ahead]
    data["same_key"] = [str(record_id) for record_id in data.pop("same")]
    data["document"] = None if reason.document is None else reason.document[:SHOWN_IN_LISTS]
    return data
