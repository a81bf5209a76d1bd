"""Asking the engine, and what it answers as models."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

from qdrant_client import models
from qdrant_client.http import models as rest

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.validation import shown
from retrieval_store.qdrant.collections.configuration import UNNAMED
from retrieval_store.qdrant.collections.indexed import MATCHED
from retrieval_store.qdrant.collections.opened import Collections, Opened
from retrieval_store.qdrant.collections.strict import (
    check_filter,
    check_key,
    check_limit,
    check_searches,
)
from retrieval_store.qdrant.filters.parsing import grouping_by
from retrieval_store.qdrant.instances import made
from retrieval_store.qdrant.points.reading import Selection, expression_of, retrieve
from retrieval_store.qdrant.queries.steps import step_of
from retrieval_store.qdrant.refusals import malformed
from retrieval_store.query.query import Diverse, Ordered, Question, Step, Unranked
from retrieval_store.query.types import Hits

GROUPS, SIZE, SAMPLE, NEAREST = 10, 3, 10, 3
UNSCORED = Ordered, Unranked
_NOTHING_ASKED: dict[str, Any] = dict.fromkeys(models.QueryRequest.model_fields)


@dataclass(frozen=True, slots=True)
class Asked:
    """A query that is asked. request: of one alone, else None."""

    collections: Collections | None
    opened: Opened
    question: Question
    request: Any = None


Look: TypeAlias = Callable[[Asked], object]
_LOOK: ContextVar[Look | None] = ContextVar("look", default=None)


@contextmanager
def looking(look: Look) -> Iterator[None]:
    """Queries in the body are shown before they are answered."""
    token = _LOOK.set(look)
    try:
        yield
    finally:
        _LOOK.reset(token)


def _answered(asked: Asked) -> list[Hits]:
    look = _LOOK.get()
    if look is not None:
        look(asked)
    return asked.opened.points.ask(asked.question)


def request_of(**fields: Any) -> models.QueryRequest:
    """The arguments of a query as a request; they are checked where they are used."""
    return made(models.QueryRequest, {**_NOTHING_ASKED, **fields})


def query(
    collections: Collections, opened: Opened, request: Any, selection: Selection
) -> rest.QueryResponse:
    """The points that a request asks for, best first."""
    (found,) = _ranked(collections, opened, [request], [selection])
    return found


def query_batch(
    collections: Collections, opened: Opened, requests: Sequence[Any]
) -> list[rest.QueryResponse]:
    """The same for several requests, of one state of the collection."""
    check_searches(opened, len(requests))
    selections = [
        Selection(opened, request.with_payload, request.with_vector) for request in requests
    ]
    return _ranked(collections, opened, requests, selections)


def _ranked(
    collections: Collections,
    opened: Opened,
    requests: Sequence[Any],
    selections: Sequence[Selection],
) -> list[rest.QueryResponse]:
    steps = [step_of(collections, opened, request) for request in requests]
    versions = any(_has_versions(step) for step in steps)
    fields = selections[0].fields(versions) if selections else None
    for selection in selections[1:]:
        assert fields is not None
        fields = selection.with_those(fields)
    found: list[Hits] = []
    if fields is not None:
        question = Question(tuple(steps), fields)
        found = _answered(Asked(collections, opened, question, requests[0]))
    return [
        made(rest.QueryResponse, {"points": _scored(one, selection, step)})
        for one, selection, step in zip(found, selections, steps, strict=True)
    ]


def _has_versions(step: Step) -> bool:
    """Whether the points that a step finds show their versions."""
    return not isinstance(step.scoring, UNSCORED)


def _scored(found: Hits, selection: Selection, step: Step) -> list[models.ScoredPoint]:
    """The points that a step finds as models. Those that aren't ranked by a score have no version
    there; those that are chosen for being different have None for no vectors, and not {}."""
    points = found.points
    count = len(points.ids)
    vectors = selection.vectors(points)
    if isinstance(step.scoring, Diverse):
        vectors = [one or None for one in vectors]
    known = points.versions if _has_versions(step) else None
    versions = [0] * count if known is None else known.tolist()
    values = [None] * count if found.values is None else found.values
    scores, payloads = found.scores.tolist(), selection.payloads(points)
    parts = zip(points.ids, versions, scores, payloads, vectors, values, strict=True)
    return [
        made(
            models.ScoredPoint,
            {
                "id": point_id,
                "version": version,
                "score": score,
                "payload": payload,
                "vector": vector,
                "shard_key": None,
                "order_value": value,
            },
        )
        for point_id, version, score, payload, vector, value in parts
    ]


def query_groups(
    collections: Collections,
    opened: Opened,
    request: Any,
    group_by: str,
    limit: Any,
    group_size: Any,
    with_lookup: Any,
    selection: Selection,
) -> models.GroupsResult:
    """The points that a request asks for, in groups by what their payloads have at a key."""
    for name, number in (("limit", limit), ("group_size", group_size)):
        if not isinstance(number, int) or number < 1:
            raise malformed(f"{name} is {shown(number)}, expected 1 or more")
    check_limit(opened, limit * group_size)
    check_key(opened, group_by, MATCHED)
    step = step_of(collections, opened, request)
    fields = selection.fields(_has_versions(step))
    grouping = grouping_by(group_by, limit, group_size, opened.configuration.indexes_by_path)
    groups = [
        made(
            models.PointGroup,
            {"hits": _scored(one, selection, step), "id": one.group, "lookup": None},
        )
        for one in _answered(Asked(None, opened, Question((step,), fields, grouping)))
    ]
    if with_lookup is not None:
        _look_up(collections, groups, with_lookup)
    return made(models.GroupsResult, {"groups": groups})


def _look_up(
    collections: Collections, groups: Sequence[models.PointGroup], with_lookup: Any
) -> None:
    """Give each group the point of another collection that its value is the id of."""
    if isinstance(with_lookup, str):
        with_lookup = models.WithLookup(collection=with_lookup)
    source = collections.opened(with_lookup.collection)
    payload = True if with_lookup.with_payload is None else with_lookup.with_payload
    ids = [group.id for group in groups]
    records = retrieve(source, ids, payload, with_lookup.with_vectors or False)
    by_id = {record.id: record for record in records}
    for group in groups:
        group.lookup = by_id.get(group.id)


def matrix(
    opened: Opened, given: Any, sample: Any, limit: Any, using: str | None
) -> tuple[list[Any], list[int], list[int], list[float]]:
    """Ids of some points, and pairs of places among them, with scores."""
    for name, number, least in (("sample", sample, 2), ("limit", limit, 1)):
        if not isinstance(number, int) or number < least:
            raise malformed(f"{name} is {shown(number)}, expected {least} or more")
    check_limit(opened, sample)
    check_filter(opened, given)
    name = opened.vector(using or UNNAMED).name
    ids, a, b, scores = opened.points.pairs(name, expression_of(opened, given), sample, limit)
    return ids, a.tolist(), b.tolist(), scores.tolist()


def as_pairs(
    found: tuple[list[Any], list[int], list[int], list[float]],
) -> models.SearchMatrixPairsResponse:
    """A matrix as pairs of ids."""
    ids, a, b, scores = found
    parts = zip(a, b, scores, strict=True)
    return models.SearchMatrixPairsResponse(
        pairs=[models.SearchMatrixPair(a=ids[i], b=ids[j], score=score) for i, j, score in parts]
    )


def as_offsets(
    found: tuple[list[Any], list[int], list[int], list[float]],
) -> models.SearchMatrixOffsetsResponse:
    """A matrix as places among ids."""
    ids, a, b, scores = found
    return models.SearchMatrixOffsetsResponse(offsets_row=a, offsets_col=b, scores=scores, ids=ids)
