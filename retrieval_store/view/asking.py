"""Questions of the page, answered: what it sends becomes a question of `interface.questions`, by
the same rules as a query of `Collection`."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from retrieval_store.api.configuration import analyzer_of
from retrieval_store.api.query import FUSIONS, MODES, Asker, QueryOptions, QuerySources, window_of
from retrieval_store.base.arrays import Matrix, SparseVector
from retrieval_store.base.dataclasses import dataclass, field
from retrieval_store.errors import DataLoaderError, InvalidArgumentError
from retrieval_store.filters.nodes import HasId, Not, all_of
from retrieval_store.query.query import Question
from retrieval_store.query.types import Fields, PointId, SpaceRecord
from retrieval_store.view import checking
from retrieval_store.view.marks import marks, words_of
from retrieval_store.view.reading import SHOWN, allowed, one_of, shown_hits, whole_record
from retrieval_store.view.views import Looked, Views

if TYPE_CHECKING:
    from retrieval_store.base.analysis import Analyzer

MOST_HITS, USUAL_HITS, MOST_NEIGHBOURS = 1_000, 10, 100
DEEPEST = 1_000_000  # hits that an offset may leave out
MOST_PIXELS = 50_000_000
DENSE, SPARSE = ("dense", "multi"), ("sparse",)
MODE_OF_KIND = {"dense": "dense", "multi": "dense", "sparse": "sparse"}
_NEAR = ("vector", "record", "image")
_ONE_OF: Mapping[str, tuple[str, ...]] = {
    "dense": ("text", *_NEAR),
    "text": ("text",),
    "sparse": ("sparse", "record"),
}
CHECKS: Mapping[str, checking.Check] = {
    "mode": checking.one_of(MODES),
    "space": checking.name_of_something,
    "sparse_space": checking.name_of_something,
    "text": checking.text,
    "image": checking.data,
    "record": checking.key,
    "vector": checking.vector,
    "sparse": checking.sparse,
    "where": checking.condition,
    "where_document": checking.condition,
    "keys": checking.several(checking.key, MOST_HITS),
    "k": checking.whole(1, MOST_HITS),
    "offset": checking.whole(0, DEEPEST),
    "exact": checking.flag,
    "ef": checking.whole(1, DEEPEST),
    "alpha": checking.share,
    "fusion": checking.one_of(FUSIONS),
    "max_distance": checking.number,
    "min_score": checking.number,
    "group_by": checking.name_of_something,
    "group_size": checking.whole(1, MOST_HITS),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked. words: of the text, as the collection finds words."""

    question: Question
    analyzer: "Analyzer"
    words: list[str] = field(default_factory=list)


def question_of(views: Views, looked: Looked, body: Mapping[str, Any]) -> Asked:
    """The question that a body asks, whose fields have been checked by `CHECKS`."""
    mode = body.get("mode", "dense")
    _check_sources(mode, body)
    sides = {"dense": "dense", "sparse": "sparse", "hybrid": "dense"}
    space = sparse_space = None
    if sides.get(mode) == "dense":
        space = looked.space(body.get("space"), DENSE, "space")
    if mode == "sparse" or "sparse" in body:
        sparse_space = looked.space(body.get("sparse_space"), SPARSE, "sparse_space")
    analyzer = analyzer_of(looked.record.settings)
    asker = Asker(
        lambda: views.embedder(looked.record),
        _no_uris,
        lambda: analyzer,
        "" if space is None else space.name,
        "" if sparse_space is None else sparse_space.name,
        space is not None and space.kind == "multi",
    )
    expression = allowed(body.get("where"), body.get("where_document"), body.get("keys"))
    if "record" in body:
        expression = all_of(expression, Not(HasId((body["record"],))))
    options = QueryOptions(
        mode, body.get("alpha"), body.get("fusion"), body.get("exact", False), body.get("ef")
    )
    window = window_of(
        body.get("k", USUAL_HITS),
        body.get("offset"),
        (body.get("max_distance"), body.get("min_score")),
        body.get("group_by"),
        body.get("group_size"),
        mode,
    )
    sources = _sources(views, looked, body, space, sparse_space)
    question = asker.question(sources, expression, window, SHOWN, options)
    words = words_of(analyzer, body["text"]) if "text" in body else []
    return Asked(question, analyzer, words)


def _no_uris(uris: list[str | None]) -> list[Any]:
    """No question of the page names what would have to be loaded."""
    raise InvalidArgumentError("a question has no uris")


def _check_sources(mode: str, body: Mapping[str, Any]) -> None:
    """Refuse what doesn't go with a mode, or with something else that is given."""
    given = [name for name in ("text", *_NEAR, "sparse") if name in body]
    if mode != "hybrid":
        if len(given) != 1 or given[0] not in _ONE_OF[mode]:
            raise InvalidArgumentError(
                f"mode {mode!r} takes one of {', '.join(_ONE_OF[mode])}, but there is "
                f"{' and '.join(given) or 'none'}"
            )
        return
    near = [name for name in _NEAR if name in body]
    words = [name for name in ("text", "sparse") if name in body]
    if len(near) > 1 or not words or ("text" not in body and not near):
        raise InvalidArgumentError(
            "mode 'hybrid' takes text, or sparse, or both, and one of vector, record and image "
            f"unless the text is to be embedded, but there is {' and '.join(given) or 'none'}"
        )


def _sources(
    views: Views,
    looked: Looked,
    body: Mapping[str, Any],
    space: SpaceRecord | None,
    sparse_space: SpaceRecord | None,
) -> QuerySources:
    """What to search for."""
    sparse = body.get("sparse")
    if sparse_space is not None and sparse is None:
        sparse = _vector_of(looked, body["record"], sparse_space)
    near = None
    if space is not None:
        near = _near(views, looked, body, space)
    text = body.get("text")
    return QuerySources(
        near,
        None if text is None else [text],
        None,
        None,
        None if sparse is None else [sparse],
    )


def _near(
    views: Views, looked: Looked, body: Mapping[str, Any], space: SpaceRecord
) -> Matrix | None:
    """(m, d) float32 of what is given but for a text; None for a text."""
    if "vector" in body:
        vector: Matrix = body["vector"]
        if len(vector) > 1 and space.kind == "dense":
            raise InvalidArgumentError(
                f"vector has {len(vector)} vectors, expected one: {space.name!r} is a dense space"
            )
        return vector
    if "record" in body:
        found: Matrix = _vector_of(looked, body["record"], space)
        return found
    if "image" in body:
        pixels = _pixels_in(body["image"])
        return views.embedder(looked.record).embed_query([pixels])
    return None


def _pixels_in(image: bytes) -> Any:
    from retrieval_store.loaders.images import decoded

    try:
        return decoded(image, MOST_PIXELS)
    except DataLoaderError:  # whose message says what a library thinks of it
        raise InvalidArgumentError(
            f"image is no picture that can be read, or has more than {MOST_PIXELS:,} pixels"
        ) from None


def _vector_of(looked: Looked, key: PointId, space: SpaceRecord) -> Any:
    """What a record has in a space: a matrix, or a sparse vector."""
    found = one_of(looked, key, Fields(vectors=(space.name,)))
    held: Any = (found.vectors or {}).get(space.name, [None])[0]
    lacks = held is None or (not isinstance(held, SparseVector) and not _is_whole(held))
    if lacks:
        raise InvalidArgumentError(f"the record {key!r} has no vector in the space {space.name!r}")
    return held if isinstance(held, SparseVector) or held.ndim == 2 else held[None]


def _is_whole(held: Matrix) -> bool:
    """Whether numbers are a vector, and not what stands for none."""
    return bool(held.size) and bool(held.flat[0] == held.flat[0])


def query(views: Views, collection: str, **body: Any) -> Any:
    """The best records for a question, and how they were found."""
    began = time.perf_counter()
    looked = views.collection(collection)
    asked = question_of(views, looked, body)
    made = time.perf_counter()
    (hits,) = looked.points.ask(asked.question)
    ended = time.perf_counter()
    explained: dict[str, Any] = dict(looked.points.explain(asked.question))
    explained["steps"] = {"question": 1e3 * (made - began), **explained.get("steps", {})}
    return {
        "hits": _marked(shown_hits(hits), asked),
        "explain": explained,
        "milliseconds": 1e3 * (ended - began),
        "words": asked.words,
    }


def _marked(shown: list[dict[str, Any]], asked: Asked) -> Sequence[dict[str, Any]]:
    """Hits with the places of the question's words in their documents."""
    found = marks(asked.analyzer, asked.words, [one["document"] for one in shown])
    for one, places in zip(shown, found, strict=True):
        one["marks"] = places
    return shown


def record(
    views: Views,
    collection: str,
    key: PointId,
    space: str | None = None,
    neighbours: int = USUAL_HITS,
) -> Any:
    """A record, and those that are nearest to it in a space; none where it has no vector there."""
    looked = views.collection(collection)
    shown = whole_record(looked, key)
    near: list[Any] = []
    if looked.spaces and neighbours:
        chosen = looked.space(space, (*DENSE, *SPARSE), "space")
        if chosen.name in shown["vectors"]:
            kind = "sparse_space" if chosen.kind == "sparse" else "space"
            body = {"mode": MODE_OF_KIND[chosen.kind], "record": key, kind: chosen.name}
            asked = question_of(views, looked, {**body, "k": neighbours})
            near = shown_hits(looked.points.ask(asked.question)[0])
    return {"record": shown, "neighbours": near}
