"""Why records are found by a question of the page, or aren't."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from retrieval_store.api.why import conditions_in, words_beside
from retrieval_store.base.analysis import spellings
from retrieval_store.base.dataclasses import asdict, replace
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.filters.nodes import HasId, Not
from retrieval_store.filters.where import parse_where, parse_where_document
from retrieval_store.query.query import Question, Step, Text
from retrieval_store.query.reasons import (
    MOST_CONTAINING,
    Case,
    Condition,
    Reason,
    Terms,
    reasons_of,
    ways_to_contain,
)
from retrieval_store.query.types import Fields, PointId, ShownIds
from retrieval_store.view.asking import question_of
from retrieval_store.view.checking import key_of
from retrieval_store.view.reading import SHOWN_IN_LISTS
from retrieval_store.view.views import Looked, Views

if TYPE_CHECKING:
    from retrieval_store.base.analysis import Analyzer

TERMS = Terms(
    count="how many (k)",
    threshold="greatest distance",
    exact="an exact search",
    candidates="ef",
    depth="how many (k)",
    groups="one of each",
    group_size="how many of each",
    by_words="a search by words",
)
OF_SCORES = replace(TERMS, threshold="least score")
LIKE_IT = 3  # records that are most like a passage which none contains
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
    """The reasons of records: those named by their keys, or by their ids as they are shown, or
    those that contain a text, or else are most like it."""
    began = time.perf_counter()
    looked = views.collection(collection)
    asked = question_of(views, looked, body)
    meant, absent, note = _meant(looked, asked.analyzer, records, ids, containing)
    text = body.get("text")
    case = Case(
        asked.question,
        meant,
        None,
        tuple(_conditions(body)),
        () if text is None else words_beside(asked.question, text, asked.analyzer),
        terms=OF_SCORES if "min_score" in body else TERMS,
        spelled={} if text is None else spellings(asked.analyzer, text),
    )
    told = [*reasons_of(looked.points, case)] if meant else []
    told += [Reason(one, exists=False) for one in absent]
    return {
        "reasons": [_shown(one) for one in told],
        "note": note,
        "milliseconds": 1e3 * (time.perf_counter() - began),
    }


def _conditions(body: Mapping[str, Any]) -> list[Condition]:
    """What leaves records out: the filters, and that a record isn't found by itself."""
    found = conditions_in("where", body.get("where"), parse_where)
    found += conditions_in("where_document", body.get("where_document"), parse_where_document)
    if "keys" in body:
        one = f"one of {len(body['keys'])} chosen records"
        found.append(Condition("keys", one, HasId(tuple(body["keys"]))))
    if "record" in body:
        found.append(Condition("record", str(body["record"]), Not(HasId((body["record"],)))))
    return found


def _meant(
    looked: Looked,
    analyzer: "Analyzer",
    records: Sequence[PointId] | None,
    ids: Sequence[str] | None,
    containing: str | None,
) -> tuple[list[PointId], list[str], str | None]:
    """The ids of the records that are meant, ids of which there are none, and a remark."""
    points = looked.points
    if sum(one is not None for one in (records, ids, containing)) != 1:
        raise InvalidArgumentError("expected one of records, ids and containing")
    if containing is not None:
        for meant in ways_to_contain(containing):
            found = points.get(None, meant, MOST_CONTAINING, 0, Fields()).ids
            if found:
                return found, [], None
        like = Question((Step(Text((containing,), analyzer), LIKE_IT),), Fields())
        nearest = points.ask(like)[0].points.ids
        return nearest, [], MOST_LIKE_IT if nearest else NOTHING_LIKE_IT
    asked: Sequence[PointId] = ShownIds(ids) if ids is not None else records or ()
    there = points.get(asked, None, None, 0, Fields()).ids
    known = {*map(str, there)} if ids is not None else {*there}
    return there, [str(one) for one in asked if one not in known], None


def _shown(reason: Reason) -> dict[str, Any]:
    told = asdict(reason)
    told["key"] = key_of(reason.id) if reason.exists else None
    told["id"] = str(reason.id)
    told["ahead"] = [str(one) for one in reason.ahead]
    told["same_key"] = [str(one) for one in told.pop("same")]
    told["document"] = None if reason.document is None else reason.document[:SHOWN_IN_LISTS]
    return told
