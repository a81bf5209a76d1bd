"""Filters of the recorded calls of a real server, asked of an engine's store."""

import gzip
import json

from qdrant_client import models

from retrieval_store.errors import InvalidFilterError
from retrieval_store.qdrant import Refused
from tests.helpers import ROOT
from tests.helpers.recorded import agree, revived
from tests.qdrant.store import Payloads

RECORDED = ROOT / "tests" / "data" / "qdrant_answers"


def replayed(recording):
    """For each call that asks for filters: its line and part, and whether it is answered here as it
    was there."""
    collections = {}
    with gzip.open(RECORDED / f"{recording}.jsonl.gz", "rt") as lines:
        for line, call in enumerate(map(json.loads, lines), 1):
            if not _is_of_filters(call):
                continue
            points = collections.setdefault(call["args"]["collection_name"], Payloads())
            arguments = revived(call["args"])
            if call["call"] in ANSWERS:
                yield line, call["part"], _agrees(call, _answered(points, call["call"], arguments))
            else:
                _write(points, call["call"], arguments)
    for points in collections.values():
        points.close()


def _is_of_filters(call):
    part = call["part"]
    known = part.startswith("filters") or part in ("text index", "large integers")
    return known and "client" not in call.get("error", ())


def _write(points, call, arguments):
    match call:
        case "upsert":
            points.put({one.id: one.payload for one in arguments["points"]})
        case "create_payload_index":
            schema = arguments["field_schema"]
            known = models.PayloadSchemaType(schema) if isinstance(schema, str) else schema
            points.index(arguments["field_name"], known)
        case "delete_payload_index":
            points.index(arguments["field_name"], None)


def _answered(points, call, arguments):
    """None where it is refused."""
    try:
        return ANSWERS[call](points, arguments)
    except (InvalidFilterError, Refused):
        return None


def _scrolled(points, arguments):
    if "order_by" not in arguments:
        return points.found(arguments.get("scroll_filter"))
    found, values = points.ordered(arguments["order_by"], arguments.get("limit", 10))
    return [
        {"id": one, "payload": payload, "order_value": value}
        for one, payload, value in zip(found.ids, found.payloads, values, strict=True)
    ]


def _counted(points, arguments):
    return {"count": len(points.found(arguments.get("count_filter")))}


def _faceted(points, arguments):
    hits = points.facet(arguments["key"])[: arguments.get("limit", 10)]
    return {"hits": [{"value": value, "count": count} for value, count in hits]}


ANSWERS = {"scroll": _scrolled, "count": _counted, "facet": _faceted}


def _agrees(call, got):
    if "error" in call or got is None:
        return "error" in call and got is None
    said = call["answer"]
    if call["call"] != "scroll":
        return agree(said, got)
    records = said[0]
    by_order = call["args"].get("order_by") is not None
    return agree(records, got) if by_order else [one["id"] for one in records] == got
