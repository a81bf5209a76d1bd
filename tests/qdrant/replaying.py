"""Filters of the recorded calls of a real server, asked of an engine's store."""

import gzip
import json

from retrieval_store.errors import InvalidFilterError
from tests.helpers import ROOT
from tests.qdrant.store import Payloads
from tests.remote.test_stand_in import agree, revived

RECORDED = ROOT / "tests" / "data" / "qdrant_answers"
ASKED = {"scroll", "count", "facet"}


def is_of_filters(part):
    return part.startswith("filters") or part in ("text index", "large integers")


def replayed(recording):
    """For each call that asks for filters: line, part, arguments, what was answered there, and what
    is answered here."""
    collections = {}
    with gzip.open(RECORDED / f"{recording}.jsonl.gz", "rt") as lines:
        for line, call in enumerate(map(json.loads, lines), 1):
            if not is_of_filters(call["part"]) or "client" in call.get("error", ()):
                continue
            name = call["args"]["collection_name"]
            points = collections.setdefault(name, Payloads())
            arguments = revived(call["args"])
            if call["call"] in ASKED:
                expected = {key: call[key] for key in ("answer", "error") if key in call}
                yield line, call["part"], call["args"], expected, answered(points, call, arguments)
            else:
                written(points, call["call"], arguments)
    for points in collections.values():
        points.close()


def written(points, call, arguments):
    match call:
        case "upsert":
            points.put({one.id: one.payload for one in arguments["points"]})
        case "create_payload_index":
            points.index(arguments["field_name"], schema_of(arguments["field_schema"]))
        case "delete_payload_index":
            points.index(arguments["field_name"], None)


def schema_of(given):
    from qdrant_client import models

    return models.PayloadSchemaType(given) if isinstance(given, str) else given


def answered(points, call, arguments):
    try:
        return {"answer": ANSWERS[call["call"]](points, arguments)}
    except InvalidFilterError:
        return {"error": "refused"}


def _scrolled(points, arguments):
    if "order_by" in arguments:
        limit = arguments.get("limit", 10)
        found, values = points.ordered(arguments["order_by"], limit)
        return [[*zip(found.ids, found.payloads, values, strict=True)], None]
    return [points.found(arguments.get("scroll_filter")), None]


def _counted(points, arguments):
    return {"count": len(points.found(arguments.get("count_filter")))}


def _faceted(points, arguments):
    hits = points.facet(arguments["key"])[: arguments.get("limit", 10)]
    return {"hits": [{"value": value, "count": count} for value, count in hits]}


ANSWERS = {"scroll": _scrolled, "count": _counted, "facet": _faceted}


def same(expected, got):
    if "error" in expected or "error" in got:
        return "error" in expected and "error" in got
    said, found = expected["answer"], got["answer"]
    if not isinstance(said, list):
        return agree(said, found)
    (records, _), (hits, _) = said, found
    if not (records and "order_value" in records[0]):
        return [one["id"] for one in records] == [
            hit[0] if isinstance(hit, tuple) else hit for hit in hits
        ]
    return agree(
        records,
        [{"id": one, "payload": payload, "order_value": n} for one, payload, n in hits],
    )
